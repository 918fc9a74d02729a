"""One program at a time drives a concentrator: the device of its bus, looked at and locked before it is used.

Neither spidev nor a USB serial line refuses a second program; both then read nonsense. Ours lock the device with
`flock`; others do not, but the kernel tells who has it open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.radio.board import Bus
from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS: Final = {Bus.SPI: "spi", Bus.USB: "dialout"}


class Claim:
    """A device that is ours until `release`. ChipTrouble says why it cannot be: NOT_THERE, NO_PERMISSION, BUSY."""

    def __init__(self, path: str, bus: Bus) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise _trouble(path, bus, error) from error
        try:
            self._look(bus)
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Let others have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _look(self, bus: Bus) -> None:
        if not stat.S_ISCHR(os.fstat(self._fd).st_mode):
            raise ChipTrouble(
                TroubleKind.NOT_THERE, f"{self.path} is no device",
                hint=f"Name the {bus.value.upper()} device of the board: {_usual(bus)}",
            )  # fmt: skip

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(self.path, next(holders(self.path), "another gateway")) from None
        if (holder := next(holders(self.path), None)) is not None:
            raise _busy(self.path, holder)


def holders(path: str) -> Iterator[str]:
    """Other processes that have the device open, as far as we may see: "lora_pkt_fwd (process 812)".

    None of a pseudo-terminal: who serves it has to hold it.
    """
    device = os.path.realpath(path)
    if device.startswith("/dev/pts/"):
        return
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # not ours to look into, or gone meanwhile
            if any(os.readlink(link) == device for link in (process / "fd").iterdir()):  # noqa: PTH115 - no Path wanted
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                yield f"{name} (process {process.name})"


def _busy(path: str, holder: str) -> ChipTrouble:
    return ChipTrouble(
        TroubleKind.BUSY, f"{path} is used by {holder}",
        hint="One program at a time can drive a concentrator: stop the other one (systemctl stop …, and disable it)",
    )  # fmt: skip


def _trouble(path: str, bus: Bus, error: OSError) -> ChipTrouble:
    if error.errno in {errno.EACCES, errno.EPERM}:
        group = _GROUPS[bus]
        return ChipTrouble(
            TroubleKind.NO_PERMISSION, f"{path} may not be opened",
            hint=f"Add the gateway's user to the group {group} (sudo usermod -aG {group} USER), and start it anew",
        )  # fmt: skip
    if error.errno == errno.EBUSY:
        return _busy(path, next(holders(path), "another program"))
    if bus is Bus.SPI:
        off = not list(Path("/dev").glob("spidev*"))
        cure = (
            "SPI is off: sudo raspi-config nonint do_spi 0, then reboot"
            if off
            else f"Name the right one in radio.spi: {_usual(bus)}"
        )
    else:
        cure = f"See the cable, and name the right one in radio.usb: {_usual(bus)}"
    return ChipTrouble(TroubleKind.NOT_THERE, f"{path} cannot be opened: {error.strerror}", hint=cure)


def _usual(bus: Bus) -> str:
    there = sorted(map(str, Path("/dev").glob("spidev*" if bus is Bus.SPI else "ttyACM*")))
    return "there is " + ", ".join(there) if there else "there is none now"
