"""The door at which platforms ask for downlinks: one HTTP listener, `POST /commands/SINK`, for all destinations.

Each destination guards its own door: a webhook with a signature, a context broker with a token. What comes is small,
bounded in size, time and number before anything of it is looked at; whoever cannot prove who they are learns nothing,
not even which devices there are.

The listener is there only when the settings name one. A gateway behind NAT cannot be reached at all: there, context
brokers are asked (`ngsi_orders.py`), and MQTT and NATS connections carry requests the other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from gateway.errors import GatewayError, StorageError, UsageError
from gateway.wire.own_downlink import LONGEST_REQUEST
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from gateway.model import DevEui, QueuedDownlink, Stamp
    from gateway.wire.own_downlink import DownlinkAsked

log = logging.getLogger(__name__)

READ_WITHIN_S = 10.0
MOST_AT_ONCE = 32
MOST_CONNECTIONS = 64
COMPLAIN_EVERY_S = 60.0


class CommandDesk(Protocol):
    """Where downlinks are asked for; `serving.desk.DownlinkDesk` is the real one."""

    async def ask_once(
        self, dev_eui: DevEui, asked: DownlinkAsked, origin: str, tags: Mapping[str, str], /
    ) -> QueuedDownlink | None:
        """What became of it, or of the same request before; None when no such device may be commanded.

        UsageError with the reason when it cannot be queued.
        """
        ...

    def known(self, ref: str, /) -> QueuedDownlink | None:
        """What became of the downlink of this reference, for a day after its end."""
        ...

    async def knows(self, dev_eui: DevEui, tags: Mapping[str, str], /) -> bool:
        """Whether there is such a device, with these tags."""
        ...


@dataclass(frozen=True, slots=True)
class Knock:
    """A request as it came. `headers` in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What it is answered."""

    status: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    retry_after_s: int | None = None


class Doorkeeper(Protocol):
    """Who answers at the door of one destination."""

    async def answer(self, knock: Knock, desk: CommandDesk, now: Stamp) -> Reply:
        """The answer; UsageError and StorageError are answered by the door."""
        ...


class CommandDoor:
    """Takes requests for every destination that lets itself be commanded."""

    def __init__(self, keepers: Mapping[str, Doorkeeper], desk: CommandDesk, now: Callable[[], Stamp]) -> None:
        self._keepers = keepers
        self._desk = desk
        self._now = now
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._complained_s = float("-inf")
        self.taken = 0
        self.refused = 0

    @contextlib.asynccontextmanager
    async def open(
        self, host: str, port: int, cert_file: Path | None = None, key_file: Path | None = None
    ) -> AsyncIterator[int]:
        """Listen; the port. GatewayError, in words, when that cannot be."""
        application = web.Application(client_max_size=LONGEST_REQUEST, handler_args={"lingering_time": 0.0})
        application.router.add_post("/commands/{sink}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, keepalive_timeout=15.0)
        await runner.setup()
        try:
            try:
                tls = None if cert_file is None else await asyncio.to_thread(_server_tls, cert_file, key_file)
                site = web.TCPSite(runner, host or None, port, ssl_context=tls, backlog=MOST_CONNECTIONS)
                await site.start()
            except (OSError, ValueError) as error:
                raise GatewayError(
                    f"no commands can be taken at {host}:{port}: {getattr(error, 'strerror', None) or error}",
                    hint="give commands.listen an address of this gateway and a free port, and check cert_file",
                ) from error
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        reply = await self._reply(request)
        if reply.status < 300:
            self.taken += 1
        else:
            self.refused += 1
            self._complain(request, reply)
        headers = {} if reply.retry_after_s is None else {"Retry-After": str(reply.retry_after_s)}
        if not reply.facts:
            return web.Response(status=reply.status, headers=headers)
        body = json_bytes(reply.facts)
        return web.Response(status=reply.status, headers=headers, body=body, content_type="application/json")

    async def _reply(self, request: web.Request) -> Reply:
        keeper = self._keepers.get(request.match_info["sink"])
        if keeper is None:
            return Reply(404, {"error": "nobody takes commands here"})
        if self._room.locked():
            return Reply(503, {"error": "too much at once"}, retry_after_s=5)
        async with self._room:
            try:
                async with asyncio.timeout(READ_WITHIN_S):
                    body = await request.read()
            except TimeoutError:
                return Reply(408, {"error": f"the request did not come within {READ_WITHIN_S:g} s"})
            except web.HTTPRequestEntityTooLarge:
                return Reply(413, {"error": f"a request has at most {LONGEST_REQUEST} bytes"})
            if request.content_type not in {"application/json", "application/ld+json"}:
                return Reply(415, {"error": "a request is application/json"})
            knock = Knock({name.lower(): value for name, value in request.headers.items()}, body)
            try:
                return await keeper.answer(knock, self._desk, self._now())
            except UsageError as error:
                return Reply(422, {"error": error.problem})
            except StorageError as error:
                return Reply(503, {"error": error.problem}, retry_after_s=30)

    def _complain(self, request: web.Request, reply: Reply) -> None:
        """Once a minute: whoever knocks without end shall not fill the journal."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = now_s
            log.warning(
                "a command was refused: %s %s, from %s", reply.status, reply.facts.get("error", ""), request.remote
            )


def _server_tls(cert_file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert_file, key_file)
    return context
