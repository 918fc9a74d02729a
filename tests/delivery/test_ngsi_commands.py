"""Commands that stand in a context broker: each carried out once, in time, and answered where it stands."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web
from contract_example import GATEWAY_EUI
from fakes import stamp_now
from hypothesis import given, settings
from hypothesis import strategies as st
from ngsi_ld_double import LdBroker
from orion_double import Orion

from gateway.delivery.command_door import CommandDoor
from gateway.delivery.ngsi_ld import NgsiLdDestination, NgsiLdSink
from gateway.delivery.ngsi_orders import Orders
from gateway.delivery.ngsi_v2 import NgsiV2Destination, NgsiV2Sink
from gateway.errors import UsageError
from gateway.model import DevEui, DownlinkState, QueuedDownlink, TimeQuality
from gateway.wire import ngsi_commands
from gateway.wire.ngsi_commands import LD, V2, CommandReader, asked, is_as_wanted, result_ld, result_v2, subscription_v2
from gateway.wire.own_downlink import NoDownlink, downlink_result_json
from gateway.wire.own_json import json_bytes, json_value

VALVE = DevEui.parse("70b3d57ed0000001")
ENTITY = f"urn:ngsi-ld:Device:{VALVE}"
TEMPLATE = "urn:ngsi-ld:{model}:{dev_eui}"
TOKEN = "a-token-of-theirs"


class Desk:
    """A desk of one valve; payloads of at most 51 bytes. `told` hears of every change, as a queue's would."""

    def __init__(self) -> None:
        self.queued: dict[str, QueuedDownlink] = {}
        self.asked = 0
        self.told = lambda _: None

    async def knows(self, dev_eui, tags):
        return dev_eui == VALVE and tags.get("kind", "valve") == "valve"

    def known(self, ref):
        return self.queued.get(ref)

    async def ask_once(self, dev_eui, asked, origin, tags):
        if not await self.knows(dev_eui, tags):
            return None
        if asked.payload and len(asked.payload) > 51:
            raise UsageError("60 bytes, at most 51 at any data rate of EU868")
        if asked.ref not in self.queued:
            self.asked += 1
            self.queued[asked.ref] = QueuedDownlink(
                asked.ref, dev_eui, asked.f_port or 2, asked.payload or b"\x02", confirmed=asked.confirmed,
                asked=stamp_now(), origin=origin, expires_after_s=asked.expires_after_s, state=DownlinkState.QUEUED,
            )  # fmt: skip
            self.told(self.queued[asked.ref])
        return self.queued[asked.ref]

    def became(self, ref: str, state: DownlinkState, reason: str | None = None) -> None:
        self.queued[ref] = replace(self.queued[ref], state=state, reason=reason, f_cnt=4)
        self.told(self.queued[ref])


class V2Side:
    """An Orion, and how somebody commands through it."""

    def __init__(self) -> None:
        self.broker = Orion()
        self.broker.entities.now = self.now
        self.shift_s = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(stamp_now().utc_us / 1e6 + self.shift_s, UTC)

    def sink(self, orders: Orders) -> NgsiV2Sink:
        return NgsiV2Sink(NgsiV2Destination("orion", self.broker.url, GATEWAY_EUI, orders=orders))

    def command(self, value: object, name: str = "downlink", entity: str = ENTITY) -> None:
        said = {"type": "command", "value": value}
        self.broker.entities.update(
            "", "/", {"actionType": "append", "entities": [{"id": entity, "type": "Device", name: said}]}, set()
        )

    def beside(self, name: str, entity: str = ENTITY) -> object:
        attribute = self.broker.entities.state(entity).get(name)
        return None if attribute is None else attribute["value"]

    @property
    def subscriptions(self) -> dict:
        return self.broker.subscriptions


class LdSide(V2Side):
    """The same with an NGSI-LD broker."""

    def __init__(self) -> None:
        self.broker = LdBroker()
        self.broker.now = self.now
        self.shift_s = 0.0

    def sink(self, orders: Orders) -> NgsiLdSink:
        return NgsiLdSink(NgsiLdDestination("orion", self.broker.url, GATEWAY_EUI, orders=orders))

    def command(self, value: object, name: str = "downlink", entity: str = ENTITY) -> None:
        said = {"id": entity, "type": "Device", name: {"type": "Property", "value": value}}
        self.broker._upsert([said], replace=False)

    def beside(self, name: str, entity: str = ENTITY) -> object:
        return self.broker.entities[entity].get(name, {}).get("value")


