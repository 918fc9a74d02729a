"""Destinations in one process: they take readings, tell the judge, and do not always tell the gateway."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from evidence import Arrival, Terms
from fleet import Fleet
from history import Befalls, Break, Leave, Mood, Return, Silence, Slow, TurnAway

from gateway.delivery.sink import Refusal, SinkUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from judge import Judge

    from gateway.delivery.drain import Manners
    from gateway.model import Record

    Observe = Callable[[Callable[[], None]], None]

ACK_TIMEOUT_S = 20.0  # of a destination that keeps silent; as gateway.delivery.mqtt has it
QUICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Place:
    """A destination as the settings have it, and which numbers it will never take."""

    name: str
    manners: Manners
    refuses: Callable[[int], bool] = lambda _: False
    wants: Callable[[int], bool] = lambda _: True

    @property
    def terms(self) -> Terms:
        return Terms(self.manners.in_flight, 2 if self.manners.live_first else 1, self.wants)


class FarEnd:
    """What is there: a Sink and its Link (gateway.delivery.sink)."""

    def __init__(self, place: Place, observe: Observe, judge: Judge, now_us: Callable[[], int]) -> None:
        self.name = place.name
        self._place = place
        self._observe = observe
        self._judge = judge
        self._now_us = now_us
        self._up = True
        self._takes_s = QUICK_S
        self._mood: Mood | None = None
        self._gone = asyncio.Event()

    def meets(self, event: Befalls) -> None:
        """Something happens to it."""
        match event:
            case Leave():
                self._up = False
                self._gone.set()
            case Return():
                self._up = True
            case Slow(_, seconds):
                self._takes_s = seconds
            case _:
                self._mood = event

    def calms_down(self) -> None:
        """It is there, quick and honest."""
        self._up, self._takes_s, self._mood = True, QUICK_S, None

    # --- what the gateway sees of it

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Self]:
        if not self._up:
            raise SinkUnavailable("nobody answers")
        self._gone = asyncio.Event()
        self._observe(lambda: self._judge.connected(self.name))
        yield self

    async def announce(self, topic: str, facts: Any, *, retain: bool = False) -> None:
        pass

    async def lost(self) -> str:
        await self._gone.wait()
        return "went away"

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        gone = self._gone
        mood, self._mood = self._mood, None
        if not await _passes(gone, self._takes_s):
            raise SinkUnavailable("went away")
        refusals = [self._refuse(record) for record in batch if self._place.refuses(_number(record))]
        unwanted = {refusal.position for refusal in refusals}
        wanted = [record for record in batch if record.position not in unwanted]
        match mood:
            case Break(_, arrive, confirm):
                self._arrive(wanted[:arrive])
                gone.set()
                raise SinkUnavailable("broke", acknowledged=_positions(wanted[: min(arrive, confirm)]))
            case Silence():
                self._arrive(wanted)
                await _passes(gone, ACK_TIMEOUT_S)
                gone.set()
                raise SinkUnavailable("no acknowledgement")
            case TurnAway() if wanted:
                self._turn_away(wanted[0])
                self._arrive(wanted[1:])
                raise SinkUnavailable("busy", acknowledged=_positions(wanted[1:]))
        self._arrive(wanted)
        return refusals

    # --- what the judge sees of it

    def _arrive(self, records: Sequence[Record]) -> None:
        at_us = self._now_us()
        for record in records:
            arrival = Arrival.of(record)
            self._observe(lambda arrival=arrival: self._judge.received(self.name, arrival, at_us))

    def _refuse(self, record: Record) -> Refusal:
        refusal = Refusal(record.position, "not for this place")
        self._observe(lambda: self._judge.refused(self.name, record.epoch, record.position, refusal.reason))
        return refusal

    def _turn_away(self, record: Record) -> None:
        self._observe(lambda: self._judge.turned_away(self.name, record.epoch, record.position))


async def _passes(gone: asyncio.Event, seconds: float) -> bool:
    """Whether the time passes before the connection is gone."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await gone.wait()
    return not gone.is_set()


def _positions(records: Sequence[Record]) -> list[int]:
    return [record.position for record in records]


def _number(record: Record) -> int:
    return Fleet.number(record.reading.payload) or 0
