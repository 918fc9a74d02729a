"""Uplinks as forwarders send them, good and bad, and as we send them. Sources: semtech_samples.py."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from semtech_samples import EUI, HEARD, RXPK, UPLINK, only, packet, read

from gateway.model import Crc, Fsk, Lora, LrFhss, RadioFrame, Stamp, TimeQuality
from gateway.wire import semtech_words as words
from gateway.wire.semtech_udp import MAX_DATAGRAM, Fault, Malformed, Stat, read_push, write_push

# --- rxpk: what others have published ---


def test_the_worked_example_reads_as_its_author_wrote_it():
    assert only(read_push(RXPK, str(EUI), HEARD)) == RadioFrame(
        phy=UPLINK,
        heard=Stamp(1_795_428_000_123_000, TimeQuality.GPS, 1, "b", 77),  # 2026-11-23T10:00:00.123Z
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000, "4/5"),
        rssi_dbm=-87,
        snr_db=9.5,
        channel=2,
        rf_chain=1,
        counter_us=3_512_348_611,
        crc=Crc.OK,
        receiver="0016c001f1500812",
        gps_time_us=1_479_463_218_123_000,
    )


def test_the_three_frames_of_semtechs_own_document():
    """PROTOCOL.md section 4; the payloads are what coreutils' base64 makes of them. Two are unpadded, one mixed."""
    content = read_push(
        b"""{"rxpk":[
        {"time":"2013-03-31T16:21:17.528002Z","tmst":3512348611,"chan":2,"rfch":0,"freq":866.349812,"stat":1,
         "modu":"LORA","datr":"SF7BW125","codr":"4/6","rssi":-35,"lsnr":5.1,"size":32,
         "data":"-DS4CGaDCdG+48eJNM3Vai-zDpsR71Pn9CPA9uCON84"},
        {"time":"2013-03-31T16:21:17.530974Z","tmst":3512348514,"chan":9,"rfch":1,"freq":869.1,"stat":1,
         "modu":"FSK","datr":50000,"rssi":-75,"size":16,"data":"VEVTVF9QQUNLRVRfMTIzNA=="},
        {"time":"2013-03-31T16:21:17.532038Z","tmst":3316387610,"chan":0,"rfch":0,"freq":863.00981,"stat":1,
         "modu":"LORA","datr":"SF10BW125","codr":"4/7","rssi":-38,"lsnr":5.5,"size":32,
         "data":"ysgRl452xNLep9S1NTIg2lomKDxUgn3DJ7DE+b00Ass"}]}""",
        "rx",
        HEARD,
    )
    assert list(content.faults) == []
    assert [(f.phy.hex(), f.frequency_hz, f.modulation, f.rssi_dbm, f.snr_db, f.channel) for f in content.frames] == [
        (
            "f834b808668309d1bee3c78934cdd56a2fb30e9b11ef53e7f423c0f6e08e37ce",
            866_349_812,
            Lora(7, 125_000, "4/6"),
            -35,
            5.1,
            2,
        ),
        (b"TEST_PACKET_1234".hex(), 869_100_000, Fsk(50_000), -75, None, 9),
        (
            "cac811978e76c4d2dea7d4b5353220da5a26283c54827dc327b0c4f9bd3402cb",
            863_009_810,
            Lora(10, 125_000, "4/7"),
            -38,
            5.5,
            0,
        ),
    ]
    assert {f.heard for f in content.frames} == {HEARD}  # `time` is nobody's promise


def test_an_uplink_recorded_by_the_things_stack():
    """translation_test.go, TestToGatewayUpRaw."""
    frame = only(
        read_push(
            b'{"rxpk":[{"tmst":368384825,"chan":0,"rfch":0,"freq":868.100000,"stat":1,"modu":"LORA","datr":"SF7BW125",'
            b'"codr":"4/5","lsnr":-11,"rssi":-107,"size":108,"data":"Wqish6GVYpKy6o9WFHingeTJ1oh+ABc8iALBvwz44yxZP+BKDo'
            b"caC5VQT5Y6dDdUaBILVjRMz0Ynzow1U/Kkts9AoZh3Ja3DX+DyY27exB+BKpSx2rXJ2vs9svm/EKYIsPF0RG1E+7lBYaD9"
            b'"}]}',
            "rx",
            HEARD,
        )
    )
    assert (len(frame.phy), frame.modulation, frame.frequency_hz) == (108, Lora(7, 125_000, "4/5"), 868_100_000)
    assert (frame.counter_us, frame.rssi_dbm, frame.snr_db) == (368_384_825, -107, -11)


