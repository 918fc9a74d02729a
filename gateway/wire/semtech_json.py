"""JSON as packet forwarders really send it, and why a part of it cannot be used.

C programs leave NULs and old buffer behind their JSON, print `nan`, or have a datagram cut off. A body that is no JSON
as a whole is taken apart by its brackets, so that what is broken costs only itself. The readers of single keys are
strict about types (a bool is no number) and lenient about spelling (`7.0` is a whole number, `null` an absent key).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


class Malformed(StrEnum):
    """Why a datagram, or one packet inside it, cannot be used. The value is the counter's label."""

    SHORT = "short"  # no header
    VERSION = "version"  # neither 1 nor 2
    KIND = "kind"  # no such message
    NO_EUI = "no_eui"  # ends before the EUI does
    NOT_UTF8 = "not_utf8"
    TOO_DEEP = "too_deep"  # nested beyond what the parser follows
    NOT_JSON = "not_json"  # NaN and infinity are here too: they are no JSON
    NOT_AN_OBJECT = "not_an_object"
    TOO_MANY = "too_many"  # more rxpk than a datagram can hold
    MISSING_KEY = "missing_key"  # not there, or null
    WRONG_TYPE = "wrong_type"
    IMPOSSIBLE_VALUE = "impossible_value"  # no radio can have measured it
    BAD_BASE64 = "bad_base64"
    SIZE_MISMATCH = "size_mismatch"  # `size` is not the length of `data`
    TOO_LONG = "too_long"  # `data` is more than a radio frame can carry
    UNKNOWN_MODULATION = "unknown_modulation"
    UNKNOWN_DATA_RATE = "unknown_data_rate"
    UNKNOWN_CODING_RATE = "unknown_coding_rate"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that cannot be used; `where` is one of our own key names, never text of the sender."""

    reason: Malformed
    where: str = ""


class Unusable(Exception):  # noqa: N818 - the way out of a nested reading; whoever called for it gets the fault as a value
    """The packet being read cannot be used."""

    def __init__(self, reason: Malformed, where: str = "") -> None:
        self.fault = Fault(reason, where)


# --- a body, whole or in pieces -------------------------------------------------------------------------------------


def load(json: bytes) -> Any:
    """The value, without what C programs leave around it: a NUL and old buffer behind, a BOM before. Else Unusable."""
    try:
        return orjson.loads(json)
    except orjson.JSONDecodeError:
        json = json.partition(b"\0")[0].removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(json)
    except orjson.JSONDecodeError as error:
        raise Unusable(_why_not(json, error)) from None


def load_object(json: bytes, key: str) -> dict[str, Any]:
    """The object under `key` of the object that the body is."""
    root = load(json)
    if type(root) is not dict:
        raise Unusable(Malformed.NOT_AN_OBJECT)
    found = root.get(key)
    if type(found) is not dict:
        raise unfit(key, found)
    return found


def _why_not(json: bytes, error: orjson.JSONDecodeError) -> Malformed:
    if "depth" in error.msg:
        return Malformed.TOO_DEEP
    try:
        json.decode()
    except UnicodeDecodeError:
        return Malformed.NOT_UTF8
    return Malformed.NOT_JSON


# A string (its closing quote may be missing) or a bracket. Possessive, so that hostile text costs one pass.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
_OPENER_OF: Final = {0x7D: 0x7B, 0x5D: 0x5B}  # } ] to { [
_PLACES: Final = {(b"{[", b'"rxpk"'): "rxpk", (b"{", b'"stat"'): "stat"}  # what is open, and the key before it


def pieces(json: bytes) -> Iterator[tuple[str, bytes]]:
    """`rxpk` or `stat` with the bytes of one such object, in order, found by brackets. The last may be cut off."""
    stack = bytearray()
    key, place, floor, start = b"", "", 0, 0
    for token in _TOKEN.finditer(json):
        mark = json[token.start()]
        if mark == 0x22:
            if len(stack) == 1:
                key = token[0]
        elif opener := _OPENER_OF.get(mark):
            # A closer that closes nothing inside the piece belongs to the damage and is passed over.
            if (opened := stack.rfind(opener, floor)) >= 0:
                del stack[opened:]
                if place and len(stack) == floor:
                    yield place, json[start : token.end()]
                    place, floor = "", 0
                if not stack:  # the body is complete; what follows is what the sender's buffer held before
                    return
        else:
            if not place and mark == 0x7B and (place := _PLACES.get((bytes(stack[:3]), key), "")):
                floor, start = len(stack), token.start()
            stack.append(mark)
    if place:
        yield place, json[start:]


def salvage(json: bytes, at_most: int) -> tuple[dict[str, Any], list[Fault]]:
    """The body rebuilt from those of its first pieces that are JSON, and a fault for each that is not."""
    body: dict[str, Any] = {"rxpk": []}
    faults: list[Fault] = []
    for count, (place, piece) in enumerate(pieces(json)):
        if count == at_most:
            faults.append(Fault(Malformed.TOO_MANY, place))
            break
        try:
            value = orjson.loads(piece)
        except orjson.JSONDecodeError as error:
            faults.append(Fault(_why_not(piece, error), place))
            continue
        if place == "rxpk":
            body["rxpk"].append(value)
        else:
            body["stat"] = value
    return body, faults


# --- the values of keys ---------------------------------------------------------------------------------------------


def unfit(key: str, value: object) -> Unusable:
    """The reason when a value is not of the type asked for: it may not be there at all."""
    return Unusable(Malformed.MISSING_KEY if value is None else Malformed.WRONG_TYPE, key)


def number(packet: dict[str, Any], key: str, low: float, high: float) -> float:
    """A number within limits."""
    value = packet.get(key)
    if type(value) is not int and type(value) is not float:
        raise unfit(key, value)
    if not low <= value <= high:
        raise Unusable(Malformed.IMPOSSIBLE_VALUE, key)
    return value


def whole(packet: dict[str, Any], key: str, low: int, high: int) -> int:
    """A whole number within limits."""
    value = packet.get(key)
    if type(value) is not int:
        if type(value) is not float:
            raise unfit(key, value)
        if not value.is_integer():
            raise Unusable(Malformed.IMPOSSIBLE_VALUE, key)
        value = int(value)
    if not low <= value <= high:
        raise Unusable(Malformed.IMPOSSIBLE_VALUE, key)
    return value


def text(packet: dict[str, Any], key: str) -> str:
    """A string."""
    value = packet.get(key)
    if type(value) is not str:
        raise unfit(key, value)
    return value


def flag(packet: dict[str, Any], key: str) -> bool:
    """A bool; false when absent. The string "true" is none, for the reference forwarder neither."""
    value = packet.get(key)
    if value is None:
        return False
    if type(value) is not bool:
        raise unfit(key, value)
    return value


def extra(packet: dict[str, Any], key: str, low: int, high: int) -> int | None:
    """A whole number that stands beside the frame: absent, or nonsense, it is simply not known."""
    value = packet.get(key)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and low <= value <= high else None
