"""Our tables against generated code: every message through chirpstack-api and google.protobuf, both ways."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.wire import chirpstack_messages as tables
from gateway.wire.protobuf import Field, Kind, Message, Unreadable, decode, encode, from_json, to_json

gw = pytest.importorskip(
    "chirpstack_api.gw", reason="no chirpstack-api here: pip install protobuf, then chirpstack-api with --no-deps"
)
json_format = pytest.importorskip("google.protobuf.json_format")
DecodeError = pytest.importorskip("google.protobuf.message").DecodeError

MESSAGES = {
    "UplinkFrame": tables.UPLINK_FRAME,
    "GatewayStats": tables.GATEWAY_STATS,
    "ConnState": tables.CONN_STATE,
    "DownlinkFrame": tables.DOWNLINK_FRAME,
    "DownlinkTxAck": tables.DOWNLINK_TX_ACK,
    "GatewayConfiguration": tables.GATEWAY_CONFIGURATION,
    "GatewayCommandExecRequest": tables.EXEC_REQUEST,
    "GatewayCommandExecResponse": tables.EXEC_RESPONSE,
}
_SECONDS = 315_576_000_000
_SCALARS = {
    Kind.UINT32: st.integers(0, (1 << 32) - 1),
    Kind.INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    Kind.BOOL: st.booleans(),
    Kind.FLOAT: st.floats(width=32, allow_nan=False),
    Kind.DOUBLE: st.floats(allow_nan=False),
    Kind.STRING: st.text(max_size=8),
    Kind.BYTES: st.binary(max_size=12),
    Kind.TIMESTAMP: st.integers(-62_135_596_800 * 10**9, 253_402_300_799_999_999_999),
    Kind.DURATION: st.integers(-_SECONDS * 10**9, _SECONDS * 10**9),
}


def value_of(field: Field):
    if field.is_map:
        key, value = field.message.fields
        return st.dictionaries(_SCALARS[key.kind], _SCALARS[value.kind], min_size=1, max_size=3)
    one = _SCALARS.get(field.kind)
    if field.kind is Kind.MESSAGE:
        one = values_of(field.message)
    elif field.kind is Kind.ENUM:
        one = st.sampled_from(sorted(field.words, key=field.words.get))
    return st.lists(one, min_size=1, max_size=3) if field.repeated else one


@st.composite
def values_of(draw, message: Message):
    fields = [field for field in message.fields if draw(st.booleans())]
    chosen = draw(st.sampled_from([field for field in fields if field.one_of] or [None]))
    return {field.name: draw(value_of(field)) for field in fields if not field.one_of or field is chosen}


@pytest.mark.parametrize("name", MESSAGES)
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_we_write_they_read_and_what_they_write_we_read(name, data):
    table, theirs = MESSAGES[name], getattr(gw, name)()
    values = data.draw(values_of(table))
    theirs.ParseFromString(encode(table, values))
    as_json = json_format.MessageToDict(theirs)
    assert _plain(from_json(table, as_json)) == _plain(from_json(table, to_json(table, values))) == _plain(values)
    assert json_format.ParseDict(to_json(table, values), type(theirs)()) == theirs
    assert decode(table, theirs.SerializeToString()) == decode(table, encode(table, values))
    assert type(theirs).FromString(encode(table, decode(table, theirs.SerializeToString()))) == theirs


@pytest.mark.parametrize("name", MESSAGES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_bytes_that_they_read_we_read_as_the_same(name, data):
    table, theirs = MESSAGES[name], getattr(gw, name)
    good = encode(table, data.draw(values_of(table)))
    cut = data.draw(st.integers(0, len(good)))
    mangled = good[:cut] + data.draw(st.binary(max_size=6)) + good[cut + data.draw(st.integers(0, 3)) :]
    try:
        ours = decode(table, mangled)
    except Unreadable:
        return  # stricter is allowed: groups, which nobody writes, and text of other fields
    try:
        expected = theirs.FromString(mangled)
    except DecodeError:
        return  # a legacy field that they know and we pass over
    expected.DiscardUnknownFields()
    known = decode(table, expected.SerializeToString())
    assert _plain(known) == _plain(ours)


def _plain(value):
    """Comparable: NaN equals itself, a default is as good as nothing."""
    match value:
        case dict():
            return {key: plain for key, item in value.items() if (plain := _plain(item)) not in _NOTHING}
        case list():
            return [_plain(item) for item in value]
        case float() if math.isnan(value):
            return "NaN"
    return value


_NOTHING = (0, "", b"", [], "CR_UNDEFINED", "NO_CRC", "OFFLINE", "IGNORED", "UNKNOWN", "REGULATION_UNKNOWN", False)


def test_every_word_of_every_enum_is_theirs():
    for table, enum in ((tables.CODE_RATES, gw.CodeRate), (tables.TX_ACK_STATUSES, gw.TxAckStatus)):
        assert table == dict(enum.items())


def test_every_field_number_and_name_is_theirs():
    def compare(table: Message, descriptor) -> None:
        for field in table.fields:
            theirs = descriptor.fields_by_name[field.name]
            assert (theirs.number, theirs.json_name) == (field.number, field.camel)
            if field.kind is Kind.MESSAGE:
                compare(field.message, theirs.message_type)
            if field.kind is Kind.ENUM:
                known = {value.name: value.number for value in theirs.enum_type.values}
                assert field.words.items() <= known.items()

    for name, table in MESSAGES.items():
        compare(table, getattr(gw, name).DESCRIPTOR)
