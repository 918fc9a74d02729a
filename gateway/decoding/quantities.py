"""The vocabulary: what a measured quantity is called, its unit, and which values can be true.

Every codec of ours speaks it, every destination may rely on it. A name means one thing with one unit everywhere.
A device with several channels of one kind numbers them from the second: `external_temperature`,
`external_temperature_2`, `external_temperature_3`.

The range of a quantity says what is plausible, not what is allowed: a value outside is kept and a warning says so.
Sources of the ranges, where they are not evident:

- BME280: Bosch BME280 data sheet, 300 to 1100 hPa. SHT35: Sensirion SHT3x data sheet, -40 to 125 °C.
- IEC 60751: the range of platinum resistance thermometers, -200 to 850 °C.
- WMO: lowest air temperature recorded -89.2 °C, highest pressure at sea level 1084 hPa.
- ToF: time-of-flight and ultrasonic level sensors reach 60 m at most (Terabee LevelMonitoring XL manual).
- OIML R 49: flow rates of water meters; Q4 of the largest standard size (DN 800) is below 10 000 m3/h.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Kind(StrEnum):
    """What a value of a quantity is."""

    NUMBER = "number"
    BOOL = "bool"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One word of the vocabulary."""

    name: str
    unit: str  # "" for flags and texts
    kind: Kind
    low: float  # plausible range, both ends included; infinite where nothing is implausible
    high: float
    resolution: float  # the smallest step that means something
    description: str
    types: tuple[type, ...]  # of its values, exactly: True is an int to Python and no number here

    def doubt(self, value: float) -> str | None:
        """Why a number is hard to believe, in words; None when it is plausible."""
        if self.low <= value <= self.high:
            return None
        return f"{value:g} {self.unit} is implausible ({self.low:g} to {self.high:g})"

    def round(self, value: float) -> float:
        """The value to this quantity's resolution."""
        return round(round(value / self.resolution) * self.resolution, 6)


_ENDLESS = float("inf")


def _number(name: str, unit: str, span: tuple[float, float], resolution: float, description: str) -> Quantity:
    return Quantity(name, unit, Kind.NUMBER, *span, resolution, description, (float, int))


def _flag(name: str, description: str) -> Quantity:
    return Quantity(name, "", Kind.BOOL, 0, 1, 1, description, (bool,))


def _text(name: str, description: str) -> Quantity:
    return Quantity(name, "", Kind.TEXT, 0, 0, 1, description, (str,))


