"""What the radio process and the daemon say to each other, as bytes in two pipes.

A message is a byte that says which, two bytes of length, and a body of fixed fields with at most one or two texts at
its end; little endian. Nothing is interpreted that could be anything else than numbers, bytes and text: a process that
crashes may say anything before it does.

No message is longer than a pipe takes in one piece (`PIPE_BUF`), and each is written in one piece or not at all. So a
process that is killed leaves whole messages behind, and what it had said is heard to the last frame.

Whatever breaks the rules raises `PipeFault`; there is no way to find the next message then.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.model import AtCounter, Crc, DownlinkRequest, Fsk, GatewayEui, Lora, TxResult
from gateway.radio.chip import ChipPlan, Examination, Option, RadioChannel, RawFrame, Reset, TroubleKind
from gateway.radio.counter import TURN_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PIPE_BUF: Final = 4096
"""What Linux writes into a pipe in one piece (pipe(7))."""

HEADER: Final = struct.Struct("<BH")
LONGEST_BODY: Final = PIPE_BUF - HEADER.size

LONGEST_TEXT: Final = 1000
"""Bytes of a text for a person; what is longer is cut."""


LONGEST_OPTION: Final = 4000
"""Bytes of what a driver is told in one piece."""


class PipeFault(ValueError):  # noqa: N818 - like those of `wire`
    """These bytes are no message."""


# --- up: what the radio process says --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Up:
    """The chip hears. `count_us` is what its counter shows, continued over every start before this one."""

    count_us: int
    monotonic_us: int
    name: str
    standing: str  # how the process is served by the machine: its priority, its memory
    eui: GatewayEui | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame, with the count and the clock since boot at its end."""

    frame: RawFrame  # counter_us is the low part of count_us
    count_us: int
    monotonic_us: int


@dataclass(frozen=True, slots=True)
class Beat:
    """Once a second: what the counter shows, what the registers show, what has been so far."""

    count_us: int  # carried on from the last start by the clock since boot, and corrected by the counter
    monotonic_us: int
    counter_us: int  # as the chip tells it, on the scale of count_us; the two part when it lies
    read_us: int  # how long it took to tell
    heard: int  # frames, damaged ones included
    dropped: int  # of these, for want of room in the pipe
    turns: int  # of the loop
    worst_turn_us: int  # the longest since the last beat
    examination: Examination
    pps_count_us: int | None = None  # the count at the last edge of the pulse per second


