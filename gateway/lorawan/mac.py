"""The network's side of a device's MAC layer: what an uplink means, and what goes down in answer.

    heard    what an uplink says: answers, questions, acknowledgements; the next state, and what is owed
    answer   what the next downlink says: what is owed, then requests, as far as there is room

All are functions of frozen values. The daemon keeps the new state and puts the frame on the air, in this order:

1. `Heard.state` is stored with the uplink that led to it.
2. Before a downlink is on the air its counter is spent on disk, and `Answer.state` is stored; with a confirmed downlink
   `confirmed_sent` of it, because the acknowledgement of a 1.1 device is signed with that counter.
3. A downlink that never went on the air (refused in every window) asked nothing: `Answer.unsent` is the state then.

Power can go between any two of these. A lost state does no harm to requests, which can be asked twice. What `unsure`
does for receive windows (`windows.py`): what a device has is either what the state says or what the network wants of
it, because nothing else was ever asked. They are tried in turn until an answer shows which it is.

MAC commands travel in class A windows alone: devices ignore them elsewhere (TS001-1.0.4, 4.3.1.7 and chapter 5).

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), chapters 4 and 5; LoRaWAN 1.1, chapters 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.adr import ADRS, Sample, required_snr_db
from gateway.lorawan.answers import (
    AnswerEvent,
    Unexpected,
    may_have_moved_rx1,
    may_have_rx,
    settle,
    unanswered,
)
from gateway.lorawan.frame import F_OPTS_MAX
from gateway.lorawan.mac_commands import read_uplink_commands, size_of, write_commands
from gateway.lorawan.mac_state import Asked, InFlight, MacState, NamedChannel, RecentUplinks, RxSettings
from gateway.lorawan.requests import due, fitting
from gateway.model import MacVersion

if TYPE_CHECKING:
    from gateway.lorawan.join import JoinTerms
    from gateway.lorawan.mac_commands import MacCommand
    from gateway.lorawan.requests import Wanted
    from gateway.model import Device, OpenedUplink
    from gateway.regions.region import Region

MINOR = 1
"""The highest minor version of LoRaWAN 1.x spoken here."""

EMPTY_DOWNLINKS_MAX = 8
"""Downlinks in a row spent on a device that goes on repeating a sticky answer: it seems not to hear them."""

EMPTY_DOWNLINK_EVERY = 64
"""After those, an uplink in so many is answered."""

CONF_F_CNTS_KEPT = 2
"""Confirmed downlinks that may still be acknowledged: the last, and the one before that nobody waits for any more."""

_CLASSES = {mac.CLASS_A: "A", mac.CLASS_C: "C"}


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The confirmed downlink with this ref was heard by the device."""

    ref: str
    f_cnt: int


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """The uplink that had to acknowledge did not. `uplinks_lost`: one that was never heard may have."""

    ref: str
    f_cnt: int
    uplinks_lost: bool


@dataclass(frozen=True, slots=True)
class Restarted:
    """The device is at its defaults again: it said so (1.1 ResetInd), or its counter started over."""

    detail: str


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """A 1.1 device says that it uses the session of its last join."""

    minor: int


@dataclass(frozen=True, slots=True)
class ClassChanged:
    """A 1.1 device listens from now on as class A or C."""

    device_class: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something a technician may want to know; nothing follows from it."""

    text: str


Event = AnswerEvent | Acknowledged | NotAcknowledged | Restarted | Rekeyed | ClassChanged | Remark


@dataclass(frozen=True, slots=True)
class Heard:
    """What an uplink meant. `state` belongs on disk with the uplink."""

    state: MacState
    version: MacVersion
    f_cnt: int
    adr: bool
    answers: tuple[MacCommand, ...]  # owed in the windows of this very uplink, and only there
    acknowledge: bool  # the next downlink has the ACK bit, and `f_cnt` in its MIC
    waiting: bool  # the device waits for a downlink, whatever is in it
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the next downlink says besides an application payload."""

    state: MacState  # once it is on the air; on disk before
    unsent: MacState  # if it never is
    f_opts: bytes = b""
    port_0: bytes = b""  # instead of FOpts: the payload for FPort 0
    ack: bool = False
    conf_f_cnt: int = 0  # the uplink acknowledged, for the MIC of 1.1
    adr: bool = False  # the ADR bit: the network controls the data rate
    needed: bool = False  # worth a downlink of its own
    more: bool = False  # something did not fit: FPending


# --- up ---------------------------------------------------------------------------------------------------------------


