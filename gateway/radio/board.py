"""What is known of a board that carries the chip: bus, pins, powers, loudness.

Sources of the rules: Semtech's sx1302_hal 2.1.0 (`loragw_hal.c`: limits of the power table; `tools/reset_lgw.sh`:
reset).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MOST_PWR_IDX: Final = 22
"""Of an SX1250; `lgw_txgain_setconf` takes no more."""

SETTLE_S: Final = 0.1
"""How long each level of a reset is held, by `reset_lgw.sh`."""


class Bus(StrEnum):
    """How the host reaches the chip."""

    SPI = "spi"
    USB = "usb"


@dataclass(frozen=True, slots=True)
class Pin:
    """A line of a GPIO chip, which is named by its label, because numbers and device names change with the kernel."""

    line: int | str  # the offset, or the line's name
    chip: str | None = None  # None: the header of the Raspberry Pi, whatever its model

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Read `LABEL:LINE` ("pinctrl-bcm2711:17") or `LINE` alone; ValueError says what is wrong."""
        chip, separator, line = text.rpartition(":")
        if not line or (separator and not chip) or re.search(r"\s", text):
            raise ValueError(f'{text!r} is no pin; a pin is written "pinctrl-bcm2711:17", or "17" for the header')
        return cls(int(line) if line.isdecimal() else line, chip or None)

    def __str__(self) -> str:
        return f"{self.chip}:{self.line}" if self.chip else f"GPIO {self.line} of the header"


@dataclass(frozen=True, slots=True)
class Drive:
    """One step of a reset: put a line at a level."""

    pin: Pin
    high: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """One step of a reset: hold what is."""

    seconds: float = SETTLE_S


@dataclass(frozen=True, slots=True)
class Run:
    """One step of a reset on boards whose lines belong to the maker's own program."""

    command: tuple[str, ...]


ResetStep = Drive | Pause | Run


@dataclass(frozen=True, slots=True)
class TxGain:
    """How the chip is set for a power at the connector: external amplifier on or off, index into the radio's table."""

    power_dbm: int
    pa_gain: int
    pwr_idx: int
    measured: bool = True  # False: below the maker's table, counted down from its lowest entry

    @classmethod
    def parse(cls, text: str) -> TxGain:
        """Read `DBM:PA/INDEX`, such as "14:0/17"; ValueError says what is wrong."""
        found = re.fullmatch(r"(-?\d{1,2}):([01])/(\d{1,2})", text)
        if not found or int(found[3]) > MOST_PWR_IDX:
            raise ValueError(
                f'{text!r} is no power; one is written DBM:PA/INDEX, such as "14:0/17", PA 0 or 1, INDEX at most 22'
            )
        return cls(int(found[1]), int(found[2]), int(found[3]))

    def __str__(self) -> str:
        return f"{self.power_dbm}:{self.pa_gain}/{self.pwr_idx}"


@dataclass(frozen=True, slots=True)
class TemperatureCompensation:
    """What is added to the RSSI at t °C: (a t⁴ + b t³ + c t² + d t + e) / 65536 dB."""

    a: float = 0.0
    b: float = 0.0
    c: float = 20.41
    d: float = 2162.56
    e: float = 0.0

    def decibels(self, celsius: float) -> float:
        """The correction at a temperature of the board."""
        t = celsius
        return (((self.a * t + self.b) * t + self.c) * t * t + self.d * t + self.e) / 65_536


@dataclass(frozen=True, slots=True)
class GainTable:
    """A table of powers and the regions it was measured for; no regions: for all."""

    gains: tuple[TxGain, ...]
    regions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Board:
    """What a maker built. `source` is where the numbers are from."""

    name: str
    product: str
    regions: frozenset[str]
    tables: tuple[GainTable, ...]
    source: str
    chip: str = "SX1302"
    buses: tuple[Bus, ...] = (Bus.SPI,)  # the usual one first
    spi: str = "/dev/spidev0.0"
    usb: str = "/dev/ttyACM0"
    reset: Pin | None = None
    power: Pin | None = None
    sx1261_reset: Pin | None = None
    reset_commands: tuple[tuple[str, ...], ...] = ()
    has_sx1261: bool = False  # of USB boards, which reach it by themselves; on SPI its path is a setting
    i2c: str = "/dev/i2c-1"
    temperature_sensor: int | None = None  # I2C address; None: none that is known, or on the USB bridge
    single_input: tuple[bool, bool] = (True, False)
    rssi_offset_db: float = -215.4
    rssi_offset_low_db: float = -207.0  # of the 433 and 470 MHz variants
    gnss: str | None = None
    gnss_family: str = "nmea"  # "ublox": also speaks UBX
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BoardSettings:
    """The board of this gateway, with what the settings say differently."""

    name: str
    product: str
    region: str
    source: str
    bus: Bus
    path: str
    gains: tuple[TxGain, ...]  # by power, rising
    rssi_offset_db: float
    chip: str = "SX1302"
    reset: Pin | None = None
    power: Pin | None = None
    sx1261_reset: Pin | None = None
    reset_commands: tuple[tuple[str, ...], ...] = ()
    has_sx1261: bool = False
    sx1261_spi: str | None = None  # None: on USB the bridge reaches it, or there is none
    sx1261_rssi_offset_db: int = 0
    i2c: str = "/dev/i2c-1"
    temperature_sensor: int | None = None
    single_input: tuple[bool, bool] = (True, False)
    compensation: TemperatureCompensation = field(default_factory=TemperatureCompensation)
    clock_source: int = 0  # the radio that clocks the chip
    tx_chains: tuple[bool, bool] = (True, False)
    full_duplex: bool = False
    gnss: str | None = None
    gnss_family: str = "nmea"
    antenna_gain_dbi: float = 0.0
    gpio: str = "gpiod"  # or "rpi-gpio"

    def gain_for(self, power_dbm: float) -> TxGain | None:
        """The entry that sends at most so much at the connector; None when the weakest is stronger."""
        fitting = [gain for gain in self.gains if gain.power_dbm <= power_dbm]
        return fitting[-1] if fitting else None

    def reset_steps(self) -> tuple[ResetStep, ...]:
        """What brings the chip to its first state, in order. Empty on USB, whose bridge does it when it is opened."""
        steps: list[ResetStep] = []
        if self.power is not None:
            steps += [Drive(self.power, high=True), Pause()]
        if self.reset is not None:
            steps += [Drive(self.reset, high=True), Pause(), Drive(self.reset, high=False), Pause()]
        if self.sx1261_reset is not None:
            steps += [Drive(self.sx1261_reset, high=False), Pause(), Drive(self.sx1261_reset, high=True), Pause()]
        for command in self.reset_commands:
            steps += [Run(command), Pause()]
        return tuple(steps)

    def power_cycle_steps(self) -> tuple[ResetStep, ...]:
        """As `reset_steps`, with the supply off for half a second first, where a line switches it."""
        if self.power is None:
            return self.reset_steps()
        return (Drive(self.power, high=False), Pause(0.5), *self.reset_steps())

    def pins(self) -> tuple[Pin, ...]:
        """The lines that have to be held for as long as the chip is used: the supply is one of them."""
        return tuple(pin for pin in (self.power, self.reset, self.sx1261_reset) if pin is not None)
