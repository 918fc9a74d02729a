"""What the radio process asks of a concentrator chip, whoever drives it: Semtech's library, our own driver, an air.

A `Chip` is synchronous and belongs to one thread of one process. It knows no schedule, no law and no date: it is told
what to hear (`ChipPlan`), is polled for what it has heard (`RawFrame`), takes one transmission at a time just before
its start (`ChipTx`), and shows its counter. Everything that waits, decides or dates is around it (`loop`, `process`).

    chip = open_chip(options)        # loads a library or a driver; touches no hardware yet
    chip.start(plan)                 # resets, configures, begins to hear; may take 3 s, may hang with broken hardware
    while …:
        for frame in chip.receive(): …
        chip.send(tx); chip.tx_status(); chip.counter_us()
    chip.stop()

A driver registers by a function `open_chip(options) -> Chip` in a module of its own, which the process imports by name.

A call either does what it says, or raises `ChipTrouble` with the kind of what is wrong. A call that does not return is
the affair of whoever watches the process. Whether what a call returns is true is the affair of `liveness`: a dead bus
answers every read with zeros or ones, and most drivers believe it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import RadioError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import AtCounter, Crc, Fsk, GatewayEui, Immediately, Lora, TxResult

Option = str | int | float | bool | bytes | None
"""What may be told a driver: plain values, because they cross the border of a process."""

# --- what is wrong with a chip --------------------------------------------------------------------------------------


class TroubleKind(IntEnum):
    """What is wrong, as far as a driver or whoever watches it can tell. The number is what crosses the pipe."""

    NO_DRIVER = 1  # the library or driver itself cannot be had
    NOT_THERE = 2  # no device of that name, or nothing that answers
    NO_PERMISSION = 3
    BUSY = 4  # another program has it
    WRONG_CHIP = 5  # it answers and is something else: another family, another board
    BAD_PLAN = 6  # what it is told to do, it cannot
    FIRMWARE_SILENT = 7  # a microcontroller of the chip does not start, or starts as something else
    BUS_LOW = 8  # every read is zeros
    BUS_HIGH = 9  # every read is ones
    NO_SENSOR = 10  # the temperature sensor does not answer, and the driver insists
    FIFO_FAULT = 11  # what is in the receive buffer cannot be read, again and again
    LOST = 12  # it was there, and its bus answers no more: unplugged, without power
    STUCK = 13  # the counter does not count, or the receiver has stalled
    HUNG = 14  # a call did not come back in time
    CRASHED = 15  # the process around it died
    OTHER = 16


CURES: Final[Mapping[TroubleKind, str]] = {
    TroubleKind.NO_DRIVER: "Install the library and name its path in radio.library",
    TroubleKind.NOT_THERE: "Press the board down on its header, see that SPI or USB is on and that radio.board, "
    "radio.spi or radio.usb and radio.reset name this board; then run: lorawan-gateway scan",
    TroubleKind.NO_PERMISSION: "Add the gateway's user to the groups spi, i2c, gpio and dialout, and start it anew",
    TroubleKind.BUSY: "Stop the other packet forwarder: one program at a time can drive a concentrator",
    TroubleKind.WRONG_CHIP: "Name the board that is really there in radio.board; SX1301 boards need another driver",
    TroubleKind.BAD_PLAN: "See the channels of gateway.region and network.extra_channels against what the board can",
    TroubleKind.FIRMWARE_SILENT: "See the reset pin (radio.reset) and the power supply of the board: 5 V, 2.5 A",
    TroubleKind.BUS_LOW: "See the reset and power pins of the board, and that SPI is on (raspi-config)",
    TroubleKind.BUS_HIGH: "The board has no power or sits loosely on its header: press it down, see its supply",
    TroubleKind.NO_SENSOR: "The board has no temperature sensor: take a library that does without, or set its address",
    TroubleKind.FIFO_FAULT: "It is reset by itself; if this stays, see the power supply and the SPI wires",
    TroubleKind.LOST: "See the USB cable or the header, and the power supply; the gateway goes on when it is back",
    TroubleKind.STUCK: "It is reset by itself; if this stays, see the power supply of the board",
    TroubleKind.HUNG: "It is reset by itself; if this stays, see the board's power supply and its bus",
    TroubleKind.CRASHED: "It is started anew by itself; if this stays, stop the gateway and run: lorawan-gateway scan",
    TroubleKind.OTHER: "Stop the gateway and run: lorawan-gateway scan",
}
"""What a person can do, where the driver knows nothing better."""

HOPELESS: Final = frozenset(
    {TroubleKind.NO_DRIVER, TroubleKind.NO_PERMISSION, TroubleKind.WRONG_CHIP, TroubleKind.BAD_PLAN}
)
"""Kinds that no reset and no waiting cures: somebody has to change something, and the start is refused (exit 3)."""


class ChipTrouble(RadioError):  # noqa: N818 - a state of the hardware
    """The chip does not do what it should. The hint is that of the kind where nobody knows a better one."""

    def __init__(self, kind: TroubleKind, problem: str, *, hint: str = "") -> None:
        super().__init__(problem, hint=hint or CURES[kind])
        self.kind = kind


# --- what a chip is told --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RadioChannel:
    """One channel to hear: on which radio, and how far from that radio's centre."""

    frequency_hz: int
    radio: int  # 0 or 1; the place in `ChipPlan.radios_hz`
    if_hz: int  # frequency_hz minus the radio's centre

    modulation: Lora | Fsk | None = None  # None: 125 kHz, all spreading factors (the multi-SF channels)
    bandwidth_hz: int = 125_000


