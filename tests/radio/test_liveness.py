"""Is it the chip, or is the air quiet? Signs as the chip shows them, traffic as roofs have it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.radio.chip import Examination, TroubleKind
from gateway.radio.liveness import (
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    Ladder,
    Neighbours,
    Rung,
    Signs,
    State,
    Traffic,
    judge,
)
from gateway.radio.pipe import Beat

WELL = Examination(0x10, 0, 0, agc_parity_error=False, arb_parity_error=False)
START_US = 7 * HOUR_US


def beats(*what, frames=0):
    """Signs after one beat for each of these examinations; a number is how far the counter is off, in us."""
    signs = Signs(up_us=START_US)
    for at, one in enumerate(what, start=1):
        now_us = START_US + at * SECOND_US
        off_us = one if isinstance(one, int) else 0
        found = WELL if isinstance(one, int) else one
        signs.beat(Beat(now_us, now_us, now_us + off_us, 100, frames * at, 0, 200 * at, 300, found))
    return signs, START_US + len(what) * SECOND_US


def stopped(for_s):
    """A counter that has stopped before the first of these beats."""
    return [-at * SECOND_US for at in range(1, for_s + 1)]


ZEROS, ONES = Examination(0, 0, 0), Examination(0xFF, 0xFF, 0xFF, agc_parity_error=True, arb_parity_error=True)
PARITY, ONE_PARITY = replace(WELL, agc_parity_error=True, arb_parity_error=True), replace(WELL, arb_parity_error=True)
STALLED = replace(WELL, agc_status=0x14)
NOTHING = Examination()

TABLE = [
    # what the beats show, the state, a word of the evidence, the trouble
    ([WELL] * 5, State.WAITING, "no frame", None),
    ([NOTHING] * 5, State.WAITING, "no frame", None),
    ([WELL, WELL, ZEROS], State.WAITING, "no frame", None),  # one odd reading is none
    ([WELL, ZEROS, ZEROS], State.FAILED, "zeros", TroubleKind.BUS_LOW),
    ([WELL, ONES, ONES], State.FAILED, "ones", TroubleKind.BUS_HIGH),
    ([ZEROS, ZEROS], State.FAILED, "zeros", TroubleKind.BUS_LOW),
    ([WELL, replace(WELL, version=0x3C), replace(WELL, version=0x3C)], State.FAILED, "0x3c", TroubleKind.LOST),
    ([WELL, PARITY], State.WAITING, "no frame", None),
    ([WELL, PARITY, PARITY], State.FAILED, "both microcontrollers", TroubleKind.STUCK),
    ([WELL, ONE_PARITY, ONE_PARITY], State.FAILED, "a microcontroller", TroubleKind.STUCK),
    ([PARITY, WELL, PARITY, WELL], State.WAITING, "no frame", None),
    ([0, 25_000, 0], State.WAITING, "no frame", None),
    ([0, 40_000, 40_000], State.FAILED, "+0.040 s", TroubleKind.STUCK),
    ([0, -40_000, -40_000], State.FAILED, "-0.040 s", TroubleKind.STUCK),
    ([0, 134_217_728, 134_217_728], State.FAILED, "+134.218 s", TroubleKind.STUCK),
    ([0, *stopped(1)], State.WAITING, "no frame", None),
    ([0, *stopped(3)], State.FAILED, "stands still", TroubleKind.STUCK),
    ([STALLED] * 60, State.WAITING, "no frame", None),
    ([STALLED] * 62, State.SILENT, "0x14 for 61 s", TroubleKind.STUCK),
]


@pytest.mark.parametrize(("shown", "state", "evidence", "trouble"), TABLE)
def test_the_verdict_on_what_the_chip_shows(shown, state, evidence, trouble):
    signs, now_us = beats(*shown)
    verdict = judge(signs, Traffic(), Neighbours(), now_us)
    assert (verdict.state, verdict.trouble) == (state, trouble)
    assert evidence in verdict.evidence
    assert not verdict.of_air


def test_a_receiver_that_hears_has_not_stalled_whatever_its_register_says():
    signs, now_us = beats(*[STALLED] * 200, frames=1)
    assert judge(signs, Traffic(), Neighbours(), now_us).trouble is None


def test_faults_of_the_buffer_without_a_frame_between_them_call_for_a_reset():
    rising = [replace(WELL, faults={"fifo_fault": 10 * at, "poison_packet": at}) for at in range(1, 4)]
    signs, now_us = beats(*rising)
    assert judge(signs, Traffic(), Neighbours(), now_us).trouble is TroubleKind.FIFO_FAULT
    signs, now_us = beats(*rising, frames=3)
    assert judge(signs, Traffic(), Neighbours(), now_us).trouble is None
    few = [replace(WELL, faults={"fifo_fault": at, "poison_packet": 100 * at}) for at in range(1, 9)]
    signs, now_us = beats(*few)
    assert judge(signs, Traffic(), Neighbours(), now_us).trouble is None


# --- the air --------------------------------------------------------------------------------------------------------


def lived(pattern, days, *, since_us=START_US):
    """Traffic after so many days of frames at these times of the day; the alarms it gave while all was well."""
    traffic, alarms = Traffic(), []
    for day in range(days):
        times = sorted(pattern(day))
        for minute in range(24 * 60):
            now_us = since_us + (day * 24 * 60 + minute) * MINUTE_US
            while times and times[0] <= minute * 60:
                traffic.heard(since_us + day * 24 * HOUR_US + int(times.pop(0) * SECOND_US))
            traffic.well(now_us)
            if traffic.is_silent(now_us):
                alarms.append((day, minute))
    return traffic, alarms


def busy(day):
    dice = random.Random(day)
    return [dice.uniform(0, 86_400) for _ in range(20_000)]


def by_day_only(day):
    """A school: ten devices from seven to seven, silence at night."""
    dice = random.Random(day)
    return [dice.uniform(7 * 3600, 19 * 3600) for _ in range(1_500)]


def quiet(day):
    """Three meters that report once in six hours, more or less."""
    dice = random.Random(day)
    return [(slot + dice.random()) * 21_600 % 86_400 for slot in range(4) for _ in range(3)]


def hourly(day):
    """Forty devices that all report at the full hour."""
    return [hour * 3600 + at for hour in range(24) for at in range(40)]


def week(day):
    """An office: hardly anybody there on the sixth and seventh day."""
    return by_day_only(day) if day % 7 < 5 else by_day_only(day)[:20]


@pytest.mark.parametrize(("pattern", "days"), [(busy, 3), (by_day_only, 5), (quiet, 20), (hourly, 4)])
def test_nobody_cries_wolf_on_a_roof_that_is_well(pattern, days):
    _, alarms = lived(pattern, days)
    assert alarms == []


def test_a_weekend_is_taken_for_silence_seldom():
    _, alarms = lived(week, 14)
    assert len({day for day, _ in alarms}) <= 2  # the first of its kind


@pytest.mark.parametrize(
    ("pattern", "days", "from_hour", "within_min"),
    [(busy, 1, 0, 6), (busy, 3, 0, 6), (by_day_only, 4, 10, 40 * 60), (hourly, 3, 0, 190)],
)
def test_a_deaf_chip_among_those_who_report_is_noticed(pattern, days, from_hour, within_min):
    traffic, _ = lived(pattern, days)
    end_us = START_US + days * 24 * HOUR_US
    for at_s in sorted(pattern(days)):
        if at_s < from_hour * 3600:
            traffic.heard(end_us + int(at_s * SECOND_US))
    begun_us = end_us + from_hour * HOUR_US
    silent = next(
        minute for minute in range(within_min + 1) if traffic.is_silent(begun_us + minute * MINUTE_US)
    )  # fmt: skip
    assert silent >= 4
    signs, _ = beats(WELL)
    verdict = judge(signs, traffic, Neighbours(), begun_us + silent * MINUTE_US)
    assert (verdict.state, verdict.of_air) == (State.SILENT, True)
    assert "would be usual" in verdict.evidence


def test_a_school_is_missed_in_the_morning_not_at_night():
    traffic, _ = lived(by_day_only, 4)
    end_us = START_US + 4 * 24 * HOUR_US
    first = next(minute for minute in range(48 * 60) if traffic.is_silent(end_us + minute * MINUTE_US))
    assert first > 7 * 60


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 20 * MINUTE_US), max_size=49))
def test_few_frames_say_nothing(gaps):
    traffic, now_us = Traffic(), START_US
    for gap in gaps:
        now_us += gap
        traffic.heard(now_us)
    assert not traffic.is_silent(now_us + 48 * HOUR_US)


def test_an_interruption_is_no_silence_of_the_air():
    traffic, _ = lived(busy, 2)
    end_us = START_US + 48 * HOUR_US
    assert traffic.is_silent(end_us + HOUR_US)
    traffic.interrupted(end_us + HOUR_US)
    assert not traffic.is_silent(end_us + HOUR_US + 4 * MINUTE_US)
    assert traffic.is_silent(end_us + HOUR_US + 10 * MINUTE_US)


# --- neighbours -----------------------------------------------------------------------------------------------------


def data_up(address):
    return b"\x40" + address.to_bytes(4, "little") + bytes(8)


def neighbourhood(senders, every_us, times=8):
    neighbours, traffic = Neighbours(), Traffic()
    for at in range(times):
        for sender in range(senders):
            now_us = START_US + at * every_us + sender * SECOND_US
            neighbours.heard(data_up(sender), now_us)
            traffic.heard(now_us)
    return neighbours, traffic, START_US + (times - 1) * every_us + senders * SECOND_US


def test_when_all_regular_senders_miss_their_turn_it_is_not_they():
    neighbours, traffic, now_us = neighbourhood(5, 3 * MINUTE_US)
    signs, _ = beats(WELL)
    assert judge(signs, traffic, neighbours, now_us + 8 * MINUTE_US).state is State.HEARING
    verdict = judge(signs, traffic, neighbours, now_us + 12 * MINUTE_US)
    assert (verdict.state, verdict.trouble, verdict.of_air) == (State.SILENT, TroubleKind.STUCK, True)
    assert "5 regular neighbours" in verdict.evidence


def test_one_that_is_still_heard_speaks_for_the_chip():
    neighbours, traffic, now_us = neighbourhood(5, 3 * MINUTE_US)
    neighbours.heard(data_up(2), now_us + 11 * MINUTE_US)
    traffic.heard(now_us + 11 * MINUTE_US)
    signs, _ = beats(WELL)
    assert judge(signs, traffic, neighbours, now_us + 12 * MINUTE_US).state is State.HEARING


def test_a_few_neighbours_may_be_away_together():
    neighbours, traffic, now_us = neighbourhood(3, 3 * MINUTE_US)
    signs, _ = beats(WELL)
    assert judge(signs, traffic, neighbours, now_us + 10 * HOUR_US).state is State.HEARING


def test_neither_joins_nor_noise_nor_repetitions_make_a_neighbour():
    neighbours = Neighbours()
    for at in range(50):
        for phy in (bytes(23), b"", b"\x40abc", data_up(9)):
            neighbours.heard(phy, START_US + at * SECOND_US)
    assert neighbours.overdue(START_US + 48 * HOUR_US) == (0, 0)


def test_neighbours_are_bounded_whoever_invents_them():
    neighbours = Neighbours()
    for sender in range(5_000):
        neighbours.heard(data_up(sender), START_US + sender)
    assert len(neighbours._known) == 256


# --- the ladder -----------------------------------------------------------------------------------------------------


def test_resets_go_deeper_and_then_come_later():
    ladder = Ladder()
    steps = [ladder.next() for _ in range(9)]
    assert [step.rung for step in steps] == [Rung.CHIP, Rung.POWER, *[Rung.PROCESS] * 7]
    assert [step.wait_us // SECOND_US for step in steps] == [0, 0, 0, 2, 5, 10, 15, 15, 15]
    ladder.well(60 * SECOND_US)
    assert ladder.next().wait_us == 15 * SECOND_US
    ladder.well(120 * SECOND_US)
    assert ladder.next() == (Rung.CHIP, 0)


def test_of_a_process_that_is_gone_only_a_new_one_helps():
    ladder = Ladder()
    assert ladder.next(process_gone=True) == (Rung.PROCESS, 0)


def test_a_quiet_air_is_not_answered_with_a_reset_a_second():
    ladder = Ladder()
    remedies = ((second // 60, ladder.for_silence(START_US + second * SECOND_US)) for second in range(24 * 3600))
    resets = [(minute, remedy.rung) for minute, remedy in remedies if remedy is not None]
    assert [rung for _, rung in resets[:4]] == [Rung.CHIP, Rung.POWER, Rung.PROCESS, Rung.CHIP]
    assert [minute for minute, _ in resets] == [0, 15, 75, 315, 555, 795, 1035, 1275]
    ladder.heard()
    assert ladder.for_silence(START_US) == (Rung.CHIP, 0)
