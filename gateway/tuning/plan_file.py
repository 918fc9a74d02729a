"""The file that keeps what the radio followed, so that a network that is away at the start leaves nobody unheard.

One small JSON file in the data folder, written anew beside itself and moved into place. What cannot be read is said and
left out: the radio then begins with the channels of its region, and the server says again what it wants.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.tuning.tuner import Followed, Wish
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

NAME: Final = "channel-plan.json"
MOST_BYTES: Final = 64 << 10


class PlanFile:
    """What was followed last, and writing it when it changes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._changed = asyncio.Event()

    def read(self) -> Followed | None:
        """What was followed before; None for nothing, or for what cannot be read."""
        try:
            with self._path.open("rb") as file:
                return read(file.read(MOST_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s); the radio begins with the channels of its region", self._path, error)
            return None

    def stir(self) -> None:
        """Something else is followed now."""
        self._changed.set()

    async def keep(self, followed: Callable[[], Followed | None]) -> None:
        """Write what is followed whenever that changes."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            now = followed()
            try:
                await asyncio.to_thread(self._write, now)
            except OSError as error:
                log.warning("%s cannot be written (%s); after a restart it has to be said again", self._path, error)

    def _write(self, followed: Followed | None) -> None:
        if followed is None:
            self._path.unlink(missing_ok=True)
            return
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(written(followed))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def written(followed: Followed) -> bytes:
    """As the file has it."""
    channels = [
        {
            "frequency_hz": channel.frequency_hz,
            "bandwidth_hz": channel.bandwidth_hz,
            "spreading_factors": list(channel.spreading_factors),
        }
        for channel in followed.wish.plan.channels
    ]
    return orjson.dumps(
        {
            "server": followed.server,
            "region": followed.region,
            "version": followed.wish.version,
            "channels": channels,
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def read(content: bytes) -> Followed:
    """What a file says; ValueError for what is none."""
    match orjson.loads(content):
        case {"server": str(server), "region": str(region), "version": str(version), "channels": [*rows]} if rows:
            return Followed(server, region, Wish(ChannelPlan.of(map(_channel, rows)), version))
    raise ValueError("it is no channel plan")


def _channel(row: Any) -> PlannedChannel:
    match row:
        case {
            "frequency_hz": int(frequency_hz),
            "bandwidth_hz": (125_000 | 250_000 | 500_000) as bandwidth_hz,
            "spreading_factors": [*factors],
        } if 0 < frequency_hz < 1 << 32 and all(type(one) is int and 5 <= one <= 12 for one in factors):
            span = range(min(factors), max(factors) + 1) if factors else range(0)
            return PlannedChannel(frequency_hz, bandwidth_hz, span)
    raise ValueError(f"{row!r:.80} is no channel")
