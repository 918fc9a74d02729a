"""Any datagrams at all, over a real socket."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from udp_forwarder import RXPK, Clock, DeskForwarder, lawful, until

from gateway.radio.packet_forwarder import PacketForwarderRadio
from gateway.wire.semtech_udp import Fault, Malformed, PullData, PushData, parse

ANY_PORT = "127.0.0.1:0"

HEADERS = st.builds(
    lambda version, kind, eui: bytes([version, 0xAB, 0xCD, kind]) + eui,
    st.sampled_from([1, 2, 2, 2, 3]),
    st.integers(0, 6),
    st.binary(max_size=8) | st.just(b"\0\x16\xc0\x01\xf1\x50\x08\x12"),
)
BODIES = st.binary(max_size=40) | st.sampled_from(
    [
        json.dumps({"rxpk": [RXPK]}).encode(),
        json.dumps({"rxpk": [RXPK, 7, {}]}).encode(),
        b'{"rxpk":[nan',
        b'{"txpk_ack":{"error":"TOO_LATE"}}',
        b"[" * 3000,
    ]
)


@given(
    datagrams=st.lists(
        st.builds(lambda header, body: header + body, HEADERS, BODIES) | st.binary(max_size=20), max_size=8
    )
)
@settings(deadline=None, max_examples=60)
def test_any_datagrams_are_answered_by_their_header_and_counted(datagrams):
    async def scene():
        trouble = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
        async with PacketForwarderRadio(ANY_PORT, Clock(), lawful()) as radio:
            with DeskForwarder(radio.address) as forwarder:
                for datagram in datagrams:
                    await one_of_them(radio, forwarder, datagram)
        assert trouble == []

    asyncio.run(scene())


async def one_of_them(radio, forwarder, datagram):
    def counted() -> int:
        return radio.health().heard + sum(radio.health().refused.values())

    def short() -> int:
        return radio.health().refused.get("short", 0)

    counted_before, short_before, message = counted(), short(), parse(datagram)
    forwarder.send(datagram)
    forwarder.send(b"end")  # is counted when the other one has been dealt with
    end = short_before + 1 + (message == Fault(Malformed.SHORT))
    await until(lambda: short() == end)
    if isinstance(message, PushData | PullData):
        assert forwarder.drain(forwarder.up) == [message.ack()]
    else:
        assert forwarder.drain(forwarder.up) == []
    assert isinstance(message, PullData) or counted() > counted_before + 1
