"""The gateway at a real ChirpStack: a device of the simulated air joins it, reports, and hears its downlink in RX1.

And ChirpStack's own configuration: it wants other channels than the region's, the radio follows, and ChirpStack learns
from the statistics that it does.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from chirpstack_server import CHIRPSTACK, REDIS, WHY_NOT, ChirpStack
from daemons import GatewayProcess, Subscriber
from test_gateway_bridge import BRIDGE, bridge

from gateway.simulator.scenario_file import load_scenario

if TYPE_CHECKING:
    from pathlib import Path

    from brokers import Mosquitto

pytestmark = pytest.mark.skipif(CHIRPSTACK is None or REDIS is None, reason=WHY_NOT)

EUI = "0016c001ff10a235"
FOUR_HZ = [867_100_000, 868_100_000, 868_300_000, 868_500_000]
SCENARIO = """
[city]
name = "Far away"
seed = 1
first_round = "4s"
[gateway]
latitude = 43.7339
longitude = 3.5490
[places]
here = [43.7340, 3.5491]
[rooms]
count = 1
joining = 1
interval = "6s"
name = "{place} #"
places = ["here"]
"""


class AirGateway(GatewayProcess):
    """A gateway whose radio is the simulated air in the radio process; it answers none of the devices itself."""

    def __init__(self, folder: Path, servers: str, *, channels: str = "region") -> None:
        super().__init__(folder)
        scenario = folder / "far.toml"
        scenario.write_text(SCENARIO)
        self.settings.write_text(
            f'[gateway]\neui = "{EUI}"\n[store]\npath = "{self.data}"\n'
            f'[radio]\ntype = "virtual"\nscenario = "{scenario}"\nprocess = true\nchannels = "{channels}"\n'
            f'[network]\nanswer = false\n[console]\nlisten = "127.0.0.1:0"\n{servers}\n'
        )


def the_device(folder: Path):
    (folder / "far.toml").write_text(SCENARIO)
    [found] = load_scenario(folder / "far.toml").joining_devices()
    return found


def happened(platform: Subscriber, what: str, *, within_s: float = 90) -> list[dict]:
    return [json.loads(text) for _, text in platform.wait_for(1, ending=f"event/{what}", within_s=within_s)]


@contextmanager
def way_to_it(kind: str, folder: Path, broker: Mosquitto):
    """The settings of a server that reaches ChirpStack: at its broker, or through its Gateway Bridge."""
    if kind == "chirpstack-mqtt":
        yield f'[lns.city]\ntype = "chirpstack-mqtt"\nserver = "{broker.url}"\nown_devices = true\n'
        return
    if BRIDGE is None:
        pytest.skip("put chirpstack-gateway-bridge (version 4, chirpstack.io) into the PATH")
    backend, scheme = {"semtech-udp": ("semtech_udp", ""), "basics-station": ("basic_station", "ws://")}[kind]
    with bridge(folder, broker, backend, "eu868/", FOUR_HZ) as port:
        yield f'[lns.city]\ntype = "{kind}"\nserver = "{scheme}127.0.0.1:{port}"\nown_devices = true\n'


SENT = {"chirpstack-mqtt": "OK", "semtech-udp": "SENT", "basics-station": "SENT"}


@pytest.mark.parametrize("kind", SENT)
def test_a_device_joins_reports_and_hears_its_downlink_in_rx1(tmp_path, mosquitto, kind):
    device, keys = the_device(tmp_path)
    with (
        ChirpStack(tmp_path, mosquitto, FOUR_HZ) as city,
        way_to_it(kind, tmp_path, mosquitto) as server,
        Subscriber(mosquitto.port, f"application/+/device/{device.dev_eui}/event/+") as platform,
    ):
        city.add_gateway(EUI)
        city.add_device(device, keys)
        city.enqueue(device.dev_eui, 10, b"\x01\x02\x03", confirmed=True)
        with AirGateway(tmp_path, server) as gateway:
            gateway.start()
            assert happened(platform, "join")[0]["deviceInfo"]["devEui"] == str(device.dev_eui)
            up = happened(platform, "up")[0]
            assert up["rxInfo"][0]["gatewayId"] == EUI
            assert base64.b64decode(up["data"])
            sent = happened(platform, "txack")[0]
            assert sent["gatewayId"] == EUI
            [confirmed] = happened(platform, "ack")  # the device has heard it, and says so
            assert confirmed["acknowledged"] is True
            facts = gateway.until(lambda status: status["lns"][0]["downlinks"].get(SENT[kind], 0) >= 2)["lns"][0]
        # The first that is tried is RX1, and none was refused: what was sent was heard there.
        assert set(facts["downlinks"]) == {SENT[kind]}
        assert facts["refused"] == {}


def test_the_plan_of_a_basics_station_is_followed(tmp_path, mosquitto):
    with (
        way_to_it("basics-station", tmp_path, mosquitto) as server,
        AirGateway(tmp_path, server, channels="city") as gateway,
    ):
        gateway.start()
        status = gateway.until(lambda status: status["radio"]["channels"]["evidence"] == "what lns city wants")
        assert sorted(status["radio"]["receivers"][0]["channels_hz"]) == FOUR_HZ
        assert status["lns"][0]["channels"]["followed"] is True
        assert status["lns"][0]["channels"]["unheard_hz"] == []
        assert json.loads((gateway.data / "channel-plan.json").read_text())["server"] == "city"


def test_the_radio_follows_its_channels_and_it_knows(tmp_path, mosquitto):
    server = f'[lns.city]\ntype = "chirpstack-mqtt"\nserver = "{mosquitto.url}"\nstats_interval = "1s"\n'
    server += 'marshaler = "json"\n'
    with (
        ChirpStack(tmp_path, mosquitto, FOUR_HZ) as city,
        Subscriber(mosquitto.port, f"eu868/gateway/{EUI}/command/config") as commands,
        AirGateway(tmp_path, server, channels="city") as gateway,
    ):
        city.add_gateway(EUI, stats_interval_s=1)
        gateway.start()
        status = gateway.until(lambda status: status["radio"]["channels"]["version"] is not None)
        assert status["radio"]["channels"]["channels_hz"] == FOUR_HZ
        assert status["radio"]["channels"]["evidence"] == "what lns city wants"
        assert sorted(status["radio"]["receivers"][0]["channels_hz"]) == FOUR_HZ
        version = status["radio"]["channels"]["version"]
        # Once it knows that its configuration is in force, it sends it no more.
        time.sleep(3)
        done = len(commands.wait_for(1, ending="command/config"))
        time.sleep(4)
        assert len(commands.wait_for(1, ending="command/config")) == done
        assert gateway.status()["radio"]["receivers"][0]["resets"] == {}
        assert gateway.stop() == 0
        # The network is away at the next start, and the gateway hears the same.
        mosquitto.stop()
        gateway.start()
        again = gateway.until(lambda status: status["radio"]["state"] == "hearing")["radio"]["channels"]
        assert (again["channels_hz"], again["version"]) == (FOUR_HZ, version)
        assert "wanted before the start" in again["evidence"]
        mosquitto.start()
