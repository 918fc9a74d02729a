"""The store's promises: durable means durable, nothing is repeated or lost over stops, kills and bad disks."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from readings import STAMP, device, reading, session

from gateway.errors import StorageError
from gateway.host.dating import Backdating
from gateway.model import Crc, DevAddr, GatewayEui, Lora, RadioFrame, Refusal, Refused, TimeQuality
from gateway.store.devices import DeviceRegistry
from gateway.store.log import RecordLog
from gateway.store.owner import Ownership
from gateway.store.part import Tally, UnopenedFrame, part_files
from gateway.store.records import encode
from gateway.store.retention import Limits
from gateway.store.seals import SealRing
from gateway.store.store import Store

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
HERE = Path(__file__).parent


def record_log(folder: Path) -> RecordLog:
    return RecordLog(folder / "log", str(EUI), 64 << 20, SealRing(folder, None))


def opened(folder: Path, *, commit_interval_s: float = 0.0, max_bytes: int = 64 << 20) -> Store:
    limits = Limits(max_bytes, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
    return Store.open(folder, EUI, commit_interval_s=commit_interval_s, limits=limits)


@pytest.fixture
def folder(tmp_path):
    with DeviceRegistry.open(tmp_path) as registry:
        for number in (1, 2):
            registry.add(device(number), session=session(number))
    return tmp_path


# --- keeping


async def test_a_kept_reading_is_read_back_by_another_process_at_once(folder):
    async with opened(folder) as store:
        kept = reading(5)
        position = await store.keep_uplink(kept, session(1, session_id=1))
        found = subprocess.run(
            [sys.executable, "-c", _READ_BACK, folder], capture_output=True, text=True, check=True, cwd=HERE.parents[1]
        ).stdout.split()
    assert found == [str(position), kept.frame_id, "5"]


_READ_BACK = textwrap.dedent("""
    import sys; from pathlib import Path
    from gateway.store.reader import LogReader
    from gateway.store.records import decode
    from gateway.store.seals import SealRing
    folder = Path(sys.argv[1])
    for position, body in LogReader(folder / "log", SealRing(folder, None)).read(0, 10, 10):
        print(position, decode(body).frame_id, decode(body).f_cnt)
