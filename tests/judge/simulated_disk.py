"""A disk that remembers what was really synced, so that the power can be cut at any write.

SQLite writes through a VFS. This one stands in front of the real one: files exist as always, and every write,
truncation and sync below a watched folder goes into a journal; names made and removed by Python are heard as audit
events. From the journal the folder can be made again as it was at any moment: as a killed process leaves it (everything
done is there) or as a power cut does. Then a file has what its last sync covered, and of what was written since, each
sector is there or not, whatever the order; a name is as durable as the last sync of its folder. Syncs cost nothing
here, which makes this disk faster than a real one.

Sources: https://sqlite.org/c3ref/vfs.html, https://sqlite.org/c3ref/io_methods.html (the structures),
https://sqlite.org/psow.html (what SQLite takes for granted of a sector written in part: the rest of it stays).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Sequence

SECTOR = 512
OK, IOERR_FSYNC, FULL = 0, 10 | 4 << 8, 13  # https://sqlite.org/rescode.html
SHARED_MEMORY = "-shm"  # never on a disk: an index that every start makes anew
CREATES_ITS_NAME = ("-wal", "-journal")  # unixSync syncs the folder of these at their first sync (os_unix.c)


# --- what happened, in order


@dataclass(frozen=True, slots=True)
class Write:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    inode: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name came to mean a file, or (None) nothing any more."""

    path: str
    inode: int | None


@dataclass(frozen=True, slots=True)
class FolderSync:
    folder: str


Operation = Write | Truncate | Sync | Name | FolderSync


class Since(Enum):
    """What a power cut leaves of what was written to a file since its last sync."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    BEGINNING = "beginning"  # in order up to some byte of some sector
    SOME = "some"  # each sector or not, in no order


class Journal:
    """Everything done below a folder since it was watched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operations: list[Operation] = []
        self._lock = threading.RLock()
        self._inodes: dict[str, int] = {}
        self._next = 0
        self.refuses: Callable[[Operation], int] = lambda _: OK
        """Asked before each operation of SQLite: the error code with which the disk fails it."""
        self._before: dict[str, bytes] = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not name.endswith(SHARED_MEMORY):
                self._before[name] = path.read_bytes()
                self._new_inode(name)
        self._inodes_before = dict(self._inodes)

    @property
    def now(self) -> int:
        """How many operations were done."""
        return len(self.operations)

    # --- recording

    def did(self, operation: Operation) -> None:
        with self._lock:
            self.operations.append(operation)

    def inode(self, name: str) -> int:
        with self._lock:
            return self._inodes[name]

    def created(self, name: str) -> None:
        with self._lock:
            self.did(Name(name, self._new_inode(name)))

    def removed(self, name: str) -> None:
        with self._lock:
            if self._inodes.pop(name, None) is not None:
                self.did(Name(name, None))

    def renamed(self, old: str, new: str) -> None:
        with self._lock:
            inode = self._inodes.pop(old, None)
            if inode is not None:
                self._inodes[new] = inode
                self.did(Name(new, inode))
                self.did(Name(old, None))

    def _new_inode(self, name: str) -> int:
        self._next += 1
        self._inodes[name] = self._next
        return self._next

    # --- the folder as it was

    def after_kill(self, at: int, target: Path) -> None:
        """Make the folder as it was after so many operations: a process is gone, the kernel is not."""
        _lay_out(self._files(self.operations[:at]), target)

    def after_power_cut(self, at: int, target: Path, rng: random.Random, since: Since | None = None) -> None:
        """Make the folder as a disk may have it when the power goes after so many operations."""
        _lay_out(self._files(self._survivors(at, rng, since)), target)

    def _survivors(self, at: int, rng: random.Random, since: Since | None) -> Iterator[Operation]:
        """What reached the disk, in order; of writes perhaps only sectors."""
        done = self.operations[:at]
        synced = {operation.inode: index for index, operation in enumerate(done) if isinstance(operation, Sync)}
        folders = {operation.folder: index for index, operation in enumerate(done) if isinstance(operation, FolderSync)}
        fates: dict[int, _Fate] = {}
        names_lost = self._first_name_lost(done, folders, rng, since)
        for index, operation in enumerate(done):
            match operation:
                case Name(path):
                    if index < names_lost or index < folders.get(_parent(path), -1):
                        yield operation
                case Write(inode) | Truncate(inode) if index < synced.get(inode, -1):
                    yield operation
                case Write(inode) | Truncate(inode):
                    if inode not in fates:
                        fates[inode] = _Fate(since or rng.choice(list(Since)), rng)
                    yield from fates[inode].of(operation)

    @staticmethod
    def _first_name_lost(
        done: Sequence[Operation], folders: dict[str, int], rng: random.Random, since: Since | None
    ) -> int:
        """File systems keep changes of names in order: from which one on they are lost, unless synced by then."""
        loose = [
            index
            for index, operation in enumerate(done)
            if isinstance(operation, Name) and index > folders.get(_parent(operation.path), -1)
        ]
        match since:
            case Since.NOTHING:
                return loose[0] if loose else len(done)
            case Since.EVERYTHING:
                return len(done)
            case _:
                return rng.choice([*loose, len(done)])

    def _files(self, operations: Iterable[Operation]) -> dict[str, bytes]:
        content = {self._inodes_before[name]: bytearray(data) for name, data in self._before.items()}
        names = dict(self._inodes_before)
        for operation in operations:
            match operation:
                case Write(inode, offset, data):
                    file = content.setdefault(inode, bytearray())
                    file.extend(bytes(max(0, offset - len(file))))
                    file[offset : offset + len(data)] = data
                case Truncate(inode, size):
                    file = content.setdefault(inode, bytearray())
                    del file[size:]
                    file.extend(bytes(size - len(file)))
                case Name(path, None):
                    names.pop(path, None)
                case Name(path, inode):
                    names[path] = inode
        return {name: bytes(content.get(inode, b"")) for name, inode in names.items()}


