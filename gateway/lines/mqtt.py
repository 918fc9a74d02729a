"""One connection to an MQTT broker: opened with a deadline, closed for good, every acknowledgement with its reason.

aiomqtt owns the connection and paho-mqtt speaks the protocol. Both are replaced in a few steps, each for a reason that
was seen to bite:

- They dial in a thread that cannot be called back. A dial given up after its time-out would still log in later, take
  the client id over from its successor and leave the will saying "offline". Here the socket is opened on the loop.
- A connection that ends before the CONNACK goes unnoticed until the time-out; here it is an error at once.
- paho drops the whole connection over a PUBACK reason that its tables do not list, and Mosquitto sends one (0x95, for
  `message_size_limit`): a single large message would stop everything behind it for ever.
- aiomqtt drops the reason of a PUBACK, and the CONNACK's limits.
- They wait for the kernel's delayed acknowledgement, 40 ms in every batch (727 messages/s; 36,000/s without).

A line is used once. Nothing that a library still has queued when it ends is sent again: there is no again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.lines.dialing import Trouble, Unreachable, dial, tls_context, trouble_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Answered = Callable[[int, int, str], None]
    """Called with packet id, reason code of the PUBACK (MQTT 5.0, section 3.4.2.1; 0 with 3.1.1), and that in words."""

FAREWELL_S: Final = 2.0  # what a stop may cost; the daemon promises to be gone in ten seconds
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}  # IANA
_INCOMING_MESSAGES: Final = 1_000  # a broker that sends without end fills no memory
_UNSUPPORTED_PROTOCOL_VERSION: Final = 0x84
_SUBSCRIPTION_REFUSED: Final = 0x80  # SUBACK codes from here on are refusals, in 3.1.1 as in 5 (section 3.9.3)
_MENDED_BY_A_PERSON: Final = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x95, 0x9A, 0x9B, 0x9C, 0x9D})
"""CONNACK reasons that time does not heal (MQTT 5.0, section 3.2.2.2): client id, login, permission, ban, method, will
topic, size, retain, QoS, use another server, moved."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and how to log in. ValueError when that contradicts itself.

    `password` is called at each connection, in a thread, so that a changed secret is used; so are the files read.
    `client_id` must stay the same over restarts: the broker then ends a dead predecessor at once, and its will is
    spoken before the successor says it is there instead of a minute after. MQTT 3.1.1 brokers may insist on 23 letters
    and digits at most.
    """

    url: str  # mqtt://host[:1883] or mqtts://host[:8883]
    client_id: str
    username: str | None = None
    password: Callable[[], str] | None = None
    ca_file: Path | None = None  # instead of the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    in_flight: int = 32
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0  # for each attempt, from the name to the CONNACK

    def __post_init__(self) -> None:
        """Check what can be checked without opening anything."""
        parts = urlsplit(self.url)
        _known_to_idna(parts.hostname or "")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"{_without_login(self.url)!r} is no mqtt://host:port or mqtts://host:port")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a login does not belong into the url, but into username and password")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"{self.url!r} goes on after the port; an MQTT broker has no paths")
        if parts.port == 0:  # reading it also raises ValueError for what is no port at all
            raise ValueError(f"{self.url!r} has port 0")
        if not 1 <= self.in_flight <= 0xFFFF or not 1 <= self.keepalive_s <= 0xFFFF:
            raise ValueError("in_flight and keepalive go from 1 to 65535")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs cert_file")
        if not self.tls and (self.ca_file is not None or self.cert_file is not None):
            raise ValueError("certificates need mqtts://, with mqtt:// nothing would be encrypted")

    @property
    def tls(self) -> bool:
        """Whether the line is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or _PORTS[parts.scheme]

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_line(broker: Broker, will: aiomqtt.Will | None = None) -> MqttLine:
    """A line on which the broker has said yes: MQTT 5, or 3.1.1 when it does not speak that.

    Unreachable otherwise, in words a person can act on; `alert` when waiting alone will not help.
    """
    try:
        password, context = await asyncio.to_thread(_read_secrets, broker)
    except OSError as error:
        raise Unreachable(f"{broker}: cannot read {error.filename}: {error.strerror}", alert=True) from error
    except ValueError as error:
        raise Unreachable(f"{broker}: {error}", alert=True) from error
    try:
        return await _attempt(broker, will, password, context, aiomqtt.ProtocolVersion.V5)
    except _NotSpokenError:
        return await _attempt(broker, will, password, context, aiomqtt.ProtocolVersion.V311)


