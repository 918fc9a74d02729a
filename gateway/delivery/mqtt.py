"""Readings to an MQTT broker, each one until the broker has said what became of it.

What counts as delivered is the PUBACK of QoS 1: the broker took the reading over. Whether anybody subscribes, and
whether its queue survives a power cut, is the broker's business; with `need_subscriber` a reading that nobody was
subscribed to stays here. MQTT 5 says why something was not taken. MQTT 3.1.1 has no words for that: its brokers
acknowledge what they throw away, so prefer a broker that speaks 5.

What is said, and on which topics, is not decided here: `Words` are our own, ChirpStack's or The Things Stack's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiomqtt

from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.lines.dialing import Unreachable
from gateway.lines.mqtt import FAREWELL_S, open_line
from gateway.wire.own_downlink import NoDownlink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.lines.mqtt import Broker, MqttLine
    from gateway.model import Happening, Record
    from gateway.wire.mqtt_message import MqttMessage, Whom

log = logging.getLogger(__name__)

# Reason codes of PUBACK: MQTT 5.0, section 3.4.2.1. 0x95 is none of them, but what Mosquitto's message_size_limit says.
_SUCCESS: Final = 0x00
_NO_MATCHING_SUBSCRIBERS: Final = 0x10
_NOT_AUTHORIZED: Final = 0x87
_NEVER_TAKEN: Final = frozenset({0x90, 0x95, 0x99})  # topic name invalid, packet too large, payload format invalid


class Words(Protocol):
    """What a broker's readers want to hear, and how they ask; decides, and waits for nothing."""

    @property
    def will(self) -> MqttMessage | None:
        """What the broker says when the gateway is gone, and the gateway itself when it leaves."""
        ...

    @property
    def asking(self) -> tuple[str, ...]:
        """Topic filters of requests for downlinks."""
        ...

    def greeting(self) -> Sequence[MqttMessage]:
        """What is said when a connection begins."""
        ...

    def of_record(self, record: Record) -> Sequence[MqttMessage]:
        """The messages that carry a record, in their order; it is delivered when all of them are."""
        ...

    def of_gateway(self, topic: str, facts: Mapping[str, Any]) -> MqttMessage | None:
        """Facts of the gateway itself, or of a device in our own JSON; None where there is no place for them."""
        ...

    def of_happening(self, happening: Happening) -> Sequence[MqttMessage]:
        """What happened to a device, where these readers have words of their own for it."""
        ...

    def requests(
        self, topic: str, payload: bytes, now_us: int, fresh: Callable[[], str]
    ) -> Sequence[tuple[Whom, bytes]]:
        """The downlinks that a message asks for, in our own JSON; NoDownlink when it asks for none.

        `now_us` is now, in microseconds since 1970; `fresh` gives a new UUID as text.
        """
        ...


