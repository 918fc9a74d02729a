"""What this network wants of its devices, beyond what every device of the region does by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan.mac_state import NamedChannel
from gateway.lorawan.requests import Wanted, wanted_by
from gateway.model import TimeQuality
from gateway.wire.semtech_udp import GPS_EPOCH_S, GPS_LEAP_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import RadioFrame
    from gateway.regions.region import Region

DEV_STATUS_EVERY = 100
"""Uplinks between two questions for the battery: every few days for a container, every few weeks for a meter."""

USUAL_EXTRA_HZ = {"EU868": (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)}
"""What gateways of eight channels listen to beyond the channels of the plan: the sample settings of Semtech's packet
forwarder (sx1302_hal 2.1.0, global_conf.json.sx1250.EU868) and all public networks of the region."""

_TOLD = frozenset({TimeQuality.NTP, TimeQuality.GPS})
_MOST_UNCERTAIN_MS = 100
"""DeviceTimeAns is to be right within 100 ms (TS001-1.0.4, 5.13)."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """What devices are asked to have, and what a join accept tells them of it."""

    wanted: Wanted
    cf_list: bytes


def network_plan(
    region: Region, extra_channels_hz: Sequence[int] | None, rx2_data_rate: int | None = None
) -> NetworkPlan:
    """The plan with these channels beyond those of the region, the usual ones for None, and this data rate in RX2.

    ValueError for a frequency outside the region, for more than five, and for a region whose channels are fixed.
    """
    extra = USUAL_EXTRA_HZ.get(region.name, ()) if extra_channels_hz is None else tuple(extra_channels_hz)
    wanted = replace(wanted_by(region), dev_status_every=DEV_STATUS_EVERY)
    if rx2_data_rate is not None:
        wanted = replace(wanted, rx=wanted.rx._replace(rx2_data_rate=rx2_data_rate))
    cf_list = region.cf_list(extra) if extra else None
    if cf_list is None:
        return NetworkPlan(wanted, b"")
    rates, first = region.channels[0].data_rates, len(region.channels)
    channels = tuple(NamedChannel(first + at, hz, rates[0], rates[-1]) for at, hz in enumerate(extra))
    enabled = wanted.enabled | {channel.ch_index for channel in channels}
    return NetworkPlan(replace(wanted, channels=channels, enabled=enabled), cf_list)


def gps_time_us(frame: RadioFrame) -> int | None:
    """When a frame ended, in microseconds since 1980-01-06 without leap seconds; None when nobody knows well enough."""
    if frame.gps_time_us is not None:
        return frame.gps_time_us
    heard = frame.heard
    if heard.quality not in _TOLD or heard.uncertainty_ms is None or heard.uncertainty_ms > _MOST_UNCERTAIN_MS:
        return None
    return heard.utc_us - (GPS_EPOCH_S - GPS_LEAP_S) * 1_000_000
