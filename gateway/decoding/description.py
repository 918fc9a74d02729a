"""`device.toml` and `vendor.toml`: what a folder of the catalogue says of itself, read with the place of each mistake.

```toml
model = "ERS"                       # required
kind = "hygrometry"                 # required: what the device is for, in a word
version = 1                         # of description and codec together; readings carry it: elsys/ers@1
codec = "ers.py"                    # needed only where the folder holds several scripts

[[firmware]]                        # needed only where versions differ
version = "2.1"
codec = "ers_2.py"                  # the script this firmware speaks; without it, the one above

[variables.max_measure_mm]          # settings of the single device, always text
default = "3000"
description = "distance when the container is empty"

[measurements]                      # for a foreign codec: which of its values are quantities, see mapping.py
temperature = "temperature"
```

`downlink_codec` names the script for downlinks where that is another one than the script for uplinks.

The standard library's TOML reader does not say where a key stands, so `key_lines` looks for it again.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.decoding.mapping import UNITS, Rule, read_path
from gateway.decoding.quantities import QUANTITIES, Kind, lookup
from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.decoding.quantities import Quantity

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting that a codec asks of each device."""

    name: str
    default: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Firmware:
    """A version of a device's firmware, and the script that reads what it sends; "" is the device's own."""

    version: str
    codec: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What `device.toml` says."""

    model: str
    kind: str
    version: int = 1
    codec: str = ""
    firmware: tuple[Firmware, ...] = ()
    variables: tuple[Variable, ...] = ()
    measurements: tuple[Rule, ...] = ()
    downlink_codec: str = ""


def read_device(text: str, file: str) -> tuple[Description | None, list[Problem]]:
    """The description, or None and every mistake of the file."""
    reader = _Reader.open(text, file)
    table = reader.table
    model = reader.text(table, ("model",), required=True)
    kind = reader.text(table, ("kind",), required=True)
    version = table.get("version", 1)
    if type(version) is not int or version < 1:
        reader.problem(("version",), f"is a whole number from 1, not {version!r}")
    codec = reader.text(table, ("codec",))
    firmware = tuple(
        Firmware(reader.text(row, (*key, "version"), required=True), reader.text(row, (*key, "codec")))
        for key, row in reader.rows("firmware", {"version", "codec"})
    )
    variables = tuple(_variables(reader))
    measurements = tuple(_rules(reader))
    downlink = reader.text(table, ("downlink_codec",))
    known = {"model", "kind", "version", "codec", "downlink_codec", "firmware", "variables", "measurements"}
    reader.only(table, (), known)
    if reader.problems:
        return None, reader.problems
    return Description(model, kind, version, codec, firmware, variables, measurements, downlink), []


def read_vendor(text: str, file: str) -> tuple[str, list[Problem]]:
    """The vendor's name as people write it, "" when the file does not say it, and every mistake of the file."""
    reader = _Reader.open(text, file)
    name = reader.text(reader.table, ("name",))
    reader.only(reader.table, (), {"name"})
    return name, reader.problems


def _variables(reader: _Reader) -> Iterable[Variable]:
    table = reader.table.get("variables", {})
    if type(table) is not dict:
        reader.problem(("variables",), "is a table of tables: [variables.NAME]")
        return
    for name, row in table.items():
        key = ("variables", name)
        if type(row) is not dict:
            reader.problem(key, "is a table with `default` and `description`")
            continue
        reader.only(row, key, {"default", "description"})
        default = reader.text(row, (*key, "default"), required=True, empty=True)
        yield Variable(name, default, reader.text(row, (*key, "description")))


def _rules(reader: _Reader) -> Iterable[Rule]:
    table = reader.table.get("measurements", {})
    if type(table) is not dict:
        reader.problem(("measurements",), "is a table: [measurements]")
        return
    for path, row in table.items():
        key = ("measurements", path)
        if type(row) is dict and "quantity" not in row:
            reader.problem(key, "has no quantity; a path with dots is written in quotes")
            continue
        given = {"quantity": row} if type(row) is str else row
        if type(given) is not dict:
            reader.problem(key, "is the name of a quantity, or a table with `quantity`")
            continue
        reader.only(given, key, {"quantity", "unit", "scale", "offset", "when", "time"})
        rule = _rule(reader, key, path, given)
        if rule is not None:
            yield rule


