"""Adeunis TEMP, COMFORT and PULSE (version 4 and 2 of their messages). Most significant byte first.

Source: the codecs the maker publishes (The Things Network's device repository, vendor/adeunis/temp_lib.js,
comfort_lib.js, pulse_lib.js) and their examples; for the downlinks its technical reference manuals (PULSE V3,
MOTION V2, COMFORT).

Byte 0 says what the message is, byte 1 is a status: frame counter in bits 7-5, 10 two channels (TEMP), 08 configuration
inconsistent, 04 the message ends with a time in seconds since 2013, 02 low battery, 01 configuration done. Stored
values come newest first; how far apart they are is a setting of the device that only its configuration message tells,
so that the variable `recording_period_s` has to be set; without it they are in `data` only.

Confirmed by the maker's examples: 57 (two channels, with and without time), 4C, 5A. By the maker's code alone: the
rest.
Inferred: that the device's clock keeps UTC; that 0x8000 is a probe that is missing or broken; that the alarm of PULSE's
flow is a burst. What an alarm 47 is about is not said, it sets `threshold_alarm`.
"""

from datetime import datetime, timezone

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
EPOCH_S = 1356998400  # 2013-01-01
CLOCK_DRIFT_S = 86400
TIMED, TWO_CHANNELS = 0x04, 0x10
BROKEN = b"\x80\x00"
MESSAGES = {  # what is told by name only
    0x10: "configuration",
    0x11: "configuration",
    0x12: "configuration",
    0x1F: "configuration of inputs",
    0x20: "configuration of the network",
    0x2F: "answer to a downlink",
    0x30: "keep alive",
    0x31: "registers",
    0x33: "answer to a register",
    0x36: "error",
    0x37: "software version",
}
UNITS = {"temperature": "°C", "humidity": "%", "pulse_total": "count", "volume": "m3"}
FLAGS = {"low_battery", "low_temperature", "high_temperature", "threshold_alarm", "burst", "tamper", "leak",
         "digital_input"}  # fmt: skip


class UnreadableError(ValueError):
    """Why the payload cannot be read, with the offset."""


def decode(payload, port, variables, recv_time=None):
    try:
        data, rows, time, settings = read(payload, variables)
    except UnreadableError as error:
        return {"data": {"raw": payload.hex()}, "errors": [str(error)]}
    warnings = doubts(time, recv_time)
    found = [{"quantity": "low_battery", "value": data["low_battery"], "unit": ""}]
    found += measurements(rows, recv_time if time is None else time, settings, warnings)
    if rows:
        data["values"] = rows
    return {"data": data, "warnings": warnings, "measurements": found}


def read(payload, variables):
    """What the message says, its rows of values, its time, and the variables as numbers."""
    settings = read_settings(variables)
    frames = FRAMES.get(variables.get("model", ""))
    if frames is None:
        raise UnreadableError(f"variable model is {variables.get('model')!r}, known: {', '.join(FRAMES)}")
    if len(payload) < 2:
        raise UnreadableError(f"offset {len(payload)}: a message has at least two bytes")
    code = payload[0]
    if code not in frames and code not in MESSAGES:
        raise UnreadableError(f"offset 0: message 0x{code:02x} is not known")
    data = status(payload)
    body, time = cut_time(payload, data, code in frames)
    rows = frames[code](body, payload[1], data) if code in frames else []
    if code in MESSAGES:
        describe(payload, data)
    return data, rows, time, settings


def read_settings(variables):
    """The variables as numbers; UnreadableError for one that is none."""
    found = {}
    defaults = {"recording_period_s": ""}
    for suffix in ("", "_2"):
        defaults |= {f"litres_per_pulse{suffix}": "", f"start_volume_m3{suffix}": "0", f"start_pulses{suffix}": "0"}
    for name, default in defaults.items():
        text = variables.get(name, default).strip()
        try:
            found[name] = float(text) if text else None
        except ValueError:
            found[name] = -1.0
        if found[name] is not None and not 0 <= found[name] < 1e12:
            raise UnreadableError(f"variable {name} is {text!r}, a number from 0 is needed")
    return found


def status(payload):
    byte = payload[1]
    return {
        "frame": f"{payload[0]:02x}",
        "frame_counter": byte >> 5,
        "configuration_inconsistent": bool(byte & 0x08),
        "low_battery": bool(byte & 0x02),
        "configuration_done": bool(byte & 0x01),
    }


def cut_time(payload, data, has_values):
    """The bytes behind the status without the time, and the time or None."""
    if not payload[1] & TIMED or not has_values:
        return payload[2:], None
    if len(payload) < 6:
        raise UnreadableError(f"offset {len(payload)}: the message ends before its time")
    time = EPOCH_S + int.from_bytes(payload[-4:], "big")
    data["time"] = iso(time)
    return payload[2:-4], time


