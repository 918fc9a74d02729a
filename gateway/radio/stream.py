"""What a radio has for its one asynchronous reader."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")


class Stream(Generic[T]):
    """A bounded queue that can end. Who puts never waits: what finds no place is dropped and counted."""

    def __init__(self, bound: int) -> None:
        self.dropped = 0
        self._bound = bound
        self._waiting: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._failure: Exception | None = None

    def put(self, thing: T) -> None:
        """Let it wait, or drop it."""
        if len(self._waiting) >= self._bound:
            self.dropped += 1
            return
        self._waiting.append(thing)
        self._changed.set()

    def close(self, failure: Exception | None) -> None:
        """End it after what waits; with a failure, the reader gets that raised then."""
        self._closed, self._failure = True, failure
        self._changed.set()

    async def read(self) -> AsyncIterator[T]:
        """Everything, in the order of putting; one reader."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
