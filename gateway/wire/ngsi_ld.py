"""NGSI-LD (ETSI GS CIM 009) as Orion-LD, Scorpio and Stellio read and write it: entities, histories, and answers.

What a name means is said by a `@context` that the broker fetches by itself: one goes into a `Link` header, several go
into the body, none leaves the core context alone. The two may not be mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from gateway.wire.ngsi import Attribute, Kind, Observation, date_text, plain_value
from gateway.wire.ngsi_v2 import escape_name
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.wire.http_answer import Answer

    Json = dict[str, Any]

OBSERVED: Final = "observedAt"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Context:
    """The `@context` of every entity: addresses that the broker can reach."""

    addresses: tuple[str, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with every request that has no body (ETSI GS CIM 009, 6.3.5: at most one Link)."""
        if len(self.addresses) != 1:
            return {}
        kind = 'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
        return {"Link": f"<{self.addresses[0]}>; {kind}"}

    @property
    def body_headers(self) -> dict[str, str]:
        """What goes along with a body."""
        kind = "application/ld+json" if len(self.addresses) > 1 else "application/json"
        return {"Content-Type": kind, **self.headers}

    def within(self, entity: Mapping[str, Any]) -> Json:
        """The entity, with its context where that goes into the body."""
        return {**entity, "@context": list(self.addresses)} if len(self.addresses) > 1 else dict(entity)


def attributes_json(observation: Observation) -> Json:
    """The attributes as NGSI-LD has them; what moves on with each frame says when."""
    when = date_text(observation.time_ms)
    return {name: _attribute_json(attribute, when) for name, attribute in observation.attributes.items()}


def entity_id(observation: Observation) -> str:
    """The id as a URI."""
    return escape_name(observation.entity_id)


def _attribute_json(attribute: Attribute, when: str) -> Json:
    match attribute.kind:
        case Kind.LINK:
            written: Json = {"type": "Relationship", "object": escape_name(attribute.value)}
        case Kind.LINKS:  # 1.7 has room for one URI; what we write has one
            written = {"type": "Relationship", "object": escape_name(attribute.value[0])}
        case Kind.POINT:
            written = {"type": "GeoProperty", "value": plain_value(attribute)}
        case Kind.DATE:
            written = {"type": "Property", "value": {"@type": "DateTime", "@value": plain_value(attribute)}}
        case _:
            written = {"type": "Property", "value": plain_value(attribute)}
    if attribute.unit_code:
        written["unitCode"] = attribute.unit_code
    if attribute.measured or attribute.kind is Kind.DATE:  # a date moves on with each frame, as values do
        written[OBSERVED] = when
    return written


def temporal_json(moments: Sequence[Mapping[str, Any]]) -> Json:
    """Of each measured attribute its instances, in the order given; what has no moment has no history."""
    instances: Json = {}
    for attributes in moments:
        for name, attribute in attributes.items():
            if time_of(attribute) is not None:
                instances.setdefault(name, []).append(attribute)
    return instances


def time_of(attribute: Any) -> int | None:
    """When an attribute was observed, in milliseconds; None when it does not say so."""
    try:
        moment = datetime.fromisoformat(attribute[OBSERVED])
    except (KeyError, TypeError, ValueError):
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND


def entity_time(attributes: Mapping[str, Any]) -> int | None:
    """When an entity was last observed: the latest of its attributes."""
    times = [time_ms for attribute in attributes.values() if (time_ms := time_of(attribute)) is not None]
    return max(times, default=None)


_SYSTEM: Final = frozenset({"createdAt", "modifiedAt", "deletedAt", "instanceId"})


def attributes_of(entity: Mapping[str, Any]) -> Json:
    """The attributes of an entity as a broker gives it, ready to be sent again."""
    return {
        name: {key: part for key, part in value.items() if key not in _SYSTEM}
        for name, value in entity.items()
        if isinstance(value, dict) and isinstance(value.get("type"), str)
    }


