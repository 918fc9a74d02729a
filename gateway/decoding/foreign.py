"""Devices of other catalogues made entries of ours: the maker's script untouched, its published examples as tests.

`ttn_devices.py` and `chirpstack_devices.py` read; what they found comes together in a `ForeignDevice`, and `write`
makes a folder of our catalogue of it. Nothing is guessed: which quantities a script's values are is left to a person,
for whom the names that it uses are written into `device.toml` as comments.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.decoding.quantities import QUANTITIES
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MOST_BYTES = 16 << 20
"""Of a description or example file; the largest published one has 2 MB."""

MOST_PATHS = 60  # names of values offered for a mapping


@dataclass(frozen=True, slots=True)
class ForeignCodec:
    """A script for what a device sends and one for what it is sent; often the same."""

    uplink: Path | None
    downlink: Path | None = None

    @property
    def main(self) -> Path | None:
        """The script that reads uplinks, where there is one."""
        return self.uplink or self.downlink


@dataclass(frozen=True, slots=True)
class ForeignDevice:
    """What another catalogue knows of a device."""

    vendor: str  # folder names
    device: str
    vendor_name: str
    model: str
    origin: str  # where from, for a person
    firmware: Mapping[str, ForeignCodec]  # by version; "" alone where the catalogue tells none apart
    examples: Sequence[Mapping[str, Any]]  # as examples.json has them
    skipped: Sequence[str] = field(default_factory=tuple)  # examples that could not be taken, in words


def folder_name(text: str) -> str:
    """A name as a folder of the catalogue may have it."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._") or "device"


def read_text(file: Path) -> str:
    """A file of another catalogue. UsageError when it cannot be read."""
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UsageError(f"{file} is larger than {MOST_BYTES >> 20} MiB")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 at byte {error.start}") from None


def example(
    kind: str, name: object, given: Mapping[str, Any], wanted: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """One example as `examples.json` has it."""
    made: dict[str, Any] = {"name": str(name or "example")}
    if kind != "uplink":
        made["type"] = kind
    return {**made, "input": dict(given), "output": _output(wanted), "source": source}


def _output(wanted: Mapping[str, Any]) -> dict[str, Any]:
    known = ("data", "bytes", "fPort", "warnings", "errors")
    return {key: wanted[key] for key in known if wanted.get(key) not in (None, [])}


def write(found: ForeignDevice, into: Path, kind: str) -> Path:
    """Make `into/VENDOR/DEVICE` of it; the folder. UsageError when it is there already or cannot be written."""
    folder = into / found.vendor / found.device
    try:
        folder.mkdir(parents=True)
        names = _copy_scripts(found, folder)
        (folder / "device.toml").write_text(_description(found, names, kind), encoding="utf-8")
        if found.examples:
            text = json.dumps(found.examples, ensure_ascii=False, indent=2)
            (folder / "examples.json").write_text(text + "\n", encoding="utf-8")
        vendor = folder.parent / "vendor.toml"
        if not vendor.exists():
            vendor.write_text(f"name = {_quoted(found.vendor_name)}\n", encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{folder} is there already", hint="remove it, or give another name with --name") from None
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}") from None
    return folder


def _scripts(found: ForeignDevice) -> Iterator[Path]:
    for codec in found.firmware.values():
        yield from (script for script in (codec.uplink, codec.downlink) if script is not None)


def _copy_scripts(found: ForeignDevice, folder: Path) -> dict[Path, str]:
    """Copy each script once, byte for byte; the name each has now."""
    names: dict[Path, str] = {}
    for script in dict.fromkeys(_scripts(found)):
        name = script.name
        while name in names.values():
            name = f"_{name}"
        shutil.copyfile(script, folder / name)
        names[script] = name
    return names


def _description(found: ForeignDevice, names: Mapping[Path, str], kind: str) -> str:
    usual = list(found.firmware.values())[-1]  # the newest is written last
    main, downlink = usual.main, usual.downlink
    if main is None:
        raise UsageError(f"{found.vendor}/{found.device} has no script")
    lines = [
        f"# From {found.origin}. The script is its maker's, unchanged.",
        f"model = {_quoted(found.model)}",
        f"kind = {_quoted(kind)}",
        "version = 1",
        f"codec = {_quoted(names[main])}",
    ]
    if downlink is not None and downlink != main:
        lines.append(f"downlink_codec = {_quoted(names[downlink])}")
    for version, codec in found.firmware.items():
        if version:
            lines += ["", "[[firmware]]", f"version = {_quoted(version)}"]
            if codec.main is not None and codec.main != main:
                lines.append(f"codec = {_quoted(names[codec.main])}")
    return "\n".join([*lines, *_suggestion(found.examples), ""])


def _suggestion(examples: Iterable[Mapping[str, Any]]) -> list[str]:
    """The values that the examples have, for a person to say what they are."""
    paths: dict[str, None] = {}
    for item in examples:
        if item.get("type", "uplink") == "uplink":
            paths |= dict.fromkeys(_value_paths(item["output"].get("data"), ""))
    if not paths:
        return []
    lines = [
        "",
        "# Say which of its values are quantities, and in which unit the script gives them:",
        "# [measurements]",
    ]
    for path in list(paths)[:MOST_PATHS]:
        leaf = path.rpartition(".")[2].removesuffix("[]")
        wanted = leaf if leaf in QUANTITIES else ""
        unit = f', unit = "{QUANTITIES[leaf].unit}"' if wanted and QUANTITIES[leaf].unit else ""
        lines.append(f'# {_quoted(path)} = {{ quantity = "{wanted}"{unit} }}')
    return lines


def _value_paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if re.fullmatch(r"[\w -]+", key):
                yield from _value_paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value[:20]:
            yield from _value_paths(item, f"{path}[]")
    elif isinstance(value, (bool, int, float)) and path:
        yield path


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
