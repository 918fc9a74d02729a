"""MQTT 3.1.1 on a bare socket, as little of it as can be: what the broker itself can do, and when a message arrives."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECT, _PUBLISH_QOS_1, _SUBSCRIBE = 0x10, 0x32, 0x82  # MQTT 3.1.1, 2.2.1 and 2.2.2
_PUBLISH = 0x30
_PUBACK_BYTES = 4


def _packet(kind: int, body: bytes) -> bytes:
    size, left = bytearray(), len(body)
    while True:
        left, digit = divmod(left, 128)
        size.append(digit | (0x80 if left else 0))
        if not left:
            return bytes((kind, *size)) + body


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _connected(port: int, client_id: str) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), 10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(_packet(_CONNECT, _text("MQTT") + b"\x04\x02\x00\x00" + _text(client_id)))
    if line.recv(4) != b"\x20\x02\x00\x00":
        raise SystemExit("mosquitto refuses the bare client")
    return line


def published_per_s(port: int, payload: bytes, in_flight: int, for_s: float = 1.0) -> float:
    """Messages a second that the broker acknowledges at QoS 1 with this window: nobody here can be faster."""
    topic = _text("bench/bare/up")
    with _connected(port, "bench-limit") as line:
        window = b"".join(
            _packet(_PUBLISH_QOS_1, topic + number.to_bytes(2, "big") + payload) for number in range(1, in_flight + 1)
        )
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < for_s:
            line.sendall(window)
            expected = in_flight * _PUBACK_BYTES
            while expected:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                expected -= len(line.recv(expected))
            count += in_flight
        return count / (time.perf_counter() - began)


class Listener:
    """Subscribed to a few topics; notes when each message came."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.arrived: list[tuple[float, bytes]] = []  # time.perf_counter() and payload

    def listen(self) -> None:
        """Until the line is closed."""
        heard = b""
        with contextlib.suppress(OSError):
            while more := self._line.recv(1 << 16):
                now = time.perf_counter()
                heard += more
                while (whole := _first(heard)) is not None:
                    kind, body, heard = whole
                    if kind & 0xF0 == _PUBLISH:
                        self.arrived.append((now, body[2 + int.from_bytes(body[:2], "big") :]))


def _first(heard: bytes) -> tuple[int, bytes, bytes] | None:
    """The first packet of what was heard, and the rest; None when it is not complete."""
    size, shift = 0, 0
    for index, digit in enumerate(heard[1:5], 2):
        size |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return (
                (heard[0], heard[index : index + size], heard[index + size :]) if len(heard) >= index + size else None
            )
    return None


@contextlib.contextmanager
def listening(port: int, topics: list[str]) -> Iterator[Listener]:
    """A listener on these topics at QoS 0, in a thread of its own."""
    line = _connected(port, "bench-listener")
    line.settimeout(None)
    body = b"\x00\x01" + b"".join(_text(topic) + b"\x00" for topic in topics)
    line.sendall(_packet(_SUBSCRIBE, body))
    listener = Listener(line)
    thread = threading.Thread(target=listener.listen, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        line.close()
