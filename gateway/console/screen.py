"""The page as HTML: verdicts, figures and readings laid into the templates of `pages/`.

The server renders everything, once, for the first load and for live updates alike; the script only puts pieces in
place. What devices are called and what codecs say is foreign text and is escaped by the templates.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import DictLoader, Environment, StrictUndefined

from gateway import __version__
from gateway.console import verdict, wording
from gateway.console.answering import airtime_left, answering
from gateway.console.servers import server
from gateway.console.verdict import Level, Pace
from gateway.model import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

    from gateway.console.view import View

MOST_ROWS = 50
DAY_S = 86_400
UNTRUSTED = frozenset({TimeQuality.UNSYNCED, TimeQuality.RTC})


@dataclass(frozen=True, slots=True)
class Now:
    """The moment on both clocks: `utc_s` to compare with readings, `steady_s` for everything else."""

    utc_s: float
    steady_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """A reading ready for the page."""

    key: str
    name: str
    time: str  # RFC 3339, UTC
    clock: str  # the same for people
    age: str  # empty when the times of both cannot be compared
    shown: Sequence[wording.Shown]
    problem: str
    warnings: Sequence[str]
    notes: Sequence[str]
    signal: wording.Signal
    details: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A minute in the small chart: percent of the highest one, from below."""

    x: int
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Frame:
    """All that stands on the page at one moment, as HTML by the id of its place."""

    build: str
    utc_ms: int
    title: str
    spoken: str
    parts: Mapping[str, str]
    rows: Mapping[str, str]  # by key, newest first

    def since(self, shown: Frame | None) -> dict[str, Any]:
        """What changed, for the script; with `all` the rows replace what stood there, else they come on top of it."""
        before: Mapping[str, str] = shown.parts if shown else {}
        known: Mapping[str, str] = shown.rows if shown else {}
        fresh = [html for key, html in self.rows.items() if key not in known]
        return {
            "build": self.build,
            "now": self.utc_ms,
            "title": self.title,
            "spoken": self.spoken,
            "parts": {name: html for name, html in self.parts.items() if before.get(name) != html},
            "all": len(fresh) == len(self.rows),  # nothing in common: something was missed in between
            "rows": fresh,
        }


