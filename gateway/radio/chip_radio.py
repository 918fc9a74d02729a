"""A Concentrator that is a chip on this machine: the daemon's side of the radio process.

The process polls and transmits; here is judged. What asks to go on the air is admitted (`transmitters`), told to the
process, and booked by what it reports. What the process shows of its chip is judged once a second (`liveness`), and it
is watched ten times a second for calls that do not come back (`pulse`). Whatever is wrong ends the same way: the chip
is reset, or its power, or the process, deeper each time in a row. The gateway goes on meanwhile, and says so.

A process that dies takes what it had to send with it. That is reported as lost at once; air time of what may have been
on the air stays booked. The count goes on across it: what was heard before can be answered after it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from gateway.errors import RadioError
from gateway.model import Crc, GpsMoment, RadioFrame, TxReport, TxResult
from gateway.radio.child import RadioChild
from gateway.radio.chip import CURES, HOPELESS, ChipTrouble, Reset, TroubleKind
from gateway.radio.concentrator import QUEUE_FRAMES, RadioHealth
from gateway.radio.counter import TURN_US
from gateway.radio.gps_time import GpsTime
from gateway.radio.liveness import Ladder, Neighbours, Rung, Signs, State, Traffic, judge, span
from gateway.radio.pipe import Again, Beat, Heard, PipeFault, Report, Send, Setup, Trouble, Up
from gateway.radio.schedule import HAND_OVER_US
from gateway.radio.stream import Stream
from gateway.radio.trial import TUNE_EVERY_S, Trial, nobody

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from gateway.model import DownlinkRequest, GatewayEui, Stamp
    from gateway.radio.chip import ChipPlan, Option
    from gateway.radio.liveness import Remedy, Verdict
    from gateway.radio.pipe import Message
    from gateway.radio.schedule import Planned
    from gateway.radio.transmitters import Transmitters
    from gateway.radio.trial import Tuned

log = logging.getLogger(__name__)

POLL_US: Final = 5_000
"""How often the chip is asked for frames: half of what stays within 10 ms from the chip to the line."""

WATCH_S: Final = 0.1
"""How often the process is looked at."""

OPEN_ATTEMPTS: Final = 3
"""A chip that did not start after so many, each deeper than the one before, needs a person."""

OPEN_ATTEMPTS_HUNG: Final = 2
"""One that does not come back from its start costs 15 s each time."""

CLOSE_WITHIN_S: Final = 4.0
"""Semtech's library takes up to 2 s to stop; the gateway as a whole has nine."""

RENEW_WITHIN_S: Final = 1.0
"""A process that is to begin anew has a chip in trouble: it gets less."""

NEW_GAP_US: Final = 60_000_000
"""An interruption as long as this is none of the air: what was usual before says nothing about it."""

NOT_HANDED_US: Final = HAND_OVER_US + 100_000
"""What starts later than this after the end of a process was surely not given to the chip."""

PULSE_OFF_US: Final = 200
"""What the clock since boot and a reading of the counter are apart at most, beyond the time the reading took."""


def _pulse_us(beat: Beat, count_us: int) -> int:
    """When a pulse was, on the clock since boot."""
    return beat.monotonic_us - (beat.count_us - count_us)


@dataclass(frozen=True, slots=True)
class ChipSetting:
    """Which chip, and how its process is to be run."""

    type: str  # of the settings, for `status`
    driver: str  # "module:function" of an `open_chip`
    plan: ChipPlan
    options: Callable[[], Mapping[str, Option]]  # asked anew for each process
    receiver: str = "chip"  # its name in frames and requests
    poll_us: int = POLL_US
    realtime: bool = True
    tune_every_s: float = TUNE_EVERY_S
    before: ChipPlan | None = None  # what it hears when it does not start with `plan`, which it has not had here yet


