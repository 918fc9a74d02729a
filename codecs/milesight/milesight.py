"""Milesight EM310-UDL, EM400-UDL/MUD/TLD, EM300-TH, EM300-DI, AM307, AM319: one way of writing for all of them.

A message is a row of records: channel, type, value, least significant byte first. What a channel is depends on the
model, so that the device's folder says which table holds. The port does not matter (85 as shipped).

Source: the decoders and encoders the maker publishes (github.com/Milesight-IoT/SensorDecoders, em-series and
am-series, 2025) and the tables in their README files. All records below are in them.

Confirmed by the maker's examples: all records that are measured, the history of EM300-TH and EM300-DI. Not confirmed by
a message: the history of AM307 and AM319, the records of water and of alarms of EM300-DI.
Inferred: that a channel FE answers a downlink as FF does. The unit of EM300-DI's water is set in the device and not
sent; with the variable `water_unit_l` it becomes a volume. FD 6B asks for the history from one time on, FD 6C for that
between two: the published encoder writes them so, but takes one where it should take the other.
"""

from datetime import datetime, timezone
from struct import unpack

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
PORT = 85
WATER_ALARMS = {1: "no_consumption", 2: None, 3: "leak", 4: None}  # 2 and 4: released
LINE_ALARMS = {0: None, 1: "no_consumption", 2: None, 3: "leak", 4: None, 5: "threshold_alarm", 6: None}
UNITS = {
    "battery": "%",
    "temperature": "°C",
    "humidity": "%",
    "distance": "mm",
    "fill_level": "%",
    "light_level": "count",
    "co2": "ppm",
    "air_quality_index": "count",
    "tvoc_mass": "µg/m3",
    "pressure": "hPa",
    "formaldehyde": "mg/m3",
    "ozone": "ppm",
    "pm25": "µg/m3",
    "pm10": "µg/m3",
    "pulse_total": "count",
    "volume": "m3",
}
FLAGS = {"motion", "tilt", "threshold_alarm", "digital_input", "no_consumption", "leak"}


def unsigned(value):
    return int.from_bytes(value, "little")


def tenths(value):
    return int.from_bytes(value, "little", signed=True) / 10


def unsigned_tenths(value):
    return int.from_bytes(value, "little") / 10


def hundredths(value):
    return int.from_bytes(value, "little") / 100


def halves(value):
    return int.from_bytes(value, "little") / 2


def real(value):
    number = unpack("<f", value)[0]
    return round(number, 6) if number - number == 0 else None


def on(value):
    """A flag; None for a code that is neither off nor on."""
    return {0: False, 1: True}.get(value[0])


def version(value):
    return f"{value[0]:x}.{value[1]:x}"


def hexadecimal(value):
    return value.hex()


def one(name, size, read):
    return size, lambda value: {name: read(value)}


def alarmed(name, size, read):
    """A value and whether its alarm began (1) or ended (0)."""
    return size + 1, lambda value: {name: read(value[:size]), "threshold_alarm": on(value[size:])}


def water(value):
    conversion = {"water_per_conversion": unsigned(value[:2]) / 10, "pulses_per_conversion": unsigned(value[2:4]) / 10}
    return {**conversion, "water": real(value[4:8])}


def water_alarm(value):
    return {**water(value), **alarm(WATER_ALARMS, value[8])}


def alarm(meanings, code):
    """The flags that a code of a water alarm sets: the one it names, and false where an alarm is released."""
    if code not in meanings:
        return {"alarm": code}
    known = {2: "no_consumption", 4: "leak", 6: "threshold_alarm"}.get(code)
    flags = {known: False} if known else {}
    return {"alarm": code, **flags, **({meanings[code]: True} if meanings[code] else {})}


def line_alarm(value):
    return {"digital_input": on(value), "threshold_alarm": on(value[1:])}


