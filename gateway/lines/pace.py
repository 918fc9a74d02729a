"""How long to wait and how fast to send: values in, values out, no clock."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0  # a destination that comes back is found again within 40 s


def backoff_s(failures: int, random: float) -> float:
    """Exponential with full jitter: uniform between nothing and a bound that doubles; `random` is in [0, 1)."""
    bound = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 16))
    return bound * random


@dataclass(slots=True)
class Limiter:
    """At most `per_s` things a second, with a burst of one second; 0 means no limit."""

    per_s: float
    _tokens: float = 0.0
    _filled_s: float | None = None

    def wait_s(self, wanted: int, now_s: float) -> float:
        """How long to wait before sending `wanted` more. Called again after the wait, it answers 0 and counts them."""
        if self.per_s <= 0:
            return 0.0
        if self._filled_s is not None:
            self._tokens = min(max(self.per_s, wanted), self._tokens + (now_s - self._filled_s) * self.per_s)
        self._filled_s = now_s
        if self._tokens >= wanted - 1e-6:
            self._tokens -= wanted
            return 0.0
        return (wanted - self._tokens) / self.per_s
