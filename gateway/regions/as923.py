"""AS923, groups 1 to 4: RP002-1.0.4, section 2.10; the data rates 12 and 13 came with RP002-1.0.5.

The groups are one plan at four places of the spectrum: all default frequencies are moved by an offset. Each serves
several countries, and the law is that of the country. What holds for all is the plan's own limit of 1 % and 16 dBm;
devices keep to 400 ms a transmission until TxParamSetupReq tells them otherwise, and what a country allows a gateway
is DownlinkDwellTime, a setting.

Japan has a plan of its own here: ARIB STD-T108, channels 24 to 38 (920.6 to 923.4 MHz, 200 kHz each). 20 mW and 3 dBi;
who listened for 5 ms at -80 dBm may send for 4 s.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from gateway.regions.channel_masks import DYNAMIC
from gateway.regions.dynamic import CHANNELS_MAX, DATA_RATES, MANDATORY, RX1_UP_AND_DOWN, SIZES, at_least
from gateway.regions.region import Channel, Listening, PayloadSizes, ReceiveWindow, Region, SubBand

_MAX_EIRP_DBM = 16.0
_SLOWEST_IN_DWELL = 2
_FASTER = (None, None, None, None)  # DR8 to DR11 are not defined


def _group(name: str, lowest_mhz: int, highest_mhz: int, offset_hz: int) -> Region:
    lowest_hz, highest_hz = lowest_mhz * 1_000_000, highest_mhz * 1_000_000
    return Region(
        name=name,
        lowest_hz=lowest_hz,
        highest_hz=highest_hz,
        # 2.10.3
        data_rates=DATA_RATES,
        downlink_data_rates=DATA_RATES,
        adr_data_rates=MANDATORY,
        max_eirp_dbm=_MAX_EIRP_DBM,
        tx_power_max=7,
        tx_param_setup=True,
        uplink_dwell=True,
        # 2.10.2: whatever the dwell time, a join request is no slower than DR2.
        fixed_plan=False,
        channels=(Channel(923_200_000 + offset_hz, MANDATORY), Channel(923_400_000 + offset_hz, MANDATORY)),
        channels_max=CHANNELS_MAX,
        join_data_rates=MappingProxyType(dict.fromkeys(range(2), range(_SLOWEST_IN_DWELL, 6))),
        # 2.10.5
        masks=DYNAMIC,
        # 2.10.6
        sizes=PayloadSizes(
            direct=(51, 51, 115, 115, *SIZES.direct[4:]), repeater=(51, 51, 115, 115, *SIZES.repeater[4:])
        ),
        dwell_sizes=PayloadSizes(
            direct=(None, None, 11, 53, 125, 242, 242, 242, *_FASTER, 242, 242),
            repeater=(None, None, 11, 53, 125, 222, 222, 222, *_FASTER, 222, 222),
        ),
        # 2.10.7
        rx1_data_rates=RX1_UP_AND_DOWN,
        rx1_dwell_data_rates=at_least(_SLOWEST_IN_DWELL, RX1_UP_AND_DOWN),
        rx2=ReceiveWindow(923_200_000 + offset_hz, data_rate=2),
        sub_bands=(SubBand(f"{lowest_mhz}-{highest_mhz} MHz", lowest_hz, highest_hz, _MAX_EIRP_DBM, Fraction(1, 100)),),
    )


# 2.10.1 and 2.10.2: the countries' spectrum and the offset of each group.
AS923_1 = _group("AS923-1", 915, 928, 0)
AS923_2 = _group("AS923-2", 920, 923, -1_800_000)
AS923_3 = _group("AS923-3", 915, 921, -6_600_000)
AS923_4 = _group("AS923-4", 917, 920, -5_900_000)

AS923_1_JP = replace(
    AS923_1,
    name="AS923-1-JP",
    lowest_hz=920_500_000,
    highest_hz=923_500_000,
    uplink_dwell=False,
    sub_bands=(
        SubBand(
            "920.5-923.5 MHz",
            920_500_000,
            923_500_000,
            _MAX_EIRP_DBM,
            max_dwell_us=4_000_000,
            listening=Listening(5_000, -80),
        ),
    ),
)
"""AS923-1 under the law of Japan."""
