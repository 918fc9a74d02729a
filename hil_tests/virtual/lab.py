"""Everything on the virtual bench: one air, the concentrator on it, the modems, and a witness of what was on the air.

The concentrator is one of two. `SharedRoof` is a chip that the gateway's radio process reaches over a socket. `UsbRoof`
is an SX1302 on a pseudo-terminal, register by register, for a gateway that has Semtech's library.

A lab has no clock. Whoever owns it says what time it is, in microseconds since the lab's beginning, and that is what
the whole world of the bench lives by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import UsageError
from gateway.model import Lora
from gateway.radio.chip import ChipTrouble, Examination, TroubleKind
from gateway.simulator.air import Air
from gateway.simulator.chance import Chance
from gateway.simulator.neighbourhood import Neighbourhood
from gateway.simulator.real_time import CHIP_NAME, VirtualChip
from gateway.simulator.shared_air import answered
from gateway.simulator.sx1302.board import Board
from gateway.simulator.sx1302.chip import PPS_US
from gateway.simulator.sx1302.faults import EXPLAINED, Fault, named
from gateway.simulator.sx1302.site import EUI_PREFIX
from hil_tests.virtual.e5 import E5
from hil_tests.virtual.node import Node
from hil_tests.virtual.rui3 import Rui3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.simulator.air import Transmission
    from gateway.simulator.sx1302.board import Event

BOARD_NAME = "board"

DIALECTS: Mapping[str, type[Rui3 | E5]] = {"rak3172": Rui3, "wio-e5": E5}

Tell = "Callable[[str, Mapping[str, Any]], None]"


class Roof(Protocol):
    """The concentrator's side of the lab."""

    faults: tuple[Fault, ...]  # what can be broken here

    def catch_up(self, now_us: int) -> None:
        """Put on the air what has to be there before this moment."""
        ...

    def break_(self, fault: Fault) -> None:
        """Let this go wrong."""
        ...

    def mend(self) -> None:
        """End every fault."""
        ...


class Witness:
    """Hears everything that was on the air, and tells it: what a laboratory would pay a spectrum analyser for."""

    def __init__(self, tell: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._tell = tell

    def preamble_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:
        """Nothing."""

    def frame_over(self, transmission: Transmission, beside: Sequence[Transmission]) -> None:  # noqa: ARG002
        """Tell it."""
        lora = transmission.modulation
        assert isinstance(lora, Lora)
        self._tell(
            "on-air",
            {
                "sender": transmission.sender,
                "start_us": transmission.start_us,
                "airtime_us": transmission.airtime_us,
                "frequency_hz": transmission.frequency_hz,
                "spreading_factor": lora.spreading_factor,
                "bandwidth_hz": lora.bandwidth_hz,
                "eirp_dbm": transmission.power_dbm_eirp,
                "inverted": transmission.inverted,
                "cut": transmission.cut,
                "phy": transmission.phy.hex(),
            },
        )


@dataclass
class Faulty:
    """A chip that can be broken: what the gateway's radio process sees of it through its socket."""

    chip: VirtualChip
    faults: set[Fault] = field(default_factory=set)
    stalled: bool = False  # deaf until it is started again
    stopped_us: int | None = None  # where the counter stands still

    def answer(self, packet: bytes) -> bytes | None:
        """The answer to a request; None where the bus is silent. ConnectionError where the plug is out."""
        if Fault.UNPLUG in self.faults:
            raise ConnectionResetError
        if Fault.SILENT_BRIDGE in self.faults:
            return None
        return answered(self, packet)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chip, name)

    def start(self, plan: Any) -> None:
        """Start it, unless its gain controller hangs."""
        if Fault.AGC_HANG in self.faults:
            raise ChipTrouble(TroubleKind.FIRMWARE_SILENT, "the gain controller does not start")
        self.stalled = False
        self.chip.start(plan)

    def receive(self) -> Any:
        """What it hears; nothing while it is deaf."""
        frames = self.chip.receive()
        return () if self.stalled or self.faults & {Fault.AGC_HANG} else frames

    def counter_us(self) -> int:
        """Its counter, which may stand still."""
        return self.chip.counter_us() if self.stopped_us is None else self.stopped_us

    def examine(self) -> Examination:
        """Its registers."""
        if self.stalled or Fault.AGC_HANG in self.faults:
            return Examination(0x10, 1, 0, agc_parity_error=False, arb_parity_error=True, temperature_c=25.0)
        return self.chip.examine()


