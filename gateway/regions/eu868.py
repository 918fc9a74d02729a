"""EU863-870: LoRaWAN Regional Parameters RP002-1.0.4; the data rates 12 and 13 came with RP002-1.0.5."""

from __future__ import annotations

from types import MappingProxyType

from gateway.model import Fsk, Lora, LrFhss
from gateway.regions.region import Channel, Region

_MANDATORY = range(6)  # DR0 to DR5

EU868 = Region(
    name="EU868",
    lowest_hz=863_000_000,
    highest_hz=870_000_000,
    data_rates=MappingProxyType(
        {
            0: Lora(spreading_factor=12, bandwidth_hz=125_000),
            1: Lora(spreading_factor=11, bandwidth_hz=125_000),
            2: Lora(spreading_factor=10, bandwidth_hz=125_000),
            3: Lora(spreading_factor=9, bandwidth_hz=125_000),
            4: Lora(spreading_factor=8, bandwidth_hz=125_000),
            5: Lora(spreading_factor=7, bandwidth_hz=125_000),
            6: Lora(spreading_factor=7, bandwidth_hz=250_000),
            7: Fsk(bit_rate=50_000, deviation_hz=25_000),
            8: LrFhss(operating_channel_width_hz=137_000, coding_rate="1/3"),
            9: LrFhss(operating_channel_width_hz=137_000, coding_rate="2/3"),
            10: LrFhss(operating_channel_width_hz=336_000, coding_rate="1/3"),
            11: LrFhss(operating_channel_width_hz=336_000, coding_rate="2/3"),
            12: Lora(spreading_factor=6, bandwidth_hz=125_000),
            13: Lora(spreading_factor=5, bandwidth_hz=125_000),
        }
    ),
    channels=(
        Channel(868_100_000, _MANDATORY),
        Channel(868_300_000, _MANDATORY),
        Channel(868_500_000, _MANDATORY),
    ),
    channels_max=16,
)
"""The plan of the European Union and of most countries around it. The three channels are those of join requests."""
