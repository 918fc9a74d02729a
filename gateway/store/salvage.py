"""What can still be read from a damaged part of the log: every row whose seal holds, wherever its bytes lie.

A row is believed when its seal opens, and the seal covers the number: nothing false can come out of this, and only what
is destroyed is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.store.pages import pages_ahead, pages_of, rows
from gateway.store.part import PAGE_BYTES, Books
from gateway.store.seals import RECORD, UNOPENED, DamagedRecord
from gateway.store.wal import frames, is_torn, wal_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.store.pages import Pages, Value
    from gateway.store.part import PartFile
    from gateway.store.seals import Seal, SealRing


@dataclass(slots=True)
class Salvaged:
    """What was found: sealed bodies by number, and the newest books."""

    records: dict[int, bytes] = field(default_factory=dict)
    unopened: dict[int, tuple[int | None, str, bytes]] = field(default_factory=dict)
    books: Books | None = None


def salvage(file: Path, seal: Seal) -> Salvaged:
    """Everything in a part, and in the write-ahead log beside it, that still opens."""
    return _sorted_out(pages_of(file, PAGE_BYTES, frames(wal_bytes(file), PAGE_BYTES, guess_salts=True)), seal)


def salvaged_from(part: PartFile, seals: SealRing) -> tuple[Salvaged, str | None]:
    """The same with whichever key of this place opens most, and the name of that key; None when there is no key."""
    best, name = Salvaged(), None
    for key in seals.names_for(part.first_position):
        seal = seals.of(key)
        found = salvage(part.path, seal) if seal is not None else Salvaged()
        if name is None or len(found.records) > len(best.records):
            best, name = found, key
    return best, name


def behind_damage(wal: bytes, seal: Seal, beyond: int) -> Salvaged:
    """Records above `beyond` in a write-ahead log that SQLite cannot read to its end, though it was synced; the books.

    Each commit is synced before the next one begins. So damage before the last commit is damage; in the last commit it
    is what a power cut leaves of something that nobody was promised.
    """
    found = frames(wal, PAGE_BYTES, guess_salts=True)
    if is_torn(found):
        return Salvaged()
    ahead = _sorted_out(pages_ahead(found), seal)
    ahead.records = {position: sealed for position, sealed in ahead.records.items() if position > beyond}
    return ahead


def _sorted_out(pages: Pages, seal: Seal) -> Salvaged:
    found = Salvaged()
    for _ in rows(pages, PAGE_BYTES, lambda number, values: _takes(found, seal, number, values)):
        pass
    return found


def _takes(found: Salvaged, seal: Seal, number: int | None, values: Sequence[Value]) -> bool:
    """Whether this is a row of ours; if so, it is taken, unless a newer one was there."""
    if number is None or not values or not isinstance(values[-1], bytes):
        return False
    body = values[-1]
    if _opens(seal, RECORD, number, body):
        found.records.setdefault(number, body)
    elif _opens(seal, UNOPENED, number, body):
        address, reason = (values[1], values[2]) if len(values) == 4 else (None, None)
        columns = (address if isinstance(address, int) else None, str(reason or "damaged"), body)
        found.unopened.setdefault(number, columns)
    elif number == 1 and (books := _books(body, seal)) is not None:
        if found.books is None or books.tally.heard > found.books.tally.heard:
            found.books = books
    else:
        return False
    return True


def _books(body: bytes, seal: Seal) -> Books | None:
    try:
        return Books.opened(body, seal)
    except (DamagedRecord, ValueError):
        return None


def _opens(seal: Seal, kind: bytes, number: int, blob: bytes) -> bool:
    try:
        seal.open(kind, number, blob)
    except DamagedRecord:
        return False
    return True
