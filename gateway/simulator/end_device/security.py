"""The device's half of a session: what it signs, what it opens, and the counter rules it holds its network to.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), 4.3.1.5 and 4.4; LoRaWAN 1.1, 4.3.1.5 and 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import crypt_f_opts, crypt_payload, data_mic, downlink_mic_1_1
from gateway.lorawan.frame import F_CNT_MAX, MIC_SIZE, DataFrame, Direction, DownlinkControl
from gateway.model import MacVersion
from gateway.simulator.end_device.complaints import Fault

if TYPE_CHECKING:
    from gateway.lorawan.crypto import KeySchedules
    from gateway.model import Session

TURN = 1 << 16
"""Counters have 32 bits, of which the lower 16 are on the air."""


@dataclass(frozen=True, slots=True)
class Downlink:
    """A downlink, authentic and decrypted."""

    counter: str  # FCntDown, NFCntDown or AFCntDown
    f_cnt: int  # 32 bits
    f_port: int | None
    payload: bytes
    f_opts: bytes
    confirmed: bool
    ack: bool
    f_pending: bool


@dataclass(frozen=True, slots=True)
class Distrust:
    """Why the device does not take a frame with its address."""

    fault: Fault
    text: str


class DownlinkJudge:
    """Opens the downlinks of one session in the order of hearing. Every counter serves one frame, and only grows."""

    def __init__(self, session: Session, schedules: KeySchedules) -> None:
        self._session = session
        self._keys = schedules
        self._last: dict[str, int] = {}
        self._known: dict[tuple[str, int], bytes] = {}  # what was sent under each counter, hashed

    def judge(
        self, frame: DataFrame, phy: bytes, *, conf_f_cnt: int, max_gap: int | None = None
    ) -> Downlink | Distrust:
        """The frame opened, or what is wrong with it.

        `conf_f_cnt` is the counter of the confirmed uplink that an ACK would be for; `max_gap` the step that a device
        before 1.0.4 does not follow.
        """
        assert isinstance(frame.f_ctrl, DownlinkControl)
        counter = self._counter(frame)
        last = self._last.get(counter, -1)
        f_cnt = last + 1 + (frame.f_cnt16 - last - 1) % TURN
        if f_cnt > F_CNT_MAX or not self._authentic(frame, phy, f_cnt, conf_f_cnt):
            return self._distrust(frame, phy, counter, f_cnt - TURN, conf_f_cnt)
        if max_gap is not None and last >= 0 and f_cnt - last >= max_gap:
            return Distrust(Fault.COUNTER_GAP, f"{counter} {f_cnt} after {last}: a step of {max_gap} is too far")
        self._last[counter] = f_cnt
        self._known[counter, f_cnt] = _digest(phy)
        return self._opened(frame, counter, f_cnt)

    def _distrust(self, frame: DataFrame, phy: bytes, counter: str, used: int, conf_f_cnt: int) -> Distrust:
        while used >= 0:
            if self._authentic(frame, phy, used, conf_f_cnt):
                known, last = self._known.get((counter, used)), self._last[counter]
                if known is None:
                    return Distrust(Fault.COUNTER_BACK, f"{counter} {used} after {last}")
                if known == _digest(phy):
                    return Distrust(Fault.REPEATED, f"{counter} {used} again, byte for byte")
                return Distrust(Fault.COUNTER_REUSED, f"{counter} {used} again, with another content")
            used -= TURN
        return Distrust(Fault.BAD_MIC, f"{counter} ending in {frame.f_cnt16}, {phy.hex()}")

    def _counter(self, frame: DataFrame) -> str:
        if not self._session.mac_version.is_1_1:
            return "FCntDown"
        return "AFCntDown" if frame.f_port else "NFCntDown"

    def _authentic(self, frame: DataFrame, phy: bytes, f_cnt: int, conf_f_cnt: int) -> bool:
        session, unsigned = self._session, phy[:-MIC_SIZE]
        if session.mac_version.is_1_1:
            conf = conf_f_cnt % TURN if frame.f_ctrl.ack else 0
            key = self._keys.of(session.s_nwk_s_int_key)
            return downlink_mic_1_1(key, session.dev_addr, f_cnt, unsigned, conf_f_cnt=conf) == frame.mic
        key = self._keys.of(session.f_nwk_s_int_key)
        return data_mic(key, Direction.DOWN, session.dev_addr, f_cnt, unsigned) == frame.mic

    def _opened(self, frame: DataFrame, counter: str, f_cnt: int) -> Downlink:
        assert isinstance(frame.f_ctrl, DownlinkControl)
        session = self._session
        header = (Direction.DOWN, session.dev_addr, f_cnt)
        f_opts = frame.f_opts
        if f_opts and session.mac_version.is_1_1:
            key = self._keys.of(session.nwk_s_enc_key)
            f_opts = crypt_f_opts(key, *header, f_opts, a_f_cnt_down=counter == "AFCntDown")
        key = self._keys.of(session.app_s_key if frame.f_port else session.nwk_s_enc_key)
        return Downlink(
            counter=counter,
            f_cnt=f_cnt,
            f_port=frame.f_port,
            payload=crypt_payload(key, *header, frame.frm_payload),
            f_opts=f_opts,
            confirmed=frame.confirmed,
            ack=frame.f_ctrl.ack,
            f_pending=frame.f_ctrl.f_pending,
        )


def max_gap_of(version: MacVersion, max_f_cnt_gap: int) -> int | None:
    """MAX_FCNT_GAP where the version has it: 1.0.4 and 1.1 have no limit."""
    return max_f_cnt_gap if version < MacVersion.V1_0_4 else None


def _digest(phy: bytes) -> bytes:
    return blake2b(phy, digest_size=8).digest()
