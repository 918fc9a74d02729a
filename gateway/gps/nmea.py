"""NMEA 0183 sentences as values: when, where, with how many satellites.

Only what the gateway asks for; a field that is empty is None, as receivers without a fix leave them. The talker (GP,
GL, GA, GB, GN, …) says which satellites a sentence is about and changes nothing in how it is read.

Sources: NMEA 0183 as described by gpsd ("NMEA Revealed", gpsd.gitlab.io/gpsd/NMEA.html) and by u-blox (M8 receiver
description including protocol specification, UBX-13003221, section 31).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.gps.framing import MalformedMessage
from gateway.gps.scales import SECOND_US, unix_us

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Rmc:
    """The least that is recommended: time, date, place, and whether they hold."""

    utc_us: int | None  # None also during a leap second, which this scale does not have
    valid: bool
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True, slots=True)
class Gga:
    """The fix: its quality, place and height."""

    quality: int  # 0 none, 1 GPS, 2 differential, 4 and 5 RTK, 6 dead reckoning, 7 by hand, 8 simulated
    latitude: float | None
    longitude: float | None
    altitude_m: float | None  # above mean sea level
    satellites: int | None
    hdop: float | None


@dataclass(frozen=True, slots=True)
class Zda:
    """Time and date with a year of four digits."""

    utc_us: int | None


@dataclass(frozen=True, slots=True)
class Gsa:
    """Of how many dimensions the fix is: 1 none, 2 without height, 3."""

    fix: int
    satellites: int  # used, of the system this sentence is about; twelve at most


@dataclass(frozen=True, slots=True)
class Gsv:
    """Satellites in view of one system, told in several sentences."""

    talker: str
    sentences: int
    number: int
    in_view: int
    snrs_db: tuple[int, ...]  # of those that are heard, in this sentence


@dataclass(frozen=True, slots=True)
class Antenna:
    """What a receiver measures on its antenna's cable, in its own words: "OK", "OPEN" or "SHORT"."""

    status: str


Said = Rmc | Gga | Zda | Gsa | Gsv | Antenna


def parse(text: str) -> Said | None:
    """What a sentence says; None for a kind the gateway has no use for. MalformedMessage when it cannot be read."""
    address, *fields = text.split(",")
    if len(address) != 5 or address[0] == "P":  # P: a maker's own
        return None
    reader = _READERS.get(address[2:])
    if reader is None:
        return None
    try:
        return reader(address[:2], fields)
    except (ValueError, IndexError) as error:
        raise MalformedMessage(f"{address}: {error}") from error


def _rmc(_: str, fields: Sequence[str]) -> Rmc:
    time, status, latitude, north, longitude, east, _, _, date = fields[:9]
    place = _degrees(latitude, north, "NS", 90), _degrees(longitude, east, "EW", 180)
    return Rmc(_moment(time, _rmc_date(date)), status == "A", *place)


def _gga(_: str, fields: Sequence[str]) -> Gga:
    _, latitude, north, longitude, east, quality, satellites, hdop, altitude, unit = fields[:10]
    if altitude and unit != "M":
        raise ValueError(f"a height in {unit!r}")
    return Gga(
        quality=_whole(quality) or 0,
        latitude=_degrees(latitude, north, "NS", 90),
        longitude=_degrees(longitude, east, "EW", 180),
        altitude_m=_number(altitude),
        satellites=_whole(satellites),
        hdop=_number(hdop),
    )


def _zda(_: str, fields: Sequence[str]) -> Zda:
    time, day, month, year = fields[:4]
    return Zda(_moment(time, (int(year), int(month), int(day)) if day and month and year else None))


def _gsa(_: str, fields: Sequence[str]) -> Gsa:
    fix = int(fields[1])
    if not 1 <= fix <= 3:
        raise ValueError(f"a fix of {fix} dimensions")
    return Gsa(fix, sum(1 for satellite in fields[2:14] if satellite))


def _gsv(talker: str, fields: Sequence[str]) -> Gsv:
    sentences, number, in_view = (_some(field) for field in fields[:3])
    levels = (_whole(snr) for snr in fields[6::4])
    return Gsv(talker, sentences, number, in_view, tuple(level for level in levels if level))


def _txt(_: str, fields: Sequence[str]) -> Antenna | None:
    found = _ANTENNA.search(",".join(fields[3:]))
    return None if found is None else Antenna(found[1])


_READERS: Final[Mapping[str, Callable[[str, Sequence[str]], Said | None]]] = {
    "RMC": _rmc, "GGA": _gga, "ZDA": _zda, "GSA": _gsa, "GSV": _gsv, "TXT": _txt,
}  # fmt: skip

# --- fields ---------------------------------------------------------------------------------------------------------

_TIME: Final = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})(?:\.([0-9]{1,9}))?")
_DATE: Final = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})")
_DIGITS: Final = re.compile(r"[0-9]{1,6}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{0,9})?")
_ANTENNA: Final = re.compile(r"ANT(?:STATUS=|ENNA )(OK|OPEN|SHORT)\b")  # u-blox, Quectel, MediaTek, CASIC
_DEGREES: Final = re.compile(r"([0-9]{1,3})([0-9]{2}(?:\.[0-9]{0,9})?)")


def _moment(time: str, date: tuple[int, int, int] | None) -> int | None:
    if not time or date is None:
        return None
    if (found := _TIME.fullmatch(time)) is None:
        raise ValueError(f"a time of {time!r}")
    hour, minute, second = (int(digits) for digits in found.groups()[:3])
    if second == 60:
        return None
    part_us = int((found[4] or "0").ljust(9, "0")) // 1000
    return unix_us(datetime(*date, hour, minute, second, tzinfo=UTC)) + part_us * SECOND_US // 1_000_000


def _rmc_date(text: str) -> tuple[int, int, int] | None:
    if not text:
        return None
    if (found := _DATE.fullmatch(text)) is None:
        raise ValueError(f"a date of {text!r}")
    day, month, year = (int(digits) for digits in found.groups())
    return (1900 if year >= 80 else 2000) + year, month, day  # GPS begins in 1980


def _degrees(text: str, side: str, sides: str, most: int) -> float | None:
    if not text:
        return None
    if (found := _DEGREES.fullmatch(text)) is None or len(side) != 1 or side not in sides:
        raise ValueError(f"a place of {text!r} {side!r}")
    minutes = float(found[2])
    degrees = int(found[1]) + minutes / 60
    if minutes >= 60 or degrees > most:
        raise ValueError(f"a place of {text!r}")
    return degrees if side == sides[0] else -degrees


def _whole(text: str) -> int | None:
    return _some(text) if text else None


def _some(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise ValueError(f"a number of {text!r}")
    return int(text)


def _number(text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"a number of {text!r}")
    return float(text)
