"""The simulated air as a Chip, and the same in the radio process: devices talk, answers start on their microsecond."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.model import AtCounter, Crc, DevEui, DownlinkRequest, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, ChipTx, OnPps, Reset, TxState
from gateway.radio.chip_radio import ChipRadio, ChipSetting
from gateway.radio.counter import TURN_US
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868
from gateway.simulator.chip import START_DELAY_US
from gateway.simulator.real_time import DRIVER, VirtualChip, open_chip, options_for
from gateway.simulator.scenario_file import load_scenario

CITY = Path("city.toml")
PLAN = plan_of(EU868)


class Clock:
    def __init__(self):
        self.now_us = 3_000_000_000

    def __call__(self):
        return self.now_us


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def chip(clock):
    one = VirtualChip(load_scenario(CITY), seed=3, clock_us=clock)
    one.start(PLAN)
    return one


def run(chip, clock, seconds, poll_us=5_000):
    frames = []
    for _ in range(int(seconds * 1_000_000) // poll_us):
        clock.now_us += poll_us
        frames += chip.receive()
    return frames


def answer(counter_us, **changes):
    values = {
        "phy": b"\x60" + bytes(12), "when": AtCounter(counter_us % TURN_US), "frequency_hz": 869_525_000,
        "modulation": Lora(9, 125_000), "power_dbm": 14.0,
    }  # fmt: skip
    return ChipTx(**(values | changes))


def test_its_devices_are_heard_with_the_counter_of_the_end(chip, clock):
    frames = run(chip, clock, 120)
    assert len(frames) > 5
    assert {frame.frequency_hz for frame in frames} <= {channel.frequency_hz for channel in PLAN.channels}
    assert any(frame.crc is Crc.OK for frame in frames)
    counters = [frame.counter_us for frame in frames]
    assert counters == sorted(counters)
    assert counters[-1] <= chip.counter_us() == 120_000_000


@pytest.mark.parametrize("poll_us", [1_000, 5_000, 9_999])
def test_a_transmission_begins_at_the_microsecond_of_the_counter(chip, clock, poll_us):
    begun = []
    put = chip._air.put
    chip._air.put = lambda one: (begun.append(one) if one.inverted else None, put(one))
    run(chip, clock, 1)
    target_us = chip.counter_us() + 31_234
    assert chip.send(answer(target_us)) is None
    assert chip.tx_status() is TxState.SCHEDULED
    run(chip, clock, 0.06, poll_us)
    assert chip.tx_status() is TxState.EMITTING
    run(chip, clock, 2)
    assert chip.tx_status() is TxState.FREE
    assert [one.start_us for one in begun] == [target_us]  # this chip was started when its air began


def test_what_is_aborted_before_its_start_never_goes_out(chip, clock):
    run(chip, clock, 1)
    chip.send(answer(chip.counter_us() + 31_234))
    chip.abort()
    assert chip.tx_status() is TxState.FREE
    run(chip, clock, 1)
    assert chip._chip.health().sent == 0


def test_the_counter_is_noted_at_each_pulse_and_a_beacon_starts_with_one(clock):
    chip = VirtualChip(load_scenario(CITY), seed=3, clock_us=clock, wall_us=lambda: 1_795_428_000_250_000)
    chip.start(PLAN)  # a quarter of a second after a pulse
    assert chip.pps_counter_us() is None
    run(chip, clock, 0.7)
    assert chip.pps_counter_us() is None
    run(chip, clock, 0.1)
    assert chip.pps_counter_us() == 750_000
    run(chip, clock, 30)
    assert chip.pps_counter_us() == 30_750_000
    begun = []
    put = chip._air.put
    chip._air.put = lambda one: (begun.append(one) if one.inverted else None, put(one))
    assert chip.send(answer(0, when=OnPps.NEXT)) is None
    assert chip.tx_status() is TxState.SCHEDULED
    run(chip, clock, 2)
    assert [one.start_us for one in begun] == [31_750_000 + START_DELAY_US]
    chip.start(PLAN)
    run(chip, clock, 1)
    assert 0 < chip.pps_counter_us() < 1_000_000


def test_it_refuses_what_the_real_one_refuses(chip):
    assert chip.send(answer(0, frequency_hz=915_000_000)).result is TxResult.TX_FREQ
    assert chip.send(answer(0, power_dbm=40.0)).result is TxResult.TX_POWER


def test_the_counter_begins_anew_with_a_start_and_the_devices_go_on(chip, clock):
    heard = run(chip, clock, 120)
    chip.reset(Reset.CHIP)
    with pytest.raises(ChipTrouble):
        chip.receive()
    clock.now_us += 1_000_000
    chip.start(PLAN)
    assert chip.counter_us() == 0
    again = run(chip, clock, 120)
    assert len(again) > 5
    assert not {frame.phy for frame in again if frame.crc is Crc.OK} & {frame.phy for frame in heard}


def test_counters_of_known_devices_cross_the_pipe():
    counters = {DevEui(number.to_bytes(8, "big")): number * 7 for number in range(1000)}
    options = options_for(CITY, seed=5, f_cnt_up=counters)
    assert max(len(value) for value in options.values() if isinstance(value, bytes)) <= 4000
    assert open_chip(options)._f_cnt_up == counters


def now():
    monotonic_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Stamp(time.time_ns() // 1000, TimeQuality.NTP, 10, "boot", monotonic_us)


BUSY = """
[city]
name = "Everybody"
seed = 1
[gateway]
latitude = 43.6
longitude = 3.9
[places]
"Near" = [43.6, 3.901]
[meters]
count = 20
interval = "10s"
name = "#"
places = ["Near"]
"""


async def test_the_virtual_chip_runs_in_the_radio_process(tmp_path):
    (tmp_path / "busy.toml").write_text(BUSY)
    setting = ChipSetting(
        "virtual", DRIVER, PLAN, lambda: options_for(tmp_path / "busy.toml", seed=1), receiver="virtual", realtime=False
    )
    async with ChipRadio(setting, Transmitters(EU868, antenna_gain_dbi=3.0), stamp=now) as radio:
        frames = radio.frames()
        async with asyncio.timeout(15):
            frame = await anext(frames)
        assert frame.receiver == "virtual"
        request = DownlinkRequest(
            "a", b"\x60" + bytes(12), "virtual", AtCounter((frame.counter_us + 500_000) % TURN_US), 869_525_000,
            Lora(9, 125_000), 20.0,
        )  # fmt: skip
        assert radio.submit(request).result is TxResult.ACCEPTED
        async with asyncio.timeout(5):
            assert (await anext(radio.outcomes())).result is TxResult.SENT
        assert radio.health().state == "hearing"
