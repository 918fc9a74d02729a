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
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.errors import DiskTrouble, StorageError
from gateway.model import Stamp, TimeQuality
from gateway.store.database import NewerFormat, NotOurs, is_disk_trouble, open_readonly, refuse_what_is_not_ours
from gateway.store.part import (
    PAGE_BYTES,
    Books,
    PartFile,
    Tally,
    UnopenedFrame,
    connect,
    key_name,
    make_part,
    part_files,
    part_path,
)
from gateway.store.quarantine import BESIDE, set_aside, sync_file, sync_folder
from gateway.store.reader import LogReader
from gateway.store.records import ERASED, decode
from gateway.store.salvage import Salvaged, behind_damage, salvaged_from
from gateway.store.seals import RECORD, UNOPENED
from gateway.store.wal import mend, wal_bytes, wal_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.store.seals import Seal, SealRing

log = logging.getLogger(__name__)

MAX_PART_BYTES = 64 << 20  # deletion and damage come in units of this
MIN_PART_BYTES = 1 << 20
PARTS_WITHIN_LIMIT = 16  # so that deleting one frees a sixteenth of the limit
LONG_AGO = Stamp(0, TimeQuality.CORRECTED, None, "0" * 32, 0)
SKIP_AFTER_DAMAGE = 10_000_000  # more positions than a part can hold: what a lost part held is never used again

