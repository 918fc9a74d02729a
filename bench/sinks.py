"""After an outage: how fast a backlog drains through the daemon into each kind of destination but MQTT (see `drain`).

Against a real nats-server, an HTTP endpoint that reads and answers, a double of Orion, and files that are synced.
Every figure is from the outside: what the daemon's status calls acknowledged, by the wall clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from bench.figures import heading, show
from bench.fill import fill
from bench.machine import THEIRS, cpu_s, free_port
from bench.servers import daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES = 10_000
WINDOW = 512


def run(records: int) -> None:
    """Print the figures."""
    heading(f"a backlog of {records:,d} records through the daemon, backlog_rate 100000")
    with _nats() as port:
        nats = f'type = "nats"\nurl = "nats://127.0.0.1:{port}"\ncreate_stream = true'
        for window in (32, WINDOW):
            subject = f'stream = "W{window}"\nsubject = "w{window}.{{gateway_eui}}.{{dev_eui}}.up"'
            drained(
                f"NATS JetStream, in_flight {window}", "10,000", f"{nats}\n{subject}\nin_flight = {window}", records
            )
    with _endpoint() as port:
        drained("webhook, batch 100", "", f'type = "webhook"\nurl = "http://127.0.0.1:{port}/"', records)
    with _orion() as port:
        for window in (32, WINDOW):
            where = f'url = "http://127.0.0.1:{port}"\nservice_path = "/w{window}"\nbatch = 250\nin_flight = {window}'
            drained(f"NGSI-v2, in_flight {window}", "2,000", f'type = "ngsi-v2"\n{where}', records)
    for form in ("jsonl", "csv"):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            where = f'type = "file"\npath = "{name}/readings.{form}"\nformat = "{form}"\nin_flight = {WINDOW}'
            drained(f"file, {form}, in_flight {WINDOW}", "", where, records)


def drained(
    what: str, aim: str, sink: str, records: int, *, devices: int = DEVICES, span_s: float | None = None
) -> None:
    """Print how fast a daemon with this destination gets rid of its backlog."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        fill(folder / "data", devices, records, destination="city", span_s=span_s)
        more = f'[sink.city]\n{sink}\nbacklog_rate = 100000\nbacklog_delay = "0s"\n'
        with daemon(folder, None, more=more) as gateway:
            used_s = cpu_s(gateway.pid)
            began, first, now = time.perf_counter(), None, 0
            while now < records:
                time.sleep(0.05)
                now = gateway.control.status()["sinks"][0]["acknowledged"]
                if first is None and now:
                    began, first, used_s = time.perf_counter(), now, cpu_s(gateway.pid)
            took_s, used_s, moved = time.perf_counter() - began, cpu_s(gateway.pid) - used_s, now - (first or 0)
    show(what, f"{moved / took_s:,.0f} records/s", aim=aim, beside=f"{used_s / moved * 1e6:.0f} us/record of processor")


@contextlib.contextmanager
def _nats() -> Iterator[int]:
    program = shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise SystemExit("apt-get install nats-server")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        port = free_port(socket.SOCK_STREAM)
        server = subprocess.Popen(
            [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", name],
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, THEIRS),
        )
        try:
            yield port
        finally:
            server.terminate()
            server.wait(10)


@contextlib.contextmanager
def _orion() -> Iterator[int]:
    """The tests' double of Orion, which parses, checks and keeps every entity, in a process of its own."""
    double = Path(__file__).parent.parent / "tests" / "orion_double.py"
    server = subprocess.Popen(
        [sys.executable, str(double)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, THEIRS),
    )
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.wait(10)


@contextlib.contextmanager
def _endpoint() -> Iterator[int]:
    """An HTTP server in a thread, that reads what it is sent and says 204."""
    port, loop = free_port(socket.SOCK_STREAM), asyncio.new_event_loop()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    def work() -> None:
        os.sched_setaffinity(0, THEIRS)
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
