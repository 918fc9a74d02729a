"""`status` and `tail`: what the running daemon says of itself and hears."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from gateway.console.arguments import add_command, dev_eui
from gateway.console.run_commands import stopping_is_fine
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import WIDTH, emit, emit_line

if TYPE_CHECKING:
    import argparse

    from gateway.console.arguments import Commands


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    add_command(
        commands, "status", status, "the running daemon: radio, clock, store, sinks, custody balance", json=True
    )
    tailing = add_command(commands, "tail", tail, "uplinks as they are heard, until Ctrl-C", json=True)
    tailing.add_argument("--dev-eui", metavar="E", type=dev_eui, help="of this device only")
    tailing.add_argument("--raw", action="store_true", help="each packet as it is heard, and what becomes of it")


def status(arguments: argparse.Namespace) -> int:
    """Print the state of the daemon."""
    from gateway.console.control import ControlClient

    facts = ControlClient(load_settings(arguments).store.path).status()
    if arguments.json:
        emit(facts)
    else:
        from gateway.console.status_page import page

        for line in page(facts):
            print(line)
    return 0


def tail(arguments: argparse.Namespace) -> int:
    """Print readings as they come."""
    with stopping_is_fine():
        from gateway.console.control import ControlClient
        from gateway.console.packets import PacketLines
        from gateway.console.status_page import reading_line

        packets = PacketLines(shutil.get_terminal_size((WIDTH, 24)).columns) if arguments.raw else None
        client = ControlClient(load_settings(arguments).store.path)
        wanted = None if arguments.dev_eui is None else str(arguments.dev_eui)
        for reading in client.tail(dev_eui=wanted, raw=arguments.raw):
            if arguments.json:
                emit_line(reading)
            else:
                for line in [reading_line(reading)] if packets is None else packets.of(reading):
                    print(line, flush=True)
    return 0
