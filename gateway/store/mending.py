"""Files beside the log that survive damage: each row carries a sum of itself, and what is still a row is salvaged.

`devices.sqlite3`, `network.sqlite3`, `keys.sqlite3` and `cursors.sqlite3` have no one to ask for what is lost of them,
and nobody is on the roof: a start must always succeed. So the owner of the data folder opens them with `open_mended`.
It puts single wrong bits of the write-ahead log right, looks at every row, and where something is wrong it moves the
file to quarantine and goes on with a new one that holds every row whose sum is right, wherever its bytes lie.

The sums are kept by triggers, so that no statement can forget them. What is written all the time and can be found again
in the log (counters, when a device was last seen) is not in them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.store import wal
from gateway.store.database import (
    Damaged,
    NewerFormat,
    is_disk_trouble,
    open_database,
    open_readonly,
    refuse_what_is_no_file,
    refuse_what_is_not_ours,
)
from gateway.store.pages import pages_of, rows
from gateway.store.quarantine import BESIDE, set_aside, sync_folder
from gateway.store.sums import Table, row_digest, summed_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.store.pages import Value

log = logging.getLogger(__name__)

SMALLEST = 512  # bytes of a database: SQLite makes a new one of anything less

AFTERWARDS = {
    "devices": [
        "DELETE FROM checkpoint",  # counters may be those of an earlier page: the log knows better
        "DELETE FROM revision",
        """INSERT INTO revision (number) SELECT 1 + max((SELECT coalesce(max(revision), 0) FROM device),
        (SELECT coalesce(max(revision), 0) FROM removed))""",
        "DELETE FROM session WHERE dev_eui NOT IN (SELECT dev_eui FROM device)",
    ],
    "network": [
        "DELETE FROM checkpoint",
        # Of what stands on an earlier page some may have been used since; a gap in these counters is allowed.
        "UPDATE served SET n_f_cnt_down = n_f_cnt_down + 1024, a_f_cnt_down = a_f_cnt_down + 1024",
    ],
}
"""What makes a file right again whose rows were salvaged."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that can be worked with, and what had to be done for that."""

    db: sqlite3.Connection
    damage: str  # in words; empty when nothing was wrong
    salvaged: int  # rows

    @property
    def was_damaged(self) -> bool:
        return bool(self.damage)


def open_mended(path: Path, kind: str, *, expected: bool, synchronous: str = "FULL", page_size: int = 4096) -> Opened:
    """Open a file of the data folder, whatever happened to it; made when missing.

    `expected`: it was there before, so that not to find it is damage, too. DiskTrouble and NotOurs are for others to
    act on, NewerFormat as well; nothing is changed then.
    """
    refuse_what_is_not_ours(path)
    _finish(path)
    damage = _outer_damage(path, page_size, expected=expected)
    if (
        not damage and synchronous == "FULL"
    ):  # else commits that are torn one after the other are what a power cut leaves
        damage = _damage_ahead(path, page_size)
    if not damage:
        if not path.exists():
            # Keys lie in these files, so nobody else may read them; SQLite gives its WAL the same mode.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            db = open_database(path, kind, synchronous=synchronous, page_size=page_size, any_thread=True)
        except NewerFormat as error:
            if not _is_one_bit_newer(path, kind):
                raise
            damage = error.problem
        except (Damaged, ValueError) as error:
            damage = str(error)
        else:
            damage = _inner_damage(db, kind)
            if not damage:
                return Opened(db, "", 0)
            db.close()
    salvaged = _rebuild(path, kind, page_size)
    log.warning("%s was damaged (%s): %d rows of it are back", path.name, damage, salvaged)
    db = open_database(path, kind, synchronous=synchronous, page_size=page_size, any_thread=True)
    return Opened(db, f"{path.name} was damaged: {damage}", salvaged)


def _outer_damage(path: Path, page_size: int, *, expected: bool) -> str:
    try:
        refuse_what_is_no_file(path)
    except Damaged:
        return "something else lay in its place"
    size = path.stat().st_size if path.exists() else 0
    if not size and not wal.wal_bytes(path):
        return "it was empty, or not there" if expected else ""
    if 0 < size < SMALLEST:
        return "it was cut off"
    if mended := wal.mend(path, _page_size(path) or page_size):
        log.warning("%d wrong bits in the write-ahead log of %s are right again", mended, path.name)
    return ""


