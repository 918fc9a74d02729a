"""One loop for each destination: carry what waits, in two lanes, and settle what was confirmed.

The live lane carries what has just been heard. Whatever has waited longer than five seconds is backlog: it goes out
beside the live lane, oldest first, at a limited rate and after a random delay, so that a fleet that comes back after an
outage neither hides today behind last week nor falls upon the centre at once. A strict destination has one lane only.

Records are in order of position inside a lane, and so in counter order for each device. Each lane has half of the
window: never more than `in_flight` records are sent and not yet remembered as confirmed, which a kill can repeat.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gateway.delivery.sink import AskingLink, SinkUnavailable, TellingLink
from gateway.forecast import Pace
from gateway.lines.pace import Limiter, backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.delivery.sink import Link, Refusal, Sink
    from gateway.model import DevEui, Happening, Record, Stamp

log = logging.getLogger(__name__)

LATE_AFTER_S = 5.0
ANNOUNCE_S = 60.0
MOST_NEWS = 1_000  # facts that wait for a destination to be there
FINISH_S = 5.0  # what is on its way when a destination is paused may still be confirmed
OBSERVE_S = 1.0
HOME = "home"  # the tag that names the gateway a device belongs to
SUSTAINED_S = 30.0  # a connection that holds this long is a success; a shorter one does not reset the back-off


class Progress(Protocol):
    """How far a destination is; `store.cursors.Progress` is the real one."""

    @property
    def prefix(self) -> int: ...
    @property
    def again(self) -> Sequence[tuple[int, int]]: ...
    @property
    def paused(self) -> bool: ...
    def acknowledge(self, positions: Sequence[int], /) -> Progress: ...
    def give_up(self, positions: Sequence[int], /) -> Progress: ...
    def give_up_range(self, first: int, last: int, /) -> Progress: ...
    def skip(self, first: int, last: int, /) -> Progress: ...
    def erase_range(self, first: int, last: int, /) -> Progress: ...
    def note_dates(self, sent: Sequence[Record], span: tuple[int, int], /) -> Progress: ...
    def is_settled(self, position: int, /) -> bool: ...
    def queued(self, head: int, /) -> int: ...


class Batch(Protocol):
    """What the outbox read: records, ranges whose records are lost or were erased, and how far it looked."""

    @property
    def records(self) -> Sequence[Record]: ...
    @property
    def lost(self) -> Sequence[tuple[int, int]]: ...
    @property
    def erased(self) -> Sequence[tuple[int, int]]: ...
    @property
    def through(self) -> int: ...


class Outbox(Protocol):
    """Where records wait; `store.store.Store` is the real one."""

    @property
    def head(self) -> int: ...
    def progress(self, sink: str) -> Any: ...
    async def beyond(self, position: int) -> None: ...
    def stranded(self, after: int, limit: int) -> Sequence[tuple[int, Record]]: ...
    def was_sent_from_memory(self, sink: str, records: Sequence[Record]) -> None: ...
    async def read(self, after: int, limit: int) -> Batch: ...
    async def settle(
        self, sink: str, change: Callable[[Any], Any], refused: Sequence[tuple[int, str]] = ()
    ) -> None: ...
    async def sent_again(
        self, sink: str, span: tuple[int, int], delivered: Sequence[Record], refused: Sequence[tuple[int, str]]
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Manners:
    """How a destination wants to be served (contract section 3)."""

    live_first: bool = True
    backlog_per_s: float = 200.0
    backlog_delay_s: float = 30.0
    in_flight: int = 32
    only_tags: Mapping[str, str] | None = None
    homes: frozenset[str] | None = None  # names of this gateway; of devices with a `home` only those that are at home

    def takes(self, record: Record) -> bool:
        """Whether a record is for this destination, and ours to bring there."""
        tags, has = self.only_tags, record.reading.tags
        if self.homes is not None and (home := has.get(HOME, "").strip().lower()) and home not in self.homes:
            return False
        return not tags or all(has.get(name) == value for name, value in tags.items())


@dataclass(frozen=True, slots=True)
class _News:
    """Something a destination is told beside the records: facts for a topic, what happened to a device, or both."""

    told: asyncio.Future[None]
    topic: str = ""
    facts: Mapping[str, Any] | None = None
    happening: Happening | None = None

    def is_of(self, dev_eui: DevEui) -> bool:
        """Whether it tells of this device; that it was removed is something else."""
        device = getattr(self.happening, "device", None)
        return self.topic.startswith(f"{dev_eui}/") or (device is not None and device.dev_eui == dev_eui)

    def __str__(self) -> str:
        return self.topic or type(self.happening).__name__


class Drain:
    """Carries records to one destination for as long as the gateway runs."""

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        manners: Manners,
        *,
        now: Callable[[], Stamp],
        facts: Callable[[], Mapping[str, Any]],
        asked: Callable[[str, DevEui | str, bytes], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`facts` are what the destination is told of the gateway; `asked` hears what downlinks it asks for."""
        self._asked = asked
        self._outbox = outbox
        self._sink = sink
        self._manners = manners
        self._half = max(1, manners.in_flight // 2)
        self._now = now
        self._facts = facts
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._limiter = Limiter(manners.backlog_per_s)
        self._turns = asyncio.Semaphore()
        self._news: deque[_News] = deque()
        self._news_came = asyncio.Event()
        self._live_from = outbox.head  # the live lane has looked at everything up to here
        self._border = outbox.head  # up to here it is the backlog lane's, whatever the live lane does meanwhile
        self._stirred = asyncio.Event()
        self._pause_asked = asyncio.Event()
        self.state = "connecting"
        self.evidence = ""
        self._failures = 0  # that nobody was told the end of
        self.oldest: Stamp | None = None
        self._queue = Pace()

    @property
    def name(self) -> str:
        """The destination's name."""
        return self._sink.name

    @property
    def sink(self) -> Sink:
        """The destination."""
        return self._sink

    @property
    def _lanes(self) -> int:
        """How many batches may be on their way; a window of one is shared by taking turns."""
        return min(2, self._manners.in_flight)

    @property
    def _progress(self) -> Progress:
        progress: Progress = self._outbox.progress(self._sink.name)
        return progress

    def stir(self) -> None:
        """Look at the progress again: it was paused or resumed, or something is to be sent once more."""
        self._stirred.set()
        if self._progress.paused:
            self._pause_asked.set()
        else:
            self._pause_asked.clear()

    async def announce(self, topic: str, facts: Mapping[str, Any]) -> None:
        """Tell the destination a fact of the gateway itself, once there is a connection; back when it was told."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news.append(_News(told, topic, facts))
        self._news_came.set()
        await told

    def tell(self, topic: str, facts: Mapping[str, Any] | None, happening: Happening | None = None) -> None:
        """Tell the destination what is of use soon or not at all; when too much waits, the oldest is left out.

        `facts` are in our own JSON, None when there is nothing to say in that; `happening` is the same for
        destinations that have words of their own.
        """
        if len(self._news) >= MOST_NEWS:
            left_out = self._news[1]  # the first may be on its way
            del self._news[1]
            if not left_out.told.done():
                left_out.told.set_result(None)
            log.warning("%s: is not told of %s, too much waits for it", self.name, left_out)
        self._news.append(_News(asyncio.get_running_loop().create_future(), topic, facts, happening))
        self._news_came.set()

    def forget(self, dev_eui: DevEui) -> None:
        """Tell the destination nothing of this device any more, of what still waits to be told."""
        waiting = [*self._news][1:]  # the first may be on its way
        for news in [one for one in waiting if one.is_of(dev_eui)]:
            self._news.remove(news)
            if not news.told.done():
                news.told.set_result(None)

    # --- connecting

    async def run(self) -> None:
        """Connect, carry, and when the connection is lost, wait and connect again."""
        failures = 0
        proof = True  # whether a connection is good news: not after one that came, too, and did not last
        loop = asyncio.get_running_loop()
        while True:
            began: float | None = None
            if self._progress.paused:
                await self._stay_paused()
            try:
                async with self._sink.connect() as link:
                    began = loop.time()
                    self._connected(failures)
                    if proof:
                        self._recovered()
                    await self._carry(link)
            except SinkUnavailable as unavailable:
                reason = unavailable
            except Exception as error:  # one destination's trouble, even if it is our bug, is not another's
                log.exception("%s: failed", self.name)
                reason = SinkUnavailable(f"failed: {error}", alert=True)
            if self._progress.paused:
                continue
            sustained = began is not None and loop.time() - began > SUSTAINED_S
            proof = began is None or sustained
            failures = 1 if sustained else failures + 1
            self._lost(reason, failures)
            await self._observe_oldest()
            wait_s = max(backoff_s(failures, self._rng.random()), reason.retry_after_s or 0)
            await _happened(self._pause_asked, wait_s)

    async def _stay_paused(self) -> None:
        self.state, self.evidence = "paused", ""
        while self._progress.paused:
            await self._observe_oldest()
            await _happened(self._stirred, OBSERVE_S)
            self._stirred.clear()
        self.state = "connecting"

    async def _watch_for_pause(self, _: Link) -> None:
        """End the connection when asked to, once nothing is on its way: what is cut off there would arrive twice."""
        await self._pause_asked.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                for _turn in range(self._lanes):
                    await self._turns.acquire()  # not given back: the next connection has turns of its own
        raise SinkUnavailable("paused")

    def _connected(self, failures: int) -> None:
        self._failures = failures
        self.state, self.evidence = "connected", ""
        self._turns = asyncio.Semaphore(self._lanes)
        waiting = self._progress.queued(self._outbox.head)
        # A handful that waits is sent at once: it is neither a thundering herd nor in anybody's way.
        self._live_from = self._progress.prefix if waiting <= self._manners.in_flight else self._outbox.head
        self._border = self._live_from

    def _recovered(self) -> None:
        if self._failures:
            log.info("%s: connected again after %d attempts", self.name, self._failures)
        self._failures = 0

    def _lost(self, reason: SinkUnavailable, failures: int) -> None:
        self.state, self.evidence = "refused" if reason.alert else "unreachable", str(reason)
        log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s: %s", self.name, reason)

    async def _carry(self, link: Link) -> None:
        """Carry until the connection is lost."""
        # In a task of its own: to Python 3.11 one whose TaskGroup has just failed is half cancelled, and would not hear
        # of a stop that comes at this moment.
        carrying = asyncio.ensure_future(self._run_duties(link))
        try:
            await asyncio.wait({carrying})
        except asyncio.CancelledError:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
            raise
        carrying.result()

    async def _run_duties(self, link: Link) -> None:
        """Both lanes, and what runs beside them."""
        lanes = [self._live_lane, self._backlog_lane] if self._manners.live_first else [self._strict_lane]
        try:
            async with asyncio.TaskGroup() as tasks:
                beside = (
                    self._memory_lane, self._watch, self._watch_for_pause, self._keep_announcing, self._tell_news,
                    self._listen,
                )  # fmt: skip
                for duty in (*lanes, *beside):
                    tasks.create_task(duty(link))
                tasks.create_task(self._observe())
        except BaseExceptionGroup as reasons:
            raise _worst(reasons) from None

    async def _watch(self, link: Link) -> None:
        raise SinkUnavailable(await link.lost())

    async def _keep_announcing(self, link: Link) -> None:
        while True:
            await link.announce("status", self._facts(), retain=True)
            await asyncio.sleep(ANNOUNCE_S)

    async def _tell_news(self, link: Link) -> None:
        while True:
            while self._news:
                news = self._news[0]
                if not news.told.done():
                    if news.facts is not None:
                        await link.announce(news.topic, news.facts)
                    if news.happening is not None and isinstance(link, TellingLink):
                        await link.report(news.happening)
                self._news.popleft()
                if not news.told.done():
                    news.told.set_result(None)
            self._news_came.clear()
            await self._news_came.wait()

    async def _listen(self, link: Link) -> None:
        """What the destination asks for goes to whoever can do it."""
        if self._asked is not None and isinstance(link, AskingLink):
            async for dev_eui, content in link.downlinks():
                self._asked(self.name, dev_eui, content)

    # --- the lanes

    async def _live_lane(self, link: Link) -> None:
        """What is heard now. When it falls behind, the rest becomes backlog and this lane goes on at the head."""
        while True:
            after = self._live_from
            await self._outbox.beyond(after)
            batch = await self._outbox.read(after, self._half)
            behind = self._outbox.head - after > 2 * self._manners.in_flight
            if behind and batch.records and self._age_s(batch.records[0]) > LATE_AFTER_S:
                self._live_from = self._border = self._outbox.head
                self._stirred.set()
                continue
            self._live_from = batch.through
            await self._send(link, after, batch)

    async def _backlog_lane(self, link: Link) -> None:
        """What has waited, oldest first, up to where the live lane began."""
        if self._progress.prefix < self._border:
            await asyncio.sleep(self._rng.uniform(0, self._manners.backlog_delay_s))
        after, border = self._progress.prefix, self._border
        while True:
            while after < border:
                batch = _up_to(await self._outbox.read(after, self._half), after, border)
                await self._slow_down(len(batch.records))
                await self._send(link, after, batch)
                after = batch.through
            await self._send_again(link, self._stirred.is_set)
            await self._stirred.wait()
            self._stirred.clear()
            after, border = self._progress.prefix, self._border

    async def _strict_lane(self, link: Link) -> None:
        """Everything in order; what has waited obeys the backlog's rate."""
        after = self._progress.prefix
        while True:
            await self._send_again(link, partial(self._is_beyond, after))
            await self._beyond_or_stirred(after)
            if self._outbox.head <= after:
                continue
            batch = await self._outbox.read(after, self._manners.in_flight)
            if batch.records and self._age_s(batch.records[0]) > LATE_AFTER_S:
                await self._slow_down(len(batch.records))
            await self._send(link, after, batch)
            after = batch.through

    async def _memory_lane(self, link: Link) -> None:
        """While the disk refuses, what is heard goes out from memory: better than waiting for a card that is dead."""
        after = 0
        while True:
            await asyncio.sleep(OBSERVE_S)
            while stranded := self._outbox.stranded(after, self._half):
                records = [record for _, record in stranded if self._manners.takes(record)]
                async with self._turns:
                    refused = await link.deliver([self._aged(record) for record in records]) if records else ()
                gone = {refusal.position for refusal in refused}
                self._outbox.was_sent_from_memory(
                    self.name, [record for record in records if record.position not in gone]
                )
                after = stranded[-1][0]

    def _is_beyond(self, position: int) -> bool:
        return self._outbox.head > position

    async def _beyond_or_stirred(self, after: int) -> None:
        waits = [asyncio.ensure_future(self._outbox.beyond(after)), asyncio.ensure_future(self._stirred.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._stirred.clear()

    async def _slow_down(self, records: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wait_s = self._limiter.wait_s(records, loop.time())
            if wait_s <= 0:
                return
            await asyncio.sleep(wait_s)

    async def _send(self, link: Link, after: int, batch: Batch) -> None:
        """Deliver a batch and settle what became of it."""
        wanted = [record for record in batch.records if self._wants(record)]
        async with self._turns:
            refused: Sequence[Refusal] = ()
            if wanted:
                try:
                    refused = await link.deliver([self._aged(record) for record in wanted])
                except SinkUnavailable as reason:
                    confirmed = [record for record in wanted if record.position in reason.acknowledged]
                    if confirmed:
                        await self._outbox.settle(self.name, partial(_arrived, confirmed))
                    raise
            await self._settle(after, batch, wanted, refused)

    async def _settle(self, after: int, batch: Batch, wanted: Sequence[Record], refused: Sequence[Refusal]) -> None:
        """Everything between `after` and the end of the batch is settled now, one way or the other."""
        sent = [record.position for record in wanted]
        gone = {refusal.position for refusal in refused}
        taken = [record for record in wanted if record.position not in gone]

        def change(progress: Progress) -> Progress:
            progress = progress.acknowledge([record.position for record in taken])
            progress = progress.note_dates(taken, (after + 1, batch.through))
            progress = progress.give_up([*gone])
            for first, last in batch.lost:
                progress = progress.give_up_range(first, last)
            for first, last in batch.erased:
                progress = progress.erase_range(first, last)
            for first, last in _holes(after, batch, sent):
                progress = progress.skip(first, last)
            return progress

        self._recovered()
        for refusal in refused:
            log.warning("%s refuses record %d for good: %s", self.name, refusal.position, refusal.reason)
        await self._outbox.settle(self.name, change, [(refusal.position, refusal.reason) for refusal in refused])
        if self._progress.again:
            self._stirred.set()  # the time became known while this was on its way

    async def _send_again(self, link: Link, something_new: Callable[[], bool]) -> None:
        """What was asked for once more, oldest first, at the backlog's rate, while nothing waits for its first time."""
        while self._progress.again and not something_new():
            first, last = self._progress.again[0]
            batch = _up_to(await self._outbox.read(first - 1, self._half), first - 1, last)
            wanted = [record for record in batch.records if self._manners.takes(record)]
            await self._slow_down(len(wanted))
            async with self._turns:
                refused = await link.deliver([self._aged(record) for record in wanted]) if wanted else ()
                reasons = {refusal.position: refusal.reason for refusal in refused}
                delivered = [record for record in wanted if record.position not in reasons]
                await self._outbox.sent_again(self.name, (first, batch.through), delivered, [*reasons.items()])

    def _wants(self, record: Record) -> bool:
        return self._manners.takes(record) and not self._progress.is_settled(record.position)

    # --- time, and what status shows

    def _aged(self, record: Record) -> Record:
        return replace(record, late=True) if self._age_s(record) > LATE_AFTER_S else record

    def _age_s(self, record: Record) -> float:
        return age_s(record.reading.heard, self._now())

    async def _observe(self) -> None:
        while True:
            await self._observe_oldest()
            await asyncio.sleep(OBSERVE_S)

    def drained_in_s(self) -> float | None:
        """How long the backlog takes at the present pace; None when it does not shrink."""
        queued = self._progress.queued(self._outbox.head)
        if not queued:
            return 0.0
        shrinking = -self._queue.per_s if self._queue.per_s is not None else 0.0
        return queued / shrinking if shrinking > 0 else None

    async def _observe_oldest(self) -> None:
        self._queue.sample(self._progress.queued(self._outbox.head), asyncio.get_running_loop().time())
        if not self._progress.queued(self._outbox.head):
            self.oldest = None
            return
        batch = await self._outbox.read(self._progress.prefix, 1)
        self.oldest = batch.records[0].reading.heard if batch.records else None


async def _happened(event: asyncio.Event, within_s: float) -> None:
    """Wait for it, so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


def _arrived(records: Sequence[Record], progress: Progress) -> Progress:
    """These were confirmed before the connection broke."""
    positions = [record.position for record in records]
    return progress.acknowledge(positions).note_dates(records, (positions[0], positions[-1]))


def age_s(heard: Stamp, now: Stamp) -> float:
    """How long ago something was heard: by the monotonic clock within one boot, else by the dates."""
    if heard.boot_id == now.boot_id:
        return (now.monotonic_us - heard.monotonic_us) / 1e6
    return max(LATE_AFTER_S * 2, (now.utc_us - heard.utc_us) / 1e6)  # a reboot takes longer than that


@dataclass(frozen=True, slots=True)
class _Cut:
    records: Sequence[Record]
    lost: Sequence[tuple[int, int]]
    through: int
    erased: Sequence[tuple[int, int]] = ()


def _up_to(batch: Batch, after: int, border: int) -> Batch:
    """The part of a batch that lies before the live lane; when nothing is left there, all the way to the border."""
    if batch.through > border:
        records = [record for record in batch.records if record.position <= border]
        lost, erased = (
            [(first, min(last, border)) for first, last in ranges if first <= border]
            for ranges in (batch.lost, batch.erased)
        )
        return _Cut(records, lost, border, erased)
    return batch if batch.through > after else _Cut((), (), border)


def _holes(after: int, batch: Batch, sent: Sequence[int]) -> list[tuple[int, int]]:
    """The ranges of a batch that are nothing to this destination: other tags, or positions that were never used."""
    holes, expected = [], after + 1
    for first, last in sorted([*((position, position) for position in sent), *batch.lost, *batch.erased]):
        if first > expected:
            holes.append((expected, first - 1))
        expected = last + 1
    if expected <= batch.through:
        holes.append((expected, batch.through))
    return holes


def _worst(reasons: BaseExceptionGroup[BaseException]) -> BaseException:
    """One reason for all lanes: a bug before everything, then what a person must see."""
    found = list(reasons.exceptions)
    strange = [reason for reason in found if not isinstance(reason, SinkUnavailable)]
    alerts = [reason for reason in found if isinstance(reason, SinkUnavailable) and reason.alert]
    return (strange or alerts or found)[0]
