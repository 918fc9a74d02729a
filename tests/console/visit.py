"""A client at the console's door."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp

from gateway.console import web

QUICK = web.Limits(tick_s=0.05, sample_s=0.1, streams=3, connections=12, stall_s=0.5)


@asynccontextmanager
async def opened(daemon, limits=QUICK, listen="127.0.0.1:0", **how):
    """The console on a loopback port, and a client of its own."""
    async with await web.serve_tcp(web.application(daemon, limits=limits, **how), listen) as door:
        host, port = door.addresses[0]
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        async with aiohttp.ClientSession(base) as client:
            yield SimpleNamespace(client=client, port=port, door=door)


async def get(console, path, **how):
    async with console.client.get(path, **how) as answer:
        return answer.status, await answer.text()
