"""HTTP servers for tests, on real sockets: one that answers what a test tells it to, and one that says raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from brokers import Certificate

    Handler = Callable[["Asked"], Awaitable[web.StreamResponse] | web.StreamResponse]


@dataclass(frozen=True)
class Asked:
    """A request as the server got it."""

    method: str
    path: str  # with its query, as it was sent
    headers: Mapping[str, str]
    body: bytes
    peer: str | None = None  # common name in the client's certificate
    port: int = 0  # that the connection came from


@dataclass
class HttpDouble:
    """Takes every request; `handle` makes the answer of it, 204 when there is none. The port stays over a restart."""

    handle: Handler | None = None
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=self.tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        certificate = request.get_extra_info("peercert")
        peer = dict(pair for (pair,) in certificate["subject"])["commonName"] if certificate else None
        port = request.get_extra_info("peername")[1]
        asked = Asked(request.method, request.raw_path, request.headers, body, peer, port)
        self.asked.append(asked)
        if self.handle is None:
            return web.Response(status=204)
        answer = self.handle(asked)
        return answer if isinstance(answer, web.StreamResponse) else await answer


@contextlib.asynccontextmanager
async def raw_server(said: bytes | None, *, hold: bool = False, reads: bool = True):
    """A server that says these bytes to whatever it is sent and closes; with `hold` it stays open. Gives its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            if reads:
                await reader.readuntil(b"\r\n\r\n")
            if said is not None:
                writer.write(said)
                await writer.drain()
            if not hold:
                writer.close()

    def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Awaitable[None]:
        async def one() -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await serve(reader, writer)

        return one()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def server_context(certificate: Certificate, client_ca: Path | None = None, *, only_1_2: bool = False):
    """TLS of a server; with `client_ca` it wants a certificate of that authority from its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert_file, certificate.key_file)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    if only_1_2:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextlib.contextmanager
def picky_tls_server(context: ssl.SSLContext):
    """A TLS server that sends its alert when it refuses a client, as OpenSSL's own do and asyncio's do not. Its URL."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listening.accept()
                sock.settimeout(5)
                with sock, contextlib.suppress(OSError):
                    try:
                        context.wrap_socket(sock.dup(), server_side=True).close()
                    except ssl.SSLError:
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(1 << 16):
                            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(5)
