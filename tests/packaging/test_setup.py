"""The scripts that prepare a checkout, run on a machine that is described by the commands it has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
BASE = ["sh", "env", "dirname", "mktemp", "rm", "tail", "touch"]


class Machine:
    """A folder of commands that stands for a whole machine."""

    def __init__(self, folder):
        self.folder = folder
        for command in BASE:
            (folder / command).symlink_to(shutil.which(command))

    def has(self, command, script):
        file = self.folder / command
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def run(self, script, *arguments, **environ):
        return subprocess.run(
            [REQUIREMENTS / script, *arguments],
            env={"PATH": str(self.folder), "HOME": os.environ.get("HOME", "/"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


WISHES = ["nonesuch-server=nonesuchd", "sh-package=sh", "nonesuch-clients=nonesuch_sub"]
INSTALL = 'case "$*" in *install*) printf "%s\\n" "$*" >> "$(dirname "$0")/installed";; esac'


def test_a_user_who_may_not_install_gets_one_line_to_type(machine):
    machine.has("id", "echo 1000")
    machine.has("apt-get", "touch never; exit 1")
    done = machine.run("debian.sh", *WISHES)
    [line] = done.stderr.splitlines()
    assert line.endswith("sudo apt-get install --no-install-recommends nonesuch-server nonesuch-clients")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(("uid", "has_sudo"), [(0, False), (1000, True)])
def test_whoever_may_install_gets_exactly_what_is_missing(machine, uid, has_sudo):
    machine.has("id", f"echo {uid}")
    machine.has("apt-get", INSTALL)
    if has_sudo:
        machine.has("sudo", '[ "$1" = -n ] && shift && [ "$1" = true ] || exec "$@"')
    done = machine.run("debian.sh", *WISHES)
    assert done.returncode == 0, done.stderr
    [line] = (machine.folder / "installed").read_text().splitlines()
    assert line.endswith("--no-install-recommends nonesuch-server nonesuch-clients")


def test_an_installation_that_fails_shows_why_and_what_to_type(machine):
    machine.has("id", "echo 0")
    machine.has("apt-get", 'case "$*" in *install*) echo "E: no such package"; exit 100;; esac')
    done = machine.run("debian.sh", *WISHES)
    assert done.returncode == 1
    assert "E: no such package" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("nonesuch-server nonesuch-clients")


def test_nothing_missing_means_nothing_said_and_nothing_asked(machine):
    done = machine.run("debian.sh", "sh-package=sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_python_that_is_named_is_taken(machine):
    done = machine.run("python.sh", PYTHON=sys.executable)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


@pytest.mark.parametrize("script", ["exit 127", 'echo "too old" >&2; exit 1'])
def test_a_named_python_that_will_not_do_is_refused_with_the_reason(machine, script):
    machine.has("oldpython", script)
    done = machine.run("python.sh", PYTHON="oldpython")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("PYTHON=oldpython will not do")


def test_a_python_that_does_not_run_is_passed_over_for_one_that_does(machine):
    machine.has("python3.11", 'echo "pyenv: python3.11: command not found" >&2; exit 127')
    machine.has("python3.13", f'exec {sys.executable} "$@"')
    machine.has("python3", "exit 1")
    done = machine.run("python.sh")
    assert (done.returncode, done.stdout.strip()) == (0, str(machine.folder / "python3.13"))
