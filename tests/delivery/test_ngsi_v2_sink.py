"""Readings into the double of Orion: what stands there in the end, what its subscribers were told, what is parked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from contract_example import GATEWAY_EUI
from hypothesis import given, settings
from hypothesis import strategies as st
from ngsi_readings import GLASS, METER, ROOM, T0_US, Carrier, level, reading_of, truth, weeks
from orion_double import Orion

from gateway.delivery.ngsi_login import Credentials
from gateway.delivery.ngsi_v2 import NgsiV2Destination, NgsiV2Sink
from gateway.delivery.sink import Sink, SinkUnavailable
from gateway.wire.fiware_models import Rules, observations
from gateway.wire.ngsi_v2 import entity_json, entity_time, time_of, unescape

pytestmark = pytest.mark.usefixtures("quiet_loop")

BIN = "urn:ngsi-ld:WasteContainer:0000000000000001"
DEVICE = "urn:ngsi-ld:Device:0000000000000001"
OWN = "urn:ngsi-ld:Device:lorawan-gateway:0016c001ff10a235"


@pytest.fixture
async def orion():
    broker = Orion()
    await broker.start()
    yield broker
    await broker.stop()


def sink_at(orion: Orion, *, credentials: Credentials | None = None, **options) -> NgsiV2Sink:
    return NgsiV2Sink(
        NgsiV2Destination(
            "centre",
            orion.url,
            GATEWAY_EUI,
            credentials or Credentials(),
            service="city",
            service_path="/waste",
            **{"answer_timeout_s": 0.3, **options},
        )
    )


async def deliver(sink, batch):
    async with sink.connect() as link:
        return await link.deliver(batch)


async def held(sink, batch) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as caught:
        await deliver(sink, batch)
    return caught.value


def history(orion: Orion, entity_id: str, attribute: str) -> list:
    """What a subscriber saw of an attribute, each change once."""
    return [one[attribute]["value"] for one in orion.told if one["id"] == entity_id and attribute in one]


def levels(orion: Orion) -> list[float]:
    return history(orion, BIN, "fillingLevel")


# --- what arrives


async def test_a_reading_arrives_as_container_and_device_with_times_and_units(orion):
    sink: Sink = sink_at(orion)
    assert await deliver(sink, [level(1, 0, 83.3)]) == []
    container = orion.entities.state(BIN)
    assert container["fillingLevel"] == {
        "type": "Number",
        "value": 0.833,
        "metadata": {
            "TimeInstant": {"type": "DateTime", "value": "2026-11-23T08:15:02.123Z"},
            "unitCode": {"type": "Text", "value": "C62"},
        },
    }
    assert container["location"]["value"] == {"type": "Point", "coordinates": [3.8767, 43.6108]}
    assert container["TimeInstant"]["value"] == "2026-11-23T08:15:02.123Z"
    assert container["refDevice"]["value"] == [DEVICE]
    assert orion.entities.state(DEVICE)["rssi"]["value"] == -97
    assert {key[:2] for key in orion.entities.kept} == {("city", "/waste")}


async def test_a_frame_is_one_request_and_says_whose_it_is(orion):
    async with sink_at(orion).connect() as link:
        await link.deliver([level(7, 0, 10)])
    (request,) = [seen for seen in orion.updates if "Fiware-Correlator" in seen.headers]
    assert request.headers["Fiware-Correlator"] == "0016c001ff10a235-5be1-7"
    assert {one["id"] for one in request.entities} == {BIN, DEVICE}


async def test_names_that_orion_forbids_come_back_as_they_were(orion):
    name = """Musée d'Orsay (nord) <5% "x"=;"""
    assert await deliver(sink_at(orion), [replace_name(level(1, 0, 10), name)]) == []
    assert unescape(orion.entities.state(BIN)["name"]["value"]) == name


def replace_name(record, name):
    return replace(record, reading=replace(record.reading, name=name))


