"""`check` and `config …`; and how every command finds its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.console import import_command
from gateway.console.arguments import add_command, add_group
from gateway.console.terminal import emit, say

if TYPE_CHECKING:
    import argparse

    from gateway.console.arguments import Commands
    from gateway.settings import Settings

VARIABLE = "LORAWAN_GATEWAY_CONFIG"
DEFAULT = Path("/etc/lorawan-gateway/gateway.toml")


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    add_command(
        commands, "check", check, "examine the settings: every problem at once, FILE:LINE key problem", json=True
    )
    config = add_group(commands, "config", "the settings file")
    add_command(config, "example", example, "print a complete commented settings file")
    import_command.register(config)


def settings_path(arguments: argparse.Namespace) -> Path:
    """The settings file this command is to use."""
    given: Path | None = getattr(arguments, "config", None)
    return given or Path(os.environ.get(VARIABLE) or DEFAULT)


def load_settings(arguments: argparse.Namespace) -> Settings:
    """The settings; SettingsError with every problem, UsageError when there is no such file."""
    from gateway.settings import load

    return load(settings_path(arguments))


def load_settings_if_any(arguments: argparse.Namespace) -> Settings:
    """The settings, or the defaults where nobody named a file and none is installed."""
    from gateway.settings import Settings

    named = getattr(arguments, "config", None) or os.environ.get(VARIABLE)
    return load_settings(arguments) if named or DEFAULT.exists() else Settings()


def check(arguments: argparse.Namespace) -> int:
    """Print every problem of the settings; 0 when there is none, else 2."""
    from gateway.settings import examine

    path = settings_path(arguments)
    found = examine(path)
    if arguments.json:
        emit(
            [
                {"file": problem.file, "line": problem.line, "key": problem.key, "problem": problem.text}
                for problem in found.problems
            ]
        )
    else:
        for problem in found.problems:
            print(problem)
    for note in found.notes:
        say(f"note: {note}")
    number = len(found.problems)
    say(f"{number} problem{'s'[: number != 1]} in {path}" if number else f"{path} is in order")
    return 2 if number else 0


def example(_arguments: argparse.Namespace) -> int:
    """Print the example file."""
    from importlib import resources

    print((resources.files("gateway.settings") / "example.toml").read_text(encoding="utf-8"), end="")
    return 0
