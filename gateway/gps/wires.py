"""The way to a receiver: a serial line of this machine, or gpsd on this or another one. Bytes out, few bytes in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import termios
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from gateway.gps.gpsd import WATCH

if TYPE_CHECKING:
    from types import TracebackType

READ_BYTES: Final = 4_096
CONNECT_WITHIN_S: Final = 10.0


class WireTrouble(Exception):  # noqa: N818 - a state of the world
    """The way to the receiver is not there, or not any more; what a person can do about it."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class Wire(Protocol):
    """Opened with `async with`; WireTrouble when it cannot be."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    async def read(self) -> bytes:
        """The next bytes, at least one. WireTrouble when there will be no more."""
        ...


class SerialWire:
    """A serial line, ours alone while it is open. `says` goes out once, at its begin."""

    def __init__(self, path: str, baud: int, says: bytes = b"") -> None:
        self._path = path
        self._baud = baud
        self._says = says
        self._port: Any = None
        self._readable = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._port = await asyncio.to_thread(self._open)
        asyncio.get_running_loop().add_reader(self._port.fileno(), self._readable.set)
        with contextlib.suppress(OSError):  # it may be a line to listen on alone; what comes without asking will do
            os.write(self._port.fileno(), self._says)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        port, self._port = self._port, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fileno())
            with contextlib.suppress(OSError):  # of a device that is gone
                port.close()

    def _open(self) -> Any:
        try:
            serial = importlib.import_module("serial")
        except ImportError:
            raise WireTrouble(
                "the package pyserial is not installed", "pip install 'lorawan-edge-gateway[hardware]'"
            ) from None
        try:
            port = serial.Serial(self._path, self._baud, timeout=0, exclusive=True)
            _tell_nothing_from_gone(port.fileno())
        except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
            raise self._why(error) from error
        return port

    def _why(self, error: Exception) -> WireTrouble:
        number = getattr(error, "errno", None)
        if number == errno.ENOENT:
            return WireTrouble(
                f"there is no {self._path}",
                "Plug the receiver in, or name its device in gps.device; ls -l /dev/serial/by-id shows those on USB",
            )
        if number == errno.EACCES:
            return WireTrouble(
                f"{self._path} may not be opened", "Add the gateway's user to the group dialout, and start it anew"
            )
        if number in {errno.EBUSY, errno.EAGAIN}:
            return WireTrouble(
                f"another program has {self._path}",
                'Is it gpsd? Set gps.device = "gpsd://localhost:2947". A login console is turned off in raspi-config',
            )
        return WireTrouble(f"{self._path} cannot be opened as a serial line: {error}", "Name the receiver's device")

    async def read(self) -> bytes:
        """See `Wire.read`."""
        while True:
            await self._readable.wait()
            self._readable.clear()
            try:
                octets = os.read(self._port.fileno(), READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone() from error
            if not octets:
                raise self._gone()
            return octets

    def _gone(self) -> WireTrouble:
        return WireTrouble(f"{self._path} is gone", "See the cable and the power of the receiver")


def _tell_nothing_from_gone(descriptor: int) -> None:
    """Let a read that finds nothing say so (VMIN 1), instead of answering as for a device that is gone."""
    attributes = termios.tcgetattr(descriptor)
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


class GpsdWire:
    """A connection to gpsd, which is told to say everything."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(CONNECT_WITHIN_S):
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:  # TimeoutError is one
            raise WireTrouble(
                f"gpsd does not answer on {self._host}:{self._port}: {error.strerror or 'nothing came back'}",
                "Start it (apt install gpsd; systemctl enable --now gpsd.socket), or name the device itself",
            ) from error
        self._writer.write(WATCH)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    async def read(self) -> bytes:
        """See `Wire.read`."""
        assert self._reader is not None
        try:
            octets = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise self._gone() from error
        if not octets:
            raise self._gone()
        return octets

    def _gone(self) -> WireTrouble:
        return WireTrouble(f"gpsd on {self._host}:{self._port} hung up", "journalctl -u gpsd says why")
