"""Protobuf messages described in tables, as bytes and as JSON (protobuf.dev, Encoding and ProtoJSON Format).

A message is a dict of those fields that are there, by their snake_case names. An enum is its name, or its number when
the table has none for it; a Timestamp and a Duration are whole nanoseconds (since 1970, UTC); a map is a dict. What is
absent has its default. A dozen messages need no generated code, no C library that must match it, and no 50 MB of gRPC.
"""

from __future__ import annotations

import binascii
import math
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    Values = dict[str, Any]
    """A message: its fields by name."""


class Unreadable(ValueError):  # noqa: N818 - reads as the sentence it is
    """Bytes that are not the message they should be; the text says why, and repeats nothing of the sender's."""


class Kind(Enum):
    """The types of fields that are in use here."""

    UINT32 = auto()
    INT32 = auto()
    INT64 = auto()
    BOOL = auto()
    ENUM = auto()
    FLOAT = auto()
    DOUBLE = auto()
    STRING = auto()
    BYTES = auto()
    MESSAGE = auto()
    TIMESTAMP = auto()  # google.protobuf.Timestamp
    DURATION = auto()  # google.protobuf.Duration


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message. `one_of`: fields of the message that are so marked exclude each other."""

    name: str
    number: int
    kind: Kind
    message: Message | None = None
    words: Mapping[str, int] = field(default_factory=dict)  # of an enum
    repeated: bool = False
    one_of: bool = False
    is_map: bool = False  # repeated messages of key and value, a dict for us
    camel: str = field(init=False)
    tag: bytes = field(init=False)
    wire: int = field(init=False)
    by_value: Mapping[int, str] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the name in JSON and the tag."""
        head, *rest = self.name.split("_")
        object.__setattr__(self, "camel", head + "".join(map(str.capitalize, rest)))
        object.__setattr__(self, "wire", _WIRE[self.kind])
        object.__setattr__(self, "tag", varint(self.number << 3 | self.wire))
        object.__setattr__(self, "by_value", {value: word for word, value in self.words.items()})


class Message:
    """A message type: its fields, found by number and by both of their names."""

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self.by_number = {each.number: each for each in fields}
        self.by_name = {each.name: each for each in fields} | {each.camel: each for each in fields}


def map_of(name: str, number: int, key: Kind, value: Kind) -> Field:
    """A map field: on the wire, and to older readers, repeated messages of key[1] and value[2]."""
    entry = Message(Field("key", 1, key), Field("value", 2, value))
    return Field(name, number, Kind.MESSAGE, entry, repeated=True, is_map=True)


