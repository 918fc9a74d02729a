"""What ChirpStack and a gateway tell each other: frames and statistics up, downlinks and configurations down.

Messages are those of `chirpstack_messages`, in Protobuf or JSON; the server answers a gateway in what it speaks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.model import (
    UNDATED,
    AtCounter,
    AtGpsTime,
    Crc,
    DownlinkRequest,
    Fsk,
    Immediately,
    Lora,
    LrFhss,
    PositionSource,
    TxResult,
)
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel
from gateway.wire.chirpstack_messages import (
    CONN_STATE,
    DOWNLINK_FRAME,
    DOWNLINK_TX_ACK,
    EXEC_REQUEST,
    EXEC_RESPONSE,
    GATEWAY_CONFIGURATION,
    GATEWAY_STATS,
    UPLINK_FRAME,
)
from gateway.wire.protobuf import Unreadable, decode, encode, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import GatewayEui, Modulation, Position, RadioFrame, Stamp
    from gateway.wire.protobuf import Message, Values

LONGEST_COMMAND: Final = 64 << 10
"""Bytes of a command. A downlink with two items has 123, a configuration with 64 channels a few thousand."""

MOST_ITEMS: Final = 8
"""Items of a downlink: ChirpStack sends RX1 and RX2."""

LONGEST_DELAY_US: Final = 512_000_000
"""What Concentratord takes. A delay of more than 71 minutes would turn the counter over and look like a short one."""

MOST_CHANNELS: Final = 256
"""Channels of a configuration: more than the 96 that a plan has, and far more than are heard."""

LONGEST_VERSION: Final = 256
"""Letters. ChirpStack's versions are hashes of sixteen digits."""

HOUR_NS: Final = 3_600_000_000_000

GPS_EPOCH_US: Final = 315_964_800_000_000  # 1980-01-06 in microseconds since 1970
GPS_AHEAD_US: Final = 18_000_000  # leap seconds since then; the last one was at the end of 2016 (IERS Bulletin C 52)

MAX_PHY: Final = 255  # the length field of a LoRa header is one byte


class Marshaler(Enum):
    """How messages are written. Reading needs no choice: no Protobuf begins with a brace."""

    PROTOBUF = "protobuf"
    JSON = "json"

    def write(self, message: Message, values: Mapping[str, Any]) -> bytes:
        """The message as the payload of an MQTT message."""
        return encode(message, values) if self is Marshaler.PROTOBUF else orjson.dumps(to_json(message, values))


def read(message: Message, payload: bytes) -> Values:
    """The message that a payload is, in Protobuf or JSON; Unreadable when it is none."""
    if len(payload) > LONGEST_COMMAND:
        raise Unreadable(f"{len(payload)} bytes are more than a command has")
    if not payload.lstrip().startswith(b"{"):
        return decode(message, payload)
    try:
        facts = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise Unreadable("it begins like JSON and is none") from None
    return from_json(message, facts)


# --- up -------------------------------------------------------------------------------------------------------------

_CRC_STATUSES: Final = {Crc.OK: "CRC_OK", Crc.BAD: "BAD_CRC", Crc.NONE: "NO_CRC"}
_CODE_RATES: Final[Mapping[str | None, str]] = {
    None: "CR_UNDEFINED",
    **{rate: f"CR_{rate.replace('/', '_')}" for rate in ("4/5", "4/6", "4/7", "4/8", "2/6", "5/6")},
    # LR-FHSS has thirds and a half. ChirpStack 4.20 reads 1/3 as CR_2_6 and 2/3 as CR_4_6 itself (api/rust/src/gw.rs).
    "1/3": "CR_2_6",
    "2/3": "CR_4_6",
    "1/2": "CR_4_8",
    "3/6": "CR_4_8",
    "4/5LI": "CR_LI_4_5",
    "4/6LI": "CR_LI_4_6",
    "4/8LI": "CR_LI_4_8",
}
_CODING_RATES: Final[Mapping[object, str]] = {
    "CR_UNDEFINED": "4/5",  # what every LoRaWAN downlink has (RP002-1.0.4, section 3.2.2)
    **{f"CR_4_{n}": f"4/{n}" for n in (5, 6, 7, 8)},
    **{f"CR_LI_4_{n}": f"4/{n}LI" for n in (5, 6, 8)},
}


