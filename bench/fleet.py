"""A fleet of devices to measure with, and the datagrams that an existing packet forwarder would send for them."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import TYPE_CHECKING

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, Device, MacVersion, Session
from gateway.store.devices import DeviceRegistry, NewDevice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODECS = (
    ("heyliot/heywaste", 2, bytes.fromhex("10000384")),
    ("elsys/ers", 5, bytes.fromhex("0100D3023604012C05030709E8")),
    ("axioma/qalcosonic_w1", 100, bytes.fromhex("60F9B469006EB2000020C1B46948B200000A00000016000600")),
)
FORWARDER = bytes.fromhex("0016c001f1500812")


def device(number: int) -> NewDevice:
    """Device `number` of the fleet: a third each of containers, rooms and meters."""
    dev_eui = DevEui(b"\x02\x00" + number.to_bytes(6, "big"))
    codec, _, _ = CODECS[number % len(CODECS)]
    digest = hashlib.sha256(dev_eui).digest()
    network_key, app_key = AesKey(digest[:16]), AesKey(digest[16:])
    session = Session(
        dev_eui, DevAddr(0x26000000 + number), MacVersion.V1_0_3, network_key, network_key, network_key, app_key
    )
    return NewDevice(Device(dev_eui, f"device {number}", codec=codec), session)


def register(folder: Path, devices: int) -> None:
    """Enter the fleet into the registry of a data folder."""
    with DeviceRegistry.open(folder) as registry:
        registry.add_all([device(number) for number in range(devices)])


def datagrams(devices: int, frames: int) -> Iterator[bytes]:
    """PUSH_DATA with one frame each; the frames go round the whole fleet, so that no cache flatters the figure."""
    schedules = KeySchedules(2 * devices)
    sessions = {number: device(number).session for number in _spread(devices, min(devices, frames))}
    numbers = list(sessions)
    for index in range(frames):
        number = numbers[index % len(numbers)]
        _, port, payload = CODECS[number % len(CODECS)]
        session = sessions[number]
        assert session is not None
        f_cnt = index // len(numbers) + 1
        phy = seal(session, f_cnt=f_cnt, f_port=port, payload=payload, adr=True, schedules=schedules)
        yield push_data(phy, index)


def _spread(devices: int, wanted: int) -> list[int]:
    """Numbers from all over the fleet."""
    step = max(1, devices // wanted)
    return list(range(0, devices, step))[:wanted]


def push_data(phy: bytes, index: int) -> bytes:
    """One datagram as the reference forwarder writes it."""
    data = base64.b64encode(phy).decode()
    body = (
        f'{{"rxpk":[{{"jver":1,"tmst":{(index * 5_850) % (1 << 32)},"chan":{index % 8},"rfch":{index % 2},'
        f'"freq":{(868_100_000 + index % 3 * 200_000) / 1e6:.6f},"mid": 8,"stat":1,"modu":"LORA",'
        f'"datr":"SF{7 + index % 2}BW125","codr":"4/5","rssis":-98,"lsnr":{(index % 150) / 10 - 5:.1f},"foff":-312,'
        f'"rssi":-97,"size":{len(phy)},"data":"{data}"}}]}}'
    )
    return struct.pack(">BHB", 2, index & 0xFFFF, 0) + FORWARDER + body.encode()
