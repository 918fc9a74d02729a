"""A server that takes history: nothing of a device goes before what it is owed, nothing is left out or late."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import DiskTrouble
from gateway.lines.dialing import Unreachable
from gateway.lns import backlog
from gateway.lns.backlog import Kept, Pace, WithHistory
from gateway.lns.filters import Filter, NumberRange
from gateway.model import Crc, Lora, RadioFrame, Stamp, TimeQuality

FAST = Pace(per_s=1e6, delay_s=0, settled_s=0.0, apart_s=0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(backlog, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(backlog, "AGAIN_S", 0.001)


def data(dev_addr: int, f_cnt: int) -> bytes:
    """An unconfirmed uplink: LoRaWAN 1.0.4, section 4."""
    return b"\x40" + struct.pack("<IBHB", dev_addr, 0, f_cnt, 1) + b"payload" + bytes(4)


JOIN = bytes(19) + struct.pack("<I", 7)  # a join request: 23 bytes, MHDR 0


@dataclass
class Peer:
    """A network server that takes history, when it is there."""

    name: str = "city"
    is_connected: bool = True
    live: list[bytes] = field(default_factory=list)
    history: list[bytes] = field(default_factory=list)
    fails_at: set[int] = field(default_factory=set)  # of all attempts to replay
    attempts: int = 0
    arrived: list[bytes] = field(default_factory=list)  # both together

    def tell(self, settled) -> None:
        self.settled = settled

    def forward(self, frame: RadioFrame) -> None:
        if self.is_connected:
            self.live.append(frame.phy)
            self.arrived.append(frame.phy)
        self.settled(frame, self.is_connected)

    async def replay(self, frame: RadioFrame) -> None:
        await asyncio.sleep(0)
        self.attempts += 1
        if not self.is_connected or self.attempts in self.fails_at:
            raise Unreachable("gone")
        self.history.append(frame.phy)
        self.arrived.append(frame.phy)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def facts(self):
        return {"name": self.name}


@dataclass
class Shelf:
    """What is kept, and how far the server has it."""

    kept: list[RadioFrame] = field(default_factory=list)
    at: tuple[int, int, int] = (0, 0, 0)
    refuses: bool = False
    complete: bool = True

    async def is_complete(self):
        return self.complete

    async def place(self):
        return self.at

    async def frames(self, after):
        for number in range(after[0], len(self.kept)):
            await asyncio.sleep(0)
            yield Kept((number + 1, 0, 0), self.kept[number], own=False)

    async def settle(self, place):
        if self.refuses:
            raise DiskTrouble("no space")
        self.at = place


class Roof:
    """Hears, keeps and forwards, as the line does; its clock goes a second with each frame."""

    def __init__(self, peer: Peer, shelf: Shelf, wishes: Filter = Filter(), pace: Pace = FAST) -> None:  # noqa: B008
        self.us = 1_000_000
        self.boot_id = "boot"
        self.quality = TimeQuality.NTP
        self.shelf = shelf
        self.peer = peer
        self.server = WithHistory(peer, wishes, shelf, self.now, pace)

    def now(self) -> Stamp:
        return Stamp(1_795_000_000_000_000 + self.us, self.quality, 5, self.boot_id, self.us)

    def hear(self, phy: bytes, *, kept: bool = True) -> RadioFrame:
        self.us += 1_000_000
        frame = RadioFrame(phy, self.now(), 868_100_000, Lora(7, 125_000), -97, 5.2, 0, 0, 1000, Crc.OK, "roof")
        self.server.forward(frame)
        if kept:
            self.shelf.kept.append(frame)
        return frame

    @asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.server.run())
        try:
            await self.until(lambda: self.server._counted)
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def all_is_well(self) -> None:
        await self.until(lambda: not self.server.facts()["history"]["owed_devices"])

    async def until(self, condition) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


async def test_what_waits_for_the_disk_for_long_is_waited_for():
    """A card that stands still for a minute: the device's newer frames wait, and go out behind the older ones."""
    roof = Roof(Peer(), Shelf())
    async with roof.running():
        roof.peer.is_connected = False
        roof.shelf.complete = False
        waiting = [roof.hear(data(1, f_cnt), kept=False) for f_cnt in (1, 2)]
        roof.us += 60_000_000
        roof.peer.is_connected = True
        await asyncio.sleep(0.05)  # the store is looked through many times
        waiting.append(roof.hear(data(1, 3), kept=False))
        assert roof.peer.arrived == []
        roof.shelf.kept += waiting
        roof.shelf.complete = True
        await roof.all_is_well()
    assert roof.peer.arrived == [data(1, f_cnt) for f_cnt in (1, 2, 3)]


