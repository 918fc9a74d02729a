"""What devices are to be told: a queue for each of them, on disk before anybody is told that it is queued.

Entries leave in the order of asking. Of one that waits for an acknowledgement nothing else overtakes, because a device
acknowledges the last confirmed downlink it heard and nothing names it (TS001-1.0.4, 4.3.1.2). An ended entry is shown
for a day.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gateway.errors import GatewayError, StorageError, UsageError
from gateway.model import UNDATED, DownlinkState, QueuedDownlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.model import DevEui, Stamp

    T = TypeVar("T")

log = logging.getLogger(__name__)

SHOWN_FOR_S = 86_400
"""Contract, section 7: finished entries are listed for a day."""

MOST_WAITING = 100
"""Entries that may wait for one device: who queues more has not seen that it does not answer."""

MOST_SHOWN = 10_000
"""Ended entries of all devices; the oldest give way."""

LOOK_S = 1.0


class QueueFile(Protocol):
    """Where the queue lies; `store.network_file.NetworkFile` is the real one."""

    def downlinks(self) -> list[QueuedDownlink]: ...
    def keep_downlinks(self, entries: Sequence[tuple[int, QueuedDownlink]], forgotten: Sequence[str] = ()) -> None: ...


class QueueKeeper(Protocol):
    """Who has the file, and a thread for it; `store.store.Store` is the real one."""

    async def with_network(self, work: Callable[[Any], T]) -> T: ...


class DownlinkUnknown(GatewayError):  # noqa: N818 - reads as the sentence it is
    """No downlink has this reference."""


class DownlinkQueue:
    """The queues of all devices. `told` hears of every change of a state; `stirred` which device has something new."""

    def __init__(
        self,
        keeper: QueueKeeper,
        now: Callable[[], Stamp],
        told: Callable[[QueuedDownlink], None],
        stirred: Callable[[DevEui], None],
    ) -> None:
        self._keeper = keeper
        self._now = now
        self._told = told
        self._stirred = stirred
        self._entries: dict[str, QueuedDownlink] = {}  # in the order of asking
        self._numbers: dict[str, int] = {}
        self._open: dict[DevEui, dict[str, None]] = {}  # by device: references of what has not ended, in order
        self._next_number = count(1)
        self._unwritten: set[str] = set()

    async def load(self) -> None:
        """Take in what was queued before. What the radio had when the gateway ended may have been on the air."""
        for entry in await self._keeper.with_network(lambda file: file.downlinks()):
            number = next(self._next_number)
            if entry.state is DownlinkState.SCHEDULED:
                reason = "the gateway stopped while the radio had it: it may have been on the air"
                waiting = DownlinkState.QUEUED if entry.confirmed else DownlinkState.FAILED
                ended = None if entry.confirmed else self._now()
                entry = replace(entry, state=waiting, reason=reason, ended=ended)  # noqa: PLW2901
                self._unwritten.add(entry.ref)
            self._take_in(entry, number)

    # --- what people ask

    async def add(self, entry: QueuedDownlink) -> QueuedDownlink:
        """Queue it; back when it is on disk. UsageError for a reference in use, or a queue that is full."""
        if entry.ref in self._entries:
            raise UsageError(f"a downlink {entry.ref!r} is known already", hint="lorawan-gateway downlink list")
        if len(self._waiting(entry.dev_eui)) >= MOST_WAITING:
            raise UsageError(
                f"{MOST_WAITING} downlinks wait for {entry.dev_eui} already",
                hint=f"lorawan-gateway downlink cancel --dev-eui {entry.dev_eui}",
            )
        self._take_in(entry, next(self._next_number))
        try:
            await self._write([entry.ref])
        except StorageError:
            self._drop(entry.ref)
            raise
        self._told(entry)
        self._stirred(entry.dev_eui)
        return entry

    async def cancel(self, *, ref: str | None = None, dev_eui: DevEui | None = None) -> list[QueuedDownlink]:
        """Cancel one, or all that wait for a device; those that were. What the radio has already cannot be called back.

        DownlinkUnknown when there is no such reference, UsageError when it has ended or left.
        """
        if ref is not None:
            entry = self._entries.get(ref)
            if entry is None:
                raise DownlinkUnknown(f"there is no downlink {ref!r}", hint="lorawan-gateway downlink list")
            if entry.state is not DownlinkState.QUEUED:
                raise UsageError(f"the downlink {ref!r} is {entry.state} already", hint="lorawan-gateway downlink list")
            asked = [entry]
        else:
            asked = [
                entry
                for entry in self._entries.values()
                if entry.state is DownlinkState.QUEUED and dev_eui in (None, entry.dev_eui)
            ]
        cancelled = [self._end(entry, DownlinkState.CANCELLED, "cancelled") for entry in asked]
        await self._write([entry.ref for entry in cancelled])
        return cancelled

    def forget(self, dev_eui: DevEui) -> None:
        """Nobody knows any more that this device was to be told anything, nor what it was told."""
        for ref in [entry.ref for entry in self._entries.values() if entry.dev_eui == dev_eui]:
            self._drop(ref)

    def listed(self, dev_eui: DevEui | None = None) -> list[QueuedDownlink]:
        """What waits and what has ended within a day, in the order of asking."""
        return [entry for entry in self._entries.values() if dev_eui in (None, entry.dev_eui)]

    # --- what the answering side asks

    def next_for(self, dev_eui: DevEui) -> QueuedDownlink | None:
        """What this device is to be told next; None while it has not finished with the one before."""
        for entry in self._waiting(dev_eui):
            if entry.state is not DownlinkState.QUEUED:
                return None  # with the radio, or not acknowledged yet
            if not self._expired(entry) and self._age_s(entry) is not None:
                return entry
        return None

    def waits_behind(self, entry: QueuedDownlink | None, dev_eui: DevEui) -> bool:
        """Whether more waits for the device than this one (FPending)."""
        return any(other is not entry and not self._expired(other) for other in self._waiting(dev_eui))

    def unacknowledged(self, dev_eui: DevEui) -> QueuedDownlink | None:
        """The confirmed downlink that this device has not acknowledged yet."""
        return next((entry for entry in self._waiting(dev_eui) if entry.state is DownlinkState.SENT), None)

    def waited_for(self, most: int) -> list[DevEui]:
        """Devices that something waits for, at most so many: those that waited longest."""
        return list(islice(self._open, most))

    @property
    def waiting(self) -> int:
        """How many have not ended, for all devices."""
        return sum(map(len, self._open.values()))

    def get(self, ref: str) -> QueuedDownlink | None:
        """The entry of this reference as it is now."""
        return self._entries.get(ref)

    def scheduled(self, ref: str, f_cnt: int) -> None:
        """The radio has it."""
        self._change(ref, state=DownlinkState.SCHEDULED, f_cnt=f_cnt, reason=None)

    def sent(self, ref: str, doubt: str | None = None) -> None:
        """It was on the air, or may have been, with the doubt in words. An unconfirmed one has ended with that."""
        entry = self._entries.get(ref)
        if entry is not None:
            ended = None if entry.confirmed else self._now()
            self._change(ref, state=DownlinkState.SENT, attempts=entry.attempts + 1, reason=doubt, ended=ended)

    def acknowledged(self, ref: str) -> None:
        """The device has it."""
        self._change(ref, state=DownlinkState.ACKNOWLEDGED, reason=None, ended=self._now())

    def waits_again(self, ref: str, reason: str) -> None:
        """It was not used, or not acknowledged: at the next opportunity once more."""
        self._change(ref, state=DownlinkState.QUEUED, reason=reason)

    def failed(self, ref: str, reason: str) -> None:
        """It will never go out."""
        self._change(ref, state=DownlinkState.FAILED, reason=reason, ended=self._now())

    # --- what runs beside

    async def keep(self) -> None:
        """Write what changed, let expire what is too old, forget what was shown long enough; as long as it runs."""
        while True:
            await self.look_after()
            await asyncio.sleep(LOOK_S)

    async def look_after(self) -> None:
        """One round of `keep`."""
        for entry in list(self._entries.values()):
            if entry.state is DownlinkState.QUEUED and self._expired(entry):
                self._end(entry, DownlinkState.EXPIRED, f"not sent within {entry.expires_after_s:g} s")
        forgotten = self._too_old()
        for ref in forgotten:
            self._drop(ref)
        if self._unwritten or forgotten:
            try:
                await self._write([*self._unwritten], forgotten)
            except StorageError as error:
                log.warning("the queue of downlinks could not be written: %s", error.problem)

    def _too_old(self) -> list[str]:
        ended = [entry for entry in self._entries.values() if entry.ended is not None]
        now = self._now()
        old = [entry.ref for entry in ended if (age := _between_s(entry.ended, now)) is not None and age > SHOWN_FOR_S]
        surplus = len(ended) - len(old) - MOST_SHOWN
        return old + [entry.ref for entry in ended if entry.ref not in set(old)][: max(0, surplus)]

    # --- inside

    def _take_in(self, entry: QueuedDownlink, number: int) -> None:
        self._entries[entry.ref], self._numbers[entry.ref] = entry, number
        if not entry.finished:
            self._open.setdefault(entry.dev_eui, {})[entry.ref] = None

    def _close(self, entry: QueuedDownlink) -> None:
        waiting = self._open.get(entry.dev_eui, {})
        waiting.pop(entry.ref, None)
        if not waiting:
            self._open.pop(entry.dev_eui, None)

    def _drop(self, ref: str) -> None:
        self._close(self._entries.pop(ref))
        del self._numbers[ref]
        self._unwritten.discard(ref)

    def _waiting(self, dev_eui: DevEui) -> list[QueuedDownlink]:
        return [self._entries[ref] for ref in self._open.get(dev_eui, ())]

    def _expired(self, entry: QueuedDownlink) -> bool:
        age_s = self._age_s(entry)
        return entry.expires_after_s is not None and age_s is not None and age_s > entry.expires_after_s

    def _age_s(self, entry: QueuedDownlink) -> float | None:
        """How long ago it was asked for; None while nobody can say: one that may be too old stays here."""
        if entry.expires_after_s is None:
            return 0.0
        return _between_s(entry.asked, self._now())

    def _change(self, ref: str, **changes: Any) -> None:
        entry = self._entries.get(ref)
        if entry is None or entry.finished:
            return
        changed = self._entries[ref] = replace(entry, **changes)
        self._unwritten.add(ref)
        if changed.finished:
            self._close(changed)
        self._told(changed)

    def _end(self, entry: QueuedDownlink, state: DownlinkState, reason: str) -> QueuedDownlink:
        self._change(entry.ref, state=state, reason=reason, ended=self._now())
        return self._entries[entry.ref]

    async def _write(self, refs: Iterable[str], forgotten: Sequence[str] = ()) -> None:
        wanted = [ref for ref in refs if ref in self._entries]
        entries = [(self._numbers[ref], self._entries[ref]) for ref in wanted]
        self._unwritten.difference_update(wanted)
        try:
            await self._keeper.with_network(lambda file: file.keep_downlinks(entries, forgotten))
        except StorageError:
            self._unwritten.update(wanted)
            raise


def _between_s(earlier: Stamp | None, later: Stamp) -> float | None:
    """Seconds between two stamps; None when they are of two boots and one of them had no date."""
    if earlier is None:
        return None
    if earlier.boot_id == later.boot_id:
        return (later.monotonic_us - earlier.monotonic_us) / 1e6
    if earlier.quality in UNDATED or later.quality in UNDATED:
        return None
    return (later.utc_us - earlier.utc_us) / 1e6
