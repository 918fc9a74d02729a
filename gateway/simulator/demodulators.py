"""What an SX1302 can follow at once, and what becomes of each transmission on its channels.

Which channels those are is for its owner to say: the chip a driver shows (`chip`) and the chip below a driver
(`sx1302`) tune differently and hear alike.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.simulator.antenna import Antenna
from gateway.simulator.propagation import detected, intact, noise_dbm, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model import Lora
    from gateway.simulator.air import Air, Position, Transmission
    from gateway.simulator.chance import Chance

DEMODULATORS = 16
SLOW_DEMODULATORS = 8
"""SX1302 datasheet, key features: 8 x SF5-SF12 and 8 x SF5-SF10 demodulators."""

SNR_CEILING_DB = 14.0
"""However loud the frame, a chip reports no more: its estimate saturates. Our choice; logs of gateways end near it."""


class Loss(StrEnum):
    """Why a transmission on our channels never became a frame."""

    TOO_WEAK = "too_weak"
    COLLISION = "collision"
    TRANSMITTING = "transmitting"  # the antenna was busy sending
    NO_DEMODULATOR = "no_demodulator"


@dataclass(frozen=True, slots=True)
class Heard:
    """A transmission that was demodulated to its end."""

    transmission: Transmission
    phy: bytes  # as it came out: with wrong bytes when it is not whole
    whole: bool
    snr_db: float
    signal_dbm: float
    channel_dbm: float  # with the noise of the channel
    frequency_offset_hz: int  # of the sender, as far as a demodulator can tell


class Demodulators:
    """Sixteen of them behind one antenna. `emits` says whether that was busy sending, from one moment to another."""

    def __init__(
        self,
        air: Air,
        chance: Chance,
        *,
        name: str,
        position: Position,
        gain_dbi: float,
        emits: Callable[[int, int], bool],
    ) -> None:
        self.lost: Counter[str] = Counter()  # by Loss
        self._air = air
        self._chance = chance
        self._antenna = Antenna(air, chance, name=name, position=position, gain_dbi=gain_dbi)
        self._name = name
        self._position = position
        self._gain_dbi = gain_dbi
        self._emits = emits
        self._busy: dict[tuple[str, int], Lora] = {}

    def lock(self, transmission: Transmission, lora: Lora, beside: Sequence[Transmission]) -> None:
        """Its preamble has passed on one of the channels: follow it, if it can be heard and one is free."""
        parts = parts_of(lora)
        since_us, until_us = transmission.start_us + parts.critical_us, transmission.start_us + parts.locked_us
        if self._emits(since_us, until_us):
            self._lose(Loss.TRANSMITTING)
        elif not self._antenna.throws(transmission, lora, "detected", detected):
            self._lose(Loss.TOO_WEAK)
        elif self._antenna.drowned(transmission, beside, since_us, until_us):
            self._lose(Loss.COLLISION)
        elif not self._has_free(lora):
            self._lose(Loss.NO_DEMODULATOR)
        else:
            self._busy[transmission.name] = lora

    def finish(self, transmission: Transmission, beside: Sequence[Transmission]) -> Heard | None:
        """It is over: what was heard of it, whole or damaged; None when it was not followed or drowned early."""
        lora = self._busy.pop(transmission.name, None)
        if lora is None or transmission.cut:
            return None
        parts = parts_of(lora)
        locked_us, header_us = transmission.start_us + parts.locked_us, transmission.start_us + parts.header_us
        if self._emits(locked_us, transmission.end_us):
            self._lose(Loss.TRANSMITTING)
            return None
        if self._antenna.drowned(transmission, beside, locked_us, header_us):
            self._lose(Loss.COLLISION)
            return None
        drowned = self._antenna.drowned(transmission, beside, header_us, transmission.end_us)
        whole = not drowned and self._antenna.throws(transmission, lora, "intact", intact)
        return self._heard(transmission, lora, whole=whole)

    def stop(self) -> None:
        """Let go of everything that is being followed."""
        self._busy.clear()

    def link_snr_db(self, sender: str, place: Position, power_dbm_eirp: float, bandwidth_hz: int) -> float:
        """The SNR at which a sender is heard on average: what a network's data rate control learns from many frames."""
        loss_db = self._air.loss_db(sender, place, self._name, self._position)
        return power_dbm_eirp - loss_db + self._gain_dbi - noise_dbm(bandwidth_hz)

    def level_dbm(self, transmission: Transmission) -> float:
        """How loud it is behind the antenna."""
        return self._antenna.level_dbm(transmission)

    def _has_free(self, lora: Lora) -> bool:
        busy = self._busy.values()
        if lora.spreading_factor > 10 and sum(other.spreading_factor > 10 for other in busy) >= SLOW_DEMODULATORS:
            return False
        return len(busy) < DEMODULATORS

    def _heard(self, transmission: Transmission, lora: Lora, *, whole: bool) -> Heard:
        level_dbm, noise = self._antenna.level_dbm(transmission), noise_dbm(lora.bandwidth_hz)
        dice = self._chance.about("frame", *transmission.name)
        return Heard(
            transmission=transmission,
            phy=transmission.phy if whole else _damaged(transmission.phy, dice),
            whole=whole,
            snr_db=min(dice.normal(level_dbm - noise, 0.4, "snr"), SNR_CEILING_DB),
            signal_dbm=level_dbm,
            channel_dbm=10 * math.log10(10 ** (level_dbm / 10) + 10 ** (noise / 10)),
            frequency_offset_hz=transmission.frequency_offset_hz + round(dice.normal(0, 40, "frequency")),
        )

    def _lose(self, loss: Loss) -> None:
        self.lost[loss.value] += 1


def _damaged(phy: bytes, dice: Chance) -> bytes:
    """The frame with a few wrong bytes, as a demodulator gives it out when its checksum fails."""
    octets = bytearray(phy)
    errors = dice.whole(1, max(1, len(phy) // 4), "errors")
    for place in {dice.whole(0, len(phy) - 1, "where", error) for error in range(errors)}:
        octets[place] ^= dice.whole(1, 255, "what", place)
    return bytes(octets)
