"""The daily custody balance: what came in on a day and what became of it, told to every destination.

A day is one of UTC and ends at 00:00. What it brought is the difference between the durable books at its two ends; the
books as the day began lie in a small file, so a restart or a power cut loses no part of a day, and a gateway that was
dark at midnight closes the day when it knows the date again. A destination that is away gets the balances of the last
week when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.errors import StorageError
from gateway.store.custody_file import CustodyFile
from gateway.store.queries import glimpses
from gateway.wire.own_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.delivery.drain import Drain
    from gateway.model import DevEui
    from gateway.store.cursors import Loss
    from gateway.store.store import Store

log = logging.getLogger(__name__)

LOOK_S = 5.0
MOST_DEVICES = 50
"""Devices that a balance names, those with the largest figures; the others are in its totals."""

MOST_REMEMBERED = 5_000
"""Losses, by destination and device, that the beginning of a day remembers. Beyond, the sums are those of all time."""

MOST_DAYS = 7


@dataclass(frozen=True, slots=True)
class Books:
    """The books at a moment, of which a day began. `day` is empty until the date is known."""

    day: str
    at_us: int
    epoch: str
    head: int
    tally: Mapping[str, Any]
    sinks: Mapping[str, Mapping[str, int]]
    losses: Mapping[str, int] = field(default_factory=dict)


class Custody:
    """Keeps the books by the day for as long as the gateway runs."""

    def __init__(self, store: Store, drains: Sequence[Drain], trusted_utc_us: Callable[[], int | None]) -> None:
        """`trusted_utc_us` gives the date, or None while the clock cannot be trusted: then no day ends."""
        self._store = store
        self._drains = drains
        self._trusted_utc_us = trusted_utc_us
        self._file = CustodyFile(store.folder)

    async def keep(self) -> None:
        """Open and close days, and tell."""
        await asyncio.to_thread(self._file.load)
        async with asyncio.TaskGroup() as telling:
            for drain in self._drains:
                telling.create_task(self._tell(drain))
            while True:
                try:
                    await self._turn_the_page()
                except (OSError, sqlite3.Error, StorageError) as error:
                    log.warning("the day's balance cannot be written yet: %s", error)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    log.warning("the books of this morning make no sense (%r): the day begins now", error)
                    self._file.morning = None
                await asyncio.sleep(LOOK_S)

    async def forget(self, dev_eui: DevEui) -> None:
        """Leave a device out of the balances of the last days, and of the book of this morning."""
        self._file.forget(str(dev_eui))
        await asyncio.to_thread(self._file.save)

    async def _turn_the_page(self) -> None:
        now_us = self._trusted_utc_us()
        day = "" if now_us is None else day_of(now_us)
        morning = None if self._file.morning is None else Books(**self._file.morning)
        if morning is None or morning.epoch != self._store.epoch:
            self._file.morning = asdict(await self._books(day, now_us or 0))
        elif day and not morning.day:
            self._file.morning = {**asdict(morning), "day": day, "at_us": now_us}
        elif now_us is not None and day > morning.day:
            evening = await self._books(day, now_us)
            body = await self._balance(morning, evening)
            self._file.days = [*self._file.days, body][-MOST_DAYS:]
            self._file.morning = asdict(evening)  # the evening of one day is the morning of the next
            log.info("the balance of %s: heard %d, stored %d", morning.day, body["heard"], body["stored"])
        else:
            return
        await asyncio.to_thread(self._file.save)

    async def _books(self, day: str, now_us: int) -> Books:
        tally, head = await self._store.durable_books()
        losses = {_key(loss): loss.records for loss in await self._store.losses()}
        return Books(
            day=day,
            at_us=now_us,
            epoch=self._store.epoch,
            head=head,
            tally=asdict(tally),
            sinks={drain.name: self._figures(drain.name) for drain in self._drains},
            losses=losses if len(losses) <= MOST_REMEMBERED else {},
        )

    def _figures(self, sink: str) -> dict[str, int]:
        progress = self._store.progress(sink)
        return {name: getattr(progress, name) for name in ("acknowledged", "given_up", "skipped", "erased", "resent")}

    async def _balance(self, morning: Books, evening: Books) -> dict[str, Any]:
        before, after = morning.tally, evening.tally
        day = {name: after[name] - before.get(name, 0) for name in ("heard", "stored", "reread", "erased")}
        filtered, dropped = (_difference(after[name], before[name]) for name in ("filtered", "dropped"))
        return {
            "gateway_eui": str(self._store.gateway_eui),
            "day": morning.day,
            "since": rfc3339(morning.at_us),
            "until": rfc3339(evening.at_us),
            **day,
            "filtered": filtered,
            "dropped": dropped,
            "balance": day["heard"] - day["stored"] - sum(filtered.values()) - sum(dropped.values()),
            "sinks": {
                name: {
                    **_difference(figures, morning.sinks.get(name, {}), nothing=True),
                    "queued": self._store.progress(name).queued(evening.head),
                }
                for name, figures in evening.sinks.items()
            },
            "gaps": await self._gaps(morning.head, evening.head),
            "losses": _losses(await self._store.losses(), morning.losses),
        }

    async def _gaps(self, after: int | None, head: int) -> dict[str, Any]:
        """Counters that were never heard, of the records of the day, by device."""
        gaps: Counter[bytes] = Counter()
        while after is not None:
            seen = await self._store.look(partial(glimpses, after=after, head=head))
            after = seen.through
            for _, one in seen.glimpses:
                if one.gap_before and not one.reread:
                    gaps[one.dev_eui] += one.gap_before
        named = [{"dev_eui": dev_eui.hex(), "frames": frames} for dev_eui, frames in gaps.most_common(MOST_DEVICES)]
        return {"total": gaps.total(), "devices": len(gaps), "by_device": named}

    # --- telling

    async def _tell(self, drain: Drain) -> None:
        """Tell one destination every balance it has not been told yet, oldest first."""
        newest = self._file.days[-1]["until"] if self._file.days else ""
        self._file.told.setdefault(drain.name, newest)  # a new destination begins with today
        while True:
            told = self._file.told[drain.name]
            for body in [body for body in self._file.days if body["until"] > told]:
                await drain.announce("balance", body)
                self._file.told[drain.name] = body["until"]
                with suppress(OSError):  # then it is told once more after a restart
                    await asyncio.to_thread(self._file.save)
            await asyncio.sleep(LOOK_S)


def day_of(utc_us: int) -> str:
    """The day of UTC."""
    return datetime.fromtimestamp(utc_us / 1e6, UTC).date().isoformat()


def _difference(after: Mapping[str, int], before: Mapping[str, int], *, nothing: bool = False) -> dict[str, int]:
    """What each figure grew by; those that did not are left out unless `nothing` counts, too."""
    grown = {name: number - before.get(name, 0) for name, number in after.items()}
    return {name: number for name, number in grown.items() if number or nothing}


def _key(loss: Loss) -> str:
    return f"{loss.sink} {loss.dev_eui.hex()} {loss.reason}"


def _losses(losses: Sequence[Loss], before: Mapping[str, int]) -> dict[str, Any]:
    """What was lost on the day, by destination and device; the counters span all that was lost of the device so far."""
    grown = [(records, loss) for loss in losses if (records := loss.records - before.get(_key(loss), 0)) > 0]
    grown.sort(key=lambda found: -found[0])
    named = [
        {
            "sink": loss.sink,
            "dev_eui": loss.dev_eui.hex() or None,  # None: of devices that were erased since
            "reason": loss.reason,
            "records": records,
            "first_f_cnt": loss.first_f_cnt,
            "last_f_cnt": loss.last_f_cnt,
            "since": rfc3339(loss.since_us),
            "until": rfc3339(loss.until_us),
        }
        for records, loss in grown[:MOST_DEVICES]
    ]
    total = sum(records for records, _ in grown)
    return {"total": total, "devices": len({loss.dev_eui for _, loss in grown}), "by_device": named}