class MqttLine(aiomqtt.Client):
    """An open line. `gone` is done, with the reason in words, as soon as it is known to have ended."""

    def __init__(
        self,
        broker: Broker,
        will: aiomqtt.Will | None,
        password: str | None,
        sock: socket.socket,
        protocol: aiomqtt.ProtocolVersion,
    ) -> None:
        self.last_words = _LastWords()
        host, port = broker.address
        super().__init__(
            host,
            port,
            username=broker.username,
            password=password,
            identifier=broker.client_id,
            protocol=protocol,
            will=will,
            clean_session=True if protocol is aiomqtt.ProtocolVersion.V311 else None,
            keepalive=broker.keepalive_s,
            max_inflight_messages=broker.in_flight,
            max_queued_incoming_messages=_INCOMING_MESSAGES,
            logger=self.last_words.logger,
        )
        # aiomqtt makes the paho client itself and leaves no other place to say which.
        self._client.__class__ = _Paho
        cast("_Paho", self._client).opened = sock
        self._sock = sock
        self._answered: dict[int, Answered] = {}
        self.protocol = protocol
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self.maximum_packet_size: int | None = None
        self.retain_available = True
        self.refusal = ""  # of the login, in words
        self._disconnected.add_done_callback(self._broke)

    async def __aenter__(self) -> Self:
        """Log in; MqttCodeError with the broker's reason, MqttError when the line ends before it gave one."""
        self._client.connect(self._hostname, self._port, self._keepalive)  # a first connection always starts clean
        await self._connected
        return self

    def send(self, topic: str, payload: bytes, answered: Answered, *, retain: bool = False) -> int:
        """Send at QoS 1 and return the packet id. `answered` is called once, never before this returns.

        It is not called when the line ends first: watch `gone`. More than the broker's receive maximum wait their turn.
        """
        info = self._client.publish(topic, payload, qos=1, retain=retain and self.retain_available)
        self._answered[info.mid] = answered
        return info.mid

    async def listen(self, topic: str) -> AsyncIterator[tuple[str, bytes]]:
        """Subscribe as with `ask_for`, then give what comes as `incoming` does."""
        await self.ask_for(topic)
        async for message in self.incoming():
            yield message

    async def ask_for(self, topic: str) -> None:
        """Subscribe at QoS 1; Unreachable when the line ends.

        PermissionError, with the broker's word, when it lets this login not subscribe.
        """
        try:
            # In a task of its own: `wait_for` of Python 3.11, with which aiomqtt waits, loses a stop that comes with
            # the answer, and what is not stopped here would be waited for at the end of the gateway.
            asking = asyncio.ensure_future(self.subscribe(topic, qos=1))
            try:
                await asyncio.wait({asking})
            finally:
                asking.cancel()
            [answer] = asking.result()
        except aiomqtt.MqttError as error:
            raise self._over(error) from error
        code = answer if isinstance(answer, int) else answer.value
        if code >= _SUBSCRIPTION_REFUSED:
            raise PermissionError(words_of(code))

    async def incoming(self) -> AsyncIterator[tuple[str, bytes]]:
        """Topics and payloads of what was asked for, as they come; Unreachable when the line ends.

        What was there before the subscription (retained) is left out: it would come again with every connection.
        """
        try:
            async for message in self.messages:
                if not message.retain and isinstance(message.payload, bytes):
                    yield str(message.topic), message.payload
        except aiomqtt.MqttError as error:
            raise self._over(error) from error

    def _over(self, error: aiomqtt.MqttError) -> Unreachable:
        return Unreachable(self.gone.result() if self.gone.done() else str(error))

    def packet_bytes(self, topic: str, payload: bytes) -> int:
        """Size of the PUBLISH packet at QoS 1, as the broker's maximum packet size counts it."""
        properties = 1 if self.protocol is aiomqtt.ProtocolVersion.V5 else 0
        remaining = 2 + len(topic.encode()) + 2 + properties + len(payload)
        return 1 + sum(remaining >= bound for bound in (0, 1 << 7, 1 << 14, 1 << 21)) + remaining

    async def leave(self) -> None:
        """Say DISCONNECT, so that the broker keeps the will to itself, and close."""
        self.timeout = FAREWELL_S
        try:
            with contextlib.suppress(aiomqtt.MqttError):
                await self.__aexit__(None, None, None)
        finally:
            self.drop("closed")

    def drop(self, reason: str) -> None:
        """Close without a word: the broker speaks the will."""
        self._end(reason)
        self._client._sock_close()  # noqa: SLF001 - the public way is to say DISCONNECT first
        self._sock.close()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self._connected.done():
            return
        receive_maximum = getattr(properties, "ReceiveMaximum", 0xFFFF)
        # The public setter refuses while connected, but no one knows the number before.
        client._max_inflight_messages = min(client.max_inflight_messages, receive_maximum)  # noqa: SLF001
        self.maximum_packet_size = getattr(properties, "MaximumPacketSize", None)
        self.retain_available = bool(getattr(properties, "RetainAvailable", 1))
        self.refusal = words_of(reason_code.value, properties)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        super()._on_publish(client, userdata, mid, reason_code, properties)
        answered = self._answered.pop(mid, None)
        if answered is not None:
            code = reason_code.value
            answered(mid, code, words_of(code, properties) if code else "")
        if self._answered:
            # A broker without TCP_NODELAY (Mosquitto's default) holds its next PUBACKs back until our kernel confirms
            # this one, and that waits 40 ms unless told otherwise, each time anew (tcp(7)).
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _on_disconnect(
        self,
        client: paho.Client,  # noqa: ARG002
        userdata: Any,  # noqa: ARG002
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._end(f"the broker ended the connection: {words_of(reason_code.value, properties)}")
        elif self.last_words.error is not None:
            self._end(trouble_with(self.last_words.error).words)
        else:
            self._end(_SILENT_ENDS.get(reason_code.value, "the broker closed the connection"))

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: paho.SocketLike) -> None:  # noqa: ARG002
        # At once, not "soon": by then the socket may be closed, and its number somebody else's.
        self._loop.add_writer(sock.fileno(), self._write)

    def _write(self) -> None:
        try:
            if not self._connected.done():
                # TLS 1.3 refuses a client's certificate after the handshake; its alert says more than a failed write.
                self._client.loop_read()
            self._client.loop_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, this line is over and the gateway is not
            self.drop(f"the MQTT library failed: {error!r}")

    def _broke(self, disconnected: asyncio.Future[None]) -> None:
        # aiomqtt puts what its reader trips over into this future and leaves the socket open.
        if not disconnected.cancelled() and disconnected.exception() is not None:
            self.drop(f"the MQTT library failed: {disconnected.exception()!r}")

    def _end(self, reason: str) -> None:
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError(reason))
            self._connected.exception()  # seen, should nobody wait for it
        if not self._disconnected.done():
            self._disconnected.set_result(None)
        if not self.gone.done():
            self.gone.set_result(reason)


