"""Other servers' words over a broker: when a record of several messages is delivered, and what is asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from shutil import which

import pytest
from brokers import Collector
from contract_example import GATEWAY_EUI, record, records
from lying_broker import LyingBroker, puback
from mqtt_sinks import mqtt_sink

from gateway.delivery.sink import AskingLink, SinkUnavailable, TellingLink
from gateway.model import Decoded, DevEui, Device, DownlinkRefused
from gateway.regions import region_named
from gateway.wire.chirpstack_events import ChirpstackWords
from gateway.wire.own_downlink import DownlinkAsked, read_downlink
from gateway.wire.ttn_events import TtnWords

pytestmark = pytest.mark.usefixtures("quiet_loop")

LONG_S, SHORT_S = 10.0, 0.25
DEV_EUI = DevEui.parse("70b3d57ed0000001")
FAILED = Decoded("heyliot/heywaste@1", None, problem="line 3: x is not defined")


def chirpstack() -> ChirpstackWords:
    return ChirpstackWords(GATEWAY_EUI, region_named("EU868"), "17c82e96-be03-4f38-aef3-f83d48582d97")


def ttn() -> TtnWords:
    return TtnWords(GATEWAY_EUI, "wells", tenant="ttn")


async def publish(broker, topic: str, message: str) -> None:
    program = which("mosquitto_pub")
    if program is None:
        pytest.skip("no mosquitto_pub here: apt-get install mosquitto-clients")
    command = [program, "-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", topic, "-m", message]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=LONG_S)


# --- delivered


async def test_a_record_of_several_messages_is_delivered_when_each_of_them_is():
    def all_but_the_second_log(publish, nth):
        return () if nth == 1 else (puback(publish.packet_id),)

    batch = [record(1, decoded=FAILED), record(2, decoded=FAILED), record(3)]
    # What does not end with /up counts as a status to this broker: the logs.
    async with LyingBroker(on_status=all_but_the_second_log) as broker:
        sink = mqtt_sink(broker.url, chirpstack(), ack_timeout_s=SHORT_S)
        async with sink.connect() as link:
            with pytest.raises(SinkUnavailable) as caught:
                await link.deliver(batch)
        assert (len(broker.readings), len(broker.statuses)) == (3, 2)
    assert caught.value.acknowledged == (1, 3)


async def test_a_record_of_which_any_message_is_refused_for_good_is_refused():
    async with (
        LyingBroker(on_status=lambda publish, _: (puback(publish.packet_id, 0x99),)) as broker,
        mqtt_sink(broker.url, chirpstack()).connect() as link,
    ):
        refusals = await link.deliver([record(1, decoded=FAILED), record(2)])
    assert [refusal.position for refusal in refusals] == [1]


async def test_a_subscriber_is_needed_for_the_reading_and_not_for_what_goes_with_it():
    async with LyingBroker(on_status=lambda publish, _: (puback(publish.packet_id, 0x10),)) as broker:
        async with mqtt_sink(broker.url, chirpstack(), need_subscriber=True).connect() as link:
            assert await link.deliver([record(1, decoded=FAILED)]) == []
        assert len(broker.statuses) == 1


@pytest.mark.parametrize("words", [chirpstack, ttn])
async def test_readings_wait_for_a_subscriber_where_one_is_required(mosquitto, words):
    async with mqtt_sink(mosquitto.url, words(), need_subscriber=True).connect() as link:
        with pytest.raises(SinkUnavailable, match="no matching subscribers"):
            await link.deliver(records(2))
        async with Collector(mosquitto) as collector:
            assert await link.deliver(records(2)) == []
            heard = await collector.until(lambda heard: len(heard) >= 2)
    assert all(message.topic.endswith("/up") for message in heard)


@pytest.mark.parametrize("words", [chirpstack, ttn])
async def test_nothing_but_these_servers_topics_is_written(mosquitto, words):
    async with Collector(mosquitto) as collector:
        async with mqtt_sink(mosquitto.url, words()).connect() as link:
            await link.announce("status", {"uptime_s": 7}, retain=True)
            await link.announce("balance", {"heard": 7})
            assert await link.deliver(records(1)) == []
        heard = await collector.until(len)
    assert [message.retain for message in heard] == [False]


async def test_what_happened_to_a_device_is_told_in_these_words(mosquitto):
    refused = DownlinkRefused(Device(DEV_EUI, "valve"), "a", "the codec cannot encode this", record().reading.heard)
    async with Collector(mosquitto) as collector, mqtt_sink(mosquitto.url, ttn()).connect() as link:
        assert isinstance(link, TellingLink)
        await link.report(refused)
        (message,) = await collector.until(len)
    assert message.topic == "v3/wells@ttn/devices/valve/down/failed"


async def test_home_assistant_finds_the_device_before_its_reading_and_after_it_came_later(mosquitto):
    sink = mqtt_sink(mosquitto.url, home_assistant=home_assistant())
    async with Collector(mosquitto, "#") as collector, sink.connect() as link:
        assert await link.deliver([record(1), record(2)]) == []
        heard = await collector.until(lambda heard: len(heard) >= 4)
    order = [message.topic.rpartition("/")[2] for message in heard]
    assert order[:4] == ["status", "config", "up", "up"]
    async with Collector(mosquitto, "homeassistant/#") as late_comer:
        (config,) = await late_comer.until(len)
    assert config.retain
    assert json.loads(config.payload)["unique_id"] == "lorawan_70b3d57ed0000001_fill_level"


def home_assistant():
    from gateway.wire.home_assistant import HomeAssistant

    return HomeAssistant("homeassistant", "lorawan")


# --- asked


async def test_commands_reach_the_gateway_and_nonsense_does_not(mosquitto):
    words = chirpstack()
    topic = words.asking[0].replace("+", str(DEV_EUI))
    async with mqtt_sink(mosquitto.url, words).connect() as link:
        assert isinstance(link, AskingLink)
        asked = asyncio.create_task(_first(link))
        whom, request = await _published_until(
            asked,
            mosquitto,
            (topic, "open the valve"),
            (topic.replace(str(DEV_EUI), "nobody"), '{"fPort": 10, "data": "AQ=="}'),
            (topic, '{"devEui": "70b3d57ed0000001", "fPort": 10, "data": "AQ==", "id": "x"}'),
        )
    assert (whom, read_downlink(request)) == (DEV_EUI, DownlinkAsked(10, b"\x01", None, ref="x"))


async def test_pushes_reach_the_gateway_by_the_name_of_the_device(mosquitto):
    async with mqtt_sink(mosquitto.url, ttn()).connect() as link:
        asked = asyncio.create_task(_first(link))
        push = {"downlinks": [{"f_port": 15, "frm_payload": "vu8=", "correlation_ids": ["my-id"]}]}
        topic = "v3/wells@ttn/devices/well-07/down/replace"
        whom, request = await _published_until(asked, mosquitto, (topic, json.dumps(push)))
    read = read_downlink(request)
    assert (whom, read.payload, read.clear) == ("well-07", b"\xbe\xef", True)
    assert read.ref is not None
    assert read.ref.endswith(" my-id")
    assert replace(read, ref=None) == DownlinkAsked(15, b"\xbe\xef", None, clear=True)


async def _first(link):
    async for request in link.downlinks():
        return request
    raise AssertionError("nobody may ask")


async def _published_until(asked, broker, *messages: tuple[str, str]) -> tuple[DevEui | str, bytes]:
    """What was asked for; the messages are published again and again, because nobody sees when the gateway listens."""
    async with asyncio.timeout(LONG_S):
        while not asked.done():
            for topic, message in messages:
                await publish(broker, topic, message)
    return asked.result()
