"""What a device says and how often: acknowledgements, repetitions, back-off, counters, absences, the law."""

import itertools
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction

import pytest
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
from gateway.model import MacVersion
from gateway.regions.eu868 import EU868
from gateway.simulator.air import Position
from gateway.simulator.chance import Chance
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Absence, Habits
from gateway.simulator.sensors import Measure
from gateway.simulator.town import START_UTC_US, Town

V1_0_3, V1_0_4, V1_1 = MacVersion.V1_0_3, MacVersion.V1_0_4, MacVersion.V1_1_0
OLD = [version for version in MacVersion if version < V1_0_4]
NEW = [V1_0_4, V1_1]


def abp(version=V1_0_3, *, interval_us=10 * MINUTE_US, number=1, habits=None, **changes):
    habits = Habits(interval_us=interval_us, first_us=1_000_000, **(habits or {}))
    changes = {"data_rate": 5, **changes}
    return a_profile(number, version, session=a_session(number, version), habits=habits, **changes)


def starts(setting):
    """When each frame the network heard began to go out, by counter."""
    by_counter = defaultdict(list)
    for uplink in setting.network.uplinks:
        by_counter[uplink.f_cnt].append(uplink)
    return by_counter


def alone(profile, hours, answer=None):
    """What a device sends into the void, or is answered by this function of the emission."""
    device, emissions = EndDevice(profile, Chance(4)), []
    while device.next_us <= hours * HOUR_US:
        emission = device.act(device.next_us)
        if emission is not None:
            emissions.append((emission, device.parameters.data_rate))
            if answer is not None:
                answer(device, emission)
    return device, emissions


# --- confirmed frames ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", OLD)
def test_a_confirmed_frame_is_sent_eight_times_at_most_and_slower_every_second_time(version):
    # LoRaWAN 1.0.0 to 1.0.3, 18.4: DR, DR, DR-1, DR-1, …
    _, emissions = alone(abp(version, interval_us=HOUR_US, habits={"confirmed_every": 1}), 0.8)
    assert [data_rate for _, data_rate in emissions] == [5, 5, 4, 4, 3, 3, 2, 2]
    assert len({emission.phy for emission, _ in emissions}) == 1, "one counter, one frame"


@pytest.mark.parametrize("version", NEW)
def test_since_1_0_4_nb_trans_says_how_often(version):
    def answer(uplink):
        request = mac.LinkADRReq(data_rate=5, tx_power=0, ch_mask=7, ch_mask_cntl=0, nb_trans=3)
        return Reply(commands=(request,), ack=True) if uplink.f_cnt == 0 else None

    setting = Setting(abp(version, habits={"confirmed_every": 1}), answer=answer).run(2 * HOUR_US)
    assert {len(heard) for f_cnt, heard in starts(setting).items() if f_cnt} == {3}
    assert [sent.transmissions for sent in setting.device.diary.sent[:3]] == [1, 3, 3]
    assert [sent.acknowledged for sent in setting.device.diary.sent[:3]] == [True, False, False]
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("lost", [0, 1, 4])
@pytest.mark.parametrize("window", [1, 2])
def test_an_acknowledgement_ends_the_repetitions(version, lost, window):
    heard = Counter()

    def answer(uplink):
        heard[uplink.f_cnt] += 1
        if uplink.f_cnt == 0:
            request = mac.LinkADRReq(data_rate=5, tx_power=0, ch_mask=7, ch_mask_cntl=0, nb_trans=6)
            return Reply(commands=(request,), window=window)
        return Reply(window=window) if heard[uplink.f_cnt] > lost else None

    setting = Setting(abp(version, habits={"confirmed_every": 1}), answer=answer).run(2 * HOUR_US)
    sent = setting.device.diary.sent[1:-1]
    assert len(sent) > 5
    assert {(one.transmissions, one.acknowledged) for one in sent} == {(lost + 1, True)}
    for copies in starts(setting).values():
        for one, other in itertools.pairwise(copies):
            between_us = other.radio.heard.monotonic_us - one.radio.heard.monotonic_us
            assert between_us > 3_000_000, "RX2 opens after 2 s, then 1 to 3 s by chance (RP002-1.0.4, 2.3)"
    assert setting.complaints() == []


