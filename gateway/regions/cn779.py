"""CN779-787: LoRaWAN Regional Parameters up to RP002-1.0.3, section 2.6; RP002-1.0.4 has taken it back.

China closed the band to new equipment on the first of January 2021. The plan is here for what was installed before;
779 to 787 MHz, 10 mW e.r.p., 1 %.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, FASTER, LORA_125, MANDATORY, RX1_DOWN, SIZES
from gateway.regions.region import ERP_TO_EIRP_DB, Channel, PayloadSizes, ReceiveWindow, Region, SubBand

_10_MW = 10 + ERP_TO_EIRP_DB
_DATA_RATES = MappingProxyType({**LORA_125, **FASTER})

CN779 = Region(
    name="CN779",
    lowest_hz=779_000_000,
    highest_hz=787_000_000,
    data_rates=_DATA_RATES,
    downlink_data_rates=_DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=_10_MW,
    tx_power_max=5,
    fixed_plan=False,
    channels=(
        Channel(779_500_000, MANDATORY),
        Channel(779_700_000, MANDATORY),
        Channel(779_900_000, MANDATORY),
    ),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(3), MANDATORY)),
    masks=DYNAMIC,
    sizes=PayloadSizes(direct=SIZES.direct[:8], repeater=SIZES.repeater[:8]),
    rx1_data_rates=MappingProxyType({up: RX1_DOWN[up] for up in _DATA_RATES}),
    rx2=ReceiveWindow(786_000_000, data_rate=0),
    sub_bands=(SubBand("779-787 MHz", 779_000_000, 787_000_000, _10_MW, Fraction(1, 100)),),
)
