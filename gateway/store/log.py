"""The record log: append-only, in parts, positions that never repeat.

A part is one SQLite file named by its first position. Only the last one is written; whole old ones are deleted, never
rows, so deletion costs the same at any size and needs no vacuum. Damage stays inside one file.

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
from gateway.store.database import open_database, open_readonly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

MAX_PART_BYTES = 64 << 20  # deletion and damage come in units of this
MIN_PART_BYTES = 1 << 20
PARTS_WITHIN_LIMIT = 16  # so that deleting one frees a sixteenth of the limit
SKIP_AFTER_DAMAGE = 10_000_000  # more positions than a part can hold: what a lost part held is never used again


@dataclass(frozen=True, slots=True)
class Tally:
    """The books of the way up: heard = filtered + stored + dropped."""

    heard: int = 0
    stored: int = 0
    filtered: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    unopened_kept: int = 0

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
    """The end of the log, where records are appended."""

    def __init__(self, folder: Path, gateway_eui: str, max_bytes: int) -> None:
        self.folder = folder
        self.gateway_eui = gateway_eui
        self.max_bytes = max_bytes
        self.part_bytes = min(MAX_PART_BYTES, max(MIN_PART_BYTES, max_bytes // PARTS_WITHIN_LIMIT))
        self.quarantined = 0
        self.tally = Tally()
        self.epoch = ""
        self.head = 0  # the last position given
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open_last()

    # --- opening

    def _open_last(self) -> None:
        """Open the newest part that can be opened; move damaged ones aside; make the first one."""
        skip_to = 0
        for part in reversed(part_files(self.folder)):
            try:
                db = open_database(part.path, "log", any_thread=True)
            except StorageError as error:
                skip_to = max(skip_to, part.first_position + SKIP_AFTER_DAMAGE)
                self._quarantine(part, error)
                continue
            try:
                if self._read_end(db, part):
                    if skip_to:
                        db.close()
                        self._begin_part(skip_to)
                    return
            except (sqlite3.DatabaseError, TypeError, ValueError) as error:
                db.close()
                skip_to = max(skip_to, part.first_position + SKIP_AFTER_DAMAGE)
                self._quarantine(part, error)
                continue
            db.close()
            part.unlink()  # cut off while it was made: it never held anything
        self.epoch = secrets.token_hex(4)
        self._begin_part(max(1, skip_to))

    def _read_end(self, db: sqlite3.Connection, part: PartFile) -> bool:
        """Go on where this part ends; False when it was never finished being made."""
        made = db.execute("SELECT epoch, first_position FROM part").fetchone()
        if made is None:
            return False
        self.epoch, first = made
        last = db.execute("SELECT max(position) FROM record").fetchone()[0]
        self.head = first - 1 if last is None else last
        self.tally = Tally.from_json(db.execute("SELECT body FROM tally").fetchone()[0])
        self._db, self._part, self._wrote_bytes = db, part, part.bytes_on_disk
        return True

    def _begin_part(self, first_position: int) -> None:
        """Make a new last part. It counts once its first row is durable; cut off before that, it is made again."""
        path = self.folder / f"{first_position:012d}.sqlite3"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = open_database(path, "log", any_thread=True)
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO part VALUES (?,?,?)", (self.epoch, self.gateway_eui, first_position))
        db.execute("INSERT INTO tally VALUES (1,?)", (self.tally.to_json(),))
        db.execute("COMMIT")
        sync_folder(self.folder)
        self._db, self._part, self._wrote_bytes = db, PartFile(path, first_position), 0
        self.head = first_position - 1

    def _quarantine(self, part: PartFile, error: Exception) -> None:
        aside = self.folder.parent / "quarantine"
        aside.mkdir(mode=0o700, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            file = part.path.with_name(part.path.name + suffix)
            if file.exists():
                file.replace(aside / file.name)
        sync_folder(self.folder)
        self.quarantined += 1
        log.warning("log part %s is damaged (%s): moved to %s, going on with a new one", part.path.name, error, aside)

    # --- writing

    def append(self, bodies: Sequence[bytes], unopened: Sequence[UnopenedFrame], counts: Tally) -> int:
        """Commit records, unopened frames and counts together; the first record's position. Durable on return."""
        if self._wrote_bytes >= self.part_bytes:
            self.rotate()
        tally = self.tally.plus(counts)
        first = self.head + 1
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO record VALUES (?,?)", enumerate(bodies, first))
            if unopened:
                self._db.executemany(
                    "INSERT INTO unopened (dev_addr, reason, body) VALUES (?,?,?)",
                    ((frame.dev_addr, frame.reason, frame.body) for frame in unopened),
                )
            self._db.execute("UPDATE tally SET body=?", (tally.to_json(),))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.tally = tally
        self.head += len(bodies)
        self._wrote_bytes += sum(map(len, bodies)) + sum(len(frame.body) for frame in unopened)
        return first

    def rotate(self) -> None:
        """Close the last part for good and begin the next."""
        self._db.close()  # checkpoints the write-ahead log into the file
        self._begin_part(self.head + 1)

    def reopen(self) -> None:
        """After a failed commit: read the end from disk again; `head` tells whether the commit was in it after all.

        After a failed fsync the kernel may call pages clean that never reached the disk. So what the write-ahead log
        holds is written once more, into the part itself, and synced there before anything is believed.
        """
        self._db.close()
        self._open_last()
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the last part; the next start finds it where it is."""
        self._db.close()

    # --- reading its own end, before anything runs

    def bodies_after(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Every record after a position, oldest first."""
        reader = LogReader(self.folder)
        with closing(reader):
            while batch := reader.read(position, 1000):
                yield from batch
                position = batch[-1][0]


class LogReader:
    """Reads records by position, from whichever part holds them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: tuple[PartFile, sqlite3.Connection] | None = None

    def read(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` records with positions above `after`, in order. Empty when there are none yet."""
        parts = part_files(self._folder)
        for index, part in enumerate(parts):
            following = parts[index + 1].first_position if index + 1 < len(parts) else None
            if following is not None and following <= after + 1:
                continue
            rows = (
                self._connection(part)
                .execute(
                    "SELECT position, body FROM record WHERE position > ? ORDER BY position LIMIT ?", (after, limit)
                )
                .fetchall()
            )
            if rows:
                return rows
        return []

    def _connection(self, part: PartFile) -> sqlite3.Connection:
        if self._open is not None and self._open[0] == part:
            return self._open[1]
        self.close()
        self._open = (part, open_readonly(part.path))
        return self._open[1]

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
