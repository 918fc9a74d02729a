"""Ways to damage a file, and what each one may cost."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAL_HEADER, FRAME_HEADER = 32, 24  # sqlite.org/fileformat2.html, section 4.1


def flipped(content: bytes, bit: int) -> bytes:
    """The same bytes with one bit wrong."""
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def telling_bits(content: bytes, page: int, count: int, *, wal: bool = False) -> list[int]:
    """Bits to flip: of every page some in its header and its cell pointers, and some anywhere else."""
    rng = random.Random(len(content))
    size, begin = (page + FRAME_HEADER, WAL_HEADER) if wal else (page, 0)
    bits = []
    for start in range(begin, len(content), size):
        header = start + (FRAME_HEADER if wal else 100 if start == 0 else 0)
        bits += [8 * start + rng.randrange(8 * FRAME_HEADER)] if wal else []
        bits += [
            8 * (header + rng.randrange(8)) + rng.randrange(8),
            8 * (header + 8 + rng.randrange(12)) + rng.randrange(8),
        ]
    bits += [8 * rng.randrange(min(100, len(content))) + rng.randrange(8) for _ in range(8)]
    alive = [at for at, byte in enumerate(content) if byte]
    bits += [8 * rng.choice(alive) + rng.randrange(8) for _ in range(count)]
    bits = sorted({bit for bit in bits if bit < 8 * len(content)})
    return sorted(rng.sample(bits, count)) if len(bits) > count else bits


def rearranged(content: bytes, page: int) -> Iterator[tuple[str, bytes]]:
    """Every page zeroed; some doubled, swapped, filled with garbage; the file cut and lengthened at many places."""
    rng = random.Random(len(content))
    pages = [content[at : at + page] for at in range(0, len(content), page)]
    for number in range(len(pages)):
        yield f"page {number} is zero", _with(pages, {number: bytes(len(pages[number]))})
    for _ in range(4):
        one, other = rng.sample(range(len(pages)), 2)
        yield f"page {one} is also page {other}", _with(pages, {other: pages[one]})
        yield f"pages {one} and {other} are swapped", _with(pages, {one: pages[other], other: pages[one]})
        yield f"page {one} is garbage", _with(pages, {one: rng.randbytes(page)})
    for size in sorted({0, 1, 15, 16, 99, 100, *(rng.randrange(len(content)) for _ in range(8)), len(content) - 1}):
        yield f"cut to {size} of {len(content)} bytes", content[:size]
    for more in (1, page - 1, page, 5 * page):
        yield f"{more} bytes of garbage behind it", content + rng.randbytes(more)


def _with(pages: list[bytes], changed: dict[int, bytes]) -> bytes:
    return b"".join(changed.get(number, page) for number, page in enumerate(pages))


def page_size(file: Path) -> int:
    """The page size of an SQLite file, from its header."""
    size = int.from_bytes(file.read_bytes()[16:18], "big")
    return 65_536 if size == 1 else size


def sealed_bodies(part: Path) -> dict[int, bytes]:
    """What lies in a part for each position."""
    with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT position, body FROM record"))


def destroyed(bodies: dict[int, bytes], *files: bytes) -> set[int]:
    """The positions whose bytes are nowhere any more in one piece: nobody could bring those back."""
    return {position for position, body in bodies.items() if not any(body in file for file in files)}
