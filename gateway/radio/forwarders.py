"""Which packet forwarders call, from where, and what that tells a technician. Time comes in, sentences go out.

A forwarder has two sockets: the address of its PUSH_DATA is not the one its downlinks go to. Anybody can claim any EUI,
so the registry is bounded, and who keeps a downlink path open is the last to be forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from gateway.radio.counter import CounterEstimate, count_of
from gateway.radio.schedule import GpsReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import GatewayEui, RadioFrame
    from gateway.wire.semtech_udp import Stat

Address = tuple[Any, ...]
"""What the socket calls an address: host, port, and with IPv6 two more."""

SILENT_AFTER_US: Final = 90_000_000
"""Forwarders call every 5 to 10 s; servers forget them after 60 (ChirpStack) to 90 s (The Things Stack)."""
MOST_FORWARDERS: Final = 256
_NAMED = 3  # a sentence for each of so many, then a number


class News(Enum):
    """What a datagram tells about its sender beyond what is in it."""

    NEW = "calls for the first time"
    BACK = "calls again"
    MOVED = "takes its downlinks elsewhere"


@dataclass(slots=True, eq=False)
class Forwarder:
    """One packet forwarder and what is known of it; times are the host's monotonic clock."""

    eui: GatewayEui
    receiver: str  # the EUI as 16 hex: what its frames carry and its downlinks name
    version: int
    last_us: int
    push_address: Address | None = None
    pull_address: Address | None = None  # where downlinks go: the source of its last PULL_DATA
    moved_from: Address | None = None
    last_push_us: int | None = None
    last_pull_us: int | None = None
    last_frame_us: int | None = None
    frames: int = 0
    refused: int = 0
    stat: Stat | None = None
    counter: CounterEstimate = field(default_factory=CounterEstimate)
    gps: GpsReference | None = None

    def heard(self, frame: RadioFrame, now_us: int) -> bool:
        """Learn its counter, and its GPS time, from a frame that came now. True: what was known no longer holds."""
        began_anew = self.counter.heard(frame.counter_us, now_us)
        if began_anew:
            self.gps = None
        count_us = self.counter.at(now_us)
        if frame.gps_time_us is not None and count_us is not None:
            self.gps = GpsReference(count_of(frame.counter_us, count_us), frame.gps_time_us)
        return began_anew

    def downlink_address(self, now_us: int) -> Address | None:
        """Where a downlink reaches it now, if anywhere."""
        return self.pull_address if _fresh(self.last_pull_us, now_us) else None

    def facts(self, now_us: int) -> Mapping[str, object]:
        """For `status`: plain values, ages in seconds."""
        stat = self.stat
        return {
            "eui": self.receiver,
            "address": _shown(self.pull_address or self.push_address),
            "version": self.version,
            "last_push_s": _age_s(self.last_push_us, now_us),
            "last_pull_s": _age_s(self.last_pull_us, now_us),
            "downlinks": self.downlink_address(now_us) is not None,
            "frames": self.frames,
            "refused": self.refused,
            "rxnb": stat and stat.rxnb,
            "rxok": stat and stat.rxok,
            "rxfw": stat and stat.rxfw,
            "ackr": stat and stat.ackr,
        }

    def sentence(self, now_us: int) -> str:
        """How it is, and what to look at if that is not how it should be."""
        who = f"{self.receiver} at {_shown(self.pull_address or self.push_address)}"
        if not _fresh(self.last_us, now_us):
            return f"{who} has been silent for {_span(now_us - self.last_us)}."
        if self.downlink_address(now_us) is None:
            return f"{who} sends no PULL_DATA, so no downlink can reach it: check its serv_port_down."
        if not _fresh(self.last_push_us, now_us):
            return f"{who} keeps calling but sends neither frames nor status: check its serv_port_up."
        if self.last_frame_us is None:
            return f"{who} calls, but has heard no frame yet."
        frames = f"{self.frames} frame{'s'[: self.frames != 1]}"
        return f"{who} calls; {frames}, the last {_span(now_us - self.last_frame_us)} ago."


