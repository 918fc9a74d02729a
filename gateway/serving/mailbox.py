"""Downlinks that destinations ask for, and what they are told became of them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import GatewayError, UsageError
from gateway.model import DevEui, DownlinkMoved, DownlinkRefused, Removed
from gateway.wire.own_downlink import NoDownlink, downlink_result_json, read_downlink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import Device, Happening, QueuedDownlink, Stamp
    from gateway.serving.desk import DownlinkDesk

log = logging.getLogger(__name__)

MOST_LETTERS = 1_000
"""Requests that may wait to be read; a broker that sends without end fills no memory."""

MOST_RESULTS = 10_000
"""Results that may wait until it is known of which device they are."""


class Mailer(Protocol):
    """Who can be told things; `delivery.drain.Drain` is the real one."""

    @property
    def name(self) -> str: ...
    def tell(self, topic: str, facts: Mapping[str, Any] | None, happening: Happening | None, /) -> None: ...


class Registrar(Protocol):
    """Who knows devices; `store.store.Store` is the real one."""

    async def device(self, dev_eui: DevEui, /) -> Device | None: ...
    async def devices_named(self, name: str, /) -> Sequence[DevEui]: ...


@dataclass(frozen=True, slots=True)
class _Letter:
    sink: str
    whom: DevEui | str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Result:
    """What is to be told of a device, as soon as it is known which one that is."""

    dev_eui: DevEui
    facts: Mapping[str, Any]
    happening: Callable[[Device], Happening]
    sink: str | None = None  # None: everybody is told


class Mailbox:
    """Takes requests of destinations one by one and tells them of results."""

    def __init__(self, registrar: Registrar, now: Callable[[], Stamp]) -> None:
        self._registrar = registrar
        self._now = now
        self._letters: asyncio.Queue[_Letter] = asyncio.Queue(MOST_LETTERS)
        self._results: asyncio.Queue[_Result] = asyncio.Queue(MOST_RESULTS)
        self._mailers: Mapping[str, Mailer] = {}
        self.refused = 0  # requests that were none, or came too fast

    def open(self, *mailers: Mailer) -> None:
        """These are the destinations."""
        self._mailers = {mailer.name: mailer for mailer in mailers}

    def take(self, sink: str, whom: DevEui | str, content: bytes) -> None:
        """A destination asks for a downlink, for a device that it knows by its DevEUI or by its name. May not wait."""
        try:
            self._letters.put_nowait(_Letter(sink, whom, content))
        except asyncio.QueueFull:
            self.refused += 1
            log.warning("%s: asks for downlinks faster than they can be queued", sink)

    async def run(self, desk: DownlinkDesk) -> None:
        """Hand requests to the desk, for as long as the gateway runs."""
        while True:
            letter = await self._letters.get()
            dev_eui = None
            try:
                dev_eui = await self._meant(letter.whom)
                await desk.ask(dev_eui, read_downlink(letter.content), letter.sink)
            except NoDownlink as problem:
                self._refuse(letter, dev_eui, problem.ref, str(problem))
            except GatewayError as error:
                self._refuse(letter, dev_eui, None if dev_eui is None else _ref_of(letter), error.problem)

    async def report(self) -> None:
        """Tell of results, in the order in which they came, for as long as the gateway runs."""
        while True:
            result = await self._results.get()
            self._tell(result, await self._known(result.dev_eui))

    def result(self, entry: QueuedDownlink) -> None:
        """Something became of a downlink: every destination that may ask for one hears it."""
        at = self._now()
        moved = partial(DownlinkMoved, entry=entry, at=at)
        self._post(_Result(entry.dev_eui, downlink_result_json(entry), moved))

    def removed(self, dev_eui: DevEui) -> None:
        """A device is not known any more."""
        for mailer in self._mailers.values():
            mailer.tell("", None, Removed(dev_eui))

    def tell(self, topic: str, facts: Mapping[str, Any], happening: Happening | None = None) -> None:
        """Tell every destination a fact of a device, if it is there soon."""
        for mailer in self._mailers.values():
            mailer.tell(topic, facts, happening)

    def _post(self, result: _Result) -> None:
        try:
            self._results.put_nowait(result)
        except asyncio.QueueFull:
            self._tell(result, None)

    def _tell(self, result: _Result, device: Device | None) -> None:
        happening = None if device is None else result.happening(device)
        for mailer in self._mailers.values():
            if result.sink in (None, mailer.name):
                mailer.tell(f"{result.dev_eui}/down/result", result.facts, happening)

    async def _meant(self, whom: DevEui | str) -> DevEui:
        if isinstance(whom, DevEui):
            return whom
        found = await self._registrar.devices_named(whom)
        if len(found) != 1:
            raise UsageError(f"{len(found)} devices are named {whom!r}" if found else f"no device is named {whom!r}")
        return found[0]

    async def _known(self, dev_eui: DevEui) -> Device | None:
        try:
            return await self._registrar.device(dev_eui)
        except GatewayError as error:
            log.warning("whose a downlink was cannot be looked up: %s", error.problem)
            return None

    def _refuse(self, letter: _Letter, dev_eui: DevEui | None, ref: str | None, reason: str) -> None:
        self.refused += 1
        log.warning("%s: no downlink for %s: %s", letter.sink, letter.whom, reason)
        if dev_eui is not None:
            facts = {"ref": ref, "state": "failed", "reason": reason, "f_cnt": None}
            refused = partial(DownlinkRefused, ref=ref, reason=reason, at=self._now())
            self._post(_Result(dev_eui, facts, refused, letter.sink))


def _ref_of(letter: _Letter) -> str | None:
    return read_downlink(letter.content).ref
