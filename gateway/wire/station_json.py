"""JSON of a Basics Station server, read key by key, strict about types; what cannot be used is MalformedMessage."""

from __future__ import annotations

from typing import Any, Final

import orjson

MESSAGE_MAX: Final = 40_000
"""Bytes of a message from a server; Station takes no more either."""


class MalformedMessage(ValueError):  # noqa: N818 - reads as the sentence it is
    """What a server said cannot be used; the text says why."""


def clean(text: str, at_most: int = 200) -> str:
    """Text of a server, fit for a log."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:at_most])
    return shown if len(text) <= at_most else f"{shown}…"


def load_object(text: str | bytes) -> dict[str, Any]:
    """The object that the message is."""
    if len(text) > MESSAGE_MAX:
        raise MalformedMessage(f"{len(text)} bytes in one message, at most {MESSAGE_MAX} are taken")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedMessage(f"no JSON: {error.msg}") from None
    if not isinstance(message, dict):
        raise MalformedMessage("no JSON object")
    return message


def text(message: dict[str, Any], key: str) -> str:
    """A text that has to be there."""
    value = message.get(key)
    if not isinstance(value, str):
        raise MalformedMessage(f"{key} is no text" if key in message else f"no {key}")
    return value


def whole(message: dict[str, Any], key: str, low: int, high: int) -> int:
    """A whole number within limits, which has to be there."""
    value = message.get(key)
    if type(value) is not int:
        raise MalformedMessage(f"{key} is no whole number" if key in message else f"no {key}")
    if not low <= value <= high:
        raise MalformedMessage(f"{key} {value} is outside {low} to {high}")
    return value


def optional(message: dict[str, Any], key: str, high: int) -> int | None:
    """A whole number from 0 to `high`; None when it is absent."""
    return None if message.get(key) is None else whole(message, key, 0, high)


def number(message: dict[str, Any], key: str, low: float, high: float) -> float:
    """A number within limits."""
    value = message.get(key)
    if type(value) is not int and type(value) is not float:
        raise MalformedMessage(f"{key} is no number")
    if not low <= value <= high:
        raise MalformedMessage(f"{key} {value} is outside {low:g} to {high:g}")
    return value


def mux_time(message: dict[str, Any]) -> float | None:
    """The server's UTC in seconds, which any message may carry; None when it does not, or makes no sense."""
    value = message.get("MuxTime")
    if type(value) is not int and type(value) is not float:
        return None
    return float(value) if 0 < value < 1e11 else None
