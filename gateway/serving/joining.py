"""Joins: a device asks for a session, and is given one once everything about it is on disk.

A join request comes seldom and its answer has five seconds, so nothing of it is kept in memory: the device and its root
keys are looked up, judged and written for each. Somebody who plays back recorded requests costs a lookup each; more of
them at once than a network of devices would send are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import StorageError
from gateway.lorawan.frame import JoinRequest, RejoinRequest
from gateway.lorawan.join import Joined, JoinHistory, JoinTerms, answer_join, answer_rejoin
from gateway.lorawan.mac import after_join, after_rejoin_2
from gateway.lorawan.mac_state import MacState
from gateway.lorawan.net_id import address_bits, dev_addr_in
from gateway.lorawan.windows import rejoin_windows
from gateway.model import DevEui, Refusal, Refused
from gateway.serving.windows import Opening, openings_of, ways_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.downlink import DownlinkLine
    from gateway.model import DevAddr, Device, RadioFrame, RootKeys, Session
    from gateway.regions.region import Region
    from gateway.serving.plan import NetworkPlan

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Joins under way: a city that comes back from a power cut, spread over the first windows."""

COPIES_WITHIN_S = 2.0
REMEMBERED = 1_024


class Registrar(Protocol):
    """Who knows devices and keeps sessions; `store.store.Store` is the real one."""

    async def device(self, dev_eui: DevEui, /) -> Device | None: ...
    async def root_keys(self, dev_eui: DevEui, /) -> RootKeys | None: ...
    async def with_network(self, work: Callable[[Any], Any], /) -> Any: ...
    async def keep_join(self, device: Device, history: str, session: Session, mac_state: str, /) -> Session: ...
    def candidates(self, dev_addr: DevAddr, /) -> Sequence[tuple[Device, Session]]: ...


@dataclass(slots=True)
class _Asked:
    """A request that is being judged: who has heard it so far."""

    since_s: float
    heard: list[RadioFrame] = field(default_factory=list)


