"""The air time that a device may use, as LoRaWAN has devices keep it: silence after every frame.

After a frame of T a band of 1 % is closed for T/0.01 - T (LoRaWAN 1.0, 7.1.7, and every stack since); DutyCycleReq does
the same over all bands (5.4). Join requests are held much shorter (TS001-1.0.4, 7): what a day of an outage may cost.
"""

from __future__ import annotations

from collections import defaultdict
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


class Spending:
    """When the device may send again, and where."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._free_us: defaultdict[str, int] = defaultdict(int)  # by band
        self._all_free_us = 0
        self._join_free_us = 0

    def free_us(self, frequency_hz: int, bandwidth_hz: int, *, join: bool = False) -> int | None:
        """From when on a frame may be sent there; None: never."""
        band = self._region.sub_band(frequency_hz, bandwidth_hz)
        if band is None:
            return None
        return max(self._free_us[band.name], self._all_free_us, self._join_free_us if join else 0)

    def spend(self, frequency_hz: int, bandwidth_hz: int, start_us: int, airtime_us: int, max_duty_cycle: int) -> None:
        """A frame goes out. `max_duty_cycle` is that of DutyCycleReq."""
        band = self._region.sub_band(frequency_hz, bandwidth_hz)
        assert band is not None
        if band.duty_cycle is not None:
            self._free_us[band.name] = start_us + round(airtime_us / band.duty_cycle)
        self._all_free_us = start_us + (airtime_us << max_duty_cycle)

    def spend_on_join(self, start_us: int, airtime_us: int, trying_since_us: int) -> None:
        """It was a join request of a device that has been trying since then."""
        hours = (start_us - trying_since_us) // _HOUR_US
        part = next(part for since, part in _JOINS if hours >= since)
        self._join_free_us = start_us + round(airtime_us / part)
