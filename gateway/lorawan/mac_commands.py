"""MAC commands of LoRaWAN 1.0.0 to 1.1, both ways: bytes to types and back.

A command is one byte that names it (CID) and a body whose length only the CID tells: what follows an unknown one cannot
be found. So reading ends there: everything before it counts, the rest is reported and nothing is raised, whatever
the bytes are.

Every body is a little-endian number cut into fields, lowest bits first. The table of each command says how; one reader
and one writer serve them all. Reserved bits are written as zero and ignored when read.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), chapter 5, class B chapter 12; LoRaWAN 1.1, chapter 5, and 18.2 (DeviceMode).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

from gateway.model import MacVersion

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EIRP_DBM = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)
"""What TxParamSetupReq means by its MaxEIRP, in dBm (TS001-1.0.4, 5.8)."""

BATTERY_EXTERNAL = 0
"""DevStatusAns of a device with an external supply; 1 is an empty battery and 254 a full one (5.5)."""

BATTERY_UNKNOWN = 255
"""DevStatusAns of a device that cannot measure its battery."""

KEEP = 15
"""Data rate or power of a LinkADRReq that leaves the device's own as it is; since 1.0.4 and in 1.1 (5.2)."""

PROPRIETARY = range(0x80, 0x100)
"""CIDs that LoRaWAN leaves to makers."""


class MalformedCommand(ValueError):  # noqa: N818 - reads as the sentence it is
    """These values fit no MAC command; the text says why."""


class _Bits(NamedTuple):
    """A field of a body: how many bits, and what the number in them stands for."""

    name: str
    bits: int
    kind: type[int] = int
    signed: bool = False
    step: int = 1


def _flag(name: str) -> _Bits:
    return _Bits(name, 1, bool)


def _frequency() -> _Bits:
    return _Bits("frequency_hz", 24, step=100)


def _reserved(bits: int) -> _Bits:
    return _Bits("", bits)


