"""What a city does to a signal, and what a LoRa demodulator makes of the rest.

Sources of the numbers:

- SNR floors: Semtech SX1276/77/78/79 datasheet, table 13 ("LoRa demodulator SNR").
- Path loss: Petäjäjärvi, Mikhaylov, Roivainen, Hänninen, Pettissalo, "On the Coverage of LPWANs: Range Evaluation and
  Channel Attenuation Model for LoRa Technology", ITST 2015: measured from cars in the city of Oulu at 868 MHz.
- Rejection: Goursaud and Gorce, "Dedicated networks for IoT: PHY/MAC state of the art and challenges", EAI Endorsed
  Transactions on IoT 2015, the table that the LoRaWAN module of ns-3 uses too. Its diagonal is the 6 dB of capture.
- Critical section: Bor, Roedig, Voigt, Alonso, "Do LoRa Low-Power Wide-Area Networks Scale?", MSWiM 2016: a receiver
  locks on as long as the last five symbols of the preamble are clean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model import Lora

SNR_FLOOR_DB = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""The SNR a demodulator needs, by spreading factor. SF5 continues the table's step of 2.5 dB."""

_REJECTION_DB = (
    # wanted   by interferer: SF7  SF8  SF9 SF10 SF11 SF12
    (6, -16, -18, -19, -19, -20),  # SF7
    (-24, 6, -20, -22, -22, -22),  # SF8
    (-27, -27, 6, -23, -25, -25),  # SF9
    (-30, -30, -30, 6, -26, -28),  # SF10
    (-33, -33, -33, -33, 6, -29),  # SF11
    (-36, -36, -36, -36, -36, 6),  # SF12
)

NOISE_DENSITY_DBM_HZ = -174.0
"""Thermal noise at 290 K: k·T in dBm for one hertz."""

NOISE_FIGURE_DB = 6.0
"""With it the floors give the sensitivities of the SX1272/73 datasheet (RFS_L125) within 1 dB."""

PATH_LOSS_1_KM_DB = 128.95
PATH_LOSS_EXPONENT = 2.32
SHADOWING_DB = 7.8
"""Standard deviation from one place to another at the same distance."""

NEAREST_M = 10.0
"""Below it the formula, measured over kilometres, says nothing; a device in the rack is as loud as one beside it."""

PREAMBLE_SYMBOLS = 8
"""LoRaWAN regional parameters (RP002-1.0.4), LoRa preamble of every region."""

_SYNC_SYMBOLS = 4.25
_LOCKING_SYMBOLS = 5
_HEADER_SYMBOLS = 8


def noise_dbm(bandwidth_hz: int) -> float:
    """The noise a gateway's demodulator sees in its channel."""
    return NOISE_DENSITY_DBM_HZ + 10 * math.log10(bandwidth_hz) + NOISE_FIGURE_DB


def path_loss_db(distance_m: float) -> float:
    """The mean loss over this distance in a city at 868 MHz, without shadowing."""
    return PATH_LOSS_1_KM_DB + 10 * PATH_LOSS_EXPONENT * math.log10(max(distance_m, NEAREST_M) / 1000)


def rejection_db(spreading_factor: int, interferer_spreading_factor: int) -> float:
    """How much louder than the interferer, in dB, a frame must be to survive it; SF5 and SF6 are judged as SF7."""
    return _REJECTION_DB[max(spreading_factor, 7) - 7][max(interferer_spreading_factor, 7) - 7]


def detected(margin_db: float) -> float:
    """The chance that preamble and header are read, `margin_db` above the floor of the spreading factor.

    The header is sent with the strongest coding (4/8) whatever the payload has, so it lives 1.5 dB longer.
    """
    return _waterfall(margin_db + 1.5)


def intact(margin_db: float) -> float:
    """The chance that the checksum of the payload is right: 99 % at the floor (a PER of 1 %), half 1 dB below it."""
    return _waterfall(margin_db)


def _waterfall(margin_db: float) -> float:
    steepness = math.log(99)  # a dB from one error in two to one in a hundred
    exponent = -steepness * (margin_db + 1)
    return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))


@dataclass(frozen=True, slots=True)
class Parts:
    """When the parts of a LoRa frame pass, in microseconds after its first symbol starts."""

    critical_us: int  # from here on the receiver needs the preamble
    locked_us: int  # preamble and sync word are over, a demodulator is taken
    header_us: int  # the header is over


def parts_of(lora: Lora) -> Parts:
    """The parts of a frame with a LoRaWAN preamble and an explicit header."""
    symbol_us = 1_000_000 * (1 << lora.spreading_factor) / lora.bandwidth_hz
    locked = PREAMBLE_SYMBOLS + _SYNC_SYMBOLS
    return Parts(
        critical_us=round((PREAMBLE_SYMBOLS - _LOCKING_SYMBOLS) * symbol_us),
        locked_us=round(locked * symbol_us),
        header_us=round((locked + _HEADER_SYMBOLS) * symbol_us),
    )
