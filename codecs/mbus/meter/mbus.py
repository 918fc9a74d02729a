"""M-Bus in the payload of a LoRaWAN message: EN 13757-3 records behind an EN 13757-7 header, encrypted or not.

One reader for all meters that speak it; the folders of Kamstrup, Sensus and Elvaco hold a link to this file and set its
variables. Sources:

- EN 13757-3:2018 and OMS specification volume 2, as others read them: wmbusmeters, libmbus, and the parser Kamstrup
  publishes (The Things Network's device repository, vendor/kamstrup/mbusparser.js), whose tables quote the standard.
- Kamstrup (flowIQ 2200, MULTICAL 21): the codes behind FF and the bits of the infocode, from that parser.
- Sensus iPERL: header, volume, time and hourly profile from the example of vendor/sensus/iperl-codec.yaml, the meaning
  of status and error flags from the script beside it (iperl-oms.js).
- Elvaco CMi41xx: no header, one byte of message format before the records; from the maker's manuals (CMi4110 v1.3,
  CMi4130 v1.1, CMi4160 02/2021) and the examples of vendor/elvaco/*.yaml.
- AES-128: FIPS 197; mode 5 of OMS (CBC, initial value from address and access number) after OMS volume 2, annex N.

Confirmed by the examples beside this file: headers 72, 78 and 7A, mode 5, BCD and integers, types F and G, storage
numbers, inverse compact profiles. Not confirmed by a message: type I, real numbers, the codes of units that no example
has, the alarms of the iPERL but for its battery (a status of 90 is a leak or a burst, of 30 an empty pipe or a sensor
out of range: the first is told). Inferred: that the meter's clock keeps UTC unless `utc_offset_min` says otherwise.

Not read, and told so: encryption other than mode 5, units in plain text, profiles other than the inverse compact one,
profiles by months.
A record with an unknown unit is passed on as hex: its length is known. A value of an earlier time whose time the
message does not tell is in `data` only.
"""

from datetime import datetime, timezone
from struct import unpack

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
HEADERS = {0x78: 0, 0x7A: 4, 0x72: 12}  # bytes behind the control information byte
FILLER = 0x2F
BLOCK = 16
MOST_EXTENSIONS = 10  # EN 13757-3: of a DIF and of a VIF
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}
BCD_BYTES = {9: 1, 10: 2, 11: 3, 12: 4, 14: 6}
FUNCTIONS = ("instantaneous", "maximum", "minimum", "error")
AHEAD_S = 86400  # a log of the future is a wrong clock
MEDIA = {4: "heat", 6: "warm water", 7: "water", 12: "heat", 13: "heat and cooling", 21: "hot water", 22: "cold water"}

