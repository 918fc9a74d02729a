"""The NATS protocol: what servers say, whole and in pieces, and what they do not."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats_servers import NatsKey

from gateway.wire import nats
from gateway.wire.nats import ApiError, Info, MalformedNats, Message, Objection, Parser, Signal
from gateway.wire.nkeys import read_credentials, read_seed

# Words of nats-server 2.9 and of the documentation of the client protocol and of JetStream's API.
SAID = (
    b'INFO {"server_id":"NB","version":"2.9.10","headers":true,"max_payload":1048576,"nonce":"x-y","tls_required":true}'
    b"\r\n+OK\r\nPING\r\npong\r\n"
    b"MSG _INBOX.1 9 11\r\nHello World\r\n"
    b"MSG _INBOX.1 9 reply.to 0\r\n\r\n"
    b"HMSG _INBOX.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"HMSG _INBOX.2 1 re 22 25\r\nNATS/1.0\r\nA: b\r\nC:d\r\n\r\n\r\r\n"
    b"-ERR 'Authorization Violation'\r\n"
    b"-ERR 'Permissions Violation for Publish to \"lorawan.x\"'\r\n"
)
MEANT = [
    Info(1_048_576, headers=True, tls_required=True, nonce="x-y", version="2.9.10"),
    Signal.OK,
    Signal.PING,
    Signal.PONG,
    Message("_INBOX.1", b"Hello World"),
    Message("_INBOX.1", b""),
    Message("_INBOX.2", b"", 503),
]


def heard(*pieces: bytes) -> list[nats.Event]:
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_what_a_server_says_is_understood():
    head, tail = SAID[: SAID.index(b"HMSG _INBOX.2 1 re")], SAID[SAID.index(b"-ERR") :]
    assert heard(head) == MEANT
    refusals = heard(tail)
    assert refusals == [
        Objection("Authorization Violation"),
        Objection('Permissions Violation for Publish to "lorawan.x"'),
    ]
    assert [refusal.subject for refusal in refusals] == [None, "lorawan.x"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_it_does_not_matter_how_the_bytes_come(cuts):
    said, pieces, start = SAID[: SAID.index(b"HMSG _INBOX.2 1 re")], [], 0
    for cut in cuts:
        pieces.append(said[start : start + cut])
        start += cut
    assert heard(*pieces, said[start:]) == MEANT


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "nothing that a NATS server says"),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n", "nothing that a NATS server says"),
        (b"x" * 70_000, "a line of more than"),
        (b"MSG\r\n", "a message announced by"),
        (b"MSG a 1 -1\r\n", "a message announced by"),
        (b"MSG a 1 99999999999\r\n", "a message announced by"),
        (b"MSG a 1 99999999\r\n", "a message of 99999999 bytes"),
        (b"HMSG a 1 12 4\r\n", "12 of them headers"),
        (b"MSG a 1 1\r\nabc\r\n", "does not end where it says"),
        (b"INFO {\r\n", "no JSON"),
        (b"INFO 1\r\n", "no object"),
    ],
)
def test_what_is_not_nats_is_told(said, words):
    with pytest.raises(MalformedNats, match=words):
        heard(said)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([b"\r\n", b"MSG a 1 2\r\nxx\r\n", b"HMSG a 1 4 6\r\n", b"INFO {}", b"-ERR '", b"PING\r\n"]),
        max_size=30,
    )
)
def test_any_bytes_are_events_or_malformed(pieces):
    events: list[nats.Event] = []
    with suppress(MalformedNats):
        events = heard(*pieces)
    assert all(event.text.isprintable() for event in events if isinstance(event, Objection))


@settings(deadline=None)
@given(
    st.binary(max_size=60) | st.sampled_from([b"[]", b'{"error":1}', b'{"error":{}}', b'{"error":{"err_code":"x"}}'])
)
def test_any_answer_is_read_or_malformed(payload):
    try:
        said = nats.read_answer(Message("a", payload))
    except MalformedNats:
        return
    assert isinstance(said, dict | ApiError)


def test_a_refusal_of_jetstream_has_its_code_and_its_words():
    # As nats-server 2.9.10 answers a request for a stream that is not there.
    refused = b'{"type":"x","error":{"code":404,"err_code":10059,"description":"stream not found"}}'
    assert nats.read_answer(Message("a", refused)) == ApiError(10059, "stream not found")
    taken = {"stream": "LORAWAN", "seq": 7}
    assert nats.read_answer(Message("a", b'{"stream":"LORAWAN","seq":7}')) == taken


def test_a_publication_counts_its_bytes():
    assert nats.publish("a.b", "_INBOX.1", b"", b"xy") == b"PUB a.b _INBOX.1 2\r\nxy\r\n"
    fields = nats.headers({"Nats-Msg-Id": "6f1c"})
    assert fields == b"NATS/1.0\r\nNats-Msg-Id: 6f1c\r\n\r\n"
    assert nats.publish("a", "r", fields, b"xy") == b"HPUB a r 31 33\r\n" + fields + b"xy\r\n"
    with pytest.raises(ValueError, match="no line break"):
        nats.headers({"A": "b\r\nNats-Msg-Id: other"})


# --- keys


def test_a_seed_is_read_back():
    key = NatsKey("U")
    assert read_credentials(f"\n{key.seed}\n").seed == read_seed(key.seed)
    assert (
        read_credentials(f"-----BEGIN USER NKEY SEED-----\r\n{key.seed}\r\n------END USER NKEY SEED------").jwt is None
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no USER NKEY SEED"),
        ("-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------", "holds no USER NKEY SEED"),
        ("lower case", "no base32"),
        ("AAAA", "damaged"),
        (NatsKey("O").seed, "no user's"),
    ],
    ids=["nothing", "a token alone", "lower case", "damaged", "an operator's key"],
)
def test_credentials_that_are_none_are_told_and_not_shown(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_credentials(text)
    assert not text or text not in str(caught.value)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_credentials_or_a_sentence(text):
    problem = "holds something"
    try:
        read_credentials(text)
    except ValueError as error:
        problem = str(error)
    assert problem.startswith("holds ")
