"""How far the time can be believed: what the sources say goes in, a state and a date come out.

The states, worst first:

    none      nobody has ever told the time
    floor     the time is at least this: it was reached before the machine was last switched off
    rtc       a battery clock set it, and nobody has confirmed it since
    holdover  it was known earlier in this boot, and is carried on by the clock since boot
    ntp       the kernel's clock is synchronised
    gps       a GPS receiver tells it

A wall clock that claims to be earlier than the floor, or far later than this program was made, is refused as a source,
whoever vouches for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway import RELEASED
from gateway.host.dating import drift_us, milliseconds
from gateway.model import TimeQuality

if TYPE_CHECKING:
    from gateway.host.dating import Anchor

RELEASED_US = int(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp()) * 1_000_000
"""No time of this program can be earlier."""

LATEST_US = RELEASED_US + 15 * 31_556_952_000_000
"""Fifteen years on: a receiver whose week number turned over, or a broken battery clock, claims more."""

FLOOR_TOLERANCE_US = 600_000_000
"""The floor was true when it was written, within what its source knew."""

STEP_US = 500_000
"""A wall clock that moves this far against the clock since boot was set. NTP clients slew less than that, and slewing
moves both clocks alike (kernel/time/timekeeping.c)."""

BATTERY_DRIFT_PPM = 23
"""Two seconds a day, which a watch crystal loses near freezing point. Compensated ones are far better (DS3231: 3.5)."""

BATTERY_READS_US = 1_000_000
"""A battery clock is read in whole seconds."""

GPS_VALID_US = 60_000_000
"""How long a GPS time is carried on: receivers tell it every second, and in a minute the drift adds 6 ms."""


class ClockState(StrEnum):
    """What the time rests on."""

    NONE = "none"
    FLOOR = "floor"
    RTC = "rtc"
    HOLDOVER = "holdover"
    NTP = "ntp"
    GPS = "gps"

    @property
    def is_trusted(self) -> bool:
        """A source tells the time now; what is heard needs no other date."""
        return self in (ClockState.NTP, ClockState.GPS)

    @property
    def is_known(self) -> bool:
        """Dates mean something: ages may be counted by them, and old records expire."""
        return self not in (ClockState.NONE, ClockState.FLOOR)

    @property
    def rank(self) -> int:
        """Higher is better."""
        return tuple(ClockState).index(self)


# --- the kernel's clock ---------------------------------------------------------------------------------------------

# <linux/timex.h>
TIME_ERROR = 5  # what adjtimex returns while the clock is not synchronised
STA_UNSYNC = 0x0040  # nobody disciplines it, or not for so long that the error may have reached 16 s

PATH_ALLOWANCE_US = 50_000
"""What a client that does not measure its path may be off by: half the round trip of a slow cellular link.

systemd-timesyncd reports both errors as 0 at each poll (manager_adjust_clock in timesyncd-manager.c), the way to the
server left out. chrony and ntpd report an estimate, and their maximum contains half the round trip (root distance, RFC
5905).
"""


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock: the answer of adjtimex(2), in microseconds."""

    state: int  # its return value
    status: int  # STA_… bits
    offset_us: int  # still to be slewed away
    max_error_us: int  # grows by 500 µs a second from one poll of the server to the next
    estimated_error_us: int
    wall_us: int  # the time to which all this applies, since 1970


def kernel_uncertainty_us(kernel: KernelClock) -> int | None:
    """How far the kernel's time can be off; None while nobody disciplines it."""
    if kernel.state == TIME_ERROR or kernel.status & STA_UNSYNC:
        return None
    uncertainty_us = kernel.max_error_us + abs(kernel.offset_us)
    return uncertainty_us if kernel.estimated_error_us else uncertainty_us + PATH_ALLOWANCE_US


# --- what is remembered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatteryCheck:
    """How wrong the battery clock was when the time was last known."""

    utc_us: int
    error_ms: int


@dataclass(frozen=True, slots=True)
class Floor:
    """A time that has certainly been reached, and when in which boot that was known."""

    utc_us: int
    boot_id: str
    monotonic_us: int
    battery: BatteryCheck | None = None

    def at(self, boot_id: str, monotonic_us: int) -> int:
        """The earliest that a moment can be, in microseconds since 1970. Another boot is taken for a later one."""
        elapsed_us = monotonic_us - self.monotonic_us if boot_id == self.boot_id else monotonic_us
        return self.utc_us + elapsed_us - drift_us(elapsed_us)


