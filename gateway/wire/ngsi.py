"""What both NGSI versions are written from: an entity at one moment, in values that neither of them has spelled yet.

`key_values` is the short form that the Smart Data Models' schemas describe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_MS: Final = 0
LAST_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z: four digits is what every platform reads


class Kind(Enum):
    """What a value is, and so what each NGSI version makes of it."""

    NUMBER = "number"
    TEXT = "text"
    LIST = "list"  # of texts
    DATE = "date"  # milliseconds since 1970 UTC
    POINT = "point"  # (longitude, latitude), degrees WGS 84
    LINK = "link"  # the id of another entity
    LINKS = "links"  # ids of others


@dataclass(frozen=True, slots=True)
class Attribute:
    """One value of an entity. What was measured carries its moment on the wire, what is merely so does not."""

    kind: Kind
    value: Any
    unit_code: str = ""  # UN/CEFACT Recommendation 20
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """Some attributes of an entity as they were at one moment. `dated` is false of one that only says what is so."""

    entity_id: str
    entity_type: str
    time_ms: int  # since 1970 UTC; milliseconds are all that Orion keeps
    attributes: Mapping[str, Attribute]
    dated: bool = True


@lru_cache(4096)  # all that a frame says has the same few
def date_text(time_ms: int) -> str:
    """`2026-11-23T08:15:02.123Z`: the one spelling of a date that every broker takes."""
    return rfc3339(time_ms * 1000)


def point_json(value: tuple[float, float]) -> dict[str, Any]:
    """A GeoJSON point (RFC 7946): longitude first."""
    return {"type": "Point", "coordinates": list(value)}


def key_values(observation: Observation) -> dict[str, Any]:
    """The entity as names and plain values."""
    short: dict[str, Any] = {"id": observation.entity_id, "type": observation.entity_type}
    for name, attribute in observation.attributes.items():
        short[name] = plain_value(attribute)
    return short


def plain_value(attribute: Attribute) -> Any:
    """The value alone, as JSON."""
    match attribute.kind:
        case Kind.DATE:
            return date_text(attribute.value)
        case Kind.POINT:
            return point_json(attribute.value)
        case Kind.LIST | Kind.LINKS:
            return list(attribute.value)
        case _:
            return attribute.value
