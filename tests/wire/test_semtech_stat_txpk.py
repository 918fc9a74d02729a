"""Status, downlinks and what became of them. Sources: semtech_samples.py."""

from __future__ import annotations

import dataclasses
import json

import pytest
from semtech_samples import DOWNLINK, HEARD, TXPK, txpk

from gateway.model import AtCounter, AtGpsTime, DownlinkRequest, Fsk, GatewayEui, Immediately, Lora, TxResult
from gateway.wire import semtech_words as words
from gateway.wire.semtech_udp import (
    Fault,
    Malformed,
    Stat,
    TxAck,
    TxAnswer,
    parse,
    read_push,
    read_tx_ack,
    read_txpk,
    write_push,
    write_tx_ack,
    write_txpk,
)

# --- stat ---


def test_the_status_of_semtechs_own_document():
    """PROTOCOL.md section 4. 2014-01-12 08:59:28 UTC is 1389517168 (date -u +%s)."""
    content = read_push(
        b'{"stat":{"time":"2014-01-12 08:59:28 GMT","lati":46.24000,"long":3.25230,"alti":145,"rxnb":2,"rxok":2,'
        b'"rxfw":2,"ackr":100.0,"dwnb":2,"txnb":2,"temp": 23.2}}',
        "rx",
        HEARD,
    )
    assert list(content.faults) == []
    assert content.stat == Stat(1_389_517_168, 46.24, 3.2523, 145, 2, 2, 2, 100.0, 2, 2, 23.2)


def test_a_status_recorded_by_the_things_stack():
    """translation_test.go, TestStatusRaw: keys nobody documented do no harm."""
    raw = (
        b'{"stat":{"rxfw":0,"hal":"5.1.0","fpga":2,"dsp":31,"lpps":2,"lmnw":3,"lmst":1,"lmok":3,"temp":30.5,'
        b'"lati":52.34223,"long":5.29685,"txnb":0,"dwnb":0,"alti":66,"rxok":0,"boot":"2017-06-07 09:40:42 GMT",'
        b'"time":"2017-06-08 09:40:42 GMT","rxnb":0,"ackr":0.0}}'
    )
    # 2017-06-08 09:40:42 UTC is 1496914842 (date -u +%s)
    assert read_push(raw, "rx", HEARD).stat == Stat(1_496_914_842, 52.34223, 5.29685, 66, 0, 0, 0, 0.0, 0, 0, 30.5)


@pytest.mark.parametrize(
    ("stat", "read_as"),
    [
        ({"lati": 0, "long": 0, "alti": 0}, Stat()),
        ({"lati": 0.0, "long": 0.0}, Stat()),
        ({"lati": 0.0, "long": 6.5, "alti": 0}, Stat(latitude=0.0, longitude=6.5, altitude_m=0)),
        ({"lati": 91, "long": 6.5}, Stat()),
        ({"rxnb": -1, "rxok": "2", "rxfw": 3.0, "ackr": 101}, Stat(rxfw=3)),
        ({"time": "2017-06-08 09:40:42 UTC"}, Stat(time_utc_s=1_496_914_842)),
        ({"time": "soon"}, Stat()),
        ({"time": 7}, Stat()),
        ({}, Stat()),
    ],
)
def test_a_doubtful_status_keeps_what_is_beyond_doubt(stat, read_as):
    content = read_push(json.dumps({"stat": stat}).encode(), "rx", HEARD)
    assert (content.stat, list(content.faults)) == (read_as, [])


def test_a_status_is_written_as_strict_readers_want_it():
    stat = Stat(1_389_517_168, 46.24, 3.2523, 145.4, 2, 2, 2, 100.0, 2, 2, 23.2)
    assert json.loads(write_push(stat=stat)) == {
        "stat": {
            "time": "2014-01-12 08:59:28 GMT",
            "lati": 46.24,
            "long": 3.2523,
            "alti": 145,
            "rxnb": 2,
            "rxok": 2,
            "rxfw": 2,
            "ackr": 100.0,
            "dwnb": 2,
            "txnb": 2,
            "temp": 23.2,
        }
    }
    assert json.loads(write_push(stat=Stat(rxnb=0))) == {"stat": {"rxnb": 0}}


# --- txpk ---


def test_the_worked_downlink_is_read_and_written_as_its_author_wrote_it():
    request = read_txpk(TXPK, ref="r", receiver="rx")
    assert request == DownlinkRequest(
        ref="r",
        phy=DOWNLINK,
        receiver="rx",
        timing=AtCounter(3_513_348_611),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000, "4/5"),
        power_dbm_eirp=14,
    )
    assert json.loads(write_txpk(request)) == json.loads(TXPK)


# Gateway Bridge, pull_resp_test.go: PHY payload 01020304, 14 dBm, rfch 0; GPS time five seconds after the epoch.
GATEWAY_BRIDGE = {"freq": 868.1, "rfch": 0, "powe": 14, "size": 4, "data": "AQIDBA==", "ncrc": False}
GATEWAY_BRIDGE_LORA = {"modu": "LORA", "datr": "SF12BW125", "codr": "4/5", "ipol": True}


