"""Downlinks of each kind of network server on the virtual air: they begin with RX1, to the microsecond.

The servers are real ones on real sockets; the city around the antenna is the simulator's, and runs twice as fast.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest
from brokers import HOST, Collector
from station_server import StationServer
from udp_network_server import UdpNetworkServer, txpk

sys.path += [str(Path(__file__).parent.parent / room) for room in ("wire", "radio", "line")]

import station_samples
from test_virtual import Ear, city

from gateway.downlink import DownlinkLine
from gateway.lns.basics_station import BasicsStation, BasicsStationSettings
from gateway.lns.chirpstack_mqtt import ChirpstackMqttServer, ChirpstackMqttSettings
from gateway.lns.filters import Filter
from gateway.lns.semtech_udp import SemtechUdpServer, SemtechUdpSettings
from gateway.lns.server import Forwarding, Reception
from gateway.model import Crc, GatewayEui, Lora, Stamp, TimeQuality
from gateway.serving.side import only_receiver
from gateway.wire.chirpstack import Marshaler

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
CONFIG = station_samples.BRIDGE_CONFIG | {"NetID": None, "JoinEui": None}
EACH = 3
RX1_US = 1_000_000


def now() -> Stamp:
    return Stamp(time.time_ns() // 1000, TimeQuality.NTP, 5, "boot", time.monotonic_ns() // 1000)


def phy(kind: int, number: int) -> bytes:
    return b"\x60" + bytes([kind, number]) + bytes(9)


async def over_udp(server: UdpNetworkServer) -> None:
    seen = 0
    for number in range(EACH):
        await server.until(lambda: len(server.rxpks) > seen)  # noqa: B023
        seen = len(server.rxpks)
        up = server.rxpks[-1]
        data = phy(1, number)
        answer = {"freq": up["freq"], "datr": up["datr"], "size": len(data), "data": base64.b64encode(data).decode()}
        server.pull_resp(txpk(tmst=(up["tmst"] + RX1_US) % (1 << 32), **answer), bytes([1, number]))
        await server.until(lambda: len(server.tx_acks) > number)  # noqa: B023
    assert [body for _, body in server.tx_acks] == [b""] * EACH


async def over_station(server: StationServer) -> None:
    for number in range(EACH):
        while not server.said.empty():
            server.said.get_nowait()
        up = await server.hear("updf")
        await server.say(
            {
                "msgtype": "dnmsg", "DevEui": "00-00-00-00-11-00-00-01", "dC": 0, "diid": number,
                "pdu": phy(2, number).hex(), "RxDelay": 1, "RX1DR": up["DR"], "RX1Freq": up["Freq"], "priority": 0,
                "xtime": up["upinfo"]["xtime"], "rctx": up["upinfo"]["rctx"],
            }
        )  # fmt: skip
        assert (await server.hear("dntxed"))["diid"] == number


async def over_mqtt(collector: Collector, port: int) -> None:
    def of(tail: str) -> list[dict]:
        return [json.loads(message.payload) for message in collector.heard if message.topic.endswith(tail)]

    async with aiomqtt.Client(HOST, port) as client:
        for number in range(EACH):
            seen = len(of("event/up"))
            await collector.until(lambda _: len(of("event/up")) > seen)  # noqa: B023
            up = of("event/up")[-1]
            tx = up["txInfo"]
            tx["modulation"]["lora"]["polarizationInversion"] = True
            tx |= {"power": 14, "timing": {"delay": {"delay": "1s"}}, "context": up["rxInfo"]["context"]}
            item = {"phyPayload": base64.b64encode(phy(3, number)).decode(), "txInfo": tx}
            body = json.dumps({"downlinkId": number, "items": [item], "gatewayId": str(EUI)})
            await client.publish(f"eu868/gateway/{EUI}/command/down", body, qos=1)
            await collector.until(lambda _: len(of("event/ack")) > number)  # noqa: B023
    assert [ack["items"] for ack in of("event/ack")] == [[{"status": "OK"}]] * EACH


@pytest.mark.slow
async def test_downlinks_of_each_kind_begin_with_rx1(mosquitto):
    radio = city(speed=2.0, seed=3, stamp=now)
    ear = Ear(radio)
    async with (
        UdpNetworkServer() as udp,
        StationServer(CONFIG).open() as station,
        Collector(mosquitto) as collector,
        radio,
    ):
        line, reception = DownlinkLine(radio), Reception(lambda: only_receiver(radio))
        servers = [
            SemtechUdpServer(SemtechUdpSettings("udp", "127.0.0.1", udp.port, EUI), line.carry, now, reception),
            BasicsStation(BasicsStationSettings("station", station.url), line.carry, now, reception, EUI),
            ChirpstackMqttServer(
                ChirpstackMqttSettings("mqtt", mosquitto.url, EUI, marshaler=Marshaler.JSON), line.carry, now, reception
            ),
        ]
        each = [Forwarding([(server, Filter()) for server in servers], reception)]
        duties = [duty for forwarding in each for duty in forwarding.duties()]
        duties = [asyncio.create_task(duty) for duty in (*duties, line.run(), hear(radio, each))]
        try:
            async with asyncio.timeout(120):
                await over_udp(udp)  # one after the other: the radio has one transmitter
                await over_station(station)
                await over_mqtt(collector, mosquitto.port)
        finally:
            for duty in duties:
                duty.cancel()
            for duty in duties:
                with suppress(asyncio.CancelledError):
                    await duty
    down = {one.phy: one for one in ear.heard if one.phy[0] == 0x60}
    assert set(down) == {phy(kind, number) for kind in (1, 2, 3) for number in range(EACH)}
    ends_us = {one.start_us + one.airtime_us: one for one in ear.heard if one.phy[0] != 0x60}
    for one in down.values():
        up = ends_us[one.start_us - RX1_US]  # an uplink that ended one second before, to the microsecond
        assert (one.frequency_hz, one.modulation) == (up.frequency_hz, up.modulation)


async def hear(radio, each):
    turns = itertools.cycle(each)
    async for frame in radio.frames():
        if isinstance(frame.modulation, Lora) and frame.crc is Crc.OK:
            next(turns).heard(frame, own=False)


async def test_of_two_servers_that_want_the_same_moment_one_gets_it_and_the_other_hears_why():
    radio = city(speed=2.0, seed=3, stamp=now)
    async with UdpNetworkServer() as one, UdpNetworkServer() as other, radio:
        line, reception = DownlinkLine(radio), Reception(lambda: only_receiver(radio))
        servers = [
            SemtechUdpServer(SemtechUdpSettings(name, "127.0.0.1", peer.port, EUI), line.carry, now, reception)
            for name, peer in (("one", one), ("other", other))
        ]
        forwarding = Forwarding([(server, Filter()) for server in servers], reception)
        duties = [*forwarding.duties(), line.run(), hear(radio, [forwarding])]
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            await one.until(lambda: one.pulled and other.pulled)
            seen = len(one.rxpks), len(other.rxpks)
            await one.until(lambda: (len(one.rxpks) > seen[0], len(other.rxpks) > seen[1]) == (True, True))
            tmst = (one.rxpks[-1]["tmst"] + RX1_US) % (1 << 32)
            one.pull_resp(txpk(tmst=tmst, freq=868.3), b"\0\1")
            await asyncio.sleep(0.05)
            other.pull_resp(txpk(tmst=tmst, freq=867.1), b"\0\2")
            await one.until(lambda: one.tx_acks and other.tx_acks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert one.tx_acks == [(b"\0\1", b"")]
    assert other.tx_acks == [(b"\0\2", b'{"txpk_ack":{"error":"COLLISION_PACKET"}}')]
