"""When and where a device listens, by what is known of it.

RX1 follows the uplink: its channel, or where DlChannelReq moved it, and its data rate less the offset. RX2 is where the
session says. Both are counted from the end of the uplink (TS001-1.0.4, 3.3; RP002-1.0.4, 2.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan.requests import uplink_frequencies
from gateway.regions.region import CHANNEL_WIDTH_HZ

if TYPE_CHECKING:
    from gateway.lorawan.mac_state import MacState
    from gateway.regions.region import ReceiveWindow, Region


@dataclass(frozen=True, slots=True)
class Windows:
    """The two windows after an uplink."""

    rx1: ReceiveWindow | None  # None: the plan has none for this uplink, or it is not sure where
    rx1_delay_us: int
    rx2: ReceiveWindow
    rx2_delay_us: int
    downlink_dwell: bool  # the device expects no downlink longer than the dwell time


def windows(state: MacState, uplink_hz: int, uplink_dr: int, region: Region) -> Windows:
    """After an uplink on this frequency, with this data rate of the region."""
    delay_us = state.rx.rx1_delay_s * 1_000_000
    return Windows(
        _rx1(state, uplink_hz, uplink_dr, region),
        delay_us,
        rx2(state, region),
        delay_us + region.receive_delay2_after_1_us,
        _downlink_dwell(state),
    )


def rx2(state: MacState, region: Region) -> ReceiveWindow:
    """The second window; a class C device listens here whenever it does nothing else."""
    return replace(region.rx2, frequency_hz=state.rx.rx2_frequency_hz, data_rate=state.rx.rx2_data_rate)


def rejoin_windows(state: MacState, uplink_hz: int, uplink_dr: int, region: Region) -> Windows:
    """After a rejoin-request: where the session listens, with the delays of a join (LoRaWAN 1.1, 6.2.4)."""
    delay_us = region.join_accept_delay1_us
    return replace(
        windows(state, uplink_hz, uplink_dr, region),
        rx1_delay_us=delay_us,
        rx2_delay_us=delay_us + region.receive_delay2_after_1_us,
    )


def _rx1(state: MacState, uplink_hz: int, uplink_dr: int, region: Region) -> ReceiveWindow | None:
    if state.rx1_unsure:
        return None
    try:
        window = region.rx1(uplink_hz, uplink_dr, state.rx.rx1_dr_offset, dwell=_downlink_dwell(state))
    except ValueError:
        return None
    moved_hz = _moved(state, uplink_hz, region)
    return window if moved_hz is None else replace(window, frequency_hz=moved_hz)


def _moved(state: MacState, uplink_hz: int, region: Region) -> int | None:
    """Where DlChannelReq moved the RX1 of this uplink's channel; None when it did not."""
    if not state.dl_frequencies_hz:
        return None
    moved, own = dict(state.dl_frequencies_hz), uplink_frequencies(state, region)
    near = (index for index, hz in own.items() if abs(hz - uplink_hz) < CHANNEL_WIDTH_HZ // 2 and index in moved)
    return next((moved[index] for index in near), None)


def _downlink_dwell(state: MacState) -> bool:
    return state.tx_param is not None and state.tx_param.downlink_dwell
