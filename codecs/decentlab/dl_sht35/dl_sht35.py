"""Decentlab DL-SHT35: temperature and humidity under a radiation shield. Most significant byte first.

Source: the decoder the maker publishes (The Things Network's device repository, vendor/decentlab/dl-sht35.js) and its
examples; the downlinks from the maker's codecs for ChirpStack (vendors/decentlab), which are the same for the family.

A protocol version, the device's number, flags, and for each flag from bit 0 a block of words: bit 0 temperature and
humidity as the sensor's own counts, bit 1 battery in mV.

Confirmed by the maker's examples: everything. Inferred: nothing.
"""

VERSION = 2
HEAD = 5
PORT = 1


def decode(payload, port, variables):
    if len(payload) < HEAD:
        return failed(payload, f"offset {len(payload)}: the head has {HEAD} bytes")
    if payload[0] != VERSION:
        return failed(payload, f"offset 0: protocol version {payload[0]} is not known, only {VERSION} is")
    flags = int.from_bytes(payload[3:5], "big")
    if flags & ~3:
        return failed(payload, f"offset 3: flags {flags:04x} name blocks that this device has not")
    size = HEAD + (4 if flags & 1 else 0) + (2 if flags & 2 else 0)
    if len(payload) != size:
        return failed(payload, f"offset {min(len(payload), size)}: flags {flags:04x} make {size} bytes in all")
    data, found = {"device_id": int.from_bytes(payload[1:3], "big")}, []
    if flags & 1:
        temperature, humidity = (int.from_bytes(payload[at : at + 2], "big") for at in (5, 7))
        data["temperature"] = round(175 * temperature / 65535 - 45, 3)
        data["humidity"] = round(100 * humidity / 65535, 3)
        found.append({"quantity": "temperature", "value": data["temperature"], "unit": "°C"})
        found.append({"quantity": "humidity", "value": data["humidity"], "unit": "%"})
    if flags & 2:
        data["battery_voltage"] = int.from_bytes(payload[-2:], "big") / 1000
        found.append({"quantity": "battery_voltage", "value": data["battery_voltage"], "unit": "V"})
    return {"data": data, "measurements": found}


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


# name: command (settings are saved), least, most
COMMANDS = {"sampling_period_s": (2, 1, 65535), "send_period": (0x12, 0, 65535), "join_period_h": (0x14, 0, 1000)}


def encode(command):
    """{"sampling_period_s": 600}, {"send_period": 4} (each fourth sampling) or {"join_period_h": 24}; each is saved."""
    if type(command) is not dict or len(command) != 1 or not command.keys() <= COMMANDS.keys():
        return {"errors": [f"a command has one key, of {', '.join(COMMANDS)}"]}
    ((name, value),) = command.items()
    code, least, most = COMMANDS[name]
    if type(value) is not int or not least <= value <= most:
        return {"errors": [f"{name} is {value!r}, a whole number from {least} to {most} is needed"]}
    message = code.to_bytes(2, "big") + value.to_bytes(2, "big")
    return {"bytes": message + crc16(message).to_bytes(2, "big"), "f_port": PORT}


def crc16(message):
    """The check sum of Modbus."""
    check = 0xFFFF
    for byte in message:
        check ^= byte
        for _ in range(8):
            check = check >> 1 ^ (0xA001 if check & 1 else 0)
    return check
