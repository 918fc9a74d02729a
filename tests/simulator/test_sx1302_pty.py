"""The pseudo-terminal, opened as a driver opens it, and the lines that break what is behind it."""

import os
import select
import termios
import tty

import pytest
from simulator.served_site import Running, within

from gateway.errors import UsageError
from gateway.simulator.sx1302 import pty
from gateway.simulator.sx1302.pty import Port

PING = bytes.fromhex("11000000")
PONG_BYTES = 4 + 12 + 9


def opened(path) -> int:
    """As lgw_usb_open does: raw, at 115200."""
    device = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(device, termios.TCSANOW)
    return device


def answer(device: int, size: int) -> bytes:
    data = b""
    while len(data) < size and select.select([device], [], [], 5)[0]:
        data += os.read(device, size - len(data))
    return data


@pytest.fixture
def running(tmp_path):
    with Running(tmp_path / "tty").serving() as served:
        yield served


def test_a_driver_opens_the_path_and_pings(running):
    device = opened(running.port.path)
    os.write(device, PING)
    assert answer(device, PONG_BYTES)[-9:] == b"V01.00.00"
    os.close(device)


def test_drivers_come_and_go(running):
    for _ in range(5):
        device = opened(running.port.path)
        os.write(device, PING)
        assert len(answer(device, PONG_BYTES)) == PONG_BYTES
        os.close(device)


def test_a_driver_that_died_within_a_request_does_not_spoil_the_next_one(running, monkeypatch):
    monkeypatch.setattr(pty, "HALF_REQUEST_S", 0.05)
    device = opened(running.port.path)
    os.write(device, bytes.fromhex("22 0f00 05 0001"))
    os.close(device)
    assert within(5, lambda: running.site.board._bridge.reader.skipped)
    device = opened(running.port.path)
    os.write(device, PING)
    assert len(answer(device, PONG_BYTES)) == PONG_BYTES
    os.close(device)


def test_a_driver_that_reads_nothing_costs_no_answer(running):
    device = opened(running.port.path)
    request = bytes.fromhex("33 0fa5 05 00 01 00 0fa0 00 40 00 00") + bytes(0xFA0 - 4)
    for _ in range(8):
        os.write(device, request)  # the terminal's own buffers are smaller than the answers
    assert len(answer(device, 8 * len(request))) == 8 * len(request)
    os.close(device)


def test_unplugging_takes_the_device_away_and_clearing_brings_it_back(running):
    device = opened(running.port.path)
    running.say("fault unplug")
    assert within(5, lambda: not running.port.path.is_symlink())
    assert select.select([device], [], [], 5)[0]
    with pytest.raises(OSError, match="Input/output error"):
        os.write(device, PING)
    os.close(device)
    running.say("fault clear")
    assert within(5, running.port.path.exists)
    device = opened(running.port.path)
    os.write(device, PING)
    assert len(answer(device, PONG_BYTES)) == PONG_BYTES
    os.close(device)


def test_what_is_not_understood_is_said_and_nothing_else_happens(running):
    for line in ("fault gremlins", "dance", "uplink zz 868100000 7", "uplink 40 868100000 99", "uplink 40 1 7 333"):
        running.say(line)
    assert within(5, lambda: len(running.complaints) == 5)
    device = opened(running.port.path)
    os.write(device, PING)
    assert len(answer(device, PONG_BYTES)) == PONG_BYTES
    os.close(device)


def test_the_link_goes_with_the_server_and_replaces_a_stale_one(tmp_path):
    path = tmp_path / "tty"
    path.symlink_to("/dev/pts/nothing")
    with Running(path).serving():
        assert path.exists()
    assert not path.is_symlink()


def test_nothing_of_anybody_s_is_overwritten(tmp_path):
    (tmp_path / "tty").write_text("mine")
    with pytest.raises(UsageError, match="is no link"):
        Port(tmp_path / "tty")
    with pytest.raises(UsageError, match="cannot be made"):
        Port(tmp_path / "nowhere" / "tty").plug()
    assert (tmp_path / "tty").read_text() == "mine"
