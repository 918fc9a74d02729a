"""The systemd unit: what systemd itself says of it, and what must not be lost when somebody edits it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
UNIT = SYSTEMD / "lorawan-gateway.service"
SYSUSERS = SYSTEMD / "lorawan-gateway.sysusers"

EXPOSURE_LIMIT = 25
"""Tenths of systemd-analyze's exposure level, up to 100. What is left is what a gateway is: network and hardware."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs apt-get install systemd")


def settings():
    """Every assignment of the unit, in order."""
    return [
        (name, value)
        for line in UNIT.read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#")
        for name, _, value in [line.partition("=")]
    ]


def value(name):
    [found] = [given for key, given in settings() if key == name]
    return found


@needs_systemd
def test_systemd_finds_nothing_to_say_about_the_unit():
    verified = subprocess.run([SYSTEMD / "verify.sh"], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize(
    ("mistake", "named"),
    [("NoNewPriviledges=yes", "NoNewPriviledges"), ("WatchdogSec=soon", "soon"), ("DeviceAllow=spidev rw", "spidev")],
)
def test_a_mistake_in_the_unit_is_found(tmp_path, mistake, named):
    for file in (UNIT, SYSTEMD / "verify.sh"):
        shutil.copy(file, tmp_path)
    unit = tmp_path / UNIT.name
    unit.write_text(unit.read_text(encoding="utf-8").replace("[Install]", f"{mistake}\n\n[Install]"), encoding="utf-8")
    verified = subprocess.run([tmp_path / "verify.sh"], capture_output=True, text=True, check=False)
    assert verified.returncode == 1
    assert named in verified.stderr


@needs_systemd
def test_the_service_is_exposed_no_further_than_its_work_asks():
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE_LIMIT}", UNIT]
    examined = subprocess.run(command, capture_output=True, text=True, check=False)
    assert examined.returncode == 0, examined.stdout


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs apt-get install systemd")
def test_systemd_can_make_the_user_and_groups(tmp_path):
    command = ["systemd-sysusers", "--dry-run", f"--root={tmp_path}", SYSUSERS]
    (tmp_path / "etc").mkdir()
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert "lorawan-gateway" in told


def test_every_group_the_service_joins_is_made_where_it_is_missing():
    made = {name for kind, name in re.findall(r"^([ug]) (\S+)", SYSUSERS.read_text(encoding="utf-8"), re.MULTILINE)}
    of_debian = {"dialout"}  # base-passwd
    assert {value("User"), value("Group"), *value("SupplementaryGroups").split()} <= made | of_debian


def test_the_service_is_watched_and_started_again_for_ever():
    assert (value("Type"), value("Restart"), value("StartLimitIntervalSec")) == ("notify", "always", "0")
    assert value("WatchdogSec")


def test_the_start_waits_for_no_network_and_no_clock():
    targets = " ".join(
        given for name, given in settings() if name in ("After", "Wants", "Requires", "BindsTo", "Requisite")
    )
    assert targets == "network.target"


def test_the_kernel_can_still_be_asked_for_the_state_of_its_clock():
    filters = [given for name, given in settings() if name == "SystemCallFilter"]
    assert {"adjtimex", "clock_adjtime"} <= set(filters[-1].split())  # after whatever took them away
    assert not {name for name, _ in settings()} & {"ProtectClock", "ProcSubset"}


def test_there_is_time_to_stop_in_order():
    assert int(value("TimeoutStopSec").removesuffix("s")) > 10
