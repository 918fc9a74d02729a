"""NGSI-v2, as Orion reads and writes it: entities as JSON and back, and what each of its answers means.

Orion refuses `< > " ' = ; ( )` in every text and name, and with one apostrophe the whole request. Such characters are
written as `%XX`, and `%` itself as `%25`, so that `unescape` gives back what was meant. Ids and names are stricter
still: ASCII, without blanks and `& ? / #`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from gateway.wire.ngsi import Attribute, Kind, Observation, date_text, plain_value
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.wire.http_answer import Answer

    Json = dict[str, Any]

TIME: Final = "TimeInstant"
"""The attribute, and the metadata of each measured attribute, that says when."""

_TYPES: Final = {
    Kind.NUMBER: "Number",
    Kind.TEXT: "Text",
    Kind.LIST: "StructuredValue",
    Kind.DATE: "DateTime",
    Kind.POINT: "geo:json",
    Kind.LINK: "Relationship",
    Kind.LINKS: "Relationship",
}
_IN_TEXT: Final = re.compile(r"[<>\"'=;()%\x00-\x1f\x7f]")
_IN_NAME: Final = re.compile(r"[^!$*+,\-.0-9:@A-Z\[\\\]^_`a-z{|}~]")
_ESCAPED: Final = re.compile(r"(?:%[0-9A-F]{2})+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def escape(text: str) -> str:
    """A text that Orion takes, whatever it says."""
    return _IN_TEXT.sub(_percent, text) if _IN_TEXT.search(text) else text


@lru_cache(16_384)  # the same devices again and again
def escape_name(text: str) -> str:
    """An id that Orion takes, and that is a URI's part."""
    return _IN_NAME.sub(_percent, text) if _IN_NAME.search(text) else text


def unescape(text: str) -> str:
    """What `escape` or `escape_name` was given."""
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def entity_json(observation: Observation) -> Json:
    """The entity as `POST /v2/op/update` wants it: every measured attribute with its time, and its unit if it has one.

    Metadata that are once there stay, so an attribute always has the same.
    """
    when = {"type": "DateTime", "value": date_text(observation.time_ms)}
    entity: Json = {"id": escape_name(observation.entity_id), "type": observation.entity_type}
    for name, attribute in observation.attributes.items():
        entity[name] = _attribute_json(attribute, when)
    if observation.dated:
        entity[TIME] = when
    return entity


def _attribute_json(attribute: Attribute, when: Json) -> Json:
    written: Json = {"type": _TYPES[attribute.kind], "value": _value_json(attribute)}
    metadata: Json = {}
    if attribute.measured:
        metadata[TIME] = when
    if attribute.unit_code:
        metadata["unitCode"] = {"type": "Text", "value": attribute.unit_code}
    if metadata:
        written["metadata"] = metadata
    return written


def _value_json(attribute: Attribute) -> Any:
    match attribute.kind:
        case Kind.TEXT:
            return escape(attribute.value)
        case Kind.LINK:
            return escape_name(attribute.value)
        case Kind.LINKS:
            return [escape_name(link) for link in attribute.value]
        case Kind.LIST:
            return [escape(text) for text in attribute.value]
        case _:
            return plain_value(attribute)


def attributes_of(entity: Mapping[str, Any]) -> Json:
    """The attributes of an entity as Orion gives it, ready to be sent again; what is no attribute is left out."""
    return {
        name: {key: value[key] for key in ("type", "value", "metadata") if value.get(key) not in ({}, None)}
        if value.get("value") is not None
        else {"type": value.get("type", "None"), "value": None}
        for name, value in entity.items()
        if name not in {"id", "type"} and isinstance(value, dict)
    }


def time_of(attribute: Any) -> int | None:
    """When an attribute was observed, in milliseconds; None when it does not say so."""
    try:
        return _milliseconds(attribute["metadata"][TIME]["value"])
    except (KeyError, TypeError, ValueError):
        return None


def entity_time(attributes: Mapping[str, Any]) -> int | None:
    """When an entity was last observed, in milliseconds; None when it does not say so."""
    try:
        return _milliseconds(attributes[TIME]["value"])
    except (KeyError, TypeError, ValueError):
        return None


@lru_cache(4096)
def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


