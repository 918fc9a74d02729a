"""A record's bytes on disk, and back.

Fixed fields lie in a struct, what has no fixed length behind it, then what not every reading has (a flag says so),
what is free text or a codec's answer as JSON at the end, deflated with a dictionary of the words it usually consists
of. The first byte is the version of this layout; a record of a version this program does not know is reported, never
guessed.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import (
    Crc,
    Decoded,
    DevAddr,
    DevEui,
    Fsk,
    JoinEui,
    Lora,
    LrFhss,
    Measurement,
    Modulation,
    RadioFrame,
    Reading,
    Stamp,
    TimeQuality,
    frame_id,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1

ERASED = b"\x00"
"""What stands at a position whose record was erased because a person asked for it. No layout begins with 0."""

_STAMP = struct.Struct("<qBIq16s")  # utc_us, quality, uncertainty_ms, monotonic_us, boot id
_RADIO = struct.Struct("<IBIIhhBB")  # frequency_hz, modulation kind, its two numbers, rssi, snr, channel, rf_chain
_UPLINK = struct.Struct("<8sIIBBI")  # dev_eui, dev_addr, f_cnt, flags, f_port, gap_before
_HEAD = struct.Struct("<BIB")  # version, session, length of the PHY payload
_FRAME = struct.Struct("<BIB")  # counter_us of an unopened frame: version, counter, length

# Part of the layout: a record can only be read with the words it was written with. First what any device may say, then
# what the commonest ones say as a whole, the likeliest last.
_WORDS = (
    b'"permanent_error","temporary_error","backflow":"tamper":"low_battery":true,"error":"warning":"unknown":"state":'
    b'"mode":"index":"counter":"signal":"door":"open":"position":"battery":["battery",100,"%",null],"battery_voltage":3.6,'
    b'["pressure",1013.2,"hPa",null],"pressure":["co2",612,"ppm",null],"co2":612,"external_temperature":'
    b'["external_temperature","leak":false,"pulse_count":["pulse_count",0,"count",null],["acceleration_x",0.01,"g",null],'
    b'"acceleration_y":0.01,"acceleration_z":["reverse_volume",0,"m3",null],["flow",0.0,"m3/h",null],'
    b'{"kind":"glass","latitude":"43.6","longitude":"3.8"},'
    b'"axioma/qalcosonic_w1@1",{"time":"2026-01-01T00:00:00Z","volume":0.0,"log":{"time":"2026-01-01T00:00:00Z",'
    b'"volume":0.0,"increments_l":[0,0,0,0]},"status":0,"alarms":[]},[["volume",0.0,"m3",null],'
    b'["volume",0.0,"m3",3600000000],["leak",false,"",null],["backflow",false,"",null],["freezing",false,"",null],'
    b'["burst",false,"",null],["tamper",false,"",null],["low_battery",false,"",null],["permanent_error",false,"",null],'
    b'["temporary_error",false,"",null],["empty_pipe",false,"",null]],[],null,null]'
    b'"elsys/ers@1",{"temperature":21.0,"humidity":50,"light":300,"motion_count":0,"motion":false,"battery_voltage":3.6,'
    b'"dew_point":11.0,"absolute_humidity":9.0},[["temperature",21.0,"\xc2\xb0C",null],["humidity",50,"%",null],'
    b'["light",0,"lx",null],["motion_count",0,"count",null],["motion",false,"",null],["battery_voltage",3.6,"V",null],'
    b'["dew_point",11.0,"\xc2\xb0C",null],["absolute_humidity",9.0,"g/m3",null]],[],null,null]'
    b'"heyliot/heywaste@1",{"raw":"1000","type":"periodic","measure_number":0,"range_status":0,"range_status_text":"valid",'
    b'"distance_mm":1000,"fill_level":50.0},[["fill_level",50.0,"%",null],["distance",1000,"mm",null],'
    b'["sensor_error",false,"",null]],[],null,null]'
)
_WINDOW_BITS = -12  # 4 KiB hold the words and what is deflated; the state stays small enough to be copied each time
_DEFLATE = zlib.compressobj(6, zlib.DEFLATED, _WINDOW_BITS, 1, zlib.Z_DEFAULT_STRATEGY, _WORDS)
_MOST_TEXT = 1 << 20  # a codec's answer is bounded far below: what claims to be more is damage

_UNKNOWN_U32 = 0xFFFFFFFF
_NO_SNR = -0x8000
_CONFIRMED, _ADR, _HAS_PORT, _REREAD, _HAS_COUNTER, _CLASS_B, _CLASS_C, _HAS_JOIN_EUI = (1 << bit for bit in range(8))
_COUNTER_BYTES, _EUI_BYTES = 4, 8
_CLASS_FLAGS = {"A": 0, "B": _CLASS_B, "C": _CLASS_C}

_QUALITIES = tuple(TimeQuality)
_QUALITY_CODE = {quality: code for code, quality in enumerate(_QUALITIES)}
_LORA, _FSK, _LR_FHSS = 0, 1, 2
_CODING_RATES = (None, "4/5", "4/6", "4/7", "4/8", "4/5LI", "4/6LI", "4/8LI", "OFF")
_LORA_TEXT = 15  # a coding rate beyond the table: its text goes into the JSON


class UnknownLayout(ValueError):  # noqa: N818 - says what it is
    """The bytes are not a record this version can read."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The part of a record that carries the session on: what a start reads back after a crash."""

    session_id: int
    f_cnt: int
    mic: bytes
    utc_us: int


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The fixed part of a record: whose, when, and which frame. What a search looks at."""

    dev_eui: bytes
    dev_addr: int
    f_cnt: int
    gap_before: int
    heard: Stamp
    phy: bytes
    reread: bool


# --- readings


def encode(reading: Reading, session_id: int) -> bytes:
    """The bytes of a reading, with the session whose counter it carries on."""
    decoded = reading.decoded
    flags = reading.confirmed * _CONFIRMED | reading.adr * _ADR | (reading.f_port is not None) * _HAS_PORT
    flags |= reading.reread * _REREAD | _CLASS_FLAGS.get(reading.device_class, 0)
    optional = b""
    if reading.counter_us is not None:
        flags |= _HAS_COUNTER
        optional = reading.counter_us.to_bytes(_COUNTER_BYTES, "little")
    if reading.join_eui is not None:
        flags |= _HAS_JOIN_EUI
        optional += reading.join_eui
    kind, first, second, extra = _modulation_code(reading.modulation)
    rest = orjson.dumps(
        (
            reading.name, dict(reading.tags), decoded.codec, decoded.data,
            _measurement_rows(decoded.measurements),
            decoded.warnings, decoded.problem, extra,
        ),
        option=orjson.OPT_NON_STR_KEYS,
    )  # fmt: skip
    return b"".join(
        (
            _HEAD.pack(VERSION, session_id, len(reading.phy)),
            _UPLINK.pack(
                reading.dev_eui, reading.dev_addr, reading.f_cnt, flags, reading.f_port or 0, reading.gap_before
            ),
            _pack_stamp(reading.heard),
            _pack_radio(reading, kind, first, second),
            reading.phy,
            bytes((len(reading.payload),)),
            reading.payload,
            optional,
            _deflated(rest),
        )
    )


_STAMP_AT = _HEAD.size + _UPLINK.size
_RADIO_AT = _STAMP_AT + _STAMP.size
_PHY_AT = _RADIO_AT + _RADIO.size


def decode(body: bytes) -> Reading:
    """The reading in these bytes; UnknownLayout when there is none."""
    try:
        version, _, phy_size = _HEAD.unpack_from(body)
        _check(version)
        dev_eui, dev_addr, f_cnt, flags, f_port, gap_before = _UPLINK.unpack_from(body, _HEAD.size)
        payload_at = _PHY_AT + phy_size + 1
        phy, payload_size = body[_PHY_AT : payload_at - 1], body[payload_at - 1]
        text_at = payload_at + payload_size
        counter_us = join_eui = None
        if flags & _HAS_COUNTER:
            text_at += _COUNTER_BYTES
            counter_us = int.from_bytes(body[text_at - _COUNTER_BYTES : text_at], "little")
        if flags & _HAS_JOIN_EUI:
            text_at += _EUI_BYTES
            join_eui = JoinEui(body[text_at - _EUI_BYTES : text_at])
        name, tags, codec, data, measurements, warnings, problem, extra = orjson.loads(_inflated(body[text_at:]))
        heard = _unpack_stamp(body, _STAMP_AT)
        frequency_hz, modulation, rssi_dbm, snr_db, channel, rf_chain = _unpack_radio(body, _RADIO_AT, extra)
        return Reading(
            frame_id=frame_id(phy), phy=phy, heard=heard, dev_eui=DevEui(dev_eui), dev_addr=DevAddr(dev_addr),
            name=name, tags=tags, f_cnt=f_cnt, f_port=f_port if flags & _HAS_PORT else None,
            confirmed=bool(flags & _CONFIRMED), adr=bool(flags & _ADR),
            payload=body[payload_at : payload_at + payload_size], gap_before=gap_before,
            decoded=Decoded(
                codec, data, _measurements(measurements), tuple(warnings), problem
            ),
            frequency_hz=frequency_hz, modulation=modulation, rssi_dbm=rssi_dbm, snr_db=snr_db, channel=channel,
            rf_chain=rf_chain, reread=bool(flags & _REREAD), counter_us=counter_us,
            device_class="C" if flags & _CLASS_C else "B" if flags & _CLASS_B else "A", join_eui=join_eui,
        )  # fmt: skip
    except (struct.error, zlib.error, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UnknownLayout):
            raise
        raise UnknownLayout(f"not a record: {error}") from error


def counted(body: bytes) -> Counted:
    """Only what the session needs, several times cheaper than the whole; UnknownLayout."""
    try:
        version, session_id, phy_size = _HEAD.unpack_from(body)
        _check(version)
        _, _, f_cnt, _, _, _ = _UPLINK.unpack_from(body, _HEAD.size)
        (utc_us,) = struct.unpack_from("<q", body, _STAMP_AT)
    except struct.error as error:
        raise UnknownLayout(f"not a record: {error}") from error
    end = _PHY_AT + phy_size
    return Counted(session_id, f_cnt, body[end - 4 : end], utc_us)


def glimpse(body: bytes) -> Glimpse:
    """What a search looks at, several times cheaper than the whole; UnknownLayout."""
    try:
        version, _, phy_size = _HEAD.unpack_from(body)
        _check(version)
        dev_eui, dev_addr, f_cnt, flags, _, gap_before = _UPLINK.unpack_from(body, _HEAD.size)
        heard = _unpack_stamp(body, _STAMP_AT)
    except (struct.error, IndexError) as error:
        raise UnknownLayout(f"not a record: {error}") from error
    phy = body[_PHY_AT : _PHY_AT + phy_size]
    return Glimpse(dev_eui, dev_addr, f_cnt, gap_before, heard, phy, bool(flags & _REREAD))


# --- frames nobody could open


def encode_frame(frame: RadioFrame) -> bytes:
    """The bytes of a raw frame."""
    kind, first, second, extra = _modulation_code(frame.modulation)
    return b"".join(
        (
            _FRAME.pack(VERSION, frame.counter_us, len(frame.phy)),
            _pack_stamp(frame.heard),
            _pack_radio(frame, kind, first, second),
            frame.phy,
            orjson.dumps((frame.crc.value, frame.receiver, extra)),
        )
    )


def decode_frame(body: bytes) -> RadioFrame:
    """The raw frame in these bytes; UnknownLayout when there is none."""
    try:
        version, counter_us, phy_size = _FRAME.unpack_from(body)
        _check(version)
        radio_at = _FRAME.size + _STAMP.size
        phy_at = radio_at + _RADIO.size
        crc, receiver, extra = orjson.loads(body[phy_at + phy_size :])
        frequency_hz, modulation, rssi_dbm, snr_db, channel, rf_chain = _unpack_radio(body, radio_at, extra)
        return RadioFrame(
            phy=body[phy_at : phy_at + phy_size], heard=_unpack_stamp(body, _FRAME.size), frequency_hz=frequency_hz,
            modulation=modulation, rssi_dbm=rssi_dbm, snr_db=snr_db, channel=channel, rf_chain=rf_chain,
            counter_us=counter_us, crc=Crc(crc), receiver=receiver,
        )  # fmt: skip
    except (struct.error, IndexError, TypeError, ValueError) as error:
        if isinstance(error, UnknownLayout):
            raise
        raise UnknownLayout(f"not a frame: {error}") from error


# --- the pieces both share


def _measurement_rows(measurements: Sequence[Measurement]) -> list[tuple[Any, ...]]:
    """Times are written as the distance to the one before: a meter's hourly log then deflates to next to nothing."""
    rows, before_us = [], 0
    for m in measurements:
        time_us = m.time_us
        if time_us is not None:
            time_us, before_us = time_us - before_us, time_us
        rows.append((m.quantity, m.value, m.unit, time_us))
    return rows


