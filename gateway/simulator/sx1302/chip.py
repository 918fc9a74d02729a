"""The SX1302 itself: an address space in which some bytes do something.

It knows no clock and no air. Every access brings its time, in microseconds of the simulation; what it wants to send is
told to whoever made it, what it hears is put into its buffer by them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.simulator.sx1302 import registers
from gateway.simulator.sx1302.fifo import RxBuffer
from gateway.simulator.sx1302.microcontrollers import AGC_VERSION_SX125X, AGC_VERSION_SX1250, Agc, Arb
from gateway.simulator.sx1302.radios import Sx1250
from gateway.simulator.sx1302.transmitter import TICKS_PER_US, Transmitter
from gateway.simulator.sx1302.tuning import rx_channels

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.sx1302.transmitter import Emission
    from gateway.simulator.sx1302.tuning import RxChannel

SX1302_VERSION, SX1303_VERSION = 0x10, 0x12
SX1302_MODEL, SX1303_MODEL = 0x02, 0x03
"""What the version register and the model byte of the one-time memory say."""

PPS_US = 1_000_000

_HOLD, _HOST_PROGRAMS = 0x04, 0x02


class Counter:
    """The 32 MHz counter: it runs from when a radio gives it a clock, and notes each pulse of the GPS.

    Its crystal is `crystal_ppm` too fast.
    """

    def __init__(self, pps_at_us: int | None, crystal_ppm: int = 0) -> None:
        self._pace = 1_000_000 + crystal_ppm  # in a million
        self.stopped = False
        self.pps_at_us = pps_at_us  # any one pulse; None: there are none
        self._since_us: int | None = None
        self._gps_enabled_us: int | None = None
        self._ahead = 0

    def start(self, now_us: int) -> None:
        """Run from zero, unless it runs."""
        if self._since_us is None:
            self._since_us = now_us

    def reset(self) -> None:
        """Stand at zero."""
        self._since_us = self._gps_enabled_us = None
        self._ahead = 0

    def enable_gps(self, now_us: int, *, on: bool) -> None:
        """Note the pulses from now on, or not any more."""
        self._gps_enabled_us = (self._gps_enabled_us or now_us) if on else None

    def jump(self, ticks: int) -> None:
        """What no counter should do."""
        self._ahead += ticks

    def freeze(self, now_us: int, *, frozen: bool) -> None:
        """Stop where it is, or go on from there."""
        if frozen != self.stopped and self._since_us is not None:
            self._ahead += self._run(now_us - self._since_us) * (1 if frozen else -1)
        self.stopped = frozen

    def ticks(self, now_us: int) -> int | None:
        """Where it stands, without its turns; None while it has no clock."""
        if self._since_us is None:
            return None
        running = 0 if self.stopped else self._run(now_us - self._since_us)
        return max(running + self._ahead, 0)

    def us(self, ticks: int) -> int:
        """When it has that value, if nothing happens to it."""
        return (self._since_us or 0) + -(-(ticks - self._ahead) * 1_000_000 // (TICKS_PER_US * self._pace))

    def _run(self, elapsed_us: int) -> int:
        return elapsed_us * TICKS_PER_US * self._pace // 1_000_000

    def shown(self, now_us: int) -> int:
        """What its four bytes say."""
        return (self.ticks(now_us) or 0) % (1 << 32)

    def shown_pps(self, now_us: int) -> int:
        """What it said at the last pulse; zero before the first."""
        if self.pps_at_us is None or self._since_us is None or self._gps_enabled_us is None:
            return 0
        pulse_us = now_us - (now_us - self.pps_at_us) % PPS_US
        return self.shown(pulse_us) if pulse_us >= max(self._since_us, self._gps_enabled_us) else 0

    def next_pps_ticks(self, now_us: int) -> int | None:
        """Where it will stand at the next pulse; None when there will be none."""
        if self.pps_at_us is None or self._gps_enabled_us is None:
            return None
        return self.ticks(now_us - (now_us - self.pps_at_us) % PPS_US + PPS_US)


class Sx1302:
    """One chip with its two SX1250. `emitting` hears of each transmission the moment it is triggered.

    `eui` are the eight bytes of its name, `fine_timestamps` make it an SX1303. `pps_at_us` is one pulse of a GPS.
    """

    def __init__(
        self,
        eui: bytes,
        emitting: Callable[[Emission], None],
        *,
        fine_timestamps: bool = False,
        pps_at_us: int | None = None,
        crystal_ppm: int = 0,
    ) -> None:
        self.memory = bytearray(registers.SPACE)
        self.counter = Counter(pps_at_us, crystal_ppm)
        self.buffer = RxBuffer()
        self.agc, self.arb = Agc(), Arb()
        self.radios = (Sx1250(), Sx1250())
        self.transmitters = tuple(Transmitter(chain, self.memory, self.counter, emitting) for chain in range(2))
        # What faults change; a reset does not heal them.
        self.agc_boots = True
        self.agc_version: int | None = None  # None: the one that fits the radios
        self.transmits = True
        self.resets = 0
        self._eui = eui
        self._fine_timestamps = fine_timestamps
        self._channels: tuple[RxChannel, ...] | None = None
        self._latched = self._latched_pps = self._latched_bytes = 0
        self._reading = self._reading_table()
        self._writing = self._writing_table()
        self.reset()

    def reset(self) -> None:
        """As after power came, or the reset pin was pulled."""
        self.resets += 1
        self.memory[:] = bytes(registers.SPACE)
        for address, value in registers.AFTER_RESET.items():
            self.memory[address] = value
        self.memory[registers.VERSION] = SX1303_VERSION if self._fine_timestamps else SX1302_VERSION
        self.counter.reset()
        self.buffer.clear()
        self.agc, self.arb = Agc(), Arb()
        for radio in self.radios:
            radio.switch(on=False)
        for transmitter in self.transmitters:
            transmitter.stop()
        self._channels = None

    @property
    def channels(self) -> tuple[RxChannel, ...]:
        """What it listens to; nothing while its firmware does not run."""
        if not (self.agc.running and self.arb.running):
            return ()
        if self._channels is None:
            radios_hz = [radio.frequency_hz if radio.gives_clock else None for radio in self.radios]
            self._channels = rx_channels(self.memory, radios_hz)
        return self._channels

    @property
    def times_precisely(self) -> bool:
        """Whether packets carry the time of their header and not that of their end."""
        return not self.memory[registers.RX_BUFFER_CONTROL] & 0x04

    @property
    def times_finely(self) -> bool:
        """Whether that comes with metrics, from a second demodulator."""
        return self._fine_timestamps and self.times_precisely

    # --- SPI --------------------------------------------------------------------------------------------------------

    def exchange(self, frame: bytes, now_us: int) -> bytes:
        """One SPI frame: the first byte selects the SX1302 (0) or one of the radios (1, 2)."""
        if len(frame) < 2 or frame[0] > 2:
            return bytes(len(frame))
        if frame[0]:
            self._channels = None
            came = b"\0" + self.radios[frame[0] - 1].command(frame[1:], now_us)
            self._clock(now_us)
            return came
        if len(frame) < 4:
            return bytes(len(frame))
        address = int.from_bytes(frame[1:3], "big") % registers.SPACE
        if frame[1] & 0x80:
            self.write(address, frame[3:], now_us)
            return bytes(len(frame))
        return bytes(4) + self.read(address, len(frame) - 4, now_us)

    def modify(self, address: int, mask: int, value: int, now_us: int) -> tuple[int, int]:
        """Change some bits of a byte: what was there, what is now."""
        address %= registers.SPACE
        old = self.read(address, 1, now_us)[0]
        new = old & ~mask & 0xFF | value & mask
        self.write(address, bytes([new]), now_us)
        return old, new

    def read(self, address: int, size: int, now_us: int) -> bytes:
        """Bytes from an address on; those of the receive buffer are taken out."""
        if registers.RX_BUFFER <= address < registers.RX_BUFFER_END and not self._direct():
            return self.buffer.take(size)
        end = address + size
        if end <= registers.RX_BUFFER:
            return bytes(self.memory[address:end])
        live, memory = self._reading, self.memory
        return bytes(
            live[place](now_us) if place in live else memory[place]
            for place in (at % registers.SPACE for at in range(address, end))
        )

    def write(self, address: int, data: bytes, now_us: int) -> None:
        """Bytes to an address and those behind it; what is read-only stays."""
        memory = self.memory
        if address + len(data) <= registers.RX_BUFFER:
            memory[address : address + len(data)] = data
            return
        for place, value in enumerate(data, start=address):
            place %= registers.SPACE  # noqa: PLW2901 - it wraps
            if place in registers.READ_ONLY:
                continue
            old, memory[place] = memory[place], value
            if place in self._writing:
                self._writing[place](old, value, now_us)
        if address >= registers.ENABLES:
            self._channels = None

    def _direct(self) -> bool:
        return bool(self.memory[registers.RX_BUFFER_CONTROL] & 0x08)

    # --- what answers by itself -------------------------------------------------------------------------------------

    def _reading_table(self) -> dict[int, Callable[[int], int]]:
        table: dict[int, Callable[[int], int]] = {
            registers.AGC_CONTROL: lambda _: self.memory[registers.AGC_CONTROL] & 0xFE | self.agc.parity_error,
            registers.ARB_CONTROL: lambda _: self.memory[registers.ARB_CONTROL] & 0xFE | self.arb.parity_error,
            registers.AGC_STATUS: lambda _: self.agc.status,
            registers.ARB_STATUS: lambda _: self.arb.status,
            registers.OTP_DATA: lambda _: self._otp(self.memory[registers.OTP_ADDRESS]),
            registers.RX_BUFFER_BYTES: self._pending_high,
            registers.RX_BUFFER_BYTES + 1: lambda _: self._latched_bytes & 0xFF,
        }
        for chain, base in enumerate(registers.TX_BASE):
            table[base + registers.TX_STATUS] = self.transmitters[chain].status
        for byte in range(4):
            table[registers.AGC_MAILBOX_OUT + byte] = partial(self._mailbox_byte, 3 - byte)
            table[registers.COUNTER_PPS + byte] = partial(self._pps_byte, byte)
            table[registers.COUNTER + byte] = partial(self._counter_byte, byte)
        for byte in range(16):
            table[registers.ARB_DEBUG_OUT + byte] = partial(self._debug_byte, byte)
        return table

    def _mailbox_byte(self, byte: int, _: int) -> int:
        return self.agc.mailbox_out[byte]

    def _debug_byte(self, byte: int, _: int) -> int:
        return self.arb.debug_out[byte]

    def _otp(self, address: int) -> int:
        if address < 8:
            return self._eui[address]
        if address == registers.OTP_MODEL:
            return SX1303_MODEL if self._fine_timestamps else SX1302_MODEL
        return 0

    def _pending_high(self, _: int) -> int:
        self._latched_bytes = len(self.buffer)
        return self._latched_bytes >> 8

    def _counter_byte(self, byte: int, now_us: int) -> int:
        if byte == 0:
            self._latched = self.counter.shown(now_us)
        return self._latched >> 8 * (3 - byte) & 0xFF

    def _pps_byte(self, byte: int, now_us: int) -> int:
        if byte == 0:
            self._latched_pps = self.counter.shown_pps(now_us)
        return self._latched_pps >> 8 * (3 - byte) & 0xFF

    # --- what a write sets going ------------------------------------------------------------------------------------

    def _writing_table(self) -> dict[int, Callable[[int, int, int], None]]:
        table: dict[int, Callable[[int, int, int], None]] = {
            registers.AGC_CONTROL: self._agc_control,
            registers.ARB_CONTROL: self._arb_control,
            registers.CLOCK_SELECT: lambda _old, _new, now_us: self._clock(now_us),
            registers.GPS_CONTROL: lambda _old, new, now_us: self.counter.enable_gps(now_us, on=bool(new & 1)),
        }
        for chain in range(2):
            table[registers.TX_BASE[chain] + registers.TX_TRIGGER] = partial(self._trigger, chain)
            table[registers.RADIO_POWER[chain]] = partial(self._radio_power, chain)
        for byte in range(4):
            table[registers.AGC_MAILBOX_IN + byte] = partial(self._tell_agc, 3 - byte)
            table[registers.ARB_DEBUG_IN + byte] = partial(self._tell_arb, byte)
        return table

    def _trigger(self, chain: int, old: int, new: int, now_us: int) -> None:
        self.transmitters[chain].triggered(old, new, now_us, able=self.agc.running and self.transmits)

    def _tell_agc(self, byte: int, _old: int, new: int, _now_us: int) -> None:
        self.agc.told(byte, new)

    def _tell_arb(self, byte: int, _old: int, new: int, _now_us: int) -> None:
        self.arb.told(byte, new)

    def _agc_control(self, old: int, new: int, _now_us: int) -> None:
        if new & _HOLD:
            self.agc = Agc()
        elif old & _HOLD and not new & _HOST_PROGRAMS and self.agc_boots and self._loaded(registers.AGC_MEMORY):
            sx1250 = self.memory[registers.RADIO_MODE] & 0x03
            version = AGC_VERSION_SX1250 if sx1250 else AGC_VERSION_SX125X
            self.agc = Agc.booted(version if self.agc_version is None else self.agc_version)

    def _arb_control(self, old: int, new: int, _now_us: int) -> None:
        if new & _HOLD:
            self.arb = Arb()
        elif old & _HOLD and not new & _HOST_PROGRAMS and self._loaded(registers.ARB_MEMORY):
            self.arb = Arb.booted()

    def _loaded(self, address: int) -> bool:
        return any(self.memory[address : address + registers.FIRMWARE_BYTES])

    def _radio_power(self, chain: int, _old: int, new: int, now_us: int) -> None:
        self.radios[chain].switch(on=new & 0x0C == 0x0C)
        self._channels = None
        self._clock(now_us)

    def _clock(self, now_us: int) -> None:
        """The counter starts when a radio that runs is chosen as its clock."""
        chosen = self.memory[registers.CLOCK_SELECT]
        if chosen & 0x04 and any(chosen >> chain & 1 and self.radios[chain].gives_clock for chain in range(2)):
            self.counter.start(now_us)
