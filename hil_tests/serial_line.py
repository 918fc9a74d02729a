"""Lines over a serial port, with the moment each one came."""

from __future__ import annotations

import importlib
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil_tests.parts import BenchTrouble

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_LINE = 2048
_TURN_S = 0.02


@dataclass(frozen=True, slots=True)
class Line:
    """What came, without its end, and when by `time.monotonic`."""

    text: str
    at_s: float


class LineReader:
    """Bytes in pieces of any size become lines. What is no text stands as the sign for that; a line has an end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes, at_s: float) -> list[Line]:
        """The lines that are complete with these bytes, empty ones left out."""
        *whole, self._rest = (self._rest + octets).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > LONGEST_LINE:  # noise on a wire without a modem
            whole, self._rest = [*whole, self._rest[:LONGEST_LINE]], b""
        return [Line(one.decode("ascii", "replace").strip(), at_s) for one in whole if one.strip()]


class SerialLine:
    """A modem's serial port."""

    def __init__(self, name: str, port: str, baud: int) -> None:
        """BenchTrouble when it cannot be opened."""
        self.name = name
        self._where = port
        self._reader = LineReader()
        self._lines: deque[Line] = deque()
        try:
            serial = importlib.import_module("serial")
        except ImportError as error:
            raise BenchTrouble("pyserial is not there", hint="pip install '.[hil]'") from error
        try:
            self._port: Any = serial.Serial(port, baud, timeout=_TURN_S, write_timeout=2, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise BenchTrouble(
                f"{name}: {port} cannot be opened: {getattr(error, 'strerror', None) or error}",
                hint="See the cable: ls -l /dev/serial/by-id names what is plugged in. The group dialout may use it",
            ) from error

    def write(self, line: str) -> None:
        """Say a line."""
        try:
            self._port.write(line.encode() + b"\r\n")
        except OSError as error:
            raise self._gone(error) from error

    def next(self, until_s: float) -> Line | None:
        """The next line; None when none comes until then (`time.monotonic`). What is there already always comes."""
        while not self._lines:
            left_s = until_s - time.monotonic()
            try:
                octets = self._port.read(max(1, self._port.in_waiting))
            except (OSError, TypeError) as error:  # TypeError: pyserial, of a port that was closed meanwhile
                raise self._gone(error) from error
            self._lines.extend(self._reader.feed(octets, time.monotonic()))
            if left_s <= 0 and not self._lines:
                return None
        return self._lines.popleft()

    def until(self, wanted: Callable[[Line], bool], within_s: float) -> tuple[Line | None, list[Line]]:
        """The first line that is wanted, and all that came before it; None when it did not come in time."""
        until_s = time.monotonic() + within_s
        before: list[Line] = []
        while (line := self.next(until_s)) is not None:
            if wanted(line):
                return line, before
            before.append(line)
        return None, before

    def drain(self) -> None:
        """Forget what has come and was not asked for."""
        while self.next(time.monotonic()) is not None:
            pass

    def close(self) -> None:
        """Let it go."""
        self._port.close()

    def _gone(self, error: Exception) -> BenchTrouble:
        return BenchTrouble(f"{self.name}: {self._where} went away: {error}", hint="See the modem's USB cable")
