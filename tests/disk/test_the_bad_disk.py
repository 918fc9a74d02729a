"""The instruments themselves: a bad disk that is good, or a judge that sees nothing, would prove everything."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys

import pytest
from nursery import fresh_copy
from power import PAGE, SECTOR, Disk
from test_power_cut import cut_anywhere, written_down
from trouble import SYNCS, Call, Kind

SCRIBBLE = """
import os, sys
done = 0
def say(what):
    global done
    done += 1
    os.write(1, b"%d " % done)
os.mkdir(sys.argv[1] + "/sub"); say("made")
file = os.open(sys.argv[1] + "/sub/a", os.O_CREAT | os.O_RDWR); say("created")
os.pwrite(file, b"x" * 1000, 0); say("written")
os.fsync(file); say("synced")
os.ftruncate(file, 500); say("cut")
os.rename(sys.argv[1] + "/sub/a", sys.argv[1] + "/sub/b"); say("renamed")
os.unlink(sys.argv[1] + "/sub/b"); say("removed")
"""


def scribble(trouble, folder):
    return subprocess.run(
        [sys.executable, "-c", SCRIBBLE, folder], capture_output=True, text=True, check=False,
        env={**os.environ, **trouble.environment},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize("call", range(1, 8))
def test_a_process_dies_instead_of_making_the_call(call, trouble, folder):
    trouble.below(folder)
    trouble.kill_at(call)
    ended = scribble(trouble, folder)
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, [str(number) for number in range(1, call)])


def test_every_call_is_written_down_with_its_bytes(trouble, folder):
    trouble.below(folder)
    trouble.write_down()
    assert scribble(trouble, folder).returncode == 0
    assert [(call.kind, call.name, call.other, call.offset, call.data) for call in trouble.calls()] == [
        (Kind.MKDIR, "sub", "", 0, b""),
        (Kind.CREATE, "sub/a", "", 0, b""),
        (Kind.WRITE, "sub/a", "", 0, b"x" * 1000),
        (Kind.SYNC, "sub/a", "", 0, b""),
        (Kind.RESIZE, "sub/a", "", 500, b""),
        (Kind.RENAME, "sub/a", "sub/b", 0, b""),
        (Kind.UNLINK, "sub/b", "", 0, b""),
    ]


@pytest.mark.parametrize(
    "kind", [Kind.MKDIR, Kind.CREATE, Kind.WRITE, Kind.SYNC, Kind.RESIZE, Kind.RENAME, Kind.UNLINK]
)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_call_fails_as_asked_and_nothing_happens(kind, error, trouble, folder):
    trouble.below(folder)
    trouble.fail((kind,), error)
    ended = scribble(trouble, folder)
    assert f"[Errno {error}]" in ended.stderr
    assert (trouble.page.failed, trouble.page.matched) == (1, 1)


def test_what_is_not_below_the_folder_is_left_alone(trouble, folder, tmp_path):
    (tmp_path / "data2").mkdir()
    trouble.below(folder)
    trouble.read_only()
    assert scribble(trouble, tmp_path / "data2").returncode == 0
    assert trouble.page.calls == 0


# --- what a power cut leaves


def disk_after(*calls):
    disk = Disk()
    for kind, name, *more in calls:
        words = {"other": "", "offset": 0, "data": b"", "failed": 0, **(more[0] if more else {})}
        disk(Call(kind, name, **words))
    return disk


def states(disk, likely=0.5):
    return [disk.after_cut(random.Random(seed), likely) for seed in range(200)]


def test_what_was_synced_is_there_in_every_state():
    disk = disk_after(
        (Kind.CREATE, "a"), (Kind.WRITE, "a", {"data": b"x" * 3000}), (Kind.SYNC, "a"), (Kind.SYNC_FOLDER, "")
    )  # fmt: skip
    assert all(state == {"a": b"x" * 3000} for state in states(disk))


def test_what_was_not_synced_is_kept_dropped_and_torn_by_sectors():
    disk = disk_after((Kind.CREATE, "a"), (Kind.SYNC_FOLDER, ""), (Kind.WRITE, "a", {"data": b"x" * 4 * SECTOR}))
    found = {bytes(state["a"]) for state in states(disk)}
    assert {b"", b"x" * 4 * SECTOR} < found
    sectors = {content[at : at + SECTOR] for content in found for at in range(0, len(content), SECTOR)}
    assert sectors == {b"x" * SECTOR, bytes(SECTOR)}
    assert disk.after_cut(random.Random(1), 0) == {"a": b""}
    assert disk.after_cut(random.Random(1), 1) == {"a": b"x" * 4 * SECTOR}


def test_a_name_is_safe_when_its_folder_was_synced_and_not_before():
    made = [(Kind.CREATE, "a"), (Kind.SYNC, "a"), (Kind.CREATE, "b")]
    assert {frozenset(state) for state in states(disk_after(*made))} == {
        frozenset(), frozenset({"a"}), frozenset({"a", "b"})
    }  # fmt: skip
    renamed = [*made, (Kind.SYNC_FOLDER, ""), (Kind.RENAME, "a", {"other": "b"})]
    assert {frozenset(state) for state in states(disk_after(*renamed))} == {frozenset({"a", "b"}), frozenset({"b"})}
    assert {frozenset(state) for state in states(disk_after(*renamed, (Kind.SYNC_FOLDER, "")))} == {frozenset({"b"})}


def test_nothing_written_after_a_truncation_is_there_without_it():
    disk = disk_after(
        (Kind.CREATE, "a"), (Kind.WRITE, "a", {"data": b"old" * 400}), (Kind.SYNC, "a"), (Kind.SYNC_FOLDER, ""),
        (Kind.RESIZE, "a"), (Kind.WRITE, "a", {"data": b"new"}),
    )  # fmt: skip
    assert {bytes(state["a"]) for state in states(disk)} == {b"old" * 400, b"", bytes(3), b"new"}


def test_a_sync_after_one_that_failed_makes_safe_only_what_is_written_again():
    pages = [(Kind.WRITE, "a", {"data": b"x" * PAGE}), (Kind.WRITE, "a", {"offset": PAGE, "data": b"y" * PAGE})]
    begun = [(Kind.CREATE, "a"), (Kind.SYNC_FOLDER, ""), *pages, (Kind.SYNC, "a", {"failed": errno.EIO})]
    assert bytes(2 * PAGE) in {bytes(state["a"]) for state in states(disk_after(*begun, (Kind.SYNC, "a")))}
    again = disk_after(*begun, pages[0], (Kind.SYNC, "a"))
    assert {bytes(state["a"]) for state in states(again)} == {
        b"x" * PAGE + b"y" * PAGE, b"x" * PAGE + bytes(PAGE)
    }  # fmt: skip


# --- the judge


def test_a_store_that_does_not_sync_is_found_guilty_of_every_power_cut(nursery, trouble, quick_folder):
    past = nursery.run("lives.live", quick_folder / "sound", [["enter", 1]])
    calls, life = written_down(nursery, trouble, quick_folder, [["careless"], ["keep", 2], ["keep", 2]])
    assert not life.breaches
    assert sum(call.kind in SYNCS and call.name.startswith("log/0") for call in calls[10:-20]) == 0
    _, broken = cut_anywhere(nursery, quick_folder, past.facts, calls, random.Random(4))
    assert sum("promised durable are lost" in breach for breach in broken) > 5


def test_a_record_taken_away_and_a_counter_put_back_are_seen(nursery, quick_folder):
    life = nursery.run("lives.live", quick_folder / "data", [["enter", 1], ["keep", 3], ["subscribe", "city"]])
    facts = [*life.facts, ["durable", 7, 1, 9, "00"], ["filtered", 3], ["settled", "city", [5]], ["device", 5]]
    verdict = nursery.run("kept_promises.judge", fresh_copy(quick_folder / "data", quick_folder / "copy"), facts)
    assert {breach.split(":")[0] for breach in verdict.breaches if not breach.startswith("at the second")} == {
        "records that were promised durable are lost or changed", "device 5 is not known any more",
        "3 frames were counted durably as filtered, {} are booked", "city has acknowledged [5], which is forgotten",
        "a position was used again",
    }  # fmt: skip
