"""KR920-923: RP002-1.0.4, section 2.11; the data rates 12 and 13 came with RP002-1.0.5.

The law is Korea's: carriers every 200 kHz from 920.9 to 923.3 MHz. Devices have 10 dBm EIRP below 922 MHz and 14 dBm
above, gateways 23 dBm. Whoever sends has listened before: LoRaMac-node does for 6 ms at -65 dBm, the law asks for 5 ms.
One transmission lasts 4 s at most.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, LORA_125, MANDATORY, RX1_DOWN, SF6_AND_SF5, SIZES
from gateway.regions.region import Channel, Listening, PayloadSizes, ReceiveWindow, Region, SubBand

_DATA_RATES = MappingProxyType({**LORA_125, **SF6_AND_SF5})
_LISTENING = Listening(5_000, -65)
_4_S = 4_000_000
_NOT_DEFINED = 2 * (None,)  # DR6 and DR7

KR920 = Region(
    name="KR920",
    lowest_hz=920_800_000,
    highest_hz=923_400_000,
    # 2.11.3
    data_rates=_DATA_RATES,
    downlink_data_rates=_DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=14.0,
    tx_power_max=7,
    # 2.11.2
    fixed_plan=False,
    channels=(
        Channel(922_100_000, MANDATORY),
        Channel(922_300_000, MANDATORY),
        Channel(922_500_000, MANDATORY),
    ),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(3), MANDATORY)),
    # 2.11.5
    masks=DYNAMIC,
    # 2.11.6
    sizes=PayloadSizes(
        direct=(*SIZES.direct[:6], *_NOT_DEFINED, *SIZES.direct[8:]),
        repeater=(*SIZES.repeater[:6], *_NOT_DEFINED, *SIZES.repeater[8:]),
    ),
    # 2.11.7
    rx1_data_rates=MappingProxyType({up: RX1_DOWN[up] for up in _DATA_RATES}),
    rx2=ReceiveWindow(921_900_000, data_rate=0),
    # 2.11.2: the channels below and above 922 MHz, each 200 kHz wide.
    sub_bands=(
        SubBand(
            "920.8-922.0 MHz",
            920_800_000,
            922_000_000,
            23.0,
            max_dwell_us=_4_S,
            device_max_eirp_dbm=10.0,
            listening=_LISTENING,
        ),
        SubBand(
            "922.0-923.4 MHz",
            922_000_000,
            923_400_000,
            23.0,
            max_dwell_us=_4_S,
            device_max_eirp_dbm=14.0,
            listening=_LISTENING,
        ),
    ),
)
