"""What the plans have in common whose channels are named by the network: section 2.3, and tables that they repeat.

The data rates 12 and 13 (SF6 and SF5) came with RP002-1.0.5.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.model import Fsk, Lora
from gateway.regions.region import PayloadSizes

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNELS_MAX = 16

MANDATORY = range(6)
"""DR0 to DR5, SF12 to SF7 at 125 kHz: what every device can do."""

LORA_125: Mapping[int, Lora] = MappingProxyType({index: Lora(12 - index, 125_000) for index in MANDATORY})

FASTER: Mapping[int, Lora | Fsk] = MappingProxyType({6: Lora(7, 250_000), 7: Fsk(bit_rate=50_000, deviation_hz=25_000)})

SF6_AND_SF5: Mapping[int, Lora] = MappingProxyType({12: Lora(6, 125_000), 13: Lora(5, 125_000)})

DATA_RATES: Mapping[int, Lora | Fsk] = MappingProxyType({**LORA_125, **FASTER, **SF6_AND_SF5})

RX1_DOWN: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        0: (0, 0, 0, 0, 0, 0),
        1: (1, 0, 0, 0, 0, 0),
        2: (2, 1, 0, 0, 0, 0),
        3: (3, 2, 1, 0, 0, 0),
        4: (4, 3, 2, 1, 0, 0),
        5: (5, 4, 3, 2, 1, 0),
        6: (6, 5, 4, 3, 2, 1),
        7: (7, 6, 5, 4, 3, 2),
        12: (12, 5, 4, 3, 2, 1),
        13: (13, 12, 5, 4, 3, 2),
    }
)
"""The RX1 data rate of plans in which an offset only slows down. The rate below DR12 is DR5."""

RX1_UP_AND_DOWN: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        up: (*RX1_DOWN[up], *faster)
        for up, faster in {
            0: (1, 2),
            1: (2, 3),
            2: (3, 4),
            3: (4, 5),
            4: (5, 6),
            5: (6, 7),
            6: (7, 7),
            7: (7, 7),
            12: (13, 13),
            13: (13, 13),
        }.items()
    }
)
"""The RX1 data rate of plans in which the offsets 6 and 7 speed up by one step and by two."""

_NOT_DEFINED = None

SIZES = PayloadSizes(
    direct=(51, 51, 51, 115, 242, 242, 242, 242, *(4 * (_NOT_DEFINED,)), 242, 242),
    repeater=(51, 51, 51, 115, 222, 222, 222, 222, *(4 * (_NOT_DEFINED,)), 222, 222),
)
"""The sizes of plans without a dwell time and without LR-FHSS."""


def at_least(slowest: int, rows: Mapping[int, tuple[int, ...]]) -> Mapping[int, tuple[int, ...]]:
    """A table of RX1 data rates in which nothing is slower than this."""
    return MappingProxyType({up: tuple(max(slowest, down) for down in row) for up, row in rows.items()})
