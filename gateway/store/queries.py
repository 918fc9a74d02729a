"""Searching the log: by device, by time, newest first, and what nobody could open.

No column but the position is indexed (`log.py` says why), so a search by time looks at every record. It looks at the
fixed part only, about 10 µs each, and in slices, so that whoever searches inside the daemon holds nobody up. Positions
are the order of keeping; times may jump in it, because clocks do, and because what is read again keeps its first time.

`LogFiles` is for commands: the files of a data folder as they are, beside a running daemon or without one.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from gateway.errors import StorageError
from gateway.model import Record
from gateway.store.cursors import FILE_NAME, CursorFile, Progress
from gateway.store.database import open_readonly
from gateway.store.part import part_files
from gateway.store.reader import LogReader
from gateway.store.records import ERASED, Glimpse, UnknownLayout, decode, decode_frame, glimpse
from gateway.store.seals import SealRing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from gateway.model import DevEui, GatewayEui, RadioFrame, Reading, Stamp

    Date = Callable[[Stamp], Stamp]

log = logging.getLogger(__name__)

SLICE = 500  # records looked at without a pause: some milliseconds
NO_END = 1 << 62
Place = tuple[int, int]


def as_stamped(stamp: Stamp) -> Stamp:
    """The date that was believed when it was heard."""
    return stamp


@dataclass(frozen=True, slots=True)
class Span:
    """Which readings are meant: of one device, heard from a time on, heard before another. None: any.

    `date` gives the best date there is for what was heard before the time was known.
    """

    dev_eui: DevEui | None = None
    from_us: int | None = None
    to_us: int | None = None
    date: Date = as_stamped

    def takes(self, dev_eui: bytes | None, heard: Stamp) -> bool:
        """Whether a reading is one of them. A frame of nobody is of no device."""
        if self.dev_eui is not None and dev_eui != self.dev_eui:
            return False
        if self.from_us is None and self.to_us is None:
            return True
        heard_us = self.date(heard).utc_us
        return (self.from_us is None or heard_us >= self.from_us) and (self.to_us is None or heard_us < self.to_us)


@dataclass(frozen=True, slots=True)
class Seen:
    """A slice of the log as a search saw it; empty when the end is reached."""

    glimpses: list[tuple[int, Glimpse]]
    through: int | None  # the last position looked at; None at the end

    damaged: int = 0


def glimpses(reader: LogReader, after: int, head: int, limit: int = SLICE) -> Seen:
    """The fixed parts of the next records above a position, in order."""
    rows = reader.read(after, limit, head)
    found, damaged = [], 0
    for position, body in rows:
        try:
            if body == ERASED:
                continue
            if body is not None:
                found.append((position, glimpse(body)))
                continue
        except UnknownLayout as error:
            log.debug("record %d: %s", position, error)
        damaged += 1
    return Seen(found, rows[-1][0] if rows else None, damaged)


def readings(
    reader: LogReader, after: int, head: int, span: Span, limit: int = SLICE
) -> tuple[list[tuple[int, Reading]], int | None]:
    """The readings of a span among the next records above a position, and the last position looked at."""
    rows = reader.read(after, limit, head)
    found = [(position, reading) for position, body in rows if (reading := _wanted(body, span)) is not None]
    return found, rows[-1][0] if rows else None


def newest(reader: LogReader, span: Span, limit: int) -> Iterator[tuple[int, Reading]]:
    """The readings of a span that were kept last, newest first, at most `limit`."""
    before = NO_END
    while limit > 0 and (rows := reader.read_back(before, SLICE)):
        before = rows[-1][0]
        for position, body in rows:
            reading = _wanted(body, span)
            if reading is not None and limit > 0:
                limit -= 1
                yield position, reading


def reading_at(reader: LogReader, position: int) -> Reading | None:
    """The reading at a position; None when it left the store or is damaged."""
    rows = reader.read(position - 1, 1, position)
    return _wanted(rows[0][1], Span()) if rows and rows[0][0] == position else None


def unopened(reader: LogReader, place: Place, limit: int = SLICE) -> tuple[list[tuple[str, RadioFrame]], Place | None]:
    """The next frames that nobody could open, with the reason, and the last place looked at; None at the end."""
    found, last = unopened_places(reader, place, limit)
    return [(reason, frame) for _, reason, frame in found], last


def unopened_places(
    reader: LogReader, place: Place, limit: int = SLICE
) -> tuple[list[tuple[Place, str, RadioFrame]], Place | None]:
    """The same, each with the place where it lies."""
    rows = reader.unopened_after(place, limit)
    found = []
    for at, reason, body in rows:
        try:
            if body is not None:
                found.append((at, reason, decode_frame(body)))
        except UnknownLayout as error:
            log.debug("a frame: %s", error)
    return found, rows[-1][0] if rows else None


def _wanted(body: bytes | None, span: Span) -> Reading | None:
    if body is None:
        return None
    try:
        seen = glimpse(body)
        return decode(body) if span.takes(seen.dev_eui, seen.heard) else None
    except UnknownLayout:
        return None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that a destination refuses for good; the reading is None when it has left the store."""

    position: int
    reason: str
    refused_us: int
    reading: Reading | None


