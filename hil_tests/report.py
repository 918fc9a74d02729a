"""The report of a run on the bench: one page that stands by itself."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import __version__
from hil_tests.charts import SERIES, drawn

if TYPE_CHECKING:
    from hil_tests.bench_file import BenchFile
    from hil_tests.figures import Figures
    from hil_tests.measure import Measure

WORDS = {"passed": "passed", "failed": "failed", "skipped": "left out"}


@dataclass
class Outcome:
    """One test: what it says, what became of it, what it measured."""

    name: str
    says: str
    outcome: str
    took_s: float
    words: str
    figures: Figures
    trace: str = ""


@dataclass
class Run:
    """One run of the tests of this folder."""

    file: BenchFile
    measure: Measure
    parts: list[tuple[str, str]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    log: str = ""
    page: Path | None = None
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))


def write_report(run: Run, path: Path) -> Path:
    """Write the page; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(run), encoding="utf-8")
    return path


def page(run: Run) -> str:
    """The page as HTML."""
    outcomes = list(run.outcomes.values())
    counted = {kind: sum(one.outcome == kind for one in outcomes) for kind in WORDS}
    verdict = "failed" if counted["failed"] else "passed"
    title = f"Bench {'failed' if verdict == 'failed' else 'passed'}"
    sums = ", ".join(f"{count} {WORDS[kind]}" for kind, count in counted.items() if count)
    kind = "virtual" if run.file.is_virtual else "real"
    parts = [
        ("Gateway", f"{__version__} on {platform.machine()}, Python {platform.python_version()}"),
        ("When", f"{run.begun:%Y-%m-%d %H:%M} UTC"),
        ("Bench", f"{kind}, profile {run.measure.name}"),
        *run.parts,
    ]
    contents = "".join(
        f'<li class={one.outcome}><a href="#t{at}">{escape(one.says)}</a></li>' for at, one in enumerate(outcomes)
    )
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta name=viewport content="width=device-width, initial-scale=1">'
        f'<meta name=color-scheme content="light dark"><title>{title}</title><style>{_style()}</style></head><body>'
        f"<header><h1 class={verdict}>{title}</h1><p>{escape(sums)}</p>"
        f"<dl>{''.join(f'<dt>{escape(name)}<dd>{escape(value)}' for name, value in parts)}</dl></header>"
        f"<nav><ol>{contents}</ol></nav><main>"
        + "".join(_section(at, one) for at, one in enumerate(outcomes))
        + f"</main>{_log(run.log)}</body></html>\n"
    )


def _section(at: int, one: Outcome) -> str:
    facts = "".join(
        f"<div><dt>{escape(fact.name)}</dt><dd>{escape(fact.value)}"
        + (f"<small>{escape(fact.limit)}</small>" if fact.limit else "")
        + "</dd></div>"
        for fact in one.figures.facts
    )
    words = ""
    if one.outcome == "failed":
        words = f"<pre class=why>{escape(one.words)}</pre>"
        words += f"<details><summary>Where</summary><pre>{escape(one.trace)}</pre></details>"
    elif one.words:
        words = f"<p class=note>{escape(one.words)}</p>"
    return (
        f"<section id=t{at}><h2><b class={one.outcome}>{WORDS[one.outcome]}</b> {escape(one.says)}</h2>"
        f"{words}{f'<dl class=facts>{facts}</dl>' if facts else ''}"
        + "".join(drawn(figure) for figure in one.figures.shown)
        + f"<p class=took>{escape(one.name)}, {one.took_s:.1f} s</p></section>"
    )


def _log(log: str) -> str:
    lines = log.splitlines()[-200:]
    if not lines:
        return ""
    return f"<details><summary>The gateway's log</summary><pre>{escape(chr(10).join(lines))}</pre></details>"


def _style() -> str:
    """The page's rules, and the colours of its curves."""
    curves = (
        f".s{at}{{stroke:var(--s{at})}}circle.s{at},rect.s{at}{{fill:var(--s{at})}}i.s{at}{{background:var(--s{at})}}"
        for at in range(SERIES)
    )
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8") + "".join(curves)
