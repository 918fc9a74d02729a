"""What a device and its network have to say to each other in one session: frames, commands, answers, acknowledgements.

Sources: LoRaWAN 1.0.4 (TS001-1.0.4), chapters 4 and 5; LoRaWAN 1.1, chapters 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.simulator.end_device import windows
from gateway.simulator.end_device.adaptive import wants_answer
from gateway.simulator.end_device.commands import STICKY, Circumstances, obey
from gateway.simulator.end_device.complaints import Fault
from gateway.simulator.end_device.composing import Outgoing, compose
from gateway.simulator.end_device.diary import Diary, Received, Sent
from gateway.simulator.end_device.security import Distrust, DownlinkJudge, max_gap_of

if TYPE_CHECKING:
    from gateway.lorawan.crypto import KeySchedules
    from gateway.lorawan.frame import DataFrame
    from gateway.lorawan.mac_commands import MacCommand
    from gateway.model import Session
    from gateway.simulator.end_device.parameters import Parameters, Radio
    from gateway.simulator.end_device.profile import Profile
    from gateway.simulator.end_device.security import Downlink
    from gateway.simulator.end_device.windows import Window
    from gateway.simulator.sensors import Measure

TRIES_BEFORE_1_0_4 = 8
"""How often a confirmed frame is sent at most; 1.0.0 to 1.0.3 recommend it (18.4), later NbTrans says it."""

_INDICATIONS: dict[type[MacCommand], type[MacCommand]] = {
    mac.RekeyConf: mac.RekeyInd,
    mac.ResetConf: mac.ResetInd,
    mac.DeviceModeConf: mac.DeviceModeInd,
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What a downlink leads to."""

    parameters: Parameters
    rejoin: mac.ForceRejoinReq | None
    wants_reply: bool  # confirmed, or more is waiting: the device speaks soon
    acknowledged: bool  # the frame before this one needs no further try


