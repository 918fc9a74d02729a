"""Which board this gateway has: one of the table, or none, with what the settings say differently.

`resolve` gives everything a driver needs, checked before any pin is touched, because the library's own refusals say
nothing.

Sources of the rules: Semtech's sx1302_hal 2.1.0 (`loragw_hal.h` and `loragw_usb.c`: length of paths; `sx1250_defs.h`:
bands of the image calibration).
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.errors import UsageError
from gateway.radio.board import Board, BoardSettings, Bus, Pin, TxGain
from gateway.radio.board_table import BOARDS, GENERIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.radio.chip import Option

T = TypeVar("T")

WEAKER_STEP_DB: Final = 0.8
"""What one step of the power index is worth, at least: Semtech's SX1302CSS923GW1 measures 0 dBm at index 0 and 12 dBm
at 15. Below the lowest measured power of a table a step is counted as no more, so that less is sent than asked."""

LONGEST_SPI_PATH: Final = 63
LONGEST_USB_PATH: Final = 49
"""Characters. `com_path` has 64 bytes; the library copies that of a USB device into 50."""


_ALL_BOARDS: Final = "lorawan-gateway scan --boards lists what is known of each board"


class BoardProblem(ValueError):  # noqa: N818 - what `check` calls what it finds
    """What is wrong with a key of the settings."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the settings may say of a board. None: as the board has it."""

    spi: str | None = None
    usb: str | None = None
    reset: str | None = None
    power: str | None = None
    sx1261_reset: str | None = None
    sx1261: str | None = None  # where it hangs: "/dev/spidev0.1", "usb" for the bridge, "none"
    i2c: str | None = None
    temperature_sensor: str | None = None  # "0x39", or "none"
    rssi_offset_db: float | None = None
    tx_gains: Sequence[str] = ()  # DBM:PA/INDEX
    antenna_gain_dbi: float = 0.0
    gpio: str = "gpiod"

    @classmethod
    def of(cls, options: Mapping[str, Option]) -> Overrides:
        """Out of plain values, as they cross to the radio process: `tx_gains` are words of one text there."""
        known = {one.name for one in fields(cls)}
        told = {key: value for key, value in options.items() if key in known and value is not None}
        if isinstance(gains := told.get("tx_gains"), str):
            told["tx_gains"] = tuple(gains.split())  # type: ignore[assignment]  # no option, but what one says
        return cls(**told)  # type: ignore[arg-type]  # the settings have typed them


def resolve(name: str | None, region: str, overrides: Overrides = Overrides()) -> BoardSettings:
    """The board a driver is started with.

    `name` is that of a board or None for one that is not in the table, whose bus (and pin, on SPI) stand in the
    settings then. UsageError for a name nobody has, a region the board is not made for, and values that cannot be.
    """
    try:
        return _checked(_overridden(GENERIC if name is None else _sold(named(name), region), region, overrides))
    except BoardProblem as problem:
        raise UsageError(f"radio.{problem.key} {problem}", hint=_ALL_BOARDS) from None


def problem_of(name: str | None, region: str, overrides: Overrides = Overrides()) -> tuple[str, str] | None:
    """What `resolve` would refuse: the key, and a sentence about it. None when it would not."""
    try:
        _checked(_overridden(GENERIC if name is None else _sold(named(name), region), region, overrides))
    except BoardProblem as problem:
        return problem.key, str(problem)
    return None


def named(name: str) -> Board:
    """The board of that name, however it is spelled ("RAK 2287", "rak_2287"); BoardProblem offers the nearest."""
    wanted = _plain(name)
    if (board := _NAMES.get(wanted)) is not None:
        return board
    near = difflib.get_close_matches(wanted, _NAMES, n=1, cutoff=0.6)
    offer = f"did you mean {_NAMES[near[0]].name!r}?" if near else f"known are {', '.join(BOARDS)}"
    raise BoardProblem("board", f"is {name!r}, which nobody knows; {offer}")


def has_receiver(name: str) -> bool:
    """Whether a board of that name can have a GNSS receiver; True for a name nobody has, which others complain of."""
    board = _NAMES.get(_plain(name))
    return board is None or board.gnss is not None


def sold_for(board: Board, region: str) -> bool:
    """Whether a variant of the board is made for the region."""
    return _family(region) in board.regions


def _sold(board: Board, region: str) -> Board:
    if not sold_for(board, region):
        offered = ", ".join(other.name for other in BOARDS.values() if sold_for(other, region))
        raise BoardProblem("board", f"is {board.product}, not made for {region}; for it there are: {offered or 'none'}")
    return board


def extended(gains: Iterable[TxGain]) -> tuple[TxGain, ...]:
    """A table by rising power, with what lies below its weakest entry, counted down cautiously."""
    table = sorted(gains, key=lambda gain: gain.power_dbm)
    weakest = table[0]
    below: dict[int, TxGain] = {}
    for steps in range(1, weakest.pwr_idx + 1):
        # Rounded up: named stronger than it is, at most.
        power_dbm = math.ceil(weakest.power_dbm - steps * WEAKER_STEP_DB)
        if power_dbm < weakest.power_dbm:
            below.setdefault(power_dbm, TxGain(power_dbm, weakest.pa_gain, weakest.pwr_idx - steps, measured=False))
    return (*(below[power_dbm] for power_dbm in sorted(below)), *table)


# --- one board out of table and settings ------------------------------------------------------------------------------


