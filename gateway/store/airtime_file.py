"""What the ledger of air time must not forget: `airtime.sqlite3` in the data folder.

It is a file of its own, because it is written at its own pace and a damaged one costs an hour of sending, nothing else.
Bookings are gathered and committed once a second at most, on a thread, with a sync each; nobody waits for it. A commit
is two pages of 512 bytes in SQLite's log, and what the file system adds; there is none while nothing is sent, and the
law sees to it that little is: one per cent of the time allows 36 seconds an hour.

**The lost tail.** A file that was not closed says so by its mark. Up to a second of bookings may then be missing, which
is why the ledger admits no more than its tail before they are on disk, and takes the tail as used after such a stop
(`radio.duty_cycle`). While the disk refuses, bookings gather and are tried again; the tail is then the limit.

While the data folder takes no writing from the start, the file is made in memory (`store.owner.memory_folder`). Both
places are read at the start, and what lay in memory moves to the disk when that is back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Self

from gateway.errors import DiskTrouble, StorageError
from gateway.model import Stamp, TimeQuality
from gateway.radio.duty_cycle import Airtime, Changes, Remembered, Stop
from gateway.store.database import NewerFormat, open_database, open_readonly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from gateway.radio.duty_cycle import AirtimeLedger

log = logging.getLogger(__name__)

FILE_NAME = "airtime.sqlite3"

COMMIT_EVERY_S = 1.0
"""How long a booking may wait for the disk."""

PAGE_BYTES = 512
"""A commit writes whole pages: small ones spare the card."""

_WORST = {Stop.ORDERLY: 0, Stop.SUDDEN: 1, Stop.UNREADABLE: 2}


class AirtimeFile:
    """Read when it is made; writes what a ledger books from `begin` on, and the rest when it is closed (`with`).

    `elsewhere` is another folder where a gateway may have kept its bookings; with `moves_in` the file there is deleted
    once its content is in this one. StorageError when there is no file to be had, or a newer version has written it; a
    damaged one is put aside.
    """

    def __init__(self, folder: Path, elsewhere: Path | None = None, *, moves_in: bool = False) -> None:
        self._path = folder / FILE_NAME
        self._other = None if elsewhere is None else elsewhere / FILE_NAME
        self._moves_in = moves_in
        self._lock = Lock()
        self._ledger: AirtimeLedger | None = None
        self._pending = Changes()
        self._complains = True
        self._closed = False
        self._connection, own = self._opened()
        other = Remembered() if self._other is None else _read_beside(self._other)
        stop = max(own.stop, other.stop, key=_WORST.__getitem__)
        self.remembered = Remembered(_joined(own.airtimes, other.airtimes), stop)
        self._known = frozenset(airtime.number for airtime in own.airtimes)
        if stop is Stop.SUDDEN:
            log.warning("the last run did not end in order: what may have been sent last counts as sent")

    def _opened(self) -> tuple[sqlite3.Connection, Remembered]:
        if not self._path.exists():
            return self._open(), Remembered()
        try:
            connection = self._open()
            try:
                return connection, _read(connection)
            except (sqlite3.DatabaseError, ValueError):
                connection.close()
                raise
        except (DiskTrouble, NewerFormat):
            raise
        except (StorageError, sqlite3.DatabaseError, ValueError) as error:
            aside = self._path.with_suffix(".damaged")
            log.warning("%s cannot be read (%s) and is put aside as %s: nothing is sent for an hour where the law has "
                        "a limit", self._path, error, aside.name)  # fmt: skip
            self._put_aside(aside)
            return self._open(), Remembered(stop=Stop.UNREADABLE)

    def _open(self) -> sqlite3.Connection:
        return open_database(self._path, "airtime", page_size=PAGE_BYTES, any_thread=True)

    def _put_aside(self, aside: Path) -> None:
        try:
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise DiskTrouble(f"{self._path} is damaged and cannot be moved: {error.strerror}") from error

    # --- writing

    def begin(self, ledger: AirtimeLedger) -> None:
        """Mark that a run begins, and write what the ledger assumes of the one before. Blocks."""
        self._ledger = ledger
        moved = tuple(airtime for airtime in self.remembered.airtimes if airtime.number not in self._known)
        self._pending = Changes(moved).then(ledger.changes())
        if self._commit(self._pending, going=True):
            self._settle()
            self._drop_other()

    def _drop_other(self) -> None:
        """What it held is here now."""
        if self._other is not None and self._moves_in:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    self._other.with_name(self._other.name + suffix).unlink(missing_ok=True)

    async def keep(self) -> None:
        """Write what is booked, once a second at most; for as long as the gateway runs."""
        assert self._ledger is not None, "begin comes first"
        while True:
            if self._ledger.has_new or self._pending:
                self._pending = self._pending.then(self._ledger.changes())
                if await asyncio.to_thread(self._commit, self._pending, going=True):
                    self._settle()
            await asyncio.sleep(COMMIT_EVERY_S)

    def _settle(self) -> None:
        assert self._ledger is not None
        self._ledger.synced(self._pending)
        self._pending = Changes()

    def _commit(self, changes: Changes, *, going: bool) -> bool:
        """All of it or nothing; False when the disk refuses, which is logged once."""
        try:
            with self._lock:
                if self._closed:
                    return False  # a thread that came too late: its changes were written at the end
                self._write(changes, going=going)
        except sqlite3.Error as error:
            level = logging.WARNING if self._complains else logging.DEBUG
            log.log(level, "%s cannot be written (%s): little is sent until it can", self._path, error)
            self._complains = False
            return False
        if not self._complains:
            log.info("%s is written again", self._path)
        self._complains = True
        return True

    def _write(self, changes: Changes, *, going: bool) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute("UPDATE run SET going = ? WHERE going != ?", (going, going))
            connection.executemany(
                "INSERT OR REPLACE INTO airtime VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, changes.new)
            )
            connection.executemany("DELETE FROM airtime WHERE number = ?", ((number,) for number in changes.gone))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    # --- open and close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Write the rest, and that nothing is missing."""
        if self._ledger is not None:
            self._commit(self._pending.then(self._ledger.changes()), going=False)
        with self._lock:
            self._closed = True
            self._connection.close()


