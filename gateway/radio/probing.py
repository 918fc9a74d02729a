"""Which concentrator answers, asked before any driver trusts the bus: SX1302, SX1303, an SX1301, or nothing.

A driver that meets another chip fails late and in riddles, and one that meets a silent USB bridge never comes back. A
few bytes with a deadline tell.

Sources: sx1302_hal 2.1.0 (`loragw_spi.c`: frame of a read; `loragw_mcu.c`: protocol of the bridge); chip versions as
`lgw_connect` prints them; Semtech's lora_gateway, `loragw_reg.c`, for the SX1301 (register 1 holds 103).
"""

from __future__ import annotations

import contextlib
import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPI_HZ: Final = 2_000_000
_VERSION_REGISTER: Final = 0x5606
SX1301_VERSION: Final = 103
CHIPS: Final = {0x10: "SX1302", 0x12: "SX1303"}

PATIENCE_S: Final = 1.0
"""A bridge answers within milliseconds."""

_PING, _SPI, _GPIO_WRITE, _ANSWER = 0x00, 0x05, 0x04, 0x40
_PIN_POWER, _PIN_RESET, _PIN_SX1261 = 1, 2, 8  # of port A
_LONGEST_ANSWER: Final = 4_200

Transfer = "Callable[[bytes], bytes]"  # as many bytes out as in, chip select held


@dataclass(frozen=True, slots=True)
class Found:
    """What answered."""

    chip: str  # "SX1302", "SX1303"
    version: int
    bridge: str | None = None  # firmware of the USB bridge


def probe_spi(path: str) -> Found | None:
    """What hangs on an SPI device; None where the package spidev is not there to ask with. ChipTrouble as `judge`."""
    try:
        spidev = importlib.import_module("spidev")
    except ImportError:
        return None
    with _open_spi(spidev, path) as transfer:
        return judge(transfer, path)


def judge(transfer: Callable[[bytes], bytes], path: str) -> Found:
    """Tell chips apart by their version registers. ChipTrouble: BUS_LOW, BUS_HIGH, WRONG_CHIP."""
    version = transfer(bytes([0, _VERSION_REGISTER >> 8, _VERSION_REGISTER & 0xFF, 0, 0]))[4]
    if version in CHIPS:
        return Found(CHIPS[version], version)
    if SX1301_VERSION in (transfer(bytes([1, 0]))[1], transfer(bytes([0, 1, 0]))[2]):
        raise ChipTrouble(
            TroubleKind.WRONG_CHIP, f"an SX1301 or SX1308 answers on {path}, not an SX1302",
            hint="Older boards (iC880A, RAK2245, RAK831) need the packet forwarder of their time beside this gateway: "
            'radio.type = "packet-forwarder"',
        )  # fmt: skip
    raise _unknown(version, path)


def _unknown(version: int, path: str) -> ChipTrouble:
    if version == 0x00:
        return ChipTrouble(
            TroubleKind.BUS_LOW, f"the chip on {path} answers with zeros alone",
            hint="It is held in reset or has no power: see radio.board, radio.reset and the pins of the board",
        )  # fmt: skip
    if version == 0xFF:
        return ChipTrouble(TroubleKind.BUS_HIGH, f"the chip on {path} answers with ones alone")
    return ChipTrouble(
        TroubleKind.WRONG_CHIP, f"the chip on {path} calls itself version 0x{version:02x}, which is no SX1302 or SX1303"
    )


@contextlib.contextmanager
def _open_spi(spidev: Any, path: str) -> Iterator[Callable[[bytes], bytes]]:
    device = spidev.SpiDev()
    try:
        device.open_path(path)
        device.mode, device.max_speed_hz, device.bits_per_word = 0, SPI_HZ, 8
        yield lambda out: bytes(device.xfer2(list(out)))
    except OSError as error:
        raise ChipTrouble(
            TroubleKind.NOT_THERE, f"{path} takes no SPI message: {error.strerror or error}",
            hint="Is this an SPI device? The board's is usually /dev/spidev0.0",
        ) from error  # fmt: skip
    finally:
        device.close()