# --- what Orion answers ---------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What becomes of a request that was answered."""

    TAKEN = "taken"
    REFUSED = "refused"  # this request, always: one of its entities cannot be
    TOO_LARGE = "too large"  # may pass in halves
    LOGIN = "login"  # the token is not, or no longer, good
    STUMBLED = "stumbled"  # the broker failed: its database is away, or this request is more than it can take
    LATER = "later"  # says nothing of what was sent: overload, permission, a proxy, something that is no Orion


NO_READING: Final = frozenset({400, 403, 404, 405, 501})
"""Answers to `POST /v2/op/query` of somebody on the way who does not let it through."""

_REFUSALS: Final = frozenset({400, 409, 422})
_SECOND_PLACE: Final = "NoResourcesAvailable"  # 413 too, but about a second location of one entity


def verdict(answer: Answer) -> Verdict:
    """What an answer to `POST /v2/op/update` means. Only what Orion itself says of the content refuses it.

    Pages of HTML, redirects, a 200 (Orion has 204 for this) and codes beyond this list are about the way there.
    """
    match answer.status:
        case 204 | 201:
            return Verdict.TAKEN
        case 401:
            return Verdict.LOGIN
        case 413:
            return Verdict.REFUSED if error_of(answer) == _SECOND_PLACE else Verdict.TOO_LARGE
        case 500:
            return Verdict.STUMBLED
        case status if status in _REFUSALS and error_of(answer):
            return Verdict.REFUSED
        case _:
            return Verdict.LATER


def history_verdict(answer: Answer) -> Verdict:
    """What an answer to a notification means, from a history store: any success will do."""
    if answer.ok:
        return Verdict.TAKEN
    if answer.status == 413:
        return Verdict.TOO_LARGE
    return Verdict.REFUSED if answer.status in _REFUSALS and error_of(answer) else Verdict.LATER


def error_of(answer: Answer) -> str:
    """Orion's own word for what is wrong; empty where no Orion speaks."""
    try:
        said = answer.json()
    except ValueError:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, str) else ""


def update_bytes(entities: Sequence[Json | bytes]) -> bytes:
    """The body of `POST /v2/op/update` that creates what is not there and touches nothing that is not named.

    An entity may be JSON already.
    """
    written = [one if isinstance(one, bytes) else json_bytes(one) for one in entities]
    return b'{"actionType":"append","entities":[%b]}' % b",".join(written)


MARK: Final = "LoraFrameMark"
"""The type of the entities by which gateways settle who delivers a frame."""

_OWNER: Final = "gatewayEui"
_MARK_ID: Final = f"urn:ngsi-ld:{MARK}:"


def marks_bytes(frame_ids: Sequence[str], owner: str, expires_ms: int) -> bytes:
    """The body of `POST /v2/op/update` that marks frames, and leaves marks alone that are there.

    Each entity of it is an operation of its own, and an attribute that is there already an error (NGSI-v2,
    "appendStrict"). Orion forgets them at their `dateExpires` (1.15 and later).
    """
    said = {
        _OWNER: {"type": "Text", "value": owner},
        "dateExpires": {"type": "DateTime", "value": date_text(expires_ms)},
    }
    marks = [{"id": mark_id(frame_id), "type": MARK, **said} for frame_id in frame_ids]
    return json_bytes({"actionType": "appendStrict", "entities": marks})


def mark_id(frame_id: str) -> str:
    """The id of a frame's mark."""
    return _MARK_ID + escape_name(frame_id)


def frame_of_mark(entity_id: str) -> str:
    """The frame that a mark is of."""
    return unescape(entity_id.removeprefix(_MARK_ID))


def owner_of(mark: Mapping[str, Any]) -> str | None:
    """Who made a mark."""
    owner = mark.get(_OWNER)
    value = owner.get("value") if isinstance(owner, dict) else None
    return value if isinstance(value, str) else None


def query_bytes(keys: Sequence[tuple[str, str]]) -> bytes:
    """The body of `POST /v2/op/query` for these ids and types."""
    return json_bytes({"entities": [{"id": entity_id, "type": entity_type} for entity_id, entity_type in keys]})


def notification_bytes(entities: Sequence[Json]) -> bytes:
    """The body by which Orion would tell a history store of entities."""
    return json_bytes({"subscriptionId": "lorawan-gateway", "data": entities})


def entities_of(said: Any) -> list[Json]:
    """The entities in an answer; ValueError when it is none of Orion's."""
    found = said if isinstance(said, list) else [said]
    if not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in found):
        raise ValueError("no entities")
    return found
