"""Readings as entities of the Smart Data Models: which model a device is, and which attribute each quantity becomes.

A device's tag `kind` says what it stands in; where it says nothing, its quantities do. Beside the entity that it
measures, every reading updates the `Device` itself, and what no model has a word for is a `DeviceMeasurement`, one for
each device and quantity. The tables below are the mapping. Relative quantities are 0 to 1 and dates UTC, as the Smart
Data Models' guideline has it; model names, attributes and words are those of their schemas (July 2026).

Tags that are understood: `kind`, `entity_id` (the city's own key of the container or room), `latitude`, `longitude`,
`waste`, `category`, `isle`, `water_type`, `placement`, `height_m`, `point_of_interest`, `privacy`.

Water meters show when people sleep and travel, and so are personal unless a tag says `privacy = "public"`: without
position and name, and under a keyed hash where the settings name a key.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Fsk, Lora
from gateway.wire.ngsi import FIRST_MS, LAST_MS, Attribute, Kind, Observation
from gateway.wire.privacy import NAMING, Privacy
from gateway.wire.unit_codes import UNIT_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.model import GatewayEui, Measurement, Reading

Values = dict[str, Any]
"""The quantities of one moment."""


class Model(StrEnum):
    """The models that readings and the gateway itself are written as."""

    WASTE_CONTAINER = "WasteContainer"
    WASTE_CONTAINER_ISLE = "WasteContainerIsle"
    WATER_CONSUMPTION = "WaterConsumptionObserved"
    INDOOR_ENVIRONMENT = "IndoorEnvironmentObserved"
    DEVICE = "Device"
    DEVICE_MEASUREMENT = "DeviceMeasurement"


# --- the tables -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """What a quantity becomes in a model."""

    attribute: str
    unit_code: str
    convert: Callable[[Any], Any]


def _same(value: float) -> float:
    return value


def _share(percent: float) -> float:
    return round(min(max(percent / 100, 0.0), 1.0), 6)


def _thousandfold(value: float) -> int:
    return round(value * 1000)


TERMS: Final[Mapping[Model, Mapping[str, Term]]] = MappingProxyType(
    {
        Model.WASTE_CONTAINER: {
            "fill_level": Term("fillingLevel", "C62", _share),
            "temperature": Term("temperature", "CEL", _same),
        },
        Model.WATER_CONSUMPTION: {
            "volume": Term("waterConsumption", "LTR", _thousandfold),  # an integer in the schema: litres, not m3
            "maximum_flow": Term("maxFlow", "E32", _thousandfold),
            "minimum_flow": Term("minFlow", "E32", _thousandfold),
        },
        Model.INDOOR_ENVIRONMENT: {
            "temperature": Term("temperature", "CEL", _same),
            "humidity": Term("relativeHumidity", "C62", _share),
            "pressure": Term("atmosphericPressure", "A97", _same),
            "light": Term("illuminance", "LUX", _same),
            "co2": Term("co2", "59", _same),  # ppm as measured: the model's mg/L would need pressure and temperature
        },
        Model.DEVICE: {
            "battery": Term("batteryLevel", "C62", _share),
        },
    }
)
"""Of each model, which quantities it has a word for. What is not here becomes a DeviceMeasurement."""

WASTE_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("glass", "verre"), "glass"),
        **dict.fromkeys(("paper", "papier", "cardboard", "carton"), "paper"),
        **dict.fromkeys(("bio-waste", "biowaste", "biodechets", "organic", "compost"), "organic"),
        **{kind: kind for kind in ("inorganic", "oil", "plastic", "metal", "batteries", "electronics", "hazardous")},
        **dict.fromkeys(("household", "residual", "packaging", "recycling", "textile", "other"), "other"),
        **dict.fromkeys(("ordures-menageres", "emballages"), "other"),
    }
)
"""Words for what is thrown in, as tags have them, to the model's `storedWasteKind`."""

