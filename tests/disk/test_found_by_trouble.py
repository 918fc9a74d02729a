"""What the bad disk has brought to light, each on its own and as small as it gets."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest
from damage import flipped
from kept_promises import judge, registered
from lives import live, opened
from nursery import fresh_copy
from power import Disk, lay_out
from readings import session
from trouble import Kind

from gateway.store.part import PAGE_BYTES, part_files
from gateway.store.seals import SealRing

WAL_HEADER, FRAME_HEADER = 32, 24


@pytest.fixture
def folder(quick_folder):
    return quick_folder / "data"


def lived(folder, *steps):
    """The facts of a life that ended in order."""
    facts = []
    live(lambda *fact: facts.append(fact), folder, [["enter", 1, 2], *steps])
    return facts


def killed(folder, *steps):
    """The same, and the files as a kill at the end of it leaves them."""
    return lived(folder.with_name("alive"), *steps, ["copy_to", str(folder)])


def breaches(folder, facts, **options):
    told = []
    judge(lambda *fact: told.append(fact), folder, facts, **options)
    return [fact[1] for fact in told if fact[0] == "breach"]


def flip(file, byte):
    file.write_bytes(flipped(file.read_bytes(), 8 * byte))


def found(folder, after=0):
    """Counters by position, as a destination reads them."""

    async def read():
        async with opened(folder) as store:
            batch = await store.read(after, 100)
            return {record.position: record.reading.f_cnt for record in batch.records}

    return asyncio.run(read())


# --- after a restart


def test_readings_that_are_recalled_from_two_parts_stand_at_their_positions(folder):
    lived(folder, ["keep", 2], ["next_part"])
    assert found(folder) == {1: 1, 2: 2, 3: 3}


def test_a_destination_that_is_new_survives_a_power_cut_before_its_first_acknowledgement(folder):
    """Its cursor is an obligation from the moment it is told that it begins."""
    facts = lived(folder, ["subscribe", "city"], ["keep", 2])
    for file in folder.glob("cursors.sqlite3*"):
        file.unlink()  # nothing of it had been synced
    assert not [one for one in breaches(folder, facts, power_cut=True) if "never get" in one]


def test_a_part_whose_key_is_forgotten_goes_with_the_next_start(folder):
    """Killed between forgetting the key and removing the file: the rest of the removal is still to be done."""
    lived(folder, ["subscribe", "city"], ["keep", 2], ["next_part"], ["settle", "city", 2])
    with closing(SealRing(folder, None)) as keys:
        (name,) = keys.names_for(1)
        keys.forget(name)
    lived(folder)
    assert [part.first_position for part in part_files(folder / "log")] == [3]


# --- damage


def test_a_bit_in_the_first_frame_of_the_write_ahead_log_does_not_remove_the_part(folder):
    """Without its first commits a part looks as if it had never been made; the records behind them are durable."""
    facts = killed(folder, ["keep", 3])
    flip(folder / "log" / "000000000001.sqlite3-wal", WAL_HEADER + FRAME_HEADER + 5)
    assert len(set(found(folder)) & {1, 2, 3}) >= 2
    assert "a position was used again" not in " ".join(breaches(folder, facts))


@pytest.mark.parametrize("kind", ["devices", "cursors"])
def test_a_bit_in_another_write_ahead_log_takes_nothing_back_in_silence(kind, folder):
    facts = killed(folder, ["subscribe", "city"], ["keep", 3], ["settle", "city", 1])
    flip(folder / f"{kind}.sqlite3-wal", WAL_HEADER + FRAME_HEADER + 5)
    assert not breaches(folder, facts, power_cut=True)


def test_a_group_that_was_torn_by_a_power_cut_is_not_called_lost(folder, quick_folder, nursery, trouble):
    """A commit that was never synced, of which one page did not arrive: nothing of it was promised, nothing is lost."""
    facts = nursery.run("lives.live", folder, [["enter", 1], ["keep", 4]]).facts
    disk = Disk.holding(folder)
    trouble.below(folder)
    trouble.write_down()
    nursery.run("lives.live", folder, [["keep", 9]])
    trouble.nowhere()
    calls, wal = trouble.calls(), "log/000000000001.sqlite3-wal"
    syncs = [index for index, call in enumerate(calls) if call.kind is Kind.SYNC and call.name == wal]
    group = max(pairwise(syncs), key=lambda pair: sum(call.name == wal for call in calls[slice(*pair)]))
    for call in calls[: group[1]]:
        if call.kind is Kind.MARK:
            facts.append(json.loads(call.data))
        else:
            disk(call)
    state = disk.after_cut(random.Random(), 1)
    for call in calls[slice(*group)]:
        if call.kind is Kind.WRITE and len(call.data) == PAGE_BYTES:
            page = range(call.offset, call.offset + PAGE_BYTES)
            content = bytes(0 if at in page else byte for at, byte in enumerate(state[wal]))
            lay_out({**state, wal: content}, fresh_copy(quick_folder / "nothing", quick_folder / "cut"))
            assert not breaches(quick_folder / "cut", facts, power_cut=True), call


def test_a_flipped_bit_in_a_cursor_does_not_skip_a_record(folder):
    facts = lived(folder, ["subscribe", "city"], ["keep", 9], ["settle", "city", 1])
    content = (folder / "cursors.sqlite3").read_bytes()
    place = content.rindex(b'"prefix":1') + len(b'"prefix":')
    (folder / "cursors.sqlite3").write_bytes(flipped(content, 8 * place + 2))  # 1 becomes 5
    assert not [one for one in breaches(folder, facts, power_cut=True) if "never get" in one]


def test_a_flipped_bit_in_a_session_key_is_noticed(folder, caplog):
    lived(folder)
    before = registered(folder)
    content = (folder / "devices.sqlite3").read_bytes()
    place = content.rindex(bytes(session(1).app_s_key)) + 7
    (folder / "devices.sqlite3").write_bytes(flipped(content, 8 * place))
    lived_on = []
    live(lambda *fact: lived_on.append(fact), folder, [])
    changed = [number for number, facts in registered(folder).items() if before[number] != facts]
    assert not changed or "damaged" in caplog.text


@pytest.mark.parametrize("kind", ["devices", "keys", "cursors"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8_192, b"SQLite format 3\0" + bytes(8_176)], ids=["empty", "noise", "zeros"]
)
def test_a_file_beside_the_log_that_is_no_database_does_not_keep_the_gateway_from_starting(
    kind, content, folder, caplog
):
    lived(folder, ["keep", 2])
    (folder / f"{kind}.sqlite3").write_bytes(content)
    kept = []
    live(lambda *fact: kept.append(fact), folder, [["enter", 7], ["keep", 1, 7]])
    assert kept[-1][:3] == ("durable", kept[-1][1], 7)
    assert kind in caplog.text


def test_something_that_is_no_folder_in_place_of_the_log_does_not_keep_the_gateway_from_starting(folder):
    lived(folder)
    (folder / "log" / part_files(folder / "log")[0].path.name).unlink()
    (folder / "log").rmdir()
    (folder / "log").write_text("")
    lived(folder, ["keep", 1])


def test_damage_is_survived_also_where_quarantine_cannot_be_made(folder):
    lived(folder, ["keep", 2])
    (folder / "quarantine").write_text("")
    part_files(folder / "log")[0].path.write_bytes(b"\xff" * 5_000)
    lived(folder, ["keep", 1])


def test_a_strangers_part_between_ours_hides_none_of_our_records(folder, quick_folder):
    lived(folder, ["keep", 6], ["next_part"])
    other = quick_folder / "other"
    lived(other, ["keep", 3], ["next_part"])
    (other / "log" / "000000000004.sqlite3").rename(folder / "log" / "000000000004.sqlite3")
    assert sorted(found(folder)) == [1, 2, 3, 4, 5, 6, 7]


def test_the_last_record_is_not_forgotten_with_the_page_it_was_on(folder):
    """The page that says where the last leaf is goes wrong: SQLite finds a shorter log, and positions come again."""
    facts = lived(folder, ["keep", 12], ["checkpoint"])
    part = folder / "log" / "000000000001.sqlite3"
    with closing(sqlite3.connect(part)) as db:
        db.execute("DELETE FROM record WHERE position > 9")
        db.commit()
    assert "a position was used again" not in " ".join(breaches(folder, facts))


def test_a_destination_waits_where_positions_were_skipped_and_does_not_turn_in_circles(folder):
    """The last part is gone, the head is ten million further: there is nothing to read until the next record."""
    lived(folder, ["keep", 2], ["next_part"])
    part_files(folder / "log")[-1].path.write_bytes(b"\xff" * 5_000)

    async def read_on():
        async with opened(folder) as store:
            after, reads = 0, 0
            while after < store.head and reads < 10:
                batch = await store.read(after, 100)
                after, reads = batch.through, reads + 1
            return after == store.head

    assert asyncio.run(read_on())


def test_a_part_that_takes_no_more_records_is_followed_by_one_that_does(folder, nursery):
    """Damage that only an insertion meets: the list of free room on the last leaf."""
    lived(folder, ["keep", 9])
    part = folder / "log" / "000000000001.sqlite3"
    sound = part.read_bytes()
    for start in range(PAGE_BYTES, len(sound), PAGE_BYTES):
        part.write_bytes(flipped(sound, 8 * (start + 1) + 4))
        life = nursery.run("lives.live", fresh_copy(folder, folder.with_name("copy")), [["keep", 1]])
        assert not life.breaches, f"page {start // PAGE_BYTES}"


def test_a_record_whose_length_is_damaged_does_not_keep_the_gateway_from_starting(folder):
    """A type in the row's header goes wrong and the body reads as NULL."""
    lived(folder, ["keep", 3])
    with closing(sqlite3.connect(folder / "log" / "000000000001.sqlite3")) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE name = 'record'")
        db.commit()
    with closing(sqlite3.connect(folder / "log" / "000000000001.sqlite3")) as db:
        db.execute("UPDATE record SET body = NULL WHERE position = 2")
        db.commit()
    assert sorted(found(folder)) == [1, 3]


