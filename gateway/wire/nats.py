"""The NATS client protocol: bytes to what a server says, and what we say to bytes; JetStream's answers.

Source: NATS documentation, "Client protocol" (INFO, CONNECT, PUB/HPUB, SUB, MSG/HMSG, PING/PONG, +OK, -ERR) and the
JetStream API reference (publish acknowledgements, STREAM.INFO, STREAM.CREATE).

Lines end with CR LF, payloads are counted. Everything that a server sends has a bound here: it is a stranger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_LINE: Final = 64 << 10  # INFO lists the servers of a cluster; all other lines are short
MOST_PAYLOAD: Final = 4 << 20  # of what we ask for: acknowledgements and facts of one stream

NO_RESPONDERS: Final = 503  # status of a message that nobody was there for
_DEFAULT_MAX_PAYLOAD: Final = 1 << 20


class MalformedNats(ValueError):  # noqa: N818 - reads as the sentence it is
    """What came is not what a NATS server says."""


@dataclass(frozen=True, slots=True)
class Info:
    """What a server says of itself when a connection opens, and again when it changes."""

    max_payload: int = _DEFAULT_MAX_PAYLOAD  # headers count
    headers: bool = False
    tls_required: bool = False
    tls_available: bool = False
    nonce: str | None = None  # to be signed by who logs in with a key
    version: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was sent to a subscription of ours. `status`: of a message that the server itself wrote."""

    subject: str
    payload: bytes
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Objection:
    """`-ERR`: the server is not content; mostly it hangs up after it."""

    text: str

    @property
    def subject(self) -> str | None:
        """The subject that this login may not publish or subscribe to, when that is what it says."""
        found = re.match(r'Permissions Violation for (?:Publish|Subscription) to "([^"]*)"', self.text, re.IGNORECASE)
        return found[1] if found else None


class Signal(Enum):
    """What needs no words."""

    PING = "PING"
    PONG = "PONG"
    OK = "+OK"


Event = Info | Message | Objection | Signal


