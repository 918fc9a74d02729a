from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from decoding_samples import GOOD, children

from gateway.decoding.catalogue import Catalogue
from gateway.decoding.lane import Limits
from gateway.decoding.sandbox import Decoder
from gateway.model import Decoded, DevEui, Measurement

HEARD_US = 1_773_468_000_000_000


def ask(decoder: Decoder, codec: str | None, payload: bytes = b"\x01\x02", **more):
    return decoder.decode(
        codec, payload, more.get("f_port", 5), more.get("variables", {}), HEARD_US, more.get("dev_eui")
    )


async def test_a_payload_becomes_data_and_measurements(codecs):
    async with Decoder(codecs({"good": GOOD})) as decoder:
        assert await ask(decoder, "test/good") == Decoded(
            codec="test/good@1",
            data={"sum": 3, "port": 5},
            measurements=(Measurement("pulse_total", 3, "count"),),
        )


async def test_a_python_that_was_found_beside_us_is_found_from_elsewhere(codecs, monkeypatch):
    monkeypatch.setattr(sys, "executable", os.path.relpath(sys.executable))  # PATH=.venv/bin:$PATH
    async with Decoder(codecs({"good": GOOD})) as decoder:
        assert (await ask(decoder, "test/good")).data == {"sum": 3, "port": 5}


async def test_a_codec_may_read_a_date_as_text(codecs):
    reads = """
from datetime import datetime


def decode(payload, port, variables):
    return {"data": {"year": datetime.strptime(payload.decode(), "%Y-%m-%d").year}}
"""
    async with Decoder(codecs({"reads": reads})) as decoder:
        assert (await ask(decoder, "test/reads", b"2026-11-23")).data == {"year": 2026}


@pytest.mark.parametrize("f_port", [None, 0])
async def test_mac_commands_alone_are_nothing_to_decode_and_no_problem(codecs, f_port):
    async with Decoder(codecs({"good": GOOD})) as decoder:
        for codec in ("test/good", "test/unknown", None):
            assert await ask(decoder, codec, f_port=f_port) == Decoded()
        assert decoder.health() == ()  # no worker was asked


async def test_who_cannot_be_asked_is_told_in_words(codecs, tmp_path):
    toml = '[[firmware]]\nversion = "1.0"\n[[firmware]]\nversion = "1.1"\n'
    catalogue = codecs({"good": GOOD}, toml)
    decoder = Decoder(catalogue)
    assert (await ask(decoder, "test/good")).problem == "the gateway stopped before the codec had answered"
    async with decoder:
        assert (await ask(decoder, None)).problem == "no codec is set for this device"
        assert (await ask(decoder, "no/such")).problem == "the codec no/such is not in the catalogue"
        problem = (await ask(decoder, "test/good", variables={"firmware": "2.0"})).problem
        assert problem == "firmware 2.0 of test/good is not in the catalogue, known are: 1.0, 1.1"
        (tmp_path / "codecs" / "test" / "good" / "good.py").unlink()
        assert "the codec test/good@1 cannot be read: " in (await ask(decoder, "test/good")).problem


async def test_a_device_s_variables_stand_before_the_catalogue_s(codecs):
    toml = '[variables.depth]\ndefault = "3000"\n[variables.weight]\ndefault = "10"\n'
    async with Decoder(codecs({"good": GOOD}, toml)) as decoder:
        plain = await ask(decoder, "test/good")
        assert plain.data == {"sum": 3, "port": 5, "depth": "3000", "weight": "10"}
        own = await ask(decoder, "test/good", variables={"depth": "1200"})
        assert own.data == {"sum": 3, "port": 5, "depth": "1200", "weight": "10"}


async def test_a_codec_may_ask_for_the_time_of_reception_and_the_device(codecs):
    source = """
def decode(payload, port, variables, dev_eui, *, recv_time):
    return {"data": {"at": recv_time, "eui": dev_eui}}
"""
    async with Decoder(codecs({"asks": source})) as decoder:
        known = await ask(decoder, "test/asks", dev_eui=DevEui.parse("70b3d57ed0000001"))
        assert known.data == {"at": 1773468000.0, "eui": "70b3d57ed0000001"}
        assert (await ask(decoder, "test/asks")).data["eui"] is None


async def test_errors_become_the_problem_and_data_stays(codecs):
    source = 'def decode(p, q, v):\n    return {"data": {"a": 1}, "warnings": ["w"], "errors": ["one", "two"]}\n'
    async with Decoder(codecs({"partly": source})) as decoder:
        assert await ask(decoder, "test/partly") == Decoded("test/partly@1", {"a": 1}, (), ("w",), "one; two")


