"""B METERS IWM-LR3, IWM-LR4: LoRaWAN modules on mechanical water meters. Port 1.

Source: the maker's manual "IWM-LR3 - IWM-LR4 User Manual v1.0" (payload on pages 8 and 9, commands on 11 to 21).

13 bytes, 15 with a temperature: application code 44 (hex), the absolute counter and the reverse counter as 8 decimal
digits each, two a byte, lowest first; index K of the meter (0 one litre, 1 ten, 2 hundred); medium; unit of the counter
as an M-Bus VIF; alarm bits; temperature. The absolute counter is the difference of forward and reverse, and its unit
grows when 99 999 999 is passed; the reverse counter is always in litres.

That the counters are decimal digits is said by the manual's limit of 99 999 999, by two independent implementations
(Jeedom's LoRa plugin and a fork of the catalogue's script), and by the example of The Things Network's device
repository (vendor/b-meters/iwmlr3-codec.yaml), whose answer 12074 and 134 is what its digits say: its bytes were copied
as decimal numbers. The script beside that example takes them for binary, 2C for the code and the alarms for one number.

Inferred: the sign of the temperature. Others read a sign bit and 15 bits; two's complement would also be usual. What
only one of them can mean is read so (a water meter has no -3 000 °C). Answers to commands are passed on in `data`.
"""

READING = 0x44
SIZES = (13, 15)
UNITS_L = {0x13: 1, 0x14: 10, 0x15: 100, 0x16: 1000}
MEDIA = {0: "water", 1: "hot water"}
ALARMS = ("magnetic", "removal", "sensor_fraud", "leakage", "reverse_flow", "low_battery")
ANSWERS = {0x07: "firmware version", 0x0A: "restart", 0x14: "date set", 0x15: "date", 0x16: "counters set",
           0x17: "counters", 0x1A: "meter set", 0x1B: "meter", 0x26: "alarm settings set", 0x27: "alarm settings",
           0x28: "alarm data", 0x29: "alarm data set"}  # fmt: skip
PORT = 1


def decode(payload, port, variables):
    if port != PORT:
        return failed(payload, f"port {port} is not known, {PORT} is")
    if not payload:
        return failed(payload, "the payload is empty")
    if payload[0] in ANSWERS:
        return answer(payload)
    if payload[0] != READING:
        return failed(payload, f"offset 0: application code 0x{payload[0]:02x} is not known, 0x44 is a reading")
    if len(payload) not in SIZES:
        return failed(payload, f"offset {min(len(payload), max(SIZES))}: a reading has 13 or 15 bytes")
    absolute, reverse = digits(payload[1:5]), digits(payload[5:9])
    if absolute is None or reverse is None:
        at = 1 if absolute is None else 5
        return failed(payload, f"offset {at}: the counter {payload[at : at + 4].hex()} is no decimal number")
    if payload[11] not in UNITS_L:
        return failed(payload, f"offset 11: unit 0x{payload[11]:02x} is not known")
    return reading(payload, absolute * UNITS_L[payload[11]] / 1000, reverse / 1000)


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def digits(value):
    """Eight decimal digits, the lowest two first; None where one is none."""
    text = value[::-1].hex()
    return int(text) if text.isdecimal() else None


def reading(payload, volume, reverse):
    alarms = [name for bit, name in enumerate(ALARMS) if payload[12] >> bit & 1]
    data = {
        "volume": volume,
        "reverse_volume": reverse,
        "index_k": payload[9],
        "medium": MEDIA.get(payload[10], payload[10]),
        "unit": f"{payload[11]:02x}",
        "alarms": alarms,
    }
    warnings = []
    if payload[12] >> len(ALARMS):
        warnings.append(f"offset 12: alarm bits 0x{payload[12] & 0xC0:02x} are not known")
    if payload[11] < 0x13 + payload[9]:
        warnings.append(f"offset 11: the unit is smaller than index K {payload[9]} allows")
    found = [
        {"quantity": "volume", "value": volume, "unit": "m3"},
        {"quantity": "reverse_volume", "value": reverse, "unit": "m3"},
    ]
    flags = {
        "tamper": any(name in alarms for name in ("magnetic", "removal", "sensor_fraud")),
        "leak": "leakage" in alarms,
        "backflow": "reverse_flow" in alarms,
        "low_battery": "low_battery" in alarms,
    }
    found += [{"quantity": name, "value": value, "unit": ""} for name, value in flags.items()]
    if len(payload) == max(SIZES):
        temperature(payload[13:15], data, found, warnings)
    return {"data": data, "warnings": warnings, "measurements": found}


def temperature(value, data, found, warnings):
    raw = int.from_bytes(value, "big")
    magnitude, complement = raw & 0x7FFF, 0x10000 - raw
    if raw < 0x8000:
        celsius = raw / 10
    elif magnitude < 1000:
        celsius = -magnitude / 10
    elif complement < 1000:
        celsius = -complement / 10
    else:
        warnings.append(f"offset 13: {value.hex()} is no temperature")
        return
    data["temperature"] = celsius
    found.append({"quantity": "ambient_temperature", "value": celsius, "unit": "°C"})


def answer(payload):
    """Function, command or answer, error, chain, length, and what belongs to the function."""
    if len(payload) < 5 or len(payload) != 5 + payload[4]:
        return failed(payload, f"offset {min(len(payload), 4)}: an answer has 5 bytes and as many as byte 4 says")
    data = {"answer": ANSWERS[payload[0]], "error": payload[2], "content": payload[5:].hex()}
    if payload[0] == 0x07 and len(payload) == 9:
        data["firmware"] = int.from_bytes(payload[6:9], "big")
    return {"data": data}


READS = {
    "firmware": "0700000000",
    "counters": "170000000104",
    "meter": "1b0000000104",
    "alarm_settings": "270000000104",
}
K_BITS = {1: 0, 10: 1, 100: 2}


def encode(command):
    """{"reboot": true}, {"clear_alarms": true}, {"read": "counters"}, or what the meter shows, counted in its own
    steps: {"set_counter": 864} with {"litres_per_step": 1, 10 or 100} (without it 1)."""
    if command == {"reboot": True}:
        return {"bytes": bytes.fromhex("0a0000000104"), "f_port": PORT}
    if command == {"clear_alarms": True}:
        return {"bytes": bytes.fromhex("29000000050400000000"), "f_port": PORT}
    if type(command) is dict and len(command) == 1 and type(command.get("read")) is str and command["read"] in READS:
        return {"bytes": bytes.fromhex(READS[command["read"]]), "f_port": PORT}
    if type(command) is dict and "set_counter" in command and command.keys() <= {"set_counter", "litres_per_step"}:
        value, step = command["set_counter"], command.get("litres_per_step", 1)
        if type(value) is int and 0 <= value <= 99_999_999 and type(step) is int and step in K_BITS:
            counter = (K_BITS[step] << 30 | value).to_bytes(4, "big")
            return {"bytes": bytes.fromhex("160000000604") + counter + b"\0", "f_port": PORT}
    return {"errors": [f"known are reboot and clear_alarms: true, read: one of {', '.join(READS)}, and set_counter"]}
