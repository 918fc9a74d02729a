"""Where devices are and what they said last: a GeoJSON FeatureCollection (RFC 7946), one feature a device.

Last is by the time of observation: a value that arrives late does not replace a newer one. What leaves of a reading has
been decided before; a device whose position does not leave has none here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.wire.own_json import json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEPT: Final = ("name", "tags", "time", "time_quality", "gateway_eui", "codec", "problem")
_MOST_BYTES: Final = 256 << 20


class LastValues:
    """What each device said last."""

    def __init__(self) -> None:
        self._features: dict[str, dict[str, Any]] = {}

    @classmethod
    def load(cls, content: bytes) -> LastValues:
        """Go on with a snapshot that was written before; one that makes no sense is an empty one."""
        values = cls()
        try:
            said = orjson.loads(content) if len(content) <= _MOST_BYTES else None
        except ValueError:
            return values
        features = said.get("features") if isinstance(said, dict) else None
        for feature in features if isinstance(features, list) else ():
            if isinstance(feature, dict) and isinstance(feature.get("id"), str) and _properties(feature) is not None:
                values._features[feature["id"]] = feature
        return values

    def take(self, reading: Mapping[str, Any]) -> bool:
        """A reading as it leaves (our own JSON); whether it changed anything."""
        device = str(reading["dev_eui"])
        before = self._features.get(device, {})
        properties = dict(_properties(before) or {})
        when = str(reading.get("time") or "")
        newer = when >= str(properties.get("time") or "")
        if newer:
            properties |= {key: reading[key] for key in _KEPT if key in reading}
        measured = dict(properties.get("measured") or {}) if isinstance(properties.get("measured"), dict) else {}
        changed = newer
        for one in reading.get("measurements") or ():
            quantity, moment = one["quantity"], str(one.get("time") or when)
            if moment >= str(measured.get(quantity, "")):
                measured[quantity], properties[quantity] = moment, one["value"]
                properties[f"{quantity}_unit"] = one["unit"]
                changed = True
        properties["measured"] = measured
        geometry = _point(properties) or before.get("geometry")
        self._features[device] = {"type": "Feature", "id": device, "geometry": geometry, "properties": properties}
        return changed

    def forget(self, device: str) -> bool:
        """Leave a device out from now on; whether it was there."""
        return self._features.pop(device, None) is not None

    def __contains__(self, device: str) -> bool:
        return device in self._features

    def snapshot(self) -> bytes:
        """The file."""
        features = [self._features[device] for device in sorted(self._features)]
        return json_bytes({"type": "FeatureCollection", "features": features}) + b"\n"


def _properties(feature: Mapping[str, Any]) -> dict[str, Any] | None:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else None


def _point(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a device measures of its own place, before what the tags say of it."""
    tags = properties.get("tags")
    for place in (properties, tags if isinstance(tags, dict) else {}):
        latitude, longitude = _degrees(place.get("latitude"), 90), _degrees(place.get("longitude"), 180)
        if latitude is not None and longitude is not None:
            return {"type": "Point", "coordinates": [longitude, latitude]}
    return None


def _degrees(value: object, most: float) -> float | None:
    try:
        degrees = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return degrees if abs(degrees) <= most else None
