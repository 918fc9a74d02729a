"""A gateway that serves its devices, put together from the product's parts as the daemon does it, in virtual time."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack

from gateway.lorawan.network import Network
from gateway.model import Decoded, GatewayEui
from gateway.radio.duty_cycle import AirtimeLedger
from gateway.serving.plan import network_plan
from gateway.serving.side import NetworkSide
from gateway.store.airtime_file import AirtimeFile
from gateway.store.retention import Limits
from gateway.store.store import Store
from gateway.uplink import UplinkLine

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
LIMITS = Limits(1 << 30, 30 * 86_400, 7 * 86_400)


class PatientStore:
    """The store; no virtual time passes while its writer is at work."""

    def __init__(self, store, pending):
        self._store = store
        self._pending = pending

    def __getattr__(self, name):
        return getattr(self._store, name)

    def keep_uplink(self, reading, session, *, soon):
        kept = self._store.keep_uplink(reading, session, soon=soon)
        self._pending.__enter__()
        kept.add_done_callback(self._pending.__exit__)
        return kept

    def keep_unopened(self, frame, refused, *, wanted):
        self._store.keep_unopened(frame, refused, wanted=wanted)
        self.covered()

    def covered(self):
        covered = self._store.covered()
        self._pending.__enter__()
        covered.add_done_callback(self._pending.__exit__)
        return covered

    async def device(self, dev_eui):
        with self._pending:
            return await self._store.device(dev_eui)

    async def root_keys(self, dev_eui):
        with self._pending:
            return await self._store.root_keys(dev_eui)

    async def in_use(self, dev_eui):
        with self._pending:
            return await self._store.in_use(dev_eui)

    async def with_network(self, work):
        with self._pending:
            return await self._store.with_network(work)

    async def keep_join(self, *join):
        with self._pending:
            return await self._store.keep_join(*join)

    async def taken_up(self, *session):
        with self._pending:
            return await self._store.taken_up(*session)


class Plain:
    """A decoder for devices without codec."""

    async def decode(self, *_):
        return Decoded()


class Onlooker:
    """Keeps what the line says."""

    def __init__(self):
        self.readings = []
        self.refusals = []

    def opened(self, uplink):
        pass

    def kept(self, position, reading):
        self.readings.append((position, reading))

    def refused(self, frame, refused):
        self.refusals.append((frame, refused))


class Home:
    """One life of a gateway on a data folder. `async with`; `kill` leaves the folder as a killed process would."""

    def __init__(self, folder, radio, region, now, pending):
        self.folder = folder
        self.radio = radio
        self._region = region
        self._now = now
        self._pending = pending
        self.seen = Onlooker()
        self._over = False

    async def __aenter__(self):
        self._opened = AsyncExitStack()
        store = Store.open(self.folder, EUI, commit_interval_s=0.0, limits=LIMITS)
        await self._opened.enter_async_context(store)
        self.store = PatientStore(store, self._pending)
        self._airtime = AirtimeFile(self.folder)
        self._opened.enter_context(self._airtime)
        ledger = AirtimeLedger(self._region.sub_bands, self._airtime.remembered, self._now(), lambda stamp: stamp)
        self._airtime.begin(ledger)
        self.radio.start(ledger)
        plan = network_plan(self._region, None)
        self.side = NetworkSide(EUI, self.radio, self.store, Plain(), self._region, plan, 0, self._now, answers=True)
        await self.side.load()
        self.line = UplinkLine(self.radio, Network(self._region), self.store, Plain(), self.seen)
        self.line.answer_with(self.side.server)
        self._tasks = [asyncio.create_task(duty) for duty in (*self.side.duties(), self._airtime.keep())]
        self._hearing = asyncio.create_task(self.line.run())
        return self

    async def __aexit__(self, *_):
        if self._over:
            return
        await self.side.stop()
        self.radio.stop()
        await self._hearing
        await self._end()

    async def kill(self, image):
        """What is in the folder now, and nothing more, is in `image`; this life is over."""
        while self._pending.count:
            await asyncio.sleep(0)
        shutil.copytree(self.folder, image)
        self._hearing.cancel()
        self.radio.stop()
        await self._end()

    async def _end(self):
        self._over = True
        for task in (*self._tasks, self._hearing):
            task.cancel()
        await asyncio.gather(*self._tasks, self._hearing, return_exceptions=True)
        await self._opened.aclose()
