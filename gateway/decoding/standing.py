"""What is known of a codec that is asked: its text, how it behaved, and whether it may be asked now."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.decoding.patience import Patience

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker has to know of a codec."""

    id: str  # VENDOR/DEVICE@version
    file: str  # the codec's name in its messages
    source: str
    defaults: dict[str, str]


@dataclass(frozen=True, slots=True)
class CodecHealth:
    """How a codec does, for `status` and the console; `detail` is a sentence for a person."""

    codec: str
    state: str  # "idle", "starting", "working", "set aside", "cannot load"
    detail: str
    answered: int  # calls that kept to the limits, errors of the codec included
    overruns: int  # calls that did not: time, memory, a dead worker
    restarts: int  # of the worker it is asked in
    guarded: bool | None  # whether the kernel's filter holds; None before the first start
    pid: int | None


@dataclass(slots=True, eq=False)
class Standing:
    """A codec between its workers: they come and go, this stays."""

    setup: Setup
    patience: Patience
    number: int = field(default_factory=lambda: next(_numbers))  # by which workers know it
    load_problem: str | None = None
    answered: int = 0
    overran: int = 0

    def refusal(self, now_s: float) -> str | None:
        """Why it is not asked now, in words."""
        if self.load_problem is not None:
            return self.load_problem
        wait_s = self.patience.waiting_s(now_s)
        return self.aside(wait_s) if wait_s else None

    def aside(self, wait_s: float) -> str:
        """What those are told who would ask it."""
        return (
            f"the codec {self.setup.id} is set aside: it overran its limits {self.patience.in_a_row} times in a row;"
            f" it is tried again in {wait_s:.0f} s"
        )

    def kept_to_limits(self) -> None:
        """It answered, or failed, as it may."""
        self.answered += 1
        if self.patience.in_a_row:
            self.patience.answered()

    def load_request(self) -> tuple[object, ...]:
        """What tells a worker of it."""
        return ("load", self.number, self.setup.file, self.setup.source, self.setup.defaults)