# --- over the bridge ------------------------------------------------------------------------------------------------


def probe_usb(path: str, *, patience_s: float = PATIENCE_S) -> Found | None:
    """What hangs on a Corecell USB bridge, which is reset for it; None where the package pyserial is not there."""
    bridge = _open_bridge(path, patience_s)
    if bridge is None:
        return None
    try:
        firmware = bridge.ping()
        bridge.reset_chip()
        found = judge(bridge.transfer, path)
        return Found(found.chip, found.version, firmware)
    finally:
        bridge.close()


def power_cycle_usb(path: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Take the chip's supply away for half a second through the bridge, where the board lets it."""
    bridge = _open_bridge(path)
    if bridge is None:
        return
    try:
        bridge.ping()
        bridge.write_pin(_PIN_POWER, 0)
        sleep(0.5)
        bridge.reset_chip()
    finally:
        bridge.close()


def _open_bridge(path: str, patience_s: float = PATIENCE_S) -> Bridge | None:
    try:
        serial = importlib.import_module("serial")
    except ImportError:
        return None
    try:
        return Bridge(serial.Serial(path, timeout=patience_s, write_timeout=patience_s), path)
    except (OSError, ValueError) as error:  # SerialException is an OSError
        raise ChipTrouble(TroubleKind.NOT_THERE, f"{path} cannot be opened as a serial line: {error}") from error


class Bridge:
    """The microcontroller of a Corecell USB board, spoken to with a deadline for each answer."""

    def __init__(self, line: Any, path: str) -> None:
        self._line = line
        self._path = path
        self._id = 0
        line.reset_input_buffer()

    def close(self) -> None:
        """Let the line go."""
        with contextlib.suppress(OSError):
            self._line.close()

    def ping(self) -> str:
        """Its firmware, such as "V01.00.00"."""
        answer = self._ask(_PING, b"")
        if len(answer) < 21:
            raise self._silent(f"answers a ping with {len(answer)} bytes")
        return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in answer[12:21])

    def reset_chip(self) -> None:
        """Power on, reset pulse, for the SX1261 too: what the library does when it opens the bridge."""
        for pin, level in ((_PIN_POWER, 1), (_PIN_RESET, 1), (_PIN_RESET, 0), (_PIN_SX1261, 0), (_PIN_SX1261, 1)):
            self.write_pin(pin, level)

    def write_pin(self, pin: int, level: int) -> None:
        """Set one of the bridge's pins."""
        self._ask(_GPIO_WRITE, bytes([0, pin, level]))

    def transfer(self, out: bytes) -> bytes:
        """One SPI message to the chip."""
        answer = self._ask(_SPI, bytes([0, 1, 0]) + len(out).to_bytes(2, "big") + out)
        if len(answer) != 5 + len(out) or answer[2] != 0:
            raise self._silent("does not pass on what the chip says")
        return answer[5:]

    def _ask(self, order: int, payload: bytes) -> bytes:
        self._id = (self._id + 1) % 255
        try:
            self._line.write(bytes([self._id]) + len(payload).to_bytes(2, "big") + bytes([order]) + payload)
            head = self._line.read(4)
            size = int.from_bytes(head[1:3], "big")
            if len(head) < 4 or head[3] != order | _ANSWER or size > _LONGEST_ANSWER:
                raise self._silent("does not answer" if not head else f"answers with {head.hex(' ')}")
            body: bytes = self._line.read(size)
        except OSError as error:
            raise ChipTrouble(TroubleKind.LOST, f"{self._path} went away: {error}") from error
        if len(body) < size:
            raise self._silent("stops in the middle of an answer")
        return body

    def _silent(self, what: str) -> ChipTrouble:
        return ChipTrouble(
            TroubleKind.NOT_THERE, f"the bridge on {self._path} {what}",
            hint="Is it a concentrator? ls -l /dev/serial/by-id names each device. If it is, unplug it and plug it in "
            "again; an old firmware is renewed with Semtech's rlz_010000_CoreCell_USB.bin",
        )  # fmt: skip
