"""The Things Stack's messages.

Sources: ttn/lorawan/v3/messages.proto, metadata.proto and lorawan.proto (3.32); its documentation, "Data Formats" and
"MQTT Server" (thethingsindustries.com/docs, 3.36); topics, pkg/applicationserver/io/mqtt/topics/v3.go.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace

import pytest
from foreign_samples import DEV_EUI, DEVICE, FRAME, GATEWAY_EUI, HEARD, any_reading, moved, record
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import (
    Decoded,
    DevAddr,
    DownlinkRefused,
    DownlinkState,
    Fsk,
    Joined,
    LrFhss,
    Measurement,
    Position,
    PositionSource,
    Record,
    Removed,
    TimeQuality,
    frame_id,
)
from gateway.wire.own_downlink import DownlinkAsked, NoDownlink, read_downlink
from gateway.wire.privacy import Privacy
from gateway.wire.ttn_events import MOST_DOWNLINKS, TtnWords, device_id_of, read_downlinks

DEVICES = "v3/wells@waterworks/devices"
IDS = {
    "device_id": "well-07",
    "application_ids": {"application_id": "wells"},
    "dev_eui": "0102030405060708",
    "join_eui": "70B3D57ED0000000",
}


def words(**options) -> TtnWords:
    return TtnWords(GATEWAY_EUI, "wells", tenant="waterworks", **options)


def up(kept: Record, **options) -> dict:
    (message,) = words(**options).of_record(kept)
    return json.loads(message.payload)


def told(happening) -> tuple[str, dict]:
    (message,) = words().of_happening(happening)
    return message.topic.removeprefix(f"{DEVICES}/well-07/"), json.loads(message.payload)


# --- up


def test_an_uplink_says_what_the_things_stack_says_of_it():
    (message,) = words().of_record(record())
    assert (message.topic, message.retain, message.needed) == (f"{DEVICES}/well-07/up", False, True)
    facts = json.loads(message.payload)
    uplink = facts.pop("uplink_message")
    assert facts == {
        "end_device_ids": {**IDS, "dev_addr": "01020304"},
        "correlation_ids": [f"gw:frame:{frame_id(record().reading.phy)}"],
        "received_at": "2026-11-23T10:00:00.123456Z",
    }
    assert len(b64decode(uplink.pop("session_key_id"))) == 16
    (rx,) = uplink.pop("rx_metadata")
    assert uplink == {
        "f_port": 10,
        "f_cnt": 1,
        "frm_payload": "AQA=",
        "decoded_payload": {"level_m": 2.56, "count": 12},
        "settings": {
            "data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7, "coding_rate": "4/5"}},
            "frequency": "868100000",
            "timestamp": 3512348611,
            "time": "2026-11-23T10:00:00.123456Z",
        },
        "received_at": "2026-11-23T10:00:00.123456Z",
        "consumed_airtime": "0.046336s",  # 15 bytes at SF7: Semtech AN1200.13
        "version_ids": {"brand_id": "acme", "model_id": "probe"},
        "network_ids": {"tenant_id": "waterworks"},
        "attributes": {"site": "north"},
    }
    assert rx == {
        "gateway_ids": {"gateway_id": "eui-0016c001f1500812", "eui": "0016C001F1500812"},
        "time": "2026-11-23T10:00:00.123456Z",
        "timestamp": 3512348611,
        "rssi": -87,
        "channel_rssi": -87,
        "snr": 9.5,
        "channel_index": 2,
        "gps_time": "2026-11-23T10:00:00.123456Z",
        "received_at": "2026-11-23T10:00:00.123456Z",
        "advanced": {"clock": "gps", "record_id": "0016c001f1500812-0badcafe-7"},
    }


def test_what_is_zero_false_or_empty_is_left_out():
    plain = record(
        name="", tags={}, f_cnt=0, f_port=None, payload=b"", decoded=Decoded(), rssi_dbm=0.0, snr_db=0.0, channel=0,
        counter_us=0, confirmed=False,
    )  # fmt: skip
    facts = up(plain)
    uplink = facts["uplink_message"]
    assert uplink.keys() == {
        *("session_key_id", "rx_metadata", "settings", "received_at", "consumed_airtime", "network_ids"),
    }
    assert uplink["rx_metadata"][0].keys() == {"gateway_ids", "time", "gps_time", "received_at", "advanced"}
    assert "timestamp" not in uplink["settings"]
    assert facts["end_device_ids"]["device_id"] == "eui-0102030405060708"


def test_a_codec_that_found_nothing_has_still_answered():
    assert up(record(decoded=Decoded("acme/probe@2", {})))["uplink_message"]["decoded_payload"] == {}


def test_warnings_and_a_confirmed_frame():
    uplink = up(record(confirmed=True, decoded=Decoded("a/b@1", {"x": 0}, warnings=("old",))))["uplink_message"]
    assert (uplink["confirmed"], uplink["decoded_payload"], uplink["decoded_payload_warnings"]) == (
        *(True, {"x": 0}),
        ["old"],
    )


def test_a_frame_with_mac_commands_only_is_a_message_without_them():
    uplink = up(record(f_port=0, payload=bytes.fromhex("0307"), decoded=Decoded()))["uplink_message"]
    assert uplink.keys() & {"f_port", "frm_payload", "decoded_payload"} == set()


@pytest.mark.parametrize(
    ("modulation", "written"),
    [
        (Fsk(50_000, 25_000), {"fsk": {"bit_rate": 50000}}),
        (LrFhss(137_000, "1/3", 8), {"lrfhss": {"operating_channel_width": 137000, "coding_rate": "1/3"}}),
    ],
)
def test_other_modulations(modulation, written):
    uplink = up(record(modulation=modulation))["uplink_message"]
    assert uplink["settings"]["data_rate"] == written
    assert ("consumed_airtime" in uplink) is isinstance(modulation, Fsk)


def test_a_time_that_is_not_known_is_no_time_of_the_gateway():
    uplink = up(record(heard=replace(HEARD, quality=TimeQuality.UNSYNCED), snr_db=None))["uplink_message"]
    (rx,) = uplink["rx_metadata"]
    assert rx.keys() & {"time", "gps_time", "snr"} == set()
    assert "time" not in uplink["settings"]
    assert rx["advanced"]["clock"] == "unsynced"


def test_where_gateway_and_device_stand_and_that_a_message_waited():
    tags = {"latitude": "43.6", "longitude": "0", "kind": "glass"}
    uplink = up(record(late=True, tags=tags), location=lambda: Position(52.5, 13.25, 40.4, PositionSource.SETTINGS))[
        "uplink_message"
    ]
    assert uplink["locations"] == {"user": {"latitude": 43.6, "source": "SOURCE_REGISTRY"}}
    (rx,) = uplink["rx_metadata"]
    assert rx["location"] == {"latitude": 52.5, "longitude": 13.25, "altitude": 40, "source": "SOURCE_REGISTRY"}
    assert rx["advanced"]["buffered"] is True


def test_a_place_that_gps_found_says_so():
    found = iter((None, Position(52.5, 13.25, None, PositionSource.GPS, 2.5)))
    told = [up(record(), location=lambda: next(found)) for _ in range(2)]  # the receiver needs a while
    places = [one["uplink_message"]["rx_metadata"][0].get("location") for one in told]
    assert places == [None, {"latitude": 52.5, "longitude": 13.25, "source": "SOURCE_GPS"}]


@pytest.mark.parametrize("latitude", ["north", "91", "nan", ""])
def test_a_place_that_is_none_is_left_out(latitude):
    assert "locations" not in up(record(tags={"latitude": latitude, "longitude": "3"}))["uplink_message"]


def test_the_last_battery_level_goes_with_the_answer_that_brought_it():
    phy = bytes.fromhex("400403020183010006fe0a0a5a0b11223344")
    found = (Measurement("link_margin", 10, "dB"), Measurement("battery", 50.2, "%"))
    uplink = up(record(phy=phy, decoded=Decoded("a/b@1", {}, found)))["uplink_message"]
    last = {"f_cnt": 1, "value": 50.2, "received_at": "2026-11-23T10:00:00.123456Z"}
    assert uplink["last_battery_percentage"] == last
    assert "last_battery_percentage" not in up(record(decoded=Decoded("a/b@1", {}, found)))["uplink_message"]


@pytest.mark.parametrize(
    ("name", "device_id"),
    [
        ("well-07", "well-07"),
        ("abc", "abc"),
        ("ab", "eui-0102030405060708"),  # three at least
        ("a" * 36, "a" * 36),
        ("a" * 37, "eui-0102030405060708"),
        ("PAV Antigone 12", "eui-0102030405060708"),
        ("a--b", "eui-0102030405060708"),
        ("-abc", "eui-0102030405060708"),
        ("abc-", "eui-0102030405060708"),
        ("eui-0102030405060709", "eui-0102030405060708"),  # would be somebody else's
        ("", "eui-0102030405060708"),
        ("abc\n", "eui-0102030405060708"),
    ],
)
def test_a_name_is_the_id_where_it_can_be_one(name, device_id):
    # identifiers.proto: ^[a-z0-9](?:[-]?[a-z0-9]){2,}$, at most 36
    assert device_id_of(name, DEV_EUI) == device_id


def test_sessions_have_names_of_their_own():
    first, again, other = (
        up(record(dev_addr=DevAddr(number)))["uplink_message"]["session_key_id"] for number in (1, 1, 2)
    )
    assert first == again != other


def test_only_chosen_parts_leave():
    facts = up(record(decoded=Decoded("acme/probe@2", {"secret": 1})), privacy=Privacy(("f_cnt",)))
    assert facts["end_device_ids"].keys() == {"device_id", "application_ids", "dev_eui"}
    assert facts["end_device_ids"]["device_id"] == "eui-0102030405060708"
    assert facts["uplink_message"].keys() == {"session_key_id", "f_cnt", "received_at", "network_ids"}
    (joined,) = words(privacy=Privacy(("f_cnt",))).of_happening(Joined(DEVICE, DevAddr(1), FRAME))
    assert b"well-07" not in joined.topic.encode() + joined.payload


def test_half_a_surrogate_pair_anywhere_stops_nothing():
    half = "a\ud800b"
    said = Decoded(half, {half: half}, (), (half,), half)
    kept = record(name=half, tags={half: half}, decoded=said)
    for message in words().of_record(kept):
        assert json.loads(message.payload)


@settings(deadline=None, max_examples=200)
@given(reading=any_reading, late=st.booleans(), fields=st.sampled_from([(), ("payload", "data"), ("radio", "tags")]))
def test_whatever_a_frame_or_codec_says_becomes_json(reading, late, fields):
    facts = up(Record(GATEWAY_EUI, "0badcafe", 1, reading, late), privacy=Privacy(fields))
    assert facts["uplink_message"]["received_at"]
    assert all(facts["uplink_message"][key] for key in facts["uplink_message"].keys() - {"decoded_payload"})


# --- what happens to devices


def test_a_join():
    topic, facts = told(Joined(DEVICE, DevAddr.parse("26011bda"), FRAME))
    assert topic == "join"
    assert facts["end_device_ids"] == {**IDS, "dev_addr": "26011BDA"}
    assert facts["join_accept"].keys() == {"session_key_id", "received_at"}
    after = up(record(dev_addr=DevAddr.parse("26011bda")))
    assert facts["join_accept"]["session_key_id"] == after["uplink_message"]["session_key_id"]


@pytest.mark.parametrize(
    ("happening", "event"),
    [
        (moved(DownlinkState.QUEUED), "queued"),
        (moved(DownlinkState.SENT, f_cnt=12, attempts=1), "sent"),
        (moved(DownlinkState.ACKNOWLEDGED, confirmed=True, f_cnt=12, attempts=1), "ack"),
        (moved(DownlinkState.QUEUED, confirmed=True, f_cnt=12, attempts=1, reason="not acknowledged"), "nack"),
    ],
)
def test_what_becomes_of_a_downlink(happening, event):
    topic, facts = told(happening)
    downlink = facts.pop(f"downlink_{event}")
    assert (topic, facts["end_device_ids"]) == (f"down/{event}", IDS)
    assert downlink["correlation_ids"] == facts["correlation_ids"] == ["gw:downlink:a1b2"]
    assert (downlink["f_port"], downlink["frm_payload"], downlink["priority"]) == (10, "AQ==", "NORMAL")
    assert downlink.get("f_cnt", 0) == (happening.entry.f_cnt or 0)
    assert ("confirmed" in downlink) is happening.entry.confirmed


@pytest.mark.parametrize(
    ("happening", "name"),
    [
        (moved(DownlinkState.FAILED, reason="60 bytes, at most 51 at SF12"), "failed_downlink"),
        (moved(DownlinkState.EXPIRED, reason="not sent within 60 s"), "expired_downlink"),
        (DownlinkRefused(DEVICE, "a1b2 my-id", "no device", HEARD), "refused_downlink"),
        (DownlinkRefused(DEVICE, None, "no device", HEARD), "refused_downlink"),
    ],
)
def test_a_downlink_that_fails_says_why(happening, name):
    topic, facts = told(happening)
    assert topic == "down/failed"
    assert facts["downlink_failed"]["error"]["name"] == name
    assert facts["downlink_failed"]["error"]["message_format"]


@pytest.mark.parametrize(
    "happening",
    [
        moved(DownlinkState.SCHEDULED),
        moved(DownlinkState.CANCELLED),
        moved(DownlinkState.QUEUED, reason="TOO_LATE"),
        Removed(DEV_EUI),
    ],
)
def test_what_the_things_stack_keeps_to_itself(happening):
    assert words().of_happening(happening) == ()


def test_the_gateway_itself_has_no_place():
    assert (words().will, words().greeting(), words().of_gateway("status", {"uptime_s": 1})) == (None, (), None)


# --- the way back


def asked(topic: str, facts) -> list[tuple[object, DownlinkAsked]]:
    numbers = iter("abcdefgh")
    payload = facts if isinstance(facts, bytes) else json.dumps(facts).encode()
    requests = words().requests(f"{DEVICES}/{topic}", payload, 0, lambda: next(numbers))
    return [(whom, read_downlink(request)) for whom, request in requests]


def test_the_topics_that_are_listened_to():
    assert words().asking == (f"{DEVICES}/+/down/push", f"{DEVICES}/+/down/replace")


def test_the_push_of_the_documentation():
    # "Scheduling Downlinks" (thethingsindustries.com/docs): an unconfirmed and a decoded downlink
    push = {
        "downlinks": [
            {"f_port": 15, "frm_payload": "vu8=", "priority": "HIGH", "confirmed": True, "correlation_ids": ["my-id"]},
            {"f_port": 15, "decoded_payload": {"bytes": [1, 2]}, "priority": "NORMAL"},
        ]
    }
    assert asked("well-07/down/push", push) == [
        ("well-07", DownlinkAsked(15, b"\xbe\xef", None, confirmed=True, ref="a my-id")),
        ("well-07", DownlinkAsked(15, None, {"bytes": [1, 2]}, ref="b")),
    ]


def test_a_replace_clears_first_and_may_do_nothing_else():
    two = {"downlinks": [{"f_port": 1, "frm_payload": "AQ=="}, {"f_port": 2}]}
    assert asked("eui-0102030405060708/down/replace", two) == [
        (DEV_EUI, DownlinkAsked(1, b"\x01", None, ref="a", clear=True)),
        (DEV_EUI, DownlinkAsked(2, b"", None, ref="b")),
    ]
    for nothing in ({}, {"downlinks": []}, {"downlinks": None}):
        ((_, request),) = asked("well-07/down/replace", nothing)
        assert request.clears_only


def test_ids_of_whoever_asked_come_back_with_what_became_of_it():
    ids = ["my-id", "x" * 100, "with blank", "", "y" * 100]
    ((_, request),) = asked("well-07/down/push", {"downlinks": [{"f_port": 1, "correlation_ids": ids}]})
    assert request.ref is not None
    _, facts = told(moved(DownlinkState.QUEUED, ref=request.ref))
    assert facts["correlation_ids"] == ["gw:downlink:a", "my-id", "x" * 100]  # those that fit into a reference


def test_no_correlation_id_is_longer_than_theirs_may_be():
    _, facts = told(moved(DownlinkState.QUEUED, ref="r" * 200))
    assert [len(one) for one in facts["correlation_ids"]] == [100]


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (b"", "no JSON"),
        (b"[]", "a list of downlinks"),
        ({"downlinks": {}}, "no downlink"),
        ({"downlinks": {"f_port": 1}}, "a list of downlinks"),
        ({"downlinks": [1]}, "a list of downlinks"),
        ({"downlinks": []}, "no downlink"),
        ({"downlinks": [{"f_port": 1}] * (MOST_DOWNLINKS + 1)}, "at most"),
        ({"downlinks": [{"f_port": 1, "frm_payload": "vu8"}]}, "base64"),
        ({"downlinks": [{"f_port": 1, "frm_payload": 7}]}, "base64"),
        ({"downlinks": [{"f_port": 1, "priority": "URGENT"}]}, "priority"),
        ({"downlinks": [{"f_port": 1, "priority": ["HIGH"]}]}, "priority"),
        ({"downlinks": [{"f_port": 1, "confirmed": "yes"}]}, "confirmed"),
        ({"downlinks": [{"f_port": 1, "correlation_ids": "my-id"}]}, "correlation_ids"),
        ({"downlinks": [{"f_port": 1, "class_b_c": {"absolute_time": "2026-11-23T10:00:00Z"}}]}, "class_b_c"),
        (b" " * 70_000, "at most"),
    ],
)
def test_what_is_no_request_is_refused_in_words(facts, problem):
    with pytest.raises(NoDownlink, match=problem):
        asked("well-07/down/push", facts)


def test_without_a_port_it_is_refused_where_every_request_is():
    with pytest.raises(NoDownlink, match="f_port"):
        asked("well-07/down/push", {"downlinks": [{"frm_payload": "AQ=="}]})


def test_an_eui_that_is_none():
    with pytest.raises(NoDownlink, match="eui-0102"):
        asked("eui-0102/down/push", {"downlinks": [{"f_port": 1}]})


_KEYS = st.sampled_from(
    ["f_port", "frm_payload", "decoded_payload", "confirmed", "priority", "correlation_ids", "class_b_c", "x"]
)
_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_DOWNLINKS = st.dictionaries(_KEYS, _VALUES | st.lists(_VALUES, max_size=2) | st.dictionaries(st.text(), _VALUES))
_REQUESTS = st.fixed_dictionaries({"downlinks": st.lists(_DOWNLINKS | _VALUES, max_size=2) | _VALUES})


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=80) | _REQUESTS.map(lambda facts: json.dumps(facts).encode()), st.booleans())
def test_anything_is_a_request_or_refused(payload, replaces):
    try:
        for request in read_downlinks(payload, lambda: "fresh", replace=replaces):
            read_downlink(request)
    except NoDownlink as problem:
        assert str(problem)  # noqa: PT017 - that it has words is the promise
