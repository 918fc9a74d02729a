"""What a gateway can be asked to do with what it has kept: by commands, over the control socket of a running daemon.

The same orders are carried out by a command itself while no daemon runs (`daemon.at_rest`).
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError, UsageError
from gateway.model import DevEui
from gateway.reread import SecondLook
from gateway.store.queries import DeadLetter, Span, glimpses, reading_at, readings
from gateway.wire.own_downlink import NoDownlink, downlink_asked, downlink_json
from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.delivery.drain import Manners
    from gateway.forgetting import Forgetting
    from gateway.serving.desk import DownlinkDesk
    from gateway.store.cursors import Range
    from gateway.store.store import Store
    from gateway.uplink import Decoder, Network

    Told = Callable[[Mapping[str, Any]], None]

COMMAND = "command"
"""Who asked, of a downlink that a command queued."""

MOST_RANGES = 2_000
"""Pieces a request to send again may fall into. They are remembered with each step of the destination's cursor."""


class Control:
    """Carries out orders. Destinations are known by name, with the manners of each."""

    def __init__(
        self,
        store: Store,
        manners: Mapping[str, Manners],
        decoder: Decoder,
        network: Callable[[], Network],
        renew_codecs: Callable[[], Awaitable[None]],
        desk: DownlinkDesk,
        forgetting: Forgetting,
    ) -> None:
        """`network` makes one that remembers no frames; `renew_codecs` reads the catalogue anew."""
        self._desk = desk
        self._forgetting = forgetting
        self._store = store
        self._manners = manners
        self._decoder = decoder
        self._network = network
        self._renew_codecs = renew_codecs
        self._rereading = asyncio.Lock()

    async def order(self, name: str, facts: Mapping[str, Any], told: Told) -> Any:
        """Carry out one of the orders below; its answer in values of JSON. What takes long tells how far it is.

        UsageError when there is no such order, or no such destination.
        """
        match name:
            case "pause" | "resume":
                return await self._pause(self._sink(facts), paused=name == "pause")
            case "resend":
                return await self._resend(
                    self._sink(facts), self._span(facts), dry_run=bool(facts.get("dry_run")), told=told
                )
            case "dead-letters":
                return await self._dead_letters(self._sink(facts))
            case "retry":
                return await self._retry(self._sink(facts))
            case "reread":
                return await self._reread(self._span(facts), everything=bool(facts.get("everything")), told=told)
            case "downlink-send":
                return await self._send(facts)
            case "downlink-list":
                return [downlink_json(entry) for entry in self._desk.queue.listed(_dev_eui(facts))]
            case "downlink-cancel":
                return await self._cancel(facts)
            case "forget":
                return await self._forget(facts, told)
        raise UsageError(f"this gateway knows no order {name!r}", hint="are command and daemon of one version?")

    def _sink(self, facts: Mapping[str, Any]) -> str:
        name = str(facts.get("sink"))
        if name not in self._manners:
            raise UsageError(f"there is no sink {name!r}", hint=f"known: {', '.join(self._manners) or 'none'}")
        return name

    def _span(self, facts: Mapping[str, Any]) -> Span:
        from_us, to_us = facts.get("from_us"), facts.get("to_us")
        if any(bound is not None and not isinstance(bound, int) for bound in (from_us, to_us)):
            raise UsageError("a time is given in whole microseconds since 1970")
        return Span(_dev_eui(facts), from_us, to_us, self._store.date)

    # --- destinations

    async def _pause(self, sink: str, *, paused: bool) -> dict[str, Any]:
        await self._store.ask(sink, lambda progress: progress.pause(paused=paused))
        return {"sink": sink, "paused": paused, "queued": self._store.progress(sink).queued(self._store.head)}

    async def _resend(self, sink: str, span: Span, *, dry_run: bool, told: Told) -> dict[str, Any]:
        """What was sent of a span goes out once more, under the same record ids; what still waits comes by itself."""
        ranges: list[Range] = []
        records = 0
        after: int | None = 0
        while after is not None:
            positions, after = await self._in_span(sink, span, after)
            for position, is_wanted in positions:
                records += is_wanted
                if ranges and ranges[-1][1] == position - 1:
                    ranges[-1] = (ranges[-1][0], position)
                else:
                    ranges.append((position, position))
            if len(ranges) > MOST_RANGES:
                raise UsageError(
                    f"the readings of that time lie in more than {MOST_RANGES} places of the log",
                    hint="ask for shorter times, one after the other",
                )
            told({"records": records})
        if records and not dry_run:
            await self._store.ask(sink, lambda progress: progress.send_all_again(ranges))
        return {"sink": sink, "records": records, "dry_run": dry_run}

    async def _in_span(self, sink: str, span: Span, after: int) -> tuple[list[tuple[int, bool]], int | None]:
        """Settled positions of the next slice that lie in the span, and whether each is for this destination at all."""
        store, head = self._store, self._store.head
        if not self._manners[sink].only_tags:
            seen = await store.look(partial(glimpses, after=after, head=head))
            found = [(number, True) for number, one in seen.glimpses if span.takes(one.dev_eui, one.heard)]
            through = seen.through
        else:
            read, through = await store.look(partial(readings, after=after, head=head, span=span))
            found = [(number, self._manners[sink].takes(store.record(number, reading))) for number, reading in read]
        progress = store.progress(sink)
        return [one for one in found if progress.is_settled(one[0])], through

    async def _dead_letters(self, sink: str) -> list[dict[str, Any]]:
        found = []
        for position, reason, refused_us in await self._store.refused_records(sink):
            reading = await self._store.look(partial(reading_at, position=position))
            dated = None if reading is None else self._store.record(position, reading).reading
            record_id = f"{self._store.gateway_eui}-{self._store.epoch}-{position}"
            found.append(dead_letter_json(DeadLetter(position, reason, refused_us, dated), record_id))
        return found

    async def _retry(self, sink: str) -> dict[str, Any]:
        records = await self._store.retry_refused(sink)
        return {"sink": sink, "records": records}

    # --- what was kept

    async def _reread(self, span: Span, *, everything: bool, told: Told) -> dict[str, Any]:
        if self._rereading.locked():
            raise GatewayError("frames are being read again already", hint="wait until that is done")
        async with self._rereading:
            began_s = time.monotonic()
            await self._store.follow_registry()
            await self._renew_codecs()
            look = SecondLook(self._store, self._network(), self._decoder, span, everything=everything, told=told)
            return {**await look.run(), "took_s": round(time.monotonic() - began_s, 1)}

    async def _forget(self, facts: Mapping[str, Any], told: Told) -> dict[str, Any]:
        dev_eui = _dev_eui(facts)
        if dev_eui is None:
            raise UsageError("which device is to be forgotten?")
        if facts.get("dry_run"):
            return await self._forgetting.look(dev_eui, told)
        return await self._forgetting.forget(dev_eui, told)

    # --- downlinks

    async def _send(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        dev_eui, asked = _dev_eui(facts), facts.get("downlink")
        if dev_eui is None or not isinstance(asked, dict):
            raise UsageError("a downlink needs a device, and what it is to be told")
        try:
            entry = await self._desk.ask(dev_eui, downlink_asked(asked), COMMAND)
        except NoDownlink as error:
            raise UsageError(str(error), hint="lorawan-gateway downlink send --help") from None
        return {} if entry is None else downlink_json(entry)

    async def _cancel(self, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        ref = facts.get("ref")
        cancelled = await self._desk.queue.cancel(ref=None if ref is None else str(ref), dev_eui=_dev_eui(facts))
        return [downlink_json(entry) for entry in cancelled]


def _dev_eui(facts: Mapping[str, Any]) -> DevEui | None:
    dev_eui = facts.get("dev_eui")
    try:
        return None if dev_eui is None else DevEui.parse(str(dev_eui))
    except ValueError as error:
        raise UsageError(f"dev_eui: {error}") from None


def dead_letter_json(letter: DeadLetter, record_id: str) -> dict[str, Any]:
    """A record that a destination refuses for good; of one that has left the store, device and time are unknown."""
    reading = letter.reading
    return {
        "position": letter.position,
        "record_id": record_id,
        "dev_eui": None if reading is None else str(reading.dev_eui),
        "name": None if reading is None else reading.name,
        "reason": letter.reason,
        "time": None if reading is None else rfc3339(reading.heard.utc_us),
        "refused_at": rfc3339(letter.refused_us),
    }
