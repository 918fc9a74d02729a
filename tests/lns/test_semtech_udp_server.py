"""The gateway's side of Semtech UDP against a strict server with a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from udp_network_server import UdpNetworkServer, free_port, txpk, until

from gateway.downlink import Fate
from gateway.lns.semtech_udp import SemtechUdpServer, SemtechUdpSettings
from gateway.lns.server import Reception
from gateway.model import (
    AtCounter,
    Crc,
    Fsk,
    GatewayEui,
    Immediately,
    Lora,
    LrFhss,
    Position,
    PositionSource,
    RadioFrame,
    Stamp,
    TimeQuality,
    TxReport,
    TxResult,
)

EUI = GatewayEui.parse("0016c001f1500812")
# The worked example of PROTOCOL.md 1.6's field list, as a frame and as JSON.
PHY = base64.b64decode("QAQDAgGAAQAKobLD1OX2")
TEN_OCLOCK_US = 1_795_428_000_123_456  # 2026-11-23T10:00:00.123456Z


def now() -> Stamp:
    monotonic_us = time.monotonic_ns() // 1000
    return Stamp(TEN_OCLOCK_US + monotonic_us, TimeQuality.NTP, 20, "boot", monotonic_us)


def frame(**changes) -> RadioFrame:
    heard = RadioFrame(
        PHY, replace(now(), utc_us=TEN_OCLOCK_US), 868_100_000, Lora(7, 125_000), -87, 9.5, 2, 1, 3_512_348_611,
        Crc.OK, "roof",
    )  # fmt: skip
    return replace(heard, **changes)


class Radio:
    """Answers each downlink as it is told to, and keeps what it was asked."""

    def __init__(self, result: TxResult = TxResult.SENT, *, on_air: bool | None = True, detail: str = "") -> None:
        self.fate = Fate(TxReport("", result, detail), on_air)
        self.asked = []
        self.free = asyncio.Event()
        self.free.set()

    async def carry(self, ways):
        self.asked += ways
        await self.free.wait()
        if self.fate is None:
            raise RuntimeError("a mistake")
        return self.fate


@asynccontextmanager
async def connected(port: int, radio: Radio | None = None, *, reception: Reception | None = None, **changes):
    """A network server of the gateway's, running."""
    wanted = {"name": "city", "host": "127.0.0.1", "port": port, "gateway_eui": EUI, "keepalive_s": 0.2, **changes}
    ears = Reception(lambda: "roof") if reception is None else reception
    server = SemtechUdpServer(SemtechUdpSettings(**wanted), (radio or Radio()).carry, now, ears)
    running = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


# --- up


async def test_a_frame_leaves_with_every_field_that_is_known():
    async with UdpNetworkServer() as far, connected(far.port) as server:
        await until(lambda: far.pulled)
        server.forward(
            frame(gps_time_us=1_479_463_218_123_456, fine_time_ns=123_456_789, frequency_offset_hz=-512, rssi_dbm=-87.4)
        )
        await until(lambda: far.rxpks and server.facts()["acknowledged"])
    assert far.pulled[0] == EUI
    assert far.rxpks == [
        {
            "tmst": 3512348611, "time": "2026-11-23T10:00:00.123456Z", "tmms": 1479463218123, "ftime": 123456789,
            "chan": 2, "rfch": 1, "freq": 868.1, "stat": 1, "modu": "LORA", "datr": "SF7BW125", "codr": "4/5",
            "rssi": -87, "lsnr": 9.5, "foff": -512, "size": 15, "data": "QAQDAgGAAQAKobLD1OX2",
        }
    ]  # fmt: skip
    assert len(far.sources) == 1, "one socket, one mapping in a NAT"


async def test_a_clock_that_nobody_has_set_is_not_passed_on():
    async with UdpNetworkServer() as far, connected(far.port) as server:
        await until(lambda: far.pulled)
        server.forward(frame(heard=replace(now(), utc_us=12_000_000, quality=TimeQuality.UNSYNCED)))
        await until(lambda: far.rxpks)
    assert "time" not in far.rxpks[0]


