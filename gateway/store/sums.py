"""The sum that each row of a file carries of itself, and the triggers that keep it.

Kept by triggers, so that no statement can forget it. What is written all the time and can be found again in the log
(counters, when a device was last seen) is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_NOT_COVERED = {"digest", "f_cnt_up", "last_mic", "last_seen_us", "battery"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows carry sums."""

    name: str
    columns: Sequence[str]
    key: Sequence[str]
    number: int | None  # which column is the number of the row
    has_numbers: bool

    @property
    def covered(self) -> list[str]:
        """What the sum is taken of."""
        return [column for column in self.columns if column not in _NOT_COVERED]


def row_digest(*values: object) -> bytes:
    """Eight bytes that change when a bit of a row does; the first value is the name of its table."""
    return blake2s(ascii(values).encode(), digest_size=8).digest()


def summed_tables(db: sqlite3.Connection) -> list[Table]:
    """The tables whose rows carry sums: those that have a column for it."""
    found = []
    for name, sql in db.execute("SELECT name, sql FROM sqlite_schema WHERE type='table' ORDER BY name").fetchall():
        columns: list[Any] = db.execute(f"PRAGMA table_info({name})").fetchall()
        names = [column[1] for column in columns]
        if "digest" not in names:
            continue
        has_numbers = "WITHOUT ROWID" not in sql.upper()
        keys = [column for column in columns if column[5]]
        is_number = has_numbers and len(keys) == 1 and keys[0][2].upper() == "INTEGER"
        key = [column[1] for column in keys] or ["rowid"]
        found.append(Table(name, names, key, keys[0][0] if is_number else None, has_numbers))
    return found


def keep_sums(db: sqlite3.Connection) -> None:
    """Make the triggers that keep the sums, and sum up rows from before; part of a migration."""
    for table in summed_tables(db):
        covered = table.covered
        key = " AND ".join(f"{column} IS NEW.{column}" for column in table.key)
        new = ", ".join(f"NEW.{column}" for column in covered)
        for event in ("INSERT", f"UPDATE OF {', '.join(covered)}"):
            name = f"{table.name}_digest_{event.split()[0].lower()}"
            db.execute(f"DROP TRIGGER IF EXISTS {name}")
            db.execute(
                f"CREATE TRIGGER {name} AFTER {event} ON {table.name} BEGIN UPDATE {table.name}"  # noqa: S608
                f" SET digest=row_digest('{table.name}', {new}) WHERE {key}; END"
            )
        db.execute(
            f"UPDATE {table.name} SET digest=row_digest('{table.name}', {', '.join(covered)}) WHERE digest IS NULL"  # noqa: S608
        )
