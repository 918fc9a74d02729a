"""`sink …`: what becomes of readings on their way to a destination, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, add_group, moment
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import emit, say, table
from gateway.errors import NotRunning, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.console.arguments import Commands, Parser
    from gateway.settings import Settings

_RESEND_HELP = """\
Readings heard from --from on and before --to leave once more, with the same record ids, so that
a receiver that knows them drops them. They go at the rate of the backlog (backlog_rate) and only
while nothing waits for its first time. What has not left yet comes by itself and is not counted.

A time is RFC 3339 (2026-11-23T08:00:00Z), a date or a time of this machine (2026-11-23,
2026-11-23T09:00), how long ago (-90min, -3h, -2d, -1w), or "now".
"""
_DEAD_LETTERS_HELP = """\
A destination refuses for good what it will never take, such as a reading larger than its
broker allows. With --retry they are sent once more; each stays here until it is taken.
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "sink", "destinations: what left, what waits, what they refuse")
    add_command(group, "list", list_, "print every destination and how far it is", json=True)
    pausing = add_command(
        group, "pause", pause, "let nothing leave to a destination; readings wait, also over a restart", json=True
    )
    _name(pausing)
    _name(add_command(group, "resume", resume, "let readings leave again", json=True))
    resending = add_command(group, "resend", resend, "send readings of a time once more", more=_RESEND_HELP, json=True)
    _name(resending)
    resending.add_argument("--from", dest="from_us", metavar="T", type=moment, required=True, help="from then on")
    resending.add_argument("--to", dest="to_us", metavar="T", type=moment, required=True, help="until then")
    resending.add_argument("--dry-run", action="store_true", help="only say how many")
    dead = add_command(
        group, "dead-letters", dead_letters, "print what a destination refuses for good", more=_DEAD_LETTERS_HELP,
        json=True,
    )  # fmt: skip
    _name(dead)
    dead.add_argument("--retry", action="store_true", help="send them once more")


def _name(parser: Parser) -> None:
    parser.add_argument("name", metavar="SINK", help="its name in the settings, [sink.NAME]")


def list_(arguments: argparse.Namespace) -> int:
    """Print every destination."""
    facts = _sinks(load_settings(arguments))
    if arguments.json:
        emit(facts)
        return 0
    if not facts:
        say("the settings name no destination")
        return 0
    for line in _overview(facts):
        print(line)
    return 0


def pause(arguments: argparse.Namespace) -> int:
    """Let nothing leave."""
    answer = _order(arguments, "pause")
    if arguments.json:
        emit(answer)
    say(f"{arguments.name} is paused, {_readings(answer['queued'])} waiting; lorawan-gateway sink resume")
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """Let readings leave again."""
    answer = _order(arguments, "resume")
    if arguments.json:
        emit(answer)
    say(f"{arguments.name} goes on, {_readings(answer['queued'])} waiting")
    return 0


def resend(arguments: argparse.Namespace) -> int:
    """Send readings of a time once more."""
    if arguments.to_us <= arguments.from_us:
        raise UsageError("--to is not later than --from", hint="lorawan-gateway sink resend --help")
    answer = _order(arguments, "resend", from_us=arguments.from_us, to_us=arguments.to_us, dry_run=arguments.dry_run)
    if arguments.json:
        emit(answer)
    verb = "would leave" if arguments.dry_run else "leave" if answer["records"] != 1 else "leaves"
    say(f"{_readings(answer['records'])} {verb} once more to {arguments.name}")
    return 0


def dead_letters(arguments: argparse.Namespace) -> int:
    """Print what a destination refuses for good, or send it once more."""
    if arguments.retry:
        answer = _order(arguments, "retry")
        if arguments.json:
            emit(answer)
        say(f"{_readings(answer['records'])} tried once more at {arguments.name}")
        return 0
    letters = _dead_letters(arguments)
    if arguments.json:
        emit(letters)
        return 0
    if not letters:
        say(f"{arguments.name} has refused nothing")
        return 0
    rows = (
        (letter["position"], _when(letter["time"]), letter["name"] or letter["dev_eui"] or "gone", letter["reason"])
        for letter in letters
    )
    for line in table(("POSITION", "HEARD (UTC)", "DEVICE", "REASON"), rows, elastic=(2, 3)):
        print(line)
    return 0


# --- asking ---------------------------------------------------------------------------------------------------------


def _order(arguments: argparse.Namespace, order: str, **facts: Any) -> Any:
    from gateway.console.asking import ask

    settings = load_settings(arguments)
    _known(settings, arguments.name)
    return ask(settings, order, {"sink": arguments.name, **facts})


def _known(settings: Settings, name: str) -> None:
    if name not in settings.sink:
        raise UsageError(f"there is no sink {name!r}", hint=f"known: {', '.join(settings.sink) or 'none'}")


def _dead_letters(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from gateway.console.asking import log_files
    from gateway.console.control import ControlClient
    from gateway.control import dead_letter_json

    settings = load_settings(arguments)
    _known(settings, arguments.name)
    client = ControlClient(settings.store.path)
    if client.runs():
        letters: list[dict[str, Any]] = client.order("dead-letters", {"sink": arguments.name})
        return letters
    with log_files(settings) as files:
        return [
            dead_letter_json(letter, files.record_id(letter.position)) for letter in files.dead_letters(arguments.name)
        ]


def _sinks(settings: Settings) -> list[dict[str, Any]]:
    """The destinations as `status` has them; while no daemon runs, what the files say."""
    from gateway.console.asking import log_files
    from gateway.console.control import ControlClient

    try:
        running: list[dict[str, Any]] = ControlClient(settings.store.path).status()["sinks"]
    except NotRunning:
        with log_files(settings) as files:
            lost = files.lost()
            return [_at_rest(name, files.progress(name), len(files.dead_letters(name)), files.head, lost)
                    for name in settings.sink]  # fmt: skip
    return running


def _at_rest(name: str, progress: Any, dead: int, head: int, lost: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    paused = progress is not None and progress.paused
    return {
        "name": name,
        "state": "paused" if paused else "stopped",
        "evidence": "no daemon runs",
        "acknowledged": 0 if progress is None else progress.acknowledged,
        "queued": 0 if progress is None else progress.queued(head),
        "given_up": 0 if progress is None else progress.given_up,
        "skipped": 0 if progress is None else progress.skipped,
        "oldest_age_s": None,
        "dead_letters": dead,
        "paused": paused,
        "resent": 0 if progress is None else progress.resent,
        "losses": {reason: records for (sink, reason), records in lost.items() if sink == name},
    }


# --- for people -----------------------------------------------------------------------------------------------------


def _overview(sinks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = (
        (*(sink[key] for key in ("name", "state", "acknowledged", "queued", "given_up", "resent", "dead_letters")),)
        for sink in sinks
    )
    yield from table(("SINK", "STATE", "ACKNOWLEDGED", "QUEUED", "GIVEN UP", "RESENT", "DEAD"), rows, elastic=(0,))
    for sink in sinks:
        for reason, records in sink["losses"].items():
            yield f"{sink['name']}: {_readings(records)} lost by {reason.replace('_', ' ')}"


def _readings(number: int) -> str:
    return "1 reading" if number == 1 else f"{number} readings"


def _when(text: str | None) -> str:
    return "-" if text is None else text[:19].replace("T", " ")