class Screen:
    """Draws the page of one daemon. Frames are drawn once a tick, however many look."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._pace = Pace()
        self._pages = _pages()
        self.assets = self._pages.assets
        self._frame: Frame | None = None
        self._frame_steady_s = 0.0

    def sample(self, now: Now) -> None:
        """Look at the counters, so that the page knows what the last minutes brought."""
        self._pace.note(self._view.status()["radio"]["heard"], now.steady_s)

    def own_trouble(self) -> list[str]:
        """What keeps this box from its own work, hearing and keeping, in sentences; empty when nothing does."""
        status = self._view.status()
        found = (
            ("Hearing", verdict.hearing(status["radio"], status["uptime_s"])),
            ("Keeping", verdict.keeping(status["store"])),
        )
        return [f"{label}: {one.word}. {one.why}" for label, one in found if one.level is Level.BAD]

    def page(self, now: Now) -> str:
        """The whole page."""
        rows = [_row(reading, now) for reading in self._view.recent()[:MOST_ROWS]]
        return self._pages.page.render(s=self._facts(now), rows=rows, parts=self._pages.parts)

    def frame(self, now: Now, fresh_s: float = 0.5) -> Frame:
        """The page in pieces; one that is younger than `fresh_s` is given again."""
        if self._frame is None or now.steady_s - self._frame_steady_s >= fresh_s:
            self._frame = self._draw(now, self._frame.rows if self._frame else {})
            self._frame_steady_s = now.steady_s
        return self._frame

    def _draw(self, now: Now, drawn: Mapping[str, str]) -> Frame:
        facts = self._facts(now)
        rows = {}
        for reading in self._view.recent()[:MOST_ROWS]:
            key = _key(reading)
            rows[key] = drawn.get(key) or str(self._pages.parts.row(_row(reading, now)))
        parts = {name: str(getattr(self._pages.parts, name)(facts)) for name in PARTS}
        parts["empty"] = "" if rows else str(self._pages.parts.empty(facts))
        return Frame(
            build=self._pages.build,
            utc_ms=int(now.utc_s * 1000),
            title=facts["title"],
            spoken=facts["spoken"],
            parts=parts,
            rows=rows,
        )

    def _facts(self, now: Now) -> dict[str, Any]:
        status = self._view.status()
        radio = status["radio"]
        self._pace.note(radio["heard"], now.steady_s)
        sinks = [verdict.link(facts) for facts in status["sinks"]]
        servers = [server(facts) for facts in status["lns"]]
        hearing, keeping = verdict.hearing(radio, status["uptime_s"]), verdict.keeping(status["store"])
        delivering = verdict.delivering([*sinks, *servers])
        lamps = [
            ("hearing", "Hearing", hearing),
            ("keeping", "Keeping", keeping),
            ("delivering", "Delivering", delivering),
        ]
        name = wording.plain(status.get("gateway_name") or "LoRaWAN gateway")
        troubles = [one.word for _, _, one in lamps if one.level > Level.GOOD]
        return {
            "title": f"{' · '.join(troubles) if troubles else 'OK'} · {name}",
            "spoken": ". ".join(f"{label}: {one.word}" for _, label, one in lamps) + ".",
            "name": name,
            "eui": str(status["gateway_eui"]),
            "version": str(status.get("version") or __version__),
            "uptime": wording.duration(status["uptime_s"]),
            "lamps": lamps,
            "hearing": hearing,
            "keeping": keeping,
            "delivering": delivering,
            "clock": verdict.clock(status["clock"]),
            "gps": verdict.gps(status["gps"]) if status.get("gps") else None,
            "place": wording.place(status.get("position")),
            "sending": answering(status["network"], radio) if status.get("network") else None,
            "airtime": airtime_left(radio),
            "sinks": sinks,
            "servers": servers,
            "servers_told": _in_trouble(servers),
            "steps": list(dict.fromkeys(step for one in sinks for step in one.verdict.steps)),
            "radio": radio,
            "reasons": _reasons(radio),
            "store": status["store"],
            "capacity": verdict.capacity(status["store"]),
            **self._lately(radio, now),
        }

    def _lately(self, radio: Mapping[str, Any], now: Now) -> dict[str, Any]:
        """What the last minutes brought."""
        frames, span_s = self._pace.recent(now.steady_s)
        minutes = self._pace.minutes(now.steady_s)
        most = max(minutes)
        silence_s = radio.get("last_heard_s")
        if silence_s is None:
            silence_s = self._pace.silence_s(now.steady_s)
        return {
            "lately": wording.counted(frames, "frame", "frames"),
            "lately_span": wording.duration(max(1.0, round(span_s / 60) * 60 if span_s >= 60 else span_s)),
            "most": most,
            "bars": [
                Bar(10 * i, round(36 - 36 * n / most, 1), round(36 * n / most, 1)) for i, n in enumerate(minutes) if n
            ],
            "last_heard": None if silence_s is None else _moment(now.utc_s - silence_s),
            "last_heard_age": "" if silence_s is None else wording.duration(silence_s),
        }


PARTS = ("head", "lamps", "notice", "hearing", "keeping", "delivering", "servers")
"""Macros of `parts.html` with a place of their own; the ids of these places are `part-NAME`. `empty` is one more."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What lies in `pages/`, ready to use. `build` changes with anything in it, and with the version."""

    build: str
    page: Template
    parts: Any  # the macros of parts.html
    assets: Mapping[str, bytes]