def test_pages_in_the_wrong_order_do_not_give_readings_other_positions(folder):
    lived(folder, ["keep", 12], ["checkpoint"])
    part = folder / "log" / "000000000001.sqlite3"
    content = part.read_bytes()
    pages = [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]
    pages[-1], pages[-2] = pages[-2], pages[-1]
    part.write_bytes(b"".join(pages))
    assert all(position == f_cnt for position, f_cnt in found(folder).items())


def test_a_mended_part_keeps_its_books(folder):
    """Counts and unopened frames lie in the same file as the records, and most of them can be read as well."""
    lived(folder, ["foreign", 3], ["keep", 2])
    part = folder / "log" / "000000000001.sqlite3"
    part.write_bytes(flipped(part.read_bytes(), 3))  # the magic at the very beginning

    async def books():
        async with opened(folder) as store:
            return store.books()

    after = asyncio.run(books())
    assert (after.stored, sum(after.filtered.values()), after.unopened_kept, after.balance) == (3, 3, 3, 0)


# --- a disk that refuses for a moment


def test_a_cursor_that_could_not_be_saved_once_can_be_saved_again(folder, nursery, trouble):
    nursery.run("lives.live", folder, [["enter", 1], ["subscribe", "city"], ["keep", 3]])
    for write in range(1, 7):
        trouble.below(folder)
        trouble.fail((Kind.WRITE,), errno.EIO, first=write, last=write, begins="cursors")
        steps = [["subscribe", "city"], ["settle", "city", 1], ["settle", "city", 1], ["settle", "city", 1]]
        life = nursery.run("lives.live", folder, steps, patient=True)
        troubled = [fact for fact in life.facts if fact[0] == "troubled"]
        assert len(troubled) <= 1, troubled
        assert not life.breaches


