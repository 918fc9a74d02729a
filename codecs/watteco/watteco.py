"""Watteco (nke) TH, Hygrotemp'O and Pulse Sens'O: ZCL-like reports and compressed batches. Most significant byte first.

Source: the codec the maker publishes (github.com/Watteco/Codec-API-LoRaWAN, devices/th, devices/pulse_sens'o and codec)
and its batch readers (Codec-Report-Batch-Python with its tests, Codec-Report-Batch-Javascript).

A report (bit 0 of the first byte set): frame control with the endpoint in bits 7-5 and 2-1, command, cluster,
attribute, type, value, and in an alarm report its causes. Commands: 0A and 8A reports, 01 answer to a read, 07 and 09
answers about the configuration of reports.

A batch (bit 0 clear) is a stream of bits: how many measures, whether times are common, a counter; for each measure its
tag, the time and value of its first sample; then the other samples as differences, their sizes by a Huffman code.
Times count in the device's own seconds; the last of them is that of sending, so that a sample is as old as its
distance from it.

Confirmed by the maker's examples and tests: reports of temperature, humidity, input, index, battery and firmware, short
and long causes, batches with common and with separate times. By the maker's code alone: which endpoint is which input
of Pulse Sens'O. A sample of a batch has a time only where that of reception is known; without it the batch is in
`data` only.
"""

from datetime import datetime, timezone
from struct import unpack

UTC = timezone.utc  # noqa: UP017 - datetime.UTC is an attribute of the module
PORT = 125
REPORT, ALARM, READ, CONFIGURED, CONFIGURATION = 0x0A, 0x8A, 0x01, 0x07, 0x09
SIZES = {0x08: 1, 0x09: 2, 0x0A: 3, 0x0B: 4, 0x0C: 5, 0x0D: 6, 0x10: 1, 0x18: 1, 0x19: 2, 0x1A: 3, 0x1B: 4, 0x20: 1,
         0x21: 2, 0x22: 3, 0x23: 4, 0x28: 1, 0x29: 2, 0x2A: 3, 0x2B: 4, 0x30: 1, 0x39: 4}  # fmt: skip
LENGTH_BYTES = {0x41: 1, 0x42: 1, 0x43: 2, 0x4C: 2}
SIGNED = {0x28, 0x29, 0x2A, 0x2B}
TEMPERATURE, HUMIDITY = (0x0402, 0x0000), (0x0405, 0x0000)
INPUT, INDEX, INPUTS = (0x000F, 0x0055), (0x000F, 0x0402), (0x8005, 0x0000)
POWER = (0x0050, 0x0006)
FIRMWARE = (0x0000, 0x0002)
SOURCES = ("supply", "rechargeable", "disposable", "solar", "harvested")
NAMES = {
    (0x0000, 0x0003): "kernel",
    (0x0000, 0x0005): "hardware",
    (0x0000, 0x0006): "production_date",
    (0x0000, 0x8001): "application",
    (0x8004, 0x0000): "confirmed",
    (0x8004, 0x0001): "retries",
}
UNITS = {"temperature": "°C", "humidity": "%", "battery_voltage": "V", "pulse_total": "count", "volume": "m3"}
FLAGS = ("tamper", "digital_input", "threshold_alarm")

# What the tags of a batch stand for: bits of a tag, then tag: name, steps, bits, signed, divisor
BATCHES = {
    "th": (
        2,
        {
            0: ("temperature", 10, 16, True, 100),
            1: ("humidity", 100, 16, False, 100),
            2: ("battery_voltage", 1, 16, False, 1000),
            3: ("tamper", 1, 1, False, 1),
        },
    ),
    "pulse_senso": (
        4,
        {
            0: ("pulse_total", 1, 32, False, 1),
            1: ("pulse_total_2", 1, 32, False, 1),
            2: ("pulse_total_3", 1, 32, False, 1),
            3: ("digital_input", 1, 1, False, 1),
            4: ("digital_input_2", 1, 1, False, 1),
            5: ("digital_input_3", 1, 1, False, 1),
            6: ("battery_voltage", 100, 16, False, 1000),
            7: ("states", 1, 16, False, 1),
        },
    ),
}


class UnreadableError(ValueError):
    """Why the payload cannot be read, with the offset."""


