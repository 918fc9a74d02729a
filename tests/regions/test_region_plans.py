"""Every plan against what others publish of it.

Unless a row says otherwise the vectors are the golden files of The Things Stack 3.32.1, pkg/band/testdata/
*_RP002_V1_0_4.json (CN_470_510_PHY_V1_1_REV_B.json for CN470, CN_779_787_RP002_V1_0_3.json for CN779), each compared
with LoRaMac-node 4.7.0, src/mac/region/Region*.h, and ChirpStack 4.19, lrwn/src/region/*.rs. Where those disagree:

- EU868 DR4 is 242 bytes in The Things Stack and LoRaMac-node, 222 in ChirpStack since its RP002-1.0.2; DR5 is 242
  everywhere, and RP002 has both in one line.
- IN865 has no DR6. The Things Stack and ChirpStack reach it by some RX1 offsets; LoRaMac-node and lora-rs
  (lorawan-device/src/region/dynamic_channel_plans/in865.rs) do not, and theirs are the rows below.
- RP002's four CN470 plans have no DR0, but The Things Stack reaches it (RX1, RX2) and has 164 bytes at DR3, the number
  of RP002-1.0.1 for repeaters. LoRaMac-node, made for these plans, starts at DR1 and has 184, as ChirpStack has since
  RP002-1.0.2; 184 bytes take 984 ms at SF9, which is what the one second of the law allows.
- CN779 has six channels in The Things Stack: the three it has and three more on which a device may join.
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Fsk, Lora, LrFhss
from gateway.regions import REGIONS, region_named
from gateway.regions.region import CHANNEL_WIDTH_HZ, ReceiveWindow
from gateway.settings.models import REGIONS as NAMES_IN_SETTINGS

PLANS = [pytest.param(plan, id=name) for name, plan in REGIONS.items()]
PLAN = st.sampled_from(list(REGIONS.values()))


def _lora(first_sf, last_sf, khz=125):
    return [Lora(sf, khz * 1000) for sf in range(first_sf, last_sf - 1, -1)]


FSK = Fsk(50_000, 25_000)
EIGHT = [*_lora(12, 7), Lora(7, 250_000), FSK]
DOWN_500 = dict(enumerate(_lora(12, 7, 500), start=8))
# SF6 and SF5: ChirpStack 4.19, from RP002-1.0.5.
FASTER = {12: Lora(6, 125_000), 13: Lora(5, 125_000)}
UPLINK_DATA_RATES = {
    "EU433": {**dict(enumerate(EIGHT)), **FASTER},
    "CN779": dict(enumerate(EIGHT)),
    "US915": dict(
        enumerate([*_lora(10, 7), Lora(8, 500_000), LrFhss(1_523_000, "1/3"), LrFhss(1_523_000, "2/3")]),
    ),
    "AU915": dict(enumerate([*_lora(12, 7), Lora(8, 500_000), LrFhss(1_523_000, "1/3")])),
    "CN470": dict(enumerate(_lora(12, 7))),
    "CN470-20A": dict(enumerate([*_lora(11, 7), Lora(7, 500_000), FSK], start=1)),
    "CN470-26B": dict(enumerate([*_lora(11, 7), Lora(7, 500_000), FSK], start=1)),
    "AS923-1": {**dict(enumerate(EIGHT)), **FASTER},
    "KR920": {**dict(enumerate(_lora(12, 7))), **FASTER},
    "IN865": {**dict(enumerate(_lora(12, 7))), 7: FSK, **FASTER},
    "RU864": {**dict(enumerate(EIGHT)), **FASTER},
}


@pytest.mark.parametrize("name", UPLINK_DATA_RATES)
def test_each_plan_has_the_published_data_rates(name):
    plan = region_named(name)
    assert dict(plan.data_rates) == UPLINK_DATA_RATES[name]
    down = DOWN_500 if name in {"US915", "AU915"} else UPLINK_DATA_RATES[name]
    assert dict(plan.downlink_data_rates) == down


@pytest.mark.parametrize("plan", PLANS)
def test_a_data_rate_is_found_under_its_own_index(plan):
    for index, modulation in plan.data_rates.items():
        assert plan.data_rate_index(modulation) == index


# Frequencies in MHz: the first channels, the highest number of them; the frequency and data rate of RX2; the EIRP of
# TXPower 0 and the highest TXPower.
DEFAULTS = [
    ("EU868", "868.1 868.3 868.5", 16, (869.525, 0), 16, 7),
    ("EU433", "433.175 433.375 433.575", 16, (434.665, 0), 12.15, 5),
    ("CN779", "779.5 779.7 779.9", 16, (786, 0), 12.15, 5),
    ("US915", "902.3 902.5 902.7", 72, (923.3, 8), 30, 14),
    ("AU915", "915.2 915.4 915.6", 72, (923.3, 8), 30, 14),
    ("CN470", "470.3 470.5 470.7", 96, (505.3, 0), 19.15, 7),
    # DR1: LoRaMac-node, CN470_RX_WND_2_DR.
    ("CN470-20A", "470.3 470.5 470.7", 64, (486.9, 1), 19.15, 7),
    ("CN470-20B", "476.9 477.1 477.3", 64, (498.3, 1), 19.15, 7),
    ("CN470-26A", "470.3 470.5 470.7", 48, (492.5, 1), 19.15, 7),
    ("CN470-26B", "480.3 480.5 480.7", 48, (502.5, 1), 19.15, 7),
    ("AS923", "923.2 923.4", 16, (923.2, 2), 16, 7),
    ("AS923-1", "923.2 923.4", 16, (923.2, 2), 16, 7),
    ("AS923-1-JP", "923.2 923.4", 16, (923.2, 2), 16, 7),
    ("AS923-2", "921.4 921.6", 16, (921.4, 2), 16, 7),
    ("AS923-3", "916.6 916.8", 16, (916.6, 2), 16, 7),
    ("AS923-4", "917.3 917.5", 16, (917.3, 2), 16, 7),
    ("KR920", "922.1 922.3 922.5", 16, (921.9, 0), 14, 7),
    ("IN865", "865.0625 865.4025 865.985", 16, (866.55, 2), 30, 10),
    ("RU864", "868.9 869.1", 16, (869.1, 0), 16, 7),
]


def _hz(mhz):
    return round(float(mhz) * 1_000_000)


@pytest.mark.parametrize(("name", "channels", "channels_max", "rx2", "eirp_dbm", "tx_power_max"), DEFAULTS)
def test_each_plan_starts_with_the_published_defaults(name, channels, channels_max, rx2, eirp_dbm, tx_power_max):
    plan = region_named(name)
    first = [_hz(mhz) for mhz in channels.split()]
    assert [channel.frequency_hz for channel in plan.channels[: len(first)]] == first
    assert len(plan.channels) == (channels_max if plan.fixed_plan else len(first))
    assert plan.channels_max == channels_max
    assert plan.rx2 == ReceiveWindow(_hz(rx2[0]), rx2[1])
    assert plan.eirp_dbm(0) == pytest.approx(eirp_dbm)
    assert plan.eirp_dbm(tx_power_max) == pytest.approx(eirp_dbm - 2 * tx_power_max)
    assert plan.eirp_dbm(tx_power_max + 1) is None
    assert plan.eirp_dbm(-1) is None
    assert plan.eirp_dbm(15) is None
    assert plan.eirp_dbm(1, max_eirp_dbm=10) == 8


def test_every_plan_has_defaults_here_and_may_be_named_in_the_settings():
    assert {row[0] for row in DEFAULTS} == set(REGIONS) == set(NAMES_IN_SETTINGS)


# What RP002-1.0.4, section 2.3, recommends for all plans; universalSharedParameters of The Things Stack.
@pytest.mark.parametrize("plan", PLANS)
def test_delays_and_limits_are_the_recommended_ones(plan):
    assert plan.receive_delay1_us == 1_000_000
    assert plan.receive_delay1_us + plan.receive_delay2_after_1_us == 2_000_000
    assert plan.join_accept_delay1_us == 5_000_000
    assert plan.join_accept_delay1_us + plan.receive_delay2_after_1_us == 6_000_000
    assert (plan.max_f_cnt_gap, plan.adr_ack_limit, plan.adr_ack_delay) == (16_384, 64, 32)
    assert plan.retransmit_timeout_us == (1_000_000, 3_000_000)
    assert plan.class_b_resp_timeout_us == plan.class_c_resp_timeout_us == 8_000_000


# A channel by its number, and the frequency of its answer in MHz.
FIXED_CHANNELS = [
    ("US915", 0, 902.3, 923.3),
    ("US915", 7, 903.7, 927.5),
    ("US915", 8, 903.9, 923.3),
    ("US915", 63, 914.9, 927.5),
    ("US915", 64, 903.0, 923.3),
    ("US915", 65, 904.6, 923.9),
    ("US915", 71, 914.2, 927.5),
    ("AU915", 0, 915.2, 923.3),
    ("AU915", 63, 927.8, 927.5),
    ("AU915", 64, 915.9, 923.3),
    ("AU915", 71, 927.1, 927.5),
    ("CN470", 0, 470.3, 500.3),
    ("CN470", 47, 479.7, 509.7),
    ("CN470", 48, 479.9, 500.3),
    ("CN470", 95, 489.3, 509.7),
    ("CN470-20A", 0, 470.3, 483.9),
    ("CN470-20A", 31, 476.5, 490.1),
    ("CN470-20A", 32, 503.5, 490.3),
    ("CN470-20A", 63, 509.7, 496.5),
    ("CN470-20B", 31, 483.1, 483.1),
    ("CN470-20B", 32, 496.9, 496.9),
    ("CN470-20B", 63, 503.1, 503.1),
    ("CN470-26A", 23, 474.9, 494.7),
    ("CN470-26A", 24, 475.1, 490.1),
    ("CN470-26A", 47, 479.7, 494.7),
    ("CN470-26B", 0, 480.3, 500.1),
    ("CN470-26B", 47, 489.7, 504.7),
]


@pytest.mark.parametrize(("name", "index", "up_mhz", "down_mhz"), FIXED_CHANNELS)
def test_a_channel_of_a_fixed_plan_is_its_index_and_has_its_answer(name, index, up_mhz, down_mhz):
    plan = region_named(name)
    assert plan.channels[index].frequency_hz == _hz(up_mhz)
    data_rate = plan.channels[index].data_rates[0]
    for measured_hz in (_hz(up_mhz), _hz(up_mhz) - 40_000, _hz(up_mhz) + 40_000):
        assert plan.channel_of(measured_hz) == index
        assert plan.channel_candidates(measured_hz) == (index,)
        assert plan.rx1(measured_hz, data_rate, 0).frequency_hz == _hz(down_mhz)


@pytest.mark.parametrize("name", ["US915", "AU915"])
def test_wide_channels_take_wide_data_rates_alone(name):
    plan = region_named(name)
    for channel in plan.channels[:64]:
        assert {plan.data_rates[index].bandwidth_hz for index in channel.data_rates} == {125_000}
    for channel in plan.channels[64:]:
        lora = [rate for index in channel.data_rates if isinstance(rate := plan.data_rates[index], Lora)]
        assert [rate.bandwidth_hz for rate in lora] == [500_000]


@pytest.mark.parametrize("plan", PLANS)
def test_no_frequency_belongs_to_two_channels(plan):
    by_frequency = sorted(channel.frequency_hz for channel in plan.channels)
    assert all(higher - lower >= 100_000 for lower, higher in itertools.pairwise(by_frequency))
    for index, channel in enumerate(plan.channels):
        assert plan.channel_of(channel.frequency_hz) == index


# By uplink data rate: the downlink data rate for RX1DROffset 0, 1, 2 …
DOWN = "000000 100000 210000 321000 432100 543210 654321 765432"
RX1 = {
    "EU868": f"{DOWN} 100000 210000 100000 210000",
    "EU433": DOWN,
    "CN779": DOWN,
    "CN470": DOWN[:41],
    "KR920": DOWN[:41],
    "RU864": DOWN,
    "US915": "A988 BA98 CBA9 DCBA DDCB A988 BA98",
    "AU915": "888888 988888 A98888 BA9888 CBA988 DCBA98 DDCBA9 988888",
    "AS923-1": "00000012 10000023 21000034 32100045 43210056 54321067 65432177 76543277",
    # LoRaMac-node, EffectiveRx1DrOffsetIN865.
    "IN865": "00000012 10000023 21000034 32100045 43210055 54321057 -------- 75543277",
    # LoRaMac-node, DatarateOffsetsCN470.
    "CN470-20A": "------ 111111 211111 321111 432111 543211 654321 765432",
    "CN470-26B": "------ 111111 211111 321111 432111 543211 654321 765432",
}
# ChirpStack, rx1_data_rate_table for DR12 and DR13.
RX1_FASTER = {
    "EU868": "C54321 DC5432",
    "EU433": "C54321 DC5432",
    "KR920": "C54321 DC5432",
    "RU864": "C54321 DC5432",
    "AS923-1": "C54321DD DC5432DD",
    "IN865": "C54321DD DC5432DD",
}
RX1_WITH_DOWNLINK_DWELL = "22222222 22222223 22222234 32222245 43222256 54322267 65432277 76543277"


@pytest.mark.parametrize("name", RX1)
def test_the_first_window_has_the_published_data_rate(name):
    plan = region_named(name)
    rows = dict(enumerate(RX1[name].split()))
    rows |= dict(enumerate(RX1_FASTER.get(name, "").split(), start=12))
    assert set(plan.rx1_data_rates) == {up for up, row in rows.items() if "-" not in row} == set(plan.data_rates)
    _check_rx1(plan, rows, dwell=False)
    if name != "AS923-1":
        _check_rx1(plan, rows, dwell=True)


@pytest.mark.parametrize("name", ["AS923-1", "AS923-2", "AS923-3", "AS923-4"])
def test_with_a_downlink_dwell_time_nothing_is_slower_than_dr2(name):
    rows = dict(enumerate(RX1_WITH_DOWNLINK_DWELL.split())) | {12: "C54322DD", 13: "DC5432DD"}
    _check_rx1(region_named(name), rows, dwell=True)


def _check_rx1(plan, rows, *, dwell):
    uplink_hz = plan.channels[0].frequency_hz
    for up, row in rows.items():
        if "-" in row:
            continue
        found = "".join(f"{plan.rx1(uplink_hz, up, offset, dwell=dwell).data_rate:X}" for offset in range(len(row)))
        assert (up, found) == (up, row)
        assert plan.rx1_offset_max == len(row) - 1
        for reserved in (-1, len(row), 8):
            with pytest.raises(ValueError, match="reserved"):
                plan.rx1(uplink_hz, up, reserved, dwell=dwell)


def test_what_a_plan_does_not_have_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="IN865 has no uplink data rate 6"):
        region_named("IN865").rx1(865_062_500, 6, 0)
    with pytest.raises(ValueError, match="903100100 Hz is no channel of CN470"):
        region_named("CN470").rx1(903_100_100, 0, 0)
    with pytest.raises(ValueError, match="902400000 Hz is no channel of US915"):
        region_named("US915").rx1(902_400_000, 0, 0)


def test_where_networks_name_channels_the_answer_comes_on_the_frequency_of_the_uplink():
    for name in ("EU868", "AS923-3", "IN865"):
        assert region_named(name).rx1(867_123_400, 5, 0) == ReceiveWindow(867_123_400, 5)


# N by data rate: without a repeater, with one. Repeaters: ChirpStack, max_dl_payload_size_per_dr; uplinks of US915 and
# AU915 are The Things Stack's and LoRaMac-node's, the repeater's limit of 222 for them ChirpStack's for all plans.
SIZES = {
    "EU868": "51 51 51 115 242 242 242 242 50 115 50 115 242 242",
    "EU433": "51 51 51 115 242 242 242 242 - - - - 242 242",
    "CN779": "51 51 51 115 242 242 242 242",
    "RU864": "51 51 51 115 242 242 242 242 - - - - 242 242",
    "KR920": "51 51 51 115 242 242 - - - - - - 242 242",
    "IN865": "51 51 51 115 242 242 - 242 - - - - 242 242",
    "AS923-1": "51 51 115 115 242 242 242 242 - - - - 242 242",
    "AS923-4": "51 51 115 115 242 242 242 242 - - - - 242 242",
    "US915": "11 53 125 242 242 50 125 - 53 129 242 242 242 242",
    "AU915": "51 51 51 115 242 242 242 50 53 129 242 242 242 242",
    "CN470": "51 51 51 115 242 242",
    "CN470-20A": "- 23 86 184 242 242 242 242",
    "CN470-26B": "- 23 86 184 242 242 242 242",
}
SIZES_WITH_DWELL = {
    "AS923-1": "- - 11 53 125 242 242 242 - - - - 242 242",
    "AS923-4": "- - 11 53 125 242 242 242 - - - - 242 242",
    "AU915": "- - 11 53 125 242 242 50 53 129 242 242 242 242",
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dwell", [False, True])
def test_each_data_rate_carries_the_published_number_of_bytes(name, dwell):
    plan = region_named(name)
    sizes = (SIZES_WITH_DWELL.get(name) if dwell else None) or SIZES[name]
    for index, size in enumerate(sizes.split()):
        direct = None if size == "-" else int(size)
        ways = [down for down in (False, True) if index in (plan.downlink_data_rates if down else plan.data_rates)]
        assert bool(ways) == (SIZES[name].split()[index] != "-")
        for downlink in ways:
            found = plan.max_payload(index, downlink=downlink, dwell=dwell)
            by_repeater = plan.max_payload(index, downlink=downlink, dwell=dwell, repeater=True)
            assert (index, found) == (index, direct)
            assert (index, by_repeater) == (index, None if direct is None else min(direct, 222))


def test_a_data_rate_carries_nothing_the_way_it_is_not_used():
    us915 = region_named("US915")
    assert us915.max_payload(0, downlink=True) is None
    assert us915.max_payload(8, downlink=False) is None
    assert region_named("EU868").max_payload(8, downlink=True) is None  # LR-FHSS goes up
    assert us915.max_payload(15, downlink=False) is us915.max_payload(-1, downlink=True) is None


# By plan: frequencies of join channels in MHz, and the data rates of a join request. AS923: DR2 to DR5, RP002-1.0.4,
# 2.10.2; RegionAS923.h starts at the same DR2 (AS923_DEFAULT_DATARATE). CN470: RegionCN470.h,
# CN470_COMMON_JOIN_CHANNELS.
JOINS = [
    ("EU868", "868.1 868.3 868.5", "012345"),
    ("EU433", "433.175 433.375 433.575", "012345"),
    ("KR920", "922.1 922.3 922.5", "012345"),
    ("IN865", "865.0625 865.4025 865.985", "012345"),
    ("RU864", "868.9 869.1", "012345"),
    ("AS923-1", "923.2 923.4", "2345"),
    ("AS923-2", "921.4 921.6", "2345"),
    ("CN470-20A", "470.9 472.5 474.1 475.7 504.1 505.7 507.3 508.9", "12345"),
    ("CN470-20B", "479.9 499.9", "12345"),
    ("CN470-26A", "470.3 472.3 474.3 476.3 478.3", "12345"),
    ("CN470-26B", "480.3 482.3 484.3 486.3 488.3", "12345"),
]


@pytest.mark.parametrize(("name", "frequencies", "data_rates"), JOINS)
def test_devices_join_on_the_published_channels(name, frequencies, data_rates):
    plan = region_named(name)
    assert [plan.channels[index].frequency_hz for index in plan.join_channels] == [
        _hz(mhz) for mhz in frequencies.split()
    ]
    for allowed in plan.join_data_rates.values():
        assert list(allowed) == [int(digit) for digit in data_rates]


# RP002-1.0.4, 2.5.2 and 2.8.2; LoRaMac-node, RegionUS915AlternateDr and RegionAU915AlternateDr.
@pytest.mark.parametrize(("name", "narrow", "wide"), [("US915", 0, 4), ("AU915", 2, 6)])
def test_a_join_request_has_one_data_rate_for_each_width(name, narrow, wide):
    plan = region_named(name)
    assert plan.join_channels == tuple(range(72))
    assert {plan.join_data_rates[index][0] for index in range(64)} == {narrow}
    assert {plan.join_data_rates[index][0] for index in range(64, 72)} == {wide}
    assert {len(allowed) for allowed in plan.join_data_rates.values()} == {1}


# In MHz, RegionCN470.h, CN470_COMMON_JOIN_CHANNELS (Rx1Frequency), and RegionCN470A20.h and so on,
# CN470_A20_RX_WND_2_FREQ_OTAA, CN470_B20_… One of them is misspelt there: 494.0 between 493.3 and 496.5, in a row of
# steps of 1.6 MHz.
CN470_JOINS = [
    ("CN470-20A", 470.9, 484.5, 485.3),
    ("CN470-20A", 472.5, 486.1, 486.9),
    ("CN470-20A", 474.1, 487.7, 488.5),
    ("CN470-20A", 475.7, 489.3, 490.1),
    ("CN470-20A", 504.1, 490.9, 491.7),
    ("CN470-20A", 505.7, 492.5, 493.3),
    ("CN470-20A", 507.3, 494.1, 494.9),
    ("CN470-20A", 508.9, 495.7, 496.5),
    ("CN470-20B", 479.9, 479.9, 478.3),
    ("CN470-20B", 499.9, 499.9, 498.3),
    ("CN470-26A", 470.3, 492.5, 492.5),
    ("CN470-26A", 478.3, 492.5, 492.5),
    ("CN470-26B", 480.3, 502.5, 502.5),
    ("CN470-26B", 488.3, 502.5, 502.5),
]


@pytest.mark.parametrize(("name", "up_mhz", "rx1_mhz", "rx2_mhz"), CN470_JOINS)
def test_in_china_the_join_channel_decides_where_the_answer_comes(name, up_mhz, rx1_mhz, rx2_mhz):
    plan = region_named(name)
    assert plan.join_rx1(_hz(up_mhz), 5) == ReceiveWindow(_hz(rx1_mhz), 5)
    assert plan.rx2_after_join(_hz(up_mhz)) == ReceiveWindow(_hz(rx2_mhz), 1)


@pytest.mark.parametrize("plan", [plan for name, plan in REGIONS.items() if not name.startswith("CN470-")])
def test_elsewhere_the_windows_of_a_join_accept_are_those_of_any_uplink(plan):
    for index, data_rates in plan.join_data_rates.items():
        hz = plan.channels[index].frequency_hz
        assert plan.join_rx1(hz, data_rates[0]) == plan.rx1(hz, data_rates[0], 0)
        assert plan.rx2_after_join(hz) == plan.rx2
    assert plan.rx2_after_join(1) == plan.rx2


# TxParamSetupReqSupport of The Things Stack; *_DEFAULT_UPLINK_DWELL_TIME of LoRaMac-node.
def test_a_dwell_time_can_be_set_where_the_specification_says_so():
    settable = {name for name, plan in REGIONS.items() if plan.tx_param_setup}
    assert settable == {"AU915", "AS923", "AS923-1", "AS923-1-JP", "AS923-2", "AS923-3", "AS923-4"}
    assert {name for name in settable if not region_named(name).uplink_dwell} == {"AS923-1-JP"}
    assert not any(plan.uplink_dwell for name, plan in REGIONS.items() if name not in settable)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_agrees_with_itself(plan):
    assert set(plan.rx1_data_rates) == set(plan.data_rates)
    assert plan.rx2.data_rate in plan.downlink_data_rates
    assert set(plan.adr_data_rates) <= set(plan.data_rates)
    for index, channel in enumerate(plan.channels):
        assert set(channel.data_rates) <= set(plan.data_rates)
        assert set(plan.join_data_rates.get(index, ())) <= set(channel.data_rates)
    assert set(plan.join_channels) <= set(range(len(plan.channels)))
    assert plan.join_channels


@pytest.mark.parametrize("plan", PLANS)
def test_every_data_rate_that_a_window_can_have_carries_a_payload(plan):
    uplink_hz = plan.channels[0].frequency_hz
    for up, row in plan.rx1_data_rates.items():
        for offset in range(len(row)):
            for dwell in (False, True):
                window = plan.rx1(uplink_hz, up, offset, dwell=dwell)
                has_dwell = dwell and plan.rx1_dwell_data_rates is not None
                assert plan.max_payload(window.data_rate, downlink=True, dwell=has_dwell) is not None


@given(plan=PLAN, dr=st.integers(-2, 17), offset=st.integers(-2, 9), hz=st.integers(0, 1 << 30), dwell=st.booleans())
@settings(deadline=None, max_examples=200)
def test_whatever_is_asked_for_a_window_is_of_the_plan_or_refused(plan, dr, offset, hz, dwell):
    try:
        window = plan.rx1(hz, dr, offset, dwell=dwell)
    except ValueError:
        return
    assert window.data_rate in plan.downlink_data_rates
    assert window.frequency_hz in (plan.rx1_frequencies_hz or (hz,))


@pytest.mark.parametrize("plan", PLANS)
def test_dwell_time_and_repeater_never_make_a_payload_longer(plan):
    for index, downlink in itertools.product(range(16), (False, True)):
        most = plan.max_payload(index, downlink=downlink)
        for dwell, repeater in itertools.product((False, True), repeat=2):
            size = plan.max_payload(index, downlink=downlink, dwell=dwell, repeater=repeater)
            assert (size or 0) <= (most or 0)


def test_a_plan_that_is_not_here_listens_to_everything_and_sends_nothing():
    plan = region_named("ISM2400")
    assert plan.name == "ISM2400"
    assert plan.data_rate_index(Lora(7, 125_000)) is None
    assert plan.channel_candidates(868_100_000) == tuple(range(96))
    assert plan.max_payload(0, downlink=True) is None
    assert plan.sub_band(868_100_000, CHANNEL_WIDTH_HZ) is None
    assert not plan.downlink_frequency_ok(868_100_000)
    with pytest.raises(ValueError, match="no uplink data rate"):
        plan.rx1(868_100_000, 0, 0)
