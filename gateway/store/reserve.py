"""A few megabytes kept back for the moment the disk is full: enough to commit what waits and to delete in order."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BYTES = 4 << 20
MAKE_ABOVE_FREE_BYTES = 64 << 20


class Reserve:
    """The file; made when there is room, given up when there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"

    def make(self) -> None:
        """Set the space aside if there is plenty and it is not."""
        facts = os.statvfs(self._path.parent)
        if self._path.exists() or facts.f_bavail * facts.f_frsize < MAKE_ABOVE_FREE_BYTES:
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BYTES)
            finally:
                os.close(descriptor)

    def give_up(self) -> bool:
        """Free the space; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