""")


async def test_a_quiet_gateway_loses_nothing_and_a_busy_one_syncs_once_an_interval(folder):
    async with opened(folder, commit_interval_s=30.0) as store:
        first = await asyncio.wait_for(store.keep_uplink(reading(1), session(1, session_id=1)), 5)
        later = [store.keep_uplink(reading(number), session(1, session_id=1)) for number in range(2, 12)]
        await asyncio.sleep(0.2)
        assert (first, [future.done() for future in later]) == (1, [False] * 10)
        assert store.facts().commits == 1
    assert [future.result() for future in later] == list(range(2, 12))  # a stop commits what waits


async def test_what_a_device_waits_for_is_on_disk_soon_with_all_that_came_before_it(folder):
    async with opened(folder, commit_interval_s=30.0) as store:
        await store.keep_uplink(reading(1), session(1, session_id=1))
        patient = store.keep_uplink(reading(2), session(1, session_id=1))
        urgent = store.keep_uplink(reading(1, number=2), session(2, session_id=2), soon=True)
        assert await asyncio.wait_for(urgent, 5) == 3
        assert (patient.done(), store.facts().commits) == (True, 2)


async def test_a_full_group_does_not_wait_for_the_interval(folder):
    async with opened(folder, commit_interval_s=30.0) as store:
        await store.keep_uplink(reading(1), session(1, session_id=1))
        group = [store.keep_uplink(reading(number), session(1, session_id=1)) for number in range(2, 1002)]
        await asyncio.wait_for(asyncio.gather(*group), 10)


async def test_what_the_codec_made_unstorable_costs_its_decoding_and_not_the_reading(folder):
    async with opened(folder) as store:
        from dataclasses import replace

        odd = reading(1, decoded=replace(reading(1).decoded, data={"x": 2**80}))
        await store.keep_uplink(odd, session(1, session_id=1))
        (record,) = (await store.read(0, 10)).records
        store._tail.clear()
        (from_disk,) = (await store.read(0, 10)).records
    assert from_disk.reading.payload == record.reading.payload
    assert "could not be stored" in from_disk.reading.decoded.problem


# --- counters and records are one commit


async def test_a_counter_comes_back_from_its_record_when_no_checkpoint_was_written(folder):
    async with opened(folder) as store:
        _, current = store.candidates(DevAddr(1))[0]
        assert current.f_cnt_up is None
        kept = reading(41, number=1)
        await store.keep_uplink(kept, current)
    with sqlite3.connect(folder / "devices.sqlite3") as db:  # as a kill leaves it
        db.execute("DELETE FROM checkpoint")
        db.execute("UPDATE session SET f_cnt_up = NULL, last_mic = x''")
    db.close()
    async with opened(folder) as store:
        _, current = store.candidates(DevAddr(1))[0]
        assert (current.f_cnt_up, current.last_mic) == (41, kept.phy[-4:])


async def test_a_checkpoint_never_runs_ahead_of_the_records(folder):
    async with opened(folder, commit_interval_s=30.0) as store:
        known, current = store.candidates(DevAddr(1))[0]
        await store.keep_uplink(reading(1, number=1), current)
        from dataclasses import replace

        store.accept(known, replace(current, f_cnt_up=2))
        store.keep_uplink(reading(2, number=1), current)  # accepted, not durable
        await store._save_checkpoint()
        with DeviceRegistry.open(folder) as registry:
            assert registry.get(known.dev_eui).f_cnt_up == 1
            assert registry.checkpointed(store.epoch) == 1


def test_a_killed_process_keeps_every_record_it_was_told_is_durable(tmp_path):
    """Kill at random moments; what stdout promised is on disk, positions never repeat, counters follow the records."""
    promised: list[int] = []
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _KEEP_ON, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=HERE
        )
        lines = []
        for line in child.stdout:
            lines.append(int(line))
            if len(lines) == 5:
                child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert not set(lines) & set(promised), "a position was given twice"
        promised += lines
    log = record_log(tmp_path)
    found = dict(log.bodies_after(0))
    assert set(promised) <= set(found)
    assert log.tally.stored == len(found)
    assert log.tally.balance == 0


_KEEP_ON = textwrap.dedent("""
    import asyncio, sys; from pathlib import Path
    sys.path[:0] = ["..", "../.."]
    from readings import reading, session
    from gateway.model import GatewayEui
    from gateway.store.retention import Limits
    from gateway.store.store import Store
    async def main():
        store = Store.open(Path(sys.argv[1]), GatewayEui(bytes.fromhex("0016c001ff10a235")),
                           commit_interval_s=0.0, limits=Limits(64 << 20, 1e9, 1e9))
        async with store:
            for f_cnt in range(100_000):
                futures = [store.keep_uplink(reading(f_cnt), session(1, session_id=1)) for _ in range(3)]
                for position in await asyncio.gather(*futures):
                    print(position, flush=True)
    asyncio.run(main())
