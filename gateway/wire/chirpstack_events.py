"""What ChirpStack's MQTT integration writes and takes, so that whoever reads it needs no change to read this gateway.

Events are those of `integration.proto` (chirpstack-api 4.20) in its JSON: in an event and in `deviceInfo` every scalar
stands there, zero or not; in `rxInfo` and `txInfo` zeros are left out. Its habits (chirpstack 4.20, `uplink/data.rs`,
`downlink/data.rs`, `downlink/tx_ack.rs`, `maccommand/dev_status.rs`) are ours: every accepted frame is an `up`, also
one with MAC commands only (`fPort` 0); a codec that fails is a `log` before an `up` without `object`; DevStatusAns is
a `status`; a downlink that left is a `txack`, one that a device acknowledged or finally did not is an `ack`.

Ids are made, not drawn: of a frame from its frame id, of tenants, applications and device profiles from their names.
What is delivered twice has the same ids twice, and other gateways that heard the same frame say the same.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.lorawan.device_status import reported_status
from gateway.lorawan.mac_commands import BATTERY_EXTERNAL, BATTERY_UNKNOWN
from gateway.model import DevAddr, DevEui, DownlinkMoved, DownlinkRefused, DownlinkState, Joined, Removed
from gateway.wire.chirpstack import location as location_values
from gateway.wire.chirpstack import modulation_values
from gateway.wire.chirpstack_messages import DOWNLINK_COMMAND, UPLINK_TX_INFO
from gateway.wire.foreign_json import gps_time_us, is_dated, moment, profile_of, seconds, structure
from gateway.wire.mqtt_message import MqttMessage, below
from gateway.wire.own_downlink import LATEST_S, LONGEST_REQUEST, NoDownlink
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING
from gateway.wire.protobuf import Unreadable, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.lorawan.mac_commands import DevStatusAns
    from gateway.model import GatewayEui, Happening, Modulation, Position, QueuedDownlink, Reading, Record, Stamp
    from gateway.regions.region import Region
    from gateway.wire.mqtt_message import Whom
    from gateway.wire.privacy import Privacy

_OURS: Final = uuid.UUID("a3a74079-f98b-47a1-a7d9-cc46d74c8b61")
"""The namespace of ids made of names: drawn once, and part of every consumer's database since."""

_UTC: Final = "+00:00"  # as chrono writes it
_FULL_BATTERY: Final = 254  # TS001-1.0.4, 5.5
_SUB_BANDS: Final = frozenset({"us915", "au915", "cn470"})
"""Plans of which ChirpStack has a configuration for each group of eight channels (`us915_0`, `us915_1`, …)."""


