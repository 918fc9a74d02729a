"""A concentrator board on the simulated air: an SX1302, its radios, a listener, the USB bridge, and what breaks.

Bytes of a driver come in at one side (`feed`), frames of the air at the other. The driver configures all of it by
itself: on which channels the board hears, and when and how loud it sends, stands in the registers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.model import Fsk, Lora
from gateway.simulator.air import Position, Transmission
from gateway.simulator.demodulators import Demodulators
from gateway.simulator.propagation import noise_dbm
from gateway.simulator.sx1302.bridge import Bridge, SpiTarget
from gateway.simulator.sx1302.chip import Sx1302
from gateway.simulator.sx1302.faults import ONCE, Fault
from gateway.simulator.sx1302.fifo import CODING_RATES, FREQUENCY_STEP_HZ, SERVICE_MODEM, Packet, encode
from gateway.simulator.sx1302.radios import Sx1261
from gateway.simulator.sx1302.timing import decoding_us, payload_us
from gateway.simulator.sx1302.transmitter import TICKS_PER_US
from gateway.simulator.sx1302.tuning import SERVICE_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.simulator.air import Air
    from gateway.simulator.chance import Chance
    from gateway.simulator.demodulators import Heard
    from gateway.simulator.sx1302.transmitter import Emission
    from gateway.simulator.sx1302.tuning import RxChannel

RSSI_OFFSET_DB = 215.4
"""What drivers take off the raw value on 868 and 915 MHz boards (Semtech's and ChirpStack's configurations)."""

CONDUCTED_DBM = {
    (0, 15): 12, (0, 16): 13, (0, 17): 14, (0, 19): 15, (0, 20): 16, (0, 22): 17,
    (1, 1): 18, (1, 2): 19, (1, 3): 20, (1, 4): 21, (1, 5): 22, (1, 6): 23, (1, 7): 24, (1, 9): 25, (1, 11): 26,
    (1, 14): 27,
}  # fmt: skip
"""Power at the connector by amplifier and power index: Semtech's reference design for 868 and 915 MHz (its sample
configuration `global_conf.json.sx1250.EU868.USB`). A board of another make has another table; see `conducted_dbm`."""

JUMP_S = 60
"""How far the counter jumps when it does."""

_OTHER_AGC_VERSION = 5
REMEMBERED_US = 15_000_000
"""So long an emission matters for what was heard beside it: a frame of SF12 and 255 bytes takes ten seconds."""

ORIGIN = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the board, for whoever watches."""

    name: str
    facts: Mapping[str, Any]


