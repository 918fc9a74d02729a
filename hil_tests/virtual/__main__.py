"""`python -m hil_tests.virtual FOLDER rak-1=rak3172 e5-1=wio-e5 [--usb]`: the virtual bench, until stdin ends.

In FOLDER appear a pseudo-terminal for each modem, and `air` (a socket) or `chip` (a pseudo-terminal) for the gateway.
What happens is a line of JSON each on stdout; stdin takes the orders of `lab.Lab.obey`.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import UsageError
from gateway.radio.pipe import PipeFault
from gateway.simulator.real_time import boottime_us
from gateway.simulator.shared_air import LONGEST, asked_at
from gateway.simulator.sx1302.pty import HALF_REQUEST_S, Lines, Port
from hil_tests.virtual.gps import sentences
from hil_tests.virtual.lab import DIALECTS, Lab, SharedRoof, UsbRoof

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_TURN_S = 0.02
"""A modem's frame starts at the latest so long after its command."""


class ModemPort:
    """A modem's serial line."""

    def __init__(self, path: Path) -> None:
        self._port = Port(path)
        self._port.plug()
        self._rest = b""

    @property
    def file(self) -> int:
        """What to wait for."""
        assert self._port.master is not None
        return self._port.master

    def lines(self) -> list[str]:
        """The lines that have come whole."""
        *whole, self._rest = (self._rest + self._port.read()).replace(b"\r", b"\n").split(b"\n")
        self._rest = self._rest[-4096:]
        return [line.decode("ascii", "replace") for line in whole if line.strip()]

    def say(self, line: str) -> None:
        """Say a line, as modems do."""
        self._port.write(line.encode() + b"\r\n")

    def close(self) -> None:
        """Disappear."""
        self._port.unplug()


class Receiver:
    """A GPS receiver that is listened to: NMEA once a second, for whoever has the line open."""

    def __init__(self, path: Path) -> None:
        self._port = Port(path)
        self._port.plug()
        self._told_s = 0

    def turn(self) -> None:
        """Say what this second is, once, soon after it began; what nobody reads is forgotten."""
        self._port.read()
        now_s = time.time()
        if int(now_s) == self._told_s or now_s % 1 < 0.05:
            return
        self._told_s = int(now_s)
        if self._port.unread < 400:
            self._port.write(sentences(self._told_s))

    def close(self) -> None:
        """Disappear."""
        self._port.unplug()


class Bench:
    """The loop around a lab: sockets, pseudo-terminals, the clock since boot."""

    def __init__(self, folder: Path, modems: Mapping[str, str], *, usb: bool, seed: int) -> None:
        self._begun_us = boottime_us()
        self._selector = selectors.DefaultSelector()
        self._ports = {name: ModemPort(folder / name) for name in modems}
        self._lab = Lab(
            modems,
            _tell,
            lambda name, line: self._ports[name].say(line),
            usb=usb,
            seed=seed,
            start_utc_us=time.time_ns() // 1000,
        )
        for name, port in self._ports.items():
            self._selector.register(port.file, selectors.EVENT_READ, lambda name=name: self._modem(name))
        self._receiver = Receiver(folder / "gps")
        self._orders = Lines(sys.stdin.fileno())
        self._selector.register(self._orders.file, selectors.EVENT_READ, self._order)
        self._over = False
        self._roof = UsbPort(self._lab, folder / "chip") if usb else AirSocket(self._lab, folder / "air", self)

    def run(self) -> None:
        """Go on until stdin ends."""
        _tell("ready", {"faults": [fault.value for fault in self._lab.roof.faults]})
        while not self._over:
            self._roof.watch(self._selector)
            self._receiver.turn()
            next_us = self._lab.air.next_us
            wait_s = LONGEST_TURN_S if next_us is None else (next_us + self._begun_us - boottime_us()) / 1e6
            ready = self._selector.select(min(max(wait_s, 0.0), LONGEST_TURN_S))
            first = [key for key, _ in ready if key.data == self._roof.serve]
            for key in first:  # what was asked before now is answered as of then
                self._roof.serve(key.fd)
            self._lab.advance(self.lab_us(boottime_us()))
            for key, _ in ready:
                if key.data != self._roof.serve:
                    key.data()
        for port in self._ports.values():
            port.close()
        self._receiver.close()
        self._roof.close()

    def lab_us(self, boot_us: int) -> int:
        """A moment of the clock since boot on the lab's clock."""
        return boot_us - self._begun_us

    def _modem(self, name: str) -> None:
        for line in self._ports[name].lines():
            self._lab.modems[name].feed(line)

    def _order(self) -> None:
        lines = self._orders.read()
        if lines is None:
            self._over = True
            return
        for line in lines:
            try:
                self._lab.obey(line)
            except UsageError as error:
                _tell("refused", {"order": line, "why": error.problem})