class ChirpstackWords:
    """Says everything on `application/{id}/device/{dev_eui}/event/{event}`; see `gateway.delivery.mqtt.Words`."""

    will: MqttMessage | None = None  # ChirpStack's integration says nothing of gateways

    def __init__(
        self,
        gateway_eui: GatewayEui,
        region: Region,
        application: str,
        *,
        tenant: str = "default",
        topic_prefix: str = "",
        location: Callable[[], Position | None] = lambda: None,
        privacy: Privacy = EVERYTHING,
    ) -> None:
        """`application` is its UUID or its name."""
        self._gateway_id = str(gateway_eui)
        self._region = region
        self._prefix = topic_prefix
        self._privacy = privacy
        self._has_radio = "radio" in privacy.keys
        self._location = location
        self.tenant_id = made_id("tenant", tenant)
        self.application_id = _as_uuid(application) or made_id("application", tenant, application)
        self._owner = {
            "tenantId": self.tenant_id,
            "tenantName": tenant,
            "applicationId": self.application_id,
            "applicationName": application,
        }

    # --- what the gateway tells

    def greeting(self) -> Sequence[MqttMessage]:
        """Nothing: there is no place for facts of a gateway on these topics."""
        return ()

    def of_record(self, record: Record) -> Sequence[MqttMessage]:
        """An `up`; before it a `log` when the codec failed, behind it a `status` when the device said how it is."""
        reading = self._privacy.narrowed(record.reading)
        decoded, status = reading.decoded, reported_status(reading)
        up = self._event(reading.dev_eui, "up", self._up(record, reading))
        if status is None and decoded.problem is None:
            return (up,)
        messages = [up]
        about = self._device_info(reading.dev_eui, reading.name, decoded.codec, reading.tags, reading.device_class)
        if decoded.problem is not None and decoded.codec is not None:
            messages.insert(0, self._log(about, reading.heard, "UPLINK_CODEC", decoded.problem, frame=reading.frame_id))
        if status is not None:
            messages.append(self._event(reading.dev_eui, "status", _status_json(reading, about, status)))
        return messages

    def of_gateway(self, topic: str, facts: Mapping[str, Any]) -> MqttMessage | None:  # noqa: ARG002 - a Words
        """Nothing, as at the beginning."""
        return None

    def of_happening(self, happening: Happening) -> Sequence[MqttMessage]:
        """A `join`, `txack`, `ack` or `log`; nothing for what ChirpStack keeps to itself."""
        if isinstance(happening, Removed) or (device := self._privacy.device(happening.device)) is None:
            return ()
        about = self._device_info(device.dev_eui, device.name, device.codec, device.tags, device.device_class)
        match happening:
            case Joined():
                return (self._event(device.dev_eui, "join", self._join(happening, about)),)
            case DownlinkMoved():
                message = self._moved(happening, about)
                return () if message is None else (message,)
            case DownlinkRefused():
                item = {} if happening.ref is None else {"queue_item_id": queue_item_id(happening.ref)}
                return (self._log(about, happening.at, "DOWNLINK_CODEC", happening.reason, item),)

    # --- what is asked for

    @property
    def asking(self) -> tuple[str, ...]:
        """The topics on which downlinks are asked for; none where devices are known by pseudonyms."""
        if self._privacy.hides_devices:
            return ()
        return (below(self._prefix, f"application/{self.application_id}/device/+/command/down"),)

    def requests(
        self, topic: str, payload: bytes, now_us: int, fresh: Callable[[], str]
    ) -> Sequence[tuple[Whom, bytes]]:
        """The downlink that a command asks for, in our own JSON; NoDownlink when it is none.

        `now_us` is the time in microseconds since 1970, for commands that expire; `fresh` gives a new UUID as text.
        """
        dev_eui = _dev_eui(topic.split("/")[-3])
        return ((dev_eui, read_command(payload, dev_eui, now_us, fresh)),)

    # --- inside

    def _up(self, record: Record, reading: Reading) -> dict[str, Any]:
        region_id, heard = self._region_config_id(reading.frequency_hz), reading.heard
        event: dict[str, Any] = {
            "deduplicationId": frame_uuid(reading.frame_id),
            "time": moment(heard.utc_us, _UTC),
            "deviceInfo": self._device_info(
                reading.dev_eui, reading.name, reading.decoded.codec, reading.tags, reading.device_class
            ),
            "devAddr": f"{reading.dev_addr:08x}",
            "adr": reading.adr,
            "dr": 0,
            "fCnt": reading.f_cnt,
            "fPort": reading.f_port or 0,
            "confirmed": reading.confirmed,
            # MAC commands are the network's: ChirpStack shows its consumers none of them.
            "data": b64encode(reading.payload).decode() if reading.f_port else "",
            "rxInfo": [],
            "regionConfigId": region_id,
        }
        if reading.decoded.data is not None:
            event["object"] = structure(reading.decoded.data, whole_as_double=True)
        if self._has_radio:
            event["dr"] = self._data_rate(reading.modulation)
            event["rxInfo"].append(self._rx_info(record, reading, region_id))
            event["txInfo"] = _tx_info(reading.frequency_hz, reading.modulation)
        return event

    def _rx_info(self, record: Record, reading: Reading, region_id: str) -> dict[str, Any]:
        heard = reading.heard
        when = moment(heard.utc_us, _UTC)
        info: dict[str, Any] = {
            "gatewayId": self._gateway_id,
            "uplinkId": _number_of(reading.frame_id),
            "nsTime": when,
            "rssi": round(reading.rssi_dbm),
            "snr": reading.snr_db,
            "channel": reading.channel,
            "rfChain": reading.rf_chain,
        }
        info = {key: value for key, value in info.items() if value}
        if is_dated(heard):
            info["gwTime"] = when
        gps_us = gps_time_us(heard)
        if gps_us is not None:
            info["timeSinceGpsEpoch"] = seconds(gps_us)
        if (position := self._location()) is not None:
            info["location"] = _location_json(position, self._privacy)
        if reading.counter_us is not None:
            info["context"] = b64encode(reading.counter_us.to_bytes(4, "big")).decode()
        info["metadata"] = {
            "region_config_id": region_id,
            "region_common_name": self._region.name.replace("-", "_"),
            "clock": heard.quality.value,
            "record_id": self._privacy.record_id(record),
        }
        if record.late:
            info["metadata"]["buffered"] = "true"
        info["crcStatus"] = "CRC_OK"
        return info

    def _device_info(
        self, dev_eui: DevEui, name: str, codec: str | None, tags: Mapping[str, str], device_class: str
    ) -> dict[str, Any]:
        profile = profile_of(codec)
        return {
            **self._owner,
            "deviceProfileId": made_id("device-profile", profile),
            "deviceProfileName": profile,
            "deviceName": name,
            "devEui": dev_eui.hex(),
            "deviceClassEnabled": f"CLASS_{device_class}",
            "tags": dict(tags),
        }

    def _join(self, joined: Joined, about: Mapping[str, Any]) -> dict[str, Any]:
        frame, told = joined.frame, "dev_addr" in self._privacy.keys
        return {
            "deduplicationId": frame_uuid(frame.frame_id),
            "time": self._time(frame.heard),
            "deviceInfo": about,
            "devAddr": str(joined.dev_addr if told else DevAddr(0)),
            "regionConfigId": self._region_config_id(frame.frequency_hz),
        }

    def _moved(self, moved: DownlinkMoved, about: Mapping[str, Any]) -> MqttMessage | None:
        entry = moved.entry
        match entry.state:
            case DownlinkState.SENT:
                return self._event(entry.dev_eui, "txack", self._tx_ack(moved, about))
            case DownlinkState.ACKNOWLEDGED:
                return self._event(entry.dev_eui, "ack", self._ack(moved, about, acknowledged=True))
            case DownlinkState.FAILED if entry.confirmed and entry.attempts:
                return self._event(entry.dev_eui, "ack", self._ack(moved, about, acknowledged=False))
            case DownlinkState.FAILED | DownlinkState.EXPIRED:
                return self._log(about, moved.at, _code_of(entry), entry.reason or str(entry.state), _item_of(entry))
            case DownlinkState.QUEUED if entry.reason is not None and not entry.attempts:  # the radio did not take it
                return self._log(about, moved.at, "DOWNLINK_GATEWAY", entry.reason, _item_of(entry))
        return None

    def _tx_ack(self, moved: DownlinkMoved, about: Mapping[str, Any]) -> dict[str, Any]:
        entry = moved.entry
        return {
            "downlinkId": made_number("downlink", entry.ref, str(entry.attempts)),
            "time": self._time(moved.at),
            "deviceInfo": about,
            "queueItemId": queue_item_id(entry.ref),
            "fCntDown": entry.f_cnt or 0,
            "gatewayId": self._gateway_id,
        }

    def _ack(self, moved: DownlinkMoved, about: Mapping[str, Any], *, acknowledged: bool) -> dict[str, Any]:
        entry = moved.entry
        return {
            "deduplicationId": made_id("ack", entry.ref),
            "time": self._time(moved.at),
            "deviceInfo": about,
            "queueItemId": queue_item_id(entry.ref),
            "acknowledged": acknowledged,
            "fCntDown": entry.f_cnt or 0,
        }

    def _log(
        self,
        about: Mapping[str, Any],
        at: Stamp,
        code: str,
        description: str,
        context: Mapping[str, str] | None = None,
        *,
        frame: str | None = None,
    ) -> MqttMessage:
        words = dict(context or {})
        if frame is not None:
            words["deduplication_id"] = frame_uuid(frame)
        event = {
            "time": self._time(at),
            "deviceInfo": about,
            "level": "ERROR",
            "code": code,
            "description": description,
            "context": words,
        }
        return MqttMessage(self._topic(about["devEui"], "log"), json_bytes(event), needed=False)

    def _event(self, dev_eui: DevEui, event: str, facts: Mapping[str, Any]) -> MqttMessage:
        return MqttMessage(self._topic(dev_eui.hex(), event), json_bytes(facts), needed=event == "up")

    def _time(self, at: Stamp) -> str:
        return moment(self._privacy.stamp(at).utc_us, _UTC)

    def _topic(self, dev_eui: str, event: str) -> str:
        return below(self._prefix, f"application/{self.application_id}/device/{dev_eui}/event/{event}")

    def _data_rate(self, modulation: Modulation) -> int:
        return self._region.data_rate_index(modulation) or 0

    def _region_config_id(self, frequency_hz: int) -> str:
        name = self._region.name.lower().replace("-", "_")
        if name not in _SUB_BANDS:
            return name
        channel = self._region.channel_of(frequency_hz) or 0
        # US915 and AU915 have 64 narrow channels; the eight wide ones behind them belong to a group each.
        return f"{name}_{channel - 64 if name != 'cn470' and channel >= 64 else channel // 8}"


