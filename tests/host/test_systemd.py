"""The datagrams that a service manager gets, read from a real socket. Names and meaning: sd_notify(3)."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.host.systemd import Notifier

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request):
    """A socket where systemd would listen, and the value NOTIFY_SOCKET has for it."""
    # Not tmp_path: sun_path ends after 108 bytes, and pytest's folders are long.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = Path(folder, "notify")
        name = f"@{path}" if request.param == "abstract" else str(path)
        listener.bind(b"\0" + os.fsencode(path) if request.param == "abstract" else str(path))
        listener.settimeout(5)
        yield listener, name


def test_each_message_is_one_datagram_of_assignments(manager):
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}, pid=PID)
    notifier.ready("hearing on 127.0.0.1:1700")
    notifier.status("3 readings wait for the broker")
    notifier.watchdog()
    notifier.stopping()
    assert [listener.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=hearing on 127.0.0.1:1700",
        b"STATUS=3 readings wait for the broker",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_the_environment_of_the_process_is_the_default(manager, monkeypatch):
    listener, name = manager
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    notifier.ready()
    assert (listener.recv(4096), notifier.watchdog_interval_s) == (b"READY=1", 1.5)


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="needs systemd-notify: apt-get install systemd")
def test_systemd_s_own_tool_says_the_same(manager):
    listener, name = manager
    subprocess.run(
        ["systemd-notify", "--no-block", "--ready", "--status=hearing"], env={"NOTIFY_SOCKET": name}, check=True
    )
    theirs = listener.recv(4096)
    Notifier({"NOTIFY_SOCKET": name}).ready("hearing")
    assert sorted(listener.recv(4096).split(b"\n")) == sorted(theirs.split(b"\n"))


@pytest.mark.parametrize(
    ("environ", "interval_s"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(PID)}, 30.0),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),  # WATCHDOG_PID may be missing: then it is meant for whoever reads it
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # inherited from a parent
        ({"WATCHDOG_PID": str(PID)}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_due_at_half_the_watchdog_s_time(environ, interval_s):
    assert Notifier({"NOTIFY_SOCKET": "@somewhere", **environ}, pid=PID).watchdog_interval_s == interval_s


@pytest.mark.parametrize("value", ["soon", "0", "-1", "1e6", "٣", " 5"])
def test_a_watchdog_time_that_is_none_is_told_once_and_ignored(value, caplog):
    notifier = Notifier({"NOTIFY_SOCKET": "@somewhere", "WATCHDOG_USEC": value})
    assert notifier.watchdog_interval_s is None
    assert "WATCHDOG_USEC" in caplog.text


def test_without_a_watchdog_there_is_no_sign_of_life(manager):
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.watchdog()
    notifier.status("next")
    assert listener.recv(4096) == b"STATUS=next"


def test_without_systemd_nothing_happens(caplog):
    notifier = Notifier({"WATCHDOG_USEC": "60000000"})
    notifier.ready("on a desk")
    notifier.status("still")
    notifier.watchdog()
    notifier.stopping()
    assert (notifier.listens, notifier.watchdog_interval_s, caplog.text) == (False, None, "")


def test_an_address_of_another_kind_is_told_and_ignored(caplog):
    notifier = Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
    notifier.ready()
    assert not notifier.listens
    assert "vsock:2:1234" in caplog.text


def test_a_systemd_that_went_away_costs_one_warning(manager, caplog):
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    listener.close()
    with contextlib.suppress(FileNotFoundError):
        Path(name).unlink()
    with caplog.at_level(logging.DEBUG):
        notifier.status("one")
        notifier.status("two")
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]


def test_a_systemd_that_does_not_read_never_holds_up_a_sign_of_life(manager, caplog):
    listener, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    for _ in range(10_000):  # far more than a socket's queue takes; a wait here would never end
        notifier.watchdog()
    assert "WATCHDOG=1" in caplog.text
    assert listener.recv(4096) == b"WATCHDOG=1"


@given(text=st.text(st.characters(codec=None)) | st.text(min_size=1).map(lambda part: part * 10_000))
def test_whatever_the_status_says_ready_gets_through_and_nothing_else_is_assigned(text):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        name = str(Path(folder, "notify"))
        listener.bind(name)
        listener.settimeout(5)
        Notifier({"NOTIFY_SOCKET": name}).ready(text)
        assignments = listener.recv(1 << 17).split(b"\n")
    assert [assignment.partition(b"=")[0] for assignment in assignments] == [b"READY", b"STATUS"][
        : 1 + bool(text.split())
    ]