# What every model sends about itself, and what it repeats of a downlink: only the size matters of the latter
COMMON = {
    (0xFF, 0x01): one("protocol_version", 1, lambda value: f"{value[0] >> 4}.{value[0] & 15}"),
    (0xFF, 0x09): one("hardware_version", 2, lambda value: f"{value[0]:x}.{value[1] >> 4}"),
    (0xFF, 0x0A): one("firmware_version", 2, version),
    (0xFF, 0xFF): one("tsl_version", 2, version),
    (0xFF, 0x16): one("serial_number", 8, hexadecimal),
    (0xFF, 0x0F): one("lorawan_class", 1, lambda value: "ABC"[value[0]] if value[0] < 3 else value[0]),
    (0xFF, 0xFE): one("restarted", 1, lambda _: True),
    (0xFF, 0x0B): one("switched_on", 1, lambda _: True),
    (0x01, 0x75): one("battery", 1, unsigned),
}
ANSWERS = {  # type of an answer to a downlink (channel FE or FF): bytes, the same for all models that have it
    0x02: 2, 0x03: 2, 0x06: 9, 0x10: 1, 0x13: 1, 0x17: 2, 0x1C: 2, 0x25: 1, 0x27: 1, 0x28: 1, 0x2C: 1, 0x2D: 1, 0x2E: 1,
    0x35: 8, 0x39: 5, 0x3A: 2, 0x3B: 1, 0x3C: 1, 0x3D: 1, 0x3E: 1, 0x4A: 1, 0x4E: 2, 0x56: 1, 0x66: 1, 0x68: 1, 0x69: 1,
    0x6A: 3, 0x6D: 1, 0x70: 2, 0x71: 1, 0x92: 5, 0xA1: 7, 0xA2: 9, 0xA3: 2, 0xA4: 2, 0xC3: 1, 0xEB: 1, 0xF0: 4, 0xF4: 1,
}  # fmt: skip

TEMPERATURE = {(0x03, 0x67): one("temperature", 2, tenths)}
CLIMATE = {**TEMPERATURE, (0x04, 0x68): one("humidity", 1, halves)}
AIR = {
    **CLIMATE,
    (0x05, 0x00): one("motion", 1, on),
    (0x06, 0xCB): one("light_level", 1, unsigned),
    (0x07, 0x7D): one("co2", 2, unsigned),
    (0x08, 0x7D): one("air_quality_index", 2, hundredths),
    (0x08, 0xE6): one("tvoc_mass", 2, unsigned),
    (0x09, 0x73): one("pressure", 2, unsigned_tenths),
    (0x0E, 0x01): one("buzzer", 1, on),
}


def climate_history(value):
    return {"temperature": tenths(value[:2]), "humidity": value[2] / 2}


def air_history(organic, size):
    """The history of AM307 and AM319; organic says in which unit its compounds are."""

    def read(value):
        row = {"temperature": tenths(value[:2]), "humidity": halves(value[2:4]), "motion": on(value[4:])}
        row.update(light_level=value[5], co2=unsigned(value[6:8]))
        row[organic] = unsigned(value[8:10]) / (100 if organic == "air_quality_index" else 1)
        row["pressure"] = unsigned_tenths(value[10:12])
        if size == 18:
            row.update(pm25=unsigned(value[12:14]), pm10=unsigned(value[14:16]), gas=hundredths(value[16:18]))
        return row

    return 4 + size, read


def pulse_history(value):
    row = climate_history(value)
    if value[3] == 1:
        row["digital_input"] = on(value[4:])
    elif value[3] == 2:
        row["pulse_total"] = unsigned(value[5:9])
    return row


def water_history(value):
    row = {**climate_history(value), **alarm(LINE_ALARMS, value[3])}
    if value[4] == 1:
        row["digital_input"] = on(value[5:])
    elif value[4] == 2:
        row.update(water(value[6:14]))
    return row