def decode(payload, port, variables, recv_time=None):
    model = variables.get("model", "")
    if model not in BATCHES:
        return failed(payload, f"variable model is {model!r}, known: {', '.join(BATCHES)}")
    if not payload:
        return failed(payload, "the payload is empty")
    warnings, found = [], []
    try:
        weights = read_weights(variables)
        data = report(payload, model) if payload[0] & 1 else batch(payload, model)
    except UnreadableError as error:
        return failed(payload, str(error))
    if payload[0] & 1:
        volumes(data, weights, warnings)
        found = measured(data, None)
    else:
        if recv_time is None:
            warnings.append("without the time of reception the batch has no times, it is in data only")
        for row in data["samples"]:
            volumes(row, weights, warnings)
            if recv_time is not None:
                at = max(recv_time - row["age_s"], 0)
                found += measured(row, at)
                row["time"] = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"data": data, "warnings": warnings, "measurements": found}


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}


def channel(name, number):
    return name if number == 0 else f"{name}_{number + 1}"


def measured(row, time):
    moment = {} if time is None else {"time": round(time, 3)}
    return [
        {"quantity": name, "value": value, "unit": unit_of(name), **moment}
        for name, value in row.items()
        if unit_of(name) is not None and value is not None
    ]


def unit_of(name):
    plain = name[:-2] if name[-2:] in ("_2", "_3") else name
    return "" if plain in FLAGS else UNITS.get(plain)


# --- reports --------------------------------------------------------------------------------------------------------


def report(payload, model):
    if len(payload) < 4:
        raise UnreadableError(f"offset {len(payload)}: a report begins with frame control, command and cluster")
    control, command = payload[0], payload[1]
    endpoint = control >> 5 | (control & 0x06) << 2
    cluster = int.from_bytes(payload[2:4], "big")
    data = {"endpoint": endpoint, "cluster": f"{cluster:04x}"}
    if command in (CONFIGURED, CONFIGURATION):
        if len(payload) < 8:
            raise UnreadableError(f"offset {len(payload)}: an answer about reports has at least 8 bytes")
        answer = {"status": payload[4], "attribute": payload[6:8].hex(), "rest": payload[8:].hex()}
        return {**data, "message": "configuration of reports", **answer}
    if command not in (REPORT, ALARM, READ):
        raise UnreadableError(f"offset 1: command 0x{command:02x} is not known")
    at = 6
    if command == READ:
        if len(payload) > 6 and payload[6]:
            return {**data, "message": "read refused", "status": payload[6]}
        at = 7
    if len(payload) <= at:
        raise UnreadableError(f"offset {len(payload)}: the report ends before its value")
    attribute = int.from_bytes(payload[4:6], "big")
    data["attribute"] = f"{attribute:04x}"
    kind, value, end = value_at(payload, at)
    interpret(data, (cluster, attribute), endpoint, kind, value, model)
    if command != READ:
        read_causes(payload, end, kind, len(value), command == ALARM, (cluster, attribute), data)
    return data


def value_at(payload, at):
    """Type, bytes of the value, and the offset behind them."""
    kind = payload[at]
    begin = at + 1
    if kind in LENGTH_BYTES:
        begin += LENGTH_BYTES[kind]
        size = int.from_bytes(payload[at + 1 : begin], "big")
    elif kind in SIZES:
        size = SIZES[kind]
    else:
        raise UnreadableError(f"offset {at}: type 0x{kind:02x} is not known")
    value = payload[begin : begin + size]
    if len(value) < size or begin > len(payload):
        raise UnreadableError(f"offset {begin}: a value of type 0x{kind:02x} has {size} bytes, {len(value)} are left")
    return kind, value, begin + size


def number(kind, value):
    if kind == 0x39:
        real = unpack(">f", value)[0]
        return real if real - real == 0 else None
    return int.from_bytes(value, "big", signed=kind in SIGNED)


