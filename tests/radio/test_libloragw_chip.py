"""Our binding of Semtech's library, on a stand-in with the same interface: what is told, heard, sent, noticed."""

from __future__ import annotations

import pytest
from libloragw_standin import (
    ABORTS,
    BUSY_AIR,
    CLAIMS_TOO_MANY,
    CLOSES,
    FILLS_GARBAGE,
    FLUSHES,
    HELLO,
    HIGH,
    HUGE_COUNT,
    LOW,
    NO_CRC,
    NO_TEMPERATURE,
    REFUSES_TX,
    SENDS,
    STARTS,
    STOPS,
    TX_STUCK,
    UNPLUGGED,
    WELL,
    WRITES_BEYOND,
    Bench,
    Standin,
    compiled,
    packet,
)  # fmt: skip

from gateway.model import AtCounter, Crc, Fsk, GatewayEui, Immediately, Lora, TxResult
from gateway.radio import libloragw_abi as abi
from gateway.radio.board import Pin
from gateway.radio.chip import ChipTrouble, ChipTx, OnPps, Reset, TroubleKind, TxState, Unsent
from gateway.radio.claim import Claim

SEMTECH, FORK, OPAQUE = (), ("-DFORK",), ("-DOPAQUE",)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("standin")


@pytest.fixture
def make_bench(folder, tmp_path):
    benches = []

    def make(flags=SEMTECH, **told):
        place = tmp_path / str(len(benches))
        place.mkdir()
        benches.append(Bench(Standin(compiled(folder, *flags), place), **told))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture(params=[SEMTECH, FORK, OPAQUE], ids=["semtech", "fork", "opaque"])
def bench(request, make_bench):
    """A started chip, whichever build of the library."""
    bench = make_bench(request.param)
    bench.chip.start(bench.plan)
    return bench


def downlink(**changes):
    return ChipTx(**{
        "phy": b"\x60hello", "when": AtCounter(1_000_000), "frequency_hz": 868_100_000, "modulation": Lora(9, 125_000),
        "power_dbm": 14.0,
    } | changes)  # fmt: skip


# --- starting -------------------------------------------------------------------------------------------------------


def test_the_plan_and_the_board_reach_the_library_field_by_field(bench):
    radio = bench.standin.radio(0)
    assert (radio.enable, radio.freq_hz, radio.type) == (True, bench.plan.radios_hz[0], abi.RADIO_SX1250)
    assert radio.rssi_offset == pytest.approx(-215.4)
    assert (radio.rssi_tcomp.coeff_c, radio.rssi_tcomp.coeff_d) == (pytest.approx(20.41), pytest.approx(2162.56))
    assert (radio.tx_enable, radio.single_input_mode) == (True, True)
    assert (bench.standin.radio(1).tx_enable, bench.standin.radio(1).single_input_mode) == (False, False)
    for number, channel in enumerate(bench.plan.channels):
        told = bench.standin.channel(number)
        assert (told.enable, told.rf_chain, told.freq_hz) == (True, channel.radio, channel.if_hz)
    service = bench.standin.channel(abi.SERVICE_CHAIN)
    assert (service.enable, service.bandwidth, service.datarate) == (True, 0x05, 7)
    fsk = bench.standin.channel(abi.FSK_CHAIN)
    assert (fsk.enable, fsk.datarate) == (True, 50_000)


def test_the_chip_says_who_it_is(bench):
    assert bench.chip.eui() == GatewayEui.parse("0016c001ff10a235")
    assert "SX1302" in bench.chip.name
    assert bench.board.path in bench.chip.name


