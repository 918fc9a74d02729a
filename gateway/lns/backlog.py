"""What a network server missed, sent to it as history: for servers that take frames of yesterday for what they are.

The live lane stays what it is. What is kept on disk is looked through in its order, and every data frame that is for
the server and that it did not acknowledge when it was heard goes to it marked as history, with the time at which it was
heard: the oldest first, at a pace, two frames of one device some time apart. While a device is owed older frames, its
new ones wait behind them in the store: a server that has seen a higher counter takes a lower one for a device that
began anew. Such a device gets no answers meanwhile; all the others are live.

Join requests are not history: who answers one of yesterday makes a session that the device never hears of.

A crash may send a frame again that the server has; it never leaves one out that is in the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from gateway.errors import GatewayError
from gateway.lines.dialing import Unreachable
from gateway.lorawan.frame import DataFrame, Direction, MalformedFrame, parse
from gateway.model import UNDATED, Crc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from gateway.lns.filters import Filter
    from gateway.model import DevAddr, RadioFrame, Stamp

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0  # for something owed
CALM_S: Final = 60.0  # between two looks when nothing is known to be owed; a crash repeats that much
SETTLED_S: Final = 15.0  # what is younger may still be kept, or acknowledged
DISK_AWAY_S: Final = 600.0  # what waits so long for a disk that refuses is waited for no more
APART_S: Final = 0.5  # two frames of one device; ChirpStack gathers the copies of a frame for 0.2 s
AT_ONCE: Final = 16  # replayed frames that wait for their acknowledgement
AGAIN_S: Final = 10.0  # after what stopped it while the server is connected

Place = tuple[int, int, int]
"""How far in the store: a record's position, a part, and the number of a frame in it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame out of the store. `own`: of a device that this gateway serves itself. `frame` None: nothing to send."""

    place: Place
    frame: RadioFrame | None
    own: bool


class Keeper(Protocol):
    """Where frames are kept, and how far a server has them; `history.KeptFrames` is the real one."""

    async def place(self) -> Place:
        """Where this server stands; the end of the store when it is new."""
        ...

    def frames(self, after: Place) -> AsyncGenerator[Kept, None]:
        """What is kept behind a place, dated as well as can be, in the order of hearing; ends at the end."""
        ...

    async def is_complete(self) -> bool:
        """Whether all that was to be kept until now is there; waits a little. Not while the disk refuses."""
        ...

    async def settle(self, place: Place) -> None:
        """The server has everything up to here. Durable on return; StorageError when the disk refuses."""
        ...


@runtime_checkable
class Replayable(Protocol):
    """A network server that takes history."""

    @property
    def name(self) -> str: ...
    @property
    def is_connected(self) -> bool:
        """Whether frames go to it now."""
        ...

    def forward(self, frame: RadioFrame) -> None: ...
    async def run(self) -> None: ...
    def facts(self) -> Mapping[str, Any]: ...
    def tell(self, settled: Callable[[RadioFrame, bool], None]) -> None:
        """From now on say of each frame of the live lane whether it was acknowledged."""
        ...

    async def replay(self, frame: RadioFrame) -> None:
        """Send one as history; back when it is acknowledged. Unreachable, or ValueError when its time is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast history goes."""

    per_s: float = 20.0
    delay_s: float = 30.0  # upper bound of the random wait before: a town of gateways comes back at once
    settled_s: float = SETTLED_S
    apart_s: float = APART_S


