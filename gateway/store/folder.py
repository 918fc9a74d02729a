"""The files of a data folder, opened for the one process that owns it, whatever has happened to them.

A start must succeed with whatever lies there: damage is mended as far as it goes and told, and what is lost of one file
is sought in the others. Only what a person has to decide stops it: permissions, another store key, a newer format.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import DiskTrouble, StorageError
from gateway.store.cursors import CursorFile
from gateway.store.database import NotOurs, is_disk_trouble
from gateway.store.devices import FILE_NAME, DeviceRegistry, make_folder
from gateway.store.log import RecordLog
from gateway.store.mending import open_mended
from gateway.store.network_file import FILE_NAME as NETWORK_FILE
from gateway.store.network_file import NetworkFile
from gateway.store.part import part_files
from gateway.store.seals import SealRing

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """Everything that is open of a data folder."""

    registry: DeviceRegistry
    network: NetworkFile
    seals: SealRing
    cursors: CursorFile
    log: RecordLog
    damage: tuple[str, ...]  # what was found damaged of the files beside the log, a sentence each

    def close(self) -> None:
        """Close all of it."""
        for file in (self.log, self.seals, self.cursors, self.network, self.registry):
            file.close()


def open_files(folder: Path, gateway_eui: str, max_bytes: int, store_key: bytes | None) -> Files:
    """Open or make the files of a data folder; StorageError, and DiskTrouble when the disk refuses."""
    try:
        return _opened(folder, gateway_eui, max_bytes, store_key)
    except PermissionError as error:
        raise NotOurs(
            f"{error.filename or folder} may not be used by this user",
            hint=f"give it to the gateway: chown -R --reference={folder.parent} {folder}",
        ) from error
    except (OSError, sqlite3.Error) as error:
        kind = DiskTrouble if is_disk_trouble(error) else StorageError
        raise kind(f"the files in {folder} cannot be opened: {error}", hint="look at the disk: dmesg, df") from error


def _opened(folder: Path, gateway_eui: str, max_bytes: int, store_key: bytes | None) -> Files:
    with ExitStack() as opened:
        make_folder(folder)
        expected = (folder / "log").is_dir() and bool(part_files(folder / "log"))
        devices = open_mended(folder / FILE_NAME, "devices", expected=expected)
        registry = opened.enter_context(DeviceRegistry(devices.db))
        nonces = open_mended(folder / NETWORK_FILE, "network", expected=False)
        network = opened.enter_context(NetworkFile(nonces.db))
        seals = SealRing(folder, store_key, expected=expected)
        opened.callback(seals.close)
        cursors = CursorFile(folder, expected=expected)
        opened.callback(cursors.close)
        record_log = RecordLog(folder / "log", gateway_eui, max_bytes, seals)
        opened.callback(record_log.close)
        epoch = record_log.epoch
        checkpoints = registry.checkpointed(epoch), network.checkpointed(epoch) or 0
        record_log.go_beyond(max(cursors.furthest(epoch), *checkpoints))
        opened.pop_all()
    damage = (devices.damage, nonces.damage, *seals.damage, cursors.damage)
    return Files(registry, network, seals, cursors, record_log, tuple(one for one in damage if one))
