"""What The Things Stack's MQTT integration writes and takes (v3), so that whoever reads it reads this gateway, too.

Messages are `ApplicationUp` of its published API (ttn/lorawan/v3/messages.proto, 3.32 to 3.36) in its JSON: snake_case
names, EUIs and addresses in upper case, whatever is zero, false or empty left out, 64-bit numbers as text. Every
accepted frame is an `up`; a downlink is told as `down/queued`, `sent`, `ack`, `nack` and `failed`.

A device is known by its name where that is an id of theirs, else as `eui-…`, as their console proposes. There is no
field for an id of a message, so a name of the frame (or the downlink) stands in `correlation_ids`, the same one
whenever the message is delivered again and on every gateway that heard the frame.
"""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.lorawan.device_status import reported_status
from gateway.model import (
    DevAddr,
    DevEui,
    DownlinkMoved,
    DownlinkRefused,
    DownlinkState,
    Fsk,
    Joined,
    Lora,
    LrFhss,
    PositionSource,
    Removed,
)
from gateway.radio.airtime import airtime_us
from gateway.wire.foreign_json import gps_time_us, is_dated, moment, profile_of, seconds, slug, structure
from gateway.wire.mqtt_message import MqttMessage, below
from gateway.wire.own_downlink import LONGEST_REF, LONGEST_REQUEST, NoDownlink
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import Device, GatewayEui, Happening, JoinEui, Modulation, Position, Reading, Record, Stamp
    from gateway.wire.mqtt_message import Whom
    from gateway.wire.privacy import Privacy

_OURS: Final = uuid.UUID("bfc42c47-a86f-4c38-b72a-0b1b23c0f978")
"""The namespace of names for sessions: drawn once, and part of every consumer's memory since."""

MOST_DOWNLINKS: Final = 100  # in one push: as many as may wait for a device
_FRAME, _DOWNLINK = "gw:frame:", "gw:downlink:"
_EUI: Final = "eui-"
_LONGEST_ID: Final = 100  # of a correlation id (messages.proto)
_NAMESPACE: Final = "lorawan-edge-gateway"
_PRIORITIES: Final = frozenset({"LOWEST", "LOW", "BELOW_NORMAL", "NORMAL", "ABOVE_NORMAL", "HIGH", "HIGHEST"})


