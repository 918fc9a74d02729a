"""What the simulated SX1302 costs: for each request of a driver, for each frame of the air, and when nobody asks."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
import tty
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import heading, show
from bench.machine import cpu_s, memory_mib
from gateway.model import Lora
from gateway.radio.airtime import airtime_us
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.sx1302.board import Board

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS_HZ = (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000, 868_100_000, 868_300_000, 868_500_000)
CHIP_FRAMES = 171
"""Frames a second that eight channels and sixteen demodulators can bring at most."""

POLL_REQUESTS = 650
"""Requests a second of Semtech's packet forwarder that hears nothing: it polls every 10 ms and sleeps in between."""

_COUNT, _COUNTER = (0x58C8, 2), (0x6101, 8)
_SF7 = Lora(7, 125_000)


def run() -> None:
    """Print them."""
    heading("the simulated SX1302, one core")
    each_us = _poll_us()
    show("a request of a driver, without the terminal", f"{each_us:.1f} us", beside=f"{1e6 / each_us:,.0f}/s")
    rate = _frames_per_s()
    show("frames/s, from the air to the driver", f"{rate:,.0f}", aim=f"{CHIP_FRAMES}", beside="what a chip can bring")
    with _served() as (pid, path):
        show(
            "processor while no driver is there", f"{_idle(pid):.2f} %", aim="2 %", beside=f"{memory_mib(pid):.0f} MiB"
        )
        trip_us, used = _round_trips(pid, path)
        show("a request and its answer over the terminal", f"{trip_us:.0f} us")
        share = used * POLL_REQUESTS * 100
        show("processor while a packet forwarder polls", f"{share:.1f} %", beside=f"{POLL_REQUESTS} requests/s")


def _request(payload: bytes) -> bytes:
    return bytes([17]) + len(payload).to_bytes(2, "big") + b"\x05" + payload


def _read(address: int, size: int) -> bytes:
    frame = bytes([0, address >> 8, address & 0xFF, 0]) + bytes(size)
    return _request(bytes([0, 1, 0]) + len(frame).to_bytes(2, "big") + frame)


def _change(address: int, value: int, mask: int = 0xFF) -> bytes:
    return _request(bytes([0, 2, address >> 8, address & 0xFF, mask, value]))


def _radio(radio: int, command: str) -> bytes:
    frame = bytes([radio]) + bytes.fromhex(command)
    return _request(bytes([0, 1, 0]) + len(frame).to_bytes(2, "big") + frame)


def _start(board: Board) -> None:
    """As little of a driver's start as lets it hear eight channels."""
    asked = []
    for radio, frequency_hz in ((1, 867_500_000), (2, 868_500_000)):
        asked += [_change(0x5782 + radio, 0x0C), _radio(radio, "8001")]
        asked += [_radio(radio, "86" + (frequency_hz * (1 << 25) // 32_000_000).to_bytes(4, "big").hex())]
        asked += [_radio(radio, "82ffffff")]
    asked += [_change(0x57C0, 0x05), _change(0x58C0, 0x04), _change(0x5810, 0xE0), _change(0x5821, 0xFF)]
    for channel, frequency_hz in enumerate(CHANNELS_HZ):
        offset = round((frequency_hz - (868_500_000 if channel > 4 else 867_500_000)) * 32 / 15_625) & 0x1FFF
        asked += [_change(0x5800 + 2 * channel, offset >> 8), _change(0x5801 + 2 * channel, offset & 0xFF)]
    asked += [_change(0x588E, 0x06), _change(0x5605, 0x0F), _change(0x0000, 1), _change(0x2000, 1)]
    for control in (0x5780, 0x6080):
        asked += [_change(control, 0x00, 0x06)]
    steps = (0x80, 0x20, *range(0x03, 0x0C), 0x0F)
    asked += [_change(0x5789, step) for step in steps] + [_change(0x608A, 1)]
    for one in asked:
        board.feed(one, 0)
    assert len(board.chip.channels) == len(CHANNELS_HZ)


def _board() -> tuple[Air, Board]:
    chance = Chance(1)
    air = Air(chance)
    board = Board(air, chance, lambda _: None, eui=bytes(8))
    _start(board)
    return air, board


def _poll_us(polls: int = 5_000) -> float:
    """A request of an idle poll: twice the bytes that wait, twice the counters."""
    _, board = _board()
    requests = [_read(*_COUNT), _read(*_COUNT), _read(*_COUNTER), _read(*_COUNTER)]
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        for poll in range(polls):
            for one in requests:
                board.feed(one, poll * 10_000)
        best = min(best, (time.perf_counter() - began) / polls / len(requests))
    return best * 1e6


def _frames_per_s(frames: int = 4_000) -> float:
    """Frames of 20 bytes on all channels in turn, each put on the air, demodulated, written, read."""
    air, board = _board()
    length_us, apart_us, read = airtime_us(_SF7, 20), 8_000, 0
    began = time.perf_counter()
    for number in range(frames):
        start_us = number * apart_us
        air.put(
            Transmission(
                phy=number.to_bytes(4, "big") * 5,
                sender=f"device {number}",
                position=Position(100, 0),
                start_us=start_us,
                airtime_us=length_us,
                frequency_hz=CHANNELS_HZ[number % 8],
                modulation=_SF7,
                power_dbm_eirp=14,
            )
        )
        if number % 2:
            now_us = start_us + apart_us
            (answer,) = board.feed(_read(*_COUNT), now_us)
            waiting = int.from_bytes(answer[-2:], "big")
            if waiting:
                read += len(board.feed(_read(0x4000, waiting), now_us)[0]) // 43
    assert read > frames * 0.98
    return frames / (time.perf_counter() - began)


@contextlib.contextmanager
def _served() -> Iterator[tuple[int, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tty"
        command = [sys.executable, "-m", "gateway", "simulate", "chip", "--json", "--pty", str(path)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield process.pid, path
            finally:
                process.terminate()


def _idle(pid: int, seconds: float = 10.0) -> float:
    before = cpu_s(pid)
    time.sleep(seconds)
    return (cpu_s(pid) - before) / seconds * 100


def _round_trips(pid: int, path: Path, times: int = 20_000) -> tuple[float, float]:
    """Microseconds each by the clock, processor seconds each in the simulator."""
    device = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device)
    request = _read(*_COUNTER)
    used, began = cpu_s(pid), time.perf_counter()
    for _ in range(times):
        os.write(device, request)
        select.select([device], [], [], 1)
        os.read(device, 64)
    elapsed, used = time.perf_counter() - began, cpu_s(pid) - used
    os.close(device)
    return elapsed / times * 1e6, used / times
