"""Relays and attenuators: little programs and four bytes."""

from __future__ import annotations

import importlib
import subprocess
import time
from typing import TYPE_CHECKING

from hil_tests.parts import BenchTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hil_tests.bench_file import AttenuatorEntry, RelayEntry
    from hil_tests.parts import Relay

PATIENCE_S = 15


def lcus(channel: int, *, closed: bool) -> bytes:
    """What an LCUS relay module is told: start, channel, state, and their sum. It does not answer.

    As its maker (LC Technology) documents it: `A0 01 01 A2` closes the first relay, `A0 01 00 A1` opens it.
    """
    head = bytes((0xA0, channel, int(closed)))
    return head + bytes((sum(head) & 0xFF,))


def run(words: Sequence[str], what: str) -> None:
    """Run a program of the bench; BenchTrouble when it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchTrouble(f"{what}: {words[0]} cannot be run: {error}", hint="See its line in bench.toml") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise BenchTrouble(f"{what}: {' '.join(words)} ended with {done.returncode}: {said[-1] if said else 'no word'}")


def write(port: str, baud: int, octets: bytes, what: str) -> None:
    """Write to a serial line that does not answer; BenchTrouble when it cannot be done."""
    try:
        serial = importlib.import_module("serial")
    except ImportError as error:
        raise BenchTrouble("pyserial is not there", hint="pip install '.[hil]'") from error
    try:
        with serial.Serial(port, baud, timeout=1, write_timeout=2) as line:
            line.write(octets)
            line.flush()
    except (OSError, ValueError) as error:
        raise BenchTrouble(f"{what}: {port} cannot be written: {error}", hint="See its USB cable") from error


class LcusRelay:
    """A USB relay module with a CH340 (LCUS-1 to LCUS-8)."""

    def __init__(self, entry: RelayEntry, what: str) -> None:
        assert entry.port is not None
        self._entry, self._port, self._what = entry, entry.port, what

    def switch(self, *, on: bool) -> None:
        """See `Relay.switch`."""
        closed = on is not self._entry.inverted
        write(self._port, self._entry.baud, lcus(self._entry.channel, closed=closed), self._what)


class CommandRelay:
    """Two programs."""

    def __init__(self, entry: RelayEntry, what: str) -> None:
        self._entry, self._what = entry, what

    def switch(self, *, on: bool) -> None:
        """See `Relay.switch`."""
        run(self._entry.on if on else self._entry.off, self._what)


class CalledRelay:
    """A relay of the virtual bench: two functions."""

    def __init__(self, on: Callable[[], None], off: Callable[[], None]) -> None:
        self._on, self._off = on, off

    def switch(self, *, on: bool) -> None:
        """See `Relay.switch`."""
        (self._on if on else self._off)()


def relay(entry: RelayEntry, what: str) -> Relay:
    """The relay of an entry."""
    return LcusRelay(entry, what) if entry.port is not None else CommandRelay(entry, what)


class FixedAttenuator:
    """None that can be set."""

    lowest_db = highest_db = 0.0

    def set(self, decibels: float) -> float:  # noqa: ARG002 - it is what it is
        """Always 0: what is fixed stands in the modem's `loss_db`."""
        return 0.0


class ToldAttenuator:
    """One that a program or a serial line sets."""

    def __init__(self, entry: AttenuatorEntry) -> None:
        self._entry = entry
        self.lowest_db, self.highest_db = entry.lowest_db, entry.highest_db
        self._is_db: float | None = None

    def set(self, decibels: float) -> float:
        """See `Attenuator.set`."""
        entry = self._entry
        steps = round((min(max(decibels, entry.lowest_db), entry.highest_db) - entry.lowest_db) / entry.step_db)
        value = min(entry.lowest_db + steps * entry.step_db, entry.highest_db)
        if value == self._is_db:
            return value
        what = f"attenuator {entry.name}"
        if entry.command:
            run([word.format(db=value) for word in entry.command], what)
        elif entry.port is not None:
            write(entry.port, entry.baud, (entry.line.format(db=value) + "\r\n").encode(), what)
        time.sleep(0.05)  # for its relays
        self._is_db = value
        return value


class CalledAttenuator:
    """One of the virtual bench."""

    lowest_db, highest_db = 0.0, 120.0

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell

    def set(self, decibels: float) -> float:
        """See `Attenuator.set`."""
        value = min(max(decibels, self.lowest_db), self.highest_db)
        self._tell(value)
        return value
