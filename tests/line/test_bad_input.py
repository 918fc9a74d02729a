"""What network servers get wrong, at a whole gateway: each has its refusal on the wire, and a sentence in the log.

Nothing else suffers: after all of it the same server's good downlink reaches the air.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import aiomqtt
import pytest
from brokers import HOST, Authority, Collector
from daemons import GatewayProcess
from test_line import PHY
from test_own_network import DownForwarder
from told_gateway import ToldGateway
from udp_network_server import UdpNetworkServer, txpk, until

sys.path += [str(Path(__file__).parent.parent / room) for room in ("wire", "lns")]

import station_samples
from station_server import StationServer

EUI = "0016c001ff10a235"
CONFIG = station_samples.BRIDGE_CONFIG | {"NetID": None, "JoinEui": None}
UDP = '[lns.city]\ntype = "semtech-udp"\nserver = "127.0.0.1:{}"\nkeepalive = "200ms"\nstat_interval = "200ms"\n'
STATION = '[lns.city]\ntype = "basics-station"\nserver = "{}"\n{}\n'
MQTT = '[lns.city]\ntype = "chirpstack-mqtt"\nserver = "{}"\nmarshaler = "json"\nstats_interval = "1s"\n{}\n'
HEARD_US = 1_000_000_000
TOPIC = f"eu868/gateway/{EUI}"


def stranger(f_cnt: int) -> bytes:
    """An uplink of a device that this gateway does not know."""
    return PHY[:1] + b"\x09\x02\x03\x26" + PHY[5:6] + f_cnt.to_bytes(2, "little") + PHY[8:]


async def facts_until(gateway: GatewayProcess, reached) -> dict:
    """The facts of the server once they are so."""
    status = await asyncio.to_thread(gateway.until, lambda status: reached(status["lns"][0]))
    return status["lns"][0]


# --- Semtech UDP ---

# Counted from the uplink that is heard at HEARD_US; the forwarder's counter stands there.
UDP_DOWNLINKS = {
    "for another region": (txpk(tmst=HEARD_US + 3_000_000, freq=923.3), "TX_FREQ", "923.3 MHz is in none of the bands"),
    "its time in the past": (txpk(tmst=HEARD_US - 3_000_000), "TOO_LATE", ""),
    "300 bytes": (
        txpk(tmst=HEARD_US + 3_000_000, size=300, data=base64.b64encode(bytes(300)).decode()),
        "UNKNOWN",
        "it cannot be read",
    ),
    "40 dBm": (txpk(tmst=HEARD_US + 3_000_000, powe=40), "TX_POWER", "40 dBm EIRP, at most"),
    "no UTF-8": (b'{"txpk":{"modu":"\xff\xfe","tmst":1}}', "UNKNOWN", "it cannot be read"),
}


async def test_a_semtech_server_hears_why_not(tmp_path):
    async with UdpNetworkServer() as city:
        with GatewayProcess(tmp_path, sink=UDP.format(city.port)) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:
                await until(lambda: city.pulled)
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                await until(lambda: city.rxpks)
                for number, (request, _, _) in enumerate(UDP_DOWNLINKS.values(), 1):
                    told = len(city.stats)
                    city.pull_resp(request, bytes([0, number]))
                    await until(lambda: len(city.tx_acks) == number and len(city.stats) > told)  # noqa: B023
                forwarder.hear(stranger(2), counter_us=HEARD_US + 20_000_000)
                await until(lambda: len(city.rxpks) == 2)
                city.pull_resp(txpk(tmst=HEARD_US + 23_000_000), b"\x00\xff")
                assert (await asyncio.to_thread(forwarder.downlink))["tmst"] == HEARD_US + 23_000_000
    answers = {token[1]: json.loads(body) for token, body in city.tx_acks[: len(UDP_DOWNLINKS)]}
    for number, (_, word, sentence) in enumerate(UDP_DOWNLINKS.values(), 1):
        assert answers[number] == {"txpk_ack": {"error": word}}
        assert re.search(f"lns city: a downlink is not sent: {word}.*{sentence}", gateway.log)


async def test_a_wrong_token_acknowledges_nothing_and_is_said(tmp_path):
    async with UdpNetworkServer(acknowledges=False) as city:
        with GatewayProcess(tmp_path, sink=UDP.format(city.port)) as gateway:
            await asyncio.to_thread(gateway.start)
            await until(lambda: city.pulled)
            for kind in (1, 4):  # PUSH_ACK, PULL_ACK
                city.send(b"\x02\xee\xee" + bytes([kind]))
            facts = await facts_until(gateway, lambda one: one["refused"].get("ack_unknown") == 2)
    assert facts["acknowledged"] == 0
    assert "acknowledges token eeee, for which nobody waits" in gateway.log


# --- ChirpStack ---


def command(up: dict, *, power: int = 14, phy: bytes = PHY[:12], delay: str = "3s", hz: int = 868_100_000) -> str:
    lora = {"bandwidth": 125_000, "spreadingFactor": 7, "codeRate": "CR_4_5", "polarizationInversion": True}
    item = {
        "phyPayload": base64.b64encode(phy).decode(),
        "txInfo": {
            "frequency": hz, "power": power, "modulation": {"lora": lora},
            "timing": {"delay": {"delay": delay}}, "context": up["rxInfo"]["context"],
        },
    }  # fmt: skip
    return json.dumps({"downlinkId": 7, "items": [item], "gatewayId": EUI})


COMMANDS = {
    "for another region": (lambda up: command(up, hz=923_300_000), "TX_FREQ", "923.3 MHz is in none of the bands"),
    "its time in the past": (lambda up: command(up, delay="0.000100s"), "TOO_LATE", ""),
    "300 bytes": (lambda up: command(up, phy=bytes(300)), "INTERNAL_ERROR", "300 bytes are no frame"),
    "40 dBm": (lambda up: command(up, power=40), "TX_POWER", "40 dBm EIRP, at most"),
}


async def test_a_chirpstack_hears_why_not(tmp_path, mosquitto):
    async with Collector(mosquitto) as city, aiomqtt.Client(HOST, mosquitto.port) as server:
        with GatewayProcess(tmp_path, sink=MQTT.format(mosquitto.url, "")) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda heard: any(m.topic.endswith("state/conn") for m in heard))
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                heard = await city.until(lambda heard: said(heard, "up"))
                await server.publish(f"{TOPIC}/command/down", b'{"items":"\xff\xfe"}', qos=1)  # no UTF-8
                for number, (make, _, _) in enumerate(COMMANDS.values(), 1):
                    await server.publish(f"{TOPIC}/command/down", make(said(heard, "up")[0]), qos=1)
                    await city.until(lambda heard: len(said(heard, "ack")) == number)  # noqa: B023
                forwarder.hear(stranger(2), counter_us=HEARD_US + 20_000_000)
                heard = await city.until(lambda heard: len(said(heard, "up")) == 2)
                await server.publish(f"{TOPIC}/command/down", command(said(heard, "up")[1]), qos=1)
                assert (await asyncio.to_thread(forwarder.downlink))["tmst"] == HEARD_US + 23_000_000
            facts = gateway.status()["lns"][0]
    acks = said(city.heard, "ack")
    for ack, (_, status, sentence) in zip(acks, COMMANDS.values(), strict=False):
        assert ack["items"] == [{"status": status}]
        assert re.search(f"lns city: a downlink is not sent: {status}.*{sentence}", gateway.log)
    assert facts["refused"] == {"unreadable": 1}
    assert "command/down cannot be read: it begins like JSON and is none" in gateway.log


def said(heard, what: str) -> list[dict]:
    return [json.loads(message.payload) for message in heard if message.topic.endswith(f"event/{what}")]


# --- Basics Station ---

CONFIGS = {
    "11 channels": (
        {"sx1301_conf": None, "upchannels": [[867_100_000 + 200_000 * n, 0, 5] for n in range(11)]},
        "11 channels, the concentrator hears 10",
    ),
    "other hardware": ({"hwspec": "sx1301/2"}, "planned for several concentrators, this gateway has one"),
    "no hardware known here": ({"hwspec": "sx1280/1"}, "hwspec names no hardware of this kind"),
}


@pytest.mark.parametrize("what", CONFIGS)
async def test_a_router_config_for_other_hardware_is_refused_with_an_alarm(tmp_path, what):
    changes, sentence = CONFIGS[what]
    async with StationServer(CONFIG | changes).open() as city:
        with GatewayProcess(tmp_path, sink=STATION.format(city.url, "")) as gateway:
            await asyncio.to_thread(gateway.start)
            alarm = await city.hear("alarm")
            facts = await facts_until(gateway, lambda one: one["state"] == "refused")
    assert sentence in alarm["text"]
    assert sentence in facts["evidence"]
    assert re.search(f"its router_config cannot be followed: .*{sentence}", gateway.log)


STATION_DOWNLINKS = {
    "for another region": ({"RX1Freq": 923_300_000, "RX2Freq": 923_300_000}, "TX_FREQ", "923300000 Hz is not for"),
    "its time in the past": ({"back_us": 20_000_000}, "TOO_LATE", "TOO_LATE"),
    "300 bytes": ({"pdu": "00" * 300}, None, "sent what cannot be used: pdu"),
}


@pytest.mark.parametrize("what", STATION_DOWNLINKS)
async def test_a_station_server_gets_no_confirmation_and_the_log_says_why(tmp_path, what):
    changes, result, sentence = STATION_DOWNLINKS[what]
    async with StationServer(CONFIG | {"max_eirp": 40.0}).open() as city:
        with GatewayProcess(tmp_path, sink=STATION.format(city.url, "")) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:
                await until(lambda: city.sockets)
                await facts_until(gateway, lambda one: one["state"] == "connected")
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                info = (await city.hear("updf"))["upinfo"]
                dnmsg = station_samples.STATION_DNMSG | {"xtime": info["xtime"], "rctx": info["rctx"], "RxDelay": 3}
                bad = dnmsg | changes | {"diid": 1}
                await city.say(bad | {"xtime": bad["xtime"] - bad.pop("back_us", 0)})
                await city.say(dnmsg | {"diid": 2})
                sent = await asyncio.to_thread(forwarder.downlink)
                assert sent["powe"] == 16  # the server would allow 40 dBm; the law says 25 mW e.r.p., 16.15 dBm EIRP
                assert (await city.hear("dntxed"))["diid"] == 2  # and never one for the other
            facts = gateway.status()["lns"][0]
    assert sentence in gateway.log
    if result is None:
        assert facts["refused"]["malformed"] == 1
    else:
        assert facts["downlinks"].get(result) == 1


async def test_a_text_frame_that_is_no_utf_8_ends_the_connection_and_is_said(tmp_path):
    async with StationServer(CONFIG).open() as city:
        with GatewayProcess(tmp_path, sink=STATION.format(city.url, "")) as gateway:
            await asyncio.to_thread(gateway.start)
            await until(lambda: city.sockets)
            await facts_until(gateway, lambda one: one["state"] == "connected")
            transport = city.sockets[-1]._req.transport
            transport.write(b"\x81\x04\xff\xfe\xff\xfe")
            await until(lambda: len(city.sockets) == 2)
            await facts_until(gateway, lambda one: one["state"] == "connected")
    assert "its messages cannot be read" in gateway.log


# --- servers that are none, and certificates ---


@contextmanager
def mute():
    """A port that takes connections, and nothing else comes from it."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield listening.getsockname()[1]


