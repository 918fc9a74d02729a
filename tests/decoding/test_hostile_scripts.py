"""Scripts that mean harm. Each costs the reading its decoding, and nothing else: the next reading is decoded."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from decoding_samples import children
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.decoding.catalogue import Catalogue
from gateway.decoding.lane import Limits
from gateway.decoding.sandbox import Decoder
from gateway.decoding.walls import MACHINES

LIMITS = replace(Limits(), cpu_s=0.05, wall_s=1.0)
GOOD = "function decodeUplink(input) { return { data: { n: input.bytes.length } }; }"

TIME = "the codec was stopped: it took more than 50 ms of processor time"
MEMORY = "the codec was stopped: it took more memory than a codec may"

# What the script does, and what the reading says of it.
HOSTILE = {
    "an endless loop": ("while (true) {}", TIME),
    "a loop that catches everything": ("for (;;) { try { for (;;) {} } catch (e) {} finally { for (;;) {} } }", TIME),
    "a loop in a getter": ("return { get data() { while (true) {} } };", TIME),
    "a loop in toJSON": ("return { data: { toJSON() { while (true) {} } } };", TIME),
    "a loop in what is thrown": ("throw { toString() { while (true) {} }, get name() { while (true) {} } };", TIME),
    "a loop in a stack": (
        "const e = new Error('x'); Object.defineProperty(e, 'stack', { get() { while (true) {} } }); throw e;",
        TIME,
    ),
    "a loop in a proxy": ("return new Proxy({}, { get() { while (true) {} } });", TIME),
    "a loop in a generator": ("for (const x of (function* () { while (true) yield 1; })()) {}", TIME),
    "a loop in JSON.stringify": ("JSON.stringify = () => { while (true) {} }; return { data: { n: 1 } };", None),
    "a loop in Array.prototype": ("Array.prototype.toJSON = () => { while (true) {} }; return { data: [] };", TIME),
    "a regular expression that explodes": ("/^(a+)+$/.test('a'.repeat(40) + 'b');", TIME),
    "sorting for ever": ("[...Array(1e5).keys()].sort(() => { for (let i = 0; i < 1e6; i++); return 0; });", TIME),
    "a memory bomb": ("const a = []; while (true) a.push(new Array(1000).fill(0));", MEMORY),
    "a memory bomb in one piece": ("new ArrayBuffer(1 << 30);", MEMORY),
    "a text bomb": ("let s = 'x'; while (true) s += s;", "the codec "),
    "a long built-in": ("const a = 'x,'.repeat(1 << 21).split(','); for (;;) a.join().split();", "the codec "),
    "endless recursion": ("return decodeUplink(input);", "RangeError: Maximum call stack size exceeded"),
    "deep recursion in JSON": ("let d = []; for (let i = 0; i < 1e5; i++) d = [d]; return { data: d };", "RangeError"),
    "recursion through toString": ("const d = []; d[0] = { toString: () => String(d) }; String(d);", "RangeError"),
    "ten megabytes": ("return { data: { x: 'y'.repeat(10000000) } };", "bytes of JSON, at most 65536 are taken"),
    "ten megabytes of warnings": (
        "return { data: {}, warnings: Array(100000).fill('y'.repeat(100)) };",
        "bytes of JSON, at most 65536 are taken",
    ),
    "a cycle": ("const d = {}; d.d = d; return { data: d };", "circular"),
    "deep data": ("let d = {}; for (let i = 0; i < 500; i++) d = { d }; return { data: d };", "nested deeper than 32"),
    "billions of laughs": (
        "let d = 'ha'; for (let i = 0; i < 40; i++) d = Array(10).fill(d); return { data: { d } };",
        "the codec ",
    ),
    "throwing a text": ("throw 'boom';", 'it threw "boom"'),
    "throwing nothing": ("throw undefined;", 'it threw "undefined"'),
    "throwing half a character": ("throw '\\ud800';", "it threw"),
    "throwing what cannot be shown": ("throw Object.create(null);", "the codec failed: "),
    "throwing a symbol": ("throw Symbol('x');", "it threw"),
    "returning nothing": ("return;", "decodeUplink returned nothing"),
    "returning a promise": ("return Promise.resolve({ data: {} });", "is asynchronous"),
    "a thenable": ("return { then() {} };", "neither data nor an error"),
    "a proxy that lies": ("return { data: new Proxy({}, { ownKeys: () => ['a', 'b'] }) };", None),
    "errors that are no texts": ("return { data: {}, errors: [{}, null, 5, ['x']] };", "{}; None; 5; ['x']"),
    "errors that are no list": ("return { data: {}, errors: { length: 1 } };", "{'length': 1}"),
    "replacing what the host uses": (
        "for (const name of Object.getOwnPropertyNames(globalThis)) { try { globalThis[name] = null; } catch (e) {} }",
        "decodeUplink returned nothing",
    ),
    "emptying the prototypes": (
        """
        for (const kind of [Array, String, Object, RegExp, Error, Function]) {
          for (const name of Object.getOwnPropertyNames(kind.prototype)) {
            try { kind.prototype[name] = () => { throw 1; }; } catch (e) {}
          }
        }
        throw new Error("x");
        """,
        "the codec failed: ",
    ),
    "a finaliser": ("new FinalizationRegistry(() => { while (true) {} }).register({}, 1); return { data: {} };", None),
    "jobs for later": ("Promise.resolve().then(() => { for (;;); }); return { data: {} };", None),
    "an import": ("import('fs'); return { data: {} };", None),
    "a constructor's constructor": ("return { data: { x: typeof [].at.constructor('return this')() } };", None),
}  # fmt: skip


def hostile(body: str) -> str:
    return (
        "function decodeUplink(input) {\n  if (input.bytes.length !== 4) return { data: {} };\n"
        f"  {body}\n  return undefined;\n}}"
    )


async def harm(decoder: Decoder, name: str = "test/hostile", payload: bytes = b"harm"):
    return await decoder.decode(name, payload, 1, {}, 0)


@pytest.mark.parametrize("name", HOSTILE)
async def test_harm_is_a_problem_in_words_and_the_next_reading_is_decoded(codecs, name):
    body, problem = HOSTILE[name]
    async with Decoder(codecs({"hostile": hostile(body), "good": GOOD}, "", ".js"), LIMITS) as decoder:
        found = await harm(decoder)
        if problem is not None:
            assert problem in (found.problem or "")
            assert found.data in (None, {})
        assert found.measurements == ()
        assert (await harm(decoder, payload=b"fine!")).data == {}
        assert (await harm(decoder, "test/good")).data == {"n": 4}


async def test_harm_among_others_costs_the_others_nothing(codecs):
    """Everybody shares workers until one codec overruns; what was under way with it is done again."""
    scripts = {f"good{n}": GOOD for n in range(6)} | {
        "loops": hostile("while (true) {}"),
        "long": hostile("const a = 'x,'.repeat(1 << 21).split(','); while (true) a.join('-').split('-');"),
        "greedy": hostile("const a = []; while (true) a.push(new Array(1000).fill(0));"),
        "tampers": hostile("Object.prototype.n = 5; Array.prototype.length = 9; globalThis.decodeUplink = null;"),
    }
    catalogue = codecs(scripts, "", ".js")
    async with Decoder(catalogue, replace(LIMITS, overruns=1000)) as decoder:
        names = [name for _ in range(4) for name in catalogue.entries]
        answers = await asyncio.gather(*(harm(decoder, name) for name in names))
        for name, answer in zip(names, answers, strict=True):
            if "good" in name:
                assert answer.data == {"n": 4}, (name, answer)
            else:
                assert answer.problem, name
        healths = {health.codec: health for health in decoder.health()}
        await harm(decoder, "test/loops", b"")
        await harm(decoder, "test/good1")
        pids = {health.codec: health.pid for health in decoder.health()}
        assert pids["test/loops@1"] not in {pids[f"test/good{n}@1"] for n in range(6)}
        assert healths["test/good0@1"].overruns == 0


async def test_a_script_that_overruns_in_a_row_is_set_aside_and_its_neighbours_are_not(codecs):
    now_s = 1000.0
    scripts = {"loops": hostile("while (true) {}"), "good": GOOD, "other": GOOD}
    limits = replace(LIMITS, overruns=3)
    async with Decoder(codecs(scripts, "", ".js"), limits, clock=lambda: now_s) as decoder:
        for _ in range(3):
            assert (await harm(decoder, "test/loops")).problem == TIME
        assert "is set aside: it overran its limits 3 times in a row" in (await harm(decoder, "test/loops")).problem
        assert (await harm(decoder, "test/good")).data == {"n": 4}
        assert (await harm(decoder, "test/other")).data == {"n": 4}
        states = {health.codec: health.state for health in decoder.health()}
        assert states == {"test/loops@1": "set aside", "test/good@1": "idle", "test/other@1": "idle"}
        now_s += 30
        assert (await harm(decoder, "test/loops", b"")).data == {}


@pytest.mark.parametrize("body", ["throw { toString() { while (true) {} } };", "while (true) {}"])
async def test_a_script_that_hangs_while_it_is_loaded_holds_nobody_up_for_long(codecs, body):
    async with Decoder(codecs({"hangs": body, "good": GOOD}, "", ".js"), replace(LIMITS, shared=1)) as decoder:
        hung, good = await asyncio.gather(harm(decoder, "test/hangs"), harm(decoder, "test/good"))
        assert "did not start" in hung.problem or "cannot be loaded" in hung.problem
        assert good.data == {"n": 4}


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="the filter knows x86-64 and aarch64 machines")
async def test_the_workers_of_scripts_stand_behind_the_kernel_s_filter_too(codecs):
    async with Decoder(codecs({"good": GOOD}, "", ".js")) as decoder:
        await harm(decoder, "test/good")
        (health,) = decoder.health()
        assert health.guarded is True
        facts = Path(f"/proc/{health.pid}/status").read_text()
        assert "Seccomp:\t2" in facts
        assert "NoNewPrivs:\t1" in facts
        links = [str(file.readlink()) for file in Path(f"/proc/{health.pid}/fd").iterdir()]
        assert [link.partition(":")[0] for link in links] == ["socket"]


async def test_a_worker_that_somebody_kills_is_replaced_and_scripts_are_loaded_again(codecs):
    async with Decoder(codecs({"a": GOOD, "b": GOOD}, "", ".js"), replace(LIMITS, shared=1)) as decoder:
        for name in ("test/a", "test/b"):
            await harm(decoder, name)
        os.kill(decoder.health()[0].pid, 9)
        while decoder.health()[0].pid is not None and decoder.health()[0].pid in children():
            await asyncio.sleep(0.001)
        answers = await asyncio.gather(*(harm(decoder, f"test/{name}") for name in "abab"))
        assert [answer.data for answer in answers] == [{"n": 4}] * 4


async def test_a_changed_script_is_another_script_and_its_neighbours_stay(codecs):
    catalogue = codecs({"a": GOOD, "b": GOOD}, "", ".js")
    async with Decoder(catalogue, replace(LIMITS, shared=1)) as decoder:
        assert (await harm(decoder, "test/a")).data == (await harm(decoder, "test/b")).data == {"n": 4}
        pid = decoder.health()[0].pid
        await decoder.reload(codecs({"a": GOOD.replace("length", "length + 100")}, "", ".js"))
        assert (await harm(decoder, "test/a")).data == {"n": 104}
        assert (await harm(decoder, "test/b")).data == {"n": 4}
        assert {health.pid for health in decoder.health()} == {pid}
        await decoder.reload(Catalogue({}))
        assert pid not in children()


# --- fuzz -----------------------------------------------------------------------------------------------------------

# fmt: off
PIECES = [
    "while (true) {}", "throw input;", "return { data: input };", "return { data: { b: input.bytes } };",
    "input = null;", "x = [];", "x.push(x);", "globalThis.y = (globalThis.y || 0) + 1;", "Object.prototype.z = x;",
    "JSON = null;", "for (const k in globalThis) { x.push(globalThis[k]); }", "x = 'a'.repeat(1 << 20);", "x += x;",
    "x = () => x();", "x = new Uint8Array(1 << 20);", "x = BigInt(2) ** BigInt(1 << 12);",
    "return decodeUplink(input);", "return x;", "x = new Proxy(x, {});", "class A extends (x) {}",
    "async () => { await x; };", "x.toJSON = () => x;", "eval(String(x));", "x = Symbol.iterator;",
    "with (x) { y = 1; }", "label: for (;;) { break label; }", "x = /(x+)+y/.exec('x'.repeat(30));",
    "Array.prototype[0] = x;", "delete globalThis.Array;", "x = new Date(NaN);", "return { errors: x };",
    "console.log(x);", "Error.prototype.toString = () => { throw x; };", "x = Array(1e6).fill(x);",
    "return { data: { x } };", "{", "}", "(", ")", "`${x}`", "/* ", "'", "\\u2028", "import x from 'y';",
    "export default x;", "exports.decodeUplink = x;", "Buffer.from(x);",
    "return { data: { t: x }, warnings: x, errors: x, measurements: [{ quantity: 'temperature', value: x }] };",
]
# fmt: on


async def fuzzed(decoder: Decoder, payload: bytes) -> None:
    found = await decoder.decode("test/script", payload, 5, {}, 0)
    orjson.dumps(found.data)
    assert all(type(warning) is str for warning in found.warnings)
    assert (await decoder.decode("test/good", payload, 5, {}, 0)).data == {"n": len(payload)}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(PIECES), max_size=8), st.lists(st.sampled_from(PIECES), max_size=2), st.binary(max_size=8)
)
def test_whatever_a_script_is_made_of_the_next_is_decoded(codecs, inside, outside, payload):
    async def run() -> None:
        source = "\n".join(["var x = {};", *outside, "function decodeUplink(input) {", *inside, "}"])
        catalogue = codecs({"script": source, "good": GOOD}, "", ".js")
        async with Decoder(catalogue, replace(LIMITS, cpu_s=0.02)) as decoder:
            await fuzzed(decoder, payload)

    asyncio.run(run())


FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "0"))


@pytest.mark.skipif(not FUZZ_S, reason="takes as long as it is told: make fuzz-codecs FUZZ_SECONDS=3600")
async def test_fuzzing_leaves_no_process_behind_and_takes_no_more_memory(codecs, caplog):
    caplog.set_level(logging.CRITICAL, "gateway")  # pytest would keep every line of it
    chance = random.Random(time.time_ns())
    began = time.monotonic()
    rounds, at_first = 0, 0
    while time.monotonic() - began < FUZZ_S:
        sources = {"good": GOOD}
        for number in range(20):
            inside, outside = (chance.choices(PIECES, k=chance.randint(0, most)) for most in (8, 2))
            body = ["var x = {};", *outside, "function decodeUplink(input) {", *inside, "}"]
            sources[f"script{number}"] = "\n".join(body)
        catalogue = codecs({**sources, "script": sources["script0"]}, "", ".js")
        async with Decoder(catalogue, replace(LIMITS, cpu_s=0.02)) as decoder:
            names = [f"test/{name}" for name in sources] * 3
            payloads = [chance.randbytes(chance.randint(0, 242)) for _ in names]
            answers = await asyncio.gather(
                *map(lambda name, load: decoder.decode(name, load, 5, {}, 0), names, payloads)
            )
            for name, payload, answer in zip(names, payloads, answers, strict=True):
                if name == "test/good":
                    assert answer.data == {"n": len(payload)}
        rounds += 1
        assert not children()
        if rounds == 20:
            at_first = resident_kib()
    assert rounds > 0
    if at_first:
        assert resident_kib() < at_first * 1.1
    print(f"{rounds} rounds, {rounds * 60} payloads, {at_first} KiB to {resident_kib()} KiB")  # noqa: T201


def resident_kib() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0])
