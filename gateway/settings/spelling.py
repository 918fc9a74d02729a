"""Keys and types nobody knows, and what was probably meant.

A misspelt key is one mistake, and should be one line: `ulr` must not also make `url` missing. So before the values
are looked at, the tables are read as they were meant; each correction is a problem, and remembers what was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.settings.models import KINDS, Settings, Table
from gateway.settings.toml_file import dotted, nearest, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.settings.toml_file import KeyPath

_SECRETS = {
    "password": "password_file", "passwd": "password_file", "pass": "password_file", "passphrase": "password_file",
    "token": "token_file", "api_key": "token_file", "apikey": "token_file",
    "secret": "client_secret_file", "client_secret": "client_secret_file",
    "key": "key_file", "private_key": "key_file", "cert": "cert_file", "ca": "ca_file",
    "hmac": "hmac_file", "hmac_key": "hmac_file", "hmac_secret": "hmac_file", "credentials": "credentials_file",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Of a sink or network server: it stands in file names, MQTT client ids and URLs."""

_STAND_IN = (
    "credential:stand-in"  # for a secret that was written as a value: its key is there, it only has another name
)


@dataclass(slots=True)
class Reading:
    """The tables as they were meant, what was wrong with their spelling, and how each corrected key was written."""

    table: dict[str, Any] = field(default_factory=dict)
    found: list[tuple[KeyPath, str]] = field(default_factory=list)
    written: dict[KeyPath, str] = field(default_factory=dict)

    def as_written(self, path: KeyPath) -> KeyPath:
        """The path under which a (corrected) key stands in the file."""
        return tuple(self.written.get(path[: depth + 1], part) for depth, part in enumerate(path))


def read_as_meant(raw: Mapping[str, Any]) -> Reading:
    """Correct keys and types where one can guess, and drop what nobody knows."""
    reading = Reading()
    for key, value in _keys(reading, raw, Settings, ()).items():
        match key, value:
            case "radio", dict():
                # Without a type it is the default one; with a wrong one, its other keys cannot be judged.
                typed = _typed(reading, {"type": "virtual", **value}, key, (key,))
                reading.table[key] = typed or {"type": "virtual"}
            case (("lns" | "sink"), dict()):
                reading.table[key] = _named(reading, value, key)
            case _, dict():
                reading.table[key] = _keys(reading, value, table_of(key), (key,))
            case _:
                reading.table[key] = value
    return reading


def _named(reading: Reading, tables: dict[str, Any], kind: str) -> dict[str, Any]:
    meant = {}
    for name, table in tables.items():
        if not NAME.fullmatch(name):
            reading.found.append(((kind, name), "is no name: letters, digits, - and _, at most 64, not - or _ first"))
        typed = _typed(reading, table, kind, (kind, name)) if isinstance(table, dict) else table
        if typed is not None:
            meant[name] = typed
    return meant


def _typed(reading: Reading, table: dict[str, Any], kind: str, path: KeyPath) -> dict[str, Any] | None:
    """The table read as one of its type, or of the nearest type; None when there is none."""
    known = KINDS[kind]
    type_ = table.get("type")
    if "type" not in table:
        reading.found.append(((*path, "type"), f"is missing; one of {', '.join(known)}"))
    elif not isinstance(type_, str) or type_ not in known:
        meant = nearest(type_, known) if isinstance(type_, str) else None
        offer = f'did you mean "{meant}"?' if meant else f"one of {', '.join(known)}"
        reading.found.append(((*path, "type"), f"is {shown(type_)}, which is no type of {kind}; {offer}"))
        type_ = meant
    if not isinstance(type_, str):
        return None
    return _keys(reading, {**table, "type": type_}, known[type_], path)


def _keys(reading: Reading, table: Mapping[str, Any], model: type[Table], path: KeyPath) -> dict[str, Any]:
    """The table with every key one that its model knows."""
    known = model.model_fields
    meant = {key: value for key, value in table.items() if key in known}
    for key in (key for key in table if key not in known):
        if (wanted := _SECRETS.get(key.lower())) in known:
            text = (
                f'would hold a secret; put it into a file only the gateway may read and write {wanted} = "/path/to/it"'
            )
            if wanted not in meant:
                meant[wanted] = _STAND_IN
                reading.written[*path, wanted] = key
        elif others := _other_types(key, model, path):
            text = f"belongs to type {' or '.join(others)}; this is {shown(table['type'])}"
        elif near := nearest(key, known):
            text = f"is unknown; did you mean {dotted((*path, near))}?"
            if near not in meant:
                meant[near] = table[key]
                reading.written[*path, near] = key
        else:
            text = f"is unknown; known here: {', '.join(known)}"
        reading.found.append((reading.as_written((*path, key)), text))
    return meant


def _other_types(key: str, model: type[Table], path: KeyPath) -> list[str]:
    """Types of the same kind of table that have this key."""
    kinds = KINDS.get(str(path[0]), {}) if path else {}
    return [name for name, other in kinds.items() if other is not model and key in other.model_fields]


def table_of(key: str) -> type[Table]:
    """The model of a table of which there is one type: `gateway`, `store`, ..."""
    model = Settings.model_fields[key].annotation
    assert isinstance(model, type)
    assert issubclass(model, Table)
    return model