def test_a_downlink_without_ack_does_not_end_a_confirmed_frame():
    def answer(uplink):
        return Reply(ack=len(starts(setting)[uplink.f_cnt]) == 3)

    setting = Setting(abp(habits={"confirmed_every": 1}), answer=answer)
    setting.run(2 * HOUR_US)
    assert {sent.transmissions for sent in setting.device.diary.sent[:-1]} == {3}
    assert all(sent.acknowledged for sent in setting.device.diary.sent[:-1])
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
def test_a_confirmed_downlink_is_acknowledged_soon_and_once(version):
    def answer(uplink):
        return Reply(f_port=3, payload=b"do", confirmed=True) if uplink.f_cnt % 4 == 0 else None

    setting = Setting(abp(version, interval_us=HOUR_US), answer=answer).run(8 * HOUR_US)
    uplinks = setting.network.uplinks
    downs = [received.f_cnt for received in setting.device.diary.received]
    acks = [uplink for uplink in uplinks if uplink.frame.f_ctrl.ack]
    assert len(acks) == len(downs) > 1
    assert [uplink.f_cnt % 4 for uplink in acks] == [1] * len(acks)
    for ack in acks:
        before = uplinks[uplinks.index(ack) - 1]
        assert ack.radio.heard.monotonic_us - before.radio.heard.monotonic_us < 8_000_000
        assert ack.f_port is None, "nothing else was due"
    assert setting.complaints() == []


def test_more_that_waits_is_asked_for_at_once():
    def answer(uplink):
        return Reply(f_port=3, payload=b"x", f_pending=uplink.f_cnt % 5 != 4)

    setting = Setting(abp(interval_us=6 * HOUR_US), answer=answer).run(HOUR_US)
    assert len(setting.network.uplinks) == 5
    assert setting.complaints() == []


# --- NbTrans ------------------------------------------------------------------------------------------------------


def with_nb_trans(nb_trans, answer_to=None):
    def answer(uplink):
        if uplink.f_cnt == 0:
            request = mac.LinkADRReq(data_rate=5, tx_power=0, ch_mask=7, ch_mask_cntl=0, nb_trans=nb_trans)
            return Reply(commands=(request,))
        return answer_to(uplink) if answer_to else None

    return answer


@pytest.mark.parametrize("version", MacVersion)
def test_every_frame_is_sent_nb_trans_times(version):
    setting = Setting(abp(version), answer=with_nb_trans(3)).run(3 * HOUR_US)
    copies = [heard for f_cnt, heard in starts(setting).items() if f_cnt]
    assert len(copies) > 10
    for heard in copies:
        assert [uplink.repeated for uplink in heard] == [False, True, True]
        same_content = {uplink.frame.unsigned() for uplink in heard}
        assert len(same_content) == 1
        for one, other in itertools.pairwise(heard):
            assert other.radio.heard.monotonic_us - one.radio.heard.monotonic_us > 2_000_000
    assert setting.complaints() == []


def test_a_downlink_ends_the_repetitions():
    setting = Setting(abp(), answer=with_nb_trans(5, lambda uplink: Reply() if uplink.repeated else None))
    setting.run(3 * HOUR_US)
    assert {sent.transmissions for sent in setting.device.diary.sent[1:]} == {2}


# --- adaptive data rate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", MacVersion)
def test_without_downlinks_a_device_becomes_louder_then_slower_then_asks_on_all_channels(version):
    profile = abp(version, interval_us=2 * MINUTE_US, adr=True)
    device = EndDevice(profile, Chance(4))
    device.parameters = replace(device.parameters, tx_power=3, enabled=frozenset({1}), nb_trans=2)
    seen = {}
    while device.next_us <= 14 * HOUR_US:
        if device.act(device.next_us) is not None:
            seen.setdefault(device.diary.sent[-1].f_cnt, (device.parameters, device.diary.sent[-1].adr_ack_req))
    # TS001-1.0.4, 4.3.1.1: ADR_ACK_LIMIT 64, ADR_ACK_DELAY 32.
    assert [f_cnt for f_cnt, (_, asks) in seen.items() if asks] == list(range(64, 64 + 7 * 32))
    at = {step: seen[64 + 32 * step][0] for step in range(8)}
    assert [(at[step].tx_power, at[step].data_rate) for step in range(7)] == [
        (3, 5), (0, 5), (0, 4), (0, 3), (0, 2), (0, 1), (0, 0),
    ]  # fmt: skip
    assert (at[6].enabled, at[6].nb_trans) == ({1}, 2)
    assert (at[7].enabled, at[7].nb_trans) == ({0, 1, 2}, 1)