def _parent(path: str) -> str:
    return str(Path(path).parent)


def _lay_out(files: dict[str, bytes], target: Path) -> None:
    for name, data in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@dataclass
class _Fate:
    """What becomes of the writes to one file that no sync covered."""

    since: Since
    rng: random.Random
    _over: bool = False

    def of(self, operation: Write | Truncate) -> Iterator[Operation]:
        match self.since:
            case Since.EVERYTHING:
                yield operation
            case Since.BEGINNING if not self._over:
                self._over = self.rng.random() < 0.2
                if not self._over:
                    yield operation
                elif isinstance(operation, Write):
                    yield Write(
                        operation.inode, operation.offset, operation.data[: self.rng.randrange(len(operation.data) + 1)]
                    )
            case Since.SOME if isinstance(operation, Write):
                yield from (sector for sector in _sectors(operation) if self.rng.random() < 0.5)
            case Since.SOME if self.rng.random() < 0.5:
                yield operation


def _sectors(write: Write) -> Iterator[Write]:
    start = write.offset
    end = write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        yield Write(write.inode, start, write.data[start - write.offset : stop - write.offset])
        start = stop


# --- between SQLite and the real files

_pointer, _int, _int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_open_t = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _pointer, _int, ctypes.POINTER(_int))
_delete_t = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _int)
_close_t = ctypes.CFUNCTYPE(_int, _pointer)
_write_t = ctypes.CFUNCTYPE(_int, _pointer, _pointer, _int, _int64)
_truncate_t = ctypes.CFUNCTYPE(_int, _pointer, _int64)
_sync_t = ctypes.CFUNCTYPE(_int, _pointer, _int)


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = (
        ("iVersion", _int), ("szOsFile", _int), ("mxPathname", _int), ("pNext", _pointer), ("zName", ctypes.c_char_p),
        ("pAppData", _pointer), ("xOpen", _pointer), ("xDelete", _pointer),
        *((name, _pointer) for name in (
            "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness", "xSleep",
            "xCurrentTime", "xGetLastError", "xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall", "xNextSystemCall",
        )),
    )  # fmt: skip


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = (
        ("iVersion", _int),
        *((name, _pointer) for name in (
            "xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize", "xLock", "xUnlock", "xCheckReservedLock",
            "xFileControl", "xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock", "xShmBarrier", "xShmUnmap",
            "xFetch", "xUnfetch",
        )),
    )  # fmt: skip


class _File(ctypes.Structure):
    _fields_ = (("pMethods", ctypes.POINTER(_Methods)),)


@dataclass
class _Opened:
    """A file that SQLite has open below a watched folder."""

    journal: Journal
    name: str
    inode: int
    base: _Methods
    names_itself: bool = False


def _sqlite() -> Any:
    """The SQLite that the sqlite3 module uses."""
    import _sqlite3

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = (ctypes.c_char_p,)
        library.sqlite3_vfs_register.argtypes = (ctypes.POINTER(_Vfs), _int)
        library.sqlite3_vfs_unregister.argtypes = (ctypes.POINTER(_Vfs),)
        return library
    pytest.skip("this Python has SQLite built in, the simulated disk needs the shared one: use Debian's python3")


