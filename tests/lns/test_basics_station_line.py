"""A station among a server's others, over real web sockets."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from brokers import Authority
from station_server import StationServer

sys.path.insert(0, str(Path(__file__).parent.parent / "wire"))

import station_samples as samples

from gateway.downlink import Fate
from gateway.lns.basics_station import BasicsStation, BasicsStationSettings
from gateway.lns.server import Reception
from gateway.model import (
    AtCounter,
    AtGpsTime,
    Crc,
    GatewayEui,
    Immediately,
    Lora,
    RadioFrame,
    Stamp,
    TimeQuality,
    TxReport,
    TxResult,
)

pytestmark = pytest.mark.usefixtures("quiet_loop")

EUI = GatewayEui.parse("0016c001f1500812")
CONFIG = samples.BRIDGE_CONFIG | {"NetID": None, "JoinEui": None}
PHY = samples.LORA_SELFTEST[2][0]


def now() -> Stamp:
    return Stamp(time.time_ns() // 1000, TimeQuality.NTP, 5, "boot", time.monotonic_ns() // 1000)


def frame(counter_us=1_000_000, **changes) -> RadioFrame:
    known = {"phy": PHY, "heard": now(), "frequency_hz": 868_100_000, "modulation": Lora(7, 125_000)}
    known |= {"rssi_dbm": -50.2, "snr_db": 9.0, "channel": 0, "rf_chain": 0, "crc": Crc.OK, "receiver": "roof"}
    return RadioFrame(counter_us=counter_us, **known | changes)


class Antenna:
    """Carries what it is asked to, with the result a test wants, by the way a test wants."""

    def __init__(self) -> None:
        self.asked = asyncio.Queue()
        self.result, self.on_air, self.way = TxResult.SENT, True, 0
        self.sent = asyncio.Event()
        self.sent.set()

    async def carry(self, ways):
        self.asked.put_nowait(ways)
        await self.sent.wait()
        return Fate(TxReport(ways[self.way].ref, self.result), on_air=self.on_air)

    async def next(self):
        async with asyncio.timeout(5):
            return await self.asked.get()


async def at_once(_: float) -> None:
    await asyncio.sleep(0.01)


@asynccontextmanager
async def station(server: StationServer, antenna: Antenna | None = None, **options):
    tune = {"listening": options.pop("listening")} if "listening" in options else {}
    settings = BasicsStationSettings("city", server.url, **options)
    city = BasicsStation(
        settings, (antenna or Antenna()).carry, now, Reception(lambda: "roof"), EUI, sleep=at_once, **tune
    )
    task = asyncio.create_task(city.run())
    try:
        yield city
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def connected(antenna: Antenna | None = None, config=CONFIG, **options):
    async with StationServer(config).open() as server, station(server, antenna, **options) as city:
        await until(lambda: city.facts()["state"] == "connected")
        yield server, city


async def uplink(server, city, **changes):
    city.forward(frame(**changes))
    return (await server.hear("updf"))["upinfo"]["xtime"]


# --- up ---


async def test_it_asks_where_to_go_says_what_it_is_and_tells_what_it_hears():
    async with connected() as (server, city):
        assert server.queries == [{"router": "16:c001:f150:812"}]
        version = await server.hear("version")
        assert (version["protocol"], version["features"]) == (2, "")
        city.forward(frame())
        said = await server.hear("updf")
        assert (said["DevAddr"], said["DR"], said["Freq"]) == (-1061461, 5, 868_100_000)
        assert said["upinfo"]["rssi"] == -50
        assert said["upinfo"]["xtime"] & 0xFFFF_FFFF == 1_000_000
        assert said["upinfo"]["xtime"] >> 48 & 0xFF
        await until(lambda: city.facts()["round_trip_ms"] is not None)
        assert city.facts()["forwarded"] == 1
        assert city.facts()["plan"]["channels_hz"] == samples.BRIDGE_CHANNELS_HZ


async def test_what_it_has_no_words_for_is_counted():
    async with connected() as (server, city):
        for heard in (
            frame(modulation=Lora(6, 125_000)),
            frame(phy=b"\x60" + bytes(11)),
            frame(crc=Crc.BAD),
            frame(phy=b"\xc0" + bytes(18)),
        ):
            city.forward(heard)
        await uplink(server, city)
        assert city.facts()["not_for_it"] == {"crc": 1, "no_data_rate": 1, "not_uplink": 1, "rejoin": 1}


async def test_the_servers_filters_are_kept():
    async with connected(config=CONFIG | {"NetID": [0x13]}) as (server, city):
        city.forward(frame())
        city.forward(frame(phy=b"\x40" + 0x26011234.to_bytes(4, "little") + bytes(7)))
        assert (await server.hear("updf"))["DevAddr"] == 0x26011234
        assert city.facts()["not_for_it"] == {"net_id": 1}


async def test_what_was_heard_long_ago_is_missed_and_what_was_heard_just_now_is_sent():
    stamp = now()
    old = Stamp(stamp.utc_us, stamp.quality, 5, "boot", stamp.monotonic_us - 5_000_000)
    server = StationServer(CONFIG)
    async with server.open(), station(server) as city:
        city.forward(frame(heard=old))
        city.forward(frame(counter_us=6_000_000))
        said = await server.hear("updf")
        assert said["upinfo"]["xtime"] & 0xFFFF_FFFF == 6_000_000
        assert city.facts()["missed"] == {"away": 1}


async def test_an_unset_clock_takes_the_servers_time():
    async with connected(config=CONFIG | {"MuxTime": 1_795_394_129.5}) as (server, city):
        stamp = now()
        city.forward(frame(heard=Stamp(7_000_000, TimeQuality.UNSYNCED, None, "boot", stamp.monotonic_us)))
        said = await server.hear("updf")
        assert 1_795_394_120 < said["upinfo"]["rxtime"] < 1_795_394_180
        assert 1_795_394_120 < said["RefTime"] < 1_795_394_180


# --- down ---


async def test_a_class_a_downlink_is_carried_in_its_windows_and_told_when_it_was_on_the_air():
    antenna = Antenna()
    antenna.sent.clear()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        await server.say(samples.STATION_DNMSG | {"xtime": xtime})
        rx1, rx2 = await antenna.next()
        assert (rx1.timing, rx1.frequency_hz, rx1.modulation) == (AtCounter(2_000_000), 868_100_000, Lora(7, 125_000))
        assert (rx2.timing, rx2.frequency_hz, rx2.modulation) == (AtCounter(3_000_000), 869_525_000, Lora(12, 125_000))
        assert (rx1.receiver, rx1.phy.hex(), rx1.invert_polarity) == ("roof", samples.STATION_DNMSG["pdu"], True)
        assert (rx1.power_dbm_eirp, rx2.power_dbm_eirp) == pytest.approx((16.15, 29.15))
        await server.say({"msgtype": "getxtime"})
        await server.hear("getxtime")
        assert server.said.empty()  # nothing is told before it was on the air
        antenna.sent.set()
        told = await server.hear("dntxed")
        assert (told["diid"], told["seqno"], told["DR"], told["Freq"]) == (4711, 4711, 5, 868_100_000)
        assert told["xtime"] == xtime + 1_000_000
        assert city.facts()["downlinks"] == {"SENT": 1}


async def test_the_second_window_is_told_when_it_was_the_second():
    antenna = Antenna()
    antenna.way = 1
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        await server.say(samples.STATION_DNMSG | {"xtime": xtime})
        told = await server.hear("dntxed")
        assert (told["DR"], told["Freq"], told["xtime"]) == (0, 869_525_000, xtime + 2_000_000)


@pytest.mark.parametrize(("result", "on_air"), [(TxResult.TOO_LATE, False), (TxResult.UNKNOWN, None)])
async def test_what_was_not_surely_on_the_air_is_not_told(result, on_air):
    antenna = Antenna()
    antenna.result, antenna.on_air = result, on_air
    async with connected(antenna) as (server, city):
        await server.say(samples.STATION_DNMSG | {"xtime": await uplink(server, city)})
        await until(lambda: city.facts()["downlinks"] == {str(result): 1})
        await server.say({"msgtype": "getxtime"})
        await server.hear("getxtime")
        assert server.said.empty()


async def test_class_c_goes_out_at_once():
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        await server.say(samples.BRIDGE_DNMSG_C | {"rctx": 0, "xtime": xtime})
        (way,) = await antenna.next()
        assert (way.timing, way.frequency_hz) == (Immediately(), 868_100_000)
        assert (await server.hear("dntxed"))["diid"] == 1234


async def test_class_b_goes_out_at_its_gps_time_or_by_the_radios_own_clock():
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        dnmsg = samples.BRIDGE_DNMSG_B | {"rctx": 0, "gpstime": 1_479_000_005_000_000}
        await server.say(dnmsg)
        assert [way.timing for way in await antenna.next()] == [AtGpsTime(1_479_000_005_000_000)]
        await server.say({"msgtype": "timesync", "xtime": xtime, "gpstime": 1_479_000_000_000_000})
        await server.say(dnmsg)
        ways = await antenna.next()
        assert [way.timing for way in ways] == [AtGpsTime(1_479_000_005_000_000), AtCounter(6_000_000)]
        assert (await server.hear("dntxed"))["gpstime"] == 1_479_000_005_000_000


async def test_a_schedule_is_carried_and_never_told():
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        entry = {"diid": 1, "DR": 3, "Freq": 869_525_000, "pdu": "c0ffee", "xtime": xtime + 7_000_000}
        await server.say({"msgtype": "dnsched", "schedule": [entry, {}]})
        (way,) = await antenna.next()
        assert way.timing == AtCounter(8_000_000)
        await server.say({"msgtype": "getxtime"})
        await server.hear("getxtime")
        assert server.said.empty()
        assert city.facts()["refused"]["malformed"] == 1


@pytest.mark.parametrize(
    ("changes", "result"),
    [
        ({"RX1Freq": 915_000_000, "RX2Freq": 915_000_000}, "TX_FREQ"),  # another region's
        ({"RX1DR": 9, "RX2DR": 9}, "UNKNOWN"),
        ({"back_us": 1_000_000_000}, "TOO_LATE"),  # would be far ahead once the counter has turned
        ({"back_us": -1_000_000_000}, "TOO_EARLY"),
        ({"session": 1}, "TOO_LATE"),
        ({"unit": 5}, "UNKNOWN"),
    ],
)
async def test_a_downlink_that_cannot_be_is_counted_and_not_tried(changes, result):
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city, counter_us=2_000_000_000)
        xtime ^= changes.pop("session", 0) << 48 | changes.pop("unit", 0) << 56
        await server.say(samples.STATION_DNMSG | {"xtime": xtime - changes.pop("back_us", 0)} | changes)
        await until(lambda: city.facts()["downlinks"] == {result: 1})
        assert antenna.asked.empty()


async def test_max_eirp_only_lowers():
    antenna = Antenna()
    async with connected(antenna, config=CONFIG | {"max_eirp": 14.0}) as (server, city):
        await server.say(samples.STATION_DNMSG | {"xtime": await uplink(server, city)})
        assert [way.power_dbm_eirp for way in await antenna.next()] == [14.0, 14.0]


async def test_a_region_nobody_knows_is_listened_for_and_nothing_sent():
    antenna = Antenna()
    async with connected(antenna, config=CONFIG | {"region": "MARS1"}) as (server, city):
        await server.say(samples.STATION_DNMSG | {"xtime": await uplink(server, city)})
        await until(lambda: city.facts()["downlinks"] == {"TX_FREQ": 1})
        assert antenna.asked.empty()


async def test_downlinks_can_be_switched_off():
    antenna = Antenna()
    async with connected(antenna, downlinks=False) as (server, city):
        await server.say(samples.STATION_DNMSG | {"xtime": await uplink(server, city)})
        await until(lambda: city.facts()["refused"].get("downlinks_off") == 1)
        assert antenna.asked.empty()


# --- outages ---


async def test_a_downlink_stays_valid_over_a_new_connection():
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        xtime = await uplink(server, city)
        antenna.sent.clear()
        await server.say(samples.STATION_DNMSG | {"xtime": xtime})
        await antenna.next()
        await server.hang_up()
        await until(lambda: len(server.sockets) == 2 and city.facts()["state"] == "connected")
        antenna.sent.set()
        assert (await server.hear("dntxed"))["xtime"] == xtime + 1_000_000
        await server.say(samples.STATION_DNMSG | {"xtime": xtime})
        assert len(await antenna.next()) == 2


async def test_a_radio_that_began_anew_is_another_run():
    antenna = Antenna()
    async with connected(antenna) as (server, city):
        before = await uplink(server, city, counter_us=3_000_000_000)
        after = await uplink(server, city, counter_us=5_000)
        assert before >> 48 != after >> 48
        await server.say(samples.STATION_DNMSG | {"xtime": before})
        await until(lambda: city.facts()["downlinks"] == {"TOO_LATE": 1})


async def test_the_counter_turns_and_the_run_goes_on():
    async with connected() as (server, city):
        before = await uplink(server, city, counter_us=(1 << 32) - 1_000)
        after = await uplink(server, city, counter_us=5_000)
        assert after - before == 6_000


async def test_a_server_that_comes_later_is_found():
    server = StationServer(CONFIG)
    async with server.open():
        pass  # its port is free now
    async with station(server) as city:
        await until(lambda: "refused" in city.facts()["evidence"])
        assert city.facts()["state"] == "unreachable"
        async with server.open():
            await until(lambda: city.facts()["state"] == "connected")


# --- what a server may not ---


@pytest.mark.parametrize(
    "command",
    [
        {"msgtype": "runcmd", "command": "touch", "arguments": ["here"]},
        {"msgtype": "rmtsh", "user": "root", "start": 0},
    ],
)
async def test_nothing_is_ever_executed_and_everybody_is_told(command, caplog):
    async with connected() as (server, city):
        await server.say(command)
        alarm = await server.hear("alarm")
        assert alarm["text"].startswith(f"{command['msgtype']} refused")
        assert city.facts()["refused"] == {command["msgtype"]: 1}
        assert "refused" in caplog.text
        await uplink(server, city)  # and goes on


async def test_messages_that_cannot_be_used_cost_only_themselves():
    async with connected() as (server, city):
        for said in ("{", "[]", '{"msgtype":"dnmsg"}', '{"msgtype":"later"}', '{"msgtype":"error","error":"no"}'):
            await server.say(said)
        await uplink(server, city)
        assert city.facts()["refused"]["malformed"] == 3
        assert city.facts()["refused"]["unknown"] == 1


async def test_a_plan_this_gateway_has_no_hardware_for_is_refused_on_the_wire():
    server = StationServer(CONFIG | {"hwspec": "sx1301/2"})
    async with server.open(), station(server) as city:
        assert "several concentrators" in (await server.hear("alarm"))["text"]
        await until(lambda: city.facts()["state"] == "refused")
        assert "router_config" in city.facts()["evidence"]


async def test_a_plan_the_radio_cannot_be_set_to_is_refused_on_the_wire():
    server = StationServer(CONFIG)
    async with server.open(), station(server, listening=OneChannel()) as city:
        assert "9 are too many" in (await server.hear("alarm"))["text"]
        await until(lambda: city.facts()["state"] == "refused")


class OneChannel:
    """A radio that can follow this server, and hears one channel at most."""

    leads = True

    def ask(self, plan, version=""):
        return f"{len(plan.channels)} are too many" if len(plan.channels) > 1 else None

    def version(self):
        return ""

    def facts(self):
        return {"sentence": "its channels cannot be heard"}


async def test_what_it_says_of_the_law_can_only_tighten_it(caplog):
    server = StationServer(CONFIG | {"nodc": True, "nocca": True, "max_eirp": 14.0})
    async with server.open(), station(server) as city:
        await until(lambda: city.facts()["state"] == "connected")
        law = city.facts()["plan"]["law"]
    assert "nocca, nodc not followed: the law of the region is kept" in law
    assert "at most 14 dBm EIRP, as the server says" in law
    assert "not followed, the law here is kept" in caplog.text


async def test_a_power_beyond_the_law_allows_nothing_more():
    server = StationServer(CONFIG | {"max_eirp": 40.0})
    async with server.open(), station(server) as city:
        await until(lambda: city.facts()["state"] == "connected")
        assert "the law of each sub-band allows no more" in city.facts()["plan"]["law"]


# --- whom it does not reach, and why ---


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ({"router": "::1", "error": "unknown gateway"}, "refused", "unknown gateway"),
        ({"router": "::1"}, "unreachable", "no usable uri"),
        ("nonsense", "unreachable", "no JSON"),
        ({"uri": "ws://localhost:1/"}, "unreachable", "refused"),
    ],
)
async def test_a_discovery_that_leads_nowhere_says_why(answer, state, words):
    server = StationServer(CONFIG)
    server.answer = answer
    async with server.open(), station(server) as city:
        await until(lambda: words in city.facts()["evidence"])
        assert city.facts()["state"] == state


async def test_a_token_is_shown_and_a_wrong_one_is_named(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("Authorization: Bearer NNSXS.ABC\r\n")
    bad.write_text("NNSXS.XYZ\n")
    server = StationServer(CONFIG)
    server.token = "Bearer NNSXS.ABC"
    async with server.open():
        async with station(server, token_file=good) as city:
            await until(lambda: city.facts()["state"] == "connected")
        async with station(server, token_file=bad) as city:
            await until(lambda: "token_file" in city.facts().get("hint", ""))
            assert city.facts()["state"] == "refused"


async def test_a_token_that_is_none_is_not_repeated(tmp_path):
    file = tmp_path / "token"
    file.write_text("geheim: \nX\x00Y: z\n")
    server = StationServer(CONFIG)
    async with server.open(), station(server, token_file=file) as city:
        await until(lambda: city.facts()["state"] == "refused")
        assert "geheim" not in city.facts()["evidence"]
    assert server.queries == []


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def secured(authority: Authority, *, clients: bool = False, **issue) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.issue("server", **issue)
    context.load_cert_chain(files.cert_file, files.key_file)
    if clients:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_tls_with_a_certificate_of_our_own(authority):
    client = authority.issue(str(EUI), hosts=())
    server = StationServer(CONFIG, tls=secured(authority, clients=True))
    files = {"ca_file": authority.file, "cert_file": client.cert_file, "key_file": client.key_file}
    async with server.open(), station(server, **files) as city:
        await until(lambda: city.facts()["state"] == "connected")
        assert set(server.peers) == {str(EUI)}
        await uplink(server, city)


async def test_certificates_may_be_der_as_cups_sends_them(authority, tmp_path):
    from cryptography.hazmat.primitives import serialization

    client = authority.issue(str(EUI), hosts=())
    der = {"ca_file": authority.file, "cert_file": client.cert_file}
    for key, file in der.items():
        der[key] = tmp_path / key
        der[key].write_bytes(ssl.PEM_cert_to_DER_cert(file.read_text()))
    private = serialization.load_pem_private_key(client.key_file.read_bytes(), None)
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        key_file = tmp_path / "key"
        key_file.write_bytes(private.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption()))
        server = StationServer(CONFIG, tls=secured(authority, clients=True))
        async with server.open(), station(server, key_file=key_file, **der) as city:
            await until(lambda: city.facts()["state"] == "connected")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("stranger", "authority unknown here"), ("expired", "expired"), ("early", "not valid yet"), ("host", "host name")],
)
async def test_a_certificate_that_is_not_to_be_trusted_is_not_trusted(authority, tmp_path, trouble, words):
    from datetime import timedelta

    issue = {
        "expired": {"begins": timedelta(hours=-2), "ends": timedelta(hours=-1)},
        "early": {"begins": timedelta(hours=1), "ends": timedelta(hours=2)},
        "host": {"hosts": ["other.example"]},
    }.get(trouble, {})
    trusted = Authority(tmp_path / "another").file if trouble == "stranger" else authority.file
    server = StationServer(CONFIG, tls=secured(authority, **issue))
    async with server.open(), station(server, ca_file=trusted) as city:
        await until(lambda: words in city.facts()["evidence"])
    assert server.queries == []


async def test_nothing_is_said_in_clear_that_was_encrypted_before(authority):
    server = StationServer(CONFIG, tls=secured(authority))
    server.answer = {"uri": "ws://localhost:1/data"}
    async with server.open(), station(server, ca_file=authority.file) as city:
        await until(lambda: "not encrypted" in city.facts()["evidence"])
        assert city.facts()["state"] == "refused"


async def test_a_server_that_takes_the_connection_and_says_nothing_is_left():
    server = StationServer(CONFIG)
    server.silent = True
    async with server.open(), station(server, answer_within_s=0.2) as city:
        await until(lambda: "does not answer the router query" in city.facts()["evidence"])


async def test_a_connection_that_goes_silent_is_left_and_found_again():
    server = StationServer(CONFIG)
    async with server.open():
        server.deaf = True
        async with station(server, pong_within_s=0.2, ping_every_s=0.05) as city:
            await until(lambda: "silent" in city.facts()["evidence"])
            server.deaf = False
            await until(lambda: city.facts()["round_trip_ms"] is not None)


# --- CUPS ---


@asynccontextmanager
async def cups_server(authority, answers):
    """Gives these answers in turn, the last for ever; yields its URI and what it was asked."""
    from aiohttp import web

    asked = []

    async def update_info(request):
        asked.append(await request.json())
        return web.Response(body=answers[min(len(asked), len(answers)) - 1])

    app = web.Application()
    app.router.add_post("/update-info", update_info)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=secured(authority)).start()
    try:
        yield f"https://localhost:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def update_info(tc_uri=b"", tc_blob=b"", program=b""):
    from struct import pack

    parts = zip("BBHHII", (b"", tc_uri, b"", tc_blob, b"", program), strict=True)
    return b"".join(pack(f"<{size}", len(part)) + part for size, part in parts)


@asynccontextmanager
async def station_of(cups_uri, authority, file):
    settings = BasicsStationSettings("city", cups=cups_uri, cups_file=file, ca_file=authority.file)
    city = BasicsStation(settings, Antenna().carry, now, Reception(lambda: "roof"), EUI, sleep=at_once)
    task = asyncio.create_task(city.run())
    try:
        yield city
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_cups_says_where_to_go_and_with_what_and_it_is_kept(authority, tmp_path, caplog):
    ca = ssl.PEM_cert_to_DER_cert(authority.file.read_text())
    server = StationServer(CONFIG, tls=secured(authority))
    server.token = "Bearer T"
    async with server.open():
        blob = ca + bytes(4) + b"Authorization: Bearer T\r\n"
        answers = [update_info(server.url.encode(), blob, program=b"#!/bin/sh"), bytes(14)]
        async with cups_server(authority, answers) as (uri, asked):
            for _ in range(2):  # a start, and another one
                async with station_of(uri, authority, tmp_path / "cups") as city:
                    await until(lambda: city.facts()["state"] == "connected")
            assert [question["tcUri"] for question in asked] == [None, server.url]
            assert asked[0]["tcCredCrc"] == 2077607535 != asked[1]["tcCredCrc"]
        assert "program of 9 bytes; refused" in caplog.text
        assert (tmp_path / "cups").stat().st_mode & 0o077 == 0


async def test_an_address_with_credentials_that_cannot_be_used_is_not_kept(authority, tmp_path):
    answers = [update_info(b"wss://localhost:1", b"\x30\x03\x02\x01\x07" + bytes(8))]
    async with cups_server(authority, answers) as (uri, _), station_of(uri, authority, tmp_path / "cups") as city:
        await until(lambda: "cannot be used" in city.facts()["evidence"])
        assert city.facts()["state"] == "refused"
    assert not (tmp_path / "cups").exists()


async def test_a_cups_server_that_is_away_keeps_nobody_from_what_it_said(authority, tmp_path):
    server = StationServer(CONFIG, tls=secured(authority))
    ca = ssl.PEM_cert_to_DER_cert(authority.file.read_text())
    async with server.open():
        answers = [update_info(server.url.encode(), ca + bytes(8))]
        async with (
            cups_server(authority, answers) as (uri, _),
            station_of(uri, authority, tmp_path / "cups") as city,
        ):
            await until(lambda: city.facts()["state"] == "connected")
        async with station_of(uri, authority, tmp_path / "cups") as city:
            await until(lambda: city.facts()["state"] == "connected")
