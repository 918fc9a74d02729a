"""What a device's answers change in what is known of it.

A request is atomic: a device that refuses one part keeps all of it as it was (TS001-1.0.4, 5.2, 5.4, 5.6), so only a
whole yes changes the state. The exception is a device that keeps its data rate to itself (ADR bit 0): it takes the
channels of a LinkADRReq and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.mac_state import (
    AdrParam,
    Asked,
    MacState,
    NamedChannel,
    RecentUplinks,
    RejoinParam,
    RxSettings,
    Shelved,
    TxParam,
    other_rx,
)
from gateway.lorawan.requests import (
    ORDER_TIMES,
    REFUSED_UPLINKS,
    REST_UPLINKS,
    content_of,
    defined_channels,
    is_sticky,
    times_to_ask,
    uplink_frequencies,
)
from gateway.model import MacVersion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.lorawan.mac_commands import MacCommand
    from gateway.lorawan.requests import Wanted
    from gateway.regions.region import Region

SHELVED_MAX = 16


@dataclass(frozen=True, slots=True)
class Accepted:
    """The device has taken a request."""

    kind: str
    commands: tuple[MacCommand, ...]


@dataclass(frozen=True, slots=True)
class Declined:
    """The device has refused a request; it is not asked the same again for a while."""

    kind: str
    commands: tuple[MacCommand, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A request was sent so many times and never answered; it rests for a while."""

    kind: str
    times: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What a device says of itself."""

    battery: int  # as in DevStatusAns
    margin_db: int  # SNR of the question, as the device heard it

    @property
    def battery_percent(self) -> float | None:
        """0 to 100; None with an external supply, or when the device cannot tell."""
        if self.battery in (mac.BATTERY_EXTERNAL, mac.BATTERY_UNKNOWN):
            return None
        return round((self.battery - 1) / 253 * 100, 1)


@dataclass(frozen=True, slots=True)
class Unexpected:
    """Something in the commands that fits nothing; nothing changes by it."""

    detail: str


AnswerEvent = Accepted | Declined | GaveUp | DeviceStatus | Unexpected


@dataclass(frozen=True, slots=True)
class _Place:
    """What an answer is judged with."""

    region: Region
    f_cnt: int
    wanted: Wanted


def settle(
    state: MacState, commands: Iterable[MacCommand], region: Region, version: MacVersion, f_cnt: int, wanted: Wanted
) -> tuple[MacState, list[AnswerEvent]]:
    """The state after the answers in these commands, and what happened.

    Answers of one kind come in the order of their requests. One that nobody asked for is no error if the device
    repeats it until it hears a downlink; otherwise the state is older than the device's, and its windows are not sure.
    """
    place = _Place(region, f_cnt, wanted)
    events: list[AnswerEvent] = []
    repeated: set[int] = set()
    for kind, group in groupby(commands, type):
        answers = list(group)
        judge = _ANSWERS.get(kind)
        if judge is None:
            continue
        if is_sticky(answers[0].cid, version):
            repeated.add(answers[0].cid)
        state, event = judge(state, answers, place)
        events += event
    if repeated or state.sticky:
        uplinks = state.sticky_uplinks + 1 if repeated else 0
        state = replace(state, sticky=frozenset(repeated), sticky_uplinks=uplinks)
    return state, events


def unanswered(
    state: MacState, version: MacVersion, f_cnt: int, *, uplinks_lost: bool
) -> tuple[MacState, list[AnswerEvent]]:
    """The state after what is still asked was not answered by an uplink: what was asked often enough rests.

    A device before 1.0.2 says once that it has new receive windows. If that uplink may be among those lost, it may have
    them.
    """
    events: list[AnswerEvent] = []
    if uplinks_lost and version < MacVersion.V1_0_2:
        rx = state.rx
        for asked in state.asked:
            rx = _asked_rx(rx, asked)
        state = may_have_rx(state, rx)
    for asked in state.asked:
        if type(asked.commands[0]) is mac.ForceRejoinReq:
            if asked.times >= ORDER_TIMES:
                state = _without_order(_without(state, asked), mac.ForceRejoinReq)
        elif asked.times >= times_to_ask(state, asked.kind):
            events.append(GaveUp(asked.kind, asked.times))
            state = _shelve(_without(state, asked), Shelved(asked.kind, f_cnt + REST_UPLINKS))
            state = _without_order(state, type(asked.commands[0]))
    return state, events


# --- one answer after the other --------------------------------------------------------------------------------------

_Settled = tuple[MacState, list[AnswerEvent]]
_Judge = Callable[[MacState, Sequence["MacCommand"], _Place], _Settled]


def _asked_for(state: MacState, request: type[MacCommand]) -> Asked | None:
    return next((asked for asked in state.asked if type(asked.commands[0]) is request), None)


def _without(state: MacState, asked: Asked) -> MacState:
    return replace(state, asked=tuple(one for one in state.asked if one is not asked))


def _without_order(state: MacState, kind: type[MacCommand]) -> MacState:
    if not any(type(order) is kind for order in state.orders):
        return state
    return replace(state, orders=tuple(order for order in state.orders if type(order) is not kind))


def _shelve(state: MacState, shelved: Shelved) -> MacState:
    others = [one for one in state.shelved if (one.kind, one.content) != (shelved.kind, shelved.content)]
    return replace(state, shelved=(*others, shelved)[-SHELVED_MAX:])


def _accepted(state: MacState, asked: Asked, **changes: Any) -> _Settled:
    state = replace(_without(state, asked), **changes)
    return state, [Accepted(asked.kind, asked.commands)]


def _declined(state: MacState, asked: Asked, place: _Place, detail: str, uplinks: int = REFUSED_UPLINKS) -> _Settled:
    shelved = Shelved(asked.kind, place.f_cnt + uplinks, content_of(asked.commands))
    return _shelve(_without(state, asked), shelved), [Declined(asked.kind, asked.commands, detail)]


def _unexpected(state: MacState, answer: MacCommand, place: _Place) -> _Settled:
    """An answer without its question. One about receive windows tells that this state is older than the device's."""
    if answer.cid in state.sticky:
        return state, []
    if isinstance(answer, mac.RXParamSetupAns | mac.RXTimingSetupAns):
        state = may_have_rx(state, place.wanted.rx)
    if isinstance(answer, mac.DlChannelAns):
        state = may_have_moved_rx1(state, place.wanted)
    return state, [Unexpected(f"{type(answer).__name__}, but nothing was asked")]


