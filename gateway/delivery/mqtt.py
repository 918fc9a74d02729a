"""Readings to an MQTT broker, each one until the broker has said what became of it.

What counts as delivered is the PUBACK of QoS 1: the broker took the reading over. Whether anybody subscribes, and
whether its queue survives a power cut, is the broker's business; with `need_subscriber` a reading that nobody was
subscribed to stays here. MQTT 5 says why something was not taken. MQTT 3.1.1 has no words for that: its brokers
acknowledge what they throw away, so prefer a broker that speaks 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiomqtt

from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.lines.dialing import Unreachable
from gateway.lines.mqtt import FAREWELL_S, Broker, MqttLine, open_line
from gateway.model import DevEui
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING, Privacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.model import GatewayEui, Record

    Compose = Callable[[Record], Sequence[tuple[str, bytes]]]
    """Makes of a record the messages, topic and payload, that carry it."""

log = logging.getLogger(__name__)

# Reason codes of PUBACK: MQTT 5.0, section 3.4.2.1. 0x95 is none of them, but what Mosquitto's message_size_limit says.
_SUCCESS: Final = 0x00
_NO_MATCHING_SUBSCRIBERS: Final = 0x10
_NOT_AUTHORIZED: Final = 0x87
_NEVER_TAKEN: Final = frozenset({0x90, 0x95, 0x99})  # topic name invalid, packet too large, payload format invalid

_OFFLINE: Final = b'{"state":"offline"}'


@dataclass(frozen=True, slots=True)
class MqttDestination:
    """What the settings say of one `[sink.NAME]` of type mqtt. ValueError, without secrets, for what cannot be.

    Paths and login as in `Broker`; `privacy` is what the broker gets to see of a reading.
    """

    name: str
    url: str  # mqtt://host[:1883] or mqtts://host[:8883]
    gateway_eui: GatewayEui
    topic_prefix: str = "lorawan"
    client_id: str = ""  # empty: made of gateway and name, the same after each restart
    username: str | None = None
    password: Callable[[], str] | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    in_flight: int = 32
    privacy: Privacy = EVERYTHING
    need_subscriber: bool = False
    keepalive_s: int = 30  # a dead line is noticed after at most twice this
    connect_timeout_s: float = 10.0
    ack_timeout_s: float = 20.0  # since the last acknowledgement
    broker: Broker = field(init=False)

    def __post_init__(self) -> None:
        """Check, and derive the broker."""
        if any(character in self.topic_prefix for character in "+#\0") or not self.topic_prefix.strip("/"):
            raise ValueError(f"topic_prefix {self.topic_prefix!r} must be a topic without + and #")
        broker = Broker(
            url=self.url,
            client_id=self.client_id or f"lorawan-gateway-{self.gateway_eui}-{self.name}",
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            in_flight=self.in_flight,
            keepalive_s=self.keepalive_s,
            connect_timeout_s=self.connect_timeout_s,
        )
        object.__setattr__(self, "broker", broker)

    def topic(self, tail: str) -> str:
        """A topic of this gateway: `lorawan/0016c001ff10a235/status`."""
        return f"{self.topic_prefix}/{self.gateway_eui}/{tail}"


class MqttSink:
    """A Sink (`gateway.delivery.sink`) that is an MQTT broker.

    `compose` makes another format's messages of a record; without it, our own JSON goes to `…/{dev_eui}/up`.
    """

    def __init__(self, destination: MqttDestination, compose: Compose | None = None) -> None:
        self.name = destination.name
        self._destination = destination
        self._compose = compose or _own_format(destination)
        self._told_of_3_1_1 = False

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[MqttLink]:
        """A link that has said "online"; leaving says "offline". SinkUnavailable when there is none to be had.

        Should the gateway die or the line break, the broker says "offline" for it: that is its last will.
        """
        destination = self._destination
        will = aiomqtt.Will(destination.topic("status"), _OFFLINE, qos=1, retain=True)
        try:
            line = await open_line(destination.broker, will)
        except Unreachable as reason:
            raise SinkUnavailable(str(reason), alert=reason.alert) from reason
        link = MqttLink(line, destination, self._compose)
        try:
            if line.protocol is aiomqtt.ProtocolVersion.V311:
                self._accept_3_1_1()
            await link.announce("status", {"gateway_eui": str(destination.gateway_eui)}, retain=True)
            yield link
        finally:
            await link.leave()

    def _accept_3_1_1(self) -> None:
        if self._destination.need_subscriber:
            raise SinkUnavailable("need_subscriber needs MQTT 5, and this broker speaks 3.1.1 only", alert=True)
        if not self._told_of_3_1_1:
            self._told_of_3_1_1 = True
            log.warning("sink %s: the broker speaks MQTT 3.1.1 only, it cannot say which readings it drops", self.name)


class MqttLink:
    """An open connection to a broker; a Link."""

    def __init__(self, line: MqttLine, destination: MqttDestination, compose: Compose) -> None:
        self._line = line
        self._destination = destination
        self._compose = compose
        self._unwelcome: set[str] = set()  # announcements the broker refused; said once

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
        reason = await self._answers(window, self._destination.ack_timeout_s)
        unavailable = SinkUnavailable(reason) if reason else None
        for position, (code, words) in window.objections.items():
            if code in _NEVER_TAKEN:
                refusals.append(Refusal(position, f"the broker refuses it: {words}"))
            elif code != _NO_MATCHING_SUBSCRIBERS or self._destination.need_subscriber:
                alert = code == _NOT_AUTHORIZED
                if unavailable is None or (alert and not unavailable.alert):
                    unavailable = SinkUnavailable(f"the broker did not take position {position}: {words}", alert=alert)
                window.missing.add(position)
        if unavailable is None:
            return sorted(refusals, key=lambda refusal: refusal.position)
        missing = window.missing.union(window.waiting.values(), (refusal.position for refusal in refusals))
        unavailable.acknowledged = tuple(record.position for record in batch if record.position not in missing)
        raise unavailable

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:
        """Publish facts under `PREFIX/{gateway_eui}/{topic}`. A "status" says `"state": "online"` by itself.

        SinkUnavailable when the line ends. A broker that answers no has no place for it: a warning, once, because this
        login may be allowed to publish readings and nothing else.
        """
        leaving = self._destination.privacy.facts(topic, facts)
        if leaving is None:
            return
        if topic == "status":
            leaving = {"state": "online", **leaving}
        objection = await self._publish(topic, json_bytes(leaving), self._destination.ack_timeout_s, retain=retain)
        if objection and topic not in self._unwelcome:
            self._unwelcome.add(topic)
            log.warning("sink %s: the broker does not take %s: %s", self._destination.name, topic, objection)

    async def downlinks(self) -> AsyncIterator[tuple[DevEui, bytes]]:
        """What is published under `PREFIX/{gateway_eui}/{dev_eui}/down`; a broker that allows no reading ends it."""
        if self._destination.privacy.hides_devices:
            return  # a pseudonym leads nobody to a device, us neither
        pattern = self._destination.topic("+/down")
        try:
            async for topic, payload in self._line.listen(pattern):
                name = topic.split("/")[-2]
                try:
                    dev_eui = DevEui.parse(name)
                except ValueError as error:
                    log.warning("sink %s: a downlink for nobody: %s", self._destination.name, error)
                    continue
                yield dev_eui, payload
        except PermissionError as error:
            if pattern not in self._unwelcome:
                self._unwelcome.add(pattern)
                log.warning("sink %s: no downlinks from here, the broker says: %s", self._destination.name, error)
        except Unreachable as reason:
            raise SinkUnavailable(str(reason)) from reason

    async def lost(self) -> str:
        """Return, with the reason, once the connection is gone: at once when it is closed, else by the keepalive."""
        return await asyncio.shield(self._line.gone)

    async def leave(self) -> None:
        """Say "offline" and close, within a few seconds whatever the broker does."""
        try:
            if not self.ended:
                await self._publish("status", _OFFLINE, FAREWELL_S, retain=True)
                await self._line.leave()
        except SinkUnavailable as reason:
            log.debug("sink %s: the last will has to say that it is offline: %s", self._destination.name, reason)
        finally:
            self._line.drop("closed")

    async def _publish(self, topic: str, payload: bytes, timeout_s: float, *, retain: bool) -> str:
        """What the broker has against it, in words; empty when it took it."""
        window, topic = _Window(), self._destination.topic(topic)
        too_large = self._too_large(topic, payload)
        if too_large:
            return too_large
        window.waiting[self._line.send(topic, payload, window.answered, retain=retain)] = 0
        reason = await self._answers(window, timeout_s)
        if reason:
            raise SinkUnavailable(reason)
        code, words = window.objections.get(0, (_SUCCESS, ""))
        return "" if code == _NO_MATCHING_SUBSCRIBERS else words

    def _send(self, record: Record, window: _Window) -> Refusal | None:
        messages = self._compose(record)
        for message in messages:
            too_large = self._too_large(*message)
            if too_large:
                return Refusal(record.position, too_large)
        for topic, payload in messages:
            window.waiting[self._line.send(topic, payload, window.answered)] = record.position
        return None

    def _too_large(self, topic: str, payload: bytes) -> str:
        """What a broker that announced its maximum packet size would say, which hangs up when it is sent anyway."""
        most = self._line.maximum_packet_size
        if most is None or (size := self._line.packet_bytes(topic, payload)) <= most:
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
        self.waiting: dict[int, int] = {}  # packet id: position of the record
        self.objections: dict[int, tuple[int, str]] = {}  # position: reason code that is not plain success, in words
        self.missing: set[int] = set()  # positions answered, but not taken

    def answered(self, packet_id: int, code: int, words: str) -> None:
        """Note a PUBACK."""
        position = self.waiting.pop(packet_id)
        if code != _SUCCESS and self.objections.get(position, (0, ""))[0] < code:
            self.objections[position] = code, words
        if not self.waiting and not self.settled.done():
            self.settled.set_result(None)


def _own_format(destination: MqttDestination) -> Compose:
    start, privacy = destination.topic(""), destination.privacy

    def compose(record: Record) -> Sequence[tuple[str, bytes]]:
        return ((f"{start}{privacy.dev_eui(record.reading)}/up", privacy.reading_bytes(record)),)

    return compose
