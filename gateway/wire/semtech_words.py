"""The words of Semtech's UDP protocol: one table each, and what a radio can have measured.

Read and written by `rxpk` and `txpk` alike, so that no two hand-made tables can disagree.
"""

from __future__ import annotations

import binascii
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Crc, Fsk, Lora, LrFhss, TxResult
from gateway.wire.semtech_json import Malformed, Unusable, extra, number, text, unfit, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Modulation

# --- tables ---------------------------------------------------------------------------------------------------------

# (spreading factor, bandwidth in Hz). 125, 250 and 500 kHz are LoRaWAN's below 1 GHz. The others are the SX1280's; the
# servers take them as whole kHz too (203 000, not 203 125 Hz).
LORA_DATA_RATES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {f"SF{sf}BW{khz}": (sf, khz * 1000) for sf in range(5, 13) for khz in (125, 250, 500, 203, 406, 812, 1625)}
)
# Operating channel width in Hz as RP002 and ChirpStack name it (136.71875 kHz and so on, rounded).
LR_FHSS_DATA_RATES: Final[Mapping[str, int]] = MappingProxyType(
    {"M0CW137": 137_000, "M0CW336": 336_000, "M0CW1523": 1_523_000}
)
# LI: long interleaving, 2.4 GHz. OFF: the reference forwarder's word for code rate 0, mostly a false detection.
LORA_CODING_RATES: Final[Mapping[str, str | None]] = MappingProxyType(
    {rate: rate for rate in ("4/5", "4/6", "4/7", "4/8", "4/5LI", "4/6LI", "4/8LI")} | {"OFF": None}
)
LORA_CODING_RATE_ALIASES: Final[Mapping[str, str]] = MappingProxyType({"2/3": "4/6", "1/2": "4/8"})
LR_FHSS_CODING_RATES: Final = frozenset({"1/3", "2/6", "1/2", "3/6", "2/3", "4/6", "5/6"})
CRCS: Final[Mapping[int, Crc]] = MappingProxyType({crc.value: crc for crc in Crc})

# PROTOCOL.md, section 6; TX_POWER became a warning in 1.5, UNKNOWN is in the code only. A forwarder that says nothing,
# or NONE, has queued the frame. Nothing in the protocol reports what happened on air: that is all SENT can mean here.
TX_WORDS: Final[Mapping[str, TxResult]] = MappingProxyType(
    {
        "NONE": TxResult.SENT,
        "TOO_LATE": TxResult.TOO_LATE,
        "TOO_EARLY": TxResult.TOO_EARLY,
        "COLLISION_PACKET": TxResult.COLLISION_PACKET,
        "COLLISION_BEACON": TxResult.COLLISION_BEACON,
        "TX_FREQ": TxResult.TX_FREQ,
        "TX_POWER": TxResult.TX_POWER,
        "GPS_UNLOCKED": TxResult.GPS_UNLOCKED,
        "UNKNOWN": TxResult.UNKNOWN,
    }
)
# Results that the protocol has no word for. Gateway Bridge drops a TX_ACK with a word it does not know, and with it the
# second receive window; a spent duty cycle amounts to "the air is not yours then".
NEAREST_TX_WORDS: Final[Mapping[TxResult, str]] = MappingProxyType(
    {
        TxResult.ACCEPTED: "NONE",
        TxResult.DUTY_CYCLE: "COLLISION_PACKET",
        TxResult.RADIO_UNREACHABLE: "UNKNOWN",
    }
)
TX_WORD_OF: Final[Mapping[TxResult, str]] = MappingProxyType(
    {result: word for word, result in TX_WORDS.items()} | dict(NEAREST_TX_WORDS)
)

_LORA: Final = {  # every LoRa modulation there is, made once: frames share them
    (datr, codr): Lora(sf, bandwidth_hz, LORA_CODING_RATES[LORA_CODING_RATE_ALIASES.get(codr, codr)])
    for datr, (sf, bandwidth_hz) in LORA_DATA_RATES.items()
    for codr in (*LORA_CODING_RATES, *LORA_CODING_RATE_ALIASES)
}
_LORA_DATR: Final = {meaning: word for word, meaning in LORA_DATA_RATES.items()}
_LR_FHSS_DATR: Final = {meaning: word for word, meaning in LR_FHSS_DATA_RATES.items()}

# --- limits ---------------------------------------------------------------------------------------------------------

COUNTER_MAX: Final = (1 << 32) - 1
MAX_PHY: Final = 255  # the length field of a LoRa header is one byte
BANDS_HZ: Final = (  # the widest LoRa transceivers: SX1276 137 to 1020 MHz, SX1280 2.4 GHz
    (137_000_000, 1_020_000_000),
    (2_400_000_000, 2_500_000_000),
)
RSSI_DBM: Final = (-200, 30)  # thermal noise in one hertz is -174 dBm; +30 dBm would burn a front end
SNR_DB: Final = (-40, 40)  # the chips report a signed byte of quarter decibels: -32 to +31.75
FSK_BIT_RATE: Final = (500, 250_000)  # sx1302_hal loragw_hal.h, DR_FSK_MIN and DR_FSK_MAX
FSK_DEVIATION_HZ: Final = (0, 250_000)


