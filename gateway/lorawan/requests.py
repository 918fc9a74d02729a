"""What the network asks of a device: the difference between what it wants and what the device has.

Nothing is remembered as "to be done": as long as the two differ, and the device has not refused, the request is due
again. So a request is repeated until it is answered, and what a setting changes back is never asked. Two bounds keep a
device that does not answer, or not agree, from eating the air: after `ASK_TIMES` a request rests for `REST_UPLINKS`,
and one that was refused rests for `REFUSED_UPLINKS` unless its content changes.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), chapter 5, and LoRaWAN 1.1, chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.adr import ADRS, MARGIN_DB, NB_TRANS_MAX, Link, Wish
from gateway.lorawan.mac_commands import KEEP, size_of, write_commands
from gateway.lorawan.mac_state import Asked, RxSettings
from gateway.model import MacVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.lorawan.mac_commands import MacCommand
    from gateway.lorawan.mac_state import AdrParam, MacState, NamedChannel, RejoinParam, TxParam
    from gateway.model import Modulation
    from gateway.regions.region import Region

ASK_TIMES = 6
"""How often a request is sent before it rests: a device that hears one downlink in three misses it once in eleven."""

REST_UPLINKS = 256
REFUSED_UPLINKS = 1_024
ADR_EVERY = 5
"""Uplinks between two looks of an ADR algorithm at a device: the twenty that it looks at change little by one."""

ORDER_TIMES = 3
"""How often a request without an answer (ForceRejoinReq) is sent."""

_STICKY_SINCE = {
    mac.RXParamSetupAns.cid: MacVersion.V1_0_2,
    mac.RXTimingSetupAns.cid: MacVersion.V1_0_2,
    mac.DlChannelAns.cid: MacVersion.V1_0_2,
    mac.TxParamSetupAns.cid: MacVersion.V1_0_4,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How this network wants its devices to be; None and 0 leave the device as it is."""

    rx: RxSettings
    enabled: frozenset[int]
    channels: tuple[NamedChannel, ...] = ()  # beyond those of the region; others that a device has are removed
    dl_frequencies_hz: tuple[tuple[int, int], ...] = ()
    max_duty_cycle: int = 0
    tx_param: TxParam | None = None
    adr_param: AdrParam | None = None
    rejoin_param: RejoinParam | None = None
    adr: str = "standard"  # a name of `adr.ADRS`
    margin_db: float = MARGIN_DB
    nb_trans_max: int = NB_TRANS_MAX
    data_rates: range | None = None  # for ADR; None: those of the region
    dev_status_every: int = 0  # uplinks between two questions for the battery; 0: never


