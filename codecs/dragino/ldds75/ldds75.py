"""Dragino LDDS75, LDDS45, LDDS20 and the newer DDS75-LB: ultrasonic distance sensors. Most significant byte first.

Source: the decoders the maker publishes (github.com/dragino/dragino-end-node-decoder, LDDS75 and DDS75-LB) and the
maker's user manuals for the meaning of the distances 0 and 20 and for the downlinks.

Port 2: battery mV (14 bits), distance mm, interrupt, temperature of the DS18B20 probe s16, 1 with a sensor. Firmware
before 1.1.4 ends behind the distance or the interrupt. Port 3 (LB): stored rows of 11 bytes with the time last.
Port 5 (LB): model, firmware, band and battery.

Confirmed by published messages: port 2. Not confirmed by a message: ports 3 and 5.
The published decoders disagree about the probe of the DDS75-LB: tenths of a degree in one, hundredths in another;
`steps_per_degree` decides. Battery bit 12 marks a message of DDS75-LB with several distances, whose bytes 2 to 7 are
not described: it is not read. Inferred: that a probe at 0x7FFF is missing; one that is missing is said to send 0 as
well, which cannot be told from ice.
"""

from datetime import datetime, timezone

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
SEVERAL = 0x1000
NO_PROBE = 0x7FFF
NO_SENSOR_MM, INVALID_MM = 0, 20
ROW = 11
STATUS = 7
CLOCK_SET_S = 1420070400  # 2015: no such device before
BANDS = ("EU868", "US915", "IN865", "AU915", "KZ865", "RU864", "AS923", "AS923-1", "AS923-2", "AS923-3", "CN470",
         "EU433", "KR920", "MA869")  # fmt: skip
LIMITS = {"max_measure_mm": "", "min_measure_mm": "0", "steps_per_degree": "10"}


def decode(payload, port, variables):
    settings, error = read_settings(variables)
    if not error and port == 2:
        return reading(payload, settings)
    if not error and port == 3:
        return stored(payload, settings)
    if not error and port == 5:
        return device_status(payload)
    return failed(payload, error or f"port {port} is not known: 2 readings, 3 stored readings, 5 device status")


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def read_settings(variables):
    """The variables as numbers, and what is wrong with them."""
    found = {}
    for name, default in LIMITS.items():
        text = variables.get(name, default).strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 7):
            return found, f"variable {name} is {text!r}, a whole number is needed"
        found[name] = int(text) if text else None
    if found["steps_per_degree"] not in (10, 100):
        return found, f"variable steps_per_degree is {found['steps_per_degree']}, 10 or 100 is needed"
    if found["max_measure_mm"] is not None and found["max_measure_mm"] <= (found["min_measure_mm"] or 0):
        return found, "variable max_measure_mm has to be greater than min_measure_mm"
    return found, None


def reading(payload, settings):
    if len(payload) not in (4, 5, 8):
        return failed(payload, f"offset {min(len(payload), 8)}: {len(payload)} bytes, a reading has 8 (older: 4 or 5)")
    power = int.from_bytes(payload[:2], "big")
    if power & SEVERAL and len(payload) == 8:
        return failed(payload, "offset 0: a message with several distances, whose layout is not described")
    data, warnings = {"battery_voltage": (power & 0x3FFF) / 1000}, []
    found = [measurement("battery_voltage", data["battery_voltage"], "V")]
    missing = len(payload) == 8 and payload[7] == 0
    found += distance(int.from_bytes(payload[2:4], "big"), missing, settings, data, warnings)
    if len(payload) > 4:
        data["interrupt"] = payload[4]
    if len(payload) == 8:
        found += probe(payload[5:7], settings, data)
        data["sensor"] = payload[7]
    return {"data": data, "warnings": warnings, "measurements": found}


def distance(millimetres, missing, settings, data, warnings, moment=None):
    data["distance"] = millimetres
    missing = missing or millimetres == NO_SENSOR_MM
    found = [measurement("not_connected", missing, "", moment)]
    if missing:
        warnings.append("no ultrasonic sensor is connected")
    elif millimetres == INVALID_MM:
        warnings.append("distance 20 mm stands for an invalid measurement")
    else:
        found.append(measurement("distance", millimetres, "mm", moment))
        if settings["max_measure_mm"] is not None:
            fill = fill_level(millimetres, settings["max_measure_mm"], settings["min_measure_mm"] or 0)
            data["fill_level"] = fill
            found.append(measurement("fill_level", fill, "%", moment))
    return found


def fill_level(millimetres, empty, full):
    share = (empty - millimetres) / (empty - full)
    return round(100 * min(max(share, 0.0), 1.0), 1)


def probe(value, settings, data, moment=None):
    if int.from_bytes(value, "big") == NO_PROBE:
        return []
    data["temperature"] = int.from_bytes(value, "big", signed=True) / settings["steps_per_degree"]
    return [measurement("external_temperature", data["temperature"], "°C", moment)]


def stored(payload, settings):
    if not payload or len(payload) % ROW:
        return failed(payload, f"offset {len(payload) - len(payload) % ROW}: stored readings have {ROW} bytes each")
    rows, warnings, found = [], [], []
    for at in range(0, len(payload), ROW):
        row = payload[at : at + ROW]
        time = int.from_bytes(row[7:11], "big")
        data = {"time": iso(time), "battery_voltage": (int.from_bytes(row[:2], "big") & 0x3FFF) / 1000}
        values = distance(int.from_bytes(row[2:4], "big"), False, settings, data, warnings, time)
        values += probe(row[4:6], {"steps_per_degree": 10}, data, time)
        data["flags"] = row[6]
        rows.append(data)
        if time < CLOCK_SET_S:
            warnings.append(f"offset {at + 7}: the clock was not set, the reading is in data only")
        else:
            found += values
    return {"data": {"stored": rows}, "warnings": warnings, "measurements": found}


def device_status(payload):
    if len(payload) != STATUS:
        return failed(payload, f"offset {min(len(payload), STATUS)}: a device status has {STATUS} bytes")
    band = payload[3] - 1
    volts = int.from_bytes(payload[5:7], "big") / 1000
    data = {
        "model": payload[0],
        "firmware_version": f"{payload[1] & 15}.{payload[2] >> 4}.{payload[2] & 15}",
        "frequency_band": BANDS[band] if 0 <= band < len(BANDS) else payload[3],
        "sub_band": None if payload[4] == 0xFF else payload[4],
        "battery_voltage": volts,
    }
    return {"data": data, "measurements": [measurement("battery_voltage", volts, "V")]}


def measurement(quantity, value, unit, moment=None):
    item = {"quantity": quantity, "value": value, "unit": unit}
    return item if moment is None else {**item, "time": moment}


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(command):
    """{"report_interval_s": 1200}, {"reboot": true} or {"device_status": true}; the maker's downlinks 01, 04 and 26."""
    if type(command) is not dict or len(command) != 1:
        return {"errors": ["a command has one key: report_interval_s, reboot or device_status"]}
    ((name, value),) = command.items()
    if name == "report_interval_s" and type(value) is int and 30 <= value < 1 << 24:
        return {"bytes": b"\x01" + value.to_bytes(3, "big"), "f_port": 2}
    if name in ("reboot", "device_status") and value is True:
        return {"bytes": {"reboot": b"\x04\xff", "device_status": b"\x26\x01"}[name], "f_port": 2}
    return {"errors": ["report_interval_s is 30 to 16777215, reboot and device_status are true"]}