MODELS = {
    "em310-udl": {(0x03, 0x82): one("distance", 2, unsigned), (0x04, 0x00): one("tilt", 1, on)},
    "em400-udl": {
        **TEMPERATURE,
        (0x04, 0x82): one("distance", 2, unsigned),
        (0x05, 0x00): one("tilt", 1, on),
        (0x83, 0x67): alarmed("temperature", 2, tenths),
        (0x84, 0x82): alarmed("distance", 2, unsigned),
    },
    "em300-th": CLIMATE,
    "em300-di": {
        **CLIMATE,
        (0x05, 0x00): one("digital_input", 1, on),
        (0x05, 0xC8): one("pulse_total", 4, unsigned),
        (0x05, 0xE1): (8, water),
        (0x85, 0x00): (2, line_alarm),
        (0x85, 0xE1): (9, water_alarm),
    },
    "am307": AIR,
    "am319": {
        **AIR,
        (0x0A, 0x7D): one("formaldehyde", 2, hundredths),
        (0x0B, 0x7D): one("pm25", 2, unsigned),
        (0x0C, 0x7D): one("pm10", 2, unsigned),
        (0x0D, 0x7D): one("ozone", 2, hundredths),
    },
}
# Stored values: behind their time (4 bytes)
HISTORIES = {
    "em300-th": {0x20: (8, climate_history)},
    "em300-di": {0x20: (13, pulse_history), 0x21: (18, water_history)},
    "am307": {0x20: air_history("air_quality_index", 12), 0x21: air_history("tvoc_mass", 12)},
    "am319": {0x20: air_history("air_quality_index", 18), 0x21: air_history("tvoc_mass", 18)},
}
HISTORY = 0xCE


def decode(payload, port, variables):
    model = variables.get("model", "")
    if model not in MODELS:
        return {"data": {"raw": payload.hex()}, "errors": [f"variable model is {model!r}, known: {', '.join(MODELS)}"]}
    if not payload:
        return {"data": {}, "errors": ["the payload is empty"]}
    data, history, error = read_records(payload, model)
    warnings = []
    settings = numbers(variables, warnings)
    found = measured(data, settings, variables, warnings)
    for row in history:
        found += measured(row, settings, variables, warnings, row["time"])
    if history:
        data["history"] = [{**row, "time": iso(row["time"])} for row in history]
    if error:
        return {"data": data or {"raw": payload.hex()}, "warnings": warnings, "errors": [error]}
    return {"data": data, "warnings": warnings, "measurements": found}


def read_records(payload, model):
    """What the records say, the stored values among them, and the error that ended it."""
    data, history, at, end = {}, [], 0, len(payload)
    records = {**COMMON, **MODELS[model]}
    while at < end:
        if end - at < 2:
            return data, history, f"offset {at}: one byte is left, a record begins with two"
        channel, kind = payload[at], payload[at + 1]
        stored = HISTORIES.get(model, {}).get(channel) if kind == HISTORY else None
        size, read = stored or records.get((channel, kind)) or (answer_size(channel, kind), None)
        name = f"{channel:02x} {kind:02x}"
        if size is None:
            return data, history, f"offset {at}: record {name} is not known, nothing from there can be read"
        value = payload[at + 2 : at + 2 + size]
        if len(value) < size:
            return data, history, f"offset {at}: record {name} needs {size} bytes, {len(value)} are left"
        if stored:
            history.append({"time": unsigned(value[:4]), **read(value[4:])})
        elif read:
            data.update(read(value))
        else:
            data.setdefault("answers", {})[f"{kind:02x}"] = value.hex()
        at += 2 + size
    return data, history, None


def answer_size(channel, kind):
    return ANSWERS.get(kind) if channel in (0xFE, 0xFF) else None


def numbers(variables, warnings):
    """The variables that are numbers; one that is none counts as not set."""
    found = {}
    for name in (
        "max_measure_mm",
        "min_measure_mm",
        "litres_per_pulse",
        "start_volume_m3",
        "start_pulses",
        "water_unit_l",
    ):
        text = variables.get(name, "").strip()
        if not text:
            continue
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if 0 <= number < 1e12:
            found[name] = number
        else:
            warnings.append(f"variable {name} is {text!r}, a number from 0 is needed")
    return found


def measured(row, settings, variables, warnings, time=None):
    """A row of values as measurements, those of the past with their time."""
    values = dict(row)
    if "gas" in values:
        values["ozone" if variables.get("gas") == "ozone" else "formaldehyde"] = values.pop("gas")
    if "distance" in values:
        fill_level(values, settings, warnings)
    volume(values, settings, warnings)
    moment = {} if time is None else {"time": time}
    return [
        {"quantity": name, "value": value, "unit": UNITS.get(name, ""), **moment}
        for name, value in values.items()
        if (name in UNITS or name in FLAGS) and value is not None
    ]


