"""Basics Station's messages. Sources: station_samples.py."""

from __future__ import annotations

import json

import pytest
import station_samples as samples
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import DevEui, Fsk, GatewayEui, Lora
from gateway.wire import basics_station as wire
from gateway.wire.station_json import MalformedMessage
from gateway.wire.station_names import Xtime, id6, read_id6


def config_with(**changes):
    changed = {**samples.BRIDGE_CONFIG, "NetID": None, "JoinEui": None, **changes}
    return wire.read(json.dumps({key: value for key, value in changed.items() if value != "absent"}))


EVERYTHING = config_with()


def reception(**changes):
    known = {"data_rate": 5, "frequency_hz": 868_100_000, "rctx": 0, "xtime": 53198770868251602, "gps_time_us": None}
    known |= {"fine_time_ns": None, "rssi_dbm": -50.0, "snr_db": 9.0, "rx_time_s": 1795394129.839588}
    return wire.Reception(**known | changes)


# --- names ---


@pytest.mark.parametrize(("written", "eui"), samples.BRIDGE_ID6)
def test_an_eui_is_read_as_servers_write_it(written, eui):
    assert read_id6(written).hex() == eui


@pytest.mark.parametrize(("written", "eui"), [*samples.BRIDGE_ID6[:5], ("16:c001:f150:812", "0016c001f1500812")])
def test_a_gateways_eui_is_written_as_station_does(written, eui):
    assert id6(GatewayEui.parse(eui)) == written


@settings(deadline=None, max_examples=100)
@given(eui=st.lists(st.sampled_from([bytes(2), b"\0\1", b"\xff\xff"]), min_size=4, max_size=4).map(b"".join))
def test_every_eui_comes_back(eui):
    assert read_id6(id6(GatewayEui(eui))) == eui


@pytest.mark.parametrize("written", ["", "::", ":", "1:2:3", "1:2:3:4:5", "1::2::3", "12345::1", "g::1", "1:2::3:4:5"])
def test_what_is_no_eui_is_refused(written):
    if written == "::":
        assert read_id6(written) == bytes(8)
        return
    with pytest.raises(ValueError):
        read_id6(written)


def test_an_xtime_has_three_parts():
    """From a running Station: unit 0, session 0xBD, and 2 000 000 µs and some since the radio began."""
    value = samples.STATION_DNMSG["xtime"]
    assert int(Xtime.of(value)) == value
    assert Xtime.of(value) == Xtime(0, value >> 48 & 0xFF, value % (1 << 48))
    assert Xtime.of(samples.TTS_DNMSG_A["xtime"]) == Xtime(0, 0x11, 1_552_300_787)


# --- finding the server ---


def test_the_router_query_and_its_answers():
    assert wire.router_query(GatewayEui.parse("0016c001f1500812")) == b'{"router":"16:c001:f150:812"}'
    answer = '{"router":"16:c001:f150:812","muxs":"::0","uri":"wss://lns.example:8887/router-16c001f1500812"}'
    assert wire.read_router(answer) == wire.Router("wss://lns.example:8887/router-16c001f1500812")
    assert wire.read_router('{"router":"::1","error":"not\\u0007 here"}') == wire.Rejected("not� here")


@pytest.mark.parametrize(
    "answer", ["", "[]", "{}", '{"uri":7}', '{"uri":"http://lns.example/"}', '{"uri":"wss://"}', '{"uri":"wss://a b/"}']
)
def test_an_answer_that_leads_nowhere_is_refused(answer):
    with pytest.raises(MalformedMessage):
        wire.read_router(answer)


# --- what a frame becomes ---


@pytest.mark.parametrize(("phy", "fields"), samples.LORA_SELFTEST)
def test_a_frame_reads_as_in_stations_own_selftest(phy, fields):
    written = wire.write_uplink(phy, reception(), EVERYTHING)
    assert written.decode().startswith("{" + fields + ",")


@pytest.mark.parametrize("phy", samples.LORA_SELFTEST_REFUSED)
def test_a_frame_that_stations_selftest_refuses_is_refused(phy):
    assert wire.write_uplink(phy, reception(), EVERYTHING) is wire.Unsent.MALFORMED


