"""ChirpStack's events.

Sources: integration.proto and gw.proto of chirpstack-api 4.20; what is written when, chirpstack 4.20
(`uplink/data.rs`, `downlink/data.rs`, `maccommand/dev_status.rs` with its test, `integration/mqtt.rs`).
"""

from __future__ import annotations

import json
import uuid
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
    Lora,
    LrFhss,
    Measurement,
    Position,
    PositionSource,
    Record,
    Removed,
    TimeQuality,
)
from gateway.regions import region_named
from gateway.wire.chirpstack_events import ChirpstackWords, frame_uuid, made_id, read_command
from gateway.wire.own_downlink import DownlinkAsked, NoDownlink, read_downlink
from gateway.wire.privacy import Privacy

EU868 = region_named("EU868")
APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
NOW_US = HEARD.utc_us
UP = f"application/{APPLICATION}/device/0102030405060708/event/up"


def words(application=APPLICATION, region=EU868, **options) -> ChirpstackWords:
    return ChirpstackWords(GATEWAY_EUI, region, application, tenant="Waterworks", **options)


def events(kept: Record, **options) -> dict[str, dict]:
    return {
        message.topic.rpartition("/")[2]: json.loads(message.payload) for message in words(**options).of_record(kept)
    }


def told(happening) -> tuple[str, dict]:
    (message,) = words().of_happening(happening)
    return message.topic.rpartition("/")[2], json.loads(message.payload)


# --- up


def test_an_uplink_says_what_chirpstack_says_of_it():
    (message,) = words().of_record(record())
    assert (message.topic, message.retain, message.needed) == (UP, False, True)
    event = json.loads(message.payload)
    about = event.pop("deviceInfo")
    (rx_info,) = event.pop("rxInfo")
    assert uuid.UUID(event.pop("deduplicationId"))
    assert event == {
        "time": "2026-11-23T10:00:00.123456+00:00",
        "devAddr": "01020304",
        "adr": True,
        "dr": 5,
        "fCnt": 1,
        "fPort": 10,
        "confirmed": False,
        "data": "AQA=",
        "object": {"level_m": 2.56, "count": 12.0},
        "txInfo": {
            "frequency": 868100000,
            "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 7, "codeRate": "CR_4_5"}},
        },
        "regionConfigId": "eu868",
    }
    assert uuid.UUID(about.pop("tenantId"))
    assert uuid.UUID(about.pop("deviceProfileId"))
    assert about == {
        "tenantName": "Waterworks",
        "applicationId": APPLICATION,
        "applicationName": APPLICATION,
        "deviceProfileName": "acme/probe",
        "deviceName": "well-07",
        "devEui": "0102030405060708",
        "deviceClassEnabled": "CLASS_A",
        "tags": {"site": "north"},
    }
    assert isinstance(rx_info.pop("uplinkId"), int)
    assert rx_info == {
        "gatewayId": "0016c001f1500812",
        "gwTime": "2026-11-23T10:00:00.123456+00:00",
        "nsTime": "2026-11-23T10:00:00.123456+00:00",
        "timeSinceGpsEpoch": "1479463218.123456s",  # GPS is 18 s ahead of UTC since 2017 (IERS Bulletin C)
        "rssi": -87,
        "snr": 9.5,
        "channel": 2,
        "rfChain": 1,
        "context": "0Vovww==",  # 3512348611, big endian
        "metadata": {
            "region_config_id": "eu868",
            "region_common_name": "EU868",
            "clock": "gps",
            "record_id": "0016c001f1500812-0badcafe-7",
        },
        "crcStatus": "CRC_OK",
    }


