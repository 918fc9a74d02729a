"""End devices on the air: their clocks, their antennas, and somebody who overhears what their network sends them.

The devices decide (`end_device`), here it happens: frames go on the air, windows are open when their clocks say so, and
a downlink is heard by whoever listens to its frequency and data rate while its preamble passes, if it is loud enough.
A downlink is looked up by what it is tuned to, so that it costs as much with a thousand devices as with ten.

Overhearing finds what a device alone cannot: frames sent past its windows, and counters used for frames it missed.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.frame import DataFrame, DownlinkControl, JoinAccept, MalformedFrame, parse
from gateway.model import Lora
from gateway.simulator.air import Transmission
from gateway.simulator.antenna import Antenna
from gateway.simulator.end_device.complaints import Complaint, Fault
from gateway.simulator.end_device.joining import read_accept
from gateway.simulator.end_device.security import Distrust, DownlinkJudge
from gateway.simulator.propagation import detected, intact, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.model import DevAddr, Session
    from gateway.simulator.air import Air, Position
    from gateway.simulator.chance import Chance
    from gateway.simulator.end_device.mac import Emission, EndDevice
    from gateway.simulator.end_device.windows import Where, Window

CLOCK_PPM = 10.0
"""Standard deviation of the devices' clocks: 32 kHz crystals are sold with 20 ppm."""

CRYSTAL_PPM = 4.0
"""Standard deviation of their frequency, well inside the 10 to 20 ppm that their makers state."""

Tuning = tuple[int, int, int]
"""Frequency, spreading factor, bandwidth: what a transmission and a receiver must have in common."""


class Dwelling:
    """One device at its place."""

    def __init__(
        self, device: EndDevice, air: Air, chance: Chance, *, position: Position, wall_loss_db: float, clock_ppm: float
    ) -> None:
        self.device = device
        self.name = str(device.profile.dev_eui)
        self.receiving: Transmission | None = None
        self.busy_until_us = 0
        self.wakes_us: int | None = None
        self.tunings: frozenset[Tuning] = frozenset()
        self.listened: tuple[Window, ...] = ()  # the last windows there were: what a complaint is about
        self.judged: Session | None = None  # the session whose downlinks are overheard with `judge`
        self.judge: DownlinkJudge | None = None
        self._position = position
        self._wall_loss_db = wall_loss_db
        self._pace = 1 + clock_ppm / 1_000_000
        self._crystal_ppm = chance.normal(0, CRYSTAL_PPM, "crystal")
        self._antenna = Antenna(air, chance, name=self.name, position=position, wall_loss_db=wall_loss_db)

    def own_us(self, air_us: int) -> int:
        """The device's clock at this time of the air."""
        return math.floor(air_us * self._pace)

    def air_us(self, own_us: int) -> int:
        """The time of the air at which the device's clock shows this."""
        return math.ceil(own_us / self._pace)

    def transmission(self, emission: Emission, start_us: int) -> Transmission:
        """The frame as it goes on the air."""
        return Transmission(
            phy=emission.phy,
            sender=self.name,
            position=self._position,
            start_us=start_us,
            airtime_us=emission.airtime_us,
            frequency_hz=emission.frequency_hz,
            modulation=emission.lora,
            power_dbm_eirp=emission.power_dbm_eirp,
            wall_loss_db=self._wall_loss_db,
            frequency_offset_hz=round(emission.frequency_hz * self._crystal_ppm / 1_000_000),
        )

    def window_for(self, transmission: Transmission) -> Window | None:
        """The window in which this preamble passes."""
        start_us, tuning = self.own_us(transmission.start_us), _tuning_of(transmission)
        for window in self.device.windows:
            if _tuning(window.where) == tuning and window.finds(start_us):
                return window
        return None

    def locks(self, transmission: Transmission, lora: Lora, beside: Sequence[Transmission]) -> bool:
        """Whether the receiver, which is listening, finds the frame."""
        parts = parts_of(lora)
        since_us, until_us = transmission.start_us + parts.critical_us, transmission.start_us + parts.locked_us
        if self.receiving is not None or since_us < self.busy_until_us:
            return False
        found = self._antenna.throws(transmission, lora, "detected", detected)
        return found and not self._antenna.drowned(transmission, beside, since_us, until_us)

    def is_whole(self, transmission: Transmission, lora: Lora, beside: Sequence[Transmission]) -> bool:
        """Whether the frame that was found came through."""
        locked_us = transmission.start_us + parts_of(lora).locked_us
        drowned = self._antenna.drowned(transmission, beside, locked_us, transmission.end_us)
        return not drowned and self._antenna.throws(transmission, lora, "intact", intact)

    def hear(self, transmission: Transmission, lora: Lora, window: Window) -> None:
        """Give it to the device."""
        end_us, snr_db = self.own_us(transmission.end_us), self._antenna.snr_db(transmission, lora)
        self.device.heard(transmission.phy, window, end_us=end_us, snr_db=snr_db)


