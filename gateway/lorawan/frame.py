"""PHY payloads of LoRaWAN 1.0.x and 1.1: bytes to types and back.

`parse` reads what came in at the antenna. Each type checks itself when it is made, so a frame that the specification
forbids cannot exist here, neither heard nor built; `to_bytes` gives back exactly the bytes that were read. Nothing is
decrypted and no MIC is judged: FOpts, FRMPayload and a join-accept stay as they are on the air.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4) and LoRaWAN 1.1, chapters 4 and 6. Every field on the air is little endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.model import DevAddr, DevEui, JoinEui

if TYPE_CHECKING:
    from collections.abc import Callable

PHY_PAYLOAD_MAX = 255
"""Bytes in the longest frame the LoRa length field can announce."""

F_OPTS_MAX = 15
"""Bytes of MAC commands in a header: FOptsLen has four bits."""

MIC_SIZE = 4

F_CNT_MAX = 0xFFFF_FFFF
"""Where a frame counter ends; only its lower 16 bits are on the air."""

_LORAWAN_R1 = 0  # the only Major that has been published
_FHDR = struct.Struct("<IBH")  # DevAddr, FCtrl, FCnt
_DATA_MIN = 1 + _FHDR.size + MIC_SIZE


class MalformedFrame(ValueError):  # noqa: N818 - reads as the sentence it is
    """These bytes, or these fields, make no LoRaWAN frame; the text says why."""


class MType(Enum):
    """The kind of a frame, the upper three bits of its first byte."""

    JOIN_REQUEST = 0
    JOIN_ACCEPT = 1
    UNCONFIRMED_DATA_UP = 2
    UNCONFIRMED_DATA_DOWN = 3
    CONFIRMED_DATA_UP = 4
    CONFIRMED_DATA_DOWN = 5
    REJOIN_REQUEST = 6  # RFU in 1.0.x
    PROPRIETARY = 7


class Direction(Enum):
    """Which way a data frame goes, as the cipher blocks write it."""

    UP = 0
    DOWN = 1


_DIRECTIONS = {
    MType.UNCONFIRMED_DATA_UP: Direction.UP,
    MType.CONFIRMED_DATA_UP: Direction.UP,
    MType.UNCONFIRMED_DATA_DOWN: Direction.DOWN,
    MType.CONFIRMED_DATA_DOWN: Direction.DOWN,
}


@dataclass(frozen=True, slots=True)
class UplinkControl:
    """The upper half of FCtrl in an uplink."""

    adr: bool = False
    adr_ack_req: bool = False
    ack: bool = False
    class_b: bool = False  # RFU in a class A device of 1.0.x

    @property
    def bits(self) -> int:
        """The byte without FOptsLen."""
        return self.adr << 7 | self.adr_ack_req << 6 | self.ack << 5 | self.class_b << 4


@dataclass(frozen=True, slots=True)
class DownlinkControl:
    """The upper half of FCtrl in a downlink."""

    adr: bool = False
    rfu: bool = False
    ack: bool = False
    f_pending: bool = False

    @property
    def bits(self) -> int:
        """The byte without FOptsLen."""
        return self.adr << 7 | self.rfu << 6 | self.ack << 5 | self.f_pending << 4


_UPLINK_CONTROLS = tuple(UplinkControl(bool(n & 8), bool(n & 4), bool(n & 2), bool(n & 1)) for n in range(16))
_DOWNLINK_CONTROLS = tuple(DownlinkControl(bool(n & 8), bool(n & 4), bool(n & 2), bool(n & 1)) for n in range(16))


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A data frame, up or down, as it is on the air: `f_opts` and `frm_payload` are still encrypted."""

    mtype: MType
    dev_addr: DevAddr
    f_ctrl: UplinkControl | DownlinkControl
    f_cnt16: int  # the lower 16 bits of the counter
    f_opts: bytes
    f_port: int | None  # None: no FPort, and so no FRMPayload
    frm_payload: bytes
    mic: bytes
    mhdr_rfu: int = 0  # three reserved bits: a receiver ignores them, the MIC covers them

    def __post_init__(self) -> None:
        """Refuse what the specification does not allow; MalformedFrame says what."""
        direction = _DIRECTIONS.get(self.mtype)
        if direction is None:
            raise MalformedFrame(f"{self.mtype.name} is no data frame")
        if (direction is Direction.UP) is not isinstance(self.f_ctrl, UplinkControl):
            raise MalformedFrame(f"{self.mtype.name} with the FCtrl of the other direction")
        if not 0 <= self.f_cnt16 <= 0xFFFF:
            raise MalformedFrame(f"FCnt {self.f_cnt16} does not fit its 16 bits")
        if len(self.f_opts) > F_OPTS_MAX:
            raise MalformedFrame(f"{len(self.f_opts)} bytes of FOpts, at most {F_OPTS_MAX} fit")
        if self.f_port is None:
            if self.frm_payload:
                raise MalformedFrame(f"{len(self.frm_payload)} bytes of FRMPayload without an FPort")
        elif not 0 <= self.f_port <= 0xFF:
            raise MalformedFrame(f"FPort {self.f_port} does not fit its byte")
        elif self.f_port == 0 and self.f_opts:
            raise MalformedFrame("MAC commands both in FOpts and on FPort 0")
        _check_mhdr_rfu(self.mhdr_rfu)
        _check_mic(self.mic)
        if self.size > PHY_PAYLOAD_MAX:
            raise MalformedFrame(f"{self.size} bytes, a LoRa frame has at most {PHY_PAYLOAD_MAX}")

    @property
    def direction(self) -> Direction:
        """Up from a device, or down to it."""
        return _DIRECTIONS[self.mtype]

    @property
    def confirmed(self) -> bool:
        """Whether the sender wants an acknowledgement."""
        return self.mtype in (MType.CONFIRMED_DATA_UP, MType.CONFIRMED_DATA_DOWN)

    @property
    def size(self) -> int:
        """Bytes on the air."""
        port = 0 if self.f_port is None else 1
        return _DATA_MIN + len(self.f_opts) + port + len(self.frm_payload)

    def unsigned(self) -> bytes:
        """The frame without its MIC: what the MIC is computed over."""
        f_ctrl = self.f_ctrl.bits | len(self.f_opts)
        head = bytes((_mhdr(self.mtype, self.mhdr_rfu),)) + _FHDR.pack(self.dev_addr, f_ctrl, self.f_cnt16)
        port = b"" if self.f_port is None else bytes((self.f_port,))
        return head + self.f_opts + port + self.frm_payload

    def to_bytes(self) -> bytes:
        """The PHYPayload."""
        return self.unsigned() + self.mic


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A device asks for a session."""

    join_eui: JoinEui
    dev_eui: DevEui
    dev_nonce: int  # random in 1.0.x up to 1.0.3, a counter since
    mic: bytes
    mhdr_rfu: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not fit its field."""
        _check_field(self.dev_nonce, 2, "DevNonce")
        _check_mhdr_rfu(self.mhdr_rfu)
        _check_mic(self.mic)

    def unsigned(self) -> bytes:
        """The frame without its MIC: what the MIC is computed over."""
        head = bytes((_mhdr(MType.JOIN_REQUEST, self.mhdr_rfu),))
        return head + self.join_eui[::-1] + self.dev_eui[::-1] + self.dev_nonce.to_bytes(2, "little")

    def to_bytes(self) -> bytes:
        """The PHYPayload, 23 bytes."""
        return self.unsigned() + self.mic


