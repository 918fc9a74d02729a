"""A simulated board on a pseudo-terminal, served by a thread, for tests that open it as a driver does."""

import os
import threading
import time
from contextlib import contextmanager

from gateway.simulator.scenario_file import load_scenario
from gateway.simulator.sx1302.pty import Lines, Port, Server
from gateway.simulator.sx1302.site import Site


class Running:
    """A server in a thread; `say` writes a line of its stdin."""

    def __init__(self, path, *, scenario=None, **options):
        self.port = Port(path)
        self.events, self.complaints = [], []
        self.site = Site(load_scenario(scenario), self.events.append, start_utc_us=1_795_420_800_000_000, **options)
        read, self._orders = os.pipe()
        started_us = time.monotonic_ns() // 1_000
        self.server = Server(
            self.site,
            self.port,
            clock_us=lambda: time.monotonic_ns() // 1_000 - started_us,
            orders=Lines(read),
            complain=self.complaints.append,
        )
        self._read = read
        self._stop = threading.Event()

    def say(self, line: str) -> None:
        os.write(self._orders, line.encode() + b"\n")

    def happened(self, name: str) -> list[dict]:
        """The facts of the events of this name."""
        return [event.facts for event in self.events if event.name == name]

    def run(self) -> None:
        self.server._listen_for_orders()
        while not self._stop.is_set():
            self.server.turn()

    @contextmanager
    def serving(self):
        self.port.plug()
        thread = threading.Thread(target=self.run)
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


def within(seconds: float, holds) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.01)
    return False
