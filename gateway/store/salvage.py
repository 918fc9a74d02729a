"""What can still be read from a damaged part: every record whose seal holds, wherever its bytes lie.

The file is taken apart page by page without trusting any header, index or counter of it; pages of the write-ahead log
count as well, for a flipped bit there makes SQLite ignore all commits behind it. A cell is believed when its seal
opens, and the seal covers the position: nothing false can come out of this, and only what is destroyed is missing.

The layouts are those of the SQLite file format (sqlite.org/fileformat2.html, sections 1.6, 2.1 and 4.1).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from gateway.store.seals import RECORD, UNOPENED, DamagedRecord, Seal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_WAL_HEADER, _FRAME_HEADER = 32, 24
_LEAF_HEADER = 8
_MOST_VALUES = 8  # columns of a row: more is no row of ours
_MOST_BYTES = 1 << 20

Pages = dict[int, list[bytes]]  # by page number, newest image first


def salvage(file: Path, seal: Seal, page_size: int) -> dict[bytes, dict[int, bytes]]:
    """Every sealed body that still opens, by kind (RECORD, UNOPENED) and number."""
    pages = _pages(file, page_size)
    found: dict[bytes, dict[int, bytes]] = {RECORD: {}, UNOPENED: {}}
    for images in pages.values():
        for page in images:
            for number, blob in _blobs(page, pages, page_size):
                for kind, bodies in found.items():
                    if number not in bodies and _opens(seal, kind, number, blob):
                        bodies[number] = blob
    return found


def wal_bytes(file: Path) -> bytes:
    """The write-ahead log beside a database; empty when there is none."""
    wal = file.with_name(file.name + "-wal")
    return wal.read_bytes() if wal.is_file() else b""


def records_in_wal(wal: bytes, seal: Seal, page_size: int, beyond: int) -> dict[int, bytes]:
    """Sealed records of a write-ahead log with positions above `beyond`."""
    pages = _wal_pages(wal, page_size)
    found: dict[int, bytes] = {}
    for images in pages.values():
        for page in images:
            for number, blob in _blobs(page, pages, page_size):
                if number > beyond and number not in found and _opens(seal, RECORD, number, blob):
                    found[number] = blob
    return found


def _opens(seal: Seal, kind: bytes, number: int, blob: bytes) -> bool:
    try:
        seal.open(kind, number, blob)
    except DamagedRecord:
        return False
    return True


# --- pages ----------------------------------------------------------------------------------------------------------


def _pages(file: Path, page_size: int) -> Pages:
    pages = _wal_pages(wal_bytes(file), page_size)
    content = file.read_bytes() if file.exists() else b""
    for start in range(0, len(content), page_size):
        pages[start // page_size + 1].append(content[start : start + page_size].ljust(page_size, b"\0"))
    return pages


def _wal_pages(content: bytes, page_size: int) -> Pages:
    """Pages of transactions that were finished, newest first.

    A frame that carries other salts than the header is left from an earlier turn of the file, and what follows the last
    commit frame was never finished: neither may come back. Checksums are not asked, a broken one is why this runs.
    """
    frames = []
    for start in range(_WAL_HEADER, len(content) - page_size, _FRAME_HEADER + page_size):
        head, page = content[start : start + _FRAME_HEADER], content[start + _FRAME_HEADER :][:page_size]
        if len(page) == page_size and head[8:16] == content[16:24]:
            frames.append((int.from_bytes(head[:4], "big"), any(head[4:8]), page))
    while frames and not frames[-1][1]:
        frames.pop()
    pages: Pages = defaultdict(list)
    for number, _, page in frames:
        pages[number].insert(0, page)
    return pages


def _blobs(page: bytes, pages: Mapping[int, list[bytes]], page_size: int) -> Iterator[tuple[int, bytes]]:
    """Row numbers and last values of whatever looks like a row on this page."""
    for pointer in _pointers(page, page_size):
        row = _row(page, pointer, pages, page_size)
        if row is not None:
            yield row


def _pointers(page: bytes, page_size: int) -> Iterator[int]:
    """Offsets of cells: the pointer array, as long as it could be, since its length may be what is damaged."""
    for at in range(_LEAF_HEADER, page_size - 1, 2):
        pointer = int.from_bytes(page[at : at + 2], "big")
        if _LEAF_HEADER < pointer < page_size - 4:
            yield pointer
        elif pointer == 0:
            return


def _row(page: bytes, at: int, pages: Mapping[int, list[bytes]], page_size: int) -> tuple[int, bytes] | None:
    try:
        size, at = _varint(page, at)
        number, at = _varint(page, at)
        if not 0 < size <= _MOST_BYTES:
            return None
        payload = _payload(page, at, size, pages, page_size)
        return None if payload is None else (number, _last_value(payload))
    except (IndexError, ValueError):
        return None


def _payload(page: bytes, at: int, size: int, pages: Mapping[int, list[bytes]], page_size: int) -> bytes | None:
    """The bytes of a row, with what overflows into other pages."""
    most = page_size - 35
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


def _last_value(payload: bytes) -> bytes:
    """The last column of a row; in both tables it is the sealed body."""
    header_size, at = _varint(payload, 0)
    sizes = []
    while at < header_size:
        serial, at = _varint(payload, at)
        sizes.append(_value_size(serial))
        if len(sizes) > _MOST_VALUES:
            raise ValueError("no row of ours")
    start = header_size + sum(sizes[:-1])
    return payload[start : start + sizes[-1]]


def _value_size(serial: int) -> int:
    if serial >= 12:
        return (serial - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[serial]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9
