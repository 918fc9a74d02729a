"""What the JSON of ChirpStack and of The Things Stack have in common: both were protobuf before.

Both speak of the same things in two dialects: times are RFC 3339 with as many decimals as are needed, a codec's answer
went through `google.protobuf.Struct`, where every number is a double.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.model import UNDATED, TimeQuality
from gateway.wire.semtech_udp import GPS_EPOCH_S, GPS_LEAP_S

if TYPE_CHECKING:
    from gateway.model import Stamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_DEPTH: Final = 64  # no device has that much to say; JSON readers stop at about a hundred
_NOTHING: Final = object()


def moment(utc_us: int, utc: str = "Z") -> str:
    """RFC 3339 with no decimals, three or six, and `utc` behind. Times outside the years 1 to 9999 become the nearest.

    ProtoJSON (protobuf.dev) writes so, and chrono, which ChirpStack uses.
    """
    try:
        when = _EPOCH + timedelta(microseconds=utc_us)
    except OverflowError:
        when = _FIRST if utc_us < 0 else _LAST
    if not when.microsecond:
        return when.isoformat()[:19] + utc
    return when.isoformat()[: 26 if when.microsecond % 1000 else 23] + utc


def is_dated(stamp: Stamp) -> bool:
    """Whether the date is one to tell others."""
    return stamp.quality not in UNDATED


def gps_time_us(stamp: Stamp) -> int | None:
    """Microseconds since 1980-01-06 without leap seconds, of a stamp that GPS gave; None for others."""
    since_us = stamp.utc_us - (GPS_EPOCH_S - GPS_LEAP_S) * 1_000_000
    return since_us if stamp.quality is TimeQuality.GPS and 0 <= since_us < _FAR_AWAY_US else None


_FAR_AWAY_US: Final = 1000 * 366 * 86_400 * 1_000_000  # a thousand years of GPS; a Duration ends after ten thousand


def seconds(microseconds: int) -> str:
    """A duration, not negative: `0.046336s`, `1479463218.123456s`."""
    whole, fraction = divmod(microseconds, 1_000_000)
    if not fraction:
        return f"{whole}s"
    digits = f"{fraction:06}"
    return f"{whole}.{digits.removesuffix('000')}s"


def structure(data: Mapping[str, Any], *, whole_as_double: bool) -> dict[str, Any]:
    """A codec's answer as it comes out of a `Struct`: numbers as doubles, keys as text, NaN and infinities left out.

    `whole_as_double`: 12 is written 12.0 (ChirpStack); otherwise 12.0 is written 12 (The Things Stack).
    """
    found = _plain(data, _DEPTH, _double if whole_as_double else _shortest)
    return found if isinstance(found, dict) else {}


def _plain(value: Any, depth: int, number: Any) -> Any:
    if isinstance(value, str) or value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if not depth:
        return None
    if isinstance(value, Mapping):
        found = ((str(key), _plain(item, depth - 1, number)) for key, item in value.items())
        return {key: item for key, item in found if item is not _NOTHING}
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, Sequence | set | frozenset):
        found_items = (_plain(item, depth - 1, number) for item in value)
        return [None if item is _NOTHING else item for item in found_items]
    return str(value)


def _double(value: float) -> Any:
    try:
        found = float(value)
    except OverflowError:
        return _NOTHING
    return found if math.isfinite(found) else _NOTHING


def _shortest(value: float) -> Any:
    found = _double(value)
    return int(found) if isinstance(found, float) and found.is_integer() and abs(found) < _EXACT else found


_EXACT: Final = 1 << 53


def profile_of(codec: str | None) -> str:
    """What kind of device it is, by its codec without the version; empty without one."""
    return "" if codec is None else codec.partition("@")[0]


def slug(text: str, *, shortest: int, longest: int) -> str | None:
    """The text when it is an id of lower case letters and digits with single dashes inside, else None."""
    return text if shortest <= len(text) <= longest and _SLUG.fullmatch(text) else None


_SLUG: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
