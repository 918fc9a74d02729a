"""What a power cut may leave on a disk, built from the calls that were made before it.

The rules are those of the weakest file system a card may have, not of one kernel:

- What a file holds is safe once a sync of that file has succeeded. Until then each 512-byte sector is at any of the
  versions it had since, each on its own; so is the file's size. Bytes that never arrived read as zero.
- A truncation cuts off what was there before it, or has not happened; nothing that was written after it can be there
  without it.
- Names (files made, renamed, removed) are safe once their folder was synced. Until then those of one folder are there
  up to some moment, in their order, each folder on its own. A rename between folders is one step.
- After a sync that failed, nothing it should have written is safe any more, whatever later syncs say: the kernel may
  have called those pages clean. Only pages written again after that are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from trouble import Call, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SECTOR = 512
PAGE = 4096


@dataclass(slots=True)
class _File:
    """A file's bytes: those that are safe, those that are visible, and what happened since the last sync."""

    safe: bytearray = field(default_factory=bytearray)
    visible: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes] | int] = field(default_factory=list)  # writes, and sizes it was cut to
    lost_pages: set[int] = field(default_factory=set)  # visible, called clean, and perhaps nowhere

    def write(self, offset: int, data: bytes) -> None:
        _put(self.visible, offset, data)
        self.since.append((offset, data))

    def resize(self, size: int) -> None:
        _resize(self.visible, size)
        self.lost_pages = {page for page in self.lost_pages if page * PAGE < size}
        self.since.append(size)

    def synced(self) -> None:
        if self.lost_pages:
            self._sync_some()
        else:
            self.safe = bytearray(self.visible)
        self.since.clear()

    def _sync_some(self) -> None:
        """After a sync has failed once: what was written again is safe, the rest of what it lost is not."""
        written = self._written_pages()
        self.lost_pages -= written
        _resize(self.safe, len(self.visible))
        for page in written:
            piece = bytes(self.visible[page * PAGE : (page + 1) * PAGE])
            self.safe[page * PAGE : page * PAGE + len(piece)] = piece

    def sync_failed(self) -> None:
        self.lost_pages |= self._written_pages()
        self.since.clear()

    def _written_pages(self) -> set[int]:
        pages: set[int] = set()
        for step in self.since:
            if not isinstance(step, int):
                offset, data = step
                pages.update(range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1))
        return pages

    def after_cut(self, rng: random.Random, likely: float) -> bytes:
        """One of the contents it may have; `likely` is how much of what is not safe has arrived, from 0 to 1."""
        found = bytearray(self.safe)
        for page in sorted(self.lost_pages):
            if rng.random() < likely:
                _put(found, page * PAGE, bytes(self.visible[page * PAGE : (page + 1) * PAGE]))
        steps, size = self._from_some_truncation(rng, found, likely)
        versions: dict[int, list[tuple[int, bytes]]] = {}
        for offset, data in steps:
            size.append(max(size[-1], offset + len(data)))
            for sector, at, piece in _sectors(offset, data):
                versions.setdefault(sector, []).append((at, piece))
        for sector in sorted(versions):
            pieces = versions[sector]
            for at, piece in pieces[: _some(rng, len(pieces), likely)]:
                _put(found, at, piece)
        _resize(found, size[_some(rng, len(size) - 1, likely)])
        return bytes(found)

    def _from_some_truncation(
        self, rng: random.Random, found: bytearray, likely: float
    ) -> tuple[list[tuple[int, bytes]], list[int]]:
        cuts = [index for index, step in enumerate(self.since) if isinstance(step, int)]
        done = _some(rng, len(cuts), likely)
        first = 0
        if done:
            for step in self.since[: cuts[done - 1] + 1]:
                if isinstance(step, int):
                    _resize(found, step)
                else:
                    _put(found, *step)
            first = cuts[done - 1] + 1
        last = cuts[done] if done < len(cuts) else len(self.since)
        return [step for step in self.since[first:last] if not isinstance(step, int)], [len(found)]


def _some(rng: random.Random, most: int, likely: float) -> int:
    """How many of so many steps have arrived: all when that is certain, none when it is impossible."""
    if likely in (0, 1) or not most:
        return round(most * likely)
    return most if rng.random() < likely else rng.randrange(most)


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = offset
    while at < offset + len(data):
        sector = at // SECTOR
        end = min((sector + 1) * SECTOR, offset + len(data))
        yield sector, at, data[at - offset : end - offset]
        at = end


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if len(into) < offset + len(data):
        _resize(into, offset + len(data))
    into[offset : offset + len(data)] = data


