"""The catalogue of devices: which codec reads what they send.

Data, never imported. A folder holds `VENDOR/DEVICE/` with `device.toml`, scripts and `examples.json` (see
`codecs/README.md`); a later folder wins over an earlier one, so a site's own codec stands before the shipped one. A
mistake costs its own entry and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.decoding.description import Description, Firmware, Variable, read_device, read_vendor
from gateway.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.decoding.mapping import Rule

LARGEST_FILE_BYTES = 4 << 20
"""Vendors' largest published script has 300 kB; nothing of this size is a codec."""

ENTRY_POINTS = "lorawan_gateway.codecs"
"""The group of entry points by which installed distributions bring codecs."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Language(StrEnum):
    """What a codec is written in."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"


LANGUAGES: Mapping[str, Language] = MappingProxyType({".py": Language.PYTHON, ".js": Language.JAVASCRIPT})
"""Which files of a device's folder are codecs."""


@dataclass(frozen=True, slots=True)
class Script:
    """A codec's file. Equal scripts have not been touched in between."""

    path: Path
    language: Language
    modified_ns: int
    size: int

    @classmethod
    def at(cls, path: Path) -> Script:
        """The codec in that file; OSError when it is not there, ValueError when it is none."""
        if path.suffix not in LANGUAGES:
            raise ValueError(f"{path.name} is no codec: its name ends neither in .py nor in .js")
        facts = path.stat()
        if facts.st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"{path.name} has {facts.st_size} bytes, at most {LARGEST_FILE_BYTES} are taken")
        return cls(path, LANGUAGES[path.suffix], facts.st_mtime_ns, facts.st_size)

    def read(self) -> str:
        """Its text, without a byte order mark. OSError or ValueError when it cannot be read."""
        return self.path.read_text(encoding="utf-8-sig")


@dataclass(frozen=True, slots=True)
class Entry:
    """A device of the catalogue."""

    name: str  # VENDOR/DEVICE
    vendor: str  # as people write it
    model: str
    kind: str
    version: int
    folder: Path
    script: Script  # what a device speaks whose firmware nobody named
    firmware: tuple[Firmware, ...] = ()
    by_firmware: Mapping[str, Script] = field(default_factory=dict)
    variables: tuple[Variable, ...] = ()
    measurements: tuple[Rule, ...] = ()  # what a foreign codec's data mean
    downlink_script: Script | None = None  # where uplinks and downlinks have scripts of their own

    @property
    def id(self) -> str:
        """What a reading carries: `VENDOR/DEVICE@VERSION`."""
        return f"{self.name}@{self.version}"

    @property
    def defaults(self) -> dict[str, str]:
        """The variables of a device that sets none."""
        return {variable.name: variable.default for variable in self.variables}

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages of its scripts, each once."""
        others = [*self.by_firmware.values(), *([self.downlink_script] if self.downlink_script else [])]
        return tuple(sorted({self.script.language, *(script.language for script in others)}))

    @property
    def examples_file(self) -> Path:
        """Where its examples are, if it has any."""
        return self.folder / "examples.json"

    def speaks(self, firmware: str | None) -> Script | None:
        """The script for a firmware version, for an unnamed one the device's usual; None for a version not listed."""
        return self.by_firmware.get(firmware) if firmware else self.script


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every device there is a codec for, by name, and what was wrong with the others."""

    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...] = ()

    @classmethod
    def load(cls, folders: Sequence[Path]) -> Catalogue:
        """Read the folders, the last one first in right. A folder that is not there holds nothing."""
        entries: dict[str, Entry] = {}
        problems: list[Problem] = []
        for folder in folders:
            for device in _devices(folder, problems):
                entry = _entry(device, problems)
                if entry is not None:
                    entries[entry.name] = entry
        return cls(MappingProxyType(dict(sorted(entries.items()))), tuple(problems))

    @classmethod
    def of_site(cls, folders: Sequence[Path]) -> Catalogue:
        """The shipped codecs, before them those of installed distributions, and before all the site's own folders.

        Of the site's folders the first that has a codec wins.
        """
        packaged, problems = packaged_folders()
        catalogue = cls.load([shipped_folder(), *packaged, *reversed(folders)])
        return cls(catalogue.entries, (*problems, *catalogue.problems))

    def get(self, name: str) -> Entry | None:
        """The entry VENDOR/DEVICE."""
        return self.entries.get(name)


def shipped_folder() -> Path:
    """Where the codecs that come with the gateway lie: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "codecs"
    return installed if installed.is_dir() else package.parent / "codecs"


