"""The report of a run on the bench: one page that stands by itself."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from gateway import __version__
from hil_tests.charts import drawn

if TYPE_CHECKING:
    from pathlib import Path

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
        f'<meta name=color-scheme content="light dark"><title>{title}</title><style>{_STYLE}</style></head><body>'
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
    if one.words:
        words = f"<pre>{escape(one.words)}</pre>" if one.outcome == "failed" else f"<p class=note>{escape(one.words)}</p>"
    return (
        f"<section id=t{at}><h2><b class={one.outcome}>{WORDS.get(one.outcome, one.outcome)}</b> {escape(one.says)}</h2>"
        f"{words}{f'<dl class=facts>{facts}</dl>' if facts else ''}"
        + "".join(drawn(figure) for figure in one.figures.shown)
        + f"<p class=took>{escape(one.name)}, {one.took_s:.1f} s</p></section>"
    )


def _log(log: str) -> str:
    lines = log.splitlines()[-200:]
    if not lines:
        return ""
    return f"<details><summary>The gateway's log</summary><pre>{escape(chr(10).join(lines))}</pre></details>"


_STYLE = """
:root{--paper:#fdfdfc;--ink:#1d2126;--soft:#5d6670;--rule:#e2e4e1;--card:#fff;--good:#1a7f4b;--bad:#c0312b;--skip:#8a6d1c;
--heat:#c0312b;--s0:#2563a8;--s1:#c45a11;--s2:#1a7f4b;--s3:#8b3fa8;--s4:#a8862b;--s5:#4a5a6a}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e4e7ea;--soft:#98a2ac;--rule:#2b3036;--card:#1b1f23;
--good:#4cc38a;--bad:#ff7b72;--skip:#d9b44a;--heat:#e0564d;--s0:#6cb0f2;--s1:#f0a061;--s2:#5cc894;--s3:#cd96e6;--s4:#dcc06a;
--s5:#a9b8c8}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;overflow-wrap:break-word}
h1{margin:.2rem 0 0;font-size:1.7rem}h2{margin:0 0 .6rem;font-size:1.1rem;line-height:1.35;font-weight:600}
h1.failed,b.failed{color:var(--bad)}h1.passed,b.passed{color:var(--good)}b.skipped{color:var(--skip)}
h2 b{font-size:.8rem;text-transform:uppercase;letter-spacing:.04em;margin-right:.4rem}
header p{margin:.1rem 0 .8rem;color:var(--soft)}
header dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:0;font-size:.9rem}
header dt{color:var(--soft)}header dd{margin:0;min-width:0}
nav ol{padding-left:1.4rem;font-size:.95rem}nav a{color:inherit;text-decoration-color:var(--soft)}
nav li::marker{font-weight:700}nav li.passed::marker{color:var(--good)}nav li.failed::marker{color:var(--bad)}
nav li.skipped::marker{color:var(--skip)}nav li{padding:.15rem 0}
section{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:1rem;margin:1rem 0}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem 1rem;margin:.6rem 0}
.facts dt{color:var(--soft);font-size:.8rem;line-height:1.3}.facts dd{margin:0;font-size:1.15rem;font-weight:600;
font-variant-numeric:tabular-nums}.facts small{display:block;font-weight:400;font-size:.75rem;color:var(--soft)}
figure{margin:1.2rem 0 0}figcaption{font-weight:600;font-size:.95rem;margin-bottom:.4rem}
svg{display:block;width:100%;height:auto;font:13px system-ui,sans-serif}
svg text{fill:var(--soft);font-variant-numeric:tabular-nums}svg text.name{fill:var(--ink)}
svg .rule{stroke:var(--rule)}svg .tick{stroke:var(--soft)}svg .equal{stroke:var(--soft);stroke-dasharray:4 4}
polyline{fill:none;stroke-width:2}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--soft);font-weight:600}.grid td{text-align:right;border:1px solid var(--card);
background:color-mix(in srgb,var(--heat) var(--share),var(--card))}.grid td.strong{color:#fff}.grid td.none{color:var(--soft);
background:none;text-align:center}.grid thead th{text-align:right}.grid thead th:first-child{text-align:left}
.note,.took{color:var(--soft);font-size:.85rem;margin:.5rem 0 0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1rem;padding:0;margin:.4rem 0 0;font-size:.85rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin-right:.35rem;vertical-align:-.05rem}
pre{overflow-x:auto;font-size:.8rem;background:var(--paper);border:1px solid var(--rule);padding:.6rem;border-radius:.3rem}
details{margin:1rem 0}summary{cursor:pointer}
""" + "".join(
    f".s{at}{{stroke:var(--s{at})}}circle.s{at},rect.s{at}{{fill:var(--s{at})}}i.s{at}{{background:var(--s{at})}}"
    for at in range(6)
).replace("\n", "")