def test_a_reset_pulse_comes_before_the_start_and_the_supply_stays_held(make_bench):
    bench = make_bench(board="wm1302", temperature_sensor="none")
    bench.chip.start(bench.plan)
    # Power on, reset high and low, SX1261 low and high: the order of `reset_lgw.sh`.
    assert bench.pins[-1].done == [
        (Pin(18), True), (Pin(17), True), (Pin(17), False), (Pin(5), False), (Pin(5), True),
    ]  # fmt: skip
    assert bench.slept == [0.1] * 5
    assert bench.pins[-1].open
    bench.chip.stop()
    assert not bench.pins[-1].open


def test_the_fork_is_told_of_the_temperature_sensor(make_bench):
    bench = make_bench(FORK, board="wm1302")
    bench.chip.start(bench.plan)
    assert bench.standin.sensor() == 0x39


def test_a_second_start_is_a_fresh_one(bench):
    bench.chip.start(bench.plan)
    assert (bench.standin.calls(STARTS), bench.standin.calls(STOPS)) == (2, 1)


def test_stopping_twice_is_no_harm(bench):
    bench.chip.stop()
    bench.chip.stop()
    assert bench.standin.calls(STOPS) == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: no temperature sensor found.", TroubleKind.NO_SENSOR),
        ("ERROR: failed to open I2C for temperature sensor on port 0x39", TroubleKind.NO_SENSOR),
        ("ERROR: AGC fw read/write check failed", TroubleKind.FIRMWARE_SILENT),
        ("ERROR: wrong AGC fw version (7)", TroubleKind.FIRMWARE_SILENT),
        ("ERROR: wrong ARB fw version (0)", TroubleKind.FIRMWARE_SILENT),
        ("ERROR: Failed to set SX1250_0 in STANDBY_RC mode", TroubleKind.NOT_THERE),
        ("ERROR: sx1250 Image Calibration Error", TroubleKind.NOT_THERE),
        ("ERROR: Fine Timestamping is not supported on this Chip Model ID 0x02", TroubleKind.BAD_PLAN),
        ("ERROR: failed to connect to the sx1261 radio (LBT/Spectral Scan)", TroubleKind.BAD_PLAN),
        ("ERROR: failed to ping the concentrator MCU", TroubleKind.NOT_THERE),
        ("ERROR: something nobody has seen", TroubleKind.OTHER),
    ],
)
def test_what_the_library_says_of_a_failed_start_is_told_with_a_cure(make_bench, line, kind):
    """The lines are those of sx1302_hal 2.1.0 and of the runs against a software chip."""
    bench = make_bench()
    bench.standin.says_at_start(line)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.start(bench.plan)
    assert trouble.value.kind is kind
    assert trouble.value.hint
    assert line.removeprefix("ERROR: ").rstrip(".") in str(trouble.value)
    # Nothing stays open: the library would leave it so.
    assert bench.standin.calls(CLOSES) == 1
    bench.standin.says_at_start("")
    bench.chip.start(bench.plan)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(LOW, TroubleKind.BUS_LOW), (HIGH, TroubleKind.BUS_HIGH), (UNPLUGGED, TroubleKind.NOT_THERE)],
)
def test_a_dead_bus_is_called_so_whatever_the_library_makes_of_it(make_bench, fault, kind):
    bench = make_bench()
    bench.standin.breaks(fault)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.start(bench.plan)
    assert trouble.value.kind is kind


# --- hearing --------------------------------------------------------------------------------------------------------


