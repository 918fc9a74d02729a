"""Terabee LoRa Level Monitoring XL: time-of-flight level sensor. 6 bytes, most significant byte first.

Source: the codec the maker publishes (The Things Network's device repository, vendor/terabee/lora-lm-xl.js) with its
examples, and the maker's manual for the range of the distance. The fill level is the device's own: the container is
taught to it.

Confirmed by the maker's examples: distance, level, battery. Not confirmed by a message: the marks for no distance and
the bits of the error byte. The published decoder gives no values when a bit of the error byte is set; here they are
kept, with a warning, but for a distance or battery that the error is about.
"""

SIZE = 6
NO_DISTANCE = {0: "the target is too close", 1: "the reading is invalid", 0xFFFF: "the target is too far"}
NO_LEVEL = 255
RESET, RADIO, BATTERY, SENSOR = 1, 2, 4, 8
ERRORS = {
    RESET: "the device was reset after an error",
    RADIO: "the radio did not go to sleep",
    BATTERY: "the battery could not be read",
    SENSOR: "the distance sensor did not answer",
}


def decode(payload, port, variables):
    if len(payload) != SIZE:
        error = f"offset {min(len(payload), SIZE)}: a reading has {SIZE} bytes, not {len(payload)}"
        return {"data": {"raw": payload.hex()}, "errors": [error]}
    distance, level, flags = int.from_bytes(payload[:2], "big"), payload[2], payload[5]
    data, warnings, found = {"distance": distance, "level": level, "errors": flags}, [], []
    warnings += [text for bit, text in ERRORS.items() if flags & bit]
    if flags & 0xF0:
        warnings.append(f"offset 5: error bits 0x{flags & 0xF0:02x} are not known")
    if distance in NO_DISTANCE:
        warnings.append(NO_DISTANCE[distance])
    elif not flags & SENSOR:
        found.append({"quantity": "distance", "value": distance, "unit": "mm"})
    if level == NO_LEVEL:
        warnings.append("no level")
    elif not flags & SENSOR:
        found.append({"quantity": "fill_level", "value": level, "unit": "%"})
    if not flags & BATTERY:
        data["battery_voltage"] = int.from_bytes(payload[3:5], "big") / 1000
        found.append({"quantity": "battery_voltage", "value": data["battery_voltage"], "unit": "V"})
    found.append({"quantity": "sensor_error", "value": bool(flags & SENSOR), "unit": ""})
    return {"data": data, "warnings": warnings, "measurements": found}
