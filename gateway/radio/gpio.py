"""The pins of a board: its reset and its supply, held for as long as the chip is used.

A line is found by the label of its GPIO chip. Numbers do not last: the header of a Raspberry Pi 5 was gpiochip4 and
became gpiochip0 with kernel 6.6.45, and since kernel 6.6 the numbers of /sys/class/gpio begin elsewhere on every model.

Two ways lead to them: the character device of the kernel through `gpiod`, and `RPi.GPIO`, whose interface `rpi-lgpio`
has on kernels where the original no longer works.
"""

from __future__ import annotations

import errno
import importlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.radio.board import Drive, Pause, Pin, Run
from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.radio.board import ResetStep

HEADER_LABELS: Final = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
"""Labels of the chip behind the 40 pins: Raspberry Pi 5, 4, and those before."""

CONSUMER: Final = "lorawan-gateway"
_COMMAND_TIMEOUT_S: Final = 5.0


class Lines(Protocol):
    """Pins that are ours until they are closed."""

    def drive(self, pin: Pin, high: bool) -> None:
        """Put a line at a level."""
        ...

    def close(self) -> None:
        """Give them back. What they are at then is the board's affair: most fall back to inputs."""
        ...


def open_lines(pins: Sequence[Pin], *, through: str = "gpiod") -> Lines:
    """Take the lines as outputs, low at first. `through` is "gpiod" or "rpi-gpio".

    ChipTrouble: NO_DRIVER when the Python package is not there, NOT_THERE for a chip or a line nobody has,
    NO_PERMISSION, BUSY with the name of who has it.
    """
    if not pins:
        return NoLines()
    return RpiGpioLines(pins) if through == "rpi-gpio" else GpiodLines(pins)


