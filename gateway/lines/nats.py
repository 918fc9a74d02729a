"""One connection to a NATS server: opened with a deadline, closed for good, every publication with its answer.

The protocol is spoken here and not by nats-py, whose client does what a gateway must not: asked for `tls://` it sends
the password in the clear to a server (or whoever stands before it) that does not offer TLS, it retries and buffers
beside the drain that already does both, and it swallows cancellations. What is needed is small (`wire/nats.py`).

A line is used once. Answers come to an inbox of the line's own; what was not answered when it ends was perhaps taken.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import __version__
from gateway.errors import GatewayError
from gateway.lines.dialing import Trouble, Unreachable, dial, tls_context, trouble_with
from gateway.wire import nats as wire
from gateway.wire.nkeys import public_key, read_credentials

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Answered = Callable[[wire.Message | wire.Objection], None]

PORT: Final = 4222  # IANA
_FAREWELL_S: Final = 2.0
_INBOX_SID: Final = 1
_UNANSWERED_PINGS: Final = 2

_OBJECTIONS: Final = (
    ("authorization violation", "it refuses the login; check username and password_file, token_file, credentials_file"),
    ("authentication expired", "this login has expired; ask for new credentials"),
    ("secure connection", "it wants TLS; write tls:// in url"),
)
"""What nats-server says with -ERR that a person has to mend, and that in our words."""


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where a server is and how to log in. ValueError, without secrets, for what contradicts itself.

    `password`, `token` and `credentials` (the content of a `.creds` file) are called at each connection, in a thread,
    so that a changed secret is used; so are the TLS files read.
    """

    url: str  # nats://host[:4222] or tls://host[:4222]
    name: str  # shown in the server's monitoring
    username: str | None = None
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None
    credentials: Callable[[], str] | None = None
    ca_file: Path | None = None  # instead of the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: float = 20.0  # a dead line is noticed after at most three times this
    connect_timeout_s: float = 10.0  # from the name to the end of the login

    def __post_init__(self) -> None:
        """Check what can be checked without opening anything."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError(f"{self.url.rpartition('@')[2]!r} is no nats://host:port or tls://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a login does not belong into the url, but into username and password")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{self.url!r} goes on after the port; a NATS server has no paths")
        if parts.port == 0:  # reading it also raises ValueError for what is no port at all
            raise ValueError(f"{self.url!r} has port 0")
        if sum(login is not None for login in (self.password, self.token, self.credentials)) > 1:
            raise ValueError("a login has one of password, token and credentials")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        if not self.tls and (self.ca_file is not None or self.cert_file is not None):
            raise ValueError("certificates need tls://, with nats:// nothing would be encrypted")

    @property
    def tls(self) -> bool:
        """Whether the line is encrypted."""
        return urlsplit(self.url).scheme == "tls"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or PORT

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.asynccontextmanager
async def open_nats(server: NatsServer) -> AsyncIterator[NatsLine]:
    """A line on which the server has taken the login; Unreachable, in words, when it does not."""
    try:
        secret, context = await asyncio.to_thread(_read_secrets, server)
    except OSError as error:
        raise Unreachable(f"{server}: cannot read {error.filename}: {error.strerror}", alert=True) from error
    except (ValueError, GatewayError) as error:
        raise Unreachable(f"{server}: {error}", alert=True) from error
    line = NatsLine(server.keepalive_s)
    try:
        try:
            async with asyncio.timeout(server.connect_timeout_s):
                await _log_in(server, line, secret, context)
        except TimeoutError as error:
            raise Unreachable(f"{server}: waited {server.connect_timeout_s:g} s for {line.awaits}") from error
        except OSError as error:
            trouble = trouble_with(error)
            raise Unreachable(f"{server}: {trouble.words}", alert=trouble.alert) from error
        except (_RefusedError, wire.MalformedNats) as error:
            alert = not isinstance(error, _RefusedError) or error.alert
            raise Unreachable(f"{server}: {error}", alert=alert) from error
        yield line
    finally:
        line.close()


class NatsLine(asyncio.Protocol):
    """An open line. `gone` is done, with the reason, as soon as the line is known to have ended."""

    def __init__(self, keepalive_s: float) -> None:
        self.info = wire.Info()
        self.awaits = "the name or the connection"  # what a time-out waited for
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[Trouble] = loop.create_future()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = wire.Parser()
        self._inbox = f"_INBOX.{secrets.token_hex(11)}."
        self._last_token = 0
        self._waiting: dict[str, tuple[str, Answered]] = {}  # token: subject, and who wants to know
        self._out: list[bytes] = []
        self._keepalive_s = keepalive_s
        self._unanswered_pings = 0
        self._heartbeat: asyncio.TimerHandle | None = None
        self._objection: Trouble | None = None

    def send(self, subject: str, headers: bytes, payload: bytes, answered: Answered) -> None:
        """Publish with the next `flush`; `answered` is called once, with the answer or the server's objection."""
        self._last_token += 1
        token = f"{self._last_token:x}"
        self._waiting[token] = subject, answered
        self._out.append(wire.publish(subject, self._inbox + token, headers, payload))

    def flush(self) -> None:
        """Send what `send` collected."""
        out, self._out = b"".join(self._out), []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(out)

    async def ask(self, subject: str, payload: bytes, timeout_s: float) -> wire.Message:
        """The answer to one request; Unreachable when none comes, PermissionError when this login may not ask."""
        answer: asyncio.Future[wire.Message | wire.Objection] = asyncio.get_running_loop().create_future()
        self.send(subject, b"", payload, lambda came: None if answer.done() else answer.set_result(came))
        self.flush()
        await asyncio.wait((answer, self.gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            trouble = self.gone.result() if self.gone.done() else Trouble(f"no answer to {subject} for {timeout_s:g} s")
            raise Unreachable(trouble.words, alert=trouble.alert)
        came = answer.result()
        if isinstance(came, wire.Objection):
            raise PermissionError(came.text)
        return came

    def drop(self, reason: str) -> None:
        """Close at once."""
        self._end(Trouble(reason))
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close after what was sent."""
        self._end(Trouble("closed"))
        if self._transport is not None:
            self._transport.close()

    async def log_in(self, options: dict[str, Any]) -> None:
        """Say who we are and wait until the server has taken it and our inbox."""
        assert self._transport is not None
        subscribed = wire.subscribe(f"{self._inbox}*", _INBOX_SID)
        self._transport.write(wire.connect(options) + subscribed + wire.PING)
        self._unanswered_pings = 1
        await asyncio.wait((self._ready, self.gone), return_when=asyncio.FIRST_COMPLETED)
        if self.gone.done():
            trouble = self.gone.result()
            raise _RefusedError(trouble.words, alert=trouble.alert)
        self._beat()

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Act on what the server says."""
        try:
            for event in self._parser.feed(data):
                self._hear(event)
        except wire.MalformedNats as error:
            self.drop(f"what it says is not NATS: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The line is over."""
        if self._objection is not None:
            self._end(self._objection)
        elif isinstance(exc, OSError):
            self._end(trouble_with(exc))
        else:
            self._end(Trouble("the server closed the connection"))

    def _hear(self, event: wire.Event) -> None:
        match event:
            case wire.Message():
                _, answered = self._waiting.pop(event.subject.removeprefix(self._inbox), (None, None))
                if answered is not None:
                    answered(event)
            case wire.Signal.PING:
                assert self._transport is not None
                self._transport.write(wire.PONG)
            case wire.Signal.PONG:
                self._unanswered_pings = 0
                if not self._ready.done():
                    self._ready.set_result(None)
            case wire.Objection():
                self._object(event)
            case wire.Info():
                self.info = event

    def _object(self, objection: wire.Objection) -> None:
        subject = objection.subject
        if subject is not None and not subject.startswith("_INBOX."):
            for token, (asked, answered) in [*self._waiting.items()]:
                if asked == subject:
                    del self._waiting[token]
                    answered(objection)
            return
        if subject is not None:
            self._end(Trouble(f"this login may not subscribe to its answers; allow _INBOX.>: {objection.text}", True))
            return
        words = next((words for said, words in _OBJECTIONS if said in objection.text.lower()), None)
        self._objection = Trouble(words or f"the server says: {objection.text}", alert=words is not None)

    def _beat(self) -> None:
        """Ask for a sign of life now and then."""
        if self.gone.done() or self._transport is None:
            return
        if self._unanswered_pings >= _UNANSWERED_PINGS:
            self.drop("the server stopped answering")
            return
        self._unanswered_pings += 1
        self._transport.write(wire.PING)
        self._heartbeat = asyncio.get_running_loop().call_later(self._keepalive_s, self._beat)

    def _end(self, trouble: Trouble) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if not self.gone.done():
            self.gone.set_result(trouble)


class _RefusedError(Exception):
    """The server does not take the login."""

    def __init__(self, words: str, *, alert: bool = False) -> None:
        super().__init__(words)
        self.alert = alert


async def _log_in(server: NatsServer, line: NatsLine, secret: str | None, context: ssl.SSLContext | None) -> None:
    sock = await dial(*server.address, None, server.connect_timeout_s)
    try:
        line.awaits = "the server's INFO; does NATS listen on this port?"
        line.info = info = await _read_info(sock)
        _agree_on_tls(server, info)
        line.awaits = "the TLS handshake"
        await asyncio.get_running_loop().create_connection(
            lambda: line,
            sock=sock,
            ssl=context,
            server_hostname=server.address[0] if server.tls else None,
            ssl_shutdown_timeout=_FAREWELL_S if server.tls else None,
        )
    except BaseException:
        sock.close()
        raise
    line.awaits = "an answer to the login"
    await line.log_in(
        {
            "verbose": False,
            "pedantic": False,
            "tls_required": server.tls,
            "name": server.name,
            "lang": "lorawan-gateway",
            "version": __version__,
            "protocol": 1,
            "echo": False,
            "headers": True,
            "no_responders": True,  # a subject that no stream takes is answered at once, with 503
            **_login(server, secret, info),
        }
    )


def _agree_on_tls(server: NatsServer, info: wire.Info) -> None:
    if server.tls and not (info.tls_required or info.tls_available):
        raise _RefusedError("it offers no TLS, and nothing is said to it without; check the port", alert=True)
    if info.tls_required and not server.tls:
        raise _RefusedError("it wants TLS; write tls:// in url", alert=True)


async def _read_info(sock: socket.socket) -> wire.Info:
    """The first line of a server. It says nothing more until it was answered, or the TLS handshake begins."""
    heard, loop = b"", asyncio.get_running_loop()
    parser = wire.Parser()
    while more := await loop.sock_recv(sock, 1 << 16):
        heard += more
        for event in parser.feed(more):
            if isinstance(event, wire.Info):
                return event
            raise wire.MalformedNats("does NATS listen on this port? It begins with something else than INFO")
    raise _RefusedError("the other side closed the connection without a word; does NATS listen on this port?")


def _login(server: NatsServer, secret: str | None, info: wire.Info) -> dict[str, Any]:
    if secret is None:
        return {} if server.username is None else {"user": server.username, "pass": ""}
    if server.password is not None:
        return {"user": server.username, "pass": secret}
    if server.token is not None:
        return {"auth_token": secret.strip()}
    credentials = read_credentials(secret)
    key = Ed25519PrivateKey.from_private_bytes(credentials.seed)
    signature = base64.urlsafe_b64encode(key.sign((info.nonce or "").encode())).decode().rstrip("=")
    if credentials.jwt is not None:
        return {"jwt": credentials.jwt, "sig": signature}
    return {"nkey": public_key(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)), "sig": signature}


def _read_secrets(server: NatsServer) -> tuple[str | None, ssl.SSLContext | None]:
    """The secret and the TLS context; OSError, ValueError or GatewayError when they cannot be had."""
    read = server.password or server.token or server.credentials
    secret = read() if read is not None else None
    if server.credentials is not None and secret is not None:
        try:
            read_credentials(secret)
        except ValueError as error:
            raise ValueError(f"credentials_file {error}") from error
    return secret, tls_context(server.ca_file, server.cert_file, server.key_file) if server.tls else None
