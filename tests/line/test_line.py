"""The whole line, with real datagrams, a real process, a real disk and a real broker."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from daemons import GatewayProcess, PacketForwarder, Subscriber

# lora-packet 0.9.3, README.md, "Decoding packets": a frame with both keys and its plain text.
PHY = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
DEV_ADDR, NWK_S_KEY, APP_S_KEY = (
    "49be7df1", "44024241ed4ce9a68c6a8bc055233fd3", "ec925802ae430ca77fd3dd73cb2cc588"
)  # fmt: skip
PAYLOAD, F_CNT, F_PORT = b"test", 2, 1
DEV_EUI = "0200000000000001"


@pytest.fixture
def line(tmp_path, mosquitto):
    """A gateway whose one destination is a real mosquitto, with one device entered by command."""
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{mosquitto.port}"\nbacklog_delay = "0s"\n'
    with GatewayProcess(tmp_path, sink=sink, gateway='name = "Musée"') as gateway:
        added = gateway.command(
            "device", "add", "--dev-eui", DEV_EUI, "--name", "PAV Antigone 12", "--codec", "heyliot/heywaste",
            "--dev-addr", DEV_ADDR, "--nwk-s-key", NWK_S_KEY, "--app-s-key", APP_S_KEY, "--tag", "kind=glass",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        yield gateway


def test_a_published_frame_comes_out_at_the_broker_as_promised(line, mosquitto):
    line.start()
    with Subscriber(mosquitto.port, "lorawan/#") as platform, PacketForwarder(line.udp_port) as forwarder:
        line.until(lambda status: status["sinks"][0]["state"] == "connected")
        forwarder.push(PHY)
        ((topic, payload),) = platform.wait_for(1)
        reading = json.loads(payload)
    assert topic == f"lorawan/0016c001ff10a235/{DEV_EUI}/up"
    assert {key: reading[key] for key in ("gateway_eui", "dev_eui", "dev_addr", "f_cnt", "f_port", "payload")} == {
        "gateway_eui": "0016c001ff10a235", "dev_eui": DEV_EUI, "dev_addr": DEV_ADDR, "f_cnt": F_CNT,
        "f_port": F_PORT, "payload": PAYLOAD.hex(),
    }  # fmt: skip
    assert (reading["name"], reading["tags"], reading["confirmed"], reading["late"]) == (
        "PAV Antigone 12", {"kind": "glass"}, False, False,
    )  # fmt: skip
    assert reading["record_id"].startswith("0016c001ff10a235-")
    radio = reading["radio"]
    assert (radio["frequency_hz"], radio["spreading_factor"], radio["rssi_dbm"], radio["snr_db"]) == (
        868_100_000, 7, -97, 5.2,
    )  # fmt: skip
    status = line.until(lambda status: status["sinks"][0]["acknowledged"] == 1)
    assert status["store"]["balance"] == 0
    assert line.stop() == 0


def test_killed_between_datagram_and_delivery_the_reading_arrives_exactly_once(line, mosquitto):
    mosquitto.stop()
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        forwarder.push(PHY)
        line.until(lambda status: status["radio"]["stored"] == 1)
    line.kill()
    mosquitto.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform:
        line.start()
        platform.wait_for(1)
        line.until(lambda status: status["sinks"][0]["acknowledged"] == 1)
        line.kill()
        line.start()
        line.until(lambda status: status["sinks"][0]["state"] == "connected")
        time.sleep(1)  # a second copy would come at once
        readings = [json.loads(payload) for _, payload in platform.messages]
    assert len({reading["record_id"] for reading in readings}) == len(readings) == 1
    assert readings[0]["payload"] == PAYLOAD.hex()


def test_after_a_kill_a_replayed_frame_is_not_a_second_reading(line):
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        forwarder.push(PHY)
        line.until(lambda status: status["radio"]["stored"] == 1)
        line.kill()
        line.start()
        forwarder.push(PHY)
        status = line.until(lambda status: status["radio"]["filtered"] == 1)
    assert (status["radio"]["stored"], status["radio"]["refused"]) == (1, {"repetition": 1})


def test_anything_may_arrive_on_the_port_and_costs_only_itself(line):
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        for datagram in (b"", b"\x02", b"\x09abc\x00", b"\x02ab\x00short", os.urandom(3000), b"\x00" * 65_000):
            forwarder.send(datagram)
        good = forwarder.rxpk(PHY)
        bad = [
            {**good, "data": "!!!"}, {**good, "freq": "many"}, {**good, "size": 3}, {**good, "rssi": 1e9}, 7, None,
            {**good, "datr": "SF99BW1"}, {key: value for key, value in good.items() if key != "tmst"},
        ]  # fmt: skip
        forwarder.push_json({"rxpk": [*bad, good, *bad]})
        status = line.until(lambda status: status["radio"]["stored"] == 1)
        assert sum(status["radio"]["input"].values()) >= 2 * len(bad)
        for _ in range(20):
            forwarder.push(*(b"\x40" + os.urandom(16) for _ in range(50)))
        status = line.until(lambda status: status["radio"]["heard"] >= 1001)
    assert status["radio"]["filtered"] >= 1000
    assert status["store"]["balance"] == 0


def test_foreign_frames_do_not_keep_ours_from_arriving(line, mosquitto):
    line.start()
    flood = [b"\x40" + os.urandom(4) + os.urandom(12) for _ in range(100)]
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(line.udp_port) as forwarder:
        line.until(lambda status: status["sinks"][0]["state"] == "connected")
        for _ in range(50):
            forwarder.push(*flood)
        forwarder.push(PHY)
        for _ in range(50):
            forwarder.push(*flood)
        platform.wait_for(1)
        status = line.until(lambda status: status["radio"]["heard"] == 10_001)
    assert (status["radio"]["stored"], status["radio"]["dropped"]) == (1, 0)


def test_the_second_signal_ends_at_once(line):
    line.start()
    assert line.process is not None
    os.kill(line.process.pid, signal.SIGSTOP)
    os.kill(line.process.pid, signal.SIGTERM)
    os.kill(line.process.pid, signal.SIGINT)
    os.kill(line.process.pid, signal.SIGCONT)
    assert line.process.wait(5) != 0


def test_a_second_gateway_on_the_same_data_is_refused(line):
    line.start()
    refused = line.command("run")
    assert refused.returncode == 4
    assert str(line.process.pid) in refused.stderr


def test_a_taken_port_is_told_with_what_to_do(line, tmp_path_factory):
    line.start()
    with GatewayProcess(tmp_path_factory.mktemp("other")) as other:
        other.settings.write_text(other.settings.read_text().replace(str(other.udp_port), str(line.udp_port)))
        refused = other.command("run")
    assert refused.returncode == 3
    assert str(line.udp_port) in refused.stderr
    assert "Traceback" not in refused.stderr
