"""Home Assistant's MQTT discovery: each quantity of each device as an entity, read from our own `up` messages.

Retained messages on `{prefix}/{component}/lorawan_{dev_eui}/{quantity}/config` (home-assistant.io, "MQTT Discovery").
They say where the values are, not what they are, so they are needed once; they are said again with every connection,
because a broker may have forgotten them. Wildcards stand for the gateway: whichever of several hears the device, it
stays one entity, and two gateways explain it in the same words.

A template that renders nothing leaves the entity as it is: not every message of a device carries every quantity.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.wire.foreign_json import profile_of
from gateway.wire.mqtt_message import MqttMessage
from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import DevEui, Measurement, Reading

MOST_DEVICES: Final = 100_000
"""Devices of which is remembered what was explained; beyond, everything is explained again."""

_MEASUREMENT, _INCREASING = "measurement", "total_increasing"

_UNITS: Final[Mapping[str, str | None]] = {
    "": None,
    "count": None,
    "m3": "m³",
    "m3/h": "m³/h",
    "g/m3": "g/m³",
    "mg/m3": "mg/m³",
    "µg/m3": "μg/m³",
}
"""Our units where Home Assistant writes others (homeassistant/const.py; its micro is the Greek letter)."""

_CLASS_OF_UNIT: Final[Mapping[str, str]] = {
    "°C": "temperature",
    "hPa": "atmospheric_pressure",
    "ppb": "volatile_organic_compounds_parts",
    "lx": "illuminance",
    "mm": "distance",
    "m3": "water",
    "m3/h": "volume_flow_rate",
    "kWh": "energy",
    "W": "power",
    "V": "voltage",
}
_CLASS_OF_NAME: Final[Mapping[str, str]] = {
    "battery": "battery",
    "humidity": "humidity",
    "external_humidity": "humidity",
    "co2": "carbon_dioxide",
    "tvoc_mass": "volatile_organic_compounds",
    "pm25": "pm25",
    "pm10": "pm10",
    "sound_level": "sound_pressure",
    "sound_peak": "sound_pressure",
    "link_margin": "signal_strength",
    "air_quality_index": "aqi",
}
"""`device_class` of numbers, as far as there is one for the quantity (homeassistant/components/sensor/const.py)."""

_BINARY_CLASSES: Final[Mapping[str, str]] = {
    "motion": "motion",
    "leak": "moisture",
    "tamper": "tamper",
    "low_battery": "battery",
    "external_power": "plug",
    "freezing": "cold",
    "low_temperature": "cold",
    "high_temperature": "heat",
    "fire": "safety",
    "digital_input": "",
}
"""`device_class` of flags; the others tell of trouble (homeassistant/components/binary_sensor)."""

_COUNTERS: Final = frozenset({"volume", "reverse_volume", "energy", "pulse_total"})
_OF_THE_DEVICE: Final = frozenset(
    {"battery", "battery_voltage", "low_battery", "external_power", "link_margin", "sensor_error"}
    | {"permanent_error", "temporary_error", "not_connected"}
)
_CHANNEL: Final = re.compile(r"_[0-9]{1,2}$")
_NOT_IN_TOPICS: Final = re.compile(r"[^A-Za-z0-9_-]")  # "MQTT Discovery": of object ids and node ids


class HomeAssistant:
    """Remembers what it has explained since it began anew."""

    def __init__(self, prefix: str, topic_prefix: str) -> None:
        """`prefix` is Home Assistant's own, `topic_prefix` that of our readings."""
        self._prefix = prefix
        self._topics = topic_prefix
        self._explained: dict[DevEui, tuple[str, frozenset[str]]] = {}  # the device as told, and topics

    def begin_anew(self) -> None:
        """Whoever listens now may know nothing."""
        self._explained.clear()

    def of_reading(self, reading: Reading) -> Sequence[MqttMessage]:
        """What has not been explained yet of a reading's quantities."""
        about = f"{reading.name}\n{profile_of(reading.decoded.codec)}"
        told_about, told = self._explained.get(reading.dev_eui, ("", frozenset()))
        if told_about != about:
            told = frozenset()
        fresh = {
            topic: measurement
            for measurement in reading.decoded.measurements
            if measurement.time_us is None and (topic := self._topic(reading.dev_eui, measurement)) not in told
        }
        if not fresh:
            return ()
        if len(self._explained) >= MOST_DEVICES:
            self._explained.clear()
        self._explained[reading.dev_eui] = about, told | fresh.keys()
        device = _device(reading)
        return [
            MqttMessage(topic, json_bytes(self._config(reading, measurement, device)), retain=True, needed=False)
            for topic, measurement in fresh.items()
        ]

    def forget(self, dev_eui: DevEui) -> Sequence[MqttMessage]:
        """The device is gone: empty retained messages, which remove what was explained of it."""
        _, told = self._explained.pop(dev_eui, ("", frozenset()))
        return [MqttMessage(topic, b"", retain=True, needed=False) for topic in sorted(told)]

    def _topic(self, dev_eui: DevEui, measurement: Measurement) -> str:
        component = "binary_sensor" if isinstance(measurement.value, bool) else "sensor"
        return f"{self._prefix}/{component}/{_node(dev_eui)}/{_NOT_IN_TOPICS.sub('_', measurement.quantity)}/config"

    def _config(self, reading: Reading, measurement: Measurement, device: Mapping[str, Any]) -> dict[str, Any]:
        quantity = measurement.quantity
        config = {
            "name": quantity.replace("_", " ").capitalize(),
            "unique_id": f"{_node(reading.dev_eui)}_{quantity}",
            "state_topic": f"{self._topics}/+/{reading.dev_eui}/up",
            "value_template": value_template(quantity, flag=isinstance(measurement.value, bool)),
            **_kind(measurement),
            "availability": [
                {
                    "topic": f"{self._topics}/+/status",
                    "value_template": "{{ value_json.state }}",
                    "payload_available": "online",
                    "payload_not_available": "offline",
                }
            ],
            "device": device,
            "origin": {"name": "lorawan-edge-gateway"},
        }
        if _CHANNEL.sub("", quantity) in _OF_THE_DEVICE:
            config["entity_category"] = "diagnostic"
        return config


