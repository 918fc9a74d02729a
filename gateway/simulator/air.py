"""Air that transmissions share: who talks when, how loud it arrives, and what overlaps.

The air has no clock. Whoever owns it says until when things have happened (`advance`), in microseconds of its own time;
talkers are asked for their frame when their time comes, and every listener is told when a preamble and when a frame is
over, with all that was on the air beside it. What a listener makes of that is its own affair: a gateway demodulates
eight channels, a device would listen in its receive windows. However often `advance` is called, the same happens.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Protocol

from gateway.model import Fsk, Lora
from gateway.simulator.propagation import SHADOWING_DB, parts_of, path_loss_db

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.simulator.chance import Chance

FADING_DB = 2.0
"""Standard deviation from one frame to the next on the same link: people, buses and doors move."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the city, in metres from its first gateway."""

    east_m: float
    north_m: float

    def distance_m(self, other: Position) -> float:
        """How far it is, in a straight line."""
        return math.hypot(self.east_m - other.east_m, self.north_m - other.north_m)


@dataclass(frozen=True, slots=True)
class Transmission:
    """A frame on the air."""

    phy: bytes
    sender: str  # one sender sends one frame at a time, so sender and start name the transmission
    position: Position
    start_us: int  # of the preamble, on the clock of the air
    airtime_us: int
    frequency_hz: int
    modulation: Lora | Fsk
    power_dbm_eirp: float
    wall_loss_db: float = 0.0  # what stands around the sender
    frequency_offset_hz: int = 0  # of the sender's crystal
    inverted: bool = False  # downlinks turn their chirps round, so that gateways do not hear each other
    cut: bool = False  # it stopped before its end: nobody has it

    @property
    def end_us(self) -> int:
        """When the last symbol is over."""
        return self.start_us + self.airtime_us

    @property
    def name(self) -> tuple[str, int]:
        """What no other transmission has."""
        return self.sender, self.start_us

    def overlaps(self, since_us: int, until_us: int) -> bool:
        """Whether any of it is on the air in that time."""
        return self.start_us < until_us and since_us < self.end_us

    def disturbs(self, other: Transmission) -> bool:
        """Whether it can be taken for the other's signal: same channel, same sense of the chirps."""
        return (
            self.frequency_hz == other.frequency_hz
            and self.inverted == other.inverted
            and isinstance(self.modulation, Lora)
            and isinstance(other.modulation, Lora)
            and self.modulation.bandwidth_hz == other.modulation.bandwidth_hz
        )


class Talker(Protocol):
    """Something that sends on its own."""

    @property
    def next_us(self) -> int:
        """When it talks next."""
        ...

    def talk(self) -> Transmission:
        """The frame that starts at `next_us`, which then moves on."""
        ...


class Listener(Protocol):
    """Something with an antenna."""

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """A LoRa preamble has passed; `beside` is what overlapped it so far."""
        ...

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """A LoRa frame has passed; `beside` is what overlapped any of it.

        One that was cut may be over without its preamble having been.
        """
        ...


