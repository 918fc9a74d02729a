"""A device and the network come to agree, whatever is lost between them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mac_bench import DEFAULT_RX, FREQUENCY_HZ, Town

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.answers import Accepted, Declined, DeviceStatus, GaveUp, Unexpected
from gateway.lorawan.join import JoinTerms
from gateway.lorawan.mac import (
    EMPTY_DOWNLINKS_MAX,
    Acknowledged,
    ClassChanged,
    NotAcknowledged,
    Rekeyed,
    Remark,
    Restarted,
    after_join,
    after_rejoin_2,
    answer,
    confirmed_sent,
    heard_again,
    ordered,
)
from gateway.lorawan.mac_state import AdrParam, MacState, NamedChannel, RejoinParam, RxSettings, initial
from gateway.lorawan.requests import ASK_TIMES, ORDER_TIMES, REFUSED_UPLINKS, REST_UPLINKS, wanted_by
from gateway.lorawan.windows import rejoin_windows, windows
from gateway.model import Fsk, MacVersion
from gateway.regions.eu868 import EU868

CALM = replace(wanted_by(EU868), adr="off")  # nothing to ask
CHANNELS = tuple(NamedChannel(3 + n, 867_100_000 + 200_000 * n, 0, 5) for n in range(5))
FAST_RX = RxSettings(5, 1, 869_525_000, 3)
FULL = replace(
    CALM,
    rx=FAST_RX,
    enabled=frozenset(range(8)),
    channels=CHANNELS,
    dl_frequencies_hz=((1, 868_700_000 + 100_000), (4, 868_900_000)),
    max_duty_cycle=7,
    adr_param=AdrParam(6, 5),
    rejoin_param=RejoinParam(3, 4),
    dev_status_every=50,
)
VERSIONS = st.sampled_from(MacVersion)


def _agrees(town):
    """Whether the device has all that is wanted of it and its version knows, and the state says so."""
    device, state, wanted, version = town.device, town.state, town.wanted, town.device.version
    assert device.rx == state.rx == wanted.rx
    assert state.rx_else == ()
    assert tuple(sorted(device.channels.values())) == state.channels == wanted.channels
    assert device.enabled == state.enabled == wanted.enabled
    assert device.max_duty_cycle == state.max_duty_cycle == wanted.max_duty_cycle
    if version >= MacVersion.V1_0_2:
        assert tuple(sorted(device.dl.items())) == state.dl_frequencies_hz == wanted.dl_frequencies_hz
    if version.is_1_1:
        assert device.adr_param == state.adr_param == wanted.adr_param
        assert device.rejoin_param == state.rejoin_param == wanted.rejoin_param
    assert (state.battery, state.margin_db) == (100, 7)
    assert state.asked == ()
    return True


# --- they come to agree -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", MacVersion)
@pytest.mark.parametrize("adr", [True, False])
def test_a_device_gets_all_that_is_wanted_and_then_is_left_alone(version, adr):
    town = Town(version, FULL, adr=adr)
    for _ in range(12):
        town.round()
    assert _agrees(town)
    spoken = len(town.sent)
    for _ in range(20):
        town.round()
    assert len(town.sent) == spoken
    assert not [event for event in town.events if isinstance(event, Declined | GaveUp | Unexpected)]


@pytest.mark.parametrize("which", [1, 2])
def test_a_request_is_repeated_until_it_is_answered(which):
    town = Town(MacVersion.V1_0_4, FULL)
    for n in range(40):
        town.round(up_lost=n % 3 == 1, down_lost=n % 4 == 2, which=which)
    assert town.surprises == []
    assert _agrees(town)


@settings(deadline=None, max_examples=60)
@given(
    version=VERSIONS,
    adr=st.booleans(),
    losses=st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([1, 2])), max_size=20),
)
def test_the_network_knows_where_a_device_listens_whatever_is_lost(version, adr, losses):
    town = Town(version, FULL, adr=adr)
    for up_lost, down_lost, which in losses:
        town.round(up_lost=up_lost, down_lost=down_lost, which=which)
        heard = town.hear(town.uplink())
        if version >= MacVersion.V1_0_2:
            assert town.device.rx == town.state.rx
        town.send(heard, which=which)
    _let_rest_pass(town)
    assert town.surprises == []
    assert _agrees(town)


@settings(deadline=None, max_examples=60)
@given(
    version=VERSIONS,
    losses=st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([1, 2])), max_size=12),
    cut_at=st.integers(0, 12),
    back=st.integers(0, 12),
)
def test_after_a_power_cut_the_network_finds_the_device_again(version, losses, cut_at, back):
    """The gateway comes back with a state of some uplinks ago, also one from before it asked anything."""
    town = Town(version, FULL)
    stored = [town.state]
    for up_lost, down_lost, which in losses[:cut_at]:
        town.round(up_lost=up_lost, down_lost=down_lost, which=which)
        stored.append(town.state)
    town.power_cut(stored[max(0, len(stored) - 1 - back)])
    for up_lost, down_lost, which in losses[cut_at:]:
        town.round(up_lost=up_lost, down_lost=down_lost, which=which)
    _let_rest_pass(town)
    assert town.surprises == []
    assert _agrees(town)


def _let_rest_pass(town):
    """Enough undisturbed rounds for everything, requests that rest included."""
    for _ in range(60):
        town.round()
    town.f_cnt += REFUSED_UPLINKS
    for _ in range(40):
        town.round()


def test_a_device_before_1_0_2_says_once_that_it_has_new_windows_and_may_not_be_heard():
    town = Town(MacVersion.V1_0_1, replace(CALM, rx=FAST_RX))
    town.round()
    town.round(up_lost=True)
    assert town.device.rx == FAST_RX
    town.hear(town.uplink())
    assert town.state.rx == DEFAULT_RX
    assert FAST_RX in town.state.rx_else
    for _ in range(8):
        town.round()
    assert town.state.rx == FAST_RX
    assert town.state.rx_else == ()


def test_after_a_power_cut_acknowledgements_are_still_checked_in_full():
    town = Town(MacVersion.V1_1_0, CALM)
    town.state = confirmed_sent(town.state, 9, "ref")
    town.power_cut(town.state)
    assert town.state.conf_f_cnts == (9,)
    assert town.state.in_flight is not None
    assert town.state.rx_else == ()  # nothing was ever to be changed


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_device_that_never_hears_is_left_in_peace():
    town = Town(MacVersion.V1_0_4, FULL)
    for _ in range(REST_UPLINKS - 1):
        town.round(down_lost=True)
    assert len(town.sent) <= 2 * ASK_TIMES + 2
    gave_up = {event.kind for event in town.events if isinstance(event, GaveUp)}
    assert {"RXParamSetup", "RXTimingSetup", "NewChannel 3", "DutyCycle"} <= gave_up
    assert town.state.rx == DEFAULT_RX
    spoken = len(town.sent)
    town.f_cnt += REST_UPLINKS
    town.round()
    assert len(town.sent) == spoken + 1  # and asked again later


def test_what_a_device_refuses_is_not_asked_again_unless_it_changes():
    wanted = replace(CALM, rx=RxSettings(1, 0, 999_000_000, 0))
    town = Town(MacVersion.V1_0_4, wanted)
    for _ in range(30):
        town.round()
    assert len(town.sent) == 2  # the request, and an empty one so that the device need not repeat its refusal
    (declined,) = [event for event in town.events if isinstance(event, Declined)]
    assert (declined.kind, declined.detail) == ("RXParamSetup", "channel_ack")
    assert town.state.rx == town.device.rx == DEFAULT_RX
    town.wanted = replace(CALM, rx=FAST_RX)
    for _ in range(4):
        town.round()
    assert town.state.rx == town.device.rx == FAST_RX


def test_a_sticky_answer_that_never_ends_costs_few_downlinks():
    town = Town(MacVersion.V1_0_4, replace(CALM, rx=FAST_RX))
    town.round()
    for _ in range(50):
        town.round(down_lost=True)
    assert town.state.rx == FAST_RX
    assert len(town.sent) == 1 + EMPTY_DOWNLINKS_MAX


def test_a_new_request_waits_until_the_answer_to_the_last_one_is_no_longer_repeated():
    """A repeated RXParamSetupAns would be taken for the answer to the second request."""
    town = Town(MacVersion.V1_0_4, replace(CALM, rx=FAST_RX))
    town.round()
    town.round(down_lost=True)
    town.wanted = replace(CALM, rx=RxSettings(5, 2, 869_525_000, 0))
    for _ in range(3):
        town.round(down_lost=True)
        assert town.state.rx == town.device.rx == FAST_RX
    for _ in range(4):
        town.round()
    assert town.surprises == []
    assert town.state.rx == town.device.rx == town.wanted.rx


def test_a_downlink_that_never_left_asked_nothing():
    town = Town(MacVersion.V1_0_4, FULL)
    said = answer(town.hear(town.uplink()), EU868, FULL, room_port_0=51)
    assert said.needed
    assert said.unsent == town.state
    assert said.state.asked
    assert said.unsent.asked == ()


# --- data rate, power, channels ---------------------------------------------------------------------------------------


def test_adr_takes_a_well_heard_device_to_less_air_and_less_power_once():
    town = Town(MacVersion.V1_0_4, wanted_by(EU868))
    for _ in range(200):
        town.round()
    assert (town.device.data_rate, town.device.tx_power) == (1, 0)  # -5 dB, DR0 needs -20, 10 are margin: one step
    assert (town.state.data_rate, town.state.tx_power) == (1, 0)
    assert len(town.sent) == 1


def test_adr_spends_at_most_a_downlink_in_twenty_uplinks_also_on_one_that_jitters():
    town = Town(MacVersion.V1_0_4, wanted_by(EU868))
    for n in range(400):
        town.send(town.hear(town.uplink(snr_db=-20.0 if n // 25 % 2 else 12.0)))
    assert len(town.sent) <= 400 / 20


def test_a_device_that_can_do_less_is_taken_at_its_word():
    town = Town(MacVersion.V1_0_4, wanted_by(EU868), tx_power_highest=3, data_rate=5)
    for _ in range(REFUSED_UPLINKS):
        town.send(town.hear(town.uplink(snr_db=30.0)))
    assert town.state.tx_power_highest == 3
    assert (town.state.data_rate, town.state.tx_power) == (5, 3)
    assert (town.device.data_rate, town.device.tx_power) == (5, 3)
    assert len([event for event in town.events if isinstance(event, Declined)]) == 4  # 7, 6, 5, 4


def test_a_device_that_refuses_its_own_most_is_asked_for_less():
    """The RN2483 (firmware 1.0.3) refuses TXPower 0."""
    town = Town(MacVersion.V1_0_3, wanted_by(EU868), data_rate=0)
    for _ in range(21):
        heard = town.hear(town.uplink())
    assert "LinkADR" in {asked.kind for asked in answer(heard, EU868, town.wanted).state.asked}
    town.state = answer(heard, EU868, town.wanted).state
    town.hear(town.uplink(mac.LinkADRAns(True, True, False)))
    assert (town.state.tx_power_lowest, town.state.tx_power) == (1, 1)


def test_a_device_that_keeps_its_data_rate_is_asked_for_channels_alone():
    wanted = replace(wanted_by(EU868), enabled=frozenset({0, 2}))
    for version, data_rate in [(MacVersion.V1_0_3, 2), (MacVersion.V1_0_4, mac.KEEP), (MacVersion.V1_1_0, mac.KEEP)]:
        town = Town(version, wanted, adr=False, data_rate=2)
        for _ in range(30):
            town.send(town.hear(town.uplink(snr_db=10.0)))
        (request,) = [command for command in town.device.heard if isinstance(command, mac.LinkADRReq)]
        assert request.data_rate == data_rate
        assert town.state.enabled == town.device.enabled == {0, 2}
        assert (town.state.data_rate, town.device.data_rate) == (2, 2)
        assert not town.sent[0].adr


def test_a_device_that_backs_off_has_all_its_power_again():
    town = Town(MacVersion.V1_0_4, wanted_by(EU868), data_rate=5, tx_power=4)
    town.state = replace(town.state, data_rate=5, tx_power=4)
    town.device.data_rate = 4
    town.hear(town.uplink())
    assert (town.state.data_rate, town.state.tx_power) == (4, 0)
    assert len(town.state.recent.samples()) == 1


def test_channels_are_added_before_masks_are_sent():
    town = Town(MacVersion.V1_0_4, replace(FULL, adr="standard"))
    for _ in range(30):
        town.round()
    kinds = [type(command) for command in town.device.heard]
    assert mac.LinkADRReq in kinds
    last_new = max(at for at, kind in enumerate(kinds) if kind is mac.NewChannelReq)
    assert kinds.index(mac.LinkADRReq) > last_new


def test_channels_that_are_not_wanted_any_more_are_taken_away():
    town = Town(MacVersion.V1_0_4, FULL)
    for _ in range(12):
        town.round()
    town.wanted = replace(FULL, channels=CHANNELS[:2], enabled=frozenset(range(5)), dl_frequencies_hz=())
    for _ in range(6):
        town.round()
    assert sorted(town.device.channels) == [3, 4]
    assert town.state.channels == CHANNELS[:2]
    assert town.state.enabled == town.device.enabled == {0, 1, 2, 3, 4}


def test_a_device_that_lost_its_channels_gets_them_again():
    town = Town(MacVersion.V1_0_4, FULL)
    for _ in range(12):
        town.round()
    town.device.channels.clear()
    town.device.enabled = frozenset({0, 1, 2})
    town.wanted = replace(FULL, enabled=frozenset({0, 1, 2, 3}))
    for _ in range(12):
        town.round()
    assert sorted(town.device.channels) == [3, 4, 5, 6, 7]


# --- questions of the device ------------------------------------------------------------------------------------------


def _owed(*said, version=MacVersion.V1_0_4, snr_db=-5.0, data_rate=0, **how):
    town = Town(version, CALM, data_rate=data_rate)
    heard = town.hear(town.uplink(*said, snr_db=snr_db), **how)
    return heard, answer(heard, EU868, CALM)


# TS001-1.0.4, 5.1: 20 means 20 dB above the demodulation floor
@pytest.mark.parametrize(
    ("data_rate", "snr_db", "margin_db"), [(0, -20.0, 0), (0, 0.0, 20), (5, 5.2, 13), (5, -9.0, 0), (7, None, 0)]
)
def test_a_link_check_says_how_far_above_the_floor_and_by_how_many(data_rate, snr_db, margin_db):
    _, said = _owed(mac.LinkCheckReq(), data_rate=data_rate, snr_db=snr_db, gateways=3)
    assert mac.read_downlink_commands(said.f_opts).commands == (mac.LinkCheckAns(margin_db, 3),)
    assert said.needed


def test_the_margin_ends_where_its_byte_does():
    _, said = _owed(mac.LinkCheckReq(), snr_db=300.0, gateways=400)
    assert mac.read_downlink_commands(said.f_opts).commands == (mac.LinkCheckAns(254, 255),)


def test_the_time_is_told_when_it_is_known():
    _, said = _owed(mac.DeviceTimeReq(), gps_time_us=1_000_000_000_500_000)
    assert said.f_opts.hex() == "0d00ca9a3b80"
    heard, said = _owed(mac.DeviceTimeReq())
    assert (said.f_opts, said.needed) == (b"", False)
    assert heard.events == (Remark("DeviceTimeReq: the time is not known well enough to be told"),)


def test_a_question_asked_twice_has_one_answer():
    _, said = _owed(mac.LinkCheckReq(), mac.LinkCheckReq())
    assert len(said.f_opts) == 3


def test_1_1_confirms_what_a_device_announces():
    heard, said = _owed(mac.RekeyInd(1), mac.DeviceModeInd(mac.CLASS_C), version=MacVersion.V1_1_0)
    assert mac.read_downlink_commands(said.f_opts).commands == (mac.RekeyConf(1), mac.DeviceModeConf(mac.CLASS_C))
    assert heard.events == (Rekeyed(1), ClassChanged("C"))
    assert heard.state.device_class == "C"


def test_a_later_minor_version_is_answered_with_ours():
    _, said = _owed(mac.RekeyInd(3), version=MacVersion.V1_1_0)
    assert mac.read_downlink_commands(said.f_opts).commands == (mac.RekeyConf(1),)


def test_what_1_1_announces_means_nothing_in_a_session_of_1_0():
    heard, said = _owed(mac.RekeyInd(1), mac.ResetInd(1), mac.DeviceModeInd(mac.CLASS_C))
    assert not said.needed
    assert heard.state.device_class == "A"
    assert len([event for event in heard.events if isinstance(event, Remark)]) == 3


def test_class_b_is_remarked_and_not_confirmed():
    heard, said = _owed(mac.PingSlotInfoReq(3), mac.DeviceModeInd(1), version=MacVersion.V1_1_0)
    assert not said.needed
    assert len(heard.events) == 2


@pytest.mark.parametrize("f_cnt_start", [0, 7])
def test_what_cannot_be_read_is_told_and_what_stood_before_counts(f_cnt_start):
    town = Town(MacVersion.V1_0_4, CALM)
    town.f_cnt = f_cnt_start - 1
    uplink = town.uplink()
    broken = bytes.fromhex("02ff0600")
    uplink = (
        replace(uplink, f_port=0, payload=broken, f_opts=b"")
        if f_cnt_start
        else replace(uplink, f_port=2, payload=broken, f_opts=broken)
    )
    heard = town.hear(uplink)
    assert heard.answers == (mac.LinkCheckAns(15, 1),)
    assert heard.events == (Unexpected("a maker's own command 0xff at byte 1, 3 bytes unread"),)


def test_an_answer_nobody_asked_for_is_told_and_changes_nothing():
    town = Town(MacVersion.V1_0_4, CALM)
    before = town.state
    heard = town.hear(town.uplink(mac.LinkADRAns(True, True, True), mac.DutyCycleAns(), mac.NewChannelAns(True, True)))
    assert len([event for event in heard.events if isinstance(event, Unexpected)]) == 3
    assert replace(heard.state, recent=before.recent, data_rate=None) == before


# --- status, acknowledgements, restarts -------------------------------------------------------------------------------


@pytest.mark.parametrize(("battery", "percent"), [(0, None), (1, 0.0), (128, 50.2), (254, 100.0), (255, None)])
def test_the_battery_is_a_percentage_or_nothing(battery, percent):
    town = Town(MacVersion.V1_0_4, replace(CALM, dev_status_every=100))
    town.device.battery = battery
    for _ in range(3):
        town.round()
    (status,) = [event for event in town.events if isinstance(event, DeviceStatus)]
    assert (status.battery, status.margin_db, status.battery_percent) == (battery, 7, percent)


def test_the_battery_is_asked_for_every_so_many_uplinks():
    town = Town(MacVersion.V1_0_4, replace(CALM, dev_status_every=20))
    for _ in range(100):
        town.round()
    assert len(town.sent) == 5


def test_somebody_s_question_for_the_battery_is_asked_once():
    town = Town(MacVersion.V1_0_4, CALM)
    town.state = ordered(ordered(town.state, mac.DevStatusReq()), mac.DevStatusReq())
    for _ in range(10):
        town.round()
    assert len(town.sent) == 1
    assert town.state.orders == ()


def test_a_rejoin_is_ordered_a_few_times_because_it_has_no_answer():
    town = Town(MacVersion.V1_1_0, CALM)
    town.state = ordered(town.state, mac.ForceRejoinReq(0, 3, 0, 2))
    for _ in range(10):
        town.round()
    assert town.device.rejoins_wanted == ORDER_TIMES
    assert town.state.orders == town.state.asked == ()
    old = Town(MacVersion.V1_0_4, CALM)
    old.state = ordered(old.state, mac.ForceRejoinReq(0, 3, 0, 2))
    old.round()
    assert old.sent == []  # it would end the reading of everything behind it


def test_a_confirmed_uplink_is_acknowledged_under_its_counter():
    town = Town(MacVersion.V1_1_0, CALM)
    town.f_cnt = 0x1_0006
    said = answer(town.hear(town.uplink(confirmed=True)), EU868, CALM)
    assert (said.needed, said.ack, said.conf_f_cnt) == (True, True, 7)
    said = answer(town.hear(town.uplink()), EU868, CALM)
    assert (said.needed, said.ack, said.conf_f_cnt) == (False, False, 0)


def test_a_device_that_asks_whether_it_is_heard_gets_any_downlink():
    town = Town(MacVersion.V1_0_4, CALM)
    said = answer(town.hear(town.uplink(adr_ack_req=True)), EU868, CALM)
    assert (said.needed, said.f_opts, said.port_0) == (True, b"", b"")


def test_a_repetition_is_answered_again_and_changes_nothing():
    town = Town(MacVersion.V1_0_4, replace(CALM, dev_status_every=9))
    uplink = town.uplink(mac.LinkCheckReq(), confirmed=True)
    first = town.hear(uplink)
    said = answer(first, EU868, town.wanted)
    again = heard_again(said.state, uplink)
    assert again.state == said.state
    assert (again.answers, again.acknowledge, again.events) == (first.answers, True, ())
    repeated = answer(again, EU868, town.wanted)
    assert (repeated.f_opts, repeated.ack) == (said.f_opts, True)
    assert repeated.state.asked[0].times == 2


@pytest.mark.parametrize(
    ("device_class", "acks", "events"),
    [
        ("A", [True], [Acknowledged("ref", 4)]),
        ("A", [False], [NotAcknowledged("ref", 4, False)]),
        ("C", [False, True], [Acknowledged("ref", 4)]),
        ("C", [False, False], [NotAcknowledged("ref", 4, False)]),
    ],
)
def test_a_confirmed_downlink_is_acknowledged_by_the_next_uplink(device_class, acks, events):
    town = Town(MacVersion.V1_1_0, CALM)
    town.state = confirmed_sent(replace(town.state, device_class=device_class), 4, "ref")
    for ack in acks:
        assert town.state.in_flight is not None
        town.hear(town.uplink(ack=ack))
    assert town.events == events
    assert town.state.in_flight is None
    assert town.state.conf_f_cnts == (4,)  # a repetition of that uplink is still checked against it


def test_an_acknowledgement_may_have_been_in_an_uplink_nobody_heard():
    town = Town(MacVersion.V1_0_4, CALM)
    town.round()
    town.state = confirmed_sent(town.state, 4, "ref")
    town.uplink(ack=True)
    town.hear(town.uplink())
    assert town.events == [NotAcknowledged("ref", 4, uplinks_lost=True)]


def test_the_last_two_confirmed_downlinks_may_be_acknowledged():
    state = initial(EU868)
    assert state.conf_f_cnts is None
    for f_cnt in (4, 9, 12):
        state = confirmed_sent(state, f_cnt, "ref")
    assert state.conf_f_cnts == (12, 9)


@pytest.mark.parametrize("how", ["ResetInd", "counter"])
def test_a_device_that_starts_over_has_its_defaults_again(how):
    town = Town(MacVersion.V1_1_0, FULL)
    for _ in range(12):
        town.round()
    assert _agrees(town)
    fresh = Town(MacVersion.V1_1_0)
    fresh.device.battery = 100
    town.device = fresh.device
    if how == "ResetInd":
        heard = town.hear(town.uplink(mac.ResetInd(1)))
        assert heard.answers == (mac.ResetConf(1),)
    else:
        heard = town.hear(town.uplink(counter_reset=True))
    assert [event for event in heard.events if isinstance(event, Restarted)]
    assert (town.state.rx, town.state.enabled, town.state.battery) == (DEFAULT_RX, {0, 1, 2}, 100)
    for _ in range(12):
        town.round()
    assert _agrees(town)


# --- room -------------------------------------------------------------------------------------------------------------


def test_commands_beyond_fifteen_bytes_go_on_port_0_when_it_is_free():
    town = Town(MacVersion.V1_0_4, FULL)
    heard = town.hear(town.uplink())
    beside_a_payload = answer(heard, EU868, FULL)
    assert (0 < len(beside_a_payload.f_opts) <= 15, beside_a_payload.port_0, beside_a_payload.more) == (True, b"", True)
    alone = answer(heard, EU868, FULL, room_port_0=51)
    assert (alone.f_opts, len(alone.port_0) > 15, alone.more) == (b"", True, False)


@settings(deadline=None, max_examples=80)
@given(room=st.integers(0, 20), room_port_0=st.integers(0, 60), version=VERSIONS)
def test_no_answer_is_longer_than_its_room_and_owed_comes_first(room, room_port_0, version):
    town = Town(version, FULL)
    heard = town.hear(town.uplink(mac.LinkCheckReq(), mac.DeviceTimeReq()), gps_time_us=1_000_000)
    said = answer(heard, EU868, FULL, room=room, room_port_0=room_port_0)
    assert len(said.f_opts) <= min(room, 15)
    assert len(said.port_0) <= room_port_0
    assert not (said.f_opts and said.port_0)
    commands, problem = mac.read_downlink_commands(said.f_opts or said.port_0, version)
    if max(min(room, 15), room_port_0) >= 9:
        assert type(commands[0]) is mac.LinkCheckAns
    if version >= MacVersion.V1_0_3:  # before that, a device knows no DeviceTimeAns and reads no further
        assert problem is None
        asked = [command for one in said.state.asked for command in one.commands]
        assert [command for command in commands if command in asked] == asked


# --- windows ----------------------------------------------------------------------------------------------------------


def test_windows_are_those_of_the_state():
    state = replace(
        initial(EU868), rx=FAST_RX, channels=CHANNELS, dl_frequencies_hz=((1, 868_800_000), (3, 869_000_000))
    )
    where = windows(state, 868_100_000, 5, EU868)
    assert (where.rx1.frequency_hz, where.rx1.data_rate) == (868_100_000, 4)
    assert (where.rx1_delay_us, where.rx2_delay_us) == (5_000_000, 6_000_000)
    assert (where.rx2.frequency_hz, where.rx2.data_rate) == (869_525_000, 3)
    assert windows(state, FREQUENCY_HZ, 5, EU868).rx1.frequency_hz == 868_800_000
    assert windows(state, 867_100_000 + 30, 0, EU868).rx1.frequency_hz == 869_000_000


def test_an_uplink_outside_the_plan_has_rx2_alone():
    where = windows(initial(EU868), 868_100_000, 15, EU868)
    assert where.rx1 is None
    assert where.rx2 == EU868.rx2


def test_a_window_that_may_have_been_moved_is_not_used():
    assert windows(replace(initial(EU868), rx1_unsure=True), 868_100_000, 5, EU868).rx1 is None


def test_a_rejoin_is_answered_where_the_session_listens():
    where = rejoin_windows(replace(initial(EU868), rx=FAST_RX._replace(rx1_delay_s=1)), 868_100_000, 5, EU868)
    assert (where.rx1.data_rate, where.rx2.data_rate) == (4, 3)
    assert (where.rx1_delay_us, where.rx2_delay_us) == (5_000_000, 6_000_000)


# --- beginnings -------------------------------------------------------------------------------------------------------


def test_a_join_gives_what_its_accept_says():
    cf_list = EU868.cf_list([channel.frequency_hz for channel in CHANNELS])
    terms = JoinTerms(0, 1, rx2_data_rate=3, rx1_dr_offset=1, rx_delay_s=5, cf_list=cf_list)
    state = after_join(terms, EU868)
    assert state.rx == FAST_RX
    assert state.channels == CHANNELS
    assert state.enabled == frozenset(range(8))
    assert state.conf_f_cnts == ()
    bare = after_join(JoinTerms(0, 1, rx2_data_rate=0, rx_delay_s=0), EU868)
    assert (bare.rx, bare.enabled, bare.channels) == (DEFAULT_RX, {0, 1, 2}, ())


def test_a_rejoin_of_type_2_leaves_the_radio_as_it_was():
    town = Town(MacVersion.V1_1_0, FULL)
    for _ in range(3):
        town.round()
    town.state = confirmed_sent(town.state, 9, "ref")
    state = after_rejoin_2(town.state)
    assert (state.rx, state.channels, state.enabled) == (town.state.rx, town.state.channels, town.state.enabled)
    assert (state.asked, state.in_flight, state.conf_f_cnts) == ((), None, ())


# --- whatever comes ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(
    version=VERSIONS,
    streams=st.lists(st.binary(max_size=15), min_size=1, max_size=6),
    ack=st.booleans(),
    data_rate=st.sampled_from(sorted(EU868.data_rates)),
)
def test_whatever_a_device_says_the_state_can_be_kept(version, streams, ack, data_rate):
    town = Town(version, replace(FULL, adr="standard"), data_rate=data_rate)
    town.state = confirmed_sent(town.state, 3, "ref")
    for stream in streams:
        uplink = replace(town.uplink(), f_port=2, payload=b"", f_opts=stream, ack=ack)
        town.send(town.hear(uplink, gps_time_us=0))
        assert MacState.from_json(town.state.to_json()) == town.state


def test_a_device_on_fsk_is_heard_too():
    town = Town(MacVersion.V1_0_4, wanted_by(EU868), data_rate=7)
    assert isinstance(EU868.data_rates[7], Fsk)
    for _ in range(3):
        town.send(town.hear(town.uplink(snr_db=None)))
    assert town.device.data_rate == 5
    assert isinstance(town.events[0], Accepted)
