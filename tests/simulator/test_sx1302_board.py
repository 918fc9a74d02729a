"""A driver on one side, the air on the other: the start is accepted, frames come in, downlinks go out on time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator.usb_host import EUI, Host, recorded

from gateway.model import Fsk, Lora
from gateway.radio.airtime import airtime_us
from gateway.simulator.air import Position
from gateway.simulator.sx1302.board import conducted_dbm
from gateway.simulator.sx1302.faults import Fault
from gateway.simulator.sx1302.transmitter import meant_hz

PHY = bytes.fromhex("400102030480010002a1b2c3d4e5f60718")
SF7 = Lora(7, 125_000)
CHANNELS_HZ = (868_100_000, 868_300_000, 868_500_000, 867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)


# --- starting -------------------------------------------------------------------------------------------------------


def test_the_library_s_start_gets_every_answer_it_waits_for():
    host = Host()
    checked = [answer for line in recorded("sx1302_hal_start.txt")[:-5] if (answer := host.play(line)) is not None]
    assert len(checked) > 40
    assert all(came == accepted for came, accepted in checked)
    assert {round(channel.frequency_hz, -4) for channel in host.board.chip.channels} == {*CHANNELS_HZ}


def test_the_library_s_stop_leaves_a_chip_that_hears_nothing():
    host = Host().start()
    for line in recorded("sx1302_hal_start.txt")[-5:]:
        host.play(line)
    assert host.board.chip.channels == ()
    assert host.counter_us() == 0


def test_without_power_or_held_in_reset_the_chip_reads_as_zeros():
    host = Host().start()
    for off, on in (("pin 0 1 0", "pin 0 1 1"), ("pin 0 2 1", "pin 0 2 0")):
        host.play(off)
        assert host.read(0x5606) == b"\x00"
        host.play(on)
        assert host.read(0x5606) == b"\x10"
        assert host.board.chip.channels == ()


def test_a_chip_can_be_started_again_and_again():
    host = Host().start()
    assert host.start().start().board.chip.channels


def test_the_eui_is_read_from_the_one_time_memory():
    host = Host()
    read = []
    for byte in range(8):
        host.write(0x6180, bytes([byte]))
        read += host.read(0x6181)
    assert bytes(read) == EUI


def test_firmware_that_was_never_loaded_does_not_report():
    host = Host()
    host.change(0x5780, 0x02, 0x00)
    host.change(0x5780, 0x04, 0x00)
    assert host.read(0x5781) == b"\x00"


@pytest.mark.parametrize(("address", "value"), [(0x5606, 0xAA), (0x5781, 0x01), (0x6105, 0xFF), (0x58C9, 0x10)])
def test_what_is_read_only_stays(address, value):
    host = Host().start()
    before = host.read(address)
    host.write(address, bytes([value]))
    assert host.read(address) == before


@settings(deadline=None, max_examples=150)
@given(frames=st.lists(st.tuples(st.integers(0, 1), st.binary(max_size=40)), max_size=12))
def test_any_spi_frame_brings_as_many_bytes_as_it_has(frames):
    host = Host()
    for target, frame in frames:
        assert len(host.spi(target, frame)) == len(frame)
        host.now_us += 1_000


@settings(deadline=None, max_examples=100)
@given(
    bytes_=st.dictionaries(st.integers(0x5200, 0x61FF), st.integers(0, 255), max_size=60),
    steps=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=4),
)
def test_any_registers_may_be_written_and_time_goes_on(bytes_, steps):
    host = Host().start()
    for address, value in bytes_.items():
        host.write(address, bytes([value]))
    for step in steps:
        host.put(PHY, SF7)
        host.now_us += step
        assert len(host.read(0x4000, host.pending())) < 4096


# --- counting -------------------------------------------------------------------------------------------------------


def test_the_counter_runs_from_the_moment_a_radio_gives_it_a_clock():
    host = Host()
    host.now_us = 5_000_000
    assert host.counter_us() == 0
    host.start()
    host.now_us += 1_234_567
    assert host.counter_us() == 1_234_567


def test_the_counter_turns_after_134_seconds():
    host = Host().start()
    host.now_us += (1 << 27) + 5
    assert host.counter_us() == 5


def test_the_pulse_of_the_gps_is_noted():
    host = Host(pps_at_us=250_000).start()
    assert host.read(0x6101, 4) == bytes(4)
    host.now_us = 3_400_000
    assert int.from_bytes(host.read(0x6101, 4), "big") // 32 == 3_250_000


@pytest.mark.parametrize("ppm", [-20, 8])
def test_a_crystal_that_is_off_counts_and_starts_by_its_own_pace(ppm):
    host = Host(pps_at_us=0, crystal_ppm=ppm).start()
    host.now_us = 100_000_000
    assert host.counter_us() == 100_000_000 + 100 * ppm
    assert int.from_bytes(host.read(0x6101, 4), "big") == (32_000_000 + 32 * ppm) * 100  # a pulse each true second
    host.send(at_count_us=101_000_000)
    host.now_us = 103_000_000
    host.board.feed(b"", host.now_us)
    (sent,) = host.happened("sent")
    assert sent.facts["start_count_us"] == 101_000_000
    (emission,) = host.board._emissions
    assert emission.start_us == pytest.approx(101_000_000 - 101 * ppm, abs=1)


# --- hearing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spreading", range(7, 13))
@pytest.mark.parametrize("channel", range(8))
def test_each_channel_hears_each_spreading_factor(channel, spreading):
    host, lora = Host().start(), Lora(spreading, 125_000)
    host.now_us = 3_000_000
    sent = host.put(PHY, lora, frequency_hz=CHANNELS_HZ[channel])
    host.now_us = sent.end_us + 20_000
    (heard,) = host.fetch()
    assert (heard.payload, heard.channel, heard.spreading_factor) == (PHY, channel, spreading)
    assert (heard.crc_present, heard.crc_wrong, heard.coding_rate) == (True, False, 1)


def test_the_service_channel_hears_its_one_data_rate():
    host = Host().start()
    for spreading in (7, 8):
        sent = host.put(PHY, Lora(spreading, 250_000), frequency_hz=868_300_000)
        host.now_us = sent.end_us + 20_000
    (heard,) = host.fetch()
    assert (heard.channel, heard.modem, heard.spreading_factor) == (8, 16, 7)


# lgw_receive of sx1302_hal 2.1.0 adds -456, -1958, -15404 µs for 13 bytes at these data rates; see test_sx1302_packets.
@pytest.mark.parametrize(("spreading", "correction_us"), [(7, -456), (9, -1958), (12, -15404)])
def test_a_driver_finds_the_end_of_the_packet_to_the_microsecond(spreading, correction_us):
    host, lora = Host().start(), Lora(spreading, 125_000)
    host.now_us = 7_000_000
    sent = host.put(bytes(13), lora)
    host.now_us = sent.end_us
    assert host.pending() == 0  # it is still being decoded
    host.now_us -= correction_us
    (heard,) = host.fetch()
    assert heard.timestamp // 32 + correction_us == sent.end_us


@pytest.mark.parametrize("celsius", [-20, 25, 70])
def test_levels_are_those_that_a_driver_makes_of_the_raw_values(celsius):
    host = Host().start()
    host.board.celsius = celsius
    assert int.from_bytes(host.ask(1)[4:], "big", signed=True) == celsius * 100
    sent = host.put(PHY, SF7)
    host.now_us = sent.end_us + 20_000
    (heard,) = host.fetch()
    # 20.41 T² + 2162.56 T over 65536, and the offset of the sample configuration
    rssi_dbm = heard.channel_rssi - 215.4 + (20.41 * celsius**2 + 2162.56 * celsius) / 65_536
    assert rssi_dbm == pytest.approx(host.happened("heard")[0].facts["rssi_dbm"], abs=1)
    assert heard.snr_db == pytest.approx(14.0, abs=0.5)


def test_the_frequency_error_is_that_of_the_sender():
    host = Host().start()
    sent = host.put(PHY, SF7, frequency_hz=867_500_000, frequency_offset_hz=-3_000)  # the channel in the middle: IF 0
    host.now_us = sent.end_us + 20_000
    (heard,) = host.fetch()
    assert heard.frequency_error * 0.11920929 == pytest.approx(-3_000, abs=150)


def test_what_a_driver_has_not_set_up_is_not_heard():
    host = Host()
    for start in (False, True):
        if start:
            host.start()
            host.change(0x5605, 0x02, 0x00)  # multi-SF modems off
        sent = host.put(PHY, SF7)
        host.now_us = sent.end_us + 20_000
    assert host.pending() == 0


def test_a_private_network_does_not_hear_lorawan():
    host = Host().start()
    host.change(0x588E, 0x1F, 2)
    sent = host.put(PHY, SF7)
    host.now_us = sent.end_us + 20_000
    assert host.pending() == 0


def test_a_full_buffer_loses_what_comes_and_keeps_what_is_there():
    host = Host().start()
    for _ in range(20):
        sent = host.put(bytes(230), SF7)
        host.now_us = sent.end_us + 20_000
        host.board.feed(b"", host.now_us)
    assert len(host.fetch()) == 4096 // 253
    fates = [event.facts["fate"] for event in host.happened("heard")]
    assert fates == ["stored"] * 16 + ["overflow"] * 4


def test_an_sx1303_tells_the_time_of_the_header_and_again_with_metrics():
    host = Host(fine_timestamps=True, pps_at_us=0).start()
    host.now_us = 5_000_000
    sent = host.put(PHY, SF7)
    host.now_us = sent.end_us + 20_000
    assert host.pending() > 2 * (23 + len(PHY))
    assert host.board.chip.buffer.packets == 1  # one frame, however often
    plain, timed = host.fetch()
    # precision_timestamp_correction of sx1302_hal 2.1.0, called through its library: SF7, 125 kHz, 4/5, CRC, 17 bytes
    assert plain.timestamp // 32 == sent.end_us - 30_701
    assert (timed.timestamp, timed.payload, timed.best_timed) == (plain.timestamp, PHY, True)
    assert len(timed.metrics) == 8
    assert plain.metrics == b""


# --- sending --------------------------------------------------------------------------------------------------------


def test_the_recorded_downlink_goes_out_as_it_was_asked_for():
    host = Host().start()
    host.now_us = 1_000_000
    host.send()
    host.now_us = 4_000_000
    host.board.feed(b"", host.now_us)
    (sent,) = host.happened("sent")
    facts = sent.facts
    assert (facts["frequency_hz"], facts["spreading_factor"], facts["bandwidth_hz"]) == (869_525_000, 9, 125_000)
    assert (facts["power_dbm"], facts["inverted"], facts["crc"], facts["preamble"]) == (14, True, False, 8)
    assert facts["phy"] == "40abababab00000002"
    # What was programmed: trigger 0x02F6384B and start delay 0xB935, in ticks of 32 MHz.
    assert facts["start_count_us"] == (0x02F6384B + 0xB935) // 32
    assert facts["airtime_us"] == airtime_us(Lora(9, 125_000), 9, crc=False)


def test_the_recorded_fsk_downlink_goes_out_as_it_was_asked_for():
    host = Host().start()
    host.send(line=1)
    host.now_us = 4_000_000
    host.board.feed(b"", host.now_us)
    (sent,) = host.happened("sent")
    facts = sent.facts
    assert (facts["modulation"], facts["bit_rate"], facts["deviation_hz"]) == ("FSK", 50_000, 25_000)
    assert (facts["frequency_hz"], facts["power_dbm"], facts["phy"]) == (868_800_000, 19, "40abababab00000002090a0b")
    assert facts["start_count_us"] == 0x0261DB20 // 32
    assert facts["airtime_us"] == airtime_us(Fsk(50_000), 12, preamble=5)


@settings(deadline=None, max_examples=60)
@given(now_us=st.integers(100_000, 400_000_000), ahead_us=st.integers(10_000, 130_000_000))
def test_a_downlink_starts_on_the_microsecond_that_was_asked_for(now_us, ahead_us):
    host = Host().start()
    host.now_us = now_us
    host.send(at_count_us=now_us + ahead_us)
    host.now_us += ahead_us + 1_000_000
    host.board.feed(b"", host.now_us)
    (sent,) = host.happened("sent")
    assert sent.facts["start_count_us"] == now_us + ahead_us


@pytest.mark.parametrize("late_us", [1, 1_000, 5_000_000])
def test_a_time_that_has_passed_comes_round_again_after_134_seconds(late_us):
    host = Host().start()
    host.now_us = 50_000_000
    host.send(at_count_us=host.now_us - late_us - 1_500)
    host.now_us += 100_000_000
    assert (host.tx_status(), host.happened("sent")) == (0x91, [])
    host.now_us += 40_000_000
    host.board.feed(b"", host.now_us)
    assert host.happened("sent")[0].facts["start_count_us"] == 50_000_000 - late_us - 1_500 + (1 << 27)


# sx1302_tx_status of sx1302_hal 2.1.0: 0x80 free; 0x91, 0x92 scheduled; 0x30, 0x50, 0x60, 0x70 emitting
def test_the_status_says_scheduled_then_emitting_then_free():
    host = Host().start()
    host.now_us = 1_000_000
    assert host.tx_status() == 0x80
    host.send(at_count_us=2_000_000)
    assert host.tx_status() in {0x91, 0x92}
    host.now_us = 2_000_000 + 1_000
    assert host.tx_status() in {0x30, 0x50, 0x60, 0x70}
    host.now_us = 2_000_000 + airtime_us(Lora(9, 125_000), 9, crc=False)
    assert host.tx_status() == 0x80


def test_what_waits_can_be_taken_back():
    host = Host().start()
    host.send(at_count_us=2_000_000)
    host.change(0x5200, 0x02, 0x00)  # sx1302_tx_abort
    assert host.tx_status() == 0x80
    host.now_us = 4_000_000
    host.board.feed(b"", host.now_us)
    assert host.happened("sent") == []
    assert len(host.happened("aborted")) == 1


@pytest.mark.parametrize("how", ["abort", "reset", "brown-out"])
def test_what_is_stopped_in_the_middle_reaches_nobody_and_frees_the_antenna(how):
    host, heard = Host().start(), []

    class Ear:
        def preamble_over(self, transmission, beside):
            heard.append("preamble")

        def frame_over(self, transmission, beside):
            heard.append("cut" if transmission.cut else "frame")

    host.air.attach(Ear())
    host.send(at_count_us=2_000_000)
    host.now_us = 2_080_000  # SF9: the preamble takes 50 ms, the frame 124
    if how == "abort":
        host.change(0x5200, 0x02, 0x00)
    elif how == "reset":
        host.play("pin 0 2 1")
        host.play("pin 0 2 0")
    else:
        host.board.feed(b"", host.now_us)
        host.board.break_(Fault.BROWN_OUT)
    host.board.feed(b"", 2_300_000)
    assert heard == ["preamble", "cut"]
    assert (len(host.happened("sent")), host.happened("cut")[0].facts["after_us"]) == (0, 80_000)
    assert not host.board._emits(2_080_001, 2_300_000)


def test_a_second_downlink_overwrites_the_first():
    host = Host().start()
    host.send(at_count_us=2_000_000)
    host.send(at_count_us=3_000_000)
    host.now_us = 5_000_000
    host.board.feed(b"", host.now_us)
    assert [event.facts["start_count_us"] for event in host.happened("sent")] == [3_000_000]


def test_on_the_pulse_of_the_gps_it_starts_a_start_delay_later():
    host = Host(pps_at_us=0).start()
    host.now_us = 1_200_000
    host.send(at_count_us=90_000_000)
    host.change(0x5200, 0x02, 0x00)
    host.change(0x5200, 0x04, 0x04)
    assert host.tx_status() == 0x92
    host.now_us = 3_000_000
    host.board.feed(b"", host.now_us)
    assert host.happened("sent")[0].facts["start_count_us"] == 2_000_000 + 0xB935 // 32


def test_while_it_sends_it_hears_nothing():
    host = Host().start()
    host.now_us = 1_000_000
    host.send(at_count_us=1_500_000)
    sent = host.put(PHY, SF7, start_us=1_500_000)
    host.now_us = sent.end_us + 200_000
    assert host.pending() == 0


def test_the_air_carries_what_was_sent():
    host = Host().start()

    class Ear:
        heard = ()

        def preamble_over(self, transmission, beside):
            pass

        def frame_over(self, transmission, beside):
            self.heard += ((transmission.start_us, transmission.frequency_hz, transmission.inverted, transmission.phy),)

    ear = Ear()
    host.air.attach(ear)
    host.send(at_count_us=2_000_000)
    host.now_us = 3_000_000
    host.board.feed(b"", host.now_us)
    assert ear.heard == ((2_000_000, 869_525_000, True, bytes.fromhex("40abababab00000002")),)


def test_both_radios_may_send_at_once():
    host = Host().start()
    for words in recorded("sx1302_hal_send.txt")[0].split(" ; "):
        kind, address, *rest = words.split()
        host.play(words)
        host.play(" ".join([kind, f"{int(address, 16) + 0x200:04x}", *rest]))
    host.now_us = 3_000_000
    host.board.feed(b"", host.now_us)
    assert [event.facts["rf_chain"] for event in host.happened("sent")] == [0, 1]


# Channel plans of RP002-1.0.4 and what Semtech's library writes for them: Hz · 2^18 / 32 MHz, rounded down.
@pytest.mark.parametrize(
    "frequency_hz",
    [868_100_000, 869_525_000, 865_062_500, 865_402_500, 865_985_000, 923_300_000, 433_175_000, 470_300_000,
     921_900_000, 505_300_000, 903_000_000, 927_500_000],
)  # fmt: skip
def test_the_frequency_that_was_meant_is_found_again(frequency_hz):
    register = frequency_hz * (1 << 18) // 32_000_000
    assert meant_hz(register * 32_000_000 / (1 << 18)) == frequency_hz


# global_conf.json.sx1250.EU868.USB of sx1302_hal 2.1.0: pa_gain << 6 | pwr_idx
@pytest.mark.parametrize(("power", "dbm"), [(15, 12), (17, 14), (20, 16), (22, 17), (0x41, 18), (0x49, 25), (0x4E, 27)])
def test_powers_are_those_of_the_reference_board(power, dbm):
    assert conducted_dbm(power) == dbm


# --- listening before talking -----------------------------------------------------------------------------------------


def patch_listener(host: Host) -> None:
    """As sx1261_load_pram: a word is enough here."""
    host.spi(1, bytes.fromhex("8000"))
    assert host.spi(1, bytes.fromhex("c000"))[1] & 0x7E == 0x22  # sx1261_check_status
    host.spi(1, bytes.fromhex("0d800000112233"))
    host.spi(1, bytes.fromhex("d9"))
    version = host.spi(1, bytes.fromhex("1d032000") + bytes(15))[4:]
    assert version[11:] == b"2D06"  # sx1261_pram_version_string


def listen(host: Host, frequency_hz: int, threshold_dbm: int) -> None:
    """As sx1261_set_rx_params and sx1261_lbt_start."""
    host.spi(1, bytes([0x86]) + (frequency_hz * (1 << 25) // 32_000_000).to_bytes(4, "big"))
    host.spi(1, bytes.fromhex("82ffffff"))
    host.spi(1, bytes([0x9A, 11, 0, 24, -2 * threshold_dbm, 1]))


@pytest.mark.parametrize(("neighbour", "status"), [(False, 0x01), (True, 0x41)])
def test_a_busy_channel_blocks_a_downlink_and_a_free_one_does_not(neighbour, status):
    host = Host().start()
    host.board.chip.agc.listens_before_talk = True
    patch_listener(host)
    listen(host, 869_525_000, -80)
    host.send(at_count_us=200_000)
    if neighbour:
        host.put(PHY, SF7, frequency_hz=869_525_000, start_us=190_000, position=Position(20, 0), power_dbm_eirp=14.0)
    host.now_us = 200_100
    assert host.read(0x5781) == bytes([status])  # lgw_lbt_tx_status: bit 0 begun on radio A, bit 6 not allowed
    host.write(0x578C, b"\xff")
    assert host.read(0x5781) == b"\x00"
    host.now_us = 1_000_000
    host.board.feed(b"", host.now_us)
    assert len(host.happened("sent")) == (not neighbour)
    assert len(host.happened("blocked")) == neighbour


def test_the_listener_tells_the_level_it_hears():
    host = Host()
    listen(host, 868_100_000, -80)
    level_dbm = lambda: -host.spi(1, bytes.fromhex("150000"))[2] / 2  # noqa: E731 - test_loragw_sx1261_rssi
    assert level_dbm() == pytest.approx(-114, abs=1)  # -174 dBm/Hz, 250 kHz, a noise figure of 6 dB
    sent = host.put(PHY, SF7)
    host.now_us = sent.end_us - 1
    assert level_dbm() > -90
    host.now_us = sent.end_us
    assert level_dbm() == pytest.approx(-114, abs=1)


def test_a_spectral_scan_counts_every_point_at_the_level_there_is():
    host = Host()
    patch_listener(host)
    listen(host, 868_100_000, -80)
    status = lambda: host.spi(1, bytes.fromhex("1d07cd0000"))[4]  # noqa: E731 - sx1261_spectral_scan_status
    assert status() == 0x00
    host.spi(1, bytes([0x9B]) + (2_000).to_bytes(2, "big") + bytes(7))
    assert status() == 0x0F
    host.now_us = 100_000
    assert status() == 0xFF
    results = host.spi(1, bytes.fromhex("1d040100") + bytes(66))[4:]
    counts = [int.from_bytes(results[at : at + 2], "big") for at in range(0, 66, 2)]
    assert sum(counts) == 2_000
    loudest = max(range(33), key=counts.__getitem__)
    assert -4 * loudest == pytest.approx(-114, abs=4)  # -174 dBm/Hz, 250 kHz, a noise figure of 6 dB
