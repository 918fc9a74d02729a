"""ChirpStack's gateway messages against bytes that chirpstack-api made."""

from __future__ import annotations

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import (
    AtCounter,
    AtGpsTime,
    Crc,
    DownlinkRequest,
    Fsk,
    GatewayEui,
    Immediately,
    Lora,
    LrFhss,
    Position,
    PositionSource,
    RadioFrame,
    Stamp,
    TimeQuality,
    TxResult,
)
from gateway.wire.chirpstack import (
    CONN_STATE,
    DOWNLINK_TX_ACK,
    GATEWAY_STATS,
    STATUS_OF,
    UPLINK_FRAME,
    BandLoad,
    Context,
    DutyCycles,
    Impossible,
    Marshaler,
    Traffic,
    Unreadable,
    conn_state,
    modulation_values,
    read,
    read_configuration,
    read_downlink,
    stats,
    tx_ack,
    uplink,
)
from gateway.wire.chirpstack_messages import CODE_RATES, DOWNLINK_FRAME, GATEWAY_CONFIGURATION, TX_ACK_STATUSES
from gateway.wire.protobuf import decode, encode, from_json, to_json

# All bytes below were written by chirpstack-api 4.20.0 on protobuf 7.36.2 (ParseDict, SerializeToString).
UP = (
    "0a0f40040302018001000aa1b2c3d4e5f6221208a0cff89d03120a1a0808c8d007100728012a6a0a10303031366330303166313530303831"
    "321092211a0b08a09d90d806108094ef3a220b08b2a2bbc105108094ef3a2a0b08b2a2bbc10510959aef3a30a9ffffffffffffffff013d00"
    "001841400248016a15d15a2fc30030303136633030316666313061323335800102"
)
STATS = (
    "120608be9d90d8061a1d090000000000404a40110000000000802a401900000000000044402002280330023802400162080888cccf9e0310"
    "016a0808a0cff89d031003720e0a0a1a0808c8d007100c280110017a0e0a0a1a0808c8d0071007280110038201060a024f4b100182010c0a"
    "08544f4f5f4c41544510018a011030303136633030316631353030383132"
)
LAWFUL_STATS = (
    "120608be9d90d806220431613262522f0a15636f6e63656e747261746f72645f76657273696f6e12166c6f726177616e2d656467652d6761"
    "7465776179203152160a0e636f6e6669675f76657273696f6e1204316132628a01103030313663303031663135303038313292013e080112"
    "0308901c1a1d0a014d1080c2f29d0318c091979e03220208242a0808011080f9eae5011a160a015010c0fbc79e0318d09cd79e03220308e8"
    "022a00"
)
DOWN = (
    "18d2092a310a0960040302018000000a1a2408a0cff89d0310101a0c1a0a08c8d007100720012801320612040a0208013a04d15a2fc32a31"
    "0a0960040302018000000a1a240888cccf9e03101d1a0c1a0a08c8d007100c20012801320612040a0208023a04d15a2fc33a103030313663"
    "30303166313530303831 32"
)
DOWN_AS_JSON = {
    "downlinkId": 1234,
    "items": [
        {
            "phyPayload": "YAQDAgGAAAAK",
            "txInfo": {
                "frequency": 868100000,
                "power": 16,
                "modulation": {
                    "lora": {
                        "bandwidth": 125000,
                        "spreadingFactor": 7,
                        "polarizationInversion": True,
                        "codeRate": "CR_4_5",
                    }
                },
                "timing": {"delay": {"delay": "1s"}},
                "context": "0Vovww==",
            },
        },
        {
            "phyPayload": "YAQDAgGAAAAK",
            "txInfo": {
                "frequency": 869525000,
                "power": 29,
                "modulation": {
                    "lora": {
                        "bandwidth": 125000,
                        "spreadingFactor": 12,
                        "polarizationInversion": True,
                        "codeRate": "CR_4_5",
                    }
                },
                "timing": {"delay": {"delay": "2s"}},
                "context": "0Vovww==",
            },
        },
    ],
    "gatewayId": "0016c001f1500812",
}
# Class C without context; at a GPS time; FSK two seconds after a counter of ffffffff.
DOWN_OTHERWISE = (
    "18072a270a0960040302018000000a1a1a0888cccf9e03101b1a0c1a0a08c8d00710092001280132020a002a340a0960040302018000000a"
    "1a270888cccf9e03101b1a0c1a0a08c8d007100920012801320f1a0d0a0b08b2a3bbc10510c0b2cd3b2a2f0a0960040302018000000a1a22"
    "0880aca39e03100e1a0a220808a8c30110d08603320612040a0208023a04ffffffff3a1030303136633030316631353030383132"
)
CONFIGURATION = (
    "1204316132621a1408a0cff89d031a0c12060708090a0b0c18c8d0071a1008e0e9849e031a081202070818c8d0071a100880aca39e032208"
    "10d0860318c8d0072202081e2a1030303136633030316631353030383132"
)
ACK = "10d2092a0208022a020801321030303136633030316631353030383132"
ONLINE, OFFLINE = "10011a1030303136633030316631353030383132", "1a1030303136633030316631353030383132"

