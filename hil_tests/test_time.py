"""Time: what the satellites say, and a day that is long."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from hil_tests.figures import Histogram, Lines, Table
from hil_tests.judge import TURN_US
from hil_tests.parts import Channel

if TYPE_CHECKING:
    from hil_tests.bench import Bench
    from hil_tests.figures import Figures
    from hil_tests.judge import Frame
    from hil_tests.measure import Measure

FIX_S = 120.0
"""A receiver that was on lately needs half a minute under the open sky."""


def test_gps_gives_the_time(running: Bench, figures: Figures) -> None:
    """The gateway has its time from GPS, and says how far it can be off."""
    if not running.gps_is_known:
        pytest.skip("this version of the gateway has no [gps] settings")
    if running.gps_device is None:
        pytest.skip("needs a GPS receiver: [gps] in bench.toml")
    begun_s = time.monotonic()
    status = running.gateway.until(lambda status: status["clock"]["quality"] == "gps", FIX_S)
    figures.fact("Time from GPS after", f"{time.monotonic() - begun_s:.1f} s", f"at most {FIX_S:g} s")
    figures.fact("Uncertainty", f"{status['clock']['uncertainty_ms']} ms")
    gps = status.get("gps") or {}
    figures.show(Table("The receiver", ("", ""), [(str(key), str(value)) for key, value in gps.items()]))
    with running.gateway.tail() as tail:
        station = running.stations[0]
        assert tail.until(lambda _: True, 1)
        for _ in range(10):
            station.send(station.frame(), Channel(running.frequencies_hz[0], 7))
            if tail.until(lambda readings: len(readings) > 0, 1.0):
                break
        readings = [reading for _, reading in tail.readings]
    assert readings, "no reading has come"
    figures.fact("A reading is dated by", readings[-1]["time_quality"], "gps")
    assert readings[-1]["time_quality"] == "gps"


def test_a_long_day(running: Bench, measured: Measure, figures: Figures) -> None:
    """A long day: everything that is sent is heard and kept, memory stays, the counter follows the clock."""
    if not measured.long_day_s:
        pytest.skip("this profile has no long day: --measure short, or measure.long_day in bench.toml")
    gateway, frequencies_hz = running.gateway, running.frequencies_hz
    before, memory = gateway.status(), [(0.0, (gateway.memory_kib() or 0) / 1024)]
    begun_s = time.monotonic()
    sent: list[bytes] = []
    pause_s = 0.1 if measured.long_day_s < 600 else 2.0
    while (now_s := time.monotonic() - begun_s) < measured.long_day_s:
        at = len(sent)
        station = running.stations[at % len(running.stations)]
        phy = station.frame(bytes((at & 0xFF,)) * (1 + at % 20))
        station.send(phy, Channel(frequencies_hz[at % len(frequencies_hz)], (7, 7, 8, 7, 9)[at % 5]))
        sent.append(phy)
        if now_s - memory[-1][0] > measured.long_day_s / 40:
            memory.append((now_s, (gateway.memory_kib() or 0) / 1024))
        time.sleep(pause_s)
    time.sleep(2)
    memory.append((time.monotonic() - begun_s, (gateway.memory_kib() or 0) / 1024))
    judged = {frame.phy: frame for frame in running.judge.frames}
    heard = [judged[phy] for phy in sent if phy in judged]
    after = gateway.status()
    figures.fact("Sent", len(sent))
    figures.fact("Heard", f"{len(heard)}", "all")
    figures.fact("Dropped", after["radio"]["dropped"] - before["radio"]["dropped"], "none")
    figures.fact("Balance", after["store"]["balance"], "0")
    ppm = drift_ppm(heard)
    figures.fact("Counter against this clock", f"{ppm:+.1f} ppm", "within 50 ppm over minutes")
    note = "By the concentrator's counter and this machine's clock, which drift apart a little."
    delays = {"frames": delays_ms(heard)}
    figures.show(Histogram("From the end of a frame to the judge", "milliseconds, less the quickest", delays, note))
    if memory[0][1]:
        figures.fact("Memory at the end", f"{memory[-1][1]:.0f} MiB", f"{memory[-1][1] - memory[0][1]:+.1f} MiB")
        figures.show(Lines("Memory of the gateway", "seconds", "MiB", {"resident": memory}, from_zero=True))
    assert len(heard) == len(sent)
    assert after["radio"]["dropped"] == before["radio"]["dropped"]
    assert after["store"]["balance"] == 0
    assert abs(ppm) < (50 if measured.long_day_s >= 600 else 500)
    assert memory[-1][1] - memory[0][1] < 50


# --- reckoning ------------------------------------------------------------------------------------------------------


def counts_us(frames: list[Frame]) -> list[int]:
    """Their counters in order, carried on over each turn of 32 bits."""
    if not frames:
        return []
    counts = [frames[0].counter_us]
    for earlier, later in pairwise(frames):
        ahead = (later.counter_us - earlier.counter_us) % TURN_US
        counts.append(counts[-1] + (ahead - TURN_US if ahead >= TURN_US // 2 else ahead))
    return counts


def drift_ppm(frames: list[Frame]) -> float:
    """How much faster the counter runs than this machine's clock, by the quickest reports of both ends."""
    counts = counts_us(frames)
    if len(counts) < 20:
        return 0.0
    offsets = [frame.at_s * 1e6 - count for frame, count in zip(frames, counts, strict=True)]
    quarter = len(counts) // 4
    first, last = (
        min(range(quarter), key=offsets.__getitem__),
        min(range(len(counts) - quarter, len(counts)), key=offsets.__getitem__),
    )
    return -(offsets[last] - offsets[first]) / (counts[last] - counts[first]) * 1e6


def delays_ms(frames: list[Frame]) -> list[float]:
    """How long each report took, compared with the quickest near it."""
    counts = counts_us(frames)
    if len(counts) < 2:
        return []
    offsets = [frame.at_s * 1e3 - count / 1e3 for frame, count in zip(frames, counts, strict=True)]
    return [round(offset - min(offsets[max(0, at - 50) : at + 50]), 2) for at, offset in enumerate(offsets)]