@pytest.mark.parametrize(
    ("timing", "modulation", "written"),
    [
        (AtCounter(2_000_000), Lora(12, 125_000), {"imme": False, "tmst": 2000000, **GATEWAY_BRIDGE_LORA}),
        (
            AtCounter(2_000_000),
            Fsk(50_000, 25_000),
            {"imme": False, "tmst": 2000000, "modu": "FSK", "datr": 50000, "fdev": 25000},
        ),
        (Immediately(), Lora(12, 125_000), {"imme": True, **GATEWAY_BRIDGE_LORA}),
        (AtGpsTime(5_000_000), Lora(12, 125_000), {"imme": False, "tmms": 5000, **GATEWAY_BRIDGE_LORA}),
    ],
)
def test_downlinks_are_written_as_gateway_bridge_writes_them_and_read_back(timing, modulation, written):
    request = DownlinkRequest(
        "r", b"\1\2\3\4", "rx", timing, 868_100_000, modulation, 14, payload_crc=True, invert_polarity="ipol" in written
    )
    assert json.loads(write_txpk(request)) == {"txpk": GATEWAY_BRIDGE | written}
    assert read_txpk(write_txpk(request), ref="r", receiver="rx") == request


def test_the_downlinks_of_semtechs_own_document():
    """PROTOCOL.md section 6: unpadded payload, and no `tmst` beside `imme`. Payload by coreutils' base64."""
    lora = (
        b'{"txpk":{"imme":true,"freq":864.123456,"rfch":0,"powe":14,"modu":"LORA","datr":"SF11BW125","codr":"4/6",'
        b'"ipol":false,"size":32,"data":"H3P3N2i9qc4yt7rK7ldqoeCVJGBybzPY5h1Dd7P7p8v"}}'
    )
    fsk = (
        b'{"txpk":{"imme":true,"freq":861.3,"rfch":0,"powe":12,"modu":"FSK","datr":50000,"fdev":3000,'
        b'"size":32,"data":"H3P3N2i9qc4yt7rK7ldqoeCVJGBybzPY5h1Dd7P7p8v"}}'
    )
    phy = bytes.fromhex("1f73f73768bda9ce32b7bacaee576aa1e0952460726f33d8e61d4377b3fba7cb")
    now = Immediately()
    assert read_txpk(lora, ref="r", receiver="rx") == DownlinkRequest(
        "r", phy, "rx", now, 864_123_456, Lora(11, 125_000, "4/6"), 14, invert_polarity=False, payload_crc=True
    )
    assert read_txpk(fsk, ref="r", receiver="rx") == DownlinkRequest(
        "r", phy, "rx", now, 861_300_000, Fsk(50_000, 3000), 12, invert_polarity=False, payload_crc=True
    )


def request_of(**changes: object) -> DownlinkRequest:
    request = read_txpk(txpk(**changes), ref="r", receiver="rx")
    assert isinstance(request, DownlinkRequest)
    return request


def test_the_times_of_a_downlink_override_each_other_in_the_documented_order():
    assert request_of(imme=True, tmms=5000).timing == Immediately()
    assert request_of(tmms=5000).timing == AtCounter(3_513_348_611)
    assert request_of(tmst=..., tmms=5000).timing == AtGpsTime(5_000_000)
    assert request_of(imme=None).timing == AtCounter(3_513_348_611)


def test_what_a_downlink_leaves_out_gets_the_documented_default():
    request = request_of(ipol=..., ncrc=..., powe=..., rfch=..., prea=None)
    assert (request.invert_polarity, request.payload_crc, request.rf_chain) == (False, True, 0)
    assert (request.power_dbm_eirp, request.preamble_symbols) == (14.0, None)
    assert request_of(prea=10).preamble_symbols == 10
    assert json.loads(write_txpk(request_of(prea=10)))["txpk"]["prea"] == 10


def test_power_is_written_in_whole_decibels_and_never_rounded_up():
    request = request_of()
    for asked, written in ((14.0, 14), (16.15, 16), (13.99, 13), (-0.5, -1)):
        made = json.loads(write_txpk(dataclasses.replace(request, power_dbm_eirp=asked)))["txpk"]["powe"]
        assert (made, type(made)) == (written, int)


def test_fsk_always_has_a_deviation():
    request = dataclasses.replace(request_of(), modulation=Fsk(50_000))
    assert json.loads(write_txpk(request))["txpk"]["fdev"] == 25_000


