"""One HTTP server that takes readings: asked over a few kept connections, answered within a time, in words if not.

What every HTTP destination needs is here once: TLS, login, time-outs, bounded answers, and what a failure means. What
a status means for the records that were sent is the destination's own to say; `unavailable` is for all the rest.

- Secrets are read for every request, certificates for every connection of the sink, so that what was renewed counts.
- Redirects are not followed. A POST that is sent on to another host would carry the login and the readings with it.
- A request that went out and was not answered is `Unanswered`: it may have done its work or not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.delivery.sink import SinkUnavailable
from gateway.errors import GatewayError
from gateway.lines.dialing import Trouble, dial, tls_context, trouble_with
from gateway.wire.http_answer import Answer, one_line, retry_after_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

_PORTS: Final = {"http": 80, "https": 443}
_LARGE_BODY: Final = 1 << 20  # aiohttp wants to be told that such a one does not stop the loop
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Unanswered(SinkUnavailable):
    """The request went out, and no answer came back: nobody here knows whether it did its work."""


@dataclass(frozen=True, slots=True)
class HttpServer:
    """Where an HTTP server is and how to log in. ValueError, without secrets, for what contradicts itself.

    `password` and `token` are called for every request, in a thread, so that a changed secret is used; the TLS files
    are read whenever a line is opened.
    """

    url: str  # http://host[:80][/path] or https://host[:443][/path]
    username: str | None = None
    password: Callable[[], str] | None = None
    token: Callable[[], str] | None = None  # sent as Authorization: Bearer
    ca_file: Path | None = None  # instead of the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    connect_timeout_s: float = 10.0  # from the name to the end of the TLS handshake
    answer_timeout_s: float = 30.0  # for all of a request, from the name to the last byte of the answer
    most_answer_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        """Check what can be checked without opening anything."""
        parts = urlsplit(self.url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{self.url.rpartition('@')[2]!r} is no http://host or https://host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a login does not belong into the url, but into username and password")
        if parts.fragment:
            raise ValueError(f"{self.url!r} goes on after #, which never reaches a server")
        if parts.port == 0:  # reading it also raises ValueError for what is no port at all
            raise ValueError(f"{self.url!r} has port 0")
        if self.token is not None and self.password is not None:
            raise ValueError("a login has a password or a token, not both")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        if not self.tls and (self.ca_file is not None or self.cert_file is not None):
            raise ValueError("certificates need https://, with http:// nothing would be encrypted")

    @property
    def tls(self) -> bool:
        """Whether the line is encrypted."""
        return urlsplit(self.url).scheme == "https"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def authorization(self) -> str | None:
        """The value of the header; OSError or ValueError when the secret cannot be had."""
        if self.token is not None:
            return f"Bearer {_one_word(self.token(), 'the token')}"
        if self.username is not None:
            password = self.password() if self.password is not None else ""
            return f"Basic {base64.b64encode(f'{self.username}:{password}'.encode()).decode()}"  # RFC 7617
        return None


@contextlib.asynccontextmanager
async def open_http(server: HttpServer) -> AsyncIterator[HttpLine]:
    """A line to a server that has just taken a connection; SinkUnavailable, in words, when it does not.

    HTTP has no login of its own to wait for. The one connection made here, and closed again, is what tells a server
    that is there from one that is not before any reading is taken out for it.
    """
    try:
        context = await asyncio.to_thread(tls_context, server.ca_file, server.cert_file, server.key_file)
    except OSError as error:
        raise SinkUnavailable(f"{server}: cannot read {error.filename}: {error.strerror}", alert=True) from error
    except ValueError as error:
        raise SinkUnavailable(f"{server}: {error}", alert=True) from error
    try:
        async with asyncio.timeout(server.connect_timeout_s):
            sock = await dial(*server.address, context if server.tls else None, server.connect_timeout_s)
        sock.close()
    except OSError as error:
        raise _failed(server, trouble_with(error)) from error
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),  # who asks bounds how much is asked at once
        timeout=aiohttp.ClientTimeout(total=server.answer_timeout_s, connect=server.connect_timeout_s),
        headers={"User-Agent": f"lorawan-gateway/{__version__}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a small answer could unpack to gigabytes
        trust_env=False,
    )
    async with session:
        yield HttpLine(server, session)


class HttpLine:
    """A server to ask; used by as many tasks as need it."""

    def __init__(self, server: HttpServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def ask(
        self, method: str, path: str = "", body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request and its answer, whatever its status. `path`, percent-encoded, goes on after the server's url.

        SinkUnavailable when there is no connection, no login, or only a redirect; Unanswered when the request may have
        arrived and the answer did not.
        """
        wanted = dict(headers or {})
        if "Authorization" not in wanted and (login := await self._login()) is not None:
            wanted["Authorization"] = login
        url = URL(f"{self.server.url.rstrip('/')}{path}", encoded=True) if path else URL(self.server.url)
        data = io.BytesIO(body) if body is not None and len(body) >= _LARGE_BODY else body
        try:
            async with self._session.request(method, url, data=data, headers=wanted, allow_redirects=False) as response:
                answer = await self._read(response)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._trouble(error) from error
        if answer.status in _REDIRECTS:
            where = one_line(answer.headers.get("location", "nowhere"))
            raise SinkUnavailable(f"{self.server}: it sends us on to {where}; write that into url", alert=True)
        return answer

    def unavailable(self, answer: Answer) -> SinkUnavailable:
        """An answer that speaks of the server or of our login, not of what was sent, as the reason to wait."""
        hint, alert = _HINTS.get(answer.status, ("", answer.status not in _PASSING and answer.status < 500))
        words = f"{self.server}: it answers {answer}{hint}"
        return SinkUnavailable(words, retry_after_s=answer.retry_after_s, alert=alert)

    async def _login(self) -> str | None:
        if self.server.username is None and self.server.token is None:
            return None
        try:
            return await asyncio.to_thread(self.server.authorization)
        except OSError as error:
            raise SinkUnavailable(
                f"{self.server}: cannot read {error.filename}: {error.strerror}", alert=True
            ) from error
        except (ValueError, GatewayError) as error:
            raise SinkUnavailable(f"{self.server}: {error}", alert=True) from error

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        most, body = self.server.most_answer_bytes, bytearray()
        while len(body) <= most and (more := await response.content.read(most + 1 - len(body))):
            body += more
        if len(body) > most:
            response.close()  # releasing it would read the rest
        headers: dict[str, str] = {}
        for name, value in response.headers.items():
            headers.setdefault(name.lower(), value)
        wish = retry_after_s(headers.get("retry-after"), headers.get("date"), time.time())
        return Answer(response.status, headers, bytes(body[:most]), len(body) > most, wish)

    def _trouble(self, error: Exception) -> SinkUnavailable:
        match error:
            case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
                return _failed(self.server, trouble_with(_below(error)))
            case aiohttp.ConnectionTimeoutError():
                return _failed(self.server, trouble_with(TimeoutError()))
            case aiohttp.InvalidURL():
                return SinkUnavailable(f"{self.server}: {self.server.url!r} is no url", alert=True)
            case TimeoutError():
                return Unanswered(f"{self.server}: no answer within {self.server.answer_timeout_s:g} s")
            case aiohttp.ServerDisconnectedError():
                return Unanswered(f"{self.server}: the other side closed the connection instead of answering")
            case aiohttp.ClientPayloadError():
                return Unanswered(f"{self.server}: the connection broke in the middle of the answer")
            case aiohttp.ClientResponseError():
                return Unanswered(f"{self.server}: what it answers is not HTTP; check the port in url", alert=True)
            case OSError():
                trouble = trouble_with(_below(error))
                return Unanswered(f"{self.server}: {trouble.words}", alert=trouble.alert)
            case _:
                return SinkUnavailable(f"{self.server}: the request cannot be made: {error}", alert=True)