def test_a_gateway_with_two_antennas_gives_one_frame_as_its_better_antenna_heard_it():
    """translation_test.go, TestToGatewayUpRawMultiAntenna, without its unknown keys; one `ftime` is beyond a second."""
    antennas = [
        {"ant": 0, "chan": 7, "lsnr": 14.0, "rssis": -92, "rssic": -95, "ftime": 1255738435, "foff": -8898},
        {"ant": 1, "chan": 23, "lsnr": 14.0, "rssis": -88, "rssic": -93, "ftime": 252538436, "foff": -8890},
    ]
    raw = {
        "tmst": 879148780,
        "time": "2017-07-04T13:51:17.997099Z",
        "rfch": 0,
        "freq": 868.500000,
        "stat": 1,
        "modu": "LORA",
        "datr": "SF7BW125",
        "codr": "4/5",
        "size": 24,
        "data": "gM+AMQcAvgQBlohnlJqUGOJKTDuTscQD",
        "aesk": 42,
    }
    frame = only(read(raw | {"rsig": antennas}))
    assert frame.phy.hex() == "80cf80310700be0401968867949a9418e24a4c3b93b1c403"
    assert (frame.rssi_dbm, frame.snr_db, frame.channel) == (-93, 14.0, 23)
    assert (frame.fine_time_ns, frame.frequency_offset_hz) == (252_538_436, -8890)
    first = only(read(raw | {"rsig": antennas[:1]}))
    assert (first.rssi_dbm, first.channel, first.fine_time_ns) == (-95, 7, None)


def test_lr_fhss_as_gateway_bridge_reads_it():
    """push_data_test.go, "LR-FHSS modulation"."""
    frame = only(
        read(
            {
                "tmst": 1000000,
                "freq": 868.3,
                "stat": 1,
                "modu": "LR-FHSS",
                "datr": "M0CW137",
                "codr": "4/6",
                "hpw": 8,
                "size": 5,
                "data": "AQIDBAU=",
                "rsig": [{"rssic": -74}],
            }
        )
    )
    assert frame.modulation == LrFhss(137_000, "4/6", 8)
    assert (frame.phy, frame.frequency_hz, frame.rssi_dbm, frame.snr_db) == (b"\1\2\3\4\5", 868_300_000, -74, None)


def test_the_number_of_hopping_steps_may_be_text_as_the_things_stack_has_it():
    frame = only(read(packet(modu="LR-FHSS", datr="M0CW336", codr="5/6", hpw="10")))
    assert frame.modulation == LrFhss(336_000, "5/6", 10)


@pytest.mark.parametrize(("stat", "crc"), [(1, Crc.OK), (-1, Crc.BAD), (0, Crc.NONE)])
def test_a_damaged_frame_is_a_frame_and_says_so(stat, crc):
    assert only(read(packet(stat=stat))).crc is crc


# --- rxpk: time ---


@pytest.mark.parametrize(
    ("tmms", "utc_us"),
    [
        (1_479_463_218_123, 1_795_428_000_123_000),
        (1_167_264_018_000, 1_483_228_800_000_000),  # 2017-01-01T00:00:00Z, the first second with 18 leap seconds
    ],
)
def test_gps_time_becomes_a_stamp_that_says_gps(tmms, utc_us):
    frame = only(read(packet(tmms=tmms)))
    assert frame.heard == dataclasses.replace(HEARD, utc_us=utc_us, quality=TimeQuality.GPS, uncertainty_ms=1)
    assert frame.gps_time_us == tmms * 1000


@pytest.mark.parametrize("tmms", [0, 600_000, 1_167_264_017_999, 10**16, -1, 1.5, "1479463218123", None, True, []])
def test_an_impossible_gps_time_costs_itself_and_not_the_frame(tmms):
    frame = only(read(packet(tmms=tmms)))
    assert (frame.heard, frame.gps_time_us) == (HEARD, None)