async def test_what_does_not_fit_the_vocabulary_is_a_warning_behind_the_codec_s_own(codecs):
    source = """
def decode(payload, port, variables):
    return {"data": {}, "warnings": ["mine"], "measurements": [
        {"quantity": "humidity", "value": 130, "unit": "%"},
        {"quantity": "warmth", "value": 1, "unit": "°C"},
        {"quantity": "temperature", "value": 70, "unit": "°F"},
        {"quantity": "leak", "value": 1},
        {"quantity": "volume", "value": 1.5, "unit": "m3", "time": "yesterday"},
        {"quantity": "volume", "value": 1.5, "unit": "m3", "time": 1773468000.25},
        "temperature",
    ]}
"""
    async with Decoder(codecs({"odd": source})) as decoder:
        decoded = await ask(decoder, "test/odd")
    assert decoded.measurements == (
        Measurement("humidity", 130, "%"),
        Measurement("volume", 1.5, "m3", 1_773_468_000_250_000),
    )
    assert decoded.warnings == (
        "mine",
        "humidity: 130 % is implausible (0 to 100)",
        "'warmth' is no quantity of the vocabulary",
        "temperature is in °C, not '°F'",
        "leak: 1 is neither true nor false",
        "volume: 'yesterday' is no time in Unix seconds",
        "'temperature' is no measurement",
    )


async def test_many_at_once_each_get_their_own_answer(codecs):
    async with Decoder(codecs({"one": GOOD, "two": GOOD}), replace(Limits(), batch=7, queue=20)) as decoder:
        names = ("test/one", "test/two")
        answers = await asyncio.gather(*(ask(decoder, names[n % 2], bytes([n % 250])) for n in range(500)))
    assert [answer.data["sum"] for answer in answers] == [n % 250 for n in range(500)]
    assert {answer.codec for answer in answers} == {"test/one@1", "test/two@1"}


async def test_a_caller_that_gives_up_disturbs_nobody(codecs):
    async with Decoder(codecs({"good": GOOD})) as decoder:
        given_up = [asyncio.create_task(ask(decoder, "test/good", bytes([n]))) for n in range(20)]
        await asyncio.sleep(0)
        for task in given_up[::2]:
            task.cancel()
        await asyncio.wait(given_up)
        assert [task.result().data["sum"] for task in given_up[1::2]] == list(range(1, 20, 2))
        assert (await ask(decoder, "test/good")).problem is None


async def test_closing_answers_what_is_under_way(codecs):
    async with Decoder(codecs({"good": GOOD})) as decoder:
        under_way = [asyncio.create_task(ask(decoder, "test/good", bytes([n]))) for n in range(100)]
        await asyncio.sleep(0)
    assert [(await task).data["sum"] for task in under_way] == list(range(100))
    assert "stopped" in (await ask(decoder, "test/good")).problem


async def test_a_worker_somebody_kills_is_replaced_at_once_and_costs_no_answer(codecs):
    async with Decoder(codecs({"good": GOOD})) as decoder:
        await ask(decoder, "test/good")
        first = decoder.health()[0].pid
        os.kill(first, signal.SIGKILL)
        while decoder.health()[0].pid in {first, None}:
            await asyncio.sleep(0.001)
        assert (await ask(decoder, "test/good")).data == {"sum": 3, "port": 5}
        assert decoder.health()[0].restarts == 1


async def test_a_codec_that_did_not_change_keeps_its_worker_over_a_reload(codecs, tmp_path):
    catalogue = codecs({"same": GOOD, "other": GOOD})
    async with Decoder(catalogue) as decoder:
        for name in ("test/same", "test/other"):
            await ask(decoder, name)
        before = {health.codec: health.pid for health in decoder.health()}
        changed = codecs({"other": GOOD.replace("sum(payload)", "99")}, "")
        under_way = asyncio.create_task(ask(decoder, "test/other"))
        await asyncio.sleep(0)
        await decoder.reload(changed)
        assert (await under_way).data["sum"] == 3  # asked before
        assert (await ask(decoder, "test/other")).data["sum"] == 99
        await ask(decoder, "test/same")
        after = {health.codec: health.pid for health in decoder.health()}
        assert after["test/same@1"] == before["test/same@1"]
        assert after["test/other@1"] != before["test/other@1"]
        assert before["test/other@1"] not in children()
        await decoder.reload(Catalogue({}))
        assert "is not in the catalogue" in (await ask(decoder, "test/same")).problem
        assert not children() & set(before.values())


