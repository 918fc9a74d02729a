"""What the devices of the city measure, and how their makers put it into bytes.

A sensor is a function of absolute time: asked twice for the same moment it says the same, asked after a restart it goes
on where its world is by then. The payloads are written from the makers' layouts, not with the gateway's codecs, so that
a mistake there does not hide here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.simulator.chance import Chance

HOUR_S = 3600
DAY_S = 86_400

STREET_RHYTHM = (3, 2, 2, 2, 2, 3, 5, 9, 11, 10, 10, 11, 13, 11, 9, 9, 10, 12, 14, 13, 10, 7, 5, 4)
"""How much is thrown away in each hour of the day, in parts."""

KITCHEN_RHYTHM = (2, 1, 1, 1, 1, 4, 12, 18, 13, 9, 7, 8, 11, 9, 6, 5, 6, 9, 14, 16, 13, 9, 6, 4)
"""How much water a household draws in each hour of the day, in parts."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a device sends."""

    f_port: int
    payload: bytes


class Sensor(Protocol):
    """The part of a device that looks at the world."""

    def measure(self, utc_s: float, f_cnt: int) -> Measure:
        """What it sends at this time (seconds since 1970); the counter tells one measure from the next."""
        ...


# --- waste containers: Heyliot Heywaste -----------------------------------------------------------------------------

RANGE_VALID, RANGE_NOISY, RANGE_OUT_OF_BOUNDS = 0, 1, 4
"""Range status as the maker of the distance sensor counts them (ST VL53L1X)."""

HEYWASTE_F_PORT = 2


@dataclass(frozen=True, slots=True)
class Container:
    """A waste container with a distance sensor in its lid: it fills bag by bag and is emptied when nearly full."""

    chance: Chance
    depth_mm: int  # from the sensor to the bottom
    fills_in_s: float
    utc_offset_s: int = 0

    def measure(self, utc_s: float, f_cnt: int) -> Measure:
        """A periodic measure: what lies between sensor and waste."""
        luck = self.chance.unit("range", f_cnt)
        status = RANGE_OUT_OF_BOUNDS if luck < 0.004 else RANGE_NOISY if luck < 0.03 else RANGE_VALID
        if status == RANGE_OUT_OF_BOUNDS:
            distance_mm = 4000
        else:
            noise_mm = self.chance.normal(0, 25 if status == RANGE_NOISY else 2, "distance", f_cnt)
            distance_mm = max(40, round(self.depth_mm * (1 - self.fill(utc_s)) + noise_mm))
        return Measure(HEYWASTE_F_PORT, heywaste(distance_mm, measure=f_cnt % 10, status=status))

    def fill(self, utc_s: float) -> float:
        """How full it is, 0 … 1."""
        lived = days_lived(utc_s + self.utc_offset_s, STREET_RHYTHM) * DAY_S / self.fills_in_s
        round_, part = divmod(lived + self.chance.unit("since"), 1)
        emptied_at = self.chance.between(0.82, 0.97, "emptied", int(round_))
        left_behind = self.chance.between(0.01, 0.07, "left", int(round_))
        bags = self.chance.whole(40, 120, "bags", int(round_))
        return left_behind + (emptied_at - left_behind) * math.floor(part * bags) / bags


def heywaste(distance_mm: int, *, message: int = 1, measure: int = 0, status: int = RANGE_VALID) -> bytes:
    """A Heywaste measure: characters for message, number of the measure and range status, then five of distance.

    Message 1 is periodic, 2 is by push button. Start and width of the distance are what the maker's article leaves
    open; they are those the codec has as default.
    """
    return bytes.fromhex(f"{message:x}{measure}{status}{distance_mm:05x}")


# --- museum rooms: Elsys ERS ----------------------------------------------------------------------------------------

ELSYS_F_PORT = 5
OPENS_H, CLOSES_H, CLOSED_WEEKDAY = 10, 18, 0  # closed on Mondays, as the city's museums are


@dataclass(frozen=True, slots=True)
class Room:
    """A museum room behind thick walls: it follows the day slowly, its light and visitors follow the opening hours."""

    chance: Chance
    lit_lux: int  # 50 for drawings, more for stone
    utc_offset_s: int = 0

    def measure(self, utc_s: float, f_cnt: int) -> Measure:
        """Temperature, humidity, light, movement and battery."""
        temperature_c, humidity = self.climate(utc_s)
        local_s = utc_s + self.utc_offset_s
        light_lux, motions = self.chance.whole(0, 2, "dark", f_cnt), 0
        if is_open(local_s):
            light_lux = max(0, round(self.lit_lux * self.chance.between(0.94, 1.06, "light", f_cnt)))
            motions = self.chance.whole(0, 14, "motion", f_cnt)
        # A lithium cell of 3.6 V loses little until its end; what one sees is the load of the transmission before.
        battery_mv = self.chance.whole(3560, 3640, "cell") + self.chance.whole(-6, 6, "load", f_cnt)
        return Measure(ELSYS_F_PORT, ers(temperature_c, humidity, light_lux, motions, battery_mv))

    def climate(self, utc_s: float) -> tuple[float, float]:
        """Temperature in °C and relative humidity in %."""
        swing = self._swing(utc_s, "warmth")
        temperature_c = self.chance.between(20.0, 21.0, "set point") + 0.9 * swing
        # Warmer air of the same water content is drier: about three points a degree around 20 °C and 50 %.
        humidity = self.chance.between(49.5, 53.5, "humidity") - 1.2 * swing + 2.2 * self._swing(utc_s, "water")
        return temperature_c, humidity

    def _swing(self, utc_s: float, what: str) -> float:
        """-1 … 1: mostly the day, and something of the air conditioning's hour."""
        day = math.sin(math.tau * (utc_s / DAY_S + self.chance.unit(what, "day")))
        hour = math.sin(math.tau * (utc_s / (47 * 60) + self.chance.unit(what, "hour")))
        return 0.75 * day + 0.25 * hour


