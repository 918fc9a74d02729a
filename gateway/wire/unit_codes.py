"""Units of the vocabulary as NGSI wants them in `unitCode`: UN/CEFACT Recommendation 20."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIT_CODES: Mapping[str, str] = MappingProxyType(
    {
        "%": "P1",
        "mm": "MMT",
        "°": "DD",
        "°C": "CEL",
        "g/m3": "A93",
        "hPa": "A97",
        "ppm": "59",
        "ppb": "61",
        "count": "C62",
        "lx": "LUX",
        "dB": "2N",
        "g": "K40",
        "m3": "MTQ",
        "m3/h": "MQH",
        "mg/m3": "GP",
        "µg/m3": "GQ",
        "V": "VLT",
        "W": "WTT",
        "kWh": "KWH",
    },
)
"""Unit of the vocabulary to its code."""
