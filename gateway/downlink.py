"""One request, from whoever asked to the antenna, and the report back.

Whoever wants a frame on the air says where it could go: a device listens in one window, then in another, and more than
one receiver may reach it. Each way is offered to the radio in turn until one is taken and used. Only what the radio
reports counts: a frame was on the air, or it was not, and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from gateway.model import TxReport, TxResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import DownlinkRequest
    from gateway.radio.concentrator import Concentrator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a request. `on_air` is None when nobody can say: a forwarder that never acknowledges."""

    report: TxReport
    on_air: bool | None

    @property
    def may_be_heard(self) -> bool:
        """Whether the device may have heard it."""
        return self.on_air is not False


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
    ) -> Fate:
        """Send it one of these ways, the first that is possible; what became of it.

        A way that was refused leads to the next; so does one that was taken and then surely not used, as far as there
        is still time. When none was used, the report is the one that says most. `taken` is told which way the radio has
        promised to use.
        """
        fate: Fate | None = None
        for way in ways:
            found = await self._try(way, taken)
            if found.may_be_heard:
                fate = found
                break
            if fate is None or _tells(found.report) >= _tells(fate.report):
                fate = found
        if fate is None:
            fate = Fate(TxReport("", TxResult.UNKNOWN, "there was no way to send it"), on_air=False)
        self.results[fate.report.result] += 1
        return fate

    async def _try(self, way: DownlinkRequest, taken: Callable[[DownlinkRequest], None] | None) -> Fate:
        number = str(next(self._numbers))
        waiting: asyncio.Future[TxReport] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            answer = self._radio.submit(replace(way, ref=number))
            if answer.result is not TxResult.ACCEPTED:
                return Fate(replace(answer, ref=way.ref), on_air=False)
            if taken is not None:
                taken(way)
            report = replace(await waiting, ref=way.ref)
            return Fate(report, _ON_AIR.get(report.result, False))
        finally:
            self._waiting.pop(number, None)

    def facts(self) -> Mapping[str, int]:
        """How many requests ended how, for `status`."""
        return {str(result): number for result, number in sorted(self.results.items())}


_ON_AIR = {TxResult.SENT: True, TxResult.UNKNOWN: None, TxResult.RADIO_UNREACHABLE: None}
"""What the outcome of a request that was taken says; every other word means that it was not sent."""


def _tells(report: TxReport) -> int:
    """How much a refusal says: that a later window was too late is less than why the first was refused."""
    return 0 if report.result in {TxResult.TOO_LATE, TxResult.RADIO_UNREACHABLE} else 1
