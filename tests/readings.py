"""Readings to keep: everyday ones and the extremes a record must carry."""

from __future__ import annotations

import itertools
from dataclasses import replace

from gateway.model import (
    AesKey,
    Decoded,
    DevAddr,
    DevEui,
    Device,
    Lora,
    MacVersion,
    Measurement,
    Reading,
    Session,
    Stamp,
    TimeQuality,
)

BOOT_ID = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11"
STAMP = Stamp(1_795_428_902_123_000, TimeQuality.NTP, 50, BOOT_ID, 81_000_000)
KEY = AesKey(bytes(range(16)))


def device(number: int = 1, **changes: object) -> Device:
    return replace(Device(DevEui(number.to_bytes(8, "big")), f"device {number}", codec="a/b"), **changes)


def session(number: int = 1, *, dev_addr: int | None = None, **changes: object) -> Session:
    address = DevAddr(number if dev_addr is None else dev_addr)
    return replace(
        Session(DevEui(number.to_bytes(8, "big")), address, MacVersion.V1_0_3, KEY, KEY, KEY, KEY), **changes
    )


_phys = itertools.count()


def reading(f_cnt: int = 1, *, number: int = 1, **changes: object) -> Reading:
    phy = b"\x40" + number.to_bytes(4, "little") + b"\x00" + f_cnt.to_bytes(4, "little")
    phy += next(_phys).to_bytes(4, "big")
    plain = Reading(
        frame_id="",
        phy=phy,
        heard=STAMP,
        dev_eui=DevEui(number.to_bytes(8, "big")),
        dev_addr=DevAddr(number),
        name="PAV Antigone 12",
        tags={"kind": "glass"},
        f_cnt=f_cnt,
        f_port=2,
        confirmed=False,
        adr=True,
        payload=bytes.fromhex("10000384"),
        gap_before=0,
        decoded=Decoded("a/b@1", {"distance": 900}, (Measurement("fill_level", 70.0, "%"),)),
        frequency_hz=868_100_000,
        modulation=Lora(7, 125_000),
        rssi_dbm=-97.0,
        snr_db=5.2,
        channel=2,
        rf_chain=0,
    )
    from gateway.model import frame_id

    return replace(plain, frame_id=frame_id(phy), **changes)