@dataclass(frozen=True, slots=True)
class MacCommand:
    """What all commands have: a CID, the layout of a body, and the first version that knows them."""

    cid: ClassVar[int]
    layout: ClassVar[tuple[_Bits, ...]] = ()
    since: ClassVar[MacVersion] = MacVersion.V1_0_0

    def __post_init__(self) -> None:
        """Refuse a value that does not fit its bits; MalformedCommand says which."""
        for field in self.layout:
            if field.name:
                _check(type(self).__name__, field, getattr(self, field.name))

    @classmethod
    def body_size(cls) -> int:
        """Bytes after the CID."""
        return sum(field.bits for field in cls.layout) // 8

    @classmethod
    def size(cls) -> int:
        """Bytes with the CID."""
        return 1 + cls.body_size()

    @classmethod
    def known_in(cls, version: MacVersion) -> bool:
        """Whether a device of this version knows the command."""
        return cls.since <= version

    def to_bytes(self) -> bytes:
        """CID and body."""
        number = at = 0
        for field in self.layout:
            if field.name:
                number |= (getattr(self, field.name) // field.step & (1 << field.bits) - 1) << at
            at += field.bits
        return bytes((self.cid,)) + number.to_bytes(at // 8, "little")

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """The command with exactly these bytes after its CID; every value of them is one."""
        number = int.from_bytes(body, "little")
        values = {}
        for field in cls.layout:
            value = number & (1 << field.bits) - 1
            number >>= field.bits
            if field.signed and value >> field.bits - 1:
                value -= 1 << field.bits
            if field.name:
                values[field.name] = field.kind(value * field.step)
        return cls(**values)


def _check(command: str, field: _Bits, value: int) -> None:
    number, beyond_step = divmod(value, field.step)
    if beyond_step:
        raise MalformedCommand(f"{command}: {field.name} {value} is no multiple of {field.step}")
    low = -(1 << field.bits - 1) if field.signed else 0
    if not low <= number < low + (1 << field.bits):
        highest = (low + (1 << field.bits) - 1) * field.step
        raise MalformedCommand(f"{command}: {field.name} {value} does not fit, it goes from {low} to {highest}")


# --- from the device ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResetInd(MacCommand):
    """1.1, ABP: the device has reset its MAC layer to its defaults and speaks LoRaWAN 1.`minor` (5.1)."""

    cid = 0x01
    layout = (_Bits("minor", 4), _reserved(4))
    since = MacVersion.V1_1_0
    minor: int = 1


@dataclass(frozen=True, slots=True)
class LinkCheckReq(MacCommand):
    """The device asks how well it is heard."""

    cid = 0x02


@dataclass(frozen=True, slots=True)
class LinkADRAns(MacCommand):
    """What the device took of a LinkADRReq: nothing, unless all three are set."""

    cid = 0x03
    layout = (_flag("ch_mask_ack"), _flag("data_rate_ack"), _flag("tx_power_ack"), _reserved(5))
    ch_mask_ack: bool
    data_rate_ack: bool
    tx_power_ack: bool


@dataclass(frozen=True, slots=True)
class DutyCycleAns(MacCommand):
    """The device keeps to the duty cycle."""

    cid = 0x04


@dataclass(frozen=True, slots=True)
class RXParamSetupAns(MacCommand):
    """What the device took of an RXParamSetupReq: nothing, unless all three are set."""

    cid = 0x05
    layout = (_flag("channel_ack"), _flag("rx2_data_rate_ack"), _flag("rx1_dr_offset_ack"), _reserved(5))
    channel_ack: bool
    rx2_data_rate_ack: bool
    rx1_dr_offset_ack: bool


@dataclass(frozen=True, slots=True)
class DevStatusAns(MacCommand):
    """Battery (1 to 254, see `BATTERY_EXTERNAL` and `BATTERY_UNKNOWN`) and SNR in dB of the request as received."""

    cid = 0x06
    layout = (_Bits("battery", 8), _Bits("margin_db", 6, signed=True), _reserved(2))
    battery: int
    margin_db: int  # -32 to 31


@dataclass(frozen=True, slots=True)
class NewChannelAns(MacCommand):
    """What the device took of a NewChannelReq: nothing, unless both are set."""

    cid = 0x07
    layout = (_flag("channel_frequency_ok"), _flag("data_rate_range_ok"), _reserved(6))
    channel_frequency_ok: bool
    data_rate_range_ok: bool


@dataclass(frozen=True, slots=True)
class RXTimingSetupAns(MacCommand):
    """The device has moved its receive windows."""

    cid = 0x08


@dataclass(frozen=True, slots=True)
class TxParamSetupAns(MacCommand):
    """The device keeps to dwell time and EIRP. Silence instead: its region does not have the command."""

    cid = 0x09
    since = MacVersion.V1_0_2


@dataclass(frozen=True, slots=True)
class DlChannelAns(MacCommand):
    """What the device took of a DlChannelReq: nothing, unless both are set."""

    cid = 0x0A
    layout = (_flag("channel_frequency_ok"), _flag("uplink_frequency_exists"), _reserved(6))
    since = MacVersion.V1_0_2
    channel_frequency_ok: bool
    uplink_frequency_exists: bool


@dataclass(frozen=True, slots=True)
class RekeyInd(MacCommand):
    """1.1, OTAA: the device uses the session of the last join-accept and speaks LoRaWAN 1.`minor` (5.10)."""

    cid = 0x0B
    layout = (_Bits("minor", 4), _reserved(4))
    since = MacVersion.V1_1_0
    minor: int = 1


@dataclass(frozen=True, slots=True)
class ADRParamSetupAns(MacCommand):
    """The device has taken ADR_ACK_LIMIT and ADR_ACK_DELAY."""

    cid = 0x0C
    since = MacVersion.V1_1_0


@dataclass(frozen=True, slots=True)
class DeviceTimeReq(MacCommand):
    """The device asks for the time at which this uplink ended."""

    cid = 0x0D
    since = MacVersion.V1_0_3


@dataclass(frozen=True, slots=True)
class RejoinParamSetupAns(MacCommand):
    """The device rejoins after so many uplinks, and when `time_ok` also after so much time."""

    cid = 0x0F
    layout = (_flag("time_ok"), _reserved(7))
    since = MacVersion.V1_1_0
    time_ok: bool


@dataclass(frozen=True, slots=True)
class PingSlotInfoReq(MacCommand):
    """Class B: the device tells how often it listens, every 2**`periodicity` seconds."""

    cid = 0x10
    layout = (_Bits("periodicity", 3), _reserved(5))
    periodicity: int


@dataclass(frozen=True, slots=True)
class PingSlotChannelAns(MacCommand):
    """Class B: what the device took of a PingSlotChannelReq."""

    cid = 0x11
    layout = (_flag("channel_frequency_ok"), _flag("data_rate_ok"), _reserved(6))
    channel_frequency_ok: bool
    data_rate_ok: bool


@dataclass(frozen=True, slots=True)
class BeaconTimingReq(MacCommand):
    """Class B: the device asks when the next beacon comes. Deprecated since 1.0.3."""

    cid = 0x12


@dataclass(frozen=True, slots=True)
class BeaconFreqAns(MacCommand):
    """Class B: whether the device can hear beacons there."""

    cid = 0x13
    layout = (_flag("beacon_frequency_ok"), _reserved(7))
    beacon_frequency_ok: bool


CLASS_A = 0
CLASS_C = 2


@dataclass(frozen=True, slots=True)
class DeviceModeInd(MacCommand):
    """1.1: the device has changed to `CLASS_A` or `CLASS_C`."""

    cid = 0x20
    layout = (_Bits("device_class", 8),)
    since = MacVersion.V1_1_0
    device_class: int


# --- from the network -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResetConf(MacCommand):
    """Answers ResetInd: the network speaks LoRaWAN 1.`minor`."""

    cid = 0x01
    layout = (_Bits("minor", 4), _reserved(4))
    since = MacVersion.V1_1_0
    minor: int = 1


@dataclass(frozen=True, slots=True)
class LinkCheckAns(MacCommand):
    """Answers LinkCheckReq: dB above the weakest signal that could be demodulated (0 to 254), and by how many heard."""

    cid = 0x02
    layout = (_Bits("margin_db", 8), _Bits("gateways", 8))
    margin_db: int
    gateways: int


@dataclass(frozen=True, slots=True)
class LinkADRReq(MacCommand):
    """Data rate, power and channels to use, and how often to send each frame. Contiguous ones are one block (5.2)."""

    cid = 0x03
    layout = (
        _Bits("tx_power", 4), _Bits("data_rate", 4), _Bits("ch_mask", 16),
        _Bits("nb_trans", 4), _Bits("ch_mask_cntl", 3), _reserved(1),
    )  # fmt: skip
    data_rate: int
    tx_power: int
    ch_mask: int
    ch_mask_cntl: int
    nb_trans: int  # 0: the default, which is 1


@dataclass(frozen=True, slots=True)
class DutyCycleReq(MacCommand):
    """The device may be on the air for 1/2**`max_duty_cycle` of the time, over all sub-bands."""

    cid = 0x04
    layout = (_Bits("max_duty_cycle", 4), _reserved(4))
    max_duty_cycle: int


@dataclass(frozen=True, slots=True)
class RXParamSetupReq(MacCommand):
    """The data rate offset of RX1, data rate and frequency of RX2."""

    cid = 0x05
    layout = (_Bits("rx2_data_rate", 4), _Bits("rx1_dr_offset", 3), _reserved(1), _frequency())
    rx1_dr_offset: int
    rx2_data_rate: int
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class DevStatusReq(MacCommand):
    """Asks for the battery, and how well the device heard the question."""

    cid = 0x06


@dataclass(frozen=True, slots=True)
class NewChannelReq(MacCommand):
    """Makes or changes an uplink channel; `frequency_hz` 0 removes it. Not in regions with a fixed plan."""

    cid = 0x07
    layout = (_Bits("ch_index", 8), _frequency(), _Bits("min_data_rate", 4), _Bits("max_data_rate", 4))
    ch_index: int
    frequency_hz: int
    min_data_rate: int
    max_data_rate: int


@dataclass(frozen=True, slots=True)
class RXTimingSetupReq(MacCommand):
    """RX1 opens `delay_s` after an uplink, RX2 one second later; 0 means 1."""

    cid = 0x08
    layout = (_Bits("delay_s", 4), _reserved(4))
    delay_s: int


@dataclass(frozen=True, slots=True)
class TxParamSetupReq(MacCommand):
    """Dwell time limits of 400 ms, and the power limit as an index of `MAX_EIRP_DBM`. Only in some regions."""

    cid = 0x09
    layout = (_Bits("max_eirp", 4), _flag("uplink_dwell"), _flag("downlink_dwell"), _reserved(2))
    since = MacVersion.V1_0_2
    max_eirp: int
    uplink_dwell: bool
    downlink_dwell: bool


@dataclass(frozen=True, slots=True)
class DlChannelReq(MacCommand):
    """RX1 of an uplink channel moves to another frequency. Not in regions with a fixed plan."""

    cid = 0x0A
    layout = (_Bits("ch_index", 8), _frequency())
    since = MacVersion.V1_0_2
    ch_index: int
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class RekeyConf(MacCommand):
    """Answers RekeyInd: the network speaks LoRaWAN 1.`minor`."""

    cid = 0x0B
    layout = (_Bits("minor", 4), _reserved(4))
    since = MacVersion.V1_1_0
    minor: int = 1


@dataclass(frozen=True, slots=True)
class ADRParamSetupReq(MacCommand):
    """ADR_ACK_LIMIT is 2**`limit_exp` uplinks, ADR_ACK_DELAY 2**`delay_exp`."""

    cid = 0x0C
    layout = (_Bits("delay_exp", 4), _Bits("limit_exp", 4))
    since = MacVersion.V1_1_0
    limit_exp: int
    delay_exp: int


@dataclass(frozen=True, slots=True)
class DeviceTimeAns(MacCommand):
    """Answers DeviceTimeReq: seconds since 1980-01-06 without leap seconds, and 1/256 s."""

    cid = 0x0D
    layout = (_Bits("seconds", 32), _Bits("fraction", 8))
    since = MacVersion.V1_0_3
    seconds: int
    fraction: int

    @classmethod
    def at(cls, gps_time_us: int) -> Self:
        """The answer for this GPS time, which is that of the end of the uplink; rounded down to 1/256 s."""
        seconds, rest_us = divmod(gps_time_us, 1_000_000)
        return cls(seconds & 0xFFFF_FFFF, rest_us * 256 // 1_000_000)


@dataclass(frozen=True, slots=True)
class ForceRejoinReq(MacCommand):
    """Rejoin now with `rejoin_type` 0 or 2, up to 1 + `max_retries` times, 32 s * 2**`period` apart. Has no answer."""

    cid = 0x0E
    layout = (
        _Bits("data_rate", 4), _Bits("rejoin_type", 3), _reserved(1),
        _Bits("max_retries", 3), _Bits("period", 3), _reserved(2),
    )  # fmt: skip
    since = MacVersion.V1_1_0
    period: int
    max_retries: int
    rejoin_type: int
    data_rate: int


@dataclass(frozen=True, slots=True)
class RejoinParamSetupReq(MacCommand):
    """Rejoin (type 0) at least every 2**(`max_time_n` + 10) s and every 2**(`max_count_n` + 4) uplinks."""

    cid = 0x0F
    layout = (_Bits("max_count_n", 4), _Bits("max_time_n", 4))
    since = MacVersion.V1_1_0
    max_time_n: int
    max_count_n: int


@dataclass(frozen=True, slots=True)
class PingSlotInfoAns(MacCommand):
    """Class B: answers PingSlotInfoReq."""

    cid = 0x10


@dataclass(frozen=True, slots=True)
class PingSlotChannelReq(MacCommand):
    """Class B: where the device has to listen."""

    cid = 0x11
    layout = (_frequency(), _Bits("data_rate", 4), _reserved(4))
    frequency_hz: int
    data_rate: int


@dataclass(frozen=True, slots=True)
class BeaconTimingAns(MacCommand):
    """Class B: the next beacon comes between 30 ms * `delay` and 30 ms * (`delay` + 1) after this downlink."""

    cid = 0x12
    layout = (_Bits("delay", 16), _Bits("channel", 8))
    delay: int
    channel: int


@dataclass(frozen=True, slots=True)
class BeaconFreqReq(MacCommand):
    """Class B: where beacons are; 0 is the region's default."""

    cid = 0x13
    layout = (_frequency(),)
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class DeviceModeConf(MacCommand):
    """Answers DeviceModeInd with the class it named."""

    cid = 0x20
    layout = (_Bits("device_class", 8),)
    since = MacVersion.V1_1_0
    device_class: int


def _by_cid(*commands: type[MacCommand]) -> dict[int, type[MacCommand]]:
    return {command.cid: command for command in commands}


UPLINK_COMMANDS = _by_cid(
    ResetInd, LinkCheckReq, LinkADRAns, DutyCycleAns, RXParamSetupAns, DevStatusAns, NewChannelAns, RXTimingSetupAns,
    TxParamSetupAns, DlChannelAns, RekeyInd, ADRParamSetupAns, DeviceTimeReq, RejoinParamSetupAns, PingSlotInfoReq,
    PingSlotChannelAns, BeaconTimingReq, BeaconFreqAns, DeviceModeInd,
)  # fmt: skip
"""What devices send, by CID."""

DOWNLINK_COMMANDS = _by_cid(
    ResetConf, LinkCheckAns, LinkADRReq, DutyCycleReq, RXParamSetupReq, DevStatusReq, NewChannelReq, RXTimingSetupReq,
    TxParamSetupReq, DlChannelReq, RekeyConf, ADRParamSetupReq, DeviceTimeAns, ForceRejoinReq, RejoinParamSetupReq,
    PingSlotInfoAns, PingSlotChannelReq, BeaconTimingAns, BeaconFreqReq, DeviceModeConf,
)  # fmt: skip
"""What networks send, by CID."""


# --- streams of them ------------------------------------------------------------------------------------------------


class CommandStream(NamedTuple):
    """The commands of a frame in their order, and what was wrong behind them; None when nothing was."""

    commands: tuple[MacCommand, ...]
    problem: str | None


def read_uplink_commands(stream: bytes) -> CommandStream:
    """What a device says in FOpts or on FPort 0, decrypted.

    Commands of every version are read, whatever version the device is said to have: people enter a wrong version more
    often than a device sends what it does not know, and a known length never costs the commands behind it.
    """
    return _read(stream, UPLINK_COMMANDS)


def read_downlink_commands(stream: bytes, version: MacVersion = MacVersion.V1_1_0) -> CommandStream:
    """What a network says in FOpts or on FPort 0, decrypted, as a device of this version understands it.

    A device stops at the first command that its version does not know (5, note on unknown commands).
    """
    return _read(stream, {cid: command for cid, command in DOWNLINK_COMMANDS.items() if command.known_in(version)})


def write_commands(commands: Iterable[MacCommand]) -> bytes:
    """The stream of these commands."""
    return b"".join(command.to_bytes() for command in commands)


def size_of(commands: Iterable[MacCommand]) -> int:
    """Bytes of these commands."""
    return sum(command.size() for command in commands)


def _read(stream: bytes, known: dict[int, type[MacCommand]]) -> CommandStream:
    commands: list[MacCommand] = []
    at = 0
    while at < len(stream):
        cid = stream[at]
        command = known.get(cid)
        if command is None:
            whose = "a maker's own command" if cid in PROPRIETARY else "unknown command"
            return CommandStream(tuple(commands), f"{whose} 0x{cid:02x} at byte {at}, {len(stream) - at} bytes unread")
        body = stream[at + 1 : at + command.size()]
        if len(body) < command.body_size():
            missing = command.body_size() - len(body)
            return CommandStream(tuple(commands), f"{command.__name__} at byte {at} is cut short by {missing} bytes")
        commands.append(command.from_body(body))
        at += command.size()
    return CommandStream(tuple(commands), None)
