"""The program of a worker process: one Python codec behind walls, asked over one socket.

Started by `process.py` as a child that inherits nothing but a socket as descriptor 0. From the daemon come messages of
four bytes length and a marshalled value: first the setup, then lists of requests. Back go lines: a letter, and JSON.

    R {"guarded": true}   the codec is loaded; guarded says whether the kernel's filter holds
    L "text"              it cannot be loaded, and why; the worker ends
    = 1 {…}               what the codec answered to the worker's first request, and so on
    ! 1 "text"            it raised, or answered what cannot be carried
    T 1 "text"            it took more processor time than it may
    M 1 "text"            it took more memory than it may; the worker ends, for memory does not come back

Starts in a few milliseconds because it imports next to nothing, and nothing of the gateway but `walls`.
"""

from __future__ import annotations

import json
import marshal
import os
import signal
import sys
import time
import types
from typing import TYPE_CHECKING, Any

from gateway.decoding.walls import close_in

if TYPE_CHECKING:
    from collections.abc import Callable

LINK = 0  # the socket to the daemon
FLUSH_S = 0.02  # answers do not wait longer than this for the rest of their batch
TICKS = 5  # how often a codec may catch the exception that ends it before its process ends
MOST_DEPTH = 32
MOST_TEXT = 500

# fmt: off
MODULES = frozenset({
    "__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "collections", "copy",
    "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "hmac", "itertools",
    "json", "math", "numbers", "operator", "re", "statistics", "string", "struct", "textwrap", "time", "types",
    "typing", "unicodedata", "zlib",
})
# fmt: on
"""What a codec may import: the part of the standard library that computes."""


class Overrun(BaseException):
    """Processor time is used up."""


class Unusable(Exception):  # noqa: N818
    """An answer that cannot be carried, in words."""


def main() -> None:
    """Serve one codec until the daemon hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon stops in order, and stops us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    setup = _receive()
    if setup is None:
        return
    clock = Clock(setup["cpu_s"])
    try:
        codec = Codec(setup, clock)
    except Overrun:
        _send(b"L " + _json("loading it took too much processor time"))
    except BaseException as error:  # noqa: BLE001 - whatever a codec does on its first lines
        _send(b"L " + _json(_described(error, setup["file"])))
    else:
        _send(b"R " + _json({"guarded": codec.guarded}))
        _serve(codec)
    os._exit(0)  # nothing to tidy up, and no codec's exit handlers


def _serve(codec: Codec) -> None:
    number = 0
    while (requests := _receive()) is not None:
        answers: list[bytes] = []
        flushed = time.monotonic()
        for request in requests:
            number += 1
            letter, body = codec.answer(request)
            answers.append(b"%b %d %b" % (letter, number, body))
            if letter == b"M":
                _send(b"".join(answers))
                os._exit(0)
            now = time.monotonic()
            if now - flushed > FLUSH_S:
                _send(b"".join(answers))
                answers.clear()
                flushed = now
        if answers:
            _send(b"".join(answers))


class Clock:
    """Ends what takes too much processor time: raises Overrun in it, and ends the process if it catches that."""

    def __init__(self, cpu_s: float) -> None:
        self.cpu_s = cpu_s
        self.again_s = cpu_s / TICKS
        self.running = False
        self.ticks = 0
        signal.signal(signal.SIGPROF, self._tick)

    def start(self, cpu_s: float = 0.0) -> None:
        self.ticks = 0
        self.running = True
        signal.setitimer(signal.ITIMER_PROF, cpu_s or self.cpu_s, self.again_s)

    def stop(self) -> None:
        self.running = False
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _tick(self, _number: int, _frame: object) -> None:
        if self.running:
            self.ticks += 1
            if self.ticks > TICKS:
                os._exit(1)
            raise Overrun


class Codec:
    """A loaded codec. After construction the process is closed in."""

    def __init__(self, setup: dict[str, Any], clock: Clock) -> None:
        self.clock = clock
        self.file: str = setup["file"]
        self.defaults: dict[str, str] = setup["defaults"]
        self.most_bytes: int = setup["result_bytes"]
        clock.start(setup["load_cpu_s"])
        try:
            code = compile(setup["source"], self.file, "exec", dont_inherit=True)
            _import(_names(code))
            self.guarded = close_in(LINK, setup["memory_bytes"])
            module = {"__name__": "codec", "__file__": self.file, "__builtins__": _builtins()}
            exec(code, module)  # noqa: S102 - that is the purpose, behind the walls
        finally:
            clock.stop()
        self.decode = _function(module, "decode")
        self.encode = _function(module, "encode")
        self.decode_takes = _keywords(self.decode, {"recv_time", "dev_eui"})
        self.encode_takes = _keywords(self.encode, {"variables", "f_port"})
        if self.decode is None and self.encode is None:
            raise Unusable("it has neither a function decode(payload, port, variables) nor encode(command)")

    def answer(self, request: tuple[Any, ...]) -> tuple[bytes, bytes]:
        """The letter and the JSON of one line, whatever the codec does."""
        try:
            try:
                self.clock.start()
                return b"=", self._carried(self._run(request))
            except MemoryError:
                return b"M", _json("it took more memory than a codec may")
            except Exception as error:  # noqa: BLE001
                return b"!", _json(_described(error, self.file))
            finally:
                self.clock.stop()
        except Overrun:
            self.clock.stop()
            return b"T", _json(f"it took more than {self.clock.cpu_s * 1000:g} ms of processor time")
        except BaseException as error:  # noqa: BLE001 - SystemExit, KeyboardInterrupt, a codec's own
            return b"!", _json(f"it raised {type(error).__name__}")

    def _run(self, request: tuple[Any, ...]) -> object:
        if request[0] == "decode":
            if self.decode is None:
                raise Unusable("it has no function decode(payload, port, variables)")
            _, payload, port, variables, recv_time, dev_eui = request
            given = {"recv_time": recv_time, "dev_eui": dev_eui}
            own = {**self.defaults, **variables}
            return self.decode(payload, port, own, **{name: given[name] for name in self.decode_takes})
        if self.encode is None:
            raise Unusable("it has no function encode(command): it cannot make downlinks")
        _, command, port, variables = request
        given = {"f_port": port, "variables": {**self.defaults, **variables}}
        result = self.encode(command, **{name: given[name] for name in self.encode_takes})
        if type(result) is dict and isinstance(result.get("bytes"), (bytes, bytearray)):
            result["bytes"] = list(result["bytes"])
        return result

    def _carried(self, result: object) -> bytes:
        if type(result) is not dict:
            raise Unusable(f"it returned {type(result).__name__}, not a dict")
        try:
            text = _encode(result).encode()
        except (ValueError, TypeError, RecursionError):  # NaN, a cycle, a lone surrogate, or a type JSON has not
            warnings: list[str] = []
            cleaned = _cleaned(result, "", 0, warnings)
            cleaned["warnings"] = [*_listed(cleaned.get("warnings")), *warnings]
            text = _encode(cleaned).encode()
        if len(text) > self.most_bytes:
            raise Unusable(f"it returned {len(text)} bytes of JSON, at most {self.most_bytes} are taken")
        return text + b"\n"


def _names(code: types.CodeType) -> set[str]:
    """Every name the code mentions: the modules it imports are among them."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _import(names: set[str]) -> None:
    """Import what the codec will ask for while that is still possible."""
    for name in names & MODULES:
        __import__(name)
    if "collections" in names:
        __import__("collections.abc")
    if "strptime" in names:
        __import__("_strptime")  # datetime and time import it at the first call
    for encoding in ("ascii", "latin-1", "cp1252"):
        b"".decode(encoding)


