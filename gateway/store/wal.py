"""SQLite's write-ahead log, read without SQLite: which frames are whole, and a single wrong bit put right.

A flipped bit in this file makes SQLite take back every commit behind it without a word, because it cannot tell it from
the end that a power cut has torn. The checksums can: they are sums, so the place of one wrong bit follows from the
difference, for four bits in five. Layout and checksum are those of the SQLite file format (sqlite.org/fileformat2.html,
section 4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HEADER, FRAME_HEADER = 32, 24
_MAGIC = 0x377F0682  # the last bit says in which byte order the sums are taken
_MASK = 0xFFFFFFFF

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """A page as some commit has written it."""

    page_number: int
    ends_commit: bool
    page: bytes
    is_whole: bool  # its sum is right, given the one before


def wal_path(database: Path) -> Path:
    """Where the write-ahead log of a database lies."""
    return database.with_name(database.name + "-wal")


def wal_bytes(database: Path) -> bytes:
    """The write-ahead log beside a database; empty when there is none."""
    wal = wal_path(database)
    return wal.read_bytes() if wal.is_file() else b""


def frames(content: bytes, page_size: int, *, guess_salts: bool = False) -> list[Frame]:
    """The frames of the present turn of the file, up to the last that ends a commit.

    A frame with other salts than the header is left from an earlier turn, and what follows the last end of a commit was
    never finished: neither may come back. With a header that cannot be believed there are none; who can tell an old
    page from a new one has the salts guessed from the frames.
    """
    found: list[Frame] = []
    if len(content) < HEADER:
        return found
    salts, order = content[16:24], _order(content)
    if not _is_header(content):
        if not guess_salts:
            return found
        salts = _salts_of_frames(content, page_size)
    sums = struct.unpack(">2I", content[24:32])
    for start in range(HEADER, len(content) - page_size - FRAME_HEADER + 1, FRAME_HEADER + page_size):
        head, page = content[start : start + FRAME_HEADER], content[start + FRAME_HEADER :][:page_size]
        if head[8:16] != salts:
            sums = struct.unpack(">2I", head[16:24])
            continue
        stored = struct.unpack(">2I", head[16:24])
        whole = _sum(head[:8] + page, sums, order) == stored
        found.append(Frame(int.from_bytes(head[:4], "big"), any(head[4:8]), page, whole))
        sums = stored
    while found and not found[-1].ends_commit:
        found.pop()
    return found


def _salts_of_frames(content: bytes, page_size: int) -> bytes:
    """Those of the first frames that agree; those of the present turn come first."""
    size = FRAME_HEADER + page_size
    salts = [content[start + 8 : start + 16] for start in range(HEADER, len(content) - size + 1, size)]
    return next((one for one, other in pairwise(salts) if one == other), salts[0] if salts else b"")


def is_whole(content: bytes, page_size: int) -> bool:
    """Whether SQLite sees everything that was ever committed to this file."""
    found = frames(content, page_size)
    return _is_header(content) and all(frame.is_whole for frame in found)


def is_torn(found: Sequence[Frame]) -> bool:
    """Whether damage is in the last commit only, which then had perhaps never been synced, or nowhere."""
    last_commit = next((at + 1 for at in range(len(found) - 2, -1, -1) if found[at].ends_commit), 0)
    return all(frame.is_whole for frame in found[:last_commit])


def mend(database: Path, page_size: int) -> int:
    """Put single wrong bits of the write-ahead log right, in place; how many.

    Only before SQLite has opened the file: what it cannot read it forgets.
    """
    content = wal_bytes(database)
    if len(content) < HEADER:
        return 0
    right = bytearray(content)
    mended = _mend_header(right)
    if mended is None:
        return 0
    order, sums = _order(right), struct.unpack(">2I", right[24:32])
    for start in range(HEADER, len(right) - page_size - FRAME_HEADER + 1, FRAME_HEADER + page_size):
        bit = _wrong_bit(right, start, page_size, sums, order)
        if bit is None:
            break  # more than a bit: torn, or left from an earlier turn
        if bit >= 0:
            right[bit // 8] ^= 1 << bit % 8
            mended += 1
        sums = struct.unpack(">2I", right[start + 16 : start + 24])
    if mended:
        _write_back(wal_path(database), content, right)
    return mended


def _write_back(wal: Path, before: bytes, after: bytes | bytearray) -> None:
    with wal.open("r+b") as file:
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                file.seek(at)
                file.write(bytes([new]))


def _order(content: bytes | bytearray) -> str:
    return ">" if len(content) > 3 and content[3] & 1 else "<"


def _sum(data: bytes | bytearray, start: Sums, order: str) -> Sums:
    one, other = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        one = (one + words[at] + other) & _MASK
        other = (other + words[at + 1] + one) & _MASK
    return one, other


def _mend_header(content: bytearray) -> int | None:
    """Put a wrong bit of the header right; how many there were, None when it cannot be helped."""
    if _is_header(content):
        return 0
    for bit in range(8 * HEADER):
        content[bit // 8] ^= 1 << bit % 8
        if _is_header(content):
            return 1
        content[bit // 8] ^= 1 << bit % 8
    return None


def _is_header(content: bytes | bytearray) -> bool:
    if int.from_bytes(content[:4], "big") & ~1 != _MAGIC:
        return False
    return _sum(content[:24], (0, 0), _order(content)) == struct.unpack(">2I", content[24:32])


def _wrong_bit(content: bytearray, start: int, page_size: int, before: Sums, order: str) -> int | None:
    """The bit of a frame that is wrong, counted in the whole file; -1 when none is, None when it is not just one."""
    stored = struct.unpack(">2I", content[start + 16 : start + 24])
    salts_differ = int.from_bytes(content[start + 8 : start + 16], "big") ^ int.from_bytes(content[16:24], "big")
    covered = content[start : start + 8] + content[start + FRAME_HEADER : start + FRAME_HEADER + page_size]
    found = _sum(covered, before, order)
    if found == stored:
        if not salts_differ:
            return -1
        return _only_bit(salts_differ, start + 8)
    if salts_differ:
        return None
    in_the_sum = _only_bit((found[0] ^ stored[0]) << 32 | found[1] ^ stored[1], start + 16)
    gap = (stored[0] - found[0]) & _MASK, (stored[1] - found[1]) & _MASK
    bits = [] if in_the_sum is None else [in_the_sum]
    for word, bit in islice(_bits_that_explain(gap, covered, order), 2):
        at = start + 4 * word if word < 2 else start + FRAME_HEADER + 4 * (word - 2)
        byte = bit // 8 if order == "<" else 3 - bit // 8
        bits.append(8 * (at + byte) + bit % 8)
    # The highest bits of many words change the sums alike: then nobody can tell which it was.
    return bits[0] if len(bits) == 1 else None


def _only_bit(number: int, at: int) -> int | None:
    """The place of the only bit set in eight bytes that begin at `at`; None when it is not the only one."""
    if number == 0 or number & (number - 1):
        return None
    place = number.bit_length() - 1
    return 8 * (at + 7 - place // 8) + place % 8


def _bits_that_explain(gap: Sums, covered: bytes | bytearray, order: str) -> Iterator[tuple[int, int]]:
    """Words and bits of them that, flipped, change the sum by this much."""
    words = struct.unpack(f"{order}{len(covered) // 4}I", covered)
    even, odd = (1, 1), (0, 1)  # by how much one more in a word changes both sums, from the last pair backwards
    for pair in range(len(words) // 2 - 1, -1, -1):
        for word, (to_one, to_other) in ((2 * pair, even), (2 * pair + 1, odd)):
            for bit in range(32):
                by = -(1 << bit) if words[word] >> bit & 1 else 1 << bit
                if ((by * to_one) & _MASK, (by * to_other) & _MASK) == gap:
                    yield word, bit
        even, odd = _carried(even), _carried(odd)


def _carried(change: Sums) -> Sums:
    """What a change of the sums has become after one more pair of words."""
    one, other = change
    return (one + other) & _MASK, (one + 2 * other) & _MASK
