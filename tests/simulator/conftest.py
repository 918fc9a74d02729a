"""An air with one gateway on it, and a hand that moves its clock."""

from dataclasses import dataclass, field, replace

import pytest

from gateway.model import AtCounter, DownlinkRequest, Lora, RadioFrame, Stamp, TimeQuality
from gateway.radio.airtime import airtime_us
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.chip import SimulatedChip
from gateway.simulator.propagation import noise_dbm

STAMP = Stamp(1_795_420_800_000_000, TimeQuality.NTP, 50, "boot", 0)


@dataclass
class Desk:
    """Levels are given as the gateway hears them: what the city does to a signal is turned back beforehand."""

    seed: int = 7
    counter_start_us: int = 0
    antenna_gain_dbi: float = 0.0
    now_us: int = 0
    air: Air = field(init=False)
    chip: SimulatedChip = field(init=False)

    def __post_init__(self):
        chance = Chance(self.seed)
        self.air = Air(chance)
        self.chip = SimulatedChip(
            self.air,
            chance,
            name="roof",
            clock=lambda: self.now_us,
            stamp=lambda: STAMP,
            antenna_gain_dbi=self.antenna_gain_dbi,
            counter_start_us=self.counter_start_us,
        )

    def sends(
        self,
        sender: str,
        *,
        at_us: int = 0,
        snr_db: float = 5.0,
        sf: int = 7,
        mhz: float = 868.1,
        size: int = 20,
        offset_hz: int = 0,
    ) -> Transmission:
        """Put a frame on the air that reaches the antenna with this SNR."""
        lora = Lora(sf, 125_000)
        phy = (sender.encode() * size)[:size]
        transmission = Transmission(
            phy=phy,
            sender=sender,
            position=Position(500, 500),
            start_us=at_us,
            airtime_us=airtime_us(lora, size),
            frequency_hz=round(mhz * 1_000_000),
            modulation=lora,
            power_dbm_eirp=0.0,
            frequency_offset_hz=offset_hz,
        )
        level_dbm = self.air.level_dbm(transmission, "roof", Position(0, 0))
        transmission = replace(transmission, power_dbm_eirp=snr_db + noise_dbm(125_000) - level_dbm)
        self.air.put(transmission)
        return transmission

    def hears(self, until_us: int = 20_000_000) -> list[RadioFrame]:
        """Move the clock and take what the gateway has."""
        self.now_us = until_us
        return self.chip.receive()

    def lost(self) -> dict[str, int]:
        return dict(self.chip.health().lost)


def downlink(counter_us: int = 1_000_000, **changes: object) -> DownlinkRequest:
    """A downlink as a network server asks for it in RX1."""
    request = DownlinkRequest(
        ref="1",
        phy=bytes(20),
        receiver="roof",
        timing=AtCounter(counter_us),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000),
        power_dbm_eirp=14.0,
    )
    return replace(request, **changes)


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def new_desk():
    return Desk


@pytest.fixture
def ask():
    return downlink


@pytest.fixture
def desk_stamp():
    return STAMP
