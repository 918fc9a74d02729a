"""Other people's network servers at a real gateway process: what they are sent, and what becomes of their downlinks."""

from __future__ import annotations

import base64
import json

from daemons import GatewayProcess
from test_line import APP_S_KEY, DEV_ADDR, DEV_EUI, NWK_S_KEY, PHY
from test_own_network import APP_KEY, JOIN_EUI, DownForwarder, Valve, joined
from test_own_network import DEV_EUI as VALVE_EUI
from udp_network_server import UdpNetworkServer, free_port, txpk

STRANGER = PHY[:1] + b"\x01\x02\x03\x26" + PHY[5:]  # the same frame from DevAddr 26030201
LNS = '[lns.{}]\ntype = "semtech-udp"\nserver = "localhost:{}"\nkeepalive = "200ms"\nstat_interval = "1s"\n{}\n'


def add_device(gateway: GatewayProcess) -> None:
    added = gateway.command(
        "device", "add", "--dev-eui", DEV_EUI, "--name", "PAV Antigone 12", "--codec", "heyliot/heywaste",
        "--dev-addr", DEV_ADDR, "--nwk-s-key", NWK_S_KEY, "--app-s-key", APP_S_KEY,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr


def heard(server: UdpNetworkServer) -> list[bytes]:
    return [base64.b64decode(rxpk["data"]) for rxpk in server.rxpks]


async def test_each_server_gets_what_it_is_for_and_only_that(tmp_path):
    join = Valve().join_request()
    async with UdpNetworkServer() as city, UdpNetworkServer() as mirror, UdpNetworkServer() as narrow:
        servers = (
            LNS.format("city", city.port, "")
            + LNS.format("mirror", mirror.port, "own_devices = true")
            + LNS.format(
                "narrow", narrow.port, 'only_dev_addr = ["20000000/7"]\nonly_join_eui = ["70b3d57ed0000000/40"]'
            )
            + LNS.format("absent", free_port(), "")
        )
        with GatewayProcess(tmp_path, sink=servers) as gateway:
            add_device(gateway)
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda: city.pulled and mirror.pulled and narrow.pulled)
                for phy in (PHY, STRANGER, PHY, join):
                    forwarder.push(phy)
                forwarder.push(STRANGER, stat=-1)
                await mirror.until(lambda: len(mirror.rxpks) == 4 and city.rxpks[-1:] and narrow.rxpks)
                await city.until(lambda: any(stat["rxnb"] for stat in city.stats))
            servers = {facts["name"]: facts for facts in gateway.status()["lns"]}
            assert gateway.stop() == 0
    assert (heard(city), heard(narrow)) == ([STRANGER, join], [join])
    assert sorted(heard(mirror)) == sorted([PHY, STRANGER, PHY, join])
    assert {name: facts["state"] for name, facts in servers.items()} == {
        "city": "connected", "mirror": "connected", "narrow": "connected", "absent": "unreachable",
    }  # fmt: skip
    assert [servers[name]["acknowledged"] for name in ("city", "mirror", "narrow")] == [2, 4, 1]
    assert (servers["city"]["filtered"], servers["narrow"]["filtered"]) == (2, 3)
    assert [sum(stat[key] for stat in city.stats) for key in ("rxnb", "rxok", "rxfw")] == [5, 4, 2]
    shown = city.rxpks[0]
    assert (shown["freq"], shown["datr"], shown["rssi"], shown["lsnr"]) == (868.1, "SF7BW125", -97, 5.2)


