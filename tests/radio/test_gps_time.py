"""The count against the clock of GPS: crystal, pulse and receiver are simulated, and the truth is known."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AtGpsTime, GpsMoment
from gateway.radio.gps_time import FIRST_PULSES, HOLDS_US, GpsTime
from gateway.radio.schedule import GpsReference, Schedule

SECOND = 1_000_000
GPS_S = 1_479_463_218  # 2026-11-23T10:00:00Z


class Roof:
    """A crystal that is `ppm` too fast, a pulse at each second of GPS, a message some time after it."""

    def __init__(self, ppm=0.0, begins_at=123_456_789.25, latency_us=120_000):
        self.ppm, self.begins_at, self.latency_us = ppm, begins_at, latency_us
        self.time = GpsTime()

    def count(self, after_us):
        """The count, whole microseconds as the chip shows it, so long after the first pulse."""
        return int(self.begins_at + after_us * (1 + self.ppm / 1e6))

    def pulse(self, second, *, off_us=0, named_off_us=0, latency_us=None):
        """The pulse of this second is seen in the beat after it; the clock since boot is read to 200 µs."""
        mono_us = 5_000_000_000 + second * SECOND
        latency_us = self.latency_us if latency_us is None else latency_us
        # Told at mono + latency that it was GPS_S + second: within half a second from the middle.
        moment = GpsMoment(
            (GPS_S + second) * SECOND + 500_000 + named_off_us, mono_us + latency_us, 500_000, 18
        )  # fmt: skip
        self.time.pulse(self.count(second * SECOND + off_us), mono_us + 200, moment)

    def run(self, first, last):
        for second in range(first, last):
            self.pulse(second)

    def error_us(self, after_us):
        """How far the GPS time of a moment is off."""
        found_us = self.time.gps_time_us(self.count(after_us))
        return None if found_us is None else found_us - (GPS_S * SECOND + after_us)


@pytest.mark.parametrize("ppm", [-100, -20.5, -1.3, 0, 0.4, 2.5, 17, 99])
def test_gps_time_is_right_to_the_microsecond_before_and_after_the_newest_pulse(ppm):
    roof = Roof(ppm)
    roof.run(0, 40)
    newest = 39 * SECOND
    for after_us in (newest - 20 * SECOND, newest - 1_000, newest - 1, newest, newest + 1, newest + 999_999):
        assert abs(roof.error_us(after_us)) <= 1, after_us


def test_a_millisecond_before_the_reference_is_no_71_minutes_after_it():
    roof = Roof(begins_at=float((1 << 32) - 20_500_000))  # the counter turns while the line is laid
    roof.run(0, 40)
    assert abs(roof.error_us(39 * SECOND - 1_000)) <= 1
    assert abs(roof.error_us(20 * SECOND - 1_000)) <= 1


def test_three_pulses_make_a_line_and_two_do_not():
    roof = Roof(2.0)
    roof.run(0, FIRST_PULSES - 1)
    assert roof.error_us(SECOND) is None
    roof.pulse(FIRST_PULSES - 1)
    assert abs(roof.error_us(SECOND)) <= 2


def test_the_same_pulse_seen_twice_counts_once():
    roof = Roof()
    for _ in range(10):
        roof.pulse(0)
    assert roof.error_us(0) is None


@pytest.mark.parametrize("off_us", [40, -40, 1_000, 250_000, -499_000])
def test_a_pulse_that_does_not_fit_is_left_out(off_us):
    roof = Roof(1.1)
    roof.run(0, 20)
    roof.pulse(20, off_us=off_us)
    assert roof.time.rejected == 1
    roof.run(21, 25)
    assert abs(roof.error_us(24 * SECOND + 333)) <= 1


def test_pulses_that_stay_elsewhere_are_a_new_line():
    roof = Roof()
    roof.run(0, 20)
    roof.begins_at += 1_700.0
    roof.run(20, 20 + FIRST_PULSES)
    assert abs(roof.error_us(22 * SECOND)) <= 2
    assert roof.time.begun == 2


def test_messages_that_name_another_second_now_and_then_change_nothing():
    roof = Roof()
    for second in range(60):
        roof.pulse(second, named_off_us=-SECOND if second % 7 == 6 else 0)
    assert abs(roof.error_us(59 * SECOND)) <= 1
    assert roof.time.rejected == 8


@pytest.mark.parametrize("latency_us", [15_000, 120_000, 480_000, 900_000, 985_000])
def test_a_message_that_comes_any_time_within_a_second_names_the_right_one(latency_us):
    roof = Roof(latency_us=latency_us)
    roof.run(0, 10)
    assert abs(roof.error_us(9 * SECOND)) <= 1


def test_a_reset_of_the_chip_is_a_new_reference():
    roof = Roof()
    roof.run(0, 20)
    roof.time.reset()
    assert roof.error_us(20 * SECOND) is None
    roof.begins_at += 3_333.0
    roof.run(20, 23)
    assert abs(roof.error_us(22 * SECOND)) <= 2


def test_without_pulses_it_is_carried_on_and_becomes_less_certain_until_it_ends():
    roof = Roof(5.0)
    roof.run(0, 40)
    fresh = roof.time.off_us(roof.count(39 * SECOND))
    later = roof.time.off_us(roof.count(339 * SECOND))
    assert fresh <= 2
    assert 300 <= later <= 305
    assert abs(roof.error_us(339 * SECOND)) <= 20
    assert "no pulse for 300 s" in roof.time.words(roof.count(339 * SECOND))
    assert roof.error_us(39 * SECOND + HOLDS_US + 10_000) is None


def test_a_pulse_that_nobody_names_is_counted():
    time = GpsTime()
    time.pulse(5, 1_000_000, None)
    time.pulse(1_000_005, 2_000_000, GpsMoment(GPS_S * SECOND, 90_000_000, 500_000, 18))
    assert time.unnamed == 2
    assert "no message names" in time.words(2_000_000)
    assert "no pulse reaches" in GpsTime().words(5)


def test_the_words_name_what_is_reached():
    roof = Roof(-7.25)
    roof.run(0, 40)
    assert roof.time.words(roof.count(39 * SECOND + 500_000)) == (
        "the counter follows GPS within 1 µs, its crystal is -7.25 ppm"
    )  # fmt: skip


def test_class_b_starts_by_the_pace_of_the_crystal():
    roof = Roof(20.0)
    roof.run(0, 40)
    now = roof.count(39 * SECOND + 100)
    asked_us = (GPS_S + 139) * SECOND  # in 100 s, in which 20 ppm are 2 ms
    start_us = Schedule().place(AtGpsTime(asked_us), 50_000, now, roof.time.reference(now))
    assert abs(start_us - roof.count(139 * SECOND)) <= 3


@given(
    st.floats(-100, 100), st.floats(0, 1 << 33), st.integers(0, 1 << 32), st.floats(0, 1), st.integers(-(10**9), 10**9)
)
@settings(deadline=None, max_examples=200)
def test_there_and_back_is_the_same_count(ppm, count_us, gps_us, above_us, apart_us):
    line = GpsReference(int(count_us), gps_us, ppm, above_us)
    assert abs(line.gps_time_at(line.count_at(gps_us + apart_us)) - gps_us - apart_us) <= 1
    assert abs(line.count_at(line.gps_time_at(line.count_us + apart_us)) - line.count_us - apart_us) <= 1


@given(
    st.floats(-90, 90),
    st.lists(st.tuples(st.integers(-500_000, 500_000) | st.just(0), st.booleans()), min_size=30, max_size=80),
    st.integers(0, 1 << 30),
)
@settings(deadline=None, max_examples=100)
def test_whatever_pulses_come_a_line_that_is_there_fits_the_last_that_fitted(ppm, pulses, seed):
    roof = Roof(ppm, latency_us=random.Random(seed).randrange(15_000, 985_000))
    roof.run(0, 10)
    for second, (off_us, comes) in enumerate(pulses, 10):
        if comes:
            roof.pulse(second, off_us=off_us)
    after = (10 + len(pulses)) * SECOND
    roof.run(10 + len(pulses), 10 + len(pulses) + 2 * FIRST_PULSES)
    assert abs(roof.error_us(after + 2 * FIRST_PULSES * SECOND - 1)) <= 40  # settled again on the true pulses
