"""Our events as those projects' own schemas read them.

ChirpStack: generated code of chirpstack-api, strict (unknown names are errors). The Things Stack: the JSON schema of
its published API, made strict here: a name it does not have is an error, too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from foreign_samples import DEVICE, FRAME, GATEWAY_EUI, HEARD, any_reading, moved, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from gateway.model import (
    Decoded,
    DevAddr,
    DownlinkRefused,
    DownlinkState,
    Joined,
    Measurement,
    Position,
    PositionSource,
    Record,
)
from gateway.regions import region_named
from gateway.wire.chirpstack_events import ChirpstackWords
from gateway.wire.ttn_events import TtnWords

PLACE = lambda: Position(52.5, 13.25, 40.0, PositionSource.SETTINGS)  # noqa: E731 - asked each time
CHIRPSTACK = ChirpstackWords(GATEWAY_EUI, region_named("EU868"), "wells", location=PLACE)
TTN = TtnWords(GATEWAY_EUI, "wells", location=PLACE)
STATUS = record(
    phy=bytes.fromhex("400403020183010006fe0a0a5a0b11223344"),
    decoded=Decoded("a/b@1", {"x": [1, None]}, (Measurement("link_margin", 3, "dB"), Measurement("battery", 9, "%"))),
    tags={"latitude": "43.6", "longitude": "3.9"},
)
HAPPENINGS = [
    Joined(DEVICE, DevAddr(0x26011BDA), FRAME),
    moved(DownlinkState.QUEUED),
    moved(DownlinkState.SENT, f_cnt=12, attempts=1),
    moved(DownlinkState.QUEUED, confirmed=True, attempts=1, f_cnt=12, reason="not acknowledged"),
    moved(DownlinkState.ACKNOWLEDGED, confirmed=True, f_cnt=12, attempts=1),
    moved(DownlinkState.FAILED, confirmed=True, attempts=8, f_cnt=19, reason="not acknowledged, 8 times"),
    moved(DownlinkState.FAILED, reason="60 bytes, at most 51 at SF12"),
    moved(DownlinkState.EXPIRED, reason="not sent within 60 s"),
    DownlinkRefused(DEVICE, "a my-id", "the codec cannot encode this", HEARD),
]
KEPT = [record(), record(late=True), STATUS, record(decoded=Decoded("a/b@1", None, problem="why"), f_port=0)]


def all_messages(words):
    for kept in KEPT:
        yield from words.of_record(kept)
    for happening in HAPPENINGS:
        yield from words.of_happening(happening)


# --- ChirpStack


@pytest.fixture(scope="module")
def parse_chirpstack():
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

    def parse(message):
        """The event; what was said beside it, in nobody's schema, is an error. So is a scalar left out of it."""
        kind = kinds[message.topic.rpartition("/")[2]]
        event = json_format.Parse(message.payload, kind())
        facts = json.loads(message.payload)
        for part, descriptor in ((facts, kind.DESCRIPTOR), (facts["deviceInfo"], event.device_info.DESCRIPTOR)):
            scalars = {field.json_name for field in descriptor.fields if not field.has_presence}
            assert scalars <= part.keys()
        return event

    return parse


def test_chirpstack_s_own_code_reads_every_event(parse_chirpstack):
    seen = set()
    for message in all_messages(CHIRPSTACK):
        event = parse_chirpstack(message)
        seen.add(type(event).__name__)
        assert event.device_info.dev_eui == "0102030405060708"
    assert seen == {"UplinkEvent", "JoinEvent", "StatusEvent", "AckEvent", "TxAckEvent", "LogEvent"}


def test_chirpstack_s_own_code_understands_what_was_meant(parse_chirpstack):
    event = parse_chirpstack(CHIRPSTACK.of_record(record())[0])
    (rx_info,) = event.rx_info
    assert event.time.ToMicroseconds() == rx_info.gw_time.ToMicroseconds() == HEARD.utc_us
    assert (event.data, event.f_port, event.f_cnt, event.dr, event.adr) == (b"\x01\x00", 10, 1, 5, True)
    assert dict(event.object) == {"level_m": 2.56, "count": 12.0}
    assert (rx_info.rssi, rx_info.snr, rx_info.channel, rx_info.rf_chain) == (-87, 9.5, 2, 1)
    assert int.from_bytes(rx_info.context, "big") == 3_512_348_611
    assert (rx_info.location.latitude, rx_info.crc_status) == (52.5, 2)
    assert rx_info.time_since_gps_epoch.ToMicroseconds() == 1_479_463_218_123_456
    lora = event.tx_info.modulation.lora
    assert (event.tx_info.frequency, lora.spreading_factor, lora.bandwidth) == (868_100_000, 7, 125_000)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reading=any_reading, late=st.booleans())
def test_chirpstack_s_own_code_reads_whatever_becomes_of_a_frame(parse_chirpstack, reading, late):
    for message in CHIRPSTACK.of_record(Record(GATEWAY_EUI, "0badcafe", 1, reading, late)):
        parse_chirpstack(message)


# --- The Things Stack


@pytest.fixture(scope="module")
def ttn_schema():
    """The published schema, in which every object may have its own members only."""
    place = os.environ.get("TTN_API_SCHEMA")
    if place is None:
        pytest.skip("TTN_API_SCHEMA names no file: api.swagger.json of The Things Stack's API, 3.36 or later")
    definitions = json.loads(Path(place).read_text(encoding="utf-8"))["definitions"]
    for definition in definitions.values():
        if "properties" in definition:
            definition.setdefault("additionalProperties", False)
    validator = Draft7Validator({"$ref": "#/definitions/v3ApplicationUp", "definitions": definitions})

    def validate(facts):  # hypothesis shows what a test is given, and the schema has 150 kB
        validator.validate(facts)

    return validate


def test_the_things_stack_s_schema_takes_every_message(ttn_schema):
    seen = set()
    for message in all_messages(TTN):
        facts = json.loads(message.payload)
        ttn_schema(facts)
        seen |= facts.keys() - {"end_device_ids", "correlation_ids", "received_at"}
    assert seen == {
        *("uplink_message", "join_accept", "downlink_queued", "downlink_sent", "downlink_nack", "downlink_ack"),
        "downlink_failed",
    }


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reading=any_reading, late=st.booleans())
def test_the_things_stack_s_schema_takes_whatever_becomes_of_a_frame(ttn_schema, reading, late):
    for message in TTN.of_record(Record(GATEWAY_EUI, "0badcafe", 1, reading, late)):
        ttn_schema(json.loads(message.payload))
