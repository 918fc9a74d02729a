"""A gateway changes over: what its programs were told is what ours is told, and what is lost is listed."""

from __future__ import annotations

import json

import pytest
from former_gateways import (
    BRIDGE,
    CONCENTRATORD,
    FOLDER,
    FORWARDER,
    SEMTECH,
    STATION,
    file,
    imported,
    of,
    verdict,
    why,
)

from gateway.errors import SettingsError, UsageError
from gateway.settings import Prefix
from gateway.settings.importing import InlineSecret, SecretCopy

GW = "gateway_conf"

# --- each program, whole ----------------------------------------------------------------------------------------------


def test_a_packet_forwarder_changes_over():
    found = imported(file("global_conf.json", SEMTECH))
    assert found.values == {
        ("gateway", "eui"): "0016c001f1500812",
        ("gateway", "region"): "EU868",
        ("gateway", "latitude"): 43.6119,
        ("gateway", "longitude"): 3.8772,
        ("gateway", "altitude_m"): 57.0,
        ("network", "extra_channels"): [867_100_000, 867_300_000, 867_500_000, 867_700_000],
        ("radio", "type"): "packet-forwarder",
        ("radio", "listen"): "127.0.0.1:1700",
        ("lns", "lns-example-org", "type"): "semtech-udp",
        ("lns", "lns-example-org", "server"): "lns.example.org:1700",
        ("lns", "lns-example-org", "keepalive"): "5s",
        ("lns", "lns-example-org", "stat_interval"): "60s",
    }
    assert verdict(found).problems == ()
    assert {problem.key for problem in found.left_out} == {
        "SX130x_conf",
        "gateway_conf.gps_tty_path",
        "gateway_conf.autoquit_threshold",
        "debug_conf",
    }


def test_the_chip_itself_changes_over_with_its_board_bus_and_antenna():
    found = imported(file("global_conf.json", SEMTECH), radio="libloragw")
    assert {path[1]: value for path, value in found.values.items() if path[0] == "radio"} == {
        "type": "libloragw",
        "board": "rak2287",
        "spi": "/dev/spidev0.0",
        "antenna_gain_dbi": 3.0,
    }
    assert found.values["gps", "device"] == "/dev/ttyS0"
    lost = {problem.key for problem in found.left_out}
    assert "gateway_conf.gps_tty_path" not in lost
    assert {"SX130x_conf.radio_0", "SX130x_conf.chan_Lora_std", "SX130x_conf.clksrc"} <= lost
    assert not lost & {"SX130x_conf", "SX130x_conf.chan_FSK", "SX130x_conf.lorawan_public", "SX130x_conf.com_path"}


def test_a_station_changes_over():
    found = imported(
        file("station.conf", STATION),
        file("tc.uri", "wss://lns.example.org:8887/path\n"),
        file("tc.trust", "-----BEGIN CERTIFICATE-----\n"),
        file("tc.key", "Authorization: Bearer abc\r\n"),
    )
    assert found.values == {
        ("gateway", "eui"): "0016c001f1500812",
        ("gateway", "region"): "EU868",
        ("radio", "type"): "packet-forwarder",
        ("radio", "listen"): "127.0.0.1:1700",
        ("lns", "lns-example-org", "type"): "basics-station",
        ("lns", "lns-example-org", "server"): "wss://lns.example.org:8887",
        ("lns", "lns-example-org", "ca_file"): f"{FOLDER}/tc.trust",
        ("lns", "lns-example-org", "token_file"): f"{FOLDER}/tc.key",
    }
    assert verdict(found).problems == ()
    assert "EU868 is written" in found.notes[-1]
    assert why(found, "station_conf.RX_POLL_INTV").startswith("is about Station's own timing")


