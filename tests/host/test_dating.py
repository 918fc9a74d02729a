"""Dates learnt afterwards: never further from the truth than they say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.host.dating import DRIFT_PPM, MOST_ANCHORS, MOST_BOOTS, Anchor, Backdating, Dating
from gateway.model import Stamp, TimeQuality

BOOT, OTHER = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11", "0" * 32
NOW_US = 1_795_428_902_000_000
S = 1_000_000
HOUR = 3_600 * S
UNDATED = (TimeQuality.UNSYNCED, TimeQuality.RTC, TimeQuality.CORRECTED)


def anchor(at_us, utc_us, uncertainty_ms=50, *, boot=BOOT, continues=False):
    return Anchor(boot, at_us, utc_us, TimeQuality.NTP, uncertainty_ms, continues=continues)


def heard(at_us, quality=TimeQuality.UNSYNCED, *, boot=BOOT, uncertainty_ms=None):
    return Stamp(at_us, quality, uncertainty_ms, boot, at_us)  # at 1970, as a Pi without network has it


def test_a_frame_heard_before_the_time_was_known_is_dated_back():
    dated = Dating([anchor(600 * S, NOW_US)]).date(heard(0))
    assert dated == Stamp(NOW_US - 600 * S, TimeQuality.CORRECTED, 50 + 60, BOOT, 0)  # 100 ppm of ten minutes


def test_a_frame_heard_after_the_source_was_lost_is_dated_forward():
    dated = Dating([anchor(600 * S, NOW_US)]).date(heard(600 * S + HOUR))
    assert (dated.utc_us, dated.uncertainty_ms) == (NOW_US + HOUR, 50 + 360)


def test_between_two_anchors_the_drift_is_shared_out():
    dating = Dating([anchor(0, NOW_US), anchor(10 * HOUR, NOW_US + 10 * HOUR + S)])  # it ran 28 ppm slow
    dated = dating.date(heard(5 * HOUR))
    assert dated.utc_us == NOW_US + 5 * HOUR + S // 2
    assert dated.uncertainty_ms == 1350  # five hours from either, and half a second less because both must be right


def test_at_an_anchor_the_date_is_the_anchor_s():
    dating = Dating([anchor(0, NOW_US, 20), anchor(HOUR, NOW_US + HOUR, 30), anchor(2 * HOUR, NOW_US + 2 * HOUR, 40)])
    assert [dating.date(heard(at)).uncertainty_ms for at in (0, HOUR, 2 * HOUR)] == [20, 30, 40]


@pytest.mark.parametrize("quality", [TimeQuality.NTP, TimeQuality.GPS])
def test_what_was_heard_on_a_synchronised_clock_stays_as_it_is(quality):
    stamp = heard(7, quality, uncertainty_ms=900)
    assert Dating([anchor(0, NOW_US, 1), anchor(9, NOW_US + 9, 1)]).date(stamp) is stamp


@pytest.mark.parametrize("quality", UNDATED)
def test_in_a_boot_whose_time_never_became_known_nothing_is_dated(quality):
    stamp = heard(7, quality, boot=OTHER)
    assert Dating([anchor(0, NOW_US)]).date(stamp) is stamp


def test_what_was_carried_on_when_it_was_heard_gets_better_once_the_time_is_known_again():
    dating = Dating([anchor(0, NOW_US)])
    stamp = heard(10 * HOUR, TimeQuality.CORRECTED, uncertainty_ms=3650)
    assert dating.date(stamp) is stamp
    dating.learn(anchor(11 * HOUR, NOW_US + 11 * HOUR))
    assert dating.date(stamp).uncertainty_ms == 410  # 100 ppm of the hour to the nearer one, and 50 ms


def test_where_the_clock_since_boot_stood_still_the_uncertainty_covers_the_break():
    """T-65: a virtual machine was paused for an hour, nobody knows when between two anchors."""
    dating = Dating([anchor(0, NOW_US), anchor(60 * S, NOW_US + 60 * S + HOUR)])
    for at_us in (5 * S, 30 * S, 55 * S):
        dated = dating.date(heard(at_us))
        for possible_us in (NOW_US + at_us, NOW_US + at_us + HOUR):
            assert abs(dated.utc_us - possible_us) <= dated.uncertainty_ms * 1000


def test_of_a_time_trusted_without_a_break_only_both_ends_are_kept():
    dating = Dating()
    for hour in range(1000):
        dating.learn(anchor(hour * HOUR, NOW_US + hour * HOUR, continues=hour > 0))
    assert [found.monotonic_us for found in dating.anchors()] == [0, 999 * HOUR]
    for hour in range(2000, 2010):
        dating.learn(anchor(hour * HOUR, NOW_US + hour * HOUR, continues=hour > 2000))
    assert [found.monotonic_us // HOUR for found in dating.anchors()] == [0, 999, 2000, 2009]


def test_a_source_that_comes_and_goes_for_ever_costs_bounded_memory_and_keeps_the_first_anchor():
    dating = Dating(anchor(n * S, NOW_US + n * S) for n in range(3 * MOST_ANCHORS))
    kept = list(dating.anchors())
    assert (len(kept), kept[0].monotonic_us) == (MOST_ANCHORS, 0)
    assert kept[-1].monotonic_us == (3 * MOST_ANCHORS - 1) * S
    many = Dating(anchor(1, NOW_US, boot=f"{n:032x}") for n in range(2 * MOST_BOOTS))
    assert len(list(many.boots())) == MOST_BOOTS


def test_an_anchor_that_is_not_later_than_those_known_is_ignored():
    dating = Dating([anchor(9, NOW_US), anchor(9, 0), anchor(8, 0)])
    assert list(dating.anchors()) == [anchor(9, NOW_US)]


def test_what_has_a_better_date_now_is_what_was_heard_before_the_first_anchor():
    dating = Dating([anchor(600 * S, NOW_US), anchor(700 * S, NOW_US + 100 * S)])
    assert dating.backdating(BOOT) == Backdating(BOOT, 600 * S)
    assert dating.backdating(OTHER) is None
    assert dating.latest(BOOT) == anchor(700 * S, NOW_US + 100 * S)
    assert dating.latest(OTHER) is None


# --- the truth


@st.composite
def histories(draw):
    """A boot: how fast time really went at each stretch of the clock since boot, anchors that are as good as they say,
    and moments at which something was heard."""
    stretches = draw(
        st.lists(st.tuples(st.integers(1, 40 * HOUR), st.integers(-DRIFT_PPM, DRIFT_PPM)), min_size=1, max_size=6)
    )
    corners = [(0, NOW_US)]
    for length_us, ppm in stretches:
        at_us, true_us = corners[-1]
        corners.append((at_us + length_us, true_us + length_us + length_us * ppm // 1_000_000))

    def truth(at_us):
        (from_us, since_us), (to_us, until_us) = next(pair for pair in pairwise(corners) if at_us <= pair[1][0])
        return since_us + (at_us - from_us) * (until_us - since_us) // (to_us - from_us)

    moments = st.integers(0, corners[-1][0])
    anchors = []
    for at_us in sorted(draw(st.lists(moments, min_size=1, max_size=6, unique=True))):
        uncertainty_ms = draw(st.integers(1, 2_000))
        error_us = draw(st.integers(-(uncertainty_ms * 1000) + 100, uncertainty_ms * 1000 - 100))
        anchors.append(anchor(at_us, truth(at_us) + error_us, uncertainty_ms))
    return truth, anchors, sorted(draw(st.lists(moments, min_size=1, max_size=8)))


@given(history=histories(), quality=st.sampled_from([TimeQuality.UNSYNCED, TimeQuality.RTC]))
@settings(deadline=None, max_examples=300)
def test_no_date_is_further_from_the_truth_than_it_says(history, quality):
    truth, anchors, moments = history
    dating = Dating(anchors)
    for at_us in moments:
        dated = dating.date(heard(at_us, quality))
        assert dated.quality is TimeQuality.CORRECTED
        assert abs(dated.utc_us - truth(at_us)) <= dated.uncertainty_ms * 1000


@given(history=histories())
@settings(deadline=None, max_examples=300)
def test_what_was_heard_later_is_dated_later(history):
    _, anchors, moments = history
    ascending = [anchors[0]]
    for one in anchors:
        if one.utc_us > ascending[-1].utc_us:
            ascending.append(one)
    dates = [Dating(ascending).date(heard(at_us)).utc_us for at_us in moments]
    assert dates == sorted(dates)


@given(history=histories())
@settings(deadline=None, max_examples=100)
def test_a_better_anchor_afterwards_makes_no_date_worse(history):
    truth, anchors, moments = history
    better = Dating(anchors)
    end = anchors[-1]
    exact = replace(end, monotonic_us=end.monotonic_us + 1, utc_us=truth(end.monotonic_us) + 1, uncertainty_ms=1)
    better.learn(exact)
    for at_us in moments:
        if at_us > end.monotonic_us:
            assert better.date(heard(at_us)).uncertainty_ms <= Dating(anchors).date(heard(at_us)).uncertainty_ms
