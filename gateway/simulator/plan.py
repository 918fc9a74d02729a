"""The eight channels of the city, the same numbers for the chip and for the devices.

Three of them every EU868 device has; the five of 867 MHz are those that networks add, in the order of Semtech's sample
configuration (`global_conf.json` for EU868), which has the 867 MHz channels on radio 0 and the others on radio 1.
Powers and sub-bands are those of the channel plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.regions.eu868 import EU868
from gateway.regions.region import TX_POWER_STEP_DB, SubBand

BANDWIDTH_HZ = 125_000

CODING_RATE = "4/5"

MAX_EIRP_DBM = EU868.max_eirp_dbm
POWER_STEP_DB = TX_POWER_STEP_DB
LOWEST_TX_POWER = EU868.tx_power_max
"""TXPower n means MAX_EIRP_DBM - n · POWER_STEP_DB, 0 … 7."""


@dataclass(frozen=True, slots=True)
class CityChannel:
    """A 125 kHz channel; its place in CHANNELS is its number, for the chip and for the devices."""

    frequency_hz: int
    rf_chain: int
    sub_band: SubBand
    duty_cycle: float


def _channel(frequency_hz: int, rf_chain: int) -> CityChannel:
    sub_band = EU868.sub_band(frequency_hz, BANDWIDTH_HZ)
    if sub_band is None or sub_band.duty_cycle is None:
        raise ValueError(f"{frequency_hz} Hz is in no sub-band with a duty cycle")
    return CityChannel(frequency_hz, rf_chain, sub_band, float(sub_band.duty_cycle))


CHANNELS = (
    *(_channel(frequency_hz, 1) for frequency_hz in (868_100_000, 868_300_000, 868_500_000)),
    *(_channel(frequency_hz, 0) for frequency_hz in (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)),
)