@dataclass(frozen=True, slots=True)
class Trouble:
    """The chip is down until it is reset."""

    kind: TroubleKind
    problem: str
    hint: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a transmission."""

    number: int
    result: TxResult
    detail: str
    on_air: bool  # it was on the air, or may have been


@dataclass(frozen=True, slots=True)
class Bye:
    """Told to stop, and stopped: the chip is silent."""


Upward = Up | Heard | Beat | Trouble | Report | Bye

# --- down: what the daemon says -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tell:
    """Something for the driver; any number of these come before the Setup."""

    name: str
    value: Option


@dataclass(frozen=True, slots=True)
class Setup:
    """Which chip, what to hear, and where the count stands."""

    driver: str  # "module:function"
    plan: ChipPlan
    poll_us: int
    count_us: int | None = None  # what the count was …
    monotonic_us: int = 0  # … at this time; None: the count begins as the counter does
    realtime: bool = True  # whether to ask the machine for it


@dataclass(frozen=True, slots=True)
class Send:
    """Put this on the air at this count. `request.timing` is the same count as the counter shows it."""

    number: int
    start_us: int
    airtime_us: int
    request: DownlinkRequest  # `power_dbm_eirp` is what the connector gets; ref and receiver stay here


@dataclass(frozen=True, slots=True)
class Again:
    """Reset the chip and start it anew."""

    level: Reset


@dataclass(frozen=True, slots=True)
class Quit:
    """Abort what is being sent, stop the chip, end."""


Downward = Tell | Setup | Send | Again | Quit

# --- pieces of a body -----------------------------------------------------------------------------------------------

_NO_I64: Final = -(1 << 63)
_NO_I32: Final = -(1 << 31)
_NO_U32: Final = (1 << 32) - 1
_CODING_RATES: Final = (None, "4/5", "4/6", "4/7", "4/8")
_RESULTS: Final = tuple(TxResult)
_LORA, _FSK, _ANY_LORA = range(3)

_HEARD: Final = struct.Struct("<qqIfffBBbIi")
_MODULATION: Final = struct.Struct("<BIIB")  # which, SF or bit/s, Hz or deviation, coding rate
_UP: Final = struct.Struct("<qq?8s")
_BEAT: Final = struct.Struct("<qqqIQQQIhhhbbfq")
_REPORT: Final = struct.Struct("<IB?")
_SETUP: Final = struct.Struct("<?qqI?")
_SEND: Final = struct.Struct("<IqIIf??i")
_CHANNEL: Final = struct.Struct("<IBiI")
_NUMBER: Final = struct.Struct("<Q")
_PLAN: Final = struct.Struct("<IIII??BB")


class _Body:
    """The body of one message, read from its beginning to its end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def take(self, size: int) -> bytes:
        octets = self._octets[self._at : self._at + size]
        if len(octets) != size:
            raise PipeFault(f"a body ends {size - len(octets)} bytes too soon")
        self._at += size
        return octets

    def byte(self) -> int:
        return self.take(1)[0]

    def text(self) -> str:
        return self.take(int.from_bytes(self.take(2), "little")).decode()

    def rest(self) -> bytes:
        return self.take(len(self._octets) - self._at)

    def close(self) -> None:
        if self._at != len(self._octets):
            raise PipeFault(f"{len(self._octets) - self._at} bytes after the end of a body")


def _text(words: str, most: int = LONGEST_TEXT) -> bytes:
    octets = words.encode("utf-8", "replace")[:most].decode("utf-8", "ignore").encode()  # a letter is cut as a whole
    return len(octets).to_bytes(2, "little") + octets


def _modulation(modulation: Lora | Fsk | None) -> bytes:
    match modulation:
        case Lora(factor, bandwidth_hz, coding_rate):
            return _MODULATION.pack(_LORA, factor, bandwidth_hz, _CODING_RATES.index(coding_rate))
        case Fsk(bit_rate, deviation_hz):
            return _MODULATION.pack(_FSK, bit_rate, _NO_U32 if deviation_hz is None else deviation_hz, 0)
        case None:
            return _MODULATION.pack(_ANY_LORA, 0, 0, 0)
        case _:
            raise ValueError(f"a modulation of {modulation!r}")


def _read_modulation(body: _Body) -> Lora | Fsk | None:
    which, rate, width, coding_rate = body.fields(_MODULATION)
    match which:
        case 0:
            return Lora(rate, width, _CODING_RATES[coding_rate])
        case 1:
            return Fsk(rate, None if width == _NO_U32 else width)
        case 2:
            return None
        case _:
            raise PipeFault(f"modulation {which}")


def _some_modulation(body: _Body) -> Lora | Fsk:
    modulation = _read_modulation(body)
    if modulation is None:
        raise PipeFault("a frame without modulation")
    return modulation


def _option(value: Option) -> bytes:
    match value:
        case bool():
            return b"t" + bytes((value,))
        case str():
            return b"s" + _text(value, LONGEST_OPTION)
        case int():
            return b"i" + struct.pack("<q", value)
        case float():
            return b"f" + struct.pack("<d", value)
        case bytes():
            return b"b" + len(value).to_bytes(2, "little") + value
        case None:
            return b"n"


def _read_option(body: _Body) -> Option:
    value: Option
    match body.take(1):
        case b"s":
            value = body.text()
        case b"i":
            (value,) = struct.unpack("<q", body.take(8))
        case b"f":
            (value,) = struct.unpack("<d", body.take(8))
        case b"t":
            value = bool(body.byte())
        case b"b":
            value = body.take(int.from_bytes(body.take(2), "little"))
        case b"n":
            value = None
        case other:
            raise PipeFault(f"an option of type {other!r}")
    return value


