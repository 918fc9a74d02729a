"""Devices as ChirpStack's repository of device profiles describes them (chirpstack/chirpstack-device-profiles).

A vendor's folder holds `vendor.toml`, `devices/DEVICE.toml` with firmware versions and the codec each speaks, and
`codecs/`, where `test_decode_CODEC.json` and `test_encode_CODEC.json` lie beside `CODEC.js`.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

from gateway.decoding.foreign import ForeignCodec, ForeignDevice, example, folder_name, read_text
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ORIGIN = "ChirpStack's device profiles"


def is_vendor(folder: Path) -> bool:
    """Whether a folder looks like a vendor's."""
    return (folder / "devices").is_dir() and (folder / "codecs").is_dir()


def devices(folder: Path) -> list[str]:
    """The names of a vendor's devices."""
    return sorted(file.stem for file in (folder / "devices").glob("*.toml"))


def read_device(file: Path) -> ForeignDevice:
    """The device that a file in `devices/` describes. UsageError when it does not."""
    device = _toml(file).get("device")
    if not isinstance(device, dict):
        raise UsageError(f"{file} describes no device: there is no table [device]")
    folder = file.parent.parent
    codecs: dict[str, Path] = {}
    rows = device.get("firmware")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(name := row.get("codec"), str):
            codecs[str(row.get("version", ""))] = _script(folder, file, name)
    if not codecs:
        raise UsageError(f"{file} names no codec")
    newest_first = list(codecs.items())
    usual = newest_first[0][1]
    same = len(set(codecs.values())) == 1
    firmware = {"": ForeignCodec(usual)} if same else {v: ForeignCodec(script) for v, script in reversed(newest_first)}
    examples: list[dict[str, Any]] = []
    skipped: list[str] = []
    for found in _examples(usual):
        (examples if isinstance(found, dict) else skipped).append(found)  # type: ignore[arg-type]
    return ForeignDevice(
        vendor=folder_name(folder.name),
        device=folder_name(file.stem),
        vendor_name=_vendor_name(folder),
        model=str(device.get("name") or file.stem),
        origin=f"{_ORIGIN}, vendors/{folder.name}/devices/{file.name}",
        firmware=firmware,
        examples=examples,
        skipped=skipped,
    )


def _script(folder: Path, file: Path, name: str) -> Path:
    script = folder / "codecs" / name
    if "/" in name or script.suffix != ".js" or not script.is_file():
        raise UsageError(f"{file}: firmware names the codec {name}, which is no script in {folder / 'codecs'}")
    return script


def _examples(script: Path) -> Iterator[dict[str, Any] | str]:
    for verb, kind in (("decode", "uplink"), ("encode", "downlink-encode")):
        file = script.with_name(f"test_{verb}_{script.stem}.json")
        if not file.is_file():
            continue
        source = f"{_ORIGIN}, vendors/{script.parent.parent.name}/codecs/{file.name}"
        try:
            listed = read_loose_json(read_text(file))
        except ValueError as error:
            yield f"{file.name} cannot be read: {error}"
            continue
        for item in listed if isinstance(listed, list) else ():
            given, wanted = (item.get(key) if isinstance(item, dict) else None for key in ("input", "expected"))
            if isinstance(given, dict) and isinstance(wanted, dict):
                yield example(kind, item.get("name") or item.get("description"), given, wanted, source)
            else:
                yield f"{file.name}: a test has no input or expected"


_TOKEN = re.compile(
    r"""
    (?P<text>"(?:[^"\\\n]|\\.)*") | '(?P<single>(?:[^'"\\\n])*)'
    | (?P<comment>//[^\n]* | /\*.*?\*/) | (?P<hex>-?0[xX][0-9a-fA-F]+\b)
    | (?P<key>[A-Za-z_$][\w$]*)(?=\s*:)
    | (?P<comma>,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[\]}]))
    """,
    re.VERBOSE | re.DOTALL,
)


def read_loose_json(text: str) -> Any:
    """JSON as these tests have it: pasted into JavaScript, so with comments, bare keys and the like."""

    def strict(token: re.Match[str]) -> str:
        if token["text"]:
            return token[0]
        if (word := token["key"] or token["single"]) is not None:
            return f'"{word}"'
        return str(int(token["hex"], 16)) if token["hex"] else " "

    try:
        return json.loads(_TOKEN.sub(strict, text))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _vendor_name(folder: Path) -> str:
    file = folder / "vendor.toml"
    vendor = _toml(file).get("vendor") if file.is_file() else None
    return str(vendor.get("name") or folder.name) if isinstance(vendor, dict) else folder.name


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
