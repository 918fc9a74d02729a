"""A life of a store, step by step: what it is asked, and what it promises, is told as it happens.

A fact that was told is a promise: whoever comes after a crash may hold the store to it (kept_promises.py).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from readings import STAMP, device, reading, session

from gateway.errors import StorageError
from gateway.model import Crc, DevAddr, GatewayEui, Lora, RadioFrame, Reading, Refusal, Refused
from gateway.store import writer
from gateway.store.database import open_database
from gateway.store.devices import DeviceRegistry
from gateway.store.erasure_file import Intent, finish
from gateway.store.part import part_files
from gateway.store.retention import Limits
from gateway.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.store.cursors import Progress
    from gateway.store.store import Batch

    Tell = Callable[..., None]
    Step = Sequence[Any]  # the name of a method of Life and what it takes

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
DAY_S = 86_400
REFUSALS = (sqlite3.Error, StorageError, OSError)
TRIES = 20
NOBODY = 65_534
NEEDED = {"subscribe", "enter"}  # steps that whoever is patient repeats until they are done
SMALL_PART = 1_500  # bytes: a handful of records, so that parts end all the time


def opened(folder: Path) -> Store:
    """The store of a folder: it commits at once, and what all destinations have may leave."""
    limits = Limits(64 << 20, max_age_s=30 * DAY_S, keep_delivered_s=DAY_S)
    return Store.open(folder, EUI, commit_interval_s=0.0, limits=limits)


def enter(tell: Tell, folder: Path, numbers: Sequence[int]) -> None:
    """Somebody enters devices with sessions, while a gateway runs or before the first start."""
    with DeviceRegistry.open(folder) as registry:
        there = {row.device.dev_eui for row in registry.list()}
        for number in numbers:
            if device(number).dev_eui in there:
                continue  # the last try got so far
            registry.add(device(number), session=session(number))
            tell("device", number)


def live(tell: Tell, folder: Path, steps: Sequence[Step], *, patient: bool = False) -> None:
    """Open the store, do these steps, close it; "restart" closes and opens.

    Who is patient goes on when a step is refused because of the disk, as the daemon does, and tries a start again.
    """
    if patient:
        writer.RETRY_S = 0.02  # time is moved on; a second is a long time for a test that fails at each call
    days: list[list[Step]] = [[]]
    for step in steps:
        if step[0] == "restart":
            days.append([])
        else:
            days[-1].append(step)
    for day in days:
        for _ in range(TRIES if patient else 1):
            try:
                asyncio.run(_live(tell, folder, day, patient=patient))
                break
            except REFUSALS as error:
                tell("troubled", "start or stop", repr(error))
                if not patient:
                    raise


def live_as_nobody(tell: Tell, folder: Path, steps: Sequence[Step]) -> None:
    """The same without root's power to write what it may not."""
    become_nobody(folder)
    live(tell, folder, steps)


