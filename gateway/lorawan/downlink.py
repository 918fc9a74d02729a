"""Downlinks: data frames as a network sends them, and as a device opens them (for simulated devices and tests).

LoRaWAN 1.0.x counts downlinks with one counter. 1.1 has two: NFCntDown for frames on port 0 or without a port,
AFCntDown for application payloads (LoRaWAN 1.1, 4.3.1.5). A counter and a key make one cipher stream, so who seals
has made sure before, on disk, that the counter is never used again: gaps are legal, a second use is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import KeySchedules, crypt_f_opts, crypt_payload, data_mic, downlink_mic_1_1
from gateway.lorawan.frame import (
    F_CNT_MAX,
    MIC_SIZE,
    DataFrame,
    Direction,
    DownlinkControl,
    MalformedFrame,
    MType,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import MacVersion, Session


class DownCounter(Enum):
    """Which of a session's downlink counters a frame takes."""

    NETWORK = "n_f_cnt_down"  # in 1.0.x the only one, FCntDown
    APPLICATION = "a_f_cnt_down"  # 1.1


def counter_for(version: MacVersion, f_port: int | None) -> DownCounter:
    """The counter that a downlink on this port takes."""
    return DownCounter.APPLICATION if version.is_1_1 and f_port else DownCounter.NETWORK


def seal_downlink(
    session: Session,
    *,
    f_cnt: int,
    f_port: int | None,
    payload: bytes = b"",
    f_opts: bytes = b"",
    confirmed: bool = False,
    ack: bool = False,
    conf_f_cnt: int = 0,
    adr: bool = False,
    f_pending: bool = False,
    schedules: KeySchedules | None = None,
) -> bytes:
    """The PHYPayload of a downlink: encrypted and signed.

    `f_cnt` has 32 bits and is the counter that `counter_for` names; it must be spent on disk before this goes on the
    air. `payload` and `f_opts` are plain. With `ack`, `conf_f_cnt` is the counter of the confirmed uplink that is
    acknowledged (the MIC of 1.1 covers it; 1.0.x ignores it). Who seals often passes its own `schedules`. Raises
    MalformedFrame for what cannot be sent.
    """
    if not 0 <= f_cnt <= F_CNT_MAX:
        raise MalformedFrame(f"a counter of {f_cnt}, it ends at {F_CNT_MAX} and then a device joins again")
    keys = schedules if schedules is not None else KeySchedules()
    is_1_1 = session.mac_version.is_1_1
    payload_key = session.nwk_s_enc_key if f_port == 0 else session.app_s_key
    header = (Direction.DOWN, session.dev_addr, f_cnt)
    draft = DataFrame(
        mtype=MType.CONFIRMED_DATA_DOWN if confirmed else MType.UNCONFIRMED_DATA_DOWN,
        dev_addr=session.dev_addr,
        f_ctrl=DownlinkControl(adr=adr, ack=ack, f_pending=f_pending),
        f_cnt16=f_cnt & 0xFFFF,
        f_opts=f_opts,
        f_port=f_port,
        frm_payload=crypt_payload(keys.of(payload_key), *header, payload) if payload else b"",
        mic=bytes(MIC_SIZE),
    )
    if is_1_1 and f_opts:
        application = counter_for(session.mac_version, f_port) is DownCounter.APPLICATION
        encrypted = crypt_f_opts(keys.of(session.nwk_s_enc_key), *header, f_opts, a_f_cnt_down=application)
        draft = replace(draft, f_opts=encrypted)
    unsigned = draft.unsigned()
    return unsigned + _mic(session, keys, f_cnt, unsigned, conf_f_cnt if ack else 0)


class DownlinkRefusal(StrEnum):
    """Why a device does not take a downlink."""

    MALFORMED = "malformed"
    NOT_DATA_DOWN = "not_data_down"
    OTHER_ADDRESS = "other_address"
    OLD_COUNTER = "old_counter"  # authentic at best under a counter that was used already
    BAD_MIC = "bad_mic"


@dataclass(frozen=True, slots=True)
class RefusedDownlink:
    """A frame that the device ignores, and why."""

    reason: DownlinkRefusal
    detail: str


