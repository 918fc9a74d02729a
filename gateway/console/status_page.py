"""`status` and `tail` as a technician reads them on a phone: at most 76 columns, verdicts before figures.

The verdicts and words are those of the pages (`verdict`, `wording`), so that both say the same of the same gateway.
"""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.console import servers, verdict, wording
from gateway.console.answering import airtime_left, answering
from gateway.console.terminal import clean
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.console.verdict import Verdict

WIDTH = 76
_LABEL = 9  # columns of the first one
_INDENT = " " * (_LABEL + 6)
_SIGNS = {verdict.Level.GOOD: "ok", verdict.Level.LOOK: "look", verdict.Level.BAD: "BAD"}


NEAR_S = 30 * 86_400
"""A limit further away than the default age of records is no news."""


def page(facts: Mapping[str, Any]) -> list[str]:
    """The state of a gateway, as lines; GatewayError when a daemon of another version said something else."""
    try:
        return [wording_on_a_terminal(line) for line in _page(facts)]
    except (KeyError, TypeError, ValueError) as error:
        raise GatewayError(
            f"the gateway's answer cannot be shown: {error!r}",
            hint="are command and daemon of one version? lorawan-gateway status --json shows the answer as it is",
        ) from error


def _page(facts: Mapping[str, Any]) -> Iterator[str]:
    name = wording.plain(facts.get("gateway_name") or "")
    yield "  ".join(filter(None, [name, facts["gateway_eui"], f"up {wording.duration(facts['uptime_s'])}"]))
    radio, store = facts["radio"], facts["store"]
    heard = _figures(radio, ("heard", "filtered", "stored", "dropped"))
    yield from _part("Hears", verdict.hearing(radio, facts["uptime_s"]), *filter(None, (heard, _channels(facts))))
    yield from _part("Clock", verdict.clock(facts["clock"]))
    if facts.get("gps"):
        yield from _part("GPS", verdict.gps(facts["gps"]), wording.place(facts.get("position")))
    kept = f"{verdict.capacity(store)}, {wording.counted(store['records'], 'record', 'records')}"
    if facts.get("network"):
        yield from _part("Sends", answering(facts["network"], radio), *airtime_left(radio))
    yield from _part("Keeps", verdict.keeping(store), f"{kept}{_forecast(store)}")
    for part in facts.get("codecs", ()):
        if (found := verdict.codec(part)) is not None:
            yield from _part("Codec", found, name=wording.plain(part["codec"]))
    for part in facts["sinks"]:
        link = verdict.link(part)
        figures = _figures(part, ("acknowledged", "queued", "given_up", "dead_letters"))
        waits = f", the oldest for {wording.duration(link.oldest_age_s)}" if link.queued else ""
        if link.queued and part.get("drained_in_s"):
            waits += f", through in about {wording.duration(part['drained_in_s'])}"
        yield from _part("Sink", link.verdict, figures + waits, name=wording.plain(link.name))
    for part in facts["lns"]:
        link = servers.server(part)
        yield from _part("LNS", link.verdict, *map(": ".join, link.figures), name=wording.plain(link.name))
    balance = store["balance"]
    yield f"{'Balance':{_LABEL}}{'ok    0: every frame is accounted for' if balance == 0 else f'BAD   {balance}'}"


def _channels(facts: Mapping[str, Any]) -> str:
    """What is heard, and whose word that is; empty where another program has that in its own configuration."""
    heard = facts["radio"].get("channels") or {}
    if not heard.get("channels"):
        return ""
    unheard = (facts.get("network") or {}).get("unheard")
    told = f"{wording.plain(heard['channels'])}: {wording.plain(heard['evidence'])}"
    return f"{told}; {wording.plain(unheard)}" if unheard else told


def _forecast(store: Mapping[str, Any]) -> str:
    """What will become of it at the present pace, where that is worth a line."""
    told = ""
    if store.get("full_in_s") is not None and store["full_in_s"] < NEAR_S:
        told += f", full in about {wording.duration(store['full_in_s'])}"
    if store.get("card_life_years") is not None:
        years = store["card_life_years"]
        told += f", the card lasts {'over fifty' if years > 50 else f'about {years:g}'} years"
    return told


def _part(title: str, found: Verdict, *figures: str, name: str = "") -> Iterator[str]:
    yield f"{title:{_LABEL}}{_SIGNS[found.level]:6}{f'{name} {found.word}'.strip()}"
    for text in (found.why, *figures):
        yield from _wrapped(text)
    for arrow, remarks in (("", found.notes), ("→ ", found.steps)):
        for remark in remarks:
            yield from _wrapped(f"{arrow}{remark.text}")
            if remark.command:
                yield f"{_INDENT}  {remark.command}"


def _figures(facts: Mapping[str, Any], names: Sequence[str]) -> str:
    known = (f"{name.replace('_', ' ')} {wording.count(facts[name])}" for name in names if facts.get(name) is not None)
    return ", ".join(known)


def _wrapped(text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False)


def wording_on_a_terminal(line: str) -> str:
    """The thin blanks that pages put between digits and units are plain ones here."""
    return clean(line.replace(wording.THIN, " "))


# --- tail -----------------------------------------------------------------------------------------------------------


def reading_line(reading: Mapping[str, Any]) -> str:
    """A reading on one line, whatever is in it and whatever is not."""
    if "missed" in reading:
        return f"… {clean(reading['missed'])} readings went by faster than they could be shown"
    radio = reading.get("radio")
    signal = wording.signal(radio).figures if isinstance(radio, dict) else ""
    who = reading.get("name") or reading.get("dev_eui") or f"unknown {reading.get('dev_addr') or ''}".strip()
    counter = f"#{reading['f_cnt']}" if reading.get("f_cnt") is not None else ""
    parts = (local_time(reading.get("time")), clean(who), counter, said(reading), f"({signal})" if signal else "")
    return wording_on_a_terminal("  ".join(filter(None, parts)))


def reading_cells(reading: Mapping[str, Any]) -> tuple[str, ...]:
    """A reading as a row of `uplink list`: when, who, counter, what it says, how it was heard."""
    who = reading["name"] or reading["dev_eui"]
    late = " (read again)" if reading["late"] else ""
    signal = wording.signal(reading["radio"])
    bars = f"SF{factor}" if (factor := reading["radio"].get("spreading_factor")) else "FSK"
    cells = (_local_date(reading["time"]), who, str(reading["f_cnt"]), said(reading) + late, f"{bars} {signal.word}")
    return tuple(map(wording_on_a_terminal, cells))


def _local_date(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return text


def said(reading: Mapping[str, Any]) -> str:
    """What a reading says, in words; of one that nobody could read, why and its payload."""
    if problem := reading.get("problem"):
        return f"{problem}: {reading.get('payload') or 'no payload'}"
    found = reading.get("measurements")
    if isinstance(found, list) and found:
        shown = wording.measurements(wording.news(found))
        return ", ".join(f"{part.label} {part.text} {part.unit}".strip() for part in shown)
    return str(reading.get("payload") or "no payload")


def local_time(text: object) -> str:
    """The clock on the wall here; the date is in `--json`."""
    try:
        return datetime.fromisoformat(str(text)).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError):
        return datetime.now(UTC).astimezone().strftime("%H:%M:%S")
