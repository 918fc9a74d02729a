"""`device …`: who is known here, with which keys and which codec. Works with and without a running daemon."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.console import subject_commands
from gateway.console.arguments import add_command, add_group, assignment, dev_eui
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import clean, emit, say, table
from gateway.errors import SettingsError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.console.arguments import Commands, Parser
    from gateway.console.device_file import CodecNames, Described, Mistake
    from gateway.errors import Problem
    from gateway.model import DevEui, Device, Session
    from gateway.settings import Settings
    from gateway.store.devices import DeviceRegistry, DeviceRow, NewDevice

JOINS_NOT_ANSWERED = "note: network.answer = false: this gateway answers no join, another network has to"

_CSV_HELP = """\
The first line names the columns, like the options of "device add" with underscores:
  dev_eui, name, codec, region_profile, mac_version, class, skip_f_cnt_check,
  join_eui, app_key, nwk_key,
  dev_addr, nwk_s_key, app_s_key, f_nwk_s_int_key, s_nwk_s_int_key, nwk_s_enc_key
A variable or tag has a column of its own, var.NAME or tag.NAME. Or a column var or
tag has NAME=VALUE pairs, separated by ";", or by blanks where no value has one.
Empty cells count as not given. Separators are commas, semicolons or tabs; text is
UTF-8. All devices are entered or none: every problem is shown as FILE:LINE key problem.
"""
_EXPORT_HELP = """\
With --dev-eui everything that is kept of one device is written as one JSON document: what was
entered, sessions, joins, downlinks, every reading with its raw frame, frames that have its name or
one of its addresses, and what was sent where. FILE may be a folder (it ends with "/"): then a
summary for people is written beside it. --with-keys adds the keys here, too.
"""
_KEYS_HELP = """\
A device that joins (OTAA) has --join-eui and --app-key, from LoRaWAN 1.1 on also --nwk-key.
A device with a session (ABP) has --dev-addr, --nwk-s-key and --app-s-key; from LoRaWAN 1.1 on
--f-nwk-s-int-key, --s-nwk-s-int-key and --nwk-s-enc-key take the place of --nwk-s-key.
What stands on a command line can be seen in the process list. "--keys -" reads keys from stdin:
  app_key = "00112233445566778899aabbccddeeff"
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "device", "the devices known here")
    adding = add_command(group, "add", add, "enter a device", more=_KEYS_HELP, json=True)
    _fact_options(adding, required=True)
    _key_options(adding)
    showing = add_command(group, "show", show, "print what is known of a device, without its keys", json=True)
    _which(showing)
    add_command(group, "list", list_, "print every device", json=True)
    setting = add_command(
        group, "set", set_, "change what is known of a device; NAME= removes a variable or tag", json=True
    )
    _which(setting)
    _fact_options(setting, required=False)
    removing = add_command(
        group, "remove", remove, "take a device out, with its keys and its session; its readings stay", json=True
    )
    _which(removing)
    importing = add_command(group, "import", import_, "enter the devices of a CSV file", more=_CSV_HELP, json=True)
    importing.add_argument("file", metavar="FILE.csv", help='"-" is stdin')
    exporting = add_command(
        group, "export", export, "write the devices as CSV that import reads, or all that is kept of one",
        more=_EXPORT_HELP, json=True,
    )  # fmt: skip
    exporting.add_argument("file", metavar="FILE", nargs="?", default="-", help="stdout when left out")
    exporting.add_argument("--dev-eui", metavar="E", type=dev_eui, help="everything that is kept of this device")
    exporting.add_argument("--with-keys", action="store_true", help="with root or session keys; keep the file safe")
    subject_commands.register(group)


def _which(parser: Parser) -> None:
    parser.add_argument("which", metavar="DEV_EUI", nargs="?", type=dev_eui)
    parser.add_argument("--dev-eui", metavar="E", type=dev_eui, help="the same as DEV_EUI")


def _fact_options(parser: Parser, *, required: bool) -> None:
    if required:
        parser.add_argument("--dev-eui", metavar="E", required=True, help="16 hex digits")
        parser.add_argument("--join-eui", metavar="E", help="of a device that joins (AppEUI in LoRaWAN 1.0)")
    parser.add_argument("--name", metavar="N", required=required, help="what people call it")
    parser.add_argument("--codec", metavar="C", help="VENDOR/DEVICE of the catalogue: lorawan-gateway codec list")
    parser.add_argument("--region-profile", metavar="P", help="when it is not that of the gateway, such as EU868")
    parser.add_argument(
        "--mac-version", metavar="V", help="LoRaWAN version, 1.0.0 to 1.1.0; without it 1.0.3, or 1.1.0 by its keys"
    )
    parser.add_argument("--class", metavar="A|C", help="A when left out")
    parser.add_argument(
        "--skip-f-cnt-check",
        action="store_true" if required else argparse.BooleanOptionalAction,
        default=None,
        help="accept counters that go back; replayed frames are accepted too",
    )
    parser.add_argument(
        "--var", metavar="NAME=VALUE", action="append", type=assignment, default=[], help="for its codec"
    )
    parser.add_argument(
        "--tag", metavar="NAME=VALUE", action="append", type=assignment, default=[], help="goes along with its readings"
    )


