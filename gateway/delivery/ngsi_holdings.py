"""What a broker holds of each entity, and what has to be sent so that it ends with the newest value of everything.

A broker keeps what came last, not what was observed last. So whoever writes to it has to know what is there: here the
last known attributes of each entity are remembered (or read back, after a start), an older observation is followed
by what it must not undo, and what was certainly applied before is not sent again.

Attributes are in the words of the broker, `Words` says how to read their times. Nothing here waits or sends.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.wire.own_json import json_bytes, json_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Attributes = dict[str, Any]

Key = tuple[str, str]
"""Id and type: what tells entities apart."""

MOST_ENTITIES: Final = 50_000  # about a kilobyte each
WITNESS: Final = "Device"
_NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Words:
    """How a broker's attributes say when they were observed, in milliseconds; None where they do not."""

    time_of: Callable[[Any], int | None]
    entity_time: Callable[[Mapping[str, Any]], int | None]


@dataclass(frozen=True, slots=True)
class Update:
    """An entity at one moment, as it will be sent, and the record it comes from. `time_ms` None: it has no moment."""

    position: int
    key: Key
    time_ms: int | None
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one record has to say, or a part of it."""

    position: int
    updates: tuple[Update, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, in this order, of one entity; what the broker then holds; what is history only."""

    key: Key
    sent: tuple[Attributes, ...]
    holds: Attributes
    history: tuple[Attributes, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    time_ms: int
    names: frozenset[str]
    body: bytes  # the attributes: a tenth of the memory that they take as values


@dataclass(slots=True)
class Holdings:
    """The last known attributes of the entities that were touched last."""

    words: Words
    most: int = MOST_ENTITIES
    _known: OrderedDict[Key, _Kept] = field(default_factory=OrderedDict)
    _names: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)  # the few sets of names that there are

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> Attributes | None:
        """What is known to be there; None when nothing is known, which is not the same as nothing."""
        kept = self._known.get(key)
        if kept is None:
            return None
        attributes: Attributes = json_value(kept.body)
        attributes.pop("id", None)
        attributes.pop("type", None)
        return attributes

    def keep(self, key: Key, attributes: Attributes, body: bytes | None = None) -> None:
        """This is there now; `body` is the entity as JSON, where somebody has it already."""
        names = frozenset(attributes)
        names = self._names.setdefault(names, names)
        self._known[key] = _Kept(self._time(attributes), names, body or json_bytes(attributes))
        self._known.move_to_end(key)
        if len(self._known) > self.most:
            self._known.popitem(last=False)

    def latest(self, count: int) -> list[Key]:
        """The keys that were kept last, the newest first."""
        return [key for key, _ in zip(reversed(self._known), range(count), strict=False)]

    def keys(self) -> list[Key]:
        """All of them."""
        return list(self._known)

    def newest(self, one: Attributes, other: Attributes) -> Attributes:
        """Of each attribute the one that was observed later; the other's when they are as old."""
        merged = dict(one)
        one_time, other_time = self._time(one), self._time(other)
        for name, attribute in other.items():
            there = merged.get(name)
            if there is None or self._attribute_time(attribute, other_time) >= self._attribute_time(there, one_time):
                merged[name] = attribute
        return merged

    def mending(self, key: Key, shown: Attributes) -> Attributes:
        """What a broker that shows this has lost or undone since it confirmed it."""
        truth = self.newest(self.get(key) or {}, shown)
        return {name: value for name, value in truth.items() if shown.get(name) != value}

    def is_behind(self, key: Key, shown: Attributes) -> bool:
        """Whether a broker shows an older state than it has confirmed."""
        kept = self._known.get(key)
        return kept is not None and self._time(shown) < kept.time_ms

    def _time(self, attributes: Attributes) -> int:
        time_ms = self.words.entity_time(attributes)
        return _NEVER if time_ms is None else time_ms

    def _attribute_time(self, attribute: Any, entity_time_ms: int) -> int:
        time_ms = self.words.time_of(attribute)
        return entity_time_ms if time_ms is None else time_ms

    # --- deciding

    def plan(self, updates: Sequence[Update], shown: Attributes | None, *, late_is_history: bool = False) -> Plan:
        """How to bring the updates of one entity, in order of position, to a broker that shows this of it.

        `shown` None: nothing was read, what is remembered is there. With `late_is_history` what is older than the state
        goes to a history only.
        """
        key = updates[0].key
        if shown is None and key in self._known and _is_plain(updates, self._known[key]):
            return Plan(key, tuple(update.attributes for update in updates), updates[-1].attributes)
        known = self.get(key) or {}
        there = known if shown is None else shown
        truth = self.newest(known, there)
        since = self._time(truth)
        sent: list[Attributes] = []
        history: list[Attributes] = []
        holds = dict(there)
        for update in sorted(updates, key=_moment):  # stable: of one moment by position
            attributes = update.attributes
            truth = self._after(truth, attributes, update)
            if update.time_ms is None:
                if _within(attributes, holds):
                    continue  # it says what is so, and that is known
            elif late_is_history and update.time_ms < since:
                history.append(attributes)
                continue
            sent.append(attributes)
            holds.update(attributes)
        mending = {name: value for name, value in truth.items() if holds.get(name) != value}
        if mending:
            sent.append(mending)
        return Plan(key, tuple(sent), truth, tuple(history))

    def current(self, updates: Sequence[Update], shown: Attributes | None) -> Plan:
        """The same for a broker that takes one observation of an entity at a time: one state, the rest is history.

        What is sent is what the broker does not have yet of the newest of everything. History is every observation that
        is not wholly in that, ascending.
        """
        key = updates[0].key
        known = self.get(key) or {}
        there = known if shown is None else shown
        truth = self.newest(known, there)
        ascending = sorted(updates, key=_moment)
        for update in ascending:
            truth = self._after(truth, update.attributes, update)
        fresh = {name: value for name, value in truth.items() if there.get(name) != value}
        history = []
        for update in ascending:
            measured = {
                name: value for name, value in update.attributes.items() if self.words.time_of(value) is not None
            }
            past = {name: value for name, value in measured.items() if fresh.get(name) != value}
            if past and not _within(past, there):
                history.append(past)
        return Plan(key, (fresh,) if fresh else (), truth, tuple(history))

    def forget(self, key: Key) -> None:
        """What is there is not known any more."""
        self._known.pop(key, None)

    def _after(self, truth: Attributes, attributes: Attributes, update: Update) -> Attributes:
        if update.time_ms is None:
            return {**truth, **attributes}
        return self.newest(truth, attributes)

    def taken(self, parcels: Sequence[Parcel], shown: Mapping[Key, Attributes]) -> set[int]:
        """The positions of those that a broker shows to have taken, of parcels that may have been sent before.

        A record's last update is of its device and tells one frame from every other. Of one device, what has a lower
        position or an older moment is sent first: the broker has taken the frame that it shows, and what is both. A
        frame that was read again, with another codec, has the same device at the same moment, so what it measured has
        to be there too.
        """
        last: dict[Key, int] = {}
        for parcel in parcels:
            if _is_shown(parcel, shown, self.words):
                last[parcel.updates[-1].key] = parcel.position
        return {
            parcel.position
            for parcel in parcels
            if parcel.position <= last.get((witness := parcel.updates[-1]).key, _NEVER)
            and _moment(witness) <= self._time(shown.get(witness.key, {}))
        }