@dataclass(frozen=True, slots=True)
class BatteryWitness:
    """A battery clock agreed with the wall clock when we started: the wall clock was set from it."""

    ahead_us: int  # the wall clock before the clock since boot; it changes when the wall clock is set
    monotonic_us: int
    uncertainty_us: int | None  # None: it has never been compared with a known time

    @classmethod
    def agreeing(cls, battery_s: int, moment: Moment, check: BatteryCheck | None) -> BatteryWitness | None:
        """What a battery clock is worth that says `battery_s` now; None when the wall clock has another time."""
        apart_us = max(0, abs(moment.wall_us - battery_s * 1_000_000 - BATTERY_READS_US // 2) - BATTERY_READS_US // 2)
        uptime_us = moment.monotonic_us
        if apart_us > BATTERY_READS_US + drift_us(uptime_us) + _battery_drift_us(uptime_us):
            return None
        uncertainty_us = None
        if check is not None:
            uncertainty_us = abs(check.error_ms) * 1000 + 2 * BATTERY_READS_US + apart_us
            uncertainty_us += _battery_drift_us(moment.wall_us - check.utc_us)
        return cls(moment.wall_us - uptime_us, uptime_us, uncertainty_us)


def _battery_drift_us(time_us: int) -> int:
    return max(0, time_us) * BATTERY_DRIFT_PPM // 1_000_000


# --- the decision ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine's clocks, read together."""

    monotonic_us: int
    wall_us: int
    slack_us: int = 0  # how far apart the two may have been read
    kernel: KernelClock | None = None  # None: it may not be asked

    @property
    def ahead_us(self) -> int:
        """The wall clock before the clock since boot: constant until somebody sets it."""
        return self.wall_us - self.monotonic_us


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to judge a moment by."""

    floor_us: int | None = None  # the earliest it can be
    gps: Anchor | None = None
    last: Anchor | None = None  # the last trusted moment of this boot
    battery: BatteryWitness | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The date of a moment and how far to believe it."""

    state: ClockState
    utc_us: int
    quality: TimeQuality
    uncertainty_ms: int | None  # None: nobody can say
    refused: str = ""  # why the wall clock is not believed
    dispute_us: int = 0  # by how much GPS and NTP contradict each other


def refusal(wall_us: int, floor_us: int | None) -> str:
    """Why a wall time cannot be true; empty when it can."""
    if wall_us > LATEST_US:
        return f"it says {day(wall_us)}, which is too far ahead"
    if floor_us is None and wall_us < RELEASED_US:
        return f"it says {day(wall_us)}, when this program was not yet made"
    if floor_us is not None and wall_us < floor_us - FLOOR_TOLERANCE_US:
        return f"it says {day(wall_us)}, but {day(floor_us)} has already been"
    return ""


def decide(moment: Moment, known: Known) -> Verdict:
    """The best date for a moment, from all that is known of it."""
    refused = refusal(moment.wall_us, known.floor_us)
    ntp = None if refused else by_kernel(moment)
    gps = _by_gps(moment, known.gps)
    if ntp is not None or gps is not None:
        return _told(ntp, gps, refused)
    if known.last is not None:
        utc_us, off_us = known.last.carried_to(moment.monotonic_us)
        return Verdict(ClockState.HOLDOVER, utc_us, TimeQuality.CORRECTED, milliseconds(off_us), refused)
    battery = known.battery
    if battery is not None and not refused and abs(moment.ahead_us - battery.ahead_us) <= STEP_US:
        return Verdict(ClockState.RTC, moment.wall_us, TimeQuality.RTC, _battery_off_ms(moment, battery))
    return _guessed(moment, known.floor_us, refused)


def by_kernel(moment: Moment) -> tuple[int, int] | None:
    """Date and uncertainty by NTP, in microseconds; None while nobody disciplines the kernel's clock."""
    off_us = None if moment.kernel is None else kernel_uncertainty_us(moment.kernel)
    return None if off_us is None else (moment.wall_us, off_us + moment.slack_us)


def _by_gps(moment: Moment, gps: Anchor | None) -> tuple[int, int] | None:
    """Date and uncertainty, in microseconds."""
    if gps is None or moment.monotonic_us - gps.monotonic_us > GPS_VALID_US:
        return None
    return gps.carried_to(moment.monotonic_us)


def _told(ntp: tuple[int, int] | None, gps: tuple[int, int] | None, refused: str) -> Verdict:
    """By the more exact of two sources; where they contradict each other, by NTP.

    A receiver that has just been switched on can be wrong by the leap seconds for 12.5 minutes, until the satellites
    have told their number (IS-GPS-200: subframe 4, page 18), and an old one by 1,024 weeks.
    """
    dispute_us = 0
    if ntp is not None and gps is not None:
        apart_us = abs(ntp[0] - gps[0])
        dispute_us = apart_us if apart_us > ntp[1] + gps[1] else 0
    if gps is None or (ntp is not None and (dispute_us or ntp[1] < gps[1])):
        assert ntp is not None
        return Verdict(ClockState.NTP, ntp[0], TimeQuality.NTP, milliseconds(ntp[1]), refused, dispute_us)
    return Verdict(ClockState.GPS, gps[0], TimeQuality.GPS, milliseconds(gps[1]), refused, dispute_us)


def _guessed(moment: Moment, floor_us: int | None, refused: str) -> Verdict:
    """Nobody vouches for anything: what is certain is only the floor."""
    if floor_us is None:
        utc_us = RELEASED_US + moment.monotonic_us if refused else moment.wall_us
        return Verdict(ClockState.NONE, utc_us, TimeQuality.UNSYNCED, None, refused)
    utc_us = floor_us if refused else max(floor_us, moment.wall_us)
    return Verdict(ClockState.FLOOR, utc_us, TimeQuality.UNSYNCED, None, refused)


def _battery_off_ms(moment: Moment, battery: BatteryWitness) -> int | None:
    if battery.uncertainty_us is None:
        return None
    return milliseconds(battery.uncertainty_us + drift_us(moment.monotonic_us - battery.monotonic_us))


def day(utc_us: int) -> str:
    """A date for people, to the minute: `2026-11-23 08:15 UTC`."""
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=utc_us):%Y-%m-%d %H:%M} UTC"
    except OverflowError:
        return "a year that does not exist"