def counters(phys: list[bytes]) -> list[int]:
    return [struct.unpack_from("<H", phy, 6)[0] for phy in phys]


@pytest.mark.parametrize("is_connected", [True, False])
async def test_the_last_copy_of_a_frame_does_not_come_after_the_next_frame(is_connected, monkeypatch):
    """A confirmed uplink that is sent once more, while the first copy is history and the second is fresh."""
    monkeypatch.setattr(backlog, "CALM_S", 0.001)
    roof = Roof(Peer(is_connected=is_connected), Shelf(), pace=replace(FAST, settled_s=15))
    async with roof.running():
        roof.hear(data(1, 87))
        roof.us += 11_000_000
        roof.hear(data(1, 87))
        roof.us += 5_000_000
        roof.peer.is_connected = True
        await asyncio.sleep(0.05)  # the store is looked through many times
        roof.hear(data(1, 88))
        roof.us += 20_000_000
        await roof.all_is_well()
        await asyncio.sleep(0.05)
    found = counters(roof.peer.arrived)
    assert set(found) == {87, 88}
    assert found == sorted(found)


async def test_after_a_restart_too_the_next_frame_waits_for_the_last_copy(monkeypatch):
    monkeypatch.setattr(backlog, "AT_ONCE", 1)
    peer, shelf = Peer(is_connected=False), Shelf()
    before = Roof(peer, shelf)
    before.hear(data(1, 87))
    for f_cnt in range(20):
        before.hear(data(2, f_cnt))
    before.hear(data(1, 87))
    roof = Roof(peer, shelf)
    roof.us, roof.boot_id = 1_000_000, "next"
    async with roof.running():
        peer.is_connected = True
        while data(1, 87) not in peer.history:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        roof.hear(data(1, 88))
        await roof.all_is_well()
    found = counters([phy for phy in peer.arrived if phy[1] == 1])
    assert set(found) == {87, 88}
    assert found == sorted(found)


async def test_what_was_missed_goes_first_and_then_the_device_is_live_again():
    roof = Roof(Peer(), Shelf())
    async with roof.running():
        roof.hear(data(1, 1))
        roof.peer.is_connected = False
        roof.hear(data(1, 2))
        roof.hear(data(2, 1))
        roof.hear(JOIN)
        roof.peer.is_connected = True
        roof.hear(data(1, 3))  # behind its older one
        roof.hear(data(3, 1))  # owed nothing: live
        await roof.until(lambda: len(roof.peer.history) == 3)
        await roof.until(lambda: not roof.server.facts()["history"]["owed_devices"])
        roof.hear(data(1, 4))
    assert roof.peer.live == [data(1, 1), data(3, 1), data(1, 4)]
    assert roof.peer.history == [data(1, 2), data(2, 1), data(1, 3)]
    assert roof.server.facts()["history"] == {"owed_devices": 0, "replayed": 3, "held_back": 1, "skipped": {}}


async def test_a_restart_finds_what_is_owed_in_the_store():
    shelf = Shelf()
    before = Roof(Peer(is_connected=False), shelf)
    async with before.running():
        for f_cnt in range(5):
            before.hear(data(1, f_cnt))
    after = Roof(Peer(), shelf)
    after.us = before.us
    async with after.running():
        after.hear(data(1, 5))
        await after.until(lambda: len(after.peer.history) == 6)
    assert after.peer.history == [data(1, f_cnt) for f_cnt in range(6)]
    assert after.peer.live == []