def test_frames_come_with_all_that_is_known_of_them(bench):
    bench.standin.hears(HELLO, NO_CRC)
    first, second = bench.chip.receive()
    assert first.phy == bytes.fromhex("400102030468656c6c6f")
    assert (first.counter_us, first.channel, first.crc) == (0x01020304 // 32, 5, Crc.OK)
    assert first.frequency_hz == bench.plan.channels[5].frequency_hz
    assert first.modulation == Lora(7, 125_000, "4/5")
    assert (first.snr_db, first.fine_time_ns) == (10.0, None)
    assert (second.phy, second.modulation, second.crc) == (b"xxx", Lora(12, 125_000, "4/6"), Crc.NONE)
    assert second.snr_db == -15.0
    assert list(bench.chip.receive()) == []


def test_the_loudness_is_that_of_the_board(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO)
    (frame,) = bench.chip.receive()
    assert frame.rssi_dbm == pytest.approx(90 - 215.4, abs=1e-3)
    assert frame.signal_rssi_dbm == pytest.approx(88 - 215.4, abs=1e-3)


def test_without_a_sensor_the_fork_s_loudness_is_corrected_for_the_temperature_of_the_bridge(make_bench):
    bench = make_bench(FORK)
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO)
    (frame,) = bench.chip.receive()
    # (20.41 * 40² + 2162.56 * 40) / 65536 dB at the stand-in's 40 °C, which the fork reckons as 0 °C.
    assert frame.rssi_dbm == pytest.approx(90 - 215.4 + 1.818, abs=1e-2)


def test_a_full_buffer_comes_at_once(bench):
    sent = [packet(bytes([n, 0]), count_us=n) for n in range(150)]
    bench.standin.hears(*sent)
    assert [frame.phy[0] for frame in bench.chip.receive()] == list(range(150))


def test_fsk_has_no_snr(bench):
    bench.standin.hears(packet(b"meter", channel=9, modem=17))
    (frame,) = bench.chip.receive()
    assert (frame.modulation, frame.snr_db, frame.signal_rssi_dbm) == (Fsk(50_000), None, None)


def test_damaged_frames_are_heard_as_such(bench):
    bench.standin.hears(packet(b"broken", wrong=True))
    (frame,) = bench.chip.receive()
    assert frame.crc is Crc.BAD


def _bad(kind: str) -> bytes:
    whole = bytearray(HELLO)
    whole[4 if kind == "poison" else 12] = 0xD3 if kind == "poison" else 0x77
    if kind != "checksum":
        whole[-1] = sum(whole[:-1]) & 0xFF
    return bytes(whole)


@pytest.mark.parametrize("kind", ["poison", "checksum", "crc"])
def test_a_bad_packet_costs_itself_alone(make_bench, kind):
    bench = make_bench()
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO, _bad(kind), NO_CRC)
    assert [frame.channel for frame in bench.chip.receive()] == [5, 2]
    assert sum(bench.chip.examine().faults.values()) == 1
    bench.standin.hears(HELLO)
    assert len(bench.chip.receive()) == 1


@pytest.mark.parametrize("kind", ["poison", "checksum", "crc"])
def test_where_the_library_shows_no_insides_what_it_had_parsed_before_is_kept(make_bench, kind):
    bench = make_bench(OPAQUE)
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO, _bad(kind), NO_CRC)
    assert [frame.channel for frame in bench.chip.receive()] == [5]
    assert sum(bench.chip.examine().faults.values()) == 1


def test_a_packet_the_library_never_gets_past_is_a_fault_that_a_reset_cures(make_bench):
    bench = make_bench(OPAQUE)
    bench.chip.start(bench.plan)
    bench.standin.hears(_bad("poison"), HELLO)
    assert [list(bench.chip.receive()) for _ in range(2)] == [[], []]
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.receive()
    assert trouble.value.kind is TroubleKind.FIFO_FAULT


def test_half_a_packet_is_counted_and_the_next_one_heard(bench):
    bench.standin.hears(HELLO[:20])
    assert list(bench.chip.receive()) == []
    bench.standin.hears(HELLO)
    assert len(bench.chip.receive()) == 1


def test_a_bus_that_reads_ones_is_no_crash(bench):
    """The real library would read 65535 bytes into 4096 and die."""
    bench.standin.breaks(HIGH)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.receive()
    assert trouble.value.kind is TroubleKind.BUS_HIGH


def test_a_count_beyond_the_buffer_is_no_crash(bench):
    bench.standin.breaks(HUGE_COUNT)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.receive()
    assert trouble.value.kind is TroubleKind.FIFO_FAULT


