"""The medium: how loud a sender arrives, and a time that only goes forward."""

import statistics
from dataclasses import replace

import pytest

from gateway.model import Lora
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance

HERE, THERE = Position(0, 0), Position(600, 800)


def transmission(sender="a", **changes):
    sent = Transmission(
        phy=b"x",
        sender=sender,
        position=THERE,
        start_us=5,
        airtime_us=50_000,
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000),
        power_dbm_eirp=14.0,
    )
    return replace(sent, **changes)


def test_power_walls_and_way_add_up():
    air = Air(Chance(1))
    level_dbm = air.level_dbm(transmission(), "roof", HERE)
    assert air.level_dbm(transmission(power_dbm_eirp=17.0), "roof", HERE) == pytest.approx(level_dbm + 3)
    assert air.level_dbm(transmission(wall_loss_db=12.0), "roof", HERE) == pytest.approx(level_dbm - 12)


def test_over_many_senders_a_kilometre_costs_what_oulu_measured_and_varies_as_much():
    # Petäjäjärvi et al., ITST 2015: 128.95 dB at 1 km, a shadowing of 7.8 dB; bounds of four standard errors.
    air = Air(Chance(2))
    losses_db = [air.loss_db(f"sender {number}", THERE, "roof", HERE) for number in range(2000)]
    assert statistics.fmean(losses_db) == pytest.approx(128.95, abs=4 * 7.8 / 2000**0.5)
    assert statistics.stdev(losses_db) == pytest.approx(7.8, abs=4 * 7.8 / 4000**0.5)


def test_a_shadow_stays_and_fading_changes_with_every_frame():
    air = Air(Chance(3))
    loss_db = air.loss_db("a", THERE, "roof", HERE)
    assert air.loss_db("a", THERE, "roof", HERE) == loss_db
    assert air.loss_db("a", THERE, "valley", HERE) != loss_db
    levels = [14 - air.level_dbm(transmission(start_us=start_us), "roof", HERE) for start_us in range(2000)]
    assert statistics.fmean(levels) == pytest.approx(loss_db, abs=4 * 2 / 2000**0.5)
    assert statistics.stdev(levels) == pytest.approx(2, abs=4 * 2 / 4000**0.5)


def test_time_does_not_go_back():
    air = Air(Chance(4))
    air.advance(100)
    air.advance(40)
    assert air.now_us == 100
