"""What a technician sees of each packet, as JSON objects: `tail --raw --json`.

Each object says what it is in `event`. Frames that were heard:

    heard            a frame of a device of ours, at the moment it was heard
    kept             the same frame as a reading, once it is on disk (all keys of a reading)
    refused          a frame that goes no further here, and why (`reason`, `problem`)

What became of a frame at a network server (`lns`); `frame` is the `id` of the frame:

    forwarded        left for it; `final` where its protocol acknowledges nothing
    acknowledged     it has it; unanswered: nothing came back in time; missed: never left, or was not taken (`reason`)

And the way down; `lns` is who asked, null for this gateway itself, and `downlink` names the attempt:

    downlink         offered to the radio; `frame` is the uplink it answers, `early_ms` how long before its window
    downlink_result  what became of it: `result` (`model.TxResult`), `detail`, `on_air` (null: nobody can say), and
                     `lost_to` where another transmission was there before

`after_ms` counts from the moment the frame was heard, on the monotonic clock: setting the clock does not disturb it. It
is null for what was heard before the last start of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.lorawan.frame import DataFrame, JoinRequest, MalformedFrame, MType, RejoinRequest, parse
from gateway.model import AtGpsTime, Crc, Immediately
from gateway.wire.own_json import modulation_json, radio_json, reading_json, rfc3339, unopened_json

if TYPE_CHECKING:
    from gateway.model import (
        DevEui,
        DownlinkRequest,
        GatewayEui,
        OpenedUplink,
        RadioFrame,
        Record,
        Refused,
        Stamp,
        TxReport,
    )

M_TYPES: Final = {
    MType.JOIN_REQUEST: "join_request",
    MType.JOIN_ACCEPT: "join_accept",
    MType.UNCONFIRMED_DATA_UP: "unconfirmed_up",
    MType.UNCONFIRMED_DATA_DOWN: "unconfirmed_down",
    MType.CONFIRMED_DATA_UP: "confirmed_up",
    MType.CONFIRMED_DATA_DOWN: "confirmed_down",
    MType.REJOIN_REQUEST: "rejoin_request",
    MType.PROPRIETARY: "proprietary",
}
"""`m_type`, as network servers spell it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The uplink that a downlink answers."""

    frame: RadioFrame
    dev_eui: DevEui | None  # known of devices of ours, and of whoever asks to join
    delay_us: int  # from the end of the uplink to the downlink
    window: str  # RX1 or RX2, as far as frequency and data rate tell


def heard_json(gateway_eui: GatewayEui, uplink: OpenedUplink) -> dict[str, Any]:
    """A frame of a device of ours, before a codec or the disk has seen it."""
    frame = uplink.frame
    return {
        "event": "heard",
        "id": frame.frame_id,
        "gateway_eui": gateway_eui.hex(),
        "time": rfc3339(frame.heard.utc_us),
        "time_quality": frame.heard.quality.value,
        "time_uncertainty_ms": frame.heard.uncertainty_ms,
        "dev_eui": uplink.device.dev_eui.hex(),
        "dev_addr": str(uplink.dev_addr),
        "name": uplink.device.name,
        "m_type": "confirmed_up" if uplink.confirmed else "unconfirmed_up",
        "f_cnt": uplink.f_cnt,
        "f_port": uplink.f_port,
        "adr": uplink.adr,
        "adr_ack_req": uplink.adr_ack_req,
        "ack": uplink.ack,
        "gap_before": uplink.gap_before,
        "phy_payload": frame.phy.hex(),
        "size": len(frame.phy),
        "radio": _heard_how(frame),
    }


def kept_json(record: Record, now: Stamp) -> dict[str, Any]:
    """A reading that is on disk."""
    after_ms = _ms(now.monotonic_us - record.reading.heard.monotonic_us)
    return {"event": "kept", "after_ms": after_ms, **reading_json(record)}


def refused_json(gateway_eui: GatewayEui, frame: RadioFrame, refused: Refused) -> dict[str, Any]:
    """A frame that goes no further, with what can be read of it without a key; of a damaged one, nothing."""
    plain = unopened_json(gateway_eui, frame, refused)
    said = message_json(frame.phy) if frame.crc is Crc.OK else {}
    read = {key: value for key, value in said.items() if plain.get(key) is None}
    return {"event": "refused", **plain, **read, "size": len(frame.phy), "radio": _heard_how(frame)}


def frame_event_json(
    event: str, frame: RadioFrame, dev_eui: DevEui | None, lns: str, reason: str, now: Stamp, *, final: bool
) -> dict[str, Any]:
    """Something happened to a frame at a network server."""
    said, heard = message_json(frame.phy), frame.heard
    after_us = now.monotonic_us - heard.monotonic_us if now.boot_id == heard.boot_id else None  # out of the store
    return {
        "event": event,
        "time": rfc3339(now.utc_us),
        "frame": frame.frame_id,
        "dev_eui": said.get("dev_eui") if dev_eui is None else dev_eui.hex(),
        "dev_addr": said.get("dev_addr"),
        "lns": lns,
        "after_ms": None if after_us is None else _ms(after_us),
        "reason": reason or None,
        "final": final,
    }


def downlink_json(
    number: str, asker: str | None, way: DownlinkRequest, uplink: Answered | None, now: Stamp
) -> dict[str, Any]:
    """A way of a downlink is offered to the radio."""
    early_us = None
    if uplink is not None:
        early_us = uplink.frame.heard.monotonic_us + uplink.delay_us - now.monotonic_us
    return {
        "event": "downlink",
        "time": rfc3339(now.utc_us),
        "downlink": number,
        "lns": asker,
        **_answers(uplink, now),
        "window": _window(way, uplink),
        "delay_ms": None if uplink is None else _ms(uplink.delay_us),
        "early_ms": None if early_us is None else _ms(early_us),
        **_down(way.phy),
        "radio": _sent_how(way),
    }


def outcome_json(
    number: str | None,
    asker: str | None,
    way: DownlinkRequest | None,
    report: TxReport,
    on_air: bool | None,
    lost_to: dict[str, Any] | None,
    uplink: Answered | None,
    now: Stamp,
) -> dict[str, Any]:
    """What became of a downlink."""
    return {
        "event": "downlink_result",
        "time": rfc3339(now.utc_us),
        "downlink": number,
        "lns": asker,
        **_answers(uplink, now),
        **({} if way is None else {"to_dev_addr": _down(way.phy)["to_dev_addr"]}),
        "result": report.result.value,
        "detail": report.detail or None,
        "on_air": on_air,
        "lost_to": lost_to,
    }


def message_json(phy: bytes) -> dict[str, Any]:
    """What a frame says without a key: `m_type`, and who sent it or for whom it is; empty when it is no LoRaWAN."""
    try:
        message = parse(phy)
    except MalformedFrame:
        return {}
    told: dict[str, Any] = {"m_type": M_TYPES[MType(phy[0] >> 5)]}
    match message:
        case DataFrame():
            told |= {"dev_addr": str(message.dev_addr), "f_cnt16": message.f_cnt16, "f_port": message.f_port}
        case JoinRequest():
            told |= {
                "dev_eui": message.dev_eui.hex(),
                "join_eui": message.join_eui.hex(),
                "dev_nonce": message.dev_nonce,
            }
        case RejoinRequest():
            told |= {"dev_eui": message.dev_eui.hex(), "rejoin_type": message.rejoin_type}
    return told


def _answers(uplink: Answered | None, now: Stamp) -> dict[str, Any]:
    if uplink is None:
        return {"frame": None, "dev_eui": None, "dev_addr": None, "after_ms": None}
    frame, said = uplink.frame, message_json(uplink.frame.phy)
    return {
        "frame": frame.frame_id,
        "dev_eui": said.get("dev_eui") if uplink.dev_eui is None else uplink.dev_eui.hex(),
        "dev_addr": said.get("dev_addr"),
        "after_ms": _ms(now.monotonic_us - frame.heard.monotonic_us),
    }


def _window(way: DownlinkRequest, uplink: Answered | None) -> str | None:
    if uplink is not None:
        return uplink.window
    match way.timing:
        case Immediately():
            return "immediately"
        case AtGpsTime():
            return "gps_time"
        case _:
            return None


def _down(phy: bytes) -> dict[str, Any]:
    said = message_json(phy)
    return {
        "m_type": said.get("m_type"),
        "to_dev_addr": said.get("dev_addr"),
        "f_cnt16": said.get("f_cnt16"),
        "f_port": said.get("f_port"),
        "phy_payload": phy.hex(),
        "size": len(phy),
    }


def _heard_how(frame: RadioFrame) -> dict[str, Any]:
    return {
        **radio_json(frame),
        "crc": frame.crc.name.lower(),
        "receiver": frame.receiver,
        "counter_us": frame.counter_us,
    }


def _sent_how(way: DownlinkRequest) -> dict[str, Any]:
    return {
        "frequency_hz": way.frequency_hz,
        **modulation_json(way.modulation),
        "power_dbm_eirp": way.power_dbm_eirp,
        "receiver": way.receiver,
    }


def _ms(microseconds: int) -> float:
    return round(microseconds / 1000, 1)
