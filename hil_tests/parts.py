"""What a bench is made of. The tests know these alone; what stands behind them is real or simulated.

Levels are those at the concentrator's connector: what a modem sends less what the attenuator takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import AesKey, DevAddr, DevEui


class BenchTrouble(GatewayError):  # noqa: N818 - a state of the hardware
    """A part of the bench does not do its work: which, how it shows, what to do."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where a modem sends or listens."""

    frequency_hz: int
    spreading_factor: int
    bandwidth_hz: int = 125_000


@dataclass(frozen=True, slots=True)
class Reception:
    """A frame that a modem has received, as it tells."""

    payload: bytes
    rssi_dbm: float
    snr_db: float
    at_s: float  # `time.monotonic` when its line came
    window: int | None = None  # 1 or 2 in LoRaWAN mode
    f_port: int | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """The session that a modem is given in LoRaWAN mode (ABP, LoRaWAN 1.0.x)."""

    dev_eui: DevEui
    dev_addr: DevAddr
    nwk_s_key: AesKey
    app_s_key: AesKey


class ReferenceNode(Protocol):
    """A modem with AT commands that plays the device. Every call may raise BenchTrouble."""

    name: str
    lowest_dbm: int
    highest_dbm: int

    def identify(self) -> str:
        """What it is, with its firmware; BenchTrouble when it is something else, or too old."""
        ...

    def transmit(self, phy: bytes, channel: Channel, power_dbm: int) -> float:
        """Send these bytes as a LoRaWAN device would, and wait until they are sent; when it said so (monotonic)."""
        ...

    def listen(self, channel: Channel, within_s: float) -> None:
        """Listen for a downlink (chirps turned round) from now on."""
        ...

    def received(self, within_s: float) -> Reception | None:
        """The next frame since `listen`; None when there was none in time."""
        ...

    def become(self, who: Credentials, data_rate: int) -> None:
        """LoRaWAN mode with this session; its own stack opens the windows."""
        ...

    def uplink(self, f_port: int, payload: bytes, within_s: float) -> Sequence[Reception]:
        """An unconfirmed uplink in LoRaWAN mode, and what came in its windows."""
        ...

    def close(self) -> None:
        """Let the serial line go."""
        ...


class Attenuator(Protocol):
    """What stands between modems and concentrator."""

    lowest_db: float
    highest_db: float

    def set(self, decibels: float) -> float:
        """Take away so much, or the nearest it can; what it is now. BenchTrouble when it does not obey."""
        ...


class Relay(Protocol):
    """Power, or a plug."""

    def switch(self, *, on: bool) -> None:
        """Give power or take it. BenchTrouble when it does not obey."""
        ...


class Observer(Protocol):
    """Who sees everything that is on the air: the virtual bench has one."""

    def on_air(self) -> Sequence[Mapping[str, Any]]:
        """Every transmission that is over, in the order of their ends; times in microseconds of one clock."""
        ...
