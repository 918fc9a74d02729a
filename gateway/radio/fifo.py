"""What an SX1302 leaves in its receive buffer: packets behind each other, each with metadata and a checksum.

Semtech's library gives up at the first packet that it does not like: a wrong checksum costs every packet of that fetch,
and a spreading factor out of range is met again at each call until the chip is started anew. So the bytes are sieved
before they are parsed: what is whole stays, what is not costs itself only.

Source: sx1302_hal 2.1.0, `loragw_sx1302_rx.c` (layout, ranges) and `loragw_sx1302.c` (`sx1302_lora_payload_crc`).
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE: Final = 4096
"""Bytes the buffer holds."""

SYNC: Final = b"\xa5\xc0"
HEAD_BYTES: Final = 9  # sync, length, channel, CRC and rate, modem, frequency error
TAIL_BYTES: Final = 14  # status, SNR, RSSI, timestamp, CRC, number of metrics, checksum

LAST_CHANNEL: Final = 9
LAST_LORA_MODEM: Final = 16
FSK_MODEM: Final = 17
SPREADING_FACTORS: Final = range(5, 13)
MOST_METRICS: Final = 127  # pairs; the library keeps 255 of these bytes and does not look


@dataclass(frozen=True, slots=True)
class Sieved:
    """What can be parsed, and what could not."""

    packets: bytes
    count: int
    faults: Mapping[str, int] = field(default_factory=dict)
    """How many by reason: "checksum", "truncated", "poison_packet", "payload_crc", and "noise" for each gap between
    packets."""


def sieve(data: bytes) -> Sieved:
    """The whole packets of a fetch, behind each other as they were."""
    whole: list[bytes] = []
    faults: dict[str, int] = {}
    at = 0
    while at < len(data):
        end, fault = _packet(data, at)
        if fault is None:
            whole.append(data[at:end])
            at = end
            continue
        faults[fault] = faults.get(fault, 0) + 1
        at = end if fault in {"poison_packet", "payload_crc"} else _next_sync(data, at + 1)
    return Sieved(b"".join(whole), len(whole), faults)


def payload_crc(payload: bytes) -> int:
    """The checksum that a LoRa modem makes of a payload: CRC-16/XMODEM of all but the last two bytes, and these."""
    return crc_hqx(payload[:-2], 0) ^ int.from_bytes(payload[-2:], "big")


def _packet(data: bytes, at: int) -> tuple[int, str | None]:
    """Where the packet at `at` ends, and what is wrong with it."""
    if data[at : at + 2] != SYNC[: len(data) - at]:
        return at, "noise"
    if at + HEAD_BYTES + TAIL_BYTES > len(data):
        return at, "truncated"
    size = data[at + 2]
    metrics = at + size + 21
    if metrics >= len(data):
        return at, "truncated"
    end = at + HEAD_BYTES + size + TAIL_BYTES + 2 * data[metrics]
    if end > len(data):
        return at, "truncated"
    if sum(data[at : end - 1]) & 0xFF != data[end - 1]:
        return at, "checksum"
    return end, _content_fault(data[at:end], size)


def _content_fault(packet: bytes, size: int) -> str | None:
    """What is wrong in a packet whose checksum is right."""
    channel, rate, modem, status = packet[3], packet[4], packet[5], packet[HEAD_BYTES + size]
    if modem > FSK_MODEM or channel > LAST_CHANNEL or packet[size + 21] > MOST_METRICS:
        return "poison_packet"
    if modem > LAST_LORA_MODEM:
        return None
    if rate >> 4 not in SPREADING_FACTORS:
        return "poison_packet"
    checked, damaged = rate & 1, status & 1
    if checked and not damaged and size:
        told = int.from_bytes(packet[size + 19 : size + 21], "little")
        if payload_crc(packet[HEAD_BYTES : HEAD_BYTES + size]) != told:
            return "payload_crc"
    return None


def _next_sync(data: bytes, at: int) -> int:
    found = data.find(SYNC, at)
    return len(data) if found < 0 else found