class LogFiles:
    """The files of a data folder, read beside whoever owns them. Nothing is changed, nobody is kept out."""

    def __init__(
        self, folder: Path, gateway_eui: GatewayEui, store_key: bytes | None = None, date: Date = as_stamped
    ) -> None:
        """Open what is there; a folder without a log is an empty log. StorageError when it cannot be read."""
        self._folder = folder
        self.gateway_eui = gateway_eui
        self.date = date
        self._seals: SealRing | None = None
        self.epoch, self.head = "", 0
        self.damaged = 0  # records that were met and could not be read
        try:
            # The parts first, then the keys: a key is there before its part.
            for part in reversed(part_files(folder / "log")):
                self.epoch, self.head = _end_of(part.path)
                if self.epoch:
                    break
            if self.epoch:
                self._seals = SealRing(folder, store_key, reading=True)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"the log in {folder} cannot be read: {error}",
                hint="run as the gateway's user: sudo -u lorawan-gateway …",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._seals is not None:
            self._seals.close()

    def _reader(self) -> LogReader | None:
        return None if self._seals is None else LogReader(self._folder / "log", self._seals)

    def record_id(self, position: int) -> str:
        """The name of the copy at a position, also of one that has left the store."""
        return f"{self.gateway_eui}-{self.epoch}-{position}"

    def record(self, position: int, reading: Reading) -> Record:
        """A reading with its place and its date, as every destination gets it."""
        return Record(self.gateway_eui, self.epoch, position, self._dated(reading), late=reading.reread)

    def _dated(self, reading: Reading) -> Reading:
        return replace(reading, heard=self.date(reading.heard))

    # --- readings and frames

    def newest(self, span: Span, limit: int) -> Iterator[Record]:
        """The readings of a span that were kept last, newest first."""
        if (reader := self._reader()) is None:
            return
        with closing(reader):
            for position, reading in newest(reader, span, limit):
                yield self.record(position, reading)

    def records(self, span: Span) -> Iterator[Record]:
        """All readings of a span in the order of keeping, up to the end as it was when this was opened."""
        if (reader := self._reader()) is None:
            return
        with closing(reader):
            after = 0
            while rows := reader.read(after, SLICE, self.head):
                after = rows[-1][0]
                self.damaged += sum(body is None for _, body in rows)
                for position, body in rows:
                    reading = _wanted(body, span)
                    if reading is not None:
                        yield self.record(position, reading)

    def everything(self, span: Span) -> Iterator[Record | tuple[str, RadioFrame]]:
        """Readings and unopened frames, each in its order of keeping, together by time."""
        return heapq.merge(self.records(span), self.unopened(span), key=_heard_us)

    def unopened(self, span: Span) -> Iterator[tuple[str, RadioFrame]]:
        """The frames that nobody could open, with the reason."""
        if (reader := self._reader()) is None:
            return
        with closing(reader):
            place: Place | None = (0, 0)
            while place is not None:
                frames, place = unopened(reader, place)
                for reason, frame in frames:
                    if span.takes(None, frame.heard):
                        yield reason, replace(frame, heard=self.date(frame.heard))

    # --- destinations

    def progress(self, sink: str) -> Progress | None:
        """How far a destination is; None when this log does not know it."""
        with self._cursors() as cursors:
            return None if cursors is None else cursors.load(sink, self.epoch)

    def dead_letters(self, sink: str) -> list[DeadLetter]:
        """What a destination refuses for good, oldest first."""
        with self._cursors() as cursors:
            found = [] if cursors is None else cursors.dead_letters(sink, self.epoch)
        if not found or (reader := self._reader()) is None:
            return []
        with closing(reader):
            return [
                DeadLetter(
                    position,
                    reason,
                    refused_us,
                    None if (reading := reading_at(reader, position)) is None else self._dated(reading),
                )
                for position, reason, refused_us in found
            ]

    def lost(self) -> dict[tuple[str, str], int]:
        """How many records were lost, by destination and reason."""
        with self._cursors() as cursors:
            return {} if cursors is None else cursors.lost()

    def _cursors(self) -> _Opened:
        return _Opened(self._folder)


class _Opened:
    """The file of cursors, open for a moment; None when there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: CursorFile | None = None

    def __enter__(self) -> CursorFile | None:
        if (self._folder / FILE_NAME).exists():
            self._file = CursorFile(self._folder, reading=True)
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _end_of(path: Path) -> tuple[str, int]:
    """Epoch and last position of the newest part; an empty epoch when it was never finished being made."""
    with closing(open_readonly(path)) as db:
        made = db.execute("SELECT epoch, first_position FROM part").fetchone()
        if made is None:
            return "", 0
        epoch, first = made
        last = db.execute("SELECT max(position) FROM record").fetchone()[0]
        return epoch, first - 1 if last is None else last


def _heard_us(item: Record | tuple[str, RadioFrame]) -> int:
    return item.reading.heard.utc_us if isinstance(item, Record) else item[1].heard.utc_us
