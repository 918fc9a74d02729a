"""Forgetting a household: everything that this gateway keeps of a device, wherever it is kept (GDPR, article 17).

One order, in this order: what is to be erased is written down, so that a power cut leaves no half; the device becomes a
stranger; its records go, then the files that destinations keep on this machine, the balances, what was set aside as
damaged. Then every byte of the data folder is searched for it, and only when that is done is it forgotten that there
was something to forget. What is left is a line that says when and how much, under a reference, and not whose.

What has left the gateway is not the gateway's any more. Whoever gives the order is told where that went, and under
which names, to be able to ask there (articles 17(2) and 19).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gateway.delivery.sink import ForgetfulSink, KeepingSink
from gateway.errors import GatewayError, StorageError
from gateway.store import quarantine
from gateway.store.erasing import Halted
from gateway.store.erasure_file import Intent, finish, load_intent
from gateway.store.owner import destroy_memory
from gateway.store.search import Needle, files_with, needles_of
from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.delivery.sink import Sink
    from gateway.model import DevEui
    from gateway.store.erasing import Found
    from gateway.store.store import Store

    Told = Callable[[Mapping[str, Any]], None]

log = logging.getLogger(__name__)

STOP_WITHIN_S = 5.0


class Memory(Protocol):
    """Who remembers devices while the gateway runs."""

    def forget(self, dev_eui: DevEui, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A destination as it is told to whoever has to ask there."""

    sink: str
    type: str
    known_as: Sequence[str]


