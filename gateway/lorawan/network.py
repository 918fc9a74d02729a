"""What a heard frame is to us: whose, whether authentic, new or known, and what it says.

A device sends 16 bits of a 32-bit counter. The upper half is found by trying: the MIC covers all 32 bits, so the turn
under which it fits is the right one. LoRaWAN up to 1.0.3 refused a counter that ran ahead by MAX_FCNT_GAP; 1.0.4 and
1.1 dropped that rule, and so does a gateway that may have been dark for weeks while its devices counted on.

A counter is used once. What comes with a used one is told apart by its MIC and by the frames accepted last: a COPY
(another receiver heard the same transmission), a REPETITION (the device sent the frame again), or a REPLAY (another
frame under an old counter, or an old frame long after its time).

With the ACK bit set, half of the MIC of LoRaWAN 1.1 covers the counter of the acknowledged downlink. A session whose
`conf_f_cnts` names the confirmed downlinks that went out is judged on all of it. Who has not sent them cannot know them
(None: an imported session, or a power cut in between), and accepts such a frame on the other half alone: 16 bits, so it
gets no second try at the counter, and no jump ahead beyond MAX_FCNT_GAP.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import (
    KEYS_KEPT,
    KeySchedules,
    crypt_f_opts,
    crypt_payload,
    data_mic,
    forwarding_half,
    serving_half,
)
from gateway.lorawan.frame import (
    F_CNT_MAX,
    MIC_SIZE,
    DataFrame,
    Direction,
    JoinRequest,
    MalformedFrame,
    RejoinRequest,
    UplinkControl,
    parse,
)
from gateway.model import Crc, OpenedUplink, Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import DevAddr, DevEui, Device, RadioFrame, Session
    from gateway.regions.region import Region

MAX_FCNT_GAP = 16_384
"""How far a counter may have run ahead on half a MIC; Regional Parameters 1.0.3 give this value for every region."""

TURNS = 16
"""Turns of the lower 16 bits that are tried on each side: a frame a minute for two years without being heard."""

TURNS_TRIED = 256
"""Turns on each side for all sessions of a DevAddr together, one for each at least: a frame of somebody else that has
the address of a thousand devices must not hold up those of the others."""

HALF_CANDIDATES_MAX = 16
"""Sessions among which half a MIC may decide: each one is a chance of 1 in 65,536 to take in a foreign frame."""

COPY_SPAN_US = 2_000_000
"""Receivers hear one transmission within this time. A device waits longer before it repeats: RX2 opens after 2 s."""

REPEAT_SPAN_US = 300_000_000
"""How long after its first reception a frame can come again: at SF12 and 1 % duty cycle the repetition of a full
frame has to wait over four minutes."""

FRAMES_REMEMBERED = 8_192
"""Accepted frames that copies and repetitions are recognized by, about 4 MB."""

_TURN = 1 << 16
_ANY_DATA_RATE = range(16)  # TxDr has four bits


class Network:
    """Opens uplinks with the sessions it is given. Keeps prepared keys and the frames accepted last, nothing else.

    Sessions belong to the store: what `open` returns holds the next session, and the candidates of the next frame have
    to show it. Not for two threads at once.
    """

    def __init__(self, region: Region, *, keys_kept: int = KEYS_KEPT, frames_kept: int = FRAMES_REMEMBERED) -> None:
        self._region = region
        self._keys = KeySchedules(keys_kept)
        self._recent = _RecentFrames(frames_kept)

    def read(self, frame: RadioFrame) -> Refused | DataFrame | JoinRequest | RejoinRequest:
        """The uplink these bytes are, still closed; or why they are none."""
        if frame.crc is not Crc.OK:
            if frame.crc is Crc.BAD:
                return Refused(Refusal.CRC_BAD, "damaged on the air")
            return Refused(Refusal.CRC_NONE, "no checksum on the air, every LoRaWAN uplink has one")
        try:
            message = parse(frame.phy)
        except MalformedFrame as reason:
            return Refused(Refusal.MALFORMED, str(reason))
        if isinstance(message, DataFrame):
            return message if message.direction is Direction.UP else _not_uplink(message)
        if isinstance(message, JoinRequest | RejoinRequest):
            return message
        return Refused(Refusal.NOT_UPLINK, f"a frame of type {type(message).__name__}")

    def open(
        self, frame: RadioFrame, data: DataFrame, candidates: Sequence[tuple[Device, Session]]
    ) -> Refused | OpenedUplink:
        """The uplink opened by the one candidate that made it, or why none of them did or it may not count.

        `data` is what `read` made of `frame`; `candidates` are the sessions with its DevAddr: several devices may share
        one, and one device may have an old session and a new one. Storing the session of the answer is what accepts it;
        `withdraw` it if that fails. A refused repetition comes with what it repeats: its device may have missed the
        answer.
        """
        if data.direction is Direction.DOWN:
            return _not_uplink(data)
        candidates = [candidate for candidate in candidates if candidate[1].dev_addr == data.dev_addr]
        if not candidates:
            return Refused(Refusal.UNKNOWN_DEVICE, f"no session has DevAddr {data.dev_addr}", data.dev_addr)
        author = self._author(frame, data, candidates)
        if author is None:
            return Refused(Refusal.BAD_MIC, f"sessions with this DevAddr: {len(candidates)}, none fits", data.dev_addr)
        device, session, f_cnt = author
        refused = self._judge(frame, data, device, session, f_cnt)
        if refused is not None:
            reason, detail = refused
            again = None
            if reason is Refusal.REPETITION:
                opened = self._opened(frame, data, device, session, f_cnt)
                again = replace(opened, session=session, gap_before=0, counter_reset=False)
            return Refused(reason, detail, data.dev_addr, session.dev_eui, again)
        self._recent.add(session, f_cnt, data.mic, frame)
        return self._opened(frame, data, device, session, f_cnt)

    def withdraw(self, uplink: OpenedUplink) -> None:
        """Forget an uplink that could not be stored; with the earlier session as candidate, its repetition is new."""
        self._recent.discard(uplink.session, uplink.f_cnt)

    # --- whose -------------------------------------------------------------------------------------------------------

    def _author(
        self, frame: RadioFrame, data: DataFrame, candidates: Sequence[tuple[Device, Session]]
    ) -> tuple[Device, Session, int] | None:
        """The device, its session and the 32-bit counter that fit the MIC."""
        unsigned = frame.phy[:-MIC_SIZE]
        if len(candidates) > 1:  # a device that was heard lately is a few counters ahead: it is found with one MIC
            candidates = sorted(candidates, key=lambda candidate: _ahead(candidate[1].f_cnt_up, data.f_cnt16))
        for device, session in candidates:
            f_cnt = _nearest(session.f_cnt_up, data.f_cnt16)
            if self._fits(frame, data, session, f_cnt, unsigned):
                return device, session, f_cnt
        turns = min(TURNS, max(1, TURNS_TRIED // len(candidates)))
        for device, session in candidates:
            for f_cnt in _other_turns(_nearest(session.f_cnt_up, data.f_cnt16), turns):
                if self._fits(frame, data, session, f_cnt, unsigned):
                    return device, session, f_cnt
        if data.f_ctrl.ack and len(candidates) <= HALF_CANDIDATES_MAX:
            for device, session in candidates:
                f_cnt = _nearest(session.f_cnt_up, data.f_cnt16)
                if (
                    session.conf_f_cnts is None
                    and session.mac_version.is_1_1
                    and self._half_fits(data, session, f_cnt, unsigned)
                ):
                    return device, session, f_cnt
        return None

    def _fits(self, frame: RadioFrame, data: DataFrame, session: Session, f_cnt: int, unsigned: bytes) -> bool:
        """Whether this session makes exactly this MIC with this counter."""
        f_key = self._keys.of(session.f_nwk_s_int_key)
        mic = data_mic(f_key, Direction.UP, data.dev_addr, f_cnt, unsigned)
        if not session.mac_version.is_1_1:
            return mic == data.mic
        # The forwarding half has the key and the block of the 1.0 MIC.
        if mic[:2] != data.mic[2:]:
            return False
        acknowledged = (session.conf_f_cnts or ()) if data.f_ctrl.ack else (0,)
        s_key = self._keys.of(session.s_nwk_s_int_key)
        data_rate = self._region.data_rate_index(frame.modulation)
        return any(
            serving_half(s_key, data.dev_addr, f_cnt, unsigned, conf_f_cnt=conf & 0xFFFF, tx_dr=tx_dr, tx_ch=tx_ch)
            == data.mic[:2]
            for conf in acknowledged
            for tx_dr in (_ANY_DATA_RATE if data_rate is None else (data_rate,))
            for tx_ch in self._region.channel_candidates(frame.frequency_hz)
        )

    def _half_fits(self, data: DataFrame, session: Session, f_cnt: int, unsigned: bytes) -> bool:
        if session.f_cnt_up is not None and f_cnt - session.f_cnt_up > MAX_FCNT_GAP:
            return False
        f_key = self._keys.of(session.f_nwk_s_int_key)
        return forwarding_half(f_key, data.dev_addr, f_cnt, unsigned) == data.mic[2:]

    # --- new or known ------------------------------------------------------------------------------------------------

    def _judge(
        self, frame: RadioFrame, data: DataFrame, device: Device, session: Session, f_cnt: int
    ) -> tuple[Refusal, str] | None:
        """Why an authentic frame does not count; None when it does."""
        last = session.f_cnt_up
        unchecked = device.skip_f_cnt_check or session.skip_f_cnt_check
        earlier = self._recent.get(session, f_cnt)
        if earlier is not None and _same_frame(session, earlier.mic, data.mic) and earlier.may_come_again(frame):
            return earlier.meet(frame, data.mic)
        if last is None or f_cnt > last:
            return None
        if f_cnt == last and _same_frame(session, session.last_mic, data.mic) and not (unchecked and earlier):
            # Accepted before this process started, or forgotten: from now on its age is known.
            self._recent.add(session, f_cnt, data.mic, frame)
            return Refusal.REPETITION, f"counter {f_cnt} was accepted with this very frame"
        if unchecked:
            return None
        return Refusal.REPLAY, (
            f"counter {f_cnt}, but {last} was accepted before; a device that starts over has to join, or needs "
            "skip_f_cnt_check"
        )

    # --- what it says ------------------------------------------------------------------------------------------------

    def _opened(self, frame: RadioFrame, data: DataFrame, device: Device, session: Session, f_cnt: int) -> OpenedUplink:
        last = session.f_cnt_up
        f_opts = data.f_opts
        if f_opts and session.mac_version.is_1_1:
            f_opts = crypt_f_opts(self._keys.of(session.nwk_s_enc_key), Direction.UP, data.dev_addr, f_cnt, f_opts)
        payload = data.frm_payload
        if payload:
            key = session.nwk_s_enc_key if data.f_port == 0 else session.app_s_key
            payload = crypt_payload(self._keys.of(key), Direction.UP, data.dev_addr, f_cnt, payload)
        return OpenedUplink(
            frame=frame,
            device=device,
            session=replace(session, f_cnt_up=f_cnt, last_mic=data.mic),
            dev_addr=data.dev_addr,
            f_cnt=f_cnt,
            f_port=data.f_port,
            confirmed=data.confirmed,
            adr=data.f_ctrl.adr,
            ack=data.f_ctrl.ack,
            f_opts=f_opts,
            payload=payload,
            gap_before=0 if last is None or f_cnt <= last else f_cnt - last - 1,
            counter_reset=last is not None and f_cnt <= last,
            adr_ack_req=isinstance(data.f_ctrl, UplinkControl) and data.f_ctrl.adr_ack_req,
        )


class _Heard:
    """An accepted frame, and who heard its latest transmission."""

    __slots__ = ("first_us", "mic", "receivers", "sent_us")

    def __init__(self, mic: bytes, frame: RadioFrame) -> None:
        self.mic = mic
        self.first_us = self.sent_us = frame.heard.monotonic_us
        self.receivers: tuple[str, ...] = (frame.receiver,)

    def may_come_again(self, frame: RadioFrame) -> bool:
        return frame.heard.monotonic_us - self.first_us <= REPEAT_SPAN_US

    def meet(self, frame: RadioFrame, mic: bytes) -> tuple[Refusal, str]:
        """What the same frame is when it comes now."""
        now_us = frame.heard.monotonic_us
        apart_us = abs(now_us - self.sent_us)
        # A repetition of 1.1 on another channel has another MIC, so it never counts as the same transmission.
        if mic == self.mic and frame.receiver not in self.receivers and apart_us <= COPY_SPAN_US:
            self.receivers += (frame.receiver,)
            return Refusal.COPY, f"heard before by {self.receivers[0]}"
        self.mic = mic
        self.sent_us = now_us
        self.receivers = (frame.receiver,)
        return Refusal.REPETITION, f"the frame accepted {(now_us - self.first_us) / 1e6:.1f} s ago"


class _RecentFrames:
    """The frames accepted last, by session and counter; the oldest give way."""

    __slots__ = ("_bound", "_kept")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept: OrderedDict[tuple[int, DevEui, DevAddr, int], _Heard] = OrderedDict()

    def get(self, session: Session, f_cnt: int) -> _Heard | None:
        return self._kept.get((session.session_id, session.dev_eui, session.dev_addr, f_cnt))

    def add(self, session: Session, f_cnt: int, mic: bytes, frame: RadioFrame) -> None:
        key = (session.session_id, session.dev_eui, session.dev_addr, f_cnt)
        self._kept.pop(key, None)  # a counter used again after a reset is young again
        self._kept[key] = _Heard(mic, frame)
        if len(self._kept) > self._bound:
            self._kept.popitem(last=False)

    def discard(self, session: Session, f_cnt: int) -> None:
        self._kept.pop((session.session_id, session.dev_eui, session.dev_addr, f_cnt), None)


def _nearest(last: int | None, f_cnt16: int) -> int:
    """The counter that ends in these 16 bits and is closest to the last one; the first turn when there is none."""
    if last is None:
        return f_cnt16
    ahead = (f_cnt16 - last) % _TURN
    counter = last + ahead
    if ahead >= _TURN // 2 and counter >= _TURN:
        counter -= _TURN
    return counter if counter <= F_CNT_MAX else counter - _TURN


def _ahead(last: int | None, f_cnt16: int) -> int:
    """How many counters a session would have advanced."""
    return f_cnt16 if last is None else (f_cnt16 - last) % _TURN


def _other_turns(nearest: int, turns: int = TURNS) -> list[int]:
    """The same 16 bits in other turns: ahead (nobody listened), behind (an old frame), and the first (a restart)."""
    ahead = range(nearest + _TURN, min(nearest + turns * _TURN, F_CNT_MAX) + 1, _TURN)
    behind = range(nearest - _TURN, max(nearest - turns * _TURN, 0) - 1, -_TURN)
    first = nearest % _TURN
    return [*ahead, *behind, *([first] if nearest - first > turns * _TURN else [])]


def _same_frame(session: Session, one: bytes, other: bytes) -> bool:
    """Whether two authentic frames with the same counter are one.

    In 1.1 the first half of the MIC also covers the channel, which a device changes from repetition to repetition.
    """
    return one == other or (session.mac_version.is_1_1 and len(one) == len(other) and one[2:] == other[2:])


def _not_uplink(data: DataFrame) -> Refused:
    return Refused(Refusal.NOT_UPLINK, "a downlink of another gateway", data.dev_addr)
