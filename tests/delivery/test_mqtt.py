"""Readings through a real Mosquitto to a real subscriber."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import pytest
from brokers import Authority, Collector
from contract_example import EXAMPLE, READING, record, records
from mqtt_sinks import mqtt_sink as sink_at

from gateway.delivery.sink import Link, Refusal, Sink, SinkUnavailable
from gateway.lines.mqtt import Broker
from gateway.wire.privacy import Privacy
from gateway.wire.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brokers import Heard

    from gateway.delivery.mqtt import MqttSink

pytestmark = pytest.mark.usefixtures("quiet_loop")

LONG_S = 10.0

UP = "lorawan/0016c001ff10a235/70b3d57ed0000001/up"
STATUS = "lorawan/0016c001ff10a235/status"


async def deliver(sink: MqttSink, batch) -> Sequence[Refusal]:
    async with sink.connect() as link:
        return await link.deliver(batch)


async def unavailable(sink: MqttSink) -> SinkUnavailable:
    """Connect, which must fail; why."""
    with pytest.raises(SinkUnavailable) as caught:
        async with sink.connect():
            pass
    return caught.value


def states(heard) -> list[str]:
    return [json.loads(message.payload)["state"] for message in heard if message.topic == STATUS]


# --- what arrives


async def test_a_subscriber_sees_the_published_example_on_its_topic(mosquitto):
    program = which("mosquitto_sub")
    if program is None:
        pytest.skip("no mosquitto_sub here: apt-get install mosquitto-clients")
    options = [
        "-h",
        "127.0.0.1",
        "-p",
        str(mosquitto.port),
        "-t",
        "lorawan/+/+/up",
        "-q",
        "1",
        "-C",
        "1",
        "-F",
        "%t %q %p",
    ]
    subscriber = await asyncio.create_subprocess_exec(program, *options, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(LONG_S):
        while True:
            try:
                await deliver(sink_at(mosquitto.url, need_subscriber=True), [record()])
                break
            except SinkUnavailable:  # it has not subscribed yet
                await asyncio.sleep(0.02)
        seen, _ = await subscriber.communicate()
    topic, qos, payload = seen.decode().strip().split(" ", 2)
    assert (topic, qos) == (UP, "1")
    assert json.loads(payload) == json.loads(EXAMPLE)


async def test_readings_arrive_once_in_order_and_with_the_chosen_fields_only(mosquitto):
    sink = sink_at(mosquitto.url, privacy=Privacy(("f_cnt",)), topic_prefix="ville/lora", in_flight=8)
    async with Collector(mosquitto, "ville/lora/+/+/up") as collector, sink.connect() as link:
        for first in range(1, 161, 8):
            assert await link.deliver(records(8, first)) == []
        heard = await collector.until(lambda heard: len(heard) >= 160)
    readings = [json.loads(message.payload) for message in heard]
    assert [reading["f_cnt"] for reading in readings] == list(range(1, 161))
    assert {tuple(reading) for reading in readings} == {("id", "record_id", "gateway_eui", "dev_eui", "f_cnt")}
    assert {(message.topic, message.qos) for message in heard} == {(UP.replace("lorawan", "ville/lora"), 1)}


async def test_a_broker_that_gets_pseudonyms_never_sees_a_device_by_name(mosquitto):
    names = Pseudonyms(b"a key for this test")
    sink = sink_at(mosquitto.url, privacy=Privacy(pseudonyms=names))
    dev_eui = READING.dev_eui.hex()
    async with Collector(mosquitto) as collector, sink.connect() as link:
        assert await link.deliver(records(2)) == []
        await link.announce(f"{dev_eui}/join", {"dev_eui": dev_eui})
        await link.announce("balance", {"losses": {"by_device": [{"dev_eui": dev_eui}]}})
        assert [one async for one in link.downlinks()] == []
        heard = await collector.until(lambda heard: any(message.topic.endswith("/balance") for message in heard))
    assert not any(dev_eui in message.topic or dev_eui.encode() in message.payload for message in heard)
    hidden = names.of("dev_eui", dev_eui)
    assert [message.topic.split("/")[2] for message in heard if message.topic.endswith("/up")] == [hidden, hidden]


async def test_two_lanes_and_announcements_share_one_link(mosquitto):
    async with Collector(mosquitto) as collector, sink_at(mosquitto.url).connect() as link:
        async with asyncio.TaskGroup() as tasks:
            for lane in range(2):
                tasks.create_task(_carry(link, range(lane * 1000, lane * 1000 + 320, 16)))
            tasks.create_task(link.announce("balance", {"heard": 7, "stored": 7}))
        heard = await collector.until(lambda heard: len(heard) >= 642)
    counters = [json.loads(message.payload)["f_cnt"] for message in heard if message.topic == UP]
    assert sorted(counters) == [*range(320), *range(1000, 1320)]
    balance = [json.loads(message.payload) for message in heard if message.topic.endswith("/balance")]
    assert balance == [{"heard": 7, "stored": 7}]


async def _carry(link: Link, firsts) -> None:
    for first in firsts:
        assert await link.deliver(records(16, first)) == []


async def test_an_empty_batch_is_delivered_at_once(mosquitto):
    assert await deliver(sink_at(mosquitto.url), []) == []


async def test_it_is_a_sink(mosquitto):
    sink: Sink = sink_at(mosquitto.url)
    async with sink.connect() as link:
        assert isinstance(sink.name, str)
        assert await link.deliver([]) == []


# --- status


async def test_the_status_is_online_while_connected_and_offline_after(mosquitto):
    async with sink_at(mosquitto.url).connect() as link, Collector(mosquitto, STATUS) as late_comer:
        (online,) = await late_comer.until(len)
        assert online.retain
        assert json.loads(online.payload) == {"state": "online", "gateway_eui": "0016c001ff10a235"}
        await link.announce("status", {"uptime_s": 7}, retain=True)
        heard = await late_comer.until(lambda heard: len(heard) == 2)
        assert json.loads(heard[-1].payload) == {"state": "online", "uptime_s": 7}
    async with Collector(mosquitto, STATUS) as late_comer:
        (offline,) = await late_comer.until(len)
    assert (offline.payload, offline.retain) == (b'{"state":"offline"}', True)


async def test_a_cancelled_sink_says_offline_itself(mosquitto):
    connected = asyncio.Event()

    async def run() -> None:
        async with sink_at(mosquitto.url).connect() as link:
            connected.set()
            await link.lost()

    async with Collector(mosquitto, STATUS) as collector:
        running = asyncio.create_task(run())
        await asyncio.wait_for(connected.wait(), LONG_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert states(await collector.until(lambda heard: len(heard) == 2)) == ["online", "offline"]


GATEWAY = """
import asyncio, sys
from mqtt_sinks import mqtt_sink