def _is_plain(updates: Sequence[Update], kept: _Kept) -> bool:
    """Whether each is newer than what was before, and the last says all that anything said before: the usual case."""
    time_ms, names = kept.time_ms, updates[-1].attributes.keys()
    for update in updates:
        if update.time_ms is None or update.time_ms < time_ms or not update.attributes.keys() <= names:
            return False
        time_ms = update.time_ms
    return kept.names <= names


def _is_shown(parcel: Parcel, shown: Mapping[Key, Attributes], words: Words) -> bool:
    """Whether all of it is there, or something later, and the device as this frame found it."""
    for update in parcel.updates:
        there = shown.get(update.key, {})
        if update.time_ms is None:
            continue
        time_ms = words.entity_time(there)
        if time_ms is None or time_ms < update.time_ms:
            return False
        if time_ms == update.time_ms and not _within(update.attributes, there):
            return False
    witness = parcel.updates[-1]
    return witness.key[1] == WITNESS and words.entity_time(shown.get(witness.key, {})) == witness.time_ms


def _within(attributes: Attributes, there: Attributes) -> bool:
    return all(there.get(name) == value for name, value in attributes.items())


def _moment(update: Update) -> int:
    return _NEVER if update.time_ms is None else update.time_ms


def by_entity(updates: Iterable[Update]) -> list[list[Update]]:
    """The updates of each entity, devices last: they are the witnesses of what went before."""
    groups: dict[Key, list[Update]] = {}
    for update in updates:
        groups.setdefault(update.key, []).append(update)
    return sorted(groups.values(), key=lambda group: group[0].key[1] == WITNESS)
