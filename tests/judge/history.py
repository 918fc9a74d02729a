"""What can happen to a gateway: a history is a list of these and nothing else.

So it can be shrunk, be printed in a message, and be told again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hear:
    """So many frames, one after the other without a pause."""

    frames: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """The device that spoke last repeats its frame."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Somebody sends a recorded frame, so many before the newest."""

    back: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Time goes by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tidy:
    """The store lets go of what it need not, or can not, keep any longer."""


@dataclass(frozen=True, slots=True)
class Learn:
    """The machine learns the time, if it does not know it: after a power cut it woke up in 1970."""


# --- how it ends, and begins again


@dataclass(frozen=True, slots=True)
class Stop:
    """The gateway is stopped in order and started again."""


@dataclass(frozen=True, slots=True)
class Kill:
    """The process dies: of the writes since the last event so large a share was done."""

    share: float


@dataclass(frozen=True, slots=True)
class PowerCut:
    """The power goes at such a moment; `seed` says what of the unsynced writes the disk has."""

    share: float
    seed: int


# --- what befalls a destination


@dataclass(frozen=True, slots=True)
class Leave:
    """It goes away, with its connection."""

    at: int


@dataclass(frozen=True, slots=True)
class Return:
    """It is there again."""

    at: int


@dataclass(frozen=True, slots=True)
class Break:
    """Of the next batch some arrive, of those some are confirmed, then the connection breaks."""

    at: int
    arrive: int
    confirm: int


@dataclass(frozen=True, slots=True)
class Silence:
    """The next batch arrives and is not confirmed."""

    at: int


@dataclass(frozen=True, slots=True)
class TurnAway:
    """The first record of the next batch is not taken now."""

    at: int


@dataclass(frozen=True, slots=True)
class Slow:
    """It takes so long for a batch from now on."""

    at: int
    seconds: float


# --- what somebody asks for


@dataclass(frozen=True, slots=True)
class Pause:
    """A destination is paused."""

    at: int


@dataclass(frozen=True, slots=True)
class Resume:
    """And may go on."""

    at: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A destination wants the newest records it was sent once more."""

    at: int
    records: int


Mood = Break | Silence | TurnAway
Befalls = Leave | Return | Mood | Slow
Order = Pause | Resume | AskAgain
Ending = Stop | Kill | PowerCut
Event = Hear | Repeat | Replay | Pass | Tidy | Learn | Befalls | Order | Ending
