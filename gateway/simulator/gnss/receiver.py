"""What a receiver says at each second: NMEA as from a u-blox M8, and UBX once it is asked for it.

It knows no clock; every call says what second it is. It writes its messages by itself, apart from whoever reads them in
this program, so that the two can prove each other wrong.

Source: u-blox M8 receiver description including protocol specification, UBX-13003221, sections 31 and 32.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from enum import StrEnum
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Final

from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.simulator.chance import Chance

GPS_EPOCH_S: Final = 315_964_800
WEEK_S: Final = 604_800
TURN_S: Final = 1_024 * WEEK_S
METRES_PER_DEGREE: Final = 111_195.0
SCATTER_M: Final = 1.5
"""How far a fix is from the place, to one side."""

_TIMEGPS, _PVT, _TIMELS, _CFG_MSG, _ACK, _NAK = 0x0120, 0x0107, 0x0126, 0x0601, 0x0501, 0x0500


class Fault(StrEnum):
    """What can go wrong with a receiver."""

    NO_FIX = "no-fix"
    WRONG_WEEK = "wrong-week"
    JUMP = "jump"
    NO_LEAP = "no-leap"
    SILENCE = "silence"
    GARBAGE = "garbage"
    DAMAGED = "damaged"
    UNPLUG = "unplug"


EXPLAINED: Final[dict[Fault, str]] = {
    Fault.NO_FIX: "the antenna is off: nothing is heard, no time is known",
    Fault.WRONG_WEEK: "the week number has turned over: it says the date of 1,024 weeks ago",
    Fault.JUMP: "its time is an hour ahead",
    Fault.NO_LEAP: "the satellites have not told the leap seconds yet: its UTC is two seconds ahead",
    Fault.SILENCE: "it says nothing",
    Fault.GARBAGE: "what it says is noise, as at another speed",
    Fault.DAMAGED: "each message has a wrong byte",
    Fault.UNPLUG: "the device disappears; cleared, it is back",
}


def fault_named(name: str) -> Fault:
    """The fault of that name; UsageError when there is none."""
    plain = name.strip().lower().replace("_", "-")
    if plain not in set(Fault):
        raise UsageError(f"no fault is called {name!r}", hint=f"There are {', '.join(Fault)}")
    return Fault(plain)


class SimulatedReceiver:
    """A receiver at a place."""

    def __init__(
        self,
        chance: Chance,
        *,
        latitude: float = 43.6119,
        longitude: float = 3.8772,
        altitude_m: float = 57.0,
        satellites: int = 9,
        leap_s: int = 18,
    ) -> None:
        self._chance = chance
        self._place = latitude, longitude, altitude_m
        self._satellites = satellites
        self._leap_s = leap_s
        self._asked: set[int] = set()  # kinds of UBX
        self.faults: set[Fault] = set()

    # --- down

    def told(self, data: bytes) -> bytes:
        """Its answers to what it is told: CFG-MSG makes it send a message, or not any more."""
        answers = b""
        while (at := data.find(b"\xb5\x62")) >= 0 and len(data) >= at + 8:
            size = int.from_bytes(data[at + 4 : at + 6], "little")
            body, data = data[at + 2 : at + 6 + size], data[at + 8 + size :]
            kind, payload = int.from_bytes(body[:2], "big"), body[4:]
            if kind == _CFG_MSG and len(payload) == 3:
                asked = int.from_bytes(payload[:2], "big")
                known = asked in {_TIMEGPS, _PVT, _TIMELS}
                if known and payload[2]:
                    self._asked.add(asked)
                answers += _ubx(_ACK if known else _NAK, body[:2])
        return answers

    # --- up

    def burst(self, utc_s: int) -> bytes:
        """All it says of this second; `utc_s` is the truth, in seconds since 1970."""
        if self.faults & {Fault.SILENCE, Fault.UNPLUG}:
            return b""
        if Fault.GARBAGE in self.faults:
            return b"".join(self._chance.octets(64, "noise", utc_s, part) for part in range(8))
        said = self._nmea(utc_s) + self._ubx(utc_s)
        if Fault.DAMAGED in self.faults:
            said = [message[:12] + bytes((message[12] ^ 0x01,)) + message[13:] for message in said]
        return b"".join(said)

    def _shown_s(self, utc_s: int) -> int:
        """The UTC it believes in."""
        utc_s -= TURN_S if Fault.WRONG_WEEK in self.faults else 0
        utc_s += 3_600 if Fault.JUMP in self.faults else 0
        return utc_s + (2 if Fault.NO_LEAP in self.faults else 0)

    def _fix(self, utc_s: int) -> tuple[float, float, float]:
        latitude, longitude, altitude_m = self._place
        north, east, up = (2 * self._chance.unit("fix", utc_s, axis) - 1 for axis in "neu")
        scatter = SCATTER_M / METRES_PER_DEGREE
        return latitude + north * scatter, longitude + east * scatter, altitude_m + up * SCATTER_M

    def _nmea(self, utc_s: int) -> list[bytes]:
        if Fault.NO_FIX in self.faults:
            empty = ("GNRMC,,V,,,,,,,,,,N", "GNGGA,,,,,,0,00,99.99,,,,,,", "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99")
            return [*map(_sentence, empty), _sentence("GPGSV,1,1,02,07,21,116,,08,09,081,")]
        moment = datetime.fromtimestamp(self._shown_s(utc_s), tz=UTC)
        latitude, longitude, altitude_m = self._fix(utc_s)
        where = f"{_degrees(latitude, 2)},{'S' if latitude < 0 else 'N'}"
        where += f",{_degrees(longitude, 3)},{'W' if longitude < 0 else 'E'}"
        used = ",".join(f"{number:02d}" if number <= self._satellites else "" for number in range(1, 13))
        seen = "".join(f",{number:02d},{20 + number},{30 * number % 360:03d},{35 + number}" for number in range(1, 5))
        return [
            _sentence(f"GNRMC,{moment:%H%M%S}.00,A,{where},0.012,,{moment:%d%m%y},,,A"),
            _sentence(f"GNGGA,{moment:%H%M%S}.00,{where},1,{self._satellites:02d},0.92,{altitude_m:.1f},M,48.0,M,,"),
            _sentence(f"GNGSA,A,3,{used},1.60,0.92,1.31"),
            _sentence(f"GPGSV,1,1,{self._satellites + 2:02d}{seen}"),
            _sentence(f"GNZDA,{moment:%H%M%S}.00,{moment:%d,%m,%Y},00,00"),
        ]

    def _ubx(self, utc_s: int) -> list[bytes]:
        fixed, leap_known = Fault.NO_FIX not in self.faults, Fault.NO_LEAP not in self.faults
        shown_s = self._shown_s(utc_s)
        # Its UTC is two seconds ahead while it reckons with 16 leap seconds; its GPS time is right all the same.
        leap_s = self._leap_s if leap_known else self._leap_s - 2
        week, tow_s = divmod(shown_s - GPS_EPOCH_S + leap_s, WEEK_S)
        valid = (0b111 if leap_known else 0b011) if fixed else 0
        said = {
            _TIMEGPS: struct.pack("<IihbBI", tow_s * 1000, 0, week, leap_s, valid, 40),
            _TIMELS: struct.pack(
                "<IB3xBbBbiHH3xB", tow_s * 1000, 0, 2 if leap_known else 0, leap_s, 2, 0, 0, 0, 0, int(fixed)
            ),
            _PVT: self._pvt(utc_s, shown_s, tow_s, fixed=fixed),
        }
        return [_ubx(kind, said[kind]) for kind in sorted(self._asked)]

    def _pvt(self, utc_s: int, shown_s: int, tow_s: int, *, fixed: bool) -> bytes:
        latitude, longitude, altitude_m = self._fix(utc_s) if fixed else (0.0, 0.0, 0.0)
        moment = datetime.fromtimestamp(shown_s, tz=UTC)
        height_mm = round(altitude_m * 1000)
        return struct.pack(
            "<IHBBBBBBIiBBBBiiiiII",
            tow_s * 1000, moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second,
            0b111 if fixed else 0, 40, 0, 3 if fixed else 0, int(fixed), 0, self._satellites if fixed else 0,
            round(longitude * 1e7), round(latitude * 1e7), height_mm + 48_000, height_mm, 2_500, 4_000,
        ).ljust(92, b"\0")  # fmt: skip


def _degrees(value: float, digits: int) -> str:
    whole, part = divmod(abs(value), 1)
    minutes = min(part * 60, 59.99999)
    return f"{int(whole):0{digits}d}{minutes:08.5f}"


def _sentence(text: str) -> bytes:
    return f"${text}*{reduce(xor, text.encode()):02X}\r\n".encode()


def _ubx(kind: int, payload: bytes) -> bytes:
    body = kind.to_bytes(2, "big") + len(payload).to_bytes(2, "little") + payload
    first = second = 0
    for octet in body:
        first = (first + octet) % 256
        second = (second + first) % 256
    return b"\xb5\x62" + body + bytes((first, second))
