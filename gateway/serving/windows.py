"""Where a device listens after it has sent, as ways to send it something.

A device opens RX1 and RX2 counted from the end of its own transmission (TS001-1.0.4, 3.3), which is the moment the
concentrator stamps a frame with. So a way is a value of that concentrator's counter. Several receivers may have heard
the frame: the one that heard it best is asked first, for both windows RX1 before RX2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import AtCounter, DownlinkRequest, Immediately, Lora

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.lorawan.windows import Windows
    from gateway.model import Fsk, RadioFrame
    from gateway.regions.region import ReceiveWindow, Region

_COUNTER_TURN = 1 << 32
_FSK_CHANNEL_HZ = 125_000  # what an FSK downlink of LoRaWAN occupies at most: 50 kbit/s, deviation 25 kHz


@dataclass(frozen=True, slots=True)
class Opening:
    """A window: when after the uplink's end, and where."""

    name: str  # "RX1" or "RX2"
    after_us: int
    window: ReceiveWindow


def openings_of(windows: Windows) -> list[Opening]:
    """The windows of a device, those it has."""
    second = Opening("RX2", windows.rx2_delay_us, windows.rx2)
    return [second] if windows.rx1 is None else [Opening("RX1", windows.rx1_delay_us, windows.rx1), second]


def ways_to(
    region: Region, heard: Sequence[RadioFrame], openings: Sequence[Opening], phy: bytes, ref: str
) -> list[DownlinkRequest]:
    """A request for each window and receiver, in the order to try; windows outside the law are left out.

    All go out on the first chain: no board of ours sends on another, whichever chain heard the uplink, and a packet
    forwarder refuses what it is told to send on a chain without a transmitter.
    """
    receivers = sorted(heard, key=heard_how_well, reverse=True)
    found = []
    for opening in openings:
        modulation = region.downlink_data_rates.get(opening.window.data_rate)
        power_dbm = None if modulation is None else power_dbm_eirp(region, opening.window.frequency_hz, modulation)
        if modulation is None or power_dbm is None:
            continue
        found += [
            DownlinkRequest(
                ref=ref,
                phy=phy,
                receiver=frame.receiver,
                timing=AtCounter((frame.counter_us + opening.after_us) % _COUNTER_TURN),
                frequency_hz=opening.window.frequency_hz,
                modulation=modulation,
                power_dbm_eirp=power_dbm,
            )
            for frame in receivers
        ]
    return found


def way_at_once(region: Region, receiver: str, window: ReceiveWindow, phy: bytes, ref: str) -> DownlinkRequest | None:
    """A request for a device that always listens (class C); None where the law lets nobody send."""
    modulation = region.downlink_data_rates.get(window.data_rate)
    power_dbm = None if modulation is None else power_dbm_eirp(region, window.frequency_hz, modulation)
    if modulation is None or power_dbm is None:
        return None
    return DownlinkRequest(ref, phy, receiver, Immediately(), window.frequency_hz, modulation, power_dbm)


def power_dbm_eirp(region: Region, frequency_hz: int, modulation: Lora | Fsk) -> float | None:
    """What a gateway sends with there; None where the law lets nobody send."""
    width_hz = modulation.bandwidth_hz if isinstance(modulation, Lora) else _FSK_CHANNEL_HZ
    return region.downlink_eirp_dbm(frequency_hz, width_hz)


def heard_how_well(frame: RadioFrame) -> tuple[float, float]:
    """What orders receivers of one transmission: SNR first, and level where there is none (FSK)."""
    return (-100.0 if frame.snr_db is None else frame.snr_db, frame.rssi_dbm)
