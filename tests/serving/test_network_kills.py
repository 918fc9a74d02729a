"""A gateway that is killed at any instant: no downlink counter serves two frames, no nonce is accepted twice.

The product's network side works on its real file; a kill strikes before or after any write to that file, or right after
a frame went to the radio, and the next life begins with what the file holds. The devices judge with the simulator's own
reading of the specification. `NETWORK_KILLS` says how many kills; the long form is `make soak`.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from fakes import run_in_virtual_time, stamp_now

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.frame import DataFrame, JoinRequest, parse
from gateway.lorawan.network import Network
from gateway.lorawan.uplink import seal
from gateway.model import (
    AesKey,
    Crc,
    DevAddr,
    DevEui,
    Device,
    GatewayEui,
    JoinEui,
    Lora,
    MacVersion,
    OpenedUplink,
    RadioFrame,
    Refusal,
    RootKeys,
    Session,
    TxReport,
    TxResult,
)
from gateway.radio.concentrator import RadioHealth
from gateway.regions.eu868 import EU868
from gateway.serving.plan import network_plan
from gateway.serving.side import NetworkSide
from gateway.simulator.end_device.complaints import Fault
from gateway.simulator.end_device.joining import JOIN_REQUEST, Identity, Question, join_request, read_accept
from gateway.simulator.end_device.security import Distrust, DownlinkJudge
from gateway.store.known import KnownDevices
from gateway.store.network_file import NetworkFile
from gateway.wire.own_downlink import DownlinkAsked

LATE_ANSWERS = 20
KILLS = int(os.environ.get("NETWORK_KILLS", "500"))
EUI = GatewayEui(bytes(8))
JOIN_EUI = JoinEui(b"joineui!")
SF7 = Lora(7, 125_000)


class Killed(BaseException):
    """The process is no more."""


@dataclass
class Fate:
    """Strikes once, at some step of a life."""

    steps: int
    over: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def step(self):
        if self.over:
            raise Killed
        self.steps -= 1
        if self.steps <= 0:
            self.over = True
            self.ended.set()
            raise Killed


class Body:
    """A device: what it was given, what it counts, what it heard."""

    def __init__(self, number, version, dice, *, abp=False, device_class="A"):
        self.device = Device(
            DevEui(number.to_bytes(8, "big")), f"device {number}", mac_version=version, device_class=device_class
        )
        self.root_keys = None
        self.session = None
        self.earlier = []
        self.counted = {}  # by key of an earlier session: where its counter stood
        self.judges = {}
        self.f_cnt = 0
        self.dev_nonce = 0
        self.question = None
        self.join_nonces = []
        self.nonces = set()
        self.asked = b""
        self.answered = []  # join requests that were, for somebody to play back
        if abp:
            keys = (
                [AesKey(dice.randbytes(16)) for _ in range(4)] if version.is_1_1 else [AesKey(dice.randbytes(16))] * 4
            )
            self.session = Session(self.device.dev_eui, DevAddr(77), version, *keys, session_id=number)
        else:
            self.root_keys = RootKeys(
                AesKey(dice.randbytes(16)), AesKey(dice.randbytes(16)) if version.is_1_1 else None
            )
            self.identity = Identity.of(self.device.dev_eui, JOIN_EUI, self.root_keys, version)

    def asks(self, dice):
        if self.device.mac_version >= MacVersion.V1_0_4:
            self.dev_nonce += 1
        else:
            self.dev_nonce = dice.choice([nonce for nonce in range(20_000) if nonce not in self.nonces])
        self.question = Question(JOIN_REQUEST, self.dev_nonce)
        phy = join_request(self.identity, self.dev_nonce)
        self.nonces.add(self.dev_nonce)
        self.asked = phy
        return phy

    def joins(self, accept):
        if self.session is not None:
            self.earlier.append(self.session)
            self.counted[self.session.app_s_key] = self.f_cnt
        self.session = replace(accept.session, session_id=0)
        self.f_cnt = 0


class World:
    """Devices, the file, and everything that was ever on the air."""

    def __init__(self, folder, seed):
        self.folder = folder
        self.dice = random.Random(seed)
        versions = [MacVersion.V1_0_0, MacVersion.V1_0_3, MacVersion.V1_0_4, MacVersion.V1_1_0]
        self.bodies = [Body(number, version, self.dice) for number, version in enumerate(versions, 1)]
        self.bodies.append(Body(5, MacVersion.V1_1_0, self.dice, device_class="C"))
        self.bodies += [
            Body(6, MacVersion.V1_0_2, self.dice, abp=True),
            Body(7, MacVersion.V1_1_0, self.dice, abp=True),
        ]
        self.complaints = []
        self.accepted = {}  # by device and nonce of a join request that was answered: how often
        self.kills = self.frames = self.accepts = 0
        self.schedules = KeySchedules()
        self.fate = Fate(1)

    # --- what the product asks of a store

    def life(self):
        self.file = NetworkFile.open(self.folder)
        self.known = KnownDevices()
        for body in self.bodies:
            if body.root_keys is None:
                self.known.enter(body.device, replace(body.session, f_cnt_up=body.f_cnt - 1 if body.f_cnt else None))
        by_eui = {body.device.dev_eui: body for body in self.bodies}
        for joined in self.file.sessions():
            body = by_eui[joined.session.dev_eui]
            take = self.known.offer if joined.offered else self.known.enter
            current = body.session is not None and body.session.dev_addr == joined.session.dev_addr
            f_cnt_up = body.f_cnt - 1 if current and body.f_cnt else None
            take(body.device, replace(joined.session, f_cnt_up=f_cnt_up))

    async def with_network(self, work):
        self.fate.step()
        await asyncio.sleep(0.002)
        if self.fate.over:
            raise Killed
        done = work(self.file)
        self.fate.step()
        return done

    async def device(self, dev_eui):
        return next((body.device for body in self.bodies if body.device.dev_eui == dev_eui), None)

    async def root_keys(self, dev_eui):
        return next(body.root_keys for body in self.bodies if body.device.dev_eui == dev_eui)

    async def keep_join(self, device, history, session, mac_state):
        kept, gone = await self.with_network(lambda file: file.keep_join(device.dev_eui, history, session, mac_state))
        self.known.offer(device, kept)
        self.known.may_acknowledge(kept, ())
        for session_id, dev_addr in gone:
            self.known.drop(session_id, dev_addr)
        return kept

    async def taken_up(self, device, session):
        self.known.taken_up(session.session_id)
        for session_id, dev_addr in await self.with_network(
            lambda file: file.taken_up(device.dev_eui, session.session_id)
        ):
            self.known.drop(session_id, dev_addr)

    async def in_use(self, dev_eui):
        body = next(body for body in self.bodies if body.device.dev_eui == dev_eui)
        if body.root_keys is None:
            return body.device, body.session
        joined = await self.with_network(lambda file: file.sessions_of(dev_eui))
        return next(((body.device, one.session) for one in joined if not one.offered), None)

    def candidates(self, dev_addr):
        return self.known.candidates(dev_addr)

    def is_offered(self, session):
        return self.known.is_offered(session.session_id)

    def may_acknowledge(self, session, f_cnts_down):
        self.known.may_acknowledge(session, f_cnts_down)

    # --- and of a radio

    def submit(self, request):
        if self.fate.over:
            raise Killed
        self.on_air(request.phy)
        self.fate.step()
        result = TxResult.SENT if self.dice.random() < 0.9 else TxResult.TOO_LATE
        self.reports.put_nowait(TxReport(request.ref, result))
        return TxReport(request.ref, TxResult.ACCEPTED)

    async def outcomes(self):
        while True:
            yield await self.reports.get()

    def health(self):
        return RadioHealth("world", "hearing", "", receivers=({"name": "roof"},))

    async def encode(self, *_):
        raise AssertionError("nothing is encoded here")

    # --- what is on the air

    def on_air(self, phy):
        self.frames += 1
        frame = parse(phy)
        if not isinstance(frame, DataFrame):
            self._accept(phy)
            return
        verdicts = []
        for body in self.bodies:
            for session, judge in self._judges(body, frame.dev_addr):
                # Which of the uplinks of this life it acknowledges is not on the air: the MIC of 1.1 covers it.
                counted = body.f_cnt if session is body.session else body.counted[session.app_s_key]
                for back in range(1, LATE_ANSWERS if frame.f_ctrl.ack and session.mac_version.is_1_1 else 2):
                    found = judge.judge(frame, phy, conf_f_cnt=max(0, counted - back))
                    verdicts.append((found, session))
                    if not isinstance(found, Distrust) or found.fault is not Fault.BAD_MIC:
                        break
        # The same bytes once more, in RX2, are one frame.
        trusted = [not isinstance(found, Distrust) or found.fault is Fault.REPEATED for found, _ in verdicts]
        if not any(trusted):
            self.complaints.append((self.kills, phy.hex(), [str(found) for found, _ in verdicts]))

    def _judges(self, body, dev_addr):
        for session in (body.session, *body.earlier):
            if session is not None and session.dev_addr == dev_addr:
                key = (session.dev_addr, session.app_s_key)
                judge = body.judges.setdefault(key, DownlinkJudge(session, self.schedules))
                yield session, judge

    def _accept(self, phy):
        self.accepts += 1
        for body in self.bodies:
            if body.question is None:
                continue
            accept = read_accept(body.identity, body.question, phy)
            if accept is None:
                continue
            key = (body.device.dev_eui, body.question.nonce)
            self.accepted[key] = self.accepted.get(key, set()) | {phy}
            if len(self.accepted[key]) > 1:
                self.complaints.append((phy.hex(), "a nonce was accepted twice"))
            again = bool(body.join_nonces) and accept.join_nonce == body.join_nonces[-1]  # the same accept, in RX2
            if body.join_nonces and accept.join_nonce <= body.join_nonces[-1] and not again:
                self.complaints.append((phy.hex(), f"JoinNonce {accept.join_nonce} after {body.join_nonces[-1]}"))
            body.join_nonces.append(accept.join_nonce)
            body.answered = [*body.answered[-20:], body.asked]
            if self.dice.random() < 0.8:
                body.joins(accept)
            return
        self.complaints.append((phy.hex(), "an accept that nobody asked for"))

    # --- a life

    async def live(self):
        self.life()
        for body in self.bodies:
            body.question = None  # who was not answered before the kill asks with another nonce
        self.reports = asyncio.Queue()
        self.fate = Fate(self.dice.randrange(1, 40))
        side = NetworkSide(EUI, self, self, self, EU868, network_plan(EU868, None), 0, stamp_now, answers=True)
        network = Network(EU868)
        work = []
        try:
            await side.load()
            work += [asyncio.ensure_future(duty) for duty in side.duties()]
            for _ in range(12):
                work.append(asyncio.ensure_future(self._something(side, network)))
                await asyncio.sleep(self.dice.choice((0.0, 0.001, 0.01, 0.5)))
                if self.fate.over:
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(self.fate.ended.wait(), 10)
        except Killed:
            pass
        finally:
            self.fate.over = True
            everything = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
            self.file.close()
            self.kills += 1

    async def _something(self, side, network):
        body = self.dice.choice(self.bodies)
        with suppress(Killed):
            match self.dice.randrange(6):
                case 0 if body.root_keys is not None and body.question is None:
                    await self._join(side, body.asks(self.dice))
                case 1 if body.answered:
                    await self._replay(side, body)
                case 2:
                    ref = f"{body.device.name} {self.dice.random()}"
                    asked = DownlinkAsked(3, b"x", None, confirmed=self.dice.random() < 0.5, ref=ref)
                    if len(side.desk.queue.listed(body.device.dev_eui)) < 50:
                        await side.desk.ask(body.device.dev_eui, asked, "test")
                case _ if body.session is not None:
                    self._report(side, network, body)

    async def _join(self, side, phy):
        frame = self._frame(phy)
        request = parse(phy)
        assert isinstance(request, JoinRequest)
        return await side.server.join(frame, request)

    async def _replay(self, side, body):
        phy = self.dice.choice(body.answered)
        refused = await self._join(side, phy)
        if refused.reason is Refusal.JOINED:
            self.complaints.append((phy.hex(), "a nonce of before was taken"))

    def _report(self, side, network, body):
        confirmed = self.dice.random() < 0.7
        phy = seal(
            body.session, f_cnt=body.f_cnt, f_port=2, payload=b"report", confirmed=confirmed, adr=True, tx_dr=5,
            schedules=self.schedules,
        )  # fmt: skip
        body.f_cnt += 1
        frame = self._frame(phy)
        opened = network.open(frame, parse(phy), self.candidates(body.session.dev_addr))
        if isinstance(opened, OpenedUplink):
            self.known.accept(opened.device, opened.session)
            kept = asyncio.get_running_loop().create_future()
            kept.set_result(1)
            side.server.heard(opened, kept)

    def _frame(self, phy):
        return RadioFrame(
            phy, stamp_now(), 868_100_000, SF7, -80.0, 9.0, 0, 0, self.dice.randrange(1 << 32), Crc.OK, "roof"
        )


@pytest.mark.parametrize("seed", range(2))
def test_no_counter_and_no_nonce_is_used_twice(tmp_path, seed):
    world = World(tmp_path, seed)
    while world.kills < KILLS // 2:
        run_in_virtual_time(world.live())  # a loop for each life: no timer outlives it
    assert world.complaints == []
    assert world.frames > KILLS // 2
    assert world.accepts > KILLS // 40
    sys.stderr.write(f"{world.kills} kills, {world.frames} frames on the air, {world.accepts} join accepts\n")
