"""Requests of destinations, and what they are told became of them: in order, and of the right device."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.errors import StorageError, UsageError
from gateway.model import (
    DevEui,
    Device,
    DownlinkMoved,
    DownlinkRefused,
    QueuedDownlink,
    Removed,
    Stamp,
    TimeQuality,
)
from gateway.serving.mailbox import MOST_LETTERS, Mailbox

NOW = Stamp(1, TimeQuality.NTP, 1, "boot", 1)
VALVE, TWIN, OTHER_TWIN = (
    Device(DevEui(bytes([number] * 8)), name) for number, name in ((1, "valve"), (2, "twin"), (3, "twin"))
)
DEVICES = (VALVE, TWIN, OTHER_TWIN)


@dataclass
class Registry:
    """Knows three devices, of which two have the same name; may be out of order."""

    broken: bool = False

    async def device(self, dev_eui):
        await asyncio.sleep(0)
        if self.broken:
            raise StorageError("the disk is gone")
        return next((device for device in DEVICES if device.dev_eui == dev_eui), None)

    async def devices_named(self, name):
        return [device.dev_eui for device in DEVICES if device.name == name]


@dataclass
class Platform:
    """A destination that notes what it is told."""

    name: str
    told: list = field(default_factory=list)

    def tell(self, topic, facts, happening=None):
        self.told.append((topic, facts, happening))


@dataclass
class Desk:
    """Takes every request but those that are to be refused."""

    asked: list = field(default_factory=list)

    async def ask(self, dev_eui, asked, origin):
        if asked.payload == b"\xff":
            raise UsageError("the codec cannot encode this")
        self.asked.append((dev_eui, asked.ref, origin))


def entry(ref: str = "a", device: Device = VALVE) -> QueuedDownlink:
    return QueuedDownlink(ref, device.dev_eui, 1, b"\x01", confirmed=False, asked=NOW, origin="city")


@dataclass
class Office:
    """A mailbox at work, with two destinations."""

    registry: Registry = field(default_factory=Registry)
    city: Platform = field(default_factory=lambda: Platform("city"))
    works: Platform = field(default_factory=lambda: Platform("works"))
    desk: Desk = field(default_factory=Desk)

    def __post_init__(self):
        self.mailbox = Mailbox(self.registry, lambda: NOW)
        self.mailbox.open(self.city, self.works)

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(duty) for duty in (self.mailbox.run(self.desk), self.mailbox.report())]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self):
        for _ in range(50):
            await asyncio.sleep(0)


REQUEST, REFUSED = b'{"f_port": 1, "payload": "01", "ref": "a"}', b'{"f_port": 1, "payload": "ff", "ref": "b"}'


async def test_a_device_may_be_asked_for_by_its_name():
    async with Office() as office:
        office.mailbox.take("city", VALVE.dev_eui, REQUEST)
        office.mailbox.take("city", "valve", REQUEST)
        await office.settled()
    assert office.desk.asked == [(VALVE.dev_eui, "a", "city")] * 2


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", "no device is named 'nobody'"), ("twin", "2 devices are named")]
)
async def test_a_name_that_nobody_or_several_have_is_nobody_s_downlink(name, words, caplog):
    async with Office() as office:
        office.mailbox.take("city", name, REQUEST)
        await office.settled()
    assert (office.desk.asked, office.mailbox.refused, office.city.told) == ([], 1, [])
    assert words in caplog.text


async def test_everybody_hears_of_results_and_the_asking_one_of_refusals_in_their_order():
    async with Office() as office:
        office.mailbox.result(entry())
        office.mailbox.take("city", VALVE.dev_eui, REFUSED)
        await office.settled()
        office.mailbox.result(entry("c"))
        await office.settled()
    assert [facts["ref"] for _, facts, _ in office.city.told] == ["a", "b", "c"]
    assert [facts["ref"] for _, facts, _ in office.works.told] == ["a", "c"]
    topic, facts, happening = office.city.told[1]
    assert (topic, facts["state"]) == (f"{VALVE.dev_eui}/down/result", "failed")
    assert happening == DownlinkRefused(VALVE, "b", "the codec cannot encode this", NOW)
    assert office.city.told[0][2] == DownlinkMoved(VALVE, entry(), NOW)


@pytest.mark.parametrize("office", [Office(Registry(broken=True)), Office()], ids=["no disk", "no device"])
async def test_of_a_device_that_cannot_be_looked_up_the_facts_are_told_all_the_same(office):
    unknown = Device(DevEui(bytes(8)), "")
    async with office:
        office.mailbox.result(entry(device=VALVE if office.registry.broken else unknown))
        await office.settled()
    ((_, facts, happening),) = office.works.told
    assert (facts["ref"], happening) == ("a", None)


async def test_a_flood_of_requests_fills_no_memory():
    office = Office()
    for _ in range(MOST_LETTERS + 3):
        office.mailbox.take("city", VALVE.dev_eui, REQUEST)
    assert office.mailbox.refused == 3


async def test_that_a_device_is_gone_has_no_words_of_ours():
    office = Office()
    office.mailbox.removed(VALVE.dev_eui)
    assert office.city.told == office.works.told == [("", None, Removed(VALVE.dev_eui))]
