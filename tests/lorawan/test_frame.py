"""Frames to types and back, and what is no frame."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_frames import ALL

from gateway.lorawan.frame import (
    DataFrame,
    Direction,
    DownlinkControl,
    JoinAccept,
    JoinRequest,
    MalformedFrame,
    MType,
    Proprietary,
    RejoinRequest,
    UplinkControl,
    parse,
)
from gateway.model import DevAddr, DevEui, JoinEui


@pytest.mark.parametrize("published", ALL, ids=lambda published: published.source)
def test_a_published_frame_reads_as_its_source_says_and_writes_the_same_bytes(published):
    frame = parse(published.phy)
    assert isinstance(frame, DataFrame)
    assert frame.dev_addr == published.dev_addr
    assert frame.direction is published.direction
    assert frame.confirmed is published.confirmed
    assert frame.f_cnt16 == published.f_cnt % 65_536
    assert frame.f_port == published.f_port
    assert (frame.f_ctrl.adr, frame.f_ctrl.ack) == (published.adr, published.ack)
    assert frame.mic == published.phy[-4:]
    assert frame.to_bytes() == published.phy


# lora-packet 0.9.3, __tests__/fopts_test.ts and parse_test.ts
def test_published_f_opts_are_found():
    frame = parse(bytes.fromhex("4084412505a3010009110308b33750f504d4b86a"))
    assert isinstance(frame, DataFrame)
    assert frame.f_opts == bytes.fromhex("091103")
    assert frame.f_port == 8


# lora-packet 0.9.3, __tests__/parse_test.ts; the second is brocaar/lorawan's, phypayload_test.go
@pytest.mark.parametrize(
    ("phy", "join_eui", "dev_eui", "dev_nonce"),
    [
        ("0039363463336913aa05693574323831338ef1c1d5ec6c", "aa13693363343639", "3331383274356905", 0xF18E),
        ("00040302010403020105040302050403022d106a990e12", "0102030401020304", "0203040502030405", 4141),
    ],
)
def test_a_published_join_request_reads_and_writes_the_same_bytes(phy, join_eui, dev_eui, dev_nonce):
    frame = parse(bytes.fromhex(phy))
    assert isinstance(frame, JoinRequest)
    assert (str(frame.join_eui), str(frame.dev_eui), frame.dev_nonce) == (join_eui, dev_eui, dev_nonce)
    assert frame.to_bytes().hex() == phy


# lora-rs lorawan 0.9.1, tests/lorawan.rs
@pytest.mark.parametrize(
    "phy",
    [
        "20493eeb51fba2116f810edb3742975142",
        "20e45673b63cb4b9cecb2aa83f0333e615d2ac89eea1659837c3aa6df9689889cf",
    ],
)
def test_a_published_join_accept_stays_closed(phy):
    frame = parse(bytes.fromhex(phy))
    assert frame == JoinAccept(bytes.fromhex(phy[2:]))
    assert frame.to_bytes().hex() == phy


# brocaar/lorawan at a18a103, phypayload_test.go: MHDR of a proprietary frame is 224
def test_a_proprietary_frame_keeps_what_its_maker_put_in():
    frame = parse(bytes((224, 5, 6, 7, 8, 9, 10)))
    assert frame == Proprietary(bytes((5, 6, 7, 8, 9, 10)))


def test_a_rejoin_names_the_network_or_the_join_server():
    by_network = RejoinRequest(0, 0x000013, None, DevEui(b"12345678"), 7, b"MIC4")
    by_server = RejoinRequest(1, None, JoinEui(b"abcdefgh"), DevEui(b"12345678"), 7, b"MIC4")
    assert by_network.to_bytes() == b"\xc0\x00" + b"\x13\x00\x00" + b"87654321" + b"\x07\x00" + b"MIC4"
    assert by_server.to_bytes() == b"\xc0\x01" + b"hgfedcba" + b"87654321" + b"\x07\x00" + b"MIC4"
    assert parse(by_network.to_bytes()) == by_network
    assert parse(by_server.to_bytes()) == by_server


_HEADER = "400403020100"  # an uplink of 01020304 without FOpts


@pytest.mark.parametrize(
    ("phy", "complaint"),
    [
        ("", "no byte"),
        ("41" + "00" * 20, "Major 1"),
        ("e3", "Major 3"),
        ("40" + "00" * 10, "11 bytes, a data frame has at least 12"),
        ("400403020101000001020304", "FOptsLen 1, but only 0 bytes"),
        # lora-rs lorawan 0.9.1, tests/lorawan.rs: FOptsLen runs over the end
        ("80040302010fff0401020304", "FOptsLen 15, but only 0 bytes"),
        ("40040302010100000200ee01020304", "both in FOpts and on FPort 0"),
        (_HEADER + "0000" + "01" + "aa" * 243 + "01020304", "256 bytes, a LoRa frame has at most 255"),
        ("00" * 22, "22 bytes, a join-request has 23"),
        ("00" * 24, "24 bytes, a join-request has 23"),
        ("20" + "00" * 15, "15 bytes of join-accept"),
        ("20" + "00" * 28, "28 bytes of join-accept"),
        ("c0", "without its type"),
        ("c003" + "00" * 17, "rejoin type 3"),
        ("c000" + "00" * 18, "20 bytes, a rejoin-request of type 0 has 19"),
        ("c001" + "00" * 17, "19 bytes, a rejoin-request of type 1 has 24"),
        ("e0" + "00" * 255, "256 bytes"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_reason(phy, complaint):
    with pytest.raises(MalformedFrame, match=complaint):
        parse(bytes.fromhex(phy))


_UPLINK = DataFrame(MType.UNCONFIRMED_DATA_UP, DevAddr(1), UplinkControl(), 1, b"", 1, b"x", b"MIC4")
_JOIN = JoinRequest(JoinEui(b"abcdefgh"), DevEui(b"12345678"), 7, b"MIC4")
_REJOIN = RejoinRequest(0, 19, None, DevEui(b"12345678"), 7, b"MIC4")


@pytest.mark.parametrize(
    ("sound", "wrong", "complaint"),
    [
        (_UPLINK, {"mtype": MType.JOIN_REQUEST}, "no data frame"),
        (_UPLINK, {"mtype": MType.CONFIRMED_DATA_DOWN}, "other direction"),
        (_UPLINK, {"f_ctrl": DownlinkControl()}, "other direction"),
        (_UPLINK, {"f_cnt16": 65_536}, "FCnt 65536"),
        (_UPLINK, {"f_cnt16": -1}, "FCnt -1"),
        (_UPLINK, {"f_opts": bytes(16)}, "16 bytes of FOpts"),
        (_UPLINK, {"f_port": None}, "without an FPort"),
        (_UPLINK, {"f_port": 256}, "FPort 256"),
        (_UPLINK, {"f_port": 0, "f_opts": b"\x02"}, "on FPort 0"),
        (_UPLINK, {"frm_payload": bytes(243)}, "256 bytes"),
        (_UPLINK, {"mic": b"MIC"}, "a MIC of 3 bytes"),
        (_UPLINK, {"mhdr_rfu": 8}, "reserved bits"),
        (_JOIN, {"dev_nonce": 65_536}, "DevNonce 65536"),
        (_JOIN, {"mic": b""}, "a MIC of 0 bytes"),
        (_REJOIN, {"rejoin_type": 3}, "rejoin type 3"),
        (_REJOIN, {"rejoin_type": 1}, "type 1 names a JoinEUI"),
        (_REJOIN, {"join_eui": JoinEui(b"abcdefgh")}, "type 1 names a JoinEUI"),
        (_REJOIN, {"net_id": None}, "names a NetID"),
        (_REJOIN, {"net_id": 1 << 24}, "NetID 16777216"),
        (_REJOIN, {"rj_count": -1}, "RJcount -1"),
        (JoinAccept(bytes(16)), {"encrypted": bytes(17)}, "17 bytes of join-accept"),
        (Proprietary(b""), {"body": bytes(255)}, "256 bytes"),
    ],
)
def test_no_frame_can_be_made_that_may_not_exist(sound, wrong, complaint):
    with pytest.raises(MalformedFrame, match=complaint):
        replace(sound, **wrong)


def _data_frames(direction):
    names = {Direction.UP: "UP", Direction.DOWN: "DOWN"}
    controls = {Direction.UP: UplinkControl, Direction.DOWN: DownlinkControl}
    flags = st.booleans()
    port_and_payload = st.one_of(
        st.tuples(st.none(), st.just(b"")),
        st.tuples(st.integers(0, 255), st.binary(max_size=227)),
    )

    @st.composite
    def frames(draw):
        f_port, payload = draw(port_and_payload)
        return DataFrame(
            mtype=MType[f"{draw(st.sampled_from(['CONFIRMED', 'UNCONFIRMED']))}_DATA_{names[direction]}"],
            dev_addr=DevAddr(draw(st.integers(0, 0xFFFFFFFF))),
            f_ctrl=controls[direction](*draw(st.tuples(flags, flags, flags, flags))),
            f_cnt16=draw(st.integers(0, 0xFFFF)),
            f_opts=b"" if f_port == 0 else draw(st.binary(max_size=15)),
            f_port=f_port,
            frm_payload=payload,
            mic=draw(st.binary(min_size=4, max_size=4)),
            mhdr_rfu=draw(st.integers(0, 7)),
        )

    return frames()


@settings(deadline=None)
@given(frame=st.one_of(_data_frames(Direction.UP), _data_frames(Direction.DOWN)))
def test_every_data_frame_comes_back_as_it_was(frame):
    phy = frame.to_bytes()
    assert len(phy) == frame.size
    assert parse(phy) == frame


# Half of them begin like a frame, so that the readers behind the first byte get their share.
_BYTES = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda mhdr, rest: bytes((mhdr << 2,)) + rest, st.integers(0, 63), st.binary(min_size=10, max_size=40)),
)


@settings(deadline=None, max_examples=500)
@given(phy=_BYTES)
def test_any_bytes_are_refused_or_come_back_unchanged(phy):
    try:
        frame = parse(phy)
    except MalformedFrame:
        return
    assert frame.to_bytes() == phy
