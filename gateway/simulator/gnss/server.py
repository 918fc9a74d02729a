"""A simulated receiver on a pseudo-terminal: it speaks once a second, as long as somebody listens."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING

from gateway.errors import UsageError
from gateway.simulator.gnss.receiver import Fault, fault_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.gnss.receiver import SimulatedReceiver
    from gateway.simulator.sx1302.pty import Lines, Port

USAGE = "fault NAME, or fault clear"

IDLE_S = 0.05


class ReceiverServer:
    """Speaks and obeys. `utc_us` is the true time; what is said of a second comes `latency_us` after its begin."""

    def __init__(
        self,
        receiver: SimulatedReceiver,
        port: Port,
        *,
        utc_us: Callable[[], int],
        orders: Lines | None,
        complain: Callable[[UsageError], None],
        latency_us: int = 120_000,
    ) -> None:
        self._receiver = receiver
        self._port = port
        self._utc_us = utc_us
        self._orders = orders
        self._complain = complain
        self._latency_us = latency_us
        self._selector = selectors.DefaultSelector()
        self._served: int | None = None
        self._said_s = self._due_s()

    def run(self, stop_at_us: int | None = None) -> None:
        """Go on until somebody interrupts, or that time has come."""
        self.listen()
        with self._selector:
            while stop_at_us is None or self._utc_us() < stop_at_us:
                self.turn()

    def listen(self) -> None:
        """Watch where orders come from."""
        if self._orders is None:
            return
        try:
            self._selector.register(self._orders.file, selectors.EVENT_READ)
        except (OSError, ValueError):  # a file on disk or nothing at all: what it has to say is there already
            while (lines := self._orders.read()) is not None:
                self._obey(lines)

    def turn(self) -> None:
        """Wait for somebody or for the next second, a moment at most, and do what is to be done."""
        self._follow_plug()
        next_us = (self._said_s + 1) * 1_000_000 + self._latency_us
        ready = self._selector.select(min(IDLE_S, max(0.0, (next_us - self._utc_us()) / 1_000_000)))
        for key, _ in ready:
            if key.fd == self._served:
                self._port.write(self._receiver.told(self._port.read()))
            else:
                self._obey_orders()
        due_s = self._due_s()
        if due_s > self._said_s:
            self._said_s = due_s
            self._speak(due_s)

    def _due_s(self) -> int:
        return (self._utc_us() - self._latency_us) // 1_000_000

    def _speak(self, utc_s: int) -> None:
        """A line that nobody reads takes nothing more; what is said then is lost, as on a wire."""
        if self._port.unread:
            self._port.write()
        if self._served is not None and not self._port.unread:
            self._port.write(self._receiver.burst(utc_s))

    def _follow_plug(self) -> None:
        if Fault.UNPLUG not in self._receiver.faults:
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

    def _obey_orders(self) -> None:
        assert self._orders is not None
        lines = self._orders.read()
        if lines is None:
            self._selector.unregister(self._orders.file)
        else:
            self._obey(lines)

    def _obey(self, lines: list[str]) -> None:
        for line in lines:
            try:
                self._do(line.split())
            except UsageError as error:
                self._complain(error)

    def _do(self, words: list[str]) -> None:
        match words:
            case []:
                pass
            case ["fault", "clear"]:
                self._receiver.faults.clear()
            case ["fault", name]:
                self._receiver.faults.add(fault_named(name))
            case _:
                raise UsageError(f"{' '.join(words)!r} is no order", hint=USAGE)
