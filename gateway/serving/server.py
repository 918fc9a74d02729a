"""The network side of the gateway: each device that is heard gets the answer it waits for, in its receive window.

One device is answered at a time, in a task of its own; devices do not wait for each other. What an uplink leads to:

    heard     what it says changes what is known of the device (`lorawan.mac`)
    kept      a confirmed uplink is acknowledged once it is on disk, and not before
    composed  what the device waits for, what it is asked, what waits for it in the queue (`composing`)
    spent     a downlink counter, on disk
    sent      in RX1, or else in RX2, by the receiver that heard it best
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import StorageError
from gateway.lorawan import mac
from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.downlink import counter_for, seal_downlink
from gateway.lorawan.mac_state import MacState, initial
from gateway.lorawan.windows import windows
from gateway.model import DownlinkState, Refusal, TxResult
from gateway.serving.composing import Draft, TooLong, compose, too_long_at
from gateway.serving.sessions import CountersUsedUp
from gateway.serving.windows import heard_how_well, way_at_once, ways_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from gateway.downlink import DownlinkLine, Fate
    from gateway.lorawan.frame import JoinRequest, RejoinRequest
    from gateway.lorawan.requests import Wanted
    from gateway.model import (
        DevEui,
        Device,
        DownlinkRequest,
        OpenedUplink,
        QueuedDownlink,
        RadioFrame,
        Refused,
        Session,
        TxReport,
    )
    from gateway.regions.region import Region
    from gateway.serving.joining import Joining
    from gateway.serving.plan import NetworkPlan
    from gateway.serving.queue import DownlinkQueue
    from gateway.serving.sessions import Served, ServedSessions

log = logging.getLogger(__name__)

COPIES_WITHIN_S = 0.06
"""Other receivers of the same transmission report it within this time over a local network. It delays no answer much,
and the one that heard the device best sends it."""

ANSWERED_AT_ONCE = 16
"""Uplinks nobody waits for whose device may still be asked something: about 260 a second, and a chip delivers at most
171. Above that they are only listened to; what a device waits for is always answered."""

UPLINKS_REMEMBERED = 1_024
MOST_ATTEMPTS = 8
"""How often a confirmed downlink is sent: the value that TS001-1.0.4 (4.3.1.1, note) recommends as the most for
confirmed uplinks."""

AGAIN_S = 5.0
"""Until a class C downlink that found no room on the air is tried again."""

WAKE_S, MOST_WOKEN = 30.0, 100
"""What waits for a device of class C when the gateway starts, or while no receiver was there, goes out within this
time; each look at a device is a lookup in the registry."""

STOP_WITHIN_S = 1.0

_NEVER = frozenset({TxResult.TX_FREQ, TxResult.TX_POWER})
"""What time does not change."""


class Registrar(Protocol):
    """Who knows devices; `store.store.Store` is the real one."""

    def is_offered(self, session: Session, /) -> bool: ...
    async def taken_up(self, device: Device, session: Session, /) -> None: ...
    async def in_use(self, dev_eui: DevEui, /) -> tuple[Device, Session] | None: ...
    def may_acknowledge(self, session: Session, f_cnts_down: tuple[int, ...], /) -> None: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What the server works with."""

    region: Region
    wanted: Wanted
    registrar: Registrar
    sessions: ServedSessions
    queue: DownlinkQueue
    joining: Joining
    line: DownlinkLine
    gps_time_us: Callable[[RadioFrame], int | None]
    only_receiver: Callable[[], str | None]