async def test_what_is_not_in_the_store_holds_nobody_up_for_ever():
    roof = Roof(Peer(is_connected=False), Shelf())
    async with roof.running():
        roof.hear(data(1, 1), kept=False)
        roof.peer.is_connected = True
        roof.us += 60_000_000
        await roof.until(lambda: not roof.server.facts()["history"]["owed_devices"])
        roof.hear(data(1, 2))
    assert roof.peer.live == [data(1, 2)]
    assert roof.server.facts()["history"]["skipped"] == {"not_kept": 1}


async def test_only_what_is_for_the_server_is_its_history():
    roof = Roof(Peer(is_connected=False), Shelf(), Filter(dev_addrs=(NumberRange(2, 2),)))
    async with roof.running():
        roof.shelf.kept.append(replace(roof_frame(data(1, 1)), crc=Crc.OK))
        roof.shelf.kept.append(roof_frame(b"no LoRaWAN"))
        roof.hear(data(2, 1))
        roof.peer.is_connected = True
        await roof.until(lambda: roof.peer.history)
        await roof.until(lambda: roof.shelf.at[0] == 3)
    assert roof.peer.history == [data(2, 1)]


async def test_nothing_goes_while_nobody_knows_when_it_was_heard():
    roof = Roof(Peer(is_connected=False), Shelf())
    roof.quality = TimeQuality.UNSYNCED
    async with roof.running():
        roof.hear(data(1, 1))
        roof.hear(data(2, 1))
        roof.peer.is_connected = True
        await asyncio.sleep(0.05)
        assert roof.peer.history == []
        roof.quality = TimeQuality.NTP
        roof.shelf.kept[1] = replace(roof.shelf.kept[1], heard=roof.now())  # what a store back-dates
        await roof.until(lambda: roof.peer.history)
    assert roof.peer.history == [data(2, 1)]
    assert roof.server.facts()["history"]["skipped"]["undated"] == 1


async def test_a_disk_that_refuses_costs_a_repetition_and_no_frame():
    roof = Roof(Peer(is_connected=False), Shelf(refuses=True))
    async with roof.running():
        roof.hear(data(1, 1))
        roof.peer.is_connected = True
        await roof.until(lambda: roof.peer.history)
    assert set(roof.peer.history) == {data(1, 1)}


def roof_frame(phy: bytes) -> RadioFrame:
    stamp = Stamp(1_795_000_000_000_000, TimeQuality.NTP, 5, "before", 0)
    return RadioFrame(phy, stamp, 868_100_000, Lora(7, 125_000), -97, 5.2, 0, 0, 1000, Crc.OK, "roof")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hear"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["away", "back", "breathe", "restart"]), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=100)
@given(STEPS, st.sets(st.integers(1, 20), max_size=5))
def test_whatever_happens_each_device_arrives_whole_and_in_order(steps, fails_at):
    async def story() -> Peer:
        peer, shelf, counters = Peer(fails_at=fails_at), Shelf(), {1: 0, 2: 0, 3: 0}
        roof, left = Roof(peer, shelf), list(steps)
        while True:
            async with roof.running():
                while left:
                    what, device = left.pop(0)
                    match what:
                        case "hear":
                            counters[device] += 1
                            roof.hear(data(device, counters[device]))
                        case "away" | "back":
                            peer.is_connected = what == "back"
                        case "breathe":
                            await asyncio.sleep(0.002)
                        case "restart":
                            break
                else:
                    peer.is_connected = True
                    await roof.all_is_well()
                    return peer
            us = roof.us
            roof = Roof(peer, shelf)
            roof.us = us

    peer = asyncio.run(story())
    heard = {
        (device, number) for device in (1, 2, 3) for number in range(1, sum(s == ("hear", device) for s in steps) + 1)
    }
    got = [struct.unpack_from("<IBH", phy, 1) for phy in peer.arrived]
    firsts = list(dict.fromkeys((address, f_cnt) for address, _, f_cnt in got))
    assert set(firsts) == heard
    for device in (1, 2, 3):
        mine = [f_cnt for address, f_cnt in firsts if address == device]
        assert mine == sorted(mine)
