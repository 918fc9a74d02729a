"""What must hold of a store after whatever happened to it, given what it had promised."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lives import Life, become_nobody, go_on_forgetting, identity, opened

from gateway.model import DevAddr
from gateway.store.devices import DeviceRegistry
from gateway.store.erasure_file import load_intent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.store.cursors import Progress
    from gateway.store.devices import DeviceRow
    from gateway.store.part import Tally
    from gateway.store.store import Store

    Tell = Callable[..., None]
    Fact = Sequence[Any]


NEWCOMER = 99  # a device to keep a record of when all others are gone


@dataclass
class Told:
    """What a store had promised, from the facts of its lives (lives.py)."""

    kept: dict[int, tuple[int, int, str]] = field(default_factory=dict)  # by position
    handed: dict[int, int] = field(default_factory=dict)  # by device: the last counter that was given to the store
    filtered: int = 0
    begins: dict[str, int] = field(default_factory=dict)
    asked: dict[str, set[int]] = field(default_factory=dict)
    settled: dict[str, set[int]] = field(default_factory=dict)
    refused: dict[str, set[int]] = field(default_factory=dict)
    devices: set[int] = field(default_factory=set)
    left: int = 0  # up to this position records may have left the store
    epoch: str | None = None
    twice: list[int] = field(default_factory=list)
    misread: list[int] = field(default_factory=list)
    called_lost: list[tuple[int, int]] = field(default_factory=list)
    erased: set[int] = field(default_factory=set)  # devices of which nothing may be there

    @classmethod
    def of(cls, facts: Sequence[Fact]) -> Told:
        told = cls()
        for kind, *words in facts:
            getattr(told, f"_{kind.replace(' ', '_')}", lambda *_: None)(*words)
        return told

    def _opened(self, epoch: str, _head: int) -> None:
        self.epoch = epoch

    def _keeping(self, number: int, f_cnt: int) -> None:
        self.handed[number] = f_cnt

    def _durable(self, position: int, number: int, f_cnt: int, phy: str) -> None:
        if position in self.kept:
            self.twice.append(position)
        self.kept[position] = (number, f_cnt, phy)

    def _read(self, position: int, number: int, f_cnt: int, phy: str) -> None:
        if self.kept.get(position) != (number, f_cnt, phy):
            self.misread.append(position)

    def _called_lost(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.called_lost += ranges

    def _filtered(self, count: int) -> None:
        self.filtered += count

    def _subscribed(self, sink: str, begin: int) -> None:
        self.begins.setdefault(sink, begin)

    def _settling(self, sink: str, positions: Sequence[int]) -> None:
        self.asked.setdefault(sink, set()).update(positions)

    def _settled(self, sink: str, positions: Sequence[int]) -> None:
        self.settled.setdefault(sink, set()).update(positions)

    def _leaving(self, through: int) -> None:
        self.left = through

    def _refused(self, sink: str, position: int) -> None:
        self.refused.setdefault(sink, set()).add(position)

    def _device(self, number: int) -> None:
        self.devices.add(number)

    def _disowned(self, number: int) -> None:
        self.erased.add(number)

    def without(self, numbers: set[int]) -> Told:
        """What is promised still when these devices were erased."""
        kept = {position: record for position, record in self.kept.items() if record[0] not in numbers}
        return replace(self, kept=kept, devices=self.devices - numbers, erased=numbers)


@dataclass
class Look:
    """All that can be seen of a store that has just been opened."""

    epoch: str
    head: int
    books: Tally
    quarantined: int
    found: dict[int, tuple[int, int, str]]
    lost: list[tuple[int, int]]  # ranges that were reported as lost
    stuck_at: int | None
    counters: dict[int, int | None]  # by device: the last uplink counter it is judged by
    progress: dict[str, Progress]
    dead_letters: dict[str, int]
    registered: dict[int, str]
    erased: list[int] = field(default_factory=list)  # devices whose erasure was cut off, and finished by this start
    named: list[str] = field(default_factory=list)  # files that name a device which is not registered
    loud_at_start: list[str] = field(default_factory=list)
    loud: list[str] = field(default_factory=list)  # then and later


async def look(store: Store, sinks: Sequence[str], devices: Sequence[int], after: int) -> Look:
    """Read everything above a position, as a destination would."""
    found, lost, stuck_at = dict[int, tuple[int, int, str]](), list[tuple[int, int]](), None
    while after < store.head:
        batch = await store.read(after, 100)
        found |= {record.position: identity(record.reading) for record in batch.records}
        lost += batch.lost
        if batch.through <= after:
            stuck_at = after
            break
        after = batch.through
    candidates = {number: store.candidates(DevAddr(number)) for number in devices}
    return Look(
        store.epoch, store.head, store.books(), store.facts().quarantined, found, lost, stuck_at,
        {number: known[0][1].f_cnt_up for number, known in candidates.items() if known},
        {sink: store.subscribe(sink) for sink in sinks},
        {sink: store.dead_letters(sink) for sink in sinks}, registered(store._folder),
    )  # fmt: skip


def breaches(told: Told, seen: Look, *, power_cut: bool) -> list[str]:
    """The promises that this store has broken, in words. Nothing was damaged: nothing may be missing."""
    told = told.without(told.erased.union(seen.erased))
    found = [*_records(told, seen), *_counters(told, seen), *_books(seen, told), *_erased(told, seen)]
    for sink in told.begins:
        found += _destination(told, seen, sink, power_cut=power_cut)
    lost = [(first, last) for first, last in seen.lost if last > told.left]
    if seen.quarantined or lost:
        found.append(f"sound files were called damaged: {seen.quarantined}, records {lost}; {seen.loud_at_start}")
    if told.epoch not in (None, seen.epoch):
        found.append(f"the log has another epoch, {seen.epoch}")
    return found


def _records(told: Told, seen: Look) -> list[str]:
    found = [f"position {position} was given twice" for position in told.twice]
    lost = [position for position, record in told.kept.items() if seen.found.get(position) != record]
    lost = [position for position in lost if position > told.left or position in seen.found]
    if lost:
        found.append(f"records that were promised durable are lost or changed: {lost}")
    if seen.stuck_at is not None:
        found.append(f"reading on after {seen.stuck_at} finds nothing, the log ends at {seen.head}")
    invented = [(n, f_cnt) for n, f_cnt, _ in seen.found.values() if f_cnt > told.handed.get(n, 0)]
    if invented:
        found.append(f"records that nobody handed in: {invented}")
    if len(set(seen.found.values())) != len(seen.found):
        found.append("a record is there twice")
    elif len({(number, f_cnt) for number, f_cnt, _ in seen.found.values()}) != len(seen.found):
        found.append("a counter was used twice: a device was judged by one that had gone back")
    if told.misread:
        found.append(f"a destination was given something else at {told.misread}")
    if told.called_lost:
        found.append(f"a destination was told that {told.called_lost} are lost, and nothing was damaged")
    return found


def _erased(told: Told, seen: Look) -> list[str]:
    left = [record for record in seen.found.values() if record[0] in told.erased]
    return [f"of an erased device is there still: {left}, and in {seen.named}"] if left or seen.named else []


def _counters(told: Told, seen: Look) -> list[str]:
    """Counter and record are one: the last record of a device is what its next frame is judged by."""
    found = []
    for number in told.devices:
        left = (record for position, record in told.kept.items() if position <= told.left)
        there = [*seen.found.values(), *left]
        last = max((f_cnt for n, f_cnt, _ in there if n == number), default=None)
        if number not in seen.counters:
            found.append(f"device {number} is not known any more")
        elif seen.counters[number] != last:
            found.append(f"device {number} is judged by counter {seen.counters[number]}, its last record has {last}")
    return found


def _books(seen: Look, told: Told) -> list[str]:
    found = []
    if seen.books.balance:
        found.append(f"the books are off by {seen.books.balance}: {seen.books}")
    gone = sum(position not in seen.found for position in told.kept if position <= told.left)
    if seen.books.stored != len(seen.found) + gone + seen.books.erased:
        found.append(f"{seen.books.stored} records are booked, {len(seen.found)} are there, {gone} have left")
    if sum(seen.books.filtered.values()) < told.filtered:
        found.append(f"{told.filtered} frames were counted durably as filtered, {dict(seen.books.filtered)} are booked")
    return found


def _destination(told: Told, seen: Look, sink: str, *, power_cut: bool) -> list[str]:
    found, progress, begin = [], seen.progress[sink], told.begins[sink]
    asked, settled = told.asked.get(sink, set()), told.settled.get(sink, set())
    done = {position for position in seen.found if position > begin and progress.is_settled(position)}
    if done - asked:
        found.append(f"{sink} will never get {sorted(done - asked)}, which it has not acknowledged")
    forgotten = [position for position in sorted(settled) if not progress.is_settled(position)]
    if not power_cut and forgotten:
        found.append(f"{sink} has acknowledged {forgotten}, which is forgotten")
    if not power_cut and seen.dead_letters[sink] < len(told.refused.get(sink, ())):
        found.append(f"{sink} has refused {told.refused[sink]}, {seen.dead_letters[sink]} dead letters are there")
    if progress.balance(seen.head):
        found.append(f"the books of {sink} are off by {progress.balance(seen.head)}: {progress}")
    return found


class _Ear(logging.Handler):
    """What a start says that somebody should look at."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