def test_chirpstack_mqtt_forwarder_changes_over():
    found = imported(file("chirpstack-mqtt-forwarder.toml", FORWARDER))
    lns = {path[2]: value for path, value in found.values.items() if path[0] == "lns"}
    assert lns == {
        "type": "chirpstack-mqtt",
        "server": "mqtts://broker.example.org:8883",
        "topic_prefix": "us915_1",
        "marshaler": "json",
        "username": "roof",
        "password_file": "/out/secrets/chirpstack-password",
        "ca_file": "/etc/chirpstack/ca.pem",
        "cert_file": "/etc/chirpstack/cert.pem",
        "key_file": "/etc/chirpstack/key.pem",
        "only_dev_addr": ["0000ff00/24", "26000000/7"],
        "only_join_eui": ["70b3d57ed0000000/40"],
    }
    assert (of(found, "gateway", "region"), of(found, "radio", "listen")) == ("US915", "0.0.0.0:1700")
    assert found.inline_secrets == (InlineSecret("/out/secrets/chirpstack-password", "correct horse"),)
    assert verdict(found).problems == ()
    assert {problem.key for problem in found.left_out} == {
        "logging.level",
        "logging.log_to_syslog",
        "backend.filters.lorawan_only",
        "metadata.static",
        "commands.reboot",
    }


def test_chirpstack_gateway_bridge_changes_over():
    found = imported(file("chirpstack-gateway-bridge.toml", BRIDGE))
    lns = {path[2]: value for path, value in found.values.items() if path[0] == "lns"}
    assert lns["server"] == "mqtt://broker.example.org:1883"
    assert (lns["topic_prefix"], lns["marshaler"]) == ("eu868", "json")
    assert lns["only_dev_addr"] == ["26000000/7", "fc014c00/22"]
    assert lns["only_join_eui"] == [
        "0000000000000000/56",
        "70b3d57ed0000001/64",
        "70b3d57ed0000002/63",
        "70b3d57ed0000004/63",
        "70b3d57ed0000006/64",
    ]
    assert of(found, "radio", "listen") == "0.0.0.0:1700"
    assert verdict(found).problems == ()


def test_concentratord_and_mqtt_forwarder_change_over_together():
    forwarder = FORWARDER.replace('"semtech_udp"', '"concentratord"').replace("us915_1", "eu868")
    found = imported(
        file("chirpstack-mqtt-forwarder.toml", forwarder),
        file("concentratord.toml", CONCENTRATORD),
        radios=("packet-forwarder", "libloragw"),
    )
    assert {path[1]: value for path, value in found.values.items() if path[0] == "radio"} == {
        "type": "libloragw",
        "board": "rak_2287",
        "usb": "/dev/ttyACM1",
        "antenna_gain_dbi": 3.0,
    }
    assert (of(found, "gateway", "latitude"), of(found, "gateway", "region")) == (43.6119, "EU868")
    assert "has no use" in why(found, "backend.semtech_udp.bind")


# --- packet forwarders ------------------------------------------------------------------------------------------------


def semtech(**gateway_conf: object) -> object:
    return {GW: {"gateway_ID": "0016C001F1500812", **gateway_conf}}


SERVER = {"server_address": "lns.example.org", "serv_port_up": 1700, "serv_port_down": 1700}


def test_local_conf_overrides_whichever_is_named_first():
    local = semtech(gateway_ID="0016C001F1500813", server_address="other.example.org")
    found = imported(file("local_conf.json", local), file("global_conf.json", semtech(**SERVER)))
    assert of(found, "gateway", "eui") == "0016c001f1500813"
    assert of(found, "lns", "other-example-org", "server") == "other.example.org:1700"
    (lost,) = [problem for problem in found.left_out if problem.key == f"{GW}.server_address"]
    assert (lost.file, lost.text) == ("global_conf.json", "does not count: local_conf.json:1 says it again")


def test_a_list_of_servers_is_overridden_as_a_whole():
    two = [{**SERVER, "server_address": f"{name}.example.org"} for name in ("one", "two")]
    three = [{**SERVER, "server_address": "three.example.org"}]
    found = imported(file("global_conf.json", semtech(servers=two)), file("local_conf.json", semtech(servers=three)))
    assert [path[1] for path in found.values if path[0] == "lns" and path[2] == "server"] == ["three-example-org"]
    lost = [problem for problem in found.left_out if problem.key.startswith(f"{GW}.servers[1]")]
    assert lost[0].text == "does not count: local_conf.json has servers, too"


