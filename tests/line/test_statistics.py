"""What ChirpStack is told of the gateway every so often: all that the antenna heard, and what the law has left."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter

import aiomqtt
import pytest
from brokers import HOST, Collector
from daemons import GatewayProcess
from test_line import PHY
from test_own_network import DownForwarder

EUI = "0016c001ff10a235"
MQTT = '[lns.city]\ntype = "chirpstack-mqtt"\nserver = "{}"\nmarshaler = "json"\nstats_interval = "1s"\n'
HEARD_US = 1_000_000_000


def stranger(f_cnt: int) -> bytes:
    return PHY[:1] + b"\x09\x02\x03\x26" + PHY[5:6] + f_cnt.to_bytes(2, "little") + PHY[8:]


def command(up: dict, downlink_id: int, frequency_hz: int) -> str:
    lora = {"bandwidth": 125_000, "spreadingFactor": 9, "codeRate": "CR_4_5", "polarizationInversion": True}
    item = {
        "phyPayload": base64.b64encode(bytes(20)).decode(),
        "txInfo": {
            "frequency": frequency_hz, "power": 14, "modulation": {"lora": lora | {"noCrc": True}},
            "timing": {"delay": {"delay": "3s"}}, "context": up["rxInfo"]["context"],
        },
    }  # fmt: skip
    return json.dumps({"downlinkId": downlink_id, "items": [item], "gatewayId": EUI})


async def test_statistics_are_true(tmp_path, mosquitto):
    def said(heard, what):
        return [json.loads(message.payload) for message in heard if message.topic.endswith(f"event/{what}")]

    def told(heard, reached):
        return any(reached(one) for one in said(heard, "stats"))

    async with Collector(mosquitto) as city, aiomqtt.Client(HOST, mosquitto.port) as server:
        with GatewayProcess(tmp_path, sink=MQTT.format(mosquitto.url)) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda heard: said(heard, "stats"))
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                forwarder.hear(stranger(2), counter_us=HEARD_US + 500_000, freq=868.3, datr="SF12BW125")
                forwarder.hear(stranger(3), counter_us=HEARD_US + 900_000, freq=868.3, stat=-1)
                heard = await city.until(lambda heard: len(said(heard, "up")) == 2)
                up = said(heard, "up")[0]
                topic = f"eu868/gateway/{EUI}/command/down"
                await server.publish(topic, command(up, 1, 868_100_000), qos=1)
                assert (await asyncio.to_thread(forwarder.downlink))["tmst"] == HEARD_US + 3_000_000
                await server.publish(topic, command(up, 2, 923_300_000), qos=1)
                await city.until(
                    lambda heard: told(heard, lambda one: one.get("txPacketsPerStatus", {}).get("TX_FREQ"))
                )
                heard = await city.until(lambda heard: told(heard, lambda one: one.get("txPacketsEmitted")))
    stats = said(heard, "stats")
    assert sum(one.get("rxPacketsReceived", 0) for one in stats) == 3
    assert sum(one.get("rxPacketsReceivedOk", 0) for one in stats) == 2
    assert total(stats, "rxPacketsPerFrequency") == {"868100000": 1, "868300000": 1}
    factors = [
        row["modulation"]["lora"]["spreadingFactor"] for one in stats for row in one.get("rxPacketsPerModulation", [])
    ]
    assert sorted(factors) == [7, 12]
    assert sum(one.get("txPacketsReceived", 0) for one in stats) == 2
    assert sum(one.get("txPacketsEmitted", 0) for one in stats) == 1
    assert total(stats, "txPacketsPerFrequency") == {"868100000": 1}
    assert total(stats, "txPacketsPerStatus") == {"OK": 1, "TX_FREQ": 1}
    law = stats[-1]["dutyCycleStats"]
    assert (law["regulation"], law["window"]) == ("ETSI_EN_300_220", "3600s")
    bands = {(band["frequencyMin"], band["frequencyMax"]): band for band in law["bands"]}
    # ERC/REC 70-03, annex 1, h1.6: 868.0 to 868.6 MHz, 1 % of the hour.
    used = bands[868_000_000, 868_600_000]
    assert used["loadMax"] == "36s"
    # 20 bytes at SF9 in 125 kHz, explicit header and no CRC: 12.25 and 33 symbols of 4.096 ms (SX1276, 4.1.1.6).
    assert float(used["loadTracked"].removesuffix("s")) == pytest.approx(0.185344, abs=0.001)
    assert {band["loadTracked"] for place, band in bands.items() if place != (868_000_000, 868_600_000)} == {"0s"}


def total(stats: list[dict], key: str) -> Counter[str]:
    return sum((Counter(one.get(key, {})) for one in stats), Counter())
