"""Erasing one device out of a store, and handing over all that is kept of it."""

from __future__ import annotations

import asyncio
import io
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import heading, show
from gateway.console.subject import Subject
from gateway.model import (
    Decoded,
    DevAddr,
    DevEui,
    GatewayEui,
    Lora,
    Measurement,
    Reading,
    Stamp,
    TimeQuality,
    frame_id,
)
from gateway.settings.models import Settings, StoreSettings
from gateway.store.erasure_file import Intent
from gateway.store.queries import LogFiles
from gateway.store.retention import Limits
from gateway.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
DEVICES = 500
_BOOT = "5ad7d1c56a554b7c9a3b0d5f1f0c9d11"


def run(records: int) -> None:
    """Keep so many readings of five hundred devices; take one device out of them."""
    heading("A device is erased")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_erased(Path(folder), records))


async def _erased(folder: Path, records: int) -> None:
    limits = Limits(8 << 30, max_age_s=1e9, keep_delivered_s=1e9)
    who = DevEui((1).to_bytes(8, "big"))
    async with Store.open(folder, EUI, commit_interval_s=1.0, limits=limits) as store:
        kept = [store.keep_uplink(_reading(number), None) for number in range(records)]
        await asyncio.gather(*kept)
        _export(folder, who)
        began, longest, intent = time.perf_counter(), 0.0, Intent.of(who, [1])
        await store.disown(intent)
        erasing = asyncio.create_task(store.erase(intent, _told, lambda: False))
        while not erasing.done():
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - before - 0.01)
        erased, _ = await erasing
        took_s = time.perf_counter() - began
    show(f"erasing {erased} of {records:,} records", f"{took_s:.1f} s")
    show("a record of the log", f"{took_s / records * 1e6:.0f} µs")
    show("the event loop was held at most", f"{longest * 1000:.0f} ms")


def _export(folder: Path, who: DevEui) -> None:
    settings = Settings(store=StoreSettings(path=folder))
    began = time.perf_counter()
    with LogFiles(folder, EUI) as files:
        Subject(settings, files, who, with_keys=False).write(io.StringIO())
    took_s = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    show("handing over what is kept of it", f"{took_s:.1f} s")
    show("memory of this process at most", f"{peak} MB")


def _told(_: Mapping[str, object]) -> None:
    """Nobody listens."""


def _reading(number: int) -> Reading:
    device, f_cnt = number % DEVICES, number // DEVICES
    phy = b"\x40" + device.to_bytes(4, "little") + b"\x00" + f_cnt.to_bytes(2, "little") + number.to_bytes(8, "big")
    stamp = Stamp(1_795_428_902_000_000 + number * 1_000, TimeQuality.NTP, 50, _BOOT, number * 1_000)
    plain = Reading(
        frame_id="", phy=phy, heard=stamp, dev_eui=DevEui(device.to_bytes(8, "big")), dev_addr=DevAddr(device),
        name=f"container {device}", tags={"kind": "glass"}, f_cnt=f_cnt, f_port=2, confirmed=False, adr=True,
        payload=b"\x11\x01\xf4", gap_before=0,
        decoded=Decoded("heyliot/heywaste@1", {"fill_level": 50.0}, (Measurement("fill_level", 50.0, "%"),)),
        frequency_hz=868_100_000, modulation=Lora(7, 125_000), rssi_dbm=-97.0, snr_db=5.2, channel=2, rf_chain=0,
    )  # fmt: skip
    return replace(plain, frame_id=frame_id(phy))
