"""The radios' clocks as a Basics Station server knows them: one number says which radio, which run of it, and when.

A receiver's own counter has 32 bits and turns over; here it is carried on into 48. When it jumps, the radio behind it
began anew: its run gets another number, and downlinks that count from the run before are refused. Losing the network is
no new run, so that downlinks stay valid across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.model import TxResult
from gateway.wire.station_names import Xtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import RadioFrame

TURN_US: Final = 1 << 32
JUMP_US: Final = 10_000_000  # a network never delays a frame by that, and two crystals do not drift apart by it
PAST_US: Final = 60_000_000  # a start so long ago must not be taken for one that is a turn of the counter ahead
AHEAD_US: Final = 600_000_000  # Station takes nothing that is further ahead (s2e.c, TX_MAX_AHEAD)
UNITS: Final = 128


@dataclass(frozen=True, slots=True)
class Start:
    """When a transmission begins, for the radio and for the server."""

    receiver: str
    counter_us: int
    xtime: int


@dataclass(frozen=True, slots=True)
class NoStart:
    """Why there is no such moment."""

    result: TxResult
    detail: str


@dataclass(slots=True)
class _Run:
    """A radio since it began: at `mono_us` of this machine its count was `count_us`."""

    unit: int
    session: int
    count_us: int
    mono_us: int
    gps_less_count_us: int | None = None

    def count_at(self, mono_us: int) -> int:
        return self.count_us + mono_us - self.mono_us


class RadioClocks:
    """What is known of each receiver's clock. `draw` gives a number from 0 to 254."""

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        self._runs: dict[str, _Run] = {}
        self._receivers: list[str] = []

    def heard(self, frame: RadioFrame) -> Xtime | None:
        """When the frame was heard; None for one radio too many: the number has room for 128."""
        run = self._runs.get(frame.receiver)
        if run is None:
            if len(self._receivers) == UNITS:
                return None
            self._receivers.append(frame.receiver)
            run = self._runs[frame.receiver] = self._begin(len(self._receivers) - 1, frame, 0)
            return self._learn(run, frame, run.count_us)
        expected_us = run.count_at(frame.heard.monotonic_us)
        off_us = (frame.counter_us - expected_us) % TURN_US
        off_us -= TURN_US if off_us >= TURN_US // 2 else 0
        if abs(off_us) > JUMP_US:
            run = self._runs[frame.receiver] = self._begin(run.unit, frame, run.session)
            return self._learn(run, frame, run.count_us)
        return self._learn(run, frame, expected_us + off_us)

    def start(self, xtime: int, after_us: int, now_mono_us: int) -> Start | NoStart:
        """The moment `after_us` later than an xtime, or why it cannot be met; whether it can is the radio's to say."""
        told = Xtime.of(xtime)
        if told.unit >= len(self._receivers):
            return NoStart(TxResult.UNKNOWN, "its xtime is of a radio that is not here")
        receiver = self._receivers[told.unit]
        run = self._runs[receiver]
        if told.session != run.session:
            return NoStart(TxResult.TOO_LATE, "its xtime is from before the radio began anew")
        count_us = told.count_us + after_us
        ahead_us = count_us - run.count_at(now_mono_us)
        if ahead_us < -PAST_US:
            return NoStart(TxResult.TOO_LATE, f"its time was {-ahead_us // 1_000_000} s ago")
        if ahead_us > AHEAD_US:
            return NoStart(TxResult.TOO_EARLY, f"its time is in {ahead_us // 1_000_000} s")
        return Start(receiver, count_us % TURN_US, int(Xtime(run.unit, run.session, count_us)))

    def at_gps_time(self, receiver: str, gps_time_us: int) -> Start | None:
        """The moment of a GPS time; None as long as nobody said how that receiver's clock stands to GPS."""
        run = self._runs.get(receiver)
        if run is None or run.gps_less_count_us is None:
            return None
        count_us = gps_time_us - run.gps_less_count_us
        return Start(receiver, count_us % TURN_US, int(Xtime(run.unit, run.session, count_us)))

    def learn_gps(self, xtime: int, gps_time_us: int) -> None:
        """The server's word on GPS time; what a receiver measured itself is better, and stays."""
        told = Xtime.of(xtime)
        if told.unit < len(self._receivers):
            run = self._runs[self._receivers[told.unit]]
            if told.session == run.session and run.gps_less_count_us is None:
                run.gps_less_count_us = gps_time_us - told.count_us

    def gps_time_us(self, xtime: int) -> int | None:
        """The GPS time of a moment, where it is known."""
        told = Xtime.of(xtime)
        if told.unit >= len(self._receivers):
            return None
        known = self._runs[self._receivers[told.unit]].gps_less_count_us
        return None if known is None else told.count_us + known

    def now(self, receiver: str, now_mono_us: int) -> int:
        """What a receiver's clock shows; 0 before anything was heard there."""
        run = self._runs.get(receiver)
        return 0 if run is None else int(Xtime(run.unit, run.session, run.count_at(now_mono_us)))

    def unit_of(self, receiver: str) -> int:
        """The number of a receiver, which is its rctx too; 0 for one that has heard nothing yet."""
        run = self._runs.get(receiver)
        return 0 if run is None else run.unit

    def receiver_of(self, rctx: int | None) -> str | None:
        """The receiver with this number."""
        return self._receivers[rctx] if rctx is not None and rctx < len(self._receivers) else None

    @property
    def receivers(self) -> tuple[str, ...]:
        """All that have heard something, by number."""
        return tuple(self._receivers)

    def _begin(self, unit: int, frame: RadioFrame, session_before: int) -> _Run:
        session = 1 + self._draw() % 255
        if session == session_before:
            session = session % 255 + 1
        return _Run(unit, session, frame.counter_us, frame.heard.monotonic_us)

    def _learn(self, run: _Run, frame: RadioFrame, count_us: int) -> Xtime:
        run.count_us, run.mono_us = count_us, frame.heard.monotonic_us
        if frame.gps_time_us is not None:
            run.gps_less_count_us = frame.gps_time_us - count_us
        return Xtime(run.unit, run.session, count_us)