def words_of(reason_code: int, properties: Properties | None = None) -> str:
    """A reason code of MQTT 5 in words, with what the broker adds for people; its text is cut and made printable."""
    names = ReasonCode.names.get(reason_code)
    words = next(iter(names)).lower() if names else f"reason 0x{reason_code:02x}"
    for remark in ("ReasonString", "ServerReference"):
        text = getattr(properties, remark, "")
        if text:
            words += f" ({''.join(c if c.isprintable() else '�' for c in str(text)[:200])})"
    return words


_SILENT_ENDS: Final = {
    0x82: "the broker broke the protocol",
    0x8D: "the broker stopped answering",
}
"""How paho says that it hung up itself, in the reason codes of DISCONNECT."""


class _NotSpokenError(Exception):
    """The broker may not know MQTT 5."""


class _Paho(paho.Client):
    """paho-mqtt on a socket that is open already, and lenient with the reasons of a PUBACK."""

    opened: socket.socket

    def _create_socket(self) -> paho.SocketLike:
        return self.opened

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) < 2:
            return super()._handle_pubackcomp(cmd)
        packet_id = int.from_bytes(packet[:2], "big")
        if packet_id not in self._out_messages:  # said twice, or of a packet that never was: proves nothing
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        if len(packet) == 2:
            return self._do_on_publish(packet_id, _SUCCESS, _NO_PROPERTIES)
        reason, properties = ReasonCode(PacketTypes.PUBACK), _NO_PROPERTIES
        reason.value = packet[2]
        if len(packet) > 3:
            properties = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]
            try:
                properties.unpack(packet[3:])  # type: ignore[no-untyped-call]
            except Exception:  # noqa: BLE001 - it raises what it stumbles over: IndexError, KeyError, struct.error, its own
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return self._do_on_publish(packet_id, reason, properties)