# first code, how many, power of ten at the first, divisor, name, unit
RANGES = (
    (0x00, 8, -6, 1, "energy", "kWh"),
    (0x08, 8, 0, 3_600_000, "energy", "kWh"),  # J
    (0x10, 8, -6, 1, "volume", "m3"),
    (0x18, 8, -3, 1, "mass", "kg"),
    (0x28, 8, -3, 1, "power", "W"),
    (0x30, 8, 0, 3600, "power", "W"),  # J/h
    (0x38, 8, -6, 1, "flow", "m3/h"),
    (0x40, 8, -7, 1 / 60, "flow", "m3/h"),  # m3/min
    (0x48, 8, -9, 1 / 3600, "flow", "m3/h"),  # m3/s
    (0x50, 8, -3, 1, "mass_flow", "kg/h"),
    (0x58, 4, -3, 1, "flow_temperature", "°C"),
    (0x5C, 4, -3, 1, "return_temperature", "°C"),
    (0x60, 4, -3, 1, "temperature_difference", "K"),
    (0x64, 4, -3, 1, "external_temperature", "°C"),
    (0x68, 4, -3, 1, "pressure", "bar"),
    (0x6E, 1, 0, 1, "heat_cost_units", ""),
)
LINEAR = {code + i: (low + i, by, name, unit) for code, many, low, by, name, unit in RANGES for i in range(many)}
DURATIONS = {0x20: "on_time", 0x24: "operating_time", 0x70: "averaging_duration", 0x74: "actuality_duration"}
DURATION_UNITS = ("s", "min", "h", "d")
EXTENDED = {  # behind FB and FD
    **{0xFB00 + i: (2 + i, 1, "energy", "kWh") for i in range(2)},
    **{0xFB08 + i: (8 + i, 3_600_000, "energy", "kWh") for i in range(2)},
    **{0xFB10 + i: (2 + i, 1, "volume", "m3") for i in range(2)},
    **{0xFB28 + i: (5 + i, 1, "power", "W") for i in range(2)},
    0xFB1A: (-1, 1, "humidity", "%"),
    0xFB1B: (0, 1, "humidity", "%"),
    0xFD3A: (0, 1, "number", ""),
    0xFD74: (0, 1, "battery_days", "d"),
}
NUMBERS = {  # taken as they are, unsigned
    0x78: "fabrication_number", 0xFD08: "access_number", 0xFD0C: "version", 0xFD0D: "hardware_version",
    0xFD0E: "firmware_version", 0xFD0F: "software_version", 0xFD17: "error_flags", 0xFD1B: "digital_input",
}  # fmt: skip
KAMSTRUP = {"25": "infocode", "1b": "acoustic_noise", "1c": "acoustic_noise", "16": "configuration_number"}
MAKERS = {"kamstrup": KAMSTRUP, "sensus": {}, "elvaco": {}, "": {}}  # codes behind FF
# Elvaco's message formats: those with records (standard, compact, scheduled, combined, clock) and those with JSON text
ELVACO_TEXT = {0x02, 0x07, 0x11, 0x17, 0x20}
ELVACO_RECORDS = {*range(0x23), 0x3B, 0x3C, 0xFA} - ELVACO_TEXT
ELVACO_PORT = 2
NO_NOISE = 0x0FFF  # Kamstrup's mark of an acoustic noise level that could not be measured
# Kamstrup's infocode, from its lowest bit; the temperature is that of the air around the meter
INFOCODE = ("empty_pipe", "backflow", "leak", "burst", "tamper", "low_battery", "low_temperature", "high_temperature")
MEASURED = {
    "volume": "m3", "reverse_volume": "m3", "flow": "m3/h", "water_temperature": "°C", "ambient_temperature": "°C",
    "energy": "kWh", "power": "W", "flow_temperature": "°C", "return_temperature": "°C", "acoustic_noise": "count",
}  # fmt: skip
EXTREMES = ("flow", "water_temperature", "ambient_temperature")


# iPERL: bits that have to be set together in the status; and in the error flags, whose bit 7 opens the second byte
SENSUS_STATUS = {"leak": 0x90, "tamper": 0x50, "empty_pipe": 0x30}
SENSUS_FLAGS = {"tamper": 0x41, "low_battery": 0x0A, "permanent_error": 0x10}
SENSUS_MORE_FLAGS = {"leak": 0x0400, "empty_pipe": 0x0800, "burst": 0x1000, "sensor_error": 0x2000}

# What Elvaco's modules take as a downlink: type, bytes, least, most
SETTINGS = {
    "transmit_interval_min": (0x06, 2, 5, 1440),
    "message_format": (0x07, 1, 0, 0xFF),
    "eco_mode": (0x0F, 1, 0, 1),
    "most_transmissions_a_day": (0x21, 1, 1, 255),
}


class UnreadableError(ValueError):
    """Why the payload cannot be read, with the offset."""


def decode(payload, port, variables, recv_time=None):
    data = {}
    try:
        settings = read_settings(variables)
        records, start = header(payload, settings, data)
        warnings = []
        read = read_records(records, start, settings, warnings)
    except UnreadableError as error:
        return {"data": {**data, "raw": payload.hex()}, "errors": [str(error)]}
    times = {record["storage"]: record["at"] for record in read if record["name"] == "time" and "at" in record}
    walk_profiles(read, times, warnings)
    found = alarms(data, read, settings["maker"]) + measurements(read, times, settings, warnings)
    latest = max(times.values(), default=0)
    if recv_time is not None and latest > recv_time + AHEAD_S:
        warnings.append(f"the meter's log is of {iso(latest)}, but the message was heard at {iso(recv_time)}")
    data["records"] = [told(record) for record in read]
    return {"data": data, "warnings": warnings, "measurements": found}


