"""Decides what the radio hears, and what of that is not what a network server would have it hear.

Every server may say which channels it wants. One at most is followed, and only where the settings name it
(`radio.channels`): two that pull at the same radio would never come to rest. The others are told what of theirs is not
heard: a sentence in the log and in `status`.

The law and the hardware have the last word. What is not of this region, or more than a chip can, is refused, and the
radio stays with what it hears. A plan is not taken for followed before the chip hears so. The same plan again changes
nothing, however often it comes, whether it was followed or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.model import Lora
from gateway.radio.channels import plan_for, unheard
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.radio.chip import ChipPlan
    from gateway.regions.region import Region

_ALL_FACTORS: Final = range(7, 13)


@dataclass(frozen=True, slots=True)
class Wish:
    """What one server would have heard; `version` is its own name for that."""

    plan: ChannelPlan
    version: str = ""


@dataclass(frozen=True, slots=True)
class Followed:
    """A wish that came true, as it is remembered over a restart."""

    server: str
    region: str
    wish: Wish


class Tunable(Protocol):
    """A radio that can be told what to hear (`radio.chip_radio.ChipRadio`)."""

    @property
    def plan(self) -> ChipPlan:
        """What it hears, or is being started to hear."""
        ...

    def tune(self, plan: ChipPlan, told: Callable[[ChipTrouble | None], None], /) -> None:
        """Hear this; `told` is called once it does, or with why not, when it has gone back to what it heard before."""
        ...


class Tuner:
    """The channels of one radio.

    `own` is what it hears by the settings; None where nobody here knows, because another program tunes it. `leader` is
    the server to follow, None for the region's own channels. `remembered` is what was followed before the start.
    """

    def __init__(
        self,
        region: Region,
        own: ChipPlan | None,
        leader: str | None = None,
        remembered: Followed | None = None,
        *,
        say: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._region = region
        self._own = own
        self._leader = leader
        self._say = say
        self._warn = warn
        self._current = own
        self._followed: Followed | None = None
        self._wishes: dict[str, Wish] = {}
        self._refused: dict[str, str] = {}
        self._said: dict[str, str] = {}
        self._radio: Tunable | None = None
        self._on_change: Callable[[], None] = lambda: None
        if remembered is not None and (remembered.server, remembered.region) == (leader, region.name):
            self._resume(remembered)

    def _resume(self, remembered: Followed) -> None:
        try:
            self._current = plan_for(self._region, remembered.wish.plan)
        except ChipTrouble as trouble:
            self._warn(f"what lns {self._leader} wanted heard before cannot be followed any more: {trouble.problem}")
        else:
            self._followed = remembered

    # --- the radio

    @property
    def plan(self) -> ChipPlan | None:
        """What the radio is to be started with."""
        return self._current

    @property
    def before(self) -> ChipPlan | None:
        """What it is to hear instead, should it not start with `plan`; None when that is the region's own."""
        return None if self._current == self._own else self._own

    @property
    def followed(self) -> Followed | None:
        """What has to be remembered."""
        return self._followed

    @property
    def heard(self) -> ChannelPlan | None:
        """What the radio hears, as a server would write it; None where nobody here knows."""
        return None if self._current is None else as_planned(self._current)

    @property
    def heard_by_devices(self) -> ChannelPlan | None:
        """The same, where it is not simply what every device of the region has anyway."""
        return self.heard if self._followed is not None or self._region.fixed_plan else None

    def attend(self, radio: object, on_change: Callable[[], None]) -> None:
        """This is the radio; `on_change` is called whenever it hears something else than before."""
        self._on_change = on_change
        tune = getattr(radio, "tune", None)
        if tune is None or self._current is None:
            return
        tunable: Tunable = radio  # type: ignore[assignment]  # it can be tuned, as has just been seen
        self._radio = tunable
        if self._followed is not None:
            tunable.tune(self._current, partial(self._resumed, self._followed))

    def _resumed(self, followed: Followed, trouble: ChipTrouble | None) -> None:
        if trouble is not None and self._followed == followed:
            self._wishes[followed.server] = followed.wish
            self._fall_back()
            self._refuse(followed.server, trouble)

    def _fall_back(self) -> None:
        """The radio does not start with what it was told; it may have gone back further than to what was followed."""
        assert self._radio is not None
        if self._radio.plan != self._current:
            self._followed, self._current = None, self._radio.plan
            self._on_change()

    # --- what servers want

    def of(self, name: str) -> Ear:
        """The tuner as one server knows it."""
        return Ear(self, name)

    def ask(self, name: str, wish: Wish) -> str | None:
        """A server says what it wants heard. None, or why the radio does not follow the one it should follow."""
        if not wish.plan.channels or self._wishes.get(name) == wish:
            return self._refused.get(name)
        self._wishes[name] = wish
        self._refused.pop(name, None)
        if name != self._leader:
            self._tell_difference(name)
            return None
        try:
            plan = plan_for(self._region, wish.plan)
        except ChipTrouble as trouble:
            return self._refuse(name, trouble)
        if self._radio is None:
            return self._refuse(name, ChipTrouble(TroubleKind.BAD_PLAN, "this radio cannot be told what to hear"))
        self._radio.tune(plan, partial(self._tuned, name, wish, plan))
        return self._refused.get(name)

    def _tuned(self, name: str, wish: Wish, plan: ChipPlan, trouble: ChipTrouble | None) -> None:
        if trouble is not None:
            self._fall_back()
            if self._wishes.get(name) == wish:
                self._refuse(name, trouble)
            return
        before, self._current = self._current, plan
        self._followed = Followed(name, self._region.name, wish)
        if before != plan:
            self._say(f"the radio hears what lns {name} wants: {in_words(as_planned(plan).channels)}")
        for one in self._wishes:
            self._tell_difference(one)
        self._on_change()

    def _refuse(self, name: str, trouble: ChipTrouble) -> str:
        self._refused[name] = trouble.problem
        self._warn(f"what lns {name} wants heard cannot be followed: {trouble.problem}; {self._stays()}")
        return trouble.problem

    def _stays(self) -> str:
        if self._followed is not None:
            return f"the radio stays with what lns {self._followed.server} wanted before"
        return f"the radio stays with the channels of {self._region.name}"

    def _tell_difference(self, name: str) -> None:
        sentence = self.sentence(name)
        if sentence != self._said.get(name, ""):
            self._said[name] = sentence
            if sentence:
                self._warn(f"lns {name}: {sentence}")

    # --- what is told

    def unheard(self, name: str) -> tuple[PlannedChannel, ...]:
        """What a server wants heard and is not."""
        wish = self._wishes.get(name)
        if wish is None or self._current is None:
            return ()
        return unheard(self._current, wish.plan)

    def version(self, name: str) -> str:
        """Which of the server's configurations is in force: all of it is heard. Empty for none."""
        if self._followed is not None and name == self._followed.server:
            return self._followed.wish.version
        wish = self._wishes.get(name)
        return wish.version if wish is not None and self._current is not None and not self.unheard(name) else ""

    def sentence(self, name: str) -> str:
        """What a server has to know of its channels; empty when all it wants is heard."""
        if (why := self._refused.get(name)) is not None:
            return f"its channels cannot be heard: {why}; {self._stays()}"
        missing, wish = self.unheard(name), self._wishes.get(name)
        if wish is None or not missing:
            return ""
        if name == self._leader:
            is_in_force = self._followed is not None and self._followed.wish == wish
            return (
                f"no radio reaches {in_words(missing)} beside the others" if is_in_force else "the radio is tuned to it"
            )
        if len(missing) == len(wish.plan.channels):
            return f"hears none of its {len(missing)} channels: {self._whose()}"
        return f"will not hear {in_words(missing)}, which it wants: {self._whose()}"

    def _whose(self) -> str:
        if self._leader is None:
            return f'radio.channels = "region" ({self._region.name})'
        return f'radio.channels = "{self._leader}"'

    def facts(self) -> Mapping[str, Any]:
        """For `status`: whom the radio follows, what it hears, and a sentence about that."""
        heard = self.heard
        return {
            "follows": self._leader or "region",
            "version": None if self._followed is None else self._followed.wish.version or None,
            "channels_hz": None if heard is None else [channel.frequency_hz for channel in heard.channels],
            "channels": None if heard is None else in_words(heard.channels),
            "evidence": self._evidence(),
        }

    def _evidence(self) -> str:
        leader = self._leader
        if self._own is None:
            return "what is heard is in the configuration of the packet forwarder"
        if leader is None:
            return f"the channels of {self._region.name}, as the settings have them"
        if (why := self._refused.get(leader)) is not None:
            return f"what lns {leader} wants cannot be followed: {why}; {self._stays()}"
        if self._followed is None and leader in self._wishes:
            return f"the channels of {self._region.name}; the radio is being tuned to what lns {leader} wants"
        if self._followed is None:
            return f"the channels of {self._region.name}: lns {leader} has not said yet what to hear"
        if leader not in self._wishes:
            return f"what lns {leader} wanted before the start, it has not said anything since"
        if self._wishes[leader] != self._followed.wish:
            return f"what lns {leader} wanted before; the radio is being tuned to what it wants now"
        return f"what lns {leader} wants"

    def facts_of(self, name: str) -> Mapping[str, Any]:
        """For a server's `status`: what it wants heard, and what of that is not."""
        wish = self._wishes.get(name)
        return {
            "followed": self._followed is not None and self._followed.server == name,
            "wanted_hz": None if wish is None else [channel.frequency_hz for channel in wish.plan.channels],
            "unheard_hz": [channel.frequency_hz for channel in self.unheard(name)],
            "version": self.version(name) or None,
            "sentence": self.sentence(name),
        }


