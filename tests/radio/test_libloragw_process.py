"""What a crash, a hang and chatter of the library do to the process around it: asked of a real child process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from libloragw_standin import DIES_IN_START, HANGS_IN_RECEIVE, HANGS_IN_START, HELLO, WELL, compiled

CHECKOUT = Path(__file__).parents[2]

CHILD = """
import ctypes, json, os, sys
library, fault, frames = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
from gateway.radio.channels import plan_of
from gateway.radio.libloragw import open_chip
from gateway.regions import region_named
print("before", flush=True)
master, slave = os.openpty()
chip = open_chip({"library": library, "board": None, "spi": os.ttyname(slave), "region": "EU868"})
hands = ctypes.CDLL(library)
hands.standin_register(0x5606, 0x10)
print("ready", file=sys.stderr, flush=True)
late = fault == 6  # hangs in receive: it must have started
hands.standin_fault(0 if late else fault)
chip.start(plan_of(region_named("EU868")))
print("started", file=sys.stderr, flush=True)
hands.standin_fault(fault)
hands.standin_fifo(frames, len(frames))
heard = [frame.phy.hex() for frame in chip.receive()]
ctypes.CDLL(None).printf(b"said by C while it is open\\n")
chip.close()
print(json.dumps({"heard": heard}))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("standin"))


def child(library, fault, frames=HELLO):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(library), str(fault), frames.hex()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip


def test_stdout_stays_ours_whatever_the_library_prints(library):
    with child(library, WELL) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    before, told = out.splitlines()
    assert before == "before"
    assert json.loads(told) == {"heard": ["400102030468656c6c6f"]}


def test_a_crash_of_the_library_ends_the_child_and_nothing_else(library):
    with child(library, DIES_IN_START) as process:
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGSEGV
    assert out == "before\n"


@pytest.mark.parametrize(
    ("fault", "reached"), [(HANGS_IN_START, "ready"), (HANGS_IN_RECEIVE, "started")], ids=["start", "receive"]
)
def test_a_hang_of_the_library_can_be_killed_from_outside(library, fault, reached):
    with child(library, fault) as process:
        assert process.stderr is not None
        patience = threading.Timer(60, process.kill)  # without it a word that never comes is waited for for ever
        patience.start()
        assert any(reached in line for line in process.stderr)  # the library's own words may stand on the same line
        patience.cancel()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.kill()
        out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert out == "before\n"