def _key_options(parser: Parser) -> None:
    parser.add_argument("--app-key", metavar="K", help="root key, 32 hex digits")
    parser.add_argument("--nwk-key", metavar="K", help="second root key, LoRaWAN 1.1")
    parser.add_argument("--dev-addr", metavar="A", help="address of the session, 8 hex digits")
    parser.add_argument("--nwk-s-key", metavar="K", help="session key, LoRaWAN 1.0.x")
    parser.add_argument("--app-s-key", metavar="K", help="session key")
    for name in ("--f-nwk-s-int-key", "--s-nwk-s-int-key", "--nwk-s-enc-key"):
        parser.add_argument(name, metavar="K", help="session key, LoRaWAN 1.1")
    parser.add_argument("--keys", metavar="FILE", help='a TOML fragment with keys; "-" is stdin')


# --- commands -------------------------------------------------------------------------------------------------------


def add(arguments: argparse.Namespace) -> int:
    """Enter one device."""
    from gateway.console.device_file import read_device

    settings = load_settings(arguments)
    described, mistakes = _described(arguments)
    places: dict[str, Problem] = {}
    if arguments.keys is not None:
        described, places = _with_keys(described, arguments.keys)
    entry, found = read_device(described, _codec_names(settings))
    empty = {key for key, _ in mistakes}  # said to be empty already, so not to be called missing
    mistakes += ((key, text) for key, text in found if key not in empty)
    if mistakes or entry is None:
        raise UsageError("\n".join(_mistake(key, text, places) for key, text in mistakes))
    with _registry(settings) as registry:
        registry.add(entry.device, session=entry.session, root_keys=entry.root_keys)
        if arguments.json:
            emit(device_json(registry.get(entry.device.dev_eui)))
    say(f"device {entry.device.dev_eui} ({clean(entry.device.name)}) added")
    _advise([entry], settings)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one device."""
    from gateway.store.network_file import sessions_in_use

    settings, which = load_settings(arguments), subject_commands.chosen(arguments)
    with _registry(settings) as registry:
        row = registry.get(which)
    facts = device_json(_with_session(row, sessions_in_use(settings.store.path, which)))
    if arguments.json:
        emit(facts)
        return 0
    shown = {**facts, "last_seen": facts["last_seen"] or "never"}
    for key in ("variables", "tags"):
        shown[key] = ", ".join(f"{name}={value}" for name, value in facts[key].items())
    for key, value in shown.items():
        print(f"{key:17} {clean(_in_words(value))}".rstrip())
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """Print every device."""
    from gateway.store.network_file import sessions_in_use

    settings = load_settings(arguments)
    with _registry(settings) as registry:
        joined = sessions_in_use(settings.store.path)
        rows = [_with_session(row, joined) for row in registry.list()]
    if arguments.json:
        emit([device_json(row) for row in rows])
        return 0
    now_us = datetime.now(UTC).timestamp() * 1e6
    lines = table(
        ("DEV_EUI", "NAME", "CODEC", "DEV_ADDR", "F_CNT", "LAST SEEN", "BATTERY"),
        (_cells(row, now_us) for row in rows),
        elastic=(1, 2),
    )
    for line in lines if rows else ():
        print(line)
    if not rows:
        say("no device is known; lorawan-gateway device add --help")
    return 0


def set_(arguments: argparse.Namespace) -> int:
    """Change what is known of one device."""
    from gateway.console.device_file import read_fields

    settings = load_settings(arguments)
    which = subject_commands.chosen(arguments)
    described, mistakes = _described(arguments, removing=True)
    if not described.fields and not described.variables and not described.tags and not mistakes:
        raise UsageError("nothing is to be changed", hint="lorawan-gateway device set --help")
    typed, found = read_fields(described, _codec_names(settings))
    with _registry(settings) as registry:
        row = registry.get(which)
        mistakes += [*found, *_version_mistakes(row, typed)]
        if mistakes:
            raise UsageError("\n".join(_mistake(key, text, {}) for key, text in mistakes))
        registry.replace(_changed(row.device, typed, described))
        if arguments.json:
            emit(device_json(registry.get(which)))
    say(f"device {which} changed")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Forget one device."""
    which = subject_commands.chosen(arguments)
    with _registry(load_settings(arguments)) as registry:
        registry.remove(which)
    if arguments.json:
        emit({"dev_eui": str(which), "removed": True})
    say(f"device {which} removed")
    return 0


