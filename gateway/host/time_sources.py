"""Where a machine's time comes from: the kernel's clock, the clock since boot and the boot's name, the battery clock.

A Raspberry Pi has no battery clock: after a power cut it wakes up in the past and somebody has to tell it. Whether that
has happened is known to the kernel, because every NTP client disciplines the clock through adjtimex(2) and says there
how good it is (chrony where its settings say `rtcsync`, as those of Debian do). So none is asked by name. In a
container or virtual machine whose host keeps the time nobody tells the kernel, and nothing better can be said.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.host.trust import KernelClock

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
BATTERY_CLOCKS = Path("/sys/class/rtc")

STA_NANO = 0x2000  # <linux/timex.h>: `offset` and `time` are in nanoseconds, else in microseconds


class _Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h>; the C types are the ABI, so ctypes lays it out as the compiler does."""

    _fields_ = (
        ("modes", ctypes.c_uint),  # 0: read only
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_sec", ctypes.c_long),
        ("time_usec", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("ppsfreq", ctypes.c_long),
        ("jitter", ctypes.c_long),
        ("shift", ctypes.c_int),
        ("stabil", ctypes.c_long),
        ("jitcnt", ctypes.c_long),
        ("calcnt", ctypes.c_long),
        ("errcnt", ctypes.c_long),
        ("stbcnt", ctypes.c_long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def ask_kernel() -> KernelClock:
    """The kernel's time and how good it is, read together: a step between the two would make a wrong time look good.

    OSError where asking is forbidden (a seccomp filter without adjtimex).
    """
    timex = _Timex()
    state = _libc.adjtimex(ctypes.byref(timex))
    if state < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "adjtimex")
    in_a_microsecond = 1000 if timex.status & STA_NANO else 1
    return KernelClock(
        state=state,
        status=timex.status,
        offset_us=timex.offset // in_a_microsecond,
        max_error_us=timex.maxerror,
        estimated_error_us=timex.esterror,
        wall_us=timex.time_sec * 1_000_000 + timex.time_usec // in_a_microsecond,
    )


def boottime_ns() -> int:
    """Nanoseconds since the machine started.

    BOOTTIME rather than MONOTONIC, because that one stands still while the machine sleeps or is paused, and a date
    carried across such a gap would be wrong by its length.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id(file: Path = BOOT_ID_FILE) -> str | None:
    """Name of this boot, 32 hex digits; None where /proc is hidden."""
    try:
        return uuid.UUID(file.read_text(encoding="ascii").strip()).hex
    except (OSError, ValueError) as reason:
        log.warning("no boot id in %s (%s): this run counts as a boot of its own", file, reason)
        return None


def battery_clock_s(clocks: Path = BATTERY_CLOCKS) -> int | None:
    """What the first battery clock says, in whole seconds since 1970; None where there is none that can be read.

    Documentation/ABI/testing/sysfs-class-rtc of the kernel. One that keeps local time says something else than UTC, and
    so agrees with no clock here.
    """
    for clock in sorted(clocks.glob("rtc*")):
        try:
            return int((clock / "since_epoch").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue  # an RTC that lost its power says so with an error until somebody sets it
    return None


@dataclass(frozen=True, slots=True)
class TimeSources:
    """Everything the clock asks. By default this machine's."""

    kernel: Callable[[], KernelClock] = ask_kernel
    wall_ns: Callable[[], int] = time.time_ns  # where the kernel may not be asked
    monotonic_ns: Callable[[], int] = boottime_ns
    battery_s: Callable[[], int | None] = battery_clock_s
    boot_id: str | None = field(default_factory=boot_id)
