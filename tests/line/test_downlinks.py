"""Downlinks asked for by commands and by a platform, at a real gateway with a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from daemons import Subscriber
from test_operations import DEV_EUI, add_device, ask, connected, gateway_for

TOPIC = f"lorawan/0016c001ff10a235/{DEV_EUI}"


@pytest.fixture
def line(tmp_path, mosquitto):
    with gateway_for(tmp_path, mosquitto) as gateway:
        yield gateway


def publish(broker, topic: str, message: str, *options: str) -> None:
    binary = shutil.which("mosquitto_pub")
    assert binary is not None
    command = [binary, "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", message, *options]
    subprocess.run(command, check=True, timeout=10)


def test_a_command_queues_lists_and_cancels_with_and_without_a_daemon(line):
    add_device(line)
    assert ask(line, "downlink", "list") == []
    sent = ask(line, "downlink", "send", "--dev-eui", DEV_EUI, "--port", "3", "--hex", "01ff", "--ref", "valve-1")
    assert sent == {"ref": "valve-1", "state": "queued"}
    line.start()
    made_up = ask(line, "downlink", "send", "--dev-eui", DEV_EUI, "--port", "3", "--hex", "02", "--confirmed")
    listed = ask(line, "downlink", "list")
    assert [(one["ref"], one["payload"], one["confirmed"], one["state"], one["reason"]) for one in listed] == [
        ("valve-1", "01ff", False, "queued", None),
        (made_up["ref"], "02", True, "queued", None),
    ]
    assert [one["ref"] for one in ask(line, "downlink", "cancel", "valve-1")] == ["valve-1"]
    line.kill()
    line.start()
    assert [one["state"] for one in ask(line, "downlink", "list", "--dev-eui", DEV_EUI)] == ["cancelled", "queued"]


def test_a_request_that_cannot_be_is_refused_in_words(line):
    add_device(line)
    long = line.command("downlink", "send", "--dev-eui", DEV_EUI, "--port", "3", "--hex", "00" * 243)
    assert (long.returncode, "243 bytes, at most 242" in long.stderr) == (2, True)
    nobody = line.command("downlink", "send", "--dev-eui", "0200000000000009", "--port", "3", "--hex", "00")
    assert (nobody.returncode, "no device 0200000000000009 is known" in nobody.stderr) == (2, True)
    portless = line.command("downlink", "send", "--dev-eui", DEV_EUI, "--hex", "00")
    assert (portless.returncode, "--hex needs --port" in portless.stderr) == (2, True)


def test_a_platform_asks_over_its_broker_and_hears_what_became_of_it(line, mosquitto):
    add_device(line)
    publish(mosquitto, f"{TOPIC}/down", '{"f_port": 9, "payload": "99", "ref": "of yesterday"}', "--retain")
    with Subscriber(mosquitto.port, "lorawan/+/+/down/result") as platform:
        line.start()
        connected(line)
        publish(mosquitto, f"{TOPIC}/down", '{"f_port": 3, "payload": "01ff", "ref": "valve-1"}')
        publish(mosquitto, f"{TOPIC}/down", '{"f_port": 3, "payload": "01f", "ref": "valve-2"}')
        publish(mosquitto, f"{TOPIC}/down", "open the valve")
        publish(mosquitto, "lorawan/0016c001ff10a235/nobody/down", '{"f_port": 3, "payload": "01"}')
        ask(line, "downlink", "cancel", "--all") if platform.wait_for(3, ending="/result") else None
        results = [json.loads(message) for _, message in platform.wait_for(4, ending="/result")]
    assert [(one["ref"], one["state"]) for one in results] == [
        ("valve-1", "queued"), ("valve-2", "failed"), (None, "failed"), ("valve-1", "cancelled"),
    ]  # fmt: skip
    assert "hex digits" in results[1]["reason"]
    assert [one["ref"] for one in ask(line, "downlink", "list")] == ["valve-1"]
