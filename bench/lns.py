"""Frames to network servers of three kinds at a real daemon, and their downlinks back.

The time runs from the datagram in which a forwarder hands a frame to the daemon until the frame is with the server:
Semtech UDP over a socket, Basics Station over a web socket, ChirpStack's topics over a real broker. A downlink's time
runs from the server's PULL_RESP to the one with the forwarder. What a datagram on loopback takes without us stands
beside it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, Self

import aiomqtt
from aiohttp import WSMsgType, web

from bench.figures import heading, show, times
from bench.servers import Daemon, daemon, mosquitto, mosquitto_program
from gateway.wire.chirpstack import UPLINK_FRAME, read

EUI: Final = bytes.fromhex("0016c001f1500001")
CALM, FULL = 50, 171  # frames/s: the aim's, and all that a chip can deliver (eight channels at SF7)
AIM_MS: Final = 5.0
EU868_DRS: Final = [[sf, 125, 0] for sf in range(12, 6, -1)] + [[7, 250, 0], [0, 0, 0]] + [[-1, 0, 0]] * 8

CHANNELS: Final = {f"chan_multiSF_{n}": {"enable": True, "radio": 1, "if": n * 200_000 - 400_000} for n in range(3)}
RADIOS: Final = {f"radio_{n}": {"enable": True, "freq": 867_500_000 + n * 1_000_000} for n in range(2)} | CHANNELS


def run(seconds: int) -> None:
    """Print how long frames and downlinks take, and what is lost at full pace."""
    heading(f"network servers: {CALM} and {FULL} frames/s to three of them, {seconds} s each")
    program = mosquitto_program()
    if program is None:
        print("  no mosquitto here: apt-get install mosquitto")
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name, mosquitto(Path(name), program) as broker_port:
        asyncio.run(_run(Path(name), broker_port, seconds))


async def _run(folder: Path, broker_port: int, seconds: int) -> None:
    loop = asyncio.get_running_loop()
    udp, station, arrived = _UdpServer(), _Station(), _Arrived()
    udp.arrived = station.arrived = arrived
    await loop.create_datagram_endpoint(lambda: udp, local_addr=("127.0.0.1", 0))
    port = await station.open()
    servers = (
        f'[lns.udp]\ntype = "semtech-udp"\nserver = "127.0.0.1:{udp.port}"\n'
        f'[lns.station]\ntype = "basics-station"\nserver = "ws://127.0.0.1:{port}"\n'
        f'[lns.mqtt]\ntype = "chirpstack-mqtt"\nserver = "mqtt://127.0.0.1:{broker_port}"\n'
    )
    listening = asyncio.create_task(_listen(broker_port, arrived))
    context = daemon(folder, None, more=servers)
    gateway = await asyncio.to_thread(context.__enter__)
    try:
        await asyncio.to_thread(gateway.until, lambda status: all(lns["state"] == "connected" for lns in status["lns"]))
        forwarder = await _Forwarder.at(gateway.udp_port)
        await _pace(forwarder, arrived, CALM, seconds)
        _show_times(arrived, await _bare(loop, udp))
        await _downlinks(forwarder, udp, arrived, seconds)
        before = _handed(gateway)
        arrived.forget()
        sent = await _pace(forwarder, arrived, FULL, seconds)
        for name in ("udp", "station", "mqtt"):
            there = len(arrived.times_s[name])
            late = f"p99 {_share(arrived.times_s[name], 0.99) * 1e3:.1f} ms"
            show(f"{name} at {FULL}/s: with the server", f"{there:,d} of {sent:,d}", aim="all", beside=late)
        show("daemon's count of frames handed on", f"{_handed(gateway) - before:,d}", beside=f"{3 * sent:,d} wanted")
    finally:
        listening.cancel()
        await asyncio.to_thread(context.__exit__, None, None, None)
        await station.close()


def _handed(gateway: Daemon) -> int:
    return sum(lns["forwarded"] for lns in gateway.control.status()["lns"])


class _Arrived:
    """When each frame was handed to the daemon, and how long it took to each server."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.sent_s: dict[int, float] = {}
        self.times_s: dict[str, list[float]] = defaultdict(list)

    def at(self, server: str, number: int) -> None:
        began_s = self.sent_s.get(number)
        if began_s is not None:
            self.times_s[server].append(time.perf_counter() - began_s)


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def _show_times(arrived: _Arrived, bare_s: list[float]) -> None:
    for name in ("udp", "station", "mqtt"):
        late_s = _share(arrived.times_s[name], 0.99)
        middle_s = _share(arrived.times_s[name], 0.5)
        show(
            f"frame to {name} at {CALM}/s, p99", f"{late_s * 1e3:.2f} ms", aim=f"{AIM_MS:g} ms",
            beside=f"median {middle_s * 1e3:.2f} ms; loopback alone {times(late_s, _share(bare_s, 0.99))}",
        )  # fmt: skip


