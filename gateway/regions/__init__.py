"""The law and the channel plans, as tables."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.regions.channel_masks import ChannelMasks
from gateway.regions.eu868 import EU868
from gateway.regions.region import PayloadSizes, ReceiveWindow, Region

if TYPE_CHECKING:
    from collections.abc import Mapping

REGIONS: Mapping[str, Region] = MappingProxyType({region.name: region for region in (EU868,)})


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
