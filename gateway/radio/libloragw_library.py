"""Semtech's library as the operator supplies it: found, known to be the right one, proven to be laid out as we think.

A shared object that is something else does not say so: called with structures of another layout it reads rubbish and
answers 0. So before anything is configured, its machine, version and functions are looked at, and those of its answers
that depend on the layout and need no chip are asked for.
"""

from __future__ import annotations

import ctypes
import re
import struct
from ctypes import byref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Lora
from gateway.radio import libloragw_abi as abi
from gateway.radio.airtime import airtime_us
from gateway.radio.chip import ChipTrouble, TroubleKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WANTED: Final = (2, 1)
"""The version whose layout is known. 2.0 has no SX1261, and libraries before 2 are those of the SX1301."""

_MACHINES: Final = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "64-bit ARM", 243: "RISC-V"}
"""ELF e_machine (System V ABI)."""


@dataclass(frozen=True, slots=True)
class Library:
    """A libloragw that is loaded: its functions by name, typed."""

    path: Path
    version: str
    is_fork: bool  # brocaar/sx1302_hal: bus and address of the temperature sensor are told it
    functions: Mapping[str, Callable[..., int]]
    rx_buffer: abi.RxBuffer | None = None  # None: this build does not show its insides
    counter: int | None = None  # the address of its record of the counter's turns

    def __getattr__(self, name: str) -> Callable[..., int]:
        try:
            return self.functions[name]
        except KeyError:
            raise AttributeError(name) from None

    def has(self, name: str) -> bool:
        """Whether the library has an optional function."""
        return name in self.functions

    @property
    def shows_inside(self) -> bool:
        """Whether we fetch and clean the receive buffer, instead of the library."""
        return self.rx_buffer is not None

    @property
    def name(self) -> str:
        """For a person."""
        return f"libloragw {self.version}{' (brocaar)' if self.is_fork else ''}"


