"""The console over real sockets: answers, streams, doors, and what it costs when somebody behaves badly."""

import asyncio
import os
import re
import socket
import stat
import time
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from types import SimpleNamespace

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.console import doors, web
from gateway.console.feed import Feed
from gateway.console.screen import Now, Screen
from gateway.errors import GatewayError, NotRunning, StorageError, UsageError
from tests.console.stand_in import StandIn, city, measured

QUICK = web.Limits(tick_s=0.05, sample_s=0.1, streams=3, connections=12, stall_s=0.5)


@pytest.fixture
def daemon():
    return city()


@asynccontextmanager
async def opened(daemon, limits=QUICK, listen="127.0.0.1:0", **how):
    """The console on a loopback port, and a client of its own."""
    async with await web.serve_tcp(web.application(daemon, limits=limits, **how), listen) as door:
        host, port = door.addresses[0]
        base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        async with aiohttp.ClientSession(base) as client:
            yield SimpleNamespace(client=client, port=port, door=door)


@pytest.fixture
async def console(daemon):
    async with opened(daemon) as found:
        yield found


async def get(console, path, **how):
    async with console.client.get(path, **how) as answer:
        return answer.status, await answer.text()


async def line(answer):
    async with asyncio.timeout(5):
        return orjson.loads(await answer.content.readline())


async def event(answer):
    """The next Server-Sent Event."""
    async with asyncio.timeout(5):
        data = await answer.content.readuntil(b"\n\n")
        if data.startswith(b"retry: "):
            data = await answer.content.readuntil(b"\n\n")
    assert data.startswith(b"data: ")
    return orjson.loads(data.removeprefix(b"data: "))


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


# --- answers --------------------------------------------------------------------------------------------------------


async def test_status_is_what_the_daemon_says(console, daemon):
    status, text = await get(console, "/status")
    assert status == 200
    assert orjson.loads(text) == orjson.loads(orjson.dumps(daemon.status()))


async def test_readings_come_newest_first(console, daemon):
    _, text = await get(console, "/readings")
    assert [one["name"] for one in orjson.loads(text)][:2] == ["PAV Antigone 12", "PAV Gambetta 2"]
    assert orjson.loads(text) == daemon.recent()


async def test_metrics_are_read_by_prometheus(console):
    async with console.client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        names = {family.name for family in text_string_to_metric_families(await answer.text())}
    assert {"lorawan_gateway_frames_heard", "lorawan_gateway_sink_queued_records"} <= names


async def test_health_is_about_the_boxs_own_work(console, daemon):
    assert (await get(console, "/healthz"))[0] == 200
    daemon.lose_sink("toulouse-platform")
    assert (await get(console, "/healthz"))[0] == 200
    daemon.fill_disk()
    status, text = await get(console, "/healthz")
    assert status == 503
    assert "Keeping: At risk" in orjson.loads(text)["trouble"][0]


async def test_the_page_says_at_once_what_holds(console, daemon):
    _, text = await get(console, "/")
    assert "<title>OK · Musée Fabre, toit</title>" in text
    daemon.lose_sink("toulouse-platform")
    daemon.silence_radio()
    _, text = await get(console, "/")
    assert "<title>Silent · Partly blocked · Musée Fabre, toit</title>" in text
    assert "no route to host" in text
    assert "Nothing is lost: 340 readings wait here" in text


@pytest.mark.parametrize("path", ["/", "/status", "/readings", "/metrics", "/healthz", "/nothing"])
async def test_every_answer_is_hardened(console, path):
    async with console.client.get(path) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "aiohttp" not in answer.headers["Server"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/status", "/tail", "/metrics"])
async def test_nothing_can_be_changed(console, method, path):
    async with console.client.request(method, path) as answer:
        assert answer.status == 405


async def test_head_of_a_page_has_no_body_and_a_stream_has_no_head(console):
    async with console.client.head("/") as answer:
        assert answer.status == 200
        assert await answer.read() == b""
    async with console.client.head("/events") as answer:
        assert answer.status == 405


async def test_all_that_the_page_loads_is_its_own_and_kept_by_browsers(console):
    _, text = await get(console, "/")
    found = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)
    assert {name.rpartition("/")[2] for name in found} == {"console.css", "console.js", "icon.svg"}
    assert "://" not in text
    for path in found:
        async with console.client.get(path) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["Content-Type"].split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}


