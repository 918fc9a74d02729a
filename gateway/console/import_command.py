"""`config import`: the configuration of another gateway program becomes settings of ours."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.console.arguments import add_command
from gateway.console.terminal import clean, emit, say
from gateway.errors import Problem, SettingsError, StorageError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.console.arguments import Commands
    from gateway.settings import Examination
    from gateway.settings.importing import ForeignFile, Imported, Wishes

RADIOS = ("virtual", "packet-forwarder", "libloragw", "sx1302")
SECRETS = "secrets"
"""The folder beside the settings that secrets are put into."""

_HELP = """\
Reads what the gateway ran on until now, and prints settings that do the same:
  global_conf.json, local_conf.json       packet forwarders (Semtech, poly, mp_pkt_fwd)
  station.conf, tc.*, cups.*              LoRa Basics Station; its folder will do
  chirpstack-mqtt-forwarder.toml          ChirpStack MQTT Forwarder
  chirpstack-gateway-bridge.toml          ChirpStack Gateway Bridge, on the gateway
  concentratord.toml, channels.toml       ChirpStack Concentratord
  reset_lgw.sh                            the pins of the concentrator
Give all that ran together, or their folder. What could not be taken over is listed on
stderr, as FILE:LINE key why. Keys and certificates stay where they are, or are copied
with --copy-secrets; a password that stood in a file goes to a file of its own. Exit
code 2: the settings need a hand before lorawan-gateway check accepts them.
"""


def register(config: Commands) -> None:
    """Add the command to `config`."""
    parser = add_command(
        config, "import", import_, "settings out of another gateway program's configuration", more=_HELP, json=True
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a configuration file, or a folder of them")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the settings there; stdout when left out")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument(
        "--copy-secrets", action="store_true", help=f"copy keys and certificates to {SECRETS}/ beside it"
    )
    parser.add_argument(
        "--radio", choices=RADIOS, help="what drives the concentrator from now on; else by what is there"
    )
    parser.add_argument("--board", metavar="NAME", help="the board of the concentrator, such as rak2287")
    parser.add_argument("--region", metavar="NAME", help="the channel plan; else by channels and names of topics")


def import_(arguments: argparse.Namespace) -> int:
    """Print or write the settings; 0 when check accepts them, else 2."""
    from gateway.settings import examine_draft
    from gateway.settings.importing import import_files, write_settings

    output: Path | None = arguments.output
    wishes = _wishes(arguments, output)
    files = list(_files(arguments.files))
    imported = import_files(files, wishes)
    example = (resources.files("gateway.settings") / "example.toml").read_text(encoding="utf-8")
    names = ", ".join(dict.fromkeys(clean(file.base) for file in files))
    text = write_settings(imported.values, example, [f"Taken over from {names}."])
    verdict = examine_draft(text.encode(), output or Path("gateway.toml"))
    if output is not None:
        _write_all(output, text, imported, force=arguments.force)
    if arguments.json:
        emit(_as_json(text, files, imported, verdict))
    elif output is None:
        print(text, end="")
    _tell(imported, verdict, output)
    return 2 if verdict.problems else 0


def _wishes(arguments: argparse.Namespace, output: Path | None) -> Wishes:
    from gateway.regions import REGIONS
    from gateway.settings.available import AVAILABLE
    from gateway.settings.importing import Wishes

    if arguments.region is not None and arguments.region not in REGIONS:
        raise UsageError(f"there is no region {clean(arguments.region)}", hint=f"one of {', '.join(REGIONS)}")
    if arguments.board is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", arguments.board):
        raise UsageError(f"{clean(arguments.board)} is no name of a board", hint='one is named like "rak2287"')
    if arguments.copy_secrets and output is None:
        raise UsageError("--copy-secrets copies to beside the settings", hint="say where with --output FILE")
    if output is not None and not arguments.force and output.exists():
        raise UsageError(f"{output} is there already", hint="--force overwrites it")
    return Wishes(
        radio=arguments.radio,
        board=arguments.board,
        region=arguments.region,
        radios=AVAILABLE["radio.type"],
        secret_folder=None if output is None else str(output.absolute().parent / SECRETS),
        copy_secrets=arguments.copy_secrets,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _files(paths: Sequence[Path]) -> Iterator[ForeignFile]:
    """Every file that was named, and of folders those with a known name; SettingsError has all that cannot be read."""
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        try:
            yield from _read(path)
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(problems)


def _read(path: Path) -> Iterator[ForeignFile]:
    from gateway.settings.importing import KNOWN_NAMES, MAX_BYTES, WHAT_IS_READ, ForeignFile

    try:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if KNOWN_NAMES.fullmatch(file.name) and file.is_file())
            if not found:
                raise SettingsError([Problem(str(path), 1, "file", f"is a folder without any of {WHAT_IS_READ}")])
            for file in found:
                yield from _read(file)
            return
        if path.exists() and not path.is_file():
            raise SettingsError([Problem(str(path), 1, "file", "is neither a file nor a folder")])
        with path.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError([Problem(str(path), 1, "file", f"cannot be read: {reason}")]) from error
    yield ForeignFile(str(path), str(path.absolute()), content)


# --- writing ---------------------------------------------------------------------------------------------------------


def _write_all(output: Path, text: str, imported: Imported, *, force: bool) -> None:
    """Secrets first, so that the settings never name a file that is not there yet."""
    pieces = [(Path(one.path), one.text.encode()) for one in imported.inline_secrets]
    for copy in imported.copies:
        try:
            pieces.append((Path(copy.path), Path(copy.source).read_bytes()))
        except OSError as error:
            raise UsageError(
                f"{copy.source} cannot be copied: {error.strerror}", hint="run this where the files are, or with sudo"
            ) from error
    taken = [path for path, _ in pieces if path.exists()]
    if taken and not force:
        raise UsageError(f"{', '.join(map(str, taken))} is there already", hint="--force overwrites it")
    try:
        if pieces:
            pieces[0][0].parent.mkdir(mode=0o700, exist_ok=True)
        for path, content in pieces:
            _write(path, content, mode=0o600, force=force)
        _write(output, text.encode(), mode=0o644, force=force)
    except OSError as error:
        raise StorageError(f"{error.filename or output} cannot be written: {error.strerror}") from error


def _write(path: Path, content: bytes, *, mode: int, force: bool) -> None:
    """A file that is there whole or not at all; without `force`, FileExistsError where one is there."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if force:
            beside.replace(path)
        else:
            _link(beside, path)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _link(beside: Path, path: Path) -> None:
    """Give the file its name, unless somebody else has done so meanwhile."""
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as that of an SD card's boot partition
        if path.exists():
            raise FileExistsError(17, "is there already", str(path)) from None
        beside.replace(path)