_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_WIRE: Final = dict.fromkeys(Kind, _LEN) | {
    **dict.fromkeys((Kind.UINT32, Kind.INT32, Kind.INT64, Kind.BOOL, Kind.ENUM), _VARINT),
    Kind.DOUBLE: _I64,
    Kind.FLOAT: _I32,
}
_RANGES: Final = {
    Kind.UINT32: (0, (1 << 32) - 1),
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.ENUM: (-(1 << 31), (1 << 31) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
}
_NS: Final = 1_000_000_000
_EMPTY: Final[dict[Kind, Any]] = {Kind.STRING: "", Kind.BYTES: b"", Kind.BOOL: False}
_TIMESTAMP_NS: Final = (-62_135_596_800 * _NS, 253_402_300_800 * _NS - 1)  # years 1 to 9999, as timestamp.proto says
_DURATION_NS: Final = 315_576_000_000 * _NS  # either way: about 10,000 years, as duration.proto says

# --- bytes ----------------------------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as its 64-bit two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    if value < 0x80:
        return value.to_bytes(1, "little")
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def encode(message: Message, values: Mapping[str, Any]) -> bytes:
    """The message in bytes, fields in the order of the table. ValueError for a number beyond its type."""
    found = bytearray()
    for each in message.fields:
        value = values.get(each.name)
        if value is None:
            continue
        if not each.repeated:
            found += _written(each, value, omit=True)
        elif each.is_map:
            for key, of_key in value.items():
                found += _written(each, {"key": key, "value": of_key})
        elif each.wire == _LEN:
            for item in value:
                found += _written(each, item)
        elif value:  # numbers are packed
            packed = b"".join(_number(each, item) for item in value)
            found += varint(each.number << 3 | _LEN) + varint(len(packed)) + packed
    return bytes(found)


def _written(each: Field, value: Any, *, omit: bool = False) -> bytes:
    kind = each.kind
    if each.wire != _LEN:
        number = each.words.get(value, value) if kind is Kind.ENUM else value
        if omit and _is_default(each, number):
            return b""
        return each.tag + _number(each, number)
    content: bytes
    match kind:
        case Kind.STRING:
            content = value.encode()
        case Kind.MESSAGE:
            assert each.message is not None
            content = encode(each.message, value)
        case Kind.TIMESTAMP:
            content = encode(_SPAN, dict(zip(("seconds", "nanos"), divmod(value, _NS), strict=True)))
        case Kind.DURATION:  # seconds and nanos have the same sign
            sign = -1 if value < 0 else 1
            seconds, nanos = divmod(abs(value), _NS)
            content = encode(_SPAN, {"seconds": sign * seconds, "nanos": sign * nanos})
        case _:
            content = value
    if omit and not content and kind in _EMPTY:
        return b""
    return each.tag + varint(len(content)) + content


def _number(each: Field, value: Any) -> bytes:
    match each.kind:
        case Kind.FLOAT:
            return struct.pack("<f", value)
        case Kind.DOUBLE:
            return struct.pack("<d", value)
        case Kind.BOOL:
            return b"\1" if value else b"\0"
        case kind:
            value = each.words.get(value, value)
            low, high = _RANGES[kind]
            if not low <= value <= high:
                raise ValueError(f"{each.name} {value} is beyond its type")
            return varint(value)


def decode(message: Message, content: bytes) -> Values:
    """The fields in these bytes; Unreadable when they are no message of this kind.

    As protobuf has it: fields that are not in the table are passed over, and so are known ones of another wire type;
    the last of a field counts, and parts of the same message are put together.
    """
    values: Values = {}
    _decode_into(message, memoryview(content), values)
    return values


def _decode_into(message: Message, content: memoryview, values: Values) -> None:
    at = 0
    while at < len(content):
        key, at = _read_varint(content, at)
        number, wire = key >> 3 & 0x1FFF_FFFF, key & 7
        if number == 0:
            raise Unreadable("a field has number 0")
        value, at = _read_value(content, at, wire)
        each = message.by_number.get(number)
        if each is not None:
            _take(message, each, wire, value, values)


def _read_varint(content: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise Unreadable("it ends in the middle of a number")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise Unreadable("a number has more than ten bytes")


def _read_value(content: memoryview, at: int, wire: int) -> tuple[Any, int]:
    if wire == _VARINT:
        return _read_varint(content, at)
    if wire == _LEN:
        length, at = _read_varint(content, at)
    elif wire in {_I64, _I32}:
        length = 8 if wire == _I64 else 4
    else:
        raise Unreadable(f"wire type {wire} is not in use")
    if length > len(content) - at:
        raise Unreadable("it ends in the middle of a field")
    return content[at : at + length], at + length


def _take(message: Message, each: Field, wire: int, value: Any, values: Values) -> None:
    if wire != each.wire:
        if not (each.repeated and wire == _LEN and each.wire != _LEN):
            return
        at, items = 0, values.setdefault(each.name, [])
        while at < len(value):
            item, at = _read_value(value, at, each.wire)
            items.append(_read_number(each, item))
        return
    if each.one_of:
        for other in message.fields:
            if other.one_of and other is not each:
                values.pop(other.name, None)
    if each.is_map:
        entry = _read_content(each, value, {})
        defaults = each.message.fields if each.message is not None else ()
        pair = [entry.get(part.name, _default(part.kind)) for part in defaults]
        values.setdefault(each.name, {})[pair[0]] = pair[1]
        return
    if wire != _LEN:
        found = _read_number(each, value)
    else:
        found = _read_content(each, value, {} if each.repeated else values.get(each.name))
    if each.repeated:
        values.setdefault(each.name, []).append(found)
    else:
        values[each.name] = found


def _read_number(each: Field, value: Any) -> Any:
    match each.kind:
        case Kind.FLOAT:
            return struct.unpack("<f", value)[0]
        case Kind.DOUBLE:
            return struct.unpack("<d", value)[0]
        case Kind.BOOL:
            return bool(value)
        case Kind.UINT32:
            return value & 0xFFFF_FFFF
        case Kind.INT64:
            return value - (1 << 64) if value >> 63 else value
    value &= 0xFFFF_FFFF  # longer ones are cut, as protobuf does
    value = value - (1 << 32) if value >> 31 else value
    return each.by_value.get(value, value)


def _read_content(each: Field, content: memoryview, before: Any) -> Any:
    match each.kind:
        case Kind.BYTES:
            return bytes(content)
        case Kind.STRING:
            try:
                return str(content, "utf-8")
            except UnicodeDecodeError:
                raise Unreadable(f"{each.name} is not UTF-8") from None
        case Kind.MESSAGE:
            assert each.message is not None
            inner: Values = before if before is not None else {}
            _decode_into(each.message, content, inner)
            return inner
    sign = -1 if before is not None and before < 0 else 1
    seconds, nanos = divmod(abs(before or 0), _NS)
    span: Values = {"seconds": sign * seconds, "nanos": sign * nanos}
    _decode_into(_SPAN, content, span)
    return span["seconds"] * _NS + span["nanos"]


_SPAN: Final = Message(Field("seconds", 1, Kind.INT64), Field("nanos", 2, Kind.INT32))
"""Timestamp and Duration alike."""

# --- JSON -----------------------------------------------------------------------------------------------------------


def to_json(message: Message, values: Mapping[str, Any]) -> dict[str, Any]:
    """The message for a JSON writer: lowerCamelCase names, enums by name, bytes in base64, defaults left out."""
    found: dict[str, Any] = {}
    for each in message.fields:
        value = values.get(each.name)
        if value is None:
            continue
        if each.is_map:
            assert each.message is not None
            _, of_value = each.message.fields
            if value:
                found[each.camel] = {str(key): _json_of(of_value, item) for key, item in value.items()}
        elif each.repeated:
            if value:
                found[each.camel] = [_json_of(each, item) for item in value]
        elif each.kind in _PRESENT or not _is_default(each, value):
            found[each.camel] = _json_of(each, value)
    return found


_PRESENT: Final = frozenset({Kind.MESSAGE, Kind.TIMESTAMP, Kind.DURATION})


def _default(kind: Kind) -> Any:
    return _EMPTY.get(kind, 0)


def _is_default(each: Field, value: Any) -> bool:
    if isinstance(value, float):
        return value == 0 and math.copysign(1, value) > 0  # only all bits zero are: minus zero is a value
    return bool(value == _default(each.kind) or value == each.by_value.get(0))


def _json_of(each: Field, value: Any) -> Any:
    match each.kind:
        case Kind.MESSAGE:
            assert each.message is not None
            return to_json(each.message, value)
        case Kind.BYTES:
            return binascii.b2a_base64(value, newline=False).decode()
        case Kind.TIMESTAMP:
            seconds, nanos = divmod(value, _NS)
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
            return f"{moment.isoformat()[:19]}{_fraction(nanos)}Z"
        case Kind.DURATION:
            seconds, nanos = divmod(abs(value), _NS)
            return f"{'-' if value < 0 else ''}{seconds}{_fraction(nanos)}s"
        case Kind.FLOAT | Kind.DOUBLE if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case Kind.ENUM:
            return each.by_value.get(value, value)
        case Kind.INT64:
            return str(value)
    return value


def _fraction(nanos: int) -> str:
    """No digits, or three, six or nine: as many as are needed."""
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}" if digits else ""


def from_json(message: Message, facts: object) -> Values:
    """The fields of a JSON object; Unreadable when one is not of its type. Unknown keys are passed over."""
    if not isinstance(facts, dict):
        raise Unreadable("this is no JSON object")
    values: Values = {}
    for key, fact in facts.items():
        each = message.by_name.get(key)
        if each is None or fact is None:
            continue
        if each.one_of and any(other.one_of and other.name in values for other in message.fields):
            raise Unreadable(f"{each.camel} excludes what is there already")
        if each.is_map:
            values[each.name] = _map_from(each, fact)
        elif not each.repeated:
            values[each.name] = _from_json(each, fact)
        elif isinstance(fact, list):
            values[each.name] = [_from_json(each, item) for item in fact]
        else:
            raise _wrong(each)
    return values


def _wrong(each: Field) -> Unreadable:
    return Unreadable(f"{each.camel} is no {each.kind.name.lower()}")


def _map_from(each: Field, fact: object) -> Values:
    if not isinstance(fact, dict) or each.message is None:
        raise _wrong(each)
    of_key, of_value = each.message.fields
    return {_from_json(of_key, key): _from_json(of_value, value) for key, value in fact.items()}


def _from_json(each: Field, fact: Any) -> Any:
    if each.kind is Kind.MESSAGE:
        assert each.message is not None
        return from_json(each.message, fact)
    found = _scalar_from(each, fact)
    if found is None:
        raise _wrong(each)
    return found


def _scalar_from(each: Field, fact: Any) -> Any:
    """The value, None when it is not of the field's type."""
    kind = each.kind
    if kind is Kind.BOOL:
        return fact if isinstance(fact, bool) else None
    if kind is Kind.ENUM and fact in each.by_value.values():
        return fact
    if kind in _RANGES:
        number = _whole(fact)
        low, high = _RANGES[kind]
        return None if number is None or not low <= number <= high else each.by_value.get(number, number)
    if kind is Kind.FLOAT:
        return _real(fact, "<f")
    if kind is Kind.DOUBLE:
        return _real(fact, "<d")
    return _TEXT[kind](fact) if isinstance(fact, str) else None


def _whole(fact: Any) -> int | None:
    """A whole number, also as text and as `7.0`."""
    if isinstance(fact, str) and _WHOLE.fullmatch(fact):
        return int(fact)
    if isinstance(fact, float) and fact.is_integer():
        return int(fact)
    return fact if type(fact) is int else None


def _real(fact: Any, size: str) -> float | None:
    """A number as near as its bytes can say it."""
    if isinstance(fact, str) and not (_REAL.fullmatch(fact) or fact in {"NaN", "Infinity", "-Infinity"}):
        return None
    if type(fact) not in {int, float, str}:
        return None
    try:
        return float(struct.unpack(size, struct.pack(size, float(fact)))[0])
    except OverflowError:
        return None


def _bytes(text: str) -> bytes | None:
    """Base64 of either alphabet, padded or not."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:
        return None


def _timestamp(text: str) -> int | None:
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    moment, fraction, sign, hours, minutes = found.groups()
    east = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-east if sign == "-" else east) if sign else UTC
        seconds = datetime.fromisoformat(moment).replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    value = (seconds.days * 86_400 + seconds.seconds) * _NS + int((fraction or "").ljust(9, "0"))
    return value if _TIMESTAMP_NS[0] <= value <= _TIMESTAMP_NS[1] else None


def _duration(text: str) -> int | None:
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    sign, seconds, fraction = found.groups()
    value = int(seconds) * _NS + int((fraction or "").ljust(9, "0"))
    return None if value > _DURATION_NS else -value if sign else value


_WHOLE: Final = re.compile(r"-?[0-9]{1,20}")
_REAL: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_DURATION: Final = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
_TEXT: Final = {
    Kind.STRING: lambda text: text,
    Kind.BYTES: _bytes,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
}