@dataclass(frozen=True, slots=True)
class RejoinRequest:
    """A device of LoRaWAN 1.1 asks to keep, renew or re-key its session.

    Types 0 and 2 name the network (`net_id`), type 1 the join server (`join_eui`); the other field is None.
    """

    rejoin_type: int
    net_id: int | None
    join_eui: JoinEui | None
    dev_eui: DevEui
    rj_count: int
    mic: bytes
    mhdr_rfu: int = 0

    def __post_init__(self) -> None:
        """Refuse a type that is not defined, and fields that do not belong to it."""
        if self.rejoin_type not in (0, 1, 2):
            raise MalformedFrame(f"rejoin type {self.rejoin_type}, only 0, 1 and 2 are defined")
        if (self.join_eui is not None) is not (self.rejoin_type == 1):
            raise MalformedFrame("a rejoin of type 1 names a JoinEUI, the others do not")
        if (self.net_id is None) is not (self.rejoin_type == 1):
            raise MalformedFrame("a rejoin of type 0 or 2 names a NetID, type 1 does not")
        if self.net_id is not None:
            _check_field(self.net_id, 3, "NetID")
        _check_field(self.rj_count, 2, "RJcount")
        _check_mhdr_rfu(self.mhdr_rfu)
        _check_mic(self.mic)

    def unsigned(self) -> bytes:
        """The frame without its MIC: what the MIC is computed over."""
        head = bytes((_mhdr(MType.REJOIN_REQUEST, self.mhdr_rfu), self.rejoin_type))
        whom = b"" if self.net_id is None else self.net_id.to_bytes(3, "little")
        if self.join_eui is not None:
            whom = self.join_eui[::-1]
        return head + whom + self.dev_eui[::-1] + self.rj_count.to_bytes(2, "little")

    def to_bytes(self) -> bytes:
        """The PHYPayload, 19 bytes, or 24 for type 1."""
        return self.unsigned() + self.mic


