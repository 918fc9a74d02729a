// Runs codecs in Node.js, to compare with: reads a request a line, answers a line. Each runs in a context of its own.
//
// {"scripts": ["path"], "verb": "decode" | "decode_downlink" | "encode", "input": {…}, "received_ms": null}
// -> {"result": {…}} or {"threw": "…"}
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const vm = require("node:vm");

const CALLS = {
  decode: `
    typeof decodeUplink === "function" ? decodeUplink(input)
    : typeof Decoder === "function" ? { data: Decoder(input.bytes, input.fPort) }
    : { data: Decode(input.fPort, input.bytes, input.variables) }`,
  decode_downlink: "decodeDownlink(input)",
  encode: `
    typeof encodeDownlink === "function" ? encodeDownlink(input)
    : typeof Encoder === "function" ? { bytes: Encoder(input.data, input.fPort) }
    : { bytes: Encode(input.fPort, input.data, input.variables) }`,
};

const compiled = new Map();
function scriptAt(path) {
  if (!compiled.has(path)) {
    compiled.set(path, new vm.Script(fs.readFileSync(path, "utf8").replace(/^\ufeff/, ""), { filename: path }));
  }
  return compiled.get(path);
}

function answer(request) {
  const context = vm.createContext({ console: { log() {}, info() {}, warn() {}, error() {}, debug() {} } });
  if (/\bBuffer\b/.test(fs.readFileSync(request.scripts[0], "utf8"))) {
    context.Buffer = Buffer;
  }
  const call = vm.runInContext(
    `(function (parse, stringify, DateOf) {
       return function (text, received_ms) {
         const input = parse(text);
         if (received_ms !== null) input.recvTime = new DateOf(received_ms);
         return stringify(${CALLS[request.verb]});
       };
     })(JSON.parse, JSON.stringify, Date)`,
    context,
  );
  const limit = { timeout: 2000 };
  for (const path of request.scripts) {
    scriptAt(path).runInContext(context, limit);
  }
  context.$run = () => call(JSON.stringify(request.input), request.received_ms);
  return vm.runInContext("$run()", context, limit);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  let told;
  try {
    told = `{"result":${answer(JSON.parse(line)) ?? null}}`;
  } catch (thrown) {
    told = JSON.stringify({ threw: String(thrown) });
  }
  process.stdout.write(`${told}\n`);
});
