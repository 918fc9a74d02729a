"""The cursor algebra (store sheet, T-06), held against a set of positions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from readings import STAMP, reading

from gateway.model import GatewayEui, Record, TimeQuality
from gateway.store.cursors import Progress

position = st.integers(1, 60)
step = st.one_of(
    st.tuples(st.just("acknowledge"), st.lists(position, max_size=8)),
    st.tuples(st.just("give_up"), st.lists(position, max_size=8)),
    st.tuples(st.just("skip"), st.tuples(position, position)),
    st.tuples(st.just("give_up_range"), st.tuples(position, position)),
)


@settings(deadline=None, max_examples=300)
@given(begin=st.integers(0, 20), steps=st.lists(step, max_size=20), head=st.integers(0, 70))
def test_every_history_of_settling_agrees_with_a_plain_set(begin, steps, head):
    progress = Progress.starting_at(begin)
    settled = set(range(begin + 1))
    counts = {"acknowledge": 0, "give_up": 0, "skip": 0}
    for kind, what in steps:
        match kind:
            case "skip":
                progress = progress.skip(*what)
                new = set(range(what[0], what[1] + 1)) - settled
            case "give_up_range":
                progress = progress.give_up_range(*what)
                new = set(range(what[0], what[1] + 1)) - settled
            case _:
                progress = getattr(progress, kind)(what)
                new = set(what) - settled
        settled |= new
        counts[kind.removesuffix("_range")] += len(new)
    assert (progress.acknowledged, progress.given_up, progress.skipped) == tuple(counts.values())
    assert all(progress.is_settled(number) == (number in settled) for number in range(1, 70))
    assert progress.prefix == next(number for number in range(200) if number + 1 not in settled and number >= begin)
    waiting = [number for number in range(begin + 1, head + 1) if number not in settled]
    assert progress.queued(head) == len(waiting)
    if head >= max(settled):
        assert progress.balance(head) == 0


def test_out_of_order_acknowledgements_move_the_prefix_only_when_the_hole_closes():
    progress = Progress.starting_at(0).acknowledge([2, 3, 5])
    assert (progress.prefix, progress.islands) == (0, ((2, 3), (5, 5)))
    progress = progress.acknowledge([1])
    assert (progress.prefix, progress.islands) == (3, ((5, 5),))


def test_a_position_acknowledged_twice_counts_once():
    assert Progress.starting_at(0).acknowledge([1, 1]).acknowledge([1]).acknowledged == 1


@given(st.lists(st.tuples(position, position), max_size=8), st.lists(position, max_size=8))
def test_only_what_was_sent_is_sent_again_and_each_position_once(ranges, sent):
    progress = Progress.starting_at(10).acknowledge(sent).send_all_again(ranges)
    again = [number for first, last in progress.again for number in range(first, last + 1)]
    furthest = max([10, *sent])
    assert again == sorted({number for first, last in ranges for number in range(first, min(last, furthest) + 1)})
    assert progress.done_through <= progress.prefix
    assert all(number > progress.done_through for number in again)
    done = progress.sent_again((1, 30), 5)
    assert [number for first, last in done.again for number in range(first, last + 1)] == [n for n in again if n > 30]


def test_a_dead_letter_that_was_taken_keeps_the_books_right():
    progress = (
        Progress.starting_at(0).acknowledge([1, 3]).give_up([2]).send_again(2, 2).sent_again((2, 2), 1, recovered=1)
    )
    assert (progress.acknowledged, progress.given_up, progress.resent, progress.balance(3)) == (3, 0, 1, 0)


def went_out(boot_id: str, *positions: int, quality: TimeQuality = TimeQuality.UNSYNCED) -> list[Record]:
    heard = replace(STAMP, quality=quality, boot_id=boot_id)
    return [Record(GatewayEui(bytes(8)), "epoch", number, reading(number, heard=heard)) for number in positions]


def test_what_went_out_without_a_date_is_sent_again_once_the_time_of_its_boot_is_known():
    progress = Progress.starting_at(0).acknowledge([1, 2, 4]).note_dates(went_out("boot", 1, 2), (1, 3))
    known = progress.correct("boot", [1, 2, 4, 5])  # the fourth had its date, the fifth leaves with it
    assert (known.again, known.guessed) == (((1, 2),), ())
    sent = known.sent_again((1, 2), 2)
    assert sent.correct("boot", [1, 2, 4, 5]) == sent  # told again, after a kill
    assert sent.acknowledge([5]).note_dates(went_out("boot", 5), (5, 5)).again == ((5, 5),)  # on its way meanwhile
    assert sent.note_dates(went_out("next", 6), (6, 6)).correct("boot", [1]).guessed == ((6, 6),)
    assert sent.note_dates(went_out("next", 6, quality=TimeQuality.CORRECTED), (6, 6)) == sent


def test_what_went_out_with_its_date_between_others_is_not_sent_again():
    mixed = [*went_out("old boot", 2), *went_out("boot", 3, quality=TimeQuality.CORRECTED), *went_out("boot", 5)]
    progress = Progress.starting_at(0).acknowledge([2, 3, 5]).note_dates(mixed, (1, 6))
    assert progress.guessed == ((1, 2), (4, 6))
    assert progress.correct("boot", [3, 5]).again == ((5, 5),)


def test_what_is_asked_for_while_something_else_is_on_its_way_is_not_forgotten():
    progress = Progress.starting_at(0).acknowledge(range(1, 20)).send_again(8, 15)
    assert progress.send_again(2, 3).sent_again((8, 11), 4).again == ((2, 3), (12, 15))
