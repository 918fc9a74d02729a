"""What of a reading leaves for a destination."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from contract_example import EXAMPLE, HEARD, READING, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Decoded, Measurement
from gateway.wire.own_json import FIELDS, IDS
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

NAMES = Pseudonyms(b"a key for this test")
DEV_EUI, NAME = "70b3d57ed0000001", "PAV Antigone 12"


def left(privacy: Privacy, of=None) -> dict:
    return json.loads(privacy.reading_bytes(of or record()))


def tracked(**changes):
    """A reading full of positions and times."""
    data = {"lat": 43.611912, "GPS": {"Longitude": "3.877234", "fix": 3}, "path": [{"lng": 3.9}], "n": 7.123456}
    measurements = (
        Measurement("latitude", 43.611912, "°"),
        Measurement("distance", 1234.5678, "mm", HEARD.utc_us - 3_600_000_000),
    )
    tags = {"latitude": "43.611912", "longitude": "here", "street": "Rue 12"}
    return record(decoded=Decoded("v/d@1", data, measurements), tags=tags, **changes)


def test_by_default_everything_leaves():
    assert left(Privacy()) == json.loads(EXAMPLE)
    assert Privacy().reading(record()) == json.loads(EXAMPLE)


def test_chosen_fields_leave_with_the_ids_in_the_usual_order():
    assert list(left(Privacy(fields=("measurements", "time")))) == [
        *("id", "record_id", "gateway_eui", "time", "dev_eui", "measurements")
    ]


def test_a_pseudonymous_reading_betrays_no_device():
    raw = Privacy(pseudonyms=NAMES).reading_bytes(record()).decode()
    reading = json.loads(raw)
    for secret in (DEV_EUI, NAME, "26011bda", "1101f4", "glass", READING.frame_id, record().record_id, "5be1-1042"):
        assert secret not in raw
    assert reading["dev_eui"] == reading["name"] == NAMES.of("dev_eui", DEV_EUI)
    assert reading["id"] == NAMES.of("id", READING.frame_id)
    assert reading["record_id"] == NAMES.of("record_id", record().record_id)
    assert reading["measurements"] == [{"quantity": "fill_level", "value": 83.3, "unit": "%"}]
    assert list(reading) == [
        *("id", "record_id", "gateway_eui", "time", "time_quality", "time_uncertainty_ms", "dev_eui", "name", "codec"),
        *("f_port", "confirmed", "adr", "measurements", "late", "gap_before"),
    ]


def test_what_is_asked_for_by_name_leaves_with_pseudonyms_too():
    reading = left(Privacy(fields=("tags", "time"), pseudonyms=NAMES))
    assert reading["tags"] == {"kind": "glass"}
    assert list(reading) == ["id", "record_id", "gateway_eui", "time", "dev_eui", "tags"]


def test_copies_of_one_frame_from_two_gateways_keep_one_pseudonymous_id():
    ours, theirs = record(), replace(record(7), epoch="ffff")
    privacy = Privacy(pseudonyms=NAMES)
    assert left(privacy, ours)["id"] == left(privacy, theirs)["id"] == privacy.frame_id(READING)
    assert left(privacy, ours)["record_id"] != left(privacy, theirs)["record_id"]


def test_positions_are_cut_wherever_they_have_a_name():
    reading = left(Privacy(position_decimals=2, fields=("tags", "data", "measurements")), tracked())
    assert reading["tags"] == {"latitude": "43.61", "street": "Rue 12"}
    assert reading["data"] == {
        "lat": 43.61,
        "GPS": {"Longitude": "3.88", "fix": 3},
        "path": [{"lng": 3.9}],
        "n": 7.123456,
    }
    assert [measurement["value"] for measurement in reading["measurements"]] == [43.61, 1234.5678]


def test_where_positions_are_cut_what_cannot_be_cut_for_sure_stays():
    reading = left(Privacy(position_decimals=2), tracked())
    assert "data" not in reading
    assert "payload" not in reading
    assert reading["tags"]["latitude"] == "43.61"


def test_times_are_set_back_to_a_multiple():
    reading = left(Privacy(time_step_s=900), tracked())
    assert reading["time"] == "2026-11-23T08:15:00.000Z"
    assert reading["measurements"][1]["time"] == "2026-11-23T07:15:00.000Z"


def test_the_gateways_own_facts_leave_and_those_of_devices_do_not():
    privacy = Privacy(pseudonyms=NAMES)
    balance = {"heard": 2, "losses": {"by_device": [{"dev_eui": DEV_EUI, "records": 1, "first_f_cnt": 4}]}}
    told = privacy.facts("balance", balance)
    assert told == {"heard": 2, "losses": {"by_device": [{"dev_eui": NAMES.of("dev_eui", DEV_EUI), "records": 1}]}}
    assert privacy.facts(f"{DEV_EUI}/join", {"dev_eui": DEV_EUI}) is None
    assert Privacy().facts(f"{DEV_EUI}/join", {"dev_eui": DEV_EUI}) == {"dev_eui": DEV_EUI}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fields": ("mesurements",)}, "no mesurements"),
        ({"position_decimals": 8}, "0 to 7 decimals"),
        ({"position_decimals": -1}, "0 to 7 decimals"),
        ({"time_step_s": 0}, "whole seconds"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Privacy(**options)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["lat", "Longitude", "LNG"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=4) | st.just("latitude"), DATA, max_size=5),
    st.sets(st.sampled_from(FIELDS)),
    st.none() | st.integers(0, 7),
    st.none() | st.integers(1, 1 << 40),
    st.booleans(),
    st.integers(-(1 << 62), 1 << 62),
)
def test_whatever_a_codec_returns_leaves_as_one_line_with_its_ids(data, fields, decimals, step, hidden, utc_us):
    privacy = Privacy(tuple(fields), NAMES if hidden else None, decimals, step)
    one = record(decoded=Decoded("v/d@1", data, (Measurement("latitude", 1e300, "°", utc_us),)),
                 heard=replace(HEARD, utc_us=utc_us))  # fmt: skip
    line = privacy.reading_bytes(one)
    assert b"\n" not in line
    assert {*IDS} <= json.loads(line).keys()


def test_data_nested_without_end_is_cut_like_everywhere():
    deep: dict = {}
    inner = deep
    for _ in range(500):
        inner["lat"] = 1.23456
        inner["in"] = inner = {}
    reading = left(Privacy(position_decimals=1, fields=("data",)), record(decoded=Decoded("v/d@1", deep)))
    assert reading["data"]["lat"] == 1.2