def modulation_values(modulation: Modulation) -> Values:
    """A `Modulation` message."""
    match modulation:
        case Lora(sf, bandwidth_hz, rate):
            lora = {"bandwidth": bandwidth_hz, "spreading_factor": sf, "code_rate": _CODE_RATES.get(rate, 0)}
            return {"lora": lora}
        case Fsk(bit_rate, deviation_hz):
            return {"fsk": {"datarate": bit_rate, "frequency_deviation": deviation_hz}}
        case LrFhss(width_hz, rate, steps):
            code_rate = _CODE_RATES.get(rate, 0)
            return {"lr_fhss": {"operating_channel_width": width_hz, "code_rate": code_rate, "grid_steps": steps}}


def uplink(frame: RadioFrame, gateway_eui: GatewayEui, uplink_id: int, *, replayed: bool = False) -> Values:
    """An `UplinkFrame`. `uplink_id` is any number of 32 bits that another reception is unlikely to have.

    The time stands in it where it is known: ChirpStack takes its own otherwise, which is better than a wrong one. A
    `replayed` frame was kept while the server was away: that is in its metadata, and in the context of its answer. It
    has GPS time, from the UTC at need, because ChirpStack ignores a `gw_time` that is more than 30 s off. ValueError
    when its time is not known.
    """
    gps_time_us = frame.gps_time_us
    if replayed and gps_time_us is None:
        if frame.heard.quality in UNDATED:
            raise ValueError("when this frame was heard is not known, the server would take it for a frame of now")
        gps_time_us = frame.heard.utc_us - GPS_EPOCH_US + GPS_AHEAD_US
    rx_info: Values = {
        "gateway_id": str(gateway_eui),
        "uplink_id": uplink_id,
        "rssi": round(frame.rssi_dbm),
        "snr": frame.snr_db,
        "channel": frame.channel,
        "rf_chain": frame.rf_chain,
        "context": Context(frame.counter_us, frame.receiver, replayed=replayed).encode(),
        "crc_status": _CRC_STATUSES[frame.crc],
    }
    if frame.heard.quality not in UNDATED:
        rx_info["gw_time"] = frame.heard.utc_us * 1000
    if gps_time_us is not None:
        rx_info["time_since_gps_epoch"] = gps_time_us * 1000
        if frame.gps_time_us is not None and frame.fine_time_ns is not None:
            rx_info["fine_time_since_gps_epoch"] = _fine_time_ns(gps_time_us, frame.fine_time_ns)
    if replayed:
        rx_info["metadata"] = {"buffered": "true"}
    return {
        "phy_payload": frame.phy,
        "tx_info": {"frequency": frame.frequency_hz, "modulation": modulation_values(frame.modulation)},
        "rx_info": rx_info,
    }


@dataclass(frozen=True, slots=True)
class Context:
    """What the server gives back with an answer: who heard the frame, when, and whether that was long ago.

    Four bytes of counter, big endian, as every ChirpStack gateway writes them; then one that says how, then the
    receiver. Nine bytes that begin with 01 02 03 would be a mesh's, so nine bytes get a tenth.
    """

    counter_us: int
    receiver: str
    replayed: bool = False

    def encode(self) -> bytes:
        """The bytes of `context`."""
        found = self.counter_us.to_bytes(4, "big") + bytes([self.replayed]) + self.receiver.encode()
        return found + b"\0" if len(found) == 9 else found

    @classmethod
    def read(cls, content: bytes, receiver: str) -> Context | None:
        """What such bytes say; `receiver` stands in for one that is not named. None for fewer than four bytes."""
        if len(content) < 4:
            return None
        named = content[5:].rstrip(b"\0").decode("utf-8", "replace")
        return cls(int.from_bytes(content[:4], "big"), named or receiver, replayed=content[4:5] == b"\1")


@dataclass(slots=True)
class Traffic:
    """What went through since the last statistics."""

    received: int = 0
    received_ok: int = 0
    downlinks: int = 0
    emitted: int = 0
    received_by_frequency: dict[int, int] = field(default_factory=dict)  # of those with a good checksum
    received_by_modulation: dict[Modulation, int] = field(default_factory=dict)
    emitted_by_frequency: dict[int, int] = field(default_factory=dict)
    emitted_by_modulation: dict[Modulation, int] = field(default_factory=dict)
    by_status: dict[str, int] = field(default_factory=dict)

    def sent(self, request: DownlinkRequest) -> None:
        """Count what was on the air."""
        self.emitted += 1
        _count(self.emitted_by_frequency, request.frequency_hz)
        _count(self.emitted_by_modulation, request.modulation)

    def answered(self, status: str) -> None:
        """Count a downlink by what became of it: the last status that is not IGNORED."""
        _count(self.by_status, status)


