"""What commands write: facts on stdout (as text, or as JSON alone), messages for people on stderr."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 100
"""Columns a table fits in."""

GAP = "  "


def tolerate_any_text() -> None:
    """Let a name that the terminal's encoding lacks be shown escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A message for a person."""
    print(text, file=sys.stderr)


def emit(value: object) -> None:
    """One JSON value, readable."""
    print(_json(value, indent=2))


def emit_line(value: object) -> None:
    """One JSON value of a stream, at once."""
    print(_json(value), flush=True)


def _json(value: object, *, indent: int | None = None) -> str:
    plain_ascii = (sys.stdout.encoding or "ascii").lower() not in {"utf-8", "utf8"}
    try:
        return json.dumps(value, indent=indent, ensure_ascii=plain_ascii, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, ensure_ascii=plain_ascii, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them, as JavaScript does it."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value


def clean(text: object) -> str:
    """Text from outside on one line, without anything a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, elastic: Sequence[int] = ()) -> list[str]:
    """Aligned lines that fit 100 columns; of the `elastic` columns, the widest give way to each other."""
    cells = [list(header), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(_columns(row[number]) for row in cells) for number in range(len(header))]
    while elastic and sum(widths) + len(GAP) * (len(widths) - 1) > WIDTH:
        widest = max(elastic, key=lambda number: widths[number])
        if widths[widest] <= len(header[widest]) + 1:
            break
        widths[widest] -= 1
    return [GAP.join(map(_fit, row, widths)).rstrip() for row in cells]


def _fit(text: str, width: int) -> str:
    if _columns(text) > width:
        while text and _columns(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - _columns(text))


def _columns(text: str) -> int:
    """How wide a terminal shows it: Chinese characters take two columns, combining accents none."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