def ers(temperature_c: float, humidity: float, light_lux: int, motions: int, battery_mv: int) -> bytes:
    """An Elsys ERS message: records of a type byte and a big-endian value."""
    return struct.pack(
        ">BhBBBHBBBH",
        0x01,
        round(temperature_c * 10),
        0x02,
        round(humidity),
        0x04,
        light_lux,
        0x05,
        motions,
        0x07,
        battery_mv,
    )


def is_open(local_s: float) -> bool:
    """Whether the museum is open at this local time."""
    # 1970-01-01 was a Thursday, weekday 3.
    weekday = (int(local_s // DAY_S) + 3) % 7
    return weekday != CLOSED_WEEKDAY and OPENS_H * HOUR_S <= local_s % DAY_S < CLOSES_H * HOUR_S


# --- water meters: Axioma Qalcosonic W1 -----------------------------------------------------------------------------

QALCOSONIC_F_PORT = 100
STATUS_OK, STATUS_LEAK = 0x00, 0x30
LOG_ENTRIES = 15
"""Increments after the first entry of the log: the extended message of 47 bytes."""

INSTALLED_S = 1_609_459_200
"""2021-01-01: the meters counted from zero then."""


class WaterMeter:
    """The meter of one household. A leak draws all night."""

    def __init__(self, chance: Chance, *, leaking: bool = False, utc_offset_s: int = 0) -> None:
        self._chance = chance
        self._daily_litres = chance.between(90, 420, "household")
        self._leak_litres_h = chance.between(6, 18, "leak") if leaking else 0.0
        self._utc_offset_s = utc_offset_s
        self._days: dict[int, tuple[float, ...]] = {}

    def measure(self, utc_s: float, f_cnt: int) -> Measure:  # noqa: ARG002 - a meter shows the same whenever it sends
        """The volume now and hour by hour."""
        log_end_s = int(utc_s // HOUR_S) * HOUR_S
        log_start_s = log_end_s - LOG_ENTRIES * HOUR_S
        log_litres = [self.litres(log_start_s + hour * HOUR_S) for hour in range(LOG_ENTRIES + 1)]
        status = STATUS_LEAK if self._leak_litres_h else STATUS_OK
        return Measure(QALCOSONIC_F_PORT, qalcosonic(int(utc_s), self.litres(utc_s), log_start_s, log_litres, status))

    def litres(self, utc_s: float) -> int:
        """What the meter shows at this time; nothing before it was installed, should somebody's clock say so."""
        if utc_s < INSTALLED_S:
            return 0
        day, second = divmod(utc_s + self._utc_offset_s, DAY_S)
        days = day - INSTALLED_S // DAY_S + _part_of_day(second, self._rhythm_of(int(day)))
        return int(days * self._daily_litres + (utc_s - INSTALLED_S) / HOUR_S * self._leak_litres_h)

    def _rhythm_of(self, day: int) -> tuple[float, ...]:
        """The kitchen's rhythm as this household lives it on this day."""
        if day not in self._days:
            self._days = {kept: rhythm for kept, rhythm in self._days.items() if abs(kept - day) <= 1}
            self._days[day] = tuple(
                part * self._chance.between(0.2, 1.8, "hour", day, hour) for hour, part in enumerate(KITCHEN_RHYTHM)
            )
        return self._days[day]


def qalcosonic(time_s: int, litres: int, log_start_s: int, log_litres: Sequence[int], status: int = STATUS_OK) -> bytes:
    """A Qalcosonic W1 extended message: all little endian, volumes in litres, the log as one value and increments."""
    increments = [later - earlier for earlier, later in pairwise(log_litres)]
    turn = 1 << 32  # its clock ends in 2106
    head = struct.pack("<IBIII", time_s % turn, status, litres, log_start_s % turn, log_litres[0])
    return head + struct.pack(f"<{len(increments)}H", *increments)


# --- somebody else's ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stranger:
    """A device of another network: nobody here can read it."""

    chance: Chance

    def measure(self, utc_s: float, f_cnt: int) -> Measure:  # noqa: ARG002 - nothing known of its world
        """Bytes that mean nothing."""
        size = self.chance.whole(4, 24, "size")
        return Measure(self.chance.whole(1, 20, "port"), self.chance.octets(size, "payload", f_cnt))


# --- rhythms --------------------------------------------------------------------------------------------------------


def days_lived(local_s: float, rhythm: Sequence[float]) -> float:
    """Days since 1970, but running fast when much happens and slow at night; whole at midnight."""
    day, second = divmod(local_s, DAY_S)
    return day + _part_of_day(second, rhythm)


def _part_of_day(second: float, rhythm: Sequence[float]) -> float:
    hour, within = divmod(second, HOUR_S)
    done = sum(rhythm[: int(hour)]) + rhythm[int(hour)] * within / HOUR_S
    return done / sum(rhythm)
