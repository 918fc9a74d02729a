"""A device's side of the MAC layer, written from the specification: takes commands, and answers as its version does.

Sources: TS001-1.0.4, chapter 5; LoRaWAN 1.1, chapter 5; what an answer repeats until, and that commands count in class
A windows alone, as LoRaMac-node 4.7.0 does it (src/mac/LoRaMac.c and LoRaMacCommands.c).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.mac_commands import MacCommand, read_downlink_commands, write_commands
from gateway.lorawan.mac_state import NamedChannel, RxSettings
from gateway.model import MacVersion
from gateway.regions.eu868 import EU868

if TYPE_CHECKING:
    from gateway.regions.region import Region

STICKY = {
    mac.RXParamSetupAns: MacVersion.V1_0_2,
    mac.RXTimingSetupAns: MacVersion.V1_0_2,
    mac.DlChannelAns: MacVersion.V1_0_2,
    mac.TxParamSetupAns: MacVersion.V1_0_4,
}


@dataclass
class ObedientDevice:
    """What a device really has."""

    version: MacVersion
    rx: RxSettings
    region: Region = EU868
    adr: bool = True
    data_rate: int = 0
    tx_power: int = 0
    nb_trans: int = 1
    tx_power_highest: int = 7
    max_duty_cycle: int = 0
    channels: dict[int, NamedChannel] = field(default_factory=dict)
    enabled: frozenset[int] = frozenset()  # all of the region, before anything is said
    dl: dict[int, int] = field(default_factory=dict)
    tx_param: tuple[int, bool, bool] | None = None
    adr_param: tuple[int, int] | None = None
    rejoin_param: tuple[int, int] | None = None
    battery: int = 100
    answers: list[MacCommand] = field(default_factory=list)  # for the next uplink
    sticky: list[MacCommand] = field(default_factory=list)  # and for all until a downlink
    rejoins_wanted: int = 0
    heard: list[MacCommand] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.enabled = self.enabled or frozenset(range(len(self.region.channels)))

    def speak(self, *more: MacCommand) -> bytes:
        """The commands of the next uplink."""
        said = write_commands([*self.sticky, *self.answers, *more])
        self.answers = []
        return said

    def window(self, uplink_hz: int, uplink_dr: int, which: int) -> tuple[int, int, int]:
        """Delay, frequency and data rate of RX1 or RX2."""
        if which == 2:
            return self.rx.rx1_delay_s + 1, self.rx.rx2_frequency_hz, self.rx.rx2_data_rate
        dwell = self.tx_param is not None and self.tx_param[2]
        window = self.region.rx1(uplink_hz, uplink_dr, self.rx.rx1_dr_offset, dwell=dwell)
        return self.rx.rx1_delay_s, self.dl.get(self._channel(uplink_hz), window.frequency_hz), window.data_rate

    def _channel(self, uplink_hz: int) -> int:
        named = {channel.frequency_hz: index for index, channel in self.channels.items()}
        return named.get(uplink_hz, self.region.channel_of(uplink_hz))

    def take(self, stream: bytes) -> None:
        """A downlink in a class A window, with these commands."""
        self.sticky = []
        block: list[mac.LinkADRReq] = []
        for command in read_downlink_commands(stream, self.version).commands:
            self.heard.append(command)
            if isinstance(command, mac.LinkADRReq):
                block.append(command)
                continue
            self._link(block)
            block = []
            self._obey(command)
        self._link(block)

    def _answer(self, command: MacCommand) -> None:
        since = STICKY.get(type(command))
        repeated = since is not None and since <= self.version
        (self.sticky if repeated else self.answers).append(command)

    def _obey(self, command: MacCommand) -> None:  # noqa: C901, PLR0912 - a case for each command
        match command:
            case mac.RXParamSetupReq():
                good = self.region.downlink_frequency_ok(command.frequency_hz)
                if good:
                    self.rx = RxSettings(
                        self.rx.rx1_delay_s, command.rx1_dr_offset, command.frequency_hz, command.rx2_data_rate
                    )
                self._answer(mac.RXParamSetupAns(good, True, True))
            case mac.RXTimingSetupReq(delay_s=delay_s):
                self.rx = self.rx._replace(rx1_delay_s=delay_s or 1)
                self._answer(mac.RXTimingSetupAns())
            case mac.NewChannelReq():
                self._new_channel(command)
            case mac.DlChannelReq(ch_index=index, frequency_hz=hz):
                exists = index < len(self.region.channels) or index in self.channels
                if exists:
                    self.dl[index] = hz
                self._answer(mac.DlChannelAns(True, exists))
            case mac.DutyCycleReq(max_duty_cycle=wanted):
                self.max_duty_cycle = wanted
                self._answer(mac.DutyCycleAns())
            case mac.TxParamSetupReq(max_eirp=max_eirp, uplink_dwell=up, downlink_dwell=down):
                if self.region.tx_param_setup:  # silence elsewhere
                    self.tx_param = (max_eirp, up, down)
                    self._answer(mac.TxParamSetupAns())
            case mac.DevStatusReq():
                self._answer(mac.DevStatusAns(self.battery, 7))
            case mac.ADRParamSetupReq(limit_exp=limit_exp, delay_exp=delay_exp):
                self.adr_param = (limit_exp, delay_exp)
                self._answer(mac.ADRParamSetupAns())
            case mac.RejoinParamSetupReq(max_time_n=max_time_n, max_count_n=max_count_n):
                self.rejoin_param = (max_time_n, max_count_n)
                self._answer(mac.RejoinParamSetupAns(time_ok=False))
            case mac.ForceRejoinReq():
                self.rejoins_wanted += 1

    def _new_channel(self, command: mac.NewChannelReq) -> None:
        index, hz = command.ch_index, command.frequency_hz
        good = index >= len(self.region.channels) and (not hz or self.region.downlink_frequency_ok(hz))
        if good and hz:
            self.channels[index] = NamedChannel(index, hz, command.min_data_rate, command.max_data_rate)
            self.enabled |= {index}
            self.dl.pop(index, None)
        elif good:
            self.channels.pop(index, None)
            self.enabled -= {index}
            self.dl.pop(index, None)
        self._answer(mac.NewChannelAns(good, True))

    def _link(self, block: list[mac.LinkADRReq]) -> None:
        if not block:
            return
        last = block[-1]
        defined = frozenset(range(len(self.region.channels))) | set(self.channels)
        blocks = tuple((request.ch_mask_cntl, request.ch_mask) for request in block)
        enabled = self.region.masked_by(self.enabled, defined, blocks)
        power_ok = last.tx_power == mac.KEEP or last.tx_power <= self.tx_power_highest
        if not self.adr:
            answer = mac.LinkADRAns(enabled is not None, False, False)
            self.enabled = enabled or self.enabled
        else:
            answer = mac.LinkADRAns(enabled is not None, True, power_ok)
            if enabled is not None and power_ok:
                self.enabled = enabled
                self.data_rate = self.data_rate if last.data_rate == mac.KEEP else last.data_rate
                self.tx_power = self.tx_power if last.tx_power == mac.KEEP else last.tx_power
                self.nb_trans = last.nb_trans or 1
        for _ in block if not self.version.is_1_1 else block[:1]:
            self._answer(answer)
