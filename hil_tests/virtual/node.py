"""The radio of a simulated modem: sends what it is told, listens where it is told, and lives as a class A device.

Below it is the simulated air, above it a dialect of AT commands. The way to the concentrator is a cable with
attenuators: what leaves the one connector arrives at the other so many decibels weaker, and a little fading stays, as
on a real bench whose boxes leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import AesKey, DevAddr, DevEui, Lora, MacVersion, Session
from gateway.radio.airtime import airtime_us
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position, Transmission
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits, Profile
from gateway.simulator.propagation import SNR_FLOOR_DB, detected, intact, noise_dbm, parts_of
from gateway.simulator.sensors import Measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.simulator.air import Air
    from gateway.simulator.chance import Chance
    from gateway.simulator.neighbourhood import Neighbourhood

BENCH = Position(30, 0)
ROOF = Position(0, 0)
CHIP_GAIN_DBI = 3.0
"""Of the simulated chips' antenna, which a cable does not have."""

NEVER_US = 1 << 60
SNR_CEILING_DB = 14.0

BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Tuning:
    """What a LoRa radio is set to."""

    frequency_hz: int
    lora: Lora
    inverted: bool
    public: bool  # the sync word of LoRaWAN


@dataclass(frozen=True, slots=True)
class Caught:
    """A frame that a modem has received. `window` is RX1 or RX2 of a class A device."""

    payload: bytes
    rssi_dbm: float
    snr_db: float
    window: str | None = None
    f_port: int | None = None


@dataclass(frozen=True, slots=True)
class Personality:
    """Keys and habits of the class A device that a modem plays."""

    dev_eui: DevEui
    dev_addr: DevAddr
    nwk_s_key: AesKey
    app_s_key: AesKey
    data_rate: int

    def session(self) -> Session:
        """Its session, LoRaWAN 1.0.3."""
        nwk = self.nwk_s_key
        return Session(self.dev_eui, self.dev_addr, MacVersion.V1_0_3, nwk, nwk, nwk, self.app_s_key)


