"""The radio process with a real libloragw on the simulated board: what was heard is delivered, whatever breaks.

LIBLORAGW names a libloragw.so, built by whoever runs this from Lora-net/sx1302_hal or its fork brocaar/sx1302_hal.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path

import pytest
from simulator.served_site import Running

from gateway.model import AtCounter, DownlinkRequest, Lora, Stamp, TimeQuality, TxResult
from gateway.radio.channels import plan_of
from gateway.radio.transmitters import Transmitters
from gateway.regions.eu868 import EU868

LIBRARY = os.environ.get("LIBLORAGW", "")

if not LIBRARY:
    pytest.skip("needs a libloragw.so: LIBLORAGW=/path/to/libloragw.so", allow_module_level=True)

chip_radio = pytest.importorskip("gateway.radio.chip_radio", reason="the radio process is not there yet")

pytestmark = pytest.mark.slow

QUIET = """
[city]
name = "Nobody"
seed = 1
[gateway]
latitude = 43.6
longitude = 3.9
[places]
"Far" = [43.9, 3.9]
[meters]
count = 1
interval = "29d"
name = "#"
places = ["Far"]
"""


def now() -> Stamp:
    return Stamp(time.time_ns() // 1_000, TimeQuality.NTP, 10, "b" * 32, time.monotonic_ns() // 1_000)


class Roof:
    """The radio on the simulated board, and somebody beside it who sends."""

    def __init__(self, site: Running) -> None:
        self.site = site
        self.frames, self.outcomes = [], []
        self._sent = 0
        setting = chip_radio.ChipSetting(
            type="libloragw",
            driver="gateway.radio.libloragw:open_chip",
            plan=plan_of(EU868),
            options=lambda: {
                "library": LIBRARY, "board": "corecell-usb-868", "usb": str(site.port.path), "region": "EU868",
            },
            realtime=False,
        )  # fmt: skip
        self.radio = chip_radio.ChipRadio(setting, Transmitters(EU868), stamp=now)

    async def __aenter__(self):
        await self.radio.__aenter__()
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._note())]
        return self

    async def __aexit__(self, *_):
        await self.radio.__aexit__(None, None, None)
        await asyncio.wait(self._tasks)

    async def _hear(self):
        async for frame in self.radio.frames():
            self.frames.append(frame)

    async def _note(self):
        async for report in self.radio.outcomes():
            self.outcomes.append(report)

    async def send_until(self, holds, within_s: float = 70) -> None:
        """A frame every 200 ms until this is so."""
        until = time.monotonic() + within_s
        while not holds():
            assert time.monotonic() < until, self.radio.health().evidence
            self._sent += 1
            self.site.say(f"uplink 40{self._sent:08x} 868100000 7")
            await asyncio.sleep(0.2)

    def stored(self) -> int:
        return sum(facts["fate"] == "stored" for facts in self.site.happened("heard"))

    def lost(self) -> int:
        return sum(facts["frames"] for facts in self.site.happened("lost"))


@pytest.fixture
def site(tmp_path):
    (tmp_path / "quiet.toml").write_text(QUIET)
    with (
        tempfile.TemporaryDirectory(prefix="chip") as short,  # the library copies no more than 49 bytes of a path
        Running(Path(short) / "tty", scenario=tmp_path / "quiet.toml").serving() as served,
    ):
        yield served


async def test_uplinks_come_down_and_a_downlink_starts_on_its_microsecond(site):
    async with Roof(site) as roof:
        await roof.send_until(lambda: len(roof.frames) >= 5)
        at_us = (roof.frames[-1].counter_us + 1_000_000) % (1 << 32)
        request = DownlinkRequest("d", b"\x60abcdefgh", "chip", AtCounter(at_us), 869_525_000, Lora(9, 125_000), 14.0)
        assert roof.radio.submit(request).result is TxResult.ACCEPTED
        await asyncio.sleep(2)
        assert [facts["start_count_us"] % (1 << 27) for facts in site.happened("sent")] == [at_us % (1 << 27)]
        assert [report.result for report in roof.outcomes] == [TxResult.SENT]


@pytest.mark.parametrize(
    "fault",
    ["stuck-low", "stuck-high", "unplug", "silent-bridge", "agc-hang", "deaf", "brown-out", "counter-jump",
     "counter-stop", "poison", "false-crc", "fifo-corruption", "half-packet"],
)  # fmt: skip
async def test_a_fault_costs_what_it_destroys_and_nothing_else(site, fault):
    async with Roof(site) as roof:
        await roof.send_until(lambda: len(roof.frames) >= 3)
        site.say(f"fault {fault}")
        before = roof.radio.health()
        if fault not in {"poison", "false-crc", "fifo-corruption", "half-packet"}:
            await roof.send_until(lambda: roof.radio.health().state != before.state, within_s=15)
            assert roof.radio.health().evidence != before.evidence
        site.say("fault clear")
        heard = len(roof.frames)
        await roof.send_until(lambda: len(roof.frames) >= heard + 5 and roof.radio.health().state == "hearing")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_settled(roof), 3)
        assert len(roof.frames) == roof.stored() - roof.lost()


async def _settled(roof: Roof) -> None:
    while len(roof.frames) != roof.stored() - roof.lost():
        await asyncio.sleep(0.05)
