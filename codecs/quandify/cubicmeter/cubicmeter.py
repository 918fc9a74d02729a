"""Quandify CubicMeter 1.1: ultrasonic water meter clamped onto a pipe. Least significant byte first.

Source: the codec the maker publishes (The Things Network's device repository, vendor/quandify; akenza's
device-type-library, types/quandify, with tests).

Port 1, 28 bytes: error flags (the top bit: no water is sensed), all water ever used in litres, leak state, battery
under load and at rest, lowest and highest water temperature, temperature around. Port 6: answers, which may hold the
same.

Confirmed by the tests: all fields above. Not described: bytes 0 to 3 and 10 to 21. Leak states 3 and 4 are a medium and
a large leak; the small ones of the maker's platform are not told over the air. Older versions send an alarm at once on
port 2, in the same form. Inferred: that no sensed water is an empty pipe; which period the lowest and highest
temperature are of (since the last report).
"""

REPORT = 28
NOT_SENSING = 0x8000
REVERSE = 384
NOT_SENSING_ERRORS = (419, 421)
LEAKS = (3, 4)
LOW_BATTERY_MV = 3100
STATUSES = {0: "ok", 1: "command error", 2: "payload error", 3: "value error"}
TYPES = {0: "none", 1: "status", 2: "hardware", 4: "settings"}
STATES = {3: "ready", 4: "pipe selection", 5: "metering"}


def decode(payload, port, variables):
    if port in (1, 2):
        return report(payload, 0)
    if port == 6:
        return answer(payload)
    return failed(payload, f"port {port} is not known: 1 and 2 reports, 6 answers")


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def celsius(byte):
    return byte / 2 - 20


def millivolts(byte):
    return 1800 + 8 * byte


def report(payload, begin):
    body = payload[begin:]
    if len(body) != REPORT:
        at = begin + min(len(body), REPORT)
        return failed(payload, f"offset {at}: a report has {REPORT} bytes, not {len(body)}")
    flags = int.from_bytes(body[4:6], "little")
    error, state, rest = flags & 0x7FFF, body[22], millivolts(body[24])
    data = {
        "error": error,
        "volume": int.from_bytes(body[6:10], "little") / 1000,
        "leak_state": state,
        "battery_active_mv": millivolts(body[23]),
        "battery_recovered_mv": rest,
        "minimum_water_temperature": celsius(body[25]),
        "maximum_water_temperature": celsius(body[26]),
        "ambient_temperature": celsius(body[27]),
    }
    warnings = []
    if error not in (0, REVERSE, *NOT_SENSING_ERRORS):
        warnings.append(f"error {error}: contact the maker")
    values = [("volume", "m3")]
    values += [(name, "°C") for name in data if name.endswith("temperature")]
    found = [{"quantity": name, "value": data[name], "unit": unit} for name, unit in values]
    found.append({"quantity": "battery_voltage", "value": rest / 1000, "unit": "V"})
    alarms = {
        "empty_pipe": bool(flags & NOT_SENSING) or error in NOT_SENSING_ERRORS,
        "backflow": error == REVERSE,
        "low_battery": rest <= LOW_BATTERY_MV,
    }
    if state > max(LEAKS):
        warnings.append(f"offset {begin + 22}: leak state {state} is not known")
    else:
        alarms["leak"] = state in LEAKS
    found += [{"quantity": name, "value": value, "unit": ""} for name, value in alarms.items()]
    return {"data": data, "warnings": warnings, "measurements": found}


def answer(payload):
    if len(payload) < 3:
        return failed(payload, f"offset {len(payload)}: an answer has at least 3 bytes")
    command, status, kind = payload[:3]
    if status not in STATUSES:
        return failed(payload, f"offset 1: status {status} is not known")
    if kind not in TYPES:
        return failed(payload, f"offset 2: answer type {kind} is not known")
    told = {"answer_to": command, "status": STATUSES[status], "type": TYPES[kind]}
    if kind == 1:
        result = report(payload, 3)
        return {**result, "data": {**told, **result["data"]}}
    sizes = {2: 35, 4: 38}
    body = payload[3:]
    if kind in sizes and len(body) != sizes[kind]:
        return failed(payload, f"offset {3 + min(len(body), sizes[kind])}: such an answer has {3 + sizes[kind]} bytes")
    if kind == 2:
        version = int.from_bytes(body[:4], "little")
        told["firmware"] = f"{version >> 24}.{version >> 16 & 0xFF}.{version & 0xFFFF}"
        told.update(hardware=body[4], state=STATES.get(body[5], body[5]), pipe=body[28])
    elif kind == 4:
        told["report_interval_s"] = int.from_bytes(body[5:9], "little")
    return {"data": told}
