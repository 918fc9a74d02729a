"""The virtual bench as a test sees it: a process that is told what to do, and tells what was on the air."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hil_tests.parts import BenchTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROJECT = Path(__file__).parents[2]


class VirtualBench:
    """The process. `modems` are kinds by name; with `usb` the concentrator is an SX1302 on a pseudo-terminal."""

    def __init__(self, folder: Path, modems: Mapping[str, str], *, usb: bool) -> None:
        self.folder = folder
        self.faults: tuple[str, ...] = ()
        self._events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._orders = threading.Lock()
        words = [sys.executable, "-m", "hil_tests.virtual", str(folder), *(f"{n}={k}" for n, k in modems.items())]
        self._process = subprocess.Popen(
            [*words, *(["--usb"] if usb else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        self._thread = threading.Thread(target=self._read, name="virtual bench", daemon=True)
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._events), 30):
                raise BenchTrouble("the virtual bench does not start")
        self.faults = tuple(self._events[0]["faults"])

    def say(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise BenchTrouble(f"the virtual bench has ended with {self._process.poll()}") from error

    def attenuate(self, modem: str, decibels: float) -> None:
        """Set what stands between a modem and the concentrator; it is so when this returns."""
        with self._orders:
            before = len(self.happened("attenuated"))
            self.say(f"attenuate {modem} {decibels:g}")
            self.until("attenuated", before + 1, 5)

    def break_(self, fault: str) -> None:
        """Let something go wrong, or `clear`; it is so when this returns."""
        with self._orders:
            name = "clear" if fault == "clear" else "fault"
            before = len(self.happened(name))
            self.say(f"fault {fault}")
            self.until(name, before + 1, 5)

    def happened(self, name: str) -> list[dict[str, Any]]:
        """The events of this name so far."""
        with self._changed:
            return [event for event in self._events if event["event"] == name]

    def on_air(self) -> Sequence[Mapping[str, Any]]:
        """See `parts.Observer`."""
        return self.happened("on-air")

    def until(self, name: str, count: int, within_s: float) -> list[dict[str, Any]]:
        """The events of this name, once there are so many or the time is over."""
        end_s = time.monotonic() + within_s
        with self._changed:
            self._changed.wait_for(
                lambda: sum(event["event"] == name for event in self._events) >= count, end_s - time.monotonic()
            )
        return self.happened(name)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._events.append(json.loads(line))
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._thread.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
