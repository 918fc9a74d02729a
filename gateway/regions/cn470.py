"""CN470-510: five plans. RP002-1.0.4, section 2.9, has four; the one before them is that of most installations.

- `CN470`: 96 channels up, 48 down, as LoRaWAN Regional Parameters 1.0.2 to 1.1 (section 2.6 in 1.1B) have it. What
  gateways listen to is a choice of eight or sixteen of them.
- `CN470-20A`, `CN470-20B`, `CN470-26A`, `CN470-26B`: by the width of a device's antenna (20 or 26 MHz) and the way up
  and down are laid out (type). DR0 is gone; what a device sends must end within a second.

A device of RP002 that joins tries the join channels of all four plans, and learns from the one on which it was answered
which plan this network has; in the 20 MHz plans its RX2 depends on that channel, too.

The law is China's: MIIT announcement 52 of 2019, civil metering devices: 470 to 510 MHz, 50 mW e.r.p., one second a
transmission, 200 kHz wide. So DR6 of RP002 (500 kHz) exists on paper, and DR0 and DR1 of the older plan end early.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.model import Fsk, Lora
from gateway.regions.channel_masks import ChannelMasks, banks_of_16
from gateway.regions.dynamic import LORA_125, MANDATORY, RX1_DOWN
from gateway.regions.region import ERP_TO_EIRP_DB, Channel, PayloadSizes, ReceiveWindow, Region, SubBand

if TYPE_CHECKING:
    from collections.abc import Mapping

_50_MW = 17 + ERP_TO_EIRP_DB
_STEP_HZ = 200_000
_LAW = (SubBand("470-510 MHz", 470_000_000, 510_000_000, _50_MW, max_dwell_us=1_000_000),)

# 2.9.3
_SLOWEST = 1
_LORA = range(_SLOWEST, 6)
_DATA_RATES: Mapping[int, Lora | Fsk] = MappingProxyType(
    {**{index: LORA_125[index] for index in _LORA}, 6: Lora(7, 500_000), 7: Fsk(bit_rate=50_000, deviation_hz=25_000)}
)
# 2.9.6
_SIZES = PayloadSizes(direct=(None, 23, 86, 184, 242, 242, 242, 242), repeater=(None, 23, 86, 184, 222, 222, 222, 222))


def _every(first_hz: int, count: int) -> tuple[int, ...]:
    return tuple(first_hz + _STEP_HZ * index for index in range(count))


def _plan(
    name: str,
    up_hz: tuple[int, ...],
    down_hz: tuple[int, ...],
    masks: ChannelMasks,
    rx2_hz: int,
    rx2_by_join_channel_hz: Mapping[int, int],
    join_rx1_hz: Mapping[int, int] | None = None,
) -> Region:
    """A plan of RP002; `rx2_hz` is that of devices that never joined, the others are by the channel they joined on."""
    return Region(
        name=name,
        lowest_hz=470_000_000,
        highest_hz=510_000_000,
        data_rates=_DATA_RATES,
        downlink_data_rates=_DATA_RATES,
        adr_data_rates=_LORA,
        max_eirp_dbm=_50_MW,
        tx_power_max=7,
        fixed_plan=True,
        channels=tuple(Channel(hz, _LORA) for hz in up_hz),
        channels_max=len(up_hz),
        join_data_rates=MappingProxyType(dict.fromkeys(rx2_by_join_channel_hz, _LORA)),
        masks=masks,
        sizes=_SIZES,
        # 2.9.7: the table of the other plans, without the data rate that is not there.
        rx1_frequencies_hz=down_hz,
        rx1_data_rates=MappingProxyType(
            {up: tuple(max(_SLOWEST, down) for down in RX1_DOWN[up]) for up in _DATA_RATES}
        ),
        join_rx1_hz=join_rx1_hz,
        rx2=ReceiveWindow(rx2_hz, data_rate=_SLOWEST),
        rx2_by_join_channel=MappingProxyType(
            {channel: ReceiveWindow(hz, data_rate=_SLOWEST) for channel, hz in rx2_by_join_channel_hz.items()}
        ),
        sub_bands=_LAW,
    )


_20_MHZ = ChannelMasks(banks_of_16(64), all_on=6, all_off=7)
_26_MHZ = ChannelMasks(banks_of_16(48), all_on=3, all_off=4)
_26_MHZ_JOINS = range(0, 50, 10)  # answered on one frequency, in RX1 and in RX2

# A join channel of 20A is every eighth from the fourth on; its RX2 is 1.6 MHz above the one before.
CN470_20A = _plan(
    "CN470-20A",
    _every(470_300_000, 32) + _every(503_500_000, 32),
    _every(483_900_000, 32) + _every(490_300_000, 32),
    _20_MHZ,
    486_900_000,
    {3 + 8 * nth: 485_300_000 + 1_600_000 * nth for nth in range(8)},
)
CN470_20B = _plan(
    "CN470-20B",
    _every(476_900_000, 32) + _every(496_900_000, 32),
    _every(476_900_000, 32) + _every(496_900_000, 32),
    _20_MHZ,
    498_300_000,
    {15: 478_300_000, 47: 498_300_000},
)
CN470_26A = _plan(
    "CN470-26A",
    _every(470_300_000, 48),
    _every(490_100_000, 24),
    _26_MHZ,
    492_500_000,
    dict.fromkeys(_26_MHZ_JOINS, 492_500_000),
    join_rx1_hz=MappingProxyType(dict.fromkeys(_26_MHZ_JOINS, 492_500_000)),
)
CN470_26B = _plan(
    "CN470-26B",
    _every(480_300_000, 48),
    _every(500_100_000, 24),
    _26_MHZ,
    502_500_000,
    dict.fromkeys(_26_MHZ_JOINS, 502_500_000),
    join_rx1_hz=MappingProxyType(dict.fromkeys(_26_MHZ_JOINS, 502_500_000)),
)

CN470 = Region(
    name="CN470",
    lowest_hz=470_000_000,
    highest_hz=510_000_000,
    data_rates=LORA_125,
    downlink_data_rates=LORA_125,
    adr_data_rates=MANDATORY,
    max_eirp_dbm=_50_MW,
    tx_power_max=7,
    fixed_plan=True,
    channels=tuple(Channel(hz, MANDATORY) for hz in _every(470_300_000, 96)),
    channels_max=96,
    join_data_rates=MappingProxyType(dict.fromkeys(range(96), MANDATORY)),
    masks=ChannelMasks(banks_of_16(96), all_on=6),
    sizes=PayloadSizes(direct=(51, 51, 51, 115, 242, 242), repeater=(51, 51, 51, 115, 222, 222)),
    rx1_frequencies_hz=_every(500_300_000, 48),
    rx1_data_rates=MappingProxyType({up: RX1_DOWN[up] for up in LORA_125}),
    rx2=ReceiveWindow(505_300_000, data_rate=0),
    sub_bands=_LAW,
)
