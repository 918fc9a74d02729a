"""A commit that the end of the world interrupts: what it left is whole or nothing, and no alarm is raised about it."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from readings import reading
from simulated_disk import SimulatedDisk

from gateway.store.log import Damage, RecordLog, Tally
from gateway.store.records import encode
from gateway.store.seals import SealRing

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_disk import Journal

EUI = "0016c001ff10a235"
PROMISED, IN_THE_COMMIT = 3, 40


@pytest.fixture
def disk():
    with SimulatedDisk() as disk:
        yield disk


@pytest.fixture
def torn(disk, tmp_path) -> tuple[Journal, range]:
    """A log with three durable records and a commit of forty more: its journal, and the moments within that commit."""
    folder = tmp_path / "data"
    folder.mkdir()
    journal = disk.watch(folder)
    with closing(SealRing(folder, None)) as seals, closing(RecordLog(folder / "log", EUI, 64 << 20, seals)) as log:
        _append(log, PROMISED)
        began = journal.now
        _append(log, IN_THE_COMMIT)
        return journal, range(began, journal.now)


def _append(log: RecordLog, records: int) -> None:
    bodies = [encode(reading(number), 1) for number in range(records)]
    log.append(bodies, [], Tally(heard=records, stored=records))


def opened_again(folder: Path) -> tuple[list[int], Damage, Tally]:
    """What a start finds: positions, what it thinks was damaged, the books."""
    with closing(SealRing(folder, None)) as seals, closing(RecordLog(folder / "log", EUI, 64 << 20, seals)) as log:
        return [position for position, _ in log.bodies_after(0)], log.damage, log.tally


def test_of_a_commit_that_was_never_promised_no_hole_is_left(torn, tmp_path):
    # Positions without a record count as lost at each destination: records that never were would be told as losses.
    journal, moments = torn
    for at in moments:
        for seed in range(8):
            folder = tmp_path / f"{at}-{seed}"
            journal.after_power_cut(at, folder, random.Random(seed))
            positions, _, tally = opened_again(folder)
            assert positions == list(range(1, len(positions) + 1)), f"cut at {at}, seed {seed}"
            assert (len(positions) >= PROMISED, tally.stored) == (True, len(positions)), f"cut at {at}, seed {seed}"


def test_a_kill_in_the_midst_of_a_commit_is_no_damage(torn, tmp_path):
    journal, moments = torn
    for at in moments:
        folder = tmp_path / str(at)
        journal.after_kill(at, folder)
        positions, damage, tally = opened_again(folder)
        assert (len(positions) >= PROMISED, tally.stored, damage) == (True, len(positions), Damage()), f"killed at {at}"
