"""Is the chip really hearing? Signs, a verdict in words, and how deep the next reset goes.

A chip fails quietly: a dead bus reads as zeros, and no frames; an unplugged one succeeds in everything; a stalled
receiver answers every question (concentrator.md, section 5). So life is judged by what cannot be counterfeited:

- *The counter* goes with the clock. One that stands still, jumps or runs away belongs to a chip that is not there.
- *The registers*: a version that turns into zeros or ones is a bus without a chip. Parity errors of both
  microcontrollers, and an AGC that stays at 0x14, are the signature of the stall that is known from the field
  (sx1302_hal, issue 154).
- *The air*: frames of any kind, damaged ones too, from whomever. How much of it is usual at this hour is learnt
  (`Traffic`), and who reports regularly (`Neighbours`): when all of them miss their turn, it is not they who are
  silent. A quiet roof has little to learn from, and is not accused.

Everything here is a value or a table over times that come as arguments: microseconds of the clock since boot.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.radio.chip import TroubleKind

if TYPE_CHECKING:
    from gateway.radio.pipe import Beat

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 3_600 * SECOND_US
DAY_HOURS: Final = 24

# --- what is usual --------------------------------------------------------------------------------------------------

MISSED_FRAMES: Final = 20
"""So many frames that should have come and did not: by chance that happens once in 500 million times (e to the -20),
if frames come independently, which they do not; hence the gap as well."""

GAP_TIMES: Final = 3
"""A silence is none that is less than this many times the longest of the last two days."""

LEAST_SILENCE_US: Final = 5 * MINUTE_US
"""Shorter silences are never judged."""

UNKNOWN_SHARE: Final = 0.25
"""An hour of the day that was never seen counts as this share of what is usual at other hours: nights are quieter."""

LEARNT_FRAMES: Final = 50
LEARNT_US: Final = HOUR_US
"""Less than that says nothing about what is usual."""

FORGET_DAYS: Final = 7
"""The usual follows the last week."""


class Traffic:
    """How many frames are usual, by the hour of the day; learnt while the radio is well.

    Its hours are those since boot, modulo 24: what repeats daily is at the same place in them, whatever the date is.
    """

    def __init__(self) -> None:
        self._per_hour = [0.0] * DAY_HOURS  # frames in a whole hour
        self._days = [0] * DAY_HOURS  # how often that hour was seen, up to a week
        self._gaps_us = [0] * (2 * DAY_HOURS)  # the longest that ended in each of the last 48 hours
        self._hour: int | None = None  # since boot, of what is being counted
        self._since_us = 0
        self._frames = 0  # of this hour
        self.total = 0
        self.last_us: int | None = None
        self._quiet_since_us: int | None = None  # the last frame, or the end of an interruption after it
        self._began_us: int | None = None

    def well(self, now_us: int) -> None:
        """The radio is up, and as far as anybody knows it hears; to be said every second or so."""
        if self._began_us is None:
            self._began_us = now_us
        hour = now_us // HOUR_US
        if hour != self._hour:
            self._close_hour()
            self._hour, self._since_us, self._frames = hour, now_us, 0
            self._gaps_us[hour % (2 * DAY_HOURS)] = 0

    def heard(self, now_us: int) -> None:
        """A frame, damaged or not."""
        self.well(now_us)
        place = now_us // HOUR_US % (2 * DAY_HOURS)
        self._gaps_us[place] = max(self._gaps_us[place], self.silence_us(now_us))
        self.last_us = self._quiet_since_us = now_us
        self._frames += 1
        self.total += 1

    def interrupted(self, now_us: int) -> None:
        """The radio was down until now: this hour says little, and the silence begins anew."""
        self._hour, self._frames = None, 0
        if self.last_us is not None:
            self._quiet_since_us = now_us

    def missed(self, now_us: int) -> float | None:
        """Frames that would have been usual since the last one; None when too little is known to say."""
        if self._quiet_since_us is None or self._began_us is None or self.total < LEARNT_FRAMES:
            return None
        if self._quiet_since_us - self._began_us < LEARNT_US:
            return None
        missed, at_us = 0.0, self._quiet_since_us
        while at_us < now_us:
            next_us = min(now_us, (at_us // HOUR_US + 1) * HOUR_US)
            missed += self._usual(at_us // HOUR_US) * (next_us - at_us) / HOUR_US
            at_us = next_us
        return missed

    def silence_us(self, now_us: int) -> int:
        """How long nothing was heard while the radio could; 0 before the first frame."""
        return 0 if self._quiet_since_us is None else now_us - self._quiet_since_us

    def is_silent(self, now_us: int) -> bool:
        """Whether this silence is not of the air."""
        quiet_us, missed = self.silence_us(now_us), self.missed(now_us)
        if missed is None or missed < MISSED_FRAMES:
            return False
        return quiet_us >= max(LEAST_SILENCE_US, GAP_TIMES * max(self._gaps_us))

    def _usual(self, hour: int) -> float:
        place = hour % DAY_HOURS
        if self._days[place]:
            return self._per_hour[place]
        assert self.last_us is not None
        assert self._began_us is not None
        return UNKNOWN_SHARE * self.total * HOUR_US / max(LEARNT_US, self.last_us - self._began_us)

    def _close_hour(self) -> None:
        """What was counted in an hour that is over, if most of it was seen."""
        if self._hour is None:
            return
        seen_us = (self._hour + 1) * HOUR_US - self._since_us
        if seen_us * 2 < HOUR_US:
            return
        place = self._hour % DAY_HOURS
        frames = self._frames * HOUR_US / seen_us
        self._days[place] = min(FORGET_DAYS, self._days[place] + 1)
        self._per_hour[place] += (frames - self._per_hour[place]) / self._days[place]


MOST_NEIGHBOURS: Final = 256
REGULAR_AFTER: Final = 6
"""Frames of one sender before it is called regular."""

OVERDUE_TIMES: Final = 3
"""A regular sender is overdue after this many times the longest it has ever been away."""

FEWEST_REGULAR: Final = 4
"""Three that are overdue at once may have lost power together, or left on one truck."""


@dataclass(slots=True)
class _Neighbour:
    last_us: int
    heard: int = 1
    longest_us: int = 0


class Neighbours:
    """Who reports regularly, whoever they are; by the address in their frames."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, _Neighbour] = OrderedDict()  # least recently heard first

    def heard(self, phy: bytes, now_us: int) -> None:
        """A frame with a good checksum. Only data frames have an address."""
        if len(phy) < 12 or phy[0] >> 5 not in {2, 4}:  # unconfirmed and confirmed data up
            return
        address = phy[1:5]
        known = self._known.get(address)
        if known is None:
            self._known[address] = _Neighbour(now_us)
            if len(self._known) > MOST_NEIGHBOURS:
                self._known.popitem(last=False)
            return
        if (away_us := now_us - known.last_us) > 10 * SECOND_US:  # repetitions are no interval
            known.longest_us = max(known.longest_us, away_us)
            known.heard += 1
        known.last_us = now_us
        self._known.move_to_end(address)

    def interrupted(self, now_us: int) -> None:
        """The radio was down: nobody was away meanwhile."""
        for known in self._known.values():
            known.last_us = now_us

    def overdue(self, now_us: int) -> tuple[int, int]:
        """How many regular senders there are, and how many of them should have been heard by now."""
        regular = [known for known in self._known.values() if known.heard >= REGULAR_AFTER and known.longest_us]
        return len(regular), sum(now_us - one.last_us > OVERDUE_TIMES * one.longest_us for one in regular)


