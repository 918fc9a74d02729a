"""The drain's promises, in virtual time: everything arrives, in order, at the pace that was asked for."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

import pytest
from fakes import Destination, MemoryOutbox, run_in_virtual_time, stamp_now
from readings import reading

from gateway.delivery.drain import Drain, Manners


class Story:
    """An outbox, a destination and the drain between them."""

    def __init__(self, *, manners: Manners | None = None, seed: int = 1) -> None:
        self.outbox = MemoryOutbox()
        self.city = Destination()
        self.outbox.subscribe("city")
        self._manners = manners or Manners(backlog_delay_s=0)
        self._seed = seed

    async def __aenter__(self):
        self.drain = Drain(
            self.outbox, self.city, self._manners, now=stamp_now, facts=dict, rng=random.Random(self._seed)
        )
        self._task = asyncio.create_task(self.drain.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def hear(self, count: int = 1, **changes) -> None:
        for _ in range(count):
            self.outbox.put(replace(reading(self.outbox.head), heard=stamp_now(), **changes))

    @property
    def balance(self) -> int:
        return self.outbox.progress("city").balance(self.outbox.head)

    async def all_settled(self) -> None:
        while self.outbox.progress("city").queued(self.outbox.head):
            await asyncio.sleep(0.05)


def told(story):
    """Run an `async def story(...)` in virtual time."""
    return lambda *args: run_in_virtual_time(story(*args))


@told
async def test_what_is_heard_goes_out_at_once_and_once():
    async with Story() as story:
        story.hear(100)
        await asyncio.sleep(1)
        assert story.city.positions == list(range(1, 101))
        assert not any(record.late for _, record in story.city.arrived)
        assert (story.balance, story.outbox.progress("city").acknowledged) == (0, 100)


@told
async def test_the_window_is_never_exceeded_with_both_lanes_at_work():
    async with Story(manners=Manners(backlog_delay_s=0, in_flight=8)) as story:
        story.city.go_down()
        await asyncio.sleep(1)
        story.hear(200)
        await asyncio.sleep(60)
        story.city.come_back()
        for _ in range(100):
            story.hear(3)
            await asyncio.sleep(0.1)
        await story.all_settled()
        assert sorted(story.city.positions) == list(range(1, 501))
        assert story.city.most_at_once <= 8


@told
async def test_an_absent_destination_costs_patience_but_no_record_and_is_found_within_40_s():
    async with Story() as story:
        story.city.go_down()
        story.hear(10)
        await asyncio.sleep(300)
        assert story.drain.state == "unreachable"
        gaps = [later - one for one, later in zip(story.city.attempts_s, story.city.attempts_s[1:], strict=False)]
        assert max(gaps) <= 40
        assert len(story.city.attempts_s) < 60
        story.city.come_back()
        await asyncio.sleep(40)
        assert story.city.positions == list(range(1, 11))
        assert story.drain.state == "connected"


@told
async def test_after_an_outage_fresh_readings_do_not_wait_for_the_backlog():
    async with Story(manners=Manners(backlog_delay_s=30, backlog_per_s=20)) as story:
        story.city.go_down()
        await asyncio.sleep(1)
        story.hear(2_000)
        await asyncio.sleep(120)
        story.city.come_back()
        while story.drain.state != "connected":
            await asyncio.sleep(0.1)
        back_s = asyncio.get_running_loop().time()
        for _ in range(60):
            story.hear()
            await asyncio.sleep(1)
        fresh = [(now_s, record) for now_s, record in story.city.arrived if record.position > 2_000]
        assert len(fresh) >= 59
        assert all(now_s - record.reading.heard.monotonic_us / 1e6 < 2 for now_s, record in fresh)
        await story.all_settled()
        late = [(now_s, record) for now_s, record in story.city.arrived if record.position <= 2_000]
        assert [record.position for _, record in late] == list(range(1, 2_001))
        assert all(record.late for _, record in late)
        assert late[-1][0] - back_s > 2_000 / 20 * 0.9, "the backlog has to obey its rate"
        assert story.balance == 0


@told
async def test_a_strict_destination_gets_everything_in_order():
    async with Story(manners=Manners(live_first=False, backlog_per_s=100)) as story:
        story.city.go_down()
        await asyncio.sleep(1)
        story.hear(500)
        await asyncio.sleep(60)
        story.city.come_back()
        for _ in range(30):
            story.hear()
            await asyncio.sleep(1)
        await story.all_settled()
        assert story.city.positions == list(range(1, 531))


@told
async def test_a_handful_that_waited_is_no_backlog():
    async with Story(manners=Manners(backlog_delay_s=3_600)) as story:
        story.city.go_down()
        await asyncio.sleep(1)
        story.hear(5)
        await asyncio.sleep(120)
        story.city.come_back()
        await asyncio.sleep(40)
        assert story.city.positions == [1, 2, 3, 4, 5]


@told
async def test_what_was_confirmed_before_the_connection_broke_is_not_sent_again():
    async with Story() as story:
        story.city.confirms_before_it_breaks = 3
        story.hear(10)
        await asyncio.sleep(60)
        assert sorted(story.city.positions) == list(range(1, 11))
        assert story.balance == 0


@told
async def test_a_poisoned_record_is_given_up_with_its_reason_and_blocks_nobody():
    async with Story() as story:
        story.city.refuses = lambda record: "too large" if record.position == 50 else None
        story.hear(100)
        await asyncio.sleep(10)
        assert story.city.positions == [number for number in range(1, 101) if number != 50]
        assert story.outbox.dead_letters == [("city", 50, "too large")]
        assert (story.outbox.progress("city").given_up, story.balance) == (1, 0)


@told
async def test_a_damaged_record_is_given_up_and_its_neighbours_arrive():
    async with Story() as story:
        story.outbox.damaged = {3}
        story.hear(5)
        await asyncio.sleep(10)
        assert story.city.positions == [1, 2, 4, 5]
        assert (story.outbox.progress("city").given_up, story.balance) == (1, 0)


@told
async def test_only_the_wanted_tags_leave_and_the_books_still_balance():
    async with Story(manners=Manners(only_tags={"kind": "water"})) as story:
        for number in range(20):
            story.hear(tags={"kind": "water" if number % 4 == 0 else "glass"})
        await asyncio.sleep(10)
        assert story.city.positions == [1, 5, 9, 13, 17]
        progress = story.outbox.progress("city")
        assert (progress.acknowledged, progress.skipped, story.balance) == (5, 15, 0)


@told
async def test_a_destination_slower_than_the_air_still_gets_fresh_readings_first_and_everything_in_the_end():
    async with Story(manners=Manners(backlog_delay_s=0, backlog_per_s=1000, in_flight=4)) as story:
        story.city.takes_s = 1.0
        for _ in range(120):
            story.hear(5)
            await asyncio.sleep(1)
        newest = max(story.city.positions)
        assert story.outbox.head - newest < 60
        story.city.takes_s = 0.01
        await story.all_settled()
        assert sorted(story.city.positions) == list(range(1, 601))
        assert story.balance == 0


@told
async def test_a_bug_in_one_destination_is_its_own_trouble_and_is_tried_again():
    async with Story() as story:
        story.city.refuses = lambda record: 1 / 0
        story.hear(3)
        await asyncio.sleep(5)
        assert story.drain.state == "refused"
        story.city.refuses = lambda _: None
        await asyncio.sleep(60)
        assert sorted(story.city.positions) == [1, 2, 3]


def test_two_hundred_gateways_that_come_back_together_do_not_knock_together():
    async def first_backlog_s(seed: int) -> float:
        async with Story(manners=Manners(backlog_delay_s=60), seed=seed) as story:
            story.city.go_down()
            await asyncio.sleep(1)
            story.hear(100)
            await asyncio.sleep(600)
            story.city.come_back()
            came_back_s = asyncio.get_running_loop().time()
            while not story.city.arrived:
                await asyncio.sleep(0.1)
            return story.city.arrived[0][0] - came_back_s

    starts = sorted(run_in_virtual_time(first_backlog_s(seed)) for seed in range(200))
    busiest = max(sum(1 for other in starts if one <= other < one + 5) for one in starts)
    assert busiest < 40, "200 starts over 90 s: never a fifth of them within 5 s"


@pytest.mark.parametrize("in_flight", [1, 2, 3, 32])
def test_any_window_carries_everything(in_flight):
    async def tell():
        async with Story(manners=Manners(backlog_delay_s=0, in_flight=in_flight)) as story:
            story.city.go_down()
            await asyncio.sleep(1)
            story.hear(100)
            await asyncio.sleep(30)
            story.city.come_back()
            story.hear(20)
            await story.all_settled()
            assert sorted(story.city.positions) == list(range(1, 121))
            assert story.city.most_at_once <= in_flight

    run_in_virtual_time(tell())


@told
async def test_a_handful_that_waits_at_the_start_is_sent_once():
    async with Story(manners=Manners(backlog_delay_s=0, backlog_per_s=0, in_flight=4)) as story:
        story.hear(4)
        await asyncio.sleep(1)
        assert story.city.positions == [1, 2, 3, 4]


@pytest.mark.parametrize("turns", range(12))
def test_a_stop_is_heard_while_a_connection_ends(turns):
    async def tell():
        async with Story() as story:
            await asyncio.sleep(1)
            story.city.go_down()
            for _ in range(turns):
                await asyncio.sleep(0)
            story._task.cancel()
            done, _ = await asyncio.wait({story._task}, timeout=5)
            assert done == {story._task}

    run_in_virtual_time(tell())


@told
async def test_while_the_disk_refuses_readings_go_out_from_memory_and_count_once_they_are_safe():
    async with Story() as story:
        await asyncio.sleep(1)
        waiting = [
            (number, story.outbox.record_of(replace(reading(number), heard=stamp_now()))) for number in (1, 2, 3)
        ]
        story.outbox.waiting = waiting
        await asyncio.sleep(5)
        assert [record.epoch for _, record in story.city.arrived] == ["ram"] * 3
        assert story.outbox.sent_from_memory == [record for _, record in story.outbox.waiting]
