"""The air time that a device may use: the law's share of every hour, spread as LoRaWAN spreads it.

After a frame of T a band of 1 % is closed for T/0.01 - T (LoRaWAN 1.0, 7.1.7, and every stack since); DutyCycleReq does
the same over all bands (5.4). By that alone an hour can hold one frame too many at its edge, so the hour is looked at,
too. Join requests are held much shorter (TS001-1.0.4, 7): what a long outage may cost.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.regions.region import Region

_HOUR_US = 3_600_000_000
_JOINS = (  # hours since the device was switched on, and the part of the time for join requests from there on
    (11, Fraction(87, 864_000)),  # 8.7 s in every 24 hours
    (1, Fraction(36, 36_000)),  # 36 s in the next ten hours
    (0, Fraction(36, 3_600)),  # 36 s in the first hour
)


@dataclass(slots=True)
class _Band:
    """What was spent in one band."""

    limit_us: int | None = None  # in any hour
    free_us: int = 0  # when its silence after the last frame is over
    ends: deque[tuple[int, int]] = field(default_factory=deque)  # end and air time of the last hour's frames


class Spending:
    """When the device may send again, and where."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._bands: defaultdict[str, _Band] = defaultdict(_Band)
        self._all_free_us = 0
        self._join_free_us = 0

    def free_us(self, frequency_hz: int, bandwidth_hz: int, airtime_us: int, *, join: bool = False) -> int | None:
        """From when on a frame of this length may be sent there; None: never."""
        band = self._region.sub_band(frequency_hz, bandwidth_hz)
        if band is None:
            return None
        spent = self._bands[band.name]
        free_us = max(spent.free_us, self._all_free_us, self._join_free_us if join else 0)
        if spent.limit_us is not None:
            left_us = spent.limit_us - airtime_us - sum(length_us for _, length_us in spent.ends)
            for end_us, length_us in spent.ends:
                if left_us >= 0:
                    break
                free_us = max(free_us, end_us + _HOUR_US)
                left_us += length_us
        return free_us

    def spend(self, frequency_hz: int, bandwidth_hz: int, start_us: int, airtime_us: int, max_duty_cycle: int) -> None:
        """A frame goes out. `max_duty_cycle` is that of DutyCycleReq."""
        band = self._region.sub_band(frequency_hz, bandwidth_hz)
        assert band is not None
        self._all_free_us = start_us + (airtime_us << max_duty_cycle)
        if band.duty_cycle is None:
            return
        spent = self._bands[band.name]
        spent.limit_us = int(band.duty_cycle * _HOUR_US)
        spent.free_us = start_us + round(airtime_us / band.duty_cycle)
        spent.ends.append((start_us + airtime_us, airtime_us))
        while spent.ends[0][0] <= start_us - _HOUR_US:
            spent.ends.popleft()

    def spend_on_join(self, start_us: int, airtime_us: int, trying_since_us: int) -> None:
        """It was a join request of a device that has been trying since then."""
        hours = (start_us - trying_since_us) // _HOUR_US
        part = next(part for since, part in _JOINS if hours >= since)
        self._join_free_us = start_us + round(airtime_us / part)
