"""Records at rest are sealed: nobody reads or changes them without the key of their part, and no key outlives its part.

AES-SIV (RFC 5297) because it needs no nonce: after a crash a position may be written a second time with other bytes,
and with a counter mode that would give both away. Its tag also finds every flipped bit and every record that was put
where it does not belong: the position and the kind of record are authenticated with it.

The keys lie in a file of their own. With a store key (a systemd credential, or a file outside the data folder) they
are wrapped by it (RFC 3394), and a stolen card tells nothing; without one they only make sure that what was deleted is
gone.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from gateway.errors import StorageError
from gateway.store.database import open_database, open_readonly
from gateway.store.mending import open_mended

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEY_BYTES = 32  # AES-SIV-256: two AES-128 keys
FILE_NAMES = "keys.sqlite3", "keys-copy.sqlite3"
RECORD, UNOPENED, TALLY = b"r", b"u", b"t"
_FRESH = "fresh "  # before the name of a part: the key it is being written anew with

_ROWS = "SELECT part, wrapped, material, made FROM part_key"
_PUT = "INSERT OR REPLACE INTO part_key (part, wrapped, material, made) VALUES (?,?,?,?)"


class DamagedRecord(ValueError):  # noqa: N818 - says what it is
    """The bytes are not what was sealed at this place."""


class Seal:
    """Seals and opens the records of one part."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def seal(self, kind: bytes, number: int, body: bytes) -> bytes:
        """The body as it lies on disk: 16 bytes longer."""
        return self._cipher.encrypt(body, [kind, number.to_bytes(8, "big")])

    def open(self, kind: bytes, number: int, sealed: bytes) -> bytes:
        """The body again; DamagedRecord when a bit is wrong, or the place."""
        try:
            return self._cipher.decrypt(sealed, [kind, number.to_bytes(8, "big")])
        except (InvalidTag, ValueError):
            raise DamagedRecord(f"record {number} is damaged") from None


