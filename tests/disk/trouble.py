"""The test's side of trouble.c: builds the library, asks for trouble, reads what was written down."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

ALWAYS = 1 << 62


class Kind(IntEnum):
    """The calls that trouble.c knows, in its order."""

    CREATE = 0
    OPEN_TO_WRITE = 1
    OPEN_TO_READ = 2
    WRITE = 3
    RESIZE = 4
    SYNC = 5
    SYNC_FOLDER = 6
    RENAME = 7
    UNLINK = 8
    MKDIR = 9
    READ = 10
    MARK = 11


SYNCS = (Kind.SYNC, Kind.SYNC_FOLDER)
CHANGES = (Kind.CREATE, Kind.WRITE, Kind.RESIZE, *SYNCS, Kind.RENAME, Kind.UNLINK, Kind.MKDIR)


class _Page(ctypes.Structure):
    """`struct trouble`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "calls", "kill_at", "fail_kinds", "fail_errno", "fail_from", "fail_to", "matched", "failed", "only_growing",
            "shm_too", "sync_us", "syncing", "logging",
        )),
        ("begins", ctypes.c_char * 256),
        ("ends", ctypes.c_char * 256),
        ("folder", ctypes.c_char * 1024),
        ("mount", ctypes.c_char * 1024),
    ]  # fmt: skip


class _Entry(ctypes.Structure):
    """`struct entry`."""

    _fields_ = [
        ("kind", ctypes.c_uint32), ("name_size", ctypes.c_uint32), ("other_size", ctypes.c_uint32),
        ("data_size", ctypes.c_uint32), ("offset", ctypes.c_int64), ("failed", ctypes.c_int64),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changed a file, or was refused; or what the program had promised by then (MARK)."""

    kind: Kind
    name: str
    other: str
    offset: int
    data: bytes
    failed: int

    def __str__(self) -> str:
        failed = f" failed: {errno.errorcode.get(self.failed, self.failed)}" if self.failed else ""
        return f"{self.kind.name} {self.name}{' → ' + self.other if self.other else ''} @{self.offset}{failed}"


def built_library(folder: Path) -> Path:
    """trouble.c as a library to preload; skips the test when there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        import pytest  # not above: the children of the nursery load this module, and have no use for it

        pytest.skip("apt-get install gcc libc6-dev")
    library = folder / "trouble.so"
    source = Path(__file__).with_name("trouble.c")
    subprocess.run(
        [
            compiler,
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            library,
            source,
            "-ldl",
            "-lpthread",
        ],
        check=True,
    )
    return library


class Trouble:
    """The bad disk of one program at a time. Everything is in order until told otherwise, also while it runs."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._library = library
        self._file = folder / "trouble"
        self._file.write_bytes(bytes(ctypes.sizeof(_Page)))
        with self._file.open("r+b") as file:
            self.page: Any = _Page.from_buffer(mmap.mmap(file.fileno(), 0))

    @property
    def environment(self) -> dict[str, str]:
        """What the program that is to suffer has to be started with."""
        return {"LD_PRELOAD": str(self._library), "DISK_TROUBLE": str(self._file)}

    def over(self) -> None:
        """No more trouble; the counts of what happened stay."""
        self.page.fail_kinds = self.page.kill_at = self.page.sync_us = 0

    def nowhere(self) -> None:
        """No more trouble, and nothing is counted or written down."""
        self.page.folder = b""

    def below(self, folder: Path) -> None:
        """Everything in order, all counts zero, and from now on it is this folder."""
        ctypes.memset(ctypes.addressof(self.page), 0, ctypes.sizeof(_Page))
        self.page.folder = str(folder).encode()
        if self._log.exists():
            os.truncate(self._log, 0)

    def kill_at(self, call: int, *, cutting_power_of: Path | None = None) -> None:
        """Die instead of making this changing call, counted from `below`; with the power of an ext4, if asked to."""
        self.page.mount = str(cutting_power_of or "").encode()
        self.page.kill_at = call

    def fail(
        self, kinds: tuple[Kind, ...], error: int, *, first: int = 1, last: int = ALWAYS, begins: str = "",
        ends: str = "", only_growing: bool = False, shm_too: bool = False,
    ) -> None:  # fmt: skip
        """Fail these calls, from the `first` to the `last` of those that match, counted from now.

        Names are relative to the folder.
        """
        page = self.page
        page.fail_kinds = page.matched = page.failed = 0
        page.fail_errno, page.fail_from, page.fail_to = error, first, last
        page.begins, page.ends, page.only_growing, page.shm_too = begins.encode(), ends.encode(), only_growing, shm_too
        page.fail_kinds = sum(1 << kind for kind in kinds)

    def full(self, *, first: int = 1, last: int = ALWAYS) -> None:
        """No more room: what needs more fails, what is there can be overwritten and removed."""
        growing = (Kind.CREATE, Kind.WRITE, Kind.RESIZE, Kind.MKDIR)
        self.fail(growing, errno.ENOSPC, first=first, last=last, only_growing=True, shm_too=True)

    def read_only(self) -> None:
        """As after an error the kernel answers with a read-only remount."""
        self.fail((*CHANGES, Kind.OPEN_TO_WRITE), errno.EROFS, shm_too=True)

    def write_down(self) -> None:
        """Log every changing call with its bytes."""
        self.page.logging = 1

    def calls(self) -> list[Call]:
        """What was written down."""
        log, calls, at = self._log.read_bytes() if self._log.exists() else b"", [], 0
        while at < len(log):
            entry = _Entry.from_buffer_copy(log, at)
            at += ctypes.sizeof(_Entry)
            pieces = []
            for size in (entry.name_size, entry.other_size, entry.data_size):
                pieces.append(log[at : at + size])
                at += size
            name, other, data = pieces
            calls.append(Call(Kind(entry.kind), name.decode(), other.decode(), entry.offset, data, entry.failed))
        return calls

    @property
    def _log(self) -> Path:
        return self._file.with_name(self._file.name + ".log")


def mark(promise: str) -> None:
    """Write a promise into the log of calls, from inside the suffering program."""
    ctypes.CDLL(None).trouble_mark(promise.encode())
