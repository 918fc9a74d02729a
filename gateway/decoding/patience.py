"""How long to put up with a codec that overruns: a rule over times that come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 3600.0


@dataclass(slots=True)
class Patience:
    """Counts overruns in a row. At `most` the codec is set aside; each time longer, until it answers again."""

    most: int
    in_a_row: int = 0
    wait_s: float = 0.0
    until_s: float = 0.0  # monotonic

    def waiting_s(self, now_s: float) -> float:
        """How long it stays aside; 0 when it may be asked."""
        return max(0.0, self.until_s - now_s)

    def overrun(self, now_s: float) -> bool:
        """Count an overrun, a death or a failed start. Whether the codec is set aside by it."""
        self.in_a_row += 1
        if self.in_a_row < self.most:
            return False
        self.wait_s = min(self.wait_s * 2, LONGEST_WAIT_S) or FIRST_WAIT_S
        self.until_s = now_s + self.wait_s
        return True

    def answered(self) -> None:
        """It kept to its limits: all is forgiven."""
        self.in_a_row = 0
        self.wait_s = 0.0
        self.until_s = 0.0
