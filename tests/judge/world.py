"""The gateway's own line, store and drains in one process, with time that is moved, destinations that misbehave, and a
disk from which the power can be cut.

A history is a list of events and nothing else, so that hypothesis can shrink it and a message can hold it. The store's
threads are real: while they have something under way, virtual time stands still.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import selectors
import shutil
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from fleet import Fleet
from judge import Account, Arrival, Books, Judge, Loss, Terms, Verdict

from gateway.delivery.drain import Drain, Manners
from gateway.delivery.sink import Refusal, SinkUnavailable
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

    from simulated_disk import Journal, SimulatedDisk

    from gateway.model import Reading, Record, Session
    from gateway.store.cursors import Loss as StoreLoss
    from gateway.store.cursors import Progress

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
DAWN_US = 1_795_428_902_000_000
UNCERTAINTY_MS = 50
DISK_ANSWERS_WITHIN_S = 30.0
ACK_TIMEOUT_S = 20.0  # of a destination that keeps silent; as gateway.delivery.mqtt has it
REBOOT_S = 15.0
FRESH_WITHIN_S = 45.0  # a destination is found again within 40 s; then there is the way
LIMITS = Limits(max_bytes=4 << 20, max_age_s=30 * 86_400, keep_delivered_s=60)  # parts of one megabyte, the least
FILLING_BYTES = 5_000  # of every second answer, so that a few hundred records fill a part


# --- time


class Pending:
    """How much the store's threads have under way."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class _PatientSelector(selectors.DefaultSelector):
    """Instead of waiting for a timeout, move the clock by it; but not while a thread is at work."""

    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self.now_s = 0.0
        self._pending = pending

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._pending.count:
            ready = super().select(DISK_ANSWERS_WITHIN_S)
            assert ready, "the store does not answer"
            return ready
        assert timeout is not None, "everything waits and nothing will ever happen"
        self.now_s += timeout
        return ready


class _PatientLoop(asyncio.SelectorEventLoop):
    def __init__(self, pending: Pending) -> None:
        self._clock = _PatientSelector(pending)
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


# --- what can happen


@dataclass(frozen=True, slots=True)
class Hear:
    """So many frames, one after the other without a pause."""

    frames: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """The device that spoke last repeats its frame."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Time goes by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Leave:
    """A destination goes away, with its connection."""

    at: int


@dataclass(frozen=True, slots=True)
class Return:
    """And is there again."""

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
    """A destination takes so long for a batch from now on."""

    at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody pauses a destination."""

    at: int


@dataclass(frozen=True, slots=True)
class Resume:
    """And lets it go on."""

    at: int


@dataclass(frozen=True, slots=True)
class AskAgain:
    """A destination wants the newest records it was sent once more."""

    at: int
    records: int


@dataclass(frozen=True, slots=True)
class Tidy:
    """The store lets go of what it need not, or can not, keep any longer."""


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


Event = (
    Hear | Repeat | Pass | Leave | Return | Break | Silence | TurnAway | Slow | Pause | Resume | AskAgain | Tidy | Stop
    | Kill | PowerCut
)  # fmt: skip


# --- destinations


@dataclass(frozen=True, slots=True)
class Place:
    """A destination of the world: what it asks for, and which numbers it will never take."""

    name: str
    manners: Manners
    refuses: Callable[[int], bool] = lambda _: False
    wants: Callable[[int], bool] = lambda _: True

    @property
    def terms(self) -> Terms:
        return Terms(self.manners.in_flight, 2 if self.manners.live_first else 1, self.wants)


