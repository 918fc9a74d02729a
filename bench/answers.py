"""Confirmed uplinks a minute at a real daemon: how long before its window the answer is with the forwarder.

The forwarders are sockets; each is a transmitter of its own with a law of its own, so several share the answers. The
time runs from the PUSH_DATA with the uplink, which a forwarder sends when the frame has ended, to the PULL_RESP: what
is left of the second until RX1 opens is the lead. Meanwhile the daemon keeps, decodes and syncs.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import heading, show
from bench.fleet import CODECS, device, register
from bench.servers import daemon
from gateway.lorawan.crypto import KeySchedule, KeySchedules, join_mic
from gateway.lorawan.frame import JoinRequest
from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevEui, Device, JoinEui, MacVersion, RootKeys
from gateway.store.devices import DeviceRegistry, NewDevice

if TYPE_CHECKING:
    from bench.servers import Daemon

A_MINUTE = 1_000
FORWARDERS = 10
DEVICES = 1_000
JOINS = 20
RX1_S = 1.0
AIM_S = 0.2


def run(seconds: int) -> None:
    """Print the leads of so many seconds of confirmed uplinks, and the time of a join."""
    heading(f"answers: {A_MINUTE:,d} confirmed uplinks a minute, {FORWARDERS} forwarders, for {seconds} s")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        register(folder / "data", DEVICES)
        with DeviceRegistry.open(folder / "data") as registry:
            registry.add_all([_joiner(number) for number in range(JOINS)])
        with daemon(folder, None) as gateway:
            forwarders = [_Forwarder(gateway.udp_port, number) for number in range(FORWARDERS)]
            leads_s, sent = _answers(forwarders, seconds)
            _show_leads(leads_s, sent, gateway)
            joins_ms = sorted(_joins(forwarders))
            show("join request to accept", f"median {joins_ms[len(joins_ms) // 2]:.1f} ms, most {joins_ms[-1]:.1f} ms")


def _show_leads(leads_s: list[float], sent: int, gateway: Daemon) -> None:
    leads_s.sort()
    answered = len(leads_s)
    if not answered:
        show("answers", "none", aim="all")
        return
    late = leads_s[min(answered - 1, answered // 1_000)]
    show(
        "lead before RX1 opens, p99.9", f"{late * 1e3:.0f} ms", aim=f"at least {AIM_S * 1e3:.0f} ms",
        beside=f"median {leads_s[answered // 2] * 1e3:.0f} ms",
    )  # fmt: skip
    facts = gateway.control.status()["network"]
    show("uplinks answered", f"{answered:,d} of {sent:,d}", beside=f"radio: {facts['downlinks']}")


class _Forwarder:
    """A forwarder that answers each downlink with a good TX_ACK."""

    def __init__(self, port: int, number: int) -> None:
        self.eui = bytes.fromhex("0016c001f15000") + bytes([number])
        self.up, self.down = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for wire in (self.up, self.down):
            wire.connect(("127.0.0.1", port))
        self.down.send(b"\x02\x00\x01\x02" + self.eui)
        self.down.recv(16)

    def push(self, phy: bytes, tmst: int) -> None:
        """Send a frame that was heard just now."""
        rxpk = {
            "tmst": tmst, "chan": 0, "rfch": 0, "freq": 868.1, "stat": 1, "modu": "LORA", "datr": "SF7BW125",
            "codr": "4/5", "rssi": -80, "lsnr": 9.0, "size": len(phy), "data": base64.b64encode(phy).decode(),
        }  # fmt: skip
        self.up.send(b"\x02\x00\x02\x00" + self.eui + json.dumps({"rxpk": [rxpk]}).encode())

    def take(self) -> int:
        """The counter value of the downlink that is here, acknowledged."""
        datagram = self.down.recv(4_000)
        if datagram[3] != 3:
            return -1
        self.down.send(b"\x02" + datagram[1:3] + b"\x05" + self.eui + b'{"txpk_ack":{"error":"NONE"}}')
        tmst: int = json.loads(datagram[4:])["txpk"]["tmst"]
        return tmst


def _answers(forwarders: list[_Forwarder], seconds: int) -> tuple[list[float], int]:
    schedules, leads_s, sent_at = KeySchedules(2 * DEVICES), list[float](), dict[tuple[int, int], float]()
    total, began = A_MINUTE * seconds // 60, time.monotonic()
    by_socket = {forwarder.down: (number, forwarder) for number, forwarder in enumerate(forwarders)}
    index = 0
    while time.monotonic() < began + seconds + 2.5:
        due_s = began + index * 60 / A_MINUTE
        wait_s = max(0.0, due_s - time.monotonic()) if index < total else 0.05
        for wire in select.select(list(by_socket), [], [], wait_s)[0]:
            number, forwarder = by_socket[wire]
            window = forwarder.take()
            heard = sent_at.pop((number, (window - 1_000_000) % (1 << 32)), None)
            if heard is not None:
                leads_s.append(RX1_S - (time.monotonic() - heard))
        if index < total and time.monotonic() >= due_s:
            number = index % len(forwarders)
            tmst = round((time.monotonic() - began) * 1e6) + 10_000_000
            phy = _uplink(index, schedules)
            sent_at[number, tmst] = time.monotonic()
            forwarders[number].push(phy, tmst)
            index += 1
    return leads_s, index


def _uplink(index: int, schedules: KeySchedules) -> bytes:
    number = index % DEVICES
    session = device(number).session
    assert session is not None
    _, port, payload = CODECS[number % len(CODECS)]
    return seal(session, f_cnt=index // DEVICES + 1, f_port=port, payload=payload, confirmed=True, schedules=schedules)


def _joiner(number: int) -> NewDevice:
    dev_eui = DevEui(b"\x02\x01" + number.to_bytes(6, "big"))
    return NewDevice(
        Device(dev_eui, f"joiner {number}", mac_version=MacVersion.V1_0_3), root_keys=RootKeys(AesKey(dev_eui * 2))
    )


def _joins(forwarders: list[_Forwarder]) -> list[float]:
    """Milliseconds from a join request to its accept at the forwarder, one after the other."""
    found = []
    for number in range(JOINS):
        forwarder, joiner = forwarders[number % len(forwarders)], _joiner(number).device
        draft = JoinRequest(JoinEui(bytes(8)), joiner.dev_eui, 1, bytes(4))
        mic = join_mic(KeySchedule(AesKey(joiner.dev_eui * 2)), draft.unsigned())
        began = time.perf_counter()
        forwarder.push(draft.unsigned() + mic, 4_000_000_000 + number)
        if not select.select([forwarder.down], [], [], 10)[0]:
            raise SystemExit("no join accept within 10 s")
        forwarder.take()
        found.append((time.perf_counter() - began) * 1e3)
    return found