def heard(
    state: MacState,
    uplink: OpenedUplink,
    region: Region,
    wanted: Wanted,
    base: MacState,
    *,
    gateways: int = 1,
    gps_time_us: int | None = None,
) -> Heard:
    """The state after an accepted uplink, what is owed in answer, and what happened.

    `base` is the state of the device after a restart (`mac_state.initial`, or what its maker set). `gateways` is how
    many receivers heard the frame, `gps_time_us` when it ended: microseconds since 1980-01-06 without leap seconds,
    None when nobody knows the time well enough.
    """
    version = uplink.session.mac_version
    commands, problem = _commands_of(uplink)
    events: list[Event] = [] if problem is None else [Unexpected(problem)]
    reset = any(isinstance(command, mac.ResetInd) for command in commands)
    if reset or uplink.counter_reset:
        state = restarted(state, base)
        events.append(Restarted("it reset its MAC layer" if reset else f"its counter starts over at {uplink.f_cnt}"))
    before = state
    state = _sample(state, uplink, region, gateways)
    state, settled = settle(state, commands, region, version, uplink.f_cnt, wanted)
    events += settled
    state = _surer(state, before, uplink)
    state, given_up = unanswered(state, version, uplink.f_cnt, uplinks_lost=uplink.gap_before > 0)
    events += given_up
    state, acknowledged = _acknowledged(state, uplink)
    events += acknowledged
    state, answers, said = _owed(state, commands, uplink, gateways, gps_time_us)
    events += said
    return Heard(
        state=state,
        version=version,
        f_cnt=uplink.f_cnt,
        adr=uplink.adr,
        answers=answers,
        acknowledge=uplink.confirmed,
        waiting=uplink.confirmed or bool(answers) or uplink.adr_ack_req or _repeats(state),
        events=tuple(events),
    )


def heard_again(state: MacState, uplink: OpenedUplink, *, gateways: int = 1, gps_time_us: int | None = None) -> Heard:
    """What a repetition asks for once more. It tells nothing new: its sender heard no answer."""
    commands, _ = _commands_of(uplink)
    _, answers, _ = _owed(state, commands, uplink, gateways, gps_time_us)
    return Heard(
        state=state,
        version=uplink.session.mac_version,
        f_cnt=uplink.f_cnt,
        adr=uplink.adr,
        answers=answers,
        acknowledge=uplink.confirmed,
        waiting=uplink.confirmed or bool(answers) or uplink.adr_ack_req,
    )


def _repeats(state: MacState) -> bool:
    """Whether the device gets a downlink so that it need not repeat an answer any more."""
    patience = EMPTY_DOWNLINKS_MAX * (1 + len(state.rx_else))
    return bool(state.sticky) and (state.sticky_uplinks <= patience or state.sticky_uplinks % EMPTY_DOWNLINK_EVERY == 0)


def _commands_of(uplink: OpenedUplink) -> mac.CommandStream:
    return read_uplink_commands(uplink.payload if uplink.f_port == 0 else uplink.f_opts)


def _sample(state: MacState, uplink: OpenedUplink, region: Region, gateways: int) -> MacState:
    """With how this uplink was heard. A data rate below the one agreed on shows that the device backed off."""
    data_rate = region.data_rate_index(uplink.frame.modulation)
    if data_rate is not None and data_rate != state.data_rate:
        backed_off = uplink.adr and state.data_rate is not None and data_rate < state.data_rate
        power = state.tx_power_lowest if backed_off else state.tx_power  # first of all it sends with all its power
        recent = RecentUplinks() if backed_off else state.recent
        state = replace(state, data_rate=data_rate, tx_power=power, recent=recent)
    sample = Sample(uplink.f_cnt, uplink.frame.snr_db, state.tx_power, gateways)
    return replace(state, recent=state.recent.with_uplink(sample))


def _surer(state: MacState, before: MacState, uplink: OpenedUplink) -> MacState:
    """Whether the last downlink was heard shows whether the device listens where we think; if not, elsewhere next.

    It was heard if it is acknowledged, if what it asked is answered, and if answers repeated until then are not any
    more. The answers that are repeated themselves may be to an earlier downlink.
    """
    if not before.spoke:
        return state
    if state.rx_else:
        answered = {asked.kind for asked in before.asked} - {asked.kind for asked in state.asked}
        repeats = uplink.session.mac_version >= MacVersion.V1_0_2
        proofs = answered - {"RXParamSetup", "RXTimingSetup"} if repeats else answered
        if uplink.ack or proofs or before.sticky - state.sticky:
            return replace(state, rx_else=(), spoke=False)
        if before.asked or before.sticky or before.in_flight is not None:
            following, *others = state.rx_else
            return replace(state, rx=following, rx_else=(*others, state.rx), spoke=False)
    return replace(state, spoke=False)


