"""`tail --raw` for people: a frame on the lines it needs, and below it what became of it, wherever the lines end.

What follows a frame is indented and begins with how long after it; where another frame came in between, it says whose
it is. Events of another version are shown as far as they are understood. Pure.
"""

from __future__ import annotations

import textwrap
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from gateway.console import wording
from gateway.console.status_page import local_time, reading_line, said, wording_on_a_terminal
from gateway.model import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Event = Mapping[str, Any]

NARROWEST, WIDEST = 60, 120
REMEMBERED: Final = 2048  # frames of which something may still be told

_TIME = 12  # columns of `14:02:11.480`
_INDENT = " " * (_TIME + 1)

KINDS: Final = {
    "unconfirmed_up": "unconfirmed",
    "confirmed_up": "confirmed",
    "join_request": "join",
    "rejoin_request": "rejoin",
    "join_accept": "join accept",
    "unconfirmed_down": "downlink",
    "confirmed_down": "conf. down",
    "proprietary": "proprietary",
}
"""`m_type` in the eleven columns it has."""

DOWN_KINDS: Final = {
    "unconfirmed_down": "unconfirmed downlink",
    "confirmed_down": "confirmed downlink",
    "join_accept": "join accept",
}

REASONS: Final = {
    "away": "the server was away",
    "slow": "the connection was too slow for it",
    "no_room": "too many waited",
    "full": "too many waited",
    "not_sent": "the network did not take it",
    "no_word": "the protocol has no words for how it was sent",
    "refused": "the broker refused it",
    "no_data_rate": "it was sent at a data rate that the server did not configure",
    "net_id": "the server wants other networks",
    "join_eui": "the server wants other JoinEUIs",
    "rejoin": "the protocol has no words for a rejoin request",
    "not_uplink": "the protocol takes uplinks only",
    "malformed": "it is no LoRaWAN frame",
}
"""Why a server missed a frame; one that is not listed is shown as it is."""


SELF_EXPLAINING: Final = frozenset({Refusal.UNKNOWN_DEVICE, Refusal.CRC_BAD, Refusal.CRC_NONE, Refusal.COPY})
"""Reasons whose detail repeats what the line above says."""


class PacketLines:
    """Makes lines of events, one after the other."""

    def __init__(self, width: int) -> None:
        self._width = max(NARROWEST, min(width, WIDEST)) - 1  # the last column of some terminals begins a new line
        self._names: OrderedDict[str, str] = OrderedDict()  # of frames, by id
        self._above = ""  # the id of the frame that the lines above belong to
        self._receiver = ""  # of the last frame: a site with one needs not be told of it each time

    def of(self, event: Event) -> list[str]:
        """The lines of an event; none where a later one says all of it."""
        return [wording_on_a_terminal(line) for line in self._lines(event)]

    def _lines(self, event: Event) -> Iterable[str]:
        match event.get("event"):
            case "heard" | "refused":
                return self._frame(event)
            case "kept":
                return self._kept(event)
            case "forwarded" | "acknowledged" | "unanswered" | "missed":
                return self._at_a_server(event)
            case "downlink":
                return self._downlink(event)
            case "downlink_result":
                return self._result(event)
            case _:
                return [reading_line(event)]

    # --- a frame

    def _frame(self, event: Event) -> Iterator[str]:
        name, frame = _who(event), str(event.get("id"))
        if name:  # a damaged frame has none, and may be a copy of one that has
            self._names[frame] = name
        if len(self._names) > REMEMBERED:
            self._names.popitem(last=False)
        self._above = frame
        radio = event.get("radio") or {}
        columns = (
            f"{_clock(event):{_TIME}}", f"{_kind(event):11}", f"{name:16}", f"{_megahertz(radio):7}",
            f"{_rate(radio):8}", f"{_number(radio.get('rssi_dbm'), 0):>4} dBm",
            f"{_number(radio.get('snr_db'), 1):>5} dB" if radio.get("snr_db") is not None else "",
        )  # fmt: skip
        yield " ".join(columns).rstrip()
        yield from self._wrapped(_INDENT, ", ".join([*_details(event), *self._news_of_receiver(radio)]))

    def _news_of_receiver(self, radio: Mapping[str, Any]) -> list[str]:
        receiver = str(radio.get("receiver") or "")
        if receiver in {"", self._receiver}:
            return []
        self._receiver = receiver
        return [f"by {receiver}"]

    # --- what follows

    def _at_a_server(self, event: Event) -> Iterator[str]:
        told, reason = str(event["event"]), event.get("reason")
        if told == "forwarded" and not event.get("final"):
            return
        words = {"forwarded": "sent to it", "unanswered": "not acknowledged", "missed": "not sent"}.get(told, told)
        if reason == "nobody_subscribed":
            words = "the broker has it, and nobody is subscribed"
        elif reason == "history":
            words = "has it now, out of the store"
        elif reason:
            words += f": {REASONS.get(str(reason), reason)}"
        yield from self._follow(event, f"{wording.plain(event.get('lns'))}: {words}")

    def _kept(self, event: Event) -> Iterator[str]:
        yield from self._follow({**event, "frame": event.get("id")}, f"kept: {said(event)}")

    def _downlink(self, event: Event) -> Iterator[str]:
        radio, early_ms = event.get("radio") or {}, event.get("early_ms")
        asks = f"{wording.plain(event['lns'])} asks for" if event.get("lns") is not None else "this gateway answers in"
        windows = {"immediately": "at once", "gps_time": "at a GPS time", None: "a window of no known uplink"}
        window = windows.get(event.get("window"), str(event.get("window")))
        if event.get("window") and event.get("delay_ms"):
            window += f" after {_number(event['delay_ms'] / 1000, 1)} s"
        power = f"{_number(radio.get('power_dbm_eirp'), 1)} dBm"
        text = f"← {asks} {window}, {_megahertz(radio)} {_rate(radio)} {power}"
        if early_ms is not None:
            margin = f"{_number(abs(early_ms), 0)} ms"
            text += f", {margin} before it opens" if early_ms >= 0 else f", {margin} too late"
        yield from self._follow(event, f"{text}: {_what(event)}")

    def _result(self, event: Event) -> Iterator[str]:
        asker = "this gateway" if event.get("lns") is None else wording.plain(event["lns"])
        text = f"← {asker}: {event.get('result')}"
        if event.get("on_air") is None:
            text += ", nobody can say whether it was on the air"
        if detail := event.get("detail"):
            text += f", {detail}"
        yield from self._follow(event, text)

    def _follow(self, event: Event, text: str) -> Iterator[str]:
        frame, after_ms = event.get("frame"), event.get("after_ms")
        start = _clock(event) if frame is None or after_ms is None else f"+{_elapsed(after_ms)}"
        if frame is None:
            self._above = ""
        elif frame != self._above or after_ms is None:
            text = f"({self._names.get(frame) or _who(event)}) {text}"
        yield from self._wrapped(f"{start:>{_TIME}} ", text)

    def _wrapped(self, start: str, text: str) -> Iterator[str]:
        further = _INDENT + "  " if start.strip() else _INDENT
        yield from textwrap.wrap(
            text, self._width, initial_indent=start, subsequent_indent=further, break_on_hyphens=False
        )


