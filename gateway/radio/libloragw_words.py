"""What the words of Semtech's library mean: why a start failed, which frame of a fetch was bad.

It returns -1 for everything and prints one line. Source of the lines: sx1302_hal 2.1.0, `libloragw/src`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Sequence

_CAUSES: Final[tuple[tuple[str, TroubleKind, str, str], ...]] = (
    # The first that is found counts: what comes earlier is nearer to the cause.
    ("failed to open COM port", TroubleKind.NOT_THERE, "the USB device cannot be opened", ""),
    ("failed to configure COM port", TroubleKind.NOT_THERE, "the USB device is no serial line", ""),
    (
        "failed to ping the concentrator MCU", TroubleKind.NOT_THERE, "the USB bridge does not answer",
        "Unplug the board and plug it in again; ls -l /dev/serial/by-id names each device",
    ),
    ("failed to get status from the concentrator MCU", TroubleKind.NOT_THERE, "the USB bridge does not answer", ""),
    (
        "no temperature sensor found", TroubleKind.NO_SENSOR, "no temperature sensor answers on I2C",
        "Semtech's library does not start without one, and this board may have none: build brocaar/sx1302_hal instead",
    ),
    (
        "failed to open I2C for temperature sensor", TroubleKind.NO_SENSOR, "the I2C bus cannot be opened",
        "Turn I2C on (sudo raspi-config nonint do_i2c 0) and add the gateway's user to the group i2c",
    ),
    ("Fine Timestamping is not supported", TroubleKind.BAD_PLAN, "this chip has no fine time stamps: it is an SX1302",
     "Leave radio.fine_time out"),
    ("Failed to connect to sx1261", TroubleKind.BAD_PLAN, "the second radio (SX1261) cannot be reached",
     'Name its device in radio.sx1261 ("/dev/spidev0.1"), or set it to "none"'),
    ("failed to connect to the sx1261", TroubleKind.BAD_PLAN, "the second radio (SX1261) cannot be reached",
     'Name its device in radio.sx1261 ("/dev/spidev0.1"), or set it to "none"'),
    ("failed to patch sx1261", TroubleKind.BAD_PLAN, "the second radio (SX1261) does not answer",
     'See radio.sx1261_reset; on a board without it set radio.sx1261 = "none"'),
    ("sx1261", TroubleKind.BAD_PLAN, "the second radio (SX1261) does not start",
     'See radio.sx1261_reset; on a board without it set radio.sx1261 = "none"'),
    ("fw read/write check failed", TroubleKind.FIRMWARE_SILENT, "a firmware reads back other than it was written", ""),
    ("fw: parity error check failed", TroubleKind.FIRMWARE_SILENT, "a firmware arrives damaged", ""),
    ("wrong AGC fw version", TroubleKind.FIRMWARE_SILENT, "the gain control's firmware does not start", ""),
    ("wrong ARB fw version", TroubleKind.FIRMWARE_SILENT, "the arbiter's firmware does not start", ""),
    ("has not been set properly", TroubleKind.FIRMWARE_SILENT, "the gain control's firmware does not obey", ""),
    ("failed to start AGC firmware", TroubleKind.FIRMWARE_SILENT, "the gain control's firmware does not start", ""),
    ("failed to start ARB firmware", TroubleKind.FIRMWARE_SILENT, "the arbiter's firmware does not start", ""),
    (
        "in STANDBY_RC mode", TroubleKind.NOT_THERE, "a radio of the board does not answer",
        "Usually the reset pin is another one: see radio.board and radio.reset",
    ),
    ("Image Calibration Error", TroubleKind.NOT_THERE, "a radio of the board cannot be calibrated",
     "See that the board is the variant for gateway.region, and its power supply"),
    ("radio calibration failed", TroubleKind.NOT_THERE, "a radio of the board cannot be calibrated", ""),
    ("failed to reset radio", TroubleKind.NOT_THERE, "a radio of the board cannot be reset", ""),
    ("failed to setup radio", TroubleKind.NOT_THERE, "a radio of the board cannot be set up", ""),
)  # fmt: skip

_FAILED_PACKET: Final = re.compile(r"parsing error on packet (\d+)")


def cause(said: Sequence[str], what: str) -> ChipTrouble:
    """The trouble that the library's last words tell of. `what` is which board would not start."""
    for line in said:
        for words, kind, problem, hint in _CAUSES:
            if words in line:
                return ChipTrouble(kind, f"{what}: {problem} ({plain(line)})", hint=hint)
    last = next((plain(line) for line in reversed(said) if line.startswith("ERROR")), "")
    return ChipTrouble(TroubleKind.OTHER, f"{what} does not start{f': {last}' if last else ''}")


def failed_packet(said: Sequence[str]) -> int | None:
    """The place of the packet at which the library gave up a fetch, counted from 0."""
    return next((int(found[1]) for line in reversed(said) if (found := _FAILED_PACKET.search(line))), None)


def temperature_failed(said: Sequence[str]) -> bool:
    """Whether it gave up because the temperature sensor did not answer: the packets are still there then."""
    return any("failed to get current temperature" in line for line in said)


def plain(line: str) -> str:
    """A line without what C programs put before it."""
    return re.sub(r"^(?:ERROR|WARNING|INFO|Note)(?:\([^)]*\))?:\s*", "", line).strip()
