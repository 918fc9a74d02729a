"""CFList, the sixteen bytes at the end of a join accept: frequencies (type 0) or channel masks (type 1).

RP002-1.0.4, sections 2.3.1 and 2.3.2. Both end with the type. Frequencies are five numbers of 24 bits, little endian,
in units of 100 Hz, for the channels that follow the default ones; 0 leaves a channel undefined. Masks are six numbers
of 16 bits, little endian, the first for the channels 0 to 15; bytes 12 to 14 are reserved.

Type 1 is for plans with fixed channels. For the others it would point into a list of 40 or 96 frequencies; devices need
not know it, they must know type 0, and so nothing here speaks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SIZE = 16
FREQUENCIES_MAX = 5
FREQUENCY_STEP_HZ = 100
LOWEST_HZ = 100_000_000
"""Smaller values than this are reserved."""

_FREQUENCY_LIST = 0
_MASK_LIST = 1
_MASKS_END = 12


@dataclass(frozen=True, slots=True)
class CfList:
    """What a device learns of its channels in the join accept: one of the two, as the plan has it."""

    frequencies_hz: tuple[int, ...] | None = None  # of the channels after the default ones, in order; 0: undefined
    enabled: frozenset[int] | None = None  # the channels that are on, all others are off


def frequency_list(frequencies_hz: Sequence[int]) -> bytes:
    """A list of type 0; ValueError for more than five, or for one that the format cannot say."""
    if len(frequencies_hz) > FREQUENCIES_MAX:
        raise ValueError(f"a CFList has {FREQUENCIES_MAX} frequencies, {len(frequencies_hz)} do not fit")
    for hz in frequencies_hz:
        if hz and (hz % FREQUENCY_STEP_HZ or not LOWEST_HZ <= hz < FREQUENCY_STEP_HZ << 24):
            raise ValueError(f"a CFList cannot name {hz} Hz: whole {FREQUENCY_STEP_HZ} Hz from 100 MHz to 1.678 GHz")
    listed = b"".join((hz // FREQUENCY_STEP_HZ).to_bytes(3, "little") for hz in frequencies_hz)
    return listed.ljust(SIZE - 1, b"\0") + bytes([_FREQUENCY_LIST])


def mask_list(enabled: Iterable[int]) -> bytes:
    """A list of type 1 that turns exactly these channels on; the caller knows which channels there are."""
    bits = sum(1 << channel for channel in set(enabled))
    return bits.to_bytes(_MASKS_END, "little").ljust(SIZE - 1, b"\0") + bytes([_MASK_LIST])


def read(cf_list: bytes) -> CfList | None:
    """What a list says, of either type; None when it is no CFList or of a type that nobody has defined."""
    if len(cf_list) != SIZE:
        return None
    body, kind = cf_list[:-1], cf_list[-1]
    if kind == _FREQUENCY_LIST:
        return CfList(frequencies_hz=_frequencies(body))
    if kind == _MASK_LIST:
        bits = int.from_bytes(body[:_MASKS_END], "little")
        return CfList(enabled=frozenset(channel for channel in range(8 * _MASKS_END) if bits >> channel & 1))
    return None


def _frequencies(body: bytes) -> tuple[int, ...]:
    read_hz = [int.from_bytes(body[at : at + 3], "little") * FREQUENCY_STEP_HZ for at in range(0, SIZE - 1, 3)]
    known = [hz if hz >= LOWEST_HZ else 0 for hz in read_hz]
    while known and not known[-1]:
        known.pop()
    return tuple(known)
