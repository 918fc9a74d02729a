"""Time on air against what others publish."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Fsk, Lora
from gateway.radio.airtime import airtime_us, low_data_rate_optimized

# The Things Network's lorawan-stack 3.32.1, pkg/toa/toa_test.go. Its LoRa frames carry a checksum.
THINGS_STACK = [
    (Lora(7, 125_000, "4/5"), 10, 41_216),
    (Lora(8, 125_000, "4/5"), 10, 72_192),
    (Lora(9, 125_000, "4/5"), 10, 144_384),
    (Lora(10, 125_000, "4/5"), 10, 288_768),
    (Lora(11, 125_000, "4/5"), 10, 577_536),
    (Lora(12, 125_000, "4/5"), 10, 991_232),
    (Lora(7, 250_000, "4/5"), 10, 20_608),
    (Lora(7, 500_000, "4/5"), 10, 10_304),
    (Lora(7, 125_000, "4/6"), 10, 45_312),
    (Lora(7, 125_000, "4/7"), 10, 49_408),
    (Lora(7, 125_000, "4/8"), 10, 53_504),
    (Lora(7, 125_000, "4/5"), 15, 46_336),
    (Lora(7, 125_000, "4/5"), 16, 51_456),
    (Fsk(50_000), 200, 33_760),
]

# lora-modulation 0.1.5 (lora-rs), src/lib.rs, itself checked against two calculators on the web: 13 bytes of LoRaWAN
# around 25 to 28 bytes of payload, on both sides of each step.
LORA_RS = [
    (Lora(7, 250_000), 13 + 25, 41_088),
    (Lora(8, 125_000), 13 + 25, 143_872),
    (Lora(8, 125_000), 13 + 26, 154_112),
    (Lora(9, 125_000), 13 + 26, 267_264),
    (Lora(9, 125_000), 13 + 27, 287_744),
    (Lora(10, 125_000), 13 + 26, 493_568),
    (Lora(10, 125_000), 13 + 27, 534_528),
    (Lora(11, 125_000), 13 + 27, 1_069_056),
    (Lora(11, 125_000), 13 + 28, 1_150_976),
    (Lora(12, 125_000), 13 + 27, 1_974_272),
    (Lora(12, 125_000), 13 + 28, 2_138_112),
]

# The spreadsheet of the TTN community after Semtech AN1200.13, as published with these inputs.
SPREADSHEET = [(Lora(9, 125_000, "4/5"), 13, 164_864)]


@pytest.mark.parametrize(("modulation", "size", "expected_us"), THINGS_STACK + LORA_RS + SPREADSHEET)
def test_a_published_frame_takes_its_published_time(modulation, size, expected_us):
    assert airtime_us(modulation, size) == expected_us


# Answers of lora_packet_time_on_air in Semtech's sx1302_hal 2.1.0, compiled and asked. All 393,216 combinations of
# bandwidth, spreading, coding, preamble 6 to 12, header, checksum and size were compared once; they differ only at
# SF11/250 kHz, SF11/500 kHz and SF12/500 kHz, where that function counts a low data rate optimization which the same
# library's SET_PPM_ON does not switch on.
@pytest.mark.parametrize(
    ("modulation", "size", "sent", "expected_us"),
    [
        (Lora(5, 125_000, "4/5"), 20, {"preamble": 12, "crc": False}, 16_960),
        (Lora(5, 125_000, "4/5"), 0, {"preamble": 12}, 8_000),
        (Lora(6, 125_000, "4/8"), 51, {"preamble": 12}, 87_168),
        (Lora(9, 125_000, "4/5"), 17, {"preamble": 10, "crc": False, "implicit_header": True}, 152_576),
        (Lora(12, 125_000, "4/5"), 255, {"preamble": 8, "crc": False}, 9_019_392),
        (Lora(12, 250_000, "4/5"), 12, {"preamble": 8}, 577_536),
    ],
)
def test_the_makers_library_counts_the_same(modulation, size, sent, expected_us):
    assert airtime_us(modulation, size, **sent) == expected_us


def test_the_preamble_is_longer_where_symbols_are_short():
    assert airtime_us(Lora(6, 125_000), 20) == airtime_us(Lora(6, 125_000), 20, preamble=12)
    assert airtime_us(Lora(7, 125_000), 20) == airtime_us(Lora(7, 125_000), 20, preamble=8)
    assert airtime_us(Fsk(50_000), 20) == airtime_us(Fsk(50_000), 20, preamble=5)


# SET_PPM_ON in sx1302_hal 2.1.0, libloragw/inc/loragw_sx1302.h.
@pytest.mark.parametrize("bandwidth_hz", [125_000, 250_000, 500_000])
@pytest.mark.parametrize("spreading_factor", range(5, 13))
def test_low_data_rates_are_optimized_where_the_chip_does_it(spreading_factor, bandwidth_hz):
    on = {(11, 125_000), (12, 125_000), (12, 250_000)}
    assert low_data_rate_optimized(Lora(spreading_factor, bandwidth_hz)) is ((spreading_factor, bandwidth_hz) in on)


@pytest.mark.parametrize(
    ("modulation", "size", "complaint"),
    [
        (Lora(4, 125_000), 10, "spreading factor 4"),
        (Lora(13, 125_000), 10, "spreading factor 13"),
        (Lora(7, 0), 10, "bandwidth of 0"),
        (Lora(7, 125_000, "4/9"), 10, "coding rate '4/9'"),
        (Lora(7, 125_000), 256, "not 256"),
        (Lora(7, 125_000), -1, "not -1"),
        (Fsk(0), 10, "bit rate of 0"),
    ],
)
def test_what_no_radio_sends_has_no_time(modulation, size, complaint):
    with pytest.raises(ValueError, match=complaint):
        airtime_us(modulation, size)


@settings(deadline=None)
@given(
    spreading_factor=st.integers(5, 12),
    bandwidth_hz=st.sampled_from([125_000, 250_000, 500_000]),
    coding_rate=st.sampled_from(["4/5", "4/6", "4/7", "4/8"]),
    size=st.integers(0, 254),
    crc=st.booleans(),
)
def test_more_bytes_never_take_less_time(spreading_factor, bandwidth_hz, coding_rate, size, crc):
    modulation = Lora(spreading_factor, bandwidth_hz, coding_rate)
    assert airtime_us(modulation, size, crc=crc) <= airtime_us(modulation, size + 1, crc=crc)