def _acknowledged(state: MacState, uplink: OpenedUplink) -> tuple[MacState, list[Event]]:
    waiting = state.in_flight
    if waiting is None:
        return state, []
    if uplink.ack:
        return replace(state, in_flight=None), [Acknowledged(waiting.ref, waiting.f_cnt)]
    # Class A acknowledges with its next uplink (4.3.1.2). A class C device may have been about to send another one.
    patience = 2 if class_of(state, uplink.device, uplink.session.mac_version) == "C" else 1
    if waiting.uplinks + 1 < patience:
        return replace(state, in_flight=waiting._replace(uplinks=waiting.uplinks + 1)), []
    return replace(state, in_flight=None), [NotAcknowledged(waiting.ref, waiting.f_cnt, uplink.gap_before > 0)]


def class_of(state: MacState, device: Device, version: MacVersion) -> str:
    """How the device listens: a 1.1 device says so itself, of any other the technician did."""
    return state.device_class if version.is_1_1 else device.device_class


# --- what is owed -----------------------------------------------------------------------------------------------------


def _owed(
    state: MacState,
    commands: tuple[MacCommand, ...],
    uplink: OpenedUplink,
    gateways: int,
    gps_time_us: int | None,
) -> tuple[MacState, tuple[MacCommand, ...], list[Event]]:
    """The answers to what the device asks or announces, each kind once."""
    answers: dict[type[MacCommand], MacCommand] = {}
    events: list[Event] = []
    is_1_1 = uplink.session.mac_version.is_1_1
    for command in commands:
        match command:
            case mac.ResetInd(minor=minor) if is_1_1:
                answers[mac.ResetInd] = mac.ResetConf(min(minor, MINOR))
            case mac.RekeyInd(minor=minor) if is_1_1:
                answers[mac.RekeyInd] = mac.RekeyConf(min(minor, MINOR))
                events.append(Rekeyed(minor))
            case mac.DeviceModeInd(device_class=announced) if is_1_1 and announced in _CLASSES:
                answers[mac.DeviceModeInd] = mac.DeviceModeConf(announced)
                if _CLASSES[announced] != state.device_class:
                    state = replace(state, device_class=_CLASSES[announced])
                    events.append(ClassChanged(state.device_class))
            case mac.LinkCheckReq():
                answers[mac.LinkCheckReq] = mac.LinkCheckAns(_margin_db(uplink), min(max(gateways, 1), 255))
            case mac.DeviceTimeReq() if gps_time_us is not None:
                answers[mac.DeviceTimeReq] = mac.DeviceTimeAns.at(gps_time_us)
            case _ if type(command) in _UNSERVED:
                events.append(Remark(f"{type(command).__name__}: {_UNSERVED[type(command)]}"))
    return state, tuple(answers.values()), events


_NOT_1_1 = "a command of LoRaWAN 1.1 in a session of 1.0"
_CLASS_B = "class B is not served"
_UNSERVED: dict[type[MacCommand], str] = {
    mac.ResetInd: _NOT_1_1,
    mac.RekeyInd: _NOT_1_1,
    mac.DeviceModeInd: "no class that is served in a session of LoRaWAN 1.1",
    mac.DeviceTimeReq: "the time is not known well enough to be told",
    mac.PingSlotInfoReq: _CLASS_B,
    mac.PingSlotChannelAns: _CLASS_B,
    mac.BeaconTimingReq: _CLASS_B,
    mac.BeaconFreqAns: _CLASS_B,
}


def _margin_db(uplink: OpenedUplink) -> int:
    """How far the SNR is above what the demodulator needs; 0 where that has no figure (FSK, LR-FHSS)."""
    needed, snr_db = required_snr_db(uplink.frame.modulation), uplink.frame.snr_db
    if needed is None or snr_db is None:
        return 0
    return min(max(round(snr_db - needed), 0), 254)


# --- down -------------------------------------------------------------------------------------------------------------


def answer(
    heard: Heard,
    region: Region,
    wanted: Wanted,
    *,
    room: int = F_OPTS_MAX,
    room_port_0: int = 0,
    state: MacState | None = None,
) -> Answer:
    """What the downlink after this uplink says: what is owed first, then the requests that are due.

    `room` are the bytes that FOpts may have beside an application payload, at most 15; `room_port_0` is the longest
    payload of the window when no application payload waits, so that more than 15 bytes of commands can go on FPort 0.
    `state` is the present one where it has moved on since.
    """
    state = heard.state if state is None else state
    room = min(room, F_OPTS_MAX)
    requests = list(due(state, wanted, region, heard.version, adr=heard.adr, f_cnt=heard.f_cnt))
    owed, owed_left_out = _fitting_answers(heard.answers, max(room, room_port_0))
    taken, left_out = fitting(iter(requests), max(room, room_port_0) - size_of(owed))
    commands = (*owed, *(command for asked in taken for command in asked.commands))
    stream = write_commands(commands)
    on_port_0 = len(stream) > room
    return Answer(
        state=_sent(state, taken),
        unsent=state,
        f_opts=b"" if on_port_0 else stream,
        port_0=stream if on_port_0 else b"",
        ack=heard.acknowledge,
        conf_f_cnt=heard.f_cnt & 0xFFFF if heard.acknowledge else 0,
        adr=heard.adr and ADRS[wanted.adr] is not ADRS["off"],
        needed=heard.waiting or bool(requests),
        more=left_out or owed_left_out,
    )