def test_scalars_of_the_event_stand_there_and_those_of_the_radio_do_not_when_they_are_zero():
    plain = record(
        name="", tags={}, f_cnt=0, f_port=None, adr=False, payload=b"", decoded=Decoded(), rssi_dbm=0.0, snr_db=0.0,
        channel=0, rf_chain=0, counter_us=None, modulation=Lora(12, 125_000, "4/5"),
    )  # fmt: skip
    event = events(plain)["up"]
    empty = {"adr": False, "dr": 0, "fCnt": 0, "fPort": 0, "confirmed": False, "data": ""}
    assert {key: event[key] for key in empty} == empty
    assert event["deviceInfo"]["tags"] == {}
    assert event["deviceInfo"]["deviceName"] == event["deviceInfo"]["deviceProfileName"] == ""
    assert "object" not in event
    assert event["rxInfo"][0].keys() & {"rssi", "snr", "channel", "rfChain", "board", "antenna", "context"} == set()


def test_a_frame_with_mac_commands_only_is_an_event_without_them():
    event = events(record(f_port=0, payload=bytes.fromhex("0307"), decoded=Decoded()))["up"]
    assert (event["fPort"], event["data"]) == (0, "")


@pytest.mark.parametrize(
    ("modulation", "dr", "written"),
    [
        (Lora(12, 125_000), 0, {"lora": {"bandwidth": 125000, "spreadingFactor": 12, "codeRate": "CR_4_5"}}),
        (Fsk(50_000, 25_000), 7, {"fsk": {"frequencyDeviation": 25000, "datarate": 50000}}),
        (
            LrFhss(137_000, "1/3", 8),
            8,
            {"lrFhss": {"operatingChannelWidth": 137000, "codeRate": "CR_2_6", "gridSteps": 8}},
        ),
    ],
)
def test_each_modulation_has_its_words(modulation, dr, written):
    event = events(record(modulation=modulation))["up"]
    assert (event["dr"], event["txInfo"]["modulation"]) == (dr, written)


@pytest.mark.parametrize(
    ("region", "frequency_hz", "name", "common"),
    [
        # ChirpStack's configurations by their ids: chirpstack/configuration/region_*.toml
        ("US915", 902_300_000, "us915_0", "US915"),
        ("US915", 903_900_000, "us915_1", "US915"),
        ("US915", 904_600_000, "us915_1", "US915"),  # the wide channel 65 belongs to 8-15
        ("AU915", 916_800_000, "au915_1", "AU915"),
        ("AS923-2", 921_400_000, "as923_2", "AS923_2"),
        ("EU868", 868_500_000, "eu868", "EU868"),
    ],
)
def test_the_region_is_named_as_chirpstack_names_its_configurations(region, frequency_hz, name, common):
    event = events(record(frequency_hz=frequency_hz), region=region_named(region))["up"]
    assert event["regionConfigId"] == event["rxInfo"][0]["metadata"]["region_config_id"] == name
    assert event["rxInfo"][0]["metadata"]["region_common_name"] == common


def test_a_time_that_is_not_known_is_no_gateway_time():
    event = events(record(heard=replace(HEARD, quality=TimeQuality.UNSYNCED)))["up"]
    (rx_info,) = event["rxInfo"]
    assert rx_info.keys() & {"gwTime", "timeSinceGpsEpoch"} == set()
    assert rx_info["nsTime"] == event["time"]
    assert rx_info["metadata"]["clock"] == "unsynced"


def test_what_waited_is_marked_and_where_the_gateway_stands_is_said():
    event = events(record(late=True), location=lambda: Position(52.5, 13.25, 0.0, PositionSource.SETTINGS))["up"]
    assert event["rxInfo"][0]["metadata"]["buffered"] == "true"
    assert event["rxInfo"][0]["location"] == {"latitude": 52.5, "longitude": 13.25, "source": "CONFIG"}


def test_ids_are_the_same_whoever_makes_them_and_differ_where_they_name_something_else():
    first, again = events(record()), events(record(late=True))
    assert first["up"]["deduplicationId"] == again["up"]["deduplicationId"]
    assert first["up"]["rxInfo"][0]["uplinkId"] == again["up"]["rxInfo"][0]["uplinkId"]
    named = ChirpstackWords(GATEWAY_EUI, EU868, "wells", tenant="Waterworks")
    other = ChirpstackWords(GATEWAY_EUI, EU868, "wells", tenant="other")
    assert named.tenant_id != other.tenant_id
    assert named.application_id != other.application_id
    assert uuid.UUID(named.application_id).version == 5
    assert named.application_id == ChirpstackWords(GATEWAY_EUI, EU868, "wells", tenant="Waterworks").application_id