@dataclass(frozen=True, slots=True)
class Ear:
    """The tuner as one server knows it (`lns.server.Listening`)."""

    tuner: Tuner
    name: str

    @property
    def leads(self) -> bool:
        """Whether the radio is to follow this server."""
        return self.tuner._leader == self.name  # noqa: SLF001 - the other half of one thing

    def ask(self, plan: ChannelPlan, version: str = "") -> str | None:
        """Say what is to be heard; None, or why the radio cannot although it should."""
        return self.tuner.ask(self.name, Wish(plan, version))

    def version(self) -> str:
        """The version of what is in force; empty for none."""
        return self.tuner.version(self.name)

    def facts(self) -> Mapping[str, Any]:
        """For `status`."""
        return self.tuner.facts_of(self.name)


def as_planned(plan: ChipPlan) -> ChannelPlan:
    """What a chip hears, as a server would write it."""
    found = [PlannedChannel(channel.frequency_hz, 125_000, _ALL_FACTORS) for channel in plan.channels]
    service = plan.service
    if service is not None and isinstance(service.modulation, Lora):
        factor = service.modulation.spreading_factor
        found.append(PlannedChannel(service.frequency_hz, service.bandwidth_hz, range(factor, factor + 1)))
    if plan.fsk is not None:
        found.append(PlannedChannel(plan.fsk.frequency_hz, 125_000, range(0)))
    return ChannelPlan.of(found)
