"""UBX, the protocol of u-blox receivers: what they know of time and place, to the nanosecond and with its doubts.

Layouts are little endian. Source: u-blox M8 receiver description including protocol specification (UBX-13003221),
section 32; the messages are the same from generation 6 to 10, where NAV-PVT has 84 bytes (7) or 92.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.gps.framing import MalformedMessage, ubx
from gateway.gps.scales import MOST_LEAP_S, WEEK_US, unix_us

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.gps.framing import Ubx

NAV_STATUS: Final = 0x0103
NAV_PVT: Final = 0x0107
NAV_TIMEGPS: Final = 0x0120
NAV_TIMELS: Final = 0x0126
ACK_NAK: Final = 0x0500
ACK_ACK: Final = 0x0501
CFG_MSG: Final = 0x0601

_TIMEGPS: Final = struct.Struct("<IihbBI")
_PVT: Final = struct.Struct("<IHBBBBBBIiBBBBiiiiII")
_STATUS: Final = struct.Struct("<IBBBBII")
_TIMELS: Final = struct.Struct("<IB3xBbBbiHH3xB")


@dataclass(frozen=True, slots=True)
class TimeGps:
    """The time of a navigation epoch on the clock of GPS."""

    gps_time_us: int | None  # None while week or time of week are not known
    leap_s: int | None  # None until satellites or a command have told it
    accuracy_ns: int


@dataclass(frozen=True, slots=True)
class Pvt:
    """Position, velocity and time of a navigation epoch."""

    utc_us: int | None  # rounded to the microsecond; None unless date and time are fully resolved
    fix: int  # 0 none, 1 dead reckoning, 2 and 3 dimensions, 4 combined, 5 time alone
    fix_ok: bool  # within the limits that are set for accuracy
    satellites: int
    latitude: float
    longitude: float
    altitude_m: float  # above mean sea level
    accuracy_m: float
    time_accuracy_ns: int


@dataclass(frozen=True, slots=True)
class Status:
    """Whether there is a fix."""

    fix: int
    fix_ok: bool


@dataclass(frozen=True, slots=True)
class TimeLs:
    """The leap seconds, and when the next one comes, as the satellites tell."""

    leap_s: int | None
    change_s: int  # what comes: 1, 0 or -1
    in_s: int | None  # so long until then; negative: ago


@dataclass(frozen=True, slots=True)
class Ack:
    """The receiver's answer to a setting."""

    kind: int
    taken: bool


Said = TimeGps | Pvt | Status | TimeLs | Ack


def parse(message: Ubx) -> Said | None:
    """What a message says; None for a kind the gateway has no use for. MalformedMessage when it cannot be read."""
    reader = _READERS.get(message.kind)
    if reader is None:
        return None
    try:
        return reader(message.payload)
    except (ValueError, struct.error) as error:
        raise MalformedMessage(f"UBX {message.kind:#06x}: {error}") from error


def asks_for(kind: int) -> bytes:
    """The command that makes a receiver send this message at every epoch, on the port it is asked at (CFG-MSG)."""
    return ubx(CFG_MSG, kind.to_bytes(2, "big") + b"\x01")


def _time_gps(payload: bytes) -> TimeGps:
    tow_ms, rest_ns, week, leap_s, valid, accuracy_ns = _TIMEGPS.unpack(payload)
    known = valid & 0b11 == 0b11
    if known and (week < 0 or tow_ms >= WEEK_US // 1000 or abs(rest_ns) > 500_000):
        raise ValueError(f"week {week}, {tow_ms} ms and {rest_ns} ns")
    leap = leap_s if valid & 0b100 and 0 <= leap_s <= MOST_LEAP_S else None
    gps_us = week * WEEK_US + tow_ms * 1000 + round(rest_ns / 1000)
    return TimeGps(gps_us if known else None, leap, accuracy_ns)


def _pvt(payload: bytes) -> Pvt:
    (_, year, month, day, hour, minute, second, valid, time_accuracy_ns, nano, fix, flags, _, satellites,
     longitude, latitude, _, height_mm, accuracy_mm, _) = _PVT.unpack_from(payload)  # fmt: skip
    utc_us = None
    if valid & 0b111 == 0b111 and second < 60:
        whole_us = unix_us(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
        utc_us = whole_us + round(nano / 1000)
    if abs(latitude) > 900_000_000 or abs(longitude) > 1_800_000_000:
        raise ValueError(f"a place of {latitude} {longitude}")
    return Pvt(
        utc_us=utc_us,
        fix=fix,
        fix_ok=bool(flags & 1),
        satellites=satellites,
        latitude=latitude / 10_000_000,
        longitude=longitude / 10_000_000,
        altitude_m=height_mm / 1000,
        accuracy_m=accuracy_mm / 1000,
        time_accuracy_ns=time_accuracy_ns,
    )


def _status(payload: bytes) -> Status:
    _, fix, flags, *_ = _STATUS.unpack(payload)
    return Status(fix, bool(flags & 1))


def _time_ls(payload: bytes) -> TimeLs:
    _, _, source, leap_s, _, change_s, in_s, _, _, valid = _TIMELS.unpack(payload)
    known = valid & 0b01 and source not in {0, 255} and 0 <= leap_s <= MOST_LEAP_S  # 0: as the firmware was made
    return TimeLs(leap_s if known else None, change_s, in_s if valid & 0b10 else None)


def _ack(*, taken: bool) -> Callable[[bytes], Ack]:
    def read(payload: bytes) -> Ack:
        if len(payload) != 2:
            raise ValueError(f"an answer of {len(payload)} bytes")
        return Ack(int.from_bytes(payload, "big"), taken)

    return read


_READERS: Final[Mapping[int, Callable[[bytes], Said]]] = {
    NAV_TIMEGPS: _time_gps,
    NAV_PVT: _pvt,
    NAV_STATUS: _status,
    NAV_TIMELS: _time_ls,
    ACK_ACK: _ack(taken=True),
    ACK_NAK: _ack(taken=False),
}
