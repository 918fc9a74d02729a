"""A Basics Station server on real web sockets, written from the protocol's page: it answers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


class StationServer:
    """Discovery at /router-info, data at /data. `silent` takes the router query and never answers it."""

    def __init__(self, config: dict[str, Any] | str | None, *, tls: ssl.SSLContext | None = None) -> None:
        self.config = config
        self.tls = tls
        self.answer: dict[str, Any] | str | None = None  # instead of the right one to the router query
        self.token: str | None = None  # asked for in Authorization
        self.silent = False
        self.deaf = False  # to pings
        self.queries: list[dict[str, Any]] = []
        self.peers: list[str] = []  # common names in client certificates
        self.sockets: list[web.WebSocketResponse] = []
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://localhost:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[StationServer]:
        app = web.Application()
        app.router.add_get("/router-info", self._discovery)
        app.router.add_get("/data", self._data)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", self.port, ssl_context=self.tls)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await site.stop()  # first, or a station that comes back at once is closed for ever
            for socket in [*self.sockets]:
                await socket.close()
            await runner.cleanup()

    async def say(self, message: dict[str, Any] | str) -> None:
        """To the connection that is open now."""
        await self.sockets[-1].send_str(message if isinstance(message, str) else json.dumps(message))

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; what comes before is passed over."""
        async with asyncio.timeout(5):
            while (message := await self.said.get())["msgtype"] != kind:
                pass
            return message

    async def hang_up(self) -> None:
        await self.sockets[-1].close()

    def _let_in(self, request: web.Request) -> None:
        if self.token is not None and request.headers.get("Authorization") != self.token:
            raise web.HTTPUnauthorized
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if certificate:
            self.peers.append(dict(name for (name,) in certificate["subject"])["commonName"])

    async def _discovery(self, request: web.Request) -> web.WebSocketResponse:
        self._let_in(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.queries.append(json.loads(await socket.receive_str()))
        if self.silent:
            await socket.receive()
            return socket
        right = {"router": self.queries[-1]["router"], "muxs": "::0", "uri": f"{self.url}/data"}
        answer = right if self.answer is None else self.answer
        await socket.send_str(answer if isinstance(answer, str) else json.dumps(answer))
        await socket.receive()
        return socket

    async def _data(self, request: web.Request) -> web.WebSocketResponse:
        self._let_in(request)
        socket = web.WebSocketResponse(autoping=not self.deaf)
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                said = json.loads(message.data)
                if said["msgtype"] == "version" and self.config is not None:
                    await self.say(self.config)
                self.said.put_nowait(said)
        return socket