def become_nobody(folder: Path) -> None:
    """From now on this process is a user to whom the folder belongs and nothing else; no change where it is no root."""
    if os.geteuid():
        return
    for path in [folder.parent, folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


async def _live(tell: Tell, folder: Path, day: list[Step], *, patient: bool) -> None:
    async with opened(folder) as store:
        tell("opened", store.epoch, store.head)
        life, tries = Life(tell, folder, store), TRIES
        while day:
            name, *words = day[0]
            try:
                await getattr(life, name)(*words)
            except REFUSALS as error:
                tell("troubled", name, repr(error))
                if not patient:
                    raise
                if name in NEEDED and tries:
                    tries -= 1
                    continue
                if not tries:
                    tell("breach", f"{name} is refused for ever: {error!r}")
            day.pop(0)


def migrate(tell: Tell, file: Path, kind: str) -> None:
    """Open a file that may be of an older version."""
    open_database(file, kind).close()
    tell("migrated")


class Life:
    """The steps."""

    def __init__(self, tell: Tell, folder: Path, store: Store) -> None:
        self._tell = tell
        self._folder = folder
        self._store = store

    async def keep(self, count: int, number: int = 1) -> None:
        """Records of a device, kept together."""
        asked = []
        for _ in range(count):
            known, current = self._store.candidates(DevAddr(number))[0]
            heard = reading((current.f_cnt_up or 0) + 1, number=number)
            self._tell("keeping", number, heard.f_cnt)
            after = replace(current, f_cnt_up=heard.f_cnt, last_mic=heard.phy[-4:])
            self._store.accept(known, after)
            asked.append((self._store.keep_uplink(heard, after), heard))
        for future, heard in asked:
            self._tell("durable", await future, *identity(heard))

    async def foreign(self, count: int) -> None:
        """Frames nobody can open; durable with the next record."""
        for number in range(count):
            phy = b"\x40" + number.to_bytes(11, "big")
            frame = RadioFrame(phy, STAMP, 868_100_000, Lora(7, 125_000), -90.0, 5.0, 0, 0, number, Crc.OK, "r")
            self._store.keep_unopened(frame, Refused(Refusal.UNKNOWN_DEVICE, "", DevAddr(7)))
        await self.keep(1)
        self._tell("filtered", count)

    async def subscribe(self, sink: str) -> None:
        """A destination begins."""
        self._tell("subscribed", sink, self._store.subscribe(sink).begin)

    async def settle(self, sink: str, count: int) -> None:
        """The oldest that wait are acknowledged."""
        positions = self._waiting(sink)[:count]
        self._tell("settling", sink, positions)
        await self._store.settle(sink, lambda progress: progress.acknowledge(positions))
        self._tell("settled", sink, positions)

    async def deliver(self, sink: str) -> None:
        """Everything that waits is read from the disk and acknowledged; what the store calls lost is given up."""
        self._store._tail.clear()
        while (after := self._store.progress(sink).prefix) < self._store.head:
            batch = await self._store.read(after, 4)
            positions = [record.position for record in batch.records]
            for record in batch.records:
                self._tell("read", record.position, *identity(record.reading))
            self._tell("settling", sink, positions)
            self._tell("called lost", batch.lost)
            await self._store.settle(sink, partial(_taken, batch=batch, after=after))
            self._tell("settled", sink, positions)

    async def refuse(self, sink: str) -> None:
        """The newest that waits is refused for good."""
        position = self._waiting(sink)[-1]
        self._tell("settling", sink, [position])
        await self._store.settle(sink, lambda progress: progress.give_up([position]), [(position, "too large")])
        self._tell("settled", sink, [position])
        self._tell("refused", sink, position)

    def _waiting(self, sink: str) -> list[int]:
        progress = self._store.progress(sink)
        first = max(progress.prefix, self._store.head - 1000) + 1  # a part lost leaves a wide gap of positions
        return [position for position in range(first, self._store.head + 1) if not progress.is_settled(position)]

    async def small_parts(self) -> None:
        """From now on a part ends after a few records."""
        self._store._log.part_bytes = SMALL_PART

    async def careless(self) -> None:
        """From now on the log does not sync: what a store may not do."""
        self._store._log._db.execute("PRAGMA synchronous = OFF")

    async def retain(self) -> None:
        """Two days later: the parts that every destination has leave the store."""
        settled = min(progress.prefix for progress in self._store._progress.values())
        parts = [part.first_position - 1 for part in part_files(self._folder / "log")]
        self._tell("leaving", max(through for through in parts if through <= settled))
        await self._store._retain(STAMP.utc_us + 2 * DAY_S * 1_000_000)

    async def next_part(self) -> None:
        """The part that is written ends here; the next one begins with a record of the first device."""
        usual, self._store._log.part_bytes = self._store._log.part_bytes, 1
        await self.keep(1)
        self._store._log.part_bytes = usual

    async def copy_to(self, place: str) -> None:
        """A copy of the files as they are now: what a kill at this moment leaves."""
        shutil.copytree(self._folder, place)

    async def die(self) -> None:
        """The process is killed here."""
        os.kill(os.getpid(), signal.SIGKILL)

    async def checkpoint(self) -> None:
        """Write the counters back into the registry."""
        await self._store._save_checkpoint()

    async def forget(self, number: int) -> None:
        """A device is erased, as `gateway.forgetting` does it with a store."""
        dev_eui = device(number).dev_eui
        self._tell("forgetting", number)
        intent = Intent.of(dev_eui, await self._store.addresses(dev_eui))
        await self._store.disown(intent)
        self._tell("disowned", number)
        await go_on_forgetting(self._store, self._folder, intent)

    async def enter(self, *numbers: int) -> None:
        """Somebody enters devices while the gateway runs."""
        enter(self._tell, self._folder, numbers)
        await self._store.follow_registry()


async def go_on_forgetting(store: Store, folder: Path, intent: Intent) -> None:
    """The rest of an erasure."""
    await store.erase(intent, lambda _: None, lambda: False)
    finish(folder, {"reference": intent.reference})


def _taken(progress: Progress, *, batch: Batch, after: int) -> Progress:
    progress = progress.acknowledge([record.position for record in batch.records])
    for first, last in batch.lost:
        progress = progress.give_up_range(first, last)
    for first, last in batch.erased:
        progress = progress.erase_range(first, last)
    return progress.skip(after + 1, max(batch.through, after + 1))


def identity(heard: Reading) -> tuple[int, int, str]:
    """What a record is recognised by: device, counter, bytes."""
    return int(heard.dev_addr), heard.f_cnt, heard.phy.hex()