@dataclass(frozen=True, slots=True)
class JoinAccept:
    """The answer to a join. Fields and MIC are encrypted together, so only the length can be judged here."""

    encrypted: bytes  # 16 bytes, or 32 with a CFList
    mhdr_rfu: int = 0

    def __post_init__(self) -> None:
        """Refuse any other length."""
        if len(self.encrypted) not in (16, 32):
            raise MalformedFrame(f"{len(self.encrypted)} bytes of join-accept, it has 16, or 32 with a CFList")
        _check_mhdr_rfu(self.mhdr_rfu)

    def to_bytes(self) -> bytes:
        """The PHYPayload, 17 or 33 bytes."""
        return bytes((_mhdr(MType.JOIN_ACCEPT, self.mhdr_rfu),)) + self.encrypted


@dataclass(frozen=True, slots=True)
class Proprietary:
    """A frame whose content LoRaWAN leaves to its maker."""

    body: bytes  # everything after MHDR
    mhdr_rfu: int = 0

    def __post_init__(self) -> None:
        """Refuse what no LoRa frame can carry."""
        if len(self.body) >= PHY_PAYLOAD_MAX:
            raise MalformedFrame(f"{1 + len(self.body)} bytes, a LoRa frame has at most {PHY_PAYLOAD_MAX}")
        _check_mhdr_rfu(self.mhdr_rfu)

    def to_bytes(self) -> bytes:
        """The PHYPayload."""
        return bytes((_mhdr(MType.PROPRIETARY, self.mhdr_rfu),)) + self.body


PhyPayload = DataFrame | JoinRequest | RejoinRequest | JoinAccept | Proprietary


def parse(phy: bytes) -> PhyPayload:
    """Read one PHYPayload; raise MalformedFrame with what is wrong with it.

    Reserved bits are kept and ignored, as the specification asks of a receiver (TS001-1.0.4, conventions); everything
    else that it does not define is malformed.
    """
    if not phy:
        raise MalformedFrame("no byte at all")
    mhdr = phy[0]
    if mhdr & 3 != _LORAWAN_R1:
        raise MalformedFrame(f"Major {mhdr & 3}, only LoRaWAN R1 (0) is known")
    return _READERS[mhdr >> 5](phy, mhdr)


def _read_data_up(phy: bytes, mhdr: int) -> DataFrame:
    return _read_data(phy, mhdr, _UPLINK_CONTROLS)


def _read_data_down(phy: bytes, mhdr: int) -> DataFrame:
    return _read_data(phy, mhdr, _DOWNLINK_CONTROLS)


