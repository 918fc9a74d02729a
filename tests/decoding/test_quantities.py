from __future__ import annotations

import re

import pytest

from gateway.decoding.quantities import QUANTITIES, Kind, lookup, wrong_kind
from gateway.wire.unit_codes import UNIT_CODES

# Contract section 5.
PROMISED = {
    "fill_level": "%",
    "distance": "mm",
    "temperature": "°C",
    "humidity": "%",
    "dew_point": "°C",
    "co2": "ppm",
    "volume": "m3",
    "flow": "m3/h",
    "battery_voltage": "V",
    "battery": "%",
    "leak": "",
    "burst": "",
    "backflow": "",
    "tamper": "",
    "low_battery": "",
}


@pytest.mark.parametrize(("name", "unit"), PROMISED.items())
def test_the_promised_names_have_the_promised_units(name, unit):
    assert QUANTITIES[name].unit == unit
    assert (QUANTITIES[name].kind is Kind.BOOL) == (unit == "")


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=lambda quantity: quantity.name)
def test_every_row_of_the_vocabulary_makes_sense(quantity):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*", quantity.name)
    assert quantity.description
    assert quantity.resolution > 0
    if quantity.kind is Kind.NUMBER:
        assert quantity.low < quantity.high
        assert quantity.unit in UNIT_CODES
    else:
        assert quantity.unit == ""


def test_every_unit_code_belongs_to_a_unit_of_the_vocabulary():
    assert set(UNIT_CODES) == {quantity.unit for quantity in QUANTITIES.values()} - {""}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("external_temperature", "external_temperature"),
        ("external_temperature_2", "external_temperature"),
        ("external_temperature_64", "external_temperature"),
        ("co2", "co2"),
        ("external_temperature_1", None),  # the first has no number
        ("external_temperature_100", None),
        ("external_temperature_02", None),
        ("warmth", None),
        ("_2", None),
        ("", None),
    ],
)
def test_channels_are_numbered_from_the_second(name, found):
    quantity = lookup(name)
    assert (quantity and quantity.name) == found


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("temperature", 21, True),
        ("temperature", 21.5, True),
        ("temperature", True, False),
        ("temperature", "21", False),
        ("temperature", None, False),
        ("leak", False, True),
        ("leak", 0, False),
        ("occupancy", "free", True),
        ("occupancy", 0, False),
    ],
)
def test_a_value_has_the_kind_of_its_quantity(name, value, fits):
    assert (wrong_kind(QUANTITIES[name], value) is None) == fits


def test_an_implausible_value_is_told_with_its_unit_and_range():
    assert QUANTITIES["humidity"].doubt(100) is None
    assert QUANTITIES["humidity"].doubt(100.5) == "100.5 % is implausible (0 to 100)"
    assert QUANTITIES["temperature"].doubt(float("nan")) is not None


def test_values_are_rounded_to_what_means_something():
    assert QUANTITIES["fill_level"].round(83.3333) == 83.3
    assert QUANTITIES["volume"].round(45.6784) == 45.678