class SimulatedDisk:
    """While it is open, SQLite writes of this process below a watched folder are journalled."""

    def __init__(self) -> None:
        self._library = _sqlite()
        self._base_at = self._library.sqlite3_vfs_find(None)
        self._base = self._base_at.contents
        self._open_base, self._delete_base = _open_t(self._base.xOpen), _delete_t(self._base.xDelete)
        self._opened: dict[int, _Opened] = {}
        self._methods: dict[int, _Methods] = {}
        self._journals: list[Journal] = []
        self._callbacks = {
            "xClose": _close_t(self._close), "xWrite": _write_t(self._write), "xTruncate": _truncate_t(self._truncate),
            "xSync": _sync_t(self._sync),
        }  # fmt: skip
        self._open_callback, self._delete_callback = _open_t(self._open), _delete_t(self._delete)
        self._vfs = _Vfs.from_buffer_copy(self._base)
        self._vfs.zName = b"simulated-disk"
        self._vfs.pNext = None
        self._vfs.xOpen = ctypes.cast(self._open_callback, _pointer)
        self._vfs.xDelete = ctypes.cast(self._delete_callback, _pointer)

    def __enter__(self) -> Self:
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        _listening.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _listening.remove(self)
        self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))
        # A finalizer may still hold a connection: what it would call has to outlive this object.
        _kept_alive.append(self)

    def watch(self, folder: Path) -> Journal:
        """Journal what happens below a folder from now on; what is there counts as durable."""
        journal = Journal(folder)
        self._journals.append(journal)
        return journal

    def forget(self, journal: Journal) -> None:
        """Nothing more of this folder is wanted."""
        self._journals.remove(journal)

    def find(self, path: str) -> tuple[Journal, str] | None:
        for journal in self._journals:
            with suppress(ValueError):
                name = str(Path(path).relative_to(journal.folder))
                return None if name.endswith(SHARED_MEMORY) else (journal, name)
        return None

    # --- called by SQLite, on whichever thread

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out_flags: Any) -> int:
        found = self.find(os.fsdecode(ctypes.string_at(name))) if name else None
        if found is None:
            return self._open_base(ctypes.cast(self._base_at, _pointer), name, file, flags, out_flags)
        journal, relative = found
        path = journal.folder / relative
        existed = path.exists()
        code = self._open_base(ctypes.cast(self._base_at, _pointer), name, file, flags, out_flags)
        opened = ctypes.cast(file, ctypes.POINTER(_File)).contents
        if code != OK or not opened.pMethods:
            return code
        if not existed:
            journal.created(relative)
        base = opened.pMethods.contents
        names_itself = not existed and relative.endswith(CREATES_ITS_NAME)
        self._opened[file] = _Opened(journal, relative, journal.inode(relative), base, names_itself)
        opened.pMethods = ctypes.pointer(self._ours(base))
        return code

    def _ours(self, base: _Methods) -> _Methods:
        at = ctypes.addressof(base)
        if at not in self._methods:
            methods = _Methods.from_buffer_copy(base)
            for name, callback in self._callbacks.items():
                setattr(methods, name, ctypes.cast(callback, _pointer))
            self._methods[at] = methods
        return self._methods[at]

    def _close(self, file: int) -> int:
        return _close_t(self._opened.pop(file).base.xClose)(file)

    def _write(self, file: int, data: int, size: int, offset: int) -> int:
        opened = self._opened[file]
        write = Write(opened.inode, offset, ctypes.string_at(data, size))
        return self._do(opened, write, lambda: _write_t(opened.base.xWrite)(file, data, size, offset))

    def _truncate(self, file: int, size: int) -> int:
        opened = self._opened[file]
        return self._do(opened, Truncate(opened.inode, size), lambda: _truncate_t(opened.base.xTruncate)(file, size))

    def _sync(self, file: int, _flags: int) -> int:
        opened = self._opened[file]
        code = self._do(opened, Sync(opened.inode), lambda: OK)
        if code == OK and opened.names_itself:
            opened.names_itself = False
            opened.journal.did(FolderSync(_parent(opened.name)))
        return code

    @staticmethod
    def _do(opened: _Opened, operation: Operation, act: Callable[[], int]) -> int:
        code = opened.journal.refuses(operation) or act()
        if code == OK:
            opened.journal.did(operation)
        return code

    def _delete(self, _vfs: int, name: int, sync_folder: int) -> int:
        code = self._delete_base(ctypes.cast(self._base_at, _pointer), name, sync_folder)
        found = self.find(os.fsdecode(ctypes.string_at(name)))
        if code == OK and found is not None:
            journal, relative = found
            journal.removed(relative)
            if sync_folder:
                journal.did(FolderSync(_parent(relative)))
        return code

    # --- called by Python's audit hook, before the thing happens

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        match event, arguments:
            case "open", (str() as path, None, int(flags)) if flags & (os.O_CREAT | os.O_DIRECTORY):
                self._opening(path, flags)
            case "os.remove", (path, *_) if found := self.find(os.fspath(path)):
                found[0].removed(found[1])
            case "os.rename", (old, new, *_) if (source := self.find(os.fspath(old))) and (
                target := self.find(os.fspath(new))
            ):
                source[0].renamed(source[1], target[1])

    def _opening(self, path: str, flags: int) -> None:
        found = self.find(path)
        if found is None:
            return
        journal, name = found
        if flags & os.O_DIRECTORY:
            journal.did(FolderSync(name))  # nobody opens a folder but to sync it
        elif not (journal.folder / name).exists():
            journal.created(name)


_listening: list[SimulatedDisk] = []
_kept_alive: list[SimulatedDisk] = []
_busy = threading.local()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in _HEARD and not getattr(_busy, "flag", False):
        _busy.flag = True  # looking at a path is audited too
        try:
            for disk in _listening:
                disk.heard(event, arguments)
        finally:
            _busy.flag = False


_HEARD = frozenset({"open", "os.remove", "os.rename"})
sys.addaudithook(_audit)
