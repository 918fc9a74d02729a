"""What Home Assistant is told of a device's quantities.

Sources: home-assistant.io, "MQTT Discovery", "MQTT Sensor", "MQTT Binary sensor"; which unit and which state class go
with which device class, homeassistant/components/sensor/const.py (2025.10) in the table below. Templates are rendered
by Jinja, which is what Home Assistant uses.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jinja2
import pytest
from contract_example import GATEWAY_EUI, record
from foreign_samples import any_reading
from hypothesis import given, settings

from gateway.decoding.quantities import QUANTITIES, Kind
from gateway.model import Decoded, DevEui, Measurement, Record, Removed
from gateway.wire.home_assistant import HomeAssistant
from gateway.wire.own_json import reading_json
from gateway.wire.own_topics import OwnWords
from gateway.wire.privacy import Privacy

UNITS = {
    "temperature": "°C", "atmospheric_pressure": "hPa", "humidity": "%", "battery": "%", "carbon_dioxide": "ppm",
    "volatile_organic_compounds_parts": "ppb", "volatile_organic_compounds": "μg/m³", "pm25": "μg/m³", "pm10": "μg/m³",
    "illuminance": "lx", "distance": "mm", "water": "m³", "volume_flow_rate": "m³/h", "energy": "kWh", "power": "W",
    "voltage": "V", "sound_pressure": "dB", "signal_strength": "dB", "aqi": None,
}  # fmt: skip
TOTALS = {"water", "energy"}  # their state class is a total, all others measure
BINARY = {"battery", "cold", "heat", "moisture", "motion", "plug", "problem", "safety", "tamper"}


def decoded(*measurements: Measurement) -> Decoded:
    return Decoded("heyliot/heywaste@1", {}, measurements)


def explained(*measurements: Measurement, words: OwnWords | None = None, **changes) -> dict[str, dict]:
    words = words or OwnWords(GATEWAY_EUI, home_assistant=HomeAssistant("homeassistant", "lorawan"))
    *configs, up = words.of_record(record(decoded=decoded(*measurements), **changes))
    assert up.topic == "lorawan/0016c001ff10a235/70b3d57ed0000001/up"
    assert all(config.retain and not config.needed for config in configs)
    return {config.topic: json.loads(config.payload) for config in configs}


def value_of(quantity) -> object:
    return {Kind.NUMBER: 1.5, Kind.BOOL: True, Kind.TEXT: "free"}[quantity.kind]


def test_a_quantity_is_an_entity():
    ((topic, config),) = explained(Measurement("fill_level", 83.3, "%")).items()
    assert topic == "homeassistant/sensor/lorawan_70b3d57ed0000001/fill_level/config"
    assert config.pop("value_template")
    assert config == {
        "name": "Fill level",
        "unique_id": "lorawan_70b3d57ed0000001_fill_level",
        "state_topic": "lorawan/+/70b3d57ed0000001/up",
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "availability": [
            {
                "topic": "lorawan/+/status",
                "value_template": "{{ value_json.state }}",
                "payload_available": "online",
                "payload_not_available": "offline",
            }
        ],
        "device": {
            "identifiers": ["lorawan_70b3d57ed0000001"],
            "name": "PAV Antigone 12",
            "serial_number": "70b3d57ed0000001",
            "manufacturer": "heyliot",
            "model": "heywaste",
        },
        "origin": {"name": "lorawan-edge-gateway"},
    }


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_every_quantity_of_the_vocabulary_has_a_class_its_unit_fits(quantity):
    ((topic, config),) = explained(Measurement(quantity.name, value_of(quantity), quantity.unit)).items()
    prefix, component, node, name, last = topic.split("/")
    assert (prefix, last) == ("homeassistant", "config")
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in (node, name))
    device_class, unit, state_class = (
        config.get(key) for key in ("device_class", "unit_of_measurement", "state_class")
    )
    if quantity.kind is Kind.BOOL:
        assert component == "binary_sensor"
        assert (unit, state_class) == (None, None)
        assert device_class is None or device_class in BINARY
        return
    assert component == "sensor"
    assert (state_class is None) is (quantity.kind is Kind.TEXT)
    if device_class is not None:
        assert unit == UNITS[device_class]
        assert (state_class == "total_increasing") is (device_class in TOTALS)


def test_what_was_explained_is_not_explained_again_until_a_new_connection():
    words = OwnWords(GATEWAY_EUI, home_assistant=HomeAssistant("homeassistant", "lorawan"))
    fill, battery = Measurement("fill_level", 83.3, "%"), Measurement("battery", 80, "%")
    assert len(explained(fill, words=words)) == 1
    assert explained(fill, words=words) == {}
    assert [topic.split("/")[-2] for topic in explained(fill, battery, words=words)] == ["battery"]
    assert len(explained(fill, battery, words=words, name="PAV Antigone 13")) == 2
    (status,) = words.greeting()
    assert status.topic == "lorawan/0016c001ff10a235/status"
    assert len(explained(fill, battery, words=words)) == 2


def test_two_gateways_explain_a_device_in_the_same_words():
    fill = Measurement("fill_level", 83.3, "%")
    other = OwnWords(replace_gateway(), home_assistant=HomeAssistant("homeassistant", "lorawan"))
    *configs, _ = other.of_record(replace(record(decoded=decoded(fill)), gateway_eui=replace_gateway()))
    assert {config.topic: json.loads(config.payload) for config in configs} == explained(fill)


def replace_gateway():
    return type(GATEWAY_EUI)(bytes(8))


def test_history_alone_is_no_entity_and_a_hidden_name_stays_hidden():
    assert explained(Measurement("volume", 1.5, "m3", time_us=1)) == {}
    hiding = OwnWords(
        GATEWAY_EUI, privacy=Privacy(fields=("measurements",)), home_assistant=HomeAssistant("homeassistant", "lorawan")
    )
    ((_, config),) = explained(Measurement("volume", 1.5, "m3"), words=hiding).items()
    assert config["device"] == {
        "identifiers": ["lorawan_70b3d57ed0000001"],
        "name": "70b3d57ed0000001",
        "serial_number": "70b3d57ed0000001",
    }


def test_with_the_device_its_entities_go():
    words = OwnWords(GATEWAY_EUI, home_assistant=HomeAssistant("homeassistant", "lorawan"))
    topics = explained(Measurement("fill_level", 1, "%"), Measurement("leak", value=True, unit=""), words=words).keys()
    dev_eui = DevEui.parse("70b3d57ed0000001")
    gone = words.of_happening(Removed(dev_eui))
    assert {message.topic for message in gone} == topics
    assert all(message.retain and message.payload == b"" for message in gone)
    assert words.of_happening(Removed(dev_eui)) == []


@pytest.mark.parametrize(
    ("measurements", "quantity", "rendered"),
    [
        ([Measurement("fill_level", 83.3, "%")], "fill_level", "83.3"),
        ([Measurement("distance", 900, "mm")], "fill_level", None),
        ([Measurement("volume", 2.5, "m3"), Measurement("volume", 1.5, "m3", time_us=1)], "volume", "2.5"),
        ([Measurement("volume", 1.5, "m3", time_us=1)], "volume", None),
        ([Measurement("leak", value=True, unit="")], "leak", "ON"),
        ([Measurement("leak", value=False, unit="")], "leak", "OFF"),
        ([Measurement("occupancy", "free", "")], "occupancy", "free"),
    ],
)
def test_the_template_takes_the_value_of_now_or_nothing(measurements, quantity, rendered):
    sample = value_of(QUANTITIES[quantity])
    ((_, config),) = explained(Measurement(quantity, sample, QUANTITIES[quantity].unit)).items()
    template = jinja2.Environment(autoescape=False).from_string(config["value_template"])
    found = template.render(value_json=json.loads(json.dumps(reading_json(record(decoded=decoded(*measurements))))))
    assert found == (rendered or "")


@settings(deadline=None, max_examples=150)
@given(reading=any_reading)
def test_whatever_a_codec_says_can_be_explained(reading):
    words = OwnWords(GATEWAY_EUI, home_assistant=HomeAssistant("homeassistant", "lorawan"))
    for message in words.of_record(Record(GATEWAY_EUI, "0badcafe", 1, reading)):
        assert json.loads(message.payload)
        assert not set("+# ") & set(message.topic)
