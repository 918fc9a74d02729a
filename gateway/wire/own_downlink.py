"""Downlinks in our own JSON (contract, sections 2 to 4): what a device is to be told, and what became of it.

Asked for is `{"f_port", "payload" | "data", "confirmed", "ref", "expires_after_s", "clear"}`: `payload` in hex, or
`data` for the device's codec to encode. `clear` cancels what waits for the device before, and may stand alone.
`…/down/result` is `{"ref", "state", "reason", "f_cnt"}`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import QueuedDownlink

LONGEST_REF = 200
LONGEST_REQUEST = 64 << 10
LATEST_S = 366 * 86_400.0
_KEYS = ("f_port", "payload", "data", "confirmed", "ref", "expires_after_s", "clear")
_PORTS = range(1, 224)  # TS001-1.0.4, 4.3.2: 0 is for MAC commands, 224 for tests, higher ones are reserved


class NoDownlink(ValueError):  # noqa: N818 - reads as the sentence it is
    """This asks for no downlink; the text says why. `ref` is what it calls itself, when that much can be read."""

    def __init__(self, problem: str, ref: str | None = None) -> None:
        super().__init__(problem)
        self.ref = ref


@dataclass(frozen=True, slots=True)
class DownlinkAsked:
    """A request for a downlink: bytes, or values that the device's codec makes bytes of; neither only with `clear`."""

    f_port: int | None  # None with `data`: the codec says which
    payload: bytes | None
    data: Mapping[str, Any] | None
    confirmed: bool = False
    ref: str | None = None
    expires_after_s: float | None = None
    clear: bool = False  # what waits for the device is cancelled before

    @property
    def clears_only(self) -> bool:
        """Whether nothing is to be sent."""
        return self.clear and self.payload is None and self.data is None


def read_downlink(content: bytes) -> DownlinkAsked:
    """The request that these bytes of JSON are; NoDownlink when they are none."""
    if len(content) > LONGEST_REQUEST:
        raise NoDownlink(f"{len(content)} bytes, a request has at most {LONGEST_REQUEST}")
    try:
        facts = orjson.loads(content)
    except ValueError as error:
        raise NoDownlink(f"this is no JSON: {error}") from None
    if not isinstance(facts, dict):
        raise NoDownlink("a downlink is asked for with a JSON object")
    return downlink_asked(facts)


def downlink_asked(facts: Mapping[str, Any]) -> DownlinkAsked:
    """The request that these values of JSON are; NoDownlink when they are none."""
    ref = facts.get("ref")
    if ref is not None and not (isinstance(ref, str) and 0 < len(ref) <= LONGEST_REF and ref.isprintable()):
        raise NoDownlink(f"ref is a text of 1 to {LONGEST_REF} printable characters")

    def no(problem: str) -> NoDownlink:
        return NoDownlink(problem, ref)

    unknown = [key for key in facts if key not in _KEYS]
    if unknown:
        raise no(f"unknown: {', '.join(map(str, unknown))}; a request has {', '.join(_KEYS)}")
    f_port, payload, data = facts.get("f_port"), facts.get("payload"), facts.get("data")
    confirmed, clear = _flag(facts, "confirmed", no), _flag(facts, "clear", no)
    if clear and payload is None and data is None and f_port is None:
        return DownlinkAsked(None, None, None, ref=ref, clear=True)
    if (payload is None) == (data is None):
        raise no("either payload (hex) or data (for the codec) is wanted")
    if f_port is not None and (isinstance(f_port, bool) or not isinstance(f_port, int) or f_port not in _PORTS):
        raise no(f"f_port is a number from {_PORTS.start} to {_PORTS.stop - 1}")
    if payload is not None and f_port is None:
        raise no("payload needs an f_port")
    if data is not None and not isinstance(data, dict):
        raise no("data is a JSON object")
    expires_after_s = _seconds(facts.get("expires_after_s"), no)
    return DownlinkAsked(f_port, _bytes(payload, no), data, confirmed, ref, expires_after_s, clear)


def _flag(facts: Mapping[str, Any], key: str, no: Any) -> bool:
    value = facts.get(key, False)
    if not isinstance(value, bool):
        raise no(f"{key} is true or false")
    return value


def _bytes(payload: Any, no: Any) -> bytes | None:
    if payload is None:
        return None
    try:
        return bytes.fromhex(payload)
    except (TypeError, ValueError):
        raise no("payload is written in hex digits, two a byte") from None


def _seconds(value: Any, no: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise no("expires_after_s is a number of seconds")
    if not 0 < value <= LATEST_S:
        raise no(f"expires_after_s is more than 0 and at most {LATEST_S:.0f}")
    return float(value)


def downlink_result_json(entry: QueuedDownlink) -> dict[str, Any]:
    """What becomes of a downlink, for whoever asked."""
    return {"ref": entry.ref, "state": str(entry.state), "reason": entry.reason, "f_cnt": entry.f_cnt}


def downlink_json(entry: QueuedDownlink) -> dict[str, Any]:
    """A downlink as `downlink list` shows it."""
    return {
        **downlink_result_json(entry),
        "dev_eui": str(entry.dev_eui),
        "f_port": entry.f_port,
        "payload": entry.payload.hex(),
        "confirmed": entry.confirmed,
        "asked_by": entry.origin,
        "asked_at": rfc3339(entry.asked.utc_us),
        "expires_after_s": entry.expires_after_s,
        "attempts": entry.attempts,
        "ended_at": None if entry.ended is None else rfc3339(entry.ended.utc_us),
    }
