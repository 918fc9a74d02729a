"""The device's half of a join: its requests, its keys, and what it makes of the accept.

Written from the specification alone, beside `lorawan/join.py` and not with it: what the two halves derive has to be the
same. Sources: LoRaWAN 1.0.4 (TS001-1.0.4), 6.2; LoRaWAN 1.1, 6.1 and 6.2. On the air and in every block that makes a
key, numbers and EUIs are little endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import KeySchedule
from gateway.model import AesKey, DevAddr, MacVersion, Session

if TYPE_CHECKING:
    from gateway.model import DevEui, JoinEui, RootKeys

JOIN_REQUEST = 0xFF
"""JoinReqType of a join request; rejoin requests have their own type there (LoRaWAN 1.1, table 14)."""

_MIC = 4
_MHDR_JOIN_REQUEST, _MHDR_REJOIN_REQUEST = 0b000_000_00, 0b110_000_00

FALLBACK = MacVersion.V1_0_3
"""What a device of 1.1 speaks with a network that has not set OptNeg: 1.0.2 or later says the specification."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and with which keys. For the versions before 1.1, AppKey stands in both places."""

    dev_eui: DevEui
    join_eui: JoinEui
    app_key: AesKey
    nwk_key: AesKey
    mac_version: MacVersion

    @classmethod
    def of(cls, dev_eui: DevEui, join_eui: JoinEui, keys: RootKeys, mac_version: MacVersion) -> Identity:
        """The identity of a device with these root keys."""
        nwk_key = keys.nwk_key if mac_version.is_1_1 and keys.nwk_key is not None else keys.app_key
        return cls(dev_eui, join_eui, keys.app_key, nwk_key, mac_version)

    @property
    def js_int_key(self) -> AesKey:
        """Signs rejoin requests of type 1, and accepts of 1.1 networks."""
        return _derived(self.nwk_key, b"\x06" + self.dev_eui[::-1])

    @property
    def js_enc_key(self) -> AesKey:
        """Encrypts the accepts that answer rejoin requests."""
        return _derived(self.nwk_key, b"\x05" + self.dev_eui[::-1])


@dataclass(frozen=True, slots=True)
class Question:
    """What the device asked last: an answer is bound to it."""

    join_req_type: int  # JOIN_REQUEST, or the type of a rejoin
    nonce: int  # DevNonce, or the RJcount in its place

    @property
    def rejoin_type(self) -> int | None:
        """None for a join request."""
        return None if self.join_req_type == JOIN_REQUEST else self.join_req_type


@dataclass(frozen=True, slots=True)
class Accept:
    """An authentic join accept, and the session that it makes."""

    session: Session
    join_nonce: int
    net_id: int
    rx1_dr_offset: int
    rx2_data_rate: int
    rx_delay_s: int
    opt_neg: bool  # bit 7 of DLSettings, also where it is reserved
    cf_list: bytes  # empty without one


def join_request(identity: Identity, dev_nonce: int) -> bytes:
    """The PHYPayload, 23 bytes."""
    unsigned = bytes([_MHDR_JOIN_REQUEST]) + identity.join_eui[::-1] + identity.dev_eui[::-1]
    unsigned += dev_nonce.to_bytes(2, "little")
    return unsigned + _cmac(identity.nwk_key, unsigned)


def rejoin_request(identity: Identity, session: Session, net_id: int, rejoin_type: int, rj_count: int) -> bytes:
    """The PHYPayload: 19 bytes for the types 0 and 2, signed by the session; 24 for type 1, signed by the root key."""
    head = bytes([_MHDR_REJOIN_REQUEST, rejoin_type])
    whom = identity.join_eui[::-1] if rejoin_type == 1 else net_id.to_bytes(3, "little")
    unsigned = head + whom + identity.dev_eui[::-1] + rj_count.to_bytes(2, "little")
    return unsigned + _cmac(identity.js_int_key if rejoin_type == 1 else session.s_nwk_s_int_key, unsigned)


def read_accept(identity: Identity, question: Question, phy: bytes) -> Accept | None:
    """What a join accept says; None when it is not one, or none that answers this question of this device."""
    if len(phy) not in (17, 33) or phy[0] >> 5 != 1:
        return None
    key = identity.nwk_key if question.rejoin_type is None else identity.js_enc_key
    # The server "decrypts", so that a device needs the encrypting half of AES alone (6.2.6).
    plain = KeySchedule(key).encrypt(phy[1:])
    body, mic = plain[:-_MIC], plain[-_MIC:]
    opt_neg = bool(body[10] & 0x80)
    if _accept_mic(identity, question, phy[:1] + body, by_1_1=opt_neg and identity.mac_version.is_1_1) != mic:
        return None
    return Accept(
        session=_session(identity, question, body, by_1_1=opt_neg and identity.mac_version.is_1_1),
        join_nonce=int.from_bytes(body[0:3], "little"),
        net_id=int.from_bytes(body[3:6], "little"),
        rx1_dr_offset=body[10] >> 4 & 7,
        rx2_data_rate=body[10] & 15,
        rx_delay_s=max(body[11] & 15, 1),
        opt_neg=opt_neg,
        cf_list=body[12:],
    )


def _accept_mic(identity: Identity, question: Question, message: bytes, *, by_1_1: bool) -> bytes:
    if not by_1_1:
        return _cmac(identity.nwk_key, message)
    asked = bytes([question.join_req_type]) + identity.join_eui[::-1] + question.nonce.to_bytes(2, "little")
    return _cmac(identity.js_int_key, asked + message)


def _session(identity: Identity, question: Question, body: bytes, *, by_1_1: bool) -> Session:
    nonce = question.nonce.to_bytes(2, "little")
    if by_1_1:
        salt, app_root = body[0:3] + identity.join_eui[::-1] + nonce, identity.app_key
        f_key, s_key, enc_key = (_derived(identity.nwk_key, bytes([kind]) + salt) for kind in (1, 3, 4))
    else:
        salt, app_root = body[0:3] + body[3:6] + nonce, identity.nwk_key
        f_key = s_key = enc_key = _derived(identity.nwk_key, b"\x01" + salt)
    version = identity.mac_version
    return Session(
        dev_eui=identity.dev_eui,
        dev_addr=DevAddr(int.from_bytes(body[6:10], "little")),
        mac_version=FALLBACK if version.is_1_1 and not by_1_1 else version,
        f_nwk_s_int_key=f_key,
        s_nwk_s_int_key=s_key,
        nwk_s_enc_key=enc_key,
        app_s_key=_derived(app_root, b"\x02" + salt),
    )


def _derived(key: AesKey, block: bytes) -> AesKey:
    return AesKey(KeySchedule(key).encrypt(block.ljust(16, b"\0")))


def _cmac(key: AesKey, message: bytes) -> bytes:
    return KeySchedule(key).cmac(message)[:_MIC]
