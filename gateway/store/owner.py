"""One process owns a store; a second one refuses to start and says which holds it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from gateway.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Ownership:
    """Held for as long as it is open. The kernel lets go of it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "owner"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be used as data folder: {error.strerror}",
                hint="run as the gateway's user (or root), or set store.path to a folder you may write",
            ) from error

    def __enter__(self) -> Self:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StorageError(
                f"{self._path.parent} is in use by another gateway (process {holder})",
                hint="stop it first: systemctl stop lorawan-gateway; or give this one its own store.path",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        os.close(self._descriptor)
