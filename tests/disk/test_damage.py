"""Damaged files: the start works, at most what is destroyed is lost, it is counted, and the next start is quiet.

Store sheet, T-20 to T-25 and promises P4, P5. `make crash` flips many more bits of each file.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from itertools import product

import pytest
from damage import destroyed, flipped, page_size, rearranged, sealed_bodies, telling_bits
from kept_promises import Told, registered
from nursery import EXHAUSTIVE, fresh_copy, some, told_briefly

FLIPS = 400 if EXHAUSTIVE else 5
REARRANGED = 5  # of the ways to lose pages and lengths, where not all are tried
FIRST, MIDDLE, LAST = 1, 8, 15  # the parts of the store below
BESIDE = ["cursors.sqlite3", "keys.sqlite3", "devices.sqlite3"]

# Three parts of seven records, the last one not yet checkpointed when the process was killed.
LIFE = [
    ["enter", *range(1, 13)], ["subscribe", "city"], ["keep", 3], ["keep", 4, 2],
    ["next_part"], ["keep", 3], ["keep", 3, 2], ["settle", "city", 5],
    ["next_part"], ["keep", 2], ["foreign", 2], ["keep", 3, 2], ["checkpoint"], ["settle", "city", 2],
]  # fmt: skip

LAST_COMMIT = 3  # records


@pytest.fixture
def killed(nursery, quick_folder):
    """A store whose process was killed after the life above: its folder and what it had promised."""
    life = nursery.run("lives.live", quick_folder / "killed", [*LIFE, ["die"]])
    assert life.signal == signal.SIGKILL
    return quick_folder / "killed", life.facts


@pytest.fixture
def stopped(nursery, quick_folder):
    """The same, stopped in order: no write-ahead logs."""
    life = nursery.run("lives.live", quick_folder / "stopped", LIFE)
    assert not life.breaches
    return quick_folder / "stopped", life.facts


def part(number):
    return f"log/{number:012d}.sqlite3"


def damaged(nursery, quick_folder, store, name, content):
    """Put these bytes in place of a file, start twice, and give the broken promises; and what is lost."""
    sound, facts = store
    folder = fresh_copy(sound, quick_folder / "data")
    (folder / name).write_bytes(content)
    return surveyed(nursery, folder, facts, registered(sound))


def surveyed(nursery, folder, facts, devices, **options):
    told = Told.of(facts)
    outcome = nursery.run("kept_promises.survey", folder, [*told.begins], sorted(told.devices), **options)
    looks = outcome.of("seen")
    if len(looks) < 2:
        return [f"start {len(looks) + 1} failed: {outcome.breaches}"], set()
    return broken(told, *looks, devices)


def broken(told, first, second, devices):
    """What no damage may do; and the positions it has cost."""
    found = []
    records = {int(position): tuple(record) for position, record in first["found"].items()}
    wrong = {position for position, record in records.items() if told.kept.get(position) != record}
    if wrong:
        found.append(f"records that nobody kept were read: {wrong}")
    lost = set(told.kept) - set(records)
    if silent := silently(told, first, lost):
        found.append(f"records {sorted(silent)} are lost without a word")
    if first["epoch"] == told.epoch and (not first["kept"] or first["kept"][0][0] <= max(told.kept)):
        found.append(f"the next record was kept at {first['kept']}, after {max(told.kept)}")
    if first["stuck_at"] is not None:
        found.append(f"reading does not get beyond {first['stuck_at']}")
    if first["books"]["heard"] != first["books"]["stored"] + sum(first["books"]["filtered"].values()):
        found.append(f"the books are off: {first['books']}")
    if first["books"]["stored"] < len(told.kept) and not (first["quarantined"] and first["loud"]):
        found.append(f"{first['books']['stored']} records are booked as stored, {len(told.kept)} were")
    found += destinations(told, first, lost)
    found += known_devices(first, devices)
    return [*found, *later(first, second)], lost


def silently(told, seen, lost):
    """Positions that are gone and not reported as lost; of a part of which nothing is left it is enough to say so."""
    counted = {position for position in lost for first, last in seen["lost"] if first <= position <= last}
    said = {
        position
        for position in lost
        if all(other in lost for other in told.kept if part_of(other) == part_of(position))
    }
    return lost - counted - (said if seen["quarantined"] and seen["loud"] else set())


def destinations(told, seen, lost):
    found = []
    for sink, progress in seen["progress"].items():
        done = set(range(told.begins[sink] + 1, progress["prefix"] + 1))
        done |= {position for first, last in progress["islands"] for position in range(first, last + 1)}
        skipped = (done & set(told.kept)) - told.asked[sink] - lost
        if skipped:
            found.append(f"{sink} will never get {sorted(skipped)}")
    return found


def known_devices(seen, devices):
    now = {int(number): facts for number, facts in seen["registered"].items()}
    changed = [number for number, facts in now.items() if number in devices and devices[number] != facts]
    missing = set(devices) - set(now)
    found = [f"devices {changed} have other facts or keys than were entered"] if changed else []
    if len(missing) > 1:
        found.append(f"devices {sorted(missing)} are gone")
    if (missing or changed) and not seen["loud"]:
        found.append(f"devices {sorted(missing)} are gone without a word")
    return found


def later(first, second):
    found = []
    if second["loud_at_start"] or second["quarantined"]:
        found.append(f"the second start is not quiet: {second['loud_at_start']}, {second['quarantined']} quarantined")
    if not set(first["found"]) <= set(second["found"]):
        found.append(f"the second start has lost {set(first['found']) - set(second['found'])}")
    if [kept[0] for kept in first["kept"]] != [int(at) for at in second["found"] if at not in first["found"]]:
        found.append(f"{first['kept']} was kept after the damage and is not there")
    return found


# --- T-20: bits


@pytest.mark.parametrize("number", [FIRST, MIDDLE, LAST])
def test_a_flipped_bit_of_a_part_costs_at_most_one_record(number, nursery, quick_folder, stopped):
    check_flips(nursery, quick_folder, stopped, part(number))


@pytest.mark.parametrize("name", [part(LAST), part(LAST) + "-wal"])
def test_a_flipped_bit_of_a_part_being_written_costs_at_most_one_record(name, nursery, quick_folder, killed):
    # Nothing tells a damaged last commit from one that a power cut tore: it may go as a whole.
    newest = max(Told.of(killed[1]).kept)
    last_commit = range(newest - LAST_COMMIT + 1, newest + 1) if name.endswith("-wal") else ()
    check_flips(nursery, quick_folder, killed, name, last_commit=last_commit)


@pytest.mark.parametrize("name", BESIDE)
def test_a_flipped_bit_beside_the_log_costs_no_record_and_at_most_one_device(name, nursery, quick_folder, stopped):
    check_flips(nursery, quick_folder, stopped, name, records=0)


@pytest.mark.parametrize("name", ["cursors.sqlite3-wal", "devices.sqlite3-wal"])  # that of the keys is empty
def test_a_flipped_bit_in_a_write_ahead_log_beside_the_log_costs_no_record(name, nursery, quick_folder, killed):
    check_flips(nursery, quick_folder, killed, name, records=0)


def check_flips(nursery, quick_folder, store, name, *, records=1, last_commit=()):
    content = (store[0] / name).read_bytes()
    page = page_size(store[0] / name.removesuffix("-wal"))
    found = []
    for bit in telling_bits(content, page, FLIPS, wal=name.endswith("-wal")):
        breaches, lost = damaged(nursery, quick_folder, store, name, flipped(content, bit))
        if len(lost) > records and not lost <= set(last_commit):
            breaches.append(f"records {sorted(lost)} are lost")
        found += [
            f"bit {bit % 8} of byte {bit // 8} ({bit // 8 % page} of page {bit // 8 // page}): {one}"
            for one in breaches
        ]
    assert not found, told_briefly(found)


# --- T-21, T-22: pages, lengths, files


@pytest.mark.parametrize("number", [MIDDLE, LAST])
def test_pages_lost_and_moved_cost_only_the_records_whose_bytes_are_gone(number, nursery, quick_folder, stopped):
    name = part(number)
    bodies = sealed_bodies(stopped[0] / name)
    found = []
    for what, content in some(rearranged((stopped[0] / name).read_bytes(), page_size(stopped[0] / name)), REARRANGED):
        breaches, lost = damaged(nursery, quick_folder, stopped, name, content)
        if lost - destroyed(bodies, content):
            breaches.append(f"records {sorted(lost - destroyed(bodies, content))} are lost, and their bytes are there")
        found += [f"{what}: {one}" for one in breaches]
    assert not found, told_briefly(found)


def test_a_torn_write_ahead_log_costs_only_the_records_whose_bytes_are_gone(nursery, quick_folder, killed):
    name = part(LAST) + "-wal"
    file, bodies = (
        (killed[0] / part(LAST)).read_bytes(),
        sealed_bodies(fresh_copy(killed[0], quick_folder / "copy") / part(LAST)),
    )
    found = []
    for what, content in some(
        rearranged((killed[0] / name).read_bytes(), page_size(killed[0] / part(MIDDLE)) + 24), REARRANGED
    ):
        breaches, lost = damaged(nursery, quick_folder, killed, name, content)
        # Damage at the end is what a power cut leaves of commits nobody was promised: nothing tells it from damage.
        at_end = lost == set(range(min(lost, default=0), max(bodies) + 1))
        if at_end:
            breaches = [one for one in breaches if not re.search(r"without a word|booked|kept", one)]
        elif lost - destroyed(bodies, file, content):
            breaches.append(
                f"records {sorted(lost - destroyed(bodies, file, content))} are lost, and their bytes are there"
            )
        found += [f"{what}: {one}" for one in breaches]
    assert not found, told_briefly(found)


@pytest.mark.parametrize("name", BESIDE)
def test_pages_lost_beside_the_log_cost_no_record(name, nursery, quick_folder, stopped):
    found = []
    for what, content in some(rearranged((stopped[0] / name).read_bytes(), page_size(stopped[0] / name)), REARRANGED):
        breaches, lost = damaged(nursery, quick_folder, stopped, name, content)
        if lost:
            breaches.append(f"records {sorted(lost)} are lost")
        # What people entered on a page that is gone is gone; the others are there, and it is said.
        found += [f"{what}: {one}" for one in breaches if not re.fullmatch(r"devices .* (are gone|were entered)", one)]
    assert not found, told_briefly(found)


# --- T-23: what lies in place of a file


THINGS = "nothing", "a folder", "a link to nowhere", "a link to itself", "an empty file", "a pipe"
PLACES = *map(part, (FIRST, MIDDLE, LAST)), *BESIDE, "keys-copy.sqlite3", "log", "quarantine"


@pytest.mark.parametrize(("thing", "name"), some(product(THINGS, PLACES), 12))
def test_something_else_in_place_of_a_file_stops_nothing(name, thing, nursery, quick_folder, stopped):
    sound, facts = stopped
    folder = fresh_copy(sound, quick_folder / "data")
    place = folder / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    match thing:
        case "a folder":
            (place / "inside").mkdir(parents=True)
        case "a link to nowhere":
            place.symlink_to(quick_folder / "nowhere")
        case "a link to itself":
            place.symlink_to(place)
        case "an empty file":
            place.touch()
        case "a pipe":
            os.mkfifo(place)
    breaches, lost = surveyed(nursery, folder, facts, registered(sound))
    everything = set(Told.of(facts).kept)
    # Without the file of keys the records are noise; that it is one file, and apart, is what makes forgetting sure.
    allowed = everything if name in {"log", "keys.sqlite3"} else {one for one in everything if part_of(one) == name}
    assert lost <= allowed
    assert not expected_after(breaches, name)


def expected_after(breaches, name):
    """Without what must be said when a whole file is gone: its devices are gone; what only it had is not counted."""
    return [
        one for one in breaches
        if not (name == "devices.sqlite3" and re.fullmatch(r"devices .* are gone", one))
        and not (name in {"log", part(LAST)} and re.search(r"without a word|booked as stored", one))
    ]  # fmt: skip


def part_of(position):
    return part(max(first for first in (FIRST, MIDDLE, LAST) if first <= position))


def test_a_damaged_part_stops_nothing_where_there_is_no_room_for_it_in_quarantine(nursery, quick_folder, stopped):
    sound, facts = stopped
    folder = fresh_copy(sound, quick_folder / "data")
    (folder / "quarantine").write_text("somebody's notes")
    (folder / part(LAST)).write_bytes(b"\xff" * 5_000)
    breaches, lost = surveyed(nursery, folder, facts, registered(sound))
    assert (breaches, lost) == ([], {one for one in Told.of(facts).kept if part_of(one) == part(LAST)})


@pytest.mark.parametrize(("mode", "name"), some(product([0o000, 0o400], [part(LAST), *BESIDE]), 3))
def test_a_file_that_belongs_to_somebody_else_is_for_a_person_to_give_back(name, mode, nursery, quick_folder, stopped):
    """A copy made by root, a restored backup: it is sound, for all that is known, and nothing may be moved aside."""
    sound, facts = stopped
    folder = fresh_copy(sound, quick_folder / "data")
    (folder / name).chmod(mode)
    refused = nursery.run("kept_promises.survey", folder, ["city"], [1, 2], as_nobody=True)
    assert f"{name} may not be read and written by this user" in refused.error
    (folder / name).chmod(0o600)
    assert surveyed(nursery, folder, facts, registered(sound)) == ([], set())


# --- T-23, T-24: parts that are missing or not ours


def test_a_part_with_a_name_of_the_future_stops_nothing_and_is_moved_aside(nursery, quick_folder, stopped):
    sound, facts = stopped
    folder = fresh_copy(sound, quick_folder / "data")
    shutil.copy(folder / part(MIDDLE), folder / part(500))
    breaches, lost = surveyed(nursery, folder, facts, registered(sound))
    assert (breaches, lost) == ([], set())
    assert [path.name for path in (folder / "quarantine").iterdir()] == ["000000000500.sqlite3"]


@pytest.mark.parametrize("place", [FIRST, MIDDLE, LAST, 500])
def test_a_part_of_another_store_is_never_read_as_ours(place, nursery, quick_folder, stopped):
    """Another gateway's card, or this one's before it was set up anew; over one of ours, or beside them."""
    sound, facts = stopped
    nursery.run("lives.live", quick_folder / "other", LIFE)
    folder = fresh_copy(sound, quick_folder / "data")
    shutil.copy(quick_folder / "other" / part(min(place, LAST)), folder / part(place))
    breaches, lost = surveyed(nursery, folder, facts, registered(sound))
    assert lost == {position for position in Told.of(facts).kept if part_of(position) == part(place)}
    assert not breaches


def test_all_files_of_another_store_beside_ours_are_kept_out(nursery, quick_folder, stopped):
    """Somebody copies a whole log folder into another: every part that is not ours is moved aside, ours are read."""
    sound, facts = stopped
    nursery.run(
        "lives.live", quick_folder / "other", [["enter", 1], ["keep", 4], ["next_part"], ["keep", 30], ["next_part"]]
    )
    folder = fresh_copy(sound, quick_folder / "data")
    for stranger in (quick_folder / "other" / "log").iterdir():
        if not (folder / "log" / stranger.name).exists():
            shutil.copy(stranger, folder / "log")
    breaches, lost = surveyed(nursery, folder, facts, registered(sound))
    assert (breaches, lost) == ([], set())
