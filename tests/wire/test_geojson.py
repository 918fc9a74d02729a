"""Where devices are and what they said last."""

from __future__ import annotations

import json
from typing import Any

import pytest
from contract_example import HEARD, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Decoded, Measurement
from gateway.wire.geojson import LastValues
from gateway.wire.own_json import reading_json


def reading(minute: int, *measurements: Measurement, tags=None, **changes) -> dict[str, Any]:
    heard = type(HEARD)(HEARD.utc_us + minute * 60_000_000, *[getattr(HEARD, name) for name in HEARD.__slots__[1:]])
    tags = {"latitude": "43.6119", "longitude": "3.8772"} if tags is None else tags
    return reading_json(record(heard=heard, tags=tags, decoded=Decoded("v/d@1", None, measurements), **changes))


def feature(values: LastValues) -> dict[str, Any]:
    said = json.loads(values.snapshot())
    assert said["type"] == "FeatureCollection"
    [one] = said["features"]
    return one


def test_a_device_has_its_place_and_its_values():
    values = LastValues()
    assert values.take(reading(0, Measurement("fill_level", 83.3, "%")))
    found = feature(values)
    assert found["geometry"] == {"type": "Point", "coordinates": [3.8772, 43.6119]}  # RFC 7946: longitude first
    assert (found["type"], found["id"]) == ("Feature", "70b3d57ed0000001")
    assert found["properties"]["fill_level"] == 83.3
    assert found["properties"]["fill_level_unit"] == "%"
    assert found["properties"]["time"] == "2026-11-23T08:15:02.123Z"


def test_the_last_value_is_the_one_observed_last_whatever_came_last():
    values = LastValues()
    values.take(reading(10, Measurement("temperature", 20.0, "°C")))
    assert not values.take(reading(0, Measurement("temperature", 5.0, "°C")))
    assert values.take(reading(5, Measurement("humidity", 40, "%")))
    values.take(reading(20, Measurement("temperature", 1.0, "°C", HEARD.utc_us)))  # a meter's history
    properties = feature(values)["properties"]
    assert (properties["temperature"], properties["humidity"]) == (20.0, 40)
    assert properties["time"] == "2026-11-23T08:35:02.123Z"


def test_a_device_that_measures_its_place_is_there():
    values = LastValues()
    values.take(reading(0, Measurement("latitude", 1.5, "°"), Measurement("longitude", -2.5, "°")))
    assert feature(values)["geometry"]["coordinates"] == [-2.5, 1.5]


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"latitude": "43"},
        {"latitude": "here", "longitude": "3"},
        {"latitude": "91", "longitude": "3"},
        {"latitude": "nan", "longitude": "3"},
    ],
)
def test_a_device_without_a_place_has_none(tags):
    values = LastValues()
    values.take(reading(0, tags=tags))
    assert feature(values)["geometry"] is None


def test_a_snapshot_goes_on_after_a_restart():
    values = LastValues()
    values.take(reading(10, Measurement("temperature", 20.0, "°C")))
    again = LastValues.load(values.snapshot())
    assert again.snapshot() == values.snapshot()
    assert not again.take(reading(0, Measurement("temperature", 5.0, "°C")))
    assert feature(again)["properties"]["temperature"] == 20.0


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "features", "id", "properties", "geometry", "time", "tags", "measured"]), inner
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.binary(max_size=60) | JUNK.map(lambda junk: json.dumps({"features": [junk]}).encode()))
def test_any_old_snapshot_can_be_gone_on_with(content):
    values = LastValues.load(content)
    values.take(reading(0, Measurement("temperature", 5.0, "°C")))
    assert "70b3d57ed0000001" in {one["id"] for one in json.loads(values.snapshot())["features"]}
