"""The radios around an SX1302, as far as its driver asks them anything: two SX1250, and an SX1261 that listens.

Commands and status words are those of the SX1261/2 datasheet (13, "List of Commands"), which the SX1250 shares; the
scanning commands belong to the patch that Semtech's sx1302_hal 2.1.0 loads into the SX1261 (`loragw_sx1261.c`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Listen = Callable[[int, int, int], float]  # frequency, bandwidth, time: dBm behind the antenna

STEP_HZ = 32_000_000 / (1 << 25)

_READY = 0x02  # in the command status bits, after a reset and after every command here

_PATCH_BASE = 0x8000
_PATCH_VERSION, _SCAN_STATUS, _SCAN_RESULTS, _RSSI_WINDOW = 0x0320, 0x07CD, 0x0401, 0x089B
_UNPATCHED, _PATCHED = b"SX1261 V2D 2D02", b"SX1261 V2D 2D06"
_NO_SCAN, _ONGOING, _ABORTED, _DONE = 0x00, 0x0F, 0xF0, 0xFF

SCAN_POINT_US = 8.2
"""From one measurement to the next, with the interval that the library chooses."""

_LEVELS = 33
_LEVEL_STEP_DB = 4
_SCATTER_DB = 3.0
"""How far single measurements of noise stray; our choice."""


class Command(IntEnum):
    """Opcodes that leave a trace here."""

    WRITE_REGISTER = 0x0D
    GET_RSSI = 0x15
    GET_DEVICE_ERRORS = 0x17
    READ_REGISTER = 0x1D
    SET_STANDBY = 0x80
    SET_RX = 0x82
    SET_TX = 0x83
    SET_RF_FREQUENCY = 0x86
    LISTEN_BEFORE_TALK = 0x9A  # these three belong to the patch
    SCAN = 0x9B
    UPDATE_PATCH = 0xD9
    SET_FS = 0xC1


class Mode(IntEnum):
    """Bits 6:4 of the status."""

    OFF = 0
    STANDBY_RC = 2
    STANDBY_XOSC = 3
    FREQUENCY_SYNTHESIS = 4
    RX = 5
    TX = 6


class Sx1250:
    """A radio of the SX126x family that answers what it is asked."""

    def __init__(self) -> None:
        self.mode = Mode.OFF
        self.frequency_hz: float | None = None
        self._registers: dict[int, int] = {}

    def switch(self, *, on: bool) -> None:
        """Take it out of reset, or put it into it: it forgets everything."""
        if on == (self.mode is not Mode.OFF):
            return
        self.mode = Mode.STANDBY_RC if on else Mode.OFF
        self.frequency_hz = None
        self._registers.clear()

    @property
    def gives_clock(self) -> bool:
        """Whether its 32 MHz reach the concentrator."""
        return self.mode in {Mode.STANDBY_XOSC, Mode.FREQUENCY_SYNTHESIS, Mode.RX, Mode.TX}

    def command(self, frame: bytes, now_us: int) -> bytes:
        """What comes back while the frame, opcode first, goes out."""
        if self.mode is Mode.OFF or not frame:
            return bytes(len(frame))
        status = self.mode << 4 | _READY
        came = bytearray([status]) * len(frame)
        opcode, arguments = frame[0], frame[1:]
        match opcode:
            case Command.GET_DEVICE_ERRORS:  # device errors: status, then two bytes of which none is set
                came[2:] = bytes(len(came[2:]))
            case Command.GET_RSSI:  # status, then the level in half dB below zero
                came[2:] = bytes([min(max(round(-2 * self.level_dbm(now_us)), 0), 255)]) * len(came[2:])
            case Command.READ_REGISTER if len(arguments) > 3:  # register: address, status, then the bytes
                address = int.from_bytes(arguments[:2], "big")
                came[4:] = self.read(address, len(arguments) - 3, now_us)
            case Command.WRITE_REGISTER if len(arguments) > 2:
                self.write(int.from_bytes(arguments[:2], "big"), arguments[2:], now_us)
            case _:
                self.told(opcode, arguments, now_us)
        return bytes(came)

    def level_dbm(self, now_us: int) -> float:  # noqa: ARG002 - as below
        """What it hears: an SX1250 is not asked, its ears are the SX1302."""
        return -127.5

    def told(self, opcode: int, arguments: bytes, now_us: int) -> None:  # noqa: ARG002 - the SX1261 needs the time
        """Do what changes what it is asked later; the rest it does in silence."""
        match opcode:
            case Command.SET_STANDBY if arguments:
                self.mode = Mode.STANDBY_XOSC if arguments[0] else Mode.STANDBY_RC
            case Command.SET_FS:
                self.mode = Mode.FREQUENCY_SYNTHESIS
            case Command.SET_RX:
                self.mode = Mode.RX
            case Command.SET_TX:
                self.mode = Mode.TX
            case Command.SET_RF_FREQUENCY if len(arguments) >= 4:
                self.frequency_hz = int.from_bytes(arguments[:4], "big") * STEP_HZ

    def read(self, address: int, size: int, now_us: int) -> bytes:  # noqa: ARG002 - as above
        """Bytes of its registers."""
        return bytes(self._registers.get(address + byte, 0) for byte in range(size))

    def write(self, address: int, data: bytes, now_us: int) -> None:  # noqa: ARG002 - as above
        """Change registers."""
        for byte, value in enumerate(data):
            self._registers[address + byte] = value


@dataclass(frozen=True, slots=True)
class _Scan:
    points: int
    end_us: int
    level_dbm: float


class Sx1261(Sx1250):
    """The listener: whether a channel is free before a frame is sent, and how loud it is over time.

    `listen` says how loud a frequency is at a moment.
    """

    def __init__(self, listen: Listen) -> None:
        super().__init__()
        self._listen = listen
        self._forget()

    def _forget(self) -> None:
        self._patched = self._patch_written = False
        self._threshold_dbm: float | None = None
        self._scan: _Scan | None = None
        self._aborted = False

    def switch(self, *, on: bool) -> None:
        """Take it out of reset, or put it into it: patch and all are gone."""
        if on != (self.mode is not Mode.OFF):
            self._forget()
        super().switch(on=on)

    def finds_busy(self, now_us: int) -> bool:
        """Whether what it hears now is above the threshold it was given."""
        return self._threshold_dbm is not None and self.level_dbm(now_us) >= self._threshold_dbm

    def level_dbm(self, now_us: int) -> float:
        """How loud it is where it is tuned to."""
        if self.frequency_hz is None:
            return -127.5
        return self._listen(round(self.frequency_hz), 125_000, now_us)

    def told(self, opcode: int, arguments: bytes, now_us: int) -> None:
        """The commands of the patch, and everybody's."""
        match opcode:
            case Command.UPDATE_PATCH:
                self._patched = self._patch_written
            case Command.LISTEN_BEFORE_TALK if len(arguments) >= 5 and self._patched:
                self._threshold_dbm = -arguments[3] / 2
            case Command.SCAN if len(arguments) >= 3 and self._patched and self.frequency_hz is not None:
                points = int.from_bytes(arguments[:2], "big")
                self._scan = _Scan(points, now_us + math.ceil(points * SCAN_POINT_US), self.level_dbm(now_us))
                self._aborted = False
            case _:
                super().told(opcode, arguments, now_us)

    def read(self, address: int, size: int, now_us: int) -> bytes:
        """Version, scan status and results where the patch puts them."""
        if address == _PATCH_VERSION:
            return (_PATCHED if self._patched else _UNPATCHED)[:size].ljust(size, b"\0")
        if address == _SCAN_STATUS:
            return bytes([self._scan_status(now_us)]).ljust(size, b"\0")
        if address == _SCAN_RESULTS:
            return self._scan_results()[:size].ljust(size, b"\0")
        return super().read(address, size, now_us)

    def write(self, address: int, data: bytes, now_us: int) -> None:
        """The patch arrives word by word; a window of zero ends listening and scanning."""
        if address >= _PATCH_BASE:
            self._patch_written = True
            return
        if address == _RSSI_WINDOW and not any(data):
            self._threshold_dbm = None
            if self._scan is not None and now_us < self._scan.end_us:
                self._aborted = True
        super().write(address, data, now_us)

    def _scan_status(self, now_us: int) -> int:
        if self._scan is None:
            return _NO_SCAN
        if self._aborted:
            return _ABORTED
        return _ONGOING if now_us < self._scan.end_us else _DONE

    def _scan_results(self) -> bytes:
        """How many of the points were at each level, 0, -4, -8 … dBm; the last is everything below."""
        scan = self._scan
        if scan is None or self._aborted:
            return bytes(2 * _LEVELS)
        below = [_share_below(-_LEVEL_STEP_DB * level, scan.level_dbm) for level in range(_LEVELS - 1)]
        shares = [upper - lower for upper, lower in zip([1.0, *below], [*below, 0.0], strict=True)]
        counts, given, due = [], 0, 0.0
        for share in shares:
            due += share * scan.points
            counts.append(round(due) - given)
            given += counts[-1]
        return b"".join(count.to_bytes(2, "big") for count in counts)


def _share_below(threshold_dbm: float, level_dbm: float) -> float:
    return 0.5 * (1 + math.erf((threshold_dbm - level_dbm) / (_SCATTER_DB * math.sqrt(2))))