@given(st.binary(min_size=16, max_size=16))
def test_a_frame_id_is_a_uuid_of_version_8_that_shows_it(digest):
    found = uuid.UUID(frame_uuid(digest.hex()))
    assert (found.version, found.variant) == (8, uuid.RFC_4122)  # RFC 9562, 5.8
    assert (found.int ^ int.from_bytes(digest, "big")).bit_count() <= 6


def test_made_ids_do_not_run_into_each_other():
    assert made_id("application", "a", "bc") != made_id("application", "ab", "c")


def test_only_chosen_parts_leave():
    kept = record(decoded=Decoded("acme/probe@2", {"secret": 1}, problem="why"))
    event = events(kept, privacy=Privacy(("f_cnt",)))
    assert event.keys() == {"up"}
    up = event["up"]
    assert (up["fCnt"], up["fPort"], up["data"], up["rxInfo"], up["dr"]) == (1, 0, "", [], 0)
    assert (up["deviceInfo"]["deviceName"], up["deviceInfo"]["tags"], up["devAddr"]) == ("", {}, "00000000")
    assert up.keys() & {"object", "txInfo"} == set()
    (joined,) = words(privacy=Privacy(("f_cnt",))).of_happening(Joined(DEVICE, DevAddr(1), FRAME))
    assert b"well-07" not in joined.payload


# --- what goes with an uplink


def test_a_codec_that_fails_is_a_log_before_the_uplink():
    log, up = words().of_record(record(decoded=Decoded("acme/probe@2", None, problem="line 3: x is not defined")))
    assert [log.topic.rpartition("/")[2], up.topic.rpartition("/")[2]] == ["log", "up"]
    assert (log.needed, "object" in json.loads(up.payload)) == (False, False)
    event = json.loads(log.payload)
    assert event.pop("deviceInfo") == json.loads(up.payload)["deviceInfo"]
    assert event == {
        "time": "2026-11-23T10:00:00.123456+00:00",
        "level": "ERROR",
        "code": "UPLINK_CODEC",
        "description": "line 3: x is not defined",
        "context": {"deduplication_id": json.loads(up.payload)["deduplicationId"]},
    }


def test_a_device_without_codec_is_no_failure():
    assert events(record(decoded=Decoded(problem="no codec is set for this device"))).keys() == {"up"}


@pytest.mark.parametrize(
    ("answer", "external", "unavailable", "level"),
    [
        ("06fe0a", False, False, 100.0),  # battery 254, margin 10: the case of ChirpStack's own test
        ("06000a", True, False, 0.0),
        ("06ff0a", False, True, 0.0),
        ("067f0a", False, False, 50.0),
        ("06010a", False, False, 0.39),
    ],
)
@pytest.mark.parametrize("place", ["f_port 0", "f_opts"])
def test_a_device_that_says_how_it_is_has_a_status(answer, external, unavailable, level, place):
    battery = int(answer[2:4], 16)
    if place == "f_port 0":
        kept = record(f_port=0, payload=bytes.fromhex("0307" + answer), decoded=Decoded())
    else:  # as `lorawan.device_status.status_measurements` keeps it
        found = [Measurement("link_margin", 10, "dB")]
        if external:
            found.append(Measurement("external_power", value=True, unit=""))
        elif not unavailable:
            found.append(Measurement("battery", round(100 * (battery - 1) / 253, 1), "%"))
        phy = bytes.fromhex("400403020183010006fe0a0a5a0b11223344")
        kept = record(phy=phy, decoded=Decoded("acme/probe@2", {}, tuple(found)))
    found = events(kept)
    status = found["status"]
    assert status.pop("deviceInfo") == found["up"]["deviceInfo"]
    assert status == {
        "deduplicationId": found["up"]["deduplicationId"],
        "time": found["up"]["time"],
        "margin": 10,
        "externalPowerSource": external,
        "batteryLevelUnavailable": unavailable,
        "batteryLevel": level,
    }


