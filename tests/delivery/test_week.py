"""A week of a city, three gateways that all hear everything, eight kinds of destinations, three outages.

While one of them is cut off it hears some frames alone, which come late.

The dates are a story's, moved by hand; the sinks are those of settings files, and the brokers are real (mosquitto,
nats-server) or doubles held to recorded exchanges. `make week` tells longer ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from brokers import Collector
from contract_example import READING
from fakes import MemoryOutbox
from http_servers import HttpDouble
from nats_servers import NatsProcess, stream_of
from ngsi_ld_double import LdBroker
from ngsi_readings import PLACE, T0_US, truth
from orion_double import Orion, rendered

from gateway import parts
from gateway.delivery.drain import Drain
from gateway.model import Decoded, DevEui, GatewayEui, Measurement, Record, Stamp, TimeQuality
from gateway.settings import load_for_run
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.ngsi import date_text
from gateway.wire.ngsi_ld import attributes_json, entity_id
from gateway.wire.ngsi_v2 import MARK, frame_of_mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from brokers import Heard

DEVICES = int(os.environ.get("WEEK_DEVICES", "6"))
EVERY_H = float(os.environ.get("WEEK_EVERY_H", "1"))
SEED = int(os.environ.get("WEEK_SEED", "1"))
LONG_S = 60.0 + DEVICES * 168 / EVERY_H / 20
HOUR_US = 3_600_000_000
HOURS = 168
GATEWAYS = [GatewayEui.parse(f"0016c001ff10a23{number}") for number in range(3)]
KINDS = ("glass", "museum-room", "water-meter", "weather")
SINKS = ("own", "chirpstack", "ttn", "hook", "files", "stream", "orion", "ld")

SETTINGS = """
[gateway]
eui = "{eui}"
[sink.own]
type = "mqtt"
url = "{mqtt}"
copies = "home"
[sink.chirpstack]
type = "mqtt"
format = "chirpstack"
application = "waste"
url = "{mqtt}"
copies = "home"
[sink.ttn]
type = "mqtt"
format = "ttn"
application = "waste"
url = "{mqtt}"
copies = "home"
[sink.hook]
type = "webhook"
url = "{hook}"
batch = 20
copies = "home"
[sink.files]
type = "file"
path = "{files}/readings.jsonl"
[sink.stream]
type = "nats"
url = "{nats}"
create_stream = true
live_first = false
[sink.orion]
type = "ngsi-v2"
url = "{orion}"
service = "city"
batch = 20
copies = "first"
[sink.ld]
type = "ngsi-ld"
url = "{ld}"
batch = 20
copies = "home"
"""


class Clock:
    """The story's time."""

    def __init__(self) -> None:
        self.us = T0_US

    def stamp(self) -> Stamp:
        return Stamp(self.us, TimeQuality.NTP, 20, "one boot", self.us - T0_US)


class Outbox(MemoryOutbox):
    """The store of one of the gateways."""

    def __init__(self, gateway_eui: GatewayEui) -> None:
        super().__init__()
        self._gateway_eui = gateway_eui

    def record(self, position: int) -> Record:
        return Record(self._gateway_eui, "e", position, self.readings[position])