class FarEnd:
    """A destination that takes readings, tells the judge, and does not always say so. A Sink and its Link."""

    def __init__(
        self, place: Place, tell: Callable[[Callable[[], None]], None], judge: Judge, now_us: Callable[[], int]
    ):
        self.name = place.name
        self.up = True
        self.takes_s = 0.01
        self.next_batch: Break | Silence | TurnAway | None = None
        self._place = place
        self._tell = tell
        self._judge = judge
        self._now_us = now_us
        self._gone = asyncio.Event()

    def leave(self) -> None:
        self.up = False
        self._gone.set()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Self]:
        if not self.up:
            raise SinkUnavailable("nobody answers")
        self._gone = asyncio.Event()
        self._tell(lambda: self._judge.connected(self.name))
        yield self

    async def announce(self, topic: str, facts: Any, *, retain: bool = False) -> None:
        pass

    async def lost(self) -> str:
        await self._gone.wait()
        return "went away"

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        gone = self._gone
        mood, self.next_batch = self.next_batch, None
        if not await _passes(gone, self.takes_s):
            raise SinkUnavailable("went away")
        refusals = [self._refuse(record) for record in batch if self._place.refuses(self._number(record))]
        unwanted = {refusal.position for refusal in refusals}
        wanted = [record for record in batch if record.position not in unwanted]
        match mood:
            case Break(_, arrive, confirm):
                self._arrive(wanted[:arrive])
                gone.set()
                raise SinkUnavailable("broke", acknowledged=_positions(wanted[: min(arrive, confirm)]))
            case Silence():
                self._arrive(wanted)
                await _passes(gone, ACK_TIMEOUT_S)
                gone.set()
                raise SinkUnavailable("no acknowledgement")
            case TurnAway() if wanted:
                self._turn_away(wanted[0])
                self._arrive(wanted[1:])
                raise SinkUnavailable("busy", acknowledged=_positions(wanted[1:]))
        self._arrive(wanted)
        return refusals

    def _arrive(self, records: Sequence[Record]) -> None:
        at_us = self._now_us()
        for record in records:
            arrival = Arrival.of(record)
            self._tell(lambda arrival=arrival: self._judge.received(self.name, arrival, at_us))

    def _refuse(self, record: Record) -> Refusal:
        refusal = Refusal(record.position, "not for this place")
        self._tell(lambda: self._judge.refused(self.name, record.epoch, record.position, refusal.reason))
        return refusal

    def _turn_away(self, record: Record) -> None:
        self._tell(lambda: self._judge.turned_away(self.name, record.epoch, record.position))

    @staticmethod
    def _number(record: Record) -> int:
        return Fleet.number(record.reading.payload) or 0


