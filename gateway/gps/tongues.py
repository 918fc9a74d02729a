"""How bytes of a receiver become what it said: each thing with the moment at which the burst it came in began.

A receiver says what it has to say of an epoch in one go, and is quiet until the next. How long it talks depends on the
line; the begin of its talk is the moment nearest to the epoch.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from gateway.gps import gpsd, nmea, ubx
from gateway.gps.framing import Cutter, MalformedMessage, Sentence

if TYPE_CHECKING:
    from gateway.gps.receiver import Said

GAP_US: Final = 60_000
"""A pause as long as this is one between two bursts: at 4800 baud a byte takes 2 ms."""

LONGEST_BURST_US: Final = 900_000
"""Who talks for longer never pauses: then the moment at which a message was whole is all there is."""

LONGEST_LINE: Final = 64 << 10
"""A report of gpsd has at most 10,240 characters (GPS_JSON_RESPONSE_MAX)."""


class Tongue(Protocol):
    """Takes bytes as they come, and returns what they say."""

    @property
    def odd(self) -> Counter[str]:
        """What could not be understood, by kind."""
        ...

    def feed(self, octets: bytes, now_us: int) -> list[tuple[Said, int]]:
        """What was said with these bytes, and when that burst began."""
        ...


class SerialTongue:
    """NMEA and UBX, mixed."""

    def __init__(self) -> None:
        self._cutter = Cutter()
        self._malformed = 0
        self._heard_us: int | None = None
        self._began_us = 0

    @property
    def odd(self) -> Counter[str]:
        """Bytes that were noise, messages that were damaged or made no sense."""
        return +Counter({"noise": self._cutter.noise, "damaged": self._cutter.damaged, "malformed": self._malformed})

    def feed(self, octets: bytes, now_us: int) -> list[tuple[Said, int]]:
        """See `Tongue.feed`."""
        if self._heard_us is None or now_us - self._heard_us > GAP_US:
            self._began_us = now_us
        self._heard_us = now_us
        at_us = self._began_us if now_us - self._began_us <= LONGEST_BURST_US else now_us
        said: list[tuple[Said, int]] = []
        for message in self._cutter.feed(octets):
            try:
                meant = nmea.parse(message.text) if isinstance(message, Sentence) else ubx.parse(message)
            except MalformedMessage:
                self._malformed += 1
                continue
            if meant is not None:
                said.append((meant, at_us))
        return said


class GpsdTongue:
    """Lines of JSON."""

    def __init__(self) -> None:
        self._rest = b""
        self._odd: Counter[str] = Counter()

    @property
    def odd(self) -> Counter[str]:
        """Lines that were none of gpsd's, or made no sense."""
        return self._odd

    def feed(self, octets: bytes, now_us: int) -> list[tuple[Said, int]]:
        """See `Tongue.feed`."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
            self._odd["noise"] += 1
        said: list[tuple[Said, int]] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                meant = gpsd.parse(line)
            except MalformedMessage:
                self._odd["malformed"] += 1
                continue
            if meant is not None:
                said.append((meant, now_us))
        return said
