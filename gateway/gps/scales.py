"""The clock of GPS, UTC and the leap seconds between them. Integer microseconds throughout.

GPS counts seconds without leaps since 1980-01-06, in weeks whose number older receivers know only modulo 1,024: after
19.6 years they are back where they were, and tell a date that has been.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway import RELEASED
from gateway.model import GPS_EPOCH_US

SECOND_US: Final = 1_000_000
WEEK_US: Final = 7 * 86_400 * SECOND_US
TURN_US: Final = 1_024 * WEEK_US
"""A turn of the ten bits of the week number (IS-GPS-200, 20.3.3.3.1.1)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def unix_us(moment: datetime) -> int:
    """Microseconds since 1970 of a moment in UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_LEAPS: Final = tuple(
    unix_us(datetime.fromisoformat(day).replace(tzinfo=UTC))
    for day in (
        "1981-07-01", "1982-07-01", "1983-07-01", "1985-07-01", "1988-01-01", "1990-01-01", "1991-01-01", "1992-07-01",
        "1993-07-01", "1994-07-01", "1996-01-01", "1997-07-01", "1999-01-01", "2006-01-01", "2009-01-01", "2012-07-01",
        "2015-07-01", "2017-01-01",
    )
)  # fmt: skip
"""From when on GPS is ahead of UTC by one second more (IERS, Bulletin C and Leap_Second.dat; the last one is that of
Bulletin C 52, July 2016, and none has been announced since)."""

MOST_LEAP_S: Final = 60
"""More is no number of leap seconds in the life of any receiver; the earth would have to stand still."""

LATEST_US: Final = unix_us(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC)) + 15 * 31_556_952 * SECOND_US
EARLIEST_US: Final = unix_us(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC))
"""No date is earlier than that of this program, and none that is 15 years later: a week number has turned over."""


def leap_seconds(utc_us: int) -> int:
    """By how much GPS is ahead of UTC at a date, by the table."""
    return bisect_right(_LEAPS, utc_us)


def gps_of_utc(utc_us: int, leap_s: int | None = None) -> int:
    """GPS time of a moment in UTC; by the table where nobody tells the leap seconds."""
    leap_s = leap_seconds(utc_us) if leap_s is None else leap_s
    return utc_us - GPS_EPOCH_US + leap_s * SECOND_US


def utc_of_gps(gps_us: int, leap_s: int | None = None) -> int:
    """UTC of a moment of GPS; by the table where nobody tells the leap seconds."""
    return gps_us + GPS_EPOCH_US - (table_leap_s(gps_us) if leap_s is None else leap_s) * SECOND_US


def table_leap_s(gps_us: int) -> int:
    """The leap seconds at a moment of GPS, by the table."""
    leap_s = leap_seconds(gps_us + GPS_EPOCH_US)
    return leap_seconds(gps_us + GPS_EPOCH_US - leap_s * SECOND_US)


def refusal(utc_us: int) -> str:
    """Why a receiver's date cannot be; empty when it can."""
    if utc_us < EARLIEST_US:
        words = f"it says {_day(utc_us)}, when this program was not yet made"
        turned_us = utc_us + TURN_US
        if EARLIEST_US <= turned_us <= LATEST_US:
            words += f": its week number has turned over, it means {_day(turned_us)}"
        return words
    return f"it says {_day(utc_us)}, which is too far ahead" if utc_us > LATEST_US else ""


def _day(utc_us: int) -> str:
    try:
        return f"{_EPOCH + timedelta(microseconds=utc_us):%Y-%m-%d}"
    except OverflowError:
        return "a year that does not exist"
