"""When something was heard, learnt afterwards.

A Pi hears before it knows the time. What it always knows is how long after the start of the machine a frame came, and
one trusted moment later in the same boot, an anchor, turns that into a date. The log is never rewritten: records keep
the stamp they were heard with, and are dated when they are read.

Between two anchors a date is interpolated. How far it can be wrong follows from both: each allows a range that grows
with the distance from it, and the truth lies in both ranges. Where the ranges do not meet, the clock that counts since
boot stood still (a paused virtual machine) or a source was wrong; then nobody knows which side of the break a frame
belongs to, and the date says so with an uncertainty that covers both.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.model import Stamp, TimeQuality

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DRIFT_PPM = 100
"""How fast or slow the clock since boot may run while nobody disciplines it, in microseconds a second.

chrony found 4.8 ppm on a Pi 3 and 13.4 on a Pi 4 (github.com/WsprryPi/WsprryPi, issue 237), 18.1 on a CM4
(jclark/rpi-cm4-ptp-guide, issue 6) and 38.9 on a first Pi (raspberrypi/linux, issue 782); cold and age are to be added.
A Pi 4 that heat or a setting slows below 300 MHz loses whole seconds a minute (raspberrypi/linux, issue 6016). That is
no drift any more, and shows as anchors that contradict each other.
"""

MOST_ANCHORS = 1_024
"""Of one boot. A boot with that many has lost and found its time source five hundred times."""

MOST_BOOTS = 512


def drift_us(distance_us: int) -> int:
    """What the clock since boot may be off by after running alone for this long."""
    return -(-abs(distance_us) * DRIFT_PPM // 1_000_000)


def milliseconds(uncertainty_us: int) -> int:
    """An uncertainty as stamps carry it: rounded up, and never nothing."""
    return max(1, -(-uncertainty_us // 1000))


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment on both clocks: since boot, and by a source that can be trusted."""

    boot_id: str
    monotonic_us: int
    utc_us: int
    source: TimeQuality  # NTP or GPS
    uncertainty_ms: int
    continues: bool = False  # the source was trusted without a break since the anchor before

    def carried_to(self, monotonic_us: int) -> tuple[int, int]:
        """The date of another moment of this boot, and how far it can be wrong, both in microseconds."""
        distance_us = monotonic_us - self.monotonic_us
        return self.utc_us + distance_us, self.uncertainty_ms * 1000 + drift_us(distance_us)


@dataclass(frozen=True, slots=True)
class Backdating:
    """The time of a boot became known: what it heard before this moment has a better date now than when it was heard.

    That is every stamp of this boot with a smaller `monotonic_us` whose quality is UNSYNCED or RTC.
    """

    boot_id: str
    before_us: int


class Dating:
    """Dates stamps by all anchors that are known."""

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self._boots: dict[str, _Timeline] = {}
        for anchor in anchors:
            self.learn(anchor)

    def learn(self, anchor: Anchor) -> None:
        """Take in an anchor later than those of its boot; one that is not is ignored."""
        timeline = self._boots.get(anchor.boot_id)
        if timeline is None:
            timeline = self._boots[anchor.boot_id] = _Timeline()
            if len(self._boots) > MOST_BOOTS:
                del self._boots[next(iter(self._boots))]
        timeline.learn(anchor)

    def date(self, stamp: Stamp) -> Stamp:
        """The stamp with the best date there is; the same stamp where its own is the best.

        What was heard on a synchronised clock stays as it is. All else becomes CORRECTED if its boot has an anchor.
        What was heard later in a boot is never dated earlier, unless its anchors themselves go back in time.
        """
        if stamp.quality is TimeQuality.NTP or stamp.quality is TimeQuality.GPS:
            return stamp
        timeline = self._boots.get(stamp.boot_id)
        return stamp if timeline is None else timeline.date(stamp)

    def backdating(self, boot_id: str) -> Backdating | None:
        """What of a boot was heard before its time was known; None while it is not."""
        timeline = self._boots.get(boot_id)
        return None if timeline is None else Backdating(boot_id, timeline.anchors[0].monotonic_us)

    def latest(self, boot_id: str) -> Anchor | None:
        """The last trusted moment of a boot."""
        timeline = self._boots.get(boot_id)
        return None if timeline is None else timeline.anchors[-1]

    def boots(self) -> Iterator[str]:
        """The boots whose time is known, in the order in which it became known."""
        return iter(tuple(self._boots))

    def anchors(self) -> Iterator[Anchor]:
        """All that dates are made of, boot by boot."""
        for timeline in self._boots.values():
            yield from timeline.anchors


@dataclass(slots=True)
class _Timeline:
    """The anchors of one boot, oldest first.

    Of a time that was trusted without a break only the first and the last are needed: nothing between them is undated.
    """

    anchors: list[Anchor] = field(default_factory=list)
    _moments_us: list[int] = field(default_factory=list)

    def learn(self, anchor: Anchor) -> None:
        if self.anchors and anchor.monotonic_us <= self.anchors[-1].monotonic_us:
            return
        if anchor.continues and len(self.anchors) > 1 and self.anchors[-1].continues:
            self._drop(-1)
        elif len(self.anchors) >= MOST_ANCHORS:
            self._drop(1)  # the first one dates everything heard before it
        self.anchors.append(anchor)
        self._moments_us.append(anchor.monotonic_us)

    def _drop(self, index: int) -> None:
        del self.anchors[index]
        del self._moments_us[index]

    def date(self, stamp: Stamp) -> Stamp:
        moment_us = stamp.monotonic_us
        index = bisect_right(self._moments_us, moment_us)
        if index == len(self.anchors):
            if stamp.quality is TimeQuality.CORRECTED:
                return stamp  # dated when it was heard, by an anchor that is no older than ours
            utc_us, uncertainty_us = self.anchors[-1].carried_to(moment_us)
        elif index == 0:
            utc_us, uncertainty_us = self.anchors[0].carried_to(moment_us)
        else:
            utc_us, uncertainty_us = _interpolated(self.anchors[index - 1], self.anchors[index], moment_us)
        return Stamp(utc_us, TimeQuality.CORRECTED, milliseconds(uncertainty_us), stamp.boot_id, moment_us)


def _interpolated(before: Anchor, after: Anchor, moment_us: int) -> tuple[int, int]:
    """The date of a moment between two anchors, and how far it can be wrong."""
    (early_us, early_off_us), (late_us, late_off_us) = before.carried_to(moment_us), after.carried_to(moment_us)
    low_us = max(early_us - early_off_us, late_us - late_off_us)
    high_us = min(early_us + early_off_us, late_us + late_off_us)
    if low_us > high_us:
        low_us = min(early_us - early_off_us, late_us - late_off_us)
        high_us = max(early_us + early_off_us, late_us + late_off_us)
    part_us, whole_us = moment_us - before.monotonic_us, after.monotonic_us - before.monotonic_us
    utc_us = before.utc_us + part_us * (after.utc_us - before.utc_us) // whole_us
    return utc_us, max(high_us - utc_us, utc_us - low_us)
