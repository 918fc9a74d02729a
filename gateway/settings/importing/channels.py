"""Which channel plan a concentrator was set to, by the frequencies it listens on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import Lora
from gateway.regions import REGIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.regions.region import Region

_PLANS = (
    "EU868", "US915", "AS923-1", "AS923-2", "AS923-3", "AS923-4", "AU915", "CN470", "KR920", "IN865", "RU864", "EU433",
    "CN779",
)  # fmt: skip
"""Where two fit, the first is meant more often. The variants of CN470 are by antenna, AS923-1-JP by law: no frequency
tells them from the plain ones."""

BLOCK = 8
"""A concentrator has eight channels for all spreading factors: a sub-band of a fixed plan."""


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """A region, and which part of it."""

    region: str
    extra_hz: tuple[int, ...] = ()  # channels beyond those that every device has, in rising order
    sub_band: int | None = None  # of a fixed plan: 0 for its first eight channels
    also: tuple[str, ...] = ()  # other regions that have these channels

    def __str__(self) -> str:
        block = "" if self.sub_band is None else f", channels {self.sub_band * BLOCK} to {self.sub_band * BLOCK + 7}"
        return f"{self.region}{block}"


def recognise(frequencies_hz: Iterable[int], service_bandwidth_hz: int | None = None) -> ChannelPlan | None:
    """The plan that has these channels of 125 kHz; None where none has them all.

    AU915's channels 40 to 47 are eight channels of AS923-1, too. The bandwidth of the service channel tells them apart:
    500 kHz in the one, 250 kHz in the other.
    """
    heard = frozenset(frequencies_hz)
    found = [plan for name in _PLANS if heard and (plan := _as_plan(REGIONS[name], heard))]
    if service_bandwidth_hz == 500_000:
        found.sort(key=lambda plan: plan.sub_band is None)
    if not found:
        return None
    first, *others = found
    wide_fits = service_bandwidth_hz is not None and (first.sub_band is None) == (service_bandwidth_hz != 500_000)
    return (
        first
        if wide_fits
        else ChannelPlan(first.region, first.extra_hz, first.sub_band, tuple(plan.region for plan in others))
    )


def _as_plan(region: Region, heard: frozenset[int]) -> ChannelPlan | None:
    known = _narrow(region)
    if region.fixed_plan:
        if not heard <= known.keys():
            return None
        blocks = {known[hz] // BLOCK for hz in heard}
        return ChannelPlan(region.name, sub_band=blocks.pop() if len(blocks) == 1 else None)
    if not known.keys() <= heard or not all(region.lowest_hz <= hz <= region.highest_hz for hz in heard):
        return None
    return ChannelPlan(region.name, tuple(sorted(heard - known.keys())))


def _narrow(region: Region) -> dict[int, int]:
    """Channels of 125 kHz by frequency."""
    return {
        channel.frequency_hz: index
        for index, channel in enumerate(region.channels)
        if isinstance(rate := region.data_rates[channel.data_rates[0]], Lora) and rate.bandwidth_hz == 125_000
    }


def named_by_chirpstack(name: str) -> tuple[str, int | None] | None:
    """Region and sub-band of `eu868`, `us915_1`, `AS923_2`, `cn470_10`: ChirpStack's names of region configurations."""
    head, _, tail = name.strip().lower().partition("_")
    if head == "as923" and tail in {"2", "3", "4"}:
        return f"AS923-{tail}", None
    region = {"as923": "AS923-1", "us902": "US915"}.get(head, head.upper())
    plan = REGIONS.get(region)
    if plan is None or (tail and not (tail.isascii() and tail.isdigit() and len(tail) < 3)):
        return None
    if tail and int(tail) >= len(plan.blocks):
        return None
    return region, int(tail) if tail else None
