"""Every receiver is a transmitter of its own: each with its schedule, all of them before one law.

What asks to go on the air is judged here in the order in which the answer is worth knowing: can it be sent at all, may
it be sent on this frequency and with this power, is there time for it, is there air time left. Only what passes all of
it is booked and has a place.

The law sees the power that the antenna radiates (EIRP). What a chip or another program is told to send is less by the
gain of the antenna (`conducted`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.model import AtCounter, Fsk, Lora, TxReport, TxResult
from gateway.radio.airtime import airtime_us
from gateway.radio.counter import TURN_US
from gateway.radio.duty_cycle import AirtimeLedger, Denied, unlawful
from gateway.radio.schedule import Planned, Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import DownlinkRequest, Stamp
    from gateway.radio.schedule import GpsReference
    from gateway.regions.region import Region

PREAMBLE_MAX = 65_535
"""Symbols, or bytes with FSK: the chip counts them in 16 bits."""

MOST_SCHEDULES = 512
"""Receivers whose schedule is kept; more than that have names that somebody invents."""


class Transmitters:
    """Admission of downlinks for the receivers of one region.

    `ledger` outlives a run (`store.airtime_file`); without one, air time is counted from now on.
    """

    def __init__(self, region: Region, ledger: AirtimeLedger | None = None, *, antenna_gain_dbi: float = 0.0) -> None:
        self._region = region
        self._ledger = AirtimeLedger(region.sub_bands) if ledger is None else ledger
        self._antenna_gain_dbi = antenna_gain_dbi
        self._schedules: dict[str, Schedule] = {}
        self._denied: Counter[str] = Counter()

    def schedule(self, receiver: str) -> Schedule:
        """The schedule of one receiver; a new one is empty."""
        schedule = self._schedules.get(receiver)
        if schedule is None:
            if len(self._schedules) >= MOST_SCHEDULES:
                self._schedules = {name: busy for name, busy in self._schedules.items() if len(busy)}
            schedule = self._schedules[receiver] = Schedule()
        return schedule

    def plan(
        self, request: DownlinkRequest, count_us: int, now: Stamp, gps: GpsReference | None = None
    ) -> Planned | TxReport:
        """Book air time for it and say when it starts, or why it cannot be sent.

        `count_us` is the count of the receiver's counter at `now` (`counter`). What is planned is not in the schedule
        yet: whoever asks lets it wait there (`take`), or gives it away at once (`hand_over`).
        """
        answer = self._judge(request, count_us, now, gps)
        if isinstance(answer, Denied):
            self._denied[answer.result.value] += 1
            return TxReport(request.ref, answer.result, answer.detail, answer.against)
        return answer

    def _judge(self, request: DownlinkRequest, count_us: int, now: Stamp, gps: GpsReference | None) -> Planned | Denied:
        if not request.phy:
            return Denied(TxResult.UNKNOWN, "an empty frame cannot be sent")
        if not 0 <= (request.preamble_symbols or 0) <= PREAMBLE_MAX:
            return Denied(TxResult.UNKNOWN, f"a preamble of {request.preamble_symbols}, at most {PREAMBLE_MAX}")
        try:
            length_us = airtime_us(
                request.modulation, len(request.phy), crc=request.payload_crc, preamble=request.preamble_symbols
            )
        except ValueError as reason:
            return Denied(TxResult.UNKNOWN, str(reason))
        band = self._region.sub_band(request.frequency_hz, bandwidth_hz(request.modulation))
        if band is None:
            words = f"{request.frequency_hz / 1_000_000:g} MHz is in none of the bands of {self._region.name}"
            return Denied(TxResult.TX_FREQ, words)
        if (denied := unlawful(band, request.power_dbm_eirp, length_us)) is not None:
            return denied
        start_us = self.schedule(request.receiver).place(request.timing, length_us, count_us, gps)
        if isinstance(start_us, Denied):
            return start_us
        booking = self._ledger.reserve(request.receiver, band, length_us, start_us - count_us, now)
        if isinstance(booking, Denied):
            return booking
        return Planned(request, start_us, length_us, booking)

    def sent(self, planned: Planned) -> None:
        """It was on the air, or may have been: its air time is used."""
        if planned.booking is not None:
            self._ledger.confirm(planned.booking)

    def not_sent(self, planned: Planned) -> None:
        """It was refused further on: its air time and its place are free again."""
        self.schedule(planned.request.receiver).drop(planned)
        if planned.booking is not None:
            self._ledger.give_back(planned.booking)

    def conducted(self, request: DownlinkRequest) -> DownlinkRequest:
        """The request as a transmitter in front of the antenna has to be told it."""
        return replace(request, power_dbm_eirp=request.power_dbm_eirp - self._antenna_gain_dbi)

    @property
    def denied(self) -> Mapping[str, int]:
        """How many requests were refused here, by `TxResult`."""
        return self._denied

    def airtime(self, now: Stamp) -> tuple[Mapping[str, object], ...]:
        """For `status`: what each transmitter has used of each sub-band's hour, in seconds."""
        return tuple(
            {
                "receiver": use.transmitter,
                "band": use.band,
                "used_s": round(use.used_us / 1_000_000, 3),
                "limit_s": round(use.limit_us / 1_000_000, 3),
                "left_s": round(use.left_us / 1_000_000, 3),
            }
            for use in self._ledger.uses(now)
        )


def timed(planned: Planned) -> DownlinkRequest:
    """The request with its start as the chip's counter will show it."""
    return replace(planned.request, timing=AtCounter(planned.start_us % TURN_US))


def bandwidth_hz(modulation: Lora | Fsk) -> int:
    """How wide the signal is; for FSK Carson's rule: twice the deviation and the bit rate.

    A deviation that nobody named is half the bit rate, as in RP002: 25 kHz at 50 kbit/s.
    """
    if isinstance(modulation, Lora):
        return modulation.bandwidth_hz
    deviation_hz = modulation.bit_rate // 2 if modulation.deviation_hz is None else modulation.deviation_hz
    return 2 * deviation_hz + modulation.bit_rate