class ChipRadio:
    """A `Concentrator` over one chip in a process of its own.

    `stamp` dates what is heard; its monotonic part is the clock since boot, which the process reads too. RadioError at
    opening when the chip cannot be had: at once where only a person can help, after a few resets else. Once it is open,
    it goes on trying for ever.
    """

    def __init__(
        self,
        setting: ChipSetting,
        transmitters: Transmitters,
        *,
        stamp: Callable[[], Stamp],
        queue_frames: int = QUEUE_FRAMES,
    ) -> None:
        self._setting = setting
        self._transmitters = transmitters
        self._schedule = transmitters.schedule(setting.receiver)
        self._stamp = stamp
        self._gps: Callable[[], GpsMoment | None] | None = None
        self._gps_time = GpsTime()
        self._frames: Stream[RadioFrame] = Stream(queue_frames)
        self._outcomes: Stream[TxReport] = Stream(queue_frames)
        self._downlinks: dict[int, Planned] = {}
        self._numbers = 0
        self._child: RadioChild | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._closing = False
        self._renewing = False  # the process ends because it was told to, to begin anew
        self._remedy_timer: asyncio.TimerHandle | None = None
        self._plan = setting.plan
        self._trial = None if setting.before is None else Trial(setting.before, nobody)
        self._tuning = False  # it begins anew for no other reason than other channels
        self._tuned_s = -math.inf  # when it last did, on the clock of the loop
        self._tune_timer: asyncio.TimerHandle | None = None
        # what is known of the chip
        self._up: Up | None = None  # while it hears
        self._last_up: Up | None = None
        self._anchor: tuple[int, int] | None = None  # the count and its time
        self._beat: Beat | None = None
        self._trouble: tuple[TroubleKind, str] | None = None  # the last one
        self._trouble_us = 0
        self._next_step = ""
        self._signs = Signs()
        self._traffic = Traffic()
        self._neighbours = Neighbours()
        self._ladder = Ladder()
        # what has been
        self._heard = self._damaged = self._sent = 0
        self._dropped_below = [0, 0]  # in processes before this one, and in this one
        self._resets: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()  # of starts before this one

    # --- open and close

    async def __aenter__(self) -> Self:
        """Start the process and the chip."""
        self._opened = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name="radio process")
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        """Silence the chip, hear what is still in the pipe, tell whoever waits that nothing more will come."""
        self._closing = True
        for timer in (self._remedy_timer, self._tune_timer):
            if timer is not None:
                timer.cancel()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            if (child := self._child) is not None:
                child.hang_up(CLOSE_WITHIN_S)
                await asyncio.wait([child.ended])
            keeper.cancel()
            await asyncio.wait([keeper])
        self._up = None
        self._lose_downlinks("the radio was closed before its time")
        self._frames.close(None)
        self._outcomes.close(None)

    # --- what everybody asks

    def frames(self) -> AsyncIterator[RadioFrame]:
        """What is heard, damaged frames too, in the order of hearing. Ends when the radio is closed and all is read."""
        return self._frames.read()

    def outcomes(self) -> AsyncIterator[TxReport]:
        """SENT when the chip has sent it, RADIO_UNREACHABLE when the chip or its process was lost with it."""
        return self._outcomes.read()

    def submit(self, request: DownlinkRequest) -> TxReport:
        """Admit it and tell the process, or say why not."""
        if (why_not := self._unreachable(request)) is not None:
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, why_not)
        plan = self._plan
        if not plan.lowest_tx_hz <= request.frequency_hz <= plan.highest_tx_hz:
            return TxReport(request.ref, TxResult.TX_FREQ, f"{request.frequency_hz} Hz is outside {plan.region}")
        now = self._stamp()
        count_us = self._count_at(now.monotonic_us)
        planned = self._transmitters.plan(request, count_us, now, self._gps_time.reference(count_us))
        if isinstance(planned, TxReport):
            return planned
        self._schedule.hand_over(planned)
        self._numbers += 1
        told = self._transmitters.conducted(request)
        try:
            taken = self._child is not None and self._child.send(
                Send(self._numbers, planned.start_us, planned.airtime_us, told)
            )
        except PipeFault as fault:
            self._transmitters.not_sent(planned)
            return TxReport(request.ref, TxResult.UNKNOWN, str(fault))
        if not taken:
            self._transmitters.not_sent(planned)
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, "the radio process takes nothing more")
        self._downlinks[self._numbers] = planned
        return TxReport(request.ref, TxResult.ACCEPTED)

    def _unreachable(self, request: DownlinkRequest) -> str | None:
        if self._keeper is None or self._closing:
            return "the radio is not open"
        if request.receiver != self._setting.receiver:
            return f"there is no receiver {request.receiver} here"
        if self._up is None:
            return f"the radio is down: {self._trouble_words()}"
        return None

    # --- other channels

    @property
    def plan(self) -> ChipPlan:
        """What it hears, or is being started to hear."""
        return self._plan

    def tune(self, plan: ChipPlan, told: Tuned) -> None:
        """Hear this from now on; `told` is called once the chip does, or with why it does not.

        The chip begins anew for that, which takes a few seconds: what is to be sent meanwhile is lost, and reported.
        If it does not start so, it goes on with what it heard before. What it hears already disturbs nothing. It does
        not begin anew more often than every half minute: of what is wanted meanwhile, the last word counts.
        """
        if self._tune_timer is not None:
            self._tune_timer.cancel()
        if self._closing:
            return
        if plan == self._plan:
            if self._trial is None:
                told(None)
            else:
                self._trial = replace(self._trial, told=told)
            return
        if self._keeper is None:  # it is not open yet, and begins with this
            self._trial, self._plan = Trial(self._plan, told), plan
            return
        loop = asyncio.get_running_loop()
        wait_s = self._tuned_s + self._setting.tune_every_s - loop.time()
        if wait_s > 0:
            self._tune_timer = loop.call_later(wait_s, self.tune, plan, told)
            return
        self._tuned_s = loop.time()
        self._trial = Trial(self._plan if self._trial is None else self._trial.before, told)
        if self._up is not None:
            self._trouble = None
        self._begin_anew(plan)

    def _begin_anew(self, plan: ChipPlan) -> None:
        self._plan = plan
        self._tuning = True
        if self._remedy_timer is not None:
            self._remedy_timer.cancel()
        if self._child is not None:
            self._renewing = True
            self._child.hang_up(RENEW_WITHIN_S)

    def _give_up_trial(self, kind: TroubleKind, problem: str, hint: str) -> bool:
        """Go back to the channels before, when it is these that the chip does not start with."""
        trial = self._trial
        if trial is None or self._closing or not trial.is_lost(kind, self._ladder.attempts):
            return False
        self._trial = None
        log.warning("radio: it does not start with these channels, and goes back to those before: %s", problem)
        self._ladder = Ladder()
        self._trouble = None
        self._begin_anew(trial.before)
        trial.told(ChipTrouble(kind, problem, hint=hint))
        return True

    @property
    def eui(self) -> GatewayEui | None:
        """The number in the chip, once it has been started."""
        return None if self._last_up is None else self._last_up.eui

    def follow(self, gps: Callable[[], GpsMoment | None]) -> None:
        """There is a GPS receiver whose pulses the chip notes, and this names the seconds they begin."""
        self._gps = gps

    def pulse(self) -> GpsMoment | None:
        """The last pulse of a GPS receiver as a moment, to some hundred microseconds; None while it has no meaning."""
        beat, named = self._beat, None if self._gps is None else self._gps()
        if beat is None or beat.pps_count_us is None or named is None:
            return None
        gps_us, off_us = (at(beat.pps_count_us) for at in (self._gps_time.gps_time_us, self._gps_time.off_us))
        if gps_us is None or off_us is None:
            return None
        return GpsMoment(gps_us, _pulse_us(beat, beat.pps_count_us), off_us + beat.read_us + PULSE_OFF_US, named.leap_s)

    def pulse_words(self) -> str:
        """How the count follows GPS, for a person."""
        return self._gps_time.words(None if self._up is None else self._count_at(self._stamp().monotonic_us))

    def health(self) -> RadioHealth:
        """What the chip is like, with the evidence."""
        now = self._stamp()
        state, words = self._words(now.monotonic_us)
        name = self._setting.type if self._last_up is None else self._last_up.name
        return RadioHealth(
            type=self._setting.type,
            state=state.value,
            evidence=f"{name}: {words}",
            heard=self._heard + sum(self._dropped_below),
            dropped=self._frames.dropped + sum(self._dropped_below),
            refused={name: number for name, number in sorted(self._all_faults().items()) if number},
            receivers=(self._facts(now.monotonic_us),),
            airtime=self._transmitters.airtime(now),
            denied=dict(self._transmitters.denied),
        )

    def _words(self, now_us: int) -> tuple[State, str]:
        if self._up is None:
            if self._tuning and self._trouble is None:
                return State.WAITING, "the chip is being started with other channels"
            if self._trouble is None:
                return State.WAITING, "the chip is being started"
            return State.FAILED, self._trouble_words() + (f"; {self._next_step}" if self._next_step else "")
        verdict = judge(self._signs, self._traffic, self._neighbours, now_us)
        words = verdict.evidence
        if (
            self._trouble is not None
            and self._signs.up_us - self._trouble_us < NEW_GAP_US * 10
            and (now_us - self._signs.up_us < NEW_GAP_US * 2)
        ):
            back = span(now_us - self._signs.up_us)
            words += f"; back for {back} after: {self._trouble_words()}"
        return verdict.state, words

    def _trouble_words(self) -> str:
        return "it is being started" if self._trouble is None else self._trouble[1]

    def _facts(self, now_us: int) -> Mapping[str, object]:
        beat, up = self._beat, self._last_up
        seen = None if beat is None else beat.examination
        return {
            "name": self._setting.receiver,
            "chip": None if up is None else up.name,
            "chip_eui": None if self.eui is None else str(self.eui),
            "counter_us": None if self._anchor is None else self._count_at(now_us) % TURN_US,
            "channels_hz": [channel.frequency_hz for channel in self._plan.channels],
            "heard": self._heard,
            "damaged": self._damaged,
            "sent": self._sent,
            "temperature_c": None if seen is None or seen.temperature_c is None else round(seen.temperature_c, 1),
            "resets": dict(self._resets),
            "process": None if self._child is None else self._child.pid,
            "standing": None if up is None else up.standing,
            "worst_turn_ms": None if beat is None else round(beat.worst_turn_us / 1000, 1),
            "gps_off_us": None if self._anchor is None else self._gps_time.off_us(self._count_at(now_us)),
            "pulses_rejected": self._gps_time.rejected,
        }

    def _all_faults(self) -> Counter[str]:
        return self._faults + Counter(self._signs.faults)

    # --- the process

    async def _keep(self) -> None:
        """Have a process, for as long as the radio is open."""
        try:
            while not self._closing:
                wait_us = await self._one_process()
                await asyncio.sleep(wait_us / 1_000_000)
        except Exception as error:
            log.exception("the radio process cannot be kept")
            self._refuse_to_open(RadioError(f"The radio process cannot be kept: {error}"))
            self._frames.close(error)

    async def _one_process(self) -> int:
        """Start one and watch it to its end; how long to wait before the next, in microseconds."""
        child = self._spawn()
        if child is None:
            return self._announce(self._ladder.next(process_gone=True))
        while not child.ended.done():
            await asyncio.wait([child.ended], timeout=WATCH_S)
            late = None if child.ended.done() else child.overdue(self._stamp().monotonic_us)
            if late is not None:
                child.hung = True
                child.kill("it stands still" if late == "waiting" else f"{late} did not come back in time")
        if self._closing:
            return 0
        renewing, self._renewing = self._renewing, False
        if renewing and self._tuning:
            return 0
        self._resets[Rung.PROCESS.name.lower()] += 1
        if renewing:
            return 0
        return self._announce(self._ladder.next(process_gone=True))

    def _announce(self, remedy: Remedy) -> int:
        """Say what comes next; how long to wait for it, in microseconds."""
        wait = f" in {span(remedy.wait_us)}" if remedy.wait_us else ""
        self._next_step = f"{remedy.rung.value}{wait}, attempt {self._ladder.attempts}"
        return remedy.wait_us

    def _spawn(self) -> RadioChild | None:
        setting = self._setting
        count_us, monotonic_us = self._anchor or (None, 0)
        setup = Setup(setting.driver, self._plan, setting.poll_us, count_us, monotonic_us, setting.realtime)
        try:
            self._child = RadioChild(setup, setting.options(), self._take, self._ended)
        except OSError as error:
            self._note(TroubleKind.OTHER, f"the radio process cannot be started: {error}")
            return None
        return self._child

    def _ended(self, child: RadioChild, reason: str) -> None:
        """It is gone: whatever it had to send is lost."""
        self._child = None
        was_up, self._up = self._up, None
        self._dropped_below = [sum(self._dropped_below), 0]
        self._lose_downlinks(f"the radio process is gone: {reason}")
        self._keep_faults()
        if self._closing or self._renewing:
            return
        if was_up is not None or self._trouble is None or self._trouble[0] is not TroubleKind.NO_DRIVER:
            kind = TroubleKind.HUNG if child.hung else TroubleKind.CRASHED
            words = f"the radio process is gone: {reason}" + ("" if child.hung else f", in {child.doing()}")
            if child.said:
                words += f'; the last it said: "{child.said[-1]}"'
            self._note(kind, words)
        if was_up is None and self._trouble is not None and self._give_up_trial(*self._trouble, ""):
            return
        self._perhaps_hopeless(CURES[TroubleKind.FIRMWARE_SILENT] if child.hung else "")

    # --- what the process says

    def _take(self, message: Message) -> None:
        match message:
            case Heard():
                self._take_frame(message)
            case Beat():
                self._take_beat(message)
            case Report():
                self._take_report(message)
            case Up():
                self._take_up(message)
            case Trouble():
                self._take_trouble(message)
            case _:
                pass  # Bye; what only the daemon says would be odd, and harms nobody

    def _take_frame(self, heard: Heard) -> None:
        now, raw = self._stamp(), heard.frame
        ago_us = now.monotonic_us - heard.monotonic_us
        frame = RadioFrame(
            phy=raw.phy,
            heard=replace(now, utc_us=now.utc_us - ago_us, monotonic_us=heard.monotonic_us),
            frequency_hz=raw.frequency_hz,
            modulation=raw.modulation,
            rssi_dbm=raw.rssi_dbm,
            snr_db=raw.snr_db,
            channel=raw.channel,
            rf_chain=raw.rf_chain,
            counter_us=raw.counter_us,
            crc=raw.crc,
            receiver=self._setting.receiver,
            gps_time_us=self._gps_time.gps_time_us(heard.count_us),
            fine_time_ns=raw.fine_time_ns,
            frequency_offset_hz=raw.frequency_offset_hz,
        )
        self._heard += 1
        self._traffic.heard(heard.monotonic_us)
        if raw.crc is Crc.OK:
            self._neighbours.heard(raw.phy, heard.monotonic_us)
        else:
            self._damaged += 1
        self._ladder.heard()
        self._frames.put(frame)

    def _take_beat(self, beat: Beat) -> None:
        self._beat = beat
        self._dropped_below[1] = beat.dropped
        if self._up is None:
            return
        self._anchor = beat.count_us, beat.monotonic_us
        if self._gps is not None and beat.pps_count_us is not None:
            self._gps_time.pulse(beat.pps_count_us, _pulse_us(beat, beat.pps_count_us), self._gps())
        self._signs.beat(beat)
        self._traffic.well(beat.monotonic_us)
        verdict = judge(self._signs, self._traffic, self._neighbours, beat.monotonic_us)
        if verdict.trouble is not None:
            self._act_on(verdict, beat.monotonic_us)
        else:
            self._ladder.well(beat.monotonic_us - max(self._signs.up_us, self._trouble_us))

    def _take_report(self, report: Report) -> None:
        planned = self._downlinks.pop(report.number, None)
        if planned is None:
            return
        self._settle(planned, on_air=report.on_air)
        self._sent += report.result is TxResult.SENT
        self._outcomes.put(TxReport(planned.request.ref, report.result, report.detail))

    def _take_up(self, up: Up) -> None:
        down_us = 0 if self._anchor is None else up.monotonic_us - self._anchor[1]
        if down_us > NEW_GAP_US:
            self._traffic.interrupted(up.monotonic_us)
            self._neighbours.interrupted(up.monotonic_us)
        self._keep_faults()
        self._up = self._last_up = up
        self._anchor = up.count_us, up.monotonic_us
        self._signs = Signs(up_us=up.monotonic_us)
        self._gps_time.reset()
        self._next_step = ""
        if self._tuning and not self._renewing:
            self._tuning = False
            self._traffic.interrupted(up.monotonic_us)
            self._neighbours.interrupted(up.monotonic_us)
        log.info("%s hears; its process is %s", up.name, up.standing)
        if self._trial is not None and not self._renewing:  # else it is the one before that is up at last
            trial, self._trial = self._trial, None
            trial.told(None)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _take_trouble(self, trouble: Trouble) -> None:
        was_up, self._up = self._up, None
        self._note(trouble.kind, trouble.problem, trouble.hint)
        if was_up is None and self._give_up_trial(trouble.kind, trouble.problem, trouble.hint):
            return
        if not self._perhaps_hopeless(trouble.hint) and trouble.kind is not TroubleKind.NO_DRIVER:
            self._apply(self._ladder.next())

    # --- judgement and remedy

    def _act_on(self, verdict: Verdict, now_us: int) -> None:
        if verdict.of_air:
            remedy = self._ladder.for_silence(now_us)
            if remedy is None:
                return
        else:
            remedy = self._ladder.next()
        assert verdict.trouble is not None
        self._up = None
        self._note(verdict.trouble, verdict.evidence)
        self._apply(remedy)

    def _note(self, kind: TroubleKind, problem: str, hint: str = "") -> None:
        """Remember the trouble and say it: the first time loud."""
        repeated = self._trouble is not None and self._trouble[0] is kind and self._ladder.attempts > 0
        log.log(logging.DEBUG if repeated else logging.WARNING, "radio: %s (%s)", problem, hint or CURES[kind])
        self._trouble, self._trouble_us = (kind, problem), self._stamp().monotonic_us

    def _apply(self, remedy: Remedy) -> None:
        """Reset it, now or when its time comes."""
        if wait_us := self._announce(remedy):
            loop = asyncio.get_running_loop()
            self._remedy_timer = loop.call_later(wait_us / 1_000_000, self._reset, remedy.rung)
        else:
            self._reset(remedy.rung)

    def _reset(self, rung: Rung) -> None:
        child = self._child
        if child is None or self._closing:
            return
        if rung is Rung.PROCESS:
            self._renewing = True
            child.hang_up(RENEW_WITHIN_S)
            return
        self._resets[rung.name.lower()] += 1
        if not child.send(Again(Reset.CHIP if rung is Rung.CHIP else Reset.POWER)):
            child.kill("it takes no orders")

    def _perhaps_hopeless(self, hint: str = "") -> bool:
        """Whether the radio is not opened at all, because nothing here would help."""
        if self._opened is None or self._opened.done() or self._trouble is None:
            return False
        kind, problem = self._trouble
        most = OPEN_ATTEMPTS_HUNG if kind is TroubleKind.HUNG else OPEN_ATTEMPTS
        if kind not in HOPELESS and self._ladder.attempts + 1 < most:
            return False
        self._refuse_to_open(ChipTrouble(kind, f"No concentrator: {problem}", hint=hint))
        return True

    def _refuse_to_open(self, error: RadioError) -> None:
        self._closing = True
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)

    def _keep_faults(self) -> None:
        self._faults = self._all_faults()
        self._signs.faults = {}

    # --- downlinks

    def _count_at(self, monotonic_us: int) -> int:
        assert self._anchor is not None
        count_us, at_us = self._anchor
        return count_us + monotonic_us - at_us

    def _settle(self, planned: Planned, *, on_air: bool) -> None:
        if on_air:
            self._transmitters.sent(planned)
            self._schedule.drop(planned)
        else:
            self._transmitters.not_sent(planned)

    def _lose_downlinks(self, why: str) -> None:
        """Report what nobody will report any more. What may be on the air counts as that."""
        if not self._downlinks:
            return
        handed_until_us = self._count_at(self._stamp().monotonic_us) + NOT_HANDED_US
        downlinks, self._downlinks = self._downlinks, {}
        for planned in downlinks.values():
            self._settle(planned, on_air=planned.start_us <= handed_until_us)
            self._outcomes.put(TxReport(planned.request.ref, TxResult.RADIO_UNREACHABLE, why))
