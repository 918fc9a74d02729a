"""The radio process: a chip, the queue of what it has to send, and a loop around them, apart from everything else.

The driver of a concentrator may crash, spin for ever, or write where it should not (Semtech's library does each, see
`chip`). Here it takes only this process with it, which the daemon starts anew within seconds. And a daemon that is busy
with ten thousand frames, a codec or a disk costs no receive window here.

The daemon starts it with three descriptors: the pipe down, the pipe up, and a page on which it writes what it is doing
(`pulse`). It is served in real time where the machine allows that, and is kept in memory.

It ends with the daemon, whatever way that goes: by `Quit`, by SIGTERM, by the end of the pipe, and by the kernel's word
that the parent is gone. Before it ends it silences the chip; if the chip does not let it, it ends without.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.errors import GatewayError
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.loop import RadioLoop
from gateway.radio.pipe import Again, Bye, Decoder, PipeFault, Quit, Send, Setup, Tell, Trouble, batches, encode
from gateway.radio.pulse import Doing, Pulse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.radio.chip import Chip, OpenChip, Option
    from gateway.radio.pipe import Message

PRIORITY: Final = 20
"""Of the real-time ones, 1 to 99: above what has none, below the kernel's own threads (50)."""

SPIN_US: Final = 2_000_000
"""In real time, so long without waiting for anything is a loop without end; the kernel ends it (RLIMIT_RTTIME)."""

FAREWELL_S: Final = 4.0
"""A chip that is to be silenced gets so long."""

READ_BYTES: Final = 65_536

MOST_BYTES: Final = 4 << 20
"""Of messages that wait for a daemon that does not read, beyond what the pipe holds: a minute of the longest frames at
the 171/s a chip can physically deliver, some minutes of usual ones."""

HEARD: Final = 0x02  # the message that may be dropped

_RLIMIT_RTTIME: Final = 15  # include/uapi/asm-generic/resource.h; the module `resource` has no name for it
_PR_SET_PDEATHSIG: Final = 1  # include/uapi/linux/prctl.h
_MCL_CURRENT_FUTURE_ONFAULT: Final = 7  # include/uapi/asm-generic/mman.h: whatever is used, from its first use on


def boottime_us() -> int:
    """The clock since boot, the same that the daemon's stamps carry."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def main() -> None:
    """Run as a child of the daemon: `argv` is the daemon's process id and the descriptors down, up and pulse."""
    parent, down, up, page = map(int, sys.argv[-4:])
    _die_with(parent)
    faulthandler.enable()  # a driver's crash says where, on stderr
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no image of it on the card
    pulse = Pulse(page)
    pulse.enter(Doing.BEGINNING, boottime_us())
    end = _End(down)
    inbox = _Inbox(down)
    outbox = _Outbox(up)
    setup, options = inbox.setup()
    pulse.enter(Doing.LOADING, boottime_us())
    standing = _standing(realtime=setup.realtime)
    try:
        chip = _open(setup.driver, options)
    except ChipTrouble as trouble:
        outbox.say(encode(Trouble(trouble.kind, trouble.problem, trouble.hint)))
        outbox.flush()
        return
    anchor = None if setup.count_us is None else (setup.count_us, setup.monotonic_us)
    loop = RadioLoop(
        chip, setup.plan, clock_us=boottime_us, pulse=pulse, say=outbox.say, anchor=anchor, standing=standing
    )
    _serve(loop, setup.poll_us, inbox, outbox, end)
    loop.stop()
    outbox.say(encode(Bye()))
    outbox.flush_within(FAREWELL_S)


def _serve(loop: RadioLoop, poll_us: int, inbox: _Inbox, outbox: _Outbox, end: _End) -> None:
    """Turn the loop every few milliseconds until somebody says that it is over."""
    loop.start()
    outbox.flush()
    gc.collect()
    gc.freeze()
    due_us = boottime_us()
    while not end.has_come:
        readable, _, _ = select.select(
            [inbox.descriptor, end.descriptor],
            [outbox.descriptor] if outbox.waiting else [],
            [],
            max(0, due_us - boottime_us()) / 1_000_000,
        )
        if inbox.descriptor in readable:
            for message in inbox.read():
                match message:
                    case Send() | Again():
                        loop.take(message)
                    case _:  # Quit, the end of the pipe, or something nobody should say now
                        return
        now_us = boottime_us()
        if now_us >= due_us:
            loop.turn()
            due_us = max(due_us + poll_us, now_us)
        if not outbox.flush():
            return


