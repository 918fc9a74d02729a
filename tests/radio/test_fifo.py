"""What is kept of a receive buffer, and what each kind of damage costs: itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libloragw_standin import HELLO, NO_CRC, packet

from gateway.radio.fifo import SIZE, payload_crc, sieve

# Answers of `sx1302_lora_payload_crc`, sx1302_hal 2.1.0.
CRCS = [
    ("00", 0x0000), ("01", 0x0001), ("0102", 0x0102), ("010203", 0x1222), ("313233343536373839", 0xBEEF),
    ("400102030468656c6c6f", 0xE682),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "crc"), CRCS)
def test_the_payload_checksum_is_the_modem_s(payload, crc):
    assert payload_crc(bytes.fromhex(payload)) == crc


def test_what_the_library_takes_is_kept_as_it_is():
    sieved = sieve(HELLO + NO_CRC + HELLO)
    assert (sieved.packets, sieved.count, dict(sieved.faults)) == (HELLO + NO_CRC + HELLO, 3, {})


def _spoilt(whole: bytes, at: int, value: int, *, mend: bool) -> bytes:
    spoilt = bytearray(whole)
    spoilt[at] = value
    if mend:
        spoilt[-1] = sum(spoilt[:-1]) & 0xFF
    return bytes(spoilt)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (_spoilt(HELLO, 12, 0x77, mend=False), "checksum"),
        (_spoilt(HELLO, 12, 0x77, mend=True), "payload_crc"),
        (_spoilt(HELLO, 4, 0x43, mend=True), "poison_packet"),  # SF4
        (_spoilt(HELLO, 4, 0xD3, mend=True), "poison_packet"),  # SF13
        (_spoilt(HELLO, 3, 10, mend=True), "poison_packet"),  # channel 10
        (_spoilt(HELLO, 5, 18, mend=True), "poison_packet"),  # modem 18
        (b"\x00\x00\x00", "noise"),
    ],
)
def test_each_bad_packet_costs_itself_alone(bad, fault):
    sieved = sieve(HELLO + bad + NO_CRC)
    assert (sieved.packets, sieved.count, dict(sieved.faults)) == (HELLO + NO_CRC, 2, {fault: 1})


def test_more_timing_metrics_than_the_library_has_room_for_are_poison():
    crowded = bytearray(packet(b"hello")[:-1])
    crowded[5 + 21] = 200
    crowded += bytes(400)
    crowded.append(sum(crowded) & 0xFF)
    assert dict(sieve(bytes(crowded) + HELLO).faults) == {"poison_packet": 1}
    assert sieve(bytes(crowded) + HELLO).packets == HELLO


@pytest.mark.parametrize("cut", range(1, len(HELLO)))
def test_half_a_packet_at_the_end_is_left_out(cut):
    sieved = sieve(NO_CRC + HELLO[:cut])
    assert (sieved.packets, sieved.count) == (NO_CRC, 1)
    assert sum(sieved.faults.values()) >= 1


def test_a_damaged_frame_is_a_packet_all_the_same():
    damaged = packet(b"who knows", wrong=True)
    assert sieve(damaged).packets == damaged


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([HELLO, NO_CRC, b"\xa5\xc0", b"\xa5"])), max_size=12))
def test_whatever_is_in_the_buffer_only_whole_packets_come_out(pieces):
    data = b"".join(pieces)[:SIZE]
    sieved = sieve(data)
    again = sieve(sieved.packets)
    assert (again.packets, again.count, dict(again.faults)) == (sieved.packets, sieved.count, {})
    assert len(sieved.packets) <= len(data)
    if HELLO in pieces and all(piece in {HELLO, NO_CRC} for piece in pieces):
        assert sieved.count == len(pieces)
