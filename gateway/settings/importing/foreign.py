"""Somebody else's configuration file as a flat list of keys, each with its line.

Whatever the format, a file is read into its leaves: `gateway_conf.servers[0].server_address`, line 12, "lns.org".
So every key can be followed to what became of it, and none can be lost because nobody asked for it.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem, SettingsError
from gateway.settings.importing.commented_json import NotJson, leaves
from gateway.settings.toml_file import dotted, parse_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.settings.toml_file import KeyPath

MAX_BYTES = 1 << 20
"""The samples of all these programs have less than 20 kB; what is bigger is something else."""


MAX_KEYS = 10_000
"""The longest configuration known, of a gateway with 64 channels, has a tenth of that."""


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file as it was found."""

    name: str  # as the person named it
    path: str  # absolute
    content: bytes

    @property
    def base(self) -> str:
        """Its name without folders."""
        return posixpath.basename(self.path)


@dataclass(frozen=True, slots=True)
class Key:
    """One leaf of a file."""

    file: str
    line: int
    path: KeyPath
    value: Any

    def __str__(self) -> str:
        return dotted(self.path)

    @property
    def place(self) -> str:
        """`FILE:LINE key`."""
        return f"{self.file}:{self.line} {self}"


class Sheet:
    """What a program reads of its files together: of keys that stand twice, the last one counts."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.all = tuple(keys)
        self.keys = {key.path: key for key in self.all}
        self._below: dict[KeyPath, list[Key]] = {}
        for key in self.keys.values():
            for end in range(len(key.path) + 1):
                self._below.setdefault(key.path[:end], []).append(key)

    def overridden(self) -> Iterator[tuple[Key, Key]]:
        """Keys that do not count, each with the one that does."""
        for key in self.all:
            if (later := self.keys[key.path]) is not key:
                yield key, later

    def get(self, *path: str | int) -> Key | None:
        """The key at a path."""
        return self.keys.get(path)

    def under(self, *path: str | int) -> list[Key]:
        """Every key at or below a path."""
        return self._below.get(path, [])

    def parts(self, *path: str | int) -> list[str | int]:
        """The names of what stands directly below a path, in the order of the file."""
        depth = len(path)
        return list(dict.fromkeys(key.path[depth] for key in self.under(*path) if len(key.path) > depth))

    def text(self, *path: str | int) -> Key | None:
        """The key at a path when it is text with something in it."""
        key = self.get(*path)
        return key if key and isinstance(key.value, str) and key.value.strip() else None

    def number(self, *path: str | int) -> Key | None:
        """The key at a path when it is a number."""
        key = self.get(*path)
        return key if key and isinstance(key.value, int | float) and not isinstance(key.value, bool) else None

    def is_set(self, *path: str | int) -> bool:
        """Whether the key at a path says true."""
        key = self.get(*path)
        return key is not None and key.value is True


def json_keys(file: ForeignFile) -> list[Key]:
    """The leaves of JSON with comments; SettingsError with the line of the mistake."""
    try:
        return [Key(file.name, line, path, value) for path, line, value in leaves(json_text(file))]
    except NotJson as error:
        raise SettingsError([Problem(file.name, error.line, "syntax", str(error))]) from error


def toml_keys(file: ForeignFile) -> list[Key]:
    """The leaves of TOML; SettingsError with the line of the mistake."""
    read = parse_toml(file.content, file.name)
    return [Key(file.name, read.line_of(path), path, value) for path, value in _flat((), read.table)]


def _flat(path: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    match value:
        case dict() if value:
            for name, inner in value.items():
                yield from _flat((*path, name), inner)
        case list() if any(isinstance(item, dict | list) for item in value):
            for index, inner in enumerate(value):
                yield from _flat((*path, index), inner)
        case _ if path:
            yield path, value


def json_text(file: ForeignFile) -> str:
    """The text of a file of a program that cares for ASCII only: UTF-8, else Latin-1, which any bytes are.

    UTF-16, which a Windows editor may have made of it, those programs cannot read, and nor is it guessed at here.
    """
    content = file.content
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content.rstrip(b"\0"):
        raise SettingsError([Problem(file.name, 1, "file", "is UTF-16 or no text at all: save it as UTF-8")])
    try:
        return content.decode("utf-8-sig").rstrip("\0")
    except UnicodeDecodeError:
        return content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").rstrip("\0")