async def test_the_gateway_itself_is_a_device_that_comes_and_goes(orion):
    async with sink_at(orion, position=lambda: (3.87, 43.61)).connect() as link:
        await link.announce("status", {"state": "online", "version": "1.2.3", "radio": {"state": "listening"}})
        own = orion.entities.state(OWN)
        assert own["deviceState"]["value"] == "listening"
        assert own["softwareVersion"]["value"] == "1.2.3"
        assert own["location"]["value"]["coordinates"] == [3.87, 43.61]
        await link.announce("balance", {"balance": 0})
    assert orion.entities.state(OWN)["deviceState"]["value"] == "offline"


# --- order: what is old never stands where something newer stood


async def test_what_is_late_reaches_history_and_not_the_state(orion):
    async with sink_at(orion).connect() as link:
        await link.deliver([level(1, 120, 60)])
        await link.deliver([level(2, 0, 40)])
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.6
    assert entity_time(orion.entities.state(BIN)) == T0_US // 1000 + 120 * 60_000
    assert levels(orion) == [0.6, 0.4, 0.6]


async def test_a_batch_is_in_order_of_observation_whatever_the_order_of_positions(orion):
    await deliver(sink_at(orion), [level(1, 30, 30), level(2, 10, 10), level(3, 20, 20), level(4, 40, 40)])
    assert levels(orion) == [0.1, 0.2, 0.3, 0.4]


async def test_after_a_start_orion_is_asked_what_it_has(orion):
    await deliver(sink_at(orion), [level(1, 120, 60)])
    await deliver(sink_at(orion), [level(2, 0, 40)])
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.6
    assert levels(orion) == [0.6, 0.4, 0.6]


async def test_a_broker_that_answers_no_queries_is_read_entity_by_entity(orion):
    orion.queries = False
    await deliver(sink_at(orion), [level(1, 120, 60)])
    await deliver(sink_at(orion), [level(2, 0, 40)])
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.6


async def test_a_login_that_may_not_read_can_still_write(orion, caplog):
    orion.always = lambda request: None if request.path == "/v2/op/update" else web.json_response({}, status=403)
    async with sink_at(orion).connect() as link:
        await link.deliver([level(1, 120, 60)])
        await link.deliver([level(2, 0, 40)])
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.6
    assert "may not read" in caplog.text


async def test_an_older_attribute_that_nobody_sent_since_is_still_the_newest(orion):
    async with sink_at(orion).connect() as link:
        await link.deliver([reading_of(1, 60, ("humidity", 50, "%"), tags=ROOM)])
        await link.deliver([reading_of(2, 0, ("temperature", 19.5, "°C"), ("humidity", 40, "%"), tags=ROOM)])
    room = orion.entities.state("urn:ngsi-ld:IndoorEnvironmentObserved:0000000000000001")
    assert (room["temperature"]["value"], room["relativeHumidity"]["value"]) == (19.5, 0.5)
    assert time_of(room["temperature"]) == T0_US // 1000
    assert room["dateObserved"]["value"] == room["TimeInstant"]["value"] == "2026-11-23T09:15:02.123Z"


async def test_a_meters_own_history_comes_before_what_it_shows_now(orion):
    hours = [("volume", 100 + hour, "m3", -60 * (3 - hour)) for hour in range(3)]
    frames = [
        reading_of(1, 0, *hours, ("volume", 103.5, "m3"), tags=METER),
        reading_of(2, 60, ("volume", 102, "m3", -60), ("volume", 103.5, "m3", 0), ("volume", 104, "m3"), tags=METER),
    ]
    await deliver(sink_at(orion), frames)
    told = history(orion, "urn:ngsi-ld:WaterConsumptionObserved:0000000000000001", "waterConsumption")
    assert told[-1] == 104_000
    assert told == sorted(told)


async def test_with_a_history_store_late_points_go_there_alone(orion):
    store = Orion()
    stored = []
    store.always = lambda request: stored.append(request.path) or web.Response(status=200)
    await store.start()
    async with sink_at(orion, history_url=store.url).connect() as link:
        await link.deliver([level(1, 120, 60)])
        await link.deliver([level(2, 0, 40)])
    await store.stop()
    assert stored == ["/v2/notify"]
    (body,) = [json.loads(seen.body) for seen in store.seen]
    assert {one["id"]: one["TimeInstant"]["value"] for one in body["data"]} == dict.fromkeys(
        (BIN, DEVICE), "2026-11-23T08:15:02.123Z"
    )
    assert levels(orion) == [0.6]


