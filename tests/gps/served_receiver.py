"""A simulated receiver on a pseudo-terminal, served by a thread, for tests that open it as a program does."""

import os
import threading
import time
from contextlib import contextmanager

from gateway.simulator.chance import Chance
from gateway.simulator.gnss.receiver import SimulatedReceiver
from gateway.simulator.gnss.server import ReceiverServer
from gateway.simulator.sx1302.pty import Lines, Port

UTC_S = 1_795_428_000  # 2026-11-23T10:00:00Z
SPEED = 4
"""Receivers speak once a second: here a second is shorter, for the receiver and for the machine."""


def up_us():
    """The clock since boot of such a machine."""
    return time.monotonic_ns() * SPEED // 1_000


class Served:
    """A receiver whose clock begins at `UTC_S`, or goes by `utc_us`; `say` writes a line of its stdin."""

    def __init__(self, path, utc_us=None, **options):
        self.port = Port(path)
        self.complaints = []
        self.receiver = SimulatedReceiver(Chance(1))
        read, self._orders = os.pipe()
        began_us = up_us()
        self.utc_us = utc_us or (lambda: UTC_S * 1_000_000 + up_us() - began_us)
        self.server = ReceiverServer(
            self.receiver, self.port, utc_us=self.utc_us, orders=Lines(read), complain=self.complaints.append, **options
        )
        self._read = read
        self._stop = threading.Event()

    def say(self, line: str) -> None:
        os.write(self._orders, line.encode() + b"\n")

    def _run(self) -> None:
        self.server.listen()
        while not self._stop.is_set():
            self.server.turn()

    @contextmanager
    def serving(self):
        self.port.plug()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self.say("")
            thread.join()
            self.port.unplug()
            os.close(self._orders)
            os.close(self._read)