async def _passes(gone: asyncio.Event, seconds: float) -> bool:
    """Whether the time passes before the connection is gone."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await gone.wait()
    return not gone.is_set()


def _positions(records: Sequence[Record]) -> list[int]:
    return [record.position for record in records]


# --- the gateway


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
    """The store, as line and drains use it; counts what its threads have under way."""

    def __init__(self, store: Store, pending: Pending) -> None:
        self._store = store
        self._pending = pending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def keep_uplink(self, reading: Reading, session: Session) -> asyncio.Future[int]:
        self._pending.__enter__()
        kept = self._store.keep_uplink(reading, session)
        kept.add_done_callback(lambda _: self._pending.__exit__())
        return kept

    async def read(self, after: int, limit: int) -> Any:
        with self._pending:
            return await self._store.read(after, limit)

    async def settle(self, sink: str, change: Callable[[Any], Any], refused: Sequence[tuple[int, str]] = ()) -> None:
        with self._pending:
            await self._store.settle(sink, change, refused)


@dataclass
class _Gateway:
    """One run of the gateway: from a start to whatever ends it."""

    store: Store
    line: UplinkLine
    radio: _Radio
    drains: list[Drain]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def silence(self) -> None:
        """Nothing of it runs on the loop any more."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class World:
    """Lets a history happen, and asks the judge."""

    def __init__(
        self, folder: Path, disk: SimulatedDisk, fleet: Fleet, places: Sequence[Place], *, seed: int = 0
    ) -> None:
        """`seed` is that of the drains' jitter."""
        self.fleet = fleet
        self.judge = Judge(
            fleet, {place.name: place.terms for place in places}, loss_window_us=1 << 62, transit_us=0,
            fresh_within_us=round(FRESH_WITHIN_S * 1e6),
        )  # fmt: skip
        self._places = places
        self._disk = disk
        self._root = folder
        self._rng = random.Random(seed)
        self._pending = Pending()
        self._number = 0
        self._runs = 0
        self._boots = 0
        self._boot_s = 0.0
        self._journal: Journal | None = None
        self._observed: list[tuple[int, Callable[[], None]]] = []
        self._mark = 0

    def tell(self, history: Sequence[Event]) -> Verdict:
        """Everything that happens in this history, and the verdict on it."""
        runner = asyncio.Runner(loop_factory=lambda: _PatientLoop(self._pending))
        try:
            runner.run(self._tell(history))
        finally:
            with self._pending:  # the loop's own threads
                runner.close()
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

    # --- starting and ending

    async def _start(self, folder: Path) -> None:
        self._journal = self._disk.watch(folder)
        self._mark = 0
        self._folder = folder
        self._open = AsyncExitStack()
        store = Store.open(folder, EUI, commit_interval_s=0.0, limits=LIMITS)
        await self._open.enter_async_context(store)
        for place in self._places:
            store.subscribe(place.name)
        patient = _Patient(store, self._pending)
        drains = [
            Drain(patient, far_end, place.manners, now=self._stamp, facts=dict, rng=random.Random(self._rng.random()))
            for place, far_end in zip(self._places, self._far_ends, strict=True)
        ]
        for drain in drains:
            store.tell(drain.name, drain.stir)
        radio = _Radio()
        line = UplinkLine(radio, Network(region_named("EU868")), patient, _Talkative(), self)
        self._gateway = _Gateway(store, line, radio, drains)
        self._gateway.tasks = [asyncio.create_task(duty.run()) for duty in (line, *drains)]

    async def _crash(self, share: float, cut: random.Random | None) -> None:
        """End it at a moment since the last event, and start again with what is on the disk then."""
        journal = self._journal
        assert journal is not None
        at = self._mark + round(share * (journal.now - self._mark))
        self._believe(at)
        await self._gateway.silence()
        self._runs += 1
        folder = self._root / str(self._runs)
        if cut is None:
            self.judge.killed(self._now_us())
            journal.after_kill(at, folder)
        else:
            self.judge.cut_off(self._now_us())
            journal.after_power_cut(at, folder, cut)
        await self._close()
        self._observed.clear()  # what the rest of it did while it was cleared away
        if cut is not None:
            await asyncio.sleep(REBOOT_S)
            self._boots += 1
            self._boot_s = asyncio.get_running_loop().time()
        await self._start(folder)

    async def _stop(self) -> None:
        """As the daemon does."""
        gateway = self._gateway
        gateway.radio.close()
        await gateway.tasks[0]
        await gateway.silence()
        with self._pending:
            await self._open.aclose()
        self._believe_all()
        self.judge.stopped(self._now_us())

    async def _close(self) -> None:
        """What the crash left behind here has to go; nobody looks at it any more."""
        with self._pending:
            await self._open.aclose()
        assert self._journal is not None
        self._disk.forget(self._journal)
        shutil.rmtree(self._folder)

    # --- what was seen, and when

    def _observe(self, observation: Callable[[], None]) -> None:
        """Something was seen. Should the world turn out to have ended before, it never happened."""
        assert self._journal is not None
        self._observed.append((self._journal.now, observation))

    def _believe(self, at: int) -> None:
        for index, observation in self._observed:
            if index <= at:
                observation()
        self._observed.clear()

    def _believe_all(self) -> None:
        assert self._journal is not None
        self._believe(self._journal.now)

    def _now_us(self) -> int:
        return DAWN_US + round(asyncio.get_running_loop().time() * 1e6)

    def _stamp(self) -> Stamp:
        monotonic_us = round((asyncio.get_running_loop().time() - self._boot_s) * 1e6)
        return Stamp(self._now_us(), TimeQuality.NTP, UNCERTAINTY_MS, f"{self._boots:032x}", monotonic_us)

    # --- the line's onlooker

    def kept(self, position: int, reading: Reading) -> None:
        arrival = Arrival.of(self._gateway.store.record(position, reading))
        self._observe(lambda: self.judge.promised(arrival))

    def refused(self, *_: object) -> None:
        pass

    # --- events

    async def _happen(self, event: Event) -> None:
        assert self._journal is not None
        match event:
            case Kill(share):
                await self._crash(share, None)
                return
            case PowerCut(share, seed):
                await self._crash(share, random.Random(seed))
                return
        self._mark = self._journal.now
        match event:
            case Hear(frames):
                for _ in range(frames):
                    self._number += 1
                    self._hear(self._number)
                await asyncio.sleep(0.001)
            case Repeat() if self._number:
                self._hear(self._number)
                await asyncio.sleep(0.001)
            case Pass(seconds):
                await asyncio.sleep(seconds)
            case Leave(at):
                self.judge.disturbed(self._far_ends[at].name)
                self._far_ends[at].leave()
            case Return(at):
                self._far_ends[at].up = True
            case Break(at) | Silence(at) | TurnAway(at):
                self.judge.disturbed(self._far_ends[at].name)
                self._far_ends[at].next_batch = event
            case Slow(at, seconds):
                self._far_ends[at].takes_s = seconds
            case Pause(at):
                await self._ask(at, lambda progress: replace(progress, paused=True))
            case Resume(at):
                await self._ask(at, lambda progress: replace(progress, paused=False))
            case AskAgain(at, records):
                await self._ask_again(self._places[at].name, records)
            case Tidy():
                await self._tidy()
            case Stop():
                await self._stop()
                await self._start_again()

    async def _ask(self, at: int, change: Callable[[Progress], Progress]) -> None:
        name = self._places[at].name
        self.judge.disturbed(name)
        with self._pending:
            await self._gateway.store.ask(name, change)

    async def _ask_again(self, name: str, records: int) -> None:
        store = self._gateway.store
        first, last = max(1, store.head - records + 1), store.head
        self._observe(lambda: self.judge.asked_again(name, store.epoch, first, last))
        with self._pending:
            await store.ask(name, lambda progress: progress.send_again(first, last))

    async def _tidy(self) -> None:
        """What `keep_house` does about the disk, once."""
        store = self._gateway.store
        with self._pending:
            await store._writer.call(store._measure)
            await store._retain(self._now_us())

    async def _start_again(self) -> None:
        self._disk.forget(self._journal)
        await self._start(self._folder)

    def _hear(self, number: int) -> None:
        self.judge.handed_out(number, self._now_us())
        stamp = self._stamp()
        self._gateway.radio.hear(
            RadioFrame(
                self.fleet.phy(number), stamp, 868_100_000, Lora(7, 125_000), -97.0, 5.2, 2, 0,
                stamp.monotonic_us & 0xFFFFFFFF, Crc.OK, "0016c001f1500812",
            )
        )  # fmt: skip

    async def _calm_down(self) -> None:
        """Nobody interferes any more: everything has to arrive, and something fresh soon."""
        for at, far_end in enumerate(self._far_ends):
            far_end.up, far_end.takes_s, far_end.next_batch = True, 0.01, None
            await self._ask(at, lambda progress: replace(progress, paused=False))
        self.judge.calm(self._now_us())
        for _ in range(self.fleet.devices):
            self._number += 1
            self._hear(self._number)
        store, loop = self._gateway.store, asyncio.get_running_loop()
        until_s = loop.time() + 3_600
        while loop.time() < until_s and (
            self._gateway.line.booked < self._gateway.radio.heard
            or any(store.progress(place.name).queued(store.head) for place in self._places)
        ):
            await asyncio.sleep(1)
        with self._pending:
            losses = await store.losses()
        await self._stop()
        self.judge.rests(self._books(store, losses))

    def _books(self, store: Store, losses: Sequence[StoreLoss]) -> Books:
        books = store.books()
        progress = {place.name: store.progress(place.name) for place in self._places}
        balance = abs(books.balance) + sum(abs(one.balance(store.head)) for one in progress.values())
        return Books(
            books.heard, books.stored, sum(books.filtered.values()), sum(books.dropped.values()), balance,
            {
                name: Account(one.acknowledged, one.queued(store.head), one.given_up, one.skipped)
                for name, one in progress.items()
            },
            [
                Loss(loss.sink, loss.dev_eui.hex(), range(loss.first_f_cnt, loss.last_f_cnt + 1), loss.records)
                for loss in losses
            ],
        )  # fmt: skip
