"""The queue over the counter: who is admitted, when the chip is told, what is missed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import AtCounter, AtGpsTime, DownlinkRequest, Immediately, Lora, TxResult
from gateway.radio.counter import COMPARATOR_TURN_US, TURN_US
from gateway.radio.duty_cycle import Denied
from gateway.radio.schedule import MOST_WAITING, GpsReference, Planned, Schedule

REQUEST = DownlinkRequest("r", b"\x60" * 20, "roof", Immediately(), 868_100_000, Lora(7, 125_000), 14.0)
AIRTIME_US = 56_576
LEAD_US = 42_500  # jitqueue.c: 40 ms for the queue, 1.5 ms to start, 1 ms of margin
NOWS = [0, 5_000_000, TURN_US - 1_000, TURN_US + 77, 9 * TURN_US - 500_000]


class Desk:
    """A schedule and its count."""

    def __init__(self, now_us=0):
        self.schedule, self.now_us = Schedule(), now_us

    def ask(self, timing, airtime_us=AIRTIME_US, **more):
        answer = self.schedule.place(timing, airtime_us, self.now_us, **more)
        if isinstance(answer, Denied):
            return answer
        planned = Planned(REQUEST, answer, airtime_us)
        self.schedule.take(planned)
        return planned

    def ahead(self, ahead_us, airtime_us=AIRTIME_US):
        return self.ask(AtCounter((self.now_us + ahead_us) % TURN_US), airtime_us)


# --- admission ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now_us", NOWS)
@pytest.mark.parametrize(
    ("ahead_us", "result"),
    [
        (-(TURN_US // 2), TxResult.TOO_LATE),
        (-1, TxResult.TOO_LATE),
        (0, TxResult.TOO_LATE),
        (LEAD_US, TxResult.TOO_LATE),
        (LEAD_US + 1, None),
        (1_000_000, None),
        (COMPARATOR_TURN_US + 1_000_000, None),
        (512_000_000, None),
        (512_000_001, TxResult.TOO_EARLY),
        (TURN_US // 2 - 1, TxResult.TOO_EARLY),
    ],
)
def test_a_window_that_has_just_passed_is_too_late_on_every_side_of_the_turn(now_us, ahead_us, result):
    answer = Desk(now_us).ahead(ahead_us)
    if result is None:
        assert answer.start_us == now_us + ahead_us
    else:
        assert answer.result is result


def test_refusals_say_by_how_much():
    desk = Desk(1_000_000)
    assert desk.ahead(-20_000).detail == "20.0 ms too late, the radio wants 42.5 ms"
    assert desk.ahead(600_000_000).detail == "starts in 600 s, at most 512 s"
    desk.ahead(1_000_000)
    between = "the radio wants 42.5 ms between two"
    assert desk.ahead(1_020_000).detail == f"while another transmission lasts, {between}"
    assert desk.ahead(1_000_000 + AIRTIME_US).detail == f"0.0 ms after another transmission, {between}"
    assert desk.ahead(1_000_000 - AIRTIME_US - 9_000).detail == f"ending 9.0 ms before another transmission, {between}"


@pytest.mark.parametrize("now_us", NOWS)
def test_between_two_transmissions_the_chip_is_told_of_the_second(now_us):
    desk = Desk(now_us)
    first = desk.ahead(1_000_000)
    after_us = first.end_us + 42_500 - now_us
    assert desk.ahead(after_us - 1).result is TxResult.COLLISION_PACKET
    assert isinstance(desk.ahead(after_us), Planned)
    before_us = 1_000_000 - AIRTIME_US - 42_500
    assert desk.ahead(before_us + 1).result is TxResult.COLLISION_PACKET
    assert isinstance(desk.ahead(before_us), Planned)


def test_a_long_one_does_not_start_before_a_short_one_is_reached():
    desk = Desk()
    desk.ahead(2_000_000)
    assert desk.ahead(500_000, 2_800_000).result is TxResult.COLLISION_PACKET


def test_an_immediate_one_starts_after_80_ms_or_in_the_first_gap():
    desk = Desk()
    assert desk.ask(Immediately()).start_us == 80_000
    desk.ahead(300_000)
    second, third = desk.ask(Immediately()), desk.ask(Immediately())
    assert second.start_us == 80_000 + AIRTIME_US + 42_500
    assert third.start_us == 300_000 + AIRTIME_US + 42_500


def test_a_full_queue_takes_no_more():
    desk = Desk()
    taken = [desk.ask(Immediately(), 1_000) for _ in range(MOST_WAITING)]
    assert all(isinstance(planned, Planned) for planned in taken)
    assert desk.ask(Immediately(), 1_000).result is TxResult.COLLISION_PACKET
    assert desk.ahead(500_000_000).result is TxResult.COLLISION_PACKET


def test_gaps_beyond_512_seconds_are_none():
    desk = Desk()
    while isinstance(answer := desk.ask(Immediately(), 10_000_000), Planned):
        assert answer.start_us <= 512_000_000
    assert answer == Denied(TxResult.COLLISION_PACKET, "no gap within 512 s")


def test_gps_time_needs_a_fresh_reference():
    desk = Desk(50_000_000)
    known = GpsReference(count_us=30_000_000, gps_time_us=1_479_463_218_000_000)
    timing = AtGpsTime(1_479_463_240_500_000)
    assert desk.ask(timing).result is TxResult.GPS_UNLOCKED
    assert desk.ask(timing, gps=known).start_us == 52_500_000
    desk.now_us = 60_000_001
    assert desk.ask(timing, gps=known).result is TxResult.GPS_UNLOCKED
    desk.now_us = 52_600_000
    assert desk.ask(timing, gps=known).result is TxResult.TOO_LATE


# --- handing over -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now_us", NOWS)
def test_the_chip_is_told_once_and_just_in_time(now_us):
    desk = Desk(now_us)
    planned = desk.ahead(1_000_000)
    assert desk.schedule.next_due_us() == now_us + 960_000
    assert desk.schedule.due(now_us + 959_999).planned is None
    assert desk.schedule.due(now_us + 960_000).planned is planned
    assert desk.schedule.due(now_us + 960_001).planned is None
    assert desk.schedule.over(planned.end_us - 1) == ()
    assert desk.schedule.over(planned.end_us) == (planned,)
    assert desk.schedule.over(planned.end_us) == ()
    assert len(desk.schedule) == 0


@pytest.mark.parametrize(("to_go_us", "is_missed"), [(10_000, False), (9_999, True), (0, True), (-1_000_000, True)])
def test_what_the_chip_can_no_longer_be_told_of_is_missed_and_not_sent_134_s_later(to_go_us, is_missed):
    desk = Desk()
    planned, later = desk.ahead(1_000_000), desk.ahead(9_000_000)
    due = desk.schedule.due(1_000_000 - to_go_us)
    assert due.missed == ((planned,) if is_missed else ())
    assert due.planned is (None if is_missed else planned)
    assert desk.schedule.due(9_000_000 - 20_000).planned is later


def test_a_missed_one_does_not_hold_up_the_next():
    desk = Desk()
    first, second = desk.ahead(1_000_000), desk.ahead(1_100_000)
    due = desk.schedule.due(1_065_000)
    assert (due.planned, due.missed) == (second, (first,))


def test_what_the_chip_has_been_told_still_takes_its_time():
    desk = Desk()
    desk.ahead(1_000_000)
    desk.now_us = 970_000
    assert desk.schedule.due(desk.now_us).planned is not None
    assert desk.ahead(50_000).result is TxResult.COLLISION_PACKET
    assert desk.ask(Immediately()).start_us == 1_000_000 + AIRTIME_US + 42_500


def test_what_will_not_be_sent_leaves_its_time_to_others():
    desk = Desk()
    waiting, handed = desk.ahead(1_000_000), Planned(REQUEST, 2_000_000, AIRTIME_US)
    desk.schedule.hand_over(handed)
    assert desk.ahead(2_000_000).result is TxResult.COLLISION_PACKET
    for planned in (waiting, handed):
        desk.schedule.drop(planned)
        assert isinstance(desk.ahead(planned.start_us), Planned)


def test_when_the_counter_begins_anew_everything_is_forgotten():
    desk = Desk()
    second, first = desk.ahead(2_000_000), desk.ahead(1_000_000)
    assert desk.schedule.due(970_000).planned is first
    assert desk.schedule.clear() == (first, second)
    assert len(desk.schedule) == 0
    assert desk.schedule.next_due_us() is None


@given(
    start_us=st.integers(0, 3 * TURN_US),
    steps=st.lists(
        st.tuples(
            st.integers(0, 2_000_000),
            st.one_of(st.none(), st.integers(-1_000_000, 5_000_000)),
            st.integers(1_000, 2_800_000),
        ),
        max_size=60,
    ),
)
def test_whatever_is_asked_for_when_the_chip_gets_one_at_a_time_in_time(start_us, steps):
    """A chip with one buffer and a comparator of 27 bits, polled every 10 ms as Semtech's forwarder does."""
    desk, told, taken, missed = Desk(start_us), [], [], []
    for wait_us, ahead_us, airtime_us in steps:
        answer = desk.ask(Immediately(), airtime_us) if ahead_us is None else desk.ahead(ahead_us, airtime_us)
        taken += [answer] if isinstance(answer, Planned) else []
        missed += poll(desk, told, desk.now_us + wait_us)
    missed += poll(desk, told, desk.now_us + 400_000_000)
    assert missed == []
    assert sorted(taken, key=lambda planned: planned.start_us) == [planned for planned, _ in told]
    for planned, when_us in told:
        assert 30_000 <= planned.start_us - when_us <= 40_000
    for (first, _), (_, second_told_us) in itertools.pairwise(told):
        assert second_told_us >= first.end_us, "the buffer is free again"
    assert len(desk.schedule) == 0


def poll(desk, told, until_us):
    missed = []
    while desk.now_us < until_us:
        if desk.schedule.next_due_us() is None or desk.schedule.next_due_us() > until_us:
            desk.now_us = until_us
        else:
            desk.now_us = max(desk.now_us, desk.schedule.next_due_us() // 10_000 * 10_000)
            desk.now_us = min(until_us, desk.now_us + 10_000)
        due = desk.schedule.due(desk.now_us)
        missed += due.missed
        if due.planned is not None:
            told.append((due.planned, desk.now_us))
        desk.schedule.over(desk.now_us)
    return missed
