"""Erasing one device from the files of a store, whoever it may be that asks for it (GDPR, article 17).

The log is append-only and sealed, so a record is not taken out of it: the part that holds it is written anew with a key
of its own, and the key of what was there before is destroyed. What is left of the old file anywhere on the card, in
blocks that no program can overwrite, is noise then. Where the record was, a mark says that one was erased: positions
stay what they were, and every destination comes past it.

The registry, what is remembered as a network, and the cursors are small: rows are deleted and the files written anew.

`find` and `rewrite` block and may run on any thread; what changes the files of the log runs where they are written.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from bisect import bisect_right
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.errors import DiskTrouble, StorageError
from gateway.lorawan.frame import DataFrame, JoinRequest, MalformedFrame, RejoinRequest, parse
from gateway.store.database import is_disk_trouble, open_readonly
from gateway.store.erasure_file import save_steps
from gateway.store.log import anew_path
from gateway.store.part import Books, make_part, part_files
from gateway.store.reader import LogReader
from gateway.store.records import ERASED, UnknownLayout, decode_frame, glimpse
from gateway.store.seals import RECORD, UNOPENED, DamagedRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
    from pathlib import Path

    from gateway.model import DevEui
    from gateway.store.erasure_file import Intent, Steps
    from gateway.store.log import RecordLog
    from gateway.store.part import PartFile, Row, UnopenedRow
    from gateway.store.seals import Seal, SealRing

    Write = Callable[[Callable[[], Any]], Awaitable[Any]]

SLICE = 500
BREATH_S = 0.002  # after each slice: the line goes first
ATTEMPTS, AGAIN_S = 5, 1.0  # while somebody reads a part
ERASED_FRAME = "erased"
"""The reason that stands with a frame nobody could open, once it was erased."""


class Halted(Exception):  # noqa: N818 - reads as the sentence it is
    """The gateway stops: what is not done yet is done by the next start."""


@dataclass(slots=True)
class Found:
    """What the log has of a device."""

    positions: list[int] = field(default_factory=list)
    dev_addrs: set[int] = field(default_factory=set)
    first_us: int | None = None
    last_us: int | None = None
    frames: list[tuple[int, int]] = field(default_factory=list)  # nobody could open: part, number
    parts: set[int] = field(default_factory=set)  # first positions of those that hold something

    def note(self, position: int, dev_addr: int, heard_us: int) -> None:
        self.positions.append(position)
        self.dev_addrs.add(dev_addr)
        self.first_us = heard_us if self.first_us is None else min(self.first_us, heard_us)
        self.last_us = heard_us if self.last_us is None else max(self.last_us, heard_us)


def names(phy: bytes, dev_eui: DevEui, dev_addrs: Container[int]) -> bool:
    """Whether a frame as it was on the air says that it is of this device, or has one of its addresses."""
    try:
        message = parse(phy)
    except MalformedFrame:
        return False
    match message:
        case JoinRequest() | RejoinRequest():
            return message.dev_eui == dev_eui
        case DataFrame():
            return int(message.dev_addr) in dev_addrs
    return False


def find(
    folder: Path,
    seals: SealRing,
    dev_eui: DevEui,
    dev_addrs: set[int],
    told: Callable[[int], None] = lambda _: None,
    halted: Callable[[], bool] = lambda: False,
) -> Found:
    """Everything in the log that is of a device, or has one of its addresses: these, and those its records have."""
    found = Found(dev_addrs=set(dev_addrs))
    firsts = [part.first_position for part in part_files(folder)]
    with closing(LogReader(folder, seals)) as reader:
        after = 0
        while rows := reader.read(after, SLICE, 1 << 62):
            after = rows[-1][0]
            for position, body in rows:
                _glance(found, position, body, dev_eui)
            _pause(halted)
            told(after)
        found.parts = {firsts[bisect_right(firsts, position) - 1] for position in found.positions}
        place = (0, 0)
        while page := reader.unopened_after(place, SLICE):
            place = page[-1][0]
            found.frames += [at for at, _, body in page if body and _is_theirs(body, dev_eui, found.dev_addrs)]
            _pause(halted)
    found.parts |= {first for first, _ in found.frames}
    return found


def _glance(found: Found, position: int, body: bytes | None, dev_eui: DevEui) -> None:
    if body is None or body == ERASED:
        return
    try:
        one = glimpse(body)
    except UnknownLayout:
        return
    if one.dev_eui == dev_eui:
        found.note(position, one.dev_addr, one.heard.utc_us)


def _is_theirs(body: bytes, dev_eui: DevEui, dev_addrs: set[int] | frozenset[int]) -> bool:
    try:
        return names(decode_frame(body).phy, dev_eui, dev_addrs)
    except UnknownLayout:
        return False


def _pause(halted: Callable[[], bool]) -> None:
    if halted():
        raise Halted
    time.sleep(BREATH_S)


@dataclass(slots=True)
class Rewriting:
    """Writes one part anew without what is of a device; how much that was is known afterwards."""

    dev_eui: DevEui
    dev_addrs: frozenset[int]
    halted: Callable[[], bool] = lambda: False
    records: int = 0
    frames: int = 0

    def write(self, part: PartFile, seal: Seal, fresh: Seal) -> int:
        """Write it beside its place, sealed with another key; the inode of what was read. StorageError, DiskTrouble."""
        self.records = self.frames = 0
        try:
            inode = part.path.stat().st_ino
            with closing(open_readonly(part.path)) as db:
                row = db.execute("SELECT epoch, gateway_eui, first_position FROM part").fetchone()
                books = Books.opened(db.execute("SELECT body FROM tally").fetchone()[0], seal)
                make_part(
                    anew_path(part), row, books, fresh, self._records(db, seal, fresh), self._unopened(db, seal, fresh)
                )
        except FileNotFoundError:
            raise
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            kind = DiskTrouble if is_disk_trouble(error) else StorageError
            raise kind(f"{part.path} could not be written anew: {error}") from error
        return inode

    def _records(self, db: sqlite3.Connection, seal: Seal, fresh: Seal) -> Iterator[Row]:
        rows = db.execute("SELECT position, body FROM record ORDER BY position")
        while page := rows.fetchmany(SLICE):
            for position, sealed in page:
                body = _opened(seal, RECORD, position, sealed)
                if body and _is_of(body, self.dev_eui):
                    body, self.records = ERASED, self.records + 1
                yield position, fresh.seal(RECORD, position, body)
            _pause(self.halted)

    def _unopened(self, db: sqlite3.Connection, seal: Seal, fresh: Seal) -> Iterator[UnopenedRow]:
        for number, dev_addr, reason, sealed in db.execute("SELECT * FROM unopened ORDER BY number"):
            body = _opened(seal, UNOPENED, number, sealed)
            if dev_addr in self.dev_addrs or (body and _is_theirs(body, self.dev_eui, self.dev_addrs)):
                self.frames += 1
                yield number, None, ERASED_FRAME, fresh.seal(UNOPENED, number, b"")
            else:
                yield number, dev_addr, reason, fresh.seal(UNOPENED, number, body)


class Eraser:
    """Erases a device from the parts of the log, while the gateway runs."""

    def __init__(self, folder: Path, log: RecordLog, seals: SealRing, write: Write, halted: Callable[[], bool]) -> None:
        """`write` runs something on the thread that owns the log."""
        self._folder = folder
        self._log = log
        self._seals = seals
        self._write = write
        self._halted = halted

    async def parts(
        self, intent: Intent, found: Found, steps: Steps, told: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Write every part anew that has something; each is remembered in `steps` before it takes its place."""
        await self._write(self._close_last)
        for number, part in enumerate(part_files(self._log.folder)):
            if part.first_position not in found.parts:
                continue
            rewriting = Rewriting(intent.dev_eui, frozenset(found.dev_addrs | intent.dev_addrs), self._halted)
            await self._anew(part, rewriting, steps)
            told({"parts": number + 1, "records erased": sum(records for records, _ in steps.parts.values())})

    def _close_last(self) -> None:
        """Only a closed part can be written anew without holding up what is heard."""
        if self._log.head >= self._log.last_part_first:
            self._log.rotate()

    async def _anew(self, part: PartFile, rewriting: Rewriting, steps: Steps) -> None:
        for attempt in range(ATTEMPTS):
            try:
                if await self._took_its_place(part, rewriting, steps):
                    return
            except DiskTrouble:
                if attempt + 1 == ATTEMPTS:
                    raise
                await asyncio.sleep(AGAIN_S)
            except StorageError:
                if attempt:
                    raise
                await self._write(partial(self._log.mend, part.first_position))

    async def _took_its_place(self, part: PartFile, rewriting: Rewriting, steps: Steps) -> bool:
        """True when it did, or there is nothing left of the part."""
        if part.first_position == self._log.last_part_first:  # frames that nobody could open, and no record yet
            return bool(await self._write(partial(self._at_once, part, rewriting, steps)))
        seals = await self._write(partial(self._log.prepare_anew, part))
        if seals is None:
            return True
        try:
            inode = await asyncio.to_thread(rewriting.write, part, *seals)
        except FileNotFoundError:
            return True
        await asyncio.to_thread(self._remember, part, rewriting, steps)
        return bool(await self._write(partial(self._log.take_anew, part, inode)))

    def _at_once(self, part: PartFile, rewriting: Rewriting, steps: Steps) -> bool:
        seals = self._log.prepare_anew(part)
        if seals is None:
            return True
        inode = rewriting.write(part, *seals)
        self._remember(part, rewriting, steps)
        return self._log.take_anew(part, inode)

    def _remember(self, part: PartFile, rewriting: Rewriting, steps: Steps) -> None:
        """What a part has been rid of counts once, also when it is written anew a second time."""
        records, frames = steps.parts.get(part.first_position, (0, 0))
        steps.parts[part.first_position] = max(records, rewriting.records), max(frames, rewriting.frames)
        save_steps(self._folder, steps)


def _opened(seal: Seal, kind: bytes, number: int, sealed: bytes) -> bytes:
    """The body; nothing where it is damaged, which is as gone as it was."""
    try:
        return seal.open(kind, number, sealed)
    except DamagedRecord:
        return b""


def _is_of(body: bytes, dev_eui: DevEui) -> bool:
    try:
        return body != ERASED and glimpse(body).dev_eui == dev_eui
    except UnknownLayout:
        return False
