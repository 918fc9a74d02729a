"""The bridge's protocol: whole requests from any bytes, answers as Semtech's library wants them."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.sx1302.bridge import MOST_PAYLOAD, Bridge, Request, RequestReader, request_bytes


class Wires:
    """Gives everything back."""

    def __init__(self):
        self.pins = []

    def exchange(self, target, frame, now_us):
        return frame if target < 2 else None

    def modify(self, address, mask, value, now_us):
        return 0xF0, 0xF0 & ~mask & 0xFF | value & mask

    def set_pin(self, port, pin, *, high, now_us):
        self.pins.append((port, pin, high))

    def temperature_c(self):
        return -12.5


def bridge() -> Bridge:
    return Bridge(Wires(), serial=bytes.fromhex("0016c001ff0a0b0c"), powered_us=1_000_000)


REQUESTS = st.builds(Request, st.integers(0, 254), st.integers(0, 255), st.binary(max_size=40))


@settings(deadline=None)
@given(requests=st.lists(REQUESTS, max_size=8), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_requests_come_out_whole_however_their_bytes_are_cut(requests, cuts):
    written = b"".join(map(request_bytes, requests))
    ends = [0, *sorted(min(cut, len(written)) for cut in cuts), len(written)]
    reader = RequestReader()
    read = [request for start, end in pairwise(ends) for request in reader.feed(written[start:end])]
    assert read == requests
    assert not reader.within_request


@settings(deadline=None, max_examples=300)
@given(noise=st.binary(max_size=600), cuts=st.lists(st.integers(0, 600), max_size=6))
def test_any_bytes_are_read_the_same_in_pieces_as_in_one(noise, cuts):
    ends = [0, *sorted(min(cut, len(noise)) for cut in cuts), len(noise)]
    pieces, whole = RequestReader(), RequestReader()
    read = [request for start, end in pairwise(ends) for request in pieces.feed(noise[start:end])]
    assert read == whole.feed(noise)
    assert pieces.skipped == whole.skipped


@settings(deadline=None, max_examples=300)
@given(noise=st.binary(max_size=300), order=st.sampled_from([None, 1, 4, 5]))
def test_any_bytes_get_answers_of_the_right_shape_or_none(noise, order):
    if order is not None:
        noise = request_bytes(Request(1, order, noise))
    for answer in bridge().feed(noise, 2_000_000):
        assert len(answer) == 4 + int.from_bytes(answer[1:3], "big")
        assert 0x40 <= answer[3] <= 0x45 or answer[3:] == b"\xff"


def test_a_length_no_request_has_is_stepped_over():
    reader = RequestReader()
    assert reader.feed(b"\xff\xff\xff" + request_bytes(Request(99, 0, b""))) == [Request(99, 0, b"")]
    assert reader.skipped == 3
    assert MOST_PAYLOAD < 0xFF00


def test_half_a_request_can_be_given_up():
    reader = RequestReader()
    assert reader.feed(request_bytes(Request(1, 5, bytes(20)))[:9]) == []
    assert reader.within_request
    reader.discard()
    assert reader.feed(request_bytes(Request(2, 1, b""))) == [Request(2, 1, b"")]
    assert reader.skipped == 9


# Answers: loragw_mcu.h (e_cmd_offset_ack_ping, …_ack_get_status), loragw_mcu.c (decode_ack_…), sx1302_hal 2.1.0.
@pytest.mark.parametrize(
    ("request_hex", "answer_hex"),
    [
        ("05 0000 00", "05 0015 40  000000000016c001ff0a0b0c  563031 2e 3030 2e 3030"),
        ("06 0000 01", "06 0006 41  000003e8 fb1e"),  # one second up, -12.5 °C in hundredths
        ("07 0003 04 00 02 01", "07 0001 44  00"),
        ("08 0001 03 00", "08 0001 43  00"),
        ("09 0000 02", "09 0000 42"),
        ("0a 0009 05 03 01 00 0004 c0000000", "0a 0009 45 03 01 00 0004 c0000000"),
        ("0b 0006 05 04 02 5601 10 10", "0b 0005 45 04 02 00 f0 f0"),
        ("0c 000e 05 00 01 00 0003 80aabb 01 02 5601 30 00", "0c 000d 45 00 01 00 0003 80aabb 01 02 00 f0 c0"),
        ("0d 0008 05 00 01 07 0003 80aabb", "0d 0005 45 00 01 02 0000"),  # no such chip select: wrong parameter
        ("0e 0003 05 00 09 00", "0e 0005 45 00 01 02 0000"),  # no such type
        ("0f 0007 05 00 01 00 00ff 80aa", "0f 0005 45 00 01 02 0000"),  # a frame longer than its request
        ("10 0000 33", "10 0000 ff"),
    ],
)
def test_each_order_has_its_answer(request_hex, answer_hex):
    assert bridge().feed(bytes.fromhex(request_hex), 2_000_000) == [bytes.fromhex(answer_hex)]


def test_pins_reach_the_board():
    bridge_ = bridge()
    bridge_.feed(bytes.fromhex("07 0003 04 00 02 01  07 0003 04 00 02 00"), 0)
    assert bridge_._wiring.pins == [(0, 2, True), (0, 2, False)]