def may_have_rx(state: MacState, rx: RxSettings) -> MacState:
    """The device may have gone from what the state says to these receive settings, or half of the way."""
    return _with_rx(state, state.rx, (*state.rx_else, *other_rx(state.rx, rx)))


def may_have_moved_rx1(state: MacState, wanted: Wanted) -> MacState:
    """The RX1 of each channel may be where the state says, or where it is wanted: all are asked for again."""
    return replace(state, rx1_unsure=True, dl_frequencies_hz=()) if wanted.dl_frequencies_hz else state


def _with_rx(state: MacState, rx: RxSettings, rx_else: Iterable[RxSettings]) -> MacState:
    others = tuple(dict.fromkeys(other for other in rx_else if other != rx))
    return state if (rx, others) == (state.rx, state.rx_else) else replace(state, rx=rx, rx_else=others)


def _asked_rx(rx: RxSettings, asked: Asked) -> RxSettings:
    match asked.commands[0]:
        case mac.RXParamSetupReq() as request:
            return rx._replace(
                rx1_dr_offset=request.rx1_dr_offset,
                rx2_data_rate=request.rx2_data_rate,
                rx2_frequency_hz=request.frequency_hz,
            )
        case mac.RXTimingSetupReq(delay_s=delay_s):
            return rx._replace(rx1_delay_s=delay_s or 1)
    return rx


