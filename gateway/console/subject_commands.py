"""`device forget` and `device export --dev-eui`: what a gateway keeps of one household, taken out or handed over."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gateway.console.arguments import add_command, dev_eui
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import clean, emit, say
from gateway.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from gateway.console.arguments import Commands
    from gateway.model import DevEui
    from gateway.settings import Settings

_FORGET_HELP = """\
Erased are: the device with its keys and sessions, every reading and every raw frame of it, frames
that have one of its addresses and that nobody could open, its downlinks and nonces, what balances
say of it, its lines in the files of file destinations, and everything that was set aside as
damaged. Parts of the record log that had something of it are written anew under new keys, and the
old keys are destroyed. A power cut in the middle is no harm: the next start goes on. At the end
every byte of the data folder is searched for the device and its keys.

What it sends from now on is a stranger's, and not kept. Entered again, it is known again.

Not in reach: what destinations and network servers have (they are named, ask there), backups,
the system's journal (journalctl --vacuum-time=1s), and blocks that a flash card keeps beyond the
reach of any program; of those, records are noise without their keys, above all with store.key_file.
"""


def register(group: Commands) -> None:
    """Add the commands of this module to those of `device`."""
    forgetting = add_command(
        group, "forget", forget, "erase everything that is kept of a device, everywhere on this gateway",
        more=_FORGET_HELP, json=True,
    )  # fmt: skip
    forgetting.add_argument("which", metavar="DEV_EUI", nargs="?", type=dev_eui)
    forgetting.add_argument("--dev-eui", metavar="E", type=dev_eui, help="the same as DEV_EUI")
    forgetting.add_argument("--dry-run", action="store_true", help="only say what would be erased")
    forgetting.add_argument("--yes", action="store_true", help="do not ask whether this is meant")


def forget(arguments: argparse.Namespace) -> int:
    """Erase one device."""
    from gateway.console.asking import ask

    settings, which = load_settings(arguments), chosen(arguments)
    if arguments.dry_run or not arguments.yes:
        seen = ask(settings, "forget", {"dev_eui": str(which), "dry_run": True})
        if arguments.dry_run and arguments.json:
            emit(seen)
        else:
            for line in _in_words(seen):
                say(line)
        if arguments.dry_run:
            return 0
        _confirm(which)
    done = ask(settings, "forget", {"dev_eui": str(which)})
    if arguments.json:
        emit(done)
    for line in _outcome(done):
        say(line)
    return 1 if done["left"] else 0


def chosen(arguments: argparse.Namespace) -> DevEui:
    """DEV_EUI or --dev-eui."""
    given: set[DevEui] = {which for which in (arguments.which, arguments.dev_eui) if which is not None}
    if len(given) != 1:
        raise UsageError("name one device: DEV_EUI or --dev-eui DEV_EUI", hint="lorawan-gateway device list")
    return next(iter(given))


def _confirm(which: DevEui) -> None:
    """Have the name of the device typed once more: this cannot be undone."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nothing is erased without a person who says so", hint="say --yes")
    print(f"Type {which} again to erase all of this: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != str(which):
        raise UsageError("nothing is erased")


def _in_words(seen: Mapping[str, Any]) -> Iterator[str]:
    name = f" ({clean(seen['name'])})" if seen["name"] else ", which is not entered here"
    yield f"device {seen['dev_eui']}{name}"
    span = f", heard from {seen['from']} to {seen['to']}" if seen["from"] else ""
    yield f"  {seen['records']} readings{span}"
    addresses = ", ".join(seen["dev_addrs"])
    yield f"  {seen['frames']} frames nobody could open{f', with its addresses {addresses}' if addresses else ''}"
    yield f"  {seen['sessions']} entries of keys and sessions, {seen['downlinks']} downlinks"
    for path, lines in seen["files"].items():
        yield f"  {lines} lines in {clean(path)}"
    if seen["set_aside"]:
        yield f"  {seen['set_aside']} damaged files in quarantine: all of them, nobody can take one device out of them"
    yield from _elsewhere(seen)


def _outcome(done: Mapping[str, Any]) -> Iterator[str]:
    yield f"erased: {done['records']} readings, {done['frames']} frames, {sum(done['files'].values())} lines of files"
    yield from _elsewhere(done)
    if done["left"]:
        yield "these files in the data folder are not the gateway's, and name the device still:"
        yield from (f"  {clean(path)}" for path in done["left"])
    else:
        yield "no file in the data folder has a byte of its name or its keys any more"
    yield f"for your records: {done['reference']} (a line without a name is in erasures.jsonl)"


def _elsewhere(seen: Mapping[str, Any]) -> Iterator[str]:
    for one in seen["destinations"]:
        if one["sent"]:
            names = " or ".join(one["known_as"])
            yield f"  not in reach: sink {one['sink']} ({one['type']}) was sent {one['sent']} of it, as {clean(names)}"


# --- handing over ---------------------------------------------------------------------------------------------------


def export(settings: Settings, which: DevEui, target: str, *, with_keys: bool) -> None:
    """Write everything that is kept of a device; into a folder also a summary for people."""
    from gateway.console.asking import log_files
    from gateway.console.subject import Subject

    if target == "-":
        with log_files(settings) as files:
            summary = Subject(settings, files, which, with_keys=with_keys).write(sys.stdout)
        for line in summary:
            say(line)
        return
    path = Path(target)
    folder = path if target.endswith("/") or path.is_dir() else None
    if folder is not None:
        path = folder / f"{which}.json"
    try:
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        try:
            with log_files(settings) as files, _private(beside) as file:
                summary = Subject(settings, files, which, with_keys=with_keys).write(file)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        if folder is not None:
            with _private(folder / f"{which}.txt") as file:
                file.writelines(f"{line}\n" for line in summary)
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be written: {error.strerror}") from error
    for line in summary:
        say(line)
    say(f"written to {path}")


def _private(path: Path) -> TextIO:
    """A file that nobody else may read."""
    return open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))