@pytest.mark.parametrize(("phy", "fields"), samples.BRIDGE_UPLINKS)
def test_a_frame_is_what_chirpstacks_bridge_builds_it_from(phy, fields):
    phy = bytes.fromhex(phy)
    if phy[0] == 0xE1:  # the bridge takes any bytes as proprietary; on the air Major has to be 0
        phy, fields = b"\xe0" + phy[1:], {"FRMPayload": "E0020304"}
    written = json.loads(wire.write_uplink(phy, reception(), EVERYTHING))
    assert fields.items() <= written.items()


def test_the_tail_is_that_of_a_running_station():
    written = json.loads(wire.write_uplink(samples.LORA_SELFTEST[2][0], reception(), EVERYTHING))
    assert samples.STATION_UPDF_TAIL.items() <= written.items()
    assert list(written["upinfo"]) == list(samples.STATION_UPDF_TAIL["upinfo"])


def test_gps_and_fine_time_are_told_where_they_are_known():
    heard = reception(gps_time_us=1_479_429_347_839_588, fine_time_ns=839_588_123, snr_db=None)
    written = json.loads(wire.write_uplink(samples.LORA_SELFTEST[2][0], heard, EVERYTHING))["upinfo"]
    assert (written["gpstime"], written["fts"], written["snr"]) == (1_479_429_347_839_588, 839_588_123, 0.0)


@settings(deadline=None, max_examples=100)
@given(
    mhdr=st.sampled_from([0x40, 0x80]),
    f_opts=st.binary(max_size=15),
    rest=st.one_of(st.just(b""), st.binary(min_size=1, max_size=60)),
    head=st.binary(min_size=7, max_size=7),
    mic=st.binary(min_size=4, max_size=4),
)
def test_the_frame_can_be_put_together_again(mhdr, f_opts, rest, head, mic):
    """The recipe of the protocol's own page: MHdr, DevAddr, FCtrl, FCnt, FOpts, port and payload, MIC."""
    head = head[:4] + bytes([head[4] & 0xF0 | len(f_opts)]) + head[5:]
    phy = bytes([mhdr]) + head + f_opts + rest + mic
    said = json.loads(wire.write_uplink(phy, reception(), EVERYTHING))
    again = bytes([said["MHdr"]]) + (said["DevAddr"] & 0xFFFF_FFFF).to_bytes(4, "little") + bytes([said["FCtrl"]])
    again += said["FCnt"].to_bytes(2, "little") + bytes.fromhex(said["FOpts"])
    if said["FPort"] >= 0:
        again += bytes([said["FPort"]]) + bytes.fromhex(said["FRMPayload"])
    assert again + (said["MIC"] & 0xFFFF_FFFF).to_bytes(4, "little") == phy


@pytest.mark.parametrize(
    ("phy", "why"),
    [
        (b"", wire.Unsent.MALFORMED),
        (b"\x60" + bytes(11), wire.Unsent.NOT_UPLINK),
        (b"\xa0" + bytes(11), wire.Unsent.NOT_UPLINK),
        (b"\x20" + bytes(16), wire.Unsent.NOT_UPLINK),
        (b"\xc0" + bytes(18), wire.Unsent.REJOIN),
        (b"\xc0" + bytes(23), wire.Unsent.REJOIN),
        (b"\x44" + bytes(11), wire.Unsent.MALFORMED),
    ],
)
def test_what_the_server_is_not_told_has_a_reason(phy, why):
    assert wire.write_uplink(phy, reception(), EVERYTHING) is why


def test_a_rejoin_of_the_length_the_protocol_knows_is_told():
    phy = b"\xc0" + samples.LORA_SELFTEST[1][0][1:]
    said = json.loads(wire.write_uplink(phy, reception(), config_with(JoinEui="absent", JoinEUI=None)))
    assert (said["msgtype"], said["MHdr"]) == ("rejoin", 0xC0)
    assert said["JoinEUI"] == "EF-CD-AB-89-67-45-23-01"


# --- filters ---


