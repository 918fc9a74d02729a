"""What a codec answered, held against the vocabulary.

A codec's own words are passed on as they are; what is noticed here is added behind them. A value of the wrong kind,
unit or name is dropped with a warning, an implausible one is kept with a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.decoding.mapping import is_normal, measured, normalised
from gateway.decoding.quantities import QUANTITIES, lookup, wrong_kind
from gateway.model import Decoded, Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.decoding.mapping import Rule

MOST_MESSAGES = 50
MOST_MESSAGE_CHARACTERS = 1000
MOST_MEASUREMENTS = 500
MOST_DEPTH = 32
"""Destinations write JSON that nests a reading's data; orjson writes 254 levels."""

_SHALLOW_BRACKETS = 200  # fewer brackets than this cannot nest too deep for anyone
_LATEST_TIME_S = 0xFFFF_FFFF  # devices keep time in 32 bits: 2106
_KNOWN = {"data", "warnings", "errors", "measurements", "normalized", "console"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one payload: the codec's words and values, and ours behind them."""

    codec: str | None = None  # VENDOR/DEVICE@version
    data: Mapping[str, Any] | None = None
    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    console: tuple[str, ...] = ()  # what a script said to its author

    def decoded(self) -> Decoded:
        """The same as a reading carries it: the errors joined to one problem."""
        return Decoded(self.codec, self.data, self.measurements, self.warnings, "; ".join(self.errors) or None)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A downlink payload made by a codec; None with at least one error."""

    payload: bytes | None = None
    f_port: int | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    console: tuple[str, ...] = ()


def read_answer(codec: str, raw: Any, brackets: int = 0, rules: Sequence[Rule] = ()) -> Answer:
    """A codec's result, already out of JSON, as an answer. Never raises; `brackets` counts those of its JSON text.

    Its measurements are what the rules of `device.toml` find in its data, where there are any; else its own; else what
    its `normalizeUplink` made, or data that has that form.
    """
    if type(raw) is not dict:
        return Answer(codec, errors=("the codec's answer is no object",))
    errors = _messages(raw.get("errors"))
    warnings = _messages(raw.get("warnings"))
    console = tuple(_messages(raw.get("console")))
    data = raw.get("data")
    if brackets > _SHALLOW_BRACKETS and _deeper(data, MOST_DEPTH):
        errors.append(f"the codec's data is nested deeper than {MOST_DEPTH}")
        return Answer(codec, errors=tuple(errors), console=console)
    if data is not None and type(data) is not dict:
        errors.append("the codec's data is no object")
        return Answer(codec, warnings=tuple(warnings), errors=tuple(errors), console=console)
    measurements = _measurements(_found(raw, data, rules, warnings, failed=bool(errors)), warnings)
    if data is None and not errors and not measurements:
        errors.append("the codec returned neither data nor an error")
    if not raw.keys() <= _KNOWN:
        warnings += [f"the codec's result has a key {str(key)[:40]!r} that nobody reads" for key in raw.keys() - _KNOWN]
    return Answer(codec, data, measurements, tuple(warnings), tuple(errors), console)


def _found(raw: Any, data: Any, rules: Sequence[Rule], warnings: list[str], *, failed: bool) -> Any:
    if failed or data is None:
        return raw.get("measurements")
    if rules:
        return measured(rules, data, warnings)
    own = raw.get("measurements")
    if own is not None:
        return own
    normal = raw.get("normalized")
    if type(normal) is dict:
        warnings += [*_messages(normal.get("warnings")), *_messages(normal.get("errors"))]
        return None if normal.get("errors") or normal.get("data") is None else normalised(normal["data"], warnings)
    return normalised(data, []) if is_normal(data) else None


def read_encoded(raw: Any, f_port: int | None) -> Encoded:
    """The result of an encoder, already out of JSON. Never raises. Without a port of its own it keeps the asker's."""
    if type(raw) is not dict:
        return Encoded(errors=("the encoder's answer is no object",))
    errors = _messages(raw.get("errors"))
    warnings = (*_messages(raw.get("warnings")), *_messages(raw.get("cut")))
    console = tuple(_messages(raw.get("console")))
    own = raw.get("f_port", raw.get("fPort"))
    port = own if own is not None else f_port
    if port is not None and (type(port) is not int or not 1 <= port <= 223):
        errors.append(f"the encoder's port is {str(port)[:40]}, ports are 1 to 223")
        port = None
    payload = None
    if not errors:
        given = raw.get("bytes")
        if type(given) is list and all(type(byte) is int and 0 <= byte <= 255 for byte in given):
            payload = bytes(given)
        else:
            errors.append("the encoder returned no list of bytes (0 to 255)")
    if payload is not None and len(payload) > 242:
        errors.append(f"the encoder made {len(payload)} bytes, LoRaWAN carries at most 242")
        payload = None
    return Encoded(payload, port, warnings, tuple(errors), console)


def _messages(given: Any) -> list[str]:
    """Warnings or errors as a list of texts; absent, null and [] mean the same."""
    if not given:
        return []
    if type(given) is not list:
        given = [given]
    texts = [_shortened(item if type(item) is str else repr(item)) for item in given[:MOST_MESSAGES]]
    if len(given) > MOST_MESSAGES:
        texts.append(f"… and {len(given) - MOST_MESSAGES} more")
    return texts


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_MESSAGE_CHARACTERS else f"{text[:MOST_MESSAGE_CHARACTERS]}…"


def _measurements(given: Any, warnings: list[str]) -> tuple[Measurement, ...]:
    if not given:
        return ()
    if type(given) is not list:
        warnings.append("the codec's measurements are no list")
        return ()
    found: list[Measurement] = []
    doubts: list[str] = []
    for item in given[:MOST_MEASUREMENTS]:
        measurement = _measurement(item, doubts)
        if measurement is not None:
            found.append(measurement)
    if len(given) > MOST_MEASUREMENTS:
        doubts.append(f"{len(given) - MOST_MEASUREMENTS} measurements beyond the first {MOST_MEASUREMENTS} are dropped")
    warnings += doubts[:MOST_MESSAGES]
    return tuple(found)


def _measurement(item: Any, doubts: list[str]) -> Measurement | None:
    """One measurement, or None with a doubt that says why it is dropped. An implausible value is kept with a doubt."""
    if type(item) is not dict or type(name := item.get("quantity")) is not str:
        doubts.append(f"{_short(item)} is no measurement")
        return None
    quantity = QUANTITIES.get(name) or lookup(name)
    if quantity is None:
        doubts.append(f"{_short(name)} is no quantity of the vocabulary")
        return None
    value: Any = item.get("value")
    if wrong := wrong_kind(quantity, value):
        doubts.append(f"{name}: {wrong}")
        return None
    if item.get("unit", quantity.unit) != quantity.unit:
        doubts.append(f"{name} is in {quantity.unit or 'no unit'}, not {_short(item['unit'])}")
        return None
    time_s = item.get("time")
    if time_s is not None and not (type(time_s) in {int, float} and 0 <= time_s <= _LATEST_TIME_S):
        doubts.append(f"{name}: {_short(time_s)} is no time in Unix seconds")
        return None
    if type(value) is not str and not quantity.low <= value <= quantity.high:
        doubts.append(f"{name}: {quantity.doubt(value)}")
    return Measurement(name, value, quantity.unit, None if time_s is None else round(time_s * 1_000_000))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _deeper(value: Any, levels: int) -> bool:
    if type(value) is dict:
        return levels == 0 or any(_deeper(item, levels - 1) for item in value.values())
    if type(value) is list:
        return levels == 0 or any(_deeper(item, levels - 1) for item in value)
    return False