class NetworkServer:
    """A `uplink.Server`."""

    def __init__(self, means: Means) -> None:
        self._with = means
        self._keys = KeySchedules()
        self._turns: dict[DevEui, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unurgent = 0
        self._heard_by: OrderedDict[bytes, list[RadioFrame]] = OrderedDict()
        self._keeping: dict[tuple[int, int], asyncio.Future[int]] = {}
        self._speaking: set[DevEui] = set()
        self._stopping = False
        self.answered = 0
        self.unanswered = 0  # devices that waited in vain: no window was to be had
        self.skipped = 0  # uplinks nobody waited for, while too many came

    def follow(self, plan: NetworkPlan) -> None:
        """Ask devices for this from now on; those that have another one are asked as they are heard."""
        self._with.joining.follow(plan)
        self._with.sessions.follow(plan.wanted)
        self._with = replace(self._with, wanted=plan.wanted)

    # --- what the line tells

    async def join(self, frame: RadioFrame, request: JoinRequest | RejoinRequest) -> Refused:
        """What became of a join request."""
        return await self._with.joining.join(frame, request)

    def heard(self, uplink: OpenedUplink, kept: asyncio.Future[int]) -> None:
        """A device was heard."""
        if self._stopping:
            return
        key = (uplink.session.session_id, uplink.f_cnt)
        if not kept.done():
            self._keeping[key] = kept
            kept.add_done_callback(lambda _: self._keeping.pop(key, None))
        self._note(uplink.frame)
        waits = uplink.confirmed or uplink.adr_ack_req or bool(uplink.f_opts) or uplink.f_port == 0
        if waits or self._with.queue.next_for(uplink.device.dev_eui) is not None:
            self._spawn(self._answer(uplink, again=False))
        elif self._unurgent < ANSWERED_AT_ONCE:
            self._unurgent += 1
            self._spawn(self._answer(uplink, again=False)).add_done_callback(self._one_less)
        else:
            self.skipped += 1

    def heard_again(self, frame: RadioFrame, refused: Refused) -> None:
        """A frame came again: another receiver may answer it, or its device missed the answer."""
        if self._stopping:
            return
        if refused.reason is Refusal.COPY:
            heard_by = self._heard_by.get(frame.phy)
            if heard_by is not None:
                heard_by.append(frame)
        elif refused.repeated is not None:
            self._note(frame)
            self._spawn(self._answer(refused.repeated, again=True))

    def stirred(self, dev_eui: DevEui) -> None:
        """Something waits for a device: one that always listens is told now."""
        if dev_eui not in self._speaking and not self._stopping:
            self._speaking.add(dev_eui)
            task = self._spawn(self._speak(dev_eui))
            task.add_done_callback(lambda _: self._speaking.discard(dev_eui))

    def forget(self, dev_eui: DevEui) -> None:
        """The device was erased: it is told nothing any more, and nothing is known of it."""
        self._with.queue.forget(dev_eui)
        self._with.sessions.forget(dev_eui)

    async def keep(self) -> None:
        """Write down what is known of devices, for as long as the gateway runs."""
        await self._with.sessions.keep()

    async def wake(self) -> None:
        """Try again for devices that always listen and could not be reached, for as long as the gateway runs."""
        while True:
            await asyncio.sleep(WAKE_S)
            for dev_eui in self._with.queue.waited_for(MOST_WOKEN):
                self.stirred(dev_eui)

    async def stop(self) -> None:
        """Let what is under way end, for a moment; then write down what is known. Nothing is begun any more."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WITHIN_S)
        for task in [*self._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._with.sessions.write()
        await self._with.queue.look_after()

    def facts(self) -> Mapping[str, Any]:
        """For `status`."""
        return {
            "answered": self.answered,
            "unanswered": self.unanswered,
            "skipped": self.skipped,
            "joined": self._with.joining.joined,
            "waiting": self._with.queue.waiting,
            "downlinks": dict(self._with.line.facts()),
        }

    # --- one uplink

    async def _answer(self, uplink: OpenedUplink, *, again: bool) -> None:
        known, device, session = self._with, uplink.device, uplink.session
        if not await self._is_kept(uplink):
            return
        async with self._turn(device.dev_eui):
            if known.registrar.is_offered(session):
                await known.registrar.taken_up(device, session)
                await known.joining.taken_up(device.dev_eui)
            served = await known.sessions.of(device, session)
            frames = self._heard_by.get(uplink.frame.phy, [uplink.frame])
            if again:
                heard = mac.heard_again(served.state, uplink, gateways=len(frames), gps_time_us=self._gps_us(uplink))
            else:
                heard = self._understood(uplink, served, frames)
            served.state, served.receiver = heard.state, max(frames, key=heard_how_well).receiver
            draft = self._composed(heard, served, uplink)
            if draft is None:
                self.unanswered += heard.waiting
                return
            fate = await self._send(draft, uplink, served, frames)
            self.answered += fate.may_be_heard
            if not fate.may_be_heard and heard.waiting:
                self.unanswered += 1
                log.warning(
                    "%s (%s) waited for an answer that was not sent: %s",
                    device.name, device.dev_eui, _reason(fate.report),
                )  # fmt: skip
        if known.queue.next_for(device.dev_eui) is not None:
            self.stirred(device.dev_eui)

    async def _is_kept(self, uplink: OpenedUplink) -> bool:
        """Whether the uplink may be acknowledged; the wait is also for other receivers of it."""
        kept = self._keeping.get((uplink.session.session_id, uplink.f_cnt))
        if not uplink.confirmed or kept is None:
            await asyncio.sleep(COPIES_WITHIN_S)
            return True
        try:
            await asyncio.gather(asyncio.shield(kept), asyncio.sleep(COPIES_WITHIN_S))
        except StorageError as error:
            log.warning("%s is not acknowledged: %s", uplink.device.name, error.problem)
            return False
        return True

    def _understood(self, uplink: OpenedUplink, served: Served, frames: list[RadioFrame]) -> mac.Heard:
        known = self._with
        base = initial(known.region, device_class=uplink.device.device_class)
        heard = mac.heard(
            served.state, uplink, known.region, known.wanted, base,
            gateways=len({frame.receiver for frame in frames}), gps_time_us=self._gps_us(uplink),
        )  # fmt: skip
        for event in heard.events:
            self._happened(uplink.device, event)
        self._settle_lost(uplink.device, heard.state)
        return heard

    def _happened(self, device: Device, event: mac.Event) -> None:
        match event:
            case mac.Acknowledged(ref=ref):
                self._with.queue.acknowledged(ref)
            case mac.NotAcknowledged(ref=ref):
                self._try_again(ref, "not acknowledged")
            case _:
                log.info("%s (%s): %s", device.name, device.dev_eui, event)

    def _try_again(self, ref: str, why: str) -> None:
        entry = self._with.queue.get(ref)
        if entry is None or entry.finished:
            return
        if entry.attempts >= MOST_ATTEMPTS:
            self._with.queue.failed(ref, f"{why}, {entry.attempts} times")
        else:
            self._with.queue.waits_again(ref, why)

    def _settle_lost(self, device: Device, state: MacState) -> None:
        """A confirmed downlink of which nobody remembers the counter any more is sent once more."""
        entry = self._with.queue.unacknowledged(device.dev_eui)
        if entry is not None and (state.in_flight is None or state.in_flight.ref != entry.ref):
            self._try_again(entry.ref, "not known to be acknowledged")

    def _composed(self, heard: mac.Heard, served: Served, uplink: OpenedUplink) -> Draft | None:
        known, frame = self._with, uplink.frame
        data_rate = known.region.data_rate_index(frame.modulation)
        if data_rate is None:
            return None
        open_windows = windows(served.state, frame.frequency_hz, data_rate, known.region)
        while True:
            entry = known.queue.next_for(uplink.device.dev_eui)
            found = compose(heard, known.region, self._wanted_of(heard), open_windows, entry)
            if not isinstance(found, TooLong):
                return found
            known.queue.failed(found.entry.ref, found.reason)

    def _wanted_of(self, heard: mac.Heard) -> Wanted:
        """A device that has just joined has a fresh battery, and better things to be told."""
        wanted = self._with.wanted
        if heard.f_cnt >= wanted.dev_status_every:
            return wanted
        return replace(wanted, dev_status_every=0)

    # --- one downlink

    async def _send(self, draft: Draft, uplink: OpenedUplink, served: Served, frames: list[RadioFrame]) -> Fate:
        """Seal it, send it, and put down what became of it."""
        session, said, entry = uplink.session, draft.answer, draft.entry
        more = said.more or self._with.queue.waits_behind(entry, uplink.device.dev_eui)
        f_cnt = await self._with.sessions.spend(session, served, counter_for(session.mac_version, draft.f_port))
        served.state = said.state
        if entry is not None and entry.confirmed:
            await self._remember_confirmed(session, served, f_cnt, entry.ref)
        phy = seal_downlink(
            session, f_cnt=f_cnt, f_port=draft.f_port, payload=draft.payload, f_opts=draft.f_opts,
            confirmed=entry is not None and entry.confirmed, ack=said.ack, conf_f_cnt=said.conf_f_cnt, adr=said.adr,
            f_pending=more, schedules=self._keys,
        )  # fmt: skip
        ways = ways_to(self._with.region, frames, draft.openings, phy, f"{uplink.device.dev_eui} {f_cnt}")
        fate = await self._carried(ways, entry, f_cnt)
        if not fate.may_be_heard:
            served.state = replace(said.unsent, conf_f_cnts=served.state.conf_f_cnts)
        return fate

    async def _remember_confirmed(self, session: Session, served: Served, f_cnt: int, ref: str) -> None:
        """The acknowledgement of a 1.1 device is signed with this counter: it is on disk before the downlink is out."""
        served.state = mac.confirmed_sent(served.state, f_cnt, ref)
        await self._with.sessions.write_now(session, served)
        self._with.registrar.may_acknowledge(session, served.state.conf_f_cnts or ())

    async def _carried(self, ways: list[DownlinkRequest], entry: QueuedDownlink | None, f_cnt: int) -> Fate:
        queue = self._with.queue
        taken = None if entry is None else (lambda _: queue.scheduled(entry.ref, f_cnt))
        fate = await self._with.line.carry(ways, taken=taken)
        if entry is None:
            return fate
        if fate.may_be_heard:
            queue.sent(entry.ref, None if fate.on_air else _reason(fate.report))
        elif fate.report.result in _NEVER:
            queue.failed(entry.ref, _reason(fate.report))
        else:
            queue.waits_again(entry.ref, _reason(fate.report))
        return fate

    # --- class C

    async def _speak(self, dev_eui: DevEui) -> None:
        """Tell a device that always listens what waits for it, one after the other."""
        while True:
            entry = self._with.queue.next_for(dev_eui)
            if entry is None:
                return
            async with self._turn(dev_eui):
                wait_s = await self._say(entry)
            if wait_s is None:
                return
            await asyncio.sleep(wait_s)

    async def _say(self, entry: QueuedDownlink) -> float | None:
        """Send one entry at once; how long to wait before the next. None: the device does not listen now."""
        known = self._with
        found = await known.registrar.in_use(entry.dev_eui)
        if found is None or known.queue.next_for(entry.dev_eui) is not entry:
            return None
        device, session = found
        served = await known.sessions.of(device, session)
        if mac.class_of(served.state, device, session.mac_version) != "C":
            return None
        receiver = served.receiver or known.only_receiver()
        if receiver is None:
            return None  # it was not heard since the start, and who could reach it is not known
        rx2 = replace(
            known.region.rx2, frequency_hz=served.state.rx.rx2_frequency_hz, data_rate=served.state.rx.rx2_data_rate
        )
        reason = too_long_at(known.region, rx2, entry)
        if reason is not None:
            known.queue.failed(entry.ref, reason)
            return 0.0
        f_cnt = await known.sessions.spend(session, served, counter_for(session.mac_version, entry.f_port))
        before = served.state
        if entry.confirmed:
            await self._remember_confirmed(session, served, f_cnt, entry.ref)
        phy = seal_downlink(
            session, f_cnt=f_cnt, f_port=entry.f_port, payload=entry.payload, confirmed=entry.confirmed,
            f_pending=False, schedules=self._keys,
        )  # fmt: skip
        way = way_at_once(known.region, receiver, rx2, phy, f"{entry.dev_eui} {f_cnt}")
        if way is None:
            known.queue.failed(entry.ref, f"nobody may send at {rx2.frequency_hz / 1e6:g} MHz")
            return 0.0
        fate = await self._carried([way], entry, f_cnt)
        if not fate.may_be_heard:
            served.state = replace(before, conf_f_cnts=served.state.conf_f_cnts)
            return AGAIN_S
        if entry.confirmed:
            asyncio.get_running_loop().call_later(
                known.region.class_c_resp_timeout_us / 1e6, self._waited, session.session_id, entry
            )
        return 0.0

    def _waited(self, session_id: int, entry: QueuedDownlink) -> None:
        """A class C device has had its time to acknowledge."""
        now = self._with.queue.get(entry.ref)
        if now is None or now.finished or now.state is not DownlinkState.SENT:
            return
        served = self._with.sessions.there(session_id)
        if served is not None and served.state.in_flight is not None and served.state.in_flight.ref == entry.ref:
            served.state = replace(served.state, in_flight=None)
        self._try_again(entry.ref, "not acknowledged")
        self.stirred(entry.dev_eui)

    # --- inside

    def _gps_us(self, uplink: OpenedUplink) -> int | None:
        return self._with.gps_time_us(uplink.frame)

    def _note(self, frame: RadioFrame) -> None:
        self._heard_by[frame.phy] = [frame]
        self._heard_by.move_to_end(frame.phy)
        if len(self._heard_by) > UPLINKS_REMEMBERED:
            self._heard_by.popitem(last=False)

    def _turn(self, dev_eui: DevEui) -> asyncio.Lock:
        turn = self._turns.get(dev_eui)
        if turn is None:
            if len(self._turns) > UPLINKS_REMEMBERED:
                self._turns = {whose: lock for whose, lock in self._turns.items() if lock.locked()}
            turn = self._turns[dev_eui] = asyncio.Lock()
        return turn

    def _one_less(self, _: asyncio.Task[None]) -> None:
        self._unurgent -= 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(_guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _guarded(work: Awaitable[None]) -> None:
    """One device's trouble is not another's."""
    try:
        await work
    except StorageError as error:
        log.warning("a device is not answered: %s", error.problem)
    except CountersUsedUp:
        log.warning("a device is not answered: its session has no downlink counter left, it has to join again")
    except Exception:
        log.exception("a device could not be answered")


def _reason(report: TxReport) -> str:
    return f"{report.result}: {report.detail}" if report.detail else str(report.result)
