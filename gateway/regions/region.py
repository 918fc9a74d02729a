"""What a channel plan says: channels, data rates, windows, powers and the law, by the numbers LoRaWAN knows them by.

A plan is a table, one file each; what can be asked of every plan is here. Section numbers without another name are
those of RP002-1.0.4, LoRaWAN Regional Parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from gateway.model import Fsk, Lora, LrFhss
from gateway.regions import cf_lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import Modulation
    from gateway.regions.cf_lists import CfList
    from gateway.regions.channel_masks import ChannelMasks

CHANNEL_WIDTH_HZ = 125_000
"""The narrowest LoRa channel in use: two channels of a plan are never closer to each other."""

ERP_TO_EIRP_DB = 2.15
"""The gain of a half-wave dipole: a law that limits e.r.p. allows this much more as EIRP."""

TX_POWER_STEP_DB = 2.0
"""TXPower n of every plan is 2n dB below the device's most."""

DWELL_LIMIT_US = 400_000
"""How long one transmission may last where a dwell time is in force (TxParamSetupReq: 400 ms)."""


@dataclass(frozen=True, slots=True)
class Channel:
    """An uplink channel that every device of the region has."""

    frequency_hz: int
    data_rates: range  # the indexes a device may use on it


@dataclass(frozen=True, slots=True)
class ReceiveWindow:
    """Where and how a device listens; `data_rate` is an index of the downlink table."""

    frequency_hz: int
    data_rate: int


@dataclass(frozen=True, slots=True)
class PayloadSizes:
    """N of RP002 by data rate: the most bytes of FRMPayload with empty FOpts (M - 8); None: not to be used.

    MACPayload may have 8 bytes more: FHDR without FOpts, and FPort.
    """

    direct: tuple[int | None, ...]  # when no repeater stands between device and gateway
    repeater: tuple[int | None, ...]  # when one may: it needs 20 bytes itself


@dataclass(frozen=True, slots=True)
class Listening:
    """Carrier sense, "listen before talk": this long before each transmission nothing louder than this was heard."""

    duration_us: int
    threshold_dbm: float


@dataclass(frozen=True, slots=True)
class SubBand:
    """A stretch of spectrum in which the law has one set of limits. A transmission lies inside with all its width."""

    name: str
    lowest_hz: int
    highest_hz: int
    max_eirp_dbm: float  # of a gateway
    duty_cycle: Fraction | None = None  # of any hour, for all transmissions of one station in this band together
    max_dwell_us: int | None = None  # the longest single transmission
    device_max_eirp_dbm: float | None = None  # where devices are held to less than gateways
    listening: Listening | None = None  # where the law asks for it before each transmission
    min_bandwidth_hz: int = 0  # narrower transmissions are under other limits

    def holds(self, frequency_hz: int, bandwidth_hz: int) -> bool:
        """Whether these are the limits of a transmission of this width: all of it lies inside."""
        return (
            self.min_bandwidth_hz <= bandwidth_hz
            and self.lowest_hz <= frequency_hz - bandwidth_hz / 2
            and frequency_hz + bandwidth_hz / 2 <= self.highest_hz
        )


