"""The counter that turns, and what is known of one far away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.radio.counter import COMPARATOR_TURN_US, TURN_US, CounterEstimate, count_of, microseconds_until

COUNTS = st.integers(0, 1 << 50)
NEAR = st.integers(-(TURN_US // 2) + 1, TURN_US // 2 - 1)


@pytest.mark.parametrize(
    ("counter_us", "now_us", "ahead_us"),
    [
        (1_000_000, 0, 1_000_000),
        (0, 0, 0),
        (999_704, 4_294_967_000, 1_000_000),  # the example of the protocol's reference: 4294967000 + 1000000
        (4_294_967_295, 0, -1),
        (0, 4_294_967_295, 1),
        (TURN_US // 2, 0, -(TURN_US // 2)),
        (TURN_US // 2 - 1, 0, TURN_US // 2 - 1),
    ],
)
def test_distances_have_a_sign_across_the_turn(counter_us, now_us, ahead_us):
    assert microseconds_until(counter_us, now_us) == ahead_us


def test_turns_are_those_of_the_chip():
    # sx1302_hal: 32 bits of microseconds are 71 min 35 s, 32 bits of 32 MHz ticks 134.2 s.
    assert pytest.approx(71.58, abs=0.01) == TURN_US / 60e6
    assert COMPARATOR_TURN_US == (1 << 32) // 32


@given(COUNTS, NEAR)
def test_a_count_is_found_again_from_its_low_bits(count_us, away_us):
    assert count_of(count_us % TURN_US, count_us + away_us) == count_us


def test_a_counter_polled_through_many_turns_never_goes_back():
    count_us, truth_us = 0, 0
    for _ in range(1000):
        truth_us += 1_900_000_000
        count_us = count_of(truth_us % TURN_US, count_us)
        assert count_us == truth_us


# --- a forwarder's ------------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_frame():
    assert CounterEstimate().at(5) is None


def test_the_fastest_frame_tells_best():
    estimate = CounterEstimate()
    assert estimate.heard(1_000_000, 51_080_000), "the first frame: only now there is a count"
    for counter_us, host_us in ((2_000_000, 52_020_000), (3_000_000, 53_150_000)):
        assert not estimate.heard(counter_us, host_us)
    # The second took 20 ms at most; 1.13 s later that still holds, but for the drift.
    assert estimate.at(53_150_000) == 3_130_000 - 113


def test_it_goes_on_across_the_turn():
    estimate = CounterEstimate()
    estimate.heard(TURN_US - 500_000, 10_000_000)
    assert estimate.at(11_000_000) == TURN_US + 500_000 - 100
    assert not estimate.heard(500_000, 11_000_000)
    assert estimate.at(11_000_000) == TURN_US + 500_000


def test_a_forwarder_that_began_anew_is_noticed():
    estimate = CounterEstimate()
    estimate.heard(3_000_000_000, 1_000_000)
    assert estimate.heard(700_000, 9_000_000)
    assert estimate.at(9_000_000) % TURN_US == 700_000


def test_a_counter_that_goes_back_a_little_is_believed_as_one_that_goes_back_far():
    estimate = CounterEstimate()
    estimate.heard(3_000_000, 1_000_000)
    assert not estimate.heard(3_000_000, 1_150_000), "the network took a moment"
    assert estimate.heard(3_000_000, 4_000_000)
    assert estimate.at(4_000_000) == 3_000_000


@given(
    offset_us=st.integers(0, TURN_US - 1),
    gaps=st.lists(st.tuples(st.integers(1, 600_000_000), st.integers(0, 150_000)), min_size=1, max_size=60),
    ppm=st.integers(-100, 100),
)
def test_the_estimate_is_never_ahead_of_the_forwarder_and_seldom_far_behind(offset_us, gaps, ppm):
    """Whatever the network adds and however the crystals differ, within what they may."""
    estimate, truth_us = CounterEstimate(), offset_us
    for number, (gap_us, delay_us) in enumerate(gaps):
        truth_us += gap_us
        host_us = truth_us * 1_000_000 // (1_000_000 + ppm) + delay_us
        assert estimate.heard(truth_us % TURN_US, host_us) == (number == 0)
        now_us = truth_us + delay_us * (1_000_000 + ppm) // 1_000_000
        behind_us = microseconds_until(now_us, estimate.at(host_us))
        assert -2 <= behind_us <= 150_000 + 200_000 + 2