# --- answers that were lost


async def test_a_lost_answer_doubles_nothing(orion):
    batch = [level(1, 10, 10), level(2, 20, 20), level(3, 30, 30)]
    orion.trouble("lost")
    sink = sink_at(orion)
    await held(sink, batch)
    assert await deliver(sink, batch) == []
    assert levels(orion) == [0.1, 0.2, 0.3]


async def test_a_killed_gateway_doubles_nothing(orion):
    await deliver(sink_at(orion), [level(1, 10, 10), level(2, 20, 20)])
    await deliver(sink_at(orion), [level(1, 10, 10), level(2, 20, 20), level(3, 30, 30)])
    assert levels(orion) == [0.1, 0.2, 0.3]


async def test_a_request_that_was_given_up_and_done_much_later_is_made_good(orion):
    orion.trouble("late")
    sink = sink_at(orion)
    await held(sink, [level(1, 10, 10)])
    async with sink.connect() as link:
        await link.deliver([level(1, 10, 10), level(2, 20, 20)])
        assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.2
        orion.catch_up()
        assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.1
        await link.announce("status", {"state": "online"})
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.2


async def test_a_broker_that_comes_back_from_an_old_snapshot_gets_the_last_values_again(orion, caplog):
    sink = sink_at(orion)
    await deliver(sink, [level(1, 10, 10), level(2, 10, 20, number=2)])
    old = orion.snapshot()
    await deliver(sink, [level(3, 20, 30), level(4, 20, 40, number=2), level(5, 20, 50, number=3)])
    orion.restore(old)
    async with sink.connect():
        pass
    found = [orion.entities.state(f"{BIN[:-1]}{number}")["fillingLevel"]["value"] for number in (1, 2, 3)]
    assert found == [0.3, 0.4, 0.5]
    assert "sink resend centre" in caplog.text


# --- what is in the way is waited for


def page(status: int) -> web.Response:
    return web.Response(status=status, text="<html><title>Portal</title></html>", content_type="text/html")


HELD = [
    ("busy", lambda: web.json_response({}, status=429, headers={"Retry-After": "17"}), False),
    ("overload", lambda: web.Response(status=503, text="overloaded"), False),
    ("gateway", lambda: page(502), False),
    ("portal", lambda: page(200), True),
    ("nginx", lambda: page(400), True),
    ("forbidden", lambda: web.json_response({"error": "Forbidden"}, status=403), True),
    ("unknown tenant", lambda: web.json_response({"error": "NotFound", "description": "x"}, status=404), True),
    ("method", lambda: page(405), True),
    ("media type", lambda: web.json_response({"error": "UnsupportedMediaType"}, status=415), True),
    ("moved", lambda: web.Response(status=302, headers={"Location": "https://login.example.org/"}), True),
    ("login", lambda: web.json_response({}, status=401), True),
    ("database", lambda: web.json_response({"error": "InternalServerError", "description": "x"}, status=500), False),
    ("silence", lambda: "hang", False),
    ("cut", lambda: "drop", False),
]


