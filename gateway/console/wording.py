"""Numbers, ages and names as a person reads them. Pure: values in, words out, whatever a codec may have returned."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.model import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THIN = "\u202f"  # narrow no-break space: groups digits (SI brochure 5.4.4) and ties a unit to its number
MINUS = "\u2212"
NONE = "\u2013"  # an en dash stands where no value is known
LONGEST_TEXT = 120  # characters of foreign text that a row has room for

REASONS: dict[str, tuple[str, str]] = {
    Refusal.UNKNOWN_DEVICE: ("Device not added here", "A neighbour's, or yours: add it."),
    Refusal.JOINED: ("Joined", "A device asked for a session and was given one."),
    Refusal.JOIN_NOT_SERVED: ("Join request not answered", "A neighbour's, or yours: add it with its join keys."),
    Refusal.BAD_MIC: ("Known address, other key", "A neighbour with the same address, or mistyped keys."),
    Refusal.CRC_BAD: ("Damaged on the air", "Far away, or two at once. Some are normal."),
    Refusal.CRC_NONE: ("Sent without checksum", "Not a LoRaWAN uplink."),
    Refusal.MALFORMED: ("Not LoRaWAN", "Another LoRa system on these channels."),
    Refusal.NOT_UPLINK: ("Another gateway's downlink", "Not from a device."),
    Refusal.REPETITION: ("Sent again", "The device repeats a frame that was kept already."),
    Refusal.COPY: ("Heard twice", "A second receiver heard the same frame."),
    Refusal.REPLAY: (
        "Counter used before",
        "The device lost its counter: let it join again. Or somebody plays it back.",
    ),
}
"""Each reason of `model.Refusal`: what a technician calls it, and what it means."""

UNITS = {"m3": "m³", "m3/h": "m³/h", "m2": "m²", "ug/m3": "µg/m³", "degC": "°C"}
"""Units of the vocabulary that have a better spelling on a screen; all others stand as they are."""

DECIMALS = {"%": 1, "°C": 1, "V": 2, "mm": 0, "cm": 1, "ppm": 0, "m3": 3, "m3/h": 3, "hPa": 1, "lx": 0}
"""Digits behind the point that a sensor of this kind means; 3 for a unit that is not listed."""

ALARMS = {
    "leak": "Leak",
    "burst": "Burst pipe",
    "backflow": "Backflow",
    "tamper": "Tampered with",
    "low_battery": "Battery low",
}
"""Booleans that mean trouble when true."""

CAPITALS = {"co2": "CO₂", "pm10": "PM10", "pm2_5": "PM2.5", "tvoc": "TVOC", "ph": "pH"}

DEMODULATION_FLOOR_DB = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""The lowest SNR at which each spreading factor is still read (Semtech SX1276 and SX1261 data sheets, LoRa modem)."""

FSK_FLOOR_DBM = -108.0
"""Sensitivity at 50 kbit/s (Semtech SX1276 data sheet: -107 to -109 dBm)."""

SIGNAL_STEPS = ((15.0, 4, "strong"), (10.0, 3, "good"), (5.0, 2, "fair"), (0.0, 1, "weak"))
"""Decibels above the floor, bars, word. A city needs about 10 dB for rain, leaves and a parked lorry."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A measurement ready for the page. `level` fills a bar, 0 to 100; `alarm` wants to be seen."""

    label: str
    text: str
    unit: str = ""
    level: float | None = None
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """How well a frame was heard: 0 to 4 bars, a word, and the figures."""

    bars: int
    word: str
    figures: str


def number(value: float, decimals: int = 3) -> str:
    """Digits grouped in threes, no trailing zeros, a true minus sign; a dash for what is no number."""
    if not math.isfinite(value):
        return NONE
    if abs(value) >= 1e15 or (decimals >= 3 and 0 < abs(value) < 0.0005):
        return f"{value:.3g}".replace("-", MINUS)
    text = f"{round(value, decimals) + 0.0:,.{decimals}f}"  # + 0.0: no negative zero
    if decimals:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", THIN).replace("-", MINUS)


def count(value: float | None) -> str:
    """A whole number, grouped; a dash where none is known."""
    return NONE if value is None else number(value, 0)


def counted(value: float, one: str, many: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count(value)} {one if value == 1 else many}"