async def test_frames_that_come_together_share_datagrams_that_fit_a_link():
    async with UdpNetworkServer() as far, connected(far.port) as server:
        await until(lambda: far.pulled)
        for counter_us in range(20):
            server.forward(frame(counter_us=counter_us))
        server.forward(frame(modulation=Fsk(50_000), snr_db=None, counter_us=20))
        server.forward(frame(counter_us=21))
        await until(lambda: server.facts()["acknowledged"] == 22)
    assert [rxpk["tmst"] for rxpk in far.rxpks] == list(range(22))
    assert 6 <= len(far.pushed) <= 12
    assert all(len(json.dumps(body)) < 1_400 for body in far.pushed)
    assert [[rxpk["modu"] for rxpk in body["rxpk"]] for body in far.pushed][-2:] == [["FSK"], ["LORA"]]


@pytest.mark.parametrize(
    "modulation", [Lora(7, 125_000, None), Lora(7, 62_500), LrFhss(99_000, "1/3")], ids=["OFF", "62.5 kHz", "LR-FHSS"]
)
async def test_what_servers_cannot_read_costs_no_neighbour(modulation):
    async with UdpNetworkServer() as far, connected(far.port) as server:
        await until(lambda: far.pulled)
        server.forward(frame(modulation=modulation))
        server.forward(frame())
        await until(lambda: far.rxpks)
    assert (len(far.rxpks), server.facts()["missed"]) == (1, {"no_word": 1})


async def test_a_status_tells_true_counters_since_the_last_one():
    where = Position(43.6, 3.9, 52.4, PositionSource.GPS, 2.5)
    reception, radio = Reception(position=lambda: where), Radio()
    async with (
        UdpNetworkServer() as far,
        connected(far.port, radio, reception=reception, stat_interval_s=0.3) as server,
    ):
        await until(lambda: far.pulled)
        for heard in (frame(), frame(crc=Crc.BAD), frame()):
            reception.count(heard)
        server.forward(frame())
        far.pull_resp(txpk())
        await until(lambda: len(far.stats) >= 2)
    first, second = far.stats[:2]
    assert time.strptime(first.pop("time"), "%Y-%m-%d %H:%M:%S GMT").tm_year >= 2026
    assert first == {
        "lati": 43.6, "long": 3.9, "alti": 52, "rxnb": 3, "rxok": 2, "rxfw": 1, "ackr": 100.0, "dwnb": 1, "txnb": 1,
    }  # fmt: skip
    assert [second[key] for key in ("rxnb", "rxok", "rxfw", "ackr", "dwnb", "txnb")] == [0, 0, 0, 100.0, 0, 0]


# --- connecting


async def test_a_server_that_comes_later_is_found_and_gets_what_is_live_only(caplog):
    caplog.set_level(logging.INFO)
    port = free_port()
    async with connected(port) as server:
        await until(lambda: server.facts()["state"] == "unreachable")
        assert server.facts()["evidence"] == "nobody listens there"
        for _ in range(3):
            server.forward(frame())
            await asyncio.sleep(0.01)
        async with UdpNetworkServer(port) as far:
            await until(lambda: server.facts()["state"] == "connected")
            server.forward(frame(counter_us=7))
            await until(lambda: far.rxpks)
            assert [rxpk["tmst"] for rxpk in far.rxpks] == [7]
        facts = server.facts()
    assert facts["evidence"] == ""
    assert facts["last_contact_s"] < 10
    assert facts["round_trip_ms"] > 0
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert sum("is not reached" in line for line in said) == 1
    assert sum("answers again" in line for line in said) == 1


async def test_a_server_that_swallows_everything_is_called_away_and_tried_from_a_new_socket():
    async with UdpNetworkServer(acknowledges=False) as far, connected(far.port, keepalive_s=0.05) as server:
        assert server.facts()["state"] == "connecting"
        server.forward(frame())
        await until(lambda: server.facts()["state"] == "unreachable" and len(far.sources) > 1)
        assert server.facts()["evidence"] == "no answer for 0.15 s"
        far.acknowledges = True
        await until(lambda: server.facts()["state"] == "connected")


