"""Building blocks of the command line that several commands share."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from gateway.model import DevEui

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Commands = argparse._SubParsersAction[Any]  # noqa: SLF001 - argparse has no other name for it


_AGO = re.compile(r"-([0-9]{1,9}(?:\.[0-9]{1,6})?)(s|min|m|h|d|w)")
_AGO_UNITS_S = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Parser(argparse.ArgumentParser):
    """Takes options by their whole name only: a script must not change its meaning when an option is added."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As ever, and `--from -2d` means what it says: a time that is ago is no option."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args(_tied(given), namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to learn more; exit 2. A key behind a misspelt option is not repeated."""
        self.exit(2, f"{self.prog}: {re.sub(r'[0-9A-Fa-f]{32,}', '…', message)}\n→ {self.prog} --help\n")


def _tied(args: Sequence[str]) -> list[str]:
    """Each option tied to a value that begins with a dash and a digit."""
    tied: list[str] = []
    for arg in args:
        if tied and _AGO.fullmatch(arg) and tied[-1].startswith("--") and "=" not in tied[-1]:
            tied[-1] += f"={arg}"
        else:
            tied.append(arg)
    return tied


def shared_options() -> argparse.ArgumentParser:
    """`--config`, before and after the subcommand: absent where it was not given, so that neither place hides it."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=argparse.SUPPRESS,
        help="settings file (else $LORAWAN_GATEWAY_CONFIG, else /etc/lorawan-gateway/gateway.toml)",
    )
    return options


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    more: str = "",
    json: bool = False,
) -> Parser:
    """A command that is done by `run`; with `json`, it has `--json`."""
    parser: Parser = commands.add_parser(
        name, help=summary, description=sentence(summary), epilog=more, parents=[shared_options()]
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Commands, name: str, summary: str) -> Commands:
    """A command that has commands of its own."""
    parser: Parser = commands.add_parser(name, help=summary, description=sentence(summary), parents=[shared_options()])
    return parser.add_subparsers(metavar="COMMAND", required=True)


def sentence(summary: str) -> str:
    """A summary as it opens a help page."""
    return summary[:1].upper() + summary[1:] + "."


def dev_eui(text: str) -> DevEui:
    """A DevEUI on the command line."""
    try:
        return DevEui.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def moment(text: str) -> int:
    """A time on the command line, in microseconds since 1970: RFC 3339, a local date or time, `-2d` ago, or `now`."""
    now_us = time.time_ns() // 1000
    if text == "now":
        return now_us
    if ago := _AGO.fullmatch(text):
        us = float(ago[1]) * _AGO_UNITS_S[ago[2]] * 1e6
        return max(0, now_us - round(us)) if us < 1e18 else 0
    try:
        return round(datetime.fromisoformat(text).astimezone().timestamp() * 1e6)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time such as 2026-11-23T08:00:00Z, 2026-11-23, -2d or now"
        ) from None


def seconds(text: str) -> float:
    """A time in seconds, above zero, on the command line."""
    return _number(text, 0.001, 1e9)


def speed(text: str) -> float:
    """How many times faster than life, on the command line; the bounds are those of the settings."""
    return _number(text, 0.001, 100_000)


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {low:g} to {high:g}")
    return value


def whole(text: str) -> int:
    """A whole number from 0 on the command line."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def assignment(text: str) -> tuple[str, str]:
    """`NAME=VALUE` on the command line."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()