def _measurements(rows: Sequence[Sequence[Any]]) -> tuple[Measurement, ...]:
    found, before_us = [], 0
    for quantity, value, unit, time_us in rows:
        if time_us is not None:
            before_us += time_us
        found.append(Measurement(quantity, value, unit, None if time_us is None else before_us))
    return tuple(found)


def _deflated(text: bytes) -> bytes:
    stream = _DEFLATE.copy()
    return stream.compress(text) + stream.flush()


def _inflated(packed: bytes) -> bytes:
    stream = zlib.decompressobj(_WINDOW_BITS, _WORDS)
    text = stream.decompress(packed, _MOST_TEXT)
    if not stream.eof or stream.unused_data:
        raise UnknownLayout("its text is cut short or followed by something")
    return text


def _check(version: int) -> None:
    if version != VERSION:
        raise UnknownLayout(f"layout {version}, this version reads {VERSION}")


def _pack_stamp(stamp: Stamp) -> bytes:
    uncertainty = _UNKNOWN_U32 if stamp.uncertainty_ms is None else min(stamp.uncertainty_ms, _UNKNOWN_U32 - 1)
    return _STAMP.pack(
        stamp.utc_us, _QUALITY_CODE[stamp.quality], uncertainty, stamp.monotonic_us, _boot_bytes(stamp.boot_id)
    )


