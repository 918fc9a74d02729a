"""Who used how much of the air time."""

from gateway.model import DownlinkRequest, Immediately, Lora
from gateway.radio.airtime import airtime_us
from gateway.radio.shares import AirtimeShares
from gateway.regions.eu868 import EU868

WAY = DownlinkRequest("r", bytes(20), "roof", Immediately(), 868_100_000, Lora(9, 125_000), 14.0)
BAND = "868.0-868.6 MHz"
HOUR_US = 3_600_000_000


def test_each_has_what_it_sent_within_the_hour():
    shares, one_us = AirtimeShares(EU868), airtime_us(WAY.modulation, 20, crc=False, preamble=None)
    for asker, at_us in (("city", 0), ("city", HOUR_US // 2), (None, HOUR_US // 2)):
        shares.sent(asker, WAY, at_us)
    assert shares.used_us("city", "roof", BAND, HOUR_US // 2) == 2 * one_us
    assert shares.used_us(None, "roof", BAND, HOUR_US // 2) == one_us
    assert shares.used_us("ttn", "roof", BAND, HOUR_US // 2) == 0
    assert shares.used_us("city", "roof", BAND, HOUR_US + 2_000_000) == one_us
    assert shares.used_us("city", "cellar", BAND, HOUR_US // 2) == 0


def test_what_is_in_no_band_counts_nowhere():
    from dataclasses import replace

    shares = AirtimeShares(EU868)
    shares.sent("city", replace(WAY, frequency_hz=915_000_000), 0)
    assert {band.name: shares.used_us("city", "roof", band.name, 0) for band in EU868.sub_bands if band.duty_cycle} == {
        band.name: 0 for band in EU868.sub_bands if band.duty_cycle
    }