def fill_level(values, settings, warnings):
    """How full the container is, where its depth is known."""
    empty, full = settings.get("max_measure_mm"), settings.get("min_measure_mm", 0)
    if empty is None:
        return
    if empty <= full:
        warnings.append("variable max_measure_mm has to be greater than min_measure_mm")
        return
    share = (empty - values["distance"]) / (empty - full)
    values["fill_level"] = round(100 * min(max(share, 0.0), 1.0), 1)


def volume(values, settings, warnings):
    """What the pulses or the water of the device amount to, where their weight is known."""
    if values.get("water") is not None and "water_unit_l" in settings:
        values["volume"] = round(values["water"] * settings["water_unit_l"] / 1000, 6)
    if "pulse_total" not in values or "litres_per_pulse" not in settings:
        return
    pulses = values["pulse_total"] - settings.get("start_pulses", 0)
    if pulses < 0:
        warnings.append(f"the counter is at {values['pulse_total']}, below start_pulses: was it reset?")
        return
    values["volume"] = round(settings.get("start_volume_m3", 0) + pulses * settings["litres_per_pulse"] / 1000, 6)


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- downlinks ------------------------------------------------------------------------------------------------------

# name: the bytes before the value, how many the value has, least, most
NUMBERS = {
    "collection_interval_s": ("ff02", 2, 1, 64800),
    "report_interval_s": ("ff03", 2, 1, 64800),
    "history": ("ff68", 1, 0, 1),
    "retransmit": ("ff69", 1, 0, 1),
    "retransmit_interval_s": ("ff6a00", 2, 1, 64800),
    "resend_interval_s": ("ff6a01", 2, 1, 64800),
}
ACTIONS = {"reboot": "ff10ff", "clear_history": "ff2701", "stop_transmit": "fd6dff"}
FOR = {  # which commands a model takes
    "em310-udl": {"collection_interval_s", "report_interval_s", "reboot"},
    "em400-udl": {"collection_interval_s", "report_interval_s", "reboot"},
    "em300-th": {*NUMBERS, *ACTIONS, "fetch_history"},
    "em300-di": {*NUMBERS, *ACTIONS, "fetch_history", "clear_counter"},
    "am307": {*NUMBERS, *ACTIONS, "fetch_history"} - {"collection_interval_s"},
    "am319": {*NUMBERS, *ACTIONS, "fetch_history"} - {"collection_interval_s"},
}
CLEAR_COUNTER = "ff4e0100"


def encode(command, variables):
    """One or more settings and actions in one message.

    {"report_interval_s": 600}, {"reboot": true}, {"fetch_history": [1700000000]} or [from, to] in Unix seconds
    """
    known = FOR.get(variables.get("model", ""), set())
    if type(command) is not dict or not command or not command.keys() <= known:
        return {"errors": [f"this model takes {', '.join(sorted(known))}"]}
    message = b""
    for name, value in command.items():
        part, error = setting(name, value)
        if error:
            return {"errors": [f"{name} {error}"]}
        message += part
    return {"bytes": message, "f_port": PORT}


def setting(name, value):
    """The bytes of one setting or action, or what is wrong with it."""
    if name == "fetch_history":
        times = value if type(value) is list else [value]
        if len(times) not in (1, 2) or any(type(time) is not int or not 0 <= time < 1 << 32 for time in times):
            return b"", "is a time, or a list of one or two, in Unix seconds"
        if times != sorted(times):
            return b"", "ends before it begins"
        return bytes((0xFD, 0x6A + len(times))) + b"".join(time.to_bytes(4, "little") for time in times), None
    if name in NUMBERS:
        before, size, least, most = NUMBERS[name]
        if type(value) not in ((int, bool) if most == 1 else (int,)) or not least <= value <= most:
            return b"", f"is {value!r}, a whole number from {least} to {most} is needed"
        return bytes.fromhex(before) + int(value).to_bytes(size, "little"), None
    if value is not True:
        return b"", "is true or left out"
    return bytes.fromhex(ACTIONS.get(name, CLEAR_COUNTER)), None