def load(path: Path) -> Library:
    """The library at `path`. ChipTrouble (NO_DRIVER) says why it cannot be used and what would do."""
    _look_at(path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise _no_driver(path, f"cannot be loaded: {error}", "Build it on this machine, with what it needs") from error
    version = _version(loaded, path)
    missing = [name for name in abi.FUNCTIONS if not hasattr(loaded, name)]
    if missing:
        raise _no_driver(
            path, f"has no {', '.join(missing[:3])}{' and others' if len(missing) > 3 else ''}", "Build version 2.1.0"
        )
    shown = all(hasattr(loaded, name) for name in (*abi.INNER_FUNCTIONS, *abi.INNER_VARIABLES))
    wanted = abi.FUNCTIONS | abi.OPTIONAL_FUNCTIONS | abi.FORK_FUNCTIONS | (abi.INNER_FUNCTIONS if shown else {})
    library = Library(
        path=path,
        version=version,
        is_fork=all(hasattr(loaded, name) for name in abi.FORK_FUNCTIONS),
        functions={name: _typed(loaded, name, *types) for name, types in wanted.items() if hasattr(loaded, name)},
        rx_buffer=abi.RxBuffer.in_dll(loaded, "rx_buffer") if shown else None,
        counter=ctypes.addressof(ctypes.c_uint8.in_dll(loaded, "counter_us")) if shown else None,
    )
    if (mismatch := layout_mismatch(library)) is not None:
        raise _no_driver(path, f"lays its structures out differently: {mismatch}", "Build version 2.1.0 as published")
    return library


def layout_mismatch(library: Library) -> str | None:
    """What the library takes differently than we give it; None when all that can be asked without a chip is right.

    Its airtime of a frame reads nine fields of a transmission; what it refuses, and the defaults that it fills in, show
    where it reads the others. Frames that are received cannot be asked for here.
    """
    for structure, size in abi.SIZES.items():
        if ctypes.sizeof(structure) != size:
            return f"{structure.__name__} takes {ctypes.sizeof(structure)} bytes here, {size} there"
    return _airtime_mismatch(library) or _refusal_mismatch(library) or _default_mismatch(library)


# --- looking before loading -----------------------------------------------------------------------------------------


def _no_driver(path: Path, problem: str, cure: str) -> ChipTrouble:
    return ChipTrouble(TroubleKind.NO_DRIVER, f"{path} {problem}", hint=f"{cure}; its path stands in radio.library")


def _look_at(path: Path) -> None:
    try:
        with path.open("rb") as file, Path("/proc/self/exe").open("rb") as python:
            head, own = file.read(20), python.read(20)
    except FileNotFoundError:
        raise _no_driver(
            path, "is not there", "Semtech's sx1302_hal 2.1.0 has to be built as a shared library on this machine"
        ) from None
    except PermissionError as error:
        raise ChipTrouble(
            TroubleKind.NO_PERMISSION, f"{path} may not be read", hint="Let the gateway's user read it: chmod a+rx"
        ) from error
    except OSError as error:
        raise _no_driver(path, f"cannot be read: {error.strerror}", "Name the file of the library") from error
    if head.startswith(b"!<arch>"):
        raise _no_driver(path, "is a static library", "Build a shared one, with -fPIC and -shared")
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        raise _no_driver(path, "is no library", "Name the file of the library")
    theirs, ours = _machine(head), _machine(own)
    if theirs != ours:
        raise _no_driver(path, f"is built for {theirs}, this is {ours}", "Build it on this machine")


def _machine(head: bytes) -> str:
    bits = {1: "32-bit", 2: "64-bit"}.get(head[4], "unknown")
    number = struct.unpack_from(">H" if head[5] == 2 else "<H", head, 18)[0]
    name = _MACHINES.get(number, f"machine {number}")
    return name if bits in name or number in {62, 243} else f"{name} ({bits})"


def _version(loaded: ctypes.CDLL, path: Path) -> str:
    if not hasattr(loaded, "lgw_version_info"):
        raise _no_driver(path, "is another library: it has no lgw_version_info", "Name libloragw.so")
    told = _typed(loaded, "lgw_version_info", *abi.FUNCTIONS["lgw_version_info"])()
    text = told.decode("ascii", "replace") if isinstance(told, bytes) else ""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise _no_driver(path, f"calls its version {text!r}", "Build Semtech's sx1302_hal 2.1.0")
    version = found[0]
    number = (int(found[1]), int(found[2]))
    if number != WANTED:
        family = "" if hasattr(loaded, "lgw_demod_setconf") else ", for SX1301 boards"
        raise _no_driver(path, f"is version {version}{family}; 2.1 is wanted", "Build Semtech's sx1302_hal 2.1.0")
    return version


def _typed(loaded: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> Callable[..., int]:
    function = loaded[name]
    function.restype = result
    function.argtypes = list(arguments)
    return function


# --- asking without a chip ------------------------------------------------------------------------------------------


def _airtime_mismatch(library: Library) -> str | None:
    for spreading, coding, preamble, size in ((7, "4/5", 8, 23), (9, "4/7", 10, 51), (10, "4/8", 12, 222)):
        tx = abi.PktTx(
            modulation=abi.MOD_LORA,
            bandwidth=abi.BANDWIDTHS[125_000],
            datarate=spreading,
            coderate=abi.CODE_RATES[coding],
            preamble=preamble,
            no_crc=spreading == 9,
            size=size,
        )
        told_ms = library.lgw_time_on_air(byref(tx))
        expected_us = airtime_us(Lora(spreading, 125_000, coding), size, preamble=preamble, crc=spreading != 9)
        if abs(told_ms * 1000 - expected_us) > 1500:
            return f"a frame of {expected_us / 1000:g} ms takes {told_ms} ms by its reckoning"
    return None


def _refusal_mismatch(library: Library) -> str | None:
    """Each of these is wrong in one field alone; refusing it is reading that field."""
    right_gain = abi.TxGainEntry(rf_power=14, mix_gain=5, pwr_idx=15)
    lut = abi.TxGainLut(size=2)
    lut.lut[0], lut.lut[1] = right_gain, abi.TxGainEntry(rf_power=15, mix_gain=5, pwr_idx=23)
    right_radio = {"enable": True, "freq_hz": 867_500_000, "type": abi.RADIO_SX1250}
    listening = abi.ConfSx1261(enable=True)
    listening.lbt_conf.nb_channel = 2
    listening.lbt_conf.channels[0] = abi.ConfChanLbt(868_100_000, 4, 128, 400)
    listening.lbt_conf.channels[1] = abi.ConfChanLbt(868_300_000, 4, 129, 400)
    asked = (
        ("com_type of a board", library.lgw_board_setconf(byref(abi.ConfBoard(com_type=7)))),
        ("type of a radio", library.lgw_rxrf_setconf(0, byref(abi.ConfRxrf(**(right_radio | {"type": 99}))))),
        ("frequency of a radio", library.lgw_rxrf_setconf(0, byref(abi.ConfRxrf(**(right_radio | {"freq_hz": 5}))))),
        ("power index", library.lgw_txgain_setconf(0, byref(lut))),
        ("scan time of a channel", library.lgw_sx1261_setconf(byref(listening))),
        ("radio of a channel", library.lgw_rxif_setconf(0, byref(abi.ConfRxif(enable=True, rf_chain=9)))),
        ("offset of a channel", library.lgw_rxif_setconf(0, byref(abi.ConfRxif(enable=True, freq_hz=2_000_000)))),
    )
    lut.lut[1].pwr_idx = 22
    listening.lbt_conf.channels[1].scan_time_us = 5000
    taken = (
        ("board", library.lgw_board_setconf(byref(abi.ConfBoard(com_type=abi.COM_USB, com_path=b"/dev/null")))),
        ("table of powers", library.lgw_txgain_setconf(0, byref(lut))),
        ("second radio", library.lgw_sx1261_setconf(byref(listening))),
        ("disabled second radio", library.lgw_sx1261_setconf(byref(abi.ConfSx1261()))),
    )
    wrongly_taken = next((f"the {what} is not looked at" for what, answer in asked if answer == abi.SUCCESS), None)
    return wrongly_taken or next((f"a good {what} is refused" for what, answer in taken if answer != abi.SUCCESS), None)


def _default_mismatch(library: Library) -> str | None:
    """A channel without width and rate gets the usual ones, in the fields where we look for them."""
    for chain, bandwidth, rate in ((0, 0x04, 7), (abi.SERVICE_CHAIN, 0x05, 7), (abi.FSK_CHAIN, 0x05, 64_000)):
        channel = abi.ConfRxif(enable=True, freq_hz=-300_000)
        if library.lgw_rxif_setconf(chain, byref(channel)) != abi.SUCCESS:
            return f"a good channel {chain} is refused"
        if (channel.bandwidth, channel.datarate) != (bandwidth, rate):
            return f"channel {chain} gets width {channel.bandwidth} and rate {channel.datarate} when none is named"
        library.lgw_rxif_setconf(chain, byref(abi.ConfRxif()))
    return None
