"""Commands as attributes of a device's entity, and what became of them written beside, as FIWARE's IoT agents do it.

Somebody writes the attribute `downlink` of a Device: `{"f_port": 10, "payload": "01"}`, or an attribute that the
settings name, whose value the device's codec makes a payload of. The gateway writes `downlink_status` (PENDING,
DELIVERED, OK, ERROR, EXPIRED: the words of the IoT agents) and `downlink_info` (reference, state, reason, counter).

A command is known by its entity, attribute, value and the moment it was written: told twice it is one, written again it
is another. Its reference says which attribute it came in, so that a result finds its place without any memory.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.model import DevEui, DownlinkState
from gateway.wire.commands import moment_us
from gateway.wire.ngsi import date_text
from gateway.wire.ngsi_v2 import TIME, escape, unescape
from gateway.wire.own_downlink import DownlinkAsked, NoDownlink, downlink_asked
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Json = dict[str, Any]

OWN: Final = "downlink"
"""The attribute whose value is a request in our own words; any other is for the device's codec."""

STATUS, INFO = "_status", "_info"
DEVICE: Final = "Device"

STATUSES: Final[Mapping[DownlinkState, str]] = {
    DownlinkState.QUEUED: "PENDING",
    DownlinkState.SCHEDULED: "PENDING",
    DownlinkState.SENT: "DELIVERED",
    DownlinkState.ACKNOWLEDGED: "OK",
    DownlinkState.FAILED: "ERROR",
    DownlinkState.EXPIRED: "EXPIRED",
    DownlinkState.CANCELLED: "ERROR",
}

