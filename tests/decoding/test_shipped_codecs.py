"""The codecs that come with the gateway, against what others publish, and against noise."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decoding import workbench
from gateway.decoding.catalogue import Catalogue, Language, shipped_folder
from gateway.decoding.examples import read_examples
from gateway.decoding.quantities import lookup, wrong_kind
from gateway.decoding.sandbox import Decoder

CATALOGUE = Catalogue.load([shipped_folder()])
ENTRIES = list(CATALOGUE.entries.values())


def load(entry):
    """The codec's functions in this process, where noise is faster; the examples run behind the walls."""
    module = {"__name__": "codec"}
    exec(compile(entry.script.read(), entry.script.path, "exec"), module)
    return module


MODULES = {entry.name: load(entry) for entry in ENTRIES if entry.script.language is Language.PYTHON}


def values(name, hexadecimal, f_port, **variables):
    """Quantity to value, of those that carry no time of their own."""
    decoded = workbench.decode(CATALOGUE, name, bytes.fromhex(hexadecimal), f_port, variables)
    assert decoded["errors"] == []
    return {item["quantity"]: item["value"] for item in decoded["measurements"] if "time" not in item}


def errors(name, hexadecimal, f_port, **variables):
    decoded = workbench.decode(CATALOGUE, name, bytes.fromhex(hexadecimal), f_port, variables)
    assert decoded["measurements"] == []
    return decoded["errors"]


def history(name, hexadecimal, f_port, **variables):
    decoded = workbench.decode(CATALOGUE, name, bytes.fromhex(hexadecimal), f_port, variables)
    return [(item["time"], item["value"]) for item in decoded["measurements"] if "time" in item]


def test_every_example_is_kept():
    result = workbench.test(CATALOGUE, [])
    assert [found for found in result["results"] if not found["ok"]] == []
    assert result["passed"] >= 176


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_codec_has_examples_and_every_variable_a_description(entry):
    examples, problems = read_examples(entry.examples_file.read_text(), "examples.json")
    assert problems == []
    assert examples
    assert all(variable.description for variable in entry.variables)
    assert '"""' in entry.script.read()[:10]  # where the facts come from stands first


def test_the_catalogue_s_page_names_every_codec():
    page = (shipped_folder() / "README.md").read_text()
    assert [name for name in CATALOGUE.entries if f"`{name}`" not in page] == []


def test_a_linked_codec_stays_within_the_catalogue():
    """A family's file lies in its vendor's folder; the wheel holds a copy for each device."""
    for entry in ENTRIES:
        assert shipped_folder().resolve() in entry.script.path.resolve().parents


# --- Heyliot Heywaste -----------------------------------------------------------------------------------------------

HEYWASTE = "heyliot/heywaste"


@pytest.mark.parametrize(
    ("payload", "distance", "fill"),
    [
        # The layout of the maker's article, with the distance taken as five hex characters from the third.
        ("10000384", 900, 70.0),
        ("31000BB8", 3000, 0.0),
        ("22100064", 100, 96.7),
        ("1101f4", 500, 83.3),
    ],
)
def test_heywaste_gives_distance_and_fill_level(payload, distance, fill):
    found = values(HEYWASTE, payload, 2)
    assert found == {"distance": distance, "fill_level": fill, "sensor_error": False}


def test_heywaste_reads_the_distance_as_the_device_is_said_to_send_it():
    assert values(HEYWASTE, "10000900", 2, distance_radix="10")["distance"] == 900
    assert values(HEYWASTE, "1000090012", 2, distance_start="4", distance_length="4")["distance"] == 0x0900
    assert values(HEYWASTE, "10000384", 2, max_measure_mm="900", min_measure_mm="100")["fill_level"] == 0
    assert values(HEYWASTE, "10000384", 2, max_measure_mm="2000", min_measure_mm="1000")["fill_level"] == 100
    assert errors(HEYWASTE, "100003e8", 2, distance_radix="10") == [
        "character 3: the distance 003e8 holds letters, but distance_radix is 10"
    ]
    assert errors(HEYWASTE, "10000384", 2, max_measure_mm="3 m") == [
        "variable max_measure_mm is '3 m', a whole number is needed"
    ]
    assert errors(HEYWASTE, "10000384", 2, min_measure_mm="3000") == [
        "variable max_measure_mm has to be greater than min_measure_mm"
    ]


