"""What is installed is what is checked out: program, pages, migrations, scenarios and the catalogue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs the build tool: make test, or pip install hatchling")

CHECKOUT = Path(__file__).parents[2]


def build(kind, folder):
    """A wheel of this checkout, made as pip makes it but without the network."""
    script = f"import hatchling.build; print(hatchling.build.build_{kind}({str(folder)!r}))"
    told = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return folder / told.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's files and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", target, wheel], check=True)
    return target


def shipped(folder, *, below):
    """The files of a folder of the checkout as the wheel names them."""
    files = (file.relative_to(CHECKOUT / folder) for file in (CHECKOUT / folder).rglob("*") if file.is_file())
    return {f"{below}/{file.as_posix()}" for file in files if "__pycache__" not in file.parts}


def gateway(*arguments, found_in, cwd):
    """stdout of a command as a stranger's shell would run it: from elsewhere, with the package from `found_in`."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LORAWAN_"))}
    told = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=cwd,
        env={**environ, "PYTHONPATH": str(found_in)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_wheel_has_every_file_of_the_package_and_of_the_catalogue_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == shipped("gateway", below="gateway") | shipped("codecs", below="gateway/codecs")


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [
        ("gateway/codecs", ".toml"),
        ("gateway/console/pages", ""),
        ("gateway/store/migrations", ".sql"),
        ("gateway/simulator", ".toml"),
    ],
)
def test_the_wheel_has_what_is_no_python(wheel, folder, suffix):
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.startswith(f"{folder}/") and name.endswith(suffix)]


def test_the_wheel_says_its_name_its_command_and_its_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
        [commands] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt")]
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    assert "Name: lorawan-edge-gateway\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "lorawan-gateway = gateway.console.cli:main" in commands
    assert len(licences) == 1


def test_an_editable_install_points_here_and_carries_no_second_catalogue(tmp_path):
    with zipfile.ZipFile(build("editable", tmp_path)) as archive:
        [pointer] = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert archive.read(pointer).decode().split() == [str(CHECKOUT)]


@pytest.mark.parametrize("install", ["ordinary", "editable"])
def test_the_catalogue_is_found_from_anywhere(install, installed, tmp_path):
    found_in = installed if install == "ordinary" else CHECKOUT  # which is what the editable pointer puts on the path
    listed = json.loads(gateway("codec", "list", "--json", found_in=found_in, cwd=tmp_path))
    devices = {
        file.parent.relative_to(CHECKOUT / "codecs").as_posix()
        for file in (CHECKOUT / "codecs").glob("*/*/device.toml")
    }
    assert {codec["name"] for codec in listed} == devices
    assert devices


def test_the_installed_package_is_the_one_that_runs(installed, tmp_path):
    script = "import gateway; print(gateway.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environ, check=True, capture_output=True, text=True
    )
    assert Path(told.stdout.strip()) == installed / "gateway" / "__init__.py"
