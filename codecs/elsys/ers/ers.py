"""Elsys ERS, ELT, EMS, ESM: one format of records for all of them.

Source: the decoder the maker publishes (The Things Network's device repository, vendor/elsys/elsys.js) for the types 01
to 1C and 3D; a record is a type byte and a value of fixed length, big endian, but for the position. Types 1D to 24, 3B
and 3C: a third party's decoder (akenza), unconfirmed, passed on in `data`.

A record 3E begins a settings message (port + 1 after a start). It may hold session and root keys, so that only its size
is told.

Inferred: that 1 in record 11 means somebody may be coming or going; that any value but 0 in record 12 is water.
Derived, not sent: dew point and absolute humidity, by the Magnus formula over water (-45 to 60 °C), where temperature
and humidity come in one message.
"""

import math

OCCUPANCY = {0: "free", 1: "pending", 2: "occupied"}
SETTINGS = 0x3E
BYTES = 0x3B
G = 63  # counts of the accelerometer in standard gravity

UNITS = {
    "temperature": "°C",
    "humidity": "%",
    "acceleration_x": "g",
    "acceleration_y": "g",
    "acceleration_z": "g",
    "light": "lx",
    "motion_count": "count",
    "motion": "",
    "co2": "ppm",
    "battery_voltage": "V",
    "input_voltage": "V",
    "input_voltage_2": "V",
    "input_voltage_3": "V",
    "latitude": "°",
    "longitude": "°",
    "pulse_count": "count",
    "pulse_total": "count",
    "pulse_count_2": "count",
    "pulse_total_2": "count",
    "digital_input": "",
    "digital_input_2": "",
    "distance": "mm",
    "movement_count": "count",
    "infrared_sensor_temperature": "°C",
    "infrared_temperature": "°C",
    "occupancy": "",
    "leak": "",
    "pressure": "hPa",
    "sound_peak": "dB",
    "sound_level": "dB",
    "tvoc": "ppb",
    "air_quality_index": "count",
    "setpoint_temperature": "°C",
    "external_humidity": "%",
    "dew_point": "°C",
    "absolute_humidity": "g/m3",
}


def unsigned(value):
    return int.from_bytes(value, "big")


def signed(value):
    return int.from_bytes(value, "big", signed=True)


def tenths(value):
    return int.from_bytes(value, "big", signed=True) / 10


def volts(value):
    return int.from_bytes(value, "big") / 1000


def on(value):
    return value != b"\0"


def one(name, read):
    """A record that is one value."""

    def put(value, data):
        data[name] = read(value)

    return put


def acceleration(value, data):
    for axis, count in zip("xyz", value, strict=True):
        data[f"acceleration_{axis}"] = round((count - 256 if count > 127 else count) / G, 3)


def motion(value, data):
    data["motion_count"] = value[0]
    data["motion"] = value[0] > 0


def position(value, data):
    data["latitude"] = int.from_bytes(value[:3], "little", signed=True) / 10000
    data["longitude"] = int.from_bytes(value[3:], "little", signed=True) / 10000


def infrared(value, data):
    data["infrared_sensor_temperature"] = tenths(value[:2])
    data["infrared_temperature"] = tenths(value[2:])


def occupancy(value, data):
    data["occupancy"] = OCCUPANCY.get(value[0], value[0])


def water(value, data):
    data["leak_level"] = value[0]
    data["leak"] = value[0] > 0


def grid(value, data):
    data["grid_temperature"] = [round(value[0] + tenth / 10, 1) for tenth in value[1:]]


def sound(value, data):
    data["sound_peak"], data["sound_level"] = value


def external_temperature(value, data):
    """The second probe input may hold several probes in a chain, one record each."""
    number = 2
    while f"external_temperature_{number}" in data:
        number += 1
    data[f"external_temperature_{number}"] = tenths(value)