def read_settings(variables):
    maker, meter = variables.get("maker", ""), variables.get("meter", "water")
    if maker not in MAKERS:
        raise UnreadableError(f"variable maker is {maker!r}, known are {', '.join(filter(None, MAKERS))} and none")
    if meter not in ("water", "heat"):
        raise UnreadableError(f"variable meter is {meter!r}, water or heat is needed")
    offset = variables.get("utc_offset_min", "0")
    if not (offset.isascii() and offset.removeprefix("-").isdecimal() and len(offset) < 6 and abs(int(offset)) <= 1440):
        raise UnreadableError(f"variable utc_offset_min is {offset!r}, a whole number from -1440 to 1440 is needed")
    secrets = {}
    for name, size in (("mbus_key", 16), ("mbus_address", 8)):
        try:
            secrets[name] = bytes.fromhex(variables.get(name, ""))
        except ValueError:
            raise UnreadableError(f"variable {name} is no hexadecimal number") from None
        if len(secrets[name]) not in (0, size):
            raise UnreadableError(f"variable {name} has {len(secrets[name])} bytes, {size} are needed")
    return {"maker": maker, "meter": meter, "offset_s": 60 * int(offset), **secrets}


# --- header and encryption ------------------------------------------------------------------------------------------


def header(payload, settings, data):
    """The bytes of the records and the offset they begin at; what the header says goes into data."""
    if not payload:
        raise UnreadableError("the payload is empty")
    if settings["maker"] == "elvaco":
        return elvaco_records(payload, data), 1
    control = payload[0]
    if control not in HEADERS:
        raise UnreadableError(f"offset 0: 0x{control:02x} begins no M-Bus message that is known (0x72, 0x78, 0x7a)")
    end = 1 + HEADERS[control]
    if len(payload) < end:
        raise UnreadableError(f"offset {len(payload)}: the header of 0x{control:02x} has {end} bytes")
    if control == 0x78:
        return payload[1:], 1
    address = settings["mbus_address"]
    if control == 0x72:
        address = payload[5:7] + payload[1:5] + payload[7:9]
        data.update(who(payload[1:5], payload[5:7], payload[7], payload[8]))
    access, status, blocks, mode = payload[end - 4], payload[end - 3], payload[end - 2] >> 4, payload[end - 1] & 0x1F
    data.update(access_number=access, status=status)
    if mode == 0:
        return payload[end:], end
    data["encryption_mode"] = mode
    if mode != 5:
        raise UnreadableError(f"offset {end - 1}: encryption mode {mode} is not read, only 5 is")
    return decrypted(payload[end:], blocks, access, address, settings["mbus_key"], end), end


def elvaco_records(payload, data):
    data["message_format"] = payload[0]
    if payload[0] in ELVACO_TEXT:
        data["text"] = payload[1:].decode("latin-1")
        return b""
    if payload[0] not in ELVACO_RECORDS:
        raise UnreadableError(f"offset 0: message format 0x{payload[0]:02x} is not known")
    return payload[1:]


def who(identity, maker, version, medium):
    code = int.from_bytes(maker, "little")
    letters = "".join(chr(64 + (code >> shift & 31)) for shift in (10, 5, 0))
    known = {"identification": identity[::-1].hex(), "manufacturer": letters, "version": version}
    return {**known, "medium": MEDIA.get(medium, medium)}


def decrypted(body, blocks, access, address, key, start):
    if not key:
        raise UnreadableError(f"offset {start}: encrypted, set the variable mbus_key to the meter's key")
    if not address:
        raise UnreadableError(f"offset {start}: encrypted, and the short header has no address: set mbus_address")
    size = blocks * BLOCK
    if len(body) < size:
        raise UnreadableError(f"offset {start}: {blocks} encrypted blocks need {size} bytes, {len(body)} are left")
    plain = cbc_decrypt(key, address + bytes([access] * 8), body[:size])
    if size and plain[:2] != bytes((FILLER, FILLER)):
        raise UnreadableError(f"offset {start}: mbus_key or mbus_address does not fit, no 2f2f comes out")
    return plain + body[size:]