@dataclass(frozen=True, slots=True)
class _Debt:
    """The newest frame that a device's server lacks, by its last copy: when that was heard, or where it lies."""

    frame_id: str
    heard_us: int = 0  # in this boot
    place: Place = (0, 0, 0)  # of what was heard before this start


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A frame of the store that was looked at, and the task that sends it, if it has to be sent."""

    place: Place
    frame_id: str = ""
    heard_us: int = 0
    device: DevAddr | None = None
    task: asyncio.Task[None] | None = None


class WithHistory:
    """A `NetworkServer` whose gaps are filled from the store."""

    def __init__(
        self, server: Replayable, wishes: Filter, keeper: Keeper, now: Callable[[], Stamp], pace: Pace = Pace()
    ) -> None:
        self.name = server.name
        self._server = server
        self._wishes = wishes
        self._keeper = keeper
        self._now = now
        self._pace = pace
        self._counted = False  # whether it is known who is owed what
        self._owed: dict[DevAddr, _Debt] = {}
        self._found: dict[DevAddr, _Debt] = {}  # the same, while it is being counted
        self._done: dict[str, int] = {}  # the server has it, not yet passed in the store; the last copy's time
        self._sent_s: dict[DevAddr, float] = {}
        self._next_s = self._settled_s = 0.0
        self._reached: Place | None = None  # in the store, and not yet written down
        self._replayed = self._held = 0
        self._skipped: Counter[str] = Counter()
        server.tell(self._settled)

    # --- the live lane

    def forward(self, frame: RadioFrame) -> None:
        """Take a frame that has just been heard; behind those that its device is owed, if it is owed any."""
        device = _device(frame)
        if device is not None and (not self._counted or device in self._owed):
            self._held += 1
            self._owe(device, frame)
        else:
            self._server.forward(frame)

    def _settled(self, frame: RadioFrame, acknowledged: bool) -> None:
        device = _device(frame)
        if device is None:
            return
        if acknowledged:
            self._is_there(frame)
        else:
            self._owe(device, frame)

    def _owe(self, device: DevAddr, frame: RadioFrame) -> None:
        self._owed[device] = _Debt(frame.frame_id, frame.heard.monotonic_us)

    def _is_there(self, frame: RadioFrame) -> None:
        """The server has it: a copy that was heard no later, and is still to come out of the store, is not sent."""
        self._done[frame.frame_id] = max(self._heard_us(frame), self._done.get(frame.frame_id, 0))

    def _heard_us(self, frame: RadioFrame) -> int:
        """When it was heard in this boot; 0 when that was before."""
        return frame.heard.monotonic_us if frame.heard.boot_id == self._now().boot_id else 0

    # --- history

    async def run(self) -> None:
        """The server's own run, and the filling beside it, until cancelled."""
        both = {
            asyncio.create_task(self._server.run(), name=f"lns {self.name}"),
            asyncio.create_task(self._fill(), name=f"lns {self.name} history"),
        }
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        for task in done:
            task.result()

    async def _fill(self) -> None:
        """Look for what is owed: soon after the server is back, and now and then when all seems well."""
        await self._count()
        loop, was_away, looked_s = asyncio.get_running_loop(), True, 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._server.is_connected:
                was_away = True
            elif self._owed or loop.time() - looked_s > CALM_S:
                if self._owed and was_away:
                    await asyncio.sleep(random.uniform(0, self._pace.delay_s))  # noqa: S311 - spreads a town of gateways
                if not await self._catch_up():
                    await asyncio.sleep(AGAIN_S)
                was_away, looked_s = False, loop.time()

    async def _count(self) -> None:
        """Who is owed something from before this start. Until that is known, nobody's new frames go first."""
        try:
            async with aclosing(self._keeper.frames(await self._keeper.place())) as frames:
                async for kept in frames:
                    if (wanted := self._wanted(kept)) is not None:
                        self._found[wanted[1]] = _Debt(wanted[0].frame_id, place=kept.place)
        except GatewayError as error:
            log.warning("lns %s: who is owed what is not known: %s", self.name, error)
        self._owed = self._found | self._owed
        self._found = {}
        self._counted = True

    def _wanted(self, kept: Kept) -> tuple[RadioFrame, DevAddr] | None:
        if kept.frame is None or kept.frame.crc is not Crc.OK:
            return None
        try:
            message = parse(kept.frame.phy)
        except MalformedFrame:
            return None
        if not isinstance(message, DataFrame) or message.direction is not Direction.UP:
            return None
        return (kept.frame, message.dev_addr) if self._wishes.takes(message, own=kept.own) else None

    async def _catch_up(self) -> bool:
        """Everything up to what may still be under way; False when the server or the store stops it."""
        began_us = self._now().monotonic_us
        under_way: deque[_UnderWay] = deque()
        complete = await self._keeper.is_complete()
        try:
            async with aclosing(self._keeper.frames(await self._keeper.place())) as frames:
                async for kept in frames:
                    if self._is_fresh(kept):
                        break
                    under_way.append(await self._handle(kept, under_way))
                    while len(under_way) > AT_ONCE:
                        await self._pass_first(under_way)
            while under_way:
                await self._pass_first(under_way)
        except (Unreachable, GatewayError) as reason:
            log.info("lns %s: history stops for now: %s", self.name, reason)
            return False
        else:
            self._forget(began_us, complete=complete)
            return True
        finally:
            for one in under_way:
                if one.task is not None:
                    one.task.cancel()
            await self._settle()

    async def _pass_first(self, under_way: deque[_UnderWay]) -> None:
        first = under_way[0]
        if first.task is not None:
            await first.task
        under_way.popleft()
        if self._done.get(first.frame_id, first.heard_us + 1) <= first.heard_us:  # else a later copy is to come
            del self._done[first.frame_id]
        self._reached = first.place
        if asyncio.get_running_loop().time() - self._settled_s > CALM_S:
            await self._settle()

    async def _settle(self) -> None:
        """Write down how far the server is; a disk that refuses costs a repetition."""
        place, self._reached = self._reached, None
        self._settled_s = asyncio.get_running_loop().time()
        if place is not None:
            try:
                await self._keeper.settle(place)
            except GatewayError as error:
                log.warning("lns %s: how far it has history is not written down: %s", self.name, error)

    def _is_fresh(self, kept: Kept) -> bool:
        """Whether it may still be acknowledged, or something heard before it may still be on its way to the disk."""
        if kept.frame is None:
            return False
        heard, now = kept.frame.heard, self._now()
        return heard.boot_id == now.boot_id and now.monotonic_us - heard.monotonic_us < self._pace.settled_s * 1e6

    async def _handle(self, kept: Kept, under_way: Sequence[_UnderWay]) -> _UnderWay:
        """Send it if the server lacks it, and has what its device sent before."""
        wanted = self._wanted(kept)
        if wanted is None:
            return _UnderWay(kept.place)
        frame, device = wanted
        if frame.frame_id not in self._done:
            if frame.heard.quality not in UNDATED:
                for before in under_way:
                    if before.device == device and before.task is not None:
                        await before.task
                await self._wait_for_turn(device)
                task = asyncio.create_task(self._replay(device, frame, kept.place), name=f"lns {self.name} replay")
                return _UnderWay(kept.place, frame.frame_id, self._heard_us(frame), device, task)
            if self._now().quality in UNDATED:
                raise Unreachable("nobody knows yet when its frames were heard")
            self._skipped["undated"] += 1
        self._passed(device, frame, kept.place)
        return _UnderWay(kept.place, frame.frame_id, self._heard_us(frame))

    async def _wait_for_turn(self, device: DevAddr) -> None:
        loop = asyncio.get_running_loop()
        turn_s = max(self._next_s, self._sent_s.get(device, 0.0) + self._pace.apart_s)
        await asyncio.sleep(max(0.0, turn_s - loop.time()))
        now_s = loop.time()
        self._next_s, self._sent_s[device] = now_s + 1 / self._pace.per_s, now_s
        if len(self._sent_s) > 1000:
            self._sent_s = {who: at for who, at in self._sent_s.items() if now_s - at < self._pace.apart_s}

    async def _replay(self, device: DevAddr, frame: RadioFrame, place: Place) -> None:
        await self._server.replay(frame)
        self._replayed += 1
        self._is_there(frame)  # not sent again when this ends before everything older is there, too
        self._passed(device, frame, place)

    def _passed(self, device: DevAddr, frame: RadioFrame, place: Place) -> None:
        owed = self._owed.get(device)
        if owed is None or owed.frame_id != frame.frame_id:
            return
        if owed.heard_us <= self._heard_us(frame) and owed.place <= place:  # no copy of it is to come
            del self._owed[device]

    def _forget(self, began_us: int, *, complete: bool) -> None:
        """What was heard long before the store was looked through, and was not in it, is not kept at all.

        Unless the disk has not taken it yet: while it waits for that, its device's newer frames wait with it.
        """
        limit_us = began_us - round(self._pace.settled_s * 2e6 if complete else DISK_AWAY_S * 1e6)
        for device, owed in list(self._owed.items()):
            if owed.heard_us < limit_us:
                del self._owed[device]
                self._skipped["not_kept"] += 1
        self._done = {frame: heard_us for frame, heard_us in self._done.items() if heard_us >= limit_us}

    def facts(self) -> Mapping[str, Any]:
        """Those of the server, and `history`: devices that are owed frames, what was sent, what could not be."""
        history = {
            "owed_devices": len(self._owed),
            "replayed": self._replayed,
            "held_back": self._held,
            "skipped": dict(self._skipped),
        }
        return {**self._server.facts(), "history": history}


def _device(frame: RadioFrame) -> DevAddr | None:
    try:
        message = parse(frame.phy)
    except MalformedFrame:
        return None
    return message.dev_addr if isinstance(message, DataFrame) and message.direction is Direction.UP else None