def _refusals(answer: MacCommand) -> str:
    """The bits that are not set, by name."""
    return ", ".join(bit.name for bit in answer.layout if bit.name and not getattr(answer, bit.name))


def _rx_param_setup(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    asked = _asked_for(state, mac.RXParamSetupReq)
    if asked is None:
        return _unexpected(state, answers[0], place)
    refused = _refusals(answers[0])
    if refused:
        return _declined(state, asked, place, refused)
    return _accepted(_on_asked_rx(state, asked), asked)


def _rx_timing_setup(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    asked = _asked_for(state, mac.RXTimingSetupReq)
    if asked is None:
        return _unexpected(state, answers[0], place)
    return _accepted(_on_asked_rx(state, asked), asked)


def _on_asked_rx(state: MacState, asked: Asked) -> MacState:
    """What was asked is sure now; the other half of the receive settings may not be."""
    return _with_rx(state, _asked_rx(state.rx, asked), (_asked_rx(other, asked) for other in state.rx_else))


def _new_channel(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    events: list[AnswerEvent] = []
    for answer in answers:
        asked = _asked_for(state, mac.NewChannelReq)
        refused = _refusals(answer)
        if asked is None:
            state, event = _unexpected(state, answer, place)
        elif refused:
            state, event = _declined(state, asked, place, refused)
        else:
            state, event = _with_channel(state, asked)
        events += event
    return state, events


def _with_channel(state: MacState, asked: Asked) -> _Settled:
    request = asked.commands[0]
    assert isinstance(request, mac.NewChannelReq)
    index = request.ch_index
    channels = tuple(channel for channel in state.channels if channel.ch_index != index)
    moved = tuple(pair for pair in state.dl_frequencies_hz if pair[0] != index)  # RX1 of a new channel is its own
    if not request.frequency_hz:
        enabled = state.enabled - {index}
        return _accepted(state, asked, channels=channels, dl_frequencies_hz=moved, enabled=enabled)
    channel = NamedChannel(index, request.frequency_hz, request.min_data_rate, request.max_data_rate)
    channels = tuple(sorted((*channels, channel)))
    return _accepted(state, asked, channels=channels, dl_frequencies_hz=moved, enabled=state.enabled | {index})


def _dl_channel(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    events: list[AnswerEvent] = []
    for answer in answers:
        asked = _asked_for(state, mac.DlChannelReq)
        refused = _refusals(answer)
        if asked is None:
            state, event = _unexpected(state, answer, place)
        elif refused:
            state, event = _declined(state, asked, place, refused)
        else:
            state, event = _with_rx1_moved(state, asked, place)
        events += event
    return state, events


def _with_rx1_moved(state: MacState, asked: Asked, place: _Place) -> _Settled:
    request = asked.commands[0]
    assert isinstance(request, mac.DlChannelReq)
    moved = dict(state.dl_frequencies_hz) | {request.ch_index: request.frequency_hz}
    if uplink_frequencies(state, place.region).get(request.ch_index) == request.frequency_hz:
        del moved[request.ch_index]
    unsure = state.rx1_unsure and not set(place.wanted.dl_frequencies_hz) <= set(moved.items())
    return _accepted(state, asked, dl_frequencies_hz=tuple(sorted(moved.items())), rx1_unsure=unsure)


def _dev_status(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    answer = answers[-1]
    assert isinstance(answer, mac.DevStatusAns)
    asked = _asked_for(state, mac.DevStatusReq)
    if asked is not None:
        state = _without(state, asked)
    state = _without_order(state, mac.DevStatusReq)
    state = replace(state, battery=answer.battery, margin_db=answer.margin_db, status_f_cnt=place.f_cnt)
    return state, [DeviceStatus(answer.battery, answer.margin_db)]


def _link_adr(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
    """A block has one answer in 1.1, and as many as it has commands before; all of them have to agree."""
    asked = _asked_for(state, mac.LinkADRReq)
    if asked is None:
        return _unexpected(state, answers[0], place)
    said = [answer for answer in answers if isinstance(answer, mac.LinkADRAns)]
    block = [request for request in asked.commands if isinstance(request, mac.LinkADRReq)]
    last = block[-1]
    enabled = place.region.masked_by(
        state.enabled,
        defined_channels(state, place.region),
        tuple((request.ch_mask_cntl, request.ch_mask) for request in block),
    )
    masks_taken = all(answer.ch_mask_ack for answer in said) and enabled is not None
    data_rate_taken = all(answer.data_rate_ack for answer in said)
    tx_power_taken = all(answer.tx_power_ack for answer in said)
    if masks_taken and not asked.adr:
        return _accepted(state, asked, enabled=enabled)
    if masks_taken and data_rate_taken and tx_power_taken:
        return _accepted(
            state,
            asked,
            enabled=enabled,
            data_rate=state.data_rate if last.data_rate == mac.KEEP else last.data_rate,
            tx_power=state.tx_power if last.tx_power == mac.KEEP else last.tx_power,
            nb_trans=last.nb_trans or 1,
            recent=RecentUplinks(),
        )
    state, events = _declined(state, asked, place, ", ".join(sorted({_refusals(answer) for answer in said})))
    if not data_rate_taken and state.data_rate is not None and last.data_rate > state.data_rate:
        state = replace(state, data_rate_highest=last.data_rate - 1)
    if not tx_power_taken:
        state = _taught_by_power(state, last.tx_power)
    if not masks_taken and state.channels:
        # It has not the channels that we believe it has: they are given anew.
        state = replace(state, channels=())
    return state, events


def _taught_by_power(state: MacState, refused: int) -> MacState:
    """A device refuses less power than it can do (5.2). Some refuse the most, against the specification: RN2483."""
    if refused == state.tx_power_lowest and refused < 1:
        return replace(state, tx_power_lowest=1, tx_power=max(state.tx_power, 1))
    return replace(state, tx_power_highest=max(refused - 1, state.tx_power_lowest))


def _plain(request: type[MacCommand], changes: Callable[[Any], dict[str, Any]]) -> _Judge:
    """For an answer that is always a yes: what the request then changes."""

    def judge(state: MacState, answers: Sequence[MacCommand], place: _Place) -> _Settled:
        asked = _asked_for(state, request)
        if asked is None:
            return _unexpected(state, answers[0], place)
        return _accepted(state, asked, **changes(asked.commands[0]))

    return judge


_ANSWERS: dict[type[MacCommand], _Judge] = {
    mac.LinkADRAns: _link_adr,
    mac.DutyCycleAns: _plain(mac.DutyCycleReq, lambda said: {"max_duty_cycle": said.max_duty_cycle}),
    mac.RXParamSetupAns: _rx_param_setup,
    mac.DevStatusAns: _dev_status,
    mac.NewChannelAns: _new_channel,
    mac.RXTimingSetupAns: _rx_timing_setup,
    mac.TxParamSetupAns: _plain(
        mac.TxParamSetupReq,
        lambda said: {"tx_param": TxParam(said.max_eirp, said.uplink_dwell, said.downlink_dwell)},
    ),
    mac.DlChannelAns: _dl_channel,
    mac.ADRParamSetupAns: _plain(
        mac.ADRParamSetupReq, lambda said: {"adr_param": AdrParam(said.limit_exp, said.delay_exp)}
    ),
    # Without TimeOK a device rejoins by count alone (LoRaWAN 1.1, 5.14): it cannot do more, and is not asked again.
    mac.RejoinParamSetupAns: _plain(
        mac.RejoinParamSetupReq, lambda said: {"rejoin_param": RejoinParam(said.max_time_n, said.max_count_n)}
    ),
}
