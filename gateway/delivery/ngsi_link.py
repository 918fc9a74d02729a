"""What both NGSI versions have in common: one request at a time, knowing what the broker has, mending what it lost.

A broker shows what came last, and nobody else may write what we write. So a sink remembers from link to link what it
has confirmed (`Standing`), and reads it back where it cannot know: after a start, after a request without answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.ngsi_broker import one_for_each, parcels_of
from gateway.delivery.ngsi_holdings import by_entity
from gateway.delivery.ngsi_marks import MAY_NOT_READ
from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.wire.fiware_models import gateway_observation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from gateway.delivery.ngsi_commanding import Commanding
    from gateway.delivery.ngsi_holdings import Attributes, Holdings, Key, Parcel, Plan, Update
    from gateway.model import DevEui, GatewayEui, Record
    from gateway.wire.ngsi import Observation

log = logging.getLogger(__name__)

LEAST_BYTES: Final = 4_096  # what every proxy takes
READ_AT_ONCE: Final = 200
CANARIES: Final = 50  # entities whose state tells whether a broker has gone back in time
SUSPICIOUS_S: Final = 600.0  # so long a request without answer may still come to be carried out
STUMBLES: Final = 3  # so often a request may fail at a broker that takes others, before it is divided
FAREWELL_S: Final = 2.0


class GatewayRefused(Exception):  # noqa: N818 - an answer
    """The broker takes no Device of the gateway itself; the words are its own."""


@dataclass(slots=True)
class Standing:
    """What a sink knows of its broker, over all links."""

    holdings: Holdings
    most_bytes: int
    heaviest: int = 0  # bytes of a record in a request, at most so far
    suspects: dict[Key, float] = field(default_factory=dict)  # in requests without answer: until when to look after
    stumbles: dict[int, int] = field(default_factory=dict)  # first position of a request: how often the broker failed
    started: bool = False  # before, another life of this gateway may have sent what comes first
    unclear: set[int] = field(default_factory=set)  # positions that were sent, and not simply taken
    facts: Mapping[str, Any] = field(default_factory=lambda: {"state": "online"})
    queries: bool = True  # whether many entities can be read at once
    readable: bool = True
    temporal: bool = True  # whether the broker has a history of its own to write to (NGSI-LD)
    unwelcome: set[str] = field(default_factory=set)  # said once

    def suspect(self, keys: Iterable[Key]) -> None:
        """These may be written to later, by a request that was given up."""
        until_s = asyncio.get_running_loop().time() + SUSPICIOUS_S
        self.suspects |= dict.fromkeys(keys, until_s)

    def stumbles_again(self, position: int) -> bool:
        """Whether the broker has failed at this so often that it may be the fault of one entity."""
        count = self.stumbles.get(position, 0) + 1
        self.stumbles = {position: count}
        return count > STUMBLES


def forget(standing: Standing, names: Iterable[str]) -> None:
    """What the broker has of these entities is not known any more, and never put back when it loses it."""
    wanted = [name for name in names if name]
    known = standing.holdings.keys()
    for key in known:
        if any(name in key[0] for name in wanted):
            standing.holdings.forget(key)
            standing.suspects.pop(key, None)


class NgsiLink(ABC):
    """An open connection to a context broker; a Link."""

    def __init__(
        self,
        name: str,
        gateway_eui: GatewayEui,
        standing: Standing,
        *,
        batch: int,
        position: Callable[[], tuple[float, float] | None],
        alone: bool = True,
        commanding: Commanding | None = None,
    ) -> None:
        """`alone`: nobody else writes to the same entities."""
        self.name = name
        self._gateway_eui = gateway_eui
        self._standing = standing
        self._batch = batch
        self._position = position
        self._alone = alone
        self._commanding = commanding
        self._turn = asyncio.Lock()  # one request in flight: more would overtake each other
        self._proven = False  # whether this broker has a database: without one Orion shows nothing, and says 200

    # --- what the drain asks for

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Send the batch; what the broker will never take is refused.

        SinkUnavailable when it, its database, its proxy or our login is in the way, and when there was no answer.
        """
        async with self._turn:
            refusals: list[Refusal] = []
            done: list[int] = []
            part, rest = self._cut(batch)
            written = parcels_of(part, self._updates)
            try:
                while part:
                    following, rest = self._cut(rest)
                    # What comes next is written while the broker works.
                    writing = asyncio.ensure_future(asyncio.to_thread(parcels_of, following, self._updates))
                    try:
                        parcels, unwritten = written
                        refusals += [*unwritten, *await self._deliver(part, parcels)]
                        done += [record.position for record in part]
                        part, written = following, await writing
                    finally:
                        writing.cancel()
            except SinkUnavailable as reason:
                refused = {refusal.position for refusal in refusals}
                reason.acknowledged = tuple(position for position in done if position not in refused)
                raise
            self._standing.started = True
            return one_for_each(refusals)

    async def _deliver(self, records: Sequence[Record], parcels: Sequence[Parcel]) -> list[Refusal]:
        claimed = await self._claimed(records)
        ours = [parcel for parcel in parcels if parcel.position in claimed]
        if not ours:
            return []
        return await self._send(ours, next(one.record_id for one in records if one.position == ours[0].position))

    def _cut(self, records: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
        """As many as make a request that is not too large, and the rest."""
        standing = self._standing
        fit = standing.most_bytes * 4 // 5 // standing.heaviest if standing.heaviest else self._batch
        count = min(self._batch, max(fit, 1))
        return records[:count], records[count:]

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:  # noqa: ARG002
        """Keep the gateway's own Device up to date with a "status", and write what became of commands.

        A status comes every minute, and so entities in doubt are looked after at the same time.
        """
        dev_eui, _, what = topic.partition("/")
        if what == "down/result" and self._commanding is not None:
            await self._commanding.result(self._turn, dev_eui, facts)
        if topic != "status":
            return
        self._standing.facts = facts
        async with self._turn:
            try:
                await self._write_gateway(self._own_device())
            except GatewayRefused as refused:
                if topic not in self._standing.unwelcome:
                    self._standing.unwelcome.add(topic)
                    log.warning("sink %s: the broker does not take the gateway's own Device: %s", self.name, refused)
            await self._look_after_suspects()

    async def downlinks(self) -> AsyncIterator[tuple[DevEui, bytes]]:
        """See to commands, if the broker may give any. They go to their desk by themselves: nothing comes out here."""
        if self._commanding is not None:
            await self._commanding.run(self._turn)
        nothing: tuple[tuple[DevEui, bytes], ...] = ()
        for asked in nothing:
            yield asked

    async def lost(self) -> str:
        """Never: each request makes its own connection, or finds that it cannot."""
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def leave(self) -> None:
        """Say that the gateway is offline, if there is still somebody to say it to."""
        if not self._proven:
            return
        offline = {**self._standing.facts, "state": "offline", "radio": None}
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._write_gateway(self._own_device(offline))
        except (TimeoutError, SinkUnavailable, GatewayRefused) as reason:
            log.debug("sink %s: could not say that it is offline: %s", self.name, reason)

    # --- what each version has its own words for

    async def _claimed(self, records: Sequence[Record]) -> set[int]:
        """The positions that are ours to deliver, not another gateway's."""
        return {record.position for record in records}

    @abstractmethod
    def _updates(self, record: Record) -> Sequence[Update]:
        """What a record has to say, as it will be written."""

    @abstractmethod
    async def _send(self, parcels: Sequence[Parcel], name: str) -> list[Refusal]:
        """Send these until each is taken or refused; SinkUnavailable when that cannot be known."""

    @abstractmethod
    async def _write_gateway(self, own: Observation) -> None:
        """Write the gateway's own Device; GatewayRefused when that is what is wrong."""

    @abstractmethod
    async def _put(self, entities: Mapping[Key, Attributes]) -> None:
        """Write what was confirmed before; SinkUnavailable when it is not taken."""

    @abstractmethod
    async def _query(self, keys: Sequence[Key]) -> dict[Key, Attributes] | None:
        """Read many at once, without those that are not there; None when this broker lets that not be done."""

    @abstractmethod
    async def _get(self, key: Key) -> Attributes | None:
        """Read one; None when it is not there, PermissionError when nothing may be read."""

    # --- proof

    def _own_device(self, facts: Mapping[str, Any] | None = None) -> Observation:
        now_ms = time.time_ns() // 1_000_000
        return gateway_observation(self._gateway_eui, facts or self._standing.facts, now_ms, self._position())

    async def _prove(self) -> None:
        """Write what is sure to be right. If not even that is taken, nothing can be said against anything else."""
        try:
            await self._write_gateway(self._own_device())
        except GatewayRefused as refused:
            words = f"{self.name}: the broker refuses even the gateway's own Device: {refused}"
            raise SinkUnavailable(words, alert=True) from None

    # --- knowing what is there

    async def _grouped(self, parcels: Sequence[Parcel]) -> tuple[list[list[Update]], dict[Key, Attributes]]:
        """What is still to be written of these, by entity, and what was read of them where it was not known."""
        standing, holdings = self._standing, self._standing.holdings
        doubted = [one for one in parcels if not standing.started or one.position in standing.unclear]
        keys = {update.key for parcel in doubted for update in parcel.updates}
        said = {update.key for parcel in parcels for update in parcel.updates}
        keys |= {key for key in said if not self._alone or key not in holdings}
        shown = await self._shown(sorted(keys))
        taken = holdings.taken(doubted, shown)
        for key in keys & shown.keys():
            holdings.keep(key, holdings.newest(holdings.get(key) or {}, shown[key]))
        await self._make_good({update.key for one in parcels if one.position in taken for update in one.updates}, shown)
        return by_entity(update for one in parcels if one.position not in taken for update in one.updates), shown

    async def _shown(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        """What the broker shows of these; nothing (`{}`) of one that it does not have. Empty when nobody may read.

        One without database shows nothing at all: that there is nothing is believed only after it took something.
        """
        if not keys or not self._standing.readable:
            return {}
        shown = await self._read(keys)
        if not self._standing.readable and not self._alone:
            self._standing.readable = True  # until somebody lets us
            raise SinkUnavailable(f"{self.name}: {MAY_NOT_READ}", alert=True)
        missing = [key for key in keys if key not in shown]
        if missing and not self._proven:
            await self._prove()
            shown |= await self._read(missing)
        return {key: shown.get(key, {}) for key in keys} if self._standing.readable else {}

    async def _read(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        found: dict[Key, Attributes] = {}
        for start in range(0, len(keys), READ_AT_ONCE):
            part = keys[start : start + READ_AT_ONCE]
            several = await self._query(part) if self._standing.queries else None
            if several is None:
                self._standing.queries = False
                several = await self._read_singly(part)
            found |= several
        return found

    async def _read_singly(self, keys: Sequence[Key]) -> dict[Key, Attributes]:
        found: dict[Key, Attributes] = {}
        try:
            for key in keys:
                attributes = await self._get(key)
                if attributes is not None:
                    found[key] = attributes
        except PermissionError as refused:
            self._standing.readable = False
            log.warning(
                "sink %s: this login may not read, what was sent last is taken for the state: %s", self.name, refused
            )
            return {}
        return found

    async def compare(self) -> None:
        """Look whether the broker still has what it confirmed last; if not, give it the last known state again."""
        holdings = self._standing.holdings
        canaries = holdings.latest(CANARIES)
        if not canaries or not self._standing.readable:
            return
        shown = await self._read(canaries)
        if not any(key in shown and holdings.is_behind(key, shown[key]) for key in canaries):
            return
        log.warning(
            "sink %s: the broker shows older values than it has confirmed. It gets the last ones again; its history "
            "gets them with: lorawan-gateway sink resend %s --from T --to T", self.name, self.name,
        )  # fmt: skip
        await self._mend(holdings.keys())

    def _written(self, plans: Sequence[Plan]) -> None:
        """Where somebody else may have written between our reading and our writing, it is looked at again later."""
        if not self._alone:
            self._standing.suspect(plan.key for plan in plans)

    async def _look_after_suspects(self) -> None:
        """A request that was given up may still be carried out, minutes later, and undo what came after it."""
        suspects, now_s = self._standing.suspects, asyncio.get_running_loop().time()
        if suspects and self._standing.readable:
            await self._mend([*suspects], missing=False)
        self._standing.suspects = {key: until_s for key, until_s in suspects.items() if until_s > now_s}

    async def _make_good(self, keys: Iterable[Key], shown: Mapping[Key, Attributes]) -> None:
        """A broker took what was late, and then perhaps not what had to follow so that the state stays what it was."""
        holdings = self._standing.holdings
        lost = {
            key: mending for key in keys if key in shown and (mending := holdings.mending(key, shown[key]))
        }  # fmt: skip
        if lost:
            await self._put(lost)

    async def _mend(self, keys: Sequence[Key], *, missing: bool = True) -> None:
        holdings = self._standing.holdings
        for start in range(0, len(keys), READ_AT_ONCE):
            part = [key for key in keys[start : start + READ_AT_ONCE] if key in holdings]
            shown = await self._shown(part)
            lost = {
                key: mending
                for key in part
                if (missing or shown.get(key)) and (mending := holdings.mending(key, shown.get(key, {})))
            }
            if lost:
                await self._put(lost)