# --- signs and verdict ----------------------------------------------------------------------------------------------

TWICE: Final = 2
"""One odd reading may be a disturbance on the bus; the next beat says whether it stays."""

OFF_US: Final = 20_000
OFF_SHARE: Final = 100
"""How far a counter may be from the clock: 20 ms, and a hundredth of the time (concentrator.md, 5.1)."""

AGC_STALLED: Final = 0x14
STALLED_US: Final = MINUTE_US
"""An AGC that stands at this status for so long, while nothing is heard, has stalled."""

FAULTS_TO_RESET: Final = 8
"""Faults of the receive buffer in one second that nothing is heard between: it will not find its way again."""


@dataclass(slots=True)
class Signs:
    """What the beats of one start have shown so far."""

    up_us: int = 0
    beats: int = 0
    counter_us: int | None = None
    count_us: int = 0
    off: int = 0  # beats in a row whose counter was not where the clock had it
    still: int = 0  # beats in a row whose counter was the same
    version: int | None = None  # the first that was read
    bus: int = 0  # beats in a row with another version
    bus_reads: int | None = None
    parity: int = 0  # beats in a row with a parity error
    both_parities: bool = False
    stalled_since_us: int | None = None
    heard: int = 0
    fifo_faults: int = 0
    bad_fifo: int = 0  # beats in a row with many faults and no frame
    faults: dict[str, int] = field(default_factory=dict)

    def beat(self, beat: Beat) -> None:
        """Take in what one more second has shown."""
        self._counter(beat)
        self._registers(beat)
        found = sum(number for name, number in beat.examination.faults.items() if "fifo" in name)
        many = found - self.fifo_faults >= FAULTS_TO_RESET and beat.heard == self.heard
        self.bad_fifo = self.bad_fifo + 1 if many else 0
        self.fifo_faults, self.heard = found, beat.heard
        self.faults = dict(beat.examination.faults)
        self.beats += 1

    def _counter(self, beat: Beat) -> None:
        apart_us = abs(beat.counter_us - beat.count_us)
        self.off = self.off + 1 if apart_us > OFF_US + SECOND_US // OFF_SHARE else 0
        before, self.counter_us, self.count_us = self.counter_us, beat.counter_us, beat.count_us
        self.still = self.still + 1 if before is not None and abs(beat.counter_us - before) < SECOND_US // 10 else 0

    def _registers(self, beat: Beat) -> None:
        seen = beat.examination
        if self.version is None and seen.version not in {None, 0x00, 0xFF}:
            self.version = seen.version
        changed = self.version is not None and seen.version is not None and seen.version != self.version
        self.bus = self.bus + 1 if changed or seen.version in {0x00, 0xFF} else 0
        self.bus_reads = seen.version
        parity = bool(seen.agc_parity_error or seen.arb_parity_error)
        self.parity = self.parity + 1 if parity and not self.bus else 0
        self.both_parities = bool(seen.agc_parity_error and seen.arb_parity_error)
        if seen.agc_status != AGC_STALLED or beat.heard != self.heard:
            self.stalled_since_us = None
        elif self.stalled_since_us is None:
            self.stalled_since_us = beat.monotonic_us


