"""The gateway at a real ChirpStack Gateway Bridge: its events up, its commands down, what it hears of them.

The shapes of its JSON are those of `chirpstack-api` (gw.proto) as the bridge of version 4 writes them.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from daemons import GatewayProcess, Subscriber, free_udp_port
from test_downlinks import publish
from test_line import PHY
from test_own_network import DownForwarder

BRIDGE = shutil.which("chirpstack-gateway-bridge")
pytestmark = pytest.mark.skipif(
    BRIDGE is None, reason="put chirpstack-gateway-bridge (version 4, chirpstack.io) into the PATH"
)
TOPIC = "gateway/0016c001ff10a235"
DOWN = bytes.fromhex("60040302018003000a")


BACKENDS = {
    "semtech_udp": '[backend.semtech_udp]\nudp_bind="127.0.0.1:{port}"\n',
    "basic_station": (
        '[backend.basic_station]\nbind="127.0.0.1:{port}"\nregion="EU868"\n'
        "frequency_min=863000000\nfrequency_max=870000000\n"
        "[[backend.basic_station.concentrators]]\n"
        "[backend.basic_station.concentrators.multi_sf]\nfrequencies={channels}\n"
    ),
}


@contextmanager
def bridge(folder, broker, backend="semtech_udp", prefix="", channels=()):
    """A bridge between a port of its own and the broker; the region's prefix has a slash at its end."""
    port = free_udp_port()
    settings = folder / "bridge.toml"
    gateway = f"{prefix}gateway/{{{{ .GatewayID }}}}"
    settings.write_text(
        f'[backend]\ntype="{backend}"\n{BACKENDS[backend].format(port=port, channels=list(channels))}'
        f'[integration]\nmarshaler="json"\n[integration.mqtt]\n'
        f'event_topic_template="{gateway}/event/{{{{ .EventType }}}}"\n'
        f'state_topic_template="{gateway}/state/{{{{ .StateType }}}}"\n'
        f'command_topic_template="{gateway}/command/#"\n'
        f'[integration.mqtt.auth]\ntype="generic"\n'
        f'[integration.mqtt.auth.generic]\nservers=["tcp://127.0.0.1:{broker.port}"]\n'
    )
    assert BRIDGE is not None
    with (folder / "bridge.log").open("wb") as log, subprocess.Popen([BRIDGE, "-c", settings], stderr=log) as process:
        try:
            yield port
        finally:
            process.terminate()


@contextmanager
def started(gateway):
    """The gateway started, and a forwarder that hears for it."""
    gateway.start()
    with DownForwarder(gateway.udp_port) as forwarder:
        yield forwarder


def command(downlink_id: int, context: str, *delays: str, frequency_hz: int = 868_100_000) -> str:
    lora = {"bandwidth": 125_000, "spreadingFactor": 7, "codeRate": "CR_4_5", "polarizationInversion": True}
    items = [
        {
            "phyPayload": base64.b64encode(DOWN).decode(),
            "txInfo": {
                "frequency": frequency_hz, "power": 14, "modulation": {"lora": lora},
                "timing": {"delay": {"delay": delay}}, "context": context,
            },
        }
        for delay in delays
    ]  # fmt: skip
    return json.dumps({"downlinkId": downlink_id, "gatewayId": "0016c001ff10a235", "items": items})


def test_a_bridge_takes_frames_and_status_and_hears_what_became_of_its_downlinks(tmp_path, mosquitto):
    with Subscriber(mosquitto.port, f"{TOPIC}/#") as platform, bridge(tmp_path, mosquitto) as port:
        server = f'[lns.city]\ntype = "semtech-udp"\nserver = "127.0.0.1:{port}"\nstat_interval = "500ms"\n'
        server += 'keepalive = "300ms"\n'
        with GatewayProcess(tmp_path, sink=server) as gateway, started(gateway) as forwarder:
            platform.wait_for(1, ending="state/conn")  # from now on it hears commands
            forwarder.hear(PHY, counter_us=4_294_000_000)
            up = json.loads(platform.wait_for(1, ending="event/up")[0][1])
            assert base64.b64decode(up["phyPayload"]) == PHY
            assert (up["txInfo"]["frequency"], up["rxInfo"]["rssi"], up["rxInfo"]["snr"]) == (868_100_000, -97, 5.2)

            publish(mosquitto, f"{TOPIC}/command/down", command(1, up["rxInfo"]["context"], "1s"))
            assert forwarder.downlink()["tmst"] == 32_704
            publish(mosquitto, f"{TOPIC}/command/down", command(2, up["rxInfo"]["context"], "4s", "5s"))
            assert forwarder.downlink("TOO_LATE")["tmst"] == 3_032_704
            assert forwarder.downlink()["tmst"] == 4_032_704
            publish(
                mosquitto, f"{TOPIC}/command/down", command(3, up["rxInfo"]["context"], "8s", frequency_hz=923_300_000)
            )
            acks = [json.loads(text) for _, text in platform.wait_for(3, ending="event/ack")]
            stats = json.loads(platform.wait_for(2, ending="event/stats")[-1][1])
            facts = gateway.until(lambda status: status["lns"][0]["acknowledged"] == 1)["lns"][0]
    told = {ack["downlinkId"]: [item.get("status") for item in ack["items"]] for ack in acks}
    assert told == {1: ["OK"], 2: ["TOO_LATE", "OK"], 3: ["TX_FREQ"]}
    assert stats["gatewayId"] == "0016c001ff10a235"
    assert facts["downlinks"] == {"SENT": 2, "TOO_LATE": 1, "TX_FREQ": 1}