def interpret(data, what, endpoint, kind, value, model):
    """The value of a report goes into data by its name."""
    if what in (TEMPERATURE, HUMIDITY) and kind in (0x21, 0x29):
        data["temperature" if what == TEMPERATURE else "humidity"] = number(kind, value) / 100
    elif what == INPUT and kind == 0x10:
        name = "tamper" if model == "th" else channel("digital_input", endpoint)
        data[name] = bool(value[0])
    elif what == INDEX and kind == 0x23:
        data[channel("pulse_total", endpoint)] = number(kind, value)
    elif what == INPUTS and kind == 0x19 and model == "pulse_senso":
        for pin in range(3):
            data[channel("digital_input", pin)] = bool(value[1] >> pin & 1)
    elif what == POWER and kind == 0x41:
        power(data, value)
    elif what == FIRMWARE and kind == 0x0D:
        data["firmware"] = f"{value[0]}.{value[1]}.{value[2]}.{int.from_bytes(value[3:], 'big')}"
    elif kind in LENGTH_BYTES:
        text = value.decode("latin-1") if kind == 0x42 else value.hex()
        data[NAMES.get(what, "value")] = text
    else:
        data[NAMES.get(what, "value")] = number(kind, value)


def power(data, value):
    """Voltages of the power sources there are, and which one is used."""
    if len(value) < 2:
        raise UnreadableError("offset 8: the power sources end before they are named")
    at, names = 2, [name for bit, name in enumerate(SOURCES) if value[1] >> bit & 1]
    if len(value) < 2 + 2 * len(names):
        raise UnreadableError(f"offset {8 + len(value)}: {len(names)} power sources need {2 * len(names)} bytes")
    for name in names:
        data[f"{name}_voltage"] = int.from_bytes(value[at : at + 2], "big") / 1000
        at += 2
    if "disposable" in names:
        data["battery_voltage"] = data["disposable_voltage"]


def read_causes(payload, at, kind, size, alarm, what, data):
    """Why an alarm report was sent: a byte that says how, then one criterion after the other."""
    if at >= len(payload):
        if alarm:
            data["threshold_alarm"] = True
        return
    how = payload[at] >> 4 & 3
    if how not in (1, 2):
        raise UnreadableError(f"offset {at}: causes of type {how} are not known")
    causes, first = [], at
    at += 1
    while at < len(payload):
        cause, at = criterion(payload, at, how == 2, kind, size, what)
        causes.append(cause)
    if len(causes) > 8:
        raise UnreadableError(f"offset {first}: {len(causes)} causes, a report has 8 at most")
    data["causes"] = causes
    data["threshold_alarm"] = any(cause["alarm"] for cause in causes) if causes else alarm


def criterion(payload, at, long, kind, size, what):
    code = payload[at]
    mode = {1: "delta", 2: "threshold"}.get(code >> 3 & 3, "unused")
    cause = {"criterion": code & 7, "mode": mode, "alarm": bool(code & 0x80)}
    if mode == "threshold":
        cause.update(fallen=bool(code & 0x20), exceeded=bool(code & 0x40))
    at += 1
    if not long:
        return cause, at
    if what == POWER:  # a field of its own says which of the voltages
        cause["field"], at, kind, size = payload[at : at + 1].hex(), at + 1, 0x21, 2
    divisor = 1000 if what == POWER else 100 if what in (TEMPERATURE, HUMIDITY) else 1
    for name in ("value", "gap")[: 2 if mode == "threshold" else 1]:
        value = payload[at : at + size]
        if len(value) < size:
            raise UnreadableError(f"offset {at}: the {name} of a cause has {size} bytes, {len(value)} are left")
        cause[name] = value.hex() if kind in LENGTH_BYTES else scaled(number(kind, value), divisor)
        at += size
    if mode == "threshold":
        end = at + 1 + (4 if payload[at : at + 1] >= b"\x80" else 0)
        if end > len(payload):
            raise UnreadableError(f"offset {at}: the occurrences of a cause are cut off")
        cause["occurrences"] = payload[at] & 0x7F if end == at + 1 else payload[at + 1 : end].hex()
        at = end
    return cause, at


def scaled(value, divisor):
    return value if value is None or divisor == 1 else value / divisor


# --- batches --------------------------------------------------------------------------------------------------------

# The three Huffman codes: how many bits a difference has (0 to 14, 15: a whole value follows) by its code's text
CODES = tuple(
    {text: size for size, text in enumerate(codes.split())}
    for codes in (
        """00 01 11 101 1001 10001 100001 1000001 10000001 1000000000
           10000000010 10000000011 10000000100 10000000101 10000000110 10000000111""",
        """1101111 11010 1100 011 111 10 00 010 110110 110111011
           110111001 1101110101 1101110100 1101110000 11011100011 11011100010""",
        """1001 101 00 01 11 10001 100001 1000001 10000001 1000000000
           10000000010 10000000011 10000000100 10000000101 10000000110 10000000111""",
    )
)
WHOLE = 15
TIMES = 1  # the code that times have