def packaged_folders() -> tuple[list[Path], list[Problem]]:
    """The folders of installed distributions that bring codecs, by the names of their entry points.

    The entry point names a package, whose folder is one of codecs. It is looked for and never imported.
    """
    folders: list[Path] = []
    problems: list[Problem] = []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            found = None if "." in point.value else find_spec(point.value)  # the parent of a.b would be imported
        except ValueError:
            found = None
        inside = [] if found is None else list(found.submodule_search_locations or ())
        if inside:
            folders.append(Path(inside[0]))
        else:
            distribution = point.dist.name if point.dist is not None else ENTRY_POINTS
            problems.append(Problem(distribution, 1, point.name, f"{point.value} is no package at the top"))
    return folders, problems


def read_entry(folder: Path) -> tuple[Entry | None, list[Problem]]:
    """The entry of one device's folder, or None and why not."""
    problems: list[Problem] = []
    return _entry(folder, problems), problems


def _devices(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    try:
        for vendor in _subfolders(folder):
            for device in _subfolders(vendor):
                if (device / "device.toml").is_file():
                    yield device
    except OSError as error:
        problems.append(Problem(str(error.filename or folder), 1, "-", f"cannot be read: {error.strerror}"))


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _entry(folder: Path, problems: list[Problem]) -> Entry | None:
    file = folder / "device.toml"
    text = _text(file, problems)
    if text is None:
        return None
    description, mistakes = read_device(text, str(file))
    problems += mistakes
    if description is None:
        return None
    scripts = _scripts(folder, problems)
    try:
        script = _usual(description, scripts)
        downlink = _named(description.downlink_codec, scripts) if description.downlink_codec else None
        by_firmware = {row.version: _named(row.codec, scripts) if row.codec else script for row in description.firmware}
    except ValueError as error:
        problems.append(Problem(str(file), 1, "codec", str(error)))
        return None
    return Entry(
        name=f"{folder.parent.name}/{folder.name}",
        vendor=_vendor(folder.parent, problems),
        model=description.model,
        kind=description.kind,
        version=description.version,
        folder=folder,
        script=script,
        firmware=description.firmware,
        by_firmware=by_firmware,
        variables=description.variables,
        measurements=description.measurements,
        downlink_script=downlink,
    )


def _scripts(folder: Path, problems: list[Problem]) -> dict[str, Script]:
    scripts = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in LANGUAGES and path.is_file():
            try:
                scripts[path.name] = Script.at(path)
            except (OSError, ValueError) as error:
                problems.append(Problem(str(path), 1, "-", str(error)))
    return scripts


def _usual(description: Description, scripts: Mapping[str, Script]) -> Script:
    if description.codec:
        return _named(description.codec, scripts)
    if len(scripts) == 1:
        return next(iter(scripts.values()))
    if not scripts:
        raise ValueError("names none, and the folder holds no .py or .js")
    raise ValueError(f"is missing: the folder holds {', '.join(scripts)}")


def _named(name: str, scripts: Mapping[str, Script]) -> Script:
    if name not in scripts:
        raise ValueError(f"names {name}, the folder holds {', '.join(scripts) or 'no .py or .js'}")
    return scripts[name]


def _vendor(folder: Path, problems: list[Problem]) -> str:
    file = folder / "vendor.toml"
    if not file.is_file():
        return folder.name
    text = _text(file, problems)
    if text is None:
        return folder.name
    name, mistakes = read_vendor(text, str(file))
    problems += [mistake for mistake in mistakes if mistake not in problems]
    return name or folder.name


def _text(file: Path, problems: list[Problem]) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is not UTF-8 at byte {error.start}"
        problems.append(Problem(str(file), 1, "-", f"cannot be read: {reason}"))
        return None
