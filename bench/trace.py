"""What it costs that a technician could look on: frames to three servers with nobody looking, and with somebody."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from bench.figures import heading, show
from bench.parts import STAMP
from gateway.console.feed import Feed
from gateway.journal import Step
from gateway.model import Crc, GatewayEui, Lora, RadioFrame, Refusal, Refused
from gateway.regions.eu868 import EU868
from gateway.trace import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FRAMES = 20_000
SERVERS = ("city", "ttn", "region")
FRAME = RadioFrame(
    bytes.fromhex("40f17dbe4900020001954378762b11ff0d"), STAMP, 868_100_000, Lora(7, 125_000), -97, 5.2, 2, 0, 0,
    Crc.OK, "0016c001f1500812",
)  # fmt: skip
REFUSED = Refused(Refusal.UNKNOWN_DEVICE, "no session has DevAddr 49be7df1")


def run() -> None:
    """Print microseconds a frame: all that is told of it, on its way to three servers and acknowledged by each."""
    heading(f"following each packet, {len(SERVERS)} servers, microseconds a frame of the 200 there are")
    show("nobody looks", f"{_unseen_us():.2f} us", aim="next to nothing")
    show("somebody follows: noted", f"{asyncio.run(_seen_us(shaped=False)):.1f} us")
    show("somebody follows: noted, and made into JSON", f"{asyncio.run(_seen_us(shaped=True)):.1f} us")


def _tell(trace: Trace, number: int) -> None:
    frames = (replace(FRAME, counter_us=number),)
    trace.refused(frames[0], REFUSED)
    for name in SERVERS:
        trace.frames(name, Step.FORWARDED, frames, final=False)
    for name in SERVERS:
        trace.frames(name, Step.ACKNOWLEDGED, frames)


def _trace() -> tuple[Feed[Any], Trace]:
    feed: Feed[Any] = Feed(lambda item: item())
    return feed, Trace(feed, GatewayEui(bytes(8)), EU868, lambda: STAMP)


def _unseen_us() -> float:
    _, trace = _trace()
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for number in range(FRAMES):
            _tell(trace, number)
        told_s = time.perf_counter() - began
        began = time.perf_counter()
        for number in range(FRAMES):
            _ = (replace(FRAME, counter_us=number),)
        best = min(best, told_s - (time.perf_counter() - began))
    return best / FRAMES * 1e6


async def _seen_us(*, shaped: bool) -> float:
    feed, trace = _trace()
    following = feed.follow(raw=True)
    first = asyncio.create_task(anext(following))
    await asyncio.sleep(0)
    began = time.perf_counter()
    _tell(trace, 0)
    await first
    if shaped:
        await _take(following, 6)
    for number in range(1, FRAMES):
        _tell(trace, number)
        if shaped:
            await _take(following, 7)
    took_us = (time.perf_counter() - began) / FRAMES * 1e6
    await following.aclose()
    return took_us


async def _take(following: AsyncGenerator[dict[str, Any], None], number: int) -> None:
    for _ in range(number):
        orjson.dumps(await anext(following))