async def test_servers_that_take_the_connection_and_never_answer_are_named(tmp_path):
    with mute() as port:
        servers = STATION.format(f"ws://127.0.0.1:{port}", "")
        servers += MQTT.format(f"mqtt://127.0.0.1:{port}", "").replace("lns.city", "lns.other")
        with GatewayProcess(tmp_path, sink=servers) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:  # the gateway itself does not wait for them
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                await asyncio.to_thread(gateway.until, lambda status: status["radio"]["heard"] == 1)
            status = await asyncio.to_thread(
                gateway.until, lambda status: [one["state"] for one in status["lns"]] == ["unreachable"] * 2
            )
    city, other = (one["evidence"] for one in status["lns"])
    assert "takes the connection and does not answer" in city
    assert "waited 10 s for an answer" in other
    assert re.search(f"lns city: .*{re.escape(city[:30])}", gateway.log)
    assert re.search("lns other: .*waited 10 s for an answer", gateway.log)


CERTIFICATES = {
    "expired": ({"begins": timedelta(hours=-2), "ends": timedelta(hours=-1)}, "refused", "expired"),
    "not yet valid": (
        {"begins": timedelta(hours=1), "ends": timedelta(hours=2)},
        "unreachable",
        "not valid yet|not yet valid",
    ),
}


