"""The program of a worker process for JavaScript codecs: QuickJS behind the same walls as Python codecs.

One process runs many codecs, because each message gets a context of its own: a heap, prototypes and globals that
nothing was done to, gone when the answer is out. So no codec sees what another one did, nor what it did itself for the
device before. One thread: the engine's time limit counts the processor time of the whole process.

What a script may expect is in `host.js`; what is spoken with the daemon in `link.py`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway.decoding.link import LINK, MOST_DEPTH, Unusable, as_json, leave, open_worker, say_ready, serve
from gateway.decoding.walls import close_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STACK_BYTES = 256 << 10  # the engine's own default; every published script runs in a quarter of it
MANY_BRACKETS = 200  # fewer than this cannot nest too deep for anyone
MOST_TEXT = 500

_COMMONJS = "var module = { exports: {} }, exports = module.exports;"


class Overrun(Exception):  # noqa: N818
    """The engine stopped a codec at a limit."""


def main() -> None:
    """Serve codecs until the daemon hangs up."""
    setup = open_worker()
    if setup is not None:
        worker = Worker(_engine(setup["engine"]), setup)
        time.tzset()  # UTC, by the environment; the engine asks for it when files are out of reach
        say_ready(guarded=close_in(LINK, setup["memory_bytes"]))
        serve(
            {
                "load": worker.load,
                "forget": worker.forget,
                "decode": worker.decode,
                "decode_downlink": worker.decode_downlink,
                "encode": worker.encode,
            },
        )
    leave()


def _engine(folder: str) -> Callable[[], Any]:
    """The class of contexts. The process has no site-packages: the daemon says where the engine lies."""
    sys.path.insert(0, folder)
    from _quickjs import Context  # noqa: PLC0415

    del sys.path[0]
    return Context  # type: ignore[no-any-return]


def _resource(name: str) -> str:
    """A script beside this file, without comments and indentation: it is compiled for each message."""
    with open(f"{__file__.rpartition('/')[0]}/{name}", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow
        return "\n".join(line for line in map(str.strip, file) if not line.startswith("//"))


class Script:
    """A codec's text and how to run it."""

    __slots__ = ("before", "defaults", "defaults_json", "file", "listed", "quick", "text")

    def __init__(self, file: str, source: str, before: tuple[str, ...], defaults: dict[str, str]) -> None:
        self.file = file
        self.text = f"{source}\n;void 0"  # the value of its last line is nobody's business
        self.before = before
        self.defaults = defaults
        self.defaults_json = json.dumps(defaults)
        self.listed = (
            re.search(r"\b(?:Big)?(?:Ui|I)nt\d+(?:Clamped)?Array\b|\bFloat\d+Array\b|\bBuffer\b", source) is not None
        )
        self.quick = False

    def variables(self, own: dict[str, str]) -> str:
        return json.dumps({**self.defaults, **own}) if own else self.defaults_json