def describe(payload, data):
    data["message"] = MESSAGES[payload[0]]
    if payload[0] == 0x37 and len(payload) >= 8:
        data["application_version"] = ".".join(map(str, payload[2:5]))
        data["radio_version"] = ".".join(map(str, payload[5:8]))
    elif payload[0] == 0x10 and len(payload) in (11, 12):  # TEMP, COMFORT
        words = [int.from_bytes(payload[at : at + 2], "big") for at in (2, 4, 6, 8)]
        data["keep_alive_s"], data["sampling_period_s"] = 10 * words[0], 2 * words[3]
        data["recording_period_s"] = 2 * words[2] * words[3]
        data["sending_period_s"] = data["recording_period_s"] * words[1]
    elif payload[0] != 0x30:
        data["raw"] = payload.hex()


def tenths(value):
    return None if value == BROKEN else int.from_bytes(value, "big", signed=True) / 10


def need(body, size, exact=True):
    if len(body) < size or (exact and len(body) != size):
        raise UnreadableError(f"offset {2 + min(len(body), size)}: the values have {size} bytes, not {len(body)}")


def groups(body, size):
    if not body or len(body) % size:
        raise UnreadableError(f"offset {2 + len(body) - len(body) % size}: values have {size} bytes each")
    return [body[at : at + size] for at in range(0, len(body), size)]


# --- the messages: rows of values, newest first ---------------------------------------------------------------------


def temperatures(body, flags, _):
    if flags & TWO_CHANNELS:
        return [{"temperature": tenths(row[:2]), "temperature_2": tenths(row[2:])} for row in groups(body, 4)]
    return [{"temperature": tenths(row)} for row in groups(body, 2)]


def temperature_now(body, flags, _):
    need(body, 4 if flags & TWO_CHANNELS else 2)
    return temperatures(body, flags, _)


def temperature_alarm(body, flags, _):
    channels = 2 if flags & TWO_CHANNELS else 1
    need(body, 3 * channels)
    row = {}
    for suffix, part in zip(("", "_2")[:channels], groups(body, 3), strict=True):
        if part[0] > 2:
            raise UnreadableError(f"offset {2 if not suffix else 5}: alarm status {part[0]} is not known")
        row |= {f"temperature{suffix}": tenths(part[1:]), f"high_temperature{suffix}": part[0] == 1}
        row[f"low_temperature{suffix}"] = part[0] == 2
    return [row]


def climate(body, _, __):
    return [{"temperature": tenths(row[:2]), "humidity": row[2]} for row in groups(body, 3)]


def climate_alarm(body, _, data):
    need(body, 4)
    data["temperature_alarm"], data["humidity_alarm"] = bool(body[0] >> 4), bool(body[0] & 1)
    alarm = data["temperature_alarm"] or data["humidity_alarm"]
    return [{"temperature": tenths(body[1:3]), "humidity": body[3], "threshold_alarm": alarm}]


def input_alarm(number):
    suffix = "" if number == 1 else f"_{number}"

    def read(body, _, data):
        need(body, 7)
        data["state_before"] = bool(body[0] & 2)
        data["since_last"] = int.from_bytes(body[5:7], "big")
        total = int.from_bytes(body[1:5], "big")
        return [{f"digital_input{suffix}": bool(body[0] & 1), f"pulse_total{suffix}": total}]

    return read


def pulses(suffix):
    def read(body, _, __):
        need(body, 4, exact=False)
        total, rows = int.from_bytes(body[:4], "big"), []
        for step in [b"", *(groups(body[4:], 2) if len(body) > 4 else [])]:
            total -= int.from_bytes(step, "big")
            if total < 0:
                raise UnreadableError(f"offset {6 + 2 * len(rows) - 2}: the counter was below zero")
            rows.append({f"pulse_total{suffix}": total})
        return rows

    return read


def both_counters(body, _, __):
    need(body, 8)
    return [{"pulse_total": int.from_bytes(body[:4], "big"), "pulse_total_2": int.from_bytes(body[4:], "big")}]


def flow_alarm(body, _, data):
    need(body, 4)
    data["flows"] = [int.from_bytes(body[:2], "big"), int.from_bytes(body[2:], "big")]
    return [{"threshold_alarm": True}]


def pulse_alarms(body, _, data):
    need(body, 9)
    words = [int.from_bytes(body[at : at + 2], "big") for at in (1, 3, 5, 7)]
    data["highest_flows"], data["lowest_flows"] = words[:2], words[2:]
    names = ("burst", "burst_2", "tamper", "tamper_2", "leak", "leak_2")
    return [{name: bool(body[0] >> bit & 1) for bit, name in enumerate(names)}]


