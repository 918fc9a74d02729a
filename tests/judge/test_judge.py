"""The judge itself: a clean history is clean, and each promise has a history that breaks it and nothing else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from evidence import Account, Arrival, Books, Loss, Terms
from fleet import Fleet
from hypothesis import given
from hypothesis import strategies as st
from judge import Judge, descent
from verdict import Law

FLEET = Fleet(4)
EPOCH = "5be10a2c"
SECOND_US = 1_000_000
DAWN_US = 1_795_428_902_000_000
KILL_AFTER, FRAMES = 20, 40
IN_FLIGHT = 3


@dataclass(frozen=True, slots=True)
class Step:
    """Something the judge is told: the method, and with what."""

    what: str
    arguments: tuple[object, ...]
    options: dict[str, object] = field(default_factory=dict)


@dataclass
class History:
    """Forty frames a second apart, to two destinations, with a kill in the middle that costs a frame and a repeat."""

    steps: list[Step] = field(default_factory=list)

    @classmethod
    def clean(cls) -> History:
        history = cls()
        history.connect()
        position = 0
        for number in range(1, FRAMES + 1):
            at_us = DAWN_US + number * SECOND_US
            if number == KILL_AFTER + 6:
                history.add("calm", at_us)
            history.add("handed_out", number, at_us)
            if number == KILL_AFTER:
                history.add("acknowledged", number, at_us)  # and lost, half a second before the kill
                history.add("killed", at_us + SECOND_US // 2)
                history.connect()
                history.receive("city", arrival(position, number - 1, late=False), at_us + SECOND_US)
                continue
            position += 1
            history.add("acknowledged", number, at_us)
            history.add("promised", arrival(position, number))
            for destination in ("city", "ledger"):
                history.receive(destination, arrival(position, number), at_us + SECOND_US // 10)
        history.add("promised_through", EPOCH, position)
        history.add("rests", books(position))
        return history

    def add(self, what: str, *arguments: object) -> None:
        self.steps.append(Step(what, arguments))

    def connect(self) -> None:
        for destination in ("city", "ledger"):
            self.add("connected", destination)

    def stop(self, at_us: int, took_us: int = SECOND_US, *left_behind: str) -> None:
        self.steps.append(Step("stopped", (at_us,), {"took_us": took_us, "left_behind": left_behind}))

    def receive(self, destination: str, what: Arrival, at_us: int) -> None:
        self.add("received", destination, what, at_us)

    def judged(self, **expecting: int):
        judge = Judge(
            FLEET,
            {"city": Terms(IN_FLIGHT, carried_within_us=SECOND_US), "ledger": Terms(IN_FLIGHT, lanes=1)},
            loss_window_us=SECOND_US,
            transit_us=SECOND_US // 100,
            fresh_within_us=10 * SECOND_US,
        )
        for step in self.steps:
            getattr(judge, step.what)(*step.arguments, **step.options)
        return judge.verdict(expecting=expecting)

    # --- tampering

    def index(self, what: str, *beginning: object, number: int | None = None) -> int:
        """Where the first such step is; of an arrival also: that of this number."""
        return next(
            index
            for index, step in enumerate(self.steps)
            if step.what == what
            and step.arguments[: len(beginning)] == beginning
            and (
                number is None
                or any(FLEET.number(one.payload) == number for one in step.arguments if isinstance(one, Arrival))
            )
        )

    def without(self, index: int) -> Step:
        return self.steps.pop(index)

    def change(self, what: str, *beginning: object, number: int, **changes: object) -> None:
        """Another arrival in place of the one that came."""
        index = self.index(what, *beginning, number=number)
        step = self.steps[index]
        changed = (replace(one, **changes) if isinstance(one, Arrival) else one for one in step.arguments)
        self.steps[index] = Step(what, tuple(changed))

    def postpone(self, destination: str, number: int, *, after: int) -> None:
        """It arrived only after that other one."""
        step = self.without(self.index("received", destination, number=number))
        other = self.index("received", destination, number=after)
        at_us = self.steps[other].arguments[2]
        self.steps.insert(other + 1, Step("received", (*step.arguments[:2], at_us)))

    def change_books(self, **changes: object) -> None:
        index = self.index("rests")
        (books,) = self.steps[index].arguments
        self.steps[index] = Step("rests", (replace(books, **changes),))


def arrival(position: int, number: int, *, late: bool = False) -> Arrival:
    """The reading as it should come out; the frame that the kill took leaves a gap."""
    body = FLEET.body(number)
    heard_us = DAWN_US + number * SECOND_US + 1_000
    gap = 1 if number == KILL_AFTER + FLEET.devices else 0
    return Arrival(
        f"0016c001ff10a235-{EPOCH}-{position}", FLEET.frame_id(number), body.dev_eui, body.f_cnt, body.f_port,
        body.payload, gap, heard_us, 50, late,
    )  # fmt: skip


def books(position: int) -> Books:
    account = Account(acknowledged=position, queued=0, given_up=0)
    return Books(position + 3, position, 3, 0, 0, {"city": account, "ledger": account})


def test_a_history_that_keeps_every_promise_is_clean():
    verdict = History.clean().judged(kills=1, copies=1, lost=1)
    assert verdict.clean, verdict
    assert verdict.facts["city copies by interruption"] == {1: 1}
    assert verdict.facts["lost by age, ms"] == "1: p50 500, p90 500, p99 500, max 500"


# --- each promise, broken

TAMPERINGS = {}


def breaks(law: Law, case: str):
    """This tampering breaks this promise and no other."""

    def note(tamper):
        TAMPERINGS[f"{law}: {case}"] = (law, tamper)
        return tamper

    return note


@breaks(Law.CONSERVATION, "a promised record reaches one destination only")
def _(history):
    history.without(history.index("received", "ledger", number=7))
    history.change_books(sinks={**books(FRAMES - 1).sinks, "ledger": Account(FRAMES - 2, 0, 0, skipped=1)})


@breaks(Law.CONSERVATION, "a record that was promised by its position alone is nowhere")
def _(history):
    history.add("promised_through", EPOCH, FRAMES)


@breaks(Law.CONSERVATION, "an acknowledged frame is lost though nobody pulled a plug")
def _(history):
    history.add("handed_out", 99, DAWN_US + 50 * SECOND_US)
    history.add("acknowledged", 99, DAWN_US + 50 * SECOND_US)


@breaks(Law.CONSERVATION, "an acknowledged frame is lost over a stop in order")
def _(history):
    history.add("handed_out", 99, DAWN_US + 50 * SECOND_US)
    history.add("acknowledged", 99, DAWN_US + 50 * SECOND_US)
    history.stop(DAWN_US + 51 * SECOND_US)


@breaks(Law.NO_INVENTION, "a frame that nobody sent")
def _(history):
    history.receive("city", arrival(FRAMES, 77), DAWN_US + 50 * SECOND_US)


@breaks(Law.NO_INVENTION, "a payload too short to be anybody's")
def _(history):
    history.receive("city", replace(arrival(FRAMES, 7), payload=b"\x00"), DAWN_US + 50 * SECOND_US)


@breaks(Law.IDENTITY, "a record id that names two frames")
def _(history):
    stranger = replace(arrival(5, 21), record_id=arrival(5, 5).record_id)
    history.steps.insert(history.index("promised", number=21), Step("promised", (stranger,)))


@breaks(Law.IDENTITY, "a frame that was kept twice")
def _(history):
    history.steps.insert(history.index("killed"), Step("promised", (arrival(5, 6),)))


@breaks(Law.INTEGRITY, "a flipped bit in a payload")
def _(history):
    payload = bytearray(FLEET.body(9).payload)
    payload[-1] ^= 1
    history.change("received", "city", number=9, payload=bytes(payload))


@breaks(Law.INTEGRITY, "the readings of two devices mixed up")
def _(history):
    history.change("received", "ledger", number=9, dev_eui=FLEET.body(10).dev_eui)


@breaks(Law.INTEGRITY, "a frame under the name of another")
def _(history):
    history.change("promised", number=9, frame_id=FLEET.frame_id(10))


@breaks(Law.DUPLICATION, "a second copy on the same connection")
def _(history):
    history.receive("city", arrival(30, 31, late=True), DAWN_US + 50 * SECOND_US)


@breaks(Law.DUPLICATION, "a kill repeats more than was in flight")
def _(history):
    index = history.index("received", "city", number=KILL_AFTER + 1)
    for number in range(KILL_AFTER - 1 - IN_FLIGHT, KILL_AFTER - 1):
        again = Step("received", ("city", arrival(number, number), DAWN_US + (KILL_AFTER + 1) * SECOND_US))
        history.steps.insert(index, again)


@breaks(Law.DUPLICATION, "a connection that is given up for nothing")
def _(history):
    history.steps.insert(history.index("received", "city", number=30), Step("connected", ("city",)))


@breaks(Law.ORDER, "a strict destination gets a newer record first")
def _(history):
    history.postpone("ledger", 9, after=10)


@breaks(Law.ORDER, "more than two lanes at once")
def _(history):
    history.postpone("city", 10, after=11)
    history.postpone("city", 9, after=10)


@breaks(Law.ORDER, "positions that take a device's counter back")
def _(history):
    assert FLEET.body(9).dev_eui == FLEET.body(13).dev_eui
    for beginning in (("promised",), ("received", "city"), ("received", "ledger")):
        for number, position in ((9, 13), (13, 9)):
            history.change(*beginning, number=number, record_id=arrival(position, number).record_id)
    history.postpone("ledger", 9, after=13)  # in order of position
    for number in (12, 11, 10):
        history.postpone("ledger", number, after=13)


@breaks(Law.ORDER, "a gap that is not there")
def _(history):
    history.change("promised", number=9, gap_before=2)


@breaks(Law.LIVENESS, "nothing fresh arrives at one of them")
def _(history):
    history.steps = [step for step in history.steps if step.what != "calm"]
    history.add("calm", DAWN_US + 45 * SECOND_US)
    number, position = FRAMES + 4, FRAMES
    at_us = DAWN_US + number * SECOND_US
    history.add("handed_out", number, at_us + 2 * SECOND_US)
    fresh = replace(arrival(position, number), time_us=at_us + 2 * SECOND_US, gap_before=0)
    history.receive("city", fresh, at_us + 3 * SECOND_US)
    history.add("refused", "ledger", EPOCH, position, "too large")
    history.change_books(
        heard=position + 3, stored=position,
        sinks={"city": Account(position, 0, 0), "ledger": Account(position - 1, 0, 1)},
    )  # fmt: skip


@breaks(Law.LIVENESS, "what is fresh takes too long")
def _(history):
    calm = history.index("calm")
    history.without(calm)
    history.steps.insert(0, Step("calm", (DAWN_US - 20 * SECOND_US,)))


@breaks(Law.HONEST_TIME, "a time further off than it says")
def _(history):
    heard_us = arrival(9, 9).time_us
    history.change("received", "city", number=9, time_us=heard_us - 200_000)


@breaks(Law.HONEST_TIME, "late, and came at once")
def _(history):
    history.change("received", "city", number=9, late=True)


@breaks(Law.HONEST_TIME, "not late, and took ten seconds")
def _(history):
    index = history.index("received", "city", number=9)
    what, ((*who, _)) = history.steps[index].what, history.steps[index].arguments
    history.steps[index] = Step(what, (*who, DAWN_US + 19 * SECOND_US))


@breaks(Law.LOSS_WINDOW, "a kill takes what was heard long before")
def _(history):
    index = history.index("acknowledged", KILL_AFTER)
    history.steps[index] = Step("acknowledged", (KILL_AFTER, DAWN_US + (KILL_AFTER - 2) * SECOND_US))


@breaks(Law.STOP, "a stop that takes too long")
def _(history):
    history.stop(DAWN_US + 60 * SECOND_US, 11 * SECOND_US)


@breaks(Law.STOP, "a stop that leaves a destination running")
def _(history):
    history.stop(DAWN_US + 60 * SECOND_US, SECOND_US, "city")


@breaks(Law.BALANCE, "books that admit it")
def _(history):
    history.change_books(balance=1)


@breaks(Law.BALANCE, "heard is more than what became of it")
def _(history):
    history.change_books(heard=FRAMES + 3)


@breaks(Law.BALANCE, "a record counted as acknowledged that never arrived")
def _(history):
    account = Account(FRAMES, 0, 0)
    history.change_books(sinks={"city": account, "ledger": account})


@breaks(Law.BALANCE, "something is still queued")
def _(history):
    history.change_books(sinks={**books(FRAMES - 1).sinks, "city": Account(FRAMES - 1, 1, 0)})


@breaks(Law.BALANCE, "a loss told of a device that lost nothing")
def _(history):
    history.change_books(losses=[Loss("city", FLEET.body(1).dev_eui, range(0), 1)])


@breaks(Law.USEFULNESS, "nobody waited until it was calm")
def _(history):
    history.without(history.index("calm"))


@breaks(Law.USEFULNESS, "nobody looked into the books")
def _(history):
    history.without(history.index("rests"))


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_broken_promise_is_found_and_named_and_no_other(tampering):
    law, tamper = TAMPERINGS[tampering]
    history = History.clean()
    tamper(history)
    verdict = history.judged()
    assert verdict.broken == {law}, verdict


def test_every_promise_has_a_history_that_breaks_it():
    assert {law for law, _ in TAMPERINGS.values()} == set(Law)


def test_a_run_in_which_nothing_happened_proves_nothing():
    assert History.clean().judged(kills=2).broken == {Law.USEFULNESS}


# --- what is allowed


def test_what_was_refused_or_left_the_store_is_not_missed():
    history = History.clean()
    for destination in ("city", "ledger"):
        history.without(history.index("received", destination, number=7))
    history.add("refused", "city", EPOCH, 7, "too large")
    account = Account(FRAMES - 2, 0, 1)
    history.change_books(sinks={"city": account, "ledger": account}, losses=[loss_of(7)])
    verdict = history.judged()
    assert verdict.clean, verdict


def test_what_left_the_store_undelivered_has_to_be_told():
    history = History.clean()
    for number in (7, 7 + FLEET.devices):
        history.without(history.index("received", "ledger", number=number))
    account = Account(FRAMES - 3, 0, 2)
    before_and_after = range(FLEET.body(7).f_cnt, FLEET.body(7).f_cnt + 2)
    history.change_books(
        sinks={**books(FRAMES - 1).sinks, "ledger": account}, losses=[replace(loss_of(7), counters=before_and_after)]
    )
    assert history.judged().broken == {Law.BALANCE}


def loss_of(number: int) -> Loss:
    """One record of a device that left the store before the ledger got it."""
    body = FLEET.body(number)
    return Loss("ledger", body.dev_eui, range(body.f_cnt, body.f_cnt + 1), 1)


def test_a_range_that_was_asked_for_again_may_come_again():
    history = History.clean()
    history.add("asked_again", "city", EPOCH, 30, 33)
    for position in range(30, 34):
        history.receive("city", arrival(position, position + 1, late=True), DAWN_US + 50 * SECOND_US)
    assert history.judged().clean


def test_after_a_power_cut_older_records_may_come_again():
    history = History.clean()
    history.add("cut_off", DAWN_US + 45 * SECOND_US)
    history.connect()
    for position in range(25, 36):
        history.receive("city", arrival(position, position + 1, late=True), DAWN_US + 60 * SECOND_US)
    verdict = history.judged()
    assert (verdict.clean, verdict.facts["city copies by power cuts"]) == (True, 11), verdict


def test_a_time_that_became_known_is_told_once_more_and_only_once():
    history = History.clean()
    history.change("received", "city", number=31, uncertainty_ms=None, time_us=0)
    history.steps.insert(0, Step("rebooted", (DAWN_US,)))
    history.add("learnt_time", DAWN_US + 49 * SECOND_US)
    corrected = arrival(30, 31, late=True)
    history.receive("city", corrected, DAWN_US + 50 * SECOND_US)
    verdict = history.judged()
    assert (verdict.clean, verdict.facts["city corrections"]) == (True, 1), verdict
    history.receive("city", corrected, DAWN_US + 51 * SECOND_US)
    assert history.judged().broken == {Law.DUPLICATION}


def test_a_time_that_became_known_is_told_of_every_frame_that_was_heard_before_it_only():
    history = History.clean()
    for number in (31, 33):
        history.change("received", "city", number=number, uncertainty_ms=None, time_us=0)
    history.steps.insert(0, Step("rebooted", (DAWN_US,)))
    history.add("learnt_time", DAWN_US + 49 * SECOND_US)
    history.receive("city", arrival(30, 31, late=True), DAWN_US + 50 * SECOND_US)
    assert history.judged().broken == {Law.HONEST_TIME}
    history.add("handed_out", 33, DAWN_US + 60 * SECOND_US)  # it may have been heard then: somebody plays it back
    assert history.judged().clean


def test_a_frame_that_was_sent_in_two_boots_shows_that_the_one_is_known_in_which_it_was_heard():
    history = History.clean()
    for number in (31, 33):
        history.change("received", "city", number=number, uncertainty_ms=None, time_us=0)
    history.steps.insert(0, Step("rebooted", (DAWN_US,)))
    history.steps.insert(history.index("handed_out", 32), Step("learnt_time", (DAWN_US + 31 * SECOND_US,)))
    history.steps.insert(history.index("handed_out", 33), Step("rebooted", (DAWN_US + 32 * SECOND_US + 1,)))
    # A recording of 31 is played back in the second boot, in which 33 is heard.
    history.steps.insert(history.index("handed_out", 33), Step("handed_out", (31, DAWN_US + 33 * SECOND_US)))
    history.add("learnt_time", DAWN_US + 49 * SECOND_US)
    before, again = arrival(30, 31, late=True), DAWN_US + 50 * SECOND_US
    second = replace(before, time_us=before.time_us + 2 * SECOND_US)
    first_known = deepcopy(history)
    first_known.receive("city", before, again)
    assert first_known.judged().clean  # of 33, which was heard in the other, it says nothing
    history.receive("city", second, again)
    verdict = history.judged()
    assert verdict.broken == {Law.HONEST_TIME}, verdict
    assert [violation.detail[:9] for violation in verdict.violations] == ["frame 33 "]


def test_what_left_the_store_for_want_of_room_is_not_corrected():
    history = History.clean()
    for number in (31, 33):
        history.change("received", "city", number=number, uncertainty_ms=None, time_us=0)
    history.steps.insert(0, Step("rebooted", (DAWN_US,)))
    history.add("learnt_time", DAWN_US + 49 * SECOND_US)
    history.receive("city", arrival(30, 31, late=True), DAWN_US + 50 * SECOND_US)
    history.add("left", EPOCH, 32)
    assert history.judged().clean


def test_the_answer_to_a_recording_promises_nothing():
    history = History.clean()
    played_back_us = DAWN_US + 25 * SECOND_US
    history.steps.insert(history.index("handed_out", 25), Step("handed_out", (KILL_AFTER, played_back_us)))
    history.steps.insert(history.index("handed_out", 26), Step("acknowledged", (KILL_AFTER, played_back_us)))
    assert history.judged().clean


def test_a_disturbed_destination_may_lose_its_connection():
    history = History.clean()
    history.add("disturbed", "city")
    history.steps.insert(history.index("received", "city", number=30), Step("connected", ("city",)))
    assert history.judged().clean


def test_what_a_destination_turned_away_forfeits_its_place():
    history = History.clean()
    history.postpone("ledger", 9, after=10)
    history.add("turned_away", "ledger", EPOCH, 9)
    assert history.judged().clean


# --- its tools


@given(st.lists(st.integers(0, 30), unique=True, max_size=9))
def test_a_descent_is_a_longest_one(values):
    found = descent(values)
    assert all(one > other for one, other in pairwise(found))
    places = [values.index(value) for value in found]
    assert places == sorted(places)
    assert len(found) == _longest_by_trying(values)


def _longest_by_trying(values: list[int]) -> int:
    best = [0] * len(values)
    for index, value in enumerate(values):
        best[index] = 1 + max((best[before] for before in range(index) if values[before] > value), default=0)
    return max(best, default=0)


def test_a_frame_is_recognised_by_its_payload_alone():
    assert [Fleet.number(FLEET.body(number).payload) for number in (0, 1, 4711)] == [0, 1, 4711]
    assert len({FLEET.phy(number) for number in range(50)}) == 50
