"""Devices are told to use what the radio hears: the block of a fixed plan, the channels of a followed server."""

from __future__ import annotations

import pytest

from gateway.lorawan.join import JoinTerms
from gateway.lorawan.mac import after_join
from gateway.model import DevAddr, MacVersion
from gateway.radio.channels import plan_for, plan_of
from gateway.regions import region_named
from gateway.serving.plan import network_plan, unheard_words
from gateway.tuning.tuner import as_planned
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

EU868 = region_named("EU868")


def heard(region, *mhz):
    channels = (PlannedChannel(round(each * 1e6), 125_000, range(7, 13)) for each in mhz)
    return as_planned(plan_for(region, ChannelPlan.of(channels)))


# RP002-1.0.4: US915 section 2.5.2, AU915 2.8.2 (64 channels of 125 kHz, 8 of 500 kHz), CN470 2.9.
@pytest.mark.parametrize(
    ("name", "block", "enabled"),
    [
        ("US915", 2, {*range(8, 16), 65}),
        ("AU915", 1, {*range(8), 64}),
        ("CN470", 11, set(range(80, 88))),
    ],
)
def test_of_a_fixed_plan_devices_keep_to_the_block_that_is_heard(name, block, enabled):
    region = region_named(name)
    plan = network_plan(region, None, None, as_planned(plan_of(region, block=block)))
    assert plan.wanted.enabled == enabled
    listed = region.read_cf_list(plan.cf_list_for(MacVersion.V1_0_3))
    assert listed is not None
    assert listed.enabled == enabled
    state = after_join(JoinTerms(0, DevAddr(1), rx2_data_rate=0, cf_list=plan.cf_list_for(MacVersion.V1_0_4)), region)
    assert state.enabled == enabled
    # LoRaWAN 1.0.2 has no masks in a CFList: such a device is asked by LinkADRReq, because it has all of them on.
    assert plan.cf_list_for(MacVersion.V1_0_2) == b""
    assert len(after_join(JoinTerms(0, DevAddr(1), rx2_data_rate=0, cf_list=b""), region).enabled) > len(enabled)


def test_without_a_word_of_what_is_heard_devices_keep_all_channels():
    region = region_named("US915")
    assert network_plan(region, None).wanted.enabled == frozenset(range(72))


def test_the_channels_of_a_followed_server_are_told_to_devices():
    plan = network_plan(EU868, None, None, heard(EU868, 868.1, 868.3, 868.5, 867.1, 867.5))
    listed = EU868.read_cf_list(plan.cf_list)
    assert listed is not None
    assert list(listed.frequencies_hz) == [867_100_000, 867_500_000]
    assert plan.wanted.enabled == frozenset(range(5))


def test_own_channels_that_are_not_heard_are_switched_off_and_named():
    one = heard(EU868, 868.1, 867.1, 867.3)
    plan = network_plan(EU868, None, None, one)
    assert plan.wanted.enabled == {0, 3, 4}
    assert unheard_words(EU868, one) == "devices that join here also send on 868.3, 868.5 MHz, which is not heard"
    assert unheard_words(EU868, heard(EU868, 868.1, 868.3, 868.5)) == ""


def test_devices_are_never_told_of_more_than_they_can_take_or_may_use():
    many = heard(EU868, 867.1, 867.3, 867.5, 867.7, 867.9, 868.1, 868.3, 868.5)
    assert len(network_plan(EU868, None, None, many).wanted.channels) == 5
    india = region_named("IN865")
    edge = heard(india, 865.0625, 865.4025, 865.985)
    assert network_plan(india, None, None, edge).cf_list == b""
    nothing = ChannelPlan((PlannedChannel(869_525_000, 250_000, range(9, 10)),))
    assert network_plan(EU868, None, None, nothing).wanted.enabled == frozenset(range(3))  # one has to stay on


def test_a_followed_block_of_another_number_is_told_too():
    region = region_named("US915")
    block = ChannelPlan.of(
        [
            *(PlannedChannel(903_900_000 + 200_000 * at, 125_000, range(7, 11)) for at in range(8)),
            PlannedChannel(904_600_000, 500_000, range(8, 9)),
        ]
    )
    plan = network_plan(region, None, None, as_planned(plan_for(region, block)))
    assert plan.wanted.enabled == {*range(8, 16), 65}
