"""Readings into files on this machine: JSON lines or CSV by the period, and a GeoJSON snapshot of what was said last.

A reading is delivered when it is on disk. Each goes to the file of the period (UTC) in which it was heard, so that a
day's file has that day, also of what arrives later. The snapshot is a convenience beside that: it is written whole,
beside and renamed, and its failure holds no reading.

The folder is never made here: where a memory stick should be mounted, a folder on the card would hide that it is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.delivery.appending import Appender, NotWritable, write_noughts
from gateway.delivery.sink import Refusal, SinkUnavailable
from gateway.wire.file_forms import Csv, Form, JsonLines, period_of
from gateway.wire.geojson import LastValues
from gateway.wire.privacy import EVERYTHING, Privacy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import DevEui, Record

log = logging.getLogger(__name__)

SNAPSHOT_S: Final = 60.0
"""A snapshot has every device in it; a card does not like to be written that often."""

_CURES: Final = {
    errno.ENOSPC: "the disk is full; make room",
    errno.EDQUOT: "the quota is used up; make room, or ask for more",
    errno.EFBIG: "the file is as large as it may be; set a shorter rotate",
    errno.EROFS: "the file system is read-only; look at dmesg, it may be damaged",
    errno.EACCES: "the gateway's user may not write there; give it the folder (chown, or ReadWritePaths= of its unit)",
    errno.EPERM: "the gateway's user may not write there; give it the folder (chown, or ReadWritePaths= of its unit)",
    errno.ENOENT: "the folder does not exist; make it, or mount what it is on",
    errno.ENOTDIR: "a part of the path is no folder; check path",
    errno.EISDIR: "it is a folder; check path",
    errno.ENAMETOOLONG: "the name is too long; check path",
    errno.EIO: "the disk fails; look at dmesg, and replace it",
}


@dataclass(frozen=True, slots=True)
class FileDestination:
    """What the settings say of one `[sink.NAME]` of type file. ValueError for what cannot be."""

    name: str
    path: Path  # readings.jsonl becomes readings-2026-11-23.jsonl
    form: str = "jsonl"  # or "csv"
    rotate_s: int = 86_400
    geojson: Path | None = None
    privacy: Privacy = EVERYTHING
    snapshot_s: float = SNAPSHOT_S

    def __post_init__(self) -> None:
        """Check."""
        if self.form not in {"jsonl", "csv"}:
            raise ValueError(f"{self.form!r} is no form of file")
        if self.rotate_s < 1:
            raise ValueError("rotate is at least a second")


class FileSink:
    """A Sink that is files."""

    def __init__(self, destination: FileDestination) -> None:
        self.name = destination.name
        self._destination = destination
        self._form: Form = (Csv if destination.form == "csv" else JsonLines)(destination.privacy)
        self._appender = Appender(destination.path, self._form)
        self._last = None if destination.geojson is None else _Snapshot(destination.geojson, destination)

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[FileLink]:
        """A link when the folder is there; SinkUnavailable, with what to do, when it is not."""
        folder = self._destination.path.parent
        try:
            await asyncio.to_thread(os.listdir, folder)
        except OSError as error:
            raise _held(folder, error) from error
        if self._last is not None:
            await asyncio.to_thread(self._last.load)
        writing = None if self._last is None else asyncio.create_task(self._last.keep_writing())
        try:
            yield FileLink(self._destination, self._form, self._appender, self._last)
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await asyncio.to_thread(self._close)

    async def forget(self, dev_eui: DevEui) -> Mapping[str, int]:
        """Take a device out of every file of this destination that is still where it was written."""
        return await asyncio.to_thread(self._forget, self._named(dev_eui))

    async def kept(self, dev_eui: DevEui) -> Mapping[str, int]:
        """How many lines of which files name a device."""
        name = self._named(dev_eui)
        found = await asyncio.to_thread(self._appender.count, name.encode())
        on_map = self._last is not None and await asyncio.to_thread(self._last.has, name)
        return _by_name(found) | ({str(self._destination.geojson): 1} if on_map else {})

    def _named(self, dev_eui: DevEui) -> str:
        pseudonyms, plain = self._destination.privacy.pseudonyms, str(dev_eui)
        return plain if pseudonyms is None else pseudonyms.of("dev_eui", plain)

    def _forget(self, name: str) -> Mapping[str, int]:
        found = _by_name(self._appender.erase(name.encode()))
        if self._last is not None and self._last.forget(name):
            found[str(self._destination.geojson)] = 1
        return found

    def _close(self) -> None:
        self._appender.close()
        if self._last is not None:
            self._last.write()


class FileLink:
    """Files that can be written; a Link."""

    def __init__(self, destination: FileDestination, form: Form, appender: Appender, last: _Snapshot | None) -> None:
        self._destination = destination
        self._form = form
        self._appender = appender
        self._last = last

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Back when the batch is on disk. SinkUnavailable, with what to do, when it cannot be written."""
        rotate_s = self._destination.rotate_s
        lines = [
            (period_of(record.reading.heard.utc_us, rotate_s), line)
            for record in batch
            for line in self._form.lines(record)
        ]
        try:
            # Shielded: a stop does not leave half of it to be found out at the next start.
            await asyncio.shield(asyncio.to_thread(self._appender.append, lines))
        except OSError as error:
            raise _held(self._destination.path, error) from error
        if self._last is not None:
            for record in batch:
                self._last.take(record)
        return ()

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:
        """Nothing: the files are for readings."""

    async def lost(self) -> str:
        """Never return: a file is asked anew with each batch."""
        await asyncio.Event().wait()
        raise AssertionError


