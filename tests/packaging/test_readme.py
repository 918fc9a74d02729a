"""The README says what the program does: its commands, its files, and the first device are tried here."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.console.cli import build_parser

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CHANGELOG.md", "tests/README.md", "hil_tests/README.md", "images/README.md"]

ANY_KEY = "2b7e151628aed2a6abf7158809cf4f3c"
"""The key of RFC 4493's examples."""


def commands(parser, name):
    """Every command that does something, as it is typed."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        return {name}
    return {
        leaf for group in groups for word, inner in group.choices.items() for leaf in commands(inner, f"{name} {word}")
    }


def block(language, containing):
    """The one code block in `language` that contains the text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if containing in text]
    return found


def test_every_command_has_its_line_and_every_line_its_command():
    assert set(re.findall(r"^\| `(lorawan-gateway [^`]+)` \|", README, re.MULTILINE)) == commands(
        build_parser(), "lorawan-gateway"
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_linked_is_there(document):
    text = (CHECKOUT / document).read_text(encoding="utf-8")
    linked = {link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if link}
    assert {link for link in linked if not (CHECKOUT / document).parent.joinpath(link).exists()} == set()


def test_what_the_map_shows_is_there():
    rows = re.findall(r"^\| (`.*?) \|", README.partition("## Repository map")[2].partition("## ")[0], re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    missing = {name for name in shown if not ((CHECKOUT / name).exists() or (CHECKOUT / "gateway" / name).exists())}
    assert (missing, bool(shown)) == (set(), True)


def test_the_first_device_works_as_written(tmp_path):
    command = tmp_path / "bin" / "lorawan-gateway"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    command.chmod(0o755)
    (tmp_path / "gateway.toml").write_text(block("toml", "[sink.broker]"), encoding="utf-8")
    adding = block("sh", "device add").replace("…32 hex digits…", ANY_KEY)
    script = f"set -e\n{block('sh', 'lorawan-gateway check')}\n{adding}\nlorawan-gateway device list --json\n"
    path = f"{command.parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [device] = json.loads(done.stdout[done.stdout.index("[") :])
    assert (device["dev_eui"], device["name"], device["codec"]) == (
        "70b3d57ed0000001",
        "Container 12",
        "heyliot/heywaste",
    )