def _plan(plan: ChipPlan) -> bytes:
    lowest_hz, highest_hz, (first_hz, second_hz) = plan.lowest_tx_hz, plan.highest_tx_hz, plan.radios_hz
    beside = [channel for channel in (plan.service, plan.fsk) if channel is not None]
    which = (plan.service is not None) | (plan.fsk is not None) << 1
    head = _PLAN.pack(
        first_hz or 0, second_hz or 0, lowest_hz, highest_hz, plan.public, plan.fine_time, len(plan.channels), which
    )
    return b"".join((head, _text(plan.region), *map(_channel, plan.channels), *map(_channel, beside)))


def _channel(channel: RadioChannel) -> bytes:
    head = _CHANNEL.pack(channel.frequency_hz, channel.radio, channel.if_hz, channel.bandwidth_hz)
    return head + _modulation(channel.modulation)


def _read_plan(body: _Body) -> ChipPlan:
    first_hz, second_hz, lowest_hz, highest_hz, public, fine_time, count, which = body.fields(_PLAN)
    return ChipPlan(
        region=body.text(),
        radios_hz=(first_hz or None, second_hz or None),
        channels=tuple(_read_channel(body) for _ in range(count)),
        service=_read_channel(body) if which & 1 else None,
        fsk=_read_channel(body) if which & 2 else None,
        lowest_tx_hz=lowest_hz,
        highest_tx_hz=highest_hz,
        public=public,
        fine_time=fine_time,
    )


def _read_channel(body: _Body) -> RadioChannel:
    frequency_hz, radio, if_hz, bandwidth_hz = body.fields(_CHANNEL)
    return RadioChannel(frequency_hz, radio, if_hz, _read_modulation(body), bandwidth_hz)


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _read_float(value: float) -> float | None:
    return None if math.isnan(value) else value


def _flag(value: bool | None) -> int:
    return -1 if value is None else value


def _read_flag(value: int) -> bool | None:
    return None if value < 0 else bool(value)


def _register(value: int | None) -> int:
    return -1 if value is None else value & 0xFF


def _read_register(value: int) -> int | None:
    return None if value < 0 else value & 0xFF


# --- bodies ---------------------------------------------------------------------------------------------------------


def _heard(heard: Heard) -> bytes:
    frame = heard.frame
    fine_ns, offset_hz = frame.fine_time_ns, frame.frequency_offset_hz
    if frame.modulation is None or not _are_levels(frame.rssi_dbm, frame.snr_db):
        raise ValueError(f"a frame of {frame.rssi_dbm} dBm and an SNR of {frame.snr_db} dB")
    head = _HEARD.pack(
        heard.count_us, heard.monotonic_us, frame.frequency_hz,
        frame.rssi_dbm, _float(frame.signal_rssi_dbm), _float(frame.snr_db),
        frame.channel, frame.rf_chain, frame.crc.value,
        _NO_U32 if fine_ns is None else fine_ns, _NO_I32 if offset_hz is None else offset_hz,
    )  # fmt: skip
    return head + _modulation(frame.modulation) + frame.phy


def _are_levels(rssi_dbm: float, snr_db: float | None) -> bool:
    return math.isfinite(rssi_dbm) and (snr_db is None or math.isfinite(snr_db))


def _read_heard(body: _Body) -> Heard:
    (count_us, monotonic_us, frequency_hz, rssi_dbm, signal_dbm, snr_db, channel, rf_chain, crc, fine_ns,
     offset_hz) = body.fields(_HEARD)  # fmt: skip
    if not _are_levels(rssi_dbm, _read_float(snr_db)):
        raise PipeFault(f"a frame of {rssi_dbm} dBm and an SNR of {snr_db} dB")
    frame = RawFrame(
        modulation=_some_modulation(body),
        phy=body.rest(),
        counter_us=count_us % TURN_US,
        frequency_hz=frequency_hz,
        rssi_dbm=rssi_dbm,
        signal_rssi_dbm=_read_float(signal_dbm),
        snr_db=_read_float(snr_db),
        channel=channel,
        rf_chain=rf_chain,
        crc=Crc(crc),
        fine_time_ns=None if fine_ns == _NO_U32 else fine_ns,
        frequency_offset_hz=None if offset_hz == _NO_I32 else offset_hz,
    )
    return Heard(frame, count_us, monotonic_us)