def types_of(entity: Mapping[str, Any]) -> list[str]:
    """An entity may have several types, when others gave it one too (5.2.4)."""
    types = entity.get("type")
    return [one for one in (types if isinstance(types, list) else [types]) if isinstance(one, str)]


def entities_of(said: Any) -> list[Json]:
    """The entities in an answer; ValueError when it is none of a broker's."""
    found = said if isinstance(said, list) else [said]
    if not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in found):
        raise ValueError("no entities")
    return found


def bytes_of(value: Any) -> bytes:
    """A body."""
    return json_bytes(value)


# --- what a broker answers ------------------------------------------------------------------------------------------


class Verdict(Enum):
    """What becomes of a request that was answered."""

    TAKEN = "taken"
    MIXED = "mixed"  # by entity, see `results_of`
    REFUSED = "refused"
    TOO_LARGE = "too large"
    ABSENT = "absent"  # this entity is not there
    UNKNOWN = "unknown"  # the broker has no such operation
    LATER = "later"


_REFUSALS: Final = frozenset({400, 409, 422})
_NO_OPERATION: Final = frozenset({405, 501})
_PASSING: Final = frozenset({"InternalError", "LdContextNotAvailable"})  # ETSI GS CIM 009, table 5.5.2-1


def verdict(answer: Answer) -> Verdict:
    """What an answer to a write means. Only a problem in the broker's own words refuses anything."""
    problem = problem_of(answer)
    match answer.status:
        case 200 | 201 | 204:
            return Verdict.LATER if answer.is_html else Verdict.TAKEN
        case 207:
            return Verdict.MIXED
        case 413:
            return Verdict.TOO_LARGE
        case 404 if problem == "ResourceNotFound":
            return Verdict.ABSENT
        case status if problem == "OperationNotSupported" or status in _NO_OPERATION:
            return Verdict.UNKNOWN
        case status if status in _REFUSALS and problem and problem not in _PASSING:
            return Verdict.REFUSED
        case _:
            return Verdict.LATER


def problem_of(answer: Answer) -> str:
    """The last word of the problem's type (RFC 7807, ETSI GS CIM 009, 5.5.2); empty where no broker speaks."""
    try:
        return _type_of(answer.json())
    except ValueError:
        return ""


def _type_of(problem: Any) -> str:
    word = problem.get("type") if isinstance(problem, dict) else None
    return word.rpartition("/")[2] if isinstance(word, str) else ""


@dataclass(frozen=True, slots=True)
class Results:
    """What became of each entity of a batch: taken, refused and why, or worth another try."""

    taken: frozenset[str]
    refused: Mapping[str, str]
    passing: str = ""  # what is in the way of one that may be taken later


def results_of(answer: Answer, ids: Sequence[str]) -> Results:
    """A BatchOperationResult (5.2.16). An id in neither list is in neither here: it was not taken. ValueError for else.

    Some brokers write a sentence where they could not read an id: that is nobody's.
    """
    said = answer.json()
    lists = [said.get(name) for name in ("success", "errors")] if isinstance(said, dict) else []
    if not lists or not all(isinstance(one, list) for one in lists):
        raise ValueError("no result of a batch")
    asked = set(ids)
    refused: dict[str, str] = {}
    passing = ""
    for error in said["errors"]:
        if not isinstance(error, dict) or not isinstance(error.get("entityId"), str):
            continue
        problem = error.get("error")
        words = _words(problem)
        if _is_passing(problem):
            passing = f"{error['entityId']}: {words}"
        elif error["entityId"] in asked:
            refused[error["entityId"]] = words
    taken = frozenset(one for one in said["success"] if isinstance(one, str) and one in asked and one not in refused)
    return Results(taken, refused, passing)


def _is_passing(problem: Any) -> bool:
    status = problem.get("status") if isinstance(problem, dict) else None
    return _type_of(problem) in _PASSING or (isinstance(status, int) and status >= 500)


def _words(problem: Any) -> str:
    if not isinstance(problem, dict):
        return "refused without a word"
    said = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    return ": ".join(said)[:300] or _type_of(problem) or "refused without a word"
