"""Reading the log: records by position, from whichever part holds them, while others write and remove parts."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.errors import DiskTrouble
from gateway.store.database import is_disk_trouble, open_readonly, refuse_what_is_not_ours
from gateway.store.part import PartFile, key_name, part_files
from gateway.store.seals import RECORD, TALLY, UNOPENED, DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.store.seals import Seal, SealRing

log = logging.getLogger(__name__)


class LogReader:
    """Reads records by position, from whichever part holds them."""

    def __init__(self, folder: Path, seals: SealRing) -> None:
        self._folder = folder
        self._seals = seals
        self._opened: tuple[tuple[PartFile, int], sqlite3.Connection, Seal | None] | None = None
        self._closed: tuple[PartFile, int] | None = None  # the part read last, and its last position: no longer written
        self._found_damaged: set[int] = set()
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
        rows = self._asked(
            part,
            "SELECT position, body FROM record WHERE position > ? AND position <= ? ORDER BY position LIMIT ?",
            (after, last, limit),
        )
        if rows is None:
            self.damaged.add(part.first_position)
            return []
        seal = self._opened[2] if self._opened is not None else None
        if any(number != expected for expected, (number, _) in enumerate(rows, after + 1)):
            self._find_damaged(part)  # where rows are missing, the file may hold more than SQLite can find in it
            rows = _ascending(rows, after)
        return [(number, self._body(seal, number, sealed)) for number, sealed in rows]

    def _find_damaged(self, part: PartFile) -> None:
        """Worth one look: what is not better afterwards is lost."""
        if part.first_position not in self._found_damaged:
            self._found_damaged.add(part.first_position)
            self.damaged.add(part.first_position)

    def _asked(self, part: PartFile, query: str, values: tuple[int, ...]) -> list[Any] | None:
        """The rows of a part, none of one that has left the store, None of one that is damaged; DiskTrouble."""
        try:
            return self._part(part).execute(query, values).fetchall()
        except FileNotFoundError:
            return []
        except (sqlite3.Error, OSError, TypeError, ValueError) as error:
            self.close()
            if is_disk_trouble(error):
                refuse_what_is_not_ours(part.path)
                raise DiskTrouble(f"{part.path} cannot be read just now: {error}") from error
            log.warning("log part %s cannot be read: %s", part.path.name, error)
            return None if part.path.exists() else []

    def _body(self, seal: Seal | None, number: int, sealed: object, kind: bytes = RECORD) -> bytes | None:
        if seal is None or not isinstance(sealed, bytes):
            return None
        try:
            return seal.open(kind, number, sealed) or None
        except DamagedRecord:
            if self._opened is not None and kind == RECORD:
                self._find_damaged(self._opened[0][0])
            return None

    def _part(self, part: PartFile) -> sqlite3.Connection:
        there = part.path.stat().st_ino
        if self._opened is not None and self._opened[0] == (part, there):
            return self._opened[1]
        self.close()
        db = open_readonly(part.path)
        try:
            epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
        except BaseException:
            db.close()
            raise
        self._opened = ((part, there), db, self._seal_of(key_name(epoch, first), db))
        return db

    def _seal_of(self, name: str, db: sqlite3.Connection) -> Seal | None:
        """The seal that the file was written with: while a part is written anew, there are two of them."""
        books = None
        with suppress(sqlite3.Error, TypeError):  # damaged, they keep no record from being read
            books = db.execute("SELECT body FROM tally").fetchone()[0]
        found = self._seals.candidates(name)
        if not _opens(found[:1], books) and self._seals.reread():
            found = self._seals.candidates(name)
        return next((seal for seal in found if _opens([seal], books)), found[0] if found else None)

    def read_back(self, before: int, limit: int) -> list[tuple[int, bytes | None]]:
        """Up to `limit` records with positions below `before`, newest first. Empty when nothing is there."""
        for part in reversed(part_files(self._folder)):
            if part.first_position >= before:
                continue
            query = "SELECT position, body FROM record WHERE position < ? ORDER BY position DESC LIMIT ?"
            if rows := self._asked(part, query, (before, limit)):
                seal = self._opened[2] if self._opened is not None else None
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
            query = "SELECT number, reason, body FROM unopened WHERE number > ? ORDER BY number LIMIT ?"
            if rows := self._asked(part, query, (place[1] if first == place[0] else 0, limit)):
                seal = self._opened[2] if self._opened is not None else None
                return [
                    ((first, number), reason, self._body(seal, number, sealed, UNOPENED))
                    for number, reason, sealed in rows
                ]
        return []

    def unopened_end(self) -> tuple[int, int]:
        """The place of the last frame kept unopened; (0, 0) when there is none."""
        for part in reversed(part_files(self._folder)):
            for (number,) in self._asked(part, "SELECT max(number) FROM unopened", ()) or ():
                if number is not None:
                    return part.first_position, number
        return 0, 0

    def close(self) -> None:
        """Close what is open."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = self._closed = None


def _opens(seals: Sequence[Seal], books: object) -> bool:
    """Whether the first of these opens the books of a part."""
    try:
        return bool(seals) and isinstance(books, bytes) and bool(seals[0].open(TALLY, 1, books))
    except DamagedRecord:
        return False


def _ascending(rows: Sequence[tuple[int, bytes]], after: int) -> list[tuple[int, bytes]]:
    """Pages in the wrong order give rows in the wrong order; who reads on has to get on."""
    found = []
    for number, body in rows:
        if number > after:
            found.append((number, body))
            after = number
    return found
