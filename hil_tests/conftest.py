"""The bench for the tests of this folder, and the report of what they measured."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import GatewayError
from hil_tests import bench_file, measure
from hil_tests.bench import Bench
from hil_tests.figures import Figures
from hil_tests.report import Outcome, Run, write_report

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_RUN = pytest.StashKey[Run]()
_FIGURES = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the bench."""
    group = parser.getgroup("bench", "the bench of hil_tests/")
    group.addoption("--bench", metavar="FILE", help=f"bench file (else ${bench_file.NAMED_BY}, hil_tests/bench.toml)")
    group.addoption("--measure", choices=list(measure.PROFILES), help="how much is measured (short)")
    group.addoption("--report", metavar="DIR", help="write DIR/hil.html and DIR/hil.xml")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the bench file before anything runs: a mistake in it ends here, with its line."""
    named = config.getoption("--bench")
    try:
        file = bench_file.load(Path(named) if named else bench_file.chosen())
    except GatewayError as error:
        raise pytest.UsageError("\n".join(error.lines())) from error
    name = config.getoption("--measure") or file.profile or "short"
    config.stash[_RUN] = Run(file, measure.chosen(name, file.long_day_s))
    folder = config.getoption("--report")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        config.option.xmlpath = config.option.xmlpath or str(Path(folder) / "hil.xml")


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The bench, with a gateway that runs."""
    run = request.config.stash[_RUN]
    # A path for Semtech's library, which copies no more than 49 bytes of it.
    with tempfile.TemporaryDirectory(prefix="hil", ignore_cleanup_errors=True) as folder:
        with Bench(run.file, Path(folder)) as bench:
            run.parts = bench.description
            yield bench
        run.log = bench.gateway.log


@pytest.fixture
def running(bench: Bench) -> Bench:
    """The bench with a gateway that hears, whatever the test before has done to it."""
    bench.recover()
    return bench


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> measure.Measure:
    """How much to measure."""
    return request.config.stash[_RUN].measure


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Where a test puts its numbers: they are printed, and stand in both reports."""
    figures = Figures()
    request.node.stash[_FIGURES] = figures
    yield figures
    for fact in figures.facts:
        request.node.user_properties.append((fact.name, fact.value))
        print(f"{fact.name}: {fact.value}{f' ({fact.limit})' if fact.limit else ''}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Collect what became of each test."""
    report = yield
    run = item.config.stash[_RUN]
    if report.when == "call" or report.outcome != "passed":
        words = trace = ""
        if report.outcome == "failed":
            words, trace = _last_words(call), str(report.longrepr)[-4000:]
        elif report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            words = str(report.longrepr[2]).removeprefix("Skipped: ")
        doc = (getattr(getattr(item, "function", None), "__doc__", None) or item.name).strip().splitlines()[0]
        run.outcomes[item.nodeid] = Outcome(
            item.name, doc, report.outcome, call.duration, words, item.stash.get(_FIGURES, Figures()), trace
        )
    return report


def _last_words(call: pytest.CallInfo[None]) -> str:
    if call.excinfo is None:
        return ""
    error = call.excinfo.value
    return "\n".join(error.lines()) if isinstance(error, GatewayError) else call.excinfo.exconly()[:600]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page."""
    folder = session.config.getoption("--report")
    run = session.config.stash.get(_RUN, None)
    if folder and run is not None and run.outcomes:
        run.page = write_report(run, Path(folder) / "hil.html")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the page is."""
    run = config.stash.get(_RUN, None)
    if run is not None and run.page is not None:
        terminalreporter.write_line(f"report: {run.page}")
