"""A gateway process on a rooftop: a packet forwarder that never rests, platforms that listen, and somebody at the plug.

Everything around the process lives on one event loop and tells the judge what it sees. Nothing here asks the process
for a favour: it is killed whenever it is killed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import paho.mqtt.client as paho
import told_gateway
from daemons import PROJECT
from evidence import Account, Arrival, Books, Terms
from judge import Judge
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from gateway.store.devices import DeviceRegistry

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from fleet import Fleet

FORWARDER = bytes.fromhex("0016c001f1500812")
LOOK_S = 0.1
START_S = 60.0
IN_THE_MIDST_S = 2.5
WITHOUT_POWER_S = 15.0
STOP_S = 10.0  # promised
SETTLE_S = 120.0
ORPHANS_S = 10.0
COMMIT_INTERVAL_S = 1.0
PIPELINE_S = 2.0
"""From the acknowledgement to the group that is committed next, and the commit itself, on a machine that does more."""

STORE_BYTES = 16 << 20  # parts of one megabyte, the least
KEEP_DELIVERED_S = 10  # then a part leaves
TALKATIVE = """
def decode(payload, port, variables):
    number = int.from_bytes(b"\\x07" + payload, "big")
    digits = format(number ** (9_000 // number.bit_length()), "x")
    return {"data": {"filling": [digits[at : at + 400] for at in range(0, len(digits), 400)]}}
"""
"""A codec with an answer of two thousand characters that nothing compresses: a part is full within half a minute."""

FRESH_WITHIN_S = 45.0  # contract, small print: a destination is found again within 40 s


def arrival(payload: bytes) -> Arrival:
    """A reading as it was published."""
    facts = json.loads(payload)
    heard = datetime.fromisoformat(facts["time"])
    return Arrival.from_json(facts, round(heard.timestamp() * 1e6))


class PacketForwarder(asyncio.DatagramProtocol):
    """Hears one frame after the other, whether or not the gateway is there; devices repeat some of them."""

    def __init__(
        self, roof: Rooftop, fleet: Fleet, rng: random.Random, *, per_s: float, repeated: float = 0.05
    ) -> None:
        self.sent = 0
        self._roof = roof
        self._judge = roof.judge
        self._fleet = fleet
        self._rng = rng
        self._pause_s = 1 / per_s
        self._repeated = repeated
        self._under_way: dict[bytes, tuple[int, int]] = {}  # token: number, when
        self._token = 0

    @contextlib.asynccontextmanager
    async def at_work(self, port: int) -> AsyncIterator[Self]:
        """Sending to a port of this machine."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=("127.0.0.1", port))
        sending = asyncio.create_task(self._send_on(transport))
        try:
            yield self
        finally:
            sending.cancel()
            transport.close()

    async def _send_on(self, transport: asyncio.DatagramTransport) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self.sent += 1
            self._send(transport, self.sent)
            if self._rng.random() < self._repeated:  # a device repeats its newest frame
                self._send(transport, self.sent - self._rng.randrange(min(self.sent, self._fleet.devices)))
            if self._rng.random() < self._repeated:  # somebody sends what he recorded
                self._send(transport, self._rng.randint(1, self.sent))
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    def _send(self, transport: asyncio.DatagramTransport, number: int) -> None:
        self._token = (self._token + 1) & 0xFFFF
        token = struct.pack(">H", self._token)
        at_us = self._roof.now_us
        self._judge.handed_out(number, at_us)
        self._under_way[token] = number, at_us
        phy = self._fleet.phy(number)
        rxpk = {
            "tmst": at_us & 0xFFFFFFFF, "chan": 2, "rfch": 0, "freq": 868.1, "stat": 1, "modu": "LORA",
            "datr": "SF7BW125", "codr": "4/5", "rssi": -97, "lsnr": 5.2, "size": len(phy),
            "data": base64.b64encode(phy).decode(),
        }  # fmt: skip
        transport.sendto(b"\x02" + token + b"\x00" + FORWARDER + json.dumps({"rxpk": [rxpk]}).encode())

    def datagram_received(self, data: bytes, _addr: object) -> None:
        known = self._under_way.pop(data[1:3], None) if data[3:] == b"\x01" else None
        if known is not None:
            # As of when it was sent: the answer may have waited here while the gateway died.
            self._judge.acknowledged(*known)

    def error_received(self, _exc: Exception) -> None:
        """Nobody listens there at the moment."""


class Platform:
    """A subscriber that keeps its session: what its broker confirmed to the gateway it gets, sooner or later."""

    def __init__(self, name: str, roof: Rooftop, port: int) -> None:
        self._name = name
        self._roof = roof
        self._judge = roof.judge
        self._port = port
        self._got: set[str] = set()
        self._subscribed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Subscribed from here on."""
        loop = asyncio.get_running_loop()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, f"platform-{self._name}", protocol=paho.MQTTv5)
        client.reconnect_delay_set(0.05, 0.2)
        client.on_connect = lambda *_: client.subscribe(f"{self._name}/#", qos=1)
        client.on_subscribe = lambda *_: loop.call_soon_threadsafe(self._subscribed.set)
        client.on_message = lambda _client, _data, message: loop.call_soon_threadsafe(self._take, message)
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", self._port, clean_start=False, properties=kept)
        client.loop_start()
        try:
            async with asyncio.timeout(START_S):
                await self._subscribed.wait()
            yield self
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    def _take(self, message: paho.MQTTMessage) -> None:
        if message.retain:
            return
        if message.topic.endswith("/status"):
            # The first word on a connection, in order with what follows on it (gateway.delivery.mqtt).
            if json.loads(message.payload).keys() == {"state", "gateway_eui"}:
                self._judge.connected(self._name)
            return
        came = arrival(message.payload)
        if message.dup and came.record_id in self._got:
            return  # the broker's own repetition: it was away before we could confirm
        self._got.add(came.record_id)
        self._judge.received(self._name, came, self._roof.now_us)
        self._roof.delivering.set()


@dataclass(frozen=True, slots=True)
class Sink:
    """A destination as the settings have it. The topic prefix is its name."""

    name: str
    port: int
    in_flight: int = 32
    live_first: bool = True

    @property
    def terms(self) -> Terms:
        return Terms(self.in_flight, 2 if self.live_first else 1)

    @property
    def toml(self) -> str:
        return (
            f'[sink.{self.name}]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{self.port}"\ntopic_prefix = "{self.name}"\n'
            f'backlog_delay = "0s"\nbacklog_rate = 2000\nin_flight = {self.in_flight}\n'
            f"live_first = {str(self.live_first).lower()}\n"
        )


def _shelve(codecs: Path) -> None:
    """Put the talkative codec into a folder of a site's own codecs, as `judge/talkative`."""
    shelf = codecs / "judge" / "talkative"
    shelf.mkdir(parents=True)
    (codecs / "judge" / "vendor.toml").write_text('name = "Judge"\n')
    (shelf / "device.toml").write_text('model = "Talkative"\nkind = "test"\nversion = 1\n')
    (shelf / "talkative.py").write_text(TALKATIVE)


class Rooftop:
    """The process under test and who watches it."""

    def __init__(self, folder: Path, fleet: Fleet, sinks: Sequence[Sink], rng: random.Random, *, per_s: float) -> None:
        self.judge = Judge(
            fleet, {sink.name: sink.terms for sink in sinks},
            loss_window_us=round((COMMIT_INTERVAL_S + PIPELINE_S) * 1e6), transit_us=round(PIPELINE_S * 1e6),
            fresh_within_us=round(FRESH_WITHIN_S * 1e6),
        )  # fmt: skip
        _shelve(folder / "codecs")
        self.gateway = told_gateway.ToldGateway(
            folder, sink="".join(sink.toml for sink in sinks),
            store=f'commit_interval = "{COMMIT_INTERVAL_S:g}s"\nmax_size = "{STORE_BYTES >> 20} MiB"\n'
                  f'keep_delivered = "{KEEP_DELIVERED_S}s"\n[codecs]\npath = ["{folder / "codecs"}"]\n',
        )  # fmt: skip
        with DeviceRegistry.open(self.gateway.data) as registry:
            registry.add_all(fleet.newcomers())
        self._time_file = folder / "time.json"
        self.judge.rebooted(self.now_us)
        self.forwarder = PacketForwarder(self, fleet, rng, per_s=per_s)
        self.delivering = asyncio.Event()  # something arrived somewhere
        self.slowest_start_s = self.slowest_stop_s = 0.0
        self._sinks = sinks
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._sessions: dict[int, float] = {}  # of killed gateways: when
        self.parts: set[str] = set()  # of the log, by name, that were ever seen

    # --- the plug

    async def launch(self) -> None:
        """Start it; do not wait for anything."""
        with (self.gateway.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, told_gateway.__file__, str(self.gateway.settings), str(self._time_file),
                stdout=log, stderr=log, cwd=PROJECT, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "tests")))},
            )  # fmt: skip
        self._answered = asyncio.Event()
        self._launched_s = time.monotonic()
        self._watching = asyncio.create_task(self._watch(self._process.pid))

    async def answers(self) -> None:
        """Wait until it is there for people."""
        assert self._process is not None
        ended, answered = asyncio.create_task(self._process.wait()), asyncio.create_task(self._answered.wait())
        try:
            await asyncio.wait((ended, answered), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            assert answered.done(), f"no answer, exit code {self._process.returncode}:\n{self.log}"
        finally:
            ended.cancel()
            answered.cancel()

    async def in_the_midst(self) -> None:
        """Wait until a delivery is under way, or so long that there is none."""
        self.delivering.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.delivering.wait(), IN_THE_MIDST_S)

    async def in_the_midst_of_a_part(self) -> None:
        """Wait until a part of the log is begun, closed or deleted, or so long that none is."""
        before = self._names()
        until_s = time.monotonic() + IN_THE_MIDST_S
        while time.monotonic() < until_s and self._names() == before:
            await asyncio.sleep(0.001)

    @property
    def parts_left(self) -> int:
        """How many of them are not there any more."""
        return len(self.parts - self._names())

    def _names(self) -> set[str]:
        """What lies in the folder of the log."""
        with contextlib.suppress(FileNotFoundError):
            return {path.name for path in (self.gateway.data / "log").iterdir()}
        return set()

    async def kill(self) -> None:
        """SIGKILL, wherever it is."""
        process = self._process
        assert process is not None
        assert process.returncode is None, f"the gateway ended by itself with {process.returncode}:\n{self.log}"
        process.kill()
        await process.wait()
        self.judge.killed(self.now_us)
        await self._unwatch()
        self._sessions[process.pid] = time.monotonic()

    @property
    def now_us(self) -> int:
        """The judge's clock: the true time."""
        return self.gateway.time.true_us

    def reboot(self) -> None:
        """The killed gateway's machine was without power for a while, and wakes up in 1970."""
        self.gateway.time._began_us -= round(WITHOUT_POWER_S * 1e6)
        self.gateway.time.power_up()
        self.judge.rebooted(self.now_us)

    def synchronise(self) -> None:
        """The machine learns the time."""
        self.gateway.time.synchronise()
        self.judge.learnt_time(self.now_us)

    async def stop(self) -> None:
        """SIGTERM, and wait until it is done."""
        process = self._process
        assert process is not None
        began_s = time.monotonic()
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 2 * STOP_S)
        took_s = time.monotonic() - began_s
        left_behind = [] if code == 0 else [f"an exit code of 0 ({code})"]
        self.judge.stopped(self.now_us, took_us=round(took_s * 1e6), left_behind=left_behind)
        self.slowest_stop_s = max(self.slowest_stop_s, took_s)
        await self._unwatch()

    async def leave(self) -> None:
        """However this ended, nothing of it stays."""
        await self._unwatch()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def orphans(self) -> list[int]:
        """Processes that a killed gateway left behind and that are still there after a while."""
        long_dead = {pid for pid, at_s in self._sessions.items() if time.monotonic() - at_s > ORPHANS_S}
        return [pid for pid, session in _sessions() if session in long_dead and pid not in long_dead]

    @property
    def log(self) -> str:
        """The end of what it logged."""
        return self.gateway.log[-4000:]

    # --- what it says

    async def _watch(self, pid: int) -> None:
        folder = os.open(self.gateway.data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connector = aiohttp.UnixConnector(f"/proc/self/fd/{folder}/control.sock")
            async with aiohttp.ClientSession("http://gateway", connector=connector) as session:
                await self._first_answer(session)
                async with asyncio.TaskGroup() as looks:
                    looks.create_task(self._look_at_status(session))
                    looks.create_task(self._follow_tail(session))
        except* (aiohttp.ClientError, OSError, ValueError):
            pass  # it was killed while it spoke
        finally:
            os.close(folder)

    async def _first_answer(self, session: aiohttp.ClientSession) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.get("/status") as answer:
                    await answer.read()
                    self.slowest_start_s = max(self.slowest_start_s, time.monotonic() - self._launched_s)
                    self._answered.set()
                    return
            await asyncio.sleep(LOOK_S / 5)

    async def _look_at_status(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self.status(session)
            self.parts |= {name for name in self._names() if name.endswith(".sqlite3")}
            await asyncio.sleep(LOOK_S)

    async def _follow_tail(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/tail", timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for line in answer.content:
                if line.endswith(b"\n") and b"record_id" in line:
                    self.judge.promised(arrival(line))

    async def status(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """Its state now; what it calls durable is a promise."""
        async with session.get("/status") as answer:
            status: dict[str, Any] = await answer.json()
        self.last_status = status
        self.judge.promised_through(status["store"]["epoch"], status["store"]["head"])
        return status

    async def _unwatch(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    # --- the end

    async def calm_down(self, *, seconds: float = 3.0) -> None:
        """Nobody interferes any more: let fresh frames come, then none, and wait until everything has arrived."""
        await self.answers()
        self.judge.calm(self.now_us)
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """The forwarder rests: wait for what is under way, and take down the books."""
        names = [sink.name for sink in self._sinks]
        with contextlib.suppress(TimeoutError):  # the judge says what is missing
            async with asyncio.timeout(SETTLE_S):
                await self._until(lambda status: status["radio"]["heard"] == self._heard_twice(status))
                while any(self.judge.missing(name) or self.judge.undated(name) for name in names) or any(
                    sink["queued"] for sink in self.last_status["sinks"]
                ):
                    await asyncio.sleep(LOOK_S)
        await asyncio.sleep(COMMIT_INTERVAL_S)  # a copy too many would come at once
        self.judge.rests(_books(self.last_status))
        await self.stop()

    def _heard_twice(self, status: Mapping[str, Any]) -> int:
        """What was heard at the last look: equal when it does not grow any more."""
        before, self._heard = getattr(self, "_heard", -1), status["radio"]["heard"]
        return before

    async def _until(self, reached: Any) -> None:
        while not reached(self.last_status):
            await asyncio.sleep(2 * COMMIT_INTERVAL_S)


def _books(status: Mapping[str, Any]) -> Books:
    radio = status["radio"]
    return Books(
        radio["heard"], radio["stored"], radio["filtered"], radio["dropped"], status["store"]["balance"],
        {
            sink["name"]: Account(sink["acknowledged"], sink["queued"], sink["given_up"], sink["skipped"])
            for sink in status["sinks"]
        },
    )  # fmt: skip


def _sessions() -> Iterable[tuple[int, int]]:
    """Every process of this machine with its session (proc(5), stat)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(after_name[3])
