"""The loop of the radio process: polls the chip, dates what it hears, hands over what has to be sent in time.

Nothing here waits. Whoever owns the loop calls `turn` every few milliseconds, passes on what the daemon says (`take`),
and carries what the loop says (`say`); the clock is an argument. So the same loop runs over a chip, and in tests over a
chip and a clock that do what the test wants.

**The count.** The counter of a chip begins anew with each start. The loop adds what makes it go on where it was: the
*count*, which grows with the clock since boot across every reset and, by what the daemon remembers, across every
process. So what was heard before a reset can be answered after it. The counter is read once a second; in between, the
clock carries the count on (two crystals part by some 20 µs a second), and what a chip is given is exact all the same,
because it is the chip that starts it.

**The schedule** is the one that has the last word: a transmission is handed over 40 ms ahead or not at all, and a chip
that misses its moment is told to forget it. The ledger of air time is not here but with whoever admits transmissions,
because the answer is wanted at once, and beside the file that must not forget it; every report says whether it was, or
may have been, on the air.

**Trouble.** What cannot be read costs itself and is counted. A call that fails, or a driver that raises what it never
should, leaves the chip *down*: everything that waits is reported as lost, and the daemon says what is to be done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.model import AtCounter, TxResult
from gateway.radio.chip import ChipTrouble, ChipTx, Examination, Reset, TroubleKind, TxState
from gateway.radio.counter import TURN_US, count_of
from gateway.radio.pipe import Again, Beat, Heard, PipeFault, Report, Send, Trouble, Up, encode
from gateway.radio.pulse import Doing
from gateway.radio.schedule import PROGRAM_US, Planned, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.radio.chip import Chip, ChipPlan, RawFrame
    from gateway.radio.pulse import Pulse

T = TypeVar("T")

BEAT_US: Final = 1_000_000
"""How often the counter is read and the registers are looked into (concentrator.md, rule 7)."""

READ_WITHIN_US: Final = 2_000
"""A reading of the counter that took longer is repeated: the process was not running meanwhile."""

READINGS: Final = 3

OFF_US: Final = 20_000
OFF_SHARE: Final = 100
"""A counter may be off from the clock by so much, and by a hundredth of the time since it was read last; what is
further off is no reading, and the count goes on without it."""

OVERDUE_US: Final = 100_000
"""A transmitter that still sends so long after the end is stopped."""

OLDEST_US: Final = 10_000_000
"""Frames lie in the chip for a poll; a longer stay is a date that cannot be."""


class RadioLoop:
    """One chip, from its first start to its last stop. `say` takes a message as it goes into the pipe, and never waits.

    `say` answers False when it had no room for a frame, which is counted. `anchor` is a count and its time, to go on
    from.
    """

    def __init__(
        self,
        chip: Chip,
        plan: ChipPlan,
        *,
        clock_us: Callable[[], int],
        pulse: Pulse,
        say: Callable[[bytes], bool],
        anchor: tuple[int, int] | None = None,
        standing: str = "",
    ) -> None:
        self._chip = chip
        self._plan = plan
        self._clock_us = clock_us
        self._pulse = pulse
        self._say = say
        self._anchor = anchor  # a count and the time it was read at; from then on the clock carries it
        self._standing = standing
        self._offset_us = 0  # what a count is more than the counter
        self._schedule = Schedule()
        self._ending: list[Planned] = []  # over by the clock, and still on the air by the chip
        self._faults: Counter[str] = Counter()
        self._heard = self._dropped = self._turns = self._worst_turn_us = 0
        self._beat_due_us = 0
        self.is_up = False

    # --- from the daemon

    def start(self) -> None:
        """Start the chip, and say so, or what is wrong."""
        self._guard(self._start)

    def take(self, message: Send | Again) -> None:
        """Do what the daemon says."""
        match message:
            case Send():
                planned = Planned(message.request, message.start_us, message.airtime_us)
                if self.is_up:
                    self._schedule.take(planned)
                else:
                    self._report(planned, TxResult.RADIO_UNREACHABLE, "the radio is down", on_air=False)
            case Again(level):
                self._lose_all("the radio was reset")
                self.is_up = False
                self._guard(lambda: self._again(level))

    def stop(self) -> None:
        """Silence the chip and close it; what was to be sent is reported as lost."""
        if self.is_up:
            self._guard(lambda: self._call(Doing.ABORT, self._chip.abort))
        self._lose_all("the radio was closed before its time")
        self.is_up = False
        self._guard(lambda: self._call(Doing.STOP, self._chip.stop))

    # --- every few milliseconds

    def turn(self) -> None:
        """Take what the chip has heard, give it what has to be sent now, once a second look after it."""
        began_us = self._clock_us()
        if self.is_up:
            self._guard(lambda: self._turn(began_us))
        self._turns += 1
        ended_us = self._clock_us()
        self._worst_turn_us = max(self._worst_turn_us, ended_us - began_us)
        self._pulse.enter(Doing.WAITING, ended_us)

    def _turn(self, now_us: int) -> None:
        for raw in self._call(Doing.RECEIVE, self._chip.receive):
            self._hear(raw, now_us)
        self._transmit(self._count_at(self._clock_us()))
        if now_us >= self._beat_due_us:
            self._beat(now_us)

    # --- the chip

    def _start(self) -> None:
        self._call(Doing.START, lambda: self._chip.start(self._plan))
        counter_us, now_us, _ = self._read_counter()
        if self._anchor is not None:
            self._offset_us = self._count_at(now_us) - counter_us
        self._anchor = counter_us + self._offset_us, now_us
        self._beat_due_us = now_us + BEAT_US
        self.is_up = True
        self._say(encode(Up(self._anchor[0], now_us, self._chip.name, self._standing, self._chip.eui())))

    def _again(self, level: Reset) -> None:
        self._call(Doing.RESET, lambda: self._chip.reset(level))
        self._start()

    def _guard(self, step: Callable[[], None]) -> None:
        """Whatever a driver raises is its trouble and no end of the process."""
        try:
            step()
        except ChipTrouble as trouble:
            self._fail(Trouble(trouble.kind, trouble.problem, trouble.hint))
        except Exception as error:  # noqa: BLE001 - a driver is foreign code
            self._fail(Trouble(TroubleKind.OTHER, f"its driver failed: {type(error).__name__}: {error}", ""))

    def _fail(self, trouble: Trouble) -> None:
        self.is_up = False
        self._lose_all(trouble.problem)
        self._say(encode(trouble))

    def _call(self, doing: Doing, call: Callable[[], T]) -> T:
        self._pulse.enter(doing, self._clock_us())
        return call()

    # --- the count

    def _count_at(self, now_us: int) -> int:
        assert self._anchor is not None
        count_us, at_us = self._anchor
        return count_us + now_us - at_us

    def _read_counter(self) -> tuple[int, int, int]:
        """The counter, the time it was read at, and how long that took; the quickest of a few readings."""
        best: tuple[int, int, int] | None = None
        for _ in range(READINGS):
            before_us = self._clock_us()
            counter_us = self._call(Doing.COUNTER, self._chip.counter_us)
            took_us = self._clock_us() - before_us
            if best is None or took_us < best[2]:
                best = counter_us, before_us + took_us // 2, took_us
            if took_us <= READ_WITHIN_US:
                break
        assert best is not None
        return best

    def _beat(self, now_us: int) -> None:
        assert self._anchor is not None
        counter_us, read_at_us, read_us = self._read_counter()
        expected_us = self._count_at(read_at_us)
        count_us = count_of((counter_us + self._offset_us) % TURN_US, expected_us)
        if abs(count_us - expected_us) <= OFF_US + (read_at_us - self._anchor[1]) // OFF_SHARE:
            self._anchor = count_us, read_at_us
        found = self._call(Doing.EXAMINE, self._chip.examine)
        pps_us = self._call(Doing.COUNTER, self._chip.pps_counter_us)
        pps_count_us = None if pps_us is None else count_of((pps_us + self._offset_us) % TURN_US, count_us)
        faults = {**found.faults, **{name: self._faults[name] for name in self._faults}}
        beat = Beat(
            self._count_at(now_us), now_us, count_us + now_us - read_at_us, read_us,
            self._heard, self._dropped, self._turns, self._worst_turn_us, replace(found, faults=faults),
            pps_count_us,
        )  # fmt: skip
        self._worst_turn_us = 0
        self._beat_due_us = max(self._beat_due_us + BEAT_US, now_us)
        self._say(_encoded(beat))

    # --- up

    def _hear(self, raw: RawFrame, now_us: int) -> None:
        """Date it and pass it on; one that cannot be is counted and costs its neighbours nothing."""
        try:
            count_us = count_of((raw.counter_us + self._offset_us) % TURN_US, self._count_at(now_us))
            ended_us = now_us + count_us - self._count_at(now_us)
            if not now_us - OLDEST_US <= ended_us <= now_us + OFF_US:
                self._faults["frame_of_another_time"] += 1
                ended_us = now_us
            octets = encode(Heard(raw, count_us, ended_us))
        except (PipeFault, AttributeError, TypeError):
            self._faults["frame_that_cannot_be"] += 1
            return
        self._heard += 1
        if not self._say(octets):
            self._dropped += 1

    # --- down

    def _transmit(self, now_us: int) -> None:
        due = self._schedule.due(now_us)
        for planned in due.missed:
            self._report(planned, TxResult.TOO_LATE, "its time came before the chip was told of it", on_air=False)
        if due.planned is not None:
            self._hand_over(due.planned)
        self._ending += self._schedule.over(now_us)
        if self._ending:
            self._finish(now_us)

    def _hand_over(self, planned: Planned) -> None:
        if (why_not := self._not_now(planned)) is not None:
            self._schedule.drop(planned)
            self._report(planned, *why_not, on_air=False)
            return
        state = self._call(Doing.STATUS, self._chip.tx_status)
        if state in {TxState.SCHEDULED, TxState.EMITTING}:  # by the schedule, the one before is over
            self._faults["transmitter_stuck"] += 1
            self._call(Doing.ABORT, self._chip.abort)
        refused = self._call(Doing.SEND, lambda: self._chip.send(self._as_the_chip_counts(planned)))
        if refused is not None:
            self._schedule.drop(planned)
            self._report(planned, refused.result, refused.detail, on_air=False)

    def _not_now(self, planned: Planned) -> tuple[TxResult, str] | None:
        """Why the chip's own counter speaks against it: what it is told too late goes out 134 s later."""
        counter_us, now_us, _ = self._read_counter()
        expected_us = self._count_at(now_us)
        count_us = count_of((counter_us + self._offset_us) % TURN_US, expected_us)
        if abs(count_us - expected_us) > OFF_US:
            words = f"the chip's counter is {(count_us - expected_us) / 1000:.0f} ms from where it should be"
            return TxResult.RADIO_UNREACHABLE, words
        left_us = planned.start_us - count_us
        if left_us < PROGRAM_US:
            return TxResult.TOO_LATE, f"{left_us / 1000:.1f} ms before its start, the radio was busy"
        return None

    def _as_the_chip_counts(self, planned: Planned) -> ChipTx:
        request = planned.request
        return ChipTx(
            phy=request.phy,
            when=AtCounter((planned.start_us - self._offset_us) % TURN_US),
            frequency_hz=request.frequency_hz,
            modulation=request.modulation,
            power_dbm=request.power_dbm_eirp,
            invert_polarity=request.invert_polarity,
            payload_crc=request.payload_crc,
            preamble_symbols=request.preamble_symbols,
        )

    def _finish(self, now_us: int) -> None:
        """Ask the chip whether what should be over is."""
        state = self._call(Doing.STATUS, self._chip.tx_status)
        ending, self._ending = self._ending, []
        for planned in ending:
            if state is TxState.SCHEDULED:
                self._faults["start_missed"] += 1
                self._call(Doing.ABORT, self._chip.abort)  # it would go out 134 s late
                self._report(planned, TxResult.TOO_LATE, "the chip missed its start", on_air=False)
            elif state is TxState.EMITTING and now_us < planned.end_us + OVERDUE_US:
                self._ending.append(planned)
            else:
                if state is TxState.EMITTING:
                    self._faults["transmitter_stuck"] += 1
                    self._call(Doing.ABORT, self._chip.abort)
                self._report(planned, TxResult.SENT, "", on_air=True)

    def _lose_all(self, why: str) -> None:
        """Report everything that waits, or that the chip may have sent, as lost."""
        ending, self._ending = self._ending, []
        for planned in ending:
            self._report(planned, TxResult.RADIO_UNREACHABLE, why, on_air=True)
        waiting = set(self._schedule.waiting)
        for planned in self._schedule.clear():
            self._report(planned, TxResult.RADIO_UNREACHABLE, why, on_air=planned not in waiting)

    def _report(self, planned: Planned, result: TxResult, detail: str, *, on_air: bool) -> None:
        self._say(encode(Report(int(planned.request.ref), result, detail, on_air)))


def _encoded(beat: Beat) -> bytes:
    """The beat, without what the registers show where that is no number a register has."""
    try:
        return encode(beat)
    except PipeFault:
        return encode(replace(beat, examination=Examination()))
