"""A backlog into context brokers that answer at once: what the gateway itself can, and whether the order is kept.

A busy gateway hears 1.4 million frames in seven days; `--backlog 1400000` is that. The far end reads every request,
remembers of each entity what came last, counts what came out of order, and says that it took it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from bench.figures import heading, show
from bench.machine import THEIRS, free_port
from bench.sinks import drained

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES = 2_000
PER_S = 1_400_000 / (7 * 86_400)


def run(records: int) -> None:
    """Print the figures."""
    heading(f"a backlog of {records:,d} records of {DEVICES:,d} devices into context brokers that answer at once")
    for name, type_, aim in (("NGSI-v2", "ngsi-v2", "2,000"), ("NGSI-LD", "ngsi-ld", "")):
        with _broker() as (port, seen):
            where = f'type = "{type_}"\nurl = "http://127.0.0.1:{port}"\nbatch = 200\nin_flight = 400'
            drained(f"{name}, batch 200", aim, where, records, devices=DEVICES, span_s=records / PER_S)
        show(
            "  of that, entities written",
            f"{seen.written:,d}",
            beside=f"{seen.late:,d} older than what stood there, {seen.behind} of {len(seen.last):,d} left behind",
        )


@dataclass
class Seen:
    """What came: of each entity the moment that stands there, and the newest that ever did."""

    written: int = 0
    late: int = 0
    last: dict[str, str] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)

    def take(self, entity: dict[str, Any]) -> None:
        """An entity as it came."""
        if "lorawan-gateway" in entity["id"]:
            return
        name, when = entity["id"], _moment(entity)
        newest = self.newest.get(name, "")
        self.written += 1
        self.late += when < newest
        self.last[name], self.newest[name] = when, max(when, newest)

    @property
    def behind(self) -> int:
        """How many entities do not show the newest that they were told."""
        return sum(when != self.newest[name] for name, when in self.last.items())


def _moment(entity: dict[str, Any]) -> str:
    if "TimeInstant" in entity:
        return str(entity["TimeInstant"]["value"])
    attributes = (one for one in entity.values() if isinstance(one, dict))
    return max((str(one["observedAt"]) for one in attributes if "observedAt" in one), default="")


@contextlib.contextmanager
def _broker() -> Iterator[tuple[int, Seen]]:
    """A broker that has nothing and takes everything, in a thread."""
    port, loop, seen = free_port(socket.SOCK_STREAM), asyncio.new_event_loop(), Seen()

    async def answer(request: web.Request) -> web.Response:
        said = orjson.loads(await request.read() or b"null")
        if request.path.endswith(("/op/query", "/entities")) and "temporal" not in request.path:
            return web.json_response([])
        entities = said if isinstance(said, list) else said.get("entities", ())
        for entity in entities:
            seen.take(entity)
        return web.Response(status=204)

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{tail:.*}", answer)
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
        yield port, seen
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
