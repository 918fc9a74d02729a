"""The MAC layer in regions that differ: fixed channels, dwell times, windows that follow the join channel."""

from dataclasses import replace

import pytest
from mac_bench import Town

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.answers import Declined, GaveUp
from gateway.lorawan.join import JoinTerms
from gateway.lorawan.mac import after_join
from gateway.lorawan.mac_state import TxParam, initial
from gateway.lorawan.requests import wanted_by
from gateway.lorawan.windows import windows
from gateway.model import MacVersion
from gateway.regions import REGIONS

US915, AS923 = REGIONS["US915"], REGIONS["AS923-1"]
SUB_BAND_2 = frozenset({*range(8, 16), 65})
CHANNEL_8_HZ = US915.channels[8].frequency_hz


@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("adr", [True, False])
def test_a_device_with_fixed_channels_is_brought_to_one_sub_band(version, adr):
    wanted = replace(wanted_by(US915), enabled=SUB_BAND_2)
    town = Town(version, wanted, US915, CHANNEL_8_HZ, adr=adr)
    for n in range(12):
        town.round(down_lost=n == 0)
    assert town.state.enabled == town.device.enabled == SUB_BAND_2
    assert town.state.asked == ()
    block = [command for command in town.device.heard if isinstance(command, mac.LinkADRReq)]
    assert len(block) == len(US915.mask_blocks(SUB_BAND_2)) > 1  # one atomic block, taken once
    assert not [command for command in town.device.heard if isinstance(command, mac.NewChannelReq)]


def test_adr_stays_on_the_narrow_channels_of_a_fixed_plan():
    town = Town(MacVersion.V1_0_4, replace(wanted_by(US915), enabled=SUB_BAND_2), US915, CHANNEL_8_HZ)
    for _ in range(60):
        town.send(town.hear(town.uplink(snr_db=12.0)))
    assert town.device.data_rate == town.state.data_rate == 3  # SF7 on 125 kHz; DR4 is the one wide channel
    assert town.device.tx_power > 0


def test_rx1_of_a_fixed_plan_follows_the_channel():
    where = windows(initial(US915), CHANNEL_8_HZ + 400, 0, US915)
    assert (where.rx1.frequency_hz, where.rx1.data_rate) == (923_300_000, 10)  # RP002-1.0.4, 2.5.7: 8 mod 8
    assert (where.rx2.frequency_hz, where.rx2.data_rate) == (923_300_000, 8)
    assert windows(initial(US915), 868_100_000, 0, US915).rx1 is None


def test_a_channel_list_of_masks_leaves_the_sub_band_on():
    terms = JoinTerms(0, 1, rx2_data_rate=8, cf_list=US915.cf_list(enabled=SUB_BAND_2))
    assert after_join(terms, US915).enabled == SUB_BAND_2
    assert after_join(replace(terms, cf_list=b""), US915).enabled == frozenset(range(72))


def test_dwell_times_are_set_where_the_region_has_them():
    wanted = replace(wanted_by(AS923), tx_param=TxParam(5, uplink_dwell=False, downlink_dwell=True), adr="off")
    for version in (MacVersion.V1_0_2, MacVersion.V1_0_4, MacVersion.V1_1_0):
        town = Town(version, wanted, AS923, AS923.channels[0].frequency_hz, data_rate=2)
        for n in range(8):
            town.round(down_lost=n == 0, up_lost=n == 2)
        assert town.device.tx_param == town.state.tx_param == wanted.tx_param
        assert windows(town.state, AS923.channels[0].frequency_hz, 2, AS923).downlink_dwell
    europe = Town(MacVersion.V1_0_4, replace(wanted_by(REGIONS["EU868"]), tx_param=wanted.tx_param))
    europe.round()
    assert europe.sent == []


def test_adr_knows_that_a_dwell_time_forbids_the_slowest_data_rates():
    town = Town(MacVersion.V1_0_4, wanted_by(AS923), AS923, AS923.channels[0].frequency_hz, data_rate=0)
    for _ in range(4):
        town.round()
    assert town.device.data_rate == 2  # DR0 and DR1 carry nothing within 400 ms (RP002-1.0.4, 2.10.6)


def test_a_device_that_joined_on_a_channel_of_cn470_listens_where_that_says():
    cn470 = REGIONS["CN470-20A"]
    joined = [
        after_join(JoinTerms(0, 1, rx2_data_rate=1), cn470, join_hz=cn470.channels[channel].frequency_hz)
        for channel in (3, 11)
    ]
    assert [state.rx.rx2_frequency_hz for state in joined] == [485_300_000, 486_900_000]


@pytest.mark.parametrize("name", sorted(REGIONS))
@pytest.mark.parametrize("version", [MacVersion.V1_0_0, MacVersion.V1_1_0])
def test_in_every_region_a_device_at_its_defaults_is_left_alone_but_for_its_data_rate(name, version):
    region = REGIONS[name]
    town = Town(
        version, wanted_by(region), region, region.channels[0].frequency_hz, data_rate=region.adr_data_rates[-1]
    )
    for _ in range(30):
        town.send(town.hear(town.uplink(snr_db=-8.0)))
    assert {type(command) for command in town.device.heard} <= {mac.LinkADRReq}
    assert not [event for event in town.events if isinstance(event, Declined | GaveUp)]
    assert town.state.rx == town.device.rx
