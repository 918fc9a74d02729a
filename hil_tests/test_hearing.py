"""What goes on the air beside the concentrator is heard: everywhere, down to the noise, and as loud as it was."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TYPE_CHECKING

from gateway.simulator.propagation import SNR_FLOOR_DB, noise_dbm
from hil_tests.bench import spread
from hil_tests.figures import Grid, Lines, Table
from hil_tests.measure import MARGINS_DB
from hil_tests.parts import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hil_tests.bench import Bench, Station
    from hil_tests.figures import Figures
    from hil_tests.judge import Frame
    from hil_tests.measure import Measure

ARRIVES_S = 1.0
"""From the end of a frame to the report of it; what takes longer counts as lost."""


def test_it_hears_every_channel_and_spreading_factor(running: Bench, measured: Measure, figures: Figures) -> None:
    """It hears what was sent, on every channel and with every spreading factor."""
    # The slowest first, so that no modem is left with them at the end.
    channels = [Channel(hz, sf) for sf, hz in product(reversed(measured.spreading_factors), running.frequencies_hz)]

    def hear(station: Station, channel: Channel) -> Frame | None:
        phy = station.frame()
        station.send(phy, channel)
        return running.judge.heard(phy, 3.0)

    heard = {channel: frame for _, channel, frame in running.shared_out(channels, hear)}
    numbers = {hz: {frame.channel for channel, frame in heard.items() if frame and channel.frequency_hz == hz}
               for hz in running.frequencies_hz}  # fmt: skip
    figures.fact("Heard", f"{sum(frame is not None for frame in heard.values())} of {len(channels)}", "all")
    figures.show(
        Grid(
            "Reported loudness, dBm", "SF", [f"SF{sf}" for sf in measured.spreading_factors],
            "MHz", [f"{hz / 1e6:.1f}" for hz in running.frequencies_hz],
            [[_rssi(heard[Channel(hz, sf)]) for hz in running.frequencies_hz] for sf in measured.spreading_factors],
            most=0, note="One frame each, at -80 dBm on the concentrator's connector. A dash was not heard.",
        )
    )  # fmt: skip
    assert not [channel for channel, frame in heard.items() if frame is None]
    for channel, frame in heard.items():
        assert frame is not None
        assert (frame.frequency_hz, frame.spreading_factor) == (channel.frequency_hz, channel.spreading_factor)
    assert all(len(ones) == 1 for ones in numbers.values())
    assert len({number for ones in numbers.values() for number in ones}) == len(running.frequencies_hz)


def test_packet_errors_by_level(running: Bench, measured: Measure, figures: Figures) -> None:
    """Packets are lost only near the noise: the error rate by spreading factor and level."""
    cells = [(sf, margin) for sf in reversed(measured.per_spreading_factors) for margin in MARGINS_DB]
    frequencies_hz = running.frequencies_hz
    place = {station.name: at for at, station in enumerate(running.stations)}

    def count(station: Station, cell: tuple[int, int]) -> float | None:
        sf, margin = cell
        channel = Channel(frequencies_hz[place[station.name] % len(frequencies_hz)], sf)
        level_dbm = noise_dbm(125_000) + SNR_FLOOR_DB[sf] + margin
        if station.level(level_dbm) is None:
            return None
        lost = 0
        for _ in range(measured.per_frames):
            phy = station.frame()
            station.send(phy, channel, level_dbm)
            lost += running.judge.heard(phy, ARRIVES_S / 2) is None
        return 100 * lost / measured.per_frames

    rates = {cell: rate for _, cell, rate in running.shared_out(cells, count)}
    factors = measured.per_spreading_factors
    figures.show(
        Grid(
            "Packets lost", "SF", [f"SF{sf}" for sf in factors],
            "dB above the floor", [f"{margin:+d}" for margin in MARGINS_DB],
            [[rates[sf, margin] for margin in MARGINS_DB] for sf in factors], most=100, unit=" %",
            note=f"{measured.per_frames} frames of 14 bytes a cell. The floor is the SNR of the SX1276 datasheet "
            "(table 13) over the noise of 125 kHz and a noise figure of 6 dB. A dash is beyond the attenuator.",
        )
    )  # fmt: skip
    curves = {
        f"SF{sf}": [
            (round(noise_dbm(125_000) + SNR_FLOOR_DB[sf] + margin, 1), rate)
            for margin in MARGINS_DB
            if (rate := rates[sf, margin]) is not None
        ]
        for sf in factors
    }
    figures.show(Lines("Packets lost by level", "dBm at the connector", "% lost", curves))
    for name, curve in curves.items():
        sensitivity = tenth_lost(curve)
        if sensitivity is not None:
            figures.fact(f"Sensitivity {name}", f"{sensitivity:.1f} dBm", "10 % lost")
    for sf in factors:
        safe, beyond = rates[sf, MARGINS_DB[0]], rates[sf, MARGINS_DB[-1]]
        if safe is not None:
            assert safe <= max(10.0, 100.0 / measured.per_frames), f"SF{sf} loses {safe:g} % well above its floor"
        if safe is not None and beyond is not None:
            assert beyond > safe, f"SF{sf} does not care for the attenuator: is there another way for the signal?"


def test_reported_loudness_is_the_real_one(running: Bench, measured: Measure, figures: Figures) -> None:
    """A frame is reported as loud as it was: RSSI against level, and the offset that would set it right."""
    channel = Channel(running.frequencies_hz[0], 7)
    found: dict[str, list[tuple[float, float]]] = {station.name: [] for station in running.stations}
    cells = [level for level in measured.rssi_levels_dbm for _ in range(measured.rssi_frames)]

    for at, level_dbm in enumerate(cells):  # one after another: two at once are louder than each
        station = running.stations[at % len(running.stations)]
        if station.level(level_dbm) is None:
            continue
        phy = station.frame()
        arrives_dbm, _ = station.send(phy, channel, level_dbm)
        frame = running.judge.heard(phy, ARRIVES_S)
        if frame is not None:
            found[station.name].append((arrives_dbm, frame.rssi_dbm))

    points = [point for series in found.values() for point in series]
    assert len(points) >= len(cells) / 2, "half of the levels cannot be reached with this attenuator"
    errors = [reported - with_noise_dbm(level) for level, reported in points]
    error_db, scatter_db = spread(errors)
    slope, unsure = slope_of(points)
    figures.fact("Reported too loud by", f"{error_db:+.1f} dB", f"scatter {scatter_db:.1f} dB")
    figures.fact("Slope", f"{slope:.3f} ± {unsure:.3f}", "0.95 to 1.05")
    figures.fact("Proposal", proposal(running.file.rssi_offset_db, error_db))
    figures.show(
        Lines("Reported against real", "dBm at the connector", "RSSI, dBm", found, points_only=True, diagonal=True)
    )
    figures.show(_by_level(points, measured.rssi_levels_dbm))
    assert abs(slope - 1) <= 0.05 + 2 * unsure
    # On the virtual bench each frame fades by 2 dB, this way or that; on a real one cables are guessed.
    assert abs(error_db) <= (0.7 + 6 / len(points) ** 0.5 if running.file.is_virtual else 6.0)


def _rssi(frame: Frame | None) -> float | None:
    return None if frame is None else frame.rssi_dbm


def with_noise_dbm(level_dbm: float) -> float:
    """What a receiver measures in a channel of 125 kHz: the signal and its own noise."""
    return 10 * math.log10(10 ** (level_dbm / 10) + 10 ** (noise_dbm(125_000) / 10))


def slope_of(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The slope of the straight line that fits best, and its standard error."""
    mean_x, mean_y = (sum(point[at] for point in points) / len(points) for at in (0, 1))
    square = sum((x - mean_x) ** 2 for x, _ in points)
    if not square or len(points) < 3:
        return 1.0, math.inf
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / square
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, math.sqrt(rest / (len(points) - 2) / square)


def proposal(offset_db: float | None, error_db: float) -> str:
    """What to write into the settings: below a decibel, nothing."""
    if abs(error_db) < 1:
        return "leave it"
    if offset_db is None:
        return f"the board's rssi_offset_db {-error_db:+.1f}"
    return f"rssi_offset_db = {offset_db - error_db:.1f}"


def tenth_lost(curve: Sequence[tuple[float, float]]) -> float | None:
    """The level at which a tenth is lost, between the two that were measured around it."""
    ordered = sorted(curve)
    for (low, more), (high, fewer) in pairwise(ordered):
        if more >= 10 > fewer:
            return low + (high - low) * (more - 10) / (more - fewer)
    return None


def _by_level(points: Sequence[tuple[float, float]], levels: Sequence[int]) -> Table:
    by_level: Mapping[int, list[float]] = {
        level: [reported - with_noise_dbm(real) for real, reported in points if abs(real - level) < 0.6]
        for level in levels
    }
    rows = [
        (f"{level}", str(len(errors)), f"{spread(errors)[0]:+.1f}", f"{spread(errors)[1]:.1f}")
        for level, errors in by_level.items()
        if errors
    ]
    return Table("Error by level", ("dBm", "frames", "error, dB", "scatter, dB"), rows)