async def test_a_servers_downlink_goes_on_air_and_what_became_of_it_comes_back(tmp_path):
    async with UdpNetworkServer() as city:
        with GatewayProcess(tmp_path, sink=LNS.format("city", city.port, "")) as gateway:
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda: city.pulled)
                forwarder.hear(STRANGER, counter_us=4_294_000_000)
                await city.until(lambda: city.rxpks)
                rx1_us = (4_294_000_000 + 1_000_000) % (1 << 32)
                city.pull_resp(txpk(tmst=rx1_us), b"\0\1")
                sent = forwarder.downlink()
                await city.until(lambda: len(city.tx_acks) == 1)
                city.pull_resp(txpk(tmst=(rx1_us + 3_000_000) % (1 << 32)), b"\0\2")
                forwarder.downlink("COLLISION_BEACON")
                await city.until(lambda: len(city.tx_acks) == 2)
                refused = [
                    (b"\0\3", txpk(tmst=4_290_000_000)),
                    (b"\0\4", txpk(imme=True, freq=923.3)),
                    (b"\0\5", txpk(imme=True, powe=40)),
                    (b"\0\6", txpk(imme=True, tmst=None, size=300, data=base64.b64encode(bytes(300)).decode())),
                ]
                for token, packet in refused:
                    city.pull_resp(packet, token)
                await city.until(lambda: len(city.tx_acks) == 6)
                forwarder.nothing(for_s=0.2)
            (facts,) = gateway.status()["lns"]
            log = gateway.log
            assert gateway.stop() == 0
    assert (sent["tmst"], sent["freq"], sent["datr"], sent["powe"], sent["data"]) == (
        rx1_us, 868.1, "SF7BW125", 14, txpk()["data"],
    )  # fmt: skip
    answers = {token: body and json.loads(body)["txpk_ack"]["error"] for token, body in city.tx_acks}
    assert answers == {
        b"\0\1": b"", b"\0\2": "COLLISION_BEACON", b"\0\3": "TOO_LATE", b"\0\4": "TX_FREQ", b"\0\5": "TX_POWER",
        b"\0\6": "UNKNOWN",
    }  # fmt: skip
    assert facts["downlinks"] == {
        "SENT": 1, "COLLISION_BEACON": 1, "TOO_LATE": 1, "TX_FREQ": 1, "TX_POWER": 1, "UNKNOWN": 1,
    }  # fmt: skip
    for word in ("TOO_LATE", "TX_FREQ", "TX_POWER", "too_long"):
        assert word in log


async def test_joins_of_our_own_devices_stay_here_and_those_of_strangers_go_on_and_are_answered(tmp_path):
    stranger = b"\x00" + JOIN_EUI[::-1] + bytes(8) + b"\x01\x00" + bytes(4)
    async with UdpNetworkServer() as city:
        with GatewayProcess(tmp_path, sink=LNS.format("city", city.port, "")) as gateway:
            added = gateway.command(
                "device", "add", "--dev-eui", VALVE_EUI.hex(), "--name", "valve 7", "--join-eui", JOIN_EUI.hex(),
                "--app-key", APP_KEY.hex(),
            )  # fmt: skip
            assert added.returncode == 0, added.stderr
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda: city.pulled)
                valve = Valve()
                joined(forwarder, valve)
                forwarder.hear(valve.uplink(b"\x01"), counter_us=30_000_000)
                forwarder.hear(stranger, counter_us=40_000_000)
                await city.until(lambda: city.rxpks)
                city.pull_resp(txpk(tmst=45_000_000))
                assert forwarder.downlink()["tmst"] == 45_000_000
                await city.until(lambda: city.tx_acks)
            assert gateway.status()["radio"]["refused"] == {"joined": 1, "join_not_served": 1}
            assert gateway.stop() == 0
    assert heard(city) == [stranger]
    assert city.tx_acks == [(b"\xd2\x04", b"")]


async def test_a_device_that_is_only_listened_to_is_somebody_elses_and_goes_on(tmp_path):
    async with UdpNetworkServer() as city:
        settings = "[network]\nanswer = false\n" + LNS.format("city", city.port, "")
        with GatewayProcess(tmp_path, sink=settings) as gateway:
            add_device(gateway)
            gateway.start()
            with DownForwarder(gateway.udp_port) as forwarder:
                await city.until(lambda: city.pulled)
                forwarder.push(PHY)
                await city.until(lambda: city.rxpks)
                gateway.until(lambda status: status["radio"]["stored"] == 1)
    assert heard(city) == [PHY]
