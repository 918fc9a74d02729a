// What stands around a codec: run in a fresh context before the codec's own text, and called once with a request.
//
// Takes JSON text and gives JSON text. The input is built in here, because an array made elsewhere does not see what a
// codec adds to the prototypes; what is needed later is taken now, because a codec may replace it. Functions that can
// stand in a stack trace are named $host…, so that the first other name is the codec's.
(function $host() {
  "use strict";
  const { parse, stringify } = JSON;
  const DateOf = Date;
  const PromiseOf = Promise;
  const InternalErrorOf = InternalError;
  const { isArray, from } = Array;
  const isView = ArrayBuffer.isView;
  const text = String;
  const MOST_LINES = 50;
  const MOST_CHARACTERS = 1000;

  // --- the global scope: console, and no clock or thread but Date ---------------------------------------------------

  const said = [];
  function $host_line(...values) {
    if (said.length < MOST_LINES) {
      let line = "";
      for (let at = 0; at < values.length; at += 1) {
        const value = values[at];
        line += (at ? " " : "") + (typeof value === "object" ? stringify(value) : text(value));
      }
      said[said.length] = line.length > MOST_CHARACTERS ? `${line.slice(0, MOST_CHARACTERS)}…` : line;
    }
  }
  const hidden = { configurable: true, enumerable: false, writable: true };
  Object.defineProperty(globalThis, "console", {
    ...hidden,
    value: { log: $host_line, info: $host_line, warn: $host_line, error: $host_line, debug: $host_line },
  });
  delete globalThis.performance;
  delete globalThis.Atomics;
  delete globalThis.SharedArrayBuffer;
  delete globalThis.queueMicrotask;

  // --- the codec's functions, wherever it put them ------------------------------------------------------------------

  const GLOBAL = {
    decodeUplink: () => (typeof decodeUplink === "function" ? decodeUplink : undefined),
    Decoder: () => (typeof Decoder === "function" ? Decoder : undefined),
    Decode: () => (typeof Decode === "function" ? Decode : undefined),
    normalizeUplink: () => (typeof normalizeUplink === "function" ? normalizeUplink : undefined),
    encodeDownlink: () => (typeof encodeDownlink === "function" ? encodeDownlink : undefined),
    Encoder: () => (typeof Encoder === "function" ? Encoder : undefined),
    Encode: () => (typeof Encode === "function" ? Encode : undefined),
    decodeDownlink: () => (typeof decodeDownlink === "function" ? decodeDownlink : undefined),
  };
  const NAMES = Object.keys(GLOBAL);

  function $host_find(name) {
    const found = GLOBAL[name]();
    if (found === undefined && typeof module === "object" && module !== null && module.exports) {
      const exported = module.exports[name];
      return typeof exported === "function" ? exported : undefined;
    }
    return found;
  }

  // --- requests -----------------------------------------------------------------------------------------------------

  function $host_functions() {
    return NAMES.filter((name) => $host_find(name) !== undefined);
  }

  function $host_decode(input) {
    let decode;
    if ((decode = $host_find("decodeUplink"))) {
      const decoded = $host_own(decode(input), "decodeUplink");
      const normalized = $host_normalized(decoded);
      return $host_told(decoded) + normalized;
    }
    if ((decode = $host_find("Decoder"))) {
      return $host_told({ data: decode(input.bytes, input.fPort) });
    }
    if ((decode = $host_find("Decode"))) {
      return $host_told({ data: decode(input.fPort, input.bytes, input.variables) });
    }
    throw new $host_Refusal("it has no function decodeUplink(input), Decoder(bytes, port) or Decode(fPort, bytes)");
  }

  // As The Things Stack does it: in the same context, with the very data that was decoded, when there are no errors.
  function $host_normalized(decoded) {
    const normalize = $host_find("normalizeUplink");
    const { data, errors } = decoded;
    if (normalize === undefined || !data || (errors && errors.length)) {
      return "";
    }
    try {
      return `,"normalized":{${$host_told($host_own(normalize({ data }), "normalizeUplink"))}}`;
    } catch (thrown) {
      return `,"normalized":{"errors":[${stringify(`normalizeUplink failed: ${$host_described(thrown)}`)}]}`;
    }
  }

  function $host_decode_downlink(input) {
    const decode = $host_find("decodeDownlink");
    if (decode === undefined) {
      throw new $host_Refusal("it has no function decodeDownlink(input)");
    }
    return $host_told($host_own(decode(input), "decodeDownlink"));
  }

  function $host_encode(input) {
    let encode;
    if ((encode = $host_find("encodeDownlink"))) {
      return $host_bytes($host_own(encode(input), "encodeDownlink"));
    }
    if ((encode = $host_find("Encoder"))) {
      return $host_bytes({ bytes: encode(input.data, input.fPort) });
    }
    if ((encode = $host_find("Encode"))) {
      return $host_bytes({ bytes: encode(input.fPort, input.data, input.variables) });
    }
    throw new $host_Refusal("it has no function encodeDownlink(input): it cannot make downlinks");
  }

  // --- results ------------------------------------------------------------------------------------------------------

  function $host_own(result, name) {
    if (result instanceof PromiseOf) {
      throw new $host_Refusal(`${name} is asynchronous: it returned a promise, and nobody waits for it`);
    }
    if (result === undefined || result === null) {
      throw new $host_Refusal(`${name} returned nothing`);
    }
    if (typeof result !== "object" || isArray(result)) {
      throw new $host_Refusal(`${name} returned ${isArray(result) ? "an array" : `a ${typeof result}`}, not an object`);
    }
    return result;
  }

  function $host_told(result) {
    return `"data":${$host_json(result.data)}${$host_remarks(result)}`;
  }

  function $host_remarks(result) {
    let told = "";
    if (result.warnings) {
      told += `,"warnings":${$host_json(result.warnings)}`;
    }
    if (result.errors) {
      told += `,"errors":${$host_json(result.errors)}`;
    }
    if (result.measurements) {
      told += `,"measurements":${$host_json(result.measurements)}`;
    }
    return told;
  }

  // Bytes are cut to eight bits as ChirpStack and The Things Stack do it, but not silently.
  function $host_bytes(result) {
    const given = result.bytes;
    if (result.errors && result.errors.length) {
      return `"bytes":null${$host_remarks(result)}`;
    }
    if (!isArray(given) && !isView(given)) {
      throw new $host_Refusal("the encoder returned no list of bytes");
    }
    const bytes = [];
    const cut = [];
    for (let at = 0; at < given.length; at += 1) {
      const byte = given[at];
      if (typeof byte !== "number" || byte !== byte) {
        throw new $host_Refusal(`byte ${at} of the encoder is no number but ${text($host_json(byte)).slice(0, 40)}`);
      }
      bytes[at] = byte & 255;
      if (bytes[at] !== byte) {
        cut[cut.length] = `byte ${at} of the encoder is ${byte}, sent as ${bytes[at]}`;
      }
    }
    const port = result.fPort === undefined || result.fPort === null ? "" : `,"fPort":${$host_json(result.fPort)}`;
    return `"bytes":${stringify(bytes)}${port}${$host_remarks(result)},"cut":${stringify(cut)}`;
  }

  // JSON as JavaScript writes it: undefined disappears, NaN and infinities are null, dates are ISO 8601. Only typed
  // arrays are lists, as The Things Stack shows them, and not objects with numbers for names.
  function $host_json(value) {
    const told = stringify(value, typed ? $host_listed : undefined);
    return told === undefined ? "null" : told;
  }

  let typed = false;
  function $host_listed(key, value) {
    const own = this[key];
    return isView(own) && own.length !== undefined ? from(own) : value;
  }

  // --- what goes wrong ----------------------------------------------------------------------------------------------

  function $host_Refusal(message) {
    this.message = message;
  }

  function $host_described(thrown) {
    try {
      if (thrown instanceof $host_Refusal) {
        return thrown.message;
      }
      if (thrown === null || typeof thrown !== "object") {
        return `it threw ${stringify(text(thrown).slice(0, MOST_CHARACTERS))}`;
      }
      const told = thrown.name === undefined ? $host_json(thrown) : `${thrown.name}: ${thrown.message}`;
      return told.slice(0, MOST_CHARACTERS) + $host_line_of(thrown.stack);
    } catch {
      return "it threw something that cannot be shown";
    }
  }

  function $host_line_of(stack) {
    for (const frame of text(stack).split("\n")) {
      const place = /<input>:(\d+)/.exec(frame);
      if (place && !frame.includes("$host")) {
        return ` (line ${place[1]})`;
      }
    }
    return "";
  }

  const VERBS = { decode: $host_decode, decode_downlink: $host_decode_downlink, encode: $host_encode };

  return function $host_answer(verb, given, received_ms, listed) {
    if (verb === "functions") {
      return stringify($host_functions());
    }
    typed = listed;
    let told;
    try {
      const input = parse(given);
      if (received_ms !== null) {
        input.recvTime = new DateOf(received_ms);
      }
      told = VERBS[verb](input);
    } catch (thrown) {
      if (thrown instanceof InternalErrorOf && thrown.message === "out of memory") {
        throw "InternalError: out of memory"; // the worker's business; and not the codec's own object
      }
      told = `"errors":[${stringify(`the codec failed: ${$host_described(thrown)}`)}]`;
    }
    const log = said.length ? `,"console":${stringify(said)}` : "";
    return `{${told}${log}}`;
  };
})();
