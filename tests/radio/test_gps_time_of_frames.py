"""A chip in the radio process that notes pulses, a receiver that names their seconds: frames carry the time of GPS."""

import asyncio
import time

import pytest

from gateway.model import AtGpsTime, DownlinkRequest, GpsMoment, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.chip_radio import ChipRadio, ChipSetting
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868

PPS_US = 123_456  # the pulse comes when the clock since boot shows whole seconds and this
SECOND = 1_000_000
GPS_S = 1_479_463_218


def boot_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000


def gps_us(at_us):
    """The truth: GPS time at a moment of the clock since boot."""
    return GPS_S * SECOND + at_us - PPS_US


def now():
    return Stamp(0, TimeQuality.UNSYNCED, None, "boot", boot_us())


def named():
    """What a receiver's message says 120 ms after each second: true within half of one."""
    told_us = (boot_us() - PPS_US - 120_000) // SECOND * SECOND + PPS_US + 120_000
    return GpsMoment(gps_us(told_us - 120_000) + 500_000, told_us, 500_000, 18)


@pytest.fixture
def radio(tmp_path):
    def make(pps_us=PPS_US, script=""):
        told = {"every": 4, "pps_us": pps_us, "script": script, "marks": str(tmp_path / "marks")}
        setting = ChipSetting("scripted", "scripted_chip:open_chip", plan_of(EU868), lambda: told, realtime=False)
        return ChipRadio(setting, Transmitters(EU868), stamp=now)

    return make


async def with_gps_time(radio, within_s=12):
    """The first frame that carries GPS time, and how many came before it."""
    before = 0
    async with asyncio.timeout(within_s):
        async for frame in radio.frames():
            if frame.gps_time_us is not None:
                return frame, before
            before += 1
    raise AssertionError


def error_us(frame):
    """The frame tells itself when it was heard, on the clock since boot."""
    return frame.gps_time_us - gps_us(int.from_bytes(frame.phy[-8:], "little"))


async def test_frames_carry_gps_time_and_survive_a_reset_of_the_chip(radio):
    async with radio(script="lost@receive#1200") as one:
        one.follow(named)
        frame, before = await with_gps_time(one)
        assert abs(error_us(frame)) < 2_000  # what the process took between reading its clock and its counter
        assert before > 50  # those of the first seconds carry none
        pulse = one.pulse()
        assert pulse.gps_time_us % SECOND == 0
        assert abs(gps_us(pulse.monotonic_us) - pulse.gps_time_us) <= pulse.off_us <= 20_000
        assert "the counter follows GPS within" in one.pulse_words()

        asked = DownlinkRequest(
            "b", b"\x60" + bytes(12), "chip", AtGpsTime(frame.gps_time_us + SECOND), 869_525_000, Lora(9, 125_000), 14.0
        )
        assert one.submit(asked).result is TxResult.ACCEPTED

        async with asyncio.timeout(20):
            while not one.health().receivers[0]["resets"]:
                await asyncio.sleep(0.05)
        assert one.pulse() is None  # the counter began anew: nothing is known until three pulses have come
        async with asyncio.timeout(15):
            while one.pulse() is None:
                await asyncio.sleep(0.1)
        since_us = boot_us()
        async for frame in one.frames():
            if frame.heard.monotonic_us > since_us:
                assert abs(error_us(frame)) < 2_000
                break


async def test_without_pulses_or_without_anybody_to_name_them_there_is_no_gps_time(radio):
    async with radio() as unnamed, radio(pps_us=None) as unpulsed:
        unnamed.follow(lambda: None)
        unpulsed.follow(named)
        await asyncio.sleep(4.5)
        assert "no message names" in unnamed.pulse_words()
        assert "no pulse reaches" in unpulsed.pulse_words()
        for one in (unnamed, unpulsed):
            assert one.pulse() is None
            assert (await anext(one.frames())).gps_time_us is None
            asked = DownlinkRequest(
                "b", b"\x60" + bytes(12), "chip", AtGpsTime(gps_us(boot_us()) + SECOND), 869_525_000,
                Lora(9, 125_000), 14.0,
            )  # fmt: skip
            assert one.submit(asked).result is TxResult.GPS_UNLOCKED