@pytest.mark.parametrize("status", range(16))
def test_heywaste_says_what_each_range_status_means(status):
    """ST's VL53L1X driver; what it does not name is an error too."""
    payload = bytes.fromhex(f"11{status:x}00384")
    decoded = workbench.decode(CATALOGUE, HEYWASTE, payload, 2, {})
    quantities = {item["quantity"]: item["value"] for item in decoded["measurements"]}
    assert decoded["data"]["raw"] == payload.hex()
    if status in {0, 6}:
        assert quantities["distance"] == 0x384
        assert not [warning for warning in decoded["warnings"] if "range status" in warning]
    elif status in {1, 2, 3}:
        assert quantities["distance"] == 0x384
        assert any("range status" in warning for warning in decoded["warnings"])
    else:
        assert decoded["errors"][0].startswith(f"character 2: range status {status}: ")
        assert quantities == ({"sensor_error": True} if status == 5 else {})


@pytest.mark.parametrize("payload", ["0", "4"])
def test_heywaste_passes_on_what_the_maker_does_not_describe(payload):
    decoded = workbench.decode(CATALOGUE, HEYWASTE, bytes.fromhex(f"{payload}123abc0"), 2, {})
    assert decoded["data"]["raw"] == f"{payload}123abc0"
    assert (decoded["errors"], decoded["warnings"], decoded["measurements"]) == ([], [], [])


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", "the payload is empty"),
        ("5000", "character 0: message type 5 is not known"),
        ("f0000384", "character 0: message type f is not known"),
        ("10", "character 2: the payload ends before the distance"),
    ],
)
def test_heywaste_tells_what_it_cannot_read(payload, error):
    assert errors(HEYWASTE, payload, 2) == [error]


def test_heywaste_doubts_a_distance_beyond_the_sensor():
    decoded = workbench.decode(CATALOGUE, HEYWASTE, bytes.fromhex("10000fa1"), 2, {})
    assert decoded["warnings"] == ["distance 4001 mm is beyond the sensor's 4000 mm: check distance_radix"]


# --- Elsys ----------------------------------------------------------------------------------------------------------

ERS = "elsys/ers"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        # Examples of The Things Network's device repository, vendor/elsys/*-codec.yaml, in our names and units.
        (
            "0100E202290400270506060308",
            {"temperature": 22.6, "humidity": 41, "light": 39, "motion_count": 6, "co2": 776},
        ),
        ("0100E2022904002705061101", {"temperature": 22.6, "humidity": 41, "motion_count": 6, "occupancy": "pending"}),
        ("0100E202290400270506150101", {"sound_peak": 1, "sound_level": 1, "light": 39}),
        ("0100E20229030127050A110112110A2111", {"pulse_count": 8465, "leak": True, "acceleration_y": 0.619}),
        # decoders.elsys_test.go of diwise iot-agent: captured messages and the values found in them.
        ("01004b0254070e3a0d0014000f5bea1a00", {"temperature": 7.5, "humidity": 84, "battery_voltage": 3.642}),
        ("010096024e070e1e0d0114000fdcc01a00", {"digital_input": True, "digital_input_2": False}),
        ("070d8a0c00c1", {"external_temperature": 19.3, "battery_voltage": 3.466}),
        ("01011A021E070E450C012914000F980419F830", {"temperature": 28.2, "external_temperature": 29.7}),
        ("0100e8020c04005a05020601ab070e34", {"temperature": 23.2, "humidity": 12, "light": 90, "co2": 427}),
        # The maker's decoder, read by hand.
        ("0100D3023604012C05030709E8", {"light": 300, "motion_count": 3, "motion": True, "battery_voltage": 2.536}),
        ("0100FA022D14000F792C", {"temperature": 25.0, "humidity": 45, "pressure": 1014.06}),
        ("01FFEC02580E04B0070D7A", {"temperature": -2.0, "humidity": 88, "distance": 1200, "battery_voltage": 3.45}),
        ("09 40e201 c0e1e4", {"latitude": 12.3456, "longitude": -177.7216}),
        ("10 00C8 FF38", {"infrared_sensor_temperature": 20.0, "infrared_temperature": -20.0}),
        ("0B FFFFFFFF 17 00000001", {"pulse_total": 4294967295, "pulse_total_2": 1}),
        ("1B FFFFFC18 08 0BB8 18 0001", {"input_voltage_3": -0.001, "input_voltage": 3.0, "input_voltage_2": 0.001}),
        ("19 00C8 19 FFF6", {"external_temperature_2": 20.0, "external_temperature_3": -1.0}),
        ("0F 07 1C 0100 12 00 05 00", {"movement_count": 7, "tvoc": 256, "leak": False, "motion": False}),
    ],
)
def test_elsys_agrees_with_the_maker_and_with_others(payload, expected):
    found = values(ERS, payload, 5)
    assert {name: found.get(name) for name in expected} == expected


