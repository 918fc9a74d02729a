"""Small file systems to fill, freeze and tear out: real ones, unmounted whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # Linux, fs/ext4/ext4.h
SBIN = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "")])


def _run(*words: object, check: bool = True) -> int:
    return subprocess.run(
        [*map(str, words)], check=check, capture_output=True, env={**os.environ, "PATH": SBIN}
    ).returncode


def _need(*commands: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    for command in commands:
        if shutil.which(command, path=SBIN) is None:
            pytest.skip(f"apt-get install e2fsprogs mount util-linux: there is no {command}")


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[None]:
    """A file system in memory at this folder, such as `size=16m,nr_inodes=50`."""
    _need("mount", "umount")
    folder.mkdir(exist_ok=True)
    if _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder, check=False):
        pytest.skip("mount is not allowed here")
    try:
        yield
    finally:
        _unmount(folder)


class Ext4:
    """An ext4 on a loop device: what a card is, at a size that can be filled."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self._image = image

    def mount(self) -> None:
        self.folder.mkdir(exist_ok=True)
        if _run("mount", "-o", "loop", self._image, self.folder, check=False):
            pytest.skip("loop devices cannot be mounted here")

    def unmount(self) -> None:
        _unmount(self.folder)

    def cut_power(self) -> None:
        """Nothing more reaches the disk; what was not synced is gone at the next mount."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every write and sync hangs, as on a card that thinks for a long time."""
        _need("fsfreeze")
        _run("fsfreeze", "-f", self.folder)
        try:
            yield
        finally:
            _run("fsfreeze", "-u", self.folder)

    @contextmanager
    def filled(self) -> Iterator[None]:
        """Somebody else takes every byte there is."""
        other = self.folder / "somebody-else"
        try:
            with other.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                for size in (1 << 16, 1 << 10, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"x" * size)
                os.fsync(file.fileno())
            yield
        finally:
            other.unlink()


@contextmanager
def ext4(folder: Path, image: Path, megabytes: int = 24) -> Iterator[Ext4]:
    """A mounted ext4 of this size; skips where that cannot be had."""
    _need("mount", "umount", "mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", image)
    disk = Ext4(folder, image)
    disk.mount()
    try:
        yield disk
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Now, or as soon as the last user has gone."""
    if folder.is_mount() and _run("umount", folder, check=False):
        _run("umount", "-l", folder, check=False)