class Bits:
    """A stream of bits, the least significant of a byte first."""

    def __init__(self, payload):
        self.text = "".join(f"{byte:08b}"[::-1] for byte in payload)
        self.at = 0

    def take(self, count):
        if self.at + count > len(self.text):
            raise UnreadableError(f"offset {len(self.text) // 8}: the batch ends, {count} more bits are needed")
        self.at += count
        return self.text[self.at - count : self.at]

    def number(self, count):
        """A value: its first bits, as many as do not fill a byte, are the upper ones; each byte is written backward."""
        text = self.take(count)
        first = count % 8 or 8
        parts = [text[:first], *(text[i : i + 8] for i in range(first, count, 8))]
        return int("".join(f"{int(part[::-1], 2):0{len(part)}b}" for part in parts), 2)

    def size(self, code):
        """How many bits the next difference has; 15 where a whole value follows."""
        begin = self.at
        if not 0 <= code < len(CODES):
            raise UnreadableError(f"offset {begin // 8}: Huffman code {code} is not known")
        for length in range(2, 12):
            found = CODES[code].get(self.text[begin : begin + length])
            if found is not None and begin + length <= len(self.text):
                self.at += length
                return found
        raise UnreadableError(f"offset {begin // 8}: these bits are no Huffman code")

    def time(self, before, code=TIMES):
        size = self.size(code)
        if size == WHOLE:
            return self.number(32)
        return before + (self.number(size) + (1 << size) - 1 if size else 0)


class Series:
    """One measure of a batch while it is unpacked."""

    def __init__(self, bits, what, time):
        self.name, self.step, self.bits, self.signed, self.divisor = what
        self.values = [self.whole(bits)]
        self.times = [time]
        self.kind = self.code = 0

    def whole(self, bits):
        value = bits.number(self.bits)
        return value - (1 << self.bits) if self.signed and value >> self.bits - 1 else value

    def next(self, bits, size):
        """The value whose difference to the one before has so many bits."""
        before = self.values[-1]
        if size == 0:
            return before
        if size == WHOLE:
            return self.whole(bits)
        raw = bits.number(size)
        if self.kind == 0:
            return before + self.step * (raw if raw >= 1 << size - 1 else raw + 1 - (1 << size))
        return before + (1 if self.kind == 1 else -1) * self.step * (raw + (1 << size) - 1)


def batch(payload, model):
    tag_bits, tags = BATCHES[model]
    bits = Bits(payload)
    common, empty, measures = payload[0] & 2, payload[0] & 4, payload[0] >> 4
    bits.take(8)
    counter = bits.number(3)
    bits.take(1)
    series, last, order = {}, 0, []
    for _ in range(measures):
        what = tag(bits, tag_bits, tags)
        last = bits.time(last) if last else bits.number(32)
        series[what[0]] = one = Series(bits, what, last)
        order.append(one)
        if not empty:
            one.kind, one.code = bits.number(2), bits.number(2)
    if not empty and order:
        if common:
            last = common_times(bits, series, order, tag_bits, tags)
        else:
            last = separate_times(bits, series, last, measures, tag_bits, tags)
    sent = bits.time(last) if last else bits.number(32)
    return {"batch_counter": counter, "samples": samples(series.values(), sent)}


def tag(bits, tag_bits, tags):
    at, label = bits.at, bits.number(tag_bits)
    if label not in tags:
        raise UnreadableError(f"offset {at // 8}: tag {label} of a batch is not known")
    return tags[label]


def of_tag(bits, series, tag_bits, tags):
    name = tag(bits, tag_bits, tags)[0]
    if name not in series:
        raise UnreadableError(f"offset {bits.at // 8}: samples of {name}, which the batch did not announce")
    return series[name]


