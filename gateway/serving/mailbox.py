"""Downlinks that destinations ask for, and what they are told became of them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import GatewayError
from gateway.wire.own_downlink import NoDownlink, downlink_result_json, read_downlink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import DevEui, QueuedDownlink
    from gateway.serving.desk import DownlinkDesk

log = logging.getLogger(__name__)

MOST_LETTERS = 1_000
"""Requests that may wait to be read; a broker that sends without end fills no memory."""


class Mailer(Protocol):
    """Who can be told things; `delivery.drain.Drain` is the real one."""

    @property
    def name(self) -> str: ...
    def tell(self, topic: str, facts: Mapping[str, Any], /) -> None: ...


@dataclass(frozen=True, slots=True)
class _Letter:
    sink: str
    dev_eui: DevEui
    content: bytes


class Mailbox:
    """Takes requests of destinations one by one and tells them of results."""

    def __init__(self) -> None:
        self._letters: asyncio.Queue[_Letter] = asyncio.Queue(MOST_LETTERS)
        self._mailers: Mapping[str, Mailer] = {}
        self.refused = 0  # requests that were none, or came too fast

    def open(self, *mailers: Mailer) -> None:
        """These are the destinations."""
        self._mailers = {mailer.name: mailer for mailer in mailers}

    def take(self, sink: str, dev_eui: DevEui, content: bytes) -> None:
        """A destination asks for a downlink. May not wait."""
        try:
            self._letters.put_nowait(_Letter(sink, dev_eui, content))
        except asyncio.QueueFull:
            self.refused += 1
            log.warning("%s: asks for downlinks faster than they can be queued", sink)

    async def run(self, desk: DownlinkDesk) -> None:
        """Hand requests to the desk, for as long as the gateway runs."""
        while True:
            letter = await self._letters.get()
            try:
                await desk.ask(letter.dev_eui, read_downlink(letter.content), letter.sink)
            except NoDownlink as problem:
                self._refuse(letter, problem.ref, str(problem))
            except GatewayError as error:
                self._refuse(letter, _ref_of(letter.content), error.problem)

    def result(self, entry: QueuedDownlink) -> None:
        """Something became of a downlink: every destination that may ask for one hears it."""
        self.tell(f"{entry.dev_eui}/down/result", downlink_result_json(entry))

    def tell(self, topic: str, facts: Mapping[str, Any]) -> None:
        """Tell every destination a fact of a device, if it is there soon."""
        for mailer in self._mailers.values():
            mailer.tell(topic, facts)

    def _refuse(self, letter: _Letter, ref: str | None, reason: str) -> None:
        self.refused += 1
        log.warning("%s: no downlink for %s: %s", letter.sink, letter.dev_eui, reason)
        mailer = self._mailers.get(letter.sink)
        if mailer is not None:
            facts = {"ref": ref, "state": "failed", "reason": reason, "f_cnt": None}
            mailer.tell(f"{letter.dev_eui}/down/result", facts)


def _ref_of(content: bytes) -> str | None:
    return read_downlink(content).ref