class TtnWords:
    """Says everything on `v3/{application}@{tenant}/devices/{device_id}/…`; see `gateway.delivery.mqtt.Words`."""

    will: MqttMessage | None = None  # The Things Stack's integration says nothing of gateways

    def __init__(
        self,
        gateway_eui: GatewayEui,
        application: str,
        *,
        tenant: str = "default",
        topic_prefix: str = "",
        location: Callable[[], Position | None] = lambda: None,
        privacy: Privacy = EVERYTHING,
    ) -> None:
        """`application` and `tenant` are their ids."""
        self._application_ids = {"application_id": application}
        self._gateway_ids = {"gateway_id": f"{_EUI}{gateway_eui}", "eui": str(gateway_eui).upper()}
        self._network_ids = {"tenant_id": tenant}
        self._devices = below(topic_prefix, f"v3/{application}@{tenant}/devices/")
        self._privacy = privacy
        self._has_radio = "radio" in privacy.keys
        self._location = location

    def _place(self) -> dict[str, Any] | None:
        """Where the antenna stands, as far as these readers may know."""
        position = self._location()
        if position is None:
            return None
        latitude, longitude = (self._privacy.coordinate(one) for one in (position.latitude, position.longitude))
        place = _location_json(latitude, longitude)
        if position.source is PositionSource.GPS:
            place["source"] = "SOURCE_GPS"
        if altitude_m := round(position.altitude_m or 0):
            place["altitude"] = altitude_m
        return place

    # --- what the gateway tells

    def greeting(self) -> Sequence[MqttMessage]:
        """Nothing: there is no place for facts of a gateway on these topics."""
        return ()

    def of_record(self, record: Record) -> Sequence[MqttMessage]:
        """An `up`."""
        reading = self._privacy.narrowed(record.reading)
        device_id = device_id_of(reading.name, reading.dev_eui)
        received_at = moment(reading.heard.utc_us)
        facts = {
            "end_device_ids": self._device_ids(device_id, reading.dev_eui, reading.join_eui, reading.dev_addr),
            "correlation_ids": [_FRAME + reading.frame_id],
            "received_at": received_at,
            "uplink_message": self._uplink(record, reading, received_at),
        }
        return (MqttMessage(f"{self._devices}{device_id}/up", json_bytes(facts)),)

    def of_gateway(self, topic: str, facts: Mapping[str, Any]) -> MqttMessage | None:  # noqa: ARG002 - a Words
        """Nothing, as at the beginning."""
        return None

    def of_happening(self, happening: Happening) -> Sequence[MqttMessage]:
        """A `join`, or what became of a downlink; nothing for what The Things Stack keeps to itself."""
        match happening:
            case Joined(device=device, dev_addr=dev_addr, frame=frame):
                received_at = self._time(frame.heard)
                dev_addr = dev_addr if "dev_addr" in self._privacy.keys else DevAddr(0)
                accept = {"session_key_id": session_key_id(device.dev_eui, dev_addr), "received_at": received_at}
                said = {"correlation_ids": [_FRAME + frame.frame_id], "received_at": received_at, "join_accept": accept}
                return self._told(device, "join", said, dev_addr)
            case DownlinkMoved():
                return self._moved(happening)
            case DownlinkRefused(device=device, ref=ref, reason=reason, at=at):
                ids = [] if ref is None else _correlation_ids(ref)
                failed = {"downlink": _compact({"correlation_ids": ids}), "error": _error("refused_downlink", reason)}
                said = _compact({"correlation_ids": ids, "received_at": self._time(at), "downlink_failed": failed})
                return self._told(device, "down/failed", said)
            case Removed():
                return ()

    # --- what is asked for

    @property
    def asking(self) -> tuple[str, ...]:
        """The topics on which downlinks are asked for; none where devices are known by pseudonyms."""
        if self._privacy.hides_devices:
            return ()
        return f"{self._devices}+/down/push", f"{self._devices}+/down/replace"

    def requests(
        self,
        topic: str,
        payload: bytes,
        now_us: int,  # noqa: ARG002 - a Words
        fresh: Callable[[], str],
    ) -> Sequence[tuple[Whom, bytes]]:
        """The downlinks that a push or replace asks for, in our own JSON; NoDownlink when it is none.

        `fresh` gives a new UUID as text.
        """
        *_, device_id, _, operation = topic.split("/")
        whom = _whom(device_id)
        return [(whom, request) for request in read_downlinks(payload, fresh, replace=operation == "replace")]

    # --- inside

    def _uplink(self, record: Record, reading: Reading, received_at: str) -> dict[str, Any]:
        decoded, status = reading.decoded, reported_status(reading)
        facts: dict[str, Any] = {
            "session_key_id": session_key_id(reading.dev_eui, reading.dev_addr),
            "f_port": reading.f_port,
            "f_cnt": reading.f_cnt,
            # MAC commands are the network's: they are not shown.
            "frm_payload": b64encode(reading.payload).decode() if reading.f_port else "",
            "decoded_payload": None if decoded.data is None else structure(decoded.data, whole_as_double=False),
            "decoded_payload_warnings": list(decoded.warnings),
            "received_at": received_at,
            "confirmed": reading.confirmed,
            "locations": _locations(reading.tags),
            "version_ids": _version_ids(decoded.codec),
            "attributes": dict(reading.tags),
            "network_ids": self._network_ids,
        }
        if self._has_radio:
            facts["rx_metadata"] = [self._rx_metadata(record, reading, received_at)]
            facts["settings"] = _settings(reading)
            facts["consumed_airtime"] = _airtime(reading.modulation, len(reading.phy))
        found = _compact(facts)
        if decoded.data is not None:
            found["decoded_payload"] = facts["decoded_payload"]  # there, even if it is empty
        level = next((one.value for one in decoded.measurements if one.quantity == "battery"), None)
        if status is not None and level is not None:
            last = {"f_cnt": reading.f_cnt, "value": level, "received_at": received_at}
            found["last_battery_percentage"] = _compact(last)
        return found

    def _rx_metadata(self, record: Record, reading: Reading, received_at: str) -> dict[str, Any]:
        heard, rssi_dbm = reading.heard, _short(reading.rssi_dbm)
        advanced: dict[str, Any] = {"clock": heard.quality.value, "record_id": self._privacy.record_id(record)}
        if record.late:
            advanced["buffered"] = True
        return _compact(
            {
                "gateway_ids": self._gateway_ids,
                "time": received_at if is_dated(heard) else None,
                "timestamp": reading.counter_us,
                "rssi": rssi_dbm,
                "channel_rssi": rssi_dbm,
                "snr": None if reading.snr_db is None else _short(reading.snr_db),
                "location": self._place(),
                "channel_index": reading.channel,
                "gps_time": received_at if gps_time_us(heard) is not None else None,
                "received_at": received_at,
                "advanced": advanced,
            }
        )

    def _device_ids(
        self, device_id: str, dev_eui: DevEui, join_eui: JoinEui | None, dev_addr: DevAddr | None
    ) -> dict[str, Any]:
        ids = {"device_id": device_id, "application_ids": self._application_ids, "dev_eui": dev_eui.hex().upper()}
        if join_eui is not None:
            ids["join_eui"] = join_eui.hex().upper()
        if dev_addr:
            ids["dev_addr"] = f"{dev_addr:08X}"
        return ids

    def _told(
        self, device: Device, topic: str, facts: Mapping[str, Any], dev_addr: DevAddr | None = None
    ) -> Sequence[MqttMessage]:
        told = self._privacy.device(device)
        if told is None:
            return ()
        device_id = device_id_of(told.name, told.dev_eui)
        ids = self._device_ids(device_id, told.dev_eui, told.join_eui, dev_addr)
        content = json_bytes({"end_device_ids": ids, **facts})
        return (MqttMessage(f"{self._devices}{device_id}/{topic}", content, needed=False),)

    def _time(self, at: Stamp) -> str:
        return moment(self._privacy.stamp(at).utc_us)

    def _moved(self, moved: DownlinkMoved) -> Sequence[MqttMessage]:
        entry = moved.entry
        ids = _correlation_ids(entry.ref)
        facts: dict[str, Any] = {
            "f_port": entry.f_port,
            "f_cnt": entry.f_cnt,
            "frm_payload": b64encode(entry.payload).decode() if "payload" in self._privacy.keys else "",
            "confirmed": entry.confirmed,
            "priority": "NORMAL",
            "correlation_ids": ids,
        }
        if entry.confirmed and entry.attempts:
            facts["confirmed_retry"] = {"attempt": entry.attempts}
        downlink = _compact(facts)
        match entry.state:
            case DownlinkState.QUEUED if entry.reason is None and not entry.attempts:
                event, fact = "queued", downlink
            case DownlinkState.QUEUED if entry.attempts:
                event, fact = "nack", downlink
            case DownlinkState.SENT:
                event, fact = "sent", downlink
            case DownlinkState.ACKNOWLEDGED:
                event, fact = "ack", downlink
            case DownlinkState.FAILED | DownlinkState.EXPIRED:
                name = "expired_downlink" if entry.state is DownlinkState.EXPIRED else "failed_downlink"
                event = "failed"
                fact = {"downlink": downlink, "error": _error(name, entry.reason or str(entry.state))}
            case _:
                return ()
        said = {"correlation_ids": ids, "received_at": self._time(moved.at), f"downlink_{event}": fact}
        return self._told(moved.device, f"down/{event}", said)