def _fine_time_ns(gps_time_us: int, fine_time_ns: int) -> int:
    """Nanoseconds of GPS: of all seconds that the pulse before may have begun, the one that fits the time known so far.

    The two are of one moment and read at different places of the chip, so that at the turn of a second they may lie on
    different sides of it.
    """
    seconds = (gps_time_us * 1000 - fine_time_ns + 500_000_000) // 1_000_000_000
    return seconds * 1_000_000_000 + fine_time_ns


def _count(counts: dict[Any, int], key: object) -> None:
    counts[key] = counts.get(key, 0) + 1


@dataclass(frozen=True, slots=True)
class BandLoad:
    """A sub-band that the law limits by time: what may be used of an hour there, and what is."""

    name: str
    lowest_hz: int
    highest_hz: int
    limit_us: int
    used_us: int


@dataclass(frozen=True, slots=True)
class DutyCycles:
    """The transmitter before the law: each of its sub-bands within the hour that ends now."""

    bands: tuple[BandLoad, ...]
    is_etsi: bool = False  # whether the law is EN 300 220


def stats(
    traffic: Traffic,
    gateway_eui: GatewayEui,
    now: Stamp,
    position: Position | None = None,
    *,
    config_version: str = "",
    metadata: Mapping[str, str] = MappingProxyType({}),
    duty_cycles: DutyCycles | None = None,
) -> Values:
    """A `GatewayStats`; without its time while nobody knows that.

    `config_version` is that of the configuration in force. ChirpStack 4 reads it in the metadata (`uplink/stats.rs`),
    so it stands there, too.
    """
    values: Values = {
        "gateway_id": str(gateway_eui),
        "time": None if now.quality in UNDATED else now.utc_us * 1000,
        "config_version": config_version,
        "metadata": {**metadata, **({"config_version": config_version} if config_version else {})},
        "rx_packets_received": traffic.received,
        "rx_packets_received_ok": traffic.received_ok,
        "tx_packets_received": traffic.downlinks,
        "tx_packets_emitted": traffic.emitted,
        "rx_packets_per_frequency": traffic.received_by_frequency,
        "tx_packets_per_frequency": traffic.emitted_by_frequency,
        "rx_packets_per_modulation": _per_modulation(traffic.received_by_modulation),
        "tx_packets_per_modulation": _per_modulation(traffic.emitted_by_modulation),
        "tx_packets_per_status": traffic.by_status,
    }
    if position is not None:
        values["location"] = location(position)
    if duty_cycles is not None and duty_cycles.bands:
        values["duty_cycle_stats"] = _duty_cycle_values(duty_cycles)
    return values


def location(position: Position) -> Values:
    """A `Location`."""
    values: Values = {
        "latitude": position.latitude,
        "longitude": position.longitude,
        "altitude": position.altitude_m or 0.0,
        "source": "GPS" if position.source is PositionSource.GPS else "CONFIG",
    }
    if position.accuracy_m is not None:
        values["accuracy"] = position.accuracy_m
    return values


def _duty_cycle_values(found: DutyCycles) -> Values:
    bands = [
        {
            "name": band.name,
            "frequency_min": band.lowest_hz,
            "frequency_max": band.highest_hz,
            "load_max": band.limit_us * 1000,
            "load_tracked": band.used_us * 1000,
        }
        for band in found.bands
    ]
    regulation = "ETSI_EN_300_220" if found.is_etsi else "REGULATION_UNKNOWN"
    return {"regulation": regulation, "window": HOUR_NS, "bands": bands}


def _per_modulation(counts: Mapping[Modulation, int]) -> list[Values]:
    return [{"modulation": modulation_values(each), "count": count} for each, count in counts.items()]


def conn_state(gateway_eui: GatewayEui, *, online: bool) -> Values:
    """A `ConnState`."""
    return {"gateway_id": str(gateway_eui), "state": "ONLINE" if online else "OFFLINE"}


