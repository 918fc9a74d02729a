"""Figures as SVG and HTML, by hand: the page has to open on a phone without network, in light and in dark."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from hil_tests.figures import Figure, Grid, Histogram, Lines, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 40
SERIES = 6
"""So many colours there are; a seventh curve has the first one's."""

BARS = 24

LONGEST_WORD = 22
"""Characters of a cell that stays on one line."""


def drawn(figure: Figure) -> str:
    """A figure with its title and note."""
    match figure:
        case Table():
            body = _table(figure)
        case Grid():
            body = _grid(figure)
        case Lines():
            body = _lines(figure)
        case Histogram():
            body = _histogram(figure)
    note = f"<p class=note>{escape(figure.note)}</p>" if figure.note else ""
    return f"<figure><figcaption>{escape(_title(figure))}</figcaption>{body}{note}</figure>"


def _title(figure: Figure) -> str:
    return f"{figure.title}, by {figure.column_name}" if isinstance(figure, Grid) else figure.title


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(map(_words, row)) + "</tr>" for row in table.rows)
    return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in grid.columns)
    rows = ""
    for name, cells in zip(grid.rows, grid.cells, strict=True):
        rows += f"<tr><th>{escape(name)}</th>" + "".join(_cell(cell, grid) for cell in cells) + "</tr>"
    return (
        f"<div class=wide><table class=grid><thead><tr><th>{escape(grid.row_name)}</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: float | None, grid: Grid) -> str:
    if cell is None:
        return "<td class=none>-</td>"
    share = min(max(cell / grid.most, 0.0), 1.0) if grid.most else 0.0
    strong = " class=strong" if share > 0.55 else ""
    return f'<td{strong} style="--share:{100 * share:.0f}%">{round(cell, 1):g}{escape(grid.unit)}</td>'


def _words(cell: str) -> str:
    return f"<td{' class=words' if len(cell) > LONGEST_WORD else ''}>{escape(cell)}</td>"


# --- axes -----------------------------------------------------------------------------------------------------------


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(at * step, 12) for at in range(first, last + 1)]


class _Axes:
    def __init__(self, xs: Sequence[float], ys: Sequence[float], *, from_zero: bool = False) -> None:
        self.x0, self.x1 = _room(xs)
        self.y0, self.y1 = _room([0.0, *ys] if from_zero else ys)
        if from_zero:
            self.y0 = 0.0

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def frame(self, x_name: str, y_name: str) -> str:
        parts = []
        for at in ticks(self.y0, self.y1):
            y = self.y(at)
            parts.append(f"<line class=rule x1={LEFT} x2={WIDTH - RIGHT} y1={y:.1f} y2={y:.1f} />")
            parts.append(f"<text x={LEFT - 8} y={y + 4:.1f} text-anchor=end>{at:g}</text>")
        for at in ticks(self.x0, self.x1, 6):
            x = self.x(at)
            parts.append(f"<line class=tick x1={x:.1f} x2={x:.1f} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM + 4} />")
            parts.append(f"<text x={x:.1f} y={HEIGHT - BOTTOM + 18} text-anchor=middle>{at:g}</text>")
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f"<text class=name x={middle:.0f} y={HEIGHT - 6} text-anchor=middle>{escape(x_name)}</text>")
        height = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class=name transform="translate(11 {height:.0f}) rotate(-90)" text-anchor=middle>'
            f"{escape(y_name)}</text>"
        )
        return "".join(parts)


def _room(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high - low < 1e-9:
        return low - 1, high + 1
    spare = (high - low) * 0.04
    return low - spare, high + spare


def _svg(body: str, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{escape(label, quote=True)}">{body}</svg>'


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    keys = "".join(f"<li><i class=s{at % SERIES}></i>{escape(name)}</li>" for at, name in enumerate(names))
    return f"<ul class=legend>{keys}</ul>"


# --- charts ---------------------------------------------------------------------------------------------------------


def _lines(lines: Lines) -> str:
    points = [point for series in lines.series.values() for point in series]
    if not points:
        return "<p class=note>nothing was measured</p>"
    axes = _Axes([x for x, _ in points], [y for _, y in points], from_zero=lines.from_zero)
    body = axes.frame(lines.x_name, lines.y_name)
    if lines.diagonal:
        low, high = max(axes.x0, axes.y0), min(axes.x1, axes.y1)
        ends = f"x1={axes.x(low):.1f} y1={axes.y(low):.1f} x2={axes.x(high):.1f} y2={axes.y(high):.1f}"
        body += f"<line class=equal {ends} />"
    for at, (name, series) in enumerate(lines.series.items()):
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in series)
        if not lines.points_only:
            body += f'<polyline class=s{at % SERIES} points="{path}" />'
        for x, y in series:
            body += (
                f"<circle class=s{at % SERIES} cx={axes.x(x):.1f} cy={axes.y(y):.1f} r=3>"
                f"<title>{escape(name)}: {x:g}, {y:g}</title></circle>"
            )
    return _svg(body, lines.title) + _legend(list(lines.series))


def binned(values: Mapping[str, Sequence[float]], bars: int = BARS) -> tuple[list[float], dict[str, list[int]]]:
    """The edges of equal bins over all values, and how many of each series fall into each. Whole numbers that span
    little get a bin each."""
    everything = [value for series in values.values() for value in series]
    if not everything:
        return [0.0, 1.0], {name: [0] for name in values}
    low, high = min(everything), max(everything)
    whole = all(float(value).is_integer() for value in everything)
    if whole and high - low < bars:
        low, high = low - 2.5, high + 2.5
        count = round(high - low)
    else:
        spare = (high - low) * 0.02 or 0.5
        low, high, count = low - spare, high + spare, bars
    width = (high - low) / count
    edges = [low + at * width for at in range(count + 1)]
    counts = {name: [0] * count for name in values}
    for name, series in values.items():
        for value in series:
            counts[name][min(int((value - low) / width), count - 1)] += 1
    return edges, counts


def _histogram(histogram: Histogram) -> str:
    edges, counts = binned(histogram.values)
    most = max((value for series in counts.values() for value in series), default=1)
    axes = _Axes([edges[0], edges[-1]], [float(most)], from_zero=True)
    axes.x0, axes.x1 = edges[0], edges[-1]
    body = axes.frame(histogram.x_name, "how often")
    share = 1 / max(len(counts), 1)
    for at, (name, series) in enumerate(counts.items()):
        for place, value in enumerate(series):
            if not value:
                continue
            full = axes.x(edges[place + 1]) - axes.x(edges[place])
            x, width = axes.x(edges[place]) + full * (0.06 + 0.88 * share * at), full * 0.88 * share
            y = axes.y(value)
            middle = (edges[place] + edges[place + 1]) / 2
            body += (
                f"<rect class=s{at % SERIES} x={x:.1f} y={y:.1f} width={width:.1f} "
                f"height={HEIGHT - BOTTOM - y:.1f}><title>{escape(name)}: {value} at {middle:.3g}</title></rect>"
            )
    return _svg(body, histogram.title) + _legend(list(counts))