class MqttSink:
    """A Sink (`gateway.delivery.sink`) that is an MQTT broker."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        words: Words,
        *,
        need_subscriber: bool = False,
        ack_timeout_s: float = 20.0,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """`ack_timeout_s` counts from the last acknowledgement; `now_us` is microseconds since 1970."""
        self.name = name
        self._broker = broker
        self._words = words
        self._need_subscriber = need_subscriber
        self._ack_timeout_s = ack_timeout_s
        self._now_us = now_us
        self._told_of_3_1_1 = False

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttLink]:
        """A link that has said its greeting; leaving says the will. SinkUnavailable when there is none to be had.

        Should the gateway die or the line break, the broker says the will for it.
        """
        words = self._words
        will = words.will
        last_words = None if will is None else aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain)
        try:
            line = await open_line(self._broker, last_words)
        except Unreachable as reason:
            raise SinkUnavailable(str(reason), alert=reason.alert) from reason
        link = MqttLink(
            self.name, line, words,
            need_subscriber=self._need_subscriber, ack_timeout_s=self._ack_timeout_s, now_us=self._now_us,
        )  # fmt: skip
        try:
            if line.protocol is aiomqtt.ProtocolVersion.V311:
                self._accept_3_1_1()
            await link.say(words.greeting())
            yield link
        finally:
            await link.leave()

    def _accept_3_1_1(self) -> None:
        if self._need_subscriber:
            raise SinkUnavailable("require_subscriber needs MQTT 5, and this broker speaks 3.1.1 only", alert=True)
        if not self._told_of_3_1_1:
            self._told_of_3_1_1 = True
            log.warning("sink %s: the broker speaks MQTT 3.1.1 only, it cannot say which readings it drops", self.name)


class MqttLink:
    """An open connection to a broker; an AskingLink and a TellingLink."""

    def __init__(
        self,
        name: str,
        line: MqttLine,
        words: Words,
        *,
        need_subscriber: bool,
        ack_timeout_s: float,
        now_us: Callable[[], int],
    ) -> None:
        self._name = name
        self._line = line
        self._words = words
        self._need_subscriber = need_subscriber
        self._ack_timeout_s = ack_timeout_s
        self._now_us = now_us
        self._unwelcome: set[str] = set()  # topics the broker refused; said once

    @property
    def ended(self) -> bool:
        """Whether the connection is known to be gone."""
        return self._line.gone.done()

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Send the whole batch, then wait for each PUBACK; what the broker will never take is refused.

        SinkUnavailable when the line breaks or nothing is acknowledged for `ack_timeout_s` (the line is then closed:
        nothing on it can be known any more), and when the broker cannot take a record now: quota, permission.
        """
        window = _Window()
        refusals = [refusal for record in batch if (refusal := self._send(record, window)) is not None]
        reason = await self._answers(window, self._ack_timeout_s)
        unavailable = SinkUnavailable(reason) if reason else None
        for position, (code, words) in window.objections.items():
            if code in _NEVER_TAKEN:
                refusals.append(Refusal(position, f"the broker refuses it: {words}"))
            elif code != _NO_MATCHING_SUBSCRIBERS or self._need_subscriber:
                alert = code == _NOT_AUTHORIZED
                if unavailable is None or (alert and not unavailable.alert):
                    unavailable = SinkUnavailable(f"the broker did not take position {position}: {words}", alert=alert)
                window.missing.add(position)
        if unavailable is None:
            return sorted(refusals, key=lambda refusal: refusal.position)
        missing = window.missing.union(window.unanswered(), (refusal.position for refusal in refusals))
        unavailable.acknowledged = tuple(record.position for record in batch if record.position not in missing)
        raise unavailable

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:  # noqa: ARG002
        """Publish facts where these readers have a place for them; whether they are retained is theirs to say, too.

        As with `say`, a broker that answers no is no failure.
        """
        message = self._words.of_gateway(topic, facts)
        if message is not None:
            await self.say((message,))

    async def report(self, happening: Happening) -> None:
        """Publish what happened to a device, where these readers have words of their own for it."""
        await self.say(self._words.of_happening(happening))

    async def say(self, messages: Sequence[MqttMessage]) -> None:
        """Publish what is no record; SinkUnavailable when the line ends.

        A broker that answers no has no place for it: a warning, once, because this login may be allowed to publish
        readings and nothing else.
        """
        for message in messages:
            objection = await self._publish(message, self._ack_timeout_s)
            if objection and message.topic not in self._unwelcome:
                self._unwelcome.add(message.topic)
                log.warning("sink %s: the broker does not take %s: %s", self._name, message.topic, objection)

    async def downlinks(self) -> AsyncIterator[tuple[Whom, bytes]]:
        """What is asked for; a broker that allows no reading ends it."""
        try:
            if not [topics for topics in self._words.asking if await self._may_hear(topics)]:
                return
            async for topic, payload in self._line.incoming():
                try:
                    requests = self._words.requests(topic, payload, self._now_us(), _fresh)
                except NoDownlink as problem:
                    log.warning("sink %s: %s asks for no downlink: %s", self._name, topic, problem)
                    continue
                for whom, request in requests:
                    yield whom, request
        except Unreachable as reason:
            raise SinkUnavailable(str(reason)) from reason

    async def lost(self) -> str:
        """Return, with the reason, once the connection is gone: at once when it is closed, else by the keepalive."""
        return await asyncio.shield(self._line.gone)

    async def leave(self) -> None:
        """Say the will and close, within a few seconds whatever the broker does."""
        try:
            if not self.ended:
                if self._words.will is not None:
                    await self._publish(self._words.will, FAREWELL_S)
                await self._line.leave()
        except SinkUnavailable as reason:
            log.debug("sink %s: the broker has to say the will: %s", self._name, reason)
        finally:
            self._line.drop("closed")

    async def _may_hear(self, topics: str) -> bool:
        try:
            await self._line.ask_for(topics)
        except PermissionError as error:
            if topics not in self._unwelcome:
                self._unwelcome.add(topics)
                log.warning("sink %s: no downlinks from %s, the broker says: %s", self._name, topics, error)
            return False
        return True

    async def _publish(self, message: MqttMessage, timeout_s: float) -> str:
        """What the broker has against it, in words; empty when it took it."""
        too_large = self._too_large(message)
        if too_large:
            return too_large
        window = _Window()
        window.expect(self._line.send(message.topic, message.payload, window.answered, retain=message.retain), 0)
        reason = await self._answers(window, timeout_s)
        if reason:
            raise SinkUnavailable(reason)
        code, words = window.objections.get(0, (_SUCCESS, ""))
        return "" if code == _NO_MATCHING_SUBSCRIBERS else words

    def _send(self, record: Record, window: _Window) -> Refusal | None:
        messages = self._words.of_record(record)
        for message in messages:
            too_large = self._too_large(message)
            if too_large:
                return Refusal(record.position, too_large)
        for message in messages:
            packet_id = self._line.send(message.topic, message.payload, window.answered, retain=message.retain)
            window.expect(packet_id, record.position, needed=message.needed)
        return None

    def _too_large(self, message: MqttMessage) -> str:
        """What a broker that announced its maximum packet size would say, which hangs up when it is sent anyway."""
        most = self._line.maximum_packet_size
        if most is None or (size := self._line.packet_bytes(message.topic, message.payload)) <= most:
            return ""
        return f"{size} bytes in one packet, the broker takes {most}"

    async def _answers(self, window: _Window, timeout_s: float) -> str:
        """Wait until all is answered; otherwise what is in the way, and the line is gone."""
        gone = self._line.gone
        while window.waiting and not gone.done():
            before = len(window.waiting)
            await asyncio.wait((window.settled, gone), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if len(window.waiting) == before and not gone.done():
                self._line.drop(f"no acknowledgement from the broker for {timeout_s:g} s")
        return gone.result() if window.waiting else ""


class _Window:
    """One batch on its way: which packets are not answered yet, and what the broker had to say of the others."""

    __slots__ = ("missing", "objections", "settled", "waiting")

    def __init__(self) -> None:
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting: dict[int, tuple[int, bool]] = {}  # packet id: position of the record, whether readers are needed
        self.objections: dict[int, tuple[int, str]] = {}  # position: reason code that is not plain success, in words
        self.missing: set[int] = set()  # positions answered, but not taken

    def expect(self, packet_id: int, position: int, *, needed: bool = True) -> None:
        """This packet was sent; `needed` is whether it is to have a subscriber."""
        self.waiting[packet_id] = position, needed

    def unanswered(self) -> set[int]:
        """Positions of which a packet is not answered."""
        return {position for position, _ in self.waiting.values()}

    def answered(self, packet_id: int, code: int, words: str) -> None:
        """Note a PUBACK."""
        position, needed = self.waiting.pop(packet_id)
        unheard = code == _NO_MATCHING_SUBSCRIBERS and not needed
        if code != _SUCCESS and not unheard and self.objections.get(position, (0, ""))[0] < code:
            self.objections[position] = code, words
        if not self.waiting and not self.settled.done():
            self.settled.set_result(None)


def _fresh() -> str:
    return str(uuid.uuid4())
