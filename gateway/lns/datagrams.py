"""A connected UDP socket to a server that people name: resolved again whenever it is opened."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DATAGRAMS_A_TURN: Final = 64  # then the loop does something else
DATAGRAM_BUFFER_BYTES: Final = 65_536  # no UDP payload is longer
RECEIVE_BUFFER_BYTES: Final = 1 << 20  # acknowledgements of a burst; the kernel gives at most net.core.rmem_max

Peer = tuple[int, Any]  # address family, address as the socket module writes it


class DatagramLink:
    """Datagrams to and from one server. Not open until `open` has succeeded once; from then on until `close`."""

    def __init__(
        self, host: str, port: int, take: Callable[[bytes], None], troubled: Callable[[OSError], None]
    ) -> None:
        """`take` gets each datagram; `troubled` what the network says instead."""
        self._host = host
        self._port = port
        self._take = take
        self._troubled = troubled
        self._socket: socket.socket | None = None
        self._peer: Peer | None = None
        self._attempts = 0
        self.addresses = 0  # how many the name had when it was asked for

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return self._socket is not None

    @property
    def peer(self) -> str | None:
        """The address behind the name, `192.0.2.1:1700`; None before there was one."""
        if self._peer is None:
            return None
        host, port = self._peer[1][:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def open(self) -> None:
        """Ask for the name and connect a new socket, to its next address if it has several. OSError says why not.

        An open socket stays as it is when there is no new one.
        """
        peers = await _resolve(self._host, self._port)
        self.addresses = len(peers)
        trouble: OSError | None = None
        for _ in peers:
            family, address = peers[self._attempts % len(peers)]
            self._attempts += 1
            try:
                fresh = _connected(family, address)
            except OSError as error:
                trouble = error
                continue
            self.close()
            self._socket, self._peer = fresh, (family, address)
            asyncio.get_running_loop().add_reader(fresh, self._readable)
            return
        raise trouble or OSError(errno.EADDRNOTAVAIL, f"{self._host} has no address")

    def close(self) -> None:
        """Let go of the socket; `open` makes another one."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def send(self, datagram: bytes) -> None:
        """Give it to the kernel. BlockingIOError: its buffer is full; another OSError says what the network says."""
        if self._socket is None:
            raise OSError(errno.ENOTCONN, "there is no socket")
        try:
            self._socket.send(datagram)
        except ConnectionRefusedError:  # what became of an earlier datagram; this one has not been sent
            self._socket.send(datagram)

    def has_moved(self) -> bool:
        """Whether a socket made now would have another address of ours: the way to the server is another one."""
        if self._socket is None or self._peer is None:
            return False
        with suppress(OSError), _connected(*self._peer) as probe:  # no route at all: then this one is as good
            return bool(probe.getsockname()[0] != self._socket.getsockname()[0])
        return False

    def _readable(self) -> None:
        here = self._socket
        for _ in range(DATAGRAMS_A_TURN):
            if here is None or here is not self._socket:  # what was taken has led to another one
                return
            try:
                datagram = here.recv(DATAGRAM_BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._troubled(error)
                return
            self._take(datagram)


def in_words(error: OSError) -> str:
    """What the network says, for a person."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)


def _connected(family: int, address: Any) -> socket.socket:
    fresh = socket.socket(family, socket.SOCK_DGRAM)
    try:
        fresh.setblocking(False)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        fresh.connect(address)
    except OSError:
        fresh.close()
        raise
    return fresh


async def _resolve(host: str, port: int) -> list[Peer]:
    """The addresses of a name; OSError when there is none.

    In a thread of its own that ends with the process: a resolver without a network answers after half a minute, and
    neither the threads of the loop nor a stop may wait for it.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Peer]] = loop.create_future()

    def told(found: list[Peer], error: OSError | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    def ask() -> None:
        found: list[Peer] = []
        trouble: OSError | None = None
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            found = list(dict.fromkeys((family, address) for family, _, _, _, address in answers))
        except OSError as error:
            trouble = error
        except UnicodeError:  # a label longer than DNS allows
            trouble = OSError(errno.EINVAL, "this is no name that can be asked for")
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(told, found, trouble)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await answer
