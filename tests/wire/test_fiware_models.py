"""Readings as entities of the Smart Data Models: valid by their schemas, named by people's tags, silent at home."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from contract_example import GATEWAY_EUI, HEARD, READING
from hypothesis import given, settings
from hypothesis import strategies as st
from orion_double import check_entity
from reference import schemas, shared, terms

from gateway.decoding.quantities import QUANTITIES
from gateway.decoding.quantities import Kind as ValueKind
from gateway.model import Decoded, Fsk, Measurement
from gateway.wire.fiware_models import (
    OWN_ATTRIBUTES,
    Model,
    Rules,
    gateway_observation,
    is_personal,
    model_of,
    observations,
)
from gateway.wire.ngsi import key_values
from gateway.wire.ngsi_v2 import entity_json, escape, escape_name, unescape
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

PLACE = {"latitude": "43.6108", "longitude": "3.8767"}
PLAIN = Rules()


def measured(*said, tags=PLACE, **changes):
    measurements = tuple(
        Measurement(quantity, value, unit, HEARD.utc_us + when[0] * 1_000_000 if when else None)
        for quantity, value, unit, *when in said
    )
    return replace(READING, tags=tags, decoded=Decoded("a/b@1", {}, measurements), **changes)


def entities(reading, rules=PLAIN) -> dict[str, dict]:
    """The last state of each entity, by type (and quantity)."""
    found = {}
    for one in observations(reading, rules):
        name = one.entity_type
        if name is Model.DEVICE_MEASUREMENT:
            name = f"{name} {one.attributes['controlledProperty'].value}"
        found.setdefault(name, {}).update(key_values(one))
    return found


# --- which model


@pytest.mark.parametrize(
    ("kind", "quantities", "model"),
    [
        ("glass", (), Model.WASTE_CONTAINER),
        ("Household ", ("temperature",), Model.WASTE_CONTAINER),
        ("bio-waste", (), Model.WASTE_CONTAINER),
        ("museum-room", ("temperature",), Model.INDOOR_ENVIRONMENT),
        ("water-meter", ("volume",), Model.WATER_CONSUMPTION),
        ("outdoor", ("temperature", "humidity"), Model.DEVICE),
        (None, ("fill_level", "temperature"), Model.WASTE_CONTAINER),
        ("something", ("volume", "leak"), Model.WATER_CONSUMPTION),
        (None, ("volume", "energy"), Model.DEVICE),
        (None, ("temperature", "humidity"), Model.INDOOR_ENVIRONMENT),
        (None, ("co2",), Model.INDOOR_ENVIRONMENT),
        (None, ("temperature",), Model.DEVICE),
        (None, (), Model.DEVICE),
    ],
)
def test_the_tag_says_the_model_and_else_the_quantities(kind, quantities, model):
    assert model_of(kind, quantities) is model


def test_a_container_with_everything_that_tags_can_say():
    tags = {
        **PLACE, "kind": "cardboard", "entity_id": "PAV-0412-verre", "category": "underground, ground", "isle": "A12",
    }  # fmt: skip
    found = entities(measured(("fill_level", 83.3, "%"), ("tilt", True, ""), ("fire", False, ""), tags=tags))
    assert found["WasteContainer"] == {
        "id": "urn:ngsi-ld:WasteContainer:PAV-0412-verre",
        "type": "WasteContainer",
        "fillingLevel": 0.833,
        "status": "dropped",
        "storedWasteKind": "paper",
        "category": ["underground", "ground"],
        "refDevice": ["urn:ngsi-ld:Device:70b3d57ed0000001"],
        "refWasteContainerIsle": "urn:ngsi-ld:WasteContainerIsle:A12",
        "name": "PAV Antigone 12",
        "location": {"type": "Point", "coordinates": [3.8767, 43.6108]},
    }
    assert found["WasteContainerIsle"]["id"] == "urn:ngsi-ld:WasteContainerIsle:A12"
    assert found["Device"]["controlledAsset"] == ["urn:ngsi-ld:WasteContainer:PAV-0412-verre"]


def test_a_room():
    said = [("temperature", 19.8, "°C"), ("humidity", 53, "%"), ("light", 50, "lx"), ("co2", 612, "ppm")]
    tags = {**PLACE, "placement": "northWall", "height_m": "1.6", "point_of_interest": "musee-a"}
    room = entities(measured(*said, tags=tags))["IndoorEnvironmentObserved"]
    assert room["dateObserved"] == "2026-11-23T08:15:02.123Z"
    assert (room["temperature"], room["relativeHumidity"], room["illuminance"], room["co2"]) == (19.8, 0.53, 50, 612)
    assert (room["sensorPlacement"], room["sensorHeight"]) == ("northWall", 1.6)
    assert room["refPointOfInterest"] == "urn:ngsi-ld:PointOfInterest:musee-a"


def test_a_meter_counts_whole_litres_and_its_history_stands_at_its_times():
    said = [("volume", 191.051257, "m3"), ("volume", 190.9, "m3", -3600), ("burst", True, ""), ("backflow", False, "")]
    found = [one for one in observations(measured(*said), PLAIN) if one.entity_type is Model.WATER_CONSUMPTION]
    assert [one.time_ms for one in found] == [HEARD.utc_us // 1000 - 3_600_000, HEARD.utc_us // 1000]
    assert [one.attributes["waterConsumption"].value for one in found] == [190_900, 191_051]
    now = key_values(found[1])
    assert (now["alarmStopsLeaks"], now["alarmWaterQuality"], now["alarmInProgress"]) == (1, 0, 1)
    assert "alarmTamper" not in now


def test_what_no_model_has_a_word_for_is_a_measurement_of_its_own():
    found = entities(measured(("external_temperature_2", -18.5, "°C"), ("occupancy", "free", "")))
    assert found["DeviceMeasurement externalTemperature2"] == {
        "id": "urn:ngsi-ld:DeviceMeasurement:70b3d57ed0000001:external_temperature_2",
        "type": "DeviceMeasurement",
        "numValue": -18.5,
        "unit": "CEL",
        "controlledProperty": "externalTemperature2",
        "measurementType": "externalTemperature2",
        "refDevice": "urn:ngsi-ld:Device:70b3d57ed0000001",
        "dateObserved": "2026-11-23T08:15:02.123Z",
    }
    assert found["DeviceMeasurement occupancy"]["textValue"] == "free"


def test_the_device_itself():
    device = entities(measured(("battery", 87, "%"), ("temperature", 20, "°C"), tags={}))["Device"]
    assert device == {
        "id": "urn:ngsi-ld:Device:70b3d57ed0000001",
        "type": "Device",
        "batteryLevel": 0.87,
        "rssi": -97,
        "loraSnr": 5.2,
        "loraDataRate": "SF7BW125",
        "loraFCnt": 42,
        "deviceState": "ok",
        "dateLastValueReported": "2026-11-23T08:15:02.123Z",
        "controlledProperty": ["temperature"],
        "deviceCategory": ["sensor"],
        "supportedProtocol": ["lora"],
        "serialNumber": "70B3D57ED0000001",
        "name": "PAV Antigone 12",
    }


def test_a_frame_that_nobody_could_read_still_says_that_the_device_lives():
    reading = replace(READING, decoded=Decoded(problem="no codec"), modulation=Fsk(50_000), snr_db=None)
    (device,) = observations(reading, PLAIN)
    assert device.attributes["deviceState"].value == "undecoded"
    assert device.attributes["loraDataRate"].value == "FSK50000"
    assert "loraSnr" not in device.attributes


def test_a_device_with_a_wrong_clock_cannot_speak_of_tomorrow():
    (meter, _) = observations(measured(("volume", 1, "m3", 86_400)), PLAIN)
    assert meter.time_ms == HEARD.utc_us // 1000


@pytest.mark.parametrize("place", [{"latitude": "north"}, {"longitude": "3"}, {"latitude": "91", "longitude": "3"}, {}])
def test_a_place_that_is_none_is_left_out(place):
    assert "location" not in entities(measured(("fill_level", 1, "%"), tags=place))["WasteContainer"]


# --- what households may expect

KEY = Pseudonyms(b"a key of sixteen bytes or more")
HIDDEN = Rules(privacy=Privacy(pseudonyms=KEY))


def test_a_household_has_neither_name_nor_place():
    found = entities(measured(("volume", 1.5, "m3")))
    assert found["WaterConsumptionObserved"]["id"] == "urn:ngsi-ld:WaterConsumptionObserved:70b3d57ed0000001"
    for one in found.values():
        assert not {"name", "location"} & one.keys()


def test_under_a_key_nothing_says_whose_meter_it_is():
    reading = measured(("volume", 1.5, "m3"), ("flow", 0.1, "m3/h"), tags={**PLACE, "entity_id": "rue Foch 12"})
    text = json.dumps([entity_json(one) for one in observations(reading, HIDDEN)])
    for secret in ("70b3d57ed0000001", "70B3D57ED0000001", "Antigone", "Foch", "43.6", "rssi", "loraFCnt"):
        assert secret not in text
    assert {one.entity_id.rpartition("flow")[0] or one.entity_id for one in observations(reading, HIDDEN)} == {
        f"urn:ngsi-ld:{model}:{KEY.of('dev_eui', '70b3d57ed0000001')}{tail}"
        for model, tail in (("WaterConsumptionObserved", ""), ("Device", ""), ("DeviceMeasurement", ":"))
    }


def test_the_key_is_for_households_and_containers_keep_their_names():
    found = entities(measured(("fill_level", 1, "%")), HIDDEN)
    assert found["WasteContainer"]["id"] == "urn:ngsi-ld:WasteContainer:70b3d57ed0000001"
    assert found["WasteContainer"]["name"] == "PAV Antigone 12"


@pytest.mark.parametrize(
    ("privacy", "model", "personal"),
    [
        (None, Model.WATER_CONSUMPTION, True),
        ("public", Model.WATER_CONSUMPTION, False),
        ("personal", Model.INDOOR_ENVIRONMENT, True),
        (None, Model.WASTE_CONTAINER, False),
    ],
)
def test_what_is_personal(privacy, model, personal):
    assert is_personal({} if privacy is None else {"privacy": privacy}, model) is personal


def test_only_what_the_settings_let_out():
    fields = Rules(location=False, privacy=Privacy(fields=("time", "measurements")))
    found = entities(measured(("fill_level", 1, "%")), fields)
    assert not {"name", "location", "storedWasteKind"} & found["WasteContainer"].keys()
    assert not {"rssi", "loraFCnt", "serialNumber", "name"} & found["Device"].keys()
    cut = Rules(privacy=Privacy(position_decimals=1, time_step_s=3600))
    (container, _) = observations(measured(("fill_level", 1, "%")), cut)
    assert container.attributes["location"].value == (3.9, 43.6)
    assert key_values(observations(measured(("co2", 1, "ppm")), cut)[0])["dateObserved"] == "2026-11-23T08:00:00.000Z"


def test_an_id_names_one_thing_whatever_the_template():
    found = observations(measured(("fill_level", 1, "%"), ("flow", 1, "m3/h")), Rules("urn:x:{dev_eui}"))
    assert len({one.entity_id for one in found}) == len(found) == 3


# --- valid, whatever comes


def value_of(quantity):
    match quantity.kind:
        case ValueKind.BOOL:
            return st.booleans()
        case ValueKind.TEXT:
            return st.sampled_from(("free", "occupied", "l'eau (1) <2>", ""))
        case _:
            low, high = max(quantity.low, -1e9), min(quantity.high, 1e9)
            return st.one_of(st.floats(low, high), st.integers(round(low), round(high)), st.just(float("nan")))


@st.composite
def readings(draw):
    names = draw(st.lists(st.sampled_from(sorted(QUANTITIES)), max_size=6))
    said = [
        (name, draw(value_of(QUANTITIES[name])), QUANTITIES[name].unit, *draw(st.sampled_from(((), (-60,), (7200,)))))
        for name in names
    ]
    tags = draw(
        st.dictionaries(
            st.sampled_from(("kind", "entity_id", "category", "isle", "waste", "placement", "height_m", "privacy")),
            st.one_of(st.sampled_from(("glass", "water-meter", "museum-room", "ground,other", "1.5")), st.text()),
        )
    )
    name = draw(st.text())
    place = draw(st.sampled_from((PLACE, {}, {"latitude": "x", "longitude": "1e999"})))
    return measured(*said, tags={**tags, **place}, name=name)


@settings(deadline=None, max_examples=150)
@given(reading=readings(), rules=st.sampled_from((PLAIN, HIDDEN, Rules(location=False))))
def test_every_entity_is_valid_by_the_official_schemas_and_taken_by_orion(reading, rules):
    official, words = schemas(), terms()
    for one in observations(reading, rules):
        entity = key_values(one)
        problems = [
            problem
            for problem in official[one.entity_type].iter_errors({**entity, "id": escape_name(one.entity_id)})
            # Where no tag says the place, whoever made the entity on the platform may have: what we append keeps it.
            if not (problem.validator == "required" and "location" in problem.message and "location" not in entity)
            # A cold store is below 0 °C, which the model of rooms forbids and people want to know.
            and not (problem.validator == "minimum" and problem.json_path == "$.temperature")
        ]
        assert problems == []
        assert entity.keys() - {"id", "type"} <= words[one.entity_type] | OWN_ATTRIBUTES
        if len(one.entity_id) < 200:
            written = json.loads(json.dumps(entity_json(one)))
            check_entity(written)
            for name, attribute in one.attributes.items():
                if isinstance(attribute.value, str):
                    assert unescape(written[name]["value"]) == attribute.value


def test_the_gateway_is_valid_too():
    facts = {"state": "online", "gateway_name": "Musée Fabre, toit", "version": "1.0", "radio": {"state": "listening"}}
    own = gateway_observation(GATEWAY_EUI, facts, HEARD.utc_us // 1000, (3.87, 43.61))
    assert list(schemas()["Device"].iter_errors(key_values(own))) == []
    assert own.entity_id == "urn:ngsi-ld:Device:lorawan-gateway:0016c001ff10a235"


@given(st.text())
def test_escaping_is_undone(text):
    assert unescape(escape(text)) == text
    assert unescape(escape_name(text)) == text


EXAMPLES = {
    "waste-container": ("WasteContainer", {"kind": "glass", "category": "underground"}, ("fill_level", 62, "%")),
    "water-meter": ("WaterConsumptionObserved", {"water_type": "cold"}, ("volume", 191.051, "m3")),
    "museum-room": ("IndoorEnvironmentObserved", {"placement": "northWall"}, ("humidity", 53, "%")),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_attributes_are_written_as_in_the_examples_that_a_real_orion_took(name):
    model, tags, said = EXAMPLES[name]
    example = json.loads(shared(f"fiware/examples/{name}.json").read_text())["ngsiV2"]
    when = replace(HEARD, utc_us=1_795_169_700_000_000)  # date -u -d 2026-11-20T10:15:00Z +%s
    reading = measured(said, tags={**tags, "entity_id": example["id"]}, heard=when)
    (written,) = [entity_json(one) for one in observations(reading, PLAIN) if one.entity_type == model]
    compared = written.keys() & example.keys() - {"refDevice"}
    assert {"id", "type", "TimeInstant"} < compared
    assert {key: written[key] for key in compared} == {key: example[key] for key in compared}
