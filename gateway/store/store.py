"""The store as the line sees it: keep, count, read on, settle. What waits for a disk waits on another thread.

Counters and records commit together because they are the same thing: a record carries its session, counter and MIC, and
a start reads back the counters from the records that are newer than the registry's checkpoint. Nothing else has to be
written for an uplink, which is what makes one page of flash an uplink possible.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from gateway.errors import DeviceForgotten, StorageError, StoreFull
from gateway.forecast import DAY_S, Pace, card_life_years, seconds_until
from gateway.model import UNDATED, GatewayEui, Record, Refusal
from gateway.store.cursors import MOST_DEAD_LETTERS, Loss, Progress
from gateway.store.devices import DeviceRow, DeviceUnknown, copy_registry
from gateway.store.erasing import Eraser, find
from gateway.store.erasure_file import FORGOTTEN, INTENT, Forgotten, load_intent, load_steps, save_intent, save_steps
from gateway.store.folder import Files, open_files
from gateway.store.known import KnownDevices, Sighting
from gateway.store.log import SKIP_AFTER_DAMAGE
from gateway.store.losses import Losses
from gateway.store.network_file import FILE_NAME as NETWORK_FILE
from gateway.store.network_file import FIRST_JOINED_SESSION, NetworkFile, with_joined
from gateway.store.part import Tally, UnopenedFrame, part_files
from gateway.store.reader import LogReader
from gateway.store.records import ERASED, UnknownLayout, counted, decode, encode_frame
from gateway.store.reserve import Reserve
from gateway.store.retention import Disk, Limits, Part, Reason, judge
from gateway.store.stranded import Stranded
from gateway.store.unopened import UnopenedBudget
from gateway.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.model import AesKey, DevAddr, DevEui, Device, RadioFrame, Reading, Refused, RootKeys, Session, Stamp
    from gateway.store.devices import NewDevice
    from gateway.store.erasing import Found
    from gateway.store.erasure_file import Intent

log = logging.getLogger(__name__)

T = TypeVar("T")

IN_MEMORY = Limits(64 << 20, max_age_s=7 * 86_400, keep_delivered_s=0)
"""What a gateway without a disk keeps: two weeks of a mean load."""

TAIL_RECORDS = 2_048  # the newest readings stay in memory, so that live delivery reads no disk
RECALLED_RECORDS = 50
FOLLOW_REGISTRY_S = 1.0  # a changed device is known within two seconds
DATE_BACK_SLICE = 500
REGISTRY_SLICE = 500
CHECKPOINT_S = 3_600.0  # a registry page for each device heard: worth it hourly, not for each uplink
CHECKPOINT_SESSIONS = 20_000  # sooner, so that a start after a crash reads back little
CHECKPOINT_RECORDS = 200_000  # sooner, too: reading these back takes one to two seconds on a Pi-sized core

FULL = "the disk is full, and not by this store"

KEPT_UNOPENED = {Refusal.UNKNOWN_DEVICE, Refusal.BAD_MIC, Refusal.JOIN_NOT_SERVED, Refusal.REPLAY}
"""What later keys, or a second look, can still make something of."""


class Backdating(Protocol):
    """Whose stamps have a better date now; `host.dating.Backdating` is the real one."""

    @property
    def boot_id(self) -> str: ...
    @property
    def before_us(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """What comes next for a destination: records, ranges of positions whose records are lost, how far this looked."""

    records: Sequence[Record]
    lost: Sequence[tuple[int, int]]
    through: int
    erased: Sequence[tuple[int, int]] = ()  # because a person asked for it


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """The store's part of `status`."""

    bytes: int
    max_bytes: int
    records: int
    loss_window_ms: int
    quarantined: int  # damaged parts moved aside since the start
    salvaged: int  # records that were saved from them
    state: str
    evidence: str
    head: int
    epoch: str
    devices: int
    commits: int
    last_sync_ms: float
    full_in_s: float | None  # until the limit of bytes, at the present pace
    written_per_day_bytes: int | None  # by this process, to the disk
    card_life_years: float | None  # of an endurance card


