"""The file of air time: what a restart finds in it, after every kind of stop."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from gateway.errors import DiskTrouble
from gateway.model import Stamp, TimeQuality, TxResult
from gateway.radio.duty_cycle import ANYBODY, AirtimeLedger, Booking, Stop, tail_us
from gateway.regions.eu868 import EU868
from gateway.store.airtime_file import COMMIT_EVERY_S, FILE_NAME, AirtimeFile
from gateway.store.database import NewerFormat

S = 1_000_000
BAND = next(band for band in EU868.sub_bands if band.name == "868.0-868.6 MHz")


def at(seconds, quality=TimeQuality.NTP):
    return Stamp(1_795_428_000_000_000 + seconds * S, quality, 20, "boot", seconds * S)


def begin(file, now=None):
    ledger = AirtimeLedger(EU868.sub_bands, file.remembered, now or at(0))
    file.begin(ledger)
    return ledger


def book(ledger, seconds, airtime_s=1.0):
    booking = ledger.reserve("roof", BAND, round(airtime_s * S), 0, at(seconds))
    assert isinstance(booking, Booking)
    return booking


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def rows(folder):
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return connection.execute("SELECT number, transmitter, airtime_us FROM airtime ORDER BY number").fetchall()


def test_after_an_orderly_stop_everything_is_there_and_nothing_is_assumed(tmp_path):
    with AirtimeFile(tmp_path) as file:
        assert (file.remembered.airtimes, file.remembered.stop) == ((), Stop.ORDERLY)
        ledger = begin(file)
        booked = [book(ledger, n).airtime for n in range(3)]
    with AirtimeFile(tmp_path) as file:
        assert (list(file.remembered.airtimes), file.remembered.stop) == (booked, Stop.ORDERLY)
        begin(file, at(10))
        assert len(rows(tmp_path)) == 3


def test_every_field_of_a_start_comes_back(tmp_path):
    stamps = [
        Stamp(0, TimeQuality.UNSYNCED, None, "b" * 32, 7),
        Stamp(-5, TimeQuality.CORRECTED, 0, "c" * 32, 60 * S),
        *(at(1, quality) for quality in TimeQuality),
    ]
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        for stamp in stamps:
            assert isinstance(ledger.reserve("é \x00 ☎", BAND, 5, 0, stamp), Booking)
    with AirtimeFile(tmp_path) as file:
        assert [airtime.start for airtime in file.remembered.airtimes] == stamps


async def test_bookings_reach_the_disk_within_a_second_and_count_as_synced_then(tmp_path):
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        keeping = asyncio.create_task(file.keep())
        booking = book(ledger, 0, 3.6)
        assert ledger.reserve("roof", BAND, S, 0, at(1)).result is TxResult.DUTY_CYCLE, "not on disk yet"
        await until(lambda: booking.synced)
        assert rows(tmp_path) == [(1, "roof", 3_600_000)]
        book(ledger, 1)
        keeping.cancel()
        await asyncio.wait([keeping])
    assert len(rows(tmp_path)) == 2, "the rest comes with the end"


async def test_one_commit_a_second_however_much_is_sent(tmp_path):
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as watcher:
            keeping = asyncio.create_task(file.keep())
            versions = set()
            began_s = time.monotonic()
            while time.monotonic() - began_s < 1.5 * COMMIT_EVERY_S:
                book(ledger, 0, 0.001)
                versions.add(watcher.execute("PRAGMA data_version").fetchone())
                await asyncio.sleep(0.02)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert len(versions) <= 4


async def test_what_is_given_back_leaves_the_file(tmp_path):
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        keeping = asyncio.create_task(file.keep())
        booking = book(ledger, 0)
        await until(lambda: booking.synced)
        ledger.give_back(booking)
        book(ledger, 1)
        await until(lambda: [number for number, *_ in rows(tmp_path)] == [2])
        keeping.cancel()
        await asyncio.wait([keeping])


def crash(file):
    """What a killed process leaves: no last commit, no mark."""
    file._connection.close()


def test_after_a_sudden_stop_the_tail_is_used_and_that_is_remembered_too(tmp_path):
    file = AirtimeFile(tmp_path)
    lost = book(begin(file), 0)
    crash(file)
    for crashes in (1, 2):
        file = AirtimeFile(tmp_path)
        assert file.remembered.stop is Stop.SUDDEN
        ledger = begin(file, at(60 * crashes))
        assumed = [airtime_us for _, who, airtime_us in rows(tmp_path) if who == ANYBODY]
        assert sorted(assumed) == sorted(
            tail_us(int(3600 * S * band.duty_cycle)) for band in EU868.sub_bands for _ in range(crashes)
        )
        assert lost.airtime.airtime_us <= tail_us(36 * S)
        book(ledger, 60 * crashes)
        crash(file)


@pytest.mark.parametrize("damage", ["head", "pages", "rows", "mark", "garbage"])
def test_a_damaged_file_silences_for_an_hour_what_has_a_limit(tmp_path, damage, caplog):
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        for n in range(30):
            book(ledger, n, 0.1)
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    if damage == "head":
        content[:16] = b"no database here"
    elif damage == "garbage":
        content = bytearray(b"\xff" * 4096)
    elif damage == "pages":
        content[1024:] = b"\xa5" * (len(content) - 1024)
    path.write_bytes(content)
    if damage in ("rows", "mark"):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE airtime SET quality = 'a guess'" if damage == "rows" else "DELETE FROM run")
            connection.commit()
    with AirtimeFile(tmp_path) as file:
        assert file.remembered.stop is Stop.UNREADABLE
        ledger = begin(file, at(60))
        assert ledger.reserve("roof", BAND, 1, 0, at(3600)).result is TxResult.DUTY_CYCLE
        assert isinstance(ledger.reserve("roof", BAND, 1, 0, at(60 + 36 + 3601)), Booking)
    assert (tmp_path / "airtime.damaged").exists()
    assert "put aside" in caplog.text
    with AirtimeFile(tmp_path) as file:
        assert file.remembered.stop is Stop.ORDERLY
        assert len(file.remembered.airtimes) == 6, "the assumed hours of the other five bands, and one booking"


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    AirtimeFile(tmp_path).__exit__(None, None, None)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerFormat):
        AirtimeFile(tmp_path)
    assert not (tmp_path / "airtime.damaged").exists()


def test_a_folder_that_is_none_is_trouble_with_the_disk(tmp_path):
    with pytest.raises(DiskTrouble):
        AirtimeFile(tmp_path / "missing")


async def test_while_the_disk_refuses_the_tail_is_what_there_is_and_nothing_is_lost(tmp_path, caplog):
    with AirtimeFile(tmp_path) as file:
        ledger = begin(file)
        file._connection.execute("PRAGMA max_page_count = 1")  # as a full disk, for this connection
        keeping = asyncio.create_task(file.keep())
        sent = [ledger.reserve("roof", BAND, S // 10, 0, at(n)) for n in range(60)]
        taken = [answer for answer in sent if isinstance(answer, Booking)]
        assert len(taken) == 36
        await until(lambda: "cannot be written" in caplog.text)
        assert not any(booking.synced for booking in taken)
        file._connection.execute("PRAGMA max_page_count = 100000")
        await until(lambda: all(booking.synced for booking in taken))
        keeping.cancel()
        await asyncio.wait([keeping])
    assert len(rows(tmp_path)) == 36


def test_what_was_kept_in_memory_moves_to_the_disk_once(tmp_path):
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    for folder in (disk, memory):
        folder.mkdir()
    with AirtimeFile(disk) as file:
        book(begin(file), 0, 1)
    with AirtimeFile(memory, disk) as file:  # the disk takes no writing now
        assert len(file.remembered.airtimes) == 1
        book(begin(file, at(10)), 10, 2)
    assert len(rows(disk)) == 1
    for _ in range(2):
        with AirtimeFile(disk, memory, moves_in=True) as file:
            assert sorted(airtime.airtime_us for airtime in file.remembered.airtimes) == [1 * S, 2 * S]
            begin(file, at(20))
            assert len(rows(disk)) == 2
            assert not (memory / FILE_NAME).exists()


def test_a_sudden_stop_elsewhere_is_one_here(tmp_path):
    disk, memory = tmp_path / "disk", tmp_path / "memory"
    for folder in (disk, memory):
        folder.mkdir()
    file = AirtimeFile(memory, disk)
    begin(file)
    crash(file)
    with AirtimeFile(disk, memory, moves_in=True) as file:
        assert file.remembered.stop is Stop.SUDDEN


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_airtime_file import at, begin
from gateway.regions.eu868 import EU868
from gateway.store.airtime_file import AirtimeFile
file = AirtimeFile(Path({folder!r}))
ledger = begin(file)
for second in range(10_000):
    booking = ledger.reserve("roof", EU868.sub_bands[4], 1000, 0, at(second))
    changes = ledger.changes()
    assert file._commit(changes, going=True)
    ledger.synced(changes)
    print(booking.airtime.number, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 7, 40])
def test_a_killed_process_leaves_all_that_it_called_synced(tmp_path, commits):
    program = WRITER.format(tests=__file__.rpartition("/")[0], folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as writer:
        synced = [int(writer.stdout.readline()) for _ in range(commits)]
        writer.send_signal(signal.SIGKILL)
        synced += [int(line) for line in writer.stdout if line.endswith("\n")]
    with AirtimeFile(tmp_path) as file:
        assert file.remembered.stop is Stop.SUDDEN
        assert {airtime.number for airtime in file.remembered.airtimes} >= set(synced)
