"""Commands from outside through the whole gateway: in at the door or from a broker, out on the air, results back."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import socket
from datetime import UTC, datetime

import aiohttp
import pytest
from daemons import GatewayProcess, PacketForwarder
from http_servers import HttpDouble
from orion_double import Orion
from told_gateway import ToldGateway

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session

WHO = "70b3d5499a11c0de"
NETWORK, APPLICATION = os.urandom(16), os.urandom(16)
_KEY = AesKey(NETWORK)
SESSION = Session(DevEui.parse(WHO), DevAddr(0x26AB1CDE), MacVersion.V1_0_3, _KEY, _KEY, _KEY, AesKey(APPLICATION))
SECRET = "shared with the platform"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path):
    """Starts a gateway with this sink and one valve."""
    (tmp_path / "secret").write_text(SECRET)
    started: list[GatewayProcess] = []

    def go(sink: str) -> ToldGateway:
        gateway = ToldGateway(tmp_path, sink=sink, store='commit_interval = "0ms"')
        started.append(gateway)
        added = gateway.command(
            "device", "add", "--dev-eui", WHO, "--name", "valve", "--dev-addr", "26ab1cde",
            "--nwk-s-key", NETWORK.hex(), "--app-s-key", APPLICATION.hex(), "--tag", "kind=valve",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        gateway.time.synchronise()
        gateway.start()
        gateway.until(lambda status: status["clock"]["state"] == "ntp")
        return gateway

    yield go
    for gateway in started:
        gateway.__exit__()


def moment(gateway: ToldGateway) -> datetime:
    return datetime.fromtimestamp(gateway.time.true_us / 1e6, UTC)


def signed(body: bytes) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Signature": f"sha256={digest}", "Content-Type": "application/json"}


async def reached(what, within_s: float = 20.0):
    async with asyncio.timeout(within_s):
        while not (found := what()):
            await asyncio.sleep(0.05)
    return found


def on_air(gateway: GatewayProcess, f_cnt: int) -> bytes:
    """An uplink of the valve, and the downlink that the forwarder is given for its window."""
    with PacketForwarder(gateway.udp_port) as forwarder:
        forwarder.send(b"\x02\x00\x00\x02" + forwarder._eui)  # PULL_DATA: this is where downlinks go
        forwarder._wire.recv(100)
        forwarder.push(seal(SESSION, f_cnt=f_cnt, f_port=2, payload=b"\x01"))
        answer = forwarder._wire.recv(1000)
    assert answer[3] == 3  # PULL_RESP
    return answer[4:]


async def test_a_webhook_commands_a_valve_and_hears_what_became_of_it(start, tmp_path):
    port = free_port()
    async with HttpDouble() as hook:
        gateway = await asyncio.to_thread(
            start,
            f'[commands]\nlisten = "127.0.0.1:{port}"\n[sink.hook]\ntype = "webhook"\nurl = "{hook.url}"\n'
            f'hmac_file = "{tmp_path}/secret"\ncommands = true\nonly_tags = {{ kind = "valve" }}\n',
        )
        at = moment(gateway).isoformat().replace("+00:00", "Z")
        body = json.dumps({"dev_eui": WHO, "at": at, "f_port": 10, "payload": "01", "ref": "open-1"}).encode()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as platform:
            for _ in range(2):  # the second is the same one
                async with platform.post("/commands/hook", data=body, headers=signed(body)) as response:
                    assert (response.status, await response.json()) == (202, {"id": "open-1", "state": "queued"})
            async with platform.post("/commands/hook", json={"dev_eui": WHO}) as response:
                assert response.status == 401
        assert json.loads(await asyncio.to_thread(on_air, gateway, 1))["txpk"]
        events = await reached(lambda: [event for event in map(_event, hook.asked) if event])
        assert {event["ref"] for event in events} == {"open-1"}
        listed = json.loads(gateway.command("downlink", "list", "--json").stdout)
        assert [(one["ref"], one["asked_by"]) for one in listed] == [("open-1", "hook")]
        readings = [one for one in hook.asked if isinstance(json.loads(one.body), list)]
        assert all(one.headers["X-Signature"] == signed(one.body)["X-Signature"] for one in readings)


def _event(asked) -> dict | None:
    said = json.loads(asked.body)
    is_sent = isinstance(said, dict) and said.get("event") == "down/result" and said["f_cnt"] is not None
    return said if is_sent else None


async def test_a_command_in_orion_goes_on_air_and_its_state_stands_beside_it(start):
    orion = Orion()
    await orion.start()
    entity = f"urn:ngsi-ld:Device:{WHO}"
    gateway = await asyncio.to_thread(
        start,
        f'[sink.orion]\ntype = "ngsi-v2"\nurl = "{orion.url}"\ncommands = "poll"\ncommands_interval = "200ms"\n',
    )
    orion.entities.now = lambda: moment(gateway)
    asked = {"type": "command", "value": {"f_port": 10, "payload": "01"}}
    command = {"id": entity, "type": "Device", "downlink": asked}
    orion.entities.update("", "/", {"actionType": "append", "entities": [command]}, set())

    def status() -> object:
        return orion.entities.state(entity).get("downlink_status", {}).get("value")

    await reached(lambda: status() == "PENDING")
    assert json.loads(await asyncio.to_thread(on_air, gateway, 1))["txpk"]
    await reached(lambda: orion.entities.state(entity)["downlink_info"]["value"]["f_cnt"] is not None)
    await reached(lambda: "loraFCnt" in orion.entities.state(entity) or len(orion.entities.state(entity)) > 4)
    assert len(json.loads(gateway.command("downlink", "list", "--json").stdout)) == 1
    await asyncio.to_thread(gateway.stop)
    await orion.stop()