def _read(connection: sqlite3.Connection) -> Remembered:
    """What the file says; sqlite3.DatabaseError or ValueError when that is nothing."""
    if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
        raise ValueError("its pages do not fit together")
    rows = connection.execute("SELECT * FROM airtime ORDER BY number").fetchall()
    [(going,)] = connection.execute("SELECT going FROM run").fetchall()
    return Remembered(tuple(map(_airtime, rows)), Stop.SUDDEN if going else Stop.ORDERLY)


def _read_beside(path: Path) -> Remembered:
    if not path.exists():
        return Remembered()
    try:
        with closing(open_readonly(path)) as connection:
            return _read(connection)
    except (sqlite3.DatabaseError, ValueError) as error:
        log.warning("%s cannot be read (%s): nothing is sent for an hour where the law has a limit", path, error)
        return Remembered(stop=Stop.UNREADABLE)


def _joined(own: Sequence[Airtime], other: Sequence[Airtime]) -> tuple[Airtime, ...]:
    """The bookings of both places; those of the other one get numbers that are free here."""
    known = {replace(airtime, number=0) for airtime in own}
    free = max((airtime.number for airtime in own), default=0) + 1
    missing = [airtime for airtime in other if replace(airtime, number=0) not in known]
    return (*own, *(replace(airtime, number=number) for number, airtime in enumerate(missing, start=free)))


def _row(airtime: Airtime) -> tuple[object, ...]:
    start = airtime.start
    return (
        airtime.number, airtime.transmitter, airtime.band, airtime.airtime_us,
        start.utc_us, str(start.quality), start.uncertainty_ms, start.boot_id, start.monotonic_us,
    )  # fmt: skip


def _airtime(row: tuple[int, str, str, int, int, str, int | None, str, int]) -> Airtime:
    number, transmitter, band, airtime_us, utc_us, quality, uncertainty_ms, boot_id, monotonic_us = row
    start = Stamp(utc_us, TimeQuality(quality), uncertainty_ms, boot_id, monotonic_us)
    return Airtime(number, transmitter, band, airtime_us, start)