class Conversation:
    """One session, from the device's side."""

    def __init__(
        self, profile: Profile, radio: Radio, session: Session, f_cnt: int, diary: Diary, schedules: KeySchedules
    ) -> None:
        self.session = session
        self.f_cnt = f_cnt  # of the next uplink
        self.conf_f_cnt = 0  # of the last confirmed uplink: what an acknowledgement would be for
        self.uplinks_unheard = 0  # since the last downlink: ADRACKCnt
        self.unconfirmed_rekeys = 0  # uplinks with a RekeyInd that nobody confirmed
        self._profile = profile
        self._radio = radio
        self._diary = diary
        self._judge = DownlinkJudge(session, schedules)
        self._confirmed: Sent | None = None  # the last frame, if it waits for its acknowledgement
        self._reports = 0
        self.silence()

    def silence(self) -> None:
        """Forget what was going to be said, as with an empty battery; counters stay."""
        self._answers: list[MacCommand] = []
        self._sticky: list[MacCommand] = []
        self._indications: dict[type[MacCommand], MacCommand] = {}
        self._asked: dict[type[MacCommand], int] = {}  # requests without an answer, and when the last one ended
        self._ack_f_cnt: int | None = None  # of the confirmed downlink that the next uplink acknowledges
        self._commands_went_first = False

    def indicate(self, first: MacCommand) -> None:
        """What a device of 1.1 says in every uplink until its network has confirmed it, beginning with this."""
        if self.session.mac_version.is_1_1:
            self._indications[type(first)] = first
            if self._profile.device_class == "C":
                self._indications[mac.DeviceModeInd] = mac.DeviceModeInd(mac.CLASS_C)

    # --- speaking ---------------------------------------------------------------------------------------------------

    def next_frame(self, now_us: int, measure: Measure | None, parameters: Parameters) -> tuple[Outgoing, bool]:
        """The next frame, which takes a counter, and whether the report is in it or waits for the one after."""
        commands = [*self._indications.values(), *self._sticky, *self._answers, *self._requests()]
        room = self._radio.room(parameters) or 0
        composed = compose(measure, commands, room, payload_first=self._commands_went_first)
        self._commands_went_first = not composed.with_report
        self._diary.too_long += composed.too_long
        self._reports += measure is not None and composed.with_report
        every = self._profile.habits.confirmed_every
        confirmed = measure is not None and composed.with_report and bool(every) and self._reports % every == 0
        sent = Sent(
            dev_addr=self.session.dev_addr,
            f_cnt=self.f_cnt,
            f_port=composed.f_port,
            payload=composed.payload,
            commands=composed.commands,
            confirmed=confirmed,
            ack=self._ack_f_cnt is not None,
            adr_ack_req=self._profile.adr and wants_answer(self._radio, parameters, self.uplinks_unheard),
            first_us=now_us,
        )
        retries_alone = confirmed and not self._profile.retries_by_nb_trans
        outgoing = Outgoing(
            sent=sent,
            f_opts=composed.f_opts,
            conf_f_cnt=self._ack_f_cnt or 0,
            tries=TRIES_BEFORE_1_0_4 if retries_alone else parameters.nb_trans,
            slows_down=retries_alone,
        )
        self._said(sent, len(self._indications) + len(self._sticky))
        return outgoing, composed.with_report

    def time_asked(self, end_us: int) -> None:
        """An uplink ended at this time; should it have asked for the time, this is what the answer is about."""
        if mac.DeviceTimeReq in self._asked:
            self._asked[mac.DeviceTimeReq] = end_us

    def _said(self, sent: Sent, before_answers: int) -> None:
        self._diary.sent.append(sent)
        self._confirmed = sent if sent.confirmed else None
        if sent.confirmed:
            self.conf_f_cnt = sent.f_cnt
        self._ack_f_cnt = None
        self._answers = self._answers[max(len(sent.commands) - before_answers, 0) :]
        self.unconfirmed_rekeys += mac.RekeyInd in self._indications
        self.f_cnt += 1
        self.uplinks_unheard += 1

    def _requests(self) -> list[MacCommand]:
        habits = self._profile.habits
        requests: list[MacCommand] = []
        if habits.link_check_every and self.f_cnt % habits.link_check_every == 0:
            requests.append(mac.LinkCheckReq())
        knows_time = mac.DeviceTimeReq.known_in(self.session.mac_version)
        if habits.time_every and knows_time and self.f_cnt % habits.time_every == 0:
            requests.append(mac.DeviceTimeReq())
        self._asked.update(dict.fromkeys(map(type, requests), 0))
        return requests

    # --- listening --------------------------------------------------------------------------------------------------

    def open(
        self, frame: DataFrame, phy: bytes, window: Window, end_us: int, parameters: Parameters
    ) -> Downlink | None:
        """A frame with this session's address, opened; None when the device does not take it."""
        region = self._profile.region
        gap = max_gap_of(self.session.mac_version, region.max_f_cnt_gap)
        opened = self._judge.judge(frame, phy, conf_f_cnt=self.conf_f_cnt, max_gap=gap)
        if isinstance(opened, Distrust):
            if opened.fault is not Fault.BAD_MIC or not self._profile.shared_address:
                self._diary.complain(opened.fault, end_us, f"{window.name}: {opened.text}")
            return None
        data_rate = window.where.data_rate
        room = region.max_payload(data_rate, downlink=True, dwell=parameters.downlink_dwell)
        size = len(opened.payload) + len(opened.f_opts)
        if room is None or size > room:
            self._diary.complain(Fault.TOO_LONG, end_us, f"{size} bytes at DR{data_rate}, where {room} may be sent")
        if window.name == windows.RXC and (opened.f_opts or opened.f_port == 0):
            self._diary.complain(Fault.COMMANDS_IN_RXC, end_us, f"{opened.counter} {opened.f_cnt} has MAC commands")
            return None if self.session.mac_version >= "1.0.4" else opened
        return opened

    def take(self, downlink: Downlink, window: Window, end_us: int, snr_db: float, parameters: Parameters) -> Taken:
        """Do what an authentic downlink says."""
        stream = downlink.payload if downlink.f_port == 0 else downlink.f_opts
        read = mac.read_downlink_commands(stream, self.session.mac_version)
        if read.problem is not None:
            self._diary.complain(Fault.UNKNOWN_COMMAND, end_us, f"{read.problem}: {stream.hex()}")
        self._diary.received.append(_received(downlink, read.commands, window, end_us, snr_db))
        self.uplinks_unheard = 0
        if window.name != windows.RXC:
            self._sticky.clear()
            if self._diary.sent:
                self._diary.sent[-1].answered = True
        if downlink.confirmed:
            self._ack_f_cnt = downlink.f_cnt
        acknowledged = self._acknowledged(downlink, end_us)
        around = Circumstances(self._radio, self.session.mac_version, self._profile.battery, snr_db)
        obeyed = obey(parameters, read.commands, around)
        for answer in obeyed.answers:
            sticky = isinstance(answer, STICKY) and self._profile.sticky_answers
            (self._sticky if sticky else self._answers).append(answer)
        for command in obeyed.refused:
            self._diary.complain(Fault.REFUSED_COMMAND, end_us, f"{command} with {parameters}")
        for message in obeyed.messages:
            self._read(message, end_us)
        return Taken(
            parameters=obeyed.parameters,
            rejoin=next((message for message in obeyed.messages if isinstance(message, mac.ForceRejoinReq)), None),
            wants_reply=downlink.confirmed or downlink.f_pending,
            acknowledged=acknowledged,
        )

    def _acknowledged(self, downlink: Downlink, end_us: int) -> bool:
        if not downlink.ack:
            return False
        if self._confirmed is None:
            self._diary.complain(Fault.UNASKED_ACK, end_us, f"{downlink.counter} {downlink.f_cnt}")
            return False
        self._confirmed.acknowledged = True
        self._confirmed = None
        return True

    def _read(self, message: MacCommand, end_us: int) -> None:
        match message:
            case mac.RekeyConf() | mac.ResetConf() | mac.DeviceModeConf():
                self._confirm(message, end_us)
            case mac.LinkCheckAns():
                if self._answers_to(mac.LinkCheckReq, message, end_us) is not None:
                    self._diary.links.append((message.margin_db, message.gateways))
            case mac.DeviceTimeAns():
                asked_us = self._answers_to(mac.DeviceTimeReq, message, end_us)
                if asked_us is not None:
                    gps_us = message.seconds * 1_000_000 + message.fraction * 1_000_000 // 256
                    self._diary.times.append((asked_us, gps_us))

    def _confirm(self, message: MacCommand, end_us: int) -> None:
        indication = _INDICATIONS[type(message)]
        if self._indications.pop(indication, None) is None:
            self._diary.complain(Fault.UNASKED_ANSWER, end_us, str(message))
        if indication is mac.RekeyInd:
            self.unconfirmed_rekeys = 0

    def _answers_to(self, request: type[MacCommand], answer: MacCommand, end_us: int) -> int | None:
        asked_us = self._asked.pop(request, None)
        if asked_us is None:
            self._diary.complain(Fault.UNASKED_ANSWER, end_us, str(answer))
        return asked_us


def _received(
    downlink: Downlink, commands: tuple[MacCommand, ...], window: Window, end_us: int, snr_db: float
) -> Received:
    return Received(
        at_us=end_us,
        window=window.name,
        counter=downlink.counter,
        f_cnt=downlink.f_cnt,
        f_port=downlink.f_port,
        payload=b"" if downlink.f_port == 0 else downlink.payload,
        commands=commands,
        confirmed=downlink.confirmed,
        ack=downlink.ack,
        snr_db=snr_db,
    )
