"""Opening SQLite files the way this gateway needs them: WAL, a stated sync level, a known format.

Three kinds of file share the data folder, because they must not share a fate:

- `devices.sqlite3`: what people entered (devices, keys, sessions). `synchronous=FULL`.
- `log/*.sqlite3`: the record log in parts. `synchronous=FULL`; a part is deleted as a whole or not at all.
- `cursors.sqlite3`: how far each destination is. `synchronous=NORMAL`: a kill loses nothing, a power cut may repeat
  the last second of acknowledged records, which receivers drop by record id.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from importlib import resources
from typing import TYPE_CHECKING

from gateway.errors import DiskTrouble, StorageError
from gateway.store.sums import keep_sums, row_digest

if TYPE_CHECKING:
    from pathlib import Path


class NewerFormat(StorageError):  # noqa: N818 - says what it is
    """A file was written by a newer version of the gateway: nothing about it is changed."""


class Damaged(StorageError):  # noqa: N818 - says what it is
    """A file is no database any more, or not one of its kind."""


class NotOurs(StorageError):  # noqa: N818 - says what it is
    """A file is there and sound, for all we know, but this user may not touch it: a person has to act."""


BUSY_TIMEOUT_S = 10.0  # a command and the daemon write the registry in turn; each holds it for milliseconds


def open_database(
    path: Path, kind: str, *, synchronous: str = "FULL", page_size: int = 4096, any_thread: bool = False
) -> sqlite3.Connection:
    """A connection in autocommit mode to an up-to-date database of this kind; made when missing.

    DiskTrouble when the disk refuses, NewerFormat when a newer version wrote it, else StorageError: somebody has to
    give the file back to the gateway (`NotOurs`), or it is damaged (`Damaged`).
    """
    refuse_what_is_no_file(path)
    refuse_what_is_not_ours(path)
    try:
        connection = _connect(path, synchronous, page_size, any_thread=any_thread)
        try:
            migrate(connection, kind, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.OperationalError as error:
        raise _explained(path, error) from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{path} is damaged: {error}", hint="move it away to start with an empty one") from error
    return connection


def _explained(path: Path, error: sqlite3.OperationalError) -> StorageError:
    """Why SQLite cannot work with a file: it tells permissions from a disk that refuses as little as from a folder."""
    if is_disk_trouble(error):
        refuse_what_is_not_ours(path)
        return DiskTrouble(
            f"{path} cannot be opened: {error}", hint=f"check that the folder {path.parent} exists and may be written"
        )
    return Damaged(f"{path} is damaged: {error}", hint="move it away to start with an empty one")


def refuse_what_is_not_ours(path: Path) -> None:
    """NotOurs when this process lacks the permission to read and write the file, or one that SQLite keeps beside it."""
    # Asked, not tried: to close a file that SQLite has open elsewhere in this process would let go of its locks.
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if not file.exists() or os.access(file, os.R_OK | os.W_OK):
            continue
        if os.access(file, os.R_OK) and os.statvfs(file).f_flag & os.ST_RDONLY:
            continue
        raise NotOurs(
            f"{file} may not be read and written by this user",
            hint=f"give it to the gateway: chown --reference={path.parent} {file} && chmod 600 {file}",
        )


def refuse_what_is_no_file(path: Path) -> None:
    """Damaged when something else than a file lies there: a folder, a pipe, a link to nowhere. Nothing is fine."""
    if not os.path.lexists(path):
        return
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP}:
            raise
        is_file = False
    if not is_file:
        raise Damaged(f"{path} is no file", hint="move it away to start with an empty one")


def is_disk_trouble(error: Exception) -> bool:
    """Whether the disk refuses, rather than the file being wrong: then no file may be moved aside for it."""
    if isinstance(error, DiskTrouble):
        return True
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EMFILE}
    return isinstance(error, sqlite3.OperationalError) and any(word in str(error) for word in _DISK_WORDS)


_DISK_WORDS = ("disk is full", "disk I/O error", "readonly", "read-only", "unable to open", "locked")


def _connect(path: Path, synchronous: str, page_size: int, *, any_thread: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=not any_thread)
    try:
        connection.create_function("row_digest", -1, row_digest, deterministic=True)
        connection.execute(f"PRAGMA page_size = {page_size}")
        # Refused, SQLite says so in the answer alone and goes on with a rollback journal. The end of such a commit is
        # that the journal is removed, and nothing makes the removal durable: a power cut would undo what was promised.
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal" and str(path) != ":memory:":
            raise sqlite3.OperationalError("disk I/O error: it takes no write-ahead log")  # noqa: TRY301
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        # What may not be written just now is opened for reading without a word, and would stay so for good.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; usable from any one thread at a time."""
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection, kind: str, path: Path) -> None:
    """Bring a database to the newest format in one transaction; one from a newer version is refused unchanged."""
    steps = sorted((resources.files("gateway.store") / "migrations" / kind).iterdir(), key=lambda step: step.name)
    if _version(connection) == len(steps):
        return
    if _version(connection) > len(steps):
        raise NewerFormat(
            f"{path} has format {_version(connection)}, this version knows {len(steps)}",
            hint="it was written by a newer version of the gateway; install that version again",
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _version(connection)  # again: another process may have been faster
        for step in steps[found:]:
            for statement in _statements(step.read_text(encoding="utf-8")):
                connection.execute(statement)
        keep_sums(connection)
        connection.execute(f"PRAGMA user_version = {len(steps)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def rewrite(connection: sqlite3.Connection) -> None:
    """Write a file anew, so that no page of it, and nothing beside it, holds what was deleted. DiskTrouble.

    What the card keeps of blocks that the file had before is beyond the reach of any program.
    """
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("VACUUM")
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise DiskTrouble("somebody reads a file of the data folder just now", hint="end that command, then try again")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit behind our back."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
