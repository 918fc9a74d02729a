"""A concentrator that is another program: one or more packet forwarders speaking Semtech UDP to us.

We are the server side. An acknowledgement leaves before the JSON is looked at, from the socket that received; downlinks
go to where the last PULL_DATA of the forwarder came from. All work of a wake-up is bounded: a flood fills the kernel's
buffer and is dropped there, it does not keep the event loop from its other duties.

A downlink is admitted here (`transmitters`) and then handed over at once, because a forwarder has a queue of its own.
Its TX_ACK is the outcome; when it refuses, air time and place are given back. Without a TX_ACK nobody knows, and the
air time counts as used.

The protocol has no authentication. Whoever reaches the port can inject frames and have us believe in forwarders; what
bounds the harm are the address listened on and the bounds in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import socket
import struct
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from gateway.errors import RadioError
from gateway.model import AtCounter, RadioFrame, TxReport, TxResult
from gateway.radio.concentrator import QUEUE_FRAMES, RadioHealth
from gateway.radio.forwarders import MOST_FORWARDERS, SILENT_AFTER_US, Forwarder, Forwarders, News, show_address
from gateway.wire.semtech_udp import (
    Fault,
    PullData,
    PullResp,
    PushData,
    TxAck,
    TxAnswer,
    parse,
    read_push,
    read_tx_ack,
    write_txpk,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from gateway.model import DownlinkRequest, GatewayEui, Stamp
    from gateway.radio.forwarders import Address
    from gateway.radio.schedule import Planned
    from gateway.radio.transmitters import Transmitters

log = logging.getLogger(__name__)

DATAGRAMS_A_TURN: Final = 64  # 0.8 ms on a 2024 server core, a few on a Raspberry Pi; then the loop does something else
BYTES_A_TURN: Final = 65_536  # the same bound for large datagrams: their cost is in their bytes
DATAGRAM_BUFFER_BYTES: Final = 65_536  # no UDP payload is longer: 65 507 bytes over IPv4, 65 527 over IPv6
FRAMES_A_TURN: Final = 64  # a reader that finds frames waiting lets the loop breathe after so many
RECEIVE_BUFFER_BYTES: Final = 4 << 20  # seconds of a full band; the kernel gives no more than net.core.rmem_max
TX_ACK_TIMEOUT_S: Final = 1.0  # the reference forwarder answers as soon as the frame is queued; version 1 never does
TOKEN_LIFE_US: Final = 15_000_000  # Gateway Bridge keeps a token as long: no other downlink gets it meanwhile
MOST_DOWNLINKS: Final = 8192  # tokens alive plus outcomes nobody has read
QUIET_US: Final = 600_000_000  # the same complaint is loud once in so long
MOST_LOUD: Final = 32  # and so many different ones: EUIs can be invented faster than disks written

_SO_MEMINFO = 55  # Linux 4.12, include/uapi/asm-generic/socket.h: nine unsigned ints, the last one counts drops


class Ignored(StrEnum):
    """What came in, could be read, and led to nothing; or could not be helped. The value is the counter's label."""

    NOT_FOR_SERVERS = "not_for_servers"  # PUSH_ACK, PULL_ACK, PULL_RESP: what we send, not what we get
    TX_ACK_UNKNOWN = "tx_ack_unknown"  # no downlink has this token
    TX_ACK_FOREIGN = "tx_ack_foreign"  # the token is another forwarder's
    TX_ACK_LATE = "tx_ack_late"  # the outcome was reported before, or this is the second answer
    ACK_NOT_SENT = "ack_not_sent"  # the network refused our acknowledgement
    NOT_RECEIVED = "not_received"  # the socket reported an error instead of a datagram
    LOST_IN_KERNEL = "lost_in_kernel"  # the socket's buffer was full


Item = TypeVar("Item")


