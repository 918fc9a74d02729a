"""Network servers as a technician reads them: whether they have our frames, and what became of their downlinks. Pure.

The facts have the same names for every kind of server (`view`); what a kind does not know is None, and no 0 is shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.console import verdict, wording
from gateway.console.verdict import Level, Link, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FEW_ACKNOWLEDGED: Final = 0.9
ENOUGH_TO_TELL: Final = 20  # frames
NEARLY_USED: Final = 0.9

MISSED: Final = {
    "away": "while it was away",
    "slow": "for want of speed",
    "no_room": "for want of room",
    "full": "for want of room",
    "not_sent": "not taken by the network",
    "no_word": "no word for the modulation",
    "refused": "refused by the broker",
}
"""Why frames did not leave; a reason that is not listed is shown as it is."""


def server(facts: Mapping[str, Any]) -> Link:
    """How one network server is."""
    found = verdict.link(facts)
    one = found.verdict
    share, settled = facts.get("acknowledged_share"), _settled(facts)
    if one.level is Level.GOOD and (facts.get("hint") or (facts.get("channels") or {}).get("sentence")):
        one = replace(one, level=Level.LOOK, word="Needs a look")  # it answers, and something is wrong all the same
    elif one.level is Level.GOOD and share is not None and share < FEW_ACKNOWLEDGED and settled >= ENOUGH_TO_TELL:
        why = f"Only {share:.0%} of the frames are acknowledged: the way there loses some, or the answers."
        one = replace(one, level=Level.LOOK, word="Loses frames", why=why, steps=(Step("Is the uplink slow or full?"),))
    return replace(found, verdict=one, acknowledged=None, figures=tuple(figures(facts)))


def figures(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and words, for what is known."""
    told = {
        "frames": _frames(facts),
        "missed": _missed(facts.get("missed") or {}),
        "not for it": wording.count(facts["filtered"]) if facts.get("filtered") else "",
        "history": _history(facts.get("history") or {}),
        "answers": _answers(facts),
        "downlinks": _tally(facts.get("downlinks") or {}),
        "refused": _tally({_words(reason): number for reason, number in (facts.get("refused") or {}).items()}),
    }
    told["channels"] = wording.plain((facts.get("channels") or {}).get("sentence") or "")
    told["law"] = wording.plain((facts.get("plan") or {}).get("law") or "")
    yield from ((label, words) for label, words in told.items() if words)
    yield from _airtime(facts)


def _settled(facts: Mapping[str, Any]) -> int:
    return (facts.get("acknowledged") or 0) + (facts.get("unanswered") or 0)


def _frames(facts: Mapping[str, Any]) -> str:
    forwarded = facts.get("forwarded")
    if not forwarded:
        return "" if forwarded is None else "none forwarded yet"
    told = f"{wording.count(forwarded)} forwarded"
    if "acknowledged" in facts and facts["acknowledged"] is None:
        return f"{told}; this protocol acknowledges none"
    if facts.get("acknowledged") is not None:
        told += f", {wording.count(facts['acknowledged'])} acknowledged"
    if (share := facts.get("acknowledged_share")) is not None:
        told += f" ({_percent(share)})"
    if facts.get("unanswered"):
        told += f", {wording.count(facts['unanswered'])} not"
    return told


def _missed(missed: Mapping[str, int]) -> str:
    return ", ".join(
        f"{wording.count(number)} {MISSED.get(reason, _words(reason))}" for reason, number in _ordered(missed)
    )


def _history(history: Mapping[str, Any]) -> str:
    """What went to it out of the store, and who still waits for that."""
    replayed, owed = history.get("replayed") or 0, history.get("owed_devices") or 0
    told = [f"{wording.count(replayed)} sent later"] if replayed else []
    if owed:
        told.append(f"{wording.counted(owed, 'device', 'devices')} still owed some")
    return ", ".join(told)


def _answers(facts: Mapping[str, Any]) -> str:
    age_s, round_trip_ms = facts.get("last_contact_s"), facts.get("round_trip_ms")
    told = [] if age_s is None else [f"{wording.duration(age_s)} ago"]
    if round_trip_ms is not None:
        told.append(f"in {wording.milliseconds(round_trip_ms) if round_trip_ms >= 1 else 'under a millisecond'}")
    return ", ".join(told)


def _airtime(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of the air time that it shares with everybody, for each sub-band that it has sent in."""
    uses = [use for use in facts.get("airtime") or () if use["used_s"]]
    several = len({use["receiver"] for use in uses}) > 1
    for use in uses:
        whose = f" of {wording.plain(use['receiver'])}" if several else ""
        used, left = (wording.milliseconds(1000 * use[key]) for key in ("used_s", "left_s"))
        yield "on air", f"{wording.plain(use['band'])}{whose}: {used} this hour, {left} left for all"


def _tally(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{wording.plain(word)} {wording.count(number)}" for word, number in _ordered(numbers))


def _ordered(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most first; what never happened is left out."""
    return sorted(((word, number) for word, number in numbers.items() if number), key=lambda one: (-one[1], one[0]))


def _words(reason: str) -> str:
    return wording.plain(reason.replace("_", " "))


def _percent(share: float) -> str:
    """Rounded to the near side: 99.96 % are not all."""
    return "100%" if share == 1 else f"{min(share, 0.999):.1%}" if share > 0.99 else f"{share:.0%}"
