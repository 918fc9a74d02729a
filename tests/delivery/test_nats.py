"""Readings into the JetStream of a real nats-server, read back with another client."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from brokers import Authority
from contract_example import EXAMPLE, GATEWAY_EUI, READING, record, records
from nats_servers import NatsKey, NatsProcess, client, make_stream, operated, stream_of

from gateway.delivery.nats import NatsDestination, NatsSink
from gateway.delivery.sink import Link, Sink, SinkUnavailable
from gateway.lines.nats import NatsServer
from gateway.model import GatewayEui
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("quiet_loop")

SUBJECT = "lorawan.0016c001ff10a235.70b3d57ed0000001.up"
LOGIN = ("username", "password", "token", "credentials", "ca_file", "cert_file", "key_file", "keepalive_s",
         "connect_timeout_s")  # fmt: skip


@pytest.fixture
def make_nats(tmp_path: Path) -> Iterator[Callable[..., NatsProcess]]:
    started: list[NatsProcess] = []

    def make(*settings: str, **options) -> NatsProcess:
        server = NatsProcess(tmp_path / f"nats-{len(started)}", *settings, **options)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.kill()


@pytest.fixture
def nats_server(make_nats) -> NatsProcess:
    return make_nats()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def sink_at(server: NatsProcess | str, *, gateway_eui: GatewayEui = GATEWAY_EUI, **options) -> NatsSink:
    url = server if isinstance(server, str) else server.url
    login = {name: options.pop(name) for name in LOGIN if name in options}
    options.setdefault("create_stream", True)
    return NatsSink(NatsDestination("city", NatsServer(url, "test", **login), gateway_eui, **options))


async def deliver(sink: NatsSink, batch):
    async with sink.connect() as link:
        return await link.deliver(batch)


async def unavailable(sink: NatsSink, batch=()) -> SinkUnavailable:
    """Connect and deliver, which must fail; why."""
    with pytest.raises(SinkUnavailable) as caught:
        await deliver(sink, batch)
    return caught.value


# --- what arrives


async def test_the_published_example_is_in_the_stream_under_its_subject_and_frame_id(nats_server):
    example = json.loads(EXAMPLE) | {"id": "6f1c"}  # the printed one is shortened with an ellipsis
    assert await deliver(sink_at(nats_server), [record(frame_id="6f1c")]) == []
    [message] = await stream_of(nats_server)
    assert message.subject == SUBJECT
    assert json.loads(message.data) == example
    assert message.headers["Nats-Msg-Id"] == "6f1c"


async def test_readings_are_in_the_stream_once_and_in_order(nats_server):
    async with sink_at(nats_server).connect() as link:
        for first in range(1, 1_001, 100):
            assert await link.deliver(records(100, first)) == []
        for first in range(1, 301, 100):  # as after a kill: they were confirmed, and nobody remembers
            assert await link.deliver(records(100, first)) == []
    messages = await stream_of(nats_server)
    assert [json.loads(message.data)["f_cnt"] for message in messages] == list(range(1, 1_001))


async def test_a_frame_that_three_gateways_heard_is_in_the_stream_once(nats_server):
    gateways = [GatewayEui.parse(f"0016c001ff10a23{number}") for number in range(3)]

    async def carry(gateway_eui: GatewayEui) -> None:
        async with sink_at(nats_server, gateway_eui=gateway_eui).connect() as link:
            for first in range(1, 201, 20):
                heard = [replace(one, gateway_eui=gateway_eui) for one in records(20, first)]
                assert await link.deliver(heard) == []

    await asyncio.gather(*map(carry, gateways))
    messages = await stream_of(nats_server)
    assert sorted(json.loads(message.data)["f_cnt"] for message in messages) == list(range(1, 201))
    assert len({message.headers["Nats-Msg-Id"] for message in messages}) == 200


async def test_subject_fields_and_pseudonyms_are_what_the_settings_say(nats_server):
    names = Pseudonyms(b"a key for this test")
    sink = sink_at(nats_server, subject="city.{dev_eui}", privacy=Privacy(("measurements",), names))
    assert await deliver(sink, [record()]) == []
    [message] = await stream_of(nats_server)
    hidden = names.of("dev_eui", READING.dev_eui.hex())
    assert message.subject == f"city.{hidden}"
    assert message.headers["Nats-Msg-Id"] == names.of("id", READING.frame_id)
    assert list(json.loads(message.data)) == ["id", "record_id", "gateway_eui", "dev_eui", "measurements"]


async def test_it_is_a_sink_and_an_empty_batch_is_delivered_at_once(nats_server):
    sink: Sink = sink_at(nats_server)
    async with sink.connect() as link:
        opened: Link = link
        assert await opened.deliver([]) == []
        await opened.announce("status", {"heard": 1}, retain=True)


# --- the stream


async def test_the_stream_that_is_made_forgets_copies_after_a_day_and_readings_after_a_month(nats_server):
    await deliver(sink_at(nats_server), [])
    async with client(nats_server) as connected:
        config = (await connected.jetstream().stream_info("LORAWAN")).config
    assert config.subjects == ["lorawan.*.*.up"]
    assert (config.duplicate_window, config.max_age) == (86_400, 30 * 86_400)
    assert (config.storage, config.retention) == ("file", "limits")


async def test_without_a_stream_everything_waits_and_goes_out_when_somebody_made_one(nats_server):
    sink = sink_at(nats_server, create_stream=False)
    reason = await unavailable(sink, records(3))
    assert reason.alert
    assert "there is no stream LORAWAN; make it, or set create_stream = true" in str(reason)
    await make_stream(nats_server)
    assert await deliver(sink, records(3)) == []
    assert len(await stream_of(nats_server)) == 3


async def test_a_stream_that_is_deleted_under_way_holds_everything(nats_server):
    async with sink_at(nats_server).connect() as link:
        assert await link.deliver(records(3)) == []
        async with client(nats_server) as connected:
            await connected.jetstream().delete_stream("LORAWAN")
        with pytest.raises(SinkUnavailable, match="no stream takes this subject") as caught:
            await link.deliver(records(3, 4))
    assert caught.value.acknowledged == ()


async def test_a_subject_that_belongs_to_another_stream_holds_everything(nats_server):
    await make_stream(nats_server, "OTHER", ["lorawan.>"])
    await make_stream(nats_server, "LORAWAN", ["something.else"])
    reason = await unavailable(sink_at(nats_server), records(2))
    assert reason.alert
    assert "expected stream does not match" in str(reason)
    assert await stream_of(nats_server, "OTHER") == []


async def test_a_full_stream_takes_what_it_can_and_holds_the_rest(nats_server):
    await make_stream(nats_server, max_msgs=5, discard="new")
    reason = await unavailable(sink_at(nats_server), records(8))
    assert reason.acknowledged == (1, 2, 3, 4, 5)
    assert "maximum messages exceeded" in str(reason)
    assert len(await stream_of(nats_server)) == 5


async def test_a_reading_larger_than_the_stream_takes_is_parked_and_the_others_arrive(nats_server):
    await make_stream(nats_server, max_msg_size=2_000)
    batch = [record(1, frame_id="a"), record(2, frame_id="b", payload=bytes(2_000)), record(3, frame_id="c")]
    [refusal] = await deliver(sink_at(nats_server), batch)
    assert refusal.position == 2
    assert "message size exceeds maximum allowed" in refusal.reason
    assert len(await stream_of(nats_server)) == 2


async def test_a_reading_larger_than_the_server_takes_is_parked_and_never_sent(make_nats):
    server = make_nats("max_payload: 2000")
    batch = [record(1, frame_id="a"), record(2, frame_id="b", payload=bytes(2_000)), record(3, frame_id="c")]
    [refusal] = await deliver(sink_at(server), batch)
    assert refusal.position == 2
    assert "the server takes 2000" in refusal.reason
    assert len(await stream_of(server)) == 2


async def test_a_stream_that_acknowledges_nothing_is_told(nats_server):
    await make_stream(nats_server, no_ack=True)
    reason = await unavailable(sink_at(nats_server))
    assert "acknowledges nothing" in str(reason)
    assert reason.alert


async def test_a_short_memory_for_copies_is_told_once(nats_server, caplog):
    await make_stream(nats_server, duplicate_window=120)
    sink = sink_at(nats_server)
    for _ in range(2):
        await deliver(sink, [])
    assert [r.getMessage() for r in caplog.records if "drops copies within 120 s only" in r.getMessage()] != []
    assert sum("drops copies" in r.getMessage() for r in caplog.records) == 1


async def test_a_server_without_jetstream_is_told(make_nats):
    reason = await unavailable(sink_at(make_nats(jetstream=None)))
    assert "JetStream is not enabled" in str(reason)
    assert reason.alert


async def test_an_answer_of_somebody_else_is_no_acknowledgement(nats_server):
    await make_stream(nats_server, "LORAWAN", ["something.else"])
    async with client(nats_server) as connected:

        async def pretend(message) -> None:
            await message.respond(b'{"ok": true}' if b'"f_cnt":1,' in message.data else b"yes")

        await connected.subscribe("lorawan.>", cb=pretend)
        await connected.flush()
        reason = await unavailable(sink_at(nats_server), records(2))
    assert "no acknowledgement" in str(reason) or "no JSON" in str(reason)
    assert reason.acknowledged == ()


# --- logins

USERS = """
authorization { users: [
  { user: roof, password: "s3cret pass" },
  { user: mute, password: m, permissions: { publish: ["$JS.API.>"], subscribe: ["_INBOX.>"] } },
  { user: deaf, password: d, permissions: { publish: [">"], subscribe: ["nothing"] } },
  { user: narrow, password: n, permissions: { publish: ["lorawan.>"], subscribe: ["_INBOX.>"] } },
  { user: looker, password: l, permissions: { publish: ["lorawan.>", "$JS.API.STREAM.INFO.*"],
                                              subscribe: ["_INBOX.>"] } },
] }
"""


async def test_name_and_password_are_read_at_each_connection(make_nats):
    server, password = make_nats(USERS), ["wrong"]
    sink = sink_at(server, username="roof", password=lambda: password[0])
    reason = await unavailable(sink)
    assert "it refuses the login" in str(reason)
    assert reason.alert
    password[0] = "s3cret pass"
    assert await deliver(sink, records(2)) == []


async def test_a_login_is_missed_and_one_that_is_refused_told(make_nats):
    server = make_nats("authorization { token: t0ken }")
    assert "it refuses the login" in str(await unavailable(sink_at(server)))
    assert await deliver(sink_at(server, token=lambda: "t0ken\n"), records(2)) == []


async def test_a_login_that_may_not_publish_holds_everything(make_nats):
    reason = await unavailable(sink_at(make_nats(USERS), username="mute", password=lambda: "m"), records(2))
    assert reason.alert
    assert "this login may not publish: Permissions Violation for Publish" in str(reason)


async def test_a_login_that_cannot_hear_its_answers_is_told_what_to_allow(make_nats):
    reason = await unavailable(sink_at(make_nats(USERS), username="deaf", password=lambda: "d"))
    assert reason.alert
    assert "allow _INBOX.>" in str(reason)


async def test_a_login_that_may_only_publish_does(make_nats):
    server = make_nats(USERS)
    await deliver(sink_at(server, username="roof", password=lambda: "s3cret pass"), [])
    assert await deliver(sink_at(server, username="narrow", password=lambda: "n"), records(2)) == []


async def test_a_login_that_may_not_make_the_stream_is_told(make_nats):
    reason = await unavailable(sink_at(make_nats(USERS), username="looker", password=lambda: "l"))
    assert reason.alert
    assert "this login may not make it" in str(reason)


async def test_a_key_signs_the_servers_nonce(make_nats):
    key, other = NatsKey("U"), NatsKey("U")
    server = make_nats(f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}")
    assert await deliver(sink_at(server, credentials=lambda: f"{key.seed}\n"), records(2)) == []
    assert "it refuses the login" in str(await unavailable(sink_at(server, credentials=lambda: other.seed)))


async def test_a_credentials_file_logs_in_where_an_operator_has_signed(make_nats):
    settings, credentials = operated()
    server = make_nats(settings)
    assert await deliver(sink_at(server, credentials=lambda: credentials), records(2)) == []
    assert "it refuses the login" in str(await unavailable(sink_at(server)))


async def test_a_credentials_file_that_is_none_is_told_and_not_shown(nats_server):
    seed = NatsKey("U").seed
    damaged = seed[:-8] + "AAAAAAAA"
    reason = await unavailable(sink_at(nats_server, credentials=lambda: damaged))
    assert reason.alert
    assert "credentials_file holds a seed that is damaged" in str(reason)
    assert seed[:8] not in str(reason)


# --- TLS


def tls_of(certificate, *more: str) -> str:
    return f'tls {{ cert_file: "{certificate.cert_file}", key_file: "{certificate.key_file}", {", ".join(more)} }}'


async def test_tls_with_a_known_authority_delivers(make_nats, authority):
    server = make_nats(tls_of(authority.issue()), tls=True)
    assert await deliver(sink_at(server, ca_file=authority.file), records(50)) == []


@pytest.mark.parametrize(
    ("certificate", "words", "alert"),
    [
        ({"ends": timedelta(minutes=-5)}, "has expired", True),
        ({"begins": timedelta(minutes=5)}, "not valid yet", False),
        ({"hosts": ["nats.example"]}, "not for this IP address", True),
    ],
)
async def test_a_certificate_that_does_not_fit_is_told_in_words(make_nats, authority, certificate, words, alert):
    server = make_nats(tls_of(authority.issue(**certificate)), tls=True)
    reason = await unavailable(sink_at(server, ca_file=authority.file))
    assert words in str(reason)
    assert reason.alert == alert


async def test_an_unknown_authority_is_told_in_words(make_nats, authority):
    reason = await unavailable(sink_at(make_nats(tls_of(authority.issue()), tls=True)))
    assert "authority unknown here; name that in ca_file" in str(reason)


async def test_a_server_that_asks_for_a_certificate_gets_it_or_says_so(make_nats, authority, tmp_path):
    server = make_nats(tls_of(authority.issue(), f'ca_file: "{authority.file}"', "verify: true"), tls=True)
    reason = await unavailable(sink_at(server, ca_file=authority.file))
    assert "wants a client certificate" in str(reason)
    assert reason.alert
    own = authority.issue("roof", hosts=[])
    login = {"ca_file": authority.file, "cert_file": own.cert_file, "key_file": own.key_file}
    assert await deliver(sink_at(server, **login), records(2)) == []


async def test_no_login_is_ever_said_over_an_open_line_that_was_to_be_encrypted(make_nats, authority):
    plain, encrypted = make_nats(), make_nats(tls_of(authority.issue()), tls=True)
    mixed = await unavailable(sink_at(plain.url.replace("nats:", "tls:"), token=lambda: "secret"))
    assert "offers no TLS, and nothing is said to it without" in str(mixed)
    other = await unavailable(sink_at(encrypted.url.replace("tls:", "nats:")))
    assert "it wants TLS; write tls:// in url" in str(other)
    assert mixed.alert
    assert other.alert


# --- the server goes away


async def test_a_port_where_nothing_listens_is_told_in_words(nats_server):
    nats_server.stop()
    reason = await unavailable(sink_at(nats_server))
    assert "refused" in str(reason)
    assert not reason.alert


async def test_an_idle_link_notices_that_the_server_is_gone(nats_server):
    async with sink_at(nats_server).connect() as link:
        nats_server.kill()
        reason = await asyncio.wait_for(link.lost(), 10)
    assert "closed the connection" in reason or "cut the connection" in reason


async def test_a_server_that_freezes_is_noticed_by_the_keepalive(nats_server):
    async with sink_at(nats_server, keepalive_s=0.1).connect() as link:
        nats_server.pause()
        assert await asyncio.wait_for(link.lost(), 10) == "the server stopped answering"


async def test_a_server_that_does_not_answer_is_given_up_after_the_time_out(nats_server):
    async with sink_at(nats_server, ack_timeout_s=0.3).connect() as link:
        nats_server.pause()
        with pytest.raises(SinkUnavailable, match=r"no acknowledgement from the stream for 0\.3 s") as caught:
            await link.deliver(records(4))
        assert caught.value.acknowledged == ()
        nats_server.resume()
        with pytest.raises(SinkUnavailable):
            await link.deliver(records(4))


async def test_a_server_killed_in_mid_batch_has_everything_once_after_the_retry(nats_server):
    sink = sink_at(nats_server)
    waiting = records(400)
    async with sink.connect() as link:
        assert await link.deliver(waiting[:100]) == []
        delivering = asyncio.create_task(link.deliver(waiting[100:]))
        await asyncio.sleep(0.002)
        nats_server.kill()
        acknowledged: tuple[int, ...] = ()
        try:
            await delivering
            acknowledged = tuple(one.position for one in waiting[100:])
        except SinkUnavailable as reason:
            acknowledged = reason.acknowledged
    nats_server.start()
    assert await deliver(sink, [one for one in waiting[100:] if one.position not in acknowledged]) == []
    counters = [json.loads(message.data)["f_cnt"] for message in await stream_of(nats_server)]
    assert counters == list(range(1, 401))


async def test_a_link_that_is_left_leaves_nothing_behind(nats_server):
    before = len(asyncio.all_tasks())
    for _ in range(3):
        async with sink_at(nats_server).connect() as link:
            await link.deliver(records(4))
    assert len(asyncio.all_tasks()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://h"}, "no nats://"),
        ({"url": "nats://"}, "no nats://"),
        ({"url": "nats://h:0"}, "port 0"),
        ({"url": "nats://roof:hidden@h"}, "does not belong into the url"),
        ({"url": "nats://h/path"}, "goes on after the port"),
        ({"password": str}, "needs a username"),
        ({"token": str, "credentials": str}, "one of password"),
        ({"key_file": "k"}, "needs cert_file"),
        ({"ca_file": "c"}, "need tls://"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_without_showing_secrets(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        NatsServer(**{"url": "nats://h", "name": "test", **options})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("subject", ["a..b", "a b", "a.*", "a.>", ".a", ""])
def test_a_subject_that_is_none_is_refused(subject):
    with pytest.raises(ValueError, match="no subject"):
        NatsDestination("city", NatsServer("nats://h", "test"), GATEWAY_EUI, subject=subject)
