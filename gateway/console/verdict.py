"""Does the box hear, does it keep, does it deliver? And if not: what to do. Pure: facts in, sentences out.

Each verdict has a level, one or two words that can be read from an arm's length, a sentence that says why, and the
next steps. A level never stands for itself on the page: word and sign say the same as the colour.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from gateway.console.wording import count, counted, duration, milliseconds, plain, sentence, size
from gateway.model import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

YES = "Yes"
"""The word of a part that does its work: hearing, yes; keeping, yes; delivering, yes."""

QUIET_S = 900.0
"""No frame at all for a quarter of an hour: a city is never as quiet, a field may be. Worth a look, no more."""

BEHIND_S = 60.0
"""A queue whose oldest reading is younger than this is only breathing: batches, acknowledgements on their way."""

LONGEST_HINT = 300
"""Characters: what to do is never cut in the middle, unless it were endless."""

PACE_MINUTES = 30
RECENT_MINUTES = 5


class Level(IntEnum):
    """How bad it is; the worst of several is their maximum."""

    GOOD = 0
    LOOK = 1  # somebody should look, nothing is lost yet
    BAD = 2  # does not do its work

    @property
    def sign(self) -> str:
        """The name of its sign, which is also its class on the page."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do or to know; `command` can be typed on the gateway."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the technician has to know of one part."""

    level: Level
    word: str
    why: str
    steps: tuple[Step, ...] = ()
    notes: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A destination or network server: its verdict beside its figures."""

    name: str
    verdict: Verdict
    queued: int = 0
    oldest_age_s: float = 0.0
    acknowledged: int | None = None
    figures: tuple[tuple[str, str], ...] = ()  # label and words; empty: those above say it


LOGBOOK = Step("Read what the gateway has said of it:", "journalctl -u lorawan-gateway -n 50")

LINK_STATES: dict[str, tuple[Level, str]] = {
    "connected": (Level.GOOD, "Connected"),
    "delivering": (Level.GOOD, "Connected"),
    "idle": (Level.GOOD, "Connected"),
    "ready": (Level.GOOD, "Connected"),
    "connecting": (Level.LOOK, "Connecting"),
    "starting": (Level.LOOK, "Starting"),
    "waiting": (Level.LOOK, "Waiting"),
    "paused": (Level.LOOK, "Paused"),
    "stopped": (Level.LOOK, "Stopped"),
    "unreachable": (Level.BAD, "Unreachable"),
    "unavailable": (Level.BAD, "Unreachable"),
    "disconnected": (Level.BAD, "Unreachable"),
    "retrying": (Level.BAD, "Unreachable"),
    "alert": (Level.BAD, "Refuses us"),
    "refused": (Level.BAD, "Refuses us"),
    "failed": (Level.BAD, "Failed"),
}
"""What a sink or network server may say of itself. One that is not listed is shown as it is, for a person to judge."""

LINK_STEPS: dict[str, tuple[Step, ...]] = {
    "Unreachable": (
        Step("Check the cable or modem, and that the address in the settings is right."),
        LOGBOOK,
    ),
    "Refuses us": (
        Step("Waiting does not mend this. Do what it says: mostly a login, a certificate or a path in the settings."),
        LOGBOOK,
    ),
    "Failed": (LOGBOOK,),
}

ANTENNA = Step("Is the antenna screwed on, and its cable whole? Never let the radio send without it.")

RADIO_STEPS: dict[tuple[str, str], tuple[Step, ...]] = {
    ("packet-forwarder", "waiting"): (
        Step("Is the packet forwarder running, and do its server_address and serv_port point at this gateway?"),
        LOGBOOK,
    ),
    ("packet-forwarder", "silent"): (
        Step("Is the machine with the packet forwarder on, and its network cable in? Start the program again."),
        LOGBOOK,
    ),
    ("packet-forwarder", "failed"): (
        Step("Does another program listen on that port?"),
        LOGBOOK,
    ),
    ("virtual", "waiting"): (Step("The virtual radio plays a scenario; its first device has not sent yet."),),
}
"""What to do by type and state of the radio."""

CHIP_STEPS: dict[str, tuple[Step, ...]] = {
    "waiting": (Step("Wait a minute: the chip starts, or nobody has sent yet. Press a device's button to hear it."),),
    "silent": (ANTENNA, Step("Press a device's button nearby. If that is not heard either:"), LOGBOOK),
    "failed": (
        Step("Switch off, press the board down on its header or the plug into its socket, start again."),
        LOGBOOK,
    ),
}
"""What to do where the radio is a chip of our own."""

