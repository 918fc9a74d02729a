"""The whole line: a real daemon on one core, real datagrams, a real disk, a real mosquitto.

The daemon and its codec workers have one core, mosquitto and the sender the other. A frame counts as durable when
`status` counts its record, and as delivered when the broker's PUBACK is booked. The sender goes on as fast as datagrams
are acknowledged. What the line has no room for then is dropped and counted; it counts for no rate, and the run says so.

Two figures each: what the clock on the wall says, and the processor time of daemon and workers for a frame. The second
one hardly changes when the machine has other things to do.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.bare_mqtt import published_per_s
from bench.figures import heading, show, times
from bench.fleet import datagrams, register
from bench.machine import cpu_s, memory_mib
from bench.servers import daemon, mosquitto, mosquitto_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from bench.servers import Daemon

WARM_FRAMES = 300  # enough to start every codec's worker
UNACKNOWLEDGED = 200  # of 1.3 KB each in the kernel: its default buffer holds them even when nobody reads
CHIP_CEILING = 171  # frames/s that the 16 demodulators of an SX1302 can physically deliver (EU868, all at SF7)
IN_FLIGHT = 32
PAYLOAD_BYTES = 1_000  # of a reading as JSON, for the broker's own limit


def run(frames: int) -> None:
    """Print the figures for small and large registries, to disk and to a broker."""
    program = mosquitto_program()
    for devices in (1_000, 100_000):
        heading(f"the line on one core, {devices:,d} devices, {frames:,d} frames")
        _measure(devices, frames, None)
        if program is None:
            print("  to PUBACK: skipped, apt-get install mosquitto")
        else:
            _measure(devices, frames, program)


def _measure(devices: int, frames: int, program: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        register(folder / "data", devices)
        broker_port = running.enter_context(mosquitto(folder, program)) if program else None
        limit = published_per_s(broker_port, bytes(PAYLOAD_BYTES), IN_FLIGHT) if broker_port else 0.0
        gateway = running.enter_context(daemon(folder, broker_port, in_flight=IN_FLIGHT))
        sent = list(datagrams(devices, WARM_FRAMES + frames))
        _pass(gateway, sent[:WARM_FRAMES], WARM_FRAMES, delivered=program is not None)
        used_s = cpu_s(gateway.pid)
        took_s = _pass(gateway, sent[WARM_FRAMES:], WARM_FRAMES + frames, delivered=program is not None)
        used_s = cpu_s(gateway.pid) - used_s
        status = gateway.control.status()
        frames -= status["radio"]["dropped"]
        rate, each_us = frames / took_s, used_s / frames * 1e6
        goal, aim = ("datagram to PUBACK", 3_000) if program else ("datagram to durable record", 5_000)
        against_broker = f"; {times(rate, limit)} the broker's own {limit:,.0f}/s" if program else ""
        show(
            goal, f"{rate:,.0f} frames/s", aim=f"{aim:,d}",
            beside=f"{times(rate, CHIP_CEILING)} the {CHIP_CEILING}/s of a chip{against_broker}",
        )  # fmt: skip
        show(
            "  processor time for it", f"{each_us:.0f} us/frame", aim=f"{1e6 / aim:.0f}",
            beside=f"a core to itself: {1e6 / each_us:,.0f} frames/s",
        )  # fmt: skip
        if not program:
            show("  resident memory afterwards", f"{memory_mib(gateway.pid):.0f} MiB")
            show("  start to listening", f"{gateway.ready_s:.2f} s")
        _tell_what_is_missing(status)


def _tell_what_is_missing(status: dict[str, Any]) -> None:
    balance, dropped = status["store"]["balance"], status["radio"]["dropped_by_cause"]
    if balance or dropped:
        print(f"    balance {balance}, sent too fast for the line: {dropped}")


def _pass(gateway: Daemon, sent: Sequence[bytes], total: int, *, delivered: bool) -> float:
    """Seconds from the first of these datagrams until all that were ever sent are through."""

    def through(status: dict[str, Any]) -> bool:
        done: int = status["sinks"][0]["acknowledged"] if delivered else status["radio"]["stored"]
        dropped: int = status["radio"]["dropped"]
        return done + dropped >= total

    began = time.perf_counter()
    send(sent, gateway.udp_port)
    gateway.until(through)
    return time.perf_counter() - began


def send(sent: Sequence[bytes], port: int) -> None:
    """All datagrams as fast as they are acknowledged."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect(("127.0.0.1", port))
        wire.settimeout(5)
        flying = 0
        for datagram in sent:
            wire.send(datagram)
            flying += 1
            while flying >= UNACKNOWLEDGED:
                wire.recv(16)
                flying -= 1
