"""The judge over whole histories in one process: virtual time, misbehaving destinations, a disk whose power is cut.

hypothesis makes up short histories and shrinks one that breaks a promise; long lives come from a seed. JUDGE_HISTORIES
and JUDGE_LIVES ask for more of either (`make soak`).
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleet import Fleet
from history import (
    AskAgain,
    Break,
    Event,
    Hear,
    Kill,
    Learn,
    Leave,
    Pass,
    Pause,
    PowerCut,
    Repeat,
    Replay,
    Resume,
    Return,
    Silence,
    Slow,
    Stop,
    Tidy,
    TurnAway,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place
from simulated_disk import SimulatedDisk
from world import World

from gateway.delivery.drain import Manners

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from verdict import Verdict

HISTORIES = int(os.environ.get("JUDGE_HISTORIES") or 60)
LIVES = int(os.environ.get("JUDGE_LIVES") or 6)
HOURS_DEAD = 4
MEMORY = Path("/dev/shm")

FLEET = Fleet(7, tags=({"kind": "water"}, {"kind": "glass"}))
PLACES = (
    Place("city", Manners(backlog_delay_s=5, in_flight=8, backlog_per_s=100)),
    Place("ledger", Manners(live_first=False, in_flight=4, backlog_per_s=100), refuses=lambda number: number % 17 == 3),
    Place(
        "water",
        Manners(backlog_delay_s=0, in_flight=3, only_tags={"kind": "water"}),
        wants=lambda number: FLEET.tags(number)["kind"] == "water",
    ),
)
CITY, LEDGER, WATER = range(3)


@pytest.fixture(scope="module")
def disk() -> Iterator[SimulatedDisk]:
    """The disk under every store of this module."""
    with SimulatedDisk() as disk:
        yield disk


@pytest.fixture
def tell(disk: SimulatedDisk) -> Iterator[object]:
    """Let a history happen; the verdict."""
    root = Path(tempfile.mkdtemp(prefix="gateway-judge-", dir=MEMORY if MEMORY.is_dir() else None))
    folders = itertools.count()

    def tell(history: Sequence[Event], seed: int = 0) -> Verdict:
        folder = root / str(next(folders))
        verdict = World(folder, disk, FLEET, PLACES, seed=seed).tell(history)
        shutil.rmtree(folder)
        return verdict

    yield tell
    shutil.rmtree(root)


# --- one thing at a time


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([Hear(20), Pass(60)], id="nothing at all"),
        pytest.param([Hear(20), Kill(0.5)], id="a kill"),
        pytest.param([Hear(20), Kill(0.5), Kill(0.5), Kill(0.5), Hear(20)], id="kills during the start (T-13)"),
        pytest.param([Hear(3), Hear(3), Kill(0.25)], id="a handful that waits at the start"),
        pytest.param([Hear(20), Leave(CITY), Stop(), Hear(1)], id="a stop while a destination goes away"),
        pytest.param([Hear(400), Stop(), Leave(LEDGER), Hear(400), Stop()], id="a start soon after a new part"),
        pytest.param([Hear(10), PowerCut(1.0, 1)], id="a power cut on the first day of a destination"),
        pytest.param([Hear(60), PowerCut(0.5, 0)], id="a power cut in the midst of a commit"),
        pytest.param([Hear(500), Pass(400), Hear(1), Tidy(), Kill(1), Replay(100)], id="a kill after a part has left"),
        pytest.param([Leave(WATER), *4 * [Hear(400), Pass(60)], Tidy()], id="parts that leave undelivered (T-08)"),
        pytest.param(
            [Hear(9), PowerCut(1, 1), Hear(30), Pass(9), Learn(), Kill(1)], id="a kill when the time is known"
        ),
        pytest.param(
            [PowerCut(1, 1), Slow(CITY, 2), Slow(LEDGER, 2), Hear(30), Pass(1), Learn()], id="dated on its way (T-60)"
        ),
        pytest.param([Hear(10), Repeat(), Kill(0.9), Repeat(), Hear(5)], id="repetitions over a kill (T-71)"),
        pytest.param([Silence(CITY), Hear(50), Pass(1), Stop(), Hear(5)], id="a stop with a full window (T-15)"),
        pytest.param([TurnAway(LEDGER), Hear(30), Pass(90), Hear(30)], id="a record that is turned away once"),
        pytest.param([Hear(10), Pause(LEDGER), Hear(60), Kill(0.8), Pass(20), Resume(LEDGER)], id="a pause and a kill"),
        pytest.param([Hear(90), Pass(20), AskAgain(LEDGER, 50), Kill(0.4), Pass(9)], id="asked again, and a kill"),
    ],
)
def test_every_promise_is_kept_through(history, tell):
    verdict = tell(history)
    assert verdict.clean, str(verdict)


@pytest.mark.parametrize("dead", [CITY, LEDGER])
def test_a_destination_dead_for_hours_costs_the_others_nothing(dead, tell):
    """T-56: what the living ones saw is the same to the millisecond, and the dead one gets everything in the end."""
    hours = [event for _ in range(HOURS_DEAD) for event in (Hear(5), Pass(1_800), Hear(5), Pass(1_800))]
    without, with_dead = tell(hours), tell([Leave(dead), *hours])
    assert (without.clean, with_dead.clean) == (True, True), f"{without}\n{with_dead}"
    for alive in {CITY, LEDGER, WATER} - {dead}:
        name = PLACES[alive].name
        assert with_dead.facts[f"{name} wait, ms"] == without.facts[f"{name} wait, ms"]


# --- anything


def some(event: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(event, st.sampled_from((CITY, LEDGER, WATER)))


shares = st.floats(0, 1)
events = st.one_of(
    st.builds(Hear, st.sampled_from((1, 3, 10, 60))),
    st.builds(Hear, st.sampled_from((1, 3, 10, 60))),
    st.builds(Pass, st.sampled_from((0.05, 0.5, 3.0, 10.0, 40.0))),
    st.builds(Kill, shares),
    st.builds(PowerCut, shares, st.integers(0, 1 << 30)),
    st.just(Repeat()),
    st.builds(Replay, st.sampled_from((1, 8, 50))),
    st.just(Stop()),
    st.just(Learn()),
    st.builds(Break, st.sampled_from((CITY, LEDGER, WATER)), st.integers(0, 8), st.integers(0, 8)),
    st.builds(Slow, st.sampled_from((CITY, LEDGER, WATER)), st.sampled_from((0.01, 0.3, 2.0))),
    st.builds(AskAgain, st.sampled_from((CITY, LEDGER, WATER)), st.sampled_from((1, 5, 40))),
    *map(some, (Leave, Return, Silence, TurnAway, Pause, Resume)),
)


def test_every_promise_is_kept_whatever_happens(tell):
    seen: Counter[str] = Counter()

    @settings(max_examples=HISTORIES, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(events, max_size=30))
    def happens(history):
        verdict = tell(history)
        assert verdict.clean, str(verdict)
        seen.update({name: value for name, value in verdict.facts.items() if isinstance(value, int)})

    happens()
    wanted = ("kills", "power cuts", "stops", "disturbances")
    assert all(seen[name] for name in wanted), f"nothing was proved: {seen}"


# --- a life


def life(seed: int) -> list[Event]:
    """A long one: parts are filled, and leave; everything else happens as well."""
    rng = random.Random(seed)
    at = lambda: rng.randrange(len(PLACES))  # noqa: E731
    choices = {
        lambda: Hear(rng.choice((1, 10, 150, 400))): 6,
        lambda: Pass(rng.choice((0.05, 0.5, 3, 40, 300))): 5,
        lambda: Kill(rng.random()): 3,
        lambda: PowerCut(rng.random(), rng.randrange(1 << 30)): 2,
        lambda: Replay(rng.choice((1, 30, 400))): 1,
        lambda: Break(at(), rng.randrange(9), rng.randrange(9)): 1,
        lambda: Slow(at(), rng.choice((0.01, 0.3, 2))): 1,
        lambda: AskAgain(at(), rng.choice((1, 40, 300))): 1,
        **{
            lambda kind=kind: kind(at()): 1
            for kind in (Leave, Return, Return, Silence, TurnAway, Pause, Resume, Resume)
        },
        **{lambda kind=kind: kind(): 1 for kind in (Repeat, Stop, Tidy, Tidy, Learn, Learn)},
    }
    return [make() for make in rng.choices(list(choices), list(choices.values()), k=30)]


@pytest.mark.parametrize("seed", range(LIVES))
def test_every_promise_is_kept_over_a_life(seed, tell):
    verdict = tell(life(seed), seed)
    assert verdict.clean, f"seed {seed}: {verdict}"
