"""A gateway of ChirpStack's on a real Mosquitto; the server's part is the protocol's own bytes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from brokers import HOST, Collector

from gateway.lines.dialing import Unreachable
from gateway.lns.chirpstack_mqtt import ChirpstackMqttServer, ChirpstackMqttSettings
from gateway.lns.server import Listening, Reception
from gateway.model import (
    AtCounter,
    Crc,
    GatewayEui,
    Immediately,
    Lora,
    Position,
    PositionSource,
    RadioFrame,
    Stamp,
    TimeQuality,
    TxReport,
    TxResult,
)
from gateway.wire.chirpstack import (
    DOWNLINK_TX_ACK,
    EXEC_REQUEST,
    EXEC_RESPONSE,
    GATEWAY_STATS,
    UPLINK_FRAME,
    BandLoad,
    Context,
    DutyCycles,
    Marshaler,
    read,
)
from gateway.wire.chirpstack_messages import DOWNLINK_FRAME, GATEWAY_CONFIGURATION
from gateway.wire.protobuf import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from brokers import Heard, Mosquitto

    from gateway.model import DownlinkRequest
    from gateway.wire.channel_plan import ChannelPlan

pytestmark = pytest.mark.usefixtures("quiet_loop")

EUI = GatewayEui.parse("0016c001f1500812")
TOPIC = f"eu868/gateway/{EUI}"
# The bytes of ConnState as chirpstack-api 4.20.0 writes them.
ONLINE, OFFLINE = "10011a1030303136633030316631353030383132", "1a1030303136633030316631353030383132"
PHY = bytes.fromhex("40040302018001000aa1b2c3d4e5f6")


@dataclass
class Clock:
    """The real clock, and a jump."""

    jump_us: int = 0

    def __call__(self) -> Stamp:
        now_us = time.monotonic_ns() // 1000 + self.jump_us
        return Stamp(1_795_428_000_000_000, TimeQuality.NTP, 50, "boot", now_us)


@dataclass
class Outcome:
    """What `downlink.Fate` is."""

    report: TxReport
    may_be_heard: bool


@dataclass
class Radio:
    """Carries downlinks: each way is answered with the next result, the last one for ever."""

    results: Sequence[TxResult] = (TxResult.SENT,)
    asked: list[DownlinkRequest] = field(default_factory=list)
    stuck: bool = False

    async def carry(self, ways: Sequence[DownlinkRequest]) -> Outcome:
        [way] = ways
        result = self.results[min(len(self.asked), len(self.results) - 1)]
        self.asked.append(way)
        if self.stuck:
            await asyncio.Event().wait()
        heard = result in {TxResult.SENT, TxResult.UNKNOWN}
        return Outcome(TxReport(way.ref, result), may_be_heard=heard)


class Follower:
    """A radio that follows this server, and can hear all but one channel."""

    leads = True

    def __init__(self) -> None:
        self.asked: list[tuple[ChannelPlan, str]] = []
        self.in_force = ""

    def ask(self, plan: ChannelPlan, version: str = "") -> str | None:
        self.asked.append((plan, version))
        if plan.hears(863_100_000):
            return "863.1 MHz is too far from the others"
        self.in_force = version
        return None

    def version(self) -> str:
        return self.in_force

    def facts(self) -> dict[str, Any]:
        return {"followed": True, "version": self.in_force}


@dataclass
class Gateway:
    """The server under test and what stands around it."""

    server: ChirpstackMqttServer
    clock: Clock
    radio: Radio
    ears: Reception
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1))

    def hear(self, **change: Any) -> int:
        """Hear a frame; its counter."""
        number = next(self.numbers)
        frame = RadioFrame(
            PHY, self.clock(), 868_100_000, Lora(7, 125_000), -87, 9.5, 2, 1, number, Crc.OK, "0016c001ff10a235"
        )
        frame = replace(frame, **change)
        self.ears.count(frame)
        self.server.forward(frame)
        return number

    async def until(self, **facts: Any) -> dict[str, Any]:
        """Wait until the facts are so."""
        async with asyncio.timeout(10):
            while (now := dict(self.server.facts())) | facts != now:
                await asyncio.sleep(0.01)
        return now


def gateway_at(
    broker: Mosquitto,
    radio: Radio | None = None,
    listening: Listening | None = None,
    airtime: Callable[[], DutyCycles | None] = lambda: None,
    place: Position | None = None,
    **options: Any,
) -> Gateway:
    clock, radio, ears = Clock(), radio or Radio(), Reception(lambda: "sx1302", lambda: place)
    settings = ChirpstackMqttSettings("city", broker.url, EUI, **options)
    server = ChirpstackMqttServer(settings, radio.carry, clock, ears, listening=listening, airtime=airtime)
    return Gateway(server, clock, radio, ears)


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    task = asyncio.create_task(gateway.server.run())
    try:
        yield gateway
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def of(heard: Sequence[Heard], tail: str) -> list[bytes]:
    return [message.payload for message in heard if message.topic == f"{TOPIC}/{tail}"]


def counters(heard: Sequence[Heard]) -> list[int]:
    contexts = [read(UPLINK_FRAME, payload)["rx_info"]["context"] for payload in of(heard, "event/up")]
    return [Context.read(context, "").counter_us for context in contexts]


async def command(broker: Mosquitto, tail: str, payload: bytes, *, retain: bool = False) -> None:
    async with aiomqtt.Client(HOST, broker.port) as client:
        await client.publish(f"{TOPIC}/command/{tail}", payload, qos=0, retain=retain)


def item(delay_s: int, context: bytes = Context(7, "0016c001ff10a235").encode()) -> dict[str, Any]:
    lora = {"bandwidth": 125_000, "spreading_factor": 7, "code_rate": "CR_4_5", "polarization_inversion": True}
    timing = {"delay": {"delay": delay_s * 10**9}} if delay_s else {"immediately": {}}
    tx_info = {"frequency": 868_100_000, "power": 14, "modulation": {"lora": lora}, "timing": timing}
    return {"phy_payload": b"\x60\1\2\3", "tx_info": tx_info | {"context": context}}


def downlink(*items: dict[str, Any], gateway_id: str = str(EUI), downlink_id: int = 9) -> bytes:
    return encode(DOWNLINK_FRAME, {"downlink_id": downlink_id, "gateway_id": gateway_id, "items": list(items)})


def statuses(payload: bytes) -> list[str]:
    """IGNORED is the default and not written."""
    return [each.get("status", "IGNORED") for each in read(DOWNLINK_TX_ACK, payload)["items"]]


# --- up


async def test_frames_arrive_in_order_and_the_gateway_comes_and_goes(mosquitto):
    async with Collector(mosquitto) as city:
        async with running(gateway_at(mosquitto)) as gateway:
            await gateway.until(state="connected")
            sent = [gateway.hear() for _ in range(100)]
            facts = await gateway.until(acknowledged=100)
        heard = await city.until(lambda heard: len(of(heard, "state/conn")) == 2)
    assert counters(heard) == sent
    assert [payload.hex() for payload in of(heard, "state/conn")] == [ONLINE, OFFLINE]
    assert (facts["forwarded"], facts["acknowledged_share"], facts["missed"], facts["evidence"]) == (100, 1.0, {}, "")
    assert facts["round_trip_ms"] > 0
    async with Collector(mosquitto, f"{TOPIC}/state/conn") as later:
        [kept] = await later.until(bool)
    assert (kept.payload.hex(), kept.retain) == (OFFLINE, True)


async def test_frames_in_json_say_the_same(mosquitto):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto, marshaler=Marshaler.JSON)) as gateway:
        await gateway.until(state="connected")
        gateway.hear()
        heard = await city.until(lambda heard: of(heard, "event/up"))
    [said] = [json.loads(payload) for payload in of(heard, "event/up")]
    assert said["phyPayload"] == "QAQDAgGAAQAKobLD1OX2"
    assert (said["rxInfo"]["gatewayId"], said["rxInfo"]["crcStatus"]) == (str(EUI), "CRC_OK")
    assert json.loads(of(heard, "state/conn")[0]) == {"gatewayId": str(EUI), "state": "ONLINE"}


async def test_damaged_frames_stay_here(mosquitto):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        gateway.hear(crc=Crc.BAD)
        good = gateway.hear()
        heard = await city.until(lambda heard: of(heard, "event/up"))
    assert counters(heard) == [good]


async def test_statistics_count_since_the_last_ones(mosquitto):
    where = Position(52.5, 13.25, 40, PositionSource.GPS, 2.5)
    gateway = gateway_at(mosquitto, Radio((TxResult.TOO_LATE, TxResult.SENT)), place=where, stats_interval_s=0.3)
    async with Collector(mosquitto) as city, running(gateway):
        await city.until(lambda heard: of(heard, "event/stats"))
        for _ in range(3):
            gateway.hear()
        for _ in range(2):
            gateway.hear(crc=Crc.BAD)
        await command(mosquitto, "down", downlink(item(1), item(2)))
        await city.until(lambda heard: of(heard, "event/ack"))
        done = len(of(city.heard, "event/stats"))
        heard = await city.until(lambda heard: len(of(heard, "event/stats")) > done + 1)
    told = [read(GATEWAY_STATS, payload) for payload in of(heard, "event/stats")]
    total = {name: sum(each.get(name, 0) for each in told) for name in _COUNTED}
    assert total == dict(zip(_COUNTED, (5, 3, 1, 1), strict=True))
    assert sum(each.get("rx_packets_per_frequency", {}).get(868_100_000, 0) for each in told) == 3
    assert [each["tx_packets_per_status"] for each in told if "tx_packets_per_status" in each] == [{"OK": 1}]
    assert told[-1]["location"] == {
        "latitude": 52.5,
        "longitude": 13.25,
        "altitude": 40.0,
        "source": "GPS",
        "accuracy": 2.5,
    }
    assert told[-1]["time"] == 1_795_428_000_000_000_000


_COUNTED = ("rx_packets_received", "rx_packets_received_ok", "tx_packets_received", "tx_packets_emitted")


# --- down


async def test_the_second_window_is_used_when_the_first_is_too_late(mosquitto):
    gateway = gateway_at(mosquitto, Radio((TxResult.TOO_LATE, TxResult.SENT)))
    async with Collector(mosquitto) as city, running(gateway):
        await gateway.until(state="connected")
        await command(mosquitto, "down", downlink(item(1), item(2), item(0)))
        heard = await city.until(lambda heard: of(heard, "event/ack"))
    [ack] = of(heard, "event/ack")
    assert statuses(ack) == ["TOO_LATE", "OK", "IGNORED"]
    assert read(DOWNLINK_TX_ACK, ack)["downlink_id"] == 9
    rx1, rx2 = gateway.radio.asked
    assert (rx1.timing, rx2.timing) == (AtCounter(1_000_007), AtCounter(2_000_007))
    assert rx1.receiver == "0016c001ff10a235"
    assert gateway.server.facts()["downlinks"] == {"OK": 1}


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (TxResult.TX_POWER, "TX_POWER"),
        (TxResult.DUTY_CYCLE, "DUTY_CYCLE_OVERFLOW"),
        (TxResult.COLLISION_PACKET, "COLLISION_PACKET"),
        (TxResult.UNKNOWN, "INTERNAL_ERROR"),
    ],
)
async def test_the_answer_says_what_really_became_of_it(mosquitto, result, status):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto, Radio((result,)))) as gateway:
        await gateway.until(state="connected")
        await command(mosquitto, "down", downlink(item(0, b"")))
        heard = await city.until(lambda heard: of(heard, "event/ack"))
    assert statuses(of(heard, "event/ack")[0]) == [status]
    [asked] = gateway.radio.asked
    assert (asked.timing, asked.receiver) == (Immediately(), "sx1302")


async def test_what_answers_a_frame_from_the_backlog_never_goes_on_air(mosquitto):
    old = Context(7, "sx1302", replayed=True).encode()
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        await command(mosquitto, "down", downlink(item(1, old), item(2, old)))
        heard = await city.until(lambda heard: of(heard, "event/ack"))
        assert gateway.server.facts()["downlinks_swallowed"] == 1
    assert statuses(of(heard, "event/ack")[0]) == ["TOO_LATE", "TOO_LATE"]
    assert gateway.radio.asked == []


async def test_more_downlinks_than_a_queue_holds_are_refused(mosquitto):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto, Radio(stuck=True))) as gateway:
        await gateway.until(state="connected")
        async with aiomqtt.Client(HOST, mosquitto.port) as server:
            for number in range(33):
                await server.publish(f"{TOPIC}/command/down", downlink(item(1), downlink_id=number), qos=1)
        heard = await city.until(lambda heard: of(heard, "event/ack"))
    [ack] = of(heard, "event/ack")
    assert statuses(ack) == ["QUEUE_FULL"]
    assert read(DOWNLINK_TX_ACK, ack)["downlink_id"] == 32


async def test_commands_that_cannot_be_obeyed_cost_nothing_but_themselves(mosquitto, caplog):
    await command(mosquitto, "down", downlink(item(1)), retain=True)  # of some other day
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        for payload in (b"", b"\xff" * 40, b'{"items": 1}', downlink(), downlink(*[item(1)] * 9)):
            await command(mosquitto, "down", payload)
        await command(mosquitto, "down", downlink(item(1), gateway_id="0000000000000000"))
        await command(mosquitto, "reboot", b"now")
        await command(mosquitto, "exec", encode(EXEC_REQUEST, {"gateway_id": str(EUI), "command": "rm", "exec_id": 3}))
        channels = [lora(868_100_000), lora(868_300_000)]
        wish = {"gateway_id": str(EUI), "version": "1a2b", "channels": channels}
        await command(mosquitto, "config", encode(GATEWAY_CONFIGURATION, wish))
        facts = await gateway.until(configuration="1a2b")
        await command(mosquitto, "down", downlink(item(1), item(2)))
        heard = await city.until(lambda heard: of(heard, "event/ack"))
    assert facts["refused"] == {"unreadable": 5, "other_gateway": 1, "unknown_command": 1, "exec": 1}
    assert facts["downlinks_asked"] == 0
    assert statuses(of(heard, "event/ack")[0]) == ["OK", "IGNORED"]
    [denied] = of(heard, "event/exec")
    assert read(EXEC_RESPONSE, denied)["exec_id"] == 3
    assert "runs none" in caplog.text


def lora(frequency_hz: int, bandwidth_hz: int = 125_000, factors: Sequence[int] = range(7, 13)) -> dict[str, Any]:
    """A channel of a configuration, as ChirpStack 4.20 writes it."""
    modulation = {"bandwidth": bandwidth_hz, "spreading_factors": list(factors)}
    return {"frequency": frequency_hz, "lora_modulation_config": modulation}


def configuration(version: str, *channels: dict[str, Any], stats_interval_s: int = 30) -> bytes:
    wish = {"gateway_id": str(EUI), "version": version, "channels": list(channels)}
    return encode(GATEWAY_CONFIGURATION, wish | {"stats_interval": stats_interval_s * 10**9})


async def test_a_configuration_is_followed_and_its_version_told(mosquitto, caplog):
    radio = Follower()
    gateway = gateway_at(mosquitto, listening=radio, stats_interval_s=0.2)
    caplog.set_level("INFO", "gateway.lns.chirpstack_mqtt")
    async with Collector(mosquitto) as city, running(gateway):
        first = read(GATEWAY_STATS, of(await city.until(lambda heard: of(heard, "event/stats")), "event/stats")[0])
        assert "config_version" not in first
        # ChirpStack 4.20 sends its channels to what calls itself a Concentratord only (chirpstack/src/uplink/stats.rs).
        assert first["metadata"] == {"concentratord_version": "lorawan-edge-gateway"}
        wish = configuration("8a2f", lora(868_100_000), lora(868_300_000, 250_000, [7]), stats_interval_s=1)
        for _ in range(3):
            await command(mosquitto, "config", wish)
        await gateway.until(configuration="8a2f", stats_interval_s=1.0, channels={"followed": True, "version": "8a2f"})
        heard = await city.until(lambda heard: b"8a2f" in of(heard, "event/stats")[-1])
    last = read(GATEWAY_STATS, of(heard, "event/stats")[-1])
    assert last["config_version"] == last["metadata"]["config_version"] == "8a2f"
    plan, _ = radio.asked[0]
    assert [str(channel) for channel in plan.channels] == ["868.1", "868.3 (SF7, 250 kHz)"]
    assert caplog.text.count("wants heard") == 1  # however often it comes


async def test_a_configuration_the_radio_cannot_follow_is_counted_and_not_told_as_followed(mosquitto):
    gateway = gateway_at(mosquitto, listening=Follower(), stats_interval_s=0.2)
    async with Collector(mosquitto) as city, running(gateway):
        await gateway.until(state="connected")
        await command(mosquitto, "config", configuration("far", lora(863_100_000), stats_interval_s=1))
        await gateway.until(refused={"configuration": 1})
        done = len(of(city.heard, "event/stats"))
        heard = await city.until(lambda heard: len(of(heard, "event/stats")) > done)
    assert "config_version" not in read(GATEWAY_STATS, of(heard, "event/stats")[-1])


@pytest.mark.parametrize(
    "channel",
    [
        {"frequency": 868_100_000},  # without a modulation
        lora(0),
        lora(868_100_000, 125_000, []),
        lora(868_100_000, 125_000, [4]),
        lora(868_100_000, 62_500),
    ],
)
async def test_a_configuration_with_what_is_no_channel_is_refused_whole(mosquitto, channel):
    radio = Follower()
    async with running(gateway_at(mosquitto, listening=radio)) as gateway:
        await gateway.until(state="connected")
        await command(mosquitto, "config", configuration("odd", lora(868_300_000), channel))
        await gateway.until(refused={"unreadable": 1})
    assert radio.asked == []


async def test_statistics_say_what_the_law_has_left(mosquitto):
    load = DutyCycles((BandLoad("M", 868_000_000, 868_600_000, 36_000_000, 1_482_000),), is_etsi=True)
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto, airtime=lambda: load)):
        heard = await city.until(lambda heard: of(heard, "event/stats"))
    told = read(GATEWAY_STATS, of(heard, "event/stats")[0])["duty_cycle_stats"]
    assert told["regulation"] == "ETSI_EN_300_220"
    assert told["bands"][0]["load_tracked"] == 1_482_000_000


async def test_statistics_count_all_that_the_antenna_hears_by_frequency_and_data_rate(mosquitto):
    gateway = gateway_at(mosquitto, stats_interval_s=0.3)
    async with Collector(mosquitto) as city, running(gateway):
        await city.until(lambda heard: of(heard, "event/stats"))
        gateway.hear()
        gateway.hear(frequency_hz=868_300_000)
        gateway.hear(frequency_hz=868_300_000, modulation=Lora(12, 125_000))
        gateway.hear(frequency_hz=868_500_000, crc=Crc.BAD)
        done = len(of(city.heard, "event/stats"))
        heard = await city.until(lambda heard: len(of(heard, "event/stats")) > done + 1)
    told = [read(GATEWAY_STATS, payload) for payload in of(heard, "event/stats")]
    by_frequency = sum((Counter(each.get("rx_packets_per_frequency", {})) for each in told), Counter())
    assert by_frequency == {868_100_000: 1, 868_300_000: 2}
    factors: Counter[int] = Counter()
    for each in told:
        for row in each.get("rx_packets_per_modulation", []):
            factors[row["modulation"]["lora"]["spreading_factor"]] += row["count"]
    assert factors == {7: 2, 12: 1}


async def test_a_server_may_be_forbidden_to_send(mosquitto):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto, downlinks=False)) as gateway:
        await gateway.until(state="connected")
        await command(mosquitto, "down", downlink(item(1)))
        gateway.hear()
        await city.until(lambda heard: of(heard, "event/up"))
    assert gateway.server.facts()["downlinks_asked"] == 0


# --- backlog


async def test_a_frame_that_was_kept_goes_marked_and_is_known_to_have_arrived(mosquitto):
    gateway = gateway_at(mosquitto)
    kept = RadioFrame(PHY, gateway.clock(), 868_100_000, Lora(7, 125_000), -87, 9.5, 2, 1, 5, Crc.OK, "sx1302")
    with pytest.raises(Unreachable):
        await gateway.server.replay(kept)
    async with Collector(mosquitto) as city, running(gateway):
        await gateway.until(state="connected")
        async with asyncio.timeout(10):
            await gateway.server.replay(kept)
        heard = await city.until(lambda heard: of(heard, "event/up"))
        assert gateway.server.facts()["replayed"] == 1
        mosquitto.pause()
        waiting = asyncio.create_task(gateway.server.replay(kept))
        await asyncio.sleep(0)
        mosquitto.kill()
        with pytest.raises(Unreachable):
            await waiting
    rx_info = read(UPLINK_FRAME, of(heard, "event/up")[0])["rx_info"]
    assert rx_info["metadata"] == {"buffered": "true"}
    assert Context.read(rx_info["context"], "").replayed


# --- trouble


async def test_a_wrong_prefix_is_seen_from_here(mosquitto):
    async with Collector(mosquitto, "us915_0/gateway/+/event/+"), running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        gateway.hear()
        facts = await gateway.until(unheard=1)
    assert facts["evidence"] == f"nobody is subscribed to {TOPIC}/event/up"
    assert "topic_prefix" in facts["hint"]


async def test_the_will_is_spoken_when_the_line_breaks_and_taken_back_afterwards(mosquitto):
    async with Collector(mosquitto) as city, running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        gateway.server._line.drop("the cable is out")
        heard = await city.until(lambda heard: len(of(heard, "state/conn")) == 3)
        assert [payload.hex() for payload in of(heard, "state/conn")] == [ONLINE, OFFLINE, ONLINE]
        await gateway.until(state="connected")


async def test_what_was_heard_during_an_outage_is_counted_and_not_sent_later(mosquitto):
    async with running(gateway_at(mosquitto)) as gateway:
        await gateway.until(state="connected")
        mosquitto.stop()
        await gateway.until(state="unreachable")
        for _ in range(5):
            gateway.hear()
        gateway.clock.jump_us += 3_600_000_000
        assert gateway.server.facts()["missed"] == {"away": 5}
        mosquitto.start()
        async with Collector(mosquitto) as city:
            await gateway.until(state="connected")
            live = gateway.hear()
            heard = await city.until(lambda heard: of(heard, "event/up"))
    assert counters(heard) == [live]


async def test_a_broker_that_never_comes_costs_no_memory(mosquitto):
    mosquitto.stop()
    gateway = gateway_at(mosquitto)
    async with running(gateway):
        await gateway.until(state="unreachable")
        for _ in range(3000):
            gateway.hear()
        facts = gateway.server.facts()
    assert facts["missed"] == {"full": 3000 - 1024}
    assert "refused" in facts["evidence"]


async def test_a_broker_that_takes_frames_and_says_nothing_is_left(mosquitto):
    async with running(gateway_at(mosquitto, ack_timeout_s=0.4, connect_timeout_s=0.5)) as gateway:
        await gateway.until(state="connected")
        mosquitto.pause()
        for _ in range(40):
            gateway.hear()
        facts = await gateway.until(state="unreachable")
        assert facts["unanswered"] == 32  # no more than that is on its way at once
        mosquitto.resume()
        await gateway.until(state="connected")


async def test_a_refused_login_is_for_a_person(make_mosquitto):
    broker = make_mosquitto(users={"gateway": "right"})
    options = {"username": "gateway", "password": lambda: "wrong"}
    async with running(gateway_at(broker, **options)) as gateway:
        facts = await gateway.until(state="refused")
    assert "not authorized" in facts["evidence"].lower()


async def test_certificates_of_both_sides(make_mosquitto, authority):
    ours = authority.issue(str(EUI), hosts=())
    broker = make_mosquitto(tls=authority.issue(), client_ca=authority.file)
    files = {"ca_file": authority.file, "cert_file": ours.cert_file, "key_file": ours.key_file}
    async with running(gateway_at(broker, **files)) as gateway:
        await gateway.until(state="connected")
        gateway.hear()
        await gateway.until(acknowledged=1)
    async with running(gateway_at(broker, ca_file=authority.file)) as stranger:
        await stranger.until(state="refused")


def test_settings_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="mqtts"):
        ChirpstackMqttServer(ChirpstackMqttSettings("city", "http://lns", EUI), Radio().carry, Clock(), Reception())
