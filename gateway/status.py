"""What the running gateway shows of itself: `status`, the pages, `tail`, and what is told to destinations.

The balance is the proof that nothing is lost in silence: what the line handed over is compared with what the store has
booked, and each destination's obligations with what became of them. Zero, always.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.console.feed import Feed
from gateway.delivery.drain import age_s
from gateway.model import Record
from gateway.serving.plan import unheard_words
from gateway.trace import Trace
from gateway.wire.own_json import reading_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from gateway.decoding.sandbox import Decoder
    from gateway.delivery.drain import Drain
    from gateway.lns.server import Forwarding
    from gateway.model import DevEui, GatewayEui, OpenedUplink, Position, RadioFrame, Reading, Refused, Stamp
    from gateway.radio.concentrator import Concentrator
    from gateway.regions.region import Region
    from gateway.serving.side import NetworkSide
    from gateway.store.part import Tally
    from gateway.store.store import Store
    from gateway.tuning.tuner import Tuner
    from gateway.uplink import UplinkLine


class GatewayView:
    """The daemon as its console sees it (`console.view.View`), and the line's onlooker."""

    def __init__(
        self,
        gateway_eui: GatewayEui,
        name: str,
        radio: Concentrator,
        region: Region,
        store: Store,
        now: Callable[[], Stamp],
        clock_facts: Callable[[], dict[str, Any]],
    ) -> None:
        self._gateway_eui = gateway_eui
        self._name = name
        self._radio = radio
        self._store = store
        self._now = now
        self._clock_facts = clock_facts
        self._started_s = time.monotonic()
        self._booked_before = _booked(store.books())
        self._last_heard: Stamp | None = None
        self._feed: Feed[Record | Callable[[], dict[str, Any]]] = Feed(_shape)
        self.trace = Trace(self._feed, gateway_eui, region, now)
        self._line: UplinkLine | None = None
        self._side: NetworkSide | None = None
        self._drains: Sequence[Drain] = ()
        self._forwarding: Forwarding | None = None
        self._decoder: Decoder | None = None
        self._tuner: Tuner | None = None
        self._region = region
        self._position: Callable[[], Position | None] = lambda: None
        self._gps_facts: Callable[[], dict[str, Any] | None] = lambda: None
        for record in store.newest(50):
            self._feed.publish(record)

    def watch(
        self,
        line: UplinkLine,
        drains: Sequence[Drain],
        side: NetworkSide,
        decoder: Decoder,
        forwarding: Forwarding,
        tuner: Tuner,
    ) -> None:
        """The parts that were made after this view."""
        self._decoder = decoder
        self._line = line
        self._side = side
        self._drains = drains
        self._forwarding = forwarding
        self._tuner = tuner

    def place(self, position: Callable[[], Position | None], gps_facts: Callable[[], dict[str, Any] | None]) -> None:
        """Where the gateway stands, and how its receiver is, if there is one."""
        self._position, self._gps_facts = position, gps_facts

    # --- the line's onlooker

    def opened(self, uplink: OpenedUplink) -> None:
        """A frame of a device of ours was heard."""
        self.trace.opened(uplink)

    def kept(self, position: int, reading: Reading) -> None:
        """A reading is durable."""
        self._last_heard = reading.heard
        record = self._store.record(position, reading)
        self._feed.publish(record, raw=False)
        self.trace.kept(record)

    def refused(self, frame: RadioFrame, refused: Refused) -> None:
        """A frame goes no further."""
        self._last_heard = frame.heard
        self.trace.refused(frame, refused)

    def forget(self, dev_eui: DevEui) -> None:
        """Show a device no longer."""
        self._feed.drop(lambda item: isinstance(item, Record) and item.reading.dev_eui == dev_eui)

    # --- for the console

    def recent(self) -> Sequence[dict[str, Any]]:
        """The latest readings, newest first."""
        return self._feed.recent()

    def follow(self, *, raw: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        """Readings as they come; with `raw` each packet and what becomes of it (`wire.trace_json`)."""
        return self._feed.follow(raw=raw)

    def status(self) -> dict[str, Any]:
        """The state now, as contract section 2 shapes it."""
        now = self._now()
        radio = self._radio_status(now)
        return {
            "gateway_eui": str(self._gateway_eui),
            "gateway_name": self._name,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started_s),
            "clock": self._clock_facts(),
            "gps": self._gps_facts(),
            "position": _position(self._position()),
            "radio": radio,
            "store": self._store_status(),
            "sinks": [self._sink_status(drain, now) for drain in self._drains],
            "codecs": [] if self._decoder is None else list(map(asdict, self._decoder.health())),
            "network": self._network_status(radio, now),
            "lns": self._servers(radio, now),
        }

    def _network_status(self, radio: Mapping[str, Any], now: Stamp) -> dict[str, Any]:
        if self._side is None:
            return {}
        heard = None if self._tuner is None else self._tuner.heard
        unheard = unheard_words(self._region, heard) if heard is not None and self._side.answers else ""
        return {**self._side.facts(), "unheard": unheard, "airtime": self._share(None, radio, now)}

    def _servers(self, radio: Mapping[str, Any], now: Stamp) -> list[dict[str, Any]]:
        facts = [] if self._forwarding is None else self._forwarding.facts()
        return [{**one, "airtime": self._share(str(one["name"]), radio, now)} for one in facts]

    def _share(self, asker: str | None, radio: Mapping[str, Any], now: Stamp) -> list[dict[str, Any]]:
        """Of each sub-band's hour: what this one has used, and what is left for all together."""
        return [
            {
                "receiver": use["receiver"],
                "band": use["band"],
                "used_s": round(
                    self.trace.shares.used_us(asker, use["receiver"], use["band"], now.monotonic_us) / 1_000_000, 3
                ),
                "left_s": use["left_s"],
                "limit_s": use["limit_s"],
            }
            for use in radio["airtime"]
        ]

    def announcement(self) -> dict[str, Any]:
        """What destinations are told of this gateway: alive, since when, how well it hears and keeps."""
        status = self.status()
        return {
            "state": "online",
            **{key: status[key] for key in ("gateway_name", "version", "uptime_s", "clock", "position")},
            "radio": {key: status["radio"][key] for key in ("type", "state", "heard", "filtered", "stored", "dropped")},
            "store": {key: status["store"][key] for key in ("records", "loss_window_ms", "balance")},
        }

    def _radio_status(self, now: Stamp) -> dict[str, Any]:
        health, books = self._radio.health(), self._store.books()
        return {
            "type": health.type,
            "state": health.state,
            "evidence": health.evidence,
            "heard": books.heard,
            "filtered": sum(books.filtered.values()),
            "stored": books.stored - self._store.waiting(),
            "dropped": sum(books.dropped.values()),
            "reread": books.reread,
            "refused": dict(books.filtered),
            "dropped_by_cause": dict(books.dropped),
            "input": dict(health.refused),
            "last_heard_s": None if self._last_heard is None else round(age_s(self._last_heard, now), 1),
            "receivers": list(health.receivers),
            "airtime": list(health.airtime),
            "denied": dict(health.denied),
            "channels": {} if self._tuner is None else dict(self._tuner.facts()),
        }

    def _store_status(self) -> dict[str, Any]:
        facts = self._store.facts()
        return {
            "state": facts.state,
            "evidence": facts.evidence,
            "bytes": facts.bytes,
            "max_bytes": facts.max_bytes,
            "records": facts.records,
            "loss_window_ms": facts.loss_window_ms,
            "quarantined": facts.quarantined,
            "unopened_kept": self._store.books().unopened_kept,
            "erased": self._store.books().erased,
            "balance": self.balance(),
            "devices": facts.devices,
            "gaps": self._store.gaps,
            "losses": self._losses("*"),
            "epoch": facts.epoch,
            "head": facts.head,
            "last_sync_ms": facts.last_sync_ms,
            "full_in_s": _whole(facts.full_in_s),
            "written_per_day_bytes": facts.written_per_day_bytes,
            "card_life_years": None if facts.card_life_years is None else round(facts.card_life_years, 1),
        }

    def _sink_status(self, drain: Drain, now: Stamp) -> dict[str, Any]:
        progress = self._store.remembered(drain.name)
        return {
            "name": drain.name,
            "state": drain.state,
            "evidence": drain.evidence,
            "acknowledged": progress.acknowledged,
            "queued": progress.queued(self._store.head),
            "given_up": progress.given_up,
            "skipped": progress.skipped,
            "erased": progress.erased,
            "oldest_age_s": None if drain.oldest is None else round(age_s(drain.oldest, now), 1),
            "dead_letters": self._store.dead_letters(drain.name),
            "paused": progress.paused,
            "resent": progress.resent,
            "losses": self._losses(drain.name),
            "drained_in_s": _whole(drain.drained_in_s()),
        }

    def _losses(self, sink: str) -> dict[str, int]:
        """Records that a destination will never get (`*`: that were never stored), by reason."""
        return {reason: records for (name, reason), records in self._store.lost.items() if name == sink}

    def balance(self) -> int:
        """Zero when every frame is accounted for, once: on the way up, and for each destination."""
        books = self._store.books()
        booked = 0 if self._line is None else self._line.booked
        unbooked = _booked(books) - self._booked_before - booked
        owed = (self._store.progress(drain.name).balance(self._store.head) for drain in self._drains)
        return abs(unbooked) + abs(books.balance) + sum(map(abs, owed))


def _position(position: Position | None) -> dict[str, Any] | None:
    return None if position is None else {**asdict(position), "source": str(position.source)}


def _shape(item: Record | Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return item() if callable(item) else reading_json(item)


def _booked(books: Tally) -> int:
    """What the line has handed over, as the store counts it; what was read again did not come through the line."""
    return books.stored - books.reread + sum(books.filtered.values()) + books.dropped.get("full", 0)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
