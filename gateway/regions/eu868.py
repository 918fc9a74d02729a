"""EU863-870: RP002-1.0.4, section 2.4; the data rates 12 and 13 came with RP002-1.0.5.

The law is ETSI EN 300 220-2, annex B, and CEPT ERC/REC 70-03, annex 1 (bands h1.3 to h1.9 there). Its limits are e.r.p.
and hold for gateways and devices alike. The bands named K to R are those of EN 300 220-2; O lies inside of P with
narrower channels, Q in R with 5 mW and no duty cycle. The gaps belong to alarms.
"""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType

from gateway.model import LrFhss
from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, DATA_RATES, MANDATORY, RX1_DOWN, SIZES
from gateway.regions.region import ERP_TO_EIRP_DB, Channel, PayloadSizes, ReceiveWindow, Region, SubBand

_25_MW = 14 + ERP_TO_EIRP_DB
_500_MW = 27 + ERP_TO_EIRP_DB
_0_1_PERCENT, _1_PERCENT, _10_PERCENT = Fraction(1, 1000), Fraction(1, 100), Fraction(1, 10)

_LR_FHSS = {
    8: LrFhss(operating_channel_width_hz=137_000, coding_rate="1/3"),
    9: LrFhss(operating_channel_width_hz=137_000, coding_rate="2/3"),
    10: LrFhss(operating_channel_width_hz=336_000, coding_rate="1/3"),
    11: LrFhss(operating_channel_width_hz=336_000, coding_rate="2/3"),
}
_LR_FHSS_SIZES = (50, 115, 50, 115)

EU868 = Region(
    name="EU868",
    lowest_hz=863_000_000,
    highest_hz=870_000_000,
    # 2.4.3
    data_rates=MappingProxyType({**DATA_RATES, **_LR_FHSS}),
    downlink_data_rates=DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=16.0,
    tx_power_max=7,
    # 2.4.2
    fixed_plan=False,
    channels=(
        Channel(868_100_000, MANDATORY),
        Channel(868_300_000, MANDATORY),
        Channel(868_500_000, MANDATORY),
    ),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(3), MANDATORY)),
    # 2.4.5
    masks=DYNAMIC,
    # 2.4.6
    sizes=PayloadSizes(
        direct=(*SIZES.direct[:8], *_LR_FHSS_SIZES, *SIZES.direct[12:]),
        repeater=(*SIZES.repeater[:8], *_LR_FHSS_SIZES, *SIZES.repeater[12:]),
    ),
    # 2.4.7
    rx1_data_rates=MappingProxyType(
        {
            **RX1_DOWN,
            8: (1, 0, 0, 0, 0, 0),
            9: (2, 1, 0, 0, 0, 0),
            10: (1, 0, 0, 0, 0, 0),
            11: (2, 1, 0, 0, 0, 0),
        }
    ),
    rx2=ReceiveWindow(869_525_000, data_rate=0),
    sub_bands=(
        SubBand("863.0-865.0 MHz", 863_000_000, 865_000_000, _25_MW, _0_1_PERCENT),  # K
        SubBand("865.0-868.0 MHz", 865_000_000, 868_000_000, _25_MW, _1_PERCENT),  # L
        SubBand("868.0-868.6 MHz", 868_000_000, 868_600_000, _25_MW, _1_PERCENT),  # M
        SubBand("868.7-869.2 MHz", 868_700_000, 869_200_000, _25_MW, _0_1_PERCENT),  # N
        SubBand("869.4-869.65 MHz", 869_400_000, 869_650_000, _500_MW, _10_PERCENT),  # P
        SubBand("869.7-870.0 MHz", 869_700_000, 870_000_000, _25_MW, _1_PERCENT),  # R
    ),
)
"""The plan of the European Union and of most countries around it. The three channels are those of join requests."""