EUI = GatewayEui.parse("0016c001f1500812")
HEARD = Stamp(1_795_428_000_123_456, TimeQuality.GPS, 1, "boot", 77)  # date -u -d 2026-11-23T10:00:00.123456Z +%s%6N
FRAME = RadioFrame(
    phy=bytes.fromhex("40040302018001000aa1b2c3d4e5f6"),
    heard=HEARD,
    frequency_hz=868_100_000,
    modulation=Lora(7, 125_000, "4/5"),
    rssi_dbm=-87,
    snr_db=9.5,
    channel=2,
    rf_chain=1,
    counter_us=0xD15A2FC3,
    crc=Crc.OK,
    receiver="0016c001ff10a235",
    gps_time_us=1_479_463_218_123_456,
    fine_time_ns=123_456_789,
)


def written(message, values) -> str:
    return Marshaler.PROTOBUF.write(message, values).hex()


def test_an_uplink_is_what_generated_code_writes():
    assert written(UPLINK_FRAME, uplink(FRAME, EUI, 4242)) == UP


def test_an_uplink_in_json_is_what_the_mapping_says():
    said = json.loads(Marshaler.JSON.write(UPLINK_FRAME, uplink(replace(FRAME, fine_time_ns=None), EUI, 4242)))
    context = said["rxInfo"].pop("context")
    assert from_json(UPLINK_FRAME, {"rxInfo": {"context": context}}) == {
        "rx_info": {"context": bytes.fromhex("d15a2fc300") + b"0016c001ff10a235"}
    }
    assert said == {
        "phyPayload": "QAQDAgGAAQAKobLD1OX2",
        "txInfo": {
            "frequency": 868100000,
            "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 7, "codeRate": "CR_4_5"}},
        },
        "rxInfo": {
            "gatewayId": "0016c001f1500812",
            "uplinkId": 4242,
            "gwTime": "2026-11-23T10:00:00.123456Z",
            "timeSinceGpsEpoch": "1479463218.123456s",
            "rssi": -87,
            "snr": 9.5,
            "channel": 2,
            "rfChain": 1,
            "crcStatus": "CRC_OK",
        },
    }


@pytest.mark.parametrize("quality", [TimeQuality.UNSYNCED, TimeQuality.RTC])
def test_a_time_that_nobody_knows_is_not_told(quality):
    undated = replace(FRAME, heard=replace(HEARD, quality=quality), gps_time_us=None)
    rx_info = uplink(undated, EUI, 1)["rx_info"]
    assert not {"gw_time", "time_since_gps_epoch", "fine_time_since_gps_epoch"} & rx_info.keys()


def test_a_frame_from_the_backlog_is_marked_and_so_is_its_answer():
    rx_info = uplink(FRAME, EUI, 1, replayed=True)["rx_info"]
    assert rx_info["metadata"] == {"buffered": "true"}
    assert Context.read(rx_info["context"], "") == Context(0xD15A2FC3, "0016c001ff10a235", replayed=True)


