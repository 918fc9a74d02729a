"""What leaves the store, when, and how it is accounted for (store sheet, P11 to P14, T-31, T-36)."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

import pytest
from readings import STAMP, device, reading, session

from gateway.errors import StoreFull
from gateway.model import GatewayEui
from gateway.store.devices import DeviceRegistry
from gateway.store.part import part_files
from gateway.store.retention import Disk, Limits, Part, Reason, judge
from gateway.store.store import Store

MIB = 1 << 20
DAY_US = 86_400_000_000
NOW_US = STAMP.utc_us
LIMITS = Limits(100 * MIB, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
ROOMY = Disk(50 * MIB, 10 << 30, 32 << 30)


def part(number: int, age_days: float | None) -> Part:
    newest = None if age_days is None else round(NOW_US - age_days * DAY_US)
    return Part(number * 100 + 1, number * 100 + 100, 10 * MIB, newest)


@pytest.mark.parametrize(
    ("why", "parts", "limits", "disk", "settled", "now_us", "expected"),
    [
        ("nothing is old, nothing is full", [part(0, 1), part(1, 0)], LIMITS, ROOMY, 200, NOW_US, []),
        ("a month is over", [part(0, 31), part(1, 29)], LIMITS, ROOMY, 0, NOW_US, [Reason.AGE]),
        ("delivered a week ago", [part(0, 8), part(1, 6)], LIMITS, ROOMY, 200, NOW_US, [Reason.DELIVERED]),
        ("a week old, not delivered", [part(0, 8)], LIMITS, ROOMY, 99, NOW_US, []),
        ("nobody to deliver to: kept for the month", [part(0, 8)], LIMITS, ROOMY, None, NOW_US, []),
        ("the clock is not trusted: nothing is old", [part(0, 99)], LIMITS, ROOMY, 200, None, []),
        ("its date was not trusted: it is not old", [part(0, None)], LIMITS, ROOMY, 200, NOW_US, []),
        ("over the limit by one part", [part(0, 1), part(1, 1)], LIMITS, replace(ROOMY, used_bytes=101 * MIB), 0,
         NOW_US, [Reason.SIZE]),
        ("somebody else fills the disk", [part(0, 1), part(1, 1)], LIMITS, replace(ROOMY, free_bytes=250 * MIB), 0,
         NOW_US, [Reason.NO_SPACE]),
        ("keep-oldest lets go of what is delivered only", [part(0, 1), part(1, 1)],
         replace(LIMITS, keep_newest=False), replace(ROOMY, used_bytes=130 * MIB), 100, NOW_US, [Reason.SIZE]),
    ],
)  # fmt: skip
def test_what_leaves(why, parts, limits, disk, settled, now_us, expected):
    judgement = judge(parts, limits, disk, settled_through=settled, now_us=now_us)
    assert [reason for _, reason in judgement.leave] == expected, why


def test_only_a_store_that_may_not_let_go_is_full():
    over = replace(ROOMY, used_bytes=200 * MIB)
    assert not judge([part(0, 1)], LIMITS, over, settled_through=0, now_us=NOW_US).full
    assert judge([part(0, 1)], replace(LIMITS, keep_newest=False), over, settled_through=0, now_us=NOW_US).full


def opened(folder, **limits):
    return Store.open(
        folder, GatewayEui(bytes(8)), commit_interval_s=0.0,
        limits=replace(Limits(4 * MIB, max_age_s=1e9, keep_delivered_s=1e9), **limits),
    )  # fmt: skip


async def fill(store: Store, records: int) -> int:
    kept = 0
    for start in range(0, records, 500):
        group = [
            store.keep_uplink(reading(number, number=number % 3 + 1, payload=os.urandom(200)), session(1, session_id=1))
            for number in range(start, start + 500)
        ]
        kept += sum(not isinstance(done, StoreFull) for done in await asyncio.gather(*group, return_exceptions=True))
        await store._writer.call(store._measure)
        await store._retain(None)
    return kept


@pytest.fixture
def folder(tmp_path):
    with DeviceRegistry.open(tmp_path) as registry:
        for number in (1, 2, 3):
            registry.add(device(number), session=session(number))
    return tmp_path


async def test_a_full_store_keeps_the_newest_and_sums_up_what_each_device_lost(folder):
    async with opened(folder) as store:
        store.subscribe("city")
        store.subscribe("quick")
        await fill(store, 4_000)
        await store.settle("quick", lambda quick: quick.acknowledge(range(1, store.head + 1)))
        await fill(store, 16_000)
        used = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert used < 6 * MIB, "the limit and the part that is being written"
        assert part_files(folder / "log")[0].first_position > 1
        city, quick = store.progress("city"), store.progress("quick")
        assert (city.balance(store.head), quick.balance(store.head)) == (0, 0)
        assert city.given_up == part_files(folder / "log")[0].first_position - 1
        assert quick.given_up == city.given_up - 4_000
        lost = [loss for loss in await store.losses() if loss.sink == "city"]
        assert sum(loss.records for loss in lost) == city.given_up
        assert {bytes(loss.dev_eui) for loss in lost} == {bytes(device(number).dev_eui) for number in (1, 2, 3)}
        assert all(loss.reason == "size" for loss in lost)
    async with opened(folder) as store:
        assert store.subscribe("city") == city


async def test_a_full_store_that_keeps_the_oldest_refuses_and_sums_up_what_came(folder):
    async with opened(folder, keep_newest=False) as store:
        store.subscribe("city")
        kept = await fill(store, 30_000)
        books = store.books()
        assert 0 < kept < 30_000
        assert (books.stored, books.dropped, books.balance) == (kept, {"full": 30_000 - kept}, 0)
        assert part_files(folder / "log")[0].first_position == 1
        assert store.facts().state == "full"
        assert sum(loss.records for loss in await store.losses()) == 30_000 - kept
        await store.settle("city", lambda city: city.acknowledge(range(1, store.head + 1)))
        await fill(store, 500)
        assert store.facts().state == "writing"
        assert await fill(store, 500) == 500


async def test_the_key_of_a_part_that_left_is_gone(folder):
    async with opened(folder) as store:
        await fill(store, 20_000)
        first = part_files(folder / "log")[0].first_position
        assert store._seals.names_for(1) == []
        assert store._seals.names_for(first)


async def test_counters_outlive_the_part_that_held_them(folder, tmp_path_factory):
    # A kill after a part has left: what started from older counters would take a recording for a new frame.
    kept_by_kill = tmp_path_factory.mktemp("killed")
    async with opened(folder) as store:
        quiet = reading(77, number=2)
        store.accept(device(2), session(2, session_id=2, f_cnt_up=77))
        await store.keep_uplink(quiet, session(2, session_id=2))
        await fill(store, 20_000)
        assert part_files(folder / "log")[0].first_position > 1
        shutil.copytree(folder, kept_by_kill, dirs_exist_ok=True)
    async with opened(kept_by_kill) as store:
        assert store.counters()[quiet.dev_eui] == 77


async def test_what_was_not_for_a_destination_is_no_loss_of_it(folder):
    async with opened(folder) as store:
        store.subscribe("glass", lambda record: record.reading.tags == {"kind": "glass"})
        store.subscribe("water", lambda record: record.reading.tags == {"kind": "water"})
        await fill(store, 20_000)
        left = part_files(folder / "log")[0].first_position - 1
        glass, water = store.progress("glass"), store.progress("water")
        assert (glass.given_up, glass.skipped, water.given_up, water.skipped) == (left, 0, 0, left)
        assert {loss.sink for loss in await store.losses()} == {"glass"}


async def test_a_stop_in_the_midst_of_a_checkpoint_forgets_no_counter(folder):
    async with opened(folder) as store:
        store.accept(device(2), session(2, session_id=2, f_cnt_up=77))
        await store.keep_uplink(reading(77, number=2), session(2, session_id=2))
        saving = asyncio.create_task(store._save_checkpoint())
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait({saving})
    async with opened(folder) as store:
        assert store.counters()[device(2).dev_eui] == 77
