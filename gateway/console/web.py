"""The console over HTTP: one page, its live updates, the same facts as JSON, and `/metrics`.

    /            the page; works without JavaScript
    /events      what changed on the page since the last second (Server-Sent Events)
    /status      contract, section 2          /readings    the latest, newest first; contract, section 4
    /tail        readings as they come, one JSON object a line; `?dev_eui=` one device, `?raw=1` unknown ones too
    /metrics     Prometheus                   /healthz     200, or 503 when the box cannot hear or keep

All this is read-only. The control socket has the same, for our own commands, and takes orders as well (`orders.py`).
Whoever reads slowly, floods or walks away costs a bounded amount of memory and nobody else's time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from gateway.console import doors
from gateway.console.orders import OrderDesk
from gateway.console.screen import Now, Screen
from gateway.host import metrics
from gateway.model import DevEui

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from gateway.console.orders import Orders
    from gateway.console.view import View

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GOODBYE_S = 0.2  # what an answer in progress gets when we stop; aiohttp may wait twice as long
IDLE_S = 30.0  # a connection that asks nothing is closed


@dataclass(frozen=True, slots=True)
class Limits:
    """What the console may cost. Readings, radio and store come first."""

    tick_s: float = 1.0  # between two updates of a page: live for a person, cheap beside a busy radio
    sample_s: float = 5.0  # between two looks at the counters
    streams: int = 16  # on each kind of door, so that a forest of open tabs cannot shut out `tail`
    connections: int = 128  # on each door: file descriptors belong to the store and the sinks
    stall_s: float = 30.0  # a stream whose reader takes nothing for as long is cut


LIMITS = web.AppKey("limits", Limits)

SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "lorawan-gateway",
}

ANY_NAME = frozenset({"/metrics", "/healthz"})
"""Asked by monitoring under whatever name it knows us; numbers only."""

STATIC_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Console:
    """The handlers, and what they share: the screen, and who is streaming."""

    def __init__(self, view: View, names: Sequence[str], limits: Limits) -> None:
        self._view = view
        self._limits = limits
        self._screen = Screen(view)
        self._names = {"localhost", *_own_names(), *(name.lower() for name in names)}
        self._streams = {"tcp": 0, "unix": 0}
        self._sampler: asyncio.Handle | None = None
        self._doors = 0

    # --- answers ----------------------------------------------------------------------------------------------------

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page as it is now."""
        return _compressed(web.Response(text=self._screen.page(_now()), content_type="text/html"), request)

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Our own style, script and icon; their address changes with their content."""
        asset = self._screen.assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound(text="There is no such file.\n")
        kind = STATIC_TYPES[request.match_info["name"].rpartition(".")[2]]
        response = web.Response(body=asset, content_type=kind, charset="utf-8")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return _compressed(response, request)

    async def status(self, _request: web.Request) -> web.StreamResponse:
        """The state as JSON."""
        return _json(self._view.status())

    async def readings(self, _request: web.Request) -> web.StreamResponse:
        """The latest readings as a JSON array, newest first."""
        return _json(list(self._view.recent()))

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """The state for Prometheus."""
        return web.Response(body=metrics.exposition(self._view.status), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def healthz(self, _request: web.Request) -> web.StreamResponse:
        """Whether this box does its own work. A destination that is away is not its fault and changes nothing."""
        trouble = self._screen.own_trouble()
        return _json({"ok": not trouble, "trouble": trouble}, status=503 if trouble else 200)

    # --- streams ----------------------------------------------------------------------------------------------------

    async def tail(self, request: web.Request) -> web.StreamResponse:
        """Readings as they come, a JSON object a line; `{"missed": n}` where the reader was too slow."""
        only, raw = _device(request), request.query.get("raw", "") not in {"", "0", "false"}
        with self._stream(request) as kind:
            stall_s = None if kind == "unix" else self._limits.stall_s  # a pager may be left open
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson; charset=utf-8"})
            async with aclosing(self._view.follow(raw=raw)) as readings:
                await response.prepare(request)
                async for reading in readings:
                    if only is None or reading.get("dev_eui") == only or "missed" in reading:
                        await _write(request, response, orjson.dumps(reading) + b"\n", stall_s)
            return response

    async def events(self, request: web.Request) -> web.StreamResponse:
        """What changed on the page, every second; the first event carries all of it."""
        with self._stream(request):
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
            await response.prepare(request)
            await _write(request, response, b"retry: 1000\n\n", self._limits.stall_s)
            shown = None
            while True:
                now = self._screen.frame(_now(), self._limits.tick_s / 2)
                event = orjson.dumps(now.since(shown))
                await _write(request, response, b"data: " + event + b"\n\n", self._limits.stall_s)
                shown = now
                await asyncio.sleep(self._limits.tick_s)

    @contextmanager
    def _stream(self, request: web.Request) -> Iterator[str]:
        kind = _door(request)
        if self._streams[kind] >= self._limits.streams:
            raise web.HTTPServiceUnavailable(
                text=f"{self._limits.streams} viewers are connected already; close one.\n",
                headers={"Retry-After": "10"},
            )
        self._streams[kind] += 1
        transport = request.transport
        try:
            yield kind
        except asyncio.CancelledError:
            # We stop. Closing would wait for a reader that takes nothing any more.
            if transport is not None and transport.get_write_buffer_size():
                transport.abort()
            raise
        finally:
            self._streams[kind] -= 1

    # --- around every answer ----------------------------------------------------------------------------------------

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse whoever asks under a foreign name that was pointed at our address (DNS rebinding)."""
        if _door(request) == "tcp" and request.path not in ANY_NAME and not self._knows(request):
            raise web.HTTPMisdirectedRequest(text="This name is not mine. Open me by IP address or host name.\n")
        if _door(request) == "tcp" and request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])  # nothing can be changed from here
        return await handler(request)

    def _knows(self, request: web.Request) -> bool:
        host = request.headers.get("Host")  # `request.host` would ask the DNS where there is none
        if host is None:
            return True  # no browser: these always say
        host = host.lower()
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        return name.removesuffix(".") in self._names or _is_address(name)

    # --- the counter's history --------------------------------------------------------------------------------------

    async def open(self, _app: web.Application) -> None:
        """Look at the counters every few seconds for as long as a door is open."""
        self._doors += 1
        if self._sampler is None:
            loop = asyncio.get_running_loop()
            self._sampler = loop.call_soon(self._sample, loop)

    async def close(self, _app: web.Application) -> None:
        """The last door to close ends it."""
        self._doors -= 1
        if not self._doors and self._sampler is not None:
            self._sampler.cancel()
            self._sampler = None

    def _sample(self, loop: asyncio.AbstractEventLoop) -> None:
        # The next look is planned first: a fault in this one costs no more than itself.
        self._sampler = loop.call_later(self._limits.sample_s, self._sample, loop)
        self._screen.sample(_now())