KINDS: Final[Mapping[str, Model]] = MappingProxyType(
    {
        **dict.fromkeys(WASTE_KINDS, Model.WASTE_CONTAINER),
        **dict.fromkeys(("waste", "waste-container", "container", "bin", "fill-level"), Model.WASTE_CONTAINER),
        **dict.fromkeys(("water-meter", "water"), Model.WATER_CONSUMPTION),
        **dict.fromkeys(("museum-room", "museum", "room", "indoor", "hygrometry"), Model.INDOOR_ENVIRONMENT),
        **dict.fromkeys(("device", "outdoor", "weather", "heat-meter"), Model.DEVICE),
    }
)
"""Values of the tag `kind` that settle the model; the other kinds leave it to the quantities."""

_ORIGINS: Final = {"household": "household", "residual": "household", "ordures-menageres": "household"}
_CATEGORIES: Final = frozenset({"fixed", "ground", "other", "portable", "underground"})
_PLACEMENTS: Final = frozenset({"northWall", "southWall", "eastWall", "westWall", "center", "floor", "roof", "ceiling"})
_WATER_TYPES: Final = {
    "hot": "hotWater",
    "hotWater": "hotWater",
    "cold": "serviceWater",
    "serviceWater": "serviceWater",
}

# What is worst comes first: a container that burns has usually been moved too.
_STATUS: Final = (("fire", "burning"), ("tilt", "dropped"), ("tamper", "vandalized"))
_WATER_ALARMS: Final = {
    "alarmStopsLeaks": ("leak", "burst"),
    "alarmTamper": ("tamper",),
    "alarmWaterQuality": ("backflow",),  # what flows back may be foul
}
_FAULTS: Final = ("sensor_error", "permanent_error", "not_connected")

CONTROLLED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fill_level": "fillingLevel",
        "temperature": "temperature",
        "external_temperature": "temperature",
        "infrared_temperature": "temperature",
        "humidity": "humidity",
        "external_humidity": "humidity",
        "pressure": "atmosphericPressure",
        **dict.fromkeys(("co2", "tvoc", "tvoc_mass", "formaldehyde", "ozone", "pm25", "pm10"), "airPollution"),
        **dict.fromkeys(("light", "light_level"), "light"),
        **dict.fromkeys(("sound_level", "sound_peak"), "noiseLevel"),
        **dict.fromkeys(("motion", "motion_count"), "motion"),
        "movement_count": "movementActivity",
        "occupancy": "occupancy",
        **dict.fromkeys(("latitude", "longitude"), "location"),
        "volume": "waterConsumption",
        "flow": "waterFlow",
        "energy": "energy",
        "power": "power",
        "fire": "smoke",
    }
)
"""Which word of the model's list a quantity is, for `controlledProperty` of a Device that no model covers."""

# A device measures the same whether or not this frame says all of it.
_CONTROLLED_BY_MODEL: Final = {
    Model.WASTE_CONTAINER: ("fillingLevel",),
    Model.WATER_CONSUMPTION: ("waterConsumption",),
    Model.INDOOR_ENVIRONMENT: ("temperature", "humidity"),
}

OWN_ATTRIBUTES: Final = frozenset({"TimeInstant", "loraSnr", "loraDataRate", "loraFCnt", "refDevice", "serialNumber"})
"""What we say that not every model's context has a term for."""


# --- who is who -----------------------------------------------------------------------------------------------------