class _Snapshot:
    """The last values, and the file they are in."""

    def __init__(self, path: Path, destination: FileDestination) -> None:
        self._path = path
        self._privacy = destination.privacy
        self._every_s = destination.snapshot_s
        self._name = destination.name
        self._values: LastValues | None = None
        self._changed = False
        self._told = ""

    def load(self) -> None:
        """Go on with what is in the file, the first time."""
        if self._values is not None:
            return
        try:
            self._values = LastValues.load(self._path.read_bytes())
        except OSError:
            self._values = LastValues()

    def take(self, record: Record) -> None:
        """A reading that is on disk."""
        if self._values is not None and self._values.take(self._privacy.reading(record)):
            self._changed = True

    def has(self, device: str) -> bool:
        """Whether a device is on the map."""
        self.load()
        return self._values is not None and device in self._values

    def forget(self, device: str) -> bool:
        """Take a device off the map, on disk too; whether it was there. OSError when the disk refuses."""
        self.load()
        if self._values is None or not self._values.forget(device):
            return False
        with contextlib.suppress(FileNotFoundError), self._path.open("r+b") as before:  # perhaps not written yet
            self._replace(self._values.snapshot(), or_fail=True)
            write_noughts(before)
        return True

    async def keep_writing(self) -> None:
        """Write it now and then."""
        while True:
            await asyncio.sleep(self._every_s)
            if self._changed and self._values is not None:
                self._changed = False
                content = self._values.snapshot()
                await asyncio.shield(asyncio.to_thread(self._replace, content))

    def write(self) -> None:
        """Write it now, if anything changed."""
        if self._changed and self._values is not None:
            self._changed = False
            self._replace(self._values.snapshot())

    def _replace(self, content: bytes, *, or_fail: bool = False) -> None:
        beside = self._path.with_name(f".{self._path.name}.new")
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            words = str(_held(self._path, error))
            if words != self._told:
                log.warning("sink %s: no snapshot: %s", self._name, words)
            self._told = words
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            if or_fail:
                raise
        else:
            self._told = ""


def _by_name(lines: Mapping[Path, int]) -> dict[str, int]:
    return {str(path): count for path, count in lines.items()}


def _held(path: Path, error: OSError) -> SinkUnavailable:
    if isinstance(error, NotWritable):
        return SinkUnavailable(str(error), alert=True)
    cure = _CURES.get(error.errno or 0) or error.strerror or str(error)
    return SinkUnavailable(f"{error.filename or path}: {cure}", alert=True)
