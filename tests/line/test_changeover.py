"""A gateway changes over in one step: its old configuration is imported, and its network server hears it as before.

The old programs are Semtech's packet forwarder, Basics Station and ChirpStack MQTT Forwarder; the servers are those
that the rooms of these protocols are tested with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from brokers import Collector
from daemons import GatewayProcess
from test_line import PHY
from test_own_network import DownForwarder
from udp_network_server import UdpNetworkServer, until

sys.path += [str(Path(__file__).parent.parent / room) for room in ("wire", "lns")]

import station_samples
from station_server import StationServer

if TYPE_CHECKING:
    from brokers import Mosquitto

EUI = "0016c001f1500813"
STRANGER = PHY[:1] + b"\x01\x02\x03\x26" + PHY[5:]


class ChangedOver(GatewayProcess):
    """A gateway whose settings come from the files of an old one, in its folder `old`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.settings.unlink()
        self.old = folder / "old"
        self.old.mkdir()

    def change_over(self) -> None:
        """Import; what is this test's alone, ports and data folder, is put in by hand."""
        done = self.command("config", "import", str(self.old), "--output", str(self.settings))
        assert done.returncode == 0, done.stderr
        text = self.settings.read_text(encoding="utf-8")
        for default, ours in (
            ('#path = "/var/lib/lorawan-gateway"', f'path = "{self.data}"'),
            ('#listen = "127.0.0.1:8080"', 'listen = "127.0.0.1:0"'),
            ('listen = "127.0.0.1:1700"', f'listen = "127.0.0.1:{self.udp_port}"'),
        ):
            assert default in text
            text = text.replace(default, ours)
        self.settings.write_text(text, encoding="utf-8")
        assert self.command("check").returncode == 0

    def write(self, name: str, content: object) -> None:
        """A file of the old programs."""
        text = content if isinstance(content, str) else json.dumps(content)
        (self.old / name).write_text(text, encoding="utf-8")


async def test_from_a_packet_forwarder(tmp_path):
    async with UdpNetworkServer() as server:
        with ChangedOver(tmp_path) as gateway:
            ports = {"serv_port_up": server.port, "serv_port_down": server.port}
            gateway.write("global_conf.json", {"gateway_conf": {"server_address": "localhost", **ports}})
            gateway.write("local_conf.json", '/* ours */ {"gateway_conf": {"gateway_ID": "' + EUI.upper() + '"}}')
            gateway.change_over()
            gateway.start()
            await until(lambda: server.pulled)
            with DownForwarder(gateway.udp_port) as forwarder:
                forwarder.hear(STRANGER, counter_us=1_000_000)
                await until(lambda: server.rxpks)
    assert set(server.pulled) == {bytes.fromhex(EUI)}


async def test_from_basics_station(tmp_path):
    config = station_samples.BRIDGE_CONFIG | {"NetID": None, "JoinEui": None}
    async with StationServer(config).open() as server:
        with ChangedOver(tmp_path) as gateway:
            gateway.write("tc.uri", server.url)
            gateway.write("station.conf", '{"station_conf": {"routerid": "16:c001:f150:813"}} /* that is all */')
            gateway.change_over()
            gateway.start()
            await until(lambda: server.sockets)
            with DownForwarder(gateway.udp_port) as forwarder:
                forwarder.hear(STRANGER, counter_us=1_000_000)
                assert (await server.hear("updf"))["FCnt"] == int.from_bytes(STRANGER[6:8], "little")
    assert server.queries[0] == {"router": "16:c001:f150:813"}


async def test_from_chirpstack_mqtt_forwarder(tmp_path, make_mosquitto):
    mosquitto: Mosquitto = make_mosquitto(users={"roof": "correct horse"})
    forwarder_toml = f"""
        [mqtt]
        server = "tcp://127.0.0.1:{mosquitto.port}"
        topic_prefix = "eu868"
        username = "roof"
        password = "correct horse"
        json = true
        [backend]
        gateway_id = "{EUI}"
        [backend.semtech_udp]
        bind = "127.0.0.1:1700"
    """
    async with Collector(mosquitto, username="roof", password="correct horse") as city:
        with ChangedOver(tmp_path) as gateway:
            gateway.write("chirpstack-mqtt-forwarder.toml", forwarder_toml)
            gateway.change_over()
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda heard: any(one.topic == f"eu868/gateway/{EUI}/state/conn" for one in heard))
                forwarder.hear(STRANGER, counter_us=1_000_000)
                await city.until(lambda heard: any(one.topic == f"eu868/gateway/{EUI}/event/up" for one in heard))
