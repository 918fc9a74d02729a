"""A part of the log: its file, its books, and how it is made."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

import orjson

from gateway.errors import DiskTrouble
from gateway.store.database import open_database
from gateway.store.quarantine import BESIDE, sync_folder
from gateway.store.seals import TALLY, DamagedRecord

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.store.seals import Seal

PAGE_BYTES = 512
UNFINISHED = ".new"  # what is being made; without its name of a part nobody believes it


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
    erased: int = 0  # of what was stored, because a person asked for it (`erasing.py`)

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
            self.erased + other.erased,
        )


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


@dataclass(frozen=True, slots=True)
class Books:
    """What a part's only row of books says: the tally, and the last position that was given."""

    tally: Tally
    head: int | None  # None: a version of the gateway that did not write it down

    def sealed(self, seal: Seal) -> bytes:
        """For the part's row. Sealed like a record, because a flipped bit here would be a lie about all of them."""
        facts = {**asdict(self.tally), "head": self.head}
        if not self.tally.erased:
            del facts["erased"]  # a version before this one knows no such word
        return seal.seal(TALLY, 1, orjson.dumps(facts))

    @classmethod
    def opened(cls, body: bytes | str, seal: Seal) -> Self:
        """From the part's row; DamagedRecord."""
        facts = orjson.loads(body if isinstance(body, str) else seal.open(TALLY, 1, body))
        try:
            head = facts.pop("head", None)
            return cls(Tally(**facts), head)
        except (AttributeError, TypeError) as error:
            raise DamagedRecord(f"the books are no books: {error}") from error


@dataclass(frozen=True, slots=True)
class UnopenedFrame:
    """A frame that found no session, as it is kept."""

    dev_addr: int | None
    reason: str
    body: bytes


Row = tuple[int, bytes]
"""Position and sealed body."""

UnopenedRow = tuple[int, int | None, str, bytes]
"""Number, address, reason, sealed body."""


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part on disk."""

    path: Path
    first_position: int

    @property
    def bytes_on_disk(self) -> int:
        """With its write-ahead log."""
        return sum(_size(file) for file in self._files())

    def unlink(self) -> None:
        """Remove the part and what SQLite keeps beside it, and make the removal durable."""
        for file in self._files():
            file.unlink(missing_ok=True)
        sync_folder(self.path.parent)

    def _files(self) -> list[Path]:
        return [self.path.with_name(self.path.name + suffix) for suffix in BESIDE]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def part_files(folder: Path) -> list[PartFile]:
    """The parts of a log, oldest first. Other names in the folder are left alone."""
    found = [
        PartFile(path, int(path.stem))
        for path in folder.glob("*.sqlite3")
        if path.stem.isdecimal() and path.is_file() and not path.is_symlink()
    ]
    return sorted(found, key=lambda part: part.first_position)


def part_path(folder: Path, first_position: int) -> Path:
    """Where the part that begins here lies."""
    return folder / f"{first_position:012d}.sqlite3"


def key_name(epoch: str, first_position: int) -> str:
    """Under which name the key of a part lies."""
    return f"{epoch}-{first_position:012d}"


def connect(path: Path) -> sqlite3.Connection:
    """Open a part for writing."""
    return open_database(path, "log", page_size=PAGE_BYTES, any_thread=True)


def make_part(
    path: Path,
    row: tuple[str, str, int],
    books: Books,
    seal: Seal,
    records: Iterable[Row] = (),
    unopened: Iterable[UnopenedRow] = (),
) -> None:
    """Make a part with this row (epoch, gateway, first position); durable, whole and in one file on return.

    It is made beside its place and takes it in one step. So a part that has its name was once complete, also without
    its write-ahead log, and nothing of it can be explained away as "cut off while it was made".
    """
    fresh = PartFile(path.with_name(path.name + UNFINISHED), row[2])
    fresh.unlink()
    os.close(os.open(fresh.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with closing(connect(fresh.path)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO part VALUES (?,?,?)", row)
        db.execute("INSERT INTO tally VALUES (1,?)", (books.sealed(seal),))
        db.executemany("INSERT INTO record VALUES (?,?)", records)
        db.executemany("INSERT INTO unopened VALUES (?,?,?,?)", unopened)
        db.execute("COMMIT")
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise DiskTrouble(f"{fresh.path} is in use by somebody else")
    fresh.path.replace(path)
    fresh.unlink()  # what SQLite may have left beside it
    sync_folder(path.parent)
