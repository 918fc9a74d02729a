"""Who has the device: nobody, we, another process, or there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.radio.board import Bus
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.claim import Claim

CHECKOUT = Path(__file__).parents[2]

HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def device():
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(slave)
    os.close(master)


def refused(path, bus=Bus.USB):
    with pytest.raises(ChipTrouble) as trouble:
        Claim(str(path), bus)
    assert trouble.value.hint
    return trouble.value


def test_a_device_is_ours_once(device):
    claim = Claim(device, Bus.USB)
    assert refused(device).kind is TroubleKind.BUSY
    claim.release()
    Claim(device, Bus.USB).release()


def test_releasing_twice_is_no_harm(device):
    claim = Claim(device, Bus.USB)
    claim.release()
    claim.release()


def test_another_process_that_has_it_is_told(device):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        trouble = refused(device)
        holder.communicate("")
    assert trouble.kind is TroubleKind.BUSY
    assert "stop the other one" in trouble.hint
    Claim(device, Bus.USB).release()


@pytest.mark.parametrize(("bus", "wanted"), [(Bus.SPI, "SPI"), (Bus.USB, "radio.usb")])
def test_a_device_that_is_not_there_is_told_with_a_cure(tmp_path, bus, wanted):
    trouble = refused(tmp_path / "spidev0.0", bus)
    assert trouble.kind is TroubleKind.NOT_THERE
    assert wanted in trouble.hint


def test_a_file_is_no_device(tmp_path):
    path = tmp_path / "spidev0.0"
    path.touch()
    assert "is no device" in str(refused(path, Bus.SPI))


AS_SOMEBODY_ELSE = """
import os, sys
from gateway.radio.board import Bus
from gateway.radio.chip import ChipTrouble
from gateway.radio.claim import Claim
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Claim(sys.argv[1], Bus(sys.argv[2]))
except ChipTrouble as trouble:
    print(trouble.kind.name, trouble.hint)
"""


@pytest.mark.parametrize(("bus", "group"), [(Bus.SPI, "spi"), (Bus.USB, "dialout")])
def test_a_device_that_is_not_ours_to_open_names_the_group(device, bus, group):
    Path(device).chmod(0)
    told = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY_ELSE, device, bus.value],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    ).stdout  # fmt: skip
    assert told.startswith("NO_PERMISSION")
    assert f"group {group}" in told
