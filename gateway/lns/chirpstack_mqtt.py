"""A gateway of ChirpStack's: frames and statistics to an MQTT broker, downlinks back.

Topics are `{prefix}/gateway/{gateway_eui}/…`; the prefix names the region configuration of the server. What is sent is
sent at QoS 1: a PUBACK says that the broker has it, and one of MQTT 5 also when nobody is subscribed, which is what a
wrong prefix looks like from here. Whether the server is there, nobody says on this way.

A frame leaves in the turn of the loop in which it was heard, while fewer than `in_flight` wait for their PUBACK. What
has waited longer than `LIVE_US` is not sent any more. A downlink is carried out also when its line is gone by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiomqtt

from gateway.journal import NOBODY, Outcome, Step
from gateway.lines.dialing import Unreachable
from gateway.lines.mqtt import FAREWELL_S, Broker, MqttLine, open_line
from gateway.lines.pace import LONGEST_WAIT_S, backoff_s
from gateway.lns.advice import parted
from gateway.lns.server import Untuned
from gateway.model import Crc, TxReport, TxResult
from gateway.wire.channel_plan import in_words
from gateway.wire.chirpstack import (
    CONN_STATE,
    DOWNLINK_TX_ACK,
    EXEC_REQUEST,
    EXEC_RESPONSE,
    GATEWAY_STATS,
    IGNORED,
    OK,
    STATUS_OF,
    UPLINK_FRAME,
    Impossible,
    Marshaler,
    Traffic,
    Unreadable,
    conn_state,
    read,
    read_configuration,
    read_downlink,
    stats,
    tx_ack,
    uplink,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping
    from pathlib import Path

    from gateway.journal import Onlooker
    from gateway.lns.server import Carry, Listening, Reception
    from gateway.model import GatewayEui, Modulation, RadioFrame, Stamp
    from gateway.wire.chirpstack import Configuration, Downlink, DutyCycles
    from gateway.wire.protobuf import Message, Values

log = logging.getLogger(__name__)

LIVE_US: Final = 3_000_000  # what waited longer for a connection answers nobody in time
MOST_WAITING: Final = 1024  # frames, six seconds of all that a chip can deliver
SHORTEST_STATS_S: Final = 1.0
LONGEST_STATS_S: Final = 86_400.0
"""Between these a server may say how often it wants statistics."""
MOST_DOWNLINKS: Final = 32  # under way at once, as many as Concentratord's queue holds
_NO_MATCHING_SUBSCRIBERS: Final = 0x10  # PUBACK: MQTT 5.0, section 3.4.2.1


@dataclass(frozen=True, slots=True)
class ChirpstackMqttSettings:
    """One `[lns.NAME]` of type chirpstack-mqtt; login and files as in `Broker`."""

    name: str
    url: str  # mqtt://host[:1883] or mqtts://host[:8883]
    gateway_eui: GatewayEui
    topic_prefix: str = "eu868"
    marshaler: Marshaler = Marshaler.PROTOBUF
    stats_interval_s: float = 30.0
    downlinks: bool = True
    username: str | None = None
    password: Callable[[], str] | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    program: str = "lorawan-edge-gateway"
    in_flight: int = 32
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    ack_timeout_s: float = 10.0  # since the last acknowledgement: then the line is dead, whatever TCP believes

    def broker(self) -> Broker:
        """The broker and the login. The client id has the name in it: two servers may share one broker."""
        return Broker(
            url=self.url,
            client_id=f"{self.gateway_eui}-{self.name}",
            username=self.username,
            password=self.password,
            ca_file=self.ca_file,
            cert_file=self.cert_file,
            key_file=self.key_file,
            in_flight=self.in_flight,
            keepalive_s=self.keepalive_s,
            connect_timeout_s=self.connect_timeout_s,
        )

    def topic(self, tail: str) -> str:
        """A topic of this gateway: `eu868/gateway/0016c001ff10a235/event/up`."""
        return f"{self.topic_prefix}/gateway/{self.gateway_eui}/{tail}"


@dataclass(frozen=True, slots=True)
class _Told:
    """What had been heard by the last statistics."""

    heard: int = 0
    good: int = 0
    by_frequency: Counter[int] = field(default_factory=Counter)
    by_modulation: Counter[Modulation] = field(default_factory=Counter)

    @classmethod
    def of(cls, reception: Reception) -> _Told:
        return cls(
            reception.heard, reception.good, Counter(reception.good_by_frequency), Counter(reception.good_by_modulation)
        )


class ChirpstackMqttServer:
    """A `NetworkServer` that is a ChirpStack behind an MQTT broker. ValueError when the settings cannot be."""

    def __init__(
        self,
        settings: ChirpstackMqttSettings,
        carry: Carry,
        now: Callable[[], Stamp],
        reception: Reception,
        dial: Callable[[Broker, aiomqtt.Will | None], Awaitable[MqttLine]] = open_line,
        onlooker: Onlooker = NOBODY,
        *,
        listening: Listening | None = None,
        airtime: Callable[[], DutyCycles | None] = lambda: None,
    ) -> None:
        self.name = settings.name
        self._listening = Untuned() if listening is None else listening
        self._airtime = airtime
        self._onlooker = onlooker
        self._dial = dial
        self._settings = settings
        self._broker = settings.broker()
        self._carry = carry
        self._now = now
        self._reception = reception
        self._line: MqttLine | None = None  # while frames go
        self._waiting: deque[RadioFrame] = deque()
        self._under_way: dict[int, tuple[int, RadioFrame]] = {}  # by packet id: when it left, monotonic, and what
        self._settled: Callable[[RadioFrame, bool], None] = lambda _, __: None
        self._answered_us = 0
        self._answering: set[asyncio.Task[None]] = set()
        # How it is.
        self._state, self._evidence, self._hint = "connecting", f"{self._broker} has not answered yet", ""
        self._contact_us: int | None = None
        self._round_trip_us: float | None = None
        self._configuration: Configuration | None = None
        self._said: set[str] = set()
        self._unsent_said: set[str] = set()  # since the last statistics
        # What came of it.
        self._forwarded = self._acknowledged = self._unanswered = self._unheard = 0
        self._replayed = self._swallowed = 0
        self._missed: Counter[str] = Counter()
        self._asked = 0
        self._results: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._traffic = Traffic()
        self._told = _Told()
        self._stats_interval_s = settings.stats_interval_s  # until the server says another one
        self._interval_changed = asyncio.Event()

    # --- up ---

    def forward(self, frame: RadioFrame) -> None:
        """Take a frame that is for this server and has just been heard."""
        if frame.crc is not Crc.OK:
            return
        self._waiting.append(frame)
        self._pump()

    @property
    def is_connected(self) -> bool:
        """Whether frames go to the broker now."""
        return self._line is not None and not self._line.gone.done()

    def tell(self, settled: Callable[[RadioFrame, bool], None]) -> None:
        """From now on say of each frame of the live lane whether it was acknowledged."""
        self._settled = settled

    async def replay(self, frame: RadioFrame) -> None:
        """Send a frame that was kept while the server was away, and return when the broker has it.

        In which order and how fast is the caller's business: the oldest of a device first, before its live frames.
        Downlinks that it provokes are answered with TOO_LATE. Unreachable when there is no line or it ends meanwhile;
        ValueError when it is not known when the frame was heard.
        """
        line, number = self._line, random.getrandbits(32)
        values = uplink(frame, self._settings.gateway_eui, number, replayed=True)
        if line is None:
            raise Unreachable(self._evidence)
        said = self._say(line, "event/up", UPLINK_FRAME, values)
        await asyncio.wait((said, line.gone), return_when=asyncio.FIRST_COMPLETED)
        if not said.done():
            raise Unreachable(line.gone.result())
        if objection := said.result():
            raise Unreachable(f"the broker does not take frames: {objection}", alert=True)
        self._replayed += 1
        self._onlooker.frames(self.name, Step.ACKNOWLEDGED, (frame,), "history")

    def _pump(self) -> None:
        """Send what waits, as far as the line takes it; give up what is too old."""
        oldest_us = self._now().monotonic_us - LIVE_US
        while self._waiting and self._waiting[0].heard.monotonic_us < oldest_us:
            self._miss("away" if self._line is None else "slow")
        line = self._line
        while self._waiting and line is not None and not line.gone.done():
            if len(self._under_way) >= self._settings.in_flight:
                break
            self._send_frame(line, self._waiting.popleft())
        while len(self._waiting) > MOST_WAITING:
            self._miss("full")

    def _miss(self, reason: str) -> None:
        frame = self._waiting.popleft()
        self._missed[reason] += 1
        self._onlooker.frames(self.name, Step.MISSED, (frame,), reason)
        self._settled(frame, False)

    def _send_frame(self, line: MqttLine, frame: RadioFrame) -> None:
        values = uplink(frame, self._settings.gateway_eui, random.getrandbits(32))
        packet_id = line.send(
            self._settings.topic("event/up"),
            self._settings.marshaler.write(UPLINK_FRAME, values),
            partial(self._frame_answered, line),
        )
        now_us = self._now().monotonic_us
        if not self._under_way:
            self._answered_us = now_us
        self._under_way[packet_id] = now_us, frame
        self._forwarded += 1
        self._onlooker.frames(self.name, Step.FORWARDED, (frame,), final=False)

    def _frame_answered(self, line: MqttLine, packet_id: int, code: int, words: str) -> None:
        found = self._under_way.pop(packet_id, None) if line is self._line else None
        if found is None:
            return
        sent_us, frame = found
        now_us = self._now().monotonic_us
        self._answered_us = self._contact_us = now_us
        took_us, before_us = now_us - sent_us, self._round_trip_us
        self._round_trip_us = took_us if before_us is None else before_us + (took_us - before_us) / 8
        if code in {0, _NO_MATCHING_SUBSCRIBERS}:
            self._acknowledged += 1
            self._settled(frame, True)
            self._onlooker.frames(self.name, Step.ACKNOWLEDGED, (frame,), "" if code == 0 else "nobody_subscribed")
            self._heard_by_somebody(code == 0)
        else:
            self._missed["refused"] += 1
            self._onlooker.frames(self.name, Step.MISSED, (frame,), "refused")
            self._settled(frame, False)
            self._warn_once(f"the broker does not take frames: {words}")
            self._state, self._evidence = "refused", f"the broker does not take frames: {words}"
        self._pump()

    def _heard_by_somebody(self, somebody: bool) -> None:
        self._state = "connected"
        if somebody:
            self._evidence = self._hint = ""
            return
        self._unheard += 1
        self._evidence = f"nobody is subscribed to {self._settings.topic('event/up')}"
        self._hint = "Check topic_prefix: it has to be the one of the region configuration in ChirpStack."
        self._warn_once(f"{self._evidence}; is topic_prefix that of the server?")

    # --- the line ---

    async def run(self) -> None:
        """Connect, and keep connected until cancelled; then say that the gateway is offline."""
        loop, failures = asyncio.get_running_loop(), 0
        try:
            while True:
                connected_s = loop.time()
                try:
                    line = await self._dial(self._broker, self._will())
                    try:
                        await self._serve(line)
                    finally:
                        self._line_ended()
                        await self._leave(line)
                except Unreachable as reason:
                    # A broker that lets everybody in and out again at once is not asked every second.
                    failures = 1 if loop.time() - connected_s > LONGEST_WAIT_S else failures + 1
                    self._troubled(reason)
                await asyncio.sleep(backoff_s(failures, random.random()))  # noqa: S311 - spreads reconnections
        finally:
            for task in self._answering:
                task.cancel()
            self._state, self._evidence = "stopped", ""

    async def _serve(self, line: MqttLine) -> None:
        if self._settings.downlinks:
            try:
                await line.ask_for(self._settings.topic("command/+"))
            except PermissionError as error:
                self._warn_once(f"no downlinks from here, the broker says: {error}")
        self._say(line, "state/conn", CONN_STATE, conn_state(self._settings.gateway_eui, online=True), retain=True)
        self._state, self._evidence, self._hint = "connected", "", ""
        self._contact_us = self._now().monotonic_us
        log.info("lns %s: connected to %s", self.name, self._broker)
        self._said.clear()
        self._line = line
        self._pump()
        await _first_failure(self._listen(line), self._tell_statistics(line), self._watch(line))

    def _line_ended(self) -> None:
        self._line = None
        self._unanswered += len(self._under_way)
        lost = [frame for _, frame in self._under_way.values()]
        self._under_way.clear()
        self._onlooker.frames(self.name, Step.UNANSWERED, lost)
        for frame in lost:
            self._settled(frame, False)

    async def _watch(self, line: MqttLine) -> None:
        """Until the line is gone, or the broker takes frames and says nothing."""
        while not line.gone.done():
            await asyncio.wait((line.gone,), timeout=self._settings.ack_timeout_s / 4)
            waited_us = self._now().monotonic_us - self._answered_us
            if self._under_way and waited_us > self._settings.ack_timeout_s * 1e6:
                line.drop(f"no acknowledgement from the broker for {self._settings.ack_timeout_s:g} s")
            self._pump()
        raise Unreachable(line.gone.result())

    async def _tell_statistics(self, line: MqttLine) -> None:
        while True:
            self._interval_changed.clear()
            self._unsent_said.clear()
            self._say(line, "event/stats", GATEWAY_STATS, self._statistics())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._stats_interval_s):
                    await self._interval_changed.wait()

    def _statistics(self) -> Values:
        """What went through since the last statistics."""
        before, self._told = self._told, _Told.of(self._reception)
        traffic, self._traffic = self._traffic, Traffic()
        traffic.received = self._told.heard - before.heard
        traffic.received_ok = self._told.good - before.good
        traffic.received_by_frequency = dict(self._told.by_frequency - before.by_frequency)
        traffic.received_by_modulation = dict(self._told.by_modulation - before.by_modulation)
        return stats(
            traffic,
            self._settings.gateway_eui,
            self._now(),
            self._reception.position,
            config_version=self._listening.version(),
            # ChirpStack sends its channels to gateways that say this, and to no other (uplink/stats.rs).
            metadata={"concentratord_version": self._settings.program} if self._listening.leads else {},
            duty_cycles=self._airtime(),
        )

    def _say(
        self, line: MqttLine, tail: str, message: Message, values: Values, *, retain: bool = False
    ) -> asyncio.Future[str]:
        """Publish; the future is what the broker has against it, empty when it takes it."""
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def answered(_: int, code: int, words: str) -> None:
            objection = "" if code in {0, _NO_MATCHING_SUBSCRIBERS} else words
            if not done.done():
                done.set_result(objection)
            self._contact_us = self._now().monotonic_us
            if objection:
                self._warn_once(f"the broker does not take {tail}: {objection}")

        line.send(self._settings.topic(tail), self._settings.marshaler.write(message, values), answered, retain=retain)
        return done

    async def _leave(self, line: MqttLine) -> None:
        try:
            if not line.gone.done():
                offline = conn_state(self._settings.gateway_eui, online=False)
                said = self._say(line, "state/conn", CONN_STATE, offline, retain=True)
                await asyncio.wait((said, line.gone), timeout=FAREWELL_S, return_when=asyncio.FIRST_COMPLETED)
                await line.leave()
        finally:
            line.drop("closed")

    def _will(self) -> aiomqtt.Will:
        offline = conn_state(self._settings.gateway_eui, online=False)
        payload = self._settings.marshaler.write(CONN_STATE, offline)
        return aiomqtt.Will(self._settings.topic("state/conn"), payload, qos=1, retain=True)

    def _troubled(self, reason: Unreachable) -> None:
        evidence, hint = parted(str(reason))
        if self._evidence != evidence:
            log.warning("lns %s: %s", self.name, reason)
        # A name that nobody knows needs a person, too, but nobody refuses anything.
        refused = reason.alert and not isinstance(reason.__cause__, socket.gaierror)
        if refused and not hint:
            hint = "It answers, but not to us: check username, password_file and certificates in the settings."
        self._state, self._evidence, self._hint = "refused" if refused else "unreachable", evidence, hint

    def _warn_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning("lns %s: %s", self.name, what)

    # --- down ---

    async def _listen(self, line: MqttLine) -> None:
        async for topic, payload in line.incoming():
            self._contact_us = self._now().monotonic_us
            command = topic.rpartition("/")[2]
            try:
                self._obey(command, payload)
            except Unreadable as error:
                self._refuse("unreadable", f"command/{command} cannot be read: {error}")

    def _obey(self, command: str, payload: bytes) -> None:
        match command:
            case "down":
                downlink = read_downlink(payload, self._reception.receiver or "")
                if self._is_ours(downlink.gateway_id):
                    self._begin(downlink)
            case "config":
                configuration = read_configuration(payload)
                if self._is_ours(configuration.gateway_id):
                    self._note(configuration)
            case "exec":
                self._deny(read(EXEC_REQUEST, payload))
            case _:
                self._refuse("unknown_command", "it sends commands that this gateway does not know")

    def _is_ours(self, gateway_id: str) -> bool:
        if gateway_id == str(self._settings.gateway_eui):
            return True
        self._refuse("other_gateway", "it sends commands of another gateway on the topic of this one")
        return False

    def _refuse(self, reason: str, words: str) -> None:
        self._refused[reason] += 1
        self._warn_once(words)

    def _note(self, configuration: Configuration) -> None:
        """Let the radio hear so where it follows this server; what it does not hear is said and in `status`."""
        interval_s = configuration.stats_interval_s
        if interval_s is not None and SHORTEST_STATS_S <= interval_s <= LONGEST_STATS_S:
            changed, self._stats_interval_s = interval_s != self._stats_interval_s, interval_s
            if changed:
                self._interval_changed.set()
        if self._configuration != configuration:
            self._configuration = configuration
            words = in_words(configuration.plan.channels)
            log.info("lns %s: its configuration %.40r wants heard: %s", self.name, configuration.version, words)
        if self._listening.ask(configuration.plan, configuration.version) is not None:
            self._refused["configuration"] += 1  # why, says who was asked

    def _deny(self, request: Values) -> None:
        self._refuse("exec", "it wants a command run; this gateway runs none")
        if self._line is not None:
            denied = "this gateway runs no commands"
            answer = {"gateway_id": str(self._settings.gateway_eui), "exec_id": request.get("exec_id"), "error": denied}
            self._say(self._line, "event/exec", EXEC_RESPONSE, answer)

    def _begin(self, downlink: Downlink) -> None:
        self._asked += 1
        self._traffic.downlinks += 1
        if downlink.replayed:
            # It answers a frame that the device sent long ago: on the air it could only disturb.
            self._swallowed += 1
            self._turn_away(TxResult.TOO_LATE, "it answers a frame that was sent again long after it was heard")
            self._answer(downlink, ["TOO_LATE"] * len(downlink.items))
        elif len(self._answering) >= MOST_DOWNLINKS:
            self._turn_away(TxResult.COLLISION_PACKET, f"{MOST_DOWNLINKS} downlinks are under way")
            self._tell_unsent("QUEUE_FULL", f"{MOST_DOWNLINKS} downlinks are under way")
            self._answer(downlink, ["QUEUE_FULL"] * len(downlink.items))
        else:
            task = asyncio.get_running_loop().create_task(self._carry_out(downlink))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _turn_away(self, result: TxResult, detail: str) -> None:
        """Tell who looks on of what is not even offered to the radio."""
        self._onlooker.downlink(Outcome(None, self.name, None, TxReport("", result, detail), on_air=False))

    def _tell_unsent(self, status: str, detail: str) -> None:
        """Say why a downlink is not sent: the first of a kind loud, the others quiet until the next statistics."""
        level = logging.DEBUG if status in self._unsent_said else logging.WARNING
        self._unsent_said.add(status)
        log.log(level, "lns %s: a downlink is not sent: %s, %s", self.name, status, detail)

    async def _carry_out(self, downlink: Downlink) -> None:
        """Try the items in their order until one may have been heard; tell the server what became of each."""
        statuses = [IGNORED] * len(downlink.items)
        for at, item in enumerate(downlink.items):
            if isinstance(item, Impossible):
                statuses[at] = item.status
                self._turn_away(TxResult.UNKNOWN, f"{item.status}: {item.reason}")
                self._tell_unsent(item.status, item.reason)
                continue
            ref = f"{self.name}-{downlink.downlink_id}-{at}"
            try:
                fate = await self._carry((replace(item, ref=ref),))
            except Exception:
                log.exception("lns %s: downlink %d could not be carried", self.name, downlink.downlink_id)
                statuses[at] = "INTERNAL_ERROR"
                break
            statuses[at] = STATUS_OF[fate.report.result]
            if fate.report.result is TxResult.SENT:
                self._traffic.sent(item)
            if fate.may_be_heard:
                break
            self._tell_unsent(statuses[at], fate.report.detail)
        self._answer(downlink, statuses)

    def _answer(self, downlink: Downlink, statuses: list[str]) -> None:
        # ChirpStack counts by the last item that was tried.
        status = OK if OK in statuses else [each for each in statuses if each != IGNORED][-1]
        self._results[status] += 1
        self._traffic.answered(status)
        if self._line is None or self._line.gone.done():
            self._refused["answer_unheard"] += 1
            return
        values = tx_ack(self._settings.gateway_eui, downlink.downlink_id, tuple(statuses))
        self._say(self._line, "event/ack", DOWNLINK_TX_ACK, values)

    def facts(self) -> Mapping[str, Any]:
        """For `status`. Frames: `forwarded` left, of these `acknowledged` by the broker; `missed` by reason.

        `unheard` are those acknowledged that nobody was subscribed to, as far as the broker speaks MQTT 5.
        """
        self._pump()
        now_us = self._now().monotonic_us
        configuration = self._configuration
        settled = self._acknowledged + self._unanswered + self._missed["refused"]
        return {
            "name": self.name,
            "type": "chirpstack-mqtt",
            "server": str(self._broker),
            "state": self._state,
            "evidence": self._evidence,
            **({"hint": self._hint} if self._hint else {}),
            "last_contact_s": None if self._contact_us is None else round((now_us - self._contact_us) / 1e6, 1),
            "round_trip_ms": None if self._round_trip_us is None else round(self._round_trip_us / 1000, 1),
            "forwarded": self._forwarded,
            "acknowledged": self._acknowledged,
            "unanswered": self._unanswered,
            "acknowledged_share": round(self._acknowledged / settled, 4) if settled else None,
            "unheard": self._unheard,
            "replayed": self._replayed,
            "missed": dict(+self._missed),
            "downlinks_asked": self._asked,
            "downlinks_swallowed": self._swallowed,
            "downlinks": dict(self._results),
            "refused": dict(self._refused),
            "configuration": None if configuration is None else configuration.version,
            "stats_interval_s": self._stats_interval_s,
            "channels": self._listening.facts(),
        }


async def _first_failure(*endless: Coroutine[Any, Any, None]) -> None:
    """Run until one of them raises; then that.

    No TaskGroup: before Python 3.13 one that fails in the moment of a cancellation keeps the cancellation to itself.
    """
    tasks = [asyncio.create_task(each) for each in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