def test_any_downlink_starts_the_count_again():
    def answer(uplink):
        return Reply() if uplink.frame.f_ctrl.adr_ack_req else None

    setting = Setting(abp(interval_us=MINUTE_US), answer=answer).run(6 * HOUR_US)
    asking = [uplink.f_cnt for uplink in setting.network.uplinks if uplink.frame.f_ctrl.adr_ack_req]
    assert asking == [64 + 65 * round_ for round_ in range(len(asking))]
    assert len(asking) >= 4
    assert setting.device.parameters.data_rate == 5


def test_a_device_without_adr_stays_as_it_is_and_does_not_ask():
    device, _ = alone(abp(interval_us=MINUTE_US, adr=False), 6)
    assert len(device.diary.sent) > 200
    assert not any(sent.adr_ack_req for sent in device.diary.sent)
    assert device.parameters.data_rate == 5


# --- MAC commands in uplinks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", MacVersion)
def test_some_answers_are_repeated_until_a_downlink_comes(version):
    requests = (mac.RXTimingSetupReq(1), mac.RXParamSetupReq(1, 2, 869_525_000), mac.DevStatusReq())

    def answer(uplink):
        if uplink.f_cnt == 0:
            return Reply(commands=requests)
        return Reply() if uplink.f_cnt == 4 else None

    setting = Setting(abp(version), answer=answer)
    setting.run(3 * MINUTE_US)
    setting.network.members[dev_eui(1)].rx1_dr_offset = 1
    setting.run(2 * HOUR_US)
    said = [[type(command) for command in uplink.commands] for uplink in setting.network.uplinks]
    said = [[kind for kind in kinds if kind is not mac.ResetInd] for kinds in said]
    sticky = [mac.RXTimingSetupAns, mac.RXParamSetupAns]
    repeats = sticky if version >= MacVersion.V1_0_2 else []
    assert said[0] == []
    assert sorted(said[1], key=str) == sorted([*sticky, mac.DevStatusAns], key=str)
    assert said[2:5] == [repeats, repeats, repeats]
    assert said[5:7] == [[], []]
    assert setting.complaints() == []


@pytest.mark.parametrize(
    ("activation", "indications"),
    [("otaa", [mac.RekeyInd, mac.DeviceModeInd]), ("abp", [mac.ResetInd, mac.DeviceModeInd])],
)
def test_a_device_of_1_1_says_who_it_is_until_it_is_confirmed(activation, indications):
    profile = abp(V1_1) if activation == "abp" else a_profile(version=V1_1)
    profile = replace(profile, device_class="C")
    setting = Setting(profile, answer=lambda uplink: conf(uplink) if uplink.f_cnt == 5 else None).run(2 * HOUR_US)
    said = [[type(command) for command in uplink.commands] for uplink in setting.network.uplinks]
    assert said[:6] == [indications] * 6
    assert said[6:9] == [[], [], []]
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
def test_devices_ask_how_well_they_are_heard_and_what_time_it_is(version):
    def answer(uplink):
        commands = []
        gps_us = START_UTC_US + 18_000_000 - 315_964_800_000_000 + uplink.radio.heard.monotonic_us
        for command in uplink.commands:
            if isinstance(command, mac.LinkCheckReq):
                commands.append(mac.LinkCheckAns(20, 1))
            if isinstance(command, mac.DeviceTimeReq):
                commands.append(mac.DeviceTimeAns.at(gps_us))
        return Reply(commands=tuple(commands)) if commands else None

    profile = abp(version, habits={"link_check_every": 3, "time_every": 4})
    setting = Setting(profile, answer=answer).run(4 * HOUR_US)
    diary = setting.device.diary
    assert len(diary.links) > 5
    assert set(diary.links) == {(20, 1)}
    assert bool(diary.times) is (version >= MacVersion.V1_0_3), "DeviceTimeReq came with 1.0.3"
    epoch_us = START_UTC_US + 18_000_000 - 315_964_800_000_000
    for asked_us, gps_us in diary.times:
        assert gps_us - (epoch_us + asked_us) == pytest.approx(0, abs=4_000), "1/256 s, rounded down"
    assert setting.complaints() == []


