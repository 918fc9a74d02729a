"""MAC commands as a device obeys them: all or nothing, in its own plan and version."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lorawan import mac_commands as mac
from gateway.model import MacVersion
from gateway.regions import REGIONS
from gateway.regions.eu868 import EU868
from gateway.regions.region import ReceiveWindow
from gateway.simulator.end_device.adaptive import backed_off, wants_answer
from gateway.simulator.end_device.commands import Circumstances, obey
from gateway.simulator.end_device.composing import compose
from gateway.simulator.end_device.parameters import DeviceChannel, Parameters, Radio
from gateway.simulator.sensors import Measure

V1_0_1, V1_0_3, V1_0_4, V1_1 = (
    MacVersion.V1_0_1,
    MacVersion.V1_0_3,
    MacVersion.V1_0_4,
    MacVersion.V1_1_0,
)
US915, AS923 = REGIONS["US915"], REGIONS["AS923-1"]


def told(*commands, region=EU868, version=V1_0_4, snr_db=4.0, **changes):
    radio = Radio(region)
    before = replace(Parameters.of(region, radio.data_rates[-1] if region is US915 else 5), **changes)
    return before, obey(before, commands, Circumstances(radio, version, 200, snr_db))


def link_adr(data_rate=5, tx_power=0, ch_mask=7, ch_mask_cntl=0, nb_trans=1):
    return mac.LinkADRReq(data_rate, tx_power, ch_mask, ch_mask_cntl, nb_trans)


# --- LinkADRReq ---------------------------------------------------------------------------------------------------


def test_data_rate_power_repetitions_and_channels():
    _, obeyed = told(link_adr(3, 4, 0b101, 0, 2))
    assert obeyed.answers == (mac.LinkADRAns(ch_mask_ack=True, data_rate_ack=True, tx_power_ack=True),)
    after = obeyed.parameters
    assert (after.data_rate, after.tx_power, after.nb_trans, after.enabled) == (3, 4, 2, {0, 2})


@pytest.mark.parametrize(
    ("request_", "acks"),
    [
        (link_adr(ch_mask=0b1000), (False, True, True)),  # channel 3 is not defined
        (link_adr(ch_mask=0), (False, True, True)),  # no channel left
        (link_adr(ch_mask_cntl=5), (False, True, True)),  # reserved
        (link_adr(7), (True, False, True)),  # FSK: these devices have none
        (link_adr(6), (True, False, True)),  # 250 kHz: no default channel carries it
        (link_adr(14), (True, False, True)),
        (link_adr(5, 8), (True, True, False)),  # TXPower 8 is reserved
        (link_adr(14, 9, 0b1000), (False, False, False)),
    ],
)
def test_what_cannot_be_done_leaves_everything_as_it_is(request_, acks):
    before, obeyed = told(request_)
    assert obeyed.parameters == before
    assert obeyed.answers == (mac.LinkADRAns(*acks),)
    assert obeyed.refused == (request_,)


@pytest.mark.parametrize("version", MacVersion)
def test_fifteen_keeps_data_rate_and_power_since_1_0_4(version):
    before, obeyed = told(link_adr(mac.KEEP, mac.KEEP, 0b1), version=version, data_rate=2, tx_power=3)
    keeps = version >= V1_0_4
    assert (obeyed.parameters.data_rate, obeyed.parameters.tx_power) == (2, 3)
    assert (obeyed.parameters.enabled == {0}) is keeps
    assert (obeyed.parameters == before) is not keeps


@pytest.mark.parametrize("version", MacVersion)
def test_contiguous_ones_are_one_since_1_0_2(version):
    # US915: all off but the channels 8 to 15 and 65; alone, the first would leave none that carries DR3.
    block = (link_adr(3, 0, 0b10, 7), link_adr(3, 0, 0xFF00, 0))
    _, obeyed = told(*block, region=US915, version=version, data_rate=3)
    assert len(obeyed.answers) == 2
    if version >= MacVersion.V1_0_2:
        assert set(obeyed.answers) == {mac.LinkADRAns(True, True, True)}
        assert obeyed.parameters.enabled == {*range(8, 16), 65}
    else:
        assert obeyed.answers[0] == mac.LinkADRAns(True, False, True)
        assert obeyed.parameters.enabled == {*range(8, 72)}, "the second one alone"


def test_two_blocks_in_one_frame_are_two():
    _, obeyed = told(link_adr(3), mac.DevStatusReq(), link_adr(14))
    assert obeyed.parameters.data_rate == 3
    assert [type(answer) for answer in obeyed.answers] == [mac.LinkADRAns, mac.DevStatusAns, mac.LinkADRAns]
    assert len(obeyed.refused) == 1


# --- the others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (mac.RXParamSetupReq(2, 3, 869_525_000), mac.RXParamSetupAns(True, True, True)),
        (mac.RXParamSetupReq(6, 3, 869_525_000), mac.RXParamSetupAns(True, True, False)),
        (mac.RXParamSetupReq(2, 9, 869_525_000), mac.RXParamSetupAns(True, False, True)),
        (mac.RXParamSetupReq(2, 3, 915_000_000), mac.RXParamSetupAns(False, True, True)),
    ],
)
def test_rx_param_setup(request_, answer):
    before, obeyed = told(request_)
    assert obeyed.answers == (answer,)
    taken = answer == mac.RXParamSetupAns(True, True, True)
    assert (obeyed.parameters == before) is not taken
    if taken:
        assert (obeyed.parameters.rx1_dr_offset, obeyed.parameters.rx2) == (2, ReceiveWindow(869_525_000, 3))


@pytest.mark.parametrize(
    ("request_", "acks"),
    [
        (mac.NewChannelReq(3, 867_100_000, 0, 5), (True, True)),
        (mac.NewChannelReq(2, 867_100_000, 0, 5), (False, False)),  # a default channel stays what it is
        (mac.NewChannelReq(16, 867_100_000, 0, 5), (False, False)),
        (mac.NewChannelReq(3, 915_000_000, 0, 5), (False, True)),
        (mac.NewChannelReq(3, 867_100_000, 4, 2), (True, False)),
        (mac.NewChannelReq(3, 867_100_000, 0, 7), (True, False)),  # FSK
    ],
)
def test_new_channel(request_, acks):
    before, obeyed = told(request_)
    assert obeyed.answers == (mac.NewChannelAns(*acks),)
    if all(acks):
        assert obeyed.parameters.channels[3] == DeviceChannel(867_100_000, range(6))
        assert obeyed.parameters.enabled == {0, 1, 2, 3}
    else:
        assert obeyed.parameters == before


def test_a_channel_goes_when_its_frequency_is_zero():
    _, obeyed = told(mac.NewChannelReq(3, 867_100_000, 0, 5), mac.NewChannelReq(3, 0, 0, 0))
    assert sorted(obeyed.parameters.channels) == [0, 1, 2]
    assert obeyed.parameters.enabled == {0, 1, 2}


def test_a_downlink_channel_of_its_own():
    _, obeyed = told(mac.DlChannelReq(1, 869_525_000))
    assert obeyed.answers == (mac.DlChannelAns(True, True),)
    assert obeyed.parameters.channels[1].rx1_frequency_hz == 869_525_000
    for request, acks in ((mac.DlChannelReq(5, 869_525_000), (True, False)), (mac.DlChannelReq(1, 0), (False, True))):
        before, obeyed = told(request)
        assert obeyed.answers == (mac.DlChannelAns(*acks),)
        assert obeyed.parameters == before


def test_what_a_fixed_plan_does_not_have_is_passed_over_in_silence():
    commands = (mac.NewChannelReq(3, 903_100_000, 0, 3), mac.DlChannelReq(1, 923_300_000), mac.TxParamSetupReq(5, 1, 1))
    before, obeyed = told(*commands, region=US915)
    assert obeyed.answers == obeyed.refused == obeyed.messages == ()
    assert obeyed.parameters == before


def test_dwell_time_and_power_limit():
    assert told(mac.TxParamSetupReq(5, False, False))[1].answers == (), "EU868 has none"
    before, obeyed = told(mac.TxParamSetupReq(0, True, False), region=AS923, data_rate=0, uplink_dwell=False)
    assert obeyed.answers == (mac.TxParamSetupAns(),)
    after = obeyed.parameters
    assert (after.uplink_dwell, after.downlink_dwell, after.max_eirp_dbm) == (True, False, 8)
    assert (before.data_rate, after.data_rate) == (0, 2), "RP002-1.0.4, 2.10.6: with dwell time nothing below DR2"


@pytest.mark.parametrize(("snr_db", "margin_db"), [(7.4, 7), (-7.6, -8), (-50.0, -32), (40.0, 31)])
def test_dev_status(snr_db, margin_db):
    assert told(mac.DevStatusReq(), snr_db=snr_db)[1].answers == (mac.DevStatusAns(200, margin_db),)


def test_what_cannot_be_refused():
    _, obeyed = told(
        mac.RXTimingSetupReq(0),
        mac.DutyCycleReq(7),
        mac.ADRParamSetupReq(limit_exp=3, delay_exp=2),
        mac.RejoinParamSetupReq(max_time_n=1, max_count_n=2),
        version=V1_1,
    )
    after = obeyed.parameters
    assert (after.rx1_delay_us, after.max_duty_cycle) == (1_000_000, 7)
    assert (after.adr_ack_limit, after.adr_ack_delay) == (8, 4)
    # LoRaWAN 1.1, 5.13: 2**(T + 10) seconds, 2**(C + 4) frames.
    assert (after.rejoin_every_us, after.rejoin_every_frames) == (2_048_000_000, 64)
    assert obeyed.answers == (
        mac.RXTimingSetupAns(),
        mac.DutyCycleAns(),
        mac.ADRParamSetupAns(),
        mac.RejoinParamSetupAns(time_ok=True),
    )


def test_answers_of_the_network_are_for_others_to_read():
    messages = (mac.LinkCheckAns(1, 1), mac.DeviceTimeAns(1, 1), mac.RekeyConf(), mac.ForceRejoinReq(0, 0, 0, 0))
    before, obeyed = told(*messages)
    assert (obeyed.parameters, obeyed.answers, obeyed.messages) == (before, (), messages)


def test_class_b_is_nothing_for_these_devices():
    commands = (mac.PingSlotChannelReq(869_525_000, 3), mac.BeaconFreqReq(0), mac.BeaconTimingAns(0, 0))
    before, obeyed = told(*commands)
    assert (obeyed.parameters, obeyed.answers, obeyed.messages) == (before, (), ())


FREQUENCIES_HZ = st.integers(0, 10**7).map(lambda steps: 100 * steps)
COMMANDS = st.one_of(
    st.builds(link_adr, st.integers(0, 15), st.integers(0, 15), st.integers(0, 65_535), st.integers(0, 7)),
    st.builds(mac.NewChannelReq, st.integers(0, 255), FREQUENCIES_HZ, st.integers(0, 15), st.integers(0, 15)),
    st.builds(mac.TxParamSetupReq, st.integers(0, 15), st.booleans(), st.booleans()),
    st.builds(mac.DlChannelReq, st.integers(0, 80), st.sampled_from([0, 869_525_000, 923_400_000])),
)
ANSWERS = st.sampled_from([mac.DevStatusAns(1, 1), mac.DutyCycleAns(), mac.LinkADRAns(True, True, True)])


@settings(deadline=None, max_examples=120)
@given(region=st.sampled_from(list(REGIONS.values())), version=st.sampled_from(MacVersion), commands=st.lists(COMMANDS))
def test_whatever_a_device_is_told_it_can_still_send(region, version, commands):
    radio = Radio(region)
    slowest = Parameters.of(region, radio.data_rates[0])
    before = radio.nearest_usable(slowest)
    after = obey(before, commands, Circumstances(radio, version, 200, 0.0)).parameters
    assert after.enabled <= after.channels.keys()
    # A network can take away the last channel that it gave: then the device goes back to the default ones.
    back = radio.nearest_usable(after.with_defaults(region))
    assert radio.usable(back, back.data_rate)
    for channel in after.channels.values():
        assert radio.may_send(channel.frequency_hz)


# --- what a device does by itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("region", REGIONS.values(), ids=list(REGIONS))
def test_backing_off_ends_at_the_slowest_data_rate_with_all_channels(region):
    radio = Radio(region)
    start = radio.nearest_usable(Parameters.of(region, radio.data_rates[-1]))
    parameters, uplinks = replace(start, tx_power=2, enabled=frozenset(sorted(start.enabled)[-1:])), 0
    parameters = radio.nearest_usable(parameters)
    while uplinks < 1_000:
        parameters = backed_off(radio, parameters, uplinks)
        assert radio.usable(parameters, parameters.data_rate)
        uplinks += 1
    assert not wants_answer(radio, parameters, uplinks)
    assert parameters.tx_power == 0
    assert parameters.enabled == frozenset(range(len(region.channels)))
    assert radio.next_slower(parameters) is None


@settings(deadline=None, max_examples=100)
@given(
    size=st.one_of(st.none(), st.integers(0, 242)),
    answers=st.lists(
        st.sampled_from([mac.DevStatusAns(1, 1), mac.DutyCycleAns(), mac.LinkADRAns(1, 1, 1)]), max_size=20
    ),
    room=st.integers(0, 242),
    payload_first=st.booleans(),
)
def test_a_frame_never_has_more_than_its_room(size, answers, room, payload_first):
    measure = None if size is None else Measure(3, bytes(size))
    composed = compose(measure, answers, room, payload_first=payload_first)
    assert len(composed.payload) + len(composed.f_opts) <= room
    assert len(composed.f_opts) <= 15
    assert not (composed.f_port == 0 and composed.f_opts)
    assert list(composed.commands) == answers[: len(composed.commands)]
    if measure is not None and composed.with_report and not composed.too_long:
        assert (composed.f_port, composed.payload) == (3, measure.payload)