def _unpack_stamp(body: bytes, at: int) -> Stamp:
    utc_us, quality, uncertainty, monotonic_us, boot = _STAMP.unpack_from(body, at)
    return Stamp(
        utc_us,
        _QUALITIES[quality],
        None if uncertainty == _UNKNOWN_U32 else uncertainty,
        _boot_text(boot),
        monotonic_us,
    )


@lru_cache(maxsize=16)
def _boot_bytes(boot_id: str) -> bytes:
    return uuid.UUID(boot_id).bytes


@lru_cache(maxsize=256)
def _boot_text(boot: bytes) -> str:
    return uuid.UUID(bytes=boot).hex


def _pack_radio(source: Reading | RadioFrame, kind: int, first: int, second: int) -> bytes:
    snr = _NO_SNR if source.snr_db is None else round(source.snr_db * 10)
    rssi = round(source.rssi_dbm * 10)
    return _RADIO.pack(source.frequency_hz, kind, first, second, rssi, snr, source.channel, source.rf_chain)


def _unpack_radio(body: bytes, at: int, extra: Any) -> tuple[int, Modulation, float, float | None, int, int]:
    frequency_hz, kind, first, second, rssi, snr, channel, rf_chain = _RADIO.unpack_from(body, at)
    modulation = _modulation(kind, first, second, extra)
    return frequency_hz, modulation, rssi / 10, None if snr == _NO_SNR else snr / 10, channel, rf_chain


