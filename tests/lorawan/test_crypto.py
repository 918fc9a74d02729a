"""Ciphers and MICs against what others publish."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_frames import ALL

from gateway.lorawan.crypto import (
    KeySchedules,
    crypt_f_opts,
    crypt_payload,
    data_mic,
    downlink_mic_1_1,
    forwarding_half,
    join_mic,
    serving_half,
    uplink_mic_1_1,
)
from gateway.lorawan.frame import DataFrame, Direction, parse
from gateway.model import AesKey, DevAddr

_ONES = AesKey(b"\x01" * 16)
_ADDR = DevAddr(0x01020304)


# RFC 4493, section 4
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_cmac_is_that_of_its_rfc(size, expected):
    message = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    key = KeySchedules().of(AesKey.parse("2b7e151628aed2a6abf7158809cf4f3c"))
    assert key.cmac(message[:size]).hex() == expected
    assert key.cmac(message[:size]).hex() == expected  # a kept schedule carries nothing over


@pytest.mark.parametrize("published", ALL, ids=lambda published: published.source)
def test_a_published_frame_has_the_published_mic(published):
    frame, keys = parse(published.phy), KeySchedules()
    assert isinstance(frame, DataFrame)
    session, unsigned = published.session, frame.unsigned()
    f_key, s_key = keys.of(session.f_nwk_s_int_key), keys.of(session.s_nwk_s_int_key)
    if not published.version.is_1_1:
        mic = data_mic(f_key, frame.direction, frame.dev_addr, published.f_cnt, unsigned)
    elif frame.direction is Direction.DOWN:
        mic = downlink_mic_1_1(s_key, frame.dev_addr, published.f_cnt, unsigned, conf_f_cnt=published.conf_f_cnt)
    else:
        mic = uplink_mic_1_1(
            f_key,
            s_key,
            frame.dev_addr,
            published.f_cnt,
            unsigned,
            conf_f_cnt=published.conf_f_cnt,
            tx_dr=published.tx_dr,
            tx_ch=published.tx_ch,
        )
    assert mic == frame.mic


@pytest.mark.parametrize(
    "published", [frame for frame in ALL if frame.payload is not None], ids=lambda published: published.source
)
def test_a_published_payload_decrypts_to_the_published_text(published):
    frame = parse(published.phy)
    assert isinstance(frame, DataFrame)
    session = published.session
    key = KeySchedules().of(session.nwk_s_enc_key if frame.f_port == 0 else session.app_s_key)
    text = crypt_payload(key, frame.direction, frame.dev_addr, published.f_cnt, frame.frm_payload)
    assert text == published.payload


@pytest.mark.parametrize(
    "published", [frame for frame in ALL if frame.f_opts is not None], ids=lambda published: published.source
)
def test_published_f_opts_decrypt_to_the_published_commands(published):
    frame = parse(published.phy)
    assert isinstance(frame, DataFrame)
    f_opts = frame.f_opts
    if published.version.is_1_1:
        f_opts = crypt_f_opts(
            KeySchedules().of(published.session.nwk_s_enc_key),
            frame.direction,
            frame.dev_addr,
            published.f_cnt,
            f_opts,
            a_f_cnt_down=frame.direction is Direction.DOWN and bool(frame.f_port),
        )
    assert f_opts == published.f_opts


# The Things Network's lorawan-stack 3.32.1, pkg/crypto/data_messages_test.go
@pytest.mark.parametrize(
    ("crypt", "direction", "expected"),
    [
        (crypt_payload, Direction.UP, "cff30b4e"),
        (crypt_payload, Direction.DOWN, "4e75f440"),
        (crypt_f_opts, Direction.UP, "23615f18"),
        (crypt_f_opts, Direction.DOWN, "b2dbe391"),
    ],
)
def test_the_things_stack_encrypts_the_same(crypt, direction, expected):
    assert crypt(KeySchedules().of(_ONES), direction, _ADDR, 1, b"\x01\x02\x03\x04").hex() == expected


def test_the_things_stack_signs_the_same():
    key = KeySchedules().of(_ONES)
    unsigned = bytes.fromhex("40040302010001000101020304")
    assert data_mic(key, Direction.UP, _ADDR, 1, unsigned).hex() == "3b073182"
    assert data_mic(key, Direction.DOWN, _ADDR, 1, unsigned).hex() == "a5609fa9"
    assert downlink_mic_1_1(key, _ADDR, 1, unsigned).hex() == "a5609fa9"
    mic = uplink_mic_1_1(key, key, _ADDR, 1, unsigned, conf_f_cnt=0, tx_dr=0, tx_ch=0)
    assert mic.hex() == "3b073b07"


@pytest.mark.parametrize(
    ("key", "phy"),
    [
        # lora-packet 0.9.3, __tests__/mic_test.ts; the second is a join to a 1.1 network
        ("98929b92c49edba9676d646d3b612456", "0039363463336913aa05693574323831330489c65b1304"),
        ("01" * 16, "00010000000000000001000000000000000ce83685eb17"),
        # a join-accept of 1.0 before its encryption, same file
        ("98929b92c49edba9676d646d3b612456", "20386337ccbbaae7cd2c010000d9d0a6e7"),
        # The Things Network's lorawan-stack 3.32.1, pkg/crypto/join_messages_test.go
        ("01" * 16, "00080706050403020108070605040302010201e6e10c55"),
        # brocaar/lorawan at a18a103, phypayload_test.go
        ("01" * 16, "00040302010403020105040302050403022d106a990e12"),
    ],
)
def test_published_joins_have_the_published_mic(key, phy):
    message = bytes.fromhex(phy)
    assert join_mic(KeySchedules().of(AesKey.parse(key)), message[:-4]) == message[-4:]


@settings(deadline=None)
@given(
    conf_f_cnt=st.integers(0, 0xFFFF),
    tx_dr=st.integers(0, 15),
    tx_ch=st.integers(0, 95),
    unsigned=st.binary(max_size=251),
)
def test_the_halves_are_the_mic_and_the_first_is_that_of_1_0(conf_f_cnt, tx_dr, tx_ch, unsigned):
    keys = KeySchedules()
    f_key, s_key = keys.of(_ONES), keys.of(AesKey(b"\x02" * 16))
    sent = {"conf_f_cnt": conf_f_cnt, "tx_dr": tx_dr, "tx_ch": tx_ch}
    mic = uplink_mic_1_1(f_key, s_key, _ADDR, 70_000, unsigned, **sent)
    assert mic[:2] == serving_half(s_key, _ADDR, 70_000, unsigned, **sent)
    assert mic[2:] == forwarding_half(f_key, _ADDR, 70_000, unsigned)
    assert mic[2:] == data_mic(f_key, Direction.UP, _ADDR, 70_000, unsigned)[:2]


@settings(deadline=None)
@given(
    key=st.binary(min_size=16, max_size=16).map(AesKey),
    direction=st.sampled_from(Direction),
    f_cnt=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=242),
)
def test_what_is_encrypted_twice_is_plain_again(key, direction, f_cnt, payload):
    schedule = KeySchedules().of(key)
    closed = crypt_payload(schedule, direction, _ADDR, f_cnt, payload)
    assert len(closed) == len(payload)
    assert crypt_payload(schedule, direction, _ADDR, f_cnt, closed) == payload
    short = payload[:15]
    closed = crypt_f_opts(schedule, direction, _ADDR, f_cnt, short)
    assert crypt_f_opts(schedule, direction, _ADDR, f_cnt, closed) == short


def test_keys_are_kept_ready_within_a_bound_and_the_unused_ones_go():
    schedules = KeySchedules(bound=2)
    first, second, third = (AesKey(bytes((n,)) * 16) for n in range(3))
    kept = schedules.of(first)
    gone = schedules.of(second)
    assert schedules.of(first) is kept
    schedules.of(third)
    assert len(schedules) == 2
    assert schedules.of(first) is kept
    assert schedules.of(second) is not gone
