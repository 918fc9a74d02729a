"""The messages between radio process and daemon: the same on both sides, in pieces of any size, and nothing else."""

from __future__ import annotations

import contextlib
import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AtCounter, Crc, DownlinkRequest, Fsk, GatewayEui, Lora, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.chip import Examination, RawFrame, Reset, TroubleKind
from gateway.radio.counter import TURN_US
from gateway.radio.pipe import (
    PIPE_BUF,
    Again,
    Beat,
    Bye,
    Decoder,
    Heard,
    PipeFault,
    Quit,
    Report,
    Send,
    Setup,
    Tell,
    Trouble,
    Up,
    batches,
    encode,
)
from gateway.regions import region_named
from gateway.regions.eu868 import EU868

u32 = st.integers(0, (1 << 32) - 2)
times = st.integers(0, 1 << 60)
words = st.text(max_size=300)
levels = st.floats(-200, 50, width=32)
loras = st.builds(
    Lora, st.integers(5, 12), st.sampled_from([125_000, 250_000, 500_000]), st.sampled_from([None, "4/5", "4/8"])
)
fsks = st.builds(Fsk, st.integers(500, 250_000), st.none() | st.integers(1, 200_000))


@st.composite
def frames(draw):
    count_us = draw(times)
    frame = RawFrame(
        phy=draw(st.binary(max_size=255)),
        counter_us=count_us % TURN_US,
        frequency_hz=draw(u32),
        modulation=draw(loras | fsks),
        rssi_dbm=draw(levels),
        snr_db=draw(st.none() | levels),
        channel=draw(st.integers(0, 9)),
        rf_chain=draw(st.integers(0, 1)),
        crc=draw(st.sampled_from(Crc)),
        signal_rssi_dbm=draw(st.none() | levels),
        fine_time_ns=draw(st.none() | st.integers(0, 999_999_999)),
        frequency_offset_hz=draw(st.none() | st.integers(-100_000, 100_000)),
    )
    return Heard(frame, count_us, draw(times))


@st.composite
def sends(draw):
    start_us = draw(times)
    number = draw(u32)
    request = DownlinkRequest(
        ref=str(number),
        phy=draw(st.binary(min_size=1, max_size=255)),
        receiver="",
        timing=AtCounter(start_us % TURN_US),
        frequency_hz=draw(u32),
        modulation=draw(loras | fsks),
        power_dbm_eirp=draw(levels),
        invert_polarity=draw(st.booleans()),
        payload_crc=draw(st.booleans()),
        preamble_symbols=draw(st.none() | st.integers(0, 65_535)),
    )
    return Send(number, start_us, draw(u32), request)


examinations = st.builds(
    Examination,
    *[st.none() | st.integers(0, 255)] * 3,
    *[st.none() | st.booleans()] * 2,
    st.none() | st.floats(-40, 125, width=32),
    st.dictionaries(st.sampled_from(["poison_packet", "fifo_fault", "checksum"]), times),
)
options = (
    words | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False) | st.booleans() | st.none()
    | st.binary(max_size=4000)
)  # fmt: skip
plans = st.sampled_from([plan_of(EU868), plan_of(region_named("US915"), block=2), plan_of(region_named("KR920"))])
messages = (
    frames()
    | sends()
    | st.builds(Up, times, times, words, words, st.none() | st.binary(min_size=8, max_size=8).map(GatewayEui))
    | st.builds(Beat, times, times, times, u32, times, times, times, u32, examinations, st.none() | times)
    | st.builds(Trouble, st.sampled_from(TroubleKind), words, words)
    | st.builds(Report, u32, st.sampled_from(TxResult), words, st.booleans())
    | st.builds(Tell, st.text(max_size=30), options)
    | st.builds(Again, st.sampled_from(Reset))
    | st.sampled_from([Bye(), Quit()])
    | st.builds(
        Setup, st.text(max_size=80), plans, st.integers(0, 1_000_000), st.none() | times, times, st.booleans()
    )
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(messages, max_size=6), st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_what_goes_in_comes_out_however_the_pipe_cuts_it(said, cuts):
    octets = b"".join(map(encode, said))
    decoder, heard, at = Decoder(), [], 0
    for cut in [*cuts, len(octets)]:
        heard += decoder.feed(octets[at : at + cut])
        at += cut
    assert heard == said


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300) | st.builds(lambda one, two: encode(one) + two, messages, st.binary(max_size=20)))
def test_anything_is_a_message_or_a_fault(octets):
    decoder = Decoder()
    with contextlib.suppress(PipeFault):
        decoder.feed(octets)
        assert octets.endswith(decoder._octets)


@settings(deadline=None, max_examples=300)
@given(messages, st.data())
def test_a_damaged_message_is_a_message_or_a_fault(message, data):
    octets = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PipeFault):
        Decoder().feed(bytes(octets))


@settings(deadline=None, max_examples=50)
@given(st.lists(messages, max_size=40))
def test_pieces_are_no_longer_than_a_pipe_takes_at_once_and_cut_no_message(said):
    pieces = batches(map(encode, said))
    assert all(len(piece) <= PIPE_BUF for piece in pieces)
    decoder = Decoder()
    assert [message for piece in pieces for message in decoder.feed(piece)] == said
    assert decoder._octets == b""
    for piece, following in itertools.pairwise(pieces):
        [first, *_] = Decoder().feed(following)
        assert len(piece) + len(encode(first)) > PIPE_BUF  # it would not have fitted in there


def test_a_piece_of_this_size_is_all_or_nothing_on_this_machine():
    assert os.pathconf("/", "PC_PIPE_BUF") >= PIPE_BUF


def heard(**changes):
    values = {"rssi_dbm": -100.0, "snr_db": 5.0, "phy": b"\x40", "modulation": Lora(7, 125_000)} | changes
    frame = RawFrame(counter_us=1, frequency_hz=868_100_000, channel=0, rf_chain=0, crc=Crc.OK, **values)
    return Heard(frame, 1, 1)


@pytest.mark.parametrize(
    "message",
    [
        heard(rssi_dbm=float("nan")),
        heard(rssi_dbm=float("inf")),
        heard(snr_db=float("-inf")),
        heard(phy=bytes(5000)),
        heard(modulation=Lora(7, 125_000, "5/9")),
        heard(modulation=Lora(-7, 125_000)),
        Report(1 << 32, TxResult.SENT, "", on_air=True),
        Tell("too long", bytes(4090)),
    ],
)
def test_what_no_chip_can_have_said_is_not_said(message):
    with pytest.raises(PipeFault):
        encode(message)


def test_a_text_is_cut_between_letters():
    [said] = Decoder().feed(encode(Report(1, TxResult.UNKNOWN, "é" * 999, on_air=True)))
    assert said.detail == "é" * 500