async def _day(tell: Tell, folder: Path, sinks: Sequence[str], devices: Sequence[int], after: int = 0) -> Look:
    """Start, look around, give up what is lost as a destination does, keep one record, stop."""
    ear = _Ear()
    logging.getLogger("gateway").addHandler(ear)
    try:
        async with opened(folder) as store:
            at_start = [*ear.heard]
            erased = await _finished(tell, store, folder)
            seen = await look(store, sinks, [*devices, NEWCOMER], after)
            for sink in sinks:
                await store.settle(sink, partial(_given_up, ranges=seen.lost))
            life, known = Life(tell, folder, store), sorted(seen.counters)
            if not known:
                await life.enter(NEWCOMER)
            await life.keep(1, known[0] if known else NEWCOMER)
    finally:
        logging.getLogger("gateway").removeHandler(ear)
    seen.loud_at_start, seen.loud = at_start, ear.heard
    seen.erased, seen.named = erased, _naming(folder, [*devices, *erased], seen)
    return seen


async def _finished(tell: Tell, store: Store, folder: Path) -> list[int]:
    """Go on with an erasure that was cut off, as the daemon does; whose it was."""
    intent = load_intent(folder)
    if intent is None:
        return []
    number = int.from_bytes(intent.dev_eui, "big")
    await store.disown(intent)
    await go_on_forgetting(store, folder, intent)
    tell("disowned", number)
    return [number]


