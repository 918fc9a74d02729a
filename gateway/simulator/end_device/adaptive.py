"""Adaptive data rate as the device has to do it alone: what to try when no downlink comes (TS001-1.0.4, 4.3.1.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.simulator.end_device.parameters import Parameters, Radio


def wants_answer(radio: Radio, parameters: Parameters, uplinks: int) -> bool:
    """Whether ADRACKReq is set after so many uplinks without a downlink: not when there is nothing left to try."""
    return uplinks >= parameters.adr_ack_limit and not _at_the_end(radio, parameters)


def backed_off(radio: Radio, parameters: Parameters, uplinks: int) -> Parameters:
    """The parameters after so many uplinks without a downlink: first full power, then slower, then all channels."""
    beyond = uplinks - parameters.adr_ack_limit
    if beyond < parameters.adr_ack_delay or beyond % parameters.adr_ack_delay:
        return parameters
    if parameters.tx_power:
        return replace(parameters, tx_power=0)
    slower = radio.next_slower(parameters)
    if slower is None:
        return replace(parameters.with_defaults(radio.region), nb_trans=1)
    if not parameters.carrying(slower):
        parameters = parameters.with_defaults(radio.region)
    return replace(parameters, data_rate=slower)


def _at_the_end(radio: Radio, parameters: Parameters) -> bool:
    loud_and_slow = parameters.tx_power == 0 and radio.next_slower(parameters) is None
    return loud_and_slow and parameters.nb_trans == 1 and parameters.with_defaults(radio.region) == parameters
