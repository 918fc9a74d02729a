"""A machine whose clocks behave like a Pi's, moved by hand, and which knows the true time."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from gateway.host.clock import Clock
from gateway.host.time_sources import TimeSources
from gateway.host.trust import STA_UNSYNC, TIME_ERROR, KernelClock

if TYPE_CHECKING:
    from pathlib import Path

NTP_PHASE_LIMIT_US = 16_000_000  # kernel/time/ntp.c: an error that large means unsynchronised
MAXFREQ_PPM = 500  # by which the kernel lets its maximum error grow
NOVEMBER_2026_US = 1_795_428_902_000_000
DAY_S = 86_400.0


class Machine:
    """A kernel's clocks over the true time: a crystal that drifts, a wall clock that is set, NTP that comes and goes.

    It starts with the wall clock at 1970, as a Pi without battery does.
    """

    def __init__(self, *, true_us: int = NOVEMBER_2026_US, drift_ppm: float = 0.0) -> None:
        self.true_us = true_us
        self.drift_ppm = drift_ppm
        self.battery_ahead_s: float | None = None  # None: a Pi has no battery clock
        self.answers = True  # adjtimex is allowed
        self.asked = 0
        self.power_up()

    # --- what happens to it

    def power_up(self, *, wall_us: int = 0, after_s: float = 0.0) -> None:
        """Switch it on, with the wall clock at 1970 unless something restores it."""
        self.true_us += round(after_s * 1e6)
        self.boot_id = uuid.uuid4().hex
        self._since_boot_us = 0.0
        self._ahead_us = float(wall_us)
        self._error_us: int | None = None
        self._synchronised_at_us = 0.0

    def wait(self, seconds: float) -> None:
        """Let time pass, sleep of the machine included."""
        self.true_us += round(seconds * 1e6)
        self._since_boot_us += seconds * (1e6 + self.drift_ppm)

    def pause(self, seconds: float) -> None:
        """A virtual machine that is stopped from outside: none of its clocks moves."""
        self.true_us += round(seconds * 1e6)

    def synchronise(self, *, wrong_by_us: int = 0, max_error_us: int | None = None) -> None:
        """An NTP client sets the wall clock and tells the kernel how good it is."""
        self._ahead_us = self.true_us + wrong_by_us - self._since_boot_us
        self._error_us = abs(wrong_by_us) if max_error_us is None else max_error_us
        self._synchronised_at_us = self._since_boot_us

    def lose_ntp(self) -> None:
        self._error_us = None

    def set_wall(self, by_s: float, *, notices: bool = True) -> None:
        """Somebody sets the wall clock; the kernel then calls it unsynchronised (kernel/time/ntp.c, ntp_clear)."""
        self._ahead_us += by_s * 1e6
        if notices:
            self._error_us = None

    # --- what it tells

    @property
    def monotonic_us(self) -> int:
        return int(self._since_boot_us)

    @property
    def wall_us(self) -> int:
        return int(self._since_boot_us + self._ahead_us)

    def kernel(self) -> KernelClock:
        self.asked += 1
        if not self.answers:
            raise PermissionError(1, "Operation not permitted", "adjtimex")
        error_us = NTP_PHASE_LIMIT_US
        if self._error_us is not None:
            error_us = self._error_us + int((self._since_boot_us - self._synchronised_at_us) * MAXFREQ_PPM / 1e6)
        if error_us >= NTP_PHASE_LIMIT_US:
            return KernelClock(TIME_ERROR, STA_UNSYNC, 0, NTP_PHASE_LIMIT_US, NTP_PHASE_LIMIT_US, self.wall_us)
        return KernelClock(0, 0, 0, error_us, 1, self.wall_us)

    def battery_s(self) -> int | None:
        return None if self.battery_ahead_s is None else int(self.true_us / 1e6 + self.battery_ahead_s)

    def sources(self) -> TimeSources:
        return TimeSources(
            kernel=self.kernel,
            wall_ns=lambda: self.wall_us * 1000,
            monotonic_ns=lambda: self.monotonic_us * 1000,
            battery_s=self.battery_s,
            boot_id=self.boot_id,
        )

    def clock(self, folder: Path | None = None) -> Clock:
        """A clock that starts now, with what an earlier one left in the folder."""
        return Clock(folder, self.sources())
