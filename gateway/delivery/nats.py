"""Readings into a NATS JetStream, each one until the stream has said that it has it.

`Nats-Msg-Id` is the frame id: gateways that heard the same frame publish it under the same id, and the stream keeps one
copy. It remembers ids for its duplicate window only, so that window has to be longer than an outage: the stream that
is made here has one of a day unless the settings say otherwise, and one that is there with less is told of once.

JetStream answers every publication by itself. A reading is refused for good when it is larger than the server or the
stream takes; whatever else stands in the way (no stream, a full one, no permission) holds everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.lines.dialing import Unreachable
from gateway.lines.nats import NatsLine, NatsServer, open_nats
from gateway.wire import nats as wire
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING, Privacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from gateway.model import GatewayEui, Record

log = logging.getLogger(__name__)

KEPT_S: Final = 30 * 86_400  # what a stream that is made here keeps
_NS: Final = 1_000_000_000  # JetStream counts durations in nanoseconds

# err_code of JetStream's answers: server/errors.json of nats-server.
_STREAM_NOT_FOUND: Final = 10_059
_STREAM_NAME_IN_USE: Final = 10_058
_NEVER_TAKEN: Final = frozenset({10_054, 10_097})  # message size, header size exceeds maximum allowed
_PASSING: Final = frozenset({10_004, 10_008, 10_009})  # no quorum, temporarily unavailable, no leader yet


@dataclass(frozen=True, slots=True)
class NatsDestination:
    """What the settings say of one `[sink.NAME]` of type nats. ValueError for what cannot be."""

    name: str
    server: NatsServer
    gateway_eui: GatewayEui
    stream: str = "LORAWAN"
    subject: str = "lorawan.{gateway_eui}.{dev_eui}.up"
    create_stream: bool = False
    duplicate_window_s: float = 86_400.0
    privacy: Privacy = EVERYTHING
    ack_timeout_s: float = 20.0  # since the last answer
    everybody: str = field(init=False)  # the subject of all gateways and devices

    def __post_init__(self) -> None:
        """Check the subject."""
        object.__setattr__(self, "everybody", self.subject.format(gateway_eui="*", dev_eui="*"))
        if not wire.subject_is_sound(self.subject_of(bytes(8).hex())):
            raise ValueError(f"{self.subject!r} is no subject: words between single dots, without blanks, * and >")

    def subject_of(self, dev_eui: str) -> str:
        """Where the readings of a device go."""
        return self.subject.format(gateway_eui=self.gateway_eui, dev_eui=dev_eui)


class NatsSink:
    """A Sink that is a JetStream."""

    def __init__(self, destination: NatsDestination) -> None:
        self.name = destination.name
        self._destination = destination
        self._told_of_window = False

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[NatsLink]:
        """A link to a stream that is there; SinkUnavailable when it is not, and is not to be made."""
        try:
            async with open_nats(self._destination.server) as line:
                await self._find_stream(line)
                yield NatsLink(line, self._destination)
        except Unreachable as reason:
            raise SinkUnavailable(str(reason), alert=reason.alert) from reason

    async def _find_stream(self, line: NatsLine) -> None:
        destination = self._destination
        try:
            found = await _api(line, f"STREAM.INFO.{destination.stream}", b"", destination.ack_timeout_s)
        except PermissionError as error:
            log.debug("sink %s: this login may not look at streams: %s", self.name, error)
            return  # publishing will tell
        match found:
            case wire.ApiError(err_code=code) if code == _STREAM_NOT_FOUND:
                await self._make_stream(line)
            case wire.ApiError():
                raise _in_the_way(destination, found)
            case _:
                self._examine(found.get("config"))

    async def _make_stream(self, line: NatsLine) -> None:
        destination = self._destination
        where = f"{destination.server}: there is no stream {destination.stream}"
        if not destination.create_stream:
            raise SinkUnavailable(f"{where}; make it, or set create_stream = true", alert=True)
        wish = {
            "name": destination.stream,
            "subjects": [destination.everybody],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_age": KEPT_S * _NS,
            "duplicate_window": round(min(destination.duplicate_window_s, KEPT_S) * _NS),
        }
        try:
            made = await _api(line, f"STREAM.CREATE.{destination.stream}", json_bytes(wish), destination.ack_timeout_s)
        except PermissionError as error:
            raise SinkUnavailable(f"{where}, and this login may not make it: {error}", alert=True) from error
        if isinstance(made, wire.ApiError) and made.err_code != _STREAM_NAME_IN_USE:  # another gateway was faster
            raise SinkUnavailable(f"{where}, and it cannot be made: {made.description}", alert=True)
        log.info("sink %s: made stream %s for %s", self.name, destination.stream, destination.everybody)

    def _examine(self, config: object) -> None:
        """What of a stream that somebody else made matters here."""
        if not isinstance(config, dict):
            return
        if config.get("no_ack") is True:
            raise SinkUnavailable(
                f"{self._destination.server}: stream {self._destination.stream} acknowledges nothing (no_ack)",
                alert=True,
            )
        window = config.get("duplicate_window")
        short = isinstance(window, int) and window < self._destination.duplicate_window_s * _NS
        if short and not self._told_of_window:
            self._told_of_window = True
            log.warning(
                "sink %s: stream %s drops copies within %g s only; those of an older backlog will be in it twice",
                self.name,
                self._destination.stream,
                window / _NS if isinstance(window, int) else 0,
            )


class NatsLink:
    """An open connection to a stream; a Link."""

    def __init__(self, line: NatsLine, destination: NatsDestination) -> None:
        self._line = line
        self._destination = destination

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Publish the whole batch, then wait for each answer; what is too large for good is refused.

        SinkUnavailable when the line breaks or nothing is answered for `ack_timeout_s` (the line is then closed), and
        when JetStream cannot take a record now.
        """
        window = _Window()
        refusals = [refusal for record in batch if (refusal := self._send(record, window)) is not None]
        self._line.flush()
        unavailable = await self._answers(window)
        for position, objection in window.objections.items():
            if isinstance(objection, wire.ApiError) and objection.err_code in _NEVER_TAKEN:
                refusals.append(Refusal(position, f"the stream refuses it: {objection.description}"))
                continue
            window.missing.add(position)
            reason = _in_the_way(self._destination, objection)
            if unavailable is None or (reason.alert and not unavailable.alert):
                unavailable = reason
        if unavailable is None:
            return sorted(refusals, key=lambda refusal: refusal.position)
        missing = window.missing.union(window.waiting, (refusal.position for refusal in refusals))
        unavailable.acknowledged = tuple(record.position for record in batch if record.position not in missing)
        raise unavailable

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:
        """Nothing: the stream is for readings, and no subject beside it is agreed upon."""

    async def lost(self) -> str:
        """Return, with the reason, once the connection is gone: at once when it is closed, else by the keepalive."""
        return (await asyncio.shield(self._line.gone)).words

    def _send(self, record: Record, window: _Window) -> Refusal | None:
        destination, privacy = self._destination, self._destination.privacy
        payload = privacy.reading_bytes(record)
        headers = b"NATS/1.0\r\nNats-Msg-Id: %b\r\nNats-Expected-Stream: %b\r\n\r\n" % (
            privacy.frame_id(record.reading).encode(),
            destination.stream.encode(),
        )
        size = len(headers) + len(payload)
        if size > self._line.info.max_payload:
            return Refusal(
                record.position, f"{size} bytes with headers, the server takes {self._line.info.max_payload}"
            )
        position = record.position
        window.waiting.add(position)
        self._line.send(
            destination.subject_of(privacy.dev_eui(record.reading)),
            headers,
            payload,
            lambda answer: window.answered(position, answer),
        )
        return None

    async def _answers(self, window: _Window) -> SinkUnavailable | None:
        """Wait until all is answered; otherwise what is in the way, and the line is gone."""
        gone, timeout_s = self._line.gone, self._destination.ack_timeout_s
        while window.waiting and not gone.done():
            before = len(window.waiting)
            await asyncio.wait((window.settled, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if len(window.waiting) == before and not gone.done():
                self._line.drop(f"no acknowledgement from the stream for {timeout_s:g} s")
        if not window.waiting:
            return None
        trouble = gone.result()
        return SinkUnavailable(f"{self._destination.server}: {trouble.words}", alert=trouble.alert)


class _Window:
    """One batch on its way: which positions are not answered yet, and what stood against the others."""

    __slots__ = ("missing", "objections", "settled", "waiting")

    def __init__(self) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting: set[int] = set()
        self.objections: dict[int, wire.ApiError | wire.Objection] = {}
        self.missing: set[int] = set()  # answered, but not taken

    def answered(self, position: int, answer: wire.Message | wire.Objection) -> None:
        """Note what came of a publication."""
        self.waiting.discard(position)
        objection = _objection_of(answer)
        if objection is not None:
            self.objections[position] = objection
        if not self.waiting and not self.settled.done():
            self.settled.set_result(None)


def _objection_of(answer: wire.Message | wire.Objection) -> wire.ApiError | wire.Objection | None:
    if isinstance(answer, wire.Objection):
        return answer
    if answer.status == wire.NO_RESPONDERS:
        return wire.ApiError(_STREAM_NOT_FOUND, "no stream takes this subject")
    try:
        said = wire.read_answer(answer)
    except wire.MalformedNats as error:
        return wire.ApiError(0, f"{error}; is it JetStream that listens on this subject?")
    if isinstance(said, wire.ApiError):
        return said
    # Anybody may subscribe to the subject and answer something; a stream names itself and the place.
    return None if "stream" in said and "seq" in said else wire.ApiError(0, "an answer that is no acknowledgement")


def _in_the_way(destination: NatsDestination, objection: wire.ApiError | wire.Objection) -> SinkUnavailable:
    if isinstance(objection, wire.Objection):
        return SinkUnavailable(f"{destination.server}: this login may not publish: {objection.text}", alert=True)
    return SinkUnavailable(
        f"{destination.server}: stream {destination.stream}: {objection.description}",
        alert=objection.err_code not in _PASSING,
    )


async def _api(line: NatsLine, what: str, request: bytes, timeout_s: float) -> dict[str, Any] | wire.ApiError:
    """JetStream's answer to a request of its API."""
    answer = await line.ask(f"$JS.API.{what}", request, timeout_s)
    if answer.status == wire.NO_RESPONDERS:
        raise Unreachable("JetStream is not enabled on this server, or not for this login", alert=True)
    try:
        return wire.read_answer(answer)
    except wire.MalformedNats as error:
        raise Unreachable(f"JetStream gives {error}", alert=True) from error
