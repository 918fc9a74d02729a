"""Datagrams of Semtech's UDP protocol, and what becomes of bytes that are none. Sources: semtech_samples.py."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semtech_samples import EUI, HEARD, RXPK, TXPK, packet, txpk

from gateway.model import DownlinkRequest, GatewayEui
from gateway.wire.semtech_udp import (
    Fault,
    Malformed,
    PullAck,
    PullData,
    PullResp,
    PushAck,
    PushData,
    TxAck,
    TxAnswer,
    parse,
    read_push,
    read_tx_ack,
    read_txpk,
)

# --- datagrams ---

DATAGRAMS = [
    # the worked example
    ("02a1b20000" + "16c001f1500812" + RXPK.hex(), PushData(2, b"\xa1\xb2", EUI, RXPK)),
    ("02a1b201", PushAck(2, b"\xa1\xb2")),
    ("02172c02" + "0016c001f1500812", PullData(2, b"\x17\x2c", EUI)),
    ("02172c04", PullAck(2, b"\x17\x2c")),
    ("02d20403" + TXPK.hex(), PullResp(2, b"\xd2\x04", TXPK)),
    ("02d20405" + "0016c001f1500812", TxAck(2, b"\xd2\x04", EUI)),
    (
        "02d20405" + "0016c001f1500812" + b'{"txpk_ack":{"error":"TOO_LATE"}}'.hex(),
        TxAck(2, b"\xd2\x04", EUI, b'{"txpk_ack":{"error":"TOO_LATE"}}'),
    ),
    # Gateway Bridge: push_data_test.go, pull_data_test.go, pull_resp_test.go, packets_test.go, tx_ack_test.go
    ("027b0000" + "0102030405060708" + "7b7d", PushData(2, b"\x7b\0", GatewayEui(bytes(range(1, 9))), b"{}")),
    ("027b0002" + "0102030405060708", PullData(2, b"\x7b\0", GatewayEui(bytes(range(1, 9))))),
    ("027b00037b7d", PullResp(2, b"\x7b\0", b"{}")),
    ("02010304", PullAck(2, b"\x01\x03")),
    ("027b0005" + "0807060504030201" + "00", TxAck(2, b"\x7b\0", GatewayEui(bytes(range(8, 0, -1))), b"\0")),
    # The Things Stack: packet_test.go, version 1 without JSON
    ("01000000" + "0102030405060708", PushData(1, b"\0\0", GatewayEui(bytes(range(1, 9))), b"")),
]


@pytest.mark.parametrize(("hexed", "message"), DATAGRAMS)
def test_each_message_reads_and_writes_the_same_bytes(hexed, message):
    datagram = bytes.fromhex(hexed)
    assert parse(datagram) == message
    assert message.encode() == datagram


def test_the_worked_example_has_the_lengths_its_author_counted():
    assert len(PushData(2, b"\xa1\xb2", EUI, RXPK).encode()) == 247
    assert len(DATAGRAMS[6][1].encode()) == 45


@pytest.mark.parametrize("version", [1, 2])
def test_an_acknowledgement_repeats_version_and_token_as_they_came(version):
    assert PushData(version, b"\xa1\xb2", EUI, b"not json").ack().encode() == bytes([version, 0xA1, 0xB2, 1])
    assert PullData(version, b"\xa1\xb2", EUI).ack().encode() == bytes([version, 0xA1, 0xB2, 4])


@pytest.mark.parametrize(
    ("hexed", "reason"),
    [
        ("", Malformed.SHORT),  # Gateway Bridge and The Things Stack refuse these four too
        ("020000", Malformed.SHORT),
        ("03010304", Malformed.VERSION),
        ("00000000", Malformed.VERSION),
        ("02000006" + "00" * 8, Malformed.KIND),
        ("02000000" + "00" * 7, Malformed.NO_EUI),
        ("02000002", Malformed.NO_EUI),
        ("02000005" + "00" * 7, Malformed.NO_EUI),
    ],
)
def test_what_is_no_message_is_named(hexed, reason):
    assert parse(bytes.fromhex(hexed)) == Fault(reason)


# --- anything at all ---

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
KEYS = [*packet(), "time", "tmms", "ftime", "foff", "rsig", "hpw", "fdev", "imme", "powe", "ipol", "ncrc", "prea"]


def readers_hold(json_: bytes) -> None:
    """Nothing raises, and a push that gave nothing says why."""
    content = read_push(json_, "rx", HEARD)
    assert content.frames or content.faults or content.stat is not None or b"rxpk" in json_
    for frame in content.frames:
        assert len(frame.phy) <= 255
        assert 0 <= frame.counter_us < 1 << 32
    assert isinstance(read_txpk(json_, ref="r", receiver="rx"), DownlinkRequest | Fault)
    assert isinstance(read_tx_ack(json_), TxAnswer | Fault)


@given(
    datagram=st.binary(max_size=64) | st.builds(lambda k, t: bytes([2, 0, 0, k]) + t, st.integers(0, 6), st.binary())
)
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_a_message_or_a_fault(datagram):
    message = parse(datagram)
    if isinstance(message, PushData | PullResp | TxAck):
        assert message.encode() == datagram
        readers_hold(message.json)
    elif not isinstance(message, Fault):
        assert datagram.startswith(message.encode())


@given(
    json_=st.builds(
        lambda at, value: json.dumps({"rxpk": [packet() | {at: value}, packet()]}).encode(),
        st.sampled_from(KEYS),
        JSON_VALUES,
    )
)
@settings(deadline=None, max_examples=500)
def test_any_value_under_any_key_costs_at_most_its_packet(json_):
    readers_hold(json_)
    content = read_push(json_, "rx", HEARD)
    assert 1 <= len(content.frames) <= 2
    assert len(content.frames) + len(content.faults) == 2


@given(value=JSON_VALUES, at=st.sampled_from(["rxpk", "stat", "txpk", "txpk_ack"]))
@settings(deadline=None, max_examples=200)
def test_any_value_in_place_of_the_objects_is_survived(value, at):
    readers_hold(json.dumps({at: value}).encode())


@given(
    at=st.sampled_from([key for key in KEYS if key not in ("datr", "codr")]),
    value=JSON_VALUES,
)
@settings(deadline=None, max_examples=200)
def test_any_value_in_a_downlink_is_a_request_or_a_fault(at, value):
    assert isinstance(read_txpk(txpk(**{at: value}), ref="r", receiver="rx"), DownlinkRequest | Fault)


@given(cut=st.integers(0, len(RXPK)), put=st.binary(max_size=6), skip=st.integers(0, 6))
@settings(deadline=None, max_examples=500)
def test_a_mutated_body_is_survived_and_counted(cut, put, skip):
    mutated = RXPK[:cut] + put + RXPK[cut + skip :]
    readers_hold(mutated)
    if mutated != RXPK:
        content = read_push(mutated, "rx", HEARD)
        assert content.frames or content.faults


@given(before=st.binary(max_size=40), damage=st.binary(max_size=40))
@settings(deadline=None, max_examples=300)
def test_taking_apart_arbitrary_bytes_ends(before, damage):
    good = json.dumps(packet()).encode()
    readers_hold(b'{"rxpk":[' + before + good + damage + good + b"]}")