_DIGEST_DIGITS: Final = 32
_MOST_KEY: Final = 160  # characters of a city's own key: with the model's name before it an id stays below Orion's 256
_URN: Final = "urn:ngsi-ld:"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a destination wants its entities.

    Pseudonyms are for personal devices alone, the others keep their names: containers have to be found.
    """

    entity_id: str = "urn:ngsi-ld:{model}:{dev_eui}"
    location: bool = True
    privacy: Privacy = field(default_factory=Privacy)

    def names_of(self, dev_eui: str) -> tuple[str, ...]:
        """What a device's entities may have in their ids: its own name, and its pseudonym where there are any."""
        pseudonyms = self.privacy.pseudonyms
        return (dev_eui,) if pseudonyms is None else (dev_eui, pseudonyms.of("dev_eui", dev_eui))

    def cut(self, utc_us: int) -> int:
        """A time as this destination may see it, in milliseconds that every platform can write."""
        step_us = (self.privacy.time_step_s or 0) * 1_000_000
        shown_us = utc_us - utc_us % step_us if step_us else utc_us
        return min(max(shown_us // 1000, FIRST_MS), LAST_MS)


def model_of(kind: str | None, quantities: Iterable[str]) -> Model:
    """What a device measures: by its tag, else by what it sends; `Model.DEVICE` when neither says."""
    named = KINDS.get((kind or "").strip().lower())
    if named is not None:
        return named
    said = set(quantities)
    if "fill_level" in said:
        return Model.WASTE_CONTAINER
    if "volume" in said and "energy" not in said:  # with energy it is a heat meter
        return Model.WATER_CONSUMPTION
    if said & {"humidity", "co2"}:
        return Model.INDOOR_ENVIRONMENT
    return Model.DEVICE


def is_personal(tags: Mapping[str, str], model: Model) -> bool:
    """Whether values of this device tell of a household."""
    privacy = tags.get("privacy", "").strip().lower()
    return privacy == "personal" or (model is Model.WATER_CONSUMPTION and privacy not in {"public", "internal"})


@dataclass(frozen=True, slots=True)
class _Subject:
    """Of whom a reading speaks, and what may be said of them."""

    reading: Reading
    rules: Rules
    model: Model
    personal: bool

    @property
    def tags(self) -> Mapping[str, str]:
        """Those that may be told."""
        return self.reading.tags if self.says("tags") else {}

    @property
    def hidden(self) -> bool:
        """Whether the ids are pseudonyms."""
        return self.personal and self.rules.privacy.hides_devices

    def says(self, part: str) -> bool:
        """Whether a part of the reading (`own_json.FIELDS`) leaves."""
        fields = self.rules.privacy.fields
        return part in fields if fields else not (self.hidden and part in NAMING)

    def id_of(self, model: Model, tail: str = "") -> str:
        """The id of the device's entity of that model."""
        reading = self.reading
        key = self.rules.privacy.dev_eui(reading) if self.hidden else reading.dev_eui.hex()
        pattern = self.rules.entity_id
        if "{model}" not in pattern and model is not self.model:
            tail = f":{model}{tail}"  # an id names one thing
        return pattern.replace("{model}", model).replace("{dev_eui}", key) + tail

    @property
    def asset_id(self) -> str:
        """The id of what the device measures: the city's own where a tag has it, so that sensors can be exchanged."""
        own = self.reading.tags.get("entity_id", "").strip()
        if not own or self.hidden or self.model is Model.DEVICE:
            return self.id_of(self.model)
        return own if own.startswith("urn:") else urn(self.model, own)

    def position(self) -> dict[str, Attribute]:
        """Where it stands, as its tags say, cut as the settings want it; nothing for households."""
        if self.personal or not self.rules.location:
            return {}
        try:
            longitude, latitude = float(self.tags["longitude"]), float(self.tags["latitude"])
        except (KeyError, ValueError):
            return {}
        if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
            return {}
        decimals = self.rules.privacy.position_decimals
        point = (longitude, latitude) if decimals is None else (round(longitude, decimals), round(latitude, decimals))
        return {"location": Attribute(Kind.POINT, point)}


def urn(model: Model, key: str) -> str:
    """The id of an entity that people have a key for; a key too long for an id is told by its digest."""
    if len(key) > _MOST_KEY:
        key = hashlib.sha256(key.encode()).hexdigest()[:_DIGEST_DIGITS]
    return f"{_URN}{model}:{key}"


# --- a reading ------------------------------------------------------------------------------------------------------


def observations(reading: Reading, rules: Rules) -> list[Observation]:
    """All that a reading says, as entities: of each entity ascending in time, what it measures before the device.

    Values that are older than the frame are observations of their own; a value cannot be younger than its frame,
    whatever a device's clock says.
    """
    heard_ms = rules.cut(reading.heard.utc_us)
    model = model_of(reading.tags.get("kind"), (one.quantity for one in reading.decoded.measurements))
    subject = _Subject(reading, rules, model, is_personal(reading.tags, model))
    moments = _moments(subject, heard_ms) if subject.says("measurements") else {}
    said = {quantity for values in moments.values() for quantity in values}
    found: list[Observation] = []
    for time_ms in sorted(moments):
        found += _of_moment(subject, time_ms, moments[time_ms], now=time_ms == heard_ms)
    found += _isle(subject, heard_ms)
    found.append(_device(subject, heard_ms, moments.get(heard_ms, {}), said))
    return found


def _moments(subject: _Subject, heard_ms: int) -> dict[int, dict[str, Measurement]]:
    moments: dict[int, dict[str, Measurement]] = {}
    for measurement in subject.reading.decoded.measurements:
        if isinstance(measurement.value, float) and not math.isfinite(measurement.value):
            continue
        time_ms = heard_ms if measurement.time_us is None else min(subject.rules.cut(measurement.time_us), heard_ms)
        moments.setdefault(time_ms, {})[measurement.quantity] = measurement
    return moments


def _of_moment(
    subject: _Subject, time_ms: int, values: Mapping[str, Measurement], *, now: bool
) -> Iterator[Observation]:
    terms = TERMS[subject.model]
    plain = {quantity: measurement.value for quantity, measurement in values.items()}
    measured = {
        term.attribute: Attribute(Kind.NUMBER, term.convert(plain[quantity]), term.unit_code, measured=True)
        for quantity, term in terms.items()
        if _is_number(plain.get(quantity))
    }
    covered = set(terms) | set(TERMS[Model.DEVICE])
    match subject.model:
        case Model.WASTE_CONTAINER:
            measured |= _status(plain)
            covered |= {quantity for quantity, _ in _STATUS}
        case Model.WATER_CONSUMPTION:
            measured |= _water_alarms(plain)
            covered |= {quantity for quantities in _WATER_ALARMS.values() for quantity in quantities}
        case _:
            pass
    if measured and subject.model is not Model.DEVICE:
        described = _DESCRIBED[subject.model](subject) if now else {}
        dates = _dates(subject.model, time_ms)
        yield Observation(subject.asset_id, subject.model, time_ms, {**measured, **dates, **described})
    for quantity, measurement in values.items():
        if quantity not in covered:
            yield _measurement(subject, time_ms, measurement)


def _dates(model: Model, time_ms: int) -> dict[str, Attribute]:
    return {"dateObserved": Attribute(Kind.DATE, time_ms)} if model is Model.INDOOR_ENVIRONMENT else {}


def _status(values: Values) -> dict[str, Attribute]:
    known = [(word, values[quantity]) for quantity, word in _STATUS if isinstance(values.get(quantity), bool)]
    if not known:
        return {}
    return {"status": Attribute(Kind.TEXT, next((word for word, on in known if on), "ok"), measured=True)}


def _water_alarms(values: Values) -> dict[str, Attribute]:
    known = {
        attribute: any(values[quantity] for quantity in present)
        for attribute, quantities in _WATER_ALARMS.items()
        if (present := [quantity for quantity in quantities if isinstance(values.get(quantity), bool)])
    }
    if known:
        known["alarmInProgress"] = any(known.values())
    return {name: Attribute(Kind.NUMBER, int(on), measured=True) for name, on in known.items()}


def _measurement(subject: _Subject, time_ms: int, measurement: Measurement) -> Observation:
    word = camel_case(measurement.quantity)
    code = UNIT_CODES.get(measurement.unit, "")
    value = measurement.value
    if isinstance(value, str):
        said = {"textValue": Attribute(Kind.TEXT, value, measured=True)}
    else:
        number = int(value) if isinstance(value, bool) else value
        said = {"numValue": Attribute(Kind.NUMBER, number, code or "C62", measured=True)}
        said["unit"] = Attribute(Kind.TEXT, code or "C62")
    said |= {
        "controlledProperty": Attribute(Kind.TEXT, word),
        "measurementType": Attribute(Kind.TEXT, word),
        "refDevice": Attribute(Kind.LINK, subject.id_of(Model.DEVICE)),
        "dateObserved": Attribute(Kind.DATE, time_ms),
    }
    entity_id = subject.id_of(Model.DEVICE_MEASUREMENT, f":{measurement.quantity}")
    return Observation(entity_id, Model.DEVICE_MEASUREMENT, time_ms, said)


@lru_cache(1024)
def camel_case(quantity: str) -> str:
    """`external_temperature_2` as `externalTemperature2`."""
    first, *others = quantity.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


# --- what is so, measured or not ------------------------------------------------------------------------------------


def _container(subject: _Subject) -> dict[str, Attribute]:
    tags = subject.tags
    kind = tags.get("kind", "").strip().lower()
    waste = WASTE_KINDS.get(tags.get("waste", kind).strip().lower())
    categories = [word.strip() for word in tags.get("category", "").split(",") if word.strip() in _CATEGORIES]
    said = {"refDevice": Attribute(Kind.LINKS, (subject.id_of(Model.DEVICE),)), **subject.position(), **_name(subject)}
    if waste:
        said["storedWasteKind"] = Attribute(Kind.TEXT, waste)
    if origin := _ORIGINS.get(kind):
        said["storedWasteOrigin"] = Attribute(Kind.TEXT, origin)
    if categories:
        said["category"] = Attribute(Kind.LIST, tuple(dict.fromkeys(categories)))
    if tags.get("isle", "").strip():
        said["refWasteContainerIsle"] = Attribute(Kind.LINK, _isle_id(tags))
    return said


def _isle_id(tags: Mapping[str, str]) -> str:
    key = tags["isle"].strip()
    return key if key.startswith("urn:") else urn(Model.WASTE_CONTAINER_ISLE, key)


def _isle(subject: _Subject, time_ms: int) -> Iterator[Observation]:
    """The drop-off point of a container, where a tag names it and its place is known.

    Which containers stand there, each of them says: one cannot speak for the others.
    """
    where = subject.position()
    if subject.model is Model.WASTE_CONTAINER and where and subject.tags.get("isle", "").strip():
        yield Observation(_isle_id(subject.tags), Model.WASTE_CONTAINER_ISLE, time_ms, where, dated=False)


def _water(subject: _Subject) -> dict[str, Attribute]:
    said = {"refDevice": Attribute(Kind.LINK, subject.id_of(Model.DEVICE)), **subject.position(), **_name(subject)}
    if water := _WATER_TYPES.get(subject.tags.get("water_type", "").strip()):
        said["waterType"] = Attribute(Kind.TEXT, water)
    return said


def _room(subject: _Subject) -> dict[str, Attribute]:
    tags = subject.tags
    said = {"refDevice": Attribute(Kind.LINK, subject.id_of(Model.DEVICE)), **subject.position(), **_name(subject)}
    if (placement := tags.get("placement", "").strip()) in _PLACEMENTS:
        said["sensorPlacement"] = Attribute(Kind.TEXT, placement)
    if (height := _number(tags.get("height_m"))) is not None and height >= 0:
        said["sensorHeight"] = Attribute(Kind.NUMBER, height, "MTR")
    if point := tags.get("point_of_interest", "").strip():
        said["refPointOfInterest"] = Attribute(
            Kind.LINK, point if point.startswith("urn:") else f"{_URN}PointOfInterest:{point}"
        )
    return said


_DESCRIBED: Final[Mapping[Model, Callable[[_Subject], dict[str, Attribute]]]] = {
    Model.WASTE_CONTAINER: _container,
    Model.WATER_CONSUMPTION: _water,
    Model.INDOOR_ENVIRONMENT: _room,
}


def _name(subject: _Subject) -> dict[str, Attribute]:
    """What people call it, which may be whose it is."""
    if subject.personal or not subject.says("name") or not subject.reading.name:
        return {}
    return {"name": Attribute(Kind.TEXT, subject.reading.name)}


def _device(
    subject: _Subject, time_ms: int, values: Mapping[str, Measurement], quantities: Iterable[str]
) -> Observation:
    reading = subject.reading
    said: dict[str, Attribute] = {}
    for quantity, term in TERMS[Model.DEVICE].items():
        if quantity in values and _is_number(values[quantity].value):
            value = term.convert(values[quantity].value)
            said[term.attribute] = Attribute(Kind.NUMBER, value, term.unit_code, measured=True)
    if subject.says("radio"):
        said |= _radio(reading)
    if subject.says("f_cnt"):
        said["loraFCnt"] = Attribute(Kind.NUMBER, reading.f_cnt, measured=True)
    said["deviceState"] = Attribute(Kind.TEXT, _device_state(reading, values), measured=True)
    said["dateLastValueReported"] = Attribute(Kind.DATE, time_ms)
    properties = _CONTROLLED_BY_MODEL.get(subject.model) or sorted(
        {CONTROLLED[quantity] for quantity in quantities if quantity in CONTROLLED}
    )
    said["controlledProperty"] = Attribute(Kind.LIST, tuple(properties))
    water = subject.model is Model.WATER_CONSUMPTION
    said["deviceCategory"] = Attribute(Kind.LIST, ("meter",) if water else ("sensor",))
    said["supportedProtocol"] = Attribute(Kind.LIST, ("lora",))
    if subject.says("dev_eui") and not subject.hidden:
        said["serialNumber"] = Attribute(Kind.TEXT, reading.dev_eui.hex().upper())
    if subject.model is not Model.DEVICE:
        said["controlledAsset"] = Attribute(Kind.LINKS, (subject.asset_id,))
    said |= {**_name(subject), **subject.position()}
    return Observation(subject.id_of(Model.DEVICE), Model.DEVICE, time_ms, said)


def _radio(reading: Reading) -> dict[str, Attribute]:
    said = {"rssi": Attribute(Kind.NUMBER, reading.rssi_dbm, "DBM", measured=True)}
    if reading.snr_db is not None:
        said["loraSnr"] = Attribute(Kind.NUMBER, reading.snr_db, "2N", measured=True)
    match reading.modulation:
        case Lora(spreading_factor=factor, bandwidth_hz=bandwidth_hz):
            rate = f"SF{factor}BW{bandwidth_hz // 1000}"
        case Fsk(bit_rate=bit_rate):
            rate = f"FSK{bit_rate}"
        case _:
            rate = "LR-FHSS"
    said["loraDataRate"] = Attribute(Kind.TEXT, rate, measured=True)
    return said


def _device_state(reading: Reading, values: Mapping[str, Measurement]) -> str:
    if reading.decoded.problem is not None:
        return "undecoded"
    return "error" if any(values[fault].value is True for fault in _FAULTS if fault in values) else "ok"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# --- the gateway itself ---------------------------------------------------------------------------------------------


def gateway_observation(
    gateway_eui: GatewayEui, facts: Mapping[str, Any], time_ms: int, position: tuple[float, float] | None = None
) -> Observation:
    """The gateway as a Device, from the facts it announces; `position` is longitude and latitude."""
    radio = facts.get("radio")
    state = radio.get("state") if isinstance(radio, dict) else None
    said = {
        "controlledProperty": Attribute(Kind.LIST, ()),
        "deviceCategory": Attribute(Kind.LIST, ("network",)),
        "supportedProtocol": Attribute(Kind.LIST, ("lora", "http")),
        "serialNumber": Attribute(Kind.TEXT, gateway_eui.hex().upper()),
        "deviceState": Attribute(Kind.TEXT, str(state or facts.get("state") or "unknown"), measured=True),
        "dateLastValueReported": Attribute(Kind.DATE, time_ms),
    }
    if facts.get("gateway_name"):
        said["name"] = Attribute(Kind.TEXT, str(facts["gateway_name"]))
    if facts.get("version"):
        said["softwareVersion"] = Attribute(Kind.TEXT, str(facts["version"]))
    if position is not None:
        said["location"] = Attribute(Kind.POINT, position)
    return Observation(gateway_id(gateway_eui), Model.DEVICE, time_ms, said)


def gateway_id(gateway_eui: GatewayEui) -> str:
    """The id of the gateway's own Device."""
    return urn(Model.DEVICE, f"lorawan-gateway:{gateway_eui}")
