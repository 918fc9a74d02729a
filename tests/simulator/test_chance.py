"""Dice that throw the same for the same question."""

import statistics

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.chance import Chance

labels = st.lists(st.text(max_size=6) | st.integers(), max_size=4)


@settings(deadline=None, max_examples=100)
@given(st.integers(), labels, labels)
def test_a_throw_depends_on_its_name_and_on_nothing_asked_before(seed, name, other):
    dice = Chance(seed)
    first = dice.unit(*name)
    dice.unit(*other)
    assert dice.unit(*name) == first == Chance(seed).unit(*name)
    assert 0 <= first < 1


@settings(deadline=None, max_examples=100)
@given(labels, labels)
def test_different_names_are_different_throws(name, other):
    dice = Chance("city")
    same = [str(label) for label in name] == [str(label) for label in other]
    assert (dice.octets(16, *name) == dice.octets(16, *other)) is same


def test_labels_that_only_read_alike_together_are_kept_apart():
    dice = Chance(1)
    assert len({dice.octets(16, "a", "bc"), dice.octets(16, "ab", "c"), dice.octets(16, "abc")}) == 3
    assert dice.about("a").unit("b") != dice.unit("a", "b")


def test_another_seed_is_another_city():
    assert Chance(1).octets(16, "key") != Chance(2).octets(16, "key")


def test_whole_numbers_reach_both_ends_and_no_further():
    assert {Chance(3).whole(-1, 2, n) for n in range(200)} == {-1, 0, 1, 2}
    assert {Chance(3).pick("abc", n) for n in range(200)} == set("abc")


def test_the_bell_has_the_width_it_was_asked_for():
    throws = [Chance(4).normal(10, 2, n) for n in range(4000)]
    # Four standard errors: 2 / sqrt(4000) and 2 / sqrt(2 · 4000).
    assert abs(statistics.fmean(throws) - 10) < 4 * 0.032
    assert abs(statistics.stdev(throws) - 2) < 4 * 0.023