def test_elsys_tells_dew_point_and_absolute_humidity():
    """WMO's Magnus formula: 20.0 °C and 50 % give 9.3 °C and 8.6 g/m3."""
    found = values(ERS, "0100C80232", 5)
    assert (found["dew_point"], found["absolute_humidity"]) == (9.3, 8.6)
    assert values(ERS, "0100C80264", 5)["dew_point"] == 20.0  # saturated air
    assert "dew_point" not in values(ERS, "0100C80200", 5)  # perfectly dry air has none


def test_elsys_reads_the_grid_of_64_temperatures():
    decoded = workbench.decode(CATALOGUE, ERS, bytes([0x13, 20, *range(64)]), 5, {})
    assert decoded["data"]["grid_temperature"][:3] == [20.0, 20.1, 20.2]
    assert len(decoded["data"]["grid_temperature"]) == 64


def test_elsys_settings_may_hold_keys_and_are_not_repeated():
    secret = "3e12" + "05" + "00112233445566778899aabbccddeeff"
    decoded = workbench.decode(CATALOGUE, ERS, bytes.fromhex(secret), 6, {})
    assert decoded["data"] == {"message": "settings", "settings_bytes": 18}
    assert "00112233" not in json.dumps(decoded)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("", "the payload is empty"),
        ("0100d3ff01", "offset 3: record type 0xff is not known, nothing from there can be read"),
        ("0100d30236 04 01", "offset 5: record 0x04 needs 2 bytes, 1 are left"),
        ("01", "offset 0: record 0x01 needs 2 bytes, 0 are left"),
        ("3b05aabb", "offset 0: record 0x3b needs 6 bytes, 3 are left"),
        ("3b", "offset 0: record 0x3b needs 1 bytes, 0 are left"),
    ],
)
def test_elsys_tells_where_it_cannot_read_on(payload, error):
    assert errors(ERS, payload, 5) == [error]


# --- Axioma Qalcosonic W1 -------------------------------------------------------------------------------------------

W1 = "axioma/qalcosonic_w1"
PAPER = "0ea0355d302935000054c0345de7290000b800b900b800b800b800b900b800b800b800b800b800b800b900b900b900"
EMPTY_PIPE = "41643A5E1077010000F086395E77010000000000000000000000000000000000000000000000000000000000000000"
# The Things Network's device repository, vendor/axioma/qalcosonic-w1-codec.yaml: a real meter.
ENHANCED = "01aeac986a00321700000000000000000000800380005400 0e400510004800024002000020" + "00" * 14
SET = {"leak", "backflow", "freezing", "burst", "tamper", "low_battery", "permanent_error", "temporary_error"}


def alarms(hexadecimal, f_port, **variables):
    return {name for name, value in values(W1, hexadecimal, f_port, **variables).items() if value is True}


