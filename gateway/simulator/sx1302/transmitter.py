"""The two transmit paths: from what the registers say to a frame on the air, and when it starts.

A path holds one frame. It starts at once, when the 32 MHz counter has the programmed value, or with the next pulse of
the GPS; the start delay is what passes from there to the first symbol. A time that has passed comes round again after
134 s, as on the real chip. FSK starts at its trigger: the driver programs no start delay for it.

Source: Semtech's sx1302_hal 2.1.0, `sx1302_send`, `sx1302_tx_status` and `sx1302_tx_set_start_delay`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.model import Fsk, Lora
from gateway.radio.airtime import airtime_us
from gateway.simulator.sx1302 import registers
from gateway.simulator.sx1302.registers import whole

if TYPE_CHECKING:
    from collections.abc import Callable

TICKS_PER_US = 32
TURN_TICKS = 1 << 32

_STEP_HZ = 32_000_000 / (1 << 18)
_FREE, _WAITING_COUNTER, _WAITING_PPS, _EMITTING = 0x80, 0x91, 0x92, 0x30
_ROUND_HZ = (100_000, 50_000, 25_000, 12_500, 10_000, 5_000, 2_500, 1_000, 500, 100)
_CODING = {1: "4/5", 2: "4/6", 3: "4/7", 4: "4/8"}


class Trigger(Enum):
    """What a transmission waits for; the value is its bit in the trigger register."""

    NOW = 0x01
    COUNTER = 0x02
    PPS = 0x04


class TxSource(IntEnum):
    """What modulates the carrier."""

    NOTHING = 0  # a continuous wave
    LORA = 1
    FSK = 2


class Clock(Protocol):
    """The counter that starts transmissions. Time is the simulation's, in microseconds."""

    def ticks(self, now_us: int) -> int | None:
        """The 32 MHz counter, without its turns; None while it stands."""
        ...

    def us(self, ticks: int) -> int:
        """When the counter has that value."""
        ...

    def next_pps_ticks(self, now_us: int) -> int | None:
        """The counter at the next pulse; None when there is none."""
        ...


class _Framed(NamedTuple):
    """What a modem makes of its registers and the payload buffer."""

    modulation: Lora | Fsk | None
    payload: bytes
    crc: bool
    implicit_header: bool
    preamble: int
    airtime_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """One programmed transmission."""

    rf_chain: int
    trigger: Trigger
    trigger_us: int | None  # None: what it waits for will not come
    start_us: int  # of the first symbol
    start_count_us: int  # the same on the driver's counter of 32 bits
    airtime_us: int | None  # None: until it is told to stop
    frequency_hz: int
    tuned_hz: float  # what the synthesizer makes of it
    modulation: Lora | Fsk | None  # None: a continuous wave
    payload: bytes
    power: int  # what stands in the power register: bit 6 amplifier, bits 5:0 index
    inverted: bool
    crc: bool
    implicit_header: bool
    preamble: int  # symbols, or bytes with FSK
    public: bool  # sync word

    @property
    def end_us(self) -> int | None:
        """When the antenna is free again."""
        return None if self.airtime_us is None else self.start_us + self.airtime_us


