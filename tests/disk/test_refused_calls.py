"""One call fails, or a few: nothing promised is lost, no sound file is called damaged, and afterwards all goes on.

Store sheet, T-32, with the process that was refused living on. `make crash` fails many more calls.
"""

from __future__ import annotations

import errno
import random
from itertools import product

import pytest
from nursery import EXHAUSTIVE, fresh_copy, some, told_briefly
from trouble import CHANGES, SYNCS, Kind

TRIED = 40 if EXHAUSTIVE else 2
BEFORE = [["enter", 1, 2], ["subscribe", "city"], ["keep", 3], ["keep", 2, 2], ["settle", "city", 2]]
DURING = [
    ["subscribe", "city"], ["keep", 2], ["settle", "city", 1], ["foreign", 2], ["next_part"], ["keep", 2, 2],
    ["enter", 3], ["settle", "city", 1], ["checkpoint"], ["keep", 1], ["deliver", "city"], ["retain"],
    ["restart"], ["subscribe", "city"], ["keep", 2], ["refuse", "city"], ["deliver", "city"], ["keep", 1, 2],
    ["checkpoint"], ["keep", 1],
]  # fmt: skip

FAULTS = {
    "a write": ((Kind.WRITE,), errno.EIO),
    "a write for want of room": ((Kind.WRITE,), errno.ENOSPC),
    "a write beyond the quota": ((Kind.WRITE,), errno.EDQUOT),
    "a sync": (SYNCS, errno.EIO),
    "a sync for want of room": (SYNCS, errno.ENOSPC),
    "a new file": ((Kind.CREATE, Kind.MKDIR), errno.ENOSPC),
    "a change of size": ((Kind.RESIZE,), errno.EIO),
    "a removal": ((Kind.UNLINK, Kind.RENAME), errno.EIO),
    "a read": ((Kind.READ,), errno.EIO),
    "an opening": ((Kind.OPEN_TO_WRITE, Kind.OPEN_TO_READ), errno.EIO),
    "an opening for want of descriptors": ((Kind.OPEN_TO_WRITE, Kind.OPEN_TO_READ, Kind.CREATE), errno.EMFILE),
    "any change of a read-only disk": ((*CHANGES, Kind.OPEN_TO_WRITE), errno.EROFS),
    "growth": (None, errno.ENOSPC),
}


@pytest.mark.parametrize(("calls", "fault"), some(product([1, 9], FAULTS), 8))
def test_refused_calls_cost_patience_and_nothing_else(fault, calls, nursery, trouble, quick_folder):
    kinds, error = FAULTS[fault]
    past = nursery.run("lives.live", quick_folder / "sound", BEFORE)
    assert not past.breaches

    def refused(folder, first, last):
        trouble.below(folder)
        if kinds is None:
            trouble.full(first=first, last=last)
        else:
            trouble.fail(kinds, error, first=first, last=last, shm_too=True)
        life = nursery.run("lives.live", folder, DURING, patient=True)
        trouble.nowhere()
        return life

    assert not refused(fresh_copy(quick_folder / "sound", quick_folder / "data"), 1 << 60, 1 << 60).breaches
    total, broken = trouble.page.matched, []
    for first in chosen(total):
        folder = fresh_copy(quick_folder / "sound", quick_folder / "data")
        life = refused(folder, first, first + calls - 1)
        if not trouble.page.failed:
            continue  # groups form as they come: this time there were fewer calls
        broken += [f"{fault} {first} of {total}: {breach}" for breach in life.breaches]
        verdict = nursery.run("kept_promises.judge", folder, [*past.facts, *life.facts])
        broken += [f"{fault} {first} of {total}: {breach}" for breach in verdict.breaches]
    assert not broken, told_briefly(broken)


def chosen(total):
    every = range(1, total + 1)
    return every if total <= TRIED else sorted(random.Random(total).sample(every, TRIED))
