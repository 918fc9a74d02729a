"""The program of a worker process for one Python codec, behind walls of its own.

One codec a process: nothing inside an interpreter keeps two of them apart. What it speaks with the daemon is in
`link.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from typing import TYPE_CHECKING, Any

from gateway.decoding.link import LINK, MOST_DEPTH, Unusable, as_json, leave, open_worker, say_ready, serve
from gateway.decoding.walls import close_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TICKS = 5  # how often a codec may catch the exception that ends it before its process ends
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

DECODE = "decode(payload, port, variables)"
ENCODE = "encode(command)"
DECODE_DOWNLINK = "decode_downlink(payload, port, variables)"


class Overrun(BaseException):
    """Processor time is used up."""


def main() -> None:
    """Serve one codec until the daemon hangs up."""
    setup = open_worker()
    if setup is not None:
        worker = Worker(setup)
        serve(
            {
                "load": worker.load,
                "decode": worker.decode,
                "decode_downlink": worker.decode_downlink,
                "encode": worker.encode,
            },
        )
    leave()


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


class Worker:
    """What answers requests. Loading the codec closes the process in."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.load_cpu_s: float = setup["load_cpu_s"]
        self.memory_bytes: int = setup["memory_bytes"]
        self.most_bytes: int = setup["result_bytes"]
        self.clock = Clock(setup["cpu_s"])
        self.codec: Codec | None = None

    def load(self, _number: int, file: str, source: str, defaults: dict[str, str]) -> tuple[bytes, bytes]:
        try:
            self.codec = Codec(file, source, defaults, self)
        except Overrun:
            return b"L", as_json("loading it took too much processor time")
        except BaseException as error:  # noqa: BLE001 - whatever a codec does on its first lines
            return b"L", as_json(_described(error, file))
        return b"=", as_json({})

    def decode(
        self, _number: int, payload: bytes, port: int, variables: dict[str, str], recv_time: Any, dev_eui: Any
    ) -> tuple[bytes, bytes]:
        return self._answered(lambda codec: codec.decoded(payload, port, variables, recv_time, dev_eui))

    def decode_downlink(
        self, _number: int, payload: bytes, port: int, variables: dict[str, str], _recv_time: Any
    ) -> tuple[bytes, bytes]:
        return self._answered(lambda codec: codec.downlink_decoded(payload, port, variables))

    def encode(self, _number: int, given: dict[str, Any], variables: dict[str, str]) -> tuple[bytes, bytes]:
        return self._answered(lambda codec: codec.encoded(given, variables))

    def _answered(self, ask: Callable[[Codec], object]) -> tuple[bytes, bytes]:
        """The letter and the JSON of one line, whatever the codec does."""
        codec = self.codec
        if codec is None:
            return b"!", as_json("it is not loaded")
        try:
            try:
                self.clock.start()
                return b"=", _carried(ask(codec), self.most_bytes)
            except MemoryError:
                return b"M", as_json("it took more memory than a codec may")
            except Exception as error:  # noqa: BLE001
                return b"!", as_json(_described(error, codec.file))
            finally:
                self.clock.stop()
        except Overrun:
            self.clock.stop()
            return b"T", as_json(f"it took more than {self.clock.cpu_s * 1000:g} ms of processor time")
        except BaseException as error:  # noqa: BLE001 - SystemExit, KeyboardInterrupt, a codec's own
            return b"!", as_json(f"it raised {type(error).__name__}")


class Codec:
    """A loaded codec. After construction the process is closed in."""

    def __init__(self, file: str, source: str, defaults: dict[str, str], worker: Worker) -> None:
        self.file = file
        self.defaults = defaults
        worker.clock.start(worker.load_cpu_s)
        try:
            code = compile(source, file, "exec", dont_inherit=True)
            _import(_names(code))
            guarded = close_in(LINK, worker.memory_bytes)
            say_ready(guarded=guarded)
            module = {"__name__": "codec", "__file__": file, "__builtins__": _builtins()}
            exec(code, module)  # noqa: S102 - that is the purpose, behind the walls
        finally:
            worker.clock.stop()
        self.functions: dict[str, Callable[..., object]] = {}
        for signature in (DECODE, ENCODE, DECODE_DOWNLINK):
            function: Any = module.get(signature.partition("(")[0])
            if callable(function):
                self.functions[signature] = function
        if not self.functions:
            raise Unusable(f"it has neither a function {DECODE} nor {ENCODE}")

    def decoded(self, payload: bytes, port: int, variables: dict[str, str], recv_time: Any, dev_eui: Any) -> object:
        given = {"recv_time": recv_time, "dev_eui": dev_eui}
        function = self._function(DECODE)
        return function(payload, port, self._own(variables), **_keywords(function, given))

    def downlink_decoded(self, payload: bytes, port: int, variables: dict[str, str]) -> object:
        return self._function(DECODE_DOWNLINK)(payload, port, self._own(variables))

    def encoded(self, given: dict[str, Any], variables: dict[str, str]) -> object:
        function = self._function(ENCODE)
        more = {"f_port": given.get("fPort"), "variables": self._own(variables)}
        result = function(given.get("data"), **_keywords(function, more))
        if type(result) is dict and isinstance(result.get("bytes"), (bytes, bytearray)):
            result["bytes"] = list(result["bytes"])
        return result

    def _own(self, variables: dict[str, str]) -> dict[str, str]:
        return {**self.defaults, **variables}

    def _function(self, signature: str) -> Callable[..., object]:
        function = self.functions.get(signature)
        if function is None:
            cannot = ": it cannot make downlinks" if signature == ENCODE else ""
            raise Unusable(f"it has no function {signature}{cannot}")
        return function


def _carried(result: object, most_bytes: int) -> bytes:
    if type(result) is not dict:
        raise Unusable(f"it returned {type(result).__name__}, not a dict")
    try:
        text = _encode(result).encode()
    except (ValueError, TypeError, RecursionError):  # NaN, a cycle, a lone surrogate, or a type JSON has not
        warnings: list[str] = []
        cleaned = _cleaned(result, "", 0, warnings)
        cleaned["warnings"] = [*_listed(cleaned.get("warnings")), *warnings]
        text = _encode(cleaned).encode()
    if len(text) > most_bytes:
        raise Unusable(f"it returned {len(text)} bytes of JSON, at most {most_bytes} are taken")
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
        if name == "_strptime" and name in sys.modules:
            return sys.modules[name]  # asked for by datetime.strptime itself, whose helper has been brought in
        if level or name.partition(".")[0] not in MODULES:
            raise ImportError(f"a codec may not import {name}; it may import {', '.join(sorted(MODULES))}")
        return real(name, *context, **named)

    return {**vars(sys.modules["builtins"]), "__import__": codec_import}


def _keywords(function: Callable[..., object], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Which of the optional keywords a function takes."""
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: offered[name] for name in named if name in offered}


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