def _damage_ahead(path: Path, page_size: int) -> str:
    ahead = wal.wal_bytes(path)
    if ahead and not wal.is_torn(wal.frames(ahead, (_page_size(path) if path.exists() else None) or page_size)):
        return "commits in its write-ahead log cannot be read"
    return ""


def _is_one_bit_newer(path: Path, kind: str) -> bool:
    """Whether a version that nobody knows is this one with a wrong bit: with another version comes another schema."""
    versions, schema = _schema(kind)
    with closing(open_readonly(path)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return (version ^ versions).bit_count() == 1 and _schema_of(db) == schema


@cache
def _schema(kind: str) -> tuple[int, list[tuple[str, ...]]]:
    """The newest version of a kind of file, and its schema."""
    with closing(open_database(Path(":memory:"), kind)) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        return version, _schema_of(db)


def _schema_of(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()


def _inner_damage(db: sqlite3.Connection, kind: str) -> str:
    """What is wrong with the pages and rows of a file that could be opened."""
    try:
        if _schema_of(db) != _schema(kind)[1]:
            return "its tables are not those it was made with"
        for (problem,) in db.execute("PRAGMA integrity_check(1)"):
            if problem != "ok":
                return str(problem)
        wrong = sum(_wrong_rows(db, table) for table in summed_tables(db))
    except (sqlite3.DatabaseError, ValueError) as error:
        if is_disk_trouble(error):
            raise
        return str(error)
    return f"{wrong} rows are not what was written" if wrong else ""


def _wrong_rows(db: sqlite3.Connection, table: Table) -> int:
    covered = ", ".join(table.covered)
    query = f"SELECT count(*) FROM {table.name} WHERE digest IS NOT row_digest('{table.name}', {covered})"  # noqa: S608
    (wrong,) = db.execute(query).fetchone()
    return int(wrong)


# --- salvage


def _rebuild(path: Path, kind: str, page_size: int) -> int:
    """Put a new file with everything that is still a row in place of a damaged one; how many rows."""
    fresh, salvaged = _mended(path), 0
    for suffix in BESIDE:
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with closing(open_database(fresh, kind, page_size=page_size)) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("BEGIN IMMEDIATE")
        for table, values in _rows(path, page_size, summed_tables(db)):
            marks = ",".join("?" * len(values))
            done = db.execute(f"INSERT OR IGNORE INTO {table.name} VALUES ({marks})", values)  # noqa: S608
            salvaged += done.rowcount
        for statement in AFTERWARDS.get(kind, ()):
            db.execute(statement)
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = DELETE")  # so that one rename moves all of it
    fresh.replace(_finished(path))
    sync_folder(path.parent)
    _finish(path)
    return salvaged


def _finish(path: Path) -> None:
    """What is mended takes its place once the damaged file has left it; a start after a crash goes on here."""
    finished = _finished(path)
    if finished.exists():
        if any(os.path.lexists(path.with_name(path.name + suffix)) for suffix in BESIDE):
            set_aside(path, path.parent)
        finished.replace(path)
        sync_folder(path.parent)


def _mended(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _finished(path: Path) -> Path:
    return path.with_name(path.name + ".mended")


def _rows(path: Path, page_size: int, tables: Sequence[Table]) -> list[tuple[Table, list[Value]]]:
    """Every row whose sum is right; of one that is there several times the newest first."""
    if not path.is_file():
        return []
    page_size = _page_size(path) or page_size
    pages = pages_of(path, page_size, wal.frames(wal.wal_bytes(path), page_size))
    found = []
    for number, values in rows(
        pages, page_size, lambda *row: _row_of(tables, *row) is not None, numbered=(True, False)
    ):
        if (row := _row_of(tables, number, values)) is not None:
            found.append(row)
    return found


def _row_of(tables: Sequence[Table], number: int | None, values: Sequence[Value]) -> tuple[Table, list[Value]] | None:
    """Of which table this is a row, and the row; None when its sum is not right."""
    for table in tables:
        if len(values) != len(table.columns) or table.has_numbers == (number is None):
            continue
        row = [*values]
        if table.number is not None:
            row[table.number] = number
        if row[-1] == row_digest(table.name, *(row[table.columns.index(column)] for column in table.covered)):
            return table, row
    return None


def _page_size(path: Path) -> int | None:
    """From the file's header, when that can be believed."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(18)[16:18], "big")
    size = 65_536 if size == 1 else size
    return size if size in {1 << bits for bits in range(9, 17)} else None
