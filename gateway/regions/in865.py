"""IN865-867: RP002-1.0.4, section 2.12; the data rates 12 and 13 came with RP002-1.0.5.

The law is India's, WPC, G.S.R. 564(E) of 2005: 865 to 867 MHz, 1 W of transmitter power, 4 W e.r.p., 200 kHz a carrier,
no duty cycle. 30 dBm EIRP keep both powers whatever the antenna.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, DATA_RATES, MANDATORY, RX1_UP_AND_DOWN, SIZES
from gateway.regions.region import Channel, PayloadSizes, ReceiveWindow, Region, SubBand

_NOT_DEFINED = 6  # 250 kHz
_DATA_RATES = MappingProxyType({index: rate for index, rate in DATA_RATES.items() if index != _NOT_DEFINED})
_1_W = 30.0

IN865 = Region(
    name="IN865",
    lowest_hz=865_000_000,
    highest_hz=867_000_000,
    # 2.12.3
    data_rates=_DATA_RATES,
    downlink_data_rates=_DATA_RATES,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=_1_W,
    tx_power_max=10,
    # 2.12.2
    fixed_plan=False,
    channels=(
        Channel(865_062_500, MANDATORY),
        Channel(865_402_500, MANDATORY),
        Channel(865_985_000, MANDATORY),
    ),
    channels_max=CHANNELS_MAX,
    join_data_rates=MappingProxyType(dict.fromkeys(range(3), MANDATORY)),
    # 2.12.5
    masks=DYNAMIC,
    # 2.12.6
    sizes=PayloadSizes(
        direct=(*SIZES.direct[:6], None, *SIZES.direct[7:]), repeater=(*SIZES.repeater[:6], None, *SIZES.repeater[7:])
    ),
    # 2.12.7: where DR6 would come, DR5 does; only from DR5 can the offset 7 reach FSK.
    rx1_data_rates=MappingProxyType(
        {
            **{up: RX1_UP_AND_DOWN[up] for up in (0, 1, 2, 3, 12, 13)},
            4: (4, 3, 2, 1, 0, 0, 5, 5),
            5: (5, 4, 3, 2, 1, 0, 5, 7),
            7: (7, 5, 5, 4, 3, 2, 7, 7),
        }
    ),
    rx2=ReceiveWindow(866_550_000, data_rate=2),
    sub_bands=(SubBand("865-867 MHz", 865_000_000, 867_000_000, _1_W),),
)
