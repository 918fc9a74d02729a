"""The Corecell USB bridge: a microcontroller that carries SPI frames, sets pins and knows the temperature.

Requests are `[id][length, 2 bytes][order]` and a payload, answers the same with `order | 0x40`; numbers are big-endian.
Source: Semtech's sx1302_hal 2.1.0, `loragw_mcu.h` and `loragw_usb.c`, the other end of this line. How the bridge's own
firmware treats nonsense is not published: here, an order nobody knows is answered with the error order that header
names, and a length no request can have is stepped over byte by byte until something makes sense.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

MOST_PAYLOAD = 4_200
"""Bytes in the largest request: a burst of 4096 with what is around it."""

VERSION = b"V01.00.00"
"""The firmware that sx1302_hal 2.1.0 expects; the first character says release or debug."""

_HEADER = struct.Struct(">BHB")
_ANSWER = 0x40
_NOT_UNDERSTOOD = 0xFF


class Order(IntEnum):
    """What the bridge is asked for."""

    PING = 0x00
    STATUS = 0x01
    BOOTLOADER = 0x02
    RESET = 0x03
    WRITE_GPIO = 0x04
    SPI = 0x05


class SpiTarget(IntEnum):
    """Whose chip select goes down."""

    SX1302 = 0  # and its two radios, by the first byte of the frame
    SX1261 = 1


class SpiStatus(IntEnum):
    """How an SPI request went."""

    OK = 0
    FAIL = 1
    WRONG_PARAMETER = 2
    TIMEOUT = 3


READ_WRITE, READ_MODIFY_WRITE = 1, 2
"""Types of SPI requests: a raw frame; one byte of the SX1302 changed under a mask."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    number: int  # chosen by the host, repeated in the answer
    order: int
    payload: bytes


class RequestReader:
    """Bytes in, whole requests out, however the bytes are cut."""

    def __init__(self) -> None:
        self.skipped = 0  # bytes that were part of no request
        self._waiting = bytearray()

    @property
    def within_request(self) -> bool:
        """Whether the rest of a request is still to come."""
        return bool(self._waiting)

    def discard(self) -> None:
        """Forget the beginning of a request whose rest never came."""
        self.skipped += len(self._waiting)
        self._waiting.clear()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that these bytes complete, in order."""
        waiting = self._waiting
        waiting += data
        requests, at = [], 0
        while len(waiting) - at >= _HEADER.size:
            number, length, order = _HEADER.unpack_from(waiting, at)
            if length > MOST_PAYLOAD:
                at += 1
                self.skipped += 1
                continue
            end = at + _HEADER.size + length
            if end > len(waiting):
                break
            requests.append(Request(number, order, bytes(waiting[at + _HEADER.size : end])))
            at = end
        del waiting[:at]
        return requests


def request_bytes(request: Request) -> bytes:
    """The request as a host writes it."""
    return _HEADER.pack(request.number, len(request.payload), request.order) + request.payload


class Wiring(Protocol):
    """What the bridge's pins lead to."""

    def exchange(self, target: int, frame: bytes, now_us: int) -> bytes | None:
        """An SPI frame: as many bytes come back as go out; None when nothing is connected there."""
        ...

    def modify(self, address: int, mask: int, value: int, now_us: int) -> tuple[int, int]:
        """Change the bits of `mask` in one byte of the SX1302: what was read, and what was written."""
        ...

    def set_pin(self, port: int, pin: int, *, high: bool, now_us: int) -> None:
        """Drive an output of the bridge."""
        ...

    def temperature_c(self) -> float:
        """What the sensor on the board shows."""
        ...


class Bridge:
    """The bridge itself. It runs since `powered_us`."""

    def __init__(self, wiring: Wiring, *, serial: bytes, powered_us: int = 0) -> None:
        self.reader = RequestReader()
        self.answered = 0
        self._wiring = wiring
        self._serial = serial.rjust(12, b"\0")[:12]
        self._powered_us = powered_us

    def feed(self, data: bytes, now_us: int) -> list[bytes]:
        """The answers to the requests that these bytes complete; each is to be written in one piece."""
        answers = [self._answer(request, now_us) for request in self.reader.feed(data)]
        self.answered += len(answers)
        return answers

    def _answer(self, request: Request, now_us: int) -> bytes:
        payload = self._carry_out(request, now_us)
        if payload is None:
            return _HEADER.pack(request.number, 0, _NOT_UNDERSTOOD)
        return _HEADER.pack(request.number, len(payload), request.order | _ANSWER) + payload

    def _carry_out(self, request: Request, now_us: int) -> bytes | None:
        match request.order:
            case Order.PING:
                return self._serial + VERSION
            case Order.STATUS:
                uptime_ms = (now_us - self._powered_us) // 1_000 % (1 << 32)
                return struct.pack(">Ih", uptime_ms, round(self._wiring.temperature_c() * 100))
            case Order.BOOTLOADER:
                return b""  # the real one would go; whoever flashes a simulated bridge keeps this one
            case Order.RESET:
                return bytes([0])
            case Order.WRITE_GPIO if len(request.payload) == 3:
                port, pin, state = request.payload
                self._wiring.set_pin(port, pin, high=bool(state), now_us=now_us)
                return bytes([0])
            case Order.SPI:
                return self._transfer(request.payload, now_us)
            case _:
                return None

    def _transfer(self, payload: bytes, now_us: int) -> bytes:
        """Each SPI request of a list; what is no request ends it with a status that says so."""
        answers = bytearray()
        at = 0
        while at < len(payload):
            number, kind = payload[at], payload[at + 1] if at + 1 < len(payload) else None
            if kind == READ_WRITE and at + 5 <= len(payload):
                target, length = payload[at + 2], int.from_bytes(payload[at + 3 : at + 5], "big")
                frame = payload[at + 5 : at + 5 + length]
                if len(frame) == length:
                    answers += self._raw(number, target, frame, now_us)
                    at += 5 + length
                    continue
            elif kind == READ_MODIFY_WRITE and at + 6 <= len(payload):
                address = int.from_bytes(payload[at + 2 : at + 4], "big")
                old, new = self._wiring.modify(address, payload[at + 4], payload[at + 5], now_us)
                answers += bytes([number, kind, SpiStatus.OK, old, new])
                at += 6
                continue
            return bytes(answers + bytes([number, READ_WRITE, SpiStatus.WRONG_PARAMETER, 0, 0]))
        return bytes(answers)

    def _raw(self, number: int, target: int, frame: bytes, now_us: int) -> bytes:
        came = self._wiring.exchange(target, frame, now_us)
        status = SpiStatus.OK if came is not None else SpiStatus.WRONG_PARAMETER
        came = came or b""
        return bytes([number, READ_WRITE, status, *len(came).to_bytes(2, "big")]) + came
