"""`status` and `tail` against a daemon's control socket: the real command beside the real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from cli_site import CHECKOUT, Site
from stand_in import StandIn, city

from gateway.console import wording
from gateway.console.control import ControlClient
from gateway.console.status_page import page, reading_line
from gateway.console.web import application, serve_unix
from gateway.errors import GatewayError, NotRunning


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    site = Site(tmp_path, capsys, monkeypatch)
    site.data.mkdir()
    return site


@asynccontextmanager
async def running(site: Site, view: StandIn):
    """A daemon that answers on the control socket."""
    async with AsyncExitStack() as doors:
        yield await doors.enter_async_context(await serve_unix(application(view), site.data))


async def start(site: Site, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *site.words(*words),
        cwd=CHECKOUT,
        env={**os.environ, "TZ": "UTC", "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


# --- status ---------------------------------------------------------------------------------------------------------


async def test_status_as_json_is_what_the_daemon_says(site):
    view = city()
    async with running(site, view):
        code, out, err = await ended(await start(site, "status", "--json"))
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(view.status()))


def test_status_names_the_codecs_that_cannot_be_asked():
    codec = {"codec": "acme/probe@2", "state": "set aside", "detail": "it overran its limits"}
    fine = {"codec": "acme/good@1", "state": "idle", "detail": "waits for payloads"}
    lines = page({**city().status(), "codecs": [codec, fine]})
    assert "Codec    look  acme/probe@2 Set aside" in lines
    assert not any("acme/good" in line for line in lines)


def test_status_says_what_a_network_server_got_and_asked_for():
    facts = {
        "name": "city", "state": "connected", "evidence": "", "last_contact_s": 4.2, "round_trip_ms": 23.4,
        "forwarded": 1200, "acknowledged": 1188, "acknowledged_share": 0.99, "missed": {"away": 3, "no_room": 1},
        "downlinks": {"TOO_LATE": 2, "SENT": 5},
    }  # fmt: skip
    bare = {"name": "ttn", "state": "unreachable", "evidence": "nobody listens there"}
    lines = page({**city().status(), "lns": [facts, bare]})
    at = lines.index("LNS      ok    city Connected")
    told = " ".join(" ".join(lines[at + 1 : lines.index("LNS      BAD   ttn Unreachable")]).split())
    assert told == (
        "frames: 1 200 forwarded, 1 188 acknowledged (99%) missed: 3 while it was away, 1 for want of room "
        "answers: 4 s ago, in 23 ms downlinks: SENT 5, TOO_LATE 2"
    )
    assert any("nobody listens there" in line.lower() for line in lines)
    assert max(map(len, lines)) <= 76


async def test_status_for_people_fits_a_phone(site):
    view = city()
    view.lose_sink("musee-archive")
    async with running(site, view):
        code, out, err = await ended(await start(site, "status"))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 76
    assert lines[0] == "Musée Fabre, toit  0016c001ff10a235  up 3 d 4 h"
    assert "Hears    ok    Yes" in lines
    assert "Sink     ok    toulouse-platform Connected" in lines
    assert "Sink     BAD   musee-archive Unreachable" in lines
    assert "heard 22 753, filtered 4 544, stored 18 209, dropped 0" in out
    assert "acknowledged 17 869, queued 340, given up 0, dead letters 0, the" in out.replace("\n               ", " ")
    assert "                 journalctl -u lorawan-gateway -n 50" in lines
    assert lines[-1] == "Balance  ok    0: every frame is accounted for"


async def test_a_receiver_is_shown_with_its_evidence_its_cure_and_the_place(site):
    view = city()
    view.gps = {"state": "fix", "evidence": "fix 3D, 9 satellites, its time within 40 ns", "hint": ""}
    view.position = {
        "latitude": 43.61194, "longitude": 3.87723, "altitude_m": 57.2, "source": "gps", "accuracy_m": 2.5,
    }  # fmt: skip
    shown = "\n".join(page(view.status()))
    assert "GPS      ok    Fix\n               Fix 3D, 9 satellites, its time within 40 ns" in shown
    assert "at 43.61194°, 3.87723°, 57 m high, within 2 m" in shown
    view.gps = {"state": "no fix", "evidence": "no fix for 12 min", "hint": "Check the antenna"}
    view.position |= {"source": "settings", "altitude_m": None}
    shown = "\n".join(page(view.status()))
    assert "GPS      look  No fix\n               No fix for 12 min" in shown
    assert "→ Check the antenna" in shown
    assert "at 43.61194°, 3.87723°, by the settings" in shown


@pytest.mark.parametrize(
    "answer", [{}, {"radio": None}, {**city().status(), "clock": None}, {**city().status(), "sinks": [{}]}]
)
def test_an_answer_of_another_version_is_a_sentence(answer):
    with pytest.raises(GatewayError, match="cannot be shown"):
        page(answer)


def test_without_a_daemon_the_next_step_is_named(site):
    for words in (["status"], ["tail"], ["status", "--json"], ["tail", "--json"]):
        typed = site.type(*words)
        assert (typed.code, typed.out) == (1, "")
        assert "systemctl start lorawan-gateway" in typed.err


def test_a_data_folder_that_is_not_there_is_no_traceback(site):
    site.data.rmdir()
    typed = site.type("status")
    assert (typed.code, typed.out) == (1, "")
    assert "Traceback" not in typed.err


async def test_a_data_folder_with_a_long_path_works(site):
    """A Unix socket's path has room for 107 bytes only (unix(7))."""
    folder = site.folder / ("a" * 200)
    folder.mkdir()
    site.config.write_text(f'store.path = "{folder}"\n')
    site.data = folder
    async with running(site, city()):
        code, out, err = await ended(await start(site, "status", "--json"))
    assert (code, err) == (0, "")
    assert json.loads(out)["gateway_eui"] == "0016c001ff10a235"


