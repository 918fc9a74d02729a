"""The gateway's own line, store and drains in one process, with time that is moved and a disk whose power can be cut.

When a run ends at a moment that has passed, whatever was seen after that moment never happened: each observation is
kept with the number of disk operations that were done by then, and reaches the judge only when it is certain.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from evidence import Account, Arrival, Books, Loss
from history import AskAgain, Hear, Kill, Learn, Pass, Pause, PowerCut, Repeat, Replay, Resume, Stop, Tidy
from judge import Judge
from patience import Pending, run_patiently
from places import FarEnd, Place

from gateway.delivery.drain import Drain
from gateway.host.dating import Anchor, Dating
from gateway.lorawan.network import Network
from gateway.model import Crc, Decoded, GatewayEui, Lora, RadioFrame, Stamp, TimeQuality
from gateway.regions import region_named
from gateway.store.devices import DeviceRegistry
from gateway.store.retention import Limits
from gateway.store.store import Store
from gateway.uplink import UplinkLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from fleet import Fleet
    from history import Ending, Event, Order
    from simulated_disk import SimulatedDisk
    from verdict import Verdict

    from gateway.model import Reading, Session
    from gateway.store.cursors import Progress

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
FORWARDER = "0016c001f1500812"
DAWN_US = 1_795_428_902_000_000
UNCERTAINTY_MS = 50
REBOOT_S = 15.0
STOP_S = 10.0  # promised
DRAINED_WITHIN_S = 3_600.0
FRESH_WITHIN_S = 45.0  # a destination is found again within 40 s; then there is the way
LIMITS = Limits(max_bytes=4 << 20, max_age_s=30 * 86_400, keep_delivered_s=60)  # parts of one megabyte, the least
FILLING_BYTES = 5_000  # of every second answer, so that a few hundred records fill a part


# --- the gateway's parts that are not under test


class _Radio:
    """Hands frames to the line."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[RadioFrame | None] = asyncio.Queue()
        self.heard = 0

    def hear(self, frame: RadioFrame) -> None:
        self.heard += 1
        self._waiting.put_nowait(frame)

    def close(self) -> None:
        self._waiting.put_nowait(None)

    async def frames(self) -> AsyncIterator[RadioFrame]:
        while (frame := await self._waiting.get()) is not None:
            yield frame


class _Talkative:
    """A decoder with now short, now long answers: records of every size, and parts that are full soon."""

    async def decode(self, _: object, payload: bytes, *__: object) -> Decoded:
        if payload[3] % 2:
            return Decoded("judge/frame@1", {"filling": payload.hex()})
        return Decoded("judge/frame@1", {"filling": hashlib.shake_128(payload).hexdigest(FILLING_BYTES)})


class _Patient:
    """The store, as line and drains use it; says what its threads have under way."""

    def __init__(self, store: Store, pending: Pending) -> None:
        self._store = store
        self._pending = pending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def keep_uplink(self, reading: Reading, session: Session, **options: Any) -> asyncio.Future[int]:
        self._pending.__enter__()
        kept = self._store.keep_uplink(reading, session, **options)
        kept.add_done_callback(self._pending.__exit__)
        return kept

    async def read(self, *arguments: Any) -> Any:
        with self._pending:
            return await self._store.read(*arguments)

    async def settle(self, *arguments: Any) -> None:
        with self._pending:
            await self._store.settle(*arguments)

    async def date_back(self, *arguments: Any) -> None:
        with self._pending:
            await self._store.date_back(*arguments)

    async def sent_again(self, *arguments: Any) -> None:
        with self._pending:
            await self._store.sent_again(*arguments)