@pytest.mark.parametrize(
    ("gps_us", "fine_ns", "told_ns"),
    [
        (1_479_463_218_123_456, 123_456_789, 1_479_463_218_123_456_789),
        (1_479_463_219_000_000, 999_999_300, 1_479_463_218_999_999_300),  # a microsecond past the turn, and before it
        (1_479_463_218_999_999, 200, 1_479_463_219_000_000_200),
    ],
)
def test_a_fine_time_is_of_the_second_that_fits_it(gps_us, fine_ns, told_ns):
    rx_info = uplink(replace(FRAME, gps_time_us=gps_us, fine_time_ns=fine_ns), EUI, 1)["rx_info"]
    assert rx_info["fine_time_since_gps_epoch"] == told_ns


def test_a_frame_from_the_backlog_has_gps_time_or_does_not_go():
    # The pair of times is that of test_an_uplink_in_json_is_what_the_mapping_says: 18 leap seconds apart.
    without = replace(FRAME, gps_time_us=None, fine_time_ns=None)
    assert "time_since_gps_epoch" not in uplink(without, EUI, 1)["rx_info"]
    assert uplink(without, EUI, 1, replayed=True)["rx_info"]["time_since_gps_epoch"] == FRAME.gps_time_us * 1000
    with pytest.raises(ValueError, match="not known"):
        uplink(replace(without, heard=replace(HEARD, quality=TimeQuality.RTC)), EUI, 1, replayed=True)


@pytest.mark.parametrize(
    ("modulation", "said"),
    [
        (Fsk(50_000), {"fsk": {"datarate": 50000}}),
        (
            LrFhss(137_000, "1/3", 8),
            {"lrFhss": {"operatingChannelWidth": 137000, "gridSteps": 8, "codeRate": "CR_2_6"}},
        ),
        (Lora(12, 500_000, None), {"lora": {"bandwidth": 500000, "spreadingFactor": 12}}),
        (Lora(8, 812_000, "4/8LI"), {"lora": {"bandwidth": 812000, "spreadingFactor": 8, "codeRate": "CR_LI_4_8"}}),
    ],
)
def test_every_modulation_has_its_message(modulation, said):
    frame = uplink(replace(FRAME, modulation=modulation, snr_db=None), EUI, 1)
    assert to_json(UPLINK_FRAME, frame)["txInfo"]["modulation"] == said
    assert "snr" not in to_json(UPLINK_FRAME, frame)["rxInfo"]


@given(st.integers(0, (1 << 32) - 1), st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20))
def test_a_context_comes_back_as_it_went(counter_us, receiver):
    content = Context(counter_us, receiver).encode()
    assert Context.read(content, "") == Context(counter_us, receiver)
    assert content[:4] == counter_us.to_bytes(4, "big")
    assert len(content) != 9  # ChirpStack Gateway Mesh's


def test_statistics_are_what_generated_code_writes():
    traffic = Traffic(
        received=3,
        received_ok=2,
        downlinks=2,
        by_status={"OK": 1, "TOO_LATE": 1},
        received_by_frequency={FRAME.frequency_hz: 3},
        received_by_modulation={FRAME.modulation: 3},
    )
    rx2 = DownlinkRequest("", b"", "", Immediately(), 869_525_000, Lora(12, 125_000, "4/5"), 27)
    traffic.sent(rx2)
    now = Stamp(1_795_428_030_000_000, TimeQuality.NTP, 1, "boot", 77)
    assert written(GATEWAY_STATS, stats(traffic, EUI, now, Position(52.5, 13.25, 40, PositionSource.SETTINGS))) == STATS
    undated = stats(traffic, EUI, replace(now, quality=TimeQuality.UNSYNCED))
    assert "time" not in decode(GATEWAY_STATS, encode(GATEWAY_STATS, undated))


def test_statistics_of_the_law_and_the_configuration_are_what_generated_code_writes():
    bands = (
        BandLoad("M", 868_000_000, 868_600_000, 36_000_000, 1_482_000),
        BandLoad("P", 869_400_000, 869_650_000, 360_000_000, 0),
    )
    now = Stamp(1_795_428_030_000_000, TimeQuality.NTP, 1, "boot", 77)
    said = stats(
        Traffic(),
        EUI,
        now,
        config_version="1a2b",
        metadata={"concentratord_version": "lorawan-edge-gateway 1"},
        duty_cycles=DutyCycles(bands, is_etsi=True),
    )
    assert read(GATEWAY_STATS, encode(GATEWAY_STATS, said)) == read(GATEWAY_STATS, bytes.fromhex(LAWFUL_STATS))
    assert len(encode(GATEWAY_STATS, said)) == len(LAWFUL_STATS) // 2