def test_every_server_of_a_poly_forwarder_changes_over():
    servers = [
        {**SERVER, "serv_enabled": True, "serv_type": "semtech"},
        {**SERVER, "server_address": "10.0.0.7", "serv_port_up": 1780, "serv_down_enabled": False},
        {**SERVER, "serv_enabled": False},
        {"serv_type": "ttn", "server_address": "router.example.org", "serv_gw_id": "roof", "serv_gw_key": "geheim"},
        {**SERVER, "serv_max_stall": 60},
    ]
    found = imported(file("global_conf.json", semtech(servers=servers, server_address="unused.example.org")))
    assert [value for path, value in found.values.items() if path[-1] == "server"] == [
        "lns.example.org:1700",
        "10.0.0.7:1780",
        "lns.example.org:1700",
    ]
    assert {path[1] for path in found.values if path[0] == "lns"} == {
        "lns-example-org",
        "10-0-0-7",
        "lns-example-org-2",
    }
    assert of(found, "lns", "10-0-0-7", "downlinks") is False
    assert why(found, f"{GW}.servers[2]") == "is switched off there (serv_enabled false)"
    assert "version 2, which is gone" in why(found, f"{GW}.servers[3]")
    assert why(found, f"{GW}.server_address") == "does not count where there is a list of servers"
    assert "geheim" not in repr(found)
    assert verdict(found).problems == ()


def test_ports_that_differ_are_said():
    found = imported(file("global_conf.json", semtech(**{**SERVER, "serv_port_down": 1701})))
    assert of(found, "lns", "lns-example-org", "server") == "lns.example.org:1700"
    assert why(found, f"{GW}.serv_port_down").startswith("differs from serv_port_up (1700)")


@pytest.mark.parametrize("address", ["", "two words", "host/path", 7])
def test_an_address_that_is_none_gives_no_server(address):
    found = imported(file("global_conf.json", semtech(**{**SERVER, "server_address": address})))
    assert not [path for path in found.values if path[0] == "lns"] or address == 7
    assert verdict(found).problems == ()


def test_a_server_on_this_machine_does_not_become_a_circle():
    found = imported(file("global_conf.json", semtech(**{**SERVER, "server_address": "127.0.0.1"})))
    assert of(found, "lns", "127-0-0-1", "server") == "127.0.0.1:1700"
    assert of(found, "radio", "listen") == "127.0.0.1:1701"
    assert verdict(found).problems == ()


def test_a_forwarder_that_fed_chirpstacks_on_this_machine_goes_on_and_feeds_ours():
    found = imported(
        file("global_conf.json", semtech(**{**SERVER, "server_address": "localhost"})),
        file("chirpstack-mqtt-forwarder.toml", FORWARDER),
    )
    assert [value for path, value in found.values.items() if path[-1] == "server"] == [
        "mqtts://broker.example.org:8883"
    ]
    assert of(found, "radio", "listen") == "0.0.0.0:1700"
    assert why(found, f"{GW}.server_address") == "leads to a program on this machine whose place this gateway takes"


@pytest.mark.parametrize("eui", ["16C001F1500812", "CHANGE-ME", 5, "0016C001F1500812FF"])
def test_an_eui_that_is_none_is_not_guessed_at(eui):
    found = imported(file("global_conf.json", semtech(gateway_ID=eui)))
    assert of(found, "gateway", "eui") is None
    assert "not the 16 hex digits" in why(found, f"{GW}.gateway_ID")


@pytest.mark.parametrize(
    ("place", "reads"),
    [
        ((0.0, 0.0, 0), False),
        ((91, 3, 0), False),
        ((43.6, None, 5), False),
        ((43.6, 3.8, 57), True),
        ((0, 3.8, 57), True),
    ],
)
def test_a_position_is_taken_when_it_is_one(place, reads):
    keys = dict(zip(("ref_latitude", "ref_longitude", "ref_altitude"), place, strict=True))
    found = imported(file("global_conf.json", semtech(**keys)))
    assert (of(found, "gateway", "latitude") is not None) is reads
    assert verdict(found).problems == ()


def test_channels_of_no_plan_are_listed_and_the_region_is_asked_for():
    conf = {
        "SX1301_conf": {"radio_0": {"enable": True, "freq": 2_403_000_000}, "chan_multiSF_0": {"radio": 0, "if": 0}}
    }
    found = imported(file("global_conf.json", conf))
    assert "no channel plan" in why(found, "SX1301_conf.chan_multiSF_0.if")
    assert any("--region" in note for note in found.notes)


