from __future__ import annotations

import asyncio
import contextlib
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.decoding.answer import read_answer
from gateway.decoding.description import read_device
from gateway.decoding.mapping import UNITS, measured, normalised, read_path
from gateway.decoding.quantities import QUANTITIES
from gateway.decoding.sandbox import Decoder
from gateway.model import Measurement

HEAD = 'model = "M"\nkind = "test"\n[measurements]\n'


def rules(toml: str):
    description, problems = read_device(HEAD + toml, "device.toml")
    assert problems == []
    assert description is not None
    return description.measurements


def found(toml: str, data: dict):
    warnings: list[str] = []
    return [(item["quantity"], item["value"]) for item in measured(rules(toml), data, warnings)], warnings


MAPPED = {
    'temperature = "temperature"': ("temperature", 21.35),
    'temp = { quantity = "temperature", scale = 0.01, offset = -10 }': ("temperature", 11.35),
    '"battery.mv" = { quantity = "battery_voltage", unit = "mV" }': ("battery_voltage", 3.6),
    'f = { quantity = "temperature", unit = "°F" }': ("temperature", 37.7),
    'litres = { quantity = "volume", unit = "L" }': ("volume", 1.2345),
    'text = "humidity"': ("humidity", 54.5),
    '"list[1].v" = "co2"': ("co2", 600),
    'state = { quantity = "leak", when = "leak" }': ("leak", True),
    'other = { quantity = "leak", when = "leak" }': ("leak", False),
    'one = "tamper"': ("tamper", True),
    'one = { quantity = "low_battery", when = 0 }': ("low_battery", False),
    '"a b-c" = "light"': ("light", 5),
    'cm = { quantity = "distance", unit = "cm", scale = 2, offset = 1 }': ("distance", 90),
}
DATA = {
    "temperature": 21.35,
    "temp": 2135,
    "battery": {"mv": 3600},
    "f": 99.86,
    "litres": 1234.5,
    "text": "54.50",
    "list": [{"v": 500}, {"v": 600}],
    "state": "leak",
    "other": "normal",
    "one": 1,
    "a b-c": 5,
    "cm": 4,
}


@pytest.mark.parametrize("toml", MAPPED)
def test_a_line_of_the_table_makes_a_measurement(toml):
    assert found(toml, DATA) == ([MAPPED[toml]], [])


def test_each_element_of_a_history_has_its_own_time():
    toml = '"log[].l" = { quantity = "volume", unit = "L", time = "log[].at" }\n'
    toml += 'total = { quantity = "volume", time = "at" }\n'
    data = {
        "total": 5,
        "at": 1773468000123,
        "log": [{"l": 1, "at": "2026-03-14T06:00:00Z"}, {"l": 2, "at": 1773471600}],
    }
    items = measured(rules(toml), data, [])
    assert [(item["value"], item["time"]) for item in items] == [
        (0.001, 1773468000.0),
        (0.002, 1773471600.0),
        (5, 1773468000.123),
    ]


def test_what_is_absent_or_null_is_nothing_and_what_cannot_be_read_is_a_warning():
    toml = 'a = "temperature"\nb = "humidity"\nc = "leak"\n"l[]" = "co2"\nt = { quantity = "volume", time = "when" }\n'
    assert found(toml, {"a": None, "l": 5, "t": None}) == ([], [])
    values, warnings = found(toml, {"a": "n/a", "b": {}, "c": "x", "l": [1, True], "t": 1})
    assert values == [("co2", 1)]
    assert warnings == [
        "data.a is 'n/a', which is no number",
        "data.b is {}, which is no number",
        "data.c is 'x', neither true nor false",
        "data.l[1] is True, which is no number",
        "data.t has no time",
    ]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('t = "temprature"', "device.toml:4 measurements.t temprature is no quantity; did you mean temperature?"),
        ("t = 5", "device.toml:4 measurements.t is the name of a quantity, or a table with `quantity`"),
        (
            't = { quantity = "volume", unit = "pint" }',
            "measurements.t.unit pint cannot be made m3; known are m3, mL, L",
        ),
        ('t = { quantity = "leak", unit = "V" }', "V cannot be made of no unit; known are no unit"),
        ('t = { quantity = "volume", scale = "5" }', "measurements.t.scale is a number, not '5'"),
        ('t = { quantity = "volume", when = 5 }', "measurements.t.when is the value for which"),
        ('t = { quantity = "volume", wehn = 5 }', "measurements.t.wehn is not known; did you mean when?"),
        ('"a..b" = "volume"', "'a..b' is no path such as a.b[].c"),
        ('"a[x]" = "volume"', "'a[x]' is no path such as a.b[].c"),
        ('"[]" = "volume"', "'[]' is no path such as a.b[].c"),
        ('a.b = "volume"', "has no quantity; a path with dots is written in quotes"),
    ],
)
def test_a_mistake_in_the_table_is_told_with_its_place(toml, problem):
    description, problems = read_device(HEAD + toml, "device.toml")
    assert description is None
    assert len(problems) == 1
    assert problem in str(problems[0])


def test_every_unit_leads_to_one_of_the_vocabulary():
    units = {quantity.unit for quantity in QUANTITIES.values()}
    assert {ours for _, ours in UNITS} <= units