@pytest.fixture(params=[V2Side, LdSide], ids=["v2", "ld"])
async def side(request):
    one = request.param()
    await one.broker.start()
    yield one
    await one.broker.stop()


@pytest.fixture
def desk():
    return Desk()


POLL = Orders("poll", ("downlink", "setInterval"), interval_s=0.05)


@contextlib.asynccontextmanager
async def commanded(side, desk, orders: Orders = POLL, now=stamp_now):
    """A connected sink whose commands are seen to, and that is told of results as the mailbox tells it."""
    sink = side.sink(orders)
    sink.obey(desk, now)
    async with sink.connect() as link:
        news: asyncio.Queue = asyncio.Queue()
        desk.told = news.put_nowait

        async def tell() -> None:
            while True:
                entry = await news.get()
                await link.announce(f"{entry.dev_eui}/down/result", downlink_result_json(entry))

        async def listen() -> None:
            async for _ in link.downlinks():
                raise AssertionError("commands go to their desk")

        tasks = [asyncio.create_task(listen()), asyncio.create_task(tell())]
        try:
            yield sink
            for task in tasks:
                assert not task.done() or not task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(reached, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.01)


# --- poll


async def test_a_command_is_carried_out_and_answered_where_it_stands(side, desk):
    side.command({"f_port": 10, "payload": "01", "confirmed": True})
    async with commanded(side, desk):
        await until(lambda: side.beside("downlink_status") == "PENDING")
        [(ref, entry)] = desk.queued.items()
        assert (entry.dev_eui, entry.f_port, entry.payload, entry.confirmed, entry.origin) == (
            VALVE, 10, b"\x01", True, "orion",
        )  # fmt: skip
        desk.became(ref, DownlinkState.SENT)
        await until(lambda: side.beside("downlink_status") == "DELIVERED")
        desk.became(ref, DownlinkState.ACKNOWLEDGED)
        await until(lambda: side.beside("downlink_status") == "OK")
        assert side.beside("downlink_info")["ref"] == ref
        await asyncio.sleep(0.2)  # several questions more
    assert desk.asked == 1


async def test_an_attribute_of_a_codec_is_a_command_of_its_own(side, desk):
    side.command(600, "setInterval")
    async with commanded(side, desk):
        await until(lambda: side.beside("setInterval_status") == "PENDING")
    assert desk.asked == 1


async def test_the_same_value_written_again_is_another_command(side, desk):
    async with commanded(side, desk):
        for number in (1, 2):
            side.shift_s = number / 100
            side.command({"f_port": 10, "payload": "01"})
            await until(lambda number=number: desk.asked == number)


async def test_after_a_restart_of_the_gateway_nothing_is_carried_out_twice_and_what_happened_is_told(side, desk):
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, desk):
        await until(lambda: side.beside("downlink_status") == "PENDING")
    desk.told = lambda _: None
    [ref] = desk.queued
    desk.became(ref, DownlinkState.SENT)  # nobody was told
    async with commanded(side, desk):
        await until(lambda: side.beside("downlink_status") == "DELIVERED")
    assert desk.asked == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"f_port": 0, "payload": "01"}, "1 to 223"),
        ({"f_port": 10, "payload": "01" * 60}, "at most 51"),
        ({"f_port": 10, "payload": "xyz"}, "hex"),
        ("on", "object"),
        ({"f_port": 10}, "either"),
    ],
)
async def test_each_mistake_is_written_where_the_command_stands(side, desk, value, words):
    side.command(value)
    async with commanded(side, desk):
        await until(lambda: side.beside("downlink_status") == "ERROR")
    assert words in side.beside("downlink_info")["reason"].replace("%28", "(")
    assert desk.asked == 0


@pytest.mark.parametrize("shift_s", [-3_700.0, 400.0])
async def test_what_was_written_too_long_ago_is_not_carried_out(side, desk, shift_s):
    side.shift_s = shift_s
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, desk):
        await until(lambda: side.beside("downlink_status") == "EXPIRED")
    assert desk.asked == 0


async def test_devices_of_another_gateway_are_left_alone(side, desk):
    other = "urn:ngsi-ld:Device:70b3d57ed0000002"
    side.command({"f_port": 10, "payload": "01"}, entity=other)
    side.command({"f_port": 0}, entity=other)
    side.command({"f_port": 10, "payload": "01"}, entity="urn:ngsi-ld:Device:my-lamp")
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, desk):
        await until(lambda: desk.asked == 1)
    assert side.beside("downlink_status", other) is None
    assert {entry.dev_eui for entry in desk.queued.values()} == {VALVE}


