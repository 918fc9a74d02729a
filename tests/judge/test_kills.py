"""The judge at the process: a real gateway, real datagrams, real brokers, and SIGKILL whenever it comes.

`make soak` is the long form; JUDGE_KILLS=1000 asks for as many kills, JUDGE_SEED=7 for the same instants again.
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from far_side import Liar, Mood, Road, Weather, change_for_ever, in_full
from fleet import Fleet
from rooftop import Platform, Rooftop, Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brokers import Mosquitto
    from verdict import Verdict

KILLS = int(os.environ.get("JUDGE_KILLS") or 10)
SEED = int(os.environ.get("JUDGE_SEED") or 0) or random.randrange(1, 1 << 30)
FAR_SIDE_KILLS = max(6, KILLS // 10)
FRAMES_PER_S = 50
DEVICES = 50
UP_TO_S = 2.0
SHARE_IN_THE_START = 0.2
SHARE_STOPPED = 0.1
SHARE_IN_A_DELIVERY = 0.3
SHARE_IN_A_PART = 0.1
SHARE_BROKER_RESTARTED = 0.1
SHARE_REBOOTED = 0.2
SHARE_SYNCHRONISED = 0.5  # a boot lasts five starts

pytestmark = pytest.mark.slow


@pytest.fixture
def make_patient_mosquitto(make_mosquitto) -> Callable[[], Mosquitto]:
    """A broker that keeps everything for a subscriber that is away, over its own restarts as well."""
    return lambda: make_mosquitto(persistence=True, settings=["max_queued_messages 0", "max_inflight_messages 0"])


def show(roof: Rooftop, verdict: Verdict) -> None:
    """The figures, for who looks on with -s."""
    pace = f"slowest start {roof.slowest_start_s:.1f} s, slowest stop {roof.slowest_stop_s:.1f} s"
    parts = f"log parts: {len(roof.parts)} begun, {roof.parts_left} of them left the store"
    print(f"\nseed {SEED}: {verdict}\n  {pace}\n  {parts}")  # noqa: T201 - this is what a soak is run for


async def pull_the_plug(roof: Rooftop, rng: random.Random, kills: int) -> None:
    """Start it and kill it, so many times: at any moment, or in the midst of something. Now and then stop it too."""
    for _ in range(kills):
        await roof.launch()
        if rng.random() < SHARE_STOPPED:
            await roof.answers()
            await asyncio.sleep(rng.uniform(0, 1))
            await roof.stop()
            await roof.launch()
        if rng.random() > SHARE_IN_THE_START:
            await roof.answers()
        await asyncio.sleep(rng.uniform(0, UP_TO_S / 2))
        if rng.random() < SHARE_SYNCHRONISED:
            roof.synchronise()
        await asyncio.sleep(rng.uniform(0, UP_TO_S / 2))
        await at_a_moment(roof, rng.random())
        await roof.kill()
        if rng.random() < SHARE_REBOOTED:
            roof.reboot()


async def at_a_moment(roof: Rooftop, lot: float) -> None:
    """Wait for something to be in the midst of, or for nothing."""
    if lot < SHARE_IN_A_DELIVERY:
        await roof.in_the_midst()
    elif lot < SHARE_IN_A_DELIVERY + SHARE_IN_A_PART:
        await roof.in_the_midst_of_a_part()


async def ended(task: asyncio.Task[None]) -> None:
    """End what would go on for ever, once what it is at is done."""
    task.cancel()
    await asyncio.wait([task])


async def afresh(broker: Mosquitto) -> None:
    """Wherever it was left, it runs."""
    await in_full(broker.stop)
    await in_full(broker.start)


async def restart_for_ever(roof: Rooftop, brokers: Mapping[str, Mosquitto], rng: random.Random) -> None:
    """Now and then one of the brokers is stopped, and started again; a share of the times the gateway is killed."""
    while True:
        await asyncio.sleep(rng.expovariate(SHARE_BROKER_RESTARTED / UP_TO_S))
        name = rng.choice(list(brokers))
        roof.judge.disturbed(name)
        await in_full(brokers[name].stop)
        await asyncio.sleep(rng.uniform(0, 2))
        await in_full(brokers[name].start)


async def test_whenever_it_is_killed_every_destination_gets_what_was_promised(tmp_path, make_patient_mosquitto):
    """T-11: three destinations, 50 frames a second."""
    rng = random.Random(SEED)
    brokers = {name: make_patient_mosquitto() for name in ("city", "ledger", "water")}
    sinks = [
        Sink("city", brokers["city"].port, in_flight=64),
        Sink("ledger", brokers["ledger"].port, live_first=False, in_flight=16),
        Sink("water", brokers["water"].port, in_flight=8),
    ]
    roof = Rooftop(tmp_path, Fleet(DEVICES, codec="judge/talkative"), sinks, rng, per_s=FRAMES_PER_S)
    async with AsyncExitStack() as running:
        running.push_async_callback(roof.leave)
        for sink in sinks:
            await running.enter_async_context(Platform(sink.name, roof, sink.port).listening())
        async with roof.forwarder.at_work(roof.gateway.udp_port):
            restarting = asyncio.create_task(restart_for_ever(roof, brokers, random.Random(SEED)))
            await pull_the_plug(roof, rng, KILLS)
            await ended(restarting)
            for broker in brokers.values():
                await afresh(broker)
            await roof.launch()
            await roof.calm_down()
        await roof.settle()
    verdict = roof.judge.verdict(expecting={"kills": KILLS, "repetitions": KILLS, "lost": 1, "copies": KILLS // 20})
    show(roof, verdict)
    assert verdict.clean, f"JUDGE_SEED={SEED} JUDGE_KILLS={KILLS}: {verdict}\n{roof.log}"
    assert roof.orphans() == []


async def test_destinations_that_go_away_and_lie_cost_each_other_nothing(tmp_path, make_patient_mosquitto):
    """T-50, T-51, T-56, and kills on top: one is well, one has a bad road, one lies, one is away until the end."""
    rng = random.Random(SEED)
    city, depot, farm = (make_patient_mosquitto() for _ in range(3))
    fleet = Fleet(DEVICES)
    async with AsyncExitStack() as running:
        road, blocked = [await running.enter_async_context(Road(broker.port)) for broker in (depot, farm)]
        await blocked.becomes(Weather.CLOSED)
        liar = Liar("liar", fleet, never_takes_one_in=97)
        await running.enter_async_context(liar.broker)
        sinks = [
            Sink("city", city.port), Sink("depot", road.port, in_flight=64),
            Sink("liar", liar.broker.port, in_flight=8), Sink("farm", blocked.port, live_first=False),
        ]  # fmt: skip
        roof = Rooftop(tmp_path, fleet, sinks, rng, per_s=FRAMES_PER_S)
        running.push_async_callback(roof.leave)
        liar.roof = roof
        for name, broker in (("city", city), ("depot", depot), ("farm", farm)):
            await running.enter_async_context(Platform(name, roof, broker.port).listening())
        for name in ("depot", "liar", "farm"):
            roof.judge.disturbed(name)
        async with roof.forwarder.at_work(roof.gateway.udp_port):
            changing = asyncio.create_task(change_for_ever(road, depot, liar, rng))
            await pull_the_plug(roof, rng, FAR_SIDE_KILLS)
            await ended(changing)
            await afresh(depot)
            await roof.launch()
            liar.mood = Mood.HONEST
            for way in (road, blocked):
                await way.becomes(Weather.FINE)
            await roof.calm_down()
        await roof.settle()
    verdict = roof.judge.verdict(expecting={"kills": FAR_SIDE_KILLS, "copies": FAR_SIDE_KILLS // 20, "refused": 1})
    show(roof, verdict)
    assert verdict.clean, f"JUDGE_SEED={SEED} JUDGE_KILLS={KILLS}: {verdict}\n{roof.log}"