async def _pace(forwarder: _Forwarder, arrived: _Arrived, per_s: int, seconds: int) -> int:
    loop, total = asyncio.get_running_loop(), per_s * seconds
    began_s = loop.time()
    for number in range(total):
        await asyncio.sleep(max(0.0, began_s + number / per_s - loop.time()))
        arrived.sent_s[number] = time.perf_counter()
        forwarder.push(number)
    await asyncio.sleep(1)
    return total


async def _downlinks(forwarder: _Forwarder, udp: _UdpServer, arrived: _Arrived, seconds: int) -> None:
    """A PULL_RESP for RX1 of an uplink, often enough for a figure and seldom enough for the law."""
    arrived.forget()
    took_s, total = [], 5 * seconds
    for number in range(total):
        forwarder.push(number)
        await asyncio.sleep(0.1)
        began_s = time.perf_counter()
        udp.pull_resp(forwarder.counter_us + 1_000_000)
        try:
            async with asyncio.timeout(2):
                took_s.append(await forwarder.pulled.get() - began_s)
        except TimeoutError:
            continue  # refused, and counted below
        await asyncio.sleep(0.1)
    late_s = _share(took_s, 0.99)
    show(
        "PULL_RESP to the forwarder, p99", f"{late_s * 1e3:.2f} ms", aim=f"{AIM_MS:g} ms",
        beside=f"median {_share(took_s, 0.5) * 1e3:.2f} ms; {len(took_s)} of {total} taken{udp.refusals()}",
    )  # fmt: skip


async def _bare(loop: asyncio.AbstractEventLoop, udp: _UdpServer) -> list[float]:
    """A datagram to ourselves and no gateway between."""
    took_s = []
    sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", udp.port))
    for _ in range(500):
        udp.bare = loop.create_future()
        began_s = time.perf_counter()
        sender.sendto(b"bare")
        took_s.append(await udp.bare - began_s)
        await asyncio.sleep(0.005)
    sender.close()
    return took_s


def _phy(number: int) -> bytes:
    return struct.pack("<BIBHB", 0x40, 0x26030201, 0, number & 0xFFFF, 1) + bytes(20) + struct.pack("<I", number)