def test_states_and_acknowledgements_are_what_generated_code_writes():
    assert written(CONN_STATE, conn_state(EUI, online=True)) == ONLINE
    assert written(CONN_STATE, conn_state(EUI, online=False)) == OFFLINE
    assert json.loads(Marshaler.JSON.write(CONN_STATE, conn_state(EUI, online=True)))["state"] == "ONLINE"
    assert written(DOWNLINK_TX_ACK, tx_ack(EUI, 1234, ("TOO_LATE", "OK"))) == ACK


@pytest.mark.parametrize("payload", [bytes.fromhex(DOWN), json.dumps(DOWN_AS_JSON, indent=1).encode()])
def test_a_downlink_is_read_in_both_spellings(payload):
    downlink = read_downlink(payload, "sx1302")
    rx1, rx2 = downlink.items
    assert (downlink.downlink_id, downlink.gateway_id, downlink.replayed) == (1234, str(EUI), False)
    assert rx1 == DownlinkRequest(
        ref="1234",
        phy=bytes.fromhex("60040302018000000a"),
        receiver="sx1302",
        timing=AtCounter(0xD15A2FC3 + 1_000_000),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000, "4/5"),
        power_dbm_eirp=16.0,
        invert_polarity=True,
        payload_crc=True,
    )
    assert (rx2.timing, rx2.frequency_hz, rx2.modulation, rx2.power_dbm_eirp) == (
        AtCounter(0xD15A2FC3 + 2_000_000),
        869_525_000,
        Lora(12, 125_000, "4/5"),
        29.0,
    )
    assert to_json(DOWNLINK_FRAME, read(DOWNLINK_FRAME, payload)) == DOWN_AS_JSON


def test_every_timing_is_read_and_the_counter_turns_over():
    class_c, class_b, fsk = read_downlink(bytes.fromhex(DOWN_OTHERWISE), "sx1302").items
    assert class_c.timing == Immediately()
    assert class_b.timing == AtGpsTime(1_479_463_346_125_000)
    assert fsk.timing == AtCounter(1_999_999)
    assert fsk.modulation == Fsk(50_000, 25_000)


def test_an_answer_goes_out_where_its_frame_was_heard():
    values = from_json(DOWNLINK_FRAME, DOWN_AS_JSON)
    values["items"][0]["tx_info"]["context"] = Context(7, "0016c001ff10a235", replayed=True).encode()
    downlink = read_downlink(encode(DOWNLINK_FRAME, values), "sx1302")
    assert [item.receiver for item in downlink.items] == ["0016c001ff10a235", "sx1302"]
    assert downlink.replayed


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"phy_payload": bytes(300)}, "INTERNAL_ERROR"),
        ({"phy_payload": b""}, "INTERNAL_ERROR"),
        ({"tx_info": {}}, "INTERNAL_ERROR"),
        ({"context": b"\1\2\3"}, "INTERNAL_ERROR"),
        ({"timing": {"delay": {}}}, "INTERNAL_ERROR"),
        ({"timing": {"delay": {"delay": -1}}}, "TOO_LATE"),
        ({"timing": {"delay": {"delay": 4_295 * 10**9}}}, "TOO_EARLY"),
        ({"timing": {"gps_epoch": {"time_since_gps_epoch": -1}}}, "INTERNAL_ERROR"),
        ({"modulation": {"lora": {"bandwidth": 125_000}}}, "INTERNAL_ERROR"),
        ({"modulation": {"lora": {"bandwidth": 7, "spreading_factor": 7}}}, "INTERNAL_ERROR"),
        (
            {"modulation": {"lora": {"bandwidth": 125_000, "spreading_factor": 7, "code_rate": "CR_3_8"}}},
            "INTERNAL_ERROR",
        ),
        ({"modulation": {"fsk": {}}}, "INTERNAL_ERROR"),
        ({"modulation": {"lr_fhss": {}}}, "INTERNAL_ERROR"),
    ],
)
def test_an_item_that_no_radio_can_send_has_its_status_and_leaves_the_other_alone(change, status):
    values = from_json(DOWNLINK_FRAME, DOWN_AS_JSON)
    item = values["items"][0]
    (item if change.keys() <= {"phy_payload", "tx_info"} else item["tx_info"]).update(change)
    bad, good = read_downlink(encode(DOWNLINK_FRAME, values), "sx1302").items
    assert isinstance(bad, Impossible)
    assert bad.status == status
    assert isinstance(good, DownlinkRequest)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x18\x01",
        b"{",
        b'{"items": 7}',
        b'{"items": [{"txInfo": {"frequency": -1}}]}',
        b'{"items": [{"phyPayload": "?"}]}',
        b'{"items": [{"txInfo": {"timing": {"delay": {"delay": "1"}}}}]}',
        b'{"items": [{"txInfo": {"timing": {"immediately": {}, "delay": {}}}}]}',
        b'{"items": [{"txInfo": {"modulation": {"lora": {"codeRate": "CR_9_9"}}}}]}',
        b"\x2a\x05\x0a\x09",
        b"\x03",
        b"{\xff}",
        bytes.fromhex("2a00" * 9),
        bytes(70_000),
    ],
)
def test_what_is_no_downlink_is_refused(payload):
    with pytest.raises(Unreadable):
        read_downlink(payload, "sx1302")