async def test_the_codec_asked_longest_ago_gives_way_when_there_are_enough_workers(codecs):
    catalogue = codecs(dict.fromkeys(("a", "b", "c"), GOOD))
    async with Decoder(catalogue, replace(Limits(), workers=2)) as decoder:
        for name in ("a", "b", "c"):
            assert (await ask(decoder, f"test/{name}")).problem is None
        pids = {health.codec: health.pid for health in decoder.health()}
        assert pids["test/a@1"] is None
        assert pids["test/b@1"]
        assert (await ask(decoder, "test/a")).problem is None


async def test_an_encoder_makes_bytes_of_a_command(codecs):
    source = """
def encode(command, variables, f_port):
    if "interval" not in command:
        return {"errors": ["interval is missing"]}
    return {"bytes": bytes([1, command["interval"]]), "f_port": int(variables["port"]), "warnings": ["slow"]}
"""
    async with Decoder(codecs({"asks": source, "good": GOOD}, '[variables.port]\ndefault = "9"\n')) as decoder:
        made = await decoder.encode("test/asks", {"interval": 60}, None, {})
        assert (made.payload, made.f_port, made.warnings, made.errors) == (b"\x01\x3c", 9, ("slow",), ())
        assert (await decoder.encode("test/asks", {}, None, {})).errors == ("interval is missing",)
        assert (await decoder.encode(None, {}, None, {})).errors == ("no codec is set for this device",)
        (problem,) = (await decoder.encode("test/good", {}, None, {})).errors
        assert problem == "the codec failed: it has no function encode(command): it cannot make downlinks"
        assert (await ask(decoder, "test/asks")).problem.endswith("no function decode(payload, port, variables)")


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


LOOPS = """
def decode(payload, port, variables):
    while payload[0]:
        pass
    return {"data": {}}
"""


async def test_a_codec_that_overruns_in_a_row_is_set_aside_and_tried_again_later(codecs):
    clock = Clock()
    limits = replace(Limits(), cpu_s=0.01, overruns=3)
    async with Decoder(codecs({"loops": LOOPS, "good": GOOD}), limits, clock=clock) as decoder:

        async def problem(payload: bytes) -> str | None:
            return (await ask(decoder, "test/loops", payload)).problem

        stopped = "the codec was stopped: it took more than 10 ms of processor time"
        assert await problem(b"\x01") == stopped
        assert await problem(b"\x01") == stopped
        assert await problem(b"\x00") is None  # all is forgiven
        assert [await problem(b"\x01") for _ in range(3)] == [stopped] * 3
        aside = "the codec test/loops@1 is set aside: it overran its limits 3 times in a row; it is tried again in 30 s"
        assert await problem(b"\x00") == aside
        (health,) = decoder.health()
        assert (health.state, health.detail, health.overruns) == ("set aside", aside, 5)
        assert (await ask(decoder, "test/good")).problem is None
        clock.now_s += 29
        assert "tried again in 1 s" in await problem(b"\x00")
        clock.now_s += 1
        assert await problem(b"\x01") == stopped  # one try, and twice the wait
        assert "tried again in 60 s" in await problem(b"\x00")
        clock.now_s += 60
        assert await problem(b"\x00") is None
        assert decoder.health()[0].state == "idle"
        assert await problem(b"\x01") == stopped
        assert await problem(b"\x00") is None


async def test_while_a_codec_is_set_aside_those_who_wait_for_it_are_told(codecs):
    limits = replace(Limits(), cpu_s=0.01, overruns=3, batch=1, queue=2)
    async with Decoder(codecs({"loops": LOOPS}), limits) as decoder:
        answers = await asyncio.gather(*(ask(decoder, "test/loops", b"\x01") for _ in range(10)))
    problems = [answer.problem for answer in answers]
    assert sum("was stopped" in problem for problem in problems) == 3
    assert sum("is set aside" in problem for problem in problems) == 7


@pytest.mark.parametrize("program", ["worker", "js_worker"])
async def test_a_worker_imports_next_to_nothing(program):
    """It starts in milliseconds, and none of the daemon's libraries can be reached from a codec."""
    child = await asyncio.create_subprocess_exec(
        os.sys.executable, "-I", "-S", "-c",
        f"import sys; sys.path.insert(0, sys.argv[1]); import gateway.decoding.{program}; print(*sys.modules)",
        str(Path(__file__).parents[2]), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate()
    modules = out.decode().split()
    ours = {name for name in modules if name.startswith("gateway.")}
    assert ours == {
        "gateway.decoding", "gateway.decoding.link", "gateway.decoding.walls", f"gateway.decoding.{program}",
    }  # fmt: skip
    assert not {"asyncio", "socket", "subprocess", "orjson", "pydantic", "aiohttp", "site"} & set(modules)
