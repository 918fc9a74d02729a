"""One request, from whoever asked to the antenna, and the report back.

Whoever wants a frame on the air says where it could go: a device listens in one window, then in another, and more than
one receiver may reach it. Each way is offered to the radio in turn until one is taken and used. Only what the radio
reports counts: a frame was on the air, or it was not, and why.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from gateway.journal import NOBODY, Offered, Outcome, Rival
from gateway.model import TxReport, TxResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.journal import Onlooker
    from gateway.model import DownlinkRequest
    from gateway.radio.concentrator import Concentrator

log = logging.getLogger(__name__)

MOST_REMEMBERED: Final = 1024
"""Ways of which it is known who asked: more than wait anywhere, and few enough to forget."""


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

    def __init__(self, radio: Concentrator, onlooker: Onlooker = NOBODY) -> None:
        self._radio = radio
        self._onlooker = onlooker
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[TxReport]] = {}
        self._askers: OrderedDict[str, str | None] = OrderedDict()  # by number, the latest
        self.results: Counter[TxResult] = Counter()  # of this gateway's own requests, not of the ways tried

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
        self,
        ways: Sequence[DownlinkRequest],
        *,
        asker: str | None = None,
        taken: Callable[[DownlinkRequest], None] | None = None,
    ) -> Fate:
        """Send it one of these ways, the first that is possible; what became of it.

        A way that was refused leads to the next; so does one that was taken and then surely not used, as far as there
        is still time. When none was used, the report is the one that says most. `asker` names the network server that
        wants it; None is this gateway. `taken` is told which way the radio has promised to use.
        """
        fate: Fate | None = None
        for way in ways:
            found = await self._try(way, asker, taken)
            if found.may_be_heard:
                fate = found
                break
            if fate is None or _tells(found.report) >= _tells(fate.report):
                fate = found
        if fate is None:
            fate = Fate(TxReport("", TxResult.UNKNOWN, "there was no way to send it"), on_air=False)
        if asker is None:
            self.results[fate.report.result] += 1
        return fate

    async def _try(
        self, way: DownlinkRequest, asker: str | None, taken: Callable[[DownlinkRequest], None] | None
    ) -> Fate:
        number = str(next(self._numbers))
        self._askers[number] = asker
        if len(self._askers) > MOST_REMEMBERED:
            self._askers.popitem(last=False)
        self._onlooker.downlink(Offered(number, asker, way))
        fate, rival = await self._offer(number, way, taken)
        self._onlooker.downlink(Outcome(number, asker, way, fate.report, fate.on_air, rival))
        return fate

    async def _offer(
        self, number: str, way: DownlinkRequest, taken: Callable[[DownlinkRequest], None] | None
    ) -> tuple[Fate, Rival | None]:
        waiting: asyncio.Future[TxReport] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            answer = self._radio.submit(replace(way, ref=number))
            if answer.result is not TxResult.ACCEPTED:
                rival = self._rival(answer)
                detail = answer.detail if rival is None else f"{answer.detail}; {_whose(rival)} was there before"
                return Fate(replace(answer, ref=way.ref, detail=detail), on_air=False), rival
            if taken is not None:
                taken(way)
            report = replace(await waiting, ref=way.ref)
            return Fate(report, _ON_AIR.get(report.result, False)), None
        finally:
            self._waiting.pop(number, None)

    def _rival(self, answer: TxReport) -> Rival | None:
        if answer.against not in self._askers:
            return None
        return Rival(answer.against, self._askers[answer.against])

    def facts(self) -> Mapping[str, int]:
        """How many of this gateway's own requests ended how, for `status`."""
        return {str(result): number for result, number in sorted(self.results.items())}


_ON_AIR = {TxResult.SENT: True, TxResult.UNKNOWN: None, TxResult.RADIO_UNREACHABLE: None}
"""What the outcome of a request that was taken says; every other word means that it was not sent."""


def _whose(rival: Rival) -> str:
    return "one of this gateway's own" if rival.asker is None else f"one that {rival.asker} asked for"


def _tells(report: TxReport) -> int:
    """How much a refusal says: that a later window was too late is less than why the first was refused."""
    return 0 if report.result in {TxResult.TOO_LATE, TxResult.RADIO_UNREACHABLE} else 1