def _up(up: Up) -> bytes:
    head = _UP.pack(up.count_us, up.monotonic_us, up.eui is not None, up.eui or bytes(8))
    return head + _text(up.name) + _text(up.standing)


def _read_up(body: _Body) -> Up:
    count_us, monotonic_us, has_eui, eui = body.fields(_UP)
    return Up(count_us, monotonic_us, body.text(), body.text(), GatewayEui(eui) if has_eui else None)


def _beat(beat: Beat) -> bytes:
    seen = beat.examination
    head = _BEAT.pack(
        beat.count_us, beat.monotonic_us, beat.counter_us, beat.read_us,
        beat.heard, beat.dropped, beat.turns, beat.worst_turn_us,
        _register(seen.version), _register(seen.agc_status), _register(seen.arb_status),
        _flag(seen.agc_parity_error), _flag(seen.arb_parity_error), _float(seen.temperature_c),
        _NO_I64 if beat.pps_count_us is None else beat.pps_count_us,
    )  # fmt: skip
    faults = list(seen.faults.items())[:MOST_FAULTS]
    return b"".join((head, bytes((len(faults),)), *(_text(name, 60) + _NUMBER.pack(many) for name, many in faults)))


def _read_beat(body: _Body) -> Beat:
    (count_us, monotonic_us, counter_us, read_us, heard, dropped, turns, worst_turn_us, version, agc_status, arb_status,
     agc_parity, arb_parity, temperature_c, pps_us) = body.fields(_BEAT)  # fmt: skip
    faults = {body.text(): int(body.fields(_NUMBER)[0]) for _ in range(body.byte())}
    examination = Examination(
        _read_register(version),
        _read_register(agc_status),
        _read_register(arb_status),
        _read_flag(agc_parity),
        _read_flag(arb_parity),
        _read_float(temperature_c),
        faults,
    )
    pps_count_us = None if pps_us == _NO_I64 else pps_us
    return Beat(
        count_us, monotonic_us, counter_us, read_us, heard, dropped, turns, worst_turn_us, examination, pps_count_us
    )


def _trouble(trouble: Trouble) -> bytes:
    return bytes((trouble.kind,)) + _text(trouble.problem) + _text(trouble.hint)


def _report(report: Report) -> bytes:
    return _REPORT.pack(report.number, _RESULTS.index(report.result), report.on_air) + _text(report.detail)


def _read_report(body: _Body) -> Report:
    number, result, on_air = body.fields(_REPORT)
    return Report(number, _RESULTS[result], body.text(), on_air)


def _setup(setup: Setup) -> bytes:
    head = _SETUP.pack(
        setup.count_us is not None, setup.count_us or 0, setup.monotonic_us, setup.poll_us, setup.realtime
    )
    return head + _text(setup.driver) + _plan(setup.plan)


def _read_setup(body: _Body) -> Setup:
    has_count, count_us, monotonic_us, poll_us, realtime = body.fields(_SETUP)
    return Setup(body.text(), _read_plan(body), poll_us, count_us if has_count else None, monotonic_us, realtime)


def _send(send: Send) -> bytes:
    request = send.request
    preamble = -1 if request.preamble_symbols is None else request.preamble_symbols
    head = _SEND.pack(
        send.number, send.start_us, send.airtime_us, request.frequency_hz, request.power_dbm_eirp,
        request.invert_polarity, request.payload_crc, preamble,
    )  # fmt: skip
    return head + _modulation(request.modulation) + request.phy