@pytest.mark.parametrize(
    ("theirs", "ours", "value", "expected"),
    [  # from the definitions of the units: BIPM's SI brochure, ISO 80000
        ("°F", "°C", 212, 100),
        ("°F", "°C", -40, -40),
        ("K", "°C", 273.15, 0),
        ("L/min", "m3/h", 1000, 60),
        ("L/s", "m3/h", 1, 3.6),
        ("kPa", "hPa", 101.325, 1013.25),
        ("1", "%", 0.5, 50),
    ],
)
def test_units_are_converted_as_they_are_defined(theirs, ours, value, expected):
    scale, offset = UNITS[theirs, ours]
    assert math.isclose(value * scale + offset, expected, abs_tol=1e-9)


def test_the_table_stands_before_what_the_codec_says_itself():
    raw = {"data": {"t": 5}, "measurements": [{"quantity": "humidity", "value": 50}]}
    assert read_answer("c", raw).measurements == (Measurement("humidity", 50, "%"),)
    assert read_answer("c", raw, 0, rules('t = "temperature"')).measurements == (Measurement("temperature", 5, "°C"),)
    assert read_answer("c", {**raw, "errors": ["no"]}, 0, rules('t = "temperature"')).errors == ("no",)


def test_an_implausible_value_of_a_mapping_is_a_warning():
    answer = read_answer("c", {"data": {"h": 130}}, 0, rules('h = "humidity"'))
    assert answer.measurements == (Measurement("humidity", 130, "%"),)
    assert answer.warnings == ("humidity: 130 % is implausible (0 to 100)",)


# --- The Things Stack's normalised payload, as lib/payload.json of TheThingsNetwork/lorawan-devices has it -----------

NORMALISES = """
function decodeUplink(input) { return { data: { t: input.bytes[0], raw: 1 } }; }
function normalizeUplink(input) {
  if (input.data.t === 255) throw new Error("no");
  if (input.data.t === 254) return { errors: ["cannot"] };
  return { data: [
    { time: "2026-03-14T06:00:00Z", air: { temperature: input.data.t, relativeHumidity: 50, location: "indoor" } },
    { metering: { water: { total: 1500 } }, battery: 3.6, soil: { moisture: 5 } },
  ], warnings: ["from them"] };
}
"""


def decode(codecs, source: str, payload: bytes, toml: str = ""):
    async def run():
        async with Decoder(codecs({"script": source}, toml, ".js")) as decoder:
            return await decoder.answer("test/script", payload, 1, {}, None)

    return asyncio.run(run())


def test_normalize_uplink_gives_measurements(codecs):
    answer = decode(codecs, NORMALISES, b"\x15")
    assert answer.measurements == (
        Measurement("temperature", 21, "°C", 1_773_468_000_000_000),
        Measurement("humidity", 50, "%", 1_773_468_000_000_000),
        Measurement("battery_voltage", 3.6, "V"),
        Measurement("volume", 1.5, "m3"),
    )
    assert (answer.data, answer.warnings, answer.errors) == ({"t": 21, "raw": 1}, ("from them",), ())


def test_a_normaliser_that_fails_costs_the_measurements_and_not_the_data(codecs):
    threw = decode(codecs, NORMALISES, b"\xff")
    assert (threw.data, threw.errors, threw.measurements) == ({"t": 255, "raw": 1}, (), ())
    assert threw.warnings == ("normalizeUplink failed: Error: no (line 4)",)
    assert decode(codecs, NORMALISES, b"\xfe").warnings == ("cannot",)


def test_data_that_is_normalised_already_is_read_as_such(codecs):
    answer = decode(codecs, "function decodeUplink() { return { data: { air: { temperature: 21 } } }; }", b"")
    assert answer.measurements == (Measurement("temperature", 21, "°C"),)
    other = decode(codecs, "function decodeUplink() { return { data: { air: { temperature: 21 }, x: 1 } }; }", b"")
    assert other.measurements == ()


def test_a_mapping_in_device_toml_reads_what_a_script_returns(codecs):
    toml = '[measurements]\n"a.t" = { quantity = "temperature", unit = "°F" }\n'
    answer = decode(codecs, "function decodeUplink() { return { data: { a: { t: '212' } } }; }", b"", toml)
    assert answer.measurements == (Measurement("temperature", 100, "°C"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abtvl"), inner, max_size=4),
    max_leaves=12,
)
ANY = rules(
    'a = "temperature"\n"b.v" = "leak"\n"l[].v" = { quantity = "volume", unit = "L", time = "l[].t" }\n'
    't = "occupancy"\n"l[0]" = { quantity = "leak", when = 1 }\n'
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from("abtvl"), JSON, max_size=5))
def test_whatever_a_script_returns_makes_measurements_or_warnings(data):
    answer = read_answer("c", {"data": data}, 0, ANY)
    assert answer.errors == ()
    for measurement in answer.measurements:
        assert type(measurement.value) in QUANTITIES[measurement.quantity].types


@settings(deadline=None, max_examples=200)
@given(JSON)
def test_whatever_a_normaliser_returns_makes_measurements_or_warnings(value):
    answer = read_answer("c", {"data": {"x": 1}, "normalized": {"data": value}})
    assert answer.errors == ()
    assert normalised({"air": value, "time": value}, []) is not None


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab.[]01 -é", max_size=10))
@example("[0]")
def test_a_path_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        steps = read_path(text)
        assert type(steps[0]) is str
        assert steps[0] != "[]"
