"""The numbers of the air against the papers and datasheets they come from, and against others that measure the same."""

import math

import pytest

from gateway.model import Lora
from gateway.simulator.propagation import (
    SNR_FLOOR_DB,
    detected,
    intact,
    noise_dbm,
    parts_of,
    path_loss_db,
    rejection_db,
)

# Semtech SX1276/77/78/79 datasheet, table 13 "Range of Spreading Factors", column "LoRa Demodulator SNR".
SX1276_TABLE_13 = {6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}

# Semtech SX1272/73 datasheet rev. 2 (July 2014), RFS_L125: sensitivity at 125 kHz in dBm, at a PER of 1 %.
SX1272_RFS_L125 = {6: -121, 7: -124, 8: -127, 9: -130, 10: -133, 11: -135, 12: -137}


@pytest.mark.parametrize(("spreading_factor", "snr_db"), SX1276_TABLE_13.items())
def test_a_demodulator_needs_the_snr_of_the_datasheet(spreading_factor, snr_db):
    assert SNR_FLOOR_DB[spreading_factor] == snr_db


@pytest.mark.parametrize(("spreading_factor", "sensitivity_dbm"), SX1272_RFS_L125.items())
def test_floor_and_noise_together_are_the_sensitivity_that_another_datasheet_measured(
    spreading_factor, sensitivity_dbm
):
    assert noise_dbm(125_000) + SNR_FLOOR_DB[spreading_factor] == pytest.approx(sensitivity_dbm, abs=1.1)


def test_a_kilometre_of_city_costs_what_was_measured_in_oulu():
    # Petäjäjärvi et al., ITST 2015, table "channel attenuation model": cars, n = 2.32, B = 128.95 dB at 1 km.
    assert path_loss_db(1_000) == pytest.approx(128.95)
    assert path_loss_db(10_000) - path_loss_db(1_000) == pytest.approx(23.2)
    assert path_loss_db(0) == path_loss_db(10), "a device beside the antenna is no division by zero"


# Goursaud and Gorce 2015, the co-channel rejection table, as ns-3's lorawan module and other simulators carry it.
@pytest.mark.parametrize(
    ("wanted", "interferer", "needed_db"),
    [(7, 7, 6), (12, 12, 6), (7, 8, -16), (7, 12, -20), (8, 7, -24), (10, 11, -26), (12, 7, -36), (11, 12, -29)],
)
def test_what_a_frame_survives_is_the_published_rejection(wanted, interferer, needed_db):
    assert rejection_db(wanted, interferer) == needed_db


def test_at_the_floor_one_packet_in_a_hundred_is_lost_as_the_datasheet_says():
    assert intact(0) == pytest.approx(0.99)
    assert intact(-1) == pytest.approx(0.5)
    assert intact(3) > 0.99999
    assert detected(-20) < 1e-9
    assert intact(-1e9) == 0.0


@pytest.mark.parametrize("margin_db", [-4, -2, -1, 0, 2])
def test_a_header_is_read_before_a_payload_is(margin_db):
    assert detected(margin_db) > intact(margin_db)


def test_the_parts_of_a_frame_are_those_of_the_designers_guide():
    # The public calculator after Semtech AN1200.13 for SF9 at 125 kHz: Tsym 4.096 ms, Tpreamble 50.176 ms.
    parts = parts_of(Lora(9, 125_000))
    assert parts.locked_us == 50_176
    assert parts.header_us == 50_176 + 8 * 4_096
    # LoRaSim (Bor et al., MSWiM 2016): all but the last five of eight preamble symbols may be lost.
    assert parts.critical_us == 3 * 4_096
    assert math.isclose(parts_of(Lora(12, 125_000)).locked_us, 12.25 * 32_768)