def test_a_configuration_is_read():
    configuration = read_configuration(bytes.fromhex(CONFIGURATION))
    assert configuration.version == "1a2b"
    assert [str(channel) for channel in configuration.plan.channels] == [
        "868.1",
        "868.3",
        "868.8 (FSK)",
    ]
    assert configuration.stats_interval_s == 30
    packed = decode(GATEWAY_CONFIGURATION, bytes.fromhex(CONFIGURATION))
    assert packed["channels"][0]["lora_modulation_config"]["spreading_factors"] == [7, 8, 9, 10, 11, 12]
    assert encode(GATEWAY_CONFIGURATION, packed).hex() == CONFIGURATION


def test_every_result_and_every_rate_has_a_word_of_the_protocol():
    assert STATUS_OF.keys() == set(TxResult)
    assert set(STATUS_OF.values()) <= TX_ACK_STATUSES.keys()
    for rate in ("4/5", "4/6", "4/7", "4/8"):
        assert modulation_values(Lora(7, 125_000, rate))["lora"]["code_rate"] in CODE_RATES


def _bent(at: int, by: bytes) -> bytes:
    good = bytes.fromhex(DOWN)
    return good[:at] + by + good[at + len(by) :]


@given(st.binary(max_size=120) | st.builds(_bent, st.integers(0, 122), st.binary(max_size=3)))
def test_noise_is_a_downlink_or_refused(payload):
    try:
        downlink = read_downlink(payload, "sx1302")
    except Unreadable as error:
        assert str(error)  # noqa: PT017
    else:
        assert all(isinstance(item, (DownlinkRequest, Impossible)) for item in downlink.items)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 40), 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["items", "txInfo", "timing", "delay", "modulation", "lora", "context", "power", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_json_of_any_shape_is_a_downlink_or_refused(facts):
    try:
        downlink = read_downlink(json.dumps(facts).encode(), "sx1302")
    except Unreadable as error:
        assert str(error)  # noqa: PT017
    else:
        assert downlink.items


_CHANNELS = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 1 << 33) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "channels",
                    "frequency",
                    "loraModulationConfig",
                    "fskModulationConfig",
                    "spreadingFactors",
                    "bandwidth",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    _CHANNELS.map(lambda channels: orjson.dumps({"gatewayId": "0016c001f1500812", "channels": [channels]}))
    | st.builds(
        lambda at, octets: bytes.fromhex(CONFIGURATION)[:at] + octets + bytes.fromhex(CONFIGURATION)[at + 2 :],
        st.integers(0, len(CONFIGURATION) // 2),
        st.binary(max_size=4),
    )
)
def test_any_configuration_is_a_plan_or_refused(payload):
    try:
        found = read_configuration(payload)
    except Unreadable as error:
        assert str(error)  # noqa: PT017
        return
    for channel in found.plan.channels:
        assert 100_000_000 <= channel.frequency_hz <= 3_000_000_000
        assert channel.bandwidth_hz in {125_000, 250_000, 500_000}
        assert all(5 <= factor <= 12 for factor in channel.spreading_factors)
