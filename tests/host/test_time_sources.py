"""What this machine's kernel tells of its clocks, and what stands in sysfs where there is a battery clock."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gateway.host import time_sources
from gateway.host.clock import Clock
from gateway.host.time_sources import BOOT_ID_FILE, ask_kernel, battery_clock_s, boot_id


def test_the_structure_is_as_long_as_the_compiler_makes_it(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc libc6-dev")
    fields = ["offset", "maxerror", "esterror", "status", "tai"]
    ours = ["time_sec", "time_usec"]
    theirs = [*fields, "time.tv_sec", "time.tv_usec"]
    numbers = ", ".join(["sizeof(struct timex)", *(f"offsetof(struct timex, {field})" for field in theirs)])
    source = f"""
        #include <stddef.h>
        #include <stdio.h>
        #include <sys/timex.h>
        int main(void) {{ return printf("{"%zu " * 8}", {numbers}) < 0; }}
    """
    Path(tmp_path, "timex.c").write_text(source)
    subprocess.run([compiler, "-o", tmp_path / "timex", tmp_path / "timex.c"], check=True)
    told = subprocess.run([tmp_path / "timex"], check=True, capture_output=True, text=True).stdout
    timex = time_sources._Timex
    lengths = [ctypes.sizeof(timex), *(getattr(timex, field).offset for field in fields + ours)]
    assert lengths == [int(number) for number in told.split()]


def test_this_machine_s_kernel_answers_with_its_time():
    before_us = time.time_ns() // 1000
    kernel = ask_kernel()
    assert before_us <= kernel.wall_us <= time.time_ns() // 1000
    assert kernel.state in range(6)
    assert 0 <= kernel.max_error_us <= 16_000_000


def test_the_clock_of_this_machine_runs_forward_from_one_boot():
    clock = Clock()
    first, second = clock.stamp(), clock.stamp()
    assert first.monotonic_us <= second.monotonic_us
    assert first.boot_id == second.boot_id == BOOT_ID_FILE.read_text().strip().replace("-", "")


@pytest.mark.parametrize("content", [None, b"", b"not a boot id\n", b"\xff\xfe"])
def test_a_boot_that_has_no_name_is_told(tmp_path, content, caplog):
    file = tmp_path / "boot_id"
    if content is not None:
        file.write_bytes(content)
    assert boot_id(file) is None
    assert "boot id" in caplog.text


def test_the_first_battery_clock_that_can_be_read_counts(tmp_path):
    assert battery_clock_s(tmp_path / "no rtc class") is None
    for name, content in [("rtc0", b"garbage\n"), ("rtc1", b"1795428902\n"), ("rtc2", b"7\n")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "since_epoch").write_bytes(content)
    (tmp_path / "rtc").mkdir()
    assert battery_clock_s(tmp_path) == 1_795_428_902
