"""`scan` as a person types it; what is measured is tested in radio/test_scanning.py."""

from __future__ import annotations

import json

import pytest

from gateway.console.cli import main

LIBRARY = '[radio]\ntype = "libloragw"\nboard = "rak2287"\nlibrary = "/nowhere/libloragw.so"\n'


@pytest.fixture
def run(tmp_path, capsys):
    def run_command(*arguments, text=LIBRARY):
        path = tmp_path / "gateway.toml"
        path.write_text(text)
        code = main(["scan", "--config", str(path), *arguments])
        return code, *capsys.readouterr()

    return run_command


def test_the_boards_are_listed_with_their_sources(run):
    code, out, _ = run("--boards", "--json")
    boards = {board["board"]: board for board in json.loads(out)}
    assert code == 0
    assert boards["rak2287"]["reset"] == 17
    assert all(board["source"] for board in boards.values())
    assert "RAK2287" in run("--boards")[1]


def test_a_carrier_is_refused_outside_of_a_laboratory(run):
    code, out, err = run("--carrier", "868.1", "--power", "14")
    assert (code, out) == (2, "")
    assert "against the law" in err
    assert "--laboratory" in err


def test_a_radio_without_a_chip_has_nothing_to_scan_with(run):
    code, _, err = run(text='[radio]\ntype = "packet-forwarder"\n')
    assert code == 2
    assert "no chip to scan with" in err


def test_an_absent_library_is_radio_hardware_and_stdout_stays_empty(run):
    code, out, err = run("--json", "--for", "1")
    assert (code, out) == (3, "")
    assert "/nowhere/libloragw.so is not there" in err
    assert "→" in err


@pytest.mark.parametrize(
    "arguments", [("--carrier", "5"), ("--carrier", "much"), ("--power", "99"), ("--samples", "0"), ("--for", "-1")]
)
def test_what_cannot_be_is_usage(run, arguments):
    assert run(*arguments)[0] == 2
