"""When the chip latches its counter for a packet: what a driver has to take off again.

A packet carries the 32 MHz counter of the moment its decoding ended or, with precise timestamps, of the end of its
header; the driver reckons from there to the end of the packet on the air. Here is the same distance seen from the
chip. Source: Semtech's sx1302_hal 2.1.0, `loragw_sx1302_timestamp.c`; reckoned in picoseconds, so that not even the
rounding differs from the driver's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model import Lora

_DECIMATION_PS = 2_031_250
_HALF_US_PS = 500_000
_PS = 1_000_000


def decoding_us(lora: Lora, size: int, *, coding_rate: int = 1, crc: bool = True) -> int:
    """Microseconds from the end of a packet on the air until it is decoded: the legacy timestamp is so much late.

    `coding_rate` is 1 for 4/5 to 4 for 4/8, `size` the bytes of the payload.
    """
    spreading, faster = lora.spreading_factor, lora.bandwidth_hz // 125_000
    tick_ps, chips = 250_000 // faster, 1 << spreading
    low_rate = _low_data_rate(spreading, lora.bandwidth_hz)
    bits_per_symbol = spreading - 2 * low_rate
    data = 2 * (size + 2 * crc)
    header_nibbles = spreading if spreading < 7 else spreading - 2
    in_header = data - (spreading - 7) <= 0 or (size == 0 and not crc)
    last_block = (data + 5 - header_nibbles) % bits_per_symbol or bits_per_symbol
    if in_header:
        coding_rate, last_block = 4, header_nibbles
    symbol_ps = chips * tick_ps
    iterations = (spreading + 1) // 2
    total_ps = 16_000_000 // faster + _DECIMATION_PS  # filters
    if in_header:  # demapping
        total_ps += tick_ps + symbol_ps * 3 // 4 + 3 * tick_ps + (spreading - 2) * tick_ps
        total_ps += 2 * symbol_ps + 3 * tick_ps  # the transform of the last symbols
    else:
        total_ps += tick_ps + symbol_ps + 3 * tick_ps + bits_per_symbol * tick_ps
        total_ps += (5 - 2 * low_rate) * (symbol_ps + 7 * tick_ps) + 2 * tick_ps
    total_ps += tick_ps * (chips - 6 + 2 * (chips * (iterations - 1) + 6)) + 4 * tick_ps  # and of those before
    total_ps += 5 * tick_ps + (9 + coding_rate) * tick_ps * last_block + 3 * tick_ps  # decoding
    return (total_ps + _HALF_US_PS) // _PS


def payload_us(lora: Lora, size: int, *, coding_rate: int = 1, crc: bool = True) -> int:
    """Microseconds from the end of the header to the end of the packet: the precise timestamp is so much early.

    The header comes out of the filters a little after it went in, which is taken off here as the driver takes it off.
    """
    spreading = lora.spreading_factor
    low_rate = spreading >= 11  # at every bandwidth: the driver's table of air times is coarser than its modems
    bits = 8 * size + 16 * crc - 4 * spreading + 20 + (8 if spreading >= 7 else 0)
    blocks = max(-(-bits // (4 * (spreading - 2 * low_rate))), 0)
    symbol_us = (1_000_000 << spreading) // lora.bandwidth_hz
    filters_ps = 16_000_000 // (lora.bandwidth_hz // 125_000) + _DECIMATION_PS
    exact_ps = blocks * (4 + coding_rate) * symbol_us * _PS - filters_ps - _HALF_US_PS
    return exact_ps // _PS if exact_ps >= 0 else -(-exact_ps // _PS)


def _low_data_rate(spreading: int, bandwidth_hz: int) -> bool:
    return (bandwidth_hz == 125_000 and spreading >= 11) or (bandwidth_hz == 250_000 and spreading == 12)