@pytest.mark.parametrize("time", ["", None, "yesterday", "2026-11-23T10:00:00Z", 17, {}])
def test_time_is_ignored_whatever_it_says(time):
    assert only(read(packet(time=time))).heard == HEARD


# --- rxpk: lenient ---


@pytest.mark.parametrize(
    "changes",
    [
        {"tmst": 3512348611.0, "size": 15.0, "stat": 1.0, "chan": 2.0},
        {"mid": 8, "jver": 1, "brd": 0, "fts": -1, "meta": {"a": "b"}, "rssis": -90, "aesk": None, "time": None},
        {"data": "QAQDAgGAAQAKobLD1OX2  "},
        {"rsig": None, "ftime": None, "foff": None, "tmms": None},
        {"rsig": []},
    ],
)
def test_spelling_makes_no_difference(changes):
    assert read(packet(**changes)) == read(packet())


@pytest.mark.parametrize(
    ("data", "phy"),
    [
        ("AQ==", "01"),
        ("AQ", "01"),
        ("AQ=", "01"),
        ("_-8=", "ffef"),
        ("_-8", "ffef"),
        ("/+8", "ffef"),
        ("", ""),
    ],
)
def test_base64_of_either_alphabet_padded_or_not(data, phy):
    assert only(read(packet(data=data, size=len(phy) // 2))).phy.hex() == phy


def test_what_a_gateway_leaves_out_is_zero_or_unknown():
    frame = only(read(packet(chan=..., rfch=..., lsnr=...)))
    assert (frame.channel, frame.rf_chain, frame.snr_db) == (0, 0, None)


def test_code_rate_off_is_a_frame_without_one():
    assert only(read(packet(codr="OFF"))).modulation == Lora(7, 125_000, None)


@pytest.mark.parametrize("tail", [b"", b"\r\n", b"\0", b"\0\0\0", b"\n\0", b'\0,"data":"AA=="}]}', b"  "])
def test_what_c_programs_leave_behind_the_json_is_no_harm(tail):
    assert only(read_push(RXPK + tail, "rx", HEARD)).phy == UPLINK


def test_a_byte_order_mark_and_a_doubled_key_are_no_harm():
    assert only(read_push(b"\xef\xbb\xbf" + RXPK, "rx", HEARD)).phy == UPLINK
    assert only(read_push(RXPK.replace(b'"chan":2', b'"chan":1,"chan":2'), "rx", HEARD)).channel == 2


@pytest.mark.parametrize(
    ("freq", "hz"),
    [
        (868.1, 868_100_000),
        (868.0999755859375, 868_099_976),  # 868.1 after a 32-bit float: the hertz it says, not a guess
        (867.1, 867_100_000),
        (903.9, 903_900_000),
        (923.2, 923_200_000),
        (433.175, 433_175_000),
        (868, 868_000_000),
        (2479.0, 2_479_000_000),
    ],
)
def test_frequencies_are_rounded_to_hertz(freq, hz):
    assert only(read(packet(freq=freq))).frequency_hz == hz


@given(hz=st.integers(137_000_000, 1_020_000_000) | st.integers(2_400_000_000, 2_500_000_000))
@settings(deadline=None, max_examples=300)
def test_a_written_frequency_is_right_for_who_rounds_and_for_who_cuts_off(hz):
    written = json.loads(json.dumps(words.mhz(hz)))
    assert round(written * 1e6) == hz
    assert int(1e6 * written) == hz  # lora_pkt_fwd.c casts (uint32_t)((double)(1.0e6) * ...)
    assert only(read(packet(freq=written))).frequency_hz == hz


# --- rxpk: strict ---

REFUSED = [
    (packet(tmst=...), Malformed.MISSING_KEY, "tmst"),
    (packet(freq=...), Malformed.MISSING_KEY, "freq"),
    (packet(stat=...), Malformed.MISSING_KEY, "stat"),
    (packet(modu=...), Malformed.MISSING_KEY, "modu"),
    (packet(datr=...), Malformed.MISSING_KEY, "datr"),
    (packet(codr=...), Malformed.MISSING_KEY, "codr"),
    (packet(rssi=...), Malformed.MISSING_KEY, "rssi"),
    (packet(size=...), Malformed.MISSING_KEY, "size"),
    (packet(data=...), Malformed.MISSING_KEY, "data"),
    (packet(data=None), Malformed.MISSING_KEY, "data"),
    (packet(tmst="3512348611"), Malformed.WRONG_TYPE, "tmst"),
    (packet(tmst=True), Malformed.WRONG_TYPE, "tmst"),
    (packet(freq="868.1"), Malformed.WRONG_TYPE, "freq"),
    (packet(freq=True), Malformed.WRONG_TYPE, "freq"),
    (packet(rssi=[]), Malformed.WRONG_TYPE, "rssi"),
    (packet(lsnr="9.5"), Malformed.WRONG_TYPE, "lsnr"),
    (packet(modu=7), Malformed.WRONG_TYPE, "modu"),
    (packet(datr=7), Malformed.WRONG_TYPE, "datr"),
    (packet(datr=["SF7BW125"]), Malformed.WRONG_TYPE, "datr"),
    (packet(codr={}), Malformed.WRONG_TYPE, "codr"),
    (packet(modu="FSK"), Malformed.WRONG_TYPE, "datr"),
    (packet(data=7), Malformed.WRONG_TYPE, "data"),
    (packet(rsig="loud"), Malformed.WRONG_TYPE, "rsig"),
    (packet(tmst=-1), Malformed.IMPOSSIBLE_VALUE, "tmst"),
    (packet(tmst=1 << 32), Malformed.IMPOSSIBLE_VALUE, "tmst"),
    (packet(tmst=0.5), Malformed.IMPOSSIBLE_VALUE, "tmst"),
    (packet(tmst=1e300), Malformed.IMPOSSIBLE_VALUE, "tmst"),
    (packet(freq=1e-05), Malformed.IMPOSSIBLE_VALUE, "freq"),
    (packet(freq=-868.1), Malformed.IMPOSSIBLE_VALUE, "freq"),
    (packet(freq=868100000), Malformed.IMPOSSIBLE_VALUE, "freq"),
    (packet(freq=1500), Malformed.IMPOSSIBLE_VALUE, "freq"),
    (packet(freq=1e308), Malformed.IMPOSSIBLE_VALUE, "freq"),
    (packet(rssi=255), Malformed.IMPOSSIBLE_VALUE, "rssi"),
    (packet(rssi=-201), Malformed.IMPOSSIBLE_VALUE, "rssi"),
    (packet(lsnr=128), Malformed.IMPOSSIBLE_VALUE, "lsnr"),
    (packet(stat=2), Malformed.IMPOSSIBLE_VALUE, "stat"),
    (packet(chan=-1), Malformed.IMPOSSIBLE_VALUE, "chan"),
    (packet(rfch=256), Malformed.IMPOSSIBLE_VALUE, "rfch"),
    (packet(modu="FSK", datr=0), Malformed.IMPOSSIBLE_VALUE, "datr"),
    (packet(rsig=[{"rssic": 999}, 7]), Malformed.IMPOSSIBLE_VALUE, "rsig"),
    (packet(data="QAQDAgGAAQAKobLD1OX2*"), Malformed.BAD_BASE64, "data"),
    (packet(data="A", size=0), Malformed.BAD_BASE64, "data"),
    (packet(data="Ä", size=0), Malformed.BAD_BASE64, "data"),
    (packet(data="AQ==AQ==", size=2), Malformed.BAD_BASE64, "data"),
    (packet(size=14), Malformed.SIZE_MISMATCH, "size"),
    (packet(size=65535), Malformed.SIZE_MISMATCH, "size"),
    (packet(data="AAAA" * 86, size=258), Malformed.TOO_LONG, "data"),
    (packet(data="A" * 60_000, size=45_000), Malformed.TOO_LONG, "data"),
    (packet(modu="lora"), Malformed.UNKNOWN_MODULATION, "modu"),
    (packet(modu="GFSK"), Malformed.UNKNOWN_MODULATION, "modu"),
    (packet(datr="SF13BW125"), Malformed.UNKNOWN_DATA_RATE, "datr"),
    (packet(datr="6BW125"), Malformed.UNKNOWN_DATA_RATE, "datr"),  # data_rate_test.go of The Things Stack
    (packet(datr="SF9B500"), Malformed.UNKNOWN_DATA_RATE, "datr"),
    (packet(modu="LR-FHSS", codr="1/3"), Malformed.UNKNOWN_DATA_RATE, "datr"),
    (packet(codr="4/9"), Malformed.UNKNOWN_CODING_RATE, "codr"),
    (packet(codr=""), Malformed.UNKNOWN_CODING_RATE, "codr"),
    (packet(modu="LR-FHSS", datr="M0CW137", codr="4/5"), Malformed.UNKNOWN_CODING_RATE, "codr"),
    (7, Malformed.NOT_AN_OBJECT, "rxpk"),
    (None, Malformed.NOT_AN_OBJECT, "rxpk"),
    ([packet()], Malformed.NOT_AN_OBJECT, "rxpk"),
]


@pytest.mark.parametrize(("bad", "reason", "where"), REFUSED)
def test_one_bad_packet_is_refused_by_name_and_its_neighbours_live(bad, reason, where):
    content = read(packet(chan=1), bad, packet(chan=3))
    assert [frame.channel for frame in content.frames] == [1, 3]
    assert list(content.faults) == [Fault(reason, where)]


def test_255_bytes_are_a_frame_and_256_are_not():
    content = read(packet(data="A" * 340, size=255), packet(data="A" * 342, size=256))
    assert [len(frame.phy) for frame in content.frames] == [255]
    assert list(content.faults) == [Fault(Malformed.TOO_LONG, "data")]


# --- a body that is no JSON ---

GOOD_1, GOOD_3 = json.dumps(packet(chan=1)).encode(), json.dumps(packet(chan=3)).encode()
BROKEN = [
    (GOOD_1.replace(b"9.5", b"NaN"), Malformed.NOT_JSON),
    (GOOD_1.replace(b"9.5", b"-nan"), Malformed.NOT_JSON),  # C's printf
    (GOOD_1.replace(b"9.5", b"inf"), Malformed.NOT_JSON),
    (GOOD_1.replace(b"9.5", b"1e999"), Malformed.NOT_JSON),
    (GOOD_1.replace(b"9.5", b""), Malformed.NOT_JSON),
    (GOOD_1.replace(b"9.5", b"9,5"), Malformed.NOT_JSON),
    (GOOD_1.replace(b"-87", b"0x57"), Malformed.NOT_JSON),
    (GOOD_1[:-1] + b",}", Malformed.NOT_JSON),
    (GOOD_1[:-1] + b',"meta":{"}":"{[","\\"":"]"},"x":nan}', Malformed.NOT_JSON),
    (GOOD_1[:-1] + b',"meta":"\\ud800"}', Malformed.NOT_JSON),
    (GOOD_1[:-1] + b',"x":]}', Malformed.NOT_JSON),
    (GOOD_1[:-1] + b',"x":[}', Malformed.NOT_JSON),
    (GOOD_1[:-1] + b',"meta":"\xff\xfe"}', Malformed.NOT_UTF8),
    (GOOD_1[:-1] + b',"x":' + b"[" * 2000 + b"]" * 2000 + b"}", Malformed.TOO_DEEP),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN)
def test_what_breaks_the_json_of_one_packet_costs_that_packet(broken, reason):
    stat = b'"stat":{"time":"2014-01-12 08:59:28 GMT","rxnb":2}'
    for shape in (
        b'{"rxpk":[%s,%s,%s],%s}' % (GOOD_1, broken, GOOD_3, stat),
        b'{%s,"rxpk":[%s,%s,%s]}'
        % (
            stat,
            GOOD_1,
            broken,
            GOOD_3,
        ),
    ):
        content = read_push(shape, "rx", HEARD)
        assert [frame.channel for frame in content.frames] == [1, 3]
        assert content.stat is not None
        assert content.stat.rxnb == 2
        assert list(content.faults) == [Fault(reason, "rxpk")]


def test_a_datagram_that_was_cut_off_keeps_what_came_whole():
    content = read_push(b'{"rxpk":[' + GOOD_1 + b"," + GOOD_3 + b"," + GOOD_1[:-20], "rx", HEARD)
    assert [frame.channel for frame in content.frames] == [1, 3]
    assert list(content.faults) == [Fault(Malformed.NOT_JSON, "rxpk")]


def test_damage_between_packets_is_counted_too():
    content = read_push(b'{"rxpk":[' + GOOD_1 + b" " + GOOD_3 + b"]}", "rx", HEARD)
    assert [frame.channel for frame in content.frames] == [1, 3]
    assert list(content.faults) == [Fault(Malformed.NOT_JSON)]


def test_what_the_senders_buffer_held_before_is_not_heard_again():
    broken_then_old = b'{"rxpk":[' + GOOD_1 + b",nan]}" + b'{"rxpk":[' + GOOD_3 + b"]}"
    content = read_push(broken_then_old, "rx", HEARD)
    assert [frame.channel for frame in content.frames] == [1]
    assert list(content.faults) == [Fault(Malformed.NOT_JSON)]


@pytest.mark.parametrize(
    ("json_", "fault"),
    [
        (b"", Fault(Malformed.NOT_JSON)),
        (b"hello", Fault(Malformed.NOT_JSON)),
        (b"\xff\xff", Fault(Malformed.NOT_UTF8)),
        (b"[" * 5000, Fault(Malformed.TOO_DEEP)),
        (b'"' + b'\\"' * 30_000, Fault(Malformed.NOT_JSON)),
        (b"[]", Fault(Malformed.NOT_AN_OBJECT)),
        (b"7", Fault(Malformed.NOT_AN_OBJECT)),
        (b"null", Fault(Malformed.NOT_AN_OBJECT)),
        (b"{}", Fault(Malformed.MISSING_KEY, "rxpk")),
        (b'{"rxpk":{}}', Fault(Malformed.WRONG_TYPE, "rxpk")),
        (b'{"rxpk":[],"stat":7}', Fault(Malformed.WRONG_TYPE, "stat")),
        (b'{"rxpk":7,"stat":{}}', Fault(Malformed.WRONG_TYPE, "rxpk")),
    ],
)
def test_a_body_without_anything_in_it_is_refused_once(json_, fault):
    content = read_push(json_, "rx", HEARD)
    assert content.frames == []
    assert list(content.faults) == [fault]


def test_a_full_datagram_of_hundreds_of_packets_is_read():
    one = json.dumps(packet(), separators=(",", ":")).encode()
    count = (MAX_DATAGRAM - 12 - len(b'{"rxpk":[]}')) // (len(one) + 1)
    full = b'{"rxpk":[' + b",".join([one] * count) + b"]}"
    assert count > 300
    assert len(read_push(full, "rx", HEARD).frames) == count


@pytest.mark.parametrize("end", [b"0]}", b"nan]}"])
def test_more_packets_than_fit_are_not_worked_through(end):
    content = read_push(b'{"rxpk":[' + b"{}," * 20_000 + end, "rx", HEARD)
    assert content.frames == []
    assert len(content.faults) <= 701
    assert Fault(Malformed.TOO_MANY, "rxpk") in content.faults


def test_every_reason_is_provoked_by_some_test_here():
    provoked = {reason for _, reason, _ in REFUSED} | {reason for _, reason in BROKEN}
    provoked |= {Malformed.SHORT, Malformed.VERSION, Malformed.KIND, Malformed.NO_EUI, Malformed.TOO_MANY}
    assert provoked == set(Malformed)


# --- rxpk written ---


def test_the_worked_example_is_written_as_its_author_wrote_it():
    frame = only(read_push(RXPK, "rx", HEARD))
    ours, theirs = json.loads(write_push([frame]))["rxpk"][0], json.loads(RXPK)["rxpk"][0]
    assert ours.pop("time") == "2026-11-23T10:00:00.123000Z"  # `tmms` has milliseconds
    del theirs["time"]
    assert ours == theirs


def test_a_clock_nobody_set_is_not_given_away_as_time():
    frame = only(read(packet()))
    assert "time" not in json.loads(write_push([frame]))["rxpk"][0]
    known = dataclasses.replace(frame, heard=dataclasses.replace(HEARD, quality=TimeQuality.NTP))
    assert json.loads(write_push([known]))["rxpk"][0]["time"] == "2023-11-14T22:13:20.000000Z"


MODULATIONS = [
    *(
        Lora(sf, bandwidth_hz, rate)
        for sf, bandwidth_hz in words.LORA_DATA_RATES.values()
        for rate in words.LORA_CODING_RATES.values()
    ),
    *(
        LrFhss(width_hz, rate, 8)
        for width_hz in words.LR_FHSS_DATA_RATES.values()
        for rate in sorted(words.LR_FHSS_CODING_RATES)
    ),
    LrFhss(137_000, "1/3"),
    Fsk(50_000),
]


def test_every_row_of_the_tables_is_written_and_read_back():
    frame = only(read(packet()))
    frames = [dataclasses.replace(frame, modulation=modulation, snr_db=None) for modulation in MODULATIONS]
    for some in (frames[i : i + 300] for i in range(0, len(frames), 300)):
        content = read_push(write_push(some), "rx", HEARD)
        assert list(content.faults) == []
        assert content.frames == some


def test_every_word_of_the_tables_is_a_word_others_use():
    """Spelled out here once more, so that a slip of the comprehension shows."""
    assert words.LORA_DATA_RATES["SF7BW125"] == (7, 125_000)
    assert words.LORA_DATA_RATES["SF12BW500"] == (12, 500_000)  # Gateway Bridge, push_data_test.go
    assert words.LORA_DATA_RATES["SF6BW250"] == (6, 250_000)
    assert words.LR_FHSS_DATA_RATES["M0CW137"] == 137_000  # Gateway Bridge, push_data_test.go
    assert set(words.LORA_CODING_RATES) == {"4/5", "4/6", "4/7", "4/8", "4/5LI", "4/6LI", "4/8LI", "OFF"}
    assert {rate for word, rate in words.LORA_CODING_RATES.items() if rate != word} == {None}


@pytest.mark.parametrize(("alias", "rate"), [("2/3", "4/6"), ("1/2", "4/8")])
def test_reduced_fractions_are_understood_but_not_written(alias, rate):
    frame = only(read(packet(codr=alias)))
    assert frame.modulation == Lora(7, 125_000, rate)
    assert json.loads(write_push([frame]))["rxpk"][0]["codr"] == rate


@pytest.mark.parametrize("modulation", [Lora(7, 62_500), Lora(7, 125_000, None), LrFhss(1, "1/3")])
def test_a_modulation_without_a_word_is_an_error_of_ours_and_none_but_that(modulation):
    frame = dataclasses.replace(only(read(packet())), modulation=modulation)
    if modulation == Lora(7, 125_000, None):
        assert json.loads(write_push([frame]))["rxpk"][0]["codr"] == "OFF"
    else:
        with pytest.raises(ValueError, match="no word for"):
            write_push([frame])


FRAMES = st.builds(
    RadioFrame,
    phy=st.binary(max_size=255),
    heard=st.just(HEARD),
    frequency_hz=st.integers(137_000_000, 1_020_000_000),
    modulation=st.sampled_from(MODULATIONS),
    rssi_dbm=st.integers(-150, 10),
    snr_db=st.none(),
    channel=st.integers(0, 255),
    rf_chain=st.integers(0, 1),
    counter_us=st.integers(0, (1 << 32) - 1),
    crc=st.sampled_from(Crc),
    receiver=st.just("rx"),
    fine_time_ns=st.none() | st.integers(0, 999_999_999),
    frequency_offset_hz=st.none() | st.integers(-50_000, 50_000),
)


@given(frames=st.lists(FRAMES, max_size=5))
@settings(deadline=None, max_examples=100)
def test_what_is_written_is_read_back(frames):
    content = read_push(write_push(frames, Stat(rxnb=1)), "rx", HEARD)
    assert list(content.faults) == []
    assert content.frames == frames
