"""What this network wants of its devices, beyond what every device of the region does by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan.mac_state import NamedChannel
from gateway.lorawan.requests import Wanted, wanted_by
from gateway.model import Lora, MacVersion, TimeQuality
from gateway.regions.region import CHANNEL_WIDTH_HZ
from gateway.wire.semtech_udp import GPS_EPOCH_S, GPS_LEAP_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import RadioFrame
    from gateway.regions.region import Region
    from gateway.wire.channel_plan import ChannelPlan

DEV_STATUS_EVERY = 100
"""Uplinks between two questions for the battery: every few days for a container, every few weeks for a meter."""

USUAL_EXTRA_HZ = {"EU868": (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)}
"""What gateways of eight channels listen to beyond the channels of the plan: the sample settings of Semtech's packet
forwarder (sx1302_hal 2.1.0, global_conf.json.sx1250.EU868) and all public networks of the region."""

CF_LIST_FREQUENCIES = 5
"""Frequencies that a join accept names (RP002-1.0.4, section 2.4.5 and those like it)."""

_TOLD = frozenset({TimeQuality.NTP, TimeQuality.GPS})
_MOST_UNCERTAIN_MS = 100
"""DeviceTimeAns is to be right within 100 ms (TS001-1.0.4, 5.13)."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """What devices are asked to have, and what a join accept tells them of it."""

    wanted: Wanted
    cf_list: bytes
    masks: bool = False  # the list is one of channel masks, which devices know since LoRaWAN 1.0.3

    def cf_list_for(self, version: MacVersion) -> bytes:
        """What an accept for such a device says of channels; one that knows no masks is told by LinkADRReq later."""
        return b"" if self.masks and version < MacVersion.V1_0_3 else self.cf_list


def network_plan(
    region: Region,
    extra_channels_hz: Sequence[int] | None,
    rx2_data_rate: int | None = None,
    heard: ChannelPlan | None = None,
) -> NetworkPlan:
    """The plan with these channels beyond those of the region, the usual ones for None, and this data rate in RX2.

    `heard` is what the radio listens to where that is not the region's own: then devices are told to use that, as far
    as they can be: of a region with fixed channels those that are heard, of another one five beyond its own.
    ValueError for a frequency outside the region, for more than five, and for a region whose channels are fixed.
    """
    wanted = replace(wanted_by(region), dev_status_every=DEV_STATUS_EVERY)
    if rx2_data_rate is not None:
        wanted = replace(wanted, rx=wanted.rx._replace(rx2_data_rate=rx2_data_rate))
    if heard is not None and region.fixed_plan:
        return _masked(region, wanted, heard)
    extra = USUAL_EXTRA_HZ.get(region.name, ()) if extra_channels_hz is None else tuple(extra_channels_hz)
    if heard is not None:
        extra = _beyond(region, heard)
        wanted = replace(wanted, enabled=_heard_channels(region, heard) or (frozenset() if extra else wanted.enabled))
    cf_list = region.cf_list(extra) if extra else None
    if cf_list is None:
        return NetworkPlan(wanted, b"")
    rates, first = region.channels[0].data_rates, len(region.channels)
    channels = tuple(NamedChannel(first + at, hz, rates[0], rates[-1]) for at, hz in enumerate(extra))
    enabled = wanted.enabled | {channel.ch_index for channel in channels}
    return NetworkPlan(replace(wanted, channels=channels, enabled=enabled), cf_list)


def _masked(region: Region, wanted: Wanted, heard: ChannelPlan) -> NetworkPlan:
    """Of fixed channels those that are heard; all of them where none is, because one has to stay on."""
    enabled = _heard_channels(region, heard)
    if not enabled:
        return NetworkPlan(wanted, b"")
    cf_list = region.cf_list(enabled=enabled)
    assert cf_list is not None, f"{region.name} has a list of masks"
    return NetworkPlan(replace(wanted, enabled=enabled), cf_list, masks=True)


def _heard_channels(region: Region, heard: ChannelPlan) -> frozenset[int]:
    """Those that every device of the region has, and the radio hears with the same width."""
    places = {(channel.frequency_hz, channel.bandwidth_hz) for channel in heard.channels}
    return frozenset(
        index
        for index, channel in enumerate(region.channels)
        if (channel.frequency_hz, _width_hz(region, channel.data_rates)) in places
    )


def _width_hz(region: Region, data_rates: range) -> int:
    modulation = region.data_rates[data_rates[0]]
    return modulation.bandwidth_hz if isinstance(modulation, Lora) else CHANNEL_WIDTH_HZ


def _beyond(region: Region, heard: ChannelPlan) -> tuple[int, ...]:
    """What is heard beyond the region's own, for all spreading factors, where devices may send; as many as fit."""
    own = {channel.frequency_hz for channel in region.channels}
    found = (
        channel.frequency_hz
        for channel in heard.channels
        if channel.bandwidth_hz == CHANNEL_WIDTH_HZ and len(channel.spreading_factors) > 1
    )
    lawful = (hz for hz in found if hz not in own and region.sub_band(hz, CHANNEL_WIDTH_HZ) is not None)
    return tuple(dict.fromkeys(lawful))[:CF_LIST_FREQUENCIES]


def unheard_words(region: Region, heard: ChannelPlan) -> str:
    """Which channels devices of this gateway send on all the same, because every device of the region has them."""
    if region.fixed_plan:
        return ""
    deaf = sorted({region.channels[at].frequency_hz for at in region.join_channels} - _frequencies(heard))
    if not deaf:
        return ""
    return f"devices that join here also send on {', '.join(f'{hz / 1e6:g}' for hz in deaf)} MHz, which is not heard"


def _frequencies(heard: ChannelPlan) -> set[int]:
    return {channel.frequency_hz for channel in heard.channels if channel.bandwidth_hz == CHANNEL_WIDTH_HZ}


def gps_time_us(frame: RadioFrame) -> int | None:
    """When a frame ended, in microseconds since 1980-01-06 without leap seconds; None when nobody knows well enough."""
    if frame.gps_time_us is not None:
        return frame.gps_time_us
    heard = frame.heard
    if heard.quality not in _TOLD or heard.uncertainty_ms is None or heard.uncertainty_ms > _MOST_UNCERTAIN_MS:
        return None
    return heard.utc_us - (GPS_EPOCH_S - GPS_LEAP_S) * 1_000_000
