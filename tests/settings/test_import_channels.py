"""Which region a concentrator listened in, by its channels.

Channels: RP002-1.0.4 for the default ones; the plans of a whole concentrator are those of ChirpStack Concentratord
4.7.1 (config/channels_*.toml) and of sx1302_hal 2.1.0's sample files.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.regions import REGIONS
from gateway.settings.importing.channels import named_by_chirpstack, recognise


def block(first_hz: int) -> list[int]:
    """Eight channels in a row."""
    return [first_hz + 200_000 * step for step in range(8)]


EU868 = [868_100_000, 868_300_000, 868_500_000, 867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000]


@pytest.mark.parametrize(
    ("channels", "service_hz", "region", "sub_band", "extra"),
    [
        (EU868, 250_000, "EU868", None, tuple(sorted(EU868[3:]))),
        (EU868[:3], None, "EU868", None, ()),
        (block(902_300_000), 500_000, "US915", 0, ()),
        (block(903_900_000), 500_000, "US915", 1, ()),
        (block(904_300_000), None, "US915", None, ()),  # sx1302_hal's sample: across two sub-bands
        (block(916_800_000), 500_000, "AU915", 1, ()),
        (block(923_200_000), 250_000, "AS923-1", None, tuple(block(923_200_000)[2:])),
        (block(923_200_000), 500_000, "AU915", 5, ()),
        (block(921_400_000), 250_000, "AS923-2", None, tuple(block(921_400_000)[2:])),
        (block(916_600_000), 250_000, "AS923-3", None, tuple(block(916_600_000)[2:])),
        (block(917_300_000), 250_000, "AS923-4", None, tuple(block(917_300_000)[2:])),
        (block(486_300_000), None, "CN470", 10, ()),
        ([865_062_500, 865_402_500, 865_985_000], None, "IN865", None, ()),
        ([922_100_000, 922_300_000, 922_500_000], None, "KR920", None, ()),
        ([868_900_000, 869_100_000], None, "RU864", None, ()),
        ([433_175_000, 433_375_000, 433_575_000], None, "EU433", None, ()),
        ([779_500_000, 779_700_000, 779_900_000], None, "CN779", None, ()),
    ],
)
def test_a_plan_is_recognised(channels, service_hz, region, sub_band, extra):
    plan = recognise(channels, service_hz)
    assert plan is not None
    assert (plan.region, plan.sub_band, plan.extra_hz) == (region, sub_band, extra)


def test_what_two_plans_have_is_said():
    plan = recognise(block(923_200_000))
    assert plan is not None
    assert (plan.region, plan.also) == ("AS923-1", ("AU915",))


@pytest.mark.parametrize(
    "channels", [[], [868_100_000], [868_100_000, 902_300_000], [2_403_000_000], [*EU868, 902_300_000]]
)
def test_what_is_no_plan_is_not_guessed_at(channels):
    assert recognise(channels) is None


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(-1, 3_000_000_000) | st.sampled_from(EU868), max_size=9), st.none() | st.integers())
def test_any_channels_give_a_region_that_has_them_or_none(channels, service_hz):
    plan = recognise(channels, service_hz)
    if plan is not None:
        region = REGIONS[plan.region]
        assert all(region.lowest_hz <= hz <= region.highest_hz for hz in channels)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("eu868", ("EU868", None)),
        ("EU868", ("EU868", None)),
        ("us915_1", ("US915", 1)),
        ("au915_7", ("AU915", 7)),
        ("cn470_10", ("CN470", 10)),
        ("as923", ("AS923-1", None)),
        ("as923_3", ("AS923-3", None)),
        ("AS923_4", ("AS923-4", None)),
        ("ism2400", None),
        ("us915_8", None),  # its channels 64 to 71 are wide ones
        ("us915_9", None),
        ("eu868_1", None),
        ("city", None),
        ("", None),
    ],
)
def test_chirpstacks_names_of_regions_are_known(name, found):
    """ChirpStack 4.20: configuration/region_*.toml."""
    assert named_by_chirpstack(name) == found
