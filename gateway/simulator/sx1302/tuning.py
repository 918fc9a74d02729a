"""What the concentrator is tuned to, read from its registers: a driver may change any of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.simulator.sx1302 import registers
from gateway.simulator.sx1302.registers import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Lora

SERVICE_CHANNEL = 8
_IF_STEP_HZ = 15_625 / 32

CAPTURED = 0.25
"""How far off a demodulator finds a signal, in parts of the bandwidth (SX1276 datasheet, 4.1.1.5: ±25 %)."""


@dataclass(frozen=True, slots=True)
class RxChannel:
    """One channel a demodulator listens on."""

    number: int  # 0 to 7, 8 is the service channel
    frequency_hz: float  # what the registers make of it: up to 488 Hz beside what was meant
    rf_chain: int
    bandwidth_hz: int
    spreading_factors: frozenset[int]

    def finds(self, frequency_hz: float, lora: Lora) -> bool:
        """Whether a signal there is one for this channel."""
        return (
            lora.bandwidth_hz == self.bandwidth_hz
            and lora.spreading_factor in self.spreading_factors
            and abs(frequency_hz - self.frequency_hz) <= CAPTURED * self.bandwidth_hz
        )


def rx_channels(memory: bytearray, radios_hz: Sequence[float | None]) -> tuple[RxChannel, ...]:
    """The LoRa channels that are on, by the registers and the frequencies of the two radios.

    Only those with LoRaWAN's sync word: nobody here talks with another. SF5 and SF6 always use the private one.
    """
    enables = memory[registers.ENABLES]
    if not enables & 0x08:
        return ()
    found = []
    if enables & 0x02:
        found += [_multi_sf(memory, radios_hz, number) for number in range(8)]
    if enables & 0x01:
        found.append(_service(memory, radios_hz))
    return tuple(channel for channel in found if channel is not None and channel.spreading_factors)


def _multi_sf(memory: bytearray, radios_hz: Sequence[float | None], number: int) -> RxChannel | None:
    if not memory[registers.CORRELATORS] >> number & 1:
        return None
    chain = memory[registers.RADIO_SELECT] >> number & 1
    centre_hz = radios_hz[chain]
    if centre_hz is None:
        return None
    public = memory[registers.SYNC_PEAK_SF7_TO_12] & registers.SYNC_PEAK_BITS == registers.PUBLIC_SYNC_PEAK
    mask = memory[registers.CORRELATOR_SF]
    factors = frozenset(factor for factor in range(5, 13) if mask >> factor - 5 & 1 and (public or factor < 7))
    frequency_hz = centre_hz + _if_hz(memory, registers.IF_FREQUENCY + 2 * number)
    return RxChannel(number, frequency_hz, chain, 125_000, factors)


def _service(memory: bytearray, radios_hz: Sequence[float | None]) -> RxChannel | None:
    chain = memory[registers.SERVICE_RADIO] & 1
    centre_hz = radios_hz[chain]
    rate = memory[registers.SERVICE_RATE]
    bandwidth_hz = registers.LORA_BANDWIDTHS_HZ.get(rate >> 4)
    if centre_hz is None or bandwidth_hz is None:
        return None
    factor = rate & 0x0F
    public = memory[registers.SERVICE_SYNC_PEAK] & registers.SYNC_PEAK_BITS == registers.PUBLIC_SYNC_PEAK
    factors = frozenset({factor}) if public or factor < 7 else frozenset()
    return RxChannel(
        SERVICE_CHANNEL, centre_hz + _if_hz(memory, registers.SERVICE_IF), chain, bandwidth_hz, frozenset(factors)
    )


def _if_hz(memory: bytearray, address: int) -> float:
    """An intermediate frequency: 13 bits, signed."""
    value = whole(memory, address, 2) & 0x1FFF
    return (value - (1 << 13) if value & 1 << 12 else value) * _IF_STEP_HZ
