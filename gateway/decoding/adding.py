"""`codec add`: a device of another catalogue becomes an entry of a site's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.decoding import chirpstack_devices, ttn_devices
from gateway.decoding.catalogue import LANGUAGES, read_entry
from gateway.decoding.foreign import folder_name, write
from gateway.decoding.workbench import examples_of
from gateway.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.decoding.foreign import ForeignDevice

Json = dict[str, Any]


def add(source: Path, into: Path, *, device: str | None = None, name: str | None = None, kind: str = "sensor") -> Json:
    """Make an entry in folder `into` of a device of The Things Network's or ChirpStack's repository.

    `source` is the YAML or TOML of the device, or its vendor's folder, where `device` says which. `name` is
    VENDOR/DEVICE, by default as the repository calls them. What was made: `name, folder, scripts, firmware, examples,
    skipped`. UsageError when there is no such device or it is there already.
    """
    found = _foreign(source, device)
    if name is not None:
        vendor, _, own = name.partition("/")
        if not (vendor and own) or folder_name(vendor) != vendor.lower() or folder_name(own) != own.lower():
            raise UsageError(f"{name} is no name of a codec", hint="write VENDOR/DEVICE, in letters, digits and -")
        found = replace(found, vendor=vendor, device=own)
    folder = write(found, into, kind)
    entry, problems = read_entry(folder)
    if entry is None:
        raise SettingsError(problems)
    examples, mistakes = examples_of(entry)
    return {
        "name": entry.name,
        "folder": str(folder),
        "scripts": sorted(path.name for path in folder.iterdir() if path.suffix in LANGUAGES),
        "firmware": [row.version for row in entry.firmware],
        "examples": len(examples),
        "skipped": [*found.skipped, *(str(mistake) for mistake in mistakes)],
    }


def _foreign(source: Path, device: str | None) -> ForeignDevice:
    if source.is_dir():
        if ttn_devices.is_vendor(source):
            return ttn_devices.read_device(source / f"{_chosen(source, device, ttn_devices.devices(source))}.yaml")
        if chirpstack_devices.is_vendor(source):
            chosen = _chosen(source, device, chirpstack_devices.devices(source))
            return chirpstack_devices.read_device(source / "devices" / f"{chosen}.toml")
        raise UsageError(
            f"{source} is no vendor's folder of The Things Network's or ChirpStack's repository",
            hint="give the folder with index.yaml, or the one with devices/ and codecs/, or a device's own file",
        )
    if source.suffix in {".yaml", ".yml"}:
        return ttn_devices.read_device(source)
    if source.suffix == ".toml":
        return chirpstack_devices.read_device(source)
    raise UsageError(
        f"{source} is neither a folder nor a .yaml or .toml", hint="codec add --help says what can be added"
    )


def _chosen(folder: Path, device: str | None, names: Sequence[str]) -> str:
    if device is None and len(names) == 1:
        return names[0]
    if device not in names:
        told = f"{folder} has no device {device}" if device else f"{folder} has {len(names)} devices"
        raise UsageError(told, hint=f"--device is one of {', '.join(names)}")
    return str(device)
