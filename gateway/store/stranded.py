"""Readings that are accepted and not on disk yet, for the time when the disk refuses: they can go out from memory."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model import Reading


class Stranded:
    """What waits for the disk, in order, and which destinations have it already. Bounded by what the line carries."""

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self._last = 0
        self._waiting: OrderedDict[int, Reading] = OrderedDict()
        self._numbers: dict[str, int] = {}  # by frame id
        self._sent: dict[str, set[str]] = {}  # frame ids by destination

    def waits(self, reading: Reading) -> None:
        """Handed to the writer."""
        self._last += 1
        self._waiting[self._last] = reading
        self._numbers[reading.frame_id] = self._last

    def is_safe(self, reading: Reading) -> list[str]:
        """On disk now; the destinations that got it from memory."""
        number = self._numbers.pop(reading.frame_id, None)
        if number is not None:
            self._waiting.pop(number, None)
        found = [sink for sink, frame_ids in self._sent.items() if reading.frame_id in frame_ids]
        for sink in found:
            self._sent[sink].discard(reading.frame_id)
        return found

    def after(self, number: int, limit: int) -> Iterator[tuple[int, Reading]]:
        """What waits with numbers above this one, oldest first."""
        return islice(((own, reading) for own, reading in self._waiting.items() if own > number), limit)

    def sent(self, sink: str, readings: Sequence[Reading]) -> None:
        """A destination has confirmed these."""
        self._sent.setdefault(sink, set()).update(reading.frame_id for reading in readings)