def test_a_battery_that_only_the_payload_tells_of_is_no_status():
    kept = record(decoded=Decoded("acme/probe@2", {}, (Measurement("battery", 80, "%"),)))
    assert events(kept).keys() == {"up"}


def test_half_a_surrogate_pair_anywhere_stops_nothing():
    half = "a\ud800b"
    said = Decoded(half, {half: half}, (), (half,), half)
    kept = record(name=half, tags={half: half}, decoded=said)
    for message in words().of_record(kept):
        assert json.loads(message.payload)


@settings(deadline=None, max_examples=200)
@given(reading=any_reading, late=st.booleans(), fields=st.sampled_from([(), ("payload", "data"), ("radio", "tags")]))
def test_whatever_a_frame_or_codec_says_becomes_json(reading, late, fields):
    messages = words(privacy=Privacy(fields)).of_record(Record(GATEWAY_EUI, "0badcafe", 1, reading, late))
    assert [message.needed for message in messages].count(True) == 1
    for message in messages:
        assert json.loads(message.payload, parse_constant=pytest.fail)


# --- what happens to devices


def test_a_join():
    event, facts = told(Joined(DEVICE, DevAddr.parse("26011bda"), FRAME))
    assert facts.pop("deviceInfo")["deviceName"] == "well-07"
    assert (event, facts) == (
        "join",
        {
            "deduplicationId": frame_uuid(FRAME.frame_id),
            "time": "2026-11-23T10:00:00.123456+00:00",
            "devAddr": "26011bda",
            "regionConfigId": "eu868",
        },
    )


def test_a_downlink_that_left_and_one_that_was_acknowledged():
    ref = "2ec9db5d-5f4b-4dcd-8c2f-6ac37dcd5a5d"
    event, facts = told(moved(DownlinkState.SENT, ref=ref, f_cnt=12, attempts=1))
    assert (event, facts["queueItemId"], facts["fCntDown"], facts["gatewayId"]) == ("txack", ref, 12, str(GATEWAY_EUI))
    assert 0 <= facts["downlinkId"] < 1 << 32
    event, facts = told(moved(DownlinkState.ACKNOWLEDGED, ref=ref, confirmed=True, f_cnt=12, attempts=1))
    assert (event, facts["queueItemId"], facts["acknowledged"], facts["fCntDown"]) == ("ack", ref, True, 12)


def test_a_reference_that_is_no_uuid_gets_one_and_keeps_it():
    sent, acknowledged = (
        told(moved(state, ref="valve-1", confirmed=True, attempts=1))[1]["queueItemId"]
        for state in (DownlinkState.SENT, DownlinkState.ACKNOWLEDGED)
    )
    assert sent == acknowledged == str(uuid.UUID(sent))


@pytest.mark.parametrize(
    ("happening", "event", "code"),
    [
        (moved(DownlinkState.FAILED, confirmed=True, attempts=8, reason="not acknowledged, 8 times"), "ack", None),
        (moved(DownlinkState.FAILED, reason="60 bytes, at most 51 at SF12"), "log", "DOWNLINK_PAYLOAD_SIZE"),
        (moved(DownlinkState.FAILED, reason="TX_FREQ"), "log", "DOWNLINK_GATEWAY"),
        (moved(DownlinkState.EXPIRED, reason="not sent within 60 s"), "log", "EXPIRED"),
        (moved(DownlinkState.QUEUED, reason="TOO_LATE"), "log", "DOWNLINK_GATEWAY"),
        (DownlinkRefused(DEVICE, "a", "the codec cannot encode this", HEARD), "log", "DOWNLINK_CODEC"),
        (DownlinkRefused(DEVICE, None, "the codec cannot encode this", HEARD), "log", "DOWNLINK_CODEC"),
    ],
)
def test_what_became_of_a_downlink_that_did_not_arrive(happening, event, code):
    name, facts = told(happening)
    assert (name, facts.get("code")) == (event, code)
    if event == "ack":
        assert facts["acknowledged"] is False


