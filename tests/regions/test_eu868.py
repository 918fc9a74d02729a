"""The European plan against what others publish of it."""

import pytest

from gateway.model import Fsk, Lora, LrFhss
from gateway.regions.eu868 import EU868

# DR0 to DR7: LoRaMac-node 4.7.0, src/mac/region/RegionEU868.h (DataratesEU868, BandwidthsEU868).
# DR8 to DR11: The Things Network's lorawan-stack 3.32.1, pkg/band/eu_863_870_rp2_v1_0_4.go.
# DR12 and DR13: ChirpStack 4.19, lrwn/src/region/eu868.rs.
PUBLISHED = [
    (0, Lora(12, 125_000)),
    (1, Lora(11, 125_000)),
    (2, Lora(10, 125_000)),
    (3, Lora(9, 125_000)),
    (4, Lora(8, 125_000)),
    (5, Lora(7, 125_000)),
    (6, Lora(7, 250_000)),
    (7, Fsk(50_000)),
    (8, LrFhss(137_000, "1/3")),
    (9, LrFhss(137_000, "2/3")),
    (10, LrFhss(336_000, "1/3")),
    (11, LrFhss(336_000, "2/3")),
    (12, Lora(6, 125_000)),
    (13, Lora(5, 125_000)),
]


@pytest.mark.parametrize(("index", "modulation"), PUBLISHED)
def test_each_data_rate_has_its_published_index(index, modulation):
    assert EU868.data_rate_index(modulation) == index


@pytest.mark.parametrize("index", EU868.data_rates)
def test_each_data_rate_is_found_under_its_own_index(index):
    assert EU868.data_rate_index(EU868.data_rates[index]) == index


def test_a_data_rate_is_known_whatever_the_receiver_adds():
    assert EU868.data_rate_index(Lora(7, 125_000, coding_rate="4/8")) == 5
    assert EU868.data_rate_index(Lora(7, 125_000, coding_rate=None)) == 5
    assert EU868.data_rate_index(Fsk(50_000, deviation_hz=None)) == 7
    assert EU868.data_rate_index(LrFhss(137_000, "4/6", grid_steps=8)) == 9  # ChirpStack's spelling of 2/3


@pytest.mark.parametrize(
    "modulation", [Lora(7, 500_000), Lora(12, 250_000), Fsk(100_000), LrFhss(1_523_000, "1/3"), LrFhss(137_000, "5/0")]
)
def test_a_modulation_outside_the_plan_has_no_index(modulation):
    assert EU868.data_rate_index(modulation) is None


# The frequencies of LoRaMac-node 4.7.0, src/mac/region/RegionEU868.h (EU868_LC1 to EU868_LC3), and its
# EU868_MAX_NB_CHANNELS.
@pytest.mark.parametrize(("index", "frequency_hz"), [(0, 868_100_000), (1, 868_300_000), (2, 868_500_000)])
def test_a_default_channel_is_the_first_guess_also_a_little_off(index, frequency_hz):
    for measured_hz in (frequency_hz, frequency_hz - 20_000, frequency_hz + 20_000):
        assert EU868.channel_candidates(measured_hz)[0] == index


def test_a_frequency_that_a_network_chose_can_have_any_free_index():
    assert EU868.channel_candidates(867_100_000) == tuple(range(3, 16))


def test_a_default_frequency_may_be_named_again_for_other_data_rates():
    assert EU868.channel_candidates(868_300_000) == (1, *range(3, 16))


def test_default_channels_lie_in_the_band_and_carry_the_mandatory_data_rates():
    for channel in EU868.channels:
        assert EU868.lowest_hz < channel.frequency_hz < EU868.highest_hz
        assert list(channel.data_rates) == [0, 1, 2, 3, 4, 5]
