"""Readings for whoever is looking: the latest few, and a bounded queue for each follower.

The line publishes and never waits. What a follower does not take in time is lost to it, oldest first, and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

T = TypeVar("T")

KEEP = 50
"""Readings kept for the page: more than a phone shows, and some minutes of an ordinary site."""

WAIT = 512
"""Readings that may wait for one follower: a tenth of a second at 5,000 a second, under 1 MB."""


RAW_WAITS = 8
"""Times as many for who follows each packet: a frame is followed by a few events for each of several servers."""


class _Queue(Generic[T]):
    """What waits for one follower."""

    __slots__ = ("missed", "raw", "ready", "waiting")

    def __init__(self, size: int, *, raw: bool) -> None:
        self.raw = raw
        self.waiting: deque[T] = deque(maxlen=size)
        self.missed = 0
        self.ready = asyncio.Event()

    def put(self, item: T) -> None:
        if len(self.waiting) == self.waiting.maxlen:
            self.missed += 1
        self.waiting.append(item)
        self.ready.set()


class Feed(Generic[T]):
    """The latest readings and those who follow them. `shape` makes the JSON object; it runs only for readers."""

    def __init__(self, shape: Callable[[T], dict[str, Any]], *, keep: int = KEEP, wait: int = WAIT) -> None:
        self._shape = shape
        self._latest: deque[T] = deque(maxlen=keep)
        self._wait = wait
        self._queues: set[_Queue[T]] = set()
        self._followed_raw = 0

    @property
    def followed_raw(self) -> bool:
        """Whether anybody follows who asked for raw."""
        return self._followed_raw > 0

    def publish(self, item: T, *, opened: bool = True, raw: bool = True) -> None:
        """Show a reading to everybody who looks; never waits.

        `opened=False`: only to those who asked for raw; `raw=False`: not to them.
        """
        if opened:
            self._latest.append(item)
        for queue in self._queues:
            if raw if queue.raw else opened:
                queue.put(item)

    def drop(self, unwanted: Callable[[T], bool]) -> None:
        """Show these to nobody any more."""
        for shown in (self._latest, *(queue.waiting for queue in self._queues)):
            kept = [item for item in shown if not unwanted(item)]
            shown.clear()
            shown.extend(kept)

    def recent(self, most: int = KEEP) -> list[dict[str, Any]]:
        """The latest opened readings, newest first."""
        return [self._shape(item) for item in islice(reversed(self._latest), most)]

    async def follow(self, *, raw: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        """Readings from the first `anext` on; `{"missed": n}` where this follower was too slow for n of them."""
        queue = _Queue[T](self._wait * RAW_WAITS if raw else self._wait, raw=raw)
        self._queues.add(queue)
        self._followed_raw += raw
        try:
            while True:
                await queue.ready.wait()
                if queue.missed:
                    missed, queue.missed = queue.missed, 0
                    yield {"missed": missed}
                elif queue.waiting:
                    yield self._shape(queue.waiting.popleft())
                else:
                    queue.ready.clear()
        finally:
            self._queues.discard(queue)
            self._followed_raw -= raw