@pytest.mark.parametrize("part", ["01.sqlite3", "04.sqlite3"], ids=["closed", "being written"])
def test_records_that_cannot_be_read_just_now_are_not_given_up(part, folder, nursery, trouble):
    nursery.run("lives.live", folder, [["enter", 1], ["subscribe", "city"], ["keep", 3], ["next_part"]])
    for first in range(1, 6):
        copy = fresh_copy(folder, folder.with_name("copy"))
        trouble.below(copy)
        trouble.fail((Kind.OPEN_TO_READ,), errno.EIO, first=first, last=first + 2, ends=part)
        life = nursery.run("lives.live", copy, [["subscribe", "city"], ["deliver", "city"]], patient=True)
        assert [fact for fact in life.facts if fact[0] == "called lost" and fact[1]] == []


def test_a_file_that_was_opened_while_the_disk_was_read_only_is_written_when_it_is_not(folder, nursery, trouble):
    """SQLite quietly opens for reading what it cannot open for writing, and stays with that."""
    nursery.run("lives.live", folder, [["enter", 1], ["subscribe", "city"], ["keep", 3]])
    for name in ("cursors.sqlite3", "keys.sqlite3", "devices.sqlite3"):
        trouble.below(folder)
        trouble.fail((Kind.OPEN_TO_WRITE,), errno.EROFS, first=1, last=1, begins=name)
        steps = [["subscribe", "city"], ["next_part"], ["settle", "city", 1], ["checkpoint"]]
        life = nursery.run("lives.live", folder, steps, patient=True)
        assert not life.breaches, name
        troubled = [fact for fact in life.facts if fact[0] == "troubled" and fact[1] != "start or stop"]
        assert len(troubled) <= 2, troubled
