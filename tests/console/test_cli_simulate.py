"""`simulate chip` as a process: the device, the lines of JSON, the end."""

import json
import os
import signal
import subprocess
import sys
import tty

import pytest
from simulator.served_site import within

from gateway.console.cli import main


@pytest.fixture
def chip(tmp_path):
    command = [sys.executable, "-m", "gateway", "simulate", "chip", "--json", "--pty", str(tmp_path / "tty")]
    command += ["--scenario", "village.toml", "--devices", str(tmp_path / "devices.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_it_says_where_it_is_breaks_on_demand_and_stops_cleanly(chip, tmp_path):
    ready = json.loads(chip.stdout.readline())
    assert (ready["event"], ready["pty"]) == ("ready", str(tmp_path / "tty"))
    assert os.path.realpath(tmp_path / "tty") == ready["device"]
    assert len(bytes.fromhex(ready["eui"])) == 8
    chip.stdin.write("fault unplug\n")
    chip.stdin.flush()
    assert json.loads(chip.stdout.readline())["event"] == "reset"
    assert json.loads(chip.stdout.readline()) == {"event": "fault", "fault": "unplug"}
    chip.stdin.write("fault clear\n")
    chip.stdin.flush()
    assert json.loads(chip.stdout.readline()) == {"event": "clear", "faults": ["unplug"]}
    chip.send_signal(signal.SIGTERM)
    assert chip.wait(10) == 0
    assert not (tmp_path / "tty").is_symlink()


def test_the_devices_around_it_can_be_imported(chip, tmp_path, capsys):
    chip.stdout.readline()
    (tmp_path / "gateway.toml").write_text(f'[store]\npath = "{tmp_path / "store"}"\n')
    config = ["--config", str(tmp_path / "gateway.toml")]
    assert main([*config, "device", "import", str(tmp_path / "devices.csv")]) == 0
    capsys.readouterr()
    assert main([*config, "device", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8


def test_it_stops_by_itself_when_asked_and_starts_broken_when_asked(tmp_path, capfd):
    path = tmp_path / "tty"
    arguments = ["simulate", "chip", "--pty", str(path), "--for", "0.05", "--fault", "stuck-low", "--fault", "no-pps"]
    assert main(arguments) == 0
    shown = capfd.readouterr().out
    assert str(path) in shown
    assert "stuck-low" in shown


def test_who_does_not_read_what_it_says_does_not_stop_it(chip, tmp_path):
    chip.stdout.readline()
    for _ in range(3_000):  # each is answered by a line or two: more than a pipe holds
        chip.stdin.write("fault counter-jump\nfault clear\n")
    chip.stdin.flush()
    device = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device)
    os.write(device, bytes.fromhex("11000000"))
    assert len(os.read(device, 64)) == 4 + 12 + 9
    os.close(device)
    events = []
    while not events or events[-1]["event"] != "untold":
        if events and len(events) % 50 == 0:
            chip.stdin.write("fault clear\n")
            chip.stdin.flush()
        events.append(json.loads(chip.stdout.readline()))
    assert events[-1]["events"] > 100


def test_a_board_may_be_unplugged_from_the_start(tmp_path):
    command = [sys.executable, "-m", "gateway", "simulate", "chip", "--pty", str(tmp_path / "tty"), "--fault", "unplug"]
    with subprocess.Popen([*command, "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        told = [json.loads(process.stdout.readline())["event"] for _ in range(3)]
        assert told == ["ready", "reset", "fault"]
        assert within(5, lambda: not (tmp_path / "tty").is_symlink())
        process.stdin.write("fault clear\n")
        process.stdin.flush()
        assert within(5, (tmp_path / "tty").is_symlink)
        process.terminate()
        assert process.wait(10) == 0


def test_an_unknown_fault_and_a_taken_path_are_usage(tmp_path, capsys):
    assert main(["simulate", "chip", "--pty", str(tmp_path / "tty"), "--fault", "gremlins"]) == 2
    (tmp_path / "file").touch()
    assert main(["simulate", "chip", "--pty", str(tmp_path / "file")]) == 2
    assert "gremlins" in capsys.readouterr().err


def test_a_receiver_speaks_and_obeys(tmp_path):
    serial = pytest.importorskip("serial", reason="pip install pyserial")
    command = [
        sys.executable,
        "-m",
        "gateway",
        "simulate",
        "gps",
        "--pty",
        str(tmp_path / "gps"),
        "--latitude",
        "-33.5",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
        try:
            assert str(tmp_path / "gps") in far.stdout.readline()
            with serial.Serial(str(tmp_path / "gps"), 9600, timeout=5) as line:
                said = line.readline()
                assert said.startswith(b"$GNRMC,")
                assert b",3330.0" in said or b",3329.9" in said
                far.stdin.write("fault no-fix\n")
                far.stdin.flush()
                while b",V," not in (said := line.readline()):
                    assert said
        finally:
            far.send_signal(signal.SIGTERM)
        assert far.wait(10) == 0
    assert not (tmp_path / "gps").is_symlink()


@pytest.mark.parametrize("more", [["--fault", "none"], ["--latitude", "91"]])
def test_a_receiver_that_cannot_be_is_refused(tmp_path, more, capsys):
    assert main(["simulate", "gps", "--pty", str(tmp_path / "gps"), "--for", "0.05", *more]) == 2
    assert capsys.readouterr().err


def test_a_receiver_stops_by_itself_when_asked(tmp_path, capfd):
    assert main(["simulate", "gps", "--pty", str(tmp_path / "gps"), "--for", "0.05", "--fault", "silence"]) == 0
    assert str(tmp_path / "gps") in capfd.readouterr().out
