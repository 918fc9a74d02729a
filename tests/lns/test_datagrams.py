"""The socket to a network server: what the network says of one datagram is not held against the next."""

from __future__ import annotations

import socket

import pytest
from udp_network_server import free_port

from gateway.lns.datagrams import DatagramLink


async def test_a_datagram_is_sent_although_nobody_was_there_for_the_one_before():
    port = free_port()
    link = DatagramLink("127.0.0.1", port, lambda _: None, lambda _: None)
    await link.open()
    try:
        link.send(b"nobody is there")  # on loopback the refusal waits in the socket when this returns
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("127.0.0.1", port))
            late.settimeout(5)
            link.send(b"somebody is")
            assert late.recv(100) == b"somebody is"
    finally:
        link.close()


@pytest.mark.parametrize("host", ["x" * 64 + ".example.org", "no such.name.invalid"])
async def test_a_name_that_is_none_is_an_error_in_words(host):
    link = DatagramLink(host, 1700, lambda _: None, lambda _: None)
    with pytest.raises(OSError, match=r"\w"):
        await link.open()
    assert (link.is_open, link.peer, link.has_moved()) == (False, None, False)
    with pytest.raises(OSError, match="no socket"):
        link.send(b"")
