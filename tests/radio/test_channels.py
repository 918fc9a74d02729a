"""Channels on two radios: presets of ChirpStack Concentratord, and what no chip can have."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Lora
from gateway.radio.channels import REACH_HZ, plan, plan_of
from gateway.radio.chip import CURES, HOPELESS, ChipTrouble, TroubleKind
from gateway.regions import region_named
from gateway.regions.eu868 import EU868

# chirpstack-concentratord 4.7.1, `chirpstack-concentratord/config/channels_*.toml`: multi-SF channels and service
# channel by region; of the fixed plans the second block (`us915_1`, `au915_1`).
PRESETS = {
    "EU868": ((868.1, 868.3, 868.5, 867.1, 867.3, 867.5, 867.7, 867.9), (868.3, Lora(7, 250_000))),
    "US915": (tuple(903.9 + 0.2 * at for at in range(8)), (904.6, Lora(8, 500_000))),
    "AU915": (tuple(916.8 + 0.2 * at for at in range(8)), (917.5, Lora(8, 500_000))),
    "AS923": (tuple(923.2 + 0.2 * at for at in range(8)), (924.5, Lora(7, 250_000))),
    "AS923-2": (tuple(921.4 + 0.2 * at for at in range(8)), (922.7, Lora(7, 250_000))),
    "CN470": (tuple(471.9 + 0.2 * at for at in range(8)), None),
    "IN865": ((865.0625, 865.4025, 865.985), None),
    "KR920": ((922.1, 922.3, 922.5), None),
    "RU864": ((868.9, 869.1), None),
    "EU433": ((433.175, 433.375, 433.575), None),
}


def hz(mhz: float) -> int:
    return round(mhz * 1_000_000)


@pytest.mark.parametrize("name", PRESETS)
def test_a_region_is_heard_where_gateways_hear_it(name):
    region = region_named(name)
    found = plan_of(region, block=2 if region.fixed_plan else None)
    channels_mhz, service = PRESETS[name]
    assert [channel.frequency_hz for channel in found.channels] == [hz(mhz) for mhz in channels_mhz]
    heard = None if found.service is None else (found.service.frequency_hz, found.service.modulation)
    assert heard == (None if service is None else (hz(service[0]), service[1]))


def test_the_radios_of_eu868_stand_where_concentratord_puts_them():
    # concentrator.md: its planner gives EU868 with service and FSK channel 867.5 and 868.4 MHz.
    assert plan_of(EU868).radios_hz == (867_500_000, 868_400_000)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(863_000, 870_000), min_size=1, max_size=8, unique=True))
def test_every_channel_of_a_plan_is_within_reach_of_its_radio(channels_khz):
    channels_hz = [khz * 1000 for khz in channels_khz]
    lows = sorted(channels_hz)
    # Two stretches of 800 kHz are enough exactly if the first from the left leaves no more than another one.
    rest = [one for one in lows if one > lows[0] + 800_000]
    possible = not rest or rest[-1] <= rest[0] + 800_000
    if not possible:
        with pytest.raises(ChipTrouble, match="too far apart"):
            plan(EU868, channels_hz)
        return
    found = plan(EU868, channels_hz)
    assert [channel.frequency_hz for channel in found.channels] == channels_hz
    for channel in found.channels:
        centre_hz = found.radios_hz[channel.radio]
        assert centre_hz is not None
        assert centre_hz + channel.if_hz == channel.frequency_hz
        assert abs(channel.if_hz) <= REACH_HZ[125_000]


def test_a_service_channel_that_no_radio_reaches_is_left_out():
    found = plan(EU868, [868_100_000, 867_100_000], service=(869_525_000, Lora(9, 250_000)))
    assert found.service is None
    assert len(found.channels) == 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plan(EU868, [863_100_000 + 200_000 * at for at in range(9)]), "9 channels"),
        (lambda: plan(EU868, []), "0 channels"),
        (lambda: plan(EU868, [863_100_000, 866_100_000, 869_100_000]), "too far apart"),
        (lambda: plan(EU868, [862_500_000]), "cannot be calibrated"),
        (lambda: plan_of(region_named("US915")), "which block"),
        (lambda: plan_of(region_named("US915"), block=9), "no block 9"),
        (lambda: plan_of(region_named("AU915"), block=0), "no block 0"),
    ],
)
def test_what_no_chip_can_hear_is_refused_with_the_cure(make, words):
    with pytest.raises(ChipTrouble, match=words) as caught:
        make()
    assert caught.value.kind is TroubleKind.BAD_PLAN
    assert caught.value.hint


def test_each_trouble_has_a_cure():
    assert set(CURES) == set(TroubleKind)
    assert set(TroubleKind) > HOPELESS
