"""Published schemas that may not be copied: read where they lie beside the checkout, missed aloud where they do not."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

SHARED = Path(__file__).parents[2].parent / "shared" / "reference"
MODELS = SHARED / "smart-data-models"
COMMON = {
    "https://smart-data-models.github.io/data-models/common-schema.json": "common-schema.json",
    "https://smart-data-models.github.io/dataModel.Device/device-schema.json": "device-schema.json",
}
CONTEXTS = {
    "WasteContainer": "WasteManagement",
    "WasteContainerIsle": "WasteManagement",
    "WaterConsumptionObserved": "WaterConsumption",
    "IndoorEnvironmentObserved": "Environment",
    "Device": "Device",
    "DeviceMeasurement": "Device",
}

formats = FormatChecker(formats=())


@formats.checks("date-time", raises=ValueError)
def _is_date(text: object) -> bool:
    return not isinstance(text, str) or ("T" in text and datetime.fromisoformat(text).tzinfo is not None)


@formats.checks("uri")
def _is_uri(text: object) -> bool:
    return not isinstance(text, str) or bool(urlsplit(text).scheme)


def shared(path: str) -> Path:
    """A file of the reference material; the test is skipped where there is none."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"put the reference material beside the checkout to hold entities against {path}")
    return found


def schemas() -> dict[str, Draft202012Validator]:
    """The official JSON schema of each model that is written, by its name."""
    registry: Registry[Any] = Registry().with_resources(
        (address, Resource.from_contents(json.loads(shared(f"smart-data-models/{name}").read_text())))
        for address, name in COMMON.items()
    )
    return {
        name: Draft202012Validator(
            json.loads(shared(f"smart-data-models/{name}.schema.json").read_text()),
            registry=registry,
            format_checker=formats,
        )
        for name in CONTEXTS
    }


def terms() -> dict[str, frozenset[str]]:
    """The words that the official context of each model defines."""
    return {
        name: frozenset(json.loads(shared(f"smart-data-models/{context}.context.jsonld").read_text())["@context"])
        for name, context in CONTEXTS.items()
    }
