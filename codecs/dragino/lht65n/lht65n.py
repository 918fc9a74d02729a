"""Dragino LHT65, LHT65N: temperature and humidity with an optional probe. Most significant byte first.

Source: the decoders the maker publishes (github.com/dragino/dragino-end-node-decoder, LHT65N, versions 1.3.3 to 1.5.6)
and the maker's user manual for the downlinks.

Port 2, 11 bytes: battery state (2 bits) and mV (14 bits), temperature s16 / 100, humidity (12 bits) / 10, the external
sensor's type, four bytes of it. Types 9 and 10 have the probe's temperature where the battery was, and the time.
Stored rows, 11 bytes each: the external value, temperature, humidity, type, time. Bit 6 of the type marks rows that
were asked for. Port 3: battery, type, and a row of temperatures. Port 5: device status.

Confirmed by published messages: types 0 and 1 with and without a probe. Not confirmed by a message: stored rows, port 3
and port 5, the other types.
Bit 7 of the type is "not connected" in all versions, and marks rows sent again in 1.5.6. Inferred, to tell them apart:
a row ends with a time of 2017 to 2037, which what stands there for a missing probe (7FFF) cannot be. A temperature of
0x7FFF (327.67 °C) is a sensor that is missing or broken. The temperatures of port 3 come without times, in `data` only.
"""

from datetime import datetime, timezone

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
ROW = 11
STATUS = 7
MISSING = b"\x7f\xff"
BATTERY = ("very low", "low", "ok", "good")
MODELS = {0x0B: "LHT65N", 0x1A: "LHT65N-PIR"}
PROBES = {1: "DS18B20", 2: "TMP117", 3: "GXHT30", 4: "SHT31"}  # on port 3
FIRST_S, LAST_S = 1483228800, 2145916800  # 2017 to 2038
IDENTITIES = {0x0E: "stored", 0x0F: "DS18B20 identity", 0x10: "SHT31 identity", 0x20: "NE117 identity"}
BANDS = ("EU868", "US915", "IN865", "AU915", "KZ865", "RU864", "AS923", "AS923-1", "AS923-2", "AS923-3", "CN470",
         "EU433", "KR920", "MA869")  # fmt: skip


def hundredths(value):
    """A temperature; None for the mark of a missing sensor."""
    return None if value == MISSING else int.from_bytes(value, "big", signed=True) / 100


def tenths_of_12_bits(value):
    return (int.from_bytes(value, "big") & 0x0FFF) / 10


def decode(payload, port, variables):
    if port == 2:
        if len(payload) < ROW:
            return failed(payload, f"offset {len(payload)}: a reading has {ROW} bytes")
        marks = payload[6] >> 6
        if marks & 1 or (marks & 2 and has_time(payload)):
            return stored(payload, sent_again=bool(marks & 2))
        return reading(payload)
    if port == 3:
        return temperatures(payload)
    if port == 5:
        return device_status(payload)
    return failed(payload, f"port {port} is not known: 2 readings, 3 a row of temperatures, 5 device status")


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def has_time(row):
    return FIRST_S <= int.from_bytes(row[7:11], "big") < LAST_S and row[9:11] != MISSING


def reading(payload):
    kind, extra = payload[6] & 0x3F, payload[7:11]
    if kind in IDENTITIES:
        return {"data": {"message": IDENTITIES[kind], "raw": payload.hex()}}
    data, warnings = {}, []
    if len(payload) > ROW:
        data["rest"] = payload[ROW:].hex()
        warnings.append(f"offset {ROW}: {len(payload) - ROW} bytes behind the reading are not read")
    if kind in (9, 10):
        state = payload[4] >> 6
        data["external_temperature"] = hundredths(payload[:2])
        data["time"] = iso(int.from_bytes(extra, "big"))
    else:
        state = payload[0] >> 6
        data["battery_voltage"] = (int.from_bytes(payload[:2], "big") & 0x3FFF) / 1000
    data.update(battery=BATTERY[state], low_battery=state < 2)
    data["temperature"] = hundredths(payload[2:4])
    data["humidity"] = tenths_of_12_bits(payload[4:6])
    problem = external(kind, extra, data)
    if problem:
        return failed(payload, problem)
    data["not_connected"] = bool(payload[6] & 0x80) or data.get("external_temperature", 0) is None
    if data["temperature"] is None:
        warnings.append("temperature 0x7fff: the sensor is missing or broken, its humidity is not taken either")
        data["humidity"] = None
    return {"data": data, "warnings": warnings, "measurements": measurements(data)}


