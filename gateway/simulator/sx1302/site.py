"""A concentrator board in a simulated city, and the words by which a person plays with it.

The city runs at the pace of the clock on the wall: there is a real driver at the other end of the line. A site has no
clock of its own; who owns it says what time it is, in microseconds since the city's beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.radio.airtime import airtime_us
from gateway.simulator.air import Air, Position, Transmission
from gateway.simulator.chance import Chance
from gateway.simulator.devices import settle
from gateway.simulator.joiners import settle_joiners
from gateway.simulator.neighbourhood import Neighbourhood
from gateway.simulator.propagation import noise_dbm
from gateway.simulator.sx1302.board import Board
from gateway.simulator.sx1302.chip import PPS_US
from gateway.simulator.sx1302.orders import Break, Mend, Uplink, Warm, parse_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.simulator.scenario import Scenario
    from gateway.simulator.sx1302.board import Event

EUI_PREFIX = bytes.fromhex("0016c001ff")
"""Of the range that Semtech writes into its chips; the rest follows from the seed."""

F_CNT_S = 20
"""A city that starts again remembers nothing, and a counter must not be used twice: so the counters of devices that
never join stand where the time since 1970 has brought them. None of them sends so often; they turn after 15 days."""

STEP_US = 1_000_000
"""The most that the air moves at once, so that whoever waits for an answer does not wait long."""

BENCH = Position(30, 0)
"""Where a frame starts that somebody sends by hand: on the bench beside the antenna."""


class Site:
    """The city, the board in it. `start_utc_us` is the time of day at which it begins; `tell` hears what happens."""

    def __init__(
        self,
        scenario: Scenario,
        tell: Callable[[Event], None],
        *,
        start_utc_us: int,
        seed: int | None = None,
        fine_timestamps: bool = False,
        gps: bool = False,
        crystal_ppm: int = 0,
    ) -> None:
        chance = Chance(scenario.seed if seed is None else seed)
        self.eui = EUI_PREFIX + chance.octets(3, "gateway eui")
        self._air = Air(chance.about("air"))
        self.board = Board(
            self._air,
            chance.about("air"),
            tell,
            eui=self.eui,
            fine_timestamps=fine_timestamps,
            pps_at_us=-start_utc_us % PPS_US if gps else None,
            crystal_ppm=crystal_ppm,
        )
        self.residents = list(scenario.residents())
        self.joiners = list(scenario.joiners())
        settle(self.residents, self._air, [self.board], chance.about("devices"), start_utc_us=start_utc_us, f_cnt_up={})
        self.neighbourhood = Neighbourhood(self._air, chance.about("neighbourhood"))
        settle_joiners(self.joiners, self.neighbourhood, chance.about("joiners"), start_utc_us=start_utc_us)
        self._sent_by_hand = 0

    @property
    def now_us(self) -> int:
        """How far the city's time has come."""
        return self._air.now_us

    def advance(self, now_us: int) -> None:
        """Let time pass, no more than a step: again until it is there."""
        self._air.advance(min(now_us, self._air.now_us + STEP_US))

    def feed(self, data: bytes, now_us: int) -> list[bytes]:
        """Bytes from a driver: the bridge's answers, each to be written in one piece."""
        return self.board.feed(data, now_us)

    def obey(self, line: str) -> None:
        """Do what a line says (`orders`); UsageError when it says nothing known."""
        match parse_order(line):
            case Break(fault):
                self.board.break_(fault)
            case Mend():
                self.board.mend()
            case Warm(celsius):
                self.board.celsius = celsius
            case Uplink() as uplink:
                self._send(uplink)

    def _send(self, uplink: Uplink) -> None:
        """Let it start now, as loud as makes it arrive with the level that was asked for."""
        self._sent_by_hand += 1
        sender = f"by hand {self._sent_by_hand}"
        arrives_dbm = self.board.link_snr_db(sender, BENCH, 0.0) + noise_dbm(125_000)
        self._air.put(
            Transmission(
                phy=uplink.phy,
                sender=sender,
                position=BENCH,
                start_us=self._air.now_us,
                airtime_us=airtime_us(uplink.lora, len(uplink.phy)),
                frequency_hz=uplink.frequency_hz,
                modulation=uplink.lora,
                power_dbm_eirp=uplink.level_dbm - arrives_dbm,
            )
        )
