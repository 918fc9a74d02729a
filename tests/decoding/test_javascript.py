"""What an unmodified JavaScript codec may expect: TS013 as The Things Stack and ChirpStack run it, and the older forms.

How those two behave was read in their sources: `pkg/messageprocessors/javascript` of TheThingsNetwork/lorawan-stack and
`chirpstack/src/codec` of chirpstack/chirpstack.
"""

from __future__ import annotations

import asyncio

import pytest
from decoding_samples import GOOD

from gateway.decoding.sandbox import Decoder
from gateway.model import Decoded, DevEui

HEARD_US = 1_773_468_000_123_000


@pytest.fixture
def ask(codecs):
    """Decodes with a script: the Decoded, each time by a decoder of its own."""

    def run(source: str, payload: bytes = b"\x01\x02", toml: str = "", **variables: str) -> Decoded:
        async def once() -> Decoded:
            async with Decoder(codecs({"script": source}, toml, ".js")) as decoder:
                return await decoder.decode("test/script", payload, 5, variables, HEARD_US, DevEui.parse("00" * 8))

        return asyncio.run(once())

    return run


@pytest.fixture
def encode(codecs):
    def run(source: str, data: dict, f_port: int | None = None, toml: str = ""):
        async def once():
            async with Decoder(codecs({"script": source}, toml, ".js")) as decoder:
                return await decoder.encode("test/script", data, f_port, {})

        return asyncio.run(once())

    return run


def test_a_script_gets_bytes_port_time_and_variables(ask):
    source = """
        function decodeUplink(input) {
          return { data: {
            plain: Array.isArray(input.bytes) && input.bytes.constructor === Array,
            bytes: input.bytes.reverse(), port: input.fPort,
            time: input.recvTime instanceof Date && input.recvTime.getTime(),
            variables: input.variables, keys: Object.keys(input).sort().join(),
          } };
        }
    """
    toml = '[variables.depth]\ndefault = "3000"\n[variables.weight]\ndefault = "10"\n'
    found = ask(source, b"\x00\xff", toml, depth="1200")
    assert found.problem is None
    assert found.data == {
        "plain": True,
        "bytes": [255, 0],
        "port": 5,
        "time": HEARD_US // 1000,
        "variables": {"depth": "1200", "weight": "10"},
        "keys": "bytes,fPort,recvTime,variables",
    }
    assert found.codec == "test/script@1"


