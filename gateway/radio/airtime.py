"""How long a frame occupies the air.

Sources: Semtech AN1200.13 and SX1276 datasheet, 4.1.1.7 (LoRa, SF7 to SF12); SX1261/2 datasheet, 6.1.4 (SF5 and SF6,
which start longer and carry less overhead); Semtech's sx1302_hal 2.1.0 (FSK framing, preambles).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Lora

if TYPE_CHECKING:
    from gateway.model import Fsk

SIZE_MAX = 255
"""Bytes in the longest frame: its length is one byte on the air."""

FSK_PREAMBLE_BYTES = 5
_FSK_FRAMING_BYTES = 3 + 1  # sync word, length
_FSK_CRC_BYTES = 2

_REDUNDANT_BITS = {"4/5": 1, "4/6": 2, "4/7": 3, "4/8": 4}
_LOW_DATA_RATE_US = 16_000  # longer symbols need the low data rate optimization (SX1276 datasheet, 4.1.1.6)


def airtime_us(
    modulation: Lora | Fsk, size: int, *, preamble: int | None = None, crc: bool = True, implicit_header: bool = False
) -> int:
    """Microseconds from the first symbol of the preamble to the last of the frame, a fraction counting as a whole.

    `size` is the length of the PHYPayload in bytes. `preamble` counts symbols with LoRa (None: 8, or 12 at SF5 and
    SF6) and bytes with FSK (None: 5). `crc` is the checksum behind the payload: uplinks have one, LoRa downlinks have
    none. Only LoRa frames, beacons above all, can go without a header. ValueError for what no radio sends.
    """
    if not 0 <= size <= SIZE_MAX:
        raise ValueError(f"a frame has 0 to {SIZE_MAX} bytes, not {size}")
    if isinstance(modulation, Lora):
        return _lora_us(modulation, size, preamble=preamble, crc=crc, implicit_header=implicit_header)
    if modulation.bit_rate <= 0:
        raise ValueError(f"a bit rate of {modulation.bit_rate} bit/s")
    length = (FSK_PREAMBLE_BYTES if preamble is None else preamble) + _FSK_FRAMING_BYTES + size
    length += _FSK_CRC_BYTES if crc else 0
    return _ceil_div(length * 8 * 1_000_000, modulation.bit_rate)


def low_data_rate_optimized(modulation: Lora) -> bool:
    """Whether symbols are so long that each carries two bits less (DE in the formula)."""
    return 1_000_000 << modulation.spreading_factor > _LOW_DATA_RATE_US * modulation.bandwidth_hz


def _lora_us(modulation: Lora, size: int, *, preamble: int | None, crc: bool, implicit_header: bool) -> int:
    spreading = modulation.spreading_factor
    if not 5 <= spreading <= 12:
        raise ValueError(f"spreading factor {spreading}, known are 5 to 12")
    if modulation.bandwidth_hz <= 0:
        raise ValueError(f"a bandwidth of {modulation.bandwidth_hz} Hz")
    redundant = _REDUNDANT_BITS.get(modulation.coding_rate or "4/5")
    if redundant is None:
        raise ValueError(f"coding rate {modulation.coding_rate!r}, known are {', '.join(_REDUNDANT_BITS)}")
    short = spreading < 7
    bits = 8 * size - 4 * spreading + (0 if short else 8) + (16 if crc else 0) + (0 if implicit_header else 20)
    bits_per_block = 4 * (spreading - 2 * low_data_rate_optimized(modulation))
    symbols = 8 + max(_ceil_div(bits, bits_per_block), 0) * (4 + redundant)
    symbols += (12 if short else 8) if preamble is None else preamble
    # The sync word and the start of frame take 4.25 symbols, 6.25 at SF5 and SF6: counted in quarters.
    quarters = 4 * symbols + (25 if short else 17)
    return _ceil_div(quarters * (1_000_000 << spreading), 4 * modulation.bandwidth_hz)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