def alarms(data, records, maker):
    """The flags of the header's status, and what Sensus makes of it and of its error flags."""
    status = data.get("status")
    if status is None:
        return []
    bits = (("low_battery", 0x04), ("permanent_error", 0x08), ("temporary_error", 0x10))
    flags = {name: bool(status & bit) for name, bit in bits}
    if maker == "sensus":
        flags |= {name: status & code == code for name, code in SENSUS_STATUS.items()}
        errors = next((record.get("value") for record in records if record["name"] == "error_flags"), None)
        if errors is not None:
            flags |= {name: bool(errors & bit) for name, bit in SENSUS_FLAGS.items()}
        if errors is not None and errors & 0x80:
            flags |= {name: bool(errors & bit) for name, bit in SENSUS_MORE_FLAGS.items()}
    return [{"quantity": name, "value": value, "unit": ""} for name, value in flags.items()]


# --- records --------------------------------------------------------------------------------------------------------


def read_records(body, start, settings, warnings):
    """Every record of the message. Raises UnreadableError where one cannot be cut out."""
    records, at = [], 0
    while at < len(body):
        dif = body[at]
        if dif == FILLER:
            at += 1
        elif dif in (0x0F, 0x1F):
            records.append({"name": "maker_data", "storage": 0, "hex": body[at + 1 :].hex()})
            break
        else:
            record, at = read_record(body, at, start, settings, warnings)
            records.append(record)
    return records


def read_record(body, at, start, settings, warnings):
    begin = at
    dif = body[at]
    if dif & 0x0F == 0x0F:
        raise UnreadableError(f"offset {start + at}: 0x{dif:02x} begins no record that is known")
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    extensions, at = chain(body, at, start, "DIF")
    for index, byte in enumerate(extensions[1:]):
        storage |= (byte & 0x0F) << 1 + 4 * index
        tariff |= (byte >> 4 & 3) << 2 * index
        subunit |= (byte >> 6 & 1) << index
    if at >= len(body):
        raise UnreadableError(f"offset {start + at}: the message ends before the unit of the record at {start + begin}")
    if body[at] & 0x7F == 0x7C:
        raise UnreadableError(f"offset {start + at}: a unit in plain text is not read")
    unit, at = chain(body, at, start, "VIF")
    value, at = cut(body, at, dif & 0x0F, start)
    record = {"name": "unknown", "storage": storage}
    if dif >> 4 & 3:
        record["function"] = FUNCTIONS[dif >> 4 & 3]
    if tariff:
        record["tariff"] = tariff
    if subunit:
        record["subunit"] = subunit
    interpret(record, unit, dif & 0x0F, value, settings, warnings)
    return record, at


def chain(body, at, start, name):
    """The byte at an offset and those it says follow, up to the first without its upper bit; and the offset behind."""
    first = at
    while body[at] & 0x80:
        at += 1
        if at - first > MOST_EXTENSIONS:
            raise UnreadableError(f"offset {start + first}: the {name} has more than {MOST_EXTENSIONS} extensions")
        if at >= len(body):
            raise UnreadableError(f"offset {start + at}: the message ends within a {name}")
    return body[first : at + 1], at + 1


def cut(body, at, field, start):
    """The bytes of a value and the offset behind them."""
    size = INTEGER_BYTES.get(field) or BCD_BYTES.get(field) or (4 if field == 5 else 0)
    if field == 13:
        if at >= len(body):
            raise UnreadableError(f"offset {start + at}: the message ends before the length of a value")
        size = body[at]
        at += 1
        if size >= 0xC0:  # numbers of variable length, which no meter here sends
            raise UnreadableError(f"offset {start + at - 1}: a value of variable length 0x{size:02x} is not read")
    if len(body) - at < size:
        raise UnreadableError(f"offset {start + at}: a value has {size} bytes, {len(body) - at} are left")
    return body[at : at + size], at + size


def interpret(record, unit, field, value, settings, warnings):
    """What the unit's code makes of the value goes into the record."""
    code, modifiers = unit[0] & 0x7F, list(unit[1:])
    if code in (0x7B, 0x7D) and modifiers:
        code = (0xFB00 if code == 0x7B else 0xFD00) + (modifiers.pop(0) & 0x7F)
    if code == 0x7F:
        record["code"] = unit[1:].hex()
        interpret_maker(record, unit[1:].hex(), value, settings, warnings)
        return
    modifiers = [byte & 0x7F for byte in modifiers]
    record["name"] = name_of(code)
    if code not in NAMED:
        record["code"] = unit.hex()
        record["hex"] = value.hex()
        return
    if 0x13 in modifiers and field == 13:
        record["profile"] = {"code": code, "bytes": value}
        modifiers.remove(0x13)
    elif field == 13:
        record["text"] = value[::-1].decode("latin-1")
    elif code in (0x6C, 0x6D):
        interpret_time(record, value, settings["offset_s"], warnings)
    elif code == 0x79:
        record.update(who(value[:4], value[4:6], value[6], value[7]) if len(value) == 8 else {"hex": value.hex()})
    else:
        record["value"], record["unit"] = scaled(code, number(field, value, code in NUMBERS))
        if record["value"] is None:
            warnings.append(f"{record['name']} of storage {record['storage']} has no valid value")
    if modifiers:
        record["modifiers"] = bytes(modifiers).hex()