_ROWS = (
    # Levels and distances
    _number("fill_level", "%", (0, 100), 0.1, "how full a container is"),
    _number("distance", "mm", (0, 60_000), 1, "from the sensor to what it looks at (ToF)"),
    _number("tilt_angle", "°", (-180, 180), 0.1, "inclination against the upright position"),
    # Air and climate
    _number("temperature", "°C", (-60, 125), 0.01, "of the air or object the device is made for (WMO, SHT35)"),
    _number("external_temperature", "°C", (-200, 850), 0.01, "of a probe on a cable (IEC 60751)"),
    _number("infrared_temperature", "°C", (-70, 1000), 0.1, "of a surface, seen without contact"),
    _number("infrared_sensor_temperature", "°C", (-60, 125), 0.1, "of the infrared sensor itself"),
    _number("setpoint_temperature", "°C", (0, 60), 0.1, "what a thermostat is set to"),
    _number("humidity", "%", (0, 100), 0.1, "relative humidity of the air"),
    _number("external_humidity", "%", (0, 100), 0.1, "relative humidity at a probe on a cable"),
    _number("dew_point", "°C", (-80, 80), 0.1, "computed by the Magnus formula from temperature and humidity"),
    _number("absolute_humidity", "g/m3", (0, 400), 0.1, "water in the air, computed from temperature and humidity"),
    _number("pressure", "hPa", (300, 1100), 0.01, "of the air, at the device's height (BME280)"),
    _number("co2", "ppm", (0, 60_000), 1, "carbon dioxide in the air; outdoors about 420"),
    _number("tvoc", "ppb", (0, 60_000), 1, "volatile organic compounds, all together"),
    _number("air_quality_index", "count", (0, 500), 1, "the sensor maker's own index; 0 is best"),
    _number("tvoc_mass", "µg/m3", (0, 60_000), 1, "volatile organic compounds, all together, by weight"),
    _number("formaldehyde", "mg/m3", (0, 20), 0.01, "in the air"),
    _number("ozone", "ppm", (0, 10), 0.01, "in the air; outdoors below 0.1"),
    _number("pm25", "µg/m3", (0, 1000), 1, "dust up to 2.5 µm in the air (AM319 data sheet: to 1000)"),
    _number("pm10", "µg/m3", (0, 1000), 1, "dust up to 10 µm in the air (AM319 data sheet: to 1000)"),
    _number("light_level", "count", (0, 5), 1, "brightness in steps, 0 is dark (Milesight)"),
    _number("light", "lx", (0, 200_000), 1, "illuminance; full sunlight is about 100 000"),
    _number("sound_level", "dB", (0, 140), 1, "average level"),
    _number("sound_peak", "dB", (0, 140), 1, "highest level"),
    # Presence and movement
    _flag("motion", "somebody or something moved since the last message"),
    _number("motion_count", "count", (0, _ENDLESS), 1, "movements seen (infrared) since the last message"),
    _number("movement_count", "count", (0, _ENDLESS), 1, "movements of the device itself since the last message"),
    _text("occupancy", "of a place: `free`, `pending` or `occupied`"),
    _number("acceleration_x", "g", (-16, 16), 0.01, "along the device's x axis, in standard gravity"),
    _number("acceleration_y", "g", (-16, 16), 0.01, "along the device's y axis, in standard gravity"),
    _number("acceleration_z", "g", (-16, 16), 0.01, "along the device's z axis, in standard gravity"),
    _number("latitude", "°", (-90, 90), 0.0001, "WGS 84, north positive"),
    _number("longitude", "°", (-180, 180), 0.0001, "WGS 84, east positive"),
    # Meters and inputs
    _number("volume", "m3", (0, 100_000_000), 0.001, "what a meter has counted, forward"),
    _number("reverse_volume", "m3", (0, 100_000_000), 0.001, "what a meter has counted, backward"),
    _number("flow", "m3/h", (-10_000, 10_000), 0.001, "flow now; negative is backward (OIML R 49)"),
    _number("water_temperature", "°C", (-10, 130), 0.01, "of the water in the meter"),
    _number("pulse_count", "count", (0, _ENDLESS), 1, "pulses since the last message"),
    _number("pulse_total", "count", (0, _ENDLESS), 1, "pulses in all"),
    _number("minimum_flow", "m3/h", (-10_000, 10_000), 0.001, "lowest flow of the period that ends at its time"),
    _number("maximum_flow", "m3/h", (-10_000, 10_000), 0.001, "highest flow of the period that ends at its time"),
    _number("minimum_water_temperature", "°C", (-10, 130), 0.01, "lowest of the period that ends at its time"),
    _number("maximum_water_temperature", "°C", (-10, 130), 0.01, "highest of the period that ends at its time"),
    _number("ambient_temperature", "°C", (-60, 125), 0.1, "of the air around a device that measures something else"),
    _number("minimum_ambient_temperature", "°C", (-60, 125), 0.1, "lowest of the period that ends at its time"),
    _number("maximum_ambient_temperature", "°C", (-60, 125), 0.1, "highest of the period that ends at its time"),
    _number("acoustic_noise", "count", (0, 4094), 1, "in the pipe, the meter's own scale (Kamstrup); leaks are heard"),
    _number("energy", "kWh", (0, 1_000_000_000), 0.001, "what a meter has counted"),
    _number("power", "W", (-100_000_000, 100_000_000), 1, "now; negative where a meter counts both ways"),
    _number("flow_temperature", "°C", (-40, 250), 0.01, "of the water that goes to the radiators (EN 1434: 0 to 180)"),
    _number("return_temperature", "°C", (-40, 250), 0.01, "of the water that comes back from the radiators"),
    _flag("digital_input", "a contact or digital input is on"),
    _number("input_voltage", "V", (-1000, 1000), 0.000001, "at an analogue input"),
    # The device itself
    _number("battery", "%", (0, 100), 1, "charge left, as the device gives it"),
    _number("battery_voltage", "V", (0.5, 60), 0.001, "of the battery or supply"),
    _flag("low_battery", "the battery has to be replaced"),
    _flag("external_power", "supplied from outside, without a battery to watch"),
    _number("link_margin", "dB", (-32, 31), 1, "SNR at which the device heard the gateway (DevStatusAns)"),
    _flag("sensor_error", "the sensor cannot measure: hardware"),
    _flag("permanent_error", "the device reports a fault that stays"),
    _flag("temporary_error", "the device reports a fault that may pass"),
    _flag("not_connected", "a probe is missing"),
    # Alarms
    _flag("leak", "water runs or stands where it should not"),
    _flag("burst", "a pipe is broken: far more flow than there should be"),
    _flag("backflow", "water flows backward through a meter"),
    _flag("tamper", "magnet, removal, opened case or other manipulation"),
    _flag("empty_pipe", "no water in the meter"),
    _flag("no_consumption", "nothing has been used for unusually long"),
    _flag("freezing", "the water is close to freezing"),
    _flag("low_temperature", "below the lowest the device was set to accept, or the maker's limit"),
    _flag("high_temperature", "above the highest the device was set to accept, or the maker's limit"),
    _flag("threshold_alarm", "a value is beyond a limit set in the device"),
    _flag("tilt", "the device does not stand as it should"),
    _flag("fire", "hot as in a fire"),
)

QUANTITIES: Mapping[str, Quantity] = MappingProxyType({quantity.name: quantity for quantity in _ROWS})
"""Every quantity by its name, in the order of this file."""

_CHANNEL = re.compile(r"(.+)_([2-9]|[1-9][0-9])")


def lookup(name: str) -> Quantity | None:
    """The quantity of that name, also of a numbered channel (`external_temperature_2`); None outside the vocabulary."""
    found = QUANTITIES.get(name)
    if found is None and (channel := _CHANNEL.fullmatch(name)):
        found = QUANTITIES.get(channel[1])
    return found


_WRONG = {
    Kind.NUMBER: "is not a number",
    Kind.BOOL: "is neither true nor false",
    Kind.TEXT: "is not a text",
}


def wrong_kind(quantity: Quantity, value: object) -> str | None:
    """Why a value cannot be this quantity at all, in words; None when it can."""
    if type(value) in quantity.types:
        return None
    return f"{_shown(value)} {_WRONG[quantity.kind]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
