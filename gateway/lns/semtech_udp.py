"""The gateway's side of Semtech's UDP protocol (GWMP version 2): frames up, downlinks back.

One socket for both ways, connected, so that only the server's own datagrams come in and the kernel says when nobody
listens there. One socket also means one mapping in a NAT, which whatever is sent keeps open. When the server is silent
for a few keepalives, or the route to it has changed, its name is asked for again and the socket is made anew.

A frame leaves in the turn of the loop in which it was heard. Nothing is sent twice and nothing is sent late: UDP loses
what it loses, and it is counted. A TX_ACK leaves when it is known what became of the downlink; when nobody can say,
nothing is said, as the protocol has it: a server must not send the second window because of a guess of ours.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from gateway.journal import NOBODY, Outcome, Step
from gateway.lns.advice import silence_advice, udp_advice
from gateway.lns.datagrams import DatagramLink, in_words
from gateway.lns.windows import RecentUplinks
from gateway.model import AtCounter, DownlinkRequest, Lora, TxReport, TxResult
from gateway.wire.semtech_udp import (
    Fault,
    Malformed,
    PullAck,
    PullData,
    PullResp,
    PushAck,
    PushData,
    Stat,
    TxAck,
    parse,
    read_txpk,
    write_push,
    write_tx_ack,
)
from gateway.wire.semtech_words import modulation_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.journal import Onlooker
    from gateway.lns.server import Carry, Reception
    from gateway.model import GatewayEui, RadioFrame, Stamp

log = logging.getLogger(__name__)

VERSION: Final = 2
SILENT_KEEPALIVES: Final = 3  # unanswered: then the server counts as away, and the socket is made anew
LIVE_US: Final = 3_000_000  # what waited longer for a socket answers nobody in time
MOST_WAITING: Final = 1024  # frames, six seconds of all that a chip can deliver
MOST_UNANSWERED: Final = 16_384  # datagrams under way, of 65 536 tokens
SEND_AGAIN_S: Final = 0.02  # when the kernel's buffer is full
DATAGRAM_BYTES: Final = 1_400  # fits the links people have: a fragment that is lost costs the whole datagram
RXPK_BYTES: Final = 320  # at most, without `data`
MOST_DOWNLINKS: Final = 32  # under way at once, as many as the reference forwarder's queue holds

FAULT_RESULTS: Final = {
    Fault(Malformed.IMPOSSIBLE_VALUE, "freq"): TxResult.TX_FREQ,
    Fault(Malformed.IMPOSSIBLE_VALUE, "powe"): TxResult.TX_POWER,
}
"""Requests that cannot be read, and the word for it all the same; for any other fault the protocol has only UNKNOWN."""


@dataclass(frozen=True, slots=True)
class SemtechUdpSettings:
    """One `[lns.NAME]` of type semtech-udp."""

    name: str
    host: str
    port: int
    gateway_eui: GatewayEui
    keepalive_s: float = 10.0
    stat_interval_s: float = 30.0
    downlinks: bool = True
    resolve_again_s: float = 5.0  # names are not there yet when a gateway starts before its modem
    ack_within_s: float = 5.0  # an acknowledgement that takes longer is none; over a satellite it takes two seconds
    say_by_s: float = 10.0  # what became of a downlink; Gateway Bridge forgets the token after 15 s


@dataclass(frozen=True, slots=True)
class _Counts:
    """Where the counters of a status stood."""

    heard: int = 0  # frames of the antenna
    good: int = 0  # of these, with a good checksum
    forwarded: int = 0  # of these, to this server
    acknowledged: int = 0  # datagrams with frames or status in them
    unanswered: int = 0  # such datagrams
    asked: int = 0  # PULL_RESP
    on_air: int = 0  # of these, sent


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A datagram that waits for its acknowledgement."""

    sent_us: int
    frames: Sequence[RadioFrame] = ()
    keepalive: bool = False


