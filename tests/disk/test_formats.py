"""Files of an older version are brought up to date, whenever that is interrupted; of a newer one, they are left alone.

Store sheet, promise P26 and T-10 for migrations. Every step of every kind of file, also those to come.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import resources

import pytest
from lives import opened
from nursery import fresh_copy

from gateway.errors import StorageError
from gateway.store.database import open_database

MIGRATIONS = resources.files("gateway.store") / "migrations"
STEPS = {kind.name: sorted(step.name for step in kind.iterdir()) for kind in MIGRATIONS.iterdir() if kind.is_dir()}
OLDER = [(kind, version) for kind, steps in STEPS.items() for version in range(len(steps))]


@pytest.mark.parametrize(("kind", "version"), OLDER)
def test_a_migration_killed_at_any_call_is_done_by_the_next_start(kind, version, nursery, trouble, quick_folder):
    old, folder = quick_folder / "old", quick_folder / "data"
    old.mkdir()
    with closing(sqlite3.connect(old / "file.sqlite3", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for step in STEPS[kind][:version]:
            db.executescript((MIGRATIONS / kind / step).read_text())
        db.execute(f"PRAGMA user_version = {version}")
    newest = schema(kind, quick_folder / "newest.sqlite3")
    call, killed = 0, True
    while killed:
        call += 1
        trouble.below(fresh_copy(old, folder))
        trouble.kill_at(call)
        killed = bool(nursery.run("lives.migrate", folder / "file.sqlite3", kind).signal)
        trouble.nowhere()
        assert schema(kind, folder / "file.sqlite3") == newest, f"killed at call {call}"
    assert call > 5, "nothing was killed"


def schema(kind, file):
    with closing(open_database(file, kind)) as db:
        return [
            *db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name"),
            *db.execute("PRAGMA user_version"),
        ]


@pytest.mark.parametrize("name", ["devices.sqlite3", "keys.sqlite3", "cursors.sqlite3", "log/000000000001.sqlite3"])
def test_a_file_of_a_newer_version_is_refused_and_nothing_is_changed(name, nursery, quick_folder):
    folder = quick_folder / "data"
    nursery.run("lives.live", folder, [["enter", 1], ["subscribe", "city"], ["keep", 2]])
    with closing(sqlite3.connect(folder / name)) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    before = contents(folder)
    with pytest.raises(StorageError, match="format 99"):
        opened(folder)
    assert contents(folder) == before


def contents(folder):
    """Every file that holds something."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {path.relative_to(folder): path.read_bytes() for path in files if path.stat().st_size}
