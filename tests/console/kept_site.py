"""A site whose gateway has kept something and does not run: readings, frames of nobody, a destination in trouble."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from readings import STAMP, device, reading, session

from gateway.lorawan.uplink import seal
from gateway.model import AesKey, Crc, GatewayEui, Lora, RadioFrame, Refusal, Refused, Session
from gateway.store.devices import DeviceRegistry
from gateway.store.retention import Limits
from gateway.store.store import Store

if TYPE_CHECKING:
    from cli_site import Site

    from gateway.model import DevAddr, Reading

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
SINKS = (
    '[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1"\n[sink.archive]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1"\n'
)
MINUTE_US = 60_000_000
LATE_KEY = AesKey(bytes(range(16, 32)))
LATE: Session = replace(
    session(9), f_nwk_s_int_key=LATE_KEY, s_nwk_s_int_key=LATE_KEY, nwk_s_enc_key=LATE_KEY, app_s_key=LATE_KEY
)


def minutes(number: int, *, of: int = 1, **changes: object) -> Reading:
    """A reading heard so many minutes after the first."""
    heard = replace(STAMP, utc_us=STAMP.utc_us + number * MINUTE_US, monotonic_us=STAMP.monotonic_us + number)
    return replace(reading(number, number=of), heard=heard, **changes)


def air(phy: bytes, number: int = 0) -> RadioFrame:
    heard = replace(STAMP, utc_us=STAMP.utc_us + number * MINUTE_US)
    return RadioFrame(phy, heard, 868_100_000, Lora(7, 125_000), -100.0, 5.0, 0, 0, 0, Crc.OK, "test")


def late_frame(f_cnt: int, number: int = 0, payload: bytes = b"\x00\x83") -> RadioFrame:
    """A frame of a device that nobody has added yet."""
    return air(seal(LATE, f_cnt=f_cnt, f_port=1, payload=payload), number)


def unknown(dev_addr: DevAddr, reason: Refusal = Refusal.UNKNOWN_DEVICE) -> Refused:
    return Refused(reason, "", dev_addr)


def opened(site: Site) -> Store:
    limits = Limits(64 << 20, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
    return Store.open(site.data, EUI, commit_interval_s=0, limits=limits)


def kept(
    site: Site,
    *readings: Reading,
    unopened: tuple[tuple[RadioFrame, Refused], ...] = (),
    acknowledged: int = 0,
    refused: tuple[tuple[int, str], ...] = (),
) -> None:
    """Fill the data folder; `city` has taken the first so many and refused these."""
    site.config.write_text(f'[gateway]\neui = "{EUI}"\n{SINKS}' + site.config.read_text())
    site.data.mkdir(exist_ok=True)
    with DeviceRegistry.open(site.data) as registry:
        for number in (1, 2):
            registry.add(device(number), session=session(number))

    async def fill() -> None:
        async with opened(site) as store:
            store.subscribe("city")
            store.subscribe("archive")
            for one in readings:
                await store.keep_uplink(one, session(1, session_id=1))
            for frame, why in unopened:
                store.keep_unopened(frame, why)
            await store.settle("city", lambda progress: progress.acknowledge(range(1, acknowledged + 1)))
            gone = [position for position, _ in refused]
            await store.settle("city", lambda progress: progress.give_up(gone), refused)

    asyncio.run(fill())
