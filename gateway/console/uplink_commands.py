"""`uplink …`: what was kept: looked at, taken out, and read again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, add_group, dev_eui, moment, whole
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import emit, say, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gateway.console.arguments import Commands, Parser
    from gateway.model import DevAddr, GatewayEui, RadioFrame, Record
    from gateway.store.queries import LogFiles, Span

_TIMES = """\
A time is RFC 3339 (2026-11-23T08:00:00Z), a date or a time of this machine (2026-11-23,
2026-11-23T09:00), how long ago (-90min, -3h, -2d, -1w), or "now". --to itself is not included.
"""
_EXPORT_HELP = f"""\
One JSON object a line, oldest first, in the order of keeping. With --raw every frame that was
kept, readings with their phy_payload, and between them by time those that nobody could open:
"dev_eui": null, and why. A frame that was read again later appears as both, with one id.

{_TIMES}"""
_REREAD_HELP = f"""\
Frames that nobody could open are tried with the keys of today, and readings whose codec failed
are decoded with the codec of today (--all: every reading, where the result differs). What comes
out is kept and delivered as new readings, "late", with the time and id of the frame. What was
read again is not read a second time.

{_TIMES}"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "uplink", "readings and frames that were kept")
    listing = add_command(group, "list", list_, "print the newest readings, newest first", more=_TIMES, json=True)
    _which(listing)
    listing.add_argument("--limit", metavar="N", type=whole, default=20, help="at most so many, 20 when left out")
    exporting = add_command(group, "export", export, "print readings as JSON lines", more=_EXPORT_HELP, json=True)
    _which(exporting)
    exporting.add_argument("--raw", action="store_true", help="every frame that was kept, as it was heard")
    rereading = add_command(
        group, "reread", reread, "run the keys and codecs of today over what was kept", more=_REREAD_HELP, json=True
    )
    _which(rereading)
    rereading.add_argument("--all", action="store_true", help="readings without a problem, too")


def _which(parser: Parser) -> None:
    parser.add_argument("--dev-eui", metavar="E", type=dev_eui, help="of this device only")
    parser.add_argument("--from", dest="from_us", metavar="T", type=moment, help="heard from then on")
    parser.add_argument("--to", dest="to_us", metavar="T", type=moment, help="heard before")


def list_(arguments: argparse.Namespace) -> int:
    """Print the newest readings."""
    from gateway.wire.own_json import reading_json

    with _opened(arguments) as files:
        found = [reading_json(record) for record in files.newest(_span(arguments, files), arguments.limit)]
    if arguments.json:
        emit(found)
        return 0
    if not found:
        say("no such reading is kept")
        return 0
    from gateway.console.status_page import reading_cells

    for line in table(("HEARD", "DEVICE", "F_CNT", "READING", "SIGNAL"), map(reading_cells, found), elastic=(1, 3)):
        print(line)
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Print readings as JSON lines."""
    from gateway.wire.own_json import json_bytes, reading_bytes

    written = 0
    with _opened(arguments) as files:
        span = _span(arguments, files)
        lines = (
            (json_bytes(_raw(item, files.gateway_eui)) for item in files.everything(span))
            if arguments.raw
            else map(reading_bytes, files.records(span))
        )
        written = _write(lines)
        damaged = files.damaged
    say(f"{written} {'frame' if arguments.raw else 'reading'}{'s'[: written != 1]} exported")
    if damaged:
        say(f"{damaged} record{'s'[: damaged != 1]} cannot be read: damaged")
    return 0


def _write(lines: Iterator[bytes]) -> int:
    """Whole lines to stdout, bytes as they are: JSON is UTF-8 whatever the terminal speaks."""
    out = sys.stdout.buffer
    written = 0
    for line in lines:
        out.write(line + b"\n")
        written += 1
    out.flush()
    return written


def _raw(item: Record | tuple[str, RadioFrame], gateway_eui: GatewayEui) -> dict[str, Any]:
    from gateway.console import wording
    from gateway.model import Refusal, Refused
    from gateway.wire.own_json import reading_json, unopened_json

    if not isinstance(item, tuple):
        return {**reading_json(item), "phy_payload": item.reading.phy.hex()}
    reason, frame = item
    refused = Refused(Refusal(reason), wording.reason(reason)[0], _dev_addr(frame))
    return unopened_json(gateway_eui, frame, refused)


def _dev_addr(frame: RadioFrame) -> DevAddr | None:
    """Whose a frame says it is; joins say no address."""
    from gateway.lorawan.frame import DataFrame, MalformedFrame, parse

    try:
        message = parse(frame.phy)
    except MalformedFrame:
        return None
    return message.dev_addr if isinstance(message, DataFrame) else None


def reread(arguments: argparse.Namespace) -> int:
    """Run the keys and codecs of today over what was kept."""
    from gateway.console.asking import ask

    _check_times(arguments)
    facts = {
        "dev_eui": None if arguments.dev_eui is None else str(arguments.dev_eui),
        "from_us": arguments.from_us,
        "to_us": arguments.to_us,
        "everything": arguments.all,
    }
    answer = ask(load_settings(arguments), "reread", facts)
    if arguments.json:
        emit(answer)
    say(f"of {answer['frames']} frames that nobody could open, {answer['opened']} are opened now")
    say(f"of {answer['decoded_again']} readings decoded again, {answer['still_failing']} still fail")
    say(f"{answer['records']} new reading{'s'[: answer['records'] != 1]} kept and on the way")
    return 0


def _opened(arguments: argparse.Namespace) -> LogFiles:
    from gateway.console.asking import log_files

    _check_times(arguments)
    return log_files(load_settings(arguments))


def _check_times(arguments: argparse.Namespace) -> None:
    if None not in (arguments.from_us, arguments.to_us) and arguments.to_us <= arguments.from_us:
        raise UsageError("--to is not later than --from")


def _span(arguments: argparse.Namespace, files: LogFiles) -> Span:
    from gateway.store.queries import Span

    return Span(arguments.dev_eui, arguments.from_us, arguments.to_us, files.date)
