"""The stand-in for Semtech's library, compiled with the machine's C compiler, and the hands that script its chip."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.radio import libloragw_abi as abi
from gateway.radio.board import Bus
from gateway.radio.boards import Overrides, resolve
from gateway.radio.channels import plan_of
from gateway.radio.fifo import payload_crc
from gateway.radio.libloragw import LibloragwChip, Surroundings
from gateway.radio.libloragw_library import load
from gateway.radio.voice import Voice
from gateway.regions import region_named

SOURCE = Path(__file__).parent / "standin" / "libloragw.c"

WELL, LOW, HIGH, UNPLUGGED, HANGS_IN_START, DIES_IN_START, HANGS_IN_RECEIVE, NO_TEMPERATURE, REFUSES_TX = range(9)
BUSY_AIR, FILLS_GARBAGE, WRITES_BEYOND, CLAIMS_TOO_MANY, TX_STUCK, HUGE_COUNT = range(9, 15)
STARTS, STOPS, SENDS, ABORTS, CLOSES, FLUSHES, SCANS = range(7)

HELLO = bytes.fromhex("a5c00a057300000000400102030468656c6c6f00285a5800000403020182e60091")
"""Channel 5, SF7, 4/5, CRC right, SNR 10, count 0x01020304 of 32 MHz: taken by Semtech's library."""
NO_CRC = bytes.fromhex("a5c00302c40018fc0f78787800c450460000f0ffffffe787006e")
"""Channel 2, SF12, 4/6, without CRC, "xxx": taken by Semtech's library."""


def compiled(folder: Path, *flags: str) -> Path:
    """The stand-in as a shared object, built for these flags once a session; skips without a compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    built = folder / f"libloragw{''.join(flags).replace('=', '_').translate(str.maketrans('', '', chr(34) + ' :;'))}.so"
    if not built.exists():
        command = [compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", *flags, "-o", str(built), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return built


class Standin:
    """One copy of the library in this process, with a chip of its own."""

    def __init__(self, built: Path, folder: Path) -> None:
        self.path = folder / "libloragw.so"  # its own file: the loader gives a second user of one file the same memory
        shutil.copy(built, self.path)
        self.hands = ctypes.CDLL(str(self.path))
        for name, kind in (("lut", abi.TxGainLut), ("radio", abi.ConfRxrf), ("channel", abi.ConfRxif)):
            getattr(self.hands, f"standin_{name}").restype = ctypes.POINTER(kind)
        self.hands.standin_second.restype = ctypes.POINTER(abi.ConfSx1261)
        self.hands.standin_board.restype = ctypes.POINTER(abi.ConfBoard)
        self.hands.standin_sent.restype = ctypes.POINTER(abi.PktTx)
        self.hands.standin_waiting.restype = ctypes.c_size_t
        self.hands.standin_register(0x5606, 0x10)

    def breaks(self, fault: int) -> None:
        self.hands.standin_fault(fault)

    def says_at_start(self, line: str) -> None:
        self.hands.standin_start_error(line.encode())

    def hears(self, *packets: bytes) -> None:
        data = b"".join(packets)
        self.hands.standin_fifo(data, len(data))

    def counts(self, now_us: int, at_pps_us: int = 0) -> None:
        self.hands.standin_count(ctypes.c_uint32(now_us), ctypes.c_uint32(at_pps_us))

    def register(self, address: int, value: int) -> None:
        self.hands.standin_register(address, value)

    def transmitter_is(self, state: int) -> None:
        self.hands.standin_tx_state(state)

    def calls(self, which: int) -> int:
        return self.hands.standin_calls(which)

    def sensor(self) -> int:
        return self.hands.standin_sensor() & 0xFF

    def waiting(self) -> int:
        return self.hands.standin_waiting()

    def sent(self) -> abi.PktTx:
        return self.hands.standin_sent().contents

    def power(self) -> abi.TxGainLut:
        return self.hands.standin_lut(0).contents

    def radio(self, number: int) -> abi.ConfRxrf:
        return self.hands.standin_radio(number).contents

    def channel(self, number: int) -> abi.ConfRxif:
        return self.hands.standin_channel(number).contents

    def second(self) -> abi.ConfSx1261:
        return self.hands.standin_second().contents


class Pins:
    """Lines that remember what was done to them."""

    def __init__(self) -> None:
        self.done: list[tuple[object, bool]] = []
        self.open = True

    def drive(self, pin: object, high: bool) -> None:
        self.done.append((pin, high))

    def close(self) -> None:
        self.open = False


class Bench:
    """A chip on the stand-in, with a pseudo-terminal for its device and pins that only remember."""

    def __init__(
        self, standin: Standin, *, board: str = "sx1302css868gw1", region: str = "EU868", **told: object
    ) -> None:
        self.standin = standin
        self.master, self._slave = os.openpty()
        device = os.ttyname(self._slave)
        self.pins: list[Pins] = []
        self.slept: list[float] = []
        self.said: list[str] = []
        self.now_s = 0.0
        self.region = region
        bus = {"usb" if resolve(board, region).bus is Bus.USB else "spi": device}
        self.board = resolve(board, region, Overrides(**(bus | told)))
        self.voice = Voice(self.said.append)
        around = Surroundings(
            open_lines=self._open_lines,
            probe_spi=lambda path: None,
            probe_usb=lambda path: None,
            power_cycle_usb=self.said.append,
            sleep=self._sleep,
            monotonic=lambda: self.now_s,
        )
        self._chip = LibloragwChip(load(standin.path), self.board, self.voice, around)
        self.plan = plan_of(region_named(region))

    @property
    def chip(self) -> LibloragwChip:
        self.voice.hold()  # between set-up and test, pytest leads stdout back to itself
        return self._chip

    def _open_lines(self, pins: object, *, through: str) -> Pins:
        self.pins.append(Pins())
        return self.pins[-1]

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def close(self) -> None:
        self.standin.breaks(WELL)
        self.chip.close()
        os.close(self.master)
        os.close(self._slave)


def packet(
    payload: bytes,
    *,
    channel: int = 0,
    sf: int = 7,
    count_us: int = 0,
    modem: int = 0,
    crc: bool = True,
    wrong: bool = False,
) -> bytes:
    """A packet as the chip writes it: the layout of sx1302_hal 2.1.0, `loragw_sx1302_rx.c`."""
    ticks = count_us * 32 & 0xFFFF_FFFF
    told = payload_crc(payload) if payload else 0
    body = bytes([0xA5, 0xC0, len(payload), channel, sf << 4 | 1 << 1 | crc, modem, 0, 0, 0]) + payload
    body += bytes([int(wrong), 40, 90, 88, 0, 0]) + ticks.to_bytes(4, "little") + told.to_bytes(2, "little") + b"\x00"
    return body + bytes([sum(body) & 0xFF])
