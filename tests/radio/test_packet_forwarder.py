"""The packet-forwarder radio over real sockets on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from udp_forwarder import RXPK, WAIT_S, Clock, DeskForwarder, lawful, request, until

from gateway.model import AtCounter, AtGpsTime, Crc, Fsk, GatewayEui, Lora, TxReport, TxResult
from gateway.radio import packet_forwarder
from gateway.radio.packet_forwarder import DATAGRAMS_A_TURN, Ignored, PacketForwarderRadio
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868
from gateway.wire.semtech_udp import PullResp, PushData

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


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_S)


async def take(frames, count: int) -> list:
    return [await soon(anext(frames)) for _ in range(count)]


# --- up ---


async def test_one_exchange_byte_for_byte(clock, desk):
    """The worked example of the protocol's reference sheet: token a1b2 up, 172c to open the way down."""
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        body = json.dumps({"rxpk": [RXPK]}).encode()
        forwarder.send(bytes.fromhex("02a1b200" + "0016c001f1500812") + body)
        assert await forwarder.hear(forwarder.up) == bytes.fromhex("02a1b201")
        (frame,) = await take(radio.frames(), 1)
        assert frame.phy.hex() == "4004030201800100" + "0aa1b2c3d4e5f6"
        assert (frame.receiver, frame.heard, frame.crc) == ("0016c001f1500812", clock(), Crc.OK)

        forwarder.send(bytes.fromhex("02172c02" + "0016c001f1500812"), forwarder.down)
        assert await forwarder.hear(forwarder.down) == bytes.fromhex("02172c04")

        answer = request(frame.receiver, timing=AtCounter(frame.counter_us + 1_000_000))
        assert radio.submit(answer) == TxReport("r", TxResult.ACCEPTED)
        downlink = await forwarder.hear(forwarder.down)
        assert (downlink[0], downlink[3]) == (2, 3)
        assert json.loads(downlink[4:])["txpk"]["data"] == "YAQDAgGAAAAK"
        forwarder.send(downlink[:3] + bytes.fromhex("05" + "0016c001f1500812"), forwarder.down)
        assert await soon(anext(radio.outcomes())) == TxReport("r", TxResult.SENT)


async def test_the_acknowledgement_leaves_before_anything_else_is_done(desk):
    forwarders: list[DeskForwarder] = []
    clock = Clock()
    acknowledged_when_stamped = []

    def stamp():
        if forwarders:
            acknowledged_when_stamped.append(forwarders[0].has_heard(forwarders[0].up))
        return clock()

    async with PacketForwarderRadio(ANY_PORT, stamp, lawful()) as radio:
        forwarders.append(desk.enter_context(DeskForwarder(radio.address)))
        await forwarders[0].push_frames([RXPK])
        await take(radio.frames(), 1)
    assert acknowledged_when_stamped[0]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"rxpk":[nan]}', b'{"rxpk":[{}]}'])
async def test_bad_json_is_acknowledged_all_the_same_and_counted(clock, desk, content):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        await desk.enter_context(DeskForwarder(radio.address)).push(content)
        health = radio.health()
        assert (health.heard, sum(health.refused.values())) == (0, 1)
        assert health.receivers[0]["refused"] == 1


@pytest.mark.parametrize(
    ("hexed", "reason"),
    [
        ("02", "short"),
        ("03a1b200" + "00" * 8 + "7b7d", "version"),
        ("02a1b206" + "00" * 8, "kind"),
        ("02a1b200" + "00" * 7, "no_eui"),
        ("02a1b202", "no_eui"),
        ("02a1b201", "not_for_servers"),
        ("02a1b204", "not_for_servers"),
        ("02a1b2037b7d", "not_for_servers"),
        ("02a1b205" + "00" * 8, "tx_ack_unknown"),
    ],
)
async def test_what_no_forwarder_sends_is_counted_and_not_answered(clock, desk, hexed, reason):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        forwarder.send(bytes.fromhex(hexed))
        await until(lambda: radio.health().refused)
        assert radio.health().refused == {reason: 1}
        assert not forwarder.has_heard(forwarder.up)
        assert radio.health().receivers == ()


