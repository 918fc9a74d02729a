"""From a foreign codec's data to measurements: by the table in `device.toml`, or by The Things Stack's normalised form.

```toml
[measurements]
temperature = "temperature"                                             # data.temperature, in the quantity's unit
"battery.mv" = { quantity = "battery_voltage", unit = "mV" }            # data.battery.mv, converted
leakage_status = { quantity = "leak", when = "leak" }                   # true where the text is "leak"
"history[].litres" = { quantity = "volume", unit = "L", time = "history[].at" }
raw_level = { quantity = "distance", scale = 2.5, offset = -100 }       # value · scale + offset
```

A path names keys, `[]` each element of a list, `[0]` one of them. Numbers may be texts (`"21.5"`). What is absent or
null is no measurement; what is there and cannot be read is a warning. `time` is RFC 3339, or Unix time in s or ms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.decoding.quantities import Kind, lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.decoding.quantities import Quantity

EACH = "[]"
Step = str | int
"""A key, an index, or EACH."""

MOST_VALUES = 1000  # of one path; what reads them takes half as many
_LATEST_TIME_S = 0xFFFF_FFFF  # later as seconds is meant as milliseconds: 1970-02-19 and after

UNITS: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        ("°F", "°C"): (5 / 9, -160 / 9),
        ("K", "°C"): (1, -273.15),
        ("mV", "V"): (0.001, 0),
        ("mL", "m3"): (0.000_001, 0),
        ("L", "m3"): (0.001, 0),
        ("L/h", "m3/h"): (0.001, 0),
        ("L/min", "m3/h"): (0.06, 0),
        ("L/s", "m3/h"): (3.6, 0),
        ("m3/s", "m3/h"): (3600, 0),
        ("cm", "mm"): (10, 0),
        ("m", "mm"): (1000, 0),
        ("Pa", "hPa"): (0.01, 0),
        ("kPa", "hPa"): (10, 0),
        ("mbar", "hPa"): (1, 0),
        ("bar", "hPa"): (1000, 0),
        ("ppb", "ppm"): (0.001, 0),
        ("ppm", "ppb"): (1000, 0),
        ("klx", "lx"): (1000, 0),
        ("mg", "g"): (0.001, 0),
        ("1", "%"): (100, 0),  # a share of one
    },
)
"""Unit of a script, unit of the vocabulary → value · first + second."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a quantity is in the data, and how its value becomes one of the vocabulary."""

    path: tuple[Step, ...]
    quantity: Quantity
    name: str  # with the channel: external_temperature_2
    scale: float = 1
    offset: float = 0
    when: Any = None  # the value that means true; None: the value itself
    time: tuple[Step, ...] | None = None


_STEP = re.compile(r"([^.\[\]]+)|\[(\d*)\]")


def read_path(text: str) -> tuple[Step, ...]:
    """The steps of `a.b[].c`; ValueError when it is no path."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        if steps and text[at] == ".":
            at += 1
        found = _STEP.match(text, at)
        if found is None or (found[1] and steps and text[at - 1] != "."):
            raise ValueError(f"{text!r} is no path such as a.b[].c")
        steps.append(found[1] or (int(found[2]) if found[2] else EACH))
        at = found.end()
    if not steps or steps[0] == EACH or isinstance(steps[0], int):  # what a codec returns is an object
        raise ValueError(f"{text!r} is no path such as a.b[].c")
    return tuple(steps)


def measured(rules: Sequence[Rule], data: Mapping[str, Any], warnings: list[str]) -> list[dict[str, Any]]:
    """What the rules find in the data, as a codec's own `measurements` would be; what cannot be read is a warning."""
    found: list[dict[str, Any]] = []
    for rule in rules:
        times = dict(_values(data, rule.time, ())) if rule.time else {}
        for place, raw in _values(data, rule.path, ()):
            if raw is None:
                continue
            try:
                item = {"quantity": rule.name, "value": _value(rule, raw)}
                if rule.time is not None:
                    item["time"] = unix_s(_beside(times, place))
            except ValueError as problem:
                warnings.append(f"data.{path_text(place)} {problem}")
            else:
                found.append(item)
    return found


