"""After an outage: how fast a backlog drains into a real mosquitto, and how fresh what is heard meanwhile stays.

While the backlog drains, a few devices go on sending, each frame at its time. Their latency is measured from outside:
from the datagram to the moment at which a subscriber of the broker has the reading.
"""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.bare_mqtt import listening, published_per_s
from bench.figures import heading, show, times
from bench.fill import GATEWAY, fill
from bench.fleet import datagrams, device
from bench.machine import cpu_s, memory_mib
from bench.servers import daemon, mosquitto, mosquitto_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.servers import Daemon

DEVICES = 10_000
LIVE_DEVICES = 16
LIVE_PER_S = 20.0
MOST_LIVE = 20_000
QUIET_FRAMES = 200
IN_FLIGHT = 32
PAYLOAD_BYTES = 1_000  # of a reading as JSON, for the broker's own limit
ARRIVAL_S = 3.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of a backlog."""

    records: int
    took_s: float
    used_s: float  # processor time
    limit_per_s: float
    memory_mib: float
    live_s: list[float]  # latency of each live frame, ascending; infinite for one that did not come


def run(records: int) -> None:
    """Print the figures."""
    program = mosquitto_program()
    heading(f"a backlog of {records:,d} records into mosquitto, in_flight {IN_FLIGHT}, backlog_rate 100000")
    if program is None:
        print("  skipped: apt-get install mosquitto")
        return
    quiet, drained = _drain(program, 0), _drain(program, records)
    rate, each_us = drained.records / drained.took_s, drained.used_s / drained.records * 1e6
    show(
        "drained", f"{rate:,.0f} records/s", aim="10,000",
        beside=f"{times(rate, drained.limit_per_s)} the broker's own {drained.limit_per_s:,.0f}/s",
    )  # fmt: skip
    show(
        "  processor time for it", f"{each_us:.0f} us/record", aim="100",
        beside=f"a core to itself: {1e6 / each_us:,.0f} records/s",
    )  # fmt: skip
    show("  resident memory afterwards", f"{drained.memory_mib:.0f} MiB")
    late, usual = _p99(drained.live_s), _p99(quiet.live_s)
    show(
        f"live latency meanwhile, p99 of {len(drained.live_s)}", f"{late:.2f} s", aim="< 2 s",
        beside=f"{times(late, usual)} without a backlog ({usual:.2f} s; commits are up to 1 s apart)",
    )  # fmt: skip


def _p99(ascending: list[float]) -> float:
    return ascending[int(len(ascending) * 0.99)] if ascending else float("nan")


def _drain(program: str, records: int) -> Drained:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        fill(folder / "data", DEVICES, records, destination="city")
        port = running.enter_context(mosquitto(folder, program))
        limit = published_per_s(port, bytes(PAYLOAD_BYTES), IN_FLIGHT)
        topics = [f"lorawan/{GATEWAY}/{device(number).device.dev_eui}/up" for number in range(LIVE_DEVICES)]
        listener = running.enter_context(listening(port, topics))
        gateway = running.enter_context(daemon(folder, port, in_flight=IN_FLIGHT))
        with _living(gateway.udp_port) as live:
            used_s = cpu_s(gateway.pid)
            settled, took_s = _settled(gateway, records) if records else _settled(gateway, QUIET_FRAMES, QUIET_FRAMES)
            used_s = cpu_s(gateway.pid) - used_s
        time.sleep(ARRIVAL_S)
        arrived: dict[tuple[str, int], float] = {}
        for when, payload in listener.arrived:
            reading = json.loads(payload)
            arrived.setdefault((reading["dev_eui"], reading["f_cnt"]), when)
        latencies = sorted(arrived.get(frame, float("inf")) - sent for frame, sent in live.items())
        return Drained(settled, took_s, used_s, limit, memory_mib(gateway.pid), latencies)


def _settled(gateway: Daemon, records: int, at_least: int = 1) -> tuple[int, float]:
    """How many records were acknowledged until the backlog was gone, and in how many seconds."""
    began = first = None
    while True:
        sink = gateway.control.status()["sinks"][0]
        now, acknowledged = time.perf_counter(), sink["acknowledged"]
        if began is None:
            if acknowledged:
                began, first = now, acknowledged
        elif acknowledged >= max(records, at_least):
            return acknowledged - (first or 0), now - began
        time.sleep(0.05)


@contextlib.contextmanager
def _living(port: int) -> Iterator[dict[tuple[str, int], float]]:
    """Devices that go on sending beside the backlog; when each frame left, by DevEUI and counter."""
    sent: dict[tuple[str, int], float] = {}
    frames = list(datagrams(LIVE_DEVICES, MOST_LIVE))
    names = [str(device(number).device.dev_eui) for number in range(LIVE_DEVICES)]
    over = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.connect(("127.0.0.1", port))
            for index in range(LIVE_DEVICES, MOST_LIVE):  # the first round has the counters of the backlog
                sent[names[index % LIVE_DEVICES], index // LIVE_DEVICES + 1] = time.perf_counter()
                wire.send(frames[index])
                if over.wait(1 / LIVE_PER_S):
                    return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()