class Worker:
    """What answers requests."""

    def __init__(self, engine: Callable[[], Any], setup: dict[str, Any]) -> None:
        self.engine = engine
        self.cpu_s: float = setup["cpu_s"]
        self.load_cpu_s: float = self.cpu_s * setup["load_share"]
        self.heap_bytes: int = setup["memory_bytes"] // 2  # the other half is for taking the answer out
        self.most_bytes: int = setup["result_bytes"]
        self.host, self.quick, self.buffer = map(_resource, ("host.js", "quick.js", "buffer.js"))
        self.scripts: dict[int, Script] = {}

    # --- requests ---------------------------------------------------------------------------------------------------

    def load(self, number: int, file: str, source: str, defaults: dict[str, str]) -> tuple[bytes, bytes]:
        try:
            self.scripts[number] = self._loaded(file, source, defaults)
        except (Unusable, Overrun) as reason:
            return b"L", as_json(str(reason))
        return b"=", as_json({})

    def forget(self, number: int) -> tuple[bytes, bytes]:
        self.scripts.pop(number, None)
        return b"=", as_json({})

    def decode(
        self, number: int, payload: bytes, port: int, variables: dict[str, str], recv_time: Any, _dev_eui: Any
    ) -> tuple[bytes, bytes]:
        return self._answered(number, "decode", (payload, port, variables, recv_time))

    def decode_downlink(
        self, number: int, payload: bytes, port: int, variables: dict[str, str], recv_time: Any
    ) -> tuple[bytes, bytes]:
        return self._answered(number, "decode_downlink", (payload, port, variables, recv_time))

    def encode(self, number: int, given: dict[str, Any], variables: dict[str, str]) -> tuple[bytes, bytes]:
        return self._answered(number, "encode", (given, variables))

    def _answered(self, number: int, verb: str, given: tuple[Any, ...]) -> tuple[bytes, bytes]:
        """The letter and the JSON of one line, whatever the codec does."""
        script = self.scripts.get(number)
        if script is None:
            return b"!", as_json("it is not loaded")
        try:
            return b"=", self._carried(self._run(script, verb, *_input(script, *given)))
        except Overrun as reason:
            return b"T", as_json(str(reason))
        except Unusable as reason:
            return b"!", as_json(str(reason))
        except MemoryError:
            return b"M", as_json("it took more memory than a codec may")

    # --- running ----------------------------------------------------------------------------------------------------

    def _run(self, script: Script, verb: str, given: str, received_ms: float | None) -> str:
        if script.quick and verb == "decode":
            told = self._call(script, self.quick, given, received_ms, script.listed)
            if told:
                return told
        return self._call(script, self.host, verb, given, received_ms, script.listed)

    def _call(self, script: Script, host: str, *arguments: Any) -> str:
        """What the host answers in a fresh context that has run the codec's text."""
        context = self.engine()
        try:
            context.set_memory_limit(self.heap_bytes)
            context.set_max_stack_size(STACK_BYTES)
            context.set_time_limit(self.load_cpu_s)
            call = context.eval(host)
            for shim in script.before:
                context.eval(shim)
            context.eval(script.text)
            context.set_time_limit(self.cpu_s)
            return str(call(*arguments))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the engine's classes and what its texts do to Unicode
            raise self._reason(error, script.file) from None

    def _reason(self, error: Exception, file: str) -> Exception:
        """What the engine's exception means."""
        text = str(error)
        if text.startswith("InternalError: interrupted"):
            return Overrun(f"it took more than {self.cpu_s * 1000:g} ms of processor time")
        if text.startswith("InternalError: out of memory") or text == "null\n":  # no memory to say so
            return Overrun("it took more memory than a codec may")
        message, _, trace = text.partition("\n")
        place = re.search(r"<input>:(\d+)", trace)
        where = f" (line {place[1]})" if place else ""
        said = message if place else f"it threw {json.dumps(message)}"
        return Unusable(f"{said[:MOST_TEXT].replace('<input>', file)}{where}")

    def _loaded(self, file: str, source: str, defaults: dict[str, str]) -> Script:
        """The script in the first form in which it defines a function of a codec."""
        first: Exception | None = None
        for text, before in _forms(source, self.buffer):
            script = Script(file, text, before, defaults)
            try:
                functions = json.loads(self._call(script, self.host, "functions", "", None, False))
            except Unusable as problem:
                first = first or problem
                continue
            except Overrun as reason:
                raise Unusable(f"loading it: {reason}") from None
            if functions:
                plain = _COMMONJS not in before and "console" not in source
                script.quick = plain and "decodeUplink" in functions
                return script
            first = first or Unusable(
                "it defines none of decodeUplink, encodeDownlink, decodeDownlink, Decoder, Decode"
            )
        raise first or Unusable("it is empty")

    # --- answers ----------------------------------------------------------------------------------------------------

    def _carried(self, told: str) -> bytes:
        """A result as a line, if the daemon can read it."""
        if told.count("[") + told.count("{") > MANY_BRACKETS or "\\ud" in told:
            told = _readable(told)
        line = told.encode()
        if len(line) > self.most_bytes:
            raise Unusable(f"it returned {len(line)} bytes of JSON, at most {self.most_bytes} are taken")
        return line + b"\n"


def _input(script: Script, given: Any, *more: Any) -> tuple[str, float | None]:
    """The input object as JSON text, and when the message came in, in ms since 1970."""
    if type(given) is bytes:
        port, variables, recv_time = more
        text = f'{{"bytes":{list(given)},"fPort":{port},"variables":{script.variables(variables)}}}'
        return text, None if recv_time is None else recv_time * 1000.0
    (variables,) = more
    own = {} if "variables" in given else {"variables": {**script.defaults, **variables}}
    return json.dumps({**given, **own}), None


def _forms(source: str, buffer: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The text as it is; then, where it could be one, as a CommonJS module; then as an ES module made a script."""
    shims = (buffer,) if re.search(r"\bBuffer\b", source) else ()
    yield source, shims
    if re.search(r"\b(?:module|exports)\b", source):
        yield source, (*shims, _COMMONJS)
    if re.search(r"^\s*(?:export|import)\b", source, re.MULTILINE):
        yield _as_script(source), (*shims, _COMMONJS)


_STATEMENTS = (
    (r"""^(\s*)import\s[^;'"]*['"](?:node:)?buffer['"][ \t]*;?""", r"\1"),
    (r"^(\s*)export\s*\{[^}]*\}[ \t]*;?", r"\1"),
    (r"^(\s*)export\s+default\s+(?=(?:async\s+)?function\s*\*?\s*[\w$]|class\s+[\w$])", r"\1"),
    (r"^(\s*)export\s+default\s+", r"\1module.exports = "),
    (r"^(\s*)export\s+(?=(?:async|class|const|function|let|var)\b)", r"\1"),
)


def _as_script(source: str) -> str:
    """An ES module as a script in strict mode, each line where it was."""
    for pattern, instead in _STATEMENTS:
        source = re.sub(pattern, instead, source, flags=re.MULTILINE)
    return f'"use strict";{source}'


def _readable(told: str) -> str:
    """The text with its nesting checked, and lone halves of surrogate pairs replaced: the daemon reads strict UTF-8."""
    try:
        value = _clean(json.loads(told), MOST_DEPTH + 2)
    except RecursionError:
        raise Unusable(f"its data is nested deeper than {MOST_DEPTH}") from None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _clean(value: Any, levels: int) -> Any:
    if type(value) is str:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if type(value) not in {dict, list}:
        return value
    if levels == 0:
        raise Unusable(f"its data is nested deeper than {MOST_DEPTH}")
    if type(value) is dict:
        return {_clean(key, 0): _clean(item, levels - 1) for key, item in value.items()}
    return [_clean(item, levels - 1) for item in value]
