"""What the kernel says of its clock, and what follows for a time stamp.

States are those that NTP clients leave in the kernel: systemd-timesyncd in manager_adjust_clock (timesyncd-manager.c),
chrony in set_sync_status (sys_timex.c); the fresh kernel's is that of kernel/time/ntp.c (NTP_PHASE_LIMIT 16 s).
"""

from __future__ import annotations

import ctypes
import logging
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.host import clock as clock_module
from gateway.host.clock import (
    BOOT_ID_FILE,
    PATH_ALLOWANCE_US,
    STA_UNSYNC,
    TIME_ERROR,
    UNSYNCED,
    Clock,
    KernelClock,
    Trust,
    ask_kernel,
    boot_id,
    judge,
)
from gateway.model import TimeQuality

STA_PLL = 0x0001
NTP_PHASE_LIMIT_US = 16_000_000

FRESH = KernelClock(TIME_ERROR, STA_UNSYNC, 0, NTP_PHASE_LIMIT_US, NTP_PHASE_LIMIT_US)
CHRONY = KernelClock(0, 0, 0, 23_400, 310)
TIMESYNCD_JUST_POLLED = KernelClock(0, STA_PLL, 0, 0, 0)
TIMESYNCD_HALF_AN_HOUR_LATER = KernelClock(0, STA_PLL, -3_100, 900_000, 0)


@pytest.mark.parametrize(
    ("kernel", "trust"),
    [
        pytest.param(FRESH, UNSYNCED, id="nobody has set it since boot"),
        pytest.param(KernelClock(TIME_ERROR, STA_UNSYNC, 0, 23_400, 310), UNSYNCED, id="chrony without rtcsync"),
        pytest.param(KernelClock(TIME_ERROR, 0, 0, 23_400, 310), UNSYNCED, id="a state of error"),
        pytest.param(KernelClock(0, STA_UNSYNC, 0, 0, 0), UNSYNCED, id="a status of unsynchronised"),
        pytest.param(CHRONY, Trust(TimeQuality.NTP, 24), id="chrony tells its error"),
        pytest.param(TIMESYNCD_JUST_POLLED, Trust(TimeQuality.NTP, 50), id="timesyncd tells none"),
        pytest.param(
            TIMESYNCD_HALF_AN_HOUR_LATER, Trust(TimeQuality.NTP, 954), id="timesyncd, polled long ago, slewing"
        ),
        pytest.param(KernelClock(0, 0, 0, 0, 1), Trust(TimeQuality.NTP, 1), id="never better than a millisecond"),
        pytest.param(KernelClock(1, 0, 0, 5_000, 90), Trust(TimeQuality.NTP, 5), id="a leap second is announced"),
    ],
)
def test_trust_follows_what_the_ntp_client_told_the_kernel(kernel, trust):
    assert judge(kernel) == trust


@given(
    offset_us=st.integers(-500_000, 500_000),
    max_error_us=st.integers(0, NTP_PHASE_LIMIT_US),
    estimated_error_us=st.integers(0, NTP_PHASE_LIMIT_US),
)
def test_the_uncertainty_never_claims_more_than_is_known(offset_us, max_error_us, estimated_error_us):
    trust = judge(KernelClock(0, 0, offset_us, max_error_us, estimated_error_us))
    known_us = max_error_us + abs(offset_us) + (0 if estimated_error_us else PATH_ALLOWANCE_US)
    assert known_us <= trust.uncertainty_ms * 1000 < known_us + 2000


class Machine:
    """The sources of a clock, moved by hand."""

    def __init__(self, kernel=FRESH):
        self.wall = 1_795_405_000_000_000_123
        self.monotonic = 40_000_000_999
        self.kernel = kernel
        self.asked = 0

    def ask(self):
        self.asked += 1
        if isinstance(self.kernel, OSError):
            raise self.kernel
        return self.kernel

    def clock(self):
        return Clock(wall_ns=lambda: self.wall, monotonic_ns=lambda: self.monotonic, kernel=self.ask, boot="b007")

    def wait(self, seconds):
        self.wall += int(seconds * 1e9)
        self.monotonic += int(seconds * 1e9)


