"""What a codec's author and a technician do with codecs: list, show, test, decode, encode. JSON values out.

Synchronous, for the command line and the console; each call runs codecs behind the same walls as the daemon does.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.decoding.catalogue import LANGUAGES, Catalogue, Entry, Language, Script, read_entry
from gateway.decoding.examples import Asked, Example, read_examples, unmet
from gateway.decoding.mapping import path_text
from gateway.decoding.sandbox import Decoder
from gateway.errors import Problem, SettingsError, UsageError
from gateway.model import DevEui

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.decoding.answer import Answer, Encoded
    from gateway.model import Measurement

Json = dict[str, Any]


def list_codecs(catalogue: Catalogue) -> list[Json]:
    """One object for each codec: `name, vendor, model, kind, version, languages, firmware, examples` (their number)."""
    return [_summary(entry) for entry in catalogue.entries.values()]


def show(catalogue: Catalogue, name: str) -> Json:
    """A codec with its variables (`name, default, description`), scripts and examples. UsageError when unknown."""
    entry = _entry(catalogue, name)
    examples, problems = examples_of(entry)
    return {
        **_summary(entry),
        "id": entry.id,
        "folder": str(entry.folder),
        "codec": entry.script.path.name,
        "downlink_codec": None if entry.downlink_script is None else entry.downlink_script.path.name,
        "firmware": [
            {"version": row.version, "codec": entry.by_firmware[row.version].path.name} for row in entry.firmware
        ],
        "variables": [
            {"name": variable.name, "default": variable.default, "description": variable.description}
            for variable in entry.variables
        ],
        "measurements": [
            {"path": path_text(rule.path), "quantity": rule.name, "unit": rule.quantity.unit}
            for rule in entry.measurements
        ],
        "examples": [{"name": example.name, "source": example.source} for example in examples],
        "problems": [str(problem) for problem in problems],
    }


def test(catalogue: Catalogue, names: Sequence[str]) -> Json:
    """Run the examples beside the named codecs, or all if none is named: `passed, failed, results`.

    A mistake in an `examples.json` is a failed result, and so is an entry that cannot be read when all are asked for.
    UsageError for a name that is not in the catalogue.
    """
    entries = [_entry(catalogue, name) for name in names] or list(catalogue.entries.values())
    results = asyncio.run(_test(catalogue, entries))
    if not names:
        results += [_result("", "", str(problem)) for problem in catalogue.problems]
    passed = sum(result["ok"] for result in results)
    return {"passed": passed, "failed": len(results) - passed, "results": results}


def decode(
    catalogue: Catalogue,
    name_or_file: str,
    payload: bytes,
    f_port: int,
    variables: Mapping[str, str] = MappingProxyType({}),
    recv_time: str | None = None,
    dev_eui: str | None = None,
    *,
    downlink: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Json:
    """Decode one payload: `data, warnings, errors, measurements`. UsageError when codec, time or EUI cannot be read.

    `name_or_file` is VENDOR/DEVICE, or a path to a .py or .js; a file beside a `device.toml` takes its variables.
    `recv_time` is RFC 3339; without it a Python codec is told none, and a script that it is now, for scripts rely on
    having one. `downlink` reads the payload as one sent to the device. `tell` hears what a script says on its console.
    """
    alone, name = _named(catalogue, name_or_file)
    if not 1 <= f_port <= 255:
        raise UsageError(f"port {f_port} carries no application payload", hint="ports are 1 to 255")
    try:
        eui = None if dev_eui is None else DevEui.parse(dev_eui)
    except ValueError as error:
        raise UsageError(str(error)) from None
    recv_time_s = None if recv_time is None else _unix_s(recv_time)

    if recv_time_s is None and Language.JAVASCRIPT in alone.entries[name].languages:
        recv_time_s = time.time()

    async def run() -> Answer:
        async with Decoder(alone) as decoder:
            if downlink:
                return await decoder.decode_downlink(name, payload, f_port, variables, recv_time_s)
            return await decoder.answer(name, payload, f_port, variables, recv_time_s, dev_eui=eui)

    answer = asyncio.run(run())
    for line in answer.console:
        tell(line)
    return _shown(answer)


def encode(
    catalogue: Catalogue,
    name_or_file: str,
    command: Mapping[str, Any],
    f_port: int | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
    *,
    whole: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Json:
    """Encode one command: `bytes, hex, f_port, warnings, errors`; bytes and hex are null when there are errors.

    `command` is the `data` of the encoder's input, or with `whole` all of it: `data`, `fPort`, `variables`. A port that
    is asked for stands before the one in there.
    """
    alone, name = _named(catalogue, name_or_file)
    given: Json = dict(command) if whole else {"data": dict(command)}
    if whole and type(given.get("data")) is not dict:
        raise UsageError("the input of an encoder has an object `data`", hint='--input \'{"data": {}, "fPort": 1}\'')
    if f_port is not None:
        given["fPort"] = f_port

    async def run() -> Encoded:
        async with Decoder(alone) as decoder:
            return await decoder.encode_input(name, given, variables)

    encoded = asyncio.run(run())
    for line in encoded.console:
        tell(line)
    return _encoded(encoded)


def _encoded(encoded: Encoded) -> Json:
    payload = encoded.payload
    return {
        "bytes": None if payload is None else list(payload),
        "hex": None if payload is None else payload.hex(),
        "f_port": encoded.f_port,
        "warnings": list(encoded.warnings),
        "errors": list(encoded.errors),
    }


def _summary(entry: Entry) -> Json:
    return {
        "name": entry.name,
        "vendor": entry.vendor,
        "model": entry.model,
        "kind": entry.kind,
        "version": entry.version,
        "languages": [str(language) for language in entry.languages],
        "firmware": [row.version for row in entry.firmware],
        "examples": len(examples_of(entry)[0]),
    }


def _entry(catalogue: Catalogue, name: str) -> Entry:
    entry = catalogue.get(name)
    if entry is None:
        broken = [problem for problem in catalogue.problems if f"/{name}/" in problem.file]
        if broken:
            raise SettingsError(broken)
        raise UsageError(f"there is no codec {name}", hint="the names are in: lorawan-gateway codec list")
    return entry


def _named(catalogue: Catalogue, name_or_file: str) -> tuple[Catalogue, str]:
    """A catalogue of one, and the name in it."""
    path = Path(name_or_file)
    entry = _of_file(path) if path.suffix in LANGUAGES else _entry(catalogue, name_or_file)
    return Catalogue(MappingProxyType({entry.name: entry})), entry.name


def _of_file(path: Path) -> Entry:
    """The entry a single file makes: with the description beside it, if there is one."""
    try:
        script = Script.at(path.resolve(strict=True))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: {reason}") from None
    folder = script.path.parent
    if (folder / "device.toml").is_file():
        entry, problems = read_entry(folder)
        if entry is None:
            raise SettingsError(problems)
        return replace(entry, script=script, by_firmware={})
    return Entry(path.stem, "", path.stem, "", 0, folder, script)


def examples_of(entry: Entry) -> tuple[list[Example], list[Problem]]:
    """The examples beside a codec, and what is wrong with the others."""
    file = entry.examples_file
    if not file.is_file():
        return [], []
    try:
        return read_examples(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(str(file), 1, "-", f"cannot be read: {error}")]


async def _test(catalogue: Catalogue, entries: Sequence[Entry]) -> list[Json]:
    results: list[Json] = []
    async with Decoder(catalogue) as decoder:
        for entry in entries:
            examples, problems = examples_of(entry)
            results += [_result(entry.name, "examples.json", str(problem)) for problem in problems]
            problems_found = await asyncio.gather(*(_try(decoder, entry, example) for example in examples))
            results += [
                _result(entry.name, example.name, problem)
                for example, problem in zip(examples, problems_found, strict=True)
            ]
    return results


async def _try(decoder: Decoder, entry: Entry, example: Example) -> str | None:
    try:
        recv_time_s = None if example.recv_time is None else _unix_s(example.recv_time)
    except UsageError as error:
        return error.problem
    if example.asked is Asked.DOWNLINK_ENCODE:
        return unmet(example, _encoded(await decoder.encode_input(entry.name, example.command, {})))
    asked = (entry.name, example.payload, example.f_port or 1, example.variables, recv_time_s)
    downlink = example.asked is Asked.DOWNLINK_DECODE
    answer = await (decoder.decode_downlink(*asked) if downlink else decoder.answer(*asked))
    return unmet(example, _shown(answer))


def _result(codec: str, example: str, problem: str | None) -> Json:
    return {"codec": codec, "example": example, "ok": problem is None, "problem": problem}


def _shown(answer: Answer) -> Json:
    return {
        "data": answer.data,
        "warnings": list(answer.warnings),
        "errors": list(answer.errors),
        "measurements": [_measurement(measurement) for measurement in answer.measurements],
    }


def _measurement(measurement: Measurement) -> Json:
    shown: Json = {"quantity": measurement.quantity, "value": measurement.value, "unit": measurement.unit}
    if measurement.time_us is not None:
        shown["time"] = rfc3339(measurement.time_us)
    return shown


def rfc3339(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, with a fraction only where there is one."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000, tzinfo=None)
    return f"{moment.isoformat()}Z"


def _unix_s(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is no time", hint="write it like 2026-03-14T06:00:00Z") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
