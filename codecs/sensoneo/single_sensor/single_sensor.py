"""Sensoneo Single Sensor 3.0: ultrasonic fill level sensor. 17 bytes on any port (the manual names none).

Source: the maker's payload description for LoRa and NB-IoT. No implementation and no captured message of others is
public, so that nothing is confirmed by a message.

FF FF; device (high half 2: single sensor) and role (low half); firmware; the sensor's number u32, least significant
byte first; events; four echoes in steps of 2 cm; battery (2500 mV + 10 mV a step); temperature; tilt; count of events.

Inferred: that the temperature is signed; that an echo of 0 is none; that the first echo is the surface of the waste,
which is the distance told here (the others are in `data`). The event bits from 08 on are not described. Ask the maker
(support@sensoneo.com) for the payload description of your firmware and for a message with its values.
"""

SIZE = 17
ROLES = {0: "master", 1: "slave", 2: "standalone"}
MEASURED, FIRE, TILT = 0x01, 0x02, 0x04
STEP_MM = 20


def decode(payload, port, variables):
    settings, error = read_variables(variables)
    error = error or framing_error(payload)
    if error:
        return {"data": {"raw": payload.hex()}, "errors": [error]}
    events, temperature = payload[8], payload[14]
    data = {
        "role": ROLES.get(payload[2] & 0x0F, payload[2] & 0x0F),
        "firmware": payload[3],
        "sensor_id": f"{int.from_bytes(payload[4:8], 'little'):08x}",
        "events": events,
        "echoes_mm": [STEP_MM * step for step in payload[9:13]],
        "battery_voltage": (2500 + 10 * payload[13]) / 1000,
        "temperature": temperature - 256 if temperature > 127 else temperature,
        "tilt": payload[15],
        "event_count": payload[16],
    }
    warnings = [f"offset 8: events 0x{events & 0xF8:02x} are not described"] if events & 0xF8 else []
    found = distances(data, settings, warnings) if events & MEASURED else []
    found += [
        {"quantity": "battery_voltage", "value": data["battery_voltage"], "unit": "V"},
        {"quantity": "temperature", "value": data["temperature"], "unit": "°C"},
        {"quantity": "fire", "value": bool(events & FIRE), "unit": ""},
        {"quantity": "tilt", "value": bool(events & TILT), "unit": ""},
    ]
    return {"data": data, "warnings": warnings, "measurements": found}


def framing_error(payload):
    if len(payload) != SIZE:
        return f"offset {min(len(payload), SIZE)}: a message has {SIZE} bytes, not {len(payload)}"
    if payload[:2] != b"\xff\xff":
        return "offset 0: a message begins with ff ff"
    if payload[2] >> 4 != 2:
        return f"offset 2: device type {payload[2] >> 4} is not described, 2 is (single sensor)"
    return None


def read_variables(variables):
    found = {}
    for name, default in (("max_measure_mm", ""), ("min_measure_mm", "0")):
        text = variables.get(name, default).strip()
        if text and not (text.isascii() and text.isdigit() and len(text) < 7):
            return found, f"variable {name} is {text!r}, a whole number is needed"
        found[name] = int(text) if text else None
    if found["max_measure_mm"] is not None and found["max_measure_mm"] <= (found["min_measure_mm"] or 0):
        return found, "variable max_measure_mm has to be greater than min_measure_mm"
    return found, None


def distances(data, settings, warnings):
    distance = data["echoes_mm"][0]
    if distance == 0:
        warnings.append("offset 9: no echo")
        return []
    data["distance"] = distance
    found = [{"quantity": "distance", "value": distance, "unit": "mm"}]
    if settings["max_measure_mm"] is not None:
        empty, full = settings["max_measure_mm"], settings["min_measure_mm"] or 0
        data["fill_level"] = round(100 * min(max((empty - distance) / (empty - full), 0.0), 1.0), 1)
        found.append({"quantity": "fill_level", "value": data["fill_level"], "unit": "%"})
    return found