@dataclass(frozen=True, slots=True)
class Region:
    """A channel plan of RP002. Indexes are those of TxDr and TxCh, NewChannelReq and LinkADRReq."""

    name: str
    lowest_hz: int
    highest_hz: int
    data_rates: Mapping[int, Modulation]  # up
    channels: tuple[Channel, ...]  # by index
    channels_max: int  # how many a device can have; a network gives the further ones their frequencies
    fixed_plan: bool  # a channel is its index (US915, AU915, CN470); elsewhere networks name frequencies
    downlink_data_rates: Mapping[int, Lora | Fsk]
    join_data_rates: Mapping[int, range]  # by the channels on which join requests are sent
    adr_data_rates: range  # what an ADR may choose from without knowing more of a device
    rx1_data_rates: Mapping[int, tuple[int, ...]]  # by uplink data rate: the downlink data rate for each RX1DROffset
    rx2: ReceiveWindow
    sizes: PayloadSizes
    max_eirp_dbm: float  # TXPower 0 of a device that says nothing else
    tx_power_max: int  # the highest TXPower that is not reserved
    sub_bands: tuple[SubBand, ...]
    masks: ChannelMasks
    rx1_frequencies_hz: tuple[int, ...] = ()  # fixed plans: the downlink of channel n is the (n mod length)th
    # Where the windows depend on the channel of the join request (CN470), by that channel:
    join_rx1_hz: Mapping[int, int] | None = None  # RX1 of the join accept, where it is not that of any uplink
    rx2_by_join_channel: Mapping[int, ReceiveWindow] | None = None  # RX2, from the join accept on
    gateway_eirp_dbm: float | None = None  # what gateways of this plan send with where the law would allow more
    rx1_dwell_data_rates: Mapping[int, tuple[int, ...]] | None = None  # with DownlinkDwellTime 1
    dwell_sizes: PayloadSizes | None = None  # with a dwell time in force
    tx_param_setup: bool = False  # devices of this plan understand TxParamSetupReq
    uplink_dwell: bool = False  # devices keep to the dwell time until a TxParamSetupReq says otherwise
    # Section 2.3, the same for all plans.
    receive_delay1_us: int = 1_000_000
    join_accept_delay1_us: int = 5_000_000
    receive_delay2_after_1_us: int = 1_000_000  # RX2 opens this long after RX1, also for a join accept
    max_f_cnt_gap: int = 16_384  # LoRaWAN before 1.0.4
    adr_ack_limit: int = 64
    adr_ack_delay: int = 32
    retransmit_timeout_us: tuple[int, int] = (1_000_000, 3_000_000)  # between these, by chance
    class_b_resp_timeout_us: int = 8_000_000
    class_c_resp_timeout_us: int = 8_000_000

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The frequencies of a fixed plan's channels of 125 kHz, eight at a time: what one gateway hears.

        The first is block 1 of the settings (`radio.block`). Empty where the network names the channels.
        """
        if not self.fixed_plan:
            return ()
        narrow = [channel.frequency_hz for channel in self.channels if not self._is_wide(channel)]
        return tuple(tuple(narrow[at : at + 8]) for at in range(0, len(narrow), 8))

    def _is_wide(self, channel: Channel) -> bool:
        modulation = self.data_rates[channel.data_rates[0]]
        return isinstance(modulation, Lora) and modulation.bandwidth_hz == 500_000

    # --- what was heard ----------------------------------------------------------------------------------------------

    def data_rate_index(self, modulation: Modulation) -> int | None:
        """The index of the data rate sent with this modulation; None where the plan has no such data rate."""
        for index, known in self.data_rates.items():
            if _same_data_rate(known, modulation):
                return index
        return None

    def channel_of(self, frequency_hz: int) -> int | None:
        """The channel every device has nearest to this frequency, half a channel from what was measured at most."""
        near, off_hz = None, CHANNEL_WIDTH_HZ // 2
        for index, channel in enumerate(self.channels):
            if abs(channel.frequency_hz - frequency_hz) < off_hz:
                near, off_hz = index, abs(channel.frequency_hz - frequency_hz)
        return near

    def channel_candidates(self, frequency_hz: int) -> tuple[int, ...]:
        """The indexes a device may know this frequency by, the likely one first.

        A channel every device has is looked up, within half a channel of what the receiver measured. The indexes that
        a network fills as it likes follow, also then: some networks name a frequency twice, for other data rates.
        """
        known = self.channel_of(frequency_hz)
        named = () if known is None else (known,)
        return (*named, *range(len(self.channels), self.channels_max))

    # --- joining -----------------------------------------------------------------------------------------------------

    @property
    def join_channels(self) -> tuple[int, ...]:
        """The channels on which devices send join requests."""
        return tuple(self.join_data_rates)

    def cf_list(self, frequencies_hz: Sequence[int] = (), enabled: frozenset[int] | None = None) -> bytes | None:
        """The CFList of a join accept, sixteen bytes with its type; None when there is nothing to say.

        A plan whose channels the network names takes up to five frequencies, for the channels after the default ones; 0
        leaves one out. A fixed plan takes the channels that stay on. ValueError for the other kind, for a frequency on
        which nobody may send and for a channel it does not have. Devices before LoRaWAN 1.0.3 know no masks there.
        """
        if self.fixed_plan:
            if frequencies_hz:
                raise ValueError(f"{self.name} has fixed channels, a CFList cannot name frequencies")
            return None if enabled is None else self._mask_list(enabled)
        if enabled is not None:
            raise ValueError(f"{self.name} takes a CFList of frequencies, not of channel masks")
        if not any(frequencies_hz):
            return None
        for hz in frequencies_hz:
            if hz and self.sub_band(hz, CHANNEL_WIDTH_HZ) is None:
                raise ValueError(f"{hz} Hz is outside of every band of {self.name}")
        return cf_lists.frequency_list(frequencies_hz)

    def _mask_list(self, enabled: frozenset[int]) -> bytes:
        if not enabled or not enabled <= frozenset(range(len(self.channels))):
            raise ValueError(f"{self.name} has the channels 0 to {len(self.channels) - 1}, and one must stay on")
        return cf_lists.mask_list(enabled)

    def read_cf_list(self, cf_list: bytes) -> CfList | None:
        """What a CFList says to a device of this plan; None when it is not one, or of a type this plan does not take.

        Trailing frequencies of 0 are left out, and bits of channels that the plan does not have. A list of masks
        without any bit leaves all channels on.
        """
        listed = cf_lists.read(cf_list)
        if listed is None or (listed.enabled is not None) != self.fixed_plan:
            return None
        if listed.enabled is None:
            return listed
        everything = frozenset(range(len(self.channels)))
        return cf_lists.CfList(enabled=listed.enabled & everything or everything)

    # --- the windows after an uplink ---------------------------------------------------------------------------------

    @property
    def rx1_offset_max(self) -> int:
        """The highest RX1DROffset that is not reserved."""
        return max((len(row) for row in self.rx1_data_rates.values()), default=1) - 1

    def rx1(self, uplink_hz: int, uplink_dr: int, offset: int, *, dwell: bool = False) -> ReceiveWindow:
        """Where a device listens first after an uplink; `dwell` is its DownlinkDwellTime.

        Only the plan: what DlChannelReq set for a channel is the session's. ValueError for a data rate the plan does
        not have, a reserved offset, and in a fixed plan for a frequency that is no channel.
        """
        rows = self.rx1_dwell_data_rates if dwell and self.rx1_dwell_data_rates is not None else self.rx1_data_rates
        row = rows.get(uplink_dr)
        if row is None:
            raise ValueError(f"{self.name} has no uplink data rate {uplink_dr}")
        if not 0 <= offset < len(row):
            raise ValueError(f"RX1DROffset {offset} is reserved in {self.name}, which has 0 to {len(row) - 1}")
        return ReceiveWindow(self._rx1_frequency(uplink_hz), row[offset])

    def _rx1_frequency(self, uplink_hz: int) -> int:
        if not self.rx1_frequencies_hz:
            return uplink_hz
        channel = self.channel_of(uplink_hz)
        if channel is None:
            raise ValueError(f"{uplink_hz} Hz is no channel of {self.name}")
        return self.rx1_frequencies_hz[channel % len(self.rx1_frequencies_hz)]

    def join_rx1(self, join_hz: int, join_dr: int) -> ReceiveWindow:
        """Where a device listens first for the join accept. ValueError as for `rx1`."""
        window = self.rx1(join_hz, join_dr, 0)
        channel = self.channel_of(join_hz)
        if self.join_rx1_hz is None or channel is None or channel not in self.join_rx1_hz:
            return window
        return ReceiveWindow(self.join_rx1_hz[channel], window.data_rate)

    def rx2_after_join(self, join_hz: int) -> ReceiveWindow:
        """Where a device listens second once it sent a join request at this frequency, also for the join accept.

        Almost everywhere it is `rx2`, which is also that of a device that never joined.
        """
        channel = self.channel_of(join_hz)
        if self.rx2_by_join_channel is None or channel is None:
            return self.rx2
        return self.rx2_by_join_channel.get(channel, self.rx2)

    def max_payload(self, data_rate: int, *, downlink: bool, repeater: bool = False, dwell: bool = False) -> int | None:
        """N: the most bytes of FRMPayload with empty FOpts; None when the data rate is not to be used.

        FOpts take their length from it. `dwell`: a dwell time is in force in this direction.
        """
        if data_rate not in (self.downlink_data_rates if downlink else self.data_rates):
            return None
        sizes = self.dwell_sizes if dwell and self.dwell_sizes is not None else self.sizes
        by_data_rate = sizes.repeater if repeater else sizes.direct
        return by_data_rate[data_rate] if data_rate < len(by_data_rate) else None

    # --- power and law -----------------------------------------------------------------------------------------------

    def eirp_dbm(self, tx_power: int, max_eirp_dbm: float | None = None) -> float | None:
        """The power a device sends with under this TXPower; None when the index is reserved (15 means no change).

        `max_eirp_dbm`: the device's own most, from TxParamSetupReq or from its maker.
        """
        if not 0 <= tx_power <= self.tx_power_max:
            return None
        return (self.max_eirp_dbm if max_eirp_dbm is None else max_eirp_dbm) - TX_POWER_STEP_DB * tx_power

    def sub_band(self, frequency_hz: int, bandwidth_hz: int) -> SubBand | None:
        """The limits for a transmission of this width; None: outside of every band, it must not be sent."""
        for band in self.sub_bands:
            if band.holds(frequency_hz, bandwidth_hz):
                return band
        return None

    def downlink_eirp_dbm(self, frequency_hz: int, bandwidth_hz: int = CHANNEL_WIDTH_HZ) -> float | None:
        """The power of a downlink when nothing else is said; None where a gateway may not send."""
        band = self.sub_band(frequency_hz, bandwidth_hz)
        if band is None:
            return None
        return band.max_eirp_dbm if self.gateway_eirp_dbm is None else min(band.max_eirp_dbm, self.gateway_eirp_dbm)

    def downlink_frequency_ok(self, frequency_hz: int, bandwidth_hz: int = CHANNEL_WIDTH_HZ) -> bool:
        """Whether a gateway may send here at all, and so whether a device may be told to listen here."""
        return self.sub_band(frequency_hz, bandwidth_hz) is not None

    # --- channel masks -----------------------------------------------------------------------------------------------

    def masked(
        self, enabled: frozenset[int], defined: frozenset[int], ch_mask_cntl: int, ch_mask: int
    ) -> frozenset[int] | None:
        """The channels that are on after one LinkADRReq; None when its ChMaskCntl is reserved.

        It may be empty or hold channels not defined: a device judges a whole block of commands (`masked_by`).
        """
        return self.masks.masked(enabled, defined, ch_mask_cntl, ch_mask)

    def masked_by(
        self, enabled: frozenset[int], defined: frozenset[int], blocks: tuple[tuple[int, int], ...]
    ) -> frozenset[int] | None:
        """The channels that are on after a block of (ChMaskCntl, ChMask); None when a device must refuse the block."""
        return self.masks.after(enabled, defined, blocks)

    def mask_blocks(self, wanted: frozenset[int]) -> tuple[tuple[int, int], ...]:
        """The (ChMaskCntl, ChMask) that lead to exactly these channels from any state, as few as possible.

        ValueError when no channel is wanted, or one that the plan has not.
        """
        return self.masks.blocks_to(wanted)


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
