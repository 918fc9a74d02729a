"""A real daemon on one core, a real mosquitto on another."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.machine import OURS, THEIRS, free_port
from gateway.console.control import ControlClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT_S = 120
POLL_S = 0.05
_STOP_S = 15


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running gateway."""

    pid: int
    udp_port: int
    control: ControlClient
    ready_s: float  # from the start of the process until the console answers

    def until(self, reached: Callable[[dict[str, Any]], bool]) -> float:
        """Seconds until its status says so."""
        return _until(self.control, reached, time.perf_counter())


def _until(control: ControlClient, reached: Callable[[dict[str, Any]], bool], began: float) -> float:
    while time.perf_counter() - began < LIMIT_S:
        with contextlib.suppress(Exception):  # not listening yet
            if reached(control.status()):
                return time.perf_counter() - began
        time.sleep(POLL_S)
    raise SystemExit(f"the gateway did not get there within {LIMIT_S} s: {control.status()}")


@contextlib.contextmanager
def daemon(folder: Path, broker_port: int | None, *, in_flight: int = 32, more: str = "") -> Iterator[Daemon]:
    """A gateway on `folder / "data"`, with one destination if there is a broker; `more` are further settings."""
    port = free_port(socket.SOCK_DGRAM)
    settings = folder / "gateway.toml"
    # The path is measured here, not how politely a backlog is sent.
    sink = (
        f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{broker_port}"\nin_flight = {in_flight}\n'
        'backlog_rate = 100000\nbacklog_delay = "0s"\n'
    )
    settings.write_text(
        f'[gateway]\neui = "0016c001ff10a235"\n[store]\npath = "{folder / "data"}"\n'
        f'[radio]\ntype = "packet-forwarder"\nlisten = "127.0.0.1:{port}"\n'
        f'[console]\nlisten = "127.0.0.1:0"\n{sink if broker_port else ""}{more}'
    )
    command = [sys.executable, "-m", "gateway", "run", "--config", str(settings)]
    began = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, preexec_fn=lambda: os.sched_setaffinity(0, OURS))
    os.sched_setaffinity(0, THEIRS)
    try:
        control = ControlClient(folder / "data")
        yield Daemon(process.pid, port, control, _until(control, bool, began))
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        finally:
            process.kill()
        if process.returncode != 0:
            print((folder / "log").read_text())


def mosquitto_program() -> str | None:
    """Where it is."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


@contextlib.contextmanager
def mosquitto(folder: Path, program: str) -> Iterator[int]:
    """A broker as Debian ships it, on a port of its own."""
    port = free_port(socket.SOCK_STREAM)
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    server = subprocess.Popen(
        [program, "-c", str(settings)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, THEIRS),
    )
    try:
        _until_it_listens(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _until_it_listens(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL_S)
    raise SystemExit("mosquitto does not listen")