RECORDS = {
    0x01: (2, one("temperature", tenths)),
    0x02: (1, one("humidity", unsigned)),
    0x03: (3, acceleration),
    0x04: (2, one("light", unsigned)),
    0x05: (1, motion),
    0x06: (2, one("co2", unsigned)),
    0x07: (2, one("battery_voltage", volts)),
    0x08: (2, one("input_voltage", volts)),
    0x09: (6, position),
    0x0A: (2, one("pulse_count", unsigned)),
    0x0B: (4, one("pulse_total", unsigned)),
    0x0C: (2, one("external_temperature", tenths)),
    0x0D: (1, one("digital_input", on)),
    0x0E: (2, one("distance", unsigned)),
    0x0F: (1, one("movement_count", unsigned)),
    0x10: (4, infrared),
    0x11: (1, occupancy),
    0x12: (1, water),
    0x13: (65, grid),
    0x14: (4, one("pressure", lambda value: signed(value) / 1000)),
    0x15: (2, sound),
    0x16: (2, one("pulse_count_2", unsigned)),
    0x17: (4, one("pulse_total_2", unsigned)),
    0x18: (2, one("input_voltage_2", volts)),
    0x19: (2, external_temperature),
    0x1A: (1, one("digital_input_2", on)),
    0x1B: (4, one("input_voltage_3", lambda value: signed(value) / 1_000_000)),
    0x1C: (2, one("tvoc", unsigned)),
    0x1D: (1, one("air_quality_index", unsigned)),
    0x1E: (1, one("generic_flag", on)),
    0x1F: (1, one("generic_number", signed)),
    0x20: (2, one("generic_number", signed)),
    0x21: (1, one("display_view", unsigned)),
    0x22: (2, one("setpoint_temperature", tenths)),
    0x23: (1, one("fan_speed", unsigned)),
    0x24: (1, one("external_humidity", unsigned)),
    0x3C: (4, one("crc", bytes.hex)),
    0x3D: (4, one("debug", bytes.hex)),
}
SEVERAL = {0x19}  # records that may come more than once


def decode(payload, port, variables):
    if not payload:
        return {"data": {}, "errors": ["the payload is empty"]}
    if payload[0] == SETTINGS:
        return {"data": {"message": "settings", "settings_bytes": len(payload) - 1}}
    data, warnings, error = read_records(payload)
    if error:
        return {"data": data, "warnings": warnings, "errors": [error]}
    derive(data)
    return {"data": data, "warnings": warnings, "measurements": measurements(data, warnings)}


def read_records(payload):
    """What the records say, as far as they can be read, and the error that ended it."""
    data, warnings, seen = {}, [], set()
    at, end = 0, len(payload)
    while at < end:
        kind = payload[at]
        if kind == BYTES:  # the only one that tells its length
            size, put = 1 + sum(payload[at + 1 : at + 2]), one("bytes", lambda value: value[1:].hex())
        elif kind in RECORDS:
            size, put = RECORDS[kind]
        else:
            return data, warnings, f"offset {at}: record type 0x{kind:02x} is not known, nothing from there can be read"
        value = payload[at + 1 : at + 1 + size]
        if len(value) < size:
            return data, warnings, f"offset {at}: record 0x{kind:02x} needs {size} bytes, {len(value)} are left"
        if kind in seen and kind not in SEVERAL:
            warnings.append(f"offset {at}: record 0x{kind:02x} comes again, the last one counts")
        seen.add(kind)
        put(value, data)
        at += 1 + size
    return data, warnings, None


def derive(data):
    """Dew point and absolute humidity; WMO's Magnus coefficients over water."""
    temperature, humidity = data.get("temperature"), data.get("humidity")
    if temperature is None or not humidity or humidity > 100 or not -45 <= temperature <= 60:
        return
    exponent = 17.62 * temperature / (243.12 + temperature)
    gamma = math.log(humidity / 100) + exponent
    data["dew_point"] = round(243.12 * gamma / (17.62 - gamma), 1)
    vapour = humidity / 100 * 6.112 * math.exp(exponent)  # hPa
    data["absolute_humidity"] = round(216.7 * vapour / (273.15 + temperature), 1)


def measurements(data, warnings):
    found = []
    for name, value in data.items():
        unit = "°C" if name.startswith("external_temperature") else UNITS.get(name)
        if name == "occupancy" and type(value) is int:
            warnings.append(f"occupancy {value} is not known")
        elif unit is not None:
            found.append({"quantity": name, "value": value, "unit": unit})
    return found
