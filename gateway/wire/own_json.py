"""A reading in our own JSON: MQTT, webhook, NATS, files, `tail --json` and `uplink export` all speak it.

One object a reading, the same keys in the same order every time; what is unknown is null, never left out (only a
measurement's `time` is optional: it stands where the value is older than the frame). Units stand in the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.model import Fsk, Lora, LrFhss

if TYPE_CHECKING:
    from gateway.model import DevAddr, Device, GatewayEui, Measurement, Modulation, RadioFrame, Reading, Record, Refused

IDS: Final = ("id", "record_id", "gateway_eui", "dev_eui")
"""The keys that always leave: without them a receiver can neither drop copies nor say whose reading it is."""

FIELDS: Final = (
    *("id", "record_id", "gateway_eui", "time", "time_quality", "time_uncertainty_ms", "dev_eui", "dev_addr", "name"),
    *("tags", "codec", "f_cnt", "f_port", "confirmed", "adr", "payload", "data", "measurements", "warnings", "problem"),
    *("late", "gap_before", "radio"),
)
"""Every key of a reading, in the order in which they are written."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"  # RFC 3339 has four digits for the year
_DEPTH = 64  # orjson stops at 254, readers elsewhere earlier; no device has that much to say


def reading_json(record: Record) -> dict[str, Any]:
    """The reading as values of JSON, all of `FIELDS` in order. `data` and `tags` are the record's own, not copies."""
    reading = record.reading
    heard, decoded = reading.heard, reading.decoded
    return {
        "id": reading.frame_id,
        "record_id": record.record_id,
        "gateway_eui": record.gateway_eui.hex(),
        "time": rfc3339(heard.utc_us),
        "time_quality": heard.quality.value,
        "time_uncertainty_ms": heard.uncertainty_ms,
        "dev_eui": reading.dev_eui.hex(),
        "dev_addr": f"{reading.dev_addr:08x}",
        "name": reading.name,
        "tags": reading.tags,
        "codec": decoded.codec,
        "f_cnt": reading.f_cnt,
        "f_port": reading.f_port,
        "confirmed": reading.confirmed,
        "adr": reading.adr,
        "payload": reading.payload.hex(),
        "data": decoded.data,
        "measurements": [_measurement_json(measurement) for measurement in decoded.measurements],
        "warnings": list(decoded.warnings),
        "problem": decoded.problem,
        "late": record.late,
        "gap_before": reading.gap_before,
        "radio": radio_json(reading),
    }


def unopened_json(gateway_eui: GatewayEui, frame: RadioFrame, refused: Refused) -> dict[str, Any]:
    """A frame that went no further, for `tail --raw` and `uplink export --raw`: the raw bytes, and why."""
    return {
        "id": frame.frame_id,
        "gateway_eui": gateway_eui.hex(),
        "time": rfc3339(frame.heard.utc_us),
        "time_quality": frame.heard.quality.value,
        "time_uncertainty_ms": frame.heard.uncertainty_ms,
        "dev_eui": None if refused.dev_eui is None else refused.dev_eui.hex(),
        "dev_addr": None if refused.dev_addr is None else f"{refused.dev_addr:08x}",
        "phy_payload": frame.phy.hex(),
        "reason": refused.reason.value,
        "problem": refused.detail,
        "radio": radio_json(frame),
    }


def join_json(gateway_eui: GatewayEui, device: Device, dev_addr: DevAddr, frame: RadioFrame) -> dict[str, Any]:
    """A device that has a new session, for `…/{dev_eui}/join`: who, where it was heard, its address from now on."""
    return {
        "id": frame.frame_id,
        "gateway_eui": gateway_eui.hex(),
        "time": rfc3339(frame.heard.utc_us),
        "time_quality": frame.heard.quality.value,
        "time_uncertainty_ms": frame.heard.uncertainty_ms,
        "dev_eui": device.dev_eui.hex(),
        "dev_addr": str(dev_addr),
        "name": device.name,
        "tags": device.tags,
        "radio": radio_json(frame),
    }


