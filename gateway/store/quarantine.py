"""Where damaged files go: out of the way, once, within a bound, for whoever wants to look at them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_NAME = "quarantine"
MOST_THINGS = 32  # the oldest give way
MOST_BYTES = 64 << 20  # as much as a part of the log; the newest thing stays, however large
BESIDE = ("", "-wal", "-shm", "-journal")  # what SQLite keeps beside a database


def sync_file(path: Path) -> None:
    """Make what a file holds, and its size, durable; nothing where there is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names created or removed in a folder durable: a rename without it can vanish."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path, data_folder: Path) -> Path:
    """Move what lies at this path (a file with what SQLite keeps beside it, or anything else) into quarantine.

    The folder it is in now; OSError when the disk refuses.
    """
    quarantine = _folder(data_folder)
    for suffix in BESIDE:
        thing = path.with_name(path.name + suffix)
        if os.path.lexists(thing):
            thing.replace(_free(quarantine / thing.name))
    sync_folder(quarantine)
    sync_folder(path.parent)
    _keep_within_bounds(quarantine)
    return quarantine


def count(data_folder: Path) -> int:
    """How many things are set aside."""
    quarantine = data_folder / FOLDER_NAME
    return sum(1 for thing in quarantine.rglob("*") if not thing.is_dir()) if quarantine.is_dir() else 0


def empty(data_folder: Path) -> int:
    """Destroy everything that was set aside; how many things. Nobody can take a single device out of them."""
    quarantine = data_folder / FOLDER_NAME
    if not quarantine.is_dir() or quarantine.is_symlink():
        return 0
    things = [thing for thing in quarantine.rglob("*") if not thing.is_dir() or thing.is_symlink()]
    for thing in things:
        destroy(thing)
    for thing in quarantine.iterdir():
        shutil.rmtree(thing, ignore_errors=True)
    return len(things)


def destroy(path: Path) -> None:
    """Write noughts over a file, then remove it and make that durable; nothing where there is none.

    A flash card writes elsewhere than it is told, so what it had may stay in cells that nothing but the card can reach.
    """
    if path.is_symlink() or not path.is_file():
        path.unlink(missing_ok=True)
        return
    with path.open("r+b") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync_folder(path.parent)


def _folder(data_folder: Path) -> Path:
    """The folder; what is no folder and has its name becomes the first thing in it."""
    quarantine = data_folder / FOLDER_NAME
    in_the_way = None
    if os.path.lexists(quarantine) and (quarantine.is_symlink() or not quarantine.is_dir()):
        in_the_way = _free(data_folder / f"{FOLDER_NAME}.found")
        quarantine.replace(in_the_way)
    quarantine.mkdir(mode=0o700, exist_ok=True)
    if in_the_way is not None:
        in_the_way.replace(quarantine / in_the_way.name)
    return quarantine


def _free(path: Path) -> Path:
    """This name, or the next with a number that nothing has."""
    number, free = 0, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _keep_within_bounds(quarantine: Path) -> None:
    things = sorted(quarantine.iterdir(), key=lambda thing: thing.lstat().st_ctime_ns, reverse=True)
    taken = 0
    for index, thing in enumerate(things):
        taken += thing.lstat().st_size
        if index >= MOST_THINGS or (index and taken > MOST_BYTES):
            if thing.is_dir() and not thing.is_symlink():
                shutil.rmtree(thing, ignore_errors=True)
            else:
                thing.unlink(missing_ok=True)
