"""The JSON that platforms read: the published example to the letter, and whatever codecs return."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from contract_example import EXAMPLE, HEARD, READING, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Decoded, Fsk, Lora, LrFhss, Measurement, TimeQuality
from gateway.wire.own_json import FIELDS, IDS, json_bytes, reading_bytes, reading_json, rfc3339


def test_the_published_example_comes_out_to_the_letter_and_in_its_order():
    written = reading_bytes(record()).decode()
    assert json.dumps(json.loads(written)) == json.dumps(json.loads(EXAMPLE))


def test_every_key_is_in_the_list_that_settings_offer():
    assert tuple(reading_json(record())) == FIELDS
    assert set(IDS) < set(FIELDS)


def test_what_is_unknown_is_null_and_not_left_out():
    bare = record(
        heard=replace(HEARD, quality=TimeQuality.UNSYNCED, uncertainty_ms=None),
        f_port=None,
        payload=b"",
        tags={},
        decoded=Decoded(problem="no codec is set for this device"),
        snr_db=None,
    )
    seen = json.loads(reading_bytes(bare))
    assert tuple(seen) == FIELDS
    unknown = {key for key, value in seen.items() if value is None}
    assert unknown == {"time_uncertainty_ms", "f_port", "codec", "data"}
    assert seen["problem"] == "no codec is set for this device"
    assert (seen["time_quality"], seen["payload"], seen["tags"], seen["measurements"]) == ("unsynced", "", {}, [])
    assert seen["radio"]["snr_db"] is None


def test_late_and_gap_reach_the_platform():
    seen = json.loads(reading_bytes(record(late=True, gap_before=3)))
    assert (seen["late"], seen["gap_before"]) == (True, 3)


@pytest.mark.parametrize(
    ("modulation", "written"),
    [
        (
            Lora(12, 500_000, None),
            {"modulation": "LORA", "spreading_factor": 12, "bandwidth_hz": 500_000, "coding_rate": None},
        ),
        (Fsk(50_000), {"modulation": "FSK", "bit_rate": 50_000, "deviation_hz": None}),
        (
            LrFhss(137_000, "4/6", 52),
            {"modulation": "LR_FHSS", "operating_channel_width_hz": 137_000, "coding_rate": "4/6", "grid_steps": 52},
        ),
    ],
)
def test_each_modulation_has_the_fields_that_fit_it(modulation, written):
    radio = json.loads(reading_bytes(record(modulation=modulation)))["radio"]
    frame = {"frequency_hz", "rssi_dbm", "snr_db", "channel", "rf_chain"}
    assert {key: value for key, value in radio.items() if key not in frame} == written


def test_a_measurement_says_its_time_only_when_it_is_older_than_the_frame():
    history = Decoded(
        "lynx/meter@2",
        {},
        (
            Measurement("volume", 12.5, "m3", time_us=1_795_392_000_000_000),  # date -u -d @1795392000
            Measurement("leak", value=True, unit=""),
        ),
    )
    assert json.loads(reading_bytes(record(decoded=history)))["measurements"] == [
        {"quantity": "volume", "value": 12.5, "unit": "m3", "time": "2026-11-23T00:00:00.000Z"},
        {"quantity": "leak", "value": True, "unit": ""},
    ]


@pytest.mark.parametrize(
    ("utc_us", "text"),
    [
        # GNU date: date -u -d @SECONDS +%Y-%m-%dT%H:%M:%S
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_999_999, "2000-02-29T00:00:00.999Z"),
        (1_795_421_702_000_001, "2026-11-23T08:15:02.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000_000, "9999-12-31T23:59:59.999Z"),
        (-(1 << 70), "0001-01-01T00:00:00.000Z"),
        (1 << 70, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_utc_to_the_millisecond(utc_us, text):
    assert rfc3339(utc_us) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_reads_back_to_its_millisecond(moment):
    utc_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    assert datetime.fromisoformat(rfc3339(utc_us)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_chosen_fields_leave_and_the_ids_always_do():
    seen = json.loads(reading_bytes(record(), ("measurements", "time")))
    assert list(seen) == ["id", "record_id", "gateway_eui", "time", "dev_eui", "measurements"]
    whole = json.loads(reading_bytes(record()))
    assert all(whole[key] == value for key, value in seen.items())


def test_tags_may_be_a_read_only_view():
    assert json.loads(reading_bytes(record(tags=MappingProxyType({"kind": "glass"}))))["tags"] == {"kind": "glass"}


@pytest.mark.parametrize(
    ("returned", "written"),
    [
        ({"temperature": float("nan"), "ok": 1}, {"temperature": None, "ok": 1}),
        ({"counter": 10**20}, {"counter": 1e20}),  # JavaScript prints this number without exponent
        ({"counter": 10**400}, {"counter": None}),
        ({"name": "cut \ud83d"}, {"name": "cut \N{REPLACEMENT CHARACTER}"}),
        ({"cut \udc00": 1}, {"cut \N{REPLACEMENT CHARACTER}": 1}),
        ({"name": "\ud83d\ude00", "n": 1 << 64}, {"name": "😀", "n": 2.0**64}),
        ({1: "one", None: "none"}, {"1": "one", "None": "none"}),
        ({"raw": b"\x01\xff"}, {"raw": "01ff"}),
        ({"set": {7}, "tuple": (1, float("inf"))}, {"set": [7], "tuple": [1, None]}),
        ({"odd": 1j}, {"odd": "1j"}),
    ],
)
def test_what_json_has_no_word_for_does_not_cost_the_reading(returned, written):
    seen = json.loads(reading_bytes(record(decoded=replace(READING.decoded, data=returned))))
    assert seen["data"] == written
    assert seen["id"] == "6f1c…"


def test_nesting_without_end_is_cut():
    endless: dict[str, object] = {}
    endless["again"] = endless
    assert json_bytes(endless).count(b"again") == 64


def test_half_characters_in_a_device_name_do_not_stop_it():
    assert json.loads(reading_bytes(record(name="PAV \udcff")))["name"] == "PAV \N{REPLACEMENT CHARACTER}"


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())) | st.integers(), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(ANYTHING, st.text(st.characters(exclude_categories=())))
def test_no_data_and_no_name_can_stop_a_reading(data, name):
    written = reading_bytes(record(name=name, decoded=replace(READING.decoded, data={"x": data})))
    seen = json.loads(written)
    assert tuple(seen) == FIELDS
    assert b"\n" not in written
    assert (seen["payload"], seen["f_cnt"]) == ("1101f4", 42)


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(1 << 63), (1 << 64) - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_proper_json_comes_back_as_it_was(value):
    assert json.loads(json_bytes(value)) == value
