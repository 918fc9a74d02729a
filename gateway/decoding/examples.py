"""`examples.json`: what a codec promises, each payload with the answer it gives and where both come from.

```json
[{"name": "…", "input": {"fPort": 5, "hex": "0100D3", "variables": {}, "recvTime": "2026-03-14T06:00:00Z"},
  "output": {"data": {}, "warnings": [], "errors": []},
  "measurements": [{"quantity": "temperature", "value": 21.1, "unit": "°C"}], "source": "…"}]
```

`bytes` (a list of numbers) may stand for `hex`. What an example leaves out is not compared.

`"type"` says what is asked: `uplink` (when it is left out), `downlink-decode`, the same for a downlink, or
`downlink-encode`, whose input is `{"data": {}, "fPort": 85}` and whose output has `bytes` or `hex`, and `fPort`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KNOWN = {"name", "type", "input", "output", "measurements", "source"}
_INPUT = {"fPort", "bytes", "hex", "variables", "recvTime"}
_OUTPUT = {"data", "warnings", "errors"}
_OUTPUT_BYTES = {"bytes", "hex", "fPort", "warnings", "errors"}


class Asked(StrEnum):
    """What an example asks of a codec."""

    UPLINK = "uplink"
    DOWNLINK_DECODE = "downlink-decode"
    DOWNLINK_ENCODE = "downlink-encode"


@dataclass(frozen=True, slots=True)
class Example:
    """A payload, or a command, and the answer promised for it."""

    name: str
    f_port: int | None  # a command may leave it to the encoder
    payload: bytes
    output: Mapping[str, Any]
    source: str
    measurements: list[Any] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    recv_time: str | None = None  # RFC 3339
    asked: Asked = Asked.UPLINK
    command: Mapping[str, Any] = field(default_factory=dict)  # the whole input of an encoder


def read_examples(text: str, file: str) -> tuple[list[Example], list[Problem]]:
    """The examples that can be used, and a problem with its line for each that cannot."""
    examples: list[Example] = []
    problems: list[Problem] = []
    try:
        for line, item in _elements(text):
            try:
                examples.append(_example(item))
            except _MistakeError as mistake:
                problems.append(Problem(file, line, mistake.key, mistake.text))
    except json.JSONDecodeError as error:
        problems.append(Problem(file, error.lineno, "-", f"is no JSON: {error.msg}"))
    except (ValueError, RecursionError, _MistakeError) as error:  # a number of 5000 digits, a thousand brackets
        problems.append(Problem(file, 1, "-", str(error)))
    return examples, problems


def difference(expected: object, found: object, path: str = "") -> str | None:
    """Where two JSON values differ, in words; None when they mean the same.

    Key order does not count and numbers may differ by a billionth: other engines' mathematics end there.
    """
    match expected, found:
        case dict(), dict():
            return _object_difference(expected, found, path)
        case list(), list():
            for index, pair in enumerate(zip(expected, found, strict=False)):
                if inner := difference(*pair, f"{path}[{index}]"):
                    return inner
            same = len(expected) == len(found)
        case (int() | float(), int() | float()) if bool not in {type(expected), type(found)}:
            same = math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
        case _:
            same = type(expected) is type(found) and expected == found
    return None if same else f"{path or 'the result'} is {_shown(found)}, {_shown(expected)} was expected"


def _object_difference(expected: dict[str, Any], found: dict[str, Any], path: str) -> str | None:
    for key in sorted(expected.keys() | found.keys()):
        place = f"{path}.{key}" if path else key
        if key not in found:
            return f"{place} is missing, {_shown(expected[key])} was expected"
        if key not in expected:
            return f"{place} was not expected: {_shown(found[key])}"
        if inner := difference(expected[key], found[key], place):
            return inner
    return None


def unmet(example: Example, answer: Mapping[str, Any]) -> str | None:
    """What an answer lacks of what the example promises.

    It has `warnings` and `errors`, and `data` and `measurements` or, from an encoder, `bytes` and `f_port`.
    """
    for key in ("errors", "warnings"):
        if differs := difference(example.output.get(key) or [], answer.get(key) or [], key):
            return differs
    if "data" in example.output and (differs := difference(example.output["data"], answer.get("data"), "data")):
        return differs
    for key, ours in (("bytes", "bytes"), ("fPort", "f_port")):
        if key in example.output and (differs := difference(example.output[key], answer.get(ours), key)):
            return differs
    if example.measurements is not None:
        return difference(example.measurements, answer.get("measurements"), "measurements")
    return None


class _MistakeError(Exception):
    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
        self.text = text


def _elements(text: str) -> Iterator[tuple[int, Any]]:
    """Each element of the array, with the line it begins on."""
    decoder = json.JSONDecoder()
    at = _next(text, 0)
    if text[at : at + 1] != "[":
        raise _MistakeError("-", "is a list of examples: [{…}, …]")
    at = _next(text, at + 1)
    while text[at : at + 1] != "]":
        line = text.count("\n", 0, at) + 1
        item, at = decoder.raw_decode(text, at)
        yield line, item
        at = _next(text, at)
        if text[at : at + 1] == ",":
            at = _next(text, at + 1)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, at)


def _next(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\r", "\n", "\ufeff"}:
        at += 1
    return at


def _example(item: Any) -> Example:
    if type(item) is not dict:
        raise _MistakeError("-", f"is an object, not {_shown(item)}")
    asked = item.get("type", "uplink")
    if asked not in {str(kind) for kind in Asked}:
        raise _MistakeError("type", f"is one of {', '.join(Asked)}")
    if asked == Asked.DOWNLINK_ENCODE:
        return _command(item)
    given = _object(item, "input", _INPUT)
    output = _object(item, "output", _OUTPUT)
    if unknown := sorted(item.keys() - _KNOWN):
        raise _MistakeError(unknown[0], "is not known")
    f_port = given.get("fPort", 1)
    if type(f_port) is not int or not 1 <= f_port <= 255:
        raise _MistakeError("input.fPort", f"is a number from 1 to 255, not {_shown(f_port)}")
    variables = given.get("variables", {})
    if type(variables) is not dict or any(type(value) is not str for value in variables.values()):
        raise _MistakeError("input.variables", "is an object of texts")
    measurements = item.get("measurements")
    if measurements is not None and type(measurements) is not list:
        raise _MistakeError("measurements", "is a list")
    recv_time = given.get("recvTime")
    if recv_time is not None and type(recv_time) is not str:
        raise _MistakeError("input.recvTime", "is a text such as 2026-03-14T06:00:00Z")
    return Example(
        name=_text(item, "name"),
        f_port=f_port,
        payload=_payload(given),
        output=output,
        source=_text(item, "source"),
        measurements=measurements,
        variables=variables,
        recv_time=recv_time,
        asked=Asked(asked),
    )


def _command(item: dict[str, Any]) -> Example:
    """An example of an encoder. Its input may hold more than we know of: a script gets it whole."""
    given = _object(item, "input", None)
    output = dict(_object(item, "output", _OUTPUT_BYTES))
    if unknown := sorted(item.keys() - _KNOWN):
        raise _MistakeError(unknown[0], "is not known")
    if type(given.get("data")) is not dict:
        raise _MistakeError("input.data", "is the command, an object")
    f_port = given.get("fPort")
    if f_port is not None and (type(f_port) is not int or not 1 <= f_port <= 255):
        raise _MistakeError("input.fPort", f"is a number from 1 to 255, not {_shown(f_port)}")
    if "hex" in output:
        output["bytes"] = list(_payload({"hex": output.pop("hex")}, "output"))
    return Example(
        name=_text(item, "name"),
        f_port=f_port,
        payload=b"",
        output=output,
        source=_text(item, "source"),
        asked=Asked.DOWNLINK_ENCODE,
        command=given,
    )


def _object(item: dict[str, Any], key: str, known: set[str] | None) -> dict[str, Any]:
    value = item.get(key)
    if type(value) is not dict:
        raise _MistakeError(key, "is missing" if value is None else "is an object")
    if known is not None and (unknown := sorted(value.keys() - known)):
        raise _MistakeError(f"{key}.{unknown[0]}", "is not known")
    return value


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if type(value) is not str or not value:
        raise _MistakeError(key, "is missing" if value is None else "is a text")
    return value


def _payload(given: dict[str, Any], key: str = "input") -> bytes:
    if ("hex" in given) == ("bytes" in given):
        raise _MistakeError(key, "has either hex or bytes")
    if "hex" in given:
        try:
            return bytes.fromhex(given["hex"])
        except (TypeError, ValueError) as error:
            raise _MistakeError(f"{key}.hex", f"is no payload: {error}") from None
    numbers = given["bytes"]
    if type(numbers) is not list or not all(type(byte) is int and 0 <= byte <= 255 for byte in numbers):
        raise _MistakeError(f"{key}.bytes", "is a list of numbers from 0 to 255")
    return bytes(numbers)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 120 else f"{text[:120]}…"