def _builtins() -> dict[str, Any]:
    real = __import__

    def codec_import(name: str, *context: Any, **named: Any) -> types.ModuleType:
        level = named.get("level", context[3] if len(context) > 3 else 0)
        if level or name.partition(".")[0] not in MODULES:
            raise ImportError(f"a codec may not import {name}; it may import {', '.join(sorted(MODULES))}")
        return real(name, *context, **named)

    return {**vars(sys.modules["builtins"]), "__import__": codec_import}


def _function(module: dict[str, Any], name: str) -> Callable[..., object] | None:
    function = module.get(name)
    return function if callable(function) else None


def _keywords(function: object, known: set[str]) -> list[str]:
    """Which of the optional keywords a function takes."""
    code = getattr(function, "__code__", None)
    if code is None:
        return []
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [name for name in named if name in known]


def _cleaned(value: Any, path: str, depth: int, warnings: list[str]) -> Any:
    """The value as JSON can carry it: what is no number becomes null with a warning, what has no JSON is an error."""
    if depth > MOST_DEPTH:
        raise Unusable(f"{path[:80] or 'the result'} is nested deeper than {MOST_DEPTH}")
    if isinstance(value, dict):
        return {
            str(key): _cleaned(item, f"{path}.{key}" if path else str(key), depth + 1, warnings)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_cleaned(item, f"{path}[{index}]", depth + 1, warnings) for index, item in enumerate(value)]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        if value - value == 0:  # neither NaN nor infinite
            return value
        warnings.append(f"{path} is {value}, which is no number")
        return None
    raise Unusable(f"{path} is of type {type(value).__name__}, which JSON has not")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _described(error: BaseException, file: str) -> str:
    """An exception in words, with the line of the codec it came from."""
    if isinstance(error, Unusable):
        return str(error)
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    where = "" if line is None else f" (line {line})"
    return f"{type(error).__name__}: {text[:MOST_TEXT]}{where}"


_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode


def _json(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _receive() -> Any:
    head = _read(4)
    return None if head is None else marshal.loads(_read(int.from_bytes(head, "little")) or b"N")  # noqa: S302 - from the daemon


def _read(size: int) -> bytes | None:
    chunks = b""
    while len(chunks) < size:
        chunk = os.read(LINK, size - len(chunks))
        if not chunk:
            return None
        chunks += chunk
    return chunks


def _send(lines: bytes) -> None:
    while lines:
        lines = lines[os.write(LINK, lines) :]