def _rule(reader: _Reader, key: Key, path: str, given: Mapping[str, Any]) -> Rule | None:
    name = reader.text(given, (*key, "quantity"), required=True)
    quantity = lookup(name)
    unit = reader.text(given, (*key, "unit"))
    if quantity is None:
        if name:
            near = difflib.get_close_matches(name, QUANTITIES, n=1)
            reader.problem(key, f"{name} is no quantity" + (f"; did you mean {near[0]}?" if near else ""))
        return None
    scale, offset = _conversion(reader, key, unit or quantity.unit, quantity)
    for number in ("scale", "offset"):
        if type(given.get(number, 0)) not in {int, float}:
            reader.problem((*key, number), f"is a number, not {given[number]!r}")
            return None
    if "when" in given and (quantity.kind is not Kind.BOOL or type(given["when"]) not in {str, int, float, bool}):
        reader.problem((*key, "when"), "is the value for which a quantity of true and false is true")
    try:
        time = reader.text(given, (*key, "time"))
        own = given.get("scale", 1)
        offset = offset + given.get("offset", 0) * scale
        time_path = read_path(time) if time else None
        return Rule(read_path(path), quantity, name, scale * own, offset, given.get("when"), time_path)
    except ValueError as error:
        reader.problem(key, str(error))
        return None


def _conversion(reader: _Reader, key: Key, unit: str, quantity: Quantity) -> tuple[float, float]:
    if unit == quantity.unit:
        return 1, 0
    if (unit, quantity.unit) not in UNITS:
        known = [theirs for theirs, ours in UNITS if ours == quantity.unit]
        can = ", ".join([quantity.unit or "no unit", *known])
        reader.problem((*key, "unit"), f"{unit} cannot be made {quantity.unit or 'of no unit'}; known are {can}")
        return 1, 0
    return UNITS[unit, quantity.unit]


class _Reader:
    """Takes typed values out of a parsed file and collects what is wrong, each with its line."""

    def __init__(self, file: str, lines: Mapping[Key, int], table: dict[str, Any]) -> None:
        self.file = file
        self.lines = lines
        self.table = table
        self.problems: list[Problem] = []

    @classmethod
    def open(cls, text: str, file: str) -> _Reader:
        try:
            return cls(file, key_lines(text), tomllib.loads(text))
        except (ValueError, RecursionError) as error:  # TOMLDecodeError, and numbers of 5000 digits
            reader = cls(file, {}, {})
            place = re.search(r"\(at line (\d+)", str(error))
            line = int(place[1]) if place else text.count("\n") + 1
            reader.problems.append(Problem(file, line, "-", f"is no TOML: {error}"))
            return reader

    def problem(self, key: Key, text: str) -> None:
        line = next((self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines), 1)
        shown = ".".join(str(part) for part in key if type(part) is str) or "-"
        self.problems.append(Problem(self.file, line, shown, text))

    def text(self, table: Mapping[str, Any], key: Key, *, required: bool = False, empty: bool = False) -> str:
        value = table.get(str(key[-1]))
        if value is None:
            if required and not self._unreadable():
                self.problem(key, "is missing")
            return ""
        if type(value) is not str:
            self.problem(key, f"is a text in quotes, not {value!r}")
            return ""
        if not value and not empty:
            self.problem(key, "is empty")
        return value

    def rows(self, name: str, known: set[str]) -> Iterable[tuple[Key, dict[str, Any]]]:
        rows = self.table.get(name, [])
        if type(rows) is not list or any(type(row) is not dict for row in rows):
            self.problem((name,), f"is written as [[{name}]], one table for each")
            return
        for index, row in enumerate(rows):
            self.only(row, (name, index), known)
            yield (name, index), row

    def only(self, table: Mapping[str, Any], key: Key, known: set[str]) -> None:
        for name in table.keys() - known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
            self.problem((*key, name), f"is not known; {hint}")

    def _unreadable(self) -> bool:
        return any(problem.key == "-" for problem in self.problems)


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def key_lines(text: str) -> dict[Key, int]:
    """The line of every key and table of a TOML text; elements of `[[arrays]]` are numbered from 0.

    Keys inside inline tables and multi-line values are not found: a mistake there is shown at the key that holds them.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:  # inside a multi-line text
            fence = "" if fence in line else fence
            continue
        if header := _HEADER.match(line):
            table = tuple(part.strip("\"'") for part in _PART.findall(header[2]))
            if header[1] == "[[":
                lines.setdefault(table, number)
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = (*table, *(part.strip("\"'") for part in _PART.findall(assignment[1])))
            lines.setdefault(key, number)
            value = line[assignment.end() :]
            fence = next((quotes for quotes in ('"""', "'''") if value.count(quotes) == 1), "")
    return lines
