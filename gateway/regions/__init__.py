"""The law and the channel plans, as tables."""

from __future__ import annotations

from gateway.regions.eu868 import EU868
from gateway.regions.region import Region

REGIONS: dict[str, Region] = {region.name: region for region in (EU868,)}


def region_named(name: str) -> Region:
    """The plan of a region; for one whose plan is not here yet, a plan without data rates and channels.

    Listening needs a plan only for LoRaWAN 1.1, whose MIC covers data rate and channel: without one, all are tried.
    """
    return REGIONS.get(name) or Region(name, 0, 1 << 32, data_rates={}, channels=(), channels_max=96)
