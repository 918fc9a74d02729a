"""The command `lorawan-gateway`: reads the command line, runs one function, turns errors into words and exit codes.

Exit codes: 0 done, 1 the thing asked for failed (or a bug, with its traceback), 2 usage or settings, 3 radio hardware,
4 storage. This is the only place that prints a `GatewayError`. Commands import what they need when they run, so that
`--help` and tab completion answer at once on a Pi.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.console import (
    codec_commands,
    device_commands,
    downlink_commands,
    live_commands,
    run_commands,
    scan_commands,
    settings_commands,
    simulate_commands,
    sink_commands,
    uplink_commands,
)
from gateway.console.arguments import Parser, shared_options
from gateway.console.terminal import say, tolerate_any_text
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

GROUPS = (
    run_commands,
    settings_commands,
    live_commands,
    device_commands,
    codec_commands,
    uplink_commands,
    downlink_commands,
    sink_commands,
    scan_commands,
    simulate_commands,
)
"""Each registers its commands; the order is that of `--help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    tolerate_any_text()
    try:
        arguments = build_parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as end:  # argparse has printed help, or what was wrong
        return end.code if isinstance(end.code, int) else 0
    except GatewayError as error:
        for line in error.lines():
            say(line)
        return error.exit_code
    except KeyboardInterrupt:
        say("stopped")
        return 1
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    return code


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="lorawan-gateway",
        description="LoRaWAN edge gateway: hears devices, decodes them, keeps everything, delivers readings.",
        epilog="Every command has --help. Where a command prints facts, --json prints them as JSON.",
        parents=[shared_options()],
    )
    parser.add_argument("--version", action="version", version=f"lorawan-gateway {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in GROUPS:
        group.register(commands)
    return parser


def _let_go_of_stdout() -> None:
    """The reader has seen enough; keep Python from saying so once more when it flushes at the end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = None


if __name__ == "__main__":
    sys.exit(main())
