"""A gateway that wakes up in 1970 without a network, and a GPS receiver beside it: real process, real serial line."""

import json
import socket
import subprocess
import sys
import time
from datetime import datetime

import pytest
from daemons import PROJECT, GatewayProcess, PacketForwarder
from gps.served_receiver import Served
from told_gateway import ToldGateway

pytest.importorskip("serial", reason="pip install pyserial")

# lora-packet 0.9.3, README.md, "Decoding packets": a frame of somebody.
PHY = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")


@pytest.fixture
def gateway(tmp_path):
    settings = f'[gps]\ndevice = "{tmp_path / "tty"}"\n'
    with ToldGateway(tmp_path, sink=settings, gateway="latitude = 1.5\nlongitude = 2.5") as gateway:
        yield gateway


@pytest.fixture
def receiver(gateway, tmp_path):
    with Served(tmp_path / "tty", lambda: gateway.time.true_us).serving() as served:
        yield served


def test_it_knows_time_and_place(gateway, receiver):
    receiver.say("fault no-fix")
    gateway.start()
    status = gateway.until(lambda status: status["gps"]["state"] == "no fix")
    assert (status["clock"]["state"], status["clock"]["quality"]) == ("none", "unsynced")
    assert status["position"] == {
        "latitude": 1.5, "longitude": 2.5, "altitude_m": None, "source": "settings", "accuracy_m": None,
    }  # fmt: skip
    with PacketForwarder(gateway.udp_port) as forwarder:
        forwarder.push(PHY)
        gateway.until(lambda status: status["radio"]["heard"] == 1)
        receiver.say("fault clear")
        status = gateway.until(lambda status: status["clock"]["state"] == "gps")
    assert status["clock"]["evidence"].startswith("set by GPS, within 501 ms")
    assert (status["clock"]["quality"], status["clock"]["steps"]) == ("gps", 0)
    assert status["gps"]["evidence"].startswith("fix 3D, 9 satellites")
    assert (status["gps"]["leap_s"], status["gps"]["baud"]) == (18, 9600)
    assert status["position"]["source"] == "gps"
    assert status["position"]["latitude"] == pytest.approx(43.6119, abs=1e-4)

    shown = gateway.command("status").stdout
    assert "GPS      ok    Fix" in shown
    assert "Fix 3D, 9 satellites" in shown
    assert "at 43.61" in shown
    assert "Clock    ok    GPS" in shown
    assert json.loads(gateway.command("status", "--json").stdout)["gps"]["state"] == "fix"

    receiver.say("fault unplug")
    status = gateway.until(lambda status: status["gps"]["state"] == "failed")
    assert status["clock"]["state"] == "gps"  # for a minute
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log


def test_a_receiver_whose_week_number_turned_over_sets_nothing(gateway, receiver):
    receiver.say("fault wrong-week")
    gateway.start()
    status = gateway.until(lambda status: status["gps"]["state"] == "refused")
    assert "turned over" in status["gps"]["evidence"]
    assert status["clock"]["state"] == "none"
    assert "firmware" in gateway.command("status").stdout


def test_a_receiver_that_is_not_there_stops_nothing(gateway):
    gateway.start()
    status = gateway.until(lambda status: "there is no" in status["gps"]["evidence"])
    assert (status["gps"]["state"], status["radio"]["state"]) == ("failed", "waiting")
    assert gateway.stop() == 0


TALKATIVE = """
[city]
name = "Meters"
seed = 1
[gateway]
latitude = 43.6
longitude = 3.9
[places]
"Near" = [43.601, 3.901]
[meters]
count = 20
interval = "20s"
name = "#"
places = ["Near"]
"""


def with_tmms(server):
    """The first frame that a network server gets with the time of GPS, in ms since 1980."""
    for _ in range(500):
        datagram = server.recv(65_536)
        if datagram[3] != 0:  # PUSH_DATA
            continue
        for rxpk in json.loads(datagram[12:]).get("rxpk", ()):
            if "tmms" in rxpk:
                return rxpk["tmms"], rxpk["time"]
    raise AssertionError


def test_frames_of_a_radio_process_carry_gps_time(tmp_path):
    """Daemon, radio process and receiver are programs of their own: the way of a frame is the whole one."""
    (tmp_path / "meters.toml").write_text(TALKATIVE)
    command = [sys.executable, "-m", "gateway", "simulate", "gps", "--pty", str(tmp_path / "tty")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT) as receiver,
        GatewayProcess(tmp_path) as gateway,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        try:
            receiver.stdout.readline()
            gateway.settings.write_text(
                f'[store]\npath = "{gateway.data}"\n[radio]\ntype = "virtual"\nprocess = true\n'
                f'scenario = "meters.toml"\n'
                f'[lns.city]\ntype = "semtech-udp"\nserver = "127.0.0.1:{server.getsockname()[1]}"\n'
                f"own_devices = true\n"
                f'[gps]\ndevice = "{tmp_path / "tty"}"\nprotocol = "ublox"\n[console]\nlisten = "127.0.0.1:0"\n'
            )
            gateway.start()
            status = gateway.until(lambda status: status["radio"]["receivers"][0]["gps_off_us"] is not None)
            assert status["radio"]["receivers"][0]["gps_off_us"] <= 1_000  # two clocks of one machine, read by turns
            assert "the counter follows GPS within" in status["gps"]["evidence"]
            assert status["gps"]["leap_source"] == "receiver"
            status = gateway.until(lambda status: (status["clock"]["uncertainty_ms"] or 999) <= 30)
            assert status["clock"]["state"] == "gps"
            tmms, shown = with_tmms(server)
            utc_ms = tmms + 315_964_800_000 - 18_000
            assert abs(utc_ms / 1000 - time.time()) < 30
            assert abs(datetime.fromisoformat(shown).timestamp() * 1000 - utc_ms) <= 600  # dated on the way, by message
            assert gateway.stop() == 0
        finally:
            receiver.terminate()
    assert "Traceback" not in gateway.log
