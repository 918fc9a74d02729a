"""The concentrator's count against the clock of GPS: what time it was when a frame ended, to the microsecond.

The pulse of a receiver makes the chip note its counter at the begin of each second of GPS. Which second that was is
told by the receiver's messages, which are within half a second. A line through the last pulses gives GPS time for any
count, before its newest pulse as well as after it: distances have a sign here (Semtech's `lgw_cnt2gps` takes what is a
millisecond older than its reference for 71.6 minutes younger).

A pulse that does not fit the line is left out; a few in a row that fit one another, as after a receiver was restarted,
are a new line. So is every start of the chip, whose counter begins anew. Without pulses the line is carried on for some
minutes, ever less certain.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.radio.schedule import GpsReference

if TYPE_CHECKING:
    from gateway.model import GpsMoment

SECOND_US: Final = 1_000_000

MOST_PULSES: Final = 32
"""What the line is laid through: half a minute, in which a crystal's pace does not change by what could be measured."""

FIRST_PULSES: Final = 3
"""So many that fit one another make a line."""

MOST_PPM: Final = 100
"""A crystal that runs further off is none: those of concentrators are within 2.5 ppm and SX1250 boards within 20."""

CLOSE_US: Final = 3.0
"""A pulse fits the line within so much, and what the pace may have changed by since the last one: it is read in whole
microseconds, and a receiver's pulse is within 60 ns (u-blox M8 data sheet)."""

WANDER_PPM: Final = 1.0
"""By how much the pace changes at most when the line is carried on: sun on a box (TCXO: 0.5 ppm over its range)."""

HOLDS_US: Final = 600 * SECOND_US
"""Without a pulse the line is carried on so long: it is within a millisecond then, which is what `tmms` resolves."""

LOST_US: Final = 3 * SECOND_US
"""Without a pulse for so long somebody should look."""

NAMED_WITHIN_US: Final = 3 * SECOND_US
"""A second is named by a message that is no older."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """A pulse: its count, and the second of GPS it began."""

    count_us: int
    gps_time_us: int


class GpsTime:
    """What ties the count of one chip to the clock of GPS."""

    def __init__(self) -> None:
        self._pulses: deque[Pulse] = deque(maxlen=MOST_PULSES)
        self._odd: list[Pulse] = []  # the last ones that did not fit
        self._line: GpsReference | None = None
        self._off_us = 0.0
        self._seen_count_us: int | None = None  # the last pulse that was looked at
        self.rejected = 0
        self.unnamed = 0  # pulses nobody named the second of
        self.begun = 0  # lines

    def reset(self) -> None:
        """The chip was started: its counter began anew, and the counts before fit those after only to milliseconds."""
        self._pulses.clear()
        self._odd.clear()
        self._line = None
        self._seen_count_us = None

    def pulse(self, count_us: int, monotonic_us: int, named: GpsMoment | None) -> None:
        """Take the newest pulse; the same again is no harm. `monotonic_us` is when it was, on the clock since boot."""
        if count_us == self._seen_count_us:
            return
        self._seen_count_us = count_us
        if named is None or abs(monotonic_us - named.monotonic_us) > NAMED_WITHIN_US:
            self.unnamed += 1
            return
        gps_us = named.gps_time_us + monotonic_us - named.monotonic_us
        second_us = (gps_us + SECOND_US // 2) // SECOND_US * SECOND_US
        self._take(Pulse(count_us, second_us))

    def _take(self, pulse: Pulse) -> None:
        if self._line is not None:
            missed_us = abs(pulse.count_us - self._line.count_at(pulse.gps_time_us))
            if missed_us <= CLOSE_US + abs(pulse.count_us - self._line.count_us) * WANDER_PPM / 1_000_000:
                self._odd.clear()
                self._pulses.append(pulse)
                self._lay()
                return
            self.rejected += 1
        self._odd = [*(odd for odd in self._odd if _fit(odd, pulse)), pulse]
        if len(self._odd) >= FIRST_PULSES:
            self.begun += 1
            self._pulses.clear()
            self._pulses.extend(self._odd)
            self._odd.clear()
            self._lay()

    def _lay(self) -> None:
        """The line of least squares, through its own end: that is where it is asked for."""
        end = self._pulses[-1]
        points = [(p.gps_time_us - end.gps_time_us, p.count_us - p.gps_time_us) for p in self._pulses]
        base = points[-1][1]  # counts less GPS time: small numbers, so that nothing is rounded away
        many = len(points)
        mean_x = sum(x for x, _ in points) / many
        mean_y = sum(y - base for _, y in points) / many
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        fast = sum((x - mean_x) * (y - base - mean_y) for x, y in points) / spread
        at_end = mean_y - fast * mean_x
        residuals = [y - base - (at_end + fast * x) for x, y in points]
        self._off_us = max(1.0, 2 * (sum(r * r for r in residuals) / many) ** 0.5)
        # The end of the line lies between two microseconds: what is known better than they is kept on the GPS side.
        count_us = end.gps_time_us + base + round(at_end)
        self._line = GpsReference(count_us, end.gps_time_us, fast * 1_000_000, at_end - round(at_end))

    def reference(self, count_us: int) -> GpsReference | None:
        """The line, for a moment at this count; None while there is none that holds."""
        line = self._line
        return None if line is None or count_us - line.count_us > HOLDS_US else line

    def gps_time_us(self, count_us: int) -> int | None:
        """GPS time at a count, before or after the newest pulse."""
        line = self.reference(count_us)
        return None if line is None else line.gps_time_at(count_us)

    def off_us(self, count_us: int) -> int | None:
        """How far that may be off."""
        line = self.reference(count_us)
        return None if line is None else round(self._off_us + abs(count_us - line.count_us) * WANDER_PPM / 1_000_000)

    def words(self, count_us: int | None) -> str:
        """The evidence, for a person."""
        line = None if count_us is None else self.reference(count_us)
        if count_us is None:
            return "the concentrator is down"
        if line is None:
            if self._seen_count_us is None:
                return "no pulse reaches the concentrator"
            return "pulses reach the concentrator, and no message names their seconds" if self.unnamed else "settling"
        quiet_us = count_us - line.count_us
        within = f"the counter follows GPS within {self.off_us(count_us)} µs, its crystal is {line.fast_ppm:+.2f} ppm"
        return f"{within}; no pulse for {quiet_us // SECOND_US} s" if quiet_us > LOST_US else within


def _fit(one: Pulse, other: Pulse) -> bool:
    """Whether two pulses can be of one line, whichever its pace is."""
    apart_us = other.gps_time_us - one.gps_time_us
    counted_us = other.count_us - one.count_us
    return apart_us > 0 and abs(counted_us - apart_us) <= CLOSE_US + apart_us * MOST_PPM / 1_000_000
