"""What privacy keeps back leaves in nobody's words: every message of every format is searched for it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace

import pytest
from foreign_samples import DEVICE, FRAME, GATEWAY_EUI, HEARD, moved, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import (
    Decoded,
    DevAddr,
    DevEui,
    DownlinkRefused,
    DownlinkState,
    Joined,
    Measurement,
    Position,
    PositionSource,
    Removed,
)
from gateway.regions.eu868 import EU868
from gateway.wire.chirpstack_events import ChirpstackWords, frame_uuid
from gateway.wire.home_assistant import HomeAssistant
from gateway.wire.own_topics import OwnWords
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms
from gateway.wire.ttn_events import TtnWords

NAMES = Pseudonyms(b"a key for this test")
PLACE = lambda: Position(52.512345, 13.256789, 40.0, PositionSource.SETTINGS)  # noqa: E731 - asked each time
PAYLOAD = bytes.fromhex("c0ffee11ca5a")
TAGS = {"latitude": "43.611912", "longitude": "3.877234", "street": "Rue des Lilas", "area": "Beaux-Arts"}
KEPT = record(
    name="dupont-meter",
    tags=TAGS,
    payload=PAYLOAD,
    dev_addr=DevAddr(0x26011BDA),
    f_cnt=54321,
    decoded=Decoded("acme/probe@2", {"owner": "Dupont", "lat": 43.611912}, (Measurement("level", 2.5, "m"),), ("W17",)),
)
FAILED = replace(KEPT, reading=replace(KEPT.reading, decoded=Decoded("acme/probe@2", None, problem="E42 in Dupont")))
METER = replace(DEVICE, name="dupont-meter", tags=TAGS)
HAPPENINGS = (
    Joined(METER, DevAddr(0x26011BDA), FRAME),
    replace(moved(DownlinkState.QUEUED), device=METER),
    replace(moved(DownlinkState.SENT, f_cnt=12, attempts=1), device=METER),
    replace(moved(DownlinkState.ACKNOWLEDGED, confirmed=True, f_cnt=12, attempts=1), device=METER),
    replace(moved(DownlinkState.FAILED, reason="no place"), device=METER),
    DownlinkRefused(METER, "a", "the codec cannot encode this", HEARD),
    Removed(METER.dev_eui),
)
FACTS = {
    "dev_eui": str(METER.dev_eui), "dev_addr": "26011bda", "name": "dupont-meter", "tags": TAGS,
    "time": "2026-11-23T10:00:00.123Z", "radio": {"rssi_dbm": -87.25},
}  # fmt: skip

FORMATS = {
    "gateway": lambda privacy: OwnWords(
        GATEWAY_EUI, privacy=privacy, home_assistant=HomeAssistant("homeassistant", "lorawan")
    ),
    "chirpstack": lambda privacy: ChirpstackWords(GATEWAY_EUI, EU868, "wells", location=PLACE, privacy=privacy),
    "ttn": lambda privacy: TtnWords(GATEWAY_EUI, "wells", location=PLACE, privacy=privacy),
}
every_format = pytest.mark.parametrize("words", FORMATS.values(), ids=FORMATS)

# What shows each part of a reading, in any of the formats.
SIGNS = {
    "dev_addr": [b"26011bda"],
    "name": [b"dupont-meter"],
    "tags": [b"Lilas", b"Beaux-Arts"],
    "codec": [b"acme/probe"],
    "f_cnt": [b"54321"],
    "payload": [PAYLOAD.hex().encode(), b64encode(PAYLOAD)],
    "data": [b'"Dupont"'],
    "warnings": [b"W17"],
    "problem": [b"E42"],
    "radio": [b"868100000", b"0Vovww", b"52.51"],
}
DEVICE_ITSELF = [METER.dev_eui.hex().encode(), KEPT.record_id.encode(), KEPT.reading.frame_id[:12].encode()]
DEVICE_ITSELF += [frame_uuid(KEPT.reading.frame_id).encode(), b"70b3d57ed0000000"]


def said(words) -> bytes:
    messages = [*words.greeting(), *words.of_record(KEPT), *words.of_record(FAILED)]
    for happening in HAPPENINGS:
        messages += words.of_happening(happening)
    messages += filter(None, [words.of_gateway(f"{METER.dev_eui}/join", FACTS), words.of_gateway("status", {})])
    return b"\n".join(message.topic.encode() + b" " + message.payload for message in messages)


def shows(text: bytes, signs) -> list[bytes]:
    return [sign for sign in signs if re.search(re.escape(sign), text, re.IGNORECASE)]


def test_the_signs_are_those_by_which_each_part_is_known():
    everything = [said(words(Privacy())) for words in FORMATS.values()]
    for signs in [*SIGNS.values(), DEVICE_ITSELF]:
        for sign in signs:
            assert any(shows(text, [sign]) for text in everything), sign


@every_format
@settings(deadline=None, max_examples=40)
@given(st.sets(st.sampled_from([*SIGNS, "time", "measurements"]), min_size=1))
def test_what_is_not_chosen_is_in_no_message(words, fields):
    text = said(words(Privacy(tuple(fields))))
    assert not {part: found for part, signs in SIGNS.items() if part not in fields and (found := shows(text, signs))}


@every_format
@pytest.mark.parametrize("fields", [(), ("time", "data", "payload"), tuple(Privacy().keys)])
def test_under_a_pseudonym_no_message_names_the_device(words, fields):
    text = said(words(Privacy(fields, NAMES)))
    assert shows(text, DEVICE_ITSELF) == []
    assert shows(text, [b"dupont-meter"]) == []
    assert NAMES.of("dev_eui", str(METER.dev_eui)).encode() in text.lower()
    if not fields:
        assert not any(shows(text, SIGNS[part]) for part in ("dev_addr", "tags", "payload", "data", "radio", "f_cnt"))


@every_format
def test_nobody_asks_a_pseudonym_for_a_downlink(words):
    assert words(Privacy(pseudonyms=NAMES)).asking == ()


@every_format
def test_positions_and_times_are_cut_in_every_message(words):
    text = said(words(Privacy(("time", "data", "tags", "radio"), position_decimals=1, time_step_s=86_400)))
    assert shows(text, [b"43.61", b"3.87", b"52.51", b"13.25", b"10:00:00"]) == []
    assert b"43.6" in text


def test_a_removed_device_is_forgotten_under_the_name_it_was_explained_by():
    words = FORMATS["gateway"](Privacy(pseudonyms=NAMES))
    explained = {message.topic for message in words.of_record(KEPT) if message.retain}
    gone = words.of_happening(Removed(METER.dev_eui))
    assert {message.topic for message in gone} == explained != set()


def test_a_pseudonym_is_a_dev_eui_like_any_other():
    (message,) = FORMATS["ttn"](Privacy(("time", "data"), NAMES)).of_record(KEPT)
    ids = json.loads(message.payload)["end_device_ids"]
    assert DevEui.parse(ids["dev_eui"]) == DevEui.parse(NAMES.of("dev_eui", str(METER.dev_eui)))
    assert ids["device_id"] == f"eui-{ids['dev_eui'].lower()}"
