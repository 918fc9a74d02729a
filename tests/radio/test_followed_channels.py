"""A network server's channels on the two radios of a chip: what can be, what cannot, and what of it is heard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Lora
from gateway.radio.channels import plan_for, plan_of, unheard
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.regions import REGIONS, region_named
from gateway.tuning.tuner import as_planned
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel, in_words

ALL = range(7, 13)
EU868 = region_named("EU868")


def channel(mhz, width_khz=125, factors=ALL):
    return PlannedChannel(round(mhz * 1e6), width_khz * 1000, factors)


def wanted(*channels):
    return ChannelPlan.of(channels)


# ChirpStack 4.20, chirpstack/configuration/region_eu868.toml and region_us915_1.toml: `regions.gateway.channels`.
CHIRPSTACK_EU868 = wanted(
    *(channel(mhz) for mhz in (868.1, 868.3, 868.5, 867.1, 867.3, 867.5, 867.7, 867.9)),
    channel(868.3, 250, range(7, 8)),
    channel(868.8, 125, range(0)),
)
CHIRPSTACK_US915_1 = wanted(
    *(channel(903.9 + 0.2 * at, factors=range(7, 11)) for at in range(8)), channel(904.6, 500, range(8, 9))
)


@pytest.mark.parametrize(
    ("name", "block", "plan"), [("EU868", None, CHIRPSTACK_EU868), ("US915", 2, CHIRPSTACK_US915_1)]
)
def test_what_chirpstack_ships_is_what_a_gateway_there_hears_anyway(name, block, plan):
    region = region_named(name)
    found = plan_for(region, plan)
    own = plan_of(region, block=block)
    assert {one.frequency_hz for one in found.channels} == {one.frequency_hz for one in own.channels}
    assert found.service == own.service
    assert found.fsk == own.fsk
    assert found.radios_hz == own.radios_hz
    assert unheard(own, plan) == unheard(found, plan) == ()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (wanted(*(channel(867.1 + 0.2 * at) for at in range(11))), "11 channels: a chip hears 1 to 8"),
        (wanted(channel(868.1), channel(915.0)), "915 MHz is not in EU868: 863 to 870 MHz"),
        (wanted(channel(862.9)), "not in EU868"),
        (wanted(channel(863.1), channel(865.1), channel(869.5)), "too far apart for two radios"),
        (wanted(channel(868.1), channel(868.3, 250, range(7, 9))), "one spreading factor"),
        (
            wanted(channel(868.1), channel(868.3, 250, range(7, 8)), channel(867.3, 250, range(7, 8))),
            "2 channels of 250 or 500 kHz",
        ),
        (wanted(channel(868.1), channel(868.8, 125, range(0)), channel(868.5, 125, range(0))), "2 channels of FSK"),
        (wanted(channel(868.8, 125, range(0))), "0 channels"),
    ],
)
def test_what_no_chip_here_can_hear_is_refused_with_a_sentence(plan, words):
    with pytest.raises(ChipTrouble, match=words) as refused:
        plan_for(EU868, plan)
    assert refused.value.kind is TroubleKind.BAD_PLAN


def test_a_ninth_channel_of_one_data_rate_takes_the_demodulator_for_that():
    plan = wanted(*(channel(867.1 + 0.2 * at) for at in range(8)), channel(868.7, 125, range(9, 10)))
    found = plan_for(EU868, plan)
    assert found.service is not None
    assert (found.service.frequency_hz, found.service.modulation) == (868_700_000, Lora(9, 125_000))
    assert unheard(found, plan) == ()


def test_what_is_not_heard_is_named_as_people_write_it():
    own = plan_of(EU868)
    missing = unheard(own, wanted(channel(868.1), channel(869.525), channel(865.1), channel(868.3, 250, range(8, 9))))
    assert in_words(missing) == "865.1, 868.3 (SF8, 250 kHz) and 869.525 MHz"
    assert in_words(()) == ""
    assert in_words(missing[:1]) == "865.1 MHz"


def test_a_service_channel_out_of_reach_is_left_out_and_known_to_be():
    plan = wanted(channel(868.1), channel(867.1), channel(869.525, 250, range(9, 10)))
    assert unheard(plan_for(EU868, plan), plan) == (channel(869.525, 250, range(9, 10)),)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(REGIONS)),
    st.lists(
        st.builds(
            PlannedChannel,
            st.integers(430_000, 930_000).map(lambda khz: khz * 1000),
            st.sampled_from([125_000, 250_000, 500_000]),
            st.sampled_from([ALL, range(7, 8), range(0), range(5, 13)]),
        ),
        max_size=12,
    ),
)
def test_any_plan_is_heard_as_told_or_refused(name, channels):
    plan = ChannelPlan.of(channels)
    region = region_named(name)
    found = attempt(region, plan)
    if isinstance(found, ChipTrouble):
        assert found.kind is TroubleKind.BAD_PLAN
        return
    usual = [one for one in plan.channels if one.bandwidth_hz == 125_000 and len(one.spreading_factors) > 1]
    assert not set(unheard(found, plan)) & set(usual)  # wide ones and FSK may be left out, no other
    assert unheard(found, as_planned(found)) == ()


def attempt(region, plan):
    try:
        return plan_for(region, plan)
    except ChipTrouble as trouble:
        return trouble
