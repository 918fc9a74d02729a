"""The radio process: how long a frame takes from the chip's buffer to the daemon, what it costs, how soon it is back.

The chip is one of Python alone (`busy_chip`): what is measured is the loop, the pipe and the daemon's side, not a bus.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from bench.busy_chip import DRIVER, boottime_us
from bench.figures import heading, show
from bench.machine import cpu_s
from gateway.model import Stamp, TimeQuality
from gateway.radio.channels import plan_of
from gateway.radio.chip_radio import POLL_US, ChipRadio, ChipSetting
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model import RadioFrame

PER_S = 171.0  # eight channels of SF7 frames with 13 bytes, back to back, less what collides: what a chip can deliver
SECONDS = 15.0
TIMES = 5


def run() -> None:
    """Print latency, processor time and the time to recover."""
    heading(f"radio: {PER_S:.0f} frames/s of 24 bytes through the radio process, polled every {POLL_US / 1000:g} ms")
    logging.getLogger("gateway.radio").setLevel(logging.ERROR)  # it is killed on purpose
    asyncio.run(_busy())
    asyncio.run(_idle())
    asyncio.run(_recovery())


def _radio(per_s: float) -> ChipRadio:
    options = {"per_s": per_s, "size": 24}
    setting = ChipSetting("bench", DRIVER, plan_of(EU868), lambda: options)
    return ChipRadio(setting, Transmitters(EU868), stamp=_now)


def _now() -> Stamp:
    return Stamp(time.time_ns() // 1000, TimeQuality.NTP, 10, "bench", boottime_us())


def _process(radio: ChipRadio) -> int:
    return int(str(radio.health().receivers[0]["process"]))


async def _busy() -> None:
    async with _radio(PER_S) as radio:
        frames = radio.frames()
        await _late_us(frames, 1.0)
        process, used_s, ours_s, begun = _process(radio), cpu_s(_process(radio)), time.process_time(), time.monotonic()
        late_us = sorted(await _late_us(frames, SECONDS))
        took_s = time.monotonic() - begun
        used_s, ours_s = cpu_s(process) - used_s, time.process_time() - ours_s
        standing = radio.health().receivers[0]["standing"]
    show("from the chip's buffer to the daemon, median", f"{late_us[len(late_us) // 2] / 1000:.1f} ms")
    show("  p99", f"{late_us[len(late_us) * 99 // 100] / 1000:.1f} ms", aim="10 ms", beside=f"{standing}")
    show("  most", f"{late_us[-1] / 1000:.1f} ms", beside=f"of {len(late_us):,d} frames")
    show("radio process, share of a core", f"{100 * used_s / took_s:.1f} %")
    show(
        "daemon's side of it", f"{100 * ours_s / took_s:.1f} %", beside=f"{1e6 * ours_s / len(late_us):.0f} us a frame"
    )


async def _late_us(frames: AsyncIterator[RadioFrame], seconds: float) -> list[int]:
    late_us = []
    until = time.monotonic() + seconds
    async for frame in frames:
        late_us.append(boottime_us() - int.from_bytes(frame.phy[1:9], "little"))
        if time.monotonic() > until:
            break
    return late_us


async def _idle() -> None:
    async with _radio(0) as radio:
        await asyncio.sleep(1)
        process, used_s, ours_s = _process(radio), cpu_s(_process(radio)), time.process_time()
        await asyncio.sleep(SECONDS)
        used_s, ours_s = cpu_s(process) - used_s, time.process_time() - ours_s
    show("radio process without a frame", f"{100 * used_s / SECONDS:.1f} %", aim="2 %")
    show("daemon's side of it", f"{100 * ours_s / SECONDS:.1f} %")


async def _recovery() -> None:
    killed_ms, stopped_ms = [], []
    async with _radio(PER_S) as radio:
        frames = radio.frames()
        for _ in range(TIMES):
            killed_ms.append(await _silence_ms(radio, frames, signal.SIGKILL))
            stopped_ms.append(await _silence_ms(radio, frames, signal.SIGSTOP))
            radio._ladder.well(1 << 40)  # noqa: SLF001 - each is the first of its kind
    show("killed to the next frame, median", f"{sorted(killed_ms)[TIMES // 2]:.0f} ms", aim="5 s")
    show("hung to the next frame, median", f"{sorted(stopped_ms)[TIMES // 2]:.0f} ms", aim="5 s",
         beside="a real chip starts 2.3 s longer")  # fmt: skip


async def _silence_ms(radio: ChipRadio, frames: AsyncIterator[RadioFrame], number: int) -> float:
    process, struck_us = _process(radio), boottime_us()
    os.kill(process, number)
    async for frame in frames:
        if int.from_bytes(frame.phy[1:9], "little") > struck_us and _process(radio) != process:
            break
    return (boottime_us() - struck_us) / 1000
