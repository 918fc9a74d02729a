"""Devices as The Things Network's device repository describes them (TheThingsNetwork/lorawan-devices).

A vendor's folder holds `index.yaml` with the names of its devices, a `DEVICE.yaml` for each with firmware versions and,
by region, the name of a codec, and a `CODEC.yaml` for each of those: scripts for uplinks and downlinks, with examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.decoding.foreign import ForeignCodec, ForeignDevice, example, folder_name, read_text
from gateway.decoding.yaml_core import read_yaml
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PARTS = {"uplinkDecoder": "uplink", "downlinkEncoder": "downlink-encode", "downlinkDecoder": "downlink-decode"}
"""What a codec's description holds, and the type of its examples."""

_ORIGIN = "The Things Network's device repository"


def is_vendor(folder: Path) -> bool:
    """Whether a folder looks like a vendor's."""
    return (folder / "index.yaml").is_file() or any(folder.glob("*codec*.yaml"))


def devices(folder: Path) -> list[str]:
    """The names of a vendor's devices; of its codecs where no index is there."""
    if (folder / "index.yaml").is_file():
        listed = _mapping(folder / "index.yaml").get("endDevices")
        return [str(name) for name in listed] if isinstance(listed, list) else []
    return sorted(file.stem for file in folder.glob("*codec*.yaml"))


def read_device(file: Path) -> ForeignDevice:
    """The device, or the bare codec, that a YAML file describes. UsageError when it does not."""
    described = _mapping(file)
    if PARTS.keys() & described.keys():
        name = file.stem.removesuffix("-codec")
        return _device(file, name, name, {"": file})
    versions = described.get("firmwareVersions")
    if not isinstance(versions, list) or not versions:
        raise UsageError(f"{file} describes neither a device nor a codec of The Things Network's repository")
    codecs = {version: codec for version, codec in (_codec_of(file, row) for row in versions) if codec is not None}
    if not codecs:
        raise UsageError(f"{file} names no codec")
    if len(set(codecs.values())) == 1:
        codecs = {"": next(iter(codecs.values()))}
    return _device(file, file.stem, str(described.get("name") or file.stem), codecs)


def _codec_of(file: Path, row: Any) -> tuple[str, Path | None]:
    """A firmware version and the description of the codec it speaks, the same in every region."""
    if not isinstance(row, dict):
        raise UsageError(f"{file}: firmwareVersions is no list of versions")
    profiles = row.get("profiles")
    for profile in profiles.values() if isinstance(profiles, dict) else ():
        if isinstance(profile, dict) and isinstance(codec := profile.get("codec"), str):
            own = file.parent / f"{codec}.yaml"
            others = file.parent.parent / str(profile.get("vendorID")) / f"{codec}.yaml"
            return str(row.get("version", "")), own if own.is_file() or not others.is_file() else others
    return str(row.get("version", "")), None


def _device(file: Path, name: str, model: str, codecs: Mapping[str, Path]) -> ForeignDevice:
    vendor = file.parent.name
    firmware: dict[str, ForeignCodec] = {}
    examples: list[dict[str, Any]] = []
    skipped: list[str] = []
    for version, codec in codecs.items():
        described = _mapping(codec)
        scripts = {part: _script(codec, described, part) for part in PARTS}
        downlink = scripts["downlinkEncoder"] or scripts["downlinkDecoder"]
        firmware[version] = ForeignCodec(scripts["uplinkDecoder"], downlink)
        if codec == list(codecs.values())[-1]:  # the examples of older firmware would meet the newest script
            for found in _examples(codec, described):
                (examples if isinstance(found, dict) else skipped).append(found)  # type: ignore[arg-type]
    return ForeignDevice(
        vendor=folder_name(vendor),
        device=folder_name(name),
        vendor_name=_vendor_name(file.parent),
        model=model,
        origin=f"{_ORIGIN}, vendor/{vendor}/{file.name}",
        firmware=firmware,
        examples=examples,
        skipped=skipped,
    )


def _script(codec: Path, described: Mapping[str, Any], part: str) -> Path | None:
    named = described.get(part)
    if not isinstance(named, dict) or not isinstance(name := named.get("fileName"), str):
        return None
    script = codec.parent / name
    if script.suffix != ".js" or not script.resolve().is_relative_to(codec.parent.resolve()):
        raise UsageError(f"{codec}: {part}.fileName names {name}, which is no script of its folder")
    if not script.is_file():
        raise UsageError(f"{codec}: {part}.fileName names {name}, which is not there")
    return script


def _examples(codec: Path, described: Mapping[str, Any]) -> Iterator[dict[str, Any] | str]:
    source = f"{_ORIGIN}, vendor/{codec.parent.name}/{codec.name}"
    for part, kind in PARTS.items():
        named = described.get(part)
        listed = named.get("examples") if isinstance(named, dict) else None
        for item in listed if isinstance(listed, list) else ():
            given, wanted = (item.get(key) if isinstance(item, dict) else None for key in ("input", "output"))
            if isinstance(given, dict) and isinstance(wanted, dict):
                yield example(kind, item.get("description"), given, wanted, source)
            else:
                yield f"{codec.name}: an example of {part} has no input or output"


def _vendor_name(folder: Path) -> str:
    """The vendor's name as people write it: the repository's index has it."""
    index = folder.parent / "index.yaml"
    listed = _mapping(index).get("vendors") if index.is_file() else None
    for row in listed if isinstance(listed, list) else ():
        if isinstance(row, dict) and row.get("id") == folder.name and isinstance(row.get("name"), str):
            return str(row["name"])
    return folder.name


def _mapping(file: Path) -> dict[str, Any]:
    value = read_yaml(read_text(file), str(file))
    if not isinstance(value, dict):
        raise UsageError(f"{file} is no description: it holds no names")
    return value
