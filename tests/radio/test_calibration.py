"""From a measurement to the settings: what was reported too loud, what was sent with another power."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.radio.board import TxGain
from gateway.radio.calibration import loudness_offset, regauged

GAINS = tuple(map(TxGain.parse, ("12:0/15", "13:0/16", "14:0/17", "16:0/20", "27:1/14")))


def test_what_is_reported_too_loud_lowers_the_offset():
    found = loudness_offset([{"-78": 6, "-77": 2}, {"-79": 4}, {}], -80.0, -215.4)
    assert found is not None
    assert (found.frames, found.too_loud_db, found.rssi_offset_db) == (12, 1.8, -217.2)
    assert found.is_enough


def test_few_frames_say_too_little_and_none_nothing():
    few = loudness_offset([{"-80": 3}], -80.0, -215.4)
    assert few is not None
    assert not few.is_enough
    assert loudness_offset([{}, {}], -80.0, -215.4) is None


def test_a_power_goes_where_it_was_measured():
    assert regauged(GAINS, 14, 12.6) == ("12:0/15", "13:0/17", "16:0/20", "27:1/14")
    assert regauged(GAINS, 15, 14.0) == ("12:0/15", "13:0/16", "14:0/17", "16:0/20", "27:1/14")
    assert regauged(GAINS, 27, 26.2) == tuple(map(str, GAINS))
    assert regauged(GAINS, 11, 11.0) is None


@settings(deadline=None, max_examples=200)
@given(st.integers(12, 30), st.floats(-20, 30))
def test_no_power_is_named_twice_or_understated(asked, measured):
    table = regauged(GAINS, asked, measured)
    assert table is not None
    powers = [TxGain.parse(one).power_dbm for one in table]
    assert powers == sorted(set(powers))
    assert any(measured <= power <= measured + 1 for power in powers)
