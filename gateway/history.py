"""What is kept, as a network server that takes history reads it: readings and unopened frames together by time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.lns.backlog import Kept
from gateway.model import Crc, RadioFrame
from gateway.store.history_file import HistoryFile
from gateway.store.queries import Span, readings, unopened_places
from gateway.uplink import OWN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.lns.backlog import Place
    from gateway.model import Reading
    from gateway.store.store import Store

SLICE = 100  # a short look: destinations are read on the same thread
COMPLETE_WITHIN_S = 6.0  # a commit interval is at most 5 s
OURS = "history"
"""The receiver of a frame that was kept as a reading: who heard it is not kept, and nobody answers it any more."""


class KeptFrames:
    """The store, for one network server; a `lns.backlog.Keeper`."""

    def __init__(self, store: Store, server: str, *, answers: bool) -> None:
        """`answers`: whether devices whose keys are here are served here."""
        self._store = store
        self._answers = answers
        self._file = HistoryFile(store.folder, server, store.epoch)
        self._place: Place | None = None

    async def place(self) -> Place:
        """Where this server stands; the end of the store when it is new."""
        if self._place is None:
            self._place = await asyncio.to_thread(self._file.load)
        if self._place is None:
            part, number = await self._store.look(lambda reader: reader.unopened_end())
            await self.settle((self._store.head, part, number))
        assert self._place is not None
        return self._place

    async def is_complete(self) -> bool:
        """Whether all that was to be kept until now is there; waits a little. Not while the disk refuses."""
        done, _ = await asyncio.wait([self._store.covered()], timeout=COMPLETE_WITHIN_S)
        return any(future.exception() is None for future in done)

    async def settle(self, place: Place) -> None:
        """The server has everything up to here. Durable on return; DiskTrouble when the disk refuses."""
        if place != self._place:
            await asyncio.to_thread(self._file.save, place)
            self._place = place

    async def frames(self, after: Place) -> AsyncGenerator[Kept, None]:
        """What is kept behind a place, dated as well as can be, in the order of hearing; ends at the end."""
        position, part, number = after
        records, frames = self._records(position), self._unopened((part, number))
        record, frame = await anext(records, None), await anext(frames, None)
        while record is not None or frame is not None:
            if frame is None or (record is not None and _heard_us(record) <= _heard_us(frame)):
                assert record is not None
                position = record.place[0]
                yield replace(record, place=(position, part, number))
                record = await anext(records, None)
            else:
                _, part, number = frame.place
                yield replace(frame, place=(position, part, number))
                frame = await anext(frames, None)

    async def _records(self, after: int) -> AsyncGenerator[Kept, None]:
        last: int | None = after
        while last is not None:
            found, last = await self._store.look(
                partial(readings, after=last, head=self._store.head, span=Span(), limit=SLICE)
            )
            for position, reading in found:
                if not reading.reread:  # the frame is there, too, where it was heard
                    yield Kept((position, 0, 0), self._dated(_frame(reading)), own=self._answers)

    async def _unopened(self, after: tuple[int, int]) -> AsyncGenerator[Kept, None]:
        place: tuple[int, int] | None = after
        while place is not None:
            found, place = await self._store.look(partial(unopened_places, place=place, limit=SLICE))
            for at, reason, frame in found:
                yield Kept((0, *at), self._dated(frame), own=self._answers and reason in OWN)

    def _dated(self, frame: RadioFrame) -> RadioFrame:
        return replace(frame, heard=self._store.date(frame.heard))


def _heard_us(kept: Kept) -> int:
    return 0 if kept.frame is None else kept.frame.heard.utc_us


def _frame(reading: Reading) -> RadioFrame:
    return RadioFrame(
        phy=reading.phy,
        heard=reading.heard,
        frequency_hz=reading.frequency_hz,
        modulation=reading.modulation,
        rssi_dbm=reading.rssi_dbm,
        snr_db=reading.snr_db,
        channel=reading.channel,
        rf_chain=reading.rf_chain,
        counter_us=0,
        crc=Crc.OK,
        receiver=OURS,
    )
