"""Virtual time beside real threads: the clock is moved instead of waited for, but not while a thread is at work."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

THREADS_ANSWER_WITHIN_S = 60.0
TURNS_AT_ONCE = 1_000_000  # of the loop while no time passes: whoever takes more goes round in circles
FOR_EVER_S = 1e9  # of virtual time: whoever waits longer waits in vain


class Pending:
    """How much threads have under way. Whoever hands them something holds this until it is done."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class _PatientSelector(selectors.DefaultSelector):
    def __init__(self, pending: Pending) -> None:
        super().__init__()
        self.now_s = 0.0
        self._turns = 0
        self._pending = pending

    def select(self, timeout: float | None = None) -> list[Any]:
        self._turns += 1
        assert self._turns < TURNS_AT_ONCE, "something is busy for ever and gets nowhere"
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._pending.count:
            ready = super().select(THREADS_ANSWER_WITHIN_S)
            assert ready, "a thread does not answer"
            return ready
        assert timeout is not None, "everything waits and nothing will ever happen"
        self.now_s += timeout
        self._turns = 0
        assert self.now_s < FOR_EVER_S, "something waits for ever"
        return ready


class _PatientLoop(asyncio.SelectorEventLoop):
    def __init__(self, pending: Pending) -> None:
        self._clock = _PatientSelector(pending)
        self._pending = pending
        super().__init__(self._clock)

    def run_in_executor(self, executor: Any, function: Any, *arguments: Any) -> asyncio.Future[Any]:
        """As ever, and no time passes until it is done."""
        future = super().run_in_executor(executor, function, *arguments)
        self._pending.__enter__()
        future.add_done_callback(self._pending.__exit__)
        return future

    def time(self) -> float:
        return self._clock.now_s


def run_patiently(story: Awaitable[None], pending: Pending) -> None:
    """Run a story whose waits take no time, except those for threads."""
    runner = asyncio.Runner(loop_factory=lambda: _PatientLoop(pending))
    try:
        runner.run(story)
    finally:
        with pending:  # the loop's own threads
            runner.close()
