"""Devices whose frames can be recognised anywhere: all that is in a frame follows from its number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gateway.lorawan.crypto import KeySchedules
from gateway.lorawan.uplink import seal
from gateway.model import AesKey, DevAddr, DevEui, Device, MacVersion, Session
from gateway.store.devices import NewDevice

LONGEST_FILLING = 48


@dataclass(frozen=True, slots=True)
class Body:
    """What has to come out at the far end for a number."""

    dev_eui: str
    f_cnt: int
    f_port: int
    payload: bytes


class Fleet:
    """Frame `n` comes from device `n % devices` with the counter `n // devices`; its payload begins with `n`."""

    def __init__(self, devices: int, *, codec: str | None = None, tags: tuple[dict[str, str], ...] = ({},)) -> None:
        """`tags` go round the devices."""
        self.devices = devices
        self._codec = codec
        self._tags = tags
        self._sessions = [self._session(index) for index in range(devices)]
        self._schedules = KeySchedules(2 * devices)

    def newcomers(self) -> list[NewDevice]:
        """The devices as a technician enters them."""
        return [NewDevice(self._device(index), session) for index, session in enumerate(self._sessions)]

    def phy(self, number: int) -> bytes:
        """The frame as its device sends it, sealed with its keys."""
        body = self.body(number)
        session = self._sessions[number % self.devices]
        return seal(
            session, f_cnt=body.f_cnt, f_port=body.f_port, payload=body.payload, adr=True, schedules=self._schedules
        )

    def body(self, number: int) -> Body:
        """What is in the frame of this number."""
        digest = hashlib.shake_128(b"body %d" % number).digest(1 + LONGEST_FILLING)
        filling = digest[1 : 1 + digest[0] % (LONGEST_FILLING + 1)]
        dev_eui = self._sessions[number % self.devices].dev_eui
        return Body(str(dev_eui), number // self.devices, 1 + number % 200, number.to_bytes(4, "big") + filling)

    def sent_as(self, dev_eui: str, f_cnt: int) -> int:
        """The number of the frame with which a device used a counter."""
        return f_cnt * self.devices + int(dev_eui[4:], 16)

    def frame_id(self, number: int) -> str:
        """The name of the frame on every gateway: 16 bytes of BLAKE2s over the PHY payload, as promised."""
        return hashlib.blake2s(self.phy(number), digest_size=16).hexdigest()

    def tags(self, number: int) -> dict[str, str]:
        """The tags of the device that sends this number."""
        return self._tags[number % self.devices % len(self._tags)]

    @staticmethod
    def number(payload: bytes) -> int | None:
        """The number that a payload says it has."""
        return int.from_bytes(payload[:4], "big") if len(payload) >= 4 else None

    def _device(self, index: int) -> Device:
        return Device(_dev_eui(index), f"device {index}", codec=self._codec, tags=self._tags[index % len(self._tags)])

    @staticmethod
    def _session(index: int) -> Session:
        digest = hashlib.sha256(b"keys of device %d" % index).digest()
        network_key, app_key = AesKey(digest[:16]), AesKey(digest[16:])
        address = DevAddr(0x2600_0000 + index)
        return Session(_dev_eui(index), address, MacVersion.V1_0_3, network_key, network_key, network_key, app_key)


def _dev_eui(index: int) -> DevEui:
    return DevEui(b"\x02\x00" + index.to_bytes(6, "big"))
