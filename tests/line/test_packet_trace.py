"""`tail --raw` beside a running gateway: each packet, which server got it, what came back and what became of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest
from daemons import PROJECT, GatewayProcess
from test_line import PHY
from test_network_servers import LNS, STRANGER, add_device
from test_own_network import APP_KEY, JOIN_EUI, DownForwarder, Valve, joined
from test_own_network import DEV_EUI as VALVE_EUI
from udp_network_server import UdpNetworkServer, txpk

DOWN = bytes.fromhex("600102032600050001954378762b11ff0d")  # an unconfirmed downlink to 26030201, counter 5


class Tail:
    """The real command; `heard` are the objects it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[dict] = []

    async def until(self, holds) -> dict:
        """The first object of which this holds."""
        assert self._process.stdout is not None
        async with asyncio.timeout(30):
            while not (found := [one for one in self.heard if holds(one)]):
                self.heard.append(json.loads(await self._process.stdout.readline()))
        return found[0]

    async def event(self, event: str, **facts) -> dict:
        return await self.until(lambda one: {**one, "event": event, **facts} == one)


@asynccontextmanager
async def following(gateway: GatewayProcess, forwarder: DownForwarder, *words: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "--config", str(gateway.settings), "tail", "--raw", "--json", *words,
        cwd=PROJECT, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    tail, counter_us = Tail(process), 3_000_000_000
    try:
        while not tail.heard:  # until it has begun to follow
            forwarder.push(b"\xff", tmst=counter_us, stat=-1)
            counter_us += 7
            try:
                async with asyncio.timeout(0.2):
                    await tail.until(lambda _: True)
            except TimeoutError:
                assert process.returncode is None
        yield tail
    finally:
        process.terminate()
        await process.communicate()


async def test_each_packet_its_servers_their_downlinks_and_our_own_answers(tmp_path):
    async with UdpNetworkServer() as city, UdpNetworkServer(acknowledges=False) as hole:
        servers = LNS.format("city", city.port, "") + LNS.format("hole", hole.port, "")
        with GatewayProcess(tmp_path, sink=servers) as gateway:
            add_device(gateway)
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda: city.pulled and hole.pulled)
                async with following(gateway, forwarder) as tail:
                    await asyncio.to_thread(forwarder.hear, STRANGER, counter_us=1_000_000)
                    heard = await tail.event("refused", dev_addr="26030201")
                    forwarded = await tail.event("forwarded", lns="city", frame=heard["id"])
                    acknowledged = await tail.event("acknowledged", lns="city", frame=heard["id"])
                    asked = {"freq": 868.1, "size": len(DOWN), "data": "YAECAyYABQABlUN4disR/w0="}
                    city.pull_resp(txpk(tmst=2_000_000, **asked), b"\0\1")
                    await asyncio.to_thread(forwarder.downlink)
                    downlink = await tail.event("downlink", lns="city", frame=heard["id"])
                    sent = await tail.event("downlink_result", downlink=downlink["downlink"])
                    city.pull_resp(txpk(tmst=2_010_000, **asked), b"\0\2")
                    lost = await tail.event("downlink_result", result="COLLISION_PACKET")
                    city.pull_resp(b"\xff", b"\0\3")
                    unread = await tail.event("downlink_result", result="UNKNOWN")
                    forwarder.hear(PHY, counter_us=10_000_000)
                    ours = await tail.event("heard", name="PAV Antigone 12")
                    kept = await tail.event("kept", id=ours["id"])
                    answer = await tail.event("downlink", lns=None, frame=ours["id"])
                    forwarder.downlink()
                    answered = await tail.event("downlink_result", downlink=answer["downlink"])
                    unanswered = await tail.event("unanswered", lns="hole", frame=heard["id"])
            status = gateway.status()
            assert gateway.stop() == 0
    assert (heard["m_type"], heard["f_cnt16"], heard["reason"], heard["radio"]["crc"]) == (
        "unconfirmed_up", 2, "unknown_device", "ok",
    )  # fmt: skip
    assert (forwarded["final"], acknowledged["final"]) == (False, True)
    assert 0 <= forwarded["after_ms"] <= acknowledged["after_ms"] < unanswered["after_ms"]
    assert [downlink[key] for key in ("window", "delay_ms", "m_type", "to_dev_addr", "f_cnt16", "size")] == [
        "RX1", 1000.0, "unconfirmed_down", "26030201", 5, 17,
    ]  # fmt: skip
    assert downlink["early_ms"] < 1000
    assert (sent["result"], sent["on_air"], sent["frame"]) == ("SENT", True, heard["id"])
    assert lost["lost_to"] == {"downlink": downlink["downlink"], "lns": "city"}
    assert "42.5 ms" in lost["detail"]
    assert (unread["downlink"], unread["lns"]) == (None, "city")
    assert (ours["f_cnt"], ours["dev_eui"], kept["record_id"] is not None) == (2, "0200000000000001", True)
    assert (answer["to_dev_addr"], answer["dev_eui"], answered["result"]) == ("49be7df1", "0200000000000001", "SENT")
    (use,) = status["radio"]["airtime"]
    shares = [facts["airtime"][0]["used_s"] for facts in (*status["lns"], status["network"])]
    assert shares[0] > 0 == shares[1]
    assert shares[2] > 0
    assert use["used_s"] == pytest.approx(sum(shares), abs=0.002)
    assert {facts["airtime"][0]["left_s"] for facts in status["lns"]} == {use["left_s"]}


async def test_one_device_can_be_followed_through_everything_and_who_is_away_is_told(tmp_path):
    with GatewayProcess(
        tmp_path, sink=LNS.format("absent", 1700, "own_devices = true").replace("localhost", "lns.invalid")
    ) as gateway:
        added = gateway.command(
            "device", "add", "--dev-eui", VALVE_EUI.hex(), "--name", "valve 7", "--join-eui", JOIN_EUI.hex(),
            "--app-key", APP_KEY.hex(),
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        gateway.start()
        with DownForwarder(gateway.udp_port) as forwarder:
            valve = Valve()
            async with following(gateway, forwarder) as everything:
                await asyncio.to_thread(joined, forwarder, valve)
                forwarder.hear(valve.uplink(b"\x01"), counter_us=30_000_000)
                join = await everything.event("refused", m_type="join_request")
                accept = await everything.event("downlink", m_type="join_accept")
                await everything.event("kept", dev_eui=VALVE_EUI.hex())
                forwarder.hear(STRANGER, counter_us=40_000_000)
                missed = await everything.event("missed", lns="absent", frame=join["id"])
            assert gateway.stop() == 0
    assert (join["reason"], join["dev_eui"], join["join_eui"]) == ("joined", VALVE_EUI.hex(), JOIN_EUI.hex())
    assert (accept["frame"], accept["window"], accept["dev_eui"]) == (join["id"], "RX1", VALVE_EUI.hex())
    assert missed["reason"] == "away"
    assert missed["dev_eui"] == VALVE_EUI.hex()