# --- ids ------------------------------------------------------------------------------------------------------------


def frame_uuid(frame_id: str) -> str:
    """A frame id as a UUID of version 8 (RFC 9562, 5.8): its own 32 digits, but for the six bits that say "version 8".

    A text that is no frame id gets a UUID made of it.
    """
    if len(frame_id) != 32:
        return made_id("frame", frame_id)
    variant = "89ab"[int(frame_id[16], 16) & 3]
    return f"{frame_id[:8]}-{frame_id[8:12]}-8{frame_id[13:16]}-{variant}{frame_id[17:20]}-{frame_id[20:]}"


@lru_cache(maxsize=1024)
def made_id(*names: str) -> str:
    """A UUID made of names: the same wherever and whenever it is asked for."""
    return str(_made(names))


def made_number(*names: str) -> int:
    """A number of 32 bits made of names."""
    return _made(names).int & 0xFFFF_FFFF


def _made(names: Sequence[str]) -> uuid.UUID:
    whole = "\n".join(names).encode("utf-8", "replace").decode()  # half surrogate pairs are no text
    return uuid.uuid5(_OURS, whole)


def queue_item_id(ref: str) -> str:
    """The id of a queue item: the reference itself where that is a UUID, else one made of it."""
    return _as_uuid(ref) or made_id("downlink", ref)


