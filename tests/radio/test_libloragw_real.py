"""The binding on a real libloragw, and that on a simulated SX1302: LIBLORAGW=…/libloragw.so, Semtech's or the fork."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.model import AtCounter, Crc, Lora
from gateway.radio.board import Bus
from gateway.radio.boards import Overrides, resolve
from gateway.radio.channels import plan_of
from gateway.radio.chip import ChipTrouble, ChipTx, TroubleKind, TxState
from gateway.radio.libloragw import LibloragwChip
from gateway.radio.libloragw_library import load
from gateway.radio.voice import Voice
from gateway.regions import region_named

LIBRARY = os.environ.get("LIBLORAGW")
CHECKOUT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not LIBRARY, reason="needs a real library: LIBLORAGW=/path/to/libloragw.so"),
    pytest.mark.skipif(
        importlib.util.find_spec("gateway.simulator.sx1302") is None, reason="needs the simulated SX1302"
    ),
]

HEARD = bytes.fromhex("40010203048001000168656c6c6f")


class Board:
    """A simulated board on a pseudo-terminal, and the chip behind the real library on it."""

    def __init__(self, folder: Path, *faults: str) -> None:
        path = folder / "tty"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "simulate", "chip", "--pty", str(path), "--json",
             *(word for fault in faults for word in ("--fault", fault))],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, cwd=CHECKOUT,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not path.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.02)
        settings = resolve("sx1302css868gw1", "EU868", Overrides(usb=str(path)))
        assert settings.bus is Bus.USB
        self.voice = Voice(lambda line: None)
        self._chip = LibloragwChip(load(Path(str(LIBRARY))), settings, self.voice)
        self.plan = plan_of(region_named("EU868"))

    @property
    def chip(self) -> LibloragwChip:
        self.voice.hold()
        return self._chip

    def orders(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hears(self, phy: bytes) -> None:
        self.orders(f"uplink {phy.hex()} 868100000 7")

    def listens_for(self, phy: bytes, within_s: float = 10):
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for frame in self.chip.receive():
                if frame.phy == phy:
                    return frame
            time.sleep(0.005)
        return None

    def trouble_within(self, seconds: float) -> ChipTrouble | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                self.chip.receive()
            except ChipTrouble as trouble:
                return trouble
            time.sleep(0.01)
        return None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.chip.close()


@pytest.fixture
def make_board(tmp_path_factory):
    boards = []

    def make(*faults):
        boards.append(Board(tmp_path_factory.mktemp("b"), *faults))
        return boards[-1]

    yield make
    for board in boards:
        board.close()


def test_it_starts_hears_sends_scans_and_starts_again(make_board):
    board = make_board()
    board.chip.start(board.plan)
    assert board.chip.examine().version == 0x10
    assert str(board.chip.eui()).startswith("0016c001ff")
    board.hears(HEARD)
    frame = board.listens_for(HEARD)
    assert frame is not None
    assert (frame.frequency_hz, frame.modulation, frame.crc) == (868_100_000, Lora(7, 125_000, "4/5"), Crc.OK)
    at = (frame.counter_us + 1_000_000) % (1 << 32)
    assert board.chip.send(ChipTx(b"\x60down", AtCounter(at), 868_100_000, Lora(7, 125_000), 14.0)) is None
    assert board.chip.tx_status() is TxState.SCHEDULED
    deadline = time.monotonic() + 10
    while board.chip.tx_status() is not TxState.FREE and time.monotonic() < deadline:
        time.sleep(0.02)
    assert board.chip.tx_status() is TxState.FREE
    assert sum(board.chip.spectral_scan(868_100_000, 300).values()) > 0
    assert board.chip.carrier(868_100_000, 10.0) is None
    board.chip.abort()
    board.chip.stop()
    board.chip.start(board.plan)
    board.hears(HEARD)
    assert board.listens_for(HEARD) is not None


@pytest.mark.parametrize("fault", ["poison", "false-crc", "half-packet", "fifo-corruption"])
def test_a_bad_packet_costs_itself_alone(make_board, fault):
    board = make_board()
    board.chip.start(board.plan)
    board.orders(f"fault {fault}")
    deadline = time.monotonic() + 15
    while not board.chip.examine().faults and time.monotonic() < deadline:
        board.chip.receive()
        time.sleep(0.01)
    assert sum(board.chip.examine().faults.values()) >= 1
    board.hears(HEARD)
    assert board.listens_for(HEARD) is not None


def test_a_bus_of_ones_is_a_trouble_and_no_crash(make_board):
    board = make_board()
    board.chip.start(board.plan)
    board.orders("fault stuck-high")
    trouble = board.trouble_within(10)
    assert trouble is not None
    assert trouble.kind is TroubleKind.BUS_HIGH


def test_a_pulled_cable_is_noticed(make_board):
    board = make_board()
    board.chip.start(board.plan)
    board.orders("fault unplug")
    trouble = board.trouble_within(10)
    assert trouble is not None
    assert trouble.kind is TroubleKind.LOST


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("stuck-low", TroubleKind.BUS_LOW),
        ("stuck-high", TroubleKind.BUS_HIGH),
        ("silent-bridge", TroubleKind.NOT_THERE),
        ("agc-version", TroubleKind.FIRMWARE_SILENT),
    ],
)
def test_a_board_that_is_broken_from_the_start_is_told(make_board, fault, kind):
    pytest.importorskip("serial", reason="needs pyserial: pip install pyserial")
    board = make_board(fault)
    with pytest.raises(ChipTrouble) as trouble:
        board.chip.start(board.plan)
    assert trouble.value.kind is kind
