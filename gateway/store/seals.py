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
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from gateway.errors import StorageError
from gateway.store.database import open_database, open_readonly

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

KEY_BYTES = 32  # AES-SIV-256: two AES-128 keys
RECORD, UNOPENED = b"r", b"u"


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
    """The keys of all parts; one writer, any number of threads that read."""

    def __init__(self, folder: Path, store_key: bytes | None, *, reading: bool = False) -> None:
        """Open the file of keys. `store_key` wraps what is made from now on; 32 bytes. `reading`: beside its owner."""
        file = folder / "keys.sqlite3"
        self._db: sqlite3.Connection = open_readonly(file) if reading else open_database(file, "keys", any_thread=True)
        if not reading:
            self._db.execute("PRAGMA secure_delete = ON")
        self._store_key = store_key
        self._seals: dict[str, Seal | None] = {}
        for part, wrapped, material in self._db.execute("SELECT part, wrapped, material FROM part_key"):
            self._seals[part] = self._unwrap(part, bool(wrapped), material)

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
        """A key for a new part, durable on return."""
        key = secrets.token_bytes(KEY_BYTES)
        material = key if self._store_key is None else aes_key_wrap(self._store_key, key)
        self._db.execute(
            "INSERT OR REPLACE INTO part_key VALUES (?,?,?)", (part, int(self._store_key is not None), material)
        )
        seal = self._seals[part] = Seal(key)
        return seal

    def of(self, part: str) -> Seal | None:
        """The seal of a part; None when its key is gone, and with it everything in it."""
        return self._seals.get(part)

    def names_for(self, first_position: int) -> list[str]:
        """The names under which the key of the part that begins here may lie."""
        ending = f"-{first_position:012d}"
        return [name for name in self._seals if name.endswith(ending)]

    def forget(self, part: str) -> None:
        """Destroy a part's key: what is left of its file anywhere on the card is noise."""
        self._db.execute("DELETE FROM part_key WHERE part=?", (part,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._seals.pop(part, None)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