class Parser:
    """Bytes as they come, events as they are complete."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._message: tuple[str, int, int] | None = None  # subject, bytes of headers, bytes of all

    def feed(self, data: bytes) -> Iterator[Event]:
        """What is complete now, in order. MalformedNats when it is not NATS; then nothing more can be read."""
        heard = self._heard
        heard += data
        start = 0
        try:
            while True:
                if self._message is None:
                    end = heard.find(b"\r\n", start)
                    if end < 0:
                        if len(heard) - start > MOST_LINE:
                            raise MalformedNats(f"a line of more than {MOST_LINE} bytes")
                        return
                    line, start = bytes(heard[start:end]), end + 2
                    event = self._line(line)
                    if event is not None:
                        yield event
                else:
                    subject, headers, size = self._message
                    if len(heard) - start < size + 2:
                        return
                    body, start = bytes(heard[start : start + size]), start + size + 2
                    if heard[start - 2 : start] != b"\r\n":
                        raise MalformedNats("a message that does not end where it says")
                    self._message = None
                    yield Message(subject, body[headers:], _status(body[:headers]) if headers else None)
        finally:
            del heard[:start]

    def _line(self, line: bytes) -> Event | None:
        """A line by itself; None when it announces a message."""
        word, _, rest = line.partition(b" ")
        match word.upper():
            case b"MSG" | b"HMSG":
                self._message = _announced(rest, with_headers=word.upper() == b"HMSG")
                return None
            case b"PING":
                return Signal.PING
            case b"PONG":
                return Signal.PONG
            case b"+OK":
                return Signal.OK
            case b"-ERR":
                return Objection(_printable(rest.strip().strip(b"'")))
            case b"INFO":
                return _info(rest)
            case _:
                raise MalformedNats(f"{_printable(line[:40])!r} is nothing that a NATS server says")


def _announced(rest: bytes, *, with_headers: bool) -> tuple[str, int, int]:
    """`subject sid [reply-to] [#header bytes] #total bytes`."""
    parts = rest.split()
    numbers = 2 if with_headers else 1
    if not 2 + numbers <= len(parts) <= 3 + numbers:
        raise MalformedNats(f"a message announced by {_printable(rest[:80])!r}")
    sizes = parts[-numbers:]
    if not all(re.fullmatch(rb"[0-9]{1,9}", size) for size in sizes):
        raise MalformedNats(f"a message announced by {_printable(rest[:80])!r}")
    headers, total = (int(sizes[0]), int(sizes[1])) if with_headers else (0, int(sizes[0]))
    if headers > total or total > MOST_PAYLOAD:
        raise MalformedNats(f"a message of {total} bytes, {headers} of them headers")
    return parts[0].decode("utf-8", "replace"), headers, total


def _info(rest: bytes) -> Info:
    try:
        said = orjson.loads(rest)
    except ValueError:
        raise MalformedNats("an INFO that is no JSON") from None
    if not isinstance(said, dict):
        raise MalformedNats("an INFO that is no object")
    most, nonce = said.get("max_payload"), said.get("nonce")
    return Info(
        max_payload=most if isinstance(most, int) and most > 0 else _DEFAULT_MAX_PAYLOAD,
        headers=said.get("headers") is True,
        tls_required=said.get("tls_required") is True,
        tls_available=said.get("tls_available") is True,
        nonce=nonce if isinstance(nonce, str) else None,
        version=_printable(str(said.get("version", "")).encode()[:40]),
    )


def _status(headers: bytes) -> int | None:
    """`NATS/1.0 503`: a status stands in the first line of headers that a server writes itself."""
    found = re.match(rb"NATS/1\.0[ \t]+([0-9]{3})\b", headers)
    return int(found[1]) if found else None


def _printable(raw: bytes) -> str:
    text = raw[:300].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


# --- what we say ----------------------------------------------------------------------------------------------------

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"


def connect(options: Mapping[str, Any]) -> bytes:
    """The login."""
    return b"CONNECT %b\r\n" % orjson.dumps(options)


def subscribe(subject: str, sid: int) -> bytes:
    """From now on messages to this subject come here."""
    return b"SUB %b %d\r\n" % (subject.encode(), sid)


def publish(subject: str, reply: str, headers: bytes, payload: bytes) -> bytes:
    """A message whose answer goes to `reply`. `headers` as `headers()` makes them."""
    size = len(headers)
    if not size:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
    total = size + len(payload)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), size, total, headers, payload)


def headers(fields: Mapping[str, str]) -> bytes:
    """Headers as they stand before a payload. ValueError for what would end one early."""
    lines = [f"{name}: {value}" for name, value in fields.items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has no line break")
    return "".join(f"{line}\r\n" for line in ("NATS/1.0", *lines, "")).encode()


def subject_is_sound(subject: str) -> bool:
    """Whether one can publish to it: words between single dots, without blanks and wildcards."""
    return all(re.fullmatch(r"[^\s.*>\x00-\x1f\x7f]+", word) is not None for word in subject.split("."))


# --- what JetStream answers -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApiError:
    """JetStream's no. `err_code` is what its documentation lists; 0 when there was none."""

    err_code: int
    description: str


def read_answer(message: Message) -> dict[str, Any] | ApiError:
    """What JetStream says to a publication or a request of its API; MalformedNats when it is not JetStream."""
    try:
        said = orjson.loads(message.payload)
    except ValueError:
        raise MalformedNats("an answer that is no JSON") from None
    if not isinstance(said, dict):
        raise MalformedNats("an answer that is no object")
    error = said.get("error")
    if not isinstance(error, dict):
        return said
    code, text = error.get("err_code"), error.get("description")
    words = _printable(str(text or f"error {error.get('code')}").encode("utf-8", "replace"))
    return ApiError(code if isinstance(code, int) else 0, words)
