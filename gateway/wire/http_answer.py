"""What an HTTP server answered, read with care: its wish to be asked later, and what it has to say to a person."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_RETRY_AFTER_S: Final = 3600.0  # a slip of the server's pen must not silence a gateway for a year
_MOST_WORDS: Final = 200
_MOST_READ: Final = 8_192  # of a body, in search of words
_MOST_DIGITS: Final = 9

# Where servers put their sentence: Orion ("error", "description"), RFC 9457 and NGSI-LD ("title", "detail"), OAuth 2.0
# ("error_description"), and what most frameworks write ("message", "reason").
_SENTENCES: Final = ("error", "title", "message", "description", "error_description", "detail", "reason")

_PHRASES: Final = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout", 409: "Conflict", 410: "Gone",
    411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large", 415: "Unsupported Media Type",
    422: "Unprocessable Content", 425: "Too Early", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 507: "Insufficient Storage", 511: "Network Authentication Required",
}  # fmt: skip
"""What RFC 9110 (section 15) and RFC 6585 call the numbers. A server may write any other phrase, so it is not asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `cut`: the body went on, and was not read any further."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    cut: bool = False
    retry_after_s: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def is_html(self) -> bool:
        """Whether a page for people came: of a portal, a proxy or a login, hardly of a service.

        The body must look like one: many small services leave `text/html` standing over the two letters "ok".
        """
        kind = self.headers.get("content-type", "").lower()
        start = self.body[:256].lstrip().lower()
        return start.startswith((b"<!doctype html", b"<html")) or ("html" in kind and start.startswith(b"<"))

    def json(self) -> Any:
        """The body as JSON. ValueError when it is none, or was cut."""
        if self.cut:
            raise ValueError(f"the answer has more than {len(self.body)} bytes")
        return orjson.loads(self.body)

    def __str__(self) -> str:
        """`503 Service Unavailable: the words of the body`, printable and short."""
        words = f"{self.status} {_PHRASES.get(self.status, '')}".strip()
        said = words_of(self)
        return f"{words}: {said}" if said else words


def words_of(answer: Answer) -> str:
    """What the body says to a person, at most 200 printable characters; empty when it says nothing."""
    text = answer.body[:_MOST_READ].decode("utf-8", "replace")
    if not answer.is_html:
        return one_line(_sentence(answer) or text)
    title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
    return one_line(f'a page of HTML ("{title[1].strip()}")' if title and title[1].strip() else "a page of HTML")


def retry_after_s(value: str | None, date: str | None, now_s: float) -> float | None:
    """How long a server wants to be left alone (RFC 9110, section 10.2.3), an hour at most; None when it does not say.

    A wish that is a date counts from the answer's own `Date`, where it has one: the clock of a gateway may be wrong,
    and only the difference matters. `now_s` is seconds since 1970.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        wish = float(text[:_MOST_DIGITS]) if len(text) <= _MOST_DIGITS else LONGEST_RETRY_AFTER_S
    else:
        until, now = _seconds(text), _seconds(date or "")
        if until is None:
            return None
        wish = until - (now_s if now is None else now)
    return max(0.0, min(wish, LONGEST_RETRY_AFTER_S))


def _seconds(http_date: str) -> float | None:
    """An HTTP date as seconds since 1970; None for anything else."""
    try:
        parsed = parsedate_to_datetime(http_date)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _sentence(answer: Answer) -> str:
    try:
        said = answer.json()
    except ValueError:
        return ""
    if isinstance(said, dict) and isinstance(said.get("error"), dict):
        said = said["error"]
    if not isinstance(said, dict):
        return ""
    found = [said[key] for key in _SENTENCES if isinstance(said.get(key), str) and said[key]]
    return ", ".join(dict.fromkeys(found))


def one_line(text: str) -> str:
    """Text of strangers as one printable line of at most 200 characters."""
    line = " ".join(text[: 4 * _MOST_WORDS].split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= _MOST_WORDS else f"{line[: _MOST_WORDS - 1]}…"
