"""What a technician does to a running gateway: hold a destination, send again, look into the log, read it again."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest
from daemons import GatewayProcess, PacketForwarder, Subscriber

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session

# lora-packet 0.9.3, README.md, "Decoding packets": a published frame with both keys, counter 2, its plain text "test".
PHY = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
DEV_ADDR, NWK_S_KEY, APP_S_KEY = (
    "49be7df1", "44024241ed4ce9a68c6a8bc055233fd3", "ec925802ae430ca77fd3dd73cb2cc588"
)  # fmt: skip
DEV_EUI = "0200000000000001"
_KEY = AesKey.parse(NWK_S_KEY)
SESSION = Session(
    DevEui.parse(DEV_EUI), DevAddr.parse(DEV_ADDR), MacVersion.V1_0_3, _KEY, _KEY, _KEY, AesKey.parse(APP_S_KEY)
)
FULL_BIN = bytes.fromhex("1101f4")  # a payload of heyliot/heywaste


def frame(f_cnt: int, payload: bytes = FULL_BIN) -> bytes:
    return seal(SESSION, f_cnt=f_cnt, f_port=2, payload=payload)


@pytest.fixture
def line(tmp_path, mosquitto):
    """A gateway with one destination, a real mosquitto, and no device yet."""
    with gateway_for(tmp_path, mosquitto) as gateway:
        yield gateway


def gateway_for(folder, broker) -> GatewayProcess:
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{broker.port}"\nbacklog_delay = "0s"\n'
    return GatewayProcess(folder, sink=sink, store='commit_interval = "100ms"')


def add_device(line: GatewayProcess, *more: str, codec: str = "heyliot/heywaste") -> None:
    added = line.command(
        "device", "add", "--dev-eui", DEV_EUI, "--name", "PAV Antigone 12", "--codec", codec,
        "--dev-addr", DEV_ADDR, "--nwk-s-key", NWK_S_KEY, "--app-s-key", APP_S_KEY, *more,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr


def ask(line: GatewayProcess, *words: str):
    """What a command prints as JSON."""
    done = line.command(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lines_of(line: GatewayProcess, *words: str) -> list[dict]:
    done = line.command(*words)
    assert done.returncode == 0, done.stderr
    return [json.loads(one) for one in done.stdout.splitlines()]


def sink(status: dict) -> dict:
    return status["sinks"][0]


def connected(line: GatewayProcess) -> None:
    line.until(lambda status: sink(status)["state"] == "connected")


# --- destinations


def test_a_paused_destination_gets_nothing_also_after_a_restart_and_then_everything_once(line, mosquitto):
    add_device(line)
    line.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(line.udp_port) as forwarder:
        connected(line)
        forwarder.push(frame(1))
        platform.wait_for(1)
        assert ask(line, "sink", "pause", "city") == {"sink": "city", "paused": True, "queued": 0}
        line.until(lambda status: sink(status)["state"] == "paused")
        forwarder.push(frame(2), frame(3))
        line.until(lambda status: sink(status)["queued"] == 2)
        assert line.stop() == 0
        [at_rest] = ask(line, "sink", "list")
        assert (at_rest["state"], at_rest["paused"], at_rest["queued"]) == ("paused", True, 2)
        line.start()
        forwarder.push(frame(4))
        line.until(lambda status: (sink(status)["state"], sink(status)["queued"]) == ("paused", 3))
        time.sleep(1)  # what leaks would be there by now
        assert len(platform.messages) == 1
        assert ask(line, "sink", "resume", "city")["paused"] is False
        platform.wait_for(4)
        status = line.until(lambda status: sink(status)["acknowledged"] == 4)
    arrived = [json.loads(payload) for _, payload in platform.messages]
    assert sorted(reading["f_cnt"] for reading in arrived) == [1, 2, 3, 4]
    assert (status["store"]["balance"], sink(status)["queued"]) == (0, 0)


def test_a_destination_can_be_held_while_no_daemon_runs(line):
    line.start()
    connected(line)
    line.stop()
    assert ask(line, "sink", "pause", "city")["paused"] is True
    line.start()
    line.until(lambda status: sink(status)["state"] == "paused")


def test_a_destination_that_is_away_can_be_paused_at_once(line, mosquitto):
    line.start()
    connected(line)
    mosquitto.stop()
    line.until(lambda status: sink(status)["state"] == "unreachable")
    ask(line, "sink", "pause", "city")
    line.until(lambda status: sink(status)["state"] == "paused", within_s=2)


def test_what_was_sent_is_sent_once_more_under_the_same_names(line, mosquitto):
    add_device(line)
    line.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(line.udp_port) as forwarder:
        connected(line)
        forwarder.push(*(frame(number) for number in range(1, 6)))
        platform.wait_for(5)
        line.until(lambda status: sink(status)["acknowledged"] == 5)
        span = ("--from", "-1h", "--to", "now")
        assert ask(line, "sink", "resend", "city", *span, "--dry-run")["records"] == 5
        assert ask(line, "sink", "resend", "city", "--from", "-2d", "--to", "-1d")["records"] == 0
        assert ask(line, "sink", "resend", "city", *span) == {"sink": "city", "records": 5, "dry_run": False}
        platform.wait_for(10)
        status = line.until(lambda status: sink(status)["resent"] == 5)
    names = [json.loads(payload)["record_id"] for _, payload in platform.messages]
    assert sorted(names[:5]) == sorted(names[5:])
    assert len(set(names)) == 5
    assert (sink(status)["acknowledged"], status["store"]["balance"]) == (5, 0)


def test_what_a_broker_refuses_for_good_is_kept_aside_and_taken_when_it_can_be(tmp_path, make_mosquitto):
    broker = make_mosquitto(settings=["max_packet_size 1500"])
    with gateway_for(tmp_path, broker) as line, PacketForwarder(line.udp_port) as forwarder:
        long_tags = [word for number in range(10) for word in ("--tag", f"tag{number}={'x' * 150}")]
        add_device(line, *long_tags)
        line.start()
        connected(line)
        assert ask(line, "sink", "dead-letters", "city") == []
        forwarder.push(frame(1))
        line.until(lambda status: sink(status)["dead_letters"] == 1)
        [letter] = ask(line, "sink", "dead-letters", "city")
        assert (letter["position"], letter["dev_eui"], letter["name"]) == (1, DEV_EUI, "PAV Antigone 12")
        assert "the broker takes 1500" in letter["reason"]
        assert letter["record_id"].startswith("0016c001ff10a235-")
        # Refused again, it stays, and the books with it.
        assert ask(line, "sink", "dead-letters", "city", "--retry")["records"] == 1
        time.sleep(1)
        assert sink(line.status())["dead_letters"] == 1
        line.stop()
        assert [one["record_id"] for one in ask(line, "sink", "dead-letters", "city")] == [letter["record_id"]]
        broker.stop()
        broker._lines = [one for one in broker._lines if "max_packet_size" not in one]
        broker.start()
        line.start()
        with Subscriber(broker.port, "lorawan/+/+/up") as platform:
            connected(line)
            ask(line, "sink", "dead-letters", "city", "--retry")
            ((_, payload),) = platform.wait_for(1)
            status = line.until(lambda status: sink(status)["dead_letters"] == 0)
        assert json.loads(payload)["record_id"] == letter["record_id"]
        assert (sink(status)["given_up"], sink(status)["acknowledged"], status["store"]["balance"]) == (0, 1, 0)


def test_nothing_can_be_changed_from_the_network(line):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line.settings.write_text(line.settings.read_text().replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"'))
    line.start()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, "/orders/pause", json.dumps({"sink": "city"}))
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 405
    assert sink(line.status())["paused"] is False


def test_a_sink_nobody_knows_is_named_with_those_that_are(line):
    line.start()
    refused = line.command("sink", "pause", "town")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "city" in refused.stderr


# --- what was kept


def test_frames_of_a_device_that_is_added_later_arrive_with_their_own_time(line, mosquitto):
    line.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(line.udp_port) as forwarder:
        connected(line)
        forwarder.push(PHY, frame(7), frame(7), b"\x40" + bytes(16))  # 7 twice, as a device repeats itself
        line.until(lambda status: status["radio"]["filtered"] == 4)
        heard = {one["id"]: one for one in lines_of(line, "uplink", "export", "--raw")}
        assert {one["dev_eui"] for one in heard.values()} == {None}
        assert {one["reason"] for one in heard.values()} == {"unknown_device"}
        add_device(line)
        line.until(lambda status: status["store"]["devices"] == 1)
        forwarder.push(frame(9))  # heard live, so that what is read again is behind the session's counter
        platform.wait_for(1)
        answer = ask(line, "uplink", "reread")
        assert (answer["opened"], answer["records"]) == (2, 2)
        platform.wait_for(3)
        again = ask(line, "uplink", "reread")
        assert (again["opened"], again["records"]) == (0, 0)
        forwarder.push(frame(9), frame(8))  # the counter has not gone back
        status = line.until(lambda status: status["radio"]["filtered"] == 6)
        forwarder.push(frame(10))
        platform.wait_for(4)
        status = line.until(lambda status: sink(status)["acknowledged"] == 4)
    late = {json.loads(payload)["f_cnt"]: json.loads(payload) for _, payload in platform.messages}
    assert sorted(late) == [2, 7, 9, 10]
    assert (late[2]["payload"], late[2]["id"] in heard) == (b"test".hex(), True)
    for f_cnt in (2, 7):
        assert late[f_cnt]["late"] is True
        assert late[f_cnt]["time"] == heard[late[f_cnt]["id"]]["time"]
    assert late[7]["measurements"]
    radio = status["radio"]
    assert radio["heard"] == radio["filtered"] + radio["stored"] + radio["dropped"]
    assert (radio["stored"], radio["reread"], status["store"]["balance"]) == (4, 2, 0)


def test_what_was_read_again_moves_the_counter_of_a_silent_device_and_keeps_it_over_a_kill(line):
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        forwarder.push(frame(5), frame(6))
        line.until(lambda status: status["radio"]["filtered"] == 2)
        add_device(line)
        assert ask(line, "uplink", "reread")["records"] == 2
        line.kill()
        line.start()
        assert ask(line, "uplink", "reread")["records"] == 0
        forwarder.push(frame(6))
        status = line.until(lambda status: status["radio"]["filtered"] == 3)
        assert status["radio"]["refused"] == {"unknown_device": 2, "repetition": 1}
        forwarder.push(frame(7))
        status = line.until(lambda status: status["radio"]["stored"] == 3)
    assert status["store"]["balance"] == 0


def test_late_readings_do_not_take_a_session_back_over_a_kill(line):
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        forwarder.push(frame(5))
        line.until(lambda status: status["radio"]["filtered"] == 1)
        add_device(line)
        line.until(lambda status: status["store"]["devices"] == 1)
        forwarder.push(frame(20))
        line.until(lambda status: status["radio"]["stored"] == 1)
        assert ask(line, "uplink", "reread")["records"] == 1
        line.kill()
        line.start()
        forwarder.push(frame(12))
        status = line.until(lambda status: status["radio"]["filtered"] == 2)
    assert status["radio"]["refused"]["replay"] == 1


def test_readings_without_a_codec_are_decoded_once_there_is_one(line, mosquitto):
    add_device(line, codec="heyliot/heywaste")
    assert line.command("device", "set", DEV_EUI, "--codec", "elsys/ers").returncode == 0
    line.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(line.udp_port) as forwarder:
        connected(line)
        forwarder.push(frame(1))
        ((_, payload),) = platform.wait_for(1)
        first = json.loads(payload)
        assert first["problem"]
        assert ask(line, "uplink", "reread")["records"] == 0  # the same codec fails again: no news
        assert line.command("device", "set", DEV_EUI, "--codec", "heyliot/heywaste").returncode == 0
        assert ask(line, "uplink", "reread", "--dev-eui", DEV_EUI, "--from", "-1h")["records"] == 1
        (_, (_, payload)) = platform.wait_for(2)
        second = json.loads(payload)
        assert ask(line, "uplink", "reread", "--all")["records"] == 0
        status = line.until(lambda status: sink(status)["acknowledged"] == 2)
    assert second["problem"] is None
    assert {m["quantity"] for m in second["measurements"]} >= {"fill_level"}
    assert second["late"] is True
    assert [second[key] for key in ("id", "time", "payload", "f_cnt")] == [
        first[key] for key in ("id", "time", "payload", "f_cnt")
    ]
    assert second["record_id"] != first["record_id"]
    assert status["store"]["balance"] == 0


def test_the_log_is_read_while_the_gateway_runs_and_while_it_does_not(line):
    add_device(line)
    line.start()
    with PacketForwarder(line.udp_port) as forwarder:
        forwarder.push(frame(1), frame(2), bytes.fromhex("40efcdab010001000102030405060708"), frame(3))
        line.until(lambda status: status["radio"]["heard"] == 4 and status["radio"]["stored"] == 3)
        line.until(lambda _: len(lines_of(line, "uplink", "export", "--raw")) == 4)
        running = lines_of(line, "uplink", "export", "--raw", "--json")
        newest = ask(line, "uplink", "list", "--limit", "2")
    line.stop()
    assert lines_of(line, "uplink", "export", "--raw") == running
    assert [one["f_cnt"] for one in newest] == [3, 2]
    unopened = [one for one in running if one["dev_eui"] is None]
    assert [(one["reason"], one["dev_addr"], one["phy_payload"]) for one in unopened] == [
        ("unknown_device", "01abcdef", "40efcdab010001000102030405060708")
    ]
    opened = [one for one in running if one["dev_eui"] is not None]
    assert [one["phy_payload"] for one in opened] == [frame(number).hex() for number in (1, 2, 3)]
    exported = lines_of(line, "uplink", "export")
    assert [{**one, "phy_payload": raw["phy_payload"]} for one, raw in zip(exported, opened, strict=True)] == opened