def duration(seconds: float) -> str:
    """The two largest units that matter: `12 s`, `5 min`, `2 h 10 min`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}{THIN}s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}{THIN}min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}{THIN}h {minutes}{THIN}min" if minutes else f"{hours}{THIN}h"
    days, hours = divmod(hours, 24)
    return f"{count(days)}{THIN}d {hours}{THIN}h" if hours and days < 10 else f"{count(days)}{THIN}d"


def milliseconds(value_ms: float) -> str:
    """A short span: `50 ms`, `1.5 s`, `4 min`."""
    if value_ms < 1000:
        return f"{number(value_ms, 0)}{THIN}ms"
    return f"{number(value_ms / 1000, 1)}{THIN}s" if value_ms < 60_000 else duration(value_ms / 1000)


def size(value_bytes: float) -> str:
    """Bytes in the units of the settings file: `812 KiB`, `1.4 GiB`."""
    value = float(value_bytes)
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1000:
            return f"{number(value, 0 if value >= 10 or unit == 'B' else 1)}{THIN}{unit}"
        value /= 1024
    return f"{number(value, 1)}{THIN}GiB"


def plain(value: object, longest: int = LONGEST_TEXT) -> str:
    """Foreign text on one line: control characters gone, cut where it would flood the page."""
    text = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp", "Cs"} else c for c in str(value)[:1000])
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def sentence(name: str) -> str:
    """A snake_case name as words: `battery_voltage` becomes `Battery voltage`."""
    if name in CAPITALS:
        return CAPITALS[name]
    words = plain(name.replace("_", " "))
    return words[:1].upper() + words[1:]


def reason(name: str) -> tuple[str, str]:
    """Why a frame was not kept: a short name, and what it means (empty for a reason nobody described)."""
    return REASONS.get(name) or (sentence(name), "")


def news(found: object) -> list[Mapping[str, Any]]:
    """The measurements worth a glance: an alarm that is off is none."""
    entries = found if isinstance(found, list | tuple) else ()
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("value") is not False]


def measurements(found: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """What a codec measured, alarms first; a meter's history is one line with its length."""
    now = [entry for entry in found if not entry.get("time")]
    shown = [_measurement(entry) for entry in now]
    shown.sort(key=lambda entry: not entry.alarm)
    if earlier := len(found) - len(now):
        shown.append(Shown("Earlier values", count(earlier)))
    return shown


def _measurement(entry: Mapping[str, Any]) -> Shown:
    quantity, value, unit = str(entry.get("quantity", "")), entry.get("value"), str(entry.get("unit") or "")
    label, unit_text = sentence(quantity), plain(UNITS.get(unit, unit))
    match value:
        case bool() if quantity in ALARMS:
            return Shown(ALARMS[quantity], "yes" if value else "no", alarm=value)
        case bool():
            return Shown(label, "yes" if value else "no")
        case int() | float():
            try:
                exact = float(value)
            except OverflowError:
                return Shown(label, plain(value), unit_text)
            level = min(100.0, max(0.0, exact)) if unit == "%" and math.isfinite(exact) else None
            return Shown(label, number(exact, DECIMALS.get(unit, 3)), unit_text, level)
        case None:
            return Shown(label, NONE)
        case _:
            return Shown(label, plain(value), unit_text)


def signal(radio: Mapping[str, Any]) -> Signal:
    """How far above the limit of its own modulation a frame was heard."""
    rssi, snr, factor = radio.get("rssi_dbm"), radio.get("snr_db"), radio.get("spreading_factor")
    figures = [f"{number(rssi, 0)}{THIN}dBm"] if rssi is not None else []
    margin = None
    if snr is not None:
        figures.append(f"SNR {number(snr, 1)}{THIN}dB")
        margin = snr - DEMODULATION_FLOOR_DB.get(factor or 0, -20.0)
    elif rssi is not None:
        margin = rssi - FSK_FLOOR_DBM
    if margin is None:
        return Signal(0, "unknown", "")
    bars, word = next(((bars, word) for floor, bars, word in SIGNAL_STEPS if margin >= floor), (0, "at its limit"))
    return Signal(bars, word, ", ".join(figures))


def place(position: Mapping[str, Any] | None) -> str:
    """Where it stands, and by whom that is told."""
    if position is None:
        return ""
    words = f"at {position['latitude']:.5f}°, {position['longitude']:.5f}°"
    if position["altitude_m"] is not None:
        words += f", {position['altitude_m']:.0f} m high"
    if position["source"] == "settings":
        return f"{words}, by the settings"
    return f"{words}, within {position['accuracy_m']:.0f} m" if position["accuracy_m"] is not None else words