def test_an_unplugged_board_is_noticed_though_the_library_reports_success(bench):
    bench.standin.breaks(UNPLUGGED)
    for call in (bench.chip.receive, bench.chip.counter_us, bench.chip.examine):
        with pytest.raises(ChipTrouble) as trouble:
            call()
        assert trouble.value.kind is TroubleKind.LOST


def test_a_sensor_that_stumbles_once_costs_no_frame(bench):
    bench.standin.hears(HELLO)
    bench.standin.breaks(NO_TEMPERATURE)
    assert list(bench.chip.receive()) == []
    bench.standin.breaks(WELL)
    assert len(bench.chip.receive()) == 1


def test_a_sensor_that_is_gone_is_told_after_three_tries(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO)
    bench.standin.breaks(NO_TEMPERATURE)
    assert [list(bench.chip.receive()) for _ in range(2)] == [[], []]
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.receive()
    assert trouble.value.kind is TroubleKind.NO_SENSOR


def test_garbage_instead_of_a_frame_is_counted(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    bench.standin.hears(HELLO)
    bench.standin.breaks(FILLS_GARBAGE)
    assert list(bench.chip.receive()) == []
    assert bench.chip.examine().faults == {"garbage": 1}


def test_more_packets_than_were_asked_for_are_not_believed(bench):
    bench.standin.breaks(CLAIMS_TOO_MANY)
    troubles = []
    for _ in range(3):
        bench.standin.hears(HELLO)
        try:
            assert list(bench.chip.receive()) == []
        except ChipTrouble as trouble:
            troubles.append(trouble.kind)
    assert set(troubles) == {TroubleKind.FIFO_FAULT}


def test_a_library_that_writes_beyond_what_it_was_given_is_no_driver(bench):
    bench.standin.hears(HELLO)
    bench.standin.breaks(WRITES_BEYOND)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.receive()
    assert trouble.value.kind is TroubleKind.NO_DRIVER


# --- counting -------------------------------------------------------------------------------------------------------


def test_the_counter_has_32_bits_although_the_chip_s_has_27(bench):
    bench.standin.counts(134_217_000)
    assert bench.chip.counter_us() == 134_217_000
    bench.standin.counts(134_217_000 + 1_000)
    bench.chip.receive()
    assert bench.chip.counter_us() == 134_218_000


def test_the_count_at_the_pulse_is_none_before_the_first(bench):
    assert bench.chip.pps_counter_us() is None
    bench.standin.counts(5_000_000, at_pps_us=4_700_000)
    assert bench.chip.pps_counter_us() == 4_700_000


# --- sending --------------------------------------------------------------------------------------------------------


def test_a_downlink_reaches_the_library_as_it_was_meant(bench):
    assert bench.chip.send(downlink()) is None
    sent = bench.standin.sent()
    assert bytes(sent.payload[: sent.size]) == b"\x60hello"
    assert (sent.freq_hz, sent.tx_mode, sent.count_us) == (868_100_000, abi.TIMESTAMPED, 1_000_000)
    assert (sent.modulation, sent.bandwidth, sent.datarate, sent.coderate) == (abi.MOD_LORA, 4, 9, 1)
    assert (sent.invert_pol, sent.no_crc, sent.no_header, sent.preamble) == (True, True, False, 8)
    assert (sent.rf_chain, sent.rf_power) == (0, 14)
    table = bench.standin.power()
    assert (table.size, table.lut[0].rf_power, table.lut[0].pa_gain, table.lut[0].pwr_idx) == (1, 14, 0, 17)
    assert bench.chip.tx_status() is TxState.SCHEDULED


@pytest.mark.parametrize(
    ("when", "mode"), [(Immediately(), abi.IMMEDIATE), (OnPps.NEXT, abi.ON_GPS), (AtCounter(1), abi.TIMESTAMPED)]
)
def test_each_kind_of_start_has_its_mode(bench, when, mode):
    assert bench.chip.send(downlink(when=when)) is None
    assert bench.standin.sent().tx_mode == mode


def test_fsk_is_sent_with_lorawan_s_deviation(bench):
    assert bench.chip.send(downlink(modulation=Fsk(50_000))) is None
    sent = bench.standin.sent()
    assert (sent.modulation, sent.datarate, sent.f_dev) == (abi.MOD_FSK, 50_000, 25)


def test_sf5_has_the_longer_preamble_its_modems_wait_for(bench):
    assert bench.chip.send(downlink(modulation=Lora(5, 125_000))) is None
    assert bench.standin.sent().preamble == 12


@pytest.mark.parametrize("power_dbm", [27.0, 20.4, 14.0, 11.9, 8.0, 0.0])
def test_never_more_is_sent_than_asked(bench, power_dbm):
    assert bench.chip.send(downlink(power_dbm=power_dbm)) is None
    assert bench.standin.power().lut[0].rf_power <= power_dbm
    assert bench.standin.sent().rf_power == bench.standin.power().lut[0].rf_power


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"power_dbm": -30.0}, TxResult.TX_POWER),
        ({"frequency_hz": 915_000_000}, TxResult.TX_FREQ),
        ({"phy": b""}, TxResult.UNKNOWN),
        ({"phy": bytes(256)}, TxResult.UNKNOWN),
        ({"modulation": Lora(4, 125_000)}, TxResult.UNKNOWN),
        ({"modulation": Lora(7, 62_500)}, TxResult.UNKNOWN),
        ({"modulation": Lora(7, 125_000, "5/7")}, TxResult.UNKNOWN),
        ({"modulation": Fsk(400)}, TxResult.UNKNOWN),
        ({"modulation": Fsk(50_000, 300_000)}, TxResult.UNKNOWN),
        ({"when": AtCounter(0)}, TxResult.TOO_LATE),
        ({"when": AtCounter((1 << 32) - 5)}, TxResult.TOO_LATE),
        ({"when": AtCounter(200_000_000)}, TxResult.TOO_EARLY),
    ],
)
def test_what_the_library_would_send_wrongly_is_not_given_to_it(bench, changes, result):
    refused = bench.chip.send(downlink(**changes))
    assert isinstance(refused, Unsent)
    assert refused.result is result
    assert refused.detail
    assert bench.standin.calls(SENDS) == 0


