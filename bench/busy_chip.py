"""A chip whose buffer fills at a rate, for the radio process to empty: each frame says when it got there."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from gateway.model import Crc, Lora
from gateway.radio.chip import Examination, RawFrame, TxState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.radio.chip import ChipPlan, ChipTx, Option, Reset, Unsent

DRIVER = "bench.busy_chip:open_chip"
_LORA = Lora(7, 125_000)


def boottime_us() -> int:
    """The clock since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def open_chip(options: Mapping[str, Option]) -> BusyChip:
    """A chip that hears `per_s` frames of `size` bytes, at times of chance."""
    return BusyChip(float(options["per_s"] or 0), int(options["size"] or 0))  # type: ignore[arg-type]


class BusyChip:
    """A `Chip` of no hardware: its calls cost what Python costs."""

    name = "a busy chip"

    def __init__(self, per_s: float, size: int) -> None:
        self._per_s, self._size = per_s, size
        self._chance = random.Random(1)
        self._begun_us = self._next_us = boottime_us()

    def start(self, plan: ChipPlan) -> None:
        """At once."""
        del plan
        self._begun_us = boottime_us()
        self._next_us = self._arrival(self._begun_us)

    def _arrival(self, us: float) -> int:
        return int(us + (self._chance.expovariate(self._per_s) * 1e6 if self._per_s else 1e15))

    def receive(self) -> Sequence[RawFrame]:
        """What has come since."""
        frames = []
        now_us = boottime_us()
        while self._next_us <= now_us:
            frames.append(
                RawFrame(
                    phy=b"\x40" + self._next_us.to_bytes(8, "little") + bytes(self._size - 9),
                    counter_us=(self._next_us - self._begun_us) % (1 << 32),
                    frequency_hz=868_100_000,
                    modulation=_LORA,
                    rssi_dbm=-90.0,
                    snr_db=7.5,
                    channel=0,
                    rf_chain=0,
                    crc=Crc.OK,
                )
            )
            self._next_us = self._arrival(self._next_us)
        return frames

    def send(self, tx: ChipTx) -> Unsent | None:
        """Nothing."""
        del tx

    def abort(self) -> None:
        """Nothing."""

    def tx_status(self) -> TxState:
        """Free."""
        return TxState.FREE

    def counter_us(self) -> int:
        """Since the start."""
        return (boottime_us() - self._begun_us) % (1 << 32)

    def pps_counter_us(self) -> int | None:
        """None."""
        return None

    def temperature_c(self) -> float | None:
        """None."""
        return None

    def eui(self) -> None:
        """None."""

    def examine(self) -> Examination:
        """Well."""
        return Examination(0x10, 0, 0, agc_parity_error=False, arb_parity_error=False)

    def reset(self, level: Reset) -> None:
        """Nothing."""
        del level

    def stop(self) -> None:
        """Nothing."""
