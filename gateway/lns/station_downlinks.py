"""What a Basics Station server wants on the air, as ways that the radio can be offered. Decides; sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.lns.station_clock import NoStart, Start
from gateway.model import AtCounter, AtGpsTime, DownlinkRequest, Immediately, Lora, TxResult
from gateway.regions import REGIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.lns.station_clock import RadioClocks
    from gateway.regions.region import Region
    from gateway.wire.basics_station import Dnmsg, Place, RouterConfig, Scheduled

SECOND_US: Final = 1_000_000

_OTHER_NAMES: Final[Mapping[str, str]] = {
    "EU863": "EU868",
    "US902": "US915",
    "AS923JP": "AS923-1-JP",
    "IL915": "AS923-4",  # Israel's group of AS923 (RP002-1.0.4, section 2.10)
}
"""How Station calls the plans that have another name in RP002."""


def region_of(name: str) -> Region | None:
    """The plan that a server means; None where there is none, and then nothing is sent for it."""
    return REGIONS.get(_OTHER_NAMES.get(name, name))


@dataclass(frozen=True, slots=True)
class Way:
    """One possibility, and what the server is told when it was used."""

    request: DownlinkRequest
    place: Place
    start: Start | None  # None: as soon as possible


@dataclass(frozen=True, slots=True)
class Ways:
    """The possibilities in the order they are to be tried; where there are none, why."""

    ways: tuple[Way, ...]
    why_not: NoStart | None = None


class Planner:
    """Makes ways of messages, by what the server itself configured."""

    def __init__(self, config: RouterConfig, clocks: RadioClocks) -> None:
        self._config = config
        self._clocks = clocks
        self._region = region_of(config.region)

    def of_dnmsg(self, dnmsg: Dnmsg, receiver: str | None, now_mono_us: int) -> Ways:
        """The windows of a device; `receiver` is who sends what answers no uplink."""
        ways: list[Way | NoStart] = []
        receiver = self._clocks.receiver_of(dnmsg.rctx) or receiver
        if dnmsg.ping is not None and dnmsg.device_class == "B" and dnmsg.gps_time_us is not None:
            ways += self._at_gps_time(dnmsg, dnmsg.ping, receiver, dnmsg.gps_time_us)
        if dnmsg.rx1 is not None and dnmsg.xtime is not None:
            ways.append(self._at(dnmsg, dnmsg.rx1, dnmsg.xtime, dnmsg.rx_delay_s, now_mono_us))
        if dnmsg.rx2 is not None and dnmsg.device_class == "C":
            ways.append(self._soon(dnmsg, dnmsg.rx2, receiver))
        elif dnmsg.rx2 is not None and dnmsg.xtime is not None:
            ways.append(self._at(dnmsg, dnmsg.rx2, dnmsg.xtime, dnmsg.rx_delay_s + 1, now_mono_us))
        return _sorted_out(ways)

    def of_scheduled(self, entry: Scheduled, receiver: str | None, now_mono_us: int) -> Ways:
        """An entry of a schedule."""
        if entry.xtime is not None:
            return _sorted_out([self._at(entry, entry.place, entry.xtime, 0, now_mono_us)])
        receiver = self._clocks.receiver_of(entry.rctx) or receiver
        return _sorted_out([*self._at_gps_time(entry, entry.place, receiver, entry.gps_time_us or 0)])

    def _at(self, asked: Dnmsg | Scheduled, place: Place, xtime: int, after_s: int, now_mono_us: int) -> Way | NoStart:
        start = self._clocks.start(xtime, after_s * SECOND_US, now_mono_us)
        if isinstance(start, NoStart):
            return start
        return self._way(asked, place, start.receiver, AtCounter(start.counter_us), start)

    def _at_gps_time(
        self, asked: Dnmsg | Scheduled, place: Place, receiver: str | None, gps_time_us: int
    ) -> list[Way | NoStart]:
        if receiver is None:
            return [_NOBODY]
        start = self._clocks.at_gps_time(receiver, gps_time_us)
        ways = [self._way(asked, place, receiver, AtGpsTime(gps_time_us), start)]
        if start is not None:  # a radio without GPS can still be told by its own counter
            ways.append(self._way(asked, place, receiver, AtCounter(start.counter_us), start))
        return ways

    def _soon(self, asked: Dnmsg, place: Place, receiver: str | None) -> Way | NoStart:
        return _NOBODY if receiver is None else self._way(asked, place, receiver, Immediately(), None)

    def _way(
        self,
        asked: Dnmsg | Scheduled,
        place: Place,
        receiver: str,
        timing: AtCounter | AtGpsTime | Immediately,
        start: Start | None,
    ) -> Way | NoStart:
        modulation = self._config.data_rates[place.data_rate]
        if modulation is None:
            return NoStart(TxResult.UNKNOWN, f"data rate {place.data_rate} is none of those the server configured")
        power_dbm = self._power_dbm(place.frequency_hz, modulation.bandwidth_hz if isinstance(modulation, Lora) else 0)
        if power_dbm is None:
            return NoStart(TxResult.TX_FREQ, f"{place.frequency_hz} Hz is not for gateways of {self._config.region}")
        request = DownlinkRequest(
            ref=f"{asked.diid}",
            phy=asked.pdu,
            receiver=receiver,
            timing=timing,
            frequency_hz=place.frequency_hz,
            modulation=modulation,
            power_dbm_eirp=power_dbm,
            payload_crc=asked.payload_crc,
            preamble_symbols=asked.preamble_symbols,
        )
        return Way(request, place, start)

    def _power_dbm(self, frequency_hz: int, bandwidth_hz: int) -> float | None:
        low_hz, high_hz = self._config.frequency_range_hz
        if self._region is None or not low_hz <= frequency_hz <= high_hz:
            return None
        lawful = self._region.downlink_eirp_dbm(frequency_hz, bandwidth_hz or 125_000)
        if lawful is None or self._config.max_eirp_dbm is None:
            return lawful
        return min(lawful, self._config.max_eirp_dbm)


_NOBODY: Final = NoStart(TxResult.RADIO_UNREACHABLE, "no receiver has been heard of that could send it")


def _sorted_out(found: list[Way | NoStart]) -> Ways:
    ways = [way for way in found if isinstance(way, Way)]
    numbered = tuple(_numbered(way, number) for number, way in enumerate(ways))
    why_not = next((way for way in found if isinstance(way, NoStart)), None)
    return Ways(numbered, why_not)


def _numbered(way: Way, number: int) -> Way:
    return replace(way, request=replace(way.request, ref=f"{way.request.ref}/{number}"))
