"""What a device has done and heard, so that somebody can settle accounts with the network. Times are of its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.simulator.end_device.complaints import Complaint

if TYPE_CHECKING:
    from gateway.lorawan.mac_commands import MacCommand
    from gateway.model import DevAddr, DevEui, MacVersion
    from gateway.simulator.end_device.complaints import Fault


@dataclass(slots=True)
class Sent:
    """A data frame: one counter, on the air once or several times."""

    dev_addr: DevAddr
    f_cnt: int
    f_port: int | None
    payload: bytes  # on port 0: the commands
    commands: tuple[MacCommand, ...]
    confirmed: bool
    ack: bool
    adr_ack_req: bool
    first_us: int
    transmissions: int = 0
    answered: bool = False  # a downlink came in its windows
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A downlink that the device took."""

    at_us: int
    window: str
    counter: str
    f_cnt: int
    f_port: int | None
    payload: bytes  # for the application; on port 0 none
    commands: tuple[MacCommand, ...]
    confirmed: bool
    ack: bool
    snr_db: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A join request (`kind` None) or a rejoin request of type 0, 1 or 2."""

    at_us: int
    kind: int | None
    nonce: int  # DevNonce or RJcount
    data_rate: int
    channel: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A session that the device was given."""

    at_us: int
    kind: int | None
    dev_addr: DevAddr
    join_nonce: int
    mac_version: MacVersion  # that of the session: 1.0.x also when a 1.1 device found a network of 1.0


@dataclass(slots=True)
class Diary:
    """Everything, in the order in which it happened."""

    dev_eui: DevEui
    sent: list[Sent] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    times: list[tuple[int, int]] = field(default_factory=list)  # end of the uplink that asked, GPS time of the answer
    links: list[tuple[int, int]] = field(default_factory=list)  # margin and gateways of each LinkCheckAns
    too_long: int = 0  # reports that the data rate had no room for

    def complain(self, fault: Fault, at_us: int, text: str) -> None:
        """Note what the network did wrong."""
        self.complaints.append(Complaint(fault, at_us, f"{self.dev_eui}: {text}"))

    @property
    def downlinks(self) -> list[Received]:
        """What was meant for the application."""
        return [received for received in self.received if received.f_port]