def test_w1_extended_as_the_parser_of_element_iot_reads_the_maker_s_example():
    """Its test cuts the log's time to the full hour; the volumes are the same."""
    found = history(W1, PAPER, 100)
    volumes = [10.727, 10.911, 11.096, 11.28, 11.464, 11.648, 11.833, 12.017]
    volumes += [12.201, 12.385, 12.569, 12.753, 12.937, 13.122, 13.307, 13.492]
    assert [value for _, value in found] == volumes
    assert found[0][0] == "2019-07-21T19:43:16Z"
    assert values(W1, PAPER, 100)["volume"] == 13.609
    assert alarms(PAPER, 100) == {"leak"}


def test_w1_extended_as_the_parser_of_element_iot_reads_a_real_meter():
    found = history(W1, EMPTY_PIPE, 100)
    assert found[0] == ("2020-02-04T15:00:00Z", 0.375)
    assert found[-1] == ("2020-02-05T06:00:00Z", 0.375)
    assert len(found) == 16
    assert alarms(EMPTY_PIPE, 100) == {"empty_pipe"}


@pytest.mark.parametrize(
    ("payload", "celsius", "volume"),
    [
        # decoder.qalcosonic_test.go of diwise iot-agent, w1t: real meters.
        (
            "55cb585f7cf29d0400120ae0fe575f8a570400cd04cb04cc04cd04ca04c404c504c404f004e604dc04d604b9057905",
            25.78,
            302.578,
        ),
        (
            "3883B268007BB06B008D0560B2B1681F806B00A50465067E06B706BB03A6028501AC00620053006300CF014E03A604",
            14.21,
            7057.531,
        ),
        (
            "B8424567 00 DD8B0600 9303 D0744467 41890600 4800160023004200D30019001B000A008C000E00070019000200 0900",
            9.15,
            429.021,
        ),
    ],
)
def test_w1_extended_with_temperature_as_diwise_reads_real_meters(payload, celsius, volume):
    found = values(W1, payload, 100)
    assert (found["water_temperature"], found["volume"]) == (celsius, volume)
    log = history(W1, payload, 100)
    assert len(log) == 15
    assert [value for _, value in log] == sorted(value for _, value in log)
    assert all(time.endswith(":00:00Z") for time, _ in log)


def test_w1_enhanced_as_the_things_network_s_repository_reads_a_real_meter():
    decoded = workbench.decode(CATALOGUE, W1, bytes.fromhex(ENHANCED), 100, {})
    assert decoded["data"]["time"] == "2026-09-02T23:09:34Z"
    increments = [0, 0, 0, 0, 0, 14, 8, 21, 14, 21, 1, 18, 2, 9, 0, 8, 0, 0, 0, 0, 0, 0, 0]
    assert decoded["data"]["log"]["increments_l"] == increments
    assert values(W1, ENHANCED, 100)["volume"] == 6.054
    assert history(W1, ENHANCED, 100)[0][1] == 5.938
    assert alarms(ENHANCED, 100) == set()


def test_w1_enhanced_as_diwise_reads_it():
    """w1h: sum of all, and the seventeenth value; the first at 01:00 of the day before."""
    payload = "011fbfd05e30cd0f0800d4879e41865c1b42470d7283b8201608fec181981dd007f3919460218247b631784c1c9e87b8e17600"
    found = history(W1, payload, 100)
    assert values(W1, payload, 100)["volume"] == 573.662
    assert found[16][1] == 560.639
    assert (found[0][0], found[-1][0]) == ("2020-05-28T01:00:00Z", "2020-05-29T00:00:00Z")
    assert history(W1, payload, 100, utc_offset_min="120")[0][0] == "2020-05-27T23:00:00Z"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        # The status table of the public decoders (Alkarex, diwise).
        (0x00, set()),
        (0x04, {"low_battery"}),
        (0x08, {"permanent_error"}),
        (0x10, {"empty_pipe"}),
        (0x30, {"leak"}),
        (0x70, {"backflow"}),
        (0x90, {"freezing"}),
        (0xB0, {"burst"}),
        (0xD0, {"tamper"}),
        (0x0C, {"low_battery", "permanent_error"}),
        (0x14, {"low_battery", "empty_pipe"}),
        (0x18, {"permanent_error", "temporary_error"}),
        (0x20, {"leak"}),
        (0xA0, {"burst"}),
        (0x60, {"backflow"}),
        (0x80, {"freezing"}),
        (0x88, {"permanent_error", "freezing"}),
        (0xBC, {"low_battery", "permanent_error", "burst"}),
    ],
)
def test_w1_status_byte(status, expected):
    payload = f"60F9B469{status:02x}6EB200000000"
    assert alarms(payload, 100) == expected
    assert set(values(W1, payload, 100)) == SET | {"volume", "empty_pipe"}  # false as well, so that alarms end