class SealRing:
    """The keys of all parts; one writer, any number of threads that read.

    They lie in two files, for with a key all records of a part are gone: no damage to one of the files costs anything.
    """

    def __init__(self, folder: Path, store_key: bytes | None, *, reading: bool = False, expected: bool = False) -> None:
        """Open the files of keys.

        `store_key` wraps what is made from now on; 32 bytes. `reading`: beside their owner. `expected`: they were there
        before, so that not to find one is damage.
        """
        self._folder = folder
        self._store_key = store_key
        self._is_reader = reading
        self._seals: dict[str, Seal | None] = {}
        self._unmade = set[str]()
        self._files = list[sqlite3.Connection]()
        self.damage = list[str]()
        try:
            if reading:
                self._read_beside(folder)
            else:
                self._open(folder, expected=expected)
        except BaseException:
            self.close()
            raise

    def _open(self, folder: Path, *, expected: bool) -> None:
        for name in FILE_NAMES:
            # The second was not always made; what is missing there the first one has.
            opened = open_mended(folder / name, "keys", expected=expected and name == FILE_NAMES[0])
            opened.db.execute("PRAGMA secure_delete = ON")
            self._files.append(opened.db)
            self.damage += [opened.damage] if opened.damage else []
        rows = {row[0]: row for file in self._files for row in file.execute(_ROWS)}
        for file in self._files:  # what one has lost it gets back from the other
            known = {part for (part,) in file.execute("SELECT part FROM part_key")}
            file.executemany(_PUT, [row for part, row in rows.items() if part not in known])
        self._take(rows.values())

    def _read_beside(self, folder: Path) -> None:
        for name in FILE_NAMES:
            if not (folder / name).exists():
                continue  # a version before this one kept them once
            file = open_readonly(folder / name)
            self._files.append(file)
            with suppress(sqlite3.DatabaseError):
                self._take(file.execute("SELECT part, wrapped, material, 1 FROM part_key"))
                return
        raise StorageError(f"the keys in {folder} cannot be read", hint="start the gateway: it puts right what it can")

    def _take(self, rows: Iterable[tuple[str, int, bytes, int]]) -> None:
        for part, wrapped, material, made in rows:
            self._seals[part] = self._unwrap(part, bool(wrapped), material)
            if not made:
                self._unmade.add(part)

    def _unwrap(self, part: str, wrapped: bool, material: bytes) -> Seal | None:
        if not wrapped:
            return Seal(material)
        if self._store_key is None:
            raise StorageError(
                f"part {part} of the log is sealed with a store key, and none is given",
                hint="give store.key_file the key this store was made with",
            )
        try:
            return Seal(aes_key_unwrap(self._store_key, material))
        except InvalidUnwrap as error:
            raise StorageError(
                f"part {part} of the log was sealed with another store key",
                hint="give store.key_file the key this store was made with",
            ) from error
        except ValueError:
            return None  # the row itself is damaged: the part is as good as gone

    def make(self, part: str) -> Seal:
        """A key for a part that is about to be made, durable on return."""
        key = secrets.token_bytes(KEY_BYTES)
        material = key if self._store_key is None else aes_key_wrap(self._store_key, key)
        try:
            for file in self._files:
                file.execute(_PUT, (part, int(self._store_key is not None), material, 0))
        except sqlite3.OperationalError:
            self._connect_anew()
            raise
        seal = self._seals[part] = Seal(key)
        self._unmade.add(part)
        return seal

    def _connect_anew(self) -> None:
        """A file that SQLite has opened while the disk took no writing is never written through that connection."""
        for index, name in enumerate(FILE_NAMES):
            fresh = open_database(self._folder / name, "keys", any_thread=True)
            fresh.execute("PRAGMA secure_delete = ON")
            self._files[index].close()
            self._files[index] = fresh

    def confirm(self, part: str) -> None:
        """The part that a key was made for is there."""
        if part in self._unmade:
            for file in self._files:
                file.execute("UPDATE part_key SET made=1 WHERE part=?", (part,))
                file.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # rarely written, so rarely at risk
            self._unmade.discard(part)

    def make_fresh(self, part: str) -> Seal:
        """A second key for a part that is to be written anew, durable on return."""
        return self.make(_FRESH + part)

    def fresh(self, part: str) -> Seal | None:
        """The key that a part is being written anew with, if it is."""
        return self._seals.get(_FRESH + part)

    def drop_fresh(self, part: str) -> None:
        """The part was not written anew after all."""
        self.forget(_FRESH + part)

    def renew(self, part: str) -> None:
        """The fresh key takes the place of the one before, which is destroyed: its part is written anew."""
        for file in self._files:
            file.execute("BEGIN IMMEDIATE")
            try:
                if file.execute("SELECT 1 FROM part_key WHERE part=?", (_FRESH + part,)).fetchone():
                    file.execute("DELETE FROM part_key WHERE part=?", (part,))
                    file.execute("UPDATE part_key SET part=?, made=1 WHERE part=?", (part, _FRESH + part))
                file.execute("COMMIT")
            except BaseException:
                if file.in_transaction:
                    file.execute("ROLLBACK")
                raise
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        fresh = self._seals.pop(_FRESH + part, None)
        if fresh is not None:
            self._seals[part] = fresh
        self._unmade -= {part, _FRESH + part}

    def reread(self) -> bool:
        """Whether these are a reader's, and were read anew: the owner may have made others since."""
        if not self._is_reader:
            return False
        for file in self._files:
            file.close()
        self._files = []
        self._read_beside(self._folder)
        return True

    def being_renewed(self) -> list[str]:
        """The parts that have a fresh key."""
        return [name.removeprefix(_FRESH) for name in self._seals if name.startswith(_FRESH)]

    def candidates(self, part: str) -> list[Seal]:
        """The seals that a part's file may be written with just now: its own, and the one it is written anew with."""
        return [seal for name in (part, _FRESH + part) if (seal := self._seals.get(name)) is not None]

    def of(self, part: str) -> Seal | None:
        """The seal of a part; None when its key is gone, and with it everything in it."""
        return self._seals.get(part)

    def made_firsts(self) -> set[int]:
        """The first positions of the parts that were made, and whose keys nobody has forgotten."""
        return {int(name.rpartition("-")[2]) for name in self._seals if name not in self._unmade}

    def names_for(self, first_position: int) -> list[str]:
        """The names under which the key of the part that begins here may lie."""
        ending = f"-{first_position:012d}"
        return [name for name in self._seals if name.endswith(ending)]

    def forget(self, part: str) -> None:
        """Destroy a part's key: what is left of its file anywhere on the card is noise."""
        for file in self._files:
            file.execute("DELETE FROM part_key WHERE part=?", (part,))
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._seals.pop(part, None)
        self._unmade.discard(part)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()