""")


# --- reading on


async def test_records_are_read_in_order_across_parts_from_memory_and_disk(folder):
    async with opened(folder, max_bytes=1 << 20) as store:
        many = [reading(number, payload=os.urandom(200)) for number in range(6_000)]
        for start in range(0, 6_000, 1_000):
            group = many[start : start + 1_000]
            await asyncio.gather(*(store.keep_uplink(one, session(1, session_id=1)) for one in group))
        assert len(part_files(folder / "log")) > 1
        found, after = [], 0
        while after < store.head:
            batch = await store.read(after, 500)
            found += batch.records
            after = batch.through
    assert [record.position for record in found] == list(range(1, 6_001))
    assert [record.reading.frame_id for record in found] == [one.frame_id for one in many]
    assert len({record.record_id for record in found}) == 6_000


async def test_waiting_for_more_ends_when_more_is_durable(folder):
    async with opened(folder) as store:
        waiting = asyncio.ensure_future(store.beyond(store.head))
        await asyncio.sleep(0)
        assert not waiting.done()
        await store.keep_uplink(reading(1), session(1, session_id=1))
        await asyncio.wait_for(waiting, 5)


async def test_a_damaged_body_is_reported_by_position_and_its_neighbours_are_read(folder):
    async with opened(folder) as store:
        for number in range(3):
            await store.keep_uplink(reading(number), session(1, session_id=1))
    (part,) = part_files(folder / "log")
    with sqlite3.connect(part.path) as db:
        db.execute("UPDATE record SET body = x'00ff' WHERE position = 2")
    db.close()
    async with opened(folder) as store:
        store._tail.clear()
        batch = await store.read(0, 10)
    assert ([record.position for record in batch.records], batch.lost, batch.through) == ([1, 3], [(2, 2)], 3)


# --- destinations


async def test_a_destination_goes_on_where_it_was_and_a_new_one_starts_now(folder):
    async with opened(folder) as store:
        store.subscribe("old")
        for number in range(4):
            await store.keep_uplink(reading(number), session(1, session_id=1))
        await store.settle("old", lambda old: old.acknowledge([1, 2, 4]))
    async with opened(folder) as store:
        assert store.subscribe("old").prefix == 2
        assert store.progress("old").queued(store.head) == 1
        assert store.subscribe("new").queued(store.head) == 0
        await store.settle("old", lambda old: old.give_up([3]), [(3, "too large")])
        assert store.dead_letters("old") == 1
        assert store.progress("old").balance(store.head) == 0


# --- frames nobody could open


async def test_foreign_frames_are_counted_and_kept_within_a_bound(folder):
    async with opened(folder) as store:
        for number in range(40):
            phy = bytes([0x40, number]) + bytes(12)
            heard = RadioFrame(phy, STAMP, 868_100_000, Lora(7, 125_000), -90.0, 5.0, 0, 0, number, Crc.OK, "r")
            store.keep_unopened(heard, Refused(Refusal.UNKNOWN_DEVICE, "", DevAddr(7)))
        store.keep_unopened(heard, Refused(Refusal.CRC_BAD, ""))
        books = store.books()
    assert (books.heard, books.filtered, books.unopened_kept) == (41, {"unknown_device": 40, "crc_bad": 1}, 16)
    async with opened(folder) as store:
        assert store.books() == books


async def test_a_frame_that_is_kept_does_not_wait_with_those_that_are_only_counted(folder):
    heard = RadioFrame(
        b"\x40" + bytes(12), STAMP, 868_100_000, Lora(7, 125_000), -90.0, 5.0, 0, 0, 1, Crc.OK, "r"
    )  # fmt: skip
    async with opened(folder) as store:
        store.keep_unopened(heard, Refused(Refusal.UNKNOWN_DEVICE, "", DevAddr(7)))
        await asyncio.wait_for(store.covered(), 5)
        store.keep_unopened(heard, Refused(Refusal.CRC_BAD, ""))
        assert store.covered().done()  # what is only counted is waited for by nobody
        await asyncio.sleep(0.1)  # the writer has seen that there is time
        store.keep_unopened(heard, Refused(Refusal.UNKNOWN_DEVICE, "", DevAddr(7)))
        await asyncio.wait_for(store.covered(), 5)  # counts alone are written after ten seconds
        tally, _ = await store.durable_books()
        assert (tally.unopened_kept, tally.heard) == (2, 3)


# --- trouble


async def test_a_disk_that_refuses_costs_patience_and_no_record(folder):
    async with opened(folder) as store:
        await store.keep_uplink(reading(1), session(1, session_id=1))
        blocker = sqlite3.connect(part_files(folder / "log")[-1].path, isolation_level=None)
        store._log._db.execute("PRAGMA busy_timeout = 1")
        blocker.execute("BEGIN IMMEDIATE")
        waiting = store.keep_uplink(reading(2), session(1, session_id=1))
        await asyncio.sleep(0.3)
        assert store.facts().state == "failing"
        assert not waiting.done()
        ((number, record),) = store.stranded(0, 10)
        assert record.epoch != store.epoch, "its place in the log is not known yet"
        store.subscribe("city")
        store.was_sent_from_memory("city", [record])
        blocker.execute("ROLLBACK")
        blocker.close()
        assert await asyncio.wait_for(waiting, 30) == 2
        assert store.facts().state == "writing"
        assert store.books().stored == 2
        assert store.stranded(number, 10) == []
        assert (store.progress("city").acknowledged, store.progress("city").queued(store.head)) == (1, 0)


def test_a_commit_that_failed_and_landed_all_the_same_is_not_written_twice(tmp_path):
    log = record_log(tmp_path)
    log.append([encode(reading(1), 1)], [], Tally(heard=1, stored=1))
    log.reopen()
    assert (log.head, log.tally.stored) == (1, 1)


def test_a_damaged_part_is_moved_aside_once_and_its_positions_are_not_used_again(tmp_path):
    log = record_log(tmp_path)
    log.append([encode(reading(1), 1)] * 3, [UnopenedFrame(1, "unknown_device", b"x")], Tally(heard=3, stored=3))
    log.close()
    (part,) = part_files(tmp_path / "log")
    part.path.write_bytes(b"\xff" * 5000)
    log = record_log(tmp_path)
    assert log.damage.parts == 1
    assert log.append([encode(reading(2), 1)], [], Tally(heard=1, stored=1)) > 3
    log.close()
    again = record_log(tmp_path)
    assert (again.damage.parts, again.epoch) == (0, log.epoch)
    assert [path.name for path in (tmp_path / "quarantine").iterdir()] == [part.path.name]


@pytest.mark.parametrize("stray", ["000000000099.sqlite3", "notes.txt", "x.sqlite3", "000000000050.sqlite3-wal"])
def test_what_lies_about_in_the_log_folder_stops_nothing(tmp_path, stray):
    log = record_log(tmp_path)
    log.append([encode(reading(1), 1)], [], Tally(heard=1, stored=1))
    log.close()
    (tmp_path / "log" / stray).mkdir()
    assert record_log(tmp_path).head == 1


def test_a_part_cut_off_while_it_was_made_is_made_again(tmp_path):
    log = record_log(tmp_path)
    log.append([encode(reading(1), 1)], [], Tally(heard=1, stored=1))
    log.close()
    (tmp_path / "log" / "000000000002.sqlite3").touch()
    log = record_log(tmp_path)
    assert (log.head, log.damage.parts, log.tally.stored) == (1, 0, 1)


def test_a_second_owner_is_refused_with_the_process_that_holds_it_and_a_dead_one_does_not_block(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=HERE.parents[1]
    )  # fmt: skip
    holder.stdout.readline()
    with pytest.raises(StorageError, match=f"process {holder.pid}"), Ownership(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with Ownership(tmp_path):
        pass


_HOLD = "import sys,time; from pathlib import Path; from gateway.store.owner import Ownership\n" + textwrap.dedent("""
    with Ownership(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


async def test_a_device_changed_by_a_command_is_known_to_a_running_gateway(folder):
    async with opened(folder) as store:
        house = asyncio.create_task(store.keep_house(lambda: None))
        with DeviceRegistry.open(folder) as registry:
            registry.add(device(77), session=session(77))
            registry.remove(device(1).dev_eui)
        async with asyncio.timeout(10):
            while not store.candidates(DevAddr(77)) or store.candidates(DevAddr(1)):
                await asyncio.sleep(0.05)
        house.cancel()


async def test_what_went_out_before_the_time_was_known_is_asked_for_again_from_every_part(folder):
    guess = replace(STAMP, utc_us=81_000_000, quality=TimeQuality.UNSYNCED, uncertainty_ms=None)
    async with opened(folder) as store:
        store.subscribe("city")
        for number in range(1, 7):
            await store.keep_uplink(reading(number, heard=guess), session(1, session_id=1))
            if number == 3:
                await store._writer.call(store._log.rotate)
        records = [record for after in (0, 3) for record in (await store.read(after, 10)).records][:6]
        await store.settle("city", lambda city: city.acknowledge(range(1, 6)).note_dates(records[:5], (1, 5)))
        known = Backdating(guess.boot_id, guess.monotonic_us + 1)
        await store.date_back(known)
        assert store.progress("city").again == ((1, 5),)
        await store.settle("city", lambda city: city.acknowledge([6]).note_dates(records[5:], (6, 6)))
        assert store.progress("city").again == ((1, 6),)  # it was on its way
        await store.sent_again("city", (1, 5), [], ())
        await store.date_back(known)
    async with opened(folder) as store:
        assert store.subscribe("city").again == ((6, 6),)


async def test_a_device_is_not_called_seen_at_a_date_that_nobody_knows(folder):
    undated = replace(STAMP, utc_us=3_600_000_000, quality=TimeQuality.UNSYNCED, uncertainty_ms=None)
    async with opened(folder) as store:
        await store.keep_uplink(reading(1), session(1, session_id=1))
        await store.keep_uplink(reading(2, heard=undated), session(1, session_id=1))
        await store.keep_uplink(reading(1, number=2, heard=undated), session(2, session_id=2))
    with DeviceRegistry.open(folder) as registry:
        seen = {row.device.name: (row.last_seen_utc_us, row.f_cnt_up) for row in registry.list()}
    assert seen == {"device 1": (STAMP.utc_us, 2), "device 2": (None, 1)}
