"""A settings file of our own, complete and commented: the example file with the values put in.

So the order, the comments and the keys that stay at their defaults are those of the example, whatever keys come to it.
Of radios there is the one type, of network servers and sinks there are those that have values.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.settings.toml_file import KeyPath

_HEADER = re.compile(r"#?\[([a-z]+)(?:\.[A-Za-z0-9_-]+)?\]\s*(#.*)?")
_SETTING = re.compile(r"#?([a-z0-9_]+) = (.*)")
_RULE = "# ---"
_COMMENT_COLUMN = 34
_NAMED = frozenset({"lns", "sink"})  # [lns.NAME]: any number, each with its type
_NONE = "# None yet: lorawan-gateway config example shows every type."


@dataclass(slots=True)
class _Block:
    """A table of the example: what is said of it, and its settings with what is said of each."""

    table: str
    about: list[str]
    remark: str = ""  # behind its name
    lines: list[str] = field(default_factory=list)

    def settings(self) -> Iterator[tuple[str, str]]:
        """Each key with what stands behind its `=`."""
        for line in self.lines:
            if match := _SETTING.match(line):
                yield match[1], match[2]

    @property
    def kind(self) -> str:
        """Its `type`, where its table has types."""
        rest = dict(self.settings()).get("type", "")
        found = re.match(r'"([^"]*)"', rest)
        return found[1] if found else ""


def write_settings(values: Mapping[KeyPath, Any], example: str, opening: Sequence[str] = ()) -> str:
    """The text of a settings file with these values; `example` is the shipped one, `opening` is said first."""
    pieces = list(_pieces(example))
    blocks = [piece for piece in pieces if isinstance(piece, _Block)]
    comments = {(block.table, key): _comment(rest) for block in blocks for key, rest in block.settings()}
    chunks: list[list[str]] = []
    written: set[str] = set()
    for piece in pieces:
        if not isinstance(piece, _Block):
            chunks.append(piece)
        elif piece.table in _NAMED:
            if piece.table not in written:
                chunks += _named(piece.table, blocks, values, comments)
        elif piece.table != "radio" or piece.kind == values.get(("radio", "type")):
            own = {str(path[1]): value for path, value in values.items() if path[0] == piece.table}
            header = f"[{piece.table}]"
            header = f"{header.ljust(_COMMENT_COLUMN - 1)} {piece.remark}" if piece.remark else header
            chunks.append([*piece.about, header, *_filled(piece, own, comments)])
        if isinstance(piece, _Block):
            written.add(piece.table)
    chunks.insert(1, [f"# {line}".rstrip() for line in opening])
    return "\n\n".join("\n".join(chunk) for chunk in chunks if chunk) + "\n"


def _pieces(example: str) -> Iterator[_Block | list[str]]:
    """The example in order: tables, and what stands between them. A table ends with an empty line."""
    free: list[str] = []
    block: _Block | None = None
    for line in example.splitlines():
        if match := _HEADER.fullmatch(line):
            about: list[str] = []
            while free and free[-1].startswith("#") and not free[-1].startswith(_RULE):
                about.insert(0, free.pop())
            yield [text for text in free if text]
            free, block = [], _Block(match[1], about, match[2] or "")
        elif block is not None and line:
            block.lines.append(line)
        elif block is not None:
            yield block
            block = None
        elif line or not free:
            free.append(line)
        else:
            yield [text for text in free if text]
            free = []
    yield block if block is not None else free


def _named(
    table: str, blocks: Sequence[_Block], values: Mapping[KeyPath, Any], comments: Mapping[tuple[str, str], str]
) -> list[list[str]]:
    """The tables of each name, filled in from the block of its type."""
    by_kind = {block.kind: block for block in blocks if block.table == table}
    chunks = []
    for name in dict.fromkeys(str(path[1]) for path in values if path[0] == table):
        own = {str(path[2]): value for path, value in values.items() if path[:2] == (table, name)}
        block = by_kind[own["type"]]
        chunks.append([*block.about, f"[{table}.{name}]", *_filled(block, own, comments)])
    return chunks or [[_NONE]]


def _filled(block: _Block, values: Mapping[str, Any], comments: Mapping[tuple[str, str], str]) -> list[str]:
    """The lines of a table with its values; keys that stay at their defaults stay comments."""
    lines = []
    for line in block.lines:
        match = _SETTING.match(line)
        if match is not None and match[1] in values:
            lines.append(_line(match[1], values[match[1]], _comment(match[2])))
        else:
            lines.append(f"#{line}" if match is not None and not line.startswith("#") else line)
    known = dict(block.settings())
    extra = {key: value for key, value in values.items() if key not in known}
    return [*lines, *(_line(key, value, comments.get((block.table, key), "")) for key, value in extra.items())]


def _line(key: str, value: Any, comment: str) -> str:
    text = f"{key} = {as_toml(value)}"
    return f"{text.ljust(_COMMENT_COLUMN - 1)} {comment}" if comment else text


def _comment(rest: str) -> str:
    """The comment behind a value."""
    match = re.fullmatch(r"""(?:"(?:[^"\\]|\\.)*"|[^"#])*(#.*)?""", rest)
    # What holds for the example's own value ("instead of ...") holds for none that stands alone.
    return match[1] if match and match[1] and not match[1].startswith("# instead of") else ""


def as_toml(value: Any) -> str:
    """A value as TOML: text, numbers, switches, lists of them."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() | int():
            return repr(value)
        case list() | tuple():
            return f"[{', '.join(map(as_toml, value))}]"
        case _:
            text = json.dumps(str(value), ensure_ascii=False)
            return re.sub(r"[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)