@pytest.mark.parametrize(("answer", "alert"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
async def test_what_says_nothing_of_the_content_is_waited_for(orion, answer, alert):
    sink = sink_at(orion)
    orion.always = lambda request: answer() if request.path == "/v2/op/update" else None
    reason = await held(sink, [level(1, 0, 10)])
    assert reason.alert is alert
    assert reason.acknowledged == ()
    orion.always = lambda _: None
    assert await deliver(sink, [level(1, 0, 10)]) == []
    assert levels(orion) == [0.1]


async def test_a_broker_says_when_it_wants_to_be_asked_again(orion):
    sink = sink_at(orion)
    await deliver(sink, [level(1, 0, 10)])
    orion.trouble(web.json_response({}, status=429, headers={"Retry-After": "17"}))
    assert (await held(sink, [level(2, 1, 10)])).retry_after_s == 17


async def test_what_was_taken_before_the_trouble_is_known(orion):
    sink = sink_at(orion, batch=2)
    async with sink.connect() as link:
        await link.deliver([level(1, 0, 10)])
        orion.always = lambda _: web.Response(status=503) if orion.updates[-1].entities[0]["id"][-1] == "4" else None
        with pytest.raises(SinkUnavailable) as caught:
            await link.deliver([level(number, number, 10, number=number) for number in range(2, 6)])
    assert caught.value.acknowledged == (2, 3)


async def test_without_its_database_an_empty_answer_is_not_believed(orion):
    await deliver(sink_at(orion), [level(1, 120, 60)])
    orion.database = False
    sink = sink_at(orion)
    assert "Database" in str(await held(sink, [level(2, 0, 40)]))
    orion.database = True
    await deliver(sink, [level(2, 0, 40)])
    assert orion.entities.state(BIN)["fillingLevel"]["value"] == 0.6


async def test_what_goes_wrong_with_everything_parks_nothing(orion):
    refusal = {"error": "BadRequest", "description": "a component of ServicePath contains an illegal character"}
    orion.always = lambda request: web.json_response(refusal, status=400) if "update" in request.path else None
    reason = await held(sink_at(orion), [level(number, number, 10) for number in range(1, 9)])
    assert reason.alert
    assert "illegal character" in str(reason)


async def test_a_wrong_url_parks_nothing(orion):
    sink = NgsiV2Sink(NgsiV2Destination("centre", f"{orion.url}/ngsi-ld", GATEWAY_EUI))
    assert (await held(sink, [level(1, 0, 10)])).alert


async def test_nobody_there(orion):
    await orion.stop()
    assert not (await held(sink_at(orion), [level(1, 0, 10)])).alert


# --- what can never be taken is found and parked


async def with_two_places(orion: Orion, number: int) -> None:
    """Somebody else gave this container a place under another name: ours is one too many for Orion."""
    place = {"type": "geo:json", "value": {"type": "Point", "coordinates": [3.0, 43.0]}, "metadata": {}}
    orion.entities.kept["city", "/waste", f"{BIN[:-1]}{number}", "WasteContainer"] = {"position": place}


async def test_the_poisoned_entity_is_found_and_parked_and_all_others_arrive(orion):
    await with_two_places(orion, 5)
    batch = [level(number, number, 10 * number, number=number) for number in range(1, 10)]
    (refusal,) = await deliver(sink_at(orion), batch)
    assert refusal.position == 5
    assert refusal.reason.startswith(f"{BIN[:-1]}5: 413")
    assert "more than one geo location" in refusal.reason
    for number in set(range(1, 10)) - {5}:
        assert orion.entities.state(f"{BIN[:-1]}{number}")["fillingLevel"]["value"] == number / 10
    assert orion.entities.state(f"{DEVICE[:-1]}5")["loraFCnt"]["value"] == 5  # the rest of that reading
    assert all(len(history(orion, f"{BIN[:-1]}{number}", "fillingLevel")) == 1 for number in (1, 4, 6, 9))


async def test_an_id_that_is_too_long_costs_its_own_reading_only(orion):
    long = reading_of(2, 2, ("fill_level", 20, "%"), number=2, tags={**GLASS, "entity_id": "urn:x:" + "y" * 300})
    (refusal,) = await deliver(sink_at(orion), [level(1, 1, 10), long, level(3, 3, 30)])
    assert refusal.position == 2
    assert "max length supported" in refusal.reason
    assert levels(orion) == [0.1, 0.3]


async def test_a_request_that_is_too_large_goes_in_halves_and_the_size_is_remembered(orion):
    orion.most_bytes = 12_000
    sink = sink_at(orion)
    batch = [level(number, number, 10, number=number) for number in range(1, 33)]
    async with sink.connect() as link:
        assert await link.deliver(batch) == []
        too_large = [seen for seen in orion.updates if seen.status == 413]
        assert too_large
        assert await link.deliver([level(40 + number, 40 + number, 20, number=number) for number in range(1, 33)]) == []
    assert [seen for seen in orion.updates if seen.status == 413] == too_large
    assert all(
        orion.entities.state(f"{BIN[:-2]}{number:02x}")["fillingLevel"]["value"] == 0.2 for number in range(1, 33)
    )


async def test_a_proxy_with_a_page_for_what_is_too_large_is_understood(orion):
    sink = sink_at(orion)
    async with sink.connect() as link:
        await link.deliver([level(1, 0, 10)])
        orion.trouble(page(413))
        assert await link.deliver([level(2, 10, 20), level(3, 20, 30)]) == []
    assert levels(orion) == [0.1, 0.2, 0.3]


async def test_an_entity_at_which_the_broker_fails_does_not_hold_the_others_for_ever(orion):
    def fails(request):
        said = orion.seen[-1].entities
        return (
            web.json_response({"error": "InternalServerError"}, status=500)
            if any(one["id"] == f"{BIN[:-1]}2" for one in said)
            else None
        )

    orion.always = fails
    carrier = Carrier()
    await carrier.carry(sink_at(orion), [level(number, number, 10, number=number) for number in range(1, 6)])
    assert [refusal.position for refusal in carrier.refusals] == [2]
    assert len(carrier.reasons) == 3
    assert levels(orion) == [0.1]


async def test_the_same_id_with_another_type_stays_what_it_is(orion):
    theirs = {"name": {"type": "Text", "value": "theirs", "metadata": {}}}
    orion.entities.kept["city", "/waste", BIN, "Thing"] = dict(theirs)
    assert await deliver(sink_at(orion), [level(1, 0, 10)]) == []
    assert orion.entities.kept["city", "/waste", BIN, "Thing"] == theirs
    assert orion.entities.kept["city", "/waste", BIN, "WasteContainer"]["fillingLevel"]["value"] == 0.1


# --- logins


class Keyrock:
    """Gives out tokens, and knows what it was asked."""

    def __init__(self, orion: Orion) -> None:
        self._orion = orion
        self.forms: list[dict[str, str]] = []
        self.logins: list[str | None] = []
        self.answer = lambda token: web.json_response({"access_token": token, "expires_in": 3600})

    async def start(self) -> str:
        application = web.Application()
        application.router.add_post("/oauth2/token", self._give)
        self.runner = web.AppRunner(application)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/oauth2/token"

    async def _give(self, request: web.Request) -> web.Response:
        self.forms.append(dict(await request.post()))
        self.logins.append(request.headers.get("Authorization"))
        self._orion.token = f"token-{len(self.forms)}"
        return self.answer(self._orion.token)


@pytest.fixture
async def keyrock(orion):
    one = Keyrock(orion)
    one.url = await one.start()
    yield one
    await one.runner.cleanup()


CLIENT = "Basic Z2F0ZXdheTpzM2NyZXQ="  # printf gateway:s3cret | base64


async def test_a_token_for_the_client_is_asked_for_once(orion, keyrock):
    credentials = Credentials(oauth_url=keyrock.url, client_id="gateway", client_secret=lambda: "s3cret")
    sink = sink_at(orion, credentials=credentials)
    await deliver(sink, [level(1, 0, 10)])
    await deliver(sink, [level(2, 1, 20)])
    assert keyrock.forms == [{"grant_type": "client_credentials"}]
    assert keyrock.logins == [CLIENT]
    assert orion.updates[-1].headers["Authorization"] == "Bearer token-1"


async def test_a_token_that_ended_at_midnight_is_renewed_and_the_request_goes_again(orion, keyrock):
    credentials = Credentials(
        username="gateway@city", password=lambda: "pass & word", oauth_url=keyrock.url, client_id="gateway",
        client_secret=lambda: "s3cret",
    )  # fmt: skip
    sink = sink_at(orion, credentials=credentials)
    async with sink.connect() as link:
        await link.deliver([level(1, 0, 10)])
        orion.token = "another"
        assert await link.deliver([level(2, 1, 20)]) == []
    assert keyrock.forms == [{"grant_type": "password", "username": "gateway@city", "password": "pass & word"}] * 2
    assert levels(orion) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("answer", "alert"),
    [
        (lambda _: web.json_response({"error": "invalid_client"}, status=401), True),
        (lambda _: web.json_response({"error": "invalid_grant"}, status=400), True),
        (lambda _: web.Response(status=503), False),
        (lambda _: page(200), True),
        (lambda _: web.json_response(["token"]), True),
        (lambda _: web.json_response({"access_token": "two words"}), True),
    ],
)
async def test_without_a_token_everything_waits(orion, keyrock, answer, alert):
    keyrock.answer = answer
    credentials = Credentials(oauth_url=keyrock.url, client_id="gateway", client_secret=lambda: "s3cret")
    reason = await held(sink_at(orion, credentials=credentials), [level(1, 0, 10)])
    assert reason.alert is alert
    assert "s3cret" not in str(reason)


async def test_a_token_from_a_file_is_read_anew_and_said_in_both_words(orion, tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    orion.token = "new"
    sink = sink_at(orion, credentials=Credentials(token=file.read_text))
    assert (await held(sink, [level(1, 0, 10)])).alert
    file.write_text("new\n")
    assert await deliver(sink, [level(1, 0, 10)]) == []
    headers = orion.updates[-1].headers
    assert (headers["X-Auth-Token"], headers["Authorization"]) == ("new", "Bearer new")
    file.unlink()
    assert "No such file" in str(await held(sink, [level(2, 1, 10)]))


# --- everything at once


def state(orion: Orion, wanted) -> dict:
    """Of the entities that the truth knows, the plain values that Orion has."""
    kept = {key[2:]: attributes for key, attributes in orion.entities.kept.items()}
    return {
        key: {name: attribute["value"] for name, attribute in kept[key].items() if name != "TimeInstant"}
        for key in wanted
    }


TROUBLES = st.lists(
    st.sampled_from(["fine", "fine", "lost", "drop", "busy", "database", "too large", "restart"]), max_size=12
)


@settings(deadline=None, max_examples=60)
@given(records=weeks(), troubles=TROUBLES, size=st.integers(1, 9))
def test_whatever_happens_orion_ends_with_the_newest_of_everything(records, troubles, size):
    async def story():
        orion = Orion()
        await orion.start()
        waiting = list(troubles)

        def next_trouble(request):
            what = waiting.pop(0) if waiting and "Fiware-Correlator" in request.headers else "fine"
            match what:
                case "busy":
                    return web.json_response({}, status=429)
                case "database":
                    return web.json_response({"error": "InternalServerError"}, status=500)
                case "too large":
                    return page(413)
                case "lost" | "drop":
                    return what
            return None

        orion.always = next_trouble
        sink, carrier = sink_at(orion, batch=size), Carrier(size=size)
        for start in range(0, len(records), 7):
            if waiting and waiting[0] == "restart":
                sink = sink_at(orion, batch=size)
            await carrier.carry(sink, records[start : start + 7])
        await orion.stop()
        return orion, carrier

    orion, carrier = asyncio.run(story())
    assert all("too large" in troubles and "413" in refusal.reason for refusal in carrier.refusals)
    if not carrier.refusals:
        expected = truth(records)
        assert state(orion, expected) == expected
        assert max(orion.most_in_flight.values(), default=1) == 1
        told = {moment for one in orion.told for moment in moments(one)}
        assert told >= {
            moment
            for one in records
            for seen in observations(one.reading, Rules())
            for moment in moments(entity_json(seen))
        }


def moments(entity):
    """What was measured when, of one entity as it is written."""
    return {
        (entity["id"], name, repr(attribute["value"]), attribute["metadata"]["TimeInstant"]["value"])
        for name, attribute in entity.items()
        if isinstance(attribute, dict) and "TimeInstant" in attribute.get("metadata", {})
    }
