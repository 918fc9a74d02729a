"""A worker process seen from the daemon: started, sent messages, heard line by line, killed, and always buried.

Everything happens in the event loop, nothing blocks it: the socket is not waited for, and the kernel tells through a
pidfd when the child is gone, so that no child is left behind and none is waited for too early.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Isolated, without site-packages, user site or environment: the child sees the standard library and this package.
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; del sys.path[0]; main()"
_OPTIONS = ("-I", "-S", "-B", "-W", "ignore", "-X", "utf8")
_PACKAGE = Path(__file__).resolve().parent.parent.parent
_READ_BYTES = 1 << 18
FAREWELL_S = 0.2  # between a child's last word and its end


class WorkerProcess:
    """One child. `on_lines` gets what it says in whole lines; `on_end` is called once it is gone, with the reason."""

    def __init__(
        self,
        module: str,
        on_lines: Callable[[WorkerProcess, list[bytes]], None],
        on_end: Callable[[WorkerProcess, str], None],
        *,
        longest_line: int,
    ) -> None:
        """Start the child; OSError when the system will not."""
        self._loop = asyncio.get_running_loop()
        self._on_lines = on_lines
        self._on_end = on_end
        self._longest_line = longest_line
        self._heard = b""
        self._deaf = False  # it said too much in one line, and what follows is not believed
        self._unsent = b""
        self._reason = ""
        self._farewell: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own program
                    [str(Path(sys.executable).absolute()), *_OPTIONS, "-c", _BOOT.format(module=module), str(_PACKAGE)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env={"TZ": "UTC"},
                    start_new_session=True,  # Ctrl-C is for the daemon
                )
            except OSError:
                self._socket.close()
                raise
        self.pid = self._child.pid
        self._socket.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._gone)
        self._loop.add_reader(self._socket, self._read)

    def send(self, message: Any) -> None:
        """Send a message (what `marshal` takes). Says nothing of its arrival: a lost child is told by `on_end`."""
        body = marshal.dumps(message)
        waiting = bool(self._unsent)
        self._unsent += len(body).to_bytes(4, "little") + body
        if not waiting:
            self._write()

    def kill(self, reason: str) -> None:
        """End the child now; `on_end` follows."""
        self._reason = self._reason or reason
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGKILL)

    def hang_up(self, within_s: float) -> None:
        """Let the child end by itself, or by force after a while; `on_end` follows."""
        self._reason = self._reason or "no longer needed"
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._farewell = self._farewell or self._loop.call_later(within_s, self.kill, self._reason)

    def cpu_s(self) -> float:
        """Processor time the child has used so far, in seconds; 0 when it is gone."""
        # The clock id of another process as the kernel builds it: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return 0.0

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is gone or going, and on_end will say so
            self._unsent = b""
            sent = 0
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            heard = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:  # it ends, and the pidfd is about to say how; or it only pretends to
            self._loop.remove_reader(self._socket)
            self._farewell = self._farewell or self._loop.call_later(FAREWELL_S, self.kill, "it closed its socket")
            return
        *lines, self._heard = (self._heard + heard).split(b"\n")
        if len(self._heard) > self._longest_line:
            self._deaf = True
            self._loop.remove_reader(self._socket)
            self.kill(f"it answered more than {self._longest_line} bytes")
        if lines:
            self._on_lines(self, lines)

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(OSError):  # what it said last
            while heard := self._socket.recv(_READ_BYTES):
                self._heard += heard
        lines = [] if self._deaf else self._heard.split(b"\n")[:-1]
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        if self._farewell is not None:
            self._farewell.cancel()
        code = self._child.wait()
        if lines:
            self._on_lines(self, lines)
        self._on_end(self, self._reason or _ending(code))
        if not self.ended.done():
            self.ended.set_result(None)


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it was ended by signal {-code}"