def test_join_euis_pass_as_in_stations_selftest():
    phy, eui = samples.LORA_SELFTEST[1][0], samples.LORA_SELFTEST_JOIN_EUI
    outside, inside = config_with(JoinEui=[[eui - 1, eui - 1]]), config_with(JoinEui=[[eui - 1, eui]])
    assert wire.write_uplink(phy, reception(), outside) is wire.Unsent.JOIN_EUI
    assert json.loads(wire.write_uplink(phy, reception(), inside))["msgtype"] == "jreq"
    everything = config_with(JoinEui=[[0, (1 << 64) - 1]])
    assert everything.wants_join_eui(0)
    assert everything.wants_join_eui(eui)


@pytest.mark.parametrize(
    ("net_ids", "dev_addr", "passes"),
    [
        ([0], 0x01020304, True),  # seen at a running Station
        ([0], 0x26011234, False),  # seen at a running Station
        ([0x13], 0x26011234, True),  # The Things Network
        ([0xC00053], 0xFC014C01, True),  # type 6: Station loses these
        ([0xC00053], 0xFC014801, False),
        ([0xC00053], 0x53000000 << 1 & 0xFFFFFFFF, False),  # what Station lets through instead
        ([0, 0x13], 0x26011234, True),
        ([], 0x01020304, False),
        (None, 0x01020304, True),
    ],
)
def test_networks_pass_by_the_prefix_of_their_type(net_ids, dev_addr, passes):
    phy = b"\x40" + dev_addr.to_bytes(4, "little") + bytes(7)
    said = wire.write_uplink(phy, reception(), config_with(NetID=net_ids))
    assert (said is not wire.Unsent.NET_ID) is passes


# --- router_config ---


def test_the_bridges_configuration_is_understood():
    config = wire.read(json.dumps(samples.BRIDGE_CONFIG))
    assert [channel.frequency_hz for channel in config.plan.channels] == samples.BRIDGE_CHANNELS_HZ
    assert config.region == "EU863"
    assert config.net_ids == (66051,)
    assert config.join_euis == ((0, 72623859790382856),)
    assert config.frequency_range_hz == (863_000_000, 870_000_000)
    assert config.data_rates[:8] == (
        *(Lora(sf, 125_000) for sf in range(12, 6, -1)),
        Lora(7, 250_000),
        Fsk(50_000, 25_000),
    )
    assert config.data_rates[8:] == (None,) * 8


def test_each_data_rate_of_the_region_is_found_again():
    for index, modulation in enumerate(EVERYTHING.data_rates[:8]):
        assert EVERYTHING.data_rate_of(modulation) == index
    assert EVERYTHING.data_rate_of(Lora(6, 125_000)) is None


def test_a_data_rate_that_stands_twice_is_the_first_and_never_one_for_downlinks():
    config = config_with(region="US902", DRs=samples.US915_DRS)
    assert config.data_rate_of(Lora(8, 500_000)) == 4
    assert config.data_rate_of(Lora(12, 500_000)) is None
    assert config.data_rates[8] == Lora(12, 500_000)


def test_channels_can_be_named_instead():
    named = [[868_100_000, 0, 5], [868_300_000, 6, 6], [868_800_000, 7, 7]]
    plan = config_with(upchannels=named, sx1301_conf="absent").plan
    assert [(channel.frequency_hz, channel.bandwidth_hz) for channel in plan.channels] == [
        (868_100_000, 125_000),
        (868_300_000, 250_000),
        (868_800_000, 125_000),
    ]
    assert plan.hears(868_140_000)
    assert not plan.hears(868_000_000)