async def test_there_is_no_way_out_of_the_static_folder(console):
    for path in ("/static/x/page.html", "/static/x/..%2f__init__.py", "/static/x/nothing.css"):
        assert (await get(console, path))[0] == 404


# --- foreign text ---------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}\u202e\x00</title>'


def hostile_city():
    daemon = city()
    daemon.name = HOSTILE
    daemon.sinks[HOSTILE] = {
        **daemon.sinks["musee-archive"],
        "name": HOSTILE,
        "state": "unreachable",
        "evidence": HOSTILE,
    }
    daemon.lns = [{"name": HOSTILE, "state": HOSTILE}]
    daemon.radio["evidence"] = daemon.clock["quality"] = HOSTILE
    daemon.refuse(HOSTILE)
    daemon.hear(
        HOSTILE,
        measured(HOSTILE, HOSTILE, HOSTILE),
        tags={HOSTILE: HOSTILE},
        codec=HOSTILE,
        payload=HOSTILE,
        time=HOSTILE,
        warnings=[HOSTILE],
        problem=HOSTILE,
        record_id=HOSTILE,
    )
    return daemon


async def test_names_from_outside_stay_text():
    ordinary = city()
    ordinary.lose_sink("toulouse-platform")
    plain, hostile = Tags(Screen(ordinary).page(Now(0, 0))), Tags(Screen(hostile_city()).page(Now(0, 0)))
    assert set(hostile.tags) <= set(plain.tags)
    assert hostile.tags.count("script") == 1
    assert hostile.attributes == plain.attributes
    assert not any(name.startswith("on") for name in hostile.attributes)


async def test_live_updates_carry_the_same_escaped_text():
    async with opened(hostile_city()) as console, console.client.get("/events") as answer:
        first = await event(answer)
        for html in (*first["parts"].values(), *first["rows"]):
            assert "<script" not in html
            assert "<img" not in html


SHOWN = StandIn()
SCREEN = Screen(SHOWN)


@given(name=st.text(), tag=st.text(), value=st.text() | st.floats() | st.integers() | st.booleans() | st.none())
@settings(deadline=None)
def test_any_reading_can_be_shown(name, tag, value):
    SHOWN.feed = Feed(dict)
    SHOWN.hear(name, measured(tag, value, tag), tags={tag: name}, warnings=[name], problem=tag)
    page = SCREEN.page(Now(time.time(), 0))
    page.encode("utf-8")
    assert "data-key" in Tags(page).attributes
    assert Tags(page).tags.count("script") == 1


# --- streams --------------------------------------------------------------------------------------------------------


async def test_tail_gives_each_reading_as_a_line(console, daemon):
    async with console.client.get("/tail") as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
        heard = [daemon.hear(f"PAV {i}") for i in range(3)]
        assert [await line(answer) for _ in heard] == heard


async def test_tail_of_one_device_is_silent_about_the_others(console, daemon):
    mine = daemon.hear("PAV mine")
    spelled = "-".join(re.findall("..", mine["dev_eui"].upper()))
    async with console.client.get("/tail", params={"dev_eui": spelled}) as answer:
        daemon.hear("PAV other")
        again = daemon.hear("PAV mine")
        assert await line(answer) == again


async def test_tail_raw_also_gives_frames_that_nobody_could_open(console, daemon):
    async with console.client.get("/tail?raw=1") as raw, console.client.get("/tail?raw=0") as plain:
        daemon.overhear()
        known = daemon.hear("PAV mine")
        assert (await line(raw))["dev_eui"] is None
        assert await line(plain) == known


async def test_tail_of_no_device_says_what_is_wrong(console):
    status, text = await get(console, "/tail", params={"dev_eui": "70b3"})
    assert (status, text) == (400, "dev_eui: an EUI has 16 hex digits, '70b3' has 4\n")


async def test_events_begin_with_everything_and_go_on_with_what_changed(console, daemon):
    async with console.client.get("/events") as answer:
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        first = await event(answer)
        assert set(first["parts"]) == {"head", "lamps", "notice", "hearing", "keeping", "delivering", "empty"}
        assert first["all"]
        assert len(first["rows"]) == 5
        daemon.hear("PAV live", measured("fill_level", 12, "%"))
        while not (now := await event(answer))["rows"]:
            assert "lamps" not in now["parts"]
        assert not now["all"]
        assert len(now["rows"]) == 1
        assert "PAV live" in now["rows"][0]
        daemon.silence_radio()
        while "lamps" not in (now := await event(answer))["parts"]:
            pass
        assert "Hearing: Silent." in now["spoken"]