def carry_out(steps: Iterable[ResetStep], lines: Lines, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Do the steps of a reset, in order."""
    for step in steps:
        match step:
            case Drive(pin, high):
                lines.drive(pin, high)
            case Pause(seconds):
                sleep(seconds)
            case Run(command):
                _run(command)


class NoLines:
    """A board without pins of its own: the USB bridge has them."""

    def drive(self, pin: Pin, high: bool) -> None:  # noqa: ARG002 - the protocol's
        """Nothing is there to be driven."""
        raise ChipTrouble(TroubleKind.NOT_THERE, f"{pin} was not taken")

    def close(self) -> None:
        """Nothing is held."""


class GpiodLines:
    """Lines of the character device, each request held: a line that nobody holds may fall back."""

    def __init__(self, pins: Sequence[Pin], *, gpiod: Any = None, devices: Path = Path("/dev")) -> None:
        self._gpiod = gpiod if gpiod is not None else _package("gpiod", "gpiod")
        self._devices = devices
        self._held: dict[Pin, tuple[Any, int]] = {}
        try:
            for pin in dict.fromkeys(pins):
                self._held[pin] = self._take(pin)
        except BaseException:
            self.close()
            raise

    def drive(self, pin: Pin, high: bool) -> None:
        """Put a line at a level."""
        request, offset = self._held[pin]
        value = self._gpiod.line.Value
        try:
            request.set_value(offset, value.ACTIVE if high else value.INACTIVE)
        except OSError as error:
            raise ChipTrouble(TroubleKind.LOST, f"{pin} can no longer be set: {error.strerror}") from error

    def close(self) -> None:
        """Give the lines back."""
        for request, _ in self._held.values():
            request.release()
        self._held.clear()

    def _take(self, pin: Pin) -> tuple[Any, int]:
        path = self._chip_of(pin)
        line = self._gpiod.line
        settings = self._gpiod.LineSettings(direction=line.Direction.OUTPUT, output_value=line.Value.INACTIVE)
        try:
            with self._gpiod.Chip(str(path)) as chip:
                offset = self._offset(chip, pin)
                try:
                    return chip.request_lines({offset: settings}, consumer=CONSUMER), offset
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        raise _busy(pin, chip.get_line_info(offset).consumer) from error
                    raise
        except OSError as error:
            raise _trouble(pin, path, error) from error

    def _offset(self, chip: Any, pin: Pin) -> int:
        info = chip.get_info()
        if isinstance(pin.line, int):
            if pin.line >= info.num_lines:
                raise ChipTrouble(
                    TroubleKind.NOT_THERE, f"{pin}: {info.label} has the lines 0 to {info.num_lines - 1}",
                    hint="Name a line of the board in radio.reset, such as pinctrl-bcm2711:17",
                )  # fmt: skip
            return pin.line
        try:
            offset: int = chip.line_offset_from_id(pin.line)
        except OSError as error:
            raise ChipTrouble(
                TroubleKind.NOT_THERE, f"{info.label} has no line named {pin.line}",
                hint="gpioinfo lists the lines and their names; a number does as well",
            ) from error  # fmt: skip
        return offset

    def _chip_of(self, pin: Pin) -> Path:
        """The device whose label the pin names, or that of the header."""
        wanted = (pin.chip,) if pin.chip else HEADER_LABELS
        found: dict[str, Path] = {}
        denied: Path | None = None
        for path in sorted(self._devices.glob("gpiochip*")):
            try:
                if not self._gpiod.is_gpiochip_device(str(path)):
                    continue
                with self._gpiod.Chip(str(path)) as chip:
                    found.setdefault(chip.get_info().label, path)
            except PermissionError:
                denied = path
            except OSError:
                continue  # a chip that went away while we looked
        for label in wanted:
            if label in found:
                return found[label]
        if denied is not None:
            raise _trouble(pin, denied, PermissionError(errno.EACCES, "permission denied"))
        there = ", ".join(sorted(found)) or "none at all"
        raise ChipTrouble(
            TroubleKind.NOT_THERE,
            f"there is no GPIO chip labelled {' or '.join(wanted)}; there is {there}",
            hint='Name it with its line: radio.reset = "LABEL:LINE"; gpiodetect lists the labels',
        )


class RpiGpioLines:
    """Lines of the header through RPi.GPIO, by their BCM numbers."""

    def __init__(self, pins: Sequence[Pin], *, rpi_gpio: Any = None) -> None:
        self._gpio = rpi_gpio if rpi_gpio is not None else _package("RPi.GPIO", "rpi-lgpio")
        self._held: list[int] = []
        self._gpio.setwarnings(False)
        self._gpio.setmode(self._gpio.BCM)
        try:
            for pin in dict.fromkeys(pins):
                self._take(pin)
        except BaseException:
            self.close()
            raise

    def drive(self, pin: Pin, high: bool) -> None:
        """Put a line at a level."""
        self._gpio.output(pin.line, self._gpio.HIGH if high else self._gpio.LOW)

    def close(self) -> None:
        """Give the lines back."""
        if self._held:
            self._gpio.cleanup(self._held)
            self._held = []

    def _take(self, pin: Pin) -> None:
        if not isinstance(pin.line, int) or (pin.chip and pin.chip not in HEADER_LABELS):
            raise ChipTrouble(
                TroubleKind.NOT_THERE, f"RPi.GPIO knows the header alone, not {pin}",
                hint='Set radio.gpio = "gpiod", or give the BCM number of a header pin',
            )  # fmt: skip
        try:
            self._gpio.setup(pin.line, self._gpio.OUT, initial=self._gpio.LOW)
        except Exception as error:  # RPi.GPIO raises RuntimeError and ValueError, rpi-lgpio also lgpio's own error
            text = str(error).strip("'\"")
            if "busy" in text.lower():
                raise _busy(pin, None) from error
            if isinstance(error, PermissionError) or "access" in text.lower() or "permission" in text.lower():
                raise _trouble(pin, Path("/dev/gpiochip*"), PermissionError(errno.EACCES, text)) from error
            raise ChipTrouble(TroubleKind.NOT_THERE, f"{pin} cannot be used: {text}") from error
        self._held.append(pin.line)


# --- in words -------------------------------------------------------------------------------------------------------


def _package(module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RPi.GPIO refuses machines that are no Raspberry Pi
        raise ChipTrouble(
            TroubleKind.NO_DRIVER, f"the pins need the Python package {distribution}: {error}",
            hint=f'pip install "lorawan-edge-gateway[hardware]" brings it; or set radio.gpio = '
            f'"{"rpi-gpio" if module == "gpiod" else "gpiod"}"',
        ) from error  # fmt: skip


def _busy(pin: Pin, consumer: str | None) -> ChipTrouble:
    who = f"by {consumer!r}" if consumer else "by another program"
    return ChipTrouble(
        TroubleKind.BUSY, f"{pin} is held {who}",
        hint="Stop it (a packet forwarder, or an overlay in config.txt), or name the right pin in radio.reset",
    )  # fmt: skip


def _trouble(pin: Pin, path: Path, error: OSError) -> ChipTrouble:
    if isinstance(error, PermissionError):
        return ChipTrouble(
            TroubleKind.NO_PERMISSION, f"{path} may not be opened, {pin} is behind it",
            hint="Add the gateway's user to the group gpio (sudo usermod -aG gpio USER), and start it anew",
        )  # fmt: skip
    return ChipTrouble(TroubleKind.NOT_THERE, f"{pin} cannot be used: {path}: {error.strerror or error}")


def _run(command: tuple[str, ...]) -> None:
    shown = " ".join(command)
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_COMMAND_TIMEOUT_S)  # noqa: S603 - from the table of boards
    except FileNotFoundError as error:
        raise ChipTrouble(
            TroubleKind.NOT_THERE, f"{command[0]} is not there, which resets this board",
            hint="This board belongs into its maker's gateway; elsewhere name the pin in radio.reset",
        ) from error  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ChipTrouble(TroubleKind.NOT_THERE, f"{shown} failed: {error}") from error
