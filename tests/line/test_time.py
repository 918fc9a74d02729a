"""Honest time, with a real process, a real disk and a real broker; only the machine's clocks are told by the test."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from daemons import PacketForwarder, Subscriber
from told_gateway import ToldGateway

# lora-packet 0.9.3, README.md, "Decoding packets": a frame with both keys.
PHY = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
DEVICE = (
    "--dev-addr", "49be7df1", "--nwk-s-key", "44024241ed4ce9a68c6a8bc055233fd3",
    "--app-s-key", "ec925802ae430ca77fd3dd73cb2cc588", "--codec", "heyliot/heywaste",
)  # fmt: skip
TWENTY_YEARS_S = 20 * 365 * 86_400


@pytest.fixture
def gateway(tmp_path, mosquitto):
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{mosquitto.port}"\nbacklog_delay = "0s"\n'
    with ToldGateway(tmp_path, sink=sink) as gateway:
        added = gateway.command("device", "add", "--dev-eui", "0200000000000001", "--name", "PAV Antigone 12", *DEVICE)
        assert added.returncode == 0, added.stderr
        yield gateway


def clock_is(state):
    return lambda status: status["clock"]["state"] == state


def test_the_clock_says_what_it_rests_on_and_a_power_cut_does_not_make_it_forget(gateway):
    gateway.start()
    status = gateway.until(clock_is("none"))
    assert (status["clock"]["quality"], status["clock"]["uncertainty_ms"]) == ("unsynced", None)
    gateway.time.synchronise()
    status = gateway.until(clock_is("ntp"))
    assert 20 <= status["clock"]["uncertainty_ms"] < 1_000
    gateway.until(lambda _: (gateway.data / "floor").exists())
    gateway.kill()

    gateway.time.power_up()
    gateway.start()
    status = gateway.until(clock_is("floor"))
    assert "has already been" in status["clock"]["evidence"]
    gateway.time.synchronise()
    gateway.until(clock_is("ntp"))
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.log

    gateway.time.set_wall(-3600)  # nobody vouches for it any more, in the same boot
    gateway.start()
    status = gateway.until(clock_is("holdover"))
    assert (status["clock"]["quality"], status["clock"]["steps"]) == ("corrected", 0)
    assert status["clock"]["uncertainty_ms"] < 1_000


def test_a_clock_that_jumps_by_hours_and_decades_holds_nothing_up(gateway, mosquitto):
    """T-61: a frame at each jump is stored, delivered and aged as if nothing had happened."""
    gateway.time.synchronise()
    gateway.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(gateway.udp_port) as forwarder:
        gateway.until(lambda status: status["sinks"][0]["state"] == "connected")
        jumps = [(3600, None), (-7200, None), (TWENTY_YEARS_S, 1_000), (-TWENTY_YEARS_S, None)]
        for number, (jump_s, max_error_us) in enumerate(jumps, start=1):
            gateway.time.set_wall(jump_s, max_error_us)
            status = gateway.until(lambda status, number=number: status["clock"]["steps"] == number)
            assert status["clock"]["state"] == "holdover"
            assert status["uptime_s"] < 60
            forwarder.push(PHY)
        gateway.until(lambda status: status["radio"]["heard"] == len(jumps))
        ((_, payload),) = platform.wait_for(1)  # the others repeat its counter
        status = gateway.until(lambda status: status["sinks"][0]["acknowledged"] == 1)
    assert json.loads(payload)["late"] is False
    assert (status["radio"]["stored"], status["store"]["balance"]) == (1, 0)
    assert status["radio"]["last_heard_s"] < 60
    assert status["sinks"][0]["oldest_age_s"] is None
    assert gateway.stop() == 0


def test_a_frame_heard_at_1970_reaches_the_broker_with_its_true_date(gateway, mosquitto):
    """T-60, with a power cut between hearing and delivery."""
    mosquitto.stop()
    gateway.start()
    with PacketForwarder(gateway.udp_port) as forwarder:
        before_us = gateway.time.true_us
        forwarder.push(PHY)
        after_us = gateway.time.true_us
        gateway.until(lambda status: status["radio"]["stored"] == 1)
    anchors = gateway.data / "anchors"
    known_before = anchors.stat().st_size if anchors.exists() else 0
    gateway.time.synchronise()
    gateway.until(lambda _: anchors.exists() and anchors.stat().st_size > known_before)
    gateway.kill()
    gateway.time.power_up()
    mosquitto.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform:
        gateway.start()
        _, payload = platform.wait_for(1)[0]  # what could not be told before the cut may follow as a correction
    reading = json.loads(payload)
    assert reading["time_quality"] == "corrected"
    date_us = datetime.fromisoformat(reading["time"]).timestamp() * 1e6
    off_us = reading["time_uncertainty_ms"] * 1000
    assert before_us - off_us <= date_us <= after_us + off_us


def test_what_left_with_a_guess_is_corrected_under_the_same_record_id(gateway, mosquitto):
    """P21: sent before the time was known, sent once more when it is."""
    gateway.start()
    with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(gateway.udp_port) as forwarder:
        gateway.until(lambda status: status["sinks"][0]["state"] == "connected")
        before_us = gateway.time.true_us
        forwarder.push(PHY)
        platform.wait_for(1)
        gateway.time.synchronise()
        (_, guess), (_, corrected) = platform.wait_for(2)
    guess, corrected = json.loads(guess), json.loads(corrected)
    assert (guess["time_quality"], corrected["time_quality"]) == ("unsynced", "corrected")
    assert guess["record_id"] == corrected["record_id"]
    date_us = datetime.fromisoformat(corrected["time"]).timestamp() * 1e6
    assert abs(date_us - before_us) <= corrected["time_uncertainty_ms"] * 1000 + 5_000_000
    assert gateway.until(lambda _: True)["store"]["balance"] == 0
