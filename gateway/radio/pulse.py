"""A page of memory that two processes share: what the radio process is doing now, and when that has to be over.

A call into a driver that hangs says nothing more, in no pipe. So the process writes down each call before it makes it,
together with the moment by which it must be back, and whoever watches reads that without asking. It costs the process
no system call.

The page is read while it is written, and a reading may mix two of them: something is overdue when two readings some
time apart say the same (`overdue_us`).
"""

from __future__ import annotations

import mmap
import os
import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from types import TracebackType

_PAGE: Final = struct.Struct("<QI")
_BYTES: Final = mmap.PAGESIZE


class Doing(IntEnum):
    """What a radio process does."""

    BEGINNING = 0  # importing itself
    LOADING = 1  # the driver
    START = 2
    RECEIVE = 3
    SEND = 4
    COUNTER = 5
    EXAMINE = 6
    STATUS = 7
    ABORT = 8
    RESET = 9
    STOP = 10
    WAITING = 11  # between two turns of its loop, or for the daemon


WITHIN_US: Final = {
    Doing.BEGINNING: 10_000_000,
    Doing.LOADING: 10_000_000,
    Doing.START: 15_000_000,
    Doing.RECEIVE: 1_500_000,
    Doing.SEND: 3_000_000,
    Doing.COUNTER: 1_500_000,
    Doing.EXAMINE: 1_500_000,
    Doing.STATUS: 1_500_000,
    Doing.ABORT: 2_500_000,
    Doing.RESET: 5_000_000,
    Doing.STOP: 5_000_000,
    Doing.WAITING: 1_500_000,
}
"""How long each may take. Of Semtech's library: a start takes 2.3 s, listening before talk up to 1 s, an abort polls
for 1 s, a stop for 1 s each radio, everything else milliseconds. The margins are for a Raspberry Pi that swaps."""


class Look(NamedTuple):
    """What the page says: two equal looks that are overdue are no coincidence."""

    until_us: int
    doing: int


class Pulse:
    """The page. `create` it in the one process, `attach` in the other by the descriptor it inherits; close with `with`.

    Times are microseconds of a clock that both have: the one since boot.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, _BYTES)

    @classmethod
    def create(cls) -> Self:
        """A new page; OSError when there is no memory for it."""
        descriptor = os.memfd_create("radio pulse")
        os.ftruncate(descriptor, _BYTES)
        return cls(descriptor)

    def enter(self, doing: Doing, now_us: int, within_us: int | None = None) -> None:
        """From now on it does this, and is to be back in its usual time, or within this one."""
        _PAGE.pack_into(self._page, 0, now_us + (WITHIN_US[doing] if within_us is None else within_us), doing)

    def look(self) -> Look:
        """What it is doing."""
        return Look(*_PAGE.unpack_from(self._page, 0))

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def words_for(look: Look) -> str:
    """What it is doing, for a person; numbers that mean nothing are shown as they are."""
    try:
        return Doing(look.doing).name.lower()
    except ValueError:
        return f"call {look.doing}"