# --- down -----------------------------------------------------------------------------------------------------------

IGNORED: Final = "IGNORED"  # not tried: an item before it was used
OK: Final = "OK"
STATUS_OF: Final[Mapping[TxResult, str]] = {
    TxResult.SENT: OK,
    **{
        result: result.value
        for result in (
            *(TxResult.TOO_LATE, TxResult.TOO_EARLY, TxResult.COLLISION_PACKET, TxResult.COLLISION_BEACON),
            *(TxResult.TX_FREQ, TxResult.TX_POWER, TxResult.GPS_UNLOCKED),
        )
    },
    TxResult.DUTY_CYCLE: "DUTY_CYCLE_OVERFLOW",
    # Nobody knows that it was sent, so nobody says so.
    TxResult.ACCEPTED: "INTERNAL_ERROR",
    TxResult.RADIO_UNREACHABLE: "INTERNAL_ERROR",
    TxResult.UNKNOWN: "INTERNAL_ERROR",
}
"""What became of an item in the words of `TxAckStatus`."""


@dataclass(frozen=True, slots=True)
class Impossible:
    """An item that no radio can send: the status to answer, and why."""

    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Downlink:
    """A `DownlinkFrame`: ways to send the same, best first, of which at most one is used."""

    downlink_id: int
    gateway_id: str
    items: tuple[DownlinkRequest | Impossible, ...]
    replayed: bool = False  # it answers a frame that was heard long ago


def read_downlink(payload: bytes, receiver: str) -> Downlink:
    """The downlink that a `command/down` asks for; Unreadable when it is none.

    `receiver` sends what answers no frame of a named one.
    """
    values = read(DOWNLINK_FRAME, payload)
    items = values.get("items", [])
    if not 0 < len(items) <= MOST_ITEMS:
        raise Unreadable(f"it has {len(items)} items")
    downlink_id = values.get("downlink_id", 0)
    contexts = [Context.read(item.get("tx_info", {}).get("context", b""), receiver) for item in items]
    return Downlink(
        downlink_id,
        values.get("gateway_id", ""),
        tuple(_item(item, context, receiver, str(downlink_id)) for item, context in zip(items, contexts, strict=True)),
        replayed=any(context is not None and context.replayed for context in contexts),
    )


def _item(item: Values, context: Context | None, receiver: str, ref: str) -> DownlinkRequest | Impossible:
    phy, tx_info = item.get("phy_payload", b""), item.get("tx_info", {})
    if not 0 < len(phy) <= MAX_PHY:
        return Impossible("INTERNAL_ERROR", f"{len(phy)} bytes are no frame")
    timing = _timing(tx_info.get("timing", {}), context)
    if isinstance(timing, Impossible):
        return timing
    words = tx_info.get("modulation", {})
    modulation = _modulation(words)
    if isinstance(modulation, Impossible):
        return modulation
    lora = words.get("lora", {})
    return DownlinkRequest(
        ref=ref,
        phy=phy,
        receiver=receiver if context is None else context.receiver,
        timing=timing,
        frequency_hz=tx_info.get("frequency", 0),
        modulation=modulation,
        power_dbm_eirp=float(tx_info.get("power", 0)),
        invert_polarity=lora.get("polarization_inversion", False),
        # As Concentratord and every packet forwarder read it: ChirpStack leaves `no_crc` out of all its downlinks.
        payload_crc=not lora.get("no_crc", False),
        preamble_symbols=lora.get("preamble") or None,
    )


