"""Stand-ins that behave: time that is moved, not slept; an outbox in memory; a destination that comes and goes."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.model import GatewayEui, Reading, Record, Stamp, TimeQuality
from gateway.store.cursors import Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

BOOT_ID = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11"


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timeout, move the clock by it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.now_s += timeout
        if not ready and timeout is None:
            raise AssertionError("everything waits and nothing will ever happen")
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def run_in_virtual_time(story: Awaitable[Any]) -> Any:
    """Run a story whose waits take no time. Nothing in it may use threads or sockets."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(story)


def stamp_now() -> Stamp:
    """A stamp of the (virtual) event loop's time."""
    now_us = round(asyncio.get_running_loop().time() * 1e6)
    return Stamp(1_795_428_902_000_000 + now_us, TimeQuality.NTP, 50, BOOT_ID, now_us)


class MemoryOutbox:
    """An outbox that behaves like the store's, without a disk."""

    def __init__(self) -> None:
        self.readings: dict[int, Reading] = {}
        self.damaged: set[int] = set()
        self.erased: set[int] = set()
        self.waiting: list[tuple[int, Record]] = []  # for a disk that refuses
        self.sent_from_memory: list[Record] = []
        self.head = 0
        self.at_hand = 20
        self._progress: dict[str, Progress] = {}
        self.dead_letters: list[tuple[str, int, str]] = []
        self._grown = asyncio.Event()

    def subscribe(self, sink: str) -> None:
        self._progress[sink] = Progress.starting_at(self.head)

    def put(self, reading: Reading) -> int:
        self.head += 1
        self.readings[self.head] = reading
        self._grown.set()
        self._grown = asyncio.Event()
        return self.head

    def progress(self, sink: str) -> Progress:
        return self._progress[sink]

    async def beyond(self, position: int) -> None:
        while self.head <= position:
            await self._grown.wait()

    def stranded(self, after: int, limit: int) -> list[tuple[int, Record]]:
        return [(number, record) for number, record in self.waiting if number > after][:limit]

    def was_sent_from_memory(self, sink: str, records: Sequence[Record]) -> None:
        self.sent_from_memory += records

    def record_of(self, reading: Reading) -> Record:
        return Record(GatewayEui(bytes(8)), "ram", reading.f_cnt, reading)

    async def read(self, after: int, limit: int) -> Any:
        if after + self.at_hand < self.head:  # what came last is there at once, as the store has it in memory
            await asyncio.sleep(0)
        positions = [number for number in range(after + 1, self.head + 1) if number in self.readings][:limit]
        return _Batch(
            [self.record(number) for number in positions if number not in self.damaged | self.erased],
            [(number, number) for number in positions if number in self.damaged],
            positions[-1] if positions else after,
            [(number, number) for number in positions if number in self.erased],
        )

    def record(self, position: int) -> Record:
        return Record(GatewayEui(bytes(8)), "e", position, self.readings[position])

    async def settle(
        self, sink: str, change: Callable[[Progress], Progress], refused: Sequence[tuple[int, str]] = ()
    ) -> None:
        self._progress[sink] = change(self._progress[sink])
        self.dead_letters += [(sink, position, reason) for position, reason in refused]
        await asyncio.sleep(0)

    async def sent_again(
        self, sink: str, span: tuple[int, int], delivered: Sequence[Record], refused: Sequence[tuple[int, str]]
    ) -> None:
        dead = {position for _, position, _ in self.dead_letters}
        recovered = dead.intersection(record.position for record in delivered)
        progress = self._progress[sink].sent_again(span, len(delivered), len(recovered))
        self._progress[sink] = progress.note_dates(delivered, span)
        self.dead_letters = [letter for letter in self.dead_letters if letter[1] not in recovered]
        await asyncio.sleep(0)


@dataclass
class _Batch:
    records: list[Record]
    lost: list[tuple[int, int]]
    through: int
    erased: list[tuple[int, int]]


@dataclass
class Destination:
    """A place that takes records while it is up; `arrived` is what it has, in order, repeats included."""

    name: str = "city"
    up: bool = True
    takes_s: float = 0.01  # how long a batch takes to be confirmed
    arrived: list[tuple[float, Record]] = field(default_factory=list)
    refuses: Callable[[Record], str | None] = lambda _: None
    confirms_before_it_breaks: int | None = None  # of the next batch, then the connection is gone
    attempts_s: list[float] = field(default_factory=list)
    announced: list[tuple[str, Any]] = field(default_factory=list)
    largest_batch: int = 0
    at_once: int = 0
    most_at_once: int = 0
    _down: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def positions(self) -> list[int]:
        return [record.position for _, record in self.arrived]

    def go_down(self) -> None:
        self.up = False
        self._down.set()

    def come_back(self) -> None:
        self.up = True
        self._down = asyncio.Event()

    @asynccontextmanager
    async def connect(self) -> Any:
        self.attempts_s.append(asyncio.get_running_loop().time())
        if not self.up:
            raise SinkUnavailable("nobody answers")
        yield self

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        if not self.up:
            raise SinkUnavailable("gone")
        self.at_once += len(batch)
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.largest_batch = max(self.largest_batch, len(batch))
        try:
            await asyncio.sleep(self.takes_s)
            return self._take(batch)
        finally:
            self.at_once -= len(batch)

    def _take(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        now_s = asyncio.get_running_loop().time()
        refusals = [Refusal(record.position, why) for record in batch if (why := self.refuses(record))]
        taken = [record for record in batch if record.position not in {refusal.position for refusal in refusals}]
        if self.confirms_before_it_breaks is not None:
            confirmed = taken[: self.confirms_before_it_breaks]
            self.confirms_before_it_breaks = None
            self.arrived += [(now_s, record) for record in confirmed]
            raise SinkUnavailable("broke", acknowledged=[record.position for record in confirmed])
        self.arrived += [(now_s, record) for record in taken]
        return refusals

    async def announce(self, topic: str, facts: Any, *, retain: bool = False) -> None:
        self.announced.append((topic, facts))

    async def lost(self) -> str:
        await self._down.wait()
        return "went away"