def _overridden(board: Board, region: str, wanted: Overrides) -> BoardSettings:
    if wanted.spi is not None and wanted.usb is not None:
        raise BoardProblem("usb", "and spi are both set; a chip hangs on one of them")
    bus = Bus.USB if wanted.usb else Bus.SPI if wanted.spi else board.buses[0]
    if bus not in board.buses:
        raise BoardProblem(bus.value, f"is set, but {board.product} is reached over {board.buses[0].value} alone")
    low = _is_low_band(region)
    usual = BoardSettings(
        name=board.name,
        product=board.product,
        region=region,
        source=board.source,
        bus=bus,
        path=board.usb if bus is Bus.USB else board.spi,
        gains=extended(_table_for(board, region)),
        rssi_offset_db=board.rssi_offset_low_db if low else board.rssi_offset_db,
        chip=board.chip,
        reset=board.reset,
        power=board.power,
        sx1261_reset=board.sx1261_reset,
        reset_commands=board.reset_commands,
        has_sx1261=board.has_sx1261,
        i2c=board.i2c,
        temperature_sensor=board.temperature_sensor,
        single_input=board.single_input,
        gnss=board.gnss,
        gnss_family=board.gnss_family,
        antenna_gain_dbi=wanted.antenna_gain_dbi,
        gpio=wanted.gpio,
    )
    if bus is Bus.USB:  # the bridge drives the pins and reads a sensor of its own
        usual = replace(usual, reset=None, power=None, sx1261_reset=None, reset_commands=(), temperature_sensor=None)
    return _with_overrides(usual, wanted)


def _with_overrides(usual: BoardSettings, wanted: Overrides) -> BoardSettings:
    pins = {
        key: _read(key, Pin.parse, text)
        for key in ("reset", "power", "sx1261_reset")
        if (text := getattr(wanted, key)) is not None
    }
    board = replace(
        usual,
        path=wanted.usb or wanted.spi or usual.path,
        reset=pins.get("reset", usual.reset),
        power=pins.get("power", usual.power),
        sx1261_reset=pins.get("sx1261_reset", usual.sx1261_reset),
        reset_commands=() if "reset" in pins else usual.reset_commands,
        i2c=wanted.i2c or usual.i2c,
    )
    board = _with_sx1261(board, wanted.sx1261)
    if wanted.temperature_sensor is not None:
        board = replace(board, temperature_sensor=_sensor(wanted.temperature_sensor))
    if wanted.rssi_offset_db is not None:
        board = replace(board, rssi_offset_db=wanted.rssi_offset_db)
    if wanted.tx_gains:
        board = replace(board, gains=extended(_read("tx_gains", TxGain.parse, text) for text in wanted.tx_gains))
    return board


def _with_sx1261(board: BoardSettings, where: str | None) -> BoardSettings:
    match where:
        case None:  # no maker publishes its bus on SPI boards, and without it the library does not start
            return board if board.bus is Bus.USB else replace(board, has_sx1261=False)
        case "none":
            return replace(board, has_sx1261=False)
        case "usb" if board.bus is Bus.USB:
            return replace(board, has_sx1261=True)
        case path if path.startswith("/dev/") and board.bus is Bus.SPI:
            return replace(board, has_sx1261=True, sx1261_spi=path)
    usual = '"usb"' if board.bus is Bus.USB else '"/dev/spidev0.1"'
    raise BoardProblem("sx1261", f'is {where!r}; on a board at {board.path} it is {usual}, or "none"')


def _read(key: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as problem:
        raise BoardProblem(key, f"has {problem}") from None


def _sensor(text: str) -> int | None:
    if text == "none":
        return None
    if re.fullmatch(r"0x[0-7][0-9a-fA-F]", text) is None:
        raise BoardProblem("temperature_sensor", f'is {text!r}; an I2C address is written "0x39", no sensor "none"')
    return int(text, 16)


def _checked(board: BoardSettings) -> BoardSettings:
    longest = LONGEST_USB_PATH if board.bus is Bus.USB else LONGEST_SPI_PATH
    for key, path, most in (
        (board.bus.value, board.path, longest),
        ("sx1261", board.sx1261_spi or "", LONGEST_SPI_PATH),
    ):
        if len(path.encode()) > most:
            raise BoardProblem(key, f"is too long: the library takes {most} characters")
    powers = [gain.power_dbm for gain in board.gains]
    if len(set(powers)) != len(powers):
        raise BoardProblem("tx_gains", f"names one power twice: {', '.join(map(str, board.gains))}")
    measured = [gain for gain in board.gains if gain.measured]
    for weaker, stronger in itertools.pairwise(measured):
        if weaker.pa_gain == stronger.pa_gain and weaker.pwr_idx >= stronger.pwr_idx:
            raise BoardProblem("tx_gains", f"has {stronger}, which is not more than {weaker}")
    if not -300 <= board.rssi_offset_db <= 0:
        raise BoardProblem("rssi_offset_db", f"is {board.rssi_offset_db}; a board's lies near -215")
    return board


def _table_for(board: Board, region: str) -> tuple[TxGain, ...]:
    family = _family(region)
    for table in board.tables:
        if not table.regions or family in table.regions:
            return table.gains
    raise BoardProblem("board", f"is {board.product}, which has no table of powers for {region}")


def _family(region: str) -> str:
    """The region as the makers' tables name it: CN470's plans are one front end, and so are AS923's."""
    return region.partition("-")[0] if region.startswith(("AS923", "CN470")) else region


def _is_low_band(region: str) -> bool:
    return _family(region) in {"EU433", "CN470"}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


_NAMES: Final = {_plain(name): board for board in BOARDS.values() for name in (board.name, *board.aliases)}
