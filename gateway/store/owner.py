"""One process owns a store; a second one refuses to start and says which holds it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gateway.errors import StorageError
from gateway.store.database import is_disk_trouble
from gateway.store.quarantine import destroy

if TYPE_CHECKING:
    from types import TracebackType


class Ownership:
    """Held for as long as it is open. The kernel lets go of it when the process dies, however it dies.

    The folder itself is what is locked, so that this works on a disk that takes no more writing; the file beside only
    says who holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._note = folder / "owner"
        try:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700, parents=True)
            self._descriptor: int | None = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if is_disk_trouble(error):  # who goes on in memory is in nobody's way
                self._descriptor = None
                return
            raise StorageError(
                f"{folder} cannot be used as data folder: {error.strerror}",
                hint="run as the gateway's user (or root), or set store.path to a folder you may write",
            ) from error

    def __enter__(self) -> Self:
        if self._descriptor is None:
            return self
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StorageError(
                f"{self._note.parent} is in use by another gateway (process {self._holder()})",
                hint="stop it first: systemctl stop lorawan-gateway; or give this one its own store.path",
            ) from error
        with contextlib.suppress(OSError):
            self._note.write_text(f"{os.getpid()}\n")
        return self

    def _holder(self) -> str:
        try:
            return self._note.read_text(errors="replace")[:32].strip() or "unknown"
        except OSError:
            return "unknown"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def memory_folder(folder: Path) -> Path:
    """Where the gateway keeps what it must while its data folder takes no writing: memory, gone with the power.

    The runtime folder that systemd gives (RuntimeDirectory=), else shared memory, else the place for temporary files.
    """
    for place in (os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], "/dev/shm", tempfile.gettempdir()):  # noqa: S108
        if place and os.access(place, os.W_OK):
            break
    name = hashlib.blake2s(os.fsencode(folder.absolute()), digest_size=6).hexdigest()
    return Path(place) / f"lorawan-gateway-{os.getuid()}-{name}"


def destroy_memory(folder: Path) -> None:
    """Destroy the copies that a gateway made in memory while its disk took no writing; not the air time, which is used.

    For a gateway that runs on its disk.
    """
    memory = memory_folder(folder)
    for path in memory.rglob("*") if memory.is_dir() else ():
        if path.is_file() and not path.name.startswith("airtime."):
            destroy(path)


def can_be_written(folder: Path) -> bool:
    """Whether a few bytes reach the disk in this folder."""
    probe = folder / "probe"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"?" * 65_536)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        probe.unlink()
    except OSError:
        return False
    return True
