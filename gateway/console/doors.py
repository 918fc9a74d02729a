"""Sockets the console listens on: TCP for browsers and Prometheus, a Unix socket in the data folder for commands.

A Unix socket's path has room for 107 bytes (`sun_path`, unix(7)), a data folder's path may be longer. Both sides go
through `/proc/self/fd/N/NAME`, N being the opened folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError, NotRunning, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTROL = "control.sock"

DEAD_PEER_MS = 30_000
"""A phone that walks out of range says no goodbye: after this long without an acknowledgement it is gone."""

FAMILY_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""`localhost` names ::1 also where IPv6 is switched off; one of its addresses is enough."""

KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


def split_listen(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080` or `:8080` as host and port; UsageError for anything else."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    bare = ":" in host and not listen.startswith("[")
    if not colon or bare or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(
            f"console.listen = {listen!r} is no address and port",
            hint='Write it as "127.0.0.1:8080", as "[::1]:8080", or as "0.0.0.0:8080" for every interface.',
        )
    return host, int(port)


def tcp_sockets(listen: str) -> list[socket.socket]:
    """Sockets that listen on every address the name stands for; GatewayError when one cannot be had."""
    host, port = split_listen(listen)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as reason:  # UnicodeError: no host name can be spelled like this
        raise GatewayError(
            f"The console cannot listen on {listen}: {getattr(reason, 'strerror', None) or reason}",
            hint="Give console.listen an IP address of this gateway.",
        ) from reason
    addresses = dict.fromkeys((family, address) for family, _, _, _, address in found)
    opened: list[socket.socket] = []
    absent: OSError | None = None
    for family, address in addresses:
        try:
            opened.append(_tcp_socket(family, address, alone=len(addresses) == 1))
        except OSError as reason:
            absent = reason
            if reason.errno not in FAMILY_ABSENT:
                break
    if absent is not None and (not opened or absent.errno not in FAMILY_ABSENT):
        for one in opened:
            one.close()
        raise GatewayError(
            f"The console cannot listen on {listen}: {os.strerror(absent.errno or 0)}",
            hint=_listen_hint(absent.errno, port),
        ) from absent
    return opened


def _tcp_socket(family: int, address: tuple[Any, ...], *, alone: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart does not wait for TIME_WAIT
        if family == socket.AF_INET6:
            # "[::]" alone means both families, as people expect; beside 0.0.0.0 it would collide.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not alone)
        # Connections inherit these from the socket that accepts them.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        for option, value in KEEPALIVE:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
        opened.bind(address)
        opened.listen(64)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _listen_hint(number: int | None, port: int) -> str:
    match number:
        case errno.EADDRINUSE:
            return f"Somebody has port {port}: see `ss -ltnp 'sport = :{port}'`, or give console.listen another port."
        case errno.EACCES | errno.EPERM:
            return "Ports below 1024 need a privilege: give console.listen a port above, such as 8080."
        case errno.EADDRNOTAVAIL:
            return "No interface of this gateway has that address: see `ip address`."
        case _:
            return "Give console.listen an address and a port of this gateway."


@contextlib.contextmanager
def control_path(folder: Path, name: str = CONTROL) -> Iterator[str]:
    """A path to the control socket that is short enough to bind or connect, valid inside the `with`."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def control_socket(folder: Path, name: str = CONTROL) -> socket.socket:
    """A listening socket in the data folder that its owner alone may use; replaces one that a crash left behind.

    StorageError when the folder cannot hold it, GatewayError when another daemon answers there.
    """
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with control_path(folder, name) as path:
            _clear(folder / name, path)
            os.fchmod(opened.fileno(), 0o600)  # before bind, so that the file never has wider rights (Linux)
            opened.bind(path)
        opened.listen(64)
        opened.setblocking(False)
    except OSError as reason:
        opened.close()
        raise StorageError(
            f"No control socket in {folder}: {os.strerror(reason.errno or 0)}",
            hint="The data folder (store.path) must exist and belong to the user the gateway runs as.",
        ) from reason
    except GatewayError:
        opened.close()
        raise
    return opened


def _clear(shown: Path, short: str) -> None:
    """Remove the socket of a daemon that is no more."""
    try:
        mode = shown.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StorageError(f"{shown} is in the way: it is not a socket", hint="Move it out of the data folder.")
    if _answers(short):
        raise GatewayError(
            f"A gateway runs on {shown.parent} already: its control socket answers",
            hint="Stop it first, or give this one a data folder of its own: systemctl status lorawan-gateway",
        )
    shown.unlink()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # full backlog, timeout: somebody is there
            return True
    return True


def forget(folder: Path, name: str, inode: int) -> None:
    """Remove our socket's file when we leave, unless another daemon has put its own there."""
    with contextlib.suppress(OSError):
        path = folder / name
        if path.stat(follow_symlinks=False).st_ino == inode:
            path.unlink()


def connect_control(folder: Path, name: str = CONTROL) -> socket.socket:
    """A connected socket to the daemon of this data folder, blocking; NotRunning when none answers."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with control_path(folder, name) as path:
            opened.connect(path)
    except PermissionError as reason:
        opened.close()
        raise NotRunning(
            f"The gateway's control socket in {folder} is not yours to use",
            hint="Run the command as the gateway's user or as root: sudo lorawan-gateway …",
        ) from reason
    except OSError as reason:
        opened.close()
        raise NotRunning(
            f"No gateway runs on {folder}",
            hint="Start it: systemctl start lorawan-gateway. Has it another data folder? Name its settings: --config",
        ) from reason
    return opened