def _values(value: Any, path: tuple[Step, ...], place: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every value at a path, with its place."""
    if not path:
        yield place, value
        return
    step, rest = path[0], path[1:]
    if step == EACH:
        for index, item in enumerate(value[:MOST_VALUES] if type(value) is list else ()):
            yield from _values(item, rest, (*place, index))
    elif type(step) is int:
        if type(value) is list and step < len(value):
            yield from _values(value[step], rest, (*place, step))
    elif type(value) is dict and step in value:
        yield from _values(value[step], rest, (*place, step))


def _beside(times: Mapping[tuple[Step, ...], Any], place: tuple[Step, ...]) -> Any:
    """The time that shares most of a value's place: of the same list element, or of the whole."""
    indices = [step for step in place if type(step) is int]
    for candidate, time in times.items():
        theirs = [step for step in candidate if type(step) is int]
        if theirs == indices[: len(theirs)]:
            return time
    raise ValueError("has no time")


_NUMERIC = re.compile(r"\s*[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?\s*")


def _value(rule: Rule, raw: Any) -> Any:
    if rule.when is not None:
        return raw == rule.when and type(raw) is type(rule.when)
    if rule.quantity.kind is Kind.BOOL:
        if type(raw) is not bool and raw not in (0, 1):
            raise ValueError(f"is {_short(raw)}, neither true nor false")
        return bool(raw)
    if rule.quantity.kind is Kind.TEXT:
        return raw
    if type(raw) is str and _NUMERIC.fullmatch(raw):
        raw = float(raw)
    if type(raw) not in {int, float}:
        raise ValueError(f"is {_short(raw)}, which is no number")
    if rule.scale == 1 and rule.offset == 0:
        return raw
    return round(raw * rule.scale + rule.offset, 9)  # 21.35 and not 21.349999999999998


def unix_s(time: Any) -> float:
    """Unix time of what scripts give as a time; ValueError when it is none."""
    if type(time) in {int, float} and time >= 0:
        return float(time / 1000 if time > _LATEST_TIME_S else time)
    if type(time) is str:
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            raise ValueError(f"has the time {_short(time)}, which is none") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise ValueError(f"has the time {_short(time)}, which is none")


def path_text(path: tuple[Step, ...]) -> str:
    """A path, or the place of a value, as it is written: `a.b[].c`."""
    return "".join(f"[{step}]" if type(step) is int else step if step == EACH else f".{step}" for step in path)[1:]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


# --- The Things Stack's normalised payload --------------------------------------------------------------------------


def _normal_rules() -> Iterator[Rule]:
    """The fields of `lib/payload.json` of TheThingsNetwork/lorawan-devices for which the vocabulary has a word."""
    for path, name, scale in (
        ("battery", "battery_voltage", 1),
        ("air.temperature", "temperature", 1),
        ("air.relativeHumidity", "humidity", 1),
        ("air.pressure", "pressure", 1),
        ("air.co2", "co2", 1),
        ("air.lightIntensity", "light", 1),
        ("water.leak", "leak", 1),
        ("water.temperature.current", "water_temperature", 1),
        ("water.temperature.min", "minimum_water_temperature", 1),
        ("water.temperature.max", "maximum_water_temperature", 1),
        ("metering.water.total", "volume", 0.001),  # litres
        ("action.motion.detected", "motion", 1),
        ("action.motion.count", "motion_count", 1),
        ("position.latitude", "latitude", 1),
        ("position.longitude", "longitude", 1),
    ):
        quantity = lookup(name)
        if quantity is not None:
            yield Rule(read_path(path), quantity, name, scale)


_NORMAL = tuple(_normal_rules())
_NORMAL_FIELDS = frozenset({"time", "battery", "air", "wind", "soil", "water", "metering", "action", "position"})


def is_normal(data: Mapping[str, Any]) -> bool:
    """Whether decoded data could be one normalised measurement as it stands: The Things Stack tries that too."""
    return bool(data) and data.keys() <= _NORMAL_FIELDS and any(type(part) is dict for part in data.values())


def normalised(result: Any, warnings: list[str]) -> list[dict[str, Any]]:
    """The measurements of what `normalizeUplink` returned: one object or a list of them, each maybe with a time."""
    found: list[dict[str, Any]] = []
    for index, part in enumerate(result if type(result) is list else [result]):
        if type(part) is not dict:
            warnings.append(f"the normalised measurement {index + 1} is no object")
            continue
        doubts: list[str] = []
        items = measured(_NORMAL, part, doubts)
        warnings += [f"normalised {doubt.removeprefix('data.')}" for doubt in doubts]
        if items and part.get("time") is not None:
            try:
                time_s = unix_s(part["time"])
            except ValueError as problem:
                warnings.append(f"the normalised measurement {index + 1} {problem}")
                continue
            items = [{**item, "time": time_s} for item in items]
        found += items
    return found
