"""Lines at the end of files, on disk before anybody is told so, whole ones only, each once.

A file is for a period. When one is opened, what a power cut left behind its last whole line is cut away (nobody was
told that it was there), and the tail is read: a line that is there already, because its confirmation was lost, is not
written again. When writing or syncing fails, the file is taken back to what was safe: after a failed sync the page
cache shows what the disk may never get, so nothing in it can be believed.

Plain synchronous code; it blocks for as long as the disk does.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import logging
import os
import stat
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.wire.file_forms import Form

log = logging.getLogger(__name__)

MOST_OPEN: Final = 4  # a backlog goes through the days in order
TAIL_BYTES: Final = 4 << 20  # far more than can be unconfirmed at once
_MOST_NAMES: Final = 100


class NotWritable(OSError):  # noqa: N818 - reads as the sentence it is
    """A file that can be opened and still is not for us."""


@dataclass(slots=True)
class _Open:
    path: Path
    descriptor: int
    size: int
    known: Counter[str] = field(default_factory=Counter)


class Appender:
    """The files of one destination. Used by one thread at a time; others wait."""

    def __init__(self, path: Path, form: Form) -> None:
        """`path` without its period: `readings.jsonl` becomes `readings-2026-11-23.jsonl`."""
        self._path = path
        self._form = form
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._safe: dict[Path, int] = {}  # sizes up to which files can be believed after a failure
        self._lock = threading.Lock()

    def append(self, lines: Sequence[tuple[str, bytes]]) -> None:
        """Put each line into the file of its period, in order, and sync. OSError when that fails: any may be there."""
        with self._lock:
            by_period: dict[str, list[bytes]] = {}
            for period, line in lines:
                by_period.setdefault(period, []).append(line)
            try:
                for period, chosen in by_period.items():
                    self._append(self._file(period), chosen)
            except OSError:
                self._close()  # what was written will come again; then the files say that they have it
                raise

    def count(self, name: bytes) -> dict[Path, int]:
        """How many lines name this, by file; those that have none are left out."""
        with self._lock:
            found = {path: _lines_with(path, name) for path in self._files()}
        return {path: lines for path, lines in found.items() if lines}

    def erase(self, name: bytes) -> dict[Path, int]:
        """Take every line out that names this; how many, by file. OSError when the disk refuses.

        A file is written anew beside its place, then noughts are written over what was there before.
        """
        with self._lock:
            self._close()
            found = {path: _without(path, name) for path in self._files()}
        return {path: lines for path, lines in found.items() if lines}

    def _files(self) -> list[Path]:
        pattern = f"{glob.escape(self._path.stem)}*{glob.escape(self._path.suffix)}"
        return sorted(path for path in self._path.parent.glob(pattern) if path.is_file() and not path.is_symlink())

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1].descriptor)

    def path_of(self, period: str, number: int = 1) -> Path:
        """Where the lines of a period are; files whose columns differ are numbered."""
        count = "" if number == 1 else f"-{number}"
        return self._path.with_name(f"{self._path.stem}-{period}{count}{self._path.suffix}")

    def _append(self, file: _Open, lines: Sequence[bytes]) -> None:
        new = b"".join(self._missing(file, lines))
        if not new:
            return
        try:
            _write(file.descriptor, new)
            os.fsync(file.descriptor)
        except OSError:
            self._take_back(file)
            raise
        file.size += len(new)

    def _missing(self, file: _Open, lines: Sequence[bytes]) -> Iterable[bytes]:
        """The lines that the tail of the file did not have when it was opened."""
        for line in lines:
            key = self._form.key(line.rstrip(b"\r\n")) if file.known else None
            if key is not None and file.known[key]:
                file.known[key] -= 1
            else:
                yield line

    def _take_back(self, file: _Open) -> None:
        self._safe[file.path] = file.size
        try:
            os.ftruncate(file.descriptor, file.size)
            os.fsync(file.descriptor)
            del self._safe[file.path]
        except OSError as error:
            log.debug("%s: what was not written whole stays until it is opened again: %s", file.path, error)

    # --- opening

    def _file(self, period: str) -> _Open:
        file = self._open.get(period)
        if file is not None:
            if _is_there(file):
                self._open.move_to_end(period)
                return file
            os.close(self._open.pop(period).descriptor)  # moved or deleted: who has it may keep it
        while len(self._open) >= MOST_OPEN:
            os.close(self._open.popitem(last=False)[1].descriptor)
        for number in range(1, _MOST_NAMES):
            file = self._opened(self.path_of(period, number))
            if file is not None:
                self._open[period] = file
                return file
        raise NotWritable(f"{_MOST_NAMES - 1} files of {period} have other columns than these")

    def _opened(self, path: Path) -> _Open | None:
        """The file, whole up to its end; None when it is of another form."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        try:
            _claim(descriptor, path)
            size = os.fstat(descriptor).st_size
            safe = self._safe.pop(path, size)
            if safe < size:
                os.ftruncate(descriptor, safe)
                size = safe
            header = self._form.header
            beginning = os.pread(descriptor, len(header), 0)
            if beginning != header:
                if not header.startswith(beginning):
                    os.close(descriptor)
                    return None
                os.ftruncate(descriptor, 0)  # new, or its header was never whole
                _write(descriptor, header)
                size = len(header)
            return self._repaired(_Open(path, descriptor, size))
        except BaseException:
            os.close(descriptor)
            raise

    def _repaired(self, file: _Open) -> _Open:
        """Whole up to its end, and on disk: what is in it now will not be written again."""
        begin = max(len(self._form.header), file.size - TAIL_BYTES)
        tail = os.pread(file.descriptor, file.size - begin, begin)
        sound = _sound_end(tail)
        if sound < len(tail):
            log.warning("%s: %d bytes of a line that was never whole are cut away", file.path, len(tail) - sound)
            os.ftruncate(file.descriptor, begin + sound)
            file.size = begin + sound
        os.fsync(file.descriptor)
        _sync_folder(file.path.parent)
        keys = (self._form.key(line) for line in tail[:sound].split(b"\n"))
        file.known.update(key for key in keys if key is not None)
        return file


