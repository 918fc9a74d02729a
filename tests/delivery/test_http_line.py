"""What every HTTP destination stands on: requests to real servers, good ones, bad ones and absent ones."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from brokers import Authority
from http_servers import HttpDouble, picky_tls_server, raw_server, server_context

from gateway.delivery.http_line import HttpServer, Unanswered, open_http
from gateway.delivery.sink import SinkUnavailable

if TYPE_CHECKING:
    from gateway.wire.http_answer import Answer

pytestmark = pytest.mark.usefixtures("quiet_loop")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def ask(server: HttpServer, *args, **options):
    async with open_http(server) as line:
        return await line.ask(*args, **options)


async def failure(server: HttpServer, kind=SinkUnavailable) -> SinkUnavailable:
    """Ask, which must fail; why."""
    with pytest.raises(kind) as caught:
        await ask(server, "GET")
    return caught.value


async def refusal(server: HttpDouble) -> tuple[SinkUnavailable, Answer]:
    """What its answer means, and the answer."""
    async with open_http(HttpServer(server.url)) as line:
        answer = await line.ask("GET")
        return line.unavailable(answer), answer


# --- asking and answering


async def test_a_request_arrives_as_it_was_asked_and_its_answer_comes_back():
    async with HttpDouble(lambda _: web.json_response({"n": 1}, status=201, headers={"X-Odd": "a"})) as server:
        answer = await ask(HttpServer(server.url + "/base/"), "POST", "/v2/%27a%2Fb?x=1%2C2", b"[]", {"X-Own": "yes"})
    assert (answer.status, answer.json(), answer.ok, answer.cut) == (201, {"n": 1}, True, False)
    assert answer.headers["x-odd"] == "a"
    [asked] = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/base/v2/%27a%2Fb?x=1%2C2", b"[]")
    assert asked.headers["X-Own"] == "yes"
    assert asked.headers["User-Agent"].startswith("lorawan-gateway/")
    assert "Authorization" not in asked.headers


async def test_one_connection_carries_many_requests():
    async with HttpDouble() as server, open_http(HttpServer(server.url)) as line:
        for _ in range(5):
            await line.ask("POST", body=b"x")
    assert len({asked.port for asked in server.asked}) == 1


async def test_several_tasks_ask_at_once():
    async def slowly(_) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response()

    async with HttpDouble(slowly) as server, open_http(HttpServer(server.url)) as line:
        before = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(line.ask("GET", f"/{number}") for number in range(20)))
        took_s = asyncio.get_running_loop().time() - before
    assert [answer.status for answer in answers] == [200] * 20
    assert took_s < 20 * 0.05


async def test_a_body_of_megabytes_arrives_whole():
    async with HttpDouble() as server:
        await ask(HttpServer(server.url), "POST", body=b"x" * (3 << 20))
    assert server.asked[0].body == b"x" * (3 << 20)


async def test_no_more_of_an_answer_is_read_than_was_agreed():
    sent = 0

    async def gigabytes(_):
        nonlocal sent
        response = web.StreamResponse()
        request = current["request"]
        await response.prepare(request)
        while True:
            await response.write(bytes(1 << 16))
            sent += 1 << 16

    current = {}
    app = web.Application()

    async def handler(request):
        current["request"] = request
        return await gigabytes(request)

    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    answer = await ask(HttpServer(url, most_answer_bytes=10_000), "GET")
    await runner.cleanup()
    assert (len(answer.body), answer.cut) == (10_000, True)
    assert sent < 64 << 20
    with pytest.raises(ValueError, match="more than 10000 bytes"):
        answer.json()


async def test_an_answer_is_never_unpacked():
    bomb = gzip.compress(bytes(10 << 20))
    async with HttpDouble(lambda _: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})) as server:
        answer = await ask(HttpServer(server.url), "GET")
    assert answer.body == bomb
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


async def test_a_server_may_say_when_to_come_again():
    async with HttpDouble(lambda _: web.Response(status=429, headers={"Retry-After": "7"})) as server:
        reason, answer = await refusal(server)
    assert answer.retry_after_s == reason.retry_after_s == 7
    assert str(reason) == f"127.0.0.1:{server.port}: it answers 429 Too Many Requests"
    assert not reason.alert


@pytest.mark.parametrize(
    ("status", "alert", "words"),
    [
        (401, True, "check the login"),
        (403, True, "may not do that"),
        (404, True, "check the path in url"),
        (407, True, "a proxy"),
        (408, False, "408 Request Timeout"),
        (410, True, "gone for good"),
        (418, True, "answers 418"),
        (425, False, "425 Too Early"),
        (500, False, "500 Internal Server Error"),
        (503, False, "503 Service Unavailable"),
        (511, True, "a portal"),
    ],
)
async def test_each_refusal_says_who_has_to_act(status, alert, words):
    async with HttpDouble(lambda _: web.Response(status=status)) as server:
        reason, _ = await refusal(server)
    assert words in str(reason)
    assert reason.alert == alert


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_and_its_target_is_told(status):
    async with HttpDouble() as elsewhere:
        there = f"http://localhost:{elsewhere.port}/x"
        async with HttpDouble(lambda _: web.Response(status=status, headers={"Location": there})) as server:
            reason = await failure(HttpServer(server.url, token=lambda: "secret"))
    assert reason.alert
    assert f"sends us on to {there}; write that into url" in str(reason)
    assert not elsewhere.asked


# --- logins


async def test_a_token_is_sent_and_read_again_for_every_request(tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    async with HttpDouble() as server, open_http(HttpServer(server.url, token=file.read_text)) as line:
        await line.ask("GET")
        file.write_text("second\n")
        await line.ask("GET")
        await line.ask("GET", headers={"Authorization": "Bearer other"})
    sent = [asked.headers["Authorization"] for asked in server.asked]
    assert sent == ["Bearer first", "Bearer second", "Bearer other"]


async def test_name_and_password_are_sent_as_basic_authentication():
    async with HttpDouble() as server:
        await ask(HttpServer(server.url, username="toit", password=lambda: "pä:ss"), "GET")
    scheme, _, login = server.asked[0].headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(login).decode()) == ("Basic", "toit:pä:ss")


@pytest.mark.parametrize("token", ["", " \n", "two words", "with\nbreak: x", "ünïcode", "nul\0"])
async def test_a_token_that_no_header_can_hold_is_told_and_not_shown(token):
    async with HttpDouble() as server:
        reason = await failure(HttpServer(server.url, token=lambda: token))
    assert "the token is empty, or has characters that no header can hold" in str(reason)
    assert reason.alert
    assert not server.asked


async def test_a_token_file_that_is_gone_is_told_by_name(tmp_path):
    async with HttpDouble() as server:
        reason = await failure(HttpServer(server.url, token=(tmp_path / "gone").read_text))
    assert f"cannot read {tmp_path / 'gone'}: No such file" in str(reason)
    assert reason.alert


# --- TLS


async def test_tls_with_a_known_authority_and_our_certificate_is_spoken(authority):
    own = authority.issue("roof", hosts=[])
    tls = server_context(authority.issue(), authority.file)
    async with HttpDouble(tls=tls) as server:
        await ask(HttpServer(server.url, ca_file=authority.file, cert_file=own.cert_file, key_file=own.key_file), "GET")
    assert server.asked[0].peer == "roof"


@pytest.mark.parametrize(
    ("certificate", "words", "alert"),
    [
        ({"ends": timedelta(minutes=-5)}, "has expired", True),
        ({"begins": timedelta(minutes=5)}, "not valid yet", False),
        ({"hosts": ["broker.example"]}, "not for this IP address", True),
    ],
)
async def test_a_certificate_that_does_not_fit_is_told_in_words(authority, certificate, words, alert):
    async with HttpDouble(tls=server_context(authority.issue(**certificate))) as server:
        reason = await failure(HttpServer(server.url, ca_file=authority.file))
    assert words in str(reason)
    assert reason.alert == alert
    assert not server.asked


async def test_a_certificate_for_another_name_is_told_in_words(authority):
    async with HttpDouble(tls=server_context(authority.issue(hosts=["hook.example"])), host="localhost") as server:
        reason = await failure(HttpServer(server.url, ca_file=authority.file))
    assert "is for another host name" in str(reason)
    assert reason.alert


async def test_an_unknown_authority_is_told_in_words(authority, tmp_path):
    other = Authority(tmp_path / "other")
    async with HttpDouble(tls=server_context(authority.issue())) as server:
        for ca_file in (None, other.file):
            reason = await failure(HttpServer(server.url, ca_file=ca_file))
            assert "authority unknown here; name that in ca_file" in str(reason)
            assert reason.alert


@pytest.mark.parametrize("only_1_2", [False, True])
@pytest.mark.parametrize("own", ["none", "expired", "stranger"])
async def test_a_server_that_refuses_our_certificate_is_told_in_words(authority, tmp_path, only_1_2, own):
    login = {}
    if own == "expired":
        shown = authority.issue("old", hosts=[], ends=timedelta(minutes=-5))
        login = {"cert_file": shown.cert_file, "key_file": shown.key_file}
    elif own == "stranger":
        shown = Authority(tmp_path / "other").issue("stranger", hosts=[])
        login = {"cert_file": shown.cert_file, "key_file": shown.key_file}
    tls = server_context(authority.issue(), authority.file, only_1_2=only_1_2)
    with picky_tls_server(tls) as url:
        reason = await failure(HttpServer(url, ca_file=authority.file, **login))
    assert "certificate" in str(reason)
    assert "cert_file" in str(reason)
    assert reason.alert


async def test_tls_and_plain_ports_are_not_mixed_up_in_silence(authority):
    async with HttpDouble() as plain, HttpDouble(tls=server_context(authority.issue())) as encrypted:
        mixed = await failure(HttpServer(f"https://127.0.0.1:{plain.port}", ca_file=authority.file))
        other = await failure(HttpServer(f"http://127.0.0.1:{encrypted.port}"))
    assert "does not speak TLS" in str(mixed)
    assert mixed.alert
    assert "127.0.0.1" in str(other)


async def test_tls_files_that_are_of_no_use_are_told_by_name(authority, tmp_path):
    gone = tmp_path / "gone.pem"
    assert f"cannot read {gone}" in str(await failure(HttpServer("https://127.0.0.1:1", ca_file=gone)))
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    assert "no usable certificate" in str(await failure(HttpServer("https://127.0.0.1:1", ca_file=junk)))
    own, other = authority.issue("roof", hosts=[]), authority.issue("other", hosts=[])
    mixed = HttpServer("https://127.0.0.1:1", cert_file=own.cert_file, key_file=other.key_file)
    reason = await failure(mixed)
    assert "do not fit together" in str(reason)
    assert reason.alert


# --- nobody there, and odd ones


async def test_a_port_where_nothing_listens_is_told_in_words():
    async with HttpDouble() as server:
        pass
    reason = await failure(HttpServer(server.url))
    assert "the connection is refused" in str(reason)
    assert not reason.alert
    assert not isinstance(reason, Unanswered)


async def test_a_server_that_goes_away_between_two_requests_is_told_in_words():
    async with HttpDouble() as server, open_http(HttpServer(server.url)) as line:
        await line.ask("GET")
        await server.__aexit__()
        with pytest.raises(SinkUnavailable, match="refused") as caught:
            await line.ask("GET")
        assert not isinstance(caught.value, Unanswered)


async def test_a_name_nobody_knows_is_told_in_words():
    reason = await failure(HttpServer("http://hook.invalid"))  # RFC 6761: never exists
    assert "knows this host name" in str(reason) or "no name server answers" in str(reason)


async def test_a_host_that_swallows_everything_costs_the_time_out_only():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):  # a full queue of connections drops further ones, as a firewall does
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        reason = await failure(HttpServer(f"http://127.0.0.1:{port}", connect_timeout_s=0.2))
        for filler in fillers:
            filler.close()
    assert "no answer to the connection" in str(reason)


@pytest.mark.parametrize(
    ("said", "hold", "words"),
    [
        (None, False, "closed the connection instead of answering"),
        (None, True, "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", False, "broke in the middle of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", True, "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False, ""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "is not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", False, "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", False, "is not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5, True, "no answer within 0.3 s"),
    ],
)
async def test_an_answer_that_is_none_leaves_open_whether_the_request_did_its_work(said, hold, words):
    async with raw_server(said, hold=hold) as url:
        reason = await failure(HttpServer(url, answer_timeout_s=0.3), Unanswered)
    assert words in str(reason)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "mqtt://host"}, "no http://"),
        ({"url": "http://"}, "no http://"),
        ({"url": "host:80"}, "no http://"),
        ({"url": "http://host:0"}, "port 0"),
        ({"url": "http://host:99999"}, "out of range"),
        ({"url": "https://roof:hidden@host"}, "does not belong into the url"),
        ({"url": "ftp://roof:hidden@host"}, "no http://"),
        ({"url": "http://host/#frag"}, "never reaches"),
        ({"password": str}, "needs a username"),
        ({"username": "u", "password": str, "token": str}, "not both"),
        ({"key_file": Path("k")}, "needs cert_file"),
        ({"ca_file": Path("c")}, "need https://"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_without_showing_secrets(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        HttpServer(**{"url": "http://host", **options})
    assert "hidden" not in str(caught.value)
