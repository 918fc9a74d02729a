"""The radio process, for real: a chip that fails in every way inside of it, and a radio that goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from gateway.errors import RadioError
from gateway.model import AtCounter, DownlinkRequest, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.chip_radio import ChipRadio, ChipSetting
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868


def now():
    monotonic_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Stamp(1_700_000_000_000_000 + monotonic_us, TimeQuality.NTP, 10, "boot", monotonic_us)


@pytest.fixture
def radio(tmp_path):
    def make(script="", every=4, **options):
        log, marks = tmp_path / "log", tmp_path / "marks"
        told = {"script": script, "every": every, "log": str(log), "marks": str(marks)} | options
        setting = ChipSetting("scripted", "scripted_chip:open_chip", plan_of(EU868), lambda: told, realtime=False)
        one = ChipRadio(setting, Transmitters(EU868), stamp=now)
        one.log = lambda: [line.split()[1:] for line in log.read_text().splitlines()] if log.exists() else []
        return one

    return make


async def heard(radio, number, within_s=12):
    """So many frames, and how long the longest gap between two of them was."""
    frames, gaps_s, last_s = [], [], time.monotonic()
    async with asyncio.timeout(within_s):
        async for frame in radio.frames():
            gaps_s.append(time.monotonic() - last_s)
            last_s = time.monotonic()
            frames.append(frame)
            if len(frames) == number:
                break
    return frames, max(gaps_s)


async def until(true, within_s=10):
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


async def test_frames_come_in_order_with_their_own_time(radio):
    async with radio() as one:
        frames, _ = await heard(one, 20)
        assert one.health().state == "hearing"
        assert "a scripted chip" in one.health().evidence
    ended = [frame.heard.monotonic_us for frame in frames]
    assert ended == sorted(ended)
    for frame in frames:
        told_us = int.from_bytes(frame.phy[-8:], "little")
        assert abs(frame.heard.monotonic_us - told_us) < 2_000
        assert frame.receiver == "chip"
    assert [int.from_bytes(frame.phy[8:12], "little") for frame in frames] == list(range(1, 21))


async def test_a_python_that_was_found_beside_us_is_found_from_elsewhere(radio, monkeypatch):
    monkeypatch.setattr(sys, "executable", os.path.relpath(sys.executable))  # PATH=.venv/bin:$PATH
    async with radio() as one:
        assert len((await heard(one, 1))[0]) == 1


def asked(counter_us, ref="one", phy=b"\x60" + bytes(12), **changes):
    values = {
        "ref": ref, "phy": phy, "receiver": "chip", "timing": AtCounter(counter_us % (1 << 32)),
        "frequency_hz": 868_100_000, "modulation": Lora(7, 125_000), "power_dbm_eirp": 14.0,
    }  # fmt: skip
    return DownlinkRequest(**(values | changes))


async def outcome(radio, within_s=5):
    async with asyncio.timeout(within_s):
        return await anext(radio.outcomes())


async def test_an_answer_leaves_at_the_microsecond_it_was_asked_for(radio):
    async with radio() as one:
        [frame], _ = await heard(one, 1)
        assert one.submit(asked(frame.counter_us + 400_000)).result is TxResult.ACCEPTED
        assert (await outcome(one)).result is TxResult.SENT
        assert one.submit(asked(frame.counter_us + 400_000)).result is TxResult.TOO_LATE
        assert one.submit(asked(0, receiver="elsewhere")).result is TxResult.RADIO_UNREACHABLE
        assert one.submit(asked(0, frequency_hz=915_000_000)).result is TxResult.TX_FREQ
        assert one.health().receivers[0]["sent"] == 1
    [sent] = [line for line in one.log() if line[0] == "send"]
    assert int(sent[2]) == frame.counter_us + 400_000


FAULTS = {
    "exit@receive#20": "exit code 7",
    "segv@receive#20": "SIGSEGV",
    "kill@receive#20": "SIGKILL",
    "hang@receive#20": "receive did not come back",
    "spin@receive#20": "receive did not come back",
    "shout@receive#20": "no message",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_process_that_dies_or_hangs_is_replaced_in_time(radio, fault):
    async with radio(fault) as one:
        frames, gap_s = await heard(one, 20)
        health = one.health()
        assert health.state == "hearing"
        assert FAULTS[fault] in health.evidence
        assert health.receivers[0]["resets"] == {"process": 1}
    assert gap_s < 5
    numbers = {}
    for frame in frames:
        numbers.setdefault(frame.phy[1:5], []).append(int.from_bytes(frame.phy[8:12], "little"))
    assert len(numbers) == 2  # of two processes
    for told in numbers.values():
        assert told == list(range(1, len(told) + 1))  # what was heard before the end came through, and in order
    assert len(next(iter(numbers.values()))) == (19 // 4 if "receive" in fault else len(next(iter(numbers.values()))))
    counts = [frame.counter_us for frame in frames]
    assert counts == sorted(counts)  # the count goes on


async def test_what_was_heard_before_a_crash_is_answered_after_it(radio):
    async with radio("kill@receive#20") as one:
        frames, _ = await heard(one, 20)
        first, last = frames[0], frames[-1]
        assert first.phy[1:5] != last.phy[1:5]
        target_us = first.heard.monotonic_us + 3_000_000
        assert one.submit(asked(first.counter_us + 3_000_000)).result is TxResult.ACCEPTED
        assert (await outcome(one)).result is TxResult.SENT
    [sent] = [line for line in one.log() if line[0] == "send"]
    assert abs(int(sent[1]) - target_us) < 1_000


async def test_a_crash_loses_what_was_scheduled_and_says_so(radio):
    async with radio("kill@receive#60") as one:
        [frame], _ = await heard(one, 1)
        for ahead_s in (3, 5):
            answer = one.submit(asked(frame.counter_us + ahead_s * 1_000_000, ref=str(ahead_s)))
            assert answer.result is TxResult.ACCEPTED
        reports = [await outcome(one), await outcome(one)]
        assert {(report.ref, report.result) for report in reports} == {
            ("3", TxResult.RADIO_UNREACHABLE), ("5", TxResult.RADIO_UNREACHABLE),
        }  # fmt: skip
        assert "SIGKILL" in reports[0].detail
        assert one.health().airtime == ()  # none of it was on the air, so none is used
        await heard(one, 20)
        assert not [line for line in one.log() if line[0] == "send"]


async def test_air_time_of_what_a_crashing_chip_may_have_sent_stays_used(radio):
    async with radio("kill@send#1") as one:
        [frame], _ = await heard(one, 1)
        one.submit(asked(frame.counter_us + 500_000))
        assert (await outcome(one)).result is TxResult.RADIO_UNREACHABLE
        [use] = one.health().airtime
        assert use["used_s"] > 0


TROUBLES = {
    "lost@receive#20": ("the bus answers no more", {"chip": 1}),
    "bug@receive#20": ("ZeroDivisionError", {"chip": 1}),
    "stuck@receive#20": ("stands still", {"chip": 1}),
    "lost@receive#20 absent@start#2 absent@start#3": ("/dev/spidev9.9", {"chip": 1, "power": 1, "process": 1}),
}


@pytest.mark.parametrize("fault", TROUBLES)
async def test_a_chip_in_trouble_is_reset_as_deep_as_it_needs(radio, fault):
    words, resets = TROUBLES[fault]
    async with radio(fault) as one:
        await until(lambda: one.health().receivers[0]["resets"] == resets and one.health().state != "failed")
        await heard(one, 30)
        assert one.health().state == "hearing"
        assert words in one.health().evidence


async def test_what_cannot_be_a_frame_costs_itself_only(radio):
    async with radio("garbage@receive#20 garbage@receive#34") as one:
        await heard(one, 30)
        await until(lambda: one.health().refused)
        assert one.health().refused == {"frame_that_cannot_be": 8}
        assert one.health().receivers[0]["resets"] == {}


HOPELESS = {
    "forbidden@start#1!": (TroubleKind.NO_PERMISSION, "may not be opened", "groups"),
    "absent@start#1! absent@start#2! absent@start#3!": (TroubleKind.NOT_THERE, "/dev/spidev9.9", "scan"),
    "exit@start#1!": (TroubleKind.CRASHED, "exit code 7", "scan"),
}


@pytest.mark.parametrize("fault", HOPELESS)
async def test_a_chip_that_cannot_be_had_is_told_with_the_cure(radio, fault):
    kind, problem, hint = HOPELESS[fault]
    with pytest.raises(ChipTrouble) as caught:
        async with radio(fault):
            pytest.fail("it opened")
    assert caught.value.kind is kind
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    assert caught.value.exit_code == RadioError.exit_code == 3


async def test_a_driver_that_is_not_there_is_told(radio):
    with pytest.raises(ChipTrouble, match=r"libscripted\.so"):
        async with radio(no_driver=True):
            pytest.fail("it opened")


async def test_closing_silences_the_chip(radio):
    async with radio() as one:
        [frame], _ = await heard(one, 1)
        one.submit(asked(frame.counter_us + 300_000, phy=bytes(200)))
        await until(lambda: any(line[0] == "send" for line in one.log()))
    assert [line[0] for line in one.log()][-3:] == ["send", "abort", "stop"]
    assert (await outcome(one)).result is TxResult.RADIO_UNREACHABLE


async def test_a_process_told_by_the_kernel_or_a_person_silences_its_chip(radio):
    async with radio() as one:
        [first], _ = await heard(one, 1)
        os.kill(one.health().receivers[0]["process"], signal.SIGTERM)
        await until(lambda: ["stop"] in one.log())
        frames = one.frames()
        async with asyncio.timeout(10):
            while (await anext(frames)).phy[1:5] == first.phy[1:5]:
                pass


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


DAEMON = """
import asyncio, sys, os
sys.path[:] = sys.argv[1].split(":")
from test_chip_radio import *
async def main():
    told = {"log": sys.argv[2]}
    setting = ChipSetting("scripted", "scripted_chip:open_chip", plan_of(EU868), lambda: told, realtime=False)
    async with ChipRadio(setting, Transmitters(EU868), stamp=now) as one:
        print(one.health().receivers[0]["process"], flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_process_does_not_outlive_a_daemon_that_was_killed(tmp_path):
    log = tmp_path / "log"
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, ":".join(sys.path), str(log), stdout=asyncio.subprocess.PIPE
    )
    pid = int(await daemon.stdout.readline())
    daemon.kill()
    await daemon.wait()
    await until(lambda: log.read_text().split()[-1] == "stop" and not is_alive(pid))