def name_of(code):
    if code in LINEAR or code in EXTENDED:
        return (LINEAR.get(code) or EXTENDED[code])[2]
    if code & ~3 in DURATIONS:
        return DURATIONS[code & ~3]
    return {0x6C: "time", 0x6D: "time", 0x79: "identity", **NUMBERS}.get(code, "unknown")


NAMED = {code for code in (*range(0x80), *EXTENDED, *NUMBERS) if name_of(code) != "unknown"}


def interpret_maker(record, code, value, settings, warnings):
    name = MAKERS[settings["maker"]].get(code)
    if name is None:
        record["name"], record["hex"] = "maker_data", value.hex()
        return
    record["name"] = name
    record["value"] = int.from_bytes(value, "little")
    if name == "acoustic_noise" and record["value"] in (NO_NOISE, 0xFFFF):
        record["value"] = None
    if name == "infocode":
        record["alarms"] = [flag for bit, flag in enumerate(INFOCODE) if record["value"] >> bit & 1]
        if record["value"] >> len(INFOCODE):
            warnings.append(f"infocode 0x{record['value']:x} has bits that are not known")


def number(field, value, unsigned):
    """The value of a data field, None where it is marked as invalid."""
    if field == 5:
        real = unpack("<f", value)[0]
        return real if real - real == 0 else None
    if field in INTEGER_BYTES:
        found = int.from_bytes(value, "little", signed=not unsigned)
        return None if not unsigned and found == -(1 << 8 * len(value) - 1) else found
    digits = value[::-1].hex()
    negative = digits[:1] == "f"
    digits = digits[1:] if negative else digits
    if not digits.isdecimal():
        return None
    return -int(digits) if negative else int(digits)


def scaled(code, value):
    if code & ~3 in DURATIONS:
        return value, DURATION_UNITS[code & 3]
    if code in NUMBERS:
        return value, ""
    power, by, _, unit = LINEAR.get(code) or EXTENDED[code]
    if value is None:
        return None, unit
    shifted = value * 10**power if power >= 0 else value / 10**-power
    return (shifted if by == 1 else round(shifted / by, 6)), unit


def interpret_time(record, value, offset_s, warnings):
    """Types F (4 bytes), G (2) and I (6): a moment in the record, or none where the meter says it is invalid."""
    record["name"] = "time"
    try:
        moment = moment_of(value)
    except ValueError:
        moment = None
    if moment is None:
        record["hex"] = value.hex()
        warnings.append(f"the time of storage {record['storage']} is not valid")
        return
    record["at"] = int(moment.timestamp()) - offset_s
    record["time"] = iso(record["at"])


def moment_of(value):
    """The moment of a type F, G or I. None: marked as invalid, or another type. ValueError: no such day or hour."""
    second, minute, hour, century = 0, 0, 0, 1
    if len(value) == 2:
        date = value
    elif len(value) == 4:
        if value[0] & 0x80:
            return None
        minute, hour, century, date = value[0] & 0x3F, value[1] & 0x1F, value[1] >> 5 & 3, value[2:]
    elif len(value) == 6:
        if value[1] & 0x80:
            return None
        second, minute, hour, date = value[0] & 0x3F, value[1] & 0x3F, value[2] & 0x1F, value[3:5]
    else:
        return None
    year = date[0] >> 5 | date[1] >> 4 << 3
    if century == 0 and year <= 80:  # OMS: two digits up to 80 are of this century
        century = 1
    return datetime(1900 + 100 * century + year, date[1] & 0x0F, date[0] & 0x1F, hour, minute, second, tzinfo=UTC)


# --- profiles -------------------------------------------------------------------------------------------------------


