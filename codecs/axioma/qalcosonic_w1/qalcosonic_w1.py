"""Axioma Qalcosonic W1: ultrasonic water meter, LoRaWAN. Little endian, volumes in litres, times in Unix seconds.

The maker's papers ("Lora Payload W1", versions V01.7 extended, V1.8 enhanced) are not public. Sources are what others
built by them: the device repository of The Things Network (vendor/axioma), the parser of Element IoT (whose tests have
a packet of the paper and real ones), the decoder of diwise (real packets of three meters) and a public gist
(Alkarex, Node-RED). Where they disagree it is said below.

Port 100, told apart by length and by whether the log's time lies before the meter's clock:
    extended      time u32, status, volume u32, time of the log u32, volume then u32, up to 15 increments u16
    temperature   the same with a temperature u16 (1/100 °C) behind the volume, and 14 increments
    enhanced      01, time u32, status, volume at the log u32, 23 increments of 14 bits and a multiplier of 6 bits,
                  least significant bit first; one log value an hour, the first at 01:00 of the day before
    short         time u32, status, volume u32, older volumes u32 …, a period u32
    minimal       time u32, status, volume u32, and two bytes of which nothing is known
Port 101: answers to configuration, not described. Port 103: an alarm, time u32 and a byte.

Confirmed by packets of real meters: extended, temperature, enhanced with its 14 bits, the interval of one hour.
Inferred: that the temperature is the water's; whose midnight the enhanced day begins at (diwise: UTC; set
utc_offset_min where the meter keeps local time); that 2F at the end is padding; that the upper three bits of the status
are one number. The unit of the short format's period is not known: its older volumes are in `data` only.

Port 103 is read in two ways: Element IoT (by the paper) and diwise read bits of its own, a third script the status of
port 100. A byte that only one of them can mean is read so; for the others `alarm_layout` decides and a warning says so.
"""

from datetime import datetime, timedelta, timezone
from struct import Struct

HEAD = Struct("<IBI")
LOG = Struct("<II")
UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module

MOST_INCREMENTS = 15
PADDING = 0x2F
LONGEST_LOG_S = 16 * 86400  # 15 increments of a day, and a day
LATE_S = 300  # a log value may be this much younger than the clock in the head
CLOCK_DRIFT_S = 86400
CLOCK_SET_S = 1420070400  # 2015: the meter did not exist before
BIT_LOW_BATTERY, BIT_PERMANENT, BIT_TEMPORARY = 0x04, 0x08, 0x10
UPPER = {1: "leak", 3: "backflow", 4: "freezing", 5: "burst", 6: "tamper"}
ALARM_BITS = {
    0x01: "leak",
    0x02: "burst",
    0x04: "freezing",
    0x08: "tamper",
    0x10: "no_consumption",
    0x20: "backflow",
}


def decode(payload, port, variables, recv_time=None):
    if port == 103:
        return alarm(payload, variables, recv_time)
    if port == 101:
        return {"data": {"raw": payload.hex(), "message": "configuration"}}
    if port != 100:
        return failed(payload, f"port {port} is not known: 100 readings, 101 configuration, 103 alarms")
    try:
        interval_s = 60 * int(variables["log_interval_min"])
        offset_s = 60 * int(variables["utc_offset_min"])
    except (KeyError, ValueError):
        return failed(payload, "variables log_interval_min and utc_offset_min are whole numbers of minutes")
    if not 60 <= interval_s <= 86400 or abs(offset_s) > 86400:
        return failed(payload, "log_interval_min is 1 to 1440, utc_offset_min -1440 to 1440")
    if len(payload) in (51, 52):
        return enhanced(payload, offset_s, recv_time)
    if len(payload) < HEAD.size:
        return failed(payload, f"offset {len(payload)}: the head has {HEAD.size} bytes")
    return reading(payload, interval_s, recv_time)


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def reading(payload, interval_s, recv_time):
    """Every layout that begins with time, status and the present volume."""
    time, status, litres = HEAD.unpack_from(payload)
    data = {"time": iso(time), "volume": litres / 1000}
    out = {"data": data, "warnings": clock_warnings(time, recv_time), "measurements": [volume(litres)]}
    rest = payload[HEAD.size :]
    logs = [at for at in (9, 11) if log_is_at(payload, at, time)]
    if len(logs) > 1:
        return failed(payload, "offset 9: with and without temperature are both possible")
    if logs:
        if logs[0] == 11:
            celsius = int.from_bytes(rest[:2], "little", signed=True) / 100
            data["water_temperature"] = celsius
            out["measurements"].append({"quantity": "water_temperature", "value": celsius, "unit": "°C"})
        problem = read_log(payload, logs[0], time, interval_s, out)
        if problem:
            return failed(payload, problem)
    elif len(rest) == 2:
        data["unknown"] = rest.hex()
    elif rest:
        problem = read_older(rest, litres, data)
        if problem:
            return failed(payload, problem)
    out["measurements"] += read_status(status, data, out["warnings"])
    return out


def log_is_at(payload, at, time):
    """Whether a log begins there: its time is not after the meter's clock and not long before it."""
    if len(payload) < at + LOG.size:
        return False
    begin, _ = LOG.unpack_from(payload, at)
    return -LATE_S <= time - begin <= LONGEST_LOG_S


