"""What is told of each packet, and that nothing is made of it while nobody looks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.console.feed import Feed
from gateway.downlink import DownlinkLine
from gateway.journal import Offered, Outcome, Step
from gateway.model import (
    AtCounter,
    AtGpsTime,
    Crc,
    DevAddr,
    DevEui,
    Device,
    DownlinkRequest,
    GatewayEui,
    Immediately,
    Lora,
    OpenedUplink,
    RadioFrame,
    Refusal,
    Refused,
    Session,
    Stamp,
    TimeQuality,
    TxReport,
    TxResult,
)
from gateway.radio.schedule import Planned
from gateway.radio.transmitters import Transmitters
from gateway.regions import region_named
from gateway.trace import Trace
from gateway.wire.trace_json import message_json

EUI = GatewayEui.parse("0016c001ff10a235")
# lora-packet 0.9.3, README.md, "Decoding packets": DevAddr 49BE7DF1, FCnt 2, FPort 1.
UP = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
# The same library's README.md, "Example: Join Request": AppEUI 70B3D57ED00000DC, DevEUI 00AFEE7CF5ED6F1E, nonce CC85.
JOIN = bytes.fromhex("00DC0000D07ED5B3701E6FEDF57CEEAF0085CC587FE913")
ACCEPT = b"\x20" + bytes(16)
EU868, US915, AS923 = (region_named(name) for name in ("EU868", "US915", "AS923-1"))


class Clock:
    def __init__(self) -> None:
        self.us = 5_000_000

    def __call__(self) -> Stamp:
        return Stamp(1_795_428_902_000_000 + self.us, TimeQuality.NTP, 50, "boot", self.us)


class Looking:
    """A trace, and somebody who follows; `told` is what that one has been told so far."""

    def __init__(self, region=EU868) -> None:
        self.clock = Clock()
        self.feed: Feed = Feed(lambda item: item())
        self.trace = Trace(self.feed, EUI, region, self.clock)
        self._following = self.feed.follow(raw=True)

    async def __aenter__(self) -> Self:
        self._next = asyncio.create_task(anext(self._following))
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._next.cancel()
        await asyncio.gather(self._next, return_exceptions=True)
        await self._following.aclose()

    async def told(self, number: int) -> list[dict]:
        told = []
        async with asyncio.timeout(5):
            for _ in range(number):
                told.append(await self._next)
                json.dumps(told[-1], allow_nan=False)
                self._next = asyncio.create_task(anext(self._following))
        return told

    def frame(self, phy: bytes = UP, **changes) -> RadioFrame:
        heard = RadioFrame(phy, self.clock(), 868_100_000, Lora(7, 125_000), -97, 5.2, 2, 0, 1_000_000, Crc.OK, "roof")
        return replace(heard, **changes)

    def hear(self, phy: bytes = UP, reason: Refusal = Refusal.UNKNOWN_DEVICE, **changes) -> RadioFrame:
        frame = self.frame(phy, **changes)
        self.trace.refused(frame, Refused(reason, "why", DevAddr(0x49BE7DF1) if phy == UP else None))
        return frame


def request(**changes) -> DownlinkRequest:
    asked = DownlinkRequest("r", b"\x60" + UP[1:], "roof", AtCounter(2_000_000), 868_100_000, Lora(7, 125_000), 14.0)
    return replace(asked, **changes)


async def test_while_nobody_looks_nothing_is_made_or_remembered():
    clock, shaped = Clock(), []
    feed = Feed(shaped.append)
    trace = Trace(feed, EUI, EU868, clock)
    frame = Looking().frame()
    trace.refused(frame, Refused(Refusal.UNKNOWN_DEVICE, ""))
    trace.frames("city", Step.FORWARDED, [frame])
    trace.downlink(Offered("1", "city", request()))
    async with asyncio.timeout(5):
        following = asyncio.create_task(anext(feed.follow(raw=True)))
        await asyncio.sleep(0.01)
        assert (following.done(), shaped, feed.followed_raw) == (False, [], True)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert not feed.followed_raw


async def test_a_frame_and_what_became_of_it_at_servers():
    async with Looking() as looking:
        frame = looking.hear()
        looking.trace.frames("city", Step.FORWARDED, [frame], final=False)
        looking.clock.us += 23_400
        looking.trace.frames("city", Step.ACKNOWLEDGED, [frame])
        looking.trace.frames("absent", Step.MISSED, [frame], "away")
        heard, forwarded, acknowledged, missed = await looking.told(4)
    assert heard["event"] == "refused"
    assert {key: heard[key] for key in ("dev_addr", "m_type", "f_cnt16", "f_port", "reason", "size")} == {
        "dev_addr": "49be7df1", "m_type": "unconfirmed_up", "f_cnt16": 2, "f_port": 1, "reason": "unknown_device",
        "size": 17,
    }  # fmt: skip
    assert {key: heard["radio"][key] for key in ("frequency_hz", "rssi_dbm", "crc", "receiver", "counter_us")} == {
        "frequency_hz": 868_100_000, "rssi_dbm": -97, "crc": "ok", "receiver": "roof", "counter_us": 1_000_000,
    }  # fmt: skip
    assert {one["frame"] for one in (forwarded, acknowledged, missed)} == {heard["id"]}
    assert [(one["event"], one["lns"], one["after_ms"], one["reason"], one["final"]) for one in (
        forwarded, acknowledged, missed,
    )] == [
        ("forwarded", "city", 0.0, None, False),
        ("acknowledged", "city", 23.4, None, True),
        ("missed", "absent", 23.4, "away", True),
    ]  # fmt: skip


async def test_a_frame_of_our_own_device_is_told_when_it_is_heard_and_what_follows_names_the_device():
    async with Looking() as looking:
        frame, dev_eui = looking.frame(), DevEui.parse("0200000000000001")
        session = Session(dev_eui, DevAddr(0x49BE7DF1), "1.0.3", *[bytes(16)] * 4)
        device = Device(dev_eui, "PAV Antigone 12")
        looking.trace.opened(
            OpenedUplink(frame, device, session, session.dev_addr, 65_538, 1, True, False, False, b"", b"test", 3)
        )
        looking.trace.frames("mirror", Step.FORWARDED, [frame])
        heard, forwarded = await looking.told(2)
    assert [heard[key] for key in ("event", "name", "m_type", "f_cnt", "gap_before")] == [
        "heard", "PAV Antigone 12", "confirmed_up", 65_538, 3,
    ]  # fmt: skip
    assert forwarded["dev_eui"] == heard["dev_eui"] == "0200000000000001"


async def test_nothing_is_read_out_of_a_damaged_frame():
    async with Looking() as looking:
        looking.hear(reason=Refusal.CRC_BAD, crc=Crc.BAD)
        (heard,) = await looking.told(1)
    assert heard["radio"]["crc"] == "bad"
    assert not {"m_type", "f_cnt16"} & heard.keys()
    assert heard["phy_payload"] == UP.hex()


def test_a_join_request_says_who_asks_whom():
    assert message_json(JOIN) == {
        "m_type": "join_request", "dev_eui": "00afee7cf5ed6f1e", "join_eui": "70b3d57ed00000dc", "dev_nonce": 0xCC85,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("region", "uplink", "way", "window", "delay_ms"),
    [
        (EU868, {}, {}, "RX1", 1000.0),
        (EU868, {}, {"frequency_hz": 869_525_000, "modulation": Lora(9, 125_000)}, "RX2", 1000.0),
        (EU868, {}, {"timing": AtCounter(6_000_000)}, "RX1", 5000.0),
        (EU868, {}, {"phy": ACCEPT, "timing": AtCounter(6_000_000)}, "RX1", 5000.0),
        (EU868, {}, {"phy": ACCEPT, "timing": AtCounter(7_000_000)}, "RX2", 6000.0),
        (EU868, {"counter_us": (1 << 32) - 500_000}, {"timing": AtCounter(500_000)}, "RX1", 1000.0),
        # RP002-1.0.4, 2.5: the eight channels at 500 kHz, by the number of the uplink's channel modulo 8.
        (US915, {"frequency_hz": 903_900_000}, {"frequency_hz": 923_300_000, "modulation": Lora(7, 500_000)}, "RX1",
         1000.0),
        # RP002-1.0.4, 2.10: RX2 is on a channel that devices also send on.
        (AS923, {"frequency_hz": 923_200_000}, {"frequency_hz": 923_200_000}, "RX1", 1000.0),
        (AS923, {"frequency_hz": 923_200_000}, {"frequency_hz": 923_200_000, "modulation": Lora(10, 125_000)}, "RX2",
         1000.0),
        (EU868, {}, {"timing": AtCounter(1_500_000)}, None, None),
        (EU868, {}, {"receiver": "cellar"}, None, None),
        (EU868, {}, {"timing": Immediately()}, "immediately", None),
        (EU868, {}, {"timing": AtGpsTime(1)}, "gps_time", None),
    ],
)  # fmt: skip
async def test_a_downlink_belongs_to_the_uplink_whose_window_it_is_for(region, uplink, way, window, delay_ms):
    async with Looking(region) as looking:
        frame = looking.hear(**uplink)
        looking.clock.us += 300_000
        looking.trace.downlink(Offered("17", "city", request(**way)))
        _, told = await looking.told(2)
    assert (told["event"], told["downlink"], told["lns"], told["window"]) == ("downlink", "17", "city", window)
    assert told["delay_ms"] == delay_ms
    assert told["frame"] == (None if delay_ms is None else frame.frame_id)
    assert told["early_ms"] == (None if delay_ms is None else delay_ms - 300)


async def test_a_join_accept_is_for_the_join_also_when_another_frame_ended_meanwhile():
    async with Looking() as looking:
        join = looking.hear(JOIN, Refusal.JOIN_NOT_SERVED)
        looking.hear(UP, counter_us=4_000_000)
        looking.trace.downlink(Offered("1", None, request(phy=ACCEPT, timing=AtCounter(6_000_000))))
        told = (await looking.told(3))[-1]
    assert (told["frame"], told["dev_eui"], told["window"]) == (join.frame_id, "00afee7cf5ed6f1e", "RX1")


async def test_what_was_heard_a_minute_ago_is_answered_by_nobody():
    async with Looking() as looking:
        looking.hear()
        looking.clock.us += 60_000_000
        looking.trace.downlink(Offered("1", "city", request()))
        assert (await looking.told(2))[-1]["frame"] is None


async def test_what_could_not_even_be_offered_is_told_too():
    async with Looking() as looking:
        report = TxReport("", TxResult.UNKNOWN, "it cannot be read: not_json")
        looking.trace.downlink(Outcome(None, "city", None, report, on_air=False))
        (told,) = await looking.told(1)
    assert [told[key] for key in ("event", "downlink", "lns", "result", "detail", "on_air")] == [
        "downlink_result", None, "city", "UNKNOWN", "it cannot be read: not_json", False,
    ]  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(phy=st.binary(max_size=40), down=st.binary(max_size=40), counter_us=st.integers(0, (1 << 32) - 1))
def test_whatever_is_heard_and_sent_can_be_told(phy, down, counter_us):
    asyncio.run(_told_of(phy, down, counter_us))


async def _told_of(phy: bytes, down: bytes, counter_us: int) -> None:
    async with Looking() as looking:
        frame = looking.hear(phy, counter_us=counter_us)
        looking.trace.frames("city", Step.UNANSWERED, [frame])
        way = request(phy=down, timing=AtCounter((counter_us + 1_000_000) % (1 << 32)))
        looking.trace.downlink(Offered("1", "city", way))
        looking.trace.downlink(Outcome("1", "city", way, TxReport("", TxResult.TOO_LATE), on_air=False))
        assert {one.get("frame", one.get("id")) for one in await looking.told(4)} == {frame.frame_id}


# --- the line that all downlinks go through


class Air:
    """A radio that keeps a real schedule and sends at once what it admits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transmitters = Transmitters(EU868)
        self._outcomes: asyncio.Queue[TxReport] = asyncio.Queue()

    def submit(self, way: DownlinkRequest) -> TxReport:
        planned = self._transmitters.plan(way, 0, self._clock())
        if not isinstance(planned, Planned):
            return planned
        self._transmitters.schedule(way.receiver).hand_over(planned)
        self._outcomes.put_nowait(TxReport(way.ref, TxResult.SENT))
        return TxReport(way.ref, TxResult.ACCEPTED)

    async def outcomes(self):
        while True:
            yield await self._outcomes.get()