def wanted_by(region: Region) -> Wanted:
    """What a network wants that leaves its devices at the defaults of the region, with ADR."""
    rx = RxSettings(region.receive_delay1_us // 1_000_000, 0, region.rx2.frequency_hz, region.rx2.data_rate)
    return Wanted(rx, frozenset(range(len(region.channels))))


def is_sticky(cid: int, version: MacVersion) -> bool:
    """Whether a device repeats this answer until it hears a downlink (TS001-1.0.4, 5.4, 5.7, 5.8 and 5.6)."""
    return cid in _STICKY_SINCE and _STICKY_SINCE[cid] <= version


def due(
    state: MacState, wanted: Wanted, region: Region, version: MacVersion, *, adr: bool, f_cnt: int
) -> Iterator[Asked]:
    """The requests worth sending now, the most important first; `times` counts those before.

    `adr` is the ADR bit of the last uplink, `f_cnt` its counter.
    """
    before = {asked.kind: asked for asked in state.asked}
    channels_first = False
    for kind, commands in _differences(state, wanted, region, version, adr=adr, f_cnt=f_cnt):
        if any(command.cid in state.sticky or not command.known_in(version) for command in commands):
            continue  # the answer to another request would be taken for the answer to this one
        if kind == "LinkADR" and channels_first:
            continue  # its masks would switch off what is being added
        if not _rests(state, kind, content_of(commands), f_cnt):
            times = before[kind].times if kind in before else 0
            channels_first = channels_first or kind.startswith("NewChannel")
            yield Asked(kind, commands, times, adr)


def times_to_ask(state: MacState, kind: str) -> int:
    """How often a request of this kind is sent before it rests: in each of the windows the device may have."""
    return ASK_TIMES * (1 + len(state.rx_else)) if kind in ("RXParamSetup", "RXTimingSetup") else ASK_TIMES


def content_of(commands: tuple[MacCommand, ...]) -> str:
    """What tells one request of a kind from another."""
    return write_commands(commands).hex()


def fitting(requests: Iterator[Asked], room: int) -> tuple[list[Asked], bool]:
    """Those that fit into so many bytes, in their order, and whether one was left out."""
    taken, left_out = [], False
    for asked in requests:
        size = size_of(asked.commands)
        if size <= room:
            taken.append(asked)
            room -= size
        else:
            left_out = True
    return taken, left_out


def _rests(state: MacState, kind: str, content: str, f_cnt: int) -> bool:
    return any(
        shelved.kind == kind and f_cnt < shelved.until_f_cnt and shelved.content in ("", content)
        for shelved in state.shelved
    )


_Difference = tuple[str, tuple["MacCommand", ...]]


def _differences(
    state: MacState, wanted: Wanted, region: Region, version: MacVersion, *, adr: bool, f_cnt: int
) -> Iterator[_Difference]:
    yield from _receive_windows(state, wanted)
    if not region.fixed_plan:
        yield from _channels(state, wanted, region)
    yield from _link(state, wanted, region, version, adr=adr, f_cnt=f_cnt)
    if state.max_duty_cycle != wanted.max_duty_cycle:
        yield "DutyCycle", (mac.DutyCycleReq(wanted.max_duty_cycle),)
    if region.tx_param_setup and wanted.tx_param not in (None, state.tx_param):
        assert wanted.tx_param is not None
        yield "TxParamSetup", (mac.TxParamSetupReq(*wanted.tx_param),)
    if wanted.adr_param not in (None, state.adr_param):
        assert wanted.adr_param is not None
        yield "ADRParamSetup", (mac.ADRParamSetupReq(*wanted.adr_param),)
    if wanted.rejoin_param not in (None, state.rejoin_param):
        assert wanted.rejoin_param is not None
        yield "RejoinParamSetup", (mac.RejoinParamSetupReq(*wanted.rejoin_param),)
    ordered = any(isinstance(order, mac.DevStatusReq) for order in state.orders)
    if ordered or _status_due(state, wanted, f_cnt):
        yield "DevStatus", (mac.DevStatusReq(),)
    for order in state.orders:
        if not isinstance(order, mac.DevStatusReq):
            yield type(order).__name__.removesuffix("Req"), (order,)


def _receive_windows(state: MacState, wanted: Wanted) -> Iterator[_Difference]:
    unsure = bool(state.rx_else)
    if unsure or state.rx[1:] != wanted.rx[1:]:
        rx = wanted.rx
        yield "RXParamSetup", (mac.RXParamSetupReq(rx.rx1_dr_offset, rx.rx2_data_rate, rx.rx2_frequency_hz),)
    if unsure or state.rx.rx1_delay_s != wanted.rx.rx1_delay_s:
        yield "RXTimingSetup", (mac.RXTimingSetupReq(wanted.rx.rx1_delay_s),)


def _channels(state: MacState, wanted: Wanted, region: Region) -> Iterator[_Difference]:
    wanted_indexes = {channel.ch_index for channel in wanted.channels}
    for channel in wanted.channels:
        if channel not in state.channels:
            yield f"NewChannel {channel.ch_index}", (mac.NewChannelReq(*channel),)
    for channel in state.channels:
        if channel.ch_index not in wanted_indexes:
            yield f"NewChannel {channel.ch_index}", (mac.NewChannelReq(channel.ch_index, 0, 0, 0),)
    own = uplink_frequencies(state, region)
    back = {ch_index: own[ch_index] for ch_index, _ in state.dl_frequencies_hz if ch_index in own}
    now = own | dict(state.dl_frequencies_hz)
    for ch_index, frequency_hz in (back | dict(wanted.dl_frequencies_hz)).items():
        if ch_index in own and now[ch_index] != frequency_hz:
            yield f"DlChannel {ch_index}", (mac.DlChannelReq(ch_index, frequency_hz),)


def uplink_frequencies(state: MacState, region: Region) -> dict[int, int]:
    """The uplink channels that the device has, on or off: where each of them is."""
    frequencies_hz = {index: channel.frequency_hz for index, channel in enumerate(region.channels)}
    return frequencies_hz | {channel.ch_index: channel.frequency_hz for channel in state.channels}


def defined_channels(state: MacState, region: Region) -> frozenset[int]:
    """The indexes of these channels."""
    return frozenset(uplink_frequencies(state, region))


# --- data rate, power, channels in use -------------------------------------------------------------------------------


def _link(
    state: MacState, wanted: Wanted, region: Region, version: MacVersion, *, adr: bool, f_cnt: int
) -> Iterator[_Difference]:
    """A block of LinkADRReq: channel masks one by one, and in each of them data rate, power and repetitions."""
    defined = defined_channels(state, region)
    enabled = wanted.enabled & defined or state.enabled & defined
    if state.data_rate is None or not enabled:
        return
    now = Wish(state.data_rate, state.tx_power, state.nb_trans)
    look = adr and (f_cnt % ADR_EVERY == 0 or any(asked.kind == "LinkADR" for asked in state.asked))
    wish = ADRS[wanted.adr](link_of(state, wanted, region)) if look else now
    if enabled == state.enabled and wish == now:
        return
    data_rate, tx_power = wish.data_rate, wish.tx_power
    if not adr and version >= MacVersion.V1_0_4:
        data_rate = tx_power = KEEP
    commands = tuple(
        mac.LinkADRReq(data_rate, tx_power, ch_mask, ch_mask_cntl, wish.nb_trans)
        for ch_mask_cntl, ch_mask in region.mask_blocks(enabled)
    )
    yield "LinkADR", commands


def link_of(state: MacState, wanted: Wanted, region: Region) -> Link:
    """What an ADR algorithm is told."""
    assert state.data_rate is not None
    highest = region.tx_power_max
    if state.tx_power_highest is not None:
        highest = min(highest, state.tx_power_highest)
    return Link(
        samples=state.recent.samples(),
        data_rate=state.data_rate,
        tx_power=state.tx_power,
        nb_trans=state.nb_trans,
        data_rates=_usable(state, wanted, region),
        tx_power_lowest=state.tx_power_lowest,
        tx_power_highest=max(highest, state.tx_power_lowest),
        margin_db=wanted.margin_db,
        nb_trans_max=wanted.nb_trans_max,
    )


def _usable(state: MacState, wanted: Wanted, region: Region) -> Mapping[int, Modulation]:
    """The data rates that ADR may choose from: offered by network and region, on some channel in use, not refused."""
    offered = wanted.data_rates if wanted.data_rates is not None else region.adr_data_rates
    dwell = region.uplink_dwell if state.tx_param is None else state.tx_param.uplink_dwell
    on_channels = {index: channel.data_rates for index, channel in enumerate(region.channels)}
    on_channels.update(
        (channel.ch_index, range(channel.min_data_rate, channel.max_data_rate + 1)) for channel in state.channels
    )
    return {
        data_rate: region.data_rates[data_rate]
        for data_rate in offered
        if data_rate in region.data_rates
        and (state.data_rate_highest is None or data_rate <= state.data_rate_highest)
        and region.max_payload(data_rate, downlink=False, dwell=dwell) is not None
        and any(data_rate in rates for index, rates in on_channels.items() if index in state.enabled)
    }


def _status_due(state: MacState, wanted: Wanted, f_cnt: int) -> bool:
    if not wanted.dev_status_every:
        return False
    return state.status_f_cnt is None or f_cnt - state.status_f_cnt >= wanted.dev_status_every