class Node:
    """One modem's radio. `chip` is the name of the concentrator it is wired to."""

    def __init__(self, name: str, air: Air, neighbourhood: Neighbourhood, chance: Chance, chip: str) -> None:
        self.name = name
        self.attenuation_db = 0.0
        self.sending = False
        self._air = air
        self._neighbourhood = neighbourhood
        self._chance = chance.about("modem", name)
        self._chip = chip
        self._tuned: tuple[Tuning, int | None, Callable[[Caught | None], None]] | None = None
        self._generation = 0
        self._device: EndDevice | None = None
        self._played: tuple[Personality, float] | None = None
        self._f_cnt = 0
        self._said: tuple[int, bytes] = (1, b"")
        self._waiting: _Waiting | None = None
        air.attach(self)

    # --- plain LoRa ---------------------------------------------------------------------------------------------------

    def transmit(self, phy: bytes, tuning: Tuning, power_dbm: float, done: Callable[[], None]) -> str | None:
        """Send now; BUSY while it sends already. `done` is called when the last symbol is over."""
        if self.sending or self._waiting is not None:
            return BUSY
        length_us = airtime_us(tuning.lora, len(phy))
        if tuning.public:  # another sync word is noise to everybody here
            self._air.put(
                Transmission(
                    phy=phy,
                    sender=self.name,
                    position=BENCH,
                    start_us=self._air.now_us,
                    airtime_us=length_us,
                    frequency_hz=tuning.frequency_hz,
                    modulation=tuning.lora,
                    power_dbm_eirp=power_dbm + self._excess_db() - self.attenuation_db,
                    inverted=tuning.inverted,
                )
            )
        self.sending = True

        def over() -> None:
            self.sending = False
            done()

        self._air.arrange(self._air.now_us + length_us, over)
        return None

    def listen(self, tuning: Tuning, until_us: int | None, heard: Callable[[Caught | None], None]) -> None:
        """Wait for frames; None is given when the time is over without one. A second call replaces the first."""
        self._generation += 1
        generation = self._generation
        self._tuned = tuning, self._air.now_us, heard
        if until_us is not None:
            self._air.arrange(until_us, lambda: self._deaf_again(generation))

    def stop_listening(self) -> None:
        """Hear nothing any more."""
        self._generation += 1
        self._tuned = None

    def _deaf_again(self, generation: int) -> None:
        if generation == self._generation and self._tuned is not None:
            _, _, heard = self._tuned
            self.stop_listening()
            heard(None)

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Nothing: what is decided is decided at the end."""

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Hear it, if the radio was tuned to it in time and it is loud enough."""
        lora = transmission.modulation
        if self._tuned is None or transmission.cut or not isinstance(lora, Lora):
            return
        if not transmission.sender.startswith(self._chip):
            return  # the modems' cables lead to the concentrator, each behind its own attenuator
        tuning, since_us, heard = self._tuned
        fits = tuning == Tuning(transmission.frequency_hz, _plain(lora), transmission.inverted, tuning.public)
        if not (fits and tuning.public and not self.sending and beside_is_quiet(transmission, beside)):
            return
        if since_us is None or transmission.start_us + parts_of(lora).critical_us < since_us:
            return
        level_dbm = self._air.level_dbm(transmission, self.name, BENCH) + self._excess_db()
        level_dbm -= self.attenuation_db
        snr_db = level_dbm - noise_dbm(lora.bandwidth_hz)
        margin_db = snr_db - SNR_FLOOR_DB[lora.spreading_factor]
        if self._chance.unit("whole", *transmission.name) < detected(margin_db) * intact(margin_db):
            heard(Caught(transmission.phy, level_dbm, min(snr_db, SNR_CEILING_DB)))

    def _excess_db(self) -> float:
        """What makes the simulated path a cable without loss, from connector to connector, in both directions."""
        return self._air.loss_db(self.name, BENCH, self._chip, ROOF) - CHIP_GAIN_DBI

    # --- LoRaWAN ------------------------------------------------------------------------------------------------------

    def uplink(
        self, who: Personality, f_port: int, payload: bytes, done: Callable[[Sequence[Caught]], None]
    ) -> str | None:
        """An unconfirmed uplink of a class A device; `done` gets what came in its windows when these are over."""
        if self.sending or self._waiting is not None:
            return BUSY
        if self._played != (who, self.attenuation_db):
            self._become(who)
        assert self._device is not None
        self._said = f_port, payload
        diary = self._device.diary
        self._waiting = _Waiting(len(diary.sent), len(diary.received), done)
        self._neighbourhood.press(self._device)
        return None

    @property
    def f_cnt(self) -> int:
        """The counter of its next uplink."""
        return self._f_cnt

    @f_cnt.setter
    def f_cnt(self, value: int) -> None:
        self._f_cnt, self._played = value, None

    def _become(self, who: Personality) -> None:
        def report(now_us: int, f_cnt: int) -> Measure:  # noqa: ARG001 - the bench says what and when
            self._f_cnt = f_cnt + 1
            return Measure(*self._said)

        profile = Profile(
            dev_eui=who.dev_eui,
            mac_version=MacVersion.V1_0_3,
            region=EU868,
            report=report,
            habits=Habits(interval_us=NEVER_US, first_us=NEVER_US, jitter=0.0),
            session=who.session(),
            first_f_cnt=self._f_cnt,
            data_rate=who.data_rate,
            adr=False,
            shared_address=True,  # an earlier device of the same modem may still be around
        )
        self._device = EndDevice(profile, self._chance.about("device", self._f_cnt))
        loss_db = self._air.loss_db(str(who.dev_eui), BENCH, self._chip, ROOF)
        wall_db = self.attenuation_db + CHIP_GAIN_DBI - loss_db
        self._neighbourhood.settle(self._device, BENCH, wall_loss_db=wall_db, clock_ppm=0.0)
        self._played = who, self.attenuation_db

    def look(self) -> None:
        """See whether the device has finished what it was told; to be called when time has passed."""
        waiting, device = self._waiting, self._device
        if waiting is None or device is None or device.windows:
            return
        sent = device.diary.sent
        if len(sent) <= waiting.sent or sent[-1].transmissions == 0:
            return
        self._waiting = None
        noise = noise_dbm(125_000)
        waiting.done(
            [
                Caught(one.payload, noise + one.snr_db, min(one.snr_db, SNR_CEILING_DB), one.window, one.f_port)
                for one in device.diary.received[waiting.received :]
            ]
        )


@dataclass(frozen=True, slots=True)
class _Waiting:
    sent: int
    received: int
    done: Callable[[Sequence[Caught]], None]


def _plain(lora: Lora) -> Lora:
    return Lora(lora.spreading_factor, lora.bandwidth_hz)


def beside_is_quiet(transmission: Transmission, beside: Sequence[Transmission]) -> bool:
    """Whether nobody else was on its channel: on a bench, whoever is, is as loud."""
    return not any(other.disturbs(transmission) for other in beside)
