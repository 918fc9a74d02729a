"""The console over real sockets: answers, streams, doors, and what it costs when somebody behaves badly."""

import asyncio
import re
import socket
import time
from html.parser import HTMLParser

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gateway.console import web
from gateway.console.feed import Feed
from gateway.console.screen import Now, Screen
from tests.console.stand_in import StandIn, city, measured
from tests.console.visit import QUICK, get, opened


@pytest.fixture
def daemon():
    return city()


@pytest.fixture
async def console(daemon):
    async with opened(daemon) as found:
        yield found


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
    daemon.gps = {"state": HOSTILE, "evidence": HOSTILE, "hint": HOSTILE}
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
        assert set(first["parts"]) == {
            "head",
            "lamps",
            "notice",
            "hearing",
            "keeping",
            "delivering",
            "servers",
            "empty",
        }
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


async def test_who_names_no_host_is_no_browser_and_is_answered(console):
    reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
    writer.write(b"GET /status HTTP/1.0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.0 200")
    writer.close()
    await writer.wait_closed()


async def test_monitoring_may_use_any_name(console):
    for path in ("/metrics", "/healthz"):
        assert (await get(console, path, headers={"Host": "gw12.monitoring.example"}))[0] == 200


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


async def test_gps_is_a_quiet_line_while_it_is_well_and_a_tile_with_its_cure_when_not(daemon):
    daemon.gps = {"state": "fix", "evidence": "fix 3D, 9 satellites", "hint": ""}
    daemon.position = {"latitude": 43.6, "longitude": 3.9, "altitude_m": 57.0, "source": "gps", "accuracy_m": 2.5}
    async with opened(daemon) as console:
        _, text = await get(console, "/")
        assert "GPS: Fix 3D, 9 satellites, at 43.60000°, 3.90000°, 57 m high, within 2 m</p>" in text
        assert "GPS: Fix</span>" in text
        assert 'id="h-gps"' not in text
        daemon.gps = {"state": "no fix", "evidence": "no fix for 12 min", "hint": "Check the antenna"}
        _, text = await get(console, "/")
        assert 'id="h-gps"' in text
        assert "No fix for 12 min" in text
        assert "Check the antenna" in text
        daemon.gps = None
        assert "GPS" not in (await get(console, "/"))[1]
