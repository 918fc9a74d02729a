"""The feed: the line never waits for a reader, and a reader knows what it missed."""

import asyncio

import pytest

from gateway.console.feed import Feed


def shape(number):
    return {"number": number}


async def take(stream, count):
    async with asyncio.timeout(5):
        return [await anext(stream) for _ in range(count)]


async def subscribed(feed, **how):
    """A follower that waits for its first reading."""
    stream = feed.follow(**how)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    return stream, first


async def test_a_follower_gets_what_comes_in_its_order():
    feed = Feed(shape)
    feed.publish(1)
    stream, first = await subscribed(feed)
    feed.publish(2)
    feed.publish(3)
    assert await first == {"number": 2}
    assert await take(stream, 1) == [{"number": 3}]
    await stream.aclose()


async def test_a_slow_follower_loses_the_oldest_and_is_told_how_many():
    feed = Feed(shape, wait=3)
    stream, first = await subscribed(feed)
    feed.publish(0)
    assert await first == {"number": 0}
    for number in range(1, 11):
        feed.publish(number)
    assert await take(stream, 4) == [{"missed": 7}, {"number": 8}, {"number": 9}, {"number": 10}]
    feed.publish(11)
    assert await take(stream, 1) == [{"number": 11}]
    await stream.aclose()


async def test_one_slow_follower_costs_the_others_nothing():
    feed = Feed(shape, wait=2)
    slow, waiting = await subscribed(feed)
    quick, first = await subscribed(feed)
    for number in range(6):
        feed.publish(number)
        assert (await first if number == 0 else (await take(quick, 1))[0]) == {"number": number}
    await waiting
    await slow.aclose()
    await quick.aclose()


async def test_unknown_devices_are_for_those_who_asked_for_raw():
    feed = Feed(shape)
    raw, raw_first = await subscribed(feed, raw=True)
    plain, plain_first = await subscribed(feed)
    feed.publish(1, opened=False)
    feed.publish(2)
    assert await raw_first == {"number": 1}
    assert await plain_first == {"number": 2}
    assert feed.recent() == [{"number": 2}]
    await raw.aclose()
    await plain.aclose()


def test_the_latest_come_newest_first_and_only_so_many():
    feed = Feed(shape, keep=3)
    for number in range(9):
        feed.publish(number)
    assert feed.recent() == [{"number": 8}, {"number": 7}, {"number": 6}]


def test_nothing_is_shaped_while_nobody_looks():
    shaped = []
    feed = Feed(lambda number: shaped.append(number) or {})
    for number in range(100):
        feed.publish(number)
    assert shaped == []


async def test_a_closed_follower_is_forgotten():
    feed = Feed(shape)
    stream, first = await subscribed(feed)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await stream.aclose()
    assert feed._queues == set()