@dataclass
class Gateway:
    """One of the three: what it heard, and its drains while it has power."""

    number: int
    settings: Path
    clock: Clock
    outbox: Outbox = field(init=False)
    drains: list[Drain] = field(default_factory=list)
    _running: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = Outbox(GATEWAYS[self.number])
        for name in SINKS:
            self.outbox.subscribe(name)

    async def switch_on(self) -> None:
        """With sinks that remember nothing of a life before."""
        made = parts.sinks(load_for_run(self.settings), GATEWAYS[self.number], lambda: None)
        rng = random.Random(self.number)
        self.drains = [
            Drain(
                self.outbox,
                sink,
                replace(manners, backlog_per_s=100_000, backlog_delay_s=0),
                now=self.clock.stamp,
                facts=lambda: {"state": "online"},
                rng=rng,
            )
            for sink, manners in made
        ]
        self._running = [asyncio.create_task(drain.run()) for drain in self.drains]

    async def switch_off(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running = []

    @property
    def is_cut_off(self) -> bool:
        return not self._running or all(self.outbox.progress(name).paused for name in SINKS)

    async def pause(self, *, paused: bool = True) -> None:
        """Its destinations are paused, or go on, with what its sinks remember of them."""
        for name in SINKS:
            await self.outbox.settle(name, lambda progress: replace(progress, paused=paused))
        for drain in self.drains:
            drain.stir()

    async def minute(self) -> None:
        """What happens every minute."""
        for drain in self.drains:
            await drain.announce("status", {"state": "online"})

    def waits(self) -> dict[str, int]:
        """How much waits for each destination."""
        queued = {name: self.outbox.progress(name).queued(self.outbox.head) for name in SINKS}
        return {name: count for name, count in queued.items() if count}


class City:
    """Its devices, and what they say in a week: each frame as every gateway hears it, a little later from afar."""

    def __init__(self, gateways: Sequence[Gateway], clock: Clock) -> None:
        self.gateways, self.clock, self.chance = gateways, clock, random.Random(SEED)
        self.frames = 0
        self.f_cnt: Counter[int] = Counter()
        self.heard: dict[str, list[Record]] = {}

    def hear(self) -> None:
        """All that is heard in `EVERY_H` hours."""
        step_us = round(EVERY_H * HOUR_US)
        offsets = sorted(self.chance.sample(range(step_us), DEVICES))
        began_us = self.clock.us
        for device, offset_us in zip(self.chance.sample(range(1, DEVICES + 1), DEVICES), offsets, strict=True):
            self.clock.us = began_us + offset_us
            self.say(device)
        self.clock.us = began_us + step_us

    def say(self, device: int) -> None:
        self.frames += 1
        self.f_cnt[device] += 1
        frame_id = f"{self.frames:032x}"
        kind = KINDS[device % len(KINDS)]
        home = str(GATEWAYS[device % len(GATEWAYS)])
        said = tuple(self._measured(kind))
        copies = []
        own = self.gateways[device % len(self.gateways)]
        # One that is cut off hears some frames alone: they come late, and nobody else can bring them.
        hearing = [own] if own.is_cut_off and self.chance.random() < 0.3 else self.gateways
        for gateway in self.chance.sample(hearing, len(hearing)):  # whoever hears it first is likely to bring it
            heard = replace(
                self.clock.stamp(), utc_us=self.clock.us + 1000 * (1 + gateway.number * self.chance.randrange(1, 40))
            )
            reading = replace(
                READING,
                frame_id=frame_id,
                heard=heard,
                dev_eui=DevEui(device.to_bytes(8, "big")),
                name=f"device {device}",
                tags={"kind": kind, "home": home, **PLACE},
                f_cnt=self.f_cnt[device],
                payload=self.frames.to_bytes(4, "big"),
                decoded=Decoded("acme/probe@1", {"n": self.frames}, said),
                rssi_dbm=-80.0 - self.chance.randrange(40),
            )
            position = gateway.outbox.put(reading)
            copies.append(gateway.outbox.record(position))
        self.heard[frame_id] = copies

    def _measured(self, kind: str) -> Iterable[Measurement]:
        value = self.frames % 1000 / 10
        match kind:
            case "glass":
                yield Measurement("fill_level", value, "%")
                if self.chance.random() < 0.3:
                    yield Measurement("temperature", value - 20, "°C")
            case "museum-room":
                yield Measurement("temperature", value, "°C")
                yield Measurement("humidity", value, "%")
            case "water-meter":  # the index, and that of an hour ago
                yield Measurement("volume", float(self.frames), "m3")
                yield Measurement("volume", self.frames - 0.5, "m3", self.clock.us - HOUR_US)
            case _:
                yield Measurement("temperature", value, "°C")
                yield Measurement("wind_speed", value, "m/s")
        if self.chance.random() < 0.2:
            yield Measurement("battery", value, "%")

    def at_home(self) -> list[Record]:
        """Of each frame the copy of the device's own gateway, in the order in which they were heard."""
        return [next(one for one in copies if is_home(one)) for copies in self.heard.values()]


def is_home(record: Record) -> bool:
    return record.reading.tags["home"] == str(record.gateway_eui)


@dataclass
class Servers:
    """The destinations, all on loopback."""

    mosquitto: Any
    nats: NatsProcess
    orion: Orion
    ld: LdBroker
    hook: HttpDouble

    async def stop(self, *, hard: bool = False) -> None:
        await self.orion.stop()
        await self.ld.stop()
        await self.hook.__aexit__()
        await asyncio.to_thread(self.mosquitto.stop)
        await asyncio.to_thread(self.nats.kill if hard else self.nats.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.nats.start)
        await asyncio.to_thread(self.mosquitto.start)
        await self.hook.__aenter__()
        await self.ld.start()
        await self.orion.start()


async def until_all_is_settled(gateways: Sequence[Gateway]) -> None:
    try:
        async with asyncio.timeout(LONG_S):
            while any(gateway.waits() for gateway in gateways):
                await asyncio.sleep(0.05)
    except TimeoutError:
        evidence = {drain.name: (drain.state, drain.evidence) for one in gateways for drain in one.drains}
        raise AssertionError(f"{[one.waits() for one in gateways]} {evidence}") from None


class Week:
    """Seven days: a night without any server, a day on which all breaks, and a gateway or two cut off in between."""

    def __init__(self, servers: Servers, gateways: Sequence[Gateway], city: City) -> None:
        self._servers, self._gateways, self._city = servers, gateways, city
        self._happens = {
            (1, 18): servers.stop,
            (2, 6): servers.start,
            (3, 6): gateways[1].switch_off,
            (4, 12): gateways[1].switch_on,
            (4, 14): gateways[2].pause,
            (5, 2): self._goes_on,
            (5, 8): self._answers_are_lost,
            (5, 12): partial(servers.stop, hard=True),
            (5, 20): servers.start,
        }

    async def _goes_on(self) -> None:
        """What the paused one heard alone is history by now, whatever it remembers of the broker."""
        await self._gateways[2].pause(paused=False)
        await self._settled()
        nothing_is_behind(self._servers.orion)

    async def _answers_are_lost(self) -> None:
        """What is taken is not always answered for."""
        self._servers.orion.trouble("lost", "drop", "lost")
        self._servers.ld.troubles += ["lost", "drop"]

    async def told(self) -> None:
        """From the first hour until nothing waits any more."""
        for gateway in self._gateways:
            await gateway.switch_on()
        for step in range(round(HOURS / EVERY_H)):
            day, hour = divmod(step * EVERY_H, 24)
            if happens := self._happens.get((int(day), int(hour)) if hour.is_integer() else (-1, -1)):
                await happens()
            self._city.hear()
            await asyncio.sleep(0.02)
        await self._settled()
        for gateway in self._gateways:
            await gateway.switch_off()

    async def _settled(self) -> None:
        """Nothing waits any more, and a minute has passed."""
        await until_all_is_settled(self._gateways)
        for gateway in self._gateways:
            await gateway.minute()


@pytest.fixture
def made_gateways(tmp_path):
    def make(servers: Servers, clock: Clock) -> list[Gateway]:
        gateways = []
        for number, eui in enumerate(GATEWAYS):
            folder = tmp_path / f"gateway-{number}"
            folder.mkdir()
            text = SETTINGS.format(
                eui=eui, mqtt=servers.mosquitto.url, nats=servers.nats.url, hook=servers.hook.url, files=folder,
                orion=servers.orion.url, ld=servers.ld.url,
            )  # fmt: skip
            (folder / "gateway.toml").write_text(text, encoding="utf-8")
            gateways.append(Gateway(number, folder / "gateway.toml", clock))
        return gateways

    return make


def test_after_a_week_with_three_outages_every_destination_has_the_truth(make_mosquitto, tmp_path, made_gateways):
    mosquitto = make_mosquitto(persistence=True, settings=["max_queued_messages 0"])
    nats = NatsProcess(tmp_path / "nats")
    nats.start()
    try:
        asyncio.run(_week(mosquitto, nats, tmp_path, made_gateways))
    finally:
        nats.kill()


async def _week(mosquitto, nats, tmp_path, made_gateways) -> None:
    async with contextlib.AsyncExitStack() as opened:
        hook = await opened.enter_async_context(HttpDouble())
        orion, ld = Orion(), LdBroker()
        await orion.start()
        await ld.start()
        servers = Servers(mosquitto, nats, orion, ld, hook)
        clock = Clock()
        gateways = made_gateways(servers, clock)
        city = City(gateways, clock)
        collector = await opened.enter_async_context(Collector(mosquitto, "#", client_id="platform"))
        await Week(servers, gateways, city).told()
        assert all(gateway.outbox.dead_letters == [] for gateway in gateways)
        orion_has_the_truth(orion, city)
        ld_has_the_truth(ld, city)
        the_stream_has_each_frame_once(await stream_of(nats), city)
        the_webhook_got_each_frame(hook, city)
        for number, _ in enumerate(gateways):
            the_files_have_each_frame_once(tmp_path / f"gateway-{number}", number, city)
        heard = await collector.until(lambda heard: each_topic_has_all(heard, city))
        the_brokers_readers_heard_each_frame(heard, city)
        await orion.stop()
        await ld.stop()


# --- what has to be so in the end


def chosen_by(orion: Orion, city: City) -> list[Record]:
    """Of each frame the copy of the gateway whose mark it has."""
    owners = {
        frame_of_mark(key[2]): attributes["gatewayEui"]["value"]
        for key, attributes in orion.entities.kept.items()
        if key[3] == MARK
    }
    assert owners.keys() == city.heard.keys()
    return [
        replace(next(one for one in copies if str(one.gateway_eui) == owners[frame_id]), position=position)
        for position, (frame_id, copies) in enumerate(city.heard.items())
    ]


def orion_has_the_truth(orion: Orion, city: City) -> None:
    """The state of everything is what was observed last; history has every observation, of one copy, and no other."""
    chosen = chosen_by(orion, city)
    assert len({one.gateway_eui for one in chosen}) == len(GATEWAYS)
    expected = truth(chosen)
    kept = {key[2:]: attributes for key, attributes in orion.entities.kept.items()}
    for key, attributes in expected.items():
        values = {name: value["value"] for name, value in kept[key].items() if name != "TimeInstant"}
        assert values == attributes, key
    own = {one["id"] for one in (rendered(key, {}) for key in orion.entities.kept) if "lorawan-gateway" in one["id"]}
    assert {key[0] for key in kept} == {key[0] for key in expected} | own | {key[0] for key in kept if key[1] == MARK}
    history = [one for one in orion.told if one["id"] not in own and one["type"] != MARK]
    found = {(one["id"], one["TimeInstant"]["value"]) for one in history}
    assert found == {
        (seen.entity_id, date_text(seen.time_ms)) for one in chosen for seen in observations(one.reading, Rules())
    }
    nothing_stays_undone(history)


def nothing_is_behind(orion: Orion) -> None:
    """What stands there is the newest of what was told."""
    newest: dict[str, str] = {}
    for one in orion.told:
        newest[one["id"]] = max(newest.get(one["id"], ""), _when(one))
    assert {key[2]: _when(one) for key, one in orion.entities.kept.items()} == newest


def _when(entity: dict[str, Any]) -> str:
    return entity["TimeInstant"]["value"] if "TimeInstant" in entity else ""


def nothing_stays_undone(history: Sequence[dict[str, Any]]) -> None:
    """Whatever was late is followed by what it must not undo, before anything else is told of that entity."""
    newest: dict[str, str] = {}
    behind: set[str] = set()
    for one in history:
        entity, when = one["id"], one["TimeInstant"]["value"]
        if when >= newest.get(entity, ""):
            newest[entity] = when
            behind.discard(entity)
        else:
            behind.add(entity)
    assert not behind


def ld_has_the_truth(ld: LdBroker, city: City) -> None:
    at_home = [replace(one, position=number) for number, one in enumerate(city.at_home())]
    for (entity, _), expected in truth(at_home).items():
        found = {name: _plain(value) for name, value in ld.entities[entity].items() if isinstance(value, dict)}
        assert found == {
            name: value[0] if "object" in ld.entities[entity][name] and isinstance(value, list) else value
            for name, value in expected.items()
        }
    for one in at_home:
        for seen in observations(one.reading, Rules()):
            for name, attribute in attributes_json(seen).items():
                if "observedAt" in attribute:
                    assert ld.history[entity_id(seen), name][attribute["observedAt"]] is not None
    instances = {
        (seen, name): {
            attribute["observedAt"]
            for one in at_home
            for observation in observations(one.reading, Rules())
            if entity_id(observation) == seen
            and "observedAt" in (attribute := attributes_json(observation).get(name, {}))
        }
        for seen, name in list(ld.history)[:40]
        if "lorawan-gateway" not in seen
    }
    for key, moments in instances.items():
        assert set(ld.history[key]) == moments, key


def _plain(attribute: dict[str, Any]) -> Any:
    match attribute:
        case {"object": target}:
            return target
        case {"value": {"@value": moment}}:
            return moment
        case _:
            return attribute["value"]


def the_stream_has_each_frame_once(messages: Sequence[Any], city: City) -> None:
    readings = [json.loads(message.data) for message in messages if message.subject.endswith(".up")]
    assert Counter(reading["id"] for reading in readings) == dict.fromkeys(city.heard, 1)
    in_order(reading for reading in readings if len(city.heard[reading["id"]]) == len(GATEWAYS))


def in_order(readings: Iterable[dict[str, Any]]) -> None:
    """Of each device the frames come in the order in which it sent them."""
    last: dict[str, int] = {}
    for reading in readings:
        assert reading["f_cnt"] > last.get(reading["dev_eui"], 0)
        last[reading["dev_eui"]] = reading["f_cnt"]


def the_webhook_got_each_frame(hook: HttpDouble, city: City) -> None:
    readings = [reading for asked in hook.asked for reading in json.loads(asked.body)]
    distinct = {reading["record_id"]: reading for reading in readings}
    assert {one["id"] for one in distinct.values()} == city.heard.keys()
    assert len(distinct) == len(city.heard)
    assert len(readings) - len(distinct) <= most_repeats()


def most_repeats(in_flight: int = 40) -> int:
    """What was sent and not answered for: a window, for each gateway and each time that something broke."""
    return in_flight * len(GATEWAYS) * 4


def the_files_have_each_frame_once(folder: Path, number: int, city: City) -> None:
    heard = [
        frame_id
        for frame_id, copies in city.heard.items()
        if any(one.gateway_eui == GATEWAYS[number] for one in copies)
    ]
    files = sorted(folder.glob("readings-*.jsonl"))
    assert len(files) in {7, 8}
    readings = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert Counter(reading["id"] for reading in readings) == dict.fromkeys(heard, 1)


def frames_of(heard: Iterable[Heard]) -> dict[str, list[str]]:
    """The frame ids that each format's readers heard, in order."""
    found: dict[str, list[str]] = {"own": [], "chirpstack": [], "ttn": []}
    for message in heard:
        if not message.topic.endswith("/up"):
            continue
        facts = json.loads(message.payload)
        if message.topic.startswith("lorawan/"):
            found["own"].append(facts["id"])
        elif message.topic.startswith("application/"):
            found["chirpstack"].append(f"{int(facts['object']['n']):032x}")
        else:
            found["ttn"].append(facts["correlation_ids"][0].removeprefix("gw:frame:"))
    return found


def each_topic_has_all(heard: Sequence[Heard], city: City) -> bool:
    if len(heard) < 3 * len(city.heard):
        return False
    return all({*frames} >= city.heard.keys() for frames in frames_of(heard).values())


def the_brokers_readers_heard_each_frame(heard: Sequence[Heard], city: City) -> None:
    for frames in frames_of(heard).values():
        assert {*frames} == city.heard.keys()
        assert len(frames) - len(city.heard) <= most_repeats(32)