@dataclass(frozen=True, slots=True)
class ChipPlan:
    """What a chip hears and where it may send. `channels.plan` makes one that the hardware can have."""

    region: str
    radios_hz: tuple[int | None, int | None]  # centre of each radio; None: not needed
    channels: tuple[RadioChannel, ...]  # up to eight multi-SF channels; the place is the IF chain, 0 to 7
    service: RadioChannel | None = None  # IF chain 8: one LoRa data rate
    fsk: RadioChannel | None = None  # IF chain 9
    lowest_tx_hz: int = 0
    highest_tx_hz: int = 1_000_000_000
    public: bool = True  # the sync word of LoRaWAN networks, 0x34
    fine_time: bool = False  # time stamps in nanoseconds, on chips that have them (SX1303) and get a PPS


class OnPps(Enum):
    """Send at the next edge of the pulse per second."""

    NEXT = "next"


@dataclass(frozen=True, slots=True)
class ChipTx:
    """A frame to send, as a chip is told it. A chip holds one; whoever calls looks first whether it is free."""

    phy: bytes  # 1 to 255 bytes
    when: AtCounter | Immediately | OnPps  # AtCounter: the start of the preamble, exactly
    frequency_hz: int
    modulation: Lora | Fsk
    power_dbm: float  # at the connector; a chip takes the nearest it can that is not more
    invert_polarity: bool = True
    payload_crc: bool = False
    preamble_symbols: int | None = None  # None: what the modulation usually has (LoRa 8, 12 at SF5 and SF6)
    implicit_header: bool = False  # beacons


# --- what a chip says -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RawFrame:
    """What a chip heard, damaged frames included. No date: its counter says when."""

    phy: bytes
    counter_us: int  # 32 bits, at the end of reception
    frequency_hz: int
    modulation: Lora | Fsk
    rssi_dbm: float  # of the channel
    snr_db: float | None  # None with FSK
    channel: int  # IF chain, 0 to 9
    rf_chain: int
    crc: Crc
    signal_rssi_dbm: float | None = None  # of the signal alone
    fine_time_ns: int | None = None  # since the last PPS
    frequency_offset_hz: int | None = None


class TxState(IntEnum):
    """Where the transmitter stands (`lgw_status`)."""

    UNKNOWN = 0
    OFF = 1
    FREE = 2
    SCHEDULED = 3
    EMITTING = 4


@dataclass(frozen=True, slots=True)
class Unsent:
    """Why a chip does not send this one; nothing is wrong with the chip. `detail` is for a person."""

    result: TxResult
    detail: str


class Reset(IntEnum):
    """How deep a reset goes."""

    CHIP = 1  # its reset line, or that of the USB bridge
    POWER = 2  # its supply off and on, where the board has a line for that; else as CHIP


@dataclass(frozen=True, slots=True)
class Examination:
    """What a look into the chip's registers finds; None where the driver cannot look."""

    version: int | None = None  # register 0x5606: 0x10 SX1302, 0x12 SX1303
    agc_status: int | None = None  # 0x5781: 0x00 in its main loop
    arb_status: int | None = None  # 0x6081
    agc_parity_error: bool | None = None  # 0x5780, bit 0
    arb_parity_error: bool | None = None  # 0x6080, bit 0
    temperature_c: float | None = None
    faults: Mapping[str, int] = field(default_factory=dict)
    """What cost itself only, since the driver was opened: "poison_packet", "fifo_fault", "checksum", …"""


class Chip(Protocol):
    """One concentrator. Not thread-safe; every call may raise ChipTrouble."""

    @property
    def name(self) -> str:
        """What it is, for a person: "SX1303 on /dev/spidev0.0"."""
        ...

    def start(self, plan: ChipPlan) -> None:
        """Reset it, configure it, hear. Again after `stop` or `reset`; the counter begins anew with each start.

        ChipTrouble says what is wrong; nothing stays open then. BAD_PLAN for what this board cannot hear or send.
        """
        ...

    def receive(self) -> Sequence[RawFrame]:
        """All frames since the last call, in the order of hearing; empty most of the time.

        What cannot be read as a frame is left out and counted (`Examination.faults`); FIFO_FAULT only when a reset is
        needed to hear again. To be called every few ms, and at least once a second: the counter's turns are counted
        here.
        """
        ...

    def send(self, tx: ChipTx) -> Unsent | None:
        """Program the transmitter; None when it is. With AtCounter the preamble starts at that microsecond.

        To be called 10 to 40 ms before the start: the chip compares 27 bits, and what has passed goes out 134 s later.
        """
        ...

    def abort(self) -> None:
        """Stop what is being sent, forget what is programmed."""
        ...

    def tx_status(self) -> TxState:
        """Where the transmitter stands."""
        ...

    def counter_us(self) -> int:
        """The counter now, 32 bits."""
        ...

    def pps_counter_us(self) -> int | None:
        """The counter at the last edge of the PPS; None when there was none."""
        ...

    def temperature_c(self) -> float | None:
        """Of the board; None without a sensor."""
        ...

    def eui(self) -> GatewayEui | None:
        """The number burnt into the chip; None when it has none. Of a started chip."""
        ...

    def examine(self) -> Examination:
        """Look into its registers: a few bus transfers, about once a second."""
        ...

    def reset(self, level: Reset) -> None:
        """Bring it into the state after power-on; it has to be started again then."""
        ...

    def stop(self) -> None:
        """Abort what it sends, stop hearing, close what is open. Never raises; more than once is no harm."""
        ...


class OpenChip(Protocol):
    """What a driver's module has under the name `open_chip`."""

    def __call__(self, options: Mapping[str, Option], /) -> Chip:
        """A chip that is not started. ChipTrouble(NO_DRIVER) when the driver itself cannot be had."""
        ...
