"""A real gateway process to test against: started, asked, killed, started again."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest

from gateway.console.control import ControlClient
from gateway.errors import GatewayError

PROJECT = Path(__file__).parents[1]
READY = "tests/subscribed"
FORWARDER = bytes.fromhex("0016c001f1500812")


class GatewayProcess:
    """`lorawan-gateway run` on a settings file of the test's folder."""

    def __init__(self, folder: Path, *, sink: str = "", store: str = "", gateway: str = "") -> None:
        self.folder = folder
        self.data = folder / "data"
        self.udp_port = free_udp_port()
        self.settings = folder / "gateway.toml"
        self.settings.write_text(
            f'[gateway]\neui = "0016c001ff10a235"\n{gateway}\n[store]\npath = "{self.data}"\n{store}\n'
            f'[radio]\ntype = "packet-forwarder"\nlisten = "127.0.0.1:{self.udp_port}"\n'
            f'[console]\nlisten = "127.0.0.1:0"\n{sink}\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run another command of the gateway on these settings."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", "--config", str(self.settings), *words],
            capture_output=True, text=True, cwd=PROJECT, timeout=60, check=False, **options,
        )  # fmt: skip

    def start(self, **environment: str) -> None:
        """Start it and wait until it answers."""
        self.launch(["-m", "gateway", "run", "--config", str(self.settings)], **environment)

    def launch(self, words: list[str], **environment: str) -> None:
        """Start Python with these words and wait until a gateway answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words], stdout=log, stderr=log, cwd=PROJECT, env={**os.environ, **environment}
            )
        self.until(lambda _: True)

    def status(self) -> dict[str, Any]:
        return ControlClient(self.data).status()

    def until(self, reached: Any, within_s: float = 60) -> dict[str, Any]:
        """The first status for which this holds."""
        end = time.monotonic() + within_s
        last: object = None
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log}")
            try:
                last = status = self.status()
                if reached(status):
                    return status
            except GatewayError as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(f"not reached within {within_s} s, last: {json.dumps(last, default=str)}\n{self.log}")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As systemd does; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Subscriber:
    """`mosquitto_sub` as a platform would use it: `messages` are (topic, payload) in the order they came."""

    def __init__(self, port: int, topic: str) -> None:
        binary = shutil.which("mosquitto_sub")
        if binary is None:
            pytest.skip("apt-get install mosquitto-clients")
        self._process = subprocess.Popen(
            [binary, "-h", "127.0.0.1", "-p", str(port), "-t", topic, "-t", READY, "-q", "1", "-F", "%t %p"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.messages: list[tuple[str, str]] = []
        self._ready = threading.Event()
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait_until_subscribed(port)

    def _wait_until_subscribed(self, port: int) -> None:
        publisher = shutil.which("mosquitto_pub")
        assert publisher is not None
        while not self._ready.wait(0.2):
            subprocess.run([publisher, "-h", "127.0.0.1", "-p", str(port), "-t", READY, "-m", "x"], check=False)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            topic, _, payload = line.rstrip("\n").partition(" ")
            if topic == READY:
                self._ready.set()
                continue
            with self._new:
                self.messages.append((topic, payload))
                self._new.notify_all()

    def wait_for(self, count: int, *, ending: str = "/up", within_s: float = 60) -> list[tuple[str, str]]:
        """The messages on topics with this ending, once there are so many."""

        def found() -> list[tuple[str, str]]:
            return [message for message in self.messages if message[0].endswith(ending)]

        with self._new:
            if not self._new.wait_for(lambda: len(found()) >= count, within_s):
                raise AssertionError(f"only {len(found())} of {count} messages on …{ending} within {within_s} s")
            return found()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class PacketForwarder:
    """The gateway side of Semtech UDP, as much as a test needs, written from the protocol sheet."""

    def __init__(self, port: int, eui: bytes = FORWARDER) -> None:
        self._eui = eui
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.connect(("127.0.0.1", port))
        self._wire.settimeout(60)
        self._token = 0
        self._counter_us = 0

    def push(self, *phys: bytes, **fields: Any) -> bytes:
        """Send frames in one PUSH_DATA and return the acknowledgement."""
        return self.push_json({"rxpk": [self.rxpk(phy, **fields) for phy in phys]})

    def push_json(self, body: object) -> bytes:
        self._token += 1
        token = struct.pack(">H", self._token)
        self._wire.send(b"\x02" + token + b"\x00" + self._eui + json.dumps(body).encode())
        acknowledgement = self._wire.recv(100)
        assert acknowledgement == b"\x02" + token + b"\x01"
        return acknowledgement

    def send(self, datagram: bytes) -> None:
        self._wire.send(datagram)

    def rxpk(self, phy: bytes, **fields: Any) -> dict[str, Any]:
        self._counter_us += 50_000
        return {
            "tmst": self._counter_us, "chan": 2, "rfch": 0, "freq": 868.1, "stat": 1, "modu": "LORA",
            "datr": "SF7BW125", "codr": "4/5", "rssi": -97, "lsnr": 5.2, "size": len(phy),
            "data": base64.b64encode(phy).decode(), **fields,
        }  # fmt: skip

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
