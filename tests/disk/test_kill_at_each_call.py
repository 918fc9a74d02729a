"""Killed at each call that changes a file: nothing promised is lost, nothing repeats, the next start just works.

Store sheet, T-10, T-12, T-13 and promises P1, P3, P22. What a kill leaves is what the process had written; what a power
cut leaves is the subject of test_power_cut.py.
"""

from __future__ import annotations

import random
import signal

import pytest
from nursery import EXHAUSTIVE, fresh_copy, some, told_briefly

SETTLED = [
    ["subscribe", "city"],
    ["keep", 3],
    ["settle", "city", 1],
    ["keep", 2],
    ["refuse", "city"],
    ["settle", "city", 2],
]
STORED = [["keep", 1], ["keep", 2, 2], ["foreign", 2], ["keep", 1, 2]]
ROTATED = [["keep", 1], ["next_part"], ["keep", 2, 2]]
EMPTIED = [["next_part"], ["settle", "city", 9], ["retain"], ["keep", 1]]
LIVED = [
    ["enter", 1, 2], ["subscribe", "city"], ["keep", 2], ["keep", 3, 2], ["next_part"], ["keep", 2, 2],
    ["settle", "city", 2], ["checkpoint"],
]  # fmt: skip
FORGOTTEN = [["subscribe", "city"], ["forget", 2], ["keep", 1]]

# What happened before, undisturbed, and what is killed.
HISTORIES = {
    "the first start": ([], []),
    "storing": ([["enter", 1, 2]], STORED),
    "storing after a restart": ([["enter", 1, 2], *STORED], STORED),
    "entering devices": ([["enter", 1]], [["keep", 1], ["enter", 2, 3], ["keep", 1, 3]]),
    "rotating": ([["enter", 1, 2], ["keep", 1]], ROTATED),
    "letting go of parts": ([["enter", 1], ["subscribe", "city"], ["keep", 1]], [["subscribe", "city"], *EMPTIED]),
    "settling": ([["enter", 1]], SETTLED),
    "settling after a restart": ([["enter", 1], *SETTLED], [["subscribe", "city"], ["settle", "city", 9], ["keep", 1]]),
    "writing a checkpoint": ([["enter", 1, 2], *STORED], [*STORED, ["checkpoint"], ["keep", 1], ["checkpoint"]]),
    "stopping and starting": ([["enter", 1]], [["keep", 1], ["restart"], ["keep", 1], ["restart"], ["keep", 1]]),
    "forgetting a device": (LIVED, FORGOTTEN),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_process_killed_at_any_call_keeps_every_promise(history, nursery, trouble, quick_folder):
    before, steps = HISTORIES[history]
    sound = quick_folder / "sound"
    past = nursery.run("lives.live", sound, before) if before else None
    assert not (past and past.breaches), past.breaches
    facts = past.facts if past else []
    broken, killed = [], 0
    total = calls_of(nursery, trouble, fresh_copy(sound, quick_folder / "data"), steps)
    for call in some(range(1, total + 1), 10):
        folder = fresh_copy(sound, quick_folder / "data")
        trouble.below(folder)
        trouble.kill_at(call)
        life = nursery.run("lives.live", folder, steps)
        trouble.nowhere()
        assert not life.error, life.error
        killed += life.signal == signal.SIGKILL
        verdict = nursery.run("kept_promises.judge", folder, [*facts, *life.facts])
        broken += [f"killed at call {call}: {breach}" for breach in verdict.breaches]
    # How groups form decides how many calls there are: on a busy machine fewer, and the last instants never come.
    assert killed >= 6, f"only {killed} were killed"
    assert not broken, told_briefly(broken)


@pytest.mark.parametrize("history", ["rotating", "settling", "writing a checkpoint"])
def test_a_start_killed_again_and_again_loses_nothing(history, nursery, trouble, quick_folder):
    """T-13: the start after a kill is killed at the same call three times in a row."""
    before, steps = HISTORIES[history]
    past = nursery.run("lives.live", quick_folder / "sound", before)
    assert not past.breaches
    total = calls_of(nursery, trouble, fresh_copy(quick_folder / "sound", quick_folder / "data"), steps)
    rng, broken, killed = random.Random(13), [], 0
    for call in sorted(rng.sample(range(1, total + 1), 20 if EXHAUSTIVE else 2)):
        torn = fresh_copy(quick_folder / "sound", quick_folder / "torn")
        life = killed_at(nursery, trouble, torn, steps, call)
        start = calls_of(nursery, trouble, fresh_copy(torn, quick_folder / "data"), [])
        for start_call in sorted(rng.sample(range(1, start + 1), min(5, start))):
            folder = fresh_copy(torn, quick_folder / "data")
            starts = [killed_at(nursery, trouble, folder, [], start_call) for _ in range(3)]
            killed += sum(one.signal == signal.SIGKILL for one in starts)
            facts = [*past.facts, *life.facts, *(fact for one in starts for fact in one.facts)]
            verdict = nursery.run("kept_promises.judge", folder, facts)
            broken += [f"killed at {call}, then at {start_call} of the start: {breach}" for breach in verdict.breaches]
    assert killed >= 15, "the starts were not killed"
    assert not broken, told_briefly(broken)


def killed_at(nursery, trouble, folder, steps, call):
    trouble.below(folder)
    trouble.kill_at(call)
    life = nursery.run("lives.live", folder, steps)
    trouble.nowhere()
    assert not life.error, life.error
    return life


def calls_of(nursery, trouble, folder, steps):
    """How many changing calls this life makes."""
    trouble.below(folder)
    life = nursery.run("lives.live", folder, steps)
    trouble.nowhere()
    assert not life.breaches
    return trouble.page.calls