class State(Enum):
    """Of the radio, as `status` spells it."""

    WAITING = "waiting"
    HEARING = "hearing"
    SILENT = "silent"
    FAILED = "failed"


class Verdict(NamedTuple):
    """What the radio is like, the evidence for a person, and what is wrong with the chip if it has to be reset."""

    state: State
    evidence: str
    trouble: TroubleKind | None = None
    of_air: bool = False  # the chip says nothing against itself


def judge(signs: Signs, traffic: Traffic, neighbours: Neighbours, now_us: int) -> Verdict:
    """The verdict on a chip that is up, by everything that is known now."""
    trouble = _chip_trouble(signs, now_us)
    if trouble is not None:
        return trouble
    quiet_us = traffic.silence_us(now_us)
    regular, overdue = neighbours.overdue(now_us)
    if regular >= FEWEST_REGULAR and overdue == regular and quiet_us >= LEAST_SILENCE_US:
        words = f"nothing heard for {span(quiet_us)}, all {regular} regular neighbours are overdue"
        return Verdict(State.SILENT, words, TroubleKind.STUCK, of_air=True)
    if traffic.is_silent(now_us):
        words = f"nothing heard for {span(quiet_us)}, about {traffic.missed(now_us):.0f} frames would be usual"
        return Verdict(State.SILENT, words, TroubleKind.STUCK, of_air=True)
    if traffic.last_us is None:
        words = f"the chip counts, no frame since it was started {span(now_us - signs.up_us)} ago"
        return Verdict(State.WAITING, words)
    return Verdict(State.HEARING, f"last frame {span(now_us - traffic.last_us)} ago")


