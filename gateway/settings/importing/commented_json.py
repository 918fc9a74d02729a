"""JSON as packet forwarders and Basics Station write it: with comments, and each value with its line.

Semtech's forwarders read with parson, which takes /* */ and // as comments; Station's own reader takes /* */. Neither
takes keys without quotes. A comma behind the last element is a mistake for both and harmless here.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from gateway.settings.toml_file import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.toml_file import KeyPath

MAX_DEPTH = 24
"""The samples nest five deep."""

_BLANK = re.compile(r"(?:[ \t\r\n\f]+|(?s:/\*.*?\*/)|//[^\n]*)*")
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_NUMBER = re.compile(r"-?\d{1,300}(?:\.\d{1,300})?(?:[eE][+-]?\d{1,3})?(?![\w.])")
_WORD = re.compile(r"[^\s,\]}:\"/]+")
_LITERALS = {"true": True, "false": False, "null": None}


class NotJson(ValueError):  # noqa: N818 - reads as the sentence it is
    """The text is no JSON with comments; says why, and on which line."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def leaves(text: str) -> list[tuple[KeyPath, int, Any]]:
    """Path, line and value of everything that is neither object nor array, or an empty one; NotJson with its line.

    Keys that stand twice come twice, in the order of the text.
    """
    walk = _Walk(text)
    found = list(walk.value((), walk.blank()))
    walk.end()
    return found


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.newlines = [found.start() for found in re.finditer("\n", text)]

    def value(self, path: KeyPath, line: int) -> Iterator[tuple[KeyPath, int, Any]]:
        if len(path) > MAX_DEPTH:
            raise self.mistake(f"nests more than {MAX_DEPTH} deep")
        match self.text[self.at : self.at + 1]:
            case "{":
                yield from self._object(path, line)
            case "[":
                yield from self._array(path, line)
            case '"':
                yield path, line, self._string()
            case _:
                yield path, line, self._scalar()

    def _object(self, path: KeyPath, line: int) -> Iterator[tuple[KeyPath, int, Any]]:
        self.at += 1
        empty = True
        while not self._closed("}"):
            key_line = self.blank()
            if self.text[self.at : self.at + 1] != '"':
                raise self._unexpected("a key in quotes")
            key = self._string()
            self.blank()
            if not self._next(":"):
                raise self._unexpected(f'":" behind the key {shown(key)}')
            self.blank()
            yield from self.value((*path, key), key_line)
            self._comma_or("}")
            empty = False
        if empty:
            yield path, line, {}

    def _array(self, path: KeyPath, line: int) -> Iterator[tuple[KeyPath, int, Any]]:
        self.at += 1
        index = 0
        while not self._closed("]"):
            yield from self.value((*path, index), self.blank())
            self._comma_or("]")
            index += 1
        if not index:
            yield path, line, []

    def _closed(self, bracket: str) -> bool:
        self.blank()
        return self._next(bracket)

    def _comma_or(self, bracket: str) -> None:
        self.blank()
        if not self._next(",") and self.text[self.at : self.at + 1] != bracket:
            raise self._unexpected(f'"," or "{bracket}"')

    def _string(self) -> str:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise self.mistake("has text without its closing quote")
        try:
            text: str = json.loads(found[0], strict=False)
        except ValueError:
            raise self.mistake("has text with a backslash that means nothing") from None
        self.at = found.end()
        # Half of a pair of UTF-16 units is no character, and could not be written anywhere.
        return text.encode("utf-8", "replace").decode("utf-8")

    def _scalar(self) -> Any:
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return int(found[0]) if re.fullmatch(r"-?\d+", found[0]) else float(found[0])
        word = _WORD.match(self.text, self.at)
        if word is None or word[0] not in _LITERALS:
            raise self._unexpected("a value")
        self.at = word.end()
        return _LITERALS[word[0]]

    def blank(self) -> int:
        """Go to what is no blank and no comment; its line."""
        found = _BLANK.match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.text.startswith("/*", self.at):
            raise self.mistake("has a comment that begins here and never ends")
        return self.line()

    def end(self) -> None:
        self.blank()
        if self.at < len(self.text):
            raise self._unexpected("the end")

    def _next(self, token: str) -> bool:
        if not self.text.startswith(token, self.at):
            return False
        self.at += len(token)
        return True

    def line(self) -> int:
        return bisect_right(self.newlines, self.at - 1) + 1

    def mistake(self, why: str) -> NotJson:
        return NotJson(self.line(), f"is not JSON: {why}")

    def _unexpected(self, wanted: str) -> NotJson:
        if self.at >= len(self.text):
            return self.mistake(f"the file ends, where {wanted} is wanted")
        word = _WORD.match(self.text, self.at)
        here = word[0] if word else self.text[self.at]
        return self.mistake(f"has {shown(here)}, where {wanted} is wanted")
