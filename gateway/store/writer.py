"""The one thread that writes, and how it groups what it writes.

Whoever keeps something gets a future that is done when an fsync covers it. A group is committed at once when none was
committed within the commit interval, else when the interval is over or the group is large: a quiet gateway loses
nothing, a busy one at most one interval, and flash sees at most one sync an interval.

When a commit fails, nothing is forgotten: the group stays, the log is reopened from disk (after a failed fsync the
cached pages may not be trusted), and it is tried again for as long as the gateway runs.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.errors import StorageError
from gateway.store.part import Tally, UnopenedFrame
from gateway.store.records import encode

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Sequence

    from gateway.model import Reading
    from gateway.store.log import RecordLog
    from gateway.store.reserve import Reserve

log = logging.getLogger(__name__)

GROUP_RECORDS = 1_000  # a sync is long paid for by then
COUNTS_INTERVAL_S = 10.0  # counts alone (foreign frames, mostly) are not worth a sync each second
RETRY_S = 1.0
STUCK_S = 2.0  # a sync that takes longer is told, and what waits for it goes out from memory
SOON_S = 0.1
"""An acknowledgement goes on the air a second after its uplink, and only for what is on disk. So a group with such an
uplink waits this long for company, whatever the commit interval is: at most ten syncs a second."""


@dataclass(slots=True)
class Group:
    """What waits for the next commit."""

    readings: list[tuple[Reading, int]] = field(default_factory=list)  # with the session each carries on
    futures: list[Future[int]] = field(default_factory=list)
    unopened: list[UnopenedFrame] = field(default_factory=list)
    heard: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    reread: int = 0
    covered: list[Future[None]] = field(default_factory=list)  # of those who wait for everything that was kept
    wanted_s: float = float("inf")  # monotonic: somebody needs it on disk by then

    def counts(self) -> Tally:
        """The books of this group."""
        filtered, dropped = dict(self.filtered), dict(self.dropped)
        return Tally(self.heard, len(self.readings), filtered, dropped, len(self.unopened), self.reread)


class Writer(threading.Thread):
    """Owns the end of the log and every other file that is written while the gateway runs."""

    def __init__(
        self,
        record_log: RecordLog,
        commit_interval_s: float,
        loop: AbstractEventLoop,
        on_commit: Callable[[int, Sequence[tuple[Reading, int]]], None],
        reserve: Reserve,
    ) -> None:
        super().__init__(name="store-writer", daemon=True)
        self._log = record_log
        self._interval_s = commit_interval_s
        self._loop = loop
        self._on_commit = on_commit
        self._reserve = reserve
        self._wake = threading.Condition()
        self._group = Group()
        self._committing = Group()
        self._books = record_log.tally
        self._calls: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._stopping = False
        self._flush = self._hurried = False
        self._last_commit = float("-inf")
        self._began_s: float | None = None  # the commit that is under way
        self._held: str | None = None
        self.trouble: str | None = None
        self.commits = 0
        self.sync_s = 0.0  # how long the last commit took

    # --- called on the event loop

    def keep(self, reading: Reading, session_id: int, *, soon: bool = False) -> Future[int]:
        """Append a record; its position, once it is durable. `soon`: somebody waits for that, see `SOON_S`."""
        future: Future[int] = self._loop.create_future()
        with self._wake:
            self._group.readings.append((reading, session_id))
            self._group.futures.append(future)
            self._group.heard += 1
            self._group.reread += reading.reread
            hurries = soon and self._group.wanted_s == float("inf")
            if hurries:
                self._group.wanted_s = time.monotonic() + SOON_S
            if hurries or len(self._group.readings) in (1, GROUP_RECORDS):
                self._wake.notify()
        return future

    def filtered(self, reason: str, kept: UnopenedFrame | None = None) -> None:
        """Count a frame that is no uplink of ours, and keep it when there is room."""
        with self._wake:
            group = self._group
            group.heard += 1
            group.filtered[reason] += 1
            if kept is not None:
                group.unopened.append(kept)
            if group.heard == 1 or (kept is not None and len(group.unopened) in (1, GROUP_RECORDS)):
                self._wake.notify()

    def dropped(self, cause: str, frames: int) -> None:
        """Count frames that were heard and lost."""
        with self._wake:
            self._group.heard += frames
            self._group.dropped[cause] += frames
            self._wake.notify()

    def covers(self) -> Future[None]:
        """Done once all that was kept until now is durable; when nothing waits, at once."""
        future: Future[None] = self._loop.create_future()
        with self._wake:
            for group in (self._group, self._committing):
                if group.readings or group.unopened:
                    group.covered.append(future)
                    return future
        future.set_result(None)
        return future

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run something on the writer thread, in order."""
        future: Future[Any] = self._loop.create_future()
        with self._wake:
            self._calls.append((function, future))
            self._wake.notify()
        return future

    async def settled(self) -> None:
        """Back when everything that was handed over so far is on disk."""
        self.flush()
        await self.call(_nothing)  # the group is taken with this one
        await self.call(_nothing)  # and committed before that one

    def book_erased(self, up_to: int) -> Future[None]:
        """So many records were erased since this store was made."""
        return self.call(lambda: self._book_erased(up_to))

    def _book_erased(self, up_to: int) -> None:
        if up_to > self._log.tally.erased:
            self._log.append((), (), Tally(erased=up_to - self._log.tally.erased))
            with self._wake:
                self._books = self._log.tally

    def flush(self) -> None:
        """Commit what waits without waiting for the interval."""
        with self._wake:
            self._flush = True
            self._wake.notify()

    def hold(self, because: str | None) -> None:
        """Commit nothing for this reason, until told None or to stop; what is kept meanwhile waits in memory."""
        with self._wake:
            self._held = because
            self._wake.notify()

    def hurry(self) -> None:
        """Nothing more comes: commit what waits, and where the disk refuses, tell those who wait for it."""
        with self._wake:
            self._flush = self._hurried = True
            self._wake.notify()

    def stop(self) -> None:
        """Commit what waits and end the thread; join it from elsewhere."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    @property
    def refuses(self) -> str | None:
        """Why nothing is written just now; None when all is well."""
        began_s = self._began_s
        if self.trouble is None and began_s is not None and (waited_s := time.monotonic() - began_s) > STUCK_S:
            return f"it has not answered for {waited_s:.0f} s"
        return self.trouble or self._held

    def waiting(self) -> int:
        """How many readings are in memory only."""
        with self._wake:
            return len(self._committing.readings) + len(self._group.readings)

    def books(self) -> Tally:
        """Everything counted since the store was made, durable or about to be."""
        with self._wake:
            return self._books.plus(self._committing.counts()).plus(self._group.counts())

    # --- the thread

    def run(self) -> None:
        """Until stopped and everything is written."""
        while True:
            with self._wake:
                while not (self._calls or self._stopping or self._due_in() <= 0):
                    self._wake.wait(min(self._due_in(), 3600))
                calls, self._calls = self._calls, []
                group = self._take() if self._stopping or self._due_in() <= 0 else None
                stopping = self._stopping
            for function, future in calls:
                self._run_call(function, future)
            if group is not None:
                self._commit(group)
            if stopping and not self._calls:
                return

    def _due_in(self) -> float:
        """Seconds until the waiting group is to be committed; infinite when there is none."""
        group = self._group
        if not group.heard or (self._held is not None and not self._hurried):
            return float("inf")
        if self._flush or len(group.readings) >= GROUP_RECORDS or len(group.unopened) >= GROUP_RECORDS:
            return 0
        worth_a_sync = group.readings or group.unopened or group.dropped
        interval_s = self._interval_s if worth_a_sync else max(self._interval_s, COUNTS_INTERVAL_S)
        return min(self._last_commit + interval_s, group.wanted_s) - time.monotonic()

    def _take(self) -> Group:
        group, self._group, self._flush = self._group, Group(), False
        self._committing = group
        return group

    def _commit(self, group: Group) -> None:
        if not group.heard:
            return
        bodies = [_encoded(reading, session_id) for reading, session_id in group.readings]
        first = self._log.head + 1
        began = self._began_s = time.monotonic()
        while not self._append(bodies, group, first):
            if self._stopping or self._hurried:
                refused = StorageError(f"not written before the stop: {self.trouble}")
                self._tell(_fail_all, [*group.futures, *group.covered], refused)
                return
            time.sleep(RETRY_S)
        self._last_commit, self._began_s = time.monotonic(), None
        self.sync_s = self._last_commit - began
        self.commits += 1
        with self._wake:
            self._books, self._committing = self._log.tally, Group()
        if self.trouble is not None:
            log.warning("the store can be written again")
            self.trouble = None
        self._tell(self._committed, self._log.head - len(bodies) + 1, group)

    def _append(self, bodies: Sequence[bytes], group: Group, first: int) -> bool:
        """Commit a group; False when the disk would not, with the log opened anew if that was possible."""
        try:
            if self.trouble is not None:
                self._log.reopen()
            if not (bodies and self._log.head == first + len(bodies) - 1):  # else the failed commit was in it after all
                self._log.append(bodies, group.unopened, group.counts())
        except (sqlite3.Error, StorageError, OSError) as error:
            self._troubled(error)
            return False
        return True

    def _troubled(self, error: Exception) -> None:
        if self.trouble is None:
            log.error("the store cannot be written, records wait in memory: %s", error)
            if self._reserve.give_up():
                log.warning("the reserved space is given up for what waits")
        self.trouble = str(error)

    def _run_call(self, function: Callable[[], Any], future: Future[Any]) -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - whatever it was, it goes to whoever asked
            self._tell(_settle, future, None, error)
        else:
            self._tell(_settle, future, result, None)

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("the event loop is gone; nobody to tell")

    # --- back on the event loop

    def _committed(self, first: int, group: Group) -> None:
        self._on_commit(first, group.readings)
        for position, future in enumerate(group.futures, first):
            if not future.done():
                future.set_result(position)
        for covered in group.covered:
            if not covered.done():
                covered.set_result(None)


def _nothing() -> None:
    """Only to be waited for."""


def _settle(future: Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _fail_all(futures: Sequence[Future[Any]], error: Exception) -> None:
    for future in futures:
        _settle(future, None, error)


def _encoded(reading: Reading, session_id: int) -> bytes:
    """The record's bytes; a decoded part that no file can hold is left out and said so, the reading is kept."""
    try:
        return encode(reading, session_id)
    except (TypeError, ValueError) as error:
        problem = f"the codec's answer could not be stored: {error}"
        bare = replace(reading.decoded, data=None, measurements=(), warnings=(), problem=problem)
        return encode(replace(reading, decoded=bare), session_id)
