"""The sockets of the console: what they refuse, what they say then, and whom they let in."""

import asyncio
import os
import socket
import stat

import aiohttp
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.console import doors, web
from gateway.errors import GatewayError, NotRunning, StorageError, UsageError
from tests.console.stand_in import city
from tests.console.visit import QUICK, get, opened


@pytest.fixture
def daemon():
    return city()


@pytest.fixture
async def console(daemon):
    async with opened(daemon) as found:
        yield found


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
