"""Codecs that mean harm. Each costs the reading its decoding, and nothing else: the next reading is decoded."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from decoding_samples import GOOD

from gateway.decoding.lane import Limits
from gateway.decoding.sandbox import Decoder
from gateway.decoding.walls import MACHINES, program_for

LIMITS = replace(Limits(), cpu_s=0.05, wall_s=0.3)

# What the codec does, and what the reading says of it.
HOSTILE = {
    "an endless loop": ("while True: pass", "it took more than 50 ms of processor time"),
    "a loop that catches everything": (
        "while True:\n        try:\n            for _ in iter(int, 1): len('')\n        except BaseException: len('')",
        "the codec was stopped: it ",  # by itself, or by the daemon where the machine is slower
    ),
    "a loop inside the interpreter": ("sum(iter(int, 1))", "it gave no answer within"),
    "a regular expression that explodes": (
        "import re; re.match('(a+)+$', 'a' * 50 + 'b')",
        "it took more than 50 ms of processor time",
    ),
    "a memory bomb": ("bytearray(1 << 30)", "it took more memory than a codec may"),
    "a memory bomb in small pieces": (
        "hoard = []\n    while True: hoard.append(bytearray(1 << 20))",
        "it took more memory than a codec may",
    ),
    "endless recursion": ("decode(payload, port, variables)", "RecursionError: maximum recursion depth exceeded"),
    "reading a file": ("open('/etc/passwd').read()", "PermissionError: a codec may not open files: /etc/passwd"),
    "writing a file": ("open('/tmp/x', 'w')", "PermissionError: a codec may not open files: /tmp/x"),
    "importing os": ("import os", "ImportError: a codec may not import os"),
    "importing socket": ("import socket", "ImportError: a codec may not import socket"),
    "importing subprocess": ("import subprocess", "ImportError: a codec may not import subprocess"),
    "importing ctypes": ("import ctypes", "ImportError: a codec may not import ctypes"),
    "importing behind a mask": ("eval('__imp' + 'ort__')('o' + 's')", "ImportError: a codec may not import os"),
    "importing late": ("__import__('js' + 'on').loads('1'); __import__('zl' + 'ib')", "PermissionError"),
    "leaving": ("raise SystemExit(0)", "it raised SystemExit"),
    "interrupting": ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
    "ten megabytes": ("return {'data': {'x': 'y' * 10_000_000}}", "at most 65536 are taken"),
    "a cycle": ("d = {}\n    d['d'] = d\n    return {'data': d}", "is nested deeper than 32"),
    "deep data": (
        "d = {}\n    for _ in range(500): d = {'d': d}\n    return {'data': d}",
        "data is nested deeper than 32",
    ),
    "billions of laughs": (
        "d = 'ha'\n    for _ in range(40): d = [d] * 10\n    return {'data': {'d': d}}",
        "the codec was stopped: ",
    ),
    "no dict": ("return [1]", "it returned list, not a dict"),
    "nothing": ("return None", "it returned NoneType, not a dict"),
    "data that is none": ("return {'data': 5}", "the codec's data is no object"),
    "neither data nor an error": ("return {}", "neither data nor an error"),
    "bytes": ("return {'data': {'raw': payload}}", "data.raw is of type bytes, which JSON has not"),
    "an exception that cannot be shown": (
        "class E(Exception):\n        def __str__(self): raise ValueError\n    raise E",
        "it raised ValueError",
    ),
    "an exception that takes for ever to show": (
        "class E(Exception):\n        def __str__(self):\n            while True: pass\n    raise E",
        "it took more than 50 ms of processor time",
    ),
    "a dict that lies": (
        "class D(dict):\n        def items(self):\n            while True: pass\n    return {'data': D(a=1)}",
        None,
    ),
}


def hostile(body: str) -> str:
    deeper = body.replace("\n    ", "\n        ")
    head = "def decode(payload, port, variables):\n    if payload == b'harm':\n        "
    return f"{head}{deeper}\n    return {{'data': {{}}}}\n"


async def harm(decoder: Decoder, name: str = "test/hostile", payload: bytes = b"harm"):
    return await decoder.decode(name, payload, 1, {}, 0)


@pytest.mark.parametrize("name", HOSTILE)
async def test_harm_is_a_problem_in_words_and_the_next_reading_is_decoded(codecs, name):
    body, problem = HOSTILE[name]
    async with Decoder(codecs({"hostile": hostile(body), "good": GOOD}), LIMITS) as decoder:
        found = await harm(decoder)
        if problem is not None:
            assert problem in (found.problem or "")
        assert found.measurements == ()
        assert (await harm(decoder, payload=b"fine")).data == {}
        assert (await harm(decoder, "test/good")).data == {"sum": sum(b"harm"), "port": 1}


# Ways around the list of imports, through what every object knows. The walls behind it have to hold.
ESCAPE = """
def reach(name):
    for kind in ().__class__.__base__.__subclasses__():
        space = getattr(getattr(kind, "__init__", None), "__globals__", None)
        if space and "sys" in space and name in space["sys"].modules:
            return space["sys"].modules[name]
    raise LookupError(name)

