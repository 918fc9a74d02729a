"""`lorawan-gateway run` on a machine whose clocks a test sets: told_gateway.py SETTINGS TIME, a file of `ToldTime`."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from daemons import PROJECT, GatewayProcess

from gateway import daemon
from gateway.host.time_sources import TimeSources, boottime_ns
from gateway.host.trust import STA_UNSYNC, TIME_ERROR, KernelClock
from gateway.settings import load_for_run

TRUE_START_US = 1_795_428_902_000_000  # 2026-11-23


class ToldTime:
    """The true time, and what the machine's clocks make of it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._began_us = boottime_ns() // 1000
        self.power_up()

    @property
    def true_us(self) -> int:
        return TRUE_START_US + boottime_ns() // 1000 - self._began_us

    def power_up(self) -> None:
        """Another boot, at 1970."""
        self._up_us = boottime_ns() // 1000
        self._boot_id = uuid.uuid4().hex
        self._ahead_us = 0
        self._tell(None)

    def synchronise(self, max_error_us: int = 20_000) -> None:
        """An NTP client sets the wall clock."""
        self._ahead_us = TRUE_START_US - self._began_us + self._up_us
        self._tell(max_error_us)

    def set_wall(self, by_s: float, max_error_us: int | None = None) -> None:
        """Somebody sets the wall clock; with an error it is called synchronised all the same."""
        self._ahead_us += round(by_s * 1e6)
        self._tell(max_error_us)

    def _tell(self, max_error_us: int | None) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps([self._boot_id, self._up_us, self._ahead_us, max_error_us]))
        beside.replace(self._file)


class ToldGateway(GatewayProcess):
    """A gateway process that takes its time from `time`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self._time_file = folder / "time.json"
        self.time = ToldTime(self._time_file)

    def start(self, **environment: str) -> None:
        path = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
        self.launch([__file__, str(self.settings), str(self._time_file)], PYTHONPATH=path, **environment)


def sources(file: Path) -> TimeSources:
    boot_id, up_us, _, _ = told(file)

    def monotonic_us() -> int:
        return boottime_ns() // 1000 - up_us

    def kernel() -> KernelClock:
        _, _, ahead_us, max_error_us = told(file)
        wall_us = monotonic_us() + ahead_us
        if max_error_us is None:
            return KernelClock(TIME_ERROR, STA_UNSYNC, 0, 16_000_000, 16_000_000, wall_us)
        return KernelClock(0, 0, 0, max_error_us, 1, wall_us)

    return TimeSources(
        kernel=kernel, monotonic_ns=lambda: monotonic_us() * 1000, battery_s=lambda: None, boot_id=boot_id
    )


def told(file: Path) -> Any:
    return json.loads(file.read_text())


if __name__ == "__main__":
    daemon.run(load_for_run(Path(sys.argv[1])), time_sources=sources(Path(sys.argv[2])))
