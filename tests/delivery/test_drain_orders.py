"""What a drain is asked to do, in virtual time: be quiet, send again, tell."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import run_in_virtual_time, stamp_now
from readings import reading
from test_drain import Story, told

from gateway.delivery.drain import Manners
from gateway.model import TimeQuality


def change(story, how):
    """As `Store.ask` does it."""
    story.outbox._progress["city"] = how(story.outbox.progress("city"))
    story.drain.stir()


@told
async def test_a_pause_finishes_what_is_on_its_way_and_afterwards_nothing_arrives_twice():
    async with Story() as story:
        story.city.takes_s = 2.0
        await asyncio.sleep(1)
        story.hear(5)
        await asyncio.sleep(1)
        change(story, lambda progress: progress.pause(paused=True))
        story.hear(5)
        await asyncio.sleep(20)
        assert (story.drain.state, story.city.positions) == ("paused", [1, 2, 3, 4, 5])
        assert story.drain.oldest is not None
        change(story, lambda progress: progress.pause(paused=False))
        await asyncio.sleep(20)
        assert sorted(story.city.positions) == list(range(1, 11))
        assert (story.drain.state, story.balance) == ("connected", 0)


@told
async def test_an_order_while_something_is_on_its_way_does_not_send_it_twice():
    async with Story(manners=Manners(backlog_delay_s=0, in_flight=8)) as story:
        story.city.takes_s = 2.0
        await asyncio.sleep(1)
        story.hear(4)
        await asyncio.sleep(1)
        change(story, lambda progress: progress.send_again(1, 4))  # nothing of it was sent yet, as far as anybody knows
        await asyncio.sleep(20)
        assert story.city.positions == [1, 2, 3, 4]


@told
async def test_what_is_on_its_way_without_a_date_when_the_time_becomes_known_is_sent_again():
    async with Story() as story:
        story.city.takes_s = 2.0
        await asyncio.sleep(1)
        guess = replace(stamp_now(), quality=TimeQuality.UNSYNCED)
        story.outbox.put(replace(reading(1), heard=guess))
        await asyncio.sleep(1)
        change(story, lambda progress: progress.correct(guess.boot_id, [1]))
        story.outbox.readings[1] = replace(reading(1), heard=replace(guess, quality=TimeQuality.CORRECTED))
        await asyncio.sleep(20)
        heard = [record.reading.heard.quality for _, record in story.city.arrived]
        assert heard == [TimeQuality.UNSYNCED, TimeQuality.CORRECTED]


@told
async def test_a_destination_that_hangs_is_paused_all_the_same():
    async with Story() as story:
        story.city.takes_s = 3_600.0
        await asyncio.sleep(1)
        story.hear(5)
        await asyncio.sleep(1)
        change(story, lambda progress: progress.pause(paused=True))
        await asyncio.sleep(10)
        assert story.drain.state == "paused"


@told
async def test_pausing_and_resuming_at_once_loses_and_repeats_nothing():
    async with Story() as story:
        for _ in range(20):
            story.hear(3)
            change(story, lambda progress: progress.pause(paused=True))
            await asyncio.sleep(0.3)
            change(story, lambda progress: progress.pause(paused=False))
            await asyncio.sleep(0.7)
        await asyncio.sleep(60)
        assert sorted(story.city.positions) == list(range(1, 61))


@pytest.mark.parametrize("live_first", [True, False])
def test_what_is_sent_again_keeps_the_rate_and_lets_what_is_new_pass(live_first):
    run_in_virtual_time(_sent_again_beside_new_ones(live_first=live_first))


async def _sent_again_beside_new_ones(*, live_first):
    async with Story(manners=Manners(live_first=live_first, backlog_per_s=10, backlog_delay_s=0)) as story:
        story.hear(200)
        await asyncio.sleep(60)
        assert len(story.city.positions) == 200
        began_s = asyncio.get_running_loop().time()
        change(story, lambda progress: progress.send_again(1, 200))
        while asyncio.get_running_loop().time() < began_s + 10:
            heard_s = asyncio.get_running_loop().time()
            story.hear()
            await asyncio.sleep(2)
            arrived = {record.position: at_s for at_s, record in story.city.arrived}
            assert arrived[story.outbox.head] - heard_s < 2
        assert len(story.city.positions) < 400  # the rest of the 200 still waits for its turn
        await asyncio.sleep(60)
        positions = story.city.positions
        assert sorted(positions) == sorted([*range(1, 206), *range(1, 201)])
        again = [record for at_s, record in story.city.arrived if at_s > began_s and record.position <= 200]
        assert [record.position for record in again] == list(range(1, 201))
        assert all(record.late for record in again)
        progress = story.outbox.progress("city")
        assert (progress.resent, progress.acknowledged, progress.again, story.balance) == (200, 205, (), 0)


@told
async def test_a_dead_letter_moves_from_given_up_to_acknowledged_when_it_is_taken_and_not_before():
    async with Story() as story:
        story.city.refuses = lambda record: "too large" if record.position in {2, 4} else None
        story.hear(5)
        await asyncio.sleep(5)
        assert story.outbox.progress("city").given_up == 2
        change(story, lambda progress: progress.send_all_again([(2, 2), (4, 4)]))
        await asyncio.sleep(5)
        assert (story.outbox.progress("city").given_up, len(story.outbox.dead_letters)) == (2, 2)
        story.city.refuses = lambda record: "too large" if record.position == 4 else None
        change(story, lambda progress: progress.send_all_again([(2, 2), (4, 4)]))
        await asyncio.sleep(5)
        progress = story.outbox.progress("city")
        assert (progress.acknowledged, progress.given_up, story.balance) == (4, 1, 0)
        assert story.outbox.dead_letters == [("city", 4, "too large")]


@told
async def test_what_is_to_be_told_waits_for_the_connection_and_is_told_once():
    async with Story() as story:
        story.city.go_down()
        telling = asyncio.ensure_future(story.drain.announce("balance", {"heard": 3}))
        await asyncio.sleep(30)
        assert not telling.done()
        story.city.come_back()
        await asyncio.wait_for(telling, 60)
        await asyncio.sleep(60)
        assert [facts for topic, facts in story.city.announced if topic == "balance"] == [{"heard": 3}]