@pytest.mark.parametrize(
    ("json_", "fault"),
    [
        (txpk(imme="true"), Fault(Malformed.WRONG_TYPE, "imme")),
        (txpk(tmst=...), Fault(Malformed.MISSING_KEY, "tmst")),
        (txpk(tmst=-1), Fault(Malformed.IMPOSSIBLE_VALUE, "tmst")),
        (txpk(freq=...), Fault(Malformed.MISSING_KEY, "freq")),
        (txpk(modu="LR-FHSS", datr="M0CW137", codr="1/3"), Fault(Malformed.UNKNOWN_MODULATION, "modu")),
        (txpk(codr=...), Fault(Malformed.MISSING_KEY, "codr")),
        (txpk(size=8), Fault(Malformed.SIZE_MISMATCH, "size")),
        (txpk(powe="14"), Fault(Malformed.WRONG_TYPE, "powe")),
        (txpk(ipol=1), Fault(Malformed.WRONG_TYPE, "ipol")),
        (b"{}", Fault(Malformed.MISSING_KEY, "txpk")),
        (b'{"txpk":[]}', Fault(Malformed.WRONG_TYPE, "txpk")),
        (b"[]", Fault(Malformed.NOT_AN_OBJECT)),
        (b"", Fault(Malformed.NOT_JSON)),
    ],
)
def test_a_downlink_that_cannot_be_sent_is_named(json_, fault):
    assert read_txpk(json_, ref="r", receiver="rx") == fault


# --- txpk_ack ---

GATEWAY_BRIDGE_TX_ACK = bytes.fromhex(  # tx_ack_test.go, the last row
    "027b000500000000000000007b227478706b5f61636b223a7b226572726f72223a22434f4c4c4953494f4e5f424541434f4e227d7d"
)


def test_a_refusal_as_gateway_bridge_has_it_byte_for_byte():
    ack = parse(GATEWAY_BRIDGE_TX_ACK)
    assert isinstance(ack, TxAck)
    assert read_tx_ack(ack.json) == TxAnswer(TxResult.COLLISION_BEACON, "COLLISION_BEACON")
    written = TxAck(2, b"\x7b\0", GatewayEui(bytes(8)), write_tx_ack(TxResult.COLLISION_BEACON)).encode()
    assert written == GATEWAY_BRIDGE_TX_ACK


@pytest.mark.parametrize(
    "json_",
    [
        b"",
        b"\0",  # Kerlink's iBTS, tx_ack_test.go of Gateway Bridge
        b"\r\n",
        b'{"txpk_ack":{"error":"NONE"}}',
        b'{"txpk_ack":{"error":""}}',
        b'{"txpk_ack":{"error":null}}',
        b'{"txpk_ack":{}}',
        b'{"txpk_ack":null}',
        b"{}",
    ],
)
def test_no_complaint_is_a_yes(json_):
    assert read_tx_ack(json_) == TxAnswer(TxResult.SENT)


def test_a_warning_is_a_yes_that_says_what_was_done_instead():
    """PROTOCOL.md section 6, second example."""
    warned = b'{"txpk_ack":{\n\t"warn":"TX_POWER",\n    "value":20\n}}'
    assert read_tx_ack(warned) == TxAnswer(TxResult.SENT, "TX_POWER 20")
    assert json.loads(write_tx_ack(TxResult.SENT, power_used_dbm=20)) == json.loads(warned)
    assert read_tx_ack(b'{"txpk_ack":{"error":"NONE","warn":"TX_POWER"}}') == TxAnswer(TxResult.SENT, "TX_POWER")


@pytest.mark.parametrize(("word", "result"), words.TX_WORDS.items())
def test_every_error_word_reads_and_writes_the_same(word, result):
    answer = read_tx_ack(json.dumps({"txpk_ack": {"error": word}}).encode())
    assert answer == TxAnswer(result, "" if word == "NONE" else word)
    assert read_tx_ack(write_tx_ack(result)) == answer


@pytest.mark.parametrize("result", TxResult)
def test_every_result_has_a_word_of_the_protocol(result):
    written = write_tx_ack(result)
    assert written == b"" or json.loads(written)["txpk_ack"]["error"] in words.TX_WORDS


def test_an_unknown_word_is_kept_but_cannot_write_into_a_log():
    answer = read_tx_ack(json.dumps({"txpk_ack": {"error": "HOT\n\x1b[31m☃" + "x" * 500}}).encode())
    assert isinstance(answer, TxAnswer)
    assert answer.result is TxResult.UNKNOWN
    assert answer.detail.startswith(r"HOT\n\x1b[31m\u2603x")
    assert answer.detail.isascii()
    assert answer.detail.isprintable()
    assert len(answer.detail) <= 80


@pytest.mark.parametrize(
    ("json_", "reason"),
    [
        (b"{", Malformed.NOT_JSON),
        (b"[]", Malformed.NOT_AN_OBJECT),
        (b'{"txpk_ack":7}', Malformed.WRONG_TYPE),
        (b'{"txpk_ack":{"error":7}}', Malformed.WRONG_TYPE),
        (b'{"txpk_ack":{"warn":[]}}', Malformed.WRONG_TYPE),
    ],
)
def test_an_unreadable_answer_is_named(json_, reason):
    answer = read_tx_ack(json_)
    assert isinstance(answer, Fault)
    assert answer.reason is reason
