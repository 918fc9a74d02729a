"""An air, its gateways and its end devices, moved by hand: virtual hours in seconds, for tests and measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Stamp, TimeQuality
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Air, Position
from gateway.simulator.chance import Chance
from gateway.simulator.chip import SimulatedChip
from gateway.simulator.neighbourhood import Neighbourhood

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.model import Lora, RadioFrame
    from gateway.regions.region import Region

START_UTC_US = 1_795_420_800_000_000
"""2026-11-23 08:00 UTC, when nothing else is said."""

BOOT_ID = "746f776e000040008000000000000001"
"""Of the machine that hears the town."""


class Town:
    """Time stands still unless `run` moves it, from one event on the air to the next.

    `region` and what follows are for the gateways (`SimulatedChip`); each device has its own plan.
    """

    def __init__(
        self,
        seed: int | str = 1,
        *,
        gateways: Sequence[Position] = (Position(0, 0),),
        start_utc_us: int = START_UTC_US,
        counter_start_us: int = 0,
        region: Region = EU868,
        frequencies_hz: Sequence[int] | None = None,
        service_channel: tuple[int, Lora] | None = None,
    ) -> None:
        self.now_us = 0
        self.start_utc_us = start_utc_us
        chance = self.chance = Chance(seed)
        self.air = Air(chance)
        self.chips = tuple(
            SimulatedChip(
                self.air,
                chance,
                name=f"roof-{number}",
                clock=lambda: self.now_us,
                stamp=self.stamp,
                position=position,
                counter_start_us=counter_start_us,
                region=region,
                frequencies_hz=frequencies_hz,
                service_channel=service_channel,
            )
            for number, position in enumerate(gateways, start=1)
        )
        self.neighbourhood = Neighbourhood(self.air, chance)

    def stamp(self) -> Stamp:
        """The moment that `now_us` is."""
        return Stamp(self.start_utc_us + self.now_us, TimeQuality.NTP, 1, BOOT_ID, self.now_us)

    def run(self, until_us: int, hear: Callable[[SimulatedChip, RadioFrame], None] | None = None) -> None:
        """Let everything happen up to this time; `hear` is told of each frame the moment its gateway has it."""
        while (next_us := self.air.next_us) is not None and next_us <= until_us:
            self._move(next_us, hear)
        self._move(until_us, hear)

    def _move(self, now_us: int, hear: Callable[[SimulatedChip, RadioFrame], None] | None) -> None:
        self.now_us = max(now_us, self.now_us)
        for chip in self.chips:
            for frame in chip.receive():
                if hear is not None:
                    hear(chip, frame)
