"""The power is cut at any call, and the disk keeps, drops or tears whatever was not synced (store sheet, T-02, T-32).

`make crash` tries many more states of the disk; they are the same ones at each run.
"""

from __future__ import annotations

import errno
import json
import random
from hashlib import sha256
from itertools import product

import pytest
from mounts import ext4
from nursery import EXHAUSTIVE, fresh_copy, some, told_briefly
from power import Disk, lay_out
from test_kill_at_each_call import FORGOTTEN, LIVED, SETTLED, STORED
from trouble import Kind

STATES = 400 if EXHAUSTIVE else 16

ROTATED = [["small_parts"], ["keep", 4], ["keep", 4, 2], ["keep", 3], ["keep", 4]]
EMPTIED = [
    ["small_parts"], ["keep", 4], ["keep", 4], ["keep", 1], ["settle", "city", 6], ["retain"], ["keep", 1],
    ["settle", "city", 9], ["retain"],
]  # fmt: skip

HISTORIES = {
    "the first start": ([], [["enter", 1, 2], *STORED]),
    "storing": ([["enter", 1, 2], *STORED], [*STORED, ["checkpoint"], ["keep", 2]]),
    "rotating": ([["enter", 1, 2], ["keep", 1]], ROTATED),
    "letting go of parts": ([["enter", 1], ["subscribe", "city"], ["keep", 1]], [["subscribe", "city"], *EMPTIED]),
    "a new destination": ([["enter", 1]], SETTLED),
    "settling": ([["enter", 1], *SETTLED], [["subscribe", "city"], ["settle", "city", 9], ["keep", 1], ["restart"],
                                            ["subscribe", "city"], ["keep", 3], ["settle", "city", 1]]),
    "stopping and starting": ([["enter", 1]], [["keep", 1], ["restart"], ["keep", 1], ["checkpoint"], ["restart"]]),
    "forgetting a device": (LIVED, FORGOTTEN),
}  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES)
def test_whatever_a_power_cut_leaves_every_promise_is_kept(history, nursery, trouble, quick_folder):
    before, steps = HISTORIES[history]
    past = nursery.run("lives.live", quick_folder / "sound", before)
    assert not past.breaches
    calls, life = written_down(nursery, trouble, quick_folder, steps)
    assert not life.breaches
    tried, broken = cut_anywhere(nursery, quick_folder, past.facts, calls, random.Random(2))
    assert tried > 5
    assert not broken, told_briefly(broken)


@pytest.mark.parametrize(("name", "sync"), some(product([".sqlite3-wal", ".sqlite3"], [1, 2, 3]), 2))
def test_what_one_sync_failed_to_write_is_not_promised_on_the_strength_of_the_next(
    name, sync, nursery, trouble, quick_folder
):
    """T-32: after a failed sync the kernel calls the pages clean; only what is written again is safe."""
    past = nursery.run("lives.live", quick_folder / "sound", [["enter", 1, 2], *STORED])
    fault = {"kinds": (Kind.SYNC,), "error": errno.EIO, "first": sync, "last": sync, "begins": "log/", "ends": name}
    steps = [["small_parts"], ["keep", 3], ["keep", 2, 2], ["keep", 4], ["keep", 1], ["keep", 4], ["keep", 4]]
    calls, life = written_down(nursery, trouble, quick_folder, steps, **fault)
    assert not life.breaches
    assert trouble.page.failed == 1, "no sync failed"
    _, broken = cut_anywhere(nursery, quick_folder, past.facts, calls, random.Random(32))
    assert not broken, told_briefly(broken)


def test_every_promise_is_kept_on_a_real_file_system_whose_power_is_cut(nursery, trouble, quick_folder):
    """Without the rules of power.py: what ext4 itself leaves behind, several cuts of one store."""
    steps = [["subscribe", "city"], ["small_parts"], *([["keep", 2], ["keep", 3, 2], ["settle", "city", 3]] * 20)]
    rng, broken = random.Random(40), []
    with ext4(quick_folder / "disk", quick_folder / "image") as disk:
        folder = disk.folder / "data"
        facts = nursery.run("lives.live", folder, [["enter", 1, 2]]).facts
        for cut in range(max(8, STATES // 20)):
            trouble.below(folder)
            trouble.kill_at(rng.randrange(1, 600), cutting_power_of=disk.folder)
            facts += nursery.run("lives.live", folder, steps).facts
            trouble.nowhere()
            disk.unmount()
            disk.mount()
            verdict = nursery.run("kept_promises.judge", folder, facts, power_cut=True)
            facts += [fact for also in verdict.of("also") for fact in also]
            broken += [f"cut {cut}: {breach}" for breach in verdict.breaches]
    assert not broken, told_briefly(broken)


def written_down(nursery, trouble, quick_folder, steps, **fault):
    """Live through these steps on a copy of the sound store, and give every call that was made."""
    folder = fresh_copy(quick_folder / "sound", quick_folder / "data")
    trouble.below(folder)
    trouble.write_down()
    if fault:
        trouble.fail(fault.pop("kinds"), fault.pop("error"), **fault)
    life = nursery.run("lives.live", folder, steps)
    trouble.nowhere()
    return trouble.calls(), life


def cut_anywhere(nursery, quick_folder, past, calls, rng):
    """Cut the power after calls, and judge what is left; how many states were tried, and what was broken."""
    disk, facts, seen, broken = Disk.holding(quick_folder / "sound"), list(past), set(), []
    chosen = moments(len(calls), rng)
    for index, call in enumerate(calls):
        if call.kind is Kind.MARK:
            facts.append(json.loads(call.data))
        else:
            disk(call)
        for likely in chosen.get(index, ()):
            state = disk.after_cut(rng, likely)
            known = (len(facts), sha256(repr(sorted(state.items())).encode()).digest())
            if known in seen:
                continue
            seen.add(known)
            folder = fresh_copy(quick_folder / "nothing", quick_folder / "cut")
            lay_out(state, folder)
            verdict = nursery.run("kept_promises.judge", folder, facts, power_cut=True)
            broken += [f"cut after {index} ({call}), {likely:.0%} arrived: {breach}" for breach in verdict.breaches]
    return len(seen), broken


def moments(calls, rng):
    """When to cut, and how much of what is not safe has arrived then; half of the tries at nothing at all."""
    tries = {}
    for number in range(STATES):
        moment = rng.randrange(calls)
        tries.setdefault(moment, []).append(0 if number % 2 else rng.choice((0.2, 0.5, 0.9)))
    return tries