class _Inbox(Generic[Item]):
    """A bounded queue between callbacks and one asynchronous reader: no task and no lock for an item."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._items: deque[Item] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._taken_at_once = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Take it in, or say that there is no room."""
        if len(self._items) >= self.most:
            return False
        self._items.append(item)
        self._wake()
        return True

    def close(self) -> None:
        """Nothing more comes; the reader still gets what is waiting."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        if self._items and self._taken_at_once >= FRAMES_A_TURN:
            self._taken_at_once = 0
            await asyncio.sleep(0)
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._taken_at_once = 0
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._taken_at_once += 1
        return self._items.popleft()


class _Loudness:
    """First loud, repeats quiet: which level a complaint deserves now."""

    def __init__(self) -> None:
        self._said: set[object] = set()
        self._until_us: int | None = None

    def of(self, complaint: object, level: int, now_us: int) -> int:
        if self._until_us is None or now_us >= self._until_us:
            self._said.clear()
            self._until_us = now_us + QUIET_US
        if complaint in self._said or len(self._said) >= MOST_LOUD:
            return logging.DEBUG
        self._said.add(complaint)
        return level


@dataclass(slots=True, eq=False)
class _Downlink:
    """A token that is taken: by a downlink without an outcome as long as the timer runs."""

    planned: Planned
    eui: GatewayEui
    sent_us: int
    timer: asyncio.TimerHandle | None


class PacketForwarderRadio:
    """A `Concentrator` that listens on `listen` (`host:port`, `[::1]:1700`, port 0: any) for packet forwarders.

    `stamp` is asked for the time of each datagram; its monotonic part is also what ages are counted in. Frames carry
    the EUI of the forwarder that heard them as `receiver`, 16 lower hex. `transmitters` admits what goes out; each
    forwarder is one of them.
    """

    def __init__(
        self,
        listen: str,
        stamp: Callable[[], Stamp],
        transmitters: Transmitters,
        *,
        queue_frames: int = QUEUE_FRAMES,
        most_forwarders: int = MOST_FORWARDERS,
        most_downlinks: int = MOST_DOWNLINKS,
        tx_ack_timeout_s: float = TX_ACK_TIMEOUT_S,
    ) -> None:
        self._listen = listen
        self._stamp = stamp
        self._transmitters = transmitters
        self._most_downlinks = most_downlinks
        self._tx_ack_timeout_s = tx_ack_timeout_s
        self._socket: socket.socket | None = None
        self._frames: _Inbox[RadioFrame] = _Inbox(queue_frames)
        self._outcomes: _Inbox[TxReport] = _Inbox(most_downlinks)
        self._forwarders = Forwarders(most_forwarders)
        self._downlinks: dict[bytes, _Downlink] = {}  # by token, oldest first
        self._refused: Counter[str] = Counter()
        self._heard = 0
        self._dropped = 0
        self._overflowing = False
        self._loudness = _Loudness()

    async def __aenter__(self) -> Self:
        """Bind the socket; RadioError when the address cannot be had."""
        self._socket = await _bound(self._listen)
        self._listen = show_address(self._socket.getsockname())
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        granted = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        log.info("listening for packet forwarders on %s, receive buffer %d KiB", self._listen, granted // 1024)
        if not ipaddress.ip_address(self._socket.getsockname()[0].partition("%")[0]).is_loopback:
            log.warning("whoever reaches %s can inject frames: the Semtech protocol has no passwords", self._listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._socket is not None:
            self._lost_in_kernel()
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for downlink in self._downlinks.values():
            self._settle(downlink, TxResult.UNKNOWN, "closed before a TX_ACK came")
        self._frames.close()
        self._outcomes.close()

    @property
    def address(self) -> str:
        """Where it listens, as `host:port`; with port 0 in the settings only known once it is open."""
        return self._listen

    def frames(self) -> AsyncIterator[RadioFrame]:
        """What is heard, in the order of arrival, frames with a bad CRC included. One reader."""
        return self._frames

    def outcomes(self) -> AsyncIterator[TxReport]:
        """One report for each accepted downlink: the forwarder's TX_ACK, or UNKNOWN if none comes."""
        return self._outcomes

    # --- up ---

    def _readable(self) -> None:
        """Take what waits in the socket, up to the bounds; the loop calls again for the rest."""
        assert self._socket is not None
        left = BYTES_A_TURN
        for _ in range(DATAGRAMS_A_TURN):
            try:
                datagram, address = self._socket.recvfrom(DATAGRAM_BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._complain(Ignored.NOT_RECEIVED, "receiving on %s: %s", self._listen, error)
                return
            self._take(datagram, address)
            left -= len(datagram)
            if left <= 0:
                return

    def _take(self, datagram: bytes, address: Address) -> None:
        match parse(datagram):
            case PushData() as push:
                self._reply(push.ack().encode(), address)
                self._take_push(push, address)
            case PullData() as pull:
                self._reply(pull.ack().encode(), address)
                now_us = self._stamp().monotonic_us
                forwarder, news = self._forwarders.pull(pull.eui, pull.version, address, now_us)
                if news is not None:
                    self._announce(forwarder, news, now_us)
            case TxAck() as tx_ack:
                self._take_tx_ack(tx_ack)
            case Fault(reason):
                self._complain(reason, "%s sends what is no Semtech UDP (%s)", show_address(address), reason)
            case _:
                self._complain(Ignored.NOT_FOR_SERVERS, "%s sends what only servers send", show_address(address))

    def _reply(self, ack: bytes, address: Address) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(ack, address)
        except OSError as error:
            self._complain(Ignored.ACK_NOT_SENT, "acknowledging to %s: %s", show_address(address), error)

    def _take_push(self, push: PushData, address: Address) -> None:
        heard = self._stamp()
        now_us = heard.monotonic_us
        forwarder, news = self._forwarders.push(push.eui, push.version, address, now_us)
        if news is not None:
            self._announce(forwarder, news, now_us)
        content = read_push(push.json, forwarder.receiver, heard)
        for frame in content.frames:
            if not self._frames.put(frame):
                self._dropped += 1
                self._overflow(now_us)
        if content.frames:
            count = len(content.frames)
            self._heard += count
            forwarder.frames += count
            forwarder.last_frame_us = now_us
            if forwarder.heard(content.frames[-1], now_us):
                self._transmitters.schedule(forwarder.receiver).clear()
            self._recover()
        if content.stat is not None:
            forwarder.stat = content.stat
        for fault in content.faults:
            forwarder.refused += 1
            said = "packet forwarder %s sends what cannot be used: %s %s"
            self._complain(fault.reason, said, forwarder.receiver, fault.reason, fault.where)

    def _overflow(self, now_us: int) -> None:
        if not self._overflowing:
            self._overflowing = True
            level = self._loudness.of("overflow", logging.WARNING, now_us)
            log.log(level, "%d frames wait, no room for more: new ones are dropped", len(self._frames))

    def _recover(self) -> None:
        """Announce the end of an overflow once half of the queue is read, not at every free place."""
        if self._overflowing and len(self._frames) * 2 < self._frames.most:
            self._overflowing = False
            log.info("frames are taken again; %d were dropped since the start", self._dropped)

    def _announce(self, forwarder: Forwarder, news: News, now_us: int) -> None:
        level = logging.WARNING if news is News.MOVED else logging.INFO
        log.log(
            self._loudness.of((news, forwarder.eui), level, now_us),
            "packet forwarder %s (version %d, from %s) %s%s",
            forwarder.receiver,
            forwarder.version,
            " / ".join(show_address(a) for a in (forwarder.pull_address, forwarder.push_address) if a is not None),
            news.value,
            "" if forwarder.moved_from is None else f", before from {show_address(forwarder.moved_from)}",
        )

    def _complain(self, reason: Ignored | StrEnum, text: str, *details: object) -> None:
        self._refused[reason.value] += 1
        log.log(self._loudness.of(reason, logging.WARNING, self._stamp().monotonic_us), text, *details)

    # --- down ---

    def submit(self, request: DownlinkRequest) -> TxReport:
        """Send it to the forwarder that `request.receiver` names, if that one keeps a way down open and the law allows.

        A counter value can be judged once the forwarder has sent a frame: what it stands for is known from that.
        """
        now = self._stamp()
        forwarder = self._forwarders.find(request.receiver)
        address = None if forwarder is None else forwarder.downlink_address(now.monotonic_us)
        if self._socket is None or forwarder is None or address is None:
            since = SILENT_AFTER_US // 1_000_000
            detail = f"packet forwarder {request.receiver} has not sent a PULL_DATA for {since} s"
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, detail)
        self._free_tokens(now.monotonic_us)
        if len(self._downlinks) + len(self._outcomes) >= self._most_downlinks:
            return TxReport(request.ref, TxResult.COLLISION_PACKET, f"{self._most_downlinks} downlinks are under way")
        planned = self._plan(request, forwarder, now)
        if isinstance(planned, TxReport):
            return planned
        return self._send(planned, forwarder, address, now.monotonic_us)

    def _plan(self, request: DownlinkRequest, forwarder: Forwarder, now: Stamp) -> Planned | TxReport:
        count_us = forwarder.counter.at(now.monotonic_us)
        if count_us is None:
            if isinstance(request.timing, AtCounter):
                detail = f"the counter of packet forwarder {forwarder.receiver} is not known: it has sent no frame yet"
                return TxReport(request.ref, TxResult.UNKNOWN, detail)
            count_us = now.monotonic_us  # any count will do until the first frame
        self._transmitters.schedule(forwarder.receiver).over(count_us)
        return self._transmitters.plan(request, count_us, now, forwarder.gps)

    def _send(self, planned: Planned, forwarder: Forwarder, address: Address, now_us: int) -> TxReport:
        assert self._socket is not None
        token = secrets.token_bytes(2)
        while token in self._downlinks:
            token = secrets.token_bytes(2)
        request = planned.request
        try:
            txpk = write_txpk(self._transmitters.conducted(request))
            self._socket.sendto(PullResp(forwarder.version, token, txpk).encode(), address)
        except (ValueError, OSError) as error:
            self._transmitters.not_sent(planned)
            if isinstance(error, ValueError):
                return TxReport(request.ref, TxResult.UNKNOWN, str(error))
            detail = f"sending to {show_address(address)}: {error.strerror}"
            return TxReport(request.ref, TxResult.RADIO_UNREACHABLE, detail)
        self._transmitters.schedule(forwarder.receiver).hand_over(planned)
        timer = asyncio.get_running_loop().call_later(self._tx_ack_timeout_s, self._unanswered, token)
        self._downlinks[token] = _Downlink(planned, forwarder.eui, now_us, timer)
        return TxReport(request.ref, TxResult.ACCEPTED)

    def _take_tx_ack(self, tx_ack: TxAck) -> None:
        downlink = self._downlinks.get(tx_ack.token)
        if downlink is None:
            self._complain(Ignored.TX_ACK_UNKNOWN, "TX_ACK from %s for no downlink of ours", tx_ack.eui)
            return
        if downlink.eui != tx_ack.eui:
            self._complain(Ignored.TX_ACK_FOREIGN, "TX_ACK from %s for a downlink of %s", tx_ack.eui, downlink.eui)
            return
        answer = read_tx_ack(tx_ack.json)
        if isinstance(answer, TxAnswer):
            # Also when it is late: who asked has his outcome, but the law sees what really happened.
            settle = self._transmitters.sent if answer.result is TxResult.SENT else self._transmitters.not_sent
            settle(downlink.planned)
        if downlink.timer is None:
            self._complain(Ignored.TX_ACK_LATE, "TX_ACK from %s after the outcome was known", tx_ack.eui)
        elif isinstance(answer, Fault):
            self._complain(answer.reason, "TX_ACK from %s cannot be read: %s", tx_ack.eui, answer.reason)
            self._settle(downlink, TxResult.UNKNOWN, "unreadable TX_ACK")
        else:
            self._settle(downlink, answer.result, answer.detail)

    def _unanswered(self, token: bytes) -> None:
        self._settle(self._downlinks[token], TxResult.UNKNOWN, "no TX_ACK")

    def _settle(self, downlink: _Downlink, result: TxResult, detail: str) -> None:
        """Report the outcome; the token stays taken for the rest of its life, so that a late TX_ACK meets no other."""
        if downlink.timer is not None:
            downlink.timer.cancel()
            downlink.timer = None
            self._outcomes.put(TxReport(downlink.planned.request.ref, result, detail))

    def _free_tokens(self, now_us: int) -> None:
        while self._downlinks:
            token, oldest = next(iter(self._downlinks.items()))
            if oldest.timer is not None or now_us - oldest.sent_us < TOKEN_LIFE_US:
                return
            del self._downlinks[token]

    # --- health ---

    def health(self) -> RadioHealth:
        """The state now; `evidence` says who calls, and what to check if nobody does."""
        now = self._stamp()
        now_us = now.monotonic_us
        self._lost_in_kernel()
        state, evidence = self._forwarders.verdict(now_us, self._listen)
        if self._socket is None:
            state, evidence = "failed", f"Not listening on {self._listen}."
        elif state == "waiting" and (strangers := self._refused.total()):
            came = "datagram came that is" if strangers == 1 else "datagrams came that are"
            evidence += f" {strangers} {came} none of a packet forwarder's."
        elif lost := self._refused[Ignored.LOST_IN_KERNEL]:
            evidence += f" The kernel had no room for {lost} datagrams: raise net.core.rmem_max."
        return RadioHealth(
            type="packet-forwarder",
            state=state,
            evidence=evidence,
            heard=self._heard,
            dropped=self._dropped,
            refused=+self._refused,
            receivers=tuple(forwarder.facts(now_us) for forwarder in self._forwarders),
            airtime=self._transmitters.airtime(now),
            denied=dict(self._transmitters.denied),
        )

    def _lost_in_kernel(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # an older kernel does not tell
                told = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
                self._refused[Ignored.LOST_IN_KERNEL] = struct.unpack_from("=9I", told.ljust(36, b"\0"))[8]


async def _bound(listen: str) -> socket.socket:
    """A non-blocking UDP socket on this address; RadioError with the next step when there is none."""
    host, port = _host_and_port(listen)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        raise RadioError(
            f"radio.listen = {listen!r}: there is no address for {host!r}",
            hint="Write 127.0.0.1:1700 for forwarders on this machine, 0.0.0.0:1700 for others too.",
        ) from error
    # A name may have both: the reference forwarder insists on IPv4.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    try:
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_bind(listen, port, error) from error
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] means everybody
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _cannot_bind(listen, port, error) from error
    return bound


def _host_and_port(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise RadioError(
            f"radio.listen = {listen!r} is no address and port",
            hint="Write host:port, for example 127.0.0.1:1700, localhost:1700 or [::1]:1700.",
        )
    return host, int(port)


def _cannot_bind(listen: str, port: int, error: OSError) -> RadioError:
    match error.errno:
        case errno.EADDRINUSE:
            problem = f"{listen} is taken: another program listens there for packet forwarders"
            hint = f"See which one with: ss -ulpn sport = :{port} - stop it, or choose another port for radio.listen."
        case errno.EACCES | errno.EPERM:
            problem = f"This user may not listen on {listen}"
            hint = "Ports below 1024 belong to root: choose another one for radio.listen (1700 is usual)."
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            problem = f"{listen} is no address of this machine"
            hint = "See which ones it has with: ip address - or listen on 127.0.0.1 or 0.0.0.0."
        case _:
            problem = f"Cannot listen on {listen}: {error.strerror}"
            hint = "Try radio.listen = 127.0.0.1:1700."
    return RadioError(problem, hint=hint)