async def test_who_loses_a_conflict_is_told_to_whom_and_own_answers_are_seen_as_well():
    async with Looking() as looking:
        line = DownlinkLine(Air(looking.clock), looking.trace)
        running = asyncio.create_task(line.run())
        await line.carry([request()], asker="city")
        lost = await line.carry([request(timing=AtCounter(2_010_000)), request(timing=AtCounter(3_000_000))])
        late = await line.carry([request(timing=AtCounter(2_020_000))], asker="ttn")
        running.cancel()
        told = await looking.told(8)
        shares = [looking.trace.shares.used_us(who, "roof", "868.0-868.6 MHz", 5_000_000) for who in ("city", None)]
        never = looking.trace.shares.used_us("ttn", "roof", "868.0-868.6 MHz", 5_000_000)
    assert [(one["event"], one["lns"], one.get("result")) for one in told] == [
        ("downlink", "city", None), ("downlink_result", "city", "SENT"),
        ("downlink", None, None), ("downlink_result", None, "COLLISION_PACKET"),
        ("downlink", None, None), ("downlink_result", None, "SENT"),
        ("downlink", "ttn", None), ("downlink_result", "ttn", "COLLISION_PACKET"),
    ]  # fmt: skip
    assert told[3]["lost_to"] == {"downlink": told[0]["downlink"], "lns": "city"}
    assert told[3]["detail"].endswith("; one that city asked for was there before")
    assert (lost.report.result, late.report.result) == (TxResult.SENT, TxResult.COLLISION_PACKET)
    assert late.report.detail == told[7]["detail"]
    assert line.facts() == {"SENT": 1}, "what servers asked for is in their own figures"
    assert shares[0] == shares[1] > 0 == never