def _clock(event: Event) -> str:
    """The clock on the wall here, to the millisecond."""
    second, millisecond = local_time(event.get("time")), str(event.get("time") or "")[19:23]
    return f"{second}{millisecond}" if millisecond.startswith(".") else second


def _kind(event: Event) -> str:
    match (event.get("radio") or {}).get("crc"):
        case "bad":
            return "damaged"
        case "none":
            return "no checksum"
        case _:
            return KINDS.get(str(event.get("m_type")), "unreadable")


def _who(event: Event) -> str:
    """The address with the counter, or the EUI of who has no address yet."""
    address = event.get("dev_addr")
    if not address or str(event.get("m_type")) in {"join_request", "rejoin_request"}:
        return str(event.get("dev_eui") or "")
    counter = event.get("f_cnt", event.get("f_cnt16"))
    return str(address) if counter is None else f"{address} #{counter}"


def _details(event: Event) -> list[str]:
    radio, reason = event.get("radio") or {}, event.get("reason")
    told = [wording.plain(event["name"])] if event.get("name") else []
    if reason:
        told.append(_why(str(reason), wording.plain(event.get("problem") or "")))
    if event.get("gap_before"):
        told.append(f"{wording.counted(event['gap_before'], 'frame', 'frames')} before it not heard")
    if event.get("join_eui"):
        told.append(f"JoinEUI {event['join_eui']}, DevNonce {event.get('dev_nonce')}")
    told += [
        words for key, words in (("adr_ack_req", "asks whether it is heard"), ("ack", "acknowledges")) if event.get(key)
    ]
    if event.get("f_port") is not None:
        told.append(f"port {event['f_port']}")
    told.append(wording.counted(event.get("size") or 0, "byte", "bytes"))
    if radio.get("channel") is not None:
        told.append(f"channel {radio['channel']}")
    return told


def _why(reason: str, problem: str) -> str:
    meaning, _ = wording.reason(reason)
    if reason in SELF_EXPLAINING or not problem:
        return meaning
    return wording.sentence(problem) if reason == Refusal.JOINED else f"{meaning}: {problem}"


def _what(event: Event) -> str:
    """The frame that is to go down."""
    kind = DOWN_KINDS.get(str(event.get("m_type")), "a frame")
    address = event.get("to_dev_addr")
    whom = f" to {address} #{event.get('f_cnt16')}" if address else ""
    return f"{kind}{whom}, {wording.counted(event.get('size') or 0, 'byte', 'bytes')}"


def _megahertz(radio: Mapping[str, Any]) -> str:
    return f"{(radio.get('frequency_hz') or 0) / 1e6:.3f}"


def _rate(radio: Mapping[str, Any]) -> str:
    match radio.get("modulation"):
        case "LORA":
            return f"SF{radio.get('spreading_factor')}/{(radio.get('bandwidth_hz') or 0) // 1000}"
        case "FSK":
            return f"FSK {(radio.get('bit_rate') or 0) / 1000:g}k"
        case other:
            return str(other or "")


def _number(value: object, decimals: int) -> str:
    return wording.number(float(value), decimals) if isinstance(value, int | float) else wording.NONE


def _elapsed(milliseconds: float) -> str:
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s" if milliseconds < 60_000 else wording.duration(milliseconds / 1000)
