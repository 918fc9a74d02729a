"""NGSI-LD as written: valid by ETSI's own components, read back as it was, and every answer understood or held."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ngsi_ld_double import check_entity
from reference import formats, shared
from referencing import Registry, Resource
from test_fiware_models import HIDDEN, PLAIN, readings

from gateway.wire.fiware_models import observations
from gateway.wire.http_answer import Answer
from gateway.wire.ngsi_ld import (
    Results,
    Verdict,
    attributes_json,
    attributes_of,
    entity_id,
    entity_time,
    results_of,
    time_of,
    verdict,
)


@pytest.fixture(scope="module")
def official() -> Draft202012Validator:
    """ETSI's Entity, OpenAPI document 1.7.1, with two faults of the file mended.

    A typed date is also "any value", so `oneOf` refuses it; and what is an attribute has to be an object.
    """
    document = yaml.safe_load(shared("fiware/ngsi-ld-openapi-1.7.1.yaml").read_text(encoding="utf-8"))
    components = copy.deepcopy(document["components"])
    value = components["schemas"]["Property"]["properties"]["value"]
    value["anyOf"] = value.pop("oneOf")
    components["schemas"]["Relationship"]["type"] = "object"
    registry = Registry().with_resource("urn:etsi", Resource.opaque({"components": components}))
    return Draft202012Validator(
        {"$ref": "urn:etsi#/components/schemas/Entity"}, registry=registry, format_checker=formats
    )


@settings(deadline=None, max_examples=60)
@given(reading=readings(), rules=st.sampled_from((PLAIN, HIDDEN)))
def test_every_entity_is_valid_by_etsis_components(official, reading, rules):
    for one in observations(reading, rules):
        entity = {"id": entity_id(one), "type": str(one.entity_type), **attributes_json(one)}
        assert list(official.iter_errors(entity)) == []
        check_entity(json.loads(json.dumps(entity)))


@pytest.mark.parametrize(
    "attribute",
    [
        {"type": "Property", "value": 1, "observedAt": "yesterday"},
        {"type": "Number", "value": 1},
        {"type": "GeoProperty", "value": {"type": "Point", "coordinates": ["3", "43"]}},
        {"type": "Property", "value": 1, "unitCode": 5},
        21,
    ],
)
def test_the_components_do_refuse_what_is_wrong(official, attribute):
    assert list(official.iter_errors({"id": "urn:x:1", "type": "T", "temperature": attribute}))


@pytest.mark.parametrize("name", ["waste-container", "water-meter", "museum-room", "sensor-device", "gateway-device"])
def test_entities_of_others_are_read_as_they_are(name):
    example = json.loads(shared(f"fiware/examples/{name}.json").read_text())["ngsiLd"]
    attributes = attributes_of(example)
    assert attributes == {key: value for key, value in example.items() if isinstance(value, dict)}
    assert entity_time(attributes) == 1_795_169_700_000  # date -u -d 2026-11-20T10:15:00Z +%s


def answer(status, body=None, kind="application/json"):
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {"content-type": kind}, content)


ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (answer(201, ["urn:x:1"]), Verdict.TAKEN),
        (answer(204), Verdict.TAKEN),
        (answer(200, b"<html></html>", "text/html"), Verdict.LATER),
        (answer(207, {"success": [], "errors": []}), Verdict.MIXED),
        (answer(400, {"type": ERRORS + "BadRequestData", "title": "x"}), Verdict.REFUSED),
        (answer(400, {"type": ERRORS + "LdContextNotAvailable"}), Verdict.LATER),
        (answer(400, b"<html></html>", "text/html"), Verdict.LATER),
        (answer(400, {"error": "BadRequest"}), Verdict.LATER),
        (answer(404, {"type": ERRORS + "ResourceNotFound"}), Verdict.ABSENT),
        (answer(404, {"type": ERRORS + "NonexistentTenant"}), Verdict.LATER),
        (answer(404), Verdict.LATER),
        (answer(409, {"type": ERRORS + "AlreadyExists"}), Verdict.REFUSED),
        (answer(413), Verdict.TOO_LARGE),
        (answer(422, {"type": ERRORS + "OperationNotSupported"}), Verdict.UNKNOWN),
        (answer(501), Verdict.UNKNOWN),
        (answer(500, {"type": ERRORS + "InternalError"}), Verdict.LATER),
        (answer(503), Verdict.LATER),
        (answer(429), Verdict.LATER),
    ],
)
def test_what_each_answer_means(said, meaning):
    assert verdict(said) is meaning


def test_a_mixed_answer_is_read_by_entity():
    said = answer(
        207,
        {
            "success": ["urn:a", "urn:stranger", 5],
            "errors": [
                {"entityId": "urn:b", "error": {"type": ERRORS + "BadRequestData", "title": "no", "detail": "why"}},
                {"entityId": "No Entity::id", "error": {"title": "?"}},
                "?",
            ],
        },
    )
    assert results_of(said, ["urn:a", "urn:b", "urn:c"]) == Results(frozenset({"urn:a"}), {"urn:b": "no: why"})
    busy = answer(207, {"success": [], "errors": [{"entityId": "urn:a", "error": {"status": 503, "title": "busy"}}]})
    assert results_of(busy, ["urn:a"]).passing == "urn:a: busy"


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
)
RESULTS = st.fixed_dictionaries({"success": JSON, "errors": st.one_of(JSON, st.lists(JSON))})


@settings(deadline=None)
@given(st.one_of(JSON, RESULTS), st.integers(200, 599))
def test_no_answer_is_too_strange(said, status):
    one = answer(status, said)
    assert verdict(one) in Verdict
    try:
        results = results_of(one, ["urn:a"])
    except ValueError:
        return
    assert results.taken <= {"urn:a"}


@given(JSON)
def test_no_attribute_is_too_strange(said):
    time_of(said)
    if isinstance(said, dict):
        attributes_of(said)
        entity_time(said)