@cache
def _pages() -> Pages:
    """Templates and assets, read once, from a checkout as from a wheel."""
    files = [one for one in resources.files("gateway.console").joinpath("pages").iterdir() if one.is_file()]
    content = {one.name: one.read_bytes() for one in sorted(files, key=lambda one: one.name)}
    build = hashlib.sha256(b"".join(content.values()) + __version__.encode()).hexdigest()[:12]
    templates = Environment(
        loader=DictLoader({name: text.decode() for name, text in content.items() if name.endswith(".html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["build"] = build
    templates.filters |= {"grouped": wording.count, "duration": wording.duration}
    return Pages(
        build=build,
        page=templates.get_template("page.html"),
        parts=templates.get_template("parts.html").module,
        assets={name: text for name, text in content.items() if name.endswith((".css", ".js", ".svg"))},
    )


def _in_trouble(servers: Sequence[verdict.Link]) -> str:
    troubled = [one for one in servers if one.verdict.level > Level.GOOD]
    if not troubled:
        return "all well"
    return ", ".join(f"{one.name} {one.verdict.word.lower()}" for one in troubled)


def _reasons(radio: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Why frames were filtered, the commonest first: name, meaning, number."""
    refused = radio.get("refused") or {}
    ordered = sorted(((name, frames) for name, frames in refused.items() if frames), key=lambda one: -one[1])
    return [(*wording.reason(str(name)), wording.count(frames)) for name, frames in ordered]


def _key(reading: Mapping[str, Any]) -> str:
    return str(reading.get("record_id") or reading.get("id"))


def _moment(utc_s: float) -> str:
    return datetime.fromtimestamp(int(utc_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _row(reading: Mapping[str, Any], now: Now) -> Row:
    time = str(reading["time"])
    clock, age = _clock_and_age(time, now)
    notes = []
    if gap := reading.get("gap_before"):
        notes.append(
            f"{wording.counted(gap, 'frame', 'frames')} before this one {'was' if gap == 1 else 'were'} not heard."
        )
    if reading.get("time_quality") in UNTRUSTED:
        notes.append("The gateway's clock was not set; this time is a guess.")
    return Row(
        key=_key(reading),
        name=wording.plain(reading.get("name") or reading.get("dev_eui") or reading.get("dev_addr") or "?"),
        time=time,
        clock=clock,
        age=age,
        shown=wording.measurements(wording.news(reading.get("measurements"))),
        problem=wording.plain(reading.get("problem") or ""),
        warnings=[wording.plain(one) for one in reading.get("warnings") or ()],
        notes=notes,
        signal=wording.signal(reading.get("radio") or {}),
        details=_details(reading),
    )


def _clock_and_age(time: str, now: Now) -> tuple[str, str]:
    try:
        heard = datetime.fromisoformat(time)
    except ValueError:
        return wording.plain(time), ""
    age_s = now.utc_s - heard.timestamp()
    if -2 <= age_s < DAY_S:
        return heard.strftime("%H:%M:%S UTC"), f"{wording.duration(age_s)} ago"
    return heard.strftime("%Y-%m-%d %H:%M UTC"), ""


def _details(reading: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Everything else about a frame that somebody on the telephone may ask for."""
    radio = reading.get("radio") or {}
    tags = ", ".join(f"{key}={value}" for key, value in (reading.get("tags") or {}).items())
    rate = f"SF{radio['spreading_factor']}" if radio.get("spreading_factor") else radio.get("modulation")
    frequency_hz = radio.get("frequency_hz")
    air = [
        f"{wording.number(frequency_hz / 1e6, 4)}{wording.THIN}MHz" if frequency_hz else "",
        str(rate or ""),
        wording.signal(radio).figures,
    ]
    port = reading.get("f_port")
    found = [
        ("DevEUI", reading.get("dev_eui")),
        ("Address", reading.get("dev_addr")),
        ("Codec", reading.get("codec") or "none"),
        ("Counter", reading.get("f_cnt")),
        ("Port", "none" if port is None else port),
        ("Payload", reading.get("payload") or "empty"),
        ("Radio", ", ".join(one for one in air if one)),
        ("Tags", tags),
    ]
    return [(label, wording.plain(value)) for label, value in found if value not in (None, "")]