class Air:
    """The medium. The same dice give the same shadows and the same fading."""

    def __init__(self, chance: Chance) -> None:
        self.now_us = 0
        self._chance = chance
        self._listeners: list[Listener] = []
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()  # what happens in the same microsecond happens in the order it was arranged
        self._on_air: dict[tuple[str, int], Transmission] = {}
        self._over: list[Transmission] = []  # kept while one of those on the air overlapped it
        self._losses_db: dict[tuple[str, str], float] = {}

    def attach(self, listener: Listener) -> None:
        """Let it hear everything from now on."""
        self._listeners.append(listener)

    def detach(self, listener: Listener) -> None:
        """Let it hear nothing any more."""
        self._listeners.remove(listener)

    @property
    def next_us(self) -> int | None:
        """When something happens next; None when nothing ever will."""
        return self._agenda[0][0] if self._agenda else None

    def talking(self) -> list[Transmission]:
        """What is on the air now."""
        return [one for one in self._on_air.values() if one.overlaps(self.now_us, self.now_us + 1)]

    def inhabit(self, talkers: Iterable[Talker]) -> None:
        """Let them talk when their time comes."""
        for talker in talkers:
            self._await(talker)

    def put(self, transmission: Transmission) -> None:
        """Send this, now or later; it must not have started before `now_us`."""
        self._on_air[transmission.name] = transmission
        if isinstance(transmission.modulation, Lora):
            locked_us = transmission.start_us + parts_of(transmission.modulation).locked_us
            self.arrange(locked_us, partial(self._preamble_over, transmission))
        self.arrange(transmission.end_us, partial(self._frame_over, transmission))

    def cut(self, transmission: Transmission) -> None:
        """Let it stop now, in the middle or before it began; nothing when it is over."""
        if self._on_air.get(transmission.name) is not transmission:
            return
        rest = replace(transmission, airtime_us=max(self.now_us - transmission.start_us, 0), cut=True)
        self._on_air[transmission.name] = rest
        self.arrange(self.now_us, partial(self._frame_over, rest))

    def arrange(self, at_us: int, happen: Callable[[], None]) -> None:
        """Have this done at that time, or now if that is past."""
        heapq.heappush(self._agenda, (max(at_us, self.now_us), next(self._order), happen))

    def advance(self, until_us: int) -> None:
        """Let everything happen up to and including this microsecond. The past stays as it is."""
        while self._agenda and self._agenda[0][0] <= until_us:
            self.now_us, _, happen = heapq.heappop(self._agenda)
            happen()
        self.now_us = max(self.now_us, until_us)

    def loss_db(self, sender: str, place: Position, listener: str, position: Position) -> float:
        """What is lost on average between these two: distance, and what happens to stand between them."""
        link = (sender, listener)
        loss_db = self._losses_db.get(link)
        if loss_db is None:
            shadow_db = self._chance.normal(0, SHADOWING_DB, "shadowing", *link)
            loss_db = self._losses_db[link] = path_loss_db(place.distance_m(position)) + shadow_db
        return loss_db

    def level_dbm(self, transmission: Transmission, listener: str, position: Position) -> float:
        """How loud this one transmission arrives there, before the listener's antenna."""
        here, there = (transmission.sender, transmission.position), (listener, position)
        # The way down is the way up: both directions have the same things in between.
        loss_db = self.loss_db(*there, *here) if transmission.inverted else self.loss_db(*here, *there)
        fading_db = self._chance.normal(0, FADING_DB, "fading", listener, *transmission.name)
        return transmission.power_dbm_eirp - transmission.wall_loss_db - loss_db + fading_db

    def _await(self, talker: Talker) -> None:
        self.arrange(talker.next_us, partial(self._let_talk, talker))

    def _let_talk(self, talker: Talker) -> None:
        self.put(talker.talk())
        self._await(talker)

    def _preamble_over(self, transmission: Transmission) -> None:
        if self._on_air.get(transmission.name) is not transmission:
            return  # cut
        beside = self._beside(transmission)
        for listener in self._listeners:
            listener.preamble_over(transmission, beside)

    def _frame_over(self, transmission: Transmission) -> None:
        if self._on_air.get(transmission.name) is not transmission:
            return  # cut, and over already
        if isinstance(transmission.modulation, Lora):
            beside = self._beside(transmission)
            for listener in self._listeners:
                listener.frame_over(transmission, beside)
        self._over.append(self._on_air.pop(transmission.name))
        earliest_us = min((other.start_us for other in self._on_air.values()), default=self.now_us)
        self._over = [other for other in self._over if other.end_us > earliest_us]

    def _beside(self, transmission: Transmission) -> list[Transmission]:
        return [
            other
            for other in chain(self._on_air.values(), self._over)
            if other is not transmission and other.overlaps(transmission.start_us, self.now_us)
        ]