class SharedRoof:
    """A chip that the radio process reaches over a socket."""

    faults = (Fault.UNPLUG, Fault.SILENT_BRIDGE, Fault.DEAF, Fault.AGC_HANG, Fault.COUNTER_STOP)

    def __init__(self, air: Air, clock_us: Callable[[], int], tell: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._tell = tell
        self.board = Faulty(VirtualChip(None, clock_us=clock_us, air=air))

    def catch_up(self, now_us: int) -> None:  # noqa: ARG002 - the chip asks the lab's clock
        """What the chip has taken for a time that has come goes on the air."""
        try:
            self.board.chip.tx_status()
        except ChipTrouble:
            return  # not started

    def break_(self, fault: Fault) -> None:
        """Let this go wrong."""
        self.board.faults.add(fault)
        if fault is Fault.DEAF:
            self.board.stalled = True
        elif fault is Fault.COUNTER_STOP:
            self.board.stopped_us = self.board.chip.counter_us()
        elif fault is Fault.UNPLUG:
            self.board.chip.stop()
        self._tell("fault", {"fault": fault.value})

    def mend(self) -> None:
        """End every fault; what stalled needs a start."""
        self.board.faults.clear()
        self.board.stopped_us = None
        self._tell("clear", {})


class UsbRoof:
    """An SX1302 behind a USB bridge."""

    faults = tuple(fault for fault in EXPLAINED if fault not in {Fault.NO_PPS, Fault.TX_STUCK, Fault.AGC_VERSION})

    def __init__(
        self, air: Air, chance: Chance, tell: Callable[[str, Mapping[str, Any]], None], *, start_utc_us: int
    ) -> None:
        def told(event: Event) -> None:
            tell(event.name, event.facts)

        self.board = Board(
            air,
            chance,
            told,
            eui=EUI_PREFIX + chance.octets(3, "gateway eui"),
            name=BOARD_NAME,
            pps_at_us=-start_utc_us % PPS_US,
        )

    def catch_up(self, now_us: int) -> None:
        """Nothing: the model is told in time."""

    def break_(self, fault: Fault) -> None:
        """Let this go wrong."""
        self.board.break_(fault)

    def mend(self) -> None:
        """End every fault."""
        self.board.mend()


class Lab:
    """The bench's world. `say` is called with a modem's name and a line it says."""

    def __init__(
        self,
        modems: Mapping[str, str],
        tell: Callable[[str, Mapping[str, Any]], None],
        say: Callable[[str, str], None],
        *,
        usb: bool,
        seed: int = 1,
        start_utc_us: int = 0,
    ) -> None:
        chance = Chance(seed)
        self.now_us = 0
        self._tell = tell
        self.air = Air(chance.about("air"))
        self.neighbourhood = Neighbourhood(self.air, chance.about("neighbourhood"))
        self.roof: SharedRoof | UsbRoof = (
            UsbRoof(self.air, chance.about("board"), tell, start_utc_us=start_utc_us)
            if usb
            else SharedRoof(self.air, lambda: self.now_us, tell)
        )
        self.air.attach(Witness(tell))
        chip = BOARD_NAME if usb else CHIP_NAME
        self.nodes = {name: Node(name, self.air, self.neighbourhood, chance, chip) for name in modems}
        self.modems = {name: self._modem(name, kind, say) for name, kind in modems.items()}

    def _modem(self, name: str, kind: str, say: Callable[[str, str], None]) -> Rui3 | E5:
        return DIALECTS[kind](self.nodes[name], lambda: self.air.now_us, lambda line: say(name, line))

    def advance(self, now_us: int) -> None:
        """Let time pass until this moment."""
        if now_us <= self.now_us:
            return
        self.now_us = now_us
        self.roof.catch_up(now_us)
        self.air.advance(now_us)
        for node in self.nodes.values():
            node.look()

    def obey(self, line: str) -> None:
        """`attenuate MODEM DECIBELS`, `fault NAME`, `fault clear`; UsageError for anything else."""
        match line.split():
            case []:
                return
            case ["attenuate", name, decibels] if name in self.nodes:
                self.nodes[name].attenuation_db = _decibels(decibels)
                self._tell("attenuated", {"modem": name, "db": self.nodes[name].attenuation_db})
            case ["fault", "clear"]:
                self.roof.mend()
            case ["fault", name] if named(name) in self.roof.faults:
                fault = named(name)
                assert fault is not None
                self.roof.break_(fault)
            case _:
                raise UsageError(f"{line[:60]!r} is not understood", hint="attenuate MODEM DB, fault NAME, fault clear")


def _decibels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 200:
        raise UsageError(f"{text[:20]!r} is no attenuation from 0 to 200 dB")
    return value
