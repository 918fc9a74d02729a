"""What travels through the gateway.

A step of the line takes one of these types and returns a richer one: `RadioFrame` (heard), `OpenedUplink` (whose it is
and what it says), `Reading` (what it means), `Record` (kept, with a position). Nothing is filled in later. All are
frozen; a change is `dataclasses.replace`. Units stand in the names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

# --- identities and keys --------------------------------------------------------------------------------------------


class Eui64(bytes):
    """Eight bytes that name a device, a join server or a gateway; big endian as people write them.

    `Eui64.parse` reads the spellings people use (`70B3D57ED0000001`, `70:b3:d5:…`, `70-b3-…`); `str()` is 16 lower hex.
    """

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Wrap eight bytes; ValueError for any other number of them."""
        if len(value) != 8:
            raise ValueError(f"an EUI has 8 bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hex with optional `:`, `-` or blanks; ValueError says what is wrong with it."""
        return cls(_hex_bytes(text, 8, "an EUI"))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"


class DevEui(Eui64):
    """Names a device for its whole life."""

    __slots__ = ()


class JoinEui(Eui64):
    """Names the join server a device asks (AppEUI in LoRaWAN 1.0)."""

    __slots__ = ()


class GatewayEui(Eui64):
    """Names a gateway or a packet forwarder."""

    __slots__ = ()


class DevAddr(int):
    """The 32-bit address of a session; not unique: several devices may share one. `str()` is 8 lower hex."""

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        """Wrap a 32-bit number; ValueError outside of it."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"a DevAddr has 32 bits, {value:#x} does not fit")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read eight hex digits, most significant first, as network servers show it."""
        return cls(int.from_bytes(_hex_bytes(text, 4, "a DevAddr"), "big"))

    def __str__(self) -> str:
        return f"{int(self):08x}"

    def __repr__(self) -> str:
        return f"DevAddr({self})"


class AesKey(bytes):
    """An AES-128 key. Shows itself nowhere: `repr` and `str` hide it, only `.hex()` gives it away."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        """Wrap sixteen bytes; ValueError for any other number of them, without showing them."""
        if len(value) != 16:
            raise ValueError(f"a key has 16 bytes, not {len(value)}")
        return super().__new__(cls, value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 32 hex digits; the ValueError does not repeat them."""
        return cls(_hex_bytes(text, 16, "a key", secret=True))

    def __repr__(self) -> str:
        return "AesKey(…)"

    __str__ = __repr__


def _hex_bytes(text: str, size: int, what: str, *, secret: bool = False) -> bytes:
    digits = text.strip().replace(":", "").replace("-", "").replace(" ", "")
    shown = "this" if secret else repr(text)
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        raise ValueError(f"{what} is written in hex digits, {shown} is not") from None
    if len(value) != size:
        raise ValueError(f"{what} has {2 * size} hex digits, {shown} has {len(digits)}")
    return value


# --- time -----------------------------------------------------------------------------------------------------------


class TimeQuality(StrEnum):
    """Where a time comes from, as contract section 4 spells it."""

    GPS = "gps"
    NTP = "ntp"
    RTC = "rtc"
    CORRECTED = "corrected"  # back-dated once the clock was known
    UNSYNCED = "unsynced"


UNDATED = frozenset({TimeQuality.UNSYNCED, TimeQuality.RTC})
"""What a stamp may say until the time is known; then there is a better date."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment, with how far to trust it. A Pi has no clock of its own, so the monotonic pair is what really holds."""

    utc_us: int  # microseconds since 1970-01-01 UTC, as far as known
    quality: TimeQuality
    uncertainty_ms: int | None  # None: nobody can say
    boot_id: str  # the monotonic clock counts from this boot
    monotonic_us: int


@dataclass(frozen=True, slots=True)
class GpsMoment:
    """A moment on the clock of GPS and on the clock since boot."""

    gps_time_us: int  # since 1980-01-06, no leap seconds
    monotonic_us: int
    off_us: int  # how far the two may be apart
    leap_s: int  # by which GPS is ahead of UTC

    @property
    def utc_us(self) -> int:
        """The same moment in UTC, microseconds since 1970."""
        return self.gps_time_us + GPS_EPOCH_US - self.leap_s * 1_000_000


GPS_EPOCH_US = 315_964_800_000_000  # 1980-01-06T00:00:00Z


class PositionSource(StrEnum):
    """Who says where the gateway stands."""

    GPS = "gps"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Position:
    """Where the gateway stands, WGS 84."""

    latitude: float
    longitude: float
    altitude_m: float | None  # above mean sea level
    source: PositionSource
    accuracy_m: float | None = None  # horizontal, as far as the receiver says


# --- on the air -----------------------------------------------------------------------------------------------------


class Crc(Enum):
    """What the concentrator says of the PHY checksum; the values are those of `rxpk.stat`."""

    OK = 1
    BAD = -1
    NONE = 0


@dataclass(frozen=True, slots=True)
class Lora:
    """LoRa modulation as received or to be sent."""

    spreading_factor: int
    bandwidth_hz: int
    coding_rate: str | None = "4/5"


@dataclass(frozen=True, slots=True)
class Fsk:
    """FSK modulation."""

    bit_rate: int
    deviation_hz: int | None = None


@dataclass(frozen=True, slots=True)
class LrFhss:
    """LR-FHSS modulation (uplink only)."""

    operating_channel_width_hz: int
    coding_rate: str
    grid_steps: int | None = None


Modulation = Lora | Fsk | LrFhss


@dataclass(frozen=True, slots=True)
class RadioFrame:
    """Bytes that came in at an antenna, and how they came in."""

    phy: bytes  # PHYPayload: MHDR … MIC
    heard: Stamp
    frequency_hz: int
    modulation: Modulation
    rssi_dbm: float
    snr_db: float | None  # None with FSK
    channel: int
    rf_chain: int
    counter_us: int  # the concentrator's 32-bit microsecond counter at the end of reception
    crc: Crc
    receiver: str  # who heard it (forwarder EUI, or the chip's name): an answer goes out there
    gps_time_us: int | None = None  # microseconds since 1980-01-06, no leap seconds
    fine_time_ns: int | None = None  # SX1303: nanoseconds since the last PPS
    frequency_offset_hz: int | None = None

    @property
    def frame_id(self) -> str:
        """The name of this frame on every gateway that heard it."""
        return frame_id(self.phy)


def frame_id(phy: bytes) -> str:
    """The name of a frame on every gateway that heard it: 32 hex of BLAKE2s over the PHY payload.

    The PHY payload alone, because receive times differ between gateways and any rounding has an edge. A data frame's
    DevAddr, counter and MIC are in it, and a join request's DevNonce.
    """
    return hashlib.blake2s(phy, digest_size=16).hexdigest()


# --- devices --------------------------------------------------------------------------------------------------------


class MacVersion(StrEnum):
    """The LoRaWAN link layer a device speaks."""

    V1_0_0 = "1.0.0"
    V1_0_1 = "1.0.1"
    V1_0_2 = "1.0.2"
    V1_0_3 = "1.0.3"
    V1_0_4 = "1.0.4"
    V1_1_0 = "1.1.0"

    @property
    def is_1_1(self) -> bool:
        """Whether MICs and FOpts follow LoRaWAN 1.1."""
        return self is MacVersion.V1_1_0


@dataclass(frozen=True, slots=True)
class Device:
    """What the technician told us about a device. Carries no key that opens frames; those are in its sessions."""

    dev_eui: DevEui
    name: str
    codec: str | None = None  # VENDOR/DEVICE of the catalogue
    region_profile: str | None = None
    mac_version: MacVersion = MacVersion.V1_0_3
    device_class: str = "A"
    skip_f_cnt_check: bool = False
    join_eui: JoinEui | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RootKeys:
    """What an OTAA device is joined with: AppKey alone for 1.0.x, both for 1.1."""

    app_key: AesKey
    nwk_key: AesKey | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """One security context of a device. LoRaWAN 1.0.x has one network key, which then stands in all three places."""

    dev_eui: DevEui
    dev_addr: DevAddr
    mac_version: MacVersion
    f_nwk_s_int_key: AesKey
    s_nwk_s_int_key: AesKey
    nwk_s_enc_key: AesKey
    app_s_key: AesKey
    session_id: int = 0  # given by the store; 0 before
    skip_f_cnt_check: bool = False
    f_cnt_up: int | None = None  # the last uplink counter accepted, 32 bits; None before the first
    last_mic: bytes = b""  # MIC of that uplink: tells a repetition from a reset
    conf_f_cnts: tuple[int, ...] | None = None  # 1.1: confirmed downlinks it may acknowledge, from its MAC state


# --- the way up -----------------------------------------------------------------------------------------------------


class Refusal(StrEnum):
    """Why a heard frame is no uplink of ours. Each is counted, shown and tested."""

    CRC_BAD = "crc_bad"  # damaged on the air
    CRC_NONE = "crc_none"  # sent without checksum: not a LoRaWAN uplink
    MALFORMED = "malformed"  # not a LoRaWAN frame
    NOT_UPLINK = "not_uplink"  # somebody's downlink or proprietary frame
    JOINED = "joined"  # a join request or rejoin that was answered: what it said is in the session it led to
    JOIN_NOT_SERVED = "join_not_served"  # a join request or rejoin this gateway does not answer
    UNKNOWN_DEVICE = "unknown_device"  # no session has this DevAddr
    BAD_MIC = "bad_mic"  # sessions have this DevAddr, none made this frame
    REPETITION = "repetition"  # the device sent the same frame again (NbTrans, lost acknowledgement)
    COPY = "copy"  # another receiver heard the same transmission
    REPLAY = "replay"  # authentic, but its counter has been used before


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that goes no further, why, and whose it seems to be."""

    reason: Refusal
    detail: str
    dev_addr: DevAddr | None = None
    dev_eui: DevEui | None = None  # known for repetitions, copies and replays
    repeated: OpenedUplink | None = None  # a repetition, opened again: its sender may be waiting for an answer


@dataclass(frozen=True, slots=True)
class OpenedUplink:
    """A data frame whose device is known, authentic and decrypted. Storing `session` is what accepts it."""

    frame: RadioFrame
    device: Device
    session: Session  # the next one: f_cnt_up is this frame's counter
    dev_addr: DevAddr
    f_cnt: int  # 32 bits
    f_port: int | None  # None: the frame carries no payload field
    confirmed: bool
    adr: bool
    ack: bool
    f_opts: bytes  # MAC commands from the header, decrypted
    payload: bytes  # FRMPayload, decrypted; MAC commands when f_port is 0
    gap_before: int  # counters that were never heard since the last accepted frame
    counter_reset: bool = False  # the device started again (accepted because its counter is not checked)
    adr_ack_req: bool = False  # the device asks whether it is still heard


@dataclass(frozen=True, slots=True)
class Measurement:
    """A quantity of the vocabulary with its unit. `time_us` where the value is older than the frame."""

    quantity: str
    value: float | int | bool | str
    unit: str
    time_us: int | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a codec made of a payload: never an exception, at worst a problem in words."""

    codec: str | None = None  # VENDOR/DEVICE@version
    data: Mapping[str, Any] | None = None
    measurements: tuple[Measurement, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One accepted uplink, complete: what every destination's format is made from."""

    frame_id: str
    phy: bytes  # as heard, for network servers and for reading it again
    heard: Stamp
    dev_eui: DevEui
    dev_addr: DevAddr
    name: str
    tags: Mapping[str, str]
    f_cnt: int
    f_port: int | None
    confirmed: bool
    adr: bool
    payload: bytes
    gap_before: int
    decoded: Decoded
    frequency_hz: int
    modulation: Modulation
    rssi_dbm: float
    snr_db: float | None
    channel: int
    rf_chain: int
    reread: bool = False  # made from what was kept, with keys or a codec that came later
    counter_us: int | None = None  # of the concentrator at the end of reception
    device_class: str = "A"
    join_eui: JoinEui | None = None

    @classmethod
    def of(cls, uplink: OpenedUplink, decoded: Decoded) -> Reading:
        """The uplink together with what its codec said."""
        frame = uplink.frame
        return cls(
            frame_id=frame.frame_id,
            phy=frame.phy,
            heard=frame.heard,
            dev_eui=uplink.device.dev_eui,
            dev_addr=uplink.dev_addr,
            name=uplink.device.name,
            tags=uplink.device.tags,
            f_cnt=uplink.f_cnt,
            f_port=uplink.f_port,
            confirmed=uplink.confirmed,
            adr=uplink.adr,
            payload=uplink.payload,
            gap_before=uplink.gap_before,
            decoded=decoded,
            frequency_hz=frame.frequency_hz,
            modulation=frame.modulation,
            rssi_dbm=frame.rssi_dbm,
            snr_db=frame.snr_db,
            channel=frame.channel,
            rf_chain=frame.rf_chain,
            counter_us=frame.counter_us,
            device_class=uplink.device.device_class,
            join_eui=uplink.device.join_eui,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A reading that is on disk, with the place it has there for ever."""

    gateway_eui: GatewayEui
    epoch: str  # eight hex, made with the store: a wiped card never reuses an id
    position: int
    reading: Reading
    late: bool = False  # waited longer than five seconds for this destination

    @property
    def record_id(self) -> str:
        """Names this copy: gateway, store epoch, position."""
        return f"{self.gateway_eui}-{self.epoch}-{self.position}"


# --- the way down ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AtCounter:
    """Send when the receiving concentrator's 32-bit microsecond counter has this value (class A)."""

    counter_us: int


@dataclass(frozen=True, slots=True)
class AtGpsTime:
    """Send at this GPS time (class B)."""

    gps_time_us: int


@dataclass(frozen=True, slots=True)
class Immediately:
    """Send as soon as the radio is free (class C)."""


@dataclass(frozen=True, slots=True)
class DownlinkRequest:
    """A frame that somebody wants on the air."""

    ref: str  # whoever asked knows it by this
    phy: bytes
    receiver: str  # the receiver of the uplink it answers
    timing: AtCounter | AtGpsTime | Immediately
    frequency_hz: int
    modulation: Lora | Fsk
    power_dbm_eirp: float
    invert_polarity: bool = True
    payload_crc: bool = False
    preamble_symbols: int | None = None
    rf_chain: int = 0


class DownlinkState(StrEnum):
    """Where something that a device is to be told stands; contract section 2 spells the words."""

    QUEUED = "queued"  # waits for the device to be there, or for its turn
    SCHEDULED = "scheduled"  # the radio has it
    SENT = "sent"  # was on the air; of a confirmed one, not acknowledged yet
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class QueuedDownlink:
    """What somebody wants a device to be told, and what became of it."""

    ref: str  # whoever asked knows it by this
    dev_eui: DevEui
    f_port: int  # 1 to 255
    payload: bytes
    confirmed: bool
    asked: Stamp
    origin: str  # who asked, and is told the result: "command", or a destination's name
    expires_after_s: float | None = None  # counted from `asked`; None: it waits until it is cancelled
    state: DownlinkState = DownlinkState.QUEUED
    reason: str | None = None  # why it is in this state, in words
    f_cnt: int | None = None  # the counter it was last sent with
    attempts: int = 0  # how often it was on the air
    ended: Stamp | None = None  # when nothing more could happen to it

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.ended is not None


class TxResult(StrEnum):
    """What became of a downlink request."""

    ACCEPTED = "ACCEPTED"  # taken; the outcome follows
    SENT = "SENT"  # was on the air, as far as the radio can say
    TOO_LATE = "TOO_LATE"
    TOO_EARLY = "TOO_EARLY"
    COLLISION_PACKET = "COLLISION_PACKET"
    COLLISION_BEACON = "COLLISION_BEACON"
    TX_FREQ = "TX_FREQ"
    TX_POWER = "TX_POWER"
    GPS_UNLOCKED = "GPS_UNLOCKED"
    DUTY_CYCLE = "DUTY_CYCLE"
    RADIO_UNREACHABLE = "RADIO_UNREACHABLE"  # no concentrator, or the forwarder is gone
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class TxReport:
    """The answer to whoever asked for a downlink."""

    ref: str
    result: TxResult
    detail: str = ""
    against: str = ""  # of COLLISION_PACKET: the `ref` of the transmission that is in the way, if it is known


# --- what happens to devices ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """A device has a new session."""

    device: Device
    dev_addr: DevAddr
    frame: RadioFrame  # its join request


@dataclass(frozen=True, slots=True)
class DownlinkMoved:
    """A downlink is in another state than before."""

    device: Device
    entry: QueuedDownlink
    at: Stamp


@dataclass(frozen=True, slots=True)
class DownlinkRefused:
    """A request for a downlink that was none, or cannot be: it was never queued."""

    device: Device
    ref: str | None
    reason: str
    at: Stamp


@dataclass(frozen=True, slots=True)
class Removed:
    """A device is not known here any more."""

    dev_eui: DevEui


Happening = Joined | DownlinkMoved | DownlinkRefused | Removed
