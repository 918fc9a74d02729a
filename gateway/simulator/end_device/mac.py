"""A LoRaWAN end device of class A or C, 1.0.0 to 1.1: times and heard frames go in, frames to send come out.

Nothing here waits, and no time but the device's own is known: `act` is called when `next_us` has come, gives the frame
that goes on the air now, if any, and leaves in `windows` where the device listens from then on. `heard` is told what a
window brought. What the network gets wrong is collected in the diary (`complaints`), never raised.

It is written from the specification beside `lorawan/mac.py` and `lorawan/join.py`, and knows neither: two opinions that
have to agree. Sources: LoRaWAN 1.0.4 (TS001-1.0.4) and LoRaWAN 1.1, with the differences of 1.0.0 to 1.0.3 named where
they matter; regional parameters RP002-1.0.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.frame import DataFrame, DownlinkControl, JoinAccept, MalformedFrame, parse
from gateway.lorawan.uplink import seal
from gateway.radio.airtime import airtime_us
from gateway.simulator.end_device import joining, windows
from gateway.simulator.end_device.adaptive import backed_off
from gateway.simulator.end_device.complaints import Fault
from gateway.simulator.end_device.conversation import Conversation
from gateway.simulator.end_device.diary import Asked, Diary, Joined
from gateway.simulator.end_device.parameters import HEADER_SIZE, JOIN_REQUEST_SIZE, Parameters, Radio
from gateway.simulator.end_device.rejoins import Rejoins
from gateway.simulator.end_device.spending import Spending

if TYPE_CHECKING:
    from gateway.model import Lora, Session
    from gateway.regions.region import ReceiveWindow
    from gateway.simulator.chance import Chance
    from gateway.simulator.end_device.composing import Outgoing
    from gateway.simulator.end_device.conversation import Taken
    from gateway.simulator.end_device.profile import Absence, Profile
    from gateway.simulator.end_device.windows import Where, Window

TRIES_PER_DATA_RATE = 2
"""1.0.0 to 1.0.3, 18.4: after every second try without an answer the next slower data rate."""

PROMPTLY_US = (1_000_000, 4_000_000)
"""How soon a device answers a confirmed downlink, or asks for what FPending promises; 8 s is the end (RP002, 2.3)."""

JOIN_BACK_OFF_US = (1_000_000, 10_000_000)
"""Between two join requests, besides the air time they may take: so that a power cut's devices do not ask in step."""

REPETITION_US = (0, 1_000_000)
"""Between the windows of an unconfirmed frame and its repetition (NbTrans)."""

JOIN_BANK = 8
"""Channels of a fixed plan that a gateway of eight channels hears."""

REJOIN_REQUEST_SIZE = 24
"""That of type 1; the other types have five bytes less."""

KEYS_KEPT = 8
"""A device has at most five keys; those of the session before are forgotten."""

NEVER_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Emission:
    """A frame that goes on the air now."""

    start_us: int
    phy: bytes
    frequency_hz: int
    lora: Lora
    airtime_us: int
    power_dbm_eirp: float


