"""The pseudo-terminal: the board's USB socket, and the loop that serves it.

A driver opens the path like a serial device. The other end stays open here, so that drivers come and go; unplugging
closes both, and who had it open reads an error, as with a cable pulled.
"""

from __future__ import annotations

import os
import selectors
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.simulator.sx1302.site import Site

READ_BYTES = 1 << 16

HALF_REQUEST_S = 0.5
"""A request whose rest does not come within this time was given up by who began it."""

IDLE_S = 0.5
"""The city moves on as often when nobody asks for anything."""

MOST_UNREAD = 1 << 16
"""Bytes of answers that may wait for a driver to read them; until then it is not listened to."""

LONGEST_LINE = 4_096


class Port:
    """A pseudo-terminal that stands at `path`, as a symbolic link to the device the system gave."""

    def __init__(self, path: Path) -> None:
        """UsageError when something else stands there or the folder is none."""
        self.path = path
        self.device = ""
        self._master: int | None = None
        self._slave: int | None = None
        self._unread = bytearray()
        if path.exists() and not path.is_symlink():
            raise UsageError(f"{path} exists and is no link", hint="Name a path where nothing is yet")

    def plug(self) -> None:
        """Make the device appear; nothing when it is there."""
        if self._master is not None:
            return
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            beside.unlink(missing_ok=True)
            beside.symlink_to(self.device)
            beside.replace(self.path)
        except OSError as error:
            self.unplug()
            raise UsageError(f"{self.path} cannot be made: {error.strerror}") from error

    def unplug(self) -> None:
        """Make it disappear."""
        with suppress(OSError):
            if str(self.path.readlink()) == self.device:
                self.path.unlink()
        for end in (self._master, self._slave):
            if end is not None:
                os.close(end)
        self._master = self._slave = None
        self._unread.clear()

    @property
    def master(self) -> int | None:
        """The end to serve; None while unplugged."""
        return self._master

    @property
    def unread(self) -> int:
        """Bytes of answers that the driver has no room for."""
        return len(self._unread)

    def read(self) -> bytes:
        """What the driver has written."""
        if self._master is None:
            return b""
        try:
            return os.read(self._master, READ_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes = b"") -> None:
        """Give the driver this after all it has not read yet."""
        self._unread += data
        if self._master is None or not self._unread:
            return
        with suppress(BlockingIOError):
            written = os.write(self._master, self._unread)
            del self._unread[:written]


class Lines:
    """Lines of a file that may come in pieces."""

    def __init__(self, file: int) -> None:
        self.file = file
        self._rest = b""

    def read(self) -> list[str] | None:
        """The lines that are complete now; None at the end of the file."""
        try:
            data = os.read(self.file, LONGEST_LINE)
        except OSError:
            return None
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-LONGEST_LINE:]
        return [line.decode("utf-8", "replace") for line in whole]


class Server:
    """Answers drivers and obeys orders, on the clock that is given to it."""

    def __init__(
        self,
        site: Site,
        port: Port,
        *,
        clock_us: Callable[[], int],
        orders: Lines | None,
        complain: Callable[[UsageError], None],
    ) -> None:
        self._site = site
        self._port = port
        self._clock_us = clock_us
        self._orders = orders
        self._complain = complain
        self._selector = selectors.DefaultSelector()
        self._served: int | None = None  # the end of the pseudo-terminal that is watched
        self._half_since_us: int | None = None

    def run(self, stop_at_us: int | None = None) -> None:
        """Go on until somebody interrupts, or that time has come."""
        self._listen_for_orders()
        with self._selector:
            while stop_at_us is None or self._clock_us() < stop_at_us:
                self.turn()

    def turn(self) -> None:
        """Wait for one of the two, a moment at most, and do what is to be done."""
        self._follow_plug()
        ready = self._selector.select(HALF_REQUEST_S if self._half_since_us is not None else IDLE_S)
        now_us = self._clock_us()
        while self._site.now_us < now_us:
            self._site.advance(now_us)
        for key, events in ready:
            if key.fd == self._served:
                self._serve(events, now_us)
            else:
                self._obey_orders(key.fd)
        self._give_up_half(now_us)
        if self._served is not None:
            waits = selectors.EVENT_WRITE if self._port.unread else 0
            listens = selectors.EVENT_READ if self._port.unread < MOST_UNREAD else 0
            self._selector.modify(self._served, listens | waits)

    def _follow_plug(self) -> None:
        """Plug or unplug as the board is."""
        if self._site.board.plugged:
            self._port.plug()
            if self._served is None:
                self._served = self._port.master
                assert self._served is not None
                self._selector.register(self._served, selectors.EVENT_READ)
            return
        if self._served is not None:
            self._selector.unregister(self._served)
            self._served = None
        self._port.unplug()

    def _serve(self, events: int, now_us: int) -> None:
        if events & selectors.EVENT_READ:
            for answer in self._site.feed(self._port.read(), now_us):
                self._port.write(answer)
        if events & selectors.EVENT_WRITE:
            self._port.write()

    def _give_up_half(self, now_us: int) -> None:
        """Forget a request whose rest has been missing for too long."""
        if not self._site.board.within_request:
            self._half_since_us = None
        elif self._half_since_us is None:
            self._half_since_us = now_us
        elif now_us - self._half_since_us >= HALF_REQUEST_S * 1_000_000:
            self._site.board.forget_half_request()
            self._half_since_us = None

    def _listen_for_orders(self) -> None:
        if self._orders is None:
            return
        try:
            self._selector.register(self._orders.file, selectors.EVENT_READ)
        except (OSError, ValueError):  # a file on disk or nothing at all: what it has to say is there already
            while (lines := self._orders.read()) is not None:
                self._obey(lines)

    def _obey_orders(self, file: int) -> None:
        lines = None if self._orders is None else self._orders.read()
        if lines is None:
            self._selector.unregister(file)
        else:
            self._obey(lines)

    def _obey(self, lines: list[str]) -> None:
        for line in lines:
            try:
                self._site.obey(line)
            except UsageError as error:
                self._complain(error)
