"""Messages cut out of a serial line: whole, in pieces, between noise, damaged."""

import functools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.gps.framing import (
    LONGEST_PAYLOAD,
    LONGEST_SENTENCE,
    Cutter,
    Sentence,
    Ubx,
    nmea_checksum,
    sentence,
    ubx,
    ubx_checksum,
)

# u-blox M8 receiver description including protocol specification (UBX-13003221), section 31: the examples of each
# sentence, with their checksums.
RMC = b"$GPRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A*57\r\n"
GGA = b"$GPGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n"
ZDA = b"$GPZDA,082710.00,16,09,2002,00,00*64\r\n"

# README of semuconsulting/pygnssutils: a NAV-TIMEGPS of a running receiver, as `gnssdump` shows it in hex.
TIMEGPS = bytes.fromhex("b56201201000f80cda1bc2700600a80812070a0000003566")

# CFG-MSG of eight bytes: NAV-TIMEGPS on the first serial port, with the checksum 31 90 that public firmwares send.
CFG_MSG = bytes.fromhex("b5620601080001200001000000003190")


def cut(octets):
    cutter = Cutter()
    return cutter.feed(octets), cutter


def test_published_checksums_fit():
    assert [sentence(line[1:-5].decode()) for line in (RMC, GGA, ZDA)] == [RMC, GGA, ZDA]
    assert ubx_checksum(TIMEGPS[2:-2]) == TIMEGPS[-2:]
    assert ubx(0x0601, CFG_MSG[6:-2]) == CFG_MSG


def test_sentences_and_ubx_come_out_in_their_order():
    found, cutter = cut(RMC + TIMEGPS + GGA + CFG_MSG + ZDA)
    assert found == [
        Sentence(RMC[1:-5].decode()), Ubx(0x0120, TIMEGPS[6:-2]), Sentence(GGA[1:-5].decode()),
        Ubx(0x0601, CFG_MSG[6:-2]), Sentence(ZDA[1:-5].decode()),
    ]  # fmt: skip
    assert (cutter.noise, cutter.damaged) == (0, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_pieces_of_any_size_say_the_same(size):
    octets = b"\xb5noise$" + RMC + TIMEGPS + b"\xb5\x62\x01" + GGA + TIMEGPS
    whole, _ = cut(octets)
    cutter = Cutter()
    found = [message for at in range(0, len(octets), size) for message in cutter.feed(octets[at : at + size])]
    assert found == whole
    assert len(found) == 4


def test_a_line_that_began_before_we_listened_costs_itself_alone():
    found, cutter = cut(RMC[20:] + GGA)
    assert found == [Sentence(GGA[1:-5].decode())]
    assert cutter.noise == len(RMC[20:])


def test_a_damaged_sentence_and_a_damaged_message_are_counted_and_cost_no_other():
    found, cutter = cut(RMC.replace(b"A,4717", b"A,4718") + GGA + TIMEGPS[:10] + b"\xff" + TIMEGPS[11:] + ZDA)
    assert [message.text[:5] for message in found] == ["GPGGA", "GPZDA"]
    assert cutter.damaged == 2


def test_a_sentence_that_is_cut_off_by_another_does_not_take_it_along():
    assert cut(RMC[:30] + GGA)[0] == [Sentence(GGA[1:-5].decode())]


@pytest.mark.parametrize(
    "noise",
    [
        b"$" * 40,
        b"$GPRMC,no end of it" + b"x" * LONGEST_SENTENCE,
        b"\xb5\x62\x01\x07" + (LONGEST_PAYLOAD + 1).to_bytes(2, "little"),
        b"\xb5\xb5\xb5\x62\xb5",
        b"\x00\xff$\x80\x81\r\n",
        b"$*00\r\n"[:-3] + b"\r\n",
        b"$GPXXX*ZZ\r\n",
    ],
)
def test_noise_is_left_behind(noise):
    found, _ = cut(noise + RMC)
    assert found == [Sentence(RMC[1:-5].decode())]


def test_what_looks_like_a_long_message_gives_way_when_it_is_none():
    lure = b"\xb5\x62\x01\x35" + (200).to_bytes(2, "little")  # 200 bytes are awaited; three sentences come instead
    found, cutter = cut(lure + RMC + GGA + ZDA + RMC)
    assert len(found) == 4
    assert cutter.damaged == 1


@given(st.binary(max_size=300), st.integers(1, 50))
@settings(deadline=None, max_examples=100)
def test_no_noise_stops_it_for_ever(noise, size):
    cutter = Cutter()
    octets = noise + (b"\n" + RMC) * 80  # more than the longest that can be awaited
    found = [message for at in range(0, len(octets), size) for message in cutter.feed(octets[at : at + size])]
    assert Sentence(RMC[1:-5].decode()) in found


@given(st.lists(st.binary(min_size=1, max_size=40) | st.sampled_from([RMC, TIMEGPS, GGA]), max_size=12))
@settings(deadline=None, max_examples=100)
def test_every_byte_is_in_a_message_or_counted_or_awaited(pieces):
    octets = b"".join(pieces)
    found, cutter = cut(octets)
    taken = sum(
        len(message.text) + 6 if isinstance(message, Sentence) else len(message.payload) + 8 for message in found
    )
    assert taken + cutter.noise <= len(octets)
    assert all(nmea_checksum(m.text.encode()) < 256 for m in found if isinstance(m, Sentence))


@given(st.integers(0, 0xFFFF), st.binary(max_size=LONGEST_PAYLOAD))
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_read(kind, payload):
    assert cut(ubx(kind, payload))[0] == [Ubx(kind, payload)]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="$*"), max_size=200))
@settings(deadline=None, max_examples=100)
def test_the_checksum_of_a_sentence_is_the_xor_of_its_characters(text):
    assert nmea_checksum(text.encode()) == functools.reduce(operator.xor, text.encode(), 0)
    assert cut(sentence(text))[0] == [Sentence(text)]
