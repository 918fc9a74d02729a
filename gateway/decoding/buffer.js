// Buffer, for codecs that speak of it: the part of Node's that computes on bytes, as ChirpStack offers it to codecs.
(function () {
  "use strict";

  // `new Buffer(…)`, `Buffer(…)` and `Buffer.from(…)` are one; typed array methods make their results through it too.
  function Buffer(value, encodingOrOffset, length) {
    return typeof value === "number" ? Buffer.alloc(value) : Buffer.from(value, encodingOrOffset, length);
  }
  Object.setPrototypeOf(Buffer, Uint8Array);
  Buffer.prototype = Object.create(Uint8Array.prototype, {
    constructor: { value: Buffer, writable: true, configurable: true },
  });

  const asBuffer = (bytes) => Object.setPrototypeOf(bytes, Buffer.prototype);
  const viewOf = (buffer) => new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);

  // --- texts --------------------------------------------------------------------------------------------------------

  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

  function utf8Bytes(text) {
    const bytes = [];
    for (const character of text) {
      let point = character.codePointAt(0);
      if (point >= 0xd800 && point <= 0xdfff) {
        point = 0xfffd;
      }
      if (point < 0x80) {
        bytes.push(point);
      } else if (point < 0x800) {
        bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
      } else if (point < 0x10000) {
        bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
      } else {
        bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
      }
    }
    return bytes;
  }

  // Longest valid beginnings are replaced as one, as the Encoding Standard has it.
  function utf8Text(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; ) {
      const first = bytes[at];
      at += 1;
      if (first < 0x80) {
        text += String.fromCharCode(first);
        continue;
      }
      const more = first >= 0xc2 && first < 0xe0 ? 1 : (first & 0xf0) === 0xe0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
      let low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      let high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      let point = first & (0x3f >> more);
      let left = more;
      while (left > 0 && bytes[at] >= low && bytes[at] <= high) {
        point = (point << 6) | (bytes[at] & 63);
        at += 1;
        left -= 1;
        low = 0x80;
        high = 0xbf;
      }
      text += more > 0 && left === 0 ? String.fromCodePoint(point) : "\ufffd";
    }
    return text;
  }

  function hexBytes(text) {
    const bytes = [];
    for (let at = 0; at + 1 < text.length; at += 2) {
      const pair = text.slice(at, at + 2);
      if (!/^[0-9a-fA-F]{2}$/.test(pair)) {
        break;
      }
      bytes.push(parseInt(pair, 16));
    }
    return bytes;
  }

  function base64Bytes(text) {
    const bytes = [];
    let bits = 0;
    let held = 0;
    for (const character of text.replace(/-/g, "+").replace(/_/g, "/")) {
      if (character === "=") {
        break;
      }
      const value = ALPHABET.indexOf(character);
      if (value >= 0) {
        held = ((held << 6) | value) & 0xffff;
        bits += 6;
        if (bits >= 8) {
          bits -= 8;
          bytes.push((held >> bits) & 255);
        }
      }
    }
    return bytes;
  }

  function base64Text(bytes, url) {
    let text = "";
    for (let at = 0; at < bytes.length; at += 3) {
      const three = (bytes[at] << 16) | ((bytes[at + 1] || 0) << 8) | (bytes[at + 2] || 0);
      text += ALPHABET[three >> 18] + ALPHABET[(three >> 12) & 63];
      text += at + 1 < bytes.length ? ALPHABET[(three >> 6) & 63] : "=";
      text += at + 2 < bytes.length ? ALPHABET[three & 63] : "=";
    }
    return url ? text.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "") : text;
  }

  function utf16Bytes(text) {
    const bytes = [];
    for (let at = 0; at < text.length; at += 1) {
      bytes.push(text.charCodeAt(at) & 255, text.charCodeAt(at) >> 8);
    }
    return bytes;
  }

  function utf16Text(bytes) {
    let text = "";
    for (let at = 0; at + 1 < bytes.length; at += 2) {
      text += String.fromCharCode(bytes[at] | (bytes[at + 1] << 8));
    }
    return text;
  }

  const latinBytes = (text) => Array.from({ length: text.length }, (_, at) => text.charCodeAt(at) & 255);
  const latinText = (mask) => (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte & mask)).join("");
  const hexText = (bytes) => Array.from(bytes, (byte) => (byte < 16 ? "0" : "") + byte.toString(16)).join("");

  const UTF8 = [utf8Bytes, utf8Text];
  const UTF16 = [utf16Bytes, utf16Text];
  const LATIN1 = [latinBytes, latinText(255)];
  const CODES = {
    utf8: UTF8,
    "utf-8": UTF8,
    hex: [hexBytes, hexText],
    ascii: [latinBytes, latinText(127)],
    latin1: LATIN1,
    binary: LATIN1,
    base64: [base64Bytes, (bytes) => base64Text(bytes, false)],
    base64url: [base64Bytes, (bytes) => base64Text(bytes, true)],
    utf16le: UTF16,
    "utf-16le": UTF16,
    ucs2: UTF16,
    "ucs-2": UTF16,
  };

  function codeOf(encoding) {
    const name = encoding === undefined || encoding === null || encoding === "" ? "utf8" : String(encoding).toLowerCase();
    if (!Object.prototype.hasOwnProperty.call(CODES, name)) {
      throw new TypeError(`Unknown encoding: ${encoding}`);
    }
    return CODES[name];
  }

  // --- making -------------------------------------------------------------------------------------------------------

  const plain = { configurable: true, enumerable: false, writable: true };
  const put = (target, functions) => {
    for (const name of Object.keys(functions)) {
      Object.defineProperty(target, name, { ...plain, value: functions[name] });
    }
  };

  put(Buffer, {
    from(value, encodingOrOffset, length) {
      if (typeof value === "string") {
        return asBuffer(new Uint8Array(codeOf(encodingOrOffset)[0](value)));
      }
      if (value instanceof ArrayBuffer) {
        return asBuffer(new Uint8Array(value, encodingOrOffset, length));
      }
      if (value === null || typeof value !== "object") {
        throw new TypeError("The first argument must be of type string, Buffer, ArrayBuffer or Array");
      }
      return asBuffer(Uint8Array.from(value.type === "Buffer" && Array.isArray(value.data) ? value.data : value));
    },
    alloc(size, fill, encoding) {
      const made = asBuffer(new Uint8Array(size));
      return fill === undefined ? made : made.fill(fill, encoding);
    },
    allocUnsafe: (size) => asBuffer(new Uint8Array(size)),
    isBuffer: (value) => value instanceof Buffer,
    isEncoding: (name) => Object.prototype.hasOwnProperty.call(CODES, String(name).toLowerCase()),
    byteLength: (value, encoding) => (typeof value === "string" ? codeOf(encoding)[0](value).length : value.byteLength),
    concat(list, total) {
      const size = total === undefined ? list.reduce((sum, part) => sum + part.length, 0) : total;
      const made = Buffer.alloc(size);
      let at = 0;
      for (const part of list) {
        made.set(part.subarray(0, Math.max(0, size - at)), at);
        at = Math.min(size, at + part.length);
      }
      return made;
    },
    compare(one, other) {
      for (let at = 0; at < Math.min(one.length, other.length); at += 1) {
        if (one[at] !== other[at]) {
          return one[at] < other[at] ? -1 : 1;
        }
      }
      return Math.sign(one.length - other.length);
    },
  });

  // --- what a buffer does -------------------------------------------------------------------------------------------

  put(Buffer.prototype, {
    toString(encoding, start, end) {
      return codeOf(encoding)[1](Uint8Array.prototype.slice.call(this, start, end));
    },
    toJSON() {
      return { type: "Buffer", data: Array.from(this) };
    },
    slice(start, end) {
      return this.subarray(start, end);
    },
    equals(other) {
      return Buffer.compare(this, other) === 0;
    },
    compare(other) {
      return Buffer.compare(this, other);
    },
    copy(target, targetStart = 0, start = 0, end = this.length) {
      if (start < 0 || start > this.length) {
        throw new RangeError(`The value of "sourceStart" is out of range. Received ${start}`);
      }
      const part = this.subarray(start, Math.min(end, start + Math.max(0, target.length - targetStart)));
      target.set(part, targetStart);
      return part.length;
    },
    write(text, offset = 0, length = undefined, encoding = undefined) {
      const [at, most, code] =
        typeof offset === "string"
          ? [0, this.length, offset]
          : typeof length === "string"
            ? [offset, this.length - offset, length]
            : [offset, length === undefined ? this.length - offset : length, encoding];
      const bytes = codeOf(code)[0](text).slice(0, Math.min(most, this.length - at));
      this.set(bytes, at);
      return bytes.length;
    },
    fill(value, offset, end, encoding) {
      if (typeof value !== "string") {
        return Uint8Array.prototype.fill.call(this, value, offset, end);
      }
      const bytes = codeOf(typeof offset === "string" ? offset : encoding)[0](value);
      const first = typeof offset === "number" ? offset : 0;
      for (let at = first; at < (end === undefined ? this.length : end); at += 1) {
        this[at] = bytes.length ? bytes[(at - first) % bytes.length] : 0;
      }
      return this;
    },
    indexOf(value, from, encoding) {
      if (typeof value === "number") {
        return Uint8Array.prototype.indexOf.call(this, value & 255, from);
      }
      const wanted = typeof value === "string" ? codeOf(encoding)[0](value) : value;
      for (let at = from || 0; at + wanted.length <= this.length; at += 1) {
        if (Array.prototype.every.call(wanted, (byte, index) => this[at + index] === byte)) {
          return at;
        }
      }
      return -1;
    },
    includes(value, from, encoding) {
      return this.indexOf(value, from, encoding) !== -1;
    },
    swap16() {
      return swapped(this, 2);
    },
    swap32() {
      return swapped(this, 4);
    },
    swap64() {
      return swapped(this, 8);
    },
  });

  function swapped(buffer, size) {
    if (buffer.length % size) {
      throw new RangeError(`Buffer size must be a multiple of ${size * 8}-bits`);
    }
    for (let at = 0; at < buffer.length; at += size) {
      buffer.subarray(at, at + size).reverse();
    }
    return buffer;
  }

  // --- numbers ------------------------------------------------------------------------------------------------------

  function checked(buffer, offset, size) {
    if (typeof offset !== "number") {
      throw new TypeError(`The "offset" argument must be of type number. Received ${typeof offset}`);
    }
    if (!Number.isInteger(offset) || offset < 0 || offset + size > buffer.length) {
      throw new RangeError(
        `The value of "offset" is out of range. It must be >= 0 and <= ${buffer.length - size}. Received ${offset}`,
      );
    }
    return offset;
  }

  const KINDS = {
    Int8: ["getInt8", "setInt8", 1],
    UInt8: ["getUint8", "setUint8", 1],
    Int16: ["getInt16", "setInt16", 2],
    UInt16: ["getUint16", "setUint16", 2],
    Int32: ["getInt32", "setInt32", 4],
    UInt32: ["getUint32", "setUint32", 4],
    Float: ["getFloat32", "setFloat32", 4],
    Double: ["getFloat64", "setFloat64", 8],
    BigInt64: ["getBigInt64", "setBigInt64", 8],
    BigUInt64: ["getBigUint64", "setBigUint64", 8],
  };
  for (const kind of Object.keys(KINDS)) {
    const [get, set, size] = KINDS[kind];
    for (const [order, little] of size === 1 ? [["", true]] : [["LE", true], ["BE", false]]) {
      const functions = {
        [`read${kind}${order}`](offset = 0) {
          return viewOf(this)[get](checked(this, offset, size), little);
        },
        [`write${kind}${order}`](value, offset = 0) {
          viewOf(this)[set](checked(this, offset, size), value, little);
          return offset + size;
        },
      };
      put(Buffer.prototype, functions);
      if (kind.includes("UInt")) {
        for (const name of Object.keys(functions)) {
          put(Buffer.prototype, { [name.replace("UInt", "Uint")]: functions[name] });
        }
      }
    }
  }

  // Whole numbers of one to six bytes.
  for (const [order, little] of [["LE", true], ["BE", false]]) {
    const readUInt = function (offset, size) {
      checked(this, offset, size);
      let value = 0;
      for (let at = 0; at < size; at += 1) {
        value = value * 256 + this[little ? offset + size - 1 - at : offset + at];
      }
      return value;
    };
    const readInt = function (offset, size) {
      const value = readUInt.call(this, offset, size);
      return value >= 2 ** (8 * size - 1) ? value - 2 ** (8 * size) : value;
    };
    const write = function (value, offset, size) {
      checked(this, offset, size);
      let left = value < 0 ? value + 2 ** (8 * size) : value;
      for (let at = 0; at < size; at += 1) {
        this[little ? offset + at : offset + size - 1 - at] = left % 256;
        left = Math.floor(left / 256);
      }
      return offset + size;
    };
    put(Buffer.prototype, {
      [`readUInt${order}`]: readUInt,
      [`readUint${order}`]: readUInt,
      [`readInt${order}`]: readInt,
      [`writeUInt${order}`]: write,
      [`writeUint${order}`]: write,
      [`writeInt${order}`]: write,
    });
  }

  Object.defineProperty(globalThis, "Buffer", { ...plain, value: Buffer });
})();
