"""Names that say nothing: the same device has the same one everywhere a key is used, and nobody else can tell whose.

A plain hash would not do: DevEUIs are few enough to try them all. Without the key a pseudonym leads nowhere, and with
another key the same device has another one, so that two destinations cannot lay their readings side by side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

SHORTEST_KEY: Final = 16  # bytes; less could be tried out
_LENGTHS: Final = {"dev_eui": 8, "id": 16, "record_id": 16}


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Pseudonyms under one key, which shows itself nowhere. ValueError when the key is too short to be one."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check the key."""
        if len(self.key) < SHORTEST_KEY:
            raise ValueError(f"a key for pseudonyms has at least {SHORTEST_KEY} bytes, this one has {len(self.key)}")

    def of(self, kind: str, name: str) -> str:
        """The pseudonym, in lower hex, for the name of a kind: "dev_eui" (16 digits), "id", "record_id" (32 digits).

        It has the shape of what it stands for, so that topics, subjects and ids stay valid.
        """
        # BLAKE2's key may be 32 bytes at most (RFC 7693), a file may hold any number; `person` keeps the kinds apart.
        key = hashlib.blake2s(self.key, person=b"pseudkey").digest()
        person = kind.encode()[: hashlib.blake2s.PERSON_SIZE]
        return hashlib.blake2s(name.encode(), key=key, digest_size=_LENGTHS[kind], person=person).hexdigest()
