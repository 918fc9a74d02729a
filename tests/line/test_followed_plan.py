"""The radio of a running gateway follows the channels of one server, in a process of its own, and over a restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from daemons import GatewayProcess
from test_downlinks import publish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EUI = "0016c001ff10a235"
THREE_HZ, FOUR_HZ = [868_100_000, 868_300_000, 868_500_000], [867_100_000, 868_100_000, 868_300_000, 868_500_000]
EIGHT_HZ = [867_100_000 + 200_000 * at for at in range(8)]


class AirGateway(GatewayProcess):
    """A gateway on the simulated air, in the radio process."""

    def __init__(self, folder: Path, broker, channels: str) -> None:
        super().__init__(folder)
        self.settings.write_text(
            f'[gateway]\neui = "{EUI}"\n[store]\npath = "{self.data}"\n'
            f'[radio]\ntype = "virtual"\nscenario = "village.toml"\nprocess = true\nchannels = "{channels}"\n'
            f'[console]\nlisten = "127.0.0.1:0"\n'
            f'[lns.city]\ntype = "chirpstack-mqtt"\nserver = "{broker.url}"\nmarshaler = "json"\n'
            f'[lns.other]\ntype = "chirpstack-mqtt"\nserver = "{broker.url}"\nmarshaler = "json"\n'
            'topic_prefix = "elsewhere"\n'
        )

    def begin(self) -> None:
        self.start()
        self.until(lambda status: [one["state"] for one in status["lns"]] == ["connected"] * 2)


def configure(broker, channels_hz: Sequence[int], version: str, prefix: str = "eu868") -> None:
    modulation = {"bandwidth": 125_000, "spreadingFactors": [7, 8, 9, 10, 11, 12]}
    channels = [{"frequency": hz, "loraModulationConfig": modulation} for hz in channels_hz]
    wish = {"gatewayId": EUI, "version": version, "channels": channels}
    publish(broker, f"{prefix}/gateway/{EUI}/command/config", json.dumps(wish))


def heard_hz(status) -> list[int]:
    return sorted(status["radio"]["receivers"][0]["channels_hz"])


@pytest.mark.parametrize("restart", ["in order", "by a power cut"])
def test_one_server_is_followed_and_remembered(tmp_path, mosquitto, restart):
    with AirGateway(tmp_path, mosquitto, "city") as gateway:
        gateway.begin()
        assert heard_hz(gateway.status()) == EIGHT_HZ
        configure(mosquitto, FOUR_HZ, "seven", prefix="elsewhere")
        configure(mosquitto, THREE_HZ, "one")
        status = gateway.until(lambda status: status["radio"]["channels"]["version"] == "one")
        assert heard_hz(status) == THREE_HZ
        city, other = (one["channels"] for one in status["lns"])
        assert (city["followed"], city["version"], city["sentence"]) == (True, "one", "")
        assert other["sentence"] == 'will not hear 867.1 MHz, which it wants: radio.channels = "city"'
        process = status["radio"]["receivers"][0]["process"]
        for _ in range(3):
            configure(mosquitto, THREE_HZ, "one")
        configure(mosquitto, [*EIGHT_HZ, 869_525_000], "nine")
        status = gateway.until(lambda status: status["lns"][0]["refused"].get("configuration"))
        assert "9 channels: a chip hears 1 to 8" in status["radio"]["channels"]["evidence"]
        assert "stays with what lns city wanted before" in status["lns"][0]["channels"]["sentence"]
        assert heard_hz(status) == THREE_HZ
        assert status["radio"]["receivers"][0]["process"] == process  # nothing of that disturbed it
        assert (gateway.data / "channel-plan.json").exists()
        if restart == "in order":
            assert gateway.stop() == 0
        else:
            gateway.kill()
        mosquitto.stop()
        gateway.start()
        status = gateway.until(lambda status: status["radio"]["state"] == "hearing")
        assert heard_hz(status) == THREE_HZ
        assert "it has not said anything since" in status["radio"]["channels"]["evidence"]
        assert status["lns"][0]["channels"]["version"] == "one"
        mosquitto.start()
    assert gateway.log.count("the radio hears what lns city wants") == 1
    assert gateway.log.count("lns other: will not hear 867.1 MHz") == 1
    assert gateway.log.count("9 channels: a chip hears 1 to 8") == 1


def test_nobody_is_followed_by_default(tmp_path, mosquitto):
    with AirGateway(tmp_path, mosquitto, "region") as gateway:
        gateway.begin()
        configure(mosquitto, THREE_HZ, "one")
        configure(mosquitto, [*THREE_HZ, 865_100_000], "two", prefix="elsewhere")
        status = gateway.until(lambda status: status["lns"][1]["channels"]["sentence"])
        assert status["lns"][1]["channels"]["sentence"].startswith("will not hear 865.1 MHz, which it wants")
        assert status["radio"]["channels"]["evidence"] == "the channels of EU868, as the settings have them"
        assert heard_hz(status) == EIGHT_HZ
        assert status["network"]["unheard"] == ""
        assert not (gateway.data / "channel-plan.json").exists()


def test_devices_of_its_own_that_it_cannot_hear_any_more_are_named(tmp_path, mosquitto):
    with AirGateway(tmp_path, mosquitto, "city") as gateway:
        gateway.begin()
        configure(mosquitto, [867_100_000, 867_300_000, 868_100_000], "few")
        status = gateway.until(lambda status: status["radio"]["channels"]["version"] == "few")
        assert (
            status["network"]["unheard"] == "devices that join here also send on 868.3, 868.5 MHz, which is not heard"
        )