def test_answers_that_do_not_fit_beside_the_report_go_first_on_port_0():
    def answer(uplink):
        if uplink.f_cnt == 0:
            channels = tuple(
                mac.NewChannelReq(
                    ch_index=3 + n, frequency_hz=867_100_000 + 200_000 * n, min_data_rate=0, max_data_rate=5
                )
                for n in range(5)
            )
            moved = tuple(mac.DlChannelReq(ch_index=n, frequency_hz=868_100_000 + 200_000 * n) for n in range(3))
            return Reply(f_port=0, commands=(*channels, *moved, mac.DevStatusReq()))
        return None

    setting = Setting(abp(report=lambda now_us, f_cnt: Measure(2, bytes(40)), data_rate=3), answer=answer)
    setting.run(HOUR_US)
    ports = [(uplink.f_port, len(uplink.commands)) for uplink in setting.network.uplinks[:5]]
    assert ports[0] == (2, 0)
    assert ports[1] == (0, 9), "19 bytes of answers"
    assert ports[2][0] == 2
    # Then only the sticky ones are left, six bytes.
    assert ports[2:5] == [(2, 3)] * 3
    assert setting.device.parameters.channels[7].frequency_hz == 867_900_000
    assert setting.complaints() == []


def test_sticky_answers_do_not_crowd_out_the_reports():
    def answer(uplink):
        if uplink.f_cnt == 0:
            return Reply(f_port=0, commands=(*[mac.RXTimingSetupReq(1)] * 9, mac.DevStatusReq()))
        return None

    setting = Setting(abp(report=lambda now_us, f_cnt: Measure(2, bytes(48)), data_rate=0), answer=answer)
    setting.run(4 * HOUR_US)
    ports = [uplink.f_port for uplink in setting.network.uplinks]
    assert ports[:7] == [2, 0, 2, 0, 2, 0, 2]
    assert {len(uplink.payload) for uplink in setting.network.uplinks if uplink.f_port == 2} == {48}


def test_a_report_that_the_data_rate_cannot_carry_is_left_out():
    device, emissions = alone(abp(report=lambda now_us, f_cnt: Measure(2, bytes(60)), data_rate=0), 4)
    assert device.diary.too_long == len(device.diary.sent) > 5
    assert {len(emission.phy) for emission, _ in emissions} == {12}


# --- counters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("first", [0xFFFD, 0x1FFFD])
def test_counters_turn_both_ways(version, first):
    setting = Setting(abp(version, first_f_cnt=first), answer=lambda uplink: Reply(f_port=1, payload=b"x"))
    member = setting.network.members[dev_eui(1)]
    member.last_up = first - 1
    setting.run(3 * HOUR_US)
    sent = [sent.f_cnt for sent in setting.device.diary.sent]
    assert sent == list(range(first, first + len(sent)))
    assert [uplink.f_cnt for uplink in setting.network.uplinks] == sent
    assert {uplink.payload[6:] for uplink in setting.network.uplinks} == {f_cnt.to_bytes(4, "big") for f_cnt in sent}
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
def test_the_network_counters_turn_too(version):
    setting = Setting(abp(version, interval_us=MINUTE_US), answer=lambda uplink: Reply(f_port=1, payload=b"x"))
    member = setting.network.members[dev_eui(1)]
    jumps = [0, 16_000, 32_000, 48_000, 64_000, 65_534]

    def answer(uplink):
        if jumps:
            member.down = dict.fromkeys(("net", "app"), jumps.pop(0))
        return Reply(f_port=1, payload=b"x")

    setting.network.answer = answer
    setting.run(30 * MINUTE_US)
    counters = [received.f_cnt for received in setting.device.diary.received]
    assert counters[:10] == [0, 16_000, 32_000, 48_000, 64_000, 65_534, 65_535, 65_536, 65_537, 65_538]
    assert {received.payload for received in setting.device.diary.received} == {b"x"}
    assert setting.complaints() == []