# --- ids ------------------------------------------------------------------------------------------------------------


def device_id_of(name: str, dev_eui: DevEui) -> str:
    """How a device is called on the topics: by its name where that is an id of theirs, else `eui-70b3d57ed0000001`.

    A name that looks like the other kind would be taken for somebody else's EUI.
    """
    fits = slug(name, shortest=3, longest=36) is not None and not name.startswith(_EUI)
    return name if fits else f"{_EUI}{dev_eui.hex()}"


def _whom(device_id: str) -> Whom:
    if not device_id.startswith(_EUI):
        return device_id
    try:
        return DevEui.parse(device_id.removeprefix(_EUI))
    except ValueError as error:
        raise NoDownlink(f"{device_id!r}: {error}") from None


@lru_cache(maxsize=4096)
def session_key_id(dev_eui: DevEui, dev_addr: DevAddr) -> str:
    """Names a session, in base64: another one after each join, because that brings another address."""
    return b64encode(uuid.uuid5(_OURS, f"{dev_eui}\n{dev_addr}").bytes).decode()


def _version_ids(codec: str | None) -> dict[str, Any]:
    return dict(_versions(profile_of(codec))) if codec is not None else {}


@lru_cache(maxsize=1024)
def _versions(profile: str) -> tuple[tuple[str, str], ...]:
    brand, _, model = profile.partition("/")
    named = (("brand_id", brand.replace("_", "-")), ("model_id", model.replace("_", "-")))
    return tuple((key, value) for key, value in named if slug(value, shortest=2, longest=36))


# --- parts of messages ----------------------------------------------------------------------------------------------