def _read_data(phy: bytes, mhdr: int, controls: tuple[UplinkControl, ...] | tuple[DownlinkControl, ...]) -> DataFrame:
    size = len(phy)
    if size < _DATA_MIN:
        raise MalformedFrame(f"{size} bytes, a data frame has at least {_DATA_MIN}")
    dev_addr, f_ctrl, f_cnt16 = _FHDR.unpack_from(phy, 1)
    end = size - MIC_SIZE
    port_at = 1 + _FHDR.size + (f_ctrl & 0x0F)
    if port_at > end:
        raise MalformedFrame(f"FOptsLen {f_ctrl & 0x0F}, but only {end - 1 - _FHDR.size} bytes follow the header")
    return DataFrame(
        mtype=_MTYPES[mhdr >> 5],
        dev_addr=DevAddr(dev_addr),
        f_ctrl=controls[f_ctrl >> 4],
        f_cnt16=f_cnt16,
        f_opts=phy[1 + _FHDR.size : port_at],
        f_port=phy[port_at] if port_at < end else None,
        frm_payload=phy[port_at + 1 : end],
        mic=phy[end:],
        mhdr_rfu=mhdr >> 2 & 7,
    )


def _read_join_request(phy: bytes, mhdr: int) -> JoinRequest:
    _check_size(phy, 23, "a join-request")
    return JoinRequest(
        join_eui=JoinEui(phy[8:0:-1]),
        dev_eui=DevEui(phy[16:8:-1]),
        dev_nonce=int.from_bytes(phy[17:19], "little"),
        mic=phy[19:],
        mhdr_rfu=mhdr >> 2 & 7,
    )


def _read_rejoin_request(phy: bytes, mhdr: int) -> RejoinRequest:
    if len(phy) < 2:
        raise MalformedFrame("a rejoin-request without its type")
    rejoin_type = phy[1]
    by_join_server = rejoin_type == 1
    whom = 10 if by_join_server else 5  # where the DevEUI begins
    _check_size(phy, whom + 8 + 2 + MIC_SIZE, f"a rejoin-request of type {rejoin_type}")
    return RejoinRequest(
        rejoin_type=rejoin_type,
        net_id=None if by_join_server else int.from_bytes(phy[2:5], "little"),
        join_eui=JoinEui(phy[9:1:-1]) if by_join_server else None,
        dev_eui=DevEui(phy[whom + 7 : whom - 1 : -1]),
        rj_count=int.from_bytes(phy[whom + 8 : whom + 10], "little"),
        mic=phy[-MIC_SIZE:],
        mhdr_rfu=mhdr >> 2 & 7,
    )


def _read_join_accept(phy: bytes, mhdr: int) -> JoinAccept:
    return JoinAccept(phy[1:], mhdr >> 2 & 7)


def _read_proprietary(phy: bytes, mhdr: int) -> Proprietary:
    return Proprietary(phy[1:], mhdr >> 2 & 7)


_MTYPES = tuple(MType)
_READERS: tuple[Callable[[bytes, int], PhyPayload], ...] = (  # by MType
    _read_join_request,
    _read_join_accept,
    _read_data_up,
    _read_data_down,
    _read_data_up,
    _read_data_down,
    _read_rejoin_request,
    _read_proprietary,
)


def _mhdr(mtype: MType, rfu: int) -> int:
    return mtype.value << 5 | rfu << 2 | _LORAWAN_R1


def _check_size(phy: bytes, size: int, what: str) -> None:
    if len(phy) != size:
        raise MalformedFrame(f"{len(phy)} bytes, {what} has {size}")


def _check_field(value: int, size: int, what: str) -> None:
    if not 0 <= value < 1 << 8 * size:
        raise MalformedFrame(f"{what} {value} does not fit its {size} bytes")


def _check_mhdr_rfu(bits: int) -> None:
    if not 0 <= bits <= 7:
        raise MalformedFrame(f"MHDR has three reserved bits, {bits} does not fit")


def _check_mic(mic: bytes) -> None:
    if len(mic) != MIC_SIZE:
        raise MalformedFrame(f"a MIC of {len(mic)} bytes, it has {MIC_SIZE}")
