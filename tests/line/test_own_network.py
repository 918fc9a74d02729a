"""A gateway that serves its devices itself, over Semtech UDP: joins, acknowledgements, downlinks, kills.

The device's side is written here from TS001-1.0.3, 4.3, 4.4 and 6.2, with AES alone.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.cmac import CMAC
from daemons import FORWARDER, GatewayProcess, PacketForwarder, Subscriber
from test_operations import ask, connected, gateway_for

APP_KEY = bytes(range(16))
DEV_EUI = bytes.fromhex("70b3d57ed0000042")
JOIN_EUI = bytes.fromhex("70b3d57ed0000000")
JOIN_ACCEPT_DELAY1_US, RX1_US = 5_000_000, 1_000_000  # RP002-1.0.4, 2.4


class DownForwarder(PacketForwarder):
    """A forwarder that also asks for downlinks and puts them on an air of its own."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._down.connect(("127.0.0.1", port))
        self._down.settimeout(60)
        self.pull()

    def pull(self) -> None:
        self._down.send(b"\x02\xaa\xbb\x02" + FORWARDER)
        assert self._down.recv(100) == b"\x02\xaa\xbb\x04"

    def hear(self, phy: bytes, *, counter_us: int, **fields: object) -> None:
        self.push(phy, tmst=counter_us, **fields)

    def downlink(self, error: str = "NONE", within_s: float = 60) -> dict:
        """The next downlink, answered with this word."""
        self._down.settimeout(within_s)
        datagram = self._down.recv(2000)
        assert datagram[3] == 3  # PULL_RESP
        answer = json.dumps({"txpk_ack": {"error": error}}).encode()
        self._down.send(b"\x02" + datagram[1:3] + b"\x05" + FORWARDER + answer)
        return json.loads(datagram[4:])["txpk"]

    def nothing(self, for_s: float) -> None:
        self._down.settimeout(for_s)
        with pytest.raises(TimeoutError):
            self._down.recv(2000)

    def close(self) -> None:
        super().close()
        self._down.close()


def aes(key: bytes, blocks: bytes) -> bytes:
    return Cipher(AES(key), ECB()).encryptor().update(blocks)


def cmac(key: bytes, message: bytes) -> bytes:
    running = CMAC(AES(key))
    running.update(message)
    return running.finalize()[:4]


