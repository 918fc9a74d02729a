"""A Concentrator without hardware: a simulated chip among simulated devices that send real, encrypted frames.

Virtual time starts with the radio and runs `speed` times as fast as the clock on the wall, in steps of one poll. All
that happens in it is decided by the scenario, the seed and the time of day it started at.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from gateway.errors import UsageError
from gateway.model import TxReport, TxResult
from gateway.radio.concentrator import QUEUE_FRAMES, RadioHealth
from gateway.radio.counter import count_of
from gateway.radio.stream import Stream
from gateway.radio.transmitters import timed
from gateway.simulator.air import Air
from gateway.simulator.chance import Chance
from gateway.simulator.chip import SimulatedChip, TxRefused
from gateway.simulator.devices import settle
from gateway.simulator.joiners import settle_joiners
from gateway.simulator.neighbourhood import Neighbourhood

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from gateway.model import DevEui, DownlinkRequest, RadioFrame, Stamp
    from gateway.radio.schedule import Planned
    from gateway.radio.transmitters import Transmitters
    from gateway.simulator.scenario import Scenario

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

    What it sends is admitted by `transmitters` and given to the chip just in time, all in virtual time: the hour of the
    law passes as fast as everything else.

    The scenario's own seed says who lives there. `seed` says what happens: fading, timing, collisions; it is the
    scenario's where it is None. `f_cnt_up` are the last counters of devices that a store already knows: those count on,
    as devices do that were never switched off.
    """

    def __init__(
        self,
        scenario: Scenario,
        transmitters: Transmitters,
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
        self._transmitters = transmitters
        self._schedule = transmitters.schedule(RECEIVER)
        self._stamp = stamp
        self._speed = speed
        self._residents = list(scenario.residents())
        self._joiners = list(scenario.joiners())
        self._f_cnt_up = dict(f_cnt_up or {})
        self._chance = Chance(scenario.seed if seed is None else seed)
        air_chance = self._chance.about("air")
        self._air = Air(air_chance)
        self._chip = SimulatedChip(self._air, air_chance, name=RECEIVER, clock=lambda: self._now_us, stamp=self._stamp)
        self._now_us = 0  # virtual
        self._last_heard_us: int | None = None
        self._heard = 0
        self._frames: Stream[RadioFrame] = Stream(queue_frames)
        self._outcomes: Stream[TxReport] = Stream(queue_frames)
        self._count_us = self._chip.counter_us()
        self._stamped: Stamp | None = None  # the last time anybody asked, and before that the start
        self._started_us = 0  # by the clock since boot
        self._silent_us = max([SILENT_US, *(3 * fastest_us for fastest_us in sorted(self._intervals_us())[:1])])
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def __aenter__(self) -> Self:
        self._stamped = self._stamp()
        self._started_us = self._stamped.monotonic_us
        settle(
            self._residents,
            self._air,
            [self._chip],
            self._chance.about("devices"),
            start_utc_us=self._stamped.utc_us,
            f_cnt_up=self._f_cnt_up,
        )
        if self._joiners:
            neighbourhood = Neighbourhood(self._air, self._chance.about("neighbourhood"))
            chance = self._chance.about("joiners")
            settle_joiners(self._joiners, neighbourhood, chance, start_utc_us=self._stamped.utc_us)
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
        """Admit it, or say why neither law nor chip nor schedule can have it."""
        if self._task is None or self._task.done():
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, "the virtual radio is not running")
        if request.receiver != RECEIVER:
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, f"there is no receiver {request.receiver} here")
        if (refused := self._chip.unable(request)) is not None:
            return TxReport(request.ref, refused.result, refused.detail)
        self._stamped = self._stamp()
        planned = self._transmitters.plan(request, self._count_us, self._virtual(self._stamped))
        if isinstance(planned, TxReport):
            return planned
        self._schedule.take(planned)
        return TxReport(request.ref, TxResult.ACCEPTED)

    def _virtual(self, stamp: Stamp) -> Stamp:
        """That moment as the clocks of the virtual city show it."""
        ahead_us = self._started_us + self._now_us - stamp.monotonic_us
        return replace(stamp, utc_us=stamp.utc_us + ahead_us, monotonic_us=stamp.monotonic_us + ahead_us)

    def health(self) -> RadioHealth:
        """What the air is like, and what the chip made of it."""
        state, words = self._verdict()
        pace = "" if self._speed == 1 else f", time runs {self._speed:g} times as fast"
        chip, devices = self._chip.health(), len(self._residents) + len(self._joiners)
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
            airtime=() if self._stamped is None else self._transmitters.airtime(self._virtual(self._stamped)),
            denied=dict(self._transmitters.denied),
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

    def _intervals_us(self) -> list[int]:
        residents, joiners = self._residents, self._joiners
        return [*(one.interval_us for one in residents), *(one.interval_us for one in joiners)]

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        opened = clock()
        try:
            while True:
                until_us = round((clock() - opened) * self._speed * 1_000_000)
                while self._now_us < until_us:
                    self._step(min(until_us, self._now_us + STEP_US, self._next_due_us()))
                    await asyncio.sleep(0)
                await asyncio.sleep(POLL_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the reader of the frames has to know
            self._failure = error
            self._end()

    def _end(self) -> None:
        """Tell whoever waits that nothing more will come."""
        for planned in self._schedule.clear():
            if planned.start_us > self._count_us:
                self._transmitters.not_sent(planned)
            self._report(planned, TxResult.RADIO_UNREACHABLE, "the radio was closed before its time")
        self._frames.close(self._failure)
        self._outcomes.close(self._failure)

    def _next_due_us(self) -> int:
        """When the chip has to be told of the next transmission, in virtual time."""
        due_us = self._schedule.next_due_us()
        return self._now_us + (STEP_US if due_us is None else max(1, due_us - self._count_us))

    def _step(self, now_us: int) -> None:
        """Move virtual time and take what it brings."""
        self._now_us = now_us
        self._count_us = count_of(self._chip.counter_us(), self._count_us)
        for frame in self._chip.receive():
            self._heard += 1
            self._last_heard_us = now_us
            self._frames.put(frame)
        due = self._schedule.due(self._count_us)
        for planned in due.missed:
            self._transmitters.not_sent(planned)
            self._report(planned, TxResult.TOO_LATE, "its time came before the chip was told of it")
        if due.planned is not None:
            self._tell_chip(due.planned)
        for planned in self._schedule.over(self._count_us):
            self._report(planned, TxResult.SENT)

    def _tell_chip(self, planned: Planned) -> None:
        answer = self._chip.send(timed(planned))
        if isinstance(answer, TxRefused):
            self._transmitters.not_sent(planned)
            self._report(planned, answer.result, answer.detail)
        else:
            self._transmitters.sent(planned)

    def _report(self, planned: Planned, result: TxResult, detail: str = "") -> None:
        self._outcomes.put(TxReport(planned.request.ref, result, detail))
