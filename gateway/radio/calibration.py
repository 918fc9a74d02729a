"""What a measurement in the laboratory says should stand in the settings of a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.radio.board import TxGain

FEWEST = 10
"""Frames; fewer say nothing, with a decibel or two between one and the next."""


@dataclass(frozen=True, slots=True)
class Loudness:
    """Frames of a known level against what was reported."""

    frames: int
    too_loud_db: float  # reported less real
    rssi_offset_db: float  # what would set it right

    @property
    def is_enough(self) -> bool:
        """Whether so many frames say something."""
        return self.frames >= FEWEST


def loudness_offset(channels: Iterable[Mapping[str, int]], level_dbm: float, rssi_offset_db: float) -> Loudness | None:
    """What the offset should be, of frames that arrived with this level; None when none did.

    `channels` are histograms: how many frames were reported at each level in dBm. `rssi_offset_db` is what holds now.
    """
    reported = [(float(level), count) for levels in channels for level, count in levels.items()]
    frames = sum(count for _, count in reported)
    if not frames:
        return None
    too_loud_db = sum(level * count for level, count in reported) / frames - level_dbm
    return Loudness(frames, round(too_loud_db, 1), round(rssi_offset_db - too_loud_db, 1))


def regauged(gains: Sequence[TxGain], asked_dbm: float, measured_dbm: float) -> tuple[str, ...] | None:
    """The table of powers with the entry that `asked_dbm` is sent with put where it was measured; None for no entry.

    The chip takes the strongest entry that is not more than asked. Powers are whole numbers in the table: the measured
    one is rounded up, so that nothing is sent stronger than it says, and an entry that had this number already goes.
    """
    used = max((gain for gain in gains if gain.power_dbm <= asked_dbm), key=lambda gain: gain.power_dbm, default=None)
    if used is None:
        return None
    power_dbm = -int(-measured_dbm // 1)
    rest = [gain for gain in gains if gain is not used and gain.power_dbm != power_dbm and gain.measured]
    table = sorted([(gain.power_dbm, gain.pa_gain, gain.pwr_idx) for gain in rest]
                   + [(power_dbm, used.pa_gain, used.pwr_idx)])  # fmt: skip
    return tuple(f"{dbm}:{amplifier}/{index}" for dbm, amplifier, index in table)
