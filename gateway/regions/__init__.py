"""The law and the channel plans, as tables."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.regions.as923 import AS923_1, AS923_1_JP, AS923_2, AS923_3, AS923_4
from gateway.regions.au915 import AU915
from gateway.regions.channel_masks import ChannelMasks
from gateway.regions.cn470 import CN470, CN470_20A, CN470_20B, CN470_26A, CN470_26B
from gateway.regions.cn779 import CN779
from gateway.regions.eu433 import EU433
from gateway.regions.eu868 import EU868
from gateway.regions.in865 import IN865
from gateway.regions.kr920 import KR920
from gateway.regions.region import PayloadSizes, ReceiveWindow, Region
from gateway.regions.ru864 import RU864
from gateway.regions.us915 import US915

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLANS = (
    EU868, US915, EU433, AU915, CN470, CN470_20A, CN470_20B, CN470_26A, CN470_26B, CN779, KR920, IN865, RU864,
    AS923_1, AS923_1_JP, AS923_2, AS923_3, AS923_4,
)  # fmt: skip

REGIONS: Mapping[str, Region] = MappingProxyType({plan.name: plan for plan in _PLANS} | {"AS923": AS923_1})
"""Every plan by its name; the first group of AS923 also by the name it had when there was no other."""


def region_named(name: str) -> Region:
    """The plan of a region; for a name that is not among REGIONS a plan with which one can listen, and send nothing.

    Listening needs a plan only for LoRaWAN 1.1, whose MIC covers data rate and channel: without one, all are tried.
    """
    return REGIONS.get(name) or Region(
        name=name,
        lowest_hz=0,
        highest_hz=1 << 32,
        data_rates=MappingProxyType({}),
        channels=(),
        channels_max=96,
        fixed_plan=False,
        downlink_data_rates=MappingProxyType({}),
        join_data_rates=MappingProxyType({}),
        adr_data_rates=range(0),
        rx1_data_rates=MappingProxyType({}),
        rx2=ReceiveWindow(0, 0),
        sizes=PayloadSizes(direct=(), repeater=()),
        max_eirp_dbm=0,
        tx_power_max=0,
        sub_bands=(),
        masks=ChannelMasks(banks=()),
    )