_SUCCESS: Final = ReasonCode(PacketTypes.PUBACK)
_NO_PROPERTIES: Final = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]


class _LastWords(logging.Handler):
    """Keeps the error that paho only logs. It says why a line ended: a reset, or a TLS alert that comes late."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error: OSError | None = None
        self.logger = logging.Logger("mqtt", logging.ERROR)  # noqa: LOG001 - one for each line, not one for all
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the error out of the record."""
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], OSError):
            self.error = record.args[0]


async def _attempt(
    broker: Broker,
    will: aiomqtt.Will | None,
    password: str | None,
    context: ssl.SSLContext | None,
    protocol: aiomqtt.ProtocolVersion,
) -> MqttLine:
    line = None
    try:
        async with asyncio.timeout(broker.connect_timeout_s):
            sock = await dial(*broker.address, context, broker.connect_timeout_s)
            line = MqttLine(broker, will, password, sock, protocol)
            return await line.__aenter__()
    except BaseException as error:
        if line is not None:
            line.drop("never opened")
        if not isinstance(error, (OSError, aiomqtt.MqttError)):
            raise
        trouble = _login_trouble(broker, line, error, protocol)
        raise Unreachable(f"{broker}: {trouble.words}", alert=trouble.alert) from error


def _login_trouble(
    broker: Broker, line: MqttLine | None, error: Exception, protocol: aiomqtt.ProtocolVersion
) -> Trouble:
    """What prevented the line; raises _NotSpokenError when another protocol version may fare better."""
    if line is None or not isinstance(error, aiomqtt.MqttError):
        if isinstance(error, TimeoutError):
            what = "the name, the connection or its TLS" if line is None else "an answer to CONNECT"
            return Trouble(f"waited {broker.connect_timeout_s:g} s for {what}")
        return trouble_with(cast("OSError", error))
    is_5 = protocol is aiomqtt.ProtocolVersion.V5
    if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode):
        if is_5 and error.rc.value == _UNSUPPORTED_PROTOCOL_VERSION:
            raise _NotSpokenError from error
        return Trouble(f"the broker refuses the login: {line.refusal}", alert=error.rc.value in _MENDED_BY_A_PERSON)
    late_alert = line.last_words.error
    if isinstance(late_alert, ssl.SSLError):
        return trouble_with(late_alert)
    if is_5:
        raise _NotSpokenError from error
    hint = "" if broker.tls else "; does this port want mqtts://?"
    return Trouble(f"{error}, without answering CONNECT{hint}")


def _read_secrets(broker: Broker) -> tuple[str | None, ssl.SSLContext | None]:
    """Password and TLS context; OSError or ValueError when they cannot be had."""
    password = broker.password() if broker.password is not None else None
    context = tls_context(broker.ca_file, broker.cert_file, broker.key_file) if broker.tls else None
    return password, context


def _known_to_idna(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{host!r} is no host name: {error}") from error


def _without_login(url: str) -> str:
    return url.rpartition("@")[2]
