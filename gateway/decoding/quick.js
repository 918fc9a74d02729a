// The short way for what nearly every payload is: decodeUplink answers with data, or with errors in words. Compiled anew
// for each message, and so kept small. For anything else it answers "", and host.js does it all again in a fresh
// context. Why things are done as they are is said there.
(function () {
  "use strict";
  const { parse, stringify } = JSON;
  const DateOf = Date;
  const isView = ArrayBuffer.isView;
  const from = Array.from;
  delete globalThis.performance;
  delete globalThis.Atomics;
  delete globalThis.SharedArrayBuffer;
  delete globalThis.queueMicrotask;
  return function (given, received_ms, listed) {
    try {
      const input = parse(given);
      if (received_ms !== null) {
        input.recvTime = new DateOf(received_ms);
      }
      const { data, warnings, errors, measurements } = decodeUplink(input);
      const failed = errors && errors.length;
      if (!failed && (typeof data !== "object" || data === null)) {
        return "";
      }
      const normalized =
        !failed && typeof normalizeUplink === "function" ? normalizeUplink({ data }) : undefined;
      return stringify(
        { data, warnings, errors, measurements, normalized },
        listed
          ? function (key, value) {
              const own = this[key];
              return isView(own) && own.length !== undefined ? from(own) : value;
            }
          : undefined,
      );
    } catch {
      return "";
    }
  };
})();
