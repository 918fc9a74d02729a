"""What Node.js makes of the same script: its Buffer against ours, and scripts in the ways that vendors write them."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
from foreign_catalogues import RESULTS, Node, given
from hypothesis import HealthCheck, settings
from hypothesis import given as supposing
from hypothesis import strategies as st

from gateway.decoding.examples import Example, difference
from gateway.decoding.sandbox import Decoder

TABLE = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_every_published_example_that_node_meets_is_met_here():
    """The table was made by `make foreign-codecs`; none of those scripts is in this repository."""
    tried = {name: row for name, row in TABLE["codecs"].items() if row["examples"]}
    assert len(tried) >= 150
    assert [name for name, row in tried.items() if "worse than Node.js" in row or "unlike Node.js" in row] == []
    assert sum(row["node"] for row in tried.values()) == TABLE["summary"]["examples met by Node.js"]


@pytest.fixture(scope="module")
def node():
    if shutil.which("node") is None:
        pytest.skip("install nodejs to compare with it")
    running = Node()
    yield running
    running.close()


@pytest.fixture
def both(codecs, node, tmp_path):
    """The answers of a script in both: the data, or None where it threw."""

    def run(source: str, *payloads: bytes) -> list[tuple[object, object]]:
        catalogue = codecs({"script": source}, "", ".js")
        path = catalogue.entries["test/script"].script.path

        async def ours() -> list[object]:
            async with Decoder(catalogue) as decoder:
                answers = [await decoder.answer("test/script", payload, 5, {}, None) for payload in payloads]
            return [answer.data for answer in answers]

        examples = [Example("", 5, payload, {}, "") for payload in payloads]
        theirs = [node.run(path, "decode", given(example), None).get("data") for example in examples]
        return list(zip(theirs, asyncio.run(ours()), strict=True))

    return run


def same(pairs: list[tuple[object, object]]) -> None:
    for theirs, ours in pairs:
        assert difference(theirs, ours) is None


BUFFER = """
function attempt(call) { try { return call(); } catch (e) { return "threw " + e.name; } }
function decodeUplink(input) {
  var b = Buffer.from(input.bytes), n = input.bytes.length, data = {}, at, kind;
  var kinds = ["Int8", "UInt8", "Int16LE", "UInt16BE", "UInt16LE", "Int16BE", "Int32LE", "UInt32BE", "UInt32LE",
    "Int32BE", "FloatLE", "FloatBE", "DoubleLE", "DoubleBE"];
  kinds.forEach(function (kind) {
    for (at = -1; at < n + 1; at++) {
      data[kind + at] = attempt(function () { return b["read" + kind](at); });
    }
  });
  for (at = 1; at <= 6; at++) {
    data["le" + at] = attempt(function () { return [b.readIntLE(0, at), b.readUIntLE(1, at)]; });
    data["be" + at] = attempt(function () { return [b.readIntBE(0, at), b.readUIntBE(1, at)]; });
  }
  data.big = attempt(function () { return String(b.readBigInt64LE(0)) + b.readBigUInt64BE(0); });
  ["hex", "utf8", "ascii", "latin1", "base64", "base64url", "utf16le"].forEach(function (encoding) {
    data[encoding] = escape(b.toString(encoding)); // halves of a pair do not leave the host
    data["back " + encoding] = [...Buffer.from(b.toString(encoding), encoding)];
  });
  data.part = b.slice(1, 3).toString("hex") + b.subarray(-2).toString("hex") + b.toString("hex", 1, 2);
  data.more = Buffer.concat([b, Buffer.alloc(2, 7), Buffer.from([256, -1])]).toString("hex");
  data.facts = [b.equals(Buffer.from(b)), Buffer.isBuffer(b), b.indexOf(0), b.includes(255)];
  data.order = Buffer.compare(b, b.slice(1));
  data.old = new Buffer(input.bytes).length + new Buffer("ab").length;
  data.filled = Buffer.alloc(5).fill("ab").toString() + Buffer.from("é€🌡", "utf8").toString("hex");
  var w = Buffer.alloc(12);
  w.writeInt16BE(-2, 0); w.writeUInt32LE(4000000000, 2); w.writeFloatBE(1.5, 6); w.writeUIntBE(513, 10, 2);
  data.written = w.toString("hex") + w.write("hi", 1) + w.swap16().toString("hex");
  data.copied = attempt(function () { return b.copy(w, 3, 1); }) + w.toString("hex");
  data.list = [...b.map(function (x) { return x ^ 255; }).filter(function (x) { return x; })];
  return { data: data };
}
"""


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@supposing(st.lists(st.binary(max_size=20), min_size=1, max_size=10))
def test_our_buffer_does_what_node_s_does(both, payloads):
    same(both(BUFFER, *payloads))


LANGUAGE = """
function decodeUplink(input) {
  var b = input.bytes, text = String.fromCharCode.apply(null, b), n = 0;
  for (i = 0; i < b.length; i++) { n = (n << 8) | b[i]; }
  return { data: {
    numbers: [n, n >>> 0, n / 7, Math.pow(b[0] || 1, 1.5), Math.round(n / 3), (n / 9).toFixed(3), n.toString(16), ~n,
      parseInt(text, 16), parseFloat(text), Number(text), +(n / 1000).toPrecision(4), Math.sqrt(n), n % -7],
    texts: [text, escape(text), encodeURIComponent(text.replace(/[\\ud800-\\udfff]/g, "")), text.toUpperCase(),
      JSON.stringify(text), text.split("").reverse().join(""), text.padStart(9, "0"), text.trim(), text.normalize()],
    dates: [new Date(n * 1000).toISOString(), String(new Date(n)).slice(0, 33), new Date(n).getDay(),
      new Date(n).toUTCString(), new Date(2024, 0, b[0] || 0).toJSON(), Date.parse("2024-02-30T00:00:00Z")],
    lists: [b.slice().sort(), b.slice().sort(function (x, y) { return y - x; }), b.concat([n]), b.lastIndexOf(0),
      b.reduce(function (sum, x) { return sum + x; }, 0), Object.keys(b), new Float32Array([n / 3])[0]],
    odd: [typeof b, b + "", [] + {}, null + 1, "5" * "2", 0.1 + 0.2, 1e21 + "", -0, [undefined], NaN, void 0],
    matches: [text.match(/(\\d+)/), text.replace(/(.)(.)/g, "$2$1"), /^\\w+$/.test(text), text.search(/[a-z]/i)],
  } };
}
"""


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@supposing(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=10))
def test_the_language_is_that_of_node(both, payloads):
    same(both(LANGUAGE, *payloads))
