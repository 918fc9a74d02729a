"""What systemd is told about the service, and how often it wants a sign of life.

The protocol is sd_notify(3): one datagram of `NAME=value` lines to the Unix socket named in NOTIFY_SOCKET. The watchdog
is sd_watchdog_enabled(3): WATCHDOG_USEC says within how many microseconds `WATCHDOG=1` has to come, WATCHDOG_PID from
whom.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""How long READY and STOPPING may wait for a busy systemd: they are said once. What is said again waits for nobody."""

STATUS_CHARACTERS = 500
"""More than `systemctl status` shows on a line, and so little that no text can make the datagram too large to send."""


class Notifier:
    """Tells systemd how the service is. Where no systemd listens, every method does nothing.

    `watchdog_interval_s` is how often `watchdog` has to be called, None when nobody waits for it. Call it only while
    the work itself moves on: a sign of life from a timer of its own would keep a hung gateway running.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, pid: int | None = None) -> None:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from `environ`, by default the process's own."""
        environ = os.environ if environ is None else environ
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._reached = True
        period_us = _watchdog_us(environ, os.getpid() if pid is None else pid) if self._address else None
        # Half the time, as sd_watchdog_enabled(3) advises: one may come late without harm.
        self.watchdog_interval_s = None if period_us is None else period_us / 2e6

    @property
    def listens(self) -> bool:
        """Whether there is a systemd to talk to."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """Start-up is over; units ordered after this one may start."""
        self._send("READY=1", *_status(status), patience_s=PATIENCE_S)

    def stopping(self, status: str = "") -> None:
        """The service is stopping in order."""
        self._send("STOPPING=1", *_status(status), patience_s=PATIENCE_S)

    def status(self, text: str) -> None:
        """Show one line of text in `systemctl status`."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """The work moves on; once this fails to come in time, systemd starts the service anew."""
        if self.watchdog_interval_s is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str, patience_s: float = 0.0) -> None:
        if self._address is None or not lines:
            return
        try:
            # A socket for each message, like libsystemd: nothing to keep open, nothing for a child to inherit.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
                wire.settimeout(patience_s)
                wire.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError as reason:
            level = logging.WARNING if self._reached else logging.DEBUG
            log.log(level, "systemd was not told %s: %s", lines[0], reason)
            self._reached = False
        else:
            self._reached = True


def _address(name: str) -> str | bytes | None:
    """The socket's address: `@name` stands for the abstract namespace, whose names begin with a zero byte."""
    if not name:
        return None
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    if name.startswith("/"):
        return name
    log.warning("NOTIFY_SOCKET=%s is neither a path nor an abstract socket; systemd is told nothing", ascii(name))
    return None


def _status(text: str) -> list[str]:
    """The STATUS line. A line break in it would begin another assignment, so there is none."""
    line = " ".join(text.split())[:STATUS_CHARACTERS]
    return [f"STATUS={line}"] if line else []


def _watchdog_us(environ: Mapping[str, str], pid: int) -> int | None:
    """The watchdog's period, when there is one and it is meant for this process."""
    period, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period or whose not in ("", str(pid)):
        return None
    if not (period.isascii() and period.isdecimal() and int(period) > 0):
        log.warning("WATCHDOG_USEC=%s is no number of microseconds; systemd gets no sign of life", ascii(period))
        return None
    return int(period)
