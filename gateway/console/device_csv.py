"""CSV files of devices: what `device import` reads and `device export` writes.

Spreadsheets write CSV as their country likes it: commas or semicolons, a byte order mark or none, any line ending. All
of that is read; what cannot be read is a problem with its line, and all problems come at once.
"""

from __future__ import annotations

import codecs as encodings
import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.console.device_file import FIELDS, Described, read_device
from gateway.errors import Problem, SettingsError
from gateway.settings.toml_file import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from gateway.console.device_file import CodecNames
    from gateway.model import DevEui
    from gateway.store.devices import NewDevice

LABELS = ("var", "tag")
MAX_BYTES = 256 << 20  # a million devices and some; more is no device list


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: list[str]


def read_devices(content: bytes, file: str, codecs: CodecNames, known: Collection[DevEui]) -> list[NewDevice]:
    """Every device of the file; SettingsError with every problem in it. `known` are those that exist already."""
    problems: list[Problem] = []
    rows = _rows(_text(content, file), file, problems)
    header = next(rows, None)
    if header is None:
        raise SettingsError(problems or [Problem(file, 1, "file", "is empty: its first line names the columns")])
    columns = _columns(header, file, problems)
    if not {"dev_eui", "name"} <= set(columns):
        raise SettingsError(problems)  # every row would repeat the same mistake
    devices: list[NewDevice] = []
    first: dict[DevEui, int] = {}
    for row in rows:
        described = _described(row, columns, file, problems)
        device, mistakes = read_device(described, codecs)
        problems += (Problem(file, row.line, key, text) for key, text in mistakes)
        if device is None:
            continue
        dev_eui = device.device.dev_eui
        if dev_eui in first:
            problems.append(Problem(file, row.line, "dev_eui", f"is {dev_eui}, as in line {first[dev_eui]}"))
        elif dev_eui in known:
            problems.append(Problem(file, row.line, "dev_eui", f"is {dev_eui}, a device that exists already"))
        first.setdefault(dev_eui, row.line)
        devices.append(device)
    if problems:
        raise SettingsError(sorted(problems, key=lambda problem: problem.line))
    if not devices:
        raise SettingsError([Problem(file, header.line, "file", "has a header and no device")])
    return devices


# --- bytes to rows --------------------------------------------------------------------------------------------------


def _text(content: bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        raise SettingsError([Problem(file, 1, "file", f"has more than {MAX_BYTES >> 20} MiB: this is something else")])
    encoding = "utf-16" if content.startswith((encodings.BOM_UTF16_LE, encodings.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(file, line, "file", 'is not UTF-8 text: save it as "CSV UTF-8"')
        raise SettingsError([problem]) from error


def _rows(text: str, file: str, problems: list[Problem]) -> Iterator[_Row]:
    """The rows that have something in them, each with the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield _Row(line, stripped)
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(file, line, "row", f"is no CSV: {error}"))


def _delimiter(text: str) -> str:
    """The separator of the first line that has something in it; names of columns have none inside."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=header.count)


# --- rows to devices ------------------------------------------------------------------------------------------------


def _columns(header: _Row, file: str, problems: list[Problem]) -> list[str | None]:
    """What each column is; None for one nobody knows, which is a problem."""
    columns: list[str | None] = []
    for cell in header.cells:
        name = _column(cell)
        if name is None and cell:
            name = nearest(cell, [*FIELDS, *LABELS])  # the rows are judged as they were meant
            offer = f"did you mean {name}?" if name else f"known: {', '.join(FIELDS)}, var.NAME, tag.NAME"
            problems.append(Problem(file, header.line, shown(cell)[1:-1], f"is no column; {offer}"))
            name = None if name in columns and name not in LABELS else name
        elif name in columns and name not in LABELS and name is not None:
            problems.append(Problem(file, header.line, name, "is the name of two columns"))
            name = None
        columns.append(name)
    problems += (
        Problem(file, header.line, name, "is missing: no column has this name")
        for name in ("dev_eui", "name")
        if name not in columns
    )
    return columns


def _column(cell: str) -> str | None:
    kind, dot, label = cell.partition(".")
    if dot and label and kind.lower() in LABELS:
        return f"{kind.lower()}.{label}"
    name = cell.lower().replace("-", "_").replace(" ", "_")
    return name if name in FIELDS or name in LABELS else None


def _described(row: _Row, columns: Sequence[str | None], file: str, problems: list[Problem]) -> Described:
    if any(row.cells[len(columns) :]):
        text = f"has {len(row.cells)} cells, the header {len(columns)}: quote a cell that has a separator in it"
        problems.append(Problem(file, row.line, "row", text))
    fields: dict[str, str] = {}
    labels: dict[str, dict[str, str]] = {kind: {} for kind in LABELS}
    for column, cell in zip(columns, row.cells, strict=False):
        if not cell or column is None:
            continue
        kind, dot, label = column.partition(".")
        if kind not in LABELS:
            fields[column] = cell
            continue
        for name, value in [(label, cell)] if dot else _pairs(cell):
            if not name or not value:
                problems.append(Problem(file, row.line, kind, f"has {shown(name + value)}, which is not NAME=VALUE"))
            elif name in labels[kind]:
                problems.append(Problem(file, row.line, kind, f"gives {shown(name)} twice"))
            else:
                labels[kind][name] = value
    return Described(fields, labels["var"], labels["tag"])


def _pairs(cell: str) -> Iterator[tuple[str, str]]:
    """The NAME=VALUE pairs of a cell."""
    parts = cell.split()
    if ";" in cell or not all("=" in part for part in parts):
        parts = cell.split(";")
    for part in filter(str.strip, parts):
        name, _, value = part.partition("=")
        yield name.strip(), value.strip()


# --- and back -------------------------------------------------------------------------------------------------------


def write_devices(devices: Iterable[Described]) -> str:
    """A CSV file that `read_devices` reads back, with the columns that are in use."""
    rows = [
        {
            **device.fields,
            **{f"var.{name}": value for name, value in device.variables.items()},
            **{f"tag.{name}": value for name, value in device.tags.items()},
        }
        for device in devices
    ]
    used = {name for row in rows for name in row}
    columns = [name for name in FIELDS if name in used or name in {"dev_eui", "name", "codec"}]
    columns += sorted(used - set(columns))
    output = io.StringIO(newline="")
    writer = csv.DictWriter(output, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()
