"""Packets as the SX1302 writes them into its receive buffer, and that buffer.

Source of the layout: Semtech's sx1302_hal 2.1.0, `loragw_sx1302_rx.c`, the reader of these bytes.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from dataclasses import dataclass

CAPACITY = 4_096
SYNC = b"\xa5\xc0"
CODING_RATES = {"4/5": 1, "4/6": 2, "4/7": 3, "4/8": 4}
SERVICE_MODEM = 16

FREQUENCY_STEP_HZ = {125_000: 0.11920929, 250_000: 0.238418579, 500_000: 0.476837158}
"""What one unit of the frequency error stands for, by bandwidth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """What a demodulator leaves in the buffer."""

    payload: bytes
    channel: int  # 0 to 7, 8 is the service channel
    spreading_factor: int
    modem: int  # 0 to 15, 16 is the service modem
    timestamp: int  # 32 MHz
    coding_rate: int = 1
    crc_present: bool = True
    crc_wrong: bool = False
    crc: int | None = None  # as received; None: the right one, or zero without
    frequency_error: int = 0  # 20 bits, signed
    snr_quarters_db: int = 0
    channel_rssi: int = 0
    signal_rssi: int = 0
    best_timed: bool = False  # from the demodulator that looks at time first
    metrics: bytes = b""  # of the timestamp, an even number


def encode(packet: Packet) -> bytes:
    """Its bytes in the buffer, with the checksum over them."""
    crc = packet.crc
    if crc is None:
        crc = payload_crc(packet.payload) if packet.crc_present else 0
    written = bytearray(SYNC)
    written += bytes(
        (
            len(packet.payload),
            packet.channel,
            packet.spreading_factor << 4 | packet.coding_rate << 1 | packet.crc_present,
            packet.modem,
        )
    )
    written += (packet.frequency_error & 0xFFFFF).to_bytes(3, "little")
    written += packet.payload
    written += bytes(
        (
            packet.crc_wrong | packet.best_timed << 4,
            packet.snr_quarters_db & 0xFF,
            packet.channel_rssi,
            packet.signal_rssi,
            0,  # how far the RSSI strayed from its average, both ways
            0,
        )
    )
    written += (packet.timestamp % (1 << 32)).to_bytes(4, "little")
    written += crc.to_bytes(2, "little")
    written.append(len(packet.metrics) // 2)
    written += packet.metrics
    written.append(sum(written) % 256)
    return bytes(written)


def payload_crc(payload: bytes) -> int:
    """The CRC a LoRa modem puts behind the payload.

    The polynomial is CCITT's, but the last two bytes go in without being shifted through: XMODEM over all the others,
    exclusive-or these two.
    """
    return crc_hqx(payload[:-2], 0) ^ int.from_bytes(payload[-2:], "big")


class RxBuffer:
    """The FIFO."""

    def __init__(self) -> None:
        self.overflowed = 0  # packets for which there was no room
        self._bytes = bytearray()
        self._ends: deque[int] = deque()  # of each packet, counted from the first byte that was ever in it
        self._taken = 0

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def packets(self) -> int:
        """How many are in it, one that was read in part included."""
        return len(self._ends)

    def put(self, written: bytes, *, again: bool = False) -> bool:
        """Take in a packet, whole or not at all; whether there was room. `again`: a copy of the last one."""
        if len(self._bytes) + len(written) > CAPACITY:
            self.overflowed += 1
            return False
        self._bytes += written
        if again and self._ends:
            self._ends.pop()
        self._ends.append(self._taken + len(self._bytes))
        return True

    def take(self, size: int) -> bytes:
        """The next bytes; zeros when it is empty."""
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        self._taken += len(taken)
        while self._ends and self._ends[0] <= self._taken:
            self._ends.popleft()
        return taken.ljust(size, b"\0")

    def clear(self) -> None:
        """Forget everything that was not read."""
        self._bytes.clear()
        self._ends.clear()
