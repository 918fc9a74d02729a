"""Readings into an NGSI-LD broker: each entity once in a request, the newest as its state, all of it as its history."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from contract_example import GATEWAY_EUI
from hypothesis import given, settings
from hypothesis import strategies as st
from ngsi_ld_double import LdBroker, Problem
from ngsi_readings import ROOM, Carrier, level, reading_of, truth, weeks

from gateway.delivery.ngsi_ld import NgsiLdDestination, NgsiLdSink
from gateway.delivery.ngsi_login import Credentials
from gateway.delivery.sink import SinkUnavailable
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.ngsi_ld import Context, attributes_json, entity_id

pytestmark = pytest.mark.usefixtures("quiet_loop")

BIN = "urn:ngsi-ld:WasteContainer:0000000000000001"
DEVICE = "urn:ngsi-ld:Device:0000000000000001"
OWN = "urn:ngsi-ld:Device:lorawan-gateway:0016c001ff10a235"
CONTEXT = "https://broker.example.org/context.jsonld"


@pytest.fixture
async def broker():
    one = LdBroker()
    await one.start()
    yield one
    await one.stop()


def sink_at(broker: LdBroker, **options) -> NgsiLdSink:
    return NgsiLdSink(
        NgsiLdDestination("centre", broker.url, GATEWAY_EUI, **{"tenant": "city", "answer_timeout_s": 0.3, **options})
    )


async def deliver(sink, batch):
    async with sink.connect() as link:
        return await link.deliver(batch)


async def held(sink, batch) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        await deliver(sink, batch)
    return caught.value


def level_of(broker: LdBroker, number: int = 1) -> float:
    return broker.entities[f"{BIN[:-1]}{number}"]["fillingLevel"]["value"]


def levels(broker: LdBroker) -> list[float]:
    history = broker.history[BIN, "fillingLevel"]
    return [history[moment]["value"] for moment in sorted(history)]


# --- what arrives


async def test_a_reading_arrives_with_its_time_and_unit(broker):
    assert await deliver(sink_at(broker), [level(1, 0, 83.3)]) == []
    assert broker.entities[BIN]["fillingLevel"] == {
        "type": "Property", "value": 0.833, "unitCode": "C62", "observedAt": "2026-11-23T08:15:02.123Z",
    }  # fmt: skip
    assert broker.entities[BIN]["refDevice"] == {"type": "Relationship", "object": DEVICE}
    assert broker.entities[BIN]["location"]["type"] == "GeoProperty"
    assert broker.entities[DEVICE]["dateLastValueReported"]["value"]["@type"] == "DateTime"
    assert broker.entities[OWN]["deviceCategory"]["value"] == ["network"]


@pytest.mark.parametrize(
    ("addresses", "link", "kind", "within"),
    [
        ((), None, "application/json", False),
        ((CONTEXT,), f'<{CONTEXT}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"',
         "application/json", False),
        ((CONTEXT, f"{CONTEXT}2"), None, "application/ld+json", True),
    ],
)  # fmt: skip
async def test_the_context_goes_into_the_header_or_into_the_body(broker, addresses, link, kind, within):
    await deliver(sink_at(broker, context=Context(addresses)), [level(1, 60, 10), level(2, 0, 5)])
    written = [request for request in broker.requests if request[0] == "POST"]
    assert {path.rpartition("/v1")[2] for _, path, _, _ in written} > {"/entityOperations/upsert"}
    for _, _, headers, body in written:
        assert headers.get("Link") == link
        assert headers["Content-Type"] == kind
        assert all(("@context" in one) is within for one in (body if isinstance(body, list) else [body]))
    assert level_of(broker) == 0.1


# --- state and history


async def test_no_request_names_an_entity_twice_and_the_past_is_history(broker):
    batch = [level(1, 10, 10), level(2, 30, 30), level(3, 20, 20), level(4, 10, 40, number=2)]
    await deliver(sink_at(broker), batch)
    for upsert in broker.upserts:
        ids = [one["id"] for one in upsert]
        assert len(set(ids)) == len(ids)
    assert level_of(broker) == 0.3
    assert levels(broker) == [0.1, 0.2, 0.3]


async def test_what_is_late_goes_to_history_alone(broker):
    await deliver(sink_at(broker), [level(1, 120, 60)])
    before = len(broker.upserts)
    await deliver(sink_at(broker), [level(2, 0, 40)])
    assert (level_of(broker), levels(broker)) == (0.6, [0.4, 0.6])
    assert len(broker.upserts) == before


async def test_without_a_history_observations_come_one_after_the_other(broker, caplog):
    broker.temporal = False
    async with sink_at(broker).connect() as link:
        await link.deliver([level(1, 10, 10), level(2, 30, 30), level(3, 20, 20)])
        await link.deliver([level(4, 5, 5)])
    assert level_of(broker) == 0.3
    assert levels(broker) == [0.05, 0.1, 0.2, 0.3]
    assert "no history to write to" in caplog.text


async def test_an_older_attribute_that_nobody_sent_since_is_still_the_newest(broker):
    async with sink_at(broker).connect() as link:
        await link.deliver([reading_of(1, 60, ("humidity", 50, "%"), tags=ROOM)])
        await link.deliver([reading_of(2, 0, ("temperature", 19.5, "°C"), ("humidity", 40, "%"), tags=ROOM)])
    room = broker.entities["urn:ngsi-ld:IndoorEnvironmentObserved:0000000000000001"]
    assert (room["temperature"]["value"], room["relativeHumidity"]["value"]) == (19.5, 0.5)
    assert room["dateObserved"]["value"]["@value"] == "2026-11-23T09:15:02.123Z"


async def test_a_broker_that_cannot_be_asked_for_many_is_asked_for_each(broker):
    broker.queries = False
    await deliver(sink_at(broker), [level(1, 120, 60)])
    await deliver(sink_at(broker), [level(2, 0, 40)])
    assert level_of(broker) == 0.6


async def test_the_history_may_stand_somewhere_else(broker):
    other = LdBroker()
    await other.start()
    await deliver(sink_at(broker, history_url=other.url), [level(1, 120, 60), level(2, 0, 40)])
    await other.stop()
    assert list(broker.history[BIN, "fillingLevel"]) == ["2026-11-23T10:15:02.123Z"]
    assert list(other.history[BIN, "fillingLevel"]) == ["2026-11-23T08:15:02.123Z"]


async def test_a_broker_that_comes_back_from_an_old_snapshot_gets_the_last_values_again(broker):
    sink = sink_at(broker)
    await deliver(sink, [level(1, 10, 10)])
    old = broker.snapshot()
    await deliver(sink, [level(2, 20, 30), level(3, 20, 50, number=2)])
    broker.entities = old
    async with sink.connect():
        pass
    assert (level_of(broker), level_of(broker, 2)) == (0.3, 0.5)


# --- by entity


async def test_of_a_mixed_answer_only_what_was_refused_is_parked(broker):
    broker.poison = lambda one: Problem(400, "BadRequestData", "nobody's") if one["id"].endswith("0005") else None
    batch = [level(number, number, 10, number=number) for number in range(1, 10)]
    (refusal,) = await deliver(sink_at(broker), batch)
    assert refusal.position == 5
    assert "nobody's" in refusal.reason
    assert [level_of(broker, number) for number in range(1, 10) if number != 5] == [0.1] * 8


async def test_one_bad_reading_does_not_cost_its_device_the_others(broker):
    def poison(entity):
        bad = entity.get("fillingLevel", {}).get("value") == 0.66
        return Problem(400, "BadRequestData", "not that") if bad else None

    broker.poison = poison
    batch = [level(1, 10, 10), level(2, 20, 20), level(3, 30, 66)]
    (refusal,) = await deliver(sink_at(broker), batch)
    assert refusal.position == 3
    assert level_of(broker) == 0.2


async def test_what_an_answer_does_not_mention_is_asked_about_again(broker):
    broker.silent = {BIN}
    assert await deliver(sink_at(broker), [level(1, 0, 10), level(2, 0, 20, number=2)]) == []
    assert (level_of(broker), level_of(broker, 2)) == (0.1, 0.2)


async def test_an_entity_that_fails_for_a_while_is_waited_for(broker):
    broker.poison = lambda one: Problem(500, "InternalError", "database") if one["id"] == BIN else None
    assert not (await held(sink_at(broker), [level(1, 0, 10)])).alert


async def test_an_entity_at_which_the_broker_fails_does_not_hold_the_others_for_ever(broker):
    def fails(request):
        said = broker.requests[-1][3]
        bad = isinstance(said, list) and any(one["id"] == f"{BIN[:-1]}2" for one in said)
        return Problem(500, "InternalError", "no").response() if bad else None

    broker.always = fails
    carrier = Carrier()
    await carrier.carry(sink_at(broker), [level(number, number, 10, number=number) for number in range(1, 6)])
    assert [refusal.position for refusal in carrier.refusals] == [2]
    assert [level_of(broker, number) for number in (1, 3, 4, 5)] == [0.1] * 4


async def test_a_batch_that_is_too_large_goes_in_halves(broker):
    broker.most_bytes = 8_000
    batch = [level(number, number, 10, number=number) for number in range(1, 10)]
    assert await deliver(sink_at(broker), batch) == []
    assert [level_of(broker, number) for number in range(1, 10)] == [0.1] * 9


# --- what is in the way


def page(status: int) -> web.Response:
    return web.Response(status=status, text="<html>no</html>", content_type="text/html")


HELD = [
    ("busy", lambda: web.json_response({}, status=429), False),
    ("overload", lambda: web.Response(status=503), False),
    ("portal", lambda: page(200), True),
    ("nginx", lambda: page(400), True),
    ("tenant", lambda: Problem(404, "NonexistentTenant", "x").response(), True),
    ("context", lambda: Problem(503, "LdContextNotAvailable", "x").response(), True),
    ("context as 400", lambda: Problem(400, "LdContextNotAvailable", "x").response(), True),
    ("broken answer", lambda: web.json_response(["?"], status=207), True),
    ("silence", lambda: "hang", False),
    ("cut", lambda: "drop", False),
]


@pytest.mark.parametrize(("answer", "alert"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
async def test_what_says_nothing_of_the_content_is_waited_for(broker, answer, alert):
    sink = sink_at(broker)
    broker.always = lambda request: answer() if request.path.endswith("/upsert") else None
    assert (await held(sink, [level(1, 0, 10)])).alert is alert
    broker.always = lambda _: None
    assert await deliver(sink, [level(1, 0, 10)]) == []


async def test_a_context_that_the_broker_cannot_fetch_is_said(broker):
    broker.reachable = False
    reason = await held(sink_at(broker, context=Context((CONTEXT,))), [level(1, 0, 10)])
    assert "@context" in str(reason)


async def test_a_tenant_that_does_not_exist_parks_nothing(broker):
    assert (await held(sink_at(broker, tenant="ctiy"), [level(1, 0, 10)])).alert


async def test_an_orion_without_ngsi_ld_parks_nothing(broker):
    said = {"error": "BadRequest", "description": "Service not found. Check your URL as probably it is wrong."}
    broker.always = lambda _: web.json_response(said, status=400)  # recorded on Orion 4.7.0-next: ngsi-ld-path-on-orion
    assert (await held(sink_at(broker), [level(1, 0, 10)])).alert


async def test_a_static_token(broker):
    broker.token = "word"
    assert await deliver(sink_at(broker, credentials=Credentials(token=lambda: "word")), [level(1, 0, 10)]) == []
    assert (await held(sink_at(broker, credentials=Credentials(token=lambda: "other")), [level(1, 0, 10)])).alert


# --- everything at once


def plain(attribute):
    match attribute:
        case {"object": target}:
            return target
        case {"value": {"@value": moment}}:
            return moment
        case _:
            return attribute["value"]


TROUBLES = st.lists(st.sampled_from(["fine", "fine", "lost", "drop", "busy", "restart"]), max_size=12)


@settings(deadline=None, max_examples=40)
@given(records=weeks(), troubles=TROUBLES, size=st.integers(1, 9), temporal=st.booleans())
def test_whatever_happens_the_broker_ends_with_the_newest_of_everything(records, troubles, size, temporal):
    async def story():
        broker = LdBroker()
        await broker.start()
        broker.temporal = temporal
        waiting = list(troubles)

        def next_trouble(request):
            if not waiting or not request.path.endswith("/upsert"):
                return None
            what = waiting.pop(0)
            return web.Response(status=429) if what == "busy" else what if what in {"lost", "drop"} else None

        broker.always = next_trouble
        sink, carrier = sink_at(broker, batch=size), Carrier(size=size)
        for start in range(0, len(records), 7):
            if waiting and waiting[0] == "restart":
                sink = sink_at(broker, batch=size)
            await carrier.carry(sink, records[start : start + 7])
        await broker.stop()
        return broker, carrier

    broker, carrier = asyncio.run(story())
    assert carrier.refusals == []
    for (one, entity_type), expected in truth(records).items():
        assert broker.entities[one]["type"] == entity_type
        found = {name: value for name, value in broker.entities[one].items() if isinstance(value, dict)}
        assert {name: plain(value) for name, value in found.items()} == {
            name: value[0] if "object" in found[name] and isinstance(value, list) else value
            for name, value in expected.items()
        }
    missing = [moment for moment in moments(records) if moment[2] not in broker.history.get(moment[:2], ())]
    assert missing == []


def moments(records):
    """Id, attribute and time of everything that was measured."""
    for one in records:
        for seen in observations(one.reading, Rules()):
            for name, attribute in attributes_json(seen).items():
                if "observedAt" in attribute:
                    yield entity_id(seen), name, attribute["observedAt"]
