"""How much is measured: a quick look, a few minutes, or hours."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Measure:
    """Counts and durations of one run."""

    name: str
    spreading_factors: tuple[int, ...]  # heard on every channel with each
    per_spreading_factors: tuple[int, ...]
    per_frames: int  # of each cell of the table
    rssi_levels_dbm: tuple[int, ...]
    rssi_frames: int
    windows: tuple[int, ...]  # samples of each window, RX1 and RX2
    own_windows: int  # uplinks of each modem's own LoRaWAN stack
    power_cuts: int
    long_day_s: float  # 0: none


MARGINS_DB = (6, 3, 1, 0, -1, -3)
"""Levels of the PER table, relative to what the datasheet promises for the spreading factor."""

ALL = tuple(range(7, 13))

PROFILES = {
    one.name: one
    for one in (
        Measure("quick", (7,), (7,), 4, (-60, -90), 2, (3, 1), 1, 0, 0),
        Measure("short", ALL, ALL, 10, tuple(range(-50, -120, -10)), 6, (24, 12), 2, 3, 40),
        Measure("long", ALL, ALL, 100, tuple(range(-40, -125, -5)), 20, (200, 100), 20, 20, 8 * 3600),
    )
}


def chosen(name: str, long_day_s: float | None) -> Measure:
    """A profile, with the long day of the bench file where that names one."""
    measure = PROFILES[name]
    return measure if long_day_s is None else replace(measure, long_day_s=long_day_s)
