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


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self):
        self.told = []

    def preamble_over(self, transmission, beside):
        self.told.append("preamble")

    def frame_over(self, transmission, beside):
        self.told.append(("cut" if transmission.cut else "whole", transmission.end_us))


@pytest.mark.parametrize(
    ("cut_us", "told"),
    [
        (None, ["preamble", ("whole", 50_005)]),
        (3, [("cut", 5)]),
        (4_000, [("cut", 4_000)]),  # the preamble and the sync word take 12.5 ms at SF7
        (30_000, ["preamble", ("cut", 30_000)]),
        (60_000, ["preamble", ("whole", 50_005)]),
    ],
)
def test_what_is_cut_is_over_then_and_whole_for_nobody(cut_us, told):
    air, notes, sent = Air(Chance(5)), Notes(), transmission()
    air.attach(notes)
    air.put(sent)
    if cut_us is not None:
        air.advance(cut_us)
        air.cut(sent)
    air.advance(100_000)
    assert notes.told == told
    assert air.talking() == []


def test_who_talks_now_is_known():
    air = Air(Chance(6))
    air.put(transmission())
    air.put(transmission("b", start_us=30_000))
    for now_us, talkers in ((4, []), (5, ["a"]), (30_000, ["a", "b"]), (50_005, ["b"]), (80_000, [])):
        air.advance(now_us)
        assert [one.sender for one in air.talking()] == talkers
