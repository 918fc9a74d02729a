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


def test_the_boards_show_their_offset_and_their_powers(run):
    line = next(line for line in run("--boards")[1].splitlines() if line.startswith("rak2287"))
    assert " -215.4 " in line
    assert " -6..27 " in line


def test_a_measured_power_gives_the_table_that_is_right(run):
    code, out, _ = run("--power", "14", "--measured", "12.6")
    assert code == 0
    assert out.startswith('tx_gains = ["12:1/4", "13:1/6", "15:1/7"')
    code, out, _ = run("--power", "14", "--measured", "12.6", "--json")
    table = json.loads(out)["tx_gains"]
    assert "13:1/6" in table  # what 14 dBm is sent with; rounded up: never stronger than it says
    assert not any(gain.startswith("14:") for gain in table)
    assert run("--power", "-30", "--measured", "1")[0] == 2


@pytest.mark.parametrize("arguments", [("--level", "5"), ("--level", "loud"), ("--measured", "99")])
def test_what_no_meter_shows_is_usage(run, arguments):
    assert run(*arguments)[0] == 2
