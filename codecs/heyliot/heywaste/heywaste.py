"""Heyliot Heywaste (community edition): time-of-flight fill level sensor.

Source: the maker's help desk article "Décodage des payloads - Community Edition" with a sample decoder. The public text
breaks off in the line that reads the distance.

Confirmed by the article: the payload is read as a text of hex characters. Character 0 is the message type (1 and 3
periodic measure, 2 manual measure, 0 first uplink, 4 daily configuration; the last two are not described), character 1
the number of the measure, character 2 the range status; behind them the distance in millimetres. The fill level runs
from 0 % at maxMeasure (default 3000 mm) to 100 % at minMeasure (default 0 mm).

Inferred, to be confirmed with a device: that the distance begins at character 3, has at most 5 characters and is
hexadecimal (all three are variables); the meaning of the range status (ST's VL53L1X driver, whose word "range status"
is); the clamp to 0..100 % and the rounding. An older generation of the maker sent four decimal digits a distance.
"""

PERIODIC, MANUAL = "periodic", "manual"
TYPES = {"1": PERIODIC, "3": PERIODIC, "2": MANUAL}
NOT_DESCRIBED = {"0": "first uplink", "4": "configuration"}

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
RANGE_STATUS = {
    0: (GOOD, "valid"),
    1: (DOUBTFUL, "noisy (sigma)"),
    2: (DOUBTFUL, "weak signal"),
    3: (DOUBTFUL, "target nearer than the minimum"),
    4: (BAD, "phase out of bounds"),
    5: (BAD, "hardware failure"),
    6: (GOOD, "valid, wrap-around not checked"),
    7: (BAD, "wrapped target, the real distance is out of range"),
    8: (BAD, "processing failure"),
    9: (BAD, "crosstalk"),
    14: (BAD, "negative range"),
}
HARDWARE_FAILURE = 5

FARTHEST_MM = 4000  # VL53L1X data sheet: up to 4 m


def decode(payload, port, variables):
    raw = payload.hex()
    data = {"raw": raw}
    if not raw:
        return {"data": data, "errors": ["the payload is empty"]}
    kind = raw[0]
    if kind in NOT_DESCRIBED:
        data["type"] = NOT_DESCRIBED[kind]
        return {"data": data}
    if kind not in TYPES:
        return {"data": data, "errors": [f"character 0: message type {kind} is not known"]}
    data["type"] = TYPES[kind]
    settings, errors = read_settings(variables)
    if errors:
        return {"data": data, "errors": errors}
    return read_measure(raw, data, settings)


def read_settings(variables):
    """The variables as numbers, and what is wrong with them."""
    settings, errors = {}, []
    for name in ("max_measure_mm", "min_measure_mm", "distance_start", "distance_length", "distance_radix"):
        text = variables.get(name, "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            settings[name] = int(text)
        else:
            errors.append(f"variable {name} is {text!r}, a whole number is needed")
    if errors:
        return settings, errors
    if settings["distance_radix"] not in (10, 16):
        errors.append(f"variable distance_radix is {settings['distance_radix']}, 10 or 16 is needed")
    if settings["distance_length"] < 1:
        errors.append("variable distance_length is 0, at least 1 is needed")
    if settings["max_measure_mm"] <= settings["min_measure_mm"]:
        errors.append("variable max_measure_mm has to be greater than min_measure_mm")
    return settings, errors


def read_measure(raw, data, settings):
    warnings = []
    start = settings["distance_start"]
    end = start + settings["distance_length"]
    digits = raw[start:end]
    if len(raw) < 3 or not digits:
        return {"data": data, "errors": [f"character {len(raw)}: the payload ends before the distance"]}
    if raw[1].isdigit():
        data["measure_number"] = int(raw[1])
    else:
        warnings.append(f"character 1: measure number {raw[1]} is no decimal digit")
    code = int(raw[2], 16)
    verdict, meaning = RANGE_STATUS.get(code, (BAD, "not known"))
    data["range_status"] = code
    data["range_status_text"] = meaning
    sensor_error = {"quantity": "sensor_error", "value": code == HARDWARE_FAILURE}
    if verdict == BAD:
        errors = [f"character 2: range status {code}: {meaning}"]
        alarm = [sensor_error] if code == HARDWARE_FAILURE else []
        return {"data": data, "warnings": warnings, "errors": errors, "measurements": alarm}
    if verdict == DOUBTFUL:
        warnings.append(f"range status {code}: {meaning}")
    if settings["distance_radix"] == 10 and not digits.isdigit():
        message = f"character {start}: the distance {digits} holds letters, but distance_radix is 10"
        return {"data": data, "warnings": warnings, "errors": [message]}
    if raw[end:]:
        warnings.append(f"character {end}: {raw[end:]} behind the distance is not read")
    distance = int(digits, settings["distance_radix"])
    fill = fill_level(distance, settings["max_measure_mm"], settings["min_measure_mm"])
    data["distance_mm"] = distance
    data["fill_level"] = fill
    if distance > FARTHEST_MM:
        warnings.append(f"distance {distance} mm is beyond the sensor's {FARTHEST_MM} mm: check distance_radix")
    elif distance > settings["max_measure_mm"]:
        warnings.append(f"distance {distance} mm is beyond max_measure_mm {settings['max_measure_mm']}")
    measurements = [
        {"quantity": "fill_level", "value": fill, "unit": "%"},
        {"quantity": "distance", "value": distance, "unit": "mm"},
        sensor_error,
    ]
    return {"data": data, "warnings": warnings, "measurements": measurements}


def fill_level(distance, empty, full):
    share = (empty - distance) / (empty - full)
    return round(100 * min(max(share, 0.0), 1.0), 1)
