"""The whole line: a real daemon on one core, real datagrams, a real disk, a real mosquitto.

The daemon and its codec workers have core 0, mosquitto and the sender core 1. A frame counts as durable when `status`
counts its record, and as delivered when the broker's PUBACK is booked. The sender keeps a bounded number of datagrams
unacknowledged, as a radio that never loses any would; nothing is lost on the way or the run says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.fleet import datagrams, register
from gateway.console.control import ControlClient

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES = 20_000
UNACKNOWLEDGED = 512
CHIP_CEILING = 171  # frames/s that 16 demodulators can physically deliver (store sheet, section 2)
LIMIT_S = 120


def run() -> None:
    """Print the figures for small and large registries, to disk and to a broker."""
    broker = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    for devices in (1_000, 100_000):
        _measure(devices, None)
        if broker is None:
            print("  to PUBACK: skipped, apt-get install mosquitto")
        else:
            _measure(devices, broker)


def _measure(devices: int, broker: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        register(folder / "data", devices)
        broker_port = running.enter_context(_mosquitto(folder, broker)) if broker else None
        began = time.perf_counter()
        daemon, port = running.enter_context(_daemon(folder, broker_port))
        control = ControlClient(folder / "data")
        ready_s = _until(control, bool, began)
        sent = list(datagrams(devices, FRAMES))
        began = time.perf_counter()
        _send(sent, port)
        if broker is None:
            took_s = _until(control, lambda status: status["radio"]["stored"] >= FRAMES, began)
        else:
            took_s = _until(control, lambda status: status["sinks"][0]["acknowledged"] >= FRAMES, began)
        rate = FRAMES / took_s
        goal = "to PUBACK" if broker else "durable"
        memory = _memory_mib(daemon.pid)
        print(
            f"  {devices:7,d} devices, {goal:9s} {rate:7,.0f} frames/s = {rate / CHIP_CEILING:4.0f} x what a chip can"
            f" deliver; resident {memory:.0f} MiB; start to listening {ready_s:.2f} s",
            flush=True,
        )
        status = control.status()
        if status["radio"]["stored"] != FRAMES or status["store"]["balance"] != 0:
            print(f"    NOT WHOLE: {status['radio']} balance {status['store']['balance']}")


def _send(sent: list[bytes], port: int) -> None:
    """All datagrams as fast as they are acknowledged."""
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.connect(("127.0.0.1", port))
    wire.settimeout(5)
    flying = 0
    for datagram in sent:
        wire.send(datagram)
        flying += 1
        while flying >= UNACKNOWLEDGED:
            wire.recv(16)
            flying -= 1
    wire.close()


def _until(control: ControlClient, reached: Any, began: float) -> float:
    """Seconds from `began` until the status says so."""
    while time.perf_counter() - began < LIMIT_S:
        with contextlib.suppress(Exception):
            if reached(control.status()):
                return time.perf_counter() - began
        time.sleep(0.02)
    raise SystemExit("the line did not get there within two minutes")


@contextlib.contextmanager
def _daemon(folder: Path, broker_port: int | None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = _free_port(socket.SOCK_DGRAM)
    settings = folder / "gateway.toml"
    # The path is measured here, not how politely a backlog is sent.
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{broker_port}"\nbacklog_rate = 100000\n'
    sink += 'backlog_delay = "0s"\n'
    settings.write_text(
        f'[store]\npath = "{folder / "data"}"\n[radio]\ntype = "packet-forwarder"\nlisten = "127.0.0.1:{port}"\n'
        f'[console]\nlisten = "127.0.0.1:0"\n{sink if broker_port else ""}'
    )
    command = [sys.executable, "-m", "gateway", "run", "--config", str(settings)]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stderr=log, stdout=log, preexec_fn=lambda: os.sched_setaffinity(0, {0}))
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    try:
        yield daemon, port
    finally:
        daemon.terminate()
        daemon.wait(15)
        if daemon.returncode != 0:
            print((folder / "log").read_text())


@contextlib.contextmanager
def _mosquitto(folder: Path, broker: str) -> Iterator[int]:
    port = _free_port(socket.SOCK_STREAM)
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    server = subprocess.Popen(
        [broker, "-c", str(folder / "mosquitto.conf")],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)}),
    )
    try:
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _memory_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