def _modulation_code(modulation: Modulation) -> tuple[int, int, int, Any]:
    """Kind, two numbers, and what needs text."""
    match modulation:
        case Lora(spreading_factor, bandwidth_hz, coding_rate):
            if coding_rate in _CODING_RATES:
                return _LORA, spreading_factor | _CODING_RATES.index(coding_rate) << 8, bandwidth_hz, None
            return _LORA, spreading_factor | _LORA_TEXT << 8, bandwidth_hz, coding_rate
        case Fsk(bit_rate, deviation_hz):
            return _FSK, bit_rate, _UNKNOWN_U32 if deviation_hz is None else deviation_hz, None
        case LrFhss(width_hz, coding_rate, grid_steps):
            return _LR_FHSS, width_hz, _UNKNOWN_U32 if grid_steps is None else grid_steps, coding_rate


def _modulation(kind: int, first: int, second: int, extra: Any) -> Modulation:
    if kind == _LORA:
        rate = first >> 8
        return Lora(first & 0xFF, second, extra if rate == _LORA_TEXT else _CODING_RATES[rate])
    optional = None if second == _UNKNOWN_U32 else second
    if kind == _FSK:
        return Fsk(first, optional)
    if kind == _LR_FHSS:
        return LrFhss(first, extra, optional)
    raise UnknownLayout(f"modulation {kind}")
