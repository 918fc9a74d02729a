"""A device, its session as a store keeps it, and frames as an antenna hears them."""

from __future__ import annotations

from gateway.lorawan.frame import DataFrame
from gateway.lorawan.network import Network
from gateway.lorawan.uplink import seal
from gateway.model import (
    AesKey,
    Crc,
    DevAddr,
    DevEui,
    Device,
    Lora,
    MacVersion,
    OpenedUplink,
    RadioFrame,
    Session,
    Stamp,
    TimeQuality,
)
from gateway.regions.eu868 import EU868

SECOND_US = 1_000_000
ADDR = DevAddr(0x26011BDA)


def heard_frame(phy, *, at_s=0.0, receiver="roof", frequency_hz=868_100_000, modulation=None, crc=Crc.OK, snr_db=5.2):
    return RadioFrame(
        phy=phy,
        heard=Stamp(0, TimeQuality.NTP, 50, "boot", int(at_s * SECOND_US)),
        frequency_hz=frequency_hz,
        modulation=modulation or Lora(7, 125_000),
        rssi_dbm=-97.0,
        snr_db=snr_db,
        channel=0,
        rf_chain=0,
        counter_us=0,
        crc=crc,
        receiver=receiver,
    )


class Bench:
    """One device, its session as a store would keep it, and the network under test."""

    def __init__(self, version=MacVersion.V1_0_3, *, number=1, network=None, **session):
        keys = [AesKey(bytes((number, n)) * 8) for n in range(4)]
        if not version.is_1_1:
            keys = [keys[0], keys[0], keys[0], keys[3]]
        eui = DevEui(number.to_bytes(8, "big"))
        self.device = Device(eui, f"device {number}", mac_version=version)
        self.session = Session(eui, ADDR, version, *keys, session_id=number, **session)
        self.network = network or Network(EU868)

    def seal(self, f_cnt, **sent):
        """A frame of the device; on DR5 and channel 0 unless told."""
        return seal(self.session, f_cnt=f_cnt, **{"f_port": 2, "payload": b"level 83", "tx_dr": 5, **sent})

    def hear(self, phy, candidates=None, **how):
        """What the network makes of it. Does not accept it."""
        frame = heard_frame(phy, **how)
        data = self.network.read(frame)
        assert isinstance(data, DataFrame)
        return self.network.open(frame, data, [self.pair] if candidates is None else candidates)

    def accept(self, phy, **how):
        """Hear a frame that has to be new, and store its session."""
        opened = self.hear(phy, **how)
        assert isinstance(opened, OpenedUplink), opened
        self.session = opened.session
        return opened

    @property
    def pair(self):
        return self.device, self.session
