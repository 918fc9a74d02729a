"""The store: how fast it commits, what it costs a card, and how it opens when it is full."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import heading, show, times
from bench.fill import append, bodies, checkpoint, fill, open_log
from bench.fleet import register
from bench.machine import bare_syncs_per_s, counted_disk, forget_cached
from gateway.store.cursors import CursorFile, Progress
from gateway.store.devices import DeviceRegistry
from gateway.store.known import Sighting
from gateway.store.store import CHECKPOINT_RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bench.machine import Disk

    Commit = Callable[[Sequence[bytes]], None]

DEVICES = 10_000
BUSY_PER_S = 2.3  # records a second of a busy gateway: 200,000 a day
HOUR_S, WRITEBACK_S = 3_600, 30  # between checkpoints (gateway/store/store.py); the kernel's dirty_expire_centisecs
ROUNDS, ROUND_S = 4, 0.3
BUSY_COMMITS = 2 * HOUR_S
LARGE_COMMITS = 500


def run(records: int) -> None:
    """Print the figures."""
    one_each = bodies(DEVICES)
    average = sum(map(len, one_each)) / len(one_each)
    heading(f"commits to this disk, records of {average:.0f} bytes")
    _rates(one_each)
    _wear(one_each)
    heading(f"opening a store with {records:,d} records and {DEVICES:,d} devices, files not cached")
    _opening(records)


# --- commits a second -----------------------------------------------------------------------------------------------


def _rates(one_each: Sequence[bytes]) -> None:
    for size in (1, 8, 64):
        limit = plain = ours = 0.0
        for _ in range(ROUNDS):  # in turns, the best of each: other programs use this disk too
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                folder = Path(name)
                limit = max(limit, size * bare_syncs_per_s(folder, sum(map(len, one_each[:size])), ROUND_S))
                with closing(_Plain(folder / "plain.sqlite3")) as peer:
                    plain = max(plain, _per_s(peer.commit, one_each, size))
                record_log, seals = open_log(folder / "data")
                with closing(seals), closing(record_log):
                    ours = max(ours, _per_s(partial(append, record_log), one_each, size))
        show(
            f"{size} a commit", f"{ours:,.0f} records/s",
            beside=f"{times(ours, plain)} plain sqlite3 ({plain:,.0f}); {times(ours, limit)} fdatasync ({limit:,.0f})",
        )  # fmt: skip


class _Plain:
    """What anybody would write first: the same bodies into one table, unsealed, SQLite's own page size."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE record (position INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    def commit(self, group: Sequence[bytes]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO record (body) VALUES (?)", ((body,) for body in group))
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def _per_s(commit: Commit, one_each: Sequence[bytes], size: int) -> float:
    waiting, written, began = cycle(one_each), 0, time.perf_counter()
    while time.perf_counter() - began < ROUND_S:
        commit(list(islice(waiting, size)))
        written += size
    return written / (time.perf_counter() - began)


# --- what a card bears ----------------------------------------------------------------------------------------------


def _wear(one_each: Sequence[bytes]) -> None:
    busy, waiting = list(_busy(one_each)), cycle(one_each)
    large = [list(islice(waiting, 64)) for _ in range(LARGE_COMMITS)]
    heading(f"bytes a record, {BUSY_PER_S} records/s in commits of a second ({len(busy):,d} commits), and 64 a commit")
    bare = sum(len(body) for group in busy for body in group) / sum(map(len, busy))
    for what, groups, aim, all_in in (
        (f"{BUSY_PER_S} records/s, all in", busy, "<= 2.5 KB", True),
        (f"{BUSY_PER_S} records/s, the log alone", busy, "", False),
        ("64 a commit, the log alone", large, "< 0.5 KB", False),
    ):
        ours, where = _bytes_each(groups, all_in=all_in)
        plain = _bytes_plain(groups)
        show(
            what, f"{ours:,.0f} bytes", aim=aim,
            beside=f"{times(ours, plain)} plain sqlite3 ({plain:,.0f}); {times(ours, bare)} the bare record; {where}",
        )  # fmt: skip


