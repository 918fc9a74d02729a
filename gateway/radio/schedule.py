"""When what goes on the air: the queue of one transmitter over its microsecond count.

A chip holds one transmission at a time, and what it is given too late or too early it sends at a wrong moment. So a
transmission waits here and is handed over just in time: early enough to be programmed, late enough that the one before
is over and that the comparator of 27 bits cannot misread its start. Nothing here knows a clock; every call says what
the count is now (`counter`), which makes each margin testable to the microsecond.

A packet forwarder has such a queue of its own. What is admitted here is handed to it at once and kept in mind.

Source of the numbers: the just-in-time queue of Semtech's packet forwarder (sx1302_hal 2.1.0, `jitqueue.c`), which
compares unsigned and so calls "too early" what has just passed. Here distances have a sign.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import AtCounter, AtGpsTime, TxResult
from gateway.radio.counter import microseconds_until
from gateway.radio.duty_cycle import Denied

if TYPE_CHECKING:
    from gateway.model import DownlinkRequest, Immediately
    from gateway.radio.duty_cycle import Booking

HAND_OVER_US = 40_000
"""A transmission goes to the chip so long before its start (TX_JIT_DELAY)."""

START_DELAY_US = 1_500
"""What the chip needs from its trigger to the first symbol (TX_START_DELAY)."""

MARGIN_US = 1_000
"""What every moment may be off by (TX_MARGIN_DELAY)."""

LEAD_US = HAND_OVER_US + START_DELAY_US + MARGIN_US
"""What is asked for with no more than this to go is too late."""

GUARD_US = HAND_OVER_US + START_DELAY_US + MARGIN_US
"""Between the end of one transmission and the start of the next: the one must be over before the chip is told of the
other, or it would be overwritten."""

PROGRAM_US = 10_000
"""With less than this to go, handing over is no use any more: 65 messages over SPI take up to 7 ms on a Raspberry Pi,
and a start missed by the comparator fires 134 s later."""

AT_ONCE_US = 80_000
"""An immediate transmission starts so long after it was asked for, or in the first gap after that."""

MOST_AHEAD_US = 512_000_000
"""Four beacon periods (TX_MAX_ADVANCE_DELAY). More is too early."""

MOST_WAITING = 128
"""Transmissions that may wait. Semtech's queue has 32; join accepts wait for five seconds, of short ones sixteen fit
into each."""

GPS_HOLDS_US = 30_000_000
"""A GPS reference older than this is none (Semtech's forwarder)."""


@dataclass(frozen=True, slots=True)
class GpsReference:
    """A moment on the count and on the clock of GPS, microseconds since 1980-01-06; it holds before and after it."""

    count_us: int
    gps_time_us: int
    fast_ppm: float = 0.0  # how much too fast the count runs
    above_us: float = 0.0  # the part of a microsecond by which the count was further

    def count_at(self, gps_time_us: int) -> int:
        """The count at a moment of GPS."""
        apart_us = gps_time_us - self.gps_time_us
        return self.count_us + apart_us + round(apart_us * self.fast_ppm / 1_000_000 + self.above_us)

    def gps_time_at(self, count_us: int) -> int:
        """GPS time at a count."""
        apart_us = count_us - self.count_us
        pace = 1 + self.fast_ppm / 1_000_000
        return self.gps_time_us + apart_us - round((apart_us * (pace - 1) + self.above_us) / pace)


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """An admitted transmission with its place in the schedule, and in the ledger where the law limits it."""

    request: DownlinkRequest
    start_us: int  # of the preamble, on the count
    airtime_us: int
    booking: Booking | None = None

    @property
    def end_us(self) -> int:
        """When the last symbol is over."""
        return self.start_us + self.airtime_us


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be done now: hand this to the chip; tell who asked for these that their moment has passed."""

    planned: Planned | None
    missed: tuple[Planned, ...] = ()


def _start(planned: Planned) -> int:
    return planned.start_us


class Schedule:
    """The transmissions of one transmitter, which sends one at a time and hears nothing meanwhile."""

    def __init__(self) -> None:
        self._waiting: list[Planned] = []  # by start
        self._handed: list[Planned] = []  # by start; given to the chip or to another program, not over yet

    def place(
        self,
        timing: AtCounter | AtGpsTime | Immediately,
        airtime_us: int,
        now_us: int,
        gps: GpsReference | None = None,
    ) -> int | Denied:
        """The count at which it would start, or why it cannot. Nothing is taken in yet."""
        if len(self._waiting) + len(self._handed) >= MOST_WAITING:
            return Denied(TxResult.COLLISION_PACKET, f"{MOST_WAITING} transmissions wait already")
        match timing:
            case AtCounter(counter_us):
                ahead_us = microseconds_until(counter_us, now_us)
            case AtGpsTime(gps_time_us):
                if gps is None or now_us - gps.count_us > GPS_HOLDS_US:
                    return Denied(TxResult.GPS_UNLOCKED, "this radio has no GPS time")
                ahead_us = gps.count_at(gps_time_us) - now_us
            case _:
                return self._first_gap(now_us, airtime_us)
        if ahead_us <= LEAD_US:
            lead = f"the radio wants {LEAD_US / 1000:.1f} ms"
            start = f"starts in {ahead_us / 1000:.1f} ms" if ahead_us >= 0 else f"{-ahead_us / 1000:.1f} ms too late"
            words = f"{start}, {lead}"
            return Denied(TxResult.TOO_LATE, words)
        if ahead_us > MOST_AHEAD_US:
            words = f"starts in {ahead_us // 1_000_000} s, at most {MOST_AHEAD_US // 1_000_000} s"
            return Denied(TxResult.TOO_EARLY, words)
        start_us = now_us + ahead_us
        taken = self._in_the_way(start_us, airtime_us)
        if taken is None:
            return start_us
        words = _collision(taken, start_us, airtime_us)
        return Denied(TxResult.COLLISION_PACKET, words, against=taken.request.ref)

    def take(self, planned: Planned) -> None:
        """Let it wait for its time."""
        insort(self._waiting, planned, key=_start)

    def hand_over(self, planned: Planned) -> None:
        """It was given away at once, to something that keeps the time by itself."""
        insort(self._handed, planned, key=_start)

    def next_due_us(self) -> int | None:
        """The count at which `due` has something to say next."""
        return self._waiting[0].start_us - HAND_OVER_US if self._waiting else None

    def due(self, now_us: int) -> Due:
        """What the chip has to be told now. A transmission is told of once; afterwards it is the chip's."""
        missed = []
        while self._waiting and self._waiting[0].start_us - now_us < PROGRAM_US:
            missed.append(self._waiting.pop(0))
        if not self._waiting or self._waiting[0].start_us - now_us > HAND_OVER_US:
            return Due(None, tuple(missed))
        planned = self._waiting.pop(0)
        insort(self._handed, planned, key=_start)
        return Due(planned, tuple(missed))

    def over(self, now_us: int) -> tuple[Planned, ...]:
        """What was handed over and has ended since the last call."""
        ended = tuple(planned for planned in self._handed if planned.end_us <= now_us)
        if ended:
            self._handed = [planned for planned in self._handed if planned.end_us > now_us]
        return ended

    def drop(self, planned: Planned) -> None:
        """It will not be sent: its time is free for others."""
        self._waiting = [other for other in self._waiting if other is not planned]
        self._handed = [other for other in self._handed if other is not planned]

    @property
    def waiting(self) -> tuple[Planned, ...]:
        """What nobody has been told of yet, by start."""
        return tuple(self._waiting)

    def clear(self) -> tuple[Planned, ...]:
        """Forget everything, because the counter began anew; what was waiting or handed over, by start."""
        all_of_them = tuple(sorted((*self._handed, *self._waiting), key=_start))
        self._waiting, self._handed = [], []
        return all_of_them

    def __len__(self) -> int:
        return len(self._waiting) + len(self._handed)

    def _in_the_way(self, start_us: int, airtime_us: int) -> Planned | None:
        for others in (self._handed, self._waiting):
            for other in others:
                if other.start_us >= start_us + airtime_us + GUARD_US:
                    break
                if start_us < other.end_us + GUARD_US:
                    return other
        return None

    def _first_gap(self, now_us: int, airtime_us: int) -> int | Denied:
        start_us = now_us + AT_ONCE_US
        while (taken := self._in_the_way(start_us, airtime_us)) is not None:
            start_us = taken.end_us + GUARD_US
        if start_us - now_us > MOST_AHEAD_US:
            return Denied(TxResult.COLLISION_PACKET, f"no gap within {MOST_AHEAD_US // 1_000_000} s")
        return start_us


def _collision(taken: Planned, start_us: int, airtime_us: int) -> str:
    overlap = "while another transmission lasts"
    if start_us >= taken.end_us:
        overlap = f"{(start_us - taken.end_us) / 1000:.1f} ms after another transmission"
    elif start_us + airtime_us <= taken.start_us:
        overlap = f"ending {(taken.start_us - start_us - airtime_us) / 1000:.1f} ms before another transmission"
    return f"{overlap}, the radio wants {GUARD_US / 1000:.1f} ms between two"