QUIET_STEPS = (
    Step("Press a device's button nearby, or wake it with its magnet. If that is not heard:"),
    ANTENNA,
    LOGBOOK,
)

FAILING_STEPS = (
    Step("Do not switch off: what waits in memory would be lost."),
    Step("Is the card full? If it is not, it is worn out or loose.", "df -h"),
    LOGBOOK,
)

CLOCK_WORDS: dict[str, tuple[Level, str, str]] = {
    TimeQuality.GPS: (Level.GOOD, "GPS", "Set by GPS."),
    TimeQuality.NTP: (Level.GOOD, "Network", "Set from the network."),
    TimeQuality.RTC: (
        Level.LOOK,
        "Battery clock",
        "From the battery clock alone; the network has not confirmed it since the start.",
    ),
    TimeQuality.CORRECTED: (Level.GOOD, "Carried on", "Nobody tells the time any more; our own clock carries it on."),
    TimeQuality.UNSYNCED: (
        Level.LOOK,
        "Not set",
        "The clock is not set. Readings are kept in their order and dated back once it is.",
    ),
}


class Pace:
    """Frames by minute, from a counter that is looked at now and then."""

    def __init__(self) -> None:
        self._minutes: deque[list[int]] = deque(maxlen=PACE_MINUTES)  # [minute, frames]
        self._total: int | None = None
        self._first_s = self._changed_s = 0.0

    def note(self, total: int, now_s: float) -> None:
        """Take the counter's value at a moment of any steady clock."""
        if self._total is None:
            self._total, self._first_s = total, now_s
        grown, self._total = max(0, total - self._total), total
        minute = int(now_s // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0])
        self._minutes[-1][1] += grown
        if grown:
            self._changed_s = now_s

    def minutes(self, now_s: float) -> list[int]:
        """Frames in each of the last thirty minutes, oldest first; the last one is still running."""
        by_minute = {minute: frames for minute, frames in self._minutes}  # noqa: C416 - pairs are lists
        newest = int(now_s // 60)
        return [by_minute.get(minute, 0) for minute in range(newest - PACE_MINUTES + 1, newest + 1)]

    def recent(self, now_s: float) -> tuple[int, float]:
        """Frames lately, and in how many seconds: five minutes, or less when it has not looked for as long."""
        frames = sum(self.minutes(now_s)[-RECENT_MINUTES:])
        span_s = (RECENT_MINUTES - 1) * 60 + now_s % 60
        return frames, min(span_s, now_s - self._first_s)

    def silence_s(self, now_s: float) -> float | None:
        """How long the counter has stood still; None when it never moved."""
        return now_s - self._changed_s if self._changed_s else None


def hearing(radio: Mapping[str, Any], uptime_s: float) -> Verdict:
    """Whether the radio hears. That it could hear is not enough: no frame at all for a while is worth a look."""
    state, why = str(radio["state"]), _evidence(radio)
    steps = _own_advice(radio) or RADIO_STEPS.get((str(radio["type"]), state)) or CHIP_STEPS.get(state, (LOGBOOK,))
    notes = _radio_notes(radio)
    match state:
        case "hearing":
            quiet = _quiet(radio, uptime_s)
            if quiet is None:
                return Verdict(Level.GOOD, YES, why, notes=notes)
            word, since = quiet
            return Verdict(Level.LOOK, word, f"{why} {since}".strip(), _own_advice(radio) or QUIET_STEPS, notes)
        case "waiting":
            return Verdict(Level.LOOK, "Waits", why or "Nothing has been heard yet.", steps, notes)
        case "silent":
            return Verdict(Level.BAD, "Silent", why or "The radio answers, but hears nothing.", steps, notes)
        case "failed":
            return Verdict(Level.BAD, "Failed", why or "The radio does not answer.", steps, notes)
        case other:
            return Verdict(Level.LOOK, sentence(other), why, steps, notes)


def _quiet(radio: Mapping[str, Any], uptime_s: float) -> tuple[str, str] | None:
    """A word and a sentence for a radio that seems well and hears nobody; None where that is not known or not so."""
    if "last_heard_s" not in radio:
        return None
    silence_s = radio["last_heard_s"]
    if silence_s is None:
        return "Nobody yet", f"No frame has come since the start {duration(uptime_s)} ago."
    if silence_s > QUIET_S:
        return "Quiet", f"No frame has come for {duration(silence_s)}, not even a neighbour's or a damaged one."
    return None


def _radio_notes(radio: Mapping[str, Any]) -> tuple[Step, ...]:
    notes = []
    if radio["dropped"]:
        causes = radio.get("dropped_by_cause") or {}
        why = _tally(causes) if causes else "more came than could be kept"
        notes.append(Step(f"{counted(radio['dropped'], 'frame was', 'frames were')} dropped: {why}."))
    if ignored := {name: number for name, number in (radio.get("input") or {}).items() if number}:
        notes.append(Step(f"Messages to the radio's port that were not taken: {_tally(ignored)}."))
    return tuple(notes)


def _tally(numbers: Mapping[str, int]) -> str:
    ordered = sorted(numbers.items(), key=lambda one: -one[1])
    return ", ".join(f"{sentence(str(name)).lower()} {count(number)}" for name, number in ordered)


def codec(facts: Mapping[str, Any]) -> Verdict | None:
    """What is wrong with a codec; None when it may be asked. Nothing is lost by it: readings keep their payload."""
    name = facts["codec"].partition("@")[0]
    again = Step("Its readings are kept with their payload. Once it is mended:", "lorawan-gateway uplink reread")
    match facts["state"]:
        case "set aside":
            return Verdict(Level.LOOK, "Set aside", f"{plain(facts['detail'])}.", (again,))
        case "cannot load":
            trying = Step("What its examples say:", f"lorawan-gateway codec test {name}")
            return Verdict(Level.BAD, "Cannot load", f"{plain(facts['detail'])}.", (trying, again))
        case _:
            return None


def keeping(store: Mapping[str, Any]) -> Verdict:
    """Whether what was heard is safe on the disk."""
    window_ms = store["loss_window_ms"]
    safe = (
        f"A power cut now would cost at most the last {milliseconds(window_ms)}."
        if window_ms
        else "A power cut now would cost nothing."
    )
    why, own, notes = _evidence(store), _own_advice(store), _store_notes(store)
    match store.get("state") or "writing":
        case "full":
            steps = own or (
                Step("Free space on the card, or lower store.max_size. What waits for delivery takes room, too."),
                LOGBOOK,
            )
            return Verdict(
                Level.BAD, "Disk full", why or "The disk is full. New readings cannot be kept.", steps, notes
            )
        case "failing":
            why = why or "The disk refuses; readings wait in memory."
            return Verdict(Level.BAD, "At risk", why, own or FAILING_STEPS, notes)
        case "writing":
            wrong = store["balance"]
            level = Level.LOOK if wrong or store["quarantined"] or store.get("lost") else Level.GOOD
            steps = (
                (Step("Please report this, with what this prints:", "lorawan-gateway status --json"),) if wrong else ()
            )
            return Verdict(level, "Miscounts" if wrong else YES, why or safe, own or steps, notes)
        case other:
            return Verdict(Level.LOOK, sentence(str(other)), why or safe, own or (LOGBOOK,), notes)


def _store_notes(store: Mapping[str, Any]) -> tuple[Step, ...]:
    notes = []
    if balance := store["balance"]:
        frames = counted(abs(balance), "frame is", "frames are")
        notes.append(Step(f"The books do not balance: {frames} not accounted for."))
    if quarantined := store["quarantined"]:
        notes.append(Step(f"{counted(quarantined, 'damaged record was', 'damaged records were')} set aside."))
    if lost := store.get("lost"):
        notes.append(Step(f"{counted(lost, 'record was', 'records were')} lost to damage."))
    return tuple(notes)


def link(facts: Mapping[str, Any]) -> Link:
    """How one destination or network server is."""
    name, state = str(facts["name"]), str(facts["state"])
    queued, oldest_s = facts.get("queued") or 0, facts.get("oldest_age_s") or 0.0
    level, word = LINK_STATES.get(state, (Level.LOOK, sentence(state)))
    why, steps = _evidence(facts), LINK_STEPS.get(word, ())
    if word == "Paused":
        why = why or "Paused by hand; readings wait here."
        steps = (Step("Let it run again:", f"lorawan-gateway sink resume {plain(name)}"),)
    elif level is Level.GOOD and queued and oldest_s > BEHIND_S:
        level, word, why = Level.LOOK, "Catching up", why or "It answers, and takes what waited."
    return Link(
        name,
        Verdict(level, word, why, _own_advice(facts) or steps, _link_notes(facts)),
        queued,
        oldest_s,
        facts.get("acknowledged"),
    )


def _link_notes(facts: Mapping[str, Any]) -> tuple[Step, ...]:
    notes = []
    if given_up := facts.get("given_up"):
        notes.append(Step(f"{counted(given_up, 'reading was', 'readings were')} given up and will not arrive."))
    if dead := facts.get("dead_letters"):
        refused = counted(dead, "reading was", "readings were")
        notes.append(Step(f"{refused} refused. See why:", f"lorawan-gateway sink dead-letters {plain(facts['name'])}"))
    return tuple(notes)


def delivering(links: Sequence[Link]) -> Verdict:
    """Whether what was kept arrives where it should: one word for all destinations together."""
    if not links:
        return Verdict(
            Level.LOOK,
            "Nowhere",
            "No destination is set. Readings are kept here and wait.",
            (Step("Add a [sink.NAME] to /etc/lorawan-gateway/gateway.toml, then:", "lorawan-gateway check"),),
        )
    worst = max(entry.verdict.level for entry in links)
    troubled = [entry for entry in links if entry.verdict.level is worst]
    if worst is Level.GOOD:
        return Verdict(worst, YES, "")
    waiting, oldest_s = sum(entry.queued for entry in links), max(entry.oldest_age_s for entry in links)
    words = {entry.verdict.word for entry in troubled}
    why = (
        f"Nothing is lost: {counted(waiting, 'reading waits', 'readings wait')} here, the oldest for "
        f"{duration(oldest_s)}."
        if waiting
        else ""
    )
    if why and words != {"Paused"}:
        why += f" {'It leaves by itself' if waiting == 1 else 'They leave by themselves'} when the way is free."
    if worst is Level.LOOK:
        return Verdict(worst, words.pop() if len(words) == 1 else "Not all", why)
    return Verdict(worst, "Blocked" if len(troubled) == len(links) else "Partly blocked", why)


def clock(facts: Mapping[str, Any]) -> Verdict:
    """Whether the times of the readings can be trusted."""
    quality, uncertainty_ms = str(facts["quality"]), facts["uncertainty_ms"]
    level, word, why = CLOCK_WORDS.get(quality, (Level.LOOK, sentence(quality), ""))
    if uncertainty_ms is not None and quality != TimeQuality.UNSYNCED:
        why = f"{why} Right within {milliseconds(uncertainty_ms)}.".strip()
    steps = (Step("Connect the network, or give the GPS antenna sky."),) if quality == TimeQuality.UNSYNCED else ()
    return Verdict(level, word, why, steps)


GPS_WORDS: dict[str, tuple[Level, str]] = {
    "fix": (Level.GOOD, "Fix"),
    "no fix": (Level.LOOK, "No fix"),
    "silent": (Level.LOOK, "Silent"),
    "garbled": (Level.LOOK, "Not understood"),
    "refused": (Level.LOOK, "Not believed"),
    "failed": (Level.LOOK, "Not there"),
}
"""Never bad: what is heard is kept and dated without it."""


def gps(facts: Mapping[str, Any]) -> Verdict:
    """Whether the receiver tells time and place."""
    level, word = GPS_WORDS.get(str(facts["state"]), (Level.LOOK, sentence(str(facts["state"]))))
    return Verdict(level, word, _evidence(facts), () if level is Level.GOOD else _own_advice(facts))


def capacity(store: Mapping[str, Any]) -> str:
    """How much lies on the disk, and of how much."""
    most = store.get("max_bytes")
    return f"{size(store['bytes'])} of {size(most)}" if most else size(store["bytes"])


def _evidence(facts: Mapping[str, Any]) -> str:
    """What a part says of itself, begun like a sentence unless it begins with an address."""
    text = plain(facts.get("evidence") or "")
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def _own_advice(facts: Mapping[str, Any]) -> tuple[Step, ...]:
    hint = facts.get("hint")
    return (Step(plain(hint, LONGEST_HINT)),) if hint else ()
