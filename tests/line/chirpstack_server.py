"""A real ChirpStack 4 of this machine, with Redis, SQLite and a broker of its own, and its API as far as it is needed.

The API is gRPC-web over HTTP/1.1, which ChirpStack serves on the port of its pages. Field numbers are those of
chirpstack-api 4.20 (api/*.proto). The region file has the keys of the sample that ChirpStack ships.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import pytest

from gateway.wire.protobuf import Field, Kind, Message, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brokers import Mosquitto

    from gateway.model import DevEui, Device, GatewayEui, RootKeys

CHIRPSTACK, REDIS = shutil.which("chirpstack"), shutil.which("redis-server")
WHY_SQLITE = "build it with cargo build --no-default-features --features sqlite"
WHY_NOT = (
    f"put chirpstack (version 4, chirpstack.io) into the PATH; {WHY_SQLITE}"
    if CHIRPSTACK is None
    else "no redis-server here: apt-get install redis-server"
)
START_S = 60.0

_ID = Message(Field("id", 1, Kind.STRING))
_TENANTS = Message(
    Field("total_count", 1, Kind.UINT32),
    Field(
        "result", 2, Kind.MESSAGE, Message(Field("id", 1, Kind.STRING), Field("name", 4, Kind.STRING)), repeated=True
    ),
)
_LIST = Message(Field("limit", 1, Kind.UINT32))
_GATEWAY = Message(
    Field("gateway_id", 1, Kind.STRING),
    Field("name", 2, Kind.STRING),
    Field("tenant_id", 5, Kind.STRING),
    Field("stats_interval", 8, Kind.UINT32),
)
_PROFILE = Message(
    Field("tenant_id", 2, Kind.STRING),
    Field("name", 3, Kind.STRING),
    Field("region", 4, Kind.UINT32),
    Field("mac_version", 5, Kind.UINT32),
    Field("reg_params_revision", 6, Kind.UINT32),
    Field("adr_algorithm_id", 7, Kind.STRING),
    Field("uplink_interval", 11, Kind.UINT32),
    Field("supports_otaa", 13, Kind.BOOL),
)
_APPLICATION = Message(Field("name", 2, Kind.STRING), Field("tenant_id", 4, Kind.STRING))
_DEVICE = Message(
    Field("dev_eui", 1, Kind.STRING),
    Field("name", 2, Kind.STRING),
    Field("application_id", 4, Kind.STRING),
    Field("device_profile_id", 5, Kind.STRING),
    Field("join_eui", 10, Kind.STRING),
)
_KEYS = Message(Field("dev_eui", 1, Kind.STRING), Field("nwk_key", 2, Kind.STRING), Field("app_key", 3, Kind.STRING))
_QUEUE_ITEM = Message(
    Field("dev_eui", 2, Kind.STRING),
    Field("confirmed", 3, Kind.BOOL),
    Field("f_port", 4, Kind.UINT32),
    Field("data", 5, Kind.BYTES),
)


class Refused(Exception):  # noqa: N818 - what the server says
    """The API says no."""


class ChirpStack:
    """ChirpStack between a broker and whoever asks its API. `channels_hz`: what it would have gateways hear."""

    def __init__(self, folder: Path, broker: Mosquitto, channels_hz: Sequence[int]) -> None:
        self._folder = folder / "chirpstack"
        self._folder.mkdir()
        self._broker = broker
        self._api_port, self._redis_port = _free_port(), _free_port()
        self._opened = ExitStack()
        self._token = ""
        self._tenant = ""
        (self._folder / "chirpstack.toml").write_text(
            f"""[logging]
level = "info"
[sqlite]
path = "sqlite://{self._folder}/chirpstack.sqlite"
[redis]
servers = ["redis://127.0.0.1:{self._redis_port}/"]
[network]
net_id = "000000"
enabled_regions = ["eu868"]
[api]
bind = "127.0.0.1:{self._api_port}"
secret = "only-for-this-test"
[integration]
enabled = ["mqtt"]
[integration.mqtt]
server = "tcp://127.0.0.1:{broker.port}/"
json = true
"""
        )
        channels = "".join(
            "[[regions.gateway.channels]]\n"
            f'frequency = {hz}\nbandwidth = 125000\nmodulation = "LORA"\nspreading_factors = [7, 8, 9, 10, 11, 12]\n'
            for hz in channels_hz
        )
        (self._folder / "region_eu868.toml").write_text(
            f"""[[regions]]