def _busy(one_each: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """What each second of a busy gateway brings; time itself is left out."""
    rng, waiting = random.Random(1), cycle(one_each)
    for _ in range(BUSY_COMMITS):
        yield list(islice(waiting, int(BUSY_PER_S) + (rng.random() < BUSY_PER_S % 1)))


def _bytes_each(groups: Sequence[Sequence[bytes]], *, all_in: bool) -> tuple[float, str]:
    """Bytes a record, and where they were counted. All in: with a destination's cursor and the hourly checkpoint."""
    with counted_disk() as disk:
        folder = disk.folder / "data"
        register(folder, DEVICES if all_in else 1)
        record_log, seals = open_log(folder)
        cursors, registry = CursorFile(folder), DeviceRegistry.open(folder)
        progress = Progress.starting_at(0)

        def commit(group: Sequence[bytes]) -> None:
            nonlocal progress
            append(record_log, group)
            if all_in:
                progress = progress.acknowledge(range(record_log.head - len(group) + 1, record_log.head + 1))
                cursors.save(record_log.epoch, [("city", progress)])

        def hourly(sessions: int) -> None:
            if all_in:
                seen = ((number + 1, Sighting(1, b"\0\0\0\0", 0, None)) for number in range(sessions))
                registry.checkpoint(record_log.epoch, record_log.head, list(seen))

        written = _written(disk, groups, commit, hourly)
        for part in (record_log, seals, cursors, registry):
            part.close()
        return written, disk.what


def _bytes_plain(groups: Sequence[Sequence[bytes]]) -> float:
    with counted_disk() as disk, closing(_Plain(disk.folder / "plain.sqlite3")) as peer:
        return _written(disk, groups, peer.commit, lambda _: None)


def _written(disk: Disk, groups: Iterable[Sequence[bytes]], commit: Commit, hourly: Callable[[int], None]) -> float:
    disk.settle()
    before, records, heard = disk.written(), 0, 0
    for second, group in enumerate(groups, 1):
        commit(group)
        records += len(group)
        heard += len(group)
        if second % HOUR_S == 0:
            hourly(min(heard, DEVICES))
            heard = 0
        if second % WRITEBACK_S == 0:
            disk.settle()
    disk.settle()
    return (disk.written() - before) / records


# --- opening --------------------------------------------------------------------------------------------------------


def _opening(records: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name) / "data"
        began = time.perf_counter()
        fill(folder, DEVICES, records)
        built_s = time.perf_counter() - began
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        show("on disk", f"{size / 1e6:,.0f} MB", beside=f"{size / records:.0f} bytes a record; made in {built_s:.0f} s")
        with tempfile.TemporaryDirectory(prefix="bench-") as empty:
            register(Path(empty), 1)
            peer = _open(Path(empty))
        _show_opening("cleanly closed", _open(folder), peer)
        for what, rate in (
            ("an hour at 2.3 records/s to read back", BUSY_PER_S),
            ("the most there is between checkpoints", 171),
        ):
            behind = min(records, int(rate * HOUR_S), CHECKPOINT_RECORDS)
            checkpoint(folder, _killed(folder), records - behind)
            _show_opening(f"after a kill, {what}", _open(folder), peer)


def _show_opening(what: str, opened: dict[str, Any], peer: dict[str, Any]) -> None:
    show(
        what, f"{opened['took_s']:.2f} s", aim="5 s", beside=f"an empty store: {peer['took_s']:.2f} s"
    )  # fmt: skip
    show(
        "  memory it takes, at most",
        f"{opened['grew_mib']:.0f} MiB",
        aim="64",
        beside=f"an empty store: {peer['grew_mib']:.0f} MiB",
    )


def _open(folder: Path) -> dict[str, Any]:
    forget_cached(folder)
    return _in_fresh_process("open", folder)


def _killed(folder: Path) -> str:
    """Have a process write a little more and die without closing anything; the store's epoch."""
    epoch: str = _in_fresh_process("kill", folder)["epoch"]
    return epoch


def _in_fresh_process(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.opening", what, str(folder)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer
