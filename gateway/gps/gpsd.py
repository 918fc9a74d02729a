"""gpsd's JSON as values. gpsd speaks to receivers of every kind and passes on what they say, a line for each report.

Source: gpsd_json(5) of gpsd 3.25. It sends fields only where it knows them, and older versions know fewer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.gps.framing import MalformedMessage
from gateway.gps.scales import MOST_LEAP_S, unix_us

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WATCH: Final = b'?WATCH={"enable":true,"json":true,"pps":true};\n'
"""What makes it tell everything it hears, and the pulses that the kernel has seen."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The receivers it has; empty when it waits for one to be plugged in."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tpv:
    """Time, position, velocity."""

    mode: int  # 0 and 1 no fix, 2 and 3 dimensions
    utc_us: int | None
    leap_s: int | None
    latitude: float | None
    longitude: float | None
    altitude_m: float | None  # above mean sea level
    accuracy_m: float | None  # horizontal, 95 %


@dataclass(frozen=True, slots=True)
class Sky:
    """Satellites."""

    used: int | None
    in_view: int | None


@dataclass(frozen=True, slots=True)
class Pps:
    """A pulse: what time it was, and what the machine's wall clock said, both since 1970."""

    utc_us: int
    wall_us: int
    off_us: int  # how exact the reading is


@dataclass(frozen=True, slots=True)
class Fault:
    """What it could not do."""

    words: str


Said = Devices | Tpv | Sky | Pps | Fault


def parse(line: bytes) -> Said | None:
    """What a line says; None for a report the gateway has no use for. MalformedMessage when it cannot be read."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"no JSON: {error}") from error
    if not isinstance(report, dict) or not isinstance(kind := report.get("class"), str):
        raise MalformedMessage("no report of gpsd")
    reader = _READERS.get(kind)
    if reader is None:
        return None
    try:
        return reader(report)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise MalformedMessage(f"{kind}: {error}") from error


def _devices(report: Mapping[str, Any]) -> Devices:
    devices = report["devices"]
    if not isinstance(devices, list):
        raise TypeError("devices is no list")
    paths = (str(device["path"]) for device in devices if isinstance(device, dict) and device.get("path"))
    return Devices(tuple(path for path in paths if not path.startswith("/dev/pps")))


def _tpv(report: Mapping[str, Any]) -> Tpv:
    altitude_m = _number(report, "altMSL", -10_000, 100_000)
    return Tpv(
        mode=_whole(report, "mode", 0, 3) or 0,
        utc_us=_moment(report.get("time")),
        leap_s=_whole(report, "leapseconds", 0, MOST_LEAP_S) or None,  # 0: not known yet
        latitude=_number(report, "lat", -90, 90),
        longitude=_number(report, "lon", -180, 180),
        altitude_m=_number(report, "alt", -10_000, 100_000) if altitude_m is None else altitude_m,
        accuracy_m=_number(report, "eph", 0, 1e9),
    )


def _sky(report: Mapping[str, Any]) -> Sky:
    used, in_view = _whole(report, "uSat", 0, 999), _whole(report, "nSat", 0, 999)
    satellites = report.get("satellites")
    if isinstance(satellites, list):  # gpsd before 3.21 tells no sums
        known = [one for one in satellites if isinstance(one, dict)]
        used = sum(one.get("used") is True for one in known) if used is None else used
        in_view = len(known) if in_view is None else in_view
    return Sky(used, in_view)


def _pps(report: Mapping[str, Any]) -> Pps:
    real_ns = _nanoseconds(report, "real")
    clock_ns = _nanoseconds(report, "clock")
    precision = _whole(report, "precision", -60, 0) or 0  # a power of two, in seconds
    return Pps(real_ns // 1000, clock_ns // 1000, max(1, math.ceil(2.0**precision * 1_000_000)))


def _fault(report: Mapping[str, Any]) -> Fault:
    return Fault(str(report.get("message", "an error"))[:200])


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Said]]] = {
    "DEVICES": _devices, "TPV": _tpv, "SKY": _sky, "PPS": _pps, "ERROR": _fault,
}  # fmt: skip


def _nanoseconds(report: Mapping[str, Any], name: str) -> int:
    seconds = _whole(report, f"{name}_sec", 0, 1 << 40)
    rest = _whole(report, f"{name}_nsec", 0, 999_999_999)
    if seconds is None or rest is None:
        raise ValueError(f"no {name}_sec and {name}_nsec")
    return seconds * 1_000_000_000 + rest


def _moment(text: object) -> int | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"a time of {text!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.utcoffset() != timedelta(0):
        raise ValueError(f"a time of {text!r}")
    return unix_us(moment.astimezone(UTC))


def _number(report: Mapping[str, Any], name: str, lowest: float, highest: float) -> float | None:
    value = report.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}")
    return float(value)


def _whole(report: Mapping[str, Any], name: str, lowest: int, highest: int) -> int | None:
    value = report.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}")
    return value
