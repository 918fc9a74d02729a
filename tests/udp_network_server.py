"""A strict server of Semtech's UDP protocol, written from its description (PROTOCOL.md 1.6), with a real socket.

It shares no line with what it judges: bytes are taken apart here, and the JSON with the standard library.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from typing import Any, Self

WAIT_S = 60  # nothing here takes so long; what does is broken

RX1_US = 1_000_000


class UdpNetworkServer:
    """Acknowledges what it gets, as long as it is told to; `pushed`, `pulled`, `tx_acks` are what came."""

    def __init__(self, port: int = 0, *, acknowledges: bool = True) -> None:
        self.acknowledges = acknowledges
        self.pushed: list[dict[str, Any]] = []
        self.pulled: list[bytes] = []  # the EUI of each
        self.tx_acks: list[tuple[bytes, bytes]] = []  # token, JSON
        self.sources: set[Any] = set()
        self._down: Any = None
        self._wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._wire.setblocking(False)
        self._wire.bind(("127.0.0.1", port))
        self.port: int = self._wire.getsockname()[1]

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._wire, self._readable)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._wire)
        self._wire.close()

    def _readable(self) -> None:
        datagram, source = self._wire.recvfrom(65_536)
        assert len(datagram) >= 12, "every datagram of a gateway has its EUI"
        assert datagram[0] == 2
        token, kind, eui, body = datagram[1:3], datagram[3], datagram[4:12], datagram[12:]
        self.sources.add(source)
        match kind:
            case 0:
                self.pushed.append(json.loads(body))
                self._acknowledge(b"\x02" + token + b"\x01", source)
            case 2:
                assert len(datagram) == 12
                self.pulled.append(eui)
                self._down = source
                self._acknowledge(b"\x02" + token + b"\x04", source)
            case 5:
                self.tx_acks.append((token, body))
            case _:
                raise AssertionError(f"a gateway does not send kind {kind}")

    def _acknowledge(self, ack: bytes, source: Any) -> None:
        if self.acknowledges:
            self._wire.sendto(ack, source)

    @property
    def rxpks(self) -> list[dict[str, Any]]:
        return [rxpk for body in self.pushed for rxpk in body.get("rxpk", [])]

    @property
    def stats(self) -> list[dict[str, Any]]:
        return [body["stat"] for body in self.pushed if "stat" in body]

    def send(self, datagram: bytes) -> None:
        assert self._down is not None, "no PULL_DATA has come yet"
        self._wire.sendto(datagram, self._down)

    def pull_resp(self, txpk: Any, token: bytes = b"\xd2\x04") -> None:
        body = txpk if isinstance(txpk, bytes) else json.dumps({"txpk": txpk}).encode()
        self.send(b"\x02" + token + b"\x03" + body)

    async def until(self, holds: Any) -> None:
        await until(holds)


def txpk(**changes: Any) -> dict[str, Any]:
    """The worked example of the protocol's description, with changes; None leaves a key out."""
    phy = bytes.fromhex("60040302018003000a")
    packet = {
        "imme": False, "tmst": 3_513_348_611, "freq": 868.1, "rfch": 0, "powe": 14, "modu": "LORA", "datr": "SF7BW125",
        "codr": "4/5", "ipol": True, "ncrc": True, "size": len(phy), "data": base64.b64encode(phy).decode(), **changes,
    }  # fmt: skip
    return {key: value for key, value in packet.items() if value is not None}


async def until(holds: Any, within_s: float = WAIT_S) -> None:
    """Let the loop work until something is so."""
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.002)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
