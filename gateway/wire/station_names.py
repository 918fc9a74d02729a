"""How Basics Station writes the EUIs of gateways and devices, and the moments of a radio."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.model import GatewayEui

if TYPE_CHECKING:
    from gateway.model import Eui64


def id6(eui: Eui64) -> str:
    """A gateway's EUI as Station writes it: four groups of 16 bits, and `::` for the longest run of zero groups."""
    groups = [f"{int.from_bytes(eui[at : at + 2], 'big'):x}" for at in range(0, 8, 2)]
    runs = [
        (end - start, start, end)
        for start in range(4)
        for end in range(start + 1, 5)
        if set(groups[start:end]) == {"0"}
    ]
    if not runs:
        return ":".join(groups)
    length, start, end = max(runs, key=lambda run: (run[0], -run[1]))
    if length == 4:
        return "::0"
    return f"{':'.join(groups[:start])}::{':'.join(groups[end:])}"


def read_id6(written: str) -> GatewayEui:
    """An EUI as servers write it: `::1`, `16:c001:f150:812`, `00-16-…`, plain hex. ValueError for anything else."""
    if not re.fullmatch(r"[0-9a-fA-F:]{2,19}", written) or written.count(":") not in (2, 3, 4):
        return GatewayEui.parse(written)
    left, gap, right = written.partition("::")
    before = left.split(":") if left else []
    after = right.split(":") if right else []
    zeros = 4 - len(before) - len(after)
    groups = [*before, *["0"] * zeros, *after] if gap else before
    if len(groups) != 4 or zeros < 0 or not all(0 < len(group) <= 4 for group in groups):
        raise ValueError(f"{written!r} is no EUI of four groups")
    return GatewayEui(b"".join(int(group, 16).to_bytes(2, "big") for group in groups))


def dashed(eui: Eui64) -> str:
    """A device's EUI as Station writes it: `01-02-03-04-05-06-07-08`."""
    return eui.hex("-").upper()


@dataclass(frozen=True, slots=True)
class Xtime:
    """A moment of one radio: which radio, which run of it, and its microseconds since that run began."""

    unit: int  # seven bits
    session: int  # eight bits, never 0
    count_us: int  # 48 bits

    @classmethod
    def of(cls, value: int) -> Xtime:
        """The parts of the number on the wire."""
        return cls(value >> 56 & 0x7F, value >> 48 & 0xFF, value & 0xFFFF_FFFF_FFFF)

    def __int__(self) -> int:
        return (self.unit & 0x7F) << 56 | (self.session & 0xFF) << 48 | self.count_us & 0xFFFF_FFFF_FFFF
