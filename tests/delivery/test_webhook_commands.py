"""Commands at the gateway's door: who may, what is carried out once, and what nobody gets through with."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import aiohttp
import pytest
from fakes import stamp_now
from http_servers import HttpDouble
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.command_door import CommandDoor, Knock
from gateway.delivery.http_line import HttpServer
from gateway.delivery.webhook import WebhookDestination, WebhookSink
from gateway.delivery.webhook_commands import WebhookDoor
from gateway.errors import StorageError, UsageError
from gateway.model import DevEui, DownlinkState, QueuedDownlink, TimeQuality
from gateway.wire.commands import is_signed, read_command, signature
from gateway.wire.own_downlink import LONGEST_REQUEST, NoDownlink

KNOWN = DevEui.parse("70b3d57ed0000001")
SECRET = "a key that both sides have"


class Desk:
    """A desk with one device; takes payloads of at most 51 bytes."""

    def __init__(self) -> None:
        self.queued: dict[str, QueuedDownlink] = {}
        self.full = False

    async def ask_once(self, dev_eui, asked, origin, tags):
        if dev_eui != KNOWN or tags.get("kind", "valve") != "valve":
            return None
        if self.full:
            raise StorageError("the disk is full")
        if asked.payload and len(asked.payload) > 51:
            raise UsageError(f"{len(asked.payload)} bytes, at most 51 at any data rate")
        entry = QueuedDownlink(
            asked.ref, dev_eui, asked.f_port or 1, asked.payload or b"", confirmed=asked.confirmed, asked=stamp_now(),
            origin=origin, state=DownlinkState.QUEUED,
        )  # fmt: skip
        return self.queued.setdefault(asked.ref, entry)


@pytest.fixture
def desk():
    return Desk()


@contextlib.asynccontextmanager
async def door_of(desk, *, now=stamp_now, only_tags=MappingProxyType({})):
    door = CommandDoor({"hook": WebhookDoor("hook", lambda: SECRET, only_tags)}, desk, now)
    async with door.open("127.0.0.1", 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        session.door = door
        yield session


def body_of(*, at_s: float = 0, **facts: object) -> bytes:
    moment = datetime.fromtimestamp(stamp_now().utc_us / 1e6, UTC) + timedelta(seconds=at_s)
    at = moment.isoformat().replace("+00:00", "Z")
    return json.dumps({"dev_eui": str(KNOWN), "at": at, "f_port": 10, "payload": "01", **facts}).encode()


async def knock(session, body: bytes, *, signed: str | None = "", kind="application/json", sink="hook", **headers):
    signed = signature(SECRET.encode(), body) if signed == "" else signed
    headers = {"Content-Type": kind, **({} if signed is None else {"X-Signature": signed}), **headers}
    async with session.post(f"/commands/{sink}", data=io.BytesIO(body), headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text.startswith("{") else text


# --- who may


async def test_a_signed_command_is_queued_and_named(desk):
    async with door_of(desk) as session:
        status, said = await knock(session, body_of(ref="valve-7", confirmed=True))
    assert (status, said) == (202, {"id": "valve-7", "state": "queued"})
    entry = desk.queued["valve-7"]
    assert (entry.dev_eui, entry.f_port, entry.payload, entry.confirmed, entry.origin) == (
        KNOWN, 10, b"\x01", True, "hook",
    )  # fmt: skip


@pytest.mark.parametrize(
    "signed",
    [None, "sha256=" + "0" * 64, "sha256=", "sha1=abc", "é", signature(b"another key", b"{}"), signature(b"", b"")],
)
async def test_without_the_right_signature_nobody_learns_anything(desk, signed):
    async with door_of(desk) as session:
        known = await knock(session, body_of(), signed=signed)
        unknown = await knock(session, body_of(dev_eui="0000000000000009"), signed=signed)
    assert known == unknown == (401, {"error": "X-Signature is not that of this body"})
    assert desk.queued == {}


@pytest.mark.parametrize(("at_s", "status"), [(-301, 403), (301, 403), (-290, 202), (290, 202)])
async def test_a_recorded_command_is_too_old_after_five_minutes(desk, at_s, status):
    async with door_of(desk) as session:
        assert (await knock(session, body_of(at_s=at_s)))[0] == status


async def test_a_gateway_without_the_time_takes_no_command(desk):
    async with door_of(desk, now=lambda: replace(stamp_now(), quality=TimeQuality.UNSYNCED)) as session:
        assert (await knock(session, body_of()))[0] == 503


async def test_the_same_command_again_is_carried_out_once_whatever_its_headers_say(desk):
    body = body_of()
    async with door_of(desk) as session:
        first = await knock(session, body, **{"Idempotency-Key": "one"})
        again = [await knock(session, body, **{"Idempotency-Key": key}) for key in ("one", "two", "three")]
        other = await knock(session, body_of(payload="02"), **{"Idempotency-Key": "one"})
        together = await asyncio.gather(*(knock(session, body) for _ in range(10)))
    assert {status for status, _ in [first, *again, *together]} == {202}
    assert {said["id"] for _, said in [first, *again, *together]} == {first[1]["id"]}
    assert other[0] == 422
    assert len(desk.queued) == 1


async def test_devices_without_the_tags_of_the_destination_are_as_good_as_unknown(desk):
    async with door_of(desk, only_tags={"kind": "glass"}) as session:
        assert (await knock(session, body_of()))[0] == 404


# --- what nobody gets through with


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"dev_eui": "0000000000000009"}, 404, "no device"),
        ({"dev_eui": "seven"}, 400, "dev_eui"),
        ({"f_port": 0}, 400, "1 to 223"),
        ({"f_port": 224}, 400, "1 to 223"),
        ({"payload": "01" * 60}, 422, "at most 51"),
        ({"payload": "xyz"}, 400, "hex"),
        ({"payload": None}, 400, "payload"),
        ({"data": {"a": 1}}, 400, "either"),
        ({"at": "yesterday"}, 400, "at:"),
        ({"at": "2026-11-23T08:15:00"}, 400, "at:"),
        ({"at": 7}, 400, "at:"),
        ({"priority": 1}, 400, "priority"),
        ({"ref": "a\nb"}, 400, "ref"),
    ],
)
async def test_each_mistake_has_its_answer(desk, facts, status, words):
    async with door_of(desk) as session:
        answered, said = await knock(session, body_of(**facts))
    assert answered == status
    assert words in said["error"]
    assert desk.queued == {}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<html><body>hello</body></html>", "text/html", 415),
        (b"<html><body>hello</body></html>", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"", "application/json", 400),
        (b"null", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{" + b" " * (10 << 20), "application/json", 413),
        (b" " * (LONGEST_REQUEST + 1), "application/json", 413),
    ],
)
async def test_pages_and_floods_are_answered(desk, body, kind, status):
    async with door_of(desk) as session:
        with contextlib.suppress(aiohttp.ClientConnectionError):  # what is far too long may be cut off in the middle
            assert (await knock(session, body, kind=kind))[0] == status
        assert (await knock(session, body_of()))[0] == 202


async def test_other_places_and_ways_are_none(desk):
    async with door_of(desk) as session:
        assert (await knock(session, body_of(), sink="other"))[0] == 404
        async with session.get("/commands/hook") as response:
            assert response.status == 405
        async with session.post("/") as response:
            assert response.status == 404


async def test_a_disk_that_refuses_is_the_gateways_trouble(desk):
    desk.full = True
    async with door_of(desk) as session:
        assert (await knock(session, body_of()))[0] == 503


@given(st.binary(max_size=200) | st.dictionaries(
    st.sampled_from(["dev_eui", "at", "f_port", "payload", "data", "confirmed", "ref", "expires_after_s", "x"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(str(KNOWN)),
).map(lambda facts: json.dumps(facts).encode()))  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_any_body_is_a_command_or_none(body):
    try:
        command = read_command(body)
    except NoDownlink:
        return
    assert command.asked.ref


@given(st.binary(max_size=50), st.text(max_size=80))
@settings(deadline=None)
def test_any_text_is_the_signature_or_not(body, said):
    assert not is_signed(b"key", body, said)
    assert is_signed(b"key", body, signature(b"key", body))


async def test_a_key_that_cannot_be_read_is_told(desk):
    def gone() -> str:
        raise OSError("gone")

    with pytest.raises(StorageError):
        await WebhookDoor("hook", gone, {}).answer(Knock({}, b""), desk, stamp_now())


# --- results


async def test_what_became_of_it_is_posted_as_an_event_signed(desk):
    async with HttpDouble() as hook:
        sink = WebhookSink(WebhookDestination("hook", HttpServer(hook.url), hmac_key=lambda: SECRET,
                                              command_key=lambda: SECRET))  # fmt: skip
        async with sink.connect() as link:
            await link.announce(f"{KNOWN}/down/result", {"ref": "r", "state": "sent", "reason": None, "f_cnt": 3})
            await link.announce("status", {"state": "online"})
        [event] = hook.asked
    assert json.loads(event.body) == {
        "event": "down/result", "dev_eui": str(KNOWN), "ref": "r", "state": "sent", "reason": None, "f_cnt": 3,
    }  # fmt: skip
    assert event.headers["X-Signature"] == signature(SECRET.encode(), event.body)
    assert sink.doorkeeper() is not None


async def test_an_endpoint_that_may_give_no_commands_is_told_of_none():
    async with HttpDouble() as hook:
        sink = WebhookSink(WebhookDestination("hook", HttpServer(hook.url), hmac_key=lambda: SECRET))
        async with sink.connect() as link:
            await link.announce(f"{KNOWN}/down/result", {"ref": "r", "state": "sent"})
        assert hook.asked == []
    assert sink.doorkeeper() is None