# --- telling ---------------------------------------------------------------------------------------------------------


def _as_json(text: str, files: Iterable[ForeignFile], imported: Imported, verdict: Examination) -> dict[str, object]:
    return {
        "settings": text,
        "taken": [{"file": one.file, "line": one.line, "key": one.key, "into": one.into} for one in imported.taken],
        "not_taken": [
            {"file": one.file, "line": one.line, "key": one.key, "why": one.text} for one in imported.left_out
        ],
        "notes": [*imported.notes, *verdict.notes],
        "problems": [{"line": one.line, "key": one.key, "problem": one.text} for one in verdict.problems],
        "files": [file.name for file in files],
    }


def _tell(imported: Imported, verdict: Examination, output: Path | None) -> None:
    for problem in imported.left_out:
        say(clean(problem))
    for note in (*imported.notes, *verdict.notes, *_absent(imported)):
        say(f"note: {clean(note)}")
    for problem in verdict.problems:
        say(clean(problem))
    where = "" if output is None else f"; {output} is written"
    say(f"{len(imported.taken)} keys taken over, {len(imported.left_out)} lines above are not{where}")


def _absent(imported: Imported) -> Iterator[str]:
    """Files that the settings name and that are not on this machine."""
    made = {one.path for one in imported.inline_secrets} | {one.path for one in imported.copies}
    for key, value in imported.values.items():
        path = str(value)
        if str(key[-1]).endswith("_file") and path not in made and not Path(path).exists():
            yield f"{path} is not on this machine: the gateway needs it there"
