"""Other channels for a chip that hears: on trial until it does, and no more often than a roof can bear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from gateway.radio.chip import ChipPlan

TRIAL_ATTEMPTS: Final = 3
"""So often a chip is started with channels it never had before; then it gets those back with which it did start."""

TUNE_EVERY_S: Final = 30.0
"""A chip begins anew for other channels, deaf for a few seconds: somebody who never makes up his mind waits so long."""

Tuned = Callable[[ChipTrouble | None], None]
"""Told whether a chip took a plan: None when it hears so."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A plan that the chip has not started with yet."""

    before: ChipPlan
    told: Tuned

    def is_lost(self, kind: TroubleKind, attempts: int) -> bool:
        """Whether it is these channels that the chip does not start with, after so many starts in vain before."""
        return kind is TroubleKind.BAD_PLAN or attempts + 1 >= TRIAL_ATTEMPTS


def nobody(_: ChipTrouble | None) -> None:
    """For a trial that nobody waits for."""
