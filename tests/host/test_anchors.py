"""What the clock remembers: across power cuts, damage and disks that refuse."""

from __future__ import annotations

import logging
import os
import resource
import signal
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.host.anchors import KEPT_LINES, LONGEST_BYTES, TimeMemory, Told, read, write
from gateway.host.dating import Anchor
from gateway.host.trust import BatteryCheck, Floor
from gateway.model import TimeQuality

BOOT, NEXT_BOOT = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11", "c0ffee" + "0" * 26
NOW_US = 1_795_428_902_000_000
HOUR = 3_600_000_000
ANCHOR = Anchor(BOOT, 600_000_000, NOW_US, TimeQuality.NTP, 24)
LATER = Anchor(BOOT, 600_000_000 + HOUR, NOW_US + HOUR, TimeQuality.GPS, 1, continues=True)
FLOOR = Floor(NOW_US, BOOT, 700_000_000, BatteryCheck(NOW_US - 5, -700))

numbers = st.integers(-(10**18) + 1, 10**18 - 1)
boots = st.binary(min_size=16, max_size=16).map(bytes.hex)
entries = st.one_of(
    st.builds(
        Anchor,
        boots,
        numbers,
        numbers,
        st.sampled_from([TimeQuality.NTP, TimeQuality.GPS]),
        numbers,
        continues=st.booleans(),
    ),
    st.builds(Told, boots),
    st.builds(Floor, numbers, boots, numbers, st.none() | st.builds(BatteryCheck, numbers, numbers)),
)  # fmt: skip


def remember(folder, *kept, floor=None):
    memory = TimeMemory(folder)
    for entry in kept:
        if isinstance(entry, Anchor):
            memory.dating.learn(entry)
        else:
            memory.told[entry.boot_id] = None
    assert memory.save(memory.page(kept, floor))
    return memory


def known(folder):
    memory = TimeMemory(folder)
    return list(memory.dating.anchors()), list(memory.told), memory.floor


@given(entries)
@settings(deadline=None)
def test_every_entry_reads_as_it_was_written(entry):
    line = write(entry)
    assert line.endswith("\n")
    assert read(line[:-1]) == entry


