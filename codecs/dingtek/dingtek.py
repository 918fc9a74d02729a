"""Dingtek DF701, DF702, DF703 and DC410, DC413: ultrasonic level sensors. Most significant byte first, port 3.

Source: the codecs the maker publishes (The Things Network's device repository, vendor/dingtek/df702.js and dc410.js)
and their examples.

A message begins with 80, tells its length in byte 4 and ends with 81. 17 bytes: level, temperature, angle, alarms and a
counter; 25 bytes with a position (two little-endian reals) before them; type 3: the settings, as an answer.

Confirmed by the maker's examples: level, temperature, position, settings. Not confirmed by a message: alarms and angle,
which are 0 in all examples.
Inferred: that the low half of the byte before the angle is its sign (the published scripts mean to read it but always
negate); that the temperature is signed. DC410 has no fire alarm; its motion alarm is said as tilt.
"""

from struct import unpack

PORT = 3
SIZES = {17: 7, 25: 15}  # bytes of a reading: offset where its second part, behind the position, begins
SETTINGS = 3


def decode(payload, port, variables):
    settings, error = read_variables(variables)
    error = error or framing_error(payload, port)
    if error:
        return {"data": {"raw": payload.hex()}, "errors": [error]}
    if payload[3] == SETTINGS:
        return {"data": device_settings(payload, settings["model"])}
    return reading(payload, settings)


def read_variables(variables):
    found = {"model": variables.get("model", "")}
    if found["model"] not in ("df702", "dc410"):
        return found, f"variable model is {found['model']!r}, df702 or dc410 is needed"
    for name, default in (("max_measure_mm", ""), ("min_measure_mm", "0")):
        text = variables.get(name, default).strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 7):
            return found, f"variable {name} is {text!r}, a whole number is needed"
        found[name] = int(text) if text else None
    if found["max_measure_mm"] is not None and found["max_measure_mm"] <= (found["min_measure_mm"] or 0):
        return found, "variable max_measure_mm has to be greater than min_measure_mm"
    return found, None


def framing_error(payload, port):
    size = len(payload)
    if port != PORT:
        return f"port {port} is not known, {PORT} is"
    if size not in SIZES:
        return f"offset {min(size, max(SIZES))}: {size} bytes, a message has 17 or 25"
    if payload[0] != 0x80 or payload[-1] != 0x81:
        at = 0 if payload[0] != 0x80 else size - 1
        return f"offset {at}: a message begins with 80 and ends with 81"
    if payload[4] != size:
        return f"offset 4: the message says it has {payload[4]} bytes, {size} came"
    if payload[3] == SETTINGS and size != max(SIZES):
        return f"offset {size - 1}: settings have {max(SIZES)} bytes"
    if payload[3] not in (1, 2, SETTINGS):
        return f"offset 3: message type {payload[3]} is not known"
    return None


def reading(payload, settings):
    at = SIZES[len(payload)]
    level = int.from_bytes(payload[5:7], "big")
    data, found, warnings = {"distance": level}, [measurement("distance", level, "mm")], []
    if settings["max_measure_mm"] is not None:
        empty, full = settings["max_measure_mm"], settings["min_measure_mm"] or 0
        data["fill_level"] = round(100 * min(max((empty - level) / (empty - full), 0.0), 1.0), 1)
        found.append(measurement("fill_level", data["fill_level"], "%"))
    if len(payload) == max(SIZES):
        position(payload[8:16], data, found, warnings)
    temperature, sign, angle = payload[at + 1], payload[at + 2] & 0x0F, payload[at + 3]
    data["temperature"] = temperature - 256 if temperature > 127 else temperature
    data["tilt_angle"] = -angle if sign else angle
    data["full"] = bool(payload[at + 4] >> 4)
    if settings["model"] == "df702":
        data["fire"] = bool(payload[at + 4] & 0x0F)
        found.append(measurement("fire", data["fire"]))
    data["tilt"] = bool(payload[at + 5] >> 4)
    data["low_battery"] = bool(payload[at + 5] & 0x0F)
    data["counter"] = int.from_bytes(payload[at + 6 : at + 8], "big")
    found += [
        measurement("temperature", data["temperature"], "°C"),
        measurement("tilt_angle", data["tilt_angle"], "°"),
        measurement("threshold_alarm", data["full"]),
        measurement("tilt", data["tilt"]),
        measurement("low_battery", data["low_battery"]),
    ]
    return {"data": data, "warnings": warnings, "measurements": found}


def position(value, data, found, warnings):
    longitude, latitude = unpack("<ff", value)
    if not (abs(longitude) <= 180 and abs(latitude) <= 90):
        warnings.append("offset 8: the position is none")
        return
    for name, degrees in (("longitude", longitude), ("latitude", latitude)):
        data[name] = round(degrees, 6)
        found.append(measurement(name, data[name], "°"))


def device_settings(payload, model):
    data = {
        "message": "settings",
        "report_interval_h": payload[7],
        "detection_interval_min": payload[8],
        "full_alarm_cm": payload[9],
        "tilt_alarm_degrees": payload[11],
        "tilt_alarm": bool(payload[12]),
        "range_m": 5 if payload[13] else 2,
    }
    return {**data, "fire_alarm_celsius": payload[10]} if model == "df702" else data


def measurement(quantity, value, unit=""):
    return {"quantity": quantity, "value": value, "unit": unit}


# name: option, least, most
NUMBERS = {
    "report_interval_h": (0x01, 1, 168),
    "detection_interval_min": (0x08, 1, 60),
    "full_alarm_cm": (0x02, 15, 255),
    "fire_alarm_celsius": (0x03, 0, 255),
    "tilt_alarm_degrees": (0x04, 15, 90),
}
CHOICES = {"tilt_alarm": {True: 0x0A, False: 0x09}, "range_m": {2: 0x07, 5: 0x13}}


def encode(command, variables):
    """One setting a message, written as text: 80029999, option, value, 81."""
    known = [name for name in (*NUMBERS, *CHOICES) if name != "fire_alarm_celsius" or variables.get("model") == "df702"]
    if type(command) is not dict or len(command) != 1 or not command.keys() <= set(known):
        return {"errors": [f"a command has one key, of {', '.join(known)}"]}
    ((name, value),) = command.items()
    if name in NUMBERS:
        option, least, most = NUMBERS[name]
        if type(value) is not int or not least <= value <= most:
            return {"errors": [f"{name} is {value!r}, a whole number from {least} to {most} is needed"]}
    else:
        kind = bool if name == "tilt_alarm" else int
        if type(value) is not kind or value not in CHOICES[name]:
            return {"errors": [f"{name} is {value!r}, one of {', '.join(map(str, CHOICES[name]))} is needed"]}
        option, value = 0x09, CHOICES[name][value]
    return {"bytes": f"80029999{option:02X}{value:02X}81".encode(), "f_port": PORT}
