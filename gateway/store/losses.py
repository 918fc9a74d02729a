"""What was lost, summed up by device: counters from, to, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.store.cursors import NOBODY, Loss

if TYPE_CHECKING:
    from gateway.model import Reading


class Losses:
    """Sums by destination, device and reason, until they are taken."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, bytes, str], Loss] = {}

    def add(self, sink: str, reading: Reading, reason: str) -> None:
        """One reading that a destination never got (`*`: that was never stored)."""
        key = (sink, bytes(reading.dev_eui), reason)
        before = self._sums.get(key)
        f_cnt, heard_us = reading.f_cnt, reading.heard.utc_us
        if before is None:
            self._sums[key] = Loss(*key, f_cnt, f_cnt, 1, heard_us, heard_us)
            return
        self._sums[key] = Loss(
            *key,
            min(before.first_f_cnt, f_cnt),
            max(before.last_f_cnt, f_cnt),
            before.records + 1,
            min(before.since_us, heard_us),
            max(before.until_us, heard_us),
        )

    def forget(self, dev_eui: bytes) -> None:
        """Whose these were is nobody's business any more; how many there were stays."""
        for key in [key for key in self._sums if key[1] == dev_eui]:
            gone, (sink, _, reason) = self._sums.pop(key), key
            before = self._sums.get((sink, NOBODY, reason))
            records = gone.records + (before.records if before is not None else 0)
            self._sums[sink, NOBODY, reason] = Loss(sink, NOBODY, reason, 0, 0, records, 0, 0)

    def take(self) -> list[Loss]:
        """The sums so far; they start anew."""
        taken, self._sums = list(self._sums.values()), {}
        return taken

    def __bool__(self) -> bool:
        return bool(self._sums)