def common_times(bits, series, order, tag_bits, tags):
    """One row of times for all, and for each measure which of them it has."""
    times, count, code = [], bits.number(8), bits.number(2)
    for index in range(count):
        size = bits.size(code)
        if size == WHOLE:
            times.append(bits.number(32))
        elif index == 0:
            times.append(order[0].times[0])
        else:
            times.append(times[-1] + (bits.number(size) + (1 << size) - 1 if size else 0))
    for _ in order:
        one = of_tag(bits, series, tag_bits, tags)
        first = True
        for time in times:
            if bits.number(1):
                size = bits.size(one.code)
                if size == 0 and first:  # the sample that was told in full
                    first = False
                    continue
                one.values.append(one.next(bits, size))
                one.times.append(time)
    return times[-1] if times else 0


def separate_times(bits, series, last, measures, tag_bits, tags):
    """Each measure with a row of its own."""
    for _ in range(measures):
        one = of_tag(bits, series, tag_bits, tags)
        count = bits.number(8)
        code = bits.number(2) if count else 0
        for _ in range(count):
            one.times.append(bits.time(one.times[-1], code))
            last = max(last, one.times[-1])
            one.values.append(one.next(bits, bits.size(one.code)))
    return last


def samples(series, sent):
    """Rows of values by their age, oldest first."""
    rows = {}
    for one in series:
        for time, value in zip(one.times, one.values, strict=True):
            if time > sent:
                raise UnreadableError(f"the batch has a sample of {time} s, but was sent at {sent} s")
            row = rows.setdefault(sent - time, {"age_s": sent - time})
            row[one.name] = bool(value) if one.bits == 1 else value / one.divisor if one.divisor > 1 else value
    return [rows[age] for age in sorted(rows, reverse=True)]


# --- pulses ---------------------------------------------------------------------------------------------------------


def read_weights(variables):
    """For each input: litres a pulse, and what the meter showed at which count."""
    weights = {}
    for number in range(3):
        values = {}
        for name, default in (("litres_per_pulse", ""), ("start_volume_m3", "0"), ("start_pulses", "0")):
            text = variables.get(channel(name, number), default).strip()
            try:
                values[name] = float(text) if text else None
            except ValueError:
                values[name] = -1.0
            if values[name] is not None and not 0 <= values[name] < 1e12:
                raise UnreadableError(f"variable {channel(name, number)} is {text!r}, a number from 0 is needed")
        weights[number] = values
    return weights


def volumes(row, weights, warnings):
    for number, weight in weights.items():
        pulses = row.get(channel("pulse_total", number))
        if pulses is None or weight["litres_per_pulse"] is None:
            continue
        since = pulses - (weight["start_pulses"] or 0)
        if since < 0:
            warnings.append(f"input {number + 1} has counted {pulses}, less than its start_pulses: was it reset?")
            continue
        volume = (weight["start_volume_m3"] or 0) + since * weight["litres_per_pulse"] / 1000
        row[channel("volume", number)] = round(volume, 6)


# --- downlinks ------------------------------------------------------------------------------------------------------

READS = {"temperature": TEMPERATURE, "humidity": HUMIDITY, "firmware": FIRMWARE, "battery": POWER, "index": INDEX}
FORMS = {  # name: hex before the value, bytes of the value, least, most
    "confirmed": ("11058004000008", 1, 0, 1),
    "retries": ("11058004000120", 1, 0, 255),
    "rejoin_min": ("1150800400", 2, 0, 0xFFFF),
}


def encode(command):
    """{"reboot": true}, {"confirmed": true}, {"retries": 3}, {"rejoin_min": 60} or {"read": "temperature"}."""
    if type(command) is not dict or len(command) != 1:
        return {"errors": [f"a command has one key, of reboot, read, {', '.join(FORMS)}"]}
    ((name, value),) = command.items()
    if name == "reboot" and value is True:
        return {"bytes": bytes.fromhex("1150005000"), "f_port": PORT}
    if name == "read" and type(value) is str and value in READS:
        cluster, attribute = READS[value]
        return {"bytes": b"\x11\x00" + cluster.to_bytes(2, "big") + attribute.to_bytes(2, "big"), "f_port": PORT}
    if name in FORMS:
        before, size, least, most = FORMS[name]
        if type(value) in ((bool, int) if most == 1 else (int,)) and least <= value <= most:
            return {"bytes": bytes.fromhex(before) + int(value).to_bytes(size, "big"), "f_port": PORT}
    return {"errors": [f"known are reboot: true, read: one of {', '.join(READS)}, and {', '.join(FORMS)}"]}