FORMS = {
    "a declaration": "function decodeUplink(input) { return { data: { n: input.bytes[1] } }; }",
    "a constant": "const decodeUplink = (input) => ({ data: { n: input.bytes[1] } });",
    "an assignment": "globalThis.decodeUplink = function (input) { return { data: { n: input.bytes[1] } }; };",
    "an undeclared variable": "decodeUplink = function (input) { return { data: { n: input.bytes[1] } }; };",
    "strict mode": "'use strict';\nfunction decodeUplink(input) { return { data: { n: input.bytes[1] } }; }",
    "a bundle": "(function (r) { r.decodeUplink = function (i) { return { data: { n: i.bytes[1] } }; }; })(this);",
    "The Things Network v2": "function Decoder(bytes, port) { return { n: port === 5 && bytes[1] }; }",
    "ChirpStack v3": "function Decode(fPort, bytes, variables) { return { n: fPort === 5 && variables && bytes[1] }; }",
    "TS013 before the older forms": """
        function Decoder() { return { n: "old" }; }
        function Decode() { return { n: "old" }; }
        function decodeUplink(input) { return { data: { n: input.bytes[1] } }; }
    """,
    "the older form called by the newer": """
        function Decoder(bytes, port) { return { n: bytes[1] }; }
        function decodeUplink(input) { return { data: Decoder(input.bytes, input.fPort) }; }
    """,
    "a guarded export": """
        function decodeUplink(input) { return { data: { n: input.bytes[1] } }; }
        if (typeof module !== "undefined" && module.exports) { module.exports = { decodeUplink: 5 }; }
        try { exports.decodeUplink = decodeUplink; } catch (e) { /* not there */ }
    """,
    "CommonJS with exports": "exports.decodeUplink = function (input) { return { data: { n: input.bytes[1] } }; };",
    "CommonJS with module.exports": """
        function decodeUplink(input) { return { data: { n: input.bytes[1] } }; }
        module.exports = { decodeUplink: decodeUplink };
    """,
    "CommonJS with an older form": "module.exports.Decoder = function (bytes, port) { return { n: bytes[1] }; };",
    "an ES module": "export function decodeUplink(input) {\n  return { data: { n: input.bytes[1] } };\n}\n",
    "an ES module with a list": """
        const decodeUplink = (input) => ({ data: { n: input.bytes[1] } });
        export { decodeUplink };
    """,
    "an ES module with a default": "export default { decodeUplink(i) { return { data: { n: i.bytes[1] } }; } };",
    "an import of Buffer": """
        import { Buffer } from "buffer";
        export function decodeUplink(input) { return { data: { n: Buffer.from(input.bytes).readUInt8(1) } }; }
    """,
    "a byte order mark": "\ufefffunction decodeUplink(input) { return { data: { n: input.bytes[1] } }; }",
    "a comment at the end": "function decodeUplink(input) { return { data: { n: input.bytes[1] } }; } // end",
    "sloppy mode": """
        function decodeUplink(input) {
          bytes = input.bytes; total = 0; n = 02;
          for (i = 0; i < 2; i++) { total += bytes[i]; }
          with ({ n: total - 1 }) { return { data: { n: n } }; }
        }
    """,
    "a class": """
        class Codec { decode(bytes) { return bytes[1]; } }
        let decodeUplink = (input) => ({ data: { n: new Codec().decode(input.bytes) } });
    """,
    "ECMAScript of 2020": "const decodeUplink = ({ bytes }) => ({ data: { n: Number(BigInt(bytes?.[1] ?? 9)) } });",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_which_vendors_publish_is_understood(ask, form):
    found = ask(FORMS[form])
    assert (found.problem, found.data) == (None, {"n": 2})


VALUES = {
    "1 / 3": 1 / 3,
    "-0": 0,
    "9007199254740993": 9007199254740992,
    "1e21": 1e21,
    "12345678901234567890": 12345678901234567000,
    "NaN": None,
    "-Infinity": None,
    "null": None,
    "new Date(1773468000123)": "2026-03-14T06:00:00.123Z",
    "new Date(NaN)": None,
    "[1, undefined, function () {}]": [1, None, None],
    "({ a: undefined, b: function () {}, c: Symbol('c'), d: 1 })": {"d": 1},
    "({ a: { b: [{ c: 'é\\u2028\\n\"' }] } })": {"a": {"b": [{"c": 'é\u2028\n"'}]}},
    "'\\u{1f321}'": "🌡",
    "'\\ud83c'": "\ufffd",
    "new Uint8Array([1, 255])": [1, 255],
    "({ deep: [new Float32Array([0.5])] })": {"deep": [[0.5]]},
    "new Number(5)": 5,
    "new String('x')": "x",
    "new Map([[1, 2]])": {},
    "/x/": {},
    "({ toJSON: function () { return 7; } })": 7,
    "new Array(2)": [None, None],
    "'2026-01-01 10:00:00'.replace(' ', 'T')": "2026-01-01T10:00:00",
    "new Date('2026-01-01 10:00:00').getTime()": 1767261600000,
    "new Date(0).getHours() + new Date(0).getTimezoneOffset()": 0,
    "(21.456).toFixed(1) + (5).toString(16).padStart(4, '0').toUpperCase()": "21.50005",
    "atob(btoa('x'))": "x",
}


@pytest.mark.parametrize("expression", VALUES)
def test_values_come_back_as_json_has_them(ask, expression):
    found = ask(f"function decodeUplink(input) {{ return {{ data: {{ value: {expression} }} }}; }}")
    assert found.problem is None
    assert found.data == {"value": VALUES[expression]}


def test_what_is_undefined_is_left_out(ask):
    found = ask(
        "function decodeUplink() { return { data: { a: undefined, b: 1 }, warnings: undefined, errors: null }; }"
    )
    assert found == Decoded("test/script@1", {"b": 1})


def test_warnings_stay_and_errors_are_the_problem_word_for_word(ask):
    found = ask('function decodeUplink() { return { data: { a: 1 }, warnings: ["w", 5], errors: ["one", "two"] }; }')
    assert found == Decoded("test/script@1", {"a": 1}, (), ("w", "5"), "one; two")
    alone = ask("function decodeUplink() { return { errors: ['unknown port'] }; }")
    assert alone == Decoded("test/script@1", None, (), (), "unknown port")


def test_a_message_of_a_key_that_nobody_reads_is_passed_over(ask):
    assert ask("function decodeUplink() { return { data: {}, result: 1 }; }") == Decoded("test/script@1", {})


FAILURES = {
    "function decodeUplink() {}": "decodeUplink returned nothing",
    "function decodeUplink() { return null; }": "decodeUplink returned nothing",
    "function decodeUplink() { return 5; }": "decodeUplink returned a number, not an object",
    "function decodeUplink() { return [1]; }": "decodeUplink returned an array, not an object",
    "function decodeUplink() { return {}; }": "the codec returned neither data nor an error",
    "function decodeUplink() { return { data: [1] }; }": "the codec's data is no object",
    "function decodeUplink() { return { data: 'x' }; }": "the codec's data is no object",
    "function Decoder() { return undefined; }": "the codec returned neither data nor an error",
    "async function decodeUplink() { return { data: {} }; }": "decodeUplink is asynchronous",
    "function decodeUplink() { throw 'boom'; }": 'it threw "boom"',
    "function decodeUplink() { throw undefined; }": 'it threw "undefined"',
    "function decodeUplink() { throw { code: 7 }; }": '{"code":7}',
    "\n\nfunction decodeUplink() {\n  return nothing.there;\n}": "nothing is not defined (line 4)",
    "function f() {\n  throw new RangeError('far');\n}\nfunction decodeUplink() { f(); }": "RangeError: far (line 2)",
    "function decodeUplink() { var d = {}; d.d = d; return { data: d }; }": "circular",
    "function decodeUplink() { return { data: { n: 5n } }; }": "BigInt",
    "function decodeUplink() { require('fs'); }": "require is not defined",
    "function decodeUplink() { fetch('http://localhost'); }": "fetch is not defined",
    "function decodeUplink() { setTimeout(function () {}, 1); }": "setTimeout is not defined",
    "function encodeDownlink() { return { bytes: [] }; }": "it has no function decodeUplink(input)",
}


@pytest.mark.parametrize("source", FAILURES)
def test_what_a_script_does_wrong_is_said_in_words(ask, source):
    found = ask(source)
    assert FAILURES[source] in found.problem
    assert found.data is None or not isinstance(found.data, dict)


CANNOT_LOAD = {
    "function decodeUplink( {": "SyntaxError: ",
    "var a = 1;\n\nvar b = ;\n": "(line 3)",
    "\nundefinedThing.x = 1;\nfunction decodeUplink() {}": "ReferenceError: undefinedThing is not defined (line 2)",
    "throw 'at once';": 'it threw "at once"',
    "throw new Error('at once');": "Error: at once (line 1)",
    "var x = 1;": "it defines none of decodeUplink",
    "": "it defines none of decodeUplink",
    "const fs = require('fs');": "require is not defined (line 1)",
    "import fs from 'fs';\nexport function decodeUplink() {}": "SyntaxError",
    "var decodeUplink = 5;": "it defines none of decodeUplink",
    "while (true) {}": "loading it: it took more than 100 ms of processor time",
    "var a = []; while (true) { a.push(new Array(1000).fill(0)); }": "loading it: it took more memory than a codec may",
    "\0": "",
}


@pytest.mark.parametrize("source", CANNOT_LOAD, ids=range(len(CANNOT_LOAD)))
def test_a_script_that_cannot_be_loaded_says_why_with_its_line(ask, source):
    problem = ask(source).problem
    assert problem.startswith("the codec test/script@1 cannot be loaded: ")
    assert CANNOT_LOAD[source] in problem


def test_nothing_is_in_reach_but_the_language(ask):
    found = ask("""
        function decodeUplink() {
          const names = ["require", "process", "module", "exports", "setTimeout", "fetch", "performance", "Atomics",
            "SharedArrayBuffer", "WebAssembly", "Buffer".slice(0, 9) + "s", "std", "os", "navigator", "queueMicrotask"];
          return { data: { there: names.filter((name) => name in globalThis) } };
        }
    """)
    assert found.data == {"there": []}


async def test_each_message_gets_a_context_of_its_own(codecs):
    """Vendors keep counters in globals and change prototypes; the next message must not see it."""
    source = """
        var calls = 0;
        Object.prototype.mine = 1;
        function decodeUplink(input) {
          calls += 1;
          const seen = { calls, inherited: typeof [].last, secret: globalThis.secret };
          Array.prototype.last = function () { return "tampered"; };
          JSON.stringify = () => "tampered";
          JSON.parse = () => "tampered";
          Date = function () { return "tampered"; };
          Object.prototype.toString = null;
          globalThis.secret = input.bytes[0];
          return { data: seen };
        }
    """
    catalogue = codecs({"one": source, "two": source}, "", ".js")
    async with Decoder(catalogue) as decoder:
        names = ("test/one", "test/two", "test/one", "test/two")
        answers = await asyncio.gather(*(decoder.decode(name, b"\x07", 5, {}, HEARD_US) for name in names))
    assert [answer.data for answer in answers] == [{"calls": 1, "inherited": "undefined"}] * 4


def test_a_prototype_that_a_script_extends_is_seen_by_its_input(ask):
    """As the codecs of Adeunis need it: an array made elsewhere would not have the method."""
    found = ask("""
        Array.prototype.readInt16BE = function () { return (this[0] << 8) | this[1]; };
        function decodeUplink(input) { return { data: { n: input.bytes.readInt16BE() } }; }
    """)
    assert found.data == {"n": 258}


async def test_what_a_script_says_on_the_console_is_kept_for_its_author(codecs):
    source = """
        function decodeUplink(input) {
          console.log("bytes", input.bytes, { a: 1 }, undefined);
          console.error("odd");
          if (input.bytes.length === 0) throw new Error("empty");
          return { data: {} };
        }
    """
    async with Decoder(codecs({"talks": source}, "", ".js")) as decoder:
        answer = await decoder.answer("test/talks", b"\x01", 5, {}, None)
        assert answer.console == ('bytes [1] {"a":1} undefined', "odd")
        failed = await decoder.answer("test/talks", b"", 5, {}, None)
        assert failed.errors == ("the codec failed: Error: empty (line 5)",)
        assert failed.console[-1] == "odd"


async def test_many_scripts_share_two_workers_and_python_codecs_have_their_own(codecs):
    codecs(
        {f"script{n}": f"function decodeUplink() {{ return {{ data: {{ n: {n} }} }}; }}" for n in range(20)}, "", ".js"
    )
    catalogue = codecs({"snake": GOOD})
    async with Decoder(catalogue) as decoder:
        names = [name for name in catalogue.entries if name != "test/snake"]
        answers = await asyncio.gather(*(decoder.decode(name, b"", 5, {}, HEARD_US) for name in names))
        assert {f"test/script{answer.data['n']}" for answer in answers} == set(names)
        await decoder.decode("test/snake", b"", 5, {}, HEARD_US)
        pids = {health.codec: health.pid for health in decoder.health()}
        assert len({pids[f"{name}@1"] for name in names}) == 2
        assert pids["test/snake@1"] not in {pids[f"{name}@1"] for name in names}


# --- downlinks ------------------------------------------------------------------------------------------------------


def test_an_encoder_makes_bytes_of_data(encode):
    source = """
        function encodeDownlink(input) {
          return { bytes: [input.data.interval, Number(input.variables.offset)], fPort: 85, warnings: ["slow"] };
        }
    """
    made = encode(source, {"interval": 60}, None, '[variables.offset]\ndefault = "7"\n')
    assert (made.payload, made.f_port, made.warnings, made.errors) == (b"\x3c\x07", 85, ("slow",), ())


ENCODERS = {
    "function encodeDownlink(i) { return { bytes: [i.data.n, i.fPort] }; }": b"\x09\x0c",
    "function Encoder(object, port) { return [object.n, port]; }": b"\x09\x0c",
    "function Encode(fPort, object, variables) { return [object.n, fPort]; }": b"\x09\x0c",
    "function encodeDownlink(i) { return { bytes: new Uint8Array([9, 12]) }; }": b"\x09\x0c",
    "function encodeDownlink(i) { return { bytes: Buffer.from('090c', 'hex') }; }": b"\x09\x0c",
    "function encodeDownlink(i) { return { bytes: [] }; }": b"",
}


@pytest.mark.parametrize("source", ENCODERS)
def test_every_form_of_an_encoder_keeps_the_asker_s_port(encode, source):
    made = encode(source, {"n": 9}, 12)
    assert (made.payload, made.f_port, made.errors) == (ENCODERS[source], 12, ())


def test_bytes_are_cut_as_network_servers_cut_them_but_not_silently(encode):
    made = encode("function encodeDownlink() { return { bytes: [257, -1, 3.9] }; }", {}, 1)
    assert made.payload == b"\x01\xff\x03"
    assert made.warnings == (
        "byte 0 of the encoder is 257, sent as 1",
        "byte 1 of the encoder is -1, sent as 255",
        "byte 2 of the encoder is 3.9, sent as 3",
    )


BAD_ENCODERS = {
    "function encodeDownlink() { return { bytes: ['1'] }; }": 'byte 0 of the encoder is no number but "1"',
    "function encodeDownlink() { return { bytes: [NaN] }; }": "byte 0 of the encoder is no number but null",
    "function encodeDownlink() { return { bytes: 'ff' }; }": "the encoder returned no list of bytes",
    "function encodeDownlink() { return {}; }": "the encoder returned no list of bytes",
    "function encodeDownlink() { return { errors: ['no'], bytes: [1] }; }": "no",
    "function encodeDownlink() { return { bytes: new Array(300).fill(0) }; }": "300 bytes, LoRaWAN carries at most 242",
    "function encodeDownlink() { return { bytes: [1], fPort: 0 }; }": "the encoder's port is 0, ports are 1 to 223",
    "function decodeUplink() {}": "it has no function encodeDownlink(input): it cannot make downlinks",
    "function encodeDownlink(i) { throw new TypeError('bad ' + i.data.n); }": "TypeError: bad 9 (line 1)",
}


@pytest.mark.parametrize("source", BAD_ENCODERS)
def test_what_an_encoder_does_wrong_is_said_in_words(encode, source):
    made = encode(source, {"n": 9})
    assert made.payload is None
    assert any(BAD_ENCODERS[source] in error for error in made.errors)


async def test_a_downlink_can_be_read_back(codecs):
    javascript = "function decodeDownlink(input) { return { data: { interval: input.bytes[0], port: input.fPort } }; }"
    python = (
        "def decode_downlink(payload, port, variables):\n    return {'data': {'interval': payload[0], 'port': port}}\n"
    )
    codecs({"script": javascript}, "", ".js")
    async with Decoder(codecs({"snake": python, "up": GOOD})) as decoder:
        for name in ("test/script", "test/snake"):
            answer = await decoder.decode_downlink(name, b"\x3c", 85, {})
            assert (answer.data, answer.errors) == ({"interval": 60, "port": 85}, ())
        (problem,) = (await decoder.decode_downlink("test/up", b"", 1, {})).errors
        assert problem == "the codec failed: it has no function decode_downlink(payload, port, variables)"
        (problem,) = (await decoder.answer("test/script", b"", 1, {}, None)).errors
        assert "it has no function decodeUplink(input)" in problem
