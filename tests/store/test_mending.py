"""Single wrong bits put right, rows that carry their sums, and quarantine within a bound."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.store import wal
from gateway.store.database import open_database
from gateway.store.mending import open_mended
from gateway.store.quarantine import MOST_THINGS, set_aside
from gateway.store.sums import summed_tables
from gateway.store.unopened import UnopenedBudget

KINDS = {"cursors", "devices", "keys", "network"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A database of SQLite's own making with a write-ahead log of three commits."""
    folder = tmp_path_factory.mktemp("killed")
    with closing(sqlite3.connect(folder / "live.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA page_size = 512")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE thing (number INTEGER PRIMARY KEY, body BLOB)")
        for number in range(2):
            db.execute("INSERT INTO thing VALUES (?,?)", (number, random.Random(number).randbytes(900)))
        for suffix in ("", "-wal"):
            shutil.copy(folder / f"live.sqlite3{suffix}", folder / f"file.sqlite3{suffix}")
    return folder / "file.sqlite3"


def test_frames_are_found_whole_as_sqlite_has_written_them(killed):
    found = wal.frames(wal.wal_bytes(killed), 512)
    assert sum(frame.ends_commit for frame in found) == 3
    assert all(frame.is_whole for frame in found)


def test_a_single_wrong_bit_is_put_right_or_left_alone(killed):
    """The highest bits of many words change SQLite's sums alike, so that nobody can tell which of them it was."""
    content, copy, right = wal.wal_bytes(killed), killed.with_name("copy.sqlite3"), 0
    bits = random.Random(1).sample(range(8 * len(content)), 300)
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        wal.wal_path(copy).write_bytes(damaged)
        if wal.mend(copy, 512):
            assert wal.wal_bytes(copy) == content
            right += 1
    assert right > 0.7 * len(bits)


def test_what_was_torn_is_left_as_it_is(killed):
    content = bytearray(wal.wal_bytes(killed))
    content[-300:] = bytes(300)
    copy = killed.with_name("copy.sqlite3")
    wal.wal_path(copy).write_bytes(content)
    assert wal.mend(copy, 512) == 0
    assert wal.wal_bytes(copy) == content
    assert wal.is_torn(wal.frames(bytes(content), 512))


@given(content=st.binary(max_size=5_000))
@settings(deadline=None, max_examples=50)
def test_no_bytes_trouble_the_reader_of_write_ahead_logs(content):
    wal.frames(content, 512)
    wal.frames(content, 512, guess_salts=True)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_table_beside_the_log_carries_sums(kind, tmp_path):
    with closing(open_database(tmp_path / "file.sqlite3", kind)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
        assert {table.name for table in summed_tables(db)} == names - {"sqlite_sequence"}


@given(content=st.binary(max_size=3_000))
@settings(deadline=None, max_examples=30)
def test_whatever_lies_in_place_of_a_file_it_can_be_opened(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("any") / "cursors.sqlite3"
    file.write_bytes(content)
    opened = open_mended(file, "cursors", expected=True)
    opened.db.close()
    assert opened.damage
    again = open_mended(file, "cursors", expected=True)
    again.db.close()
    assert not again.damage


def test_rows_that_are_not_what_was_written_go_and_the_others_stay(tmp_path):
    file = tmp_path / "keys.sqlite3"
    opened = open_mended(file, "keys", expected=False)
    opened.db.executemany("INSERT INTO part_key (part, wrapped, material) VALUES (?,0,?)", [("a", b"A"), ("b", b"B")])
    opened.db.close()
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TRIGGER part_key_digest_update")
        db.execute("UPDATE part_key SET material=x'00' WHERE part='a'")
        db.commit()
    opened = open_mended(file, "keys", expected=True)
    with closing(opened.db) as db:
        assert db.execute("SELECT part FROM part_key").fetchall() == [("b",)]
    assert opened.damage
    assert opened.salvaged == 1


def test_quarantine_holds_the_newest_things_and_not_all(tmp_path):
    for number in range(MOST_THINGS + 5):
        (tmp_path / "thing").write_text(str(number))
        set_aside(tmp_path / "thing", tmp_path)
    there = {path.read_text() for path in Path(tmp_path / "quarantine").iterdir()}
    assert len(there) == MOST_THINGS
    assert str(MOST_THINGS + 4) in there


def test_the_budget_for_unopened_frames_knows_no_clock_but_that_of_the_frames():
    """A machine that slept: frames are stamped by a clock that went on meanwhile."""
    budget = UnopenedBudget()
    assert sum(budget.admits(1, 5) for _ in range(20)) == 16
    assert budget.admits(1, 5 + 300_000_000)