def _fitting_answers(answers: tuple[MacCommand, ...], room: int) -> tuple[list[MacCommand], bool]:
    fit: list[MacCommand] = []
    for one in answers:
        if size_of((*fit, one)) <= room:
            fit.append(one)
    return fit, len(fit) < len(answers)


def _sent(state: MacState, taken: list[Asked]) -> MacState:
    """With these requests asked once more. A kind keeps its place: devices answer in the order of the requests."""
    if not taken:
        return state if state.spoke else replace(state, spoke=True)
    now = {asked.kind: replace(asked, times=asked.times + 1) for asked in taken}
    kept = (now.pop(asked.kind, asked) for asked in state.asked)
    return replace(state, asked=(*kept, *now.values()), spoke=True)


def confirmed_sent(state: MacState, f_cnt: int, ref: str) -> MacState:
    """The state with a confirmed downlink on its way; on disk before the downlink is on the air."""
    earlier = state.conf_f_cnts or ()
    conf_f_cnts = (f_cnt, *earlier)[:CONF_F_CNTS_KEPT]
    return replace(state, in_flight=InFlight(f_cnt, ref), conf_f_cnts=conf_f_cnts)


def ordered(state: MacState, order: MacCommand) -> MacState:
    """The state with a one-off request to be sent: ForceRejoinReq, or DevStatusReq."""
    others = (one for one in state.orders if type(one) is not type(order))
    return replace(state, orders=(*others, order))


# --- beginnings -------------------------------------------------------------------------------------------------------


def after_join(terms: JoinTerms, region: Region, *, device_class: str = "A", join_hz: int | None = None) -> MacState:
    """The state of a session that a join-accept with these terms began (type 0 and 1 of a rejoin too).

    A device that takes it has the defaults of its region, and what the accept says. Where it asked (`join_hz`) tells
    where it listens in regions whose RX2 depends on that (CN470). A 1.1 device is one of class A until it says
    otherwise (LoRaWAN 1.1, 18.2).
    """
    rx2 = region.rx2 if join_hz is None else region.rx2_after_join(join_hz)
    rx = RxSettings(terms.rx_delay_s or 1, terms.rx1_dr_offset, rx2.frequency_hz, terms.rx2_data_rate)
    defaults = len(region.channels)
    enabled = frozenset(range(defaults))
    channels: tuple[NamedChannel, ...] = ()
    listed = region.read_cf_list(terms.cf_list) if terms.cf_list else None
    if listed is not None and listed.enabled is not None:
        enabled = listed.enabled or enabled
    elif listed is not None:
        rates = region.channels[0].data_rates
        channels = tuple(
            NamedChannel(defaults + at, hz, rates[0], rates[-1])
            for at, hz in enumerate(listed.frequencies_hz or ())
            if hz
        )
        enabled |= {channel.ch_index for channel in channels}
    return MacState(rx, enabled, channels=channels, device_class=device_class, conf_f_cnts=())


def after_rejoin_2(old: MacState) -> MacState:
    """The state of a session that a rejoin of type 2 began: new keys and counters, the radio as it was."""
    return replace(
        old, asked=(), orders=(), shelved=(), in_flight=None, conf_f_cnts=(), status_f_cnt=None, recent=RecentUplinks()
    )


def restarted(state: MacState, base: MacState) -> MacState:
    """The state of a device that went back to its defaults under the same keys. What it told of itself stays."""
    return replace(
        base,
        battery=state.battery,
        margin_db=state.margin_db,
        orders=state.orders,
        in_flight=state.in_flight,
        conf_f_cnts=state.conf_f_cnts,
    )


def unsure(state: MacState, wanted: Wanted) -> MacState:
    """The state when newer ones may be lost, after a power cut: it may be older than what the device has.

    The device's windows are then those of the state or those wanted; both are asked for again and tried in turn. What
    was asked last is not known, so an answer to it is none. Confirmed downlinks are known: each was on disk before it
    was on the air.
    """
    state = may_have_moved_rx1(may_have_rx(state, wanted.rx), wanted)
    return replace(state, asked=(), spoke=False, sticky=frozenset(), sticky_uplinks=0)
