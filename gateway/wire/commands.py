"""Downlinks that a platform asks for over HTTP: the request, what proves who sent it, and when it is too late for it.

A request is our own downlink (`own_downlink`) with the device and the moment in it:

    {"dev_eui": "70b3d57ed0000001", "at": "2026-11-23T08:15:00Z", "f_port": 10, "payload": "01"}

The signature is over the body, as ours is over what we send, so the moment is signed with everything else: a request
that somebody recorded is too old a few minutes later, and until then it is known by its name (`ref`, or the digest of
the body), so that it is carried out once however often it comes.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import orjson

from gateway.model import DevEui
from gateway.wire.own_downlink import LONGEST_REQUEST, DownlinkAsked, NoDownlink, downlink_asked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

WINDOW_S: Final = 300.0
"""How far the moment of a request may be from now: clocks differ, and a request may wait for a connection."""

SIGNATURE: Final = "x-signature"
_SCHEME: Final = "sha256="
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Command:
    """A downlink that is asked for, of which device, and when. `asked.ref` is always set."""

    dev_eui: DevEui
    at_us: int
    asked: DownlinkAsked


def signature(secret: bytes, body: bytes) -> str:
    """The value of the header that goes along with a body."""
    return _SCHEME + hmac.new(secret, body, hashlib.sha256).hexdigest()


def is_signed(secret: bytes, body: bytes, said: str | None) -> bool:
    """Whether this is the signature of the body; takes as long whether it is nearly right or not at all."""
    given = (said or "").strip().lower().encode("ascii", "replace")
    return hmac.compare_digest(given, signature(secret, body).encode())


def read_command(body: bytes) -> Command:
    """The request in a body that is signed; NoDownlink when it is none."""
    if len(body) > LONGEST_REQUEST:
        raise NoDownlink(f"{len(body)} bytes, a request has at most {LONGEST_REQUEST}")
    try:
        facts = orjson.loads(body)
    except ValueError as error:
        raise NoDownlink(f"this is no JSON: {error}") from None
    if not isinstance(facts, dict):
        raise NoDownlink("a downlink is asked for with a JSON object")
    asked = downlink_asked({key: value for key, value in facts.items() if key not in ("dev_eui", "at")})
    ref = asked.ref or hashlib.sha256(body).hexdigest()[:32]
    return Command(_device(facts, asked.ref), _moment(facts, asked.ref), replace(asked, ref=ref))


def _device(facts: Mapping[str, Any], ref: str | None) -> DevEui:
    try:
        return DevEui.parse(str(facts["dev_eui"]))
    except (KeyError, ValueError) as error:
        raise NoDownlink(f"dev_eui: {'is missing' if isinstance(error, KeyError) else error}", ref) from None


def _moment(facts: Mapping[str, Any], ref: str | None) -> int:
    try:
        return moment_us(facts["at"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise NoDownlink("at: when this was asked, such as 2026-11-23T08:15:00Z", ref) from None


def moment_us(text: object) -> int:
    """A time with its zone (RFC 3339), in microseconds since 1970; ValueError, TypeError, OverflowError for others."""
    if not isinstance(text, str):
        raise TypeError("a time is a text")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)