def walk_profiles(records, times, warnings):
    """Each profile becomes the history of its base: the plain record of the same name and storage."""
    for record in records:
        profile = record.pop("profile", None)
        if profile is None:
            continue
        record["hex"] = profile["bytes"].hex()
        base = next((item for item in records if is_base(item, record)), None)
        if base is None or record["storage"] not in times:
            warnings.append(f"the profile of {record['name']} has no value or no time to begin at, it is in data only")
            continue
        history, problem = walk(profile, base["value"], times[record["storage"]])
        del record["hex"]
        record["history"] = history
        if problem:
            warnings.append(f"the profile of {record['name']}: {problem}")


def is_base(item, profile):
    """Whether a record is the plain value that a profile goes back from."""
    kinds = ("name", "storage", "modifiers", "function", "tariff", "subunit")
    return item.get("value") is not None and all(item.get(kind) == profile.get(kind) for kind in kinds)


def walk(profile, base, time):
    """The moments and values before the base, newest first, and what ended them early."""
    body = profile["bytes"]
    if len(body) < 2:
        return [], "it has no control bytes"
    control, spacing = body[0], body[1]
    size, mode = control & 0x0F, control >> 6
    if size not in (1, 2, 3, 4) or (len(body) - 2) % size:
        return [], f"elements of code {size} are not read"
    found, moved = [], 0  # moved: the sum of differences, unscaled
    for index in range(2, len(body), size):
        element = body[index : index + size]
        signed = mode in (0, 3)
        raw = int.from_bytes(element, "little", signed=signed)
        if raw == (-(1 << 8 * size - 1) if signed else (1 << 8 * size) - 1):
            return found, "an element is marked as invalid"
        time = earlier(time, control >> 4 & 3, spacing)
        if time is None:
            return found, f"spacing {spacing} of unit {control >> 4 & 3} is not known"
        moved += raw if mode == 2 else -raw
        value = scaled(profile["code"], raw if mode == 0 else moved)[0]
        found.append((time, value if mode == 0 else round(base + value, 6)))
    return found, None


def earlier(time, unit, spacing):
    """One spacing before; None for a spacing that is not known (months among them)."""
    if 1 <= spacing <= 250:
        return max(time - spacing * (1, 60, 3600, 86400)[unit], 0)
    return None


# --- measurements ---------------------------------------------------------------------------------------------------


def measurements(records, times, settings, warnings):
    """What the records measure, each quantity of a moment once; values of the past at their own time."""
    found, seen, timeless = [], set(), set()
    plain = {(record["name"], record["storage"]) for record in records if "modifiers" not in record}
    for record in records:
        name = quantity_of(record, settings["meter"], plain)
        if name is None:
            continue
        storage = record["storage"]
        if storage and storage not in times:
            timeless.add(storage)
            continue
        time = times[storage] if storage else None
        if record["name"] == "infocode":
            rows = [(flag, flag in record["alarms"], "", time) for flag in INFOCODE]
        elif "history" in record:
            rows = [(name, value, MEASURED[name], at) for at, value in reversed(record["history"])]
        else:
            rows = [(name, record["value"], MEASURED[name.split("imum_")[-1]], time)]
        for quantity, value, unit, at in rows:
            if (quantity, at) not in seen:
                seen.add((quantity, at))
                moment = {} if at is None else {"time": at}
                found.append({"quantity": quantity, "value": value, "unit": unit, **moment})
    if timeless:
        numbers = ", ".join(map(str, sorted(timeless)))
        warnings.append(f"values without a time are in data only: of storage {numbers}")
    return found


def quantity_of(record, meter, plain):
    """The vocabulary's name for a record's value, None for what it has no word for."""
    name, modifiers = record["name"], record.get("modifiers")
    if "tariff" in record or "subunit" in record or (record.get("value") is None and "history" not in record):
        return None
    if name == "infocode":
        return name
    if name == "flow_temperature" and meter == "water":
        name = "water_temperature"
    elif name == "external_temperature":
        name = "ambient_temperature"
    elif name == "volume" and modifiers == "3c":
        name, modifiers = "reverse_volume", None
    elif name == "volume" and modifiers == "3b" and ("volume", record["storage"]) not in plain:
        modifiers = None  # forward only, and nothing else is told
    if modifiers or name not in MEASURED:
        return None
    function = record.get("function")
    if function in ("maximum", "minimum") and name in EXTREMES:
        return f"{function}_{name}"
    return name if function is None or name == "acoustic_noise" else None