@pytest.mark.parametrize(
    ("code", "layout", "expected"),
    [
        (0xB4, "alarm", {"burst", "low_battery"}),  # only the status of port 100 has this bit
        (0x30, "alarm", {"no_consumption", "backflow"}),  # Element IoT's test of the maker's example
        (0x30, "status", {"leak"}),
        (0x0C, "alarm", {"freezing", "tamper"}),  # diwise's test
        (0x0C, "status", {"low_battery", "permanent_error"}),
        (0x01, "status", {"leak"}),  # only the alarm's own bits have these
        (0x02, "status", {"burst"}),
        (0x00, "alarm", set()),
    ],
)
def test_w1_alarm_byte(code, layout, expected):
    payload = f"43b1315d{code:02x}"
    assert alarms(payload, 103, alarm_layout=layout) == expected
    decoded = workbench.decode(CATALOGUE, W1, bytes.fromhex(payload), 103, {"alarm_layout": layout})
    assert bool(decoded["warnings"]) == (code in {0x30, 0x0C})


def test_w1_tells_when_the_log_interval_is_another_one():
    payload = "60F9B469006EB2000020C1B46948B200000A00000016000600"
    assert history(W1, payload, 100)[-1] == ("2026-03-14T06:00:00Z", 45.678)
    for wrong in ("20", "120"):
        decoded = workbench.decode(CATALOGUE, W1, bytes.fromhex(payload), 100, {"log_interval_min": wrong})
        assert [item for item in decoded["measurements"] if "time" in item] == []
        assert "the interval is another one" in decoded["warnings"][0]
        assert decoded["data"]["log"]["increments_l"] == [10, 0, 22, 6]


def test_w1_doubts_a_clock_that_is_days_off():
    payload = bytes.fromhex("60F9B469006EB200000000")
    for heard, doubted in (("2026-03-14T08:00:00Z", False), ("2026-03-16T08:00:00Z", True), (None, False)):
        decoded = workbench.decode(CATALOGUE, W1, payload, 100, {}, heard)
        assert bool(decoded["warnings"]) == doubted
    unset = workbench.decode(CATALOGUE, W1, bytes.fromhex("00000000006EB200000000"), 100, {})
    assert unset["warnings"] == ["the meter's clock is not set"]


@pytest.mark.parametrize(
    ("payload", "f_port", "variables", "error"),
    [
        ("", 100, {}, "offset 0: the head has 9 bytes"),
        ("60F9B46900", 100, {}, "offset 5: the head has 9 bytes"),
        ("60F9B469006EB20000000000", 100, {}, "offset 9: 3 bytes are neither a log nor older volumes"),
        (
            "60F9B469006EB20000FFFFFF7F05000000",
            100,
            {},
            "offset 9: 2147483647 l is neither an older volume nor the time",
        ),
        ("60F9B469006EB2000020C1B46948B200000A0011", 100, {}, "offset 19: one byte 0x11 is left, which is no padding"),
        ("02" + "00" * 50, 100, {}, "offset 0: version 2 of the enhanced format is not known"),
        ("01" + "00" * 49 + "04", 100, {}, "offset 50: multiplier 1, how it scales the increments is not known"),
        ("60F9B469", 103, {}, "offset 4: an alarm has 5 bytes, not 4"),
        ("60F9B46941", 103, {}, "offset 4: alarm byte 0x41 is not known"),
        ("00", 7, {}, "port 7 is not known: 100 readings, 101 configuration, 103 alarms"),
        ("00", 100, {"log_interval_min": "hourly"}, "variables log_interval_min and utc_offset_min are whole numbers"),
        ("00", 100, {"log_interval_min": "0"}, "log_interval_min is 1 to 1440, utc_offset_min -1440 to 1440"),
    ],
)
def test_w1_tells_what_it_cannot_read(payload, f_port, variables, error):
    (found,) = errors(W1, payload, f_port, **variables)
    assert found.startswith(error)