def _resize(what: bytearray, size: int) -> None:
    if size < len(what):
        del what[size:]
    else:
        what.extend(bytes(size - len(what)))


@dataclass(frozen=True, slots=True)
class _Naming:
    """A step that changes names: what is removed, what is there instead."""

    removed: str | None
    made: tuple[str, int | None] | None

    @property
    def folders(self) -> set[str]:
        names = [*([self.removed] if self.removed else []), *([self.made[0]] if self.made else [])]
        return {_folder(name) for name in names}


def _folder(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


class Disk:
    """The disk as the calls up to now have left it."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._safe: dict[str, int | None] = {}
        self._visible: dict[str, int | None] = {}
        self._since: list[_Naming] = []

    @classmethod
    def holding(cls, folder: Path) -> Disk:
        """A disk on which everything below this folder is safe."""
        disk = cls()
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                disk._visible[name] = None
            elif not name.endswith("-shm"):
                content = path.read_bytes()
                disk._visible[name] = len(disk._files)
                disk._files.append(_File(bytearray(content), bytearray(content)))
        disk._safe = dict(disk._visible)
        return disk

    def __call__(self, call: Call) -> None:  # noqa: C901 - a case for each call
        """A call was made."""
        if not call.name and call.kind is not Kind.SYNC_FOLDER:
            return  # the folder itself
        if call.failed and call.kind is not Kind.SYNC:
            return
        match call.kind:
            case Kind.CREATE:
                self._name(_Naming(None, (call.name, len(self._files))))
                self._files.append(_File())
            case Kind.MKDIR:
                self._name(_Naming(None, (call.name, None)))
            case Kind.UNLINK:
                self._name(_Naming(call.name, None))
            case Kind.RENAME:
                self._name(_Naming(call.name, (call.other, self._visible[call.name])))
            case Kind.SYNC_FOLDER:
                self._sync_folder(call.name)
            case Kind.WRITE:
                self._file(call).write(call.offset, call.data)
            case Kind.RESIZE:
                self._file(call).resize(call.offset)
            case Kind.SYNC if call.failed:
                self._file(call).sync_failed()
            case Kind.SYNC:
                self._file(call).synced()

    def _file(self, call: Call) -> _File:
        number = self._visible[call.name]
        assert number is not None
        return self._files[number]

    def _name(self, step: _Naming) -> None:
        _apply(step, self._visible)
        self._since.append(step)

    def _sync_folder(self, folder: str) -> None:
        waiting = []
        for step in self._since:
            if folder in step.folders:
                _apply(step, self._safe)
                waiting = [early for early in waiting if early.made is None or early.made[0] != step.removed]
            else:
                waiting.append(step)
        self._since = waiting

    def after_cut(self, rng: random.Random, likely: float) -> dict[str, bytes | None]:
        """One of the states it may be found in: each file's bytes, None for a folder."""
        names = dict(self._safe)
        for step in self._arrived(rng, likely):
            _apply(step, names)
        found: dict[str, bytes | None] = {}
        for name, number in sorted(names.items()):
            # Each file has its own luck: one is complete where another has nothing.
            luck = likely if likely in (0, 1) else rng.choice((0, likely, likely, 1))
            if all(parent in names for parent in _parents(name)):
                found[name] = None if number is None else self._files[number].after_cut(rng, luck)
        return found

    def _arrived(self, rng: random.Random, likely: float) -> Iterable[_Naming]:
        """The names that are not safe and there all the same: of each folder those up to some moment."""
        folders = sorted({folder for step in self._since for folder in step.folders})
        left = {}
        for folder in folders:
            steps = sum(folder in step.folders for step in self._since)
            left[folder] = _some(rng, steps, likely)
        for step in self._since:
            there = [left[folder] > 0 for folder in step.folders]
            for folder in step.folders:
                left[folder] -= 1
            if any(there):
                yield step


def _apply(step: _Naming, names: dict[str, int | None]) -> None:
    if step.removed is not None:
        names.pop(step.removed, None)
    if step.made is not None:
        names[step.made[0]] = step.made[1]


def _parents(name: str) -> list[str]:
    return [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."]


def lay_out(state: dict[str, bytes | None], folder: Path) -> None:
    """Write a state into an empty folder."""
    folder.mkdir(parents=True)
    for name, content in state.items():
        path = folder / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(content)