@dataclass(frozen=True, slots=True)
class OpenedDownlink:
    """A downlink as the device reads it: authentic, decrypted, with its whole counter."""

    counter: DownCounter
    f_cnt: int  # 32 bits
    f_port: int | None
    payload: bytes
    f_opts: bytes
    confirmed: bool
    ack: bool
    adr: bool
    f_pending: bool


def open_downlink(
    session: Session,
    phy: bytes,
    *,
    last_f_cnt: Mapping[DownCounter, int],
    conf_f_cnt: int = 0,
    schedules: KeySchedules | None = None,
) -> OpenedDownlink | RefusedDownlink:
    """The device's side: a heard frame opened, or why the device ignores it.

    `last_f_cnt` holds the counters of the last downlinks taken, none before the first; the new one is the next that
    ends in the 16 bits on the air. `conf_f_cnt` is the counter of the device's last confirmed uplink: a 1.1 device
    takes it into the MIC of a frame that acknowledges.
    """
    try:
        frame = parse(phy)
    except MalformedFrame as reason:
        return RefusedDownlink(DownlinkRefusal.MALFORMED, str(reason))
    if not isinstance(frame, DataFrame) or not isinstance(frame.f_ctrl, DownlinkControl):
        return RefusedDownlink(DownlinkRefusal.NOT_DATA_DOWN, "no data frame from a network")
    if frame.dev_addr != session.dev_addr:
        return RefusedDownlink(DownlinkRefusal.OTHER_ADDRESS, f"for {frame.dev_addr}")
    keys = schedules if schedules is not None else KeySchedules()
    counter = counter_for(session.mac_version, frame.f_port)
    last = last_f_cnt.get(counter, -1)
    f_cnt = last + 1 + (frame.f_cnt16 - last - 1) % 0x1_0000
    acknowledged = conf_f_cnt if frame.f_ctrl.ack else 0
    if f_cnt > F_CNT_MAX or _mic(session, keys, f_cnt, phy[:-MIC_SIZE], acknowledged) != frame.mic:
        used = f_cnt - 0x1_0000
        if used >= 0 and _mic(session, keys, used, phy[:-MIC_SIZE], acknowledged) == frame.mic:
            return RefusedDownlink(DownlinkRefusal.OLD_COUNTER, f"counter {used}, but {last} was taken before")
        return RefusedDownlink(DownlinkRefusal.BAD_MIC, f"does not fit counter {f_cnt}")
    return _opened(session, frame, frame.f_ctrl, counter, f_cnt, keys)


def _opened(
    session: Session, frame: DataFrame, f_ctrl: DownlinkControl, counter: DownCounter, f_cnt: int, keys: KeySchedules
) -> OpenedDownlink:
    header = (Direction.DOWN, session.dev_addr, f_cnt)
    f_opts, payload = frame.f_opts, frame.frm_payload
    if f_opts and session.mac_version.is_1_1:
        application = counter is DownCounter.APPLICATION
        f_opts = crypt_f_opts(keys.of(session.nwk_s_enc_key), *header, f_opts, a_f_cnt_down=application)
    if payload:
        key = session.nwk_s_enc_key if frame.f_port == 0 else session.app_s_key
        payload = crypt_payload(keys.of(key), *header, payload)
    return OpenedDownlink(
        counter=counter,
        f_cnt=f_cnt,
        f_port=frame.f_port,
        payload=payload,
        f_opts=f_opts,
        confirmed=frame.confirmed,
        ack=f_ctrl.ack,
        adr=f_ctrl.adr,
        f_pending=f_ctrl.f_pending,
    )


def _mic(session: Session, keys: KeySchedules, f_cnt: int, unsigned: bytes, conf_f_cnt: int) -> bytes:
    if session.mac_version.is_1_1:
        s_key = keys.of(session.s_nwk_s_int_key)
        return downlink_mic_1_1(s_key, session.dev_addr, f_cnt, unsigned, conf_f_cnt=conf_f_cnt & 0xFFFF)
    return data_mic(keys.of(session.f_nwk_s_int_key), Direction.DOWN, session.dev_addr, f_cnt, unsigned)