def _open(driver: str, options: Mapping[str, Option]) -> Chip:
    module, _, function = driver.partition(":")
    try:
        open_chip: OpenChip = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ChipTrouble(TroubleKind.NO_DRIVER, f"the driver {driver} cannot be loaded: {error}") from error
    try:
        return open_chip(options)
    except ChipTrouble:
        raise
    except GatewayError as error:  # what it is told cannot be
        raise ChipTrouble(TroubleKind.BAD_PLAN, error.problem, hint=error.hint) from error
    except Exception as error:
        raise ChipTrouble(TroubleKind.NO_DRIVER, f"the driver {driver} failed: {error!r}") from error


# --- the pipes ------------------------------------------------------------------------------------------------------


class _Inbox:
    """What the daemon says."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._decoder = Decoder()

    def setup(self) -> tuple[Setup, Mapping[str, Option]]:
        """Wait for the first messages."""
        options: dict[str, Option] = {}
        while True:
            messages = self.read()
            for message in messages:
                match message:
                    case Tell(name, value):
                        options[name] = value
                    case Setup():
                        return message, options
                    case _:
                        raise SystemExit(0)

    def read(self) -> Sequence[Message]:
        """What has come; `Quit` for the end of the pipe and for what nobody can have said."""
        octets = os.read(self.descriptor, READ_BYTES)
        try:
            return self._decoder.feed(octets) if octets else [Quit()]
        except PipeFault:
            return [Quit()]


class _Outbox:
    """What waits for the daemon. Frames beyond a bound are dropped; everything else is little and finds room."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._messages: list[bytes] = []
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        os.set_blocking(descriptor, False)

    @property
    def waiting(self) -> bool:
        """Whether there is something the pipe has not taken."""
        return bool(self._messages or self._pieces)

    def say(self, message: bytes) -> bool:
        """Let it wait for `flush`; False for a frame that finds no room."""
        if message[0] == HEARD and self._bytes >= MOST_BYTES:
            return False
        self._messages.append(message)
        self._bytes += len(message)
        return True

    def flush(self) -> bool:
        """Write as much as the pipe takes; False when nobody reads it any more."""
        while self.waiting:
            if not self._pieces:
                self._pieces.extend(batches(self._messages))
                self._messages.clear()
            try:
                self._bytes -= os.write(self.descriptor, self._pieces[0])
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._pieces.popleft()
        return True

    def flush_within(self, seconds: float) -> None:
        """Write all of it, if somebody reads it in time."""
        until_s = time.monotonic() + seconds
        while self.flush() and self.waiting and time.monotonic() < until_s:
            select.select([], [self.descriptor], [], 0.1)


# --- the machine ----------------------------------------------------------------------------------------------------


class _End:
    """Whether it is over, and that it really ends then: a chip that does not come back cannot keep the process."""

    def __init__(self, lifeline: int) -> None:
        self.has_come = False
        self.descriptor, ours = os.pipe()
        os.set_blocking(ours, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon
        signal.signal(signal.SIGTERM, self._told)
        signal.set_wakeup_fd(ours, warn_on_full_buffer=False)  # written to also while a driver does not come back
        threading.Thread(target=self._see_to_it, args=(lifeline,), name="end", daemon=True).start()

    def _told(self, *_: object) -> None:
        self.has_come = True

    def _see_to_it(self, lifeline: int) -> None:
        poll = select.poll()
        poll.register(lifeline, 0)  # its end is told always
        poll.register(self.descriptor, select.POLLIN)
        poll.poll()
        time.sleep(FAREWELL_S + 1)
        os._exit(1)


def _die_with(parent: int) -> None:
    """Be told by SIGTERM when the daemon is gone, also when it was killed."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)  # it is gone already


def _standing(*, realtime: bool) -> str:
    """Ask the machine for what a radio needs, and say in a sentence what it grants."""
    if not realtime:
        return "served like any other process"
    resource.setrlimit(_RLIMIT_RTTIME, (SPIN_US, SPIN_US))
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        priority = f"in real time, priority {PRIORITY}"
    except OSError as error:
        priority = f"not in real time ({error.strerror}; LimitRTPRIO={PRIORITY} in the unit allows it)"
    return f"{priority}, {_locked_in_memory()}"


def _locked_in_memory() -> str:
    # Only where memory may be locked without bound: within one, a later request for memory would fail.
    if os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return "not kept in memory (LimitMEMLOCK=infinity in the unit allows it)"
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        return f"not kept in memory ({os.strerror(ctypes.get_errno())})"
    return "kept in memory"


if __name__ == "__main__":
    main()
