"""Which parts of the log leave the store, and why. Decides; deletes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FREE_SHARE = 0.05
FREE_BYTES = 256 << 20
"""Free space that is not ours: a twentieth of the file system, at most 256 MiB."""


class Reason(StrEnum):
    """Why a part leaves."""

    DELIVERED = "delivered"  # nobody waits for it any more, and the time to ask again is over
    AGE = "age"
    SIZE = "size"
    NO_SPACE = "no_space"  # somebody else fills the disk


@dataclass(frozen=True, slots=True)
class Part:
    """A closed part as retention sees it."""

    first: int
    last: int
    bytes: int
    newest_utc_us: int | None  # None: not known, or not to be trusted


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow (contract section 3, `[store]`)."""

    max_bytes: int
    max_age_s: float
    keep_delivered_s: float
    keep_newest: bool = True


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system now."""

    used_bytes: int  # by us, everything included
    free_bytes: int
    total_bytes: int

    @property
    def protected_bytes(self) -> int:
        """Free space that must stay free."""
        return min(FREE_BYTES, int(self.total_bytes * FREE_SHARE))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do now."""

    leave: tuple[tuple[Part, Reason], ...]
    full: bool  # nothing may be deleted that would make room: new records are refused


def judge(
    parts: Sequence[Part], limits: Limits, disk: Disk, *, settled_through: int | None, now_us: int | None
) -> Judgement:
    """The parts that leave, oldest first.

    `settled_through`: no destination waits for anything up to here; None when there are no destinations. `now_us` is
    None while the clock is not trusted: then nothing grows too old.
    """
    leave: list[tuple[Part, Reason]] = []
    used, free = disk.used_bytes, disk.free_bytes
    for part in parts:
        delivered = settled_through is not None and part.last <= settled_through
        reason = _too_old(part, limits, delivered=delivered, now_us=now_us)
        if reason is None and (used > limits.max_bytes or free < disk.protected_bytes):
            if not (limits.keep_newest or delivered):
                break
            reason = Reason.SIZE if used > limits.max_bytes else Reason.NO_SPACE
        if reason is None:
            break
        leave.append((part, reason))
        used -= part.bytes
        free += part.bytes
    # A log that is one part small has nothing to delete; it may use most of the protected space before it refuses.
    full = free < disk.protected_bytes // 8 or (used > limits.max_bytes and not limits.keep_newest)
    return Judgement(tuple(leave), full)


def _too_old(part: Part, limits: Limits, *, delivered: bool, now_us: int | None) -> Reason | None:
    if now_us is None or part.newest_utc_us is None:
        return None
    age_s = (now_us - part.newest_utc_us) / 1e6
    if age_s > limits.max_age_s:
        return Reason.AGE
    return Reason.DELIVERED if delivered and age_s > limits.keep_delivered_s else None
