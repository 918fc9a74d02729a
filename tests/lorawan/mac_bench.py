"""A device and the network's knowledge of it, with losses and power cuts between them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from obedient_device import ObedientDevice
from radio_bench import Bench, heard_frame

from gateway.lorawan.mac import Answer, Heard, answer, heard, unsure
from gateway.lorawan.mac_state import MacState, RxSettings, initial
from gateway.lorawan.requests import Wanted, wanted_by
from gateway.lorawan.windows import windows
from gateway.model import MacVersion, OpenedUplink
from gateway.regions.eu868 import EU868

if TYPE_CHECKING:
    from gateway.lorawan.mac_commands import MacCommand
    from gateway.regions.region import Region

DEFAULT_RX = RxSettings(1, 0, 869_525_000, 0)
FREQUENCY_HZ = 868_300_000


class Town:
    """One device, the state the network has of it, and what is wanted of it."""

    def __init__(
        self,
        version: MacVersion = MacVersion.V1_0_4,
        wanted: Wanted | None = None,
        region: Region = EU868,
        frequency_hz: int = FREQUENCY_HZ,
        **device: object,
    ) -> None:
        self.region, self.frequency_hz = region, frequency_hz
        rx = RxSettings(1, 0, region.rx2.frequency_hz, region.rx2.data_rate)
        self.device = ObedientDevice(version, rx, region, **device)
        self.bench = Bench(version)
        self.base = replace(initial(region), conf_f_cnts=())
        self.state = self.base
        self.wanted = wanted or wanted_by(region)
        self.f_cnt = -1
        self.last_heard = -1
        self.events: list[object] = []
        self.sent: list[Answer] = []
        self.surprises: list[tuple[RxSettings, MacState]] = []

    def uplink(self, *said: MacCommand, snr_db: float | None = -5.0, **changes: object) -> OpenedUplink:
        """The next uplink of the device, opened."""
        self.f_cnt += 1
        stream = self.device.speak(*said)
        frame = heard_frame(
            b"", frequency_hz=self.frequency_hz, modulation=self.region.data_rates[self.device.data_rate], snr_db=snr_db
        )
        if self.f_cnt % 2:
            changes = {"f_port": 2, "payload": b"level", "f_opts": stream, **changes}
        else:
            changes = {"f_port": 0, "payload": stream, "f_opts": b"", **changes}
        opened = OpenedUplink(
            frame=frame,
            device=self.bench.device,
            session=self.bench.session,
            dev_addr=self.bench.session.dev_addr,
            f_cnt=self.f_cnt,
            f_port=None,
            confirmed=False,
            adr=self.device.adr,
            ack=False,
            f_opts=b"",
            payload=b"",
            gap_before=self.f_cnt - self.last_heard - 1,
        )
        return replace(opened, **changes)

    def hear(self, uplink: OpenedUplink, **how: object) -> Heard:
        """The network hears it."""
        self.last_heard = uplink.f_cnt
        heard_ = heard(self.state, uplink, self.region, self.wanted, self.base, **how)
        self.state = heard_.state
        self.events += heard_.events
        if self.device.rx not in (self.state.rx, *self.state.rx_else):
            self.surprises.append((self.device.rx, self.state))
        return heard_

    def send(self, heard_: Heard, *, which: int = 1, lost: bool = False, **room: int) -> Answer:
        """The network answers in RX1 or RX2, if it has something to say; the device hears where it listens."""
        said = answer(heard_, self.region, self.wanted, **{"room_port_0": 51, **room}, state=self.state)
        if not said.needed:
            return said
        self.state = said.state
        self.sent.append(said)
        where = windows(self.state, self.frequency_hz, self.device.data_rate, self.region)
        which = which if where.rx1 is not None else 2
        window, delay_us = (where.rx1, where.rx1_delay_us) if which == 1 else (where.rx2, where.rx2_delay_us)
        listens = self.device.window(self.frequency_hz, self.device.data_rate, which)
        if not lost and (delay_us // 1_000_000, window.frequency_hz, window.data_rate) == listens:
            self.device.take(said.f_opts or said.port_0)
        return said

    def round(self, *said: MacCommand, up_lost: bool = False, down_lost: bool = False, which: int = 1) -> None:
        """One uplink and its answer."""
        uplink = self.uplink(*said)
        if not up_lost:
            self.send(self.hear(uplink), which=which, lost=down_lost)

    def power_cut(self, earlier: MacState) -> None:
        """The gateway starts again with what it had stored some time ago."""
        self.state = unsure(MacState.from_json(earlier.to_json()), self.wanted)