id = "eu868"
description = "EU868"
common_name = "EU868"
[regions.gateway]
[regions.gateway.backend]
enabled = "mqtt"
[regions.gateway.backend.mqtt]
topic_prefix = "eu868"
server = "tcp://127.0.0.1:{broker.port}"
{channels}[regions.network]
installation_margin = 10
rx_window = 0
rx1_delay = 1
rx1_dr_offset = 0
rx2_dr = 0
rx2_frequency = 869525000
min_dr = 0
max_dr = 5
uplink_max_eirp = 16
"""
        )

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            redis = [REDIS, "--port", str(self._redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            self._run(opening, "redis", [*map(str, redis), "--dir", str(self._folder)])
            self._wait(lambda: socket.create_connection(("127.0.0.1", self._redis_port), 1).close())
            self._run(opening, "server", [str(CHIRPSTACK), "-c", str(self._folder)])
            self._wait(lambda: socket.create_connection(("127.0.0.1", self._api_port), 1).close())
            self._token = self._new_token()
            [tenant] = self.ask("TenantService/List", _LIST, {"limit": 10}, _TENANTS)["result"]
            self._tenant = tenant["id"]
            self._opened = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def log(self) -> str:
        """What the server has said."""
        file = self._folder / "server.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # --- what it is told

    def add_gateway(self, eui: GatewayEui | str, *, stats_interval_s: int = 5) -> None:
        """A gateway it listens to; how often it wants statistics is part of the configuration it sends."""
        gateway = {
            "gateway_id": str(eui),
            "name": "roof",
            "tenant_id": self._tenant,
            "stats_interval": stats_interval_s,
        }
        self._create("GatewayService/Create", _GATEWAY, gateway, Message())

    def add_device(self, device: Device, keys: RootKeys) -> str:
        """A LoRaWAN 1.0.3 device that joins; the application it belongs to."""
        profile = {
            "tenant_id": self._tenant, "name": "room", "region": 0, "mac_version": 3, "reg_params_revision": 0,
            "adr_algorithm_id": "default", "uplink_interval": 3600, "supports_otaa": True,
        }  # fmt: skip
        profile_id = self._create("DeviceProfileService/Create", _PROFILE, profile)["id"]
        application = {"name": "city", "tenant_id": self._tenant}
        application_id: str = self._create("ApplicationService/Create", _APPLICATION, application)["id"]
        found = {
            "dev_eui": str(device.dev_eui), "name": device.name, "application_id": application_id,
            "device_profile_id": profile_id, "join_eui": str(device.join_eui),
        }  # fmt: skip
        self._create("DeviceService/Create", _DEVICE, found, Message())
        # LoRaWAN 1.0 has one key, which this API calls nwk_key.
        secrets = {"dev_eui": str(device.dev_eui), "nwk_key": bytes(keys.app_key).hex()}
        self._create("DeviceService/CreateKeys", _KEYS, secrets, Message())
        return application_id

    def enqueue(self, dev_eui: DevEui, f_port: int, data: bytes, *, confirmed: bool) -> str:
        """Queue a downlink; its id."""
        item = {"dev_eui": str(dev_eui), "confirmed": confirmed, "f_port": f_port, "data": data}
        found: str = self._create("DeviceService/Enqueue", _QUEUE_ITEM, item)["id"]
        return found

    def ask(self, method: str, question: Message, values: Mapping[str, Any], answer: Message) -> dict[str, Any]:
        """One call of the API."""
        body = encode(question, values)
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._api_port}/api.{method}",
            data=struct.pack(">BI", 0, len(body)) + body,
            headers={"content-type": "application/grpc-web+proto", "authorization": f"Bearer {self._token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                status, content = response.headers.get("grpc-status"), response.read()
                words = response.headers.get("grpc-message", "")
        except urllib.error.URLError as error:
            raise Refused(f"{method}: {error}\n{self.log[-2000:]}") from error
        found: dict[str, Any] = {}
        while content:
            kind, length = struct.unpack_from(">BI", content)
            part, content = content[5 : 5 + length], content[5 + length :]
            if kind & 0x80:
                trailers = dict(line.split(":", 1) for line in part.decode().splitlines() if ":" in line)
                status, words = trailers.get("grpc-status", status), trailers.get("grpc-message", words)
            else:
                found = decode(answer, part)
        if status not in (None, "0"):
            raise Refused(f"{method}: {status} {words}")
        return found

    def _create(
        self, method: str, message: Message, values: Mapping[str, Any], answer: Message = _ID
    ) -> dict[str, Any]:
        return self.ask(method, Message(Field("it", 1, Kind.MESSAGE, message)), {"it": values}, answer)

    # --- how it is started

    def _new_token(self) -> str:
        words = [str(CHIRPSTACK), "-c", str(self._folder), "create-api-key", "--name", "test"]
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
        return next(line.removeprefix("token: ") for line in said.splitlines() if line.startswith("token: "))

    def _run(self, opened: ExitStack, name: str, words: list[str]) -> None:
        log = opened.enter_context((self._folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(words, stdout=log, stderr=log)
        opened.callback(process.wait, 20)
        opened.callback(process.terminate)

    def _wait(self, reached: Any) -> None:
        until_s = time.monotonic() + START_S
        while True:
            try:
                reached()
            except OSError:
                if "PostgreSQL" in self.log:
                    pytest.skip(f"the chirpstack in the PATH is built for PostgreSQL: {WHY_SQLITE}")
                if time.monotonic() > until_s:
                    pytest.fail("".join(file.read_text() for file in self._folder.glob("*.log")))
                time.sleep(0.1)
            else:
                return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