def import_(arguments: argparse.Namespace) -> int:
    """Enter all devices of a file, or none."""
    from gateway.console.device_csv import read_devices

    settings = load_settings(arguments)
    content = _content(arguments.file)
    with _registry(settings) as registry:
        known = {row.device.dev_eui for row in registry.list()}
        entries = read_devices(content, _file_name(arguments.file), _codec_names(settings), known)
        registry.add_all(entries)
    if arguments.json:
        emit({"imported": len(entries)})
    say(f"{len(entries)} device{'s'[: len(entries) != 1]} imported")
    _advise(entries, settings)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Write all devices."""
    from gateway.console.device_csv import write_devices
    from gateway.console.device_file import describe

    settings = load_settings(arguments)
    if arguments.dev_eui is not None:
        subject_commands.export(settings, arguments.dev_eui, arguments.file, with_keys=arguments.with_keys)
        return 0
    with _registry(settings) as registry:
        rows = registry.list()
        keys = {row.device.dev_eui: registry.root_keys(row.device.dev_eui) for row in rows if row.has_root_keys}
    secrets = [(row.session, keys.get(row.device.dev_eui)) if arguments.with_keys else (None, None) for row in rows]
    devices = [describe(row.device, *secret) for row, secret in zip(rows, secrets, strict=True)]
    if arguments.json:
        emit([{**device.fields, "variables": device.variables, "tags": device.tags} for device in devices])
        return 0
    text = write_devices(devices)
    if arguments.file == "-":
        print(text, end="")
    else:
        _write_private(Path(arguments.file), text)
    say(
        f"{len(devices)} device{'s'[: len(devices) != 1]} exported"
        + ("" if arguments.with_keys else "; --with-keys adds their keys")
    )
    return 0


# --- what the command line says of a device -------------------------------------------------------------------------


def _described(arguments: argparse.Namespace, *, removing: bool = False) -> tuple[Described, list[Mistake]]:
    from gateway.console.device_file import FIELDS, Described

    mistakes: list[Mistake] = []
    fields: dict[str, str] = {}
    for name in FIELDS:
        value = None if removing and name == "dev_eui" else getattr(arguments, name, None)
        if isinstance(value, bool):
            fields[name] = str(value).lower()
        elif value is not None and not value.strip():
            mistakes.append((name, "is empty"))
        elif value is not None:
            fields[name] = value.strip()
    labels: dict[str, dict[str, str]] = {}
    for kind in ("var", "tag"):
        labels[kind] = {}
        for name, value in getattr(arguments, kind):
            if name in labels[kind]:
                mistakes.append((kind, f"gives {name} twice"))
            elif not value and not removing:
                mistakes.append((kind, f"gives {name} no value"))
            labels[kind][name] = value
    return Described(fields, labels["var"], labels["tag"]), mistakes


def _with_keys(described: Described, source: str) -> tuple[Described, dict[str, Problem]]:
    """The description completed by a TOML fragment, and where each of its keys stands."""
    from gateway.console.device_file import KEYS
    from gateway.settings.toml_file import nearest, parse_toml

    if source == "-" and sys.stdin is not None and sys.stdin.isatty():
        say("keys as TOML, one a line; end with Ctrl-D:")
    file = parse_toml(_content(source), _file_name(source))
    allowed = (*KEYS, "dev_addr", "join_eui")
    problems: list[Problem] = []
    fields = dict(described.fields)
    places: dict[str, Problem] = {}
    for written, value in file.table.items():
        key = written.replace("-", "_")
        if key not in allowed:
            near = nearest(key, allowed)
            problems.append(
                file.problem(
                    (written,), f"is no key; {f'did you mean {near}?' if near else 'known: ' + ', '.join(allowed)}"
                )
            )
        elif key in fields:
            problems.append(file.problem((written,), "is given on the command line too"))
        elif not isinstance(value, str):
            problems.append(file.problem((written,), "is not text in quotes"))
        else:
            fields[key] = value.strip()
            places[key] = file.problem((written,), "")
    if problems:
        raise SettingsError(problems)
    return replace(described, fields=fields), places


def _mistake(key: str, text: str, places: Mapping[str, Problem]) -> str:
    """A mistake where it was made: at a line of the fragment, or at an option."""
    place = places.get(key)
    if place is not None:
        return str(replace(place, text=text))
    option, dot, label = key.partition(".")
    return f"--{option.replace('_', '-')} {label}{' ' if dot else ''}{text}"


def _version_mistakes(row: DeviceRow, typed: Mapping[str, Any]) -> Iterable[Mistake]:
    version = typed.get("mac_version")
    if version is not None and version.is_1_1 != row.device.mac_version.is_1_1:
        yield (
            "mac_version",
            f"cannot go from {row.device.mac_version} to {version}: the keys differ; remove the device and add it",
        )


def _changed(device: Device, typed: Mapping[str, Any], described: Described) -> Device:
    names = {"class": "device_class"}
    facts = {names.get(key, key): value for key, value in typed.items()}
    return replace(
        device,
        **facts,
        variables={name: value for name, value in {**device.variables, **described.variables}.items() if value},
        tags={name: value for name, value in {**device.tags, **described.tags}.items() if value},
    )


def _advise(entries: list[NewDevice], settings: Settings) -> None:
    if not settings.network.answer and any(entry.root_keys is not None for entry in entries):
        say(JOINS_NOT_ANSWERED)
    if without := sum(entry.device.codec is None for entry in entries):
        say(f"note: {without} without codec: payloads are kept and not decoded; lorawan-gateway codec list")


# --- what a device looks like ---------------------------------------------------------------------------------------


def _with_session(row: DeviceRow, joined: Mapping[DevEui, Session]) -> DeviceRow:
    """With the session that the device joined, if it did."""
    session = joined.get(row.device.dev_eui)
    return row if session is None else replace(row, session=session)


def device_json(row: DeviceRow) -> dict[str, Any]:
    """A device for programs, without its keys."""
    device, session = row.device, row.session
    return {
        "dev_eui": str(device.dev_eui),
        "name": device.name,
        "codec": device.codec,
        "last_seen": _time(row.last_seen_utc_us),
        "battery": row.battery,
        "dev_addr": str(session.dev_addr) if session else None,
        "f_cnt_up": row.f_cnt_up,
        "mac_version": str(device.mac_version),
        "class": device.device_class,
        "activation": "otaa" if row.has_root_keys else "abp",
        "join_eui": str(device.join_eui) if device.join_eui else None,
        "region_profile": device.region_profile,
        "skip_f_cnt_check": device.skip_f_cnt_check,
        "variables": dict(device.variables),
        "tags": dict(device.tags),
    }


def _in_words(value: object) -> object:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _time(utc_us: int | None) -> str | None:
    if utc_us is None:
        return None
    return datetime.fromtimestamp(utc_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cells(row: DeviceRow, now_us: float) -> tuple[object, ...]:
    return (
        row.device.dev_eui,
        row.device.name,
        row.device.codec or "-",
        row.session.dev_addr if row.session else "joins",
        "-" if row.f_cnt_up is None else row.f_cnt_up,
        "never" if row.last_seen_utc_us is None else _ago((now_us - row.last_seen_utc_us) / 1e6),
        "-" if row.battery is None else f"{row.battery:.0f} %",
    )


def _ago(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name} ago"
    return f"{max(0, seconds):.0f} s ago"


# --- files, registry, catalogue -------------------------------------------------------------------------------------


@contextmanager
def _registry(settings: Settings) -> Iterator[DeviceRegistry]:
    import sqlite3

    from gateway.store.devices import DeviceRegistry

    with DeviceRegistry.open(settings.store.path) as registry:
        try:
            yield registry
        except sqlite3.Error as error:
            raise StorageError(
                f"the device registry in {settings.store.path} cannot be read: {error}",
                hint="restore a backup, or move devices.sqlite3 away and import the devices again",
            ) from error


def _codec_names(settings: Settings) -> CodecNames:
    from gateway.console.codec_commands import load_catalogue
    from gateway.console.device_file import CodecNames

    return CodecNames(frozenset(load_catalogue(settings).entries))


def _file_name(name: str) -> str:
    return "stdin" if name == "-" else name


def _content(name: str) -> bytes:
    try:
        if name != "-":
            return Path(name).read_bytes()
        if sys.stdin is None:
            raise UsageError("there is no stdin to read from")
        return sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{_file_name(name)} cannot be read: {reason}") from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read: there may be keys in it."""
    try:
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{path} cannot be written: {reason}") from error
