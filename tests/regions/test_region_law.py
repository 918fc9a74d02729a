"""Where one may send, how loud and how long: both sides of every limit."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.regions import REGIONS, region_named
from gateway.regions.region import Listening

PLANS = [pytest.param(plan, id=name) for name, plan in REGIONS.items()]

PER_MILLE, PERCENT, TENTH = Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10)

# Center in MHz, width in kHz, duty cycle and EIRP; None: not allowed.
# EU868: the sub-bands of The Things Stack 3.32.1, pkg/band/eu_863_870_rp2_v1_0_4.go (ETSI EN 300 220-2), and those of
# LoRaMac-node 4.7.0, RegionEU868.c, VerifyRfFreq.
# RU864: GKRCh decision 18-46-03-1, annex 12, as reported by Habr (article 425903); LoRaMac-node has 1 % throughout.
# EU433: The Things Stack, eu_433_rp2_v1_0_4.go.
LAW = [
    ("EU868", 862.99, 125, None, None),
    ("EU868", 863.1, 125, PER_MILLE, 16.15),
    ("EU868", 864.9, 125, PER_MILLE, 16.15),
    ("EU868", 865.0, 125, None, None),  # across a limit
    ("EU868", 865.1, 125, PERCENT, 16.15),
    ("EU868", 867.9, 125, PERCENT, 16.15),
    ("EU868", 868.1, 125, PERCENT, 16.15),
    ("EU868", 868.3, 250, PERCENT, 16.15),
    ("EU868", 868.5, 125, PERCENT, 16.15),
    ("EU868", 868.5, 250, None, None),
    ("EU868", 868.65, 125, None, None),  # alarms
    ("EU868", 868.8, 125, PER_MILLE, 16.15),
    ("EU868", 869.3, 125, None, None),
    ("EU868", 869.525, 125, TENTH, 29.15),
    ("EU868", 869.525, 250, TENTH, 29.15),
    ("EU868", 869.6, 125, None, None),
    ("EU868", 869.85, 125, PERCENT, 16.15),
    ("EU868", 870.0, 125, None, None),
    ("EU433", 433.1, 125, None, None),
    ("EU433", 433.175, 125, TENTH, 12.15),
    ("EU433", 434.665, 125, TENTH, 12.15),
    ("EU433", 434.74, 125, None, None),
    ("RU864", 864.5, 125, PER_MILLE, 16.15),
    ("RU864", 865.5, 125, None, None),
    ("RU864", 866.1, 125, PERCENT, 16.15),
    ("RU864", 868.9, 125, TENTH, 22.15),
    ("RU864", 869.1, 125, TENTH, 22.15),
    ("RU864", 869.5, 125, None, None),
    ("CN779", 786.0, 125, PERCENT, 12.15),
    # India: 1 W; Australia: 1 W EIRP; United States: 1 W and 6 dBi. No duty cycle.
    ("IN865", 866.55, 125, None, 30),
    ("IN865", 867.0, 125, None, None),
    ("AU915", 923.3, 500, None, 30),
    ("AU915", 914.9, 500, None, None),
    ("US915", 923.3, 500, None, 36),
    ("US915", 902.3, 125, None, 36),
    ("US915", 902.05, 125, None, None),
    # AS923: The Things Stack's as923SubBandParameters (1 %, 16 dBm), the spectrum of LoRaMac-node's RegionAS923.c.
    ("AS923-1", 923.2, 125, PERCENT, 16),
    ("AS923-2", 921.4, 125, PERCENT, 16),
    ("AS923-2", 923.2, 125, None, None),
    ("AS923-3", 916.6, 125, PERCENT, 16),
    ("AS923-4", 917.3, 125, PERCENT, 16),
    ("AS923-4", 923.2, 125, None, None),
    ("AS923-1-JP", 920.6, 125, None, 16),
    ("AS923-1-JP", 923.4, 125, None, 16),
    ("AS923-1-JP", 923.6, 125, None, None),
    ("KR920", 920.9, 125, None, 23),
    ("KR920", 923.3, 125, None, 23),
    ("KR920", 923.5, 125, None, None),
    ("CN470", 505.3, 125, None, 19.15),
    ("CN470-26B", 510.0, 125, None, None),
]


@pytest.mark.parametrize(("name", "mhz", "khz", "duty_cycle", "eirp_dbm"), LAW)
def test_each_place_of_the_spectrum_has_its_limits(name, mhz, khz, duty_cycle, eirp_dbm):
    plan, hz = region_named(name), round(mhz * 1_000_000)
    band = plan.sub_band(hz, khz * 1000)
    assert plan.downlink_frequency_ok(hz, khz * 1000) is (eirp_dbm is not None)
    if eirp_dbm is None:
        assert band is None
        assert plan.downlink_eirp_dbm(hz, khz * 1000) is None
    else:
        assert band.duty_cycle == duty_cycle
        assert band.max_eirp_dbm == pytest.approx(eirp_dbm)


# 47 CFR 15.247(a)(1)(i): 0.4 s for hopping; (a)(2): none for digital modulation.
def test_in_the_united_states_narrow_transmissions_have_a_dwell_time_and_wide_ones_have_none():
    us915 = region_named("US915")
    assert us915.sub_band(902_300_000, 125_000).max_dwell_us == 400_000
    assert us915.sub_band(923_300_000, 500_000).max_dwell_us is None


def test_one_second_in_china_four_in_korea_and_japan():
    assert region_named("CN470").sub_band(470_300_000, 125_000).max_dwell_us == 1_000_000
    assert region_named("KR920").sub_band(922_100_000, 125_000).max_dwell_us == 4_000_000
    assert region_named("AS923-1-JP").sub_band(923_200_000, 125_000).max_dwell_us == 4_000_000


# LoRaMac-node 4.7.0: KR920_RSSI_FREE_TH, KR920_DEFAULT_MAX_EIRP_LOW and _HIGH; AS923_RSSI_FREE_TH and
# AS923_CARRIER_SENSE_TIME.
def test_where_one_listens_before_one_talks():
    low, high = (region_named("KR920").sub_band(hz, 125_000) for hz in (921_900_000, 922_100_000))
    assert (low.device_max_eirp_dbm, high.device_max_eirp_dbm) == (10, 14)
    assert low.listening.threshold_dbm == high.listening.threshold_dbm == -65
    assert low.listening.duration_us <= 6_000
    assert region_named("AS923-1-JP").sub_band(923_200_000, 125_000).listening == Listening(5_000, -80)
    listening = {name for name, plan in REGIONS.items() if any(band.listening for band in plan.sub_bands)}
    assert listening == {"KR920", "AS923-1-JP"}


# 29 dBm around 869.525 MHz and 16 dBm elsewhere in Europe, 23 dBm in Korea, 30 dBm in Australia, 12 dBm at 433 MHz, 19
# dBm in China: ChirpStack 4.19, get_downlink_tx_power_eirp. 26 dBm in the United States: Basics Station 2.0.6.
@pytest.mark.parametrize(
    ("name", "mhz", "khz", "eirp_dbm"),
    [
        ("EU868", 868.1, 125, 16), ("EU868", 869.525, 125, 29), ("EU433", 434.665, 125, 12), ("KR920", 921.9, 125, 23),
        ("AU915", 923.3, 500, 30), ("AS923-1", 923.2, 125, 16), ("CN470", 505.3, 125, 19), ("US915", 923.3, 500, 26),
    ],
)  # fmt: skip
def test_downlinks_are_about_as_loud_as_those_of_other_networks(name, mhz, khz, eirp_dbm):
    assert int(region_named(name).downlink_eirp_dbm(round(mhz * 1_000_000), khz * 1000)) == eirp_dbm


@pytest.mark.parametrize("plan", PLANS)
def test_every_window_of_a_plan_is_within_the_law(plan):
    windows = [plan.rx2, *(plan.rx2_by_join_channel or {}).values()]
    for index, data_rates in plan.join_data_rates.items():
        windows.append(plan.join_rx1(plan.channels[index].frequency_hz, data_rates[0]))
    windows.extend(plan.rx1(channel.frequency_hz, channel.data_rates[0], 0) for channel in plan.channels)
    for window in windows:
        width_hz = plan.downlink_data_rates[window.data_rate].bandwidth_hz
        assert plan.downlink_frequency_ok(window.frequency_hz, width_hz)
        assert plan.lowest_hz < window.frequency_hz < plan.highest_hz


@pytest.mark.parametrize("plan", PLANS)
def test_every_default_channel_is_within_the_law(plan):
    for channel in plan.channels:
        width_hz = max(getattr(plan.data_rates[index], "bandwidth_hz", 0) for index in channel.data_rates)
        assert plan.sub_band(channel.frequency_hz, width_hz) is not None


@pytest.mark.parametrize("plan", PLANS)
def test_sub_bands_have_names_of_their_own_and_lie_within_the_plan(plan):
    assert len({band.name for band in plan.sub_bands}) == len(plan.sub_bands) > 0
    for band in plan.sub_bands:
        assert plan.lowest_hz <= band.lowest_hz < band.highest_hz <= plan.highest_hz
        assert band.duty_cycle is None or 0 < band.duty_cycle <= 1
        assert 10 <= band.max_eirp_dbm <= 36


@given(
    plan=st.sampled_from(list(REGIONS.values())),
    hz=st.integers(0, 1_000_000_000) | st.integers(862_000_000, 871_000_000),
    width_hz=st.sampled_from([100_000, 125_000, 250_000, 500_000, 1_600_000]),
)
@settings(deadline=None, max_examples=300)
def test_what_is_allowed_lies_inside_of_its_band_and_wider_is_never_easier(plan, hz, width_hz):
    band = plan.sub_band(hz, width_hz)
    if band is None:
        assert not any(plan.sub_band(hz, wider) for wider in (2 * width_hz, 3 * width_hz))
    else:
        assert band.lowest_hz <= hz - width_hz // 2 < hz + width_hz // 2 <= band.highest_hz
        assert band in plan.sub_bands
