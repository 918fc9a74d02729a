"""The loop of the radio process in virtual time: dates, hand-over, the count across resets, what a chip does wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AtCounter, Crc, DownlinkRequest, Lora, TxResult
from gateway.radio.airtime import airtime_us
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, Examination, RawFrame, Reset, TroubleKind, TxState, Unsent
from gateway.radio.counter import TURN_US
from gateway.radio.loop import RadioLoop
from gateway.radio.pipe import Again, Beat, Decoder, Heard, Report, Send, Trouble, Up
from gateway.radio.pulse import Pulse
from gateway.regions.eu868 import EU868

PLAN = plan_of(EU868)
LORA = Lora(7, 125_000)
PHY = b"\x60" + bytes(12)
AIRTIME_US = airtime_us(LORA, len(PHY), crc=False)


class Clock:
    """The clock since boot, moved by the test and by what takes time."""

    def __init__(self, now_us):
        self.now_us = now_us

    def __call__(self):
        return self.now_us


class Chip:
    """Does what it is told, on a counter of its own crystal, and remembers it."""

    name = "a chip"

    def __init__(self, clock, *, ppm=0, first_us=0):
        self._clock, self._ppm, self._first_us = clock, ppm, first_us
        self._begun_us = clock.now_us
        self.inbox, self.sent, self.calls = [], [], []
        self.state = None  # what tx_status says instead of the truth
        self.frozen_us = None
        self.raises = {}
        self.starts_in_us = 0

    def _do(self, call):
        self.calls.append(call)
        if (error := self.raises.pop(call, None)) is not None:
            raise error

    def start(self, plan):
        self._do("start")
        self._clock.now_us += 2_300_000
        self._begun_us = self._clock.now_us
        self.sent = []

    def counter_us(self):
        self._do("counter")
        elapsed_us = self._clock.now_us - self._begun_us
        counted_us = self._first_us + elapsed_us + elapsed_us * self._ppm // 1_000_000
        return (counted_us if self.frozen_us is None else self.frozen_us) % TURN_US

    def receive(self):
        self._do("receive")
        inbox, self.inbox = self.inbox, []
        return inbox

    def send(self, tx):
        self._do("send")
        self.sent.append((tx.when.counter_us, (tx.when.counter_us - self.counter_us()) % TURN_US, tx))
        return Unsent(TxResult.TX_POWER, "too loud") if tx.power_dbm > 27 else None

    def tx_status(self):
        if self.state is not None:
            return self.state
        if not self.sent:
            return TxState.FREE
        start_us = self.sent[-1][0]
        since_us = (self.counter_us() - start_us + TURN_US // 2) % TURN_US - TURN_US // 2
        return TxState.SCHEDULED if since_us < 0 else TxState.EMITTING if since_us < AIRTIME_US else TxState.FREE

    def abort(self):
        self._do("abort")
        self.state = None
        self.sent = []

    def pps_counter_us(self):
        return None

    def temperature_c(self):
        return None

    def eui(self):
        return None

    def examine(self):
        self._do("examine")
        return Examination(version=0x10)

    def reset(self, level):
        self._do(f"reset {level.name}")

    def stop(self):
        self._do("stop")


class Bench:
    """A loop over that chip, and what it says."""

    def __init__(self, *, ppm=0, first_us=0, anchor=None, now_us=5_000_000_000, room=True):
        self.clock = Clock(now_us)
        self.chip = Chip(self.clock, ppm=ppm, first_us=first_us)
        self.said, self._decoder, self._room = [], Decoder(), room
        self.pulse = Pulse.create()
        self.loop = RadioLoop(
            self.chip, PLAN, clock_us=self.clock, pulse=self.pulse, say=self._say, anchor=anchor, standing="well"
        )

    def _say(self, octets):
        [message] = self._decoder.feed(octets)
        if isinstance(message, Heard) and not self._room:
            return False
        self.said.append(message)
        return True

    def run(self, us, poll_us=5_000):
        until_us = self.clock.now_us + us
        while self.clock.now_us < until_us:
            self.clock.now_us += poll_us
            self.loop.turn()

    def of(self, kind):
        return [message for message in self.said if isinstance(message, kind)]

    def frame(self, ago_us=0, **changes):
        values = {
            "phy": b"\x40abc", "counter_us": (self.chip.counter_us() - ago_us) % TURN_US, "frequency_hz": 868_100_000,
            "modulation": LORA, "rssi_dbm": -90.0, "snr_db": 5.0, "channel": 0, "rf_chain": 0, "crc": Crc.OK,
        }  # fmt: skip
        return RawFrame(**(values | changes))

    def count(self):
        """What the count is now, by the last beat or start."""
        last = [message for message in self.said if isinstance(message, Up | Beat)][-1]
        return last.count_us + self.clock.now_us - last.monotonic_us

    def ask(self, start_us, number=1, power_dbm=14.0):
        request = DownlinkRequest(
            str(number), PHY, "", AtCounter(start_us % TURN_US), 868_100_000, LORA, power_dbm
        )  # fmt: skip
        self.loop.take(Send(number, start_us, AIRTIME_US, request))


@pytest.fixture
def bench():
    made = []

    def make(**how):
        one = Bench(**how)
        made.append(one)
        one.loop.start()
        return one

    yield make
    for one in made:
        one.pulse.close()


def test_a_frame_is_dated_by_its_counter_not_by_when_it_is_fetched(bench):
    one = bench(first_us=TURN_US - 1_000_000)  # the counter turns over meanwhile
    for _ in range(30):
        one.run(100_000)
        ended_us = one.clock.now_us - 3_000
        one.chip.inbox.append(one.frame(ago_us=3_000))
        one.run(5_000)
        heard = one.of(Heard)[-1]
        assert abs(heard.monotonic_us - ended_us) <= 30
    counts = [heard.count_us for heard in one.of(Heard)]
    assert counts == sorted(counts)
    assert all(heard.frame.counter_us == heard.count_us % TURN_US for heard in one.of(Heard))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, TURN_US - 1), st.integers(-90, 90), st.integers(60_000, 100_000_000), st.integers(1_000, 9_000))
def test_a_transmission_is_given_to_the_chip_in_time_and_to_the_microsecond(first_us, ppm, ahead_us, poll_us):
    one = Bench(first_us=first_us, ppm=ppm)
    with one.pulse:
        one.loop.start()
        one.run(50_000)
        start_us = one.count() + ahead_us
        one.ask(start_us)
        one.run(ahead_us + 200_000, poll_us)
        [(counter_us, left_us, _)] = one.chip.sent
        assert counter_us == start_us % TURN_US
        assert 10_000 <= left_us <= 40_100  # a crystal may be off by so much
        assert [(report.result, report.on_air) for report in one.of(Report)] == [(TxResult.SENT, True)]


def test_the_count_goes_on_over_a_reset(bench):
    one = bench(first_us=777)
    one.run(3_000_000)
    before_us, at_us = one.count(), one.clock.now_us
    one.loop.take(Again(Reset.POWER))
    assert one.chip.calls[-3:] == ["reset POWER", "start", "counter"]
    assert one.count() - before_us == one.clock.now_us - at_us
    one.run(1_000_000)
    assert one.count() - before_us == one.clock.now_us - at_us
    start_us = one.count() + 500_000
    one.ask(start_us)
    one.run(1_000_000)
    [(counter_us, left_us, _)] = one.chip.sent
    assert counter_us != start_us % TURN_US  # the chip has its own counter by now
    assert 10_000 <= left_us <= 40_000


def test_the_count_goes_on_where_another_process_had_it(bench):
    now_us = 9_000_000_000
    one = bench(anchor=(123_456_789_012, now_us - 1_000_000), now_us=now_us)
    assert one.count() == 123_456_789_012 + 1_000_000 + 2_300_000


def test_a_counter_that_lies_moves_nothing_and_nothing_is_sent_by_it(bench):
    one = bench()
    one.run(2_000_000)
    before_us, at_us = one.count(), one.clock.now_us
    one.chip.frozen_us = one.chip.counter_us()
    one.run(3_000_000)
    assert one.count() - before_us == one.clock.now_us - at_us
    assert one.of(Beat)[-1].counter_us < one.of(Beat)[-1].count_us - 2_000_000
    one.ask(one.count() + 100_000)
    one.run(200_000)
    [report] = one.of(Report)
    assert (report.result, report.on_air) == (TxResult.RADIO_UNREACHABLE, False)
    assert "counter" in report.detail
    assert one.chip.sent == []


def test_what_comes_too_late_for_the_chip_is_not_given_to_it(bench):
    one = bench()
    one.ask(one.count() + 9_000)
    one.run(50_000)
    assert [(report.result, report.on_air) for report in one.of(Report)] == [(TxResult.TOO_LATE, False)]
    assert one.chip.sent == []


def test_what_the_chip_refuses_is_told_with_its_word(bench):
    one = bench()
    one.ask(one.count() + 100_000, power_dbm=30.0)
    one.run(200_000)
    assert [(report.result, report.detail, report.on_air) for report in one.of(Report)] == [
        (TxResult.TX_POWER, "too loud", False)
    ]


def test_a_transmitter_that_is_stuck_is_freed_for_the_next_one(bench):
    one = bench()
    one.chip.state = TxState.EMITTING
    one.ask(one.count() + 100_000)
    one.run(70_000)
    assert "abort" in one.chip.calls
    assert len(one.chip.sent) == 1
    one.run(1_200_000)
    assert one.of(Beat)[-1].examination.faults == {"transmitter_stuck": 1}


def test_a_start_that_the_chip_misses_is_taken_back_before_it_goes_out_134_s_late(bench):
    one = bench()
    one.ask(one.count() + 100_000)
    one.run(90_000)
    one.chip.state = TxState.SCHEDULED
    one.run(200_000)
    assert one.chip.calls.count("abort") == 1
    assert [(report.result, report.on_air) for report in one.of(Report)] == [(TxResult.TOO_LATE, False)]


def test_one_that_does_not_end_is_ended(bench):
    one = bench()
    one.ask(one.count() + 100_000)
    one.run(110_000)
    one.chip.state = TxState.EMITTING
    one.run(100_000)
    assert one.of(Report) == []
    one.run(100_000)
    assert [(report.result, report.on_air) for report in one.of(Report)] == [(TxResult.SENT, True)]
    assert one.chip.calls.count("abort") == 1


@pytest.mark.parametrize("call", ["receive", "examine", "counter"])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ChipTrouble(TroubleKind.LOST, "gone"), TroubleKind.LOST),
        (RuntimeError("a bug"), TroubleKind.OTHER),
        (OSError(5, "Input/output error"), TroubleKind.OTHER),
    ],
)
def test_trouble_loses_what_waits_and_leaves_the_chip_down_until_it_is_reset(bench, call, error, kind):
    one = bench()
    one.run(1_980_000)
    one.ask(one.count() + 60_000, 1)
    one.ask(one.count() + 5_000_000, 2)
    one.run(30_000)  # the first is with the chip by now
    one.chip.raises[call] = error
    one.run(1_000_000)
    [trouble] = one.of(Trouble)
    assert trouble.kind is kind
    told = {report.number: (report.result, report.on_air) for report in one.of(Report)}
    assert told[2] == (TxResult.RADIO_UNREACHABLE, False)
    assert told[1][1] is True
    polled = one.chip.calls.count("receive")
    one.run(100_000)
    assert one.chip.calls.count("receive") == polled
    one.ask(one.count() + 100_000, 3)
    assert one.of(Report)[-1].result is TxResult.RADIO_UNREACHABLE
    one.loop.take(Again(Reset.CHIP))
    one.run(100_000)
    assert one.chip.calls.count("receive") > polled


def test_a_start_that_fails_is_told_and_may_be_tried_again(bench):
    one = Bench()
    with one.pulse:
        one.chip.raises["start"] = ChipTrouble(TroubleKind.NOT_THERE, "nothing on /dev/spidev0.0")
        one.loop.start()
        [trouble] = one.of(Trouble)
        assert (trouble.kind, trouble.problem) == (TroubleKind.NOT_THERE, "nothing on /dev/spidev0.0")
        assert trouble.hint
        one.run(100_000)
        assert "receive" not in one.chip.calls
        one.loop.take(Again(Reset.CHIP))
        assert one.loop.is_up


def test_frames_nobody_can_have_heard_cost_their_neighbours_nothing(bench):
    one = bench()
    one.chip.inbox = [
        one.frame(phy=b"\x40one"), None, one.frame(rssi_dbm=float("nan")), one.frame(modulation="LORA"),
            one.frame(modulation=None),
        one.frame(frequency_hz=-1), one.frame(phy=b"\x40two"),
    ]  # fmt: skip
    one.run(1_100_000)
    assert [heard.frame.phy for heard in one.of(Heard)] == [b"\x40one", b"\x40two"]
    beat = one.of(Beat)[-1]
    assert beat.heard == 2
    assert beat.examination.faults == {"frame_that_cannot_be": 5}


def test_a_frame_from_another_time_is_dated_now_and_counted(bench):
    one = bench()
    one.run(50_000)
    one.chip.inbox = [one.frame(ago_us=-60_000_000), one.frame(ago_us=60_000_000)]
    one.run(5_000)
    assert [heard.monotonic_us for heard in one.of(Heard)] == [one.clock.now_us] * 2
    one.run(1_000_000)
    assert one.of(Beat)[-1].examination.faults == {"frame_of_another_time": 2}


def test_frames_without_room_are_dropped_and_counted(bench):
    one = bench(room=False)
    one.chip.inbox = [one.frame(), one.frame()]
    one.run(1_100_000)
    assert (one.of(Beat)[-1].heard, one.of(Beat)[-1].dropped) == (2, 2)


def test_closing_aborts_stops_and_reports(bench):
    one = bench()
    one.ask(one.count() + 60_000, 1)
    one.ask(one.count() + 5_000_000, 2)
    one.run(30_000)
    one.loop.stop()
    assert one.chip.calls[-2:] == ["abort", "stop"]
    assert {report.number: report.on_air for report in one.of(Report)} == {1: True, 2: False}


def test_a_stop_that_fails_stops_nobody(bench):
    one = bench()
    one.chip.raises |= {"abort": ChipTrouble(TroubleKind.LOST, "gone"), "stop": OSError(5, "gone")}
    one.loop.stop()
    assert one.chip.calls[-2:] == ["abort", "stop"]
