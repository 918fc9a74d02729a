"""A Concentrator without hardware: a simulated chip among simulated devices that send real, encrypted frames.

Virtual time starts with the radio and runs `speed` times as fast as the clock on the wall, in steps of one poll. All
that happens in it is decided by the scenario, the seed and the time of day it started at.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from gateway.errors import UsageError
from gateway.model import TxReport, TxResult
from gateway.radio.concentrator import QUEUE_FRAMES, RadioHealth
from gateway.simulator.air import Air
from gateway.simulator.chance import Chance
from gateway.simulator.chip import SimulatedChip, TxRefused
from gateway.simulator.devices import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from gateway.model import DevEui, DownlinkRequest, RadioFrame, Stamp
    from gateway.simulator.devices import Resident
    from gateway.simulator.scenario import Scenario

T = TypeVar("T")

RECEIVER = "virtual"
"""The name of the chip in `RadioFrame.receiver`."""

POLL_S = 0.01
"""Semtech's packet forwarder polls its chip as often."""

STEP_US = 1_000_000
"""The most that virtual time moves at once; between two steps the rest of the program has its turn."""

SILENT_US = 60_000_000
"""Virtual time without a frame after which a city is called silent, unless its devices report more seldom."""


class VirtualRadio:
    """The city of a scenario, as one gateway hears it.

    The scenario's own seed says who lives there. `seed` says what happens: fading, timing, collisions; it is the
    scenario's where it is None. `f_cnt_up` are the last counters of devices that a store already knows: those count on,
    as devices do that were never switched off.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        stamp: Callable[[], Stamp],
        seed: int | None = None,
        speed: float = 1.0,
        f_cnt_up: Mapping[DevEui, int] | None = None,
        queue_frames: int = QUEUE_FRAMES,
    ) -> None:
        """UsageError for a speed that is no pace."""
        if not (math.isfinite(speed) and speed > 0):
            raise UsageError(
                f"A virtual city cannot run at speed {speed}", hint="1 is the pace of the clock on the wall"
            )
        self._scenario = scenario
        self._stamp = stamp
        self._speed = speed
        self._residents = list(scenario.residents())
        self._f_cnt_up = dict(f_cnt_up or {})
        self._chance = Chance(scenario.seed if seed is None else seed)
        air_chance = self._chance.about("air")
        self._air = Air(air_chance)
        self._chip = SimulatedChip(self._air, air_chance, name=RECEIVER, clock=lambda: self._now_us, stamp=self._stamp)
        self._now_us = 0  # virtual
        self._last_heard_us: int | None = None
        self._heard = 0
        self._frames: _Stream[RadioFrame] = _Stream(queue_frames)
        self._outcomes: _Stream[TxReport] = _Stream(queue_frames)
        self._accepted: list[tuple[int, int, str]] = []  # end, order, ref: a heap
        self._order = count()
        self._silent_us = max([SILENT_US, *(3 * resident.interval_us for resident in self._fastest())])
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        settle(
            self._residents,
            self._air,
            [self._chip],
            self._chance.about("devices"),
            start_utc_us=self._stamp().utc_us,
            f_cnt_up=self._f_cnt_up,
        )
        self._task = asyncio.create_task(self._run(), name="virtual air")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await asyncio.wait([task])
            finally:
                self._end()  # here and not in the task: one that is cancelled before its first step never runs

    def frames(self) -> AsyncIterator[RadioFrame]:
        """What is heard, damaged frames too, in the order of hearing. Ends when the radio is closed and all is read."""
        return self._frames.read()

    def outcomes(self) -> AsyncIterator[TxReport]:
        """SENT when an accepted downlink has left the antenna, RADIO_UNREACHABLE when the radio was closed before."""
        return self._outcomes.read()

    def submit(self, request: DownlinkRequest) -> TxReport:
        """Give it to the chip, or say why the chip does not take it."""
        if self._task is None or self._task.done():
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, "the virtual radio is not running")
        if request.receiver != RECEIVER:
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, f"there is no receiver {request.receiver} here")
        answer = self._chip.send(request)
        if isinstance(answer, TxRefused):
            return TxReport(request.ref, answer.result, answer.detail)
        heapq.heappush(self._accepted, (answer.end_us, next(self._order), request.ref))
        return TxReport(request.ref, TxResult.ACCEPTED)

    def health(self) -> RadioHealth:
        """What the air is like, and what the chip made of it."""
        state, words = self._verdict()
        pace = "" if self._speed == 1 else f", time runs {self._speed:g} times as fast"
        chip, devices = self._chip.health(), len(self._residents)
        return RadioHealth(
            type="virtual",
            state=state,
            evidence=f"Virtual air: {devices} device{'s'[: devices != 1]}, {words}{pace}",
            heard=self._heard,
            dropped=self._frames.dropped,
            receivers=(
                {
                    "name": RECEIVER,
                    "counter_us": self._chip.counter_us(),
                    "heard": chip.heard,
                    "damaged": chip.damaged,
                    "sent": chip.sent,
                    "lost": chip.lost,
                },
            ),
        )

    def _verdict(self) -> tuple[str, str]:
        if self._failure is not None:
            return "failed", f"stopped by a fault of the simulator: {self._failure!r}"
        if self._task is None:
            return "waiting", "not open"
        if self._last_heard_us is None:
            return ("silent" if self._now_us > self._silent_us else "waiting"), "no frame yet"
        quiet_us = self._now_us - self._last_heard_us
        words = f"last frame {quiet_us / 1_000_000 / self._speed:.0f} s ago"
        return ("silent" if quiet_us > self._silent_us else "hearing"), words

    def _fastest(self) -> list[Resident]:
        return sorted(self._residents, key=lambda resident: resident.interval_us)[:1]

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        opened = clock()
        try:
            while True:
                until_us = round((clock() - opened) * self._speed * 1_000_000)
                while self._now_us < until_us:
                    self._step(min(until_us, self._now_us + STEP_US))
                    await asyncio.sleep(0)
                await asyncio.sleep(POLL_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader of the frames has to know
            self._failure = error
            self._end()

    def _end(self) -> None:
        """Tell whoever waits that nothing more will come."""
        while self._accepted:
            _, _, ref = heapq.heappop(self._accepted)
            self._outcomes.put(TxReport(ref, TxResult.RADIO_UNREACHABLE, "the radio was closed before its time"))
        self._frames.close(self._failure)
        self._outcomes.close(self._failure)

    def _step(self, now_us: int) -> None:
        """Move virtual time and take what it brings."""
        self._now_us = now_us
        for frame in self._chip.receive():
            self._heard += 1
            self._last_heard_us = now_us
            self._frames.put(frame)
        while self._accepted and self._accepted[0][0] <= now_us:
            _, _, ref = heapq.heappop(self._accepted)
            self._outcomes.put(TxReport(ref, TxResult.SENT))


class _Stream(Generic[T]):
    """A bounded queue that can end. Who puts never waits: what finds no place is dropped and counted."""

    def __init__(self, bound: int) -> None:
        self.dropped = 0
        self._bound = bound
        self._waiting: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._failure: Exception | None = None

    def put(self, thing: T) -> None:
        if len(self._waiting) >= self._bound:
            self.dropped += 1
            return
        self._waiting.append(thing)
        self._changed.set()

    def close(self, failure: Exception | None) -> None:
        """End it after what waits; with a failure, the reader gets that raised then."""
        self._closed, self._failure = True, failure
        self._changed.set()

    async def read(self) -> AsyncIterator[T]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