def _compact(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is zero, false, empty or unknown."""
    return {key: value for key, value in facts.items() if value}


def _short(value: float) -> float:
    """-97 for -97.0, as their JSON writes a float."""
    return int(value) if value == int(value) else value


def _settings(reading: Reading) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "data_rate": _data_rate(reading.modulation),
        "frequency": str(reading.frequency_hz),
        "timestamp": reading.counter_us,
    }
    if is_dated(reading.heard):
        facts["time"] = moment(reading.heard.utc_us)
    return _compact(facts)


@lru_cache(maxsize=64)
def _data_rate(modulation: Modulation) -> dict[str, Any]:
    match modulation:
        case Lora(spreading_factor, bandwidth_hz, coding_rate):
            lora = {"bandwidth": bandwidth_hz, "spreading_factor": spreading_factor, "coding_rate": coding_rate}
            return {"lora": _compact(lora)}
        case Fsk(bit_rate):
            return {"fsk": {"bit_rate": bit_rate}}
        case LrFhss(width_hz, coding_rate):
            return {"lrfhss": {"operating_channel_width": width_hz, "coding_rate": coding_rate}}


@lru_cache(maxsize=1024)
def _airtime(modulation: Modulation, size: int) -> str | None:
    if isinstance(modulation, LrFhss):
        return None
    try:
        return seconds(airtime_us(modulation, size))
    except ValueError:  # a coding rate that only 2.4 GHz has
        return None


def _location_json(latitude: float, longitude: float) -> dict[str, Any]:
    return {**_compact({"latitude": latitude, "longitude": longitude}), "source": "SOURCE_REGISTRY"}


def _locations(tags: Mapping[str, str]) -> dict[str, Any]:
    """Where the device is, as people entered it in its tags."""
    if "latitude" not in tags or "longitude" not in tags:
        return {}
    try:
        latitude, longitude = float(tags["latitude"]), float(tags["longitude"])
    except ValueError:
        return {}
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return {}
    return {"user": _location_json(latitude, longitude)}


def _error(name: str, reason: str) -> dict[str, Any]:
    return {"namespace": _NAMESPACE, "name": name, "message_format": reason}


# --- the way back ---------------------------------------------------------------------------------------------------


def read_downlinks(payload: bytes, fresh: Callable[[], str], *, replace: bool) -> list[bytes]:
    """The downlinks of a `down/push` or `down/replace`, each in our own JSON; NoDownlink when one of them is none.

    A replace begins with clearing what waits for the device, and may be nothing but that. The priority is read and has
    no meaning here: what is asked for first leaves first.
    """
    if len(payload) > LONGEST_REQUEST:
        raise NoDownlink(f"{len(payload)} bytes, a request has at most {LONGEST_REQUEST}")
    try:
        facts = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise NoDownlink(f"this is no JSON: {error}") from None
    downlinks = (facts.get("downlinks") or []) if isinstance(facts, dict) else None
    if not isinstance(downlinks, list) or not all(isinstance(one, dict) for one in downlinks):
        raise NoDownlink("an object with a list of downlinks is wanted")
    if len(downlinks) > MOST_DOWNLINKS:
        raise NoDownlink(f"{len(downlinks)} downlinks at once, at most {MOST_DOWNLINKS}")
    requests = [_request(one, fresh) for one in downlinks]
    if replace:
        if requests:
            requests[0]["clear"] = True
        else:
            requests = [{"clear": True}]
    elif not requests:
        raise NoDownlink("there is no downlink in it")
    return [json_bytes(request) for request in requests]


def _request(facts: Mapping[str, Any], fresh: Callable[[], str]) -> dict[str, Any]:
    if facts.get("class_b_c"):
        raise NoDownlink("class_b_c asks for a time or a gateway, and devices are answered here when they listen")
    priority, confirmed = facts.get("priority") or "LOWEST", facts.get("confirmed") or False
    if not (isinstance(priority, str) and priority in _PRIORITIES) and not isinstance(priority, int):
        raise NoDownlink("priority is one of " + ", ".join(sorted(_PRIORITIES)))
    if not isinstance(confirmed, bool):
        raise NoDownlink("confirmed is true or false")
    request: dict[str, Any] = {"ref": _ref(facts.get("correlation_ids") or [], fresh()), "confirmed": confirmed}
    f_port, values = facts.get("f_port") or None, facts.get("decoded_payload")
    if f_port is not None:
        request["f_port"] = f_port
    if facts.get("frm_payload") or values is None:
        request["payload"] = _payload(facts.get("frm_payload") or "").hex()
    else:
        request["data"] = values
    return request


def _payload(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise NoDownlink("frm_payload is no base64") from None


def _ref(correlation_ids: Any, fresh: str) -> str:
    """A reference that carries the ids of whoever asked, as far as they fit: they come back with what became of it."""
    if not isinstance(correlation_ids, list) or not all(isinstance(one, str) for one in correlation_ids):
        raise NoDownlink("correlation_ids is a list of texts")
    ref = fresh
    for one in correlation_ids:
        fits = 0 < len(one) <= _LONGEST_ID and len(ref) + 1 + len(one) <= LONGEST_REF
        if fits and one.isprintable() and " " not in one:
            ref += " " + one
    return ref


def _correlation_ids(ref: str) -> list[str]:
    """What names a downlink to whoever asked: our name for it, and theirs. An id has 100 characters at most."""
    ours, *theirs = ref.split(" ")
    return [(_DOWNLINK + ours)[:_LONGEST_ID], *theirs]
