"""What time it is, and how far to believe it.

A Raspberry Pi has no battery clock: after a power cut it wakes up in the past and somebody has to tell it. Whether that
has happened is known to the kernel, because every NTP client disciplines the clock through adjtimex(2) and says there
how good it is (chrony where its settings say `rtcsync`, as those of Debian do). So none is asked by name. In a
container or virtual machine whose host keeps the time nobody tells the kernel, and UNSYNCED is all that can be said.

Each stamp carries a second time that never steps: CLOCK_BOOTTIME, together with the boot it counts from. Distances
between stamps of one boot are right whatever happens to the wall clock, and a wall time learnt later dates the earlier
ones. BOOTTIME rather than MONOTONIC, because that one stands still while the machine sleeps or is paused, and a date
carried across such a gap would be wrong by its length.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.model import Stamp, TimeQuality

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")

# <linux/timex.h>
TIME_ERROR = 5  # what adjtimex returns while the clock is not synchronised
STA_UNSYNC = 0x0040  # nobody disciplines it, or not for so long that the error may have reached 16 s
STA_NANO = 0x2000  # `offset` is in nanoseconds, else in microseconds

PATH_ALLOWANCE_US = 50_000
"""What a client that does not measure its path may be off by: half the round trip of a slow cellular link.

systemd-timesyncd reports both errors as 0 at each poll (manager_adjust_clock in timesyncd-manager.c), the way to the
server left out. chrony and ntpd report an estimate, and their maximum contains half the round trip (root distance, RFC
5905).
"""

REFRESH_NS = 1_000_000_000
"""How long the kernel's word is good: the state changes in minutes, and asking costs as much as four stamps."""


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


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock: the answer of adjtimex(2), in microseconds."""

    state: int  # its return value
    status: int  # STA_… bits
    offset_us: int  # still to be slewed away
    max_error_us: int  # grows by 500 µs a second from one poll of the server to the next
    estimated_error_us: int


@dataclass(frozen=True, slots=True)
class Trust:
    """How far a wall time can be believed."""

    quality: TimeQuality
    uncertainty_ms: int | None  # None: nobody can say


UNSYNCED = Trust(TimeQuality.UNSYNCED, None)


def judge(kernel: KernelClock) -> Trust:
    """Trust in the wall clock, from what the kernel says of it."""
    if kernel.state == TIME_ERROR or kernel.status & STA_UNSYNC:
        return UNSYNCED
    uncertainty_us = kernel.max_error_us + abs(kernel.offset_us)
    if kernel.estimated_error_us == 0:
        uncertainty_us += PATH_ALLOWANCE_US
    return Trust(TimeQuality.NTP, max(1, -(-uncertainty_us // 1000)))


def ask_kernel() -> KernelClock:
    """The state of the kernel's clock; OSError where asking is forbidden (a seccomp filter without adjtimex)."""
    timex = _Timex()
    state = _libc.adjtimex(ctypes.byref(timex))
    if state < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), "adjtimex")
    return KernelClock(
        state=state,
        status=timex.status,
        offset_us=timex.offset // 1000 if timex.status & STA_NANO else timex.offset,
        max_error_us=timex.maxerror,
        estimated_error_us=timex.esterror,
    )


_libc = ctypes.CDLL(None, use_errno=True)


def boottime_ns() -> int:
    """Nanoseconds since the machine started, sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id(file: Path = BOOT_ID_FILE) -> str:
    """Name of this boot, 32 hex digits. Where /proc is hidden, one of this process's own that matches no other."""
    try:
        return uuid.UUID(file.read_text(encoding="ascii").strip()).hex
    except (OSError, ValueError) as reason:
        log.warning("no boot id in %s (%s): this run counts as a boot of its own", file, reason)
        return uuid.uuid4().hex


class Clock:
    """Stamps moments. The sources can be given; by default they are the machine's."""

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = boottime_ns,
        kernel: Callable[[], KernelClock] = ask_kernel,
        boot: str | None = None,
    ) -> None:
        """Name the boot and ask the kernel for the first time."""
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._kernel = kernel
        self._boot_id = boot_id() if boot is None else boot
        self._answered = True
        self._trust: Trust | None = None
        self._refresh(monotonic_ns())

    def stamp(self) -> Stamp:
        """This moment, with a quality that is at most a second old."""
        monotonic_ns = self._monotonic_ns()
        if monotonic_ns >= self._good_until_ns:
            self._refresh(monotonic_ns)
        return Stamp(self._wall_ns() // 1000, self._quality, self._uncertainty_ms, self._boot_id, monotonic_ns // 1000)

    def _refresh(self, monotonic_ns: int) -> None:
        trust = self._ask()
        if self._trust is None or trust.quality is not self._trust.quality:
            log.info("the clock is %s", _in_words(trust))
        self._trust = trust
        self._quality, self._uncertainty_ms = trust.quality, trust.uncertainty_ms
        self._good_until_ns = monotonic_ns + REFRESH_NS

    def _ask(self) -> Trust:
        try:
            kernel = self._kernel()
        except OSError as reason:
            if self._answered:
                log.warning("the kernel does not tell whether its clock is synchronised: %s", reason)
            self._answered = False
            return UNSYNCED
        self._answered = True
        return judge(kernel)


def _in_words(trust: Trust) -> str:
    if trust.uncertainty_ms is None:
        return "not synchronised: readings are kept with the time since boot, their date is a guess"
    return f"synchronised by {trust.quality}, within {trust.uncertainty_ms} ms"