@pytest.mark.parametrize("state", [TxState.SCHEDULED, TxState.EMITTING])
def test_what_is_being_sent_is_not_overwritten(bench, state):
    bench.standin.transmitter_is(state)
    refused = bench.chip.send(downlink())
    assert refused is not None
    assert refused.result is TxResult.COLLISION_PACKET


def test_a_refusal_over_usb_leaves_the_transport_readable(bench):
    """A failed `lgw_send` of 2.1.0 leaves it collecting writes, and every read fails from then on."""
    bench.standin.breaks(REFUSES_TX)
    refused = bench.chip.send(downlink())
    assert refused is not None
    assert "Failed to send packet" in refused.detail
    bench.standin.breaks(WELL)
    assert bench.standin.calls(FLUSHES) == 1
    assert bench.chip.examine().version == 0x10


def test_a_send_into_an_unplugged_board_is_the_loss_of_it(bench):
    bench.standin.breaks(UNPLUGGED)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.send(downlink(when=Immediately()))
    assert trouble.value.kind is TroubleKind.LOST


def test_a_busy_channel_is_a_collision(bench):
    bench.standin.breaks(BUSY_AIR)
    refused = bench.chip.send(downlink())
    assert refused is not None
    assert refused.result is TxResult.COLLISION_PACKET


