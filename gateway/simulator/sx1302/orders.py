"""The lines by which a person, or a test, plays with a simulated concentrator while a driver uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import UsageError
from gateway.model import Lora
from gateway.radio.airtime import SIZE_MAX
from gateway.simulator.sx1302.faults import Fault, named

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE = (
    "fault NAME, fault clear, temperature CELSIUS, or "
    "uplink HEX FREQUENCY_HZ SPREADING_FACTOR [BANDWIDTH_HZ [LEVEL_DBM]]"
)

_CELSIUS = re.compile(r"-?[0-9]{1,3}")
_BANDWIDTHS_HZ = (125_000, 250_000, 500_000)
_LEVEL_DBM = -60


@dataclass(frozen=True, slots=True)
class Break:
    """Let something go wrong."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Mend:
    """End every fault."""


@dataclass(frozen=True, slots=True)
class Warm:
    """Let the board be so warm."""

    celsius: int


@dataclass(frozen=True, slots=True)
class Uplink:
    """Put a frame on the air."""

    phy: bytes
    frequency_hz: int
    lora: Lora
    level_dbm: int = _LEVEL_DBM  # at the antenna, on average


def parse_order(line: str) -> Break | Mend | Warm | Uplink | None:
    """What a line asks for; None for an empty one. UsageError when it asks for nothing known or possible."""
    match line.split():
        case []:
            return None
        case ["fault", "clear"]:
            return Mend()
        case ["fault", name]:
            return Break(fault_named(name))
        case ["temperature", celsius]:
            return _warm(celsius)
        case ["uplink", phy, *where] if 2 <= len(where) <= 4:
            return _uplink(phy, where)
    raise UsageError(f"{line[:60]!r} is not understood", hint=USAGE)


def fault_named(name: str) -> Fault:
    """The fault of that name; UsageError when there is none."""
    fault = named(name)
    if fault is None:
        raise UsageError(f"There is no fault {name[:40]!r}", hint=f"There are {', '.join(Fault)}")
    return fault


def _warm(text: str) -> Warm:
    if not (_CELSIUS.fullmatch(text) and -50 <= int(text) <= 120):
        raise UsageError(f"A board has -50 to 120 °C, not {text[:20]!r}")
    return Warm(int(text))


def _uplink(phy_hex: str, where: Sequence[str]) -> Uplink:
    try:
        phy = bytes.fromhex(phy_hex)
        frequency_hz, spreading, *rest = [int(word) for word in where]
    except ValueError as error:
        raise UsageError(f"This cannot be sent: {error}", hint=USAGE) from None
    bandwidth_hz, level_dbm = [*rest, *(125_000, _LEVEL_DBM)[len(rest) :]]
    if not 1 <= len(phy) <= SIZE_MAX:
        raise UsageError(f"A frame has 1 to {SIZE_MAX} bytes, not {len(phy)}")
    if not 5 <= spreading <= 12 or bandwidth_hz not in _BANDWIDTHS_HZ:
        raise UsageError("LoRa here has spreading factors 5 to 12 and a bandwidth of 125000, 250000 or 500000 Hz")
    if not (100_000_000 <= frequency_hz <= 1_000_000_000 and -200 <= level_dbm <= 30):
        raise UsageError("A frame here has 100 to 1000 MHz and arrives with -200 to 30 dBm")
    return Uplink(phy, frequency_hz, Lora(spreading, bandwidth_hz), level_dbm)
