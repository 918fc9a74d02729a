"""Each kind of network server tells who looks on what becomes of frames and downlinks, and the same facts of itself."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aiomqtt
import pytest
from brokers import Mosquitto
from station_server import StationServer
from test_basics_station_line import CONFIG
from test_semtech_udp_server import Radio, frame, now
from udp_network_server import UdpNetworkServer, free_port, txpk, until

from gateway.journal import Offered, Outcome, Step
from gateway.lns.basics_station import BasicsStation, BasicsStationSettings
from gateway.lns.chirpstack_mqtt import ChirpstackMqttServer, ChirpstackMqttSettings
from gateway.lns.semtech_udp import SemtechUdpServer, SemtechUdpSettings
from gateway.lns.server import Reception
from gateway.model import GatewayEui, Lora, TxResult
from gateway.wire.chirpstack_messages import DOWNLINK_FRAME
from gateway.wire.protobuf import encode

EUI = GatewayEui.parse("0016c001ff10a235")
SAME_FACTS = {
    "name", "type", "server", "state", "evidence", "last_contact_s", "round_trip_ms", "forwarded", "acknowledged",
    "unanswered", "acknowledged_share", "missed", "downlinks", "refused",
}  # fmt: skip


class Notes:
    """An onlooker that writes down."""

    def __init__(self) -> None:
        self.frames_told: list[tuple[str, Step, int, str, bool]] = []
        self.downlinks_told: list[Offered | Outcome] = []

    def frames(self, lns, step, frames, reason="", *, final=True):
        self.frames_told.append((lns, step, len(frames), reason, final))

    def downlink(self, event):
        self.downlinks_told.append(event)

    @property
    def steps(self) -> list[tuple[Step, str]]:
        return [(step, reason) for _, step, number, reason, _ in self.frames_told for _ in range(number)]

    @property
    def results(self) -> list[tuple[TxResult, str]]:
        return [(event.report.result, event.report.detail) for event in self.downlinks_told]


@asynccontextmanager
async def running(server):
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def udp(port: int, notes: Notes, radio: Radio | None = None, **changes) -> SemtechUdpServer:
    wanted = {"name": "city", "host": "127.0.0.1", "port": port, "gateway_eui": EUI, "keepalive_s": 0.1, **changes}
    carry = (radio or Radio()).carry
    return SemtechUdpServer(SemtechUdpSettings(**wanted), carry, now, Reception(lambda: None), notes)


def station(url: str, notes: Notes, **changes) -> BasicsStation:
    settings = BasicsStationSettings("ttn", url, **changes)
    return BasicsStation(settings, Radio().carry, now, Reception(lambda: "roof"), EUI, notes)


def mqtt(url: str, notes: Notes, **changes) -> ChirpstackMqttServer:
    settings = ChirpstackMqttSettings("chirp", url, EUI, **changes)
    return ChirpstackMqttServer(settings, Radio().carry, now, Reception(lambda: "roof"), onlooker=notes)


@pytest.fixture
def broker(tmp_path):
    broker = Mosquitto(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


# --- frames


async def test_udp_tells_what_left_and_what_came_back():
    notes = Notes()
    async with UdpNetworkServer() as far, running(udp(far.port, notes, ack_within_s=0.15)) as server:
        await until(lambda: far.pulled)
        server.forward(frame())
        await until(lambda: len(notes.steps) == 2)
        far.acknowledges = False
        server.forward(frame(counter_us=2))
        await until(lambda: len(notes.steps) == 4)
        server.forward(frame(modulation=Lora(7, 125_000, None)))
    assert notes.steps == [
        (Step.FORWARDED, ""), (Step.ACKNOWLEDGED, ""), (Step.FORWARDED, ""), (Step.UNANSWERED, ""),
        (Step.MISSED, "no_word"),
    ]  # fmt: skip
    assert [final for *_, final in notes.frames_told] == [False, True, False, True, True]


async def test_udp_tells_what_was_too_old_when_a_server_could_be_had():
    notes = Notes()
    server = udp(free_port(), notes)
    old = frame(heard=replace(now(), monotonic_us=now().monotonic_us - 10_000_000))
    server.forward(old)
    assert notes.steps == [(Step.MISSED, "away")]


async def test_basics_station_acknowledges_nothing_and_says_so():
    notes = Notes()
    async with StationServer(CONFIG).open() as far, running(station(far.url, notes, insecure=True)) as server:
        await until(lambda: server.facts()["state"] == "connected")
        server.forward(frame())
        await far.hear("updf")
        server.forward(frame(modulation=Lora(6, 41_700)))
        await until(lambda: len(notes.steps) == 2)
        facts = server.facts()
    assert notes.frames_told == [
        ("ttn", Step.FORWARDED, 1, "", True), ("ttn", Step.MISSED, 1, "no_data_rate", True),
    ]  # fmt: skip
    assert (facts["forwarded"], facts["acknowledged"], facts["acknowledged_share"]) == (1, None, None)


async def test_chirpstack_tells_what_the_broker_took_and_that_nobody_listens(broker):
    notes = Notes()
    async with running(mqtt(broker.url, notes)) as server:
        await until(lambda: server.facts()["state"] == "connected")
        server.forward(frame())
        await until(lambda: len(notes.steps) == 2)
        broker.pause()
        server.forward(frame())
        await until(lambda: len(notes.steps) == 3)
        broker.kill()
        await until(lambda: len(notes.steps) == 4)
        facts = server.facts()
    assert notes.steps == [
        (Step.FORWARDED, ""), (Step.ACKNOWLEDGED, "nobody_subscribed"), (Step.FORWARDED, ""), (Step.UNANSWERED, ""),
    ]  # fmt: skip
    assert (facts["forwarded"], facts["acknowledged"], facts["unanswered"], facts["missed"]) == (2, 1, 1, {})


async def test_chirpstack_tells_what_it_got_out_of_the_store(broker):
    notes = Notes()
    async with running(mqtt(broker.url, notes)) as server:
        await until(lambda: server.facts()["state"] == "connected")
        await server.replay(frame())
    assert notes.steps == [(Step.ACKNOWLEDGED, "history")]


# --- downlinks that are not even offered to the radio


async def test_udp_tells_which_downlinks_it_turned_away():
    notes = Notes()
    async with UdpNetworkServer() as far, running(udp(far.port, notes)):
        await until(lambda: far.pulled)
        far.pull_resp(b"\xff{", b"\0\1")
        far.pull_resp(txpk(), b"\0\2")  # nobody has been heard, and which receivers there are is not known
        await until(lambda: len(far.tx_acks) == 2)
    assert [result for result, _ in notes.results] == [TxResult.UNKNOWN, TxResult.RADIO_UNREACHABLE]
    assert notes.results[0][1].startswith("it cannot be read")
    assert [event.way is None for event in notes.downlinks_told] == [True, False]
    assert {(event.asker, event.number, event.on_air) for event in notes.downlinks_told} == {("city", None, False)}


async def test_basics_station_tells_which_downlinks_it_turned_away():
    notes = Notes()
    off = {"insecure": True, "downlinks": False}
    async with StationServer(CONFIG).open() as far, running(station(far.url, notes, **off)) as server:
        await until(lambda: server.facts()["state"] == "connected")
        await far.say(
            {"msgtype": "dnmsg", "DevEui": "00-00-00-00-11-00-00-01", "dC": 2, "diid": 1, "pdu": "60010203",
             "RxDelay": 1, "RX2DR": 0, "RX2Freq": 869_525_000, "priority": 1, "rctx": 0}
        )  # fmt: skip
        await until(lambda: notes.downlinks_told)
    assert notes.results == [(TxResult.UNKNOWN, "downlinks = false")]


async def test_chirpstack_tells_which_downlinks_it_turned_away(broker):
    notes = Notes()
    impossible = {"phy_payload": b"\x60", "tx_info": {"frequency": 868_100_000, "power": 14, "timing": {}}}
    asked = encode(DOWNLINK_FRAME, {"downlink_id": 9, "gateway_id": str(EUI), "items": [impossible]})
    async with running(mqtt(broker.url, notes)) as server:
        await until(lambda: server.facts()["state"] == "connected")
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish(f"eu868/gateway/{EUI}/command/down", asked, qos=1)
        await until(lambda: notes.downlinks_told)
    ((result, detail),) = notes.results
    assert result is TxResult.UNKNOWN
    assert detail


# --- the same facts, and what to do in each state


def test_all_three_kinds_have_the_same_facts():
    notes = Notes()
    for server in (udp(1700, notes), station("wss://lns.example.org", notes), mqtt("mqtt://lns.example.org", notes)):
        facts = server.facts()
        assert facts.keys() >= SAME_FACTS
        assert facts["state"] == "connecting"
        assert "lns.example.org" in facts["server"] or facts["server"] == "127.0.0.1:1700"


async def test_all_three_kinds_say_that_they_stopped():
    notes = Notes()
    nowhere = (
        udp(free_port(), notes),
        station("ws://localhost:1", notes, insecure=True),
        mqtt("mqtt://localhost:1", notes),
    )
    for server in nowhere:
        async with running(server):
            await until(lambda server=server: server.facts()["state"] == "unreachable")
        assert (server.facts()["state"], server.facts()["evidence"]) == ("stopped", "")


@pytest.mark.parametrize("kind", ["udp", "station", "mqtt"])
async def test_nobody_listens_there(kind):
    notes, port = Notes(), free_port()
    server = {
        "udp": lambda: udp(port, notes),
        "station": lambda: station(f"ws://127.0.0.1:{port}", notes, insecure=True),
        "mqtt": lambda: mqtt(f"mqtt://127.0.0.1:{port}", notes),
    }[kind]()
    async with running(server):
        await until(lambda: server.facts()["state"] == "unreachable")
        facts = server.facts()
    assert facts["evidence"]
    assert "port" in facts["hint"]
    assert facts["hint"].endswith(".")


@pytest.mark.parametrize("kind", ["udp", "station", "mqtt"])
async def test_a_name_that_nobody_knows(kind, monkeypatch):
    def nobody_knows(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)
    notes = Notes()
    server = {
        "udp": lambda: udp(1700, notes, host="lns.example.org"),
        "station": lambda: station("wss://lns.example.org", notes),
        "mqtt": lambda: mqtt("mqtt://lns.example.org", notes),
    }[kind]()
    async with running(server):
        await until(lambda: server.facts()["state"] != "connecting")
        facts = server.facts()
    assert facts["state"] == "unreachable"
    assert "server" in facts["hint"] or "url" in facts["hint"]


async def test_udp_without_any_answer_says_what_it_can_be():
    async with UdpNetworkServer(acknowledges=False) as far, running(udp(far.port, Notes())) as server:
        await until(lambda: server.facts()["state"] == "unreachable")
        hint = server.facts()["hint"]
        assert str(EUI) in hint
        assert str(far.port) in hint
        far.acknowledges = True
        await until(lambda: server.facts()["state"] == "connected")
        assert "hint" not in server.facts()


async def test_a_server_that_does_not_know_us_names_the_eui_to_add():
    far = StationServer(CONFIG)
    far.answer = {"router": "::1", "error": "unknown gateway; go away"}
    async with far.open(), running(station(far.url, Notes(), insecure=True)) as server:
        await until(lambda: server.facts()["state"] == "refused")
        facts = server.facts()
    assert facts["evidence"].endswith("unknown gateway; go away")
    assert str(EUI) in facts["hint"]


async def test_a_broker_that_refuses_the_login_is_told_apart_from_one_that_is_away(tmp_path):
    broker = Mosquitto(tmp_path / "strict", users={"city": "right"})
    broker.start()
    wrong = {"username": "city", "password": lambda: "wrong"}
    async with running(mqtt(broker.url, Notes(), **wrong)) as server:
        await until(lambda: server.facts()["state"] == "refused")
        facts = server.facts()
    broker.stop()
    assert "password" in facts["hint"]
