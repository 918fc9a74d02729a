"""An SX1302 on the simulated air, as a driver would show it: poll it for frames, hand it a transmission.

What it can do is what the real one can: eight channels of 125 kHz for all spreading factors, sixteen demodulators of
which eight know SF11 and SF12, one antenna that hears nothing while it sends, and a counter of 32 bits. It holds one
transmission at a time and starts it by the low 27 bits of that counter: what it is told too late it sends 134 s later,
what it is told too early it sends too early. Whoever drives it needs a schedule (`radio.schedule`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import AtCounter, AtGpsTime, Crc, Fsk, Lora, RadioFrame, TxResult
from gateway.radio.airtime import airtime_us
from gateway.radio.counter import COMPARATOR_TURN_US, TURN_US
from gateway.regions.eu868 import EU868
from gateway.simulator import plan
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.demodulators import Demodulators

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import DownlinkRequest, Stamp
    from gateway.regions.region import Region
    from gateway.simulator.chance import Chance
    from gateway.simulator.demodulators import Heard

MAX_CONDUCTED_DBM = 27.0
"""The top of the power tables of EU868 boards."""

START_DELAY_US = 1_500
"""What the chip needs from its trigger to the first symbol (Semtech's sx1302_hal 2.1.0, TX_START_DELAY)."""

BANDWIDTHS_HZ = (125_000, 250_000, 500_000)
BIT_RATES = range(500, 250_001)
"""What Semtech's library lets the transmitter modulate: LoRa bandwidths, FSK bits per second."""

ORIGIN = Position(0, 0)


@dataclass(frozen=True, slots=True)
class ChipHealth:
    """What the chip has done since it was started."""

    heard: int  # frames given out, damaged ones included
    damaged: int  # of these, with a wrong checksum
    sent: int
    lost: Mapping[str, int]  # transmissions on its channels that became no frame, by Loss


@dataclass(frozen=True, slots=True)
class TxRefused:
    """Why the chip does not send this."""

    result: TxResult
    detail: str


class SimulatedChip:
    """A half-duplex eight-channel gateway at one place of the air. `clock` tells the air's microseconds.

    Without `frequencies_hz` its channels are those of the city. `service_channel` is the ninth, which hears one data
    rate alone: the 500 kHz of US915 and AU915.
    """

    def __init__(
        self,
        air: Air,
        chance: Chance,
        *,
        name: str,
        clock: Callable[[], int],
        stamp: Callable[[], Stamp],
        position: Position = ORIGIN,
        antenna_gain_dbi: float = 3.0,
        counter_start_us: int = 0,
        region: Region = EU868,
        frequencies_hz: Sequence[int] | None = None,
        service_channel: tuple[int, Lora] | None = None,
    ) -> None:
        self._air = air
        self._chance = chance.about("chip", name)
        self._name = name
        self._clock = clock
        self._stamp = stamp
        self._position = position
        self._antenna_gain_dbi = antenna_gain_dbi
        self._counter_start_us = counter_start_us
        self._region = region
        own = [(channel.frequency_hz, channel.rf_chain) for channel in plan.CHANNELS]
        tuned = own if frequencies_hz is None else [(frequency_hz, 0) for frequency_hz in frequencies_hz]
        self._service_channel = service_channel
        tuned += [] if service_channel is None else [(service_channel[0], 0)]
        self._channels = {frequency_hz: number for number, (frequency_hz, _) in enumerate(tuned)}
        self._rf_chains = [rf_chain for _, rf_chain in tuned]
        self._demodulators = Demodulators(
            air, self._chance, name=name, position=position, gain_dbi=antenna_gain_dbi, emits=self._emits
        )
        self._emissions: list[Transmission] = []
        self._inbox: list[RadioFrame] = []
        self._heard = self._damaged = self._sent = 0
        self._on = True
        air.attach(self)

    # --- what a driver offers ---------------------------------------------------------------------------------------

    def receive(self) -> list[RadioFrame]:
        """The frames whose reception ended since the last call, in that order. Damaged ones are among them."""
        self._air.advance(self._clock())
        heard, self._inbox = self._inbox, []
        return heard

    def counter_us(self) -> int:
        """The microsecond counter, 32 bits."""
        return self._counter_at(self._clock())

    def send(self, request: DownlinkRequest) -> Transmission | TxRefused:
        """Program a transmission, for its time or at once, or say why not. What is taken goes on the air, at some time.

        A driver looks whether the transmitter is free, as here: Semtech's library overwrites what waits.
        """
        now_us = self._clock()
        if (refused := self.unable(request)) is not None:
            return refused
        self._forget_sent(now_us)
        if any(emission.end_us > now_us for emission in self._emissions):
            return TxRefused(TxResult.COLLISION_PACKET, "the transmitter has something to send already")
        start_us = now_us + START_DELAY_US
        if isinstance(request.timing, AtCounter):
            start_us += (request.timing.counter_us - self._counter_at(start_us)) % COMPARATOR_TURN_US
        emission = Transmission(
            phy=request.phy,
            sender=self._name,
            position=self._position,
            start_us=start_us,
            airtime_us=_airtime_us(request),
            frequency_hz=request.frequency_hz,
            modulation=request.modulation,
            power_dbm_eirp=request.power_dbm_eirp,
            inverted=request.invert_polarity,
        )
        self._emissions.append(emission)
        self._air.put(emission)
        return emission

    def unable(self, request: DownlinkRequest) -> TxRefused | None:
        """What the chip and its board cannot do, whenever it is asked."""
        power_dbm, most_dbm = request.power_dbm_eirp, MAX_CONDUCTED_DBM + self._antenna_gain_dbi
        if isinstance(request.timing, AtGpsTime):
            return TxRefused(TxResult.GPS_UNLOCKED, "this radio has no GPS")
        region = self._region
        if not region.lowest_hz <= request.frequency_hz <= region.highest_hz:
            return TxRefused(TxResult.TX_FREQ, f"{request.frequency_hz} Hz is outside {region.name}")
        if not power_dbm <= most_dbm:
            return TxRefused(TxResult.TX_POWER, f"{power_dbm} dBm EIRP, at most {most_dbm}")
        if not request.phy:
            return TxRefused(TxResult.UNKNOWN, "an empty frame cannot be sent")
        if not 0 <= (request.preamble_symbols or 0) < 1 << 16:
            return TxRefused(TxResult.UNKNOWN, f"a preamble of {request.preamble_symbols}, at most {(1 << 16) - 1}")
        match request.modulation:
            case Lora(bandwidth_hz=width_hz) if width_hz not in BANDWIDTHS_HZ:
                return TxRefused(TxResult.UNKNOWN, f"a LoRa bandwidth of {width_hz} Hz, known are {BANDWIDTHS_HZ}")
            case Fsk(bit_rate=rate) if not BIT_RATES.start <= rate < BIT_RATES.stop:
                return TxRefused(
                    TxResult.UNKNOWN, f"FSK of {rate} bit/s, known are {BIT_RATES.start} to {BIT_RATES[-1]}"
                )
        try:
            _airtime_us(request)
        except ValueError as reason:
            return TxRefused(TxResult.UNKNOWN, str(reason))
        return None

    def health(self) -> ChipHealth:
        """The counters."""
        now_us = self._clock()
        waiting = sum(emission.end_us > now_us for emission in self._emissions)
        return ChipHealth(
            self._heard, self._damaged, self._sent + len(self._emissions) - waiting, dict(self._demodulators.lost)
        )

    def link_snr_db(self, sender: str, place: Position, power_dbm_eirp: float) -> float:
        """The SNR at which it hears a sender on average: what a network's data rate control learns from many frames."""
        return self._demodulators.link_snr_db(sender, place, power_dbm_eirp, plan.BANDWIDTH_HZ)

    def switch(self, *, on: bool) -> None:
        """Cut it off the antenna, or give that back. Without, it hears nothing; what it had taken to send goes out."""
        if on is self._on:
            return
        self._on = on
        if on:
            self._air.attach(self)
            return
        self._air.detach(self)
        self._demodulators.stop()

    # --- hearing ----------------------------------------------------------------------------------------------------

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Lock on, if there is a preamble to be heard and a demodulator to be had."""
        lora = self._demodulates(transmission)
        if lora is not None:
            self._demodulators.lock(transmission, lora, beside)

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Give out what was demodulated, whole or damaged."""
        heard = self._demodulators.finish(transmission, beside)
        if heard is not None:
            self._heard += 1
            self._damaged += not heard.whole
            self._inbox.append(self._frame(heard))

    def _demodulates(self, transmission: Transmission) -> Lora | None:
        """Its modulation, if this is something for the multi-SF channels; else it is no more than noise."""
        lora = transmission.modulation
        if transmission.inverted or transmission.frequency_hz not in self._channels or not isinstance(lora, Lora):
            return None
        if self._service_channel is not None and transmission.frequency_hz == self._service_channel[0]:
            return lora if _is_same(lora, self._service_channel[1]) else None
        return lora if lora.bandwidth_hz == plan.BANDWIDTH_HZ else None

    def _frame(self, heard: Heard) -> RadioFrame:
        transmission = heard.transmission
        number = self._channels[transmission.frequency_hz]
        return RadioFrame(
            phy=heard.phy,
            heard=self._stamp(),
            frequency_hz=transmission.frequency_hz,
            modulation=transmission.modulation,
            rssi_dbm=float(round(heard.channel_dbm)),
            snr_db=round(heard.snr_db * 4) / 4,  # a signed byte of quarter decibels
            channel=number,
            rf_chain=self._rf_chains[number],
            counter_us=self._counter_at(transmission.end_us),
            crc=Crc.OK if heard.whole else Crc.BAD,
            receiver=self._name,
            frequency_offset_hz=heard.frequency_offset_hz,
        )

    # --- sending ----------------------------------------------------------------------------------------------------

    def _forget_sent(self, now_us: int) -> None:
        """Drop emissions that no frame still in the air can have met; one of SF12 and 255 bytes takes ten seconds."""
        gone = [emission for emission in self._emissions if emission.end_us < now_us - 15_000_000]
        self._sent += len(gone)
        self._emissions = [emission for emission in self._emissions if emission not in gone]

    def _emits(self, since_us: int, until_us: int) -> bool:
        return any(emission.overlaps(since_us, until_us) for emission in self._emissions)

    def _counter_at(self, air_us: int) -> int:
        return (self._counter_start_us + air_us) % TURN_US


def _airtime_us(request: DownlinkRequest) -> int:
    crc, preamble = request.payload_crc, request.preamble_symbols
    return airtime_us(request.modulation, len(request.phy), crc=crc, preamble=preamble)


def _is_same(one: Lora, other: Lora) -> bool:
    return (one.spreading_factor, one.bandwidth_hz) == (other.spreading_factor, other.bandwidth_hz)