@pytest.mark.parametrize("version", [V1_1])
def test_1_1_counts_application_and_network_apart(version):
    def answer(uplink):
        return Reply(f_port=4, payload=b"x") if uplink.f_cnt % 2 else Reply(commands=(mac.DevStatusReq(),))

    setting = Setting(abp(version), answer=answer).run(4 * HOUR_US)
    by_counter = defaultdict(list)
    for received in setting.device.diary.received:
        by_counter[received.counter].append(received.f_cnt)
    assert by_counter.keys() == {"AFCntDown", "NFCntDown"}
    for counters in by_counter.values():
        assert counters == list(range(len(counters)))
        assert len(counters) > 5
    assert setting.complaints() == []


# --- being away ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_class", ["A", "C"])
@pytest.mark.parametrize("version", MacVersion)
def test_a_device_back_after_a_year_counts_on_far_ahead(version, device_class):
    year = Absence(from_us=HOUR_US, until_us=2 * HOUR_US, f_cnt_passed=35_040)
    profile = replace(abp(version, habits={"absences": (year,)}), device_class=device_class)
    setting = Setting(profile, answer=conf).run(3 * HOUR_US)
    counters = [sent.f_cnt for sent in setting.device.diary.sent]
    steps = Counter(later - earlier for earlier, later in itertools.pairwise(counters))
    assert steps == {1: len(counters) - 2, 35_041: 1}
    assert not [sent for sent in setting.device.diary.sent if HOUR_US < sent.first_us < 2 * HOUR_US]
    assert setting.complaints() == []


@pytest.mark.parametrize("version", MacVersion)
def test_an_abp_device_with_a_new_battery_goes_on_counting_and_1_1_says_so(version):
    def answer(uplink):
        return conf(uplink) or (Reply(commands=(mac.RXTimingSetupReq(3),)) if uplink.f_cnt == 1 else None)

    dark = Absence(from_us=HOUR_US, until_us=2 * HOUR_US, battery_out=True)
    setting = Setting(abp(version, habits={"absences": (dark,)}), answer=answer).run(3 * HOUR_US)
    counters = [sent.f_cnt for sent in setting.device.diary.sent]
    assert counters == list(range(len(counters)))
    after = next(uplink for uplink in setting.network.uplinks if uplink.radio.heard.monotonic_us > 2 * HOUR_US)
    assert (mac.ResetInd(1) in after.commands) is (version is V1_1)
    assert setting.device.parameters.rx1_delay_us == (1_000_000 if version is V1_1 else 3_000_000)


def test_class_c_hears_nothing_while_it_is_away():
    dark = Absence(from_us=HOUR_US, until_us=2 * HOUR_US)
    profile = replace(abp(habits={"absences": (dark,)}), device_class="C")
    setting = Setting(profile).run(90 * MINUTE_US)
    setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=b"x"))
    setting.run(2 * HOUR_US + 30_000_000)
    assert setting.device.diary.received == []
    setting.network.push(setting.chip, setting.device, Reply(f_port=9, payload=b"y"))
    setting.run(3 * HOUR_US)
    assert [received.payload for received in setting.device.diary.received] == [b"y"]
    assert setting.complaints() == []


def test_a_device_that_hears_nothing_for_long_joins_anew_if_its_owner_wants_that():
    habits = Habits(interval_us=MINUTE_US, first_us=0, joins_after_silence=30)
    setting = Setting(a_profile(habits=habits), answer=lambda uplink: Reply() if uplink.f_cnt < 10 else None)
    setting.run(2 * HOUR_US)
    frames = Counter(sent.dev_addr for sent in setting.device.diary.sent)
    assert set(list(frames.values())[:-1]) == {10 + 30}
    assert len(setting.device.diary.joined) >= 3
    assert setting.complaints() == []