async def test_a_gateway_that_does_not_know_the_time_waits(side, desk):
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, desk, now=lambda: replace(stamp_now(), quality=TimeQuality.UNSYNCED)):
        await asyncio.sleep(0.2)
    assert desk.asked == 0


async def test_two_hundred_devices_are_all_asked_for(side, desk):
    for number in range(230):
        side.command({"f_port": 10, "payload": "01"}, entity=f"urn:ngsi-ld:Device:{number:016x}")
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, desk):
        await until(lambda: desk.asked == 1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>login</html>", content_type="text/html"),
        lambda: web.Response(status=500),
        lambda: web.Response(status=403),
        lambda: web.json_response({"not": "a list"}),
    ],
    ids=["a page", "an error", "forbidden", "an object"],
)
async def test_a_broker_that_cannot_be_asked_costs_no_connection_and_is_asked_again(side, desk, answer):
    side.command({"f_port": 10, "payload": "01"})
    side.broker.always = lambda request: answer() if request.method == "GET" else None
    async with commanded(side, desk):
        await asyncio.sleep(0.2)
        assert desk.asked == 0
        side.broker.always = lambda _: None
        await until(lambda: desk.asked == 1)


async def test_where_nothing_is_set_no_question_is_asked(side, desk):
    async with commanded(side, desk, Orders()) as sink:
        await asyncio.sleep(0.1)
        assert sink.doorkeeper() is None
    seen = side.broker.seen if isinstance(side.broker, Orion) else side.broker.requests
    assert not [one for one in seen if "downlink" in str(one)]


async def test_commands_are_nothing_that_a_broker_is_given_back_after_it_has_lost_it():
    side = V2Side()
    await side.broker.start()
    side.command({"f_port": 10, "payload": "01"})
    async with commanded(side, Desk()) as sink, sink.connect() as link:
        shown = await link._query([(ENTITY, "Device")])
    assert shown == {(ENTITY, "Device"): {}}
    await side.broker.stop()


# --- subscribe


