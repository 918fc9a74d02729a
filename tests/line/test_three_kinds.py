"""Three network servers of three kinds at one gateway: one flaps, one is a black hole, the third notices nothing.

And a server that takes history, away for a while: what it missed reaches it, and its answers to that never the air.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from brokers import Collector
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
UDP = '[lns.udp]\ntype = "semtech-udp"\nserver = "localhost:{}"\nkeepalive = "200ms"\n'
STATION = '[lns.station]\ntype = "basics-station"\nserver = "{}"\n'
MQTT = '[lns.mqtt]\ntype = "chirpstack-mqtt"\nserver = "{}"\nmarshaler = "json"\n{}\n'
RX1_US = 1_000_000
DOWN = txpk()["data"]  # any frame: what it says is between a server and its device


def stranger(f_cnt: int, device: int = 1) -> bytes:
    """An uplink of a device that this gateway does not know."""
    return PHY[:1] + bytes([device]) + b"\x02\x03\x26" + PHY[5:6] + f_cnt.to_bytes(2, "little") + PHY[8:]


def ups(collector: Collector) -> list[dict]:
    return [json.loads(payload) for topic, payload in mine(collector) if topic.endswith("event/up")]


def acks(collector: Collector) -> list[dict]:
    return [json.loads(payload) for topic, payload in mine(collector) if topic.endswith("event/ack")]


def mine(collector: Collector) -> list[tuple[str, bytes]]:
    return [(message.topic, message.payload) for message in collector.heard]


def by_name(status: dict) -> dict[str, dict]:
    return {one["name"]: one for one in status["lns"]}


def hundred_are_settled(status: dict) -> bool:
    """The flapping server is told or misses what waits for its next connection; a broker's word takes its time."""
    facts = by_name(status)
    through = facts["station"]["forwarded"] + sum(facts["station"]["missed"].values())
    return (facts["mqtt"]["acknowledged"], through) == (100, 100)


def kept_on_disk(gateway: ToldGateway) -> int:
    """Frames nobody could open that a kill cannot take any more: the books count them as soon as they are heard."""
    found = 0
    for part in (gateway.data / "log").glob("*.sqlite3"):
        with closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as database:
            found += database.execute("SELECT count(*) FROM unopened").fetchone()[0]
    return found


def phys(said: list[dict]) -> list[bytes]:
    return [base64.b64decode(up["phyPayload"]) for up in said]


def chirpstack_downlink(up: dict, downlink_id: int) -> str:
    """What ChirpStack 4 answers to an uplink, for RX1."""
    lora = {"bandwidth": 125_000, "spreadingFactor": 7, "codeRate": "CR_4_5", "polarizationInversion": True}
    item = {
        "phyPayload": DOWN,
        "txInfo": {
            "frequency": 868_100_000, "power": 14, "modulation": {"lora": lora},
            "timing": {"delay": {"delay": "1s"}}, "context": up["rxInfo"]["context"],
        },
    }  # fmt: skip
    return json.dumps({"downlinkId": downlink_id, "items": [item], "gatewayId": EUI})