def _radio(**channels):
    return [{"radio_0": {"enable": True, "freq": 868_500_000}, "radio_1": {"enable": False}} | channels]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hwspec": "sx1301/2"}, "several concentrators"),
        ({"hwspec": "nonsense"}, "hwspec"),
        ({"hwspec": "absent"}, "hwspec"),
        ({"sx1301_conf": "absent"}, "neither"),
        ({"sx1301_conf": samples.BRIDGE_CONFIG["sx1301_conf"] * 2}, "2 concentrators"),
        ({"upchannels": [[867_100_000 + 200_000 * n, 0, 5] for n in range(11)]}, "11 channels"),
        ({"upchannels": [[868_100_000, 0, 16]]}, "no channel"),
        ({"sx1301_conf": _radio(chan_multiSF_8={"enable": True, "radio": 0, "if": 0})}, "chan_multiSF_8"),
        ({"sx1301_conf": _radio(chan_multiSF_0={"enable": True, "radio": 1, "if": 0})}, "radio_1 is off"),
        ({"sx1301_conf": _radio(chan_multiSF_0={"enable": True, "radio": 0, "if": 600_000})}, "none of the two"),
        ({"sx1301_conf": _radio()}, "no channel"),
        ({"sx1301_conf": _radio(chan_Lora_std={"enable": True, "radio": 0, "if": 0})}, "chan_Lora_std"),
        ({"DRs": []}, "no data rate"),
        ({"DRs": [[13, 125, 0]]}, "no data rate"),
        ({"DRs": samples.EU868_DRS * 2}, "at most 16"),
        ({"freq_range": [870, 863]}, "freq_range"),
        ({"NetID": [1 << 24]}, "NetID"),
        ({"JoinEui": [[1]]}, "JoinEui"),
        ({"region": 7}, "region"),
        ({"max_eirp": "16"}, "max_eirp"),
    ],
)
def test_a_configuration_this_gateway_cannot_follow_is_refused_with_the_reason(changes, words):
    with pytest.raises(MalformedMessage, match=words):
        config_with(**changes)


def test_test_switches_are_seen():
    assert config_with(nodc=True, nocca=False).test_switches == {"nodc"}


# --- downlinks ---


def test_a_class_a_downlink_has_two_windows():
    found = wire.read(json.dumps(samples.BRIDGE_DNMSG_A))
    assert found == wire.Dnmsg(
        diid=1234,
        dev_eui=DevEui(b"\1" * 8),
        device_class="A",
        pdu=b"\1\2\3\4",
        priority=1,
        rctx=3,
        xtime=4,
        rx1=wire.Place(2, 868_100_000),
        rx2=wire.Place(1, 868_200_000),
    )


def test_the_other_classes():
    b, c = wire.read(json.dumps(samples.BRIDGE_DNMSG_B)), wire.read(json.dumps(samples.BRIDGE_DNMSG_C))
    assert (b.device_class, b.ping, b.gps_time_us) == ("B", wire.Place(2, 868_100_000), 1_000_000)
    assert (c.device_class, c.rx1, c.rx2) == ("C", None, wire.Place(2, 868_100_000))
    assert wire.read(json.dumps(samples.BRIDGE_DNMSG_FSK)).rx1 == wire.Place(7, 868_100_000)


def test_a_downlink_of_the_things_stack_keeps_its_xtime_to_the_microsecond():
    found = wire.read(json.dumps(samples.TTS_DNMSG_A))
    assert found.xtime == samples.TTS_DNMSG_A["xtime"]
    assert found.mux_time_s == 1554300787.123456


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pdu": "xy"}, "hex"),
        ({"pdu": ""}, "1 to 255"),
        ({"pdu": "00" * 300}, "300 bytes"),
        ({"pdu": None}, "pdu"),
        ({"dC": 3}, "dC"),
        ({"xtime": None}, "xtime"),
        ({"xtime": 5.5}, "xtime"),
        ({"xtime": -1}, "xtime"),
        ({"RX1Freq": None}, "RX1DR without"),
        ({"RX1DR": None}, "RX1DR"),
        ({"RX1DR": 16}, "RX1DR"),
        ({"RX1DR": True}, "RX1DR"),
        ({"RxDelay": 16}, "RxDelay"),
        ({"DevEui": "1-2"}, "DevEui"),
        ({"diid": "one"}, "diid"),
        ({"RX1DR": None, "RX1Freq": None, "RX2DR": None, "RX2Freq": None}, "neither RX1 nor RX2"),
        ({"dC": 1}, "class B"),
    ],
)
def test_a_downlink_that_cannot_be_is_refused_with_the_reason(changes, words):
    with pytest.raises(MalformedMessage, match=words):
        wire.read(json.dumps(samples.BRIDGE_DNMSG_A | changes))


def test_a_delay_of_0_and_none_at_all_are_one_second():
    for changes in ({"RxDelay": 0}, {"RxDelay": None}):
        assert wire.read(json.dumps(samples.BRIDGE_DNMSG_A | changes)).rx_delay_s == 1


