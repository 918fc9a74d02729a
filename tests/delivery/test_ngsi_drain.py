"""The drain's one lane into the double of Orion, with outages: the truth stands there in the end, and its history."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

import pytest
from contract_example import GATEWAY_EUI
from fakes import MemoryOutbox, stamp_now
from ngsi_readings import GLASS, METER, ROOM, reading_of, truth
from orion_double import Orion

from gateway import parts
from gateway.delivery.drain import Drain
from gateway.delivery.ngsi_ld import NgsiLdSink
from gateway.delivery.ngsi_v2 import NgsiV2Sink
from gateway.settings import load_for_run
from gateway.wire.ngsi import date_text

pytestmark = pytest.mark.usefixtures("quiet_loop")

SAID = (
    (GLASS, "fill_level", "%"),
    (ROOM, "humidity", "%"),
    (METER, "volume", "m3"),
)
LONG_S = 30.0


@pytest.fixture
def made(tmp_path):
    """The sink, and how it is served, of a settings file."""

    def make(text: str):
        path = tmp_path / "gateway.toml"
        path.write_text(f'[sink.city]\nbacklog_delay = "0s"\nbacklog_rate = 10000\n{text}', encoding="utf-8")
        ((sink, manners),) = parts.sinks(load_for_run(path), GATEWAY_EUI, lambda: None)
        return sink, manners

    return make


async def test_three_outages_later_orion_has_the_truth(made):
    orion = Orion()
    await orion.start()
    sink, manners = made(f'type = "ngsi-v2"\nurl = "{orion.url}"\nservice = "city"\nbatch = 20\nin_flight = 16\n')
    assert not manners.live_first
    outbox, chance, records = MemoryOutbox(), random.Random(3), []
    outbox.subscribe("city")
    drain = Drain(outbox, sink, manners, now=stamp_now, facts=lambda: {"state": "online"}, rng=random.Random(1))
    running = asyncio.create_task(drain.run())
    async with asyncio.timeout(LONG_S):
        for day in range(4):
            for _ in range(40):
                position = outbox.head + 1
                number = chance.randrange(9)
                tags, quantity, unit = SAID[number % 3]
                minute = position * 10 - chance.choice((0, 0, 0, 600))
                record = reading_of(position, minute, (quantity, chance.randrange(100), unit), number=number, tags=tags)
                records.append(replace(record, gateway_eui=outbox.record_of(record.reading).gateway_eui))
                outbox.put(record.reading)
                await asyncio.sleep(0.001)
            if day < 3:
                await orion.stop()
                await asyncio.sleep(0.2)
                await orion.start()
        while outbox.progress("city").queued(outbox.head):
            await asyncio.sleep(0.05)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await orion.stop()
    assert outbox.dead_letters == []
    kept = {key[2:]: attributes for key, attributes in orion.entities.kept.items()}
    for key, expected in truth(records).items():
        found = {name: attribute["value"] for name, attribute in kept[key].items() if name != "TimeInstant"}
        assert found == expected
    told = [one for one in orion.told if one["id"].startswith("urn:ngsi-ld:WasteContainer")]
    sent = [one for one in records if one.reading.tags == GLASS]
    assert {(one["id"][-1], one["TimeInstant"]["value"]) for one in told} >= {
        (str(one.reading.dev_eui[-1]), key_time(one)) for one in sent
    }
    assert max(orion.most_in_flight.values()) == 1


def key_time(record):
    return date_text(record.reading.heard.utc_us // 1000)


def test_what_the_settings_say_reaches_the_sink(made, tmp_path):
    (tmp_path / "key").write_text("a key of sixteen bytes or more")
    (tmp_path / "secret").write_text("s3cret")
    both = (
        'oauth_url = "https://keyrock.example.org/oauth2/token"\nclient_id = "gw"\n'
        f'client_secret_file = "{tmp_path / "secret"}"\nentity_id = "urn:x:{{model}}:{{dev_eui}}"\nlocation = false\n'
        f'pseudonym_key_file = "{tmp_path / "key"}"\n'
    )
    sink, _ = made(f'type = "ngsi-v2"\nurl = "http://h:1026"\nhistory_url = "http://ql:8668"\n{both}')
    assert isinstance(sink, NgsiV2Sink)
    destination = sink.destination
    assert destination.notify_url == "http://ql:8668/v2/notify"
    assert destination.credentials.client_secret() == "s3cret"
    assert destination.rules.entity_id == "urn:x:{model}:{dev_eui}"
    assert destination.rules.privacy.hides_devices
    assert not destination.rules.location
    text = f'type = "ngsi-ld"\nurl = "http://h"\ntenant = "t"\ncontext = ["http://c/x"]\ntemporal = false\n{both}'
    sink, manners = made(text)
    assert isinstance(sink, NgsiLdSink)
    assert sink.destination.context.addresses == ("http://c/x",)
    assert sink.destination.headers["NGSILD-Tenant"] == "t"
    assert not sink.standing.temporal
    assert not manners.live_first