async def test_a_name_that_is_not_there_yet_is_asked_for_again(monkeypatch):
    there = False
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *rest, **options):
        if host != "lns.example.org":
            return ask(host, port, *rest, **options)
        if not there:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ask("127.0.0.1", port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with UdpNetworkServer() as far, connected(far.port, host="lns.example.org", resolve_again_s=0.05) as server:
        await until(lambda: server.facts()["state"] == "unreachable")
        assert server.facts()["evidence"] == "lns.example.org: Name or service not known"
        for counter_us, age_us in enumerate((4_000_000, 2_900_000, 0)):  # too old now, too old soon, fresh
            server.forward(frame(counter_us=counter_us, heard=replace(now(), monotonic_us=now().monotonic_us - age_us)))
        await asyncio.sleep(0.15)
        there = True
        await until(lambda: far.rxpks)
        await until(lambda: server.facts()["state"] == "connected")
    assert [rxpk["tmst"] for rxpk in far.rxpks] == [2]
    assert server.facts()["missed"] == {"away": 2}
    assert server.facts()["address"] == f"127.0.0.1:{far.port}"


async def test_a_name_with_two_addresses_is_reached_at_the_one_where_somebody_listens(monkeypatch):
    """`localhost` is ::1 first on many machines, and many servers listen on IPv4 only."""
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *rest, **options):
        if host != "lns.example.org":
            return ask(host, port, *rest, **options)
        return [found for address in ("127.0.0.2", "127.0.0.1") for found in ask(address, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with UdpNetworkServer() as far, connected(far.port, host="lns.example.org", keepalive_s=3600) as server:
        await until(lambda: server.facts()["state"] == "connected")
    assert server.facts()["address"] == f"127.0.0.1:{far.port}"
    assert len(far.pulled) == 1


async def test_what_has_no_room_is_counted():
    server = SemtechUdpServer(SemtechUdpSettings("city", "127.0.0.1", 1, EUI), Radio().carry, now, Reception())
    for _ in range(1030):
        server.forward(frame())
    assert server.facts()["missed"] == {"no_room": 6}


async def test_a_server_that_flaps_and_one_that_swallows_cost_the_third_nothing():
    manners = {"keepalive_s": 0.05, "ack_within_s": 0.1}
    port = free_port()
    async with (
        UdpNetworkServer() as far,
        UdpNetworkServer(acknowledges=False) as hole,
        connected(far.port, **manners) as sound,
        connected(hole.port, **manners) as swallowed,
        connected(port, **manners) as flapping,
    ):
        await until(lambda: far.pulled)
        counters = iter(range(300))
        for _ in range(3):
            async with UdpNetworkServer(port):
                await until(lambda: flapping.facts()["state"] == "connected")
                await forward(next_of(counters, 50), sound, swallowed, flapping)
            await forward(next_of(counters, 50), sound, swallowed, flapping)
        await until(lambda: sound.facts()["acknowledged"] == 300)
        for server in (swallowed, flapping):
            await until(lambda server=server: settled(server.facts()) == 300)
    assert [rxpk["tmst"] for rxpk in far.rxpks] == list(range(300))
    assert (sound.facts()["acknowledged_share"], swallowed.facts()["acknowledged"]) == (1.0, 0)
    assert flapping.facts()["acknowledged"] >= 100


def next_of(counters, number: int) -> list[RadioFrame]:
    return [frame(counter_us=next(counters)) for _ in range(number)]


async def forward(frames, *servers: SemtechUdpServer) -> None:
    for heard in frames:
        for server in servers:
            server.forward(heard)
        await asyncio.sleep(0.001)


def settled(facts) -> int:
    """Frames of which it is known what came of them."""
    return facts["acknowledged"] + facts["unanswered"] + sum(facts["missed"].values())


async def test_an_acknowledgement_that_does_not_come_lowers_the_share():
    manners = {"keepalive_s": 0.1, "stat_interval_s": 0.5, "ack_within_s": 0.1}
    async with UdpNetworkServer() as far, connected(far.port, **manners) as server:
        await until(lambda: far.pulled)
        server.forward(frame())
        await until(lambda: server.facts()["acknowledged"])
        far.acknowledges = False
        server.forward(frame())
        await until(lambda: server.facts()["acknowledged_share"] == 0.5)
        far.acknowledges = True
        await until(lambda: far.stats)
    assert far.stats[0]["ackr"] == 50.0


# --- down


async def test_a_downlink_reaches_the_radio_as_it_was_asked_for():
    radio = Radio()
    async with UdpNetworkServer() as far, connected(far.port, radio) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk())
        await until(lambda: far.tx_acks)
    (asked,) = radio.asked
    assert (asked.phy.hex(), asked.timing, asked.frequency_hz, asked.modulation) == (
        "60040302018003000a", AtCounter(3_513_348_611), 868_100_000, Lora(7, 125_000),
    )  # fmt: skip
    assert (asked.power_dbm_eirp, asked.invert_polarity, asked.payload_crc, asked.receiver) == (14, True, False, "roof")
    assert far.tx_acks == [(b"\xd2\x04", b"")]
    assert server.facts()["downlinks"] == {"SENT": 1}


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (TxResult.TOO_LATE, "TOO_LATE"),
        (TxResult.TOO_EARLY, "TOO_EARLY"),
        (TxResult.COLLISION_PACKET, "COLLISION_PACKET"),
        (TxResult.COLLISION_BEACON, "COLLISION_BEACON"),
        (TxResult.TX_FREQ, "TX_FREQ"),
        (TxResult.TX_POWER, "TX_POWER"),
        (TxResult.GPS_UNLOCKED, "GPS_UNLOCKED"),
        (TxResult.DUTY_CYCLE, "COLLISION_PACKET"),  # the protocol has no word for it, and bridges drop foreign ones
        (TxResult.RADIO_UNREACHABLE, "UNKNOWN"),
        (TxResult.UNKNOWN, "UNKNOWN"),
    ],
)
async def test_each_refusal_has_its_word(result, word, caplog):
    async with UdpNetworkServer() as far, connected(far.port, Radio(result, on_air=False, detail="why")) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk(), b"\x00\xff")
        await until(lambda: far.tx_acks)
        assert server.facts()["downlinks"] == {result.value: 1}
    ((token, body),) = far.tx_acks
    assert (token, json.loads(body)) == (b"\x00\xff", {"txpk_ack": {"error": word}})
    assert f"lns city: a downlink is not sent: {result.value}, why" in caplog.text


