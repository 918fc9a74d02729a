"""The radio process seen from the daemon: started, told, heard, watched, killed, and always buried.

Everything happens in the event loop and nothing blocks it: the pipes are not waited for, and the kernel tells through a
pidfd when the process is gone. What it had said by then is still heard, to the last whole message.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.radio.pipe import Bye, Decoder, PipeFault, Quit, Tell, encode
from gateway.radio.pulse import Doing, Pulse, words_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.radio.chip import Option
    from gateway.radio.pipe import Again, Message, Send, Setup
    from gateway.radio.pulse import Look

log = logging.getLogger(__name__)

_BOOT: Final = "import sys; sys.path[:] = sys.argv[1].split(':'); from gateway.radio.process import main; main()"
_PACKAGE: Final = str(Path(__file__).resolve().parent.parent.parent)

PIPE_BYTES: Final = 1 << 20
"""What an unprivileged process may have a pipe hold (pipe-max-size): some thousands of frames."""

READ_BYTES: Final = 1 << 17
LAST_WORDS: Final = 20  # lines of what it and its driver printed
LONGEST_LINE: Final = 400
FAREWELL_S: Final = 0.5  # between the end of its pipe and its own


class RadioChild:
    """One radio process. `on_message` gets what it says; `on_end` is called once, when it is gone, with the reason."""

    def __init__(
        self,
        setup: Setup,
        options: Mapping[str, Option],
        on_message: Callable[[Message], None],
        on_end: Callable[[RadioChild, str], None],
    ) -> None:
        """Start it; OSError when the system will not."""
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._on_end = on_end
        self._decoder = Decoder()
        self._deaf = False  # it said what is no message, and what follows is not believed
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._look: Look | None = None
        self.hung = False  # it was ended because a call did not come back
        self.said: deque[str] = deque(maxlen=LAST_WORDS)
        self._line = b""
        with contextlib.ExitStack() as undo:
            self._pulse = undo.enter_context(Pulse.create())
            self._pulse.enter(Doing.BEGINNING, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)
            theirs_down, self._down = _pipe(undo)
            self._up, theirs_up = _pipe(undo)
            self._printed, theirs_printed = _pipe(undo)
            self._child = subprocess.Popen(  # noqa: S603 - our own program
                [
                    str(Path(sys.executable).absolute()), "-B", "-X", "utf8", "-c", _BOOT,
                    ":".join((_PACKAGE, *filter(None, sys.path))),
                    str(os.getpid()), str(theirs_down), str(theirs_up), str(self._pulse.descriptor),
                ],
                stdin=subprocess.DEVNULL,
                stdout=theirs_printed,
                stderr=theirs_printed,
                cwd="/",
                pass_fds=(theirs_down, theirs_up, self._pulse.descriptor),
                start_new_session=True,  # Ctrl-C is for the daemon
            )  # fmt: skip
            undo.pop_all()
        for descriptor in (theirs_down, theirs_up, theirs_printed):
            os.close(descriptor)
        for descriptor in (self._down, self._up, self._printed):
            os.set_blocking(descriptor, False)
        self.pid = self._child.pid
        self._pidfd = os.pidfd_open(self.pid)
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._gone)
        self._loop.add_reader(self._up, self._read)
        self._loop.add_reader(self._printed, self._listen)
        told = [self.send(Tell(name, value)) for name, value in options.items()]
        if not (all(told) and self.send(setup)):
            self.kill("it cannot be told what it is to do")

    def send(self, message: Tell | Setup | Send | Again | Quit) -> bool:
        """Tell it something; False when the pipe is full or nobody reads it. PipeFault for what no pipe takes."""
        try:
            os.write(self._down, encode(message))
        except OSError:
            return False
        return True

    def kill(self, reason: str) -> None:
        """End it now; `on_end` follows."""
        self._reason = self._reason or reason
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGKILL)

    def hang_up(self, within_s: float) -> None:
        """Let it silence its chip and end, or end it by force after a while; `on_end` follows."""
        self._reason = self._reason or "no longer needed"
        self.send(Quit())
        self._timer = self._timer or self._loop.call_later(within_s, self.kill, "")

    def overdue(self, now_us: int) -> str | None:
        """What it does not come back from, if two looks in a row have found it in the same call past its time."""
        if self.ended.done():
            return None
        before, self._look = self._look, self._pulse.look()
        if self._look.until_us >= now_us or self._look != before:
            return None
        return words_for(self._look)

    def doing(self) -> str:
        """What it did last."""
        return words_for(self._pulse.look() if self._look is None else self._look)

    def _read(self) -> None:
        try:
            octets = os.read(self._up, READ_BYTES)
        except BlockingIOError:
            return
        if not octets:  # it ends, and the pidfd is about to say how; or it only pretends to
            self._loop.remove_reader(self._up)
            self._timer = self._timer or self._loop.call_later(FAREWELL_S, self.kill, "it closed its pipe")
            return
        self._hear(octets)

    def _hear(self, octets: bytes) -> None:
        if self._deaf:
            return
        try:
            messages: Sequence[Message] = self._decoder.feed(octets)
        except PipeFault as fault:
            self._deaf = True
            self.kill(f"it said what is no message: {fault}")
            return
        for message in messages:
            if isinstance(message, Bye):
                self._reason = self._reason or "it was told to end"
            self._on_message(message)

    def _listen(self) -> None:
        """What it or its driver prints goes into the log, and its end may be the reason of its end."""
        try:
            octets = os.read(self._printed, READ_BYTES)
        except BlockingIOError:
            return
        if octets:
            self._print(octets)
        else:
            self._loop.remove_reader(self._printed)

    def _print(self, octets: bytes) -> None:
        *lines, self._line = (self._line + octets).split(b"\n")
        self._line = self._line[-LONGEST_LINE:]
        for line in lines:
            words = "".join(letter if letter.isprintable() else " " for letter in line.decode("utf-8", "replace"))
            if words.strip():
                self.said.append(words.strip()[:LONGEST_LINE])
                log.debug("radio process: %s", self.said[-1])

    def _drain(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        """What was said before the end."""
        self._loop.remove_reader(descriptor)
        with contextlib.suppress(BlockingIOError):
            while octets := os.read(descriptor, READ_BYTES):
                take(octets)

    def _gone(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._child.wait()
        self._drain(self._up, self._hear)
        self._drain(self._printed, self._print)
        if self._timer is not None:
            self._timer.cancel()
        for descriptor in (self._up, self._down, self._printed):
            os.close(descriptor)
        self._look = self._pulse.look()
        self._pulse.close()
        self._on_end(self, self._reason or _ending(code))
        if not self.ended.done():
            self.ended.set_result(None)


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe as large as it may be; both ends are closed again when starting fails."""
    reading, writing = os.pipe()
    undo.callback(os.close, reading)
    undo.callback(os.close, writing)
    with contextlib.suppress(OSError):  # the limit of the machine is lower; 64 KiB do too
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it was ended by signal {-code}"