def test_an_sx1301_is_not_driven_by_the_library_of_the_sx1302():
    conf = json.loads(json.dumps({"SX1301_conf": {"radio_0": {"type": "SX1257"}, "antenna_gain": 0}}))
    found = imported(file("global_conf.json", conf), radios=("packet-forwarder", "libloragw"), board="rak2287")
    assert of(found, "radio", "type") == "packet-forwarder"


@pytest.mark.parametrize(
    ("script", "board"),
    [
        ("SX1302_RESET_PIN=17 # reset\nSX1302_POWER_EN_PIN=18\n", "wm1302"),
        ("SX1302_RESET_PIN=23\nSX1302_POWER_EN_PIN=18\n", "waveshare-sx1302"),
        ("SX1302_RESET_PIN=4\n", None),
    ],
)
def test_the_reset_script_tells_boards_apart(script, board):
    """Pins: ChirpStack Concentratord 4.7.1, vendor/seeed/wm1302.rs, vendor/waveshare."""
    conf = json.loads(SEMTECH_REFERENCE)
    found = imported(file("global_conf.json", conf), file("reset_lgw.sh", f"#!/bin/sh\n{script}"), radio="libloragw")
    assert of(found, "radio", "board") == board
    assert {problem.file for problem in found.left_out} == {"global_conf.json", "reset_lgw.sh"}


SEMTECH_REFERENCE = json.dumps(
    {
        "SX130x_conf": {
            "com_type": "SPI",
            "com_path": "/dev/spidev0.0",
            "radio_0": {
                "type": "SX1250",
                "tx_gain_lut": [
                    {"rf_power": 12, "pa_gain": 0, "pwr_idx": 15},
                    {"rf_power": 13, "pa_gain": 0, "pwr_idx": 16},
                ],
            },
        }
    }
)

# --- Basics Station ---------------------------------------------------------------------------------------------------

PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def home(**files: str) -> list[object]:
    """Files of Station's home, `tc_uri` for tc.uri."""
    return [file(name.replace("_", ".").replace("..", "-"), content) for name, content in files.items()]


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({}, set()),
        ({"tc_trust": PEM}, {"ca_file"}),
        ({"tc_trust": PEM, "tc_key": "Authorization: Bearer x\r\n"}, {"ca_file", "token_file"}),
        ({"tc_trust": PEM, "tc_crt": PEM, "tc_key": PEM}, {"ca_file", "cert_file", "key_file"}),
        ({"tc_trust": "", "tc_crt": PEM}, set()),
        ({"tc_key": PEM}, set()),
    ],
)
def test_the_files_that_are_there_say_how_station_logs_in(files, keys):
    """Basics Station 2.0.6: src/tls.c; docs, "Credentials and Authentication"."""
    found = imported(*home(tc_uri="wss://lns.example.org:8887", **files))
    lns = {path[2] for path in found.values if path[0] == "lns"}
    assert lns - {"type", "server"} == keys
    assert verdict(found).problems == ()


def test_a_configuration_server_is_asked_where_nothing_else_says_who_the_server_is():
    found = imported(*home(cups_uri="https://cups.example.org:443", cups_trust=PEM, tc_trust=PEM))
    assert of(found, "lns", "cups-example-org", "cups") == "https://cups.example.org:443"
    assert of(found, "lns", "cups-example-org", "ca_file") == f"{FOLDER}/cups.trust"
    assert why(found, '"tc.trust"') == "has no use without tc.uri"


def test_a_configuration_server_with_the_same_login_stays():
    both = {f"{set_}_{part}": PEM for set_ in ("tc", "cups") for part in ("trust", "crt", "key")}
    found = imported(*home(tc_uri="wss://lns.example.org:8887", cups_uri="https://cups.example.org:443", **both))
    assert of(found, "lns", "lns-example-org", "cups") == "https://cups.example.org:443"
    assert found.left_out == ()


def test_a_configuration_server_with_another_login_is_listed():
    found = imported(
        *home(tc_uri="wss://lns.example.org:8887", cups_uri="https://cups.example.org:443", cups_trust=PEM)
    )
    assert of(found, "lns", "lns-example-org", "cups") is None
    assert "a login of its own" in why(found, '"cups.uri"')


