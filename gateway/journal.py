"""What becomes of frames at network servers, and of downlinks on their way out, told to whoever looks on.

Network servers and the way down tell it as it happens. Nobody may be looking, and then it must cost next to nothing: an
onlooker is handed what is there anyway, and makes something of it only for somebody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import DownlinkRequest, RadioFrame, TxReport


class Step(StrEnum):
    """What happened to a frame that is for a network server."""

    FORWARDED = "forwarded"  # left for it
    ACKNOWLEDGED = "acknowledged"  # it has it, as far as its protocol can say
    UNANSWERED = "unanswered"  # left, and nothing came back in time
    MISSED = "missed"  # never left, or was not taken


@dataclass(frozen=True, slots=True)
class Offered:
    """A way of a downlink was offered to the radio."""

    number: str  # names the way until its `Outcome`, and nothing else
    asker: str | None  # the network server that asked for it; None: this gateway itself
    way: DownlinkRequest


@dataclass(frozen=True, slots=True)
class Rival:
    """Whose transmission was in the way."""

    number: str
    asker: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a way; also of a downlink that could not even be offered to the radio."""

    number: str | None  # None: it never came so far
    asker: str | None
    way: DownlinkRequest | None  # None: it cannot be read
    report: TxReport
    on_air: bool | None  # None: nobody can say
    lost_to: Rival | None = None


class Onlooker(Protocol):
    """Who watches. None of this may wait, or raise."""

    def frames(
        self, lns: str, step: Step, frames: Sequence[RadioFrame], reason: str = "", *, final: bool = True
    ) -> None:
        """Something happened to frames at the network server of this name. `final`: no more will be told of them."""
        ...

    def downlink(self, event: Offered | Outcome) -> None:
        """Something happened to a downlink."""
        ...


class Nobody:
    """Does not look."""

    def frames(self, *_: object, **__: object) -> None:
        """Nothing."""

    def downlink(self, *_: object) -> None:
        """Nothing."""


NOBODY: Onlooker = Nobody()