@pytest.mark.parametrize("result", [TxResult.UNKNOWN, TxResult.RADIO_UNREACHABLE])
async def test_when_nobody_knows_nothing_is_said(result):
    async with UdpNetworkServer() as far, connected(far.port, Radio(result, on_air=None)) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk(), b"\x00\x01")
        await until(lambda: server.facts()["downlinks"] == {result.value: 1})
        far.pull_resp(txpk(powe=1000), b"\x00\x02")
        await until(lambda: far.tx_acks)
    assert [token for token, _ in far.tx_acks] == [b"\x00\x02"]


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (b"", "UNKNOWN"),
        (b'{"txpk":{"freq":"\xff\xfe"}}', "UNKNOWN"),
        (txpk(size=300, data=base64.b64encode(bytes(300)).decode()), "UNKNOWN"),
        (txpk(size=8), "UNKNOWN"),
        (txpk(tmst=None), "UNKNOWN"),
        (txpk(tmst=-1), "UNKNOWN"),
        (txpk(modu="LR-FHSS", datr="M0CW137", codr="1/3"), "UNKNOWN"),
        (txpk(freq=5800.0), "TX_FREQ"),
        (txpk(powe=400), "TX_POWER"),
    ],
    ids=["nothing", "no UTF-8", "300 bytes", "another size", "no time", "no count", "LR-FHSS", "5.8 GHz", "400 dBm"],
)
async def test_a_request_that_cannot_be_is_refused_on_the_wire_and_in_words(request_, word, caplog):
    radio = Radio()
    async with UdpNetworkServer() as far, connected(far.port, radio):
        await until(lambda: far.pulled)
        far.pull_resp(request_)
        await until(lambda: far.tx_acks)
    assert json.loads(far.tx_acks[0][1]) == {"txpk_ack": {"error": word}}
    assert radio.asked == []
    assert "a downlink is not sent" in caplog.text


async def test_the_second_window_may_have_the_token_of_the_first():
    """Gateway Bridge sends RX2 under the token of RX1 when that was refused."""
    radio = Radio(TxResult.TOO_LATE, on_air=False)
    async with UdpNetworkServer() as far, connected(far.port, radio):
        await until(lambda: far.pulled)
        far.pull_resp(txpk())
        await until(lambda: len(far.tx_acks) == 1)
        radio.fate = Fate(TxReport("", TxResult.SENT), on_air=True)
        far.pull_resp(txpk(tmst=3_514_348_611))
        await until(lambda: len(far.tx_acks) == 2)
    assert far.tx_acks[1] == (b"\xd2\x04", b"")