class Neighbourhood:
    """The end devices of an air, and what was overheard of their network."""

    def __init__(self, air: Air, chance: Chance) -> None:
        self.complaints: list[Complaint] = []  # what was overheard; each device has its own in its diary
        self._air = air
        self._chance = chance
        self._dwellings: list[Dwelling] = []
        self._tuned: dict[Tuning, dict[Dwelling, None]] = {}
        self._by_address: dict[DevAddr, dict[Dwelling, None]] = {}
        self._found: dict[tuple[str, int], list[tuple[Dwelling, Window]]] = {}
        self._listened: dict[tuple[str, int], set[Dwelling]] = {}
        self._schedules = KeySchedules()
        air.attach(self)

    @property
    def devices(self) -> list[EndDevice]:
        """Everybody who lives here."""
        return [dwelling.device for dwelling in self._dwellings]

    def every_complaint(self, *, apart_from: Iterable[Fault] = ()) -> list[Complaint]:
        """Those of all devices and what was overheard, for a test to find empty."""
        excused = set(apart_from)
        told = [complaint for device in self.devices for complaint in device.diary.complaints]
        return [complaint for complaint in [*told, *self.complaints] if complaint.fault not in excused]

    def settle(
        self, device: EndDevice, position: Position, *, wall_loss_db: float = 0.0, clock_ppm: float | None = None
    ) -> None:
        """Let a device live here from now on. Without `clock_ppm` chance says how far its clock is off."""
        chance = self._chance.about("end device", device.profile.dev_eui)
        ppm = chance.normal(0, CLOCK_PPM, "clock") if clock_ppm is None else clock_ppm
        dwelling = Dwelling(device, self._air, chance, position=position, wall_loss_db=wall_loss_db, clock_ppm=ppm)
        self._dwellings.append(dwelling)
        self._follow(dwelling)

    # --- the devices' time ------------------------------------------------------------------------------------------

    def _wake(self, dwelling: Dwelling, at_us: int) -> None:
        if dwelling.wakes_us != at_us:
            return  # it has changed its mind meanwhile
        dwelling.wakes_us = None
        if dwelling.receiving is not None:
            return  # first it hears what it is hearing; `frame_over` follows it then
        device, now_us = dwelling.device, self._air.now_us
        emission = device.act(max(dwelling.own_us(now_us), device.next_us))
        if emission is not None:
            self._air.put(dwelling.transmission(emission, now_us))
        self._follow(dwelling)

    def _follow(self, dwelling: Dwelling) -> None:
        """Take over where the device listens, who it is, and when it wants to act."""
        device = dwelling.device
        dwelling.listened = device.windows or dwelling.listened
        tunings = frozenset(_tuning(window.where) for window in device.windows)
        for tuning in dwelling.tunings - tunings:
            del self._tuned[tuning][dwelling]
        for tuning in tunings - dwelling.tunings:
            self._tuned.setdefault(tuning, {})[dwelling] = None
        dwelling.tunings = tunings
        self._know(dwelling, device.session)
        wakes_us = max(dwelling.air_us(device.next_us), self._air.now_us)
        if dwelling.wakes_us != wakes_us:
            dwelling.wakes_us = wakes_us
            self._air.arrange(wakes_us, partial(self._wake, dwelling, wakes_us))

    def _know(self, dwelling: Dwelling, session: Session | None) -> None:
        if session is dwelling.judged:
            return
        if dwelling.judged is not None:
            del self._by_address[dwelling.judged.dev_addr][dwelling]
        dwelling.judged, dwelling.judge = session, None
        if session is not None:
            self._by_address.setdefault(session.dev_addr, {})[dwelling] = None
            dwelling.judge = DownlinkJudge(session, self._schedules)

    # --- downlinks --------------------------------------------------------------------------------------------------

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Whoever listens there finds it, or is too far, too busy or in the middle of noise."""
        lora = transmission.modulation
        if not transmission.inverted or not isinstance(lora, Lora):
            return
        listened, found = set(), []
        for dwelling in self._tuned.get(_tuning_of(transmission), ()):
            window = dwelling.window_for(transmission)
            if window is None:
                continue
            listened.add(dwelling)
            if dwelling.locks(transmission, lora, beside):
                dwelling.receiving, dwelling.busy_until_us = transmission, transmission.end_us
                found.append((dwelling, window))
        self._listened[transmission.name], self._found[transmission.name] = listened, found

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Those who found it have it now, if it came through."""
        lora = transmission.modulation
        if not transmission.inverted or not isinstance(lora, Lora):
            return
        listened = self._listened.pop(transmission.name, set())
        if not transmission.cut:
            self._overhear(transmission, listened)
        for dwelling, window in self._found.pop(transmission.name, ()):
            dwelling.receiving = None
            if not transmission.cut and dwelling.device.there and dwelling.is_whole(transmission, lora, beside):
                dwelling.hear(transmission, lora, window)
            self._follow(dwelling)

    # --- overhearing ------------------------------------------------------------------------------------------------

    def _overhear(self, transmission: Transmission, listened: set[Dwelling]) -> None:
        try:
            frame = parse(transmission.phy)
        except MalformedFrame as reason:
            self._complain(Fault.MALFORMED, transmission, str(reason))
            return
        if isinstance(frame, JoinAccept):
            meant = self._asked_for(transmission)
        elif isinstance(frame, DataFrame) and isinstance(frame.f_ctrl, DownlinkControl):
            meant = self._addressed(frame, transmission)
        else:
            return
        for dwelling in meant:
            # One of class C may be sending or listening in RX1 just then, of which a network need not know.
            excused = dwelling.device.is_class_c and _tuning_of(transmission) in dwelling.tunings
            if dwelling.device.there and not excused and dwelling not in listened:
                self._complain(Fault.OUTSIDE_WINDOWS, transmission, _missed(dwelling, transmission))

    def _asked_for(self, transmission: Transmission) -> list[Dwelling]:
        """Who can open this join accept."""
        meant = []
        for dwelling in self._dwellings:
            identity, question = dwelling.device.identity, dwelling.device.question
            if identity is not None and question is not None and read_accept(identity, question, transmission.phy):
                meant.append(dwelling)
        if not meant:
            self._complain(Fault.UNREADABLE_ACCEPT, transmission, "nobody who asked can open it")
        return meant

    def _addressed(self, frame: DataFrame, transmission: Transmission) -> list[Dwelling]:
        """Who can open this frame, for the first time."""
        distrust: dict[Fault, str] = {}
        for dwelling in self._by_address.get(frame.dev_addr, ()):
            assert dwelling.judge is not None
            opened = dwelling.judge.judge(frame, transmission.phy, conf_f_cnt=dwelling.device.conf_f_cnt)
            if not isinstance(opened, Distrust):
                return [dwelling]
            distrust[opened.fault] = f"{dwelling.name}: {opened.text}"
        # A wrong MIC is worth a word only when it is wrong for all who have the address.
        for fault, text in distrust.items():
            if fault is not Fault.BAD_MIC or len(distrust) == 1:
                self._complain(fault, transmission, text)
        return []

    def _complain(self, fault: Fault, transmission: Transmission, text: str) -> None:
        self.complaints.append(Complaint(fault, transmission.end_us, f"overheard from {transmission.sender}: {text}"))


def _tuning(where: Where) -> Tuning:
    return where.frequency_hz, where.lora.spreading_factor, where.lora.bandwidth_hz


def _tuning_of(transmission: Transmission) -> Tuning:
    lora = transmission.modulation
    assert isinstance(lora, Lora)
    return transmission.frequency_hz, lora.spreading_factor, lora.bandwidth_hz


def _missed(dwelling: Dwelling, transmission: Transmission) -> str:
    """What somebody needs to see by how much a window was missed; times are the device's."""
    sent = f"{dwelling.own_us(transmission.start_us) / 1_000_000:.6f} s on {transmission.frequency_hz} Hz"
    open_ = [
        f"{window.name} {window.open_us / 1_000_000:.6f} s on {window.where.frequency_hz} Hz {window.where.lora}"
        for window in dwelling.listened
    ]
    return f"{dwelling.name}: sent at {sent} {transmission.modulation}, it listened at {', '.join(open_) or 'no time'}"
