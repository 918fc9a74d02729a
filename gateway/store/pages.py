"""The rows of an SQLite file, page by page, without trusting any header, index or counter of it.

Whoever reads like this must know a row when he sees one: what comes out may be stale, or no row at all. The layouts
are those of the SQLite file format (sqlite.org/fileformat2.html, sections 1.6 and 2.1).
"""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.store.wal import Frame

Value = int | float | str | bytes | None
Row = tuple[int | None, list[Value]]
"""The number of a row, where its table has such, and its columns."""

_LEAF_HEADER = 8
_MOST_VALUES = 32  # columns of a row: more is no row of ours
_MOST_BYTES = 1 << 20

Pages = dict[int, list[bytes]]  # by page number, newest image first


def pages_of(file: Path, page_size: int, ahead: Sequence[Frame]) -> Pages:
    """All images of all pages of a file, with those of its write-ahead log."""
    found = pages_ahead(ahead)
    content = file.read_bytes() if file.is_file() else b""
    for start in range(0, len(content), page_size):
        found[start // page_size + 1].append(content[start : start + page_size].ljust(page_size, b"\0"))
    return found


def pages_ahead(ahead: Sequence[Frame]) -> Pages:
    """The images of a write-ahead log alone."""
    found: Pages = defaultdict(list)
    for frame in ahead:
        found[frame.page_number].insert(0, frame.page)
    return found


def rows(
    pages: Pages,
    page_size: int,
    is_sound: Callable[[int | None, list[Value]], bool],
    *,
    numbered: Sequence[bool] = (True,),
) -> Iterator[Row]:
    """Whatever looks like a row; of one that is there several times the newest first.

    `is_sound` knows a row when it sees one: on a page where pointers lead to something else, too, every place is tried.
    `numbered`: whether the rows wanted have numbers, or belong to tables without (WITHOUT ROWID).
    """
    for images in [*pages.values()]:
        for page in images:
            sound, wrong = set[int](), 0
            for pointer in _pointers(page, page_size):
                before = len(sound)
                for with_number in numbered:
                    row = _row(page, pointer, pages, page_size, numbered=with_number)
                    if row is not None and is_sound(*row):
                        sound.add(pointer)
                        yield row
                wrong += len(sound) == before
            if sound and (wrong or len(sound) != int.from_bytes(page[3:5], "big")):
                places = range(_LEAF_HEADER, page_size - 4)
                found = (_row(page, at, pages, page_size, numbered=which) for at in places for which in numbered)
                yield from (row for row in found if row is not None and is_sound(*row))


def _pointers(page: bytes, page_size: int) -> Iterator[int]:
    """Offsets of cells: the pointer array, as long as it could be, since its length may be what is damaged."""
    for header in (0, 100):  # the first page begins with the header of the file
        for at in range(header + _LEAF_HEADER, page_size - 1, 2):
            pointer = int.from_bytes(page[at : at + 2], "big")
            if _LEAF_HEADER < pointer < page_size - 4:
                yield pointer
            elif pointer == 0:
                break
        if page[:6] != b"SQLite":
            return


def _row(page: bytes, at: int, pages: Mapping[int, list[bytes]], page_size: int, *, numbered: bool) -> Row | None:
    """The cell of a table with row numbers, or of one without."""
    try:
        size, at = _varint(page, at)
        number: int | None = None
        if numbered:
            number, at = _varint(page, at)
        if not 0 < size <= _MOST_BYTES:
            return None
        payload = _payload(page, at, size, pages, page_size, numbered=numbered)
        return None if payload is None else (number, _values(payload))
    except (IndexError, ValueError, struct.error):
        return None


def _payload(
    page: bytes, at: int, size: int, pages: Mapping[int, list[bytes]], page_size: int, *, numbered: bool
) -> bytes | None:
    """The bytes of a row, with what overflows into other pages."""
    most = page_size - 35 if numbered else (page_size - 12) * 64 // 255 - 23
    if size <= most:
        return page[at : at + size]
    least = (page_size - 12) * 32 // 255 - 23
    here = least + (size - least) % (page_size - 4)
    here = here if here <= most else least
    payload, next_page = page[at : at + here], int.from_bytes(page[at + here : at + here + 4], "big")
    while len(payload) < size:
        images = pages.get(next_page)
        if not images:
            return None
        payload += images[0][4 : 4 + size - len(payload)]
        next_page = int.from_bytes(images[0][:4], "big")
    return payload


def _values(payload: bytes) -> list[Value]:
    header_size, at = _varint(payload, 0)
    kinds = []
    while at < header_size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
        if len(kinds) > _MOST_VALUES:
            raise ValueError("no row of ours")
    values, at = list[Value](), header_size
    for kind in kinds:
        size = _size(kind)
        if at + size > len(payload):
            raise ValueError("no row of ours")
        values.append(_value(kind, payload[at : at + size]))
        at += size
    return values


def _value(kind: int, content: bytes) -> Value:
    if kind == 0:
        return None
    if kind <= 6:
        return int.from_bytes(content, "big", signed=True)
    if kind == 7:
        (number,) = struct.unpack(">d", content)
        return float(number)
    if kind in (8, 9):
        return kind - 8
    if kind < 12:
        raise ValueError("no kind of value")
    return content.decode() if kind % 2 else content


def _size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9
