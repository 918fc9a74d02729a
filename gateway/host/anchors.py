"""What the clock knows across a power cut, in two small files of the data folder.

`anchors` has a line for each trusted moment, appended and synced. A line carries its own checksum, so that damage costs
that line; the file is written anew, beside and renamed, when it is damaged or long. `floor` is the last time that was
known, one line, always written anew. Text and not a database, because an anchor is a hundred bytes an hour, has to be
readable whatever else is broken, and one damaged page may not cost them all; and not the record log, whose old parts
are deleted while the anchors of a record must live as long as the record.

Nothing here raises: without a disk the clock goes on from memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import zlib
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from gateway.host.dating import Anchor, Dating
from gateway.host.trust import BatteryCheck, Floor
from gateway.model import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_BYTES = 1 << 19  # five thousand lines: half a year of hours; what is read at most, and what it may grow to
KEPT_LINES = 2_048  # of a file that had grown so long

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_BOOT_ID = re.compile(r"[0-9a-f]{32}")
_SOURCES = {str(source): source for source in (TimeQuality.NTP, TimeQuality.GPS)}
_BEGINS, _CONTINUES, _TOLD, _FLOOR = "begins", "continues", "told", "floor"


@dataclass(frozen=True, slots=True)
class Told:
    """What this boot heard before its time was known has been dealt with."""

    boot_id: str


Entry = Anchor | Told | Floor


@dataclass(frozen=True, slots=True)
class Page:
    """What is to be written."""

    anchors: str = ""
    anew: bool = False  # instead of all that is there, not behind it
    floor: str = ""


def write(entry: Entry) -> str:
    """A line of either file, line break included."""
    match entry:
        case Anchor():
            kind = _CONTINUES if entry.continues else _BEGINS
            words = [kind, entry.boot_id, entry.monotonic_us, entry.utc_us, entry.source, entry.uncertainty_ms]
        case Told():
            words = [_TOLD, entry.boot_id]
        case Floor():
            battery = ["-", "-"] if entry.battery is None else [entry.battery.utc_us, entry.battery.error_ms]
            words = [_FLOOR, entry.boot_id, entry.monotonic_us, entry.utc_us, *battery]
    text = " ".join(map(str, words))
    return f"{text} {zlib.crc32(text.encode()):08x}\n"


def read(line: str) -> Entry | None:
    """What a line says; None when it is damaged."""
    text, _, checksum = line.rpartition(" ")
    if checksum != f"{zlib.crc32(text.encode(errors='replace')):08x}":
        return None
    kind, *words = text.split(" ")
    if not words or _BOOT_ID.fullmatch(words[0]) is None:
        return None
    match kind, words:
        case (("begins" | "continues"), [boot_id, monotonic_us, utc_us, source, uncertainty_ms]):
            numbers = _numbers(monotonic_us, utc_us, uncertainty_ms)
            if numbers is None or source not in _SOURCES:
                return None
            return Anchor(boot_id, numbers[0], numbers[1], _SOURCES[source], numbers[2], continues=kind == _CONTINUES)
        case "told", [boot_id]:
            return Told(boot_id)
        case "floor", [boot_id, monotonic_us, utc_us, *battery]:
            return _floor(boot_id, _numbers(monotonic_us, utc_us), battery)
        case _:
            return None


def _floor(boot_id: str, moment: Sequence[int] | None, battery: Sequence[str]) -> Floor | None:
    if moment is None or len(battery) != 2:
        return None
    if battery[0] == battery[1] == "-":
        return Floor(moment[1], boot_id, moment[0])
    check = _numbers(*battery)
    return None if check is None else Floor(moment[1], boot_id, moment[0], BatteryCheck(check[0], check[1]))


def _numbers(*words: str) -> list[int] | None:
    return [int(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else None


def remembered_dating(folder: Path) -> Dating:
    """The dates that a data folder remembers, read beside whoever writes there."""
    dating = Dating()
    with contextlib.suppress(OSError), (folder / "anchors").open("rb") as file:
        for line in file.read(LONGEST_BYTES).decode("ascii", "replace").splitlines():
            entry = read(line)
            if isinstance(entry, Anchor):
                dating.learn(entry)
    return dating


class TimeMemory:
    """Both files. `folder` None: nothing is remembered.

    Everything but `save` belongs to one thread, `save` may run on another.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read what is there. What is damaged is left out, once: the file is then written anew without it."""
        self._folder = folder
        self._complains = True
        self._bytes = 0
        self._anew = False  # the file is not what it should be: write all of it
        self._saving = Lock()
        self.damaged = 0
        self.told: dict[str, None] = {}
        self.dating = Dating()
        if folder is None:
            self.floor: Floor | None = None
            return
        anchors, torn = self._lines(folder / "anchors")
        refused = [entry for entry in anchors if not self._take(entry)]
        floors, _ = self._lines(folder / "floor")
        floor = next((entry for entry in floors if isinstance(entry, Floor)), None)
        self.floor = floor or self._floor_of_anchors()
        self.damaged = len(refused) + (floor is None and bool(floors))
        if self.damaged:
            log.warning("%d damaged lines in %s and %s: left out", self.damaged, folder / "anchors", folder / "floor")
        if refused or torn:
            self._anew = True
            self.save(self.page((), None))

    def _take(self, entry: Entry | None) -> bool:
        match entry:
            case Anchor():
                self.dating.learn(entry)
            case Told():
                self.told[entry.boot_id] = None
            case _:
                return False
        return True

    def _floor_of_anchors(self) -> Floor | None:
        """The newest anchor serves where the floor is lost: it was true too."""
        boots = list(self.dating.boots())
        last = self.dating.latest(boots[-1]) if boots else None
        if last is None:
            return None
        return Floor(last.utc_us - last.uncertainty_ms * 1000, last.boot_id, last.monotonic_us)

    def _lines(self, path: Path) -> tuple[list[Entry | None], bool]:
        """What the lines of a file say, and whether it has to be written anew: too long, or its last line cut off."""
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LONGEST_BYTES))
                content = file.read(LONGEST_BYTES)
        except FileNotFoundError:
            return [], False
        except OSError as reason:
            self._complain(path, reason)
            return [], False
        if path.name == "anchors":
            self._bytes = size
        lines = content.decode("ascii", "replace").split("\n")
        if size > LONGEST_BYTES:
            del lines[0]  # begins before what was read
        is_whole = bool(lines) and lines[-1] == ""
        if is_whole:
            del lines[-1]
        return [read(line) for line in lines], size > LONGEST_BYTES or not is_whole

    def page(self, entries: Sequence[Entry], floor: Floor | None) -> Page:
        """What has to be written to remember these entries, which are in `dating` and `told` already, and the floor.

        After a save that failed it is everything, so a page that was not saved needs no second try.
        """
        floor_text = "" if floor is None else write(floor)
        text = "".join(map(write, entries))
        if not self._anew and self._bytes + len(text) <= LONGEST_BYTES:
            return Page(text, floor=floor_text)
        anchors = list(self.dating.anchors())[-KEPT_LINES:]
        boots = {anchor.boot_id for anchor in anchors}
        told = [Told(boot_id) for boot_id in self.told if boot_id in boots]
        text = "".join(map(write, anchors)) + "".join(map(write, told))
        return Page(text, anew=True, floor=floor_text)

    def save(self, page: Page) -> bool:
        """Make it durable. Blocks; False when the disk refuses, which is logged once."""
        if self._folder is None:
            return True
        with self._saving:
            try:
                self._write(self._folder, page)
            except OSError as reason:
                self._anew = True
                self._complain(self._folder, reason)
                return False
        self._complains = True
        return True

    def _write(self, folder: Path, page: Page) -> None:
        if page.anew:
            _replace(folder / "anchors", page.anchors)
            self._bytes, self._anew = len(page.anchors), False
        elif page.anchors:
            _append(folder / "anchors", page.anchors)
            self._bytes += len(page.anchors)
        if page.floor:
            _replace(folder / "floor", page.floor)

    def _complain(self, path: Path, reason: OSError) -> None:
        level = logging.WARNING if self._complains else logging.DEBUG
        log.log(level, "the clock cannot use %s (%s) and goes on from memory", path, reason)
        self._complains = False


def _append(path: Path, text: str) -> None:
    is_new = not path.exists()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _write_synced(descriptor, text)
    if is_new:
        _sync_folder(path.parent)


def _replace(path: Path, text: str) -> None:
    """Beside and renamed: whoever comes back after a power cut finds the old text or the new one."""
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _write_synced(descriptor, text)
    beside.replace(path)
    _sync_folder(path.parent)


def _write_synced(descriptor: int, text: str) -> None:
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
