"""EU433: RP002-1.0.4, section 2.7; the data rates 12 and 13 came with RP002-1.0.5.

The law is ETSI EN 300 220-2, annex B, and CEPT ERC/REC 70-03, annex 1: 433.05 to 434.79 MHz, 10 mW e.r.p., 10 %.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, DATA_RATES, MANDATORY, RX1_DOWN, SIZES
from gateway.regions.region import ERP_TO_EIRP_DB, Channel, ReceiveWindow, Region, SubBand

_10_MW = 10 + ERP_TO_EIRP_DB

EU433 = Region(
    name="EU433",
    lowest_hz=433_050_000,
    highest_hz=434_790_000,
    data_rates=DATA_RATES,
    downlink_data_rates=DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=_10_MW,
    tx_power_max=5,
    fixed_plan=False,
    channels=(
        Channel(433_175_000, MANDATORY),
        Channel(433_375_000, MANDATORY),
        Channel(433_575_000, MANDATORY),
    ),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(3), MANDATORY)),
    masks=DYNAMIC,
    sizes=SIZES,
    rx1_data_rates=RX1_DOWN,
    rx2=ReceiveWindow(434_665_000, data_rate=0),
    sub_bands=(SubBand("433.05-434.79 MHz", 433_050_000, 434_790_000, _10_MW, Fraction(1, 10)),),
)
