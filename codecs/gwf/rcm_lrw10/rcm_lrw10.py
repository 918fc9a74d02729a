"""GWF RCM-LRW10: LoRaWAN module on meters with a GWFcoder register. Least significant byte first.

Source: no paper of the maker is public; two independent decoders are (akenza's device-type-library, types/GWF/GWFcoder,
with a test, and the RCM-LRW10 plugin of Thinger.io).

Byte 0 protocol (2: without due date; 1, "standard", would have one and is not described); 1-2 manufacturer; 3-6 meter
number as decimal digits; 7 medium; 8 status; 9-10 age of the reading; 11 unit of the volume as an M-Bus VIF; 12-15
volume; 16 flags; 17 battery life and link; in some messages two bytes of check sum, whose rule is not described.

Confirmed by akenza's test: everything up to the volume. The two number the bits of bytes 8 and 16 from opposite ends;
those of EN 13757-3 (low battery 04) fit Thinger.io's way, which is taken for both. Its flags: 02 continuous flow, 08
burst, 20 low battery, 40 backflow, 80 no usage. Inferred: that a continuous flow is a leak. Byte 17 is read in three
ways (8, 23 or 29 half-years for the same E8) and passed on as hex; the unit of the age is not known. Ask the maker for
the payload description of the RCM-LRW10.
"""

SIZES = (18, 20)
NO_DUE_DATE = 2
UNIT_EXPONENTS = {0x10 + n: n - 6 for n in range(8)}  # m3
MEDIA = {3: "gas", 6: "warm water", 7: "water"}
LOW_BATTERY, PERMANENT, TEMPORARY = 0x04, 0x08, 0x10
FLAGS = {"leak": 0x02, "burst": 0x08, "backflow": 0x40, "no_consumption": 0x80}
FLAG_LOW_BATTERY, UNKNOWN_FLAGS = 0x20, 0x15


def decode(payload, port, variables):
    error = framing_error(payload)
    if error:
        return {"data": {"raw": payload.hex()}, "errors": [error]}
    status, flags, exponent = payload[8], payload[16], UNIT_EXPONENTS[payload[11]]
    raw = int.from_bytes(payload[12:16], "little")
    data = {
        "manufacturer": letters(int.from_bytes(payload[1:3], "little")),
        "meter": payload[6:2:-1].hex(),
        "medium": MEDIA.get(payload[7], payload[7]),
        "status": status,
        "age": int.from_bytes(payload[9:11], "little"),
        "volume": raw * 10**exponent if exponent >= 0 else raw / 10**-exponent,
        "flags": flags,
        "battery_and_link": f"{payload[17]:02x}",
    }
    if len(payload) == max(SIZES):
        data["check_sum"] = payload[18:].hex()
    warnings = [f"offset 16: flags 0x{flags & UNKNOWN_FLAGS:02x} are not known"] if flags & UNKNOWN_FLAGS else []
    low = bool(status & LOW_BATTERY or flags & FLAG_LOW_BATTERY)
    alarms = {
        "low_battery": low,
        "permanent_error": bool(status & PERMANENT),
        "temporary_error": bool(status & TEMPORARY),
        **{name: bool(flags & bit) for name, bit in FLAGS.items()},
    }
    found = [{"quantity": "volume", "value": data["volume"], "unit": "m3"}]
    found += [{"quantity": name, "value": value, "unit": ""} for name, value in alarms.items()]
    return {"data": data, "warnings": warnings, "measurements": found}


def framing_error(payload):
    if len(payload) not in SIZES:
        return f"offset {min(len(payload), max(SIZES))}: a message has 18 or 20 bytes, not {len(payload)}"
    if payload[0] != NO_DUE_DATE:
        return f"offset 0: protocol {payload[0]} is not described, 2 is"
    if not payload[3:7].hex().isdecimal():
        return f"offset 3: meter number {payload[3:7].hex()} is no decimal number"
    if payload[11] not in UNIT_EXPONENTS:
        return f"offset 11: unit 0x{payload[11]:02x} is no volume"
    return None


def letters(code):
    return "".join(chr(64 + (code >> shift & 31)) for shift in (10, 5, 0))