def _naming(folder: Path, devices: Sequence[int], seen: Look) -> list[str]:
    """Files with the name that people gave to a device which is not registered any more."""
    gone = [f"device {number}".encode() for number in devices if number not in seen.registered]
    files = [file for file in folder.rglob("*") if file.is_file() and os.access(file, os.R_OK)]
    return [file.name for file in files if any(name in file.read_bytes() for name in gone)]


def _given_up(progress: Progress, *, ranges: Sequence[tuple[int, int]]) -> Progress:
    for first, last in ranges:
        progress = progress.give_up_range(first, last)
    return progress


def judge(tell: Tell, folder: Path, facts: Sequence[Fact], *, power_cut: bool = False) -> None:
    """Start twice after a crash and tell every broken promise; a record kept in between counts as a promise."""
    told = Told.of(facts)
    devices = sorted(told.devices)
    facts, begun = list(facts), len(facts)

    def also(*fact: Any) -> None:
        facts.append(fact)

    first = asyncio.run(_day(also, folder, [*told.begins], devices, told.left))
    for breach in breaches(told, first, power_cut=power_cut):
        tell("breach", breach)
    highest = max(told.kept, default=0)
    told = Told.of(facts)
    if max(told.kept, default=0) <= max(highest, first.head):
        tell("breach", f"a position was used again: {max(told.kept, default=0)} after {max(highest, first.head)}")
    second = asyncio.run(_day(also, folder, [*told.begins], sorted(told.devices), told.left))
    tell("also", facts[begun:])
    for breach in breaches(told, second, power_cut=True):
        tell("breach", f"at the second start: {breach}")
    if second.loud_at_start:
        tell("breach", f"the second start is not quiet: {second.loud_at_start}")


def survey(tell: Tell, folder: Path, sinks: Sequence[str], devices: Sequence[int], *, as_nobody: bool = False) -> None:
    """Start twice and tell what is there each time, for files that were damaged; without root's rights if asked to."""
    if as_nobody:
        become_nobody(folder)
    for _ in range(2):
        kept: list[Fact] = []
        seen = asyncio.run(_day(lambda *fact, kept=kept: kept.append(fact), folder, sinks, devices))
        tell("seen", {**asdict(seen), "kept": [fact[1:] for fact in kept if fact[0] == "durable"]})


def registered(folder: Path) -> dict[int, str]:
    """Every device of a registry with everything that is known of it, keys included."""
    with DeviceRegistry.open(folder) as registry:
        return {int.from_bytes(row.device.dev_eui, "big"): _everything(row) for row in registry.list()}


def _everything(row: DeviceRow) -> str:
    session = row.session
    keys = () if session is None else (session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key,
                                       session.app_s_key)  # fmt: skip
    return repr((row.device, session and replace(session, f_cnt_up=None, last_mic=b""), [bytes(key) for key in keys]))