@pytest.mark.parametrize(
    "happening",
    [
        moved(DownlinkState.QUEUED),
        moved(DownlinkState.SCHEDULED),
        moved(DownlinkState.CANCELLED),
        moved(DownlinkState.QUEUED, confirmed=True, attempts=1, reason="not acknowledged"),
        Removed(DEV_EUI),
    ],
)
def test_what_chirpstack_keeps_to_itself(happening):
    assert words().of_happening(happening) == ()


def test_the_gateway_itself_has_no_place():
    assert (words().will, words().greeting(), words().of_gateway("status", {"uptime_s": 1})) == (None, (), None)


# --- the way back


def asked(payload, topic_eui="0102030405060708", prefix="") -> DownlinkAsked:
    said = words(topic_prefix=prefix)
    (pattern,) = said.asking
    ((whom, request),) = said.requests(pattern.replace("+", topic_eui), payload, NOW_US, lambda: "fresh")
    assert whom == DEV_EUI
    return read_downlink(request)


def test_the_topic_that_is_listened_to():
    assert words().asking == (f"application/{APPLICATION}/device/+/command/down",)
    assert words(topic_prefix="city/a").asking == (f"city/a/application/{APPLICATION}/device/+/command/down",)


def test_commands_of_the_documentation():
    # integration.proto, DownlinkCommand; the example of ChirpStack's documentation of the MQTT integration.
    command = b'{"devEui": "0102030405060708", "confirmed": true, "fPort": 10, "data": "SGVsbG8="}'
    assert (
        asked(command) == asked(command, prefix="a") == DownlinkAsked(10, b"Hello", None, confirmed=True, ref="fresh")
    )
    command = b'{"devEui": "0102030405060708", "fPort": 2, "object": {"valve": "open"}, "id": "x"}'
    assert asked(command) == DownlinkAsked(2, None, {"valve": "open"}, ref="x")


def test_a_command_may_expire():
    command = b'{"fPort": 10, "data": "AQ==", "expiresAt": "2026-11-23T10:01:00.123456Z"}'
    assert asked(command).expires_after_s == 60.0
    late = b'{"fPort": 10, "data": "AQ==", "expiresAt": "2026-11-23T09:00:00Z", "id": "x"}'
    with pytest.raises(NoDownlink, match="expired") as caught:
        asked(late)
    assert caught.value.ref == "x"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"fPort": 10, "data": "no base64!"}', "data"),
        (b'{"fPort": -1, "data": ""}', "fPort"),
        (b'{"fPort": 10, "confirmed": "yes", "data": ""}', "confirmed"),
        (b'{"devEui": "0102030405060709", "fPort": 10, "data": ""}', "its topic"),
        (b'{"devEui": "nobody", "fPort": 10, "data": ""}', "hex"),
        (b'{"fPort": 10, "object": [1]}', "object"),
        (b'{"fPort": 10, "data": "AQ==", "expiresAt": "soon"}', "expiresAt"),
        (b" " * 70_000, "at most"),
    ],
)
def test_what_is_no_command_is_refused_in_words(payload, problem):
    with pytest.raises(NoDownlink, match=problem):
        asked(payload)


def test_without_a_port_it_is_refused_where_every_request_is():
    with pytest.raises(NoDownlink, match="f_port"):
        asked(b'{"data": "AQ=="}')


def test_a_topic_that_names_no_device():
    with pytest.raises(NoDownlink):
        asked(b'{"fPort": 10, "data": ""}', topic_eui="well-07")


_KEYS = st.sampled_from(["id", "devEui", "dev_eui", "confirmed", "fPort", "data", "object", "expiresAt", "x"])
_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_OBJECTS = st.dictionaries(_KEYS, _VALUES | st.lists(_VALUES, max_size=2) | st.dictionaries(st.text(), _VALUES))


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=80) | _OBJECTS.map(lambda facts: json.dumps(facts).encode()))
def test_anything_is_a_request_or_refused(payload):
    try:
        read_downlink(read_command(payload, DEV_EUI, NOW_US, lambda: "fresh"))
    except NoDownlink as problem:
        assert str(problem)  # noqa: PT017 - that it has words is the promise
