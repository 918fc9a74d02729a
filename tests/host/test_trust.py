"""What is believed of the time, and what is not.

States of the kernel's clock are those that NTP clients leave there: systemd-timesyncd in manager_adjust_clock
(timesyncd-manager.c), chrony in set_sync_status (sys_timex.c); the fresh kernel's is that of kernel/time/ntp.c
(NTP_PHASE_LIMIT 16 s).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.host.dating import Anchor
from gateway.host.trust import (
    FLOOR_TOLERANCE_US,
    GPS_VALID_US,
    LATEST_US,
    PATH_ALLOWANCE_US,
    RELEASED_US,
    STA_UNSYNC,
    TIME_ERROR,
    BatteryCheck,
    BatteryWitness,
    ClockState,
    Floor,
    KernelClock,
    Known,
    Moment,
    day,
    decide,
    kernel_uncertainty_us,
    refusal,
)
from gateway.model import TimeQuality

STA_PLL = 0x0001
NTP_PHASE_LIMIT_US = 16_000_000
BOOT = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11"
NOW_US = 1_795_428_902_000_000  # 2026-11-23
UP_US = 600_000_000
DAY_US = 86_400_000_000

FRESH = (TIME_ERROR, STA_UNSYNC, 0, NTP_PHASE_LIMIT_US, NTP_PHASE_LIMIT_US)
CHRONY = (0, 0, 0, 23_400, 310)
TIMESYNCD_JUST_POLLED = (0, STA_PLL, 0, 0, 0)
TIMESYNCD_HALF_AN_HOUR_LATER = (0, STA_PLL, -3_100, 900_000, 0)


def moment(kernel=FRESH, wall_us=NOW_US, **changes):
    return Moment(UP_US, wall_us, kernel=None if kernel is None else KernelClock(*kernel, wall_us), **changes)


def gps(utc_us=NOW_US, *, uncertainty_ms=200, age_us=0):
    return Anchor(BOOT, UP_US - age_us, utc_us - age_us, TimeQuality.GPS, uncertainty_ms)


# --- the kernel


@pytest.mark.parametrize(
    ("kernel", "uncertainty_ms"),
    [
        pytest.param(FRESH, None, id="nobody has set it since boot"),
        pytest.param((TIME_ERROR, STA_UNSYNC, 0, 23_400, 310), None, id="chrony without rtcsync"),
        pytest.param((TIME_ERROR, 0, 0, 23_400, 310), None, id="a state of error"),
        pytest.param((0, STA_UNSYNC, 0, 0, 0), None, id="a status of unsynchronised"),
        pytest.param(CHRONY, 24, id="chrony tells its error"),
        pytest.param(TIMESYNCD_JUST_POLLED, 50, id="timesyncd tells none"),
        pytest.param(TIMESYNCD_HALF_AN_HOUR_LATER, 954, id="timesyncd, polled long ago, slewing"),
        pytest.param((0, 0, 0, 0, 1), 1, id="never better than a millisecond"),
        pytest.param((1, 0, 0, 5_000, 90), 5, id="a leap second is announced"),
    ],
)
def test_trust_follows_what_the_ntp_client_told_the_kernel(kernel, uncertainty_ms):
    verdict = decide(moment(kernel), Known(floor_us=NOW_US))
    assert verdict.uncertainty_ms == uncertainty_ms
    assert verdict.state is (ClockState.FLOOR if uncertainty_ms is None else ClockState.NTP)
    assert verdict.quality is (TimeQuality.UNSYNCED if uncertainty_ms is None else TimeQuality.NTP)
    assert verdict.utc_us == NOW_US


@given(
    offset_us=st.integers(-500_000, 500_000),
    max_error_us=st.integers(0, NTP_PHASE_LIMIT_US),
    estimated_error_us=st.integers(0, NTP_PHASE_LIMIT_US),
    slack_us=st.integers(0, 1_000_000),
)
@settings(deadline=None)
def test_the_uncertainty_never_claims_more_than_is_known(offset_us, max_error_us, estimated_error_us, slack_us):
    kernel = (0, 0, offset_us, max_error_us, estimated_error_us)
    verdict = decide(moment(kernel, slack_us=slack_us), Known())
    known_us = max_error_us + abs(offset_us) + (0 if estimated_error_us else PATH_ALLOWANCE_US) + slack_us
    assert known_us <= verdict.uncertainty_ms * 1000 < known_us + 2000


def test_a_kernel_that_may_not_be_asked_vouches_for_nothing():
    assert decide(moment(None), Known()).state is ClockState.NONE


# --- what cannot be true


@pytest.mark.parametrize(
    ("wall_us", "floor_us", "why"),
    [
        (0, None, "1970-01-01 00:00 UTC, when this program was not yet made"),
        (RELEASED_US - 1, None, "not yet made"),
        (RELEASED_US, None, ""),
        (NOW_US - FLOOR_TOLERANCE_US, NOW_US, ""),
        (NOW_US - FLOOR_TOLERANCE_US - 1, NOW_US, "but 2026-11-23 10:15 UTC has already been"),
        (NOW_US - 1024 * 7 * DAY_US, NOW_US, "has already been"),  # GPS weeks have ten bits
        (LATEST_US, NOW_US, ""),
        (LATEST_US + 1, NOW_US, "too far ahead"),
        (2**63 - 1, None, "a year that does not exist"),
        (-(2**63), NOW_US, "a year that does not exist"),
    ],
)
def test_a_time_before_the_floor_or_long_after_the_release_is_no_time(wall_us, floor_us, why):
    refused = refusal(wall_us, floor_us)
    assert why in refused
    assert bool(refused) == bool(why)


def test_the_latest_believable_time_is_fifteen_years_after_the_release():
    assert (day(RELEASED_US)[:4], day(LATEST_US)[:4]) == ("2026", "2041")


@pytest.mark.parametrize("wall_us", [0, NOW_US - 2 * FLOOR_TOLERANCE_US, NOW_US + 20 * 365 * DAY_US])
def test_not_even_ntp_makes_an_impossible_time_true(wall_us):
    verdict = decide(moment(CHRONY, wall_us), Known(floor_us=NOW_US))
    assert (verdict.state, verdict.quality, verdict.utc_us) == (ClockState.FLOOR, TimeQuality.UNSYNCED, NOW_US)
    assert verdict.refused


# --- which of several


def test_without_any_floor_the_earliest_date_is_the_release_and_the_time_since_boot():
    verdict = decide(moment(wall_us=UP_US), Known())
    assert (verdict.state, verdict.utc_us) == (ClockState.NONE, RELEASED_US + UP_US)


def test_a_wall_clock_that_nobody_vouches_for_is_taken_but_never_below_the_floor():
    assert decide(moment(), Known()).utc_us == NOW_US
    assert decide(moment(), Known(floor_us=NOW_US + 60_000_000)).utc_us == NOW_US + 60_000_000
    assert decide(moment(), Known(floor_us=NOW_US - 60_000_000)).utc_us == NOW_US


def test_after_the_source_is_lost_the_date_is_carried_on_and_its_uncertainty_grows():
    last = Anchor(BOOT, UP_US - DAY_US // 24, NOW_US, TimeQuality.NTP, 20)
    verdict = decide(moment(wall_us=NOW_US + 7), Known(floor_us=NOW_US, last=last))
    assert verdict.state is ClockState.HOLDOVER
    assert verdict.utc_us == NOW_US + DAY_US // 24
    assert verdict.uncertainty_ms == 20 + 360  # 100 ppm of an hour


def test_gps_is_believed_for_a_minute():
    assert decide(moment(), Known(gps=gps(age_us=GPS_VALID_US))).state is ClockState.GPS
    assert decide(moment(), Known(gps=gps(age_us=GPS_VALID_US + 1))).state is ClockState.NONE


def test_gps_carries_the_date_although_the_wall_clock_is_at_1970():
    verdict = decide(moment(wall_us=UP_US), Known(gps=gps(age_us=30_000_000)))
    assert (verdict.state, verdict.quality, verdict.utc_us) == (ClockState.GPS, TimeQuality.GPS, NOW_US)
    assert verdict.uncertainty_ms == 203


@pytest.mark.parametrize(
    ("kernel", "uncertainty_ms", "state"),
    [(CHRONY, 200, ClockState.NTP), (CHRONY, 1, ClockState.GPS), (TIMESYNCD_HALF_AN_HOUR_LATER, 200, ClockState.GPS)],
)
def test_of_two_sources_that_agree_the_more_exact_one_counts(kernel, uncertainty_ms, state):
    verdict = decide(moment(kernel), Known(gps=gps(uncertainty_ms=uncertainty_ms)))
    assert (verdict.state, verdict.dispute_us) == (state, 0)


@pytest.mark.parametrize("leap_s", [-18, 18])
def test_a_receiver_that_has_no_leap_seconds_yet_does_not_beat_ntp(leap_s):
    verdict = decide(moment(CHRONY), Known(gps=gps(NOW_US + leap_s * 1_000_000, uncertainty_ms=1)))
    assert (verdict.state, verdict.utc_us, verdict.dispute_us) == (ClockState.NTP, NOW_US, 18_000_000)


# --- the battery clock


def witness(*, wall_us=NOW_US, battery_s=NOW_US // 1_000_000, check=None, up_us=UP_US):
    return BatteryWitness.agreeing(battery_s, Moment(up_us, wall_us), check)


def test_a_battery_clock_that_agrees_vouches_for_the_wall_clock():
    verdict = decide(moment(), Known(floor_us=NOW_US - DAY_US, battery=witness()))
    assert (verdict.state, verdict.quality, verdict.utc_us) == (ClockState.RTC, TimeQuality.RTC, NOW_US)
    assert verdict.uncertainty_ms is None  # nobody has ever compared it


@pytest.mark.parametrize("apart_s", [3, -3, 3600])
def test_a_battery_clock_that_disagrees_vouches_for_nothing(apart_s):
    assert witness(battery_s=NOW_US // 1_000_000 + apart_s) is None


def test_a_week_after_the_start_the_two_may_have_drifted_apart():
    assert witness(battery_s=NOW_US // 1_000_000 + 60, up_us=7 * DAY_US) is not None
    assert witness(battery_s=NOW_US // 1_000_000 + 90, up_us=7 * DAY_US) is None


def test_a_battery_clock_is_as_good_as_when_it_was_last_compared_and_two_seconds_a_day_worse():
    check = BatteryCheck(NOW_US - 10 * DAY_US, -700)
    verdict = decide(moment(), Known(battery=witness(check=check)))
    assert 700 + 10 * 1_900 <= verdict.uncertainty_ms <= 700 + 10 * 2_000 + 3_000


def test_once_the_wall_clock_is_set_by_hand_the_battery_clock_does_not_vouch_for_it_any_more():
    known = Known(floor_us=NOW_US - DAY_US, battery=witness())
    assert decide(moment(wall_us=NOW_US + 600_000), known).state is ClockState.FLOOR
    assert decide(moment(wall_us=NOW_US + 400_000), known).state is ClockState.RTC


# --- the floor


def test_the_floor_goes_on_with_the_boot_it_was_written_in_or_with_the_next():
    floor = Floor(NOW_US, BOOT, UP_US)
    assert floor.at(BOOT, UP_US) == NOW_US
    assert floor.at(BOOT, UP_US + 1_000_000) == NOW_US + 1_000_000 - 100
    assert floor.at("another", 1_000_000) == NOW_US + 1_000_000 - 100


wall_times = st.integers(-(10**17), 10**17) | st.sampled_from([0, NOW_US, RELEASED_US, LATEST_US])
kernels = st.none() | st.builds(
    KernelClock,
    st.integers(0, 5), st.integers(0, 0x7F), st.integers(-(10**6), 10**6), st.integers(0, 10**8),
    st.integers(0, 10**8), st.just(0),
)  # fmt: skip
anchors = st.builds(
    Anchor, st.just(BOOT), st.integers(0, 2 * UP_US), wall_times, st.just(TimeQuality.GPS), st.integers(1, 10**6)
)


@given(
    wall_us=wall_times, kernel=kernels, floor_us=st.none() | wall_times, gps=st.none() | anchors,
    last=st.none() | anchors, battery_s=st.none() | st.integers(0, 4 * 10**9),
)  # fmt: skip
@settings(deadline=None)
def test_whatever_the_sources_say_there_is_a_date_and_it_claims_what_its_state_allows(
    wall_us, kernel, floor_us, gps, last, battery_s
):
    now = Moment(UP_US, wall_us, kernel=kernel)
    battery = None if battery_s is None else BatteryWitness.agreeing(battery_s, now, None)
    verdict = decide(now, Known(floor_us, gps, last, battery))
    expected = {
        ClockState.NONE: TimeQuality.UNSYNCED, ClockState.FLOOR: TimeQuality.UNSYNCED, ClockState.RTC: TimeQuality.RTC,
        ClockState.HOLDOVER: TimeQuality.CORRECTED, ClockState.NTP: TimeQuality.NTP, ClockState.GPS: TimeQuality.GPS,
    }  # fmt: skip
    assert verdict.quality is expected[verdict.state]
    if verdict.state.is_trusted or verdict.state is ClockState.HOLDOVER:
        assert verdict.uncertainty_ms >= 1
    if verdict.state is ClockState.NTP:
        assert kernel_uncertainty_us(kernel) is not None
    if verdict.state in {ClockState.NTP, ClockState.RTC}:
        assert not refusal(verdict.utc_us, floor_us)
    if verdict.state is ClockState.FLOOR:
        assert verdict.utc_us >= floor_us


def test_only_from_the_battery_clock_upwards_do_dates_mean_something():
    assert [state.is_known for state in ClockState] == [False, False, True, True, True, True]
    assert [state.is_trusted for state in ClockState] == [False, False, False, False, True, True]
    assert [state.rank for state in ClockState] == list(range(6))
