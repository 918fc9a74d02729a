"""MAC commands as a device obeys them: the parameters after each, and its answer.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), chapter 5; LoRaWAN 1.1, chapter 5. Where a command asks for several things, the
device takes all of them or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.model import MacVersion
from gateway.regions.region import ReceiveWindow
from gateway.simulator.end_device.parameters import DeviceChannel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.lorawan.mac_commands import MacCommand
    from gateway.simulator.end_device.parameters import Parameters, Radio

STICKY = (mac.RXParamSetupAns, mac.RXTimingSetupAns, mac.DlChannelAns, mac.TxParamSetupAns)
"""Answers that a device repeats in every uplink until it hears a downlink in its windows: the network has to know for
sure where it listens. TxParamSetupAns belongs to them because it moves RX1, too; LoRaMac-node 4.7 repeats it."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the answers depend on besides the parameters."""

    radio: Radio
    version: MacVersion
    battery: int
    snr_db: float  # of the frame with the commands


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What became of the commands of one frame."""

    parameters: Parameters
    answers: tuple[MacCommand, ...]
    messages: tuple[MacCommand, ...]  # those that change no parameter: answers and conferments of the network
    refused: tuple[MacCommand, ...]


def obey(parameters: Parameters, commands: Sequence[MacCommand], around: Circumstances) -> Obeyed:
    """Obey the commands of one frame in their order."""
    answers: list[MacCommand] = []
    messages: list[MacCommand] = []
    refused: list[MacCommand] = []
    at = 0
    while at < len(commands):
        command = commands[at]
        if isinstance(command, mac.LinkADRReq):
            block = _block(commands[at:], around.version)
            parameters, answer = _link_adr(parameters, block, around)
            answers += [answer] * len(block)
            refused += block if not _complete(answer) else []
            at += len(block)
            continue
        at += 1
        changed, answer_to = _one(parameters, command, around)
        if answer_to is None:
            messages += [command] if changed is None else []
            continue
        parameters = parameters if changed is None else changed
        answers.append(answer_to)
        if not _complete(answer_to):
            refused.append(command)
    return Obeyed(parameters, tuple(answers), tuple(messages), tuple(refused))


def _complete(answer: MacCommand) -> bool:
    """Whether all that was asked for is done: every acknowledging bit of the answer is set."""
    return all(getattr(answer, name) for name in _ACKS.get(type(answer), ()))


_ACKS: dict[type[MacCommand], tuple[str, ...]] = {
    mac.LinkADRAns: ("ch_mask_ack", "data_rate_ack", "tx_power_ack"),
    mac.RXParamSetupAns: ("channel_ack", "rx2_data_rate_ack", "rx1_dr_offset_ack"),
    mac.NewChannelAns: ("channel_frequency_ok", "data_rate_range_ok"),
    mac.DlChannelAns: ("channel_frequency_ok", "uplink_frequency_exists"),
}


def _one(
    parameters: Parameters, command: MacCommand, around: Circumstances
) -> tuple[Parameters | None, MacCommand | None]:
    """The parameters after it and the answer. Neither: it is no request. No answer: it is passed over in silence."""
    match command:
        case mac.DevStatusReq():
            return parameters, mac.DevStatusAns(around.battery, max(-32, min(31, round(around.snr_db))))
        case mac.RXParamSetupReq():
            return _rx_param_setup(parameters, command, around.radio)
        case mac.NewChannelReq():
            return _new_channel(parameters, command, around.radio)
        case mac.TxParamSetupReq():
            return _tx_param_setup(parameters, command, around.radio)
        case mac.DlChannelReq():
            return _dl_channel(parameters, command, around.radio)
        case mac.PingSlotChannelReq() | mac.BeaconFreqReq() | mac.BeaconTimingAns() | mac.PingSlotInfoAns():
            return parameters, None  # class B: not for this device
        case _:
            return _always(parameters, command)


def _always(parameters: Parameters, command: MacCommand) -> tuple[Parameters | None, MacCommand | None]:
    """What a device cannot refuse."""
    match command:
        case mac.DutyCycleReq():
            return replace(parameters, max_duty_cycle=command.max_duty_cycle), mac.DutyCycleAns()
        case mac.RXTimingSetupReq():
            return replace(parameters, rx1_delay_us=max(command.delay_s, 1) * 1_000_000), mac.RXTimingSetupAns()
        case mac.ADRParamSetupReq():
            limit, delay = 1 << command.limit_exp, 1 << command.delay_exp
            return replace(parameters, adr_ack_limit=limit, adr_ack_delay=delay), mac.ADRParamSetupAns()
        case mac.RejoinParamSetupReq():
            # LoRaWAN 1.1, 5.13: every 2**(n + 4) frames, and every 2**(n + 10) seconds.
            frames, us = 1 << command.max_count_n + 4, (1 << command.max_time_n + 10) * 1_000_000
            changed = replace(parameters, rejoin_every_frames=frames, rejoin_every_us=us)
            return changed, mac.RejoinParamSetupAns(time_ok=True)
        case _:
            return None, None


def _block(commands: Sequence[MacCommand], version: MacVersion) -> list[mac.LinkADRReq]:
    """The LinkADRReq that count as one, from the first on; before 1.0.2 each stands for itself."""
    block: list[mac.LinkADRReq] = []
    for command in commands:
        if not isinstance(command, mac.LinkADRReq) or (block and version < MacVersion.V1_0_2):
            break
        block.append(command)
    return block


def _link_adr(
    parameters: Parameters, block: Sequence[mac.LinkADRReq], around: Circumstances
) -> tuple[Parameters, mac.LinkADRAns]:
    """The masks of all of them together; data rate, power and repetitions of the last."""
    radio, last = around.radio, block[-1]
    keeps = around.version >= MacVersion.V1_0_4
    masks = tuple((request.ch_mask_cntl, request.ch_mask) for request in block)
    enabled = radio.region.masked_by(parameters.enabled, frozenset(parameters.channels), masks)
    data_rate = parameters.data_rate if keeps and last.data_rate == mac.KEEP else last.data_rate
    tx_power = parameters.tx_power if keeps and last.tx_power == mac.KEEP else last.tx_power
    answer = mac.LinkADRAns(
        ch_mask_ack=enabled is not None,
        data_rate_ack=radio.usable(parameters, data_rate, enabled),
        tx_power_ack=radio.region.eirp_dbm(tx_power) is not None,
    )
    if enabled is None or not _complete(answer):
        return parameters, answer
    nb_trans = max(last.nb_trans, 1)
    return replace(parameters, enabled=enabled, data_rate=data_rate, tx_power=tx_power, nb_trans=nb_trans), answer


def _rx_param_setup(
    parameters: Parameters, request: mac.RXParamSetupReq, radio: Radio
) -> tuple[Parameters, mac.RXParamSetupAns]:
    region = radio.region
    answer = mac.RXParamSetupAns(
        channel_ack=region.downlink_frequency_ok(request.frequency_hz),
        rx2_data_rate_ack=radio.listens_with(request.rx2_data_rate) is not None,
        rx1_dr_offset_ack=request.rx1_dr_offset <= region.rx1_offset_max,
    )
    if not _complete(answer):
        return parameters, answer
    rx2 = ReceiveWindow(request.frequency_hz, request.rx2_data_rate)
    return replace(parameters, rx1_dr_offset=request.rx1_dr_offset, rx2=rx2), answer


def _new_channel(
    parameters: Parameters, request: mac.NewChannelReq, radio: Radio
) -> tuple[Parameters, mac.NewChannelAns | None]:
    region = radio.region
    if region.fixed_plan:
        return parameters, None
    ours = len(region.channels) <= request.ch_index < region.channels_max
    low, high = request.min_data_rate, request.max_data_rate
    answer = mac.NewChannelAns(
        channel_frequency_ok=ours and (not request.frequency_hz or radio.may_send(request.frequency_hz)),
        data_rate_range_ok=ours and low <= high and low in radio.data_rates and high in radio.data_rates,
    )
    if not _complete(answer):
        return parameters, answer
    channel = DeviceChannel(request.frequency_hz, range(low, high + 1)) if request.frequency_hz else None
    return parameters.with_channel(request.ch_index, channel), answer


def _tx_param_setup(
    parameters: Parameters, request: mac.TxParamSetupReq, radio: Radio
) -> tuple[Parameters, mac.TxParamSetupAns | None]:
    if not radio.region.tx_param_setup:
        return parameters, None
    changed = replace(
        parameters,
        uplink_dwell=request.uplink_dwell,
        downlink_dwell=request.downlink_dwell,
        max_eirp_dbm=mac.MAX_EIRP_DBM[request.max_eirp],
    )
    # The dwell time may have taken the data rate it was at.
    return radio.nearest_usable(changed), mac.TxParamSetupAns()


def _dl_channel(
    parameters: Parameters, request: mac.DlChannelReq, radio: Radio
) -> tuple[Parameters, mac.DlChannelAns | None]:
    region = radio.region
    if region.fixed_plan:
        return parameters, None
    channel = parameters.channels.get(request.ch_index)
    answer = mac.DlChannelAns(
        channel_frequency_ok=region.downlink_frequency_ok(request.frequency_hz),
        uplink_frequency_exists=channel is not None,
    )
    if channel is None or not _complete(answer):
        return parameters, answer
    moved = replace(channel, rx1_frequency_hz=request.frequency_hz)
    enabled = parameters.enabled
    return replace(parameters.with_channel(request.ch_index, moved), enabled=enabled), answer