def external(kind, value, data):
    """The external sensor's value goes into data; returns a problem or None."""
    data["external_type"] = kind
    if kind in (0, 9, 10):
        return None
    if kind in (1, 2):
        data["external_temperature"] = hundredths(value[:2])
    elif kind == 4:
        data["digital_input"], data["interrupt"] = bool(value[0]), bool(value[1])
    elif kind == 5:
        data["light"] = int.from_bytes(value[:2], "big")
    elif kind == 6:
        data["input_voltage"] = int.from_bytes(value[:2], "big") / 1000
    elif kind == 7:
        data["pulse_total"] = int.from_bytes(value[:2], "big")
    elif kind == 8:
        data["pulse_total"] = int.from_bytes(value, "big")
    elif kind == 11:
        data["external_temperature"] = hundredths(value[:2])
        data["external_humidity"] = tenths_of_12_bits(value[2:]) if value[:2] != MISSING else None
    else:
        return f"offset 6: external sensor type {kind} is not known"
    return None


UNITS = {
    "battery_voltage": "V",
    "low_battery": "",
    "temperature": "°C",
    "humidity": "%",
    "not_connected": "",
    "external_temperature": "°C",
    "external_humidity": "%",
    "digital_input": "",
    "light": "lx",
    "input_voltage": "V",
    "pulse_total": "count",
}


def measurements(data, time=None):
    moment = {} if time is None else {"time": time}
    return [
        {"quantity": name, "value": data[name], "unit": unit, **moment}
        for name, unit in UNITS.items()
        if data.get(name) is not None
    ]


def stored(payload, sent_again):
    """Rows of the device's memory, each at its own time."""
    if len(payload) % ROW:
        return failed(payload, f"offset {len(payload) - len(payload) % ROW}: stored readings have {ROW} bytes each")
    kind, rows, warnings, found = payload[6] & 0x0F, [], [], []
    for at in range(0, len(payload), ROW):
        row = payload[at : at + ROW]
        time = int.from_bytes(row[7:11], "big")
        data = {"temperature": hundredths(row[2:4]), "humidity": tenths_of_12_bits(row[4:6])}
        if kind in (1, 2, 9, 10, 11, 12):
            data["external_temperature"] = hundredths(row[:2])
        elif kind == 5:
            data["light"] = int.from_bytes(row[:2], "big")
        elif kind == 6:
            data["input_voltage"] = int.from_bytes(row[:2], "big") / 1000
        else:
            data["external"] = row[:2].hex()
        rows.append({"time": iso(time), **data})
        if FIRST_S <= time < LAST_S:
            found += measurements(data, time)
        else:
            warnings.append(f"offset {at + 7}: the clock was not set, the reading is in data only")
    data = {"stored": rows, "sent_again": sent_again}
    return {"data": data, "warnings": warnings, "measurements": found}


def temperatures(payload):
    if len(payload) < 3 or len(payload) % 2 == 0 or payload[2] not in PROBES:
        return failed(payload, "offset 2: battery, type of probe (1 to 4) and temperatures of two bytes are needed")
    values = [hundredths(payload[at : at + 2]) for at in range(3, len(payload), 2)]
    volts = (int.from_bytes(payload[:2], "big") & 0x3FFF) / 1000
    data = {"battery_voltage": volts, "probe": PROBES[payload[2]], "temperatures": values}
    return {
        "data": data,
        "warnings": ["temperatures without times are in data only"],
        "measurements": [{"quantity": "battery_voltage", "value": volts, "unit": "V"}],
    }


def device_status(payload):
    if len(payload) != STATUS:
        return failed(payload, f"offset {min(len(payload), STATUS)}: a device status has {STATUS} bytes")
    band = payload[3] - 1
    volts = int.from_bytes(payload[5:7], "big") / 1000
    data = {
        "model": MODELS.get(payload[0], payload[0]),
        "firmware_version": f"{payload[1] & 15}.{payload[2] >> 4}.{payload[2] & 15}",
        "frequency_band": BANDS[band] if 0 <= band < len(BANDS) else payload[3],
        "sub_band": None if payload[4] == 0xFF else payload[4],
        "battery_voltage": volts,
    }
    return {"data": data, "measurements": [{"quantity": "battery_voltage", "value": volts, "unit": "V"}]}


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(command):
    """{"report_interval_s": 1200}, {"reboot": true}, {"device_status": true}, or stored readings between two times:
    {"fetch_history": [from, to]} in Unix seconds, sent every 5 seconds."""
    if type(command) is not dict or len(command) != 1:
        return {"errors": ["a command has one key: report_interval_s, reboot, device_status or fetch_history"]}
    ((name, value),) = command.items()
    if name == "report_interval_s" and type(value) is int and 30 <= value < 1 << 24:
        return {"bytes": b"\x01" + value.to_bytes(3, "big"), "f_port": 2}
    if name in ("reboot", "device_status") and value is True:
        return {"bytes": {"reboot": b"\x04\xff", "device_status": b"\x26\x01"}[name], "f_port": 2}
    if name == "fetch_history" and type(value) is list and len(value) == 2 and is_span(*value):
        return {"bytes": b"\x31" + b"".join(time.to_bytes(4, "big") for time in value) + b"\x05", "f_port": 2}
    return {"errors": ["report_interval_s is 30 to 16777215, fetch_history two times, the others are true"]}


def is_span(start, end):
    return type(start) is int and type(end) is int and 0 <= start <= end < 1 << 32