async def test_one_flaps_one_is_a_black_hole_and_the_third_notices_nothing(tmp_path, mosquitto):
    async with (
        UdpNetworkServer(acknowledges=False) as hole,
        Collector(mosquitto) as city,
        StationServer(CONFIG).open() as flapping,
    ):
        servers = UDP.format(hole.port) + STATION.format(flapping.url) + MQTT.format(mosquitto.url, "")
        with GatewayProcess(tmp_path, sink=servers) as gateway:
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda heard: any(m.topic.endswith("state/conn") for m in heard))
                await until(lambda: flapping.sockets)
                for f_cnt in range(100):
                    forwarder.push(stranger(f_cnt))
                    if f_cnt % 20 == 10 and not flapping.sockets[-1].closed:
                        await flapping.hang_up()
                    await asyncio.sleep(0.02)
                await until(lambda: len(ups(city)) == 100)
                facts = by_name(await asyncio.to_thread(gateway.until, hundred_are_settled))
                # Each of them answers, and is heard in RX1.
                for counter_us in (10_000_000, 20_000_000, 30_000_000):
                    await until(lambda: flapping.sockets and not flapping.sockets[-1].closed)
                    while not flapping.said.empty():
                        flapping.said.get_nowait()
                    before = len(hole.rxpks), len(ups(city))
                    forwarder.hear(stranger(counter_us // 1_000_000, device=9), counter_us=counter_us)
                    await until(lambda: (len(hole.rxpks), len(ups(city))) == (before[0] + 1, before[1] + 1))  # noqa: B023
                    match counter_us:
                        case 10_000_000:
                            hole.pull_resp(txpk(tmst=counter_us + RX1_US))
                        case 20_000_000:
                            await mosquitto_pub(mosquitto, chirpstack_downlink(ups(city)[-1], 77))
                        case 30_000_000:
                            info = (await flapping.hear("updf"))["upinfo"]
                            await flapping.say(
                                {
                                    "msgtype": "dnmsg", "DevEui": "00-00-00-00-11-00-00-01", "dC": 0, "diid": 5,
                                    "pdu": base64.b64decode(DOWN).hex(), "RxDelay": 1, "RX1DR": 5,
                                    "RX1Freq": 868_100_000, "priority": 0, "xtime": info["xtime"],
                                    "rctx": info["rctx"],
                                }
                            )  # fmt: skip
                    sent = await asyncio.to_thread(forwarder.downlink)
                    assert (sent["tmst"], sent["freq"], sent["datr"]) == (counter_us + RX1_US, 868.1, "SF7BW125")
                    assert (sent["data"], sent["ipol"]) == (DOWN, True)
                await until(lambda: hole.tx_acks and acks(city))
                assert (await flapping.hear("dntxed"))["diid"] == 5
            assert gateway.stop() == 0
    assert phys(ups(city))[:100] == [stranger(f_cnt) for f_cnt in range(100)]
    assert (facts["mqtt"]["acknowledged"], facts["mqtt"]["missed"], facts["mqtt"]["state"]) == (100, {}, "connected")
    assert facts["udp"]["acknowledged"] == 0
    station = facts["station"]  # it may be away at this moment
    assert station["forwarded"] + station["waiting"] + sum(station["missed"].values()) == 100
    assert [ack["items"] for ack in acks(city)] == [[{"status": "OK"}]]
    assert [(token, body) for token, body in hole.tx_acks] == [(b"\xd2\x04", b"")]


async def mosquitto_pub(mosquitto, payload: str) -> None:
    import aiomqtt
    from brokers import HOST

    async with aiomqtt.Client(HOST, mosquitto.port) as client:
        await client.publish(f"eu868/gateway/{EUI}/command/down", payload, qos=1)


async def test_what_a_server_missed_reaches_it_as_history_and_its_answer_never_the_air(tmp_path, make_mosquitto):
    mosquitto = make_mosquitto(persistence=True)
    servers = MQTT.format(mosquitto.url, 'backlog = "chirpstack"\nbacklog_rate = 100\nbacklog_delay = "0s"')
    async with Collector(mosquitto, client_id="city") as city:
        with ToldGateway(tmp_path, sink=servers, store='commit_interval = "0ms"') as gateway:
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda heard: any(m.topic.endswith("state/conn") for m in heard))
                mosquitto.stop()
                gateway.until(lambda status: status["lns"][0]["state"] == "unreachable")
                for f_cnt in range(20):  # more than a stranger's frames are kept otherwise
                    forwarder.push(stranger(f_cnt))
                await until(lambda: kept_on_disk(gateway) == 20)
                gateway.kill()  # and the date is not known yet
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                gateway.until(lambda status: status["lns"][0]["history"]["owed_devices"] == 1)
                forwarder.push(stranger(20))  # behind the others
                mosquitto.start()
                gateway.until(lambda status: status["lns"][0]["state"] == "connected")
                forwarder.push(stranger(0, device=2))  # owed nothing
                gateway.time.synchronise()
                await until(lambda: len(ups(city)) >= 22, within_s=60)
                old = next(up for up in ups(city) if up["rxInfo"].get("metadata"))
                await mosquitto_pub(mosquitto, chirpstack_downlink(old, 88))
                await until(lambda: acks(city))
                await asyncio.to_thread(forwarder.nothing, 1.5)
                status = gateway.status()
            assert gateway.stop() == 0
    live = [up for up in ups(city) if "metadata" not in up["rxInfo"]]
    history = [up for up in ups(city) if up not in live]
    assert phys(live) == [stranger(0, device=2)]
    assert phys(history) == [stranger(f_cnt) for f_cnt in range(21)]
    assert all(up["rxInfo"]["metadata"] == {"buffered": "true"} for up in history)
    assert all(up["rxInfo"]["timeSinceGpsEpoch"] for up in history)
    assert [ack["items"] for ack in acks(city)] == [[{"status": "TOO_LATE"}]]
    (facts,) = status["lns"]
    assert (facts["history"]["owed_devices"], facts["downlinks_swallowed"]) == (0, 1)
    assert status["store"]["balance"] == 0