@dataclass
class Valve:
    """A class A device of LoRaWAN 1.0.3."""

    dev_nonce: int = 0
    f_cnt_up: int = 0
    f_cnts_down: list[int] = field(default_factory=list)
    join_nonces: list[int] = field(default_factory=list)
    dev_addr: bytes = b""
    nwk_s_key: bytes = b""
    app_s_key: bytes = b""

    def join_request(self) -> bytes:
        self.dev_nonce += 1
        body = b"\x00" + JOIN_EUI[::-1] + DEV_EUI[::-1] + struct.pack("<H", self.dev_nonce)
        return body + cmac(APP_KEY, body)

    def take_accept(self, phy: bytes) -> bytes:
        """Take the session of an accept; its CFList."""
        plain = aes(APP_KEY, phy[1:])
        assert phy[:1] == b"\x20"
        assert cmac(APP_KEY, phy[:1] + plain[:-4]) == plain[-4:]
        join_nonce, net_id, self.dev_addr = plain[:3], plain[3:6], plain[6:10]
        self.join_nonces.append(int.from_bytes(join_nonce, "little"))
        seed = join_nonce + net_id + struct.pack("<H", self.dev_nonce) + bytes(7)
        self.nwk_s_key, self.app_s_key = aes(APP_KEY, b"\x01" + seed), aes(APP_KEY, b"\x02" + seed)
        self.f_cnt_up, self.f_cnts_down = 0, []
        return plain[12:-4]

    def uplink(self, payload: bytes, *, confirmed: bool = False, f_opts: bytes = b"", ack: bool = False) -> bytes:
        head = bytes([0x80 if confirmed else 0x40]) + self.dev_addr + bytes([len(f_opts) | (0x20 if ack else 0)])
        head += struct.pack("<H", self.f_cnt_up) + f_opts + b"\x02"
        body = head + self._crypt(0, self.f_cnt_up, payload)
        phy = body + cmac(self.nwk_s_key, self._b0(0, self.f_cnt_up, len(body)) + body)
        self.f_cnt_up += 1
        return phy

    def take(self, phy: bytes) -> tuple[bool, bool, bytes, int | None, bytes]:
        """ACK bit, FPending, FOpts, port and payload of a downlink; its counter has to be new."""
        f_ctrl, f_cnt = phy[5], struct.unpack_from("<H", phy, 6)[0]
        body = phy[:-4]
        assert phy[1:5] == self.dev_addr
        assert cmac(self.nwk_s_key, self._b0(1, f_cnt, len(body)) + body) == phy[-4:]
        assert all(f_cnt > before for before in self.f_cnts_down)
        self.f_cnts_down.append(f_cnt)
        at = 8 + (f_ctrl & 15)
        port = body[at] if len(body) > at else None
        return bool(f_ctrl & 0x20), bool(f_ctrl & 0x10), body[8:at], port, self._crypt(1, f_cnt, body[at + 1 :])

    def _b0(self, way: int, f_cnt: int, size: int) -> bytes:
        return b"\x49" + bytes(4) + bytes([way]) + self.dev_addr + struct.pack("<IBB", f_cnt, 0, size)

    def _crypt(self, way: int, f_cnt: int, payload: bytes) -> bytes:
        blocks = (
            b"\x01" + bytes(4) + bytes([way]) + self.dev_addr + struct.pack("<IBB", f_cnt, 0, number)
            for number in range(1, len(payload) // 16 + 2)
        )
        return bytes(a ^ b for a, b in zip(payload, aes(self.app_s_key, b"".join(blocks)), strict=False))


@pytest.fixture
def line(tmp_path, mosquitto):
    with gateway_for(tmp_path, mosquitto) as gateway:
        added = gateway.command(
            "device", "add", "--dev-eui", DEV_EUI.hex(), "--name", "valve 7", "--join-eui", JOIN_EUI.hex(),
            "--app-key", APP_KEY.hex(), "--mac-version", "1.0.3",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        gateway.start()
        yield gateway


def phy_of(txpk: dict) -> bytes:
    return base64.b64decode(txpk["data"])


def joined(forwarder: DownForwarder, valve: Valve) -> None:
    forwarder.hear(valve.join_request(), counter_us=1_000_000)
    valve.take_accept(phy_of(forwarder.downlink()))


def test_a_device_joins_reports_and_is_acknowledged(line: GatewayProcess, mosquitto) -> None:
    with DownForwarder(line.udp_port) as forwarder, Subscriber(mosquitto.port, "lorawan/#") as platform:
        connected(line)
        valve = Valve()
        forwarder.hear(valve.join_request(), counter_us=4_294_000_000)
        accept = forwarder.downlink()
        assert accept["tmst"] == (4_294_000_000 + JOIN_ACCEPT_DELAY1_US) % (1 << 32)
        assert (accept["freq"], accept["datr"], accept["ipol"]) == (868.1, "SF7BW125", True)
        cf_list = valve.take_accept(phy_of(accept))
        # RP002-1.0.4, 2.4.4: five frequencies in 100 Hz, then the type
        assert (
            cf_list
            == b"".join(struct.pack("<I", hz // 100)[:3] for hz in range(867_100_000, 868_000_000, 200_000)) + b"\0"
        )
        forwarder.hear(valve.uplink(b"\x01\x02", confirmed=True), counter_us=20_000_000)
        answer = forwarder.downlink()
        ack, _, _, _, _ = valve.take(phy_of(answer))
        assert (answer["tmst"], ack) == (20_000_000 + RX1_US, True)
        [(topic, message)] = platform.wait_for(1, ending="/up")
        assert json.loads(message)["payload"] == "0102"
        [(topic, message)] = platform.wait_for(1, ending="/join")
        assert (topic, json.loads(message)["dev_addr"]) == (
            f"lorawan/0016c001ff10a235/{DEV_EUI.hex()}/join", valve.dev_addr[::-1].hex(),
        )  # fmt: skip
        status = line.status()
        assert (status["store"]["balance"], status["radio"]["refused"]["joined"]) == (0, 1)
        assert status["network"]["joined"] == 1
        assert ask(line, "device", "show", DEV_EUI.hex())["dev_addr"] == valve.dev_addr[::-1].hex()


def test_a_downlink_waits_for_the_device_and_its_result_reaches_the_platform(line: GatewayProcess, mosquitto) -> None:
    with DownForwarder(line.udp_port) as forwarder, Subscriber(mosquitto.port, "lorawan/+/+/down/result") as platform:
        connected(line)
        valve = Valve()
        joined(forwarder, valve)
        for ref, payload in (("open", "0101"), ("close", "0100")):
            ask(line, "downlink", "send", "--dev-eui", DEV_EUI.hex(), "--port", "9", "--hex", payload, "--ref", ref,
                "--confirmed")  # fmt: skip
        forwarder.hear(valve.uplink(b"\x01"), counter_us=30_000_000)
        _, pending, _, port, payload = valve.take(phy_of(forwarder.downlink()))
        assert (pending, port, payload) == (True, 9, b"\x01\x01")
        forwarder.hear(valve.uplink(b"\x01"), counter_us=40_000_000)  # without the ACK bit: it did not hear
        again = valve.take(phy_of(forwarder.downlink()))
        assert again[3:] == (9, b"\x01\x01")
        states = [json.loads(message) for _, message in platform.wait_for(7, ending="/result")]
        assert [one["state"] for one in states if one["ref"] == "open"] == ["queued", "scheduled", "sent"] * 2
        listed = {one["ref"]: one for one in ask(line, "downlink", "list")}
        assert (listed["open"]["state"], listed["open"]["attempts"], listed["close"]["state"]) == ("sent", 2, "queued")


def test_rx2_is_used_when_the_forwarder_is_too_late_for_rx1(line: GatewayProcess) -> None:
    with DownForwarder(line.udp_port) as forwarder:
        valve = Valve()
        joined(forwarder, valve)
        forwarder.hear(valve.uplink(b"\x01", confirmed=True), counter_us=50_000_000)
        first, second = forwarder.downlink("TOO_LATE"), forwarder.downlink()
        assert (second["tmst"] - first["tmst"], second["freq"], second["datr"]) == (1_000_000, 869.525, "SF12BW125")
        assert phy_of(first) == phy_of(second)
        assert valve.take(phy_of(second))[0]


def test_a_kill_reuses_no_counter_and_accepts_no_nonce_twice(line: GatewayProcess) -> None:
    valve = Valve()
    with DownForwarder(line.udp_port) as forwarder:
        recorded = valve.join_request()
        forwarder.hear(recorded, counter_us=1_000_000)
        valve.take_accept(phy_of(forwarder.downlink()))
        for number in range(3):
            forwarder.hear(valve.uplink(b"\x01", confirmed=True), counter_us=(10 + 5 * number) * 1_000_000)
            assert valve.take(phy_of(forwarder.downlink()))[0]
        line.kill()
        line.start()
        forwarder.pull()
        forwarder.hear(recorded, counter_us=40_000_000)
        forwarder.nothing(1.5)
        assert line.status()["radio"]["refused"]["replay"] == 1
        forwarder.hear(valve.uplink(b"\x01", confirmed=True), counter_us=50_000_000)
        assert valve.take(phy_of(forwarder.downlink()))[0]
        forwarder.hear(valve.join_request(), counter_us=60_000_000)
        valve.take_accept(phy_of(forwarder.downlink()))
        assert valve.join_nonces[1] > valve.join_nonces[0]


def test_a_device_that_missed_its_acknowledgement_is_acknowledged_again(line: GatewayProcess) -> None:
    with DownForwarder(line.udp_port) as forwarder:
        valve = Valve()
        joined(forwarder, valve)
        once = valve.uplink(b"\x01", confirmed=True)
        for counter_us in (10_000_000, 15_000_000):
            forwarder.hear(once, counter_us=counter_us)
            assert valve.take(phy_of(forwarder.downlink()))[0]
        assert line.status()["radio"]["stored"] == 1


def test_questions_in_the_header_are_answered(line: GatewayProcess) -> None:
    with DownForwarder(line.udp_port) as forwarder:
        valve = Valve()
        joined(forwarder, valve)
        forwarder.hear(valve.uplink(b"\x01", f_opts=b"\x02"), counter_us=10_000_000, lsnr=2.5)
        f_opts = valve.take(phy_of(forwarder.downlink()))[2]
        # LinkCheckAns (TS001-1.0.4, 5.2): margin over the -7.5 dB of SF7, heard by one gateway
        assert f_opts[:3] == bytes([0x02, 10, 1])


def test_a_forged_join_and_one_of_a_stranger_are_left_unanswered(line: GatewayProcess) -> None:
    with DownForwarder(line.udp_port) as forwarder:
        request = Valve().join_request()
        forwarder.hear(request[:-1] + bytes([request[-1] ^ 1]), counter_us=1_000_000)
        stranger = request[:9] + bytes(8) + request[17:]
        forwarder.hear(stranger, counter_us=2_000_000)
        forwarder.nothing(1.0)
        refused = line.until(lambda status: status["radio"]["filtered"] == 2)["radio"]["refused"]
        assert refused == {"bad_mic": 1, "join_not_served": 1}


def test_a_device_of_class_c_is_told_at_once_and_again_until_it_acknowledges(tmp_path, mosquitto) -> None:
    with gateway_for(tmp_path, mosquitto) as line:
        keys = ("--nwk-s-key", "11" * 16, "--app-s-key", "22" * 16)
        line.command(
            "device", "add", "--dev-eui", DEV_EUI.hex(), "--name", "siren", "--dev-addr", "01020304", "--class", "C",
            "--mac-version", "1.0.4", *keys,
        )  # fmt: skip
        line.start()
        with DownForwarder(line.udp_port) as forwarder:
            siren = Valve(dev_addr=bytes.fromhex("01020304")[::-1], nwk_s_key=b"\x11" * 16, app_s_key=b"\x22" * 16)
            asked = ("downlink", "send", "--dev-eui", DEV_EUI.hex(), "--port", "7", "--hex", "01", "--confirmed")
            ask(line, *asked, "--ref", "alarm")
            now = forwarder.downlink()
            assert (now["imme"], now["freq"], now["datr"]) == (True, 869.525, "SF12BW125")
            assert siren.take(phy_of(now))[3:] == (7, b"\x01")
            again = forwarder.downlink(within_s=20)  # CLASS_C_RESP_TIMEOUT, 8 s (RP002-1.0.4, 2.3)
            assert siren.take(phy_of(again))[3:] == (7, b"\x01")
            forwarder.hear(siren.uplink(b"\x05", ack=True), counter_us=90_000_000)
            line.until(lambda _: ask(line, "downlink", "list")[0]["state"] == "acknowledged", 10)
