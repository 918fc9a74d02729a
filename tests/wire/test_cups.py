"""CUPS. Sources: a running Station 2.0.6 (its request, the answer without change, the URI alone, its checksum of
nothing); lorawan-stack, pkg/basicstation/cups/messages_test.go (the tail of a token's credentials)."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import GatewayEui
from gateway.wire import cups
from gateway.wire.station_json import MalformedMessage

NO_CHANGE = bytes(14)
TTS_TOKEN_TAIL = bytes.fromhex("00000000417574686f72697a6174696f6e3a20746f6b656e0d0a")
CERTIFICATE = b"\x30\x03\x02\x01\x07"
EC_PKCS8_HEAD = b"\x30\x81\x87"  # 138 bytes in all: what Station's reader trips over


def answer(cups_uri=b"", tc_uri=b"", cups_blob=b"", tc_blob=b"", signature=b"", program=b""):
    return b"".join(
        struct.pack(f"<{size}", len(part)) + part
        for size, part in zip("BBHHII", (cups_uri, tc_uri, cups_blob, tc_blob, signature, program), strict=True)
    )


def test_the_question_is_that_of_a_station_with_nothing_installed():
    said = cups.write_update_info(
        GatewayEui(bytes(7) + b"\1"),
        cups_uri="https://localhost",
        tc_uri=None,
        cups=cups.Credentials(),
        tc=cups.Credentials(),
        station="2.0.6(linux/std)",
        model="linux",
        package=None,
    )
    assert json.loads(said) == {
        "router": "::1",
        "cupsUri": "https://localhost",
        "tcUri": None,
        "cupsCredCrc": 2077607535,
        "tcCredCrc": 2077607535,
        "station": "2.0.6(linux/std)",
        "model": "linux",
        "package": None,
        "keys": [],
    }


def test_fourteen_zeros_change_nothing():
    assert cups.read_update_info(NO_CHANGE) == cups.UpdateInfo(None, None, None, None)


def test_the_uri_alone():
    body = bytes([0, 0x14]) + b"wss://localhost:6038" + bytes(12)
    assert cups.read_update_info(body) == cups.UpdateInfo(None, "wss://localhost:6038", None, None)


def test_a_token_as_the_things_stack_sends_it():
    found = cups.read_credentials(CERTIFICATE + TTS_TOKEN_TAIL)
    assert found == cups.Credentials(CERTIFICATE, b"", b"Authorization: token\r\n")


def test_a_key_that_station_cannot_read_is_read():
    key = EC_PKCS8_HEAD + bytes(0x87)
    assert cups.read_credentials(CERTIFICATE * 2 + key) == cups.Credentials(CERTIFICATE, CERTIFICATE, key)


def test_a_long_certificate_and_nothing_else():
    long = b"\x30\x82\x01\x00" + bytes(range(256))
    assert cups.read_credentials(long + bytes(8)) == cups.Credentials(long)


def test_of_a_program_only_its_size_is_read():
    found = cups.read_update_info(answer(signature=bytes(72), program=b"#!/bin/sh\nreboot\n"))
    assert (found.signature_bytes, found.program_bytes) == (72, 17)


def test_credentials_do_not_show_themselves():
    assert repr(cups.Credentials(b"a", b"b", b"geheim")) == "Credentials()"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        NO_CHANGE[:-1],
        NO_CHANGE + b"\0",
        b"\xff" + NO_CHANGE,
        answer(cups_uri=b"http://cups.example"),
        answer(tc_uri=b"https://lns.example"),
        answer(tc_uri=b"wss://"),
        answer(tc_uri=b"wss://\xff"),
        answer(tc_blob=b"\x31\x00" + bytes(8)),
        answer(tc_blob=CERTIFICATE + bytes(4)),
        answer(tc_blob=b"\x30\x84\xff\xff\xff\xff" + bytes(8)),
        answer(tc_blob=b"\x30\x80" + bytes(8)),
    ],
)
def test_an_answer_that_cannot_be_is_refused_whole(body):
    with pytest.raises(MalformedMessage):
        cups.read_update_info(body)


@settings(deadline=None, max_examples=150)
@given(body=st.binary(max_size=60) | st.builds(answer, tc_blob=st.binary(max_size=40)))
def test_any_bytes_are_an_answer_or_are_refused(body):
    try:
        found = cups.read_update_info(body)
    except MalformedMessage:
        found = None
    assert found is None or isinstance(found, cups.UpdateInfo)
