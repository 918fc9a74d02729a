"""A bench with everything on it, opened from its file: what the tests are given."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session
from gateway.radio.channels import plan_of
from gateway.regions import region_named
from gateway.settings.models import Settings
from gateway.simulator.real_time import ANTENNA_GAIN_DBI
from hil_tests.judge import Judge
from hil_tests.parts import BenchTrouble, Channel, Credentials
from hil_tests.rak3172 import Rak3172
from hil_tests.switches import CalledAttenuator, CalledRelay, FixedAttenuator, ToldAttenuator, relay
from hil_tests.under_test import Gateway
from hil_tests.virtual.client import VirtualBench
from hil_tests.wio_e5 import WioE5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.radio.chip import ChipPlan
    from hil_tests.bench_file import BenchFile, NodeEntry
    from hil_tests.parts import Attenuator, Observer, ReferenceNode, Relay

LIBRARY = "LIBLORAGW"
DRIVERS: dict[str, type[Rak3172 | WioE5]] = {"rak3172": Rak3172, "wio-e5": WioE5}

HIGHEST_DBM = 14
"""The most that a modem sends with: what the law allows on most channels, should the cable be an antenna."""

COMFORTABLE_DBM = -80.0
"""Far above the noise, far below what a receiver suffers from."""

Thing = TypeVar("Thing")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Level:
    """How a modem and its attenuator reach a level at the concentrator's connector."""

    power_dbm: int
    attenuation_db: float
    arrives_dbm: float


