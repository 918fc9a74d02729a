"""Readings as lines of a file: JSON lines, and CSV with one row for each measurement.

In both forms every line ends where it says: a line break inside a value would make a half-written line look like two
whole ones. `key` tells which reading a line is of, so that one that is there already is not written again.

CSV follows RFC 4180 (commas, quotes doubled, CR LF, a header). Its columns depend on nothing but which fields leave. A
cell of text that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP's page on CSV injection
advises: names, tags and codecs' words are not written by who opens the file.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from gateway.wire.own_json import FIELDS, json_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from gateway.model import Record
    from gateway.wire.privacy import Privacy

_MEASUREMENT: Final = ("quantity", "value", "unit", "measured")
_RADIO: Final = (
    *("frequency_hz", "modulation", "spreading_factor", "bandwidth_hz", "coding_rate", "bit_rate"),
    *("rssi_dbm", "snr_db", "channel", "rf_chain"),
)
_FORMULA: Final = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Form(Protocol):
    """How readings stand in a file."""

    @property
    def header(self) -> bytes:
        """The first line, with its end; empty when there is none."""
        ...

    def lines(self, record: Record) -> Sequence[bytes]:
        """A reading, as whole lines."""
        ...

    def key(self, line: bytes) -> str | None:
        """Which reading this line (without its end) is of; None when it is no line of this form."""
        ...


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One object a line: our own JSON."""

    privacy: Privacy
    header: bytes = b""

    def lines(self, record: Record) -> Sequence[bytes]:
        """One."""
        return (self.privacy.reading_bytes(record) + b"\n",)

    def key(self, line: bytes) -> str | None:
        """Its record id and time."""
        try:
            said = orjson.loads(line)
        except ValueError:
            return None
        return f"{said['record_id']} {said.get('time')}" if isinstance(said, dict) and "record_id" in said else None


class Csv:
    """One row for each measurement; a reading without any has one with these cells empty."""

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._columns = columns(privacy.keys)
        self.header = _row(self._columns)
        self._width = len(self._columns)
        self._record_id = self._columns.index("record_id")
        self._measured = self._columns.index(_MEASUREMENT[0]) if "measurements" in privacy.keys else None
        self._time = self._columns.index("time") if "time" in self._columns else None

    def lines(self, record: Record) -> Sequence[bytes]:
        """As many as it has measurements and these leave, at least one."""
        reading = self._privacy.reading(record)
        flat = {**reading, **(reading.get("radio") or {})}
        shared = [_cell(flat.get(name)) for name in self._columns]
        measurements: Sequence[Mapping[str, Any]] = reading.get("measurements") or ()
        if self._measured is None or not measurements:
            return [_row(shared)]
        before, after = shared[: self._measured], shared[self._measured + len(_MEASUREMENT) :]
        cells = ([_cell(one.get(key)) for key in ("quantity", "value", "unit", "time")] for one in measurements)
        return [_row([*before, *own, *after]) for own in cells]

    def key(self, line: bytes) -> str | None:
        """Its record id and time."""
        try:
            rows = list(csv.reader([line.decode("utf-8").removesuffix("\r")], strict=True))
        except (csv.Error, UnicodeDecodeError):
            return None
        if len(rows) != 1 or len(rows[0]) != self._width:
            return None
        return f"{rows[0][self._record_id]} {rows[0][self._time] if self._time is not None else None}"


def columns(keys: AbstractSet[str]) -> list[str]:
    """The columns for these keys of a reading, in the usual order; what is nested has several."""
    nested = {"measurements": _MEASUREMENT, "radio": _RADIO}
    return [column for name in FIELDS if name in keys for column in nested.get(name, (name,))]


def _row(cells: Sequence[str | float]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> str | float:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return value
        case str():
            text = _CONTROL.sub(" ", value)
            return f"'{text}" if _FORMULA.match(text.lstrip()) else text
        case _:
            return json_bytes(value).decode()


# --- which file -----------------------------------------------------------------------------------------------------

_SPELLINGS: Final = ((86_400, "%Y-%m-%d"), (3_600, "%Y-%m-%dT%H"), (60, "%Y-%m-%dT%H%M"), (1, "%Y-%m-%dT%H%M%S"))


def period_of(utc_us: int, rotate_s: int) -> str:
    """The name of the period that a moment is in: `2026-11-23` of days, `2026-11-23T08` of hours; all in UTC."""
    start_s = utc_us // 1_000_000 // rotate_s * rotate_s
    spelling = next(spelling for unit_s, spelling in _SPELLINGS if rotate_s % unit_s == 0)
    try:
        start = _EPOCH + timedelta(seconds=start_s)
    except OverflowError:
        return "undated"
    return start.strftime(spelling) if start.year >= 1970 else "undated"