FRAMES = {
    "temp": {0x57: temperatures, 0x58: temperature_alarm, 0x30: temperature_now},
    "comfort": {0x4C: climate, 0x4D: climate_alarm, 0x51: input_alarm(1), 0x52: input_alarm(2)},
    "pulse": {0x5A: pulses(""), 0x5B: pulses("_2"), 0x46: both_counters, 0x47: flow_alarm, 0x30: pulse_alarms},
}


# --- measurements ---------------------------------------------------------------------------------------------------


def measurements(rows, newest, settings, warnings):
    """The newest row without a time of its own, the others one recording period after the other before it."""
    period = settings["recording_period_s"]
    if len(rows) > 1 and not period:
        warnings.append("recording_period_s is not set, the older values are in data only")
    elif len(rows) > 1 and newest is None:
        warnings.append("without the time of reception the older values are in data only")
    found = []
    for age, row in enumerate(rows):
        volumes(row, settings, warnings)
        if any(value is None for value in row.values()):
            warnings.append(f"value {age}: 0x8000, a probe is missing or broken")
        if age and (not period or newest is None):
            continue
        moment = {"time": round(max(newest - age * period, 0), 3)} if age else {}
        for name, value in row.items():
            plain = name.removesuffix("_2")
            if value is not None and (plain in UNITS or plain in FLAGS):
                found.append({"quantity": name, "value": value, "unit": UNITS.get(plain, ""), **moment})
    return found


def volumes(row, settings, warnings):
    """What the pulses amount to, where their weight is known."""
    for suffix in ("", "_2"):
        total, litres = row.get(f"pulse_total{suffix}"), settings[f"litres_per_pulse{suffix}"]
        if total is None or litres is None:
            continue
        since = total - (settings[f"start_pulses{suffix}"] or 0)
        if since < 0:
            warnings.append(f"the counter is at {total}, below start_pulses{suffix}: was it reset?")
            continue
        row[f"volume{suffix}"] = round((settings[f"start_volume_m3{suffix}"] or 0) + since * litres / 1000, 6)


def doubts(time, recv_time):
    if time is not None and recv_time is not None and abs(time - recv_time) > CLOCK_DRIFT_S:
        return [f"the device's clock says {iso(time)}, but the message was heard at {iso(recv_time)}"]
    return []


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- downlinks ------------------------------------------------------------------------------------------------------

PORT = 1
FIRST_REGISTER, LAST_REGISTER = 300, 399
READS = {"configuration": b"\x01", "network": b"\x02"}
CHANNELS = {"a": 0x03, "b": 0x04}


def encode(command, variables):
    """{"read": "configuration" or "network"}, {"read_registers": [300, 320]}, {"write_registers": {"320": "00aa"}} with
    values in hex as wide as the register is, or for PULSE {"add_pulses": 80, "channel": "a"} (or "b")."""
    problem = {"errors": ["known are read, read_registers, write_registers and, for PULSE, add_pulses with channel"]}
    if type(command) is not dict:
        return problem
    message = b""
    if command.keys() == {"read"} and type(command["read"]) is str:
        message = READS.get(command["read"], b"")
    elif command.keys() == {"read_registers"} and type(command["read_registers"]) is list:
        numbers = [register(number) for number in command["read_registers"]]
        message = b"\x40" + bytes(numbers) if numbers and None not in numbers else b""
    elif command.keys() == {"write_registers"} and type(command["write_registers"]) is dict:
        message = registers(command["write_registers"])
    elif command.keys() == {"add_pulses", "channel"} and variables.get("model") == "pulse":
        message = pulses_to_add(command["add_pulses"], command["channel"])
    return {"bytes": message, "f_port": PORT} if message else problem


def register(number):
    return number - FIRST_REGISTER if type(number) is int and FIRST_REGISTER <= number <= LAST_REGISTER else None


def registers(values):
    message = b"\x41" if values else b""
    for name, text in values.items():
        number = register(int(name)) if name.isascii() and name.isdigit() and len(name) == 3 else None
        try:
            value = bytes.fromhex(text) if type(text) is str else b""
        except ValueError:
            value = b""
        if number is None or not value:
            return b""
        message += bytes([number]) + value
    return message


def pulses_to_add(pulses, channel):
    if type(channel) is not str or channel not in CHANNELS or type(pulses) is not int or not 0 < pulses < 1 << 32:
        return b""
    return bytes([CHANNELS[channel]]) + pulses.to_bytes(4, "big")
