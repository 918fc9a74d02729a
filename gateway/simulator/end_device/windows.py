"""When a device listens, where, and with which data rate.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), 3.3 (class A) and 17 (class C). A window is as long as it takes to find a preamble
in it, with timers that are a little off: the formula of LoRaMac-node 4.7 (`RegionCommonComputeRxWindowParameters`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.simulator.propagation import PREAMBLE_SYMBOLS

if TYPE_CHECKING:
    from gateway.model import Lora

SYMBOLS_NEEDED = 5
"""So much of a preamble has to pass while the receiver listens (Semtech AN1200.22 wants five symbols or more)."""

_SYMBOLS_MIN = 6
_PREAMBLE_MIDDLE = PREAMBLE_SYMBOLS / 2
_LOCKED_SYMBOLS = 13  # preamble and sync word: after so many the receiver knows whether there is a frame

RX1, RX2, RXC = "RX1", "RX2", "RXC"


@dataclass(frozen=True, slots=True)
class Where:
    """What a receiver is tuned to; `data_rate` is an index of the downlink table."""

    frequency_hz: int
    data_rate: int
    lora: Lora


@dataclass(frozen=True, slots=True)
class Window:
    """Time in which the device listens; without an end until something else happens (class C)."""

    name: str
    open_us: int
    close_us: int | None
    where: Where

    @property
    def lasts(self) -> bool:
        """Whether it is open until something else happens."""
        return self.close_us is None

    @property
    def decided_us(self) -> int:
        """When it is clear whether a frame was found in it; only for windows that end."""
        assert self.close_us is not None
        return self.close_us + math.ceil(_LOCKED_SYMBOLS * symbol_us(self.where.lora))

    def finds(self, preamble_us: float) -> bool:
        """Whether a preamble that starts at this time is found."""
        one_us = symbol_us(self.where.lora)
        end_us = preamble_us + PREAMBLE_SYMBOLS * one_us
        close_us = end_us if self.close_us is None else self.close_us
        return min(end_us, close_us) - max(preamble_us, self.open_us) >= SYMBOLS_NEEDED * one_us


def class_a(rx1_us: int, rx2_us: int, rx1: Where | None, rx2: Where | None, rx_error_us: int) -> tuple[Window, ...]:
    """The two windows in which a preamble is expected at these times; None: the device cannot receive there."""
    wanted = ((RX1, rx1_us, rx1), (RX2, rx2_us, rx2))
    return tuple(_around(name, expected_us, where, rx_error_us) for name, expected_us, where in wanted if where)


def class_c(end_us: int, windows: tuple[Window, ...], rx2: Where | None) -> tuple[Window, ...]:
    """Those of class A, and in RX2's parameters all the time that RX1 leaves. RX1 and RX2 keep their names."""
    if rx2 is None:
        return windows
    first = next((window for window in windows if window.name == RX1), None)
    if first is None:
        return (*windows, Window(RXC, end_us, None, rx2))
    return (*windows, Window(RXC, end_us, first.open_us, rx2), Window(RXC, first.close_us or end_us, None, rx2))


def symbol_us(lora: Lora) -> float:
    """How long a symbol lasts."""
    return 1_000_000 * (1 << lora.spreading_factor) / lora.bandwidth_hz


def _around(name: str, expected_us: int, where: Where, rx_error_us: int) -> Window:
    one_us = symbol_us(where.lora)
    symbols = max(math.ceil(2 * _SYMBOLS_MIN - PREAMBLE_SYMBOLS + 2 * rx_error_us / one_us), _SYMBOLS_MIN)
    open_us = expected_us + round((_PREAMBLE_MIDDLE - symbols / 2) * one_us)
    return Window(name, open_us, open_us + math.ceil(symbols * one_us), where)