async def test_after_a_flood_the_page_gets_the_latest_and_forgets_the_rest(console, daemon):
    async with console.client.get("/events") as answer:
        await event(answer)
        for number in range(200):
            daemon.hear(f"PAV {number}")
        while not (now := await event(answer))["rows"]:
            pass
        assert now["all"]
        assert len(now["rows"]) == 50
        assert "PAV 199" in now["rows"][0]


async def test_the_page_is_drawn_once_however_many_look(daemon):
    async with opened(daemon, web.Limits(tick_s=0.2, sample_s=60, streams=10)) as console:
        streams = [await console.client.get("/events") for _ in range(8)]
        for answer in streams:
            await event(answer)
        before = daemon.looked
        for answer in streams:
            await event(answer)
        assert daemon.looked - before <= 2
        for answer in streams:
            answer.close()


async def test_too_many_viewers_are_turned_away_and_a_place_is_free_again_at_once(console):
    streams = [await console.client.get("/events") for _ in range(QUICK.streams)]
    async with console.client.get("/tail") as refused:
        assert refused.status == 503
        assert refused.headers["Retry-After"]
    streams.pop().close()

    async def admitted():
        async with console.client.get("/events") as answer:
            return answer.status == 200

    async with asyncio.timeout(5):
        while not await admitted():
            await asyncio.sleep(0.01)
    for answer in streams:
        answer.close()


