"""How many of the frames nobody could open are worth keeping."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

ADDRESSES = 10_000  # remembered at a time; the longest silent is forgotten


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_us: int

    def take(self, now_us: int, capacity: float, per_s: float) -> bool:
        self.tokens = min(capacity, self.tokens + max(0, now_us - self.filled_us) * per_s / 1e6)
        self.filled_us = max(self.filled_us, now_us)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class UnopenedBudget:
    """Lets through a fair share: a device whose keys are to come is kept, a neighbour's fleet does not fill the card.

    In all a burst of 5,000 and then one a second (about 13 MB a day), and of one DevAddr a burst of 16 and then one in
    five minutes.
    """

    def __init__(self) -> None:
        self._all = _Bucket(5_000, 0)  # full, and of no clock yet
        self._by_address: OrderedDict[int | None, _Bucket] = OrderedDict()

    def admits(self, dev_addr: int | None, now_us: int) -> bool:
        """Whether this one is kept; `now_us` is monotonic, as frames are stamped with it."""
        bucket = self._by_address.get(dev_addr)
        if bucket is None:
            bucket = self._by_address[dev_addr] = _Bucket(16, now_us)
            if len(self._by_address) > ADDRESSES:
                self._by_address.popitem(last=False)
        else:
            self._by_address.move_to_end(dev_addr)
        return bucket.take(now_us, 16, 1 / 300) and self._all.take(now_us, 5_000, 1)
