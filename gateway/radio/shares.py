"""Who has used how much of each sub-band's hour: the law counts transmitters, people want to know who asked.

Counted from the start of the gateway; what was sent before is in the ledger (`duty_cycle`), but not by whom.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from gateway.radio.airtime import airtime_us
from gateway.radio.duty_cycle import WINDOW_US
from gateway.radio.transmitters import bandwidth_hz

if TYPE_CHECKING:
    from gateway.model import DownlinkRequest
    from gateway.regions.region import Region

    Use = tuple[str | None, str, str]  # asker, receiver, sub-band


class AirtimeShares:
    """Air time within the hour by who asked for it, by receiver and by sub-band. Moments are monotonic."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._sent: deque[tuple[int, int, Use]] = deque()  # when, how long, whose; oldest first
        self._used_us: Counter[Use] = Counter()

    def sent(self, asker: str | None, way: DownlinkRequest, now_us: int) -> None:
        """This was on the air, or may have been. `asker`: a network server; None: this gateway itself."""
        band = self._region.sub_band(way.frequency_hz, bandwidth_hz(way.modulation))
        if band is None:
            return
        length_us = airtime_us(way.modulation, len(way.phy), crc=way.payload_crc, preamble=way.preamble_symbols)
        use = asker, way.receiver, band.name
        self._sent.append((now_us, length_us, use))
        self._used_us[use] += length_us
        self._forget(now_us)

    def used_us(self, asker: str | None, receiver: str, band: str, now_us: int) -> int:
        """What is used of the hour that ends now."""
        self._forget(now_us)
        return self._used_us[asker, receiver, band]

    def _forget(self, now_us: int) -> None:
        while self._sent and self._sent[0][0] + WINDOW_US < now_us:
            _, length_us, use = self._sent.popleft()
            self._used_us[use] -= length_us