def value_template(quantity: str, *, flag: bool) -> str:
    """Jinja that takes the quantity's newest value out of an `up`; nothing when it is not there.

    A measurement with a time of its own is history, and Home Assistant has no place for that.
    """
    value = "{{ 'ON' if m.value else 'OFF' }}" if flag else "{{ m.value }}"
    condition = f"m.quantity == '{_NOT_IN_TOPICS.sub('_', quantity)}' and m.time is not defined"
    return (
        f"{{% for m in value_json.measurements if {condition} %}}{{% if loop.last %}}{value}{{% endif %}}{{% endfor %}}"
    )


def _kind(measurement: Measurement) -> dict[str, Any]:
    base = _CHANNEL.sub("", measurement.quantity)
    if isinstance(measurement.value, bool):
        device_class = _BINARY_CLASSES.get(base, "problem")
        return {"device_class": device_class} if device_class else {}
    if isinstance(measurement.value, str):
        return {}
    kind: dict[str, Any] = {"state_class": _INCREASING if base in _COUNTERS else _MEASUREMENT}
    unit = _UNITS.get(measurement.unit, measurement.unit)
    if unit is not None:
        kind["unit_of_measurement"] = unit
    of_quantity = _CLASS_OF_NAME.get(base) or _CLASS_OF_UNIT.get(measurement.unit)
    if of_quantity is not None:
        kind["device_class"] = of_quantity
    return kind


def _device(reading: Reading) -> dict[str, Any]:
    maker, _, model = profile_of(reading.decoded.codec).partition("/")
    named = {"manufacturer": maker, "model": model, "suggested_area": reading.tags.get("area", "")}
    return {
        "identifiers": [_node(reading.dev_eui)],
        "name": reading.name or str(reading.dev_eui),
        "serial_number": str(reading.dev_eui),
        **{key: value for key, value in named.items() if value},
    }


def _node(dev_eui: DevEui) -> str:
    return f"lorawan_{dev_eui}"