def _read_send(body: _Body) -> Send:
    number, start_us, airtime_us, frequency_hz, power_dbm, inverted, payload_crc, preamble = body.fields(_SEND)
    modulation = _some_modulation(body)
    request = DownlinkRequest(
        ref=str(number),
        phy=body.rest(),
        receiver="",
        timing=AtCounter(start_us % TURN_US),
        frequency_hz=frequency_hz,
        modulation=modulation,
        power_dbm_eirp=power_dbm,
        invert_polarity=inverted,
        payload_crc=payload_crc,
        preamble_symbols=None if preamble < 0 else preamble,
    )
    return Send(number, start_us, airtime_us, request)


MOST_FAULTS: Final = 32
"""Kinds of faults that a beat has room for."""

_KINDS: Final[Mapping[int, tuple[type, Callable[[Any], bytes], Callable[[_Body], Any]]]] = {
    0x01: (Up, _up, _read_up),
    0x02: (Heard, _heard, _read_heard),
    0x03: (Beat, _beat, _read_beat),
    0x04: (Trouble, _trouble, lambda body: Trouble(TroubleKind(body.byte()), body.text(), body.text())),
    0x05: (Report, _report, _read_report),
    0x06: (Bye, lambda _: b"", lambda _: Bye()),
    0x80: (
        Tell,
        lambda tell: _text(tell.name) + _option(tell.value),
        lambda body: Tell(body.text(), _read_option(body)),
    ),
    0x81: (Setup, _setup, _read_setup),
    0x82: (Send, _send, _read_send),
    0x83: (Again, lambda again: bytes((again.level,)), lambda body: Again(Reset(body.byte()))),
    0x84: (Quit, lambda _: b"", lambda _: Quit()),
}
_WRITERS: Final = {kind: (number, write) for number, (kind, write, _) in _KINDS.items()}
_READERS: Final = {number: read for number, (_, _, read) in _KINDS.items()}

Message = Upward | Downward


def encode(message: Message) -> bytes:
    """The message as it goes into a pipe; PipeFault for one that no pipe takes, as with a number too large."""
    number, write = _WRITERS[type(message)]
    try:
        body = write(message)
    except (struct.error, ValueError, KeyError) as error:
        raise PipeFault(f"{type(message).__name__}: {error}") from error
    if len(body) > LONGEST_BODY:
        raise PipeFault(f"{type(message).__name__}: {len(body)} bytes, at most {LONGEST_BODY}")
    return HEADER.pack(number, len(body)) + body


class Decoder:
    """Takes bytes as a pipe gives them, in pieces of any size, and returns whole messages."""

    def __init__(self) -> None:
        self._octets = b""

    def feed(self, octets: bytes) -> list[Message]:
        """The messages that are complete with these bytes. PipeFault at the first that is none; the rest is lost."""
        self._octets += octets
        messages: list[Message] = []
        at = 0
        while len(self._octets) - at >= HEADER.size:
            number, size = HEADER.unpack_from(self._octets, at)
            reader = _READERS.get(number)
            if reader is None or size > LONGEST_BODY:
                raise PipeFault(f"no message begins with {number:#04x} and has {size} bytes")
            end = at + HEADER.size + size
            if len(self._octets) < end:
                break
            messages.append(_read(reader, self._octets[at + HEADER.size : end]))
            at = end
        self._octets = self._octets[at:]
        return messages


def _read(reader: Callable[[_Body], Message], octets: bytes) -> Message:
    body = _Body(octets)
    try:
        message = reader(body)
    except PipeFault:
        raise
    except (ValueError, IndexError) as error:  # an enumeration without this member, text that is not UTF-8
        raise PipeFault(str(error)) from None
    body.close()
    return message


def batches(encoded: Iterable[bytes]) -> list[bytes]:
    """Messages joined to as few pieces as a pipe takes whole."""
    pieces: list[bytes] = []
    size = PIPE_BUF
    for message in encoded:
        size += len(message)
        if size > PIPE_BUF:
            pieces.append(message)
            size = len(message)
        else:
            pieces[-1] += message
    return pieces
