"""UBX messages of running receivers, read as other programs read them."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gps import ubx
from gateway.gps.framing import Cutter, MalformedMessage, Ubx
from gateway.gps.ubx import Ack, Pvt, Status, TimeGps, TimeLs


def said(octets):
    (message,) = Cutter().feed(bytes.fromhex(octets))
    return ubx.parse(message)


# README of semuconsulting/pygnssutils, which reads it as week 2216, iTOW 09:47:37 UTC (467,275.000 s of the week),
# fTOW 422,082 ns, leapS 18, all valid, tAcc 10 ns.
def test_time_of_gps_with_its_leap_seconds():
    assert said("b56201201000f80cda1bc2700600a80812070a0000003566") == TimeGps(
        2216 * 604_800_000_000 + 467_275_000_000 + 422, 18, 10
    )


# semuconsulting/pyubx2, tests/pygpsdata-NAV.log, one epoch of a running receiver; its test_stream.py reads the PVT as
# 2021-12-04 11:34:59, nano -361,668 ns, 3D fix, 26 satellites, longitude -2.2402855, latitude 53.4507228,
# hMSL 42,701 mm, hAcc 1,491 mm, tAcc 26 ns, and the TIMEGPS as week 2186, fTOW -361,668 ns, leapS 18, tAcc 6 ns.
NAV = {
    "PVT": (
        "b56201075c0008b56221e5070c040b223b371a0000003c7bfaff0303ea1ad928aafedceedb1f30640100cda60000d3050000"
        "11080000f9ffffff040000000900000008000000000000000301000080a8120165000000ee134f2f0000000000000000a744"
    ),
    "STATUS": "b5620103100008b5622103df0008385b00002bba9e0054e5",
    "TIMEGPS": "b5620120100008b562213c7bfaff8a08120706000000d2bb",
    "TIMELS": "b5620126180008b5622100000000021202001e74f7ff8908070000000003b8aa",
}


def test_one_epoch_says_the_same_moment_in_utc_and_in_gps():
    pvt, time = (said(NAV[name]) for name in ("PVT", "TIMEGPS"))
    assert pvt == Pvt(1_638_617_698_999_638, 3, True, 26, 53.4507228, -2.2402855, 42.701, 1.491, 26)
    assert time.gps_time_us == pvt.utc_us + (18 - 315_964_800) * 1_000_000
    assert time.leap_s == 18
    assert said(NAV["STATUS"]) == Status(3, True)
    assert said(NAV["TIMELS"]) == TimeLs(18, 0, -560_098)


def timegps(tow_ms=467_275_000, rest_ns=0, week=2216, leap_s=18, valid=7, accuracy_ns=10):
    return ubx.parse(Ubx(ubx.NAV_TIMEGPS, struct.pack("<IihbBI", tow_ms, rest_ns, week, leap_s, valid, accuracy_ns)))


@pytest.mark.parametrize("valid", [0, 1, 2, 4, 5, 6])
def test_a_week_or_a_time_of_week_that_is_not_known_is_no_time(valid):
    assert timegps(valid=valid).gps_time_us is None


def test_leap_seconds_before_the_satellites_told_them_are_none():
    assert timegps(valid=3) == TimeGps(2216 * 604_800_000_000 + 467_275_000_000, None, 10)


@pytest.mark.parametrize("changes", [{"tow_ms": 604_800_000}, {"week": -1}, {"rest_ns": 600_000}])
def test_a_time_that_is_none_is_refused(changes):
    with pytest.raises(MalformedMessage, match="0x0120"):
        timegps(**changes)


# Values of srcOfCurrLs: 0 default (hardcoded in the firmware), 2 GPS, 255 unknown (UBX-13003221, 32.17.26).
@pytest.mark.parametrize(("source", "leap_s"), [(0, None), (1, 18), (2, 18), (255, None)])
def test_leap_seconds_of_the_firmware_are_not_known_to_be_right(source, leap_s):
    payload = struct.pack("<IB3xBbBbiHH3xB", 0, 0, source, 18, 2, 0, 0, 0, 0, 1)
    assert ubx.parse(Ubx(ubx.NAV_TIMELS, payload)).leap_s == leap_s


def test_a_date_that_is_not_resolved_is_no_time():
    payload = bytearray(bytes.fromhex(NAV["PVT"])[6:-2])
    payload[11] &= ~4  # valid.fullyResolved
    assert ubx.parse(Ubx(ubx.NAV_PVT, bytes(payload))).utc_us is None


def test_it_is_asked_for_messages_in_the_short_way():
    (message,) = Cutter().feed(ubx.asks_for(ubx.NAV_TIMEGPS))
    assert message == Ubx(ubx.CFG_MSG, b"\x01\x20\x01")
    assert ubx.parse(Ubx(ubx.ACK_ACK, b"\x06\x01")) == Ack(ubx.CFG_MSG, taken=True)
    assert ubx.parse(Ubx(ubx.ACK_NAK, b"\x06\x01")) == Ack(ubx.CFG_MSG, taken=False)


def test_what_is_of_no_use_is_none():
    assert ubx.parse(Ubx(0x0135, b"anything")) is None


KINDS = [ubx.NAV_TIMEGPS, ubx.NAV_PVT, ubx.NAV_STATUS, ubx.NAV_TIMELS, ubx.ACK_ACK, ubx.ACK_NAK]
SIZES = {16: "st", 92: "pvt", 24: "ls", 2: "ack"}


@given(st.sampled_from(KINDS), st.sampled_from(sorted(SIZES)).flatmap(lambda n: st.binary(min_size=n, max_size=n)))
@settings(deadline=None, max_examples=200)
def test_no_payload_does_worse_than_be_refused(kind, payload):
    try:
        found = ubx.parse(Ubx(kind, payload))
    except MalformedMessage:
        return
    if isinstance(found, Pvt):
        assert -90 <= found.latitude <= 90
    if isinstance(found, TimeGps) and found.gps_time_us is not None:
        assert 0 <= found.gps_time_us < 1 << 60


@given(st.sampled_from(KINDS), st.binary(max_size=100))
@settings(deadline=None, max_examples=200)
def test_no_size_does_worse_than_be_refused(kind, payload):
    try:
        ubx.parse(Ubx(kind, payload))
    except MalformedMessage as refused:
        assert f"{kind:#06x}" in str(refused)  # noqa: PT017