@given(entry=entries, data=st.data())
@settings(deadline=None)
def test_a_line_with_a_changed_character_says_nothing(entry, data):
    line = write(entry)[:-1]
    index = data.draw(st.integers(0, len(line) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefx -").filter(lambda letter: letter != line[index]))
    assert read(line[:index] + letter + line[index + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "begins", f"begins {BOOT}", f"begins {BOOT} 1 2 sundial 3", f"begins {BOOT} 1 2 ntp", f"told {BOOT} more",
        f"begins {BOOT} 1 2 ntp 3.5", f"begins {BOOT} 1 {'9' * 19} ntp 3", "told here", f"floor {BOOT} 1 2 - 3",
        f"floor {BOOT} 1 2", f"tomorrow {BOOT}", f"told {BOOT.upper()}",
    ],
)  # fmt: skip
def test_a_line_whose_checksum_is_right_but_which_makes_no_sense_says_nothing(text):
    assert read(f"{text} {zlib.crc32(text.encode()):08x}") is None


def test_what_was_remembered_is_known_at_the_next_start(tmp_path):
    remember(tmp_path, ANCHOR, LATER, Told(BOOT), floor=FLOOR)
    assert known(tmp_path) == ([ANCHOR, LATER], [BOOT], FLOOR)
    remember(tmp_path, Told(NEXT_BOOT))
    assert known(tmp_path) == ([ANCHOR, LATER], [BOOT, NEXT_BOOT], FLOOR)
    assert {file.name for file in tmp_path.iterdir()} == {"anchors", "floor"}
    assert (tmp_path / "anchors").stat().st_mode & 0o777 == 0o600


def test_without_a_folder_nothing_is_remembered_and_nothing_fails():
    memory = TimeMemory(None)
    assert memory.save(memory.page([ANCHOR], FLOOR))
    assert memory.floor is None


def test_a_lost_floor_is_replaced_by_the_newest_anchor(tmp_path):
    remember(tmp_path, ANCHOR, LATER)
    assert TimeMemory(tmp_path).floor == Floor(LATER.utc_us - 1_000, BOOT, LATER.monotonic_us)


# --- damage


def test_each_damaged_line_costs_itself_and_is_told_once(tmp_path, caplog):
    remember(tmp_path, ANCHOR, LATER, Told(BOOT), floor=FLOOR)
    whole = (tmp_path / "anchors").read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        (tmp_path / "anchors").write_bytes(damaged)
        anchors, told, floor = known(tmp_path)
        assert floor == FLOOR
        # A bit that becomes a line break, or stops being one, costs both lines around it.
        assert len(anchors) + len(told) >= 1
        assert set(anchors) <= {ANCHOR, LATER}
        assert set(told) <= {BOOT}
        caplog.clear()
        # Nothing is to be told of a boot without an anchor.
        assert known(tmp_path) == (anchors, told if anchors else [], floor)
        assert not caplog.records


def test_a_line_that_was_cut_off_costs_itself_and_what_is_appended_later_is_whole(tmp_path):
    remember(tmp_path, ANCHOR, LATER)
    whole = (tmp_path / "anchors").read_bytes()
    first = len(write(ANCHOR))
    for length in range(len(whole) + 1):
        (tmp_path / "anchors").write_bytes(whole[:length])
        remember(tmp_path, Told(BOOT))
        anchors, told, _ = known(tmp_path)
        assert told == [BOOT] or not anchors
        # The line break alone may be missing.
        assert anchors == [ANCHOR, LATER][: (length >= first - 1) + (length >= len(whole) - 1)]


@given(anchors=st.binary(max_size=400), floor=st.binary(max_size=200))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_may_stand_in_the_files(tmp_path, anchors, floor):
    (tmp_path / "anchors").write_bytes(anchors)
    (tmp_path / "floor").write_bytes(floor)
    remember(tmp_path, ANCHOR, floor=FLOOR)
    second = TimeMemory(tmp_path)
    assert list(second.dating.anchors()) == [ANCHOR]
    assert second.floor == FLOOR
    assert second.damaged == 0


@given(
    st.lists(st.sampled_from([write(ANCHOR).encode(), write(FLOOR).encode(), b"\x00", b"\n", b"begins ", b"\xff" * 9]))
)
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_of_real_lines_in_any_order_are_survived(tmp_path, pieces):
    (tmp_path / "anchors").write_bytes(b"".join(pieces))
    (tmp_path / "floor").unlink(missing_ok=True)
    assert set(TimeMemory(tmp_path).dating.anchors()) <= {ANCHOR}
    assert TimeMemory(tmp_path).damaged == 0


# --- bounds


def test_the_file_stays_within_its_bound_and_keeps_the_newest(tmp_path):
    memory = TimeMemory(tmp_path)
    for start in range(0, 8_000, 100):
        anchors = [
            Anchor(f"{number // 20:032x}", number % 20 * HOUR, NOW_US + number * HOUR, TimeQuality.NTP, 24)
            for number in range(start, start + 100)
        ]
        for anchor in anchors:
            memory.dating.learn(anchor)
        assert memory.save(memory.page(anchors, None))
        assert (tmp_path / "anchors").stat().st_size <= LONGEST_BYTES
    anchors, _, _ = known(tmp_path)
    assert anchors[-1].utc_us == NOW_US + 7_999 * HOUR
    assert len(anchors) >= KEPT_LINES


def test_of_a_file_that_somebody_made_huge_only_the_end_is_read(tmp_path):
    with (tmp_path / "anchors").open("wb") as file:
        file.truncate(1 << 32)  # sparse
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + write(ANCHOR).encode())
    assert known(tmp_path)[0] == [ANCHOR]
    assert (tmp_path / "anchors").stat().st_size < 1000


# --- disks that refuse


@pytest.mark.parametrize("name", ["anchors", "floor"])
def test_a_folder_in_place_of_a_file_is_survived(tmp_path, name, caplog):
    (tmp_path / name).mkdir()
    with caplog.at_level(logging.WARNING):
        memory = TimeMemory(tmp_path)
        assert not memory.save(memory.page([ANCHOR], FLOOR))
        assert not memory.save(memory.page([LATER], FLOOR))
    assert len(caplog.records) == 1
    (tmp_path / name).rmdir()
    memory.dating.learn(ANCHOR)
    memory.dating.learn(LATER)
    assert memory.save(memory.page([], FLOOR))
    assert known(tmp_path) == ([ANCHOR, LATER], [], FLOOR)


@pytest.mark.parametrize("content", [None, "", "precious"])
def test_a_link_in_place_of_the_file_is_not_written_through(tmp_path, content):
    elsewhere = tmp_path / "elsewhere"
    if content is not None:
        elsewhere.write_text(content)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "anchors").symlink_to(elsewhere)
    memory = TimeMemory(folder)
    memory.save(memory.page([ANCHOR], FLOOR))
    assert (elsewhere.read_text() if elsewhere.exists() else None) == content


def test_after_a_full_disk_everything_is_written_that_was_learnt_meanwhile(tmp_path):
    """EFBIG stands in for ENOSPC: a limit on the size of files that this process writes."""
    memory = remember(tmp_path, ANCHOR, floor=FLOOR)
    memory.dating.learn(LATER)
    memory.told[BOOT] = None
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
    try:
        assert not memory.save(memory.page([LATER, Told(BOOT)], FLOOR))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert memory.save(memory.page([], FLOOR))
    assert known(tmp_path) == ([ANCHOR, LATER], [BOOT], FLOOR)
