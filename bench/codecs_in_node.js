// What a decode costs in Node.js itself: a call of a script that stays loaded, and one in a fresh context for each message.
"use strict";

const fs = require("node:fs");
const vm = require("node:vm");

const [path, hex] = process.argv.slice(2);
const source = fs.readFileSync(path, "utf8");
const script = new vm.Script(source);
const text = JSON.stringify({ bytes: [...Buffer.from(hex, "hex")], fPort: 85, variables: {} });
const CALL = "(function (parse, stringify) { return (text) => stringify(decodeUplink(parse(text))); })(JSON.parse, JSON.stringify)";
const call = new vm.Script(CALL);

function fresh() {
  const context = vm.createContext({});
  script.runInContext(context);
  return call.runInContext(context);
}

function each_us(run, times) {
  let best = Infinity;
  for (let round = 0; round < 3; round += 1) {
    const began = process.hrtime.bigint();
    for (let time = 0; time < times; time += 1) run();
    best = Math.min(best, Number(process.hrtime.bigint() - began) / 1000 / times);
  }
  return best;
}

const loaded = fresh();
console.log(JSON.stringify({ call_us: each_us(() => loaded(text), 5000), fresh_us: each_us(() => fresh()(text), 100) }));