_LONGEST_NAME: Final = 100
_DEPTH: Final = 32
_REF: Final = re.compile(r"(?P<sink>[^.]+)\.(?P<attribute>.+)\.[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class NgsiCommand:
    """A command as it stands in a broker. `at_us` None: the broker does not say since when."""

    dev_eui: DevEui
    entity_id: str
    attribute: str
    value: Any
    ref: str
    at_us: int | None
    answer: str | None  # the state that stands beside it, when that is of this very command


@dataclass(frozen=True, slots=True)
class Words:
    """What differs between the two versions of NGSI, as a reader of commands sees it."""

    is_ld: bool = False

    def value(self, attribute: Any) -> Any:
        """What an attribute says; None for what is none."""
        if not isinstance(attribute, dict):
            return attribute if self.is_ld else None  # simplified
        return _plain(attribute.get("value"), _DEPTH, escaped=not self.is_ld)

    def moment(self, attribute: Any) -> str | None:
        """When it was written, as the broker says it; else when whoever wrote it says that it is of."""
        if not isinstance(attribute, dict):
            return None
        if self.is_ld:
            found = attribute.get("modifiedAt") or attribute.get("observedAt")
        else:
            metadata = attribute.get("metadata")
            metadata = metadata if isinstance(metadata, dict) else {}
            found = next((_said(metadata[name]) for name in ("dateModified", TIME) if name in metadata), None)
        return found if isinstance(found, str) else None


V2, LD = Words(), Words(is_ld=True)


class CommandReader:
    """Reads commands off entities, for one destination."""

    def __init__(self, sink: str, entity_id: str, attributes: Sequence[str], words: Words) -> None:
        """`entity_id` is the template of ids; `attributes` are the names of commands."""
        self.sink = sink
        self.attributes = tuple(attributes)
        self._words = words
        self._template = entity_id
        parts = re.split(r"(\{model\}|\{dev_eui\})", entity_id)
        pattern = {"{model}": DEVICE, "{dev_eui}": "(?P<dev_eui>[0-9a-f]{16})"}
        self._id = re.compile("".join(pattern.get(part, re.escape(part)) for part in parts) + f"(?::{DEVICE})?")

    def id_of(self, dev_eui: DevEui) -> str:
        """The id of a device's entity, when nobody knows it better."""
        named = self._template.replace("{model}", DEVICE).replace("{dev_eui}", str(dev_eui))
        return named if "{model}" in self._template else f"{named}:{DEVICE}"

    @property
    def names(self) -> frozenset[str]:
        """Every attribute that is of commands: nothing that a device has measured."""
        return frozenset(f"{name}{ending}" for name in self.attributes for ending in ("", STATUS, INFO))

    def read(self, entities: Any) -> Iterator[NgsiCommand]:
        """The commands in what a broker shows or notifies; nothing for what makes no sense."""
        for entity in entities if isinstance(entities, list) else ():
            if not isinstance(entity, dict) or not isinstance(entity.get("id"), str):
                continue
            found = self._id.fullmatch(entity["id"])
            if found is None:
                continue  # of something else, or of a device that leaves under a pseudonym
            for name in self.attributes:
                command = self._command(entity, name, DevEui.parse(found["dev_eui"]))
                if command is not None:
                    yield command

    def _command(self, entity: Json, name: str, dev_eui: DevEui) -> NgsiCommand | None:
        attribute = _named(entity, name)
        value = self._words.value(attribute)
        if attribute is None or value is None or (isinstance(value, str) and not value.strip()):
            return None  # what the agents write when there is none is a blank
        moment = self._words.moment(attribute)
        digest = hashlib.blake2s(json_bytes([entity["id"], name, value, moment]), digest_size=8).hexdigest()
        ref = f"{self.sink}.{name}.{digest}"
        beside = self._words.value(_named(entity, f"{name}{INFO}"))
        is_answered = isinstance(beside, dict) and beside.get("ref") == ref
        answer = str(beside.get("state")) if is_answered else None
        return NgsiCommand(dev_eui, entity["id"], name, value, ref, _us(moment), answer)

    def attribute_of(self, ref: object) -> str | None:
        """In which attribute a downlink was asked for; None for one that did not come from this destination."""
        found = _REF.fullmatch(ref) if isinstance(ref, str) else None
        if found is None or found["sink"] != self.sink or found["attribute"] not in self.attributes:
            return None
        return found["attribute"]


def asked(command: NgsiCommand, longest_s: float) -> DownlinkAsked:
    """The downlink that a command asks for, not to be sent later than so long after it was written. NoDownlink."""
    value = command.value
    if command.attribute == OWN:
        if not isinstance(value, dict):
            raise NoDownlink("a downlink is an object such as f_port 10 and payload 01", command.ref)
        request = downlink_asked({key: part for key, part in value.items() if key != "ref"})
    else:
        request = downlink_asked({"data": {command.attribute: value}})
    within_s = min(request.expires_after_s or longest_s, longest_s)
    return replace(request, ref=command.ref, expires_after_s=within_s)


# --- writing --------------------------------------------------------------------------------------------------------


def result_v2(entity_id: str, attribute: str, facts: Mapping[str, Any], now_ms: int) -> Json:
    """The entity with what became of a command (`own_downlink.downlink_result_json`), for `POST /v2/op/update`."""
    when = {TIME: {"type": "DateTime", "value": date_text(now_ms)}}
    info = {key: escape(value) if isinstance(value, str) else value for key, value in facts.items()}
    return {
        "id": entity_id,
        "type": DEVICE,
        f"{attribute}{STATUS}": {"type": "commandStatus", "value": status_of(facts), "metadata": when},
        f"{attribute}{INFO}": {"type": "commandResult", "value": info, "metadata": when},
    }


def result_ld(entity_id: str, attribute: str, facts: Mapping[str, Any], now_ms: int) -> Json:
    """The same in NGSI-LD; what is null there would be taken for an order to delete."""
    when = date_text(now_ms)
    info = {key: value for key, value in facts.items() if value is not None}
    return {
        "id": entity_id,
        "type": DEVICE,
        f"{attribute}{STATUS}": {"type": "Property", "value": status_of(facts), "observedAt": when},
        f"{attribute}{INFO}": {"type": "Property", "value": info, "observedAt": when},
    }


def status_of(facts: Mapping[str, Any]) -> str:
    """The word of the IoT agents for a state."""
    try:
        return STATUSES[DownlinkState(facts["state"])]
    except (KeyError, ValueError):
        return "UNKNOWN"


# --- subscriptions --------------------------------------------------------------------------------------------------


def subscription_v2(name: str, attributes: Iterable[str], url: str, token: str) -> Json:
    """What Orion is asked to tell; `name` is how it is found again."""
    names = list(attributes)
    return {
        "description": name,
        "subject": {"entities": [{"idPattern": ".*", "type": DEVICE}], "condition": {"attrs": names}},
        "notification": {
            "httpCustom": {"url": url, "headers": {"Authorization": f"Bearer {token}"}},
            "attrs": [f"{one}{ending}" for one in names for ending in ("", INFO)],
            "metadata": ["dateModified", TIME],
        },
    }


def subscription_ld(name: str, attributes: Iterable[str], url: str, token: str) -> Json:
    """What an NGSI-LD broker is asked to tell."""
    names = list(attributes)
    return {
        "type": "Subscription",
        "subscriptionName": name,
        "entities": [{"type": DEVICE}],
        "watchedAttributes": names,
        "notification": {
            "attributes": [f"{one}{ending}" for one in names for ending in ("", INFO)],
            "format": "normalized",
            "sysAttrs": True,
            "endpoint": {
                "uri": url,
                "accept": "application/json",
                "receiverInfo": [{"key": "Authorization", "value": f"Bearer {token}"}],
            },
        },
    }


def is_as_wanted(shown: Any, wanted: Any) -> bool:
    """Whether a subscription is still what was asked for; brokers show more than they were told, and secrets hidden."""
    match wanted:
        case dict():
            return isinstance(shown, dict) and all(
                key in _HIDDEN or (key in shown and is_as_wanted(shown[key], value)) for key, value in wanted.items()
            )
        case list():
            return (
                isinstance(shown, list)
                and len(shown) == len(wanted)
                and all(any(is_as_wanted(there, one) for there in shown) for one in wanted)
            )
        case _:
            return bool(shown == wanted)


_HIDDEN: Final = frozenset({"headers", "receiverInfo", "sysAttrs"})


def notified(body: Any) -> Any:
    """The entities that a notification is about; None when it is none."""
    return body.get("data") if isinstance(body, dict) and isinstance(body.get("data"), list) else None


# --- pieces ---------------------------------------------------------------------------------------------------------


def _named(entity: Json, name: str) -> Any:
    """An attribute by its name; a broker that lacks our context has an address before it."""
    if name in entity:
        return entity[name]
    return next((value for key, value in entity.items() if key.endswith((f"/{name}", f"#{name}"))), None)


def _said(metadata: Any) -> Any:
    return metadata.get("value") if isinstance(metadata, dict) else metadata


def _plain(value: Any, depth: int, *, escaped: bool) -> Any:
    match value:
        case str():
            return unescape(value) if escaped else value
        case float() if not math.isfinite(value):
            return None
        case float() if value.is_integer() and abs(value) < 1 << 53:
            return int(value)  # a broker keeps doubles
        case dict() if depth:
            return {key: _plain(item, depth - 1, escaped=escaped) for key, item in value.items()}
        case list() if depth:
            return [_plain(item, depth - 1, escaped=escaped) for item in value]
        case dict() | list():
            return None
        case _:
            return value


def _us(moment: str | None) -> int | None:
    try:
        return None if moment is None else moment_us(moment)
    except (ValueError, OverflowError):
        return None
