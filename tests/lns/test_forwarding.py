"""Every frame reaches each network server that it is for, and no server's trouble another one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.lns.filters import Filter, NumberRange
from gateway.lns.server import Forwarding, Reception
from gateway.model import Crc, Lora, RadioFrame, Stamp, TimeQuality

# lora-packet 0.9.3, README.md, "Decoding packets".
PHY = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
FRAME = RadioFrame(
    PHY, Stamp(0, TimeQuality.NTP, 1, "boot", 0), 868_100_000, Lora(7, 125_000), -97, 5.2, 0, 0, 1000, Crc.OK, "roof"
)  # fmt: skip


class Listener:
    """A network server that writes down what it gets, or fails."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.name = name
        self.got: list[RadioFrame] = []
        self.broken = broken
        self.ran = 0

    def forward(self, frame: RadioFrame) -> None:
        if self.broken:
            raise RuntimeError("a mistake")
        self.got.append(frame)

    async def run(self) -> None:
        self.ran += 1
        if self.broken:
            raise RuntimeError("a mistake")
        await asyncio.Event().wait()

    def facts(self) -> dict[str, object]:
        return {"name": self.name, "state": "connected"}


def test_each_server_gets_what_is_for_it():
    everything, own, others = Listener("a"), Listener("b"), Listener("c")
    addresses = Filter(dev_addrs=(NumberRange(0, 1),))
    forwarding = Forwarding([(everything, Filter()), (own, Filter(own_devices=True)), (others, addresses)], Reception())
    forwarding.heard(FRAME, own=False)
    forwarding.heard(FRAME, own=True)
    assert (len(everything.got), len(own.got), len(others.got)) == (1, 2, 0)
    assert [facts["filtered"] for facts in forwarding.facts()] == [1, 0, 2]


@pytest.mark.parametrize("crc", [Crc.BAD, Crc.NONE])
def test_damaged_frames_are_counted_and_go_to_nobody(crc):
    server, reception = Listener("a"), Reception()
    forwarding = Forwarding([(server, Filter(own_devices=True))], reception)
    forwarding.heard(replace(FRAME, crc=crc, receiver="cellar"), own=False)
    forwarding.heard(FRAME, own=False)
    assert server.got == [FRAME]
    assert (reception.heard, reception.good, reception.receiver) == (2, 1, "roof")


def test_before_anything_is_heard_only_a_lone_receiver_can_answer():
    assert Reception().receiver is None
    assert Reception(lambda: "roof").receiver == "roof"


async def test_a_server_that_fails_takes_nothing_from_the_others(caplog):
    broken, sound = Listener("broken", broken=True), Listener("sound")
    forwarding = Forwarding([(broken, Filter()), (sound, Filter())], Reception())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(duty) for duty in forwarding.duties()]
        while not sound.ran:
            await asyncio.sleep(0)
        forwarding.heard(FRAME, own=False)
        for task in tasks:
            task.cancel()
    assert sound.got == [FRAME]
    assert forwarding.failures == {"broken": 2}
    assert "lns broken: failed" in caplog.text