def test_a_stamp_carries_both_times_in_microseconds_and_how_far_to_trust_them():
    stamp = Machine(CHRONY).clock().stamp()
    assert (stamp.utc_us, stamp.monotonic_us, stamp.boot_id) == (1_795_405_000_000_000, 40_000_000, "b007")
    assert (stamp.quality, stamp.uncertainty_ms) == (TimeQuality.NTP, 24)


def test_a_stamp_without_a_synchronised_clock_has_no_uncertainty_to_state():
    stamp = Machine(FRESH).clock().stamp()
    assert (stamp.quality, stamp.uncertainty_ms) == (TimeQuality.UNSYNCED, None)


def test_the_kernel_is_asked_once_a_second_however_many_frames_come():
    machine = Machine()
    clock = machine.clock()
    for _ in range(1000):
        clock.stamp()
        machine.wait(0.003)
    assert machine.asked == 3  # at the start and then each full second


def test_a_clock_that_gets_synchronised_is_noticed_within_a_second(caplog):
    machine = Machine(FRESH)
    clock = machine.clock()
    machine.kernel = CHRONY
    with caplog.at_level(logging.INFO):
        assert clock.stamp().quality is TimeQuality.UNSYNCED
        machine.wait(1)
        assert clock.stamp().quality is TimeQuality.NTP
        machine.wait(1)
        clock.stamp()
    assert [record.getMessage() for record in caplog.records] == ["the clock is synchronised by ntp, within 24 ms"]


@pytest.mark.parametrize("step_s", [-3600, 3600, 20 * 365 * 86_400])
def test_a_step_of_the_wall_clock_changes_no_distance_between_stamps(step_s):
    machine = Machine(CHRONY)
    clock = machine.clock()
    before = clock.stamp()
    machine.wait(0.5)
    machine.wall += step_s * 1_000_000_000
    after = clock.stamp()
    assert after.monotonic_us - before.monotonic_us == 500_000
    assert after.utc_us - before.utc_us == 500_000 + step_s * 1_000_000
    assert after.boot_id == before.boot_id


def test_a_kernel_that_may_not_be_asked_means_unsynchronised_and_one_warning(caplog):
    machine = Machine(PermissionError(1, "Operation not permitted", "adjtimex"))
    clock = machine.clock()
    for _ in range(3):
        machine.wait(1)
        assert clock.stamp().quality is TimeQuality.UNSYNCED
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    machine.kernel = CHRONY
    machine.wait(1)
    assert clock.stamp().quality is TimeQuality.NTP


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_long) != 8, reason="needs a 64-bit system, the only kind that is supported")
def test_the_structure_lies_as_the_compiler_lays_it():
    # sizeof and offsetof as gcc 12 prints them over glibc 2.36's <sys/timex.h>, x86-64; aarch64 has the same C types.
    timex = clock_module._Timex
    fields = ("offset", "maxerror", "esterror", "status", "time_sec", "tai")
    assert [getattr(timex, field).offset for field in fields] == [8, 24, 32, 40, 72, 160]
    assert ctypes.sizeof(timex) == 208


def test_this_machine_s_kernel_answers():
    kernel = ask_kernel()
    assert kernel.state in range(6)
    assert 0 <= kernel.max_error_us <= NTP_PHASE_LIMIT_US
    assert judge(kernel).quality in (TimeQuality.NTP, TimeQuality.UNSYNCED)


def test_the_clock_of_this_machine_runs_forward_from_one_boot():
    clock = Clock()
    first, second = clock.stamp(), clock.stamp()
    assert first.monotonic_us <= second.monotonic_us
    assert first.boot_id == second.boot_id == BOOT_ID_FILE.read_text().strip().replace("-", "")
    assert abs(second.utc_us - time.time_ns() // 1000) < 60_000_000  # the same clock and the same unit


@pytest.mark.parametrize("content", [None, b"", b"not a boot id\n", b"\xff\xfe"])
def test_without_a_boot_id_this_run_is_a_boot_of_its_own(tmp_path, content, caplog):
    file = tmp_path / "boot_id"
    if content is not None:
        file.write_bytes(content)
    first, second = boot_id(file), boot_id(file)
    assert first != second
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert "boot id" in caplog.text
