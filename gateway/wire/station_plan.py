"""The channels a Basics Station server wants its gateway to hear on, as its router_config says them.

A server writes them for the hardware of the reference gateway: two radios with a centre frequency each, eight channels
of 125 kHz for every spreading factor, one wide LoRa channel and one FSK channel, each so far off a centre. Or it gives
frequencies and data rates (`upchannels`), and leaves the rest to the gateway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from gateway.model import Fsk, Lora
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel
from gateway.wire.station_json import MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS_MAX: Final = 10
"""What one SX1301 or SX1302 hears at once: eight channels for every spreading factor, one wide, one FSK."""

OFFSET_MAX_HZ: Final = 500_000
"""How far off a radio's centre a channel can lie: the SX1257 of a chip passes 1 MHz (SX1301 datasheet, 3.4)."""

_CONFS: Final = ("sx1302_conf", "SX1302_conf", "sx1301_conf", "SX1301_conf", "SX130x_conf", "radio_conf")


def read_plan(message: dict[str, Any], data_rates: Sequence[Lora | Fsk | None]) -> ChannelPlan:
    """The plan of a router_config; MalformedMessage when this gateway has not the hardware for it, or it is none."""
    hardware = message.get("hwspec")
    if not isinstance(hardware, str) or not re.fullmatch(r"sx130[1-3]/[1-9]\d?", hardware):
        raise MalformedMessage("hwspec names no hardware of this kind")
    if not hardware.endswith("/1"):
        raise MalformedMessage(f"hwspec {hardware}: planned for several concentrators, this gateway has one")
    named = message.get("upchannels")
    found = _named_channels(named, data_rates) if named else _laid_out(message)
    if not found:
        raise MalformedMessage("no channel is switched on")
    if len(found) > CHANNELS_MAX:
        raise MalformedMessage(f"{len(found)} channels, the concentrator hears {CHANNELS_MAX}")
    return ChannelPlan.of(found)


def _named_channels(rows: object, data_rates: Sequence[Lora | Fsk | None]) -> list[PlannedChannel]:
    if not isinstance(rows, list):
        raise MalformedMessage("upchannels is no list")
    found = []
    for row in rows:
        match row:
            case [int(hz), int(low), int(high)] if hz > 0 and 0 <= low <= high < len(data_rates):
                used = [rate for rate in data_rates[low : high + 1] if rate is not None]
            case _:
                raise MalformedMessage(f"upchannels has {row!r:.60}, which is no channel")
        factors = [rate.spreading_factor for rate in used if isinstance(rate, Lora)]
        widths = {rate.bandwidth_hz for rate in used if isinstance(rate, Lora)} or {125_000}
        span = range(min(factors), max(factors) + 1) if factors else range(0)
        found += [PlannedChannel(hz, width, span) for width in sorted(widths)[:1]]
    return found


def _laid_out(message: dict[str, Any]) -> list[PlannedChannel]:
    conf = next((message[key] for key in _CONFS if message.get(key) is not None), None)
    if isinstance(conf, dict):
        conf = [conf]
    if not isinstance(conf, list) or not conf or not isinstance(conf[0], dict):
        raise MalformedMessage("neither upchannels nor the settings of a concentrator")
    if len(conf) > 1:
        raise MalformedMessage(f"settings for {len(conf)} concentrators, this gateway has one")
    radio = conf[0]
    beyond = sorted(key for key in radio if re.fullmatch(r"chan_multiSF_([89]|\d\d+)|radio_([2-9]|\d\d+)", key))
    if beyond:
        raise MalformedMessage(f"{beyond[0]}: the concentrator has two radios and eight such channels")
    found = [
        channel
        for n in range(8)
        if (channel := _channel(radio, f"chan_multiSF_{n}", 125_000, range(7, 13))) is not None
    ]
    wide = radio.get("chan_Lora_std")
    if _is_on(wide):
        width, factor = wide.get("bandwidth"), wide.get("spread_factor")
        if width not in (125_000, 250_000, 500_000) or type(factor) is not int or not 5 <= factor <= 12:
            raise MalformedMessage("chan_Lora_std without a usable bandwidth and spread_factor")
        found += filter(None, [_channel(radio, "chan_Lora_std", width, range(factor, factor + 1))])
    fsk = radio.get("chan_FSK")
    # Some servers switch FSK on and leave out where: ChirpStack's bridge writes neither radio nor if then.
    if _is_on(fsk) and ("radio" in fsk or "if" in fsk):
        found += filter(None, [_channel(radio, "chan_FSK", 125_000, range(0))])
    return found


def _is_on(channel: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(channel, dict) and bool(channel.get("enable"))


def _channel(radio: dict[str, Any], key: str, width_hz: int, factors: range) -> PlannedChannel | None:
    channel = radio.get(key)
    if channel is None or not _is_on(channel):
        return None
    which, offset_hz = channel.get("radio", 0), channel.get("if", 0)
    if which not in (0, 1) or type(offset_hz) is not int or abs(offset_hz) > OFFSET_MAX_HZ:
        raise MalformedMessage(f"{key} lies where none of the two radios hears")
    chain = radio.get(f"radio_{which}")
    if not _is_on(chain):
        raise MalformedMessage(f"{key} is on, and its radio_{which} is off")
    centre_hz = chain.get("freq")
    if type(centre_hz) is not int or not 100_000_000 <= centre_hz <= 3_000_000_000:
        raise MalformedMessage(f"radio_{which} has no frequency")
    return PlannedChannel(centre_hz + offset_hz, width_hz, factors)
