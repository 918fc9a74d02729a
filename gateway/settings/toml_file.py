"""A TOML file with the line of each of its keys.

`tomllib` says what a file means, not where each key stands. A person who made a mistake needs the line, so a second
pass walks over text that `tomllib` has accepted and notes where every key and array element begins. As the text is
known to be valid, the walk only has to know where things end.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

KeyPath = tuple[str | int, ...]
"""`("sink", "city", "url")`; an element of an array adds its index."""

MAX_BYTES = 1 << 20
"""A settings file has some kilobytes; somebody who names a disk image gets a sentence and keeps the memory."""


_ENDLESS_KEY = re.compile(r"""(?<![A-Za-z0-9_"'-])(?:(?>[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){100}""")
"""A key of so many parts is nobody's, and `tomllib` takes time and memory by the square of their number."""


@dataclass(frozen=True, slots=True)
class TomlFile:
    """What a TOML file says, and on which line it says it."""

    name: str  # as the person named it
    table: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line_of(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest table around it; 1 when the file has neither."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: KeyPath, text: str) -> Problem:
        """A mistake in this file, `FILE:LINE key problem`."""
        return Problem(self.name, self.line_of(path), dotted(path), text)


def read_toml(path: Path) -> TomlFile:
    """Read a file; UsageError when it cannot be read, SettingsError with its line when it is no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be read: {reason}", hint=_hint_for(error)) from error
    return parse_toml(content, str(path))


def _hint_for(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "lorawan-gateway config example prints one to start from; --config FILE names another"
        case PermissionError():
            return "run as the gateway's user or with sudo"
        case _:
            return "--config FILE names another"


def parse_toml(content: bytes, name: str) -> TomlFile:
    """Read TOML from bytes; SettingsError with one problem and its line when they are none."""
    if len(content) > MAX_BYTES:
        raise SettingsError([Problem(name, 1, "file", f"has more than {MAX_BYTES >> 20} MiB: this is something else")])
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError([Problem(name, line, "file", "is not UTF-8 text: save it as UTF-8")]) from error
    if endless := _ENDLESS_KEY.search(text):
        line = text.count("\n", 0, endless.start()) + 1
        raise SettingsError([Problem(name, line, "syntax", "arrays or tables are nested too deeply")])
    try:
        return TomlFile(name, tomllib.loads(text), key_lines(text))
    except tomllib.TOMLDecodeError as error:
        line, reason = _where(str(error), text)
        raise SettingsError([Problem(name, line, "syntax", reason)]) from error
    except RecursionError as error:
        raise SettingsError([Problem(name, 1, "syntax", "arrays or tables are nested too deeply")]) from error
    except ValueError as error:  # a number with thousands of digits
        raise SettingsError([Problem(name, 1, "syntax", f"has a value that cannot be read: {error}")]) from error


def _where(message: str, text: str) -> tuple[int, str]:
    """Line and reason from what tomllib says: `Reason (at line 3, column 5)` or `… (at end of document)`."""
    reason, _, place = message.rpartition(" (at ")
    found = re.search(r"line (\d+)", place)
    line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
    advice = " (text stands in quotes)" if reason == "Invalid value" else ""
    return line, f"is not TOML: {reason or message}{advice}"


# --- how keys and values are shown ----------------------------------------------------------------------------------


def dotted(path: KeyPath) -> str:
    """A key as people write it: `codecs.path[1]`, `sink."my sink".url`. Always one line."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return shown or "file"


def shown(value: object) -> str:
    """A value as it may stand in a message: one line, not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # an integer of thousands of digits, which Python refuses to write in decimal
        return "this value"
    printable = "".join(character if character.isprintable() else "�" for character in text)
    return printable if len(printable) <= 60 else printable[:59] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a person probably meant."""
    candidates = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold()[:80], candidates, n=1)
    return candidates[found[0]] if found else None


# --- where keys stand -----------------------------------------------------------------------------------------------

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|'
    r"'''.*?'{3,5}|"
    r'"(?:[^"\\]|\\.)*"|'
    r"'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line on which each key and each array element of a valid TOML text begins."""
    return _Walk(text).document()


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [found.start() for found in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {}
        self.last_index: dict[KeyPath, int] = {}  # of each array of tables

    def document(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self._next("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self) -> KeyPath:
        repeated = self._next("[")
        path: KeyPath = ()
        keys = self._keys()
        for key in keys[:-1]:
            path = self._note((*path, key))
            if path in self.last_index:
                path = (*path, self.last_index[path])
        path = self._note((*path, keys[-1]))
        if repeated:
            self.last_index[path] = self.last_index.get(path, -1) + 1
            path = self._note((*path, self.last_index[path]))
        self._next("]")
        self._next("]")
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for key in self._keys():
            path = self._note((*path, key))
        self._next("=")
        self._skip(_SPACE)
        self._value(path)

    def _keys(self) -> list[str]:
        """The parts of a dotted key."""
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(_plain(self._skip(_KEY)))
            self._skip(_SPACE)
            if not self._next("."):
                return keys

    def _value(self, path: KeyPath) -> None:
        if self._next("["):
            self._array(path)
        elif self._next("{"):
            self._inline_table(path)
        elif not self._skip(_STRING):
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        index = 0
        self._skip(_BLANK)
        while self.at < len(self.text) and not self._next("]"):
            self._value(self._note((*path, index)))
            self._skip(_BLANK)
            self._next(",")
            self._skip(_BLANK)
            index += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._skip(_BLANK)
        while self.at < len(self.text) and not self._next("}"):
            self._pair(path)
            self._skip(_BLANK)
            self._next(",")
            self._skip(_BLANK)

    def _note(self, path: KeyPath) -> KeyPath:
        self.lines.setdefault(path, bisect_right(self.newlines, self.at - 1) + 1)
        return path

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]

    def _next(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True


def _plain(key: str) -> str:
    """A key without its quotes and escapes."""
    if _BARE_KEY.fullmatch(key):
        return key
    (plain,) = tomllib.loads(f"{key} = 0")
    return plain
