"""What is known of the sessions that are served, in memory over a file: MAC states and downlink counters.

A counter is spent on disk before it is on the air. The file holds a bound that is raised by a block at a time: a
downlink takes the next counter below it and waits for the disk once in a block. A start goes on at the bound, so what a
crash leaves of a block is skipped.

A MAC state is written when it has changed in a way that matters, within a few seconds; how loud the last uplinks were
may be some minutes old after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import StorageError
from gateway.lorawan.downlink import DownCounter
from gateway.lorawan.frame import F_CNT_MAX
from gateway.lorawan.mac import unsure
from gateway.lorawan.mac_state import MacState, RecentUplinks, initial

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.lorawan.requests import Wanted
    from gateway.model import DevEui, Device, Session
    from gateway.regions.region import Region

log = logging.getLogger(__name__)

BLOCK = 16
"""Counters that are reserved at once: a sync for every sixteen downlinks, and at most as many skipped by a crash."""

MOST_KEPT = 10_000
"""Sessions in memory, about 2 kB each; those not heard for longest give way."""

WRITE_S = 2.0
WRITE_ALL_EACH = 300  # rounds of WRITE_S: also what changes with each uplink


class Shelf(Protocol):
    """Who has the file, and a thread for it; `store.store.Store` is the real one."""

    async def with_network(self, work: Callable[[Any], Any], /) -> Any: ...


class CountersUsedUp(Exception):  # noqa: N818 - reads as the sentence it is
    """A session has no downlink counter left: the device has to join again."""


@dataclass(slots=True)
class Served:
    """A session as it is served now."""

    dev_eui: DevEui
    state: MacState
    next: dict[DownCounter, int]
    reserved: dict[DownCounter, int]
    written: MacState | None  # as the file has it
    receiver: str | None = None  # who heard the device last


class ServedSessions:
    """Sessions by number. Whoever changes one holds its device's turn."""

    def __init__(self, shelf: Shelf, region: Region, wanted: Wanted) -> None:
        self._shelf = shelf
        self._wanted = wanted
        self._region = region
        self._kept: OrderedDict[int, Served] = OrderedDict()

    def follow(self, wanted: Wanted) -> None:
        """What devices are asked for from now on."""
        self._wanted = wanted

    async def of(self, device: Device, session: Session) -> Served:
        """What is known of a session; the defaults of the region for one that was never served."""
        kept = self._kept.get(session.session_id)
        if kept is not None:
            self._kept.move_to_end(session.session_id)
            return kept
        found = await self._shelf.with_network(lambda file: file.served(session.session_id))
        kept = self._kept.get(session.session_id)
        if kept is not None:  # somebody else was faster
            return kept
        bounds = {DownCounter.NETWORK: found.n_f_cnt_down, DownCounter.APPLICATION: found.a_f_cnt_down}
        state = _read(found.mac_state, device)
        kept = Served(
            device.dev_eui,
            # Not every change is on disk before it is on the air, so what was read may be older than the device.
            initial(self._region, device_class=device.device_class) if state is None else unsure(state, self._wanted),
            dict(bounds),
            dict(bounds),
            state,
        )
        self._kept[session.session_id] = kept
        await self._make_room()
        return kept

    async def spend(self, session: Session, served: Served, which: DownCounter) -> int:
        """The next counter, never given before and never again. StorageError, CountersUsedUp."""
        f_cnt = served.next[which]
        if f_cnt > F_CNT_MAX:
            raise CountersUsedUp
        if f_cnt >= served.reserved[which]:
            bounds = {**served.reserved, which: f_cnt + BLOCK}
            await self._shelf.with_network(
                lambda file: file.reserve(
                    session.session_id, served.dev_eui, bounds[DownCounter.NETWORK], bounds[DownCounter.APPLICATION]
                )
            )
            served.reserved[which] = bounds[which]
        served.next[which] = f_cnt + 1
        return f_cnt

    def forget(self, dev_eui: DevEui) -> None:
        """The device was erased: nothing of it is written any more."""
        for session_id in [number for number, served in self._kept.items() if served.dev_eui == dev_eui]:
            del self._kept[session_id]

    def there(self, session_id: int) -> Served | None:
        """What is known of a session that was served lately."""
        return self._kept.get(session_id)

    async def write_now(self, session: Session, served: Served) -> None:
        """Write one state; back when it is on disk. StorageError."""
        state = served.state
        row = (session.session_id, served.dev_eui, state.to_json())
        await self._shelf.with_network(lambda file: file.keep_states([row]))
        served.written = state

    # --- writing

    async def keep(self) -> None:
        """Write what changed, for as long as the gateway runs."""
        rounds = 0
        while True:
            await asyncio.sleep(WRITE_S)
            rounds += 1
            await self.write(everything=rounds % WRITE_ALL_EACH == 0)

    async def write(self, *, everything: bool = True) -> None:
        """Write the states that changed; without `everything`, only those that changed in a way that matters."""
        changed = [
            (session_id, served)
            for session_id, served in self._kept.items()
            if served.written is not served.state and (everything or _matters(served.written, served.state))
        ]
        if not changed:
            return
        states = [(session_id, served.dev_eui, served.state) for session_id, served in changed]
        rows = [(session_id, dev_eui, state.to_json()) for session_id, dev_eui, state in states]
        try:
            await self._shelf.with_network(lambda file: file.keep_states(rows))
        except StorageError as error:
            log.warning("MAC states could not be written: %s", error.problem)
            return
        for (_, served), (_, _, state) in zip(changed, states, strict=True):
            served.written = state

    async def _make_room(self) -> None:
        if len(self._kept) <= MOST_KEPT:
            return
        await self.write()
        for session_id in [*self._kept][: max(0, len(self._kept) - MOST_KEPT + MOST_KEPT // 10)]:
            served = self._kept[session_id]
            if served.written is served.state:
                del self._kept[session_id]


def _read(text: str | None, device: Device) -> MacState | None:
    if text is None:
        return None
    try:
        return MacState.from_json(text)
    except ValueError as error:
        log.warning("%s (%s): what was known of its MAC layer cannot be read: %s", device.name, device.dev_eui, error)
        return None


def _matters(written: MacState | None, state: MacState) -> bool:
    """Whether the gateway would act differently on the older one, other than by what the last uplinks sounded like."""
    return written is None or _without_recent(written) != _without_recent(state)


def _without_recent(state: MacState) -> MacState:
    return replace(state, recent=RecentUplinks())