class _Forwarder(asyncio.DatagramProtocol):
    """The radio: pushes frames, and takes downlinks with a good word."""

    def __init__(self) -> None:
        self.pulled: asyncio.Queue[float] = asyncio.Queue()
        self.counter_us = 0

    @classmethod
    async def at(cls, port: int) -> Self:
        loop = asyncio.get_running_loop()
        _, found = await loop.create_datagram_endpoint(cls, remote_addr=("127.0.0.1", port))
        found.wire.sendto(b"\x02\x00\x01\x02" + EUI)
        return found

    def connection_made(self, transport: Any) -> None:
        self.wire = transport

    def datagram_received(self, data: bytes, _: Any) -> None:
        if data[3] == 3:
            self.pulled.put_nowait(time.perf_counter())
            self.wire.sendto(b"\x02" + data[1:3] + b"\x05" + EUI + b'{"txpk_ack":{"error":"NONE"}}')

    def push(self, number: int) -> None:
        self.counter_us = (self.counter_us + 6_000_000) % (1 << 32)
        phy = _phy(number)
        rxpk = {
            "tmst": self.counter_us, "chan": 0, "rfch": 0, "freq": 868.1, "stat": 1, "modu": "LORA",
            "datr": "SF7BW125", "codr": "4/5", "rssi": -80, "lsnr": 9.0, "size": len(phy),
            "data": base64.b64encode(phy).decode(),
        }  # fmt: skip
        self.wire.sendto(b"\x02\x00\x02\x00" + EUI + json.dumps({"rxpk": [rxpk]}).encode())


class _UdpServer(asyncio.DatagramProtocol):
    """A network server on Semtech UDP."""

    arrived: _Arrived
    bare: asyncio.Future[float]

    def __init__(self) -> None:
        self._down: Any = None
        self.words: dict[str, int] = defaultdict(int)

    def refusals(self) -> str:
        """What was said of those that were not sent."""
        return "".join(f", {number} {word}" for word, number in self.words.items() if word != "NONE")

    def connection_made(self, transport: Any) -> None:
        self._wire = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, source: Any) -> None:
        if data == b"bare":
            self.bare.set_result(time.perf_counter())
            return
        match data[3]:
            case 0:
                for rxpk in json.loads(data[12:]).get("rxpk", ()):
                    self.arrived.at("udp", _number(base64.b64decode(rxpk["data"])))
                self._wire.sendto(b"\x02" + data[1:3] + b"\x01", source)
            case 2:
                self._down = source
                self._wire.sendto(b"\x02" + data[1:3] + b"\x04", source)
            case 5 if len(data) > 12:
                self.words[json.loads(data[12:])["txpk_ack"]["error"]] += 1

    def pull_resp(self, tmst: int) -> None:
        txpk = {
            "imme": False, "tmst": tmst % (1 << 32), "freq": 869.525, "rfch": 0, "powe": 14, "modu": "LORA",
            "datr": "SF7BW125", "codr": "4/5", "ipol": True, "ncrc": True, "size": 9,
            "data": base64.b64encode(bytes.fromhex("60040302018003000a")).decode(),
        }  # fmt: skip
        self._wire.sendto(b"\x02\x07\x07\x03" + json.dumps({"txpk": txpk}).encode(), self._down)


def _number(phy: bytes) -> int:
    number: int = struct.unpack_from("<I", phy, len(phy) - 4)[0]
    return number


class _Station:
    """A network server on Basics Station."""

    arrived: _Arrived

    async def open(self) -> int:
        app = web.Application()
        app.router.add_get("/router-info", self._discover)
        app.router.add_get("/data", self._data)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port: int = self._runner.addresses[0][1]
        return self._port

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _discover(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        asked = json.loads(await socket.receive_str())
        uri = f"ws://127.0.0.1:{self._port}/data"
        await socket.send_json({"router": asked["router"], "muxs": "::0", "uri": uri})
        await socket.receive()
        return socket

    async def _data(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            said = json.loads(message.data)
            if said["msgtype"] == "version":
                config = {"msgtype": "router_config", "region": "EU863", "hwspec": "sx1301/1", "DRs": EU868_DRS}
                config |= {
                    "freq_range": [863_000_000, 870_000_000],
                    "NetID": None,
                    "JoinEui": None,
                    "sx1301_conf": [RADIOS],
                }
                await socket.send_json(config)
            elif said["msgtype"] == "updf":
                self.arrived.at("station", said["MIC"] & 0xFFFFFFFF)
        return socket


async def _listen(port: int, arrived: _Arrived) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("+/gateway/+/event/up")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            arrived.at("mqtt", _number(read(UPLINK_FRAME, message.payload)["phy_payload"]))
