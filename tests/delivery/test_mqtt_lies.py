"""What becomes of readings when the broker does not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from typing import TYPE_CHECKING

import pytest
from contract_example import record, records
from hypothesis import given, settings
from hypothesis import strategies as st
from lying_broker import HANG_UP, LyingBroker, connack, puback
from mqtt_sinks import mqtt_sink

from gateway.delivery.sink import SinkUnavailable

if TYPE_CHECKING:
    from gateway.delivery.mqtt import MqttSink

pytestmark = pytest.mark.usefixtures("quiet_loop")

SHORT_S = 0.25  # for what never comes
LONG_S = 10.0  # for what comes


def sink_for(broker: LyingBroker, **options) -> MqttSink:
    options = {"connect_timeout_s": LONG_S, "ack_timeout_s": LONG_S, **options}
    return mqtt_sink(broker.url, **options)


async def unavailable(broker: LyingBroker, batch, **options) -> SinkUnavailable:
    """Deliver, which must fail; how."""
    async with sink_for(broker, **options).connect() as link:
        with pytest.raises(SinkUnavailable) as caught:
            await link.deliver(batch)
    return caught.value


async def failing_connection(sink: MqttSink) -> SinkUnavailable:
    """Connect, which must fail; why."""
    with pytest.raises(SinkUnavailable) as caught:
        async with sink.connect():
            pass
    return caught.value


async def refusals(broker: LyingBroker, batch, **options) -> dict[int, str]:
    async with sink_for(broker, **options).connect() as link:
        return {refusal.position: refusal.reason for refusal in await link.deliver(batch)}


# --- opening


async def test_a_broker_that_takes_the_connection_and_says_nothing_times_out():
    async with LyingBroker(silent=True) as broker:
        failure = await failing_connection(sink_for(broker, connect_timeout_s=SHORT_S))
    assert (failure.alert, "answer to CONNECT" in str(failure)) == (False, True)


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
@pytest.mark.parametrize("ends", ["by time-out", "by cancellation"])
async def test_a_connection_that_is_given_up_is_closed_at_once(scheme, ends):
    # A leftover would log in later with the same client id and throw its successor out.
    async with LyingBroker(silent=True) as broker:
        url, patience_s = f"{scheme}://127.0.0.1:{broker.port}", SHORT_S if ends == "by time-out" else LONG_S
        opening = asyncio.ensure_future(mqtt_sink(url, connect_timeout_s=patience_s).connect().__aenter__())
        if ends == "by cancellation":
            await asyncio.wait_for(broker.taken.wait(), LONG_S)
            await asyncio.sleep(SHORT_S / 3)
            opening.cancel()
        with pytest.raises((SinkUnavailable, asyncio.CancelledError)):
            await opening
        await asyncio.wait_for(broker.left.wait(), LONG_S)


async def test_a_host_that_swallows_connections_times_out():
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)  # the kernel takes one or two more than that, and then answers nobody
        for occupant in (first, second):
            occupant.setblocking(False)
            occupant.connect_ex(deaf.getsockname())
        url = f"mqtt://127.0.0.1:{deaf.getsockname()[1]}"
        failure = await failing_connection(mqtt_sink(url, connect_timeout_s=SHORT_S))
    assert (failure.alert, "the connection" in str(failure)) == (False, True)


@pytest.mark.parametrize(
    "to_mqtt_5",
    [
        pytest.param(bytes((0x20, 2, 0, 1)), id="the 3.1.1 answer"),
        pytest.param(bytes((0x20, 3, 0, 0x84, 0)), id="the MQTT 5 answer"),
        pytest.param(HANG_UP, id="hanging up"),
        pytest.param(b"\x20\x01\x00", id="nonsense"),
    ],
)
async def test_a_broker_that_does_not_speak_mqtt_5_gets_3_1_1(to_mqtt_5):
    async with LyingBroker(on_connect=lambda level: (to_mqtt_5,) if level == 5 else connack()(level)) as broker:
        assert await refusals(broker, records(3)) == {}
        assert broker.versions == [5, 4]
        assert len(broker.readings) == 3


async def test_mqtt_3_1_1_is_told_once_and_is_not_enough_where_a_subscriber_is_needed(caplog):
    async with LyingBroker(on_connect=lambda level: (HANG_UP,) if level == 5 else connack()(level)) as broker:
        sink = sink_for(broker)
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                async with sink.connect():
                    pass
        assert sum("3.1.1" in line for line in caplog.messages) == 1
        failure = await failing_connection(sink_for(broker, need_subscriber=True))
        assert (failure.alert, "3.1.1" in str(failure)) == (True, True)


async def test_every_connection_starts_clean():
    async with LyingBroker() as broker:
        await refusals(broker, records(1))
    async with LyingBroker(on_connect=lambda level: connack(0x84 if level == 5 else 0)(level)) as older:
        await refusals(older, records(1))
    assert (broker.clean, older.clean) == ([True], [True, True])


@pytest.mark.parametrize(
    ("reason", "words", "alert"),
    [
        # MQTT 5.0, section 3.2.2.2
        (0x85, "client identifier not valid", True),
        (0x86, "bad user name or password", True),
        (0x87, "not authorized", True),
        (0x88, "server unavailable", False),
        (0x89, "server busy", False),
        (0x8A, "banned", True),
        (0x97, "quota exceeded", False),
        (0x9A, "retain not supported", True),
        (0x9D, "server moved", True),
        (0x9F, "connection rate exceeded", False),
    ],
)
async def test_a_refused_login_is_told_in_words(reason, words, alert):
    async with LyingBroker(on_connect=connack(reason)) as broker:
        failure = await failing_connection(sink_for(broker))
        assert (failure.alert, words in str(failure)) == (alert, True)
        assert broker.versions == [5]


@pytest.mark.parametrize(
    ("code", "words", "alert"), [(3, "unavailable", False), (4, "password", True), (5, "auth", True)]
)
async def test_a_login_refused_by_an_older_broker_is_told_in_words(code, words, alert):
    # MQTT 3.1.1, section 3.2.2.3
    async with LyingBroker(on_connect=lambda level: (HANG_UP,) if level == 5 else connack(code)(level)) as broker:
        failure = await failing_connection(sink_for(broker))
        assert (failure.alert, words in str(failure)) == (alert, True)


async def test_what_the_broker_says_for_people_is_shown_without_its_control_characters():
    text = b"see \x1b[31mwww"
    remark = b"\x1f" + len(text).to_bytes(2, "big") + text  # Reason String
    async with LyingBroker(on_connect=connack(0x89, remark)) as broker:
        failure = await failing_connection(sink_for(broker))
    assert str(failure).endswith("server busy (see \N{REPLACEMENT CHARACTER}[31mwww)")


async def test_something_that_is_no_broker_is_told_as_such():
    page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    async with LyingBroker(on_connect=lambda _: (page, HANG_UP)) as broker:
        failure = await failing_connection(sink_for(broker))
    assert "without answering CONNECT; does this port want mqtts://?" in str(failure)


# --- acknowledgements


async def test_silence_after_the_login_times_out_and_ends_the_line():
    async with (
        LyingBroker(on_reading=lambda *_: ()) as broker,
        sink_for(broker, ack_timeout_s=SHORT_S).connect() as link,
    ):
        with pytest.raises(SinkUnavailable, match="no acknowledgement") as caught:
            await link.deliver(records(5))
        assert caught.value.acknowledged == ()
        assert "no acknowledgement" in await link.lost()
        with pytest.raises(SinkUnavailable):
            await link.deliver(records(1))
        assert len(broker.readings) == 5


async def test_silence_names_what_was_acknowledged_before():
    def only_even(publish, _):
        return (puback(publish.packet_id),) if json.loads(publish.payload)["f_cnt"] % 2 == 0 else ()

    async with LyingBroker(on_reading=only_even) as broker:
        reason = await unavailable(broker, records(6), ack_timeout_s=SHORT_S)
    assert reason.acknowledged == (2, 4, 6)


async def test_a_slow_broker_that_goes_on_acknowledging_is_waited_for():
    class Slow(LyingBroker):
        async def _talk(self, reader, writer):
            class Late:
                write = staticmethod(writer.write)

                async def drain(self):
                    await asyncio.sleep(0.1)

            await super()._talk(reader, Late())

    async with Slow() as broker:  # eight answers 0.1 s apart: longer than the time-out, which counts from the last one
        assert await refusals(broker, records(8), ack_timeout_s=0.5) == {}


async def test_a_broker_that_hangs_up_after_each_acknowledgement_gets_everything_in_the_end():
    async with LyingBroker(on_reading=lambda publish, _: (puback(publish.packet_id), HANG_UP)) as broker:
        waiting, sink = records(5), sink_for(broker)
        for _ in range(5):
            try:
                async with sink.connect() as link:
                    assert await link.deliver(waiting) == []
                acknowledged = tuple(record.position for record in waiting)
            except SinkUnavailable as reason:
                acknowledged = reason.acknowledged
            assert len(acknowledged) == 1
            waiting = [record for record in waiting if record.position not in acknowledged]
        assert waiting == []
        assert [json.loads(publish.payload)["f_cnt"] for publish in broker.readings] == [1, 2, 3, 4, 5]


async def test_nothing_of_an_old_connection_is_sent_again_on_the_next_one():
    async with LyingBroker(
        on_reading=lambda publish, _: (HANG_UP,) if publish.connection == 0 else (puback(publish.packet_id),)
    ) as broker:
        sink = sink_for(broker)
        with pytest.raises(SinkUnavailable):
            async with sink.connect() as link:
                await link.deliver(records(4))
        async with sink.connect() as link:
            await asyncio.sleep(0.1)
            assert [publish for publish in broker.readings if publish.connection == 1] == []
            await link.deliver(records(1, first=9))
        again = [publish for publish in broker.readings if publish.connection == 1]
        assert [(json.loads(publish.payload)["f_cnt"], publish.dup) for publish in again] == [(9, False)]


async def test_an_acknowledgement_of_something_else_acknowledges_nothing():
    async with LyingBroker(on_reading=lambda publish, _: (puback(publish.packet_id + 1000),)) as broker:
        reason = await unavailable(broker, records(3), ack_timeout_s=SHORT_S)
    assert reason.acknowledged == ()


async def test_an_acknowledgement_said_twice_counts_once():
    async with LyingBroker(on_reading=lambda publish, _: (puback(publish.packet_id),) * 2) as broker:
        async with sink_for(broker).connect() as link:
            for first in (1, 11, 21):
                assert await link.deliver(records(10, first)) == []
        assert len(broker.readings) == 30


async def test_an_acknowledgement_from_before_does_not_count_for_what_is_sent_after():
    late = []

    def one_behind(publish, _):
        late.append(puback(publish.packet_id))
        return late[-2:-1]

    async with LyingBroker(on_reading=one_behind) as broker, sink_for(broker, ack_timeout_s=SHORT_S).connect() as link:
        abandoned = asyncio.create_task(link.deliver(records(1)))
        while not broker.readings:
            await asyncio.sleep(0.01)
        abandoned.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await abandoned
        with pytest.raises(SinkUnavailable) as caught:
            await link.deliver(records(1, first=2))
        assert caught.value.acknowledged == ()


NEVER = {0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid"}


@pytest.mark.parametrize("reason", sorted(NEVER))
async def test_what_the_broker_will_never_take_is_refused_and_costs_nobody_else(reason):
    def answer(publish, nth):
        return (puback(publish.packet_id, reason if nth == 1 else 0),)

    async with LyingBroker(on_reading=answer) as broker:
        refused = await refusals(broker, records(3))
    assert list(refused) == [2]
    assert NEVER[reason] in refused[2]


@pytest.mark.parametrize(
    ("reason", "words", "alert"),
    [
        (0x80, "unspecified error", False),
        (0x83, "implementation specific error", False),
        (0x87, "not authorized", True),
        (0x91, "packet identifier in use", False),
        (0x97, "quota exceeded", False),
        (0x96, "message rate too high", False),  # not a reason of PUBACK in the specification
        (0xEE, "0xee", False),  # not a reason at all
    ],
)
async def test_what_the_broker_cannot_take_now_is_kept_and_the_rest_named(reason, words, alert):
    def answer(publish, nth):
        return (puback(publish.packet_id, reason if nth == 1 else None),)

    async with LyingBroker(on_reading=answer) as broker:
        failure = await unavailable(broker, records(3))
    assert failure.acknowledged == (1, 3)
    assert failure.alert is alert
    assert words in str(failure)


async def test_a_missing_permission_outweighs_a_quota_and_refused_ones_are_not_acknowledged():
    answers = (0x97, 0x87, 0x95, 0x00)
    async with LyingBroker(on_reading=lambda publish, nth: (puback(publish.packet_id, answers[nth]),)) as broker:
        failure = await unavailable(broker, records(4))
    assert (failure.alert, failure.acknowledged) == (True, (4,))


async def test_nobody_subscribed_is_fine_unless_a_subscriber_is_needed():
    async with LyingBroker(on_reading=lambda publish, _: (puback(publish.packet_id, 0x10),)) as broker:
        assert await refusals(broker, records(2)) == {}
        failure = await unavailable(broker, records(2), need_subscriber=True)
    assert (failure.alert, failure.acknowledged) == (False, ())
    assert "no matching subscribers" in str(failure)


async def test_the_words_of_the_broker_reach_the_refusal():
    text = b"too fat\n"
    remark = b"\x1f" + len(text).to_bytes(2, "big") + text
    async with LyingBroker(on_reading=lambda publish, _: (puback(publish.packet_id, 0x95, remark),)) as broker:
        assert (await refusals(broker, records(1)))[1].endswith("packet too large (too fat\N{REPLACEMENT CHARACTER})")


async def test_a_refused_status_is_said_once_and_stops_no_reading(caplog):
    async with LyingBroker(on_status=lambda publish, _: (puback(publish.packet_id, 0x87),)) as broker:
        with caplog.at_level(logging.WARNING):
            async with sink_for(broker).connect() as link:
                await link.announce("status", {}, retain=True)
                assert await link.deliver(records(2)) == []
    assert ["not authorized" in line for line in caplog.messages] == [True]


# --- limits


RECEIVE_MAXIMUM_3 = b"\x21\x00\x03"


async def test_no_more_is_on_its_way_than_the_broker_wants_to_receive():
    async with LyingBroker(on_connect=connack(0, RECEIVE_MAXIMUM_3), on_reading=lambda *_: ()) as broker:
        await unavailable(broker, records(20), ack_timeout_s=SHORT_S)
        assert [json.loads(publish.payload)["f_cnt"] for publish in broker.readings] == [1, 2, 3]


async def test_a_small_window_is_worked_off_in_order():
    held: list[bytes] = []

    def answer_in_threes(publish, nth):
        held.append(puback(publish.packet_id))
        if len(held) == 3 or nth == 19:
            answers = tuple(held)
            held.clear()
            return answers
        return ()

    async with LyingBroker(on_connect=connack(0, RECEIVE_MAXIMUM_3), on_reading=answer_in_threes) as broker:
        assert await refusals(broker, records(20)) == {}
        assert [json.loads(publish.payload)["f_cnt"] for publish in broker.readings] == list(range(1, 21))


@pytest.mark.parametrize("slack", [-1, 0])
async def test_what_exceeds_the_brokers_packet_size_by_one_byte_is_refused_without_sending_it(slack):
    long = record(2, name="x" * 20_000)
    async with LyingBroker() as broker:
        assert await refusals(broker, [record(1), long, record(3)]) == {}
        size = broker.readings[1].size
    limit = b"\x27" + (size + slack).to_bytes(4, "big")
    async with LyingBroker(on_connect=connack(0, limit)) as broker:
        async with sink_for(broker).connect() as link:
            await link.announce("status", {"story": "x" * 30_000})  # an announcement too large is nobody's loss
            refused = {refusal.position: refusal.reason for refusal in await link.deliver([record(1), long, record(3)])}
        assert len(broker.readings) == (2 if slack else 3)
    assert list(refused) == ([2] if slack else [])


async def test_a_broker_that_keeps_nothing_gets_no_retained_status():
    async with LyingBroker(on_connect=connack(0, b"\x25\x00")) as broker:
        await refusals(broker, records(1))
        assert [status.retain for status in broker.statuses] == [False, False]


# --- the end


async def test_a_broker_that_says_why_it_ends_the_line_is_quoted():
    goodbye = b"\xe0\x02\x8b\x00"  # DISCONNECT, server shutting down
    async with LyingBroker(on_reading=lambda *_: (goodbye, HANG_UP)) as broker:
        assert "server shutting down" in str(await unavailable(broker, records(2)))


async def test_an_idle_line_whose_broker_fell_silent_is_found_lost_by_the_keepalive():
    keepalive_1_s = b"\x13\x00\x01"  # Server Keep Alive, which the client has to obey
    silent = LyingBroker(on_connect=connack(0, keepalive_1_s), answers_ping=False)
    async with silent as broker, sink_for(broker).connect() as link:
        assert await asyncio.wait_for(link.lost(), LONG_S) == "the broker stopped answering"


async def test_leaving_says_offline_and_then_goodbye_so_that_the_will_stays_unspoken():
    async with LyingBroker() as broker:
        await refusals(broker, records(1))
        async with asyncio.timeout(LONG_S):
            while not broker.goodbyes:
                await asyncio.sleep(0.01)
        assert [json.loads(status.payload)["state"] for status in broker.statuses] == ["online", "offline"]


async def test_leaving_a_broker_that_fell_silent_leaves_it_to_the_will():
    async with LyingBroker(on_status=lambda publish, nth: (puback(publish.packet_id),) if nth == 0 else ()) as broker:
        async with asyncio.timeout(LONG_S):
            await refusals(broker, records(1))
        assert [json.loads(status.payload)["state"] for status in broker.statuses] == ["online", "offline"]
        assert broker.goodbyes == 0


async def test_what_the_library_trips_over_ends_the_line_at_once():
    no_utf_8 = b"\x30\x05\x00\x02\xc3\x28\x00"  # PUBLISH to us, its topic is no text
    async with LyingBroker(on_reading=lambda *_: (no_utf_8,)) as broker, sink_for(broker).connect() as link:
        with pytest.raises(SinkUnavailable, match="library failed"):
            await link.deliver(records(2))
        assert "library failed" in await link.lost()


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=40))
async def test_no_bytes_from_a_broker_acknowledge_or_break_anything(noise):
    async with LyingBroker(on_reading=lambda publish, nth: (noise, HANG_UP) if nth == 0 else ()) as broker:
        try:
            async with sink_for(broker).connect() as link:
                await link.deliver(records(2))
        except SinkUnavailable as reason:
            acknowledged = set(reason.acknowledged)
        else:
            acknowledged = {1, 2}
    ids = {publish.packet_id: json.loads(publish.payload)["f_cnt"] for publish in broker.readings}
    assert all(
        any(bytes((i >> 8, i & 255)) in noise for i, f_cnt in ids.items() if f_cnt == told) for told in acknowledged
    )