def test_ws_is_taken_over_and_said_to_be_open():
    found = imported(*home(tc_uri="ws://lns.example.org:3001", tc_trust=PEM))
    assert of(found, "lns", "lns-example-org", "insecure") is True
    assert why(found, '"tc.trust"') == "has no use with ws://"
    assert verdict(found).problems == ()


def test_what_station_keeps_for_itself_is_listed():
    files = [file(name, PEM) for name in ("tc-bak.trust", "tc-boot.crt", "cups-temp.key")]
    found = imported(file("tc.uri", "wss://lns.example.org"), *files)
    assert {problem.text for problem in found.left_out} == {
        "is a copy that Station goes back to when it finds no server; the one in use counts"
    }


@pytest.mark.parametrize("uri", ["https://lns.example.org", "lns.example.org:8887", "wss://", "\xff\xfe"])
def test_an_address_that_station_would_not_take_is_listed(uri):
    found = imported(file("tc.uri", uri.encode("latin-1")))
    assert not [path for path in found.values if path[0] == "lns"]
    assert len(found.left_out) == 1


@pytest.mark.parametrize(
    ("written", "eui"),
    [
        ("16:c001:f150:812", "0016c001f1500812"),
        ("::1", "0000000000000001"),
        ("1::", "0001000000000000"),
        ("0016C001F1500812", "0016c001f1500812"),
        ("00-16-C0-01-F1-50-08-12", "0016c001f1500812"),
        ("00:16:C0:01:F1:50:08:12", "0016c001f1500812"),
        ("1:2:3", None),
        ("12345::1", None),
        (7, None),
    ],
)
def test_station_writes_its_eui_in_several_ways(written, eui):
    """ID6: Basics Station 2.0.6, src/rt.c rt_readEui, and the glossary of its documentation."""
    found = imported(file("station.conf", {"station_conf": {"routerid": written}}))
    assert of(found, "gateway", "eui") == eui


def test_a_second_concentrator_is_listed_whole():
    found = imported(file("station.conf", STATION), file("slave-0.conf", {"SX1301_conf": {"device": "/dev/x"}}))
    assert "several concentrators" in why(found, "SX1301_conf")


# --- ChirpStack -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "ours"),
    [
        ("tcp://127.0.0.1:1883", "mqtt://127.0.0.1:1883"),
        ("mqtt://broker", "mqtt://broker"),
        ("ssl://broker:8883/", "mqtts://broker:8883"),
        ("mqtts://broker:8883", "mqtts://broker:8883"),
        ("wss://broker:8083", None),
        ("ftp://broker", None),
        ("tcp://name:geheim@broker:1883", None),
        ("tcp://$BROKER:1883", None),
    ],
)
def test_the_address_of_a_broker_keeps_its_meaning(server, ours):
    found = imported(file("chirpstack-mqtt-forwarder.toml", f'[mqtt]\nserver = "{server}"\n'))
    assert of(found, "lns", "chirpstack", "server") == ours
    assert (ours is None) == bool(found.left_out)
    assert "geheim" not in repr(found.left_out)
    assert verdict(found).problems == ()


def test_a_password_is_never_printed_without_an_output():
    found = imported(file("chirpstack-mqtt-forwarder.toml", FORWARDER), secret_folder=None)
    assert of(found, "lns", "chirpstack", "password_file") == "/etc/lorawan-gateway/secrets/chirpstack-password"
    assert "use --output" in why(found, "mqtt.password")
    assert "correct horse" not in repr(found)


def test_keys_are_copied_when_asked():
    found = imported(file("chirpstack-mqtt-forwarder.toml", FORWARDER), copy_secrets=True)
    assert SecretCopy("/etc/chirpstack/key.pem", "/out/secrets/chirpstack-key") in found.copies
    assert of(found, "lns", "chirpstack", "key_file") == "/out/secrets/chirpstack-key"


def test_tls_files_without_tls_or_half_of_a_pair_are_listed():
    text = '[mqtt]\nserver = "tcp://b:1883"\nca_cert = "/a"\n'
    assert "asks for no TLS" in why(imported(file("f.toml", text)), "mqtt.ca_cert")
    text = '[mqtt]\nserver = "ssl://b:8883"\ntls_cert = "/a"\ntls_key = ""\n'
    found = imported(file("f.toml", text))
    assert "stands alone" in why(found, "mqtt.tls_cert")
    assert verdict(found).problems == ()