class Store:
    """The data folder of a running gateway. Open it with `Store.open` (blocking), then `async with`."""

    def __init__(
        self,
        folder: Path,
        gateway_eui: GatewayEui,
        files: Files,
        interval_s: float,
        limits: Limits,
    ) -> None:
        self.gateway_eui = gateway_eui
        self._folder = folder
        self._files = files
        self._log, self._seals, self._cursors = files.log, files.seals, files.cursors
        self._registry, self._network = files.registry, files.network
        self._interval_s = interval_s
        self._max_bytes = limits.max_bytes
        self._progress: dict[str, Progress] = {}
        self._takes: dict[str, Callable[[Record], bool]] = {}
        self._written: dict[str, Progress] = {}  # while a newer one is on its way to the disk
        self._being_written: Counter[str] = Counter()
        self._dead_letters: dict[str, set[int]] = {}
        self.lost = self._cursors.lost()
        self.gaps = 0  # counters that were never heard, of the records kept since the start
        self._stir: dict[str, Callable[[], None]] = {}
        self.folder = folder
        self.date: Callable[[Stamp], Stamp] = _as_it_is  # the clock knows better once it knows the time
        self.now_us: Callable[[], int] = _wall_clock_us  # likewise: the date of what happens now
        self.removed: Callable[[DevEui], None] = _told_nobody  # likewise: who hears that a device is gone
        self.in_memory_because: str | None = None
        self.known = KnownDevices()
        self.epoch = files.log.epoch
        self.head = files.log.head
        self._tail: deque[Reading] = deque(maxlen=TAIL_RECORDS)  # ends at head
        self._arrivals: set[asyncio.Future[None]] = set()
        self._budget = UnopenedBudget()
        self._bytes = 0
        self._first = 0
        self._revision = 0
        self._following = asyncio.Lock()
        self._growing, self._writing = Pace(), Pace()
        self._reserve = Reserve(folder)
        self._stranded = Stranded()
        self._checkpointed_s = time.monotonic()
        self._checkpointed_head = 0
        self._limits = limits
        self._full = False
        self._refused = Losses()  # not yet on disk
        self._erasing: set[DevEui] = set()
        self.forgotten = Forgotten(folder)
        self._newest: dict[int, int | None] = {}  # by first position of a closed part: when its last record was heard

    # --- opening and closing

    @classmethod
    def open_in_memory(
        cls, folder: Path, memory: Path, gateway_eui: GatewayEui, *, store_key: bytes | None, why: str
    ) -> Self:
        """A store in memory for a data folder that takes no writing: it knows the devices, and is lost with the power.

        What the folder holds stays where it is, undelivered, until it can be written again.
        """
        memory.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy_registry(folder, memory)
        for file_name in (NETWORK_FILE, INTENT, FORGOTTEN):
            copy_registry(folder, memory, file_name)
        store = cls.open(memory, gateway_eui, commit_interval_s=0.0, limits=IN_MEMORY, store_key=store_key)
        store.in_memory_because = why
        return store

    @classmethod
    def open(
        cls,
        folder: Path,
        gateway_eui: GatewayEui,
        *,
        commit_interval_s: float,
        limits: Limits,
        store_key: bytes | None = None,
        residents: Sequence[NewDevice] = (),
    ) -> Self:
        """Open or make a store and read back what a crash may have left ahead of the registry. StorageError.

        `store_key` (32 bytes) wraps the keys that records are sealed with (`seals.py`). `residents` are devices that
        belong to this gateway (a simulated city); those that are missing are entered.
        """
        files = open_files(folder, str(gateway_eui), limits.max_bytes, store_key)
        try:
            store = cls(folder, gateway_eui, files, commit_interval_s, limits)
            strangers = store.forgotten
            files.registry.add_missing([one for one in residents if not strangers.knows(one.device.dev_eui, None)])
            store._go_on_forgetting()
            store._revision = files.registry.revision()
            for row, offered in with_joined(files.registry.each(), files.network.sessions()):
                store.known.remember([row])
                store.forgotten.welcome([row.device.dev_eui])
                for session in offered:
                    store.known.offer(row.device, session)
            store._recover_counters()
            store._recall_tail()
            store._measure()
        except BaseException:
            files.close()
            raise
        return store

    def _go_on_forgetting(self) -> None:
        """Whose erasure was cut off is a stranger before anything is heard; `erase` does the rest."""
        intent = load_intent(self._folder)
        if intent is not None:
            self._registry.erase(intent.dev_eui)
            self._network.erase(intent.dev_eui)
            self.forgotten.add(intent.dev_eui, intent.dev_addrs)
            self._erasing.add(intent.dev_eui)

    def _recover_counters(self) -> None:
        since = self._registry.checkpointed(self.epoch)
        joined_since = self._network.checkpointed(self.epoch)
        since = self._checkpointed_head = since if joined_since is None else min(since, joined_since)
        recovered = 0
        for position, body in self._log.bodies_after(since):
            try:
                ahead = counted(body) if body not in (None, ERASED) else None
            except UnknownLayout as error:
                log.warning("record %d cannot be read: %s", position, error)
                continue
            if ahead is not None and ahead.session_id:
                self.known.recover(ahead.session_id, Sighting(ahead.f_cnt, ahead.mic, ahead.utc_us, None))
                recovered += 1
        if recovered:
            log.info("%d records since the last checkpoint: counters of %d sessions", recovered, self.known.unsaved)

    def _recall_tail(self) -> None:
        """The newest readings of before, so that a technician who comes after a restart sees them."""
        after = max(0, self._log.head - RECALLED_RECORDS)
        rows = [*self._log.bodies_after(after)]
        self.head = self._log.head  # on its way up to here the log may have been mended
        recalled = self._batch(after, rows, self.head).records
        if any(record.reading.dev_eui in self._erasing for record in recalled):
            return
        # What is in memory ends at the head without a gap: that is how a position finds its reading there.
        first = self.head - len(recalled) + 1
        if recalled and all(record.position == position for position, record in enumerate(recalled, first)):
            self._tail.extend(record.reading for record in recalled)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._reader = LogReader(self._log.folder, self._seals)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._serving = ThreadPoolExecutor(1, thread_name_prefix="store-network")
        self._writer = Writer(self._log, self._interval_s, loop, self._arrived, self._reserve)
        self._writer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Commit what waits, write the checkpoint, close every file."""
        self._writer.flush()
        if self._writer.trouble is None:
            try:
                await self._save_checkpoint()
            except (sqlite3.Error, StorageError, OSError) as refused:
                log.warning("no checkpoint, the next start reads the counters from the log: %s", refused)
        self._writer.stop()
        await asyncio.to_thread(self._writer.join)
        self._reading.shutdown()
        self._serving.shutdown()
        self._reader.close()
        self._files.close()

    # --- the way up

    def candidates(self, dev_addr: DevAddr) -> Sequence[tuple[Device, Session]]:
        """The devices that may have sent a frame with this address."""
        return self.known.candidates(dev_addr)

    def counters(self) -> dict[DevEui, int]:
        """The last uplink counter of every device that was heard."""
        return self.known.counters()

    def accept(self, device: Device, session: Session) -> None:
        """From now on the next frame of this device is judged by this session."""
        self.known.accept(device, session)

    def keep_uplink(self, reading: Reading, session: Session | None, *, soon: bool = False) -> asyncio.Future[int]:
        """The position of the reading, once it and its counter are durable. Kept in the order of calls.

        Without a session it moves no counter: it was read again, and its device has gone on since. `soon` when a device
        waits for it to be on disk: then the commit interval does not count. StoreFull when the settings say that what
        is there counts more than what comes.
        """
        if reading.dev_eui in self._erasing:
            if not reading.reread:
                self._writer.filtered("forgotten")
            forgotten: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            forgotten.set_exception(DeviceForgotten("the device was forgotten"))
            return forgotten
        if self._full and not self._limits.keep_newest:
            if not reading.reread:  # else it is where it was
                self._refused.add("*", reading, "full")
                self._writer.dropped("full", 1)
            refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreFull("the store is full and keeps what it has"))
            return refused
        kept = self._writer.keep(reading, session.session_id if session else 0, soon=soon)
        self._stranded.waits(reading)
        return kept

    def keep_unopened(self, frame: RadioFrame, refused: Refused, *, wanted: bool = False) -> None:
        """Count a frame that is no uplink of ours; keep it raw if keys that come later could open it.

        Within a budget, unless it is `wanted`: then a network server may ask for it later.
        """
        kept, now_us = None, frame.heard.monotonic_us
        if self.forgotten and self.forgotten.knows(refused.dev_eui, refused.dev_addr):
            wanted = False
        elif refused.reason in KEPT_UNOPENED and (wanted or self._budget.admits(refused.dev_addr, now_us)):
            kept = UnopenedFrame(refused.dev_addr, str(refused.reason), encode_frame(frame))
        self._writer.filtered(str(refused.reason), kept)

    def covered(self) -> asyncio.Future[None]:
        """Done once all that was handed over until now is durable, unopened frames included; StorageError at a stop."""
        return self._writer.covers()

    def count_dropped(self, cause: str, frames: int) -> None:
        """Count frames that were heard and lost on the way here."""
        self._writer.dropped(cause, frames)

    def waiting(self) -> int:
        """Readings that are counted in the books and not on disk yet: the power could still take them."""
        return self._writer.waiting()

    def hurry(self) -> None:
        """Nothing more comes: commit what waits, or, where the disk refuses, wait for it no longer."""
        self._writer.hurry()

    def books(self) -> Tally:
        """Heard = filtered + stored + dropped, since this store was made."""
        return self._writer.books()

    async def durable_books(self) -> tuple[Tally, int]:
        """The books and the last position as a power cut would leave them."""
        books: tuple[Tally, int] = await self._writer.call(lambda: (self._log.tally, self._log.head))
        return books

    # --- the way out

    def subscribe(self, sink: str, takes: Callable[[Record], bool] = lambda _: True) -> Progress:
        """Where a destination stands; a new one gets everything from now on. `takes`: which records are for it.

        A new one is remembered for good: forgotten by a power cut, it would be new again and get nothing of before.
        """
        progress = self._cursors.load(sink, self.epoch)
        if progress is None:
            progress = Progress.starting_at(self._first - 1 if self._cursors.has_forgotten else self.head)
            self._cursors.save_for_good(self.epoch, [(sink, progress)], ())
        self._progress[sink], self._takes[sink] = progress, takes
        self._dead_letters[sink] = {position for position, _, _ in self._cursors.dead_letters(sink, self.epoch)}
        return progress

    def remembered(self, sink: str) -> Progress:
        """Where a destination stands as a killed process would find it: what is shown may not be taken back."""
        return self._written.get(sink, self._progress[sink])

    def progress(self, sink: str) -> Progress:
        """Where a destination stands now."""
        return self._progress[sink]

    def dead_letters(self, sink: str) -> int:
        """How many records a destination has refused for good, as far as they are remembered."""
        return len(self._dead_letters[sink])

    async def settle(
        self, sink: str, change: Callable[[Progress], Progress], refused: Sequence[tuple[int, str]] = ()
    ) -> None:
        """Move a destination on; back once a killed process would find it."""
        self._written.setdefault(sink, self._progress[sink])
        self._being_written[sink] += 1
        progress = self._progress[sink] = change(self._progress[sink])
        epoch, now_us = self.epoch, self.now_us()

        def write() -> None:
            if refused:
                self._cursors.refuse(sink, epoch, refused, now_us)
            self._cursors.save(epoch, [(sink, progress)])

        dead = self._dead_letters[sink]
        dead.update(position for position, _ in refused)
        if len(dead) > MOST_DEAD_LETTERS:
            dead.intersection_update(sorted(dead)[-MOST_DEAD_LETTERS:])
        try:
            await asyncio.shield(self._writer.call(write))
        finally:
            self._being_written[sink] -= 1
            self._written[sink] = progress
            if not self._being_written[sink]:
                del self._written[sink]

    async def sent_again(
        self, sink: str, span: tuple[int, int], delivered: Sequence[Record], refused: Sequence[tuple[int, str]]
    ) -> None:
        """What was wanted of a span once more went out; a dead letter that is taken at last counts as acknowledged."""
        epoch, now_us = self.epoch, self.now_us()
        recovered = self._dead_letters[sink].intersection(record.position for record in delivered)
        self._dead_letters[sink] -= recovered
        progress = self._progress[sink].sent_again(span, len(delivered), len(recovered)).note_dates(delivered, span)
        self._progress[sink] = progress

        def write() -> None:
            if recovered or refused:
                self._cursors.tried_again(sink, epoch, recovered, refused, now_us)
            self._cursors.save(epoch, [(sink, progress)])

        await asyncio.shield(self._writer.call(write))

    async def ask(self, sink: str, change: Callable[[Progress], Progress]) -> None:
        """Change what a destination is to get (paused, once more), and let its drain know."""
        await self.settle(sink, change)
        if sink in self._stir:
            self._stir[sink]()

    def tell(self, sink: str, stir: Callable[[], None]) -> None:
        """Who is to be told when somebody else changes what a destination is to get."""
        self._stir[sink] = stir

    async def refused_records(self, sink: str) -> list[tuple[int, str, int]]:
        """What a destination has refused for good: position, reason, when."""
        found: list[tuple[int, str, int]] = await self._writer.call(
            lambda: self._cursors.dead_letters(sink, self.epoch)
        )
        return found

    async def retry_refused(self, sink: str) -> int:
        """Send what was refused once more; how many records. Each stays where it is until it is taken."""
        positions = [(position, position) for position in self._dead_letters[sink]]
        await self.ask(sink, lambda progress: progress.send_all_again(positions))
        return len(positions)

    async def losses(self) -> list[Loss]:
        """What was lost of each device, by destination."""
        found: list[Loss] = await self._writer.call(self._cursors.losses)
        return found

    async def date_back(self, found: Backdating) -> None:
        """The time of a boot became known: what left with a guess is sent once more, same record id, right time."""
        undated: list[int] = []
        upper, seen_boot = self.head, False
        while upper > 0:
            batch = await self._read_raw(max(0, upper - DATE_BACK_SLICE), upper)
            of_boot = [(position, heard) for position, heard in batch if heard.boot_id == found.boot_id]
            undated += [
                position
                for position, heard in of_boot
                if heard.quality in UNDATED and heard.monotonic_us < found.before_us and position <= upper
            ]
            if seen_boot and not of_boot:
                break
            seen_boot = seen_boot or bool(of_boot)
            upper -= DATE_BACK_SLICE
        self._newest.clear()
        for sink in self._progress:
            await self.ask(sink, lambda progress: progress.correct(found.boot_id, undated))
        # For good: the clock will remember that it told, and does not tell again.
        await self._writer.call(partial(self._cursors.save_for_good, self.epoch, [*self._progress.items()], ()))
        if undated:
            log.info("the time is known: %d readings are dated back, and corrected where they had left", len(undated))

    async def _read_raw(self, after: int, through: int) -> list[tuple[int, Stamp]]:
        """Positions with the stamps they were kept with."""
        found = []
        while after < through and (rows := await self._rows(after, through - after)):  # a part at a time
            after = rows[-1][0]
            for position, body in rows:
                with suppress(UnknownLayout):
                    if body is not None:
                        found.append((position, decode(body).heard))
        return found

    async def beyond(self, position: int) -> None:
        """Wait until the log holds more than this position."""
        while self.head <= position:
            arrival = asyncio.get_running_loop().create_future()
            self._arrivals.add(arrival)
            try:
                await arrival
            finally:
                self._arrivals.discard(arrival)

    def stranded(self, after: int, limit: int) -> list[tuple[int, Record]]:
        """Readings that wait for a disk that refuses, by a number of their own: they may go out from memory.

        Their ids are of another epoch, because the positions they will get are not known yet.
        """
        if self._writer.refuses is None:
            return []
        return [
            (number, Record(self.gateway_eui, self._stranded.epoch, number, reading))
            for number, reading in self._stranded.after(after, limit)
        ]

    def was_sent_from_memory(self, sink: str, records: Sequence[Record]) -> None:
        """A destination has these: once they are on disk they count as acknowledged."""
        self._stranded.sent(sink, [record.reading for record in records])

    async def read(self, after: int, limit: int) -> Batch:
        """Up to `limit` records above a position, in order."""
        in_tail = self.head - after
        if 0 < in_tail <= len(self._tail):
            start = len(self._tail) - in_tail
            readings = list(
                islice(self._tail, start, start + limit)
            )  # an index into a deque walks there anew each time
            records = [self.record(position, reading) for position, reading in enumerate(readings, after + 1)]
            return Batch(records, (), after + len(records))
        head = self.head
        rows = await self._rows(after, limit)
        if self._reader.damaged:
            await self._writer.call(self._mend)
            rows = await self._rows(after, limit)
        return self._batch(after, rows, head)

    async def look(self, search: Callable[[LogReader], T]) -> T:
        """Search the log on the reader's thread; a short slice at a time, for destinations read there, too."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, search, self._reader)

    async def with_network(self, work: Callable[[NetworkFile], T]) -> T:
        """Do something with what is remembered as a network: one thing after the other, on a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._serving, work, self._network)

    async def keep_join(self, device: Device, history: str, session: Session, mac_state: str) -> Session:
        """The device is offered a session; with its number, once that and the nonces spent are on disk."""
        kept, gone = await self.with_network(
            lambda network: network.keep_join(device.dev_eui, history, session, mac_state)
        )
        self.known.offer(device, kept)
        self.known.may_acknowledge(kept, ())
        for session_id, dev_addr in gone:
            self.known.drop(session_id, dev_addr)
        return kept

    def is_offered(self, session: Session) -> bool:
        """Whether the device was not heard to use this session before."""
        return self.known.is_offered(session.session_id)

    def may_acknowledge(self, session: Session, f_cnts_down: tuple[int, ...]) -> None:
        """These confirmed downlinks, and no others, may be acknowledged by this session."""
        self.known.may_acknowledge(session, f_cnts_down)

    async def in_use(self, dev_eui: DevEui) -> tuple[Device, Session] | None:
        """A device with the session it uses, and its newest counters; None for one that is unknown or never joined."""
        row = await self._row(dev_eui)
        if row is None:
            return None
        joined = await self.with_network(lambda network: network.sessions_of(dev_eui)) if row.has_root_keys else []
        session = next((one.session for one in joined if not one.offered), row.session)
        if session is None:
            return None
        newest = (one for _, one in self.candidates(session.dev_addr) if one.session_id == session.session_id)
        return row.device, next(newest, session)

    async def taken_up(self, device: Device, session: Session) -> None:
        """The device was heard to use a session that it had been offered: those before it are no more."""
        self.known.taken_up(session.session_id)
        gone = await self.with_network(lambda network: network.taken_up(device.dev_eui, session.session_id))
        for session_id, dev_addr in gone:
            self.known.drop(session_id, dev_addr)

    async def root_keys(self, dev_eui: DevEui) -> RootKeys | None:
        """The keys a device joins with, if it has any."""
        keys: RootKeys | None = await self._writer.call(partial(self._registry.root_keys, dev_eui))
        return keys

    async def device(self, dev_eui: DevEui) -> Device | None:
        """What people entered of a device, or None when it is not known (any more)."""
        row = await self._row(dev_eui)
        return None if row is None else row.device

    async def _row(self, dev_eui: DevEui) -> DeviceRow | None:
        try:
            found: DeviceRow = await self._writer.call(partial(self._registry.get, dev_eui))
        except DeviceUnknown:
            return None
        return found

    async def devices_named(self, name: str) -> Sequence[DevEui]:
        """The devices of this name: none, one, or several where people gave it twice."""
        found: Sequence[DevEui] = await self._writer.call(lambda: self._registry.named(name))
        return found

    async def _rows(self, after: int, limit: int) -> list[tuple[int, bytes | None]]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, self._reader.read, after, limit, self.head)

    def _mend(self) -> None:
        for first_position in [*self._reader.damaged]:
            self._log.mend(first_position)
            self._reader.damaged.discard(first_position)

    def _batch(self, after: int, rows: Sequence[tuple[int, bytes | None]], head: int) -> Batch:
        records: list[Record] = []
        lost: list[tuple[int, int]] = []
        erased: list[tuple[int, int]] = []
        expected = after + 1
        for position, body in rows:
            lost += _lost_before(position, expected)
            expected = position + 1
            if body is None:  # gone, and counted when that was found
                lost.append((position, position))
                continue
            if body == ERASED:
                erased.append((position, position))
                continue
            try:
                records.append(self.record(position, decode(body)))
            except UnknownLayout as error:
                log.warning("record %d cannot be read: %s", position, error)
                lost.append((position, position))
        if not rows:  # what was there is gone, and nothing has come since
            lost += _lost_before(head + 1, expected)
            expected = head + 1
        return Batch(records, lost, max(after, expected - 1), erased)

    def record(self, position: int, reading: Reading) -> Record:
        """A reading with its place in this log, and the best date there is for it by now."""
        dated = self.date(reading.heard)
        if dated is not reading.heard:
            reading = replace(reading, heard=dated)
        return Record(self.gateway_eui, self.epoch, position, reading, late=reading.reread)

    def newest(self, count: int) -> list[Record]:
        """The newest records in memory, oldest first."""
        readings = list(self._tail)[-count:]
        return [
            self.record(position, reading) for position, reading in enumerate(readings, self.head - len(readings) + 1)
        ]

    def _arrived(self, first: int, kept: Sequence[tuple[Reading, int]]) -> None:
        """A group is durable."""
        if not kept:
            return
        if first != self.head + 1:
            self._tail.clear()  # the log went on elsewhere after damage: positions in memory end here
        self.head = first + len(kept) - 1
        for position, (reading, session_id) in enumerate(kept, first):
            self._tail.append(reading)
            self.gaps += 0 if reading.reread else reading.gap_before
            if session_id:
                self.known.kept(session_id, _sighting(reading, self.date(reading.heard)))
            for sink in self._stranded.is_safe(reading):
                sent = Record(self.gateway_eui, self.epoch, position, reading)
                progress = self._progress[sink].acknowledge([position])
                self._progress[sink] = progress.note_dates([sent], (position, position))
        for arrival in self._arrivals:
            if not arrival.done():
                arrival.set_result(None)

    # --- forgetting a device (`erasing.py` says how its records go)

    async def addresses(self, dev_eui: DevEui) -> set[int]:
        """The addresses that a device is known to have."""
        row = await self._row(dev_eui)
        joined = await self.with_network(lambda network: network.sessions_of(dev_eui))
        found = {int(one.session.dev_addr) for one in joined}
        return found | ({int(row.session.dev_addr)} if row is not None and row.session is not None else set())

    async def keys_of(self, dev_eui: DevEui) -> list[bytes]:
        """Every key that is kept of a device, to be looked for once they are erased."""
        row = await self._row(dev_eui)
        root = None if row is None or not row.has_root_keys else await self.root_keys(dev_eui)
        joined = await self.with_network(lambda network: network.sessions_of(dev_eui))
        sessions = [one.session for one in joined] + ([row.session] if row is not None and row.session else [])
        keys = {bytes(key) for one in sessions for key in _session_keys(one)}
        return sorted(keys | ({bytes(key) for key in (root.app_key, root.nwk_key) if key} if root else set()))

    async def find(
        self, dev_eui: DevEui, dev_addrs: set[int], told: Callable[[int], None], halted: Callable[[], bool]
    ) -> Found:
        """What the log has of a device, and of frames with these addresses."""
        return await asyncio.to_thread(find, self._log.folder, self._seals, dev_eui, dev_addrs, told, halted)

    async def disown(self, intent: Intent) -> None:
        """From now on the device is a stranger whose frames are not kept; what it had sent is on disk, and only there.

        First of all what an erasure needs to go on after a power cut is on disk.
        """
        dev_eui = intent.dev_eui
        await asyncio.to_thread(save_intent, self._folder, intent)
        await asyncio.to_thread(self.forgotten.add, dev_eui, intent.dev_addrs)
        self._erasing.add(dev_eui)
        async with self._following:
            await self._writer.call(partial(self._registry.erase, dev_eui))
            await self.with_network(lambda network: network.erase(dev_eui))
            self.known.forget([dev_eui])
        self.removed(dev_eui)
        await self._writer.settled()
        last = max((index for index, one in enumerate(self._tail) if one.dev_eui == dev_eui), default=-1)
        self._tail = deque(islice(self._tail, last + 1, None), maxlen=TAIL_RECORDS)
        self._refused.forget(bytes(dev_eui))

    async def erase(
        self, intent: Intent, told: Callable[[Mapping[str, Any]], None], halted: Callable[[], bool]
    ) -> tuple[int, int]:
        """Erase what the files of this store have of a device that is disowned; how many records and frames.

        Interrupted, it goes on where it was. StorageError when the disk, or somebody who reads there, is in the way.
        """
        eraser = Eraser(self._folder, self._log, self._seals, self._writer.call, halted)
        steps = await asyncio.to_thread(load_steps, self._folder, intent.reference)
        found = await self.find(intent.dev_eui, {*intent.dev_addrs}, lambda at: told({"looked at": at}), halted)
        if found.dev_addrs - intent.dev_addrs:
            intent = replace(intent, dev_addrs=frozenset(found.dev_addrs))
            await asyncio.to_thread(save_intent, self._folder, intent)
            await asyncio.to_thread(self.forgotten.add, intent.dev_eui, intent.dev_addrs)
        await eraser.parts(intent, found, steps, told)
        await self._writer.call(partial(self._registry.erase, intent.dev_eui))  # once more: somebody may have been
        await self.with_network(lambda network: network.erase(intent.dev_eui))  # in the middle of writing
        records, frames = (sum(counts) for counts in zip(*steps.parts.values(), strict=True)) if steps.parts else (0, 0)
        if steps.booked_to is None:
            steps.booked_to = self._log.tally.erased + records
            await asyncio.to_thread(save_steps, self._folder, steps)
        await self._writer.book_erased(steps.booked_to)
        await self._writer.call(partial(self._cursors.erase, bytes(intent.dev_eui), self.epoch, found.positions))
        for dead in self._dead_letters.values():
            dead.difference_update(found.positions)
        self.lost = await self._writer.call(self._cursors.lost)
        await self._writer.call(self._registry.rewrite)
        await self.with_network(lambda network: network.rewrite())
        self._newest.clear()
        return records, frames

    # --- what runs beside the line

    async def keep_house(self, trusted_utc_us: Callable[[], int | None]) -> None:
        """Follow the registry, write checkpoints, let go of old parts; for as long as the gateway runs.

        `trusted_utc_us` gives the date, or None while the clock cannot be trusted: then nothing grows old.
        """
        troubled = False
        while True:
            await asyncio.sleep(FOLLOW_REGISTRY_S)
            try:
                await self.follow_registry()
                await self._writer.call(self._measure)
                await self._retain(trusted_utc_us())
                await self._checkpoint_when_due()
                await self._writer.call(self._reserve.make)
            except (sqlite3.Error, StorageError, OSError) as error:
                log.log(logging.DEBUG if troubled else logging.WARNING, "housekeeping has to wait: %s", error)
                troubled = True
            else:
                troubled = False

    async def _checkpoint_when_due(self) -> None:
        waited_s = time.monotonic() - self._checkpointed_s
        if self.known.unsaved and (
            waited_s > CHECKPOINT_S
            or self.known.unsaved > CHECKPOINT_SESSIONS
            or self.head - self._checkpointed_head > CHECKPOINT_RECORDS
        ):
            await self._save_checkpoint()
            self._checkpointed_s = time.monotonic()

    async def _retain(self, now_us: int | None) -> None:
        """Let go of the parts that are to leave; what a destination still waited for is summed up by device first."""
        settled = min((progress.done_through for progress in self._progress.values()), default=None)
        parts = await self._writer.call(self._closed_parts)
        judgement = judge(parts, self._limits, self._disk(), settled_through=settled, now_us=now_us)
        if judgement.full != self._full:
            self._full = judgement.full
            if self._limits.keep_newest:
                # What comes counts more than what is there, and nothing of that may go: so it waits in memory.
                self._writer.hold(FULL if self._full else None)
            refused = f"{FULL}: readings wait in memory" if self._limits.keep_newest else "new readings are refused"
            log.warning("%s", f"the store is full: {refused}" if self._full else "the store has room again")
        if judgement.leave and self.known.unsaved:
            # A part takes its counters along: a killed process would find none, and take a recording for a new frame.
            await self._save_checkpoint()
        for part, reason in judgement.leave:
            await self._let_go(part, reason)
        if self._refused:
            await self._remember_losses((), self._refused.take())

    async def _let_go(self, part: Part, reason: Reason) -> None:
        losses = Losses()
        for sink, progress in self._progress.items():
            if progress.prefix < part.last:
                await self._sum_up(losses, sink, part, str(reason))
        settled: list[tuple[str, Progress]] = []
        for sink, progress in self._progress.items():
            self._progress[sink] = progress.give_up_range(part.first, part.last)
            settled.append((sink, self._progress[sink]))
        # First the cursors, durably, then the files: the other way round a crash would look for what is gone.
        await self._remember_losses(settled, losses.take())
        await self._writer.call(partial(self._log.remove_at, part.first))
        log.info("log part from record %d to %d left the store: %s", part.first, part.last, reason)

    async def _remember_losses(self, settled: Sequence[tuple[str, Progress]], losses: Sequence[Loss]) -> None:
        await self._writer.call(partial(self._cursors.save_for_good, self.epoch, settled, losses))
        for loss in losses:
            self.lost[loss.sink, loss.reason] = self.lost.get((loss.sink, loss.reason), 0) + loss.records

    async def _sum_up(self, losses: Losses, sink: str, part: Part, reason: str) -> None:
        after = part.first - 1
        while after < part.last:
            batch = await self.read(after, 500)
            if batch.through <= after:
                return
            for first, last in batch.erased:
                if last <= part.last:
                    self._progress[sink] = self._progress[sink].erase_range(first, last)
            for record in batch.records:
                if record.position > part.last or self._progress[sink].is_settled(record.position):
                    continue
                if self._takes[sink](record):
                    losses.add(sink, record.reading, reason)
                else:
                    self._progress[sink] = self._progress[sink].skip(record.position, record.position)
            after = batch.through

    def _closed_parts(self) -> list[Part]:
        """On the writer thread: the parts that may leave, with the date of their last record."""
        files = self._log.closed_parts
        firsts = [*(file.first_position for file in files), self._log.last_part_first]
        found = []
        for file, (first, following) in zip(files, pairwise(firsts), strict=True):
            if first not in self._newest:
                heard = self._log.newest_heard(file)
                dated = None if heard is None else self.date(heard)
                sure = dated is not None and dated.quality not in UNDATED
                self._newest[first] = dated.utc_us if dated is not None and sure else None
            found.append(Part(first, following - 1, file.bytes_on_disk, self._newest[first]))
        return found

    def _disk(self) -> Disk:
        facts = os.statvfs(self._folder)
        return Disk(self._bytes, facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)

    async def follow_registry(self) -> None:
        """Take in what a command changed, a slice at a time so that a large import does not hold the line."""
        async with self._following:
            revision = await self._writer.call(self._registry.revision)
            if revision == self._revision:
                return
            rows, gone = await self._writer.call(lambda: self._registry.changes(self._revision))
            self._revision = revision
            self._erasing.difference_update(row.device.dev_eui for row in rows)
            if self.forgotten:
                await asyncio.to_thread(self.forgotten.welcome, [row.device.dev_eui for row in rows])
            if gone:
                await self.with_network(lambda network: network.forget(gone))
                for dev_eui in gone:
                    self.removed(dev_eui)
            joined = await self.with_network(lambda network: _joined_of(rows, network))
            self.known.forget([*gone, *(row.device.dev_eui for row in rows)])
            for start in range(0, len(rows), REGISTRY_SLICE):
                self.known.remember(rows[start : start + REGISTRY_SLICE])
                await asyncio.sleep(0)
            for row in rows:
                for session, offered in joined.get(row.device.dev_eui, ()):
                    take_in = self.known.offer if offered else self.known.enter
                    take_in(row.device, session)

    async def _save_checkpoint(self) -> None:
        """Write back the counters of durable records, and only those: a counter ahead of its record would lose one."""
        head, taken = self.head, self.known.take_unsaved()
        joined = [(number, seen) for number, seen in taken.items() if number >= FIRST_JOINED_SESSION]
        try:
            # The registry last: who reads back starts at the older of the two.
            owners = await self.with_network(lambda network: network.checkpoint(self.epoch, head, joined))
            await self._writer.call(lambda: self._registry.checkpoint(self.epoch, head, taken.items(), owners))
        except BaseException:  # a stop too: its own checkpoint would call current what was never written
            self.known.put_back(taken)
            raise
        self._checkpointed_head = head

    def _measure(self) -> None:
        """Everything in the data folder counts: parts, logs of SQLite, cursors, quarantine."""
        self._bytes = sum(file.stat().st_blocks * 512 for file in self._folder.rglob("*") if file.is_file())
        parts = part_files(self._log.folder)
        self._first = parts[0].first_position if parts else self.head + 1
        now_s = time.monotonic()
        self._growing.sample(self._bytes, now_s)
        self._writing.sample(written_bytes(), now_s)

    def facts(self) -> StoreFacts:
        """For `status`."""
        refuses = self.in_memory_because or self._writer.refuses
        return StoreFacts(
            bytes=self._bytes,
            max_bytes=self._max_bytes,
            records=max(0, self.head - self._first + 1),
            loss_window_ms=round(self._interval_s * 1000),
            quarantined=self._log.damage.parts + len(self._files.damage),
            salvaged=self._log.damage.salvaged,
            state="full" if self._full else "failing" if refuses else "writing",
            evidence=(
                f"{'' if refuses == FULL else 'the disk refuses: '}{refuses}; readings are kept in memory only"
                if refuses
                else "; ".join(self._files.damage)
            ),
            head=self.head,
            epoch=self.epoch,
            devices=self.known.devices,
            commits=self._writer.commits,
            last_sync_ms=round(self._writer.sync_s * 1000, 1),
            full_in_s=seconds_until(self._max_bytes - self._bytes, self._growing.per_s),
            written_per_day_bytes=None if self._writing.per_s is None else round(self._writing.per_s * DAY_S),
            card_life_years=card_life_years(self._writing.per_s),
        )


def _joined_of(rows: Sequence[DeviceRow], network: NetworkFile) -> dict[DevEui, Sequence[tuple[Session, bool]]]:
    """The sessions that these devices joined, and whether each is only offered yet."""
    found = {row.device.dev_eui: network.sessions_of(row.device.dev_eui) for row in rows if row.has_root_keys}
    return {dev_eui: [(joined.session, joined.offered) for joined in sessions] for dev_eui, sessions in found.items()}


def _session_keys(session: Session) -> tuple[AesKey, ...]:
    return session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key, session.app_s_key


def _lost_before(position: int, expected: int) -> list[tuple[int, int]]:
    """What is missing between the position that was to come and the one that came, without what was never used.

    After damage the log goes on so far behind the last position it knows of that none can come twice.
    """
    lost = (position - expected) % SKIP_AFTER_DAMAGE
    return [(expected, expected + lost - 1)] if position > expected and lost else []


def _told_nobody(_: DevEui) -> None:
    pass


def _wall_clock_us() -> int:
    return time.time_ns() // 1000


def _as_it_is(stamp: Stamp) -> Stamp:
    return stamp


def _sighting(reading: Reading, heard: Stamp) -> Sighting:
    """`heard` is the best date there is for it by now; one that is a guess is not shown as when it was last seen."""
    battery = next(
        (m.value for m in reading.decoded.measurements if m.quantity == "battery" and isinstance(m.value, int | float)),
        None,
    )
    utc_us = None if heard.quality in UNDATED else heard.utc_us
    return Sighting(reading.f_cnt, reading.phy[-4:], utc_us, battery)


def written_bytes() -> int:
    """What this process has had written to storage: proc(5), io. 0 where that is hidden."""
    try:
        with open("/proc/self/io", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel, read each second
            return next((int(line.split()[1]) for line in file if line.startswith("write_bytes")), 0)
    except OSError:
        return 0
