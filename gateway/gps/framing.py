"""What a receiver says over a serial line, cut into messages: NMEA sentences and UBX, mixed, with noise between them.

Nothing is believed before its checksum fits. What turns out to be none is looked through again from its second byte,
so that a `$` or a 0xB5 in noise costs no message that follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LONGEST_SENTENCE: Final = 1_024
"""NMEA 0183 has 82 characters; u-blox's own $PUBX,03 has 424 with 22 satellites."""

LONGEST_PAYLOAD: Final = 4_096
"""Of a UBX message. Raw measurements of every satellite take 2.3 kB; a length beyond this is noise, for which nobody
waits."""

SYNC: Final = b"\xb5\x62"
_HEAD: Final = 6  # sync, class, id, two bytes of length
_PRINTABLE: Final = bytes(range(0x20, 0x7F))


class MalformedMessage(ValueError):  # noqa: N818 - a state of the message
    """A message that is whole, and cannot be what it says it is."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """An NMEA sentence between `$` and `*`, its checksum was right."""

    text: str


@dataclass(frozen=True, slots=True)
class Ubx:
    """A UBX message, its checksum was right."""

    kind: int  # class and id, big endian: 0x0120 is NAV-TIMEGPS
    payload: bytes


def nmea_checksum(body: bytes) -> int:
    """All bytes between `$` and `*`, combined by XOR (NMEA 0183)."""
    total = 0
    for octet in body:
        total ^= octet
    return total


def ubx_checksum(body: bytes) -> bytes:
    """Fletcher's sum of eight bits over class, id, length and payload (u-blox M8 protocol specification, 32.4)."""
    first = second = 0
    for octet in body:
        first += octet
        second += first
    return bytes((first & 0xFF, second & 0xFF))


def ubx(kind: int, payload: bytes = b"") -> bytes:
    """A UBX message as it goes over the line."""
    body = kind.to_bytes(2, "big") + len(payload).to_bytes(2, "little") + payload
    return SYNC + body + ubx_checksum(body)


def sentence(text: str) -> bytes:
    """An NMEA sentence as it goes over the line; `text` is what stands between `$` and `*`."""
    body = text.encode("ascii")
    return b"$%b*%02X\r\n" % (body, nmea_checksum(body))


class Cutter:
    """Takes bytes in pieces of any size and returns whole messages."""

    def __init__(self) -> None:
        self._octets = b""
        self.noise = 0  # bytes that were part of no message
        self.damaged = 0  # messages whose checksum was wrong, as far as they could be told from noise

    def feed(self, octets: bytes) -> list[Sentence | Ubx]:
        """The messages that are complete with these bytes."""
        data = self._octets + octets
        found: list[Sentence | Ubx] = []
        at = 0
        while True:
            begin = _first(data, at)
            self.noise += begin - at
            message, end = self._sentence(data, begin) if data[begin : begin + 1] == b"$" else self._ubx(data, begin)
            if end is None:
                break
            if message is None:
                self.noise += 1
            else:
                found.append(message)
            at = end
        self._octets = data[begin:]
        return found

    def _sentence(self, data: bytes, at: int) -> tuple[Sentence | None, int | None]:
        """A sentence that begins here, and where to go on; nowhere yet while more is needed."""
        end = data.find(b"\n", at, at + LONGEST_SENTENCE)
        if end < 0:
            rest = data[at + 1 : at + LONGEST_SENTENCE]
            foreign = rest.rstrip(b"\r").translate(None, _PRINTABLE)
            return None, at + 1 if foreign or b"$" in rest or len(data) - at >= LONGEST_SENTENCE else None
        body, star, checksum = data[at + 1 : end].rstrip(b"\r").rpartition(b"*")
        if b"$" in body or not star or body.translate(None, _PRINTABLE):
            return None, at + 1
        if not _fits(body, checksum):
            self.damaged += 1
            return None, at + 1
        return Sentence(body.decode("ascii")), end + 1

    def _ubx(self, data: bytes, at: int) -> tuple[Ubx | None, int | None]:
        if len(data) - at < _HEAD:
            return None, None if SYNC.startswith(data[at : at + 2]) else at + 1
        size = int.from_bytes(data[at + 4 : at + _HEAD], "little")
        if data[at : at + 2] != SYNC or size > LONGEST_PAYLOAD:
            return None, at + 1
        end = at + _HEAD + size + 2
        if len(data) < end:
            return None, None
        if ubx_checksum(data[at + 2 : end - 2]) != data[end - 2 : end]:
            self.damaged += 1
            return None, at + 1
        return Ubx(int.from_bytes(data[at + 2 : at + 4], "big"), data[at + _HEAD : end - 2]), end


def _first(data: bytes, at: int) -> int:
    """Where a message may begin; the end of the data when nowhere."""
    dollar, sync = data.find(b"$", at), data.find(SYNC[:1], at)
    if dollar < 0 or sync < 0:
        return max(dollar, sync) if max(dollar, sync) >= 0 else len(data)
    return min(dollar, sync)


def _fits(body: bytes, checksum: bytes) -> bool:
    try:
        return len(checksum) == 2 and int(checksum, 16) == nmea_checksum(body)
    except ValueError:
        return False