def test_topics_without_a_prefix_cannot_be_kept():
    found = imported(file("f.toml", '[mqtt]\ntopic_prefix = ""\n'))
    assert "have a prefix" in why(found, "mqtt.topic_prefix")


def test_ranges_of_join_euis_are_covered_exactly():
    ranges = [["0000000000000000", "ffffffffffffffff"], ["00000000000000ff", "0000000000000100"]]
    text = f"[integration]\n[filters]\njoin_euis = {json.dumps(ranges)}\n"
    found = imported(file("bridge.toml", text))
    assert of(found, "lns", "chirpstack", "only_join_eui") == [
        "0000000000000000/0",
        "00000000000000ff/64",
        "0000000000000100/64",
    ]


def test_the_prefix_of_a_net_id_is_that_of_the_specification():
    """TS002-1.1.0, table of NetIDs: 000013 is The Things Network's, 26000000/7; C00053 is Helium's, of type 6."""
    found = imported(file("bridge.toml", '[integration]\n[filters]\nnet_ids = ["000013", "c00053"]\n'))
    first, second = of(found, "lns", "chirpstack", "only_dev_addr")
    assert first == str(Prefix(0x26000000, 7, 32))
    assert second == "fc014c00/22"


# --- files that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "content", "place", "text"),
    [
        ("global_conf.json", '{"gateway_conf": {\n"a": 1', "global_conf.json:2 syntax", "the file ends"),
        ("global_conf.json", "", "global_conf.json:1 file", "is empty"),
        ("global_conf.json", "{}", "global_conf.json:1 file", "is JSON, but has neither"),
        ("global_conf.json", "[1]", "global_conf.json:1 file", "is JSON, but has neither"),
        ("global_conf.json", "{\0}", "global_conf.json:1 file", "is UTF-16 or no text"),
        ("station.conf", '{"station_conf": {"a": "\\q"}}', "station.conf:1 syntax", "backslash"),
        ("a.toml", "[mqtt\n", "a.toml:1 syntax", "is not TOML"),
        ("a.toml", "[server]\na = 1\n", "a.toml:1 file", "of none of the programs"),
        ("a.toml", b"[mqtt]\n# \xe9\n", "a.toml:2 file", "is not UTF-8 text"),
        (
            "gateway.toml",
            "[gateway]\n[lns.a]\ntype = 'semtech-udp'\n",
            "gateway.toml:1 file",
            "of none of the programs",
        ),
        ("global_conf.json", json.dumps(dict.fromkeys(map(str, range(10_001)))), "global_conf.json:1 file", "keys"),
        ("disk.img", b"x" * ((1 << 20) + 1), "disk.img:1 file", "has more than 1 MiB"),
    ],
)
def test_a_file_that_is_none_is_said_with_its_line(base, content, place, text):
    with pytest.raises(SettingsError) as caught:
        imported(file(base, content))
    (line,) = [str(problem) for problem in caught.value.problems]
    assert line.startswith(place)
    assert text in line


def test_all_files_that_are_none_are_said_at_once():
    with pytest.raises(SettingsError) as caught:
        imported(file("a.toml", "x"), file("global_conf.json", "{"), file("station.conf", STATION))
    assert [problem.file for problem in caught.value.problems] == ["a.toml", "global_conf.json"]


def test_no_file_at_all_says_what_is_read():
    with pytest.raises(UsageError, match="no configuration file"):
        imported()


@pytest.mark.parametrize("wrap", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")])
def test_byte_order_marks_and_windows_lines_are_no_matter(wrap):
    for base, text in (("global_conf.json", SEMTECH), ("station.conf", STATION), ("f.toml", FORWARDER)):
        assert imported(file(base, wrap(text.encode()))).values == imported(file(base, text)).values


def test_latin_1_in_a_comment_or_name_is_read():
    text = json.dumps(semtech(description="XX")).replace("XX", "Musée")
    found = imported(file("global_conf.json", b"/* 12 \xb0 */" + text.encode("latin-1")))
    assert of(found, "gateway", "name") == "Musée"
