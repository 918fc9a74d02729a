"""Scenario files: TOML into a Scenario, or everything that is wrong with it at once."""

from __future__ import annotations

import difflib
import re
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any

from gateway.errors import Problem, SettingsError, UsageError
from gateway.simulator.scenario import DEPTHS_MM, Containers, Coordinates, Foreign, Group, Meters, Rooms, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

DEFAULT = "city.toml"
"""The city of the demo."""

MAX_BYTES = 1 << 20
"""A scenario has some kilobytes; somebody who names a disk image gets a sentence and keeps the memory."""

MOST_DIGITS = 9
MOST_DEVICES = 100_000
LONGEST_S = 30 * 86_400.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(-?\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|min|m|h|d)")

_SHIPPED = resources.files("gateway.simulator") / "scenarios"


def load_scenario(path: Path | None = None) -> Scenario:
    """The scenario in this file or, where there is no such file, the shipped one of this name; the demo's without path.

    UsageError when there is none or it cannot be read, SettingsError with all that is wrong in it.
    """
    shipped = {entry.name: entry for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml")}
    source = shipped[DEFAULT] if path is None else path if path.is_file() else shipped.get(str(path))
    if source is None:
        raise UsageError(f"There is no scenario {path}", hint=f"Shipped with the program: {', '.join(sorted(shipped))}")
    try:
        with source.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Look at its permissions") from error
    return read_scenario(content, str(path) if path is not None else DEFAULT)


def read_scenario(content: bytes, file: str) -> Scenario:
    """The scenario that these bytes describe; SettingsError with every problem, `file` names it there."""
    text, values = _parse(content, file)
    problems = _Problems(file, text)
    top = _Table(problems, (), values)
    city, gateway = top.table("city"), top.table("gateway")
    places = top.table("places")
    known = {name: places.coordinates(name) for name in places.names()}
    if values.get("places") == {}:
        top.note("places", "names no place, and everything stands at one")
    groups = _groups(top, known)
    scenario = Scenario(
        name=city.text("name", "City"),
        seed=city.whole("seed", 1, 0, (1 << 63) - 1),
        utc_offset_s=round(city.duration("utc_offset", 0.0, -12 * 3600, 14 * 3600)),
        first_round_s=city.duration("first_round", 60.0, 0, LONGEST_S),
        gateway=Coordinates(gateway.number("latitude", None, -89, 89), gateway.number("longitude", None, -180, 180)),
        places=known,
        groups=groups,
    )
    for table in (city, gateway, places, top):
        table.refuse_the_rest()
    if (total := sum(group.count for group in groups)) > MOST_DEVICES:
        problems.add((), f"{total} devices, at most {MOST_DEVICES}")
    problems.raise_if_any()
    return scenario


def _groups(top: _Table, known: Mapping[str, Coordinates]) -> tuple[Group, ...]:
    groups: list[Group] = []
    for name, read in _GROUPS.items():
        if (table := top.optional_table(name)) is not None:
            groups.append(read(table, known))
            table.refuse_the_rest()
    return tuple(groups)


def _containers(table: _Table, known: Mapping[str, Coordinates]) -> Containers:
    return Containers(
        **_common(table, known),
        kinds=table.texts("kinds", tuple(DEPTHS_MM)),
        fills_in_s=table.duration("fills_in", 3 * 86_400.0, 60, LONGEST_S),
    )


def _rooms(table: _Table, known: Mapping[str, Coordinates]) -> Rooms:
    return Rooms(**_common(table, known))


def _meters(table: _Table, known: Mapping[str, Coordinates]) -> Meters:
    common = _common(table, known)
    return Meters(**common, leaking=table.whole("leaking", 0, 0, common["count"]))


def _foreign(table: _Table, known: Mapping[str, Coordinates]) -> Foreign:
    return Foreign(**_common(table, known))


_GROUPS: Mapping[str, Callable[[_Table, Mapping[str, Coordinates]], Group]] = {
    Containers.table: _containers,
    Rooms.table: _rooms,
    Meters.table: _meters,
    Foreign.table: _foreign,
}


def _common(table: _Table, known: Mapping[str, Coordinates]) -> dict[str, Any]:
    count = table.whole("count", None, 0, MOST_DEVICES)
    name = table.text("name", "{place} #")
    if name.count("#") > MOST_DIGITS:
        table.note("name", f"has at most {MOST_DIGITS} #, the digits of a number")
    return {
        "count": count,
        "interval_s": table.duration("interval", 900.0, 1, LONGEST_S),
        "places": table.texts("places", tuple(known), among=known),
        "name": name,
        "scatter_m": table.number("scatter_m", 100.0, 0, 20_000),
        "wall_loss_db": table.number("wall_loss_db", 0.0, 0, 60),
        "repeating": table.whole("repeating", 0, 0, count),
        "lorawan_1_1": table.whole("lorawan_1_1", 0, 0, count),
        "joining": (joining := table.whole("joining", 0, 0, count)),
        "class_c": table.whole("class_c", 0, 0, joining),
    }


def _parse(content: bytes, file: str) -> tuple[str, dict[str, Any]]:
    if len(content) > MAX_BYTES:
        raise SettingsError([Problem(file, 1, "file", f"has more than {MAX_BYTES >> 20} MiB: this is something else")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError([Problem(file, line, "file", "is not UTF-8 text")]) from error
    try:
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # tomllib says the line only in words; a number too long for Python and too many brackets have none.
        said = re.search(r"line (\d+)", str(error))
        problem = "is nested too deeply" if isinstance(error, RecursionError) else f"is not TOML: {error}"
        raise SettingsError([Problem(file, int(said[1]) if said else 1, "syntax", problem)]) from error


class _Problems:
    """What is wrong with the file, with the line of the key."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._found: list[tuple[tuple[str, ...], str]] = []

    def add(self, path: tuple[str, ...], text: str) -> None:
        self._found.append((path, text))

    def raise_if_any(self) -> None:
        if not self._found:
            return
        lines = _lines_of_keys(self._text)
        problems = [
            Problem(self._file, _line_of(path, lines), ".".join(map(_written, path)) or "file", text)
            for path, text in self._found
        ]
        raise SettingsError(sorted(problems, key=lambda problem: problem.line))


class _Table:
    """A TOML table read key by key; what is missing or wrong is noted, and something harmless returned in its place."""

    def __init__(self, problems: _Problems, path: tuple[str, ...], values: Mapping[str, Any]) -> None:
        self._problems = problems
        self._path = path
        self._values = values
        self._read: dict[str, None] = {}  # in the order of reading

    def names(self) -> list[str]:
        """The keys there are."""
        return list(self._values)

    def table(self, key: str) -> _Table:
        """A table below; an empty one stands in for it where it is missing or none."""
        value = self._take(key)
        if isinstance(value, dict):
            return _Table(self._problems, (*self._path, key), value)
        if value is None:
            self.note(key, "is missing")
        else:
            self.note(key, f"is a table, not {_shown(value)}")
        return _Table(self._problems, (*self._path, key), {})

    def optional_table(self, key: str) -> _Table | None:
        """A table below, or None."""
        if key in self._values:
            return self.table(key)
        self._read[key] = None
        return None

    def text(self, key: str, default: str) -> str:
        """A line of text."""
        value = self._take(key)
        if value is None:
            return default
        if not _is_line(value):
            self.note(key, f"is a line of text, not {_shown(value)}")
            return default
        return str(value)

    def texts(self, key: str, default: tuple[str, ...], among: Collection[str] | None = None) -> tuple[str, ...]:
        """Lines of text, at least one; each of `among`, if given."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, list) or not value or not all(map(_is_line, value)):
            self.note(key, f"is a list of texts, with at least one, not {_shown(value)}")
            return default
        for text in value:
            if among is not None and text not in among:
                self.note(key, f"names {_shown(text)}, which is not in [places]{_nearest(text, among)}")
        return tuple(text for text in value if among is None or text in among)

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        """A whole number of low … high; None as default means that it has to be there."""
        value = self._take(key)
        if value is None:
            return self._missing(key, low) if default is None else default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.note(key, f"is a whole number of {low} to {high}, not {_shown(value)}")
            return low
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        """A number of low … high; None as default means that it has to be there."""
        value = self._take(key)
        if value is None:
            return self._missing(key, low) if default is None else default
        if not _is_number(value) or not low <= value <= high:
            self.note(key, f"is a number of {low:g} to {high:g}, not {_shown(value)}")
            return low
        return float(value)

    def duration(self, key: str, default_s: float, low_s: float, high_s: float) -> float:
        """Seconds, written with a unit."""
        value = self._take(key)
        if value is None:
            return default_s
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self.note(key, f'is a duration such as "30s", "15min", "12h" or "3d", not {_shown(value)}')
            return default_s
        seconds = float(match[1]) * _UNITS_S[match[2]]
        if not low_s <= seconds <= high_s:
            self.note(key, f"is {value}, it has to be from {low_s:g}s to {high_s:g}s")
            return default_s
        return seconds

    def coordinates(self, key: str) -> Coordinates:
        """Latitude and longitude as a pair."""
        value = self._take(key)
        if not _is_line(key):
            self.note(key, "is no name for a place")
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(map(_is_number, value))
            or not (abs(value[0]) <= 89 and abs(value[1]) <= 180)
        ):
            self.note(key, f"is [latitude, longitude] in degrees, not {_shown(value)}")
            return Coordinates(0, 0)
        return Coordinates(float(value[0]), float(value[1]))

    def refuse_the_rest(self) -> None:
        """Note the keys that nobody asked for."""
        for key in self._values:
            if key not in self._read:
                self.note(key, f"is not known here{_nearest(key, self._read)}")

    def _take(self, key: str) -> Any:
        self._read[key] = None
        return self._values.get(key)

    def _missing(self, key: str, stand_in: Any) -> Any:
        self.note(key, "is missing")
        return stand_in

    def note(self, key: str, text: str) -> None:
        """A problem with this key."""
        self._problems.add((*self._path, key), text)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and not value.isspace() and 0 < len(value) <= 200


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 - no NaN


def _written(part: str) -> str:
    return part if re.fullmatch(r"[\w-]+", part) else _shown(part)


def _nearest(text: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(text[:80], known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _shown(value: object) -> str:
    """A value as it may stand in a message: one line, not too long."""
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits, written in hex
        return "this value"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _line_of(path: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    """The line of the key, or of the innermost table that has one."""
    return next((lines[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in lines), 1)


_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS = rf"({_KEY}(?:[ \t]*\.[ \t]*{_KEY})*)[ \t]*"
_TABLE_LINE = re.compile(rf"[ \t]*\[[ \t]*{_KEYS}\]")
_KEY_LINE = re.compile(rf"[ \t]*{_KEYS}=")


def _lines_of_keys(text: str) -> dict[tuple[str, ...], int]:
    """The line of each table and of each key that starts one. `text` is known to be TOML."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _TABLE_LINE.match(line):
            table = _path_of(header[1])
            lines.setdefault(table, number)
        elif key := _KEY_LINE.match(line):
            lines.setdefault((*table, *_path_of(key[1])), number)
    return lines


def _path_of(key: str) -> tuple[str, ...]:
    """The parts of a dotted key, without quotes; none where a line of a longer text only looks like a key."""
    try:
        value: Any = tomllib.loads(f"{key} = 0")
    except ValueError:
        return ()
    path: list[str] = []
    while isinstance(value, dict):
        [(part, value)] = value.items()
        path.append(part)
    return tuple(path)
