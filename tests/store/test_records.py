"""What a record's bytes must carry (store sheet, T-03 and T-05)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import BOOT_ID, reading

from gateway.model import (
    Crc,
    Decoded,
    DevAddr,
    DevEui,
    Fsk,
    JoinEui,
    Lora,
    LrFhss,
    Measurement,
    RadioFrame,
    Reading,
    Stamp,
    TimeQuality,
    frame_id,
)
from gateway.store.records import UnknownLayout, counted, decode, decode_frame, encode, encode_frame

u32 = st.integers(0, 2**32 - 1)
text = st.text(max_size=20)
json_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
stamp = st.builds(
    Stamp,
    utc_us=st.integers(-(2**62), 2**62),
    quality=st.sampled_from(TimeQuality),
    uncertainty_ms=st.none() | st.integers(0, 2**32 - 2),
    boot_id=st.just(BOOT_ID),
    monotonic_us=st.integers(0, 2**62),
)
coding_rate = st.sampled_from([None, "4/5", "4/6", "4/7", "4/8", "4/5LI", "4/6LI", "4/8LI", "OFF", "2/3"])
modulation = st.one_of(
    st.builds(Lora, st.integers(5, 12), st.sampled_from([125_000, 250_000, 500_000, 1_625_000]), coding_rate),
    st.builds(Fsk, st.integers(500, 250_000), st.none() | st.integers(0, 200_000)),
    st.builds(LrFhss, st.integers(39_000, 1_574_000), st.sampled_from(["1/3", "2/3"]), st.none() | st.integers(1, 100)),
)
tenth = st.integers(-1500, 1500).map(lambda tenths: tenths / 10)
decoded = st.builds(
    Decoded,
    codec=st.none() | text,
    data=st.none() | st.dictionaries(text, json_value, max_size=4),
    measurements=st.lists(
        st.builds(Measurement, text, st.integers() .map(lambda n: n % 2**53) | tenth | st.booleans(), text,
                  st.none() | st.integers(0, 2**53)),
        max_size=3,
    ).map(tuple),
    warnings=st.lists(text, max_size=2).map(tuple),
    problem=st.none() | text,
)  # fmt: skip
any_reading = st.builds(
    Reading,
    frame_id=st.just(""),
    phy=st.binary(min_size=12, max_size=255),
    heard=stamp,
    dev_eui=st.binary(min_size=8, max_size=8).map(DevEui),
    dev_addr=u32.map(DevAddr),
    name=text,
    tags=st.dictionaries(text, text, max_size=3),
    f_cnt=u32,
    f_port=st.none() | st.integers(0, 255),
    confirmed=st.booleans(),
    adr=st.booleans(),
    payload=st.binary(max_size=242),
    gap_before=u32,
    decoded=decoded,
    frequency_hz=u32,
    modulation=modulation,
    rssi_dbm=tenth,
    snr_db=st.none() | tenth,
    channel=st.integers(0, 255),
    rf_chain=st.integers(0, 255),
    reread=st.booleans(),
    counter_us=st.none() | u32,
    device_class=st.sampled_from("ABC"),
    join_eui=st.none() | st.binary(min_size=8, max_size=8).map(JoinEui),
)


@settings(deadline=None, max_examples=200)
@given(kept=any_reading, session_id=u32)
def test_every_reading_comes_back_as_it_was(kept, session_id):
    body = encode(kept, session_id)
    back = decode(body)
    assert back == replace(kept, frame_id=frame_id(kept.phy))
    ahead = counted(body)
    assert (ahead.session_id, ahead.f_cnt, ahead.mic, ahead.utc_us) == (
        session_id, kept.f_cnt, kept.phy[-4:], kept.heard.utc_us
    )  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(
    frame=st.builds(
        RadioFrame, phy=st.binary(max_size=255), heard=stamp, frequency_hz=u32, modulation=modulation, rssi_dbm=tenth,
        snr_db=st.none() | tenth, channel=st.integers(0, 255), rf_chain=st.integers(0, 255), counter_us=u32,
        crc=st.sampled_from(Crc), receiver=text,
    )
)  # fmt: skip
def test_every_unopened_frame_comes_back_as_it_was(frame):
    assert decode_frame(encode_frame(frame)) == frame


@settings(deadline=None, max_examples=300)
@given(noise=st.binary(max_size=300))
def test_noise_is_reported_and_never_read_as_a_record(noise):
    for read in (decode, decode_frame):
        with pytest.raises(UnknownLayout):
            read(noise)


def test_a_record_cut_short_anywhere_is_reported():
    body = encode(reading(), 1)
    for size in range(len(body)):
        with pytest.raises(UnknownLayout):
            decode(body[:size])


def test_what_not_every_reading_has_takes_no_room_where_it_is_not():
    plain = reading()
    whole = replace(plain, counter_us=0xD15A2FC3, join_eui=JoinEui(bytes(8)), device_class="C")
    assert len(encode(whole, 1)) == len(encode(plain, 1)) + 4 + 8


def test_a_later_layout_is_reported_by_its_number():
    with pytest.raises(UnknownLayout, match="layout 9"):
        decode(b"\x09" + encode(reading(), 1)[1:])


def test_an_everyday_record_is_small():
    """Store sheet, section 2: plan 300 bytes a record with index and slack, 800 as JSON."""
    assert len(encode(reading(), 1)) < 250
