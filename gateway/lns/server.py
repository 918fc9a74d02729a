"""What all network servers have in common: they are handed what is heard, and ask for downlinks.

A server gets the live lane only. What was heard while it was away for more than a few seconds is counted as missed and
not sent later: whoever answers it would answer too late (the frames themselves are in the store all the same). Those
that take history for what it is get it from there (`backlog.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.downlink import Fate
from gateway.lns.backlog import WithHistory
from gateway.lorawan.frame import MalformedFrame, PhyPayload, parse
from gateway.model import Crc, DownlinkRequest

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.lns.filters import Filter
    from gateway.model import Modulation, Position, RadioFrame
    from gateway.wire.channel_plan import ChannelPlan

log = logging.getLogger(__name__)

Carry = Callable[[Sequence[DownlinkRequest]], Awaitable[Fate]]
"""Offers the ways of a downlink to the radio in turn; what became of it (`downlink.DownlinkLine.carry`)."""


class Carrier(Protocol):
    """Carries for whoever says who he is (`downlink.DownlinkLine.carry` is one)."""

    def __call__(self, ways: Sequence[DownlinkRequest], *, asker: str | None) -> Awaitable[Fate]: ...


MOST_KINDS = 512  # of frequencies, and of modulations: no plan has as many

ANEW_AFTER_S = 10.0  # a part that failed by a mistake of ours may try again, not as fast as it can


class Listening(Protocol):
    """What the radio listens to, and whether that is what one server wants (`tuning.tuner.Ear`)."""

    @property
    def leads(self) -> bool:
        """Whether the radio is to follow this server."""
        ...

    def ask(self, plan: ChannelPlan, version: str = "") -> str | None:
        """Say what is to be heard; None, or why the radio cannot although it should follow this server."""
        ...

    def version(self) -> str:
        """The version of what is in force of this server's; empty for none."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """For `status`."""
        ...


class Untuned:
    """A `Listening` that follows nobody and knows nothing."""

    leads = False

    def ask(self, plan: ChannelPlan, version: str = "") -> str | None:
        """Nothing comes of it."""

    def version(self) -> str:
        """None."""
        return ""

    def facts(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}


class NetworkServer(Protocol):
    """One network server and the connection to it. Its trouble is nobody else's."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    def forward(self, frame: RadioFrame) -> None:
        """Take a frame that is for it and has just been heard. May not wait; what has no room is counted."""
        ...

    async def run(self) -> None:
        """Connect, and keep connected until cancelled."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """For `status`: name, state, evidence, and what came of frames and downlinks."""
        ...


class Reception:
    """What the antenna has heard since the start: what gateways tell their servers, and who could answer."""

    def __init__(
        self,
        only_receiver: Callable[[], str | None] = lambda: None,
        position: Callable[[], Position | None] = lambda: None,
    ) -> None:
        """`only_receiver` names the receiver before anything was heard, if there is only one."""
        self.heard = 0  # frames, damaged ones included
        self.good = 0  # of these, with a good checksum
        self.good_by_frequency: Counter[int] = Counter()
        self.good_by_modulation: Counter[Modulation] = Counter()
        self._only_receiver = only_receiver
        self._position = position
        self._last_receiver: str | None = None

    def count(self, frame: RadioFrame) -> None:
        """One more frame."""
        self.heard += 1
        if frame.crc is Crc.OK:
            self.good += 1
            _count(self.good_by_frequency, frame.frequency_hz)
            _count(self.good_by_modulation, frame.modulation)
        self._last_receiver = frame.receiver

    @property
    def receiver(self) -> str | None:
        """Who sends what answers no uplink: the one that heard last, or the only one; None when nobody is known."""
        return self._last_receiver or self._only_receiver()

    @property
    def position(self) -> Position | None:
        """Where the antenna stands now, as far as anybody knows."""
        return self._position()


def _count(counts: Counter[Any], key: object) -> None:
    """One more of these; what a forwarder makes up without end is counted in sum only."""
    if key in counts or len(counts) < MOST_KINDS:
        counts[key] += 1


@dataclass(slots=True)
class _Customer:
    server: NetworkServer
    wishes: Filter
    filtered: int = 0


class Forwarding:
    """Hands every frame that is heard to each network server that it is for."""

    def __init__(self, servers: Sequence[tuple[NetworkServer, Filter]], reception: Reception) -> None:
        self._customers = [_Customer(server, wishes) for server, wishes in servers]
        self._reception = reception
        self.failures: Counter[str] = Counter()  # by server: mistakes of ours, each in the log

    def heard(self, frame: RadioFrame, *, own: bool) -> bool:
        """A frame, as soon as it is known whether it is of a device that this gateway serves itself.

        True when a server that takes history wants it, and may have to ask the store for it. Damaged frames and those
        without a checksum go to nobody.
        """
        self._reception.count(frame)
        if not self._customers or frame.crc is not Crc.OK:
            return False
        message, wanted_later = _message(frame.phy), False
        for customer in self._customers:
            if not customer.wishes.takes(message, own=own):
                customer.filtered += 1
                continue
            wanted_later |= isinstance(customer.server, WithHistory)
            try:
                customer.server.forward(frame)
            except Exception as error:  # noqa: BLE001 - logged; the other servers and the line go on
                self._failed(customer.server.name, "could not take a frame", error)
        return wanted_later

    def duties(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What runs for as long as the gateway does."""
        return [self._keep(customer.server) for customer in self._customers]

    def facts(self) -> list[Mapping[str, Any]]:
        """For `status`, in the order of the settings."""
        return [{**customer.server.facts(), "filtered": customer.filtered} for customer in self._customers]

    async def _keep(self, server: NetworkServer) -> None:
        while True:
            try:
                await server.run()
            except Exception as error:  # noqa: BLE001 - logged; everything else goes on
                self._failed(server.name, "failed", error)
            await asyncio.sleep(ANEW_AFTER_S)

    def _failed(self, name: str, what: str, error: Exception) -> None:
        self.failures[name] += 1
        level = logging.ERROR if self.failures[name] == 1 else logging.DEBUG
        log.log(level, "lns %s: %s", name, what, exc_info=error)


def _message(phy: bytes) -> PhyPayload | None:
    try:
        return parse(phy)
    except MalformedFrame:
        return None
