"""Which program each file belongs to, and all of them together as one gateway.

A gateway often runs two programs: a packet forwarder that drives the concentrator and sends to a program on the same
machine that knows the network server. This gateway takes the place of the second and, where it can, of the first. So
the files are read from the server's end: what listened for packet forwarders is known before they are asked where they
send to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import Problem, SettingsError, UsageError
from gateway.settings.importing.chirpstack import read_bridge, read_forwarder
from gateway.settings.importing.concentratord import read_concentratord
from gateway.settings.importing.draft import Draft, Imported, Wishes
from gateway.settings.importing.foreign import (
    MAX_BYTES,
    MAX_KEYS,
    ForeignFile,
    Key,
    Sheet,
    json_keys,
    json_text,
    toml_keys,
)
from gateway.settings.importing.hardware import Found, Hardware, Listener, settle_channels, settle_radio
from gateway.settings.importing.semtech import OBJECTS, layered, read_semtech
from gateway.settings.importing.station import is_home_file, read_home, read_slave, read_station

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

KNOWN_NAMES = re.compile(
    r"global_conf\.json|local_conf\.json|station\.conf|slave-\d+\.conf|(?:tc|cups)(?:-boot|-bak|-temp)?\.(?:uri|trust|crt|key)"
    r"|chirpstack-mqtt-forwarder\.toml|chirpstack-gateway-bridge\.toml|concentratord\.toml|channels\.toml|region\.toml"
    r"|reset_lgw\.sh"
)
"""What is looked at where a folder is given."""

WHAT_IS_READ = (
    "global_conf.json and local_conf.json of a packet forwarder, station.conf and tc.*, cups.* of Basics Station, "
    "chirpstack-mqtt-forwarder.toml, chirpstack-gateway-bridge.toml, concentratord.toml, reset_lgw.sh"
)

_PIN = re.compile(r"^[ \t]*(?:export[ \t]+)?(SX1302_RESET_PIN|SX1302_POWER_EN_PIN)=[\"']?(\d{1,3})[\"']?\s*(?:#.*)?$")
_PIN_NAMES = {"SX1302_RESET_PIN": "reset", "SX1302_POWER_EN_PIN": "power"}


def import_files(files: Iterable[ForeignFile], wishes: Wishes) -> Imported:
    """The settings of a gateway that ran on these files, and what became of each of their keys.

    SettingsError has every file that is not what it should be, with its line; UsageError says when there is nothing.
    """
    draft, found, kinds = Draft(wishes), Found(), _by_kind(files)
    if wishes.region is not None:
        draft.values["gateway", "region"] = wishes.region
    for kind, read in _PROGRAMS:
        for sheet in kinds.sheets(kind, draft):
            _keep(read(sheet, draft), found)
    home = read_home(kinds.home, draft)
    for sheet in kinds.sheets("station", draft):
        _keep(read_station(sheet, draft), found)
    for sheet in kinds.sheets("slave", draft):
        read_slave(sheet, draft)
    listened = frozenset(int(one.address.rpartition(":")[2]) for one in found.listeners)
    for sheet in kinds.sheets("semtech", draft):
        _keep(read_semtech(sheet, draft, listened), found)
    for key in kinds.pins:
        found.reset_pins[_PIN_NAMES[str(key.path[0])]] = key
    for one in found.hardware:
        settle_channels(draft, one)
    settle_radio(draft, found)
    if "station" in kinds.files:
        _follow(draft)
    _rest(draft, [*kinds.read, *home, *kinds.pins])
    _advise(draft)
    return draft.finish()


_PROGRAMS: tuple[tuple[str, Callable[[Sheet, Draft], Listener | Hardware | None]], ...] = (
    ("concentratord", read_concentratord),
    ("forwarder", read_forwarder),
    ("bridge", read_bridge),
)


def _keep(one: Listener | Hardware | None, found: Found) -> None:
    match one:
        case Hardware():
            found.hardware.append(one)
        case Listener():
            found.listeners.append(one)


def _rest(draft: Draft, keys: Sequence[Key]) -> None:
    """What nobody asked for is said to be unknown: nothing is lost in silence."""
    for key in keys:
        if key.value in ("", None) or (isinstance(key.value, list | dict) and not key.value):
            draft.take(key)
        draft.leave(key, "is not known to this importer")


def _follow(draft: Draft) -> None:
    """A station hears what its server tells it; where we drive the chip ourselves, that goes on."""
    servers = [
        str(path[1])
        for path, value in draft.values.items()
        if path[0] == "lns" and path[-1] == "type" and value == "basics-station"
    ]
    if len(servers) == 1 and draft.get("radio", "type") in {"libloragw", "sx1302"}:
        draft.values["radio", "channels"] = servers[0]
        draft.notes.append(f"radio.channels: the radio follows lns.{servers[0]}, as Basics Station did")


def _advise(draft: Draft) -> None:
    if draft.get("gateway", "region") is None:
        draft.values["gateway", "region"] = "EU868"
        draft.notes.append("nothing names the region: EU868 is written; --region NAME says otherwise")
    if not any(path[0] == "lns" for path in draft.values):
        draft.notes.append("there is no network server in these files: readings are kept here")


# --- which program a file belongs to ---------------------------------------------------------------------------------


class _Kinds:
    """Every file by its program."""

    def __init__(self) -> None:
        self.files: dict[str, list[list[Key]]] = {}
        self.home: dict[str, ForeignFile] = {}
        self.pins: list[Key] = []
        self.read: list[Key] = []

    def sheets(self, kind: str, draft: Draft) -> list[Sheet]:
        """The files of a program as it reads them: together, apart from slaves, of which each is alone."""
        files = self.files.get(kind, [])
        if kind == "slave":
            return [Sheet(keys) for keys in files]
        return [layered(files, draft)] if files else []


def _by_kind(files: Iterable[ForeignFile]) -> _Kinds:
    kinds, any_file = _Kinds(), False
    problems: list[Problem] = []
    for file in files:
        any_file = True
        try:
            _sort_in(kinds, file)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)
    if not any_file:
        raise UsageError("no configuration file is there", hint=f"what is read: {WHAT_IS_READ}")
    return kinds


def _sort_in(kinds: _Kinds, file: ForeignFile) -> None:
    if len(file.content) > MAX_BYTES:
        raise _no_use(file, f"has more than {MAX_BYTES >> 20} MiB: this is something else")
    if is_home_file(file.base):
        if file.base in kinds.home:
            raise _no_use(file, f"is given twice, as {kinds.home[file.base].name} too")
        kinds.home[file.base] = file
        return
    if not file.content.strip():
        raise _no_use(file, "is empty")
    if file.base.endswith(".toml"):
        keys, kind = toml_keys(file), _toml_kind
    elif file.base.endswith((".json", ".conf")) or _looks_like_json(file):
        keys, kind = json_keys(file), _json_kind
    elif pins := _pins(file):
        kinds.pins += pins
        return
    else:
        keys, kind = toml_keys(file), _toml_kind
    if len(keys) > MAX_KEYS:
        raise _no_use(file, f"has more than {MAX_KEYS} keys: this is something else")
    if not keys and KNOWN_NAMES.fullmatch(file.base):
        return  # comments alone, as the region.toml of regions that need none
    name = kind({str(key.path[0]) if key.path else "" for key in keys}, file)
    kinds.files.setdefault(name, []).append(keys)
    kinds.read += keys


def _looks_like_json(file: ForeignFile) -> bool:
    return json_text(file).lstrip().startswith(("{", "/*", "//"))


def _json_kind(tops: set[str], file: ForeignFile) -> str:
    if re.fullmatch(r"slave-\d+\.conf", file.base):
        return "slave"
    if "station_conf" in tops or file.base == "station.conf":
        return "station"
    if tops & OBJECTS:
        return "semtech"
    raise _no_use(
        file, "is JSON, but has neither gateway_conf, SX130x_conf (packet forwarder) nor station_conf (Station)"
    )


def _toml_kind(tops: set[str], file: ForeignFile) -> str:
    if "integration" in tops:
        return "bridge"
    if "mqtt" in tops:
        return "forwarder"
    if tops & {"concentratord", "gateway"} and not tops & {"lns", "sink", "radio", "store"}:
        return "concentratord"
    raise _no_use(file, "is TOML, but of none of the programs known here ([mqtt], [integration] or [concentratord])")


def _pins(file: ForeignFile) -> list[Key]:
    lines = json_text(file).splitlines()
    return [
        Key(file.name, number, (match[1],), match[2])
        for number, line in enumerate(lines, 1)
        if (match := _PIN.match(line))
    ]


def _no_use(file: ForeignFile, why: str) -> SettingsError:
    return SettingsError([Problem(file.name, 1, "file", why)], hint=f"what is read: {WHAT_IS_READ}")
