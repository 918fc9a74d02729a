"""What a channel plan says: data rates and channels by the index that LoRaWAN knows them by."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.model import Fsk, Lora, LrFhss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Modulation

CHANNEL_WIDTH_HZ = 125_000
"""The narrowest LoRa channel in use: two channels of a plan are never closer to each other."""


@dataclass(frozen=True, slots=True)
class Channel:
    """An uplink channel that every device of the region has."""

    frequency_hz: int
    data_rates: range  # the indexes a device may use on it


@dataclass(frozen=True, slots=True)
class Region:
    """A channel plan of RP002. Indexes are those of TxDr and TxCh, NewChannelReq and LinkADRReq."""

    name: str
    lowest_hz: int
    highest_hz: int
    data_rates: Mapping[int, Modulation]
    channels: tuple[Channel, ...]  # by index
    channels_max: int  # how many a device can have; a network gives the further ones their frequencies

    def data_rate_index(self, modulation: Modulation) -> int | None:
        """The index of the data rate sent with this modulation; None where the plan has no such data rate."""
        for index, known in self.data_rates.items():
            if _same_data_rate(known, modulation):
                return index
        return None

    def channel_candidates(self, frequency_hz: int) -> tuple[int, ...]:
        """The indexes a device may know this frequency by, the likely one first.

        A channel every device has is looked up, within half a channel of what the receiver measured. The indexes that
        a network fills as it likes follow, also then: some networks name a frequency twice, for other data rates.
        """
        named = [
            index
            for index, channel in enumerate(self.channels)
            if abs(channel.frequency_hz - frequency_hz) < CHANNEL_WIDTH_HZ // 2
        ]
        return (*named, *range(len(self.channels), self.channels_max))


def _same_data_rate(known: Modulation, heard: Modulation) -> bool:
    match known, heard:
        case Lora(), Lora():
            return (known.spreading_factor, known.bandwidth_hz) == (heard.spreading_factor, heard.bandwidth_hz)
        case Fsk(), Fsk():
            return known.bit_rate == heard.bit_rate
        case LrFhss(), LrFhss():
            return known.operating_channel_width_hz == heard.operating_channel_width_hz and _same_rate(
                known.coding_rate, heard.coding_rate
            )
        case _:
            return False


def _same_rate(known: str, heard: str) -> bool:
    """Whether two spellings name one coding rate: the rate 1/3 is also written 2/6."""
    try:
        return Fraction(known) == Fraction(heard)
    except (ValueError, ZeroDivisionError):
        return False