@dataclass
class Station:
    """A modem, what stands between it and the concentrator, and the device it plays."""

    node: ReferenceNode
    attenuator: Attenuator
    loss_db: float
    who: Credentials
    product: str = ""
    f_cnt: count[int] = field(default_factory=count)
    down_f_cnt: count[int] = field(default_factory=count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        """Of the modem."""
        return self.node.name

    @property
    def session(self) -> Session:
        """Of the device it plays."""
        who = self.who
        return Session(
            who.dev_eui, who.dev_addr, MacVersion.V1_0_3, who.nwk_s_key, who.nwk_s_key, who.nwk_s_key, who.app_s_key
        )

    def frame(self, payload: bytes = b"") -> bytes:
        """The next uplink of its device, port 2."""
        return seal(self.session, f_cnt=next(self.f_cnt), f_port=2, payload=payload or b"\x01")

    def level(self, arrives_dbm: float) -> Level | None:
        """How to arrive this loud, to the nearest decibel; None when modem and attenuator cannot."""
        lowest, highest = self.node.lowest_dbm, min(self.node.highest_dbm, HIGHEST_DBM)
        wanted_db = highest - self.loss_db - arrives_dbm
        attenuation_db = min(max(wanted_db, self.attenuator.lowest_db), self.attenuator.highest_db)
        power = round(arrives_dbm + self.loss_db + attenuation_db)
        power = min(max(power, lowest), highest)
        reached = power - self.loss_db - attenuation_db
        return Level(power, attenuation_db, reached) if abs(reached - arrives_dbm) <= 1.0 else None

    def send(self, phy: bytes, channel: Channel, arrives_dbm: float = COMFORTABLE_DBM) -> tuple[float, float]:
        """Send so that it arrives this loud, or as near as can be; how loud it arrives, and when it was sent."""
        level = self.level(arrives_dbm) or self._loudest_below(arrives_dbm)
        with self.lock:
            taken_db = self.attenuator.set(level.attenuation_db)
            at_s = self.node.transmit(phy, channel, level.power_dbm)
        return level.power_dbm - self.loss_db - taken_db, at_s

    def _loudest_below(self, arrives_dbm: float) -> Level:
        power = min(self.node.highest_dbm, HIGHEST_DBM)
        attenuation_db = self.attenuator.lowest_db
        if power - self.loss_db > arrives_dbm:  # too loud even with all there is
            power, attenuation_db = self.node.lowest_dbm, self.attenuator.highest_db
        return Level(power, attenuation_db, power - self.loss_db - attenuation_db)


class Bench:
    """See `parts`. Opened with `with`; the gateway runs from then on."""

    def __init__(self, file: BenchFile, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.virtual: VirtualBench | None = None
        self.stations: list[Station] = []
        self.power: Relay | None = None
        self.usb: Relay | None = None
        self.library = os.environ.get(LIBRARY) if file.is_virtual else None
        self.restarts = 0
        self._open = ExitStack()
        self._judge: Judge | None = None
        self._gateway: Gateway | None = None

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def judge(self) -> Judge:
        """The network server."""
        assert self._judge is not None
        return self._judge

    @property
    def gateway(self) -> Gateway:
        """The gateway under test."""
        assert self._gateway is not None
        return self._gateway

    @property
    def observer(self) -> Observer | None:
        """Who sees the air; None on a real bench."""
        return self.virtual

    @property
    def plan(self) -> ChipPlan:
        """What the concentrator hears."""
        return plan_of(region_named(self.file.region))

    @property
    def frequencies_hz(self) -> list[int]:
        """Of its multi-SF channels."""
        return [channel.frequency_hz for channel in self.plan.channels]

    @property
    def gps_is_known(self) -> bool:
        """Whether the settings of this gateway have a GPS receiver."""
        return "gps" in Settings.model_fields

    @property
    def gps_device(self) -> str | None:
        """Where the gateway finds one on this bench."""
        if self.virtual is not None:
            return str(self.folder / "gps")
        device = self.file.gps.get("device")
        return None if device is None else str(device)

    @property
    def antenna_gain_dbi(self) -> float:
        """What the gateway takes off the power it is asked for. A cable has no gain; the settings may say otherwise."""
        if self.file.is_virtual:
            return ANTENNA_GAIN_DBI  # of the simulated chips, so that what they radiate is what was asked for
        return float(self.file.radio.get("antenna_gain_dbi", 0.0))

    @property
    def description(self) -> list[tuple[str, str]]:
        """What is on the bench, for the report."""
        radio = self._radio()
        concentrator = ", ".join(f"{key} {value}" for key, value in radio.items() if key in {"type", "board"})
        if self.library:
            concentrator += f", {Path(self.library).name} on a simulated SX1302"
        elif self.file.is_virtual:
            concentrator += ", simulated chip in the radio process"
        parts = [("Concentrator", concentrator), ("Region", self.file.region)]
        parts += [(f"Modem {one.name}", f"{one.product}, {one.loss_db:g} dB") for one in self.stations]
        return parts

    # --- what tests do ------------------------------------------------------------------------------------------------

    def shared_out(
        self, things: Iterable[Thing], work: Callable[[Station, Thing], Result]
    ) -> list[tuple[Station, Thing, Result]]:
        """The work done by all modems at once, each thing by one of them; whoever is free takes the next."""
        waiting, lock = list(things), threading.Lock()
        done: list[tuple[Station, Thing, Result]] = []

        def busy(station: Station) -> None:
            while True:
                with lock:
                    if not waiting:
                        return
                    thing = waiting.pop(0)
                result = work(station, thing)
                with lock:
                    done.append((station, thing, result))

        with ThreadPoolExecutor(len(self.stations)) as pool:
            for future in [pool.submit(busy, station) for station in self.stations]:
                future.result()
        return done

    def recover(self) -> None:
        """Whole again, whatever was done: power, plug, gateway; heard, or BenchTrouble."""
        if self.virtual is not None:
            self.virtual.break_("clear")
        else:
            for one in (self.power, self.usb):
                if one is not None:
                    one.switch(on=True)
        if not self.gateway.runs:
            self.restart()
        if self.first_heard_again(90) is None:
            raise BenchTrouble("no modem is heard any more", hint="See antenna sockets, attenuators and radio.evidence")

    def restart(self) -> float:
        """Start the gateway that was stopped or killed; how long it took until it answers."""
        begun_s = time.monotonic()
        self.judge.forget()
        self.gateway.start()
        self.restarts += 1
        took_s = time.monotonic() - begun_s
        self.judge.is_connected(20)
        return took_s

    def first_heard_again(self, within_s: float, station: Station | None = None) -> float | None:
        """Send frame after frame until one is heard; how long that took, None when none was."""
        station = station or self.stations[0]
        begun_s = time.monotonic()
        channel = Channel(self.frequencies_hz[0], 7)
        while time.monotonic() - begun_s < within_s:
            phy = station.frame()
            station.send(phy, channel)
            frame = self.judge.heard(phy, 0.25)
            if frame is not None:
                return frame.at_s - begun_s
        return None

    # --- setting up ---------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        file = self.file
        if file.is_virtual:
            kinds = {entry.name: entry.type for entry in file.nodes}
            usb = self.library is not None
            self.virtual = self._open.enter_context(VirtualBench(self.folder, kinds, usb=usb))
        self._judge = self._open.enter_context(Judge(file.judge_listen))
        for number, entry in enumerate(file.nodes):
            self.stations.append(self._station(number, entry))
        self._relays()
        folder = file.folder or str(self.folder / "gateway")
        address = file.judge_address or f"127.0.0.1:{self._judge.port}"
        self._gateway = Gateway(
            folder,
            self._radio(),
            address,
            gps=self._gps(),
            region=file.region,
            via=file.via,
            command=file.command,
        )
        self._gateway.prepare(self.folder / "gateway.log")
        self._open.callback(self._gateway.kill)
        self._gateway.start()
        for station in self.stations:
            self._gateway.add_device(station.who, station.name)
        if not self._judge.is_connected(20):
            raise BenchTrouble(
                f"the gateway does not reach the judge on {address}", hint="See judge.address in bench.toml, and ufw"
            )

    def _radio(self) -> dict[str, Any]:
        file = self.file
        if not file.is_virtual:
            return {"type": file.concentrator, **file.radio}
        if self.library:
            return {
                "type": "libloragw", "library": self.library, "board": "corecell-usb-868",
                "usb": str(self.folder / "chip"), "antenna_gain_dbi": ANTENNA_GAIN_DBI,
            }  # fmt: skip
        return {"type": "virtual", "air": str(self.folder / "air")}

    def _gps(self) -> dict[str, Any] | None:
        if not self.gps_is_known or self.gps_device is None:
            return None
        return {**self.file.gps, "device": self.gps_device}

    def _station(self, number: int, entry: NodeEntry) -> Station:
        port = entry.port or str(self.folder / entry.name)
        driver = DRIVERS[entry.type]
        node = driver(entry.name, port) if entry.baud is None else driver(entry.name, port, entry.baud)
        self._open.callback(node.close)
        station = Station(node, self._attenuator(entry), entry.loss_db, _credentials(number))
        station.product = node.identify()
        station.attenuator.set(0.0)
        return station

    def _attenuator(self, entry: NodeEntry) -> Attenuator:
        virtual = self.virtual
        if virtual is not None:
            return CalledAttenuator(lambda db: virtual.attenuate(entry.name, entry.loss_db + db))
        named = [one for one in self.file.attenuators if one.name == entry.attenuator]
        return ToldAttenuator(named[0]) if named else FixedAttenuator()

    def _relays(self) -> None:
        virtual, file = self.virtual, self.file
        if virtual is not None:
            self.usb = CalledRelay(lambda: virtual.break_("clear"), lambda: virtual.break_("unplug"))
            return
        self.power = None if file.power is None else relay(file.power, "the power relay")
        self.usb = None if file.usb is None else relay(file.usb, "the USB relay")
        for one in (self.power, self.usb):
            if one is not None:
                one.switch(on=True)


def _credentials(number: int) -> Credentials:
    """The session of a modem: addresses that are nobody's, keys that protect nothing."""
    return Credentials(
        dev_eui=DevEui(bytes.fromhex("02c17e0000be7c") + bytes((number,))),
        dev_addr=DevAddr(0x00BE7C00 + number),
        nwk_s_key=AesKey(bytes((0x10 + number,)) * 16),
        app_s_key=AesKey(bytes((0x50 + number,)) * 16),
    )


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation."""
    mean = sum(values) / len(values)
    return mean, (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
