"""The channels that a network server would have its gateway hear, however it writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class PlannedChannel:
    """One channel to hear on."""

    frequency_hz: int
    bandwidth_hz: int
    spreading_factors: range  # empty: FSK

    def __str__(self) -> str:
        """As people write it: `867.1`, and what is no usual channel with what it is: `868.3 (SF7, 250 kHz)`."""
        mhz = f"{self.frequency_hz / 1e6:g}"
        factors = self.spreading_factors
        if not factors:
            return f"{mhz} (FSK)"
        if len(factors) > 1 and self.bandwidth_hz == 125_000:
            return mhz
        span = f"SF{factors[0]}" if len(factors) == 1 else f"SF{factors[0]} to {factors[-1]}"
        return f"{mhz} ({span}, {self.bandwidth_hz // 1000} kHz)"


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """All of them, by frequency."""

    channels: tuple[PlannedChannel, ...]

    @classmethod
    def of(cls, channels: Iterable[PlannedChannel]) -> ChannelPlan:
        """These, in order; the order a server wrote them in means nothing."""
        return cls(tuple(sorted(channels, key=_place)))

    def hears(self, frequency_hz: int) -> bool:
        """Whether one of the channels lies there."""
        return any(abs(channel.frequency_hz - frequency_hz) * 2 < channel.bandwidth_hz for channel in self.channels)


def _place(channel: PlannedChannel) -> tuple[int, int, int]:
    return channel.frequency_hz, channel.bandwidth_hz, len(channel.spreading_factors)


def in_words(channels: Iterable[PlannedChannel]) -> str:
    """`867.1, 867.3 and 868.3 (SF7, 250 kHz) MHz`; empty for none."""
    *first, last = [str(channel) for channel in channels] or [""]
    if not last:
        return ""
    return f"{', '.join(first)} and {last} MHz" if first else f"{last} MHz"
