"""Packets in the receive buffer, their checksums, and when the chip says they came."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator.usb_host import parse_packets

from gateway.model import Lora
from gateway.simulator.sx1302.fifo import CAPACITY, Packet, RxBuffer, encode, payload_crc
from gateway.simulator.sx1302.timing import decoding_us, payload_us


# sx1302_lora_payload_crc of sx1302_hal 2.1.0, called through its library.
@pytest.mark.parametrize(
    ("payload", "crc"),
    [
        (b"\x00", 0x0000),
        (b"\x01", 0x0001),
        (b"\x01\x02", 0x0102),
        (b"\x01\x02\x03", 0x1222),
        (b"123456789", 0xBEEF),
        (bytes.fromhex("400102030468656c6c6f"), 0xE682),
    ],
)
def test_the_payload_crc_is_the_one_the_library_reckons(payload, crc):
    assert payload_crc(payload) == crc


# Both were accepted by the unmodified lgw_receive of sx1302_hal 2.1.0, which printed these values.
@pytest.mark.parametrize(
    ("packet", "written"),
    [
        (
            Packet(payload=bytes.fromhex("400102030468656c6c6f"), channel=5, spreading_factor=7, modem=0,
                   timestamp=0x01020304, snr_quarters_db=40, channel_rssi=0x5A, signal_rssi=0x58),
            "a5c00a057300000000400102030468656c6c6f00285a5800000403020182e60091",
        ),
        (
            Packet(payload=b"xxx", channel=2, spreading_factor=12, modem=0, timestamp=0xFFFFFFF0, coding_rate=2,
                   crc_present=False, crc=0x87E7, frequency_error=-1000, snr_quarters_db=-60, channel_rssi=80,
                   signal_rssi=70),
            "a5c00302c40018fc0f78787800c450460000f0ffffffe787006e",
        ),
    ],
)  # fmt: skip
def test_packets_are_written_as_the_library_reads_them(packet, written):
    assert encode(packet).hex() == written


PACKETS = st.builds(
    Packet,
    payload=st.binary(max_size=255),
    channel=st.integers(0, 9),
    spreading_factor=st.integers(5, 12),
    modem=st.integers(0, 17),
    timestamp=st.integers(0, (1 << 32) - 1),
    coding_rate=st.integers(1, 4),
    crc_present=st.booleans(),
    crc_wrong=st.booleans(),
    frequency_error=st.integers(-(1 << 19), (1 << 19) - 1),
    snr_quarters_db=st.integers(-128, 127),
    channel_rssi=st.integers(0, 255),
    signal_rssi=st.integers(0, 255),
    best_timed=st.booleans(),
    metrics=st.binary(max_size=32).filter(lambda metrics: len(metrics) % 2 == 0),
)


@settings(deadline=None, max_examples=100)
@given(packets=st.lists(PACKETS, max_size=5))
def test_what_is_written_is_what_a_driver_reads(packets):
    for packet, read in zip(packets, parse_packets(b"".join(map(encode, packets))), strict=True):
        assert (read.payload, read.channel, read.modem) == (packet.payload, packet.channel, packet.modem)
        assert (read.spreading_factor, read.coding_rate) == (packet.spreading_factor, packet.coding_rate)
        assert (read.crc_present, read.crc_wrong) == (packet.crc_present, packet.crc_wrong)
        assert (read.frequency_error, read.timestamp) == (packet.frequency_error, packet.timestamp)
        assert (read.snr_db, read.metrics) == (packet.snr_quarters_db / 4, packet.metrics)
        assert (read.channel_rssi, read.signal_rssi) == (packet.channel_rssi, packet.signal_rssi)
        assert (read.best_timed, read.crc) == (
            packet.best_timed, payload_crc(packet.payload) if packet.crc_present else 0
        )  # fmt: skip


def test_the_buffer_takes_whole_packets_or_none():
    buffer, packet = RxBuffer(), bytes(1000)
    assert [buffer.put(packet) for _ in range(5)] == [True, True, True, True, False]
    assert (len(buffer), buffer.packets, buffer.overflowed) == (4000, 4, 1)
    assert buffer.put(bytes(CAPACITY - 4000))
    assert len(buffer.take(CAPACITY + 10)) == CAPACITY + 10
    assert (len(buffer), buffer.packets) == (0, 0)


# legacy_timestamp_correction and precision_timestamp_correction of sx1302_hal 2.1.0, called through its library: what
# it adds to a packet's timestamp to get the end of the packet. Two of each data rate, picked by dice.
CORRECTIONS = [
    (5, 125_000, 198, 2, True, -136, 122861), (5, 125_000, 218, 3, False, -125, 157677),
    (6, 125_000, 166, 1, True, -223, 143341), (6, 125_000, 86, 4, False, -220, 118765),
    (7, 125_000, 169, 4, True, -470, 401389), (7, 125_000, 122, 2, False, -467, 215021),
    (8, 125_000, 113, 1, True, -879, 296941), (8, 125_000, 16, 1, True, -874, 51181),
    (9, 125_000, 81, 1, False, -1973, 368621), (9, 125_000, 108, 4, False, -1978, 786413),
    (10, 125_000, 161, 3, False, -3902, 1834989), (10, 125_000, 241, 1, False, -3898, 1966061),
    (11, 125_000, 141, 2, True, -7720, 3145709), (11, 125_000, 195, 3, True, -7721, 5046253),
    (12, 125_000, 109, 3, False, -15401, 5046253), (12, 125_000, 195, 2, False, -15406, 7667693),
    (5, 250_000, 178, 1, True, -68, 46069), (5, 250_000, 48, 3, False, -64, 17909),
    (6, 250_000, 110, 2, True, -108, 58357), (6, 250_000, 105, 1, False, -112, 44789),
    (7, 250_000, 42, 3, False, -237, 42997), (7, 250_000, 89, 3, False, -231, 93173),
    (8, 250_000, 24, 2, True, -439, 42997), (8, 250_000, 163, 2, False, -441, 251893),
    (9, 250_000, 245, 3, False, -982, 788469), (9, 250_000, 162, 3, False, -989, 516085),
    (10, 250_000, 245, 3, True, -1940, 1433589), (10, 250_000, 99, 1, True, -1950, 409589),
    (11, 250_000, 102, 3, True, -4380, 1318901), (11, 250_000, 52, 4, False, -4372, 786421),
    (12, 250_000, 251, 2, True, -7698, 5013493), (12, 250_000, 216, 2, False, -7707, 4227061),
    (5, 500_000, 245, 2, True, -35, 38009), (5, 500_000, 147, 4, True, -34, 30713),
    (6, 500_000, 122, 3, False, -56, 36729), (6, 500_000, 109, 1, True, -57, 23673),
    (7, 500_000, 205, 3, False, -117, 105721), (7, 500_000, 29, 1, False, -115, 11513),
    (8, 500_000, 171, 3, False, -222, 154105), (8, 500_000, 252, 3, False, -223, 225785),
    (9, 500_000, 31, 2, True, -491, 49145), (9, 500_000, 159, 4, False, -491, 294905),
    (10, 500_000, 199, 4, False, -974, 655353), (10, 500_000, 156, 3, False, -977, 444409),
    (11, 500_000, 229, 4, False, -2189, 1671161), (11, 500_000, 56, 4, True, -2188, 425977),
    (12, 500_000, 148, 2, False, -4365, 1474553), (12, 500_000, 187, 2, True, -4363, 1867769),
    (5, 125_000, 0, 1, False, -103, -18), (5, 125_000, 1, 1, False, -127, 1261),
    (7, 125_000, 13, 1, True, -456, None), (9, 125_000, 13, 1, True, -1958, None),
    (12, 125_000, 13, 1, True, -15404, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spreading", "bandwidth_hz", "size", "coding_rate", "crc", "legacy_us", "precise_us"), CORRECTIONS
)
def test_timestamps_are_off_by_what_the_library_takes_off(
    spreading, bandwidth_hz, size, coding_rate, crc, legacy_us, precise_us
):
    lora = Lora(spreading, bandwidth_hz)
    assert decoding_us(lora, size, coding_rate=coding_rate, crc=crc) == -legacy_us
    if precise_us is not None:
        assert payload_us(lora, size, coding_rate=coding_rate, crc=crc) == precise_us
