"""How long things will last at the present pace: the card, the room on it, a backlog. Promises nothing."""

from __future__ import annotations

from dataclasses import dataclass

HALF_LIFE_S = 600.0

CARD_ENDURANCE_BYTES = 29e12
"""What a 32 GB endurance card is good for (store sheet, section 9: 29 TBW)."""

AMPLIFICATION = 10.0
"""What a card writes inside for each byte it is given (store sheet, section 9)."""

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


@dataclass(slots=True)
class Pace:
    """How fast a number changes, a second: recent changes count more."""

    per_s: float | None = None
    _value: float = 0.0
    _at_s: float | None = None

    def sample(self, value: float, now_s: float) -> None:
        """The number now. Called about once a second."""
        if self._at_s is not None and now_s > self._at_s:
            elapsed_s = now_s - self._at_s
            present = (value - self._value) / elapsed_s
            keep = 0.5 ** (elapsed_s / HALF_LIFE_S)
            self.per_s = present if self.per_s is None else keep * self.per_s + (1 - keep) * present
        self._value, self._at_s = value, now_s


def seconds_until(distance: float, per_s: float | None) -> float | None:
    """How long a distance takes at this pace; None when it would take for ever, or nobody knows yet."""
    if distance <= 0:
        return 0.0
    if per_s is None or per_s * YEAR_S * 100 < distance:
        return None
    return distance / per_s


def card_life_years(written_per_s: float | None) -> float | None:
    """How many years a card lasts at this pace; None when nobody knows yet."""
    if not written_per_s or written_per_s <= 0:
        return None
    return CARD_ENDURANCE_BYTES / (written_per_s * AMPLIFICATION * YEAR_S)
