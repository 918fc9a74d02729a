"""How long a frame occupies the air.

Sources: Semtech AN1200.13 and SX1276 datasheet, 4.1.1.7 (SF7 to SF12); SX1261/2 datasheet, 6.1.4 (SF5 and SF6, which
have a longer preamble and a shorter payload); RP002-1.0.4, 2.4.3 and SX1276 datasheet, 4.2.13 (FSK).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import Lora

if TYPE_CHECKING:
    from gateway.model import Fsk

SIZE_MAX = 255
"""Bytes in the longest frame: its length is one byte on the air."""

LORA_PREAMBLE_SYMBOLS = 8
FSK_PREAMBLE_BYTES = 5
_FSK_FRAMING_BYTES = 3 + 1  # sync word, length
_FSK_CRC_BYTES = 2

_REDUNDANT_BITS = {"4/5": 1, "4/6": 2, "4/7": 3, "4/8": 4}
_LOW_DATA_RATE_US = 16_000  # longer symbols need the low data rate optimization (SX1276 datasheet, 4.1.1.6)


def airtime_us(
    modulation: Lora | Fsk, size: int, *, preamble: int | None = None, crc: bool = True, implicit_header: bool = False
) -> int:
    """Microseconds from the first symbol of the preamble to the last of the frame, a fraction counting as a whole.

    `size` is the length of the PHYPayload in bytes. `preamble` counts symbols with LoRa (8 when None) and bytes with
    FSK (5 when None). `crc` is the checksum behind the payload: uplinks have one, LoRa downlinks have none. Only LoRa
    frames, beacons above all, can go without a header. ValueError for what no radio sends.
    """
    if not 0 <= size <= SIZE_MAX:
        raise ValueError(f"a frame has 0 to {SIZE_MAX} bytes, not {size}")
    if not isinstance(modulation, Lora):
        checksum = _FSK_CRC_BYTES if crc else 0
        length = (FSK_PREAMBLE_BYTES if preamble is None else preamble) + _FSK_FRAMING_BYTES + size + checksum
        return _ceil_div(length * 8 * 1_000_000, modulation.bit_rate)
    symbols = _payload_symbols(modulation, size, crc=crc, implicit_header=implicit_header)
    # The sync word and the start of frame take 4.25 symbols, 6.25 at SF5 and SF6.
    quarters = 4 * symbols + (25 if modulation.spreading_factor < 7 else 17)
    quarters += 4 * (LORA_PREAMBLE_SYMBOLS if preamble is None else preamble)
    return _ceil_div(quarters * _chips(modulation) * 1_000_000, 4 * modulation.bandwidth_hz)


def low_data_rate_optimized(modulation: Lora) -> bool:
    """Whether symbols are so long that each carries two bits less (DE in the formula)."""
    return _chips(modulation) * 1_000_000 > _LOW_DATA_RATE_US * modulation.bandwidth_hz


def _payload_symbols(modulation: Lora, size: int, *, crc: bool, implicit_header: bool) -> int:
    redundant = _REDUNDANT_BITS.get(modulation.coding_rate or "4/5")
    if redundant is None:
        raise ValueError(f"coding rate {modulation.coding_rate!r}, known are {', '.join(_REDUNDANT_BITS)}")
    spreading = modulation.spreading_factor
    bits = 8 * size - 4 * spreading + (8 if spreading >= 7 else 0)
    bits += (16 if crc else 0) + (0 if implicit_header else 20)
    per_block = 4 * (spreading - 2 * low_data_rate_optimized(modulation))
    return 8 + max(_ceil_div(bits, per_block), 0) * (redundant + 4)


def _chips(modulation: Lora) -> int:
    if not 5 <= modulation.spreading_factor <= 12:
        raise ValueError(f"spreading factor {modulation.spreading_factor}, known are 5 to 12")
    return int(1 << modulation.spreading_factor)


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
