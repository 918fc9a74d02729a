"""Devices of the city: each measures, encrypts, and sends by the rules of its own side.

A device counts its frames, waits until its sub-band has recovered from the last one, hops over the channels, and has
the data rate and power that a network's data rate control would have given it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.uplink import seal
from gateway.model import Lora
from gateway.radio.airtime import airtime_us
from gateway.regions.eu868 import EU868
from gateway.simulator import plan
from gateway.simulator.air import Position, Transmission
from gateway.simulator.propagation import SNR_FLOOR_DB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.model import DevEui, Device, Session
    from gateway.simulator.air import Air
    from gateway.simulator.chance import Chance
    from gateway.simulator.sensors import Measure, Sensor

INSTALLATION_MARGIN_DB = 10.0
"""What Semtech's reference algorithm for data rate control keeps above the floor (TTN and ChirpStack have it too)."""

JITTER = 0.15
"""How far an interval strays to either side, so that no two devices collide for ever."""

AFTER_WINDOWS_US = 2_100_000
"""A repetition waits for both receive windows of the frame before: RECEIVE_DELAY2 is 2 s (RP002-1.0.4, 2.4.7)."""

CRYSTAL_PPM = 4.0
"""Standard deviation of the devices' frequency, well inside the 10 to 20 ppm that their makers state."""


class Gateway(Protocol):
    """Whoever hears devices."""

    def link_snr_db(self, sender: str, place: Position, power_dbm_eirp: float) -> float:
        """The SNR at which it hears a sender on average."""
        ...


@dataclass(frozen=True, slots=True)
class Resident:
    """One device of a scenario: what it is, where it hangs, and what it looks at."""

    device: Device
    session: Session
    sensor: Sensor
    position: Position
    wall_loss_db: float
    interval_us: int
    first_us: int  # when it talks first
    first_f_cnt: int  # with which counter
    nb_trans: int  # how often it sends each frame
    ours: bool  # False: nobody told this gateway about it


@dataclass(frozen=True, slots=True)
class DataRate:
    """What a device was told by LinkADRReq."""

    spreading_factor: int
    power_dbm_eirp: float


def data_rate_for(snr_db: float) -> DataRate:
    """The data rate and power for a link that gives this SNR at full power: first faster, then quieter."""
    spare_db = snr_db - INSTALLATION_MARGIN_DB
    fastest = next((sf for sf in range(7, 12) if SNR_FLOOR_DB[sf] <= spare_db), 12)
    steps = int((spare_db - SNR_FLOOR_DB[fastest]) // plan.POWER_STEP_DB) if fastest == 7 else 0
    tx_power = min(max(steps, 0), plan.LOWEST_TX_POWER)
    return DataRate(fastest, plan.MAX_EIRP_DBM - tx_power * plan.POWER_STEP_DB)


class SimulatedDevice:
    """A talker on the air. `start_utc_us` is the time of day when the air's clock was zero."""

    def __init__(
        self,
        resident: Resident,
        data_rate: DataRate,
        chance: Chance,
        *,
        schedules: KeySchedules,
        start_utc_us: int,
        first_f_cnt: int,
    ) -> None:
        self.next_us = resident.first_us
        self._resident = resident
        self._data_rate = data_rate
        self._chance = chance
        self._start_utc_us = start_utc_us
        self._schedules = schedules
        self._lora = Lora(data_rate.spreading_factor, plan.BANDWIDTH_HZ, plan.CODING_RATE)
        tx_dr = EU868.data_rate_index(self._lora)
        assert tx_dr is not None
        self._tx_dr = tx_dr
        self._crystal_ppm = chance.normal(0, CRYSTAL_PPM, "crystal")
        self._free_us = dict.fromkeys((channel.sub_band for channel in plan.CHANNELS), 0)
        self._f_cnt = first_f_cnt
        self._sent = 0  # times this counter was on the air
        self._measure: Measure | None = None
        self._due_us = resident.first_us

    def talk(self) -> Transmission:
        """The next frame, or the last one again; `next_us` moves on."""
        start_us, resident = self.next_us, self._resident
        if self._measure is None:
            utc_s = (self._start_utc_us + start_us) / 1_000_000
            self._measure = resident.sensor.measure(utc_s, self._f_cnt)
            self._due_us = start_us + round(
                resident.interval_us * self._chance.between(1 - JITTER, 1 + JITTER, "interval", self._f_cnt)
            )
        number = self._hop(start_us)
        phy = self._seal(self._measure, number)
        channel = plan.CHANNELS[number]
        length_us = airtime_us(self._lora, len(phy))
        self._free_us[channel.sub_band] = start_us + round(length_us / channel.duty_cycle)
        self._move_on(start_us + length_us)
        return Transmission(
            phy=phy,
            sender=str(resident.device.dev_eui),
            position=resident.position,
            start_us=start_us,
            airtime_us=length_us,
            frequency_hz=channel.frequency_hz,
            modulation=self._lora,
            power_dbm_eirp=self._data_rate.power_dbm_eirp,
            wall_loss_db=resident.wall_loss_db,
            frequency_offset_hz=round(channel.frequency_hz * self._crystal_ppm / 1_000_000),
        )

    def _seal(self, measure: Measure, channel_number: int) -> bytes:
        return seal(
            self._resident.session,
            f_cnt=self._f_cnt,
            f_port=measure.f_port,
            payload=measure.payload,
            adr=True,
            tx_dr=self._tx_dr,
            tx_ch=channel_number,
            schedules=self._schedules,
        )

    def _hop(self, start_us: int) -> int:
        """The number of a channel whose sub-band may be used again; `_move_on` waited for one."""
        free = [number for number, channel in enumerate(plan.CHANNELS) if self._free_us[channel.sub_band] <= start_us]
        return self._chance.pick(free, "channel", self._f_cnt, self._sent)

    def _move_on(self, end_us: int) -> None:
        self._sent += 1
        if self._sent < self._resident.nb_trans:
            wanted_us = end_us + AFTER_WINDOWS_US + round(self._chance.between(0, 1_000_000, "repetition", self._f_cnt))
        else:
            self._f_cnt, self._sent, self._measure = self._f_cnt + 1, 0, None
            wanted_us = max(self._due_us, end_us + AFTER_WINDOWS_US)
        self.next_us = max(wanted_us, min(self._free_us.values()))


def settle(
    residents: Iterable[Resident],
    air: Air,
    chips: Sequence[Gateway],
    chance: Chance,
    *,
    start_utc_us: int,
    f_cnt_up: Mapping[DevEui, int],
) -> None:
    """Put the residents on the air, each with the data rate that the chip hearing it best would have given it.

    `f_cnt_up` are the last counters of devices that have been heard before: those go on from there.
    """
    schedules = KeySchedules()
    for resident in residents:
        dev_eui = resident.device.dev_eui
        power_dbm = plan.MAX_EIRP_DBM - resident.wall_loss_db
        snr_db = max(chip.link_snr_db(str(dev_eui), resident.position, power_dbm) for chip in chips)
        device = SimulatedDevice(
            resident,
            data_rate_for(snr_db),
            chance.about("device", dev_eui),
            schedules=schedules,
            start_utc_us=start_utc_us,
            first_f_cnt=f_cnt_up[dev_eui] + 1 if dev_eui in f_cnt_up else resident.first_f_cnt,
        )
        air.inhabit([device])
