"""Where a gateway stands, by many fixes: they scatter by metres, and it does not move.

Fixes are averaged over about ten minutes. One that lies further off than the receiver can err means that the gateway
was carried away: the average begins anew once a few of these have come in a row.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.model import Position, PositionSource

MOST_FIXES: Final = 600
"""The average follows the last so many, receivers give one a second."""

CARRIED_AFTER: Final = 5
"""Fixes in a row that lie elsewhere: not one that was reflected by a wall."""

NEAR_M: Final = 50.0
METRES_PER_DEGREE: Final = 111_195.0
"""Of latitude, on a sphere of the Earth's mean radius (6,371 km)."""


class Place:
    """The average of fixes."""

    def __init__(self) -> None:
        self._fixes = 0
        self._elsewhere = 0
        self._latitude = self._longitude = 0.0
        self._altitude_m: float | None = None
        self._accuracy_m: float | None = None
        self._at_us: int | None = None

    def fix(
        self, latitude: float, longitude: float, altitude_m: float | None, accuracy_m: float | None, at_us: int
    ) -> None:
        """Take a fix in. One epoch may be told twice, once with and once without height: it counts once."""
        if altitude_m is None and self._altitude_m is not None:
            return
        if at_us == self._at_us and altitude_m is None:
            return
        self._at_us = at_us
        if self._fixes and self._away_m(latitude, longitude) > NEAR_M + 3 * (accuracy_m or 0.0):
            self._elsewhere += 1
            if self._elsewhere < CARRIED_AFTER:
                return
            self._fixes, self._altitude_m = 0, None
        self._elsewhere = 0
        self._fixes = min(self._fixes + 1, MOST_FIXES)
        share = 1 / self._fixes
        east = (longitude - self._longitude + 180) % 360 - 180 if self._fixes > 1 else longitude - self._longitude
        self._latitude += (latitude - self._latitude) * share
        self._longitude = (self._longitude + east * share + 180) % 360 - 180
        if altitude_m is not None:
            before_m = altitude_m if self._altitude_m is None else self._altitude_m
            self._altitude_m = before_m + (altitude_m - before_m) * share
        self._accuracy_m = self._accuracy_m if accuracy_m is None else accuracy_m

    def _away_m(self, latitude: float, longitude: float) -> float:
        north = latitude - self._latitude
        east = ((longitude - self._longitude + 180) % 360 - 180) * math.cos(math.radians(latitude))
        return math.hypot(north, east) * METRES_PER_DEGREE

    def position(self, source: PositionSource) -> Position | None:
        """The place; None before the first fix."""
        if not self._fixes:
            return None
        return Position(
            latitude=round(self._latitude, 6),
            longitude=round(self._longitude, 6),
            altitude_m=None if self._altitude_m is None else round(self._altitude_m, 1),
            source=source,
            accuracy_m=None if self._accuracy_m is None else round(self._accuracy_m, 1),
        )
