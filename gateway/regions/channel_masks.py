"""Channel masks: what the ChMaskCntl and ChMask of a LinkADRReq mean in a plan, and which of them lead to a set.

The commands of one block are taken together: an intermediate state may have no channel left, or one that is not
defined; only the last one counts (LoRaWAN 1.0.4, section 5.3; 1.1, section 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass

MASK_BITS = 16


@dataclass(frozen=True, slots=True)
class ChannelMasks:
    """The ChMaskCntl table of a plan. Every value of 0 to 7 that is in none of the fields is reserved."""

    banks: tuple[range, ...]  # ChMaskCntl n gives each of these channels its bit; further bits are reserved
    all_on: int | None = None  # this ChMaskCntl turns every defined channel on,
    all_off: int | None = None  # this one every channel off;
    rest: range = range(0)  # except these, which then have the bits of the mask
    blocks_of_8: int | None = None  # bit n of this one is for the channels 8n … 8n+7 and for the nth of `rest`

    @property
    def size(self) -> int:
        """How many channels have a bit."""
        return sum(len(bank) for bank in self.banks)

    def masked(
        self, enabled: frozenset[int], defined: frozenset[int], ch_mask_cntl: int, ch_mask: int
    ) -> frozenset[int] | None:
        """The channels that are on after one command; None when its ChMaskCntl is reserved.

        The answer may be empty and may hold channels that are not `defined`: the whole block decides (`after`).
        """
        if ch_mask_cntl == self.all_on:
            return (defined - frozenset(self.rest)) | _named(self.rest, ch_mask)
        if ch_mask_cntl == self.all_off:
            return _named(self.rest, ch_mask)
        if ch_mask_cntl == self.blocks_of_8:
            return self._blocks(ch_mask)
        if 0 <= ch_mask_cntl < len(self.banks):
            bank = self.banks[ch_mask_cntl]
            return (enabled - frozenset(bank)) | _named(bank, ch_mask)
        return None

    def after(
        self, enabled: frozenset[int], defined: frozenset[int], blocks: tuple[tuple[int, int], ...]
    ) -> frozenset[int] | None:
        """The channels that are on after a block of commands; None when a device has to refuse the whole of it.

        It refuses a reserved ChMaskCntl, a channel that is not defined, and to be left without any channel.
        """
        for ch_mask_cntl, ch_mask in blocks:
            masked = self.masked(enabled, defined, ch_mask_cntl, ch_mask)
            if masked is None:
                return None
            enabled = masked
        return enabled if enabled and enabled <= defined else None

    def blocks_to(self, wanted: frozenset[int]) -> tuple[tuple[int, int], ...]:
        """The fewest (ChMaskCntl, ChMask) that lead to exactly these channels, whatever was on before.

        ValueError when no channel is wanted or one has no bit. Never with `blocks_of_8`: devices disagree about whether
        it moves the 500 kHz channel as well, and naming that one again costs what it saves.
        """
        if not wanted:
            raise ValueError("a device cannot be left without channels")
        if strangers := sorted(wanted.difference(*self.banks)):
            raise ValueError(f"no channel mask of this plan has the channel {strangers[0]}")
        bits = [_bits(bank, wanted) for bank in self.banks]
        ways = [tuple(enumerate(bits))]
        for first, filled in ((self.all_on, True), (self.all_off, False)):
            if first is not None and len(self.banks) > 1:
                others = tuple(
                    (cntl, mask)
                    for cntl, (bank, mask) in enumerate(zip(self.banks, bits, strict=True))
                    if bank != self.rest and mask != ((1 << len(bank)) - 1 if filled else 0)
                )
                ways.append(((first, _bits(self.rest, wanted)), *others))
        return min(ways, key=len)

    def _blocks(self, ch_mask: int) -> frozenset[int]:
        chosen = [block for block in range(len(self.rest)) if ch_mask >> block & 1]
        narrow = {channel for block in chosen for channel in range(8 * block, 8 * block + 8)}
        return frozenset(narrow | {self.rest[block] for block in chosen})


def _named(channels: range, ch_mask: int) -> frozenset[int]:
    return frozenset(channel for bit, channel in enumerate(channels) if ch_mask >> bit & 1)


def _bits(channels: range, wanted: frozenset[int]) -> int:
    return sum(1 << bit for bit, channel in enumerate(channels) if channel in wanted)


def banks_of_16(count: int) -> tuple[range, ...]:
    """The banks of a plan with this many channels."""
    return tuple(range(first, min(first + MASK_BITS, count)) for first in range(0, count, MASK_BITS))


DYNAMIC = ChannelMasks(banks=(range(16),), all_on=6)
"""Every plan whose channels a network names: ChMaskCntl 0, and 6 for all that are defined.

A device may have more than sixteen channels since RP002-1.0.2, and then 1 to 5 mean something; this network never names
more, and devices with sixteen refuse them.
"""

SEVENTY_TWO = ChannelMasks(banks_of_16(72), all_on=6, all_off=7, rest=range(64, 72), blocks_of_8=5)
"""US915 and AU915: ChMaskCntl 6 and 7 turn the 125 kHz channels on and off and have a bit for each wide one."""
