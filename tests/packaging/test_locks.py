"""The lock files: every package pinned and hashed, one version everywhere, and no word about where it was fetched."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LOCKS = ["run", "build", "dev"]
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?P<only> ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def lines(name):
    return (CHECKOUT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def pins(name):
    return {match["name"]: match["version"] for line in lines(name) if (match := PIN.fullmatch(line))}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_pins_and_hashes_and_nothing_else(name):
    assert [line for line in lines(name) if not PIN.fullmatch(line) and not HASH.fullmatch(line)] == []
    assert pins(name)


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_is_followed_by_its_hashes(name):
    text = lines(name)
    unhashed = [
        line for line, after in zip(text, [*text[1:], ""], strict=True) if PIN.match(line) and not HASH.match(after)
    ]
    assert unhashed == []


@pytest.mark.parametrize("name", ["run", "build"])
def test_development_uses_the_versions_that_are_shipped(name):
    assert pins(name).items() <= pins("dev").items()


def test_every_dependency_is_locked():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {re.split(r"[<>=!~ \[;]", wish)[0] for wish in project["project"]["dependencies"]}
    assert wanted <= pins("run").keys()
    assert {re.split(r"[<>=!~ \[;]", wish)[0] for wish in project["build-system"]["requires"]} <= pins("build").keys()