async def stalled(port, path):
    """A reader that asks for a stream and never reads it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    await asyncio.get_running_loop().sock_connect(reader, ("127.0.0.1", port))
    await asyncio.get_running_loop().sock_sendall(reader, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader


async def test_a_stalled_reader_costs_a_bounded_queue_and_is_cut_off(daemon):
    async with opened(daemon) as console:
        reader = await stalled(console.port, "/tail")
        await until(lambda: daemon.feed._queues)
        (queue,) = daemon.feed._queues
        for _ in range(200):
            for _ in range(100):
                daemon.hear("PAV flood")
            await asyncio.sleep(0)
            if queue.missed:
                break
        assert queue.missed > 0
        assert len(queue.waiting) == queue.waiting.maxlen
        assert (await get(console, "/healthz"))[0] == 200
        await until(lambda: not daemon.feed._queues)
        reader.close()


async def test_a_slow_reader_is_told_what_it_missed(console, daemon):
    async with console.client.get("/tail") as answer:
        for _ in range(600):
            daemon.hear("PAV flood")
        assert await line(answer) == {"missed": 600 - 512}
        assert (await line(answer))["name"] == "PAV flood"


async def test_it_stops_within_a_second_whoever_is_connected(daemon):
    console = opened(daemon, web.Limits(stall_s=60))
    found = await console.__aenter__()
    streams = [await found.client.get(path) for path in ("/tail", "/events")]
    await get(found, "/status")
    reader = await stalled(found.port, "/tail")
    await until(lambda: len(daemon.feed._queues) == 2)
    for _ in range(100):
        for _ in range(100):
            daemon.hear("PAV flood")
        await asyncio.sleep(0)
    before = time.monotonic()
    await found.door.cleanup()
    assert time.monotonic() - before < 1.0
    assert not daemon.feed._queues
    for answer in streams:
        answer.close()
    reader.close()
    await found.client.close()


async def test_one_connection_too_many_is_refused_and_the_others_go_on(daemon):
    async with opened(daemon) as console:
        await get(console, "/status")
        idle = [await asyncio.open_connection("127.0.0.1", console.port) for _ in range(QUICK.connections - 1)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        assert (await get(console, "/status"))[0] == 200
        for _, other in (*idle, (None, writer)):
            other.close()
            await other.wait_closed()


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 20_000,
        b"\x00" * 64,
        b"\r\n\r\n",
    ],
    ids=["tls", "version", "long", "zeros", "empty lines"],
)
async def test_noise_on_the_port_harms_nobody(console, noise):
    reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
    writer.write(noise)
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    await writer.wait_closed()
    assert (await get(console, "/status"))[0] == 200


@given(query=st.dictionaries(st.sampled_from(["dev_eui", "raw", "x"]), st.text(max_size=20), max_size=3))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_query_is_understood_or_refused(query):
    async def ask():
        async with opened(city()) as console, console.client.get("/tail", params=query) as answer:
            return answer.status

    assert asyncio.run(ask()) in {200, 400}


# --- whose page is it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8080",
        "localhost:8080",
        "LOCALHOST",
        "192.168.4.1",
        "[::1]:8080",
        "[fe80::1]",
        "gw12.city.example:80",
    ],
)
async def test_the_page_opens_under_its_own_names(daemon, host):
    async with opened(daemon, names=["gw12.city.example"]) as console:
        assert (await get(console, "/", headers={"Host": host}))[0] == 200


async def test_the_page_opens_under_the_machines_host_name(console):
    assert (await get(console, "/", headers={"Host": socket.gethostname()}))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "[::1", "", "a b"]
)
@pytest.mark.parametrize("path", ["/", "/status", "/readings", "/tail", "/events"])
async def test_a_foreign_name_that_points_here_gets_nothing(console, host, path):
    status, text = await get(console, path, headers={"Host": host})
    assert status in {400, 421}
    assert "PAV" not in text


async def test_monitoring_may_use_any_name(console):
    for path in ("/metrics", "/healthz"):
        assert (await get(console, path, headers={"Host": "gw12.monitoring.example"}))[0] == 200


# --- doors: TCP -----------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_an_error_that_says_who_to_ask(console, daemon):
    with pytest.raises(GatewayError) as failed:
        await web.serve_tcp(web.application(daemon), f"127.0.0.1:{console.port}")
    assert failed.value.problem == f"The console cannot listen on 127.0.0.1:{console.port}: Address already in use"
    assert f"ss -ltnp 'sport = :{console.port}'" in failed.value.hint


@pytest.mark.parametrize(
    ("listen", "hint"),
    [("203.0.113.7:8080", "ip address"), (f"{'a' * 64}:80", "IP address"), ("a..b:80", "IP address")],  # RFC 5737
)
async def test_an_address_that_cannot_be_had_is_an_error_with_a_hint(daemon, listen, hint):
    with pytest.raises(GatewayError) as failed:
        await web.serve_tcp(web.application(daemon), listen)
    assert listen in failed.value.problem
    assert hint in failed.value.hint


@pytest.mark.parametrize(
    "listen", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "::1:80", "h:\uff18\uff10"]
)
def test_what_is_no_address_and_port_is_refused(listen):
    with pytest.raises(UsageError) as failed:
        doors.split_listen(listen)
    assert repr(listen) in failed.value.problem


@pytest.mark.parametrize(
    ("listen", "parts"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:80", ("::1", 80)),
        (":8080", ("", 8080)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_an_address_and_a_port_are_read(listen, parts):
    assert doors.split_listen(listen) == parts


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_listen_text_is_read_or_refused(text):
    try:
        host, port = doors.split_listen(text)
    except UsageError:
        return
    assert 0 <= port <= 65_535
    assert int(text.rpartition(":")[2]) == port
    assert host in text


async def test_every_interface_means_both_families(daemon):
    async with opened(daemon, listen="0.0.0.0:0") as console:
        assert (await get(console, "/status"))[0] == 200
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("IPv6 is switched off here: sysctl net.ipv6.conf.lo.disable_ipv6=0")
    async with await web.serve_tcp(web.application(daemon), "[::]:0") as door:
        port = door.addresses[0][1]
        async with aiohttp.ClientSession() as client:
            for host in ("127.0.0.1", "[::1]"):
                async with client.get(f"http://{host}:{port}/healthz") as answer:
                    assert answer.status == 200


# --- doors: the control socket --------------------------------------------------------------------------------------


async def ask(folder, path, name=doors.CONTROL):
    """What our own commands do: any Host, over the socket."""
    with doors.control_path(folder, name) as short:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(short)) as client,
            client.get(f"http://gateway{path}") as answer,
        ):
            return answer.status, orjson.loads(await answer.read())


async def test_commands_are_answered_over_the_control_socket(daemon, tmp_path):
    async with await web.serve_unix(web.application(daemon), tmp_path) as door:
        assert door.addresses == []
        status, found = await ask(tmp_path, "/status")
        assert status == 200
        assert found["gateway_eui"] == daemon.status()["gateway_eui"]
    assert not (tmp_path / doors.CONTROL).exists()


async def test_the_data_folders_path_may_be_long(daemon, tmp_path):
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    async with await web.serve_unix(web.application(daemon), folder):
        assert (await ask(folder, "/status"))[0] == 200
        doors.connect_control(folder).close()


async def test_the_control_socket_is_for_its_owner_alone(daemon, tmp_path):
    before = os.umask(0)
    try:
        async with await web.serve_unix(web.application(daemon), tmp_path):
            assert stat.S_IMODE((tmp_path / doors.CONTROL).stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_socket_that_a_crash_left_behind_is_replaced(daemon, tmp_path):
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(tmp_path / doors.CONTROL))
        crashed.listen()
    async with await web.serve_unix(web.application(daemon), tmp_path):
        assert (await ask(tmp_path, "/status"))[0] == 200


async def test_a_daemon_that_runs_keeps_its_socket(daemon, tmp_path):
    async with await web.serve_unix(web.application(daemon), tmp_path):
        with pytest.raises(GatewayError, match=r"runs on .* already") as failed:
            await web.serve_unix(web.application(daemon), tmp_path)
        assert failed.value.hint
        assert (await ask(tmp_path, "/status"))[0] == 200


async def test_a_file_in_the_way_is_not_removed(daemon, tmp_path):
    (tmp_path / doors.CONTROL).write_text("somebody's notes")
    with pytest.raises(StorageError, match="not a socket"):
        await web.serve_unix(web.application(daemon), tmp_path)
    assert (tmp_path / doors.CONTROL).read_text() == "somebody's notes"


async def test_a_missing_data_folder_is_an_error_with_a_hint(daemon, tmp_path):
    with pytest.raises(StorageError) as failed:
        await web.serve_unix(web.application(daemon), tmp_path / "gone")
    assert "store.path" in failed.value.hint


def test_without_a_daemon_commands_say_how_to_start_it(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(NotRunning) as failed:
            doors.connect_control(folder)
        assert "systemctl start" in failed.value.hint


async def test_leaving_does_not_remove_the_socket_of_a_successor(daemon, tmp_path):
    door = await web.serve_unix(web.application(daemon), tmp_path)
    (tmp_path / doors.CONTROL).rename(tmp_path / "old")
    async with await web.serve_unix(web.application(daemon), tmp_path):
        await door.cleanup()
        assert (await ask(tmp_path, "/status"))[0] == 200


async def test_one_application_serves_both_doors_and_closes_them_in_any_order(daemon, tmp_path):
    app = web.application(daemon, limits=QUICK)
    control = await web.serve_unix(app, tmp_path)
    tcp = await web.serve_tcp(app, "127.0.0.1:0")
    streams = []
    async with aiohttp.ClientSession(f"http://127.0.0.1:{tcp.addresses[0][1]}") as client:
        streams += [await client.get("/events") for _ in range(QUICK.streams)]
        assert (await ask(tmp_path, "/readings"))[0] == 200
        with doors.control_path(tmp_path) as short:
            own = aiohttp.ClientSession(connector=aiohttp.UnixConnector(short))
            async with own, own.get("http://gateway/tail") as answer:  # not shut out by the browsers
                assert answer.status == 200
        await tcp.cleanup()
        assert (await ask(tmp_path, "/status"))[0] == 200
        await control.cleanup()
    before = daemon.looked
    await asyncio.sleep(3 * QUICK.sample_s)
    assert daemon.looked == before  # nobody looks any more


async def test_a_fault_of_the_daemon_costs_one_answer(daemon, caplog):
    async with opened(daemon) as console:
        clock, daemon.clock = daemon.clock, {}
        assert (await get(console, "/"))[0] == 500
        daemon.clock = clock
        assert (await get(console, "/"))[0] == 200
    assert "KeyError" in caplog.text


async def test_the_minutes_are_counted_while_nobody_looks(daemon):
    async with opened(daemon) as console:
        await until(lambda: daemon.looked >= 2)
        for _ in range(7):
            daemon.hear("PAV unseen")
        await asyncio.sleep(2 * QUICK.sample_s)
        _, text = await get(console, "/")
        assert "<b>7 frames</b> in" in text
