"""AU915-928: RP002-1.0.4, section 2.8.

As US915 with all its channels 12.9 MHz higher up, the same ones down, and slower data rates. Devices keep to 400 ms a
transmission until TxParamSetupReq tells them otherwise. The data rates of SF6 and SF5, which RP002-1.0.5 adds with
other numbers up than down, are not here.

The law is Australia's: Radiocommunications (Low Interference Potential Devices) Class Licence 2015, 915 to 928 MHz, 1 W
EIRP for hopping and for digital modulation. Other countries of the plan have a dwell time, which is a setting.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.model import Lora, LrFhss
from gateway.regions.channel_masks import SEVENTY_TWO
from gateway.regions.region import Channel, PayloadSizes, ReceiveWindow, Region, SubBand

_1_W = 30
_NARROW, _WIDE = range(6), range(6, 8)
_DOWN = (53, 129, 242, 242, 242, 242)  # DR8 to DR13
_DOWN_BY_REPEATER = (53, 129, 222, 222, 222, 222)

AU915 = Region(
    name="AU915",
    lowest_hz=915_000_000,
    highest_hz=928_000_000,
    # 2.8.3
    data_rates=MappingProxyType(
        {
            **{index: Lora(12 - index, 125_000) for index in _NARROW},
            6: Lora(8, 500_000),
            7: LrFhss(operating_channel_width_hz=1_523_000, coding_rate="1/3"),
        }
    ),
    downlink_data_rates=MappingProxyType({8 + step: Lora(12 - step, 500_000) for step in range(6)}),
    adr_data_rates=_NARROW,
    max_eirp_dbm=30.0,
    tx_power_max=14,
    tx_param_setup=True,
    uplink_dwell=True,
    # 2.8.2: whatever the dwell time, a join request is no slower than DR2.
    fixed_plan=True,
    channels=(
        *(Channel(915_200_000 + 200_000 * index, _NARROW) for index in range(64)),
        *(Channel(915_900_000 + 1_600_000 * index, _WIDE) for index in range(8)),
    ),
    channels_max=72,
    join_data_rates=MappingProxyType(
        {**dict.fromkeys(range(64), range(2, 3)), **dict.fromkeys(range(64, 72), range(6, 7))}
    ),
    # 2.8.5
    masks=SEVENTY_TWO,
    # 2.8.6
    sizes=PayloadSizes(
        direct=(51, 51, 51, 115, 242, 242, 242, 50, *_DOWN),
        repeater=(51, 51, 51, 115, 222, 222, 222, 50, *_DOWN_BY_REPEATER),
    ),
    dwell_sizes=PayloadSizes(
        direct=(None, None, 11, 53, 125, 242, 242, 50, *_DOWN),
        repeater=(None, None, 11, 53, 125, 222, 222, 50, *_DOWN_BY_REPEATER),
    ),
    # 2.8.7
    rx1_frequencies_hz=tuple(923_300_000 + 600_000 * index for index in range(8)),
    rx1_data_rates=MappingProxyType(
        {
            0: (8, 8, 8, 8, 8, 8),
            1: (9, 8, 8, 8, 8, 8),
            2: (10, 9, 8, 8, 8, 8),
            3: (11, 10, 9, 8, 8, 8),
            4: (12, 11, 10, 9, 8, 8),
            5: (13, 12, 11, 10, 9, 8),
            6: (13, 13, 12, 11, 10, 9),
            7: (9, 8, 8, 8, 8, 8),
        }
    ),
    rx2=ReceiveWindow(923_300_000, data_rate=8),
    sub_bands=(SubBand("915-928 MHz", 915_000_000, 928_000_000, _1_W),),
)