_PASSING: Final = frozenset({408, 425, 429})
"""Statuses of clients' faults that time mends (RFC 9110, RFC 8470, RFC 6585)."""

_HINTS: Final = {
    401: ("; check the login: token_file, or username and password_file", True),
    403: ("; this login may not do that, or a firewall of theirs stands before it", True),
    404: ("; check the path in url", True),
    405: ("; check the path in url", True),
    407: ("; a proxy stands between and wants a login", True),
    410: ("; what was there is gone for good, ask for its new url", True),
    501: ("; check the path in url", True),
    511: ("; a portal stands between, this network wants a login first", True),
}


def _failed(server: HttpServer, trouble: Trouble) -> SinkUnavailable:
    return SinkUnavailable(f"{server}: {trouble.words}", alert=trouble.alert)


def _below(error: BaseException) -> OSError:
    """The error of the system or of TLS that aiohttp has wrapped."""
    while True:
        inner = getattr(error, "certificate_error", None) or error.__cause__ or getattr(error, "os_error", None)
        if not isinstance(inner, OSError) or inner is error:
            return error if isinstance(error, OSError) else OSError(str(error))
        error = inner


def _one_word(text: str, what: str) -> str:
    """A secret that goes into a header; the ValueError does not show it."""
    word = text.strip()
    if not word or not all("!" <= character <= "~" for character in word):
        raise ValueError(f"{what} is empty, or has characters that no header can hold")
    return word