async def test_a_datagram_that_the_network_doubles_is_one_downlink():
    radio = Radio()
    radio.free.clear()
    async with UdpNetworkServer() as far, connected(far.port, radio) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk())
        far.pull_resp(txpk())
        await until(lambda: server.facts()["refused"] == {"repeated": 1})
        radio.free.set()
        await until(lambda: far.tx_acks)
    assert (len(radio.asked), len(far.tx_acks)) == (1, 1)


async def test_more_downlinks_than_can_be_under_way_are_refused():
    radio = Radio()
    radio.free.clear()
    async with UdpNetworkServer() as far, connected(far.port, radio):
        await until(lambda: far.pulled)
        for number in range(33):
            far.pull_resp(txpk(), bytes((1, number)))
        await until(lambda: far.tx_acks)
        assert json.loads(far.tx_acks[0][1]) == {"txpk_ack": {"error": "COLLISION_PACKET"}}
        radio.free.set()
        await until(lambda: len(far.tx_acks) == 33)
    assert len(radio.asked) == 32


async def test_a_downlink_that_waits_long_for_its_time_is_confirmed_before_its_token_is_forgotten(caplog):
    radio = Radio(TxResult.COLLISION_BEACON, on_air=False)
    radio.free.clear()
    async with UdpNetworkServer() as far, connected(far.port, radio, say_by_s=0.05) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk())
        await until(lambda: far.tx_acks)
        radio.free.set()
        await until(lambda: server.facts()["downlinks"] == {"COLLISION_BEACON": 1})
    assert far.tx_acks == [(b"\xd2\x04", b"")]
    assert "a downlink is not sent: COLLISION_BEACON" in caplog.text


async def test_a_mistake_of_ours_is_an_answer_too(caplog):
    radio = Radio()
    radio.fate = None
    async with UdpNetworkServer() as far, connected(far.port, radio):
        await until(lambda: far.pulled)
        far.pull_resp(txpk())
        await until(lambda: far.tx_acks)
    assert json.loads(far.tx_acks[0][1]) == {"txpk_ack": {"error": "UNKNOWN"}}
    assert "could not be carried" in caplog.text


async def test_a_downlink_goes_to_the_receiver_that_heard_its_uplink():
    radio, reception = Radio(), Reception()
    async with UdpNetworkServer() as far, connected(far.port, radio, reception=reception) as server:
        await until(lambda: far.pulled)
        for heard in (frame(counter_us=4_294_967_000, receiver="east"), frame(counter_us=1_000, receiver="west")):
            reception.count(heard)
            server.forward(heard)
        await until(lambda: len(far.rxpks) == 2)
        far.pull_resp(txpk(tmst=999_704), b"\0\1")  # RX1 of the first, across the turn of its counter
        far.pull_resp(txpk(tmst=6_001_000), b"\0\2")  # RX2 of a join over the other one
        far.pull_resp(txpk(tmst=6_001_001), b"\0\3")  # answers neither
        far.pull_resp(txpk(imme=True), b"\0\4")
        await until(lambda: len(far.tx_acks) == 4)
    assert [asked.receiver for asked in radio.asked] == ["east", "west", "west", "west"]
    assert radio.asked[3].timing == Immediately()


async def test_before_anybody_is_heard_there_is_nobody_to_send():
    async with UdpNetworkServer() as far, connected(far.port, reception=Reception()) as server:
        await until(lambda: far.pulled)
        far.pull_resp(txpk(imme=True))
        await until(lambda: far.tx_acks)
        assert server.facts()["downlinks"] == {"RADIO_UNREACHABLE": 1}


async def test_a_server_that_may_not_send_is_not_asked_to():
    async with UdpNetworkServer() as far, connected(far.port, downlinks=False, stat_interval_s=0.1) as server:
        server.forward(frame())
        await until(lambda: far.rxpks and len(far.stats) > 1 and server.facts()["state"] == "connected")
    assert far.pulled == []


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda body: b"\x02\x00\x00\x03" + body), max_size=8)
)
def test_nothing_that_a_server_sends_stops_the_connection(datagrams):
    async def story():
        async with UdpNetworkServer() as far, connected(far.port) as server:
            await until(lambda: far.pulled)
            for datagram in datagrams:
                far.send(datagram)
            far.pull_resp(txpk(), b"\xaa\xbb")
            await until(lambda: (b"\xaa\xbb", b"") in far.tx_acks)
            server.forward(frame())
            await until(lambda: far.rxpks)

    asyncio.run(story())