class Joining:
    """Judges joins and answers them. `told` hears which device is offered a session, its address, and the request."""

    def __init__(
        self,
        registrar: Registrar,
        region: Region,
        net_id: int,
        line: DownlinkLine,
        told: Callable[[Device, DevAddr, RadioFrame], None],
        plan: NetworkPlan,
    ) -> None:
        """`plan` is what an accept says of channels and windows."""
        self._plan = plan
        self._registrar = registrar
        self._region = region
        self._net_id = net_id
        self._line = line
        self._told = told
        self._turns: dict[DevEui, asyncio.Lock] = {}
        self._recent: OrderedDict[bytes, _Asked] = OrderedDict()
        self._under_way = 0
        self.joined = 0

    def follow(self, plan: NetworkPlan) -> None:
        """From the next accept on this is what devices are told."""
        self._plan = plan

    async def join(self, frame: RadioFrame, request: JoinRequest | RejoinRequest) -> Refused:
        """What becomes of a request, as the books have it: JOINED, or why not. The accept goes out by itself."""
        now_s = asyncio.get_running_loop().time()
        before = self._recent.get(frame.phy)
        if before is not None and now_s - before.since_s <= COPIES_WITHIN_S:
            before.heard.append(frame)
            return Refused(Refusal.COPY, f"heard before by {before.heard[0].receiver}", dev_eui=request.dev_eui)
        if self._under_way >= AT_ONCE:
            return Refused(Refusal.JOIN_NOT_SERVED, f"{AT_ONCE} joins are under way", dev_eui=request.dev_eui)
        asked = self._recent[frame.phy] = _Asked(now_s, [frame])
        self._recent.move_to_end(frame.phy)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        self._under_way += 1
        turn = self._turns.setdefault(request.dev_eui, asyncio.Lock())
        try:
            async with turn:
                return await self._judge(asked, request)
        except StorageError as error:
            return Refused(Refusal.JOIN_NOT_SERVED, f"not kept: {error.problem}", dev_eui=request.dev_eui)
        finally:
            self._under_way -= 1
            if not turn.locked():
                self._turns.pop(request.dev_eui, None)

    async def _judge(self, asked: _Asked, request: JoinRequest | RejoinRequest) -> Refused:
        device = await self._registrar.device(request.dev_eui)
        if device is None:
            return Refused(Refusal.JOIN_NOT_SERVED, f"no device {request.dev_eui} is known", dev_eui=request.dev_eui)
        root_keys = await self._registrar.root_keys(request.dev_eui)
        text, sessions = await self._registrar.with_network(
            lambda file: (file.join_history(device.dev_eui), [one.session for one in file.sessions_of(device.dev_eui)])
        )
        history = JoinHistory() if text is None else JoinHistory.from_json(text)
        terms = self._terms(device, history)
        if isinstance(request, JoinRequest):
            answer = answer_join(request, device, root_keys, history, terms)
        else:
            if request.rejoin_type == 2 and sessions:
                terms = _as_before(terms, await self._before(sessions[0]))
            answer = answer_rejoin(request, device, root_keys, sessions, history, terms)
        if isinstance(answer, Refused):
            return answer
        state = await self._state(answer, terms, sessions, asked.heard[0].frequency_hz)
        session = await self._registrar.keep_join(device, answer.history.to_json(), answer.session, state.to_json())
        self.joined += 1
        before = await self._before(sessions[0]) if isinstance(request, RejoinRequest) and sessions else None
        answering = asyncio.create_task(self._answer(asked, answer, before), name=f"join accept {device.dev_eui}")
        answering.add_done_callback(_said)
        self._told(device, session.dev_addr, asked.heard[0])
        return Refused(
            Refusal.JOINED, f"{_how(answer)}, its address is {session.dev_addr}", session.dev_addr, device.dev_eui
        )

    async def _state(self, answer: Joined, terms: JoinTerms, sessions: Sequence[Session], join_hz: int) -> MacState:
        """What is known of the MAC layer of a device that takes this accept."""
        before = await self._before(sessions[0]) if answer.rejoin_type == 2 and sessions else None
        if before is not None:
            return after_rejoin_2(before)
        return after_join(terms, self._region, device_class=answer.device.device_class, join_hz=join_hz)

    async def _before(self, session: Session) -> MacState | None:
        text = (await self._registrar.with_network(lambda file: file.served(session.session_id))).mac_state
        return None if text is None else MacState.from_json(text)

    async def _answer(self, asked: _Asked, answer: Joined, before: MacState | None) -> None:
        region, openings = self._region, self._openings(asked.heard[0], before)
        ways = ways_to(region, asked.heard, openings, answer.accept, f"join {answer.device.dev_eui}")
        fate = await self._line.carry(ways)
        report = fate.report
        if fate.may_be_heard:
            log.info("%s (%s): %s, accepted", answer.device.name, answer.device.dev_eui, _how(answer))
        else:
            log.warning(
                "%s (%s): the join accept was not sent: %s %s",
                answer.device.name, answer.device.dev_eui, report.result, report.detail,
            )  # fmt: skip

    def _openings(self, frame: RadioFrame, before: MacState | None) -> list[Opening]:
        """Where the device listens for the accept: after a rejoin, where its session does."""
        region, uplink_dr = self._region, self._region.data_rate_index(frame.modulation)
        if before is not None and uplink_dr is not None:
            return openings_of(rejoin_windows(before, frame.frequency_hz, uplink_dr, region))
        openings = []
        if uplink_dr is not None:
            try:
                rx1 = region.join_rx1(frame.frequency_hz, uplink_dr)
            except ValueError as reason:
                log.debug("no first window for a join at %d Hz: %s", frame.frequency_hz, reason)
            else:
                openings.append(Opening("RX1", region.join_accept_delay1_us, rx1))
        rx2_us = region.join_accept_delay1_us + region.receive_delay2_after_1_us
        return [*openings, Opening("RX2", rx2_us, region.rx2_after_join(frame.frequency_hz))]

    async def taken_up(self, dev_eui: DevEui) -> None:
        """The device uses the session of an accept: our JoinNonce reaches it."""
        async with self._turns.setdefault(dev_eui, asyncio.Lock()):
            text = await self._registrar.with_network(lambda file: file.join_history(dev_eui))
            if text is not None and (history := JoinHistory.from_json(text)).unused:
                answered = history.answered().to_json()
                await self._registrar.with_network(lambda file: file.spend_nonces(dev_eui, answered))

    def _terms(self, device: Device, history: JoinHistory) -> JoinTerms:
        return JoinTerms(
            net_id=self._net_id,
            dev_addr=self._address(device.dev_eui, history.join_nonce),
            rx2_data_rate=self._plan.wanted.rx.rx2_data_rate,
            cf_list=self._plan.cf_list_for(device.mac_version),
        )

    def _address(self, dev_eui: DevEui, join_nonce: int) -> DevAddr:
        """An address that no other device has here: made of DevEUI and nonce, so that it is another with each join."""
        bits = address_bits(self._net_id)
        for attempt in range(64):
            digest = hashlib.blake2s(dev_eui + join_nonce.to_bytes(3, "big") + bytes((attempt,)), digest_size=8)
            address = dev_addr_in(self._net_id, int.from_bytes(digest.digest(), "big") % (1 << bits))
            if not self._registrar.candidates(address):
                return address
        return address  # nearly all are taken: a shared one works as well, the MIC tells devices apart


def _as_before(terms: JoinTerms, before: MacState | None) -> JoinTerms:
    """After a rejoin of type 2 the radio stays as it was, so the accept names it (LoRaWAN 1.1, 6.2.4.4)."""
    if before is None:
        return terms
    return replace(
        terms, rx1_dr_offset=before.rx.rx1_dr_offset, rx2_data_rate=before.rx.rx2_data_rate,
        rx_delay_s=before.rx.rx1_delay_s, cf_list=b"",
    )  # fmt: skip


def _how(answer: Joined) -> str:
    return "joined" if answer.rejoin_type is None else f"rejoined (type {answer.rejoin_type})"


def _said(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a join accept failed: %r", error, exc_info=error)
