"""The gateways of a simulated town as one radio of the product: the air moves with the loop's (virtual) time."""

from __future__ import annotations

import asyncio

from gateway.model import TxReport, TxResult
from gateway.radio.concentrator import RadioHealth
from gateway.radio.counter import count_of
from gateway.radio.transmitters import Transmitters, timed
from gateway.simulator.chip import TxRefused

FAR_US = 60_000_000


class Counted:
    """A chip, the count of its counter, and its schedule."""

    def __init__(self, chip, schedule):
        self.chip = chip
        self.schedule = schedule
        self.count_us = chip.counter_us()


class TownRadio:
    """A `Concentrator`. It is switched off while `deaf`: what is heard then is heard by nobody."""

    def __init__(self, town, region):
        self._town = town
        self._region = region
        self.on_air = []  # everything that was sent, for a judge
        self.deaf = True
        self._chips = {}
        self._asked = asyncio.Event()

    def start(self, ledger):
        """A gateway begins to listen."""
        self.transmitters = Transmitters(self._region, ledger)
        self._chips = {
            f"roof-{number}": Counted(chip, self.transmitters.schedule(f"roof-{number}"))
            for number, chip in enumerate(self._town.chips, start=1)
        }
        self._queue, self._outcomes = asyncio.Queue(), asyncio.Queue()
        self.deaf = False

    def stop(self):
        """The gateway is gone; what it had planned is never sent."""
        self.deaf = True
        self._chips = {}
        self._queue.put_nowait(None)
        self._outcomes.put_nowait(None)

    async def run(self, opened_s):
        """Move the air for as long as the gateway runs; time began at `opened_s` of the loop."""
        loop = asyncio.get_running_loop()
        while True:
            now_us = round((loop.time() - opened_s) * 1_000_000)
            self._town.run(now_us, self._hear)
            dues = [self._serve(counted) for counted in self._chips.values()]
            next_us = self._town.air.next_us
            waits = [wait for wait in (*dues, None if next_us is None else next_us - now_us) if wait is not None]
            self._asked.clear()
            try:
                async with asyncio.timeout(max(0.000_5, min([FAR_US, *waits]) / 1_000_000)):
                    await self._asked.wait()
            except TimeoutError:
                pass

    def _hear(self, chip, frame):
        if not self.deaf:
            self._queue.put_nowait(frame)

    def _serve(self, counted):
        """Hand over what is due; microseconds until the next."""
        counted.count_us = count_of(counted.chip.counter_us(), counted.count_us)
        due = counted.schedule.due(counted.count_us)
        for planned in due.missed:
            self.transmitters.not_sent(planned)
            self._report(planned, TxResult.TOO_LATE)
        if due.planned is not None:
            self._send(counted, due.planned)
        for planned in counted.schedule.over(counted.count_us):
            self._report(planned, TxResult.SENT)
        next_us = counted.schedule.next_due_us()
        return None if next_us is None else max(1_000, next_us - counted.count_us)

    def _send(self, counted, planned):
        answer = counted.chip.send(timed(planned))
        if isinstance(answer, TxRefused):
            self.transmitters.not_sent(planned)
            self._report(planned, answer.result)
        else:
            self.transmitters.sent(planned)
            self.on_air.append(answer)

    def _report(self, planned, result):
        self._outcomes.put_nowait(TxReport(planned.request.ref, result))

    # --- what the product asks

    async def frames(self):
        while (frame := await self._queue.get()) is not None:
            yield frame

    async def outcomes(self):
        while (report := await self._outcomes.get()) is not None:
            yield report

    def submit(self, request):
        counted = self._chips[request.receiver]
        if self.deaf:
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE)
        if (refused := counted.chip.unable(request)) is not None:
            return TxReport(request.ref, refused.result, refused.detail)
        counted.count_us = count_of(counted.chip.counter_us(), counted.count_us)
        planned = self.transmitters.plan(request, counted.count_us, self._town.stamp())
        if isinstance(planned, TxReport):
            return planned
        counted.schedule.take(planned)
        self._asked.set()
        return TxReport(request.ref, TxResult.ACCEPTED)

    def health(self):
        return RadioHealth("town", "hearing", "", receivers=tuple({"name": name} for name in self._chips))
