"""A broker that does what no broker should: it takes connections and keeps silent, confirms twice, hangs up.

It reads MQTT itself, so that what it says of the client's packets is a second opinion.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HANG_UP = None
"""In place of bytes: close the connection."""

Bytes = bytes | None


@dataclass
class Publish:
    """A PUBLISH as the broker read it."""

    topic: str
    payload: bytes
    packet_id: int
    dup: bool
    retain: bool
    connection: int
    size: int  # of the whole packet


def connack(reason: int = 0, properties: bytes = b"") -> Callable[[int], Sequence[Bytes]]:
    """Answer CONNECT in the client's own version: MQTT 5.0, section 3.2; 3.1.1, section 3.2."""

    def answer(level: int) -> Sequence[Bytes]:
        if level == 4:
            return (bytes((0x20, 2, 0, reason)),)
        return (bytes((0x20, 3 + len(properties), 0, reason, len(properties))) + properties,)

    return answer


def puback(packet_id: int, reason: int | None = None, properties: bytes = b"") -> bytes:
    """MQTT 5.0, section 3.4."""
    body = packet_id.to_bytes(2, "big")
    if reason is not None:
        body += bytes((reason,))
    if properties:
        body += bytes((len(properties),)) + properties
    return bytes((0x40, len(body))) + body


def _honest(publish: Publish, _nth: int) -> Sequence[Bytes]:
    return (puback(publish.packet_id),)


@dataclass
class LyingBroker:
    """`on_connect` gets the protocol level of CONNECT, `on_reading` a reading and how many came before it.

    Other messages (the status) are confirmed properly, unless `on_status` says otherwise.
    """

    on_connect: Callable[[int], Sequence[Bytes]] = field(default_factory=connack)
    on_reading: Callable[[Publish, int], Sequence[Bytes]] = _honest
    on_status: Callable[[Publish, int], Sequence[Bytes]] = _honest
    answers_ping: bool = True
    silent: bool = False
    versions: list[int] = field(default_factory=list)
    clean: list[bool] = field(default_factory=list)
    readings: list[Publish] = field(default_factory=list)
    statuses: list[Publish] = field(default_factory=list)
    goodbyes: int = 0  # DISCONNECT packets
    port: int = 0

    async def __aenter__(self) -> Self:
        """Listen on loopback."""
        self.taken = asyncio.Event()  # a connection
        self.left = asyncio.Event()  # by somebody who had to do with a silent broker
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut everybody off."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.taken.set()
        try:
            # Cut off by the test: some 3.11 complain about a connection whose task ends as cancelled.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if self.silent:
                    await reader.read(-1)
                    self.left.set()
                else:
                    await self._talk(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(self.versions)
        while True:
            head, body, size = await _packet(reader)
            replies: Sequence[Bytes] = ()
            match head >> 4:
                case 1:
                    self.versions.append(body[6])
                    self.clean.append(bool(body[7] & 2))
                    replies = self.on_connect(body[6])
                case 3:
                    publish = _publish(head, body, size, self.versions[connection], connection)
                    replies = self._reply(publish)
                case 12 if self.answers_ping:
                    replies = (bytes((0xD0, 0)),)
                case 14:
                    self.goodbyes += 1
                    return
            for reply in replies:
                if reply is HANG_UP:
                    return
                writer.write(reply)
                await writer.drain()

    def _reply(self, publish: Publish) -> Sequence[Bytes]:
        if publish.topic.endswith("/up"):
            self.readings.append(publish)
            return self.on_reading(publish, len(self.readings) - 1)
        self.statuses.append(publish)
        return self.on_status(publish, len(self.statuses) - 1)


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes, int]:
    head = (await reader.readexactly(1))[0]
    length, shift, digits = 0, 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length += (digit & 0x7F) << shift
        shift += 7
        digits += 1
        if digit < 0x80:
            return head, await reader.readexactly(length), 1 + digits + length


def _publish(head: int, body: bytes, size: int, version: int, connection: int) -> Publish:
    end = 2 + int.from_bytes(body[:2], "big")
    packet_id = int.from_bytes(body[end : end + 2], "big") if head & 6 else 0
    start = end + (2 if head & 6 else 0)
    if version == 5:
        start += 1 + body[start]
    return Publish(body[2:end].decode(), body[start:], packet_id, bool(head & 8), bool(head & 1), connection, size)
