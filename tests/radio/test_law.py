"""The judge itself: it has to see each breach, or its silence is worth nothing."""

import pytest
from law import HOUR_US, Rule, Sent, fullest_hour_us, violations

S = 1_000_000


def sent(start_s, airtime_s, mhz=868.1, eirp_dbm=14.0, bandwidth_hz=125_000, transmitter="roof"):
    return Sent(transmitter, round(start_s * S), round(airtime_s * S), round(mhz * 1e6), bandwidth_hz, eirp_dbm)


def kinds(*transmissions, **more):
    return [words.partition(":")[0] for words in violations(transmissions, **more)]


def test_a_lawful_hour_is_passed_in_silence():
    assert kinds(*(sent(10 * n, 1) for n in range(36)), sent(400, 36, 867.1), sent(500, 300, 869.525, 29.0)) == []


@pytest.mark.parametrize(
    ("mhz", "limit_s"),
    [(864.0, 3.6), (865.5, 36), (868.3, 36), (868.95, 3.6), (869.525, 360), (869.85, 36)],
)
def test_a_microsecond_too_much_in_each_band_is_seen(mhz, limit_s):
    half = limit_s / 2
    assert kinds(sent(0, half, mhz), sent(1800, half, mhz)) == []
    assert kinds(sent(0, half, mhz), sent(1800, half + 1e-6, mhz)) == ["hour"]


def test_the_hour_slides_and_cuts_what_lies_across_its_edge():
    # 36 s ending at 36 s, and more from 3600 s on: the hour from 18 s to 3618 s holds 18 s and 18 s.
    assert kinds(sent(0, 36), sent(3600, 36)) == []
    assert kinds(sent(0, 36), sent(3599.999999, 36)) == ["hour"]
    assert fullest_hour_us([sent(0, 36), sent(3599, 36)]) == 37 * S


def test_the_hour_of_one_transmitter_or_band_is_not_the_hour_of_another():
    assert kinds(sent(0, 36), sent(100, 36, transmitter="tower"), sent(100, 36, 867.9)) == []


@pytest.mark.parametrize(("mhz", "most_dbm"), [(868.1, 16.15), (869.525, 29.15), (864.0, 16.15)])
def test_too_much_power_is_seen(mhz, most_dbm):
    assert kinds(sent(0, 1, mhz, most_dbm)) == []
    assert kinds(sent(0, 1, mhz, most_dbm + 0.1)) == ["power"]
    assert kinds(sent(0, 1, mhz, float("nan"))) == ["power"]


@pytest.mark.parametrize(
    ("mhz", "bandwidth_hz"), [(862.9, 125_000), (868.65, 125_000), (868.55, 125_000), (868.5, 250_000), (915, 125_000)]
)
def test_what_reaches_out_of_its_band_is_seen(mhz, bandwidth_hz):
    assert kinds(sent(0, 1, mhz, bandwidth_hz=bandwidth_hz)) == ["band"]


def test_two_at_once_on_one_transmitter_are_seen():
    assert kinds(sent(1, 1), sent(2, 1, 867.1)) == []
    assert kinds(sent(1, 1), sent(1.999999, 1, 867.1)) == ["overlap"]
    assert kinds(sent(1, 1), sent(1.5, 1, 867.1, transmitter="tower")) == []


def test_what_dwells_too_long_is_seen():
    hopping = (Rule((902_000, 928_000), None, 500, longest_ms=400),)
    assert kinds(sent(0, 0.4, 915), rules=hopping) == []
    assert kinds(sent(0, 0.400001, 915), rules=hopping) == ["dwell"]
    assert kinds(*(sent(n, 0.4, 915) for n in range(3600)), rules=hopping) == [], "no limit of the hour there"


def test_an_hour_without_anything_is_empty():
    assert fullest_hour_us([]) == 0
    assert violations([]) == []
    assert HOUR_US == 3600 * S