# --- noise ----------------------------------------------------------------------------------------------------------


def read(name, payload, port, recv_time=None, **variables):
    """The codec's answer in this process, held against what every codec promises."""
    decode = MODULES[name]["decode"]
    taken = decode.__code__.co_varnames[: decode.__code__.co_argcount]
    heard = {"recv_time": recv_time} if "recv_time" in taken else {}
    result = decode(payload, port, {**CATALOGUE.entries[name].defaults, **variables}, **heard)
    assert type(result) is dict
    assert type(result.get("data")) is dict
    assert result["data"] or result.get("errors")
    assert len(json.dumps(result, allow_nan=False)) < 65536
    assert not (result.get("errors") and result.get("measurements")) or name == HEYWASTE  # a broken sensor is both
    for item in result.get("measurements", []):
        quantity = lookup(item["quantity"])
        assert quantity is not None
        assert wrong_kind(quantity, item["value"]) is None
        assert item.get("unit", quantity.unit) == quantity.unit
        assert item.get("time", 0) >= 0
    return result


def examples_of(name):
    return read_examples(CATALOGUE.entries[name].examples_file.read_text(), "examples.json")[0]


EXAMPLES = {name: examples_of(name) for name in MODULES}
PORTS = sorted({example.f_port for examples in EXAMPLES.values() for example in examples})
TIMES = st.one_of(st.none(), st.floats(0, 4e9))


@pytest.mark.parametrize("name", MODULES)
@given(payload=st.binary(max_size=242), port=st.one_of(st.integers(1, 223), st.sampled_from(PORTS)), recv_time=TIMES)
@settings(deadline=None, max_examples=60)
def test_noise_is_data_or_an_error_and_never_an_exception(name, payload, port, recv_time):
    read(name, payload, port, recv_time)


@pytest.mark.parametrize("name", MODULES)
@given(given=st.data(), recv_time=TIMES)
@settings(deadline=None, max_examples=80)
def test_a_message_with_broken_bytes_is_no_exception_either(name, given, recv_time):
    """Noise seldom comes past the first bytes of a layout; a published message with errors does."""
    example = given.draw(st.sampled_from(EXAMPLES[name]))
    payload = bytearray(example.payload)
    for at, byte in given.draw(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4)):
        payload[at : at + 1] = bytes([byte])
    end = given.draw(st.integers(0, len(payload)))
    read(name, bytes(payload[:end] if given.draw(st.booleans()) else payload), example.f_port, recv_time)


@pytest.mark.parametrize("name", MODULES)
@given(given=st.data(), recv_time=TIMES)
@settings(deadline=None, max_examples=40)
def test_odd_variables_are_no_exception_either(name, given, recv_time):
    example = given.draw(st.sampled_from(EXAMPLES[name]))
    names = [variable.name for variable in CATALOGUE.entries[name].variables] or ["none"]
    text = st.one_of(st.text(max_size=6), st.sampled_from(["0", "-1", "1e999", "nan", "9" * 400, "00" * 16, "3 m"]))
    read(name, example.payload, example.f_port, recv_time, **given.draw(st.dictionaries(st.sampled_from(names), text)))


async def test_noise_behind_the_walls_costs_no_worker():
    noise = [os.urandom(n) for n in range(243)]
    async with Decoder(CATALOGUE) as decoder:
        for entry in ENTRIES:
            for port in (2, 5, 100, 103):
                found = await asyncio.gather(
                    *(decoder.decode(entry.name, payload, port, {}, 1_773_468_000_000_000) for payload in noise)
                )
                assert all(decoded.data is not None for decoded in found)
        assert all(health.overruns == 0 and health.restarts == 0 for health in decoder.health())