# --- the law ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_rate", [0, 3, 5])
def test_no_device_is_on_the_air_for_longer_than_its_band_allows(data_rate):
    # ETSI EN 300 220-2: of any hour 1 % in 865-868 and 868.0-868.6 MHz, 0.1 % in 863-865 MHz.
    cf_list = EU868.cf_list((867_100_000, 867_300_000, 864_100_000))
    profile = a_profile(habits=Habits(interval_us=1_000_000, first_us=0))
    setting = Setting(profile, terms=Terms(cf_list=cf_list)).run(MINUTE_US)
    device = setting.device
    device.parameters = replace(device.parameters, data_rate=data_rate)
    spent = defaultdict(list)
    while device.next_us < 4 * HOUR_US:
        emission = device.act(device.next_us)
        if emission is not None:
            spent[EU868.sub_band(emission.frequency_hz, 125_000)].append(emission)
    assert {band.duty_cycle for band in spent} == {Fraction(1, 100), Fraction(1, 1000)}
    for band, emissions in spent.items():
        for index, first in enumerate(emissions):
            hour = [other for other in emissions[index:] if other.start_us < first.start_us + HOUR_US]
            assert sum(other.airtime_us for other in hour) <= band.duty_cycle * HOUR_US
        assert sum(one.airtime_us for one in emissions) > band.duty_cycle * 3 * HOUR_US / 2


def test_the_duty_cycle_that_a_network_asks_for_is_kept_over_all_bands():
    def answer(uplink):
        return Reply(commands=(mac.DutyCycleReq(10),)) if uplink.f_cnt == 0 else None

    setting = Setting(abp(interval_us=1_000_000), answer=answer).run(4 * HOUR_US)
    ends_us = [uplink.radio.heard.monotonic_us for uplink in setting.network.uplinks]
    assert len(ends_us) > 50
    for one_us, other_us in itertools.pairwise(ends_us[1:]):
        assert other_us - one_us >= 61_696 * 1023, "61.7 ms each time: 23 bytes at SF7"
    assert mac.DutyCycleAns() in setting.network.uplinks[1].commands


# --- life goes on -------------------------------------------------------------------------------------------------


def test_an_hour_without_gateway_costs_frames_and_nothing_else():
    profiles = [
        a_profile(
            number,
            version,
            device_class="AC"[number % 2],
            habits=Habits(interval_us=4 * MINUTE_US, first_us=number * 1_000_000, confirmed_every=3),
        )
        for number, version in enumerate([*MacVersion, *MacVersion], start=1)
    ]

    def answer(uplink):
        return conf(uplink) or (Reply() if uplink.frame.confirmed else None)

    setting = Setting(*profiles, answer=answer).run(HOUR_US)
    setting.chip.switch(on=False)
    heard = len(setting.network.uplinks)
    setting.run(2 * HOUR_US)
    assert len(setting.network.uplinks) == heard
    setting.chip.switch(on=True)
    setting.run(4 * HOUR_US)
    for device in setting.devices:
        before, away, after = (
            [sent for sent in device.diary.sent if low * HOUR_US <= sent.first_us < high * HOUR_US]
            for low, high in ((0, 1), (1, 2), (2, 4))
        )
        assert not any(sent.acknowledged for sent in away[1:])
        assert len(device.diary.joined) == 1
        for sent in (before, after):
            confirmed = [one for one in sent if one.confirmed]
            assert sum(one.acknowledged for one in confirmed) >= len(confirmed) * 0.7
    assert setting.complaints() == []


def test_two_gateways_hear_more_than_one_and_downlinks_come_from_either():
    def heard_with(*gateways):
        town = Town(9, gateways=gateways)
        setting = Setting(
            *(a_profile(number, data_rate=None) for number in range(1, 9)),
            answer=lambda uplink: Reply(),
            town=town,
            near=Position(12_000, 0),
        ).run(6 * HOUR_US)
        assert setting.complaints() == []
        taken = sum(len(device.diary.received) for device in setting.devices)
        return len({(uplink.session.dev_eui, uplink.f_cnt) for uplink in setting.network.uplinks}), taken

    near, far = Position(12_200, 0), Position(0, 0)
    few, many = heard_with(far), heard_with(far, near)
    assert few[0] < many[0]
    assert few[1] < many[1]


def test_the_same_chance_makes_the_same_life():
    def life(seed):
        setting = Setting(a_profile(), answer=lambda uplink: Reply(), seed=seed).run(3 * HOUR_US)
        return setting.device.diary

    assert life(5) == life(5)
    assert life(5) != life(6)
