"""Downlinks as a network seals them and a device opens them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_frames import ALL

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.downlink import (
    DownCounter,
    DownlinkRefusal,
    OpenedDownlink,
    RefusedDownlink,
    counter_for,
    open_downlink,
    seal_downlink,
)
from gateway.lorawan.frame import F_CNT_MAX, Direction, MalformedFrame, parse
from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session

DOWNLINKS = [
    frame
    for frame in ALL
    if frame.direction is Direction.DOWN and frame.payload is not None and frame.f_opts is not None
]


def _session(version=MacVersion.V1_0_4):
    keys = [AesKey(bytes([n]) * 16) for n in (1, 2, 3, 4)]
    if not version.is_1_1:
        keys[1] = keys[2] = keys[0]
    return Session(DevEui(bytes(8)), DevAddr(0x26011BDA), version, *keys)


@pytest.mark.parametrize("published", DOWNLINKS, ids=lambda published: published.source)
def test_what_is_sealed_is_the_published_frame_to_the_last_byte(published):
    assert (
        seal_downlink(
            published.session,
            f_cnt=published.f_cnt,
            f_port=published.f_port,
            payload=published.payload,
            f_opts=published.f_opts,
            confirmed=published.confirmed,
            ack=published.ack,
            conf_f_cnt=published.conf_f_cnt,
            adr=published.adr,
        )
        == published.phy
    )


@pytest.mark.parametrize("published", DOWNLINKS, ids=lambda published: published.source)
def test_a_device_opens_the_published_frame(published):
    counter = counter_for(published.version, published.f_port)
    opened = open_downlink(
        published.session,
        published.phy,
        last_f_cnt={counter: published.f_cnt - 1},
        conf_f_cnt=published.conf_f_cnt,
    )
    assert opened == OpenedDownlink(
        counter=counter,
        f_cnt=published.f_cnt,
        f_port=published.f_port,
        payload=published.payload,
        f_opts=published.f_opts,
        confirmed=published.confirmed,
        ack=published.ack,
        adr=published.adr,
        f_pending=False,
    )


def test_a_device_of_1_1_counts_the_application_apart():
    assert counter_for(MacVersion.V1_1_0, None) is DownCounter.NETWORK
    assert counter_for(MacVersion.V1_1_0, 0) is DownCounter.NETWORK
    assert counter_for(MacVersion.V1_1_0, 1) is DownCounter.APPLICATION
    assert {counter_for(MacVersion.V1_0_4, f_port) for f_port in (None, 0, 1)} == {DownCounter.NETWORK}


@pytest.mark.parametrize("version", [MacVersion.V1_0_3, MacVersion.V1_1_0])
def test_a_frame_is_taken_once(version):
    session = _session(version)
    phy = seal_downlink(session, f_cnt=7, f_port=2, payload=b"on")
    counter = counter_for(version, 2)
    assert isinstance(open_downlink(session, phy, last_f_cnt={counter: 6}), OpenedDownlink)
    refused = open_downlink(session, phy, last_f_cnt={counter: 7})
    assert refused == RefusedDownlink(DownlinkRefusal.OLD_COUNTER, "counter 7, but 7 was taken before")


def test_an_acknowledgement_of_another_uplink_is_none_in_1_1():
    session = _session(MacVersion.V1_1_0)
    phy = seal_downlink(session, f_cnt=0, f_port=None, ack=True, conf_f_cnt=0x1_0007)
    assert isinstance(open_downlink(session, phy, last_f_cnt={}, conf_f_cnt=7), OpenedDownlink)
    refused = open_downlink(session, phy, last_f_cnt={}, conf_f_cnt=8)
    assert isinstance(refused, RefusedDownlink)
    assert refused.reason is DownlinkRefusal.BAD_MIC
    # 1.0.x does not tie it to an uplink
    old = _session()
    phy = seal_downlink(old, f_cnt=0, f_port=None, ack=True, conf_f_cnt=7)
    assert isinstance(open_downlink(old, phy, last_f_cnt={}, conf_f_cnt=8), OpenedDownlink)


def test_more_to_come_is_on_the_air():
    session = _session()
    phy = seal_downlink(session, f_cnt=3, f_port=None, f_pending=True, adr=True)
    opened = open_downlink(session, phy, last_f_cnt={})
    assert isinstance(opened, OpenedDownlink)
    assert (opened.f_pending, opened.adr, opened.ack, opened.confirmed) == (True, True, False, False)


@pytest.mark.parametrize("version", [MacVersion.V1_0_3, MacVersion.V1_1_0])
def test_a_device_ignores_what_is_not_for_it(version):
    session = _session(version)
    phy = seal_downlink(session, f_cnt=1, f_port=1, payload=b"x")
    forged = phy[:-1] + bytes([phy[-1] ^ 1])
    other = replace(session, dev_addr=DevAddr(1))
    reasons = {
        bytes(3): DownlinkRefusal.MALFORMED,
        seal(session, f_cnt=1, f_port=1): DownlinkRefusal.NOT_DATA_DOWN,
        seal_downlink(other, f_cnt=1, f_port=1): DownlinkRefusal.OTHER_ADDRESS,
        forged: DownlinkRefusal.BAD_MIC,
    }
    for heard, reason in reasons.items():
        refused = open_downlink(session, heard, last_f_cnt={})
        assert isinstance(refused, RefusedDownlink)
        assert refused.reason is reason


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"f_cnt": F_CNT_MAX + 1}, "joins again"),
        ({"f_port": None, "payload": b"x"}, "without an FPort"),
        ({"f_opts": bytes(16)}, "16 bytes of FOpts"),
        ({"f_port": 0, "f_opts": b"\x06"}, "on FPort 0"),
        ({"payload": bytes(243)}, "256 bytes"),
    ],
)
def test_what_no_network_may_send_is_refused(wrong, complaint):
    with pytest.raises(MalformedFrame, match=complaint):
        seal_downlink(_session(), **{"f_cnt": 1, "f_port": 1, **wrong})


@settings(deadline=None, max_examples=150)
@given(
    version=st.sampled_from([MacVersion.V1_0_0, MacVersion.V1_1_0]),
    last=st.integers(-1, F_CNT_MAX - 70_000),
    ahead=st.integers(1, 65_536),
    f_port=st.one_of(st.none(), st.integers(0, 255)),
    payload=st.binary(max_size=60),
    f_opts=st.binary(max_size=15),
    ack=st.booleans(),
)
def test_what_is_sealed_opens_with_its_whole_counter(version, last, ahead, f_port, payload, f_opts, ack):
    session, keys = _session(version), KeySchedules()
    payload = payload if f_port is not None else b""
    f_opts = f_opts if f_port != 0 else b""
    phy = seal_downlink(
        session,
        f_cnt=last + ahead,
        f_port=f_port,
        payload=payload,
        f_opts=f_opts,
        ack=ack,
        conf_f_cnt=9,
        schedules=keys,
    )
    counter = counter_for(version, f_port)
    known = {} if last < 0 else {counter: last}
    opened = open_downlink(session, phy, last_f_cnt=known, conf_f_cnt=9, schedules=keys)
    assert isinstance(opened, OpenedDownlink)
    assert (opened.f_cnt, opened.payload, opened.f_opts, opened.ack) == (last + ahead, payload, f_opts, ack)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=80), st.sampled_from([MacVersion.V1_0_3, MacVersion.V1_1_0]))
def test_any_bytes_are_refused_not_raised(heard, version):
    assert isinstance(open_downlink(_session(version), heard, last_f_cnt={}), RefusedDownlink)


def test_a_sealed_frame_reads_as_one():
    assert parse(seal_downlink(_session(), f_cnt=65_540, f_port=0, payload=b"\x06")).f_cnt16 == 4
