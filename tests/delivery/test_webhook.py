"""Readings to real HTTP endpoints: good ones, those that refuse, those that answer nonsense or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from aiohttp import web
from brokers import Authority
from contract_example import EXAMPLE, record, records
from http_servers import Asked, HttpDouble, server_context

from gateway.delivery.http_line import HttpServer, Unanswered
from gateway.delivery.sink import Link, Sink, SinkUnavailable
from gateway.delivery.webhook import REFUSED_IN_A_ROW, WebhookDestination, WebhookSink
from gateway.wire.privacy import Privacy

pytestmark = pytest.mark.usefixtures("quiet_loop")


def sink_at(server: HttpDouble, *, privacy: Privacy | None = None, batch: int = 100, hmac_key=None, **options):
    where = HttpServer(f"{server.url}/readings", **options)
    return WebhookSink(WebhookDestination("hook", where, batch, hmac_key, privacy or Privacy()))


async def deliver(sink: WebhookSink, batch):
    async with sink.connect() as link:
        return await link.deliver(batch)


async def unavailable(sink: WebhookSink, batch) -> SinkUnavailable:
    """Deliver, which must fail; why."""
    with pytest.raises(SinkUnavailable) as caught:
        await deliver(sink, batch)
    return caught.value


def counters(asked: Asked) -> list[int]:
    return [reading["f_cnt"] for reading in json.loads(asked.body)]


def all_counters(asked) -> list[int]:
    return [counter for one in asked for counter in counters(one)]


class Endpoint:
    """Takes readings as a careful service does: bad ones refused whole, keys remembered, one body for each key."""

    def __init__(self, *bad: int, most: int = 10**9, status: int = 422) -> None:
        self.bad, self.most, self.status = set(bad), most, status
        self.kept: list[int] = []
        self.bodies: dict[str, bytes] = {}
        self.loses_answers = 0

    async def __call__(self, asked: Asked) -> web.Response:
        if len(asked.body) > self.most:
            return web.Response(status=413)
        found = counters(asked)
        if self.bad.intersection(found):
            return web.json_response({"detail": "no such reading"}, status=self.status)
        key = asked.headers["Idempotency-Key"]
        if self.bodies.setdefault(key, asked.body) != asked.body:
            return web.json_response({"title": "Idempotency-Key is already used"}, status=422)
        if not set(found) <= set(self.kept):
            self.kept += found
        if self.loses_answers:
            self.loses_answers -= 1
            await asyncio.sleep(60)
        return web.Response(status=201)


# --- what arrives


async def test_the_published_example_arrives_as_an_array_of_one():
    async with HttpDouble() as server:
        assert await deliver(sink_at(server), [record()]) == []
    [asked] = server.asked
    assert (asked.method, asked.path, asked.headers["Content-Type"]) == ("POST", "/readings", "application/json")
    assert json.loads(asked.body) == [json.loads(EXAMPLE)]


async def test_readings_arrive_in_order_in_arrays_no_longer_than_the_batch():
    async with HttpDouble() as server:
        assert await deliver(sink_at(server, batch=40), records(100)) == []
    assert [len(counters(asked)) for asked in server.asked] == [40, 40, 20]
    assert all_counters(server.asked) == list(range(1, 101))


async def test_no_body_is_larger_than_what_servers_usually_take():
    async with HttpDouble() as server:
        assert await deliver(sink_at(server, batch=5_000), records(3_000)) == []
    assert len(server.asked) > 1
    assert max(len(asked.body) for asked in server.asked) <= 1_000_002
    assert all_counters(server.asked) == list(range(1, 3_001))


async def test_a_receiver_can_check_who_signed(tmp_path):
    file = tmp_path / "hmac"
    file.write_text("It's a Secret to Everybody")
    async with HttpDouble() as server:
        sink = sink_at(server, hmac_key=file.read_text)
        async with sink.connect() as link:
            await link.deliver(records(2))
            file.write_text("another")
            await link.deliver(records(2, 3))
    for asked, secret in zip(server.asked, (b"It's a Secret to Everybody", b"another"), strict=True):
        digest = hmac.new(secret, asked.body, hashlib.sha256).hexdigest()
        assert asked.headers["X-Signature"] == f"sha256={digest}"


async def test_a_key_that_cannot_be_read_holds_everything(tmp_path):
    async with HttpDouble() as server:
        reason = await unavailable(sink_at(server, hmac_key=(tmp_path / "gone").read_text), [record()])
    assert reason.alert
    assert "hmac_file" in str(reason)
    assert not server.asked


async def test_chosen_fields_leave_only():
    async with HttpDouble() as server:
        await deliver(sink_at(server, privacy=Privacy(("f_cnt",))), records(1))
    assert list(json.loads(server.asked[0].body)[0]) == ["id", "record_id", "gateway_eui", "dev_eui", "f_cnt"]


async def test_mutual_tls_is_spoken(tmp_path):
    authority = Authority(tmp_path / "authority")
    own = authority.issue("roof", hosts=[])
    async with HttpDouble(tls=server_context(authority.issue(), authority.file)) as server:
        login = {"ca_file": authority.file, "cert_file": own.cert_file, "key_file": own.key_file}
        assert await deliver(sink_at(server, **login), records(3)) == []
    assert [asked.peer for asked in server.asked] == ["roof"]


async def test_it_is_a_sink_and_an_empty_batch_costs_nothing():
    async with HttpDouble() as server:
        sink: Sink = sink_at(server)
        async with sink.connect() as link:
            opened: Link = link
            assert await opened.deliver([]) == []
            await opened.announce("status", {"heard": 1}, retain=True)
    assert not server.asked


# --- refusals


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("bad", [{1}, {16}, {7, 8}, {1, 9, 16}])
async def test_bad_readings_are_found_and_parked_and_the_others_arrive_in_order(status, bad):
    endpoint = Endpoint(*bad, status=status)
    async with HttpDouble(endpoint) as server:
        refused = await deliver(sink_at(server), records(16))
    assert [refusal.position for refusal in refused] == sorted(bad)
    assert f"the endpoint answers {status}" in refused[0].reason
    assert refused[0].reason.endswith(": no such reading")
    assert endpoint.kept == [number for number in range(1, 17) if number not in bad]


async def test_what_is_too_large_is_sent_in_smaller_pieces_and_the_lesson_is_kept():
    endpoint = Endpoint(most=3_000)
    async with HttpDouble(endpoint) as server, sink_at(server).connect() as link:
        assert await link.deliver(records(32)) == []
        refused_before = len(server.asked)
        assert await link.deliver(records(32, 33)) == []
        sizes = [len(asked.body) for asked in server.asked[refused_before:]]
    assert endpoint.kept == list(range(1, 65))
    assert max(sizes) <= 3_000


async def test_a_reading_too_large_by_itself_is_parked():
    async with HttpDouble(Endpoint(most=2_000)) as server:
        large = record(2, payload=bytes(4_000), f_cnt=2)
        refused = await deliver(sink_at(server), [*records(1), large, *records(1, 3)])
    assert [refusal.position for refusal in refused] == [2]
    assert "413 Content Too Large" in refused[0].reason


async def test_an_endpoint_that_refuses_everything_gets_the_blame_and_no_reading_is_parked():
    endpoint = Endpoint(*range(1, 17))
    async with HttpDouble(endpoint) as server:
        sink = sink_at(server)
        reason = await unavailable(sink, records(16))
        assert reason.alert
        assert "takes no reading at all" in str(reason)
        endpoint.bad = {3}
        refused = await deliver(sink, records(16))
    assert [refusal.position for refusal in refused] == [3]


async def test_an_endpoint_that_changes_its_mind_about_everything_parks_no_more_than_a_few():
    endpoint = Endpoint()
    async with HttpDouble(endpoint) as server, sink_at(server).connect() as link:
        assert await link.deliver(records(4)) == []
        endpoint.bad = set(range(1_000))
        parked: list[int] = []

        async def go_on() -> None:
            for first in range(5, 1_000, 16):
                parked.extend(refusal.position for refusal in await link.deliver(records(16, first)))

        with pytest.raises(SinkUnavailable, match="takes no reading at all") as caught:
            await go_on()
    assert len(parked) <= REFUSED_IN_A_ROW
    assert caught.value.alert


# --- waiting


@pytest.mark.parametrize(
    ("status", "alert", "words"),
    [
        (401, True, "check the login"), (403, True, "may not do that"), (404, True, "check the path in url"),
        (405, True, "check the path"), (410, True, "gone for good"), (415, True, "415 Unsupported"),
        (408, False, "408"), (409, False, "409 Conflict"), (425, False, "425"), (429, False, "429"),
        (500, False, "500"), (502, False, "502"), (503, False, "503"),
    ],
)  # fmt: skip
async def test_every_other_answer_holds_everything(status, alert, words):
    async with HttpDouble(lambda _: web.Response(status=status, headers={"Retry-After": "9"})) as server:
        reason = await unavailable(sink_at(server), records(4))
    assert (reason.alert, reason.retry_after_s, reason.acknowledged) == (alert, 9, ())
    assert words in str(reason)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<!DOCTYPE html><title>Log in</title>", "text/html"),
        ("\n <html><head><title>Log in</title>", "application/octet-stream"),
        ("<p>Log in", "text/html; charset=utf-8"),
    ],
)
async def test_a_page_for_people_is_no_acknowledgement(body, kind):
    async with HttpDouble(lambda _: web.Response(body=body.encode(), headers={"Content-Type": kind})) as server:
        reason = await unavailable(sink_at(server), records(4))
    assert reason.alert
    assert "a page of HTML" in str(reason)
    assert "instead of taking the readings" in str(reason)


@pytest.mark.parametrize("body", ["", "ok", '{"received": 4}'])
async def test_a_plain_word_under_any_content_type_is_an_acknowledgement(body):
    async with HttpDouble(lambda _: web.Response(text=body, content_type="text/html")) as server:
        assert await deliver(sink_at(server), records(4)) == []


async def test_what_was_taken_before_the_trouble_is_acknowledged():
    async def second_fails(asked: Asked) -> web.Response:
        return web.Response(status=200 if counters(asked)[0] == 1 else 503)

    async with HttpDouble(second_fails) as server:
        reason = await unavailable(sink_at(server, batch=10), records(30))
    assert reason.acknowledged == tuple(range(1, 11))
    assert len(server.asked) == 2


# --- answers that stay out


async def test_after_a_lost_answer_the_same_bytes_come_with_the_same_key():
    endpoint = Endpoint()
    endpoint.loses_answers = 1
    async with HttpDouble(endpoint) as server:
        sink = sink_at(server, answer_timeout_s=0.2)
        assert isinstance(await unavailable(sink, records(8, 5)), Unanswered)
        # by now they are late, older ones wait before them and newer ones behind
        waiting = [replace(one, late=True) for one in records(20)]
        assert await deliver(sink, waiting) == []
    first, *others = server.asked
    again = [asked for asked in others if asked.headers["Idempotency-Key"] == first.headers["Idempotency-Key"]]
    assert [asked.body for asked in again] == [first.body]
    assert all_counters(others) == list(range(1, 21))
    assert sorted(endpoint.kept) == list(range(1, 21))


async def test_the_key_is_that_of_the_body_even_after_a_restart():
    async with HttpDouble() as server:
        await deliver(sink_at(server), records(3))
        await deliver(sink_at(server), records(3))
        await deliver(sink_at(server), [replace(one, late=True) for one in records(3)])
        await deliver(sink_at(server), records(4))
    first, same, late, longer = (asked.headers["Idempotency-Key"] for asked in server.asked)
    assert first == same
    assert len({first, late, longer}) == 3


async def test_a_batch_that_never_gets_an_answer_shrinks_until_it_does():
    async def slow_for_many(asked: Asked) -> web.Response:
        await asyncio.sleep(60 if len(asked.body) > 6_000 else 0)
        return web.Response()

    async def all_of(sink: WebhookSink, waiting) -> None:
        async with asyncio.timeout(20):
            while waiting:
                try:
                    await deliver(sink, waiting)
                    waiting = []
                except SinkUnavailable as reason:
                    waiting = [one for one in waiting if one.position not in reason.acknowledged]

    async with HttpDouble(slow_for_many) as server:
        sink = sink_at(server, answer_timeout_s=0.1)
        await all_of(sink, records(32))
        asked_before = len(server.asked)
        await all_of(sink, records(32, 33))
    assert {*all_counters(server.asked)} == {*range(1, 65)}
    assert max(len(asked.body) for asked in server.asked[:asked_before]) > 12_000
    assert max(len(asked.body) for asked in server.asked[asked_before:]) < 9_000  # it has learned what gets through


async def test_a_server_restarted_between_two_posts_gets_the_rest():
    endpoint = Endpoint()
    async with HttpDouble(endpoint) as server:
        sink = sink_at(server)
        async with sink.connect() as link:
            await link.deliver(records(5))
            await server.__aexit__()
            with pytest.raises(SinkUnavailable):
                await link.deliver(records(5, 6))
            await server.__aenter__()
            await link.deliver(records(5, 6))
    assert endpoint.kept == list(range(1, 11))