def decode(payload, port, variables):
    try:
        return {"data": {"got": str(attempt())}}
    except OSError as error:
        return {"errors": [f"{type(error).__name__}: {error}"]}
"""

ESCAPES = {
    "a shell": "def attempt(): return reach('os').system('id')",
    "a process": "def attempt(): return reach('os').fork()",
    "another program": "def attempt(): return reach('os').execv('/bin/true', ['true'])",
    "a signal to itself": "def attempt(): return reach('os').kill(reach('os').getpid(), 9)",
    "a signal to the daemon": "def attempt(): return reach('os').kill(reach('os').getppid(), 9)",
    "a file": "def attempt(): return reach('os').open('/etc/passwd', 0)",
    "a folder": "def attempt(): return reach('os').listdir('/')",
    "a file's facts (no event of Python's tells of it)": "def attempt(): return reach('os').stat('/etc/passwd')",
    "the working folder": "def attempt(): return reach('os').getcwd()",
    "another descriptor": "def attempt(): return reach('os').write(2, b'x')",
    "the socket to the daemon": "def attempt(): return reach('os').close(0)",
    "a native library": "def attempt(): return reach('ctypes').CDLL(None)",
    "a sleep": "import time\ndef attempt(): return time.sleep(60)",
}


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="the filter knows x86-64 and aarch64 machines")
@pytest.mark.parametrize("name", ESCAPES)
async def test_whoever_climbs_over_the_imports_stands_before_the_walls(codecs, name):
    async with Decoder(codecs({"hostile": ESCAPE + ESCAPES[name]}), LIMITS) as decoder:
        found = await harm(decoder)
        assert "PermissionError" in (found.problem or ""), found
        assert decoder.health()[0].guarded is True


async def test_the_network_cannot_be_reached_even_with_the_module_at_hand(codecs):
    source = ESCAPE + "def attempt(): return reach('_socket').socket()\nimport http"
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        assert "a codec may not import http" in (await harm(decoder)).problem


async def test_the_daemon_s_environment_is_not_the_codec_s(codecs, monkeypatch):
    monkeypatch.setenv("GATEWAY_SECRET", "swordfish")
    source = ESCAPE + "def attempt(): return sorted(reach('os').environ)"
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        got = (await harm(decoder)).data["got"]
        assert got in {"['TZ']", "['LC_CTYPE', 'TZ']"}  # Python itself sets the one


async def test_printing_goes_nowhere(codecs, capfd):
    source = "print('at the top')\ndef decode(p, q, v):\n    print('x' * 100_000)\n    return {'data': {'ok': 1}}\n"
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        assert (await harm(decoder)).data == {"ok": 1}
    assert capfd.readouterr() == ("", "")


DEATHS = {
    "os._exit": "reach('os')._exit(0)",
    "lines nobody asked for": "reach('os').write(0, b'=1\\n' * 1000)",
    "an answer that never ends": "reach('os').write(0, b'x' * 200_000)",
    "no JSON": "reach('os').write(0, b'={]\\n')",
    "an unknown letter": "reach('os').write(0, b'?\\n')",
    "an empty line": "reach('os').write(0, b'\\n')",
    "a forged answer": "reach('os').write(0, b'= 2 {\"data\": {}}\\n')",
}


@pytest.mark.parametrize("name", DEATHS)
async def test_a_codec_that_attacks_its_own_worker_costs_only_its_own_reading(codecs, name):
    source = ESCAPE + f"def attempt(): return {DEATHS[name]}\n"
    source += "harmful = decode\ndef decode(p, q, v):\n    return harmful(p, q, v) if p == b'harm' else {'data': {}}\n"
    async with Decoder(codecs({"hostile": source, "good": GOOD}), LIMITS) as decoder:
        for _ in range(3):
            before, harmed, after, good = await asyncio.gather(
                harm(decoder, payload=b"fine"),
                harm(decoder),
                harm(decoder, payload=b"fine"),
                harm(decoder, "test/good"),
            )
            assert harmed.measurements == ()
            assert good.data == {"sum": sum(b"harm"), "port": 1}
            if name != "a forged answer":
                assert "the codec was stopped: " in harmed.problem
                assert before.data == after.data == {}  # their batch died, and they were asked again
            assert (await harm(decoder, payload=b"fine")).data == {}


async def test_one_reading_in_a_batch_kills_and_all_others_are_decoded(codecs):
    source = ESCAPE + "def attempt(): reach('os')._exit(3)\nharmful = decode\n"
    source += "def decode(p, q, v):\n    return harmful(p, q, v) if p == b'harm' else {'data': {'n': p[0]}}\n"
    payloads = [bytes([n]) for n in range(100)]
    payloads[37] = b"harm"
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        found = await asyncio.gather(*(harm(decoder, payload=payload) for payload in payloads))
    problems = {index: answer.problem for index, answer in enumerate(found) if answer.problem}
    assert problems == {37: "the codec was stopped: it ended with exit code 3"}
    assert [answer.data["n"] for answer in found if answer.data] == [n for n in range(100) if n != 37]


async def test_nan_and_infinity_do_not_get_through(codecs):
    source = """