class AirSocket:
    """Where the gateway's radio process asks its chip."""

    def __init__(self, lab: Lab, path: Path, bench: Bench) -> None:
        assert isinstance(lab.roof, SharedRoof)
        self._roof = lab.roof
        self._lab = lab
        self._bench = bench
        self._path = path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(2)
        self._guest: socket.socket | None = None
        self._watched: set[int] = set()

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Have the selector wait for what is open."""
        files = {self._listener.fileno()} | ({self._guest.fileno()} if self._guest is not None else set())
        for gone in self._watched - files:
            selector.unregister(gone)
        for new in files - self._watched:
            selector.register(new, selectors.EVENT_READ, self.serve)
        self._watched = files

    def serve(self, file: int) -> None:
        """Take a guest, or answer the one there is."""
        if file == self._listener.fileno():
            guest, _ = self._listener.accept()
            self._leave()
            self._guest = guest
        elif self._guest is not None and file == self._guest.fileno():
            self._answer(self._guest)

    def _answer(self, guest: socket.socket) -> None:
        try:
            packet = guest.recv(LONGEST)
            if not packet:
                raise ConnectionResetError
            self._lab.advance(self._bench.lab_us(min(asked_at(packet), boottime_us())))
            answer = self._roof.board.answer(packet)
            if answer is not None:
                guest.send(answer)
        except (OSError, PipeFault):
            self._leave()

    def _leave(self) -> None:
        if self._guest is not None:
            guest, self._guest = self._guest, None
            guest.close()
            self._roof.board.chip.stop()

    def close(self) -> None:
        """Disappear."""
        self._leave()
        self._listener.close()
        self._path.unlink(missing_ok=True)


class UsbPort:
    """The concentrator's USB socket."""

    def __init__(self, lab: Lab, path: Path) -> None:
        assert isinstance(lab.roof, UsbRoof)
        self._board = lab.roof.board
        self._lab = lab
        self._port = Port(path)
        self._watched: int | None = None
        self._half_since_us: int | None = None

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Plugged or unplugged as the board is; nobody waits for the rest of a request for ever."""
        if self._board.plugged:
            self._port.plug()
        else:
            if self._watched is not None:
                selector.unregister(self._watched)
                self._watched = None
            self._port.unplug()
            return
        if self._watched is None:
            self._watched = self._port.master
            assert self._watched is not None
            selector.register(self._watched, selectors.EVENT_READ, self.serve)
        if self._port.unread:
            self._port.write()
        if not self._board.within_request:
            self._half_since_us = None
        elif self._half_since_us is None:
            self._half_since_us = self._lab.now_us
        elif self._lab.now_us - self._half_since_us > HALF_REQUEST_S * 1e6:
            self._board.forget_half_request()

    def serve(self, file: int) -> None:  # noqa: ARG002 - there is one
        """Answer the driver."""
        for answer in self._board.feed(self._port.read(), self._lab.now_us):
            self._port.write(answer)

    def close(self) -> None:
        """Disappear."""
        self._port.unplug()


def _tell(name: str, facts: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps({"event": name, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("modems", nargs="+", metavar="NAME=KIND", help=f"kinds: {', '.join(DIALECTS)}")
    parser.add_argument("--usb", action="store_true", help="an SX1302 on a pseudo-terminal, for Semtech's library")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    modems = dict(word.split("=", 1) for word in arguments.modems)
    with suppress(KeyboardInterrupt, BrokenPipeError):
        Bench(arguments.folder, modems, usb=arguments.usb, seed=arguments.seed).run()
    with suppress(OSError):
        os.close(1)


if __name__ == "__main__":
    main()
