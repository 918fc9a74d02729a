"""Every rule that a network can break is noticed: by the device, or by whoever overhears what it missed."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_network import (
    HOUR_US,
    MINUTE_US,
    Reply,
    Setting,
    Terms,
    a_profile,
    a_session,
    conf,
    dev_eui,
)

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.downlink import seal_downlink
from gateway.lorawan.frame import parse
from gateway.model import AtCounter, DownlinkRequest, Lora, MacVersion
from gateway.simulator.air import Position
from gateway.simulator.chance import Chance
from gateway.simulator.end_device.complaints import Complaint, Fault
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits
from gateway.simulator.end_device.security import Distrust, DownlinkJudge, max_gap_of

V1_0_3, V1_0_4, V1_1 = MacVersion.V1_0_3, MacVersion.V1_0_4, MacVersion.V1_1_0


def abp(version=V1_0_3, *, habits=None, **changes):
    habits = Habits(interval_us=10 * MINUTE_US, first_us=1_000_000, **(habits or {}))
    return a_profile(version=version, habits=habits, **{"session": a_session(1, version), "data_rate": 5, **changes})


def faults(complaints):
    return Counter(complaint.fault for complaint in complaints)


def scripted(replies, version=V1_0_3, hours=1, **changes):
    """The nth uplink gets the nth reply."""
    setting = Setting(abp(version, **changes), answer=lambda uplink: replies.get(uplink.f_cnt))
    return setting.run(hours * HOUR_US)


# --- counters -----------------------------------------------------------------------------------------------------

DATA = {"f_port": 3, "payload": b"one"}


@pytest.mark.parametrize("version", MacVersion)
def test_a_counter_used_for_two_frames(version):
    setting = scripted({0: Reply(**DATA, f_cnt=7), 1: Reply(f_port=3, payload=b"two", f_cnt=7)}, version)
    assert [received.payload for received in setting.device.diary.received] == [b"one"]
    assert faults(setting.device.diary.complaints) == {Fault.COUNTER_REUSED: 1}
    assert faults(setting.town.neighbourhood.complaints) == {Fault.COUNTER_REUSED: 1}
    counter = "AFCntDown" if version is V1_1 else "FCntDown"
    assert f"{counter} 7 again" in setting.device.diary.complaints[0].text


@pytest.mark.parametrize("version", MacVersion)
def test_the_same_frame_twice(version):
    setting = scripted({0: Reply(**DATA, f_cnt=7), 1: Reply(**DATA, f_cnt=7)}, version)
    assert len(setting.device.diary.received) == 1
    assert faults(setting.device.diary.complaints) == {Fault.REPEATED: 1}


@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("turns", [0, 1])
def test_a_counter_that_goes_back(version, turns):
    setting = Setting(abp(version), answer=lambda uplink: replies.get(uplink.f_cnt))
    base = turns << 16
    steps = [0, 16_000, 32_000, 48_000, 64_000, 65_536] if turns else []
    counters = [*steps, base + 9, base + 5, base + 10]
    replies = {at: Reply(**DATA, f_cnt=f_cnt) for at, f_cnt in enumerate(counters)}
    setting.run(3 * HOUR_US)
    taken = [received.f_cnt for received in setting.device.diary.received]
    assert taken == [*steps, base + 9, base + 10]
    assert faults(setting.device.diary.complaints) == {Fault.COUNTER_BACK: 1}


@pytest.mark.parametrize("version", MacVersion)
def test_a_step_that_old_devices_do_not_follow(version):
    # LoRaWAN 1.0 to 1.0.3, 4.3.1.5 with MAX_FCNT_GAP 16384 of the regional parameters; later versions have no limit.
    for gap, follows in ((16_383, True), (16_384, version >= V1_0_4), (60_000, version >= V1_0_4)):
        setting = scripted({0: Reply(**DATA, f_cnt=1), 1: Reply(**DATA, f_cnt=1 + gap)}, version)
        assert len(setting.device.diary.received) == 1 + follows
        assert faults(setting.device.diary.complaints) == ({} if follows else {Fault.COUNTER_GAP: 1})


def test_1_1_has_two_counters_and_neither_may_repeat():
    setting = scripted(
        {
            0: Reply(**DATA, f_cnt=4),
            1: Reply(commands=(mac.DevStatusReq(),), f_cnt=4),
            2: Reply(f_port=0, commands=(mac.DevStatusReq(),), f_cnt=4),
        },
        V1_1,
    )
    assert [received.counter for received in setting.device.diary.received] == ["AFCntDown", "NFCntDown"]
    assert faults(setting.device.diary.complaints) == {Fault.COUNTER_REUSED: 1}


def test_a_counter_reused_for_a_frame_that_the_device_missed_is_overheard():
    setting = scripted({0: Reply(**DATA, f_cnt=7, late_us=300_000), 1: Reply(f_port=3, payload=b"two", f_cnt=7)})
    assert [received.payload for received in setting.device.diary.received] == [b"two"]
    assert setting.device.diary.complaints == []
    assert faults(setting.town.neighbourhood.complaints) == {Fault.OUTSIDE_WINDOWS: 1, Fault.COUNTER_REUSED: 1}


@settings(deadline=None, max_examples=60)
@given(
    counters=st.lists(st.integers(0, 1 << 18), min_size=1, max_size=12),
    version=st.sampled_from(MacVersion),
)
def test_whatever_the_counters_only_growing_ones_are_taken(counters, version):
    session = a_session(1, version)
    judge, taken = DownlinkJudge(session, KeySchedules()), []
    gap = max_gap_of(version, 16_384)
    for f_cnt in counters:
        phy = seal_downlink(session, f_cnt=f_cnt, f_port=1, payload=b"x")
        opened = judge.judge(parse(phy), phy, conf_f_cnt=0, max_gap=gap)
        last = taken[-1] if taken else -1
        within_turn = 0 < f_cnt - last <= 1 << 16
        followed = within_turn and (gap is None or last < 0 or f_cnt - last < gap)
        assert isinstance(opened, Distrust) is not followed
        if followed:
            assert (opened.f_cnt, opened.payload) == (f_cnt, b"x")
            taken.append(f_cnt)


# --- signatures ---------------------------------------------------------------------------------------------------


def flipped(phy):
    return phy[:-1] + bytes([phy[-1] ^ 1])


@pytest.mark.parametrize("version", MacVersion)
def test_a_wrong_signature(version):
    setting = scripted({0: Reply(**DATA, change=flipped)}, version)
    assert setting.device.diary.received == []
    assert faults(setting.complaints()) == {Fault.BAD_MIC: 2}, "heard by the device, and overheard"


def test_a_wrong_signature_means_nothing_where_an_address_is_shared():
    sessions = [replace(a_session(number), dev_addr=a_session(1).dev_addr) for number in (1, 2, 3)]
    profiles = [
        a_profile(
            number,
            session=session,
            data_rate=5,
            shared_address=True,
            habits=Habits(interval_us=10 * MINUTE_US, first_us=number * 20_000_000),
        )
        for number, session in enumerate(sessions, start=1)
    ]

    def answer(uplink):
        sender = uplink.payload[:6] == b"report"
        return Reply(f_port=1, payload=uplink.session.dev_eui) if sender else None

    setting = Setting(*profiles, answer=answer).run(3 * HOUR_US)
    for device in setting.devices:
        assert {received.payload for received in device.diary.received} == {device.profile.dev_eui}
        assert len(device.diary.received) > 10
    assert setting.complaints() == []


@pytest.mark.parametrize("version", [V1_0_3, V1_1])
def test_an_acknowledgement_is_bound_to_its_uplink_in_1_1(version):
    def answer(uplink):
        if uplink.f_cnt == 0:
            return
        stale = setting.network.uplinks[0]
        member = setting.network.members[dev_eui(1)]
        phy = setting.network.sealed(member, Reply(), acks=stale)
        counter = AtCounter(uplink.radio.counter_us + 1_000_000)
        setting.network.put(
            setting.chip,
            DownlinkRequest("1", phy, "roof-1", counter, uplink.radio.frequency_hz, uplink.radio.modulation, 16.0),
        )
        return

    setting = Setting(abp(version, habits={"confirmed_every": 1}), answer=answer)
    setting.run(HOUR_US)
    assert len(setting.network.uplinks) > 4
    if version is V1_1:
        assert not any(sent.acknowledged for sent in setting.device.diary.sent)
        assert faults(setting.device.diary.complaints).keys() == {Fault.BAD_MIC}
    else:
        assert any(sent.acknowledged for sent in setting.device.diary.sent[1:])


# --- what is said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "reply", "fault"),
    [
        (V1_0_3, Reply(ack=True), Fault.UNASKED_ACK),
        (V1_0_3, Reply(commands=(mac.LinkCheckAns(3, 1),)), Fault.UNASKED_ANSWER),
        (V1_0_3, Reply(commands=(mac.DeviceTimeAns(3, 1),)), Fault.UNASKED_ANSWER),
        (MacVersion.V1_0_2, Reply(commands=(mac.DeviceTimeAns(3, 1),)), Fault.UNKNOWN_COMMAND),
        (V1_0_4, Reply(commands=(mac.RekeyConf(),)), Fault.UNKNOWN_COMMAND),
        (V1_1, Reply(commands=(mac.RekeyConf(),)), Fault.UNASKED_ANSWER),
        (V1_0_3, Reply(f_port=0, payload=b""), Fault.UNKNOWN_COMMAND),
        (V1_0_3, Reply(f_port=1, payload=bytes(243)), Fault.MALFORMED),
        (V1_0_3, Reply(f_port=1, payload=bytes(60), window=2), Fault.TOO_LONG),
        (V1_0_3, Reply(f_port=1, payload=bytes(50), commands=(mac.DevStatusReq(),) * 2, window=2), Fault.TOO_LONG),
        (V1_0_3, Reply(commands=(mac.LinkADRReq(9, 0, 7, 0, 1),)), Fault.REFUSED_COMMAND),
        (V1_0_3, Reply(commands=(mac.DlChannelReq(9, 868_100_000),)), Fault.REFUSED_COMMAND),
    ],
)
def test_what_a_network_should_not_say(version, reply, fault):
    if fault is Fault.UNKNOWN_COMMAND and reply.f_port == 0:
        reply = replace(reply, commands=(), change=None)
        setting = Setting(abp(version), answer=lambda uplink: reply if uplink.f_cnt == 0 else None)
        setting.network.sealed = lambda member, given, acks=None: seal_downlink(
            member.session, f_cnt=0, f_port=0, payload=b"\x99"
        )
        setting.run(30 * MINUTE_US)
    elif fault is Fault.MALFORMED:
        setting = Setting(abp(version), answer=lambda uplink: replace(reply, payload=b"x", change=lambda phy: phy[:9]))
        setting.run(5 * MINUTE_US)
    else:
        setting = scripted({0: reply}, version, hours=0.5)
    assert faults(setting.device.diary.complaints) == {fault: 1}
    assert "02c17e0000000001" in str(setting.device.diary.complaints[0])


def test_an_accept_that_nobody_can_open_is_overheard():
    setting = Setting(a_profile(), a_profile(2), terms=None)
    setting.network.deaf = True
    setting.run(MINUTE_US)
    junk = DownlinkRequest(
        ref="1",
        phy=b"\x20" + bytes(16),
        receiver="roof-1",
        timing=AtCounter(setting.town.now_us + 1_000_000),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000),
        power_dbm_eirp=16.0,
    )
    setting.network.put(setting.chip, junk)
    setting.run(2 * MINUTE_US)
    assert faults(setting.complaints()) == {Fault.UNREADABLE_ACCEPT: 1}


def test_an_accept_outside_the_windows_is_overheard():
    setting = Setting(a_profile(), terms=Terms(late_us=100_000)).run(MINUTE_US)
    assert setting.device.session is None
    assert faults(setting.complaints()).keys() == {Fault.OUTSIDE_WINDOWS}


def test_a_complaint_says_when_and_what():
    complaint = Complaint(Fault.TOO_LONG, 1_500_000, "60 bytes")
    assert str(complaint) == "1.500000 s: too_long: 60 bytes"


def test_excused_faults_are_left_out():
    setting = scripted({0: Reply(ack=True)})
    assert faults(setting.complaints()) == {Fault.UNASKED_ACK: 1}
    assert setting.complaints(Fault.UNASKED_ACK) == []


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V1_0_3, V1_1])
@settings(deadline=None, max_examples=60)
@given(phys=st.lists(st.one_of(st.binary(max_size=255), st.binary(min_size=16, max_size=32)), max_size=6))
def test_no_bytes_upset_a_device(version, phys):
    device = EndDevice(abp(version), Chance(1))
    device.act(device.next_us)
    joining = EndDevice(a_profile(version=version), Chance(1))
    joining.act(joining.next_us)
    for phy in [*phys, *(b"\x20" + phy for phy in phys), *(b"\x60\x01\x00\x00\x02" + phy for phy in phys)]:
        for one in (device, joining):
            assert not one.heard(phy, one.windows[0], end_us=one.windows[0].open_us + 1, snr_db=3.0)
    assert len(device.windows) == 2
    assert device.diary.received == []
    assert joining.session is None


@pytest.mark.parametrize("version", MacVersion)
@settings(deadline=None, max_examples=30)
@given(stream=st.binary(max_size=60), again=st.binary(max_size=15))
@example(stream=b"", again=bytes([0x0E, 0, 0]))  # ForceRejoinReq to a device that never joined
def test_no_mac_commands_keep_a_device_from_sending_and_listening(version, stream, again):
    session = a_session(1, version)
    device = EndDevice(abp(version), Chance(1))
    for f_cnt, (f_port, payload, f_opts) in enumerate([(0, stream, b""), (None, b"", again)]):
        assert any(device.act(device.next_us) is not None for _ in range(60))
        counters = {"f_cnt": f_cnt, "f_port": f_port}
        phy = seal_downlink(session, **counters, payload=payload, f_opts=f_opts)
        window = device.windows[0]
        assert device.heard(phy, window, end_us=window.open_us + 200_000, snr_db=-3.0)
    sent = 0
    for _ in range(60):
        emission = device.act(device.next_us)
        if emission is not None:
            sent += 1
            assert device.windows
    assert sent > 3


def test_a_frame_from_a_weak_gateway_is_found_or_not_but_never_wrong():
    def answer(uplink):
        return Reply(f_port=5, payload=uplink.f_cnt.to_bytes(4, "big") * 10)

    setting = Setting(abp(data_rate=2), answer=answer, near=Position(7_000, 0), seed=3).run(24 * HOUR_US)
    received = setting.device.diary.received
    assert all(len({one.payload[at : at + 4] for at in range(0, 40, 4)}) == 1 for one in received)
    assert setting.complaints(Fault.OUTSIDE_WINDOWS) == []


def test_what_every_network_of_1_1_answers_is_no_fault():
    setting = Setting(a_profile(version=V1_1), answer=conf).run(HOUR_US)
    assert setting.complaints() == []
