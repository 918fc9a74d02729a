"""A real gateway that speaks as ChirpStack and as The Things Stack, to `mosquitto_sub` and `mosquitto_pub`."""

from __future__ import annotations

import json

import pytest
from daemons import GatewayProcess, PacketForwarder, Subscriber
from test_downlinks import publish
from test_operations import DEV_EUI as BIN
from test_operations import add_device, connected, frame
from test_own_network import APP_KEY, DEV_EUI, JOIN_EUI, DownForwarder, Valve, joined, phy_of

APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
CHIRPSTACK = f"application/{APPLICATION}/device/{DEV_EUI.hex()}"
TTN = "v3/wells@waterworks/devices/valve-7"
DEV_STATUS_ANS = bytes.fromhex("067f0a")  # TS001-1.0.4, 5.5: battery 127 of 254, margin 10 dB
WAY = '[sink.{name}]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\nbacklog_delay = "0s"\nformat = "{name}"\n'


@pytest.fixture
def line(tmp_path, mosquitto):
    sinks = WAY.format(name="chirpstack", port=mosquitto.port) + f'application = "{APPLICATION}"\n'
    sinks += WAY.format(name="ttn", port=mosquitto.port) + 'application = "wells"\ntenant = "waterworks"\n'
    with GatewayProcess(tmp_path, sink=sinks, store='commit_interval = "100ms"') as gateway:
        added = gateway.command(
            "device", "add", "--dev-eui", DEV_EUI.hex(), "--name", "valve-7", "--join-eui", JOIN_EUI.hex(),
            "--app-key", APP_KEY.hex(), "--mac-version", "1.0.3",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        gateway.start()
        gateway.until(lambda status: {sink["state"] for sink in status["sinks"]} == {"connected"})
        yield gateway


def last(platform: Subscriber, topic: str, count: int = 1) -> dict:
    found = platform.wait_for(count, ending=topic)
    return json.loads(found[-1][1])


def test_what_a_platform_hears_from_a_join_to_the_first_reading(line, mosquitto):
    with DownForwarder(line.udp_port) as forwarder, Subscriber(mosquitto.port, "#") as platform:
        valve = Valve()
        joined(forwarder, valve)
        dev_addr = valve.dev_addr[::-1].hex()
        assert last(platform, f"{CHIRPSTACK}/event/join")["devAddr"] == dev_addr
        assert last(platform, f"{TTN}/join")["end_device_ids"]["dev_addr"] == dev_addr.upper()
        forwarder.hear(valve.uplink(b"\x01\x02", f_opts=DEV_STATUS_ANS), counter_us=3_512_348_611)
        up, status = (last(platform, f"{CHIRPSTACK}/event/{event}") for event in ("up", "status"))
        uplink = last(platform, f"{TTN}/up")["uplink_message"]
        assert (up["data"], up["fPort"], up["fCnt"], up["deviceInfo"]["deviceName"]) == ("AQI=", 2, 0, "valve-7")
        assert up["rxInfo"][0]["gatewayId"] == "0016c001ff10a235"
        assert up["rxInfo"][0]["context"] == "0Vovww=="  # the counter, which both kinds of readers answer by
        assert uplink["rx_metadata"][0]["timestamp"] == uplink["settings"]["timestamp"] == 3_512_348_611
        assert (uplink["frm_payload"], uplink["f_port"], "f_cnt" in uplink) == ("AQI=", 2, False)
        assert (status["batteryLevel"], status["margin"]) == (50.0, 10)
        assert status["deduplicationId"] == up["deduplicationId"]
        topics = {topic for topic, _ in platform.messages}
    assert all(topic.startswith((f"{CHIRPSTACK}/event/", f"{TTN}/")) for topic in topics)


def test_a_command_is_sent_and_acknowledged_in_words_of_both(line, mosquitto):
    ref = "2ec9db5d-5f4b-4dcd-8c2f-6ac37dcd5a5d"
    with DownForwarder(line.udp_port) as forwarder, Subscriber(mosquitto.port, "#") as platform:
        valve = Valve()
        joined(forwarder, valve)
        command = {"id": ref, "devEui": DEV_EUI.hex(), "confirmed": True, "fPort": 9, "data": "AQE="}
        publish(mosquitto, f"{CHIRPSTACK}/command/down", json.dumps(command))
        platform.wait_for(1, ending=f"{TTN}/down/queued")
        forwarder.hear(valve.uplink(b"\x01"), counter_us=30_000_000)
        assert valve.take(phy_of(forwarder.downlink()))[3:] == (9, b"\x01\x01")
        txack = last(platform, f"{CHIRPSTACK}/event/txack")
        assert (txack["queueItemId"], txack["gatewayId"]) == (ref, "0016c001ff10a235")
        assert last(platform, f"{TTN}/down/sent")["downlink_sent"]["frm_payload"] == "AQE="
        forwarder.hear(valve.uplink(b"\x01", ack=True), counter_us=40_000_000)
        ack = last(platform, f"{CHIRPSTACK}/event/ack")
        assert (ack["queueItemId"], ack["acknowledged"], ack["fCntDown"]) == (ref, True, txack["fCntDown"])
        assert last(platform, f"{TTN}/down/ack")["downlink_ack"]["confirmed"] is True


def test_a_push_by_name_is_queued_replaced_and_sent(line, mosquitto):
    with DownForwarder(line.udp_port) as forwarder, Subscriber(mosquitto.port, "#") as platform:
        valve = Valve()
        joined(forwarder, valve)
        for operation, ids, payload in (("push", ["first"], "AQA="), ("replace", ["second"], "AQE=")):
            downlink = {"f_port": 9, "frm_payload": payload, "priority": "NORMAL", "correlation_ids": ids}
            publish(mosquitto, f"{TTN}/down/{operation}", json.dumps({"downlinks": [downlink]}))
        queued = [json.loads(message) for _, message in platform.wait_for(2, ending="/down/queued")]
        assert [one["correlation_ids"][-1] for one in queued] == ["first", "second"]
        forwarder.hear(valve.uplink(b"\x01"), counter_us=30_000_000)
        assert valve.take(phy_of(forwarder.downlink()))[1:] == (False, b"", 9, b"\x01\x01")
        sent = last(platform, f"{TTN}/down/sent")
        assert sent["correlation_ids"][-1] == "second"
        assert sent["downlink_sent"]["frm_payload"] == "AQE="
        publish(mosquitto, "v3/wells@waterworks/devices/nobody/down/push", '{"downlinks": [{"f_port": 1}]}')
        publish(mosquitto, f"{TTN}/down/push", '{"downlinks": [{"f_port": 1, "decoded_payload": {"open": true}}]}')
        failed = last(platform, f"{TTN}/down/failed")
        assert "encode" in failed["downlink_failed"]["error"]["message_format"]


def test_a_removed_device_is_gone_from_home_assistant(tmp_path, mosquitto):
    sink = WAY.format(name="gateway", port=mosquitto.port) + 'home_assistant = "homeassistant"\n'
    with GatewayProcess(tmp_path, sink=sink, store='commit_interval = "100ms"') as gateway:
        add_device(gateway)
        gateway.start()
        connected(gateway)
        with Subscriber(mosquitto.port, "homeassistant/#") as home, PacketForwarder(gateway.udp_port) as forwarder:
            forwarder.push(frame(1))
            home.wait_for(1, ending="fill_level/config")
            home.wait_for(3, ending="/config")
            configs = dict(home.messages)
            assert json.loads(configs[f"homeassistant/sensor/lorawan_{BIN}/fill_level/config"])["name"] == "Fill level"
            removed = gateway.command("device", "remove", BIN)
            assert removed.returncode == 0, removed.stderr
            gone = home.wait_for(2 * len(configs), ending="/config")[-len(configs) :]
    assert {topic for topic, _ in gone} == configs.keys()
    assert {message for _, message in gone} == {""}