def test_old_servers_call_it_seqno():
    old = {key: value for key, value in samples.BRIDGE_DNMSG_A.items() if key != "diid"} | {"seqno": 7}
    assert wire.read(json.dumps(old)).diid == 7


def test_a_schedule_keeps_what_can_be_read():
    place = {"DR": 3, "Freq": 869_525_000, "pdu": "01"}
    schedule = [place | {"ontime": 1.5}, place | {"gpstime": 7}, place | {"xtime": 9}, place, {}, 7]
    found = wire.read(json.dumps({"msgtype": "dnsched", "schedule": schedule}))
    assert [(entry.gps_time_us, entry.xtime) for entry in found.entries] == [(1_500_000, None), (7, None), (None, 9)]
    assert len(found.faults) == 3


def test_what_was_on_the_air_is_told_as_station_tells_it():
    dnmsg = wire.read(json.dumps(samples.STATION_DNMSG))
    said = wire.write_dntxed(
        dnmsg, dnmsg.rx1, rctx=0, xtime=dnmsg.xtime + 1_000_000, tx_time_s=1304.685707, gps_time_us=None
    )
    assert said.decode() == samples.STATION_DNTXED


# --- the rest ---


def test_the_version_is_said_as_station_says_it():
    said = wire.write_version("2.0.6(linux/std)", package=None, model="linux", features="rmtsh gps")
    assert said.decode() == samples.STATION_VERSION


def test_time_is_asked_and_told():
    assert wire.write_timesync(71_000) == b'{"msgtype":"timesync","txtime":71000}'
    assert wire.read('{"msgtype":"timesync","txtime":71000,"gpstime":5,"MuxTime":9.5}') == wire.Timesync(
        71_000, None, 5, 9.5
    )
    assert wire.read('{"msgtype":"getxtime"}') == wire.GetXtime()
    said = json.loads(wire.write_getxtime((53198770868251602,), mono_s=1.5, utc_s=2.5, mux_time_s=0.0))
    assert said["xtimes"] == [53198770868251602, 0, 0, 0]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            '{"msgtype":"runcmd","command":"/bin/sh","arguments":["-c","reboot"]}',
            wire.RemoteCode("runcmd", "/bin/sh -c reboot"),
        ),
        ('{"msgtype":"rmtsh","user":"root","start":1}', wire.RemoteCode("rmtsh", "a shell for root")),
        ('{"msgtype":"error","error":"bad"}', wire.ServerWords("error", "bad")),
        ('{"error":"bad"}', wire.ServerWords("error", "bad")),
        ('{"msgtype":"alarm","text":"hot"}', wire.ServerWords("alarm", "hot")),
        ('{"msgtype":"sitespecific"}', wire.Unknown("sitespecific")),
    ],
)
def test_other_messages(said, found):
    assert wire.read(said) == found


@pytest.mark.parametrize("said", ["", "{", "[]", "7", '{"msgtype":7}', "{}", '{"a":' * 2000, "x" * 40_001])
def test_what_is_no_message_is_refused(said):
    with pytest.raises(MalformedMessage):
        wire.read(said)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(
    message=st.sampled_from(
        [
            samples.BRIDGE_CONFIG,
            samples.BRIDGE_DNMSG_A,
            samples.BRIDGE_DNMSG_B,
            samples.BRIDGE_DNMSG_C,
            {"msgtype": "dnsched", "schedule": [{"DR": 1, "Freq": 868_100_000, "pdu": "00", "xtime": 5}]},
            {"msgtype": "timesync", "txtime": 1, "gpstime": 2},
            {"msgtype": "runcmd"},
            {"msgtype": "rmtsh"},
        ]
    ),
    data=st.data(),
)
def test_a_hostile_value_anywhere_costs_only_its_message(message, data):
    key = data.draw(st.sampled_from(sorted(message)))
    said = json.dumps(message | {key: data.draw(_VALUES)})
    words = ""
    try:
        wire.read(said)
    except MalformedMessage as fault:
        words = str(fault)
    assert words == "" or words.isprintable()


@settings(deadline=None, max_examples=100)
@given(phy=st.binary(max_size=60))
def test_any_bytes_have_an_answer(phy):
    assert isinstance(wire.write_uplink(phy, reception(), EVERYTHING), bytes | wire.Unsent)