class Forgetting:
    """Carries out one erasure at a time, and goes on with one that was cut off."""

    def __init__(
        self,
        store: Store,
        sinks: Callable[[], Sequence[Sink]],
        known_as: Callable[[DevEui], Sequence[Known]],
        custody: Callable[[DevEui], Awaitable[None]],
        memories: Sequence[Memory] = (),
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._known_as = known_as
        self._custody = custody
        self._memories = memories
        self._halted = False
        self._turn = asyncio.Lock()
        self._work: asyncio.Task[dict[str, Any]] | None = None

    async def look(self, dev_eui: DevEui, told: Told) -> dict[str, Any]:
        """What `forget` would erase, and where that has been sent."""
        device = await self._store.device(dev_eui)
        addresses = await self._store.addresses(dev_eui)
        found = await self._store.find(dev_eui, addresses, lambda at: told({"looked at": at}), self._is_halted)
        network = await self._store.with_network(
            lambda file: (len(file.sessions_of(dev_eui)), file.join_history(dev_eui) is not None, file.downlinks())
        )
        return {
            "dev_eui": str(dev_eui),
            "name": None if device is None else device.name,
            "known": device is not None,
            "records": len(found.positions),
            "from": None if found.first_us is None else rfc3339(found.first_us),
            "to": None if found.last_us is None else rfc3339(found.last_us),
            "frames": len(found.frames),
            "dev_addrs": [f"{address:08x}" for address in sorted(found.dev_addrs)],
            "sessions": network[0] + (device is not None),
            "joined": network[1],
            "downlinks": sum(entry.dev_eui == dev_eui for entry in network[2]),
            "files": await self._files(dev_eui),
            "set_aside": quarantine.count(self._store.folder),
            "destinations": self._destinations(dev_eui, found),
        }

    async def forget(self, dev_eui: DevEui, told: Told) -> dict[str, Any]:
        """Erase it; what `look` says, what is left over, and the reference. Goes on when whoever asked hangs up."""
        if self._store.in_memory_because is not None:
            raise StorageError(f"the data folder takes no writing: {self._store.in_memory_because}")
        if self._turn.locked():
            raise GatewayError("a device is being erased already", hint="wait until that is done")
        self._work = asyncio.create_task(self._forget(dev_eui, told), name="erasure")
        return await asyncio.shield(self._work)

    async def go_on(self) -> None:
        """Finish what a power cut, or a stop, has left half done; nothing when there is nothing."""
        if self._store.in_memory_because is not None:
            return
        async with self._turn:
            intent = await asyncio.to_thread(load_intent, self._store.folder)
            if intent is not None:
                await self._go_on(intent)

    async def _go_on(self, intent: Intent) -> None:
        log.warning("going on with %s, which was cut off", intent.reference)
        try:
            facts = await self._carry_out(intent, (), lambda _: None)
        except (StorageError, OSError, sqlite3.Error) as error:
            log.error("%s is not finished, the next start tries again: %s", intent.reference, error)  # noqa: TRY400
        except Halted:
            log.info("%s is not finished: the next start goes on", intent.reference)
        else:
            log.info("%s is done: %d records erased", intent.reference, facts["records"])

    async def stop(self) -> None:
        """Let go of what is under way; the next start goes on with it."""
        self._halted = True
        if self._work is not None and not self._work.done():
            await asyncio.wait({self._work}, timeout=STOP_WITHIN_S)

    def _is_halted(self) -> bool:
        return self._halted

    async def _forget(self, dev_eui: DevEui, told: Told) -> dict[str, Any]:
        async with self._turn:
            before = await asyncio.to_thread(load_intent, self._store.folder)
            if before is not None and before.dev_eui != dev_eui:
                await self._finished(before, (), told)
            seen = await self.look(dev_eui, told)
            needles = needles_of(dev_eui, await self._store.keys_of(dev_eui))
            if before is None or before.dev_eui != dev_eui:
                await self._refuse_nothing(dev_eui, seen, needles)
                before = Intent.of(dev_eui, (int(address, 16) for address in seen["dev_addrs"]))
            return {**seen, **await self._finished(before, needles, told)}

    async def _refuse_nothing(self, dev_eui: DevEui, seen: Mapping[str, Any], needles: Sequence[Needle]) -> None:
        """GatewayError when there is nothing to forget: nothing that is known of, and no byte anywhere."""
        if any(seen[what] for what in ("known", "records", "frames", "joined", "files")):
            return
        if not await asyncio.to_thread(files_with, self._store.folder, needles, self._is_halted):
            raise GatewayError(f"nothing is kept here of {dev_eui}", hint="lorawan-gateway device list")

    async def _finished(self, intent: Intent, needles: Sequence[Needle], told: Told) -> dict[str, Any]:
        try:
            return await self._carry_out(intent, needles, told)
        except Halted:
            raise StorageError(
                "the gateway stops before everything is erased", hint="its next start goes on with it"
            ) from None
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"not everything is erased yet: {error}", hint="give the order once more; the next start tries, too"
            ) from error

    async def _carry_out(self, intent: Intent, needles: Sequence[Needle], told: Told) -> dict[str, Any]:
        store, dev_eui = self._store, intent.dev_eui
        self._let_forget(dev_eui)
        await store.disown(intent)
        self._let_forget(dev_eui)  # what was on its way meanwhile
        records, frames = await store.erase(intent, told, self._is_halted)
        files: dict[str, int] = {}
        for sink in self._sinks():
            if isinstance(sink, ForgetfulSink):
                files |= await sink.forget(dev_eui)
        await self._custody(dev_eui)
        set_aside = await asyncio.to_thread(quarantine.empty, store.folder)
        await asyncio.to_thread(destroy_memory, store.folder)
        told({"searching": "every file of the data folder"})
        left = await asyncio.to_thread(files_with, store.folder, needles or needles_of(dev_eui, ()), self._is_halted)
        done = {"reference": intent.reference, "records": records, "frames": frames, "set_aside": set_aside}
        lines = {"files": len(files), "lines": sum(files.values())}
        await asyncio.to_thread(
            finish, store.folder, {**done, **lines, "left": len(left), "time": rfc3339(store.now_us())}
        )
        for path in left:
            log.warning("%s: %s still names the device, and is none of the gateway's files", intent.reference, path)
        return {**done, "files": files, "left": [str(path) for path in left]}

    def _let_forget(self, dev_eui: DevEui) -> None:
        for memory in self._memories:
            memory.forget(dev_eui)

    async def _files(self, dev_eui: DevEui) -> dict[str, int]:
        files: dict[str, int] = {}
        for sink in self._sinks():
            if isinstance(sink, KeepingSink):
                with contextlib.suppress(OSError):  # a folder that is not there just now; erasing will say so
                    files |= await sink.kept(dev_eui)
        return files

    def _destinations(self, dev_eui: DevEui, found: Found) -> list[dict[str, Any]]:
        return [
            {
                "sink": one.sink,
                "type": one.type,
                "sent": sum(map(self._store.progress(one.sink).is_settled, found.positions)),
                "waiting": sum(not self._store.progress(one.sink).is_settled(at) for at in found.positions),
                "known_as": list(one.known_as),
            }
            for one in self._known_as(dev_eui)
        ]