async def test_several_forwarders_are_told_apart_by_eui_not_by_address(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        one = desk.enter_context(DeskForwarder(radio.address))
        two = desk.enter_context(DeskForwarder(radio.address, OTHER))
        for forwarder in (one, two, one):
            await forwarder.push_frames([RXPK, RXPK | {"modu": "FSK", "datr": 50000}])
        frames = await take(radio.frames(), 6)
        assert [frame.receiver for frame in frames] == [
            str(e) for e in (one.eui,) * 2 + (two.eui,) * 2 + (one.eui,) * 2
        ]
        assert [frame.modulation for frame in frames[:2]] == [Lora(7, 125_000), Fsk(50_000)]
        facts = {fact["eui"]: fact["frames"] for fact in radio.health().receivers}
        assert facts == {str(one.eui): 4, str(two.eui): 2}


async def test_frames_with_a_bad_crc_are_frames_too(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        await desk.enter_context(DeskForwarder(radio.address)).push_frames([RXPK | {"stat": -1}, RXPK | {"stat": 0}])
        assert [frame.crc for frame in await take(radio.frames(), 2)] == [Crc.BAD, Crc.NONE]
        assert radio.health().heard == 2


async def test_one_broken_packet_costs_none_of_its_neighbours(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.push_frames([RXPK, RXPK | {"size": 14}, RXPK | {"chan": 5}])
        assert [frame.channel for frame in await take(radio.frames(), 2)] == [2, 5]
        health = radio.health()
        assert (health.heard, health.refused) == (2, {"size_mismatch": 1})


async def test_a_full_line_drops_new_frames_counts_them_and_recovers(clock, desk, caplog):
    caplog.set_level(logging.INFO)
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), queue_frames=4) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.push_frames([RXPK | {"chan": channel} for channel in range(7)])
        assert (radio.health().heard, radio.health().dropped) == (7, 3)
        assert [frame.channel for frame in await take(radio.frames(), 4)] == [0, 1, 2, 3]
        await forwarder.push_frames([RXPK | {"chan": 9}])
        assert [frame.channel for frame in await take(radio.frames(), 1)] == [9]
        assert (radio.health().heard, radio.health().dropped) == (8, 3)
    said = [record.message for record in caplog.records if "frames" in record.message]
    assert said == [
        "4 frames wait, no room for more: new ones are dropped",
        "frames are taken again; 3 were dropped since the start",
    ]


async def test_a_full_datagram_of_hundreds_of_frames_is_read(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        one = json.dumps(RXPK, separators=(",", ":")).encode()
        count = (65_507 - 12 - 11) // (len(one) + 1)
        body = b'{"rxpk":[' + b",".join([one] * count) + b"]}"
        await forwarder.push(body + b" " * (65_507 - 12 - len(body)))
        assert len(await take(radio.frames(), count)) == count > 300


async def test_a_flood_is_worked_off_in_bounded_turns(clock, desk):
    """Each turn of the loop reads so many datagrams and no more, large ones by their bytes."""
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        small = PushData(2, b"\0\0", forwarder.eui, json.dumps({"rxpk": [RXPK]}).encode()).encode()
        large = PushData(2, b"\0\0", forwarder.eui, small[12:] + b" " * 40_000).encode()
        for datagram, most in ((small, DATAGRAMS_A_TURN), (large, 2)):
            before = radio.health().heard
            for _ in range(most * 3 + 1):
                forwarder.send(datagram)
            steps = []
            while not steps or sum(steps) < most * 3 + 1:
                heard = radio.health().heard
                await asyncio.sleep(0)
                steps.append(radio.health().heard - heard)
                assert len(steps) < 1000
            assert max(steps) == most
            assert radio.health().heard == before + most * 3 + 1


async def test_a_reader_with_much_to_read_lets_others_work(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        for _ in range(10):
            await forwarder.push_frames([RXPK] * 100)
        turns = 0

        async def count_turns():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(count_turns())
        await take(radio.frames(), 1)
        before = turns
        frames = radio.frames()
        for _ in range(999):
            await anext(frames)
        others.cancel()
        assert turns - before >= 10


async def test_what_the_kernel_had_no_room_for_is_counted(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        large = PushData(2, b"\0\0", forwarder.eui, b'{"rxpk":[]}' + b" " * 60_000).encode()
        for _ in range(2 * packet_forwarder.RECEIVE_BUFFER_BYTES // len(large) + 10):
            forwarder.send(large)  # the radio cannot read meanwhile: this is its loop
        health = radio.health()
        assert health.refused[Ignored.LOST_IN_KERNEL] > 0
        await until(lambda: radio.health().receivers)
        assert "net.core.rmem_max" in radio.health().evidence


# --- down ---


async def test_downlinks_go_to_the_socket_that_pulls_not_to_the_one_that_pushes(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.push_frames([RXPK])
        assert radio.submit(request(forwarder.eui)).result is TxResult.RADIO_UNREACHABLE
        await forwarder.pull()
        await forwarder.push_frames([RXPK])
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED
        await forwarder.downlink()
        assert not forwarder.has_heard(forwarder.up)


async def test_a_downlink_reaches_the_forwarder_it_names_and_no_other(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        one = desk.enter_context(DeskForwarder(radio.address))
        two = desk.enter_context(DeskForwarder(radio.address, OTHER))
        await one.pull()
        await two.pull()
        radio.submit(request(two.eui))
        await two.downlink()
        assert not one.has_heard(one.down)


@pytest.mark.parametrize("receiver", ["0016c001f1500813", "", "nobody", "00", "é"])
async def test_a_downlink_for_nobody_is_unreachable_at_once(clock, receiver):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        assert radio.submit(request(receiver)).result is TxResult.RADIO_UNREACHABLE


async def test_the_way_down_closes_90_seconds_after_the_last_pull(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        clock.move(90)
        await forwarder.push_frames([RXPK])  # does not keep it open
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED
        await forwarder.downlink()
        clock.move(0.000001)
        assert radio.submit(request(forwarder.eui)).result is TxResult.RADIO_UNREACHABLE
        await forwarder.pull()
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED


async def test_a_moved_forwarder_gets_its_downlinks_at_the_new_address_and_one_line_in_the_log(clock, desk, caplog):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        before = desk.enter_context(DeskForwarder(radio.address))
        after = desk.enter_context(DeskForwarder(radio.address))
        await before.pull()
        for _ in range(5):
            await after.pull()
            await before.pull()
        await after.pull()
        radio.submit(request(after.eui))
        await after.downlink()
        assert not before.has_heard(before.down)
    moves = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(moves) == 1
    assert f"{before.down.getsockname()[1]}" in moves[0].message
    assert f"{after.down.getsockname()[1]}" in moves[0].message


@pytest.mark.parametrize(
    ("said", "result", "detail"),
    [
        (b"", TxResult.SENT, ""),
        (b"\0", TxResult.SENT, ""),
        (b'{"txpk_ack":{"error":"NONE"}}', TxResult.SENT, ""),
        (b'{"txpk_ack":{"warn":"TX_POWER","value":20}}', TxResult.SENT, "TX_POWER 20"),
        (b'{"txpk_ack":{"error":"TOO_LATE"}}', TxResult.TOO_LATE, "TOO_LATE"),
        (b'{"txpk_ack":{"error":"TOO_EARLY"}}', TxResult.TOO_EARLY, "TOO_EARLY"),
        (b'{"txpk_ack":{"error":"COLLISION_PACKET"}}', TxResult.COLLISION_PACKET, "COLLISION_PACKET"),
        (b'{"txpk_ack":{"error":"TX_FREQ"}}', TxResult.TX_FREQ, "TX_FREQ"),
        (b'{"txpk_ack":{"error":"GPS_UNLOCKED"}}', TxResult.GPS_UNLOCKED, "GPS_UNLOCKED"),
        (b'{"txpk_ack":{"error":"ON\\nFIRE"}}', TxResult.UNKNOWN, r"ON\nFIRE"),
        (b"{", TxResult.UNKNOWN, "unreadable TX_ACK"),
    ],
)
async def test_the_forwarders_word_is_the_outcome(clock, desk, said, result, detail):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        assert radio.submit(request(forwarder.eui, "q7")).result is TxResult.ACCEPTED
        forwarder.answer(await forwarder.downlink(), said)
        assert await soon(anext(radio.outcomes())) == TxReport("q7", result, detail)


async def test_without_a_tx_ack_nobody_knows(clock, desk):
    """Version 1 never sends one."""
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), tx_ack_timeout_s=0.01) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address, version=1))
        await forwarder.pull()
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED
        assert (await forwarder.downlink()).version == 1
        assert await soon(anext(radio.outcomes())) == TxReport("r", TxResult.UNKNOWN, "no TX_ACK")


async def test_a_downlink_has_one_outcome_whatever_is_answered_later(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), tx_ack_timeout_s=0.01) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        radio.submit(request(forwarder.eui))
        downlink = await forwarder.downlink()
        assert (await soon(anext(radio.outcomes()))).detail == "no TX_ACK"
        forwarder.answer(downlink)
        forwarder.answer(downlink, b'{"txpk_ack":{"error":"TOO_LATE"}}')
        await until(lambda: radio.health().refused.get(Ignored.TX_ACK_LATE) == 2)
    assert [report async for report in radio.outcomes()] == []


async def test_a_tx_ack_of_another_forwarder_or_another_token_decides_nothing(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        radio.submit(request(forwarder.eui))
        downlink = await forwarder.downlink()
        forwarder.answer(downlink, b'{"txpk_ack":{"error":"TX_FREQ"}}', GatewayEui(bytes(8)))
        flipped = bytes(byte ^ 0xFF for byte in downlink.token)
        forwarder.answer(PullResp(2, flipped, b""), b'{"txpk_ack":{"error":"TX_FREQ"}}')
        forwarder.answer(downlink)
        assert await soon(anext(radio.outcomes())) == TxReport("r", TxResult.SENT)
        assert radio.health().refused == {Ignored.TX_ACK_FOREIGN: 1, Ignored.TX_ACK_UNKNOWN: 1}


async def test_downlinks_under_way_share_no_token_and_their_number_is_bounded(clock, desk):
    """Of 1500 tokens drawn without looking, some 17 pairs would be equal. A schedule holds a hundred."""
    many, each = 1500, 100
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), most_downlinks=many, tx_ack_timeout_s=60) as radio:
        forwarders = [desk.enter_context(DeskForwarder(radio.address, OTHER + n)) for n in range(many // each)]
        downlinks = []
        for forwarder in forwarders:
            await forwarder.pull()
            for number in range(each):
                assert radio.submit(request(forwarder.eui, f"{number}")).result is TxResult.ACCEPTED
                downlinks += [(forwarder, number, downlink) for downlink in forwarder.drain(forwarder.down)]
        assert len({downlink.token for _, _, downlink in downlinks}) == many
        assert radio.submit(request(forwarder.eui)).result is TxResult.COLLISION_PACKET
        for forwarder, number, downlink in reversed(downlinks):
            forwarder.answer(downlink)
            assert await soon(anext(radio.outcomes())) == TxReport(f"{number}", TxResult.SENT)
        assert radio.submit(request(forwarder.eui)).result is TxResult.COLLISION_PACKET  # the tokens live on
        clock.move(15)
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED


async def test_a_modulation_the_protocol_cannot_say_is_refused_not_raised(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        report = radio.submit(dataclasses.replace(request(forwarder.eui), modulation=Lora(7, 62_500)))
        assert report.result is TxResult.UNKNOWN
        assert "62500" in report.detail


# --- admission ---


LONG = {"modulation": Lora(12, 125_000), "phy": bytes(64), "frequency_hz": 864_100_000}  # 2.8 s where 3.6 s an hour are


async def calling(desk, radio, eui=OTHER):
    """A forwarder that can be sent to and whose counter is known."""
    forwarder = desk.enter_context(DeskForwarder(radio.address, eui))
    await forwarder.push_frames([RXPK])
    await forwarder.pull()
    return forwarder


async def test_what_the_law_forbids_never_reaches_a_forwarder(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder, other = await calling(desk, radio), await calling(desk, radio, OTHER + 1)
        assert radio.submit(request(forwarder.eui, **LONG)).result is TxResult.ACCEPTED
        report = radio.submit(request(forwarder.eui, **LONG))
        assert report.result is TxResult.DUTY_CYCLE
        assert report.detail.startswith("863.0-865.0 MHz: 2.8 s of 3.6 s used in the last hour, free again in 360")
        for changes, result in (
            ({"power_dbm_eirp": 27}, TxResult.TX_POWER),
            ({"frequency_hz": 868_650_000}, TxResult.TX_FREQ),
        ):
            assert radio.submit(request(forwarder.eui, **changes)).result is result
        assert radio.submit(request(other.eui, **LONG)).result is TxResult.ACCEPTED, "a transmitter of its own"
        await forwarder.downlink()
        assert not forwarder.has_heard(forwarder.down)
        assert radio.health().denied == {"DUTY_CYCLE": 1, "TX_POWER": 1, "TX_FREQ": 1}
        assert {use["receiver"]: use["used_s"] for use in radio.health().airtime} == {
            str(forwarder.eui): 2.793,
            str(other.eui): 2.793,
        }


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("said", "is_given_back"),
    [
        (b"", False),
        (b'{"txpk_ack":{"warn":"TX_POWER","value":12}}', False),
        (b"{", False),
        (None, False),
        (b'{"txpk_ack":{"error":"COLLISION_PACKET"}}', True),
        (b'{"txpk_ack":{"error":"ON FIRE"}}', True),
    ],
)
async def test_only_a_refusal_gives_air_time_back_and_a_late_one_too(clock, desk, said, is_given_back, is_late):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), tx_ack_timeout_s=0.01 if is_late else 60) as radio:
        forwarder = await calling(desk, radio)
        radio.submit(request(forwarder.eui, **LONG))
        downlink = await forwarder.downlink()
        if is_late:
            assert (await soon(anext(radio.outcomes()))).detail == "no TX_ACK"
        if said is not None:
            forwarder.answer(downlink, said)
            if is_late:
                await until(lambda: radio.health().refused.get(Ignored.TX_ACK_LATE))
            else:
                await soon(anext(radio.outcomes()))
        again = radio.submit(request(forwarder.eui, **LONG)).result
        assert again is (TxResult.ACCEPTED if is_given_back else TxResult.DUTY_CYCLE)


async def test_a_refused_downlink_leaves_its_place_to_the_next(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = await calling(desk, radio)
        rx1 = request(forwarder.eui, timing=AtCounter(RXPK["tmst"] + 1_000_000))
        assert radio.submit(rx1).result is TxResult.ACCEPTED
        assert radio.submit(rx1).result is TxResult.COLLISION_PACKET
        forwarder.answer(await forwarder.downlink(), b'{"txpk_ack":{"error":"TOO_LATE"}}')
        assert (await soon(anext(radio.outcomes()))).result is TxResult.TOO_LATE
        assert radio.submit(rx1).result is TxResult.ACCEPTED


async def test_a_window_that_has_passed_is_known_from_the_frame_it_answers(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = await calling(desk, radio)
        rx1 = request(forwarder.eui, timing=AtCounter(RXPK["tmst"] + 1_000_000))
        clock.move(0.957)
        assert radio.submit(rx1).result is TxResult.ACCEPTED
        clock.move(0.01)
        report = radio.submit(rx1)
        assert (report.result, report.detail) == (
            TxResult.TOO_LATE, "starts in 33.1 ms, the radio wants 42.5 ms",
        )  # fmt: skip
        clock.move(5)
        assert radio.submit(rx1).result is TxResult.TOO_LATE
        early = request(forwarder.eui, timing=AtCounter(RXPK["tmst"] + 600_000_000))
        assert radio.submit(early).result is TxResult.TOO_EARLY


async def test_the_counter_of_a_forwarder_that_was_never_heard_stands_for_nothing(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        report = radio.submit(request(forwarder.eui, timing=AtCounter(5)))
        assert report.result is TxResult.UNKNOWN
        assert "no frame yet" in report.detail
        assert radio.submit(request(forwarder.eui)).result is TxResult.ACCEPTED, "at once can be said without it"


async def test_a_forwarder_that_began_anew_is_not_held_to_what_it_had_before(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = await calling(desk, radio)
        assert radio.submit(request(forwarder.eui, timing=AtCounter(5_000_000))).result is not TxResult.ACCEPTED
        clock.move(1)
        await forwarder.push_frames([RXPK | {"tmst": 4_100_000}])
        assert radio.submit(request(forwarder.eui, timing=AtCounter(5_100_000))).result is TxResult.ACCEPTED


async def test_a_forwarder_whose_counter_stands_still_is_answered_each_time(clock, desk):
    """A simulated one, or one that is started again and again: its word on its counter is the only one there is."""
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = await calling(desk, radio)
        for _ in range(5):
            await forwarder.push_frames([RXPK])
            rx1 = request(forwarder.eui, timing=AtCounter(RXPK["tmst"] + 1_000_000))
            assert radio.submit(rx1).result is TxResult.ACCEPTED
            clock.move(2)


async def test_gps_time_is_for_forwarders_whose_frames_carry_it(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = await calling(desk, radio)
        at = request(forwarder.eui, timing=AtGpsTime(1_479_463_219_123_000))
        assert radio.submit(at).result is TxResult.GPS_UNLOCKED
        await forwarder.push_frames([RXPK | {"tmms": 1_479_463_218_123}])
        assert radio.submit(at).result is TxResult.ACCEPTED
        assert json.loads((await forwarder.downlink()).json)["txpk"]["tmms"] == 1_479_463_219_123
        clock.move(30.1)
        later = request(forwarder.eui, timing=AtGpsTime(1_479_463_250_000_000))
        assert radio.submit(later).result is TxResult.GPS_UNLOCKED


async def test_a_forwarder_is_told_the_power_at_its_connector(clock, desk):
    transmitters = Transmitters(EU868, antenna_gain_dbi=5.0)
    async with PacketForwarderRadio(ANY_PORT, clock, transmitters) as radio:
        forwarder = await calling(desk, radio)
        assert radio.submit(request(forwarder.eui, power_dbm_eirp=16.0)).result is TxResult.ACCEPTED
        assert json.loads((await forwarder.downlink()).json)["txpk"]["powe"] == 11


# --- open and close ---


async def test_closing_ends_both_streams_after_what_is_waiting(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.pull()
        await forwarder.push_frames([RXPK] * 3)
        radio.submit(request(forwarder.eui))
    assert len([frame async for frame in radio.frames()]) == 3
    outcomes = [report async for report in radio.outcomes()]
    assert [(report.ref, report.result) for report in outcomes] == [("r", TxResult.UNKNOWN)]
    assert radio.health().state == "failed"
    assert radio.submit(request(forwarder.eui)).result is TxResult.RADIO_UNREACHABLE


async def test_closing_wakes_who_waits(clock):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:

        async def read(stream):
            return [item async for item in stream]

        readers = [asyncio.create_task(read(radio.frames())), asyncio.create_task(read(radio.outcomes()))]
        await asyncio.sleep(0)
    assert await soon(asyncio.gather(*readers)) == [[], []]


async def test_a_reader_that_gave_up_waiting_may_come_back(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(radio.frames()), 0.01)
        await desk.enter_context(DeskForwarder(radio.address)).push_frames([RXPK])
        assert len(await take(radio.frames(), 1)) == 1


# --- health ---


async def test_health_tells_the_technician_what_to_check(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        health = radio.health()
        assert (health.type, health.state) == ("packet-forwarder", "waiting")
        assert health.evidence == (
            f"No packet forwarder has called on {radio.address} yet. Point its server_address here."
        )
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        await forwarder.push({"rxpk": [RXPK], "stat": {"rxnb": 5, "rxok": 4, "rxfw": 1}})
        clock.move(3)
        health = radio.health()
        assert health.state == "hearing"
        assert "serv_port_down" in health.evidence
        await forwarder.pull()
        health = radio.health()
        assert health.evidence.endswith("calls; 1 frame, the last 3 s ago.")
        assert json.loads(json.dumps(health.receivers)) == [
            {
                "eui": "0016c001f1500812",
                "address": f"127.0.0.1:{forwarder.down.getsockname()[1]}",
                "version": 2,
                "last_push_s": 3.0,
                "last_pull_s": 0.0,
                "downlinks": True,
                "frames": 1,
                "refused": 0,
                "rxnb": 5,
                "rxok": 4,
                "rxfw": 1,
                "ackr": None,
            }
        ]
        clock.move(90.5)
        health = radio.health()
        assert health.state == "silent"
        assert "0016c001f1500812" in health.evidence
        assert radio.address in health.evidence


async def test_strangers_on_the_port_are_mentioned_while_nobody_else_calls(clock, desk):
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        desk.enter_context(DeskForwarder(radio.address)).send(b"GET / HTTP/1.1")
        await until(lambda: radio.health().refused)
        assert radio.health().evidence.endswith("1 datagram came that is none of a packet forwarder's.")


async def test_repeated_nonsense_is_loud_once(clock, desk, caplog):
    caplog.set_level(logging.DEBUG)
    async with PacketForwarderRadio(ANY_PORT, clock, lawful()) as radio:
        forwarder = desk.enter_context(DeskForwarder(radio.address))
        for _ in range(50):
            forwarder.send(b"\x03\n\x1b[31mGET")
        await until(lambda: radio.health().refused.get("version") == 50)
        clock.move(601)
        forwarder.send(b"\x03\n\x1b[31mGET")
        await until(lambda: radio.health().refused.get("version") == 51)
    assert sum(record.levelno == logging.WARNING for record in caplog.records) == 2
    assert not any("GET" in record.message or "\n" in record.message for record in caplog.records)


async def test_invented_euis_fill_neither_memory_nor_log_and_do_not_cut_off_who_was_there(clock, desk, caplog):
    caplog.set_level(logging.INFO)
    async with PacketForwarderRadio(ANY_PORT, clock, lawful(), most_forwarders=16) as radio:
        real = desk.enter_context(DeskForwarder(radio.address))
        await real.pull()
        forger = desk.enter_context(DeskForwarder(radio.address, OTHER))
        for number in range(200):
            clock.move(0.01)
            forger.eui = GatewayEui(number.to_bytes(8, "big"))
            await forger.push_frames([RXPK])
        assert len(radio.health().receivers) == 16
        assert radio.submit(request(real.eui)).result is TxResult.ACCEPTED
    assert len(caplog.records) <= packet_forwarder.MOST_LOUD + 1