@dataclass
class _Run:
    """One run of the gateway: from a start to whatever ends it."""

    store: Store
    line: UplinkLine
    radio: _Radio
    tasks: dict[str, asyncio.Task[None]]

    @property
    def is_idle(self) -> bool:
        """Whether all that was heard is kept."""
        return self.line.booked >= self.radio.heard

    async def hush(self) -> list[str]:
        """Let nothing of it run on the loop any more; the names of what was told to end and did not."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.wait(self.tasks.values(), timeout=STOP_S)
        stubborn = [name for name, task in self.tasks.items() if not task.done()]
        while not all(task.done() for task in self.tasks.values()):
            for task in self.tasks.values():
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return stubborn


class World:
    """Lets a history happen, and asks the judge."""

    def __init__(
        self, folder: Path, disk: SimulatedDisk, fleet: Fleet, places: Sequence[Place], *, seed: int = 0
    ) -> None:
        """`seed` is that of the drains' jitter."""
        self.fleet = fleet
        self.judge = Judge(
            fleet,
            {place.name: place.terms for place in places},
            loss_window_us=1 << 62,  # what happens at once has no age
            transit_us=0,
            fresh_within_us=round(FRESH_WITHIN_S * 1e6),
        )
        self._places = places
        self._disk = disk
        self._root = folder
        self._rng = random.Random(seed)
        self._pending = Pending()
        self._numbers = self._lives = self._boots = 0
        self._boot_s = 0.0
        self._knows_time = True
        self._dating = Dating()  # what a clock remembers across power cuts (gateway.host.anchors)
        self._told: set[str] = set()  # and that the store has dealt with
        self._observed: list[tuple[int, Callable[[], None]]] = []
        self._mark = 0  # how many disk operations were done when the last event began

    def tell(self, history: Sequence[Event]) -> Verdict:
        """Everything that happens in this history, and the verdict on it."""
        run_patiently(self._tell(history), self._pending)
        return self.judge.verdict()

    async def _tell(self, history: Sequence[Event]) -> None:
        self._far_ends = [FarEnd(place, self._observe, self.judge, self._now_us) for place in self._places]
        folder = self._root / "0"
        with DeviceRegistry.open(folder) as registry:
            registry.add_all(self.fleet.newcomers())
        await self._start(folder)
        for event in history:
            await self._happen(event)
        await self._calm_down()

    async def _happen(self, event: Event) -> None:
        if not isinstance(event, Kill | PowerCut):
            self._mark = self._journal.now
        match event:
            case Kill() | PowerCut() | Stop():
                await self._end(event)
            case Hear(frames):
                await self._hear(frames)
            case Repeat():
                await self._hear_again(self._numbers)
            case Replay(back):
                await self._hear_again(self._numbers - back)
            case Pass(seconds):
                await asyncio.sleep(seconds)
            case Tidy():
                await self._tidy()
            case Learn():
                self._learn_time()
            case Pause() | Resume() | AskAgain():
                await self._obey(event)
            case _:
                self.judge.disturbed(self._far_ends[event.at].name)
                self._far_ends[event.at].meets(event)

    # --- starting and ending

    async def _start(self, folder: Path) -> None:
        self._folder, self._mark = folder, 0
        self._journal = self._disk.watch(folder)
        self._opened = AsyncExitStack()
        store = Store.open(folder, EUI, commit_interval_s=0.0, limits=LIMITS)
        await self._opened.enter_async_context(store)
        store.date = self._dating.date
        for place in self._places:
            store.subscribe(place.name, place.manners.takes)
        patient, radio = _Patient(store, self._pending), _Radio()
        line = UplinkLine(radio, Network(region_named("EU868")), patient, _Talkative(), self)
        duties = {"line": line.run(), "clock": self._keep_time(patient)}
        for place, far_end in zip(self._places, self._far_ends, strict=True):
            jitter = random.Random(self._rng.random())
            drain = Drain(patient, far_end, place.manners, now=self._stamp, facts=dict, rng=jitter)
            store.tell(drain.name, drain.stir)
            duties[drain.name] = drain.run()
        tasks = {name: asyncio.create_task(duty, name=name) for name, duty in duties.items()}
        self._run = _Run(store, line, radio, tasks)

    async def _end(self, ending: Ending) -> None:
        """And begin again."""
        match ending:
            case Kill(share):
                await self._kill(share)
            case PowerCut(share, seed):
                await self._cut_power(share, random.Random(seed))
            case Stop():
                await self._stop()
                await self._start(self._folder)

    async def _kill(self, share: float) -> None:
        at = self._moment(share)
        self._believe(at)
        self.judge.killed(self._now_us())
        folder = self._next_folder()
        self._journal.after_kill(at, folder)
        await self._clear_away()
        await self._start(folder)

    async def _cut_power(self, share: float, chance: random.Random) -> None:
        at = self._moment(share)
        self._believe(at)
        self.judge.cut_off(self._now_us())
        folder = self._next_folder()
        self._journal.after_power_cut(at, folder, chance)
        await self._clear_away()
        await asyncio.sleep(REBOOT_S)
        self._boots += 1
        self._boot_s = asyncio.get_running_loop().time()
        self._knows_time = False
        self.judge.rebooted(self._now_us())
        await self._start(folder)

    def _moment(self, share: float) -> int:
        return self._mark + round(share * (self._journal.now - self._mark))

    def _next_folder(self) -> Path:
        self._lives += 1
        return self._root / str(self._lives)

    async def _clear_away(self) -> None:
        """The run ended at an earlier moment. What still runs here is nobody's any more."""
        await self._run.hush()
        with self._pending:
            await self._opened.aclose()
        self._disk.forget(self._journal)
        self._observed.clear()
        shutil.rmtree(self._folder)

    async def _stop(self) -> None:
        """As the daemon does."""
        began_us = self._now_us()
        self._run.radio.close()
        await self._run.tasks["line"]
        stubborn = await self._run.hush()
        with self._pending:
            await self._opened.aclose()
        self._believe(self._journal.now)
        self._disk.forget(self._journal)
        self.judge.stopped(self._now_us(), took_us=self._now_us() - began_us, left_behind=stubborn)

    # --- what is seen

    def _observe(self, observation: Callable[[], None]) -> None:
        self._observed.append((self._journal.now, observation))

    def _believe(self, at: int) -> None:
        """What was seen until then did happen."""
        for index, observation in self._observed:
            if index <= at:
                observation()
        self._observed.clear()

    def _now_us(self) -> int:
        return DAWN_US + round(asyncio.get_running_loop().time() * 1e6)

    def _stamp(self) -> Stamp:
        boot_id, monotonic_us = f"{self._boots:032x}", round((asyncio.get_running_loop().time() - self._boot_s) * 1e6)
        if not self._knows_time:
            return Stamp(monotonic_us, TimeQuality.UNSYNCED, None, boot_id, monotonic_us)
        return Stamp(self._now_us(), TimeQuality.NTP, UNCERTAINTY_MS, boot_id, monotonic_us)

    async def _keep_time(self, store: _Patient) -> None:
        """As the clock does: tell of each boot whose time is known, until that is done and remembered."""
        told = set(self._told)
        while True:
            self._has_told = told.issuperset(self._dating.boots())
            for boot_id in self._dating.boots():
                if boot_id not in told:
                    await store.date_back(self._dating.backdating(boot_id))
                    told.add(boot_id)
            self._has_told = True
            await asyncio.sleep(1)
            for boot_id in told:
                self._observe(partial(self._told.add, boot_id))

    def _learn_time(self) -> None:
        if not self._knows_time:
            self._knows_time = True
            now = self._stamp()
            self._dating.learn(Anchor(now.boot_id, now.monotonic_us, now.utc_us, now.quality, UNCERTAINTY_MS))
            self.judge.learnt_time(self._now_us())

    def kept(self, position: int, reading: Reading) -> None:
        """As the line's onlooker: this is durable."""
        arrival = Arrival.of(self._run.store.record(position, reading))
        self._observe(lambda: self.judge.promised(arrival))

    def opened(self, *_: object) -> None:
        """As the line's onlooker: not kept yet."""

    def refused(self, *_: object) -> None:
        """As the line's onlooker: repetitions, which the books count."""

    # --- what is done

    async def _hear(self, frames: int) -> None:
        for _ in range(frames):
            self._numbers += 1
            self._hear_one(self._numbers)
        await asyncio.sleep(0.001)

    async def _hear_again(self, number: int) -> None:
        if number > 0:
            self._hear_one(number)
            await asyncio.sleep(0.001)

    def _hear_one(self, number: int) -> None:
        self.judge.handed_out(number, self._now_us())
        stamp = self._stamp()
        counter_us = stamp.monotonic_us & 0xFFFFFFFF
        self._run.radio.hear(
            RadioFrame(
                self.fleet.phy(number), stamp, 868_100_000, Lora(7, 125_000), -97.0, 5.2, 2, 0, counter_us, Crc.OK,
                FORWARDER,
            )
        )  # fmt: skip

    async def _obey(self, order: Order) -> None:
        name, store = self._places[order.at].name, self._run.store
        match order:
            case Pause() | Resume():
                self.judge.disturbed(name)
                await self._ask(name, lambda progress: replace(progress, paused=isinstance(order, Pause)))
            case AskAgain(_, records):
                first, last = max(1, store.head - records + 1), store.head
                self._observe(lambda: self.judge.asked_again(name, store.epoch, first, last))
                await self._ask(name, lambda progress: progress.send_again(first, last))

    async def _ask(self, name: str, change: Callable[[Progress], Progress]) -> None:
        with self._pending:
            await self._run.store.ask(name, change)

    async def _tidy(self) -> None:
        """What `keep_house` does about the disk, once."""
        store = self._run.store
        with self._pending:
            await store._writer.call(store._measure)
            has_room = store.facts().bytes <= LIMITS.max_bytes
            await store._retain(self._now_us() if self._knows_time and self._has_told else None)
            await store._writer.call(store._measure)
        if not has_room:
            epoch, through = store.epoch, store.head - store.facts().records
            self._observe(lambda: self.judge.left(epoch, through))

    # --- the end

    async def _calm_down(self) -> None:
        """Nobody interferes any more: everything has to arrive, and something fresh soon."""
        for at, far_end in enumerate(self._far_ends):
            far_end.calms_down()
            await self._obey(Resume(at))
        self._learn_time()
        self.judge.calm(self._now_us())
        await self._hear(self.fleet.devices)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + DRAINED_WITHIN_S
        while loop.time() < until_s and not (self._run.is_idle and self._is_drained()):
            await asyncio.sleep(1)
        with self._pending:
            losses = await self._run.store.losses()
        await self._stop()
        told = [
            Loss(loss.sink, loss.dev_eui.hex(), range(loss.first_f_cnt, loss.last_f_cnt + 1), loss.records)
            for loss in losses
        ]
        self.judge.rests(self._books(told))

    def _is_drained(self) -> bool:
        store = self._run.store
        states = [store.progress(place.name) for place in self._places]
        return self._has_told and not any(state.queued(store.head) or state.again for state in states)

    def _books(self, losses: Sequence[Loss]) -> Books:
        store = self._run.store
        books, progress = store.books(), {place.name: store.progress(place.name) for place in self._places}
        accounts = {
            name: Account(one.acknowledged, one.queued(store.head), one.given_up, one.skipped)
            for name, one in progress.items()
        }
        balance = abs(books.balance) + sum(abs(one.balance(store.head)) for one in progress.values())
        filtered, dropped = sum(books.filtered.values()), sum(books.dropped.values())
        return Books(books.heard, books.stored, filtered, dropped, balance, accounts, losses)
