"""Whatever is asked for, whenever the power goes, whatever the clock believes: what was on the air was lawful.

A world in one class: its time, a machine that boots and forgets, forwarders whose counters turn and begin anew, a disk
that has what was synced. The judge (`law`) sees only what went on the air.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from law import Sent, violations

from gateway.model import AtCounter, DownlinkRequest, Fsk, Immediately, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.counter import TURN_US
from gateway.radio.duty_cycle import AirtimeLedger, Remembered, Stop
from gateway.radio.schedule import Planned
from gateway.radio.transmitters import Transmitters, bandwidth_hz
from gateway.regions.eu868 import EU868

S = 1_000_000
EPOCH_US = 1_795_428_000 * S

FREQUENCIES_HZ = [
    *(863_100_000, 864_900_000, 867_100_000, 867_937_500, 868_000_000, 868_100_000, 868_500_000, 868_537_500),
    *(868_650_000, 868_800_000, 869_525_000, 869_587_500, 869_850_000, 870_000_000, 862_000_000),
]
MODULATIONS = [
    *(Lora(7, 125_000), Lora(9, 125_000), Lora(12, 125_000), Lora(7, 250_000), Lora(11, 125_000, "4/8")),
    *(Fsk(50_000, 25_000), Fsk(4_800)),
]


@dataclass
class World:
    """What happens to one gateway. Seeds and settings come from outside; nothing here is drawn."""

    now_us: int = 7 * S
    boot: int = 0
    booted_us: int = 0
    is_dated: bool = True
    off_us: int = 0  # how wrong the clock is, within what it says
    disk: dict = field(default_factory=dict)
    marked: bool = False  # the file says that a run began and not that it ended
    on_air: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    counters_us: dict = field(default_factory=dict)  # by receiver: its counter at time 0
    transmitters: Transmitters = None
    ledger: AirtimeLedger = None

    def __post_init__(self):
        self.start(Stop.ORDERLY)

    def stamp(self):
        quality = TimeQuality.NTP if self.is_dated else TimeQuality.UNSYNCED
        utc_us = EPOCH_US + self.now_us + self.off_us if self.is_dated else 0
        monotonic_us = self.now_us - self.booted_us
        return Stamp(utc_us, quality, 30 if self.is_dated else None, f"boot {self.boot}", monotonic_us)

    def start(self, stop):
        remembered = Remembered(tuple(self.disk.values()), stop)
        self.ledger = AirtimeLedger(EU868.sub_bands, remembered, self.stamp())
        self.transmitters = Transmitters(EU868, self.ledger)
        self.sync()
        self.marked = True

    def sync(self):
        changes = self.ledger.changes()
        for airtime in changes.new:
            self.disk[airtime.number] = airtime
        for number in changes.gone:
            self.disk.pop(number, None)
        self.ledger.synced(changes)

    def count_us(self, receiver):
        return self.now_us + self.counters_us.setdefault(receiver, 0)

    # --- what happens

    def wait(self, seconds):
        self.now_us += round(seconds * S)

    def ask(self, receiver, frequency_hz, modulation, size, power_dbm, ahead_s, refused):
        count_us = self.count_us(receiver)
        timing = Immediately() if ahead_s is None else AtCounter((count_us + round(ahead_s * S)) % TURN_US)
        request = DownlinkRequest("r", bytes(size), receiver, timing, frequency_hz, modulation, power_dbm)
        schedule = self.transmitters.schedule(receiver)
        schedule.over(count_us)
        planned = self.transmitters.plan(request, count_us, self.stamp())
        self.asked.append(planned)
        if not isinstance(planned, Planned):
            return
        schedule.hand_over(planned)
        if refused:
            self.transmitters.not_sent(planned)
            return
        start_us = planned.start_us - self.counters_us[receiver]
        width_hz = bandwidth_hz(modulation)
        sent = Sent(receiver, start_us, planned.airtime_us, frequency_hz, width_hz, power_dbm)
        self.on_air.append(sent)

    def burst(self, receiver, frequency_hz, times, apart_s, keeps_up):
        """A network with much to say, and a disk that keeps up or does not."""
        for _ in range(times):
            self.ask(receiver, frequency_hz, Lora(10, 125_000), 51, 14.0, None, refused=False)
            if keeps_up:
                self.sync()
            self.wait(apart_s)

    def begin_anew(self, receiver, counter_us):
        """Its forwarder is started again: what waited there is lost, on the ledger it stays."""
        theirs = [sent for sent in self.on_air if sent.transmitter == receiver and sent.end_us > self.now_us]
        self.on_air = [sent for sent in self.on_air if sent not in theirs]
        cut = [replace(sent, airtime_us=self.now_us - sent.start_us) for sent in theirs if sent.start_us < self.now_us]
        self.on_air += cut
        self.counters_us[receiver] = counter_us - self.now_us
        self.transmitters.schedule(receiver).clear()

    def restart(self, is_orderly, is_boot, off_s):
        """The daemon stops and starts; with a boot the machine too, and its forwarders with it."""
        if is_orderly:
            self.sync()
            self.marked = False
        if is_boot:
            for receiver in tuple(self.counters_us):
                self.begin_anew(receiver, 1_000)
            self.wait(off_s)
            self.boot += 1
            self.booted_us = self.now_us - 3 * S
        else:
            # What forwarders have, they send; the new daemon does not know of it, and they refuse what overlaps it.
            busy_us = max([sent.end_us for sent in self.on_air], default=0)
            self.now_us = max(self.now_us, busy_us)
        self.start(Stop.SUDDEN if self.marked else Stop.ORDERLY)

    def clock(self, is_dated, off_us):
        self.is_dated, self.off_us = is_dated, off_us


RECEIVERS = st.sampled_from(["roof", "tower"])
ASK = st.tuples(
    st.just("ask"),
    RECEIVERS,
    st.sampled_from(FREQUENCIES_HZ),
    st.sampled_from(MODULATIONS),
    st.sampled_from([0, 12, 51, 64]),
    st.sampled_from([-3.0, 14.0, 16.0, 16.2, 27.0, float("nan")]),
    st.one_of(st.none(), st.floats(-2, 20), st.floats(0, 600)),
    st.booleans(),
)
STEPS = st.one_of(
    ASK,
    ASK,
    ASK,
    st.tuples(
        st.just("burst"),
        RECEIVERS,
        st.sampled_from(FREQUENCIES_HZ[1:8]),
        st.integers(1, 70),
        st.sampled_from([0.1, 3, 90]),
        st.booleans(),
    ),
    st.tuples(st.just("wait"), st.one_of(st.floats(0, 10), st.floats(0, 4000))),
    st.tuples(st.just("sync")),
    st.tuples(st.just("begin_anew"), RECEIVERS, st.integers(0, TURN_US - 1)),
    st.tuples(st.just("restart"), st.booleans(), st.booleans(), st.floats(0, 4000)),
    st.tuples(st.just("clock"), st.booleans(), st.integers(-30_000, 30_000)),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
@example([("ask", "roof", 868_100_000, MODULATIONS[2], 64, 14.0, 1.0, False)] * 3)
def test_nothing_unlawful_is_ever_on_the_air(steps):
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    assert violations(world.on_air) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_greedy_network_gets_what_the_law_gives_and_not_a_microsecond_more(seed):
    """Days of asking for more than there is, through crashes, turns of the counter and a clock that comes and goes."""
    dice, world = random.Random(seed), World()
    for _ in range(900):
        kind = dice.random()
        if kind < 0.85:
            modulation, size = dice.choice([(Lora(12, 125_000), 51), (Lora(10, 125_000), 51), (Lora(9, 125_000), 64)])
            frequency_hz = dice.choice([863_500_000, 868_100_000, 868_300_000])
            ahead_s = dice.choice([None, dice.uniform(0.05, 6), dice.uniform(0, 512)])
            world.ask("roof", frequency_hz, modulation, size, 14.0, ahead_s, refused=dice.random() < 0.1)
            if dice.random() < 0.8:
                world.sync()
        elif kind < 0.98:
            world.wait(dice.choice([dice.uniform(0, 30), dice.uniform(0, 600)]))
        elif kind < 0.99:
            world.clock(dice.random() < 0.7, dice.randint(-30_000, 30_000))
        else:
            world.restart(dice.random() < 0.3, dice.random() < 0.5, dice.uniform(0, 100))
    assert violations(world.on_air) == []
    denied = [answer.result for answer in world.asked if not isinstance(answer, Planned)]
    assert denied.count(TxResult.DUTY_CYCLE) > 100, "it was greedy"
    assert len(world.on_air) > 40, "and it was served"


@pytest.mark.parametrize("kills_after", range(1, 80, 6))
@pytest.mark.parametrize("is_boot", [False, True])
def test_a_kill_at_any_moment_costs_air_time_and_never_the_law(kills_after, is_boot):
    world = World()
    for number in range(kills_after):
        world.ask("roof", 868_100_000, Lora(10, 125_000), 51, 14.0, None, refused=False)
        world.wait(1)
        if number % 7 == 0 and number < 40:
            world.sync()
    before_us = sum(sent.airtime_us for sent in world.on_air)
    world.restart(is_orderly=False, is_boot=is_boot, off_s=5)
    world.burst("roof", 868_100_000, 70, 3, keeps_up=True)
    assert violations(world.on_air) == []
    after_us = sum(sent.airtime_us for sent in world.on_air)
    assert after_us > max(before_us, 36 * S - 2 * 3.7 * S), "all but the tail is there to be used"


# --- the judge would have seen it ---------------------------------------------------------------------------------


class Generous(AirtimeLedger):
    """A ledger that forgets what lies ahead: the mistake of booking by the moment of admission."""

    def reserve(self, transmitter, band, airtime_us, ahead_us, now):
        return super().reserve(transmitter, band, airtime_us, 0, now)


def test_a_ledger_that_books_too_early_is_caught():
    """36 s admitted together, half of it for eight minutes later: an hour after the admission it seems over."""
    world = World()
    world.transmitters = Transmitters(EU868, Generous(EU868.sub_bands))

    def fill(ahead_s):
        for _ in range(40):
            world.ask("roof", 868_100_000, Lora(12, 125_000), 64, 14.0, ahead_s, refused=False)
            ahead_s += 4

    fill(300.0)
    world.wait(3700)
    fill(0.1)
    assert [words.partition(":")[0] for words in violations(world.on_air)] == ["hour"]


def test_a_ledger_that_forgets_at_a_restart_is_caught():
    world = World()
    for _ in range(2):
        world.transmitters = Transmitters(EU868, AirtimeLedger(EU868.sub_bands))
        for _ in range(20):
            world.ask("roof", 868_100_000, Lora(12, 125_000), 64, 14.0, None, refused=False)
            world.wait(5)
    assert [words.partition(":")[0] for words in violations(world.on_air)] == ["hour"]