def told(record):
    """A record as data shows it: times as text."""
    shown = {key: value for key, value in record.items() if key != "at"}
    if "history" in shown:
        shown["history"] = [{"time": iso(time), "value": value} for time, value in shown["history"]]
    return shown


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- downlinks ------------------------------------------------------------------------------------------------------


def encode(command, variables):
    """A setting of an Elvaco module, one a message: 00, type, length, value least significant byte first."""
    if variables.get("maker") != "elvaco":
        return {"errors": ["no downlinks of this meter are known"]}
    if type(command) is not dict or len(command) != 1 or not command.keys() <= SETTINGS.keys():
        return {"errors": [f"a command has one key, of {', '.join(SETTINGS)}"]}
    ((name, value),) = command.items()
    kind, size, least, most = SETTINGS[name]
    if type(value) not in (int, bool) or not least <= value <= most:
        return {"errors": [f"{name} is {value!r}, a whole number from {least} to {most} is needed"]}
    return {"bytes": bytes([0, kind, size]) + int(value).to_bytes(size, "little"), "f_port": ELVACO_PORT}


# --- AES-128, decryption only (FIPS 197) ----------------------------------------------------------------------------


def times_x(value):
    return value << 1 ^ (0x11B if value & 0x80 else 0)


def product(a, b):
    """In GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    found = 0
    while b:
        if b & 1:
            found ^= a
        a, b = times_x(a), b >> 1
    return found


def substitutions():
    """The S-box: the inverse in the field, then an affine map (section 5.1.1)."""
    powers, value = [], 1
    for _ in range(255):
        powers.append(value)
        value ^= times_x(value)  # 3 generates the field
    inverse = {power: powers[-index % 255] for index, power in enumerate(powers)}
    box = []
    for byte in range(256):
        b = inverse.get(byte, 0)
        turned = b * 0x0101010101
        box.append((turned ^ turned >> 4 ^ turned >> 5 ^ turned >> 6 ^ turned >> 7) & 0xFF ^ 0x63)
    return bytes(box)


SBOX = substitutions()
UNSBOX = bytes(SBOX.index(byte) for byte in range(256))
BY_9, BY_11, BY_13, BY_14 = (bytes(product(byte, factor) for byte in range(256)) for factor in (9, 11, 13, 14))
UNSHIFT = [4 * ((column - row) % 4) + row for column in range(4) for row in range(4)]


def round_keys(key):
    words = [key[i : i + 4] for i in range(0, 16, 4)]
    constant = 1
    while len(words) < 44:
        last = words[-1]
        if len(words) % 4 == 0:
            last = bytes(SBOX[byte] for byte in last[1:] + last[:1])
            last = bytes([last[0] ^ constant]) + last[1:]
            constant = times_x(constant)
        words.append(bytes(a ^ b for a, b in zip(words[-4], last, strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, 44, 4)]


def block_decrypt(keys, block):
    state = bytes(a ^ b for a, b in zip(block, keys[10], strict=True))
    for number in range(9, -1, -1):
        key = keys[number]
        state = bytes(UNSBOX[state[UNSHIFT[i]]] ^ key[i] for i in range(BLOCK))
        if number:
            mixed = bytearray()
            for i in range(0, BLOCK, 4):
                a, b, c, d = state[i : i + 4]
                mixed.append(BY_14[a] ^ BY_11[b] ^ BY_13[c] ^ BY_9[d])
                mixed.append(BY_9[a] ^ BY_14[b] ^ BY_11[c] ^ BY_13[d])
                mixed.append(BY_13[a] ^ BY_9[b] ^ BY_14[c] ^ BY_11[d])
                mixed.append(BY_11[a] ^ BY_13[b] ^ BY_9[c] ^ BY_14[d])
            state = bytes(mixed)
    return state


def cbc_decrypt(key, initial, body):
    keys, before, plain = round_keys(key), initial, b""
    for at in range(0, len(body), BLOCK):
        block = body[at : at + BLOCK]
        plain += bytes(a ^ b for a, b in zip(block_decrypt(keys, block), before, strict=True))
        before = block
    return plain