class SemtechUdpServer:
    """A `NetworkServer` that takes Semtech UDP."""

    def __init__(
        self,
        settings: SemtechUdpSettings,
        carry: Carry,
        now: Callable[[], Stamp],
        reception: Reception,
        onlooker: Onlooker = NOBODY,
    ) -> None:
        self.name = settings.name
        self._onlooker = onlooker
        self._settings = settings
        self._carry = carry
        self._now = now
        self._reception = reception
        self._link = DatagramLink(settings.host, settings.port, self._take, self._refused_by_network)
        self._waiting: deque[RadioFrame] = deque()
        self._flushing: asyncio.Handle | None = None
        self._under_way: dict[bytes, _UnderWay] = {}  # by token, oldest first
        self._uplinks = RecentUplinks()
        self._answering: dict[asyncio.Task[None], PullResp] = {}
        # How it is.
        self._tries = 0  # sockets without an answer, since the last pause
        self._next_address = asyncio.Event()
        self._stopped = False
        self._opened_us: int | None = None
        self._contact_us: int | None = None
        self._trouble = self._hint = ""
        self._round_trip_us: float | None = None
        self._said: set[str] = set()
        # What came of it.
        self._forwarded = 0
        self._acknowledged = 0
        self._unanswered = 0
        self._datagrams_acknowledged = 0
        self._datagrams_unanswered = 0
        self._missed: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._asked = 0
        self._results: Counter[TxResult] = Counter()
        self._told = _Counts()

    async def run(self) -> None:
        """Keep connected until cancelled."""
        self._stopped = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_telling(), name=f"lns {self.name} status")
                await self._keep_connected()
        finally:
            for task in self._answering:
                task.cancel()
            if self._flushing is not None:
                self._flushing.cancel()
                self._flushing = None
            self._link.close()
            self._stopped = True

    # --- connecting

    async def _keep_connected(self) -> None:
        while True:
            silent = self._is_silent()
            if silent and not self._trouble:
                hint = silence_advice(self._settings.port, str(self._settings.gateway_eui))
                self._troubled(f"no answer for {self._silent_after_us / 1e6:g} s", hint)
            if silent or self._in_vain or not self._link.is_open or self._link.has_moved():
                await self._open()
            if not self._link.is_open:
                await asyncio.sleep(self._settings.resolve_again_s)
                continue
            if self._settings.downlinks:
                token = self._token()
                if self._send(PullData(VERSION, token, self._settings.gateway_eui).encode()):
                    self._under_way[token] = _UnderWay(self._now_us(), keepalive=True)
            await self._until_next_beat()
            self._give_up()

    async def _until_next_beat(self) -> None:
        """A keepalive's time; less when a name has more addresses and nobody listens at this one."""
        self._next_address.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.keepalive_s):
                await self._next_address.wait()
                return
        self._tries = 0

    def _refused_by_network(self, error: OSError) -> None:
        self._troubled(in_words(error), self._advice(error))
        if self._in_vain and self._tries < self._link.addresses:
            self._next_address.set()

    @property
    def _in_vain(self) -> bool:
        """Whether this socket is in trouble and has never had an answer: another address may be the right one."""
        return bool(self._trouble) and (self._contact_us or 0) < (self._opened_us or 0)

    async def _open(self) -> None:
        try:
            await self._link.open()
        except OSError as error:
            self._troubled(f"{self._settings.host}: {in_words(error)}", self._advice(error))
            return
        self._opened_us = self._now_us()
        self._tries += 1
        self._said.clear()
        log.log(
            logging.DEBUG if self._trouble else logging.INFO,
            "lns %s: sending to %s (%s)", self.name, self._address, self._link.peer,
        )  # fmt: skip
        self._flush()

    @property
    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def _silent_after_us(self) -> int:
        settings = self._settings
        # Without downlinks nothing but the status asks for an answer when no frame is heard.
        beat_s = settings.keepalive_s if settings.downlinks else max(settings.keepalive_s, settings.stat_interval_s)
        return round(beat_s * SILENT_KEEPALIVES * 1_000_000)

    def _is_silent(self) -> bool:
        """Whether the socket that is open has had no answer for too long."""
        if not self._link.is_open or self._opened_us is None:
            return False
        since_us = max(self._opened_us, self._contact_us or 0)
        return self._now_us() - since_us >= self._silent_after_us

    def _advice(self, error: OSError) -> str:
        return udp_advice(error, self._settings.host, self._settings.port)

    def _troubled(self, trouble: str, hint: str) -> None:
        log.log(
            logging.DEBUG if self._trouble else logging.WARNING,
            "lns %s: %s is not reached: %s", self.name, self._address, trouble,
        )  # fmt: skip
        self._trouble, self._hint = trouble, hint

    def _answered(self) -> None:
        if self._trouble:
            log.info("lns %s: %s answers again", self.name, self._address)
        elif self._contact_us is None:
            log.info("lns %s: %s answers", self.name, self._address)
        self._trouble = self._hint = ""
        self._tries = 0
        self._contact_us = self._now_us()

    # --- up

    def forward(self, frame: RadioFrame) -> None:
        """Take a frame that is for this server; it leaves in this turn of the loop."""
        if not _can_be_said(frame):
            self._miss("no_word", (frame,))
            return
        if len(self._waiting) >= MOST_WAITING:
            self._miss("no_room", (self._waiting.popleft(),))
        self._waiting.append(frame)
        if not self._link.is_open:
            self._drop_stale()
        elif self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, frames that came together in one datagram."""
        self._flushing = None
        self._drop_stale()
        while self._waiting and self._link.is_open:
            frames = self._next_load()
            try:
                sent = self._push(write_push(frames), frames)
            except BlockingIOError:
                self._waiting.extendleft(reversed(frames))
                self._flushing = asyncio.get_running_loop().call_later(SEND_AGAIN_S, self._flush)
                return
            if not sent:
                self._miss("not_sent", frames)
                continue
            self._forwarded += len(frames)
            self._onlooker.frames(self.name, Step.FORWARDED, frames, final=False)
            now_us = self._now_us()
            for frame in frames:
                self._uplinks.note(frame.counter_us, frame.receiver, now_us)

    def _drop_stale(self) -> None:
        """Who answers what was heard so long ago answers too late."""
        limit_us = self._now_us() - LIVE_US
        while self._waiting and self._waiting[0].heard.monotonic_us < limit_us:
            self._miss("away", (self._waiting.popleft(),))

    def _miss(self, reason: str, frames: Sequence[RadioFrame]) -> None:
        self._missed[reason] += len(frames)
        self._onlooker.frames(self.name, Step.MISSED, frames, reason)

    def _next_load(self) -> Sequence[RadioFrame]:
        """What goes into the next datagram: LoRa together, FSK alone, because ChirpStack MQTT Forwarder reads none."""
        frames = [self._waiting.popleft()]
        left = DATAGRAM_BYTES - _size(frames[0])
        while self._waiting and _goes_along(frames[0]) and _goes_along(self._waiting[0]):
            left -= _size(self._waiting[0])
            if left < 0:
                break
            frames.append(self._waiting.popleft())
        return frames

    def _push(self, json: bytes, frames: Sequence[RadioFrame] = ()) -> bool:
        """Send a PUSH_DATA; False when the network refuses it, BlockingIOError when it has no room."""
        if len(self._under_way) >= MOST_UNANSWERED:
            self._give_up(until=len(self._under_way) - MOST_UNANSWERED + 1)
        token = self._token()
        if not self._send(PushData(VERSION, token, self._settings.gateway_eui, json).encode(), may_wait=True):
            return False
        self._under_way[token] = _UnderWay(self._now_us(), frames)
        return True

    def _send(self, datagram: bytes, *, may_wait: bool = False) -> bool:
        try:
            self._link.send(datagram)
        except BlockingIOError:
            if may_wait:
                raise
            return False
        except OSError as error:
            self._troubled(in_words(error), self._advice(error))
            return False
        return True

    def _token(self) -> bytes:
        token = secrets.token_bytes(2)
        while token in self._under_way:
            token = secrets.token_bytes(2)
        return token

    def _give_up(self, until: int = 0) -> None:
        """What has had its time to be acknowledged was not; and the `until` oldest, for want of room."""
        limit_us = self._now_us() - round(self._settings.ack_within_s * 1_000_000)
        while self._under_way:
            token, oldest = next(iter(self._under_way.items()))
            if oldest.sent_us >= limit_us and until <= 0:
                return
            until -= 1
            del self._under_way[token]
            if not oldest.keepalive:
                self._onlooker.frames(self.name, Step.UNANSWERED, oldest.frames)
                self._unanswered += len(oldest.frames)
                self._datagrams_unanswered += 1

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(self._settings.stat_interval_s)
            self._give_up()
            self._said.clear()
            counts = self._counts()
            try:
                if self._push(write_push(stat=self._stat(counts))):
                    self._told = counts
            except BlockingIOError:
                log.debug("lns %s: no room for the status", self.name)

    def _counts(self) -> _Counts:
        return _Counts(
            heard=self._reception.heard,
            good=self._reception.good,
            forwarded=self._forwarded,
            acknowledged=self._datagrams_acknowledged,
            unanswered=self._datagrams_unanswered,
            asked=self._asked,
            on_air=self._results[TxResult.SENT],
        )

    def _stat(self, counts: _Counts) -> Stat:
        before, where = self._told, self._reception.position
        acknowledged = counts.acknowledged - before.acknowledged
        settled = acknowledged + counts.unanswered - before.unanswered
        return Stat(
            time_utc_s=self._now().utc_us // 1_000_000,
            latitude=None if where is None else where.latitude,
            longitude=None if where is None else where.longitude,
            altitude_m=None if where is None else where.altitude_m,
            rxnb=counts.heard - before.heard,
            rxok=counts.good - before.good,
            rxfw=counts.forwarded - before.forwarded,
            ackr=round(100 * acknowledged / settled, 1) if settled else 0.0,  # as the reference forwarder has it
            dwnb=counts.asked - before.asked,
            txnb=counts.on_air - before.on_air,
        )

    # --- what comes from the server

    def _take(self, datagram: bytes) -> None:
        match parse(datagram):
            case PushAck(_, token) | PullAck(_, token):
                self._answered()
                self._take_ack(token)
            case PullResp() as response:
                self._answered()
                self._take_downlink(response)
            case Fault(reason):
                self._refuse(reason.value, f"sends what is no Semtech UDP ({reason})")
            case _:
                self._refuse("not_for_gateways", "sends what only gateways send")

    def _refuse(self, reason: str, text: str) -> None:
        """Count what cannot be used."""
        self._refused[reason] += 1
        self._say(reason, text)

    def _say(self, kind: str, text: str) -> None:
        """The first of a kind is loud, the others quiet until the next status."""
        level = logging.DEBUG if kind in self._said else logging.WARNING
        self._said.add(kind)
        log.log(level, "lns %s: %s", self.name, text)

    def _take_ack(self, token: bytes) -> None:
        found = self._under_way.pop(token, None)
        if found is None:
            self._refuse(
                "ack_unknown", f"acknowledges token {token.hex()}, for which nobody waits: wrong, or very late"
            )
            return
        took_us = self._now_us() - found.sent_us
        before_us = self._round_trip_us
        self._round_trip_us = took_us if before_us is None else before_us + (took_us - before_us) / 8  # RFC 6298
        if not found.keepalive:
            self._onlooker.frames(self.name, Step.ACKNOWLEDGED, found.frames)
            self._acknowledged += len(found.frames)
            self._datagrams_acknowledged += 1

    # --- down

    def _take_downlink(self, response: PullResp) -> None:
        if response in self._answering.values():
            self._refused["repeated"] += 1  # the network has doubled it: one answer is enough
            return
        self._asked += 1
        if not self._settings.downlinks:
            self._turn_away(response, TxResult.UNKNOWN, "downlinks = false")
            return
        if len(self._answering) >= MOST_DOWNLINKS:
            self._turn_away(response, TxResult.COLLISION_PACKET, f"{MOST_DOWNLINKS} downlinks are under way")
            return
        request = read_txpk(response.json, ref=f"{self.name}-{response.token.hex()}", receiver="")
        if isinstance(request, Fault):
            detail = f"it cannot be read: {request.reason} {request.where}".rstrip()
            self._turn_away(response, FAULT_RESULTS.get(request, TxResult.UNKNOWN), detail)
            return
        receiver = self._receiver_of(request)
        if receiver is None:
            self._turn_away(response, TxResult.RADIO_UNREACHABLE, "no receiver is known yet", request)
            return
        answering = asyncio.create_task(
            self._answer(response, replace(request, receiver=receiver)), name=f"lns {self.name} downlink"
        )
        self._answering[answering] = response
        answering.add_done_callback(self._answering.pop)

    def _receiver_of(self, request: DownlinkRequest) -> str | None:
        found = None
        if isinstance(request.timing, AtCounter):
            found = self._uplinks.receiver_of(request.timing.counter_us)
        return found or self._reception.receiver

    async def _answer(self, response: PullResp, request: DownlinkRequest) -> None:
        """Have it sent, and tell the server what became of it."""
        carrying = asyncio.ensure_future(self._carry([request]))
        try:
            await asyncio.wait({carrying}, timeout=self._settings.say_by_s)
            said = not carrying.done()
            if said:  # it waits in the schedule for its time: that is what a yes means in this protocol
                self._tell(response, TxResult.ACCEPTED)
            fate = await carrying
        except Exception as error:
            log.exception("lns %s: a downlink could not be carried", self.name)
            self._decline(response, TxResult.UNKNOWN, str(error))
            return
        finally:
            carrying.cancel()
        report = fate.report
        if fate.on_air is False:
            self._decline(response, report.result, report.detail, tell=not said)
            return
        self._results[report.result] += 1
        if fate.on_air and not said:
            self._tell(response, report.result)
        log.debug("lns %s: downlink %s: %s %s", self.name, response.token.hex(), report.result, report.detail)

    def _turn_away(
        self, response: PullResp, result: TxResult, detail: str, request: DownlinkRequest | None = None
    ) -> None:
        """Decline what is not even offered to the radio."""
        report = TxReport("", result, detail)
        self._onlooker.downlink(Outcome(None, self.name, request, report, on_air=False))
        self._decline(response, result, detail)

    def _decline(self, response: PullResp, result: TxResult, detail: str, *, tell: bool = True) -> None:
        self._results[result] += 1
        self._say(f"downlink {result}", f"a downlink is not sent: {result}, {detail}")
        if tell:
            self._tell(response, result)

    def _tell(self, response: PullResp, result: TxResult) -> None:
        json = write_tx_ack(result)
        self._send(TxAck(VERSION, response.token, self._settings.gateway_eui, json).encode())

    # --- how it is

    def facts(self) -> Mapping[str, Any]:
        """For `status`. Frames: `forwarded` left, of these `acknowledged` or `unanswered`; `missed` never left."""
        self._drop_stale()
        state, evidence = self._state()
        settled = self._acknowledged + self._unanswered
        now_us = self._now_us()
        return {
            "name": self.name,
            "type": "semtech-udp",
            "server": self._address,
            "address": self._link.peer,
            "state": state,
            "evidence": evidence,
            **({"hint": self._hint} if self._hint and state == "unreachable" else {}),
            "last_contact_s": None if self._contact_us is None else round((now_us - self._contact_us) / 1e6, 1),
            "round_trip_ms": None if self._round_trip_us is None else round(self._round_trip_us / 1000, 1),
            "forwarded": self._forwarded,
            "acknowledged": self._acknowledged,
            "unanswered": self._unanswered,
            "acknowledged_share": round(self._acknowledged / settled, 4) if settled else None,
            "missed": dict(self._missed),
            "downlinks_asked": self._asked,
            "downlinks": {str(result): number for result, number in self._results.items()},
            "refused": dict(self._refused),
        }

    def _state(self) -> tuple[str, str]:
        if self._stopped:
            return "stopped", ""
        if self._trouble:
            return "unreachable", self._trouble
        if self._contact_us is None:
            return "connecting", f"{self._address} has not answered yet"
        return "connected", ""

    def _now_us(self) -> int:
        return self._now().monotonic_us


def _can_be_said(frame: RadioFrame) -> bool:
    """Whether servers can read it. Code rate 0 is a false detection, and its word, OFF, costs the whole datagram."""
    if isinstance(frame.modulation, Lora) and frame.modulation.coding_rate is None:
        return False
    try:
        modulation_words(frame.modulation)
    except ValueError:
        return False
    return True


def _goes_along(frame: RadioFrame) -> bool:
    return isinstance(frame.modulation, Lora)


def _size(frame: RadioFrame) -> int:
    """Bytes that a frame takes in a datagram, at most."""
    return RXPK_BYTES + 4 * (len(frame.phy) + 2) // 3