def decode(payload, port, variables):
    nan, inf = float("nan"), float("inf")
    return {"data": {"a": nan, "b": [1, -inf]}, "warnings": ["mine"],
            "measurements": [{"quantity": "temperature", "value": nan, "unit": "°C"}]}
"""
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        found = await harm(decoder)
    assert found.data == {"a": None, "b": [1, None]}
    assert found.measurements == ()
    assert found.warnings == (
        "mine",
        "data.a is nan, which is no number",
        "data.b[1] is -inf, which is no number",
        "measurements[0].value is nan, which is no number",
        "temperature: None is not a number",
    )


async def test_whatever_gets_through_can_be_written_as_json_again(codecs):
    source = """
import enum, collections
class Color(enum.IntEnum):
    RED = 1
def decode(payload, port, variables):
    return {"data": {"big": 10**40, 1: "key", None: "none", "lone": "\\ud800", "color": Color.RED,
                     "tuple": (1, 2), "ordered": collections.OrderedDict(a=1), "text": "\\u2028\\n", "": ""},
            "surprise": 1}
"""
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        found = await harm(decoder)
    assert orjson.loads(orjson.dumps(found.data))["tuple"] == [1, 2]
    assert found.data["lone"] == "\\ud800"
    assert found.data["1"] == "key"
    assert found.warnings == ("the codec's result has a key 'surprise' that nobody reads",)


async def test_huge_and_odd_warnings_are_cut(codecs):
    source = """
def decode(payload, port, variables):
    if payload == b"harm":
        return {"data": {}, "warnings": ["w" * 2000] + list(range(10)) + ["x"] * 1000}
    return {"data": {}, "warnings": "one", "errors": {"a": 1}}
"""
    async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
        found = await harm(decoder)
        assert len(found.warnings) == 51
        assert found.warnings[0] == "w" * 1000 + "…"
        assert found.warnings[1] == "0"
        assert found.warnings[-1] == "… and 961 more"
        other = await harm(decoder, payload=b"")
        assert (other.warnings, other.problem) == (("one",), "{'a': 1}")


CANNOT_LOAD = {
    "def decode(:\n": "SyntaxError: invalid syntax (line 1)",
    "\n\n1 / 0\n": "ZeroDivisionError: division by zero (line 3)",
    "import numpy\n": "ImportError: a codec may not import numpy; it may import ",
    "from . import x\n": "ImportError: a codec may not import",
    "x = 1\n": "it has neither a function decode(payload, port, variables) nor encode(command)",
    "decode = 5\n": "it has neither a function decode",
    "open('/etc/passwd')\n": "PermissionError: a codec may not open files: /etc/passwd (line 1)",
    "while True: pass\n": "loading it took too much processor time",
    "raise SystemExit\n": "SystemExit",
    "(" * 500 + ")" * 500: "SyntaxError: too many nested parentheses",
    "x = " + "-" * 100_000 + "1": "",
    "\0": "",
    "": "it has neither",
}


@pytest.mark.parametrize("source", CANNOT_LOAD, ids=range(len(CANNOT_LOAD)))
async def test_a_codec_that_cannot_be_loaded_says_why(codecs, source):
    limits = replace(LIMITS, load_cpu_s=0.2)
    async with Decoder(codecs({"hostile": source, "good": GOOD}), limits) as decoder:
        first, second = await asyncio.gather(harm(decoder), harm(decoder))
        assert "the codec test/hostile@1 cannot be loaded: " in first.problem
        assert CANNOT_LOAD[source] in first.problem
        assert second.problem == first.problem
        assert (await harm(decoder)).problem == first.problem
        health = decoder.health()[0]
        assert (health.state, health.restarts, health.pid) == ("cannot load", 0, None)
        assert (await harm(decoder, "test/good")).data == {"sum": sum(b"harm"), "port": 1}


async def test_a_codec_that_kills_its_worker_while_loading_is_set_aside(codecs):
    source = ESCAPE + "reach('os')._exit(4)\n"
    async with Decoder(codecs({"hostile": source}), replace(LIMITS, overruns=2)) as decoder:
        assert (await harm(decoder)).problem == "the codec's worker did not start: it ended with exit code 4"
        assert "did not start" in (await harm(decoder)).problem
        assert "is set aside" in (await harm(decoder)).problem


async def test_what_a_codec_breaks_it_breaks_for_itself(codecs):
    source = (
        ESCAPE
        + """