async def main():
    async with mqtt_sink(sys.argv[1]).connect() as link:
        await link.lost()

asyncio.run(main())
"""


async def test_the_broker_says_offline_for_a_gateway_that_is_killed(mosquitto):
    tests = Path(__file__).parents[1]
    async with Collector(mosquitto, STATUS) as collector:
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", GATEWAY, mosquitto.url),
            env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"},
        )
        await collector.until(lambda heard: states(heard) == ["online"])
        gateway.send_signal(signal.SIGKILL)
        await gateway.wait()
        assert states(await collector.until(lambda heard: len(heard) == 2)) == ["online", "offline"]


async def test_a_successor_takes_over_and_the_status_ends_online(mosquitto):
    # After a cut line the broker still believes in the old connection: same client id, so that it ends it at once.
    async with sink_at(mosquitto.url).connect() as before, sink_at(mosquitto.url).connect() as after:
        assert await asyncio.wait_for(before.lost(), LONG_S)
        async with Collector(mosquitto, STATUS) as late_comer:
            assert states(await late_comer.until(len)) == ["online"]
        assert await after.deliver(records(1)) == []


# --- login


async def test_the_password_is_read_at_each_connection(make_mosquitto):
    broker = make_mosquitto(users={"roof": "corréct"})
    passwords = iter(["corréct", "wrong"])
    sink = sink_at(broker.url, username="roof", password=lambda: next(passwords))
    assert await deliver(sink, records(1)) == []
    refused = await unavailable(sink)
    assert refused.alert
    assert "wrong" not in str(refused)
    assert "not authorized" in str(refused)


async def test_a_broker_that_wants_a_login_refuses_one_without(make_mosquitto):
    refused = await unavailable(sink_at(make_mosquitto(users={"roof": "secret"}).url))
    assert (refused.alert, "not authorized" in str(refused)) == (True, True)


async def test_a_password_that_cannot_be_read_is_told_with_its_file(mosquitto, tmp_path):
    missing = tmp_path / "password"
    refused = await unavailable(sink_at(mosquitto.url, username="roof", password=missing.read_text))
    assert refused.alert
    assert str(missing) in str(refused)


async def test_a_login_that_may_not_publish_readings_is_an_alert_and_keeps_them(make_mosquitto):
    broker = make_mosquitto(acl=["topic write lorawan/+/status"])
    async with sink_at(broker.url).connect() as link:
        with pytest.raises(SinkUnavailable, match="not authorized") as caught:
            await link.deliver(records(3))
    assert (caught.value.alert, caught.value.acknowledged) == (True, ())


async def test_a_login_that_may_publish_readings_only_does(make_mosquitto):
    broker = make_mosquitto(acl=["topic write lorawan/+/+/up"])
    async with sink_at(broker.url).connect() as link:
        await link.announce("status", {}, retain=True)
        assert await link.deliver(records(3)) == []


# --- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_tls_with_a_known_authority_delivers(make_mosquitto, authority, host):
    broker = make_mosquitto(tls=authority.issue())
    sink = sink_at(f"mqtts://{host}:{broker.port}", ca_file=authority.file)
    context = ssl.create_default_context(cafile=authority.file)
    async with Collector(broker, UP, tls_context=context) as collector, sink.connect() as link:
        for first in range(1, 97, 32):
            assert await link.deliver(records(32, first, name="x" * 5_000)) == []
        await collector.until(lambda heard: len(heard) == 96)


@pytest.mark.parametrize(
    ("certificate", "words", "alert"),
    [
        ({"ends": timedelta(minutes=-1)}, "expired", True),
        ({"begins": timedelta(minutes=30)}, "not valid yet", False),
        ({"hosts": ["192.0.2.1"]}, "not for this IP address", True),
        ({"hosts": []}, "not for this IP address", True),
    ],
)
async def test_a_certificate_that_does_not_fit_is_told_in_words(make_mosquitto, authority, certificate, words, alert):
    broker = make_mosquitto(tls=authority.issue(**certificate))
    refused = await unavailable(sink_at(broker.url, ca_file=authority.file))
    assert words in str(refused)
    assert refused.alert is alert


async def test_a_certificate_for_another_name_is_told_in_words(make_mosquitto, authority):
    broker = make_mosquitto(tls=authority.issue(hosts=["broker.example"]))
    refused = await unavailable(sink_at(f"mqtts://localhost:{broker.port}", ca_file=authority.file))
    assert "another host name" in str(refused)
    assert refused.alert


async def test_an_unknown_authority_is_told_in_words(make_mosquitto, authority, tmp_path):
    broker = make_mosquitto(tls=authority.issue())
    for ca_file in (Authority(tmp_path / "stranger").file, None):
        refused = await unavailable(sink_at(broker.url, ca_file=ca_file))
        assert "authority unknown here; name that in ca_file" in str(refused)
        assert refused.alert


async def test_a_broker_that_asks_for_a_certificate_gets_it_or_says_so(make_mosquitto, authority):
    broker = make_mosquitto(tls=authority.issue(), client_ca=authority.file)
    refused = await unavailable(sink_at(broker.url, ca_file=authority.file))
    assert "client certificate" in str(refused)
    assert refused.alert
    own = authority.issue("roof", hosts=[])
    sink = sink_at(broker.url, ca_file=authority.file, cert_file=own.cert_file, key_file=own.key_file)
    assert await deliver(sink, records(1)) == []


async def test_tls_and_plain_ports_are_not_mixed_up_in_silence(make_mosquitto, authority):
    plain, encrypted = make_mosquitto(), make_mosquitto(tls=authority.issue())
    assert "mqtts://" in str(await unavailable(sink_at(f"mqtt://127.0.0.1:{encrypted.port}")))
    assert "TLS" in str(await unavailable(sink_at(f"mqtts://127.0.0.1:{plain.port}")))


async def test_files_that_are_of_no_use_are_told_by_name(make_mosquitto, authority, tmp_path):
    broker = make_mosquitto(tls=authority.issue())
    own, other = authority.issue("roof", hosts=[]), authority.issue("other", hosts=[])
    locked = authority.issue("locked", hosts=[], passphrase=b"secret")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for files, words in (
        ({"ca_file": tmp_path / "none.pem"}, "none.pem"),
        ({"ca_file": empty}, "empty.pem holds no usable certificate"),
        ({"cert_file": own.cert_file, "key_file": tmp_path / "none.key"}, "none.key"),
        ({"cert_file": own.cert_file, "key_file": other.key_file}, "do not fit together"),
        ({"cert_file": empty, "key_file": own.key_file}, "do not fit together"),
        ({"cert_file": locked.cert_file, "key_file": locked.key_file}, "passphrase"),
    ):
        refused = await unavailable(sink_at(broker.url, **files))
        assert words in str(refused)
        assert refused.alert


# --- no broker


async def test_a_port_where_nothing_listens_is_told_in_words(mosquitto):
    mosquitto.stop()
    refused = await unavailable(sink_at(mosquitto.url))
    assert "refused" in str(refused)
    assert not refused.alert


async def test_a_name_nobody_knows_is_told_in_words():
    refused = await unavailable(sink_at("mqtt://broker.invalid"))  # RFC 6761: never exists
    assert "knows this host name" in str(refused) or "no name server answers" in str(refused)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://broker"}, "no mqtt://"),
        ({"url": "mqtt://"}, "no mqtt://"),
        ({"url": "mqtt://broker:0"}, "port 0"),
        ({"url": "mqtt://broker:99999"}, "out of range"),
        ({"url": "mqtt://broker/path"}, "goes on after the port"),
        ({"url": f"mqtt://{'b' * 70}.example"}, "no host name"),
        ({"url": "mqtt://roof:hidden@broker"}, "does not belong into the url"),
        ({"url": "ftp://roof:hidden@broker"}, "no mqtt://"),
        ({"password": str}, "needs a username"),
        ({"key_file": Path("k")}, "needs mqtts://|needs cert_file"),
        ({"ca_file": Path("c")}, "needs? mqtts://"),
        ({"topic_prefix": "lora/#"}, "topic_prefix"),
        ({"topic_prefix": ""}, "topic_prefix"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_without_showing_secrets(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        sink_at(**{"url": "mqtt://broker", **options})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker.example", ("broker.example", 1883)),
        ("mqtts://broker.example", ("broker.example", 8883)),
        ("mqtts://[2001:db8::1]:8884/", ("2001:db8::1", 8884)),
    ],
)
def test_urls_name_host_and_port(url, address):
    assert Broker(url, "roof").address == address


# --- the broker goes away


async def test_an_idle_link_notices_that_the_broker_is_gone(mosquitto):
    async with sink_at(mosquitto.url).connect() as link:
        mosquitto.kill()
        reason = await asyncio.wait_for(link.lost(), LONG_S)
    assert "closed the connection" in reason or "cut the connection" in reason


async def test_a_broker_restarted_in_mid_batch_gets_the_rest_from_the_caller(mosquitto):
    sink = sink_at(mosquitto.url)
    waiting = records(32)
    async with sink.connect() as link:
        mosquitto.pause()
        delivering = asyncio.create_task(link.deliver(waiting))
        await asyncio.sleep(0.05)
        assert not delivering.done()
        mosquitto.kill()
        with pytest.raises(SinkUnavailable) as caught:
            await delivering
        assert caught.value.acknowledged == ()
        assert await link.lost()
    mosquitto.start()
    async with Collector(mosquitto, UP) as collector:
        assert await deliver(sink, waiting) == []
        heard = await collector.until(lambda heard: len(heard) >= 32)
    assert [json.loads(message.payload)["f_cnt"] for message in heard] == list(range(1, 33))


async def test_no_acknowledged_reading_is_lost_over_restarts_and_copies_are_bounded(make_mosquitto):
    broker = make_mosquitto(persistence=True, settings=["max_queued_messages 0"])
    sink, sent, waiting, restarting = sink_at(broker.url), Counter[int](), {}, True
    losses = 0

    async def carry() -> None:
        nonlocal losses
        while restarting or waiting:
            try:
                async with sink.connect() as link:
                    while restarting or waiting:
                        missing = 16 - len(waiting)
                        waiting.update({record.position: record for record in records(missing, first=len(sent) + 1)})
                        sent.update(waiting.keys())
                        await link.deliver(list(waiting.values()))
                        waiting.clear()
                        await asyncio.sleep(0.002)
            except SinkUnavailable as reason:
                losses += 1
                for position in reason.acknowledged:
                    del waiting[position]
                await asyncio.sleep(0.01)

    async with Collector(broker, UP, client_id="centre") as collector, asyncio.timeout(LONG_S):
        carrying = asyncio.create_task(carry())
        for _ in range(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(broker.stop)
            await asyncio.to_thread(broker.start)
        await asyncio.sleep(0.1)
        restarting = False
        await carrying
        await collector.until(lambda heard: len(set(map(_f_cnt, heard))) == len(sent))
    assert {_f_cnt(message) for message in collector.heard} == sent.keys()
    assert losses >= 3
    assert len(sent) > 16 * losses
    assert sent.total() - len(sent) <= 16 * losses


def _f_cnt(message: Heard) -> int:
    return json.loads(message.payload)["f_cnt"]


# --- limits


async def test_what_is_larger_than_the_broker_takes_is_refused_and_the_rest_arrives(make_mosquitto):
    broker = make_mosquitto(settings=["max_packet_size 4000"])
    batch = [record(1), record(2, name="x" * 5_000), record(3)]
    async with Collector(broker, UP) as collector:
        (refusal,) = await deliver(sink_at(broker.url), batch)
        await collector.until(lambda heard: len(heard) == 2)
    assert refusal.position == 2
    assert "the broker takes 4000" in refusal.reason


async def test_a_limit_that_the_broker_tells_only_afterwards_refuses_one_reading_and_not_the_line(make_mosquitto):
    # Mosquitto answers 0x95 here, which is no reason of PUBACK; paho-mqtt 2.2 hangs up over it.
    broker = make_mosquitto(settings=["message_size_limit 4000"])
    async with Collector(broker, UP) as collector, sink_at(broker.url).connect() as link:
        (refusal,) = await link.deliver([record(1), record(2, name="x" * 5_000), record(3)])
        assert await link.deliver(records(1, first=4)) == []
        await collector.until(lambda heard: len(heard) == 3)
    assert refusal == Refusal(2, "the broker refuses it: packet too large")


async def test_a_window_larger_than_the_brokers_is_worked_off(make_mosquitto):
    broker = make_mosquitto(settings=["max_inflight_messages 3"])
    assert await deliver(sink_at(broker.url, in_flight=32), records(32)) == []


async def test_with_need_subscriber_a_reading_waits_for_one(mosquitto):
    sink = sink_at(mosquitto.url, need_subscriber=True)
    with pytest.raises(SinkUnavailable, match="no matching subscribers") as caught:
        await deliver(sink, records(2))
    assert (caught.value.alert, caught.value.acknowledged) == (False, ())
    async with Collector(mosquitto, UP) as collector:
        assert await deliver(sink, records(2)) == []
        await collector.until(lambda heard: len(heard) == 2)


async def test_names_that_are_no_proper_text_arrive_mended(mosquitto):
    async with Collector(mosquitto, UP) as collector:
        assert await deliver(sink_at(mosquitto.url), [record(name="PAV \udcff")]) == []
        (message,) = await collector.until(len)
    assert json.loads(message.payload)["name"] == "PAV \N{REPLACEMENT CHARACTER}"