def _timing(values: Values, context: Context | None) -> AtCounter | AtGpsTime | Immediately | Impossible:
    match values:
        case {"immediately": _}:
            return Immediately()
        case {"delay": {"delay": delay_ns}} if context is not None:
            if delay_ns < 0:
                return Impossible("TOO_LATE", "its delay is negative")
            if delay_ns // 1000 > LONGEST_DELAY_US:
                return Impossible("TOO_EARLY", f"its delay is more than {LONGEST_DELAY_US // 1_000_000} s")
            return AtCounter((context.counter_us + delay_ns // 1000) & 0xFFFF_FFFF)
        case {"delay": {"delay": _}}:
            return Impossible("INTERNAL_ERROR", "a delay without the context of the frame that it counts from")
        case {"gps_epoch": {"time_since_gps_epoch": gps_ns}} if gps_ns >= 0:
            return AtGpsTime(gps_ns // 1000)
    return Impossible("INTERNAL_ERROR", "it does not say when")


def _modulation(values: Values) -> Lora | Fsk | Impossible:
    if (lora := values.get("lora")) is not None:
        sf, bandwidth_hz = lora.get("spreading_factor", 0), lora.get("bandwidth", 0)
        rate = _CODING_RATES.get(lora.get("code_rate", "CR_UNDEFINED"))
        if rate is not None and 5 <= sf <= 12 and bandwidth_hz in _BANDWIDTHS_HZ:
            return Lora(sf, bandwidth_hz, rate)
        return Impossible("INTERNAL_ERROR", f"SF{sf} in {bandwidth_hz} Hz is no LoRa that can be sent")
    if (fsk := values.get("fsk")) is not None:
        bit_rate = fsk.get("datarate", 0)
        if 500 <= bit_rate <= 250_000:  # sx1302_hal 2.1.0, loragw_hal.h: DR_FSK_MIN, DR_FSK_MAX
            return Fsk(bit_rate, fsk.get("frequency_deviation"))
    return Impossible("INTERNAL_ERROR", "its modulation cannot be sent")


_BANDWIDTHS_HZ: Final = frozenset({125_000, 250_000, 500_000, 203_000, 406_000, 812_000, 1_625_000})


def tx_ack(gateway_eui: GatewayEui, downlink_id: int, statuses: tuple[str, ...]) -> Values:
    """A `DownlinkTxAck`: a status for each item, in their order."""
    items = [{"status": status} for status in statuses]
    return {"gateway_id": str(gateway_eui), "downlink_id": downlink_id, "items": items}


@dataclass(frozen=True, slots=True)
class Configuration:
    """A `GatewayConfiguration`: the channels that the server would have this gateway hear."""

    gateway_id: str
    version: str
    plan: ChannelPlan  # empty when it is about something else
    stats_interval_s: float | None = None


def read_configuration(payload: bytes) -> Configuration:
    """What a `command/config` says; Unreadable when it is none, or names what is no channel."""
    values = read(GATEWAY_CONFIGURATION, payload)
    interval_ns = values.get("stats_interval")
    rows = values.get("channels", [])
    if len(rows) > MOST_CHANNELS:
        raise Unreadable(f"it has {len(rows)} channels")
    if len(version := values.get("version", "")) > LONGEST_VERSION:
        raise Unreadable(f"its version has {len(version)} letters")
    return Configuration(
        values.get("gateway_id", ""),
        version,
        ChannelPlan.of(_channel(row, number) for number, row in enumerate(rows)),
        None if interval_ns is None else interval_ns / 1e9,
    )


def _channel(row: Values, number: int) -> PlannedChannel:
    frequency_hz = row.get("frequency", 0)
    if not 100_000_000 <= frequency_hz <= 3_000_000_000:
        raise Unreadable(f"its channel {number} lies at {frequency_hz} Hz")
    if "fsk_modulation_config" in row:
        return PlannedChannel(frequency_hz, 125_000, range(0))
    lora = row.get("lora_modulation_config", {})
    factors, width_hz = lora.get("spreading_factors", []), lora.get("bandwidth", 0)
    if width_hz not in {125_000, 250_000, 500_000} or not factors or not all(5 <= factor <= 12 for factor in factors):
        raise Unreadable(f"its channel {number} has no modulation that a concentrator hears")
    return PlannedChannel(frequency_hz, width_hz, range(min(factors), max(factors) + 1))


__all__ = [  # with what the messages are called by
    "CONN_STATE",
    "DOWNLINK_TX_ACK",
    "EXEC_REQUEST",
    "EXEC_RESPONSE",
    "GATEWAY_STATS",
    "IGNORED",
    "OK",
    "STATUS_OF",
    "UPLINK_FRAME",
    "BandLoad",
    "Configuration",
    "Context",
    "Downlink",
    "DutyCycles",
    "Impossible",
    "Marshaler",
    "Traffic",
    "Unreadable",
    "conn_state",
    "modulation_values",
    "read",
    "read_configuration",
    "read_downlink",
    "stats",
    "tx_ack",
    "uplink",
]