@contextlib.asynccontextmanager
async def subscribed(side, desk, **options):
    """The same, with a door that the broker reaches."""
    keepers: dict = {}
    async with CommandDoor(keepers, desk, stamp_now).open("127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/commands/orion"
        orders = Orders("subscribe", notify_url=url, token=lambda: TOKEN, **options)
        async with commanded(side, desk, orders) as sink:
            keepers["orion"] = sink.doorkeeper()
            await until(lambda: len(side.subscriptions) == 1)
            yield url


async def notified(side) -> None:
    if isinstance(side, LdSide):
        assert await side.broker.tell(ENTITY) == [204]


async def test_a_broker_that_is_subscribed_to_tells_at_once_and_twice_is_once(side, desk):
    async with subscribed(side, desk):
        side.command({"f_port": 10, "payload": "01"})
        for _ in range(3):
            await notified(side)
        await until(lambda: side.beside("downlink_status") == "PENDING")
    assert desk.asked == 1


async def test_a_subscription_that_is_gone_or_changed_is_made_again_and_stays_one(side, desk):
    async with subscribed(side, desk):
        pass
    for change in (dict.clear, _with_another_url):
        change(side.subscriptions)
        async with subscribed(side, desk) as url:
            await until(lambda url=url: [_url(one) for one in side.subscriptions.values()] == [url])
    async with subscribed(side, desk):
        await asyncio.sleep(0.1)
        assert len(side.subscriptions) == 1


def _url(subscription: dict) -> str:
    notification = subscription["notification"]
    return notification["httpCustom"]["url"] if "httpCustom" in notification else notification["endpoint"]["uri"]


def _with_another_url(subscriptions: dict) -> None:
    for one in subscriptions.values():
        notification = one["notification"]
        if "httpCustom" in notification:
            notification["httpCustom"] = {"url": "http://old"}
        else:
            notification["endpoint"] = {"uri": "http://old"}


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b'{"data": []}', 401),
        ({"Authorization": "Bearer wrong"}, b'{"data": []}', 401),
        ({"Authorization": "Basic abc"}, b'{"data": []}', 401),
        ({"Authorization": f"Bearer {TOKEN}"}, b"<html></html>", 400),
        ({"Authorization": f"Bearer {TOKEN}"}, b"[]", 400),
        ({"Authorization": f"Bearer {TOKEN}"}, b'{"data": {}}', 400),
        ({"Authorization": f"Bearer {TOKEN}"}, b'{"data": [7, null, {"id": 3}, {"id": "x"}]}', 204),
    ],
)
async def test_notifications_that_are_none_are_answered(side, desk, headers, body, status):
    headers = {"Content-Type": "application/json", **headers}
    async with (
        subscribed(side, desk) as url,
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        assert response.status == status
    assert desk.asked == 0


def test_a_subscription_needs_an_address_and_a_token():
    with pytest.raises(ValueError, match="token"):
        Orders("subscribe")


# --- reading and writing


def test_a_command_is_read_with_what_orion_makes_of_it():
    reader = CommandReader("orion", TEMPLATE, ["downlink"], V2)
    when = {"dateModified": {"type": "DateTime", "value": "2026-11-23T08:15:02.123Z"}}
    value = {"data": {"name": "l%27heure", "level": 3.0}, "f_port": 10.0}
    entity = {"id": ENTITY, "type": "Device", "downlink": {"type": "command", "value": value, "metadata": when}}
    [command] = reader.read([entity])
    assert command.value == {"data": {"name": "l'heure", "level": 3}, "f_port": 10}
    assert command.at_us == round(datetime(2026, 11, 23, 8, 15, 2, 123_000, tzinfo=UTC).timestamp() * 1e6)
    assert reader.attribute_of(command.ref) == "downlink"
    assert reader.attribute_of(command.ref.replace("orion", "other")) is None
    [answered] = reader.read(
        [{**entity, "downlink_info": {"type": "x", "value": {"ref": command.ref, "state": "sent"}}}]
    )
    assert (command.answer, answered.answer) == (None, "sent")
    assert asked(command, 60).expires_after_s == 60


def test_an_ld_broker_without_our_context_shows_addresses_for_names():
    reader = CommandReader("ld", TEMPLATE, ["downlink"], LD)
    name = "https://uri.etsi.org/ngsi-ld/default-context/downlink"
    said = {"type": "Property", "value": {"f_port": 1, "payload": ""}, "modifiedAt": "2026-11-23T08:15:02.123456Z"}
    [command] = reader.read([{"id": ENTITY, "type": "Device", name: said}])
    assert command.at_us is not None
    assert command.answer is None


@pytest.mark.parametrize("template", [TEMPLATE, "urn:x:{dev_eui}", "city/{model}.{dev_eui}.{dev_eui}"])
def test_ids_by_any_template_lead_to_the_device_and_back(template):
    if template.count("{dev_eui}") > 1:
        return
    reader = CommandReader("orion", template, ["downlink"], V2)
    entity = {"id": reader.id_of(VALVE), "downlink": {"value": {}}}
    assert [command.dev_eui for command in reader.read([entity])] == [VALVE]


def test_results_are_entities_that_each_broker_takes():
    facts = {"ref": "r", "state": "failed", "reason": "60 bytes (at most 51)", "f_cnt": None}
    from ngsi_ld_double import check_entity as ld_takes
    from orion_double import check_entity as orion_takes

    assert orion_takes(result_v2(ENTITY, "downlink", facts, 0))["downlink_status"]["value"] == "ERROR"
    ld_takes(result_ld(ENTITY, "downlink", facts, 0))
    assert ngsi_commands.status_of({"state": "odd"}) == "UNKNOWN"
    assert set(ngsi_commands.STATUSES) == set(DownlinkState)


def test_a_subscription_is_known_again_among_what_a_broker_adds():
    wanted = subscription_v2("n", ["downlink"], "http://g/commands/orion", TOKEN)
    shown = json_value(json_bytes(wanted)) | {"id": "1", "status": "active"}
    shown["notification"] |= {"timesSent": 3, "httpCustom": {"url": "http://g/commands/orion"}}
    assert is_as_wanted(shown, wanted)
    shown["notification"]["attrs"] = ["other"]
    assert not is_as_wanted(shown, wanted)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, JSON, JSON, st.sampled_from([V2, LD]))
@settings(deadline=None, max_examples=300)
def test_whatever_a_broker_says_is_a_command_or_none(value, metadata, info, words):
    reader = CommandReader("orion", TEMPLATE, ["downlink"], words)
    attribute = {"value": value, "metadata": metadata, "modifiedAt": metadata}
    entities = [value, {"id": ENTITY, "downlink": attribute, "downlink_info": info}, {"id": ENTITY, "downlink": value}]
    for command in reader.read(entities):
        try:
            assert asked(command, 60).ref == command.ref
        except NoDownlink:
            continue
    list(reader.read(metadata))
    is_as_wanted(value, metadata)
