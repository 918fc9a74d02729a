"""A context broker as both NGSI versions see it: asked with our login, and again when its token has ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.delivery.ngsi_holdings import Parcel
from gateway.delivery.sink import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.delivery.http_line import HttpLine
    from gateway.delivery.ngsi_holdings import Update
    from gateway.delivery.ngsi_login import Pass
    from gateway.model import Record
    from gateway.wire.http_answer import Answer

log = logging.getLogger(__name__)

UNAUTHORIZED: Final = 401


class Broker:
    """An open line to a broker; every request carries the same headers."""

    def __init__(self, line: HttpLine, let_in: Pass, headers: Mapping[str, str]) -> None:
        self.line = line
        self._let_in = let_in
        self._headers = headers

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request and its answer; SinkUnavailable when there is none, or when our login is not good."""
        for last in (False, True):
            wanted = {**self._headers, **(headers or {}), **await self._let_in.headers()}
            answer = await self.line.ask(method, path, body, wanted)
            if answer.status != UNAUTHORIZED:
                return answer
            if last or not self._let_in.forget():
                break
        raise self.line.unavailable(answer)


def parcels_of(
    records: Sequence[Record], updates_of: Callable[[Record], Sequence[Update]]
) -> tuple[list[Parcel], list[Refusal]]:
    """Each record as a parcel; one that cannot be written is refused, which only a mistake of ours can bring about."""
    parcels, refusals = [], []
    for record in records:
        try:
            parcels.append(Parcel(record.position, tuple(updates_of(record))))
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            log.exception("record %d cannot be written as entities", record.position)
            refusals.append(Refusal(record.position, f"cannot be written as entities: {error!r}"))
    return parcels, refusals


def halves(parcels: Sequence[Parcel]) -> list[list[Parcel]]:
    """What was refused together, in smaller parts that keep the order; empty when it cannot be divided.

    Records first, then the entities of one record, then the moments of one entity.
    """
    middle = len(parcels) // 2
    if middle:
        return [list(parcels[:middle]), list(parcels[middle:])]
    updates = parcels[0].updates
    keys = list(dict.fromkeys(update.key for update in updates))
    if len(keys) > 1:
        return [[Parcel(parcels[0].position, tuple(update for update in updates if update.key == key))] for key in keys]
    middle = len(updates) // 2
    return [[Parcel(parcels[0].position, part)] for part in (updates[:middle], updates[middle:])] if middle else []


def one_for_each(refusals: Sequence[Refusal]) -> list[Refusal]:
    """The first reason of each record, by position."""
    reasons: dict[int, Refusal] = {}
    for refusal in refusals:
        reasons.setdefault(refusal.position, refusal)
    return [reasons[position] for position in sorted(reasons)]
