"""One request, from whoever asked to the antenna, and the report back.

Whoever wants a frame on the air says where it could go: a device listens in one window, then in another, and more than
one receiver may reach it. Each way is offered to the radio in turn until one is taken and used. Only what the radio
reports counts: a frame was on the air, or it was not, and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from gateway.model import TxReport, TxResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import DownlinkRequest
    from gateway.radio.concentrator import Concentrator

log = logging.getLogger(__name__)


class DownlinkLine:
    """Carries requests for as long as the radio reports what became of them."""

    def __init__(self, radio: Concentrator) -> None:
        self._radio = radio
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[TxReport]] = {}
        self.results: Counter[TxResult] = Counter()  # of requests, not of the ways tried

    async def run(self) -> None:
        """Hand the radio's reports to whoever waits for them; until the radio is closed."""
        async for report in self._radio.outcomes():
            waiting = self._waiting.pop(report.ref, None)
            if waiting is None:
                log.warning("the radio reports %s of a downlink nobody asked for", report.result)
            elif not waiting.done():
                waiting.set_result(report)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(TxReport("", TxResult.RADIO_UNREACHABLE, "the radio was closed"))

    async def carry(
        self, ways: Sequence[DownlinkRequest], *, taken: Callable[[DownlinkRequest], None] | None = None
    ) -> TxReport:
        """Send it one of these ways, the first that is possible; what became of it.

        A way that was refused leads to the next; so does one that was taken and then not used, as far as there is still
        time. When none was used, the report is the one of the way that got furthest. `taken` is told which way the
        radio has promised to use.
        """
        best: TxReport | None = None
        for way in ways:
            report = await self._try(way, taken)
            if report.result is TxResult.SENT:
                best = report
                break
            if best is None or _distance(report) >= _distance(best):
                best = report
        if best is None:
            best = TxReport("", TxResult.UNKNOWN, "there was no way to send it")
        self.results[best.result] += 1
        return best

    async def _try(self, way: DownlinkRequest, taken: Callable[[DownlinkRequest], None] | None) -> TxReport:
        number = str(next(self._numbers))
        waiting: asyncio.Future[TxReport] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            answer = self._radio.submit(replace(way, ref=number))
            if answer.result is not TxResult.ACCEPTED:
                return replace(answer, ref=way.ref)
            if taken is not None:
                taken(way)
            return replace(await waiting, ref=way.ref)
        finally:
            self._waiting.pop(number, None)

    def facts(self) -> Mapping[str, int]:
        """How many requests ended how, for `status`."""
        return {str(result): number for result, number in sorted(self.results.items())}


def _distance(report: TxReport) -> int:
    """How telling a refusal is: that a later window was too late says less than why the first was refused."""
    return 0 if report.result in {TxResult.TOO_LATE, TxResult.RADIO_UNREACHABLE} else 1