def reading_bytes(record: Record, fields: Sequence[str] = ()) -> bytes:
    """The reading as one line of UTF-8 JSON without line break.

    `fields` names the keys that leave (of `FIELDS`); empty means all, and `IDS` always stay. Whatever a codec put into
    `data`, this does not fail: see `json_bytes`.
    """
    reading = reading_json(record)
    if fields:
        reading = {key: value for key, value in reading.items() if key in fields or key in IDS}
    return json_bytes(reading)


def json_bytes(value: object) -> bytes:
    """UTF-8 JSON of any value made of dicts, lists, text and numbers.

    JSON has no word for some of what scripts return, and a reading must not be lost over it: NaN and infinities become
    null, integers beyond 64 bits become floats, half surrogate pairs become U+FFFD, keys become text, bytes become hex,
    and nesting without end is cut at 64 levels.
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:  # orjson says so to all of these; readings that need it are rare, so the usual one pays nothing
        return orjson.dumps(_tamed(value, _DEPTH))


def json_value(content: bytes) -> Any:
    """The value that JSON is; ValueError when it is none."""
    return orjson.loads(content)


def rfc3339(utc_us: int) -> str:
    """`2026-11-23T08:15:02.123Z`: UTC, cut to milliseconds. Times outside the years 1 to 9999 become the nearest."""
    try:
        return (_EPOCH + timedelta(microseconds=utc_us)).isoformat(timespec="milliseconds")[:23] + "Z"
    except OverflowError:
        return _FIRST if utc_us < 0 else _LAST


def rfc3339_us(text: str) -> int:
    """Microseconds since 1970 of what `rfc3339` wrote."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _measurement_json(measurement: Measurement) -> dict[str, Any]:
    entry = {"quantity": measurement.quantity, "value": measurement.value, "unit": measurement.unit}
    if measurement.time_us is not None:
        entry["time"] = rfc3339(measurement.time_us)
    return entry


def radio_json(reading: Reading | RadioFrame) -> dict[str, Any]:
    """Where and how well it was heard: `radio` of a reading."""
    return {
        "frequency_hz": reading.frequency_hz,
        **modulation_json(reading.modulation),
        "rssi_dbm": reading.rssi_dbm,
        "snr_db": reading.snr_db,
        "channel": reading.channel,
        "rf_chain": reading.rf_chain,
    }


def modulation_json(modulation: Modulation) -> dict[str, Any]:
    """How it was sent: `modulation`, and what belongs to that."""
    match modulation:
        case Lora():
            return {
                "modulation": "LORA",
                "spreading_factor": modulation.spreading_factor,
                "bandwidth_hz": modulation.bandwidth_hz,
                "coding_rate": modulation.coding_rate,
            }
        case Fsk():
            return {
                "modulation": "FSK",
                "bit_rate": modulation.bit_rate,
                "deviation_hz": modulation.deviation_hz,
            }
        case LrFhss():
            return {
                "modulation": "LR_FHSS",
                "operating_channel_width_hz": modulation.operating_channel_width_hz,
                "coding_rate": modulation.coding_rate,
                "grid_steps": modulation.grid_steps,
            }


def _plain(value: object) -> object:
    if isinstance(value, Mapping):  # read-only views of a device's tags
        return dict(value)
    raise TypeError


def _tamed(value: object, depth: int) -> object:
    match value:
        case None | bool():
            return value
        case str():
            return _whole(value)
        case int():
            return value if -(1 << 63) <= value < 1 << 64 else _as_float(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes() | bytearray():
            return value.hex()
        case Mapping() if depth:
            return {_whole(str(key)): _tamed(item, depth - 1) for key, item in value.items()}
        case Sequence() | set() | frozenset() if depth:
            return [_tamed(item, depth - 1) for item in value]
        case Mapping() | Sequence() | set() | frozenset():
            return None
        case _:
            return _whole(str(value))


def _whole(text: str) -> str:
    # JavaScript strings are UTF-16 and may be cut within a pair. Pairs that are whole but written as two become one.
    return str(text).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _as_float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