@pytest.mark.parametrize("which", CERTIFICATES)
@pytest.mark.parametrize("kind", ["station", "mqtt"])
async def test_a_certificate_out_of_its_time_is_named(tmp_path, make_mosquitto, which, kind):
    issue, state, words = CERTIFICATES[which]
    authority = Authority(tmp_path / "authority")
    trust = f'ca_file = "{authority.file}"'
    if kind == "mqtt":
        broker = make_mosquitto(tls=authority.issue("server", **issue))
        with GatewayProcess(tmp_path, sink=MQTT.format(broker.url, trust)) as gateway:
            await asyncio.to_thread(gateway.start)
            facts = await facts_until(gateway, lambda one: re.search(words, one["evidence"]))
    else:
        files, context = authority.issue("server", **issue), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert_file, files.key_file)
        async with StationServer(CONFIG, tls=context).open() as city:
            with GatewayProcess(tmp_path, sink=STATION.format(city.url, trust)) as gateway:
                await asyncio.to_thread(gateway.start)
                facts = await facts_until(gateway, lambda one: re.search(words, one["evidence"]))
            assert city.queries == []  # nothing was said to it
    assert facts["state"] == state
    assert re.search(f"lns city: .*({words})", gateway.log)


# --- a clock at 1970 ---


async def test_a_clock_at_1970_tells_nobody_a_date_and_says_so(tmp_path, mosquitto):
    async with UdpNetworkServer() as udp, Collector(mosquitto) as city:
        servers = MQTT.format(mosquitto.url, "") + UDP.format(udp.port).replace("lns.city", "lns.udp")
        with ToldGateway(tmp_path, sink=servers) as gateway:
            await asyncio.to_thread(gateway.start)
            with DownForwarder(gateway.udp_port) as forwarder:
                await until(lambda: udp.pulled)
                await city.until(lambda heard: any(m.topic.endswith("event/stats") for m in heard))
                forwarder.hear(stranger(1), counter_us=HEARD_US)
                await until(lambda: udp.rxpks)
                heard = await city.until(lambda heard: any(m.topic.endswith("event/up") for m in heard))
                # RX1 needs no date.
                udp.pull_resp(txpk(tmst=HEARD_US + 3_000_000))
                assert (await asyncio.to_thread(forwarder.downlink))["tmst"] == HEARD_US + 3_000_000
                clock = gateway.status()["clock"]
    [up] = [json.loads(m.payload) for m in heard if m.topic.endswith("event/up")]
    stats = [json.loads(m.payload) for m in heard if m.topic.endswith("event/stats")]
    assert "gwTime" not in up["rxInfo"]
    assert all("time" not in one for one in stats)
    assert not {"time", "tmms"} & udp.rxpks[0].keys()
    assert "1970" in clock["evidence"]
    assert "the time is not known yet" in gateway.log
