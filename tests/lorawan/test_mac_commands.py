"""MAC commands against what others publish, and against bytes of any kind.

Sources: chirpstack/chirpstack at d77207c (2026-07-23), lrwn/src/maccommand.rs, tests; the go module
github.com/brocaar/lorawan at a18a103 (2024-05-07), mac_commands_test.go and mac_command_payload_test.go. Where both
have an example, it is listed once. 4,509 random commands of all kinds were read and written by brocaar/lorawan as well,
without a difference in what it takes; it refuses a Minor above 7 and a rejoin type that is not defined, and does not
know BeaconTimingAns.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lorawan import mac_commands as mac
from gateway.lorawan.mac_commands import (
    DOWNLINK_COMMANDS,
    UPLINK_COMMANDS,
    MacCommand,
    MalformedCommand,
    read_downlink_commands,
    read_uplink_commands,
    size_of,
    write_commands,
)
from gateway.model import MacVersion

UP = [
    (mac.ResetInd(minor=1), "0101"),
    (mac.LinkCheckReq(), "02"),
    (mac.LinkADRAns(ch_mask_ack=True, data_rate_ack=False, tx_power_ack=False), "0301"),
    (mac.LinkADRAns(ch_mask_ack=False, data_rate_ack=True, tx_power_ack=False), "0302"),
    (mac.LinkADRAns(ch_mask_ack=False, data_rate_ack=False, tx_power_ack=True), "0304"),
    (mac.LinkADRAns(ch_mask_ack=True, data_rate_ack=True, tx_power_ack=True), "0307"),
    (mac.DutyCycleAns(), "04"),
    (mac.RXParamSetupAns(channel_ack=True, rx2_data_rate_ack=False, rx1_dr_offset_ack=False), "0501"),  # brocaar
    (mac.RXParamSetupAns(channel_ack=False, rx2_data_rate_ack=True, rx1_dr_offset_ack=False), "0502"),  # brocaar
    (mac.RXParamSetupAns(channel_ack=True, rx2_data_rate_ack=False, rx1_dr_offset_ack=True), "0505"),
    (mac.DevStatusAns(battery=0, margin_db=-30), "060022"),
    (mac.DevStatusAns(battery=255, margin_db=30), "06ff1e"),
    (mac.DevStatusAns(battery=127, margin_db=-1), "067f3f"),
    (mac.DevStatusAns(battery=127, margin_db=0), "067f00"),
    (mac.NewChannelAns(channel_frequency_ok=False, data_rate_range_ok=False), "0700"),
    (mac.NewChannelAns(channel_frequency_ok=True, data_rate_range_ok=False), "0701"),
    (mac.NewChannelAns(channel_frequency_ok=False, data_rate_range_ok=True), "0702"),
    (mac.NewChannelAns(channel_frequency_ok=True, data_rate_range_ok=True), "0703"),
    (mac.RXTimingSetupAns(), "08"),
    (mac.TxParamSetupAns(), "09"),
    (mac.DlChannelAns(channel_frequency_ok=True, uplink_frequency_exists=False), "0a01"),
    (mac.DlChannelAns(channel_frequency_ok=False, uplink_frequency_exists=True), "0a02"),
    (mac.RekeyInd(minor=1), "0b01"),
    (mac.ADRParamSetupAns(), "0c"),
    (mac.DeviceTimeReq(), "0d"),
    (mac.RejoinParamSetupAns(time_ok=True), "0f01"),
    (mac.PingSlotInfoReq(periodicity=3), "1003"),
    (mac.PingSlotChannelAns(channel_frequency_ok=False, data_rate_ok=True), "1102"),
    (mac.PingSlotChannelAns(channel_frequency_ok=True, data_rate_ok=False), "1101"),
    (mac.BeaconTimingReq(), "12"),  # brocaar: the length
    (mac.BeaconFreqAns(beacon_frequency_ok=True), "1301"),
    (mac.DeviceModeInd(device_class=mac.CLASS_A), "2000"),
    (mac.DeviceModeInd(device_class=mac.CLASS_C), "2002"),
]

DOWN = [
    (mac.ResetConf(minor=1), "0101"),
    (mac.LinkCheckAns(margin_db=10, gateways=15), "020a0f"),
    (mac.LinkCheckAns(margin_db=123, gateways=234), "027bea"),  # brocaar
    (mac.LinkADRReq(data_rate=1, tx_power=2, ch_mask=0x0004, ch_mask_cntl=4, nb_trans=5), "0312040045"),
    (mac.DutyCycleReq(max_duty_cycle=13), "040d"),
    (mac.RXParamSetupReq(rx1_dr_offset=3, rx2_data_rate=11, frequency_hz=26_265_700), "053b010204"),
    (mac.DevStatusReq(), "06"),
    (mac.NewChannelReq(ch_index=3, frequency_hz=26_265_700, min_data_rate=10, max_data_rate=5), "07030102045a"),
    (mac.RXTimingSetupReq(delay_s=15), "080f"),
    (mac.TxParamSetupReq(max_eirp=15, uplink_dwell=False, downlink_dwell=False), "090f"),
    (mac.TxParamSetupReq(max_eirp=15, uplink_dwell=True, downlink_dwell=False), "091f"),
    (mac.TxParamSetupReq(max_eirp=15, uplink_dwell=False, downlink_dwell=True), "092f"),
    (mac.TxParamSetupReq(max_eirp=7, uplink_dwell=True, downlink_dwell=False), "0917"),  # brocaar
    (mac.DlChannelReq(ch_index=0, frequency_hz=868_100_000), "0a00287684"),
    (mac.DlChannelReq(ch_index=1, frequency_hz=868_200_000), "0a01107a84"),
    (mac.RekeyConf(minor=1), "0b01"),
    (mac.ADRParamSetupReq(limit_exp=10, delay_exp=15), "0caf"),
    (mac.DeviceTimeAns(seconds=1, fraction=0), "0d0100000000"),
    (mac.DeviceTimeAns(seconds=1, fraction=2), "0d0100000002"),
    (mac.ForceRejoinReq(period=3, max_retries=4, rejoin_type=2, data_rate=5), "0e251c"),
    (mac.RejoinParamSetupReq(max_time_n=14, max_count_n=15), "0fef"),
    (mac.PingSlotInfoAns(), "10"),
    (mac.PingSlotChannelReq(frequency_hz=868_100_000, data_rate=5), "1128768405"),
    (mac.BeaconFreqReq(frequency_hz=868_100_000), "13287684"),
    (mac.DeviceModeConf(device_class=mac.CLASS_C), "2002"),
]

_COMMANDS = {*UPLINK_COMMANDS.values(), *DOWNLINK_COMMANDS.values()}


@st.composite
def commands(draw: st.DrawFn, kinds: dict[int, type[MacCommand]]) -> MacCommand:
    kind = draw(st.sampled_from(sorted(kinds.values(), key=lambda kind: kind.cid)))
    return kind.from_body(draw(st.binary(min_size=kind.body_size(), max_size=kind.body_size())))


@pytest.mark.parametrize(("command", "published"), UP, ids=str)
def test_a_device_s_command_has_the_published_bytes(command, published):
    assert command.to_bytes().hex() == published
    assert read_uplink_commands(bytes.fromhex(published)) == ((command,), None)


@pytest.mark.parametrize(("command", "published"), DOWN, ids=str)
def test_a_network_s_command_has_the_published_bytes(command, published):
    assert command.to_bytes().hex() == published
    assert read_downlink_commands(bytes.fromhex(published)) == ((command,), None)


def test_every_command_but_the_clock_of_the_beacon_has_a_published_example():
    shown = {type(command) for command, _ in UP + DOWN}
    assert _COMMANDS - shown == {mac.BeaconTimingAns}


def test_published_streams_read_as_their_commands_in_order():
    assert read_uplink_commands(bytes.fromhex("".join(text for _, text in UP))).commands == tuple(c for c, _ in UP)
    assert read_downlink_commands(bytes.fromhex("".join(text for _, text in DOWN))).commands == tuple(
        c for c, _ in DOWN
    )


def test_reserved_bits_are_ignored_and_not_sent():
    assert read_uplink_commands(b"\x03\xff").commands == (mac.LinkADRAns(True, True, True),)
    assert read_downlink_commands(b"\x08\xf5").commands == (mac.RXTimingSetupReq(5),)
    assert mac.RXTimingSetupReq(5).to_bytes() == b"\x08\x05"


def test_what_stands_before_an_unknown_command_counts():
    stream = read_uplink_commands(bytes.fromhex("02067f3f800307"))
    assert stream.commands == (mac.LinkCheckReq(), mac.DevStatusAns(127, -1))
    assert stream.problem == "a maker's own command 0x80 at byte 4, 3 bytes unread"
    assert read_uplink_commands(b"\x02\x0e").problem == "unknown command 0x0e at byte 1, 1 bytes unread"


def test_what_stands_before_a_command_cut_short_counts():
    stream = read_downlink_commands(bytes.fromhex("060312"))
    assert stream == ((mac.DevStatusReq(),), "LinkADRReq at byte 1 is cut short by 3 bytes")


@pytest.mark.parametrize(
    ("version", "understood"),
    [
        (MacVersion.V1_0_1, 1),
        (MacVersion.V1_0_2, 2),
        (MacVersion.V1_0_3, 3),
        (MacVersion.V1_0_4, 3),
        (MacVersion.V1_1_0, 4),
    ],
)
def test_a_device_stops_at_the_first_command_its_version_does_not_know(version, understood):
    stream = write_commands(
        [mac.DevStatusReq(), mac.TxParamSetupReq(5, True, True), mac.DeviceTimeAns(1, 2), mac.RekeyConf()]
    )
    read = read_downlink_commands(stream, version)
    assert len(read.commands) == understood
    assert (read.problem is None) is (version is MacVersion.V1_1_0)


# LoRaWAN 1.0.4, 5.9: the fraction counts 1/256 s. 1_000_000_000 s after the GPS epoch was 2011-09-14T01:46:25Z.
@pytest.mark.parametrize(
    ("gps_time_us", "body"),
    [
        (0, "0000000000"),
        (1_000_000_000_500_000, "00ca9a3b80"),
        (1_000_000_000_999_999, "00ca9a3bff"),
        (3_906, "0000000000"),
        (3_907, "0000000001"),
    ],
)
def test_device_time_is_gps_time_in_seconds_and_their_256th(gps_time_us, body):
    assert mac.DeviceTimeAns.at(gps_time_us).to_bytes().hex() == "0d" + body


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: mac.LinkADRReq(16, 0, 0, 0, 1), "data_rate 16 does not fit"),
        (lambda: mac.LinkADRReq(0, -1, 0, 0, 1), "tx_power -1 does not fit"),
        (lambda: mac.LinkADRReq(0, 0, 1 << 16, 0, 1), "ch_mask 65536"),
        (lambda: mac.NewChannelReq(3, 867_100_050, 0, 5), "no multiple of 100"),
        (lambda: mac.RXParamSetupReq(0, 0, 1_677_721_600), "it goes from 0 to 1677721500"),
        (lambda: mac.RXTimingSetupReq(16), "delay_s 16"),
        (lambda: mac.DevStatusAns(256, 0), "battery 256"),
        (lambda: mac.DevStatusAns(1, 32), "it goes from -32 to 31"),
        (lambda: mac.LinkCheckAns(256, 1), "margin_db 256"),
    ],
)
def test_a_value_that_fits_no_field_is_refused_with_its_name(make, complaint):
    with pytest.raises(MalformedCommand, match=complaint):
        make()


@settings(deadline=None, max_examples=200)
@given(st.lists(commands(UPLINK_COMMANDS), max_size=8), st.lists(commands(DOWNLINK_COMMANDS), max_size=8))
def test_any_commands_come_back_as_they_were_written(up, down):
    assert read_uplink_commands(write_commands(up)) == (tuple(up), None)
    assert read_downlink_commands(write_commands(down)) == (tuple(down), None)
    assert size_of(up) == len(write_commands(up))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(MacVersion))
def test_any_bytes_are_read_to_the_end_or_to_a_problem(stream, version):
    for commands_read, problem in (read_uplink_commands(stream), read_downlink_commands(stream, version)):
        read = size_of(commands_read)
        assert (problem is None) is (read == len(stream))
        assert read <= len(stream)


@settings(deadline=None, max_examples=100)
@given(st.lists(commands(UPLINK_COMMANDS), min_size=1, max_size=6), st.data())
def test_a_stream_cut_anywhere_keeps_the_whole_commands(sent, data):
    stream = write_commands(sent)
    cut = data.draw(st.integers(0, len(stream)))
    read = read_uplink_commands(stream[:cut]).commands
    assert read == tuple(sent[: len(read)])
    assert size_of(sent[: len(read) + 1]) > cut or read == tuple(sent)