def read_log(payload, at, time, interval_s, out):
    """Log time, volume and increments go into the result; returns a problem or None."""
    begin, litres = LOG.unpack_from(payload, at)
    increments = payload[at + LOG.size :]
    while increments[-2:] == bytes((PADDING, PADDING)):
        increments = increments[:-2]
    if len(increments) % 2:
        if increments[-1] != PADDING:
            return f"offset {len(payload) - 1}: one byte 0x{increments[-1]:02x} is left, which is no padding"
        increments = increments[:-1]
    steps = [int.from_bytes(increments[i : i + 2], "little") for i in range(0, len(increments), 2)]
    if len(steps) > MOST_INCREMENTS:
        return f"offset {at + LOG.size}: {len(steps)} increments, a log has at most {MOST_INCREMENTS}"
    out["data"]["log"] = {"time": iso(begin), "volume": litres / 1000, "increments_l": steps}
    end = begin + len(steps) * interval_s
    if time < CLOCK_SET_S:
        out["warnings"].append("the log has no times without a clock, it is in data only")
    elif end > time + LATE_S or (steps and time - end > interval_s + LATE_S):
        out["warnings"].append(
            f"with log_interval_min {interval_s // 60} the log ends at {iso(end)}, but was sent at {iso(time)}:"
            " the interval is another one, the log is in data only"
        )
    else:
        out["measurements"] += history(begin, litres, steps, interval_s)
    return None


def read_older(rest, litres, data):
    """The short layout: older volumes, newest first as they cannot be more than the present one, and a period."""
    if len(rest) % 4:
        return f"offset {HEAD.size}: {len(rest)} bytes are neither a log nor older volumes"
    values = [int.from_bytes(rest[i : i + 4], "little") for i in range(0, len(rest), 4)]
    older, period = values[:-1], values[-1]
    for index, value in enumerate(older):
        if value > litres:
            return f"offset {HEAD.size + 4 * index}: {value} l is neither an older volume nor the time of a log"
    data["older_volumes"] = [value / 1000 for value in older]
    data["period"] = period
    return None


def enhanced(payload, offset_s, recv_time):
    if payload[0] != 1:
        return failed(payload, f"offset 0: version {payload[0]} of the enhanced format is not known")
    time, status, litres = HEAD.unpack_from(payload, 1)
    packed = int.from_bytes(payload[10:51], "little")
    steps = [packed >> 14 * i & 0x3FFF for i in range(23)]
    multiplier = packed >> 14 * 23
    if multiplier:
        return failed(payload, f"offset 50: multiplier {multiplier}, how it scales the increments is not known")
    day = datetime.fromtimestamp(time + offset_s, UTC).replace(hour=0, minute=0, second=0) - timedelta(days=1)
    begin = int(day.timestamp()) + 3600 - offset_s
    present = litres + sum(steps)
    data = {
        "time": iso(time),
        "volume": present / 1000,
        "log": {"time": iso(begin), "volume": litres / 1000, "increments_l": steps},
    }
    warnings, measurements = clock_warnings(time, recv_time), [volume(present)]
    if time >= CLOCK_SET_S:
        measurements += history(begin, litres, steps, 3600)
    measurements += read_status(status, data, warnings)
    return {"data": data, "warnings": warnings, "measurements": measurements}


def alarm(payload, variables, recv_time):
    if len(payload) != 5:
        return failed(payload, f"offset {min(len(payload), 5)}: an alarm has 5 bytes, not {len(payload)}")
    time, code = int.from_bytes(payload[:4], "little"), payload[4]
    data, warnings = {"time": iso(time)}, clock_warnings(time, recv_time)
    as_alarm, as_status = code < 0x40, code & 0x03 == 0
    if as_alarm and as_status and code:
        layout = "status" if variables.get("alarm_layout") == "status" else "alarm"
        warnings.append(f"alarm byte 0x{code:02x} is read as {layout}; the other reading is possible (alarm_layout)")
        as_alarm, as_status = layout == "alarm", layout == "status"
    if as_alarm:
        data["alarm"] = code
        data["alarms"] = [name for bit, name in ALARM_BITS.items() if code & bit]
        return {"data": data, "warnings": warnings, "measurements": flags(ALARM_BITS.values(), data["alarms"])}
    if as_status:
        return {"data": data, "warnings": warnings, "measurements": read_status(code, data, warnings)}
    return failed(payload, f"offset 4: alarm byte 0x{code:02x} is not known")


def read_status(status, data, warnings):
    """The status byte of port 100, as flags."""
    upper = status >> 5
    alarms = [UPPER[upper]] if upper in UPPER else []
    if upper and upper not in UPPER:
        warnings.append(f"status 0x{status:02x}: {upper} in its upper three bits is not known")
    if status & 0x03:
        warnings.append(f"status 0x{status:02x}: the lowest two bits are not known")
    if status & BIT_LOW_BATTERY:
        alarms.append("low_battery")
    if status & BIT_PERMANENT:
        alarms.append("permanent_error")
    if status & BIT_TEMPORARY and not upper:  # it comes with every upper alarm; alone it is a dry pipe
        alarms.append("temporary_error" if status & BIT_PERMANENT else "empty_pipe")
    data["status"] = status
    data["alarms"] = alarms
    known = (*UPPER.values(), "low_battery", "permanent_error", "temporary_error", "empty_pipe")
    return flags(known, alarms)


def flags(known, alarms):
    return [{"quantity": name, "value": name in alarms, "unit": ""} for name in known]


def volume(litres, time=None):
    value = {"quantity": "volume", "value": litres / 1000, "unit": "m3"}
    return value if time is None else {**value, "time": time}


def history(begin, litres, steps, interval_s):
    """The log's values, oldest first, each at its own time."""
    values = [volume(litres, begin)]
    for number, step in enumerate(steps, 1):
        litres += step
        values.append(volume(litres, begin + number * interval_s))
    return values


def clock_warnings(time, recv_time):
    if time < CLOCK_SET_S:
        return ["the meter's clock is not set"]
    if recv_time is not None and abs(time - recv_time) > CLOCK_DRIFT_S:
        return [f"the meter's clock says {iso(time)}, but the message was heard at {iso(int(recv_time))}"]
    return []


def iso(time):
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
