"""What the machine says: processor time, memory, what a disk does by itself, what reaches a block device."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")
_SECTOR_BYTES = 512  # of /sys/block/*/stat, whatever the device's own are
_MEMORY_DISK = Path("/dev/shm")
_DISK_BYTES = 256 << 20
OURS, THEIRS = {0}, {1 % (os.cpu_count() or 1)}
"""The core of what is measured, and the one of everything around it."""


def cpu_s(pid: int) -> float:
    """Processor time a process and its children have used so far, user and system: what waiting does not change."""
    used = 0.0
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used = (int(fields[11]) + int(fields[12])) / _TICKS
        for task in Path(f"/proc/{pid}/task").iterdir():
            used += sum(cpu_s(int(child)) for child in (task / "children").read_text().split())
    return used


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    return _status_mib(pid, "VmRSS")


def peak_mib() -> float:
    """The most memory this process ever had resident."""
    return _status_mib(os.getpid(), "VmHWM")


def _status_mib(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def free_port(kind: int) -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def forget_cached(folder: Path) -> None:
    """Have the kernel drop what it caches of these files, as after a restart of the machine."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def bare_syncs_per_s(folder: Path, size: int, for_s: float) -> float:
    """How often a second this disk makes `size` appended bytes durable when nothing else is done: its own limit."""
    block = os.urandom(size)
    descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY)
    try:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < for_s:
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)
        (folder / "bare").unlink()


class Disk:
    """A folder whose writes are counted where they arrive."""

    def __init__(self, folder: Path, counter: Path | None) -> None:
        self.folder = folder
        self._counter = counter
        self.what = "block device" if counter else "this process, no loop device here: needs root"

    def written(self) -> int:
        """Bytes that have reached the block device; without one of our own, what this process has handed over."""
        if self._counter is not None:
            return int(self._counter.read_text().split()[6]) * _SECTOR_BYTES
        facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(facts["write_bytes"])

    def settle(self) -> None:
        """Write out what the kernel still holds of this file system; it does so by itself every 30 s."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            ctypes.CDLL(None).syncfs(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def counted_disk() -> Iterator[Disk]:
    """An ext4 of its own, in memory behind a loop device, that nobody else writes to; gone afterwards in any case."""
    with contextlib.ExitStack() as made:
        folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        counter = None
        with contextlib.suppress(OSError, subprocess.CalledProcessError), contextlib.ExitStack() as tried:
            counter = _mounted(folder, tried)
            made.push(tried.pop_all())
        yield Disk(folder, counter)


def _mounted(folder: Path, made: contextlib.ExitStack) -> Path:
    """Mount a new file system on `folder`; the file that counts its writes. What was made is undone by `made`."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    losetup, mkfs, mount, umount = (shutil.which(name, path=path) or name for name in _PROGRAMS)
    image = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=_MEMORY_DISK))) / "disk"
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    device = _run(losetup, "--find", "--show", str(image))
    made.callback(_run, losetup, "--detach", device)
    # No lazy initialization: it would write behind our back.
    _run(mkfs, "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
    _run(mount, "-o", "noatime", device, str(folder))
    made.callback(_run, umount, "--lazy", str(folder))  # also when what was interrupted has left a file open
    return Path("/sys/block") / Path(device).name / "stat"


_PROGRAMS = ("losetup", "mkfs.ext4", "mount", "umount")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
