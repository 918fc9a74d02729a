"""What a test measured, in shapes that a page can show. A number has its unit; a judgement, its limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Fact:
    """One number or word, what it is, and what it had to be."""

    name: str
    value: str
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """Numbers by row and column, shown as shades; None: not measured. `most` is the darkest."""

    title: str
    row_name: str
    rows: Sequence[str]
    column_name: str
    columns: Sequence[str]
    cells: Sequence[Sequence[float | None]]
    most: float
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Curves over one axis, by name."""

    title: str
    x_name: str
    y_name: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    note: str = ""
    points_only: bool = False
    diagonal: bool = False  # a line where both are equal
    from_zero: bool = False  # where a small change is to look small


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often each value came, by name of the series."""

    title: str
    x_name: str
    values: Mapping[str, Sequence[float]]
    note: str = ""


Figure = Table | Grid | Lines | Histogram


@dataclass
class Figures:
    """What one test has to show."""

    facts: list[Fact] = field(default_factory=list)
    shown: list[Figure] = field(default_factory=list)

    def fact(self, name: str, value: object, limit: str = "") -> None:
        """Note a number or a word."""
        self.facts.append(Fact(name, f"{value:g}" if isinstance(value, float) else str(value), limit))

    def show(self, figure: Figure) -> None:
        """Note a table or a chart."""
        self.shown.append(figure)
