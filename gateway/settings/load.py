"""From a settings file to `Settings`, or to every problem in it at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.errors import SettingsError
from gateway.settings.available import unavailable
from gateway.settings.models import KINDS, Settings
from gateway.settings.rules import contradictions, secret_files
from gateway.settings.spelling import read_as_meant, table_of
from gateway.settings.toml_file import TomlFile, nearest, parse_toml, read_toml, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from gateway.errors import Problem
    from gateway.settings.toml_file import KeyPath

    Found = Iterator[tuple[KeyPath, str]]


@dataclass(frozen=True, slots=True)
class Examination:
    """All that can be said about a settings file without starting anything."""

    settings: Settings | None  # None: the file gives no settings
    problems: tuple[Problem, ...]  # in the order of the file
    notes: tuple[str, ...]  # nothing is wrong, but somebody should know


def load(path: Path) -> Settings:
    """The settings of a file. SettingsError has every problem in file order, UsageError says why it cannot be read."""
    return _accepted(read_toml(path), path)


def load_for_run(path: Path) -> Settings:
    """The settings of a file that this version can run; SettingsError also for what it does not have yet."""
    file = read_toml(path)
    settings = _accepted(file, path)
    if found := list(unavailable(settings)):
        raise SettingsError(_ordered(file, found))
    return settings


def _accepted(file: TomlFile, path: Path) -> Settings:
    settings, found = _validate(file, path)
    if settings is None:
        raise SettingsError(_ordered(file, found))
    return settings


def examine(path: Path) -> Examination:
    """Everything `load_for_run` would find, and the files that hold secrets."""
    try:
        file = read_toml(path)
    except SettingsError as error:
        return Examination(None, error.problems, ())
    settings, found = _validate(file, path)
    if settings is not None:
        found += unavailable(settings)
        found += _scenario(settings)
    notes = []
    for key, text, wrong in secret_files(file.table):
        if wrong:
            found.append((key, text))
        else:
            notes.append(str(file.problem(key, text)))
    notes += (str(file.problem(key, text)) for key, text in _folders(settings))
    return Examination(settings, _ordered(file, found), (*notes, *_notes(settings)))


def misfit(kind: str, table: Mapping[str, Any], key: str) -> str | None:
    """Why a key of a table does not take its value, whatever the other keys are; None when it does.

    `kind` is the table's name: "gateway", "radio", "lns", ...; where there are types of it, `table` has its `type`.
    """
    model = KINDS[kind][table["type"]] if kind in KINDS else table_of(kind)
    if key not in model.model_fields:
        return "has no counterpart in the settings"
    try:
        model.model_validate(table)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if details["loc"][:1] == (key,) and details["type"] != "missing":
                return _sentence(details, table)[1]
    return None


def examine_draft(content: bytes, path: Path) -> Examination:
    """What `examine` would say of settings not written yet, apart from the files they name, which may be elsewhere."""
    try:
        file = parse_toml(content, str(path))
    except SettingsError as error:
        return Examination(None, error.problems, ())
    settings, found = _validate(file, path)
    if settings is not None:
        found += unavailable(settings)
    return Examination(settings, _ordered(file, found), tuple(_notes(settings)))


def _scenario(settings: Settings) -> Found:
    """A scenario is a file beside the settings or a shipped one; a name that is neither stays relative."""
    radio = settings.radio
    if radio.type != "virtual" or "scenario" not in radio.model_fields_set or radio.scenario.is_absolute():
        return
    if not (resources.files("gateway") / "simulator" / "scenarios" / str(radio.scenario)).is_file():
        yield (
            ("radio", "scenario"),
            f"is {shown(str(radio.scenario))}, neither a file beside this one nor a shipped one",
        )


def _folders(settings: Settings | None) -> Found:
    if settings is None or "path" not in settings.codecs.model_fields_set:
        return
    for index, folder in enumerate(settings.codecs.path):
        if not folder.is_dir():
            yield ("codecs", "path", index), f"is {folder}, a folder that does not exist: it brings no codecs"


def _notes(settings: Settings | None) -> Iterator[str]:
    if settings is None:
        return
    if settings.radio.type == "virtual":
        yield "radio.type is virtual: devices are simulated, nothing real is heard"
    if settings.radio.channels != "region":
        yield (
            f"radio.channels follows lns.{settings.radio.channels}: until that server first says what to hear, the "
            f"radio hears the channels of {settings.gateway.region}"
        )
    if not settings.sink and not settings.lns:
        yield "no [sink.NAME]: readings are kept here and sent nowhere"


def _ordered(file: TomlFile, found: list[tuple[KeyPath, str]]) -> tuple[Problem, ...]:
    problems = (file.problem(path, text) for path, text in dict.fromkeys(found))
    return tuple(sorted(problems, key=lambda problem: problem.line))


def _validate(file: TomlFile, path: Path) -> tuple[Settings | None, list[tuple[KeyPath, str]]]:
    reading = read_as_meant(file.table)
    found = list(contradictions(reading.table))
    settings = None
    try:
        settings = Settings.model_validate(reading.table, context={"folder": path.absolute().parent})
    except ValidationError as error:
        found += (_sentence(details, reading.table) for details in error.errors(include_url=False))
    found = reading.found + [(reading.as_written(key), text) for key, text in found]
    return (None if found else settings), found


# --- what pydantic found, in our words ------------------------------------------------------------------------------

_WANTED = {
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _sentence(details: ErrorDetails, table: Mapping[str, Any]) -> tuple[KeyPath, str]:
    path = _without_tag(details["loc"])
    match details["type"]:
        case "missing":
            return path, _missing(path, table)
        case "value_error":
            return path, str(details["ctx"]["error"])
        case "literal_error":
            options = re.findall(r"'([^']*)'", details["ctx"]["expected"])
            meant = nearest(str(details["input"]), options)
            offer = f'did you mean "{meant}"?' if meant else f"one of {', '.join(options)}"
            return path, f"is {shown(details['input'])}; {offer}"
        case kind if kind in _WANTED:
            return path, f"is {shown(details['input'])}; {_WANTED[kind]} is wanted here"
        case _:
            return path, f"is {shown(details['input'])}: {details['msg']}"


def _without_tag(location: tuple[int | str, ...]) -> KeyPath:
    """Pydantic names the type of a table behind the table: `sink.city.mqtt.url`."""
    tag = {"radio": 1, "lns": 2, "sink": 2}.get(str(location[0])) if location else None
    return location if tag is None else location[:tag] + location[tag + 1 :]


def _missing(path: KeyPath, table: Mapping[str, Any]) -> str:
    kind, name, key = map(str, path)  # only sinks and network servers have keys without a default
    model = KINDS[kind][table[kind][name]["type"]]
    examples = model.model_fields[key].examples
    return f"is missing, for example {shown(examples[0])}" if examples else "is missing"