class Forwarders:
    """All that called, by EUI."""

    def __init__(self, most: int = MOST_FORWARDERS) -> None:
        self._most = most
        self._by_eui: dict[bytes, Forwarder] = {}

    def __len__(self) -> int:
        return len(self._by_eui)

    def __iter__(self) -> Iterator[Forwarder]:
        return iter(self._by_eui.values())

    def push(self, eui: GatewayEui, version: int, address: Address, now_us: int) -> tuple[Forwarder, News | None]:
        """Note a PUSH_DATA. It says nothing about where downlinks go."""
        forwarder, news = self._called(eui, version, now_us)
        forwarder.push_address, forwarder.last_push_us = address, now_us
        return forwarder, news

    def pull(self, eui: GatewayEui, version: int, address: Address, now_us: int) -> tuple[Forwarder, News | None]:
        """Note a PULL_DATA: downlinks go to where it came from. After a move `moved_from` is the address before."""
        forwarder, news = self._called(eui, version, now_us)
        if forwarder.pull_address is not None and forwarder.pull_address != address:
            news, forwarder.moved_from = news or News.MOVED, forwarder.pull_address
        forwarder.pull_address, forwarder.last_pull_us = address, now_us
        return forwarder, news

    def find(self, receiver: str) -> Forwarder | None:
        """The forwarder a downlink names."""
        try:
            return self._by_eui.get(bytes.fromhex(receiver))
        except ValueError:
            return None

    def verdict(self, now_us: int, listening_on: str) -> tuple[str, str]:
        """The state of the whole, and the evidence for it in words."""
        if not self._by_eui:
            return "waiting", f"No packet forwarder has called on {listening_on} yet. Point its server_address here."
        latest_first = sorted(self, key=lambda forwarder: -forwarder.last_us)
        last = latest_first[0]
        if not _fresh(last.last_us, now_us):
            return "silent", (
                f"No packet forwarder has called for {_span(now_us - last.last_us)}; the last was {last.receiver} "
                f"at {_shown(last.pull_address or last.push_address)}. Check that it runs and that its server_address "
                f"leads to {listening_on}."
            )
        sentences = [forwarder.sentence(now_us) for forwarder in latest_first[:_NAMED]]
        if len(latest_first) > _NAMED:
            sentences.append(f"{len(latest_first) - _NAMED} more have called.")
        return "hearing", " ".join(sentences)

    def _called(self, eui: GatewayEui, version: int, now_us: int) -> tuple[Forwarder, News | None]:
        forwarder = self._by_eui.get(eui)
        if forwarder is None:
            if len(self._by_eui) >= self._most:
                self._forget_one(now_us)
            forwarder = self._by_eui[eui] = Forwarder(eui, str(eui), version, now_us)
            return forwarder, News.NEW
        news = None if now_us - forwarder.last_us <= SILENT_AFTER_US else News.BACK
        forwarder.version, forwarder.last_us = version, now_us
        return forwarder, news

    def _forget_one(self, now_us: int) -> None:
        """The stalest of those without a downlink path, else the stalest: forged uplinks cannot push real ones out."""
        stalest = min(self, key=lambda forwarder: (_fresh(forwarder.last_pull_us, now_us), forwarder.last_us))
        del self._by_eui[stalest.eui]


def _fresh(then_us: int | None, now_us: int) -> bool:
    return then_us is not None and now_us - then_us <= SILENT_AFTER_US


def _age_s(then_us: int | None, now_us: int) -> float | None:
    return None if then_us is None else round((now_us - then_us) / 1_000_000, 1)


def _span(span_us: int) -> str:
    seconds = span_us // 1_000_000
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def show_address(address: Address) -> str:
    """`host:port` as people write it; an IPv4 address seen through an IPv6 socket is an IPv4 address."""
    host, port = str(address[0]).removeprefix("::ffff:"), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shown(address: Address | None) -> str:
    return "?" if address is None else show_address(address)
