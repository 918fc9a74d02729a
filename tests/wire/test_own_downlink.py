"""What counts as a request for a downlink, and what is said of one that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.own_downlink import DownlinkAsked, NoDownlink, downlink_asked, read_downlink


def test_bytes_or_values():
    assert read_downlink(b'{"f_port": 2, "payload": "01FF", "confirmed": true, "ref": "a"}') == DownlinkAsked(
        2, b"\x01\xff", None, confirmed=True, ref="a"
    )
    assert read_downlink(b'{"data": {"valve": "open"}, "expires_after_s": 60}') == DownlinkAsked(
        None, None, {"valve": "open"}, expires_after_s=60.0
    )


def test_what_waits_may_be_cleared_before_or_without_a_new_one():
    assert read_downlink(b'{"f_port": 2, "payload": "01", "clear": true}') == DownlinkAsked(
        2, b"\x01", None, clear=True
    )
    alone = read_downlink(b'{"clear": true, "ref": "a"}')
    assert (alone, alone.clears_only) == (DownlinkAsked(None, None, None, ref="a", clear=True), True)
    assert not read_downlink(b'{"data": {}, "clear": true}').clears_only


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({}, "either payload"),
        ({"payload": "01", "data": {}, "f_port": 1}, "either payload"),
        ({"payload": "01"}, "needs an f_port"),
        ({"payload": "0", "f_port": 1}, "hex digits"),
        ({"payload": 12, "f_port": 1}, "hex digits"),
        ({"payload": "", "f_port": 0}, "from 1 to 223"),
        ({"payload": "", "f_port": 224}, "from 1 to 223"),
        ({"payload": "", "f_port": True}, "from 1 to 223"),
        ({"data": [1]}, "data is a JSON object"),
        ({"payload": "", "f_port": 1, "confirmed": "yes"}, "true or false"),
        ({"payload": "", "f_port": 1, "clear": 1}, "clear is true or false"),
        ({"f_port": 1, "clear": True}, "either payload"),
        ({"clear": False}, "either payload"),
        ({"payload": "", "f_port": 1, "expires_after_s": 0}, "more than 0"),
        ({"payload": "", "f_port": 1, "expires_after_s": "1h"}, "number of seconds"),
        ({"payload": "", "f_port": 1, "ref": ""}, "ref is a text"),
        ({"payload": "", "f_port": 1, "fport": 2}, "unknown: fport"),
    ],
)
def test_each_mistake_is_named(facts, problem):
    with pytest.raises(NoDownlink, match=problem):
        downlink_asked(facts)


def test_a_refusal_names_whom_to_tell():
    with pytest.raises(NoDownlink) as refused:
        downlink_asked({"ref": "valve-12", "payload": "zz", "f_port": 1})
    assert refused.value.ref == "valve-12"


@given(st.binary(max_size=200))
def test_noise_is_refused_in_words(content):
    try:
        asked = read_downlink(content)
    except NoDownlink as error:
        assert str(error)  # noqa: PT017
    else:
        assert (asked.payload is None) != (asked.data is None)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["f_port", "payload", "data", "confirmed", "ref", "expires_after_s", "other"]), _values
    )
)
def test_any_json_object_is_a_request_or_refused(facts):
    try:
        asked = downlink_asked(json.loads(json.dumps(facts)))
    except NoDownlink:
        return
    assert asked.payload is None or asked.f_port in range(1, 224)
