"""A network server that takes LoRa Basics Station: this gateway is a station among its others.

The server is asked where to go (discovery), told what we are, and tells how to hear (router_config). Then frames go up
as they are heard, and its downlinks are carried; it is told of each one that was on the air, and of no other. Only what
is live is sent. Nothing that a server says is ever executed here: it is refused, counted, logged, and the server is
told so.

We ask for a pong every 20 s, which Station itself never does: a dead path is noticed within half a minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp

from gateway.journal import NOBODY, Outcome, Step
from gateway.lns.advice import parted
from gateway.lns.server import Untuned
from gateway.lns.station_access import Access
from gateway.lns.station_clock import RadioClocks
from gateway.lns.station_cups import Cups, access_of
from gateway.lns.station_dialing import CONNECT_S, Dial
from gateway.lns.station_downlinks import Planner, region_of
from gateway.lns.station_facts import plan_facts
from gateway.lns.station_trouble import Away, away_for
from gateway.model import UNDATED, Crc, TxReport, TxResult
from gateway.wire import basics_station as wire
from gateway.wire.station_json import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from gateway.journal import Onlooker
    from gateway.lns.server import Carry, Listening, Reception
    from gateway.lns.station_downlinks import Way, Ways
    from gateway.model import GatewayEui, RadioFrame, Stamp
    from gateway.wire.station_names import Xtime

log = logging.getLogger(__name__)

LIVE_US: Final = 3_000_000  # what waited longer for a connection answers nobody in time
MOST_WAITING: Final = 1024  # frames, six seconds of all that a chip can deliver
MOST_DOWNLINKS: Final = 128  # under way at once, as many as Station's own queue holds
CONFIGURED_WITHIN_S: Final = 30.0  # from the version to the router_config; ChirpStack asks its database first
TIMESYNC_EVERY_S: Final = 300.0
WAITS_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
CUPS_AFTER: Final = 10  # attempts in vain, then CUPS may know more; Station does the same
STEADY_S: Final = 60.0  # a connection that held so long was a good one


@dataclass(frozen=True, slots=True)
class BasicsStationSettings:
    """One `[lns.NAME]` of type basics-station."""

    name: str
    server: str | None = None  # discovery: wss://host:8887
    cups: str | None = None  # https://host:443
    cups_file: Path | None = None  # keeps what it says, in the data folder
    insecure: bool = False  # ws:// is all right
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None
    downlinks: bool = True
    answer_within_s: float = 10.0  # to the router query
    ping_every_s: float = 20.0
    pong_within_s: float = 10.0
    station: str = "2.0.6(linux/lorawan-edge-gateway)"  # servers choose by the number in front
    package: str | None = None
    model: str = "linux"


class BasicsStation:
    """The connection to one such server. `listening` is told the channel plan it wants heard."""

    def __init__(
        self,
        settings: BasicsStationSettings,
        carry: Carry,
        now: Callable[[], Stamp],
        reception: Reception,
        gateway_eui: GatewayEui,
        onlooker: Onlooker = NOBODY,
        *,
        listening: Listening | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._carry = carry
        self._now = now
        self._eui = gateway_eui
        self._reception = reception
        self._onlooker = onlooker
        self._listening = Untuned() if listening is None else listening
        self._sleep = sleep
        who = {"station": settings.station, "model": settings.model}
        uri, file = settings.cups, settings.cups_file
        self._cups = None if uri is None else Cups(settings.name, uri, gateway_eui, file, **who)
        self._clocks = RadioClocks(lambda: random.randrange(255))  # noqa: S311 - tells runs apart, keeps no secret
        self._waiting: deque[tuple[RadioFrame, Xtime]] = deque()
        self._something = asyncio.Event()
        self._line: _Line | None = None
        self._state, self._evidence, self._hint = "connecting", "not connected yet", ""
        self._failures = 0
        self._connected = 0
        self._last_contact_us: int | None = None
        self._round_trip_ms: float | None = None
        self._mux: tuple[float, int] | None = None  # the server's UTC, and our monotonic clock then
        self._forwarded = 0
        self._missed: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        self._downlinks: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[None]] = set()

    # --- what the daemon calls ---------------------------------------------------------------------------------------

    def forward(self, frame: RadioFrame) -> None:
        """Take a frame that is for it and has just been heard. Never waits; what has no room is counted."""
        if frame.crc is not Crc.OK:
            self._pass_over("crc", frame)
            return
        moment = self._clocks.heard(frame)
        if moment is None:
            self._pass_over("too_many_receivers", frame)
            return
        self._drop_what_is_old()
        if len(self._waiting) == MOST_WAITING:
            self._miss("no_room")
        self._waiting.append((frame, moment))
        self._something.set()

    async def run(self) -> None:
        """Connect and keep connected until cancelled."""
        try:
            while True:
                began_us = self._mono_us()
                try:
                    await self._attempt()
                except Away as away:
                    self._be_away(away, steady=self._mono_us() - began_us > STEADY_S * 1e6)
                wait_s = WAITS_S[min(self._failures, len(WAITS_S)) - 1]
                await self._sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads a town of gateways
        finally:
            for task in self._under_way:
                task.cancel()
            self._state, self._evidence, self._hint = "stopped", "", ""

    def facts(self) -> Mapping[str, Any]:
        """For `status`: name, state, evidence, and what came of frames and downlinks."""
        self._drop_what_is_old()
        config = None if self._line is None else self._line.config
        since_us = None if self._last_contact_us is None else self._mono_us() - self._last_contact_us
        return {
            "name": self.name,
            "type": "basics-station",
            "server": self._settings.server or self._settings.cups,
            "state": self._state,
            "evidence": self._evidence,
            **({"hint": self._hint} if self._hint else {}),
            "last_contact_s": None if since_us is None else round(since_us / 1e6, 1),
            "round_trip_ms": self._round_trip_ms,
            "forwarded": self._forwarded,
            "acknowledged": None,  # the protocol acknowledges no frame
            "unanswered": None,
            "acknowledged_share": None,
            "waiting": len(self._waiting),
            "missed": dict(self._missed),
            "not_for_it": dict(self._unsent),
            "downlinks": dict(self._downlinks),
            "refused": {reason: times for reason, times in self._refused.items() if not reason.startswith("said_")},
            "plan": None if config is None else plan_facts(config),
            "channels": self._listening.facts(),
        }

    # --- one connection ----------------------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """`_once`, in a task of its own.

        aiohttp's race between a host's addresses swallows a cancellation that comes as the last of them fails; out here
        it is not lost.
        """
        attempt = asyncio.create_task(self._once(), name=f"lns {self.name} connection")
        try:
            await asyncio.wait({attempt})
        except asyncio.CancelledError:
            attempt.cancel()
            await asyncio.gather(attempt, return_exceptions=True)  # what ended it says nothing any more
            raise
        attempt.result()

    async def _once(self) -> None:
        """Find the server and serve it, until Away says why that ended."""
        settings = self._settings
        try:
            access = Access.from_files(settings.ca_file, settings.cert_file, settings.key_file, settings.token_file)
            server = settings.server
            if self._cups is not None:
                server, access = await self._ask_cups(self._cups, access)
            if server is None:
                raise Away("nobody has said where to connect; set server, or ask who runs CUPS", alert=True)
            headers, context = access.headers(), access.context() if server.startswith("wss:") else None
        except (OSError, ValueError) as error:
            raise Away(str(error), alert=True) from None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            dial = Dial(session, context)
            uri = await self._discover(dial, server)
            async with dial.open(uri) as socket:
                await self._serve(socket, uri)

    async def _ask_cups(self, cups: Cups, access: Access) -> tuple[str | None, Access]:
        """Where to and with what; a CUPS server that is away keeps nobody from a server that is known."""
        try:
            await cups.ask(access, self._settings.server, again=self._failures >= CUPS_AFTER)
        except Away as away:
            if cups.told.tc_uri is None and self._settings.server is None:
                raise
            log.info("lns %s: %s", self.name, away.words)
        return cups.told.tc_uri or self._settings.server, access_of(cups.told.tc) or access

    async def _discover(self, dial: Dial, server: str) -> str:
        async with dial.open(f"{server.partition('://')[0]}://{urlsplit(server).netloc}/router-info") as socket:
            try:
                async with asyncio.timeout(self._settings.answer_within_s):
                    await socket.send_str(wire.router_query(self._eui).decode())
                    answer = await socket.receive_str()
            except TimeoutError:
                raise Away("it accepts the connection and does not answer the router query") from None
            except (aiohttp.ClientError, TypeError, ConnectionError) as error:
                raise Away(f"it hung up instead of answering the router query ({error})") from None
        try:
            found = wire.read_router(answer)
        except MalformedMessage as fault:
            raise Away(str(fault)) from None
        if isinstance(found, wire.Rejected):
            raise Away(
                f"it does not take this gateway: {found.error}",
                hint=f"Add this gateway there with EUI {self._eui}, or check which EUI it has there.",
                alert=True,
            )
        if not server.startswith("wss:") and found.uri.startswith("wss:"):
            raise Away(f"it sends us on to {found.uri}; write wss:// in server, so that it is known whom to trust")
        if server.startswith("wss:") and found.uri.startswith("ws:") and not self._settings.insecure:
            raise Away(f"it sends us on to {found.uri}, which is not encrypted; insecure = true allows it", alert=True)
        return found.uri

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, uri: str) -> None:
        line = _Line(socket)
        settings = self._settings
        version = wire.write_version(settings.station, package=settings.package, model=settings.model)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(line, uri), name=f"lns {self.name} listens")
                await line.send(version)
                try:
                    async with asyncio.timeout(CONFIGURED_WITHIN_S):
                        await line.configured.wait()
                except TimeoutError:
                    raise Away("it is connected, and sends no router_config") from None
                self._line = line
                self._be_connected(uri)
                tasks.create_task(self._send_frames(line), name=f"lns {self.name} sends")
                tasks.create_task(self._ask_for_signs_of_life(line), name=f"lns {self.name} pings")
        except ExceptionGroup as group:
            expected, mistakes = group.split((Away, aiohttp.ClientError, OSError))
            if expected is None or mistakes is not None:
                raise
            raise _first(expected) from None
        finally:
            self._line = None

    async def _send_frames(self, line: _Line) -> None:
        while True:
            await self._something.wait()
            self._drop_what_is_old()
            while self._waiting:
                frame, moment = self._waiting.popleft()
                await self._send_frame(line, frame, moment)
                self._drop_what_is_old()
            self._something.clear()

    async def _send_frame(self, line: _Line, frame: RadioFrame, moment: Xtime) -> None:
        assert line.config is not None
        data_rate = line.config.data_rate_of(frame.modulation)
        if data_rate is None:
            self._pass_over(wire.Unsent.NO_DATA_RATE, frame)
            return
        heard = wire.Reception(
            data_rate=data_rate,
            frequency_hz=frame.frequency_hz,
            rctx=moment.unit,
            xtime=int(moment),
            gps_time_us=frame.gps_time_us,
            fine_time_ns=frame.fine_time_ns,
            rssi_dbm=frame.rssi_dbm,
            snr_db=frame.snr_db,
            rx_time_s=self._utc_s(frame.heard),
            ref_time_s=self._server_time_s(self._mono_us()),
        )
        message = wire.write_uplink(frame.phy, heard, line.config)
        if isinstance(message, wire.Unsent):
            self._pass_over(message, frame)
            return
        await line.send(message)
        self._forwarded += 1
        self._onlooker.frames(self.name, Step.FORWARDED, (frame,))

    def _pass_over(self, reason: str, frame: RadioFrame) -> None:
        """It is not for this server, or has no words in its protocol."""
        self._unsent[reason] += 1
        self._onlooker.frames(self.name, Step.MISSED, (frame,), reason)

    def _miss(self, reason: str) -> None:
        frame, _ = self._waiting.popleft()
        self._missed[reason] += 1
        self._onlooker.frames(self.name, Step.MISSED, (frame,), reason)

    async def _ask_for_signs_of_life(self, line: _Line) -> None:
        asked_time_us = -(1 << 62)
        while True:
            if self._mono_us() - asked_time_us > TIMESYNC_EVERY_S * 1e6:
                asked_time_us = self._mono_us()
                await line.send(wire.write_timesync(asked_time_us))
            try:
                async with asyncio.timeout(self._settings.pong_within_s):
                    self._round_trip_ms = await line.ping()
            except TimeoutError:
                raise Away("it is silent, also when asked for a sign of life") from None
            await asyncio.sleep(self._settings.ping_every_s)

    # --- what the server says ----------------------------------------------------------------------------------------

    async def _listen(self, line: _Line, uri: str) -> None:
        while True:
            message = await line.socket.receive()
            self._last_contact_us = self._mono_us()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    await self._take(line, message.data, uri)
                case aiohttp.WSMsgType.PING:
                    await line.socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    line.ponged(message.data)
                case aiohttp.WSMsgType.BINARY:
                    self._refused["rmtsh"] += 1  # bytes for a shell that does not exist
                case aiohttp.WSMsgType.ERROR:
                    raise Away(f"its messages cannot be read: {message.data}")
                case _:
                    raise Away(f"it closed the connection (code {line.socket.close_code})")

    async def _take(self, line: _Line, said: str, uri: str) -> None:
        try:
            message = wire.read(said)
        except wire.UnusableConfig as fault:
            await self._refuse_config(line, str(fault))
        except MalformedMessage as fault:
            self._refused["malformed"] += 1
            self._say("malformed", "sent what cannot be used: %s", fault)
        else:
            mux_time_s = getattr(message, "mux_time_s", None)
            if mux_time_s is not None:
                self._mux = mux_time_s, self._mono_us()
            await self._obey(line, message, uri)

    async def _obey(self, line: _Line, message: wire.FromServer, uri: str) -> None:
        match message:
            case wire.RouterConfig():
                await self._configure(line, message)
            case wire.Dnmsg() | wire.Dnsched():
                self._take_downlinks(line, message)
            case wire.Timesync(xtime=int(xtime), gps_time_us=int(gps_time_us)):
                self._clocks.learn_gps(xtime, gps_time_us)
            case wire.GetXtime():
                await line.send(self._xtimes())
            case wire.RemoteCode():
                self._refused[message.kind] += 1
                log.warning("lns %s: %s wants to run %s here; refused", self.name, uri, message.wanted)
                await line.send(wire.write_alarm(f"{message.kind} refused: this gateway runs nothing from outside"))
            case wire.ServerWords():
                self._say(message.kind, "says %s", message.text)
            case wire.Unknown():
                self._refused["unknown"] += 1
                self._say("unknown", "sends %s, which means nothing here", message.kind)

    async def _configure(self, line: _Line, config: wire.RouterConfig) -> None:
        refused = self._listening.ask(config.plan)
        if refused is not None:
            await self._refuse_config(line, refused)
        if region_of(config.region) is None:
            self._say("region", "is for region %s, which is not known here: nothing is sent for it", config.region)
        if config.test_switches:
            switches = ", ".join(sorted(config.test_switches))
            self._say("switches", "wants %s, which is for laboratories: not followed, the law here is kept", switches)
        if config.beacons:
            self._say("beacons", "wants class B beacons, which are not sent")
        line.config = config
        line.planner = Planner(config, self._clocks)
        line.configured.set()

    async def _refuse_config(self, line: _Line, why: str) -> None:
        """Tell both sides, and leave: a server whose plan we do not follow would be told half of what it expects."""
        self._refused["router_config"] += 1
        await line.send(wire.write_alarm(f"router_config refused: {why}"))
        raise Away(
            f"its router_config cannot be followed: {why}",
            hint="Give this gateway, on the server, the frequency plan of the region in the settings here.",
            alert=True,
        )

    def _xtimes(self) -> bytes:
        now = self._now()
        clocks = tuple(self._clocks.now(receiver, now.monotonic_us) for receiver in self._clocks.receivers)
        return wire.write_getxtime(
            clocks,
            mono_s=now.monotonic_us / 1e6,
            utc_s=now.utc_us / 1e6,
            mux_time_s=self._server_time_s(now.monotonic_us),
        )

    # --- downlinks ---------------------------------------------------------------------------------------------------

    def _take_downlinks(self, line: _Line, message: wire.Dnmsg | wire.Dnsched) -> None:
        receiver, mono_us = self._reception.receiver, self._mono_us()
        if line.planner is None:
            self._refused["before_config"] += 1
            return
        if isinstance(message, wire.Dnmsg):
            self._take_downlink(message, line.planner.of_dnmsg(message, receiver, mono_us))
            return
        for fault in message.faults:
            self._refused["malformed"] += 1
            self._say("malformed", "sent what cannot be used: %s", fault)
        for entry in message.entries:
            self._take_downlink(None, line.planner.of_scheduled(entry, receiver, mono_us))

    def _take_downlink(self, dnmsg: wire.Dnmsg | None, found: Ways) -> None:
        if not self._settings.downlinks:
            self._refused["downlinks_off"] += 1
            self._turn_away(TxResult.UNKNOWN, "downlinks = false", found)
            return
        if len(self._under_way) == MOST_DOWNLINKS:
            self._refused["too_many"] += 1
            self._turn_away(TxResult.COLLISION_PACKET, f"{MOST_DOWNLINKS} downlinks are under way", found)
            return
        if not found.ways:
            assert found.why_not is not None
            self._downlinks[str(found.why_not.result)] += 1
            self._turn_away(found.why_not.result, found.why_not.detail, found)
            kind = f"downlink {found.why_not.result}"
            self._say(kind, "asked for a downlink that cannot be: %s", found.why_not.detail)
            return
        task = asyncio.create_task(self._carry_it(dnmsg, found.ways), name=f"lns {self.name} downlink")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _turn_away(self, result: TxResult, detail: str, found: Ways) -> None:
        """Tell who looks on of what is not even offered to the radio."""
        way = found.ways[0].request if found.ways else None
        self._onlooker.downlink(Outcome(None, self.name, way, TxReport("", result, detail), on_air=False))

    async def _carry_it(self, dnmsg: wire.Dnmsg | None, ways: tuple[Way, ...]) -> None:
        """Have it sent, and tell the server when it was; the connection may be another one by then."""
        try:
            fate = await self._carry([way.request for way in ways])
        except Exception:
            self._downlinks["failed"] += 1
            log.exception("lns %s: a downlink could not be carried", self.name)
            return
        self._downlinks[str(fate.report.result)] += 1
        if fate.on_air is False:
            result = fate.report.result
            self._say(f"downlink {result}", "asked for a downlink that is not sent: %s, %s", result, fate.report.detail)
        if fate.on_air is not True or dnmsg is None or not any(dnmsg.dev_eui):
            return
        used = next((way for way in ways if way.request.ref == fate.report.ref), ways[0])
        line = self._line
        if line is None:
            self._refused["untold"] += 1
            return
        try:
            await line.send(self._dntxed(dnmsg, used))
        except (aiohttp.ClientError, OSError):
            self._refused["untold"] += 1

    def _dntxed(self, dnmsg: wire.Dnmsg, used: Way) -> bytes:
        mono_us = self._mono_us()
        receiver = used.request.receiver
        xtime = self._clocks.now(receiver, mono_us) if used.start is None else used.start.xtime
        gps_time_us = dnmsg.gps_time_us if dnmsg.device_class == "B" else self._clocks.gps_time_us(xtime)
        return wire.write_dntxed(
            dnmsg,
            used.place,
            rctx=self._clocks.unit_of(receiver),
            xtime=xtime,
            tx_time_s=mono_us / 1e6,
            gps_time_us=gps_time_us,
        )

    # --- time, and how it stands -------------------------------------------------------------------------------------

    def _mono_us(self) -> int:
        return self._now().monotonic_us

    def _server_time_s(self, mono_us: int) -> float:
        """The server's clock at a moment of ours; 0 as long as it has not told."""
        if self._mux is None:
            return 0.0
        told_s, told_us = self._mux
        return round(told_s + (mono_us - told_us) / 1e6, 6)

    def _utc_s(self, heard: Stamp) -> float:
        """When a frame was heard; by the server's clock as long as ours does not know."""
        if heard.quality in UNDATED and self._mux is not None:
            return self._server_time_s(heard.monotonic_us)
        return heard.utc_us / 1e6

    def _drop_what_is_old(self) -> None:
        mono_us = self._mono_us()
        while self._waiting and mono_us - self._waiting[0][0].heard.monotonic_us > LIVE_US:
            self._miss("away" if self._line is None else "slow")

    def _be_connected(self, uri: str) -> None:
        if self._failures:
            log.info("lns %s: %s is back after %d attempts", self.name, uri, self._failures)
        else:
            log.info("lns %s: connected to %s", self.name, uri)
        self._state, self._evidence, self._hint = "connected", f"connected to {uri}", ""
        self._connected += 1
        self._failures = 0

    def _be_away(self, away: Away, *, steady: bool) -> None:
        self._failures = 1 if steady else self._failures + 1
        evidence, hint = parted(away.words) if not away.hint else (away.words, away.hint)
        level = logging.WARNING if self._evidence != evidence else logging.DEBUG
        self._state, self._evidence, self._hint = "refused" if away.alert else "unreachable", evidence, hint
        log.log(level, "lns %s: %s: %s", self.name, self._settings.server or self._settings.cups, away.words)

    def _say(self, kind: str, words: str, *values: object) -> None:
        """Log the first of a kind loudly; a server repeats itself."""
        level = logging.DEBUG if self._refused[f"said_{kind}"] else logging.WARNING
        self._refused[f"said_{kind}"] += 1
        log.log(level, "lns %s: the server %s", self.name, words % values)


class _Line:
    """A data connection, what was configured on it, and its pulse."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.config: wire.RouterConfig | None = None
        self.planner: Planner | None = None
        self.configured = asyncio.Event()
        self._pings = 0
        self._pong: asyncio.Future[None] | None = None

    async def send(self, message: bytes) -> None:
        await self.socket.send_str(message.decode())

    async def ping(self) -> float:
        """How many milliseconds the server took to answer."""
        self._pings += 1
        self._pong = asyncio.get_running_loop().create_future()
        began_s = time.monotonic()
        await self.socket.ping(self._payload())
        await self._pong
        return round((time.monotonic() - began_s) * 1e3, 1)

    def ponged(self, payload: bytes) -> None:
        """An answer; one that is no answer to the last ping says nothing."""
        if self._pong is not None and not self._pong.done() and payload == self._payload():
            self._pong.set_result(None)

    def _payload(self) -> bytes:
        return self._pings.to_bytes(4, "big")


def _first(group: BaseExceptionGroup[Any]) -> Away:
    """The first of the errors that ended a group of tasks: the others follow from it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Away) else away_for(error)