class Board:
    """One USB concentrator at one place of the air. `tell` hears what happens to it."""

    def __init__(
        self,
        air: Air,
        chance: Chance,
        tell: Callable[[Event], None],
        *,
        eui: bytes,
        name: str = "board",
        position: Position = ORIGIN,
        antenna_gain_dbi: float = 3.0,
        temperature_c: float = 25.0,
        fine_timestamps: bool = False,
        pps_at_us: int | None = None,
        crystal_ppm: int = 0,
    ) -> None:
        self.chip = Sx1302(
            eui, self._triggered, fine_timestamps=fine_timestamps, pps_at_us=pps_at_us, crystal_ppm=crystal_ppm
        )
        self.listener = Sx1261(self._level_dbm)
        self.listener.switch(on=True)
        self.faults: set[Fault] = set()
        self.plugged = True
        self.celsius = temperature_c
        self._air = air
        self._tell = tell
        self._senders = (name, f"{name}, radio B")  # each sends one frame at a time
        self._position = position
        self._gain_dbi = antenna_gain_dbi
        self._pps_at_us = pps_at_us
        self._serial = eui
        self._bridge = Bridge(self, serial=eui, powered_us=air.now_us)
        self._demodulators = Demodulators(
            air, chance.about("board", name), name=name, position=position, gain_dbi=antenna_gain_dbi, emits=self._emits
        )
        self._following: dict[tuple[str, int], RxChannel] = {}
        self._emissions: list[Emission] = []
        self._sending: dict[Emission, Transmission] = {}  # what has not ended yet
        self._spoil: list[Fault] = []  # what becomes of the next packets
        self._held = False  # in reset
        self._powered = True
        air.attach(self)

    # --- the driver's side ------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_us: int) -> list[bytes]:
        """Answers of the bridge, each to be written in one piece. The air moves to this moment first."""
        self._air.advance(now_us)
        if not self.plugged:
            return []
        answers = self._bridge.feed(data, now_us)
        self._after_access()
        return [] if Fault.SILENT_BRIDGE in self.faults else answers

    def _after_access(self) -> None:
        """What a driver, or a fault, has made of the chip shows on the air."""
        self._stall_if_deaf()
        for emission, transmission in list(self._sending.items()):
            if not self._is_due(emission):
                self._cut(emission, transmission)

    @property
    def within_request(self) -> bool:
        """Whether the rest of a request is still to come."""
        return self._bridge.reader.within_request

    def forget_half_request(self) -> None:
        """Give up waiting for it."""
        self._bridge.reader.discard()

    def link_snr_db(self, sender: str, place: Position, power_dbm_eirp: float) -> float:
        """The SNR at which it hears a sender on average at 125 kHz."""
        return self._demodulators.link_snr_db(sender, place, power_dbm_eirp, 125_000)

    # --- wiring of the bridge ---------------------------------------------------------------------------------------

    def exchange(self, target: int, frame: bytes, now_us: int) -> bytes | None:
        """One SPI frame to the concentrator or the listener."""
        if target == SpiTarget.SX1302:
            came = bytes(len(frame)) if self._off else self.chip.exchange(frame, now_us)
        elif target == SpiTarget.SX1261:
            came = self.listener.command(frame, now_us)
        else:
            return None
        stuck = self._stuck()
        return came if stuck is None else bytes([stuck]) * len(frame)

    def modify(self, address: int, mask: int, value: int, now_us: int) -> tuple[int, int]:
        """Some bits of one register: what was read, what was written."""
        stuck = 0x00 if self._off else self._stuck()
        if stuck is None:
            return self.chip.modify(address, mask, value, now_us)
        new = stuck & ~mask & 0xFF | value & mask
        if not self._off:
            self.chip.write(address & 0x7FFF, bytes([new]), now_us)
        return stuck, new

    def set_pin(self, port: int, pin: int, *, high: bool, now_us: int) -> None:
        """Power, and the two resets."""
        match (port, pin):
            case (0, 1):
                if self._powered and not high:
                    self._lose_power(now_us, "power was taken away")
                self._powered = high
            case (0, 2):
                if high and not self._held:
                    self._lose_unread("the chip was reset")
                    self._restart(now_us)
                self._held = high
            case (0, 8):
                self.listener.switch(on=high)

    def temperature_c(self) -> float:
        """What the sensor of the bridge shows."""
        return self.celsius

    @property
    def _off(self) -> bool:
        return self._held or not self._powered

    def _stuck(self) -> int | None:
        if Fault.STUCK_LOW in self.faults:
            return 0x00
        return 0xFF if Fault.STUCK_HIGH in self.faults else None

    def _restart(self, now_us: int) -> None:
        if self.chip.agc.stalled:
            self.faults.discard(Fault.DEAF)
        self.chip.reset()
        self._demodulators.stop()
        self._following.clear()
        self._event("reset", at_us=now_us)

    def _lose_unread(self, why: str) -> None:
        if self.chip.buffer.packets:
            self._event("lost", frames=self.chip.buffer.packets, why=why)

    # --- faults -----------------------------------------------------------------------------------------------------

    def break_(self, fault: Fault) -> None:
        """Let this happen now."""
        chip, now_us = self.chip, self._air.now_us
        if fault not in ONCE:
            self.faults.add(fault)
        match fault:
            case Fault.POISON | Fault.FALSE_CRC | Fault.HALF_PACKET:
                self._store_spoilt(fault)
            case Fault.FIFO_CORRUPTION:
                self._spoil.append(fault)
            case Fault.BROWN_OUT:
                self._lose_power(now_us, "the power dipped")
            case Fault.UNPLUG:
                self.plugged = False
                self._lose_power(now_us, "it was unplugged")
            case Fault.COUNTER_JUMP:
                chip.counter.jump(JUMP_S * 1_000_000 * TICKS_PER_US)
            case Fault.COUNTER_STOP:
                chip.counter.freeze(now_us, frozen=True)
            case _:
                self._apply()
        self._after_access()
        self._event("fault", fault=fault.value)

    def _apply(self) -> None:
        """Let the chip be as the lasting faults want it."""
        chip, faults = self.chip, self.faults
        self.plugged = Fault.UNPLUG not in faults
        chip.agc_boots = Fault.AGC_HANG not in faults
        chip.agc_version = _OTHER_AGC_VERSION if Fault.AGC_VERSION in faults else None
        chip.transmits = Fault.TX_STUCK not in faults
        chip.counter.pps_at_us = None if Fault.NO_PPS in faults else self._pps_at_us
        self._stall_if_deaf()

    def _stall_if_deaf(self) -> None:
        """Only what runs can stall: a chip that is not started yet does it then."""
        if self.faults & {Fault.DEAF, Fault.AGC_HANG} and self.chip.agc.running:
            self.chip.agc.stall()
            self.chip.arb.parity_error = True

    def _lose_power(self, now_us: int, why: str) -> None:
        self._lose_unread(why)
        self._restart(now_us)
        self.listener.switch(on=False)
        self.listener.switch(on=True)

    def mend(self) -> None:
        """End every fault there is. What was unplugged is plugged in again, and nothing of it is set up."""
        now_us = self._air.now_us
        ended, self.faults = self.faults, set()
        self._spoil.clear()
        self._apply()
        if Fault.COUNTER_STOP in ended:
            self.chip.counter.freeze(now_us, frozen=False)
        if self.chip.agc.stalled:
            self.chip.agc.recover()
            self.chip.arb.parity_error = False
        if Fault.UNPLUG in ended:
            self._bridge = Bridge(self, serial=self._serial, powered_us=now_us)
        self._after_access()
        self._event("clear", faults=sorted(ended))

    def _store_spoilt(self, fault: Fault) -> None:
        ticks = self.chip.counter.shown(self._air.now_us)
        channel = 12 if fault is Fault.POISON else 0
        packet = Packet(
            payload=b"not a frame, but as long as one " * 2,
            channel=channel,
            spreading_factor=7,
            modem=0,
            timestamp=ticks,
            crc=0x0BAD if fault is Fault.FALSE_CRC else None,
            channel_rssi=100,
            signal_rssi=100,
        )
        written = encode(packet)
        self.chip.buffer.put(written[: len(written) // 2] if fault is Fault.HALF_PACKET else written)

    # --- hearing ----------------------------------------------------------------------------------------------------

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Follow it, if it is on a channel that a driver has set up."""
        lora = transmission.modulation
        if transmission.inverted or not isinstance(lora, Lora):
            return
        frequency_hz = transmission.frequency_hz + transmission.frequency_offset_hz
        channel = next((one for one in self.chip.channels if one.finds(frequency_hz, lora)), None)
        if channel is not None:
            self._following[transmission.name] = channel
            self._demodulators.lock(transmission, lora, beside)

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """What was heard of it is in the buffer when it is decoded."""
        heard = self._demodulators.finish(transmission, beside)
        channel = self._following.pop(transmission.name, None)
        lora = transmission.modulation
        if heard is None or channel is None or not isinstance(lora, Lora):
            return
        coding_rate = CODING_RATES[lora.coding_rate or "4/5"]
        late_us = decoding_us(lora, len(heard.phy), coding_rate=coding_rate)
        store = partial(self._store, heard, channel, lora, late_us, self.chip.resets)
        self._air.arrange(transmission.end_us + late_us, store)

    def _store(self, heard: Heard, channel: RxChannel, lora: Lora, late_us: int, resets: int) -> None:
        chip, end_us = self.chip, heard.transmission.end_us
        end_ticks = chip.counter.ticks(end_us)
        if chip.resets != resets or end_ticks is None or not chip.channels:
            return  # it was reset meanwhile, or has stopped to listen
        coding_rate = CODING_RATES[lora.coding_rate or "4/5"]
        precise_us = payload_us(lora, len(heard.phy), coding_rate=coding_rate)
        away_us = -precise_us if chip.times_precisely else late_us
        offset_hz = heard.transmission.frequency_hz + heard.frequency_offset_hz - channel.frequency_hz
        service = channel.number == SERVICE_CHANNEL
        compensation_db = (20.41 * self.celsius**2 + 2162.56 * self.celsius) / (1 << 16)
        raw_db = RSSI_OFFSET_DB - compensation_db
        packet = Packet(
            payload=heard.phy,
            channel=channel.number,
            spreading_factor=lora.spreading_factor,
            modem=SERVICE_MODEM if service else channel.number,
            timestamp=end_ticks + away_us * TICKS_PER_US,
            coding_rate=coding_rate,
            crc_wrong=not heard.whole,
            frequency_error=round(offset_hz / FREQUENCY_STEP_HZ[lora.bandwidth_hz]),
            snr_quarters_db=round(heard.snr_db * 4),
            channel_rssi=min(max(round(heard.channel_dbm + raw_db), 0), 255),
            signal_rssi=min(max(round(heard.signal_dbm + raw_db), 0), 255),
        )
        fate = self._put(packet)
        if chip.times_finely and not service and chip.arb.twice >> lora.spreading_factor - 5 & 1:
            chip.buffer.put(encode(_timed(packet)), again=True)
        self._event(
            "heard",
            count_us=end_ticks // TICKS_PER_US % (1 << 32),
            fate=fate,
            crc="ok" if heard.whole else "bad",
            frequency_hz=heard.transmission.frequency_hz,
            spreading_factor=lora.spreading_factor,
            bandwidth_hz=lora.bandwidth_hz,
            channel=channel.number,
            rssi_dbm=round(heard.channel_dbm),
            snr_db=packet.snr_quarters_db / 4,
            phy=heard.phy.hex(),
        )

    def _put(self, packet: Packet) -> str:
        """Write it into the buffer; what became of it there."""
        written = bytearray(encode(packet))
        if self._spoil:
            fault = self._spoil.pop()
            written[len(written) // 2] ^= 0x5A
            fate = fault.value
        else:
            fate = "stored"
        return fate if self.chip.buffer.put(bytes(written)) else "overflow"

    def _level_dbm(self, frequency_hz: int, bandwidth_hz: int, now_us: int) -> float:
        """How loud a channel is at the antenna: whoever talks there, and the noise."""
        self._air.advance(now_us)
        near = [one for one in self._air.talking() if abs(one.frequency_hz - frequency_hz) <= bandwidth_hz // 2]
        levels = [self._demodulators.level_dbm(one) for one in near if one.sender not in self._senders]
        return 10 * math.log10(sum(10 ** (level / 10) for level in [noise_dbm(2 * bandwidth_hz), *levels]))

    # --- sending ----------------------------------------------------------------------------------------------------

    def _triggered(self, emission: Emission) -> None:
        now_us = self._air.now_us
        self._emissions = [one for one in self._emissions if one.start_us > now_us - REMEMBERED_US]
        if emission.trigger_us is not None:
            self._air.arrange(emission.trigger_us, partial(self._begin, emission))
        self._event("scheduled", **self._described(emission))

    def _is_due(self, emission: Emission) -> bool:
        return self.chip.transmitters[emission.rf_chain].emission is emission

    def _begin(self, emission: Emission) -> None:
        """The moment of its trigger: off it goes, if nobody took it back and the channel is free."""
        if not self._is_due(emission):
            self._event("aborted", **self._described(emission))
            return
        if self.chip.agc.listens_before_talk:
            blocked = self.listener.finds_busy(self._air.now_us)
            self.chip.agc.initiated(emission.rf_chain, blocked=blocked)
            if blocked:
                self.chip.transmitters[emission.rf_chain].stop()
                self._event("blocked", **self._described(emission))
                return
        self._emissions.append(emission)
        if emission.modulation is None or emission.airtime_us is None:
            self._event("carrier", **self._described(emission))
            return
        transmission = self._sending[emission] = Transmission(
            phy=emission.payload,
            sender=self._senders[emission.rf_chain],
            position=self._position,
            start_us=emission.start_us,
            airtime_us=emission.airtime_us,
            frequency_hz=emission.frequency_hz,
            modulation=emission.modulation,
            power_dbm_eirp=conducted_dbm(emission.power) + self._gain_dbi,
            frequency_offset_hz=round(emission.tuned_hz - emission.frequency_hz),
            inverted=emission.inverted,
        )
        self._air.put(transmission)
        self._air.arrange(transmission.end_us, partial(self._over, emission))

    def _over(self, emission: Emission) -> None:
        if self._sending.pop(emission, None) is not None:
            self._event("sent", **self._described(emission))

    def _cut(self, emission: Emission, transmission: Transmission) -> None:
        """It was stopped before its end."""
        del self._sending[emission]
        self._air.cut(transmission)
        self._emissions.remove(emission)
        sent_us = max(self._air.now_us - emission.start_us, 0)
        self._emissions.append(replace(emission, airtime_us=sent_us))
        self._event("cut", **self._described(emission), after_us=sent_us)

    def _emits(self, since_us: int, until_us: int) -> bool:
        return any(
            one.start_us < until_us and (since_us < one.end_us if one.end_us is not None else self._is_due(one))
            for one in self._emissions
        )

    def _described(self, emission: Emission) -> dict[str, Any]:
        modulation = emission.modulation
        facts: dict[str, Any] = {
            "start_count_us": emission.start_count_us if emission.trigger_us is not None else None,
            "airtime_us": emission.airtime_us,
            "trigger": emission.trigger.name.lower(),
            "frequency_hz": emission.frequency_hz,
            "modulation": "CW",
            "power_dbm": conducted_dbm(emission.power),
            "rf_chain": emission.rf_chain,
        }
        match modulation:
            case Lora():
                facts |= {
                    "modulation": "LORA",
                    "spreading_factor": modulation.spreading_factor,
                    "bandwidth_hz": modulation.bandwidth_hz,
                    "coding_rate": modulation.coding_rate,
                    "inverted": emission.inverted,
                    "crc": emission.crc,
                    "implicit_header": emission.implicit_header,
                }
            case Fsk():
                facts |= {"modulation": "FSK", "bit_rate": modulation.bit_rate, "deviation_hz": modulation.deviation_hz}
        if modulation is not None:
            facts |= {"preamble": emission.preamble, "phy": emission.payload.hex()}
        return facts

    def _event(self, name: str, **facts: Any) -> None:
        self._tell(Event(name, facts))


def conducted_dbm(power: int) -> int:
    """What leaves the connector with this in the power register: the reference board's nearest entry below."""
    amplifier, index = power >> 6 & 1, power & 0x3F
    below = [dbm for (amplified, step), dbm in CONDUCTED_DBM.items() if amplified == amplifier and step <= index]
    return max(below, default=18 if amplifier else 12 - (15 - index))


def _timed(packet: Packet) -> Packet:
    """The same packet from the demodulator that looked at the time first."""
    return replace(packet, best_timed=True, metrics=bytes(8), modem=(packet.modem + 8) % 16)
