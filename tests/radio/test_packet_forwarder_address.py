"""Where the packet-forwarder radio listens, and what a person is told when it cannot."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from udp_forwarder import Clock, DeskForwarder, lawful, request

from gateway.errors import RadioError
from gateway.model import TxResult
from gateway.radio import packet_forwarder
from gateway.radio.packet_forwarder import PacketForwarderRadio

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY_PORT = "127.0.0.1:0"
OTHER = 0x0016C001FF10A235


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "0.0.0.0:0"])
async def test_it_listens_on_ipv4(clock, desk, listen):
    async with PacketForwarderRadio(listen, clock, lawful()) as radio:
        port = radio.address.rpartition(":")[2]
        await desk.enter_context(DeskForwarder(f"127.0.0.1:{port}")).pull()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs the IPv6 loopback address: sysctl net.ipv6.conf.lo.disable_ipv6=0")
@pytest.mark.parametrize("listen", ["[::1]:0", "[::]:0"])
async def test_it_listens_on_ipv6(clock, desk, listen):
    async with PacketForwarderRadio(listen, clock, lawful()) as radio:
        port = radio.address.rpartition(":")[2]
        six = desk.enter_context(DeskForwarder(f"[::1]:{port}"))
        await six.pull()
        assert str(radio.health().receivers[0]["address"]).startswith("[::1]:")
        assert radio.submit(request(six.eui)).result is TxResult.ACCEPTED
        await six.downlink()
        if listen == "[::]:0":
            four = desk.enter_context(DeskForwarder(f"127.0.0.1:{port}", OTHER))
            await four.pull()
            assert str(radio.health().receivers[1]["address"]).startswith("127.0.0.1:")


async def test_a_taken_port_is_an_error_that_says_how_to_find_the_other(clock):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        port = radio.address.rpartition(":")[2]
        with pytest.raises(RadioError, match="is taken") as error:
            await PacketForwarderRadio(radio.address, clock, lawful()).__aenter__()
        assert f":{port}" in error.value.hint
        assert error.value.exit_code == 3


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "1700",
        ":1700",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:१७००",
        "::1:1700",
        "[::1]",
        "no.such.host.invalid:1700",
        "a" * 300 + ":1700",
        "é..:1700",
        "192.0.2.1:0",  # documentation network, RFC 5737: nobody's address
    ],
)
async def test_an_address_that_cannot_be_had_is_an_error_with_a_hint(clock, listen):
    with pytest.raises(RadioError) as error:
        await PacketForwarderRadio(listen, clock, lawful()).__aenter__()
    assert error.value.hint


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "may not"), (errno.EPERM, "may not"), (errno.EAFNOSUPPORT, "no address"), (errno.ENOMEM, "Cannot")],
)
def test_refusals_of_the_kernel_are_put_into_words(number, words):
    error = packet_forwarder._cannot_bind("127.0.0.1:80", 80, OSError(number, "os says"))
    assert words in error.problem
    assert error.hint
