"""What Orion's answers mean, what its entities say, and that nothing in either is too strange to be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ngsi_ld import JSON

from gateway.wire.http_answer import Answer
from gateway.wire.ngsi_v2 import (
    Verdict,
    attributes_of,
    entities_of,
    entity_time,
    history_verdict,
    time_of,
    unescape,
    verdict,
)


def answer(status, body=None):
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {}, content)


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        # Recorded on Orion 4.7.0-next (tests/delivery/orion-v2-observed.jsonl), but for those of a proxy.
        (answer(204), Verdict.TAKEN),
        (answer(200, b"<html>portal</html>"), Verdict.LATER),
        (answer(400, {"error": "BadRequest", "description": "Invalid characters in attribute value"}), Verdict.REFUSED),
        (answer(400, {"error": "ParseError", "description": "Errors found in incoming JSON buffer"}), Verdict.REFUSED),
        (answer(400, b"<html>nginx</html>"), Verdict.LATER),
        (answer(401), Verdict.LOGIN),
        (answer(403, {"error": "x"}), Verdict.LATER),
        (answer(404, {"error": "NotFound"}), Verdict.LATER),
        (answer(409, {"error": "TooManyResults"}), Verdict.REFUSED),
        (answer(411, {"error": "ContentLengthRequired"}), Verdict.LATER),
        (answer(413, {"error": "RequestEntityTooLarge"}), Verdict.TOO_LARGE),
        (answer(413, {"error": "NoResourcesAvailable"}), Verdict.REFUSED),
        (answer(413, b"<html>nginx</html>"), Verdict.TOO_LARGE),
        (answer(415, {"error": "UnsupportedMediaType"}), Verdict.LATER),
        (answer(422, {"error": "Unprocessable"}), Verdict.REFUSED),
        (answer(429), Verdict.LATER),
        (answer(500, {"error": "InternalServerError"}), Verdict.STUMBLED),
        (answer(502), Verdict.LATER),
        (answer(503), Verdict.LATER),
    ],
)
def test_what_each_answer_means(said, meaning):
    assert verdict(said) is meaning


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        (answer(200), Verdict.TAKEN),
        (answer(400, {"error": "x"}), Verdict.REFUSED),
        (answer(413), Verdict.TOO_LARGE),
        (answer(500, {"error": "x"}), Verdict.LATER),
        (answer(404), Verdict.LATER),
    ],
)
def test_what_a_history_store_answers(said, meaning):
    assert history_verdict(said) is meaning


@settings(deadline=None)
@given(JSON, st.integers(200, 599))
def test_no_answer_is_too_strange(said, status):
    assert verdict(answer(status, said)) in Verdict
    assert history_verdict(answer(status, said)) in Verdict
    try:
        entities = entities_of(said)
    except ValueError:
        return
    for one in entities:
        attributes = attributes_of(one)
        entity_time(attributes)
        for attribute in attributes.values():
            time_of(attribute)


@given(st.text())
def test_text_of_others_is_read_whatever_it_looks_like(text):
    assert isinstance(unescape(text), str)
