"""What a device is before it is switched on for the first time, and what its owner wants of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import DevEui, JoinEui, MacVersion, RootKeys, Session
    from gateway.regions.region import Region
    from gateway.simulator.sensors import Measure

    Report = Callable[[int, int], Measure]
    """What it sends at this time of its own clock (microseconds) under this counter."""

CLASSES = ("A", "C")


@dataclass(frozen=True, slots=True)
class Absence:
    """Time in which the device is not there. It comes back with its counter, or with an empty memory."""

    from_us: int
    until_us: int
    battery_out: bool = False  # what is not in flash is forgotten: an OTAA device joins anew
    f_cnt_passed: int = 0  # frames it sent meanwhile, far away; not after an empty battery


@dataclass(frozen=True, slots=True)
class Habits:
    """How it uses the network."""

    interval_us: int
    first_us: int = 0
    jitter: float = 0.15  # how far an interval strays to either side
    confirmed_every: int = 0  # every so many reports is confirmed; 0: none
    link_check_every: int = 0  # every so many frames asks how well it is heard
    time_every: int = 0  # every so many frames asks for the time
    rejoin_every_us: int = 0  # rejoin request of type 1 (LoRaWAN 1.1), 0: never
    joins_after_silence: int = 0  # uplinks without any downlink after which it joins anew; 0: never
    absences: tuple[Absence, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Profile:
    """An OTAA device has `join_eui` and `root_keys`, an ABP device a `session`; the other is None."""

    dev_eui: DevEui
    mac_version: MacVersion
    region: Region
    report: Report
    habits: Habits
    device_class: str = "A"
    join_eui: JoinEui | None = None
    root_keys: RootKeys | None = None
    session: Session | None = None
    first_f_cnt: int = 0  # ABP: where its counter stands
    first_dev_nonce: int = 0  # devices that count them: where that counter stands
    data_rate: int | None = None  # ABP: what it starts with; None: the slowest
    adr: bool = True
    battery: int = 254  # as DevStatusAns has it
    rx_error_us: int = 2_000  # how far its timers may be off: windows are that much longer
    shared_address: bool = False  # others have this DevAddr, so that a wrong MIC means nothing

    def __post_init__(self) -> None:
        """Refuse what no device can be; ValueError says why."""
        if (self.session is None) is (self.root_keys is None):
            raise ValueError("a device has either root keys or a session")
        if (self.join_eui is None) is not (self.root_keys is None):
            raise ValueError("a device with root keys has a JoinEUI, the others have none")
        if self.root_keys is not None and self.mac_version.is_1_1 and self.root_keys.nwk_key is None:
            raise ValueError("a device of LoRaWAN 1.1 has two root keys")
        if self.device_class not in CLASSES:
            raise ValueError(f"class {self.device_class}, known are {', '.join(CLASSES)}")

    @property
    def counts_dev_nonces(self) -> bool:
        """Whether DevNonce is a counter; before 1.0.4 it is drawn by chance (TS001-1.0.4, 6.2.5)."""
        return self.mac_version >= "1.0.4"

    @property
    def sticky_answers(self) -> bool:
        """Whether some answers are repeated until a downlink shows that they were heard (since 1.0.2)."""
        return self.mac_version >= "1.0.2"

    @property
    def retries_by_nb_trans(self) -> bool:
        """Whether NbTrans counts for confirmed frames, too: since 1.0.4."""
        return self.mac_version >= "1.0.4"
