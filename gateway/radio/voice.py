"""What a C library prints, taken away from our stdout: logged, and kept for a while, since it says why a start failed.

Semtech's library has no log: it writes to stdout with `printf`, often into a buffer, and returns -1. While a `Voice` is
open, file descriptor 1 of this process leads here; what belongs on stdout is printed before or after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT_LINES: Final = 200
LONGEST_LINE: Final = 300
_LINE_BUFFERED: Final = 1  # _IOLBF of glibc and musl
_SETTLE_S: Final = 1.0
_MARK: Final = b"\x00\x01settled\x01\x00\n"  # no library prints zeros


class Voice:
    """Listens to file descriptor 1. `say` gets each line, from a thread of its own: also while a call hangs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._settled = threading.Event()
        self._libc = ctypes.CDLL(None)
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stdout.flush()
        self._libc.fflush(None)
        self._stdout = os.dup(1)
        reading, self._writing = os.pipe()
        self.hold()
        with contextlib.suppress(ValueError):  # a C library that names its stdout otherwise keeps its buffer
            self._libc.setvbuf(ctypes.c_void_p.in_dll(self._libc, "stdout"), None, _LINE_BUFFERED, 0)
        self._thread = threading.Thread(target=self._listen, args=(reading,), name="libloragw", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self) -> None:
        """Lead file descriptor 1 here, again if somebody led it elsewhere meanwhile."""
        os.dup2(self._writing, 1)

    def forget(self) -> None:
        """What was said until now explains nothing that follows."""
        self.settle()
        self._lines.clear()

    def said(self) -> tuple[str, ...]:
        """The last lines since `forget`, all that was printed before this call included."""
        self.settle()
        return tuple(self._lines)

    def settle(self) -> None:
        """Wait until everything printed so far was heard."""
        self._settled.clear()
        self._libc.fflush(None)
        os.write(self._writing, _MARK)
        self._settled.wait(_SETTLE_S)

    def close(self) -> None:
        """Give stdout back."""
        if self._stdout < 0:
            return
        self._libc.fflush(None)
        os.dup2(self._stdout, 1)
        os.close(self._stdout)
        os.close(self._writing)
        self._stdout = -1
        self._thread.join(_SETTLE_S)

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            rest = b""
            while chunk := pipe.read(65_536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(line)
                rest = rest[-65_536:]
            self._hear(rest)

    def _hear(self, line: bytes) -> None:
        if _MARK.rstrip(b"\n") in line:
            line = line.replace(_MARK.rstrip(b"\n"), b"")
            if line:
                self._hear(line)
            self._settled.set()
            return
        text = line.decode("utf-8", "replace").strip()
        if text and not text.startswith(_IDLE_TALK):
            text = "".join(letter if letter.isprintable() else "?" for letter in text[:LONGEST_LINE])
            self._lines.append(text)
            self.say(text)


_IDLE_TALK: Final = ("Note: remaining ", "WARNING: not enough space allocated", "INFO: syncword not found")
"""What the library says many times a second when nothing is wrong, or for each byte when something is."""
