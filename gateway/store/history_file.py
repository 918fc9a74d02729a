"""How far a network server that takes history has it: one small file for each server, written beside and renamed.

What is damaged in it costs a repetition, so it is dropped with a line in the log.
"""

from __future__ import annotations

import logging
import os
from threading import Lock
from typing import TYPE_CHECKING

import orjson

from gateway.errors import DiskTrouble
from gateway.store.quarantine import sync_folder

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class HistoryFile:
    """The place of one server in the store of one epoch."""

    def __init__(self, folder: Path, server: str, epoch: str) -> None:
        self._path = folder / f"history-{server}.json"
        self._epoch = epoch
        self._saving = Lock()

    def load(self) -> tuple[int, int, int] | None:
        """Where the server stands; None when it is new here. The beginning for another log, and after damage."""
        try:
            facts = orjson.loads(self._path.read_bytes())
            record, part, number = facts["place"]
            place = int(record), int(part), int(number)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): this server may get again what it has", self._path, error)
            return 0, 0, 0
        return place if facts.get("epoch") == self._epoch else (0, 0, 0)

    def save(self, place: tuple[int, int, int]) -> None:
        """Write it, durably; DiskTrouble when the disk refuses."""
        with self._saving:
            beside = self._path.with_suffix(".new")
            try:
                with open(beside, "wb", opener=_private) as file:
                    file.write(orjson.dumps({"epoch": self._epoch, "place": place}))
                    file.flush()
                    os.fsync(file.fileno())
                beside.replace(self._path)
                sync_folder(self._path.parent)
            except OSError as error:
                raise DiskTrouble(f"{self._path} cannot be written: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