def test_what_is_sent_can_be_stopped(bench):
    bench.chip.send(downlink())
    bench.chip.abort()
    assert bench.standin.calls(ABORTS) == 1
    assert bench.chip.tx_status() is TxState.FREE
    bench.standin.breaks(TX_STUCK)
    with pytest.raises(ChipTrouble) as trouble:
        bench.chip.abort()
    assert trouble.value.kind is TroubleKind.STUCK


def test_where_the_law_says_so_the_second_radio_listens_first(make_bench):
    """ARIB STD-T108, as the sample of sx1302_hal for AS923: 5 ms at -80 dBm, 4 s at most."""
    bench = make_bench(board="sx1302css923gw1", region="AS923-1-JP")
    bench.chip.start(bench.plan)
    second = bench.standin.second()
    assert (second.enable, second.lbt_conf.enable, second.lbt_conf.rssi_target) == (True, True, -80)
    told = [(one.freq_hz, one.bandwidth, one.scan_time_us, one.transmit_time_ms) for one in second.lbt_conf.channels]
    listened = told[: second.lbt_conf.nb_channel]
    assert (bench.plan.channels[0].frequency_hz, 4, 5000, 4000) in listened
    assert len(listened) <= 16
    unheard = bench.chip.send(downlink(frequency_hz=bench.plan.highest_tx_hz, when=Immediately()))
    assert unheard is not None
    assert "listens" in unheard.detail


# --- looking --------------------------------------------------------------------------------------------------------


def test_an_examination_shows_the_registers(bench):
    for address, value in ((0x5781, 0x14), (0x6081, 0x02), (0x5780, 0x11), (0x6080, 0x20)):
        bench.standin.register(address, value)
    seen = bench.chip.examine()
    assert (seen.version, seen.agc_status, seen.arb_status) == (0x10, 0x14, 0x02)
    assert (seen.agc_parity_error, seen.arb_parity_error) == (True, False)
    assert seen.temperature_c == 40.0


def test_a_chip_of_zeros_has_no_name(bench):
    bench.standin.breaks(LOW)
    assert bench.chip.eui() is None


def test_the_second_radio_scans(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    assert bench.chip.can_scan
    measured = bench.chip.spectral_scan(868_100_000, 500)
    assert measured[-116] == 500
    assert len(measured) == 33


def test_a_scan_that_never_ends_is_given_up(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    bench.standin.breaks(TX_STUCK)
    with pytest.raises(ChipTrouble, match="does not end"):
        bench.chip.spectral_scan(868_100_000, 500)


def test_a_board_without_the_second_radio_does_not_scan(make_bench):
    bench = make_bench(board="rak2287")
    bench.chip.start(bench.plan)
    assert not bench.chip.can_scan
    with pytest.raises(ChipTrouble):
        bench.chip.spectral_scan(868_100_000, 500)


def test_a_carrier_is_one(make_bench):
    bench = make_bench()
    bench.chip.start(bench.plan)
    assert bench.chip.carrier(868_100_000, 14.0) is None
    sent = bench.standin.sent()
    assert (sent.modulation, sent.tx_mode, sent.freq_hz) == (abi.MOD_CW, abi.IMMEDIATE, 868_100_000)


# --- resets ---------------------------------------------------------------------------------------------------------


def test_a_power_reset_takes_the_supply_away_where_a_line_switches_it(make_bench):
    bench = make_bench(board="wm1302")
    bench.chip.reset(Reset.POWER)
    assert bench.pins[-1].done[:2] == [(Pin(18), False), (Pin(18), True)]
    assert bench.slept[0] == 0.5


def test_over_usb_the_bridge_switches_the_supply(make_bench):
    bench = make_bench()
    bench.chip.reset(Reset.POWER)
    assert bench.said[-1] == bench.board.path


def test_the_device_is_free_again_after_a_stop(bench):
    with pytest.raises(ChipTrouble, match="used by"):
        Claim(bench.board.path, bench.board.bus)
    bench.chip.stop()
    Claim(bench.board.path, bench.board.bus).release()