def attempt():
    import math, json
    math.sqrt = json.dumps = None
    for name in ("len", "sum", "dict", "isinstance"):
        reach("builtins").__dict__[name] = None
"""
    )
    async with Decoder(codecs({"hostile": source, "good": GOOD}), LIMITS) as decoder:
        await harm(decoder)
        assert (await harm(decoder, "test/good")).data == {"sum": sum(b"harm"), "port": 1}


async def test_a_stopped_machine_is_not_the_codec_s_fault(codecs):
    """A worker that does not get the processor is waited for; a codec would have used its time by then."""
    async with Decoder(codecs({"good": GOOD}), replace(LIMITS, wall_s=0.1)) as decoder:
        await harm(decoder, "test/good")
        pid = decoder.health()[0].pid
        os.kill(pid, 19)
        threading.Timer(0.25, os.kill, (pid, 18)).start()
        assert (await harm(decoder, "test/good")).data == {"sum": sum(b"harm"), "port": 1}
        assert decoder.health()[0].overruns == 0


async def test_a_worker_that_never_comes_back_is_ended(codecs):
    async with Decoder(codecs({"good": GOOD}), replace(LIMITS, wall_s=0.05)) as decoder:
        await harm(decoder, "test/good")
        os.kill(decoder.health()[0].pid, 19)
        assert (await harm(decoder, "test/good")).problem == "the codec was stopped: it gave no answer within 0.25 s"
        assert (await harm(decoder, "test/good")).problem is None


def test_the_filter_knows_no_more_machines_than_it_should():
    assert program_for("riscv64", 0) is None
    for machine in MACHINES:
        program = program_for(machine, 0)
        assert program is not None
        assert len(program) % 8 == 0
        assert program.endswith((0x00050001).to_bytes(4, "little"))


# fmt: off
CALLS = [
    "mmap", "mprotect", "munmap", "brk", "mremap", "madvise", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
    "setitimer", "getitimer", "futex", "sched_yield", "restart_syscall", "getpid", "clock_gettime", "clock_getres",
    "gettimeofday", "getrandom", "exit", "exit_group",
]
# fmt: on


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")),
        ("aarch64", Path("/usr/include/asm-generic/unistd.h")),
    ],
)
def test_the_filter_s_numbers_are_the_kernel_s(machine, header):
    if not header.exists():
        pytest.skip("install linux-libc-dev to compare with the kernel's own headers")
    named = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    numbers = {name: int(number) for name, number in named}
    _, channel, calls = MACHINES[machine]
    assert channel == (numbers["read"], numbers["write"])
    assert calls == tuple(numbers[name] for name in CALLS)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="compares with the names of an x86-64 machine")
def test_no_descriptor_of_the_daemon_s_reaches_a_codec(codecs):
    source = ESCAPE + "def attempt(): return [reach('os').read(n, 1) for n in range(3, 20)]\n"

    async def run() -> str:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            os.set_inheritable(listener.fileno(), True)
            async with Decoder(codecs({"hostile": source}), LIMITS) as decoder:
                return (await harm(decoder)).problem

    assert "PermissionError" in asyncio.run(run())
