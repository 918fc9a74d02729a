"""What time it is, and how far to believe it.

Once a second the sources are asked (`time_sources`) and the date is decided (`trust`). In between it is carried on by
the clock since boot, which nobody can set: a step of the wall clock is seen together with what the kernel says of it,
or not at all.

Each stamp carries both times. Distances between stamps of one boot are right whatever happens to the wall clock, and a
date learnt later dates the earlier ones (`dating`); what is known across a power cut lies in two files (`anchors`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from gateway.host.anchors import TimeMemory, Told
from gateway.host.dating import Anchor, milliseconds
from gateway.host.time_sources import TimeSources
from gateway.host.trust import (
    RELEASED_US,
    STEP_US,
    BatteryCheck,
    BatteryWitness,
    ClockState,
    Floor,
    Known,
    Moment,
    Verdict,
    by_kernel,
    day,
    decide,
    kernel_uncertainty_us,
    refusal,
)
from gateway.model import Stamp, TimeQuality

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from gateway.host.anchors import Entry, Page
    from gateway.host.dating import Backdating, Dating
    from gateway.host.trust import KernelClock

log = logging.getLogger(__name__)

REFRESH_NS = 1_000_000_000
"""How long the word of the sources is good: they change in minutes, and asking costs as much as twenty stamps."""

READ_TOGETHER_US = 1_000  # two clocks that were read further apart are read again, a few times
READINGS = 3

ANCHOR_EVERY_US = 3_600_000_000
RETRY_US = 60_000_000  # a disk that refuses is tried again
KEEP_S = 1.0

CONTRADICTED_US = 24 * 3_600_000_000
"""A floor that a synchronised clock contradicts for a day is itself wrong: nobody is on the roof to delete it."""


class Clock:
    """Stamps moments. With a data folder it remembers the time across power cuts; close it (`with`) at the end."""

    def __init__(self, folder: Path | None = None, sources: TimeSources | None = None) -> None:
        """Read what is remembered and ask the sources for the first time."""
        self._sources = TimeSources() if sources is None else sources
        self._monotonic_ns = self._sources.monotonic_ns
        self._boot_id = self._sources.boot_id or uuid.uuid4().hex
        self._memory = TimeMemory(folder)
        self._floor = self._memory.floor
        if self._floor is not None and self._sources.boot_id is None:
            # The clock since boot may have run for long when the floor was reached, in this very boot.
            self._floor = replace(self._floor, boot_id=self._boot_id, monotonic_us=self._monotonic_ns() // 1000)
        self._last = self._memory.dating.latest(self._boot_id)  # the last trusted moment of this boot
        self._gps: Anchor | None = None
        self._gps_believed = True  # so far
        self._answered = True  # the kernel, so far
        self._moment: Moment | None = None
        self._verdict = Verdict(ClockState.NONE, 0, TimeQuality.UNSYNCED, None)
        self._contradicted_since_us: int | None = None
        self._noted_us = -1 if self._last is None else self._last.monotonic_us  # when the newest anchor was
        self._unsaved: list[Entry] = []
        self._save_due_us = 0
        self._stepped_us: int | None = None
        self.steps = 0  # of the wall clock
        self._battery = self._battery_witness()
        self._refresh()

    # --- what everybody asks

    def stamp(self) -> Stamp:
        """This moment, by what was known of the time at most a second ago."""
        monotonic_ns = self._monotonic_ns()
        if monotonic_ns >= self._good_until_ns:
            self._refresh()
        monotonic_us = monotonic_ns // 1000
        return Stamp(monotonic_us + self._ahead_us, self._quality, self._uncertainty_ms, self._boot_id, monotonic_us)

    def network(self) -> Stamp | None:
        """This moment by NTP alone, whoever else tells the time; None while it does not, or is not believed."""
        now = self.stamp()
        if self._network is None:
            return None
        ahead_us, off_us = self._network
        return replace(
            now,
            utc_us=now.monotonic_us + ahead_us,
            quality=TimeQuality.NTP,
            uncertainty_ms=milliseconds(off_us),
        )

    @property
    def dating(self) -> Dating:
        """Dates stamps of this boot and of earlier ones."""
        return self._memory.dating

    @property
    def state(self) -> ClockState:
        """What the time rests on."""
        return self._verdict.state

    @property
    def has_told(self) -> bool:
        """Whether everybody whom `keep` tells has dealt with every boot whose time is known."""
        return all(boot_id in self._memory.told for boot_id in self.dating.boots())

    def facts(self) -> dict[str, Any]:
        """The clock's part of `status`: quality, uncertainty_ms, state, evidence, steps of the wall clock."""
        stamp = self.stamp()
        return {
            "quality": str(stamp.quality),
            "uncertainty_ms": stamp.uncertainty_ms,
            "state": str(self._verdict.state),
            "evidence": _in_words(self._verdict),
            "steps": self.steps,
        }

    def gps_time(self, utc_us: int, uncertainty_ms: int, monotonic_us: int) -> bool:
        """Take the time from a receiver with a fix, as it was at this moment of the clock since boot.

        It holds for a minute. False when it cannot be true, as after a turn of the week number.
        """
        refused = refusal(utc_us, self._floor_us(monotonic_us))
        if refused:
            log.log(logging.WARNING if self._gps_believed else logging.DEBUG, "GPS is not believed: %s", refused)
        self._gps_believed = not refused
        if refused:
            return False
        self._gps = Anchor(self._boot_id, monotonic_us, utc_us, TimeQuality.GPS, max(1, uncertainty_ms))
        self._good_until_ns = 0
        return True

    # --- once a second

    def _refresh(self) -> None:
        moment = self._look()
        step_us = self._step_us(moment)
        verdict = decide(moment, self._known(moment))
        if self._floor_is_wrong(moment, verdict, step_us):
            self._floor = self._last = None
            verdict = decide(moment, self._known(moment))
        if step_us:
            self._note_step(moment, step_us)
        self._log_change(moment, verdict)
        self._book(moment, verdict, broken=step_us != 0)
        self._moment, self._verdict = moment, verdict
        self._ahead_us = verdict.utc_us - moment.monotonic_us
        ntp = None if verdict.refused else by_kernel(moment)
        self._network = None if ntp is None else (ntp[0] - moment.monotonic_us, ntp[1])
        self._quality, self._uncertainty_ms = verdict.quality, verdict.uncertainty_ms
        self._good_until_ns = moment.monotonic_us * 1000 + REFRESH_NS

    def _look(self) -> Moment:
        """The clocks, read as close together as can be had on a busy machine."""
        for _ in range(READINGS):
            before_us = self._monotonic_ns() // 1000
            kernel = self._ask()
            wall_us = self._sources.wall_ns() // 1000 if kernel is None else kernel.wall_us
            apart_us = self._monotonic_ns() // 1000 - before_us
            if apart_us <= READ_TOGETHER_US:
                break
        return Moment(before_us + apart_us // 2, wall_us, apart_us - apart_us // 2, kernel)

    def _ask(self) -> KernelClock | None:
        try:
            kernel = self._sources.kernel()
        except OSError as reason:
            if self._answered:
                log.warning("the kernel does not tell whether its clock is synchronised: %s", reason)
            self._answered = False
            return None
        self._answered = True
        return kernel

    def _known(self, moment: Moment) -> Known:
        return Known(self._floor_us(moment.monotonic_us), self._gps, self._last, self._battery)

    def _floor_us(self, monotonic_us: int) -> int | None:
        """The earliest that a moment of this boot can be; None when no time was ever known."""
        if self._last is not None:
            utc_us, off_us = self._last.carried_to(monotonic_us)
            return max(RELEASED_US, utc_us - off_us)
        return None if self._floor is None else max(RELEASED_US, self._floor.at(self._boot_id, monotonic_us))

    def _step_us(self, moment: Moment) -> int:
        """By how much somebody has set the wall clock since the last look; 0 when nobody has."""
        if self._moment is None:
            return 0
        step_us = moment.ahead_us - self._moment.ahead_us
        return step_us if abs(step_us) > STEP_US + moment.slack_us + self._moment.slack_us else 0

    def _note_step(self, moment: Moment, step_us: int) -> None:
        """Count it, and say it unless it happens all the time."""
        level = logging.WARNING if self._verdict.state.is_trusted else logging.INFO
        if self._stepped_us is not None and moment.monotonic_us - self._stepped_us < ANCHOR_EVERY_US:
            level = logging.DEBUG
        log.log(level, "the wall clock was set by %+.3f s; deadlines and order do not follow it", step_us / 1e6)
        self._stepped_us = moment.monotonic_us
        self.steps += 1

    def _floor_is_wrong(self, moment: Moment, verdict: Verdict, step_us: int) -> bool:
        """Whether a synchronised clock has contradicted the floor for so long that the floor must be wrong."""
        floor_us = self._floor_us(moment.monotonic_us)
        if verdict.state.is_trusted or step_us or not _refused_though_synchronised(moment, verdict):
            self._contradicted_since_us = None
            return False
        if self._contradicted_since_us is None:
            self._contradicted_since_us = moment.monotonic_us
        if moment.monotonic_us - self._contradicted_since_us < CONTRADICTED_US:
            return False
        if floor_us is None or moment.wall_us > floor_us or refusal(moment.wall_us, None):
            return False
        log.warning("the clock has been synchronised at %s for a day: it is believed now", day(moment.wall_us))
        return True

    def _log_change(self, moment: Moment, verdict: Verdict) -> None:
        before = self._verdict
        if self._moment is None or before.state is not verdict.state or bool(before.refused) != bool(verdict.refused):
            level = logging.WARNING if _refused_though_synchronised(moment, verdict) else logging.INFO
            log.log(level, "clock: %s", _in_words(verdict))
        if verdict.dispute_us and not before.dispute_us:
            log.warning("GPS and NTP are %.3f s apart: NTP is believed", verdict.dispute_us / 1e6)

    # --- anchors

    def _book(self, moment: Moment, verdict: Verdict, *, broken: bool) -> None:
        """Note a trusted moment when trust begins, improves or ends, on both sides of a step, and every hour."""
        was = self._verdict.state
        continues = was.is_trusted and verdict.state.is_trusted and not broken
        if was.is_trusted and not continues:
            self._note(self._last)  # the end of what was known
        if not verdict.state.is_trusted:
            return
        assert verdict.uncertainty_ms is not None
        self._last = Anchor(
            self._boot_id,
            moment.monotonic_us,
            verdict.utc_us,
            verdict.quality,
            verdict.uncertainty_ms,
            continues=continues,
        )
        improved = was.rank < verdict.state.rank
        if improved or not continues or moment.monotonic_us - self._noted_us >= ANCHOR_EVERY_US:
            self._note(self._last)

    def _note(self, anchor: Anchor | None) -> None:
        if anchor is None or anchor.monotonic_us <= self._noted_us:
            return
        self.dating.learn(anchor)
        self._remember(anchor)
        self._noted_us = anchor.monotonic_us

    def _remember(self, entry: Entry) -> None:
        self._unsaved.append(entry)
        self._save_due_us = 0

    def _battery_witness(self) -> BatteryWitness | None:
        """Whether the wall clock was set from a battery clock, judged once: later it drifts away from it."""
        battery_s = self._sources.battery_s()
        moment = self._look()
        if battery_s is None or refusal(moment.wall_us, self._floor_us(moment.monotonic_us)):
            return None
        check = None if self._floor is None else self._floor.battery
        return BatteryWitness.agreeing(battery_s, moment, check)

    # --- what survives a power cut

    async def keep(self, tell: Callable[[Backdating], Awaitable[None]] | None = None) -> None:
        """Write anchors and the floor, hourly and when something changes; for as long as the gateway runs.

        `tell` is called for each boot whose time became known, with what has a better date now. Once, and again after a
        restart until it has returned: it may do what must not be forgotten.
        """
        while True:
            now_us = self.stamp().monotonic_us
            if now_us >= self._save_due_us:
                battery_s = await asyncio.to_thread(self._sources.battery_s)
                page = self._page(battery_s)
                saved = await asyncio.to_thread(self._memory.save, page)
                if not self._unsaved:
                    self._save_due_us = now_us + (ANCHOR_EVERY_US if saved else RETRY_US)
            if tell is not None and not self._unsaved:  # learnt while it was saved: it is saved before it is told
                await self._tell(tell)
            await asyncio.sleep(KEEP_S)

    async def _tell(self, tell: Callable[[Backdating], Awaitable[None]]) -> None:
        for boot_id in self.dating.boots():
            backdating = self.dating.backdating(boot_id)
            if backdating is not None and boot_id not in self._memory.told:
                await tell(backdating)
                self._memory.told[boot_id] = None
                self._remember(Told(boot_id))

    def _page(self, battery_s: int | None) -> Page:
        """What there is to write now. Whether the disk takes it or not, it is not asked for again (see TimeMemory)."""
        stamp = self.stamp()
        floor_us = self._floor_us(stamp.monotonic_us)
        if floor_us is not None:
            battery = None if self._floor is None else self._floor.battery
            if battery_s is not None and self.state.is_trusted:
                battery = BatteryCheck(stamp.utc_us, battery_s * 1000 - stamp.utc_us // 1000)
            self._floor = Floor(floor_us, stamp.boot_id, stamp.monotonic_us, battery)
        entries, self._unsaved = self._unsaved, []
        return self._memory.page(entries, self._floor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Write what is known: it is the floor of the next start."""
        if self.state.is_trusted:
            self._note(self._last)
        self._memory.save(self._page(self._sources.battery_s()))


def _refused_though_synchronised(moment: Moment, verdict: Verdict) -> bool:
    synchronised = moment.kernel is not None and kernel_uncertainty_us(moment.kernel) is not None
    return synchronised and bool(verdict.refused)


WORDS: dict[ClockState, str] = {
    ClockState.NONE: "the time is not known yet; what is heard is dated once it is",
    ClockState.FLOOR: "not set since the start, later than it says; what is heard is dated once it is",
    ClockState.RTC: "set by the battery clock, not confirmed since the start",
    ClockState.HOLDOVER: "nobody tells the time any more; it is carried on by the machine's own clock",
    ClockState.NTP: "set by NTP",
    ClockState.GPS: "set by GPS",
}


def _in_words(verdict: Verdict) -> str:
    words = WORDS[verdict.state]
    if verdict.uncertainty_ms is not None:
        words += f", within {verdict.uncertainty_ms} ms"
    return f"{words}; the wall clock is not believed: {verdict.refused}" if verdict.refused else words