class EndDevice:
    """One device. All times are those of its own clock, in microseconds; the same chance makes the same life."""

    def __init__(self, profile: Profile, chance: Chance) -> None:
        self.profile = profile
        self.diary = Diary(profile.dev_eui)
        self.identity = _identity(profile)  # None for an ABP device
        self.windows: tuple[Window, ...] = ()
        self.question: joining.Question | None = None  # what a join accept would answer
        self.next_us = profile.habits.first_us
        self._radio = Radio(profile.region)
        self.parameters = self._starting_parameters()
        self._chance = chance
        self._schedules = KeySchedules(KEYS_KEPT)
        self._spending = Spending(profile.region)
        self._conversation: Conversation | None = None
        # In flash: an empty battery does not take it.
        self._rejoins = Rejoins(profile.habits.rejoin_every_us)
        self._dev_nonce = profile.first_dev_nonce
        self._join_nonces: set[int] = set()
        self._net_id = 0
        self._joining_rx2 = profile.region.rx2  # of the last join request; some plans have one for each channel
        # Where it stands.
        self._absences = list(profile.habits.absences)
        self._away: Absence | None = None
        self._decided_us: int | None = None  # while it waits for an answer: when there will be none
        self._blocked_us = 0  # until then it may not send
        self._join_us = self._trying_since_us = self.next_us
        self._attempts = 0
        self._outgoing: Outgoing | None = None
        self._again_us = self._prompt_us = NEVER_US
        self._due_us = self.next_us
        if profile.session is not None:
            self._converse(profile.session, profile.first_f_cnt).indicate(mac.ResetInd())

    @property
    def there(self) -> bool:
        """Whether it is switched on, and here."""
        return self._away is None

    @property
    def session(self) -> Session | None:
        """The session it uses; None while it has none."""
        return None if self._conversation is None else self._conversation.session

    @property
    def conf_f_cnt(self) -> int:
        """The counter of its last confirmed uplink, which the MIC of an acknowledgement covers in 1.1."""
        return 0 if self._conversation is None else self._conversation.conf_f_cnt

    # --- time -------------------------------------------------------------------------------------------------------

    def act(self, now_us: int) -> Emission | None:
        """Do what is due; the frame that goes on the air at `now_us`, if there is one. Moves `next_us` on."""
        if now_us < self.next_us:
            return None
        self._come_and_go(now_us)
        if self._decided_us is not None and now_us >= self._decided_us:
            self._unanswered(now_us)
        emission = None
        if self._away is None and self._decided_us is None:
            self._blocked_us = now_us
            emission = self._speak(now_us)
        self._plan(now_us)
        return emission

    def press(self, now_us: int) -> None:
        """Somebody has pressed its button: the next report is due now, as soon as the law lets it."""
        self._due_us = now_us
        self._plan(now_us)

    def _plan(self, now_us: int) -> None:
        if self._away is not None:
            self.next_us = self._away.until_us
            return
        next_us = self._decided_us
        if next_us is None:
            next_us = max(self._wishes_us(), self._blocked_us, now_us + 1)
        self.next_us = min([next_us, *(absence.from_us for absence in self._absences[:1])])

    def _wishes_us(self) -> int:
        if self._conversation is None:
            return self._join_us
        if self._outgoing is not None:
            return self._again_us
        return min(self._due_us, self._prompt_us, self._rejoin_us(self._conversation.session))

    def _rejoin_us(self, session: Session) -> int:
        """When a rejoin request is due; an ABP device has nothing to ask for."""
        return NEVER_US if self.identity is None else self._rejoins.due_us(session, self.parameters)

    def _come_and_go(self, now_us: int) -> None:
        if self._away is None and self._absences and self._absences[0].from_us <= now_us:
            self._away = self._absences.pop(0)
            self.windows, self._decided_us, self._outgoing = (), None, None
        if self._away is not None and self._away.until_us <= now_us:
            absence, self._away = self._away, None
            self._due_us = now_us
            if absence.battery_out:
                self._start_again(now_us)
            elif self._conversation is not None:
                self._conversation.f_cnt += absence.f_cnt_passed
            self._listen_again(now_us)

    def _start_again(self, now_us: int) -> None:
        """A new battery, or nobody answers any more: an OTAA device joins, an ABP device goes on counting."""
        conversation = self._conversation
        self._outgoing, self._prompt_us = None, NEVER_US
        if self.profile.session is None or conversation is None:
            self._conversation, self.question = None, None
            self.parameters = self._starting_parameters()
            self._join_us = self._trying_since_us = now_us
            self._attempts = 0
            return
        conversation.silence()
        # A device of 1.1 says with ResetInd that it starts from defaults. One of 1.0.x has no word for that, and would
        # be lost if it did: so it keeps what it was told.
        if conversation.session.mac_version.is_1_1:
            self.parameters = self._starting_parameters()
            conversation.indicate(mac.ResetInd())

    def _starting_parameters(self) -> Parameters:
        radio, wanted = self._radio, self.profile.data_rate
        slowest = Parameters.of(self.profile.region, radio.data_rates[0])
        if wanted is None:
            wanted = next(dr for dr in radio.data_rates if radio.usable(slowest, dr))
        return replace(slowest, data_rate=wanted)

    def _converse(self, session: Session, f_cnt: int) -> Conversation:
        self._outgoing = None
        self._conversation = Conversation(self.profile, self._radio, session, f_cnt, self.diary, self._schedules)
        return self._conversation

    # --- speaking ---------------------------------------------------------------------------------------------------

    def _speak(self, now_us: int) -> Emission | None:
        conversation = self._conversation
        if conversation is not None and self._outgoing is None and self._is_given_up(conversation):
            self._start_again(now_us)
            conversation = None
        if conversation is None:
            return self._ask_to_join(now_us) if now_us >= self._join_us else None
        if self._outgoing is not None:
            return self._transmit(now_us, conversation, self._outgoing) if now_us >= self._again_us else None
        if now_us >= self._rejoin_us(conversation.session):
            return self._ask_to_rejoin(now_us, conversation.session)
        if now_us < min(self._due_us, self._prompt_us):
            return None
        self._outgoing = self._next_frame(now_us, conversation)
        return self._transmit(now_us, conversation, self._outgoing)

    def _is_given_up(self, conversation: Conversation) -> bool:
        """Whether an OTAA device goes back to joining: its own rule, and that of 1.1 (5.10) about RekeyInd."""
        if self.profile.session is not None:
            return False
        patience = self.profile.habits.joins_after_silence
        silent = bool(patience) and conversation.uplinks_unheard >= patience
        return silent or conversation.unconfirmed_rekeys >= self.parameters.adr_ack_limit

    def _ask_to_join(self, now_us: int) -> Emission | None:
        identity = self.identity
        assert identity is not None
        channels, data_rate = self._join_choice()
        channel = self._free_channel(now_us, channels, data_rate, JOIN_REQUEST_SIZE, join=True)
        if channel is None:
            return None
        nonce = self._dev_nonce
        if self.profile.counts_dev_nonces:
            self._dev_nonce += 1
        else:
            nonce = self._chance.whole(0, 0xFFFF, "dev_nonce", len(self.diary.asked))
        self._attempts += 1
        self.question = joining.Question(joining.JOIN_REQUEST, nonce)
        self.diary.asked.append(Asked(now_us, None, nonce, data_rate, channel))
        self.parameters = replace(self.parameters, data_rate=data_rate)
        emission = self._emit(now_us, joining.join_request(identity, nonce), channel, data_rate, join=True)
        self._spending.spend_on_join(now_us, emission.airtime_us, self._trying_since_us)
        return emission

    def _ask_to_rejoin(self, now_us: int, session: Session) -> Emission | None:
        identity = self.identity
        assert identity is not None
        channels, data_rate = self._join_choice()
        wanted = self._rejoins.data_rate
        if wanted in self._radio.data_rates and wanted in self.profile.region.join_data_rates[channels[0]]:
            data_rate = wanted
        channel = self._free_channel(now_us, channels, data_rate, REJOIN_REQUEST_SIZE)
        if channel is None:
            return None
        self._attempts += 1
        rejoin_type, rj_count = self._rejoins.next(now_us, self.parameters, self._chance)
        self.question = joining.Question(rejoin_type, rj_count)
        self.diary.asked.append(Asked(now_us, rejoin_type, rj_count, data_rate, channel))
        phy = joining.rejoin_request(identity, session, self._net_id, rejoin_type, rj_count)
        return self._emit(now_us, phy, channel, data_rate, join=True)

    def _join_choice(self) -> tuple[tuple[int, ...], int]:
        """The channels for the next attempt, and its data rate: kinds of channels by turns, banks in turn, slower.

        RP002-1.0.4, 2.5.2 (US915): by turns a channel of 125 and of 500 kHz; 2.4.2 (EU868): at random, data rates at
        will. A network with eight channels of a fixed plan is found by asking in another bank every time.
        """
        kinds: dict[range, list[int]] = {}
        for channel, data_rates in self.profile.region.join_data_rates.items():
            kinds.setdefault(data_rates, []).append(channel)
        round_, kind = divmod(self._attempts, len(kinds))
        channels = list(kinds.values())[kind]
        banks = [channels[at : at + JOIN_BANK] for at in range(0, len(channels), JOIN_BANK)]
        rates = self._radio.join_data_rates(channels[0])
        slower = round_ // (TRIES_PER_DATA_RATE * len(banks)) % len(rates)
        return tuple(banks[round_ % len(banks)]), rates[-1 - slower]

    def _next_frame(self, now_us: int, conversation: Conversation) -> Outgoing:
        habits = self.profile.habits
        if self.profile.adr:
            self.parameters = backed_off(self._radio, self.parameters, conversation.uplinks_unheard)
        measure = self.profile.report(now_us, conversation.f_cnt) if now_us >= self._due_us else None
        outgoing, with_report = conversation.next_frame(now_us, measure, self.parameters)
        if measure is not None and with_report:
            spread = self._chance.between(1 - habits.jitter, 1 + habits.jitter, "interval", outgoing.sent.f_cnt)
            self._due_us = now_us + round(habits.interval_us * spread)
        self._again_us, self._prompt_us = now_us, NEVER_US
        return outgoing

    def _transmit(self, now_us: int, conversation: Conversation, outgoing: Outgoing) -> Emission | None:
        if not self.parameters.carrying(self.parameters.data_rate):  # its last channel was taken away
            self.parameters = self._radio.nearest_usable(self.parameters.with_defaults(self.profile.region))
        parameters, sent = self.parameters, outgoing.sent
        channels, size = parameters.carrying(parameters.data_rate), HEADER_SIZE + outgoing.size
        channel = self._free_channel(now_us, channels, parameters.data_rate, size)
        if channel is None:
            return None
        sent.transmissions += 1
        phy = seal(
            conversation.session,
            f_cnt=sent.f_cnt,
            f_port=sent.f_port,
            payload=sent.payload,
            confirmed=sent.confirmed,
            adr=self.profile.adr,
            adr_ack_req=sent.adr_ack_req,
            ack=sent.ack,
            f_opts=outgoing.f_opts,
            tx_dr=parameters.data_rate,
            tx_ch=channel,
            conf_f_cnt=outgoing.conf_f_cnt,
            schedules=self._schedules,
        )
        self._rejoins.frame_sent()
        emission = self._emit(now_us, phy, channel, parameters.data_rate)
        conversation.time_asked(now_us + emission.airtime_us)
        return emission

    def _free_channel(
        self, now_us: int, channels: tuple[int, ...], data_rate: int, size: int, *, join: bool = False
    ) -> int | None:
        """A channel whose band may be used now for so many bytes; None, and `_blocked_us` says until when."""
        lora, known = self._radio.lora(data_rate), self.parameters.channels
        width_hz, length_us = lora.bandwidth_hz, airtime_us(lora, size)
        free_us = {
            channel: us
            for channel in channels
            if (us := self._spending.free_us(known[channel].frequency_hz, width_hz, length_us, join=join)) is not None
        }
        ready = [channel for channel, us in free_us.items() if us <= now_us]
        if ready:
            return self._chance.pick(ready, "channel", now_us)
        self._blocked_us = min(free_us.values(), default=NEVER_US)
        return None

    def _emit(self, now_us: int, phy: bytes, channel: int, data_rate: int, *, join: bool = False) -> Emission:
        region, parameters = self.profile.region, self.parameters
        frequency_hz, lora = parameters.channels[channel].frequency_hz, self._radio.lora(data_rate)
        length_us = airtime_us(lora, len(phy))
        power_dbm = region.eirp_dbm(parameters.tx_power, parameters.max_eirp_dbm)
        band = region.sub_band(frequency_hz, lora.bandwidth_hz)
        assert power_dbm is not None
        assert band is not None
        most_dbm = band.max_eirp_dbm if band.device_max_eirp_dbm is None else band.device_max_eirp_dbm
        self._spending.spend(frequency_hz, lora.bandwidth_hz, now_us, length_us, parameters.max_duty_cycle)
        self._listen_after(now_us + length_us, channel, data_rate, join=join)
        return Emission(now_us, phy, frequency_hz, lora, length_us, min(power_dbm, most_dbm))

    # --- listening --------------------------------------------------------------------------------------------------

    def _listen_after(self, end_us: int, channel: int, data_rate: int, *, join: bool) -> None:
        region, parameters = self.profile.region, self.parameters
        known = parameters.channels[channel]
        if join and self._conversation is None:
            rx1 = region.join_rx1(known.frequency_hz, data_rate)
            rx2 = self._joining_rx2 = region.rx2_after_join(known.frequency_hz)
        else:
            rx1 = region.rx1(known.frequency_hz, data_rate, parameters.rx1_dr_offset, dwell=parameters.downlink_dwell)
            rx2 = parameters.rx2
            if known.rx1_frequency_hz is not None:
                rx1 = replace(rx1, frequency_hz=known.rx1_frequency_hz)
        where1, where2 = self._tuned(rx1), self._tuned(rx2)
        opens_us = end_us + (region.join_accept_delay1_us if join else parameters.rx1_delay_us)
        last_us = opens_us + region.receive_delay2_after_1_us
        self.windows = windows.class_a(opens_us, last_us, where1, where2, self.profile.rx_error_us)
        self._decided_us = max((window.decided_us for window in self.windows), default=last_us)
        if self.is_class_c:
            self.windows = windows.class_c(end_us, self.windows, where2)

    def _listen_again(self, now_us: int) -> None:
        """Nothing is awaited: class A sleeps, class C listens in RX2's parameters, or goes on doing so."""
        self._decided_us = None
        where = self._tuned(self.parameters.rx2) if self.is_class_c else None
        since_us = next((open_.open_us for open_ in self.windows if open_.lasts and open_.where == where), now_us)
        self.windows = windows.class_c(since_us, (), where)

    @property
    def is_class_c(self) -> bool:
        """Whether it listens all the time: not before it has a session."""
        return self.profile.device_class == "C" and self._conversation is not None

    def _tuned(self, window: ReceiveWindow) -> Where | None:
        lora = self._radio.listens_with(window.data_rate)
        return None if lora is None else windows.Where(window.frequency_hz, window.data_rate, lora)

    def _unanswered(self, now_us: int) -> None:
        """Both windows are over, and nothing came for this device."""
        self._listen_again(now_us)
        if self._conversation is None:
            self._join_us = now_us + self._chance.whole(*JOIN_BACK_OFF_US, "join back-off", self._attempts)
        elif self._outgoing is not None:
            self._retry(now_us, self._outgoing)

    def _retry(self, now_us: int, outgoing: Outgoing) -> None:
        sent = outgoing.sent
        if sent.transmissions >= outgoing.tries:
            self._outgoing = None
            return
        if outgoing.slows_down and sent.transmissions % TRIES_PER_DATA_RATE == 0:
            self._slow_down(outgoing)
        waits_us = self.profile.region.retransmit_timeout_us if sent.confirmed else REPETITION_US
        self._again_us = now_us + self._chance.whole(*waits_us, "again", sent.f_cnt, sent.transmissions)

    def _slow_down(self, outgoing: Outgoing) -> None:
        slower = self._radio.next_slower(self.parameters)
        if slower is not None and self.parameters.carrying(slower):
            parameters = replace(self.parameters, data_rate=slower)
            if outgoing.size <= (self._radio.room(parameters) or 0):
                self.parameters = parameters

    # --- what is heard ----------------------------------------------------------------------------------------------

    def heard(self, phy: bytes, window: Window, *, end_us: int, snr_db: float) -> bool:
        """A frame that ended at `end_us` was found in this window; whether it was for this device and is taken."""
        try:
            frame = parse(phy)
        except MalformedFrame as reason:
            self.diary.complain(Fault.MALFORMED, end_us, f"{reason}: {phy.hex()}")
            return False
        taken = False
        if isinstance(frame, JoinAccept):
            taken = self._hear_accept(phy, end_us)
        elif isinstance(frame, DataFrame) and isinstance(frame.f_ctrl, DownlinkControl):
            taken = self._hear_data(frame, phy, window, end_us, snr_db)
        if taken:
            self._plan(end_us)
        return taken

    def _hear_data(self, frame: DataFrame, phy: bytes, window: Window, end_us: int, snr_db: float) -> bool:
        conversation = self._conversation
        if conversation is None or frame.dev_addr != conversation.session.dev_addr:
            return False
        downlink = conversation.open(frame, phy, window, end_us, self.parameters)
        if downlink is None:
            return False
        taken = conversation.take(downlink, window, end_us, snr_db, self.parameters)
        self.parameters = taken.parameters
        if taken.rejoin is not None:
            self._rejoins.forced(taken.rejoin, end_us)
        if taken.wants_reply:
            self._prompt_us = end_us + self._chance.whole(*PROMPTLY_US, "reply", downlink.counter, downlink.f_cnt)
        self._move_on(taken, end_us, in_answer=window.name != windows.RXC)
        return True

    def _move_on(self, taken: Taken, end_us: int, *, in_answer: bool) -> None:
        """What a downlink means for the frame that is out, and for where the device listens now."""
        outgoing = self._outgoing
        if in_answer or self._decided_us is None:
            self._listen_again(end_us)
        if outgoing is None:
            return
        if taken.acknowledged or (in_answer and not outgoing.sent.confirmed):
            self._outgoing = None
        elif in_answer:
            self._retry(end_us, outgoing)

    def _hear_accept(self, phy: bytes, end_us: int) -> bool:
        question, identity = self.question, self.identity
        if question is None or identity is None or self._decided_us is None:
            return False
        accept = joining.read_accept(identity, question, phy)
        if accept is None or not self._is_fresh(accept, end_us):
            return False
        if question.rejoin_type != 2:  # which leaves the radio as it is (LoRaWAN 1.1, 6.2.4.3)
            self.parameters = self._parameters_of(accept, end_us)
        session = accept.session
        self.question = None
        self._net_id = accept.net_id
        self._attempts = 0
        self._rejoins.joined(end_us)
        self._converse(session, 0).indicate(mac.RekeyInd())
        self._prompt_us = end_us + self._chance.whole(*PROMPTLY_US, "first frame", accept.join_nonce)
        joined = Joined(end_us, question.rejoin_type, session.dev_addr, accept.join_nonce, session.mac_version)
        self.diary.joined.append(joined)
        self._listen_again(end_us)
        return True

    def _is_fresh(self, accept: joining.Accept, end_us: int) -> bool:
        """Whether the JoinNonce is one that a network may use now; a device of 1.0.3 and before takes any."""
        nonce, last = accept.join_nonce, max(self._join_nonces, default=-1)
        counts = self.profile.counts_dev_nonces and accept.session.mac_version == self.profile.mac_version
        if counts and nonce <= last:
            self.diary.complain(Fault.JOIN_NONCE, end_us, f"JoinNonce {nonce} after {last}")
            return False
        if nonce in self._join_nonces:
            self.diary.complain(Fault.JOIN_NONCE, end_us, f"JoinNonce {nonce} was used before")
        self._join_nonces.add(nonce)
        return True

    def _parameters_of(self, accept: joining.Accept, end_us: int) -> Parameters:
        """Those of the plan, and what the accept says; what it must not say is complained about and left out."""
        region, version = self.profile.region, self.profile.mac_version
        parameters = Parameters.of(region, self.parameters.data_rate)
        parameters = replace(parameters, rx1_delay_us=accept.rx_delay_s * 1_000_000)
        wrong = ["OptNeg for a device of 1.0.x"] if accept.opt_neg and not version.is_1_1 else []
        if accept.rx1_dr_offset <= region.rx1_offset_max:
            parameters = replace(parameters, rx1_dr_offset=accept.rx1_dr_offset)
        else:
            wrong.append(f"RX1DROffset {accept.rx1_dr_offset}")
        if self._radio.listens_with(accept.rx2_data_rate) is not None:
            parameters = replace(parameters, rx2=replace(self._joining_rx2, data_rate=accept.rx2_data_rate))
        else:
            wrong.append(f"RX2DataRate {accept.rx2_data_rate}")
        if accept.cf_list:
            listed = self._radio.with_cf_list(parameters, accept.cf_list, version)
            if isinstance(listed, str):
                wrong.append(listed)
            else:
                parameters = listed
        for text in wrong:
            self.diary.complain(Fault.JOIN_ACCEPT, end_us, text)
        return self._radio.nearest_usable(parameters)


def _identity(profile: Profile) -> joining.Identity | None:
    """Who asks for a session; None for an ABP device."""
    if profile.root_keys is None or profile.join_eui is None:
        return None
    return joining.Identity.of(profile.dev_eui, profile.join_eui, profile.root_keys, profile.mac_version)