def _as_uuid(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _number_of(frame_id: str) -> int:
    try:
        return int(frame_id[:8], 16)
    except ValueError:
        return made_number("frame", frame_id)


# --- parts of events ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _tx_info(frequency_hz: int, modulation: Modulation) -> dict[str, Any]:
    return to_json(UPLINK_TX_INFO, {"frequency": frequency_hz, "modulation": modulation_values(modulation)})


def _location_json(position: Position, privacy: Privacy) -> dict[str, Any]:
    facts = location_values(position)
    facts |= {name: privacy.coordinate(facts[name]) for name in ("latitude", "longitude")}
    return {key: value for key, value in facts.items() if value}


def _status_json(reading: Reading, about: Mapping[str, Any], status: DevStatusAns) -> dict[str, Any]:
    known = status.battery not in (BATTERY_EXTERNAL, BATTERY_UNKNOWN)
    return {
        "deduplicationId": frame_uuid(reading.frame_id),
        "time": moment(reading.heard.utc_us, _UTC),
        "deviceInfo": about,
        "margin": status.margin_db,
        "externalPowerSource": status.battery == BATTERY_EXTERNAL,
        "batteryLevelUnavailable": status.battery == BATTERY_UNKNOWN,
        "batteryLevel": round(status.battery / _FULL_BATTERY * 100, 2) if known else 0.0,
    }


def _code_of(entry: QueuedDownlink) -> str:
    if entry.state is DownlinkState.EXPIRED:
        return "EXPIRED"
    return "DOWNLINK_PAYLOAD_SIZE" if " bytes, at most " in (entry.reason or "") else "DOWNLINK_GATEWAY"


def _item_of(entry: QueuedDownlink) -> dict[str, str]:
    return {"queue_item_id": queue_item_id(entry.ref)}


# --- the way back ---------------------------------------------------------------------------------------------------


def read_command(payload: bytes, dev_eui: DevEui, now_us: int, fresh: Callable[[], str]) -> bytes:
    """A `command/down` in our own JSON (`own_downlink`); NoDownlink when it is none.

    As ChirpStack has it, `object` counts more than `data`, and without an `id` there is a new one.
    """
    if len(payload) > LONGEST_REQUEST:
        raise NoDownlink(f"{len(payload)} bytes, a command has at most {LONGEST_REQUEST}")
    try:
        facts = orjson.loads(payload)
        command = from_json(DOWNLINK_COMMAND, facts)
    except orjson.JSONDecodeError as error:
        raise NoDownlink(f"this is no JSON: {error}") from None
    except Unreadable as error:
        raise NoDownlink(str(error)) from None
    named = command.get("dev_eui", "")
    if named and _dev_eui(named) != dev_eui:
        raise NoDownlink(f"it names {named}, and its topic {dev_eui}")
    request: dict[str, Any] = {"ref": command.get("id") or fresh(), "confirmed": command.get("confirmed", False)}
    if command.get("f_port"):
        request["f_port"] = command["f_port"]
    values = facts.get("object")
    if values is not None:
        if not isinstance(values, dict):
            raise NoDownlink("object is no object")
        request["data"] = values
    else:
        request["payload"] = command.get("data", b"").hex()
    expires_at_ns = command.get("expires_at")
    if expires_at_ns is not None:
        left_s = (expires_at_ns / 1000 - now_us) / 1e6
        if left_s <= 0:
            raise NoDownlink("it has expired already", request["ref"])
        request["expires_after_s"] = min(left_s, LATEST_S)
    return json_bytes(request)


def _dev_eui(text: str) -> DevEui:
    try:
        return DevEui.parse(text)
    except ValueError as error:
        raise NoDownlink(str(error)) from None
