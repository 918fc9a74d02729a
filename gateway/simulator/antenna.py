"""What a receiver at one place makes of transmissions: how loud they are, and whether they are found and whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Lora
from gateway.simulator.propagation import SNR_FLOOR_DB, noise_dbm, rejection_db

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.simulator.air import Air, Position, Transmission
    from gateway.simulator.chance import Chance


class Antenna:
    """One receiver. Its name stands for the place where it hangs."""

    def __init__(
        self,
        air: Air,
        chance: Chance,
        *,
        name: str,
        position: Position,
        gain_dbi: float = 0.0,
        wall_loss_db: float = 0.0,
    ) -> None:
        self._air = air
        self._chance = chance
        self._name = name
        self._position = position
        self._gain_db = gain_dbi - wall_loss_db

    def level_dbm(self, transmission: Transmission) -> float:
        """How loud it arrives, behind the antenna."""
        return self._air.level_dbm(transmission, self._name, self._position) + self._gain_db

    def snr_db(self, transmission: Transmission, lora: Lora) -> float:
        """How far it is above the noise of its channel."""
        return self.level_dbm(transmission) - noise_dbm(lora.bandwidth_hz)

    def throws(self, transmission: Transmission, lora: Lora, what: str, chance_at: Callable[[float], float]) -> bool:
        """Whether the dice are kinder to this frame than its margin over the floor demands."""
        margin_db = self.snr_db(transmission, lora) - SNR_FLOOR_DB[lora.spreading_factor]
        return self._chance.unit(what, *transmission.name) < chance_at(margin_db)

    def drowned(self, transmission: Transmission, beside: Sequence[Transmission], since_us: int, until_us: int) -> bool:
        """Whether somebody on the same channel is too loud in this stretch of the frame."""
        return any(
            other.disturbs(transmission)
            and other.overlaps(since_us, until_us)
            and self.level_dbm(transmission) - self.level_dbm(other) < _needed_db(transmission, other)
            for other in beside
        )


def _needed_db(wanted: Transmission, other: Transmission) -> float:
    assert isinstance(wanted.modulation, Lora)
    assert isinstance(other.modulation, Lora)
    return rejection_db(wanted.modulation.spreading_factor, other.modulation.spreading_factor)