class Listener:
    """An open door of the console. `cleanup` closes it, and every stream that came through it, within a second."""

    def __init__(
        self, runner: web.AppRunner, servers: Sequence[asyncio.Server], control: tuple[Path, str, int] | None
    ) -> None:
        self._runner = runner
        self._servers = servers
        self._control = control

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every TCP socket, as bound; empty for a control socket."""
        if self._control is not None:
            return []
        return [one.getsockname()[:2] for server in self._servers for one in server.sockets]

    async def cleanup(self) -> None:
        """Stop listening, cut what streams, and remove the control socket's file."""
        for server in self._servers:
            server.close()
        await self._runner.cleanup()
        if self._control is not None:
            doors.forget(*self._control)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cleanup()


def application(
    view: View, names: Sequence[str] = (), limits: Limits | None = None, orders: Orders | None = None
) -> web.Application:
    """The console of one daemon. `names`: host names it may be opened by, besides addresses and this machine's own.

    `orders` are taken over the control socket only, whatever else serves this application.
    """
    limits = limits or Limits()
    console = Console(view, names, limits)
    app = web.Application(middlewares=[console.guard])
    app[LIMITS] = limits
    app.add_routes(
        [
            web.get("/", console.page),
            web.get("/static/{build}/{name}", console.static),
            web.get("/status", console.status),
            web.get("/readings", console.readings),
            web.get("/tail", console.tail, allow_head=False),
            web.get("/events", console.events, allow_head=False),
            web.get("/metrics", console.metrics),
            web.get("/healthz", console.healthz),
        ]
    )
    if orders is not None:
        app.router.add_post("/orders/{name}", OrderDesk(orders).take)
    app.on_startup.append(console.open)
    app.on_cleanup.append(console.close)
    app.on_response_prepare.append(_harden)
    return app


async def serve_tcp(app: web.Application, listen: str) -> Listener:
    """Listen on `console.listen`; GatewayError with a hint when the address cannot be had."""
    return await _serve(app, doors.tcp_sockets(listen), None)


async def serve_unix(app: web.Application, folder: Path, name: str = doors.CONTROL) -> Listener:
    """Listen on the control socket in the data folder; StorageError or GatewayError as `doors.control_socket` says."""
    control = doors.control_socket(folder, name)
    return await _serve(app, [control], (folder, name, (folder / name).stat().st_ino))


async def _serve(
    app: web.Application, sockets: Sequence[socket.socket], control: tuple[Path, str, int] | None
) -> Listener:
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # who hangs up ends his stream at once, not at the next reading
        shutdown_timeout=GOODBYE_S,
        keepalive_timeout=IDLE_S,
        access_log=None,
    )
    await runner.setup()
    assert runner.server is not None
    loop, protocol = asyncio.get_running_loop(), _bounded(runner.server, app[LIMITS].connections)
    servers = [await loop.create_server(protocol, sock=one) for one in sockets]
    return Listener(runner, servers, control)


def _bounded(server: web.Server, most: int) -> Callable[[], asyncio.Protocol]:
    def protocol() -> asyncio.Protocol:
        return server() if len(server.connections) < most else _Full()

    return protocol


class _Full(asyncio.Protocol):
    """Answers one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        transport.close()


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.update(SECURITY)


async def _write(request: web.Request, response: web.StreamResponse, data: bytes, stall_s: float | None) -> None:
    """Send a piece of a stream; a reader who takes nothing for `stall_s` is cut off."""
    try:
        async with asyncio.timeout(stall_s):
            await response.write(data)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader of a stream has stalled") from None


def _json(value: object, status: int = 200) -> web.Response:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def _compressed(response: web.Response, request: web.Request) -> web.Response:
    if _door(request) == "tcp":
        response.enable_compression()
    return response


def _device(request: web.Request) -> str | None:
    text = request.query.get("dev_eui")
    if text is None:
        return None
    try:
        return str(DevEui.parse(text))
    except ValueError as reason:
        raise web.HTTPBadRequest(text=f"dev_eui: {reason}\n") from None


def _door(request: web.Request) -> str:
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return "unix" if isinstance(name, (str, bytes)) else "tcp"


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, f"{name.partition('.')[0]}.local"}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _now() -> Now:
    return Now(time.time(), time.monotonic())
