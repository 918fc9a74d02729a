"""Readings to an HTTP endpoint: POSTs of JSON arrays, signed, each with a key that makes it safe to send twice.

What counts as delivered is a status of success. A page of HTML under such a status is none: that is how captive
portals, login pages and misdirected proxies answer, and behind them nobody has the readings.

`Idempotency-Key` is made of the body alone: the same key is always the same body, and another body has another key
(RFC draft httpapi-idempotency-key-header lets a server refuse a key that comes back with another body, and refusing
would park what it already has). An answer that stays out leaves open whether the POST arrived, so its very bytes are
kept and sent again, even if the drain cuts its batches elsewhere by then or a reading has become late meanwhile. Over a
restart of the gateway only the readings' own `id` can tell copies apart, as in every destination.

A reading is parked (refused for good) when the endpoint says 400, 413 or 422 to it alone and takes others. An endpoint
that takes nothing at all has another fault than one bad reading: everything waits then, and a person is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.http_line import HttpLine, HttpServer, Unanswered, open_http
from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.delivery.webhook_commands import WebhookDoor
from gateway.errors import GatewayError
from gateway.wire.commands import signature
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING, Privacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.delivery.command_door import CommandDesk, Doorkeeper
    from gateway.model import DevEui, Record, Stamp
    from gateway.wire.http_answer import Answer

log = logging.getLogger(__name__)

MOST_BODY_BYTES: Final = 1_000_000  # what nginx takes when nobody told it otherwise (client_max_body_size 1m)
REFUSED_IN_A_ROW: Final = 100  # so many different readings cannot all be wrong by themselves
_MOST_UNCLEAR: Final = 8  # one for each lane, and some that the drain never came back to
_TRIES: Final = 2  # of the same bytes; then they may be too many for this connection
_SHORTEST_REACH: Final = 4_000  # a few readings
_PARKS: Final = frozenset({400, 413, 422})
_TOO_LARGE: Final = 413
_LATER: Final = frozenset({408, 425, 429})
_CONFLICT: Final = 409  # the draft: a request with this key is still being worked on


@dataclass(frozen=True, slots=True)
class WebhookDestination:
    """What the settings say of one `[sink.NAME]` of type webhook. ValueError for what cannot be."""

    name: str
    server: HttpServer
    batch: int = 100  # readings in one POST, at most
    hmac_key: Callable[[], str] | None = None  # called for each POST, in a thread
    privacy: Privacy = EVERYTHING
    command_key: Callable[[], str] | None = None  # of signatures of commands; None: the endpoint may give none
    only_tags: Mapping[str, str] = field(default_factory=dict)  # of devices that it may command

    def __post_init__(self) -> None:
        """Check."""
        if self.batch < 1:
            raise ValueError("batch is at least 1")


class WebhookSink:
    """A Sink that is an HTTP endpoint. What is not clear yet outlives a connection; it is kept here."""

    def __init__(self, destination: WebhookDestination) -> None:
        self.name = destination.name
        self._destination = destination
        self._memory = _Memory()

    def doorkeeper(self) -> Doorkeeper | None:
        """Who checks the commands of the endpoint; None when it may give none."""
        key = self._destination.command_key
        return None if key is None else WebhookDoor(self.name, key, self._destination.only_tags)

    def obey(self, desk: CommandDesk, now: Callable[[], Stamp]) -> None:
        """Commands come through the door alone."""

    async def forget(self, dev_eui: DevEui) -> Mapping[str, int]:
        """Forget requests of which it is not clear whether they arrived, where this device is in them."""
        for post in [one for one in self._memory.unclear if _has(one, dev_eui)]:
            self._memory.forget(post)
        return {}

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[WebhookLink]:
        """A link to an endpoint that takes connections; SinkUnavailable when there is none to be had."""
        async with open_http(self._destination.server) as line:
            yield WebhookLink(line, self._destination, self._memory)


@dataclass(slots=True, eq=False)
class _Post:
    """What goes out together."""

    records: Sequence[Record]
    body: bytes
    unanswered: int = 0

    @property
    def positions(self) -> list[int]:
        return [record.position for record in self.records]


class _Memory:
    """What was learned of an endpoint and holds beyond one connection."""

    __slots__ = ("reach", "unclear")

    def __init__(self) -> None:
        self.unclear: deque[_Post] = deque(maxlen=_MOST_UNCLEAR)
        self.reach = MOST_BODY_BYTES  # bytes that get through in time

    def remember(self, post: _Post, halves: Callable[[], Sequence[_Post]]) -> None:
        """Send it again as it is; when nothing answers again, in halves: it may be too much for this connection."""
        self.forget(post)
        if post.unanswered < _TRIES or len(post.records) == 1:
            self.unclear.append(post)
        else:
            self.reach = max(len(post.body) // 2, _SHORTEST_REACH)
            self.unclear.extend(halves())

    def forget(self, post: _Post) -> None:
        """It is clear what became of it."""
        if post in self.unclear:
            self.unclear.remove(post)

    def arrived(self) -> None:
        """What gets through may be tried with a little more."""
        self.reach = min(MOST_BODY_BYTES, self.reach + self.reach // 8)


class WebhookLink:
    """An endpoint that takes connections; a Link."""

    def __init__(self, line: HttpLine, destination: WebhookDestination, memory: _Memory) -> None:
        self._line = line
        self._destination = destination
        self._memory = memory
        self._ceiling = MOST_BODY_BYTES  # bytes that it did not call too many
        self._has_taken = False
        self._refused_in_a_row = 0

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """POST the batch in order, as few requests as may be; what the endpoint will never take is refused.

        SinkUnavailable when a POST is not answered by a success or a refusal of what it holds, and when the endpoint
        refuses whatever it gets.
        """
        posts = deque(self._posts(batch))
        taken: list[int] = []
        refused: list[Refusal] = []
        try:
            while posts:
                post = posts.popleft()
                answer = await self._send(post)
                if answer.ok:
                    taken += post.positions
                    self._has_taken, self._refused_in_a_row = True, 0
                    self._memory.arrived()
                elif len(post.records) > 1:
                    if answer.status == _TOO_LARGE:
                        self._ceiling = len(post.body) // 2
                    posts.extendleft(reversed(self._halves(post)))
                else:
                    self._refused_in_a_row += 1
                    refused.append(Refusal(post.records[0].position, f"the endpoint answers {answer}"))
            self._doubt(refused)
        except SinkUnavailable as reason:
            reason.acknowledged = tuple(taken)
            raise
        return refused

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:  # noqa: ARG002
        """POST what became of a downlink, where the endpoint may ask for any; other facts it has no place for."""
        dev_eui, _, what = topic.partition("/")
        if self._destination.command_key is None or what != "down/result":
            return
        body = json_bytes({"event": what, "dev_eui": dev_eui, **facts})
        answer = await self._line.ask("POST", body=body, headers=await self._headers(body))
        if answer.status in _LATER or answer.status >= 500:
            raise self._line.unavailable(answer)
        if not answer.ok:
            log.warning("%s: does not take the result of %s: %s", self._destination.name, facts.get("ref"), answer)

    async def lost(self) -> str:
        """Never return: there is no connection that could be lost between two requests."""
        await asyncio.Event().wait()
        raise AssertionError

    # --- what goes out together

    def _posts(self, batch: Sequence[Record]) -> list[_Post]:
        """The batch cut into requests, with those of which nobody knows whether they arrived as they were."""
        posts: list[_Post] = []
        start = index = 0
        while self._memory.unclear and index < len(batch):
            before = self._sent_before(batch[index:])
            if before is None:
                index += 1
                continue
            posts += [*self._cut(batch[start:index]), before]
            start = index = index + len(before.records)
        return [*posts, *self._cut(batch[start:])]

    def _sent_before(self, batch: Sequence[Record]) -> _Post | None:
        """The unclear request that this batch begins with, if there is one."""
        found = [record.position for record in batch]
        return next((post for post in self._memory.unclear if post.positions == found[: len(post.records)]), None)

    def _cut(self, records: Sequence[Record]) -> list[_Post]:
        """As many requests as batch size and bytes ask for."""
        posts: list[_Post] = []
        most, most_bytes = self._destination.batch, min(self._ceiling, self._memory.reach)
        lines = [self._destination.privacy.reading_bytes(record) for record in records]
        start, size = 0, 0
        for index, line in enumerate(lines):
            if index > start and (index - start == most or size + len(line) > most_bytes):
                posts.append(_Post(records[start:index], _array(lines[start:index])))
                start, size = index, 0
            size += len(line) + 1
        return [*posts, _Post(records[start:], _array(lines[start:]))] if lines else []

    def _halves(self, post: _Post) -> list[_Post]:
        half = len(post.records) // 2
        return [self._post(post.records[:half]), self._post(post.records[half:])]

    def _post(self, records: Sequence[Record]) -> _Post:
        return _Post(records, _array([self._destination.privacy.reading_bytes(record) for record in records]))

    # --- sending

    async def _send(self, post: _Post) -> Answer:
        """The answer to a POST: a success, or a refusal of what was in it."""
        headers = await self._headers(post.body)
        try:
            answer = await self._line.ask("POST", body=post.body, headers=headers)
        except Unanswered:
            post.unanswered += 1
            self._memory.remember(post, lambda: self._halves(post))
            raise
        if answer.ok and answer.is_html:
            raise SinkUnavailable(
                f"{self._line.server}: it answers {answer} instead of taking the readings; check url", alert=True
            )
        self._memory.forget(post)
        if answer.ok or answer.status in _PARKS:
            return answer
        reason = self._line.unavailable(answer)
        if answer.status >= 500 or answer.status == _CONFLICT:  # it may have done its work before it failed
            self._memory.remember(post, lambda: self._halves(post))
            reason.alert = reason.alert and answer.status != _CONFLICT
        raise reason

    async def _headers(self, body: bytes) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(body).hexdigest()[:32],
            **await self._signature(body),
        }

    async def _signature(self, body: bytes) -> dict[str, str]:
        key = self._destination.hmac_key
        if key is None:
            return {}
        try:
            secret = await asyncio.to_thread(key)
        except (OSError, ValueError, GatewayError) as error:
            raise SinkUnavailable(f"{self._line.server}: hmac_file: {error}", alert=True) from error
        return {"X-Signature": signature(secret.encode(), body)}

    def _doubt(self, refused: Sequence[Refusal]) -> None:
        """Whether it is really the readings that are bad."""
        if refused and (not self._has_taken or self._refused_in_a_row > REFUSED_IN_A_ROW):
            raise SinkUnavailable(
                f"{self._line.server}: it takes no reading at all, so the fault may be its own: {refused[-1].reason}",
                alert=True,
            )


def _has(post: _Post, dev_eui: DevEui) -> bool:
    return any(record.reading.dev_eui == dev_eui for record in post.records)


def _array(lines: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(lines)
