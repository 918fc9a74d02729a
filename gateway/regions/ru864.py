"""RU864-870: RP002-1.0.4, section 2.13; the data rates 12 and 13 came with RP002-1.0.5.

The law is Russia's: GKRCh decision 07-20-03-001, annex 12 as of decision 18-46-03-1 (11 September 2018). Powers are
e.r.p.; the two lower bands may not be used at airports.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, DATA_RATES, MANDATORY, RX1_DOWN, SIZES
from gateway.regions.region import ERP_TO_EIRP_DB, Channel, ReceiveWindow, Region, SubBand

_25_MW = 14 + ERP_TO_EIRP_DB
_100_MW = 20 + ERP_TO_EIRP_DB

RU864 = Region(
    name="RU864",
    lowest_hz=864_000_000,
    highest_hz=870_000_000,
    # 2.13.3
    data_rates=DATA_RATES,
    downlink_data_rates=DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=16.0,
    tx_power_max=7,
    # 2.13.2
    fixed_plan=False,
    channels=(Channel(868_900_000, MANDATORY), Channel(869_100_000, MANDATORY)),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(2), MANDATORY)),
    # 2.13.5
    masks=DYNAMIC,
    # 2.13.6
    sizes=SIZES,
    # 2.13.7
    rx1_data_rates=RX1_DOWN,
    rx2=ReceiveWindow(869_100_000, data_rate=0),
    sub_bands=(
        SubBand("864.0-865.0 MHz", 864_000_000, 865_000_000, _25_MW, Fraction(1, 1000)),
        SubBand("866.0-868.0 MHz", 866_000_000, 868_000_000, _25_MW, Fraction(1, 100)),
        SubBand("868.7-869.2 MHz", 868_700_000, 869_200_000, _100_MW, Fraction(1, 10)),
    ),
)
