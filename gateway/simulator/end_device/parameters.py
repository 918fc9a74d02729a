"""What a network can set in a device, and what the region's plan makes of it.

Numbers of sections are those of RP002-1.0.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.model import Lora, MacVersion
from gateway.radio.airtime import airtime_us
from gateway.regions.region import CHANNEL_WIDTH_HZ

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.regions.region import ReceiveWindow, Region

SPREADING_FACTORS = range(7, 13)
"""What these devices' radios do; SF5 and SF6 came later (RP002-1.0.5), FSK and LR-FHSS are left to others."""


HEADER_SIZE = 13
"""MHDR, FHDR without FOpts, FPort and MIC."""

JOIN_REQUEST_SIZE = 23


@dataclass(frozen=True, slots=True)
class DeviceChannel:
    """An uplink channel as the device knows it."""

    frequency_hz: int
    data_rates: range
    rx1_frequency_hz: int | None = None  # from DlChannelReq; None: where the plan has it


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that MAC commands and join accepts change."""

    channels: Mapping[int, DeviceChannel]
    enabled: frozenset[int]
    data_rate: int
    rx1_delay_us: int
    rx2: ReceiveWindow
    adr_ack_limit: int
    adr_ack_delay: int
    uplink_dwell: bool
    downlink_dwell: bool
    tx_power: int = 0
    nb_trans: int = 1
    rx1_dr_offset: int = 0
    max_duty_cycle: int = 0  # 1/2**n of the time, over all bands
    max_eirp_dbm: float | None = None  # None: the plan's
    rejoin_every_frames: int | None = None  # from RejoinParamSetupReq
    rejoin_every_us: int | None = None

    @classmethod
    def of(cls, region: Region, data_rate: int) -> Parameters:
        """What the plan gives every device before a network says anything."""
        channels = {
            n: DeviceChannel(channel.frequency_hz, channel.data_rates) for n, channel in enumerate(region.channels)
        }
        return cls(
            channels=MappingProxyType(channels),
            enabled=frozenset(channels),
            data_rate=data_rate,
            rx1_delay_us=region.receive_delay1_us,
            rx2=region.rx2,
            adr_ack_limit=region.adr_ack_limit,
            adr_ack_delay=region.adr_ack_delay,
            uplink_dwell=region.uplink_dwell,
            downlink_dwell=region.uplink_dwell,
        )

    def carrying(self, data_rate: int, enabled: frozenset[int] | None = None) -> tuple[int, ...]:
        """The channels in use, or these, on which the data rate can be sent."""
        chosen = self.enabled if enabled is None else enabled
        return tuple(n for n in sorted(chosen) if n in self.channels and data_rate in self.channels[n].data_rates)

    def with_defaults(self, region: Region) -> Parameters:
        """With the channels in use that every device of the plan has."""
        return replace(self, enabled=self.enabled | frozenset(range(len(region.channels))))

    def with_channel(self, index: int, channel: DeviceChannel | None) -> Parameters:
        """With this channel defined and in use, or without it."""
        others = {n: known for n, known in self.channels.items() if n != index}
        if channel is None:
            return replace(self, channels=MappingProxyType(others), enabled=self.enabled - {index})
        return replace(self, channels=MappingProxyType({**others, index: channel}), enabled=self.enabled | {index})


class Radio:
    """What the plan allows a device of it, in the words that a device needs."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.data_rates = tuple(dr for dr, modulation in sorted(region.data_rates.items()) if _is_known(modulation))
        self._rooms: dict[tuple[int, int | None], int | None] = {}

    def lora(self, data_rate: int) -> Lora:
        """The modulation of an uplink data rate that the device has."""
        modulation = self.region.data_rates[data_rate]
        assert isinstance(modulation, Lora)
        return modulation

    def listens_with(self, data_rate: int) -> Lora | None:
        """The modulation of a downlink data rate; None where it is none that the device can receive."""
        modulation = self.region.downlink_data_rates.get(data_rate)
        return modulation if isinstance(modulation, Lora) and _is_known(modulation) else None

    def may_send(self, frequency_hz: int) -> bool:
        """Whether an uplink channel may lie there."""
        return self.region.sub_band(frequency_hz, CHANNEL_WIDTH_HZ) is not None

    def usable(self, parameters: Parameters, data_rate: int, enabled: frozenset[int] | None = None) -> bool:
        """Whether the device can send with it now: it knows it, a channel carries it, and frames fit the dwell time."""
        if data_rate not in self.data_rates or not parameters.carrying(data_rate, enabled):
            return False
        return self.room(replace(parameters, data_rate=data_rate)) is not None

    def nearest_usable(self, parameters: Parameters) -> Parameters:
        """With the data rate it has or, where no channel in use carries that, the next faster one; else the slowest."""
        rates = [dr for dr in self.data_rates if self.usable(parameters, dr)]
        wanted = next((dr for dr in rates if dr >= parameters.data_rate), min(rates, default=parameters.data_rate))
        return replace(parameters, data_rate=wanted)

    def next_slower(self, parameters: Parameters) -> int | None:
        """The next data rate that reaches further; None at the end. Never one of a wider channel (500 kHz)."""
        width_hz, everything = self.lora(parameters.data_rate).bandwidth_hz, frozenset(parameters.channels)
        slower = [
            dr
            for dr in self.data_rates
            if dr < parameters.data_rate
            and self.lora(dr).bandwidth_hz <= width_hz
            and self.usable(parameters, dr, everything)
        ]
        return max(slower, default=None)

    def room(self, parameters: Parameters) -> int | None:
        """The most bytes of FRMPayload with empty FOpts at the present data rate; None: it is not to be used."""
        data_rate, channels = parameters.data_rate, parameters.carrying(parameters.data_rate)
        most = self.region.max_payload(data_rate, downlink=False, dwell=parameters.uplink_dwell)
        limit_us = self._max_dwell_us(parameters.channels[channels[0]].frequency_hz, data_rate) if channels else None
        if most is None or limit_us is None:
            return most
        if (data_rate, most) not in self._rooms:
            sizes = range(most, -1, -1)
            fitting = (n for n in sizes if airtime_us(self.lora(data_rate), HEADER_SIZE + n) <= limit_us)
            self._rooms[data_rate, most] = next(fitting, None)
        return self._rooms[data_rate, most]

    def join_data_rates(self, channel: int) -> list[int]:
        """The data rates for a join request on this channel: those with which it ends in time."""
        frequency_hz = self.region.channels[channel].frequency_hz
        rates = []
        for dr in self.region.join_data_rates[channel]:
            limit_us = self._max_dwell_us(frequency_hz, dr) if dr in self.data_rates else 0
            if limit_us is None or airtime_us(self.lora(dr), JOIN_REQUEST_SIZE) <= limit_us:
                rates.append(dr)
        return rates

    def _max_dwell_us(self, frequency_hz: int, data_rate: int) -> int | None:
        band = self.region.sub_band(frequency_hz, self.lora(data_rate).bandwidth_hz)
        return None if band is None else band.max_dwell_us

    def with_cf_list(self, parameters: Parameters, cf_list: bytes, version: MacVersion) -> Parameters | str:
        """With the channels of a join accept, or what is wrong with them."""
        region, listed = self.region, self.region.read_cf_list(cf_list)
        if listed is None:
            return f"a CFList that {region.name} does not have: {cf_list.hex()}"
        if listed.enabled is not None:
            if version < MacVersion.V1_0_3:
                return f"a CFList of channel masks, which a device of {version} does not know"
            return replace(parameters, enabled=listed.enabled)
        for index, frequency_hz in enumerate(listed.frequencies_hz or (), start=len(region.channels)):
            if frequency_hz and not self.may_send(frequency_hz):
                return f"a CFList with {frequency_hz} Hz, where nobody may send in {region.name}"
            if frequency_hz:
                channel = DeviceChannel(frequency_hz, region.channels[0].data_rates)
                parameters = parameters.with_channel(index, channel)
        return parameters


def _is_known(modulation: object) -> bool:
    return isinstance(modulation, Lora) and modulation.spreading_factor in SPREADING_FACTORS
