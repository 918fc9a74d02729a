"""`run` and `demo`: the daemon, with a settings file and without one."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.console.arguments import add_command, seconds, speed, whole
from gateway.console.settings_commands import settings_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gateway.console.arguments import Commands


_DEMO_HELP = """\
Needs no settings: waste containers, museum rooms and water meters send to a virtual
concentrator. A line per decoded reading is printed, pages are on http://127.0.0.1:8080,
the store lies in a temporary folder. Ctrl-C ends it.
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    add_command(commands, "run", run, "the daemon")
    parser = add_command(commands, "demo", demo, "the daemon in a small virtual city", more=_DEMO_HELP)
    parser.add_argument("--for", dest="for_s", metavar="SECONDS", type=seconds, help="stop by itself after this time")
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="keep the store here; without it, in a temporary folder"
    )
    parser.add_argument("--seed", metavar="N", type=whole, help="the same seed gives the same city and the same losses")
    parser.add_argument("--speed", metavar="X", type=speed, default=1.0, help="60: an hour passes in a minute")


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    with stopping_is_fine():
        from gateway.settings import load_for_run

        settings = load_for_run(settings_path(arguments))
        from gateway import daemon

        return daemon.run(settings)
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the demo until it is told to stop."""
    with stopping_is_fine():
        from gateway.console import demo as city

        options = city.DemoOptions(
            for_s=arguments.for_s, data_dir=arguments.data_dir, seed=arguments.seed, speed=arguments.speed
        )
        return city.demo(options)
    return 0


@contextmanager
def stopping_is_fine() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a command that runs until it is told to stop: its caller goes on behind the `with`.

    Commands that install handlers of their own (the daemon) replace these; they cover the time before and after.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
