"""The bench's own network server: the gateway forwards everything it hears, and sends what it is told.

It speaks Semtech's UDP protocol (PROTOCOL.TXT of Lora-net/packet_forwarder, version 2), written from its description,
and shares no line with what it judges. A thread of its own answers, so that a test may wait for a modem meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hil_tests.parts import BenchTrouble, Channel

if TYPE_CHECKING:
    from collections.abc import Callable

PUSH_DATA, PUSH_ACK, PULL_DATA, PULL_RESP, PULL_ACK, TX_ACK = range(6)
TURN_US = 1 << 32


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as the gateway reports it."""

    phy: bytes
    counter_us: int  # the concentrator's, at the end of the frame
    frequency_hz: int
    spreading_factor: int
    bandwidth_hz: int
    rssi_dbm: float
    snr_db: float
    channel: int
    whole: bool
    at_s: float  # `time.monotonic` when it came here


@dataclass(frozen=True, slots=True)
class Order:
    """A downlink to be sent."""

    phy: bytes
    channel: Channel
    counter_us: int | None  # None: at once
    power_dbm: float = 14.0


class Judge:
    """A server on one UDP port, until it is closed."""

    def __init__(self, listen: str = "127.0.0.1:0") -> None:
        """BenchTrouble when the port is taken."""
        host, _, port = listen.rpartition(":")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, int(port)))
        except OSError as error:
            self._socket.close()
            raise BenchTrouble(
                f"judge.listen {listen} cannot be used: {error.strerror}", hint="Name another port"
            ) from error
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self._changed = threading.Condition()
        self._frames: list[Frame] = []
        self._acks: dict[int, str | None] = {}
        self._gateway: Any = None
        self._token = 0
        self._ending = False
        self._thread = threading.Thread(target=self._serve, name="judge", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join(5)
        self._socket.close()

    # --- what a test asks ---------------------------------------------------------------------------------------------

    @property
    def frames(self) -> list[Frame]:
        """All that came, in that order."""
        with self._changed:
            return list(self._frames)

    def heard(self, phy: bytes, within_s: float) -> Frame | None:
        """The first report of these bytes; None when there is none in time."""
        found: list[Frame] = []

        def is_there() -> bool:
            found[:] = [frame for frame in self._frames if frame.phy == phy and frame.whole][:1]
            return bool(found)

        with self._changed:
            self._changed.wait_for(is_there, within_s)
        return found[0] if found else None

    def next(self, wanted: Callable[[Frame], bool], since: int, within_s: float) -> Frame | None:
        """The first frame of this kind beyond the first `since`; None when there is none in time."""
        found: list[Frame] = []

        def is_there() -> bool:
            found[:] = [frame for frame in self._frames[since:] if wanted(frame)][:1]
            return bool(found)

        with self._changed:
            self._changed.wait_for(is_there, within_s)
        return found[0] if found else None

    def is_connected(self, within_s: float) -> bool:
        """Whether the gateway has asked for downlinks since `forget`."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._gateway is not None, within_s))

    def forget(self) -> None:
        """Wait for the gateway anew: it was stopped."""
        with self._changed:
            self._gateway = None

    def send(self, order: Order) -> int:
        """Have it sent; the number to ask `answer` with."""
        with self._changed:
            if self._gateway is None:
                raise BenchTrouble("the gateway has not asked for downlinks", hint="See judge.address in bench.toml")
            self._token = (self._token + 1) % 0x1_0000
            token, gateway = self._token, self._gateway
            self._acks.pop(token, None)
        body = json.dumps({"txpk": _txpk(order)}).encode()
        self._socket.sendto(b"\x02" + token.to_bytes(2, "big") + bytes((PULL_RESP,)) + body, gateway)
        return token

    def answer(self, token: int, within_s: float) -> str | None:
        """What became of it: None was sent, else the error word; BenchTrouble when no answer came."""
        with self._changed:
            if not self._changed.wait_for(lambda: token in self._acks, within_s):
                raise BenchTrouble(f"the gateway has not said within {within_s:g} s what became of a downlink")
            return self._acks[token]

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._ending:
            try:
                datagram, source = self._socket.recvfrom(65_536)
            except TimeoutError:
                continue
            except OSError:
                return
            self._take(datagram, source, time.monotonic())

    def _take(self, datagram: bytes, source: Any, at_s: float) -> None:
        if len(datagram) < 12 or datagram[0] != 2:
            return
        token, kind, body = datagram[1:3], datagram[3], datagram[12:]
        if kind == PUSH_DATA:
            self._socket.sendto(b"\x02" + token + bytes((PUSH_ACK,)), source)
            frames = read_frames(body, at_s)
            with self._changed:
                self._frames += frames
                self._changed.notify_all()
        elif kind == PULL_DATA:
            self._socket.sendto(b"\x02" + token + bytes((PULL_ACK,)), source)
            with self._changed:
                self._gateway = source
                self._changed.notify_all()
        elif kind == TX_ACK:
            with self._changed:
                self._acks[int.from_bytes(token, "big")] = read_error(body)
                self._changed.notify_all()


def read_frames(body: bytes, at_s: float) -> list[Frame]:
    """The LoRa frames of a PUSH_DATA; what cannot be read is left out."""
    packets = _json(body).get("rxpk")
    found = [_frame(packet, at_s) for packet in packets] if isinstance(packets, list) else []
    return [frame for frame in found if frame is not None]


def read_error(body: bytes) -> str | None:
    """The error word of a TX_ACK; None when there is none."""
    ack = _json(body).get("txpk_ack")
    error = ack.get("error") if isinstance(ack, dict) else None
    return None if error is None or error == "NONE" else str(error)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _frame(packet: Any, at_s: float) -> Frame | None:
    try:
        rate = re.fullmatch(r"SF(\d{1,2})BW(\d{3})", packet["datr"], re.ASCII)
        if rate is None:
            return None
        return Frame(
            phy=base64.b64decode(packet["data"], validate=True),
            counter_us=int(packet["tmst"]) % TURN_US,
            frequency_hz=round(packet["freq"] * 1e6),
            spreading_factor=int(rate[1]),
            bandwidth_hz=int(rate[2]) * 1000,
            rssi_dbm=float(packet["rssi"]),
            snr_db=float(packet["lsnr"]),
            channel=int(packet["chan"]),
            whole=packet.get("stat", 1) == 1,
            at_s=at_s,
        )
    except (TypeError, KeyError, ValueError, OverflowError, binascii.Error):
        return None


def _txpk(order: Order) -> dict[str, Any]:
    channel = order.channel
    when: dict[str, Any] = {"imme": True} if order.counter_us is None else {"tmst": order.counter_us % TURN_US}
    return {
        **when,
        "freq": channel.frequency_hz / 1e6,
        "rfch": 0,
        "powe": order.power_dbm,
        "modu": "LORA",
        "datr": f"SF{channel.spreading_factor}BW{channel.bandwidth_hz // 1000}",
        "codr": "4/5",
        "ipol": True,
        "ncrc": True,
        "size": len(order.phy),
        "data": base64.b64encode(order.phy).decode(),
    }