# --- tail -----------------------------------------------------------------------------------------------------------


async def lines_of(process: asyncio.subprocess.Process, view: StandIn, number: int, hear) -> list[str]:
    """The first lines of a tail; something is heard again and again until it has begun to follow."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while len(lines) < number:
            hear()
            try:
                async with asyncio.timeout(0.2):
                    lines.append((await process.stdout.readline()).decode())
            except TimeoutError:
                assert process.returncode is None
    return lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_tail_as_json_is_a_reading_a_line_until_it_is_told_to_stop(site, number):
    view = city()
    async with running(site, view):
        process = await start(site, "tail", "--json")
        lines = await lines_of(process, view, 3, lambda: view.hear("Salle 3"))
        process.send_signal(number)
        code, _, err = await ended(process)
    assert (code, err) == (0, "")
    assert {json.loads(line)["name"] for line in lines} == {"Salle 3"}
    assert json.loads(lines[0])["measurements"][0] == {"quantity": "fill_level", "value": 83.3, "unit": "%"}


async def test_tail_for_people_is_a_line_each(site):
    view = city()
    async with running(site, view):
        process = await start(site, "tail")
        (line,) = await lines_of(process, view, 1, lambda: view.hear("Salle 3\x1b[2J", f_cnt=7))
        process.terminate()
        await ended(process)
    time, *words = line.split("  ")
    assert time.count(":") == 2
    assert words == [
        "Salle 3�[2J",
        "#7",
        "Fill level 83.3 %, Distance 500 mm",
        f"({wording.MINUS}97 dBm, SNR 5.2 dB)\n",
    ]


async def test_tail_follows_one_device_or_all_frames(site):
    view = city()
    wanted = view.hear("A")["dev_eui"]

    def hear():
        view.hear("B")
        view.overhear()
        view.hear("A")

    async with running(site, view):
        one = await start(site, "tail", "--json", "--dev-eui", wanted.upper())
        raw = await start(site, "tail", "--json", "--raw")
        ones = await lines_of(one, view, 2, hear)
        raws = await lines_of(raw, view, 6, hear)
        for process in (one, raw):
            process.terminate()
            await ended(process)
    assert {json.loads(line)["dev_eui"] for line in ones} == {wanted}
    assert None in {json.loads(line)["dev_eui"] for line in raws}


async def test_tail_says_when_the_daemon_stops(site):
    view = city()
    async with running(site, view):
        process = await start(site, "tail", "--json")
        await lines_of(process, view, 1, view.hear)
    code, _, err = await ended(process)
    assert code == 1
    assert "Traceback" not in err
    assert "→" in err


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ({}, ["unknown", "no payload"]),
        ({"missed": 12}, ["… 12 readings went by faster than they could be shown"]),
        ({"dev_eui": None, "dev_addr": "01abcdef", "payload": "40ef"}, ["unknown 01abcdef", "40ef"]),
        ({"name": "n", "problem": "no codec", "payload": "00"}, ["n", "no codec: 00"]),
        ({"name": "n", "measurements": [{"quantity": "leak", "value": True, "unit": ""}]}, ["n", "Leak yes"]),
        ({"name": "n", "measurements": [None, {}], "radio": 1, "time": 3}, ["n"]),
    ],
)
def test_a_reading_is_a_line_whatever_it_lacks(reading, words):
    shown = reading_line(reading).split("  ")
    assert shown[-len(words) :] == words or (len(words) == 1 and words[0] in shown)


# --- a daemon that misbehaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nbug\n",
    ],
)
async def test_whatever_answers_on_the_socket_is_a_sentence(site, answer):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, site.data / "control.sock"):
        client = ControlClient(site.data)
        for ask in (client.status, lambda: list(client.tail())):
            with pytest.raises(GatewayError) as raised:
                await asyncio.to_thread(ask)
            assert type(raised.value) in {GatewayError, NotRunning}
