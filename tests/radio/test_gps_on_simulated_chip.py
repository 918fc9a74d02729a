"""The whole way: an SX1302 and a GPS receiver, each on a pseudo-terminal, and a real libloragw; frames have GPS time.

LIBLORAGW names a libloragw.so, built by whoever runs this from Lora-net/sx1302_hal or its fork brocaar/sx1302_hal.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import pytest
from gps.served_receiver import Served
from simulator.served_site import Running

from gateway.gps.receiver import GpsState
from gateway.gps.watch import Gps, GpsSetting
from gateway.model import Stamp, TimeQuality
from gateway.radio.channels import plan_of
from gateway.radio.chip_radio import ChipRadio, ChipSetting
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868

LIBRARY = os.environ.get("LIBLORAGW", "")

if not LIBRARY:
    pytest.skip("needs a libloragw.so: LIBLORAGW=/path/to/libloragw.so", allow_module_level=True)

pytest.importorskip("serial", reason="pip install pyserial")

pytestmark = pytest.mark.slow

START_UTC_US = 1_795_420_800_000_000  # of `Running`: 2026-11-23T08:00:00Z
PPM = 11


def now():
    return Stamp(0, TimeQuality.UNSYNCED, None, "b" * 32, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000)


@pytest.fixture
def site():
    with (
        tempfile.TemporaryDirectory(prefix="chip") as short,  # the library copies no more than 49 bytes of a path
        Running(Path(short) / "tty", gps=True, crystal_ppm=PPM).serving() as served,
    ):
        yield served


@pytest.fixture
def receiver(site, tmp_path):
    """Its seconds begin with the pulses of the chip."""
    with Served(tmp_path / "gps", lambda: START_UTC_US + site.server._clock_us()).serving() as served:
        yield served


async def test_frames_carry_gps_time_to_the_microsecond(site, receiver):
    told = {"library": LIBRARY, "board": "corecell-usb-868", "usb": str(site.port.path), "region": "EU868"}
    setting = ChipSetting(
        "libloragw", "gateway.radio.libloragw:open_chip", plan_of(EU868), lambda: told, realtime=False
    )
    times = []
    gps = Gps(GpsSetting(str(receiver.port.path), is_ublox=True), now, lambda *told: times.append(told) is None)
    async with ChipRadio(setting, Transmitters(EU868), stamp=now) as radio:
        radio.follow(gps.moment)
        gps.watch(radio.pulse, radio.pulse_words)
        listening = asyncio.create_task(gps.run())
        try:
            async with asyncio.timeout(20):
                while radio.pulse() is None or len(times) < 15:
                    await asyncio.sleep(0.1)
            site.say("uplink 40f17dbe4900020001954378762b11ff0d 868100000 7")
            async with asyncio.timeout(5):
                async for frame in radio.frames():
                    if frame.phy.hex().startswith("40f17dbe49"):
                        break
            heard_us = site.site.board.chip.counter.us(frame.counter_us * 32)
            evidence = gps.verdict()
        finally:
            listening.cancel()
            await asyncio.wait([listening])
    true_us = START_UTC_US - 315_964_800_000_000 + 18_000_000 + heard_us
    assert abs(frame.gps_time_us - true_us) <= 2
    assert evidence.state is GpsState.FIX
    assert f"its crystal is +{PPM}" in evidence.evidence
    utc_us, uncertainty_ms, monotonic_us = times[-1]
    now_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
    off_us = utc_us - (receiver.utc_us() - (now_us - monotonic_us))
    assert abs(off_us) <= uncertainty_ms * 1_000 <= 20_000
