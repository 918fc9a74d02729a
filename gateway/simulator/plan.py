"""The eight channels of the city, the same numbers for the chip and for the devices.

Three of them every EU868 device has; the five of 867 MHz are those that networks add, in the order of Semtech's sample
configuration (`global_conf.json` for EU868), which has the 867 MHz channels on radio 0 and the others on radio 1.

Sources: RP002-1.0.4, 2.4.3 (power); ETSI EN 300 220-2, annex B (865-868 MHz and 868.0-868.6 MHz: 1 % of the time each).
"""

from __future__ import annotations

from dataclasses import dataclass

BANDWIDTH_HZ = 125_000

CODING_RATE = "4/5"

MAX_EIRP_DBM = 16.0
POWER_STEP_DB = 2.0
LOWEST_TX_POWER = 7
"""TXPower n means MAX_EIRP_DBM - n · POWER_STEP_DB, 0 … 7."""


@dataclass(frozen=True, slots=True)
class SubBand:
    """A stretch of spectrum with its limit."""

    name: str
    duty_cycle: float


_867 = SubBand("865-868 MHz", 0.01)
_868 = SubBand("868.0-868.6 MHz", 0.01)


@dataclass(frozen=True, slots=True)
class CityChannel:
    """A 125 kHz channel; its place in CHANNELS is its number, for the chip and for the devices."""

    frequency_hz: int
    rf_chain: int
    sub_band: SubBand


CHANNELS = (
    CityChannel(868_100_000, 1, _868),
    CityChannel(868_300_000, 1, _868),
    CityChannel(868_500_000, 1, _868),
    CityChannel(867_100_000, 0, _867),
    CityChannel(867_300_000, 0, _867),
    CityChannel(867_500_000, 0, _867),
    CityChannel(867_700_000, 0, _867),
    CityChannel(867_900_000, 0, _867),
)
