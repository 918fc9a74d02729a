"""The record log: append-only, in parts, positions that never repeat.

A part is one SQLite file named by its first position. Only the last one is written; whole old ones are deleted, never
rows, so deletion costs the same at any size and needs no vacuum. Damage stays inside one file, and what it did not
destroy is salvaged into a new one.

The shape was measured: bytes that reach the block device (ext4) for each record of 200 bytes, tally included, in
commits of 2.3 records (a busy gateway, one commit a second) and of 64 (`bench/store.py` measures it again):

    page size    2.3 a commit    64 a commit
     512 bytes          2 350            650
    1024 bytes          2 820            640
    2048 bytes          3 570            620
    4096 bytes          5 310            730

Two records fit a page of 512; the few that are longer than one go on in pages of their own. A closed part then takes
296 bytes a record instead of 259: a card has room for years, but it can only be written so often.

A part for each day would be as cheap to write, but its size, and with it what damage or a deletion takes, would be
whatever the day brought. No column but the position is indexed: an index costs a page for each record.

All of this is plain synchronous code: `RecordLog` belongs to the writer thread, `LogReader` to the reader's.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import orjson

from gateway.errors import StorageError
from gateway.store.database import NewerFormat, is_disk_trouble, open_database, open_readonly
from gateway.store.records import decode
from gateway.store.salvage import records_in_wal, salvage, wal_bytes
from gateway.store.seals import RECORD, UNOPENED, DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import Stamp
    from gateway.store.seals import Seal, SealRing

log = logging.getLogger(__name__)

MAX_PART_BYTES = 64 << 20  # deletion and damage come in units of this
MIN_PART_BYTES = 1 << 20
PARTS_WITHIN_LIMIT = 16  # so that deleting one frees a sixteenth of the limit
SKIP_AFTER_DAMAGE = 10_000_000  # more positions than a part can hold: what a lost part held is never used again
PAGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Tally:
    """The books of the way up: heard = filtered + stored + dropped.

    What is read again later (keys or a codec came) goes through the line once more: it counts as heard once more, with
    `reread` beside it, and as stored. Moved over from `filtered` instead, counters would run backwards, and yesterday's
    balance would no longer be what was told. `heard - reread` is what the air brought.
    """

    heard: int = 0
    stored: int = 0
    filtered: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    unopened_kept: int = 0
    reread: int = 0

    @property
    def balance(self) -> int:
        """Zero when the books are right."""
        return self.heard - self.stored - sum(self.filtered.values()) - sum(self.dropped.values())

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.heard + other.heard,
            self.stored + other.stored,
            _sum(self.filtered, other.filtered),
            _sum(self.dropped, other.dropped),
            self.unopened_kept + other.unopened_kept,
            self.reread + other.reread,
        )

    def to_json(self) -> str:
        """For the part's row."""
        return orjson.dumps(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From the part's row."""
        return cls(**orjson.loads(text))


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


@dataclass(frozen=True, slots=True)
class UnopenedFrame:
    """A frame that found no session, as it is kept."""

    dev_addr: int | None
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """What was found damaged, and what became of it. Counted since the start of this process."""

    parts: int = 0  # moved aside
    salvaged: int = 0  # records of theirs that are still there
    lost: int = 0  # records of theirs that are not

    def plus(self, other: Damage) -> Damage:
        """Both together."""
        return Damage(self.parts + other.parts, self.salvaged + other.salvaged, self.lost + other.lost)


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part on disk."""

    path: Path
    first_position: int

    @property
    def bytes_on_disk(self) -> int:
        """With its write-ahead log."""
        return sum(_size(self.path.with_name(self.path.name + suffix)) for suffix in ("", "-wal", "-shm"))

    def unlink(self) -> None:
        """Remove the part and what SQLite keeps beside it, and make the removal durable."""
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        sync_folder(self.path.parent)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_folder(folder: Path) -> None:
    """Make names created or removed in a folder durable: a rename without it can vanish."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def part_files(folder: Path) -> list[PartFile]:
    """The parts of a log, oldest first. Other names in the folder are left alone."""
    found = [
        PartFile(path, int(path.stem))
        for path in folder.glob("*.sqlite3")
        if path.stem.isdecimal() and path.is_file() and not path.is_symlink()
    ]
    return sorted(found, key=lambda part: part.first_position)


class RecordLog:
    """The end of the log, where records are appended, and the keeper of its parts."""

    def __init__(self, folder: Path, gateway_eui: str, max_bytes: int, seals: SealRing) -> None:
        self.folder = folder
        self.gateway_eui = gateway_eui
        self.max_bytes = max_bytes
        self.part_bytes = min(MAX_PART_BYTES, max(MIN_PART_BYTES, max_bytes // PARTS_WITHIN_LIMIT))
        self.damage = Damage()
        self.tally = Tally()
        self.epoch = ""
        self.head = 0  # the last position given
        self._seals = seals
        self._db: sqlite3.Connection | None = None
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open_last()
        self._finish_removals()

    # --- opening

    def _open_last(self) -> None:
        """Go on in the newest part that can be opened, mend or move aside what cannot; make the first one."""
        skip_to = 0
        for part in reversed(part_files(self.folder)):
            ours = bool(self._seals.names_for(part.first_position))
            try:
                opened = self._go_on_in(part)
            except (sqlite3.Error, StorageError, OSError, TypeError, ValueError) as error:
                if isinstance(error, NewerFormat) or is_disk_trouble(error):
                    raise
                if not self._mend(part, error):
                    skip_to = max(skip_to, part.first_position + SKIP_AFTER_DAMAGE) if ours else skip_to
                    continue
                opened = True
            if not opened:
                part.unlink()  # cut off while it was made: it never held anything
                continue
            if skip_to:
                self.close()
                self._begin_part(skip_to)
            return
        self.epoch = self.epoch or secrets.token_hex(4)
        self._begin_part(max(1, skip_to))

    def _go_on_in(self, part: PartFile) -> bool:
        """Open a part for writing; False when it was never finished being made, an error when it is damaged."""
        wal = wal_bytes(part.path)  # before SQLite has made up its mind about it
        db = self._connect(part.path)
        try:
            made = db.execute("SELECT epoch, first_position FROM part").fetchone()
            if made is None:
                return _closed(db)
            epoch, first = made
            seal = self._seals.of(_key_name(epoch, first))
            if seal is None or first != part.first_position:
                raise ValueError("its key is not here: it belongs to another store, or was forgotten")  # noqa: TRY301
            last = db.execute("SELECT max(position) FROM record").fetchone()[0]
            tally = Tally.from_json(db.execute("SELECT body FROM tally").fetchone()[0])
        except BaseException:
            db.close()
            raise
        self._db, self._part, self._seal, self._wrote_bytes = db, part, seal, part.bytes_on_disk
        self.epoch, self.tally = epoch, tally
        self.head = first - 1 if last is None else last
        self._take_in(records_in_wal(wal, seal, PAGE_BYTES, self.head))
        return True

    def _take_in(self, ahead: Mapping[int, bytes]) -> None:
        """Records that were durable and that SQLite does not see: a bit flipped before them in the write-ahead log."""
        if not ahead:
            return
        log.warning("%d records were behind a damaged place of the write-ahead log and are back", len(ahead))
        db, tally = self._open_db(), self.tally.plus(Tally(heard=len(ahead), stored=len(ahead)))
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO record VALUES (?,?)", sorted(ahead.items()))
        db.execute("UPDATE tally SET body=?", (tally.to_json(),))
        db.execute("COMMIT")
        self.tally, self.head = tally, max(ahead)
        self.damage = self.damage.plus(Damage(salvaged=len(ahead)))

    def _connect(self, path: Path) -> sqlite3.Connection:
        return open_database(path, "log", page_size=PAGE_BYTES, any_thread=True)

    def _begin_part(self, first_position: int) -> None:
        """Make a new last part. It counts once its first row is durable; cut off before that, it is made again."""
        path = self.folder / f"{first_position:012d}.sqlite3"
        if path.exists():
            self._move_aside(PartFile(path, first_position))  # not one of our parts, or it would have been opened
        seal = self._seals.make(_key_name(self.epoch, first_position))
        self._db = self._make(path, first_position, self.tally)
        sync_folder(self.folder)
        self._part, self._seal, self._wrote_bytes = PartFile(path, first_position), seal, 0
        self.head = first_position - 1

    def _make(self, path: Path, first_position: int, tally: Tally) -> sqlite3.Connection:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = self._connect(path)
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO part VALUES (?,?,?)", (self.epoch, self.gateway_eui, first_position))
        db.execute("INSERT INTO tally VALUES (1,?)", (tally.to_json(),))
        db.execute("COMMIT")
        return db

    def _finish_removals(self) -> None:
        """A part whose key is gone was being deleted when the process ended."""
        for part in self.closed_parts:
            if not self._seals.names_for(part.first_position) and self._is_ours(part):
                part.unlink()

    def _is_ours(self, part: PartFile) -> bool:
        try:
            with closing(open_readonly(part.path)) as db:
                row = db.execute("SELECT epoch FROM part").fetchone()
        except sqlite3.Error:
            return False
        return row is not None and row[0] == self.epoch

    # --- damage

    def _mend(self, part: PartFile, error: Exception) -> bool:
        """Move a damaged part aside and go on in a new one with what could be salvaged; False when nothing could."""
        kept, key = self._salvaged(part)
        aside = self._move_aside(part)
        log.warning(
            "log part %s is damaged (%s): %d records salvaged, the file is in %s",
            part.path.name,
            error,
            len(kept),
            aside,
        )
        self.damage = self.damage.plus(Damage(parts=1, salvaged=len(kept)))
        if not kept or key is None:
            return False
        self.epoch = key.partition("-")[0]
        self._rebuild(part, kept)
        return self._go_on_in(part)

    def mend_closed(self, first_position: int) -> None:
        """A part that is only read was found damaged: put what can be salvaged in its place."""
        part = next((one for one in part_files(self.folder) if one.first_position == first_position), None)
        if part is None or part == self._part:
            return
        kept, key = self._salvaged(part)
        aside = self._move_aside(part)
        log.warning("log part %s is damaged: %d records salvaged, file in %s", part.path.name, len(kept), aside)
        self.damage = self.damage.plus(Damage(parts=1, salvaged=len(kept)))
        if kept and key is not None:
            self._rebuild(part, kept)

    def _salvaged(self, part: PartFile) -> tuple[dict[int, bytes], str | None]:
        """The sealed records of a part that still open, and the name of its key."""
        for key in self._seals.names_for(part.first_position):
            seal = self._seals.of(key)
            if seal is not None:
                found = salvage(part.path, seal, PAGE_BYTES)
                if found[RECORD]:
                    return found[RECORD], key
        return {}, None

    def _rebuild(self, part: PartFile, kept: Mapping[int, bytes]) -> None:
        """Write a part anew with these sealed records; it takes its place in one step."""
        fresh = part.path.with_name(part.path.name + ".mended")
        fresh.unlink(missing_ok=True)
        tally = self.tally if self.tally.heard else Tally(heard=max(kept), stored=max(kept))
        db = self._make(fresh, part.first_position, tally)
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO record VALUES (?,?)", sorted(kept.items()))
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = DELETE")  # so that one rename moves all of it
        db.close()
        fresh.replace(part.path)
        sync_folder(self.folder)

    def _move_aside(self, part: PartFile) -> Path:
        aside = self.folder.parent / "quarantine"
        aside.mkdir(mode=0o700, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            file = part.path.with_name(part.path.name + suffix)
            if file.exists():
                file.replace(aside / file.name)
        sync_folder(self.folder)
        return aside

    # --- writing

    def append(self, bodies: Sequence[bytes], unopened: Sequence[UnopenedFrame], counts: Tally) -> int:
        """Commit records, unopened frames and counts together; the first record's position. Durable on return."""
        if self._wrote_bytes >= self.part_bytes:
            self.rotate()
        db, tally, first = self._open_db(), self.tally.plus(counts), self.head + 1
        sealed = [(number, self._seal.seal(RECORD, number, body)) for number, body in enumerate(bodies, first)]
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO record VALUES (?,?)", sealed)
            if unopened:
                self._append_unopened(db, unopened)
            db.execute("UPDATE tally SET body=?", (tally.to_json(),))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.tally = tally
        self.head += len(bodies)
        self._wrote_bytes += sum(len(body) for _, body in sealed) + sum(len(frame.body) for frame in unopened)
        return first

    def _append_unopened(self, db: sqlite3.Connection, unopened: Sequence[UnopenedFrame]) -> None:
        next_number = 1 + (db.execute("SELECT max(number) FROM unopened").fetchone()[0] or 0)
        db.executemany(
            "INSERT INTO unopened VALUES (?,?,?,?)",
            (
                (number, frame.dev_addr, frame.reason, self._seal.seal(UNOPENED, number, frame.body))
                for number, frame in enumerate(unopened, next_number)
            ),
        )

    def rotate(self) -> None:
        """Close the last part for good and begin the next."""
        self.close()  # checkpoints the write-ahead log into the file
        self._begin_part(self.head + 1)

    def reopen(self) -> None:
        """After a failed commit: read the end from disk again; `head` tells whether the commit was in it after all.

        After a failed fsync the kernel may call pages clean that never reached the disk. So what the write-ahead log
        holds is written once more, into the part itself, and synced there before anything is believed.
        """
        self.close()
        self._open_last()
        self._open_db().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError("the last part of the log is not open")
        return self._db

    def remove(self, part: PartFile) -> None:
        """Delete an old part as a whole, its key first."""
        for name in self._seals.names_for(part.first_position):
            self._seals.forget(name)
        part.unlink()

    def remove_at(self, first_position: int) -> None:
        """Delete the closed part that begins here, if it is still there."""
        for part in self.closed_parts:
            if part.first_position == first_position:
                self.remove(part)

    @property
    def last_part_first(self) -> int:
        """The first position of the part that is written."""
        return self._part.first_position

    def newest_heard(self, part: PartFile) -> Stamp | None:
        """When the last record of a closed part was heard; None when that cannot be read."""
        try:
            db = open_readonly(part.path)
        except sqlite3.Error:
            return None
        with closing(db):
            try:
                epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
                position, sealed = db.execute(
                    "SELECT position, body FROM record ORDER BY position DESC LIMIT 1"
                ).fetchone()
                seal = self._seals.of(_key_name(epoch, first))
                return None if seal is None else decode(seal.open(RECORD, position, sealed)).heard
            except (sqlite3.Error, TypeError, ValueError):
                return None

    def close(self) -> None:
        """Close the last part; the next start finds it where it is."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def closed_parts(self) -> list[PartFile]:
        """The parts that are only read, oldest first."""
        return [part for part in part_files(self.folder) if part.first_position < self._part.first_position]

    # --- reading its own end, before anything runs

    def bodies_after(self, position: int) -> Iterator[tuple[int, bytes | None]]:
        """Every record after a position, oldest first; None for one that is damaged."""
        reader = LogReader(self.folder, self._seals)
        with closing(reader):
            while batch := reader.read(position, 1000, self.head):
                yield from batch
                position = batch[-1][0]


def _key_name(epoch: str, first_position: int) -> str:
    return f"{epoch}-{first_position:012d}"


def _closed(db: sqlite3.Connection) -> bool:
    db.close()
    return False


class LogReader:
    """Reads records by position, from whichever part holds them."""

    def __init__(self, folder: Path, seals: SealRing) -> None:
        self._folder = folder
        self._seals = seals
        self._opened: tuple[PartFile, sqlite3.Connection, Seal | None] | None = None
        self._closed: tuple[PartFile, int] | None = None  # the part read last, and its last position: no longer written
        self.damaged: set[int] = set()  # first positions of parts whose file, not only a record, is damaged

    def read(self, after: int, limit: int, head: int) -> list[tuple[int, bytes | None]]:
        """Up to `limit` records with positions in (after, head], in order; None for a body that is damaged.

        Positions that no part holds are left out. Empty when nothing is there.
        """
        if self._closed is not None:  # a backlog goes on where it was: no need to look at the folder for each batch
            part, last = self._closed
            if part.first_position - 1 <= after < last and (rows := self._rows(part, after, limit, min(last, head))):
                return rows
        parts = part_files(self._folder)
        for index, part in enumerate(parts):
            is_closed = index + 1 < len(parts)
            last = parts[index + 1].first_position - 1 if is_closed else head
            if last <= after or part.first_position > head:
                continue
            rows = self._rows(part, max(after, part.first_position - 1), limit, min(last, head))
            if rows:
                self._closed = (part, last) if is_closed else None
                return rows
        return []

    def _rows(self, part: PartFile, after: int, limit: int, last: int) -> list[tuple[int, bytes | None]]:
        try:
            db, seal = self._part(part)
            rows = db.execute(
                "SELECT position, body FROM record WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
                (after, last, limit),
            ).fetchall()
        except (sqlite3.Error, TypeError, ValueError) as error:
            self.close()
            if part.path.exists():
                self.damaged.add(part.first_position)
                log.warning("log part %s cannot be read: %s", part.path.name, error)
                return [(number, None) for number in range(after + 1, min(last, after + limit) + 1)]
            return []
        return [(number, self._body(seal, number, sealed)) for number, sealed in rows]

    def _body(self, seal: Seal | None, number: int, sealed: bytes, kind: bytes = RECORD) -> bytes | None:
        if seal is None:
            return None
        try:
            return seal.open(kind, number, sealed)
        except DamagedRecord:
            return None

    def _part(self, part: PartFile) -> tuple[sqlite3.Connection, Seal | None]:
        if self._opened is not None and self._opened[0] == part:
            return self._opened[1:]
        self.close()
        db = open_readonly(part.path)
        try:
            epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
        except BaseException:
            db.close()
            raise
        self._opened = (part, db, self._seals.of(_key_name(epoch, first)))
        return self._opened[1:]

    def read_back(self, before: int, limit: int) -> list[tuple[int, bytes | None]]:
        """Up to `limit` records with positions below `before`, newest first. Empty when nothing is there."""
        for part in reversed(part_files(self._folder)):
            if part.first_position >= before:
                continue
            try:
                db, seal = self._part(part)
                rows = db.execute(
                    "SELECT position, body FROM record WHERE position < ? ORDER BY position DESC LIMIT ?",
                    (before, limit),
                ).fetchall()
            except (sqlite3.Error, TypeError, ValueError):
                self.close()
                continue
            if rows:
                return [(number, self._body(seal, number, sealed)) for number, sealed in rows]
        return []

    def unopened(self) -> Iterator[tuple[str, bytes]]:
        """Every frame that was kept unopened: why, and its bytes. Oldest first."""
        place = (0, 0)
        while page := self.unopened_after(place, 500):
            yield from ((reason, body) for _, reason, body in page if body is not None)
            place = page[-1][0]

    def unopened_after(self, place: tuple[int, int], limit: int) -> list[tuple[tuple[int, int], str, bytes | None]]:
        """Up to `limit` frames kept unopened behind a place (first position of a part, number): place, reason, bytes.

        The bytes are None where they are damaged. Empty when nothing more is there.
        """
        for part in part_files(self._folder):
            first = part.first_position
            if first < place[0]:
                continue
            try:
                db, seal = self._part(part)
                rows = db.execute(
                    "SELECT number, reason, body FROM unopened WHERE number > ? ORDER BY number LIMIT ?",
                    (place[1] if first == place[0] else 0, limit),
                ).fetchall()
            except (sqlite3.Error, TypeError, ValueError):
                self.close()
                continue
            if rows:
                return [
                    ((first, number), reason, self._body(seal, number, sealed, UNOPENED))
                    for number, reason, sealed in rows
                ]
        return []

    def close(self) -> None:
        """Close what is open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = self._closed = None