_ERRORS = (sqlite3.Error, StorageError, OSError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Damage:
    """What was found damaged, and what became of it. Counted since the start of this process."""

    parts: int = 0  # moved aside
    salvaged: int = 0  # records of theirs that are still there
    lost: int = 0  # records of theirs that are not

    def plus(self, other: Damage) -> Damage:
        """Both together."""
        return Damage(self.parts + other.parts, self.salvaged + other.salvaged, self.lost + other.lost)


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
        self._make_room()
        self._open_last()
        self._look_at_closed_parts()

    # --- opening

    def _make_room(self) -> None:
        """The folder, with nothing in it that has the name of a part and is no file."""
        data_folder = self.folder.parent
        if os.path.lexists(self.folder) and (self.folder.is_symlink() or not self.folder.is_dir()):
            log.warning("%s is no folder, and is now in %s", self.folder, set_aside(self.folder, data_folder))
            self.damage = self.damage.plus(Damage(parts=1))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for thing in self.folder.glob("*.sqlite3"):
            if thing.stem.isdecimal() and (thing.is_symlink() or not thing.is_file()):
                log.warning("%s is no file, and is now in %s", thing, set_aside(thing, data_folder))
                self.damage = self.damage.plus(Damage(parts=1))

    def _open_last(self) -> None:
        """Go on in the newest part that can be opened, mend or move aside what cannot; make the first one."""
        self._finish_mending()
        self._finish_anew()
        beyond = 0
        for part in reversed(part_files(self.folder)):
            if not part.bytes_on_disk and not self._seals.names_for(part.first_position):
                part.unlink()  # what a version before this one left when it was cut off while making a part
                continue
            try:
                self._go_on_in(part)
            except _ERRORS as error:
                self.close()
                if _is_no_damage(error):
                    raise
                beyond = max(beyond, self._mend(part, error))
                if not part.path.exists():
                    continue
                self._go_on_in(part)
            beyond = max(beyond, self._missing_parts())
            if beyond:
                self.close()
                self._begin_part(beyond)
            return
        self.epoch = self.epoch or secrets.token_hex(4)
        self._begin_part(max(1, beyond, self._missing_parts()))

    def _go_on_in(self, part: PartFile) -> None:
        """Open a part for writing; an error when it is damaged."""
        self._mend_bits(part)
        wal = wal_bytes(part.path)  # before SQLite has made up its mind about it
        db = connect(part.path)
        try:
            epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
            seal = self._seals.of(key_name(epoch, first))
            if seal is None or first != part.first_position:
                raise ValueError("its key is not here: it belongs to another store, or was forgotten")  # noqa: TRY301
            last = db.execute("SELECT max(position) FROM record").fetchone()[0]
            books = Books.opened(db.execute("SELECT body FROM tally").fetchone()[0], seal)
            head = first - 1 if last is None else last
            if books.head is not None and books.head > head:
                raise ValueError(f"it ends at record {head}, and held more, up to {books.head}")  # noqa: TRY301
        except BaseException:
            db.close()
            raise
        self._db, self._part, self._seal, self._wrote_bytes = db, part, seal, part.bytes_on_disk
        self.epoch, self.tally, self.head = epoch, books.tally, head
        self._seals.confirm(key_name(epoch, first))
        self._take_in(behind_damage(wal, seal, self.head))
        if wal:  # into the part: what is left of it could only be damaged, or taken for something it is not
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _mend_bits(self, part: PartFile) -> None:
        if mended := mend(part.path, PAGE_BYTES):
            log.warning("%d wrong bits in the write-ahead log of part %s are right again", mended, part.path.name)

    def _take_in(self, ahead: Salvaged) -> None:
        """Records that were durable and that SQLite does not see: damage before them in the write-ahead log."""
        head = max([0, *ahead.records, *([ahead.books.head or 0] if ahead.books else [])])
        if head <= self.head:
            return
        given = range(self.head + 1, head + 1)
        gone = set(given) - ahead.records.keys()
        log.warning("%d records were behind a damaged place of the write-ahead log and are back", len(ahead.records))
        tally, told = (ahead.books.tally, ahead.books.head or 0) if ahead.books else (self.tally, self.head)
        tally = tally.plus(_stored(max(0, head - told)))
        sealed = {**ahead.records, **{at: self._seal.seal(RECORD, at, b"") for at in gone}}
        db = self._open_db()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO record VALUES (?,?)", ((at, sealed[at]) for at in given))
        db.execute("UPDATE tally SET body=?", (Books(tally, head).sealed(self._seal),))
        db.execute("COMMIT")
        self.tally, self.head = tally, head
        self.damage = self.damage.plus(Damage(salvaged=len(ahead.records), lost=len(gone)))

    def _begin_part(self, first_position: int) -> None:
        """Make a new last part: first its key, then the file, then the note that there is such a file."""
        path, key = part_path(self.folder, first_position), key_name(self.epoch, first_position)
        seal = self._seals.make(key)
        make_part(path, (self.epoch, self.gateway_eui, first_position), Books(self.tally, first_position - 1), seal)
        self._go_on_in(PartFile(path, first_position))

    def go_beyond(self, position: int) -> None:
        """This position was given once, whatever the log says: the next one is none that was ever given."""
        if position <= self.head:
            return
        log.warning("the log ends at record %d, and there was a record %d: the end is lost", self.head, position)
        self.damage = self.damage.plus(Damage(parts=1, lost=position - self.head))
        self.close()
        self._begin_part(position + 1 + SKIP_AFTER_DAMAGE)

    def _missing_parts(self) -> int:
        """Parts that were made, and that nobody has removed in order: where positions have to go on, 0 where they may.

        Their keys go, so that this is said once.
        """
        beyond, there = 0, {part.first_position for part in part_files(self.folder)}
        for first_position in self._seals.made_firsts() - there:
            log.warning("log part %s is gone, and its records with it", part_path(self.folder, first_position).name)
            self.damage = self.damage.plus(Damage(parts=1))
            if first_position > self.head:
                beyond = max(beyond, first_position + SKIP_AFTER_DAMAGE)
            for name in self._seals.names_for(first_position):
                self._seals.forget(name)
        return beyond

    def _look_at_closed_parts(self) -> None:
        """Strangers are moved aside, and removals finished: of a part whose key is gone nothing can be read."""
        for part in self.closed_parts:
            epoch, first = self._label(part)
            if epoch == self.epoch and first == part.first_position:
                if self._seals.of(key_name(epoch, first)) is None:
                    part.unlink()
            else:
                self._mend(part, ValueError("it belongs to another store, or to another place"))

    def _label(self, part: PartFile) -> tuple[str, int]:
        """Which log a part belongs to, and where in it; nonsense for one that cannot be read."""
        try:
            with closing(open_readonly(part.path)) as db:
                epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
        except _ERRORS as error:
            if not is_disk_trouble(error):
                return "", 0
            refuse_what_is_not_ours(part.path)
            raise DiskTrouble(f"{part.path} cannot be opened: {error}") from error
        return epoch, first

    # --- damage

    def mend(self, first_position: int) -> None:
        """A part was found damaged, or to have holes: put everything in its place that can be salvaged.

        Where that is no more than SQLite reads by itself nothing is done: the holes are what is lost.
        """
        part = next((one for one in part_files(self.folder) if one.first_position == first_position), None)
        if part is None:
            return
        is_last = part == self._part
        if is_last:
            self.close()
        if not self._gives_all(part):
            beyond = self._mend(part, ValueError("it cannot be read to its end"))
            if is_last:
                self._go_on_beyond(beyond)
        elif is_last:
            self._go_on_in(part)

    def _go_on_beyond(self, first_position: int) -> None:
        """After the last part was mended, or moved aside with all it held."""
        self._open_last()
        if self.head < first_position - 1:
            self.close()
            self._begin_part(first_position)

    def _gives_all(self, part: PartFile) -> bool:
        seal, visible = self._seals.of(key_name(*self._label(part))), list[int]()
        if seal is None:
            return False
        try:
            with closing(open_readonly(part.path)) as db:
                for position, sealed in db.execute("SELECT position, body FROM record ORDER BY position"):
                    seal.open(RECORD, position, sealed)
                    visible.append(position)
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            if is_disk_trouble(error):
                raise
            return False
        in_order = all(one < other for one, other in pairwise(visible))
        return in_order and salvaged_from(part, self._seals)[0].records.keys() <= {*visible}

    def _mend(self, part: PartFile, error: Exception) -> int:
        """Move a damaged part aside, and put what could be salvaged in its place, if anything.

        The position where the log may go on: above all that the part can have held; 0 when it never was ours.
        """
        found, key = salvaged_from(part, self._seals)
        seal = self._seals.of(key) if key is not None else None
        if key is not None and seal is not None and (found.records or found.unopened or found.books):
            self.epoch = self.epoch or key.partition("-")[0]
            end = self._end_of(part, found)
            books = found.books or Books(self._tally_before(part).plus(_stored(end + 1 - part.first_position)), end)
            gone = set(range(part.first_position, end + 1)) - found.records.keys()
            records = {**found.records, **{at: seal.seal(RECORD, at, b"") for at in gone}}
            unopened = ((number, *columns) for number, columns in sorted(found.unopened.items()))
            row = (key.partition("-")[0], self.gateway_eui, part.first_position)
            make_part(_mended(part), row, Books(books.tally, end), seal, sorted(records.items()), unopened)
            self.damage = self.damage.plus(Damage(lost=len(gone)))
            beyond = end + 1 + SKIP_AFTER_DAMAGE
        else:
            beyond = part.first_position + SKIP_AFTER_DAMAGE if key is not None else 0
        aside = set_aside(part.path, self.folder.parent)
        self._finish_mending()
        if not part.path.exists() and key is not None:
            self._seals.forget(key)
        log.warning(
            "log part %s is damaged (%s): %d records are salvaged, the file is in %s",
            part.path.name, error, len(found.records), aside,
        )  # fmt: skip
        self.damage = self.damage.plus(Damage(parts=1, salvaged=len(found.records)))
        return beyond

    def _end_of(self, part: PartFile, found: Salvaged) -> int:
        """The last position that a damaged part is known to have held."""
        known = [part.first_position - 1, *found.records, *([found.books.head or 0] if found.books else [])]
        following = next(
            (o.first_position for o in part_files(self.folder) if o.first_position > part.first_position), 0
        )
        between = (following - part.first_position) % SKIP_AFTER_DAMAGE if following else 0
        return max([*known, part.first_position + between - 1])

    def _finish_mending(self) -> None:
        """What is mended takes its place once the damaged file has left it; a start after a crash goes on here."""
        for fresh in self.folder.glob(f"*{_MENDED}"):
            place = fresh.with_name(fresh.name.removesuffix(_MENDED))
            if any(os.path.lexists(place.with_name(place.name + suffix)) for suffix in BESIDE):
                set_aside(place, self.folder.parent)
            fresh.replace(place)
            sync_folder(self.folder)

    def _tally_before(self, part: PartFile) -> Tally:
        """The books as they were when the part before this one was closed."""
        for other in reversed(part_files(self.folder)):
            if other.first_position >= part.first_position:
                continue
            with suppress(*_ERRORS), closing(open_readonly(other.path)) as db:
                epoch, first, body = db.execute("SELECT epoch, first_position, body FROM part, tally").fetchone()
                if (seal := self._seals.of(key_name(epoch, first))) is not None:
                    return Books.opened(body, seal).tally
        return Tally()

    # --- writing

    def append(self, bodies: Sequence[bytes], unopened: Sequence[UnopenedFrame], counts: Tally) -> int:
        """Commit records, unopened frames and counts together; the first record's position. Durable on return."""
        if self._wrote_bytes >= self.part_bytes and self.head >= self._part.first_position:
            self.rotate()
        try:
            return self._append(bodies, unopened, counts)
        except sqlite3.DatabaseError as error:
            if is_disk_trouble(error):
                raise
            self._leave_damaged_part(error)
            return self._append(bodies, unopened, counts)

    def _leave_damaged_part(self, error: Exception) -> None:
        """Damage that only an insertion meets: mend the part, and go on in the next."""
        self.close()
        self._go_on_beyond(self._mend(self._part, error))

    def _append(self, bodies: Sequence[bytes], unopened: Sequence[UnopenedFrame], counts: Tally) -> int:
        db, tally, first = self._open_db(), self.tally.plus(counts), self.head + 1
        books = Books(tally, self.head + len(bodies)).sealed(self._seal)
        sealed = [(number, self._seal.seal(RECORD, number, body)) for number, body in enumerate(bodies, first)]
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("INSERT INTO record VALUES (?,?)", sealed)
            if unopened:
                self._append_unopened(db, unopened)
            db.execute("UPDATE tally SET body=?", (books,))
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
        self._open_db().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.close()
        self._begin_part(self.head + 1)

    def reopen(self) -> None:
        """After a failed commit: read the end from disk again; `head` tells whether the commit was in it after all.

        After a failed fsync the kernel may call pages clean that never reached the disk. So what the write-ahead log
        holds is written once more, into the part itself, and synced there before anything is believed.
        """
        self.close()
        self._open_last()
        self._open_db().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sync_file(
            wal_path(self._part.path)
        )  # SQLite does not: half of what is gone from it would hide the part's pages

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
        """When the last record of a closed part was heard that was not erased; None when that cannot be read.

        Of a part in which everything was erased: long ago.
        """
        try:
            db = open_readonly(part.path)
        except sqlite3.Error:
            return None
        with closing(db):
            try:
                epoch, first = db.execute("SELECT epoch, first_position FROM part").fetchone()
                seal = self._seals.of(key_name(epoch, first))
                for position, sealed in db.execute("SELECT position, body FROM record ORDER BY position DESC"):
                    body = b"" if seal is None else seal.open(RECORD, position, sealed)
                    if body != ERASED:
                        return decode(body).heard
            except (sqlite3.Error, TypeError, ValueError):
                return None
        return LONG_AGO

    # --- writing a part anew, with a key of its own

    def prepare_anew(self, part: PartFile) -> tuple[Seal, Seal] | None:
        """The seal of a part, and the one to write it anew with at `anew_path`; None when it has left the store."""
        key = key_name(*self._label(part))
        seal = self._seals.of(key)
        if seal is None or not part.path.exists():
            return None
        return seal, self._seals.fresh(key) or self._seals.make_fresh(key)

    def take_anew(self, part: PartFile, inode: int) -> bool:
        """What was written anew takes the place of the part, and the key of what was there before is destroyed.

        False, with nothing changed, when the part is not the file any more that it was (`inode`). DiskTrouble when
        somebody reads in it just now.
        """
        key, fresh = key_name(*self._label(part)), anew_path(part)
        if not part.path.exists() or part.path.stat().st_ino != inode:
            PartFile(fresh, part.first_position).unlink()
            self._seals.drop_fresh(key)
            return False
        is_last = part == self._part
        if is_last:
            self.close()
        _empty_wal(part)
        fresh.replace(part.path)
        sync_folder(self.folder)
        for suffix in BESIDE[1:]:
            part.path.with_name(part.path.name + suffix).unlink(missing_ok=True)  # empty, and of the file before
        self._seals.renew(key)
        if is_last:
            self._go_on_in(part)
        return True

    def _finish_anew(self) -> None:
        """A start after a crash: what has taken its place keeps it, what has not is given up."""
        for key in self._seals.being_renewed():
            part = PartFile(part_path(self.folder, int(key.rpartition("-")[2])), int(key.rpartition("-")[2]))
            fresh = self._seals.fresh(key)
            if fresh is not None and part.path.exists() and _is_sealed_with(part, fresh):
                self._seals.renew(key)
            else:
                self._seals.drop_fresh(key)
        for left in self.folder.glob(f"*{_ANEW}*"):
            left.unlink(missing_ok=True)

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
            while True:
                batch = reader.read(position, 1000, self.head)
                if reader.damaged:
                    self.mend(reader.damaged.pop())
                    continue
                if not batch:
                    return
                yield from batch
                position = batch[-1][0]


_MENDED = ".mended"
_ANEW = ".anew"


def anew_path(part: PartFile) -> Path:
    """Where a part is written anew, beside its place."""
    return part.path.with_name(part.path.name + _ANEW)


def _empty_wal(part: PartFile) -> None:
    """Everything into the part itself: a write-ahead log that stayed would be taken for that of the next file."""
    with closing(connect(part.path)) as db:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise DiskTrouble(f"{part.path} is being read by somebody else just now")


def _is_sealed_with(part: PartFile, seal: Seal) -> bool:
    try:
        with closing(open_readonly(part.path)) as db:
            Books.opened(db.execute("SELECT body FROM tally").fetchone()[0], seal)
    except _ERRORS:
        return False
    return True


def _mended(part: PartFile) -> Path:
    return part.path.with_name(part.path.name + _MENDED)


def _is_no_damage(error: Exception) -> bool:
    """Whether no file may be moved aside for this: it is sound, for all that is known."""
    return isinstance(error, NewerFormat | NotOurs) or is_disk_trouble(error)


def _stored(records: int) -> Tally:
    return Tally(heard=records, stored=records)
