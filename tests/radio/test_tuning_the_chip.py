"""A chip that is told other channels while it hears: it begins anew with them, or goes back to those it had."""

from __future__ import annotations

import asyncio
import time

import pytest
from scripted_chip import FATAL_HZ, FORBIDDEN_HZ

from gateway.model import AtCounter, DownlinkRequest, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.channels import plan, plan_of
from gateway.radio.chip import TroubleKind
from gateway.radio.chip_radio import ChipRadio, ChipSetting
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868

OWN = plan_of(EU868)
OTHER = plan(EU868, [868_100_000, 868_300_000, 868_500_000])
IMPOSSIBLE = plan(EU868, [FORBIDDEN_HZ, 863_500_000])
DEADLY = plan(EU868, [FATAL_HZ, 863_500_000])


def now():
    monotonic_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Stamp(1_700_000_000_000_000 + monotonic_us, TimeQuality.NTP, 10, "boot", monotonic_us)


@pytest.fixture
def radio(tmp_path):
    def make(script="", first=OWN, before=None, tune_every_s=0.0):
        log = tmp_path / "log"
        told = {"script": script, "every": 4, "log": str(log), "marks": str(tmp_path / "marks")}
        setting = ChipSetting(
            "scripted",
            "scripted_chip:open_chip",
            first,
            lambda: told,
            realtime=False,
            before=before,
            tune_every_s=tune_every_s,
        )
        one = ChipRadio(setting, Transmitters(EU868), stamp=now)
        one.starts = lambda: [
            [int(hz) for hz in line.split()[2].split(",")]
            for line in log.read_text().splitlines()
            if line.split()[1] == "start"
        ]
        return one

    return make


def heard_by(chip_plan):
    return [channel.frequency_hz for channel in chip_plan.channels]


async def tuned(radio, chip_plan, within_s=15):
    """What the radio says of it, once."""
    told = []
    radio.tune(chip_plan, told.append)
    async with asyncio.timeout(within_s):
        while not told:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert len(told) == 1
    return told[0]


async def one_frame(radio):
    async with asyncio.timeout(10):
        return await anext(radio.frames())


async def test_it_hears_the_other_channels_and_goes_on_counting(radio):
    async with radio() as one:
        before = await one_frame(one)
        assert await tuned(one, OTHER) is None
        assert one.starts() == [heard_by(OWN), heard_by(OTHER)]
        health = one.health()
        assert health.receivers[0]["channels_hz"] == heard_by(OTHER)
        assert health.state == "hearing"
        assert health.receivers[0]["resets"] == {}  # nothing was wrong
        after = [await one_frame(one) for _ in range(20)][-1]
        passed_us = after.heard.monotonic_us - before.heard.monotonic_us
        assert abs((after.counter_us - before.counter_us) - passed_us) < 5_000


async def test_the_same_channels_disturb_nothing(radio):
    async with radio() as one:
        process = one.health().receivers[0]["process"]
        for _ in range(3):
            assert await tuned(one, plan_of(EU868)) is None
        assert one.starts() == [heard_by(OWN)]
        assert one.health().receivers[0]["process"] == process


async def test_what_was_to_be_sent_meanwhile_is_reported_as_lost(radio):
    async with radio() as one:
        frame = await one_frame(one)
        request = DownlinkRequest(
            "late", b"\x60" + bytes(12), "chip", AtCounter((frame.counter_us + 5_000_000) % (1 << 32)), 868_100_000,
            Lora(7, 125_000), 14.0,
        )  # fmt: skip
        assert one.submit(request).result is TxResult.ACCEPTED
        assert await tuned(one, OTHER) is None
        async with asyncio.timeout(5):
            report = await anext(one.outcomes())
        assert (report.ref, report.result) == ("late", TxResult.RADIO_UNREACHABLE)


@pytest.mark.parametrize(("bad", "kind"), [(IMPOSSIBLE, TroubleKind.BAD_PLAN), (DEADLY, TroubleKind.CRASHED)])
async def test_channels_it_does_not_start_with_are_given_up(radio, bad, kind):
    async with radio() as one:
        await one_frame(one)
        trouble = await tuned(one, bad, within_s=40)
        assert trouble.kind is kind
        assert one.plan == OWN
        async with asyncio.timeout(10):
            while one.health().state != "hearing":
                await asyncio.sleep(0.05)
        assert one.starts()[-1] == heard_by(OWN)
        await one_frame(one)


async def test_a_remembered_plan_that_does_not_do_any_more_keeps_nobody_from_hearing(radio):
    async with radio(first=IMPOSSIBLE, before=OWN) as one:
        assert one.starts() == [heard_by(IMPOSSIBLE), heard_by(OWN)]
        assert one.plan == OWN
        await one_frame(one)


async def test_the_last_word_counts(radio):
    async with radio() as one:
        first = []
        one.tune(OTHER, first.append)
        assert await tuned(one, plan(EU868, [867_100_000, 868_100_000])) is None
        assert first == []
        assert heard_by(one.plan) == [867_100_000, 868_100_000]


async def test_somebody_who_never_makes_up_his_mind_does_not_make_it_deaf(radio):
    async with radio(tune_every_s=1.0) as one:
        assert await tuned(one, OTHER) is None
        told, began_s = [], time.monotonic()
        for number in range(40):
            one.tune(OWN if number % 2 else plan(EU868, [867_100_000, 868_100_000]), told.append)
        one.tune(OWN, told.append)
        async with asyncio.timeout(10):
            while not told:
                await one_frame(one)  # it hears meanwhile
        assert time.monotonic() - began_s > 0.5
        assert one.starts() == [heard_by(OWN), heard_by(OTHER), heard_by(OWN)]


async def test_a_wish_that_is_taken_back_in_time_costs_nothing(radio):
    async with radio(tune_every_s=1.0) as one:
        assert await tuned(one, OTHER) is None
        one.tune(OWN, lambda _: None)
        assert await tuned(one, OTHER) is None
        await asyncio.sleep(1.2)
        assert one.starts() == [heard_by(OWN), heard_by(OTHER)]


async def test_what_is_wanted_before_it_is_open_is_what_it_begins_with(radio):
    one, told = radio(), []
    one.tune(OTHER, told.append)
    async with one:
        assert one.starts() == [heard_by(OTHER)]
        assert told == [None]
