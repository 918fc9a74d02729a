"""Those projects' own schemas, made strict, where they are at hand: what a consumer of their events parses with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

if TYPE_CHECKING:
    from collections.abc import Callable


def chirpstack_reader() -> Callable[[str, bytes | str], Any]:
    """Reads an event by its topic with the generated code of chirpstack-api; skips where that is not installed.

    What was said beside it, in nobody's schema, is an error. So is a scalar left out of it.
    """
    integration = pytest.importorskip(
        "chirpstack_api.integration.integration_pb2",
        reason="no chirpstack-api here: pip install protobuf, then chirpstack-api with --no-deps",
    )
    json_format = pytest.importorskip("google.protobuf.json_format")
    kinds = {
        "up": integration.UplinkEvent,
        "join": integration.JoinEvent,
        "status": integration.StatusEvent,
        "ack": integration.AckEvent,
        "txack": integration.TxAckEvent,
        "log": integration.LogEvent,
    }

    def read(topic: str, payload: bytes | str) -> Any:
        kind = kinds[topic.rpartition("/")[2]]
        event = json_format.Parse(payload, kind())
        facts = json.loads(payload)
        for part, descriptor in ((facts, kind.DESCRIPTOR), (facts["deviceInfo"], event.device_info.DESCRIPTOR)):
            scalars = {field.json_name for field in descriptor.fields if not field.has_presence}
            assert scalars <= part.keys()
        return event

    return read


def ttn_reader() -> Callable[[bytes | str], dict[str, Any]]:
    """Validates an ApplicationUp with The Things Stack's published schema; skips where that is not at hand.

    Every object may have its own members only.
    """
    place = os.environ.get("TTN_API_SCHEMA")
    if place is None:
        pytest.skip("TTN_API_SCHEMA names no file: api.swagger.json of The Things Stack's API, 3.36 or later")
    definitions = json.loads(Path(place).read_text(encoding="utf-8"))["definitions"]
    for definition in definitions.values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
    validator = Draft7Validator({"$ref": "#/definitions/v3ApplicationUp", "definitions": definitions})

    def read(payload: bytes | str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(payload)
        validator.validate(facts)
        return facts

    return read