class Transmitter:
    """One path. `memory` are the chip's registers, `told` hears of every transmission that is triggered."""

    def __init__(self, rf_chain: int, memory: bytearray, clock: Clock, told: Callable[[Emission], None]) -> None:
        self.emission: Emission | None = None
        self._rf_chain = rf_chain
        self._base = registers.TX_BASE[rf_chain]
        self._buffer = registers.TX_BUFFER[rf_chain]
        self._memory = memory
        self._clock = clock
        self._told = told

    def triggered(self, old: int, new: int, now_us: int, *, able: bool) -> None:
        """The trigger register was written: a bit that appears starts, one that goes stops.

        Without `able` nothing drives the radio, and what is programmed waits for ever.
        """
        for trigger in Trigger:
            if old & trigger.value and not new & trigger.value:
                self.stop(trigger)
        for trigger in Trigger:
            if new & trigger.value and not old & trigger.value:
                self.emission = self._program(trigger, now_us, able=able)
                self._told(self.emission)
                return

    def stop(self, trigger: Trigger | None = None) -> None:
        """Forget what waits, fall silent."""
        if trigger is None or (self.emission is not None and self.emission.trigger is trigger):
            self.emission = None

    def status(self, now_us: int) -> int:
        """The word in the status register."""
        emission = self.emission
        if emission is None:
            return _FREE
        if emission.trigger_us is None or now_us < emission.trigger_us:
            return _WAITING_PPS if emission.trigger is Trigger.PPS else _WAITING_COUNTER
        return _EMITTING if emission.end_us is None or now_us < emission.end_us else _FREE

    def _program(self, trigger: Trigger, now_us: int, *, able: bool) -> Emission:
        memory, base = self._memory, self._base
        now_ticks = self._clock.ticks(now_us)
        fires_at = None if now_ticks is None or not able else self._fires_at(trigger, now_us, now_ticks)
        source = TxSource(min(memory[base + registers.TX_SOURCE] & 0x03, TxSource.FSK))
        delay = 0 if source is TxSource.FSK else whole(memory, base + registers.TX_START_DELAY, 2)
        start_ticks = (fires_at or 0) + delay
        tuned_hz = whole(memory, base + registers.TX_FREQUENCY, 3) * _STEP_HZ
        framed = {TxSource.LORA: self._lora, TxSource.FSK: self._fsk, TxSource.NOTHING: _carrier}[source]()
        chirp = memory[base + registers.TX_LORA_CHIRP]
        return Emission(
            rf_chain=self._rf_chain,
            trigger=trigger,
            trigger_us=None if fires_at is None else self._clock.us(fires_at),
            start_us=self._clock.us(start_ticks),
            start_count_us=start_ticks // TICKS_PER_US % (1 << 32),
            airtime_us=framed.airtime_us,
            frequency_hz=meant_hz(tuned_hz),
            tuned_hz=tuned_hz,
            modulation=framed.modulation,
            payload=framed.payload,
            power=memory[base + registers.TX_POWER],
            inverted=source is TxSource.LORA and bool(chirp & 0x02),
            crc=framed.crc,
            implicit_header=framed.implicit_header,
            preamble=framed.preamble,
            public=memory[base + registers.TX_LORA_SYNC_PEAK] & registers.SYNC_PEAK_BITS == registers.PUBLIC_SYNC_PEAK,
        )

    def _fires_at(self, trigger: Trigger, now_us: int, now_ticks: int) -> int | None:
        match trigger:
            case Trigger.NOW:
                return now_ticks
            case Trigger.COUNTER:
                programmed = whole(self._memory, self._base + registers.TX_TIMER, 4)
                return now_ticks + (programmed - now_ticks) % TURN_TICKS
            case Trigger.PPS:
                return self._clock.next_pps_ticks(now_us)

    def _lora(self) -> _Framed:
        memory, base = self._memory, self._base
        rate, options = memory[base + registers.TX_LORA_RATE], memory[base + registers.TX_LORA_OPTIONS]
        bandwidth_hz = registers.LORA_BANDWIDTHS_HZ.get(rate >> 4, 125_000)
        coding_rate = _CODING.get(memory[base + registers.TX_LORA_CODING] & 0x07, "4/5")
        lora = Lora(min(max(rate & 0x0F, 5), 12), bandwidth_hz, coding_rate)
        payload = bytes(memory[self._buffer : self._buffer + memory[base + registers.TX_LORA_LENGTH]])
        crc, implicit = bool(options & 0x01), bool(options & 0x02)
        low, high = memory[base + registers.TX_LORA_PREAMBLE : base + registers.TX_LORA_PREAMBLE + 2]
        preamble = high << 8 | low
        length_us = airtime_us(lora, len(payload), preamble=preamble, crc=crc, implicit_header=implicit)
        return _Framed(lora, payload, crc, implicit, preamble, length_us)

    def _fsk(self) -> _Framed:
        memory, base = self._memory, self._base
        divider = max(whole(memory, base + registers.TX_FSK_BIT_RATE, 2), 1)
        deviation_hz = meant_hz(whole(memory, base + registers.TX_FREQUENCY + 3, 2) * _STEP_HZ)
        fsk = Fsk(32_000_000 // divider, deviation_hz)
        length = memory[self._buffer]  # the first byte of the frame says how long the rest is
        payload = bytes(memory[self._buffer + 1 : self._buffer + 1 + length])
        crc = bool(memory[base + registers.TX_FSK_CONFIG] & 0x02)
        preamble = whole(memory, base + registers.TX_FSK_PREAMBLE, 2)
        return _Framed(fsk, payload, crc, False, preamble, airtime_us(fsk, length, preamble=preamble, crc=crc))


def _carrier() -> _Framed:
    return _Framed(None, b"", crc=False, implicit_header=False, preamble=0, airtime_us=None)


def meant_hz(tuned_hz: float) -> int:
    """The frequency a driver asked for, by what the synthesizer got: it counts in steps of 122 Hz and rounds down.

    Within a step there is one number that channel plans would contain, the roundest.
    """
    lowest = math.ceil(tuned_hz)
    for unit in _ROUND_HZ:
        candidate = -(-lowest // unit) * unit
        if candidate < tuned_hz + _STEP_HZ:
            return candidate
    return lowest
