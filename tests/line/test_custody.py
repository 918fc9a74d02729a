"""The daily balance, with a real process, a real disk and a real broker; the test says which day it is."""

from __future__ import annotations

import json

import pytest
from daemons import PacketForwarder, Subscriber
from told_gateway import ToldGateway

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session

# The keys of lora-packet 0.9.3, README.md, "Decoding packets".
NWK_S_KEY, APP_S_KEY = "44024241ed4ce9a68c6a8bc055233fd3", "ec925802ae430ca77fd3dd73cb2cc588"
DEV_EUI = "0200000000000001"
_KEY = AesKey.parse(NWK_S_KEY)
SESSION = Session(
    DevEui.parse(DEV_EUI), DevAddr(0x49BE7DF1), MacVersion.V1_0_3, _KEY, _KEY, _KEY, AesKey.parse(APP_S_KEY)
)
DAY_S = 86_400


def frame(f_cnt: int) -> bytes:
    return seal(SESSION, f_cnt=f_cnt, f_port=2, payload=bytes.fromhex("1101f4"))


@pytest.fixture
def gateway(tmp_path, mosquitto):
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{mosquitto.port}"\nbacklog_delay = "0s"\n'
    with ToldGateway(tmp_path, sink=sink, store='commit_interval = "100ms"') as gateway:
        added = gateway.command(
            "device", "add", "--dev-eui", DEV_EUI, "--name", "PAV Antigone 12", "--codec", "heyliot/heywaste",
            "--dev-addr", "49be7df1", "--nwk-s-key", NWK_S_KEY, "--app-s-key", APP_S_KEY,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        yield gateway


def custody(gateway) -> dict:
    return json.loads((gateway.data / "custody.json").read_text())


def begun(gateway) -> bool:
    return (gateway.data / "custody.json").exists() and bool(custody(gateway)["morning"]["day"])


def on_day(gateway, number: int) -> None:
    """The machine is switched on, days after the first, and asks the time."""
    gateway.time.power_up()
    gateway.time.synchronise()
    gateway.time.set_wall(number * DAY_S, 20_000)


def test_a_day_with_kills_in_it_is_told_once_with_all_that_it_brought(gateway, mosquitto):
    gateway.time.synchronise()
    gateway.start()
    gateway.until(lambda _: begun(gateway))
    first_day = custody(gateway)["morning"]["day"]
    with PacketForwarder(gateway.udp_port) as forwarder:
        foreign = bytes.fromhex("40efcdab010001000102030405060708")
        forwarder.push(frame(1), frame(4), foreign)  # 2 and 3 were never heard
        gateway.until(lambda status: sent(status) == 2 and status["radio"]["heard"] == 3)
        gateway.stop()
        gateway.start()
        forwarder.push(frame(5), frame(5))
        gateway.until(lambda status: sent(status) == 3 and status["radio"]["heard"] == 5)
        gateway.stop()
        on_day(gateway, 1)
        with Subscriber(mosquitto.port, "lorawan/+/balance") as platform:
            gateway.start()
            ((topic, payload),) = platform.wait_for(1, ending="/balance")
            gateway.until(lambda _: custody(gateway)["told"]["city"] == json.loads(payload)["until"])
            gateway.kill()
            gateway.start()
            forwarder.push(frame(6))
            gateway.until(lambda status: sent(status) == 4)
            gateway.stop()
            on_day(gateway, 2)
            gateway.start()
            (_, (_, second_payload)) = platform.wait_for(2, ending="/balance")
    assert topic == "lorawan/0016c001ff10a235/balance"
    first, second = json.loads(payload), json.loads(second_payload)
    assert (first["day"], first["gateway_eui"]) == (first_day, "0016c001ff10a235")
    assert (first["heard"], first["stored"], first["dropped"], first["balance"]) == (5, 3, {}, 0)
    assert first["filtered"] == {"unknown_device": 1, "repetition": 1}
    city = first["sinks"]["city"]
    assert (city["acknowledged"], city["queued"], city["given_up"], city["skipped"]) == (3, 0, 0, 0)
    assert first["gaps"] == {"total": 2, "devices": 1, "by_device": [{"dev_eui": DEV_EUI, "frames": 2}]}
    assert first["losses"] == {"total": 0, "devices": 0, "by_device": []}
    assert second["day"] > first_day
    assert (second["heard"], second["stored"], second["sinks"]["city"]["acknowledged"]) == (1, 1, 1)
    assert second["since"] == first["until"]


def test_no_day_ends_while_nobody_knows_the_time_and_what_is_damaged_costs_a_day(gateway):
    gateway.start()  # at 1970, unsynchronised
    gateway.until(lambda _: (gateway.data / "custody.json").exists())
    assert custody(gateway)["morning"]["day"] == ""
    gateway.stop()
    for content in (
        b"",
        b"{",
        b"[]",
        b'{"morning": 7, "days": [], "told": {}}',
        b'{"morning": {"day": 1}, "days": []}',
    ):
        (gateway.data / "custody.json").write_bytes(content)
        gateway.start()
        gateway.until(lambda _, content=content: (gateway.data / "custody.json").read_bytes() != content)
        assert custody(gateway)["morning"]["day"] == ""
        assert gateway.stop() == 0


def sent(status: dict) -> int:
    return status["sinks"][0]["acknowledged"]