def _lines_with(path: Path, name: bytes) -> int:
    with path.open("rb") as file:
        return sum(name in line.lower() for line in file)


def _without(path: Path, name: bytes) -> int:
    """Take the lines that name it out of a file; how many there were."""
    if not _lines_with(path, name):
        return 0
    beside, erased = path.with_name(f".{path.name}.new"), 0
    with path.open("r+b") as before:
        _claim(before.fileno(), path)
        with beside.open("wb") as after:
            facts = os.fstat(before.fileno())
            os.fchmod(after.fileno(), stat.S_IMODE(facts.st_mode))
            with contextlib.suppress(PermissionError):
                os.fchown(after.fileno(), facts.st_uid, facts.st_gid)
            for line in before:
                if name in line.lower():
                    erased += 1
                else:
                    after.write(line)
            after.flush()
            os.fsync(after.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
        write_noughts(before)
    return erased


def write_noughts(file: BinaryIO) -> None:
    """Over everything that a file had, and on disk; what a flash card keeps elsewhere is beyond any program."""
    left = file.seek(0, os.SEEK_END)
    file.seek(0)
    while left > 0:
        left -= file.write(bytes(min(left, 1 << 20)))
    file.flush()
    os.fsync(file.fileno())


def _claim(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise NotWritable(f"{path} is no file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise NotWritable(f"{path} is being written by another program") from error


def _sound_end(tail: bytes) -> int:
    """How far a tail can be believed: to the end of a line, before any zeros that a file system put for lost data."""
    zero = tail.find(b"\0")
    return tail.rfind(b"\n", 0, len(tail) if zero < 0 else zero) + 1


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _is_there(file: _Open) -> bool:
    try:
        found, ours = file.path.stat(), os.fstat(file.descriptor)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino) and found.st_size == file.size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
