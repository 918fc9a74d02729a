"""Of regions with more channels than a chip hears, the block of eight goes over: what was heard is heard."""

from __future__ import annotations

import json

import pytest
from former_gateways import FORWARDER, STATION, file, imported, of, verdict

from gateway.radio.channels import plan_of
from gateway.regions import region_named


def global_conf(first_radio_hz, second_radio_hz, offsets, service=None):
    """The object of a packet forwarder's concentrator, two radios and eight channels."""
    conf = {
        "com_type": "SPI",
        "com_path": "/dev/spidev0.0",
        "lorawan_public": True,
        "radio_0": {"enable": True, "type": "SX1250", "freq": first_radio_hz},
        "radio_1": {"enable": True, "type": "SX1250", "freq": second_radio_hz},
    }
    for at, (radio, if_hz) in enumerate(offsets):
        conf[f"chan_multiSF_{at}"] = {"enable": True, "radio": radio, "if": if_hz}
    if service is not None:
        radio, if_hz, bandwidth, factor = service
        conf["chan_Lora_std"] = {
            "enable": True, "radio": radio, "if": if_hz, "bandwidth": bandwidth, "spread_factor": factor,
        }  # fmt: skip
    servers = {"gateway_ID": "0016C001F1500812", "server_address": "lns.example.org", "serv_port_up": 1700}
    return json.dumps({"SX130x_conf": conf, "gateway_conf": servers | {"serv_port_down": 1700}})


_US_OFFSETS = [
    *((0, hz) for hz in (-400_000, -200_000, 0, 200_000)),
    *((1, hz) for hz in (-300_000, -100_000, 100_000, 300_000)),
]

# TheThingsNetwork/gateway-conf, US-global_conf.json and AU-global_conf.json: FSB2, channels 8 to 15 and 65. The third
# is the same for channels 80 to 87 of CN470 (FSB11 there).
CONFS = {
    "US915": (global_conf(904_300_000, 905_000_000, _US_OFFSETS, (0, 300_000, 500_000, 8)), 2, 903.9, 904.6),
    "AU915": (global_conf(917_200_000, 917_900_000, _US_OFFSETS, (0, 300_000, 500_000, 8)), 2, 916.8, 917.5),
    "CN470": (global_conf(486_700_000, 487_400_000, _US_OFFSETS), 11, 486.3, None),
}


@pytest.mark.parametrize("region", CONFS)
@pytest.mark.parametrize("options", [{"radio": "libloragw", "board": "rak2287"}, {"radio": "packet-forwarder"}])
def test_the_block_that_was_heard_is_the_block_that_is_heard(region, options):
    conf, block, first_mhz, service_mhz = CONFS[region]
    found = imported(file("global_conf.json", conf), **options)
    assert (of(found, "gateway", "region"), of(found, "radio", "block")) == (region, block)
    assert verdict(found).problems == ()
    plan = plan_of(region_named(region), block=of(found, "radio", "block"))
    assert [channel.frequency_hz for channel in plan.channels] == [
        round(first_mhz * 1e6) + 200_000 * at for at in range(8)
    ]
    heard_mhz = None if plan.service is None else plan.service.frequency_hz / 1e6
    assert heard_mhz == service_mhz


def test_channels_across_two_blocks_are_said_to_be_no_block():
    # sx1302_hal 2.1.0, global_conf.json.sx1250.US915: 904.3 to 905.7 MHz.
    conf = global_conf(904_700_000, 905_400_000, _US_OFFSETS)
    found = imported(file("global_conf.json", conf))
    assert of(found, "gateway", "region") == "US915"
    assert of(found, "radio", "block") is None
    assert any("across two blocks of eight channels" in note for note in found.notes)


def test_a_topic_prefix_names_the_block():
    found = imported(file("chirpstack-mqtt-forwarder.toml", FORWARDER))
    assert (of(found, "gateway", "region"), of(found, "radio", "block")) == ("US915", 2)
    assert verdict(found).problems == ()


def test_what_the_concentrator_heard_weighs_more_than_the_name_of_a_topic():
    files = (file("chirpstack-mqtt-forwarder.toml", FORWARDER.replace("us915_1", "us915_0")),)
    found = imported(*files, file("global_conf.json", CONFS["US915"][0]))
    assert of(found, "radio", "block") == 2


def test_a_station_s_radio_goes_on_following_its_server():
    files = (file("station.conf", STATION), file("tc.uri", "wss://lns.example.org:8887"))
    found = imported(*files, radio="libloragw", board="rak2287")
    assert of(found, "radio", "channels") == "lns-example-org"
    assert verdict(found).problems == ()
    assert any("as Basics Station did" in note for note in found.notes)
    assert of(imported(*files, radio="packet-forwarder"), "radio", "channels") is None
