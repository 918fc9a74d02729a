"""A packet forwarder on the desk: two real sockets, as the reference one has, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
import select
import socket
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from gateway.model import (
    AtCounter,
    DownlinkRequest,
    GatewayEui,
    Immediately,
    Lora,
    Stamp,
    TimeQuality,
)
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868
from gateway.wire.semtech_udp import Datagram, PullData, PullResp, PushData, TxAck, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

WAIT_S = 60  # nothing here takes so long; what does is broken

RXPK = {
    "tmst": 3512348611,
    "chan": 2,
    "rfch": 1,
    "freq": 868.1,
    "stat": 1,
    "modu": "LORA",
    "datr": "SF7BW125",
    "codr": "4/5",
    "rssi": -87,
    "lsnr": 9.5,
    "size": 15,
    "data": "QAQDAgGAAQAKobLD1OX2",
}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def __call__(self) -> Stamp:
        return Stamp(1_795_428_000_000_000 + self.now_us, TimeQuality.NTP, 20, "boot", self.now_us)

    def move(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


class DeskForwarder:
    """Sends what it is told, hears what comes back."""

    def __init__(self, server: str, eui: int = 0x0016C001F1500812, version: int = 2) -> None:
        host, _, port = server.rpartition(":")
        self.server = (host.strip("[]"), int(port))
        self.eui = GatewayEui(eui.to_bytes(8, "big"))
        self.version = version
        family = socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET
        self.up, self.down = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
        self._count = 0

    def __enter__(self) -> Self:
        for end in (self.up, self.down):
            end.setblocking(False)
            end.bind(("::1" if end.family == socket.AF_INET6 else "127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self.up.close()
        self.down.close()

    def _token(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(2, "big")

    def send(self, datagram: bytes, end: socket.socket | None = None) -> None:
        """On loopback a datagram is in the other socket, or dropped, when this returns."""
        (end or self.up).sendto(datagram, self.server)

    async def hear(self, end: socket.socket) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return await asyncio.get_running_loop().sock_recv(end, 65_536)

    async def push(self, content: object) -> None:
        """Send JSON up and insist on the acknowledgement."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        message = PushData(self.version, self._token(), self.eui, body)
        self.send(message.encode())
        assert await self.hear(self.up) == message.ack().encode()

    async def push_frames(self, packets: Iterable[dict[str, Any]]) -> None:
        await self.push({"rxpk": list(packets)})

    async def pull(self) -> None:
        """Open the way down and insist on the acknowledgement."""
        message = PullData(self.version, self._token(), self.eui)
        self.send(message.encode(), self.down)
        assert await self.hear(self.down) == message.ack().encode()

    async def downlink(self) -> PullResp:
        """The next PULL_RESP."""
        message = parse(await self.hear(self.down))
        assert isinstance(message, PullResp)
        return message

    def answer(self, downlink: PullResp, json_: bytes = b"", eui: GatewayEui | None = None) -> None:
        self.send(TxAck(self.version, downlink.token, eui or self.eui, json_).encode(), self.down)

    def has_heard(self, end: socket.socket) -> bool:
        """Whether something is waiting right now."""
        return bool(select.select([end], [], [], 0)[0])

    def drain(self, end: socket.socket) -> list[Datagram]:
        """All that is waiting right now."""
        heard = []
        with suppress(BlockingIOError):
            while True:
                heard.append(parse(end.recv(65_536)))
        return heard


def lawful() -> Transmitters:
    return Transmitters(EU868)


def request(
    receiver: GatewayEui | str, ref: str = "r", timing: AtCounter | Immediately | None = None, **changes: Any
) -> DownlinkRequest:
    wanted = DownlinkRequest(
        ref=ref,
        phy=bytes.fromhex("60040302018000000a"),
        receiver=str(receiver),
        timing=timing or Immediately(),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000),
        power_dbm_eirp=14,
    )
    return replace(wanted, **changes)


async def until(holds: Any) -> None:
    """Let the loop work until something is so."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.001)
