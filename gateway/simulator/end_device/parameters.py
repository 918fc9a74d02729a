"""What a network can set in a device, and what the region's plan makes of it.

Numbers of sections are those of RP002-1.0.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.model import Lora, MacVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.regions.region import ReceiveWindow, Region

SPREADING_FACTORS = range(7, 13)
"""What these devices' radios do; SF5 and SF6 came later (RP002-1.0.5), FSK and LR-FHSS are left to others."""


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

    def with_channel(self, index: int, channel: DeviceChannel | None) -> Parameters:
        """With this channel defined and in use, or without it."""
        others = {n: known for n, known in self.channels.items() if n != index}
        if channel is None:
            return replace(self, channels=MappingProxyType(others), enabled=self.enabled - {index})
        return replace(self, channels=MappingProxyType({**others, index: channel}), enabled=self.enabled | {index})


@dataclass(frozen=True, slots=True)
class Radio:
    """What the plan allows a device of it, in the words that a device needs."""

    region: Region
    data_rates: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = (dr for dr, modulation in sorted(self.region.data_rates.items()) if _can_send(modulation))
        object.__setattr__(self, "data_rates", tuple(known))

    def lora(self, data_rate: int) -> Lora:
        """The modulation of an uplink data rate that the device has."""
        modulation = self.region.data_rates[data_rate]
        assert isinstance(modulation, Lora)
        return modulation

    def listens_with(self, data_rate: int) -> Lora | None:
        """The modulation of a downlink data rate; None where it is none that the device can receive."""
        modulation = self.region.downlink_data_rates.get(data_rate)
        return modulation if isinstance(modulation, Lora) and _can_send(modulation) else None

    def usable(self, parameters: Parameters, data_rate: int, enabled: frozenset[int] | None = None) -> bool:
        """Whether the device can send with it now: it knows it, a channel carries it, a frame fits the dwell time."""
        room = self.region.max_payload(data_rate, downlink=False, dwell=parameters.uplink_dwell)
        return data_rate in self.data_rates and room is not None and bool(parameters.carrying(data_rate, enabled))

    def next_slower(self, parameters: Parameters) -> int | None:
        """The next data rate that reaches further; None at the end. Never one of a wider channel (500 kHz)."""
        width_hz = self.lora(parameters.data_rate).bandwidth_hz
        slower = [
            dr
            for dr in self.data_rates
            if dr < parameters.data_rate
            and self.lora(dr).bandwidth_hz <= width_hz
            and self.usable(parameters, dr, frozenset(parameters.channels))
        ]
        return max(slower, default=None)

    def with_cf_list(self, parameters: Parameters, cf_list: bytes, version: MacVersion) -> Parameters | str:
        """With the channels of a join accept, or what is wrong with them."""
        region, listed = self.region, self.region.read_cf_list(cf_list)
        if listed is None:
            return f"a CFList that {region.name} does not have: {cf_list.hex()}"
        if listed.enabled is not None:
            if version < MacVersion.V1_0_3:
                return f"a CFList of channel masks, which a device of {version} does not know"
            return replace(parameters, enabled=listed.enabled) if listed.enabled else "a CFList without any channel"
        for index, frequency_hz in enumerate(listed.frequencies_hz or (), start=len(region.channels)):
            if frequency_hz and not region.lowest_hz <= frequency_hz <= region.highest_hz:
                return f"a CFList with {frequency_hz} Hz, which is outside {region.name}"
            if frequency_hz:
                channel = DeviceChannel(frequency_hz, region.channels[0].data_rates)
                parameters = parameters.with_channel(index, channel)
        return parameters

    def room(self, parameters: Parameters) -> int:
        """The most bytes of FRMPayload with empty FOpts at the present data rate."""
        room = self.region.max_payload(parameters.data_rate, downlink=False, dwell=parameters.uplink_dwell)
        return 0 if room is None else room


def _can_send(modulation: object) -> bool:
    return isinstance(modulation, Lora) and modulation.spreading_factor in SPREADING_FACTORS