def _chip_trouble(signs: Signs, now_us: int) -> Verdict | None:
    if signs.bus >= TWICE:
        return _of_bus(signs)
    if signs.still and signs.off >= TWICE:
        return Verdict(State.FAILED, "the chip's counter stands still", TroubleKind.STUCK)
    if signs.off >= TWICE:
        assert signs.counter_us is not None
        off_s = (signs.counter_us - signs.count_us) / SECOND_US
        words = f"the chip's counter is {off_s:+.3f} s from the clock: it has started by itself, or is not read right"
        return Verdict(State.FAILED, words, TroubleKind.STUCK)
    if signs.parity >= TWICE:
        which = "both microcontrollers" if signs.both_parities else "a microcontroller"
        return Verdict(State.FAILED, f"the program of {which} of the chip is damaged (parity)", TroubleKind.STUCK)
    if signs.stalled_since_us is not None and now_us - signs.stalled_since_us >= STALLED_US:
        stalled = span(now_us - signs.stalled_since_us)
        words = f"the receiver has stalled: its AGC stands at {AGC_STALLED:#x} for {stalled}"
        return Verdict(State.SILENT, words, TroubleKind.STUCK)
    if signs.bad_fifo >= TWICE:
        return Verdict(State.FAILED, "the chip's receive buffer holds nothing that can be read", TroubleKind.FIFO_FAULT)
    return None


def _of_bus(signs: Signs) -> Verdict:
    match signs.bus_reads:
        case 0x00:
            return Verdict(State.FAILED, "every read from the chip is zeros", TroubleKind.BUS_LOW)
        case 0xFF:
            return Verdict(State.FAILED, "every read from the chip is ones", TroubleKind.BUS_HIGH)
        case other:
            words = f"the chip calls itself {other or 0:#04x}, before {signs.version or 0:#04x}"
            return Verdict(State.FAILED, words, TroubleKind.LOST)


# --- the ladder -----------------------------------------------------------------------------------------------------


class Rung(Enum):
    """How deep a reset goes; the box itself is never reset."""

    CHIP = "the chip is reset"
    POWER = "the chip's power is switched off and on"
    PROCESS = "the radio process is started anew"


class Remedy(NamedTuple):
    """What is done next, and after which wait."""

    rung: Rung
    wait_us: int


WAITS_US: Final = tuple(seconds * SECOND_US for seconds in (0, 0, 0, 2, 5, 10, 15))
"""Before each attempt in a row. The first three come at once: most troubles are gone after them. The last is how long a
USB cable may be back before it is noticed; an attempt costs a third of a second of processor time."""

CHRONIC_WAITS_US: Final = tuple(minutes * MINUTE_US for minutes in (0, 15, 60, 240))
"""For a silence of the air, which a reset does not prove to be the chip's: a reset costs some seconds of hearing."""

WELL_US: Final = 2 * MINUTE_US
"""So long without trouble, and the next one is a first one."""


class Ladder:
    """Which reset comes next. Deeper each time in a row; later each time, beyond the first."""

    def __init__(self) -> None:
        self.attempts = 0  # in a row
        self._silences = 0
        self._silent_until_us = 0

    def next(self, *, process_gone: bool = False) -> Remedy:
        """The remedy for a trouble now; of a process that is gone only a new one."""
        wait_us = WAITS_US[min(self.attempts, len(WAITS_US) - 1)]
        rung = Rung.PROCESS if process_gone or self.attempts >= 2 else (Rung.CHIP, Rung.POWER)[self.attempts]
        self.attempts += 1
        return Remedy(rung, wait_us)

    def for_silence(self, now_us: int) -> Remedy | None:
        """The remedy for a silence of the air, if it is time for one."""
        if now_us < self._silent_until_us:
            return None
        self._silences += 1
        wait_us = CHRONIC_WAITS_US[min(self._silences, len(CHRONIC_WAITS_US) - 1)]
        self._silent_until_us = now_us + wait_us
        rung = (Rung.CHIP, Rung.POWER, Rung.PROCESS)[(self._silences - 1) % 3]
        return Remedy(rung, 0)

    def well(self, for_us: int) -> None:
        """There was no trouble for so long."""
        if for_us >= WELL_US:
            self.attempts = 0

    def heard(self) -> None:
        """A frame: the silence is over."""
        self._silences, self._silent_until_us = 0, 0


def span(us: int) -> str:
    """So long, for a person."""
    seconds = max(0, us) // SECOND_US
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
