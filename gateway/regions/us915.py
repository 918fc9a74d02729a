"""US902-928: RP002-1.0.4, section 2.5.

64 channels of 125 kHz, 8 of 500 kHz (LR-FHSS of 1.523 MHz is sent around them), 8 other ones down. The data rates of
SF6 and SF5, which RP002-1.0.5 adds with other numbers up than down, are not here.

The law is 47 CFR 15.247. Narrow channels hop: 400 ms at most on each within 20 s, 1 W with 50 of them or more
((a)(1)(i), (b)(2)). From 500 kHz on a transmission is digital modulation: 1 W, no dwell time ((a)(2), (b)(3)). With
either an antenna may have 6 dBi ((b)(4)). There is no duty cycle. Gateways send with 26 dBm, as Basics Station does.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.model import Lora, LrFhss
from gateway.regions.channel_masks import SEVENTY_TWO
from gateway.regions.region import DWELL_LIMIT_US, Channel, PayloadSizes, ReceiveWindow, Region, SubBand

_ANTENNA_DBI = 6
_1_W = 30
_NARROW, _WIDE = range(4), range(4, 7)

US915 = Region(
    name="US915",
    lowest_hz=902_000_000,
    highest_hz=928_000_000,
    # 2.5.3
    data_rates=MappingProxyType(
        {
            0: Lora(10, 125_000),
            1: Lora(9, 125_000),
            2: Lora(8, 125_000),
            3: Lora(7, 125_000),
            4: Lora(8, 500_000),
            5: LrFhss(operating_channel_width_hz=1_523_000, coding_rate="1/3"),
            6: LrFhss(operating_channel_width_hz=1_523_000, coding_rate="2/3"),
        }
    ),
    downlink_data_rates=MappingProxyType({8 + step: Lora(12 - step, 500_000) for step in range(6)}),
    adr_data_rates=_NARROW,
    max_eirp_dbm=30.0,
    tx_power_max=14,
    # 2.5.2
    fixed_plan=True,
    channels=(
        *(Channel(902_300_000 + 200_000 * index, _NARROW) for index in range(64)),
        *(Channel(903_000_000 + 1_600_000 * index, _WIDE) for index in range(8)),
    ),
    channels_max=72,
    join_data_rates=MappingProxyType(
        {**dict.fromkeys(range(64), range(1)), **dict.fromkeys(range(64, 72), range(4, 5))}
    ),
    # 2.5.5
    masks=SEVENTY_TWO,
    # 2.5.6
    sizes=PayloadSizes(
        direct=(11, 53, 125, 242, 242, 50, 125, None, 53, 129, 242, 242, 242, 242),
        repeater=(11, 53, 125, 222, 222, 50, 125, None, 53, 129, 222, 222, 222, 222),
    ),
    # 2.5.7
    rx1_frequencies_hz=tuple(923_300_000 + 600_000 * index for index in range(8)),
    rx1_data_rates=MappingProxyType(
        {
            0: (10, 9, 8, 8),
            1: (11, 10, 9, 8),
            2: (12, 11, 10, 9),
            3: (13, 12, 11, 10),
            4: (13, 13, 12, 11),
            5: (10, 9, 8, 8),
            6: (11, 10, 9, 8),
        }
    ),
    rx2=ReceiveWindow(923_300_000, data_rate=8),
    sub_bands=(
        SubBand("902-928 MHz from 500 kHz", 902_000_000, 928_000_000, _1_W + _ANTENNA_DBI, min_bandwidth_hz=500_000),
        SubBand("902-928 MHz hopping", 902_000_000, 928_000_000, _1_W + _ANTENNA_DBI, max_dwell_us=DWELL_LIMIT_US),
    ),
    gateway_eirp_dbm=26.0,
)
"""The plan of the United States, Canada and others. A join request alternates between a narrow and a wide channel."""