# --- reading --------------------------------------------------------------------------------------------------------


def read_frequency(packet: dict[str, Any]) -> int:
    """`freq` in Hz. Rounded: a double holds 868.1 MHz to a fraction of a hertz, cut off it could be one hertz less."""
    frequency_hz = round(number(packet, "freq", 0, 10_000) * 1_000_000)
    for low, high in BANDS_HZ:
        if low <= frequency_hz <= high:
            return frequency_hz
    raise Unusable(Malformed.IMPOSSIBLE_VALUE, "freq")


def read_modulation(packet: dict[str, Any]) -> Modulation:
    """`modu`, `datr`, `codr`, with FSK `fdev`, with LR-FHSS `hpw`."""
    match packet.get("modu"):
        case "LORA":
            try:
                return _LORA[packet["datr"], packet["codr"]]
            except (KeyError, TypeError):  # TypeError: a list is no key
                raise _no_lora(packet) from None
        case "FSK":
            return Fsk(whole(packet, "datr", *FSK_BIT_RATE), extra(packet, "fdev", *FSK_DEVIATION_HZ))
        case "LR-FHSS":
            return _lr_fhss(packet)
        case str():
            raise Unusable(Malformed.UNKNOWN_MODULATION, "modu")
        case other:
            raise unfit("modu", other)


def _no_lora(packet: dict[str, Any]) -> Unusable:
    if text(packet, "datr") not in LORA_DATA_RATES:
        return Unusable(Malformed.UNKNOWN_DATA_RATE, "datr")
    text(packet, "codr")
    return Unusable(Malformed.UNKNOWN_CODING_RATE, "codr")


def _lr_fhss(packet: dict[str, Any]) -> LrFhss:
    width_hz = LR_FHSS_DATA_RATES.get(text(packet, "datr"))
    if width_hz is None:
        raise Unusable(Malformed.UNKNOWN_DATA_RATE, "datr")
    coding_rate = text(packet, "codr")
    if coding_rate not in LR_FHSS_CODING_RATES:
        raise Unusable(Malformed.UNKNOWN_CODING_RATE, "codr")
    steps = packet.get("hpw")  # a number for ChirpStack, text for The Things Stack
    if type(steps) is str and steps.isascii() and steps.isdecimal() and len(steps) < 4:
        return LrFhss(width_hz, coding_rate, extra({"hpw": int(steps)}, "hpw", 0, 255))
    return LrFhss(width_hz, coding_rate, extra(packet, "hpw", 0, 255))


def read_payload(packet: dict[str, Any]) -> bytes:
    """`data`, padded or not, in either base64 alphabet: Semtech's first example mixes them. `size` must agree."""
    data = text(packet, "data")
    if len(data) > 352:  # 340 characters carry MAX_PHY bytes; the slack is for blanks and padding
        raise Unusable(Malformed.TOO_LONG, "data")
    try:
        phy = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        bare = data.strip().rstrip("=").replace("-", "+").replace("_", "/")
        try:
            phy = binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
        except ValueError:
            raise Unusable(Malformed.BAD_BASE64, "data") from None
    if len(phy) > MAX_PHY:
        raise Unusable(Malformed.TOO_LONG, "data")
    if whole(packet, "size", 0, 65_535) != len(phy):
        raise Unusable(Malformed.SIZE_MISMATCH, "size")
    return phy


# --- writing --------------------------------------------------------------------------------------------------------


def mhz(frequency_hz: int) -> float:
    """A frequency for `freq` that gives the same hertz to who rounds and to who cuts off, as the reference does."""
    value = frequency_hz / 1_000_000
    return value if int(value * 1_000_000) == frequency_hz else math.nextafter(value, math.inf)


def modulation_words(modulation: Modulation) -> dict[str, Any]:
    """`modu`, `datr`, `codr`, `hpw`; ValueError when the protocol has no word for it."""
    try:
        match modulation:
            case Lora(sf, bandwidth_hz, coding_rate):
                return {"modu": "LORA", "datr": _LORA_DATR[sf, bandwidth_hz], "codr": coding_rate or "OFF"}
            case Fsk(bit_rate):
                return {"modu": "FSK", "datr": bit_rate}
            case LrFhss(width_hz, lr_fhss_coding_rate, steps):
                words = {"modu": "LR-FHSS", "datr": _LR_FHSS_DATR[width_hz], "codr": lr_fhss_coding_rate}
                return words if steps is None else words | {"hpw": steps}
    except KeyError:
        raise ValueError(f"the Semtech protocol has no word for {modulation}") from None


def payload_words(phy: bytes) -> dict[str, Any]:
    """`size` and `data`, padded and in the standard alphabet."""
    return {"size": len(phy), "data": binascii.b2a_base64(phy, newline=False).decode()}
