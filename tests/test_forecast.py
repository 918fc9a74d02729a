"""How long things last: arithmetic by hand, and no promise where nothing can be known."""

from __future__ import annotations

import pytest

from gateway.forecast import CARD_ENDURANCE_BYTES, Pace, card_life_years, seconds_until


def test_a_steady_change_is_its_own_pace_and_a_new_one_takes_over_by_half_in_ten_minutes():
    pace = Pace()
    for second in range(100):
        pace.sample(50.0 * second, float(second))
    assert pace.per_s == pytest.approx(50)
    value = 50.0 * 99
    for second in range(100, 700):
        value += 10
        pace.sample(value, float(second))
    assert pace.per_s == pytest.approx(30, rel=0.01)


def test_nothing_is_foretold_before_there_are_two_looks():
    pace = Pace()
    pace.sample(7, 0.0)
    assert pace.per_s is None
    assert seconds_until(100, pace.per_s) is None


@pytest.mark.parametrize(("distance", "per_s", "expected"), [(100, 5, 20), (0, 5, 0), (100, 0, None), (100, -1, None)])
def test_a_distance_at_a_pace(distance, per_s, expected):
    assert seconds_until(distance, per_s) == expected


def test_the_card_of_the_store_sheet_lasts_over_fifty_years_at_half_a_gigabyte_a_day_of_a_grouped_log():
    """Section 9: years = TBW / (bytes a day x amplification x 365); 29 TBW, amplification 10."""
    day_bytes = 0.15e9
    assert card_life_years(day_bytes / 86_400) == pytest.approx(CARD_ENDURANCE_BYTES / (day_bytes * 10 * 365))
    assert card_life_years(day_bytes / 86_400) > 50
    assert card_life_years(0) is None
